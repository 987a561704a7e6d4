/* SPDX-License-Identifier: MIT */
/* Unary calls between two hosts in memory: answers, errors, time, cancellation, bounds. docs/wire.md b.1. */
#include "rpc/fake_host.h"
#include "rpc/rpc_host.h"

#include "base/limits.h"
#include "rpc/envelope.h"
#include "rpc/rpc_internal.h"

enum { SECOND = 1000000 };

struct pair {
    struct fake_net net;
    struct skep_host *host_a, *host_b;
    struct skep_rpc *a, *b;
};

/* A call that keeps what it got. */
struct asked {
    struct skep_rpc_call call;
    int rc, count;
    char reply[128];
    size_t reply_len;
};

static void on_done(struct skep_rpc_call *call, int rc, skep_bytes reply)
{
    struct asked *asked = SKEP_CONTAINER_OF(call, struct asked, call);

    assert_null(call->state);
    asked->rc = rc;
    asked->count++;
    asked->reply_len = reply.len;
    memcpy(asked->reply, reply.len > 0 ? (const char *)reply.data : "",
           SKEP_MIN(reply.len, sizeof asked->reply - 1));
}

static int ask_for(struct pair *pair, struct asked *asked, const char *method, skep_bytes request,
                   uint64_t timeout_us)
{
    asked->call.done = on_done;
    return skep_rpc_call_start(pair->a, &asked->call, fake_host_id(pair->host_b), method, request,
                               timeout_us);
}

static int ask(struct pair *pair, struct asked *asked, const char *method, const char *request)
{
    return ask_for(pair, asked, method, skep_bytes_str(request), 3 * SECOND);
}

/* What the handlers do. */
struct held {
    struct skep_rpc_request *request[800];
    size_t count, canceled;
};

static void echo(void *user, struct skep_rpc_request *request)
{
    (void)user;
    skep_rpc_reply(request, request->data);
}

static void refuse(void *user, struct skep_rpc_request *request)
{
    skep_rpc_fail(request, user);
}

static void on_cancel(struct skep_rpc_request *request)
{
    ((struct held *)request->user)->canceled++;
}

static void hold(void *user, struct skep_rpc_request *request)
{
    struct held *held = user;

    request->user = held;
    request->on_cancel = on_cancel;
    held->request[held->count++] = request;
}

static void setup(struct pair *pair)
{
    fake_net_init(&pair->net, 1);
    pair->host_a = fake_host_new(&pair->net, 'a');
    pair->host_b = fake_host_new(&pair->net, 'b');
    assert_int_equal(skep_rpc_host_new(&pair->a, &pair->net.env.env, pair->host_a), 0);
    assert_int_equal(skep_rpc_host_new(&pair->b, &pair->net.env.env, pair->host_b), 0);
}

static void teardown(struct pair *pair)
{
    skep_rpc_host_free(pair->a);
    skep_rpc_host_free(pair->b);
    fake_net_run(&pair->net, SECOND);
    fake_net_fini(&pair->net);
}

static struct skep_rpc_host_stats stats_of(const struct skep_rpc *rpc)
{
    struct skep_rpc_host_stats stats;

    skep_rpc_host_stats(rpc, &stats);
    return stats;
}

static void a_call_gets_its_answer(void **state)
{
    struct pair pair;
    struct asked asked = {0};

    (void)state;
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "C.echo", echo, NULL), 0);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(ask(&pair, &asked, "C.echo", "hello"), 0);
        assert_int_equal(asked.count, i - 1); /* never from inside the start */
        fake_net_run(&pair.net, SECOND);
        assert_int_equal(asked.count, i);
        assert_int_equal(asked.rc, 0);
        assert_string_equal(asked.reply, "hello");
    }
    assert_int_equal(ask(&pair, &asked, "C.echo", ""), 0);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(asked.rc, 0);
    assert_int_equal(asked.reply_len, 0);
    teardown(&pair);
}

static void a_second_call_costs_no_allocation_in_this_layer(void **state)
{
    struct pair pair;
    struct asked asked = {0};
    size_t before;

    (void)state;
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "C.echo", echo, NULL), 0);
    assert_int_equal(ask(&pair, &asked, "C.echo", "hello"), 0);
    fake_net_run(&pair.net, SECOND);
    before = pair.net.env.mem.allocations;
    assert_int_equal(ask(&pair, &asked, "C.echo", "hello"), 0);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(asked.count, 2);
    assert_int_equal(pair.net.env.mem.allocations, before);
    teardown(&pair);
}

static void calls_work_wherever_the_stream_is_cut(void **state)
{
    (void)state;
    for (size_t chunk = 1; chunk < 80; chunk++) {
        struct pair pair;
        struct asked asked = {0};

        setup(&pair);
        pair.net.chunk = chunk;
        pair.net.window = chunk + 3;
        assert_int_equal(skep_rpc_serve(pair.b, "C.echo", echo, NULL), 0);
        assert_int_equal(ask(&pair, &asked, "C.echo", "hello"), 0);
        fake_net_run(&pair.net, SECOND);
        assert_int_equal(asked.count, 1);
        assert_string_equal(asked.reply, "hello");
        teardown(&pair);
    }
}

static void an_error_comes_back_with_its_text(void **state)
{
    struct pair pair;
    struct asked asked = {0};
    static char text[] = "KeyError('ffn.9.9')";

    (void)state;
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "C.refuse", refuse, text), 0);
    assert_int_equal(ask(&pair, &asked, "C.refuse", "x"), 0);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(asked.rc, SKEP_EPEER_REMOTE);
    assert_string_equal(asked.reply, text);
    teardown(&pair);
}

static void a_method_that_is_not_served_is_unsupported(void **state)
{
    struct pair pair;
    struct asked asked = {0};

    (void)state;
    setup(&pair);
    assert_int_equal(ask(&pair, &asked, "C.none", "x"), 0);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(asked.rc, SKEP_EPEER_UNSUPPORTED);
    teardown(&pair);
}

static void a_handler_may_answer_later(void **state)
{
    struct pair pair;
    struct asked asked = {0};
    struct held held = {0};

    (void)state;
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "C.hold", hold, &held), 0);
    assert_int_equal(ask(&pair, &asked, "C.hold", "question"), 0);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(held.count, 1);
    assert_int_equal(asked.count, 0);
    assert_true(skep_bytes_equal(held.request[0]->data, skep_bytes_str("question")));
    assert_true(skep_peer_id_equal(held.request[0]->peer, fake_host_id(pair.host_a)));
    skep_rpc_reply(held.request[0], skep_bytes_str("answer"));
    fake_net_run(&pair.net, SECOND);
    assert_string_equal(asked.reply, "answer");
    assert_int_equal(held.canceled, 0);
    assert_int_equal(stats_of(pair.b).handling, 0);
    teardown(&pair);
}

static void a_timeout_ends_the_call_and_tells_the_handler(void **state)
{
    struct pair pair;
    struct asked asked = {0};
    struct held held = {0};

    (void)state;
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "C.hold", hold, &held), 0);
    assert_int_equal(ask(&pair, &asked, "C.hold", "x"), 0);
    fake_net_run(&pair.net, 3 * SECOND - 1000);
    assert_int_equal(asked.count, 0);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(asked.rc, SKEP_ETIMEDOUT);
    assert_int_equal(held.canceled, 1);
    skep_rpc_reply(held.request[0], skep_bytes_str("too late"));
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(asked.count, 1);
    assert_int_equal(stats_of(pair.a).calls_timed_out, 1);
    teardown(&pair);
}

static void a_canceled_call_says_nothing_and_tells_the_handler(void **state)
{
    struct pair pair;
    struct asked asked = {0};
    struct held held = {0};

    (void)state;
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "C.hold", hold, &held), 0);
    assert_int_equal(ask(&pair, &asked, "C.hold", "x"), 0);
    fake_net_run(&pair.net, SECOND);
    skep_rpc_call_cancel(pair.a, &asked.call);
    skep_rpc_call_cancel(pair.a, &asked.call); /* harmless */
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(asked.count, 0);
    assert_int_equal(held.canceled, 1);
    skep_rpc_fail(held.request[0], "late");
    teardown(&pair);
}

static void a_lost_connection_ends_calls_on_both_sides(void **state)
{
    struct pair pair;
    struct asked asked = {0};
    struct held held = {0};

    (void)state;
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "C.hold", hold, &held), 0);
    assert_int_equal(ask(&pair, &asked, "C.hold", "x"), 0);
    fake_net_run(&pair.net, SECOND);
    fake_host_lose(pair.host_a);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(asked.rc, SKEP_ELOST);
    assert_int_equal(held.canceled, 1);
    skep_rpc_reply(held.request[0], skep_bytes_str("x"));
    teardown(&pair);
}

static void calls_beyond_the_bound_wait_in_line_and_all_end(void **state)
{
    enum { CALLS = SKEP_CALLS_PER_PEER_MAX + 50 };
    static struct asked asked[CALLS];
    struct pair pair;
    struct held held = {0};
    size_t answered = 0;

    (void)state;
    memset(asked, 0, sizeof asked);
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "C.hold", hold, &held), 0);
    for (size_t i = 0; i < CALLS; i++)
        assert_int_equal(ask_for(&pair, &asked[i], "C.hold", skep_bytes_str("x"), SKEP_NEVER_US),
                         0);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(stats_of(pair.a).in_flight, SKEP_CALLS_PER_PEER_MAX);
    assert_int_equal(stats_of(pair.a).queued, 50);
    assert_int_equal(held.count, SKEP_CALLS_PER_PEER_MAX);
    while (answered < held.count) {
        while (answered < held.count)
            skep_rpc_reply(held.request[answered++], skep_bytes_str("y"));
        fake_net_run(&pair.net, SECOND);
    }
    assert_int_equal(answered, CALLS);
    for (size_t i = 0; i < CALLS; i++)
        assert_true(asked[i].count == 1 && asked[i].rc == 0);
    teardown(&pair);
}

static void a_full_line_refuses_one_more(void **state)
{
    enum { CALLS = SKEP_CALLS_PER_PEER_MAX + SKEP_CALLS_QUEUED_MAX };
    struct asked *asked = calloc(CALLS + 1, sizeof *asked);
    struct pair pair;

    (void)state;
    setup(&pair);
    for (size_t i = 0; i < CALLS; i++)
        assert_int_equal(ask_for(&pair, &asked[i], "C.none", skep_bytes_str("x"), SKEP_NEVER_US),
                         0);
    assert_int_equal(ask(&pair, &asked[CALLS], "C.none", "x"), SKEP_ELIMIT);
    for (size_t i = 0; i < CALLS; i += 2)
        skep_rpc_call_cancel(pair.a, &asked[CALLS - 1 - i].call);
    fake_net_run(&pair.net, SECOND);
    for (size_t i = 0; i < CALLS; i++)
        assert_int_equal(asked[i].count, i % 2 == 0);
    assert_int_equal(asked[CALLS].count, 0);
    teardown(&pair);
    free(asked);
}

static void calls_wait_when_the_host_takes_no_more_streams(void **state)
{
    struct pair pair;
    struct asked asked[10] = {0};

    (void)state;
    setup(&pair);
    pair.net.open_max = 3;
    assert_int_equal(skep_rpc_serve(pair.b, "C.echo", echo, NULL), 0);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(ask(&pair, &asked[i], "C.echo", "x"), 0);
    assert_int_equal(stats_of(pair.a).queued, 7);
    fake_net_run(&pair.net, SECOND);
    /* Each end lets one in; those that find the host still full fail rather than wait for ever. */
    for (size_t i = 0; i < 10; i++)
        assert_true(asked[i].count == 1 && (asked[i].rc == 0 || asked[i].rc == SKEP_ELIMIT));
    teardown(&pair);
}

static void a_queued_call_can_time_out(void **state)
{
    enum { CALLS = SKEP_CALLS_PER_PEER_MAX + 1 };
    static struct asked asked[CALLS];
    struct pair pair;
    struct held held = {0};

    (void)state;
    memset(asked, 0, sizeof asked);
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "C.hold", hold, &held), 0);
    for (size_t i = 0; i < CALLS; i++)
        assert_int_equal(ask_for(&pair, &asked[i], "C.hold", skep_bytes_str("x"),
                                 i == CALLS - 1 ? SECOND : SKEP_NEVER_US),
                         0);
    fake_net_run(&pair.net, 2 * SECOND);
    assert_int_equal(asked[CALLS - 1].rc, SKEP_ETIMEDOUT);
    assert_int_equal(stats_of(pair.a).queued, 0);
    skep_rpc_host_free(pair.a); /* the rest ends now */
    for (size_t i = 0; i < CALLS - 1; i++)
        assert_int_equal(asked[i].rc, SKEP_ECANCELED);
    pair.a = NULL;
    teardown(&pair);
}

static void requests_beyond_the_bound_of_one_peer_are_reset(void **state)
{
    struct pair pair;
    struct held held = {0};
    struct asked extra = {0};
    static struct asked asked[SKEP_HANDLERS_PER_PEER_MAX];
    struct skep_rpc *second;

    (void)state;
    memset(asked, 0, sizeof asked);
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "C.hold", hold, &held), 0);
    for (size_t i = 0; i < SKEP_HANDLERS_PER_PEER_MAX; i++)
        assert_int_equal(ask_for(&pair, &asked[i], "C.hold", skep_bytes_str("x"), SKEP_NEVER_US),
                         0);
    fake_net_run(&pair.net, SECOND);
    /* A second caller with the same identity, as one that keeps no bound of its own. */
    assert_int_equal(skep_rpc_host_new(&second, &pair.net.env.env, pair.host_a), 0);
    extra.call.done = on_done;
    assert_int_equal(skep_rpc_call_start(second, &extra.call, fake_host_id(pair.host_b), "C.hold",
                                         skep_bytes_str("x"), SECOND),
                     0);
    fake_net_run(&pair.net, SECOND / 2);
    assert_int_equal(extra.rc, SKEP_EPEER_RESET);
    assert_int_equal(stats_of(pair.b).refused, 1);
    assert_int_equal(held.count, SKEP_HANDLERS_PER_PEER_MAX);
    skep_rpc_host_free(second);
    teardown(&pair);
}

/* ---- what is kept between calls ---- */

static void of_257_idle_peers_the_one_idle_for_longest_is_forgotten(void **state)
{
    struct skep_peer_id id = {.len = 34, .bytes = {0x12, 0x20}}, first = id;
    struct rpc_host *rpc;
    struct rpc_peer *peer;
    struct pair pair;

    (void)state;
    setup(&pair);
    rpc = rpc_host_of(pair.a);
    for (uint16_t i = 0; i <= SKEP_RPC_IDLE_PEERS; i++) {
        HASH_FIND(hh, rpc->peers, &first, sizeof first, peer);
        assert_true(i == 0 || peer);
        skep_put_be16(id.bytes + 2, i);
        assert_non_null(peer = skep_rpc_peer_get(rpc, &id));
        skep_rpc_peer_put(rpc, peer);
    }
    HASH_FIND(hh, rpc->peers, &first, sizeof first, peer);
    assert_null(peer);
    assert_int_equal(HASH_COUNT(rpc->peers), SKEP_RPC_IDLE_PEERS);
    assert_int_equal(rpc->idle_count, SKEP_RPC_IDLE_PEERS);
    teardown(&pair);
}

static void after_a_burst_512_calls_and_requests_are_kept(void **state)
{
    enum { CALLERS = 3, EACH = SKEP_HANDLERS_PER_PEER_MAX, QUEUED = SKEP_RPC_SPARE_MAX + 1 - EACH };
    static struct asked asked[CALLERS * EACH + QUEUED];
    struct skep_rpc *callers[CALLERS];
    struct pair pair;
    struct held held = {0};
    size_t count = 0;

    (void)state;
    memset(asked, 0, sizeof asked);
    setup(&pair);
    callers[0] = pair.a;
    for (size_t i = 1; i < CALLERS; i++) {
        struct skep_host *host = fake_host_new(&pair.net, (uint8_t)('b' + i));

        assert_int_equal(skep_rpc_host_new(&callers[i], &pair.net.env.env, host), 0);
    }
    assert_int_equal(skep_rpc_serve(pair.b, "C.hold", hold, &held), 0);
    for (size_t i = 0; i < CALLERS; i++)
        for (size_t j = 0; j < (i == 0 ? (size_t)EACH + QUEUED : (size_t)EACH); j++, count++) {
            asked[count].call.done = on_done;
            assert_int_equal(skep_rpc_call_start(callers[i], &asked[count].call,
                                                 fake_host_id(pair.host_b), "C.hold",
                                                 skep_bytes_str("x"), SKEP_NEVER_US),
                             0);
        }
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(
        held.count,
        CALLERS * EACH); /* all at once, and so are the calls of the first with those in its line */
    for (size_t i = EACH; i < EACH + QUEUED; i++)
        skep_rpc_call_cancel(pair.a, &asked[i].call);
    for (size_t i = 0; i < held.count; i++)
        skep_rpc_reply(held.request[i], skep_bytes_str("y"));
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(rpc_host_of(pair.a)->free_call_count, SKEP_RPC_SPARE_MAX);
    assert_int_equal(rpc_host_of(pair.b)->free_inbound_count, SKEP_RPC_SPARE_MAX);
    for (size_t i = 1; i < CALLERS; i++)
        skep_rpc_host_free(callers[i]);
    teardown(&pair);
}

static void on_raw_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    (void)user;
    skep_stream_consume(stream, data.len);
}

static void on_raw_close(struct skep_stream *stream, void *user, int rc)
{
    (void)stream;
    *(int *)user = rc;
}

static void the_bytes_of_requests_held_for_one_peer_are_bounded(void **state)
{
    enum { ENOUGH = SKEP_REQUEST_BYTES_MAX / 2 / SKEP_UNARY_MESSAGE_MAX };
    static const struct skep_stream_events raw_events = {.on_data = on_raw_data,
                                                         .on_close = on_raw_close};
    static uint8_t part[SKEP_UNARY_MESSAGE_MAX] = {
        0x80, 0x80, 0x80, 0x02}; /* a prefix of 4 MiB, and less than that */
    struct skep_stream *streams[ENOUGH + 2];
    int closed[ENOUGH + 2] = {0};
    struct held held = {0};
    struct pair pair;

    (void)state;
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "C.hold", hold, &held), 0);
    for (size_t i = 0; i < SKEP_COUNT_OF(streams); i++) {
        /* After those that fill it to the last byte one more, and then, with room again, another. */
        if (i == ENOUGH + 1) {
            skep_stream_reset(streams[0]);
            fake_net_run(&pair.net, SECOND / 10);
        }
        streams[i] = fake_stream_open(pair.host_a, pair.host_b, "C.hold", &raw_events, &closed[i]);
        skep_stream_write(streams[i], skep_bytes_of(part, sizeof part));
        fake_net_run(&pair.net, SECOND / 10);
        assert_int_equal(closed[i], i == ENOUGH ? SKEP_EPEER_RESET : 0);
    }
    assert_int_equal(stats_of(pair.b).refused, 1);
    teardown(&pair);
}

static void sizes_are_refused_before_anything_is_sent(void **state)
{
    struct pair pair;
    struct asked asked = {0};
    uint8_t *large = calloc(1, SKEP_UNARY_MESSAGE_MAX + 1);
    char name[SKEP_METHOD_LEN_MAX + 2];

    (void)state;
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    setup(&pair);
    assert_int_equal(
        ask_for(&pair, &asked, "C.echo", skep_bytes_of(large, SKEP_UNARY_MESSAGE_MAX + 1), SECOND),
        SKEP_ESIZE);
    assert_int_equal(
        ask_for(&pair, &asked, "C.echo", skep_bytes_of(large, SKEP_UNARY_MESSAGE_MAX - 10), SECOND),
        SKEP_ESIZE);
    assert_int_equal(ask(&pair, &asked, name, "x"), SKEP_ESIZE);
    asked.call.done = on_done;
    assert_int_equal(skep_rpc_call_start(pair.a, &asked.call, fake_host_id(pair.host_a), "C.echo",
                                         skep_bytes_str("x"), SECOND),
                     SKEP_ESELF);
    assert_int_equal(pair.net.opens, 0);
    teardown(&pair);
    free(large);
}

struct large {
    uint8_t *bytes;
    size_t len;
};

static void reply_large(void *user, struct skep_rpc_request *request)
{
    struct large *large = user;

    skep_rpc_reply(request, skep_bytes_of(large->bytes, large->len));
}

static void an_answer_may_have_4_mib_and_a_larger_one_becomes_an_error(void **state)
{
    struct pair pair;
    struct large large = {calloc(1, SKEP_UNARY_MESSAGE_MAX), SKEP_UNARY_MESSAGE_MAX - 28};
    struct asked asked = {0};

    (void)state;
    setup(&pair);
    pair.net.window = 256 << 10;
    assert_int_equal(skep_rpc_serve(pair.b, "C.large", reply_large, &large), 0);
    assert_int_equal(ask(&pair, &asked, "C.large", "x"), 0);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(asked.rc, 0);
    assert_int_equal(asked.reply_len, SKEP_UNARY_MESSAGE_MAX - 28);
    large.len++;
    assert_int_equal(ask(&pair, &asked, "C.large", "x"), 0);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(asked.rc, SKEP_EPEER_REMOTE);
    assert_int_equal(stats_of(pair.b).oversized, 1);
    teardown(&pair);
    free(large.bytes);
}

static void handlers_come_and_go_while_running(void **state)
{
    struct pair pair;
    struct asked asked = {0};
    struct held held = {0};

    (void)state;
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "C.m", hold, &held), 0);
    assert_int_equal(skep_rpc_serve(pair.b, "C.m", echo, NULL), SKEP_EEXIST);
    assert_int_equal(ask(&pair, &asked, "C.m", "x"), 0);
    fake_net_run(&pair.net, SECOND);
    skep_rpc_unserve(pair.b, "C.m");
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(asked.rc, SKEP_EPEER_REMOTE);
    assert_string_equal(asked.reply, "CancelledError()");
    skep_rpc_reply(held.request[0],
                   skep_bytes_str("late")); /* still to be ended, and of no effect */
    assert_int_equal(skep_rpc_serve(pair.b, "C.m", echo, NULL), 0);
    memset(asked.reply, 0, sizeof asked.reply);
    assert_int_equal(ask(&pair, &asked, "C.m", "again"), 0);
    fake_net_run(&pair.net, SECOND);
    assert_string_equal(asked.reply, "again");
    teardown(&pair);
}

/* ---- a caller that breaks the rules ---- */

struct rogue {
    struct skep_stream *stream;
    int close_rc;
    bool closed, answered;
    size_t got;
};

static void rogue_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    struct rogue *rogue = user;

    rogue->answered = true;
    rogue->got += data.len;
    skep_stream_consume(stream, data.len);
}

static void rogue_closed(struct skep_stream *stream, void *user, int rc)
{
    struct rogue *rogue = user;

    (void)stream;
    rogue->closed = true;
    rogue->close_rc = rc;
}

static const struct skep_stream_events rogue_events = {.on_data = rogue_data,
                                                       .on_close = rogue_closed};

static void send_rogue(struct pair *pair, struct rogue *rogue, const char *hex, bool fin)
{
    *rogue = (struct rogue){0};
    rogue->stream =
        fake_stream_open(pair->host_a, pair->host_b, "DHTProtocol.rpc_ping", &rogue_events, rogue);
    assert_int_equal(skep_stream_write(rogue->stream, test_unhex(hex)), 0);
    if (fin)
        skep_stream_close_write(rogue->stream);
    fake_net_run(&pair->net, SECOND);
}

#define GOOD_CALL                                                                                  \
    "2e0a10847abbe8db1407ec8f3642badd47921d1a1a0a00121444485450726f746f636f6c2e7270635f70696e671a00"

static void malformed_requests_are_reset_and_counted(void **state)
{
    static const char *const bad[] = {
        "8180800200",                             /* a length of 4 MiB + 1 */
        "03ffffff",                               /* not protobuf */
        "120a10847abbe8db1407ec8f3642badd47921d", /* no kind */
        "2d0a0f7abbe8db1407ec8f3642badd47921d1a1a0a00121444485450726f746f636f6c2e7270635f70696e671a00", /* call id of 15 bytes */
        "2c0a10af11d3ae9e4b2ba16e4b1fe5658a83df1a180a00121444485450726f746f636f6c2e7270635f70696e67", /* no data field */
        "2e0a10847abbe8db1407ec8f3642badd47921d1a1a0a00121444485450726f746f636f6c2e7270635f70696e6f1a00", /* another method */
        GOOD_CALL "00", /* a byte behind it */
    };
    struct pair pair;
    struct rogue rogue;

    (void)state;
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "DHTProtocol.rpc_ping", echo, NULL), 0);
    send_rogue(&pair, &rogue, GOOD_CALL, false);
    assert_true(rogue.answered);
    skep_stream_reset(rogue.stream);
    for (size_t i = 0; i < SKEP_COUNT_OF(bad); i++) {
        send_rogue(&pair, &rogue, bad[i], false);
        assert_true(rogue.closed && !rogue.answered);
        assert_int_equal(rogue.close_rc, SKEP_EPEER_RESET);
        assert_int_equal(stats_of(pair.b).malformed, i + 1);
    }
    teardown(&pair);
}

static void answer_at_length(struct skep_stream *stream, void *user, skep_bytes data)
{
    skep_stream_consume(stream, data.len);
    assert_int_equal(skep_stream_write(stream, skep_buf_view(user)), 0);
}

static void on_lengthy_closed(struct skep_stream *stream, void *user, int rc)
{
    (void)stream;
    (void)user;
    (void)rc;
}

static const struct skep_stream_events lengthy_events = {.on_data = answer_at_length,
                                                         .on_close = on_lengthy_closed};

static void on_lengthy_stream(void *user, struct skep_stream *stream)
{
    skep_stream_use(stream, &lengthy_events, user);
}

static void of_an_errors_text_4_kib_are_kept_and_sent(void **state)
{
    static const uint8_t call_id[SKEP_CALL_ID_LEN];
    uint8_t head[SKEP_ENVELOPE_HEAD_MAX];
    char text[SKEP_ERROR_TEXT_MAX + 2] = "";
    struct asked asked = {0};
    struct rogue rogue;
    struct skep_buf answer;
    struct pair pair;
    size_t head_len = skep_envelope_answer_head(head, call_id, true, SKEP_ERROR_TEXT_MAX + 1);

    (void)state;
    memset(text, 'x', SKEP_ERROR_TEXT_MAX + 1);
    setup(&pair);
    /* kept: of what a peer sends that has no such bound */
    skep_buf_init(&answer, &skep_mem_std);
    skep_buf_put(&answer, head, head_len);
    skep_buf_put(&answer, text, SKEP_ERROR_TEXT_MAX + 1);
    assert_int_equal(skep_host_serve(pair.host_b, "C.lengthy", on_lengthy_stream, &answer), 0);
    assert_int_equal(ask(&pair, &asked, "C.lengthy", "x"), 0);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(asked.count, 1);
    assert_int_equal(asked.rc, SKEP_EPEER_REMOTE);
    assert_int_equal(asked.reply_len, SKEP_ERROR_TEXT_MAX);
    skep_buf_fini(&answer);
    /* sent: by one of our handlers */
    head_len = skep_envelope_answer_head(head, call_id, true, SKEP_ERROR_TEXT_MAX);
    assert_int_equal(skep_rpc_serve(pair.b, "DHTProtocol.rpc_ping", refuse, text), 0);
    send_rogue(&pair, &rogue, GOOD_CALL, false);
    assert_int_equal(rogue.got, head_len + SKEP_ERROR_TEXT_MAX);
    skep_stream_reset(rogue.stream);
    fake_host_lose(pair.host_b);
    teardown(&pair);
}

static void who_leaves_too_much_unread_gets_a_reset_instead_of_an_answer(void **state)
{
    static const char request[] = "0123456789";
    struct pair pair;
    struct asked asked = {0};

    (void)state;
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "C.echo", echo, NULL), 0);
    pair.net.room = 23; /* an empty answer in its envelope */
    for (size_t extra = 0; extra < 2; extra++) {
        assert_int_equal(
            ask_for(&pair, &asked, "C.echo", skep_bytes_of(request, extra), 3 * SECOND), 0);
        fake_net_run(&pair.net, SECOND);
        assert_int_equal(asked.count, extra + 1);
        assert_int_equal(asked.rc, extra == 0 ? 0 : SKEP_EPEER_RESET);
        assert_int_equal(stats_of(pair.b).refused, extra);
    }
    teardown(&pair);
}

static void a_fin_or_a_byte_after_the_request_cancels_it(void **state)
{
    struct pair pair;
    struct rogue rogue;
    struct held held = {0};

    (void)state;
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "DHTProtocol.rpc_ping", hold, &held), 0);
    send_rogue(&pair, &rogue, GOOD_CALL, true);
    assert_true(rogue.closed && !rogue.answered);
    assert_int_equal(held.canceled, 1);
    send_rogue(&pair, &rogue, GOOD_CALL, false);
    assert_int_equal(skep_stream_write(rogue.stream, test_unhex("00")), 0);
    fake_net_run(&pair.net, SECOND);
    assert_true(rogue.closed && !rogue.answered);
    assert_int_equal(held.canceled, 2);
    skep_rpc_reply(held.request[0], skep_bytes_str(""));
    skep_rpc_reply(held.request[1], skep_bytes_str(""));
    teardown(&pair);
}

static void a_request_that_stops_half_way_is_dropped_in_time(void **state)
{
    struct pair pair;
    struct rogue rogue;

    (void)state;
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "DHTProtocol.rpc_ping", echo, NULL), 0);
    send_rogue(&pair, &rogue, "2e0a10847abb", false);
    assert_false(rogue.closed);
    fake_net_run(&pair.net, SKEP_REQUEST_TIMEOUT_US);
    assert_true(rogue.closed);
    assert_int_equal(stats_of(pair.b).malformed, 1);
    teardown(&pair);
}

/* ---- a handler that breaks the rules ---- */

struct bad_server {
    const char *hex;
    bool fin;
};

static void bad_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    struct bad_server *server = user;

    skep_stream_consume(stream, data.len);
    assert_int_equal(skep_stream_write(stream, test_unhex(server->hex)), 0);
    if (server->fin)
        skep_stream_close_write(stream);
}

static void bad_closed(struct skep_stream *stream, void *user, int rc)
{
    (void)stream;
    (void)user;
    (void)rc;
}

static const struct skep_stream_events bad_events = {.on_data = bad_data, .on_close = bad_closed};

static void on_bad_stream(void *user, struct skep_stream *stream)
{
    skep_stream_use(stream, &bad_events, user);
}

static void malformed_answers_end_the_call_with_a_named_error(void **state)
{
    static const struct {
        const char *hex;
        bool fin;
        int rc;
    } cases[] = {
        {"", true, SKEP_EPEER_RESET}, /* closed without an answer: how hivemind refuses */
        {"8180800200", false, SKEP_EPEER_LIMIT},
        {"03ffffff", false, SKEP_EPEER_FRAME},
        {GOOD_CALL, false, SKEP_EPEER_PROTO}, /* a call is no answer */
        {"140a10847abbe8db1407ec8f3642badd47921d2200", false,
         SKEP_EPEER_PROTO}, /* neither response nor error */
        {"160a10847abbe8db1407ec8f3642badd", true, SKEP_EPEER_RESET}, /* cut */
        {"160a10000102030405060708090a0b0c0d0e0f22020a00", false,
         0}, /* another call id: hivemind does not look either */
    };
    struct pair pair;

    (void)state;
    setup(&pair);
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct bad_server server = {cases[i].hex, cases[i].fin};
        struct asked asked = {0};

        assert_int_equal(skep_host_serve(pair.host_b, "C.bad", on_bad_stream, &server), 0);
        assert_int_equal(ask(&pair, &asked, "C.bad", "x"), 0);
        fake_net_run(&pair.net, SECOND);
        assert_int_equal(asked.count, 1);
        assert_int_equal(asked.rc, cases[i].rc);
        skep_host_unserve(pair.host_b, "C.bad");
        fake_host_lose(pair.host_b);
        fake_net_run(&pair.net, SECOND);
    }
    teardown(&pair);
}

static void closing_ends_everything_in_flight(void **state)
{
    struct pair pair;
    struct asked asked[5] = {0};
    struct held held = {0};

    (void)state;
    setup(&pair);
    assert_int_equal(skep_rpc_serve(pair.b, "C.hold", hold, &held), 0);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(ask(&pair, &asked[i], "C.hold", "x"), 0);
    fake_net_run(&pair.net, SECOND);
    skep_rpc_host_free(pair.a);
    for (size_t i = 0; i < 5; i++)
        assert_true(asked[i].count == 1 && asked[i].rc == SKEP_ECANCELED);
    skep_rpc_host_free(pair.b); /* five requests in progress: told, and gone */
    assert_int_equal(held.canceled, 5);
    pair.a = pair.b = NULL;
    teardown(&pair);
}

static int with_failing_memory(const struct skep_mem *mem, void *user)
{
    struct pair pair;
    struct asked asked = {0};
    int rc;

    (void)user;
    fake_net_init(&pair.net, 1);
    pair.host_a = fake_host_new(&pair.net, 'a');
    pair.host_b = fake_host_new(&pair.net, 'b');
    pair.net.chunk = 7;
    pair.net.env.env.mem = mem;
    pair.b = NULL;
    if ((rc = skep_rpc_host_new(&pair.a, &pair.net.env.env, pair.host_a)) < 0)
        goto out;
    if ((rc = skep_rpc_host_new(&pair.b, &pair.net.env.env, pair.host_b)) < 0)
        goto out;
    if ((rc = skep_rpc_serve(pair.b, "C.echo", echo, NULL)) < 0)
        goto out;
    if ((rc = ask(&pair, &asked, "C.echo", "hello")) < 0)
        goto out;
    fake_net_run(&pair.net, 60 * SECOND);
    assert_int_equal(asked.count, 1);
    rc = asked.rc == SKEP_EPEER_RESET ? SKEP_ENOMEM
                                      : asked.rc; /* memory failed at the handler's side */
out:
    skep_rpc_host_free(pair.a);
    skep_rpc_host_free(pair.b);
    pair.net.env.env.mem = &pair.net.env.mem.mem;
    fake_net_fini(&pair.net);
    return rc;
}

static void failing_memory_ends_in_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    test_each_allocation_fails(with_failing_memory, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_gets_its_answer),
        cmocka_unit_test(a_second_call_costs_no_allocation_in_this_layer),
        cmocka_unit_test(calls_work_wherever_the_stream_is_cut),
        cmocka_unit_test(an_error_comes_back_with_its_text),
        cmocka_unit_test(a_method_that_is_not_served_is_unsupported),
        cmocka_unit_test(a_handler_may_answer_later),
        cmocka_unit_test(a_timeout_ends_the_call_and_tells_the_handler),
        cmocka_unit_test(a_canceled_call_says_nothing_and_tells_the_handler),
        cmocka_unit_test(a_lost_connection_ends_calls_on_both_sides),
        cmocka_unit_test(calls_beyond_the_bound_wait_in_line_and_all_end),
        cmocka_unit_test(a_full_line_refuses_one_more),
        cmocka_unit_test(calls_wait_when_the_host_takes_no_more_streams),
        cmocka_unit_test(a_queued_call_can_time_out),
        cmocka_unit_test(requests_beyond_the_bound_of_one_peer_are_reset),
        cmocka_unit_test(the_bytes_of_requests_held_for_one_peer_are_bounded),
        cmocka_unit_test(sizes_are_refused_before_anything_is_sent),
        cmocka_unit_test(an_answer_may_have_4_mib_and_a_larger_one_becomes_an_error),
        cmocka_unit_test(handlers_come_and_go_while_running),
        cmocka_unit_test(malformed_requests_are_reset_and_counted),
        cmocka_unit_test(of_an_errors_text_4_kib_are_kept_and_sent),
        cmocka_unit_test(of_257_idle_peers_the_one_idle_for_longest_is_forgotten),
        cmocka_unit_test(after_a_burst_512_calls_and_requests_are_kept),
        cmocka_unit_test(who_leaves_too_much_unread_gets_a_reset_instead_of_an_answer),
        cmocka_unit_test(a_fin_or_a_byte_after_the_request_cancels_it),
        cmocka_unit_test(a_request_that_stops_half_way_is_dropped_in_time),
        cmocka_unit_test(malformed_answers_end_the_call_with_a_named_error),
        cmocka_unit_test(closing_ends_everything_in_flight),
        cmocka_unit_test(failing_memory_ends_in_an_error_and_leaks_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
