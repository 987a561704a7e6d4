/* SPDX-License-Identifier: MIT */
/* What experts said of themselves, kept. docs/wire.md e.2.
 *
 *   get --unknown--> ASKING --answer--> KNOWN --another needs the room, or it turned out to be wrong--> forgotten
 *                    ASKING --error, or nobody waits any more--> forgotten
 *
 * Those that want the same info at the same time share one request. An info that was forgotten lives on with those that hold it. Bounded: of those that are
 * known, SKEP_EXPERT_INFOS_MAX are kept, the least recently used goes. */
#ifndef SKEP_MOE_EXPERT_INFOS_H
#define SKEP_MOE_EXPERT_INFOS_H

#include "moe/expert_failing.h"
#include "moe/expert_info.h"
#include "rpc/rpc.h"

struct skep_expert_kept_info;

struct skep_expert_infos {
    struct skep_rpc *rpc;
    const struct skep_mem *mem;
    struct skep_expert_kept_info *infos; /* map by key: ASKING and KNOWN */
    struct skep_list by_use;             /* those that are KNOWN, the last used last */
    size_t known_count, infos_max;
    uint64_t asked;
};

/** Somebody who wants an info, then holds it. Zeroed but for `done`. */
struct skep_expert_wait {
    /** rc 0: `info` is held. `text` may be empty, and is good until this returns. */
    void (*done)(struct skep_expert_wait *wait, int rc, skep_bytes text);
    struct skep_expert_kept_info *info; /* NULL: neither waits nor holds */
    struct skep_list entry;             /* info->waiting */
    bool waiting;
};

void skep_expert_infos_init(struct skep_expert_infos *infos, struct skep_rpc *rpc);
/** Nobody waits any more; some may still hold. */
void skep_expert_infos_fini(struct skep_expert_infos *infos);

/** @return 1: known, and held from now on; 0: asked for, `done` follows; or the error of asking, and it does not. */
int skep_expert_infos_get(struct skep_expert_infos *infos, struct skep_expert_wait *wait,
                          skep_bytes uid, const struct skep_peer_id *peer);

/** Stop waiting or holding. Harmless on one that does neither. */
void skep_expert_infos_leave(struct skep_expert_wait *wait);

/** What is held may be wrong: the next to want it asks anew. */
void skep_expert_infos_forget(const struct skep_expert_wait *wait);

const struct skep_expert_schema *skep_expert_infos_schema(const struct skep_expert_wait *wait);

#endif
