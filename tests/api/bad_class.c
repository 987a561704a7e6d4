/* SPDX-License-Identifier: MIT */
/* Shared objects that are no class, one for each DEFECT: what test_class_load loads. */
#include <skep/expert_class.h>

enum { WRONG_ABI = 1, NO_NAME, NO_OPEN, NO_FORWARD, NO_BACKWARD, NO_CLASS, NO_SYMBOL };

static int open_nothing(size_t hidden, const char *options, skep_class_schema *schema, void **state,
                        char *why, size_t why_len)
{
    (void)hidden;
    (void)options;
    (void)schema;
    (void)state;
    (void)why;
    (void)why_len;
    return 0;
}

static int forward(skep_pass *pass, const skep_tensor *inputs, void *const *outputs)
{
    (void)pass;
    (void)inputs;
    (void)outputs;
    return 0;
}

static int backward(skep_pass *pass, const skep_tensor *inputs, const skep_tensor *grad_outputs,
                    void *const *grad_inputs)
{
    (void)pass;
    (void)inputs;
    (void)grad_outputs;
    (void)grad_inputs;
    return 0;
}

static const skep_expert_class bad = {
    .abi = DEFECT == WRONG_ABI ? SKEP_CLASS_ABI + 1 : SKEP_CLASS_ABI,
    .name = DEFECT == NO_NAME ? NULL : "bad",
    .open = DEFECT == NO_OPEN ? NULL : open_nothing,
    .forward = DEFECT == NO_FORWARD ? NULL : forward,
    .backward = DEFECT == NO_BACKWARD ? NULL : backward,
};

static const skep_expert_class *get(void)
{
    return DEFECT == NO_CLASS ? NULL : &bad;
}

#if DEFECT == 7 /* NO_SYMBOL */
#define skep_expert_class_get skep_expert_class_gets
#endif
SKEP_API skep_expert_class_get_fn skep_expert_class_get;

const skep_expert_class *skep_expert_class_get(void)
{
    return get();
}
