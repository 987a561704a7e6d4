/* SPDX-License-Identifier: MIT */
#include "dht/patience.h"

#include "base/bytes.h"
#include "base/limits.h"

#define TOKEN_MICRO ((uint64_t)1000000)
/* What a node takes to answer besides the round trip: its loop is busy, and each key is looked up. */
#define BUSY_US ((uint64_t)5000)
#define PER_KEY_US ((uint64_t)200)
/* When a request is late. */
#define LATE_ROUND_TRIPS_MILLI ((uint64_t)4000) /* at most, and before much is known */
#define LATE_US_MIN ((uint64_t)50000)
#define LATE_US_UNKNOWN ((uint64_t)400000)
/* A first answer, before any has come. */
#define FIRST_US_GUESS ((uint64_t)200000)

void skep_patience_init(struct skep_patience *patience, double share)
{
    *patience = (struct skep_patience){.earned_micro = (uint32_t)(share * (double)TOKEN_MICRO),
                                       .slow_milli = 1000,
                                       .slow_deviation_milli = 750};
    if (patience->earned_micro > 0)
        patience->tokens_micro = SKEP_DHT_HEDGE_TOKENS_MAX * TOKEN_MICRO;
}

void skep_patience_learn(struct skep_patience *patience, uint64_t took_us)
{
    uint64_t off =
        took_us > patience->first_us ? took_us - patience->first_us : patience->first_us - took_us;

    if (patience->first_us == 0) {
        patience->first_us = SKEP_MAX(took_us, 1);
        patience->deviation_us = took_us / 2;
        return;
    }
    patience->deviation_us = (3 * patience->deviation_us + off) / 4;
    patience->first_us = SKEP_MAX((7 * patience->first_us + took_us) / 8, 1);
}

void skep_patience_learn_slowness(struct skep_patience *patience, uint64_t rtt_us, uint64_t took_us)
{
    uint32_t took = (uint32_t)SKEP_MIN(took_us * 1000 / SKEP_MAX(rtt_us, 1), (uint64_t)10000),
             off = took > patience->slow_milli ? took - patience->slow_milli
                                               : patience->slow_milli - took;

    patience->slow_deviation_milli = (3 * patience->slow_deviation_milli + off) / 4;
    patience->slow_milli = (7 * patience->slow_milli + took) / 8;
}

/* Four mean deviations above the mean, as RFC 6298 has it, but no sooner than overdue. */
static uint64_t late_of_known(const struct skep_patience *patience, uint64_t rtt_us)
{
    uint64_t milli = patience->slow_milli + 4 * (uint64_t)patience->slow_deviation_milli;

    return SKEP_MAX(rtt_us * SKEP_MIN(milli, LATE_ROUND_TRIPS_MILLI) / 1000,
                    rtt_us + rtt_us / 2 + BUSY_US);
}

uint64_t skep_patience_late_us(const struct skep_patience *patience, uint64_t rtt_us, uint32_t keys)
{
    uint64_t most = LATE_US_UNKNOWN;

    if (rtt_us > 0)
        most = SKEP_MAX(late_of_known(patience, rtt_us), LATE_US_MIN);
    else if (patience->first_us > 0)
        most = SKEP_MIN(SKEP_MAX(patience->first_us + 4 * patience->deviation_us, LATE_US_MIN),
                        LATE_US_UNKNOWN);
    return most + keys * PER_KEY_US;
}

/* Two mean deviations above the mean is where 95 % of a normal distribution lie below, 92 % of an exponential one. */
uint64_t skep_patience_overdue_us(const struct skep_patience *patience, uint64_t rtt_us,
                                  uint32_t keys)
{
    uint64_t most = FIRST_US_GUESS;

    if (rtt_us > 0)
        most = rtt_us + rtt_us / 2 + BUSY_US;
    else if (patience->first_us > 0)
        most = patience->first_us + 2 * patience->deviation_us;
    return SKEP_MIN(most + keys * PER_KEY_US, skep_patience_late_us(patience, rtt_us, keys));
}

void skep_patience_earn(struct skep_patience *patience)
{
    patience->tokens_micro = SKEP_MIN(patience->tokens_micro + patience->earned_micro,
                                      SKEP_DHT_HEDGE_TOKENS_MAX * TOKEN_MICRO);
}

bool skep_patience_spend(struct skep_patience *patience)
{
    if (patience->tokens_micro < TOKEN_MICRO)
        return false;
    patience->tokens_micro -= TOKEN_MICRO;
    return true;
}
