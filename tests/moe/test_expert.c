/* SPDX-License-Identifier: MIT */
/* Forward and backward of remote experts: what is sent, as hivemind sends it, and what becomes of answers of every kind. docs/wire.md e.3, e.4. */
#include "moe/expert_world.h"

#include "base/pb.h"
#include "rpc/frame.h"

static bool method_is(const char *method, const char *name)
{
    return strncmp(method, "ConnectionHandler.", 18) == 0 && strcmp(method + 18, name) == 0;
}

/* ---- golden requests ---- */

/* Fields in the order of their numbers: protobuf minds no order, and our writer has a tensor's buffer last. */
static void put_in_order(struct skep_buf *out, skep_bytes message, bool nested)
{
    for (uint32_t number = 1; number <= 6; number++) {
        struct skep_pb_reader in = skep_pb_read(message);
        struct skep_pb_field field;

        while (skep_pb_next(&in, &field)) {
            struct skep_buf tensor;

            if (field.number != number)
                continue;
            skep_buf_init(&tensor, &skep_mem_std);
            if (field.type == SKEP_PB_VARINT)
                skep_pb_put_varint(out, number, field.value);
            else if (nested || number != 2)
                skep_pb_put_bytes(out, number, field.bytes);
            else
                put_in_order(&tensor, field.bytes, true);
            if (tensor.len > 0)
                skep_pb_put_bytes(out, number, skep_buf_view(&tensor));
            skep_buf_fini(&tensor);
        }
        assert_int_equal(in.rc, 0);
    }
}

static void check_request_is(const struct fake_call *call, const char *hex)
{
    struct skep_buf ordered;

    skep_buf_init(&ordered, &skep_mem_std);
    put_in_order(&ordered, fake_call_request(call), false);
    assert_string_equal(test_hex(ordered.data, ordered.len), hex);
    skep_buf_fini(&ordered);
}

enum { NUMBERS_MAX = 64 };

/* The inputs of a vector; their numbers go to `numbers`. */
static size_t inputs_of(const json_t *vector, skep_tensor *tensors, float numbers[][NUMBERS_MAX])
{
    const json_t *inputs = test_get(vector, "inputs"), *shapes = test_get(vector, "shapes");
    size_t count = json_array_size(inputs);

    for (size_t i = 0; i < count; i++) {
        const json_t *row = json_array_get(inputs, i), *shape = json_array_get(shapes, i);

        tensors[i] = (skep_tensor){
            .dtype = SKEP_FLOAT32, .axes = json_array_size(shape), .data = numbers[i]};
        for (size_t j = 0; j < tensors[i].axes; j++)
            tensors[i].shape[j] = (size_t)json_integer_value(json_array_get(shape, j));
        for (size_t j = 0; j < json_array_size(row); j++)
            numbers[i][j] = (float)json_number_value(json_array_get(row, j));
    }
    return count;
}

static void check_outputs(const struct skep_expert_call *call, const json_t *outputs)
{
    assert_int_equal(call->output_count, json_array_size(outputs));
    for (size_t i = 0; i < call->output_count; i++) {
        const json_t *want = json_array_get(outputs, i);
        const float *got = call->outputs[i].data;

        assert_int_equal(call->outputs[i].dtype, SKEP_FLOAT32);
        assert_int_equal(skep_tensor_elements(&call->outputs[i]), json_array_size(want));
        for (size_t j = 0; j < json_array_size(want); j++)
            assert_true(got[j] == (float)json_number_value(json_array_get(want, j)));
    }
}

/* We send no metadata. */
static bool is_another_callers(const char *what)
{
    return strstr(what, "metadata") != NULL;
}

static void run_golden_call(struct world *world, const json_t *vector)
{
    const char *what = test_str(vector, "what"), *method = test_str(vector, "rpc");
    const json_t *error = json_object_get(vector, "text");
    const char *uid = test_str(vector, "uid");
    float numbers[4][NUMBERS_MAX];
    skep_tensor tensors[4];
    size_t count = inputs_of(vector, tensors, numbers);
    bool backward = strcmp(method, "rpc_backward") == 0, half;
    struct skep_expert_request request =
        request_of(backward ? SKEP_EXPERT_BACKWARD : SKEP_EXPERT_FORWARD, uid, tensors, count);
    struct asked asked = {0};

    /* An expert's outputs say NONE, so that a gradient in FLOAT16 is nothing that its info asks for. */
    half = strstr(what, "FLOAT16 input:") || strstr(what, "gradients come back in FLOAT16");
    request.without_info = half || error;
    request.compression = half ? SKEP_COMPRESSION_FLOAT16 : SKEP_COMPRESSION_NONE;
    assert_int_equal(ask(world, &asked, &request), 0);
    if (!request.without_info && strcmp(fake_rpc_call(&world->rpc)->method + 18, "rpc_info") == 0)
        tell_info(world, info_answer(uid));
    assert_true(method_is(fake_rpc_call(&world->rpc)->method, method));
    check_request_is(fake_rpc_call(&world->rpc), test_str(vector, "request"));
    if (error) {
        answer(world, SKEP_EPEER_REMOTE, test_unhex(test_str(vector, "error")));
        assert_int_equal(asked.rc, SKEP_EPEER_REMOTE);
        assert_string_equal(asked.text, json_string_value(error));
    } else {
        answer(world, 0, test_unhex(test_str(vector, "response")));
        assert_int_equal(asked.rc, 0);
        check_outputs(&asked.call, test_get(vector, "outputs"));
    }
    assert_int_equal(asked.ends, 1);
    skep_expert_call_fini(&asked.call);
}

static void calls_are_those_of_hivemind(void **state)
{
    const json_t *vectors = test_get(test_vectors("expert.json"), "calls");
    struct world world;

    (void)state;
    world_init(&world);
    for (size_t i = 0; i < json_array_size(vectors); i++)
        if (!is_another_callers(test_str(json_array_get(vectors, i), "what")))
            run_golden_call(&world, json_array_get(vectors, i));
    world_fini(&world);
}

/* ---- one message or many ---- */

struct seen_part {
    skep_bytes uid, buffer, dtype;
    uint64_t size[4], chunks;
    size_t axes;
};

static void read_part(struct seen_part *part, skep_bytes tensor)
{
    struct skep_pb_reader in = skep_pb_read(tensor);
    struct skep_pb_field field;

    while (skep_pb_next(&in, &field)) {
        skep_bytes packed = field.bytes;

        if (field.number == 1)
            part->buffer = skep_pb_bytes(&in, &field);
        else if (field.number == 4)
            part->dtype = skep_pb_bytes(&in, &field);
        else if (field.number == 6)
            part->chunks = skep_pb_varint(&in, &field);
        else if (field.number == 2)
            while (skep_varint_decode(&packed, &part->size[part->axes]) > 0)
                part->axes++;
    }
    assert_int_equal(in.rc, 0);
}

static struct seen_part part_of(const struct fake_message *message)
{
    struct skep_pb_reader in = skep_pb_read(skep_bytes_of(message->data, message->len));
    struct seen_part part = {.axes = 0};
    struct skep_pb_field field;
    size_t tensors = 0;

    while (skep_pb_next(&in, &field)) {
        if (field.number == 1)
            part.uid = skep_pb_bytes(&in, &field);
        else if (field.number == 2 && tensors++ == 0)
            read_part(&part, skep_pb_bytes(&in, &field));
    }
    assert_int_equal(tensors, 1);
    return part;
}

static void check_part(const struct fake_message *message, const json_t *want)
{
    const json_t *part = json_array_get(test_get(want, "parts"), 0), *size = test_get(part, "size");
    struct seen_part got = part_of(message);

    assert_true(skep_bytes_equal(got.uid, skep_bytes_str(test_str(want, "uid"))));
    assert_int_equal(got.buffer.len, json_integer_value(test_get(part, "buffer_bytes")));
    assert_true(skep_bytes_equal(got.dtype, skep_bytes_str(test_str(part, "dtype"))));
    assert_int_equal(got.chunks, json_integer_value(test_get(part, "chunks")));
    assert_int_equal(got.axes, json_array_size(size));
    for (size_t i = 0; i < got.axes; i++)
        assert_int_equal(got.size[i], json_integer_value(json_array_get(size, i)));
}

static void check_stream(struct world *world, const json_t *vector)
{
    const json_t *messages = test_get(vector, "messages");
    struct skep_rpc_stream *stream = fake_rpc_stream(&world->rpc);
    const struct fake_message *message;

    assert_non_null(stream);
    assert_true(method_is(stream->method, test_str(vector, "rpc")));
    while (!stream->ended)
        fake_stream_drain(stream);
    message = stream->first;
    assert_int_equal(stream->message_count, json_array_size(messages));
    for (size_t i = 0; message; i++, message = message->next)
        check_part(message, json_array_get(messages, i));
}

/* Zeros of any size. */
static skep_tensor zeros(skep_dtype dtype, size_t axes, const size_t *shape)
{
    static uint8_t nothing[24 << 20];
    skep_tensor tensor = {.dtype = dtype, .axes = axes, .data = nothing};

    for (size_t i = 0; i < axes; i++)
        tensor.shape[i] = shape[i];
    assert_true(skep_tensor_bytes(&tensor) <= sizeof nothing);
    return tensor;
}

static void run_choice(struct world *world, const json_t *vector)
{
    const json_t *shapes = test_get(vector, "shapes"), *hex = json_object_get(vector, "request");
    size_t count = json_array_size(shapes);
    skep_tensor tensors[4];
    struct skep_expert_request request = request_of(SKEP_EXPERT_FORWARD, "ffn.0.0", tensors, count);
    struct asked asked = {0};
    struct fake_call *call;

    for (size_t i = 0; i < count; i++) {
        size_t shape[2] = {
            (size_t)json_integer_value(json_array_get(json_array_get(shapes, i), 0)),
            (size_t)json_integer_value(json_array_get(json_array_get(shapes, i), 1))};

        tensors[i] = zeros(SKEP_FLOAT32, 2, shape);
    }
    request.without_info = true;
    assert_int_equal(ask(world, &asked, &request), 0);
    call = fake_rpc_call(&world->rpc);
    if (json_object_get(vector, "messages")) {
        assert_null(call);
        check_stream(world, vector);
    } else {
        assert_non_null(call);
        assert_true(method_is(call->method, test_str(vector, "rpc")));
        if (hex)
            check_request_is(call, json_string_value(hex));
    }
    skep_expert_call_fini(&asked.call);
}

static void large_calls_are_streamed_as_hivemind_streams_them(void **state)
{
    const json_t *vectors = test_get(test_vectors("expert.json"), "client_choice");
    struct world world;

    (void)state;
    world_init(&world);
    for (size_t i = 0; i < json_array_size(vectors); i++)
        run_choice(&world, json_array_get(vectors, i));
    world_fini(&world);
}

static bool is_streamed(const skep_tensor *tensors, size_t count, enum skep_expert_call_kind kind)
{
    struct skep_expert_request request = request_of(kind, "ffn.0.0", tensors, count);
    struct asked asked = {0};
    struct world world;
    bool streamed;

    world_init(&world);
    request.without_info = true;
    assert_int_equal(ask(&world, &asked, &request), 0);
    streamed = fake_rpc_call(&world.rpc) == NULL;
    assert_true(streamed == (fake_rpc_stream(&world.rpc) != NULL));
    skep_expert_call_fini(&asked.call);
    world_fini(&world);
    return streamed;
}

static void one_byte_above_2_mib_of_numbers_is_streamed(void **state)
{
    const size_t mib = 1 << 20;
    const size_t shapes[][2] = {{1, 2 * mib - 1}, {1, 2 * mib}, {1, 2 * mib + 1}, {1, mib}};
    const skep_tensor halves[] = {zeros(SKEP_INT8, 2, shapes[3]), zeros(SKEP_INT8, 2, shapes[3])};
    skep_tensor tensors[3];

    (void)state;
    for (size_t i = 0; i < 3; i++)
        tensors[i] = zeros(SKEP_INT8, 2, shapes[i]);
    assert_false(is_streamed(&tensors[0], 1, SKEP_EXPERT_FORWARD));
    assert_false(is_streamed(&tensors[1], 1, SKEP_EXPERT_FORWARD));
    assert_true(is_streamed(&tensors[2], 1, SKEP_EXPERT_FORWARD));
    /* Inputs and gradients count together. */
    assert_false(is_streamed(halves, 2, SKEP_EXPERT_BACKWARD));
    tensors[1] = tensors[2] = halves[0];
    tensors[2].shape[1]++;
    assert_true(is_streamed(tensors + 1, 2, SKEP_EXPERT_BACKWARD));
}

static void what_would_pass_4_mib_on_the_wire_is_streamed(void **state)
{
    const size_t small[] = {1, (2 << 20) - 4096}, whole[] = {1, 1 << 20};
    const skep_tensor fits = zeros(SKEP_INT8, 2, small), grows = zeros(SKEP_BFLOAT16, 2, whole);

    (void)state;
    assert_int_equal(skep_tensor_bytes(&grows), 2 << 20);
    assert_false(is_streamed(&fits, 1, SKEP_EXPERT_FORWARD));
    assert_true(is_streamed(&grows, 1, SKEP_EXPERT_FORWARD)); /* a bfloat16 travels as a float32 */
}

static void a_stream_gets_no_more_than_it_takes(void **state)
{
    const size_t shape[] = {5, 1 << 20};
    const skep_tensor input = zeros(SKEP_FLOAT32, 2, shape); /* 20 MiB: five parts */
    struct skep_expert_request request = request_of(SKEP_EXPERT_FORWARD, "ffn.0.0", &input, 1);
    struct skep_rpc_stream *stream;
    struct asked asked = {0};
    struct world world;

    (void)state;
    world_init(&world);
    request.without_info = true;
    assert_int_equal(ask(&world, &asked, &request), 0);
    stream = fake_rpc_stream(&world.rpc);
    for (size_t parts = 1; parts <= 5; parts++) {
        assert_int_equal(stream->message_count, parts);
        assert_false(stream->ended);
        fake_stream_drain(stream);
    }
    assert_int_equal(stream->message_count, 5);
    assert_true(stream->ended);
    skep_expert_call_fini(&asked.call);
    assert_true(stream->cancelled);
    world_fini(&world);
}

/* ---- streamed answers ---- */

static const skep_tensor *large_input(void)
{
    static skep_tensor input;
    const size_t shape[] = {2, 1 << 20};

    input = zeros(SKEP_INT8, 2, shape);
    input.shape[1]++;
    return &input;
}

/* Start a call that is streamed, and see its request out. */
static struct skep_rpc_stream *ask_large(struct world *world, struct asked *asked)
{
    struct skep_expert_request request =
        request_of(SKEP_EXPERT_FORWARD, "ffn.0.0", large_input(), 1);
    struct skep_rpc_stream *stream;

    request.without_info = true;
    assert_int_equal(ask(world, asked, &request), 0);
    stream = fake_rpc_stream(&world->rpc);
    while (!stream->ended)
        fake_stream_drain(stream);
    return stream;
}

/* What hivemind's server sent, frame by frame. */
static void play_answer(struct skep_rpc_stream *stream, skep_bytes in)
{
    struct skep_rpc_frame_reader reader = {0};
    struct skep_rpc_frame frame;

    skep_buf_init(&reader.held, &skep_mem_std);
    while (!stream->gone && skep_rpc_frame_next(&reader, &in, &frame) > 0) {
        if (frame.marker == SKEP_RPC_FRAME_MESSAGE)
            fake_stream_message(stream, frame.body);
        else
            fake_stream_error(stream, SKEP_EPEER_REMOTE, skep_rpc_frame_error_text(frame.body));
    }
    if (!stream->gone)
        fake_stream_end(stream);
    skep_buf_fini(&reader.held);
}

static void streamed_answers_of_hivemind_are_understood(void **state)
{
    const json_t *vectors = test_get(test_vectors("expert.json"), "streams");
    const json_t *calls = test_get(test_vectors("expert.json"), "calls");
    struct world world;

    (void)state;
    world_init(&world);
    for (size_t i = 0; i < json_array_size(vectors); i++) {
        const json_t *vector = json_array_get(vectors, i);
        skep_bytes received = test_unhex(test_str(vector, "received"));
        struct asked asked = {0};

        play_answer(ask_large(&world, &asked), received);
        assert_int_equal(asked.ends, 1);
        if (received.data[0] == SKEP_RPC_FRAME_ERROR) {
            assert_int_equal(asked.rc, SKEP_EPEER_REMOTE);
            assert_true(*asked.text);
        } else {
            assert_int_equal(asked.rc, 0);
            if (strcmp(test_str(vector, "rpc"), "rpc_forward_stream") == 0)
                check_outputs(&asked.call, test_get(json_array_get(calls, 0), "outputs"));
        }
        skep_expert_call_fini(&asked.call);
    }
    world_fini(&world);
}

static void a_stream_cut_at_any_byte_is_no_answer(void **state)
{
    const json_t *vectors = test_get(test_vectors("expert.json"), "streams");
    skep_bytes frame = test_unhex(test_str(json_array_get(vectors, 0), "received"));
    skep_bytes message =
        skep_bytes_of(frame.data + SKEP_RPC_FRAME_HEAD_LEN, frame.len - SKEP_RPC_FRAME_HEAD_LEN);
    struct world world;

    (void)state;
    world_init(&world);
    for (size_t len = 1; len < message.len; len++) {
        struct asked asked = {0};
        struct skep_rpc_stream *stream = ask_large(&world, &asked);

        fake_stream_message(stream, skep_bytes_of(message.data, len));
        if (!stream->gone)
            fake_stream_end(stream);
        assert_int_equal(asked.ends, 1);
        assert_true(asked.rc == SKEP_EPEER_FRAME || asked.rc == SKEP_EPEER_PROTO);
        assert_true(*asked.text);
        skep_expert_call_fini(&asked.call);
    }
    world_fini(&world);
}

static void a_window_is_given_back_as_the_answer_is_used(void **state)
{
    const json_t *vectors = test_get(test_vectors("expert.json"), "streams");
    skep_bytes frame = test_unhex(test_str(json_array_get(vectors, 0), "received"));
    struct skep_rpc_stream *stream;
    struct asked asked = {0};
    struct world world;

    (void)state;
    world_init(&world);
    stream = ask_large(&world, &asked);
    fake_stream_message(stream, skep_bytes_of(frame.data + SKEP_RPC_FRAME_HEAD_LEN,
                                              frame.len - SKEP_RPC_FRAME_HEAD_LEN));
    assert_int_equal(stream->unconsumed, 0);
    fake_stream_end(stream);
    assert_int_equal(asked.rc, 0);
    skep_expert_call_fini(&asked.call);
    world_fini(&world);
}

/* ---- answers that make no sense ---- */

static void answer_with(const skep_tensor *tensors, size_t count, int rc, const char *text,
                        enum skep_expert_call_kind kind)
{
    const skep_tensor given[] = {rows_of(2), rows_of(2)};
    struct skep_expert_request request =
        request_of(kind, "ffn.0.0", given, kind == SKEP_EXPERT_BACKWARD ? 2 : 1);
    struct asked asked = {0};
    struct world world;

    world_init(&world);
    know_ffn(&world);
    assert_int_equal(ask(&world, &asked, &request), 0);
    answer(&world, 0, response_of(tensors, count, SKEP_COMPRESSION_NONE));
    assert_int_equal(asked.ends, 1);
    assert_int_equal(asked.rc, rc);
    if (!strstr(asked.text, text))
        fail_msg("\"%s\" does not say \"%s\"", asked.text, text);
    skep_expert_call_fini(&asked.call);
    world_fini(&world);
}

static void an_answer_that_does_not_fit_what_the_expert_said_is_named(void **state)
{
    const size_t wide[] = {2, 5}, huge[] = {1 << 20, WIDTH};
    const skep_tensor two[] = {rows_of(2), rows_of(2)}, three_rows = rows_of(3),
                      whole_numbers = zeros(SKEP_INT32, 2, (const size_t[]){2, WIDTH}),
                      wider = zeros(SKEP_FLOAT32, 2, wide), larger = zeros(SKEP_INT8, 2, huge),
                      doubles = zeros(SKEP_FLOAT64, 2, (const size_t[]){2, WIDTH});

    (void)state;
    answer_with(two, 1, 0, "", SKEP_EXPERT_FORWARD);
    answer_with(two, 2, SKEP_EPEER_PROTO, "2 outputs", SKEP_EXPERT_FORWARD);
    answer_with(two, 0, SKEP_EPEER_PROTO, "0 outputs", SKEP_EXPERT_FORWARD);
    answer_with(&whole_numbers, 1, SKEP_EPEER_PROTO, "int32", SKEP_EXPERT_FORWARD);
    answer_with(&wider, 1, SKEP_EPEER_PROTO, "5", SKEP_EXPERT_FORWARD);
    answer_with(&three_rows, 1, SKEP_EPEER_PROTO, "3 rows", SKEP_EXPERT_FORWARD);
    answer_with(&larger, 1, SKEP_EPEER_LIMIT, "the answer: tensor", SKEP_EXPERT_FORWARD);
    answer_with(&doubles, 1, 0, "", SKEP_EXPERT_FORWARD); /* another kind of float is let through */
    answer_with(two, 1, 0, "", SKEP_EXPERT_BACKWARD);
    answer_with(two, 2, SKEP_EPEER_PROTO, "2 gradients", SKEP_EXPERT_BACKWARD);
    answer_with(&wider, 1, SKEP_EPEER_PROTO, "shape", SKEP_EXPERT_BACKWARD);
    answer_with(&three_rows, 1, SKEP_EPEER_PROTO, "shape", SKEP_EXPERT_BACKWARD);
    answer_with(&whole_numbers, 1, SKEP_EPEER_PROTO, "int32", SKEP_EXPERT_BACKWARD);
}

static void an_answer_cut_at_any_byte_is_no_answer(void **state)
{
    const skep_tensor input = rows_of(2);
    const struct skep_expert_request request =
        request_of(SKEP_EXPERT_FORWARD, "ffn.0.0", &input, 1);
    skep_bytes whole = response_of(&input, 1, SKEP_COMPRESSION_NONE);
    struct world world;

    (void)state;
    world_init(&world);
    for (size_t len = 0; len < whole.len; len++) {
        struct asked asked = {0};

        know_ffn(&world); /* it is forgotten when an answer makes no sense */
        assert_int_equal(ask(&world, &asked, &request), 0);
        answer(&world, 0, skep_bytes_of(whole.data, len));
        assert_int_equal(asked.ends, 1);
        assert_true(asked.rc == SKEP_EPEER_FRAME || asked.rc == SKEP_EPEER_PROTO);
        skep_expert_call_fini(&asked.call);
    }
    world_fini(&world);
}

/* ---- requests that make no sense ---- */

static void refuse(const skep_tensor *tensors, size_t count, size_t input_count,
                   enum skep_expert_call_kind kind, int rc, const char *text)
{
    struct skep_expert_request request = request_of(kind, "ffn.0.0", tensors, count);
    struct asked asked = {0};
    struct world world;

    world_init(&world);
    request.input_count = input_count;
    assert_int_equal(ask(&world, &asked, &request), rc);
    if (!strstr(asked.why, text))
        fail_msg("\"%s\" does not say \"%s\"", asked.why, text);
    assert_null(asked.call.state);
    assert_int_equal(world.rpc.call_count, 0);
    world_fini(&world);
}

static void what_is_no_tensor_is_refused_before_anything_is_sent(void **state)
{
    skep_tensor bad[SKEP_EXPERT_TENSORS_MAX + 1];

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(bad); i++)
        bad[i] = rows_of(2);
    refuse(bad, 0, 0, SKEP_EXPERT_FORWARD, SKEP_EINVAL, "no inputs");
    refuse(bad, 2, 1, SKEP_EXPERT_FORWARD, SKEP_EINVAL, "inputs only");
    refuse(bad, 2, 2, SKEP_EXPERT_BACKWARD, SKEP_EINVAL, "no gradients");
    refuse(bad, SKEP_EXPERT_TENSORS_MAX + 1, SKEP_EXPERT_TENSORS_MAX + 1, SKEP_EXPERT_FORWARD,
           SKEP_ELIMIT, "33 tensors");
    bad[1].data = NULL;
    refuse(bad, 2, 2, SKEP_EXPERT_FORWARD, SKEP_EINVAL, "input 1");
    refuse(bad, 2, 1, SKEP_EXPERT_BACKWARD, SKEP_EINVAL, "gradient 0");
    bad[0].dtype = (skep_dtype)77;
    refuse(bad, 1, 1, SKEP_EXPERT_FORWARD, SKEP_EINVAL, "77");
    bad[0] = rows_of(2);
    bad[0].axes = SKEP_TENSOR_AXES_MAX + 1;
    refuse(bad, 1, 1, SKEP_EXPERT_FORWARD, SKEP_EINVAL, "9 axes");
    bad[0] = rows_of((SKEP_EXPERT_BYTES_MAX >> 4) + 1);
    refuse(bad, 1, 1, SKEP_EXPERT_FORWARD, SKEP_ESIZE, "input 0");
    bad[0] = rows_of(SKEP_EXPERT_BYTES_MAX >> 5);
    bad[1] = rows_of((SKEP_EXPERT_BYTES_MAX >> 5) + 1);
    refuse(bad, 2, 2, SKEP_EXPERT_FORWARD, SKEP_ESIZE, "at most 268435456");
}

static void unfit(const skep_tensor *tensors, size_t count, enum skep_expert_call_kind kind,
                  const char *text)
{
    const struct skep_expert_request request = request_of(kind, "ffn.0.0", tensors, count);
    struct asked asked = {0};
    struct world world;

    world_init(&world);
    assert_int_equal(ask(&world, &asked, &request), 0);
    tell_info(&world, info_answer("ffn.0.0"));
    assert_int_equal(asked.ends, 1);
    assert_int_equal(asked.rc, SKEP_EINVAL);
    if (!strstr(asked.text, text))
        fail_msg("\"%s\" does not say \"%s\"", asked.text, text);
    assert_int_equal(world.rpc.call_count, 1);
    skep_expert_call_fini(&asked.call);
    world_fini(&world);
}

static void what_the_expert_does_not_take_is_named_before_it_is_sent(void **state)
{
    const size_t wide[] = {2, 5};
    skep_tensor given[] = {rows_of(2), rows_of(3)};

    (void)state;
    unfit(given, 2, SKEP_EXPERT_FORWARD, "2 inputs");
    unfit(given, 2, SKEP_EXPERT_BACKWARD, "3 rows");
    given[0] = zeros(SKEP_FLOAT32, 2, wide);
    unfit(given, 1, SKEP_EXPERT_FORWARD, "input 0");
    given[0] = rows_of(2);
    given[0].dtype = SKEP_INT32;
    unfit(given, 1, SKEP_EXPERT_FORWARD, "int32");
    given[0] = rows_of(0);
    unfit(given, 1, SKEP_EXPERT_FORWARD, "empty");
}

static void a_float_of_another_size_is_sent_as_it_is(void **state)
{
    const size_t shape[] = {2, WIDTH};
    const skep_tensor input = zeros(SKEP_FLOAT64, 2, shape);
    const struct skep_expert_request request =
        request_of(SKEP_EXPERT_FORWARD, "ffn.0.0", &input, 1);
    struct asked asked = {0};
    struct world world;

    (void)state;
    world_init(&world);
    know_ffn(&world);
    assert_int_equal(ask(&world, &asked, &request), 0);
    assert_non_null(fake_rpc_call(&world.rpc));
    assert_true(fake_call_request(fake_rpc_call(&world.rpc)).len > 8 * 2 * WIDTH);
    skep_expert_call_fini(&asked.call);
    world_fini(&world);
}

static void a_compression_that_does_not_go_with_the_numbers_is_named(void **state)
{
    const skep_tensor input = zeros(SKEP_INT8, 2, (const size_t[]){2, WIDTH});
    struct skep_expert_request request = request_of(SKEP_EXPERT_FORWARD, "ffn.0.0", &input, 1);
    struct asked asked = {0};
    struct world world;

    (void)state;
    world_init(&world);
    request.without_info = true;
    request.compression = SKEP_COMPRESSION_FLOAT16;
    assert_int_equal(ask(&world, &asked, &request), 0);
    assert_int_equal(asked.ends, 0); /* never from inside the start */
    test_env_advance(&world.env, 0);
    assert_int_equal(asked.ends, 1);
    assert_int_equal(asked.rc, SKEP_EINVAL);
    assert_non_null(strstr(asked.text, "input 0: "));
    skep_expert_call_fini(&asked.call);
    request.compression = (skep_compression)6;
    assert_int_equal(ask(&world, &asked, &request), SKEP_EINVAL);
    world_fini(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_those_of_hivemind),
        cmocka_unit_test(large_calls_are_streamed_as_hivemind_streams_them),
        cmocka_unit_test(one_byte_above_2_mib_of_numbers_is_streamed),
        cmocka_unit_test(what_would_pass_4_mib_on_the_wire_is_streamed),
        cmocka_unit_test(a_stream_gets_no_more_than_it_takes),
        cmocka_unit_test(streamed_answers_of_hivemind_are_understood),
        cmocka_unit_test(a_stream_cut_at_any_byte_is_no_answer),
        cmocka_unit_test(a_window_is_given_back_as_the_answer_is_used),
        cmocka_unit_test(an_answer_that_does_not_fit_what_the_expert_said_is_named),
        cmocka_unit_test(an_answer_cut_at_any_byte_is_no_answer),
        cmocka_unit_test(what_is_no_tensor_is_refused_before_anything_is_sent),
        cmocka_unit_test(what_the_expert_does_not_take_is_named_before_it_is_sent),
        cmocka_unit_test(a_float_of_another_size_is_sent_as_it_is),
        cmocka_unit_test(a_compression_that_does_not_go_with_the_numbers_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
