/* SPDX-License-Identifier: MIT */
/* How far apart the nodes of a simulated network are, and how long one stays: distributions drawn with integers and tables, so that
 * the same seed is the same run on every compiler. */
#ifndef SKEP_SIM_LATENCY_H
#define SKEP_SIM_LATENCY_H

#include "base/prng.h"

/* What is above is taken as this: a spread of 10 in the logarithm, 50 days. No draw is longer than 2^20 medians. */
#define SKEP_SIM_SIGMA_MILLI_MAX 10000u
#define SKEP_SIM_MEDIAN_US_MAX ((uint64_t)1 << 42)

/** The round trip of a pair: fixed for the run, the same both ways, drawn from the seed and the pair. Zeroed but for median_us it is a constant. */
struct skep_sim_latency {
    enum skep_sim_latency_kind {
        SKEP_SIM_CONSTANT,
        SKEP_SIM_UNIFORM,
        SKEP_SIM_LOGNORMAL,
        SKEP_SIM_MATRIX
    } kind;
    uint32_t sigma_milli; /* lognormal: the standard deviation of the logarithm, in thousandths */
    uint64_t median_us;   /* constant, lognormal */
    uint64_t min_us, max_us; /* uniform between the two */
    const uint32_t
        *matrix_us; /* [places][places], borrowed; each node stands at one place, drawn */
    uint32_t places;
};

struct skep_sim_latency skep_sim_latency_constant(uint64_t us);
struct skep_sim_latency skep_sim_latency_uniform(uint64_t min_us, uint64_t max_us);
struct skep_sim_latency skep_sim_latency_lognormal(uint64_t median_us, uint32_t sigma_milli);

/** Measured round trips between `places` > 0 places; of two that differ by direction, the one from the first place to the second counts. Nodes at one
 *  place take the diagonal. */
struct skep_sim_latency skep_sim_latency_matrix(const uint32_t *matrix_us, uint32_t places);

/** The round trip between nodes a and b, by their index. */
uint64_t skep_sim_latency_us(const struct skep_sim_latency *latency, uint64_t seed, uint32_t a,
                             uint32_t b);

/** The place of a node in a matrix of `places`. */
uint32_t skep_sim_latency_place(uint64_t seed, uint32_t index, uint32_t places);

/** Where draw / 2^64 of a lognormal distribution lie below: within 1 % up to the 99.9th percentile, and at least 1. */
uint64_t skep_sim_lognormal_us(uint64_t median_us, uint32_t sigma_milli, uint64_t draw);

/** How long a session lasts: half of them less than the median. */
struct skep_sim_session {
    enum skep_sim_session_kind {
        SKEP_SIM_SESSION_EXPONENTIAL, /* who has stayed long leaves as soon as who has just come */
        SKEP_SIM_SESSION_LOGNORMAL    /* most are short, and a few stay on */
    } kind;
    uint32_t sigma_milli; /* lognormal */
    uint64_t median_us;
};

/** One session; at least 1. */
uint64_t skep_sim_session_us(struct skep_prng *prng, const struct skep_sim_session *session);

#endif
