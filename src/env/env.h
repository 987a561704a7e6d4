/* SPDX-License-Identifier: MIT */
/* The environment seam: everything that protocol code needs from the outside except bytes and calls.
 *
 * One env belongs to one event loop. The real one is made by transport/uv_loop.c, the simulated one by
 * sim/sim_clock.c; both embed a `struct skep_env` and drive its timers. */
#ifndef SKEP_ENV_H
#define SKEP_ENV_H

#include "base/bytes.h"
#include "env/timers.h"

enum skep_log_level { SKEP_LOG_ERROR, SKEP_LOG_WARNING, SKEP_LOG_INFO, SKEP_LOG_DEBUG };

/** Heavy computation off the loop. The caller owns it; it must live until `done` has run. */
struct skep_work {
    void (*job)(struct skep_work *work);  /* on any thread; touches nothing of the loop's */
    void (*done)(struct skep_work *work); /* on the loop */
};

struct skep_env {
    const struct skep_mem *mem;
    struct skep_timers *timers;    /* of the loop; several envs may share them */
    enum skep_log_level log_level; /* what is less urgent than this is not even formatted */

    uint64_t (*now_us)(struct skep_env *env); /* monotonic; may be cached per loop turn */
    double (*unix_s)(struct skep_env *env);   /* wall clock: the DHT's time */
    int (*entropy)(struct skep_env *env, void *out, size_t len); /* 0 or SKEP_ECRYPTO */
    void (*log)(struct skep_env *env, enum skep_log_level level, const char *text);
    int (*work)(struct skep_env *env,
                struct skep_work *work); /* 0, or an error and `done` never runs */
};

static inline uint64_t skep_env_now_us(struct skep_env *env)
{
    return env->now_us(env);
}

static inline double skep_env_unix_s(struct skep_env *env)
{
    return env->unix_s(env);
}

/** A uniform random 64-bit number from env->entropy. */
uint64_t skep_env_random(struct skep_env *env);

/** Start (or restart) a timer that fires delay_us from now. */
int skep_env_after(struct skep_env *env, struct skep_timer *timer, uint64_t delay_us);

void skep_env_stop(struct skep_env *env, struct skep_timer *timer);

/** printf to the log sink; text from peers must have gone through skep_text_escape(). */
void skep_log(struct skep_env *env, enum skep_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
