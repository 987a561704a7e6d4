/* SPDX-License-Identifier: MIT */
/* The API with memory that runs out: a node that comes and goes, and operations of every kind begun on it, with each allocation failing in turn. */
#include "support/test.h"

#include <skep/dht.h>
#include <skep/expert.h>
#include <skep/moe.h>
#include <skep/p2p.h>

#include "base/map.h"

extern const struct skep_mem *skep_api_mem;

static void use(const struct skep_mem *mem)
{
    skep_api_mem = mem;
    skep_map_set_mem(mem);
}

/* What fails while memory is short may be told in another way than by its name, as a peer would. */
static int as_memory(const struct skep_mem *mem, int rc)
{
    const struct test_mem *test = mem->ctx;

    return rc < 0 && test->fail_at == 0 ? SKEP_ENOMEM : rc;
}

static int new_node(skep_node **node)
{
    const char *listen = "/ip4/127.0.0.1/tcp/0", *peers[] = {"/ip4/127.0.0.1/tcp/1"};
    skep_node_options options;

    skep_node_options_init(&options);
    options.caller_driven = true;
    options.listen = &listen;
    options.listen_count = 1;
    options.initial_peers = peers;
    options.initial_peer_count = 1;
    return skep_node_new(node, &options);
}

static int make_and_free(const struct skep_mem *mem, void *user)
{
    skep_node *node;
    char **addresses;
    int rc;

    (void)user;
    use(mem);
    rc = new_node(&node);
    if (rc == 0) {
        addresses = skep_p2p_addresses(node, NULL);
        rc = addresses ? 0 : SKEP_ENOMEM;
        skep_free(addresses);
        skep_node_free(node);
    }
    use(&skep_mem_std);
    return as_memory(mem, rc);
}

static void a_node_comes_and_goes_with_each_allocation_failing(void **state)
{
    (void)state;
    test_each_allocation_fails(make_and_free, NULL);
}

static void on_end(skep_op *op, void *user_data)
{
    (void)op;
    ++*(int *)user_data;
}

static void on_request(void *user_data, skep_request *request)
{
    (void)user_data;
    skep_request_fail(request, "");
}

static void on_raw_close(void *user_data, skep_raw_stream *stream, int rc)
{
    (void)stream;
    (void)rc;
    ++*(int *)user_data;
}

static int begin_all(skep_node *node, int *begun, int *ended)
{
    static const size_t grid[] = {4, 4};
    static const float values[4];
    const void *scores[] = {values, values};
    const skep_raw_stream_events events = {.on_close = on_raw_close};
    const char *uid = "ffn.1.2", *prefix = "ffn.";
    const skep_key key = skep_key_text("key");
    const skep_record record = {
        .key = key, .value = {"\x05", 1}, .expiration_unix_s = skep_dht_time() + 30};
    const skep_expert_options copied = {.struct_size = sizeof copied, .copy = true};
    const skep_tensor tensor = {.dtype = SKEP_FLOAT32, .axes = 2, .shape = {1, 4}, .data = values};
    skep_expert expert = {.uid = "ffn.1.2"};
    skep_find_options find;
    skep_raw_stream *stream;
    skep_peer peer;
    int rc;

    assert_int_equal(
        skep_peer_from_text(&peer, "12D3KooWBfmETW1ZbkdZbKKPpE3jpjyQ5WBXoDF8y9oE8vMQPKLi"), 0);
    expert.peer = peer;
    skep_find_options_init(&find);
    find.prefix = "ffn.";
    find.grid_size = grid;
    find.dimensions = 2;
    find.scores = scores;
#define BEGIN(call)                                                                                \
    do {                                                                                           \
        if ((rc = (call)) < 0)                                                                     \
            return rc;                                                                             \
        ++*begun;                                                                                  \
    } while (0)
    BEGIN(
        skep_p2p_call(NULL, node, &peer, "C.m", (skep_view){"x", 1}, SKEP_FOREVER, on_end, ended));
    BEGIN(skep_p2p_ping(NULL, node, &peer, 0, on_end, ended));
    BEGIN(skep_p2p_find_peer(NULL, node, &peer, 0, on_end, ended));
    BEGIN(skep_p2p_wait_for_peers(NULL, node, 1, SKEP_FOREVER, on_end, ended));
    BEGIN(skep_dht_join(NULL, node, on_end, ended));
    BEGIN(skep_dht_get(NULL, node, &key, 1, NULL, on_end, ended));
    BEGIN(skep_dht_store(NULL, node, &record, 1, NULL, on_end, ended));
    BEGIN(skep_moe_declare(NULL, node, &uid, 1, NULL, on_end, ended));
    BEGIN(skep_moe_get_experts(NULL, node, &uid, 1, 0, on_end, ended));
    BEGIN(skep_moe_find(NULL, node, &find, on_end, ended));
    BEGIN(skep_moe_successors(NULL, node, &prefix, 1, NULL, on_end, ended));
    BEGIN(skep_expert_get_info(NULL, node, &expert, 0, on_end, ended));
    BEGIN(skep_expert_forward(NULL, node, &expert, &tensor, 1, &copied, on_end, ended));
    BEGIN(skep_p2p_open(&stream, node, &peer, "/test/none", &events, ended));
#undef BEGIN
    skep_raw_stream_free(stream);
    return skep_p2p_serve(node, "C.m", on_request, NULL);
}

static int begin_and_close(const struct skep_mem *mem, void *user)
{
    skep_node *node;
    int begun = 0, ended = 0, rc;

    (void)user;
    use(mem);
    if ((rc = new_node(&node)) == 0) {
        rc = begin_all(node, &begun, &ended);
        for (int i = 0; i < 3; i++)
            (void)skep_node_run(node, 0);
        skep_node_free(node);
        assert_int_equal(ended, begun); /* once each, whatever failed */
    }
    use(&skep_mem_std);
    return as_memory(mem, rc);
}

static void operations_end_once_with_each_allocation_failing(void **state)
{
    (void)state;
    test_each_allocation_fails(begin_and_close, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_comes_and_goes_with_each_allocation_failing),
        cmocka_unit_test(operations_end_once_with_each_allocation_failing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
