/* SPDX-License-Identifier: MIT */
#include "cmd/sim_show.h"

#include "cmd/output.h"

static double ms(uint64_t us)
{
    return (double)us / 1000;
}

static double share(uint64_t part, uint64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0;
}

/* ---- JSON ---- */

static json_t *samples_json(struct skep_lab_samples *s, double unit)
{
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "count", (json_int_t)s->count, "p5",
                     (double)skep_lab_samples_at(s, 50) / unit, "median",
                     (double)skep_lab_samples_at(s, 500) / unit, "p95",
                     (double)skep_lab_samples_at(s, 950) / unit, "p99",
                     (double)skep_lab_samples_at(s, 990) / unit, "max",
                     (double)skep_lab_samples_at(s, 1000) / unit, "mean",
                     (double)skep_lab_samples_mean(s) / unit);
}

static json_t *scenario_json(const struct skep_lab_scenario *s)
{
    json_t *grid = json_array();

    for (size_t d = 0; d < s->dims; d++)
        json_array_append_new(grid, json_integer(s->grid[d]));
    return json_pack("{s:I, s:I, s:I, s:o, s:b, s:b, s:s, s:I, s:I, s:I, s:I}", "seed",
                     (json_int_t)s->seed, "nodes", (json_int_t)s->nodes, "experts",
                     (json_int_t)s->experts, "grid", grid, "real", s->real, "one_hop", s->one_hop,
                     "mode", s->exact ? "exact" : "beam", "beam", (json_int_t)s->beam_size,
                     "queries", (json_int_t)s->queries, "guess_keys", (json_int_t)s->guess_keys,
                     "budget_us", (json_int_t)s->budget_us);
}

static json_t *searches_json(struct skep_lab_report *r)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:o, s:o, s:o, s:o, s:o, s:o}", "count",
                     (json_int_t)r->searches, "exact", (json_int_t)r->claimed_exact, "unanswered",
                     (json_int_t)r->unanswered, "timed_out", (json_int_t)r->timed_out, "late",
                     (json_int_t)r->late, "recall", share(r->hits, r->hits_wanted), "latency_ms",
                     samples_json(&r->latency_us, 1000), "rounds", samples_json(&r->rounds, 1),
                     "calls", samples_json(&r->calls, 1), "keys", samples_json(&r->keys, 1),
                     "guessed", samples_json(&r->guessed, 1), "gap",
                     samples_json(&r->gap_micro, 1e6));
}

static json_t *values_json(const struct skep_lab_report *r)
{
    json_t *found = json_array(), *missed = json_array();

    for (size_t i = 0; i < r->timeline_count; i++) {
        json_array_append_new(found, json_integer(r->timeline[i].found));
        json_array_append_new(missed, json_integer(r->timeline[i].missed));
    }
    return json_pack("{s:I, s:I, s:I, s:o, s:o}", "found", (json_int_t)r->values_found, "missed",
                     (json_int_t)r->values_missed, "deaths", (json_int_t)r->deaths,
                     "found_over_time", found, "missed_over_time", missed);
}

static json_t *net_json(struct skep_lab_report *r)
{
    char digest[17];

    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)r->digest);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:I, s:I, s:f, s:s}", "calls",
                     (json_int_t)r->net.calls, "lost", (json_int_t)r->net.lost, "timeouts",
                     (json_int_t)r->net.timeouts, "handshakes", (json_int_t)r->net.handshakes,
                     "bytes", (json_int_t)r->net.bytes, "rtt_ms", samples_json(&r->rtt_us, 1000),
                     "table_nodes", samples_json(&r->table_nodes, 1), "load",
                     samples_json(&r->load, 1), "one_hop_bytes", (json_int_t)r->one_hop_bytes,
                     "events", (json_int_t)r->events, "virtual_s", (double)r->virtual_us / 1e6,
                     "digest", digest);
}

json_t *skep_sim_json(const struct skep_lab_scenario *scenario, struct skep_lab_report *report,
                      const struct skep_sim_costs *costs)
{
    json_t *document = json_pack("{s:o, s:o, s:o}", "scenario", scenario_json(scenario), "searches",
                                 searches_json(report), "network", net_json(report));

    if (scenario->duration_us > 0)
        json_object_set_new(document, "values", values_json(report));
    if (report->wrong[0] != '\0')
        json_object_set_new(document, "wrong", json_string(report->wrong));
    if (costs)
        json_object_set_new(document, "costs",
                            json_pack("{s:f, s:I}", "wall_s", (double)costs->wall_us / 1e6,
                                      "memory_bytes", (json_int_t)costs->memory_bytes));
    return document;
}

/* ---- the table ---- */

static void add_row(struct skep_table *table, const char *name, struct skep_lab_samples *s,
                    double unit, int digits)
{
    static const unsigned at[] = {50, 500, 950, 990, 1000};
    char text[SKEP_COUNT_OF(at)][32];

    for (size_t i = 0; i < SKEP_COUNT_OF(at); i++)
        snprintf(text[i], sizeof text[i], "%.*f", digits,
                 (double)skep_lab_samples_at(s, at[i]) / unit);
    skep_table_add(table, "%s", name);
    for (size_t i = 0; i < SKEP_COUNT_OF(at); i++)
        skep_table_add(table, "%s", text[i]);
}

static void print_table(const struct skep_lab_scenario *s, struct skep_lab_report *r)
{
    static const char *const heading[] = {"", ">5 %", ">median", ">95 %", ">99 %", ">most"};
    double rtt = (double)skep_lab_samples_at(&r->rtt_us, 500);
    struct skep_table table;

    skep_table_init(&table, heading, SKEP_COUNT_OF(heading));
    add_row(&table, "a search, ms", &r->latency_us, 1000, 1);
    if (rtt > 0)
        add_row(&table, "  in median round trips", &r->latency_us, rtt, 2);
    add_row(&table, "  rounds", &r->rounds, 1, 0);
    add_row(&table, "  calls", &r->calls, 1, 0);
    add_row(&table, "  keys", &r->keys, 1, 0);
    if (s->guess_keys > 0)
        add_row(&table, "  of them guessed", &r->guessed, 1, 0);
    add_row(&table, "  bound above the answer", &r->gap_micro, 1e6, 3);
    add_row(&table, "a node: calls received", &r->load, 1, 0);
    add_row(&table, "  nodes in its table", &r->table_nodes, 1, 0);
    skep_table_print(&table, stdout);
    skep_table_fini(&table);
}

static void print_grid(const struct skep_lab_scenario *s)
{
    for (size_t d = 0; d < s->dims; d++)
        printf("%s%u", d > 0 ? "x" : "", s->grid[d]);
}

void skep_sim_print(const struct skep_lab_scenario *s, struct skep_lab_report *r,
                    const struct skep_sim_costs *costs)
{
    printf("%zu nodes (%s), %zu experts of ", s->nodes,
           s->real ? "joined and declared" : "placed by rule", s->experts);
    print_grid(s);
    printf(", median round trip %.0f ms, seed %llu\n", ms(skep_lab_samples_at(&r->rtt_us, 500)),
           (unsigned long long)s->seed);
    print_table(s, r);
    printf("%llu searches found %.1f %% of the %zu best; %llu certainly exact, %llu with prefixes "
           "unanswered, %llu at their budget, %llu after it\n",
           (unsigned long long)r->searches, 100 * share(r->hits, r->hits_wanted), s->beam_size,
           (unsigned long long)r->claimed_exact, (unsigned long long)r->unanswered,
           (unsigned long long)r->timed_out, (unsigned long long)r->late);
    if (r->one_hop_bytes > 0)
        printf("a searcher's one-hop table: %.1f KiB\n", (double)r->one_hop_bytes / 1024);
    if (s->duration_us > 0)
        printf("%.3f %% of %llu values found while %llu nodes died and were replaced\n",
               100 * share(r->values_found, r->values_found + r->values_missed),
               (unsigned long long)(r->values_found + r->values_missed),
               (unsigned long long)r->deaths);
    printf("%llu calls and %llu events in %.1f s of virtual and %.2f s of real time, %.0f MiB\n",
           (unsigned long long)r->net.calls, (unsigned long long)r->events,
           (double)r->virtual_us / 1e6, (double)costs->wall_us / 1e6,
           (double)costs->memory_bytes / (1 << 20));
}
