/* SPDX-License-Identifier: MIT */
/* Who computes when: takes the batch whose oldest task is the oldest, computes it off the loop (or on it, where the class is cheap), and gives each task
 * its part of the result. hivemind moe/server/runtime.py.
 *
 * At most `workers` batches are computed at once, never two of one expert: a forward sees the parameters before a step or after it. */
#ifndef SKEP_SERVER_RUNTIME_H
#define SKEP_SERVER_RUNTIME_H

#include "server/backend.h"
#include "server/task_pool.h"

struct skep_runtime;

/** What an expert has done, as of its last batch: the backend itself may be in the hands of a worker. */
struct skep_hosted_stats {
    uint64_t forward_batches, forward_rows, forward_us;
    uint64_t backward_batches, backward_rows, backward_us;
    uint64_t step, steps_refused;
};

/** An expert and its two pools. Embedded by the server. */
struct skep_hosted {
    struct skep_backend backend;
    struct skep_task_pool forward, backward;
    struct skep_hosted_stats stats;
    /* private */
    bool busy;                  /* in the hands of a worker */
    struct skep_list exclusive; /* struct skep_exclusive.entry, waiting */
    struct skep_list entry;
};

/** A job that has an expert for itself, such as taking a snapshot. Before batches that wait. */
struct skep_exclusive {
    void (*run)(struct skep_exclusive *job, struct skep_hosted *expert);  /* on a worker */
    void (*done)(struct skep_exclusive *job, struct skep_hosted *expert); /* on the loop */
    struct skep_list entry;
};

/** @param workers  at least 1. Entropy for the seeds of passes comes from env. */
int skep_runtime_new(struct skep_runtime **out, struct skep_env *env, unsigned workers);
/** Nothing may run or wait: see skep_runtime_idle(). */
void skep_runtime_free(struct skep_runtime *runtime);

void skep_runtime_add(struct skep_runtime *runtime, struct skep_hosted *expert,
                      const struct skep_task_pool_options *options);

/** @return 0, and task->done follows; SKEP_ESIZE (more rows than max_batch_size), and it never does. */
int skep_runtime_submit(struct skep_runtime *runtime, struct skep_hosted *expert, bool backward,
                        struct skep_task *task);

/** @return true: it had not begun, is out, and `done` never runs; false: it is being computed, and `done` follows. */
bool skep_runtime_cancel(struct skep_runtime *runtime, struct skep_task *task);

void skep_runtime_exclusive(struct skep_runtime *runtime, struct skep_hosted *expert,
                            struct skep_exclusive *job);

/** From now on no batch of this expert waits to become fuller. */
void skep_runtime_flush(struct skep_runtime *runtime, struct skep_hosted *expert);

/** Does nothing wait or run? Otherwise `on_idle` is called once when that comes true (NULL: not wanted). */
bool skep_runtime_idle(struct skep_runtime *runtime, void (*on_idle)(void *user), void *user);

/** End every waiting task with SKEP_ECANCELED; what is being computed goes on, and its tasks end when it is done. */
void skep_runtime_cancel_waiting(struct skep_runtime *runtime);

struct skep_runtime_stats {
    uint64_t forward_batches, backward_batches, forward_rows, backward_rows, failed_batches,
        compute_us;
    size_t waiting, running;
};
const struct skep_runtime_stats *skep_runtime_stats(const struct skep_runtime *runtime);

#endif
