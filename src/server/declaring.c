/* SPDX-License-Identifier: MIT */
/* Keeping a server's experts known: all of them are declared in one store, at once and every update_period. A round that failed is made good by the next.
 * hivemind moe/server/dht_handler.py. */
#include "server/server_impl.h"

enum { ROUND_US_MIN = 5000000 }; /* a store may take so long where the period is shorter */

static void wait_for_next(struct skep_server_core *core)
{
    uint64_t now_us = skep_env_now_us(core->env), period_us = core->options.update_period_us;
    uint64_t next_us = core->declared_us + period_us;

    if (skep_timer_start(core->env->timers, &core->declare_timer, SKEP_MAX(next_us, now_us)) < 0)
        skep_log(core->env, SKEP_LOG_ERROR, "out of memory: the experts are not declared again");
}

static void failed(struct skep_server_core *core, const char *what)
{
    core->stats.declarations_failed++;
    skep_log(core->env, SKEP_LOG_WARNING, "%zu expert%s not declared: %s; again in %.1f s",
             core->count, core->count == 1 ? "" : "s", what,
             (double)core->options.update_period_us / 1e6);
}

static void over(struct skep_server_core *core)
{
    core->declaring = false;
    skep_declare_fini(&core->declare);
    wait_for_next(core);
    skep_server_started(core, 0);
}

static void on_declared(struct skep_declare *declare, int rc)
{
    struct skep_server_core *core = SKEP_CONTAINER_OF(declare, struct skep_server_core, declare);
    size_t accepted = 0;

    for (size_t i = 0; i < declare->record_count; i++)
        accepted += declare->records[i].accepted > 0;
    if (accepted > 0)
        core->stats.declarations++;
    else
        failed(core, rc < 0 ? skep_strerror(rc) : "no peer accepted a record");
    skep_log(core->env, SKEP_LOG_DEBUG, "declared: %zu of %zu records stored", accepted,
             declare->record_count);
    over(core);
}

void skep_server_declare_now(struct skep_server_core *core)
{
    uint64_t now_us = skep_env_now_us(core->env);
    const struct skep_dht_store_options options = {
        .deadline_us = now_us + SKEP_MAX(core->options.update_period_us, (uint64_t)ROUND_US_MIN)};
    int rc;

    core->declared_us = now_us;
    core->declaring = true;
    core->declare = (struct skep_declare){.done = on_declared};
    rc = skep_declare_start(&core->declare, core->dht, core->uid_views, core->count,
                            &core->rpc->self, skep_env_unix_s(core->env) + core->expiration_s,
                            &options, NULL, 0);
    if (rc < 0) {
        failed(core, skep_strerror(rc));
        over(core);
    }
}

static void on_period(struct skep_timer *timer)
{
    skep_server_declare_now(SKEP_CONTAINER_OF(timer, struct skep_server_core, declare_timer));
}

void skep_server_declaring_init(struct skep_server_core *core)
{
    core->declare_timer.fire = on_period;
}

void skep_server_declaring_stop(struct skep_server_core *core)
{
    skep_env_stop(core->env, &core->declare_timer);
    if (core->declaring)
        skep_declare_fini(&core->declare);
    core->declaring = false;
}
