/* SPDX-License-Identifier: MIT */
/* Unary calls of an expert server: what is refused and in which words, what a caller that leaves causes, how a server ends. */
#include <math.h>

#include "moe/codec.h"
#include "server/handler_world.h"

enum { HIDDEN = 4 };

static const char FORWARD[] = "ConnectionHandler.rpc_forward",
                  BACKWARD[] = "ConnectionHandler.rpc_backward",
                  INFO[] = "ConnectionHandler.rpc_info";

static void world_init(struct handler_world *world, const char *class_options)
{
    handler_world_init(world, HIDDEN, class_options);
    assert_int_equal(handler_world_serve(world), 0);
}

static void call_tensors(struct handler_world *world, struct fake_call *call, const char *method,
                         const char *uid, const skep_tensor *tensors, size_t count)
{
    struct skep_buf message;

    handler_message(&message, uid, tensors, SKEP_COMPRESSION_NONE, count);
    fake_call(&world->rpc, call, method, &world->peer, skep_buf_view(&message));
    skep_buf_fini(&message);
}

/* A forward of rows that are all `value`. */
static void call_forward(struct handler_world *world, struct fake_call *call, size_t rows,
                         float value)
{
    skep_tensor x = handler_tensor(SKEP_FLOAT32, rows, HIDDEN, value);

    call_tensors(world, call, FORWARD, "t.0", &x, 1);
    handler_tensor_free(&x);
}

static void check_answer(struct fake_call *call, skep_dtype dtype, size_t rows, float value)
{
    struct skep_expert_reader reader;

    handler_answer(&reader, call);
    assert_int_equal(reader.count, 1);
    assert_int_equal(reader.tensors[0].dtype, dtype);
    assert_int_equal(reader.tensors[0].shape[0], rows);
    for (size_t i = 0; i < rows * HIDDEN; i++) {
        float got;

        skep_numbers_to_float(&got, dtype,
                              (const char *)reader.tensors[0].data + i * skep_dtype_size(dtype), 1);
        assert_float_equal(got, value, 0);
    }
    skep_expert_reader_fini(&reader);
    fake_call_fini(call);
}

static void check_refused(struct fake_call *call, const char *text)
{
    assert_int_equal(call->answers, 1);
    assert_true(call->failed);
    assert_string_equal((const char *)call->answer.data, text);
    fake_call_fini(call);
}

/* ---- what is answered ---- */

static void calls_of_one_turn_share_a_batch_and_get_their_own(void **state)
{
    struct handler_world world;
    struct fake_call calls[3];

    (void)state;
    world_init(&world, "");
    for (size_t i = 0; i < 3; i++)
        call_forward(&world, &calls[i], i + 1, (float)i);
    assert_int_equal(handler_world_stats(&world)->in_progress, 3);
    assert_true(handler_world_stats(&world)->bytes > 0);
    handler_world_turn(&world);
    for (size_t i = 0; i < 3; i++)
        check_answer(&calls[i], SKEP_FLOAT32, i + 1, 2 * (float)i);
    assert_int_equal(small_diary.count, 1);
    assert_int_equal(handler_world_stats(&world)->forwards, 3);
    assert_int_equal(handler_world_stats(&world)->in_progress, 0);
    assert_int_equal(handler_world_stats(&world)->bytes, 0);
    handler_world_fini(&world);
}

static void a_backward_trains_and_answers_the_inputs_gradients(void **state)
{
    struct handler_world world;
    skep_tensor tensors[2] = {handler_tensor(SKEP_FLOAT32, 3, HIDDEN, 1),
                              handler_tensor(SKEP_FLOAT32, 3, HIDDEN, 0.5F)};
    struct fake_call call;

    (void)state;
    world_init(&world, "");
    call_tensors(&world, &call, BACKWARD, "t.1", tensors, 2);
    handler_world_turn(&world);
    check_answer(&call, SKEP_FLOAT32, 3, 1);
    assert_float_equal(world.experts.experts[1].backend.parameters[0][0], -6, 0);
    assert_int_equal(handler_world_stats(&world)->backwards, 1);
    handler_tensor_free(&tensors[0]);
    handler_tensor_free(&tensors[1]);
    handler_world_fini(&world);
}

static void numbers_of_other_widths_become_the_experts_and_gradients_have_its_type(void **state)
{
    static const skep_dtype dtypes[] = {SKEP_FLOAT64, SKEP_FLOAT16, SKEP_BFLOAT16, SKEP_FLOAT32};
    struct handler_world world;
    struct fake_call call;

    (void)state;
    world_init(&world, "");
    for (size_t i = 0; i < SKEP_COUNT_OF(dtypes); i++) {
        skep_tensor tensors[2] = {handler_tensor(dtypes[i], 5, HIDDEN, 1.5F),
                                  handler_tensor(SKEP_FLOAT32, 5, HIDDEN, 2)};

        call_tensors(&world, &call, FORWARD, "t.0", tensors, 1);
        handler_world_turn(&world);
        check_answer(&call, SKEP_FLOAT32, 5, 3);
        call_tensors(&world, &call, BACKWARD, "t.1", tensors, 2);
        handler_world_turn(&world);
        check_answer(&call, SKEP_FLOAT32, 5, 4);
        handler_tensor_free(&tensors[0]);
        handler_tensor_free(&tensors[1]);
    }
    handler_world_fini(&world);
    world_init(&world, "half");
    {
        skep_tensor tensors[2] = {handler_tensor(SKEP_FLOAT16, 2, HIDDEN, 1.5F),
                                  handler_tensor(SKEP_FLOAT32, 2, HIDDEN, 2)};

        call_tensors(&world, &call, BACKWARD, "t.1", tensors, 2);
        handler_world_turn(&world);
        check_answer(&call, SKEP_FLOAT16, 2, 4);
        handler_tensor_free(&tensors[0]);
        handler_tensor_free(&tensors[1]);
    }
    handler_world_fini(&world);
}

static void an_input_that_is_compressed_is_taken_whatever_the_info_says(void **state)
{
    struct handler_world world;
    skep_tensor x = handler_tensor(SKEP_FLOAT32, 3, HIDDEN, 1.5F);

    (void)state;
    world_init(&world, "");
    for (unsigned c = 0; c < SKEP_COMPRESSIONS; c++) {
        struct skep_buf message;
        struct fake_call call;

        handler_message(&message, "t.0", &x, (skep_compression)c, 1);
        fake_call(&world.rpc, &call, FORWARD, &world.peer, skep_buf_view(&message));
        handler_world_turn(&world);
        assert_false(call.failed);
        if (c != SKEP_COMPRESSION_BLOCKWISE_8BIT)
            check_answer(&call, SKEP_FLOAT32, 3, 3);
        else
            fake_call_fini(&call);
        skep_buf_fini(&message);
    }
    handler_tensor_free(&x);
    handler_world_fini(&world);
}

static void gradients_are_compressed_as_inputs_are_and_outputs_are_not(void **state)
{
    struct handler_world world;
    skep_tensor tensors[2] = {handler_tensor(SKEP_FLOAT32, 3, HIDDEN, 1),
                              handler_tensor(SKEP_FLOAT32, 3, HIDDEN, 0.5F)};
    struct fake_call call;

    (void)state;
    handler_world_init(&world, HIDDEN, "");
    world.options.compression = SKEP_COMPRESSION_FLOAT16;
    assert_int_equal(handler_world_serve(&world), 0);
    call_tensors(&world, &call, FORWARD, "t.1", tensors, 1);
    handler_world_turn(&world);
    assert_true(call.answer.len > 3 * HIDDEN * sizeof(float));
    check_answer(&call, SKEP_FLOAT32, 3, 2);
    call_tensors(&world, &call, BACKWARD, "t.1", tensors, 2);
    handler_world_turn(&world);
    assert_true(call.answer.len < 3 * HIDDEN * sizeof(float));
    check_answer(&call, SKEP_FLOAT32, 3, 1);
    handler_tensor_free(&tensors[0]);
    handler_tensor_free(&tensors[1]);
    handler_world_fini(&world);
}

/* ---- bad input ---- */

static void wrong_tensors_are_refused_by_name_before_a_batch_is_formed(void **state)
{
    static const struct {
        const char *method, *uid;
        size_t count;
        struct {
            skep_dtype dtype;
            size_t rows, hidden;
            float value;
        } tensors[3];
        const char *text;
    } cases[] = {
        {FORWARD, "t.9", 1, {{SKEP_FLOAT32, 1, HIDDEN, 0}}, "KeyError('t.9')"},
        {FORWARD, "it's\n", 1, {{SKEP_FLOAT32, 1, HIDDEN, 0}}, "KeyError(\"it's\\n\")"},
        {FORWARD, "", 1, {{SKEP_FLOAT32, 1, HIDDEN, 0}}, "KeyError('')"},
        {FORWARD, "t.0", 0, {{0}}, "ValueError('0 tensors were sent, and it takes 1 inputs')"},
        {FORWARD,
         "t.0",
         2,
         {{SKEP_FLOAT32, 1, HIDDEN, 0}, {SKEP_FLOAT32, 1, HIDDEN, 0}},
         "ValueError('2 tensors were sent, and it takes 1 inputs')"},
        {BACKWARD,
         "t.0",
         1,
         {{SKEP_FLOAT32, 1, HIDDEN, 0}},
         "ValueError('1 tensors were sent, and it takes 1 inputs and 1 gradients')"},
        {FORWARD,
         "t.0",
         1,
         {{SKEP_INT64, 1, HIDDEN, 0}},
         "ValueError('input 0 is of type int64, and it takes float32')"},
        {FORWARD,
         "t.0",
         1,
         {{SKEP_FLOAT32, 2, HIDDEN + 1, 0}},
         "ValueError('input 0 has shape (2, 5), and it takes (batch, 4)')"},
        {BACKWARD,
         "t.0",
         2,
         {{SKEP_FLOAT32, 2, HIDDEN, 0}, {SKEP_FLOAT32, 2, 3, 0}},
         "ValueError('gradient 0 has shape (2, 3), and it takes (batch, 4)')"},
        {FORWARD,
         "t.0",
         1,
         {{SKEP_FLOAT32, 0, HIDDEN, 0}},
         "ValueError('input 0 is an empty batch')"},
        {BACKWARD,
         "t.0",
         2,
         {{SKEP_FLOAT32, 2, HIDDEN, 0}, {SKEP_FLOAT32, 3, HIDDEN, 0}},
         "ValueError('gradient 0 is a batch of 3, and the first of 2')"},
        {FORWARD,
         "t.0",
         1,
         {{SKEP_FLOAT32, 65, HIDDEN, 0}},
         "ValueError(\"Task size greater than max_batch_size (64), it can't be processed\")"},
        {FORWARD,
         "t.0",
         1,
         {{SKEP_FLOAT32, 2, HIDDEN, NAN}},
         "ValueError('input 0 has nan or infinite values')"},
        {BACKWARD,
         "t.0",
         2,
         {{SKEP_FLOAT32, 2, HIDDEN, 0}, {SKEP_FLOAT32, 2, HIDDEN, INFINITY}},
         "ValueError('gradient 0 has nan or infinite values')"},
        {FORWARD,
         "t.0",
         1,
         {{SKEP_BFLOAT16, 2, HIDDEN, -INFINITY}},
         "ValueError('input 0 has nan or infinite values')"},
    };
    struct handler_world world;
    struct fake_call call;

    (void)state;
    world_init(&world, "");
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        skep_tensor tensors[3];

        for (size_t k = 0; k < cases[i].count; k++)
            tensors[k] = handler_tensor(cases[i].tensors[k].dtype, cases[i].tensors[k].rows,
                                        cases[i].tensors[k].hidden, cases[i].tensors[k].value);
        call_tensors(&world, &call, cases[i].method, cases[i].uid, tensors, cases[i].count);
        check_refused(&call, cases[i].text); /* at once */
        for (size_t k = 0; k < cases[i].count; k++)
            handler_tensor_free(&tensors[k]);
        assert_int_equal(handler_world_stats(&world)->refused, i + 1);
    }
    assert_int_equal(handler_world_stats(&world)->refused_non_finite, 3);
    assert_int_equal(handler_world_stats(&world)->bytes, 0);
    assert_int_equal(skep_runtime_stats(world.runtime)->waiting, 0);
    handler_world_fini(&world);
}

static void a_scalar_a_row_is_a_batch_of_one_axis(void **state)
{
    struct handler_world world;
    skep_tensor tensors[2] = {handler_tensor(SKEP_FLOAT32, 2, HIDDEN, 1),
                              handler_tensor(SKEP_INT64, 2, 1, 3)};
    struct skep_expert_reader reader;
    struct fake_call call;

    (void)state;
    world_init(&world, "mask");
    call_tensors(&world, &call, FORWARD, "t.0", tensors, 2);
    check_refused(&call, "ValueError('input 1 has shape (2, 1), and it takes (batch,)')");
    tensors[1].axes = 1;
    call_tensors(&world, &call, FORWARD, "t.0", tensors, 2);
    handler_world_turn(&world);
    handler_answer(&reader, &call);
    assert_int_equal(reader.count, 2);
    assert_float_equal(((const float *)reader.tensors[1].data)[0], 3, 0);
    skep_expert_reader_fini(&reader);
    fake_call_fini(&call);
    for (size_t i = 0; i < 2; i++)
        handler_tensor_free(&tensors[i]);
    handler_world_fini(&world);
}

static void a_double_that_no_float_holds_is_not_finite(void **state)
{
    struct handler_world world;
    skep_tensor x = handler_tensor(SKEP_FLOAT64, 1, HIDDEN, 1);
    struct fake_call call;
    double huge = 1e300;

    (void)state;
    world_init(&world, "");
    memcpy((void *)(uintptr_t)x.data, &huge, sizeof huge);
    call_tensors(&world, &call, FORWARD, "t.0", &x, 1);
    check_refused(&call, "ValueError('input 0 has nan or infinite values')");
    handler_tensor_free(&x);
    handler_world_fini(&world);
}

static void numbers_that_are_none_are_taken_where_the_server_says_so(void **state)
{
    struct handler_world world;
    struct skep_expert_reader reader;
    struct fake_call call;

    (void)state;
    handler_world_init(&world, HIDDEN, "");
    world.options.accept_non_finite = true;
    assert_int_equal(handler_world_serve(&world), 0);
    call_forward(&world, &call, 1, INFINITY);
    handler_world_turn(&world);
    handler_answer(&reader, &call);
    assert_true(isinf(((const float *)reader.tensors[0].data)[0]));
    skep_expert_reader_fini(&reader);
    fake_call_fini(&call);
    handler_world_fini(&world);
}

static void a_request_cut_or_bent_anywhere_is_answered_once(void **state)
{
    struct handler_world world;
    skep_tensor x = handler_tensor(SKEP_FLOAT32, 2, HIDDEN, 1);
    struct skep_buf message;
    struct fake_call call;

    (void)state;
    world_init(&world, "cheap");
    handler_message(&message, "t.0", &x, SKEP_COMPRESSION_NONE, 1);
    for (size_t len = 0; len <= message.len; len++) {
        fake_call(&world.rpc, &call, FORWARD, &world.peer, skep_bytes_of(message.data, len));
        handler_world_turn(&world);
        assert_int_equal(call.answers, 1);
        assert_int_equal(call.failed, len < message.len);
        fake_call_fini(&call);
    }
    for (size_t i = 0; i < message.len * 8; i++) {
        message.data[i / 8] ^= (uint8_t)(1U << i % 8);
        fake_call(&world.rpc, &call, FORWARD, &world.peer, skep_buf_view(&message));
        handler_world_turn(&world);
        assert_int_equal(call.answers, 1);
        fake_call_fini(&call);
        message.data[i / 8] ^= (uint8_t)(1U << i % 8);
    }
    assert_int_equal(handler_world_stats(&world)->bytes, 0);
    skep_buf_fini(&message);
    handler_tensor_free(&x);
    handler_world_fini(&world);
}

static void a_bad_neighbour_costs_nobody_anything(void **state)
{
    struct handler_world world;
    struct fake_call calls[5];

    (void)state;
    world_init(&world, "");
    call_forward(&world, &calls[0], 1, 1);
    call_forward(&world, &calls[1], 1, NAN);
    call_forward(&world, &calls[2], 1, SMALL_REFUSED); /* the class finds out */
    call_forward(&world, &calls[3], 1, SMALL_NO_MEMORY);
    call_forward(&world, &calls[4], 1, 2);
    handler_world_turn(&world);
    check_answer(&calls[0], SKEP_FLOAT32, 1, 2);
    check_refused(&calls[1], "ValueError('input 0 has nan or infinite values')");
    check_refused(&calls[2],
                  "RuntimeError('the expert refused: its numbers would not have stayed finite')");
    check_refused(&calls[3], "MemoryError('out of memory')");
    check_answer(&calls[4], SKEP_FLOAT32, 1, 4);
    handler_world_fini(&world);
}

static void only_peers_that_may_train_do(void **state)
{
    struct handler_world world;
    struct skep_peer_id friend;
    skep_tensor tensors[2] = {handler_tensor(SKEP_FLOAT32, 1, HIDDEN, 1),
                              handler_tensor(SKEP_FLOAT32, 1, HIDDEN, 1)};
    struct fake_call call;
    char text[256], peer[SKEP_PEER_ID_TEXT_MAX];

    (void)state;
    handler_world_init(&world, HIDDEN, "");
    friend = world.peer;
    friend.bytes[37] = 8;
    world.options.allow_backward = &friend;
    world.options.allow_backward_count = 1;
    assert_int_equal(handler_world_serve(&world), 0);
    call_tensors(&world, &call, BACKWARD, "t.0", tensors, 2);
    snprintf(text, sizeof text, "PermissionError('peer %s may not train these experts')",
             skep_peer_id_text(peer, &world.peer));
    check_refused(&call, text);
    assert_int_equal(handler_world_stats(&world)->refused_peers, 1);
    call_tensors(&world, &call, BACKWARD, "t.9", tensors, 2);
    check_refused(&call, "KeyError('t.9')");
    call_tensors(&world, &call, FORWARD, "t.0", tensors, 1);
    handler_world_turn(&world);
    check_answer(&call, SKEP_FLOAT32, 1, 2);
    world.peer = friend;
    call_tensors(&world, &call, BACKWARD, "t.0", tensors, 2);
    handler_world_turn(&world);
    check_answer(&call, SKEP_FLOAT32, 1, 2);
    for (size_t i = 0; i < 2; i++)
        handler_tensor_free(&tensors[i]);
    handler_world_fini(&world);
}

static void an_answer_too_large_for_a_message_is_refused_before_it_is_computed(void **state)
{
    struct handler_world world;
    struct fake_call call;
    const char *text =
        "ValueError('the answer would have 4194329 bytes and a unary one has at most "
        "4194304: call rpc_forward_stream')";

    (void)state;
    handler_world_init(&world, HIDDEN, "wide"); /* 16 KiB a row */
    world.pool.max_batch_size = 1000;
    assert_int_equal(handler_world_serve(&world), 0);
    call_forward(&world, &call, 256, 1);
    check_refused(&call, text);
    call_forward(&world, &call, 255, 1);
    handler_world_turn(&world);
    assert_false(call.failed);
    fake_call_fini(&call);
    assert_int_equal(small_diary.count, 1);
    handler_world_fini(&world);
}

static void calls_beyond_the_memory_are_refused_and_it_comes_back(void **state)
{
    struct handler_world world;
    struct fake_call calls[40];
    size_t answered = 0, refused = 0;

    (void)state;
    handler_world_init(&world, HIDDEN, "wide");
    world.options.memory_bytes = SKEP_MIB(64); /* of which streams always may have half */
    world.pool.max_batch_size = 255;
    assert_int_equal(handler_world_serve(&world), 0);
    for (int again = 0; again < 2; again++) {
        for (size_t i = 0; i < 40; i++)
            call_forward(&world, &calls[i], 200, 1);
        assert_true(handler_world_stats(&world)->bytes <= SKEP_MIB(32));
        handler_world_turn(&world);
        for (size_t i = 0; i < 40; i++) {
            assert_int_equal(calls[i].answers, 1);
            if (calls[i].failed)
                assert_memory_equal(calls[i].answer.data, "MemoryError('the request needs ", 31);
            *(calls[i].failed ? &refused : &answered) += 1;
            fake_call_fini(&calls[i]);
        }
        assert_int_equal(handler_world_stats(&world)->bytes, 0);
    }
    assert_true(refused > 0 && answered >= 4);
    assert_true(handler_world_stats(&world)->bytes_most <= SKEP_MIB(32));
    handler_world_fini(&world);
}

/* ---- info ---- */

static void info_is_asked_by_uid(void **state)
{
    struct handler_world world;
    struct fake_call call;
    struct skep_buf message;

    (void)state;
    world_init(&world, "");
    skep_buf_init(&message, &skep_mem_std);
    skep_expert_uid_write(&message, skep_bytes_str("t.1"));
    fake_call(&world.rpc, &call, INFO, &world.peer, skep_buf_view(&message));
    assert_int_equal(call.answers, 1);
    assert_false(call.failed);
    fake_call_fini(&call);
    assert_int_equal(handler_world_stats(&world)->infos, 1);
    skep_buf_clear(&message);
    skep_expert_uid_write(&message, skep_bytes_str("t.2"));
    fake_call(&world.rpc, &call, INFO, &world.peer, skep_buf_view(&message));
    check_refused(&call, "KeyError('t.2')");
    fake_call(&world.rpc, &call, INFO, &world.peer, skep_bytes_of("\x0a\x05t", 3));
    check_refused(&call, "ValueError('the request is malformed')");
    fake_call(&world.rpc, &call, INFO, &world.peer, skep_bytes_of("\x0a\x01\xff", 3));
    check_refused(&call, "ValueError('the request is malformed')");
    fake_call(&world.rpc, &call, INFO, &world.peer, (skep_bytes){NULL, 0});
    check_refused(&call, "KeyError('')");
    skep_buf_fini(&message);
    handler_world_fini(&world);
}

/* ---- callers that leave, servers that end ---- */

static void a_call_that_is_cancelled_in_time_is_not_computed(void **state)
{
    struct handler_world world;
    struct fake_call calls[2];

    (void)state;
    world_init(&world, "");
    call_forward(&world, &calls[0], 1, 1);
    call_forward(&world, &calls[1], 2, 1);
    fake_call_cancel(&calls[0]);
    assert_int_equal(calls[0].answers, 1);
    handler_world_turn(&world);
    check_answer(&calls[1], SKEP_FLOAT32, 2, 2);
    fake_call_fini(&calls[0]);
    assert_int_equal(small_diary.passes[0].rows, 2);
    assert_int_equal(handler_world_stats(&world)->canceled, 1);
    handler_world_fini(&world);
}

static void a_call_that_is_cancelled_while_it_is_computed_keeps_its_memory_until_then(void **state)
{
    struct handler_world world;
    struct fake_call call;

    (void)state;
    world_init(&world, "cheap delay");
    call_forward(&world, &call, 1, 1);
    handler_world_turn(&world);
    fake_call_cancel(&call);
    assert_int_equal(call.answers, 1);
    fake_call_fini(&call);
    assert_true(handler_world_stats(&world)->bytes > 0);
    test_env_advance(&world.env, 600000);
    assert_int_equal(handler_world_stats(&world)->bytes, 0);
    assert_int_equal(handler_world_stats(&world)->in_progress, 0);
    handler_world_fini(&world);
}

static void on_drained(void *user)
{
    ((struct handler_world *)user)->drained++;
}

static void a_server_that_ends_answers_what_it_has_and_takes_no_more(void **state)
{
    struct handler_world world;
    struct fake_call calls[2];

    (void)state;
    world_init(&world, "cheap delay");
    call_forward(&world, &calls[0], 1, 1);
    handler_world_turn(&world);
    skep_handler_drain(world.handler, on_drained, &world);
    handler_world_turn(&world);
    assert_int_equal(world.drained, 0);
    call_forward(&world, &calls[1], 1, 1);
    check_refused(&calls[1], "RuntimeError('the server is being shut down')");
    test_env_advance(&world.env, 600000);
    check_answer(&calls[0], SKEP_FLOAT32, 1, 2);
    assert_int_equal(world.drained, 1);
    /* with nothing under way it is told all the same, later */
    skep_handler_drain(world.handler, on_drained, &world);
    assert_int_equal(world.drained, 1);
    handler_world_turn(&world);
    assert_int_equal(world.drained, 2);
    handler_world_fini(&world);
}

static void a_handler_that_goes_ends_every_call(void **state)
{
    struct handler_world world;
    struct fake_call calls[2];

    (void)state;
    world_init(&world, "cheap delay");
    call_forward(&world, &calls[0], 1, 1);
    handler_world_turn(&world); /* computed, and not yet to be told */
    call_forward(&world, &calls[1], 1, 1);
    skep_handler_free(world.handler);
    world.handler = NULL;
    check_refused(&calls[0], "CancelledError()");
    check_refused(&calls[1], "CancelledError()");
    assert_int_equal(world.rpc.method_count, 0);
    test_env_advance(&world.env, 600000);
    handler_world_fini(&world);
}

static void without_streams_small_calls_are_served(void **state)
{
    struct handler_world world;
    struct fake_call call;

    (void)state;
    handler_world_init(&world, HIDDEN, "cheap");
    world.rpc.no_streams = true;
    assert_int_equal(handler_world_serve(&world), 0);
    assert_int_equal(world.rpc.method_count, 3);
    call_forward(&world, &call, 1, 1);
    handler_world_turn(&world);
    check_answer(&call, SKEP_FLOAT32, 1, 2);
    handler_world_fini(&world);
}

static void a_server_has_32_mib_or_is_none(void **state)
{
    struct handler_world world;

    (void)state;
    handler_world_init(&world, HIDDEN, "");
    world.options.memory_bytes = SKEP_EXPERT_MEMORY_MIN - 1;
    assert_int_equal(handler_world_serve(&world), SKEP_EINVAL);
    assert_null(world.handler);
    world.options.memory_bytes++;
    skep_runtime_free(world.runtime);
    assert_int_equal(handler_world_serve(&world), 0);
    handler_world_fini(&world);
}

/* One unary call, with the n-th allocation from its start on failing. */
static void every_allocation_of_a_call_may_fail(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct handler_world world;
        skep_tensor tensors[2] = {handler_tensor(SKEP_FLOAT64, 3, HIDDEN, 1),
                                  handler_tensor(SKEP_FLOAT32, 3, HIDDEN, 1)};
        struct fake_call calls[2];
        bool failed;

        handler_world_init(&world, HIDDEN, "");
        world.options.compression = SKEP_COMPRESSION_QUANTILE_8BIT;
        assert_int_equal(handler_world_serve(&world), 0);
        world.env.mem.fail_at = n;
        call_tensors(&world, &calls[0], BACKWARD, "t.0", tensors, 2);
        call_tensors(&world, &calls[1], BACKWARD, "t.0", tensors, 2);
        handler_world_turn(&world);
        failed = world.env.mem.fail_at == 0;
        world.env.mem.fail_at = 0;
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(calls[i].answers, 1);
            if (calls[i].failed)
                assert_string_equal((const char *)calls[i].answer.data,
                                    "MemoryError('out of memory')");
            fake_call_fini(&calls[i]);
        }
        if (!failed)
            assert_false(calls[0].failed || calls[1].failed);
        assert_int_equal(handler_world_stats(&world)->bytes, 0);
        handler_tensor_free(&tensors[0]);
        handler_tensor_free(&tensors[1]);
        handler_world_fini(&world);
        if (!failed)
            break;
        assert_true(n < 1000);
    }
}

static int start_and_end(const struct skep_mem *mem, void *user)
{
    struct handler_world world;
    int rc;

    (void)user;
    handler_world_init(&world, HIDDEN, "");
    world.env.mem.fail_at = ((struct test_mem *)mem->ctx)->fail_at;
    rc = handler_world_serve(&world);
    ((struct test_mem *)mem->ctx)->fail_at = world.env.mem.fail_at;
    world.env.mem.fail_at = 0;
    if (rc < 0)
        assert_int_equal(world.rpc.method_count, 0);
    handler_world_fini(&world);
    return rc;
}

static void a_handler_without_memory_is_none(void **state)
{
    (void)state;
    test_each_allocation_fails(start_and_end, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_of_one_turn_share_a_batch_and_get_their_own),
        cmocka_unit_test(a_backward_trains_and_answers_the_inputs_gradients),
        cmocka_unit_test(numbers_of_other_widths_become_the_experts_and_gradients_have_its_type),
        cmocka_unit_test(an_input_that_is_compressed_is_taken_whatever_the_info_says),
        cmocka_unit_test(gradients_are_compressed_as_inputs_are_and_outputs_are_not),
        cmocka_unit_test(wrong_tensors_are_refused_by_name_before_a_batch_is_formed),
        cmocka_unit_test(a_scalar_a_row_is_a_batch_of_one_axis),
        cmocka_unit_test(a_double_that_no_float_holds_is_not_finite),
        cmocka_unit_test(numbers_that_are_none_are_taken_where_the_server_says_so),
        cmocka_unit_test(a_request_cut_or_bent_anywhere_is_answered_once),
        cmocka_unit_test(a_bad_neighbour_costs_nobody_anything),
        cmocka_unit_test(only_peers_that_may_train_do),
        cmocka_unit_test(an_answer_too_large_for_a_message_is_refused_before_it_is_computed),
        cmocka_unit_test(calls_beyond_the_memory_are_refused_and_it_comes_back),
        cmocka_unit_test(info_is_asked_by_uid),
        cmocka_unit_test(a_call_that_is_cancelled_in_time_is_not_computed),
        cmocka_unit_test(a_call_that_is_cancelled_while_it_is_computed_keeps_its_memory_until_then),
        cmocka_unit_test(a_server_that_ends_answers_what_it_has_and_takes_no_more),
        cmocka_unit_test(a_handler_that_goes_ends_every_call),
        cmocka_unit_test(without_streams_small_calls_are_served),
        cmocka_unit_test(a_server_has_32_mib_or_is_none),
        cmocka_unit_test(every_allocation_of_a_call_may_fail),
        cmocka_unit_test(a_handler_without_memory_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
