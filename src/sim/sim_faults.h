/* SPDX-License-Identifier: MIT */
/* What goes wrong in a simulated network, drawn from a seed: delays, loss, partitions, and nodes that come and go.
 * Integers and tables only, no libm: the same seed is the same run on every compiler. */
#ifndef SKEP_SIM_FAULTS_H
#define SKEP_SIM_FAULTS_H

#include "sim/sim_clock.h"
#include "sim/sim_latency.h"

struct skep_sim_faults {
    struct skep_sim_latency latency; /* of a pair */
    uint64_t jitter_us;              /* added to each message, uniform below this */
    uint32_t loss_ppm;               /* of messages that never arrive */
    uint32_t handshake_rounds;       /* round trips of the first contact */
    bool
        warm; /* every pair is connected from the start, also those that could not dial each other */
};

/** 20 to 80 ms, no jitter, no loss, three round trips for the first contact. */
void skep_sim_faults_default(struct skep_sim_faults *faults);

/** The delay of one message of a pair with this round trip. */
uint64_t skep_sim_faults_delay_us(const struct skep_sim_faults *faults, struct skep_prng *prng,
                                  uint64_t rtt_us);

bool skep_sim_faults_lost(const struct skep_sim_faults *faults, struct skep_prng *prng);

/** Nodes that come and go: `change` is called at drawn moments, `per_hour` of them an hour, until stopped. */
struct skep_sim_churn {
    struct skep_timer timer; /* zeroed */
    struct skep_sim_clock *clock;
    struct skep_sim_session pause; /* between two changes */
    void (*change)(struct skep_sim_churn *churn);
};
void skep_sim_churn_start(struct skep_sim_churn *churn, struct skep_sim_clock *clock,
                          uint32_t per_hour, void (*change)(struct skep_sim_churn *churn));
void skep_sim_churn_stop(struct skep_sim_churn *churn);

#endif
