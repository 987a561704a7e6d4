/* SPDX-License-Identifier: MIT */
/* Timers of one loop: a heap of deadlines. Those with equal deadlines fire in the order they were started,
 * so that a simulation is the same every time. The owner of the loop asks for the next deadline and runs what
 * is due; nothing here knows a clock.
 *
 * The heap is implicit, each of its entries has four children and carries all that is compared, so that a timer's own memory, which is part of
 * something larger and seldom in the cache, is only written where its entry moves. */
#ifndef SKEP_ENV_TIMERS_H
#define SKEP_ENV_TIMERS_H

#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"

#define SKEP_NEVER_US UINT64_MAX

struct skep_timer {
    size_t place; /* of its entry, counted from 1; 0: it does not run */
    uint64_t deadline_us, order;
    void (*fire)(
        struct skep_timer *timer); /* on the loop; the timer is stopped and may be started again */
};

struct skep_timers_entry {
    uint64_t deadline_us, order;
    struct skep_timer *timer;
};

struct skep_timers {
    struct skep_timers_entry *entries;
    size_t count, cap;
    uint64_t started; /* how many ever: the tie breaker */
    uint64_t ran_us;  /* the clock at the last run: no deadline is before it */
    const struct skep_mem *mem;
};

void skep_timers_init(struct skep_timers *timers, const struct skep_mem *mem);

/** Those that still run are stopped. */
void skep_timers_fini(struct skep_timers *timers);

/** Fire at deadline_us, or at once on the next turn if that has passed. A running timer is moved.
 *  @return 0 or SKEP_ENOMEM (a timer that runs cannot fail to be moved). */
int skep_timer_start(struct skep_timers *timers, struct skep_timer *timer, uint64_t deadline_us);

/** Harmless when it does not run. */
void skep_timer_stop(struct skep_timers *timers, struct skep_timer *timer);

static inline bool skep_timer_running(const struct skep_timer *timer)
{
    return timer->place != 0;
}

/** @return the next deadline, or SKEP_NEVER_US. */
uint64_t skep_timers_next_us(const struct skep_timers *timers);

/** Fire what is due at now_us, except timers started by what fires here. @return how many fired. */
size_t skep_timers_run(struct skep_timers *timers, uint64_t now_us);

#endif
