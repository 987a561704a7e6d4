/* SPDX-License-Identifier: MIT */
/* Streaming calls between two hosts in memory. docs/wire.md b.2; the numbers are those of tests/vectors/rpc.json. */
#include "rpc/fake_host.h"
#include "rpc/rpc_host.h"

#include "base/limits.h"

enum { SECOND = 1000000 };

/* One end: what it saw. */
struct end {
    struct skep_rpc *rpc;
    struct skep_rpc_stream *stream;
    uint8_t last[16];
    size_t messages, bytes, ends, errors, writable;
    int rc;
    char text[64];
    uint8_t sum;
    bool keep;       /* consume nothing */
    bool end_on_end; /* a handler: end when the caller has */
    bool cancel_on_message;
};

struct pair {
    struct fake_net net;
    struct skep_host *host_a, *host_b;
    struct end a, b;
};

static void on_message(struct skep_rpc_stream *stream, void *user, skep_bytes message)
{
    struct end *end = user;

    end->messages++;
    end->bytes += message.len;
    memcpy(end->last, message.data, SKEP_MIN(message.len, sizeof end->last));
    if (!end->keep)
        end->rpc->ops->stream_consume(stream, message.len);
    if (end->cancel_on_message)
        end->rpc->ops->stream_cancel(stream);
}

static void on_writable(struct skep_rpc_stream *stream, void *user)
{
    (void)stream;
    ((struct end *)user)->writable++;
}

static void on_end(struct skep_rpc_stream *stream, void *user)
{
    struct end *end = user;

    end->ends++;
    if (end->end_on_end)
        end->rpc->ops->stream_end(stream);
}

static void on_error(struct skep_rpc_stream *stream, void *user, int rc, skep_bytes text)
{
    struct end *end = user;

    (void)stream;
    end->errors++;
    end->rc = rc;
    snprintf(end->text, sizeof end->text, "%.*s", (int)text.len,
             text.len > 0 ? (const char *)text.data : "");
}

static const struct skep_rpc_stream_events events = {
    .on_message = on_message, .on_writable = on_writable, .on_end = on_end, .on_error = on_error};

/* The running sum of hivemind's test handler: it streams the sum back and rejects thirteen. */
static void on_number(struct skep_rpc_stream *stream, void *user, skep_bytes message)
{
    struct end *end = user;
    uint8_t answer[2] = {8, 0};

    end->messages++;
    end->rpc->ops->stream_consume(stream, message.len);
    if (message.data[1] == 13) {
        end->rpc->ops->stream_fail(stream, skep_bytes_str("no thirteens"));
        return;
    }
    answer[1] = end->sum = (uint8_t)(end->sum + message.data[1]);
    assert_int_equal(
        end->rpc->ops->stream_send(stream, skep_bytes_of(answer, 1), skep_bytes_of(answer + 1, 1)),
        0);
}

static const struct skep_rpc_stream_events sum_events = {
    .on_message = on_number, .on_end = on_end, .on_error = on_error};

static void on_sum(void *user, struct skep_rpc_stream *stream, const struct skep_peer_id *peer)
{
    struct pair *pair = user;

    assert_true(skep_peer_id_equal(peer, fake_host_id(pair->host_a)));
    pair->b.stream = stream;
    pair->b.end_on_end = true;
    pair->b.rpc->ops->stream_use(stream, &sum_events, &pair->b);
}

static void on_plain(void *user, struct skep_rpc_stream *stream, const struct skep_peer_id *peer)
{
    struct pair *pair = user;

    (void)peer;
    pair->b.stream = stream;
    pair->b.rpc->ops->stream_use(stream, &events, &pair->b);
}

static void setup(struct pair *pair)
{
    memset(pair, 0, sizeof *pair);
    fake_net_init(&pair->net, 1);
    pair->host_a = fake_host_new(&pair->net, 'a');
    pair->host_b = fake_host_new(&pair->net, 'b');
    assert_int_equal(skep_rpc_host_new(&pair->a.rpc, &pair->net.env.env, pair->host_a), 0);
    assert_int_equal(skep_rpc_host_new(&pair->b.rpc, &pair->net.env.env, pair->host_b), 0);
    assert_int_equal(pair->b.rpc->ops->stream_serve(pair->b.rpc, "C.sum", on_sum, pair), 0);
    assert_int_equal(pair->b.rpc->ops->stream_serve(pair->b.rpc, "C.plain", on_plain, pair), 0);
}

static void teardown(struct pair *pair)
{
    skep_rpc_host_free(pair->a.rpc);
    skep_rpc_host_free(pair->b.rpc);
    fake_net_run(&pair->net, SECOND);
    fake_net_fini(&pair->net);
}

static void open_to(struct pair *pair, const char *method)
{
    assert_int_equal(pair->a.rpc->ops->stream_open(pair->a.rpc, &pair->a.stream,
                                                   fake_host_id(pair->host_b), method, &events,
                                                   &pair->a),
                     0);
}

static void send_number(struct pair *pair, uint8_t number)
{
    uint8_t message[2] = {8, number};

    assert_int_equal(pair->a.rpc->ops->stream_send(pair->a.stream, skep_bytes_of(message, 2),
                                                   (skep_bytes){NULL, 0}),
                     0);
}

static void messages_go_both_ways_and_end(void **state)
{
    (void)state;
    for (size_t chunk = 0; chunk < 24; chunk++) {
        struct pair pair;

        setup(&pair);
        pair.net.chunk = chunk;
        open_to(&pair, "C.sum");
        send_number(&pair, 5);
        send_number(&pair, 7);
        pair.a.rpc->ops->stream_end(pair.a.stream);
        fake_net_run(&pair.net, SECOND);
        assert_int_equal(pair.a.messages, 2);
        assert_int_equal(pair.a.last[1], 12);
        assert_int_equal(pair.a.ends, 1);
        assert_int_equal(pair.b.ends, 1);
        assert_int_equal(pair.a.errors + pair.b.errors, 0);
        teardown(&pair);
    }
}

static void an_error_of_the_handler_comes_with_its_text(void **state)
{
    struct pair pair;

    (void)state;
    setup(&pair);
    open_to(&pair, "C.sum");
    send_number(&pair, 5);
    send_number(&pair, 13);
    pair.a.rpc->ops->stream_end(pair.a.stream);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(pair.a.messages, 1);
    assert_int_equal(pair.a.rc, SKEP_EPEER_REMOTE);
    assert_string_equal(pair.a.text, "no thirteens");
    assert_int_equal(pair.a.ends, 0);
    teardown(&pair);
}

static void a_caller_that_cancels_is_seen_by_the_handler(void **state)
{
    struct pair pair;

    (void)state;
    setup(&pair);
    open_to(&pair, "C.plain");
    send_number(&pair, 1);
    fake_net_run(&pair.net, SECOND);
    pair.a.rpc->ops->stream_cancel(pair.a.stream);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(pair.b.rc, SKEP_ECANCELED);
    assert_int_equal(pair.a.errors, 0);
    teardown(&pair);
}

static void a_cancel_from_inside_a_message_is_safe(void **state)
{
    struct pair pair;

    (void)state;
    setup(&pair);
    pair.b.cancel_on_message = true;
    open_to(&pair, "C.plain");
    send_number(&pair, 1);
    send_number(&pair, 2);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(pair.b.messages, 1);
    assert_int_equal(pair.a.rc, SKEP_EPEER_RESET);
    teardown(&pair);
}

/* A caller that does not follow the rules: bare bytes, then perhaps FIN. */
static void raw_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    (void)user;
    skep_stream_consume(stream, data.len);
}

static void raw_closed(struct skep_stream *stream, void *user, int rc)
{
    (void)stream;
    *(int *)user = rc;
}

static const struct skep_stream_events raw_events = {.on_data = raw_data, .on_close = raw_closed};

static void what_breaks_the_rules_ends_the_call(void **state)
{
    static const struct {
        const char *hex;
        bool fin;
        int rc;
    } cases[] = {
        {"0000000000000000020805", true, SKEP_ECANCELED}, /* FIN instead of the end mark */
        {"0000000000000000020805010000000000000000", true,
         SKEP_ECANCELED},                               /* FIN right behind it */
        {"00000000000000000208", true, SKEP_ECANCELED}, /* cut */
        {"07", false, SKEP_EPEER_FRAME},
        {"000000000000800001", false, SKEP_EPEER_LIMIT}, /* 8 MiB + 1 */
        {"0100000000000000000000000000000000020805", false,
         SKEP_EPEER_PROTO}, /* a message behind the end mark */
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct pair pair;
        struct skep_stream *raw;
        int rc = 1;

        setup(&pair);
        raw = fake_stream_open(pair.host_a, pair.host_b, "C.plain", &raw_events, &rc);
        assert_int_equal(skep_stream_write(raw, test_unhex(cases[i].hex)), 0);
        if (cases[i].fin)
            skep_stream_close_write(raw);
        fake_net_run(&pair.net, SECOND);
        assert_int_equal(pair.b.errors, 1);
        assert_int_equal(pair.b.rc, cases[i].rc);
        assert_int_equal(rc, SKEP_EPEER_RESET);
        teardown(&pair);
    }
}

static void a_slow_reader_holds_the_sender_back(void **state)
{
    enum { MESSAGE = 64 << 10, COUNT = 64 };
    struct pair pair;
    uint8_t *message = calloc(1, MESSAGE);

    (void)state;
    setup(&pair);
    pair.net.window = 256 << 10;
    pair.b.keep = true;
    open_to(&pair, "C.plain");
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(pair.a.rpc->ops->stream_send(pair.a.stream, skep_bytes_of(message, 100),
                                                      skep_bytes_of(message, MESSAGE - 100)),
                         0);
    fake_net_run(&pair.net, SECOND);
    assert_true(pair.b.bytes >= SKEP_STREAM_UNCONSUMED_MAX);
    assert_true(pair.b.bytes <= SKEP_STREAM_UNCONSUMED_MAX + (512 << 10));
    assert_true(pair.a.rpc->ops->stream_queued(pair.a.stream) > 0);
    for (int i = 0; i < 100 && pair.b.messages < COUNT; i++) {
        pair.b.rpc->ops->stream_consume(pair.b.stream, MESSAGE);
        fake_net_run(&pair.net, SECOND);
    }
    assert_int_equal(pair.b.messages, COUNT);
    assert_int_equal(pair.a.writable, 1);
    teardown(&pair);
    free(message);
}

static void a_message_larger_than_the_window_gets_through(void **state)
{
    struct pair pair;
    size_t len = 3 << 20;
    uint8_t *message = calloc(1, SKEP_STREAM_MESSAGE_MAX + 1);

    (void)state;
    setup(&pair);
    pair.net.window = 256 << 10;
    open_to(&pair, "C.plain");
    assert_int_equal(pair.a.rpc->ops->stream_send(pair.a.stream, skep_bytes_of(message, 1000),
                                                  skep_bytes_of(message, len - 1000)),
                     0);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(pair.b.bytes, len);
    assert_int_equal(pair.a.rpc->ops->stream_send(pair.a.stream,
                                                  skep_bytes_of(message, SKEP_STREAM_MESSAGE_MAX),
                                                  skep_bytes_of(message, 1)),
                     SKEP_ESIZE);
    teardown(&pair);
    free(message);
}

static void a_paused_stream_takes_no_more_than_a_window(void **state)
{
    struct pair pair;
    size_t len = 3 << 20;
    uint8_t *message = calloc(1, len);

    (void)state;
    setup(&pair);
    pair.net.window = 256 << 10;
    open_to(&pair, "C.plain");
    fake_net_run(&pair.net, SECOND);
    pair.b.rpc->ops->stream_pause(pair.b.stream, true);
    assert_int_equal(pair.a.rpc->ops->stream_send(pair.a.stream, (skep_bytes){NULL, 0},
                                                  skep_bytes_of(message, len)),
                     0);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(pair.b.messages, 0);
    assert_true(pair.a.rpc->ops->stream_queued(pair.a.stream) >= len - pair.net.window);
    pair.b.rpc->ops->stream_pause(pair.b.stream, false);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(pair.b.bytes, len);
    teardown(&pair);
    free(message);
}

static void streams_beyond_the_bound_of_one_peer_are_reset(void **state)
{
    struct pair pair;

    (void)state;
    setup(&pair);
    for (size_t i = 0; i < SKEP_STREAMS_PER_PEER_MAX; i++)
        open_to(&pair, "C.plain");
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(pair.a.errors, 0);
    open_to(&pair, "C.plain");
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(pair.a.errors, 1);
    assert_int_equal(pair.a.rc, SKEP_EPEER_RESET);
    teardown(&pair);
}

static void a_handler_taken_away_ends_its_streams(void **state)
{
    struct pair pair;

    (void)state;
    setup(&pair);
    open_to(&pair, "C.plain");
    send_number(&pair, 1);
    fake_net_run(&pair.net, SECOND);
    skep_rpc_unserve(pair.b.rpc, "C.plain");
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(pair.b.rc, SKEP_ECANCELED);
    assert_int_equal(pair.a.rc, SKEP_EPEER_REMOTE);
    teardown(&pair);
}

static void closing_ends_streams_on_both_sides(void **state)
{
    struct pair pair;

    (void)state;
    setup(&pair);
    open_to(&pair, "C.plain");
    send_number(&pair, 1);
    fake_net_run(&pair.net, SECOND);
    skep_rpc_host_free(pair.a.rpc);
    assert_int_equal(pair.a.rc, SKEP_ECANCELED);
    fake_net_run(&pair.net, SECOND);
    assert_int_equal(pair.b.rc, SKEP_ECANCELED);
    pair.a.rpc = NULL;
    teardown(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_go_both_ways_and_end),
        cmocka_unit_test(an_error_of_the_handler_comes_with_its_text),
        cmocka_unit_test(a_caller_that_cancels_is_seen_by_the_handler),
        cmocka_unit_test(a_cancel_from_inside_a_message_is_safe),
        cmocka_unit_test(what_breaks_the_rules_ends_the_call),
        cmocka_unit_test(a_slow_reader_holds_the_sender_back),
        cmocka_unit_test(a_message_larger_than_the_window_gets_through),
        cmocka_unit_test(a_paused_stream_takes_no_more_than_a_window),
        cmocka_unit_test(streams_beyond_the_bound_of_one_peer_are_reset),
        cmocka_unit_test(a_handler_taken_away_ends_its_streams),
        cmocka_unit_test(closing_ends_streams_on_both_sides),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
