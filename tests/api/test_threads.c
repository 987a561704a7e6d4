/* SPDX-License-Identifier: MIT */
/* Many threads on one node: callbacks exactly once, cancels and closes that race with ends, nothing left behind. Meant to run under
 * ThreadSanitizer as well as AddressSanitizer. */
#include "api/api_test.h"

enum { THREADS = 4, ROUNDS = 60 };

struct tally {
    skep_node *node;
    skep_peer far;
    atomic_uint begun, called_back, ended, canceled, strange;
    unsigned seed;
};

static void on_end(skep_op *op, void *user_data)
{
    struct tally *tally = user_data;
    int rc = skep_op_poll(op);

    atomic_fetch_add(&tally->called_back, 1);
    if (rc == 0)
        atomic_fetch_add(&tally->ended, 1);
    else if (rc == SKEP_ECANCELED)
        atomic_fetch_add(&tally->canceled, 1);
    else if (rc == 1)
        atomic_fetch_add(&tally->strange, 1);
}

static void echo(void *user_data, skep_request *request)
{
    (void)user_data;
    skep_request_reply(request, skep_request_data(request));
}

static int begin_something(struct tally *tally, unsigned kind, skep_op **op)
{
    const char *uid = "ffn.1.2";
    skep_key key = skep_key_text("race");
    const skep_record record = {
        .key = key, .value = view_of("\x05"), .expiration_unix_s = skep_dht_time() + 30};
    static const size_t grid[] = {4, 4};
    static const float scores[4];
    const void *rows[] = {scores, scores};
    skep_find_options find;

    switch (kind % 8) {
    case 0:
        return skep_p2p_call(op, tally->node, &tally->far, "C.echo", view_of("hello"), SKEP_FOREVER,
                             on_end, tally);
    case 1: return skep_dht_get(op, tally->node, &key, 1, NULL, on_end, tally);
    case 2: return skep_dht_store(op, tally->node, &record, 1, NULL, on_end, tally);
    case 3: return skep_moe_declare(op, tally->node, &uid, 1, NULL, on_end, tally);
    case 4: return skep_p2p_ping(op, tally->node, &tally->far, 0, on_end, tally);
    case 5:
        return skep_p2p_wait_for_peers(op, tally->node, 100, SKEP_FOREVER, on_end,
                                       tally); /* until it is cancelled */
    case 6: return skep_p2p_identify(op, tally->node, &tally->far, 0, on_end, tally);
    default:
        skep_find_options_init(&find);
        find.prefix = "ffn.";
        find.grid_size = grid;
        find.dimensions = 2;
        find.scores = rows;
        return skep_moe_find(op, tally->node, &find, on_end, tally);
    }
}

static void *work(void *arg)
{
    struct tally *tally = arg;
    unsigned seed = __atomic_fetch_add(&tally->seed, 7919, __ATOMIC_RELAXED);

    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned kind = i % 8, way = (i + seed) % 3;
        skep_op *op;

        if (begin_something(tally, kind, &op) != 0) {
            atomic_fetch_add(&tally->strange, 1);
            continue;
        }
        atomic_fetch_add(&tally->begun, 1);
        if (way == 0 || kind == 5)
            skep_op_cancel(op); /* races with its end */
        if (way != 1)
            (void)skep_op_wait(op);
        if (way == 2)
            skep_op_cancel(op); /* after its end: harmless */
        skep_op_free(op);       /* way 1: while it runs */
    }
    return NULL;
}

static skep_node *far_node(char ***addresses)
{
    skep_node *far = node_on_thread(NULL);

    *addresses = addresses_of(far);
    assert_int_equal(skep_p2p_serve(far, "C.echo", echo, NULL), 0);
    return far;
}

static void every_operation_calls_back_once_whoever_ends_it(void **state)
{
    char **addresses;
    skep_node *far = far_node(&addresses);
    struct tally tally = {.node = node_on_thread(addresses[0]), .far = peer_of(far), .seed = 1};
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &tally), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    skep_node_free(tally.node); /* with some still running */
    assert_int_equal(atomic_load(&tally.begun), THREADS * ROUNDS);
    assert_int_equal(atomic_load(&tally.called_back), THREADS * ROUNDS);
    assert_int_equal(atomic_load(&tally.strange), 0);
    assert_true(atomic_load(&tally.ended) > 0);
    skep_node_free(far);
    skep_free(addresses);
}

static void closing_with_everything_in_flight_ends_it_all(void **state)
{
    enum { OPERATIONS = 200 };

    (void)state;
    for (int round = 0; round < 5; round++) {
        char **addresses;
        skep_node *far = far_node(&addresses);
        struct tally tally = {.node = node_on_thread(addresses[0]), .far = peer_of(far)};
        skep_op *ops[OPERATIONS];

        for (unsigned i = 0; i < OPERATIONS; i++)
            assert_int_equal(begin_something(&tally, i, &ops[i]), 0);
        usleep((unsigned)round * 500);
        assert_int_equal(skep_node_free(tally.node), 0);
        assert_int_equal(atomic_load(&tally.called_back), OPERATIONS);
        for (unsigned i = 0; i < OPERATIONS; i++) {
            assert_true(skep_op_poll(ops[i]) != 1);
            skep_op_cancel(ops[i]); /* still legal */
            assert_int_equal(skep_op_wait(ops[i]), skep_op_poll(ops[i]));
            skep_op_free(ops[i]);
        }
        skep_node_free(far);
        skep_free(addresses);
    }
}

/* ---- waiting while another closes ---- */

static void *wait_for_it(void *arg)
{
    return (void *)(intptr_t)skep_op_wait(arg);
}

static void waiters_wake_when_the_node_closes(void **state)
{
    skep_node *node = node_on_thread(NULL);
    pthread_t threads[THREADS];
    skep_op *op;

    (void)state;
    assert_int_equal(skep_p2p_wait_for_peers(&op, node, 5, SKEP_FOREVER, NULL, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for_it, op), 0);
    assert_int_equal(skep_op_wait_for(op, 1000), 1);
    skep_node_free(node);
    for (int i = 0; i < THREADS; i++) {
        void *rc;

        pthread_join(threads[i], &rc);
        assert_int_equal((intptr_t)rc, SKEP_ECANCELED);
    }
    skep_op_free(op);
}

/* ---- callbacks that begin the next ---- */

struct chain {
    struct tally tally;
    atomic_int left;
    atomic_int done;
};

static void on_link(skep_op *op, void *user_data)
{
    struct chain *chain = user_data;

    (void)op;
    if (atomic_fetch_sub(&chain->left, 1) <= 1) {
        atomic_store(&chain->done, 1);
        return;
    }
    if (skep_p2p_call(NULL, chain->tally.node, &chain->tally.far, "C.echo", view_of("x"),
                      SKEP_FOREVER, on_link, chain) != 0)
        atomic_store(&chain->done, 2);
}

static void callbacks_may_begin_operations_without_handles(void **state)
{
    char **addresses;
    skep_node *far = far_node(&addresses);
    struct chain chain = {.tally = {.node = node_on_thread(addresses[0]), .far = peer_of(far)},
                          .left = 100};

    (void)state;
    assert_int_equal(skep_p2p_call(NULL, chain.tally.node, &chain.tally.far, "C.echo", view_of("x"),
                                   SKEP_FOREVER, on_link, &chain),
                     0);
    while (atomic_load(&chain.done) == 0)
        usleep(1000);
    assert_int_equal(atomic_load(&chain.done), 1);
    /* One that closing cuts: its callback may try to begin another and is refused. */
    atomic_store(&chain.left, 1000000);
    atomic_store(&chain.done, 0);
    assert_int_equal(skep_p2p_call(NULL, chain.tally.node, &chain.tally.far, "C.echo", view_of("x"),
                                   SKEP_FOREVER, on_link, &chain),
                     0);
    usleep(2000);
    skep_node_free(chain.tally.node);
    assert_int_equal(atomic_load(&chain.done), 2);
    skep_node_free(far);
    skep_free(addresses);
}

/* ---- streams from many threads ---- */

struct pipe_end {
    atomic_size_t bytes;
    atomic_int closes;
};

static void on_bytes(void *user_data, skep_raw_stream *stream, skep_view data)
{
    (void)stream;
    atomic_fetch_add(&((struct pipe_end *)user_data)->bytes, data.len);
}

static void on_close(void *user_data, skep_raw_stream *stream, int rc)
{
    (void)stream;
    (void)rc;
    atomic_fetch_add(&((struct pipe_end *)user_data)->closes, 1);
}

static void on_sink_close(void *user_data, skep_raw_stream *stream, int rc)
{
    on_close(user_data, stream, rc);
    skep_raw_stream_free(stream);
}

static void on_sink(void *user_data, skep_raw_stream *stream)
{
    const skep_raw_stream_events events = {.on_data = on_bytes, .on_close = on_sink_close};

    skep_raw_stream_use(stream, &events, user_data);
}

static void *write_much(void *arg)
{
    static const uint8_t piece[1000];

    for (int i = 0; i < 100; i++)
        (void)skep_raw_stream_write(arg, (skep_view){piece, sizeof piece});
    return NULL;
}

static void many_threads_write_to_one_stream(void **state)
{
    char **addresses;
    skep_node *far = far_node(&addresses), *node = node_on_thread(addresses[0]);
    const skep_raw_stream_events events = {.on_data = on_bytes, .on_close = on_close};
    struct pipe_end sink = {0}, source = {0};
    pthread_t threads[THREADS];
    skep_peer peer = peer_of(far);
    skep_raw_stream *stream, *left;

    (void)state;
    assert_int_equal(skep_p2p_serve_protocol(far, "/test/sink", on_sink, &sink), 0);
    assert_int_equal(skep_p2p_open(&stream, node, &peer, "/test/sink", &events, &source), 0);
    assert_int_equal(skep_p2p_open(&left, node, &peer, "/test/sink", &events, &source), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_much, stream), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    while (atomic_load(&sink.bytes) < THREADS * 100 * 1000)
        usleep(1000);
    skep_raw_stream_free(stream);
    skep_node_free(node); /* the other one is open still */
    assert_int_equal(atomic_load(&source.closes), 2);
    assert_int_equal(skep_raw_stream_write(left, view_of("x")), SKEP_ECLOSED);
    skep_raw_stream_free(left);
    skep_node_free(far);
    assert_int_equal(atomic_load(&sink.closes), 2);
    skep_free(addresses);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_calls_back_once_whoever_ends_it),
        cmocka_unit_test(closing_with_everything_in_flight_ends_it_all),
        cmocka_unit_test(waiters_wake_when_the_node_closes),
        cmocka_unit_test(callbacks_may_begin_operations_without_handles),
        cmocka_unit_test(many_threads_write_to_one_stream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
