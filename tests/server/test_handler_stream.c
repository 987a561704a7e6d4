/* SPDX-License-Identifier: MIT */
/* Streamed calls of an expert server: parts in, parts out, and the memory of many at once. */
#include <math.h>

#include "server/handler_world.h"

enum { ROWS = 2048, WIDE = 1024, MESSAGES_MAX = 8 };

static const char FORWARD[] = "ConnectionHandler.rpc_forward_stream",
                  BACKWARD[] = "ConnectionHandler.rpc_backward_stream";

/* A request in parts, as a caller writes it: many streams can send the same. */
struct parts {
    struct skep_buf messages[MESSAGES_MAX];
    size_t count;
};

static void parts_init(struct parts *parts, const char *uid, const skep_tensor *tensors,
                       skep_compression compression, size_t count)
{
    skep_compression compressions[2] = {compression, compression};
    struct skep_expert_writer writer;
    skep_bytes head, body;

    memset(parts, 0, sizeof *parts);
    skep_expert_writer_init(&writer, &skep_mem_std, SKEP_EXPERT_REQUEST, skep_bytes_str(uid),
                            tensors, compressions, count);
    while (skep_expert_writer_next(&writer, &head, &body) == 1) {
        struct skep_buf *message = &parts->messages[parts->count++];

        assert_true(parts->count <= MESSAGES_MAX);
        skep_buf_init(message, &skep_mem_std);
        skep_buf_put_bytes(message, head);
        skep_buf_put_bytes(message, body);
    }
    skep_expert_writer_fini(&writer);
}

static void parts_fini(struct parts *parts)
{
    for (size_t i = 0; i < parts->count; i++)
        skep_buf_fini(&parts->messages[i]);
}

/* 8 MiB of ones. */
static void parts_init_8_mib(struct parts *parts)
{
    skep_tensor x = handler_tensor(SKEP_FLOAT32, ROWS, WIDE, 1);

    parts_init(parts, "t.0", &x, SKEP_COMPRESSION_NONE, 1);
    assert_int_equal(parts->count, 2);
    handler_tensor_free(&x);
}

static void world_init(struct handler_world *world, size_t hidden, const char *options)
{
    handler_world_init(world, hidden, options);
    world->pool.max_batch_size = ROWS;
    assert_int_equal(handler_world_serve(world), 0);
}

static struct skep_rpc_stream *open_stream(struct handler_world *world, const char *method)
{
    struct skep_rpc_stream *stream = fake_stream_open(&world->rpc, method, &world->peer);

    assert_non_null(stream);
    return stream;
}

static void send_parts(struct skep_rpc_stream *stream, const struct parts *parts)
{
    for (size_t i = 0; i < parts->count; i++)
        fake_stream_send(stream, skep_buf_view(&parts->messages[i]), (skep_bytes){NULL, 0});
}

/* Everybody sends and reads what they can, in turn, until nothing moves. */
static void run(struct handler_world *world)
{
    bool moved;

    do {
        moved = false;
        SKEP_LIST_EACH(&world->rpc.streams, node, after)
        {
            struct skep_rpc_stream *stream = SKEP_LIST_ITEM(node, struct skep_rpc_stream, entry);

            moved = fake_stream_arrive(stream, SKEP_KIB(256)) > 0 || moved;
            moved = (stream->queued > 0 && !fake_stream_is_over(stream)) || moved;
            fake_stream_read(stream, SKEP_KIB(512));
        }
        handler_world_turn(world);
    } while (moved);
}

static void check_stream(const struct skep_rpc_stream *stream, size_t count, size_t rows,
                         size_t hidden, float value)
{
    struct skep_expert_reader reader;
    size_t at = 0;

    if (stream->finished != 1)
        fail_msg("not finished but: %s", stream->text);
    skep_expert_reader_init(&reader, &skep_mem_std, SKEP_EXPERT_RESPONSE, SKEP_EXPERT_BYTES_MAX);
    while (at < stream->out.len) {
        size_t len = (size_t)skep_get_be64(stream->out.data + at);

        assert_true(len <= SKEP_EXPERT_PART_LEN + 64);
        assert_int_equal(
            skep_expert_reader_add(&reader, skep_bytes_of(stream->out.data + at + 8, len)), 0);
        at += 8 + len;
    }
    assert_int_equal(skep_expert_reader_end(&reader), 0);
    assert_int_equal(reader.count, count);
    assert_int_equal(reader.tensors[0].shape[0], rows);
    for (size_t i = 0; i < rows * hidden; i++)
        assert_true(((const float *)reader.tensors[0].data)[i] == value);
    skep_expert_reader_fini(&reader);
}

static void check_refused(const struct skep_rpc_stream *stream, const char *text)
{
    assert_int_equal(stream->failed, 1);
    assert_string_equal(stream->text, text);
    assert_int_equal(stream->out_messages, 0);
}

/* ---- one stream ---- */

static void a_large_forward_goes_in_and_out_in_parts(void **state)
{
    struct handler_world world;
    struct skep_rpc_stream *stream;
    struct parts parts;

    (void)state;
    world_init(&world, WIDE, "cheap quiet");
    parts_init_8_mib(&parts);
    stream = open_stream(&world, FORWARD);
    send_parts(stream, &parts);
    fake_stream_end(stream);
    run(&world);
    check_stream(stream, 1, ROWS, WIDE, 2);
    assert_int_equal(stream->out_messages, 2);
    assert_int_equal(handler_world_stats(&world)->bytes, 0);
    assert_int_equal(handler_world_stats(&world)->forwards, 1);
    parts_fini(&parts);
    handler_world_fini(&world);
}

static void a_backward_has_its_gradients_behind_its_inputs(void **state)
{
    struct handler_world world;
    struct skep_rpc_stream *stream;
    struct parts parts;
    skep_tensor tensors[2] = {handler_tensor(SKEP_FLOAT64, 7, 4, 1),
                              handler_tensor(SKEP_FLOAT32, 7, 4, 3)};

    (void)state;
    for (unsigned c = 0; c < SKEP_COMPRESSION_BLOCKWISE_8BIT; c++) {
        world_init(&world, 4, "");
        parts_init(&parts, "t.1", tensors, (skep_compression)c, 2);
        stream = open_stream(&world, BACKWARD);
        send_parts(stream, &parts);
        fake_stream_end(stream);
        run(&world);
        check_stream(stream, 1, 7, 4, 6);
        parts_fini(&parts);
        handler_world_fini(&world);
    }
    for (size_t i = 0; i < 2; i++)
        handler_tensor_free(&tensors[i]);
}

static void a_request_is_refused_as_soon_as_it_is_wrong(void **state)
{
    static const struct {
        const char *method, *uid;
        skep_dtype dtype;
        size_t rows, hidden, tensors;
        const char *text;
    } cases[] = {
        {FORWARD, "t.9", SKEP_FLOAT32, 4, WIDE, 1, "'t.9'"},
        {FORWARD, "t.0", SKEP_INT32, 4, WIDE, 1, "input 0 is of type int32, and it takes float32"},
        {FORWARD, "t.0", SKEP_FLOAT32, 4, 3, 1,
         "input 0 has shape (4, 3), and it takes (batch, 1024)"},
        {FORWARD, "t.0", SKEP_FLOAT32, 0, WIDE, 1, "input 0 is an empty batch"},
        {FORWARD, "t.0", SKEP_FLOAT32, ROWS + 1, WIDE, 1,
         "Task size greater than max_batch_size (2048), it can't be processed"},
        {FORWARD, "t.0", SKEP_FLOAT32, 1, WIDE, 2, "2 tensors were sent, and it takes 1 inputs"},
    };
    struct handler_world world;

    (void)state;
    world_init(&world, WIDE, "cheap");
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        skep_tensor tensors[2];
        struct skep_rpc_stream *stream;
        struct parts parts;

        for (size_t k = 0; k < 2; k++)
            tensors[k] = handler_tensor(cases[i].dtype, cases[i].rows, cases[i].hidden, 1);
        parts_init(&parts, cases[i].uid, tensors, SKEP_COMPRESSION_NONE, cases[i].tensors);
        stream = open_stream(&world, cases[i].method);
        send_parts(stream, &parts);
        run(&world); /* and its end need not come */
        check_refused(stream, cases[i].text);
        for (size_t k = 0; k < 2; k++)
            handler_tensor_free(&tensors[k]);
        parts_fini(&parts);
    }
    assert_int_equal(handler_world_stats(&world)->refused, SKEP_COUNT_OF(cases));
    assert_int_equal(handler_world_stats(&world)->bytes, 0);
    handler_world_fini(&world);
}

static void what_is_wrong_at_the_end_is_said_at_the_end(void **state)
{
    struct handler_world world;
    struct skep_rpc_stream *stream;
    struct parts parts;
    float numbers[4] = {1, 2, NAN, 4};
    skep_tensor x = {.dtype = SKEP_FLOAT32, .axes = 2, .shape = {1, 4}, .data = numbers};

    (void)state;
    world_init(&world, 4, "cheap");
    stream = open_stream(&world, FORWARD);
    fake_stream_end(stream);
    run(&world);
    check_refused(stream, "None"); /* as hivemind's */
    parts_init(&parts, "t.0", &x, SKEP_COMPRESSION_NONE, 1);
    stream = open_stream(&world, BACKWARD);
    send_parts(stream, &parts);
    fake_stream_end(stream);
    run(&world);
    check_refused(stream, "1 tensors were sent, and it takes 1 inputs and 1 gradients");
    stream = open_stream(&world, FORWARD);
    send_parts(stream, &parts);
    fake_stream_end(stream);
    run(&world);
    check_refused(stream, "input 0 has nan or infinite values");
    assert_int_equal(handler_world_stats(&world)->refused_non_finite, 1);
    parts_fini(&parts);
    handler_world_fini(&world);
}

static void a_message_above_its_bound_is_refused(void **state)
{
    struct handler_world world;
    struct skep_rpc_stream *stream;
    char *huge = calloc(1, SKEP_EXPERT_MESSAGE_MAX + 1);

    (void)state;
    assert_non_null(huge);
    world_init(&world, 4, "cheap");
    stream = open_stream(&world, FORWARD);
    fake_stream_send(stream, skep_bytes_of(huge, SKEP_EXPERT_MESSAGE_MAX + 1),
                     (skep_bytes){NULL, 0});
    run(&world);
    check_refused(stream, "a message of a stream has at most 4259840 bytes");
    free(huge);
    handler_world_fini(&world);
}

static void a_request_larger_than_could_ever_fit_is_refused(void **state)
{
    struct handler_world world;
    struct skep_rpc_stream *stream;
    struct parts parts;
    skep_tensor x = handler_tensor(SKEP_FLOAT32, 1025, 4, 1);

    (void)state;
    world_init(&world, 4, "cheap wide"); /* 16 KiB a row of the answer */
    parts_init(&parts, "t.0", &x, SKEP_COMPRESSION_NONE, 1);
    stream = open_stream(&world, FORWARD);
    send_parts(stream, &parts);
    run(&world);
    assert_int_equal(stream->failed, 0); /* 16 MiB of the 32 that one may have */
    fake_stream_leave(stream);
    handler_tensor_free(&x);
    parts_fini(&parts);
    x = handler_tensor(SKEP_FLOAT32, 2048, 4, 1);
    parts_init(&parts, "t.0", &x, SKEP_COMPRESSION_NONE, 1);
    stream = open_stream(&world, FORWARD);
    send_parts(stream, &parts);
    run(&world);
    assert_int_equal(stream->failed, 1);
    assert_non_null(strstr(stream->text, "bytes and this server has at most 33554432 for one"));
    handler_tensor_free(&x);
    parts_fini(&parts);
    handler_world_fini(&world);
}

static void an_answer_is_written_while_little_of_it_is_unread(void **state)
{
    struct handler_world world;
    struct skep_rpc_stream *stream;
    struct parts parts;
    size_t most = 0;

    (void)state;
    world_init(&world, WIDE, "cheap quiet");
    parts_init_8_mib(&parts);
    stream = open_stream(&world, FORWARD);
    send_parts(stream, &parts);
    fake_stream_end(stream);
    while (fake_stream_arrive(stream, SIZE_MAX) > 0)
        handler_world_turn(&world);
    handler_world_turn(&world);
    while (!fake_stream_is_over(stream)) {
        most = SKEP_MAX(most, stream->queued);
        fake_stream_read(stream, SKEP_KIB(60));
    }
    assert_true(most <= SKEP_MIB(1) + SKEP_EXPERT_PART_LEN + 64);
    assert_true(stream->queued < SKEP_KIB(64)); /* its memory was the request's until then */
    check_stream(stream, 1, ROWS, WIDE, 2);
    parts_fini(&parts);
    handler_world_fini(&world);
}

static void an_answer_that_cannot_be_sent_ends_in_a_reset(void **state)
{
    struct handler_world world;
    struct skep_rpc_stream *stream;
    struct parts parts;

    (void)state;
    world_init(&world, WIDE, "cheap quiet");
    parts_init_8_mib(&parts);
    world.rpc.send_fails = SKEP_ENOMEM;
    stream = open_stream(&world, FORWARD);
    send_parts(stream, &parts);
    fake_stream_end(stream);
    run(&world);
    assert_int_equal(stream->canceled, 1);
    assert_int_equal(handler_world_stats(&world)->bytes, 0);
    parts_fini(&parts);
    handler_world_fini(&world);
}

/* ---- many ---- */

static void sixty_four_streams_of_8_mib_stay_within_64_and_all_are_answered(void **state)
{
    struct handler_world world;
    struct skep_rpc_stream *streams[64];
    struct parts parts;

    (void)state;
    world_init(&world, WIDE, "cheap quiet");
    parts_init_8_mib(&parts);
    world.most_bytes = 0;
    for (size_t i = 0; i < 64; i++) {
        streams[i] = open_stream(&world, FORWARD);
        streams[i]->forget_out = true;
        send_parts(streams[i], &parts);
        fake_stream_end(streams[i]);
    }
    assert_true(handler_world_stats(&world)->waiting_streams > 50);
    run(&world);
    for (size_t i = 0; i < 64; i++) {
        if (streams[i]->finished != 1)
            fail_msg("stream %zu: %s", i, streams[i]->text);
        assert_int_equal(streams[i]->out_messages, 2);
    }
    print_message("most claimed: %zu KiB, most allocated: %zu KiB\n",
                  handler_world_stats(&world)->bytes_most >> 10, world.most_bytes >> 10);
    assert_true(handler_world_stats(&world)->bytes_most <= SKEP_MIB(64));
    assert_true(world.most_bytes <= SKEP_MIB(64) + SKEP_MIB(1)); /* and what is not of requests */
    assert_int_equal(handler_world_stats(&world)->bytes, 0);
    assert_int_equal(handler_world_stats(&world)->waiting_streams, 0);
    parts_fini(&parts);
    handler_world_fini(&world);
}

/* Sizes, speeds, faults and departures drawn from a seed: within the memory, everybody is answered or gone. */
static void any_mix_of_streams_gets_through(void **state)
{
    struct parts parts[4];
    skep_tensor tensors[4] = {
        handler_tensor(SKEP_FLOAT32, 1, WIDE, 1), handler_tensor(SKEP_FLOAT32, 300, WIDE, 1),
        handler_tensor(SKEP_FLOAT64, 1000, WIDE, 1), handler_tensor(SKEP_FLOAT32, 2048, WIDE, 1)};

    (void)state;
    parts_init(&parts[0], "t.0", &tensors[0], SKEP_COMPRESSION_NONE, 1);
    parts_init(&parts[1], "t.0", &tensors[1], SKEP_COMPRESSION_NONE, 1);
    parts_init(&parts[2], "t.1", &tensors[2], SKEP_COMPRESSION_FLOAT16, 1);
    parts_init(&parts[3], "t.1", &tensors[3], SKEP_COMPRESSION_NONE, 1);
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(3); seed++) {
        struct handler_world world;
        struct skep_rpc_stream *streams[40];
        struct skep_prng prng;
        size_t answered = 0;

        skep_prng_init(&prng, seed);
        world_init(&world, WIDE, skep_prng_below(&prng, 2) == 0 ? "cheap quiet" : "quiet");
        world.most_bytes = 0;
        for (size_t i = 0; i < SKEP_COUNT_OF(streams); i++) {
            const struct parts *mine = &parts[skep_prng_below(&prng, 4)];

            streams[i] = open_stream(&world, FORWARD);
            streams[i]->forget_out = true;
            send_parts(streams[i], mine);
            if (skep_prng_below(&prng, 8) > 0)
                fake_stream_end(streams[i]);
        }
        for (size_t steps = 0; steps < 4000; steps++) {
            struct skep_rpc_stream *stream = streams[skep_prng_below(&prng, 40)];

            fake_stream_arrive(stream, (size_t)skep_prng_below(&prng, SKEP_MIB(2)));
            fake_stream_read(stream, (size_t)skep_prng_below(&prng, SKEP_MIB(2)));
            if (skep_prng_below(&prng, 500) == 0)
                fake_stream_leave(stream);
            if (skep_prng_below(&prng, 3) == 0)
                handler_world_turn(&world);
        }
        for (size_t i = 0; i < 40; i++) { /* those that stopped half-way are dropped */
            run(&world);
            test_env_advance(&world.env, SKEP_EXPERT_STREAM_IDLE_US);
        }
        for (size_t i = 0; i < SKEP_COUNT_OF(streams); i++) {
            assert_true(fake_stream_is_over(streams[i]));
            answered += (size_t)streams[i]->finished;
        }
        assert_true(answered >= 20);
        assert_true(handler_world_stats(&world)->bytes_most <= SKEP_MIB(64));
        assert_true(world.most_bytes <= SKEP_MIB(65));
        assert_int_equal(handler_world_stats(&world)->bytes, 0);
        handler_world_fini(&world);
    }
    for (size_t i = 0; i < 4; i++) {
        parts_fini(&parts[i]);
        handler_tensor_free(&tensors[i]);
    }
}

static void who_stops_half_way_is_dropped_and_holds_nobody_for_ever(void **state)
{
    struct handler_world world;
    struct skep_rpc_stream *stopped[8], *good;
    struct parts parts;

    (void)state;
    world_init(&world, WIDE, "cheap quiet");
    parts_init_8_mib(&parts);
    for (size_t i = 0; i < 8; i++) {
        stopped[i] = open_stream(&world, FORWARD);
        fake_stream_send(stopped[i], skep_buf_view(&parts.messages[0]), (skep_bytes){NULL, 0});
    }
    good = open_stream(&world, FORWARD);
    send_parts(good, &parts);
    fake_stream_end(good);
    run(&world);
    assert_false(fake_stream_is_over(good));
    for (int i = 0; i < 8; i++) {
        test_env_advance(&world.env, SKEP_EXPERT_STREAM_IDLE_US);
        run(&world);
    }
    for (size_t i = 0; i < 8; i++)
        check_refused(stopped[i], "the request did not go on for 60 s");
    check_stream(good, 1, ROWS, WIDE, 2);
    parts_fini(&parts);
    handler_world_fini(&world);
}

static void who_does_not_read_its_answer_is_dropped(void **state)
{
    struct handler_world world;
    struct skep_rpc_stream *stream;
    struct parts parts;

    (void)state;
    world_init(&world, WIDE, "cheap quiet");
    parts_init_8_mib(&parts);
    stream = open_stream(&world, FORWARD);
    send_parts(stream, &parts);
    fake_stream_end(stream);
    while (fake_stream_arrive(stream, SIZE_MAX) > 0)
        handler_world_turn(&world);
    test_env_advance(&world.env, SKEP_EXPERT_STREAM_IDLE_US - 1);
    fake_stream_read(stream, 100000); /* slowly is fine */
    test_env_advance(&world.env, SKEP_EXPERT_STREAM_IDLE_US);
    assert_false(fake_stream_is_over(stream));
    test_env_advance(&world.env, SKEP_EXPERT_STREAM_IDLE_US);
    assert_int_equal(stream->canceled, 1);
    assert_int_equal(handler_world_stats(&world)->bytes, 0);
    parts_fini(&parts);
    handler_world_fini(&world);
}

static void a_message_now_and_then_is_no_progress(void **state)
{
    struct handler_world world;
    struct skep_rpc_stream *stream;
    struct skep_buf uid;

    (void)state;
    world_init(&world, 4, "cheap");
    skep_buf_init(&uid, &skep_mem_std);
    skep_expert_uid_write(&uid, skep_bytes_str("t.0"));
    stream = open_stream(&world, FORWARD);
    for (int i = 0; i < 6; i++) {
        fake_stream_send(stream, skep_buf_view(&uid), (skep_bytes){NULL, 0});
        fake_stream_arrive(stream, SIZE_MAX);
        test_env_advance(&world.env, SKEP_EXPERT_STREAM_IDLE_US / 6 + 1);
    }
    check_refused(stream, "the request did not go on for 60 s");
    skep_buf_fini(&uid);
    handler_world_fini(&world);
}

static void one_stream_more_than_may_wait_is_refused(void **state)
{
    struct handler_world world;
    struct skep_rpc_stream *stream = NULL;

    (void)state;
    world_init(&world, 4, "cheap");
    while (handler_world_stats(&world)->waiting_streams < SKEP_EXPERT_STREAMS_WAITING_MAX) {
        stream = open_stream(&world, FORWARD);
        assert_false(fake_stream_is_over(stream));
    }
    fake_stream_leave(stream);
    open_stream(&world, FORWARD);
    stream = open_stream(&world, FORWARD);
    check_refused(stream, "too many requests wait for memory");
    handler_world_fini(&world);
}

static void small_messages_of_those_that_wait_are_within_the_memory_too(void **state)
{
    struct handler_world world;
    struct skep_rpc_stream *stream;
    char *junk = calloc(1, SKEP_KIB(128));
    size_t refused = 0;

    (void)state;
    assert_non_null(junk);
    world_init(&world, 4, "cheap");
    for (size_t i = 0; i < 512; i++) {
        stream = open_stream(&world, FORWARD);
        fake_stream_send(stream, skep_bytes_of(junk, SKEP_KIB(128)), (skep_bytes){NULL, 0});
        fake_stream_send(stream, skep_bytes_of(junk, SKEP_KIB(128)), (skep_bytes){NULL, 0});
        if (i > 4) /* the first few are let in, and have sent nothing */
            fake_stream_arrive(stream, SIZE_MAX);
        refused += (size_t)stream->failed;
    }
    assert_true(refused > 200);
    assert_true(world.most_bytes <
                SKEP_MIB(64) + SKEP_MIB(4)); /* with the 512 requests themselves */
    free(junk);
    handler_world_fini(&world);
}

/* ---- callers that leave, servers that end ---- */

static void who_leaves_at_any_moment_leaves_nothing_behind(void **state)
{
    struct parts parts;

    (void)state;
    parts_init_8_mib(&parts);
    for (size_t steps = 0; steps < 60; steps++) {
        struct handler_world world;
        struct skep_rpc_stream *stream;

        world_init(&world, WIDE, steps % 2 == 0 ? "cheap quiet" : "cheap delay quiet");
        stream = open_stream(&world, FORWARD);
        stream->forget_out = true;
        send_parts(stream, &parts);
        fake_stream_end(stream);
        for (size_t i = 0; i < steps; i++) {
            fake_stream_arrive(stream, SKEP_KIB(256));
            fake_stream_read(stream, SKEP_KIB(512));
            handler_world_turn(&world);
        }
        fake_stream_leave(stream);
        test_env_advance(&world.env, 600000);
        assert_int_equal(handler_world_stats(&world)->bytes, 0);
        assert_int_equal(handler_world_stats(&world)->in_progress, 0);
        handler_world_fini(&world);
    }
    parts_fini(&parts);
}

static void on_drained(void *user)
{
    ((struct handler_world *)user)->drained++;
}

static void streams_in_progress_are_answered_before_the_end_and_new_ones_refused(void **state)
{
    struct handler_world world;
    struct skep_rpc_stream *streams[8], *late;
    struct parts parts;

    (void)state;
    world_init(&world, WIDE, "cheap quiet");
    parts_init_8_mib(&parts);
    for (size_t i = 0; i < 8; i++) {
        streams[i] = open_stream(&world, FORWARD);
        send_parts(streams[i], &parts);
        fake_stream_end(streams[i]);
    }
    skep_handler_drain(world.handler, on_drained, &world);
    late = open_stream(&world, FORWARD);
    check_refused(late, "the server is being shut down");
    run(&world);
    for (size_t i = 0; i < 8; i++)
        check_stream(streams[i], 1, ROWS, WIDE, 2);
    assert_int_equal(world.drained, 1);
    parts_fini(&parts);
    handler_world_fini(&world);
}

static void a_handler_that_goes_ends_streams_in_every_state(void **state)
{
    struct handler_world world;
    struct skep_rpc_stream *streams[8];
    struct parts parts;

    (void)state;
    parts_init_8_mib(&parts);
    for (size_t steps = 0; steps < 40; steps += 3) {
        world_init(&world, WIDE, "cheap delay quiet");
        for (size_t i = 0; i < 8; i++) {
            streams[i] = open_stream(&world, FORWARD);
            streams[i]->forget_out = true;
            send_parts(streams[i], &parts);
            fake_stream_end(streams[i]);
        }
        for (size_t i = 0; i < steps; i++) {
            fake_stream_arrive(streams[i % 3], SKEP_MIB(1));
            handler_world_turn(&world);
        }
        skep_handler_free(world.handler);
        world.handler = NULL;
        for (size_t i = 0; i < 8; i++)
            assert_true(fake_stream_is_over(streams[i]));
        test_env_advance(&world.env, 600000);
        handler_world_fini(&world);
    }
    parts_fini(&parts);
}

static void every_allocation_of_a_stream_may_fail(void **state)
{
    skep_tensor tensors[2] = {handler_tensor(SKEP_FLOAT64, 3, 4, 1),
                              handler_tensor(SKEP_FLOAT32, 3, 4, 1)};
    struct parts parts;

    (void)state;
    parts_init(&parts, "t.0", tensors, SKEP_COMPRESSION_FLOAT16, 2);
    for (size_t n = 1;; n++) {
        struct handler_world world;
        struct skep_rpc_stream *streams[8];
        bool failed;

        handler_world_init(&world, 4, "");
        world.options.compression = SKEP_COMPRESSION_UNIFORM_8BIT;
        world.options.memory_bytes = SKEP_MIB(32); /* so that some wait */
        assert_int_equal(handler_world_serve(&world), 0);
        world.env.mem.fail_at = n;
        for (size_t i = 0; i < 8; i++) {
            streams[i] = open_stream(&world, BACKWARD);
            if (fake_stream_is_over(streams[i]))
                continue;
            send_parts(streams[i], &parts);
            fake_stream_end(streams[i]);
        }
        run(&world);
        failed = world.env.mem.fail_at == 0;
        world.env.mem.fail_at = 0;
        for (size_t i = 0; i < 8; i++) {
            assert_true(fake_stream_is_over(streams[i]));
            assert_true(failed || streams[i]->finished == 1);
            if (streams[i]->failed)
                assert_string_equal(streams[i]->text, "out of memory");
        }
        assert_int_equal(handler_world_stats(&world)->bytes, 0);
        handler_world_fini(&world);
        if (!failed)
            break;
        assert_true(n < 1000);
    }
    parts_fini(&parts);
    for (size_t i = 0; i < 2; i++)
        handler_tensor_free(&tensors[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_forward_goes_in_and_out_in_parts),
        cmocka_unit_test(a_backward_has_its_gradients_behind_its_inputs),
        cmocka_unit_test(a_request_is_refused_as_soon_as_it_is_wrong),
        cmocka_unit_test(what_is_wrong_at_the_end_is_said_at_the_end),
        cmocka_unit_test(a_message_above_its_bound_is_refused),
        cmocka_unit_test(a_request_larger_than_could_ever_fit_is_refused),
        cmocka_unit_test(an_answer_is_written_while_little_of_it_is_unread),
        cmocka_unit_test(an_answer_that_cannot_be_sent_ends_in_a_reset),
        cmocka_unit_test(sixty_four_streams_of_8_mib_stay_within_64_and_all_are_answered),
        cmocka_unit_test(any_mix_of_streams_gets_through),
        cmocka_unit_test(who_stops_half_way_is_dropped_and_holds_nobody_for_ever),
        cmocka_unit_test(who_does_not_read_its_answer_is_dropped),
        cmocka_unit_test(a_message_now_and_then_is_no_progress),
        cmocka_unit_test(one_stream_more_than_may_wait_is_refused),
        cmocka_unit_test(small_messages_of_those_that_wait_are_within_the_memory_too),
        cmocka_unit_test(who_leaves_at_any_moment_leaves_nothing_behind),
        cmocka_unit_test(streams_in_progress_are_answered_before_the_end_and_new_ones_refused),
        cmocka_unit_test(a_handler_that_goes_ends_streams_in_every_state),
        cmocka_unit_test(every_allocation_of_a_stream_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
