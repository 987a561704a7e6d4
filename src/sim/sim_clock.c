/* SPDX-License-Identifier: MIT */
#include "sim/sim_clock.h"

static struct skep_sim_clock *clock_of(struct skep_env *env)
{
    return SKEP_CONTAINER_OF(env, struct skep_sim_clock, env);
}

static uint64_t now_us(struct skep_env *env)
{
    return clock_of(env)->now_us;
}

static double unix_s(struct skep_env *env)
{
    struct skep_sim_clock *clock = clock_of(env);

    return clock->unix_s_start + (double)clock->now_us / 1e6;
}

static int entropy(struct skep_env *env, void *out, size_t len)
{
    skep_prng_fill(&clock_of(env)->prng, out, len);
    return 0;
}

static void log_line(struct skep_env *env, enum skep_log_level level, const char *text)
{
    struct skep_sim_clock *clock = clock_of(env);

    if (clock->log)
        clock->log(clock, level, text);
}

static void finish_work(struct skep_timer *timer)
{
    struct skep_sim_clock *clock = SKEP_CONTAINER_OF(timer, struct skep_sim_clock, work_timer);
    size_t count = clock->work_count;

    /* `done` may start more work, which lands behind `count` and ends on the next turn. */
    for (size_t i = 0; i < count; i++)
        clock->work[i]->done(clock->work[i]);
    memmove(clock->work, clock->work + count, (clock->work_count - count) * sizeof *clock->work);
    clock->work_count -= count;
    if (clock->work_count > 0)
        skep_env_after(&clock->env, timer, 0);
}

static int work(struct skep_env *env, struct skep_work *item)
{
    struct skep_sim_clock *clock = clock_of(env);
    int rc;

    if (clock->work_count == clock->work_cap) {
        size_t cap = clock->work_cap > 0 ? clock->work_cap * 2 : 16;
        void *grown = skep_mem_resize(env->mem, clock->work, cap * sizeof *clock->work);

        if (!grown)
            return SKEP_ENOMEM;
        clock->work = grown;
        clock->work_cap = cap;
    }
    if (!skep_timer_running(&clock->work_timer) &&
        (rc = skep_env_after(env, &clock->work_timer, 0)) < 0)
        return rc;
    clock->work[clock->work_count++] = item;
    item->job(item);
    return 0;
}

void skep_sim_clock_init(struct skep_sim_clock *clock, const struct skep_mem *mem, uint64_t seed)
{
    memset(clock, 0, sizeof *clock);
    clock->env.mem = mem;
    skep_timers_init(&clock->timers, mem);
    clock->env.timers = &clock->timers;
    clock->env.log_level = SKEP_LOG_DEBUG;
    clock->env.now_us = now_us;
    clock->env.unix_s = unix_s;
    clock->env.entropy = entropy;
    clock->env.log = log_line;
    clock->env.work = work;
    clock->now_us = SKEP_SIM_SECOND; /* not 0, which means "never" in some options */
    clock->unix_s_start = 1700000000.0;
    clock->work_timer.fire = finish_work;
    skep_prng_init(&clock->prng, seed);
}

void skep_sim_clock_fini(struct skep_sim_clock *clock)
{
    skep_mem_free(clock->env.mem, clock->work);
    skep_timers_fini(clock->env.timers);
}

/* ---- environments of nodes whose wall clock is wrong ---- */

static struct skep_sim_env *sim_env_of(struct skep_env *env)
{
    return SKEP_CONTAINER_OF(env, struct skep_sim_env, env);
}

static uint64_t env_now_us(struct skep_env *env)
{
    return sim_env_of(env)->clock->now_us;
}

static double env_unix_s(struct skep_env *env)
{
    struct skep_sim_env *own = sim_env_of(env);

    return unix_s(&own->clock->env) + own->skew_s;
}

static int env_entropy(struct skep_env *env, void *out, size_t len)
{
    return entropy(&sim_env_of(env)->clock->env, out, len);
}

static void env_log(struct skep_env *env, enum skep_log_level level, const char *text)
{
    log_line(&sim_env_of(env)->clock->env, level, text);
}

static int env_work(struct skep_env *env, struct skep_work *item)
{
    return work(&sim_env_of(env)->clock->env, item);
}

void skep_sim_clock_env(struct skep_sim_clock *clock, struct skep_sim_env *out, double skew_s)
{
    *out = (struct skep_sim_env){.env = {.mem = clock->env.mem,
                                         .timers = clock->env.timers,
                                         .log_level = clock->env.log_level,
                                         .now_us = env_now_us,
                                         .unix_s = env_unix_s,
                                         .entropy = env_entropy,
                                         .log = env_log,
                                         .work = env_work},
                                 .clock = clock,
                                 .skew_s = skew_s};
}

/* ---- running ---- */

bool skep_sim_clock_step(struct skep_sim_clock *clock, uint64_t until_us)
{
    uint64_t next = skep_timers_next_us(clock->env.timers);

    if (next == SKEP_NEVER_US || next > until_us)
        return false;
    clock->now_us = SKEP_MAX(clock->now_us, next);
    clock->events += skep_timers_run(clock->env.timers, clock->now_us);
    return true;
}

void skep_sim_clock_run_for(struct skep_sim_clock *clock, uint64_t us)
{
    uint64_t until = clock->now_us + us;

    while (skep_sim_clock_step(clock, until))
        ;
    clock->now_us = until;
}

bool skep_sim_clock_run_until(struct skep_sim_clock *clock, const bool *flag, uint64_t us)
{
    uint64_t until = clock->now_us + us;

    while (!*flag && skep_sim_clock_step(clock, until))
        ;
    return *flag;
}
