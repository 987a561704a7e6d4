/* SPDX-License-Identifier: MIT */
/* skep declare: says in the DHT that experts are served by this node's peer id; with --keep as a full peer, again and again. */
#include <skep/moe.h>

#include "cmd/session.h"
#include "cmd/uids.h"

static char *file, *ttl_text;
static int keep;

static struct poptOption options[] = {
    {"file", 'f', POPT_ARG_STRING, &file, 0, "a file of further uids, one a line; - is stdin",
     "FILE"},
    {"ttl", '\0', POPT_ARG_STRING, &ttl_text, 0, "how long they are declared for", "DURATION"},
    {"keep", '\0', POPT_ARG_NONE, &keep, 0, "stay, and declare again before they expire", NULL},
    SKEP_CMD_OPTIONS_JOIN,
    SKEP_CMD_OPTIONS_LISTEN,
    SKEP_CMD_OPTIONS_OUTPUT,
    POPT_TABLEEND};

static int print_declared(const skep_declared *d, size_t experts, double expiration)
{
    char until[40];
    /* A prefix that another peer has declared for longer keeps that: some may be refused, and all is well. */
    int code = d->accepted > 0 ? SKEP_EXIT_DONE : SKEP_EXIT_FAILED;

    if (skep_cmd_common.json) {
        json_t *document =
            json_pack("{s:I, s:I, s:I, s:I, s:i, s:i, s:f, s:f}", "experts", (json_int_t)experts,
                      "keys", (json_int_t)d->keys, "accepted", (json_int_t)d->accepted, "replicas",
                      (json_int_t)d->replicas, "rounds", (int)d->rounds, "calls", (int)d->calls,
                      "elapsed_ms", (double)d->elapsed_us / 1000, "expiration", expiration);

        return skep_cmd_print_json(document) ? code : SKEP_EXIT_FAILED;
    }
    printf(
        "%zu expert%s declared: %zu of %zu records stored, on %.1f peers each, %.1f ms, until %s\n",
        experts, experts == 1 ? "" : "s", d->accepted, d->keys,
        d->keys > 0 ? (double)d->replicas / (double)d->keys : 0, (double)d->elapsed_us / 1000,
        skep_cmd_time_text(until, expiration));
    fflush(stdout);
    if (code != SKEP_EXIT_DONE)
        skep_cmd_error("declare", "none of %zu records was stored", d->keys);
    return code;
}

static int declare_once(struct skep_session *session, const struct skep_cmd_uids *uids,
                        uint64_t ttl_us)
{
    double expiration = skep_dht_time() + (double)ttl_us / 1e6;
    const skep_declare_options declare_options = {.struct_size = sizeof declare_options,
                                                  .expiration_unix_s = expiration};
    skep_op *op = NULL;
    int rc = skep_moe_declare(&op, session->node, uids->items, uids->count, &declare_options, NULL,
                              NULL);
    int code = skep_session_wait(session, rc, op, "declare");

    if (code == SKEP_EXIT_DONE)
        code = print_declared(skep_moe_declare_result(op), uids->count, expiration);
    skep_op_free(op);
    return code;
}

/* A round that failed is tried again with the next: the swarm may come back. */
static int declare_and_keep(const struct skep_cmd_uids *uids, uint64_t ttl_us)
{
    struct skep_session session = {.node = NULL};
    int code;

    skep_session_block_signals();
    code = skep_session_open(&session, SKEP_SESSION_PEER);
    if (code == SKEP_EXIT_DONE)
        code = skep_session_join(&session);
    if (code == SKEP_EXIT_DONE) {
        session.deadline_us = SKEP_FOREVER;
        do {
            declare_once(&session, uids, ttl_us);
        } while (!skep_session_stopped(ttl_us / 2));
    }
    skep_session_close(&session);
    return code;
}

static int declare(const struct skep_cmd_uids *uids, uint64_t ttl_us)
{
    struct skep_session session;
    int code;

    if (keep)
        return declare_and_keep(uids, ttl_us);
    code = skep_session_start(&session);
    if (code == SKEP_EXIT_DONE)
        code = declare_once(&session, uids, ttl_us);
    skep_session_close(&session);
    return code;
}

static int run(const struct skep_cmd *cmd, int argc, const char **argv)
{
    struct skep_cmd_args args;
    struct skep_cmd_uids uids;
    uint64_t ttl_us = 0;
    int code = skep_cmd_parse(cmd, options, argc, argv, 0, SIZE_MAX - 1, &args);

    if (code != SKEP_CMD_GO_ON)
        return code;
    if (!skep_cmd_option_duration("--ttl", ttl_text, &ttl_us))
        return SKEP_EXIT_USAGE;
    if (ttl_us < (keep ? 1000000 : 1)) {
        skep_cmd_error("--ttl", ttl_text
                                    ? "that is too short"
                                    : "say how long they are to be declared for, such as --ttl 5m");
        return SKEP_EXIT_USAGE;
    }
    code = skep_cmd_uids_read(&uids, &args, file) ? declare(&uids, ttl_us) : SKEP_EXIT_USAGE;
    skep_cmd_uids_fini(&uids);
    return code;
}

const struct skep_cmd skep_cmd_declare = {
    .name = "declare",
    .arguments = "UID...",
    .summary = "declare experts under this node's peer id",
    .details =
        "With --keep it joins as a full peer, stays until SIGINT or SIGTERM, and declares again when half the time is over.",
    .example =
        "  skep declare ffn.0.3 ffn.1.12 --ttl 5m --identity node.key --join /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW…",
    .run = run};
