/* SPDX-License-Identifier: MIT */
/* The DHT's six messages and the one inside them. docs/wire.md c.2; proto/dht.proto.
 *
 * Decoding checks the whole message once, allocates nothing, and leaves views into it. Repeated fields are walked with a cursor: a `struct skep_dht_repeated` is copied and used up
 * by skep_dht_next_…(). Both packed and unpacked scalars are read; packed ones are written. proto3: what has its default value is not written.
 * Left out: hivemind's authorisation (field 1); its bytes are handed on unread, and never written. */
#ifndef SKEP_DHT_MESSAGE_H
#define SKEP_DHT_MESSAGE_H

#include "base/limits.h"
#include "base/pb.h"
#include "dht/dht_id.h"

struct skep_routing_node;

/** The occurrences of a repeated field still to come. */
struct skep_dht_repeated {
    skep_bytes rest;   /* of the message */
    skep_bytes packed; /* of the packed field we are in */
    uint32_t number;
    size_t left; /* how many; at first the length of the list */
};

/** The next item. @return false at the end. The list must be of that type. */
bool skep_dht_next_bytes(struct skep_dht_repeated *list, skep_bytes *out);
bool skep_dht_next_double(struct skep_dht_repeated *list, double *out);
bool skep_dht_next_bool(struct skep_dht_repeated *list, bool *out);

/** NodeInfo: a sender without a node id does not want to be in anyone's table. */
struct skep_dht_sender {
    bool has_id;
    struct skep_dht_id id;
};

struct skep_dht_ping_request {
    skep_bytes auth;
    struct skep_dht_sender sender;
    bool validate;
};

struct skep_dht_ping_response {
    skep_bytes auth;
    struct skep_dht_sender sender;
    double dht_time; /* 0: not told */
    bool available;
};

/** keys, values, expirations, in_cache have the same length; subkeys at most that (items without one are not stored). */
struct skep_dht_store_request {
    skep_bytes auth;
    struct skep_dht_sender sender;
    struct skep_dht_repeated keys, subkeys, values, expirations, in_cache;
    size_t count; /* items with a key, subkey and value */
};

struct skep_dht_store_response {
    skep_bytes auth;
    struct skep_dht_sender sender;
    struct skep_dht_repeated store_ok;
};

struct skep_dht_find_request {
    skep_bytes auth;
    struct skep_dht_sender sender;
    struct skep_dht_repeated keys;
};

struct skep_dht_find_response {
    skep_bytes auth;
    struct skep_dht_sender sender;
    struct skep_dht_repeated results; /* bytes: skep_dht_find_result_decode() each */
};

enum skep_dht_found {
    SKEP_DHT_NOT_FOUND = 0,
    SKEP_DHT_FOUND_PLAIN = 1,
    SKEP_DHT_FOUND_DICTIONARY = 2
};

struct skep_dht_find_result {
    enum skep_dht_found type;
    skep_bytes value; /* or the packed dictionary */
    double expiration_unix_s;
    struct skep_dht_repeated node_ids,
        peer_ids; /* bytes, aligned: only as many as the shorter list has */
};

/* ---- decode: bytes of a peer. @return 0; SKEP_EPEER_FRAME (malformed protobuf), SKEP_EPEER_PROTO (an id of more than 160 bits, lists of different
 *      length, an unknown type of result), SKEP_EPEER_LIMIT (more than SKEP_DHT_KEYS_PER_REQUEST_MAX items in a list). Views borrow from `in`. ---- */
int skep_dht_ping_request_decode(struct skep_dht_ping_request *out, skep_bytes in);
int skep_dht_ping_response_decode(struct skep_dht_ping_response *out, skep_bytes in);
int skep_dht_store_request_decode(struct skep_dht_store_request *out, skep_bytes in);
int skep_dht_store_response_decode(struct skep_dht_store_response *out, skep_bytes in);
int skep_dht_find_request_decode(struct skep_dht_find_request *out, skep_bytes in);
int skep_dht_find_response_decode(struct skep_dht_find_response *out, skep_bytes in);
int skep_dht_find_result_decode(struct skep_dht_find_result *out, skep_bytes in);

/** One item of a store request that has been decoded. */
struct skep_dht_store_item {
    skep_bytes
        key; /* as on the wire: validators sign these bytes; skep_dht_id_from_wire() checks them */
    skep_bytes subkey; /* `c0`: plain; empty: `value` is a whole dictionary */
    skep_bytes value;
    double expiration_unix_s;
    bool in_cache;
};

/** Walk the items: changes the cursors in `request`. @return false at the end. */
bool skep_dht_store_request_next(struct skep_dht_store_request *request,
                                 struct skep_dht_store_item *item);

/* ---- encode: appended to `out`, whose rc tells. own_id NULL: client mode, an empty NodeInfo. ---- */
void skep_dht_ping_request_encode(struct skep_buf *out, const struct skep_dht_id *own_id,
                                  bool validate);
void skep_dht_ping_response_encode(struct skep_buf *out, const struct skep_dht_id *own_id,
                                   double dht_time, bool available);
void skep_dht_find_request_encode(struct skep_buf *out, const struct skep_dht_id *own_id,
                                  const struct skep_dht_id *keys, size_t count);
void skep_dht_store_request_encode(struct skep_buf *out, const struct skep_dht_id *own_id,
                                   const struct skep_dht_store_item *items, size_t count);
void skep_dht_store_response_encode(struct skep_buf *out, const struct skep_dht_id *own_id,
                                    const bool *store_ok, size_t count);

/** Bytes that one item adds to a store request, at most. */
size_t skep_dht_store_item_len(const struct skep_dht_store_item *item);

/** A find response is written one result after the other, in the order of the keys, and then ended. */
void skep_dht_find_result_encode(struct skep_buf *out, enum skep_dht_found type, skep_bytes value,
                                 double expiration_unix_s,
                                 const struct skep_routing_node *const *nearest,
                                 size_t nearest_count);
/** Bytes that skep_dht_find_result_encode() would add. */
size_t skep_dht_find_result_len(enum skep_dht_found type, skep_bytes value,
                                double expiration_unix_s,
                                const struct skep_routing_node *const *nearest,
                                size_t nearest_count);
void skep_dht_find_response_end(struct skep_buf *out, const struct skep_dht_id *own_id);

#endif
