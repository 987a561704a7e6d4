/* SPDX-License-Identifier: MIT */
/* A malicious node of the simulated call seam: it has a node id, answers pings and so gets into tables like any other, and then lies. It runs no skep_dht; it serves
 * the DHT's methods with one vice. All its draws come from its seed. Left out: storing its lies at honest nodes, which is open to
 * anybody who knows a key (docs/architecture.md says what helps). */
#ifndef SKEP_LAB_MALICE_H
#define SKEP_LAB_MALICE_H

#include "dht/dht_id.h"
#include "rpc/rpc.h"

enum skep_lab_vice {
    /** Nobody holds anything; names nodes that do not exist, near the key, under its own and its accomplices' peer ids, or real ones far away. */
    SKEP_LAB_VICE_NEIGHBOURS,
    /** Errors, answers without results, and "not found" without a neighbour; refuses all stores. */
    SKEP_LAB_VICE_REFUSING,
    /** Accepts all stores and keeps nothing; answers finds with random bytes, a text or a dictionary of nonsense that outlive all else. */
    SKEP_LAB_VICE_GARBAGE,
    SKEP_LAB_VICE_COUNT, /* the three to draw from; no vice itself */

    /** Well-formed lies: it hands on what was stored at it as served by itself, with one expert more that does not exist, and longer than all others; of what it does not know it
     *  says that it is empty, by a negative mark. Nothing but signatures helps where enough holders are like this. */
    SKEP_LAB_VICE_FORGER,
    /** Tells each asker the node id that would be near the key, which its accomplices name it by; accepts all stores and keeps nothing. In a protocol that does not bind node
     *  ids to keys of peers nothing helps where enough are like this. */
    SKEP_LAB_VICE_CHAMELEON,
};

struct skep_lab_malice;

/** Serves at once. @param rpc  Of skep_sim_net_add(); no skep_dht may use it. @return 0, SKEP_ENOMEM, SKEP_EEXIST. */
int skep_lab_malice_new(struct skep_lab_malice **out, struct skep_env *env, struct skep_rpc *rpc,
                        const struct skep_dht_id *node_id, enum skep_lab_vice vice, uint64_t seed);
void skep_lab_malice_free(struct skep_lab_malice *malice);

/** Whose peer ids it names besides its own: [count], borrowed for as long as it lives. */
void skep_lab_malice_conspire(struct skep_lab_malice *malice, const struct skep_peer_id *peers,
                              size_t count);

/** Become known: a find of its own id at this peer, then, as a node that joins would, at those it is told of. A call that fails is forgotten. */
void skep_lab_malice_greet(struct skep_lab_malice *malice, const struct skep_peer_id *peer);

struct skep_lab_malice_stats {
    uint64_t pings, stores, finds; /* requests answered, one way or another */
};
const struct skep_lab_malice_stats *skep_lab_malice_stats(const struct skep_lab_malice *malice);

#endif
