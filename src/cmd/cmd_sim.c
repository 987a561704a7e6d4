/* SPDX-License-Identifier: MIT */
/* skep sim: a swarm of thousands of nodes in one process and virtual time, searched and measured; or many small ones, drawn and watched. */
#include <stdlib.h>
#include <sys/resource.h>

#include "cmd/cmd.h"
#include "cmd/sim_options.h"
#include "cmd/sim_show.h"

enum { HOW_MAX = 1024, NODES_MAX = 1 << 20 };

static char *nodes_text, *experts_text, *grid_text, *queries_text, *searchers_text, *seed_text,
    *beam_text, *mode_text, *budget_text, *key_budget_text, *guess_text, *scores_text,
    *latency_text, *jitter_text, *loss_text, *handshake_text, *dead_text, *slow_text, *clients_text,
    *malicious_text, *skew_text, *partition_text, *churn_text, *duration_text, *declare_text,
    *plot_folder, *soak_text, *scenarios_text;
static int real, one_hop, warm, keep_caches, no_costs;

static struct poptOption world_options[] = {
    {"nodes", 'n', POPT_ARG_STRING, &nodes_text, 0, "how many nodes (1000)", "N"},
    {"experts", 'e', POPT_ARG_STRING, &experts_text, 0, "how many experts, at random places (4096)",
     "M"},
    {"grid", 'g', POPT_ARG_STRING, &grid_text, 0, "sizes of the grid's dimensions (256x256x256)",
     "GRID"},
    {"seed", '\0', POPT_ARG_STRING, &seed_text, 0, "of everything that is drawn (1)", "S"},
    {"real", '\0', POPT_ARG_NONE, &real, 0,
     "nodes join and declare through the network; else tables and records are placed by a rule",
     NULL},
    POPT_TABLEEND};

static struct poptOption search_options[] = {
    {"queries", 'q', POPT_ARG_STRING, &queries_text, 0, "how many searches (100)", "N"},
    {"searchers", '\0', POPT_ARG_STRING, &searchers_text, 0, "clients that search (10)", "N"},
    {"beam", 'b', POPT_ARG_STRING, &beam_text, 0, "how many experts to find (4)", "K"},
    {"mode", '\0', POPT_ARG_STRING, &mode_text, 0, "beam as hivemind (the default), or exact",
     "beam|exact"},
    {"budget", '\0', POPT_ARG_STRING, &budget_text, 0, "each search answers by then", "DURATION"},
    {"key-budget", '\0', POPT_ARG_STRING, &key_budget_text, 0,
     "exact: ask for at most so many keys", "N"},
    {"guess", '\0', POPT_ARG_STRING, &guess_text, 0,
     "ask for at most so many keys on a guess (64; 0: none)", "N"},
    {"scores", '\0', POPT_ARG_STRING, &scores_text, 0, "how scores are drawn (uniform)",
     "uniform|normal"},
    {"one-hop", '\0', POPT_ARG_NONE, &one_hop, 0, "searchers know all nodes", NULL},
    {"keep-caches", '\0', POPT_ARG_NONE, &keep_caches, 0, "do not start every search cold", NULL},
    POPT_TABLEEND};

static struct poptOption network_options[] = {
    {"latency", '\0', POPT_ARG_STRING, &latency_text, 0,
     "round trips of pairs (lognormal:80ms,0.5); or 80ms, uniform:20ms,80ms, matrix:FILE", "MODEL"},
    {"jitter", '\0', POPT_ARG_STRING, &jitter_text, 0, "added to each message, below this",
     "DURATION"},
    {"loss", '\0', POPT_ARG_STRING, &loss_text, 0, "of messages", "SHARE"},
    {"handshake", '\0', POPT_ARG_STRING, &handshake_text, 0, "round trips of a first contact (3)",
     "N"},
    {"warm", '\0', POPT_ARG_NONE, &warm, 0, "all are connected from the start", NULL},
    {"dead", '\0', POPT_ARG_STRING, &dead_text, 0, "of nodes: silent, and still in all tables",
     "SHARE"},
    {"slow", '\0', POPT_ARG_STRING, &slow_text, 0, "of nodes, and how much later they answer",
     "SHARE,DURATION"},
    {"clients", '\0', POPT_ARG_STRING, &clients_text, 0, "of nodes that cannot be reached",
     "SHARE"},
    {"malicious", '\0', POPT_ARG_STRING, &malicious_text, 0,
     "of nodes: name wrong neighbours, refuse, or answer garbage", "SHARE"},
    {"skew", '\0', POPT_ARG_STRING, &skew_text, 0, "clocks are wrong by up to so much", "DURATION"},
    POPT_TABLEEND};

static struct poptOption time_options[] = {
    {"churn", '\0', POPT_ARG_STRING, &churn_text, 0,
     "how long nodes stay, by the median: 3600s, exp:3600s or lognormal:3600s,1.0", "SESSION"},
    {"duration", '\0', POPT_ARG_STRING, &duration_text, 0,
     "let so much time pass, in which values are asked for too (10m with --churn)", "DURATION"},
    {"declare-every", '\0', POPT_ARG_STRING, &declare_text, 0,
     "experts are declared so often, for twice as long (once, for a day)", "DURATION"},
    {"partition", '\0', POPT_ARG_STRING, &partition_text, 0,
     "of nodes that are cut off after a third of the time, and for how long", "SHARE,DURATION"},
    POPT_TABLEEND};

static struct poptOption options[] = {
    {NULL, '\0', POPT_ARG_INCLUDE_TABLE, world_options, 0, "The swarm and its experts:", NULL},
    {NULL, '\0', POPT_ARG_INCLUDE_TABLE, search_options, 0, "Searches:", NULL},
    {NULL, '\0', POPT_ARG_INCLUDE_TABLE, network_options, 0, "The network:", NULL},
    {NULL, '\0', POPT_ARG_INCLUDE_TABLE, time_options, 0, "Time that passes:", NULL},
    {"plot", '\0', POPT_ARG_STRING, &plot_folder, 0, "write pictures into this folder", "DIR"},
    {"soak", '\0', POPT_ARG_STRING, &soak_text, 0,
     "for so long: scenarios from random seeds, from --seed on, watched; --nodes is the most",
     "DURATION"},
    {"scenarios", '\0', POPT_ARG_STRING, &scenarios_text, 0, "as --soak, but so many", "N"},
    {"no-costs", '\0', POPT_ARG_NONE, &no_costs, 0,
     "with --json: leave out what differs from machine to machine", NULL},
    SKEP_CMD_OPTIONS_OUTPUT,
    POPT_TABLEEND};

/* ---- from options to a scenario ---- */

static bool count_option(const char *name, const char *text, uint64_t least, uint64_t most,
                         size_t *out)
{
    uint64_t number = *out;
    bool ok = skep_cmd_option_count(name, text, least, most, &number);

    *out = (size_t)number;
    return ok;
}

static bool share_option(const char *name, const char *text, uint32_t *out_ppm)
{
    struct skep_cmd_why why = {.text = ""};

    if (!text || skep_cmd_share_parse(out_ppm, text, &why) == 0)
        return true;
    skep_cmd_error(name, "%s", why.text);
    return false;
}

/* "10%,50ms" */
static bool share_and_duration(const char *name, char *text, uint32_t *out_ppm, uint64_t *out_us)
{
    char *comma = text ? strchr(text, ',') : NULL;

    if (!text)
        return true;
    if (!comma) {
        skep_cmd_error(name, "'%.64s' has no duration: 10%%,500ms", text);
        return false;
    }
    *comma = '\0';
    return share_option(name, text, out_ppm) && skep_cmd_option_duration(name, comma + 1, out_us);
}

static bool read_matrix(const char *path, struct skep_lab_scenario *s, uint32_t **matrix)
{
    struct skep_cmd_why why = {.text = ""};
    struct skep_buf file;
    size_t places = 0;
    bool ok;

    skep_buf_init(&file, &skep_mem_std);
    ok = skep_cmd_read_file(&file, path);
    if (ok &&
        skep_cmd_matrix_parse(matrix, &places, &skep_mem_std, skep_buf_view(&file), &why) < 0) {
        skep_cmd_error(path, "%s", why.text);
        ok = false;
    }
    skep_buf_fini(&file);
    if (ok)
        s->faults.latency = skep_sim_latency_matrix(*matrix, (uint32_t)places);
    return ok;
}

static bool latency_option(struct skep_lab_scenario *s, uint32_t **matrix)
{
    struct skep_cmd_why why = {.text = ""};
    struct skep_sim_latency_text t;

    if (!latency_text)
        return true;
    if (skep_cmd_latency_parse(&t, latency_text, &why) < 0) {
        skep_cmd_error("--latency", "%s", why.text);
        return false;
    }
    switch (t.kind) {
    case SKEP_LATENCY_CONSTANT: s->faults.latency = skep_sim_latency_constant(t.a_us); break;
    case SKEP_LATENCY_UNIFORM: s->faults.latency = skep_sim_latency_uniform(t.a_us, t.b_us); break;
    case SKEP_LATENCY_LOGNORMAL:
        s->faults.latency = skep_sim_latency_lognormal(t.a_us, t.sigma_milli);
        break;
    case SKEP_LATENCY_MATRIX: return read_matrix(t.file, s, matrix);
    }
    return true;
}

static bool churn_option(struct skep_lab_scenario *s)
{
    struct skep_cmd_why why = {.text = ""};
    struct skep_sim_session_text t;

    if (!churn_text)
        return true;
    if (skep_cmd_session_parse(&t, churn_text, &why) < 0) {
        skep_cmd_error("--churn", "%s", why.text);
        return false;
    }
    s->session = (struct skep_sim_session){.kind = t.kind == SKEP_SESSION_LOGNORMAL
                                                       ? SKEP_SIM_SESSION_LOGNORMAL
                                                       : SKEP_SIM_SESSION_EXPONENTIAL,
                                           .sigma_milli = t.sigma_milli,
                                           .median_us = t.median_us};
    s->duration_us = 600 * SKEP_SIM_SECOND;
    return true;
}

static bool word_option(const char *name, const char *text, const char *no, const char *yes,
                        bool *out)
{
    *out = text && strcmp(text, yes) == 0;
    if (!text || *out || strcmp(text, no) == 0)
        return true;
    skep_cmd_error(name, "'%.64s' is neither %s nor %s", text, no, yes);
    return false;
}

static bool world_of(struct skep_lab_scenario *s)
{
    struct skep_cmd_why why = {.text = ""};
    struct skep_cmd_grid grid;

    if (skep_cmd_grid_parse(&grid, grid_text ? grid_text : "256x256x256", &why) < 0) {
        skep_cmd_error("--grid", "%s", why.text);
        return false;
    }
    s->dims = grid.dims;
    for (size_t d = 0; d < grid.dims; d++) {
        if (grid.size[d] > SKEP_GRID_SIZE_MAX) {
            skep_cmd_error("--grid", "%zu indices are more than a dimension may have",
                           grid.size[d]);
            return false;
        }
        s->grid[d] = (uint32_t)grid.size[d];
    }
    s->real = real != 0;
    return count_option("--nodes", nodes_text, 1, NODES_MAX, &s->nodes) &&
           count_option("--experts", experts_text, 1, 1u << 26, &s->experts) &&
           skep_cmd_option_count("--seed", seed_text, 0, UINT64_MAX, &s->seed);
}

static bool searches_of(struct skep_lab_scenario *s)
{
    s->one_hop = one_hop != 0;
    s->keep_caches = keep_caches != 0;
    return count_option("--queries", queries_text, 1, 1u << 26, &s->queries) &&
           count_option("--searchers", searchers_text, 1, SKEP_LAB_SEARCHERS_MAX, &s->searchers) &&
           count_option("--beam", beam_text, 1, SKEP_BEAM_SIZE_MAX, &s->beam_size) &&
           count_option("--key-budget", key_budget_text, 1, SKEP_EXACT_KEYS_MAX, &s->keys_max) &&
           count_option("--guess", guess_text, 0, SKEP_BEAM_GUESS_KEYS_MAX, &s->guess_keys) &&
           word_option("--mode", mode_text, "beam", "exact", &s->exact) &&
           word_option("--scores", scores_text, "uniform", "normal", &s->normal_scores) &&
           skep_cmd_option_duration("--budget", budget_text, &s->budget_us);
}

static bool network_of(struct skep_lab_scenario *s, uint32_t **matrix)
{
    size_t rounds = s->faults.handshake_rounds;
    bool ok = latency_option(s, matrix) &&
              skep_cmd_option_duration("--jitter", jitter_text, &s->faults.jitter_us) &&
              share_option("--loss", loss_text, &s->faults.loss_ppm) &&
              count_option("--handshake", handshake_text, 0, 100, &rounds) &&
              share_option("--dead", dead_text, &s->dead_ppm) &&
              share_and_duration("--slow", slow_text, &s->slow_ppm, &s->slow_us) &&
              share_option("--clients", clients_text, &s->client_ppm) &&
              share_option("--malicious", malicious_text, &s->malicious_ppm) &&
              skep_cmd_option_duration("--skew", skew_text, &s->skew_us);

    s->faults.warm = warm != 0;
    s->faults.handshake_rounds = (uint32_t)rounds;
    return ok;
}

static bool time_of(struct skep_lab_scenario *s)
{
    if (!churn_option(s) || !skep_cmd_option_duration("--duration", duration_text, &s->duration_us))
        return false;
    return skep_cmd_option_duration("--declare-every", declare_text, &s->declare_every_us) &&
           share_and_duration("--partition", partition_text, &s->partition_ppm, &s->partition_us);
}

static bool scenario_of(struct skep_lab_scenario *s, uint32_t **matrix)
{
    const char *why;

    if (!world_of(s) || !searches_of(s) || !network_of(s, matrix) || !time_of(s))
        return false;
    if (skep_lab_scenario_check(s, &why) == 0)
        return true;
    skep_cmd_error("sim", "%s", why);
    return false;
}

/* ---- one run ---- */

static void on_progress(void *user, const char *what, uint64_t done, uint64_t whole)
{
    (void)user;
    if (done % 64 == 0)
        skep_cmd_progress("%s %llu of %llu", what, (unsigned long long)done,
                          (unsigned long long)whole);
}

static uint64_t memory_bytes(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss << 10 : 0;
}

/* The command line, for pictures. */
static void how_of(char out[HOW_MAX], int argc, const char **argv)
{
    size_t len = (size_t)snprintf(out, HOW_MAX, "skep sim");

    for (int i = 1; i < argc && len + 2 < HOW_MAX; i++)
        len += (size_t)snprintf(out + len, HOW_MAX - len, " %s", argv[i]);
}

static int show(const struct skep_lab_scenario *scenario, struct skep_lab_report *report,
                const struct skep_sim_costs *costs)
{
    int code = SKEP_EXIT_DONE;

    if (skep_cmd_common.json)
        code = skep_cmd_print_json(skep_sim_json(scenario, report, no_costs ? NULL : costs))
                   ? SKEP_EXIT_DONE
                   : SKEP_EXIT_FAILED;
    else
        skep_sim_print(scenario, report, costs);
    if (report->wrong[0] != '\0') {
        skep_cmd_error("sim", "seed %llu: %s", (unsigned long long)scenario->seed, report->wrong);
        code = SKEP_EXIT_FAILED;
    }
    return code;
}

static int run_one(const struct skep_lab_scenario *scenario, const char *how)
{
    uint64_t began_us = skep_cmd_now_us();
    struct skep_sim_costs costs;
    struct skep_lab_report report;
    int code, rc = skep_lab_run(scenario, &skep_mem_std, &report, on_progress, NULL);

    skep_cmd_progress_end();
    costs = (struct skep_sim_costs){skep_cmd_now_us() - began_us, memory_bytes()};
    if (rc < 0) {
        skep_cmd_error("sim", "%s",
                       rc == SKEP_EINVAL ? "the grid has not so many places as there are experts"
                                         : skep_error_name(rc));
        code = rc == SKEP_EINVAL ? SKEP_EXIT_USAGE : SKEP_EXIT_FAILED;
    } else {
        code = show(scenario, &report, &costs);
    }
    if (code == SKEP_EXIT_DONE && plot_folder)
        code = skep_sim_plot(plot_folder, how, scenario, &report);
    skep_lab_report_fini(&report);
    return code;
}

/* ---- many drawn runs ---- */

/* Counts what is not given back. */
struct counted {
    struct skep_mem mem;
    size_t pieces;
};

static void *counted_resize(void *ctx, void *ptr, size_t len)
{
    struct counted *counted = ctx;
    void *out = skep_mem_std.resize(skep_mem_std.ctx, ptr, len);

    if (!ptr && out)
        counted->pieces++;
    else if (ptr && len == 0)
        counted->pieces--;
    return out;
}

/* @return was all as it must be? */
static bool run_drawn(uint64_t seed, size_t nodes_max)
{
    struct counted counted = {.mem = {counted_resize, &counted}};
    struct skep_lab_scenario scenario;
    struct skep_lab_report report;
    bool ok;
    int rc;

    skep_lab_scenario_random(&scenario, seed, nodes_max);
    rc = skep_lab_run(&scenario, &counted.mem, &report, NULL, NULL);
    skep_lab_report_fini(&report);
    ok = rc == 0 && report.wrong[0] == '\0' && counted.pieces == 0;
    if (skep_cmd_common.json)
        ok &= skep_cmd_print_json(json_pack(
            "{s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "seed", (json_int_t)seed, "nodes",
            (json_int_t)scenario.nodes, "searches", (json_int_t)report.searches, "values_found",
            (json_int_t)report.values_found, "values_missed", (json_int_t)report.values_missed,
            "events", (json_int_t)report.events, "wrong", report.wrong));
    if (ok)
        return true;
    skep_cmd_error("sim", "%s; again with: skep sim --scenarios 1 --nodes %zu --seed %llu",
                   rc < 0                    ? skep_error_name(rc)
                   : report.wrong[0] != '\0' ? report.wrong
                                             : "memory was not given back",
                   nodes_max, (unsigned long long)seed);
    return false;
}

static int soak(const struct skep_lab_scenario *like)
{
    uint64_t began_us = skep_cmd_now_us(), for_us = UINT64_MAX, count = UINT64_MAX, done = 0;

    if (!skep_cmd_option_duration("--soak", soak_text, &for_us) ||
        !skep_cmd_option_count("--scenarios", scenarios_text, 1, UINT64_MAX, &count))
        return SKEP_EXIT_USAGE;
    for (; done < count && skep_cmd_now_us() - began_us < for_us; done++) {
        skep_cmd_progress("scenario %llu, seed %llu", (unsigned long long)done + 1,
                          (unsigned long long)(like->seed + done));
        if (!run_drawn(like->seed + done, like->nodes))
            return SKEP_EXIT_FAILED;
    }
    skep_cmd_progress_end();
    if (!skep_cmd_common.json)
        printf("%llu scenarios of up to %zu nodes, seeds %llu to %llu: all promises kept\n",
               (unsigned long long)done, like->nodes, (unsigned long long)like->seed,
               (unsigned long long)(like->seed + done - 1));
    return SKEP_EXIT_DONE;
}

static int run(const struct skep_cmd *cmd, int argc, const char **argv)
{
    struct skep_lab_scenario scenario;
    uint32_t *matrix = NULL;
    struct skep_cmd_args args;
    char how[HOW_MAX];
    int code = skep_cmd_parse(cmd, options, argc, argv, 0, 0, &args);

    if (code != SKEP_CMD_GO_ON)
        return code;
    how_of(how, argc, argv);
    skep_lab_scenario_default(&scenario);
    if (!scenario_of(&scenario, &matrix))
        code = SKEP_EXIT_USAGE;
    else if (soak_text || scenarios_text)
        code = soak(&scenario);
    else
        code = run_one(&scenario, how);
    skep_mem_free(&skep_mem_std, matrix);
    return code;
}

const struct skep_cmd skep_cmd_sim = {
    .name = "sim",
    .arguments = "",
    .summary = "simulate a swarm of thousands of nodes, and search it",
    .details =
        "Runs skep's own DHT, declarations and searches in virtual time. The same seed gives the same run on every machine.",
    .example =
        "  skep sim --nodes 10000 --experts 65536 --queries 1000 --searchers 100 --warm --one-hop\n"
        "  skep sim --nodes 1000 --experts 1000 --churn 3600s --declare-every 30s --plot pictures\n"
        "  skep sim --soak 10m --nodes 300",
    .run = run};
