/* SPDX-License-Identifier: MIT */
/* A seeded generator for simulations and tests: xoshiro256** (Blackman, Vigna 2018). Never for secrets. */
#ifndef SKEP_BASE_PRNG_H
#define SKEP_BASE_PRNG_H

#include <stddef.h>
#include <stdint.h>

struct skep_prng {
    uint64_t s[4];
};

void skep_prng_init(struct skep_prng *prng, uint64_t seed);
uint64_t skep_prng_u64(struct skep_prng *prng);

/** Uniform in [0, below), without bias; below > 0. */
uint64_t skep_prng_below(struct skep_prng *prng, uint64_t below);

/** Uniform in [0, 1) with 53 bits. */
double skep_prng_unit(struct skep_prng *prng);

void skep_prng_fill(struct skep_prng *prng, void *out, size_t len);

#endif
