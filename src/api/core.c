/* SPDX-License-Identifier: MIT */
/* The way into a loop from other threads: a queue of jobs, and calls that wait. Whoever owns the loop needs none of it. */
#include "api/api.h"

#include <time.h>

static _Thread_local char thread_marker; /* its address names the thread */

struct api_core *skep_api_core_new(struct skep_uv_loop *loop)
{
    struct api_core *core = skep_mem_zalloc(API_MEM, 1, sizeof *core);

    if (!core)
        return NULL;
    atomic_init(&core->refs, 1);
    pthread_mutex_init(&core->mutex, NULL);
    core->jobs_tail = &core->jobs;
    core->loop = loop;
    atomic_init(&core->owner, (const void *)&thread_marker);
    return core;
}

struct api_core *skep_api_core_ref(struct api_core *core)
{
    atomic_fetch_add_explicit(&core->refs, 1, memory_order_relaxed);
    return core;
}

void skep_api_core_unref(struct api_core *core)
{
    if (atomic_fetch_sub_explicit(&core->refs, 1, memory_order_acq_rel) > 1)
        return;
    pthread_mutex_destroy(&core->mutex);
    skep_mem_free(API_MEM, core);
}

bool skep_api_on_loop(const struct api_core *core)
{
    return atomic_load_explicit(&core->owner, memory_order_relaxed) == (const void *)&thread_marker;
}

void skep_api_own_loop(struct api_core *core)
{
    atomic_store_explicit(&core->owner, (const void *)&thread_marker, memory_order_relaxed);
}

int skep_api_post(struct api_core *core, struct api_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&core->mutex);
    if (core->closed) {
        pthread_mutex_unlock(&core->mutex);
        return SKEP_ECLOSED;
    }
    *core->jobs_tail = job;
    core->jobs_tail = &job->next;
    /* One wake-up for all that gathers until the loop looks. */
    if (!atomic_exchange(&core->has_jobs, true))
        skep_uv_loop_wake(core->loop);
    pthread_mutex_unlock(&core->mutex);
    return 0;
}

static struct api_job *take_jobs(struct api_core *core, bool close)
{
    struct api_job *jobs;

    pthread_mutex_lock(&core->mutex);
    jobs = core->jobs;
    core->jobs = NULL;
    core->jobs_tail = &core->jobs;
    atomic_store(&core->has_jobs, false);
    core->closed = core->closed || close;
    pthread_mutex_unlock(&core->mutex);
    return jobs;
}

static void run_jobs(struct api_job *jobs, skep_node *node)
{
    while (jobs) {
        struct api_job *job = jobs;

        jobs = job->next;
        job->run(job, node);
    }
}

void skep_api_run_jobs(skep_node *node)
{
    if (node->closing)
        run_jobs(take_jobs(node->core, true), NULL);
    else if (atomic_load(&node->core->has_jobs))
        run_jobs(take_jobs(node->core, false), node);
}

/* ---- a call that waits ---- */

struct sync_call {
    struct api_job job;
    struct api_core *core;
    int (*fn)(skep_node *node, void *arg);
    void *arg;
    pthread_cond_t cond;
    int rc;
    bool done;
};

static void on_sync_call(struct api_job *job, skep_node *node)
{
    struct sync_call *call = SKEP_CONTAINER_OF(job, struct sync_call, job);
    struct api_core *core = call->core;
    int rc = node ? call->fn(node, call->arg) : SKEP_ECLOSED;

    pthread_mutex_lock(&core->mutex);
    call->rc = rc;
    call->done = true;
    pthread_cond_signal(&call->cond);
    pthread_mutex_unlock(&core->mutex);
}

int skep_api_call(struct api_core *core, int (*fn)(skep_node *node, void *arg), void *arg)
{
    struct sync_call call = {.job.run = on_sync_call, .core = core, .fn = fn, .arg = arg};

    if (skep_api_on_loop(core))
        return core->node ? fn(core->node, arg) : SKEP_ECLOSED;
    skep_api_cond_init(&call.cond);
    call.rc = skep_api_post(core, &call.job);
    if (call.rc == 0) {
        pthread_mutex_lock(&core->mutex);
        while (!call.done)
            pthread_cond_wait(&call.cond, &core->mutex);
        pthread_mutex_unlock(&core->mutex);
    }
    pthread_cond_destroy(&call.cond);
    return call.rc;
}

void skep_api_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

void skep_api_deadline(struct timespec *out, uint64_t timeout_us)
{
    uint64_t ns;

    clock_gettime(CLOCK_MONOTONIC, out);
    timeout_us = SKEP_MIN(timeout_us, (uint64_t)1 << 50); /* 35 years */
    ns = (uint64_t)out->tv_nsec + timeout_us % 1000000 * 1000;
    out->tv_sec += (time_t)(timeout_us / 1000000 + ns / 1000000000);
    out->tv_nsec = (long)(ns % 1000000000);
}

/* ---- turns ---- */

/* Of some milliseconds, and nearly free: often enough for sockets not to starve beside answers from home. */
static int64_t coarse_ticks(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool has_due_timer(const skep_node *node)
{
    uint64_t next_us = skep_timers_next_us(node->env->timers);

    return next_us != SKEP_NEVER_US && next_us <= skep_env_now_us(node->env);
}

int skep_api_turn(skep_node *node, uint64_t max_wait_us)
{
    int rc;

    skep_api_own_loop(node->core);
    node->running = true;
    /* What runs here may be what the caller waits for: no waiting for sockets after it. */
    if (!skep_list_empty(&node->deferred) || atomic_load(&node->core->has_jobs) ||
        atomic_load(&node->stop))
        max_wait_us = 0;
    skep_api_run_jobs(node);
    skep_api_run_deferred(node);
    if (!skep_list_empty(&node->deferred) || atomic_load(&node->stop) || has_due_timer(node))
        max_wait_us = 0;
    rc = skep_uv_loop_turn(node->loop, max_wait_us);
    skep_api_run_jobs(node);
    skep_api_run_deferred(node);
    node->running = false;
    node->turned_at = coarse_ticks();
    return rc;
}

int skep_node_run(skep_node *node, uint64_t max_wait_us)
{
    if (skep_api_need(node, "node") < 0)
        return SKEP_EINVAL;
    if (api_in_callback(node))
        return skep_api_fail(SKEP_EDEADLOCK,
                             "the loop is running already: this is one of its callbacks");
    if (!node->caller_driven)
        return skep_api_fail(SKEP_EINVAL, "the node runs on a thread of its own");
    return skep_api_turn(node, max_wait_us);
}

static int run_until(skep_node *node, skep_op *op, uint64_t timeout_us)
{
    uint64_t start_us = skep_env_now_us(node->env);
    int rc = 0;

    while (atomic_load_explicit(&op->state, memory_order_relaxed) == 1 && rc == 0) {
        uint64_t waited_us = timeout_us == SKEP_FOREVER ? 0 : skep_env_now_us(node->env) - start_us;

        if (waited_us > timeout_us)
            return 1;
        rc = skep_api_turn(node,
                           timeout_us == SKEP_FOREVER ? SKEP_NEVER_US : timeout_us - waited_us);
    }
    return rc < 0 ? rc : atomic_load(&op->state);
}

int skep_node_run_until(skep_node *node, skep_op *op)
{
    if (skep_api_need(node, "node") < 0 || skep_api_need(op, "operation") < 0)
        return SKEP_EINVAL;
    if (api_in_callback(node))
        return skep_api_fail(SKEP_EDEADLOCK,
                             "the loop is running already: this is one of its callbacks");
    if (!node->caller_driven)
        return skep_api_fail(SKEP_EINVAL, "the node runs on a thread of its own");
    if (op->core != node->core)
        return skep_api_fail(SKEP_EINVAL, "the operation is of another node");
    if (atomic_load_explicit(&op->state, memory_order_acquire) != 1) {
        if (node->turned_at != coarse_ticks())
            (void)skep_api_turn(node, 0);
        return atomic_load(&op->state);
    }
    return run_until(node, op, SKEP_FOREVER);
}

/* ---- waiting in another thread ---- */

struct api_waiter {
    pthread_cond_t cond;
    struct api_waiter *next;
};

static int wait_off_loop(skep_op *op, uint64_t timeout_us)
{
    struct api_core *core = op->core;
    struct api_waiter waiter;
    struct timespec deadline;
    int late = 0;

    skep_api_cond_init(&waiter.cond);
    skep_api_deadline(&deadline, timeout_us);
    pthread_mutex_lock(&core->mutex);
    /* Counted before the state is read: who sets the state after that sees us, see skep_api_op_publish(). */
    atomic_fetch_add(&core->waiters, 1);
    waiter.next = op->waiters;
    op->waiters = &waiter;
    while (atomic_load(&op->state) == 1 && late == 0) {
        if (timeout_us == SKEP_FOREVER)
            pthread_cond_wait(&waiter.cond, &core->mutex);
        else
            late = pthread_cond_timedwait(&waiter.cond, &core->mutex, &deadline);
    }
    for (struct api_waiter **at = &op->waiters; *at; at = &(*at)->next) {
        if (*at == &waiter) {
            *at = waiter.next;
            break;
        }
    }
    atomic_fetch_sub(&core->waiters, 1);
    pthread_mutex_unlock(&core->mutex);
    pthread_cond_destroy(&waiter.cond);
    return atomic_load(&op->state);
}

void skep_api_op_publish(skep_op *op)
{
    struct api_core *core = op->core;

    atomic_store(&op->state, op->rc);
    if (atomic_load(&core->waiters) == 0)
        return;
    pthread_mutex_lock(&core->mutex);
    for (struct api_waiter *waiter = op->waiters; waiter; waiter = waiter->next)
        pthread_cond_signal(&waiter->cond);
    pthread_mutex_unlock(&core->mutex);
}

int skep_op_wait_for(skep_op *op, uint64_t timeout_us)
{
    struct api_core *core;

    if (skep_api_need(op, "operation") < 0)
        return SKEP_EINVAL;
    core = op->core;
    if (skep_api_on_loop(core) && core->node && core->node->running)
        return skep_api_fail(SKEP_EDEADLOCK, "a wait on the loop's own thread would never end");
    if (atomic_load_explicit(&op->state, memory_order_acquire) != 1)
        return atomic_load(&op->state);
    if (skep_api_on_loop(core) && core->node)
        return run_until(core->node, op, timeout_us);
    return wait_off_loop(op, timeout_us);
}

int skep_op_wait(skep_op *op)
{
    return skep_op_wait_for(op, SKEP_FOREVER);
}
