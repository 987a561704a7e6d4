/* SPDX-License-Identifier: MIT */
/* Searches: the best experts, initial beams, active successors. See include/skep/moe.h.
 *
 * hivemind's searcher is an object that keeps what it learnt; here a node keeps one for each prefix and grid lately asked for, so that the same search
 * again finds what it needs at home. Results are copied out once: they outlive the searcher and the node. */
#include "api/api.h"

#include <math.h>

#include "moe/beam.h"
#include "moe/uid.h"

/* ---- searchers ---- */

struct api_searcher {
    struct skep_list entry; /* node->searchers, the last used first */
    struct skep_beam *beam;
    size_t users; /* searches under way */
    size_t dims, num_workers;
    bool negative_caching;
    double cache_expiration_s;
    size_t prefix_len;
    char *prefix; /* behind the grid */
    uint32_t grid[];
};

struct wanted {
    const char *prefix;
    const uint32_t *grid;
    size_t dims, num_workers;
    bool negative_caching;
    double cache_expiration_s;
};

static bool is_wanted(const struct api_searcher *searcher, const struct wanted *wanted,
                      size_t prefix_len)
{
    return searcher->dims == wanted->dims && searcher->num_workers == wanted->num_workers &&
           searcher->negative_caching == wanted->negative_caching &&
           searcher->cache_expiration_s == wanted->cache_expiration_s &&
           searcher->prefix_len == prefix_len &&
           memcmp(searcher->grid, wanted->grid, wanted->dims * sizeof *wanted->grid) == 0 &&
           memcmp(searcher->prefix, wanted->prefix, prefix_len) == 0;
}

static void searcher_free(skep_node *node, struct api_searcher *searcher)
{
    skep_list_remove(&searcher->entry);
    node->searcher_count--;
    skep_beam_free(searcher->beam);
    skep_mem_free(API_MEM, searcher);
}

static void forget_some(skep_node *node)
{
    for (struct skep_list *at = node->searchers.prev, *before;
         at != &node->searchers && node->searcher_count > API_SEARCHERS_KEPT; at = before) {
        struct api_searcher *searcher = SKEP_LIST_ITEM(at, struct api_searcher, entry);

        before = at->prev;
        if (searcher->users == 0)
            searcher_free(node, searcher);
    }
}

static int searcher_new(struct api_searcher **out, skep_node *node, const struct wanted *wanted,
                        size_t prefix_len)
{
    size_t grid_bytes = wanted->dims * sizeof *wanted->grid;
    struct api_searcher *searcher =
        skep_mem_zalloc(API_MEM, 1, sizeof *searcher + grid_bytes + prefix_len + 1);
    struct skep_beam_options options;
    char why[SKEP_UID_WHY_MAX] = "";
    int rc;

    *out = NULL;
    if (!searcher)
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    searcher->dims = wanted->dims;
    searcher->num_workers = wanted->num_workers;
    searcher->negative_caching = wanted->negative_caching;
    searcher->cache_expiration_s = wanted->cache_expiration_s;
    searcher->prefix_len = prefix_len;
    memcpy(searcher->grid, wanted->grid, grid_bytes);
    searcher->prefix = memcpy((char *)searcher->grid + grid_bytes, wanted->prefix, prefix_len + 1);
    skep_beam_options_default(&options);
    options.prefix = skep_bytes_of(searcher->prefix, prefix_len);
    options.grid = searcher->grid;
    options.dims = searcher->dims;
    options.negative_caching = wanted->negative_caching;
    options.cache_expiration_s = wanted->cache_expiration_s;
    options.num_workers = wanted->num_workers;
    if ((rc = skep_beam_new(&searcher->beam, node->dht, &options, why, sizeof why)) < 0) {
        skep_mem_free(API_MEM, searcher);
        return skep_api_fail(rc, "%s", *why ? why : skep_strerror(rc));
    }
    skep_list_push_front(&node->searchers, &searcher->entry);
    node->searcher_count++;
    *out = searcher;
    return 0;
}

/* @return 0 with one that counts a user. */
static int searcher_get(struct api_searcher **out, skep_node *node, const struct wanted *wanted)
{
    size_t prefix_len = strlen(wanted->prefix);
    int rc;

    SKEP_LIST_EACH(&node->searchers, entry, after)
    {
        struct api_searcher *searcher = SKEP_LIST_ITEM(entry, struct api_searcher, entry);

        if (!is_wanted(searcher, wanted, prefix_len))
            continue;
        skep_list_remove(&searcher->entry);
        skep_list_push_front(&node->searchers, &searcher->entry);
        searcher->users++;
        *out = searcher;
        return 0;
    }
    if ((rc = searcher_new(out, node, wanted, prefix_len)) < 0)
        return rc;
    assert(*out);
    (*out)->users++;
    forget_some(node);
    return 0;
}

void skep_api_searchers_close(skep_node *node)
{
    while (!skep_list_empty(&node->searchers))
        searcher_free(node, SKEP_LIST_ITEM(node->searchers.next, struct api_searcher, entry));
}

/* ---- a search of any of the three kinds ---- */

struct find_op {
    skep_op op;
    struct skep_search search;
    bool running;
    struct api_searcher *searcher;
    skep_find_options options; /* pointers: the caller's while it starts, or our copies */
    uint32_t *grid;
    skep_bytes *prefixes; /* successors */
    size_t prefix_count, below;
    uint64_t timeout_us;
    /* results */
    skep_found *found;
    size_t found_count;
    skep_successors *successors;
    size_t successors_count;
    skep_find_cost cost;
};

static struct find_op *find_op_of(skep_op *op)
{
    return SKEP_CONTAINER_OF(op, struct find_op, op);
}

/* All of an answer in one block: experts, then their uids. */
static int copy_hits(struct api_arena *arena, skep_found *to, const struct skep_beam_hits *from)
{
    size_t bytes = 0;
    skep_expert *experts;
    char *text;

    for (size_t i = 0; i < from->count; i++)
        bytes += from->experts[i].uid_len + 1;
    if (!(experts = skep_api_arena_alloc(arena, 1, from->count * sizeof *experts + bytes + 1)))
        return SKEP_ENOMEM;
    text = (char *)(experts + from->count);
    for (size_t i = 0; i < from->count; i++) {
        const struct skep_beam_expert *expert = &from->experts[i];

        experts[i] =
            (skep_expert){.uid = text, .peer = api_peer_out(&expert->peer), .score = expert->score};
        memcpy(text, expert->uid, expert->uid_len + 1);
        text += expert->uid_len + 1;
    }
    *to = (skep_found){.experts = experts,
                       .count = from->count,
                       .exact = from->exact,
                       .bound = from->has_bound ? from->bound : -INFINITY,
                       .unanswered = (uint32_t)SKEP_MIN(from->unanswered, (size_t)UINT32_MAX)};
    return 0;
}

static int copy_prefix(struct api_arena *arena, skep_successors *to,
                       const struct skep_beam_prefix *from)
{
    const struct skep_moe_successors *s = from->successors;
    size_t count = s ? s->count : 0;
    skep_successor *entries = skep_api_arena_alloc(arena, count, sizeof *entries);

    if (!entries ||
        !(to->prefix = skep_api_arena_str(arena, skep_bytes_of(from->prefix, from->prefix_len))))
        return SKEP_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        entries[i].coordinate = s->entries[i].coordinate;
        entries[i].peer = api_peer_out(&s->peers[s->entries[i].peer]);
        if (!(entries[i].uid = skep_api_arena_str(arena, skep_successor_uid(s, &s->entries[i]))))
            return SKEP_ENOMEM;
    }
    to->score = from->score;
    to->successors = entries;
    to->count = count;
    to->answered = from->answered;
    return 0;
}

static int copy_results(struct find_op *op)
{
    const struct skep_search *search = &op->search;
    struct api_arena *arena = &op->op.arena;
    int rc = 0;

    op->found = skep_api_arena_alloc(arena, search->hit_count, sizeof *op->found);
    op->successors = skep_api_arena_alloc(arena, search->prefix_count, sizeof *op->successors);
    if (!op->found || !op->successors)
        return SKEP_ENOMEM;
    for (size_t i = 0; i < search->hit_count && rc == 0; i++)
        rc = copy_hits(arena, &op->found[i], &search->hits[i]);
    for (size_t i = 0; i < search->prefix_count && rc == 0; i++)
        rc = copy_prefix(arena, &op->successors[i], &search->prefixes[i]);
    op->found_count = search->hit_count;
    op->successors_count = search->prefix_count;
    op->cost = (skep_find_cost){.rounds = search->stats.cost.rounds,
                                .keys = search->stats.cost.keys,
                                .calls = search->stats.cost.calls,
                                .elapsed_us = search->stats.elapsed_us,
                                .out_of_time = search->timed_out};
    return rc;
}

static void release(struct find_op *op)
{
    skep_search_fini(&op->search);
    op->running = false;
    op->searcher->users--;
}

static void on_found(struct skep_search *search, int rc)
{
    struct find_op *op = SKEP_CONTAINER_OF(search, struct find_op, search);

    if (rc == 0)
        rc = copy_results(op);
    release(op);
    skep_api_op_end(&op->op, rc, rc < 0 ? skep_strerror(rc) : NULL);
}

static int wanted_searcher(struct find_op *op, skep_node *node)
{
    const skep_find_options *options = &op->options;
    const struct wanted wanted = {.prefix = options->prefix,
                                  .grid = op->grid,
                                  .dims = options->dimensions,
                                  .num_workers = options->num_workers,
                                  .negative_caching = options->negative_caching,
                                  .cache_expiration_s = options->cache_expiration_s};

    return searcher_get(&op->searcher, node, &wanted);
}

static int started(struct find_op *op, int rc, const char *why)
{
    if (rc < 0) {
        op->running = false;
        op->searcher->users--;
        skep_api_fail(rc, "%s", *why ? why : skep_strerror(rc));
    }
    return rc;
}

static enum skep_grid_scores score_type(const struct find_op *op)
{
    return op->options.score_type == SKEP_SCORE_FLOAT64 ? SKEP_GRID_FLOAT64 : SKEP_GRID_FLOAT32;
}

static int find_start(skep_op *base, skep_node *node)
{
    struct find_op *op = find_op_of(base);
    const skep_find_options *options = &op->options;
    const struct skep_scores scores = {.type = score_type(op),
                                       .examples = options->batch_size,
                                       .dims = options->dimensions,
                                       .rows = options->scores,
                                       .row_stride = options->row_stride};
    const struct skep_search_options search = {
        .beam_size = options->beam_size,
        .exact = options->mode == SKEP_FIND_EXACT,
        .keys_max = options->key_budget,
        .guess_keys_max = options->guess_keys,
        .deadline_us = skep_api_deadline_us(node, options->time_budget_us)};
    char why[SKEP_UID_WHY_MAX] = "";
    int rc = wanted_searcher(op, node);

    if (rc < 0)
        return rc;
    op->running = true;
    op->search.done = on_found;
    return started(
        op,
        skep_find_best_start(&op->search, op->searcher->beam, &scores, &search, why, sizeof why),
        why);
}

static int initial_start(skep_op *base, skep_node *node)
{
    struct find_op *op = find_op_of(base);
    const skep_find_options *options = &op->options;
    const struct skep_search_options search = {
        .beam_size = options->beam_size,
        .deadline_us = skep_api_deadline_us(node, options->time_budget_us)};
    char why[SKEP_UID_WHY_MAX] = "";
    int rc = wanted_searcher(op, node);

    if (rc < 0)
        return rc;
    op->running = true;
    op->search.done = on_found;
    rc = skep_initial_beam_start(&op->search, op->searcher->beam, options->scores[0],
                                 options->grid_size[0], score_type(op), &search, why, sizeof why);
    return started(op, rc, why);
}

static int successors_start(skep_op *base, skep_node *node)
{
    struct find_op *op = find_op_of(base);
    const struct skep_search_options search = {
        .beam_size = 1, .deadline_us = skep_api_deadline_us(node, op->timeout_us)};
    char why[SKEP_UID_WHY_MAX] = "";
    int rc = wanted_searcher(op, node);

    if (rc < 0)
        return rc;
    op->running = true;
    op->search.done = on_found;
    rc = skep_active_successors_start(&op->search, op->searcher->beam, op->prefixes,
                                      op->prefix_count, (uint32_t)op->below, &search, why,
                                      sizeof why);
    return started(op, rc, why);
}

static void find_cancel(skep_op *base, skep_node *node)
{
    struct find_op *op = find_op_of(base);

    (void)node;
    if (op->running)
        release(op);
}

static const struct api_op_class find_class = {sizeof(struct find_op), find_start, find_cancel};
static const struct api_op_class initial_class = {sizeof(struct find_op), initial_start,
                                                  find_cancel};
static const struct api_op_class successors_class = {sizeof(struct find_op), successors_start,
                                                     find_cancel};

/* ---- options, checked before anything is sent ---- */

void skep_find_options_init_size(skep_find_options *options, size_t struct_size)
{
    if (!options)
        return;

    const skep_find_options all = {.struct_size = struct_size,
                                   .batch_size = 1,
                                   .beam_size = 4,
                                   .negative_caching = true,
                                   .cache_expiration_s = 300,
                                   .guess_keys = 64};

    memset(options, 0, struct_size);
    memcpy(options, &all, SKEP_MIN(struct_size, sizeof all));
}

static int check_searcher(const skep_node *node, const skep_find_options *options)
{
    char why[SKEP_UID_WHY_MAX];

    if (!node->dht)
        return skep_api_fail(SKEP_EINVAL, "the node has no DHT (options.no_dht)");
    if (!options->prefix)
        return skep_api_fail(SKEP_EPREFIX, "no prefix");
    if (skep_prefix_check(skep_bytes_str(options->prefix), why, sizeof why) < 0)
        return skep_api_fail(SKEP_EPREFIX, "prefix: %s", why);
    if (!(options->cache_expiration_s > 0) || !isfinite(options->cache_expiration_s))
        return skep_api_fail(SKEP_EINVAL, "cache_expiration_s is not a number of seconds above 0");
    return 0;
}

static int check_shapes(const skep_find_options *options)
{
    if (options->mode != SKEP_FIND_BEAM && options->mode != SKEP_FIND_EXACT)
        return skep_api_fail(SKEP_EINVAL, "mode %d is none", (int)options->mode);
    if (options->mode == SKEP_FIND_EXACT &&
        skep_uid_number_count(skep_bytes_str(options->prefix)) > 0)
        return skep_api_fail(
            SKEP_EINVAL, "prefix %s: the exact mode takes one without numbers, such as \"ffn.\"",
            skep_api_quote(options->prefix));
    if (options->score_type != SKEP_SCORE_FLOAT32 && options->score_type != SKEP_SCORE_FLOAT64)
        return skep_api_fail(SKEP_EINVAL, "score type %d is none", (int)options->score_type);
    if (options->dimensions == 0 || !options->grid_size)
        return skep_api_fail(SKEP_EINVAL, "the grid has no dimensions");
    if (options->dimensions > SKEP_GRID_DIMENSIONS_MAX)
        return skep_api_fail(SKEP_EINVAL, "the grid has %zu dimensions; at most %d",
                             options->dimensions, SKEP_GRID_DIMENSIONS_MAX);
    if (options->beam_size == 0)
        return skep_api_fail(SKEP_EINVAL, "the beam size is 0");
    if (options->beam_size > SKEP_BEAM_SIZE_MAX)
        return skep_api_fail(SKEP_ELIMIT, "the beam size is %zu; at most %d", options->beam_size,
                             SKEP_BEAM_SIZE_MAX);
    if (options->batch_size == 0)
        return skep_api_fail(SKEP_EINVAL, "the batch is empty");
    if (!options->scores)
        return skep_api_fail(SKEP_EINVAL, "no scores");
    for (size_t d = 0; d < options->dimensions; d++) {
        if (options->grid_size[d] == 0)
            return skep_api_fail(SKEP_EINVAL, "grid: dimension %zu has size 0", d);
        if (options->grid_size[d] > SKEP_GRID_SIZE_MAX)
            return skep_api_fail(SKEP_EINVAL, "grid: dimension %zu has size %zu; at most %d", d,
                                 options->grid_size[d], SKEP_GRID_SIZE_MAX);
        if (!options->scores[d])
            return skep_api_fail(SKEP_EINVAL, "scores: dimension %zu has none", d);
        if (options->row_stride && options->row_stride[d] < options->grid_size[d])
            return skep_api_fail(SKEP_EINVAL,
                                 "scores: dimension %zu has a row stride of %zu for %zu scores", d,
                                 options->row_stride[d], options->grid_size[d]);
        /* The last row must lie where an array can. */
        if (options->batch_size - 1 >
            SIZE_MAX / 16 / (options->row_stride ? options->row_stride[d] : options->grid_size[d]))
            return skep_api_fail(SKEP_EINVAL, "scores: dimension %zu: %zu rows are no array", d,
                                 options->batch_size);
    }
    return 0;
}

static double score_at(const skep_find_options *options, size_t d, size_t at)
{
    const void *row = options->scores[d];

    return options->score_type == SKEP_SCORE_FLOAT64 ? ((const double *)row)[at]
                                                     : (double)((const float *)row)[at];
}

static size_t stride_of(const skep_find_options *options, size_t d)
{
    return options->row_stride ? options->row_stride[d] : options->grid_size[d];
}

/* Only where the search starts later, in another thread: it checks them itself as it reads them. */
static int check_scores(const skep_find_options *options)
{
    for (size_t d = 0; d < options->dimensions; d++) {
        for (size_t e = 0; e < options->batch_size; e++) {
            for (size_t i = 0; i < options->grid_size[d]; i++) {
                double score = score_at(options, d, e * stride_of(options, d) + i);

                if (isnan(score) || (isinf(score) && score > 0))
                    return skep_api_fail(SKEP_EINVAL,
                                         "scores: example %zu, dimension %zu, index %zu is %s", e,
                                         d, i, isnan(score) ? "not a number" : "+infinity");
            }
        }
    }
    return 0;
}

/* ---- copies, where the search starts in another thread ---- */

static int copy_score_rows(struct find_op *op)
{
    skep_find_options *options = &op->options;
    size_t item = options->score_type == SKEP_SCORE_FLOAT64 ? sizeof(double) : sizeof(float);
    const void **rows = skep_api_arena_alloc(&op->op.arena, options->dimensions, sizeof *rows);

    if (!rows)
        return SKEP_ENOMEM;
    for (size_t d = 0; d < options->dimensions; d++) {
        size_t row_bytes = options->grid_size[d] * item;
        uint8_t *to = skep_api_arena_alloc(&op->op.arena, options->batch_size, row_bytes);

        if (!to)
            return SKEP_ENOMEM;
        for (size_t e = 0; e < options->batch_size; e++)
            memcpy(to + e * row_bytes,
                   (const uint8_t *)options->scores[d] + e * stride_of(options, d) * item,
                   row_bytes);
        rows[d] = to;
    }
    options->scores = rows;
    options->row_stride = NULL;
    return 0;
}

static int own_options(struct find_op *op)
{
    skep_find_options *options = &op->options;
    struct api_arena *arena = &op->op.arena;
    size_t dims = options->dimensions;

    if (!(options->prefix = skep_api_arena_str(arena, skep_bytes_str(options->prefix))) ||
        !(options->grid_size =
              skep_api_arena_copy(arena, options->grid_size, dims * sizeof *options->grid_size)))
        return SKEP_ENOMEM;
    if (options->copy_scores)
        return copy_score_rows(op);
    if (!(options->scores =
              skep_api_arena_copy(arena, options->scores, dims * sizeof *options->scores)))
        return SKEP_ENOMEM;
    if (options->row_stride &&
        !(options->row_stride =
              skep_api_arena_copy(arena, options->row_stride, dims * sizeof *options->row_stride)))
        return SKEP_ENOMEM;
    return 0;
}

static int find_fill(struct find_op *op, bool own)
{
    skep_find_options *options = &op->options;
    int rc = 0;

    if (!(op->grid = skep_api_arena_alloc(&op->op.arena, options->dimensions, sizeof *op->grid)))
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    for (size_t d = 0; d < options->dimensions; d++)
        op->grid[d] = (uint32_t)options->grid_size[d];
    if (own && (rc = check_scores(options)) < 0)
        return rc;
    return own && own_options(op) < 0 ? skep_api_fail(SKEP_ENOMEM, "out of memory") : 0;
}

static int find_begin(skep_op **out, skep_node *node, const struct api_op_class *class,
                      const skep_find_options *user, skep_op_cb *cb, void *user_data)
{
    skep_find_options options;
    struct find_op *op;
    bool own;
    int rc;

    if (out)
        *out = NULL;
    if ((rc = skep_api_need(node, "node")) < 0)
        return rc;
    if (!user || user->struct_size < sizeof user->struct_size || user->struct_size > 1 << 16)
        return skep_api_fail(SKEP_EINVAL, "no options, or skep_find_options_init() was not called");
    skep_find_options_init(&options);
    memcpy(&options, user, SKEP_MIN(user->struct_size, sizeof options));
    if (class == &initial_class) {
        options.batch_size = 1;
        options.row_stride = NULL;
    }
    if ((rc = check_searcher(node, &options)) < 0 || (rc = check_shapes(&options)) < 0)
        return rc;
    if (!(op = skep_api_op_new(node, class, cb, user_data, &own)))
        return SKEP_ENOMEM;
    op->options = options;
    if ((rc = find_fill(op, own)) < 0) {
        skep_api_op_drop(&op->op);
        return rc;
    }
    return skep_api_op_begin(out, node, &op->op);
}

/* ---- the calls ---- */

int skep_moe_find(skep_op **out, skep_node *node, const skep_find_options *options, skep_op_cb *cb,
                  void *user_data)
{
    return find_begin(out, node, &find_class, options, cb, user_data);
}

const skep_found *skep_moe_find_result(const skep_op *op, size_t *count, skep_find_cost *cost)
{
    const struct find_op *find = (const struct find_op *)(const void *)op;

    if (count)
        *count = 0;
    if (cost)
        *cost = (skep_find_cost){0};
    if (!api_op_ok(op, &find_class))
        return NULL;
    if (count)
        *count = find->found_count;
    if (cost)
        *cost = find->cost;
    return find->found;
}

int skep_moe_initial_beam(skep_op **out, skep_node *node, const skep_find_options *options,
                          skep_op_cb *cb, void *user_data)
{
    return find_begin(out, node, &initial_class, options, cb, user_data);
}

static int prefixes_in(struct find_op *op, const char *const *prefixes, size_t count, bool own)
{
    struct api_arena *arena = &op->op.arena;
    char why[SKEP_UID_WHY_MAX];

    if (!(op->prefixes = skep_api_arena_alloc(arena, count, sizeof *op->prefixes)))
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    op->prefix_count = count;
    for (size_t i = 0; i < count; i++) {
        skep_bytes prefix = prefixes[i] ? skep_bytes_str(prefixes[i]) : skep_bytes_str("");

        if (skep_prefix_check(prefix, why, sizeof why) < 0)
            return skep_api_fail(SKEP_EPREFIX, "prefix %zu: %s", i, why);
        if (own && !(prefix.data = skep_api_arena_copy(arena, prefix.data, prefix.len)))
            return skep_api_fail(SKEP_ENOMEM, "out of memory");
        op->prefixes[i] = prefix;
    }
    return 0;
}

/* Any searcher does; its prefix and grid play no part. */
static int successors_fill(struct find_op *op, const skep_successors_options *options)
{
    static const char any_prefix[] = "any.";

    skep_find_options_init(&op->options);
    op->options.prefix = any_prefix;
    op->options.dimensions = 1;
    op->options.negative_caching = !options->no_negative_caching;
    op->options.cache_expiration_s =
        options->cache_expiration_s > 0 ? options->cache_expiration_s : 300;
    op->timeout_us = options->timeout_us;
    op->below = SKEP_MIN(options->grid_size, (size_t)UINT32_MAX);
    if (!(op->grid = skep_api_arena_alloc(&op->op.arena, 1, sizeof *op->grid)))
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    op->grid[0] = 1;
    return 0;
}

int skep_moe_successors(skep_op **out, skep_node *node, const char *const *prefixes, size_t count,
                        const skep_successors_options *user, skep_op_cb *cb, void *user_data)
{
    skep_successors_options options;
    struct find_op *op;
    bool own;
    int rc;

    if (out)
        *out = NULL;
    if ((rc = skep_api_need(node, "node")) < 0)
        return rc;
    if (!node->dht)
        return skep_api_fail(SKEP_EINVAL, "the node has no DHT (options.no_dht)");
    if (!prefixes || count == 0)
        return skep_api_fail(SKEP_EINVAL, "no prefixes");
    if ((rc = skep_api_options_in(&options, sizeof options, user, sizeof options,
                                  "successors options")) < 0)
        return rc;
    if (!(options.cache_expiration_s >= 0) || !isfinite(options.cache_expiration_s))
        return skep_api_fail(SKEP_EINVAL, "cache_expiration_s is not a number of seconds above 0");
    if (!(op = skep_api_op_new(node, &successors_class, cb, user_data, &own)))
        return SKEP_ENOMEM;
    if ((rc = successors_fill(op, &options)) < 0 ||
        (rc = prefixes_in(op, prefixes, count, own)) < 0) {
        skep_api_op_drop(&op->op);
        return rc;
    }
    return skep_api_op_begin(out, node, &op->op);
}

const skep_successors *skep_moe_successors_result(const skep_op *op, size_t *count)
{
    const struct find_op *find = (const struct find_op *)(const void *)op;

    if (count)
        *count = 0;
    if (!api_op_ok(op, &successors_class) && !api_op_ok(op, &initial_class))
        return NULL;
    if (count)
        *count = find->successors_count;
    return find->successors;
}
