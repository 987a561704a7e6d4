/* SPDX-License-Identifier: MIT */
/* Work off the loop: threads of this loop's own, started when there is a job and none of them is free, up to a number that is set before.
 *
 * libuv has a pool too, but one for the whole process, with four threads, which name resolution shares: a batch that computes for a second would keep a
 * dial waiting, and each of its threads would grow a team of its own for matrix products.
 *
 * Jobs are taken first in, first out. One that is over comes back through an async of libuv: every `done` runs on the loop. Memory is asked for and given
 * back on the loop only. */
#include "transport/uv_impl.h"

#include "base/limits.h"
#include "base/list.h"

struct job {
    struct skep_list entry; /* in `waiting`, then in `over` */
    struct skep_work *work;
};

struct skep_uv_work {
    struct skep_uv_loop *loop;
    uv_async_t async;
    size_t under_way; /* jobs whose `done` has not run; the loop's */
    unsigned started; /* threads; the loop's */

    uv_mutex_t mutex; /* of all below */
    uv_cond_t come;   /* a job waits, or they shall stop */
    uv_cond_t gone;   /* a job is over: for whoever frees the loop */
    struct skep_list waiting, over;
    bool stopping;

    uv_thread_t threads[];
};

/* ---- a worker ---- */

/* @return NULL: there will be none. */
static struct job *next_job(struct skep_uv_work *pool)
{
    struct job *job = NULL;

    uv_mutex_lock(&pool->mutex);
    while (skep_list_empty(&pool->waiting) && !pool->stopping)
        uv_cond_wait(&pool->come, &pool->mutex);
    if (!skep_list_empty(&pool->waiting)) {
        job = SKEP_LIST_ITEM(pool->waiting.next, struct job, entry);
        skep_list_remove(&job->entry);
    }
    uv_mutex_unlock(&pool->mutex);
    return job;
}

static void run(void *user)
{
    struct skep_uv_work *pool = user;
    struct job *job;

    while ((job = next_job(pool))) {
        job->work->job(job->work);
        uv_mutex_lock(&pool->mutex);
        skep_list_push_back(&pool->over, &job->entry);
        uv_cond_signal(&pool->gone);
        uv_mutex_unlock(&pool->mutex);
        uv_async_send(&pool->async);
    }
}

/* ---- the loop ---- */

/* Those that are over by now: jobs that their `done`s start have the next turn. */
static void end_jobs(struct skep_uv_work *pool)
{
    struct skep_list over;

    skep_list_init(&over);
    uv_mutex_lock(&pool->mutex);
    SKEP_LIST_EACH(&pool->over, node, after)
    {
        skep_list_remove(node);
        skep_list_push_back(&over, node);
    }
    uv_mutex_unlock(&pool->mutex);
    while (!skep_list_empty(&over)) {
        struct job *job = SKEP_LIST_ITEM(over.next, struct job, entry);
        struct skep_work *work = job->work;

        skep_list_remove(&job->entry);
        skep_mem_free(pool->loop->env.mem, job);
        pool->under_way--;
        work->done(work);
    }
}

static void on_async(uv_async_t *async)
{
    end_jobs(SKEP_CONTAINER_OF(async, struct skep_uv_work, async));
}

static int pool_new(struct skep_uv_loop *loop)
{
    const struct skep_mem *mem = loop->env.mem;
    struct skep_uv_work *pool =
        skep_mem_zalloc(mem, 1, sizeof *pool + loop->workers_max * sizeof pool->threads[0]);

    if (!pool)
        return SKEP_ENOMEM;
    pool->loop = loop;
    skep_list_init(&pool->waiting);
    skep_list_init(&pool->over);
    if (uv_mutex_init(&pool->mutex) != 0)
        goto no_mutex;
    if (uv_cond_init(&pool->come) != 0)
        goto no_come;
    if (uv_cond_init(&pool->gone) != 0)
        goto no_gone;
    if (uv_async_init(&loop->uv, &pool->async, on_async) != 0)
        goto no_async;
    loop->work = pool;
    return 0;
no_async:
    uv_cond_destroy(&pool->gone);
no_gone:
    uv_cond_destroy(&pool->come);
no_come:
    uv_mutex_destroy(&pool->mutex);
no_mutex:
    skep_mem_free(mem, pool);
    return SKEP_ESYSTEM;
}

/* One thread more for each job under way, up to their number. @return are there any? */
static bool have_thread(struct skep_uv_work *pool)
{
    if (pool->started < SKEP_MIN(pool->under_way, (size_t)pool->loop->workers_max) &&
        uv_thread_create(&pool->threads[pool->started], run, pool) == 0)
        pool->started++;
    return pool->started > 0;
}

int skep_uv_work_start(struct skep_env *env, struct skep_work *work)
{
    struct skep_uv_loop *loop = SKEP_CONTAINER_OF(env, struct skep_uv_loop, env);
    struct skep_uv_work *pool;
    struct job *job;
    int rc;

    if (!loop->work && (rc = pool_new(loop)) < 0)
        return rc;
    pool = loop->work;
    if (!(job = skep_mem_alloc(env->mem, sizeof *job)))
        return SKEP_ENOMEM;
    job->work = work;
    pool->under_way++;
    if (!have_thread(pool)) {
        pool->under_way--;
        skep_mem_free(env->mem, job);
        return SKEP_ESYSTEM;
    }
    uv_mutex_lock(&pool->mutex);
    skep_list_push_back(&pool->waiting, &job->entry);
    uv_cond_signal(&pool->come);
    uv_mutex_unlock(&pool->mutex);
    return 0;
}

int skep_uv_loop_set_workers(struct skep_uv_loop *loop, unsigned count)
{
    if (count == 0 || count > SKEP_WORKERS_MAX || loop->work)
        return SKEP_EINVAL;
    loop->workers_max = count;
    return 0;
}

/* ---- the end ---- */

static void on_closed(uv_handle_t *handle)
{
    struct skep_uv_work *pool = SKEP_CONTAINER_OF(handle, struct skep_uv_work, async);

    skep_mem_free(pool->loop->env.mem, pool);
}

static void wait_for_one(struct skep_uv_work *pool)
{
    uv_mutex_lock(&pool->mutex);
    while (skep_list_empty(&pool->over))
        uv_cond_wait(&pool->gone, &pool->mutex);
    uv_mutex_unlock(&pool->mutex);
}

void skep_uv_work_close(struct skep_uv_loop *loop)
{
    struct skep_uv_work *pool = loop->work;

    if (!pool)
        return;
    while (pool->under_way > 0) {
        wait_for_one(pool);
        end_jobs(pool);
    }
    uv_mutex_lock(&pool->mutex);
    pool->stopping = true;
    uv_cond_broadcast(&pool->come);
    uv_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->started; i++)
        uv_thread_join(&pool->threads[i]);
    uv_cond_destroy(&pool->gone);
    uv_cond_destroy(&pool->come);
    uv_mutex_destroy(&pool->mutex);
    loop->work = NULL;
    uv_close((uv_handle_t *)&pool->async, on_closed);
}
