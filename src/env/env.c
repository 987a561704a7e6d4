/* SPDX-License-Identifier: MIT */
#include "env/env.h"

#include <stdarg.h>
#include <stdio.h>

uint64_t skep_env_random(struct skep_env *env)
{
    uint64_t v = 0;

    env->entropy(env, &v, sizeof v);
    return v;
}

int skep_env_after(struct skep_env *env, struct skep_timer *timer, uint64_t delay_us)
{
    uint64_t now_us = skep_env_now_us(env);

    /* A delay that asks for the end of time must not wrap around to the past. */
    return skep_timer_start(env->timers, timer,
                            delay_us < SKEP_NEVER_US - now_us ? now_us + delay_us : SKEP_NEVER_US);
}

void skep_env_stop(struct skep_env *env, struct skep_timer *timer)
{
    skep_timer_stop(env->timers, timer);
}

void skep_log(struct skep_env *env, enum skep_log_level level, const char *format, ...)
{
    char text[1024];
    va_list args;

    if (level > env->log_level || !env->log)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    env->log(env, level, text);
}
