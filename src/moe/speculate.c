/* SPDX-License-Identifier: MIT */
/* One round: prefixes of every depth follow from the scores alone, so a search that has to wait for some records asks for those that they will probably
 * lead to in the same get.
 *
 * From the prefixes that it waits for, level by level down to the last record: the children with the best sums, as far as they should contain the beam by
 * what earlier searches met (the share of children that are there), a record that is at home being better than any guess. Where that would take more keys
 * than a search may guess the grid is too sparse, and the level is left to the next round; while nothing is known all of them are used.
 *
 * A guess changes nothing but what is known when: the search goes by its own steps, and finds the answers there or asks. */
#include "base/heap.h"
#include "base/limits.h"
#include "moe/search.h"

/* How sure to be that the beam is among the guesses: so many standard deviations, squared, for one example (90 %); … */
#define SURE 1.64
/* … and more for each doubling of their number, as all of them have to be right. */
#define SURE_PER_DOUBLING 1.2

/* A prefix that is probably in the beam. */
struct guess {
    double score;
    double chance; /* that it is there */
    uint32_t slot;
};

/* The children of a guess, best first. */
struct parent {
    struct skep_heap_node node;
    double score; /* of the child that is next */
    const struct guess *guess;
    const struct skep_prefix_node *prefix;
    const struct skep_ranked *ranked;
    const struct skep_moe_successors
        *found; /* what `ranked` counts in; NULL: the whole dimension */
    size_t next, count;
};

struct level {
    struct guess *guesses;
    size_t count, cap;
    double mean, variance; /* of how many of them are there */
};

struct speculation {
    struct search *s;
    struct example *e;
    double sure;
    size_t depth;               /* coordinates of the prefixes to guess next */
    const double *row;          /* of their last coordinate */
    double share;               /* of them that are there, if the parent is; 0: not known */
    struct skep_ranked *ranked; /* the best of `row` */
    size_t ranked_count;
    struct skep_heap heap; /* of parents */
};

/* ---- how many are enough ---- */

static void add(struct level *level, double score, double chance, uint32_t slot)
{
    level->guesses[level->count++] = (struct guess){score, chance, slot};
    level->mean += chance;
    level->variance += chance * (1 - chance);
}

/* Is the beam full with good probability? */
static bool is_enough(const struct speculation *g, const struct level *level)
{
    double above = level->mean - (double)g->s->beam_size;

    return above >= 0 && (above + 0.5) * (above + 0.5) >= g->sure * level->variance;
}

static double sureness(size_t examples)
{
    double sure = SURE;

    for (; examples > 1; examples /= 2)
        sure += SURE_PER_DOUBLING;
    return sure;
}

static size_t keys_left(const struct speculation *g)
{
    return g->s->guess_keys_max - SKEP_MIN(g->s->guess_keys_max, g->e->guesses);
}

static int new_level(struct search *s, struct level *level, size_t cap)
{
    *level = (struct level){.cap = cap};
    level->guesses = skep_arena_alloc(&s->arena, cap, sizeof *level->guesses);
    return level->guesses ? 0 : SKEP_ENOMEM;
}

/* ---- the prefixes that the search waits for ---- */

static bool is_known(const struct slot *slot)
{
    return slot->state == SLOT_KNOWN || slot->state == SLOT_EARLY;
}

/* Is something under it, so far as that is known? @return false: no, or it will not be known. */
static bool can_be_there(const struct slot *slot)
{
    if (is_known(slot))
        return slot->found && slot->found->grid_count > 0;
    return slot->state != SLOT_UNANSWERED;
}

/* The first beam: what is in it, and the indices behind that are being asked for. */
static int first_level(const struct speculation *g, struct level *level)
{
    struct search *s = g->s;
    struct example *e = g->e;
    double density = s->beam->density_known ? s->beam->density : 1;
    int rc = new_level(s, level, e->beam_count + (e->complete ? 0 : e->order_count - e->cursor));

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < e->beam_count; i++)
        add(level, e->beam[i].score, 1, e->beam[i].slot);
    for (size_t p = e->cursor; !e->complete && p < e->order_count && !is_enough(g, level); p++) {
        uint32_t slot = skep_frontier_child(s, SLOT_ROOT, e->order[p].index);

        if (slot == SLOT_NONE)
            return SKEP_ENOMEM;
        if (s->slots[slot].state == SLOT_UNKNOWN)
            break;
        if (can_be_there(&s->slots[slot]))
            add(level, e->order[p].score, is_known(&s->slots[slot]) ? 1 : density, slot);
    }
    return 0;
}

/* A later beam: its prefixes were named by their parents. */
static int chosen_level(const struct speculation *g, struct level *level)
{
    int rc = new_level(g->s, level, g->e->beam_count);

    for (size_t i = 0; rc == 0 && i < g->e->beam_count; i++) {
        const struct item *item = &g->e->beam[i];

        if (can_be_there(&g->s->slots[item->slot]))
            add(level, item->score, 1, item->slot);
    }
    return rc;
}

/* ---- the next level ---- */

/* Of equal scores the larger text first, as the search has it. */
static bool before(const struct skep_heap_node *a, const struct skep_heap_node *b)
{
    const struct parent *x = SKEP_CONTAINER_OF(a, const struct parent, node);
    const struct parent *y = SKEP_CONTAINER_OF(b, const struct parent, node);

    if (x->score != y->score)
        return x->score > y->score;
    return skep_bytes_compare(skep_bytes_of(x->prefix->text, x->prefix->text_len),
                              skep_bytes_of(y->prefix->text, y->prefix->text_len)) > 0;
}

/* The best of the children that a record names. @return 0, SKEP_ENOMEM. */
static int rank_named(const struct speculation *g, struct parent *parent, size_t most)
{
    const struct skep_moe_successors *found = parent->found;
    struct skep_arena *arena = &g->s->arena;
    double *scores = skep_arena_alloc(arena, found->count, sizeof *scores);
    struct skep_ranked *ranked =
        skep_arena_alloc(arena, SKEP_MIN(most, (size_t)found->count), sizeof *ranked);

    if (!scores || !ranked)
        return SKEP_ENOMEM;
    for (uint32_t k = 0; k < found->count; k++) {
        int64_t coordinate = found->entries[k].coordinate;

        scores[k] = coordinate >= 0 && coordinate < (int64_t)g->s->sizes[g->depth - 1]
                        ? g->row[coordinate]
                        : -__builtin_inf();
    }
    parent->count = skep_rank_next(ranked, most, scores, found->count, NULL);
    parent->ranked = ranked;
    return 0;
}

/* Into the heap with its next child, if it has one. @return 0, SKEP_ENOMEM. */
static int push(struct speculation *g, struct parent *parent)
{
    if (parent->next == parent->count)
        return 0;
    parent->score = skep_score_add(g->s->scores.narrow, parent->guess->score,
                                   parent->ranked[parent->next].score);
    return skep_heap_push(&g->heap, &parent->node);
}

static int push_parents(struct speculation *g, const struct level *from, size_t most)
{
    struct parent *parents = skep_arena_alloc(&g->s->arena, from->count, sizeof *parents);
    int rc = parents ? 0 : SKEP_ENOMEM;

    for (size_t i = 0; rc == 0 && i < from->count; i++) {
        const struct slot *slot = &g->s->slots[from->guesses[i].slot];

        parents[i] = (struct parent){.node = {SKEP_HEAP_NONE},
                                     .guess = &from->guesses[i],
                                     .prefix = slot->node,
                                     .ranked = g->ranked,
                                     .found = is_known(slot) ? slot->found : NULL,
                                     .count = g->ranked_count};
        if (parents[i].found)
            rc = rank_named(g, &parents[i], most);
        if (rc == 0)
            rc = push(g, &parents[i]);
    }
    return rc;
}

/* One more prefix, if something can be under it. @return 0, SKEP_ENOMEM. */
static int take_child(struct speculation *g, const struct parent *parent, struct level *level,
                      size_t *keys)
{
    uint32_t index = parent->ranked[parent->next].index;
    int64_t coordinate = parent->found ? parent->found->entries[index].coordinate : index;
    double chance = parent->guess->chance * (parent->found || g->share == 0 ? 1 : g->share);
    uint32_t slot;

    if (coordinate < 0 || coordinate >= (int64_t)g->s->sizes[g->depth - 1])
        return 0;
    slot = skep_frontier_child(g->s, parent->guess->slot, (uint32_t)coordinate);
    if (slot == SLOT_NONE)
        return SKEP_ENOMEM;
    if (!can_be_there(&g->s->slots[slot]))
        return 0;
    add(level, parent->score, is_known(&g->s->slots[slot]) ? 1 : chance, slot);
    *keys += g->s->slots[slot].state == SLOT_UNKNOWN;
    return 0;
}

/* The best children, until they should do or there are no keys left. @return 1: they will do, as far as one can tell; 0; SKEP_ENOMEM. */
static int fill_level(struct speculation *g, struct level *level, size_t keys_max)
{
    struct skep_heap_node *node;
    size_t keys = 0;
    int rc = 0;

    while (rc == 0 && level->count < level->cap && keys < keys_max &&
           !(g->share > 0 && is_enough(g, level)) && (node = skep_heap_pop(&g->heap))) {
        struct parent *parent = SKEP_CONTAINER_OF(node, struct parent, node);

        rc = take_child(g, parent, level, &keys);
        parent->next++;
        if (rc == 0)
            rc = push(g, parent);
    }
    if (rc < 0)
        return rc;
    return level->count > 0 && (keys < keys_max || level->mean >= (double)g->s->beam_size);
}

/* Is it hopeless to guess a full beam with so many keys? */
static bool is_too_sparse(const struct speculation *g, const struct level *from, size_t keys_max)
{
    double best = 0;

    for (size_t i = 0; i < from->count; i++) {
        const struct guess *guess = &from->guesses[i];
        bool named = g->share == 0 || is_known(&g->s->slots[guess->slot]);

        best = SKEP_MAX(best, guess->chance * (named ? 1 : g->share));
    }
    return (double)keys_max * best < (double)g->s->beam_size;
}

/* @return 1 with the level below `from`; 0: it is better not to guess it; SKEP_ENOMEM. */
static int next_level(struct speculation *g, const struct level *from, struct level *level)
{
    struct search *s = g->s;
    size_t left = keys_left(g), levels = s->dims - g->depth, keys_max, most;
    int rc;

    g->share = s->beam->deeper[g->depth];
    keys_max = g->share > 0 ? left : left / levels;
    if (from->count == 0 || is_too_sparse(g, from, keys_max))
        return 0;
    most = SKEP_MIN(keys_max * 2 + s->beam_size, (size_t)s->sizes[g->depth - 1]);
    g->row = skep_score_row(&s->scores, (size_t)(g->e - s->examples), g->depth - 1);
    g->ranked = skep_arena_alloc(&s->arena, most, sizeof *g->ranked);
    if (!g->ranked || new_level(s, level, keys_max * 2 + s->beam_size) < 0)
        return SKEP_ENOMEM;
    g->ranked_count = skep_rank_next(g->ranked, most, g->row, s->sizes[g->depth - 1], NULL);
    skep_heap_init(&g->heap, s->beam->mem, before);
    rc = push_parents(g, from, most);
    if (rc == 0)
        rc = fill_level(g, level, keys_max);
    skep_heap_fini(&g->heap);
    return rc;
}

static int guess_level(const struct speculation *g, const struct level *level)
{
    for (size_t i = 0; i < level->count; i++) {
        uint32_t slot = level->guesses[i].slot;
        int rc;

        if (g->s->slots[slot].state != SLOT_UNKNOWN)
            continue;
        if ((rc = skep_frontier_guess(g->s, slot)) < 0)
            return rc;
        g->e->guesses++;
    }
    return 0;
}

/* ---- all of it ---- */

static int speculate_for(struct search *s, struct example *e, double sure)
{
    struct speculation g = {.s = s, .e = e, .sure = sure};
    bool first = s->phase == PHASE_INITIAL;
    struct level level;
    int rc = first ? first_level(&g, &level) : chosen_level(&g, &level);

    for (g.depth = first ? 2 : s->dim + 2; rc >= 0 && g.depth < s->dims; g.depth++) {
        struct level below;

        rc = next_level(&g, &level, &below);
        if (rc <= 0)
            break;
        rc = guess_level(&g, &below);
        level = below;
    }
    return SKEP_MIN(rc, 0);
}

int skep_search_speculate(struct search *s)
{
    double sure = sureness(s->example_count);
    int rc = 0;

    if (s->guess_keys_max == 0 || (s->phase != PHASE_INITIAL && s->phase != PHASE_FORM))
        return 0;
    for (size_t i = 0; i < s->example_count && rc == 0; i++)
        rc = speculate_for(s, &s->examples[i], sure);
    return rc;
}

void skep_search_learn_deeper(struct search *s, size_t dim)
{
    double named = 0, could = 0, share, *known;

    if (dim + 1 >= s->dims || s->kind != FIND_BEST)
        return;
    known = &s->beam->deeper[dim + 1];
    for (size_t i = 0; i < s->example_count; i++) {
        const struct example *e = &s->examples[i];

        for (size_t k = 0; k < e->beam_count; k++)
            named += e->beam[k].found->grid_count;
        could += (double)e->beam_count * s->sizes[dim];
    }
    if (could == 0)
        return;
    share = SKEP_MIN(SKEP_MAX(named, 1.0) / could, 1.0);
    *known = *known > 0 ? (*known + share) / 2 : share;
}
