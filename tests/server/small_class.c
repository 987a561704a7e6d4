/* SPDX-License-Identifier: MIT */
#include "server/small_class.h"

#include "moe/codec.h"
#include "support/test.h"

struct small_diary small_diary;

void small_diary_forget(void)
{
    memset(&small_diary, 0, sizeof small_diary);
}

struct small {
    size_t hidden;
    bool mask, half, wide, quiet;
};
static struct small states[16];
static size_t state_count;

static bool has(const char *options, const char *word)
{
    return options && strstr(options, word);
}

static int small_open(size_t hidden, const char *options, skep_class_schema *schema, void **state,
                      char *why, size_t why_len)
{
    struct small *small = &states[state_count++ % SKEP_COUNT_OF(states)];

    (void)why, (void)why_len;
    *small = (struct small){.hidden = hidden,
                            .mask = has(options, "mask"),
                            .half = has(options, "half"),
                            .wide = has(options, "wide"),
                            .quiet = has(options, "quiet")};
    *state = small;
    schema->inputs[0] = (skep_tensor_schema){.dtype = SKEP_FLOAT32, .axes = 1, .shape = {hidden}};
    schema->outputs[0] = schema->inputs[0];
    if (small->half)
        schema->inputs[0].dtype = SKEP_FLOAT16;
    if (small->wide)
        schema->outputs[0].shape[0] = hidden * 1024;
    if (small->mask) {
        schema->inputs[1] = (skep_tensor_schema){.dtype = SKEP_INT64, .axes = 0};
        schema->outputs[1] =
            (skep_tensor_schema){.dtype = SKEP_FLOAT32, .axes = 1, .shape = {hidden}};
    }
    schema->input_count = schema->output_count = small->mask ? 2 : 1;
    schema->parameters[0] = (skep_parameter_schema){.name = "bias", .axes = 1, .shape = {1}};
    schema->parameter_count = 1;
    schema->cheap = has(options, "cheap");
    schema->delay_us = has(options, "delay") ? 500000 : 0;
    return 0;
}

/* x as float32; NULL where there is no memory. */
static const float *numbers(skep_pass *pass, const struct small *small, const skep_tensor *x)
{
    float *converted;

    if (!small->half)
        return x->data;
    if ((converted = pass->alloc(pass, pass->rows * small->hidden * sizeof *converted)))
        skep_numbers_to_float(converted, SKEP_FLOAT16, x->data, pass->rows * small->hidden);
    return converted;
}

static int begin(skep_pass *pass, const struct small *small, bool backward, const float *x)
{
    int rc = 0;

    if (!x)
        return SKEP_ENOMEM;
    for (size_t i = 0; i < pass->rows * small->hidden && rc == 0; i++)
        rc = x[i] == SMALL_REFUSED ? SKEP_EVALUE : x[i] == SMALL_NO_MEMORY ? SKEP_ENOMEM : 0;
    if (!small->quiet && small_diary.count < SMALL_PASSES_MAX)
        small_diary.passes[small_diary.count++] =
            (struct small_pass){backward, pass->rows, x[0], rc};
    return rc;
}

static int small_forward(skep_pass *pass, const skep_tensor *inputs, void *const *outputs)
{
    const struct small *small = pass->state;
    const float *x = numbers(pass, small, &inputs[0]);
    size_t n = pass->rows * small->hidden, wide = small->wide ? 1024 : 1;
    float *y = outputs[0];
    int rc = begin(pass, small, false, x);

    for (size_t i = 0; rc == 0 && i < n * wide; i++)
        y[i] = 2 * x[i / wide] + pass->parameters[0][0];
    for (size_t i = 0; rc == 0 && small->mask && i < n; i++)
        ((float *)outputs[1])[i] =
            x[i] * (float)((const int64_t *)inputs[1].data)[i / small->hidden];
    return rc;
}

static int small_backward(skep_pass *pass, const skep_tensor *inputs,
                          const skep_tensor *grad_outputs, void *const *grad_inputs)
{
    const struct small *small = pass->state;
    const float *x = numbers(pass, small, &inputs[0]), *grad = grad_outputs[0].data;
    size_t n = pass->rows * small->hidden, wide = small->wide ? 1024 : 1;
    float sum = 0;
    int rc = begin(pass, small, true, x);

    for (size_t i = 0; rc == 0 && i < n; i++) {
        float g = 2 * grad[i * wide];

        sum += grad[i * wide];
        skep_numbers_from_float(small->half ? SKEP_FLOAT16 : SKEP_FLOAT32,
                                (char *)grad_inputs[0] + i * (small->half ? 2 : 4), &g, 1);
    }
    if (rc == 0)
        pass->gradient(pass, 0, 0, &sum, 1);
    return rc;
}

const skep_expert_class small_class = {
    .abi = SKEP_CLASS_ABI,
    .name = "small",
    .open = small_open,
    .forward = small_forward,
    .backward = small_backward,
};

int small_experts_try(struct small_experts *experts, size_t count, const struct skep_mem *mem,
                      size_t hidden, const char *options)
{
    struct skep_prng prng;
    char why[256];
    int rc;

    memset(experts, 0, sizeof *experts);
    skep_prng_init(&prng, 1);
    experts->training = (struct skep_training){.optimizer = SKEP_OPTIMIZER_SGD, .learning_rate = 1};
    assert_int_equal(
        skep_class_open(&experts->class, &small_class, hidden, options, why, sizeof why), 0);
    for (; experts->count < count; experts->count++) {
        rc = skep_backend_init(&experts->experts[experts->count].backend, mem, &experts->class,
                               &experts->training, skep_sgemm_portable, &prng);
        if (rc < 0) {
            small_experts_fini(experts);
            return rc;
        }
    }
    return 0;
}

void small_experts_init(struct small_experts *experts, size_t count, const struct skep_mem *mem,
                        size_t hidden, const char *options)
{
    assert_int_equal(small_experts_try(experts, count, mem, hidden, options), 0);
}

void small_experts_fini(struct small_experts *experts)
{
    for (size_t i = 0; i < experts->count; i++)
        skep_backend_fini(&experts->experts[i].backend);
    skep_class_close(&experts->class);
}
