/* SPDX-License-Identifier: MIT */
/* A DHT node: joins, keeps its share of the records, gets and stores. hivemind dht/node.py; docs/wire.md c.4.
 *
 * All keys here are ids already hashed, all values opaque msgpack bytes. Everything is bulk: one call takes any number of keys and shares
 * one traversal among them. Nothing calls back from inside the call that started it, except where said. */
#ifndef SKEP_DHT_NODE_H
#define SKEP_DHT_NODE_H

#include "dht/dht_id.h"
#include "dht/validator.h"
#include "dht/value.h"
#include "rpc/rpc.h"

struct skep_dht;

/** hivemind's switches; skep_dht_options_default() has hivemind's defaults. */
struct skep_dht_options {
    bool client_mode;            /* empty NodeInfo, no handlers served */
    size_t bucket_size;          /* 20 */
    size_t num_replicas;         /* 5 */
    unsigned depth_modulo;       /* 5 */
    size_t parallel_rpc;         /* most requests in flight of this node; 0: no limit */
    uint64_t wait_timeout_us;    /* of one request: 3 s */
    uint64_t refresh_timeout_us; /* 0: no periodic table refresh */
    uint64_t
        bootstrap_timeout_us; /* 3 s: how long to wait for further initial peers once one has answered */
    bool ensure_bootstrap_success; /* join fails if no initial peer answers (default true) */
    bool strict;        /* join fails if an initial peer cannot reach us back (default true) */
    size_t num_workers; /* requests in flight of one traversal; hivemind has 4, ours is wider */
    size_t
        chunk_size; /* most keys in one rpc_find of a get: 16 in hivemind; ours is larger, within the message limit */
    bool cache_locally;                      /* true */
    size_t cache_nearest;                    /* 1 */
    bool cache_on_store;                     /* true */
    uint64_t cache_refresh_before_expiry_us; /* 5 s; 0: off */
    bool reuse_get_requests;                 /* true */
    size_t cache_size;                       /* most keys in the cache; 0: no limit but the bytes */
    size_t cache_bytes, storage_bytes;
    uint64_t blacklist_time_us; /* 5 s */
    double blacklist_backoff;   /* 2.0 */
    double ttl_max_s;           /* SKEP_DHT_TTL_MAX_S */
    bool
        terse_finds; /* ask skep peers to leave the nearest nodes out of results that are found (true) */
    double
        hedge_share; /* most requests of lookups to send again elsewhere because the first is slow, as a share of all (0.05); 0: none */
    bool
        exhaustive_lookups; /* as in hivemind: a key that is not found asks all bucket_size nearest nodes (false) */
    size_t
        one_hop_nodes_max; /* most nodes of the one-hop table, at most SKEP_DHT_ONE_HOP_NODES_MAX; 0, the default: there is none */
    uint64_t
        one_hop_round_us; /* all of the swarm is gone over in so long: 10 min; 0: the table is not kept fresh */
    uint64_t one_hop_fill_us; /* the first time, once somebody is known: 30 s */
    bool has_node_id;         /* else random */
    struct skep_dht_id node_id;
};

void skep_dht_options_default(struct skep_dht_options *options);

int skep_dht_new(struct skep_dht **out, struct skep_env *env, struct skep_rpc *rpc,
                 const struct skep_dht_options *options);

/** Every operation under way ends with SKEP_ECANCELED, from inside this call. Not from inside a callback of this node. */
void skep_dht_free(struct skep_dht *dht);

const struct skep_dht_id *skep_dht_node_id(const struct skep_dht *dht);
struct skep_env *skep_dht_env(const struct skep_dht *dht);
struct skep_rpc *skep_dht_rpc(const struct skep_dht *dht);
struct skep_validators *skep_dht_validators(struct skep_dht *dht);

/** What a join, get or store is while it runs: embedded by the caller, zeroed; free again after `done` or skep_dht_cancel(). */
struct skep_dht_op {
    void *state;
};

/** No callback follows; legal at any moment, also from inside the operation's own callbacks. Harmless when it does not run. */
void skep_dht_cancel(struct skep_dht *dht, struct skep_dht_op *op);

/* ---- join ---- */

struct skep_dht_join {
    struct skep_dht_op op;
    /** rc: 0; SKEP_EBOOTSTRAP, SKEP_EPEER_CLOCK, SKEP_EPEER_UNVERIFIED, SKEP_EIDENTITYTAKEN. `text` names the initial peers that failed and why. */
    void (*done)(struct skep_dht_join *join, int rc, const char *text);
};

/** Ping every initial peer at once; when the first answers wait for the rest at most bootstrap_timeout_us; then find our own id. */
int skep_dht_join_start(struct skep_dht *dht, struct skep_dht_join *join, const char *const *maddrs,
                        size_t maddr_count);

/** For simulations: into the one-hop table, as if it had answered. Its first round is then not the fast one. @param rtt_us  0: not known.
 *  @return 0; SKEP_EINVAL: there is no such table; SKEP_ELIMIT: it is full; SKEP_EEXIST: the id is another peer's; SKEP_ENOMEM. */
int skep_dht_one_hop_place(struct skep_dht *dht, const struct skep_dht_id *id,
                           const struct skep_peer_id *peer, uint64_t rtt_us);

/* ---- get ---- */

struct skep_dht_cost {
    uint32_t rounds; /* longest chain of requests that waited for one another */
    uint32_t calls;  /* requests sent */
    uint32_t keys;   /* keys asked of the network */
};

struct skep_dht_get {
    struct skep_dht_op op;
    /** Each key once, as soon as it is decided; `value` is NULL when it was not found. `answered`: did enough holders answer for "not found" to mean
     *  that nobody holds it? (false: timeouts). The view is good until this returns. From inside skep_dht_get_start() for keys found at home. */
    void (*on_value)(struct skep_dht_get *get, size_t index, const struct skep_dht_value *value,
                     bool answered);
    /** After the last on_value; also from inside skep_dht_get_start() when all keys were found at home. */
    void (*done)(struct skep_dht_get *get, int rc);
    struct skep_dht_cost cost; /* filled as it goes */
    uint32_t rounds;           /* in on_value: the longest chain of requests for this key */
};

struct skep_dht_get_options {
    double
        sufficient_expiration_unix_s; /* stop a key's search at the first value that lives at least until then; 0: now; INFINITY: latest */
    bool no_local;                    /* do not look into our own storage and cache */
    skep_dht_judge *
        believes; /* NULL: everything is believed. Else what it does not believe is as if nobody had answered it: it ends no search, displaces nothing, is not cached and not offered to others */
    uint64_t
        deadline_us; /* monotonic; 0: none. Then keys not decided are reported as found at home or NULL, answered false, and done gets SKEP_EDEADLINE */
    size_t
        guesses; /* so many of the last keys may well be nobody's: when a likely holder has none, that is all, answered false. They wait for the others */
};

/** @param keys [count], copied. @return 0; SKEP_ENOMEM, SKEP_ELIMIT. */
int skep_dht_get_start(struct skep_dht *dht, struct skep_dht_get *get,
                       const struct skep_dht_id *keys, size_t count,
                       const struct skep_dht_get_options *options);

/** A guess that is not decided yet is searched to the end after all. */
void skep_dht_get_insist(struct skep_dht *dht, struct skep_dht_get *get, size_t index);

/** What storage and cache hold now, without any request; NULL if nothing. Good until the next turn or change. `version` (may be NULL)
 *  is another number whenever that content could differ. */
const struct skep_dht_value *skep_dht_peek(struct skep_dht *dht, const struct skep_dht_id *key,
                                           uint64_t *version);

/** Whoever reads a key by skep_dht_peek() says how to judge what the node fetches anew for it. Harmless when it is not cached. */
void skep_dht_peek_judged_by(struct skep_dht *dht, const struct skep_dht_id *key,
                             skep_dht_judge *believes);

/** Forget what is cached; what we store for the swarm stays. */
void skep_dht_clear_cache_now(struct skep_dht *dht);

/* ---- store ---- */

struct skep_dht_record {
    struct skep_dht_id key;
    skep_bytes subkey; /* msgpack; empty (len 0): a plain value */
    skep_bytes value;  /* msgpack */
    double expiration_unix_s;
};

struct skep_dht_store {
    struct skep_dht_op op;
    /** Once a record: on how many replicas it was accepted, and how many answered. */
    void (*on_stored)(struct skep_dht_store *store, size_t index, unsigned accepted,
                      unsigned answered);
    void (*done)(struct skep_dht_store *store, int rc);
    struct skep_dht_cost cost;
};

struct skep_dht_store_options {
    bool exclude_self;
    bool in_cache; /* for negative marks and nearest caching: receivers put it in their cache */
    uint64_t deadline_us; /* monotonic; 0: none */
};

/** records [count]; their bytes are copied. Records are signed by the validators first. Keys that go to one peer travel together. */
int skep_dht_store_start(struct skep_dht *dht, struct skep_dht_store *store,
                         const struct skep_dht_record *records, size_t count,
                         const struct skep_dht_store_options *options);

/* ---- what a node knows ---- */

struct skep_dht_stats {
    size_t table_nodes, stored_keys, stored_bytes, cached_keys, cached_bytes;
    uint64_t requests_in, requests_out, requests_failed;
    uint64_t
        refused_records; /* that peers stored here, or that searches found and validators refused */
    uint64_t
        disbelieved; /* entries and plain values found that were not believed: skep_dht_get_options.believes */
    uint64_t
        bad_messages; /* requests and answers that broke the protocol, and nodes in them that do not parse */
    uint64_t answers_cut;    /* keys of answers that did not fit into a message */
    uint64_t verifications;  /* pings to nodes that sent requests */
    uint64_t pushes;         /* new nodes that were sent records */
    uint64_t late;           /* requests that took so long that their keys went on elsewhere */
    uint64_t hedges;         /* requests sent because another one was overdue */
    uint64_t hedges_refused; /* overdue requests whose keys had to wait for want of a token */
    size_t blacklisted;
    uint64_t swarm_size_estimate; /* nodes, ourselves included; clients are none */
    size_t one_hop_nodes,
        one_hop_bytes; /* of the one-hop table; nodes known to be dead not counted */
    uint64_t crawl_calls, crawl_bytes; /* what keeps it fresh; messages both ways */
    uint64_t crawl_rounds;             /* times that all of the swarm was gone over */
};
void skep_dht_stats(const struct skep_dht *dht, struct skep_dht_stats *out);

/* ---- for simulations, place.c ---- */

/** Put a node into the table as if it had answered. @return 0, also where there is no room for it; SKEP_ENOMEM. */
int skep_dht_place_node(struct skep_dht *dht, const struct skep_dht_id *id,
                        const struct skep_peer_id *peer);

/** Put a value into the storage, shared and not copied. @return 0, also where it was refused; SKEP_ENOMEM. */
int skep_dht_place_value(struct skep_dht *dht, const struct skep_dht_id *key,
                         const struct skep_dht_value *value);

/** What the storage (not the cache) holds of a key; NULL: nothing. Good until the next turn. */
const struct skep_dht_value *skep_dht_stored(struct skep_dht *dht, const struct skep_dht_id *key);

/** What is unsound about the table, the records or the queues; NULL: nothing. */
const char *skep_dht_check(const struct skep_dht *dht);

/** Does nothing run, and is nothing in flight? */
bool skep_dht_is_idle(const struct skep_dht *dht);

#endif
