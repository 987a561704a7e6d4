/* SPDX-License-Identifier: MIT */
/* The steps of a search, docs/wire.md d.5. See search.h for its states. */
#include "moe/search.h"

#include "base/limits.h"

/* ---- bounds on what was not looked at ---- */

/* What an expert under a prefix of `depth` coordinates can score at most. Rounding keeps the order of sums, so adding the rest in the order of
 * the real sum bounds the real sum. */
double skep_search_bound(const struct search *s, size_t example, double score, size_t depth)
{
    const double *best = s->scores.best + example * s->scores.dims;

    for (size_t d = depth; d < s->dims; d++)
        score = skep_score_add(s->scores.narrow, score, best[d]);
    return score;
}

void skep_search_not_looked_at(const struct search *s, struct example *e, double score,
                               size_t depth)
{
    double bound = skep_search_bound(s, (size_t)(e - s->examples), score, depth);

    if (!e->has_bound || bound > e->bound)
        e->bound = bound;
    e->has_bound = true;
}

/* ---- the first beam ---- */

/* Rank a few more first indices. @return 1: there are more; 0: that was all; SKEP_ENOMEM. */
static int rank_more(struct search *s, struct example *e)
{
    size_t want = e->order_count == 0 ? s->beam_size + 1 : e->order_count * 2, room;
    const double *row = skep_score_row(&s->scores, (size_t)(e - s->examples), 0);

    want = SKEP_MIN(want, s->sizes[0] - e->order_count);
    room = e->order_count + want;
    if (want == 0)
        return 0;
    if (room > e->order_cap) {
        struct skep_ranked *order = skep_arena_alloc(&s->arena, room, sizeof *order);

        if (!order)
            return SKEP_ENOMEM;
        if (e->order_count > 0)
            memcpy(order, e->order, e->order_count * sizeof *order);
        e->order = order;
        e->order_cap = room;
    }
    e->order_count += skep_rank_next(e->order + e->order_count, want, row, s->sizes[0],
                                     e->order_count > 0 ? &e->order[e->order_count - 1] : NULL);
    return 1;
}

int skep_search_rank(struct search *s, struct example *e, size_t p)
{
    int rc = 1;

    while (rc > 0 && p >= e->order_count)
        rc = rank_more(s, e);
    return rc;
}

/* The slot of the p-th best first index. @return 1; 0: there is none; SKEP_ENOMEM. */
static int first_slot(struct search *s, struct example *e, size_t p, uint32_t *slot)
{
    int rc = skep_search_rank(s, e, p);

    if (rc <= 0)
        return rc;
    *slot = skep_frontier_child(s, SLOT_ROOT, e->order[p].index);
    return *slot == SLOT_NONE ? SKEP_ENOMEM : 1;
}

/* How many unknown first indices to have in flight: as many as it should take to fill the beam, by what earlier searches met; each time that was
 * not enough, twice as many. */
static size_t next_window(const struct search *s, const struct example *e)
{
    size_t need = s->beam_size - e->kept, window;

    if (e->window > 0)
        window = SKEP_MAX(e->window * 2, need);
    else if (!s->beam->density_known)
        window = need + (need + 1) / 2;
    else if (s->beam->density >= 0.95)
        window = need;
    else
        window = (size_t)((double)need / s->beam->density) + need / 4 + 2;
    window = SKEP_MIN(window, (size_t)SKEP_BEAM_AHEAD_MAX);
    return s->beam->num_workers > 0 ? SKEP_MIN(window, s->beam->num_workers) : window;
}

/* Stuck at an undecided index: ask for it, and for those behind it that may be needed too. */
static int look_ahead(struct search *s, struct example *e)
{
    size_t need = s->beam_size - e->kept, alive = 0, unknown = 0, window = next_window(s, e);
    bool asked = false;

    for (size_t p = e->cursor; alive < need && unknown < window; p++) {
        uint32_t slot;
        int rc = first_slot(s, e, p, &slot);

        if (rc < 0)
            return rc;
        if (rc == 0)
            break;
        if (s->slots[slot].state >= SLOT_KNOWN) {
            alive += s->slots[slot].found && s->slots[slot].found->count > 0;
            continue;
        }
        unknown++;
        asked |= s->slots[slot].state < SLOT_WANTED;
        rc = skep_frontier_want(s, slot);
        if (rc < 0)
            return rc;
        if (alive + unknown <= need) /* it will be consumed, whatever the others turn out to be */
            skep_frontier_need(s, slot);
    }
    if (asked)
        e->window = window;
    return 0;
}

static int keep_first(struct search *s, struct example *e, uint32_t slot)
{
    const struct slot *at = &s->slots[slot];

    if (!e->beam) {
        e->beam = skep_arena_alloc(&s->arena, SKEP_MIN(s->beam_size, (size_t)s->sizes[0]),
                                   sizeof *e->beam);
        if (!e->beam)
            return SKEP_ENOMEM;
    }
    e->beam[e->beam_count++] = (struct item){
        .score = e->order[e->cursor].score, .slot = slot, .node = at->node, .found = at->found};
    e->kept++;
    return 0;
}

static int complete_first(struct search *s, struct example *e)
{
    uint32_t slot;
    int rc = 0;

    e->complete = true;
    if (e->cursor >= e->order_count && e->cursor < s->sizes[0])
        rc = first_slot(s, e, e->cursor, &slot); /* only to know its score */
    if (rc < 0)
        return rc;
    if (e->cursor < e->order_count)
        skep_search_not_looked_at(s, e, e->order[e->cursor].score, 1);
    return 0;
}

/* Consume first indices in hivemind's order as far as they are decided. */
static int advance_first(struct search *s, struct example *e)
{
    while (e->kept < s->beam_size) {
        uint32_t slot;
        int rc = first_slot(s, e, e->cursor, &slot);
        const struct slot *at;

        if (rc < 0)
            return rc;
        if (rc == 0 || (s->timed_out && e->home_walk++ >= SKEP_BEAM_HOME_WALK_MAX))
            break;
        at = &s->slots[slot];
        if (at->state < SLOT_KNOWN)
            return look_ahead(s, e);
        if (at->state == SLOT_UNANSWERED) {
            e->unanswered++;
            skep_search_not_looked_at(s, e, e->order[e->cursor].score, 1);
        } else if (at->found && at->found->count > 0) {
            if ((rc = keep_first(s, e, slot)) < 0)
                return rc;
        } else if (!at->found) {
            s->slots[slot].marked = true; /* as hivemind: only where there is nothing at all */
        }
        skep_frontier_used(s, slot);
        e->consumed += at->state == SLOT_KNOWN;
        e->cursor++;
    }
    return complete_first(s, e);
}

static void learn_density(struct search *s)
{
    size_t kept = 0, consumed = 0;
    double density;

    for (size_t i = 0; i < s->example_count; i++) {
        kept += s->examples[i].kept;
        consumed += s->examples[i].consumed;
    }
    if (consumed == 0)
        return;
    density = (double)SKEP_MAX(kept, consumed / 64 + 1) / (double)consumed;
    s->beam->density = s->beam->density_known ? (s->beam->density + density) / 2 : density;
    s->beam->density_known = true;
}

static int step_initial(struct search *s)
{
    bool complete = true;

    for (size_t i = 0; i < s->example_count; i++) {
        struct example *e = &s->examples[i];
        int rc = e->complete ? 0 : advance_first(s, e);

        if (rc < 0)
            return rc;
        complete &= e->complete;
    }
    if (complete) {
        learn_density(s);
        s->phase = s->kind == FIND_BEST ? PHASE_CHOOSE : PHASE_ENDED;
        s->dim = 1;
    }
    return 0;
}

/* ---- the next beam ---- */

/* As text, with the dot that follows, is a after b? */
static bool number_above(uint64_t a, uint64_t b)
{
    uint64_t a_scale = 1, b_scale = 1;

    while (a / a_scale >= 10)
        a_scale *= 10;
    while (b / b_scale >= 10)
        b_scale *= 10;
    for (; a_scale > 0 && b_scale > 0; a_scale /= 10, b_scale /= 10) {
        uint64_t a_digit = a / a_scale % 10, b_digit = b / b_scale % 10;

        if (a_digit != b_digit)
            return a_digit > b_digit;
    }
    return a_scale > 0; /* a dot is below every digit */
}

/* Equal scores: the larger prefix text first. */
static bool prefix_above(const struct skep_top_item *a, const struct skep_top_item *b)
{
    const struct item *at = a->owner, *bt = b->owner;

    if (at != bt)
        return skep_bytes_compare(skep_bytes_of(at->node->text, at->node->text_len),
                                  skep_bytes_of(bt->node->text, bt->node->text_len)) > 0;
    return number_above((uint64_t)at->found->entries[a->index].coordinate,
                        (uint64_t)bt->found->entries[b->index].coordinate);
}

static int reserve_scratch(struct search *s, const struct example *e)
{
    size_t most = 0;

    for (size_t i = 0; i < e->beam_count; i++)
        most += e->beam[i].found->grid_count;
    most = SKEP_MIN(most, s->beam_size);
    if (most <= s->scratch_room)
        return 0;
    s->scratch = skep_arena_alloc(&s->arena, most, sizeof *s->scratch);
    s->scratch_room = s->scratch ? most : 0;
    return s->scratch ? 0 : SKEP_ENOMEM;
}

static void rank_children(const struct search *s, const struct example *e, struct skep_top *top)
{
    const double *row = skep_score_row(&s->scores, (size_t)(e - s->examples), s->dim);
    uint32_t size = s->sizes[s->dim];

    for (size_t i = 0; i < e->beam_count; i++) {
        const struct item *item = &e->beam[i];

        for (uint32_t k = 0; k < item->found->count; k++) {
            int64_t coordinate = item->found->entries[k].coordinate;

            if (coordinate >= 0 && coordinate < (int64_t)size)
                skep_top_offer(
                    top,
                    (struct skep_top_item){
                        skep_score_add(s->scores.narrow, item->score, row[coordinate]), item, k});
        }
    }
}

static int choose(struct search *s, struct example *e)
{
    struct skep_top top = {.cap = s->beam_size, .above = prefix_above};
    struct item *beam;
    int rc = reserve_scratch(s, e);

    if (rc < 0)
        return rc;
    top.items = s->scratch;
    rank_children(s, e, &top);
    skep_top_sort(&top);
    if (top.has_cut)
        skep_search_not_looked_at(s, e, top.cut_score, s->dim + 1);
    beam = skep_arena_alloc(&s->arena, top.count, sizeof *beam);
    if (!beam)
        return SKEP_ENOMEM;
    for (size_t i = 0; i < top.count; i++) {
        const struct item *parent = top.items[i].owner;
        const struct skep_moe_successor *via = &parent->found->entries[top.items[i].index];
        uint32_t slot = skep_frontier_child(s, parent->slot, (uint32_t)via->coordinate);

        if (slot == SLOT_NONE)
            return SKEP_ENOMEM;
        if ((rc = skep_frontier_want(s, slot)) < 0)
            return rc;
        skep_frontier_need(s, slot);
        beam[i] = (struct item){.score = top.items[i].score,
                                .slot = slot,
                                .node = s->slots[slot].node,
                                .parent = parent,
                                .via = via};
    }
    e->beam = beam;
    e->beam_count = top.count;
    return 0;
}

static int step_choose(struct search *s)
{
    skep_search_learn_deeper(s, s->dim);
    for (size_t i = 0; i < s->example_count; i++) {
        struct example *e = &s->examples[i];
        int rc = 0;

        if (e->beam_count > 0)
            rc = skep_collect(s, e, e->beam, e->beam_count, s->dim);
        if (rc == 0 && s->exact)
            rc = skep_exact_collected(s, e, e->beam, e->beam_count);
        if (rc == 0 && e->beam_count > 0 && s->dim + 1 < s->dims)
            rc = choose(s, e);
        if (rc < 0)
            return rc;
    }
    s->phase = s->dim + 1 < s->dims ? PHASE_FORM : s->exact ? PHASE_EXACT : PHASE_ENDED;
    return 0;
}

/* Keep the chosen prefixes under which there is something. */
static void form(struct search *s, struct example *e)
{
    size_t kept = 0;

    for (size_t i = 0; i < e->beam_count; i++) {
        struct item item = e->beam[i];
        struct slot *slot = &s->slots[item.slot];

        item.found = slot->found;
        if (slot->state == SLOT_UNANSWERED) {
            e->unanswered++;
            skep_search_not_looked_at(s, e, item.score, s->dim + 1);
        } else if (slot->found && slot->found->grid_count > 0) {
            e->beam[kept++] = item;
        } else {
            slot->marked =
                !slot->found || !slot->found->marked; /* a mark that is there needs no other */
        }
    }
    e->beam_count = kept;
}

static int step_form(struct search *s)
{
    for (size_t i = 0; i < s->example_count; i++)
        form(s, &s->examples[i]);
    s->dim++;
    s->phase = PHASE_CHOOSE;
    return 0;
}

/* ---- active successors ---- */

static int step_prefixes(struct search *s)
{
    for (uint32_t i = 1; i < s->slot_count; i++) {
        struct slot *slot = &s->slots[i];
        int rc;

        if (slot->state < SLOT_KNOWN) {
            if ((rc = skep_frontier_want(s, i)) < 0)
                return rc;
            skep_frontier_need(s, i);
        }
    }
    if (s->needed > 0)
        return 0;
    for (uint32_t i = 1; i < s->slot_count; i++) {
        struct slot *slot = &s->slots[i];

        slot->marked = slot->state == SLOT_KNOWN &&
                       (!slot->found || (slot->found->grid_count == 0 && !slot->found->marked));
    }
    s->phase = PHASE_ENDED;
    return 0;
}

/* ---- running ---- */

static int step(struct search *s)
{
    switch (s->phase) {
    case PHASE_INITIAL: return step_initial(s);
    case PHASE_CHOOSE: return step_choose(s);
    case PHASE_FORM: return step_form(s);
    case PHASE_EXACT: return skep_search_exact(s);
    case PHASE_PREFIXES: return step_prefixes(s);
    case PHASE_ENDED: return 0;
    }
    SKEP_UNREACHABLE();
}

void skep_search_run(struct search *s)
{
    s->running = true;
    s->now_unix_s = skep_env_unix_s(s->beam->env);
    while (s->rc == 0 && s->phase != PHASE_ENDED && s->needed == 0) {
        int rc = step(s);

        skep_frontier_settle(s);
        if (rc == 0 && s->wanted.count > 0)
            rc = skep_search_speculate(s);
        if (rc == 0)
            rc = skep_frontier_ask(s);
        if (rc < 0 && s->rc == 0)
            s->rc = rc;
    }
    s->running = false;
    if (s->rc < 0 || s->phase == PHASE_ENDED)
        skep_search_end(s, s->rc);
}

void skep_search_time_out(struct search *s)
{
    int rc;

    if (s->phase == PHASE_ENDED || s->running)
        return;
    s->timed_out = true;
    s->user->timed_out = true;
    s->now_unix_s = skep_env_unix_s(s->beam->env);
    rc = skep_frontier_leave(s);
    if (rc < 0)
        s->rc = rc;
    skep_search_run(s);
}
