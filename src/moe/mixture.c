/* SPDX-License-Identifier: MIT */
/* The layer: what lives on between passes. See mixture.h; the passes are in mixture_forward.c and mixture_backward.c. */
#include "moe/mixture_parts.h"

#include <math.h>

/* ---- the layer ---- */

static void draw_parameters(struct skep_mixer *mixer)
{
    /* torch's nn.Linear: both uniform in ±1/√in_features. */
    double bound = 1 / sqrt((double)mixer->gate.in_features);

    for (size_t i = 0; i < mixer->gate.outputs * mixer->gate.in_features; i++)
        mixer->weight[i] = (float)(bound * (2 * skep_prng_unit(&mixer->prng) - 1));
    for (size_t i = 0; i < mixer->gate.outputs; i++)
        mixer->bias[i] = (float)(bound * (2 * skep_prng_unit(&mixer->prng) - 1));
}

static int make_gate(struct skep_mixer *mixer)
{
    struct skep_gate *gate = &mixer->gate;
    float *use;
    size_t numbers;

    gate->dims = mixer->options.dims;
    gate->in_features = mixer->options.in_features;
    for (size_t d = 0; d < gate->dims; d++)
        gate->outputs += mixer->options.grid[d];
    if (!skep_size_mul(gate->outputs, gate->in_features, &numbers))
        return SKEP_ELIMIT;
    mixer->grid = skep_mem_dup(mixer->mem, mixer->options.grid, gate->dims * sizeof *mixer->grid);
    mixer->weight = skep_mem_zalloc(mixer->mem, numbers, sizeof(float));
    mixer->bias = skep_mem_zalloc(mixer->mem, gate->outputs, sizeof(float));
    mixer->utilization = use = skep_mem_zalloc(mixer->mem, gate->outputs, sizeof(float));
    if (!mixer->grid || !mixer->weight || !mixer->bias || !use)
        return SKEP_ENOMEM;
    mixer->options.grid = gate->sizes = mixer->grid;
    gate->weight = mixer->weight;
    gate->bias = mixer->bias;
    for (size_t d = 0; d < gate->dims; d++)
        for (size_t j = 0; j < gate->sizes[d]; j++)
            *use++ = 1 / (float)gate->sizes[d];
    return 0;
}

int skep_mixer_new(struct skep_mixer **out, struct skep_env *env, struct skep_expert_caller *caller,
                   struct skep_beam *beam, const struct skep_mixer_options *options)
{
    struct skep_mixer *mixer = skep_mem_zalloc(env->mem, 1, sizeof *mixer);
    int rc;

    *out = NULL;
    if (!mixer)
        return SKEP_ENOMEM;
    mixer->env = env;
    mixer->mem = env->mem;
    mixer->caller = caller;
    mixer->beam = beam;
    mixer->options = *options;
    skep_prng_init(&mixer->prng, options->seed != 0 ? options->seed : skep_env_random(env));
    if ((rc = make_gate(mixer)) < 0) {
        skep_mixer_free(mixer);
        return rc;
    }
    draw_parameters(mixer);
    *out = mixer;
    return 0;
}

void skep_mixer_free(struct skep_mixer *mixer)
{
    if (!mixer)
        return;
    skep_mem_free(mixer->mem, mixer->grid);
    skep_mem_free(mixer->mem, mixer->weight);
    skep_mem_free(mixer->mem, mixer->bias);
    skep_mem_free(mixer->mem, mixer->utilization);
    skep_mem_free(mixer->mem, mixer);
}

size_t skep_mixer_outputs(const struct skep_mixer *mixer)
{
    return mixer->gate.outputs;
}

float *skep_mixer_weight(struct skep_mixer *mixer)
{
    return mixer->weight;
}

float *skep_mixer_bias(struct skep_mixer *mixer)
{
    return mixer->bias;
}

const float *skep_mixer_utilization(const struct skep_mixer *mixer)
{
    return mixer->utilization;
}
