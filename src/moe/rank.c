/* SPDX-License-Identifier: MIT */
#include "moe/rank.h"

#include <math.h>

static bool ranks_above(const struct skep_ranked *a, const struct skep_ranked *b)
{
    return a->score > b->score || (a->score == b->score && a->index > b->index);
}

/* Restore the heap (the worst on top) below `place`. */
static void sink_ranked(struct skep_ranked *heap, size_t count, size_t place)
{
    struct skep_ranked moved = heap[place];

    for (size_t child; (child = 2 * place + 1) < count; place = child) {
        if (child + 1 < count && ranks_above(&heap[child], &heap[child + 1]))
            child++;
        if (!ranks_above(&moved, &heap[child]))
            break;
        heap[place] = heap[child];
    }
    heap[place] = moved;
}

size_t skep_rank_next(struct skep_ranked *out, size_t want, const double *row, uint32_t count,
                      const struct skep_ranked *after)
{
    struct skep_ranked bound = after ? *after : (struct skep_ranked){HUGE_VAL, UINT32_MAX};
    size_t held = 0;
    uint32_t i = 0;

    if (want == 0)
        return 0;
    for (; i < count && held < want; i++) {
        struct skep_ranked item = {row[i], i};

        if (ranks_above(&bound, &item))
            out[held++] = item;
    }
    for (size_t place = held / 2; place-- > 0;)
        sink_ranked(out, held, place);
    for (; i < count; i++) {
        /* Indices grow, so an equal score ranks above the worst held; nearly always this one comparison is all. */
        if (row[i] >= out[0].score) {
            struct skep_ranked item = {row[i], i};

            if (!ranks_above(&bound, &item))
                continue;
            out[0] = item;
            sink_ranked(out, held, 0);
        }
    }
    for (size_t left = held; left > 1; left--) { /* the worst goes to the end */
        struct skep_ranked worst = out[0];

        out[0] = out[left - 1];
        out[left - 1] = worst;
        sink_ranked(out, left - 1, 0);
    }
    return held;
}

static bool item_above(const struct skep_top *top, const struct skep_top_item *a,
                       const struct skep_top_item *b)
{
    return a->score > b->score || (a->score == b->score && top->above(a, b));
}

static void sink_item(struct skep_top *top, size_t count, size_t place)
{
    struct skep_top_item *heap = top->items, moved = heap[place];

    for (size_t child; (child = 2 * place + 1) < count; place = child) {
        if (child + 1 < count && item_above(top, &heap[child], &heap[child + 1]))
            child++;
        if (!item_above(top, &moved, &heap[child]))
            break;
        heap[place] = heap[child];
    }
    heap[place] = moved;
}

static void raise_item(struct skep_top *top, size_t place)
{
    struct skep_top_item *heap = top->items, moved = heap[place];

    for (size_t parent; place > 0; place = parent) {
        parent = (place - 1) / 2;
        if (!item_above(top, &heap[parent], &moved))
            break;
        heap[place] = heap[parent];
    }
    heap[place] = moved;
}

static void cut(struct skep_top *top, double score)
{
    if (!top->has_cut || score > top->cut_score)
        top->cut_score = score;
    top->has_cut = true;
}

void skep_top_offer(struct skep_top *top, struct skep_top_item item)
{
    if (top->count < top->cap) {
        top->items[top->count++] = item;
        raise_item(top, top->count - 1);
    } else if (item_above(top, &item, &top->items[0])) {
        cut(top, top->items[0].score);
        top->items[0] = item;
        sink_item(top, top->count, 0);
    } else {
        cut(top, item.score);
    }
}

void skep_top_sort(struct skep_top *top)
{
    for (size_t left = top->count; left > 1; left--) {
        struct skep_top_item worst = top->items[0];

        top->items[0] = top->items[left - 1];
        top->items[left - 1] = worst;
        sink_item(top, left - 1, 0);
    }
}
