/* SPDX-License-Identifier: MIT */
/* Taking experts out of the records of prefixes, into the heap of the best. docs/wire.md d.5, "Collect". */
#include "moe/search.h"

static const struct skep_moe_successor *entry_of(const struct skep_top_item *hit)
{
    return &((const struct skep_moe_successors *)hit->owner)->entries[hit->index];
}

/* Equal scores: the larger uid text first. */
static bool uid_above(const struct skep_top_item *a, const struct skep_top_item *b)
{
    return skep_bytes_compare(skep_successor_uid(a->owner, entry_of(a)),
                              skep_successor_uid(b->owner, entry_of(b))) > 0;
}

/* A uid counts where it is first seen. One that is under this prefix can only have been seen as the example that led here. */
static bool seen_before(const struct item *item, const struct skep_moe_successor *entry)
{
    skep_bytes uid = skep_successor_uid(item->found, entry);

    for (const struct item *at = item; at->parent; at = at->parent) {
        if (skep_bytes_equal(uid, skep_successor_uid(at->parent->found, at->via)))
            return true;
    }
    return false;
}

/* The sum over the numbers of a prefix, those of the searcher's own prefix included, as hivemind has it. @return false: out of the grid. */
static bool prefix_sum(const struct search *s, size_t example, const struct item *item, size_t dim,
                       double *sum)
{
    const struct skep_beam *beam = s->beam;
    uint32_t numbers[SKEP_GRID_DIMENSIONS_MAX];
    size_t count = beam->base_count + dim, at = count;

    *sum = item->score;
    if (beam->base_count == 0)
        return true;
    if (count > s->dims)
        return false;
    for (const struct item *i = item; i; i = i->parent)
        numbers[--at] = (uint32_t)i->node->key.coordinate;
    for (size_t d = 0; d < beam->base_count; d++)
        numbers[d] = beam->base[d];
    *sum = 0;
    for (size_t d = 0; d < count; d++) {
        if (numbers[d] >= s->sizes[d])
            return false;
        *sum = skep_score_add(s->scores.narrow, *sum,
                              skep_score_row(&s->scores, example, d)[numbers[d]]);
    }
    return true;
}

/* The score of an entry's expert. @return false: it is none of this grid. */
static inline bool expert_score(const struct search *s, size_t example, const struct item *item,
                                const struct skep_moe_successor *entry, size_t dim, double *score)
{
    size_t depth = s->beam->base_count + dim;
    const uint32_t *numbers = item->found->numbers + entry->number_at;

    if (depth + entry->number_count != s->dims)
        return false;
    for (size_t i = 0; i < entry->number_count; i++) {
        if (numbers[i] >= s->sizes[depth + i])
            return false;
        *score = skep_score_add(s->scores.narrow, *score,
                                skep_score_row(&s->scores, example, depth + i)[numbers[i]]);
    }
    return true;
}

static int reserve_hits(struct search *s, struct example *e, const struct item *items, size_t count)
{
    size_t most = e->hits.count;
    struct skep_top_item *room;

    for (size_t i = 0; i < count; i++)
        most += items[i].found->count;
    most = SKEP_MIN(most, s->beam_size);
    if (most <= e->hits_room)
        return 0;
    room = skep_arena_alloc(&s->arena, most, sizeof *room);
    if (!room)
        return SKEP_ENOMEM;
    if (e->hits.count > 0)
        memcpy(room, e->hits.items, e->hits.count * sizeof *room);
    e->hits.items = room;
    e->hits_room = most;
    return 0;
}

int skep_collect(struct search *s, struct example *e, const struct item *items, size_t count,
                 size_t dim)
{
    size_t example = (size_t)(e - s->examples);
    int rc = reserve_hits(s, e, items, count);

    if (rc < 0)
        return rc;
    e->hits.above = uid_above;
    for (size_t i = 0; i < count; i++) {
        const struct item *item = &items[i];
        double sum;
        bool fits = prefix_sum(s, example, item, dim, &sum);

        for (uint32_t k = 0; k < item->found->count; k++) {
            const struct skep_moe_successor *entry = &item->found->entries[k];
            double score = sum;

            if (entry->coordinate == SKEP_FLAT_EXPERT && s->dims == 1)
                score = item->score; /* the 1-d expert itself */
            else if (!fits || (entry->coordinate < 0 && dim > 1) ||
                     !expert_score(s, example, item, entry, dim, &score))
                continue;
            if (e->hits.count == e->hits.cap && score < e->hits.items[0].score)
                continue;
            if (item->parent && seen_before(item, entry))
                continue;
            skep_top_offer(&e->hits, (struct skep_top_item){score, item->found, k});
        }
    }
    return 0;
}
