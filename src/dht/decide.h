/* SPDX-License-Identifier: MIT */
/* When a key of a lookup is decided. Of traverse.c. */
#ifndef SKEP_DHT_DECIDE_H
#define SKEP_DHT_DECIDE_H

#include "dht/traverse.h"

/** Do those that have answered decide the key, though others of its beam were not asked? */
bool skep_lookup_is_settled(const struct skep_dht_lookup *lookup,
                            const struct skep_dht_lookup_key *key);

/** Is nothing left to ask or to wait for? */
bool skep_lookup_is_decided(const struct skep_dht_lookup *lookup,
                            const struct skep_dht_lookup_key *key);

/** How many of the beam may be asked so far; by a hedge also in the place of the overdue. */
size_t skep_lookup_reach(const struct skep_dht_lookup *lookup,
                         const struct skep_dht_lookup_key *key, bool is_hedge);

/** What a decided key says about the size of the swarm. */
void skep_lookup_learn_size(struct skep_dht_lookup *lookup, const struct skep_dht_lookup_key *key);

#endif
