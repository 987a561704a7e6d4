/* SPDX-License-Identifier: MIT */
#include "server/scratch.h"

#include "base/error.h"
#include "base/limits.h"

enum {
    BLOCK_LEN_MIN = 64 << 10,
    IDLE_PASSES_MAX = 64 /* after so many passes that used less than a quarter a block is freed */
};

struct skep_scratch_block {
    const struct skep_mem *mem;
    struct skep_scratch_block *next;
    char *data; /* aligned, inside this allocation */
    size_t len, used;
    unsigned idle_passes;
};

static struct skep_scratch_block *block_new(const struct skep_mem *mem, size_t len)
{
    struct skep_scratch_block *block;

    if (len > PTRDIFF_MAX / 2)
        return NULL;
    block = skep_mem_alloc(mem, sizeof *block + len + SKEP_SCRATCH_ALIGN);
    if (!block)
        return NULL;
    *block = (struct skep_scratch_block){.mem = mem, .len = len};
    block->data = (char *)(block + 1);
    block->data += -(uintptr_t)block->data % SKEP_SCRATCH_ALIGN;
    return block;
}

static void block_free(struct skep_scratch_block *block)
{
    if (block)
        skep_mem_free(block->mem, block);
}

void skep_scratch_shelf_init(struct skep_scratch_shelf *shelf)
{
    for (size_t i = 0; i < SKEP_SCRATCH_PLACES; i++)
        atomic_init(&shelf->places[i], NULL);
}

void skep_scratch_shelf_fini(struct skep_scratch_shelf *shelf)
{
    for (size_t i = 0; i < SKEP_SCRATCH_PLACES; i++)
        block_free(atomic_exchange(&shelf->places[i], NULL));
}

void skep_scratch_begin(struct skep_scratch *scratch, const struct skep_mem *mem,
                        struct skep_scratch_shelf *shelf)
{
    *scratch = (struct skep_scratch){.mem = mem, .shelf = shelf};
    for (size_t i = 0; i < SKEP_SCRATCH_PLACES && !scratch->blocks; i++)
        scratch->blocks = atomic_exchange(&shelf->places[i], NULL);
}

void *skep_scratch_alloc(struct skep_scratch *scratch, size_t len)
{
    struct skep_scratch_block *block = scratch->blocks;
    size_t rounded;
    void *at;

    if (len > PTRDIFF_MAX / 2 || scratch->taken > PTRDIFF_MAX / 2)
        return NULL;
    rounded = (len + SKEP_SCRATCH_ALIGN - 1) & ~(size_t)(SKEP_SCRATCH_ALIGN - 1);
    if (!block || rounded > block->len - block->used) {
        block = block_new(scratch->mem, SKEP_MAX(rounded, (size_t)BLOCK_LEN_MIN));
        if (!block)
            return NULL;
        block->next = scratch->blocks;
        scratch->blocks = block;
    }
    at = block->data + block->used;
    block->used += rounded;
    scratch->taken += rounded;
    return at;
}

/* The one block that holds all that the pass took, or NULL. */
static struct skep_scratch_block *block_to_keep(struct skep_scratch *scratch)
{
    struct skep_scratch_block *block = scratch->blocks, *next;

    if (block && !block->next) {
        block->idle_passes = scratch->taken < block->len / 4 ? block->idle_passes + 1 : 0;
        if (block->len <= SKEP_SCRATCH_KEPT_MAX && block->idle_passes <= IDLE_PASSES_MAX)
            return block;
    }
    for (; block; block = next) {
        next = block->next;
        block_free(block);
    }
    if (scratch->taken == 0 || scratch->taken > SKEP_SCRATCH_KEPT_MAX)
        return NULL;
    return block_new(scratch->mem, SKEP_MAX(scratch->taken, (size_t)BLOCK_LEN_MIN));
}

void skep_scratch_end(struct skep_scratch *scratch)
{
    struct skep_scratch_block *block = block_to_keep(scratch);

    scratch->blocks = NULL;
    if (block)
        block->used = 0;
    for (size_t i = 0; i < SKEP_SCRATCH_PLACES && block; i++) {
        struct skep_scratch_block *empty = NULL;

        if (atomic_compare_exchange_strong(&scratch->shelf->places[i], &empty, block))
            block = NULL;
    }
    block_free(block);
}
