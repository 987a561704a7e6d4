/* SPDX-License-Identifier: MIT */
/* The life of an expert server; see server.h. Whoever waits is told by a timer, never from inside a call or a callback of another part, so that
 * they may free the server there. */
#include "server/server_impl.h"

#include <stdio.h>
#include <stdlib.h>

#include "moe/uid.h"

static const double expiration_min_s = 3; /* hivemind's MAX_DHT_TIME_DISCREPANCY_SECONDS */

/* ---- the end of it ---- */

static void free_core(struct skep_server_core *core)
{
    const struct skep_mem *mem = core->mem;

    if (core->state != NEW) { /* of one that was never started the env may have gone before */
        skep_env_stop(core->env, &core->soon);
        skep_env_stop(core->env, &core->declare_timer);
        skep_env_stop(core->env, &core->save_timer);
    }
    if (core->handler)
        skep_handler_free(core->handler);
    if (core->runtime)
        skep_runtime_free(core->runtime);
    skep_server_experts_fini(core);
    skep_class_close(&core->class);
    skep_mem_free(mem, core->uid_views);
    skep_mem_free(mem, core->allow_backward);
    skep_mem_free(mem, (void *)(uintptr_t)core->options.pattern);
    skep_mem_free(mem, (void *)(uintptr_t)core->options.checkpoint_dir);
    skep_mem_free(mem, core);
}

static void tell_soon(struct skep_server_core *core)
{
    if (skep_env_after(core->env, &core->soon, 0) < 0)
        skep_log(core->env, SKEP_LOG_ERROR, "out of memory: the server does not end");
}

static void on_idle(void *user)
{
    tell_soon(user);
}

static void go_if_idle(struct skep_server_core *core)
{
    void (*gone)(void *user) = core->gone;
    void *user = core->gone_user;

    if (core->jobs > 0 || (core->runtime && !skep_runtime_idle(core->runtime, on_idle, core)))
        return;
    free_core(core);
    if (gone)
        gone(user);
}

/* One thing at a time: what is told may free the core. */
static void on_soon(struct skep_timer *timer)
{
    struct skep_server_core *core = SKEP_CONTAINER_OF(timer, struct skep_server_core, soon);
    skep_server_core_done *done;

    if (core->freeing) {
        go_if_idle(core);
    } else if (core->start_over) {
        core->start_over = false;
        done = core->start_done;
        core->start_done = NULL;
        if (core->state == STOPPED && core->stop_done)
            tell_soon(core);
        if (done)
            done(core->start_user, core->start_rc, core->text);
    } else if (core->state == STOPPED && core->stop_done) {
        done = core->stop_done;
        core->stop_done = NULL;
        done(core->stop_user, core->stop_rc, core->stop_rc < 0 ? core->save_why : "");
    }
}

void skep_server_started(struct skep_server_core *core, int rc)
{
    if (!core->start_done || core->start_over)
        return;
    core->start_over = true;
    core->start_rc = rc;
    tell_soon(core);
}

static void stopped(struct skep_server_core *core, int rc)
{
    core->state = STOPPED;
    core->stop_rc = rc;
    tell_soon(core);
}

/* ---- serving ---- */

static struct skep_hosted *find_expert(void *user, skep_bytes uid)
{
    struct skep_server_core *core = user;
    struct server_expert *e = NULL;

    HASH_FIND(hh, core->by_uid, uid.data, uid.len, e);
    return e ? &e->hosted : NULL;
}

static int serve(struct skep_server_core *core)
{
    const struct skep_server_core_options *options = &core->options;
    const struct skep_handler_options handler = {.class = &core->class,
                                                 .compression = options->compression,
                                                 .accept_non_finite = options->accept_non_finite,
                                                 .allow_backward = core->allow_backward,
                                                 .allow_backward_count =
                                                     options->allow_backward_count,
                                                 .memory_bytes = options->memory_bytes,
                                                 .find = find_expert,
                                                 .user = core};
    int rc;

    if (!(core->uid_views = skep_mem_zalloc(core->env->mem, core->count, sizeof *core->uid_views)))
        return SKEP_ENOMEM;
    for (size_t i = 0; i < core->count; i++)
        core->uid_views[i] = skep_bytes_str(core->uids[i]);
    if ((rc = skep_runtime_new(&core->runtime, core->env, options->workers)) < 0)
        return rc;
    for (size_t i = 0; i < core->count; i++)
        skep_runtime_add(core->runtime, &core->experts[i].hosted, &options->pools);
    return skep_handler_new(&core->handler, core->rpc, core->runtime, &handler);
}

static void give_up(struct skep_server_core *core, int rc)
{
    core->state = STOPPED;
    if (rc != core->make_rc || !*core->text)
        snprintf(core->text, sizeof core->text, "%s", skep_strerror(rc));
    skep_server_started(core, rc);
    tell_soon(core);
}

void skep_server_experts_made(struct skep_server_core *core)
{
    int rc = core->leaving ? SKEP_ECANCELED : core->make_rc;

    if (core->freeing) {
        tell_soon(core);
        return;
    }
    if (rc == 0)
        rc = serve(core);
    if (rc < 0) {
        give_up(core, rc);
        return;
    }
    core->state = SERVING;
    skep_log(core->env, SKEP_LOG_INFO, "serving %zu expert%s of class %s, hidden %zu", core->count,
             core->count == 1 ? "" : "s", core->class.class->name, core->class.hidden);
    skep_server_saving_start(core);
    if (core->dht)
        skep_server_declare_now(core);
    else
        skep_server_started(core, 0);
}

/* ---- stop ---- */

void skep_server_saved(struct skep_server_core *core)
{
    stopped(core, core->unsaved > 0 ? SKEP_EIO : 0);
}

static void on_quiet(void *user)
{
    struct skep_server_core *core = user;

    if (!core->freeing)
        skep_server_save_last(core);
}

static void on_drained(void *user)
{
    struct skep_server_core *core = user;

    if (!core->freeing && skep_runtime_idle(core->runtime, on_quiet, core))
        skep_server_save_last(core);
}

/* From here on no batch can become fuller than it is. */
static void close_pools(struct skep_server_core *core)
{
    for (size_t i = 0; i < core->count; i++)
        skep_runtime_flush(core->runtime, &core->experts[i].hosted);
}

static void give_up_starting(struct skep_server_core *core)
{
    core->leaving = true;
    skep_pick_fini(&core->pick);
    if (core->jobs == 0 && core->make_rc == 0)
        skep_server_experts_made(core);
}

void skep_server_core_stop(struct skep_server_core *core, skep_server_core_done *done, void *user)
{
    assert(!core->stop_done && !core->freeing);
    core->stop_done = done;
    core->stop_user = user;
    switch (core->state) {
    case STARTING: give_up_starting(core); return;
    case SERVING:
        core->state = STOPPING;
        skep_server_declaring_stop(core);
        skep_server_saving_stop(core);
        snprintf(core->text, sizeof core->text, "the server was stopped");
        skep_server_started(core, SKEP_ECANCELED);
        skep_handler_drain(core->handler, on_drained, core);
        close_pools(core);
        return;
    case NEW:
    case STOPPING:
    case STOPPED: stopped(core, core->stop_rc); return;
    }
}

void skep_server_core_free(struct skep_server_core *core, void (*gone)(void *user), void *user)
{
    if (!core)
        return;
    if (core->state == NEW) {
        free_core(core);
        if (gone)
            gone(user);
        return;
    }
    core->freeing = core->leaving = true;
    core->gone = gone;
    core->gone_user = user;
    skep_server_declaring_stop(core);
    skep_server_saving_stop(core);
    skep_pick_fini(&core->pick);
    if (core->handler) {
        skep_handler_drain(core->handler, NULL, NULL);
        skep_runtime_cancel_waiting(core->runtime);
    }
    tell_soon(core);
}

/* ---- new ---- */

static int check_uids(const struct skep_server_core_options *options, char *why, size_t why_len)
{
    char bad[SKEP_UID_WHY_MAX];

    if ((options->uid_count > 0) == (options->num_experts > 0)) {
        snprintf(why, why_len,
                 "say which experts: either their uids, or how many and of which pattern");
        return SKEP_EINVAL;
    }
    if (options->uid_count > SKEP_DECLARE_UIDS_MAX ||
        options->num_experts > SKEP_DECLARE_UIDS_MAX) {
        snprintf(why, why_len, "%zu experts; at most %d",
                 SKEP_MAX(options->uid_count, options->num_experts), SKEP_DECLARE_UIDS_MAX);
        return SKEP_ELIMIT;
    }
    for (size_t i = 0; i < options->uid_count; i++) {
        if (skep_uid_check(skep_bytes_str(options->uids[i]), bad, sizeof bad) < 0) {
            snprintf(why, why_len, "uid %zu: %s", i, bad);
            return SKEP_EUID;
        }
    }
    return 0;
}

/* A pattern that cannot be read is better known now than when the server starts. */
static int check_pattern(const struct skep_server_core_options *options, char *why, size_t why_len)
{
    struct skep_uid_pattern pattern;

    return options->pattern && options->num_experts > 0
               ? skep_uid_pattern_parse(&pattern, options->pattern, why, why_len)
               : 0;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* uids sorted: does one come twice? */
static int check_twice(const struct skep_server_core *core, char *why, size_t why_len)
{
    char **sorted = skep_mem_zalloc(core->env->mem, core->count + 1, sizeof *sorted);
    char escaped[SKEP_PEER_TEXT_MAX + 1];
    int rc = 0;

    if (!sorted)
        return SKEP_ENOMEM;
    if (core->count > 0)
        memcpy(sorted, core->uids, core->count * sizeof *sorted);
    qsort(sorted, core->count, sizeof *sorted, compare_texts);
    for (size_t i = 1; i < core->count && rc == 0; i++) {
        if (strcmp(sorted[i - 1], sorted[i]) == 0) {
            rc = SKEP_EEXIST;
            snprintf(why, why_len, "the uid \"%s\" is given twice",
                     skep_text_escape(escaped, sizeof escaped, skep_bytes_str(sorted[i])));
        }
    }
    skep_mem_free(core->env->mem, sorted);
    return rc;
}

static int copy_text(const struct skep_mem *mem, const char **text)
{
    if (!*text)
        return 0;
    *text = skep_mem_strdup(mem, *text);
    return *text ? 0 : SKEP_ENOMEM;
}

static int copy_options(struct skep_server_core *core, const struct skep_server_core_options *from)
{
    const struct skep_mem *mem = core->env->mem;
    size_t peers = from->allow_backward_count;

    core->options = *from;
    core->options.uids = NULL;
    core->options.class_options = NULL;
    core->options.allow_backward = NULL;
    core->options.checkpoint_dir = NULL;
    if (copy_text(mem, &core->options.pattern) < 0)
        return SKEP_ENOMEM;
    core->options.checkpoint_dir = from->checkpoint_dir;
    if (copy_text(mem, &core->options.checkpoint_dir) < 0)
        return SKEP_ENOMEM;
    if (peers > 0) {
        if (!(core->allow_backward = skep_mem_zalloc(mem, peers, sizeof *core->allow_backward)))
            return SKEP_ENOMEM;
        memcpy(core->allow_backward, from->allow_backward, peers * sizeof *from->allow_backward);
    }
    return from->uid_count > 0 ? skep_server_take_uids(core, from->uids, from->uid_count) : 0;
}

static int init(struct skep_server_core *core, const struct skep_server_core_options *options,
                char *why, size_t why_len)
{
    double period_s = (double)options->update_period_us / 1e6;
    int rc = copy_options(core, options);

    if (rc < 0 || (rc = check_twice(core, why, why_len)) < 0)
        return rc;
    core->options.workers = SKEP_MAX(options->workers, 1U);
    core->seed = options->seed != 0 ? options->seed : skep_env_random(core->env);
    core->expiration_s = options->expiration_s > 0 ? options->expiration_s
                                                   : SKEP_MAX(2 * period_s, expiration_min_s);
    return skep_class_open(&core->class, options->class, options->hidden, options->class_options,
                           why, why_len);
}

int skep_server_core_new(struct skep_server_core **out, struct skep_env *env, struct skep_rpc *rpc,
                         struct skep_dht *dht, const struct skep_server_core_options *options,
                         char *why, size_t why_len)
{
    struct skep_server_core *core;
    int rc;

    *out = NULL;
    if (why_len > 0)
        why[0] = '\0';
    if ((rc = check_uids(options, why, why_len)) < 0 ||
        (rc = check_pattern(options, why, why_len)) < 0)
        return rc;
    if (!(core = skep_mem_zalloc(env->mem, 1, sizeof *core)))
        return SKEP_ENOMEM;
    core->env = env;
    core->mem = env->mem;
    core->rpc = rpc;
    core->dht = dht;
    core->sgemm = skep_sgemm_portable;
    core->soon.fire = on_soon;
    skep_server_declaring_init(core);
    skep_server_saving_init(core);
    if ((rc = init(core, options, why, why_len)) < 0) {
        free_core(core);
        return rc;
    }
    *out = core;
    return 0;
}

void skep_server_core_use_gemm(struct skep_server_core *core, skep_sgemm_fn *sgemm)
{
    core->sgemm = sgemm;
}

const struct skep_class *skep_server_core_class(const struct skep_server_core *core)
{
    return &core->class;
}

int skep_server_core_start(struct skep_server_core *core, skep_server_core_done *done, void *user)
{
    int rc;

    assert(core->state == NEW);
    core->state = STARTING;
    rc = skep_server_pick_uids(core, core->text, sizeof core->text);
    if (rc < 0) {
        core->state = STOPPED;
        return rc;
    }
    core->start_done = done;
    core->start_user = user;
    return 0;
}

const char *skep_server_core_text(const struct skep_server_core *core)
{
    return core->text;
}

/* ---- what it knows ---- */

char *const *skep_server_core_uids(const struct skep_server_core *core, size_t *count)
{
    *count = core->count;
    return core->uids;
}

const struct skep_hosted *skep_server_core_expert(const struct skep_server_core *core, size_t index)
{
    return &core->experts[index].hosted;
}

void skep_server_core_stats(const struct skep_server_core *core, struct skep_server_core_stats *out)
{
    *out = core->stats;
    out->handler = core->handler ? skep_handler_stats(core->handler) : NULL;
    out->runtime = core->runtime ? skep_runtime_stats(core->runtime) : NULL;
}
