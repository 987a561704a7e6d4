/* SPDX-License-Identifier: MIT */
#include "moe/arena.h"

enum { BLOCK_LEN = 16 << 10, ALIGN = 16 };

struct skep_arena_block {
    struct skep_arena_block *next;
    size_t len; /* of what follows */
    _Alignas(ALIGN) char data[];
};

static void use_block(struct skep_arena *arena, struct skep_arena_block *block)
{
    block->next = arena->blocks;
    arena->blocks = block;
    arena->at = block->data;
    arena->end = block->data + block->len;
}

void skep_arena_init(struct skep_arena *arena, const struct skep_mem *mem,
                     struct skep_arena_block **spare)
{
    *arena = (struct skep_arena){.mem = mem};
    if (spare && *spare) {
        use_block(arena, *spare);
        *spare = NULL;
    }
}

void skep_arena_block_free(const struct skep_mem *mem, struct skep_arena_block *block)
{
    skep_mem_free(mem, block);
}

void skep_arena_fini(struct skep_arena *arena, struct skep_arena_block **spare)
{
    struct skep_arena_block *block = arena->blocks, *next;

    for (; block; block = next) {
        next = block->next;
        if (spare && !*spare && block->len == BLOCK_LEN) {
            block->next = NULL;
            *spare = block;
        } else {
            skep_mem_free(arena->mem, block);
        }
    }
    arena->blocks = NULL;
    arena->at = arena->end = NULL;
    arena->bytes = 0;
}

void *skep_arena_alloc(struct skep_arena *arena, size_t count, size_t size)
{
    size_t len;
    char *at;

    if (!skep_size_mul(count, size, &len) || len > PTRDIFF_MAX / 2)
        return NULL;
    len = (len + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (!arena->blocks || len > (size_t)(arena->end - arena->at)) {
        /* Blocks grow with the search, so that a large batch takes few of them. */
        size_t room =
            SKEP_MAX(len, arena->bytes == 0 ? (size_t)BLOCK_LEN
                                            : SKEP_MAX((size_t)BLOCK_LEN, arena->bytes / 2));
        struct skep_arena_block *block = skep_mem_alloc(arena->mem, sizeof *block + room);

        if (!block)
            return NULL;
        block->len = room;
        arena->bytes += room;
        use_block(arena, block);
    }
    at = arena->at;
    arena->at += len;
    return at;
}
