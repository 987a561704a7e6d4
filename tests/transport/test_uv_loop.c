/* SPDX-License-Identifier: MIT */
/* The real loop: timers, work, waking, clocks. */
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/limits.h"
#include "support/test.h"
#include "transport/uv_loop.h"

struct fired {
    struct skep_timer timer;
    struct skep_uv_loop *loop;
    int count, left;
    uint64_t at_us;
};

static void on_fire(struct skep_timer *timer)
{
    struct fired *fired = SKEP_CONTAINER_OF(timer, struct fired, timer);
    struct skep_env *env = skep_uv_loop_env(fired->loop);

    fired->count++;
    fired->at_us = skep_env_now_us(env);
    if (fired->left-- > 0)
        skep_env_after(env, timer, 0);
}

static struct skep_uv_loop *loop_new(void)
{
    struct skep_uv_loop *loop;

    assert_int_equal(skep_uv_loop_new(&loop, &skep_mem_std), 0);
    return loop;
}

static void a_timer_fires_not_before_its_time_and_soon_after(void **state)
{
    struct skep_uv_loop *loop = loop_new();
    struct skep_env *env = skep_uv_loop_env(loop);
    struct fired fired = {.timer.fire = on_fire, .loop = loop};
    uint64_t start_us = skep_env_now_us(env);

    (void)state;
    skep_env_after(env, &fired.timer, 12345);
    while (fired.count == 0)
        skep_uv_loop_turn(loop, SKEP_NEVER_US);
    assert_in_range(fired.at_us - start_us, 12345, 500000);
    skep_uv_loop_free(loop);
}

static void what_is_put_off_by_no_delay_runs_within_the_turn(void **state)
{
    struct skep_uv_loop *loop = loop_new();
    struct fired fired = {.timer.fire = on_fire, .loop = loop, .left = 3};

    (void)state;
    skep_env_after(skep_uv_loop_env(loop), &fired.timer, 0);
    skep_uv_loop_turn(loop, 0);
    assert_int_equal(fired.count, 4);
    /* but one that starts itself again for ever does not keep the loop from its sockets */
    fired.left = 1 << 30;
    skep_env_after(skep_uv_loop_env(loop), &fired.timer, 0);
    skep_uv_loop_turn(loop, 0);
    skep_env_stop(skep_uv_loop_env(loop), &fired.timer);
    skep_uv_loop_free(loop);
}

static void a_turn_ends_after_its_longest_wait(void **state)
{
    struct skep_uv_loop *loop = loop_new();
    struct skep_env *env = skep_uv_loop_env(loop);
    uint64_t start_us = skep_env_now_us(env);

    (void)state;
    skep_uv_loop_turn(loop, 5000);
    assert_in_range(skep_env_now_us(env) - start_us, 4000, 500000);
    skep_uv_loop_free(loop);
}

struct heavy {
    struct skep_work work;
    pthread_t where;
    int value, done;
};

static void job(struct skep_work *work)
{
    struct heavy *heavy = SKEP_CONTAINER_OF(work, struct heavy, work);

    heavy->where = pthread_self();
    heavy->value = 42;
}

static void job_done(struct skep_work *work)
{
    struct heavy *heavy = SKEP_CONTAINER_OF(work, struct heavy, work);

    assert_int_equal(heavy->value, 42);
    heavy->done++;
}

static void work_runs_on_another_thread_and_ends_on_the_loop(void **state)
{
    struct skep_uv_loop *loop = loop_new();
    struct skep_env *env = skep_uv_loop_env(loop);
    struct heavy heavy[8] = {0};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(heavy); i++) {
        heavy[i].work = (struct skep_work){job, job_done};
        assert_int_equal(env->work(env, &heavy[i].work), 0);
        assert_int_equal(heavy[i].done, 0);
    }
    for (size_t i = 0; i < SKEP_COUNT_OF(heavy); i++) {
        while (!heavy[i].done)
            skep_uv_loop_turn(loop, SKEP_NEVER_US);
        assert_false(pthread_equal(heavy[i].where, pthread_self()));
    }
    skep_uv_loop_free(loop);
}

static void on_wake(void *user)
{
    ++*(int *)user;
}

static void *wake_later(void *loop)
{
    usleep(10000);
    skep_uv_loop_wake(loop);
    return NULL;
}

static void another_thread_can_wake_a_waiting_turn(void **state)
{
    struct skep_uv_loop *loop = loop_new();
    pthread_t thread;
    int woken = 0;

    (void)state;
    skep_uv_loop_on_wake(loop, on_wake, &woken);
    assert_int_equal(pthread_create(&thread, NULL, wake_later, loop), 0);
    skep_uv_loop_turn(loop, SKEP_NEVER_US);
    assert_int_equal(woken, 1);
    pthread_join(thread, NULL);
    skep_uv_loop_free(loop);
}

static void on_signal(void *user, int signal)
{
    *(int *)user = signal;
}

static void a_signal_reaches_the_loop(void **state)
{
    struct skep_uv_loop *loop = loop_new();
    int got = 0;

    (void)state;
    assert_int_equal(skep_uv_loop_on_signal(loop, on_signal, &got), 0);
    raise(SIGTERM);
    for (int i = 0; i < 100 && got == 0; i++)
        skep_uv_loop_turn(loop, 10000);
    assert_int_equal(got, SIGTERM);
    skep_uv_loop_free(loop);
}

static void the_clocks_and_the_entropy_are_real(void **state)
{
    struct skep_uv_loop *loop = loop_new();
    struct skep_env *env = skep_uv_loop_env(loop);
    uint64_t a = skep_env_random(env), b = skep_env_random(env), start_us = skep_env_now_us(env);

    (void)state;
    assert_true(a != b);
    assert_true(skep_env_unix_s(env) > 1.7e9);
    while (skep_env_now_us(env) == start_us) {
    }
    assert_true(skep_env_now_us(env) - start_us < 100000);
    skep_uv_loop_free(loop);
}

static void links_leave_file_descriptors_to_the_rest(void **state)
{
    struct rlimit before, files;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    files = before;
    for (size_t limit = 64; limit <= 256; limit *= 2) {
        struct skep_uv_loop *loop;

        files.rlim_cur = limit;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
        loop = loop_new();
        assert_int_equal(skep_uv_loop_tcp(loop)->links_max, limit - SKEP_FILES_SPARED);
        skep_uv_loop_free(loop);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_timer_fires_not_before_its_time_and_soon_after),
        cmocka_unit_test(what_is_put_off_by_no_delay_runs_within_the_turn),
        cmocka_unit_test(a_turn_ends_after_its_longest_wait),
        cmocka_unit_test(work_runs_on_another_thread_and_ends_on_the_loop),
        cmocka_unit_test(another_thread_can_wake_a_waiting_turn),
        cmocka_unit_test(a_signal_reaches_the_loop),
        cmocka_unit_test(the_clocks_and_the_entropy_are_real),
        cmocka_unit_test(links_leave_file_descriptors_to_the_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
