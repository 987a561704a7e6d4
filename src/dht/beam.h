/* SPDX-License-Identifier: MIT */
/* The nodes that a lookup has heard of, and each key's beam of the nearest of them. Of traverse.c. */
#ifndef SKEP_DHT_BEAM_H
#define SKEP_DHT_BEAM_H

#include "dht/traverse.h"

/** Candidates from our own table. @return 0, SKEP_ENOMEM. */
int skep_beam_seed(struct skep_dht_lookup *lookup, struct skep_dht_lookup_key *key);

/** Once more the nearest of our own table and, in a lookup of one key, of all that it has heard of: names that turned out to be wrong may have pushed them out. Harmless
 *  where nothing fell out. */
void skep_beam_refill(struct skep_dht_lookup *lookup, struct skep_dht_lookup_key *key);

/** The nodes that `via` names as near to a key. @return did somebody come into the beam? */
bool skep_beam_merge(struct skep_dht_lookup *lookup, struct skep_dht_lookup_key *key, uint32_t via,
                     const struct skep_dht_find_result *result);

/** One more node that may be near. @return did it come into the beam? */
bool skep_beam_add(struct skep_dht_lookup *lookup, struct skep_dht_lookup_key *key,
                   const struct skep_dht_id *id, const struct skep_peer_id *peer, uint32_t via);

/** The candidate of this node, or NULL. */
struct skep_dht_candidate *skep_beam_find(struct skep_dht_lookup_key *key, uint32_t node);

/** A candidate failed: out of the beam. */
void skep_beam_remove(struct skep_dht_lookup *lookup, struct skep_dht_lookup_key *key,
                      struct skep_dht_candidate *candidate);

#endif
