/* SPDX-License-Identifier: MIT */
/* Experts that did not answer are left alone for a while, twice as long each time they fail again.
 *
 * Bounded: beyond SKEP_EXPERT_FAILING_MAX experts the one whose last failure is the oldest is forgotten. */
#ifndef SKEP_MOE_EXPERT_FAILING_H
#define SKEP_MOE_EXPERT_FAILING_H

#include "base/limits.h"
#include "base/list.h"
#include "base/map.h"
#include "peer/peer_id.h"

/** Who serves what, as the bytes that tables of experts are keyed by. */
struct skep_expert_key {
    uint8_t bytes[1 + SKEP_PEER_ID_LEN_MAX + SKEP_UID_LEN_MAX];
    size_t len;
};

/** @param uid  at most SKEP_UID_LEN_MAX bytes. */
void skep_expert_key_make(struct skep_expert_key *key, skep_bytes uid,
                          const struct skep_peer_id *peer);

struct skep_expert_failing_table {
    const struct skep_mem *mem;
    struct failing_expert *experts; /* map by key */
    struct skep_list by_age;        /* by their last failure */
    size_t count, experts_max;
};

void skep_expert_failing_init(struct skep_expert_failing_table *table, const struct skep_mem *mem);
void skep_expert_failing_fini(struct skep_expert_failing_table *table);

/** It did not answer. One that is left alone already is not punished again: many calls to it end together. Where there is no memory for it, nothing is
 *  remembered. */
void skep_expert_failing_add(struct skep_expert_failing_table *table,
                             const struct skep_expert_key *key, uint64_t now_us);

/** It answered: all is forgotten. */
void skep_expert_failing_clear(struct skep_expert_failing_table *table,
                               const struct skep_expert_key *key);

/** Is it to be left alone now? */
bool skep_expert_failing_has(const struct skep_expert_failing_table *table,
                             const struct skep_expert_key *key, uint64_t now_us);

#endif
