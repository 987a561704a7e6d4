/* SPDX-License-Identifier: MIT */
/* Requests for one thing an expert does (forward, or backward), put together into batches. hivemind moe/server/task_pool.py.
 *
 * Tasks leave oldest first, put one behind the other along axis 0. A batch leaves when it has min_batch_size rows and no task waits behind it, or when the next
 * task would take it past max_batch_size, or when its oldest task has waited for wait_us. */
#ifndef SKEP_SERVER_TASK_POOL_H
#define SKEP_SERVER_TASK_POOL_H

#include <skep/expert_class.h>

#include "base/limits.h"
#include "base/list.h"
#include "env/env.h"

/** A request. Embedded by the handler, zeroed but for what is set before the submit. */
struct skep_task {
    /** Once, on the loop, never from inside the submit. rc 0: `outputs` have numbers, which the task's owner now frees with env->mem, each. Else `text`
     *  says what happened, by hivemind's custom like Python's repr of an exception. */
    void (*done)(struct skep_task *task, int rc, const char *text);
    const skep_tensor *
        inputs; /* [input_count] checked; of a backward: inputs, then gradients of the outputs. Borrowed until `done` or a cancel that succeeds */
    size_t input_count;
    size_t rows;                                 /* of each */
    skep_tensor outputs[SKEP_CLASS_TENSORS_MAX]; /* outputs, or gradients of the inputs */
    size_t output_count;
    /* private */
    struct skep_list entry;
    struct skep_task_pool *pool; /* while it waits or runs */
    uint64_t since_us; /* when it was submitted; later, when its result is to be given out */
    uint64_t number;   /* in the order of submission, over all pools of a runtime */
    bool running;
    int rc; /* of the pass it was in */
};

struct skep_task_pool_options {
    size_t min_batch_size, max_batch_size;
    uint64_t wait_us; /* 0: for ever */
};

struct skep_task_pool {
    struct skep_list waiting; /* struct skep_task.entry, oldest first */
    size_t task_count, rows;  /* waiting */
    struct skep_task_pool_options options;
    struct skep_hosted *expert; /* whose it is; the runtime's */
};

void skep_task_pool_init(struct skep_task_pool *pool, const struct skep_task_pool_options *options);

/** Line it up. @return 0; SKEP_ESIZE: more rows than max_batch_size. */
int skep_task_pool_push(struct skep_task_pool *pool, struct skep_task *task, uint64_t now_us);
void skep_task_pool_remove(struct skep_task_pool *pool, struct skep_task *task);

/** May a batch leave now? @param deadline_us  may be NULL: when it may at the latest, if nothing else comes; SKEP_NEVER_US. */
bool skep_task_pool_ready(const struct skep_task_pool *pool, uint64_t now_us,
                          uint64_t *deadline_us);

/** Move the next batch's tasks to the (empty) list. @return its rows. */
size_t skep_task_pool_pop(struct skep_task_pool *pool, struct skep_list *batch);

#endif
