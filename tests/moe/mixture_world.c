/* SPDX-License-Identifier: MIT */
#include "moe/mixture_world.h"

static const char peer[] = "12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s";

void world_init(struct mix_world *world, uint32_t a, uint32_t b, size_t in_features)
{
    memset(world, 0, sizeof *world);
    test_env_init(&world->env, 3);
    world->dht = fake_dht_new(&world->env.env, 3);
    fake_experts_init(&world->experts, &world->env.env);
    world->experts.user = world;
    world->grid[0] = a;
    world->grid[1] = b;
    world->options = (struct skep_mixer_options){.grid = world->grid,
                                                 .dims = b > 0 ? 2 : 1,
                                                 .in_features = in_features,
                                                 .k_best = 2,
                                                 .k_min = 1,
                                                 .backward_k_min = 1,
                                                 .forward_timeout_us = SKEP_NEVER_US,
                                                 .backward_timeout_us = SKEP_NEVER_US,
                                                 .timeout_after_k_min_us = SKEP_NEVER_US,
                                                 .utilization_alpha = 0.9,
                                                 .grid_dropout = 1,
                                                 .jitter_eps = 0.01,
                                                 .seed = 11};
}

void world_declare(struct mix_world *world, const char *uid)
{
    fake_dht_declare(world->dht, uid, peer, 2e9);
}

void world_declare_all(struct mix_world *world)
{
    char uid[32];

    for (uint32_t a = 0; a < world->grid[0]; a++) {
        for (uint32_t b = 0; b < SKEP_MAX(world->grid[1], 1U); b++) {
            if (world->grid[1] > 0)
                snprintf(uid, sizeof uid, "e.%u.%u", a, b);
            else
                snprintf(uid, sizeof uid, "e.%u", a);
            world_declare(world, uid);
        }
    }
}

int world_start(struct mix_world *world)
{
    struct skep_beam_options beam;
    int rc;

    skep_beam_options_default(&beam);
    beam.prefix = skep_bytes_str("e.");
    beam.grid = world->grid;
    beam.dims = world->options.dims;
    if ((rc = skep_beam_new(&world->beam, world->dht, &beam, NULL, 0)) < 0)
        return rc;
    return skep_mixer_new(&world->mixer, &world->env.env, fake_experts_caller(&world->experts),
                          world->beam, &world->options);
}

void world_fini(struct mix_world *world)
{
    test_env_advance(&world->env, SECOND); /* what still wants to run */
    skep_mixer_free(world->mixer);
    if (world->beam)
        skep_beam_free(world->beam);
    fake_experts_fini(&world->experts);
    fake_dht_free(world->dht);
    test_env_fini(&world->env);
}

static void on_forward(struct skep_mixer_forward *forward, int rc, const char *text)
{
    struct forward_pass *pass = SKEP_CONTAINER_OF(forward, struct forward_pass, forward);

    pass->ends++;
    pass->rc = rc;
    snprintf(pass->text, sizeof pass->text, "%s", text);
}

static void on_backward(struct skep_mixer_backward *backward, int rc, const char *text)
{
    struct backward_pass *pass = SKEP_CONTAINER_OF(backward, struct backward_pass, backward);

    pass->ends++;
    pass->rc = rc;
    snprintf(pass->text, sizeof pass->text, "%s", text);
}

int forward_start(struct mix_world *world, struct forward_pass *pass, const skep_tensor *inputs,
                  size_t count)
{
    memset(pass, 0, sizeof *pass);
    pass->world = world;
    pass->forward.done = on_forward;
    return skep_mixer_forward_start(&pass->forward, world->mixer, inputs, count, pass->text,
                                    sizeof pass->text);
}

int backward_start(struct forward_pass *forward, struct backward_pass *pass,
                   const skep_tensor *grads, size_t count, double grad_loss)
{
    memset(pass, 0, sizeof *pass);
    pass->backward.done = on_backward;
    return skep_mixer_backward_start(&pass->backward, &forward->forward, grads, count, grad_loss,
                                     pass->text, sizeof pass->text);
}

static void wait_for(struct mix_world *world, const int *ends)
{
    for (int i = 0; i < 4000 && *ends == 0; i++)
        test_env_advance(&world->env, SECOND / 20);
    assert_int_equal(*ends, 1);
}

int forward_run(struct mix_world *world, struct forward_pass *pass, const skep_tensor *inputs,
                size_t count)
{
    int rc = forward_start(world, pass, inputs, count);

    if (rc < 0)
        return rc;
    wait_for(world, &pass->ends);
    return pass->rc;
}

int backward_run(struct forward_pass *forward, struct backward_pass *pass, const skep_tensor *grads,
                 size_t count, double grad_loss)
{
    int rc = backward_start(forward, pass, grads, count, grad_loss);

    if (rc < 0)
        return rc;
    wait_for(forward->world, &pass->ends);
    return pass->rc;
}

skep_tensor rows_of(const float *numbers, size_t rows, size_t width)
{
    return (skep_tensor){.dtype = SKEP_FLOAT32, .axes = 2, .shape = {rows, width}, .data = numbers};
}

const char *cell_uid(const struct skep_mixer_report *report, size_t sample, size_t column)
{
    uint32_t expert = report->cells[sample * report->columns + column];

    return expert == SKEP_MIXER_NONE ? "" : report->experts[expert].uid;
}

size_t answered_of(const struct skep_mixer_report *report, size_t sample)
{
    size_t count = 0;

    for (size_t j = 0; j < report->columns; j++)
        count += report->answered[sample * report->columns + j];
    return count;
}
