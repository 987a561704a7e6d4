/* SPDX-License-Identifier: MIT */
/* Work off a real loop: its own threads, their number and order, and the end of the loop while they compute. */
#include <pthread.h>
#include <unistd.h>

#include "base/limits.h"
#include "support/test.h"
#include "transport/uv_loop.h"

enum { JOBS = 64 };

struct job {
    struct skep_work work;
    struct crew *crew;
    size_t number;
    pthread_t where;
    struct job *then; /* started by `done` */
};

/* What jobs and the test share. */
struct crew {
    struct skep_uv_loop *loop;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t running, most; /* at once */
    size_t wanted;        /* a job returns when so many run */
    size_t order[JOBS], begun;
    size_t done; /* the loop's */
};

static void crew_init(struct crew *crew, unsigned workers)
{
    memset(crew, 0, sizeof *crew);
    pthread_mutex_init(&crew->mutex, NULL);
    pthread_cond_init(&crew->changed, NULL);
    assert_int_equal(skep_uv_loop_new(&crew->loop, &skep_mem_std), 0);
    if (workers > 0)
        assert_int_equal(skep_uv_loop_set_workers(crew->loop, workers), 0);
}

static void crew_fini(struct crew *crew)
{
    skep_uv_loop_free(crew->loop);
    pthread_cond_destroy(&crew->changed);
    pthread_mutex_destroy(&crew->mutex);
}

static void on_job(struct skep_work *work)
{
    struct job *job = SKEP_CONTAINER_OF(work, struct job, work);
    struct crew *crew = job->crew;

    job->where = pthread_self();
    pthread_mutex_lock(&crew->mutex);
    crew->order[crew->begun++] = job->number;
    crew->running++;
    crew->most = SKEP_MAX(crew->most, crew->running);
    pthread_cond_broadcast(&crew->changed);
    while (crew->most < crew->wanted)
        pthread_cond_wait(&crew->changed, &crew->mutex);
    crew->running--;
    pthread_mutex_unlock(&crew->mutex);
}

static void start(struct job *job);

static void on_done(struct skep_work *work)
{
    struct job *job = SKEP_CONTAINER_OF(work, struct job, work);

    job->crew->done++;
    if (job->then)
        start(job->then);
}

static void start(struct job *job)
{
    struct skep_env *env = skep_uv_loop_env(job->crew->loop);

    assert_int_equal(env->work(env, &job->work), 0);
}

static void start_all(struct crew *crew, struct job *jobs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        jobs[i] = (struct job){.work = {on_job, on_done}, .crew = crew, .number = i};
        start(&jobs[i]);
    }
}

static void run_until_done(struct crew *crew, size_t count)
{
    while (crew->done < count)
        skep_uv_loop_turn(crew->loop, SKEP_NEVER_US);
}

static void as_many_jobs_run_at_once_as_there_are_workers(void **state)
{
    struct crew crew;
    struct job jobs[JOBS];

    (void)state;
    for (unsigned workers = 1; workers <= 4; workers++) {
        crew_init(&crew, workers);
        crew.wanted = workers; /* they wait for each other: with fewer threads this would not end */
        start_all(&crew, jobs, JOBS);
        run_until_done(&crew, JOBS);
        assert_int_equal(crew.most, workers);
        crew_fini(&crew);
    }
}

static void two_workers_are_what_there_is_without_a_word(void **state)
{
    struct crew crew;
    struct job jobs[JOBS];

    (void)state;
    crew_init(&crew, 0);
    crew.wanted = 2;
    start_all(&crew, jobs, JOBS);
    run_until_done(&crew, JOBS);
    assert_int_equal(crew.most, 2);
    crew_fini(&crew);
}

static void one_worker_takes_jobs_in_the_order_of_their_start(void **state)
{
    struct crew crew;
    struct job jobs[JOBS];

    (void)state;
    crew_init(&crew, 1);
    start_all(&crew, jobs, JOBS);
    run_until_done(&crew, JOBS);
    for (size_t i = 0; i < JOBS; i++) {
        assert_int_equal(crew.order[i], i);
        assert_true(pthread_equal(jobs[i].where, jobs[0].where));
        assert_false(pthread_equal(jobs[i].where, pthread_self()));
    }
    crew_fini(&crew);
}

static void a_loop_that_is_freed_waits_for_jobs_and_for_those_they_start(void **state)
{
    struct crew crew;
    struct job jobs[4], then[4];

    (void)state;
    crew_init(&crew, 2);
    start_all(&crew, jobs, 4);
    for (size_t i = 0; i < 4; i++) {
        then[i] = (struct job){.work = {on_job, on_done}, .crew = &crew, .number = 4 + i};
        jobs[i].then = &then[i];
    }
    crew_fini(&crew);
    assert_int_equal(crew.begun, 8);
    assert_int_equal(crew.done, 8);
}

static void the_number_of_workers_is_bounded_and_set_before_the_first_job(void **state)
{
    struct crew crew;
    struct job job;

    (void)state;
    crew_init(&crew, SKEP_WORKERS_MAX);
    assert_int_equal(skep_uv_loop_set_workers(crew.loop, 0), SKEP_EINVAL);
    assert_int_equal(skep_uv_loop_set_workers(crew.loop, SKEP_WORKERS_MAX + 1), SKEP_EINVAL);
    start_all(&crew, &job, 1);
    assert_int_equal(skep_uv_loop_set_workers(crew.loop, 1), SKEP_EINVAL);
    run_until_done(&crew, 1);
    crew_fini(&crew);
}

static int start_one(const struct skep_mem *mem, void *user)
{
    struct crew *crew = user;
    struct job job = {.work = {on_job, on_done}, .crew = crew};
    struct skep_env *env;
    int rc;

    crew->begun = 0;
    if ((rc = skep_uv_loop_new(&crew->loop, mem)) < 0)
        return rc;
    env = skep_uv_loop_env(crew->loop);
    rc = env->work(env, &job.work);
    skep_uv_loop_free(crew->loop);
    assert_int_equal(crew->begun, rc == 0);
    return rc;
}

static void a_job_without_memory_is_not_started(void **state)
{
    struct crew crew;

    (void)state;
    crew_init(&crew, 0);
    skep_uv_loop_free(crew.loop);
    test_each_allocation_fails(start_one, &crew);
    pthread_cond_destroy(&crew.changed);
    pthread_mutex_destroy(&crew.mutex);
}

/* A round trip through a worker; how long it takes is printed, and nothing hangs on it. */
static void an_empty_job_comes_back(void **state)
{
    struct crew crew;
    struct job job;
    uint64_t start_us, us;

    (void)state;
    crew_init(&crew, 1);
    start_us = skep_env_now_us(skep_uv_loop_env(crew.loop));
    for (size_t i = 0; i < 1000; i++) {
        crew.begun = 0;
        start_all(&crew, &job, 1);
        run_until_done(&crew, i + 1);
    }
    us = skep_env_now_us(skep_uv_loop_env(crew.loop)) - start_us;
    print_message("an empty job: %.1f us\n", (double)us / 1000);
    crew_fini(&crew);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_jobs_run_at_once_as_there_are_workers),
        cmocka_unit_test(two_workers_are_what_there_is_without_a_word),
        cmocka_unit_test(one_worker_takes_jobs_in_the_order_of_their_start),
        cmocka_unit_test(a_loop_that_is_freed_waits_for_jobs_and_for_those_they_start),
        cmocka_unit_test(the_number_of_workers_is_bounded_and_set_before_the_first_job),
        cmocka_unit_test(a_job_without_memory_is_not_started),
        cmocka_unit_test(an_empty_job_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
