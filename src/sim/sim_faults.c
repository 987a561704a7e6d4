/* SPDX-License-Identifier: MIT */
#include "sim/sim_faults.h"

/* -ln(1 - u) at u = 0, 1/32, …, 31/32 and the tail's 1 - 1/1024, in thousandths; straight lines between. */
static const uint32_t exponential_milli[33] = {
    0,   32,  65,  98,  134,  170,  208,  247,  288,  330,  375,  421,  470,  521,  575,  633, 693,
    758, 827, 901, 981, 1068, 1163, 1269, 1386, 1520, 1674, 1856, 2079, 2367, 2773, 3466, 6931};

void skep_sim_faults_default(struct skep_sim_faults *faults)
{
    *faults = (struct skep_sim_faults){
        .rtt_us_min = 20 * SKEP_SIM_MS, .rtt_us_max = 80 * SKEP_SIM_MS, .handshake_rounds = 3};
}

/* splitmix64's finisher: spreads the pair over 64 bits. */
static uint64_t mix(uint64_t v)
{
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    return v ^ v >> 31;
}

uint64_t skep_sim_faults_rtt_us(const struct skep_sim_faults *faults, uint64_t seed, uint32_t a,
                                uint32_t b)
{
    uint64_t pair = (uint64_t)SKEP_MIN(a, b) << 32 | SKEP_MAX(a, b);
    uint64_t span = faults->rtt_us_max - faults->rtt_us_min + 1;

    return faults->rtt_us_min + mix(pair + mix(seed)) % span;
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

uint64_t skep_sim_faults_session_us(struct skep_prng *prng, uint64_t mean_us)
{
    uint64_t u = skep_prng_below(prng, 32 << 10), slot = u / 1024, rest = u % 1024;
    uint64_t milli = exponential_milli[slot] +
                     (exponential_milli[slot + 1] - exponential_milli[slot]) * rest / 1024;

    return mean_us / 1000 * milli + mean_us % 1000 * milli / 1000;
}

static void churn_again(struct skep_sim_churn *churn)
{
    skep_env_after(&churn->clock->env, &churn->timer,
                   skep_sim_faults_session_us(&churn->clock->prng, churn->mean_us));
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
    churn->mean_us = 3600 * SKEP_SIM_SECOND / SKEP_MAX(per_hour, 1u);
    churn->change = change;
    churn->timer.fire = on_churn;
    churn_again(churn);
}

void skep_sim_churn_stop(struct skep_sim_churn *churn)
{
    if (churn->clock)
        skep_env_stop(&churn->clock->env, &churn->timer);
}
