/* SPDX-License-Identifier: MIT */
/* Calls of experts over loopback. The other node serves the methods by hand: an expert that gives back its first input. */
#include "api_test.h"

#include <skep/expert.h>

#include "support/test.h"

enum { WIDTH = 4 };

/* A request without its uid is an answer with the same tensors: fields 1 and 2. */
static skep_view without_uid(skep_view request)
{
    const uint8_t *bytes = request.data;
    size_t skip = 2 + (size_t)bytes[1];

    assert_true(request.len >= skip && bytes[0] == 0x0a && bytes[1] < 0x80);
    return (skep_view){bytes + skip, request.len - skip};
}

/* The first of its tensors. */
static skep_view first_tensor(skep_view answer)
{
    const uint8_t *bytes = answer.data;

    assert_true(answer.len > 2 && bytes[0] == 0x12 && bytes[1] < 0x80);
    return (skep_view){bytes, 2 + (size_t)bytes[1]};
}

struct served {
    atomic_int infos, forwards, backwards, streams;
    skep_request *held; /* a forward that is never answered, until the test ends it */
    bool hold;
};

static void on_info(void *user_data, skep_request *request)
{
    struct served *served = user_data;
    const json_t *infos = test_get(test_vectors("expert.json"), "rpc_info");
    skep_bytes answer = test_unhex(test_str(json_array_get(infos, 0), "response"));

    atomic_fetch_add(&served->infos, 1);
    if (memmem(skep_request_data(request).data, skep_request_data(request).len, "none", 4))
        assert_int_equal((skep_request_fail)(request, "KeyError('none.0')\x1b[0m"), 0);
    else
        assert_int_equal(skep_request_reply(request, (skep_view){answer.data, answer.len}), 0);
}

static void on_forward(void *user_data, skep_request *request)
{
    struct served *served = user_data;

    atomic_fetch_add(&served->forwards, 1);
    if (served->hold)
        served->held = request;
    else
        skep_request_reply(request, without_uid(skep_request_data(request)));
}

static void on_backward(void *user_data, skep_request *request)
{
    struct served *served = user_data;

    atomic_fetch_add(&served->backwards, 1);
    skep_request_reply(request, first_tensor(without_uid(skep_request_data(request))));
}

static void on_part(void *user_data, skep_call_stream *stream, skep_view message)
{
    (void)user_data;
    assert_int_equal(skep_call_stream_send(stream, without_uid(message)), 0);
}

static void on_parts_end(void *user_data, skep_call_stream *stream)
{
    (void)user_data;
    skep_call_stream_end(stream);
}

static void on_parts_close(void *user_data, skep_call_stream *stream, int rc, const char *text)
{
    (void)user_data;
    (void)rc;
    (void)text;
    skep_call_stream_free(stream);
}

static void on_stream(void *user_data, skep_call_stream *stream)
{
    const skep_call_stream_events events = {
        .on_message = on_part, .on_end = on_parts_end, .on_close = on_parts_close};
    struct served *served = user_data;

    atomic_fetch_add(&served->streams, 1);
    skep_call_stream_use(stream, &events, NULL);
}

struct pair {
    struct served served;
    skep_node *server, *client;
    skep_expert expert;
};

static void serve(struct pair *pair)
{
    memset(pair, 0, sizeof *pair);
    test_vectors("expert.json"); /* loaded here, read on the server's thread */
    pair->server = node_on_thread(NULL);
    assert_int_equal(
        skep_p2p_serve(pair->server, "ConnectionHandler.rpc_info", on_info, &pair->served), 0);
    assert_int_equal(
        skep_p2p_serve(pair->server, "ConnectionHandler.rpc_forward", on_forward, &pair->served),
        0);
    assert_int_equal(
        skep_p2p_serve(pair->server, "ConnectionHandler.rpc_backward", on_backward, &pair->served),
        0);
    assert_int_equal(skep_p2p_serve_stream(pair->server, "ConnectionHandler.rpc_forward_stream",
                                           on_stream, &pair->served),
                     0);
    pair->expert = (skep_expert){.uid = "ffn.0.0", .peer = peer_of(pair->server)};
}

static void setup(struct pair *pair)
{
    serve(pair);
    pair->client = node_on_thread(NULL);
    connect_nodes(pair->client, pair->server);
}

static void teardown(struct pair *pair)
{
    skep_node_free(pair->client);
    skep_node_free(pair->server);
    if (pair->served.held)
        skep_request_fail(pair->served.held, "");
}

static const float numbers[2 * WIDTH] = {0.5F, -1, 2, 0.25F, 1, 1, -1, 0};
static const skep_tensor input = {
    .dtype = SKEP_FLOAT32, .axes = 2, .shape = {2, WIDTH}, .data = numbers};

static void check_echo(const skep_op *op)
{
    size_t count;
    const skep_tensor *outputs = skep_expert_result(op, &count);

    assert_non_null(outputs);
    assert_int_equal(count, 1);
    assert_int_equal(outputs[0].dtype, SKEP_FLOAT32);
    assert_int_equal(outputs[0].axes, 2);
    assert_int_equal(outputs[0].shape[0], 2);
    assert_memory_equal(outputs[0].data, numbers, sizeof numbers);
}

static void an_expert_says_what_it_takes(void **state)
{
    struct pair pair;
    const skep_expert_info *info;
    skep_op *op;

    (void)state;
    setup(&pair);
    assert_int_equal(skep_expert_get_info(&op, pair.client, &pair.expert, 0, NULL, NULL), 0);
    finish_ok(op);
    info = skep_expert_get_info_result(op);
    assert_non_null(info);
    assert_int_equal(info->input_count, 1);
    assert_int_equal(info->output_count, 1);
    assert_int_equal(info->inputs[0].dtype, SKEP_FLOAT32);
    assert_int_equal(info->inputs[0].shape[0], WIDTH);
    assert_null(info->inputs[0].name);
    assert_null(skep_expert_result(op, NULL));
    teardown(&pair);
    assert_int_equal(info->outputs[0].axes, 1); /* owned by the operation */
    skep_op_free(op);
}

static void forward_and_backward_give_tensors_that_outlive_the_node(void **state)
{
    const skep_tensor gradient = input;
    skep_op *forward, *backward;
    struct pair pair;

    (void)state;
    setup(&pair);
    assert_int_equal(
        skep_expert_forward(&forward, pair.client, &pair.expert, &input, 1, NULL, NULL, NULL), 0);
    finish_ok(forward);
    assert_int_equal(skep_expert_backward(&backward, pair.client, &pair.expert, &input, 1,
                                          &gradient, 1, NULL, NULL, NULL),
                     0);
    finish_ok(backward);
    assert_null(skep_expert_get_info_result(forward));
    assert_int_equal(pair.served.infos, 1);
    assert_int_equal(pair.served.forwards, 1);
    assert_int_equal(pair.served.backwards, 1);
    teardown(&pair);
    check_echo(forward);
    check_echo(backward);
    skep_op_free(forward);
    skep_op_free(backward);
}

static void large_tensors_are_streamed_both_ways(void **state)
{
    enum { COLUMNS = 600 << 10 };
    const skep_expert_options options = {.struct_size = sizeof options, .without_info = true};
    skep_tensor large = {.dtype = SKEP_FLOAT32, .axes = 2, .shape = {4, COLUMNS}};
    float *values = malloc(4 * COLUMNS * sizeof *values);
    const skep_tensor *outputs;
    struct pair pair;
    size_t count;
    skep_op *op;

    (void)state;
    assert_non_null(values);
    for (size_t i = 0; i < 4 * (size_t)COLUMNS; i++)
        values[i] = (float)i / 3;
    large.data = values;
    setup(&pair);
    assert_int_equal(
        skep_expert_forward(&op, pair.client, &pair.expert, &large, 1, &options, NULL, NULL), 0);
    finish_ok(op);
    outputs = skep_expert_result(op, &count);
    assert_int_equal(count, 1);
    assert_int_equal(skep_tensor_bytes(&outputs[0]), skep_tensor_bytes(&large));
    assert_memory_equal(outputs[0].data, values, skep_tensor_bytes(&large));
    assert_int_equal(pair.served.streams, 1);
    assert_int_equal(pair.served.infos, 0);
    skep_op_free(op);
    teardown(&pair);
    free(values);
}

static void many_calls_are_in_flight_at_once(void **state)
{
    enum { CALLS = 200 };
    skep_op *ops[CALLS];
    struct pair pair;

    (void)state;
    setup(&pair);
    for (size_t i = 0; i < CALLS; i++)
        assert_int_equal(
            skep_expert_forward(&ops[i], pair.client, &pair.expert, &input, 1, NULL, NULL, NULL),
            0);
    for (size_t i = 0; i < CALLS; i++) {
        finish_ok(ops[i]);
        check_echo(ops[i]);
        skep_op_free(ops[i]);
    }
    assert_int_equal(pair.served.infos, 1);
    teardown(&pair);
}

static void copied_tensors_may_go_at_once(void **state)
{
    const skep_expert_options options = {.struct_size = sizeof options, .copy = true};
    float *gone = malloc(sizeof numbers);
    skep_tensor *tensor = malloc(sizeof *tensor);
    char *uid = strdup("ffn.0.0");
    struct pair pair;
    skep_op *op;

    (void)state;
    assert_non_null(gone);
    assert_non_null(tensor);
    memcpy(gone, numbers, sizeof numbers);
    *tensor = input;
    tensor->data = gone;
    setup(&pair);
    pair.expert.uid = uid;
    assert_int_equal(
        skep_expert_forward(&op, pair.client, &pair.expert, tensor, 1, &options, NULL, NULL), 0);
    free(gone);
    free(tensor);
    free(uid);
    finish_ok(op);
    check_echo(op);
    skep_op_free(op);
    teardown(&pair);
}

static void what_the_expert_answers_as_an_error_is_told_and_escaped(void **state)
{
    struct pair pair;
    skep_op *op;

    (void)state;
    setup(&pair);
    pair.expert.uid = "none.0";
    assert_int_equal(
        skep_expert_forward(&op, pair.client, &pair.expert, &input, 1, NULL, NULL, NULL), 0);
    assert_int_equal(skep_op_wait_for(op, PATIENCE_US), SKEP_EPEER_REMOTE);
    assert_string_equal(skep_op_text(op), "KeyError('none.0')\\x1b[0m");
    assert_null(skep_expert_result(op, NULL));
    skep_op_free(op);
    teardown(&pair);
}

static void what_the_expert_does_not_take_ends_with_a_sentence(void **state)
{
    const skep_tensor two[] = {input, input};
    struct pair pair;
    skep_op *op;

    (void)state;
    setup(&pair);
    for (size_t i = 0; i < 2; i++) { /* the same whether the info is known or not */
        assert_int_equal(
            skep_expert_forward(&op, pair.client, &pair.expert, two, 2, NULL, NULL, NULL), 0);
        assert_int_equal(skep_op_wait_for(op, PATIENCE_US), SKEP_EINVAL);
        assert_non_null(strstr(skep_op_text(op), "2 inputs"));
        skep_op_free(op);
    }
    assert_int_equal(pair.served.forwards, 0);
    teardown(&pair);
}

static void what_makes_no_sense_is_refused_by_the_call(void **state)
{
    const skep_expert_options no_size = {.copy = true};
    skep_tensor bad = input;
    struct pair pair;
    skep_op *op;

    (void)state;
    setup(&pair);
#define REFUSED(rc, call, words)                                                                   \
    do {                                                                                           \
        assert_int_equal((call), rc);                                                              \
        assert_null(op);                                                                           \
        assert_non_null(strstr(skep_last_error_text(), words));                                    \
    } while (0)
#define FORWARD(expert, tensors, count, options)                                                   \
    skep_expert_forward(&op, pair.client, expert, tensors, count, options, NULL, NULL)
    REFUSED(SKEP_EINVAL, FORWARD(NULL, &input, 1, NULL), "no expert");
    REFUSED(SKEP_EINVAL, FORWARD(&pair.expert, NULL, 1, NULL), "no inputs");
    REFUSED(SKEP_EINVAL, FORWARD(&pair.expert, &input, 0, NULL), "no inputs");
    REFUSED(SKEP_EINVAL, FORWARD(&pair.expert, &input, 1, &no_size), "struct_size");
    bad.data = NULL;
    REFUSED(SKEP_EINVAL, FORWARD(&pair.expert, &bad, 1, NULL), "input 0");
    bad = input;
    bad.shape[0] = 1 << 26;
    REFUSED(SKEP_ESIZE, FORWARD(&pair.expert, &bad, 1, NULL), "input 0");
    REFUSED(
        SKEP_EINVAL,
        skep_expert_backward(&op, pair.client, &pair.expert, &input, 1, NULL, 0, NULL, NULL, NULL),
        "no gradients");
    pair.expert.uid = "ffn.";
    REFUSED(SKEP_EUID, FORWARD(&pair.expert, &input, 1, NULL), "ffn.");
    pair.expert = (skep_expert){.uid = "ffn.0.0"};
    REFUSED(SKEP_EPEERID, FORWARD(&pair.expert, &input, 1, NULL), "");
    REFUSED(SKEP_EPEERID, skep_expert_get_info(&op, pair.client, &pair.expert, 0, NULL, NULL), "");
#undef FORWARD
#undef REFUSED
    teardown(&pair);
}

static void a_call_ends_by_its_timeout_its_cancel_and_its_node(void **state)
{
    const skep_expert_options options = {.struct_size = sizeof options,
                                         .timeout_us = SECOND_US / 10};
    skep_op *late, *canceled, *closed;
    struct pair pair;

    (void)state;
    setup(&pair);
    pair.served.hold = true;
    assert_int_equal(
        skep_expert_forward(&late, pair.client, &pair.expert, &input, 1, &options, NULL, NULL), 0);
    assert_int_equal(skep_op_wait_for(late, PATIENCE_US), SKEP_ETIMEDOUT);
    skep_op_free(late);
    skep_request_fail(pair.served.held, "");
    pair.served.held = NULL;
    pair.served.hold = false;
    assert_int_equal(
        skep_expert_forward(&canceled, pair.client, &pair.expert, &input, 1, NULL, NULL, NULL), 0);
    skep_op_cancel(canceled);
    assert_true(skep_op_wait_for(canceled, PATIENCE_US) <= 0);
    skep_op_free(canceled);
    pair.expert.peer.bytes[10] ^= 1; /* a peer that there is not */
    assert_int_equal(
        skep_expert_forward(&closed, pair.client, &pair.expert, &input, 1, NULL, NULL, NULL), 0);
    teardown(&pair);
    assert_true(skep_op_wait(closed) < 0);
    skep_op_free(closed);
}

/* The caller's own thread runs the loop, nothing is looked up, and the server is known by its address. */
static void a_node_without_a_dht_that_its_caller_drives_calls_experts(void **state)
{
    skep_node_options options;
    struct pair pair;
    char **addresses;
    skep_op *op;

    (void)state;
    serve(&pair);
    skep_node_options_init(&options);
    options.no_dht = options.caller_driven = true;
    assert_int_equal(skep_node_new(&pair.client, &options), 0);
    addresses = addresses_of(pair.server);
    assert_int_equal(skep_p2p_add_address(pair.client, &pair.expert.peer, addresses[0]), 0);
    skep_free(addresses);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(
            skep_expert_forward(&op, pair.client, &pair.expert, &input, 1, NULL, NULL, NULL), 0);
        assert_int_equal(skep_node_run_until(pair.client, op), 0);
        check_echo(op);
        skep_op_free(op);
    }
    assert_int_equal(pair.served.infos, 1);
    teardown(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_expert_says_what_it_takes),
        cmocka_unit_test(forward_and_backward_give_tensors_that_outlive_the_node),
        cmocka_unit_test(large_tensors_are_streamed_both_ways),
        cmocka_unit_test(many_calls_are_in_flight_at_once),
        cmocka_unit_test(copied_tensors_may_go_at_once),
        cmocka_unit_test(what_the_expert_answers_as_an_error_is_told_and_escaped),
        cmocka_unit_test(what_the_expert_does_not_take_ends_with_a_sentence),
        cmocka_unit_test(what_makes_no_sense_is_refused_by_the_call),
        cmocka_unit_test(a_call_ends_by_its_timeout_its_cancel_and_its_node),
        cmocka_unit_test(a_node_without_a_dht_that_its_caller_drives_calls_experts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
