/* SPDX-License-Identifier: MIT */
/* Classes that copy: nop at once, nop_delay after half a second. hivemind moe/server/layers/common.py NopExpert, DelayedNopExpert. */
#include <string.h>

#include "server/classes.h"

enum { DELAY_US = 500000 };

static int open_nop(size_t hidden, const char *options, skep_class_schema *schema, void **state,
                    char *why, size_t why_len)
{
    int rc;

    (void)state;
    if ((rc = skep_class_check_hidden(hidden, 1, why, why_len)) < 0 ||
        (rc = skep_class_check_no_options(options, why, why_len)) < 0)
        return rc;
    schema->inputs[0] = schema->outputs[0] = skep_class_vector(hidden);
    schema->input_count = schema->output_count = 1;
    /* torch's optimizers want a parameter, and so checkpoints have one, without a number. */
    schema->parameters[0] = (skep_parameter_schema){.name = "w", .axes = 1, .shape = {0}};
    schema->parameter_count = 1;
    schema->cheap = true;
    return 0;
}

static int open_nop_delay(size_t hidden, const char *options, skep_class_schema *schema,
                          void **state, char *why, size_t why_len)
{
    schema->delay_us = DELAY_US;
    return open_nop(hidden, options, schema, state, why, why_len);
}

static int copy(const skep_tensor *from, void *to)
{
    memcpy(to, from->data, skep_tensor_bytes(from));
    return 0;
}

static int forward(skep_pass *pass, const skep_tensor *inputs, void *const *outputs)
{
    (void)pass;
    return copy(&inputs[0], outputs[0]);
}

static int backward(skep_pass *pass, const skep_tensor *inputs, const skep_tensor *grad_outputs,
                    void *const *grad_inputs)
{
    (void)pass;
    (void)inputs;
    return copy(&grad_outputs[0], grad_inputs[0]);
}

const skep_expert_class skep_class_nop = {
    SKEP_CLASS_ABI, "nop", open_nop, NULL, forward, backward,
};
const skep_expert_class skep_class_nop_delay = {
    SKEP_CLASS_ABI, "nop_delay", open_nop_delay, NULL, forward, backward,
};
