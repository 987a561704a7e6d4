/* SPDX-License-Identifier: MIT */
/* A mixture in virtual time: a grid in a fake DHT, fake experts, a layer, and passes that are waited for. */
#ifndef MIXTURE_WORLD_H
#define MIXTURE_WORLD_H

#include "moe/fake_dht.h"
#include "moe/fake_experts.h"
#include "moe/mixture.h"
#include "support/test.h"

#define SECOND ((uint64_t)1000000)

struct mix_world {
    struct test_env env;
    struct skep_dht *dht;
    struct skep_beam *beam;
    struct fake_experts experts;
    struct skep_mixer *mixer;
    uint32_t grid[4];
    struct skep_mixer_options options;
    void *user;
};

struct forward_pass {
    struct skep_mixer_forward forward;
    struct mix_world *world;
    int ends, rc;
    char text[1024];
};

struct backward_pass {
    struct skep_mixer_backward backward;
    int ends, rc;
    char text[1024];
};

/** A world of a grid [a] or [a][b] (b 0: one dimension) in which every expert is alive; its options are the public defaults with k_best 2, and may be
 *  changed before world_start(). */
void world_init(struct mix_world *world, uint32_t a, uint32_t b, size_t in_features);
void world_declare(struct mix_world *world, const char *uid);
void world_declare_all(struct mix_world *world);
int world_start(struct mix_world *world);
void world_fini(struct mix_world *world);

/** @return what the start returned. */
int forward_start(struct mix_world *world, struct forward_pass *pass, const skep_tensor *inputs,
                  size_t count);
int backward_start(struct forward_pass *forward, struct backward_pass *pass,
                   const skep_tensor *grads, size_t count, double grad_loss);
/** Start and wait until it ends. @return how it did. */
int forward_run(struct mix_world *world, struct forward_pass *pass, const skep_tensor *inputs,
                size_t count);
int backward_run(struct forward_pass *forward, struct backward_pass *pass, const skep_tensor *grads,
                 size_t count, double grad_loss);

skep_tensor rows_of(const float *numbers, size_t rows, size_t width);
const char *cell_uid(const struct skep_mixer_report *report, size_t sample, size_t column);
size_t answered_of(const struct skep_mixer_report *report, size_t sample);

#endif
