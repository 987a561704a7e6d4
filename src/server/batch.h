/* SPDX-License-Identifier: MIT */
/* A batch while it is computed: memory for what comes out, tasks put one behind the other, one pass, and what came out given back to each task.
 *
 * A task alone is computed from its own inputs into its own outputs, and nothing is copied. A pass over several that fails is made again for each of them
 * alone, so that nobody suffers from a neighbour: that is safe for a backward too, since one that fails has changed nothing. */
#ifndef SKEP_SERVER_BATCH_H
#define SKEP_SERVER_BATCH_H

#include "server/runtime.h"

struct skep_batch {
    struct skep_hosted *expert;
    bool backward;
    struct skep_list tasks; /* struct skep_task.entry, oldest first */
    uint64_t seed;
    size_t rows; /* of the tasks that are to be computed */
    bool failed; /* a pass failed */
    /* private */
    size_t count;  /* of the tasks that are to be computed */
    char *scratch; /* where several are put together; NULL: there is no memory for that */
    skep_tensor inputs[2 * SKEP_CLASS_TENSORS_MAX];
    void *outputs[SKEP_CLASS_TENSORS_MAX];
};

/** On the loop: memory for the outputs of its tasks. Those for which there is none get task->rc SKEP_ENOMEM. @return false: nothing is left to compute. */
bool skep_batch_prepare(struct skep_batch *batch, const struct skep_mem *mem);

/** On any thread: task->rc and the numbers of task->outputs. */
void skep_batch_compute(struct skep_batch *batch);

/** On the loop, after it was computed or not: its scratch memory, and the outputs of tasks that failed. Tasks stay in their list. */
void skep_batch_release(struct skep_batch *batch, const struct skep_mem *mem);

#endif
