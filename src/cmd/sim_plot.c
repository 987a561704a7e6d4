/* SPDX-License-Identifier: MIT */
/* The pictures of skep sim --plot. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/chart.h"
#include "cmd/cmd.h"
#include "cmd/sim_show.h"

enum { SIZES_MAX = 8, BUDGETS = 9, ROUNDS_MAX = 32, PATH_LEN_MAX = 4096 };

/* Numbers for a picture, the caller's to free. */
static double *doubles(const struct skep_lab_samples *s, double unit)
{
    double *out = skep_mem_alloc(&skep_mem_std, (s->count + 1) * sizeof *out);

    for (size_t i = 0; out && i < s->count; i++)
        out[i] = (double)s->values[i] / unit;
    return out;
}

static int write_file(const char *folder, const char *name, int rc, struct skep_buf *svg)
{
    char path[PATH_LEN_MAX];
    FILE *file;
    bool ok;

    if (rc < 0) {
        skep_cmd_error(name, "%s", rc == SKEP_ENOMEM ? "out of memory" : "nothing to draw");
        return SKEP_EXIT_FAILED;
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "w");
    ok = file && fwrite(svg->data, 1, svg->len, file) == svg->len;
    if (file && fclose(file) != 0)
        ok = false;
    if (!ok)
        skep_cmd_error(path, "%s", strerror(errno));
    return ok ? SKEP_EXIT_DONE : SKEP_EXIT_USAGE;
}

static int draw(const char *folder, const char *name, const struct skep_chart *chart)
{
    struct skep_buf svg;
    int code;

    skep_buf_init(&svg, &skep_mem_std);
    code = skep_chart_write(&svg, chart);
    code = write_file(folder, name, code, &svg);
    skep_buf_fini(&svg);
    return code;
}

static int run(const struct skep_lab_scenario *scenario, struct skep_lab_report *report)
{
    int rc = skep_lab_run(scenario, &skep_mem_std, report, NULL, NULL);

    if (rc < 0)
        skep_cmd_error("sim", "%s", skep_error_name(rc));
    return rc < 0 ? SKEP_EXIT_FAILED : SKEP_EXIT_DONE;
}

/* ---- by swarm size ---- */

struct by_size {
    size_t nodes[SIZES_MAX], count;
    struct skep_lab_report report[SIZES_MAX];
    char name[SIZES_MAX][32];
};

/* The same at a tenth, a hundredth … of the size. The last one is the run that is there. */
static int run_sizes(struct by_size *sizes, const struct skep_lab_scenario *scenario)
{
    struct skep_lab_scenario smaller = *scenario;
    int code = SKEP_EXIT_DONE;

    for (size_t nodes = 100; nodes < scenario->nodes && sizes->count + 1 < SIZES_MAX; nodes *= 10)
        sizes->nodes[sizes->count++] = nodes;
    smaller.duration_us = 0;
    smaller.session.median_us = 0;
    smaller.partition_ppm = 0;
    for (size_t i = 0; i < sizes->count && code == SKEP_EXIT_DONE; i++) {
        smaller.nodes = sizes->nodes[i];
        skep_cmd_progress("for the pictures: %zu nodes", smaller.nodes);
        code = run(&smaller, &sizes->report[i]);
    }
    sizes->nodes[sizes->count] = scenario->nodes;
    for (size_t i = 0; i <= sizes->count; i++)
        snprintf(sizes->name[i], sizeof sizes->name[i], "%zu nodes", sizes->nodes[i]);
    return code;
}

static struct skep_lab_report *report_of(struct by_size *sizes, size_t i,
                                         struct skep_lab_report *last)
{
    return i < sizes->count ? &sizes->report[i] : last;
}

static int plot_latency(const char *folder, const char *how, struct by_size *sizes,
                        struct skep_lab_report *last)
{
    double *samples[SIZES_MAX] = {NULL},
           rtt = (double)skep_lab_samples_at(&last->rtt_us, 500) / 1000;
    struct skep_chart_box box[SIZES_MAX];
    struct skep_chart_mark mark = {.at = rtt, .label = "median round trip"};
    struct skep_chart_boxes chart = {.title = "How long a search takes, by the size of the swarm",
                                     .subtitle = how,
                                     .x_label = "",
                                     .y_label = "time of a search, ms",
                                     .y_from_zero = true,
                                     .boxes = box,
                                     .box_count = sizes->count + 1,
                                     .marks = &mark,
                                     .mark_count = 1};
    struct skep_buf svg;
    int code = SKEP_ENOMEM;

    skep_buf_init(&svg, &skep_mem_std);
    for (size_t i = 0; i <= sizes->count; i++) {
        struct skep_lab_samples *s = &report_of(sizes, i, last)->latency_us;

        samples[i] = doubles(s, 1000);
        box[i] = (struct skep_chart_box){sizes->name[i], samples[i], samples[i] ? s->count : 0};
    }
    code = skep_chart_write_boxes(&svg, &chart);
    code = write_file(folder, "latency.svg", code, &svg);
    skep_buf_fini(&svg);
    for (size_t i = 0; i <= sizes->count; i++)
        skep_mem_free(&skep_mem_std, samples[i]);
    return code;
}

static int plot_rounds(const char *folder, const char *how, struct by_size *sizes,
                       struct skep_lab_report *last)
{
    double x[ROUNDS_MAX], y[SIZES_MAX][ROUNDS_MAX];
    struct skep_chart_series series[SIZES_MAX];
    size_t most = 1;
    struct skep_chart chart = {.title = "Rounds of a search: requests that waited for one another",
                               .subtitle = how,
                               .x_label = "rounds",
                               .y_label = "share of searches, %",
                               .y_from_zero = true,
                               .series = series,
                               .series_count = sizes->count + 1};

    memset(y, 0, sizeof y);
    for (size_t i = 0; i <= sizes->count; i++) {
        struct skep_lab_samples *s = &report_of(sizes, i, last)->rounds;

        for (size_t k = 0; k < s->count; k++) {
            size_t rounds = SKEP_MIN((size_t)s->values[k], (size_t)ROUNDS_MAX - 1);

            y[i][rounds] += 100.0 / (double)s->count;
            most = SKEP_MAX(most, rounds);
        }
    }
    for (size_t k = 0; k <= most; k++)
        x[k] = (double)k;
    for (size_t i = 0; i <= sizes->count; i++)
        series[i] = (struct skep_chart_series){sizes->name[i], x, y[i], most + 1, SKEP_CHART_BARS};
    return draw(folder, "rounds.svg", &chart);
}

/* ---- load ---- */

static int plot_load(const char *folder, const char *how, struct skep_lab_report *report)
{
    size_t count = report->load.count;
    double *x = skep_mem_alloc(&skep_mem_std, (count + 1) * sizeof *x), *y;
    struct skep_chart_series series = {.name = NULL, .form = SKEP_CHART_STEPS};
    struct skep_chart chart = {.title = "Load of the nodes: calls received during all searches",
                               .subtitle = how,
                               .x_label = "share of nodes, %",
                               .y_label = "calls received, at most",
                               .y_from_zero = true,
                               .series = &series,
                               .series_count = 1};
    int code = SKEP_EXIT_FAILED;

    (void)skep_lab_samples_at(&report->load, 0); /* sorts them */
    y = doubles(&report->load, 1);
    for (size_t i = 0; x && i < count; i++)
        x[i] = 100 * (double)(i + 1) / (double)count;
    series.x = x;
    series.y = y;
    series.count = x && y ? count : 0;
    code = draw(folder, "load.svg", &chart);
    skep_mem_free(&skep_mem_std, x);
    skep_mem_free(&skep_mem_std, y);
    return code;
}

/* ---- the exact mode's gap by budget ---- */

static int plot_gap(const char *folder, const char *how, const struct skep_lab_scenario *scenario,
                    struct skep_lab_report *report)
{
    static const double times[BUDGETS] = {0.5, 1, 1.5, 2, 3, 4, 6, 8, 12};
    double rtt = (double)skep_lab_samples_at(&report->rtt_us, 500), x[BUDGETS], gap[BUDGETS],
           gap95[BUDGETS];
    struct skep_chart_series series[] = {
        {"95th percentile", x, gap95, BUDGETS, SKEP_CHART_LINE},
        {"median", x, gap, BUDGETS, SKEP_CHART_LINE},
    };
    struct skep_chart chart = {.title = "Exact searches that are stopped: how far from certain",
                               .subtitle = how,
                               .x_label = "budget of a search, ms",
                               .y_label = "bound above the worst expert found, in scores",
                               .y_from_zero = true,
                               .series = series,
                               .series_count = SKEP_COUNT_OF(series)};
    struct skep_lab_scenario stopped = *scenario;
    int code = SKEP_EXIT_DONE;

    stopped.exact = true;
    stopped.duration_us = 0;
    stopped.session.median_us = 0;
    stopped.partition_ppm = 0;
    stopped.queries = SKEP_MIN(stopped.queries, (size_t)200);
    for (size_t i = 0; i < BUDGETS && code == SKEP_EXIT_DONE; i++) {
        struct skep_lab_report r;

        stopped.budget_us = (uint64_t)(times[i] * rtt);
        skep_cmd_progress("for the pictures: a budget of %.0f ms",
                          (double)stopped.budget_us / 1000);
        code = run(&stopped, &r);
        x[i] = (double)stopped.budget_us / 1000;
        gap[i] = (double)skep_lab_samples_at(&r.gap_micro, 500) / 1e6;
        gap95[i] = (double)skep_lab_samples_at(&r.gap_micro, 950) / 1e6;
        skep_lab_report_fini(&r);
    }
    return code == SKEP_EXIT_DONE ? draw(folder, "gap.svg", &chart) : code;
}

/* ---- values while time passes ---- */

static int plot_values(const char *folder, const char *how,
                       const struct skep_lab_scenario *scenario,
                       const struct skep_lab_report *report)
{
    double x[SKEP_LAB_TIMELINE], found[SKEP_LAB_TIMELINE], missed[SKEP_LAB_TIMELINE];
    size_t count = report->timeline_count;
    struct skep_chart_series series[] = {
        {"found", x, found, count, SKEP_CHART_BARS},
        {"missed", x, missed, count, SKEP_CHART_BARS},
    };
    struct skep_chart chart = {.title = "Values found and missed while nodes come and go",
                               .subtitle = how,
                               .x_label = "minutes",
                               .y_label = "values asked for",
                               .y_from_zero = true,
                               .series = series,
                               .series_count = SKEP_COUNT_OF(series)};

    for (size_t i = 0; i < count; i++) {
        x[i] = (double)scenario->duration_us / 60e6 * (double)(i + 1) / (double)count;
        found[i] = report->timeline[i].found;
        missed[i] = report->timeline[i].missed;
    }
    return draw(folder, "values.svg", &chart);
}

int skep_sim_plot(const char *folder, const char *how, const struct skep_lab_scenario *scenario,
                  struct skep_lab_report *report)
{
    struct by_size sizes = {.count = 0};
    int code;

    if (mkdir(folder, 0777) < 0 && errno != EEXIST) {
        skep_cmd_error(folder, "%s", strerror(errno));
        return SKEP_EXIT_USAGE;
    }
    code = run_sizes(&sizes, scenario);
    if (code == SKEP_EXIT_DONE)
        code = plot_latency(folder, how, &sizes, report);
    if (code == SKEP_EXIT_DONE)
        code = plot_rounds(folder, how, &sizes, report);
    if (code == SKEP_EXIT_DONE)
        code = plot_load(folder, how, report);
    if (code == SKEP_EXIT_DONE)
        code = plot_gap(folder, how, scenario, report);
    if (code == SKEP_EXIT_DONE && scenario->duration_us > 0)
        code = plot_values(folder, how, scenario, report);
    for (size_t i = 0; i < sizes.count; i++)
        if (sizes.report[i].latency_us.mem)
            skep_lab_report_fini(&sizes.report[i]);
    skep_cmd_progress_end();
    return code;
}
