/* SPDX-License-Identifier: MIT */
/* skep ping: round trips to one peer, by libp2p's ping and by the DHT's (docs/wire.md a.6, c.2). Leaves out joining: only calls are made. */
#include "base/pb.h"
#include "cmd/session.h"

enum { PING_TIMEOUT_US = 5000000, FIND_TIMEOUT_US = 15000000, COUNT_MAX = 1000000 };

static char *count_text;

static struct poptOption options[] = {
    {"count", 'c', POPT_ARG_STRING, &count_text, 0, "how many of each (4)", "N"},
    SKEP_CMD_OPTIONS_JOIN,
    SKEP_CMD_OPTIONS_OUTPUT,
    POPT_TABLEEND};

struct pinging {
    struct skep_session session;
    skep_peer peer;
    json_t *round_trips;
    uint64_t sum_us[2]; /* libp2p, DHT */
    unsigned answered[2];
    bool no_dht; /* it does not speak the DHT's protocol */
};

/* @return the round trip, 0 where there was none. */
static uint64_t libp2p_ping(struct pinging *p, int *rc)
{
    skep_op *op = NULL;
    uint64_t us = 0;

    *rc = skep_p2p_ping(&op, p->session.node, &p->peer, PING_TIMEOUT_US, NULL, NULL);
    *rc = skep_session_wait_quietly(&p->session, *rc, op);
    if (*rc == 0)
        us = SKEP_MAX(skep_p2p_ping_result(op), 1);
    skep_op_free(op);
    return us;
}

static uint64_t dht_ping(struct pinging *p, int *rc)
{
    /* A PingRequest whose NodeInfo (field 2) is empty: we want to be in nobody's table. */
    static const uint8_t request[] = {0x12, 0x00};
    uint64_t start = skep_cmd_now_us(), us = 0;
    skep_op *op = NULL;

    *rc = skep_p2p_call(&op, p->session.node, &p->peer, "DHTProtocol.rpc_ping",
                        (skep_view){request, sizeof request}, PING_TIMEOUT_US, NULL, NULL);
    *rc = skep_session_wait_quietly(&p->session, *rc, op);
    if (*rc == 0)
        us = SKEP_MAX(skep_cmd_now_us() - start, 1);
    skep_op_free(op);
    return us;
}

static void print_round_trip(const char *name, uint64_t us, int rc)
{
    if (us > 0)
        printf("  %s %.3f ms", name, (double)us / 1000);
    else
        printf("  %s: %s", name, skep_strerror(rc));
}

static json_t *milliseconds(uint64_t us)
{
    return us > 0 ? json_real((double)us / 1000) : json_null();
}

/* @return the code of what went wrong, if it was the deadline; else 0. */
static int ping_once(struct pinging *p, uint64_t number)
{
    int rc[2] = {0, SKEP_EPEER_UNSUPPORTED};
    uint64_t us[2];

    us[0] = libp2p_ping(p, &rc[0]);
    us[1] = p->no_dht || rc[0] == SKEP_EDEADLINE ? 0 : dht_ping(p, &rc[1]);
    p->no_dht = rc[1] == SKEP_EPEER_UNSUPPORTED;
    if (rc[0] == SKEP_EDEADLINE || rc[1] == SKEP_EDEADLINE)
        return SKEP_EDEADLINE;
    for (size_t i = 0; i < 2; i++) {
        p->sum_us[i] += us[i];
        p->answered[i] += us[i] > 0;
    }
    json_array_append_new(p->round_trips, json_pack("{s:o, s:o}", "ping_ms", milliseconds(us[0]),
                                                    "dht_ping_ms", milliseconds(us[1])));
    if (!skep_cmd_common.json) {
        printf("%llu:", (unsigned long long)number);
        print_round_trip("ping", us[0], rc[0]);
        print_round_trip("DHT ping", us[1], rc[1]);
        putchar('\n');
        fflush(stdout);
    }
    return 0;
}

static int ping_all(struct pinging *p, const char *maddr, uint64_t count)
{
    char id[SKEP_PEER_TEXT_LEN];
    uint64_t number = 0;
    int rc = 0;

    skep_peer_to_text(id, &p->peer);
    if (!skep_cmd_common.json)
        printf("%s\n", id);
    while (rc == 0 && number < count)
        rc = ping_once(p, ++number);
    if (skep_cmd_common.json) {
        if (!skep_cmd_print_json(
                json_pack("{s:s, s:O}", "peer_id", id, "round_trips", p->round_trips)))
            return SKEP_EXIT_FAILED;
    } else if (p->answered[0] > 0) {
        printf("mean of %u: ping %.3f ms", p->answered[0],
               (double)p->sum_us[0] / p->answered[0] / 1000);
        if (p->answered[1] > 0)
            printf(", DHT ping %.3f ms", (double)p->sum_us[1] / p->answered[1] / 1000);
        putchar('\n');
    }
    if (rc == SKEP_EDEADLINE) {
        skep_cmd_error(maddr, "the time given by --timeout has passed");
        return SKEP_EXIT_DEADLINE;
    }
    return p->answered[0] == count ? SKEP_EXIT_DONE : SKEP_EXIT_FAILED;
}

/* A peer known by its id alone is asked for at the initial peers (docs/wire.md a.7). */
static int find_by_id(struct pinging *p, const char *what)
{
    size_t count = skep_cmd_list_count(skep_cmd_common.join), met = 0;
    char **join = skep_cmd_common.join;
    skep_op *op = NULL;
    int rc = 0;

    for (size_t i = 0; i < count && rc != SKEP_EDEADLINE; i++) {
        rc = skep_p2p_connect(&op, p->session.node, join[i], 0, NULL, NULL);
        rc = skep_session_wait_quietly(&p->session, rc, op);
        if (rc < 0 && rc != SKEP_EDEADLINE)
            skep_session_failed(rc, op, join[i]);
        met += rc == 0;
        skep_op_free(op);
        op = NULL;
    }
    if (met == 0 && rc != SKEP_EDEADLINE)
        return SKEP_EXIT_FAILED;
    rc = rc == SKEP_EDEADLINE
             ? rc
             : skep_p2p_find_peer(&op, p->session.node, &p->peer, FIND_TIMEOUT_US, NULL, NULL);
    rc = skep_session_wait(&p->session, rc, op, what);
    skep_op_free(op);
    return rc;
}

static int connect_to(struct pinging *p, const char *maddr)
{
    skep_op *op = NULL;
    int rc, code;

    if (p->peer.len > 0)
        return find_by_id(p, maddr);
    rc = skep_p2p_connect(&op, p->session.node, maddr, 0, NULL, NULL);
    code = skep_session_wait(&p->session, rc, op, maddr);
    if (code == SKEP_EXIT_DONE)
        p->peer = *skep_p2p_connect_result(op);
    skep_op_free(op);
    return code;
}

static int ping(const char *maddr, const skep_peer *by_id, uint64_t count)
{
    struct pinging p = {.peer = *by_id, .round_trips = json_array()};
    int code = skep_session_open(&p.session, SKEP_SESSION_CALLS);

    if (code == SKEP_EXIT_DONE)
        code = connect_to(&p, maddr);
    if (code == SKEP_EXIT_DONE)
        code = ping_all(&p, maddr, count);
    skep_session_close(&p.session);
    json_decref(p.round_trips);
    return code;
}

/* "/p2p/12D3KooW…" names a peer without an address. @return false, with the error printed. */
static bool check_id(const char *text, skep_peer *peer)
{
    if (skep_peer_from_text(peer, text + strlen("/p2p/")) < 0) {
        skep_cmd_error("ping", "'%.128s' does not end in a peer id", text);
        return false;
    }
    if (skep_cmd_list_count(skep_cmd_common.join) == 0) {
        skep_cmd_error(
            "--join",
            "a peer known by its id alone is found through an initial peer: --join /ip4/…/tcp/…/p2p/…");
        return false;
    }
    return true;
}

static int run(const struct skep_cmd *cmd, int argc, const char **argv)
{
    struct skep_cmd_args args;
    skep_peer peer = {.len = 0};
    uint64_t count = 4;
    int code = skep_cmd_parse(cmd, options, argc, argv, 1, 1, &args);
    char *maddrs[2] = {NULL, NULL};

    if (code != SKEP_CMD_GO_ON)
        return code;
    maddrs[0] = (char *)(uintptr_t)args.items[0];
    if (strncmp(maddrs[0], "/p2p/", strlen("/p2p/")) == 0
            ? !check_id(maddrs[0], &peer)
            : !skep_cmd_check_maddrs("ping", maddrs, false))
        return SKEP_EXIT_USAGE;
    if (!skep_cmd_option_count("--count", count_text, 1, COUNT_MAX, &count))
        return SKEP_EXIT_USAGE;
    return ping(args.items[0], &peer, count);
}

const struct skep_cmd skep_cmd_ping = {
    .name = "ping",
    .arguments = "MADDR",
    .summary = "measure round trips to a peer: libp2p's ping and the DHT's",
    .details =
        "/p2p/12D3KooW… alone is looked for through the initial peers. Exits with 1 unless every libp2p ping was answered.",
    .example = "  skep ping /ip4/127.0.0.1/tcp/4001 --count 10",
    .run = run};
