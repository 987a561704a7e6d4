/* SPDX-License-Identifier: MIT */
/* The environment seam in virtual time: one clock, one heap of timers and one source of randomness for a whole simulated
 * swarm. Time stands still while code runs and jumps to the next deadline when it has run; the same seed gives the same
 * run. Left out: threads (heavy work runs where it is started, its end is told on the next turn). */
#ifndef SKEP_SIM_CLOCK_H
#define SKEP_SIM_CLOCK_H

#include "base/prng.h"
#include "env/env.h"

#define SKEP_SIM_MS ((uint64_t)1000)
#define SKEP_SIM_SECOND ((uint64_t)1000000)

struct skep_sim_clock {
    struct skep_env env;
    struct skep_timers timers;
    uint64_t now_us;
    double unix_s_start;   /* the wall clock at now_us == 0 */
    struct skep_prng prng; /* env->entropy */
    uint64_t events;       /* timers fired so far */
    struct skep_work **work;
    size_t work_count, work_cap;
    struct skep_timer work_timer;
    void (*log)(struct skep_sim_clock *clock, enum skep_log_level level,
                const char *text); /* may be NULL */
};

void skep_sim_clock_init(struct skep_sim_clock *clock, const struct skep_mem *mem, uint64_t seed);
void skep_sim_clock_fini(struct skep_sim_clock *clock);

/** One more environment of the clock, for a node whose wall clock is wrong: time, timers, entropy, work and log are the clock's. */
struct skep_sim_env {
    struct skep_env env;
    struct skep_sim_clock *clock;
    double skew_s;
};

/** `out`, the caller's, outlives what is made with out->env, and the clock outlives both. Its unix_s is `skew_s` ahead of the clock's. */
void skep_sim_clock_env(struct skep_sim_clock *clock, struct skep_sim_env *out, double skew_s);

/** Move to the next deadline, at most to `until_us`, and fire what is due. @return false when nothing is due by then. */
bool skep_sim_clock_step(struct skep_sim_clock *clock, uint64_t until_us);

/** Run everything that is due in the next `us`; the clock then stands `us` later. */
void skep_sim_clock_run_for(struct skep_sim_clock *clock, uint64_t us);

/** Run until *flag, or until `us` have passed. @return *flag. */
bool skep_sim_clock_run_until(struct skep_sim_clock *clock, const bool *flag, uint64_t us);

#endif
