/* SPDX-License-Identifier: MIT */
/* A binary heap of pointers to structs that hold their own place in it, so that any item can be removed. */
#ifndef SKEP_BASE_HEAP_H
#define SKEP_BASE_HEAP_H

#include "base/error.h"
#include "base/mem.h"

enum { SKEP_HEAP_NONE = 0 }; /* `place` of an item that is in no heap */

struct skep_heap_node {
    size_t place; /* index + 1, or SKEP_HEAP_NONE */
};

struct skep_heap {
    struct skep_heap_node **items;
    size_t count, cap;
    /* Does a come out before b? A strict order: for equal items the heap gives no promise. */
    bool (*before)(const struct skep_heap_node *a, const struct skep_heap_node *b);
    const struct skep_mem *mem;
};

void skep_heap_init(struct skep_heap *heap, const struct skep_mem *mem,
                    bool (*before)(const struct skep_heap_node *, const struct skep_heap_node *));
void skep_heap_fini(struct skep_heap *heap);

/** @return 0 or SKEP_ENOMEM. */
int skep_heap_push(struct skep_heap *heap, struct skep_heap_node *node);

/** @return the first item, still in the heap, or NULL. */
struct skep_heap_node *skep_heap_peek(const struct skep_heap *heap);

/** @return the first item, removed, or NULL. */
struct skep_heap_node *skep_heap_pop(struct skep_heap *heap);

/** Harmless for an item that is in no heap. */
void skep_heap_remove(struct skep_heap *heap, struct skep_heap_node *node);

#endif
