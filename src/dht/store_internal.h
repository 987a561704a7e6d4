/* SPDX-License-Identifier: MIT */
/* What store.c (which nodes are near to which keys) and store_send.c (records to nodes) share. */
#ifndef SKEP_DHT_STORE_INTERNAL_H
#define SKEP_DHT_STORE_INTERNAL_H

#include "dht/traverse.h"

struct skep_hood;

struct skep_store_record {
    uint32_t value_at, value_len; /* in the arena */
    uint32_t subkey_at, subkey_len;
    double expiration_unix_s;
    uint16_t accepted, answered;
};

/** One key and its records: store->order[first .. first + count). */
struct skep_store_key {
    struct skep_dht_id id;
    uint32_t first, count;
    struct skep_hood *hood; /* NULL: not known yet who is near */
    uint64_t tried;         /* bits of hood->nodes */
    uint8_t answered, pending;
    uint8_t refused; /* of those that answered: they took none of its records */
    bool presumed;   /* a lookup under way will likely answer for it */
    bool done;
};

/** A node that gets records; one request at a time. */
struct skep_hood_node {
    struct skep_dht_request request;
    struct skep_hood *hood;
    struct skep_dht_id id;
    struct skep_peer_id peer;
    bool is_self, failed;
    bool late;      /* has not answered so far: gets nothing, but is there */
    bool took;      /* some of the records of the key whose answer is being read */
    uint32_t *keys; /* [key_count] to be stored here, in order */
    uint32_t key_count, key_cap;
    /* Sent and not yet answered, from … to: position in `keys`, record of that key. */
    uint32_t from_key, from_record, next_key, next_record;
};

/** A stretch of the id space all of whose nodes are known: "neighbourhood". */
struct skep_hood {
    struct skep_store *store;
    struct skep_list entry;
    uint32_t rounds;
    uint32_t node_count, late_count;
    struct skep_hood_node nodes[];
};

struct skep_store {
    struct skep_dht_op_head head;
    struct skep_dht *dht;
    struct skep_list entry;       /* dht->stores */
    struct skep_dht_store *owner; /* NULL: told the end, requests under way go on */
    struct skep_timer deadline;
    struct skep_timer kick;
    bool in_cache, with_self;
    unsigned busy;
    bool dead;

    struct skep_buf arena;
    struct skep_store_record *records;
    uint32_t *order;
    struct skep_store_key *keys; /* by id */
    uint32_t record_count, key_count, keys_left, next_key;
    uint32_t in_flight; /* rpc_store requests */

    struct skep_list hoods;
    struct skep_list seekers; /* struct seeker of store.c: lookups under way */
    uint32_t seeker_count;
    unsigned last_depth;
    struct skep_dht_store_item *items; /* scratch for one request */
};

enum {
    SKEP_STORE_ITEMS_MAX = 8192, /* records in one rpc_store */
    SKEP_STORE_HOOD_MAX = 64,    /* nodes of a neighbourhood: the bits of `tried` */
};

/** Choose nodes for a key that has a hood; its records go out with skep_store_flush(). @return is the key done, for want of nodes or of need? */
bool skep_store_dispatch(struct skep_store *store, struct skep_store_key *key);

/** Send what waits at each node of a hood that has nothing in flight. */
void skep_store_flush(struct skep_hood *hood);

/** A key's replicas are decided: cache, and tell the owner, who may cancel the store. @return false if he did. */
bool skep_store_finish_key(struct skep_store *store, struct skep_store_key *key);

/** Tell the end if all keys are done, and free the store if nothing holds it any more. */
void skep_store_end_if_over(struct skep_store *store);

#endif
