/* SPDX-License-Identifier: MIT */
/* Peers, calls and streams between nodes that have threads of their own, over loopback. */
#include "api/api_test.h"

/* ---- peers ---- */

static void peers_are_dialled_pinged_and_described(void **state)
{
    skep_node *a = node_on_thread(NULL), *b = node_on_thread(NULL);
    skep_peer peer = peer_of(b), listed[4];
    const skep_peer_description *description;
    bool serves_kad = false;
    skep_op *op;

    (void)state;
    connect_nodes(a, b);
    assert_int_equal(skep_p2p_peers(a, listed, 4), 1);
    assert_true(skep_peer_equal(&listed[0], &peer));
    assert_int_equal(skep_p2p_ping(&op, a, &peer, 0, NULL, NULL), 0);
    finish_ok(op);
    assert_true(skep_p2p_ping_result(op) > 0);
    skep_op_free(op);
    assert_int_equal(skep_p2p_identify(&op, a, &peer, 0, NULL, NULL), 0);
    finish_ok(op);
    description = skep_p2p_identify_result(op);
    assert_non_null(description);
    assert_non_null(strstr(description->agent, "skep/"));
    assert_true(description->listen_count > 0);
    assert_false(description->inbound);
    for (size_t i = 0; i < description->protocol_count; i++)
        serves_kad = serves_kad || strcmp(description->protocols[i], "/ipfs/kad/1.0.0") == 0;
    assert_true(serves_kad);
    skep_op_free(op);
    assert_int_equal(skep_p2p_disconnect(a, &peer), 0);
    skep_node_free(a);
    skep_node_free(b);
}

static void a_peer_is_found_by_its_id_alone(void **state)
{
    skep_node *hub = node_on_thread(NULL), *a, *b;
    char **addresses = addresses_of(hub);
    skep_peer peer;
    skep_op *op;

    (void)state;
    a = node_on_thread(addresses[0]);
    b = node_on_thread(addresses[0]);
    peer = peer_of(b);
    assert_int_equal(skep_p2p_find_peer(&op, a, &peer, 5 * SECOND_US, NULL, NULL), 0);
    finish_ok(op);
    assert_true(skep_p2p_identify_result(op)->listen_count > 0);
    skep_op_free(op);
    skep_free(addresses);
    skep_node_free(a);
    skep_node_free(b);
    skep_node_free(hub);
}

static void waiting_for_peers_ends_when_they_are_there(void **state)
{
    skep_node *hub = node_on_thread(NULL), *a, *b;
    char **addresses = addresses_of(hub);
    skep_op *two, *three;

    (void)state;
    assert_int_equal(skep_p2p_wait_for_peers(&two, hub, 2, SKEP_FOREVER, NULL, NULL), 0);
    assert_int_equal(skep_p2p_wait_for_peers(&three, hub, 3, SECOND_US / 4, NULL, NULL), 0);
    a = node_on_thread(addresses[0]);
    assert_int_equal(skep_op_poll(two), 1);
    b = node_on_thread(addresses[0]);
    finish_ok(two);
    assert_int_equal(skep_op_wait(three), SKEP_ETIMEDOUT);
    assert_non_null(strstr(skep_op_text(three), "of 3 peers"));
    skep_op_free(two);
    skep_op_free(three);
    skep_free(addresses);
    skep_node_free(a);
    skep_node_free(b);
    skep_node_free(hub);
}

static void announced_addresses_stand_instead_of_those_listened_on(void **state)
{
    skep_node *node = node_on_thread(NULL);
    char **addresses;
    size_t count;

    (void)state;
    assert_int_equal(skep_p2p_announce(node, "/ip4/9.9.9.9/tcp/4001"), 0);
    assert_int_equal(skep_p2p_announce(node, "/ip4/9.9.9.8/tcp/4001"), 0);
    addresses = skep_p2p_addresses(node, &count);
    assert_int_equal(count, 2);
    assert_memory_equal(addresses[0], "/ip4/9.9.9.9/tcp/4001/p2p/", 26);
    assert_memory_equal(addresses[1], "/ip4/9.9.9.8/tcp/4001/p2p/", 26);
    assert_null(addresses[2]);
    skep_free(addresses);
    assert_int_equal(skep_node_free(node), 0);
}

static void a_dial_that_is_refused_says_so(void **state)
{
    skep_node *a = node_on_thread(NULL);
    skep_op *op;

    (void)state;
    assert_int_equal(skep_p2p_connect(&op, a, "/ip4/127.0.0.1/tcp/1", 0, NULL, NULL), 0);
    assert_int_equal(skep_op_wait_for(op, PATIENCE_US), SKEP_EREFUSED);
    assert_null(skep_p2p_connect_result(op));
    skep_op_free(op);
    assert_int_equal(skep_p2p_connect(&op, a, "127.0.0.1:1", 0, NULL, NULL), SKEP_EMULTIADDR);
    assert_non_null(strstr(skep_last_error_text(), "127.0.0.1:1"));
    skep_node_free(a);
}

/* ---- calls ---- */

static void echo(void *user_data, skep_request *request)
{
    (void)user_data;
    assert_int_equal(skep_request_reply(request, skep_request_data(request)), 0);
}

static void refuse(void *user_data, skep_request *request)
{
    assert_int_equal(skep_request_fail(request, user_data), 0);
}

static int call_and_wait(skep_node *from, skep_node *to, const char *method, skep_view request,
                         skep_op **op)
{
    skep_peer peer = peer_of(to);
    int rc = skep_p2p_call(op, from, &peer, method, request, 3 * SECOND_US, NULL, NULL);

    return rc < 0 ? rc : skep_op_wait_for(*op, PATIENCE_US);
}

static void calls_get_answers_and_errors_with_their_text(void **state)
{
    skep_node *a = node_on_thread(NULL), *b = node_on_thread(NULL);
    static char text[] = "KeyError('\x1b[31mffn.9.9')";
    uint8_t *large = calloc(1, 4 << 20);
    skep_op *op;

    (void)state;
    connect_nodes(a, b);
    assert_int_equal(skep_p2p_serve(b, "ns::C.echo", echo, NULL), 0);
    assert_int_equal(skep_p2p_serve(b, "ns::C.echo", echo, NULL), SKEP_EEXIST);
    assert_int_equal(skep_p2p_serve(b, "C.refuse", refuse, text), 0);
    assert_int_equal(call_and_wait(a, b, "ns::C.echo", view_of("hello"), &op), 0);
    assert_true(view_is(skep_p2p_call_result(op), "hello"));
    skep_op_free(op);
    assert_int_equal(call_and_wait(a, b, "ns::C.echo", (skep_view){large, (4 << 20) - 1024}, &op),
                     0);
    assert_int_equal(skep_p2p_call_result(op).len, (4 << 20) - 1024);
    skep_op_free(op);
    assert_int_equal(call_and_wait(a, b, "ns::C.echo", (skep_view){large, 4 << 20}, &op),
                     SKEP_ESIZE); /* known on the loop */
    skep_op_free(op);
    assert_int_equal(call_and_wait(a, b, "C.refuse", view_of("x"), &op), SKEP_EPEER_REMOTE);
    assert_string_equal(skep_op_text(op), "KeyError('\\x1b[31mffn.9.9')");
    assert_int_equal(skep_p2p_call_result(op).len, 0);
    skep_op_free(op);
    assert_int_equal(skep_p2p_unserve(b, "ns::C.echo"), 0);
    assert_int_equal(skep_p2p_unserve(b, "ns::C.echo"), SKEP_ENOTFOUND);
    assert_int_equal(call_and_wait(a, b, "ns::C.echo", view_of("hello"), &op),
                     SKEP_EPEER_UNSUPPORTED);
    skep_op_free(op);
    skep_node_free(a);
    skep_node_free(b);
    free(large);
}

/* Requests handed to another thread. */
struct desk {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    skep_request *requests[64];
    size_t count, answered;
    bool stop;
};

static void hand_over(void *user_data, skep_request *request)
{
    struct desk *desk = user_data;

    pthread_mutex_lock(&desk->mutex);
    desk->requests[desk->count++ % 64] = request;
    pthread_cond_signal(&desk->cond);
    pthread_mutex_unlock(&desk->mutex);
}

static void *answer_all(void *arg)
{
    struct desk *desk = arg;

    pthread_mutex_lock(&desk->mutex);
    while (!desk->stop || desk->answered < desk->count) {
        if (desk->answered == desk->count) {
            pthread_cond_wait(&desk->cond, &desk->mutex);
            continue;
        }
        skep_request *request = desk->requests[desk->answered++ % 64];

        pthread_mutex_unlock(&desk->mutex);
        skep_request_reply(request, skep_request_data(request));
        pthread_mutex_lock(&desk->mutex);
    }
    pthread_mutex_unlock(&desk->mutex);
    return NULL;
}

struct caller {
    skep_node *node;
    skep_peer peer;
    int ok;
};

static void *call_often(void *arg)
{
    struct caller *caller = arg;

    for (int i = 0; i < 50; i++) {
        char text[32];
        skep_op *op;

        snprintf(text, sizeof text, "call %d", i);
        if (skep_p2p_call(&op, caller->node, &caller->peer, "C.desk", view_of(text), PATIENCE_US,
                          NULL, NULL) != 0)
            break;
        if (skep_op_wait(op) == 0 && view_is(skep_p2p_call_result(op), text))
            caller->ok++;
        skep_op_free(op);
    }
    return NULL;
}

static void many_threads_call_and_another_answers(void **state)
{
    enum { CALLERS = 4 };
    skep_node *a = node_on_thread(NULL), *b = node_on_thread(NULL);
    struct desk desk = {.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    struct caller callers[CALLERS];
    pthread_t threads[CALLERS], answering;

    (void)state;
    connect_nodes(a, b);
    assert_int_equal(skep_p2p_serve(b, "C.desk", hand_over, &desk), 0);
    assert_int_equal(pthread_create(&answering, NULL, answer_all, &desk), 0);
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.node = a, .peer = peer_of(b)};
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(callers[i].ok, 50);
    }
    pthread_mutex_lock(&desk.mutex);
    desk.stop = true;
    pthread_cond_signal(&desk.cond);
    pthread_mutex_unlock(&desk.mutex);
    pthread_join(answering, NULL);
    skep_node_free(a);
    skep_node_free(b);
}

static void keep(void *user_data, skep_request *request)
{
    atomic_store((_Atomic(skep_request *) *)user_data, request);
}

static void a_request_outlives_its_caller_and_its_node(void **state)
{
    (void)state;
    for (int close = 0; close < 2; close++) {
        skep_node *a = node_on_thread(NULL), *b = node_on_thread(NULL);
        _Atomic(skep_request *) kept = NULL;
        skep_peer peer = peer_of(b), caller = peer_of(a);
        skep_request *request;
        skep_op *op;

        connect_nodes(a, b);
        assert_int_equal(skep_p2p_serve(b, "C.keep", keep, &kept), 0);
        assert_int_equal(
            skep_p2p_call(&op, a, &peer, "C.keep", view_of("question"), SKEP_FOREVER, NULL, NULL),
            0);
        while (!(request = atomic_load(&kept)))
            usleep(1000);
        assert_false(skep_request_canceled(request));
        assert_true(skep_peer_equal(skep_request_peer(request), &caller));
        if (close) {
            skep_node_free(b);
        } else {
            skep_op_cancel(op);
            assert_int_equal(skep_op_wait(op), SKEP_ECANCELED);
            while (!skep_request_canceled(request))
                usleep(1000);
        }
        assert_true(view_is(skep_request_data(request), "question"));
        assert_int_equal(skep_request_reply(request, view_of("late")), SKEP_ECLOSED);
        if (close)
            assert_true(skep_op_wait_for(op, PATIENCE_US) < 0);
        skep_op_free(op);
        skep_node_free(a);
        if (!close)
            skep_node_free(b);
    }
}

/* ---- streams ---- */

struct seen {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    char text[256];
    size_t len, bytes, messages;
    bool ended, closed;
    int closes, rc;
    char error[64];
    int hold; /* what the serving end does, see below */
};

static void seen_init(struct seen *seen)
{
    *seen = (struct seen){.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
}

static void wait_closed(struct seen *seen)
{
    pthread_mutex_lock(&seen->mutex);
    while (!seen->closed)
        pthread_cond_wait(&seen->cond, &seen->mutex);
    pthread_mutex_unlock(&seen->mutex);
}

static void note_bytes(struct seen *seen, skep_view data)
{
    size_t n =
        data.len < sizeof seen->text - 1 - seen->len ? data.len : sizeof seen->text - 1 - seen->len;

    pthread_mutex_lock(&seen->mutex);
    memcpy(seen->text + seen->len, data.data, n);
    seen->len += n;
    seen->bytes += data.len;
    seen->messages++;
    pthread_mutex_unlock(&seen->mutex);
}

static void note_close(struct seen *seen, int rc, const char *text)
{
    pthread_mutex_lock(&seen->mutex);
    seen->closed = true;
    seen->closes++;
    seen->rc = rc;
    snprintf(seen->error, sizeof seen->error, "%s", text);
    pthread_cond_signal(&seen->cond);
    pthread_mutex_unlock(&seen->mutex);
}

static void raw_seen(void *user_data, skep_raw_stream *stream, skep_view data)
{
    (void)stream;
    note_bytes(user_data, data);
}

static void raw_closed(void *user_data, skep_raw_stream *stream, int rc)
{
    (void)stream;
    note_close(user_data, rc, "");
}

static void raw_echo(void *user_data, skep_raw_stream *stream, skep_view data)
{
    (void)user_data;
    assert_int_equal(skep_raw_stream_write(stream, data), 0);
}

static void raw_echo_end(void *user_data, skep_raw_stream *stream)
{
    (void)user_data;
    assert_int_equal(skep_raw_stream_write(stream, view_of(" and over")),
                     0); /* half-closed: we still may */
    assert_int_equal(skep_raw_stream_end(stream), 0);
}

static void raw_echo_close(void *user_data, skep_raw_stream *stream, int rc)
{
    (void)user_data;
    (void)rc;
    skep_raw_stream_free(stream);
}

static void on_raw_echo(void *user_data, skep_raw_stream *stream)
{
    const skep_raw_stream_events events = {
        .on_data = raw_echo, .on_end = raw_echo_end, .on_close = raw_echo_close};

    skep_raw_stream_use(stream, &events, user_data);
}

static void on_raw_reset(void *user_data, skep_raw_stream *stream)
{
    (void)user_data;
    skep_raw_stream_reset(stream);
    skep_raw_stream_free(stream);
}

static void on_raw_ignored(void *user_data, skep_raw_stream *stream)
{
    (void)user_data;
    skep_raw_stream_free(stream);
}

static const skep_raw_stream_events raw_events = {.on_data = raw_seen, .on_close = raw_closed};

static void raw_streams_carry_bytes_half_close_and_reset(void **state)
{
    skep_node *a = node_on_thread(NULL), *b = node_on_thread(NULL);
    skep_peer peer = peer_of(b);
    skep_raw_stream *stream;
    struct seen seen;

    (void)state;
    connect_nodes(a, b);
    assert_int_equal(skep_p2p_serve_protocol(b, "/test/echo", on_raw_echo, NULL), 0);
    assert_int_equal(skep_p2p_serve_protocol(b, "/test/reset", on_raw_reset, NULL), 0);
    assert_int_equal(skep_p2p_serve_protocol(b, "/test/ignored", on_raw_ignored, NULL), 0);

    seen_init(&seen);
    assert_int_equal(skep_p2p_open(&stream, a, &peer, "/test/echo", &raw_events, &seen), 0);
    assert_int_equal(skep_raw_stream_write(stream, view_of("there")), 0);
    assert_int_equal(skep_raw_stream_end(stream), 0);
    wait_closed(&seen);
    assert_int_equal(seen.rc, 0);
    assert_string_equal(seen.text, "there and over");
    assert_int_equal(skep_raw_stream_write(stream, view_of("x")), SKEP_ECLOSED);
    skep_raw_stream_free(stream);

    seen_init(&seen);
    assert_int_equal(skep_p2p_open(&stream, a, &peer, "/test/reset", &raw_events, &seen), 0);
    wait_closed(&seen);
    assert_int_equal(seen.rc, SKEP_EPEER_RESET);
    skep_raw_stream_free(stream);

    seen_init(&seen);
    assert_int_equal(skep_p2p_open(&stream, a, &peer, "/test/none", &raw_events, &seen), 0);
    wait_closed(&seen);
    assert_int_equal(seen.rc, SKEP_EPEER_UNSUPPORTED);
    skep_raw_stream_free(stream);

    seen_init(&seen);
    assert_int_equal(skep_p2p_open(&stream, a, &peer, "/test/echo", &raw_events, &seen), 0);
    assert_int_equal(skep_raw_stream_reset(stream), 0);
    wait_closed(&seen);
    assert_int_equal(seen.rc, SKEP_ECANCELED);
    skep_raw_stream_free(stream);

    seen_init(&seen);
    assert_int_equal(skep_p2p_open(&stream, a, &peer, "/test/ignored", &raw_events, &seen), 0);
    skep_raw_stream_free(stream); /* and still one on_close */
    wait_closed(&seen);
    assert_int_equal(seen.closes, 1);

    assert_int_equal(skep_p2p_unserve_protocol(b, "/test/echo"), 0);
    skep_node_free(a);
    skep_node_free(b);
}

static void a_stream_writes_much_more_than_a_window(void **state)
{
    enum { PIECE = 64 << 10, PIECES = 128 };
    skep_node *a = node_on_thread(NULL), *b = node_on_thread(NULL);
    skep_peer peer = peer_of(b);
    uint8_t *piece = calloc(1, PIECE);
    skep_raw_stream *stream;
    struct seen seen;

    (void)state;
    connect_nodes(a, b);
    assert_int_equal(skep_p2p_serve_protocol(b, "/test/echo", on_raw_echo, NULL), 0);
    seen_init(&seen);
    assert_int_equal(skep_p2p_open(&stream, a, &peer, "/test/echo", &raw_events, &seen), 0);
    for (int i = 0; i < PIECES; i++) {
        while (skep_raw_stream_backlog(stream) > 1 << 20)
            usleep(500);
        assert_int_equal(skep_raw_stream_write(stream, (skep_view){piece, PIECE}), 0);
    }
    assert_int_equal(skep_raw_stream_end(stream), 0);
    wait_closed(&seen);
    assert_int_equal(seen.bytes, (size_t)PIECE * PIECES + strlen(" and over"));
    skep_raw_stream_free(stream);
    skep_node_free(a);
    skep_node_free(b);
    free(piece);
}

static void call_seen(void *user_data, skep_call_stream *stream, skep_view message)
{
    (void)stream;
    note_bytes(user_data, message);
}

static void call_closed(void *user_data, skep_call_stream *stream, int rc, const char *text)
{
    (void)stream;
    note_close(user_data, rc, text);
}

static void call_echo(void *user_data, skep_call_stream *stream, skep_view message)
{
    (void)user_data;
    if (view_is(message, "bad"))
        assert_int_equal(skep_call_stream_fail(stream, "ValueError('bad')"), 0);
    else
        assert_int_equal(skep_call_stream_send(stream, message), 0);
}

static void call_echo_end(void *user_data, skep_call_stream *stream)
{
    (void)user_data;
    assert_int_equal(skep_call_stream_end(stream), 0);
}

static void call_echo_close(void *user_data, skep_call_stream *stream, int rc, const char *text)
{
    (void)text;
    if (user_data)
        note_close(user_data, rc, text);
    skep_call_stream_free(stream);
}

static void on_call_echo(void *user_data, skep_call_stream *stream)
{
    const skep_call_stream_events events = {
        .on_message = call_echo, .on_end = call_echo_end, .on_close = call_echo_close};

    skep_call_stream_use(stream, &events, user_data);
}

static const skep_call_stream_events call_events = {.on_message = call_seen,
                                                    .on_close = call_closed};

static void streaming_calls_carry_messages_and_errors(void **state)
{
    skep_node *a = node_on_thread(NULL), *b = node_on_thread(NULL);
    skep_peer peer = peer_of(b);
    skep_call_stream *stream;
    struct seen seen, served;

    (void)state;
    connect_nodes(a, b);
    seen_init(&served);
    assert_int_equal(skep_p2p_serve_stream(b, "C.stream", on_call_echo, &served), 0);

    seen_init(&seen);
    assert_int_equal(skep_p2p_call_stream(&stream, a, &peer, "C.stream", &call_events, &seen), 0);
    assert_int_equal(skep_call_stream_send(stream, view_of("one")), 0);
    assert_int_equal(skep_call_stream_send(stream, view_of("two")), 0);
    assert_int_equal(skep_call_stream_end(stream), 0);
    wait_closed(&seen);
    wait_closed(&served);
    assert_int_equal(seen.rc, 0);
    assert_int_equal(seen.messages, 2);
    assert_string_equal(seen.text, "onetwo");
    assert_int_equal(served.rc, 0);
    skep_call_stream_free(stream);

    seen_init(&seen);
    seen_init(&served);
    assert_int_equal(skep_p2p_call_stream(&stream, a, &peer, "C.stream", &call_events, &seen), 0);
    assert_int_equal(skep_call_stream_send(stream, view_of("bad")), 0);
    wait_closed(&seen);
    assert_int_equal(seen.rc, SKEP_EPEER_REMOTE);
    assert_string_equal(seen.error, "ValueError('bad')");
    skep_call_stream_free(stream);
    wait_closed(&served);

    seen_init(&seen);
    seen_init(&served);
    assert_int_equal(skep_p2p_call_stream(&stream, a, &peer, "C.stream", &call_events, &seen), 0);
    assert_int_equal(skep_call_stream_send(stream, view_of("one")), 0);
    while (skep_call_stream_backlog(stream) > 0)
        usleep(500);
    usleep(50000);
    assert_int_equal(skep_call_stream_cancel(stream), 0);
    wait_closed(&seen);
    wait_closed(&served);
    assert_int_equal(seen.rc, SKEP_ECANCELED);
    assert_int_equal(served.rc, SKEP_ECANCELED);
    skep_call_stream_free(stream);
    skep_node_free(a);
    skep_node_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peers_are_dialled_pinged_and_described),
        cmocka_unit_test(a_peer_is_found_by_its_id_alone),
        cmocka_unit_test(waiting_for_peers_ends_when_they_are_there),
        cmocka_unit_test(announced_addresses_stand_instead_of_those_listened_on),
        cmocka_unit_test(a_dial_that_is_refused_says_so),
        cmocka_unit_test(calls_get_answers_and_errors_with_their_text),
        cmocka_unit_test(many_threads_call_and_another_answers),
        cmocka_unit_test(a_request_outlives_its_caller_and_its_node),
        cmocka_unit_test(raw_streams_carry_bytes_half_close_and_reset),
        cmocka_unit_test(a_stream_writes_much_more_than_a_window),
        cmocka_unit_test(streaming_calls_carry_messages_and_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
