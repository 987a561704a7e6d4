/* SPDX-License-Identifier: MIT */
/* An expert server of a node. See include/skep/server.h; what it is made of is in src/server/.
 *
 * The caller's object and the core have lives of their own: the core goes when no worker is in it, which may be after the caller let the object go, and
 * before that where the node closes. A server that is started while the last one of the node is still going waits for it: both would answer the same calls. */
#include "api/api.h"

#include <math.h>
#include <skep/server.h>
#include <stdio.h>
#include <unistd.h>

#include "api/class_load.h"
#include "api/gemm.h"
#include "server/server.h"

enum {
    HIDDEN_DEFAULT = 1024,
    MAX_BATCH_DEFAULT = 4096,
    WORKERS_MAX = 256,
    THREADS_MAX = 4096,
    PERIOD_MIN_US = 100000,
    PERIOD_DEFAULT_US = 30000000
};
#define MEMORY_DEFAULT SKEP_MIB(512)
#define MEMORY_MIN SKEP_MIB(1)

enum { CLOSING_TURN_US = 2000 };

struct skep_server {
    struct skep_list entry; /* node->servers, until it is freed and its core gone */
    struct api_core *api;
    struct skep_server_core *core; /* NULL: gone */
    void *class_handle;            /* of a class that was loaded */
    struct skep_api_gemm gemm;     /* sgemm NULL: not wanted */
    unsigned workers;
    bool begun;  /* the core's start was called */
    bool going;  /* the core is being freed */
    bool let_go; /* by the caller: the memory goes with the core */
    bool stopping, stopped;
    int stop_rc;
    skep_op *start_op, *stop_op; /* under way */
    struct api_job free_job;
    atomic_bool has_uids;
    struct api_arena arena;
    const char **uids;
    size_t uid_count;
};

/* ---- options ---- */

void skep_server_options_init_size(skep_server_options *options, size_t struct_size)
{
    const skep_server_options all = {.struct_size = struct_size,
                                     .hidden = HIDDEN_DEFAULT,
                                     .min_batch_size = 1,
                                     .max_batch_size = MAX_BATCH_DEFAULT,
                                     .memory_bytes = MEMORY_DEFAULT,
                                     .workers = 1,
                                     .update_period_us = PERIOD_DEFAULT_US};

    if (!options)
        return;
    memset(options, 0, struct_size);
    memcpy(options, &all, SKEP_MIN(struct_size, sizeof all));
}

/* 0 is never meant: it is what a shorter struct, or none of the defaults, has. */
static void set_defaults(skep_server_options *o)
{
    if (o->hidden == 0)
        o->hidden = HIDDEN_DEFAULT;
    if (o->min_batch_size == 0)
        o->min_batch_size = 1;
    if (o->max_batch_size == 0)
        o->max_batch_size = SKEP_MAX((size_t)MAX_BATCH_DEFAULT, o->min_batch_size);
    if (o->memory_bytes == 0)
        o->memory_bytes = MEMORY_DEFAULT;
    if (o->workers == 0)
        o->workers = 1;
    if (o->update_period_us == 0)
        o->update_period_us = PERIOD_DEFAULT_US;
    if (!o->class_name && !o->own_class)
        o->class_name = "ffn";
}

static int check_which(const skep_server_options *o)
{
    if (o->uid_count > 0 && (o->num_experts > 0 || o->pattern))
        return skep_api_fail(SKEP_EINVAL, "server options: either uids, or a pattern and a number "
                                          "of experts, not both");
    if (o->uid_count == 0 && o->num_experts == 0)
        return skep_api_fail(SKEP_EINVAL, "server options: which experts? uids, or num_experts%s",
                             o->pattern ? " of the pattern" : " and a pattern");
    if (o->uid_count > 0 && !o->uids)
        return skep_api_fail(SKEP_EINVAL, "server options: %zu uids, and no list of them",
                             o->uid_count);
    for (size_t i = 0; i < o->uid_count; i++)
        if (!o->uids[i])
            return skep_api_fail(SKEP_EUID, "server options: uid %zu is NULL", i);
    if (o->class_name && o->own_class)
        return skep_api_fail(SKEP_EINVAL,
                             "server options: class_name and own_class are both given");
    return 0;
}

static int check_training(const skep_server_options *o)
{
    if (o->optimizer > SKEP_OPTIMIZER_NONE)
        return skep_api_fail(SKEP_EINVAL, "server options: there is no optimizer %d",
                             (int)o->optimizer);
    if (!(o->learning_rate >= 0) || !isfinite(o->learning_rate))
        return skep_api_fail(SKEP_EINVAL, "server options: the learning rate is %g",
                             o->learning_rate);
    if (!(o->clip_grad_norm >= 0) || !isfinite(o->clip_grad_norm))
        return skep_api_fail(SKEP_EINVAL, "server options: clip_grad_norm is %g",
                             o->clip_grad_norm);
    if (o->schedule > SKEP_SCHEDULE_LINEAR)
        return skep_api_fail(SKEP_EINVAL, "server options: there is no schedule %d",
                             (int)o->schedule);
    if (o->schedule == SKEP_SCHEDULE_LINEAR && o->training_steps == 0)
        return skep_api_fail(SKEP_EINVAL,
                             "server options: the linear schedule needs training_steps");
    if (o->allow_backward_count > 0 && !o->allow_backward)
        return skep_api_fail(SKEP_EINVAL,
                             "server options: %zu peers may train, and no list of "
                             "them",
                             o->allow_backward_count);
    for (size_t i = 0; i < o->allow_backward_count; i++)
        if (skep_api_bad_peer(&o->allow_backward[i]) < 0)
            return skep_api_fail(SKEP_EPEERID, "server options: allow_backward %zu is no peer id",
                                 i);
    return 0;
}

static int check_requests(const skep_server_options *o)
{
    if (o->min_batch_size > o->max_batch_size)
        return skep_api_fail(SKEP_EINVAL,
                             "server options: min_batch_size is %zu, above max_batch_size, %zu",
                             o->min_batch_size, o->max_batch_size);
    if (!skep_compression_name(o->compression))
        return skep_api_fail(SKEP_EINVAL, "server options: there is no compression %d",
                             (int)o->compression);
    if (o->memory_bytes < MEMORY_MIN)
        return skep_api_fail(SKEP_EINVAL, "server options: memory_bytes is %zu; at least %zu",
                             o->memory_bytes, MEMORY_MIN);
    if (o->workers > WORKERS_MAX || o->threads > THREADS_MAX)
        return skep_api_fail(SKEP_EINVAL, "server options: %u workers, %u threads; at most %d, %d",
                             o->workers, o->threads, WORKERS_MAX, THREADS_MAX);
    return 0;
}

static int check_swarm(const skep_server_options *o, const skep_node *node)
{
    if (o->update_period_us < PERIOD_MIN_US)
        return skep_api_fail(SKEP_EINVAL,
                             "server options: the update period is %llu us; at least "
                             "%d",
                             (unsigned long long)o->update_period_us, PERIOD_MIN_US);
    if (!(o->expiration_s >= 0) || o->expiration_s > node->ttl_max_s)
        return skep_api_fail(SKEP_EINVAL,
                             "server options: experts would expire after %g s; at most %g",
                             o->expiration_s, node->ttl_max_s);
    if (!node->dht && !o->no_declare)
        return skep_api_fail(SKEP_EINVAL,
                             "the node has no DHT (options.no_dht), so that the server cannot be "
                             "found: set no_declare");
    return 0;
}

static int options_in(skep_server_options *to, const skep_server_options *user,
                      const skep_node *node)
{
    int rc = skep_api_options_in(to, sizeof *to, user, sizeof *to, "server options");

    if (rc < 0)
        return rc;
    set_defaults(to);
    if ((rc = check_which(to)) < 0 || (rc = check_training(to)) < 0 ||
        (rc = check_requests(to)) < 0)
        return rc;
    return check_swarm(to, node);
}

static double learning_rate(const skep_server_options *o)
{
    if (o->learning_rate > 0)
        return o->learning_rate;
    return o->optimizer == SKEP_OPTIMIZER_SGD ? 0.01 : 0.001;
}

static unsigned threads_of(const skep_server_options *o)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    if (o->threads > 0)
        return o->threads;
    return SKEP_MAX((unsigned)SKEP_MIN(SKEP_MAX(processors, 1L), (long)THREADS_MAX) / o->workers,
                    1U);
}

/* ---- the core ---- */

static void unload_class(skep_server *server)
{
    skep_api_class_unload(server->class_handle);
    server->class_handle = NULL;
}

static void free_memory(skep_server *server)
{
    unload_class(server);
    skep_api_arena_fini(&server->arena);
    skep_api_core_unref(server->api);
    skep_mem_free(API_MEM, server);
}

static void begin_next(skep_node *node);

/* No worker is in it any more. */
static void on_gone(void *user)
{
    skep_server *server = user;
    skep_node *node = server->api->node;

    server->core = NULL;
    unload_class(server);
    skep_list_remove(&server->entry);
    if (server->let_go)
        free_memory(server);
    if (node && !node->closing)
        begin_next(node);
}

static void free_core(skep_server *server)
{
    if (!server->core || server->going)
        return;
    server->going = true;
    skep_server_core_free(server->core, on_gone, server);
}

static int find_class(const skep_expert_class **out, skep_server *server,
                      const skep_server_options *o)
{
    char why[SKEP_API_CLASS_WHY_MAX];
    int rc;

    if (o->own_class) {
        *out = o->own_class;
        return 0;
    }
    if (strchr(o->class_name, '/')) {
        rc = skep_api_class_load(out, &server->class_handle, o->class_name, why, sizeof why);
        return rc < 0 ? skep_api_fail(rc, "%s", why) : 0;
    }
    if ((*out = skep_expert_class_find(o->class_name)) != NULL)
        return 0;
    return skep_api_fail(SKEP_EINVAL,
                         "there is no class \"%s\": ffn, transformer, det_dropout, nop, nop_delay, "
                         "or the path of a shared object, such as ./%s",
                         skep_api_quote(o->class_name), skep_api_quote(o->class_name));
}

static int make_core(skep_server *server, skep_node *node, const skep_server_options *o,
                     const skep_expert_class *class)
{
    const struct skep_server_core_options options = {
        .uids = o->uids,
        .uid_count = o->uid_count,
        .pattern = o->pattern,
        .num_experts = o->num_experts,
        .class = class,
        .hidden = o->hidden,
        .class_options = o->class_options,
        .training = {.optimizer = o->optimizer,
                     .learning_rate = learning_rate(o),
                     .clip_grad_norm = o->clip_grad_norm,
                     .schedule = o->schedule,
                     .warmup_steps = o->warmup_steps,
                     .training_steps = o->training_steps},
        .compression = o->compression,
        .accept_non_finite = o->accept_non_finite,
        /* the public peer id is the inner one: see api_peer_in() */
        .allow_backward = (const struct skep_peer_id *)(const void *)o->allow_backward,
        .allow_backward_count = o->allow_backward_count,
        .memory_bytes = o->memory_bytes,
        .pools = {.min_batch_size = o->min_batch_size,
                  .max_batch_size = o->max_batch_size,
                  .wait_us = o->batch_wait_us},
        .workers = o->workers,
        .seed = o->seed,
        .update_period_us = o->update_period_us,
        .expiration_s = o->expiration_s,
        .checkpoint_dir = o->checkpoint_dir};
    char why[SKEP_SERVER_WHY_MAX];
    int rc = skep_server_core_new(&server->core, node->env, node->rpc,
                                  o->no_declare ? NULL : node->dht, &options, why, sizeof why);

    return rc < 0 ? skep_api_fail(rc, "%s", *why ? why : skep_strerror(rc)) : 0;
}

/* ---- start ---- */

struct start_op {
    skep_op op;
    skep_server *server; /* NULL: it has ended */
};

static int copy_uids(skep_server *server)
{
    size_t count;
    char *const *uids = skep_server_core_uids(server->core, &count);

    if (!(server->uids = skep_api_arena_alloc(&server->arena, count, sizeof *server->uids)))
        return SKEP_ENOMEM;
    for (size_t i = 0; i < count; i++)
        if (!(server->uids[i] = skep_api_arena_str(&server->arena, skep_bytes_str(uids[i]))))
            return SKEP_ENOMEM;
    server->uid_count = count;
    atomic_store_explicit(&server->has_uids, true, memory_order_release);
    return 0;
}

static void end_start(skep_server *server, int rc, const char *text)
{
    skep_op *op = server->start_op;

    server->start_op = NULL;
    if (op)
        skep_api_op_end(op, rc, text);
}

static void on_started(void *user, int rc, const char *text)
{
    skep_server *server = user;

    if (rc == 0)
        rc = copy_uids(server);
    end_start(server, rc, rc < 0 && !*text ? skep_strerror(rc) : text);
}

/* @return the matrix products that the class needs; none where it needs none. */
static struct skep_api_gemm load_gemm(const skep_server *server, const skep_server_options *options)
{
    const skep_class_schema *schema = &skep_server_core_class(server->core)->schema;

    if (schema->cheap || schema->parameter_count == 0)
        return (struct skep_api_gemm){.sgemm = NULL};
    return skep_api_gemm_load(threads_of(options));
}

static void use_gemm(skep_server *server)
{
    struct skep_env *env = server->api->node->env;

    if (!server->gemm.sgemm)
        return;
    skep_server_core_use_gemm(server->core, server->gemm.sgemm);
    if (server->gemm.why)
        skep_log(env, SKEP_LOG_WARNING,
                 "experts compute slowly, in portable C: libskep_gemm was not loaded (%s)",
                 server->gemm.why);
    else
        skep_log(env, SKEP_LOG_INFO, "matrix products by %s", server->gemm.name);
}

static int begin(skep_server *server)
{
    const char *text;
    int rc;

    server->begun = true;
    skep_uv_loop_set_workers(server->api->loop, server->workers + 1); /* one for the disk */
    use_gemm(server);
    rc = skep_server_core_start(server->core, on_started, server);
    if (rc == 0)
        return 0;
    text = skep_server_core_text(server->core);
    return skep_api_fail(rc, "cannot start the server: %s", *text ? text : skep_strerror(rc));
}

/* One of a node's servers at a time: the rest are going, or wait for it. */
static bool somebody_serves(const skep_node *node, const skep_server *but)
{
    SKEP_LIST_EACH(&node->servers, entry, after)
    {
        const skep_server *server = SKEP_LIST_ITEM(entry, skep_server, entry);

        if (server != but && server->core && (server->begun || server->going))
            return true;
    }
    return false;
}

static void begin_next(skep_node *node)
{
    SKEP_LIST_EACH(&node->servers, entry, after)
    {
        skep_server *server = SKEP_LIST_ITEM(entry, skep_server, entry);
        int rc;

        if (!server->core || server->begun || server->going || server->stopping ||
            somebody_serves(node, server))
            continue;
        if ((rc = begin(server)) < 0)
            end_start(server, rc, skep_last_error_text());
        return;
    }
}

static int start_start(skep_op *base, skep_node *node)
{
    struct start_op *op = SKEP_CONTAINER_OF(base, struct start_op, op);
    skep_server *server = op->server;
    int rc;

    server->start_op = base;
    skep_list_push_back(&node->servers, &server->entry);
    if (somebody_serves(node, server))
        return 0;
    if ((rc = begin(server)) < 0)
        server->start_op = NULL;
    return rc;
}

static void start_cancel(skep_op *base, skep_node *node)
{
    struct start_op *op = SKEP_CONTAINER_OF(base, struct start_op, op);

    (void)node;
    op->server->start_op = NULL;
    free_core(op->server);
}

static const struct api_op_class start_class = {sizeof(struct start_op), start_start, start_cancel};

/* @return 0 with a server whose core is made. */
static int new_server(skep_server **out, skep_node *node, const skep_server_options *options)
{
    skep_server *server = skep_mem_zalloc(API_MEM, 1, sizeof *server);
    const skep_expert_class *class;
    int rc;

    *out = NULL;
    if (!server)
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    server->api = skep_api_core_ref(node->core);
    skep_list_init(&server->entry);
    if ((rc = find_class(&class, server, options)) < 0 ||
        (rc = make_core(server, node, options, class)) < 0) {
        free_memory(server);
        return rc;
    }
    server->workers = options->workers;
    server->gemm = load_gemm(server, options);
    *out = server;
    return 0;
}

/* Of one whose start was refused. */
static void drop(skep_server *server)
{
    server->let_go = true;
    free_core(server);
}

int skep_server_start(skep_op **out, skep_server **server_out, skep_node *node,
                      const skep_server_options *user, skep_op_cb *cb, void *user_data)
{
    skep_server_options options;
    skep_server *server;
    struct start_op *op;
    int rc;

    if (out)
        *out = NULL;
    if ((rc = skep_api_need(node, "node")) < 0 ||
        (rc = skep_api_need(server_out, "place for the server")) < 0)
        return rc;
    *server_out = NULL;
    if ((rc = options_in(&options, user, node)) < 0)
        return rc;
    if (atomic_exchange(&node->core->has_server, true))
        return skep_api_fail(SKEP_EEXIST, "the node has a server already");
    if ((rc = new_server(&server, node, &options)) < 0)
        goto failed;
    if (!(op = skep_api_op_new(node, &start_class, cb, user_data, NULL))) {
        rc = SKEP_ENOMEM;
        goto no_op;
    }
    op->server = server;
    *server_out = server;
    if ((rc = skep_api_op_begin(out, node, &op->op)) == 0)
        return 0;
    *server_out = NULL;
no_op:
    drop(server);
failed:
    atomic_store(&node->core->has_server, false);
    return rc;
}

/* ---- stop ---- */

struct stop_op {
    skep_op op;
    skep_server *server;
};

static void end_stop(skep_server *server, int rc, const char *text)
{
    skep_op *op = server->stop_op;

    server->stop_op = NULL;
    if (op)
        skep_api_op_end(op, rc, text);
}

static void on_stopped(void *user, int rc, const char *text)
{
    skep_server *server = user;

    server->stopped = true;
    server->stop_rc = rc;
    end_stop(server, rc, text);
}

static int stop_start(skep_op *base, skep_node *node)
{
    skep_server *server = SKEP_CONTAINER_OF(base, struct stop_op, op)->server;

    (void)node;
    if (server->stopping && !server->stopped)
        return skep_api_fail(SKEP_EEXIST, "the server is being stopped already");
    if (!server->core || server->going)
        return skep_api_fail(SKEP_ECLOSED, "the server has gone");
    if (server->stopped) {
        skep_api_op_end(base, server->stop_rc, NULL);
        return 0;
    }
    server->stopping = true;
    server->stop_op = base;
    if (!server->begun)
        end_start(server, SKEP_ECANCELED, NULL);
    skep_server_core_stop(server->core, on_stopped, server);
    return 0;
}

/* The stop itself goes on. */
static void stop_cancel(skep_op *base, skep_node *node)
{
    (void)node;
    SKEP_CONTAINER_OF(base, struct stop_op, op)->server->stop_op = NULL;
}

static const struct api_op_class stop_class = {sizeof(struct stop_op), stop_start, stop_cancel};

int skep_server_stop(skep_op **out, skep_server *server, skep_op_cb *cb, void *user_data)
{
    struct stop_op *op;
    int rc;

    if (out)
        *out = NULL;
    if ((rc = skep_api_need(server, "server")) < 0)
        return rc;
    if (!(op = skep_api_op_new_of(server->api, &stop_class, cb, user_data)))
        return SKEP_ENOMEM;
    op->server = server;
    return skep_api_op_begin_of(out, server->api, &op->op);
}

/* ---- free ---- */

/* node NULL: it is closing, and its servers' cores are gone or soon will be. */
static void on_free(struct api_job *job, skep_node *node)
{
    skep_server *server = SKEP_CONTAINER_OF(job, skep_server, free_job);

    (void)node;
    server->let_go = true;
    end_start(server, SKEP_ECANCELED, NULL);
    end_stop(server, SKEP_ECANCELED, NULL);
    if (server->core)
        free_core(server);
    else
        free_memory(server);
}

void skep_server_free(skep_server *server)
{
    if (!server)
        return;
    atomic_store(&server->api->has_server, false);
    /* Also on the loop: a start that another thread has asked for may still be in line. */
    server->free_job.run = on_free;
    if (skep_api_post(server->api, &server->free_job) < 0)
        on_free(&server->free_job, NULL);
}

void skep_api_servers_close(skep_node *node)
{
    SKEP_LIST_EACH(&node->servers, entry, after)
    {
        free_core(SKEP_LIST_ITEM(entry, skep_server, entry));
    }
    /* What a worker computes cannot be given up, and it uses what is about to be freed. A server may go in the timers before a turn waits, so each waits
     * only for a while. */
    while (!skep_list_empty(&node->servers))
        (void)skep_uv_loop_turn(node->loop, CLOSING_TURN_US);
}

/* ---- what it knows ---- */

const char *const *skep_server_experts(const skep_server *server, size_t *count)
{
    bool known = server && atomic_load_explicit(&server->has_uids, memory_order_acquire);

    if (count)
        *count = known ? server->uid_count : 0;
    return known ? server->uids : NULL;
}

struct question {
    skep_server *server;
    size_t index;
    skep_server_counters all;
    skep_expert_counters one;
};

static int read_counters(skep_node *node, void *arg)
{
    struct question *q = arg;
    struct skep_server_core_stats stats;
    skep_server_counters *to = &q->all;
    size_t count;

    (void)node;
    if (!q->server->core)
        return SKEP_ECLOSED;
    skep_server_core_stats(q->server->core, &stats);
    (void)skep_server_core_uids(q->server->core, &count);
    *to = (skep_server_counters){.experts = count,
                                 .declarations = stats.declarations,
                                 .checkpoints = stats.checkpoints,
                                 .checkpoints_failed = stats.checkpoints_failed};
    if (stats.handler) {
        to->memory_bytes = stats.handler->bytes;
        to->memory_bytes_most = stats.handler->bytes_most;
        to->infos = stats.handler->infos;
        to->forwards = stats.handler->forwards;
        to->backwards = stats.handler->backwards;
        to->refused_requests = stats.handler->refused;
        to->refused_non_finite = stats.handler->refused_non_finite;
        to->refused_peers = stats.handler->refused_peers;
        to->canceled = stats.handler->canceled;
    }
    if (stats.runtime) {
        to->tasks_waiting = stats.runtime->waiting;
        to->forward_batches = stats.runtime->forward_batches;
        to->forward_rows = stats.runtime->forward_rows;
        to->backward_batches = stats.runtime->backward_batches;
        to->backward_rows = stats.runtime->backward_rows;
        to->compute_us = stats.runtime->compute_us;
        for (size_t i = 0; i < count; i++) {
            const struct skep_hosted *expert = skep_server_core_expert(q->server->core, i);

            to->steps += expert->stats.step;
            to->steps_refused += expert->stats.steps_refused;
        }
    }
    return 0;
}

static int read_expert(skep_node *node, void *arg)
{
    struct question *q = arg;
    const struct skep_hosted_stats *stats;

    (void)node;
    if (!q->server->core)
        return SKEP_ECLOSED;
    stats = &skep_server_core_expert(q->server->core, q->index)->stats;
    q->one = (skep_expert_counters){.forward_batches = stats->forward_batches,
                                    .forward_rows = stats->forward_rows,
                                    .forward_us = stats->forward_us,
                                    .backward_batches = stats->backward_batches,
                                    .backward_rows = stats->backward_rows,
                                    .backward_us = stats->backward_us,
                                    .step = stats->step,
                                    .steps_refused = stats->steps_refused};
    return 0;
}

/* @return 0 with the caller's size. */
static int check_place(const void *out, size_t *size)
{
    int rc = skep_api_need(out, "place for the counters");

    if (rc < 0)
        return rc;
    memcpy(size, out, sizeof *size);
    if (*size < sizeof *size || *size > 1 << 16)
        return skep_api_fail(SKEP_EINVAL, "counters: struct_size %zu", *size);
    return 0;
}

static void copy_out(void *out, size_t out_size, const void *all, size_t size)
{
    memset(out, 0, out_size);
    memcpy(out, all, SKEP_MIN(out_size, size));
    memcpy(out, &out_size, sizeof out_size);
}

int skep_server_counters_get(skep_server *server, skep_server_counters *out)
{
    struct question q = {.server = server};
    size_t size;
    int rc;

    if ((rc = skep_api_need(server, "server")) < 0 || (rc = check_place(out, &size)) < 0)
        return rc;
    if ((rc = skep_api_call(server->api, read_counters, &q)) < 0)
        return skep_api_fail(rc, "the server has gone");
    copy_out(out, size, &q.all, sizeof q.all);
    return 0;
}

int skep_server_expert_counters_get(skep_server *server, size_t index, skep_expert_counters *out)
{
    struct question q = {.server = server, .index = index};
    size_t size, count;
    int rc;

    if ((rc = skep_api_need(server, "server")) < 0 || (rc = check_place(out, &size)) < 0)
        return rc;
    if (!skep_server_experts(server, &count) || index >= count)
        return skep_api_fail(SKEP_EINVAL, "there is no expert %zu", index);
    if ((rc = skep_api_call(server->api, read_expert, &q)) < 0)
        return skep_api_fail(rc, "the server has gone");
    copy_out(out, size, &q.one, sizeof q.one);
    return 0;
}
