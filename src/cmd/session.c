/* SPDX-License-Identifier: MIT */
/* The node of a subcommand; see session.h. */
#include "cmd/session.h"

#include <time.h>

/* A command that asks something once needs one initial peer, not all: once one has answered, the rest get this long. */
#define CLIENT_BOOTSTRAP_US ((uint64_t)300000)

enum { WATCH_INTERVAL_US = 100000 };

static bool signals_blocked;

static void print_log(void *user_data, enum skep_verbosity verbosity, const char *text)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};

    (void)user_data;
    fprintf(stderr, "skep: %s: %s\n", names[verbosity], text);
}

void skep_session_options(skep_node_options *options, enum skep_session_kind kind)
{
    static const char *const anywhere[] = {"/ip4/0.0.0.0/tcp/0"};
    const struct skep_cmd_common *c = &skep_cmd_common;

    skep_node_options_init(options);
    options->identity_path = c->identity;
    options->initial_peers = (const char *const *)c->join;
    options->initial_peer_count = skep_cmd_list_count(c->join);
    options->no_dht = kind == SKEP_SESSION_CALLS;
    options->client_mode = kind != SKEP_SESSION_PEER;
    options->caller_driven = kind != SKEP_SESSION_PEER;
    options->log = print_log;
    options->verbosity = c->verbose == 0   ? SKEP_VERBOSITY_ERROR
                         : c->verbose == 1 ? SKEP_VERBOSITY_INFO
                                           : SKEP_VERBOSITY_DEBUG;
    if (kind == SKEP_SESSION_CLIENT)
        options->bootstrap_timeout_us = CLIENT_BOOTSTRAP_US;
    if (c->max_ttl)
        options->ttl_max_s = (double)c->max_ttl_us / 1e6;
    if (kind == SKEP_SESSION_PEER) {
        options->listen = c->listen ? (const char *const *)c->listen : anywhere;
        options->listen_count = c->listen ? skep_cmd_list_count(c->listen) : 1;
        options->announce = (const char *const *)c->announce;
        options->announce_count = skep_cmd_list_count(c->announce);
    }
}

int skep_session_failed(int rc, const skep_op *op, const char *what)
{
    const char *text = op ? skep_op_text(op) : skep_last_error_text();

    skep_cmd_error(what, "%s", text && *text ? text : skep_strerror(rc));
    return skep_cmd_exit_of(rc);
}

int skep_session_open_with(struct skep_session *session, const skep_node_options *options)
{
    int rc;

    session->deadline_us = skep_cmd_common.timeout_us > 0
                               ? skep_cmd_now_us() + skep_cmd_common.timeout_us
                               : SKEP_FOREVER;
    rc = skep_node_new(&session->node, options);
    if (rc == 0)
        return SKEP_EXIT_DONE;
    session->node = NULL;
    if (rc == SKEP_EIO && options->identity_path) {
        skep_session_failed(rc, NULL, options->identity_path);
        return SKEP_EXIT_USAGE;
    }
    return skep_session_failed(rc, NULL,
                               options->identity_path && (rc == SKEP_EKEY || rc == SKEP_EKEYMODE)
                                   ? options->identity_path
                                   : "node");
}

int skep_session_make_identity(const char *path)
{
    int rc = path ? skep_identity_create(path, NULL) : 0;

    if (rc >= 0)
        return SKEP_EXIT_DONE;
    skep_session_failed(rc, NULL, path);
    return SKEP_EXIT_USAGE;
}

int skep_session_open(struct skep_session *session, enum skep_session_kind kind)
{
    skep_node_options options;

    skep_session_options(&options, kind);
    return skep_session_open_with(session, &options);
}

int skep_session_join(struct skep_session *session)
{
    skep_op *op = NULL;
    int rc, code;

    skep_cmd_progress("joining …");
    rc = skep_dht_join(&op, session->node, NULL, NULL);
    code = skep_session_wait(session, rc, op, "join");
    skep_op_free(op);
    skep_cmd_progress_end();
    return code;
}

int skep_session_start(struct skep_session *session)
{
    int code;

    *session = (struct skep_session){.node = NULL};
    if (skep_cmd_list_count(skep_cmd_common.join) == 0) {
        skep_cmd_error("--join", "an initial peer is missing: --join /ip4/…/tcp/…/p2p/…");
        return SKEP_EXIT_USAGE;
    }
    code = skep_session_open(session, SKEP_SESSION_CLIENT);
    return code == SKEP_EXIT_DONE ? skep_session_join(session) : code;
}

void skep_session_close(struct skep_session *session)
{
    skep_node_free(session->node);
    session->node = NULL;
}

uint64_t skep_session_time_left(const struct skep_session *session)
{
    uint64_t now = skep_cmd_now_us();

    if (session->deadline_us == SKEP_FOREVER)
        return 0;
    return session->deadline_us > now ? session->deadline_us - now : 1;
}

/* Where signals are blocked, somebody has to look whether one came: a join can take seconds. */
static int wait_and_watch(struct skep_session *session, skep_op *op)
{
    int rc = 1;

    while (rc == 1) {
        uint64_t left = skep_session_time_left(session);

        rc = skep_op_wait_for(op, left > 0 && left < WATCH_INTERVAL_US ? left : WATCH_INTERVAL_US);
        if (rc == 1 && skep_session_stopped(0))
            rc = SKEP_ECANCELED;
        else if (rc == 1 && left > 0 && left <= WATCH_INTERVAL_US)
            rc = SKEP_EDEADLINE;
    }
    return rc;
}

int skep_session_wait_quietly(struct skep_session *session, int rc, skep_op *op)
{
    if (rc < 0)
        return rc;
    if (signals_blocked)
        rc = wait_and_watch(session, op);
    else if (session->deadline_us == SKEP_FOREVER)
        rc = skep_op_wait(op);
    else if ((rc = skep_op_wait_for(op, skep_session_time_left(session))) == 1)
        rc = SKEP_EDEADLINE;
    if (skep_op_poll(op) == 1)
        skep_op_cancel(op);
    return rc;
}

int skep_session_wait(struct skep_session *session, int rc, skep_op *op, const char *what)
{
    bool started = rc == 0;

    rc = skep_session_wait_quietly(session, rc, op);
    if (rc == 0)
        return SKEP_EXIT_DONE;
    if (rc == SKEP_EDEADLINE) {
        skep_cmd_error(what, "the time given by --timeout has passed");
        return SKEP_EXIT_DEADLINE;
    }
    return skep_session_failed(rc, started ? op : NULL, what);
}

static void stop_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
}

void skep_session_block_signals(void)
{
    sigset_t set;

    stop_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signals_blocked = true;
}

bool skep_session_stopped(uint64_t wait_us)
{
    struct timespec wait = {(time_t)(wait_us / 1000000), (long)(wait_us % 1000000 * 1000)};
    sigset_t set;

    stop_signals(&set);
    return (wait_us == SKEP_FOREVER ? sigwaitinfo(&set, NULL) : sigtimedwait(&set, NULL, &wait)) >
           0;
}

static bool print_addresses_json(skep_node *const *nodes, size_t count, json_t *document)
{
    json_t *list = json_array();
    char id[SKEP_PEER_TEXT_LEN];
    skep_peer peer;

    if (!document)
        document = json_object();
    for (size_t i = 0; i < count; i++) {
        char **addresses = skep_p2p_addresses(nodes[i], NULL);

        for (size_t a = 0; addresses && addresses[a]; a++)
            json_array_append_new(list, json_string(addresses[a]));
        skep_free(addresses);
    }
    if (count == 1) {
        skep_node_peer(nodes[0], &peer);
        json_object_set_new(document, "peer_id", json_string(skep_peer_to_text(id, &peer)));
    }
    json_object_set_new(document, "addresses", list);
    return skep_cmd_print_json(document);
}

bool skep_session_print_addresses(skep_node *const *nodes, size_t count, json_t *more)
{
    if (skep_cmd_common.json)
        return print_addresses_json(nodes, count, more);
    for (size_t i = 0; i < count; i++) {
        char **addresses = skep_p2p_addresses(nodes[i], NULL);

        for (size_t a = 0; addresses && addresses[a]; a++)
            puts(addresses[a]);
        skep_free(addresses);
    }
    fflush(stdout);
    json_decref(more);
    return true;
}
