/* SPDX-License-Identifier: MIT */
/* What keeps the one-hop table (onehop.h): calls that go over the whole space of ids once in each round, at an even rate.
 *
 * - **Discovery**, crawl_find.c. The space is a tree of tiles, those of the first 17 bits at the finest. A node in a tile is asked with rpc_find for its own id,
 *   around which its table is complete, and names the nearest it knows, usually 20: so the subtree of all ids nearer than the farthest one named is done, and
 *   what is left of the tile is cut into tiles of their own. That takes a call for about 14 nodes, in the first round, which is more careful, for 7. One key a
 *   call: an answer weighs what it names, and further keys would be far from the node, where its table has gaps.
 * - **Life.** Behind that each node that has not answered since the round began is pinged, and gets a second try. Those who fail are forgotten; named again in
 *   a later round they are tried anew.
 *
 * Calls say no node id, as those of a node in client mode: nobody's table changes by being asked. Nor does ours, but that what turns out dead leaves it.
 *
 * Traffic: at most SKEP_DHT_CRAWL_CALLS_PER_S calls start in a second, whatever peers say. Measured with the options' defaults among nodes whose tables are
 * complete (tests/dht/test_crawl_crowd.c), messages both ways without what carries them; a node that we are not connected to costs a handshake besides:
 *
 *    nodes   99.5 % known after   all called after   then calls/s   bytes/s
 *    1,000        31 s                 32 s               1.6          200
 *   10,000        32 s                105 s              16.6        2,100
 *   50,000        95 s                8.5 min            83.3       10,700 */
#ifndef SKEP_DHT_CRAWL_H
#define SKEP_DHT_CRAWL_H

#include "dht/node_internal.h"
#include "dht/onehop.h"

/** Start it, where the options say so; else dht->crawl stays NULL. @return 0, SKEP_ENOMEM. */
int skep_crawl_new(struct skep_dht *dht);
/** Its calls are cancelled. Harmless without one. */
void skep_crawl_free(struct skep_dht *dht);

/* ---- what the rest of the node tells it; all are harmless without one ---- */

/** A node has answered us. */
void skep_crawl_met(struct skep_dht *dht, const struct skep_dht_id *id,
                    const struct skep_peer_id *peer);
/** `via` named a node. */
void skep_crawl_named(struct skep_dht *dht, const struct skep_dht_id *id,
                      const struct skep_peer_id *peer, const struct skep_peer_id *via);
/** A call to a peer failed, by its fault. */
void skep_crawl_failed(struct skep_dht *dht, const struct skep_peer_id *peer);

/* ---- what it knows ---- */

/** Up to k nodes nearest to `key`, nearest first, those not known to be dead. @param out [k]. @return how many; 0 without one. */
size_t skep_crawl_nearest(const struct skep_dht *dht, const struct skep_dht_id *key, size_t k,
                          struct skep_onehop_node **out);
/** The round trip to a peer as it was; 0: not known. */
uint64_t skep_crawl_rtt_us(const struct skep_dht *dht, const struct skep_peer_id *peer);
void skep_crawl_stats(const struct skep_dht *dht, struct skep_dht_stats *out);

#endif
