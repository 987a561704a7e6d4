/* SPDX-License-Identifier: MIT */
/* The swarm's table of records: what hivemind's DHT class gives. Everything takes any number of keys at once.
 *
 * A record is a value under a key until its expiration (Unix seconds, double). Under one key there is either one plain value, or a dictionary of
 * subkeys with a value and an expiration each. Values and subkeys are msgpack, as hivemind's are; skep_pack writes it and skep_unpack reads it. */
#ifndef SKEP_DHT_H
#define SKEP_DHT_H

#include <skep/skep.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- msgpack ---- */

/** A growing value in msgpack, in the forms Python writes. It keeps its first error; skep_pack_view() tells. */
typedef struct skep_pack skep_pack;

/** @return NULL: out of memory. It need not be checked: a NULL pack takes everything, and skep_pack_view() then says SKEP_ENOMEM. */
SKEP_API skep_pack *skep_pack_new(void);
SKEP_API void skep_pack_free(skep_pack *pack);
SKEP_API void skep_pack_clear(skep_pack *pack);
SKEP_API void skep_pack_nil(skep_pack *pack);
SKEP_API void skep_pack_bool(skep_pack *pack, bool v);
SKEP_API void skep_pack_int(skep_pack *pack, int64_t v);
SKEP_API void skep_pack_uint(skep_pack *pack, uint64_t v);
SKEP_API void skep_pack_float(skep_pack *pack, double v);
SKEP_API void skep_pack_str(skep_pack *pack, const char *text); /* must be UTF-8 */
SKEP_API void skep_pack_bin(skep_pack *pack, skep_view bytes);
SKEP_API void skep_pack_array(skep_pack *pack, uint32_t count); /* count values follow */
SKEP_API void skep_pack_map(skep_pack *pack,
                            uint32_t count); /* count pairs follow; keys are str or bin */
SKEP_API void skep_pack_tuple(skep_pack *pack,
                              skep_view items_as_array); /* the msgpack of an array */
SKEP_API void skep_pack_raw(skep_pack *pack, skep_view msgpack);
/** @return 0 and the bytes, good until the pack changes; SKEP_EVALUE (not exactly one well-formed value), SKEP_ENOMEM. */
SKEP_API int skep_pack_view(const skep_pack *pack, skep_view *out);

enum skep_kind {
    SKEP_KIND_NIL,
    SKEP_KIND_BOOL,
    SKEP_KIND_UINT,
    SKEP_KIND_INT, /* below zero */
    SKEP_KIND_FLOAT,
    SKEP_KIND_STR,
    SKEP_KIND_BIN,
    SKEP_KIND_ARRAY, /* count items follow */
    SKEP_KIND_MAP,   /* count pairs follow */
    SKEP_KIND_TUPLE, /* bytes: the msgpack of an array of its items */
    SKEP_KIND_EXT    /* ext_type, bytes */
};

typedef struct skep_token {
    enum skep_kind kind;
    int8_t ext_type;
    uint32_t count;
    uint64_t u;
    int64_t i;
    double f;
    skep_view bytes;
} skep_token;

/** Read one token off the front. @return 1; 0 at the end; SKEP_EVALUE: malformed. */
SKEP_API int skep_unpack(skep_view *in, skep_token *token);

/* ---- keys ---- */

/** Where a record lives: 160 bits. */
typedef struct skep_key {
    uint8_t id[20];
} skep_key;

SKEP_API skep_key skep_key_text(const char *text);    /* as Python's str */
SKEP_API skep_key skep_key_bytes(skep_view bytes);    /* as Python's bytes */
SKEP_API skep_key skep_key_packed(skep_view msgpack); /* any other value: its msgpack */

/* ---- join ---- */

/**
 * Join the swarm: all initial peers of the options, at once. The first node of a swarm joins with none.
 * The operation: SKEP_EBOOTSTRAP (skep_op_text() names each peer and why), SKEP_EPEER_CLOCK, SKEP_EPEER_UNVERIFIED, SKEP_EIDENTITYTAKEN (also where
 * an initial peer has this node's own id and no other answered: a node alone in its list joins with none).
 * @return 0; SKEP_EINVAL (options.no_dht).
 */
SKEP_API int skep_dht_join(skep_op **out, skep_node *node, skep_op_cb *cb, void *user_data);

/** The id of this node in the table. @return 0 or SKEP_EINVAL (no_dht). */
SKEP_API int skep_dht_id(const skep_node *node, uint8_t out[20]);

/* ---- get ---- */

typedef struct skep_entry {
    skep_view subkey, value; /* msgpack */
    double expiration_unix_s;
} skep_entry;

typedef struct skep_item {
    skep_key key;
    bool found;
    bool answered; /* not found, and enough holders answered for that to mean that nobody has it */
    bool is_dictionary;
    skep_view value;           /* plain: msgpack */
    double expiration_unix_s;  /* of a dictionary: the latest of its entries' */
    const skep_entry *entries; /* [entry_count], dictionary */
    size_t entry_count;
} skep_item;

typedef struct skep_get_options {
    size_t struct_size; /* sizeof this struct; 0 with all else zero: the defaults */
    bool latest; /* ask until everybody who could know has answered, take what lives longest */
    double
        sufficient_expiration_unix_s; /* stop at the first value that lives at least until then; 0: now */
    bool no_local;                    /* not from our own storage and cache */
    uint64_t
        timeout_us; /* 0: none. Then keys not decided count as not found, and the operation has SKEP_EDEADLINE */
} skep_get_options;

/** @param keys [count], copied. @param options may be NULL. @return 0; SKEP_EINVAL, SKEP_ELIMIT, SKEP_ENOMEM. */
SKEP_API int skep_dht_get(skep_op **out, skep_node *node, const skep_key *keys, size_t count,
                          const skep_get_options *options, skep_op_cb *cb, void *user_data);
/** @return [*count] in the order of the keys, owned by the operation; NULL while it runs or when it failed otherwise than by its deadline. */
SKEP_API const skep_item *skep_dht_get_result(const skep_op *op, size_t *count);

/** Forget the local cache: the next gets and searches ask the swarm. What this node stores for others stays. @return 0 or SKEP_EINVAL (no_dht). */
SKEP_API int skep_dht_clear_cache(skep_node *node);

/* ---- store ---- */

typedef struct skep_record {
    skep_key key;
    skep_view subkey; /* msgpack; empty: a plain value */
    skep_view value;  /* msgpack */
    double expiration_unix_s;
} skep_record;

typedef struct skep_store_options {
    size_t struct_size; /* as in skep_get_options */
    bool exclude_self;  /* keep no replica here */
    bool in_cache;      /* replicas put it into their caches */
    uint64_t timeout_us;
} skep_store_options;

typedef struct skep_stored {
    unsigned accepted; /* by so many replicas */
    unsigned answered;
} skep_stored;

/** @param records [count], copied with their bytes; signed by the validators first. @return 0; SKEP_EVALUE (a value or subkey is not msgpack;
 *  the text says which), SKEP_EINVAL (an expiration is NaN, past, or beyond ttl_max_s), SKEP_ESIZE (a record of some
 *  4 MiB fits no message), SKEP_ELIMIT, SKEP_ENOMEM. */
SKEP_API int skep_dht_store(skep_op **out, skep_node *node, const skep_record *records,
                            size_t count, const skep_store_options *options, skep_op_cb *cb,
                            void *user_data);
/** @return [*count] in the order of the records, owned by the operation; NULL while it runs or when it failed otherwise than by its deadline. */
SKEP_API const skep_stored *skep_dht_store_result(const skep_op *op, size_t *count);

/** Unix time as the node sees it, for expirations. */
SKEP_API double skep_dht_time(void);

/* ---- validators ---- */

/** Checks, signs and strips records (docs/wire.md c.6). Signed in order of rising priority; validated and stripped in falling order. Called on
 *  the loop's thread. In a plain record the subkey is the msgpack nil. */
typedef struct skep_record_validator {
    int priority;
    bool (*validate)(void *user_data, const skep_record *record);
    /** Append the value with its signature to `out` (skep_pack_raw()). NULL: unchanged. @return 0 or SKEP_E code. */
    int (*sign)(void *user_data, const skep_record *record, skep_pack *out);
    /** Append the value without its signature. NULL: unchanged. */
    int (*strip)(void *user_data, const skep_record *record, skep_pack *out);
    void (*release)(void *user_data); /* with the node; may be NULL */
    void *user_data;
} skep_record_validator;

/** Any time, also after the join; copied. @return 0, SKEP_EINVAL, SKEP_ENOMEM, SKEP_ELIMIT. On an error `release` is not called. */
SKEP_API int skep_dht_add_validator(skep_node *node, const skep_record_validator *validator);

/** hivemind's RSASignatureValidator.
 *  @param pem    an RSA private key in PEM to sign with; empty: a new one.
 *  @param owner  may be NULL: receives "[owner:ssh-rsa AAAA…]", the caller's to skep_free(). Put it into a subkey, and only the owner can write the
 *                record under it. In the text of a key it protects nothing, with hivemind as well: keys travel as their hash.
 *  @return 0; SKEP_EKEY, SKEP_EINVAL, SKEP_ENOMEM, SKEP_ELIMIT. */
SKEP_API int skep_dht_add_rsa_validator(skep_node *node, skep_view pem, char **owner);

#ifdef __cplusplus
}
#endif
#endif
