/* SPDX-License-Identifier: MIT */
/* skep serve: hosts experts as a full peer until SIGINT or SIGTERM, then answers what is in progress and writes checkpoints; a second signal ends it at once.
 * It takes hivemind-server's flags as well: serve_flags.h. Source: hivemind_cli/run_server.py, moe/server/runtime.py (the statistics). */
#include <math.h>
#include <skep/server.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"
#include "cmd/serve_flags.h"
#include "cmd/session.h"

enum { BATCH_MAX_DEFAULT = 16384, BATCH_MOST = 1 << 24, PROGRESS_US = 1000000 };

/* ---- options ---- */

static struct {
    char *pattern, *num_experts, **uids;
    char *class_name, *class_options, *module_path, *hidden;
    char *optimizer, *learning_rate, *clip, *scheduler, *warmup, *steps, **allow_backward;
    char *min_batch, *max_batch, *batch_wait, *compression, *memory;
    char *workers, *threads, *seed, *update_period, *expiration, *checkpoint_dir, *stats_interval;
    char *handlers, *device;
    int accept_non_finite, no_declare, ignored;
} given;

#define TEXT(name, to, what, argument)                                                             \
    {                                                                                              \
        name, '\0', POPT_ARG_STRING, &given.to, 0, what, argument                                  \
    }

static struct poptOption which_options[] = {
    {"expert-uids", '\0', POPT_ARG_ARGV, &given.uids, 0,
     "serve exactly these; takes several, and may be given several times", "UID..."},
    TEXT("expert-pattern", pattern, "or free ones of a pattern such as 'ffn.[0:16].[0:16]'", "P"),
    TEXT("num-experts", num_experts, "how many of the pattern", "N"),
    TEXT("checkpoint-dir", checkpoint_dir,
         "experts with a checkpoint in here come first; all are saved here", "DIR"),
    POPT_TABLEEND};

static struct poptOption class_options[] = {
    TEXT("class", class_name,
         "ffn (the default), transformer, det_dropout, nop, nop_delay, or ./own.so", "CLASS"),
    TEXT("hidden", hidden, "the main dimension (1024)", "N"),
    TEXT("class-options", class_options, "of the class, such as dropout=0", "TEXT"),
    TEXT("custom-module-path", module_path, "a shared object with a class of your own", "FILE"),
    TEXT("optimizer", optimizer, "adam (the default), sgd or none", "NAME"),
    TEXT("learning-rate", learning_rate, "adam 0.001, sgd 0.01", "X"),
    TEXT("clip-grad-norm", clip, "longest gradient of one step; else not cut", "X"),
    TEXT("scheduler", scheduler, "of the learning rate: none (the default) or linear", "NAME"),
    TEXT("num-warmup-steps", warmup, "of the linear scheduler (0)", "N"),
    TEXT("num-training-steps", steps, "of the linear scheduler", "N"),
    {"allow-backward", '\0', POPT_ARG_ARGV, &given.allow_backward, 0,
     "only these peers may train; takes several (else everybody may)", "PEER..."},
    POPT_TABLEEND};

static struct poptOption request_options[] = {
    TEXT("min-batch-size", min_batch, "rows that a batch waits for (1)", "N"),
    TEXT("max-batch-size", max_batch, "most rows of a batch, and of a request (16384)", "N"),
    TEXT("batch-wait", batch_wait, "send smaller batches after this time; else they wait for ever",
         "DURATION"),
    TEXT("compression", compression, "of floating-point tensors, such as FLOAT16 (NONE)", "NAME"),
    TEXT("memory", memory, "most memory of requests in progress (512)", "MIB"),
    {"accept-non-finite", '\0', POPT_ARG_NONE, &given.accept_non_finite, 0,
     "take NaN and infinity in requests", NULL},
    TEXT("workers", workers, "batches of different experts computed at once (1)", "N"),
    TEXT("threads", threads, "of one matrix product (processors divided by workers)", "N"),
    TEXT("seed", seed, "of first values and of uids; else another each time", "N"),
    TEXT("update-period", update_period, "declare experts, and save them, so often (30s)",
         "DURATION"),
    TEXT("expiration", expiration, "of declarations (twice the update period)", "DURATION"),
    {"no-declare", '\0', POPT_ARG_NONE, &given.no_declare, 0, "do not tell the DHT", NULL},
    TEXT("stats-report-interval", stats_interval, "say what was computed, so often", "DURATION"),
    POPT_TABLEEND};

/* What hivemind has and we need not: taken, without effect. */
static struct poptOption ignored_options[] = {
    TEXT("num-handlers", handlers, "taken for hivemind-server's sake, without effect", "N"),
    {"device", '\0', POPT_ARG_STRING | POPT_ARGFLAG_DOC_HIDDEN, &given.device, 0, NULL, NULL},
    {"no-relay", '\0', POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &given.ignored, 0, NULL, NULL},
    {"use-auto-relay", '\0', POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &given.ignored, 0, NULL,
     NULL},
    {"increase-file-limit", '\0', POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &given.ignored, 0, NULL,
     NULL},
    POPT_TABLEEND};

#define INCLUDE(table, heading)                                                                    \
    {                                                                                              \
        NULL, '\0', POPT_ARG_INCLUDE_TABLE, table, 0, heading, NULL                                \
    }

static struct poptOption options[] = {INCLUDE(which_options, "Which experts:"),
                                      INCLUDE(class_options, "What they compute:"),
                                      INCLUDE(request_options, "How they serve:"),
                                      INCLUDE(ignored_options, "As hivemind-server:"),
                                      SKEP_CMD_OPTIONS_JOIN,
                                      SKEP_CMD_OPTIONS_LISTEN,
                                      SKEP_CMD_OPTIONS_OUTPUT,
                                      POPT_TABLEEND};

static bool count_of(const char *option, const char *text, uint64_t least, uint64_t most,
                     size_t *out)
{
    uint64_t value = *out;

    if (!skep_cmd_option_count(option, text, least, most, &value))
        return false;
    *out = (size_t)value;
    return true;
}

static bool unsigned_of(const char *option, const char *text, uint64_t least, uint64_t most,
                        unsigned *out)
{
    size_t value = *out;

    if (!count_of(option, text, least, most, &value))
        return false;
    *out = (unsigned)value;
    return true;
}

/* A number above 0. */
static bool number_of(const char *option, const char *text, double *out)
{
    char *end;

    if (!text)
        return true;
    *out = strtod(text, &end);
    if (end != text && *end == '\0' && isfinite(*out) && *out > 0)
        return true;
    skep_cmd_error(option, "'%s' is not a number above 0", text);
    return false;
}

/* One of some names: *out becomes its place. */
static bool choice_of(const char *option, const char *text, const char *const *names, size_t count,
                      const char *all, int *out)
{
    for (size_t i = 0; text && i < count; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (int)i;
            return true;
        }
    }
    if (text)
        skep_cmd_error(option, "'%s' is none of %s", text, all);
    return !text;
}

static bool read_which(skep_server_options *o)
{
    size_t uid_count = skep_cmd_list_count(given.uids);

    if (uid_count > 0 && (given.pattern || given.num_experts)) {
        skep_cmd_error("--expert-uids", "the experts are given by their uids, or by "
                                        "--expert-pattern and --num-experts, not by both");
        return false;
    }
    if (uid_count == 0 && !given.num_experts) {
        skep_cmd_error(given.pattern ? "--num-experts" : "serve",
                       given.pattern
                           ? "say how many experts of the pattern are to be served"
                           : "say which experts: --expert-uids UID..., or --expert-pattern P and "
                             "--num-experts N");
        return false;
    }
    for (size_t i = 0; i < uid_count; i++)
        if (!skep_cmd_check_uid(given.uids[i]))
            return false;
    o->uids = (const char *const *)given.uids;
    o->uid_count = uid_count;
    o->pattern = given.pattern;
    o->checkpoint_dir = given.checkpoint_dir;
    return count_of("--num-experts", given.num_experts, 1, SKEP_DECLARE_UIDS_MAX, &o->num_experts);
}

static bool ends_in(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static bool read_class(skep_server_options *o)
{
    static char path[4096];

    o->class_name = given.class_name;
    o->class_options = given.class_options;
    if (given.module_path && ends_in(given.module_path, ".py")) {
        skep_cmd_error("--custom-module-path",
                       "'%s' is Python: a class of skep is a shared object in C, see "
                       "skep/expert_class.h and examples/",
                       given.module_path);
        return false;
    }
    if (given.module_path) {
        snprintf(path, sizeof path, "%s%s", strchr(given.module_path, '/') ? "" : "./",
                 given.module_path);
        o->class_name = path;
    }
    return count_of("--hidden", given.hidden, 1, SKEP_HIDDEN_MAX, &o->hidden);
}

static bool read_training(skep_server_options *o, skep_peer **peers)
{
    static const char *const optimizers[] = {"adam", "sgd", "none"};
    static const char *const schedules[] = {"none", "linear"};
    size_t count = skep_cmd_list_count(given.allow_backward);
    int optimizer = SKEP_OPTIMIZER_ADAM, schedule = SKEP_SCHEDULE_NONE;

    if (!choice_of("--optimizer", given.optimizer, optimizers, 3, "adam, sgd, none", &optimizer) ||
        !choice_of("--scheduler", given.scheduler, schedules, 2, "none, linear", &schedule) ||
        !number_of("--learning-rate", given.learning_rate, &o->learning_rate) ||
        !number_of("--clip-grad-norm", given.clip, &o->clip_grad_norm) ||
        !skep_cmd_option_count("--num-warmup-steps", given.warmup, 0, UINT64_MAX / 2,
                               &o->warmup_steps) ||
        !skep_cmd_option_count("--num-training-steps", given.steps, 1, UINT64_MAX / 2,
                               &o->training_steps))
        return false;
    if (schedule == SKEP_SCHEDULE_LINEAR && !given.steps) {
        skep_cmd_error("--scheduler", "linear needs --num-training-steps N");
        return false;
    }
    o->optimizer = (enum skep_optimizer)optimizer;
    o->schedule = (enum skep_schedule)schedule;
    if (count == 0)
        return true;
    if (!(*peers = calloc(count, sizeof **peers))) {
        skep_cmd_error("--allow-backward", "out of memory");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (skep_peer_from_text(&(*peers)[i], given.allow_backward[i]) < 0) {
            skep_cmd_error("--allow-backward", "%s (such as 12D3KooW…, see skep id)",
                           skep_last_error_text());
            return false;
        }
    }
    o->allow_backward = *peers;
    o->allow_backward_count = count;
    return true;
}

static bool read_compression(skep_server_options *o)
{
    if (!given.compression || skep_compression_from_name(&o->compression, given.compression) == 0)
        return true;
    skep_cmd_error("--compression",
                   "'%s' is none of NONE, FLOAT16, MEANSTD_16BIT, QUANTILE_8BIT, UNIFORM_8BIT, "
                   "BLOCKWISE_8BIT",
                   given.compression);
    return false;
}

static bool read_requests(skep_server_options *o)
{
    size_t memory_mib = 0;

    o->max_batch_size = BATCH_MAX_DEFAULT;
    o->accept_non_finite = given.accept_non_finite;
    if (!count_of("--min-batch-size", given.min_batch, 1, BATCH_MOST, &o->min_batch_size) ||
        !count_of("--max-batch-size", given.max_batch, 1, BATCH_MOST, &o->max_batch_size) ||
        !skep_cmd_option_duration("--batch-wait", given.batch_wait, &o->batch_wait_us) ||
        !count_of("--memory", given.memory, 1, 1 << 20, &memory_mib) || !read_compression(o))
        return false;
    if (o->min_batch_size > o->max_batch_size) {
        skep_cmd_error("--min-batch-size", "%zu is above --max-batch-size, %zu", o->min_batch_size,
                       o->max_batch_size);
        return false;
    }
    if (given.memory)
        o->memory_bytes = SKEP_MIB(memory_mib);
    return unsigned_of("--workers", given.workers, 1, 256, &o->workers) &&
           unsigned_of("--threads", given.threads, 1, 4096, &o->threads) &&
           skep_cmd_option_count("--seed", given.seed, 1, UINT64_MAX - 1, &o->seed);
}

static bool read_swarm(skep_server_options *o, uint64_t *stats_us)
{
    uint64_t expiration_us = 0;

    o->no_declare = given.no_declare;
    if (!skep_cmd_option_duration("--update-period", given.update_period, &o->update_period_us) ||
        !skep_cmd_option_duration("--expiration", given.expiration, &expiration_us) ||
        !skep_cmd_option_duration("--stats-report-interval", given.stats_interval, stats_us))
        return false;
    if (o->update_period_us < 100000) {
        skep_cmd_error("--update-period", "%s is shorter than 100ms", given.update_period);
        return false;
    }
    if (given.stats_interval && *stats_us < 1000) {
        skep_cmd_error("--stats-report-interval", "%s is shorter than 1ms", given.stats_interval);
        return false;
    }
    o->expiration_s = (double)expiration_us / 1e6;
    if (given.expiration && o->expiration_s < (double)o->update_period_us / 1e6) {
        skep_cmd_error("--expiration",
                       "the experts would be gone %s after each declaration, before the next, "
                       "which comes every --update-period",
                       given.expiration);
        return false;
    }
    return true;
}

static void free_given(void)
{
    struct poptOption *tables[] = {which_options, class_options, request_options, ignored_options};

    for (size_t i = 0; i < SKEP_COUNT_OF(tables); i++)
        for (struct poptOption *o = tables[i]; o->longName; o++)
            if ((o->argInfo & POPT_ARG_MASK) == POPT_ARG_STRING)
                free(*(char **)o->arg);
    for (size_t i = 0; given.uids && given.uids[i]; i++)
        free(given.uids[i]);
    free(given.uids);
    for (size_t i = 0; given.allow_backward && given.allow_backward[i]; i++)
        free(given.allow_backward[i]);
    free(given.allow_backward);
}

/* ---- what it says ---- */

struct serving {
    struct skep_session session;
    skep_server *server;
    const skep_server_options *options;
    uint64_t began_us;
    skep_expert_counters *last; /* [experts] at the last report */
};

static json_t *uid_list(const char *const *uids, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(uids[i]));
    return list;
}

static bool say_ready(struct serving *s)
{
    size_t count;
    const char *const *uids = skep_server_experts(s->server, &count);
    double ms = (double)(skep_cmd_now_us() - s->began_us) / 1000;
    char escaped[SKEP_UID_LEN_MAX];
    json_t *more = NULL;

    if (skep_cmd_common.json)
        more = json_pack("{s:s, s:o, s:s, s:I, s:f}", "event", "ready", "experts",
                         uid_list(uids, count), "class",
                         s->options->class_name ? s->options->class_name : "ffn", "hidden",
                         (json_int_t)s->options->hidden, "elapsed_ms", ms);
    if (!skep_session_print_addresses(&s->session.node, 1, more))
        return false;
    for (size_t i = 0; !skep_cmd_common.json && i < count; i++)
        printf("expert %s\n", skep_text_for_terminal(escaped, sizeof escaped, uids[i]));
    fflush(stdout);
    return true;
}

/* What was done in the interval: hivemind's figures, which are of the time spent in batches. */
static void report_one(const char *uid, const char *what, uint64_t batches, uint64_t rows,
                       uint64_t us)
{
    double seconds = SKEP_MAX((double)us / 1e6, 1e-6);
    char escaped[SKEP_UID_LEN_MAX];

    if (batches > 0)
        fprintf(stderr,
                "%s %s: %llu batches (%.2f batches/s), %llu rows (%.2f rows/s), average batch "
                "%.2f\n",
                skep_text_for_terminal(escaped, sizeof escaped, uid), what,
                (unsigned long long)batches, (double)batches / seconds, (unsigned long long)rows,
                (double)rows / seconds, (double)rows / (double)batches);
}

static json_t *report_json(const char *uid, const skep_expert_counters *d)
{
    return json_pack("{s:s, s:I, s:I, s:f, s:I, s:I, s:f, s:I}", "uid", uid, "forward_batches",
                     (json_int_t)d->forward_batches, "forward_rows", (json_int_t)d->forward_rows,
                     "forward_ms", (double)d->forward_us / 1000, "backward_batches",
                     (json_int_t)d->backward_batches, "backward_rows", (json_int_t)d->backward_rows,
                     "backward_ms", (double)d->backward_us / 1000, "step", (json_int_t)d->step);
}

static skep_expert_counters difference(const skep_expert_counters *now,
                                       const skep_expert_counters *last)
{
    skep_expert_counters d = *now;

    d.forward_batches -= last->forward_batches;
    d.forward_rows -= last->forward_rows;
    d.forward_us -= last->forward_us;
    d.backward_batches -= last->backward_batches;
    d.backward_rows -= last->backward_rows;
    d.backward_us -= last->backward_us;
    return d;
}

static json_t *totals_json(const skep_server_counters *c)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "infos", (json_int_t)c->infos,
                     "forwards", (json_int_t)c->forwards, "backwards", (json_int_t)c->backwards,
                     "refused", (json_int_t)c->refused_requests, "waiting",
                     (json_int_t)c->tasks_waiting, "memory_bytes", (json_int_t)c->memory_bytes,
                     "checkpoints", (json_int_t)c->checkpoints);
}

static void report(struct serving *s, uint64_t interval_us)
{
    skep_server_counters all = {.struct_size = sizeof all};
    json_t *list = json_array();
    uint64_t batches = 0;
    size_t count;
    const char *const *uids = skep_server_experts(s->server, &count);

    skep_server_counters_get(s->server, &all);
    for (size_t i = 0; i < count; i++) {
        skep_expert_counters now = {.struct_size = sizeof now}, d;

        if (skep_server_expert_counters_get(s->server, i, &now) < 0)
            break;
        d = difference(&now, &s->last[i]);
        s->last[i] = now;
        batches += d.forward_batches + d.backward_batches;
        if (d.forward_batches + d.backward_batches == 0)
            continue;
        if (skep_cmd_common.json) {
            json_array_append_new(list, report_json(uids[i], &d));
        } else {
            report_one(uids[i], "forward", d.forward_batches, d.forward_rows, d.forward_us);
            report_one(uids[i], "backward", d.backward_batches, d.backward_rows, d.backward_us);
        }
    }
    if (!skep_cmd_common.json)
        fprintf(stderr, "%llu batches in the last %.0f seconds\n", (unsigned long long)batches,
                (double)interval_us / 1e6);
    else
        skep_cmd_print_json(json_pack("{s:s, s:f, s:O, s:o}", "event", "stats", "interval_s",
                                      (double)interval_us / 1e6, "experts", list, "total",
                                      totals_json(&all)));
    json_decref(list);
}

static void show_progress(struct serving *s)
{
    skep_server_counters c = {.struct_size = sizeof c};

    if (skep_server_counters_get(s->server, &c) == 0)
        skep_cmd_progress("%zu expert%s: %llu forward, %llu backward, %llu refused; %zu waiting, "
                          "%zu MiB",
                          c.experts, c.experts == 1 ? "" : "s", (unsigned long long)c.forwards,
                          (unsigned long long)c.backwards, (unsigned long long)c.refused_requests,
                          c.tasks_waiting, c.memory_bytes >> 20);
}

static void serve_until_signal(struct serving *s, uint64_t stats_us)
{
    bool on_terminal = isatty(STDERR_FILENO) && !skep_cmd_common.json;
    uint64_t now_us = skep_cmd_now_us(), next_report_us = now_us + stats_us;

    for (;;) {
        uint64_t wait_us = SKEP_FOREVER;

        if (stats_us > 0)
            wait_us = next_report_us > now_us ? next_report_us - now_us : 0;
        if (on_terminal)
            wait_us = SKEP_MIN(wait_us, (uint64_t)PROGRESS_US);
        if (skep_session_stopped(wait_us))
            break;
        now_us = skep_cmd_now_us();
        if (stats_us > 0 && now_us >= next_report_us) {
            skep_cmd_progress_end();
            report(s, stats_us);
            next_report_us = SKEP_MAX(next_report_us + stats_us, now_us);
        }
        if (on_terminal)
            show_progress(s);
    }
    skep_cmd_progress_end();
}

/* ---- its life ---- */

static int start(struct serving *s)
{
    skep_op *op = NULL;
    size_t count;
    int rc, code;

    skep_cmd_progress("making the experts …");
    rc = skep_server_start(&op, &s->server, s->session.node, s->options, NULL, NULL);
    code = skep_session_wait(&s->session, rc, op, "serve");
    skep_cmd_progress_end();
    /* A folder that is not there is what the caller gave. */
    if (code == SKEP_EXIT_FAILED &&
        (rc == SKEP_EIO || rc == SKEP_EEXIST || (op && skep_op_poll(op) == SKEP_EIO)))
        code = SKEP_EXIT_USAGE;
    skep_op_free(op);
    if (code != SKEP_EXIT_DONE)
        return code;
    skep_server_experts(s->server, &count);
    s->last = calloc(count, sizeof *s->last);
    if (s->last && say_ready(s))
        return SKEP_EXIT_DONE;
    return SKEP_EXIT_FAILED;
}

static int stop(struct serving *s)
{
    skep_op *op = NULL;
    int rc;

    skep_cmd_progress("answering what is in progress, and saving …");
    rc = skep_server_stop(&op, s->server, NULL, NULL);
    rc = skep_session_wait_quietly(&s->session, rc, op);
    skep_cmd_progress_end();
    if (rc == SKEP_ECANCELED) {
        skep_cmd_error("serve", "stopped at once: requests in progress are lost, and what was "
                                "learnt since the last checkpoint");
        fflush(stdout);
        _Exit(SKEP_EXIT_FAILED); /* what a worker computes cannot be waited for */
    }
    if (rc < 0)
        rc = skep_session_failed(rc, op, "serve");
    else if (skep_cmd_common.json) {
        skep_server_counters c = {.struct_size = sizeof c};

        if (skep_server_counters_get(s->server, &c) == 0)
            skep_cmd_print_json(
                json_pack("{s:s, s:o}", "event", "stopped", "total", totals_json(&c)));
    }
    skep_op_free(op);
    return rc;
}

static int serve(const skep_server_options *server_options, uint64_t stats_us)
{
    struct serving s = {.options = server_options, .began_us = skep_cmd_now_us()};
    skep_node_options node_options;
    int code;

    skep_session_block_signals();
    skep_session_options(&node_options, SKEP_SESSION_PEER);
    if (skep_cmd_common.verbose == 0)
        node_options.verbosity = SKEP_VERBOSITY_WARNING;
    code = skep_session_make_identity(skep_cmd_common.identity);
    if (code == SKEP_EXIT_DONE)
        code = skep_session_open_with(&s.session, &node_options);
    if (code == SKEP_EXIT_DONE)
        code = skep_session_join(&s.session);
    if (code == SKEP_EXIT_DONE)
        code = start(&s);
    if (code == SKEP_EXIT_DONE) {
        s.session.deadline_us = SKEP_FOREVER;
        serve_until_signal(&s, stats_us);
        code = stop(&s);
    }
    skep_server_free(s.server);
    skep_session_close(&s.session);
    free(s.last);
    return code;
}

static int run_with_flags(const struct skep_cmd *cmd, int argc, const char **argv)
{
    struct skep_cmd_args args;
    skep_server_options o;
    skep_peer *peers = NULL;
    uint64_t stats_us = 0;
    int code = skep_cmd_parse(cmd, options, argc, argv, 0, 0, &args);

    if (code != SKEP_CMD_GO_ON)
        return code;
    skep_server_options_init(&o);
    if (read_which(&o) && read_class(&o) && read_training(&o, &peers) && read_requests(&o) &&
        read_swarm(&o, &stats_us))
        code = serve(&o, stats_us);
    else
        code = SKEP_EXIT_USAGE;
    free(peers);
    return code;
}

static int run(const struct skep_cmd *cmd, int argc, const char **argv)
{
    struct skep_serve_flags flags;
    int code = SKEP_EXIT_FAILED;

    if (skep_serve_flags_init(&flags, &skep_mem_std, argc, argv) < 0) {
        skep_cmd_error("serve", "out of memory");
        return code;
    }
    code = run_with_flags(cmd, flags.argc, flags.argv);
    free_given();
    skep_cmd_parse_fini(); /* popt looks at the flags until then */
    skep_serve_flags_fini(&flags, &skep_mem_std);
    return code;
}

const struct skep_cmd skep_cmd_serve = {
    .name = "serve",
    .arguments = "",
    .summary = "host experts until SIGINT or SIGTERM",
    .details =
        "Prints its visible multiaddrs, one a line, and its experts once they answer. The flags of "
        "hivemind-server\nare taken too, with _ or -: --expert_cls, --hidden_dim, --initial_peers, "
        "--host_maddrs, --announce_maddrs,\n--identity_path. A signal ends it when requests in "
        "progress are answered and checkpoints written,\na second one at once.",
    .example =
        "  skep serve --expert-pattern 'ffn.[0:16].[0:16]' --num-experts 8 --class ffn --hidden "
        "1024 \\\n      --checkpoint-dir experts --join "
        "/ip4/10.0.0.1/tcp/4001/p2p/12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s",
    .run = run};
