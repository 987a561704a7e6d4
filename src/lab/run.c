/* SPDX-License-Identifier: MIT */
/* A run from its scenario to its report: the swarm is built, experts are declared, searchers search; see run.h. */
#include "lab/run.h"

#include <stdarg.h>
#include <stdio.h>

/* Between the starts of two joins, and how long all may take in the end. */
#define JOIN_EVERY_US (20 * SKEP_SIM_MS)
#define JOINS_US_MAX (600 * SKEP_SIM_SECOND)
/* Of each subtree: what tables had in swarms of 1,000 nodes that really joined; buckets that split hold more than one bucket of it. */
#define TABLE_SHARE(bucket_size) ((bucket_size)*8 / 5)
/* Pairs whose round trip is looked at. */
#define ROUND_TRIPS 20000
/* Placed records live longer than any run. */
#define PLACED_TTL_S (24.0 * 3600)

void skep_lab_scenario_default(struct skep_lab_scenario *s)
{
    *s = (struct skep_lab_scenario){.seed = 1,
                                    .nodes = 1000,
                                    .experts = 4096,
                                    .dims = 3,
                                    .grid = {256, 256, 256},
                                    .queries = 100,
                                    .searchers = 10,
                                    .beam_size = 4};
    skep_sim_faults_default(&s->faults);
    s->faults.latency = skep_sim_latency_lognormal(80 * SKEP_SIM_MS, 500);
    s->guess_keys = 64;
    skep_dht_options_default(&s->node);
}

int skep_lab_scenario_check(const struct skep_lab_scenario *s, const char **why)
{
    *why = NULL;
    if (s->nodes < 1 || s->nodes > 1 << 20)
        *why = "a swarm has 1 to 1048576 nodes";
    else if (s->dims < 1 || s->dims > SKEP_GRID_DIMENSIONS_MAX)
        *why = "a grid has 1 to 64 dimensions";
    else if (s->queries < 1 || s->searchers < 1 || s->searchers > SKEP_LAB_SEARCHERS_MAX)
        *why = "there are 1 to 100 searchers, and at least one search";
    else if (s->beam_size < 1)
        *why = "the beam size is zero";
    else if (s->dead_ppm > 1000000)
        *why = "more nodes are dead than there are";
    else if (s->client_ppm >= 1000000)
        *why = "somebody must be reachable";
    else if ((s->session.median_us > 0 || s->partition_ppm > 0) && s->duration_us == 0)
        *why = "nodes that come and go, and partitions, need time that passes";
    return *why ? SKEP_EINVAL : 0;
}

void skep_lab_wrong(struct skep_lab_run *run, const char *format, ...)
{
    va_list args;

    if (run->report->wrong[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(run->report->wrong, sizeof run->report->wrong, format, args);
    va_end(args);
}

static void progress(struct skep_lab_run *run, const char *what, uint64_t done, uint64_t whole)
{
    if (run->progress)
        run->progress(run->progress_user, what, done, whole);
}

/* ---- building ---- */

/* Of the members that are not clients some are malicious; the first one, whom the others join by, is neither. */
static enum skep_lab_role draw_role(struct skep_lab_run *run, size_t index)
{
    uint64_t client = skep_prng_below(&run->prng, 1000000),
             malicious = skep_prng_below(&run->prng, 1000000);

    if (index == 0)
        return SKEP_LAB_FULL;
    if (malicious < run->scenario->malicious_ppm)
        return SKEP_LAB_MALICIOUS;
    return client < run->scenario->client_ppm ? SKEP_LAB_CLIENT : SKEP_LAB_FULL;
}

/* Every one who is malicious knows the others. */
static int conspire(struct skep_lab_run *run)
{
    struct skep_lab_swarm *swarm = &run->swarm;
    size_t count = 0;

    run->accomplices = skep_mem_alloc(run->mem, swarm->count * sizeof *run->accomplices);
    if (!run->accomplices)
        return SKEP_ENOMEM;
    for (size_t i = 0; i < swarm->count; i++)
        if (swarm->members[i].malice)
            run->accomplices[count++] = swarm->members[i].rpc->self;
    for (size_t i = 0; i < swarm->count; i++)
        if (swarm->members[i].malice)
            skep_lab_malice_conspire(swarm->members[i].malice, run->accomplices, count);
    return 0;
}

static int add_members(struct skep_lab_run *run)
{
    int rc = 0;

    for (size_t i = 0; i < run->scenario->nodes && rc == 0; i++) {
        uint32_t member;

        rc = skep_lab_swarm_add(&run->swarm, &run->scenario->node, draw_role(run, i), &member);
        if (skep_prng_below(&run->prng, 1000000) < run->scenario->slow_ppm)
            skep_sim_net_set_slow(run->swarm.net, (uint32_t)i, run->scenario->slow_us);
    }
    if (rc == 0)
        rc = conspire(run);
    return rc < 0 ? rc : skep_lab_searchers_add(run);
}

/* The searchers' one-hop tables: all who are in tables, with round trips as a crawl has measured them. */
static int know_everybody(struct skep_lab_run *run, const struct skep_lab_index *index)
{
    const struct skep_lab_scenario *s = run->scenario;
    struct skep_dht_stats stats;
    int rc = 0;

    for (uint32_t i = (uint32_t)s->nodes; i < s->nodes + s->searchers && rc == 0; i++)
        for (size_t k = 0; k < index->count && rc == 0; k++) {
            uint32_t other = index->entries[k].member;

            rc = skep_dht_one_hop_place(run->swarm.members[i].dht, &index->entries[k].id,
                                        &run->swarm.members[other].rpc->self,
                                        skep_sim_latency_us(&s->faults.latency, s->seed, i, other));
        }
    if (rc == 0) {
        skep_dht_stats(run->swarm.members[s->nodes].dht, &stats);
        run->report->one_hop_bytes = stats.one_hop_bytes;
    }
    return rc;
}

static int place(struct skep_lab_run *run)
{
    const struct skep_lab_scenario *s = run->scenario;
    struct skep_lab_index index;
    int rc = skep_lab_place_index(&index, &run->swarm);

    progress(run, "filling tables", 0, s->nodes);
    if (rc == 0)
        rc = skep_lab_place_tables(&run->swarm, &index, 0, (uint32_t)run->swarm.count,
                                   TABLE_SHARE(s->node.bucket_size));
    progress(run, "placing experts", 0, s->experts);
    if (rc == 0 && s->declare_every_us == 0)
        rc = skep_lab_place_records(&run->swarm, &index, &run->world, (uint32_t)s->nodes,
                                    s->node.num_replicas,
                                    skep_lab_swarm_unix_s(&run->swarm) + PLACED_TTL_S);
    if (rc == 0 && s->one_hop)
        rc = know_everybody(run, &index);
    skep_lab_index_fini(&index);
    return rc;
}

/* One after the other, as swarms grow; each by way of one that is there. */
static int join(struct skep_lab_run *run)
{
    struct skep_lab_swarm *swarm = &run->swarm;
    uint64_t until;
    int rc = skep_lab_swarm_welcome(swarm, 0);

    for (uint32_t i = 1; i < swarm->count && rc == 0; i++) {
        rc = skep_lab_swarm_join(swarm, i, NULL, NULL);
        skep_sim_clock_run_for(&swarm->clock, JOIN_EVERY_US);
        progress(run, "joining", i, swarm->count);
    }
    until = swarm->clock.now_us + JOINS_US_MAX;
    while (rc == 0 && !skep_list_empty(&swarm->joining) &&
           skep_sim_clock_step(&swarm->clock, until))
        ;
    if (rc == 0 && !skep_list_empty(&swarm->joining))
        skep_lab_wrong(run, "a node could not join for %llu s",
                       (unsigned long long)(JOINS_US_MAX / SKEP_SIM_SECOND));
    return rc;
}

static int build(struct skep_lab_run *run)
{
    const struct skep_lab_scenario *s = run->scenario;
    int rc = skep_lab_swarm_init(&run->swarm, run->mem, s->seed, &s->faults, s->skew_us);

    if (rc == 0)
        rc = skep_lab_world_init(&run->world, run->mem, s->dims, s->grid, s->experts,
                                 &run->swarm.prng);
    if (rc == 0)
        rc = add_members(run);
    if (rc == 0)
        rc = s->real ? join(run) : place(run);
    if (rc == 0 && (s->real || s->duration_us > 0))
        rc = skep_lab_servers_start(run);
    return rc;
}

/* ---- measuring ---- */

static void kill_some(struct skep_lab_run *run)
{
    size_t dead = (size_t)((uint64_t)run->scenario->nodes * run->scenario->dead_ppm / 1000000);

    while (dead-- > 0) {
        uint32_t member = skep_lab_swarm_any(&run->swarm);

        if (member != SKEP_LAB_NOBODY)
            skep_lab_swarm_kill(&run->swarm, member, SKEP_SIM_SILENT);
    }
}

static void measure_tables(struct skep_lab_run *run)
{
    for (size_t i = 0; i < run->swarm.living_count; i++) {
        struct skep_dht_stats stats;

        skep_dht_stats(run->swarm.members[run->swarm.living[i]].dht, &stats);
        skep_lab_samples_add(&run->report->table_nodes, stats.table_nodes);
    }
}

static void measure_round_trips(struct skep_lab_run *run)
{
    for (size_t i = 0; i < ROUND_TRIPS && run->swarm.count > 1; i++) {
        uint32_t a = (uint32_t)skep_prng_below(&run->prng, run->swarm.count),
                 b = (uint32_t)skep_prng_below(&run->prng, run->swarm.count);

        if (a != b)
            skep_lab_samples_add(
                &run->report->rtt_us,
                skep_sim_latency_us(&run->scenario->faults.latency, run->scenario->seed, a, b));
    }
}

/* How many calls each full member has received so far. */
static uint64_t *loads(const struct skep_lab_run *run)
{
    uint64_t *calls = skep_mem_zalloc(run->mem, run->swarm.count, sizeof *calls);

    for (uint32_t i = 0; calls && i < run->swarm.count; i++)
        calls[i] = skep_sim_net_load(run->swarm.net, i);
    return calls;
}

static void measure_loads(struct skep_lab_run *run, const uint64_t *before, size_t count)
{
    for (uint32_t i = 0; before && i < count; i++)
        if (run->swarm.members[i].role == SKEP_LAB_FULL && run->swarm.members[i].dht)
            skep_lab_samples_add(&run->report->load,
                                 skep_sim_net_load(run->swarm.net, i) - before[i]);
}

static struct skep_lab_traffic net_now(const struct skep_lab_run *run)
{
    const struct skep_sim_net_stats *net = skep_sim_net_stats(run->swarm.net);

    return (struct skep_lab_traffic){net->calls, net->lost, net->timeouts, net->handshakes,
                                     net->bytes};
}

/* ---- a partition that heals ---- */

static void on_partition(struct skep_timer *timer)
{
    struct skep_lab_run *run = SKEP_CONTAINER_OF(timer, struct skep_lab_run, partition_timer);
    const struct skep_lab_scenario *s = run->scenario;

    run->is_parted = !run->is_parted;
    for (uint32_t i = 0; i < run->swarm.count; i++) {
        bool is_cut_off = run->is_parted && run->swarm.members[i].role == SKEP_LAB_FULL &&
                          skep_prng_below(&run->prng, 1000000) < s->partition_ppm;

        skep_sim_net_set_group(run->swarm.net, i, is_cut_off);
    }
    if (run->is_parted)
        skep_env_after(&run->swarm.clock.env, timer, s->partition_us);
}

static void plan_partition(struct skep_lab_run *run)
{
    run->partition_timer.fire = on_partition;
    if (run->scenario->partition_ppm > 0)
        skep_env_after(&run->swarm.clock.env, &run->partition_timer,
                       run->scenario->duration_us / 3);
}

/* ---- searching ---- */

static int search(struct skep_lab_run *run)
{
    struct skep_lab_report *report = run->report;
    struct skep_lab_traffic before = net_now(run), after;
    uint64_t virtual_us = run->swarm.clock.now_us, *load = loads(run);
    size_t count = run->swarm.count;
    int rc;

    run->started_us = virtual_us;
    if (run->scenario->duration_us > 0) {
        report->timeline_count = SKEP_LAB_TIMELINE;
        skep_lab_servers_live(run);
        plan_partition(run);
    }
    if (run->scenario->check)
        skep_lab_promises_watch(run);
    rc = skep_lab_searchers_run(run);
    after = net_now(run);
    measure_loads(run, load, count);
    skep_mem_free(run->mem, load);
    report->net = (struct skep_lab_traffic){
        after.calls - before.calls, after.lost - before.lost, after.timeouts - before.timeouts,
        after.handshakes - before.handshakes, after.bytes - before.bytes};
    report->virtual_us = run->swarm.clock.now_us - virtual_us;
    report->joins_failed = run->swarm.joins_failed;
    return rc;
}

static void report_init(struct skep_lab_report *report, const struct skep_mem *mem)
{
    *report = (struct skep_lab_report){.wrong = ""};
    skep_lab_samples_init(&report->table_nodes, mem);
    skep_lab_samples_init(&report->latency_us, mem);
    skep_lab_samples_init(&report->rounds, mem);
    skep_lab_samples_init(&report->calls, mem);
    skep_lab_samples_init(&report->keys, mem);
    skep_lab_samples_init(&report->guessed, mem);
    skep_lab_samples_init(&report->rtt_us, mem);
    skep_lab_samples_init(&report->gap_micro, mem);
    skep_lab_samples_init(&report->load, mem);
}

void skep_lab_report_fini(struct skep_lab_report *report)
{
    skep_lab_samples_fini(&report->table_nodes);
    skep_lab_samples_fini(&report->latency_us);
    skep_lab_samples_fini(&report->rounds);
    skep_lab_samples_fini(&report->calls);
    skep_lab_samples_fini(&report->keys);
    skep_lab_samples_fini(&report->guessed);
    skep_lab_samples_fini(&report->rtt_us);
    skep_lab_samples_fini(&report->gap_micro);
    skep_lab_samples_fini(&report->load);
}

int skep_lab_run(const struct skep_lab_scenario *scenario, const struct skep_mem *mem,
                 struct skep_lab_report *report, skep_lab_progress *on_progress, void *user)
{
    struct skep_lab_run run = {.scenario = scenario,
                               .mem = mem,
                               .report = report,
                               .progress = on_progress,
                               .progress_user = user};
    const char *why;
    int rc;

    report_init(report, mem);
    rc = skep_lab_scenario_check(scenario, &why);
    if (rc < 0)
        return rc;
    skep_prng_init(&run.prng, scenario->seed ^ 0x72756e);
    rc = build(&run);
    if (rc == 0) {
        kill_some(&run);
        measure_tables(&run);
        measure_round_trips(&run);
        rc = search(&run);
    }
    report->events = run.swarm.clock.events;
    skep_lab_searchers_fini(&run);
    if (rc == 0 && scenario->check)
        skep_lab_promises_at_rest(&run);
    skep_lab_servers_fini(&run);
    if (run.swarm.net)
        report->digest = skep_sim_net_digest(run.swarm.net);
    if (run.swarm.mem)
        skep_lab_swarm_fini(&run.swarm);
    skep_mem_free(mem, run.accomplices);
    if (run.world.mem)
        skep_lab_world_fini(&run.world);
    return rc;
}
