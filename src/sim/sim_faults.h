/* SPDX-License-Identifier: MIT */
/* What goes wrong in a simulated network, drawn from a seed: delays, loss, partitions, and nodes that come and go.
 * Integers and tables only, no libm: the same seed is the same run on every compiler. */
#ifndef SKEP_SIM_FAULTS_H
#define SKEP_SIM_FAULTS_H

#include "sim/sim_clock.h"

struct skep_sim_faults {
    uint64_t rtt_us_min, rtt_us_max; /* of a pair, fixed for the run, uniform between the two */
    uint64_t jitter_us;              /* added to each message, uniform below this */
    uint32_t loss_ppm;               /* of messages that never arrive */
    uint32_t handshake_rounds;       /* round trips of the first contact */
};

/** 20 to 80 ms, no jitter, no loss, three round trips for the first contact. */
void skep_sim_faults_default(struct skep_sim_faults *faults);

/** The round trip between two nodes: the same in both directions and for the whole run. */
uint64_t skep_sim_faults_rtt_us(const struct skep_sim_faults *faults, uint64_t seed, uint32_t a,
                                uint32_t b);

/** The delay of one message of a pair with this round trip. */
uint64_t skep_sim_faults_delay_us(const struct skep_sim_faults *faults, struct skep_prng *prng,
                                  uint64_t rtt_us);

bool skep_sim_faults_lost(const struct skep_sim_faults *faults, struct skep_prng *prng);

/** How long a session lasts if one in mean_us ends at any moment: exponential, from a table of its quantiles. */
uint64_t skep_sim_faults_session_us(struct skep_prng *prng, uint64_t mean_us);

/** Nodes that come and go: `change` is called at drawn moments, `per_hour` of them an hour, until stopped. */
struct skep_sim_churn {
    struct skep_timer timer; /* zeroed */
    struct skep_sim_clock *clock;
    uint64_t mean_us;
    void (*change)(struct skep_sim_churn *churn);
};
void skep_sim_churn_start(struct skep_sim_churn *churn, struct skep_sim_clock *clock,
                          uint32_t per_hour, void (*change)(struct skep_sim_churn *churn));
void skep_sim_churn_stop(struct skep_sim_churn *churn);

#endif
