/* SPDX-License-Identifier: MIT */
/* See runtime.h. All of it is on the loop, but for jobs.
 *
 * A turn of the runtime (a timer of no delay, so never inside a submit, and with all that one turn of the loop brought in) gives out what is due, starts what
 * a worker is free for, computes what is cheap at once, and sets the timer to the next moment at which something may leave. The timer always runs: so
 * moving it cannot fail. An expert is in `waiting` while a task or an exclusive job waits for it.
 *
 * Left out: hivemind prefetches batches and hands them between processes; here a batch is formed when a worker is free for it, with what has come until then. */
#include "server/runtime.h"

#include "server/batch.h"

/* A worker's place. */
struct slot {
    struct skep_work work;
    struct skep_runtime *runtime;
    struct skep_batch batch;          /* expert NULL: the place is free */
    struct skep_exclusive *exclusive; /* instead of a batch */
    uint64_t started_us;
};

struct skep_runtime {
    struct skep_env *env;
    struct skep_timer turn;
    struct skep_list waiting; /* struct skep_hosted.entry */
    struct skep_list
        delayed; /* struct skep_task.entry: computed, to be given out at since_us; sorted by it */
    uint64_t next_number;
    void (*on_idle)(void *user);
    void *idle_user;
    struct skep_runtime_stats stats;
    unsigned workers;
    struct slot cheap; /* what is computed on the loop */
    struct slot slots[];
};

static const skep_class_schema *schema_of(const struct skep_hosted *expert)
{
    return &expert->backend.class->schema;
}

static struct skep_task *first_task(const struct skep_list *list)
{
    return SKEP_LIST_ITEM(list->next, struct skep_task, entry);
}

/* Have a turn at `at_us` at the latest. */
static void turn_at(struct skep_runtime *runtime, uint64_t at_us)
{
    if (at_us < runtime->turn.deadline_us)
        (void)skep_timer_start(runtime->env->timers, &runtime->turn,
                               at_us); /* it runs: cannot fail */
}

static void turn_soon(struct skep_runtime *runtime)
{
    turn_at(runtime, skep_env_now_us(runtime->env));
}

static bool is_idle(const struct skep_runtime *runtime)
{
    return skep_list_empty(&runtime->waiting) && runtime->stats.running == 0 &&
           skep_list_empty(&runtime->delayed);
}

/* Something stopped waiting for an expert. */
static void leave_waiting(struct skep_hosted *expert)
{
    if (expert->forward.task_count + expert->backward.task_count == 0 &&
        skep_list_empty(&expert->exclusive))
        skep_list_remove(&expert->entry);
}

/* ---- giving out ---- */

static const char *text_of(int rc)
{
    switch (rc) {
    case 0: return "";
    case SKEP_ENOMEM: return "MemoryError('out of memory')";
    case SKEP_ECANCELED: return "CancelledError()";
    case SKEP_EVALUE:
        return "RuntimeError('the expert refused: its numbers would not have stayed finite')";
    case SKEP_EINVAL: return "RuntimeError('the expert refused its inputs')";
    default: return "RuntimeError('the expert failed')";
    }
}

static void give_out(struct skep_task *task)
{
    int rc = task->rc;

    skep_list_remove(&task->entry);
    task->pool = NULL;
    task->running = false;
    task->done(task, rc, text_of(rc));
}

static void delay(struct skep_runtime *runtime, struct skep_task *task, uint64_t until_us)
{
    struct skep_list *before = runtime->delayed.prev;

    while (before != &runtime->delayed &&
           SKEP_LIST_ITEM(before, struct skep_task, entry)->since_us > until_us)
        before = before->prev;
    skep_list_remove(&task->entry);
    task->since_us = until_us;
    skep_list_push_front(before, &task->entry);
    turn_at(runtime, until_us);
}

static void give_out_due(struct skep_runtime *runtime)
{
    uint64_t now_us = skep_env_now_us(runtime->env);

    while (!skep_list_empty(&runtime->delayed) && first_task(&runtime->delayed)->since_us <= now_us)
        give_out(first_task(&runtime->delayed));
    if (!skep_list_empty(&runtime->delayed))
        turn_at(runtime, first_task(&runtime->delayed)->since_us);
}

/* Tasks of a batch that was computed. */
static void give_out_all(struct skep_runtime *runtime, struct skep_list *tasks, uint64_t delay_us)
{
    uint64_t now_us = skep_env_now_us(runtime->env);

    while (!skep_list_empty(tasks)) {
        struct skep_task *task = first_task(tasks);

        if (delay_us > 0 && delay_us < SKEP_NEVER_US - now_us && task->rc == 0)
            delay(runtime, task, now_us + delay_us);
        else
            give_out(task);
    }
}

/* ---- batches ---- */

/* The pool that may leave now and whose oldest task is the oldest and came before that number, of experts that are free.
 * @param deadline_us  when the next of the others may. */
static struct skep_hosted *pick(struct skep_runtime *runtime, uint64_t before_number,
                                bool only_cheap, bool *backward, uint64_t *deadline_us)
{
    uint64_t now_us = skep_env_now_us(runtime->env), oldest = before_number;
    struct skep_hosted *found = NULL;

    *deadline_us = SKEP_NEVER_US;
    SKEP_LIST_EACH(&runtime->waiting, node, after)
    {
        struct skep_hosted *expert = SKEP_LIST_ITEM(node, struct skep_hosted, entry);
        struct skep_task_pool *pools[2] = {&expert->forward, &expert->backward};

        if (expert->busy || (only_cheap && !schema_of(expert)->cheap))
            continue;
        for (int i = 0; i < 2; i++) {
            uint64_t when_us;

            if (!skep_task_pool_ready(pools[i], now_us, &when_us)) {
                *deadline_us = SKEP_MIN(*deadline_us, when_us);
            } else if (first_task(&pools[i]->waiting)->number < oldest) {
                oldest = first_task(&pools[i]->waiting)->number;
                found = expert;
                *backward = i == 1;
            }
        }
    }
    return found;
}

static void form_batch(struct skep_runtime *runtime, struct slot *slot, struct skep_hosted *expert,
                       bool backward)
{
    struct skep_batch *batch = &slot->batch;
    struct skep_task_pool *pool = backward ? &expert->backward : &expert->forward;

    slot->started_us = skep_env_now_us(runtime->env);
    batch->expert = expert;
    batch->backward = backward;
    batch->seed = skep_env_random(runtime->env);
    skep_list_init(&batch->tasks);
    runtime->stats.waiting -= pool->task_count;
    skep_task_pool_pop(pool, &batch->tasks);
    runtime->stats.waiting += pool->task_count;
    leave_waiting(expert);
}

static void count_for_expert(const struct skep_batch *batch, uint64_t us)
{
    struct skep_hosted_stats *stats = &batch->expert->stats;

    *(batch->backward ? &stats->backward_batches : &stats->forward_batches) += 1;
    *(batch->backward ? &stats->backward_rows : &stats->forward_rows) += batch->rows;
    *(batch->backward ? &stats->backward_us : &stats->forward_us) += us;
    stats->step = batch->expert->backend.step;
    stats->steps_refused = batch->expert->backend.steps_refused;
}

static void count_batch(struct skep_runtime *runtime, const struct slot *slot)
{
    const struct skep_batch *batch = &slot->batch;
    struct skep_runtime_stats *stats = &runtime->stats;
    uint64_t us = skep_env_now_us(runtime->env) - slot->started_us;

    *(batch->backward ? &stats->backward_batches : &stats->forward_batches) += 1;
    *(batch->backward ? &stats->backward_rows : &stats->forward_rows) += batch->rows;
    stats->failed_batches += batch->failed;
    stats->compute_us += us;
    count_for_expert(batch, us);
}

/* It was computed, or could not be: its place is free, and its tasks are in `tasks`. */
static void end_batch(struct skep_runtime *runtime, struct slot *slot, struct skep_list *tasks)
{
    struct skep_batch *batch = &slot->batch;

    skep_batch_release(batch, runtime->env->mem);
    count_batch(runtime, slot);
    skep_list_init(tasks);
    while (!skep_list_empty(&batch->tasks)) {
        struct skep_list *node = batch->tasks.next;

        skep_list_remove(node);
        skep_list_push_back(tasks, node);
    }
    batch->expert = NULL;
}

static void refuse_batch(struct slot *slot, int rc)
{
    slot->batch.failed = true;
    SKEP_LIST_EACH(&slot->batch.tasks, node, after)
    SKEP_LIST_ITEM(node, struct skep_task, entry)->rc = rc;
}

static void compute_cheap(struct skep_runtime *runtime, struct skep_hosted *expert, bool backward)
{
    uint64_t delay_us = schema_of(expert)->delay_us;
    struct skep_list tasks;

    form_batch(runtime, &runtime->cheap, expert, backward);
    if (skep_batch_prepare(&runtime->cheap.batch, runtime->env->mem))
        skep_batch_compute(&runtime->cheap.batch);
    end_batch(runtime, &runtime->cheap, &tasks);
    give_out_all(runtime, &tasks, delay_us);
}

/* ---- workers ---- */

static void start_all(struct skep_runtime *runtime);

static void on_job(struct skep_work *work)
{
    struct slot *slot = SKEP_CONTAINER_OF(work, struct slot, work);

    if (slot->exclusive)
        slot->exclusive->run(slot->exclusive, slot->batch.expert);
    else
        skep_batch_compute(&slot->batch);
}

static void free_slot(struct skep_runtime *runtime, struct slot *slot)
{
    slot->batch.expert->busy = false;
    runtime->stats.running--;
}

static void on_job_done(struct skep_work *work)
{
    struct slot *slot = SKEP_CONTAINER_OF(work, struct slot, work);
    struct skep_runtime *runtime = slot->runtime;
    struct skep_hosted *expert = slot->batch.expert;
    struct skep_exclusive *exclusive = slot->exclusive;
    struct skep_list tasks;

    free_slot(runtime, slot);
    skep_list_init(&tasks);
    if (exclusive)
        slot->batch.expert = NULL;
    else
        end_batch(runtime, slot, &tasks);
    slot->exclusive = NULL;
    turn_soon(runtime); /* something may have become idle */
    start_all(runtime); /* the worker first: answers can be written while it computes */
    if (exclusive)
        exclusive->done(exclusive, expert);
    else
        give_out_all(runtime, &tasks, schema_of(expert)->delay_us);
}

static struct slot *free_place(struct skep_runtime *runtime)
{
    for (unsigned i = 0; i < runtime->workers; i++)
        if (!runtime->slots[i].batch.expert)
            return &runtime->slots[i];
    return NULL;
}

static int start_slot(struct skep_runtime *runtime, struct slot *slot)
{
    int rc;

    slot->batch.expert->busy = true;
    runtime->stats.running++;
    if ((rc = runtime->env->work(runtime->env, &slot->work)) < 0)
        free_slot(runtime, slot);
    return rc;
}

/* No thread, no memory: what has an expert for itself has no way to fail, and is done here. */
static void run_here(struct slot *slot)
{
    struct skep_hosted *expert = slot->batch.expert;
    struct skep_exclusive *exclusive = slot->exclusive;

    slot->batch.expert = NULL;
    slot->exclusive = NULL;
    exclusive->run(exclusive, expert);
    exclusive->done(exclusive, expert);
}

static bool start_exclusive(struct skep_runtime *runtime, struct slot *slot)
{
    SKEP_LIST_EACH(&runtime->waiting, node, after)
    {
        struct skep_hosted *expert = SKEP_LIST_ITEM(node, struct skep_hosted, entry);

        if (expert->busy || skep_list_empty(&expert->exclusive))
            continue;
        slot->exclusive = SKEP_LIST_ITEM(expert->exclusive.next, struct skep_exclusive, entry);
        slot->batch.expert = expert;
        skep_list_remove(&slot->exclusive->entry);
        leave_waiting(expert);
        if (start_slot(runtime, slot) < 0)
            run_here(slot);
        return true;
    }
    return false;
}

static void start_batch(struct skep_runtime *runtime, struct slot *slot, struct skep_hosted *expert,
                        bool backward)
{
    struct skep_list tasks;
    int rc;

    form_batch(runtime, slot, expert, backward);
    if (skep_batch_prepare(&slot->batch, runtime->env->mem)) {
        if ((rc = start_slot(runtime, slot)) == 0)
            return;
        refuse_batch(slot, rc);
    }
    end_batch(runtime, slot, &tasks);
    give_out_all(runtime, &tasks, 0);
}

/* Whatever may leave now and was submitted before this began: what `done` submits has the next turn, so that the sockets get theirs. */
static void start_all(struct skep_runtime *runtime)
{
    uint64_t deadline_us, end = runtime->next_number;

    for (;;) {
        struct slot *slot = free_place(runtime);
        struct skep_hosted *expert;
        bool backward;

        if (slot && start_exclusive(runtime, slot))
            continue;
        if (!(expert = pick(runtime, end, !slot, &backward, &deadline_us)))
            break;
        if (schema_of(expert)->cheap)
            compute_cheap(runtime, expert, backward);
        else
            start_batch(runtime, slot, expert, backward);
    }
    turn_at(runtime, deadline_us);
}

static void on_turn(struct skep_timer *timer)
{
    struct skep_runtime *runtime = SKEP_CONTAINER_OF(timer, struct skep_runtime, turn);
    void (*on_idle)(void *user);

    (void)skep_timer_start(runtime->env->timers, timer,
                           SKEP_NEVER_US); /* its place is still free */
    give_out_due(runtime);
    start_all(runtime);
    if (runtime->on_idle && is_idle(runtime)) {
        on_idle = runtime->on_idle;
        runtime->on_idle = NULL;
        on_idle(runtime->idle_user);
    }
}

/* ---- calls ---- */

int skep_runtime_new(struct skep_runtime **out, struct skep_env *env, unsigned workers)
{
    struct skep_runtime *runtime =
        skep_mem_zalloc(env->mem, 1, sizeof *runtime + workers * sizeof(struct slot));

    *out = NULL;
    assert(workers > 0);
    if (!runtime)
        return SKEP_ENOMEM;
    runtime->env = env;
    runtime->workers = workers;
    skep_list_init(&runtime->waiting);
    skep_list_init(&runtime->delayed);
    for (unsigned i = 0; i < workers; i++) {
        runtime->slots[i].work = (struct skep_work){on_job, on_job_done};
        runtime->slots[i].runtime = runtime;
    }
    runtime->turn.fire = on_turn;
    if (skep_timer_start(env->timers, &runtime->turn, SKEP_NEVER_US) < 0) {
        skep_mem_free(env->mem, runtime);
        return SKEP_ENOMEM;
    }
    *out = runtime;
    return 0;
}

void skep_runtime_free(struct skep_runtime *runtime)
{
    if (!runtime)
        return;
    assert(is_idle(runtime));
    skep_env_stop(runtime->env, &runtime->turn);
    skep_mem_free(runtime->env->mem, runtime);
}

static size_t row_bytes(const skep_tensor_schema *schemas, size_t count)
{
    size_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        skep_tensor row = {.dtype = schemas[i].dtype, .axes = schemas[i].axes};

        memcpy(row.shape, schemas[i].shape, schemas[i].axes * sizeof row.shape[0]);
        sum += skep_tensor_bytes(&row);
    }
    return sum;
}

/* Many rows gain nothing from yet more, and putting tasks together takes their memory once more. */
static void limit_together(struct skep_task_pool *pool, size_t bytes_a_row)
{
    size_t rows = SKEP_BATCH_SCRATCH_MAX / SKEP_MAX(bytes_a_row, (size_t)1);

    pool->together_max = SKEP_MAX(rows, pool->options.min_batch_size);
}

void skep_runtime_add(struct skep_runtime *runtime, struct skep_hosted *expert,
                      const struct skep_task_pool_options *options)
{
    const skep_class_schema *schema = schema_of(expert);
    size_t in = row_bytes(schema->inputs, schema->input_count),
           out = row_bytes(schema->outputs, schema->output_count);

    (void)runtime;
    skep_task_pool_init(&expert->forward, options);
    skep_task_pool_init(&expert->backward, options);
    limit_together(&expert->forward, in + out);
    limit_together(&expert->backward, 2 * in + out);
    expert->forward.expert = expert->backward.expert = expert;
    skep_list_init(&expert->exclusive);
    skep_list_init(&expert->entry);
    expert->stats = (struct skep_hosted_stats){.step = expert->backend.step};
    expert->busy = false;
}

static void wait_for(struct skep_runtime *runtime, struct skep_hosted *expert)
{
    if (skep_list_empty(&expert->entry))
        skep_list_push_back(&runtime->waiting, &expert->entry);
    turn_soon(runtime);
}

int skep_runtime_submit(struct skep_runtime *runtime, struct skep_hosted *expert, bool backward,
                        struct skep_task *task)
{
    int rc = skep_task_pool_push(backward ? &expert->backward : &expert->forward, task,
                                 skep_env_now_us(runtime->env));

    if (rc < 0)
        return rc;
    task->number = runtime->next_number++;
    runtime->stats.waiting++;
    wait_for(runtime, expert);
    return 0;
}

bool skep_runtime_cancel(struct skep_runtime *runtime, struct skep_task *task)
{
    struct skep_hosted *expert;

    if (task->running)
        return false;
    expert = task->pool->expert;
    skep_task_pool_remove(task->pool, task);
    runtime->stats.waiting--;
    leave_waiting(expert);
    turn_soon(runtime);
    return true;
}

void skep_runtime_exclusive(struct skep_runtime *runtime, struct skep_hosted *expert,
                            struct skep_exclusive *job)
{
    skep_list_push_back(&expert->exclusive, &job->entry);
    wait_for(runtime, expert);
}

void skep_runtime_flush(struct skep_runtime *runtime, struct skep_hosted *expert)
{
    expert->forward.options.min_batch_size = 1;
    expert->backward.options.min_batch_size = 1;
    turn_soon(runtime);
}

bool skep_runtime_idle(struct skep_runtime *runtime, void (*on_idle)(void *user), void *user)
{
    if (is_idle(runtime))
        return true;
    if (on_idle) {
        runtime->on_idle = on_idle;
        runtime->idle_user = user;
    }
    return false;
}

static struct skep_task_pool *any_waiting(struct skep_runtime *runtime)
{
    SKEP_LIST_EACH(&runtime->waiting, node, after)
    {
        struct skep_hosted *expert = SKEP_LIST_ITEM(node, struct skep_hosted, entry);

        if (expert->forward.task_count > 0)
            return &expert->forward;
        if (expert->backward.task_count > 0)
            return &expert->backward;
    }
    return NULL;
}

void skep_runtime_cancel_waiting(struct skep_runtime *runtime)
{
    uint64_t end = runtime->next_number; /* those whose place `done` fills stay */
    struct skep_task_pool *pool;

    while ((pool = any_waiting(runtime)) && first_task(&pool->waiting)->number < end) {
        struct skep_task *task = first_task(&pool->waiting);

        skep_task_pool_remove(pool, task);
        runtime->stats.waiting--;
        leave_waiting(pool->expert);
        task->rc = SKEP_ECANCELED;
        give_out(task);
    }
    turn_soon(runtime);
}

const struct skep_runtime_stats *skep_runtime_stats(const struct skep_runtime *runtime)
{
    return &runtime->stats;
}
