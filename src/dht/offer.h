/* SPDX-License-Identifier: MIT */
/* cache_nearest: what a get found is offered to the nearest nodes that were asked and had nothing, for their caches. docs/wire.md c.4.
 * Those that go to one node in one turn travel together; nobody waits for the answer. */
#ifndef SKEP_DHT_OFFER_H
#define SKEP_DHT_OFFER_H

#include "dht/traverse.h"

struct skep_offers {
    struct skep_offer {
        uint32_t node, key; /* of the lookup */
        struct skep_dht_value *value;
    } * list;
    size_t count, cap;
};

/** Offer a key's best value to a node of the lookup. Without memory it is forgotten. */
void skep_offers_add(struct skep_dht_lookup *lookup, struct skep_offers *offers,
                     struct skep_dht_lookup_key *key, uint32_t node);
void skep_offers_send(struct skep_dht_lookup *lookup, struct skep_offers *offers);
void skep_offers_fini(struct skep_dht_lookup *lookup, struct skep_offers *offers);

#endif
