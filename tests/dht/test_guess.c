/* SPDX-License-Identifier: MIT */
/* Keys of a get that are only guesses: they cost little, hold up nobody, and "not found" means nothing unless they are insisted on. */
#include "dht/node_internal.h"
#include "sim/swarm.h"

enum { NODES = 100, KEYS_MAX = 64 };

static struct swarm swarm;
static uint32_t searcher;

static void begin(size_t num_workers)
{
    struct skep_sim_faults faults;
    struct skep_dht_options options;
    uint32_t via = 0;

    skep_sim_faults_default(&faults);
    swarm_init(&swarm, &skep_mem_std, 3, &faults);
    swarm_grow(&swarm, NODES, NULL);
    skep_dht_options_default(&options);
    options.client_mode = true;
    options.cache_locally = false;
    if (num_workers > 0)
        options.num_workers = num_workers;
    searcher = swarm_add(&swarm, &options);
    assert_int_equal(swarm_join(&swarm, searcher, &via, 1, NULL), 0);
}

static void end(void)
{
    swarm_fini(&swarm);
}

/* The first `stored` of some keys are there. */
static void fill(struct skep_dht_id *ids, size_t count, size_t stored)
{
    struct skep_dht_record records[KEYS_MAX];

    for (size_t i = 0; i < count; i++) {
        char key[32];

        snprintf(key, sizeof key, "key%zu", i);
        ids[i] = swarm_key(key);
        records[i] = swarm_record(key, "value", swarm_now(&swarm) + 600);
    }
    if (stored > 0)
        assert_int_equal(swarm_store_many(&swarm, 1, records, stored, NULL, NULL, NULL, NULL), 0);
}

struct getting {
    struct skep_dht_get get;
    uint64_t start_us, took_us[KEYS_MAX];
    uint32_t rounds[KEYS_MAX];
    bool found[KEYS_MAX], answered[KEYS_MAX], done;
};

static void on_value(struct skep_dht_get *get, size_t index, const struct skep_dht_value *value,
                     bool answered)
{
    struct getting *g = SKEP_CONTAINER_OF(get, struct getting, get);

    g->took_us[index] = swarm.clock.now_us - g->start_us;
    g->found[index] = value != NULL;
    g->answered[index] = answered;
    g->rounds[index] = get->rounds;
}

static void on_done(struct skep_dht_get *get, int rc)
{
    assert_int_equal(rc, 0);
    SKEP_CONTAINER_OF(get, struct getting, get)->done = true;
}

static void start(struct getting *g, const struct skep_dht_id *ids, size_t count, size_t guesses)
{
    memset(g, 0, sizeof *g);
    g->get.on_value = on_value;
    g->get.done = on_done;
    g->start_us = swarm.clock.now_us;
    assert_int_equal(skep_dht_get_start(swarm.dht[searcher], &g->get, ids, count,
                                        &(struct skep_dht_get_options){.guesses = guesses}),
                     0);
}

static void finish(struct getting *g)
{
    assert_true(skep_sim_clock_run_until(&swarm.clock, &g->done, 60 * SKEP_SIM_SECOND));
    skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND); /* late answers */
}

static void a_guess_that_is_nobodys_asks_few_and_proves_nothing(void **state)
{
    struct skep_dht_id ids[20];
    struct getting g;

    (void)state;
    begin(0);
    fill(ids, 20, 0);
    for (size_t i = 0; i < 20; i++) {
        start(&g, &ids[i], 1, 1);
        finish(&g);
        assert_false(g.found[0] || g.answered[0]);
        assert_in_range(g.get.cost.calls, 1, 4);
        start(&g, &ids[i], 1, 0);
        finish(&g);
        assert_true(!g.found[0] && g.answered[0]);
        assert_true(g.get.cost.calls > 5); /* as many as decide it */
    }
    end();
}

static void a_guess_that_is_there_is_found(void **state)
{
    struct skep_dht_id ids[KEYS_MAX];
    struct getting g;

    (void)state;
    begin(0);
    fill(ids, KEYS_MAX, KEYS_MAX / 2);
    start(&g, ids, KEYS_MAX, KEYS_MAX);
    finish(&g);
    for (size_t i = 0; i < KEYS_MAX; i++) {
        assert_int_equal(g.found[i], i < KEYS_MAX / 2);
        assert_int_equal(g.answered[i], i < KEYS_MAX / 2);
    }
    end();
}

static void a_guess_goes_on_to_the_next_holder_when_one_fails(void **state)
{
    struct skep_dht_id ids[KEYS_MAX];
    struct getting g;
    size_t found = 0;

    (void)state;
    begin(0);
    fill(ids, KEYS_MAX, KEYS_MAX);
    for (uint32_t dead = 2; dead < NODES; dead += 4)
        swarm_kill(&swarm, dead);
    start(&g, ids, KEYS_MAX, KEYS_MAX);
    finish(&g);
    for (size_t i = 0; i < KEYS_MAX; i++)
        found += g.found[i];
    assert_true(found >= KEYS_MAX * 9 / 10);
    end();
}

/* Of 64 keys four are wanted: those that are there come as soon as without the others, however few requests may be in flight. What is nobody's asks very
 * many, and does so, too, unless there are hardly any requests to be had. */
static void guesses_hold_up_nobody(void **state)
{
    (void)state;
    for (size_t num_workers = 1; num_workers <= 128; num_workers *= 2) {
        struct skep_dht_id ids[KEYS_MAX];
        struct getting alone, among;

        begin(num_workers);
        fill(ids, KEYS_MAX, 3); /* the fourth is nobody's, and asks many */
        for (int warm = 0; warm < 2; warm++) {
            start(&alone, ids, KEYS_MAX, KEYS_MAX - 4);
            finish(&alone);
        }
        start(&alone, ids, 4, 0);
        finish(&alone);
        start(&among, ids, KEYS_MAX, KEYS_MAX - 4);
        finish(&among);
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(among.found[i], i < 3);
            assert_true(among.answered[i]);
            assert_true(i == 3 && num_workers < 32 ? among.took_us[i] < 3 * alone.took_us[i]
                                                   : among.took_us[i] <= alone.took_us[i]);
        }
        end();
    }
}

static void a_guess_that_is_insisted_on_is_searched_to_the_end(void **state)
{
    struct skep_dht_id ids[2];
    struct getting g;

    (void)state;
    begin(0);
    fill(ids, 2, 0);
    start(&g, ids, 2, 2);
    skep_dht_get_insist(swarm.dht[searcher], &g.get, 1);
    finish(&g);
    assert_false(g.answered[0]);
    assert_true(g.answered[1]);
    skep_dht_get_insist(swarm.dht[searcher], &g.get, 1); /* harmless when it is over */
    end();
}

static void who_wants_a_key_that_another_guesses_is_answered_properly(void **state)
{
    struct skep_dht_id ids[1];
    struct getting guess, want, again;

    (void)state;
    begin(0);
    fill(ids, 1, 0);
    start(&guess, ids, 1, 1);
    start(&want, ids, 1, 0);
    start(&again, ids, 1, 1);
    finish(&guess);
    assert_true(want.done && again.done);
    assert_true(guess.answered[0] && want.answered[0] && again.answered[0]);
    end();
}

static void each_key_is_told_with_its_own_rounds(void **state)
{
    struct skep_dht_id ids[8];
    struct getting g;

    (void)state;
    begin(0);
    fill(ids, 8, 7);
    start(&g, ids, 8, 0);
    finish(&g);
    for (size_t i = 0; i < 7; i++)
        assert_in_range(g.rounds[i], 1, g.rounds[7] - 1);
    assert_int_equal(g.get.cost.rounds, g.rounds[7]);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guess_that_is_nobodys_asks_few_and_proves_nothing),
        cmocka_unit_test(a_guess_that_is_there_is_found),
        cmocka_unit_test(a_guess_goes_on_to_the_next_holder_when_one_fails),
        cmocka_unit_test(guesses_hold_up_nobody),
        cmocka_unit_test(a_guess_that_is_insisted_on_is_searched_to_the_end),
        cmocka_unit_test(who_wants_a_key_that_another_guesses_is_answered_properly),
        cmocka_unit_test(each_key_is_told_with_its_own_rounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
