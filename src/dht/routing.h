/* SPDX-License-Identifier: MIT */
/* A Kademlia routing table: the nodes we know, in buckets by distance. docs/wire.md c.4; hivemind dht/routing.py; Maymounkov & Mazieres 2002, 2.2, 4.1, 4.2.
 *
 * A bucket splits when it is full and holds our own id or lies at a depth that is no multiple of depth_modulo. In one that may not split newcomers wait on a
 * replacement list while the node not heard of for longest is pinged. Unlike in hivemind that list is bounded, a peer has one node
 * id at a time, and nobody takes over the node id of another peer that is still in the table.
 * Left out: the pings themselves, and proof that a node exists (protocol.c adds only those that have answered). */
#ifndef SKEP_DHT_ROUTING_H
#define SKEP_DHT_ROUTING_H

#include "dht/dht_id.h"
#include "peer/peer_id.h"

struct skep_routing_node {
    struct skep_dht_id id;
    struct skep_peer_id peer;
    bool ping_asked; /* returned by skep_routing_add() as the one to ping, and not heard of since */
    bool replacement; /* waits on its bucket's replacement list */
};

struct skep_routing_bucket {
    struct skep_dht_id lower; /* the first id in its range */
    uint8_t depth;            /* ids in it share their first `depth` bits */
    uint32_t node_count, replacement_count;
    uint64_t updated_us; /* when a node in it was last heard of */
    uint32_t *
        slots; /* [bucket_size + replacements_max] indices of nodes: nodes from 0, oldest first, replacements from bucket_size */
};

struct skep_routing {
    const struct skep_mem *mem;
    struct skep_dht_id own_id;
    size_t bucket_size, replacements_max;
    unsigned depth_modulo;
    struct skep_routing_bucket
        *buckets; /* [bucket_count] by their lower ends; they cover all ids */
    size_t bucket_count, bucket_cap;
    struct skep_routing_node *nodes; /* a pool; free ones are chained through `free_node` */
    uint32_t node_cap, node_used, free_node, live;
    uint32_t *by_peer; /* open-addressed table of index + 1 into nodes, by peer id */
    uint32_t by_peer_cap;
    size_t node_count; /* in buckets, replacements not counted */
};

/** @return 0, SKEP_ENOMEM, SKEP_EINVAL (bucket_size or depth_modulo of 0). replacements_max is normally SKEP_DHT_REPLACEMENTS_MAX, at least 1. */
int skep_routing_init(struct skep_routing *table, const struct skep_mem *mem,
                      const struct skep_dht_id *own_id, size_t bucket_size, unsigned depth_modulo,
                      size_t replacements_max);
void skep_routing_fini(struct skep_routing *table);

/** A node was heard of: add it, or move it to the fresh end of its bucket.
 *  @param to_ping  receives the node to ask for a sign of life, by skep_routing_remove() or skep_routing_add() of what came of it. A copy.
 *  @return 0; 1 *to_ping is set; SKEP_EEXIST: the id belongs to another peer, or it is our own; SKEP_ENOMEM. */
int skep_routing_add(struct skep_routing *table, const struct skep_dht_id *id,
                     const struct skep_peer_id *peer, uint64_t now_us,
                     struct skep_routing_node *to_ping);

/** A node failed: out; the last replacement of its bucket moves in. @return was it there, as a node or a replacement? */
bool skep_routing_remove(struct skep_routing *table, const struct skep_dht_id *id);

/** The node with this id or of this peer, replacements included; NULL if unknown. Good until the next change. */
const struct skep_routing_node *skep_routing_get(const struct skep_routing *table,
                                                 const struct skep_dht_id *id);
const struct skep_routing_node *skep_routing_get_peer(const struct skep_routing *table,
                                                      const struct skep_peer_id *peer);

/** Up to k nodes nearest to `target` by XOR, nearest first, replacements and our own id never among them.
 *  @param out      [k], receives nodes, good until the next change.
 *  @param exclude  leave this id out; may be NULL.
 *  @return how many. */
size_t skep_routing_nearest(const struct skep_routing *table, const struct skep_dht_id *target,
                            size_t k, const struct skep_dht_id *exclude,
                            const struct skep_routing_node **out);

/** The bucket that an id falls into. */
size_t skep_routing_bucket_of(const struct skep_routing *table, const struct skep_dht_id *id);

/** The i-th node of a bucket, oldest first; for i >= node_count its replacements. */
const struct skep_routing_node *skep_routing_bucket_node(const struct skep_routing *table,
                                                         const struct skep_routing_bucket *bucket,
                                                         size_t i);

/** An id in the range of a bucket: `random` with the bucket's first bits. For the refresh of a bucket not heard of for long. */
struct skep_dht_id skep_routing_bucket_id(const struct skep_routing_bucket *bucket,
                                          const struct skep_dht_id *random);

#endif
