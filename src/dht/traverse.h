/* SPDX-License-Identifier: MIT */
/* Iterative lookups: from the nodes we know towards those nearest to a key, many keys at once. docs/wire.md c.4 (traversal); hivemind dht/traverse.py.
 *
 * Each key has a beam: the bucket_size nearest nodes heard of and not failed. It is decided when nobody within the beam is left to ask and all asked have
 * answered. What differs from hivemind, and does not show on the wire:
 * - a get first asks a few near peers that cover each key with one of its likely holders, all their keys in one request (cover.c); a key that misses there goes to more
 *   nodes at once, and to all the rest as soon as an answer names nobody nearer (plan.c);
 * - a request that takes longer than it should does not hold its keys up (patience.h): they go on elsewhere, and its answer counts when it comes;
 * - a key is decided before its whole beam was asked when the nearest few have answered, agree about who is near, and lie as near as in a swarm of the size that
 *   ours seems to have (decide.c);
 * - a key that is a guess (shallow) comes after the others, asks one node at a time, and is settled by the first likely holder that has none. */
#ifndef SKEP_DHT_TRAVERSE_H
#define SKEP_DHT_TRAVERSE_H

#include "dht/node_internal.h"

#define SKEP_DHT_NO_NODE UINT32_MAX

/** One node that a lookup has heard of. */
struct skep_dht_lookup_node {
    struct skep_dht_id id;
    struct skep_peer_id peer;
    uint32_t via; /* the node that named it; SKEP_DHT_NO_NODE: our table */
    bool failed;  /* never asked again in this lookup */
    bool asked;
    uint32_t wait_us;   /* what its answer is expected to take; 0: not looked at yet */
    uint8_t lies;       /* nodes that it named and that turned out to be others: names.c */
    uint32_t plan_head; /* of the keys it is about to be asked, index + 1 into the plan */
    uint32_t plan_count;
};

enum skep_dht_candidate_state {
    SKEP_DHT_CAND_NEW,
    SKEP_DHT_CAND_ASKED,
    SKEP_DHT_CAND_OVERDUE, /* asked, and slower than its like mostly are */
    SKEP_DHT_CAND_LATE,    /* counts as not answering */
    SKEP_DHT_CAND_ANSWERED
};

struct skep_dht_candidate {
    uint64_t head; /* first 8 bytes of the distance */
    uint32_t node;
    uint16_t named; /* answers for this key that named it */
    uint8_t state;
};

/** One key of a lookup. The second half is the user's. */
struct skep_dht_lookup_key {
    struct skep_dht_id id;
    struct skep_dht_candidate *beam; /* [count], nearest first */
    uint16_t count, late, asks, answers;
    uint16_t in_flight, overdue; /* requests not late; those of them that are overdue */
    uint16_t failed_near;        /* failures among the nodes that were likely holders */
    uint16_t rounds;
    bool eager;   /* the first ask was not enough: several at a time */
    bool wide;    /* nobody nearer is being named: ask all the rest at once */
    bool deep;    /* the nearest few did not decide it: ask the whole beam */
    bool dropped; /* there are candidates beyond the far end */
    bool queued, finished;
    bool shallow; /* a guess: the first likely holder that has none settles it */

    struct skep_list waiters; /* get.c */
    struct skep_dht_value *best;
    double sufficient_unix_s;
    skep_dht_judge *believes; /* what is found */
    uint32_t source;          /* the node that gave the best; SKEP_DHT_NO_NODE: ourselves */
    bool pending;
    struct skep_dht_lookup *lookup;
    UT_hash_handle hh; /* dht->pending */
};

struct skep_dht_lookup {
    struct skep_dht *dht;
    struct skep_list entry; /* dht->lookups */
    struct skep_dht_lookup_key *keys;
    uint32_t key_count, unfinished;
    struct skep_dht_candidate *beams; /* [key_count * beam_cap] */
    uint16_t beam, beam_cap;
    bool want_values, terse, starting, abandoned, again;
    bool exhaustive;   /* ask the whole beam of every key; the caller's choice */
    bool whole;        /* our table has all nodes or nearly */
    double swarm_size; /* an estimate, as of the start */
    unsigned busy;
    size_t chunk; /* most keys in one request */

    struct skep_dht_lookup_node *nodes;
    uint32_t node_count, node_cap;
    struct skep_dht_misnamed *misnamed; /* map by peer id: names.c */
    uint32_t *node_table;               /* open addressing, index + 1 */
    uint32_t node_table_cap;

    uint32_t *ready; /* [key_count] keys to look at */
    uint32_t ready_count;
    struct skep_dht_plan {
        uint32_t key, next;
    } * plan; /* (node, key) pairs about to be asked, chained by node */
    uint32_t plan_count, plan_cap;
    uint32_t *touched; /* nodes in the plan */
    uint32_t touched_count, touched_cap;

    struct skep_list finds; /* requests in flight */
    uint32_t find_count;
    struct skep_timer kick;
    struct skep_dht_cost cost;

    /** A peer holds something for a key, which may have finished before. @return is the key's search over? Only with want_values. */
    bool (*on_found)(struct skep_dht_lookup *lookup, struct skep_dht_lookup_key *key, uint32_t node,
                     const struct skep_dht_find_result *result);
    /** A key is decided; once each, never from inside start. */
    void (*on_key)(struct skep_dht_lookup *lookup, struct skep_dht_lookup_key *key);
    /** After the on_key of one turn; may be NULL. */
    void (*on_turn)(struct skep_dht_lookup *lookup);
    /** The lookup is about to be freed; its keys' values go here. May be NULL. */
    void (*on_free)(struct skep_dht_lookup *lookup);
    void *user;
};

/** A lookup of `count` keys with room for their state; the caller sets keys[i].id and the callbacks and starts it. Freed by itself when all keys are
 *  finished and no request is in flight. @return 0, SKEP_ENOMEM. */
int skep_dht_lookup_new(struct skep_dht_lookup **out, struct skep_dht *dht, uint32_t count,
                        bool want_values);

/** @return 0; SKEP_ENOMEM, and the lookup is gone without a callback but on_free. */
int skep_dht_lookup_start(struct skep_dht_lookup *lookup);

/** A lookup that was never started. */
void skep_dht_lookup_free(struct skep_dht_lookup *lookup);

/** Nobody wants this key any more; no on_key follows. */
void skep_dht_lookup_drop(struct skep_dht_lookup *lookup, struct skep_dht_lookup_key *key);

/** Nobody wants anything any more: no callback but on_free follows; requests in flight are cancelled. */
void skep_dht_lookup_cancel(struct skep_dht_lookup *lookup);

/** Did enough of the likely holders answer for "not found" to mean that nobody holds it? decide.c */
bool skep_dht_lookup_answered(const struct skep_dht_lookup *lookup,
                              const struct skep_dht_lookup_key *key);

#endif
