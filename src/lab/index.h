/* SPDX-License-Identifier: MIT */
/* Every node of a swarm by its id: what no node of a real swarm has, so that tables and records can be placed by a rule. */
#ifndef SKEP_LAB_INDEX_H
#define SKEP_LAB_INDEX_H

#include "base/prng.h"
#include "dht/dht_id.h"

struct skep_lab_index_entry {
    struct skep_dht_id id;
    uint32_t member;
};

struct skep_lab_index {
    const struct skep_mem *mem;
    struct skep_lab_index_entry *entries; /* [count], by id once it is sorted */
    size_t count, cap;
};

void skep_lab_index_init(struct skep_lab_index *index, const struct skep_mem *mem);
void skep_lab_index_fini(struct skep_lab_index *index);

/** @return 0, SKEP_ENOMEM. Sort before the next look. */
int skep_lab_index_add(struct skep_lab_index *index, const struct skep_dht_id *id, uint32_t member);
void skep_lab_index_sort(struct skep_lab_index *index);

/** The up to k members nearest to a target, nearest first. @return how many. */
size_t skep_lab_index_nearest(const struct skep_lab_index *index, const struct skep_dht_id *target,
                              size_t k, uint32_t *out);

/** Kademlia's promise to a node with this id: up to `each` members, drawn, of every subtree that it is not in, and all of the smallest one that it is in.
 *  `known` is told each once, never of an entry with that very id. @return 0, or what `known` returned. */
int skep_lab_index_table(const struct skep_lab_index *index, const struct skep_dht_id *own,
                         size_t each, struct skep_prng *prng,
                         int (*known)(void *user, const struct skep_lab_index_entry *entry),
                         void *user);

#endif
