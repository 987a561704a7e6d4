/* SPDX-License-Identifier: MIT */
#include "base/heap.h"

void skep_heap_init(struct skep_heap *heap, const struct skep_mem *mem,
                    bool (*before)(const struct skep_heap_node *, const struct skep_heap_node *))
{
    *heap = (struct skep_heap){.before = before, .mem = mem};
}

void skep_heap_fini(struct skep_heap *heap)
{
    for (size_t i = 0; i < heap->count; i++)
        heap->items[i]->place = SKEP_HEAP_NONE;
    skep_mem_free(heap->mem, heap->items);
    heap->items = NULL;
    heap->count = heap->cap = 0;
}

static void put_at(struct skep_heap *heap, size_t index, struct skep_heap_node *node)
{
    heap->items[index] = node;
    node->place = index + 1;
}

static void sift_up(struct skep_heap *heap, size_t index, struct skep_heap_node *node)
{
    while (index > 0 && heap->before(node, heap->items[(index - 1) / 2])) {
        put_at(heap, index, heap->items[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    put_at(heap, index, node);
}

static void sift_down(struct skep_heap *heap, size_t index, struct skep_heap_node *node)
{
    for (;;) {
        size_t child = 2 * index + 1;

        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && heap->before(heap->items[child + 1], heap->items[child]))
            child++;
        if (!heap->before(heap->items[child], node))
            break;
        put_at(heap, index, heap->items[child]);
        index = child;
    }
    put_at(heap, index, node);
}

int skep_heap_push(struct skep_heap *heap, struct skep_heap_node *node)
{
    assert(node->place == SKEP_HEAP_NONE);
    if (heap->count == heap->cap) {
        size_t cap = heap->cap > 0 ? heap->cap * 2 : 16;
        void *grown = skep_mem_resize(heap->mem, heap->items, cap * sizeof *heap->items);

        if (!grown)
            return SKEP_ENOMEM;
        heap->items = grown;
        heap->cap = cap;
    }
    sift_up(heap, heap->count++, node);
    return 0;
}

struct skep_heap_node *skep_heap_peek(const struct skep_heap *heap)
{
    return heap->count > 0 ? heap->items[0] : NULL;
}

struct skep_heap_node *skep_heap_pop(struct skep_heap *heap)
{
    struct skep_heap_node *first = skep_heap_peek(heap);

    if (first)
        skep_heap_remove(heap, first);
    return first;
}

void skep_heap_remove(struct skep_heap *heap, struct skep_heap_node *node)
{
    struct skep_heap_node *last;
    size_t index;

    if (node->place == SKEP_HEAP_NONE)
        return;
    index = node->place - 1;
    assert(index < heap->count && heap->items[index] == node);
    node->place = SKEP_HEAP_NONE;
    last = heap->items[--heap->count];
    if (last == node)
        return;
    if (index > 0 && heap->before(last, heap->items[(index - 1) / 2]))
        sift_up(heap, index, last);
    else
        sift_down(heap, index, last);
}
