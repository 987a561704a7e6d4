/* SPDX-License-Identifier: MIT */
/* Identify: its bytes against a recording of a live p2pd, its limits, and pushes between hosts. */
#include "base/limits.h"
#include "host/host_impl.h"
#include "world.h"

static int read_all(skep_bytes data, size_t cut, struct skep_identify_info **info)
{
    struct skep_identify_reader reader;
    int rc;

    *info = NULL;
    skep_identify_reader_init(&reader, &skep_mem_std);
    rc = skep_identify_feed(&reader, skep_bytes_of(data.data, cut));
    if (rc == 0)
        rc = skep_identify_feed(&reader, skep_bytes_of(data.data + cut, data.len - cut));
    if (rc == 0)
        rc = skep_identify_finish(&reader, info);
    skep_identify_reader_fini(&reader);
    return rc;
}

/** The identify answer of the recording, behind its two tokens of multistream. */
static skep_bytes recorded(const json_t *live)
{
    skep_bytes all = test_unhex(test_str(live, "identify_stream_received"));

    skep_bytes_take(&all, 20 + 16);
    return all;
}

static void the_identify_of_a_live_p2pd_is_read_however_it_is_cut(void **state)
{
    const json_t *live = test_get(test_vectors("transport.json"), "live_dial");
    const json_t *expected = test_get(live, "identify");
    const json_t *protocols = test_get(expected, "protocols");
    skep_bytes message = recorded(live);

    (void)state;
    for (size_t cut = 0; cut <= message.len; cut++) {
        struct skep_identify_info *info;
        uint8_t binary[SKEP_MULTIADDR_LEN_MAX];

        assert_int_equal(read_all(message, cut, &info), 0);
        assert_int_equal(info->protocol_count, json_array_size(protocols));
        for (size_t i = 0; i < info->protocol_count; i++)
            assert_string_equal(info->protocols[i],
                                json_string_value(json_array_get(protocols, i)));
        assert_true(
            skep_bytes_equal(info->agent, skep_bytes_str(test_str(expected, "agentVersion"))));
        assert_int_equal(info->protocol_version.len, 0);
        assert_int_equal(info->addr_count, 1);
        assert_string_equal(
            test_hex(binary, skep_multiaddr_encode(binary, &info->addrs[0], false)),
            json_string_value(json_array_get(test_get(expected, "listenAddrs"), 0)));
        assert_string_equal(test_hex(binary, skep_multiaddr_encode(binary, &info->observed, false)),
                            test_str(expected, "observedAddr"));
        assert_true(info->speaks_kad);
        assert_true(info->takes_push);
        skep_identify_info_free(&skep_mem_std, info);
    }
    for (size_t len = 0; len < message.len; len++) {
        struct skep_identify_info *info;

        assert_int_equal(read_all(skep_bytes_of(message.data, len), 0, &info), SKEP_EPEER_FRAME);
        assert_null(info);
    }
}

static void put_length_prefixed(struct skep_buf *out, const struct skep_buf *body)
{
    skep_buf_put_varint(out, body->len);
    skep_buf_put_bytes(out, skep_buf_view(body));
}

static void messages_are_merged_until_the_end_of_the_stream(void **state)
{
    struct skep_buf body, out;
    struct skep_identify_info *info;

    (void)state;
    skep_buf_init(&body, &skep_mem_std);
    skep_buf_init(&out, &skep_mem_std);
    for (int i = 0; i < SKEP_IDENTIFY_MESSAGES_MAX; i++) {
        char name[16];

        skep_buf_clear(&body);
        snprintf(name, sizeof name, "/p/%d", i);
        skep_pb_put_str(&body, 3, name);
        skep_pb_put_str(&body, 6, name);
        put_length_prefixed(&out, &body);
    }
    assert_int_equal(read_all(skep_buf_view(&out), 9, &info), 0);
    assert_int_equal(info->protocol_count, SKEP_IDENTIFY_MESSAGES_MAX);
    assert_string_equal(info->protocols[9], "/p/9");
    assert_string_equal((const char *)info->agent.data, "/p/9");
    skep_identify_info_free(&skep_mem_std, info);
    /* one message more */
    put_length_prefixed(&out, &body);
    assert_int_equal(read_all(skep_buf_view(&out), 0, &info), SKEP_EPEER_LIMIT);
    skep_buf_fini(&out);
    skep_buf_fini(&body);
}

static void one_byte_or_item_beyond_a_limit_is_refused_or_left_out(void **state)
{
    struct skep_buf body, out;
    struct skep_identify_info *info;
    uint8_t *text = calloc(1, SKEP_IDENTIFY_MESSAGE_MAX);

    (void)state;
    skep_buf_init(&body, &skep_mem_std);
    skep_buf_init(&out, &skep_mem_std);
    skep_pb_put_bytes(&body, 6, skep_bytes_of(text, SKEP_IDENTIFY_MESSAGE_MAX - 3));
    assert_int_equal(body.len, SKEP_IDENTIFY_MESSAGE_MAX);
    put_length_prefixed(&out, &body);
    assert_int_equal(read_all(skep_buf_view(&out), 0, &info), 0);
    assert_int_equal(info->agent.len, SKEP_PEER_TEXT_MAX);
    skep_identify_info_free(&skep_mem_std, info);
    skep_buf_clear(&out);
    skep_buf_put_u8(&body, 0x30); /* never looked at: the length alone is too much */
    put_length_prefixed(&out, &body);
    assert_int_equal(read_all(skep_buf_view(&out), 0, &info), SKEP_EPEER_LIMIT);
    skep_buf_clear(&body);
    skep_buf_clear(&out);
    for (int i = 0; i <= SKEP_IDENTIFY_PROTOCOLS_MAX; i++)
        skep_pb_put_str(&body, 3, "/p");
    for (int i = 0; i <= SKEP_ADDRESSES_PER_PEER_MAX; i++)
        skep_pb_put_bytes(&body, 2, skep_bytes_of("\x04\x7f\x00\x00\x01\x06\x10\x00", 8));
    put_length_prefixed(&out, &body);
    assert_int_equal(read_all(skep_buf_view(&out), 0, &info), 0);
    assert_int_equal(info->protocol_count, SKEP_IDENTIFY_PROTOCOLS_MAX);
    assert_int_equal(info->addr_count, SKEP_ADDRESSES_PER_PEER_MAX);
    skep_identify_info_free(&skep_mem_std, info);
    skep_buf_fini(&out);
    skep_buf_fini(&body);
    free(text);
}

static int read_without_memory(const struct skep_mem *mem, void *user)
{
    struct skep_identify_reader reader;
    struct skep_identify_info *info = NULL;
    int rc;

    skep_identify_reader_init(&reader, mem);
    rc = skep_identify_feed(&reader, *(skep_bytes *)user);
    if (rc == 0)
        rc = skep_identify_finish(&reader, &info);
    skep_identify_reader_fini(&reader);
    skep_identify_info_free(mem, info);
    return rc;
}

static void reading_survives_each_failed_allocation(void **state)
{
    skep_bytes message = recorded(test_get(test_vectors("transport.json"), "live_dial"));

    (void)state;
    test_each_allocation_fails(read_without_memory, &message);
}

static bool lists(const struct skep_peer_info *info, const char *protocol)
{
    for (size_t i = 0; i < info->protocol_count; i++)
        if (strcmp(info->protocols[i], protocol) == 0)
            return true;
    return false;
}

static void both_sides_learn_what_the_other_serves_and_where(void **state)
{
    struct skep_host_options client = {.agent = "test/1"};
    struct world world;
    struct node *a, *b;
    struct skep_peer_info info;
    struct service service = {0};

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, &client);
    b = world_add(&world, NULL);
    skep_host_serve(b->host, "/test/x", service_on_stream, &service);
    assert_int_equal(world_connect(&world, a, b), 0);
    world_run(&world, 1 * SECOND);
    assert_int_equal(skep_host_peer_info(a->host, &b->identity.id, &info), 0);
    assert_true(info.identified);
    assert_true(lists(&info, "/test/x"));
    assert_true(lists(&info, "/ipfs/kad/1.0.0"));
    assert_int_equal(info.listen_addr_count, 1);
    assert_true(skep_multiaddr_same(&info.listen_addrs[0], &b->addr));
    assert_memory_equal(info.observed.ip, a->ip, 4);
    assert_true(skep_bytes_equal(info.agent, skep_bytes_str("skep/" SKEP_VERSION)));
    assert_int_equal(skep_host_peer_info(b->host, &a->identity.id, &info), 0);
    assert_false(lists(&info, "/ipfs/kad/1.0.0"));
    assert_true(skep_bytes_equal(info.agent, skep_bytes_str("test/1")));
    world_fini(&world);
}

static void changes_are_pushed_together_to_connected_peers(void **state)
{
    struct world world;
    struct node *a, *b;
    struct skep_peer_info info;
    struct service service = {0};
    struct skep_host_stats before, after;
    struct skep_multiaddr public = {.kind = SKEP_ADDR_IP4, .ip = {1, 2, 3, 4}, .port = 99};

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    assert_int_equal(skep_host_serve(b->host, "/test/old", service_on_stream, &service), 0);
    assert_int_equal(skep_host_serve(b->host, "/test/old", service_on_stream, &service),
                     SKEP_EEXIST);
    assert_int_equal(world_connect(&world, a, b), 0);
    world_run(&world, 1 * SECOND);
    skep_host_stats(b->host, &before);
    assert_int_equal(skep_host_serve(b->host, "/test/new", service_on_stream, &service), 0);
    skep_host_unserve(b->host, "/test/old");
    assert_int_equal(skep_host_announce(b->host, &public), 0);
    world_run(&world, 1 * SECOND);
    skep_host_stats(b->host, &after);
    assert_int_equal(after.streams_opened, before.streams_opened + 1);
    skep_host_peer_info(a->host, &b->identity.id, &info);
    assert_true(lists(&info, "/test/new"));
    assert_false(lists(&info, "/test/old"));
    assert_int_equal(info.listen_addr_count, 1);
    assert_true(skep_multiaddr_same(&info.listen_addrs[0], &public));
    world_fini(&world);
}

static void many_protocols_are_split_over_several_messages(void **state)
{
    static char names[SKEP_IDENTIFY_PROTOCOLS_MAX - 4][64];
    struct world world;
    struct node *a, *b;
    struct skep_peer_info info;
    struct service service = {0};

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    for (size_t i = 0; i < SKEP_COUNT_OF(names); i++) {
        snprintf(names[i], sizeof names[i], "/test/a/rather/long/name/of/a/protocol/%zu", i);
        assert_int_equal(skep_host_serve(b->host, names[i], service_on_stream, &service), 0);
    }
    assert_int_equal(world_connect(&world, a, b), 0);
    world_run(&world, 1 * SECOND);
    skep_host_peer_info(a->host, &b->identity.id, &info);
    assert_int_equal(info.protocol_count, SKEP_IDENTIFY_PROTOCOLS_MAX);
    assert_true(lists(&info, names[SKEP_COUNT_OF(names) - 1]));
    world_fini(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_identify_of_a_live_p2pd_is_read_however_it_is_cut),
        cmocka_unit_test(messages_are_merged_until_the_end_of_the_stream),
        cmocka_unit_test(one_byte_or_item_beyond_a_limit_is_refused_or_left_out),
        cmocka_unit_test(reading_survives_each_failed_allocation),
        cmocka_unit_test(both_sides_learn_what_the_other_serves_and_where),
        cmocka_unit_test(changes_are_pushed_together_to_connected_peers),
        cmocka_unit_test(many_protocols_are_split_over_several_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
