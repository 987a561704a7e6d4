/* SPDX-License-Identifier: MIT */
#include "lab/index.h"

#include <stdlib.h>

#include "base/mem.h"

void skep_lab_index_init(struct skep_lab_index *index, const struct skep_mem *mem)
{
    *index = (struct skep_lab_index){.mem = mem};
}

void skep_lab_index_fini(struct skep_lab_index *index)
{
    skep_mem_free(index->mem, index->entries);
    index->entries = NULL;
    index->count = index->cap = 0;
}

int skep_lab_index_add(struct skep_lab_index *index, const struct skep_dht_id *id, uint32_t member)
{
    if (index->count == index->cap) {
        size_t cap = index->cap > 0 ? index->cap * 2 : 64;
        void *grown = skep_mem_resize(index->mem, index->entries, cap * sizeof *index->entries);

        if (!grown)
            return SKEP_ENOMEM;
        index->entries = grown;
        index->cap = cap;
    }
    index->entries[index->count++] = (struct skep_lab_index_entry){.id = *id, .member = member};
    return 0;
}

static int by_id(const void *a, const void *b)
{
    const struct skep_lab_index_entry *x = a, *y = b;
    int order = memcmp(x->id.bytes, y->id.bytes, SKEP_DHT_ID_LEN);

    return order != 0 ? order : (x->member > y->member) - (x->member < y->member);
}

void skep_lab_index_sort(struct skep_lab_index *index)
{
    if (index->count > 0)
        qsort(index->entries, index->count, sizeof *index->entries, by_id);
}

/* A subtree: the entries [low, high) share their first `depth` bits. */
struct range {
    size_t low, high;
    unsigned depth;
};

static bool bit_of(const struct skep_dht_id *id, unsigned bit)
{
    return id->bytes[bit / 8] >> (7 - bit % 8) & 1;
}

static size_t size_of(struct range range)
{
    return range.high - range.low;
}

/* The halves of a subtree by its next bit. */
static void split(const struct skep_lab_index *index, struct range whole, struct range half[2])
{
    size_t low = whole.low, high = whole.high;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (bit_of(&index->entries[middle].id, whole.depth))
            high = middle;
        else
            low = middle + 1;
    }
    half[0] = (struct range){whole.low, low, whole.depth + 1};
    half[1] = (struct range){low, whole.high, whole.depth + 1};
}

size_t skep_lab_index_nearest(const struct skep_lab_index *index, const struct skep_dht_id *target,
                              size_t k, uint32_t *out)
{
    struct range stack[SKEP_DHT_ID_BITS + 2];
    size_t depth = 0, count = 0;

    stack[depth++] = (struct range){0, index->count, 0};
    /* Whatever is in the half that the target would be in is nearer than all of the other one. */
    while (depth > 0 && count < k) {
        struct range range = stack[--depth], half[2];
        bool bit;

        if (size_of(range) == 0)
            continue;
        if (size_of(range) == 1 || range.depth == SKEP_DHT_ID_BITS) {
            for (size_t i = range.low; i < range.high && count < k; i++)
                out[count++] = index->entries[i].member;
            continue;
        }
        split(index, range, half);
        bit = bit_of(target, range.depth);
        stack[depth++] = half[!bit];
        stack[depth++] = half[bit];
    }
    return count;
}

/* Up to `each` of a subtree, drawn without putting back (Floyd's way). */
static int draw(const struct skep_lab_index *index, struct range range, size_t each,
                struct skep_prng *prng,
                int (*known)(void *user, const struct skep_lab_index_entry *entry), void *user)
{
    size_t drawn[64], count = 0, wanted = SKEP_MIN(SKEP_MIN(each, size_of(range)), (size_t)64);
    int rc = 0;

    for (size_t last = size_of(range) - wanted; count < wanted && rc == 0; last++) {
        size_t at = (size_t)skep_prng_below(prng, last + 1);

        for (size_t i = 0; i < count; i++)
            if (drawn[i] == at)
                at = last;
        drawn[count++] = at;
        rc = known(user, &index->entries[range.low + at]);
    }
    return rc;
}

int skep_lab_index_table(const struct skep_lab_index *index, const struct skep_dht_id *own,
                         size_t each, struct skep_prng *prng,
                         int (*known)(void *user, const struct skep_lab_index_entry *entry),
                         void *user)
{
    struct range range = {0, index->count, 0};
    int rc = 0;

    while (rc == 0 && size_of(range) > each && range.depth < SKEP_DHT_ID_BITS) {
        bool bit = bit_of(own, range.depth);
        struct range half[2];

        split(index, range, half);
        if (size_of(half[!bit]) > 0)
            rc = draw(index, half[!bit], each, prng, known, user);
        range = half[bit];
    }
    for (size_t i = range.low; i < range.high && rc == 0; i++)
        if (!skep_dht_id_equal(&index->entries[i].id, own))
            rc = known(user, &index->entries[i]);
    return rc;
}
