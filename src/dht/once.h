/* SPDX-License-Identifier: MIT */
/* "At most once in so long a peer": remembers when something was last done for a peer. Bounded: the longest ago is forgotten. */
#ifndef SKEP_DHT_ONCE_H
#define SKEP_DHT_ONCE_H

#include "base/list.h"
#include "base/map.h"
#include "peer/peer_id.h"

struct skep_once_peer; /* once.c */

struct skep_once {
    const struct skep_mem *mem;
    uint64_t interval_us;
    size_t peers_max;
    struct skep_once_peer *peers; /* map by peer id */
    struct skep_list by_age;
};

void skep_once_init(struct skep_once *once, const struct skep_mem *mem, uint64_t interval_us,
                    size_t peers_max);
void skep_once_fini(struct skep_once *once);

/** May it be done now? If so it counts as done. Without memory: no. */
bool skep_once_take(struct skep_once *once, const struct skep_peer_id *peer, uint64_t now_us);

#endif
