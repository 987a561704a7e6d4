/* SPDX-License-Identifier: MIT */
/* Guessing which prefixes a search will come to: it changes when things are known, never the answer. What it saves is in bench/bench_guess.c. */
#include <math.h>

#include "base/limits.h"
#include "moe/random_world.h"

/* ---- with guesses and without ---- */

enum { BEAM_HERE = 16, ROUNDS = 4 };

/* The same world twice, each with a searcher of its own. */
struct side {
    struct test_env env;
    struct skep_dht *dht;
    struct skep_beam *beam;
    struct run run;
};

struct twins {
    uint64_t seed;
    struct skep_prng prng;
    struct side sides[2]; /* without guesses, with them */
    size_t guessed, used, sooner;
};

#define SAME(t, a, b)                                                                              \
    do {                                                                                           \
        if ((a) != (b))                                                                            \
            fail_msg("replay: SKEP_SEED=%llu: %s, %s", (unsigned long long)(t)->seed, #a, #b);     \
    } while (0)

static struct skep_beam *new_beam(struct skep_dht *dht, bool marks)
{
    struct skep_beam_options options;
    struct skep_beam *beam;

    skep_beam_options_default(&options);
    options.prefix = skep_bytes_str("e");
    options.grid = world.sizes;
    options.dims = world.dims;
    options.negative_caching = marks;
    assert_int_equal(skep_beam_new(&beam, dht, &options, NULL, 0), 0);
    return beam;
}

static void set_up(struct twins *t, uint64_t seed)
{
    skep_prng_init(&t->prng, seed + 1000003);
    bool no_cache = skep_prng_below(&t->prng, 4) == 0, marks = skep_prng_below(&t->prng, 2) == 0;
    unsigned unanswered = skep_prng_below(&t->prng, 3) == 0 ? 200000 : 0;
    unsigned missed = skep_prng_below(&t->prng, 2) == 0 ? 0 : 300000;

    t->seed = seed;
    t->guessed = t->used = t->sooner = 0;
    for (size_t i = 0; i < 2; i++) {
        struct side *side = &t->sides[i];
        struct skep_prng prng;

        skep_prng_init(&prng, seed);
        test_env_init(&side->env, seed);
        side->dht = fake_dht_new(&side->env.env, seed);
        *fake_dht_settings(side->dht) = (struct fake_dht_settings){.delay_us = 10,
                                                                   .no_cache = no_cache,
                                                                   .unanswered_ppm = unanswered,
                                                                   .missed_ppm = missed};
        world_draw(&prng, side->dht);
        side->beam = new_beam(side->dht, marks);
    }
    world.beam_size = 1 + (size_t)skep_prng_below(&t->prng, BEAM_HERE);
    fake_dht_settings(t->sides[1].dht)->guesses_hang = skep_prng_below(&t->prng, 4) == 0;
}

static void tear_down(struct twins *t)
{
    for (size_t i = 0; i < 2; i++) {
        skep_beam_free(t->sides[i].beam);
        fake_dht_free(t->sides[i].dht);
        test_env_fini(&t->sides[i].env);
    }
}

static void check_hits(const struct twins *t, const struct skep_beam_hits *a,
                       const struct skep_beam_hits *b)
{
    SAME(t, a->count, b->count);
    SAME(t, a->exact, b->exact);
    SAME(t, a->has_bound, b->has_bound);
    SAME(t, a->bound, b->bound);
    SAME(t, a->unanswered, b->unanswered);
    for (size_t i = 0; i < a->count; i++) {
        SAME(t, strcmp(a->experts[i].uid, b->experts[i].uid), 0);
        SAME(t, a->experts[i].score, b->experts[i].score);
        SAME(t, skep_peer_id_equal(&a->experts[i].peer, &b->experts[i].peer), true);
    }
}

static bool is_marked(struct skep_dht *dht, const char *key)
{
    const struct skep_dht_value *value = fake_dht_at(dht, skep_bytes_str(key));
    struct skep_dht_entry entry;

    return value && value->is_dictionary &&
           skep_dht_value_find(value, skep_bytes_of("\xff", 1), &entry) && entry.value.len == 1;
}

/* The marks in the network are the same for all prefixes of one and two coordinates. */
static void check_marks(const struct twins *t)
{
    for (uint32_t i = 0; i < world.sizes[0]; i++) {
        char key[64];

        snprintf(key, sizeof key, "e.%u.", (unsigned)i);
        SAME(t, is_marked(t->sides[0].dht, key), is_marked(t->sides[1].dht, key));
        for (uint32_t j = 0; world.dims > 2 && j < world.sizes[1]; j++) {
            snprintf(key, sizeof key, "e.%u.%u.", (unsigned)i, (unsigned)j);
            SAME(t, is_marked(t->sides[0].dht, key), is_marked(t->sides[1].dht, key));
        }
    }
}

static void check(struct twins *t)
{
    const struct skep_search *plain = &t->sides[0].run.search, *quick = &t->sides[1].run.search;

    for (size_t i = 0; i < 2; i++) {
        SAME(t, t->sides[i].run.ended, 1);
        SAME(t, t->sides[i].run.rc, 0);
    }
    SAME(t, plain->hit_count, quick->hit_count);
    for (size_t e = 0; e < plain->hit_count; e++)
        check_hits(t, &plain->hits[e], &quick->hits[e]);
    SAME(t, plain->stats.marked, quick->stats.marked);
    SAME(t, plain->stats.guessed, 0);
    SAME(t, quick->stats.guesses_used <= quick->stats.guessed, true);
    t->guessed += quick->stats.guessed;
    t->used += quick->stats.guesses_used;
    t->sooner += quick->stats.cost.rounds < plain->stats.cost.rounds;
}

/* One search on both sides. In the exact mode what is at home may decide between equal scores, so that must be the same. */
static void search_twice(struct twins *t)
{
    struct skep_search_options options = {.beam_size = world.beam_size,
                                          .exact = skep_prng_below(&t->prng, 2) == 0};
    bool forget = options.exact || skep_prng_below(&t->prng, 2) == 0;
    size_t first = (size_t)skep_prng_below(&t->prng, world.examples);
    size_t examples = 1 + (size_t)skep_prng_below(&t->prng, world.examples - first);
    size_t guesses = 1 + (size_t)skep_prng_below(&t->prng, 64);

    for (size_t i = 0; i < 2; i++) {
        struct side *side = &t->sides[i];

        if (forget)
            fake_dht_forget(side->dht);
        options.guess_keys_max = i == 1 ? guesses : 0;
        world_start(&side->run, side->beam, first, examples, &options);
        test_env_advance(&side->env, 1000000);
    }
    check(t);
    for (size_t i = 0; i < 2; i++)
        skep_search_fini(&t->sides[i].run.search);
}

static void guesses_change_nothing_in_the_answer(void **state)
{
    static struct twins t;
    size_t guessed = 0, used = 0, sooner = 0;

    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(4200); seed++) {
        set_up(&t, seed);
        for (size_t round = 0; round < ROUNDS; round++)
            search_twice(&t);
        check_marks(&t);
        guessed += t.guessed;
        used += t.used;
        sooner += t.sooner;
        tear_down(&t);
    }
    if (test_seed_first() == 1)
        assert_true(guessed > 10000 && used > 1000 && sooner > 500);
}

static void with_guesses_a_deadline_is_kept_and_the_bound_is_true(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(1000); seed++) {
        static struct twins t;
        struct side *side = &t.sides[1];
        uint64_t deadline;

        set_up(&t, seed);
        deadline = side->env.now_us + 1 + skep_prng_below(&t.prng, 60);
        world_start(&side->run, side->beam, 0, world.examples,
                    &(struct skep_search_options){.beam_size = world.beam_size,
                                                  .exact = seed % 2 == 0,
                                                  .deadline_us = deadline,
                                                  .guess_keys_max = 32});
        test_env_advance(&side->env, deadline - side->env.now_us);
        SAME(&t, side->run.ended, 1);
        for (size_t e = 0; e < world.examples; e++) {
            const struct skep_beam_hits *hits = &side->run.search.hits[e];

            for (size_t i = 0; i < world.record_count; i++) {
                const struct record *r = &world.records[i];
                uint32_t top = (uint32_t)strtoul(r->key + 2, NULL, 10);
                bool listed = false;
                double score;

                if (hits->exact || top >= world.sizes[0] || !world_is_valid(r) ||
                    strchr(r->key + 2, '.')[1] != '\0' ||
                    !world_expert_of(r, (const double(*)[SIZE_MAX_HERE])world.scores[e],
                                     world.scores[e][0][top], &score))
                    continue;
                for (size_t h = 0; h < hits->count; h++)
                    listed |= strcmp(hits->experts[h].uid, r->uid) == 0 ||
                              (hits->count == world.beam_size && hits->experts[h].score >= score);
                SAME(&t, listed || score <= hits->bound, true);
            }
        }
        skep_search_fini(&side->run.search);
        tear_down(&t);
    }
}

/* ---- one grid ---- */

enum { GRID = 16 };

static const char peer[] = "12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s";

struct fixture {
    struct test_env env;
    struct skep_dht *dht;
    struct skep_beam *beam;
    struct skep_search search;
    double rows[4][GRID];
    size_t dims;
    int ended, rc;
};

static void on_done(struct skep_search *search, int rc)
{
    struct fixture *f = SKEP_CONTAINER_OF(search, struct fixture, search);

    f->ended++;
    f->rc = rc;
}

/* Of all prefixes one in `every` has experts, by their last coordinate; scores fall with the index. */
static void begin(struct fixture *f, size_t dims, unsigned every)
{
    static const uint32_t sizes[] = {GRID, GRID, GRID, GRID};
    struct skep_beam_options options;

    memset(f, 0, sizeof *f);
    test_env_init(&f->env, 7);
    f->dht = fake_dht_new(&f->env.env, 7);
    f->search.done = on_done;
    f->dims = dims;
    for (size_t d = 0; d < 4; d++)
        for (size_t i = 0; i < GRID; i++)
            f->rows[d][i] = -(double)i;
    for (unsigned i = 0; i < GRID * GRID; i++) {
        char uid[64];

        snprintf(uid, sizeof uid,
                 dims < 3    ? "e.%u.%u"
                 : dims == 3 ? "e.%u.%u.0"
                             : "e.%u.%u.0.0",
                 i / GRID, i % GRID);
        if (every > 0 && (i % GRID) % every == 0)
            fake_dht_declare(f->dht, uid, peer, 2e9);
    }
    skep_beam_options_default(&options);
    options.prefix = skep_bytes_str("e.");
    options.grid = sizes;
    options.dims = dims;
    assert_int_equal(skep_beam_new(&f->beam, f->dht, &options, NULL, 0), 0);
}

static void end(struct fixture *f)
{
    skep_search_fini(&f->search);
    skep_beam_free(f->beam);
    fake_dht_free(f->dht);
    test_env_fini(&f->env);
}

static int start(struct fixture *f, const struct skep_search_options *options)
{
    const void *rows[] = {f->rows[0], f->rows[1], f->rows[2], f->rows[3]};
    struct skep_scores scores = {
        .type = SKEP_GRID_FLOAT64, .examples = 1, .dims = f->dims, .rows = rows};

    skep_search_fini(&f->search);
    f->ended = 0;
    return skep_find_best_start(&f->search, f->beam, &scores, options, NULL, 0);
}

static void find(struct fixture *f, size_t guesses)
{
    fake_dht_forget(f->dht);
    assert_int_equal(
        start(f, &(struct skep_search_options){.beam_size = 4, .guess_keys_max = guesses}), 0);
    test_env_advance(&f->env, 1000000);
    assert_int_equal(f->ended, 1);
    assert_int_equal(f->rc, 0);
    assert_int_equal(f->search.hits->count, 4);
}

static void a_dense_grid_is_searched_in_one_round(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 3, 1);
    find(&f, 0);
    assert_int_equal(f.search.stats.cost.rounds, 2);
    assert_int_equal(f.search.stats.guessed, 0);
    find(&f, 64);
    assert_int_equal(f.search.stats.cost.rounds, 1);
    assert_int_equal(f.search.stats.gets, 1);
    assert_int_equal(f.search.stats.guessed, 4); /* all are there, so these will do */
    assert_int_equal(f.search.stats.guesses_used, 4);
    end(&f);
}

static void four_dimensions_are_guessed_level_by_level(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 4, 1);
    find(
        &f,
        64); /* nothing is known yet: half of the guesses for each level, and the third coordinate is always 0 */
    assert_int_equal(f.search.stats.guessed, 64);
    assert_int_equal(f.search.stats.cost.rounds, 1);
    find(&f, 64); /* one in 16 of the last level: that is left to the second round */
    assert_int_equal(f.search.stats.guessed, 4);
    assert_int_equal(f.search.stats.cost.rounds, 2);
    find(&f, 255);
    assert_int_equal(f.search.stats.cost.rounds, 1);
    end(&f);
}

static void a_new_searcher_uses_all_its_guesses_and_then_as_many_as_it_takes(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 3, 4);
    find(&f, 40);
    assert_int_equal(f.search.stats.guessed, 40);
    find(&f, 40); /* one in four is there: 16 on average for a beam of four, and some to be sure */
    assert_in_range(f.search.stats.guessed, 20, 32);
    assert_int_equal(f.search.stats.cost.rounds, 1);
    find(&f, 12); /* too few for it */
    assert_int_equal(f.search.stats.guessed, 0);
    assert_int_equal(f.search.stats.cost.rounds, 2);
    end(&f);
}

static void a_guess_leaves_no_mark_unless_the_search_comes_to_it(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 3, 4);
    fake_dht_settings(f.dht)->missed_ppm = 1000000; /* all surely nobody's */
    find(&f, 40);
    assert_int_equal(f.search.stats.marked, 0);
    assert_int_equal(fake_dht_counts(f.dht)->stores, 0);
    assert_null(fake_dht_at(f.dht, skep_bytes_str("e.0.1.")));
    end(&f);
}

static void a_guess_that_missed_is_asked_for_again_when_it_is_needed(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 3, 1);
    fake_dht_settings(f.dht)->missed_ppm = 1000000;
    find(&f, 4);
    assert_int_equal(f.search.stats.gets, 2);
    assert_int_equal(f.search.stats.guesses_used, 0);
    assert_int_equal(f.search.hits->unanswered, 0);
    assert_int_equal(fake_dht_counts(f.dht)->insisted, 0);
    assert_int_equal(fake_dht_counts(f.dht)->keys, 6 + 4 + 4);
    end(&f);
}

static void a_guess_under_way_is_insisted_on_when_it_is_needed(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 3, 1);
    fake_dht_settings(f.dht)->guesses_hang = true;
    find(&f, 8);
    assert_int_equal(f.search.stats.gets, 1);
    assert_int_equal(f.search.stats.guesses_used, 4);
    assert_int_equal(fake_dht_counts(f.dht)->insisted, 4);
    assert_int_equal(fake_dht_counts(f.dht)->running, 1); /* the other guesses hold up nobody … */
    for (size_t i = 0; i < SKEP_BEAM_LEFT_GETS_MAX; i++)
        find(&f, 8);
    assert_int_equal(fake_dht_counts(f.dht)->running,
                     1); /* … and now there are none, as the grid is known to be full */
    end(&f);
}

static void a_node_too_busy_for_guesses_answers_as_without(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 3, 1);
    fake_dht_settings(f.dht)->get_rc = SKEP_ELIMIT;
    assert_int_equal(start(&f, &(struct skep_search_options){.beam_size = 4, .guess_keys_max = 8}),
                     0);
    assert_int_equal(f.ended, 1);
    assert_int_equal(f.search.hits->unanswered, GRID);
    end(&f);
}

static void grids_without_a_second_record_are_not_guessed(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 2, 1);
    find(&f, 64);
    assert_int_equal(f.search.stats.guessed, 0);
    end(&f);
}

static void who_counts_the_keys_of_an_exact_search_has_none_guessed(void **state)
{
    struct fixture f;
    struct skep_search_options options = {
        .beam_size = 4, .exact = true, .keys_max = 10, .guess_keys_max = 64};

    (void)state;
    begin(&f, 3, 1);
    assert_int_equal(start(&f, &options), 0);
    test_env_advance(&f.env, 1000000);
    assert_int_equal(fake_dht_counts(f.dht)->guesses, 0);
    options.keys_max = 0;
    fake_dht_forget(f.dht);
    assert_int_equal(start(&f, &options), 0);
    test_env_advance(&f.env, 1000000);
    assert_int_equal(fake_dht_counts(f.dht)->guesses, 4);
    assert_true(f.search.hits->exact);
    end(&f);
}

/* A batch of one more example than there are guesses for guesses nothing; with half as many there are two for each. */
static void a_search_guesses_at_most_4096_prefixes(void **state)
{
    enum { EXAMPLES = SKEP_BEAM_GUESS_KEYS_MAX + 1, SIDE = 512 };
    static const uint32_t sizes[] = {SIDE, SIDE, 2};
    static float first[EXAMPLES * SIDE], third[EXAMPLES * 2];
    const void *rows[] = {first, first, third};
    struct skep_scores scores = {.type = SKEP_GRID_FLOAT32, .dims = 3, .rows = rows};
    struct skep_search_options options = {.beam_size = 1, .guess_keys_max = 1 << 20};
    struct skep_beam_options beam_options;
    struct fixture f;
    struct skep_prng prng;

    (void)state;
    skep_prng_init(&prng, 1);
    for (size_t i = 0; i < SKEP_COUNT_OF(first); i++)
        first[i] = (float)skep_prng_unit(&prng);
    for (size_t examples = 1; examples <= EXAMPLES; examples += (EXAMPLES - 1) / 2) {
        begin(&f, 3, 0);
        skep_beam_free(f.beam);
        skep_beam_options_default(&beam_options);
        beam_options.prefix = skep_bytes_str("e.");
        beam_options.grid = sizes;
        beam_options.dims = 3;
        assert_int_equal(skep_beam_new(&f.beam, f.dht, &beam_options, NULL, 0), 0);
        fake_dht_settings(f.dht)->hang = true;
        scores.examples = examples;
        assert_int_equal(skep_find_best_start(&f.search, f.beam, &scores, &options, NULL, 0), 0);
        if (examples == 1) /* all children of the one index it needs */
            assert_int_equal(fake_dht_counts(f.dht)->guesses, SIDE);
        else if (examples == EXAMPLES)
            assert_int_equal(fake_dht_counts(f.dht)->guesses, 0);
        else
            assert_in_range(fake_dht_counts(f.dht)->guesses, SKEP_BEAM_GUESS_KEYS_MAX / 2,
                            SKEP_BEAM_GUESS_KEYS_MAX);
        end(&f);
    }
}

static int search_with(const struct skep_mem *mem, void *user)
{
    static const uint32_t sizes[] = {GRID, GRID, GRID, GRID};
    struct fixture *f = user;
    struct skep_beam_options options;
    int rc;

    skep_beam_options_default(&options);
    options.prefix = skep_bytes_str("e");
    options.grid = sizes;
    options.dims = 4;
    f->env.env.mem = mem;
    f->rc = 0;
    fake_dht_forget(f->dht);
    rc = skep_beam_new(&f->beam, f->dht, &options, NULL, 0);
    for (int i = 0; i < 2 && rc == 0 && f->rc == 0;
         i++) { /* of an unknown density, and a known one */
        fake_dht_forget(f->dht);
        rc = start(f, &(struct skep_search_options){.beam_size = 6, .guess_keys_max = 200});
    }
    rc = rc == 0 ? f->rc : rc;
    skep_search_fini(&f->search);
    skep_beam_free(f->beam);
    f->beam = NULL;
    f->env.env.mem = &f->env.mem.mem;
    test_env_advance(&f->env, 1000);
    return rc;
}

static void guessing_survives_each_failed_allocation(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 4, 1);
    skep_beam_free(f.beam);
    f.beam = NULL;
    fake_dht_settings(f.dht)->sync = true;
    test_each_allocation_fails(search_with, &f);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guesses_change_nothing_in_the_answer),
        cmocka_unit_test(with_guesses_a_deadline_is_kept_and_the_bound_is_true),
        cmocka_unit_test(a_dense_grid_is_searched_in_one_round),
        cmocka_unit_test(four_dimensions_are_guessed_level_by_level),
        cmocka_unit_test(a_new_searcher_uses_all_its_guesses_and_then_as_many_as_it_takes),
        cmocka_unit_test(a_guess_leaves_no_mark_unless_the_search_comes_to_it),
        cmocka_unit_test(a_guess_that_missed_is_asked_for_again_when_it_is_needed),
        cmocka_unit_test(a_guess_under_way_is_insisted_on_when_it_is_needed),
        cmocka_unit_test(a_node_too_busy_for_guesses_answers_as_without),
        cmocka_unit_test(grids_without_a_second_record_are_not_guessed),
        cmocka_unit_test(who_counts_the_keys_of_an_exact_search_has_none_guessed),
        cmocka_unit_test(a_search_guesses_at_most_4096_prefixes),
        cmocka_unit_test(guessing_survives_each_failed_allocation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
