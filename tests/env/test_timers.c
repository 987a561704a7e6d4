/* SPDX-License-Identifier: MIT */
#include "support/test.h"

#include "env/env.h"

enum { PROBES = 300 };

struct probe {
    struct skep_timer timer;
    int number;
    struct test_env *env;
    uint64_t again_at_us; /* restart there, if not 0 */
    int again;
};

static int fired[4 * PROBES];
static size_t fired_count;

static void on_fire(struct skep_timer *timer)
{
    struct probe *probe = SKEP_CONTAINER_OF(timer, struct probe, timer);

    assert_false(skep_timer_running(timer));
    assert_true(fired_count < SKEP_COUNT_OF(fired));
    fired[fired_count++] = probe->number;
    if (probe->again > 0) {
        probe->again--;
        assert_int_equal(skep_timer_start(probe->env->env.timers, timer, probe->again_at_us), 0);
    }
}

static int reset(void **state)
{
    (void)state;
    fired_count = 0;
    return 0;
}

static void timers_with_equal_deadlines_fire_in_the_order_they_were_started(void **state)
{
    static struct probe probes[PROBES];
    struct test_env env;

    (void)state;
    test_env_init(&env, 1);
    for (int i = 0; i < PROBES; i++) {
        int number = i * 7 % PROBES; /* neither in order of address */

        probes[number] = (struct probe){.timer.fire = on_fire, .number = number};
        assert_int_equal(skep_env_after(&env.env, &probes[number].timer, 50), 0);
    }
    skep_env_stop(&env.env, &probes[7].timer);
    test_env_advance(&env, 49);
    assert_int_equal(fired_count, 0);
    test_env_advance(&env, 1);
    assert_int_equal(fired_count, PROBES - 1);
    for (int i = 0, at = 0; i < PROBES; i++)
        if (i != 1)
            assert_int_equal(fired[at++], i * 7 % PROBES);
    test_env_fini(&env);
}

static void a_restarted_timer_moves_and_fires_once(void **state)
{
    struct probe a = {.timer.fire = on_fire, .number = 1}, b = {.timer.fire = on_fire, .number = 2};
    struct test_env env;

    (void)state;
    test_env_init(&env, 1);
    assert_int_equal(skep_env_after(&env.env, &a.timer, 10), 0);
    assert_int_equal(skep_env_after(&env.env, &b.timer, 20), 0);
    assert_int_equal(skep_env_after(&env.env, &a.timer, 20),
                     0); /* now behind b, though it was started first */
    assert_int_equal(skep_timers_next_us(env.env.timers), 20);
    test_env_advance(&env, 100);
    assert_int_equal(fired_count, 2);
    assert_int_equal(fired[0], 2);
    assert_int_equal(fired[1], 1);
    assert_true(skep_timers_next_us(env.env.timers) == SKEP_NEVER_US);
    test_env_fini(&env);
}

static void a_zero_delay_does_not_keep_the_loop(void **state)
{
    struct test_env env;
    struct probe again = {.timer.fire = on_fire, .number = 1, .env = &env, .again = 3};

    (void)state;
    test_env_init(&env, 1);
    assert_int_equal(skep_env_after(&env.env, &again.timer, 0), 0);
    for (size_t turn = 1; turn <= 4; turn++) {
        assert_int_equal(skep_timers_run(env.env.timers, env.now_us), 1);
        assert_int_equal(fired_count, turn);
    }
    assert_int_equal(skep_timers_run(env.env.timers, env.now_us), 0);
    test_env_fini(&env);
}

static void a_timer_that_restarts_in_the_past_does_not_starve_those_due_later(void **state)
{
    struct test_env env;
    struct probe past = {
        .timer.fire = on_fire, .number = 1, .env = &env, .again = 100, .again_at_us = 5};
    struct probe due = {.timer.fire = on_fire, .number = 2};

    (void)state;
    test_env_init(&env, 1);
    assert_int_equal(skep_timer_start(env.env.timers, &past.timer, 10), 0);
    assert_int_equal(skep_timer_start(env.env.timers, &due.timer, 20), 0);
    env.now_us = 30;
    assert_int_equal(skep_timers_run(env.env.timers, env.now_us), 2);
    assert_int_equal(fired[1], 2);
    skep_env_stop(&env.env, &past.timer);
    test_env_fini(&env);
}

static void a_delay_without_end_never_fires(void **state)
{
    struct probe a = {.timer.fire = on_fire, .number = 1};
    struct test_env env;

    (void)state;
    test_env_init(&env, 1);
    env.now_us = 1000;
    assert_int_equal(skep_env_after(&env.env, &a.timer, SKEP_NEVER_US), 0);
    assert_int_equal(skep_timers_run(env.env.timers, env.now_us), 0);
    assert_true(skep_timers_next_us(env.env.timers) == SKEP_NEVER_US);
    skep_env_stop(&env.env, &a.timer);
    skep_env_stop(&env.env, &a.timer); /* harmless */
    test_env_fini(&env);
}

static void random_timers_fire_sorted_by_deadline_and_start(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(20); seed++) {
        static struct probe probes[PROBES];
        struct test_env env;
        size_t running = 0;

        fired_count = 0;
        test_env_init(&env, seed);
        for (int i = 0; i < PROBES; i++) {
            probes[i] = (struct probe){.timer.fire = on_fire, .number = i};
            assert_int_equal(
                skep_env_after(&env.env, &probes[i].timer, skep_prng_below(&env.prng, 40)), 0);
        }
        for (int i = 0; i < PROBES; i++)
            if (skep_prng_below(&env.prng, 3) == 0)
                skep_env_stop(&env.env, &probes[i].timer);
            else if (skep_prng_below(&env.prng, 3) == 0)
                assert_int_equal(
                    skep_env_after(&env.env, &probes[i].timer, skep_prng_below(&env.prng, 40)), 0);
        for (int i = 0; i < PROBES; i++)
            running += skep_timer_running(&probes[i].timer);
        test_env_advance(&env, 40);
        if (fired_count != running)
            fail_msg("seed %llu: %zu of %zu timers fired", (unsigned long long)seed, fired_count,
                     running);
        for (size_t i = 1; i < fired_count; i++) {
            const struct skep_timer *a = &probes[fired[i - 1]].timer, *b = &probes[fired[i]].timer;

            if (a->deadline_us > b->deadline_us ||
                (a->deadline_us == b->deadline_us && a->order > b->order))
                fail_msg("seed %llu: timers fired out of order", (unsigned long long)seed);
        }
        test_env_fini(&env);
    }
}

struct job {
    struct skep_work work;
    int ran, done;
};

static void run_job(struct skep_work *work)
{
    SKEP_CONTAINER_OF(work, struct job, work)->ran++;
}

static void end_job(struct skep_work *work)
{
    SKEP_CONTAINER_OF(work, struct job, work)->done++;
}

static void work_is_done_on_a_later_turn(void **state)
{
    struct job job = {.work = {run_job, end_job}};
    struct test_env env;

    (void)state;
    test_env_init(&env, 1);
    assert_int_equal(env.env.work(&env.env, &job.work), 0);
    assert_int_equal(job.done, 0);
    test_env_advance(&env, 0);
    assert_int_equal(job.ran, 1);
    assert_int_equal(job.done, 1);
    test_env_fini(&env);
}

static void what_is_less_urgent_than_the_level_is_not_logged(void **state)
{
    struct test_env env;

    (void)state;
    test_env_init(&env, 1);
    env.env.log_level = SKEP_LOG_WARNING;
    skep_log(&env.env, SKEP_LOG_INFO, "%d", 1);
    assert_string_equal(env.last_log, "");
    skep_log(&env.env, SKEP_LOG_WARNING, "%d of %s", 2, "them");
    assert_string_equal(env.last_log, "2 of them");
    assert_true(skep_env_random(&env.env) != skep_env_random(&env.env));
    test_env_fini(&env);
}

static int start_many(const struct skep_mem *mem, void *user)
{
    static struct probe probes[PROBES];
    struct skep_timers timers;
    int rc = 0;

    (void)user;
    memset(probes, 0, sizeof probes);
    skep_timers_init(&timers, mem);
    for (size_t i = 0; i < PROBES && rc == 0; i++) {
        rc = skep_timer_start(&timers, &probes[i].timer, i);
        if (rc < 0)
            assert_false(skep_timer_running(&probes[i].timer));
    }
    skep_timers_fini(&timers);
    return rc;
}

static void a_running_timer_is_moved_also_when_there_is_no_memory(void **state)
{
    struct probe probes[17] = {0}; /* one past the first room */
    struct test_mem mem;
    struct skep_timers timers;

    (void)state;
    test_mem_init(&mem);
    skep_timers_init(&timers, &mem.mem);
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(skep_timer_start(&timers, &probes[i].timer, 100 + i), 0);
    mem.fail_at = 1;
    assert_int_equal(skep_timer_start(&timers, &probes[16].timer, 1), SKEP_ENOMEM);
    assert_false(skep_timer_running(&probes[16].timer));
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(skep_timer_start(&timers, &probes[i].timer, 50 - i), 0);
    assert_int_equal(skep_timers_next_us(&timers), 35);
    skep_timers_fini(&timers);
    assert_false(skep_timer_running(&probes[0].timer));
    assert_int_equal(mem.live, 0);
}

static void each_failing_allocation_is_reported(void **state)
{
    (void)state;
    test_each_allocation_fails(start_many, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(timers_with_equal_deadlines_fire_in_the_order_they_were_started,
                               reset),
        cmocka_unit_test_setup(a_restarted_timer_moves_and_fires_once, reset),
        cmocka_unit_test_setup(a_zero_delay_does_not_keep_the_loop, reset),
        cmocka_unit_test_setup(a_timer_that_restarts_in_the_past_does_not_starve_those_due_later,
                               reset),
        cmocka_unit_test_setup(a_delay_without_end_never_fires, reset),
        cmocka_unit_test_setup(random_timers_fire_sorted_by_deadline_and_start, reset),
        cmocka_unit_test(work_is_done_on_a_later_turn),
        cmocka_unit_test(what_is_less_urgent_than_the_level_is_not_logged),
        cmocka_unit_test(a_running_timer_is_moved_also_when_there_is_no_memory),
        cmocka_unit_test(each_failing_allocation_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
