/* SPDX-License-Identifier: MIT */
/* What the files of a DHT node share; no other layer includes this. */
#ifndef SKEP_DHT_NODE_INTERNAL_H
#define SKEP_DHT_NODE_INTERNAL_H

#include "dht/blacklist.h"
#include "dht/cache.h"
#include "dht/message.h"
#include "dht/node.h"
#include "dht/once.h"
#include "dht/patience.h"
#include "dht/protocol.h"
#include "dht/routing.h"
#include "dht/storage.h"
#include "dht/swarm_size.h"

struct skep_crawl;
struct skep_dht_lookup_key;

struct skep_dht {
    struct skep_env *env;
    struct skep_rpc *rpc;
    const struct skep_mem *mem;
    struct skep_dht_options options;
    struct skep_dht_id node_id;
    const struct skep_dht_id *told_id; /* what our messages say: NULL in client mode */

    struct skep_routing table;
    struct skep_dht_storage storage;
    struct skep_dht_cache cache;
    struct skep_blacklist blacklist;
    struct skep_validators validators;
    struct skep_once verified, pushed;

    /* requests out */
    struct skep_list running, waiting; /* of struct skep_dht_request */
    size_t in_flight;
    struct skep_timer line_timer; /* a place became free by a cancel */
    struct skep_list pings;       /* of struct probe, node.c */
    struct skep_list validations; /* of struct validation, serve.c */
    struct skep_list storings;    /* of struct storing, serve.c */
    struct skep_timer storing_timer;
    struct skep_list pushes;  /* of struct push, push.c */
    struct skep_list favours; /* of struct favour, get.c */
    size_t ping_count, validation_count, push_count;
    struct skep_buf message;                  /* scratch for what is sent next */
    const struct skep_routing_node **nearest; /* scratch [bucket_size] */
    size_t
        key_bytes; /* what one key's part of a find answer weighed lately, for the size of the next ones */

    /* operations */
    struct skep_list lookups, joins, gets, stores;
    struct skep_dht_lookup_key *pending; /* map by key id: searches that others may share */
    struct skep_patience patience;
    struct skep_swarm_size swarm_size;
    uint64_t whole_until_us;       /* so long the table is taken to hold the whole, small, swarm */
    struct skep_dht_value *peeked; /* a stripped copy that skep_dht_peek() handed out */

    /* upkeep, refresh.c */
    struct skep_timer cache_timer, table_timer;
    struct skep_list refreshes; /* of struct refresh, refresh.c */
    size_t stale_bucket;

    struct skep_crawl *crawl; /* crawl.h; NULL: there is no one-hop table */

    struct skep_dht_stats stats;
};

/** A node has answered us: into the table, and whatever it should hold is pushed to it when it is new. node.c */
void skep_dht_met(struct skep_dht *dht, const struct skep_dht_id *id,
                  const struct skep_peer_id *peer);

/** A node sent a request: touched when it is known, else verified by a ping, rate-limited. node.c */
void skep_dht_heard(struct skep_dht *dht, const struct skep_dht_sender *sender,
                    const struct skep_peer_id *peer);

/** A call failed; takes the peer out of the table when it was its fault. */
void skep_dht_failed(struct skep_dht *dht, const struct skep_peer_id *peer, int rc);

/** What is known of how long a round trip to a peer takes, with the handshake where we are not connected; 0: nothing. node.c */
uint64_t skep_dht_rtt_us(struct skep_dht *dht, const struct skep_peer_id *peer);

/** Is a failed call the peer's or the network's fault, not ours? */
static inline bool skep_dht_fault_is_theirs(int rc)
{
    return rc <= -300;
}

/** The value as its user sees it: signatures stripped. @return a reference; NULL without memory. */
struct skep_dht_value *skep_dht_stripped(struct skep_dht *dht, const struct skep_dht_id *key,
                                         struct skep_dht_value *value);

/** Is a value, plain or every entry of a dictionary, accepted by the validators? */
bool skep_dht_valid(struct skep_dht *dht, skep_bytes key, const struct skep_dht_value *value);

/* push.c; init after the storage's */
void skep_dht_push_init(struct skep_dht *dht);
void skep_dht_push_to_newcomer(struct skep_dht *dht, const struct skep_dht_id *id,
                               const struct skep_peer_id *peer);
void skep_dht_push_cancel_all(struct skep_dht *dht);

/* serve.c */
int skep_dht_serve_start(struct skep_dht *dht);
void skep_dht_serve_stop(struct skep_dht *dht);

/* refresh.c */
void skep_dht_refresh_init(struct skep_dht *dht);
void skep_dht_refresh_fini(struct skep_dht *dht);
/** A cached key was read, or is known to be old: look at the schedule again. */
void skep_dht_refresh_schedule(struct skep_dht *dht);

void skep_dht_favours_cancel_all(struct skep_dht *dht);

/* one per kind of operation: ends all with SKEP_ECANCELED */
void skep_dht_join_end_all(struct skep_dht *dht);
void skep_dht_get_end_all(struct skep_dht *dht);
void skep_dht_store_end_all(struct skep_dht *dht);

/** Head of every operation's state: which kind it is, for skep_dht_cancel(). */
struct skep_dht_op_head {
    void (*cancel)(struct skep_dht_op_head *head);
};

/** As skep_dht_get_start(), for the refresher: not from the cache, nothing is scheduled by it. */
int skep_dht_get_start_refresh(struct skep_dht *dht, struct skep_dht_get *get,
                               const struct skep_dht_id *keys, size_t count,
                               const struct skep_dht_get_options *options);

#endif
