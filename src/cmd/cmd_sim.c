/* SPDX-License-Identifier: MIT */
/* skep sim: a swarm of thousands of nodes in virtual time, searched and measured. */
#include <stdlib.h>
#include <sys/resource.h>

#include "cmd/cmd.h"
#include "lab/scenario.h"

static char *nodes_text, *experts_text, *grid_text, *queries_text, *searchers_text, *seed_text,
    *beam_text, *mode_text, *budget_text, *dead_text;
static int real;

static struct poptOption options[] = {
    {"nodes", 'n', POPT_ARG_STRING, &nodes_text, 0, "how many nodes (1000)", "N"},
    {"experts", 'e', POPT_ARG_STRING, &experts_text, 0, "how many experts (4096)", "M"},
    {"grid", 'g', POPT_ARG_STRING, &grid_text, 0, "sizes of the grid's dimensions (256x256x256)", "GRID"},
    {"queries", 'q', POPT_ARG_STRING, &queries_text, 0, "how many searches (100)", "N"},
    {"searchers", '\0', POPT_ARG_STRING, &searchers_text, 0, "nodes that search (10)", "N"},
    {"seed", '\0', POPT_ARG_STRING, &seed_text, 0, "of everything (1)", "S"},
    {"beam", 'b', POPT_ARG_STRING, &beam_text, 0, "how many experts to find (4)", "K"},
    {"mode", '\0', POPT_ARG_STRING, &mode_text, 0, "beam or exact", "beam|exact"},
    {"budget", '\0', POPT_ARG_STRING, &budget_text, 0, "of each search", "DURATION"},
    {"dead", '\0', POPT_ARG_STRING, &dead_text, 0, "dead ppm", "PPM"},
    {"real", '\0', POPT_ARG_NONE, &real, 0, "real joins", NULL},
    SKEP_CMD_OPTIONS_OUTPUT,
    POPT_TABLEEND};

static void on_progress(void *user, const char *what, uint64_t done, uint64_t whole)
{
    (void)user;
    skep_cmd_progress("%s %llu of %llu", what, (unsigned long long)done, (unsigned long long)whole);
}

static void line(const char *name, struct skep_lab_samples *s, double scale)
{
    printf("%-14s n %zu  p5 %.1f  median %.1f  p95 %.1f  p99 %.1f  max %.1f mean %.1f\n", name, s->count, (double)skep_lab_samples_at(s, 50) / scale, (double)skep_lab_samples_at(s, 500) / scale,
           (double)skep_lab_samples_at(s, 950) / scale, (double)skep_lab_samples_at(s, 990) / scale, (double)skep_lab_samples_at(s, 1000) / scale, (double)skep_lab_samples_mean(s) / scale);
}

static int run(const struct skep_cmd *cmd, int argc, const char **argv)
{
    struct skep_lab_scenario s;
    struct skep_lab_report r;
    struct skep_cmd_args args;
    struct skep_cmd_grid grid;
    struct skep_cmd_why why = {.text = ""};
    int rc, code = skep_cmd_parse(cmd, options, argc, argv, 0, 0, &args);
    uint64_t n, t0 = skep_cmd_now_us();

    if (code != SKEP_CMD_GO_ON)
        return code;
    skep_lab_scenario_default(&s);
#define C(opt, text, field) n = s.field; if (!skep_cmd_option_count(opt, text, 0, 1u << 30, &n)) return 2; s.field = n;
    C("--nodes", nodes_text, nodes) C("--experts", experts_text, experts) C("--queries", queries_text, queries) C("--searchers", searchers_text, searchers) C("--seed", seed_text, seed) C("--beam", beam_text, beam_size)
    n = 0; if (!skep_cmd_option_count("--dead", dead_text, 0, 1u << 30, &n)) return 2; s.dead_ppm = (uint32_t)n;
    if (!skep_cmd_option_duration("--budget", budget_text, &s.budget_us)) return 2;
    s.exact = mode_text && strcmp(mode_text, "exact") == 0;
    s.real = real;
    if (grid_text) { if (skep_cmd_grid_parse(&grid, grid_text, &why) < 0) return 2; s.dims = grid.dims; for (size_t d = 0; d < grid.dims; d++) s.grid[d] = (uint32_t)grid.size[d]; }
    rc = skep_lab_run(&s, &skep_mem_std, &r, on_progress, NULL);
    skep_cmd_progress_end();
    if (rc < 0) { skep_cmd_error("sim", "%s", skep_error_name(rc)); return 1; }
    struct rusage u; getrusage(RUSAGE_SELF, &u);
    line("latency ms", &r.latency_us, 1000); line("rounds", &r.rounds, 1); line("calls", &r.calls, 1); line("keys", &r.keys, 1); line("gap", &r.gap_micro, 1e6); line("table", &r.table_nodes, 1);
    printf("searches %llu exact %llu unanswered %llu timed_out %llu recall %.4f; calls %llu timeouts %llu; events %llu virtual %.1f s; wall %.2f s rss %ld MiB\n%s\n", (unsigned long long)r.searches, (unsigned long long)r.claimed_exact, (unsigned long long)r.unanswered, (unsigned long long)r.timed_out,
      (double)r.hits / (double)r.hits_wanted, (unsigned long long)r.net.calls, (unsigned long long)r.net.timeouts, (unsigned long long)r.events, (double)r.virtual_us/1e6, (double)(skep_cmd_now_us()-t0)/1e6, u.ru_maxrss >> 10, r.wrong);
    skep_lab_report_fini(&r);
    return 0;
}

const struct skep_cmd skep_cmd_sim = {
    .name = "sim", .arguments = "", .summary = "simulate a swarm of thousands of nodes", .details = "", .example = "  skep sim", .run = run};
