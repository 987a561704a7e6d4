/* SPDX-License-Identifier: MIT */
/* skep find: the search for the best alive experts of a grid. */
#include <stdlib.h>

#include "cmd/search.h"

enum { REPEAT_MAX = 1000000 };

static char *prefix, *grid_text, *scores_path, *beam_text, *mode_text, *budget_text, *workers_text,
    *repeat_text, *cache_text, *keys_text, *guess_text;
static int no_negative_cache;

static struct poptOption options[] = {
    {"prefix", 'p', POPT_ARG_STRING, &prefix, 0, "of the experts' uids, with its dot: ffn.",
     "PREFIX"},
    {"grid", 'g', POPT_ARG_STRING, &grid_text, 0, "sizes of the grid's dimensions", "256x256x256"},
    {"scores", 's', POPT_ARG_STRING, &scores_path, 0, "the scores: .npy, .npz or JSON; - is stdin",
     "FILE"},
    {"beam", 'b', POPT_ARG_STRING, &beam_text, 0,
     "how many experts to find, and prefixes to keep (4)", "K"},
    {"mode", '\0', POPT_ARG_STRING, &mode_text, 0,
     "beam as hivemind (the default), or the true best", "beam|exact"},
    {"budget", '\0', POPT_ARG_STRING, &budget_text, 0, "answer by then with what there is",
     "DURATION"},
    {"key-budget", '\0', POPT_ARG_STRING, &keys_text, 0,
     "exact: ask for at most so many prefixes (65536)", "N"},
    {"guess", '\0', POPT_ARG_STRING, &guess_text, 0,
     "ask for up to so many prefixes ahead of knowing that they are there (64)", "N"},
    {"workers", '\0', POPT_ARG_STRING, &workers_text, 0, "most requests in flight", "N"},
    {"no-negative-cache", '\0', POPT_ARG_NONE, &no_negative_cache, 0,
     "do not remember prefixes without experts in the DHT", NULL},
    {"cache-expiration", '\0', POPT_ARG_STRING, &cache_text, 0, "how long such a mark lives (5m)",
     "DURATION"},
    {"repeat", '\0', POPT_ARG_STRING, &repeat_text, 0,
     "search so often, and show the spread of the times", "N"},
    SKEP_CMD_OPTIONS_JOIN,
    SKEP_CMD_OPTIONS_OUTPUT,
    POPT_TABLEEND};

struct wanted {
    struct skep_cmd_grid grid;
    struct skep_cmd_scores scores;
    uint64_t beam, budget_us, workers, repeat, cache_us, keys, guess;
    bool is_exact;
};

static bool has_option(const char *name, const char *value)
{
    if (!value)
        skep_cmd_error(name, "this option is missing (see skep find --help)");
    return value != NULL;
}

static bool read_scores(struct wanted *w)
{
    struct skep_cmd_why why = {.text = ""};
    struct skep_buf file;
    bool ok;

    skep_buf_init(&file, &skep_mem_std);
    ok = skep_cmd_read_file(&file, scores_path);
    if (ok && skep_cmd_scores_parse(&w->scores, &skep_mem_std, skep_buf_view(&file), &w->grid,
                                    &why) < 0) {
        skep_cmd_error(scores_path, "%s", why.text);
        ok = false;
    }
    skep_buf_fini(&file);
    return ok;
}

/* Everything is checked here, before anything is sent. */
static bool check_options(struct wanted *w)
{
    struct skep_cmd_why why = {.text = ""};

    if (!has_option("--prefix", prefix) || !has_option("--grid", grid_text) ||
        !has_option("--scores", scores_path) || !skep_cmd_check_prefix(prefix))
        return false;
    if (skep_cmd_grid_parse(&w->grid, grid_text, &why) < 0) {
        skep_cmd_error("--grid", "%s", why.text);
        return false;
    }
    w->is_exact = mode_text && strcmp(mode_text, "exact") == 0;
    if (mode_text && !w->is_exact && strcmp(mode_text, "beam") != 0) {
        skep_cmd_error("--mode", "'%.64s' is neither beam nor exact", mode_text);
        return false;
    }
    if (!skep_cmd_option_count("--beam", beam_text, 1, SKEP_BEAM_SIZE_MAX, &w->beam) ||
        !skep_cmd_option_count("--workers", workers_text, 1, 65536, &w->workers) ||
        !skep_cmd_option_count("--key-budget", keys_text, 1, SKEP_EXACT_KEYS_MAX, &w->keys) ||
        !skep_cmd_option_count("--guess", guess_text, 0, SKEP_BEAM_GUESS_KEYS_MAX, &w->guess) ||
        !skep_cmd_option_count("--repeat", repeat_text, 1, REPEAT_MAX, &w->repeat) ||
        !skep_cmd_option_duration("--budget", budget_text, &w->budget_us) ||
        !skep_cmd_option_duration("--cache-expiration", cache_text, &w->cache_us))
        return false;
    if (keys_text && !w->is_exact) {
        skep_cmd_error("--key-budget", "only --mode exact has one");
        return false;
    }
    if (budget_text && w->budget_us == 0) {
        skep_cmd_error("--budget", "no time at all leaves nothing to find");
        return false;
    }
    if (cache_text && w->cache_us == 0) {
        skep_cmd_error("--cache-expiration",
                       "that is no time at all (--no-negative-cache leaves the marks out)");
        return false;
    }
    return read_scores(w);
}

static void print_text(const skep_op *op, bool is_batch, bool is_exact)
{
    skep_find_cost cost = {.rounds = 0};
    size_t count = 0;
    const skep_found *found = skep_moe_find_result(op, &count, &cost);

    for (size_t i = 0; i < count; i++) {
        if (is_batch)
            printf("%sexample %zu\n", i > 0 ? "\n" : "", i);
        if (found[i].count > 0)
            skep_cmd_search_print_table(&found[i]);
        else
            puts("no expert found");
        if (is_exact && found[i].exact)
            puts("exact: no expert of these records scores higher than the ones above");
        else if (is_exact)
            printf("not exact: what was not looked at scores at most %.6f\n", found[i].bound);
        if (found[i].unanswered > 0)
            printf("%u prefix%s went unanswered\n", found[i].unanswered,
                   found[i].unanswered == 1 ? "" : "es");
    }
    skep_cmd_search_print_cost(&cost);
}

static int print_result(const skep_op *op, const struct wanted *w, double *times_ms)
{
    skep_find_cost cost = {.rounds = 0};
    size_t count = 0, experts = 0;
    const skep_found *found = skep_moe_find_result(op, &count, &cost);

    for (size_t i = 0; i < count; i++)
        experts += found[i].count;
    if (skep_cmd_common.json) {
        if (!skep_cmd_print_json(skep_cmd_search_json(op, w->scores.is_batch,
                                                      repeat_text ? times_ms : NULL, w->repeat)))
            return SKEP_EXIT_FAILED;
    } else {
        print_text(op, w->scores.is_batch, w->is_exact);
        if (repeat_text) {
            struct skep_cmd_latency l = skep_cmd_latency_of(times_ms, w->repeat);

            printf(
                "%llu searches: %.2f ms at least, %.2f median, %.2f 95th percentile, %.2f at most\n",
                (unsigned long long)w->repeat, l.min, l.median, l.p95, l.max);
        }
    }
    if (cost.out_of_time) {
        skep_cmd_error("--budget", "the time was up before the search was done");
        return SKEP_EXIT_DEADLINE;
    }
    return experts > 0 ? SKEP_EXIT_DONE : SKEP_EXIT_FAILED;
}

static int search(struct skep_session *session, const struct wanted *w, double *times_ms)
{
    struct skep_cmd_search s;
    skep_op *op = NULL;
    int code = SKEP_EXIT_DONE;

    assert(times_ms);
    skep_cmd_search_init(&s, prefix, &w->grid, &w->scores);
    s.options.beam_size = (size_t)w->beam;
    s.options.num_workers = (size_t)w->workers;
    s.options.negative_caching = !no_negative_cache;
    s.options.time_budget_us = w->budget_us;
    s.options.mode = w->is_exact ? SKEP_FIND_EXACT : SKEP_FIND_BEAM;
    s.options.key_budget = (size_t)w->keys;
    if (guess_text)
        s.options.guess_keys = (size_t)w->guess;
    if (cache_text)
        s.options.cache_expiration_s = (double)w->cache_us / 1e6;
    for (size_t i = 0; i < w->repeat && code == SKEP_EXIT_DONE; i++) {
        uint64_t start = skep_cmd_now_us();

        skep_cmd_progress("search %zu of %llu", i + 1, (unsigned long long)w->repeat);
        skep_op_free(op);
        op = skep_cmd_search_run(&s, session, &code);
        times_ms[i] = (double)(skep_cmd_now_us() - start) / 1000;
    }
    skep_cmd_progress_end();
    if (op)
        code = print_result(op, w, times_ms);
    skep_op_free(op);
    return code;
}

static int run(const struct skep_cmd *cmd, int argc, const char **argv)
{
    struct wanted w = {.beam = 4, .repeat = 1};
    struct skep_session session = {.node = NULL};
    struct skep_cmd_args args;
    double *times_ms;
    int code = skep_cmd_parse(cmd, options, argc, argv, 0, 0, &args);

    if (code != SKEP_CMD_GO_ON)
        return code;
    if (!check_options(&w))
        return SKEP_EXIT_USAGE;
    times_ms = calloc(w.repeat, sizeof *times_ms);
    code = times_ms ? skep_session_start(&session) : skep_session_failed(SKEP_ENOMEM, NULL, "find");
    if (code == SKEP_EXIT_DONE)
        code = search(&session, &w, times_ms);
    skep_session_close(&session);
    free(times_ms);
    skep_cmd_scores_fini(&w.scores, &skep_mem_std);
    return code;
}

const struct skep_cmd skep_cmd_find = {
    .name = "find",
    .arguments = "",
    .summary = "find the best alive experts of a grid",
    .details =
        "FILE has one row of scores for each dimension of the grid, or a batch of such examples:\n"
        "  .npy   (D, G) or (batch, D, G), float32 or float64\n"
        "  .npz   D arrays in order, each (G) or (batch, G)\n"
        "  JSON   [row, ...] or [[row, ...], ...]; \"-inf\" is legal\n"
        "--mode exact goes on where the beam ends, until no expert that any record names can be better; cut short, it says\n"
        "how good an expert that it did not come by could be.\n"
        "What --budget cuts short is printed as far as it came, and the exit code is 124.",
    .example =
        "  skep find --prefix ffn. --grid 2x3 --scores - --beam 2 --join /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW… <<< '[[0.5, 1], [3, 1, 2]]'",
    .run = run};
