/* SPDX-License-Identifier: MIT */
#include "sim/sim_faults.h"

/* ln 2: of an exponential distribution the median is this much of the mean. */
#define LN_2_PPM 693147u

void skep_sim_faults_default(struct skep_sim_faults *faults)
{
    *faults = (struct skep_sim_faults){
        .latency = skep_sim_latency_uniform(20 * SKEP_SIM_MS, 80 * SKEP_SIM_MS),
        .handshake_rounds = 3};
}

uint64_t skep_sim_faults_delay_us(const struct skep_sim_faults *faults, struct skep_prng *prng,
                                  uint64_t rtt_us)
{
    return rtt_us / 2 + (faults->jitter_us > 0 ? skep_prng_below(prng, faults->jitter_us) : 0);
}

bool skep_sim_faults_lost(const struct skep_sim_faults *faults, struct skep_prng *prng)
{
    return faults->loss_ppm > 0 && skep_prng_below(prng, 1000000) < faults->loss_ppm;
}

static void churn_again(struct skep_sim_churn *churn)
{
    skep_env_after(&churn->clock->env, &churn->timer,
                   skep_sim_session_us(&churn->clock->prng, &churn->pause));
}

static void on_churn(struct skep_timer *timer)
{
    struct skep_sim_churn *churn = SKEP_CONTAINER_OF(timer, struct skep_sim_churn, timer);

    churn_again(churn);
    churn->change(churn);
}

void skep_sim_churn_start(struct skep_sim_churn *churn, struct skep_sim_clock *clock,
                          uint32_t per_hour, void (*change)(struct skep_sim_churn *churn))
{
    churn->clock = clock;
    churn->pause = (struct skep_sim_session){
        .kind = SKEP_SIM_SESSION_EXPONENTIAL,
        .median_us = 3600 * SKEP_SIM_SECOND / SKEP_MAX(per_hour, 1u) * LN_2_PPM / 1000000};
    churn->change = change;
    churn->timer.fire = on_churn;
    churn_again(churn);
}

void skep_sim_churn_stop(struct skep_sim_churn *churn)
{
    if (churn->clock)
        skep_env_stop(&churn->clock->env, &churn->timer);
}
