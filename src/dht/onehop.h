/* SPDX-License-Identifier: MIT */
/* The one-hop table: as much of the swarm as a node keeps in mind, so that a lookup begins where it would end. Gupta, Liskov, Rodrigues 2004, "One hop
 * lookups for peer-to-peer overlays"; ours is kept by asking (crawl.c), since the wire has no messages to tell of comings and goings.
 *
 * It is no routing table: peers are never told of what is in it, so that they are only told of nodes that have answered us. A node that others named is in
 * it as heard of, until it has answered or failed. One that has failed stays as dead for a while, so that those who still name it do not bring it back at once.
 *
 * Nodes lie in a pool and never move. 256 bins by the first byte of the id hold their indices, sorted: an insertion moves a 256th of them, and the nodes nearest
 * to a key are found by walking the bins, and in each the halves of ever narrower ranges, in the order of their distance: O(log n + k). From 1,000 nodes on a
 * node takes at most SKEP_DHT_ONE_HOP_NODE_BYTES, everything included.
 * Left out: who is asked when (crawl.c). */
#ifndef SKEP_DHT_ONEHOP_H
#define SKEP_DHT_ONEHOP_H

#include "dht/dht_id.h"
#include "peer/peer_id.h"

enum {
    SKEP_ONE_HOP_BINS = 256,
    SKEP_ONE_HOP_PEER_LEN_MAX = 44,      /* of what skep_peer_id_from_bytes() lets in */
    SKEP_ONE_HOP_FIXED_BYTES = 24 << 10, /* of a table, whatever is in it */
};

enum skep_onehop_state {
    SKEP_ONE_HOP_HEARD,    /* named by somebody; not asked yet */
    SKEP_ONE_HOP_ANSWERED, /* has answered us, and said that this is its id */
    SKEP_ONE_HOP_DOUBTED,  /* either, and then failed once */
    SKEP_ONE_HOP_DEAD,     /* failed again, and who names it is not believed for a while */
    SKEP_ONE_HOP_FREE,     /* a place in the pool */
    SKEP_ONE_HOP_STATES
};

struct skep_onehop_node {
    struct skep_dht_id id;
    uint8_t state, peer_len;
    uint8_t peer[SKEP_ONE_HOP_PEER_LEN_MAX];
    uint8_t calling, asked; /* crawl.c's: a call is under way; for how many keys this round */
    uint32_t
        rtt_us; /* of one that has answered; 0: not known. Of one just heard of: who named it */
    uint32_t since_ds; /* when it last answered, else came into its state; tenths of a second.
                               Of a free place: the next one, + 1 */
};

struct skep_onehop_bin {
    uint32_t *nodes; /* [count] indices into the pool, by id */
    uint32_t count, cap;
};

struct skep_onehop {
    const struct skep_mem *mem;
    size_t nodes_max, bytes_max;
    uint32_t grudge_ds;                   /* so long who names a dead node is not believed */
    size_t bytes;                         /* allocated */
    uint32_t count;                       /* of nodes in it, dead ones included */
    uint32_t counts[SKEP_ONE_HOP_STATES]; /* of them, by state */
    struct skep_onehop_node **slabs;      /* the pool */
    uint32_t slab_count, slab_cap, used, free;
    uint32_t hand;     /* where in the pool the last node was that had to make room */
    uint32_t *by_peer; /* open-addressed table of index + 1, by peer id */
    uint32_t by_peer_cap;
    struct skep_onehop_bin bins[SKEP_ONE_HOP_BINS];
};

/** @param nodes_max  at most SKEP_DHT_ONE_HOP_NODES_MAX. */
void skep_onehop_init(struct skep_onehop *table, const struct skep_mem *mem, size_t nodes_max,
                      uint32_t grudge_ds);
void skep_onehop_fini(struct skep_onehop *table);

/** `via` named a node. It comes in unless its id or its peer is known: a name says nothing new of those, nor does it bring back who died lately.
 *  @return 0; SKEP_ELIMIT: full; SKEP_EINVAL: no peer id; SKEP_ENOMEM. */
int skep_onehop_heard(struct skep_onehop *table, const struct skep_dht_id *id,
                      const struct skep_peer_id *peer, const struct skep_peer_id *via,
                      uint32_t now_ds);

/** A peer has answered, and says that this is its id. A peer has one; what others said of it is forgotten. In a full table a node that is dead or just heard of
 *  makes room.  @param rtt_us  0: not known. @return 0; SKEP_EEXIST: the id belongs to another peer that has answered; and as above. */
int skep_onehop_answered(struct skep_onehop *table, const struct skep_dht_id *id,
                         const struct skep_peer_id *peer, uint32_t rtt_us, uint32_t now_ds);

/** A call to a node failed: it is doubted, and when it fails again a second later or more, it is dead. */
void skep_onehop_failed(struct skep_onehop *table, struct skep_onehop_node *node, uint32_t now_ds);
/** It is dead: also one that answers and says that it is no node. */
void skep_onehop_bury(struct skep_onehop *table, struct skep_onehop_node *node, uint32_t now_ds);
void skep_onehop_remove(struct skep_onehop *table, struct skep_onehop_node *node);

/** The node with this id, or of this peer; NULL: none. Good until it is removed. */
struct skep_onehop_node *skep_onehop_get(const struct skep_onehop *table,
                                         const struct skep_dht_id *id);
struct skep_onehop_node *skep_onehop_get_peer(const struct skep_onehop *table,
                                              const struct skep_peer_id *peer);

/** The first node behind this id, in the order of ids. @param id  NULL: of all. @return NULL at the end. */
struct skep_onehop_node *skep_onehop_after(const struct skep_onehop *table,
                                           const struct skep_dht_id *id);

/** Up to k nodes nearest to `target` by XOR, nearest first; doubted and dead ones are left out.
 *  @param out  [k], receives nodes. @return how many. */
size_t skep_onehop_nearest(const struct skep_onehop *table, const struct skep_dht_id *target,
                           size_t k, struct skep_onehop_node **out);

/** Nodes that are not known to be dead. */
static inline size_t skep_onehop_count(const struct skep_onehop *table)
{
    return table->count - table->counts[SKEP_ONE_HOP_DEAD];
}

/** Who named a node that was just heard of, if that one is still there. @return false: it is not known. */
bool skep_onehop_via(const struct skep_onehop *table, const struct skep_onehop_node *node,
                     struct skep_peer_id *out);

struct skep_peer_id skep_onehop_peer(const struct skep_onehop_node *node);

/** Time as nodes keep it. */
static inline uint32_t skep_onehop_ds(uint64_t now_us)
{
    return (uint32_t)(now_us / 100000);
}

#endif
