/* SPDX-License-Identifier: MIT */
/* The prefixes a searcher has met: each with its DHT id and, as long as the node's own record has not changed, its decoded successors.
 * A child is found by its parent and coordinate, so that a repeated search builds no text and hashes no key.
 *
 * Bounded in bytes; what was used longest ago goes first. A parent is always younger than its children, so only leaves go. */
#ifndef SKEP_MOE_PREFIX_TREE_H
#define SKEP_MOE_PREFIX_TREE_H

#include "base/list.h"
#include "base/map.h"
#include "dht/node.h"
#include "moe/successors.h"

struct skep_prefix_key {
    uint64_t parent; /* its serial number */
    uint64_t coordinate;
};

struct skep_prefix_node {
    UT_hash_handle hh;
    struct skep_prefix_key key;
    uint64_t serial;
    struct skep_prefix_node *parent; /* NULL: the root, or a loose one */
    struct skep_list lru;
    unsigned pins, children;
    bool loose; /* in no tree: goes with its last pin */
    struct skep_dht_id id;
    uint64_t version; /* of the record that `found` was decoded from */
    struct skep_moe_successors *found;
    size_t bytes;
    size_t text_len;
    char text[]; /* terminated */
};

struct skep_prefix_tree {
    struct skep_dht *dht;
    const struct skep_mem *mem;
    struct skep_prefix_node *root, *nodes; /* `nodes`: the map */
    struct skep_list lru;                  /* the youngest first */
    uint64_t serials;
    size_t bytes, bytes_max;
    struct skep_peer_texts *texts;
    struct skep_successors_dropped dropped; /* ever */
};

/** @return 0; SKEP_ENOMEM. */
int skep_prefix_tree_init(struct skep_prefix_tree *tree, struct skep_dht *dht, skep_bytes prefix,
                          size_t bytes_max);
/** No node may be pinned any more. */
void skep_prefix_tree_fini(struct skep_prefix_tree *tree);

/** The child of a node, pinned; NULL: out of memory. */
struct skep_prefix_node *skep_prefix_tree_child(struct skep_prefix_tree *tree,
                                                struct skep_prefix_node *parent,
                                                uint32_t coordinate);

/** A prefix that is in no tree, pinned; NULL: out of memory. */
struct skep_prefix_node *skep_prefix_tree_loose(struct skep_prefix_tree *tree, skep_bytes prefix);

void skep_prefix_tree_unpin(struct skep_prefix_tree *tree, struct skep_prefix_node *node);

/** Let old nodes go until the bound is kept. */
void skep_prefix_tree_trim(struct skep_prefix_tree *tree);

/** What the node's own storage and cache know of a prefix. @return 1 with *out (a reference of its own; perhaps without entries); 0: nothing is
 *  at home; SKEP_ENOMEM. */
int skep_prefix_tree_look(struct skep_prefix_tree *tree, struct skep_prefix_node *node,
                          double now_unix_s, struct skep_moe_successors **out);

/** Decode what the network answered. @return 0 with *out, a reference of its own; SKEP_ENOMEM. */
int skep_prefix_tree_learn(struct skep_prefix_tree *tree, struct skep_prefix_node *node,
                           const struct skep_dht_value *value, double now_unix_s,
                           struct skep_moe_successors **out);

#endif
