/* SPDX-License-Identifier: MIT */
/* The first asks of a get, of traverse.c: as few peers as cover each key with one of its likely holders. */
#ifndef SKEP_DHT_COVER_H
#define SKEP_DHT_COVER_H

#include "dht/traverse.h"

/** Plan one ask for every key that has a likely holder and for which a request can be afforded. */
void skep_cover_keys(struct skep_dht_lookup *lookup);

/* ---- what it needs of traverse.c ---- */

/** Plan to ask a candidate for a key. @return false without memory. */
bool skep_lookup_plan(struct skep_dht_lookup *lookup, struct skep_dht_lookup_key *key,
                      struct skep_dht_candidate *candidate);
/** May this node be asked: not failed in this lookup, not blacklisted? */
bool skep_lookup_usable(struct skep_dht_lookup *lookup, const struct skep_dht_lookup_node *node);
/** Look at this key on the next occasion. */
void skep_lookup_make_ready(struct skep_dht_lookup *lookup, struct skep_dht_lookup_key *key);

#endif
