/* SPDX-License-Identifier: MIT */
/* The runtime in virtual time: who is computed when, on which place, and what each task gets. Jobs end when the test says so. */
#include "server/runtime.h"
#include "server/small_class.h"
#include "support/test.h"

enum { JOBS_MAX = 32, TASKS_MAX = 64, HIDDEN = 2 };

struct world {
    struct test_env env;
    struct small_experts experts;
    struct skep_runtime *runtime;
    struct skep_work *jobs[JOBS_MAX]; /* started, oldest first; they run when they are finished */
    size_t job_count;
    bool at_once; /* run a job where it is started, as test_env does */
    int refuse;   /* what env->work says instead of taking a job */
    int (*own_work)(struct skep_env *env, struct skep_work *work);
    char ended[256]; /* names of tasks in the order in which they ended */
    int idle;
};

struct job {
    struct skep_task task;
    struct world *world;
    char name;
    float x[16 * HIDDEN], grad[16 * HIDDEN];
    skep_tensor inputs[2];
    int rc, ended;
    uint64_t at_us;
    char text[128];
    float y[16 * HIDDEN];
    struct job *then; /* submitted from inside `done` */
};

static int hold(struct skep_env *env, struct skep_work *work)
{
    struct world *world =
        SKEP_CONTAINER_OF(SKEP_CONTAINER_OF(env, struct test_env, env), struct world, env);

    if (world->refuse < 0)
        return world->refuse;
    if (world->at_once)
        return world->own_work(env, work);
    assert_true(world->job_count < JOBS_MAX);
    world->jobs[world->job_count++] = work;
    return 0;
}

static void world_init(struct world *world, unsigned workers, size_t experts, const char *options,
                       const struct skep_task_pool_options *pool)
{
    static const struct skep_task_pool_options usual = {1, 16, 0};

    memset(world, 0, sizeof *world);
    small_diary_forget();
    test_env_init(&world->env, 1);
    world->env.now_us = 1000;
    world->own_work = world->env.env.work;
    world->env.env.work = hold;
    small_experts_init(&world->experts, experts, world->env.env.mem, HIDDEN, options);
    assert_int_equal(skep_runtime_new(&world->runtime, &world->env.env, workers), 0);
    for (size_t i = 0; i < experts; i++)
        skep_runtime_add(world->runtime, &world->experts.experts[i], pool ? pool : &usual);
}

static void world_fini(struct world *world)
{
    assert_true(skep_runtime_idle(world->runtime, NULL, NULL));
    skep_runtime_free(world->runtime);
    small_experts_fini(&world->experts);
    test_env_fini(&world->env);
}

static void turn(struct world *world)
{
    test_env_advance(&world->env, 0);
}

/* A worker computes the n-th of the jobs under way and the loop hears of it. */
static void finish(struct world *world, size_t n)
{
    struct skep_work *work = world->jobs[n];

    assert_true(n < world->job_count);
    memmove(world->jobs + n, world->jobs + n + 1, (--world->job_count - n) * sizeof *world->jobs);
    work->job(work);
    work->done(work);
    turn(world);
}

static void finish_all(struct world *world)
{
    turn(world);
    while (world->job_count > 0)
        finish(world, 0);
}

static int submit(struct world *world, struct job *job, size_t expert, bool backward);

static void on_done(struct skep_task *task, int rc, const char *text)
{
    struct job *job = SKEP_CONTAINER_OF(task, struct job, task);
    struct world *world = job->world;
    size_t len = strlen(world->ended);

    job->ended++;
    job->rc = rc;
    job->at_us = world->env.now_us;
    world->ended[len] = job->name;
    snprintf(job->text, sizeof job->text, "%s", text);
    if (rc == 0)
        memcpy(job->y, task->outputs[0].data, task->rows * HIDDEN * sizeof(float));
    for (size_t i = 0; rc == 0 && i < task->output_count; i++)
        skep_mem_free(world->env.env.mem, (void *)(uintptr_t)task->outputs[i].data);
    if (job->then)
        assert_int_equal(submit(world, job->then, 0, false), 0);
}

static void job_init(struct world *world, struct job *job, char name, size_t rows, float value)
{
    memset(job, 0, sizeof *job);
    job->world = world;
    job->name = name;
    for (size_t i = 0; i < rows * HIDDEN; i++) {
        job->x[i] = value + (float)i;
        job->grad[i] = 1;
    }
    for (size_t i = 0; i < 2; i++)
        job->inputs[i] = (skep_tensor){.dtype = SKEP_FLOAT32,
                                       .axes = 2,
                                       .shape = {rows, HIDDEN},
                                       .data = i == 0 ? job->x : job->grad};
    job->task.done = on_done;
    job->task.inputs = job->inputs;
    job->task.rows = rows;
}

static int submit(struct world *world, struct job *job, size_t expert, bool backward)
{
    int ended = job->ended, rc;

    job->task.input_count = backward ? 2 : 1;
    rc = skep_runtime_submit(world->runtime, &world->experts.experts[expert], backward, &job->task);
    assert_int_equal(job->ended, ended); /* never from inside */
    return rc;
}

/* Submit a new forward of `rows` rows, all the later ones with larger numbers. */
static void add(struct world *world, struct job *jobs, char name, size_t expert, size_t rows)
{
    job_init(world, &jobs[name - 'a'], name, rows, (float)(100 * (name - 'a')));
    assert_int_equal(submit(world, &jobs[name - 'a'], expert, false), 0);
}

static void check_forward(const struct job *job)
{
    assert_int_equal(job->ended, 1);
    assert_int_equal(job->rc, 0);
    assert_string_equal(job->text, "");
    for (size_t i = 0; i < job->task.rows * HIDDEN; i++)
        assert_float_equal(job->y[i], 2 * job->x[i], 0);
}

/* ---- order ---- */

static void requests_of_one_turn_make_one_batch_and_each_gets_its_part(void **state)
{
    struct world world;
    struct job jobs[26];

    (void)state;
    world_init(&world, 1, 1, "", NULL);
    add(&world, jobs, 'a', 0, 3);
    add(&world, jobs, 'b', 0, 1);
    add(&world, jobs, 'c', 0, 5);
    assert_int_equal(world.job_count, 0); /* the turn has not ended */
    turn(&world);
    assert_int_equal(world.job_count, 1);
    assert_int_equal(skep_runtime_stats(world.runtime)->running, 1);
    finish_all(&world);
    assert_string_equal(world.ended, "abc");
    assert_int_equal(small_diary.count, 1);
    assert_int_equal(small_diary.passes[0].rows, 9);
    for (int i = 0; i < 3; i++)
        check_forward(&jobs[i]);
    assert_int_equal(skep_runtime_stats(world.runtime)->forward_batches, 1);
    assert_int_equal(skep_runtime_stats(world.runtime)->forward_rows, 9);
    world_fini(&world);
}

static void the_oldest_task_decides_across_pools(void **state)
{
    struct world world;
    struct job jobs[26];

    (void)state;
    world_init(&world, 1, 3, "", NULL);
    add(&world, jobs, 'a', 0, 1);
    turn(&world); /* the only worker has it */
    add(&world, jobs, 'b', 2, 1);
    add(&world, jobs, 'c', 1, 1);
    add(&world, jobs, 'd', 0, 1);
    job_init(&world, &jobs[4], 'e', 1, 0);
    submit(&world, &jobs[4], 2, true);
    add(&world, jobs, 'f', 2, 1);
    add(&world, jobs, 'g', 1, 1);
    finish_all(&world);
    assert_string_equal(world.ended, "abfcgde");
    world_fini(&world);
}

static void a_batch_ends_before_the_task_that_would_take_it_past_its_size(void **state)
{
    struct world world;
    struct job jobs[26];

    (void)state;
    world_init(&world, 1, 1, "", NULL);
    add(&world, jobs, 'a', 0, 10);
    add(&world, jobs, 'b', 0, 6);
    add(&world, jobs, 'c', 0, 1);
    add(&world, jobs, 'd', 0, 16);
    finish_all(&world);
    assert_int_equal(small_diary.count, 3);
    assert_int_equal(small_diary.passes[0].rows, 16);
    assert_int_equal(small_diary.passes[1].rows, 1);
    assert_int_equal(small_diary.passes[2].rows, 16);
    job_init(&world, &jobs[0], 'a', 16, 0);
    jobs[0].task.rows = 17;
    assert_int_equal(submit(&world, &jobs[0], 0, false), SKEP_ESIZE);
    world_fini(&world);
}

static void of_large_tasks_no_more_are_put_together_than_32_mib(void **state)
{
    struct world world;
    struct job jobs[26];
    size_t most = SKEP_BATCH_SCRATCH_MAX / (2 * HIDDEN * sizeof(float));

    (void)state;
    world_init(&world, 1, 1, "", NULL);
    assert_int_equal(world.experts.experts[0].forward.together_max, most);
    world.experts.experts[0].forward.together_max = 5;
    add(&world, jobs, 'a', 0, 3);
    add(&world, jobs, 'b', 0, 2);
    add(&world, jobs, 'c', 0, 1);
    add(&world, jobs, 'd', 0, 16); /* one alone may be larger */
    add(&world, jobs, 'e', 0, 1);
    finish_all(&world);
    assert_int_equal(small_diary.count, 4);
    assert_int_equal(small_diary.passes[0].rows, 5);
    assert_int_equal(small_diary.passes[1].rows, 1);
    assert_int_equal(small_diary.passes[2].rows, 16);
    world_fini(&world);
}

static void a_task_alone_is_computed_where_it_lies(void **state)
{
    struct world world;
    struct job jobs[26];
    size_t before;

    (void)state;
    world_init(&world, 1, 1, "", NULL);
    add(&world, jobs, 'a', 0, 4);
    before = world.env.mem.allocations;
    turn(&world);
    assert_int_equal(world.env.mem.allocations - before, 1); /* its output */
    finish_all(&world);
    check_forward(&jobs[0]);
    world_fini(&world);
}

static void one_expert_is_never_in_two_places(void **state)
{
    struct world world;
    struct job jobs[26];

    (void)state;
    world_init(&world, 3, 2, "", NULL);
    add(&world, jobs, 'a', 0, 1);
    turn(&world);
    add(&world, jobs, 'b', 0, 1);
    turn(&world);
    job_init(&world, &jobs[2], 'c', 1, 0);
    submit(&world, &jobs[2], 0, true);
    turn(&world);
    assert_int_equal(world.job_count, 1); /* two workers have nothing to do */
    add(&world, jobs, 'd', 1, 1);
    turn(&world);
    assert_int_equal(world.job_count, 2);
    finish(&world, 1);
    assert_string_equal(world.ended, "d");
    finish_all(&world);
    assert_string_equal(world.ended, "dabc");
    world_fini(&world);
}

static void no_more_batches_are_computed_at_once_than_there_are_workers(void **state)
{
    struct world world;
    struct job jobs[26];

    (void)state;
    world_init(&world, 2, 4, "", NULL);
    for (char c = 'a'; c < 'e'; c++)
        add(&world, jobs, c, (size_t)(c - 'a'), 1);
    turn(&world);
    assert_int_equal(world.job_count, 2);
    finish(&world, 1);
    assert_int_equal(world.job_count, 2);
    finish(&world, 1);
    assert_int_equal(world.job_count, 2);
    assert_string_equal(world.ended, "bc");
    finish_all(&world);
    assert_string_equal(world.ended, "bcad");
    world_fini(&world);
}

static void too_few_rows_wait_for_more_or_for_their_time(void **state)
{
    static const struct skep_task_pool_options pool = {4, 16, 2000};
    struct world world;
    struct job jobs[26];

    (void)state;
    world_init(&world, 1, 2, "", &pool);
    world.at_once = true;
    add(&world, jobs, 'a', 0, 3);
    test_env_advance(&world.env, 1999);
    add(&world, jobs, 'b', 1, 4); /* of another expert: goes at once */
    test_env_advance(&world.env, 0);
    assert_string_equal(world.ended, "b");
    test_env_advance(&world.env, 1);
    assert_string_equal(world.ended, "ba");
    assert_int_equal(jobs[0].at_us, 3000);
    add(&world, jobs, 'c', 0, 3);
    test_env_advance(&world.env, 500);
    add(&world, jobs, 'd', 0, 1);
    turn(&world);
    assert_string_equal(world.ended, "bacd");
    world_fini(&world);
}

/* ---- cheap classes and delayed answers ---- */

static void a_cheap_class_is_computed_in_the_same_turn_on_the_loop(void **state)
{
    struct world world;
    struct job jobs[26];

    (void)state;
    world_init(&world, 1, 1, "cheap", NULL);
    world.refuse = SKEP_ELIMIT;
    add(&world, jobs, 'a', 0, 2);
    add(&world, jobs, 'b', 0, 2);
    turn(&world);
    assert_string_equal(world.ended, "ab");
    assert_int_equal(jobs[0].at_us, 1000);
    check_forward(&jobs[0]);
    check_forward(&jobs[1]);
    assert_int_equal(small_diary.count, 1);
    world_fini(&world);
}

static void what_an_answer_submits_waits_for_the_next_turn(void **state)
{
    struct world world;
    struct job jobs[26], then;

    (void)state;
    world_init(&world, 1, 1, "cheap", NULL);
    job_init(&world, &then, 'z', 1, 0);
    job_init(&world, &jobs[0], 'a', 1, 0);
    jobs[0].then = &then;
    submit(&world, &jobs[0], 0, false);
    assert_int_equal(skep_timers_run(world.env.env.timers, world.env.now_us), 1);
    assert_string_equal(world.ended, "a");
    assert_int_equal(skep_timers_run(world.env.env.timers, world.env.now_us), 1);
    assert_string_equal(world.ended, "az");
    world_fini(&world);
}

static void a_delayed_answer_blocks_nothing(void **state)
{
    struct world world;
    struct job jobs[26];

    (void)state;
    world_init(&world, 1, 1, "cheap delay", NULL);
    add(&world, jobs, 'a', 0, 1);
    test_env_advance(&world.env, 100);
    add(&world, jobs, 'b', 0, 1);
    test_env_advance(&world.env, 100);
    assert_int_equal(small_diary.count, 2);
    assert_false(skep_runtime_cancel(world.runtime, &jobs[0].task));
    assert_false(skep_runtime_idle(world.runtime, NULL, NULL));
    test_env_advance(&world.env, 600000);
    assert_int_equal(jobs[0].at_us, 501000);
    assert_int_equal(jobs[1].at_us, 501100);
    check_forward(&jobs[0]);
    world_fini(&world);
}

/* ---- failures ---- */

static void a_task_that_fails_costs_its_neighbours_nothing(void **state)
{
    struct world world;
    struct job jobs[26];

    (void)state;
    world_init(&world, 1, 1, "", NULL);
    add(&world, jobs, 'a', 0, 2);
    job_init(&world, &jobs[1], 'b', 1, SMALL_REFUSED);
    submit(&world, &jobs[1], 0, false);
    add(&world, jobs, 'c', 0, 1);
    job_init(&world, &jobs[3], 'd', 1, SMALL_NO_MEMORY);
    submit(&world, &jobs[3], 0, false);
    finish_all(&world);
    assert_string_equal(world.ended, "abcd");
    check_forward(&jobs[0]);
    check_forward(&jobs[2]);
    assert_int_equal(jobs[1].rc, SKEP_EVALUE);
    assert_string_equal(
        jobs[1].text,
        "RuntimeError('the expert refused: its numbers would not have stayed finite')");
    assert_int_equal(jobs[3].rc, SKEP_ENOMEM);
    assert_string_equal(jobs[3].text, "MemoryError('out of memory')");
    assert_int_equal(small_diary.count, 5); /* together, then each alone */
    assert_int_equal(skep_runtime_stats(world.runtime)->failed_batches, 1);
    world_fini(&world);
}

static void a_joint_step_that_fails_is_taken_one_by_one_by_those_that_can(void **state)
{
    struct world world;
    struct job jobs[3];
    struct skep_backend *backend = &world.experts.experts[0].backend;

    (void)state;
    world_init(&world, 1, 1, "", NULL);
    job_init(&world, &jobs[0], 'a', 1, 0);
    job_init(&world, &jobs[1], 'b', 1, SMALL_REFUSED);
    job_init(&world, &jobs[2], 'c', 2, 0);
    for (int i = 0; i < 3; i++)
        submit(&world, &jobs[i], 0, true);
    finish_all(&world);
    assert_string_equal(world.ended, "abc");
    assert_int_equal(jobs[0].rc, 0);
    assert_int_equal(jobs[1].rc, SKEP_EVALUE);
    assert_int_equal(jobs[2].rc, 0);
    assert_int_equal(backend->step, 2);
    assert_float_equal(backend->parameters[0][0], -6, 0); /* the sum of 3 rows of 2 ones */
    for (size_t i = 0; i < 2 * HIDDEN; i++)
        assert_float_equal(jobs[2].y[i], 2, 0);
    world_fini(&world);
}

static void a_batch_that_no_thread_takes_fails_with_a_reason(void **state)
{
    struct world world;
    struct job jobs[26];

    (void)state;
    world_init(&world, 1, 2, "", NULL);
    world.refuse = SKEP_ENOMEM;
    add(&world, jobs, 'a', 0, 1);
    add(&world, jobs, 'b', 0, 1);
    add(&world, jobs, 'c', 1, 1);
    turn(&world);
    assert_string_equal(world.ended, "abc");
    for (int i = 0; i < 3; i++)
        assert_string_equal(jobs[i].text, "MemoryError('out of memory')");
    world.refuse = 0;
    add(&world, jobs, 'd', 0, 1);
    finish_all(&world);
    check_forward(&jobs[3]);
    world_fini(&world);
}

static void a_task_without_memory_for_its_answer_fails_alone(void **state)
{
    struct world world;
    struct job jobs[26];

    (void)state;
    world_init(&world, 1, 1, "", NULL);
    for (char c = 'a'; c < 'd'; c++)
        add(&world, jobs, c, 0, 1);
    world.env.mem.fail_at = 2;
    finish_all(&world);
    assert_int_equal(jobs[1].rc, SKEP_ENOMEM);
    check_forward(&jobs[0]);
    check_forward(&jobs[2]);
    /* and without memory to put them together they are computed one by one */
    small_diary_forget();
    for (char c = 'a'; c < 'd'; c++)
        add(&world, jobs, c, 0, 1);
    world.env.mem.fail_at = 4;
    finish_all(&world);
    assert_int_equal(small_diary.count, 3);
    for (int i = 0; i < 3; i++)
        check_forward(&jobs[i]);
    world_fini(&world);
}

/* ---- leaving early ---- */

static void a_task_that_has_not_begun_can_be_taken_back(void **state)
{
    struct world world;
    struct job jobs[26];

    (void)state;
    world_init(&world, 1, 1, "", NULL);
    add(&world, jobs, 'a', 0, 1);
    turn(&world);
    add(&world, jobs, 'b', 0, 1);
    add(&world, jobs, 'c', 0, 1);
    assert_false(skep_runtime_cancel(world.runtime, &jobs[0].task));
    assert_true(skep_runtime_cancel(world.runtime, &jobs[1].task));
    finish_all(&world);
    assert_string_equal(world.ended, "ac");
    add(&world, jobs, 'd', 0, 1);
    assert_true(skep_runtime_cancel(world.runtime, &jobs[3].task));
    assert_true(skep_runtime_idle(world.runtime, NULL, NULL));
    turn(&world);
    assert_int_equal(world.job_count, 0);
    world_fini(&world);
}

static void all_that_waits_can_be_ended_at_once(void **state)
{
    struct world world;
    struct job jobs[26], then;

    (void)state;
    world_init(&world, 1, 2, "", NULL);
    add(&world, jobs, 'a', 0, 1);
    turn(&world);
    add(&world, jobs, 'b', 0, 1);
    add(&world, jobs, 'c', 1, 1);
    job_init(&world, &jobs[3], 'd', 1, 0);
    submit(&world, &jobs[3], 1, true);
    job_init(&world, &then, 'z', 1, 0);
    jobs[2].then = &then;
    skep_runtime_cancel_waiting(world.runtime);
    assert_string_equal(world.ended, "bcd");
    assert_int_equal(jobs[1].rc, SKEP_ECANCELED);
    assert_string_equal(jobs[1].text, "CancelledError()");
    finish_all(&world);
    assert_string_equal(world.ended, "bcdaz"); /* what came after it is none of those */
    check_forward(&jobs[0]);
    world_fini(&world);
}

static void on_idle(void *user)
{
    ((struct world *)user)->idle++;
}

static void who_asks_is_told_once_when_nothing_waits_or_runs(void **state)
{
    struct world world;
    struct job jobs[26];

    (void)state;
    world_init(&world, 1, 1, "", NULL);
    assert_true(skep_runtime_idle(world.runtime, on_idle, &world));
    turn(&world);
    assert_int_equal(world.idle, 0);
    add(&world, jobs, 'a', 0, 1);
    assert_false(skep_runtime_idle(world.runtime, on_idle, &world));
    turn(&world);
    assert_false(skep_runtime_idle(world.runtime, on_idle, &world));
    finish(&world, 0);
    assert_int_equal(world.idle, 1);
    add(&world, jobs, 'b', 0, 1);
    skep_runtime_idle(world.runtime, on_idle, &world);
    assert_true(skep_runtime_cancel(world.runtime, &jobs[1].task));
    assert_int_equal(world.idle, 1);
    turn(&world);
    assert_int_equal(world.idle, 2);
    world_fini(&world);
}

/* ---- an expert for oneself ---- */

struct snapshot {
    struct skep_exclusive job;
    struct world *world;
    int ran, done;
    float bias;
};

static void snapshot_run(struct skep_exclusive *job, struct skep_hosted *expert)
{
    struct snapshot *snapshot = SKEP_CONTAINER_OF(job, struct snapshot, job);

    snapshot->ran++;
    snapshot->bias = expert->backend.parameters[0][0];
}

static void snapshot_done(struct skep_exclusive *job, struct skep_hosted *expert)
{
    struct snapshot *snapshot = SKEP_CONTAINER_OF(job, struct snapshot, job);

    (void)expert;
    assert_int_equal(snapshot->ran, 1);
    snapshot->done++;
}

static void an_exclusive_job_has_its_expert_for_itself_and_goes_first(void **state)
{
    struct snapshot snapshot = {.job = {.run = snapshot_run, .done = snapshot_done}};
    struct world world;
    struct job jobs[26];

    (void)state;
    world_init(&world, 2, 1, "", NULL);
    job_init(&world, &jobs[0], 'a', 1, 0);
    submit(&world, &jobs[0], 0, true);
    turn(&world);
    add(&world, jobs, 'b', 0, 1);
    skep_runtime_exclusive(world.runtime, &world.experts.experts[0], &snapshot.job);
    turn(&world);
    assert_int_equal(world.job_count, 1);
    finish(&world, 0);
    assert_int_equal(world.job_count, 1);
    assert_string_equal(world.ended, "a");
    finish(&world, 0);
    assert_int_equal(snapshot.done, 1);
    assert_float_equal(snapshot.bias, -2, 0); /* of after the step that was under way */
    assert_string_equal(world.ended, "a");
    finish_all(&world);
    assert_string_equal(world.ended, "ab");
    world_fini(&world);
}

static void an_exclusive_job_that_no_thread_takes_runs_on_the_loop(void **state)
{
    struct snapshot snapshot = {.job = {.run = snapshot_run, .done = snapshot_done}};
    struct world world;

    (void)state;
    world_init(&world, 1, 1, "cheap", NULL);
    world.refuse = SKEP_ESYSTEM;
    skep_runtime_exclusive(world.runtime, &world.experts.experts[0], &snapshot.job);
    assert_false(skep_runtime_idle(world.runtime, on_idle, &world));
    assert_int_equal(snapshot.ran, 0);
    turn(&world);
    assert_int_equal(snapshot.done, 1);
    assert_int_equal(world.idle, 1);
    world_fini(&world);
}

static void batches_and_jobs_in_any_order_all_end(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(30); seed++) {
        struct world world;
        struct job jobs[TASKS_MAX];
        struct skep_prng prng;
        size_t ended = 0;

        skep_prng_init(&prng, seed);
        world_init(&world, 1 + (unsigned)skep_prng_below(&prng, 3), 4, "", NULL);
        for (size_t i = 0; i < TASKS_MAX; i++) {
            size_t expert = (size_t)skep_prng_below(&prng, 4);
            bool fails = skep_prng_below(&prng, 8) == 0;

            job_init(&world, &jobs[i], 'a', 1 + (size_t)skep_prng_below(&prng, 16),
                     fails ? SMALL_REFUSED : (float)i);
            submit(&world, &jobs[i], expert, skep_prng_below(&prng, 3) == 0);
            if (skep_prng_below(&prng, 3) > 0)
                turn(&world);
            if (world.job_count > 0 && skep_prng_below(&prng, 2) == 0)
                finish(&world, (size_t)skep_prng_below(&prng, world.job_count));
            if (skep_prng_below(&prng, 10) == 0 && jobs[i].task.pool &&
                skep_runtime_cancel(world.runtime, &jobs[i].task))
                ended++;
        }
        finish_all(&world);
        for (size_t i = 0; i < TASKS_MAX; i++) {
            ended += (size_t)jobs[i].ended;
            assert_true(jobs[i].ended <= 1);
            assert_true(jobs[i].rc == 0 || jobs[i].x[0] == SMALL_REFUSED);
        }
        assert_int_equal(ended, TASKS_MAX);
        assert_int_equal(skep_runtime_stats(world.runtime)->waiting, 0);
        world_fini(&world);
    }
}

static int one_batch(const struct skep_mem *mem, void *user)
{
    struct world *world = user;
    struct skep_runtime *runtime;
    int rc = skep_runtime_new(&runtime, &world->env.env, 2);

    (void)mem;
    if (rc == 0)
        skep_runtime_free(runtime);
    return rc;
}

static void a_runtime_without_memory_is_none(void **state)
{
    struct world world;

    (void)state;
    world_init(&world, 1, 1, "", NULL);
    world.env.mem.fail_at = 1;
    assert_int_equal(one_batch(NULL, &world), SKEP_ENOMEM);
    assert_int_equal(one_batch(NULL, &world), 0);
    world_fini(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_of_one_turn_make_one_batch_and_each_gets_its_part),
        cmocka_unit_test(the_oldest_task_decides_across_pools),
        cmocka_unit_test(a_batch_ends_before_the_task_that_would_take_it_past_its_size),
        cmocka_unit_test(of_large_tasks_no_more_are_put_together_than_32_mib),
        cmocka_unit_test(a_task_alone_is_computed_where_it_lies),
        cmocka_unit_test(one_expert_is_never_in_two_places),
        cmocka_unit_test(no_more_batches_are_computed_at_once_than_there_are_workers),
        cmocka_unit_test(too_few_rows_wait_for_more_or_for_their_time),
        cmocka_unit_test(a_cheap_class_is_computed_in_the_same_turn_on_the_loop),
        cmocka_unit_test(what_an_answer_submits_waits_for_the_next_turn),
        cmocka_unit_test(a_delayed_answer_blocks_nothing),
        cmocka_unit_test(a_task_that_fails_costs_its_neighbours_nothing),
        cmocka_unit_test(a_joint_step_that_fails_is_taken_one_by_one_by_those_that_can),
        cmocka_unit_test(a_batch_that_no_thread_takes_fails_with_a_reason),
        cmocka_unit_test(a_task_without_memory_for_its_answer_fails_alone),
        cmocka_unit_test(a_task_that_has_not_begun_can_be_taken_back),
        cmocka_unit_test(all_that_waits_can_be_ended_at_once),
        cmocka_unit_test(who_asks_is_told_once_when_nothing_waits_or_runs),
        cmocka_unit_test(an_exclusive_job_has_its_expert_for_itself_and_goes_first),
        cmocka_unit_test(an_exclusive_job_that_no_thread_takes_runs_on_the_loop),
        cmocka_unit_test(batches_and_jobs_in_any_order_all_end),
        cmocka_unit_test(a_runtime_without_memory_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
