/* SPDX-License-Identifier: MIT */
/* How long a lookup waits for an answer before it asks somebody else as well, and how often it may. RFC 6298 (the estimate); Dean & Barroso, "The Tail at Scale",
 * 2013 (hedged requests); gRPC A6 (a budget of tokens for them).
 *
 * Two steps. A request that takes longer than its like mostly do is overdue: its keys may be asked of the next likely holder too, which costs a token a request. One
 * that takes several times as long is late: its peer counts as not answering, and its keys go on elsewhere whatever that costs. Each request earns
 * `hedge_share` of a token, so that over time no more than that share is added. */
#ifndef SKEP_DHT_PATIENCE_H
#define SKEP_DHT_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

struct skep_patience {
    uint32_t earned_micro; /* by each request, in millionths of a token; 0: there are no hedges */
    uint64_t tokens_micro; /* at most SKEP_DHT_HEDGE_TOKENS_MAX tokens */
    uint64_t first_us;     /* smoothed time of a first answer; 0: none has come yet */
    uint64_t deviation_us; /* of it, smoothed */
    uint32_t
        slow_milli; /* how many round trips a peer of a known one takes to answer, smoothed, in thousandths */
    uint32_t slow_deviation_milli;
};

/** @param share  of a token that a request earns, 0 to 1. Starts with all tokens. */
void skep_patience_init(struct skep_patience *patience, double share);

/** A peer of which no round trip was known has answered after `took_us`, its handshake included. */
void skep_patience_learn(struct skep_patience *patience, uint64_t took_us);

/** A peer of a known round trip has answered after `took_us`. */
void skep_patience_learn_slowness(struct skep_patience *patience, uint64_t rtt_us,
                                  uint64_t took_us);

/** When a request for `keys` keys is overdue, and when late. @param rtt_us  the peer's; 0: unknown. */
uint64_t skep_patience_overdue_us(const struct skep_patience *patience, uint64_t rtt_us,
                                  uint32_t keys);
uint64_t skep_patience_late_us(const struct skep_patience *patience, uint64_t rtt_us,
                               uint32_t keys);

/** A request that is no hedge was sent. */
void skep_patience_earn(struct skep_patience *patience);
/** One more hedge. @return false: there is no token. */
bool skep_patience_spend(struct skep_patience *patience);

#endif
