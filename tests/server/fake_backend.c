/* SPDX-License-Identifier: MIT */
#include "fake_backend.h"

#include <stdlib.h>

static void set_block(float **block, size_t count, float *next)
{
    *block = malloc(count * sizeof **block + 1);
    assert(*block);
    for (size_t i = 0; i < count; i++)
        (*block)[i] = (*next)++;
}

void fake_backend_init(struct fake_backend *fake, const char *class_name, size_t hidden,
                       enum skep_optimizer optimizer, float first)
{
    struct skep_backend *backend = &fake->backend;
    bool adam = optimizer == SKEP_OPTIMIZER_ADAM;

    *fake = (struct fake_backend){
        .training = {.optimizer = optimizer},
        .expert_class = {.abi = SKEP_CLASS_ABI, .name = class_name},
    };
    fake->class = (struct skep_class){
        .class = &fake->expert_class,
        .hidden = hidden,
        .schema = {.parameters = {{.name = "scale", .axes = 1, .shape = {hidden}},
                                  {.name = "bias", .axes = 2, .shape = {hidden, 2}}},
                   .parameter_count = 2}};
    *backend = (struct skep_backend){.mem = &skep_mem_std,
                                     .class = &fake->class,
                                     .training = &fake->training,
                                     .counts = {hidden, 2 * hidden},
                                     .step = 1000 + hidden};
    for (size_t i = 0; i < 2; i++)
        set_block(&backend->parameters[i], backend->counts[i], &first);
    for (size_t i = 0; adam && i < 2; i++)
        set_block(&backend->exp_avg[i], backend->counts[i], &first);
    for (size_t i = 0; adam && i < 2; i++)
        set_block(&backend->exp_avg_sq[i], backend->counts[i], &first);
}

void fake_backend_fini(struct fake_backend *fake)
{
    for (size_t i = 0; i < 2; i++) {
        free(fake->backend.parameters[i]);
        free(fake->backend.exp_avg[i]);
        free(fake->backend.exp_avg_sq[i]);
    }
}

static bool same(const float *a, const float *b, size_t count)
{
    return !a || !b || memcmp(a, b, count * sizeof *a) == 0;
}

bool fake_backend_equal(const struct fake_backend *a, const struct fake_backend *b)
{
    for (size_t i = 0; i < 2; i++) {
        size_t count = a->backend.counts[i];

        if (count != b->backend.counts[i] ||
            !same(a->backend.parameters[i], b->backend.parameters[i], count) ||
            !same(a->backend.exp_avg[i], b->backend.exp_avg[i], count) ||
            !same(a->backend.exp_avg_sq[i], b->backend.exp_avg_sq[i], count))
            return false;
    }
    return a->backend.step == b->backend.step;
}
