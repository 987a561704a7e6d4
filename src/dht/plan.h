/* SPDX-License-Identifier: MIT */
/* Whom a lookup asks for what: pairs of nodes and keys, gathered so that the keys of one node travel in one request. Of traverse.c. */
#ifndef SKEP_DHT_PLAN_H
#define SKEP_DHT_PLAN_H

#include "dht/traverse.h"

/** Plan to ask a candidate for a key. @return false without memory. */
bool skep_lookup_plan(struct skep_dht_lookup *lookup, struct skep_dht_lookup_key *key,
                      struct skep_dht_candidate *candidate);

/** Plan as many asks of a key as it may have now. @return false: it must wait for workers. */
bool skep_lookup_plan_key(struct skep_dht_lookup *lookup, struct skep_dht_lookup_key *key);

/** Plan one more ask for each of the keys that an overdue request holds up, as far as there are tokens. @param chunk  most keys in one request. */
void skep_lookup_plan_hedges(struct skep_dht_lookup *lookup, const uint32_t *keys, uint32_t count,
                             size_t chunk);

/** May this node be asked: not failed in this lookup, not blacklisted? */
bool skep_lookup_usable(struct skep_dht_lookup *lookup, const struct skep_dht_lookup_node *node);

/** How long an answer of this node is expected to take: its round trip; longer if that is unknown, and much longer if it did not answer lately. */
uint32_t skep_lookup_wait_us(struct skep_dht_lookup *lookup, uint32_t node);

/** How likely a candidate is a holder of its key, at the `rank`-th place of the beam, in 1/65536; at least 1. */
uint32_t skep_lookup_holds(const struct skep_dht_lookup *lookup,
                           const struct skep_dht_candidate *candidate, size_t rank);

/** How many requests may be in flight; of guesses less, so that they are never in the way. */
size_t skep_lookup_workers(const struct skep_dht_lookup *lookup, bool shallow);

/** Look at this key on the next occasion. traverse.c */
void skep_lookup_make_ready(struct skep_dht_lookup *lookup, struct skep_dht_lookup_key *key);

#endif
