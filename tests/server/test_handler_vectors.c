/* SPDX-License-Identifier: MIT */
/* Calls that a hivemind server answered (vectors/expert.json), answered by ours: the same experts, the same request bytes. Where an answer is numbers they are compared
 * as such; where it is an error, or what an expert says of itself, to the byte. */
#include "server/fake_rpc.h"
#include "server/handler.h"
#include "support/test.h"

#include "moe/expert_message.h"

enum { HIDDEN = 4 };

/* One hivemind server: the experts "ffn.0.0" and, with FLOAT16 for its inputs, the nop expert "half.0.0". */
struct server {
    struct test_env env;
    struct skep_class class;
    struct skep_training training;
    struct skep_hosted expert;
    const char *uid;
    struct skep_runtime *runtime;
    struct fake_rpc rpc;
    struct skep_handler *handler;
};

static struct skep_hosted *find(void *user, skep_bytes uid)
{
    struct server *server = user;

    return skep_bytes_equal(uid, skep_bytes_str(server->uid)) ? &server->expert : NULL;
}

static void load_weights(struct skep_backend *backend, const json_t *weights)
{
    for (size_t i = 0; i < backend->class->schema.parameter_count; i++) {
        const json_t *weight = test_get(weights, backend->class->schema.parameters[i].name);
        skep_bytes numbers = test_unhex(test_str(weight, "float32_le"));

        assert_int_equal(numbers.len, backend->counts[i] * sizeof(float));
        memcpy(backend->parameters[i], numbers.data, numbers.len);
    }
}

static void server_init(struct server *server, const char *uid, const char *class,
                        skep_compression compression)
{
    static const struct skep_task_pool_options pool = {1, 4096, 0};
    struct skep_handler_options options = {.class = &server->class,
                                           .compression = compression,
                                           .memory_bytes = SKEP_MIB(64),
                                           .find = find,
                                           .user = server};
    struct skep_prng prng;
    char why[256];

    memset(server, 0, sizeof *server);
    test_env_init(&server->env, 1);
    server->uid = uid;
    server->training.optimizer = SKEP_OPTIMIZER_NONE;
    skep_prng_init(&prng, 1);
    assert_int_equal(skep_class_open(&server->class, skep_expert_class_find(class), HIDDEN, NULL,
                                     why, sizeof why),
                     0);
    assert_int_equal(skep_backend_init(&server->expert.backend, server->env.env.mem, &server->class,
                                       &server->training, skep_sgemm_portable, &prng),
                     0);
    if (strcmp(class, "ffn") == 0)
        load_weights(&server->expert.backend, test_get(test_vectors("expert.json"), "ffn_weights"));
    assert_int_equal(skep_runtime_new(&server->runtime, &server->env.env, 1), 0);
    skep_runtime_add(server->runtime, &server->expert, &pool);
    fake_rpc_init(&server->rpc, &server->env.env);
    assert_int_equal(
        skep_handler_new(&server->handler, &server->rpc.base, server->runtime, &options), 0);
}

static void server_fini(struct server *server)
{
    skep_handler_free(server->handler);
    fake_rpc_fini(&server->rpc);
    skep_runtime_free(server->runtime);
    skep_backend_fini(&server->expert.backend);
    skep_class_close(&server->class);
    test_env_fini(&server->env);
}

struct servers {
    struct server ffn, half;
};

static void servers_init(struct servers *servers)
{
    server_init(&servers->ffn, "ffn.0.0", "ffn", SKEP_COMPRESSION_NONE);
    server_init(&servers->half, "half.0.0", "nop", SKEP_COMPRESSION_FLOAT16);
}

static void servers_fini(struct servers *servers)
{
    server_fini(&servers->ffn);
    server_fini(&servers->half);
}

static struct server *server_of(struct servers *servers, const char *text)
{
    return strstr(text, "half") ? &servers->half : &servers->ffn;
}

static const char *method_of(const json_t *vector, char out[64])
{
    snprintf(out, 64, "ConnectionHandler.%s", test_str(vector, "rpc"));
    return out;
}

static void check_numbers(const skep_tensor *tensor, const json_t *numbers)
{
    size_t n = skep_tensor_elements(tensor);

    assert_int_equal(tensor->dtype, SKEP_FLOAT32);
    assert_int_equal(n, json_array_size(numbers));
    for (size_t i = 0; i < n; i++)
        assert_float_equal(((const float *)tensor->data)[i],
                           json_number_value(json_array_get(numbers, i)), 1e-5);
}

/* Two answers tensor by tensor: form, compression as far as lengths tell, and numbers. */
static void check_messages(skep_bytes ours, skep_bytes theirs)
{
    struct skep_expert_reader readers[2];
    skep_bytes messages[2] = {ours, theirs};

    for (int i = 0; i < 2; i++) {
        skep_expert_reader_init(&readers[i], &skep_mem_std, SKEP_EXPERT_RESPONSE,
                                SKEP_EXPERT_BYTES_MAX);
        assert_int_equal(skep_expert_reader_add(&readers[i], messages[i]), 0);
        assert_int_equal(skep_expert_reader_end(&readers[i]), 0);
    }
    assert_int_equal(ours.len, theirs.len); /* the same fields, if in another order */
    assert_int_equal(readers[0].count, readers[1].count);
    for (size_t i = 0; i < readers[0].count; i++) {
        const skep_tensor *a = &readers[0].tensors[i], *b = &readers[1].tensors[i];

        assert_int_equal(a->dtype, b->dtype);
        assert_int_equal(a->axes, b->axes);
        assert_memory_equal(a->shape, b->shape, a->axes * sizeof a->shape[0]);
        for (size_t k = 0; k < skep_tensor_elements(a); k++)
            assert_float_equal(((const float *)a->data)[k], ((const float *)b->data)[k], 1e-5);
    }
    skep_expert_reader_fini(&readers[0]);
    skep_expert_reader_fini(&readers[1]);
}

static void info_is_what_hivemind_says_to_the_byte(void **state)
{
    json_t *vectors = test_get(test_vectors("expert.json"), "rpc_info"), *vector;
    struct servers servers;
    size_t i;

    (void)state;
    servers_init(&servers);
    json_array_foreach(vectors, i, vector)
    {
        const json_t *response = json_object_get(vector, "response");
        struct fake_call call;
        skep_bytes wanted, request;

        request = response ? test_unhex(test_str(vector, "request"))
                           : skep_bytes_str("\x0a\x07"
                                            "ffn.9.9");
        struct server *server = server_of(&servers, test_str(vector, "what"));

        fake_call(&server->rpc, &call, "ConnectionHandler.rpc_info", &server->rpc.base.self,
                  request);
        wanted = test_unhex(response ? json_string_value(response) : test_str(vector, "error"));
        assert_int_equal(call.answers, 1);
        assert_int_equal(call.failed, !response);
        assert_string_equal(test_hex(call.answer.data, call.answer.len),
                            test_hex(wanted.data, wanted.len));
        fake_call_fini(&call);
    }
    servers_fini(&servers);
}

static void unary_calls_are_answered_as_by_hivemind(void **state)
{
    json_t *vectors = test_get(test_vectors("expert.json"), "calls"), *vector;
    struct servers servers;
    size_t i;

    (void)state;
    servers_init(&servers);
    json_array_foreach(vectors, i, vector)
    {
        struct server *server = server_of(&servers, test_str(vector, "uid"));
        struct fake_call call;
        char method[64];

        fake_call(&server->rpc, &call, method_of(vector, method), &server->rpc.base.self,
                  test_unhex(test_str(vector, "request")));
        test_env_advance(&server->env, 0);
        assert_int_equal(call.answers, 1);
        if (json_object_get(vector, "error")) {
            assert_true(call.failed);
            assert_string_equal((const char *)call.answer.data, test_str(vector, "text"));
        } else {
            struct skep_expert_reader reader;

            assert_false(call.failed);
            check_messages(skep_buf_view(&call.answer), test_unhex(test_str(vector, "response")));
            skep_expert_reader_init(&reader, &skep_mem_std, SKEP_EXPERT_RESPONSE, SKEP_MIB(1));
            assert_int_equal(skep_expert_reader_add(&reader, skep_buf_view(&call.answer)), 0);
            assert_int_equal(skep_expert_reader_end(&reader), 0);
            check_numbers(&reader.tensors[0], json_array_get(test_get(vector, "outputs"), 0));
            skep_expert_reader_fini(&reader);
        }
        fake_call_fini(&call);
    }
    servers_fini(&servers);
}

/* Frames as on the wire: marker, length, body. @return the marker, or -1 at the end. */
static int next_frame(skep_bytes *frames, skep_bytes *body)
{
    int marker;

    if (frames->len == 0)
        return -1;
    assert_true(frames->len >= 9);
    marker = frames->data[0];
    body->len = (size_t)skep_get_be64(frames->data + 1);
    skep_bytes_take(frames, 9);
    *body = skep_bytes_take(frames, body->len);
    return marker;
}

static void check_stream(const struct skep_rpc_stream *stream, skep_bytes received)
{
    skep_bytes body, out = skep_buf_view(&stream->out);
    int marker;

    while ((marker = next_frame(&received, &body)) == 0) {
        size_t len;

        assert_true(out.len >= 8);
        len = (size_t)skep_get_be64(out.data);
        skep_bytes_take(&out, 8);
        check_messages(skep_bytes_take(&out, len), body);
    }
    assert_int_equal(out.len, 0);
    if (marker == 1) { /* RPCError { 1 message } */
        skep_bytes_take(&body, 2);
        assert_int_equal(stream->failed, 1);
        assert_string_equal(test_hex(stream->text, strlen(stream->text)),
                            test_hex(body.data, body.len));
    } else {
        assert_int_equal(stream->finished, 1);
    }
}

static void streamed_calls_are_answered_as_by_hivemind(void **state)
{
    json_t *vectors = test_get(test_vectors("expert.json"), "streams"), *vector;
    struct servers servers;
    size_t i;

    (void)state;
    servers_init(&servers);
    json_array_foreach(vectors, i, vector)
    {
        struct server *server = &servers.ffn;
        char method[64];
        struct skep_rpc_stream *stream =
            fake_stream_open(&server->rpc, method_of(vector, method), &server->rpc.base.self);
        skep_bytes sent = test_unhex(test_str(vector, "sent")), body;
        int marker;

        assert_non_null(stream);
        while ((marker = next_frame(&sent, &body)) == 0)
            fake_stream_send(stream, body, (skep_bytes){NULL, 0});
        assert_int_equal(marker, 1);
        fake_stream_end(stream);
        while (fake_stream_arrive(stream, SIZE_MAX) > 0)
            test_env_advance(&server->env, 0);
        test_env_advance(&server->env, 0);
        check_stream(stream, test_unhex(test_str(vector, "received")));
        fake_stream_free(stream);
    }
    servers_fini(&servers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_is_what_hivemind_says_to_the_byte),
        cmocka_unit_test(unary_calls_are_answered_as_by_hivemind),
        cmocka_unit_test(streamed_calls_are_answered_as_by_hivemind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
