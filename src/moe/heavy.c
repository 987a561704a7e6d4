/* SPDX-License-Identifier: MIT */
/* See heavy.h. What the worker holds is a block of its own, so that its user may go as soon as it was stopped. */
#include "moe/heavy.h"

#include "base/mem.h"

enum { QUEUED, RUNNING, RAN, DROPPED };

struct heavy_job {
    struct skep_work work;
    const struct skep_mem *mem;
    struct skep_heavy
        *heavy; /* the loop's; NULL: it was stopped. The worker reads it only while RUNNING */
    atomic_int state;
    atomic_bool stop;
};

static void on_worker(struct skep_work *work)
{
    struct heavy_job *job = SKEP_CONTAINER_OF(work, struct heavy_job, work);
    int queued = QUEUED;

    if (!atomic_compare_exchange_strong(&job->state, &queued, RUNNING))
        return;
    job->heavy->run(job->heavy, &job->stop);
    atomic_store(&job->state, RAN);
}

static void on_loop(struct skep_work *work)
{
    struct heavy_job *job = SKEP_CONTAINER_OF(work, struct heavy_job, work);
    struct skep_heavy *heavy = job->heavy;

    skep_mem_free(job->mem, job);
    if (heavy) {
        heavy->job = NULL;
        heavy->done(heavy);
    }
}

static void run_here(struct skep_heavy *heavy)
{
    atomic_bool stop;

    atomic_init(&stop, false);
    heavy->run(heavy, &stop);
    heavy->done(heavy);
}

void skep_heavy_start(struct skep_heavy *heavy, struct skep_env *env, double operations)
{
    struct heavy_job *job;

    if (operations <= SKEP_HEAVY_OPERATIONS || !(job = skep_mem_zalloc(env->mem, 1, sizeof *job))) {
        run_here(heavy);
        return;
    }
    job->work.job = on_worker;
    job->work.done = on_loop;
    job->mem = env->mem;
    job->heavy = heavy;
    atomic_init(&job->state, QUEUED);
    atomic_init(&job->stop, false);
    heavy->job = job;
    if (env->work(env, &job->work) < 0) {
        heavy->job = NULL;
        skep_mem_free(job->mem, job);
        run_here(heavy);
    }
}

void skep_heavy_stop(struct skep_heavy *heavy)
{
    struct heavy_job *job = heavy->job;
    int queued = QUEUED;

    if (!job)
        return;
    heavy->job = NULL;
    if (!atomic_compare_exchange_strong(&job->state, &queued, DROPPED)) {
        atomic_store(&job->stop, true);
        while (atomic_load(&job->state) == RUNNING)
            ; /* the time of some rows */
    }
    job->heavy = NULL; /* on_loop() frees it */
}
