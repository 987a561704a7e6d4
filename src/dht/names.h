/* SPDX-License-Identifier: MIT */
/* Who is who in a lookup: against peers that name nodes which do not exist. Of traverse.c and beam.c.
 *
 * Anybody can name a peer under a node id near the key; twenty such names from one answer are all of a beam. So a name is not taken in where the peer is known under another id, by our table or
 * because it told so in this lookup: each peer wastes one call of a lookup at most. Who named two that turned out to be others is not listened to any more, and those of its
 * names that have not been asked yet go.
 * Left out: peers that tell each asker another node id. hivemind does not bind node ids to peers, so nothing but their being known before helps against those. */
#ifndef SKEP_DHT_NAMES_H
#define SKEP_DHT_NAMES_H

#include "dht/traverse.h"

/** May this peer be the node with this id, for all we know? */
bool skep_names_plausible(const struct skep_dht_lookup *lookup, const struct skep_dht_id *id,
                          const struct skep_peer_id *peer);

/** Is what this node names taken in? */
bool skep_names_heard(const struct skep_dht_lookup *lookup, uint32_t node);

/** Does an answer of this node, which is the one it was named as or not, take it into our table? Not by a lie, nor by whoever has told one: liars name
 *  their like everywhere, who would soon be all of our table's far side. */
bool skep_names_introduced(const struct skep_dht_lookup *lookup, uint32_t node, bool is_it);

/** A node answered that it is another, `real`, or (NULL) none at all. Whoever named it has lied, or did not know better. */
void skep_names_wrong(struct skep_dht_lookup *lookup, uint32_t node,
                      const struct skep_dht_id *real);

void skep_names_fini(struct skep_dht_lookup *lookup);

#endif
