/* SPDX-License-Identifier: MIT */
/* The exact mode against brute force on thousands of random small grids, and its word on what it did not look at. */
#include <math.h>

#include "base/limits.h"
#include "moe/random_world.h"

/* ---- brute force: every expert that can be reached by the records ---- */

struct expert {
    char uid[64];
    double score;
};

static struct expert experts[HITS_MAX];
static size_t expert_count;

typedef const double (*score_rows)[SIZE_MAX_HERE];

static score_rows rows_of(size_t example)
{
    return (score_rows)world.scores[example];
}

static void note(const char *uid, double score)
{
    for (size_t i = 0; i < expert_count; i++)
        if (strcmp(experts[i].uid, uid) == 0)
            return;
    assert_true(expert_count < HITS_MAX);
    experts[expert_count].score = score;
    snprintf(experts[expert_count++].uid, sizeof experts->uid, "%s", uid);
}

/* @param past_blocked  also what nobody answers for. */
static void gather(size_t example, const char *key, size_t depth, double score, bool past_blocked)
{
    if (!past_blocked && world_blocked && world_blocked(key))
        return;
    for (size_t i = 0; i < world.record_count; i++) {
        const struct record *r = &world.records[i];
        double sum;

        if (strcmp(r->key, key) != 0 || !world_is_valid(r) || (r->coordinate < 0 && depth > 1))
            continue;
        if (world_expert_of(r, rows_of(example), score, &sum))
            note(r->uid, sum);
        if (r->coordinate >= 0 && depth + 1 < world.dims &&
            r->coordinate < (int)world.sizes[depth]) {
            char child[80];

            snprintf(child, sizeof child, "%s%d.", key, r->coordinate);
            gather(example, child, depth + 1,
                   world_add(score, world.scores[example][depth][r->coordinate]), past_blocked);
        }
    }
}

static int by_score(const void *a, const void *b)
{
    const struct expert *x = a, *y = b;

    return x->score != y->score ? (x->score < y->score ? 1 : -1) : -strcmp(x->uid, y->uid);
}

static void brute_force(size_t example, bool past_blocked)
{
    expert_count = 0;
    for (uint32_t i = 0; i < world.sizes[0]; i++) {
        char key[64];

        snprintf(key, sizeof key, "e.%u.", (unsigned)i);
        gather(example, key, 1, world.scores[example][0][i], past_blocked);
    }
    qsort(experts, expert_count, sizeof *experts, by_score);
}

/* ---- what an answer must be ---- */

#define CHECK(seed, condition)                                                                     \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("replay: SKEP_SEED=%llu: %s", (unsigned long long)(seed), #condition);        \
    } while (0)

/* The scores are the true best; among equal ones at the end any may be there. */
static void check_is_best(uint64_t seed, const struct skep_beam_hits *found)
{
    CHECK(seed, found->count == SKEP_MIN(expert_count, world.beam_size));
    for (size_t i = 0; i < found->count; i++)
        CHECK(seed, found->experts[i].score == experts[i].score);
}

/* Experts that are not in the answer, and are better than its last, are below its bound. */
static void check_bound(uint64_t seed, const struct skep_beam_hits *found)
{
    for (size_t i = 0; i < expert_count; i++) {
        bool listed = false;

        for (size_t h = 0; h < found->count; h++)
            listed |= strcmp(found->experts[h].uid, experts[i].uid) == 0;
        if (listed || (found->count == world.beam_size &&
                       experts[i].score <= found->experts[found->count - 1].score))
            continue;
        CHECK(seed, !found->exact);
        CHECK(seed, found->has_bound);
        CHECK(seed, experts[i].score <= found->bound);
    }
}

struct trial {
    struct test_env env;
    struct skep_dht *dht;
    struct skep_beam *beam;
    struct skep_prng prng;
};

static void begin(struct trial *t, uint64_t seed, unsigned unanswered_ppm)
{
    test_env_init(&t->env, seed);
    skep_prng_init(&t->prng, seed);
    t->dht = fake_dht_new(&t->env.env, seed);
    fake_dht_settings(t->dht)->delay_us = 10;
    fake_dht_settings(t->dht)->no_cache = skep_prng_below(&t->prng, 4) == 0;
    fake_dht_settings(t->dht)->unanswered_ppm = world_blocked_ppm = unanswered_ppm;
    world_blocked = unanswered_ppm > 0 ? world_is_blocked : NULL;
    world_draw(&t->prng, t->dht);
    t->beam = world_beam(t->dht);
}

static void end(struct trial *t, struct run *run)
{
    skep_search_fini(&run->search);
    skep_beam_free(t->beam);
    fake_dht_free(t->dht);
    test_env_fini(&t->env);
    world_blocked = NULL;
}

static void search(struct trial *t, struct run *run, size_t keys_max, uint64_t deadline_us)
{
    world_start(run, t->beam, 0, world.examples,
                &(struct skep_search_options){.beam_size = world.beam_size,
                                              .exact = true,
                                              .keys_max = keys_max,
                                              .deadline_us = deadline_us});
    test_env_advance(&t->env, 1000000);
    assert_int_equal(run->ended, 1);
    assert_int_equal(run->rc, 0);
}

static void an_exact_search_finds_what_brute_force_finds(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(4000); seed++) {
        struct trial t;
        struct run run;

        begin(&t, seed, 0);
        search(&t, &run, 0, 0);
        for (size_t e = 0; e < world.examples; e++) {
            brute_force(e, true);
            CHECK(seed, run.search.hits[e].exact);
            CHECK(seed, run.search.hits[e].unanswered == 0);
            check_is_best(seed, &run.search.hits[e]);
        }
        end(&t, &run);
    }
}

static void what_nobody_answers_for_stays_open_and_bounds_the_answer(void **state)
{
    size_t inexact = 0;

    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(2000); seed++) {
        struct trial t;
        struct run run;

        begin(&t, seed, 200000);
        search(&t, &run, 0, 0);
        for (size_t e = 0; e < world.examples; e++) {
            const struct skep_beam_hits *found = &run.search.hits[e];

            brute_force(e, false);
            check_is_best(seed, found);
            brute_force(e, true);
            check_bound(seed, found);
            inexact += !found->exact;
        }
        end(&t, &run);
    }
    assert_true(test_seed_first() != 1 || inexact > 100);
}

static void a_budget_of_keys_is_kept_and_the_bound_is_true(void **state)
{
    size_t inexact = 0;

    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(2000); seed++) {
        struct trial t;
        struct run run;
        size_t keys_max;

        begin(&t, seed, 0);
        keys_max = 1 + (size_t)skep_prng_below(&t.prng, 30);
        search(&t, &run, keys_max, 0);
        for (size_t e = 0; e < world.examples; e++) {
            brute_force(e, true);
            check_bound(seed, &run.search.hits[e]);
            inexact += !run.search.hits[e].exact;
        }
        end(&t, &run);
    }
    assert_true(test_seed_first() != 1 || inexact > 100);
}

static void on_found(struct skep_search *found, int rc)
{
    (void)found;
    assert_int_equal(rc, 0);
}

/* Nobody holds anything under these indices: without a bound all of them would be asked for. */
static void an_exact_search_asks_for_at_most_its_keys(void **state)
{
    const uint32_t size = SKEP_EXACT_KEYS_MAX + 5000, sizes[] = {size, 2};
    const float second[] = {-10, 0};
    float *first = calloc(size, sizeof *first);
    const void *rows[] = {first, second};
    const struct skep_scores scores = {SKEP_GRID_FLOAT32, 1, 2, rows, NULL};
    const struct skep_search_options options = {.beam_size = 2, .exact = true};
    struct skep_beam_options beam_options;
    struct skep_search found = {0};
    struct test_env env;
    struct skep_beam *beam;
    struct skep_dht *dht;

    (void)state;
    test_env_init(&env, 1);
    dht = fake_dht_new(&env.env, 1);
    for (uint32_t i = 0; i < 2;
         i++) { /* the beam is content with these, but there could be better ones anywhere */
        char uid[32];

        snprintf(uid, sizeof uid, "e.%u.0", (unsigned)i);
        fake_dht_declare(dht, uid, "12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s", 1.9e9);
        first[i] = 2;
    }
    skep_beam_options_default(&beam_options);
    beam_options.prefix = skep_bytes_str("e.");
    beam_options.grid = sizes;
    beam_options.dims = 2;
    beam_options.negative_caching = false;
    assert_int_equal(skep_beam_new(&beam, dht, &beam_options, NULL, 0), 0);
    found.done = on_found;
    assert_int_equal(skep_find_best_start(&found, beam, &scores, &options, NULL, 0), 0);
    test_env_advance(&env, 100000000);
    assert_true(fake_dht_counts(dht)->keys <= SKEP_EXACT_KEYS_MAX + SKEP_BEAM_AHEAD_MAX);
    assert_int_equal(found.hit_count, 1);
    assert_false(found.hits[0].exact);
    assert_true(found.hits[0].bound == 0);
    skep_search_fini(&found);
    skep_beam_free(beam);
    fake_dht_free(dht);
    test_env_fini(&env);
    free(first);
}

static void a_deadline_is_kept_and_the_bound_is_true(void **state)
{
    size_t inexact = 0;

    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(2000); seed++) {
        struct trial t;
        struct run run;

        begin(&t, seed, 0);
        search(&t, &run, 0, t.env.now_us + skep_prng_below(&t.prng, 100));
        for (size_t e = 0; e < world.examples; e++) {
            brute_force(e, true);
            check_bound(seed, &run.search.hits[e]);
            inexact += !run.search.hits[e].exact;
        }
        end(&t, &run);
    }
    assert_true(test_seed_first() != 1 || inexact > 100);
}

static void a_prefix_with_numbers_is_refused_in_the_exact_mode(void **state)
{
    const struct skep_search_options options = {.beam_size = 1, .exact = true};
    const uint32_t sizes[] = {2, 2};
    const double row[] = {1, 2};
    const void *rows[] = {row, row};
    const struct skep_scores scores = {SKEP_GRID_FLOAT64, 1, 2, rows, NULL};
    struct skep_beam_options beam_options;
    struct skep_search search_of = {0};
    struct test_env env;
    struct skep_beam *beam;
    struct skep_dht *dht;
    char why[512];

    (void)state;
    test_env_init(&env, 1);
    dht = fake_dht_new(&env.env, 1);
    skep_beam_options_default(&beam_options);
    beam_options.prefix = skep_bytes_str("e.1.");
    beam_options.grid = sizes;
    beam_options.dims = 2;
    assert_int_equal(skep_beam_new(&beam, dht, &beam_options, NULL, 0), 0);
    assert_int_equal(skep_find_best_start(&search_of, beam, &scores, &options, why, sizeof why),
                     SKEP_EINVAL);
    assert_non_null(strstr(why, "without numbers"));
    skep_beam_free(beam);
    fake_dht_free(dht);
    test_env_fini(&env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exact_search_finds_what_brute_force_finds),
        cmocka_unit_test(what_nobody_answers_for_stays_open_and_bounds_the_answer),
        cmocka_unit_test(a_budget_of_keys_is_kept_and_the_bound_is_true),
        cmocka_unit_test(an_exact_search_asks_for_at_most_its_keys),
        cmocka_unit_test(a_deadline_is_kept_and_the_bound_is_true),
        cmocka_unit_test(a_prefix_with_numbers_is_refused_in_the_exact_mode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
