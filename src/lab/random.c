/* SPDX-License-Identifier: MIT */
/* Scenarios drawn from a seed: any size, any grid, any weather, so that what nobody thought of is tried too. */
#include "lab/scenario.h"

static uint64_t between(struct skep_prng *prng, uint64_t least, uint64_t most)
{
    return least + skep_prng_below(prng, most - least + 1);
}

/* One in `n`. */
static bool chance(struct skep_prng *prng, uint64_t n)
{
    return skep_prng_below(prng, n) == 0;
}

static void draw_grid(struct skep_lab_scenario *s, struct skep_prng *prng)
{
    uint64_t places = 1;

    s->dims = (size_t)between(prng, 1, 4);
    for (size_t d = 0; d < s->dims; d++) {
        s->grid[d] = (uint32_t)between(prng, 1, 1u << between(prng, 1, 8));
        places *= s->grid[d];
    }
    s->experts = (size_t)between(prng, 1, SKEP_MIN(places, (uint64_t)s->nodes / 2 + 1));
}

static void draw_network(struct skep_lab_scenario *s, struct skep_prng *prng)
{
    if (chance(prng, 2))
        s->faults.latency = skep_sim_latency_uniform(1, between(prng, 1, 200 * SKEP_SIM_MS));
    else
        s->faults.latency = skep_sim_latency_lognormal(between(prng, 1, 200 * SKEP_SIM_MS),
                                                       (uint32_t)between(prng, 0, 1000));
    s->skew_us = chance(prng, 2) ? between(prng, 0, SKEP_SIM_SECOND) : 0;
    s->faults.jitter_us = chance(prng, 2) ? between(prng, 1, 50 * SKEP_SIM_MS) : 0;
    s->faults.loss_ppm = chance(prng, 2) ? (uint32_t)between(prng, 0, 50000) : 0;
    s->faults.handshake_rounds = (uint32_t)between(prng, 0, 4);
    s->dead_ppm = chance(prng, 3) ? (uint32_t)between(prng, 0, 500000) : 0;
    s->malicious_ppm = chance(prng, 4) ? (uint32_t)between(prng, 0, 300000) : 0;
    s->slow_ppm = chance(prng, 4) ? (uint32_t)between(prng, 0, 300000) : 0;
    s->slow_us = between(prng, 1, SKEP_SIM_SECOND);
    s->faults.warm = chance(prng, 4);
    s->client_ppm = chance(prng, 3) ? (uint32_t)between(prng, 0, 500000) : 0;
}

static void draw_searches(struct skep_lab_scenario *s, struct skep_prng *prng)
{
    s->searchers = (size_t)between(prng, 1, 8);
    s->queries = (size_t)between(prng, s->searchers, 40);
    s->beam_size = (size_t)between(prng, 1, 16);
    s->exact = chance(prng, 2);
    s->normal_scores = chance(prng, 2);
    s->guess_keys = chance(prng, 2) ? (size_t)between(prng, 1, 256) : 0;
    s->one_hop = !s->real && chance(prng, 3);
    s->keep_caches = chance(prng, 2);
    s->budget_us = chance(prng, 2) ? between(prng, 1, 2 * SKEP_SIM_SECOND) : 0;
    s->keys_max = chance(prng, 4) ? (size_t)between(prng, 1, 200) : 0;
}

static void draw_time(struct skep_lab_scenario *s, struct skep_prng *prng)
{
    s->duration_us = between(prng, 60, 240) * SKEP_SIM_SECOND;
    s->declare_every_us = between(prng, 20, 60) * SKEP_SIM_SECOND;
    if (!chance(prng, 4)) {
        s->session.median_us = between(prng, 300, 3600) * SKEP_SIM_SECOND;
        s->session.kind =
            chance(prng, 2) ? SKEP_SIM_SESSION_EXPONENTIAL : SKEP_SIM_SESSION_LOGNORMAL;
        s->session.sigma_milli = (uint32_t)between(prng, 0, 1500);
    }
    if (chance(prng, 4)) {
        s->partition_ppm = (uint32_t)between(prng, 1, 900000);
        s->partition_us = between(prng, 1, 60) * SKEP_SIM_SECOND;
    }
}

void skep_lab_scenario_random(struct skep_lab_scenario *s, uint64_t seed, size_t nodes_max)
{
    struct skep_prng prng;

    skep_lab_scenario_default(s);
    skep_prng_init(&prng, seed ^ 0x736f616b);
    s->seed = seed;
    s->check = true;
    s->nodes = (size_t)between(&prng, 1, nodes_max);
    s->real = s->nodes <= 100 || (s->nodes <= 300 && chance(&prng, 2));
    draw_grid(s, &prng);
    draw_network(s, &prng);
    draw_searches(s, &prng);
    if (chance(&prng, 2))
        draw_time(s, &prng);
}
