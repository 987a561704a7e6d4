/* SPDX-License-Identifier: MIT */
/* Streams on the simulated call seam behave as those of tests/rpc/test_stream.c, and end when what they run over does. */
#include "base/limits.h"
#include "sim/sim_rpc.h"
#include "support/test.h"

/* One end: what it saw. */
struct end {
    struct skep_rpc *rpc;
    struct skep_rpc_stream *stream;
    uint8_t last;
    size_t messages, bytes, ends, errors, writable;
    uint64_t last_us;
    int rc;
    char text[64];
    uint8_t sum;
    bool keep;       /* consume nothing */
    bool end_on_end; /* a handler: end when the caller has */
    bool cancel_on_message;
};

static struct skep_sim_clock clock;
static struct skep_sim_net *net;
static struct end a, b;

static void on_message(struct skep_rpc_stream *stream, void *user, skep_bytes message)
{
    struct end *end = user;

    end->messages++;
    end->bytes += message.len;
    end->last_us = clock.now_us;
    if (message.len > 0)
        end->last = message.data[message.len - 1];
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

    end->errors++;
    end->rc = rc;
    end->last_us = clock.now_us;
    snprintf(end->text, sizeof end->text, "%.*s", (int)text.len,
             text.len > 0 ? (const char *)text.data : "");
    end->rpc->ops->stream_cancel(stream); /* harmless */
}

static const struct skep_rpc_stream_events events = {
    .on_message = on_message, .on_writable = on_writable, .on_end = on_end, .on_error = on_error};

/* A running sum that goes back with each number; it rejects thirteen. */
static void on_number(struct skep_rpc_stream *stream, void *user, skep_bytes message)
{
    struct end *end = user;

    end->messages++;
    end->rpc->ops->stream_consume(stream, message.len);
    if (message.data[1] == 13) {
        end->rpc->ops->stream_fail(stream, skep_bytes_str("no thirteens"));
        return;
    }
    end->sum = (uint8_t)(end->sum + message.data[1]);
    assert_int_equal(
        end->rpc->ops->stream_send(stream, skep_bytes_of("\x08", 1), skep_bytes_of(&end->sum, 1)),
        0);
}

static const struct skep_rpc_stream_events sum_events = {
    .on_message = on_number, .on_end = on_end, .on_error = on_error};

static void on_sum(void *user, struct skep_rpc_stream *stream, const struct skep_peer_id *peer)
{
    (void)user;
    assert_true(skep_peer_id_equal(peer, &a.rpc->self));
    b.stream = stream;
    b.end_on_end = true;
    b.rpc->ops->stream_use(stream, &sum_events, &b);
}

static void on_plain(void *user, struct skep_rpc_stream *stream, const struct skep_peer_id *peer)
{
    (void)user, (void)peer;
    b.stream = stream;
    b.rpc->ops->stream_use(stream, &events, &b);
}

static const struct skep_sim_faults plain = {.latency = {.median_us = 1000}, .handshake_rounds = 3};

static void begin(const struct skep_sim_faults *faults)
{
    a = b = (struct end){.rpc = NULL};
    skep_sim_clock_init(&clock, &skep_mem_std, 1);
    assert_int_equal(skep_sim_net_new(&net, &clock, 1, faults), 0);
    assert_int_equal(skep_sim_net_add(net, &a.rpc), 0);
    assert_int_equal(skep_sim_net_add(net, &b.rpc), 0);
    assert_int_equal(b.rpc->ops->stream_serve(b.rpc, "C.sum", on_sum, NULL), 0);
    assert_int_equal(b.rpc->ops->stream_serve(b.rpc, "C.plain", on_plain, NULL), 0);
    assert_int_equal(b.rpc->ops->stream_serve(b.rpc, "C.plain", on_plain, NULL), SKEP_EEXIST);
}

static void end(void)
{
    skep_sim_net_free(net);
    skep_sim_clock_fini(&clock);
}

static void run(uint64_t us)
{
    skep_sim_clock_run_for(&clock, us);
}

static void open_to(const char *method)
{
    assert_int_equal(a.rpc->ops->stream_open(a.rpc, &a.stream, &b.rpc->self, method, &events, &a),
                     0);
}

static void send_number(uint8_t number)
{
    uint8_t message[2] = {8, number};

    assert_int_equal(
        a.rpc->ops->stream_send(a.stream, skep_bytes_of(message, 2), (skep_bytes){NULL, 0}), 0);
}

static void messages_go_both_ways_in_order_and_end(void **state)
{
    struct skep_sim_faults faults = plain;

    (void)state;
    for (uint64_t jitter_us = 0; jitter_us <= 20000; jitter_us += 10000) {
        faults.jitter_us = jitter_us;
        begin(&faults);
        open_to("C.sum");
        for (uint8_t i = 1; i <= 12; i++)
            send_number(i);
        a.rpc->ops->stream_end(a.stream);
        assert_int_equal(
            a.rpc->ops->stream_send(a.stream, (skep_bytes){NULL, 0}, (skep_bytes){NULL, 0}),
            SKEP_ECLOSED);
        assert_int_equal(a.messages + b.messages, 0); /* nothing from inside a call */
        run(SKEP_SIM_SECOND);
        assert_int_equal(a.messages, 12);
        assert_int_equal(a.last, 78);
        assert_int_equal(a.ends, 1);
        assert_int_equal(b.ends, 1);
        assert_int_equal(a.errors + b.errors, 0);
        end();
    }
}

static void a_round_trip_takes_the_handshake_and_the_delay_of_each_way(void **state)
{
    uint64_t begun_us;

    (void)state;
    begin(&plain);
    begun_us = clock.now_us;
    open_to("C.sum");
    send_number(1);
    run(SKEP_SIM_SECOND);
    assert_int_equal(a.last_us - begun_us, 4000);
    send_number(1);
    run(SKEP_SIM_SECOND);
    assert_int_equal(a.last_us - begun_us, SKEP_SIM_SECOND + 1000);
    a.rpc->ops->stream_cancel(a.stream);
    end();
}

static void an_error_of_the_handler_comes_with_its_text(void **state)
{
    (void)state;
    begin(&plain);
    open_to("C.sum");
    send_number(5);
    send_number(13);
    a.rpc->ops->stream_end(a.stream);
    run(SKEP_SIM_SECOND);
    assert_int_equal(a.messages, 1);
    assert_int_equal(a.rc, SKEP_EPEER_REMOTE);
    assert_string_equal(a.text, "no thirteens");
    assert_int_equal(a.ends, 0);
    end();
}

static void a_caller_that_cancels_is_seen_by_the_handler(void **state)
{
    (void)state;
    begin(&plain);
    open_to("C.plain");
    send_number(1);
    run(SKEP_SIM_SECOND);
    a.rpc->ops->stream_cancel(a.stream);
    run(SKEP_SIM_SECOND);
    assert_int_equal(b.rc, SKEP_ECANCELED);
    assert_int_equal(a.errors, 0);
    end();
}

static void a_caller_that_cancels_at_once_is_seen_all_the_same(void **state)
{
    (void)state;
    begin(&plain);
    open_to("C.plain");
    a.rpc->ops->stream_cancel(a.stream);
    run(SKEP_SIM_SECOND);
    assert_int_equal(b.rc, SKEP_ECANCELED);
    assert_int_equal(a.errors, 0);
    end();
}

static void a_cancel_from_inside_a_message_is_safe(void **state)
{
    (void)state;
    begin(&plain);
    b.cancel_on_message = true;
    open_to("C.plain");
    send_number(1);
    send_number(2);
    run(SKEP_SIM_SECOND);
    assert_int_equal(b.messages, 1);
    assert_int_equal(a.rc, SKEP_EPEER_RESET);
    end();
}

static void a_slow_reader_holds_the_sender_back(void **state)
{
    enum { MESSAGE = 64 << 10, COUNT = 64 };
    uint8_t *message = calloc(1, MESSAGE);

    (void)state;
    begin(&plain);
    b.keep = true;
    open_to("C.plain");
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(a.rpc->ops->stream_send(a.stream, skep_bytes_of(message, 100),
                                                 skep_bytes_of(message, MESSAGE - 100)),
                         0);
    run(SKEP_SIM_SECOND);
    assert_true(b.bytes >= SKEP_STREAM_UNCONSUMED_MAX);
    assert_true(b.bytes <= SKEP_STREAM_UNCONSUMED_MAX + (512 << 10));
    assert_true(a.rpc->ops->stream_queued(a.stream) > 0);
    for (int i = 0; i < 100 && b.messages < COUNT; i++) {
        b.rpc->ops->stream_consume(b.stream, MESSAGE);
        run(SKEP_SIM_SECOND);
    }
    assert_int_equal(b.messages, COUNT);
    assert_int_equal(a.writable, 1);
    a.rpc->ops->stream_cancel(a.stream);
    end();
    free(message);
}

static void a_message_larger_than_the_window_gets_through(void **state)
{
    size_t len = 3 << 20;
    uint8_t *message = calloc(1, SKEP_STREAM_MESSAGE_MAX + 1);

    (void)state;
    begin(&plain);
    open_to("C.plain");
    assert_int_equal(a.rpc->ops->stream_send(a.stream, skep_bytes_of(message, 1000),
                                             skep_bytes_of(message, len - 1000)),
                     0);
    run(SKEP_SIM_SECOND);
    assert_int_equal(b.bytes, len);
    assert_int_equal(a.rpc->ops->stream_send(a.stream,
                                             skep_bytes_of(message, SKEP_STREAM_MESSAGE_MAX),
                                             skep_bytes_of(message, 1)),
                     SKEP_ESIZE);
    a.rpc->ops->stream_cancel(a.stream);
    end();
    free(message);
}

static void a_paused_stream_takes_no_more_than_a_window(void **state)
{
    size_t len = 3 << 20;
    uint8_t *message = calloc(1, len);

    (void)state;
    begin(&plain);
    open_to("C.plain");
    run(SKEP_SIM_SECOND);
    b.rpc->ops->stream_pause(b.stream, true);
    assert_int_equal(
        a.rpc->ops->stream_send(a.stream, (skep_bytes){NULL, 0}, skep_bytes_of(message, len)), 0);
    run(SKEP_SIM_SECOND);
    assert_int_equal(b.messages, 0);
    assert_true(a.rpc->ops->stream_queued(a.stream) >= len - (256 << 10));
    b.rpc->ops->stream_pause(b.stream, false);
    run(SKEP_SIM_SECOND);
    assert_int_equal(b.bytes, len);
    a.rpc->ops->stream_cancel(a.stream);
    end();
    free(message);
}

/* What a handler has said goes on its way after it let the stream go. */
static void a_long_answer_arrives_after_its_handler_has_ended(void **state)
{
    size_t len = 3 << 20;
    uint8_t *message = calloc(1, len);

    (void)state;
    begin(&plain);
    open_to("C.plain");
    run(SKEP_SIM_SECOND);
    assert_int_equal(
        b.rpc->ops->stream_send(b.stream, (skep_bytes){NULL, 0}, skep_bytes_of(message, len)), 0);
    b.rpc->ops->stream_end(b.stream);
    run(SKEP_SIM_SECOND);
    assert_int_equal(a.bytes, len);
    assert_int_equal(a.ends, 1);
    end();
    free(message);
}

static void a_handler_taken_away_ends_its_streams(void **state)
{
    (void)state;
    begin(&plain);
    open_to("C.plain");
    send_number(1);
    run(SKEP_SIM_SECOND);
    skep_rpc_unserve(b.rpc, "C.plain");
    run(SKEP_SIM_SECOND);
    assert_int_equal(b.rc, SKEP_ECANCELED);
    assert_int_equal(a.rc, SKEP_EPEER_REMOTE);
    open_to("C.plain");
    run(SKEP_SIM_SECOND);
    assert_int_equal(a.rc, SKEP_EPEER_UNSUPPORTED);
    assert_int_equal(a.errors, 2);
    end();
}

static void the_dead_are_told_by_the_time_it_takes_to_know(void **state)
{
    (void)state;
    begin(&plain);
    skep_sim_net_set_state(net, 1, SKEP_SIM_REFUSING);
    open_to("C.plain");
    run(SKEP_SIM_SECOND);
    assert_int_equal(a.rc, SKEP_EREFUSED);
    skep_sim_net_set_state(net, 1, SKEP_SIM_SILENT);
    open_to("C.plain");
    run(4 * SKEP_SIM_SECOND);
    assert_int_equal(a.errors, 1);
    run(2 * SKEP_SIM_SECOND);
    assert_int_equal(a.rc, SKEP_ETIMEDOUT);
    skep_sim_net_set_reachable(net, 1, false);
    open_to("C.plain");
    run(SKEP_SIM_SECOND);
    assert_int_equal(a.rc, SKEP_EUNREACH);
    assert_int_equal(a.rpc->ops->stream_open(a.rpc, &a.stream, &a.rpc->self, "C.sum", &events, &a),
                     SKEP_ESELF);
    end();
}

static void a_stream_to_a_node_that_dies_is_lost_on_both_sides(void **state)
{
    static const enum skep_sim_state states[] = {SKEP_SIM_SILENT, SKEP_SIM_REFUSING};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(states); i++) {
        begin(&plain);
        open_to("C.plain");
        send_number(1);
        run(SKEP_SIM_SECOND);
        skep_sim_net_set_state(net, 1, states[i]);
        run(SKEP_SIM_SECOND);
        assert_int_equal(a.errors, states[i] == SKEP_SIM_REFUSING);
        run(40 * SKEP_SIM_SECOND);
        assert_int_equal(a.rc, SKEP_ELOST);
        assert_int_equal(b.rc, SKEP_ELOST);
        end();
    }
}

static void a_lost_message_ends_the_stream(void **state)
{
    struct skep_sim_faults faults = plain;

    (void)state;
    faults.loss_ppm = 1000000;
    begin(&faults);
    open_to("C.plain");
    run(SKEP_SIM_SECOND);
    send_number(1);
    run(39 * SKEP_SIM_SECOND);
    assert_int_equal(a.errors + b.errors + b.messages, 0);
    run(2 * SKEP_SIM_SECOND);
    assert_int_equal(a.rc, SKEP_ELOST);
    assert_int_equal(b.rc, SKEP_ELOST);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_go_both_ways_in_order_and_end),
        cmocka_unit_test(a_round_trip_takes_the_handshake_and_the_delay_of_each_way),
        cmocka_unit_test(an_error_of_the_handler_comes_with_its_text),
        cmocka_unit_test(a_caller_that_cancels_is_seen_by_the_handler),
        cmocka_unit_test(a_caller_that_cancels_at_once_is_seen_all_the_same),
        cmocka_unit_test(a_cancel_from_inside_a_message_is_safe),
        cmocka_unit_test(a_slow_reader_holds_the_sender_back),
        cmocka_unit_test(a_message_larger_than_the_window_gets_through),
        cmocka_unit_test(a_paused_stream_takes_no_more_than_a_window),
        cmocka_unit_test(a_long_answer_arrives_after_its_handler_has_ended),
        cmocka_unit_test(a_handler_taken_away_ends_its_streams),
        cmocka_unit_test(the_dead_are_told_by_the_time_it_takes_to_know),
        cmocka_unit_test(a_stream_to_a_node_that_dies_is_lost_on_both_sides),
        cmocka_unit_test(a_lost_message_ends_the_stream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
