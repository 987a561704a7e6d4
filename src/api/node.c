/* SPDX-License-Identifier: MIT */
/* A node from its options to its end: which layers it has, whose thread its loop runs on, in what order all is closed. */
#include "api/api.h"

#include <stdio.h>

#include "base/map.h"
#include "crypto/secret.h"

/* ---- options ---- */

/* The switches that the public options and the DHT's have in common, by the same names. */
#define DHT_SWITCHES(X)                                                                            \
    X(client_mode)                                                                                 \
    X(bucket_size)                                                                                 \
    X(num_replicas)                                                                                \
    X(depth_modulo)                                                                                \
    X(parallel_rpc)                                                                                \
    X(wait_timeout_us)                                                                             \
    X(refresh_timeout_us)                                                                          \
    X(bootstrap_timeout_us)                                                                        \
    X(ensure_bootstrap_success)                                                                    \
    X(strict)                                                                                      \
    X(num_workers)                                                                                 \
    X(chunk_size)                                                                                  \
    X(cache_locally)                                                                               \
    X(cache_nearest)                                                                               \
    X(cache_on_store)                                                                              \
    X(cache_refresh_before_expiry_us)                                                              \
    X(reuse_get_requests)                                                                          \
    X(cache_size)                                                                                  \
    X(cache_bytes)                                                                                 \
    X(storage_bytes)                                                                               \
    X(blacklist_time_us)                                                                           \
    X(blacklist_backoff)                                                                           \
    X(ttl_max_s)                                                                                   \
    X(one_hop_nodes_max)                                                                           \
    X(one_hop_round_us)                                                                            \
    X(one_hop_fill_us)

#define COPY(name) to->name = from->name;

static void dht_options_out(skep_node_options *to, const struct skep_dht_options *from)
{
    DHT_SWITCHES(COPY)
}

static void dht_options_in(struct skep_dht_options *to, const skep_node_options *from)
{
    skep_dht_options_default(to);
    DHT_SWITCHES(COPY)
    if (from->node_id) {
        to->has_node_id = true;
        memcpy(to->node_id.bytes, from->node_id, SKEP_DHT_ID_LEN);
    }
}

#undef COPY

void skep_node_options_init_size(skep_node_options *options, size_t struct_size)
{
    skep_node_options all = {
        .struct_size = struct_size, .check_identity = true, .verbosity = SKEP_VERBOSITY_WARNING};
    struct skep_dht_options dht;

    if (!options)
        return;
    skep_dht_options_default(&dht);
    dht_options_out(&all, &dht);
    memset(options, 0, struct_size);
    memcpy(options, &all, SKEP_MIN(struct_size, sizeof all));
}

/* A program built with another version of the header has a shorter or longer struct. */
static int options_in(skep_node_options *to, const skep_node_options *from)
{
    skep_node_options_init(to);
    if (!from)
        return 0;
    if (from->struct_size < offsetof(skep_node_options, identity_path) + sizeof(void *) ||
        from->struct_size > 1 << 16)
        return skep_api_fail(SKEP_EINVAL,
                             "node options: struct_size %zu; was skep_node_options_init() called?",
                             from->struct_size);
    memcpy(to, from, SKEP_MIN(from->struct_size, sizeof *to));
    return 0;
}

static int check_maddrs(const char *what, const char *const *maddrs, size_t count)
{
    struct skep_multiaddr addr;

    if (count > 0 && !maddrs)
        return skep_api_fail(SKEP_EINVAL, "node options: %zu %s, and no list of them", count, what);
    for (size_t i = 0; i < count; i++)
        if (!maddrs[i] || skep_multiaddr_parse(&addr, maddrs[i]) < 0)
            return skep_api_fail(SKEP_EMULTIADDR, "%s: \"%s\" is not a multiaddr that skep can use",
                                 what, skep_api_quote(maddrs[i]));
    return 0;
}

static int check_numbers(const skep_node_options *options)
{
    static const char *const names[] = {"bucket_size", "num_replicas",    "num_workers",
                                        "chunk_size",  "wait_timeout_us", "depth_modulo"};
    const uint64_t values[] = {options->bucket_size,     options->num_replicas,
                               options->num_workers,     options->chunk_size,
                               options->wait_timeout_us, options->depth_modulo};

    for (size_t i = 0; i < SKEP_COUNT_OF(values); i++)
        if (values[i] == 0)
            return skep_api_fail(SKEP_EINVAL, "node options: %s is 0", names[i]);
    if (options->bucket_size > SKEP_DHT_BUCKET_SIZE_MAX)
        return skep_api_fail(SKEP_EINVAL, "node options: bucket_size is %zu; at most %d",
                             options->bucket_size, SKEP_DHT_BUCKET_SIZE_MAX);
    if (options->num_replicas > options->bucket_size)
        return skep_api_fail(SKEP_EINVAL,
                             "node options: num_replicas is %zu, above bucket_size, %zu",
                             options->num_replicas, options->bucket_size);
    if (!(options->ttl_max_s > 0))
        return skep_api_fail(SKEP_EINVAL, "node options: ttl_max_s is not above 0");
    if (!(options->blacklist_backoff >= 1))
        return skep_api_fail(SKEP_EINVAL, "node options: blacklist_backoff is below 1");
    if (options->one_hop_nodes_max > SKEP_DHT_ONE_HOP_NODES_MAX)
        return skep_api_fail(SKEP_EINVAL, "node options: one_hop_nodes_max is %zu; at most %d",
                             options->one_hop_nodes_max, SKEP_DHT_ONE_HOP_NODES_MAX);
    return 0;
}

static int check_options(const skep_node_options *options)
{
    int rc;

    if ((rc = check_maddrs("listen", options->listen, options->listen_count)) < 0 ||
        (rc = check_maddrs("announce", options->announce, options->announce_count)) < 0 ||
        (rc = check_maddrs("initial peers", options->initial_peers, options->initial_peer_count)) <
            0)
        return rc;
    if (options->agent && strlen(options->agent) > SKEP_PEER_TEXT_MAX)
        return skep_api_fail(SKEP_EINVAL,
                             "node options: the agent has %zu bytes; peers read at most %d",
                             strlen(options->agent), SKEP_PEER_TEXT_MAX);
    return options->no_dht ? 0 : check_numbers(options);
}

/* ---- the log: an env knows no user, so nodes that log are found by it ---- */

static pthread_mutex_t logging_mutex = PTHREAD_MUTEX_INITIALIZER;
static skep_node *logging_nodes;

static void on_log(struct skep_env *env, enum skep_log_level level, const char *text)
{
    skep_log_cb *log = NULL;
    void *user = NULL;

    pthread_mutex_lock(&logging_mutex);
    for (skep_node *node = logging_nodes; node; node = node->next_logging) {
        if (node->env == env) {
            log = node->log;
            user = node->log_user_data;
        }
    }
    pthread_mutex_unlock(&logging_mutex);
    if (log)
        log(user, (enum skep_verbosity)level, text);
}

static void start_logging(skep_node *node, const skep_node_options *options)
{
    if (!options->log)
        return;
    node->log = options->log;
    node->log_user_data = options->log_user_data;
    pthread_mutex_lock(&logging_mutex);
    node->next_logging = logging_nodes;
    logging_nodes = node;
    pthread_mutex_unlock(&logging_mutex);
    node->env->log_level = (enum skep_log_level)options->verbosity;
    node->env->log = on_log;
}

static void stop_logging(const skep_node *node)
{
    pthread_mutex_lock(&logging_mutex);
    for (skep_node **at = &logging_nodes; *at; at = &(*at)->next_logging) {
        if (*at == node) {
            *at = node->next_logging;
            break;
        }
    }
    pthread_mutex_unlock(&logging_mutex);
}

/* ---- new ---- */

/* Hashes of what peers choose are keyed, once for the program and before the first map. */
static int key_the_maps(struct skep_env *env)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static bool keyed;
    uint64_t key[2];
    int rc = 0;

    pthread_mutex_lock(&mutex);
    if (!keyed && (rc = env->entropy(env, key, sizeof key)) == 0) {
        skep_map_set_key(key[0], key[1]);
        keyed = true;
    }
    pthread_mutex_unlock(&mutex);
    return rc < 0 ? skep_api_fail(rc, "no randomness from the system") : 0;
}

static int make_identity(skep_node *node, const skep_node_options *options)
{
    uint8_t seed[SKEP_ED25519_LEN];
    int rc;

    if (options->identity_path) {
        rc = skep_api_identity_load(&node->identity, options->identity_path);
    } else {
        rc = options->identity_seed ? 0 : node->env->entropy(node->env, seed, sizeof seed);
        if (options->identity_seed)
            memcpy(seed, options->identity_seed, sizeof seed);
        if (rc == 0)
            rc = skep_identity_from_seed(&node->identity, API_MEM, seed);
        skep_secret_wipe(seed, sizeof seed);
        if (rc < 0)
            skep_api_fail(rc, "cannot make a key: %s", skep_strerror(rc));
    }
    node->has_identity = rc == 0;
    return rc;
}

static int listen_and_announce(skep_node *node, const skep_node_options *options)
{
    struct skep_multiaddr addr;
    int rc = 0;

    for (size_t i = 0; i < options->listen_count && rc == 0; i++) {
        (void)skep_multiaddr_parse(&addr, options->listen[i]); /* checked before */
        if ((rc = skep_host_listen(node->host, &addr)) < 0)
            skep_api_fail(rc, "cannot listen on \"%s\": %s", skep_api_quote(options->listen[i]),
                          skep_strerror(rc));
    }
    for (size_t i = 0; i < options->announce_count && rc == 0; i++) {
        (void)skep_multiaddr_parse(&addr, options->announce[i]);
        if ((rc = skep_host_announce(node->host, &addr)) < 0)
            skep_api_fail(rc, "cannot announce \"%s\": %s", skep_api_quote(options->announce[i]),
                          skep_strerror(rc));
    }
    return rc;
}

static int copy_peers(skep_node *node, const skep_node_options *options)
{
    if (options->initial_peer_count == 0)
        return 0;
    node->initial_peers =
        skep_mem_zalloc(API_MEM, options->initial_peer_count, sizeof *node->initial_peers);
    if (!node->initial_peers)
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    for (size_t i = 0; i < options->initial_peer_count; i++, node->initial_peer_count++)
        if (!(node->initial_peers[i] = skep_mem_strdup(API_MEM, options->initial_peers[i])))
            return skep_api_fail(SKEP_ENOMEM, "out of memory");
    return 0;
}

static int make_layers(skep_node *node, const skep_node_options *options)
{
    const struct skep_host_options host = {.identity = &node->identity,
                                           .agent = options->agent,
                                           .kad_server = !options->client_mode,
                                           .connections_max = options->connections_max,
                                           .connections_per_address_max =
                                               options->connections_per_address_max,
                                           .idle_us = options->connection_idle_us,
                                           .dial_timeout_us = options->dial_timeout_us};
    struct skep_dht_options dht;
    int rc;

    if ((rc = skep_host_new(&node->host, node->env, skep_uv_loop_tcp(node->loop), &host)) < 0)
        return skep_api_fail(rc, "cannot make the host: %s", skep_strerror(rc));
    if ((rc = skep_rpc_host_new(&node->rpc, node->env, node->host)) < 0)
        return skep_api_fail(rc, "cannot make the call layer: %s", skep_strerror(rc));
    if (!options->no_dht) {
        dht_options_in(&dht, options);
        if ((rc = skep_dht_new(&node->dht, node->env, node->rpc, &dht)) < 0)
            return skep_api_fail(rc, "cannot make the DHT node: %s", skep_strerror(rc));
    }
    return listen_and_announce(node, options);
}

static void init_lists(skep_node *node)
{
    skep_list_init(&node->ops);
    skep_list_init(&node->deferred);
    skep_list_init(&node->handlers);
    skep_list_init(&node->requests);
    skep_list_init(&node->streams);
    skep_list_init(&node->waiting);
    skep_list_init(&node->validators);
    skep_list_init(&node->searchers);
    skep_list_init(&node->servers);
    skep_list_init(&node->mixtures);
}

static void close_layers(skep_node *node);

static void free_memory(skep_node *node)
{
    for (size_t i = 0; i < node->initial_peer_count; i++)
        skep_mem_free(API_MEM, node->initial_peers[i]);
    skep_mem_free(API_MEM, node->initial_peers);
    skep_api_core_unref(node->core);
    skep_mem_free(API_MEM, node);
}

static void *run_thread(void *arg)
{
    skep_node *node = arg;

    while (!atomic_load(&node->stop))
        (void)skep_api_turn(node, SKEP_NEVER_US);
    close_layers(node);
    return NULL;
}

static int make_node(skep_node **out, const skep_node_options *options)
{
    skep_node *node = skep_mem_zalloc(API_MEM, 1, sizeof *node);
    int rc;

    if (!node)
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    init_lists(node);
    if ((rc = skep_uv_loop_new(&node->loop, API_MEM)) < 0) {
        skep_mem_free(API_MEM, node);
        return skep_api_fail(rc, "cannot make an event loop: %s", skep_strerror(rc));
    }
    if (!(node->core = skep_api_core_new(node->loop))) {
        skep_uv_loop_free(node->loop);
        skep_mem_free(API_MEM, node);
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    }
    node->core->node = node;
    node->env = skep_uv_loop_env(node->loop);
    node->caller_driven = options->caller_driven;
    node->check_identity = options->check_identity && options->identity_path;
    node->ttl_max_s = options->ttl_max_s;
    start_logging(node, options);
    *out = node;
    return 0;
}

int skep_node_new(skep_node **out, const skep_node_options *user_options)
{
    skep_node_options options;
    skep_node *node = NULL;
    int rc;

    if (!out)
        return skep_api_fail(SKEP_EINVAL, "nowhere to put the node");
    *out = NULL;
    if ((rc = options_in(&options, user_options)) < 0 || (rc = check_options(&options)) < 0)
        return rc;
    if ((rc = make_node(&node, &options)) < 0)
        return rc;
    assert(node);
    if ((rc = key_the_maps(node->env)) == 0 && (rc = copy_peers(node, &options)) == 0 &&
        (rc = make_identity(node, &options)) == 0)
        rc = make_layers(node, &options);
    if (rc == 0 && !node->caller_driven) {
        atomic_store(&node->core->owner,
                     NULL); /* no longer ours, also before the thread has taken it */
        node->has_thread = pthread_create(&node->thread, NULL, run_thread, node) == 0;
        if (!node->has_thread)
            rc = skep_api_fail(SKEP_ESYSTEM, "cannot start a thread");
    }
    if (rc < 0) {
        close_layers(node);
        free_memory(node);
        return rc;
    }
    *out = node;
    return 0;
}

/* ---- the end ---- */

/* On the loop's thread, outside any turn. Callbacks run as their operations end; what they begin is refused. */
static void close_layers(skep_node *node)
{
    skep_api_own_loop(node->core);
    node->running = true;
    skep_api_run_jobs(
        node); /* what was asked before the close still starts, so that it ends in the usual way */
    node->closing = true;
    skep_api_run_jobs(node);
    if (node->host) {
        skep_api_ops_close(node);
        skep_api_servers_close(node);
        skep_api_handlers_close(node);
        skep_api_streams_close(node);
        skep_api_requests_close(node);
        skep_api_searchers_close(node);
        skep_api_waiting_close(node);
        skep_api_mixtures_close(node);
        skep_api_experts_close(node);
    }
    if (node->dht)
        skep_dht_free(node->dht);
    skep_api_validators_close(node);
    skep_rpc_host_free(node->rpc);
    if (node->host)
        skep_host_free(node->host);
    skep_api_ops_close(node);
    if (node->has_identity)
        skep_identity_fini(&node->identity);
    stop_logging(node);
    pthread_mutex_lock(&node->core->mutex);
    node->core->loop = NULL;
    node->core->node = NULL;
    pthread_mutex_unlock(&node->core->mutex);
    atomic_store(&node->core->owner, NULL);
    skep_uv_loop_free(node->loop);
}

static void on_stop(struct api_job *job, skep_node *node)
{
    (void)job;
    if (node)
        atomic_store(&node->stop, true);
}

int skep_node_free(skep_node *node)
{
    struct api_job stop = {.run = on_stop};

    if (!node)
        return 0;
    if (skep_api_on_loop(node->core) && (node->running || node->has_thread))
        return skep_api_fail(SKEP_EDEADLOCK, "a node cannot be closed from its own callbacks");
    if (node->has_thread) {
        (void)skep_api_post(node->core, &stop);
        pthread_join(node->thread, NULL);
    } else {
        close_layers(node);
    }
    free_memory(node);
    return 0;
}

void skep_node_peer(const skep_node *node, skep_peer *out)
{
    if (!node || !out)
        return;
    *out = api_peer_out(&node->identity.id);
}

/* ---- posts ---- */

struct post {
    struct api_job job;
    void (*fn)(void *user_data);
    void *user_data;
};

static void on_post(struct api_job *job, skep_node *node)
{
    struct post *post = SKEP_CONTAINER_OF(job, struct post, job);

    (void)node;
    post->fn(post->user_data);
    skep_mem_free(API_MEM, post);
}

int skep_node_post(skep_node *node, void (*fn)(void *user_data), void *user_data)
{
    struct post *post;
    int rc;

    if ((rc = skep_api_need(node, "node")) < 0 ||
        (rc = skep_api_need(fn ? "" : NULL, "function")) < 0)
        return rc;
    if (!(post = skep_mem_zalloc(API_MEM, 1, sizeof *post)))
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    *post = (struct post){.job.run = on_post, .fn = fn, .user_data = user_data};
    if ((rc = skep_api_post(node->core, &post->job)) < 0) {
        skep_mem_free(API_MEM, post);
        skep_api_fail(rc, "the node is closed");
    }
    return rc;
}

uint64_t skep_api_deadline_us(const skep_node *node, uint64_t timeout_us)
{
    uint64_t now_us = skep_env_now_us(node->env);

    return timeout_us == 0 || timeout_us >= SKEP_NEVER_US - now_us ? 0 : now_us + timeout_us;
}

/* ---- counters ---- */

static int read_counters(skep_node *node, void *arg)
{
    skep_node_counters *to = arg;
    struct skep_host_stats host;
    struct skep_rpc_host_stats rpc;
    struct skep_dht_stats dht = {0};

    skep_host_stats(node->host, &host);
    skep_rpc_host_stats(node->rpc, &rpc);
    if (node->dht)
        skep_dht_stats(node->dht, &dht);
    *to = (skep_node_counters){
        .struct_size = sizeof *to,
        .connections = host.connections,
        .calls_in_flight = rpc.in_flight,
        .calls_queued = rpc.queued,
        .handlers_running = rpc.handling,
        .operations = node->op_count,
        .bytes_in = host.bytes_in,
        .bytes_out = host.bytes_out,
        .dials = host.dials,
        .dials_failed = host.dials_failed,
        .accepted = host.accepted,
        .accepts_refused = host.refused_accepts,
        .handshakes_failed = host.handshakes_failed,
        .peer_errors = host.peer_errors,
        .streams_opened = host.streams_opened,
        .streams_served = host.streams_served,
        .streams_refused = host.streams_refused,
        .calls_made = rpc.calls_made,
        .calls_failed = rpc.calls_failed,
        .calls_timed_out = rpc.calls_timed_out,
        .calls_served = rpc.calls_served,
        .calls_malformed = rpc.malformed,
        .calls_refused = rpc.refused,
        .table_nodes = dht.table_nodes,
        .stored_keys = dht.stored_keys,
        .stored_bytes = dht.stored_bytes,
        .cached_keys = dht.cached_keys,
        .cached_bytes = dht.cached_bytes,
        .dht_requests_in = dht.requests_in,
        .dht_requests_out = dht.requests_out,
        .dht_requests_failed = dht.requests_failed,
        .dht_refused_records = dht.refused_records,
        .dht_bad_messages = dht.bad_messages,
        .dht_blacklisted = dht.blacklisted,
        .one_hop_nodes = dht.one_hop_nodes,
        .one_hop_bytes = dht.one_hop_bytes,
        .crawl_calls = dht.crawl_calls,
        .crawl_bytes = dht.crawl_bytes,
    };
    return 0;
}

int skep_node_counters_get(skep_node *node, skep_node_counters *out)
{
    skep_node_counters all;
    size_t size;
    int rc;

    if ((rc = skep_api_need(node, "node")) < 0 ||
        (rc = skep_api_need(out, "place for the counters")) < 0)
        return rc;
    size = out->struct_size;
    if (size < sizeof size || size > 1 << 16)
        return skep_api_fail(SKEP_EINVAL, "counters: struct_size %zu", size);
    if ((rc = skep_api_call(node->core, read_counters, &all)) < 0)
        return rc;
    memset(out, 0, size);
    memcpy(out, &all, SKEP_MIN(size, sizeof all));
    out->struct_size = size;
    return 0;
}

/* ---- is an identity taken? ---- */

struct question {
    bool done, taken;
    int rc;
    char text[1024];
};

static void on_answer(void *user, int rc, bool taken, const char *text)
{
    struct question *question = user;

    question->done = true;
    question->rc = rc;
    question->taken = taken;
    snprintf(question->text, sizeof question->text, "%s", text);
}

int skep_identity_is_taken(const char *path, const char *const *initial_peers, size_t count,
                           uint64_t timeout_us, bool *taken)
{
    struct skep_identity identity;
    struct question question = {0};
    skep_node_options options;
    struct api_taken *asking;
    skep_node *node;
    int rc;

    if (!path || !taken || count == 0)
        return skep_api_fail(SKEP_EINVAL,
                             "no path, no initial peers, or nowhere to put the answer");
    *taken = false;
    skep_node_options_init(&options);
    options.caller_driven = options.no_dht = options.client_mode = true;
    if ((rc = check_maddrs("initial peers", initial_peers, count)) < 0 ||
        (rc = skep_api_identity_load(&identity, path)) < 0)
        return rc;
    if ((rc = skep_node_new(&node, &options)) < 0)
        goto out;
    if ((rc = skep_api_taken_start(&asking, node, &identity.id, initial_peers, count, timeout_us,
                                   on_answer, &question)) < 0)
        skep_api_fail(rc, "cannot ask for the identity: %s", skep_strerror(rc));
    while (rc == 0 && !question.done)
        rc = skep_api_turn(node, SKEP_NEVER_US);
    if (rc == 0)
        rc = question.rc < 0 ? skep_api_fail(question.rc, "%s", question.text) : 0;
    skep_api_taken_free(asking);
    skep_node_free(node);
    *taken = rc == 0 && question.taken;
out:
    skep_identity_fini(&identity);
    return rc;
}
