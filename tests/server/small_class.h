/* SPDX-License-Identifier: MIT */
/* A class of experts for tests: y = 2 x + bias, with a diary of its passes. What row is to fail, fails the pass it is in. */
#ifndef SKEP_SMALL_CLASS_H
#define SKEP_SMALL_CLASS_H

#include "server/runtime.h"

enum { SMALL_PASSES_MAX = 256 };

/* A number in x that fails the pass: SKEP_EVALUE, and SKEP_ENOMEM. */
#define SMALL_REFUSED 666.0f
#define SMALL_NO_MEMORY 667.0f

/** Passes since small_class_forget(). */
struct small_diary {
    size_t count;
    struct small_pass {
        bool backward;
        size_t rows;
        float first; /* number of the batch */
        int rc;
    } passes[SMALL_PASSES_MAX];
};
extern struct small_diary small_diary;
void small_diary_forget(void);

/** Options: words of "cheap", "delay" (0.5 s), "mask" (a second input, int64 for each row, and a second output: x times the mask), "half" (x is float16), "wide"
 *  (an output of 1024 numbers a number), "quiet" (no diary: for threads). */
extern const skep_expert_class small_class;

/** An opened class and experts of it, without training but for "bias" by SGD with rate 1. */
struct small_experts {
    struct skep_class class;
    struct skep_training training;
    struct skep_hosted experts[8];
    size_t count;
};
void small_experts_init(struct small_experts *experts, size_t count, const struct skep_mem *mem,
                        size_t hidden, const char *options);
/** @return 0 or SKEP_ENOMEM, and then there is nothing to undo. */
int small_experts_try(struct small_experts *experts, size_t count, const struct skep_mem *mem,
                      size_t hidden, const char *options);
void small_experts_fini(struct small_experts *experts);

#endif
