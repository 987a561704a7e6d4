/* SPDX-License-Identifier: MIT */
/* Searchers, and the starts and ends of their searches. See beam.h and search.h. */
#include "moe/beam.h"

#include <math.h>
#include <stdio.h>

#include "base/limits.h"
#include "moe/search.h"
#include "moe/uid.h"

/* ---- searchers ---- */

void skep_beam_options_default(struct skep_beam_options *options)
{
    *options = (struct skep_beam_options){.negative_caching = true, .cache_expiration_s = 300};
}

static void say(char *why, size_t why_len, const char *text)
{
    if (why && why_len > 0)
        snprintf(why, why_len, "%s", text);
}

static int check_options(const struct skep_beam_options *options, skep_bytes prefix, char *why,
                         size_t why_len)
{
    struct skep_grid grid = {options->dims, options->grid};
    int rc = skep_prefix_check(prefix, why, why_len);

    if (rc == 0)
        rc = skep_grid_check(&grid, why, why_len);
    if (rc == 0 && !(options->cache_expiration_s >= 0 && options->cache_expiration_s < HUGE_VAL)) {
        say(why, why_len, "the life of negative marks must be a number of seconds");
        rc = SKEP_EINVAL;
    }
    return rc;
}

static int read_base(struct skep_beam *beam, skep_bytes prefix)
{
    skep_bytes rest = prefix;
    uint64_t number;

    beam->base_count = skep_uid_number_count(prefix);
    beam->base = skep_mem_alloc(beam->mem, (beam->base_count + 1) * sizeof *beam->base);
    if (!beam->base)
        return SKEP_ENOMEM;
    for (size_t i = beam->base_count; i-- > 0;) {
        if (skep_uid_split(rest, &rest, &number))
            beam->base[i] = (uint32_t)SKEP_MIN(number, (uint64_t)UINT32_MAX);
    }
    return 0;
}

static int build(struct skep_beam *beam, const struct skep_beam_options *options, skep_bytes prefix)
{
    uint32_t *sizes = skep_mem_dup(beam->mem, options->grid, options->dims * sizeof *sizes);
    int rc;

    if (!sizes)
        return SKEP_ENOMEM;
    beam->grid = (struct skep_grid){options->dims, sizes};
    rc = read_base(beam, prefix);
    if (rc == 0)
        rc = skep_prefix_tree_init(&beam->tree, beam->dht, prefix,
                                   options->cache_bytes > 0 ? options->cache_bytes
                                                            : SKEP_BEAM_CACHE_BYTES);
    if (rc < 0) {
        skep_mem_free(beam->mem, beam->base);
        skep_mem_free(beam->mem, sizes);
    }
    return rc;
}

int skep_beam_new(struct skep_beam **out, struct skep_dht *dht,
                  const struct skep_beam_options *options, char *why, size_t why_len)
{
    struct skep_env *env = skep_dht_env(dht);
    struct skep_beam *beam = NULL;
    struct skep_buf prefix;
    int rc;

    *out = NULL;
    say(why, why_len, "");
    skep_buf_init(&prefix, env->mem);
    skep_buf_put_bytes(&prefix, options->prefix);
    if (prefix.len > 0 && prefix.data[prefix.len - 1] != '.')
        skep_buf_put_u8(&prefix, '.');
    rc = prefix.rc;
    if (rc == 0)
        rc = check_options(options, skep_buf_view(&prefix), why, why_len);
    if (rc == 0 && !(beam = skep_mem_zalloc(env->mem, 1, sizeof *beam)))
        rc = SKEP_ENOMEM;
    if (rc < 0 || !beam)
        goto out;
    beam->dht = dht;
    beam->env = env;
    beam->mem = env->mem;
    beam->negative_caching = options->negative_caching;
    beam->cache_expiration_s = options->cache_expiration_s;
    beam->num_workers = options->num_workers;
    beam->seed = skep_env_random(env);
    skep_list_init(&beam->searches);
    skep_list_init(&beam->left);
    skep_list_init(&beam->marks);
    rc = build(beam, options, skep_buf_view(&prefix));
    if (rc == 0)
        *out = beam;
    else
        skep_mem_free(env->mem, beam);
out:
    skep_buf_fini(&prefix);
    return rc;
}

/* Give the memory of its results back. */
static void forget(struct search *s)
{
    struct skep_beam *beam = s->beam;
    const struct skep_mem *mem = s->arena.mem;

    for (size_t i = 0; i < s->user->prefix_count; i++) {
        /* The results are const to the caller; the references in them are ours. */
        skep_successors_unref(
            (struct skep_moe_successors *)(uintptr_t)s->user->prefixes[i].successors);
    }
    s->user->prefixes = NULL;
    s->user->prefix_count = 0;
    s->user->hits = NULL;
    s->user->hit_count = 0;
    s->user->state = NULL;
    skep_list_remove(&s->link);
    skep_score_table_fini(&s->scores);
    skep_arena_fini(&s->arena, beam ? &beam->spare : NULL);
    skep_mem_free(mem, s);
}

void skep_beam_free(struct skep_beam *beam)
{
    struct skep_list ended;

    if (!beam)
        return;
    skep_list_init(&ended);
    while (!skep_list_empty(&beam->searches)) {
        struct search *s = SKEP_LIST_ITEM(beam->searches.next, struct search, link);

        skep_list_remove(&s->link);
        skep_list_push_back(&ended, &s->link); /* `done` may release it, or others */
        if (s->phase != PHASE_ENDED) {
            skep_frontier_cancel(s);
            skep_search_end(s, SKEP_ECANCELED);
        }
    }
    SKEP_LIST_EACH(&ended, link, after)
    {
        struct search *s = SKEP_LIST_ITEM(link, struct search, link);

        s->beam = NULL;
        skep_list_remove(&s->link);
    }
    skep_frontier_abandon(beam);
    skep_prefix_tree_fini(&beam->tree);
    if (beam->spare)
        skep_arena_block_free(beam->mem, beam->spare);
    skep_mem_free(beam->mem, beam->base);
    skep_mem_free(beam->mem, (void *)(uintptr_t)beam->grid.sizes);
    skep_mem_free(beam->mem, beam);
}

skep_bytes skep_beam_prefix(const struct skep_beam *beam)
{
    return skep_bytes_of(beam->tree.root->text, beam->tree.root->text_len);
}

/* ---- starts ---- */

static void on_deadline(struct skep_timer *timer)
{
    skep_search_time_out(SKEP_CONTAINER_OF(timer, struct search, deadline));
}

static int set_deadline(struct search *s, uint64_t deadline_us)
{
    if (deadline_us == 0)
        return 0;
    if (deadline_us <= s->started_us) {
        s->timed_out = s->user->timed_out = true;
        return 0;
    }
    s->deadline.fire = on_deadline;
    return skep_timer_start(s->beam->env->timers, &s->deadline, deadline_us);
}

/* @return a search that is not yet running; NULL: out of memory. */
static struct search *new_search(struct skep_search *user, struct skep_beam *beam,
                                 enum search_kind kind, const struct skep_search_options *options)
{
    struct search *s = skep_mem_alloc(beam->mem, sizeof *s);

    if (!s)
        return NULL;
    *s = (struct search){.user = user, .beam = beam, .kind = kind, .beam_size = options->beam_size};
    s->started_us = skep_env_now_us(beam->env);
    s->now_unix_s = skep_env_unix_s(beam->env);
    s->dropped_before = beam->tree.dropped;
    skep_list_init(&s->link);
    skep_list_init(&s->fetches);
    skep_arena_init(&s->arena, beam->mem, &beam->spare);
    user->state = s;
    user->hits = NULL;
    user->prefixes = NULL;
    user->hit_count = user->prefix_count = 0;
    user->timed_out = false;
    user->stats = (struct skep_beam_stats){0};
    if (skep_frontier_init(s) < 0) {
        forget(s);
        return NULL;
    }
    return s;
}

static int give_up(struct search *s, int rc)
{
    skep_frontier_release(s);
    forget(s);
    return rc;
}

static int start(struct search *s, uint64_t deadline_us)
{
    int rc = set_deadline(s, deadline_us);

    if (rc < 0)
        return give_up(s, rc);
    skep_list_push_back(&s->beam->searches, &s->link);
    s->beam->running++;
    skep_search_run(s);
    return 0;
}

static int check_start(const struct skep_beam *beam, const struct skep_search_options *options,
                       char *why, size_t why_len)
{
    say(why, why_len, "");
    if (options->beam_size == 0) {
        say(why, why_len, "the beam size is zero");
        return SKEP_EINVAL;
    }
    if (options->beam_size > SKEP_BEAM_SIZE_MAX) {
        say(why, why_len, "the beam size is too large");
        return SKEP_ELIMIT;
    }
    if (beam->running >= SKEP_SEARCHES_MAX) {
        say(why, why_len, "too many searches are running");
        return SKEP_ELIMIT;
    }
    return 0;
}

/* What searches that rank have in common. */
static int start_ranking(struct skep_search *user, struct skep_beam *beam, enum search_kind kind,
                         const struct skep_grid *grid, const struct skep_scores *scores,
                         const struct skep_search_options *options, char *why, size_t why_len)
{
    int rc = check_start(beam, options, why, why_len);
    struct search *s;
    uint32_t *sizes;

    if (rc < 0)
        return rc;
    s = new_search(user, beam, kind, options);
    if (!s)
        return SKEP_ENOMEM;
    rc = skep_score_table_init(&s->scores, beam->mem, grid, scores, why, why_len);
    if (rc < 0)
        return give_up(s, rc);
    s->exact = options->exact;
    s->keys_max = options->keys_max;
    /* Who counts the keys of an exact search wants none wasted. */
    if (kind == FIND_BEST && (!s->exact || s->keys_max == 0))
        s->guess_keys_max =
            SKEP_MIN(options->guess_keys_max, SKEP_BEAM_GUESS_KEYS_MAX / scores->examples);
    s->example_count = scores->examples;
    s->examples = skep_arena_alloc(&s->arena, s->example_count, sizeof *s->examples);
    s->sizes = sizes = skep_arena_alloc(&s->arena, grid->dims, sizeof *sizes);
    if (!s->examples || !sizes)
        return give_up(s, SKEP_ENOMEM);
    memcpy(sizes, grid->sizes, grid->dims * sizeof *sizes);
    s->dims = grid->dims;
    for (size_t i = 0; i < s->example_count; i++)
        s->examples[i] = (struct example){.hits = {.cap = s->beam_size, .above = NULL}};
    s->phase = PHASE_INITIAL;
    return start(s, options->deadline_us);
}

int skep_find_best_start(struct skep_search *search, struct skep_beam *beam,
                         const struct skep_scores *scores,
                         const struct skep_search_options *options, char *why, size_t why_len)
{
    if (options->exact && beam->base_count > 0) {
        say(why, why_len, "the exact mode takes a prefix without numbers, such as \"ffn.\"");
        return SKEP_EINVAL;
    }
    return start_ranking(search, beam, FIND_BEST, &beam->grid, scores, options, why, why_len);
}

int skep_initial_beam_start(struct skep_search *search, struct skep_beam *beam, const void *scores,
                            size_t count, enum skep_grid_scores type,
                            const struct skep_search_options *options, char *why, size_t why_len)
{
    uint32_t size = (uint32_t)SKEP_MIN(count, (size_t)UINT32_MAX);
    struct skep_grid grid = {1, &size};
    struct skep_scores table = {.type = type, .examples = 1, .dims = 1, .rows = &scores};
    int rc = skep_grid_check(&grid, why, why_len);

    return rc < 0 ? rc
                  : start_ranking(search, beam, INITIAL_BEAM, &grid, &table, options, why, why_len);
}

static int add_prefixes(struct search *s, const skep_bytes *prefixes, size_t count)
{
    s->asked_prefixes = skep_arena_alloc(&s->arena, count, sizeof *s->asked_prefixes);
    if (!s->asked_prefixes)
        return SKEP_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        bool fresh;
        uint32_t slot = skep_frontier_prefix(s, prefixes[i], &fresh);

        if (slot == SLOT_NONE)
            return SKEP_ENOMEM;
        if (fresh)
            s->asked_prefixes[s->asked_prefix_count++] = slot;
    }
    return 0;
}

int skep_active_successors_start(struct skep_search *search, struct skep_beam *beam,
                                 const skep_bytes *prefixes, size_t count, uint32_t grid_size,
                                 const struct skep_search_options *options, char *why,
                                 size_t why_len)
{
    struct skep_search_options own = *options;
    struct search *s;
    int rc;

    own.beam_size = 1;
    rc = check_start(beam, &own, why, why_len);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = skep_prefix_check(prefixes[i], why, why_len);
    if (rc < 0)
        return rc;
    s = new_search(search, beam, ACTIVE_SUCCESSORS, &own);
    if (!s)
        return SKEP_ENOMEM;
    s->phase = PHASE_PREFIXES;
    s->grid_size = grid_size;
    if (own.deadline_us > 0 && own.deadline_us <= s->started_us)
        s->timed_out = true; /* before the prefixes are looked up */
    rc = add_prefixes(s, prefixes, count);
    return rc < 0 ? give_up(s, rc) : start(s, own.deadline_us);
}

/* ---- results ---- */

static const char *copy_text(struct search *s, const char *text, size_t len)
{
    char *copy = skep_arena_alloc(&s->arena, len + 1, 1);

    if (copy)
        memcpy(copy, text, len + 1);
    return copy;
}

static int build_hits(struct search *s, struct example *e, struct skep_beam_hits *out)
{
    struct skep_beam_expert *experts = skep_arena_alloc(&s->arena, e->hits.count, sizeof *experts);

    if (!experts)
        return SKEP_ENOMEM;
    skep_top_sort(&e->hits);
    for (size_t i = 0; i < e->hits.count; i++) {
        const struct skep_moe_successors *found = e->hits.items[i].owner;
        const struct skep_moe_successor *entry = &found->entries[e->hits.items[i].index];

        experts[i] = (struct skep_beam_expert){
            .uid = copy_text(s, found->text + entry->uid_at, entry->uid_len),
            .uid_len = entry->uid_len,
            .peer = found->peers[entry->peer],
            .score = e->hits.items[i].score};
        if (!experts[i].uid)
            return SKEP_ENOMEM;
    }
    *out = (struct skep_beam_hits){.experts = experts,
                                   .count = e->hits.count,
                                   .unanswered = e->unanswered,
                                   .has_bound = e->has_bound,
                                   .bound = e->has_bound ? e->bound : -HUGE_VAL};
    if (s->beam->base_count > 0 && e->has_bound)
        out->bound =
            HUGE_VAL; /* hivemind scores such experts with other rows than it searches with: nothing bounds that */
    out->exact = !e->has_bound ||
                 (out->count == s->beam_size && experts[out->count - 1].score >= out->bound);
    return 0;
}

static int build_best(struct search *s)
{
    struct skep_beam_hits *hits = skep_arena_alloc(&s->arena, s->example_count, sizeof *hits);
    int rc = hits ? 0 : SKEP_ENOMEM;

    for (size_t i = 0; rc == 0 && i < s->example_count; i++)
        rc = build_hits(s, &s->examples[i], &hits[i]);
    if (rc < 0)
        return rc;
    s->user->hits = hits;
    s->user->hit_count = s->example_count;
    return 0;
}

static int add_prefix(struct search *s, struct skep_beam_prefix *out, const struct slot *slot,
                      double score)
{
    struct skep_moe_successors *found = NULL;
    const char *text = copy_text(s, slot->node->text, slot->node->text_len);

    if (!text)
        return SKEP_ENOMEM;
    if (slot->found && s->kind == INITIAL_BEAM)
        found = skep_successors_ref(slot->found);
    else if (slot->found && skep_successors_below(&found, slot->found,
                                                  s->grid_size > 0 ? s->grid_size : UINT64_MAX) < 0)
        return SKEP_ENOMEM;
    if (found && found->count == 0) {
        skep_successors_unref(found);
        found = NULL;
    }
    *out = (struct skep_beam_prefix){.prefix = text,
                                     .prefix_len = slot->node->text_len,
                                     .score = score,
                                     .successors = found,
                                     .answered = slot->state != SLOT_UNANSWERED};
    return 0;
}

static int build_prefixes(struct search *s)
{
    size_t count = s->kind == INITIAL_BEAM ? s->examples[0].beam_count : s->asked_prefix_count;
    struct skep_beam_prefix *prefixes = skep_arena_alloc(&s->arena, count, sizeof *prefixes);

    if (!prefixes)
        return SKEP_ENOMEM;
    s->user->prefixes = prefixes;
    for (size_t i = 0; i < count; i++) {
        const struct item *item = s->kind == INITIAL_BEAM ? &s->examples[0].beam[i] : NULL;
        const struct slot *slot = &s->slots[item ? item->slot : s->asked_prefixes[i]];
        int rc = add_prefix(s, &prefixes[i], slot, item ? item->score : 0);

        if (rc < 0)
            return rc; /* those before it are released with the search */
        s->user->prefix_count = i + 1;
    }
    return 0;
}

static struct skep_successors_dropped dropped_since(const struct skep_successors_dropped *now,
                                                    const struct skep_successors_dropped *then)
{
    return (struct skep_successors_dropped){
        now->subkeys - then->subkeys, now->values - then->values,     now->uids - then->uids,
        now->strays - then->strays,   now->peer_ids - then->peer_ids, now->expired - then->expired};
}

void skep_search_end(struct search *s, int rc)
{
    struct skep_search *user = s->user;
    struct skep_beam *beam = s->beam;

    s->phase = PHASE_ENDED;
    s->running = true; /* nothing that is called below may run it again */
    skep_env_stop(beam->env, &s->deadline);
    if (rc == 0)
        rc = s->kind == FIND_BEST ? build_best(s) : build_prefixes(s);
    if (rc == 0)
        skep_frontier_write_marks(s);
    user->stats.looked_up = s->slot_count - 1;
    user->stats.cost.rounds = s->rounds;
    user->stats.dropped = dropped_since(&beam->tree.dropped, &s->dropped_before);
    user->stats.elapsed_us = skep_env_now_us(beam->env) - s->started_us;
    skep_frontier_release(s);
    beam->running--;
    user->done(user, rc);
}

void skep_search_fini(struct skep_search *search)
{
    struct search *s = search->state;

    if (!s)
        return;
    if (s->phase != PHASE_ENDED) {
        skep_frontier_cancel(s);
        skep_env_stop(s->beam->env, &s->deadline);
        skep_frontier_release(s);
        s->beam->running--;
    }
    forget(s);
}

void skep_search_finish(struct skep_search *search)
{
    if (search->state)
        skep_search_time_out(search->state);
}
