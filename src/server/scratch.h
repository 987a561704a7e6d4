/* SPDX-License-Identifier: MIT */
/* Scratch memory of one pass over a batch: taken piece by piece, given back all at once.
 *
 * Fresh memory costs a page fault every 4 KiB, which for a large batch is more than its layer norms. So what a pass used is kept, as one block, on a
 * shelf that all experts of a class share, and the next pass takes it from there. The shelf is all that two workers may touch at the same time. */
#ifndef SKEP_SERVER_SCRATCH_H
#define SKEP_SERVER_SCRATCH_H

#include <stdatomic.h>
#include <stddef.h>

#include "base/mem.h"

enum { SKEP_SCRATCH_ALIGN = 64, SKEP_SCRATCH_PLACES = 8 };

struct skep_scratch_block;

struct skep_scratch_shelf {
    _Atomic(struct skep_scratch_block *) places[SKEP_SCRATCH_PLACES];
};

struct skep_scratch {
    const struct skep_mem *mem;
    struct skep_scratch_shelf *shelf;
    struct skep_scratch_block *blocks; /* the one in use first */
    size_t taken;                      /* bytes */
};

void skep_scratch_shelf_init(struct skep_scratch_shelf *shelf);
/** Free what lies there; no pass may be running. */
void skep_scratch_shelf_fini(struct skep_scratch_shelf *shelf);

/** Begin a pass. Allocates nothing. */
void skep_scratch_begin(struct skep_scratch *scratch, const struct skep_mem *mem,
                        struct skep_scratch_shelf *shelf);

/** @return len bytes, not initialised, aligned to SKEP_SCRATCH_ALIGN, until the pass ends; NULL: there is no memory. */
void *skep_scratch_alloc(struct skep_scratch *scratch, size_t len);

/** End the pass: keep up to SKEP_SCRATCH_KEPT_MAX bytes for the next. */
void skep_scratch_end(struct skep_scratch *scratch);

#endif
