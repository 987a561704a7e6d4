/* SPDX-License-Identifier: MIT */
/* What must hold in every run, whatever its weather: tables and records are sound, queues are short, what a living node holds is found, and all comes to rest. */
#include "lab/run.h"

/* Every node is looked at so often. */
#define WATCH_US (10 * SKEP_SIM_SECOND)
/* All come to rest within this, between two fetches of marks that are cached for 300 s. */
#define REST_US (700 * SKEP_SIM_SECOND)
/* How long a store may take, and clocks differ. */
#define STORING_S 10.0
/* Timers of one node that are no sign of a leak: its requests, their lateness, its upkeep. */
#define TIMERS_PER_NODE_MAX 2048

static void look(struct skep_lab_run *run)
{
    for (size_t i = 0; i < run->swarm.count; i++) {
        const struct skep_dht *dht = run->swarm.members[i].dht;
        const char *wrong = dht ? skep_dht_check(dht) : NULL;

        if (wrong)
            skep_lab_wrong(run, "node %zu: %s", i, wrong);
    }
    if (run->swarm.clock.env.timers->count > run->swarm.count * TIMERS_PER_NODE_MAX)
        skep_lab_wrong(run, "%zu timers run", run->swarm.clock.env.timers->count);
}

static void on_watch(struct skep_timer *timer)
{
    struct skep_lab_run *run = SKEP_CONTAINER_OF(timer, struct skep_lab_run, check_timer);

    look(run);
    skep_env_after(&run->swarm.clock.env, timer, WATCH_US);
}

void skep_lab_promises_watch(struct skep_lab_run *run)
{
    look(run);
    run->check_timer.fire = on_watch;
    skep_env_after(&run->swarm.clock.env, &run->check_timer, WATCH_US);
}

/* How many living members are nearer to a key than this one? */
static size_t nearer(const struct skep_lab_swarm *swarm, const struct skep_dht_id *key,
                     const struct skep_dht_id *than)
{
    size_t count = 0;

    for (size_t i = 0; i < swarm->living_count; i++)
        count += skep_dht_id_nearer(key, &swarm->members[swarm->living[i]].id, than) < 0;
    return count;
}

/* Has this member had the value since before it was asked for? Expirations tell when it was declared. */
static bool had(struct skep_lab_run *run, struct skep_lab_member *member,
                const struct skep_dht_id *key, double asked_unix_s)
{
    const struct skep_dht_value *value = skep_dht_stored(member->dht, key);
    double ttl_s = 2 * ((double)run->scenario->declare_every_us / 1e6);

    return value && value->expiration_unix_s - ttl_s < asked_unix_s - STORING_S;
}

/* A partition excuses everything, and so do liars. */
void skep_lab_promises_missed(struct skep_lab_run *run, const struct skep_dht_id *key,
                              double asked_unix_s)
{
    struct skep_lab_swarm *swarm = &run->swarm;
    size_t holders = 0, replicas = run->scenario->node.num_replicas;

    if (!run->scenario->check || run->scenario->partition_ppm > 0 ||
        run->scenario->malicious_ppm > 0)
        return;
    for (size_t i = 0; i < swarm->living_count; i++) {
        struct skep_lab_member *member = &swarm->members[swarm->living[i]];

        if (nearer(swarm, key, &member->id) < replicas && had(run, member, key, asked_unix_s))
            holders++;
    }
    /* One could be new there; most of the nearest cannot. */
    if (holders * 2 > replicas)
        skep_lab_wrong(run, "a value that %zu of the %zu nearest nodes hold was not found", holders,
                       replicas);
}

/* Who still has something to do; SKEP_LAB_NOBODY: all are idle. Those who could never join go on trying. */
static uint32_t who_is_busy(const struct skep_lab_swarm *swarm)
{
    for (uint32_t i = 0; i < swarm->count; i++) {
        const struct skep_lab_member *member = &swarm->members[i];

        if (member->dht && member->joined && !skep_dht_is_idle(member->dht))
            return i;
    }
    return SKEP_LAB_NOBODY;
}

void skep_lab_promises_at_rest(struct skep_lab_run *run)
{
    struct skep_sim_clock *clock = &run->swarm.clock;
    uint64_t until = clock->now_us + REST_US;

    skep_lab_servers_stop(run);
    skep_env_stop(&clock->env, &run->check_timer);
    skep_env_stop(&clock->env, &run->partition_timer);
    do
        skep_sim_clock_run_for(clock, WATCH_US / 2);
    while (who_is_busy(&run->swarm) != SKEP_LAB_NOBODY && clock->now_us < until);
    look(run);
    if (who_is_busy(&run->swarm) != SKEP_LAB_NOBODY)
        skep_lab_wrong(run, "node %u is still at work long after everybody has stopped",
                       who_is_busy(&run->swarm));
}
