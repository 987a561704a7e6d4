/* SPDX-License-Identifier: MIT */
/* Requests in line, and when a batch of them may leave. See task_pool.h. */
#include "server/task_pool.h"

static struct skep_task *oldest(const struct skep_task_pool *pool)
{
    return SKEP_LIST_ITEM(pool->waiting.next, struct skep_task, entry);
}

void skep_task_pool_init(struct skep_task_pool *pool, const struct skep_task_pool_options *options)
{
    *pool = (struct skep_task_pool){.options = *options};
    skep_list_init(&pool->waiting);
}

int skep_task_pool_push(struct skep_task_pool *pool, struct skep_task *task, uint64_t now_us)
{
    if (task->rows > pool->options.max_batch_size)
        return SKEP_ESIZE;
    task->pool = pool;
    task->since_us = now_us;
    task->running = false;
    skep_list_push_back(&pool->waiting, &task->entry);
    pool->task_count++;
    pool->rows += task->rows;
    return 0;
}

void skep_task_pool_remove(struct skep_task_pool *pool, struct skep_task *task)
{
    assert(task->pool == pool && !task->running);
    skep_list_remove(&task->entry);
    task->pool = NULL;
    pool->task_count--;
    pool->rows -= task->rows;
}

bool skep_task_pool_ready(const struct skep_task_pool *pool, uint64_t now_us, uint64_t *deadline_us)
{
    const struct skep_task_pool_options *options = &pool->options;
    uint64_t deadline = SKEP_NEVER_US;

    if (pool->task_count > 0) {
        if (pool->rows >= options->min_batch_size || pool->rows > options->max_batch_size)
            deadline = oldest(pool)->since_us;
        else if (options->wait_us > 0 && options->wait_us < SKEP_NEVER_US - oldest(pool)->since_us)
            deadline = oldest(pool)->since_us + options->wait_us;
    }
    if (deadline_us)
        *deadline_us = deadline;
    return deadline <= now_us;
}

size_t skep_task_pool_pop(struct skep_task_pool *pool, struct skep_list *batch)
{
    size_t rows = 0;

    while (pool->task_count > 0 &&
           (rows == 0 || oldest(pool)->rows <= pool->options.max_batch_size - rows)) {
        struct skep_task *task = oldest(pool);

        skep_task_pool_remove(pool, task);
        task->pool = pool;
        task->running = true;
        rows += task->rows;
        skep_list_push_back(batch, &task->entry);
    }
    return rows;
}
