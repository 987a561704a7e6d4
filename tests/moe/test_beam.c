/* SPDX-License-Identifier: MIT */
/* How the searcher asks, ends early, fails and lets go. What it finds is in test_beam_vectors and test_beam_property. */
#include <math.h>

#include "base/limits.h"
#include "moe/beam.h"
#include "moe/fake_dht.h"
#include "support/test.h"

enum { GRID = 16 };

static const char peer[] = "12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s";

struct fixture {
    struct test_env env;
    struct skep_dht *dht;
    struct skep_beam *beam;
    struct skep_search search;
    double rows[4][4096];
    int ended, rc;
    bool fini_in_done;
};

static void on_done(struct skep_search *search, int rc)
{
    struct fixture *f = SKEP_CONTAINER_OF(search, struct fixture, search);

    f->ended++;
    f->rc = rc;
    if (f->fini_in_done)
        skep_search_fini(search);
}

static void new_beam(struct fixture *f, size_t dims, size_t cache_bytes)
{
    static const uint32_t sizes[] = {GRID, GRID, GRID, GRID};
    struct skep_beam_options options;
    char why[SKEP_UID_LEN_MAX];

    skep_beam_options_default(&options);
    options.prefix = skep_bytes_str("e.");
    options.grid = sizes;
    options.dims = dims;
    options.cache_bytes = cache_bytes;
    assert_int_equal(skep_beam_new(&f->beam, f->dht, &options, why, sizeof why), 0);
}

/* `every`-th first index has an expert e.i.i.i; scores fall with the index. */
static void set_up(struct fixture *f, size_t dims, unsigned every)
{
    memset(f, 0, sizeof *f);
    test_env_init(&f->env, 7);
    f->dht = fake_dht_new(&f->env.env, 7);
    f->search.done = on_done;
    for (size_t d = 0; d < 4; d++) {
        for (size_t i = 0; i < GRID; i++)
            f->rows[d][i] = -(double)i;
    }
    for (unsigned i = 0; i < GRID; i++) {
        char uid[64] = "e";

        for (size_t d = 0; d < dims; d++)
            snprintf(uid + strlen(uid), 16, ".%u", i);
        if (every > 0 && i % every == every - 1)
            fake_dht_declare(f->dht, uid, peer, 2e9);
    }
    new_beam(f, dims, 0);
}

static void tear_down(struct fixture *f)
{
    skep_search_fini(&f->search);
    skep_beam_free(f->beam);
    fake_dht_free(f->dht);
    test_env_fini(&f->env);
}

static int start(struct fixture *f, size_t dims, size_t examples, size_t beam_size,
                 uint64_t deadline_us)
{
    const void *rows[] = {f->rows[0], f->rows[1], f->rows[2], f->rows[3]};
    struct skep_scores scores = {
        .type = SKEP_GRID_FLOAT64, .examples = examples, .dims = dims, .rows = rows};
    struct skep_search_options options = {.beam_size = beam_size, .deadline_us = deadline_us};
    char why[512];

    f->ended = 0;
    return skep_find_best_start(&f->search, f->beam, &scores, &options, why, sizeof why);
}

static void find(struct fixture *f, size_t dims, size_t beam_size)
{
    skep_search_fini(&f->search);
    assert_int_equal(start(f, dims, 1, beam_size, 0), 0);
    test_env_advance(&f->env, 1000000);
    assert_int_equal(f->ended, 1);
    assert_int_equal(f->rc, 0);
}

static void a_search_takes_one_get_a_dimension_and_none_when_it_is_repeated(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 3, 1);
    find(&f, 3, 4);
    assert_int_equal(f.search.hits->count, 4);
    assert_string_equal(f.search.hits->experts[0].uid, "e.0.0.0");
    assert_int_equal(f.search.stats.gets, 2);
    assert_int_equal(fake_dht_counts(f.dht)->keys,
                     6 + 4); /* the first time half as many again as needed */
    find(&f, 3, 4);
    assert_int_equal(f.search.stats.gets, 0);
    assert_int_equal(f.search.stats.cost.keys, 0);
    assert_int_equal(f.search.stats.looked_up, 8);
    assert_int_equal(f.ended, 1);
    tear_down(&f);
}

static void a_searcher_that_knows_its_grid_to_be_full_asks_for_no_more_than_it_needs(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 3, 1);
    find(&f, 3, 4);
    fake_dht_forget(f.dht);
    fake_dht_counts(f.dht)->keys = 0;
    find(&f, 3, 4);
    assert_int_equal(fake_dht_counts(f.dht)->keys, 4 + 4);
    tear_down(&f);
}

static void sparse_grids_are_asked_in_ever_larger_steps(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 2, 8); /* 2 of 16 are alive: the last of each half */
    find(&f, 2, 2);
    assert_int_equal(f.search.hits->count, 2);
    assert_string_equal(f.search.hits->experts[0].uid, "e.7.7");
    assert_true(f.search.stats.gets <= 3); /* 3, 6, 7 indices */
    tear_down(&f);
}

static void absent_prefixes_are_marked_once_and_found_marked_again(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 2, 8);
    find(&f, 2, 2);
    assert_int_equal(f.search.stats.marked, 14);
    assert_int_equal(fake_dht_counts(f.dht)->stores, 1);
    find(&f, 2, 2);
    assert_int_equal(f.search.stats.marked, 0);
    assert_int_equal(fake_dht_counts(f.dht)->stores, 1);
    tear_down(&f);
    set_up(&f, 1, 8); /* in 1-d, subkey -1 is the expert */
    find(&f, 1, 2);
    assert_int_equal(f.search.hits->count, 2);
    assert_int_equal(fake_dht_counts(f.dht)->stores, 0);
    tear_down(&f);
}

static void an_unanswered_prefix_is_counted_and_not_marked(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 2, 1);
    fake_dht_settings(f.dht)->unanswered_ppm = 1000000;
    find(&f, 2, 2);
    assert_int_equal(f.search.hits->count, 0);
    assert_int_equal(f.search.hits->unanswered, GRID);
    assert_false(f.search.hits->exact);
    assert_true(f.search.hits->has_bound && f.search.hits->bound == 0);
    assert_int_equal(fake_dht_counts(f.dht)->stores, 0);
    tear_down(&f);
    set_up(&f, 2, 1); /* a node that is too busy to ask is the same */
    fake_dht_settings(f.dht)->get_rc = SKEP_ELIMIT;
    find(&f, 2, 2);
    assert_int_equal(f.search.hits->unanswered, GRID);
    tear_down(&f);
}

static void a_batch_shares_each_get_and_asks_for_each_prefix_once(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 3, 1);
    for (size_t d = 0; d < 3; d++) { /* every example has its own order */
        for (size_t e = 0; e < 256; e++) {
            for (size_t i = 0; i < GRID; i++)
                f.rows[d][e * GRID + i] = (double)((i * (2 * e + 1) + 3 * e * (d + 1)) % 31);
        }
    }
    assert_int_equal(start(&f, 3, 256, 4, 0), 0);
    test_env_advance(&f.env, 1000000);
    assert_int_equal(f.ended, 1);
    assert_int_equal(f.search.hit_count, 256);
    assert_int_equal(f.search.stats.gets, 2);
    assert_true(fake_dht_counts(f.dht)->keys <= GRID + GRID);
    for (size_t e = 0; e < 256; e++)
        assert_int_equal(f.search.hits[e].count, 4);
    tear_down(&f);
}

static void four_thousand_examples_complete(void **state)
{
    static double rows[3][4096 * GRID];
    struct fixture f;
    const void *row_at[] = {rows[0], rows[1], rows[2]};
    struct skep_scores scores = {
        .type = SKEP_GRID_FLOAT64, .examples = 4096, .dims = 3, .rows = row_at};
    struct skep_search_options options = {.beam_size = 4};
    struct skep_prng prng;

    (void)state;
    set_up(&f, 3, 2);
    skep_prng_init(&prng, 1);
    for (size_t i = 0; i < SKEP_COUNT_OF(rows[0]); i++) {
        for (size_t d = 0; d < 3; d++)
            rows[d][i] = skep_prng_unit(&prng);
    }
    assert_int_equal(skep_find_best_start(&f.search, f.beam, &scores, &options, NULL, 0), 0);
    test_env_advance(&f.env, 1000000);
    assert_int_equal(f.ended, 1);
    assert_int_equal(f.search.hit_count, 4096);
    assert_true(fake_dht_counts(f.dht)->keys <= 2 * GRID);
    tear_down(&f);
}

static void after_the_deadline_a_search_answers_with_what_is_at_home(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 3, 1);
    find(&f, 3, 2); /* e.0 and e.1 are at home now, and e.2 that was asked for ahead */
    fake_dht_settings(f.dht)->delay_us = 500000;
    skep_search_fini(&f.search);
    assert_int_equal(start(&f, 3, 1, 4, f.env.now_us + 1000), 0);
    assert_int_equal(f.ended, 0);
    test_env_advance(&f.env, 1000);
    assert_int_equal(f.ended, 1);
    assert_int_equal(f.rc, 0);
    assert_true(f.search.timed_out);
    assert_int_equal(f.search.hits->count, 3);
    assert_true(f.search.hits->unanswered > 0);
    assert_false(f.search.hits->exact);
    assert_int_equal(fake_dht_counts(f.dht)->running, 1); /* the get goes on … */
    skep_search_fini(&f.search);
    test_env_advance(&f.env, 5000000);
    assert_int_equal(fake_dht_counts(f.dht)->running, 0);
    assert_int_equal(start(&f, 3, 1, 4, 1),
                     0); /* … and warms the cache: a deadline long past is enough now */
    assert_int_equal(f.ended, 1);
    assert_true(f.search.timed_out);
    assert_int_equal(f.search.hits->count, 4);
    tear_down(&f);
}

static void a_search_can_be_told_to_finish(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 3, 1);
    fake_dht_settings(f.dht)->hang = true;
    assert_int_equal(start(&f, 3, 1, 4, 0), 0);
    skep_search_finish(&f.search);
    assert_int_equal(f.ended, 1);
    assert_int_equal(f.search.hits->count, 0);
    skep_search_finish(&f.search);
    assert_int_equal(f.ended, 1);
    tear_down(&f);
}

static void gets_left_behind_are_bounded(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 3, 1);
    fake_dht_settings(f.dht)->hang = true;
    for (size_t i = 0; i < SKEP_BEAM_LEFT_GETS_MAX + 1; i++) {
        skep_search_fini(&f.search);
        assert_int_equal(start(&f, 3, 1, 4, 0), 0);
        skep_search_finish(&f.search);
    }
    assert_int_equal(fake_dht_counts(f.dht)->running, SKEP_BEAM_LEFT_GETS_MAX);
    assert_int_equal(fake_dht_counts(f.dht)->cancels, 1);
    tear_down(&f);
}

static void mark_stores_under_way_are_bounded(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 2, 0);
    fake_dht_settings(f.dht)->sync = fake_dht_settings(f.dht)->hang = true;
    for (size_t i = 0; i < SKEP_BEAM_MARK_STORES_MAX + 1; i++) {
        skep_search_fini(&f.search);
        fake_dht_clear(f.dht);
        assert_int_equal(start(&f, 2, 1, 4, 0), 0);
        assert_int_equal(f.ended, 1);
    }
    assert_int_equal(fake_dht_counts(f.dht)->stores, SKEP_BEAM_MARK_STORES_MAX);
    assert_int_equal(f.search.stats.marked, 0);
    tear_down(&f);
}

static void a_search_cancelled_at_any_moment_says_nothing_more(void **state)
{
    (void)state;
    for (uint64_t when = 0; when < 60; when++) {
        struct fixture f;

        set_up(&f, 4, 2);
        fake_dht_settings(f.dht)->delay_us = 20;
        assert_int_equal(start(&f, 4, 3, 4, 0), 0);
        test_env_advance(&f.env, when * 5);
        skep_search_fini(&f.search);
        f.ended = 0;
        test_env_advance(&f.env, 1000000);
        assert_int_equal(f.ended, 0);
        assert_int_equal(fake_dht_counts(f.dht)->running, 0);
        tear_down(&f);
    }
}

static void results_can_be_released_from_inside_done(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 3, 2);
    f.fini_in_done = true;
    assert_int_equal(start(&f, 3, 1, 4, 0), 0);
    test_env_advance(&f.env, 1000000);
    assert_int_equal(f.ended, 1);
    assert_int_equal(start(&f, 3, 1, 4, 0), 0); /* from inside the start, too */
    tear_down(&f);
}

static void freeing_the_searcher_or_the_node_cancels_its_searches(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 3, 1);
    fake_dht_settings(f.dht)->hang = true;
    assert_int_equal(start(&f, 3, 1, 4, 0), 0);
    skep_beam_free(f.beam);
    f.beam = NULL;
    assert_int_equal(f.ended, 1);
    assert_int_equal(f.rc, SKEP_ECANCELED);
    tear_down(&f);
    set_up(&f, 3, 1);
    find(&f, 3, 2);
    skep_beam_free(f.beam); /* results outlive their searcher */
    f.beam = NULL;
    assert_string_equal(f.search.hits->experts[0].uid, "e.0.0.0");
    tear_down(&f);
}

static void wrong_options_are_refused_and_nothing_is_sent(void **state)
{
    struct fixture f;
    struct skep_beam_options options;
    struct skep_beam *beam;
    uint32_t sizes[] = {2, 0};
    char why[SKEP_UID_LEN_MAX];

    (void)state;
    set_up(&f, 3, 1);
    assert_int_equal(start(&f, 3, 1, 0, 0), SKEP_EINVAL);
    assert_int_equal(start(&f, 3, 1, SKEP_BEAM_SIZE_MAX + 1, 0), SKEP_ELIMIT);
    assert_int_equal(start(&f, 2, 1, 1, 0), SKEP_EINVAL);
    f.rows[1][3] = (double)NAN;
    assert_int_equal(start(&f, 3, 1, 1, 0), SKEP_EINVAL);
    skep_beam_options_default(&options);
    options.grid = sizes;
    options.dims = 2;
    options.prefix = skep_bytes_str("e..");
    assert_int_equal(skep_beam_new(&beam, f.dht, &options, why, sizeof why), SKEP_EPREFIX);
    options.prefix = skep_bytes_str("");
    assert_int_equal(skep_beam_new(&beam, f.dht, &options, why, sizeof why), SKEP_EPREFIX);
    options.prefix = skep_bytes_str("e");
    assert_int_equal(skep_beam_new(&beam, f.dht, &options, why, sizeof why), SKEP_EINVAL);
    assert_string_equal(why, "dimension 1 of the grid is zero");
    sizes[1] = 1;
    options.cache_expiration_s = (double)NAN;
    assert_int_equal(skep_beam_new(&beam, f.dht, &options, why, sizeof why), SKEP_EINVAL);
    assert_null(beam);
    assert_int_equal(fake_dht_counts(f.dht)->gets, 0);
    tear_down(&f);
}

static void searches_past_their_number_are_refused(void **state)
{
    static struct skep_search searches[SKEP_SEARCHES_MAX];
    struct fixture f;
    const void *rows[] = {f.rows[0], f.rows[1], f.rows[2]};
    struct skep_scores scores = {.type = SKEP_GRID_FLOAT64, .examples = 1, .dims = 3, .rows = rows};
    struct skep_search_options options = {.beam_size = 1};

    (void)state;
    set_up(&f, 3, 1);
    fake_dht_settings(f.dht)->hang = true;
    for (size_t i = 0; i < SKEP_SEARCHES_MAX; i++) {
        searches[i].done = on_done;
        assert_int_equal(skep_find_best_start(&searches[i], f.beam, &scores, &options, NULL, 0), 0);
    }
    assert_int_equal(start(&f, 3, 1, 1, 0), SKEP_ELIMIT);
    skep_search_fini(&searches[0]);
    assert_int_equal(start(&f, 3, 1, 1, 0), 0);
    for (size_t i = 1; i < SKEP_SEARCHES_MAX; i++)
        skep_search_fini(&searches[i]);
    tear_down(&f);
}

static void decoded_records_stay_within_their_bytes(void **state)
{
    struct fixture f;
    size_t held;

    (void)state;
    set_up(&f, 3, 1);
    skep_beam_free(f.beam);
    new_beam(&f, 3, 2000);
    find(&f, 3, 1);
    skep_search_fini(&f.search);
    held = f.env.mem.live_bytes;
    for (size_t round = 0; round < 20; round++) {
        f.rows[0][round % GRID] = 100 + (double)round; /* another path each time */
        find(&f, 3, 4);
        skep_search_fini(&f.search);
        assert_true(f.env.mem.live_bytes < held + 8000);
    }
    tear_down(&f);
}

/* A searcher of a 1-d grid of `size` without experts. */
static void new_wide_beam(struct fixture *f, const uint32_t *size)
{
    struct skep_beam_options options;

    skep_beam_free(f->beam);
    skep_beam_options_default(&options);
    options.prefix = skep_bytes_str("wide.");
    options.grid = size;
    options.dims = 1;
    assert_int_equal(skep_beam_new(&f->beam, f->dht, &options, NULL, 0), 0);
}

static void no_more_first_indices_are_asked_for_at_once_than_allowed(void **state)
{
    static const double row[SKEP_BEAM_AHEAD_MAX * 2];
    static const uint32_t size = SKEP_BEAM_AHEAD_MAX * 2;
    const void *rows[] = {row};
    struct skep_scores scores = {.type = SKEP_GRID_FLOAT64, .examples = 1, .dims = 1, .rows = rows};
    struct skep_search_options options = {.beam_size = SKEP_BEAM_AHEAD_MAX + 1};
    struct fixture f;

    (void)state;
    set_up(&f, 1, 0);
    new_wide_beam(&f, &size);
    fake_dht_settings(f.dht)->hang = true;
    assert_int_equal(skep_find_best_start(&f.search, f.beam, &scores, &options, NULL, 0), 0);
    assert_int_equal(fake_dht_counts(f.dht)->keys, SKEP_BEAM_AHEAD_MAX);
    tear_down(&f);
}

static void past_the_deadline_no_more_of_the_cache_is_walked_than_allowed(void **state)
{
    static const double row[SKEP_BEAM_HOME_WALK_MAX + 1];
    static const uint32_t size = SKEP_BEAM_HOME_WALK_MAX + 1;
    const void *rows[] = {row};
    struct skep_scores scores = {.type = SKEP_GRID_FLOAT64, .examples = 1, .dims = 1, .rows = rows};
    struct skep_search_options options = {.beam_size = 1, .deadline_us = 1};
    struct fixture f;

    (void)state;
    set_up(&f, 1, 0);
    new_wide_beam(&f, &size);
    f.env.now_us = 2;
    assert_int_equal(skep_find_best_start(&f.search, f.beam, &scores, &options, NULL, 0), 0);
    assert_int_equal(f.ended, 1);
    assert_int_equal(f.search.hits->unanswered, SKEP_BEAM_HOME_WALK_MAX);
    assert_true(f.search.hits->has_bound);
    tear_down(&f);
}

static void a_round_of_too_many_keys_takes_several_gets(void **state)
{
    static char texts[SKEP_BEAM_GET_KEYS_MAX + 1][16];
    static skep_bytes prefixes[SKEP_BEAM_GET_KEYS_MAX + 1];
    struct skep_search_options options = {.beam_size = 1};
    struct fixture f;

    (void)state;
    set_up(&f, 2, 1);
    for (size_t i = 0; i < SKEP_COUNT_OF(prefixes); i++) {
        snprintf(texts[i], sizeof texts[i], "e.%zu.", i);
        prefixes[i] = skep_bytes_str(texts[i]);
    }
    fake_dht_settings(f.dht)->sync = true;
    assert_int_equal(skep_active_successors_start(&f.search, f.beam, prefixes,
                                                  SKEP_COUNT_OF(prefixes), 0, &options, NULL, 0),
                     0);
    assert_int_equal(f.ended, 1);
    assert_int_equal(f.search.stats.gets, 2);
    assert_int_equal(f.search.prefix_count, SKEP_COUNT_OF(prefixes));
    assert_non_null(f.search.prefixes[GRID - 1].successors);
    tear_down(&f);
}

/* Of prefixes with equal scores the larger text goes first: "e.0.10." before "e.0.1.", whatever lies under them. */
static void ties_of_prefixes_are_decided_by_their_text(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 3, 0);
    memset(f.rows, 0, sizeof f.rows);
    f.rows[2][5] = 10;
    f.rows[2][6] = 9;
    fake_dht_declare(f.dht, "e.0.1.5", peer, 2e9);
    fake_dht_declare(f.dht, "e.0.1.0", peer, 2e9 + 1);
    fake_dht_declare(f.dht, "e.0.10.6", peer, 2e9);
    fake_dht_declare(f.dht, "e.0.10.0", peer, 2e9 + 1);
    find(&f, 3, 1);
    assert_string_equal(f.search.hits->experts[0].uid, "e.0.10.6");
    assert_true(f.search.hits->has_bound && f.search.hits->bound == 10);
    tear_down(&f);
}

static void a_stray_uid_is_dropped_counted_and_told_once(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 2, 1);
    fake_dht_put_expert(f.dht, "e.0.", 3, "e.1.3", peer, 2e9);
    f.rows[1][3] = 50;
    find(&f, 2, 1);
    assert_string_equal(f.search.hits->experts[0].uid, "e.0.0");
    assert_int_equal(f.search.stats.dropped.strays, 1);
    assert_string_equal(f.env.last_log,
                        "moe: prefix \"e.0.\": dropped 0 malformed, 1 stray and 0 expired entries");
    f.env.last_log[0] = '\0';
    find(&f, 2, 1);
    assert_string_equal(f.env.last_log, "");
    tear_down(&f);
}

static void a_changed_or_expired_record_is_decoded_again(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 2, 1);
    find(&f, 2, 1);
    assert_string_equal(f.search.hits->experts[0].uid, "e.0.0");
    fake_dht_put_expert(f.dht, "e.0.", 3, "e.0.3", peer, skep_env_unix_s(&f.env.env) + 10);
    f.rows[1][3] = 50;
    fake_dht_fetch_all(f.dht);
    find(&f, 2, 1);
    assert_string_equal(f.search.hits->experts[0].uid, "e.0.3");
    assert_int_equal(f.search.stats.gets, 0);
    test_env_advance(&f.env, 11000000);
    find(&f, 2, 1);
    assert_string_equal(f.search.hits->experts[0].uid, "e.0.0");
    assert_int_equal(f.search.stats.dropped.expired, 1);
    tear_down(&f);
}

static void initial_beam_and_active_successors_are_those_of_hivemind(void **state)
{
    const skep_bytes prefixes[] = {skep_bytes_str("e.3."), skep_bytes_str("e.99."),
                                   skep_bytes_str("e.3."), skep_bytes_str("e.3.3.")};
    const skep_bytes wrong = skep_bytes_str("e.3");
    struct skep_search_options options = {.beam_size = 2};
    struct fixture f;

    (void)state;
    set_up(&f, 3, 2);
    assert_int_equal(skep_initial_beam_start(&f.search, f.beam, f.rows[0], GRID, SKEP_GRID_FLOAT64,
                                             &options, NULL, 0),
                     0);
    test_env_advance(&f.env, 100000);
    assert_int_equal(f.search.prefix_count, 2);
    assert_string_equal(f.search.prefixes[0].prefix, "e.1.");
    assert_string_equal(f.search.prefixes[1].prefix, "e.3.");
    assert_true(f.search.prefixes[1].score == -3);
    assert_int_equal(f.search.prefixes[1].successors->entries[0].coordinate, 3);
    skep_search_fini(&f.search);
    assert_int_equal(
        skep_active_successors_start(&f.search, f.beam, prefixes, 4, 0, &options, NULL, 0), 0);
    test_env_advance(&f.env, 100000);
    assert_int_equal(f.search.prefix_count, 3);
    assert_string_equal(f.search.prefixes[0].prefix, "e.3.");
    assert_int_equal(f.search.prefixes[0].successors->count, 1);
    assert_string_equal(f.search.prefixes[1].prefix, "e.99.");
    assert_null(f.search.prefixes[1].successors);
    assert_true(f.search.prefixes[1].answered);
    assert_int_equal(f.search.stats.marked, 1);
    skep_search_fini(&f.search);
    assert_int_equal(
        skep_active_successors_start(&f.search, f.beam, prefixes, 1, 3, &options, NULL, 0), 0);
    assert_null(f.search.prefixes[0].successors); /* 3 is not below 3 */
    skep_search_fini(&f.search);
    assert_int_equal(
        skep_active_successors_start(&f.search, f.beam, &wrong, 1, 3, &options, NULL, 0),
        SKEP_EPREFIX);
    assert_int_equal(skep_active_successors_start(&f.search, f.beam, NULL, 0, 3, &options, NULL, 0),
                     0);
    assert_int_equal(f.search.prefix_count, 0);
    tear_down(&f);
}

static int search_with(const struct skep_mem *mem, void *user)
{
    static const uint32_t sizes[] = {GRID, GRID, GRID};
    const skep_bytes prefixes[] = {skep_bytes_str("e.3."), skep_bytes_str("e.2.")};
    struct fixture *f = user;
    struct skep_search_options search = {.beam_size = 6};
    struct skep_beam_options options;
    int rc;

    skep_beam_options_default(&options);
    options.prefix = skep_bytes_str("e");
    options.grid = sizes;
    options.dims = 3;
    f->env.env.mem = mem;
    f->rc = 0;
    fake_dht_forget(f->dht);
    rc = skep_beam_new(&f->beam, f->dht, &options, NULL, 0);
    if (rc == 0)
        rc = start(f, 3, 2, 6, 0);
    if (rc == 0 && f->rc == 0) {
        skep_search_fini(&f->search);
        rc = skep_active_successors_start(&f->search, f->beam, prefixes, 2, 4, &search, NULL, 0);
    }
    rc = rc == 0 ? f->rc : rc;
    skep_search_fini(&f->search);
    skep_beam_free(f->beam);
    f->beam = NULL;
    f->env.env.mem = &f->env.mem.mem;
    test_env_advance(&f->env, 1000);
    return rc;
}

static void searching_survives_each_failed_allocation(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 3, 1);
    skep_beam_free(f.beam);
    f.beam = NULL;
    fake_dht_settings(f.dht)->sync = true;
    test_each_allocation_fails(search_with, &f);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_search_takes_one_get_a_dimension_and_none_when_it_is_repeated),
        cmocka_unit_test(a_searcher_that_knows_its_grid_to_be_full_asks_for_no_more_than_it_needs),
        cmocka_unit_test(sparse_grids_are_asked_in_ever_larger_steps),
        cmocka_unit_test(absent_prefixes_are_marked_once_and_found_marked_again),
        cmocka_unit_test(an_unanswered_prefix_is_counted_and_not_marked),
        cmocka_unit_test(a_batch_shares_each_get_and_asks_for_each_prefix_once),
        cmocka_unit_test(four_thousand_examples_complete),
        cmocka_unit_test(after_the_deadline_a_search_answers_with_what_is_at_home),
        cmocka_unit_test(a_search_can_be_told_to_finish),
        cmocka_unit_test(gets_left_behind_are_bounded),
        cmocka_unit_test(mark_stores_under_way_are_bounded),
        cmocka_unit_test(a_search_cancelled_at_any_moment_says_nothing_more),
        cmocka_unit_test(results_can_be_released_from_inside_done),
        cmocka_unit_test(freeing_the_searcher_or_the_node_cancels_its_searches),
        cmocka_unit_test(wrong_options_are_refused_and_nothing_is_sent),
        cmocka_unit_test(searches_past_their_number_are_refused),
        cmocka_unit_test(decoded_records_stay_within_their_bytes),
        cmocka_unit_test(no_more_first_indices_are_asked_for_at_once_than_allowed),
        cmocka_unit_test(past_the_deadline_no_more_of_the_cache_is_walked_than_allowed),
        cmocka_unit_test(a_round_of_too_many_keys_takes_several_gets),
        cmocka_unit_test(ties_of_prefixes_are_decided_by_their_text),
        cmocka_unit_test(a_stray_uid_is_dropped_counted_and_told_once),
        cmocka_unit_test(a_changed_or_expired_record_is_decoded_again),
        cmocka_unit_test(initial_beam_and_active_successors_are_those_of_hivemind),
        cmocka_unit_test(searching_survives_each_failed_allocation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
