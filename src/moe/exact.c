/* SPDX-License-Identifier: MIT */
/* The exact mode: the true best of all experts that the records name, not only of those a beam comes by.
 *
 * Best first over prefixes with an admissible bound: a prefix's score plus the highest score of each dimension left. A beam goes before, so that the k-th best
 * expert known, the floor, is near its final height. Then passes: each walks the tree of prefixes from the highest bound down, collects from the records that
 * are there, and asks for all others whose bound is above the floor, in one round. It ends when a pass finds nothing to ask for: then every bound that is still
 * open is at most the floor, and the answer is exact. Stopped before (deadline, keys), the highest open bound is the answer's.
 *
 * A pass meets the records of the one before again, which is cheap beside a round; an example remembers which it has collected from. */
#include "base/heap.h"
#include "base/limits.h"
#include "moe/search.h"

/* A prefix on the way: its record is to be looked at, if its bound is above the floor by then. */
struct open {
    struct skep_heap_node node;
    double bound;
    size_t order; /* of equal bounds, the one that was opened first */
    size_t depth; /* coordinates */
    size_t
        rank; /* of a first index: its place in the example's order; its successor there is opened when it is taken */
    struct item item;
};

struct pass {
    struct search *s;
    struct example *e;
    struct skep_heap heap;
    size_t opened, passed_by; /* … of what was not to be asked for */
};

static bool before(const struct skep_heap_node *a, const struct skep_heap_node *b)
{
    const struct open *x = SKEP_CONTAINER_OF(a, const struct open, node);
    const struct open *y = SKEP_CONTAINER_OF(b, const struct open, node);

    return x->bound != y->bound ? x->bound > y->bound : x->order < y->order;
}

/* Can nothing with this bound be among the best any more? */
static bool is_closed(const struct example *e, double bound)
{
    return e->has_floor && bound <= e->floor;
}

static void raise_floor(struct example *e)
{
    if (e->hits.count < e->hits.cap)
        return;
    if (!e->has_floor || e->hits.items[0].score > e->floor)
        e->floor = e->hits.items[0].score;
    e->has_floor = true;
}

static int open_prefix(struct pass *p, const struct open *like)
{
    struct open *o = skep_arena_alloc(&p->s->arena, 1, sizeof *o);

    if (!o)
        return SKEP_ENOMEM;
    *o = *like;
    o->node = (struct skep_heap_node){SKEP_HEAP_NONE};
    o->bound = skep_search_bound(p->s, (size_t)(p->e - p->s->examples), o->item.score, o->depth);
    o->order = p->opened++;
    return skep_heap_push(&p->heap, &o->node);
}

/* The first index of a rank, if there is one and it can matter. */
static int open_first(struct pass *p, size_t rank)
{
    struct example *e = p->e;
    uint32_t slot;
    int rc = skep_search_rank(p->s, e, rank);

    if (rc <= 0 || is_closed(e, skep_search_bound(p->s, (size_t)(e - p->s->examples),
                                                  e->order[rank].score, 1)))
        return SKEP_MIN(rc, 0);
    slot = skep_frontier_child(p->s, SLOT_ROOT, e->order[rank].index);
    if (slot == SLOT_NONE)
        return SKEP_ENOMEM;
    return open_prefix(p, &(struct open){.depth = 1,
                                         .rank = rank,
                                         .item = {.score = e->order[rank].score,
                                                  .slot = slot,
                                                  .node = p->s->slots[slot].node}});
}

/* Its successors, as far as one of them can be better than the floor. */
static int open_children(struct pass *p, const struct item *parent, size_t depth)
{
    struct search *s = p->s;
    size_t example = (size_t)(p->e - s->examples);
    const double *row = skep_score_row(&s->scores, example, depth);

    for (uint32_t k = 0; k < parent->found->count; k++) {
        const struct skep_moe_successor *via = &parent->found->entries[k];
        double score;
        uint32_t slot;
        int rc;

        if (via->coordinate < 0 || via->coordinate >= (int64_t)s->sizes[depth])
            continue;
        score = skep_score_add(s->scores.narrow, parent->score, row[via->coordinate]);
        if (is_closed(p->e, skep_search_bound(s, example, score, depth + 1)))
            continue;
        slot = skep_frontier_child(s, parent->slot, (uint32_t)via->coordinate);
        if (slot == SLOT_NONE)
            return SKEP_ENOMEM;
        rc = open_prefix(p, &(struct open){.depth = depth + 1,
                                           .item = {.score = score,
                                                    .slot = slot,
                                                    .node = s->slots[slot].node,
                                                    .parent = parent,
                                                    .via = via}});
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Has the example collected from this slot? From now on it has. @return 1, 0; SKEP_ENOMEM. */
static int collected(struct search *s, struct example *e, uint32_t slot)
{
    uint64_t bit = UINT64_C(1) << slot % 64;

    if (slot / 64 >= e->collected_words) {
        size_t words = SKEP_MAX((size_t)slot / 64 + 1, e->collected_words * 2);
        uint64_t *grown = skep_arena_alloc(&s->arena, words, sizeof *grown);

        if (!grown)
            return SKEP_ENOMEM;
        memset(grown, 0, words * sizeof *grown);
        if (e->collected_words > 0)
            memcpy(grown, e->collected, e->collected_words * sizeof *grown);
        e->collected = grown;
        e->collected_words = words;
    }
    if (e->collected[slot / 64] & bit)
        return 1;
    e->collected[slot / 64] |= bit;
    return 0;
}

int skep_exact_collected(struct search *s, struct example *e, const struct item *items,
                         size_t count)
{
    int rc = 0;

    for (size_t i = 0; rc >= 0 && i < count; i++)
        rc = collected(s, e, items[i].slot);
    return SKEP_MIN(rc, 0);
}

/* Its record is there. */
static int take(struct pass *p, struct open *o)
{
    struct slot *slot = &p->s->slots[o->item.slot];
    int rc;

    skep_frontier_used(p->s, o->item.slot);
    o->item.found = slot->found;
    if (!slot->found || slot->found->count == 0) {
        slot->marked = !slot->found || !slot->found->marked;
        return 0;
    }
    if ((rc = collected(p->s, p->e, o->item.slot)) == 0)
        rc = skep_collect(p->s, p->e, &o->item, 1, o->depth);
    if (rc < 0)
        return rc;
    raise_floor(p->e);
    return o->depth < p->s->dims - 1 ? open_children(p, &o->item, o->depth) : 0;
}

/* Nobody will look here: what may be under it bounds the answer, and it has the highest bound of all that are open.
 * @return 1: enough of that, the others are no better. */
static int pass_by(struct pass *p, const struct open *o)
{
    skep_search_not_looked_at(p->s, p->e, o->item.score, o->depth);
    return ++p->passed_by > SKEP_BEAM_HOME_WALK_MAX;
}

/* Its record has to be asked for. */
static int ask(struct pass *p, const struct open *o)
{
    struct search *s = p->s;
    size_t keys_max = s->keys_max > 0 ? s->keys_max : SKEP_EXACT_KEYS_MAX;

    if (s->slots[o->item.slot].state < SLOT_WANTED) {
        int rc;

        if (s->keys >= SKEP_MIN(keys_max, (size_t)SKEP_EXACT_KEYS_MAX))
            return pass_by(p, o);
        if ((rc = skep_frontier_want(s, o->item.slot)) < 0)
            return rc;
    }
    skep_frontier_need(s, o->item.slot);
    return 0;
}

/* The prefix with the highest bound. @return 1: stop here. */
static int visit(struct pass *p, struct open *o)
{
    enum slot_state state = p->s->slots[o->item.slot].state;
    int rc;

    if (state == SLOT_KNOWN) {
        rc = take(p, o);
    } else if (state == SLOT_UNANSWERED) {
        p->e->unanswered++;
        rc = pass_by(p, o);
    } else {
        rc = ask(p, o);
    }
    if (rc == 0 && o->depth == 1)
        rc = open_first(p, o->rank + 1);
    return rc;
}

/* @return 0; SKEP_ENOMEM. */
static int walk(struct pass *p)
{
    struct skep_heap_node *node;
    int rc = open_first(p, 0);

    while (rc == 0 && (node = skep_heap_pop(&p->heap))) {
        struct open *o = SKEP_CONTAINER_OF(node, struct open, node);

        if (is_closed(p->e, o->bound))
            break;
        rc = visit(p, o);
    }
    return SKEP_MIN(rc, 0);
}

static int pass_over(struct search *s, struct example *e)
{
    struct pass p = {.s = s, .e = e};
    int rc;

    raise_floor(e);
    e->unanswered = 0;
    e->has_bound = false;
    skep_heap_init(&p.heap, s->beam->mem, before);
    rc = walk(&p);
    skep_heap_fini(&p.heap);
    return rc;
}

int skep_search_exact(struct search *s)
{
    for (size_t i = 0; i < s->example_count; i++) {
        int rc = pass_over(s, &s->examples[i]);

        if (rc < 0)
            return rc;
    }
    if (s->needed == 0)
        s->phase = PHASE_ENDED;
    return 0;
}
