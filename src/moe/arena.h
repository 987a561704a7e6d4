/* SPDX-License-Identifier: MIT */
/* Memory of one search: handed out in order, given back all at once. A searcher keeps one block, so that a small search allocates
 * nothing. */
#ifndef SKEP_MOE_ARENA_H
#define SKEP_MOE_ARENA_H

#include "base/error.h"
#include "base/mem.h"

struct skep_arena_block;

struct skep_arena {
    const struct skep_mem *mem;
    struct skep_arena_block *blocks; /* the newest first */
    char *at, *end;
    size_t bytes;
};

/** @param spare  NULL, or what skep_arena_fini() kept: it is taken over. */
void skep_arena_init(struct skep_arena *arena, const struct skep_mem *mem,
                     struct skep_arena_block **spare);

/** Frees everything; keeps one ordinary block in *spare if there is none. NULL: frees that too. */
void skep_arena_fini(struct skep_arena *arena, struct skep_arena_block **spare);

void skep_arena_block_free(const struct skep_mem *mem, struct skep_arena_block *block);

/** @return count * size bytes for any type, not initialised, or NULL. */
void *skep_arena_alloc(struct skep_arena *arena, size_t count, size_t size);

#endif
