/* SPDX-License-Identifier: MIT */
/* What a program gets for calls that make no sense: an error with a sentence about it, never a crash. */
#include <fcntl.h>
#include <sys/stat.h>

#include "api_test.h"

#define REFUSED(call, code, words)                                                                 \
    do {                                                                                           \
        assert_int_equal(call, code);                                                              \
        if (!strstr(skep_last_error_text(), words))                                                \
            fail_msg("%s: \"%s\"", #call, skep_last_error_text());                                 \
    } while (0)

static const skep_view nothing = {NULL, 10};
static const skep_raw_stream_events raw_events = {.on_close = NULL};
static const skep_call_stream_events call_events = {.on_close = NULL};

static void take_request(void *user_data, skep_request *request)
{
    (void)user_data;
    skep_request_fail(request, NULL);
}

static void do_nothing(void *user_data)
{
    (void)user_data;
}

static bool accept_all(void *user_data, const skep_record *record)
{
    (void)user_data;
    return record != NULL;
}

/* A node that knows nobody, driven by the test. */
static skep_node *lonely_node(void)
{
    skep_node_options options;
    skep_node *node;

    skep_node_options_init(&options);
    options.caller_driven = true;
    assert_int_equal(skep_node_new(&node, &options), 0);
    return node;
}

static void calls_without_a_node_are_refused(void **state)
{
    skep_peer peer = {0};
    skep_op *op = (skep_op *)1;
    skep_raw_stream *raw = NULL;
    skep_call_stream *call = NULL;
    uint8_t id[20];
    const char *uid = "ffn.1.2", *prefix = "ffn.";
    skep_key key = skep_key_text("key");
    skep_record record = {0};
    skep_find_options find;
    skep_node_counters counters = {.struct_size = sizeof counters};

    (void)state;
    assert_int_equal(
        skep_peer_from_text(&peer, "12D3KooWE5s4qdrXpQScJuBzUFnXP7xdWvfyXpQwnZRWJwCkmhFM"), 0);
    skep_find_options_init(&find);
    skep_node_peer(NULL, &peer);
    REFUSED(skep_node_run(NULL, 0), SKEP_EINVAL, "node");
    REFUSED(skep_node_run_until(NULL, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_node_post(NULL, do_nothing, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_node_counters_get(NULL, &counters), SKEP_EINVAL, "node");
    REFUSED(skep_p2p_connect(&op, NULL, loopback, 0, NULL, NULL), SKEP_EINVAL, "node");
    assert_null(op);
    REFUSED(skep_p2p_connect_peer(&op, NULL, &peer, 0, NULL, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_p2p_ping(&op, NULL, &peer, 0, NULL, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_p2p_identify(&op, NULL, &peer, 0, NULL, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_p2p_find_peer(&op, NULL, &peer, 0, NULL, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_p2p_wait_for_peers(&op, NULL, 1, 0, NULL, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_p2p_disconnect(NULL, &peer), SKEP_EINVAL, "node");
    REFUSED(skep_p2p_add_address(NULL, &peer, loopback), SKEP_EINVAL, "node");
    REFUSED(skep_p2p_announce(NULL, loopback), SKEP_EINVAL, "node");
    REFUSED((int)skep_p2p_peers(NULL, NULL, 0), SKEP_EINVAL, "node");
    assert_null(skep_p2p_addresses(NULL, NULL));
    REFUSED(skep_p2p_call(&op, NULL, &peer, "C.m", nothing, 1, NULL, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_p2p_serve(NULL, "C.m", take_request, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_p2p_unserve(NULL, "C.m"), SKEP_EINVAL, "node");
    REFUSED(skep_p2p_unserve_protocol(NULL, "/p"), SKEP_EINVAL, "node");
    REFUSED(skep_p2p_open(&raw, NULL, &peer, "/p", &raw_events, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_p2p_call_stream(&call, NULL, &peer, "C.m", &call_events, NULL), SKEP_EINVAL,
            "node");
    REFUSED(skep_dht_join(&op, NULL, NULL, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_dht_id(NULL, id), SKEP_EINVAL, "node");
    REFUSED(skep_dht_get(&op, NULL, &key, 1, NULL, NULL, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_dht_store(&op, NULL, &record, 1, NULL, NULL, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_dht_clear_cache(NULL), SKEP_EINVAL, "node");
    REFUSED(skep_dht_add_validator(NULL, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_dht_add_rsa_validator(NULL, (skep_view){NULL, 0}, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_moe_declare(&op, NULL, &uid, 1, NULL, NULL, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_moe_get_experts(&op, NULL, &uid, 1, 0, NULL, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_moe_find(&op, NULL, &find, NULL, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_moe_initial_beam(&op, NULL, &find, NULL, NULL), SKEP_EINVAL, "node");
    REFUSED(skep_moe_successors(&op, NULL, &prefix, 1, NULL, NULL, NULL), SKEP_EINVAL, "node");
    assert_int_equal(skep_node_free(NULL), 0);
}

static void calls_without_an_object_are_refused(void **state)
{
    char text[8] = "x";
    skep_peer peer = {.len = 255};
    skep_view view;
    skep_token token;

    (void)state;
    REFUSED(skep_op_wait(NULL), SKEP_EINVAL, "operation");
    REFUSED(skep_op_wait_for(NULL, 1), SKEP_EINVAL, "operation");
    REFUSED(skep_op_poll(NULL), SKEP_EINVAL, "operation");
    skep_op_cancel(NULL);
    skep_op_free(NULL);
    assert_string_equal(skep_op_text(NULL), "");
    REFUSED(skep_request_reply(NULL, nothing), SKEP_EINVAL, "request");
    REFUSED(skep_request_fail(NULL, NULL), SKEP_EINVAL, "request");
    assert_true(skep_request_canceled(NULL));
    assert_null(skep_request_peer(NULL));
    assert_null(skep_request_data(NULL).data);
    REFUSED(skep_raw_stream_write(NULL, nothing), SKEP_EINVAL, "stream");
    REFUSED(skep_raw_stream_end(NULL), SKEP_EINVAL, "stream");
    REFUSED(skep_raw_stream_reset(NULL), SKEP_EINVAL, "stream");
    REFUSED(skep_call_stream_send(NULL, nothing), SKEP_EINVAL, "stream");
    REFUSED(skep_call_stream_fail(NULL, NULL), SKEP_EINVAL, "stream");
    REFUSED(skep_call_stream_cancel(NULL), SKEP_EINVAL, "stream");
    assert_null(skep_raw_stream_peer(NULL));
    assert_int_equal(skep_call_stream_backlog(NULL), 0);
    skep_raw_stream_use(NULL, NULL, NULL);
    skep_call_stream_use(NULL, NULL, NULL);
    skep_raw_stream_free(NULL);
    skep_call_stream_free(NULL);
    REFUSED(skep_peer_from_text(NULL, "x"), SKEP_EINVAL, "peer id");
    REFUSED(skep_peer_from_text(&peer, NULL), SKEP_EPEERID, "(null)");
    peer.len = 255;
    assert_string_equal(skep_peer_to_text(text, &peer), "");
    assert_false(skep_peer_equal(&peer, NULL));
    REFUSED(skep_p2p_method(NULL, 5, NULL, "C.m"), SKEP_EINVAL, "place");
    REFUSED(skep_p2p_method(text, sizeof text, NULL, NULL), SKEP_EINVAL, "method");
    assert_ptr_equal(skep_text_for_terminal(text, 0, "x"), text);
    assert_string_equal(skep_text_for_terminal(text, sizeof text, NULL), "");
    REFUSED(skep_unpack(NULL, &token), SKEP_EINVAL, "bytes");
    view = nothing;
    REFUSED(skep_unpack(&view, &token), SKEP_EINVAL, "msgpack");
    skep_node_options_init_size(NULL, 8);
    skep_find_options_init_size(NULL, 8);
    assert_int_equal(skep_identity_create(NULL, NULL), SKEP_EINVAL);
    assert_int_equal(skep_identity_load("/nowhere", NULL), SKEP_EINVAL);
}

static void a_pack_that_could_not_be_made_says_so_at_its_end(void **state)
{
    skep_pack *pack = NULL;
    skep_view view;

    (void)state;
    skep_pack_array(pack, 8);
    skep_pack_map(pack, 1);
    skep_pack_nil(pack);
    skep_pack_bool(pack, true);
    skep_pack_int(pack, 1);
    skep_pack_uint(pack, 1);
    skep_pack_float(pack, 1);
    skep_pack_str(pack, "x");
    skep_pack_bin(pack, view_of("x"));
    skep_pack_tuple(pack, view_of("\x90"));
    skep_pack_raw(pack, view_of("\xc0"));
    skep_pack_clear(pack);
    REFUSED(skep_pack_view(pack, &view), SKEP_ENOMEM, "out of memory");
    skep_pack_free(pack);
    pack = skep_pack_new();
    skep_pack_str(pack, NULL);
    REFUSED(skep_pack_view(pack, &view), SKEP_EVALUE, "value");
    skep_pack_free(pack);
}

static void bytes_that_are_not_there_are_refused(void **state)
{
    skep_node *node = lonely_node();
    skep_record record = {.value = nothing, .expiration_unix_s = skep_dht_time() + 10};
    skep_peer peer;
    skep_op *op;

    (void)state;
    assert_int_equal(
        skep_peer_from_text(&peer, "12D3KooWE5s4qdrXpQScJuBzUFnXP7xdWvfyXpQwnZRWJwCkmhFM"), 0);
    REFUSED(skep_p2p_call(&op, node, &peer, "C.m", nothing, 1, NULL, NULL), SKEP_EINVAL, "NULL");
    REFUSED(skep_p2p_call(&op, node, NULL, "C.m", (skep_view){NULL, 0}, 1, NULL, NULL),
            SKEP_EPEERID, "peer");
    REFUSED(skep_dht_store(&op, node, &record, 1, NULL, NULL, NULL), SKEP_EINVAL, "NULL");
    record.value = view_of("\xc0");
    record.subkey = nothing;
    REFUSED(skep_dht_store(&op, node, &record, 1, NULL, NULL, NULL), SKEP_EINVAL, "subkey");
    REFUSED(skep_dht_add_rsa_validator(node, nothing, NULL), SKEP_EINVAL, "PEM");
    REFUSED(skep_node_post(node, NULL, NULL), SKEP_EINVAL, "function");
    REFUSED(skep_node_run_until(node, NULL), SKEP_EINVAL, "operation");
    assert_int_equal(skep_node_free(node), 0);
}

/* {.latest = true} compiles; it must not mean the defaults without a word. */
static void options_whose_size_was_forgotten_are_refused(void **state)
{
    const skep_get_options get = {.latest = true};
    const skep_store_options store = {.exclude_self = true};
    const skep_declare_options declare = {.ttl_s = 3600};
    const skep_successors_options successors = {.grid_size = 4};
    const skep_get_options defaults = {0}, absurd = {.struct_size = 3};
    const char *uid = "ffn.1.2", *prefix = "ffn.";
    skep_node *node = lonely_node();
    skep_key key = skep_key_text("key");
    skep_record record = {.value = view_of("\xc0"), .expiration_unix_s = skep_dht_time() + 10};
    skep_op *op;

    (void)state;
    REFUSED(skep_dht_get(&op, node, &key, 1, &get, NULL, NULL), SKEP_EINVAL, "struct_size");
    REFUSED(skep_dht_get(&op, node, &key, 1, &absurd, NULL, NULL), SKEP_EINVAL, "struct_size");
    REFUSED(skep_dht_store(&op, node, &record, 1, &store, NULL, NULL), SKEP_EINVAL, "struct_size");
    REFUSED(skep_moe_declare(&op, node, &uid, 1, &declare, NULL, NULL), SKEP_EINVAL, "struct_size");
    REFUSED(skep_moe_successors(&op, node, &prefix, 1, &successors, NULL, NULL), SKEP_EINVAL,
            "struct_size");
    assert_int_equal(skep_dht_get(&op, node, &key, 1, &defaults, NULL, NULL), 0);
    assert_int_equal(skep_op_wait_for(op, PATIENCE_US), 0);
    skep_op_free(op);
    assert_int_equal(skep_node_free(node), 0);
}

/* Opening one for reading waits for a writer, for ever. */
static void a_pipe_is_no_identity_file(void **state)
{
    char path[] = "/tmp/skep-pipe-XXXXXX";
    skep_peer peer;

    (void)state;
    assert_non_null(mkdtemp(path));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    REFUSED(skep_identity_load(path, &peer), SKEP_EKEY, "not a file");
    unlink(path);
}

static void a_validator_needs_its_function(void **state)
{
    skep_record_validator validator = {0};
    skep_node *node = lonely_node();

    (void)state;
    REFUSED(skep_dht_add_validator(node, &validator), SKEP_EINVAL, "validate");
    validator.validate = accept_all;
    assert_int_equal(skep_dht_add_validator(node, &validator), 0);
    assert_int_equal(skep_node_free(node), 0);
}

/* From another thread than the loop's, where what the loop finds would come too late to be the call's error. */
static void sizes_beyond_their_bounds_are_refused_by_the_call(void **state)
{
    static uint8_t large[5 << 20];
    static float row[4];
    const void *scores[] = {row};
    size_t grid[] = {4};
    const char *uid = "ffn.1";
    skep_node *node = node_on_thread(NULL);
    skep_pack *pack = skep_pack_new();
    skep_key key = skep_key_text("key");
    skep_record record = {.expiration_unix_s = skep_dht_time() + 10};
    skep_find_options find;
    skep_peer peer;
    skep_op *op;

    (void)state;
    assert_int_equal(
        skep_peer_from_text(&peer, "12D3KooWE5s4qdrXpQScJuBzUFnXP7xdWvfyXpQwnZRWJwCkmhFM"), 0);
    REFUSED(skep_p2p_call(&op, node, &peer, "C.m", (skep_view){large, 4 << 20}, 1, NULL, NULL),
            SKEP_ESIZE, "4194304 bytes");
    REFUSED(skep_dht_get(&op, node, &key, ((size_t)1 << 20) + 1, NULL, NULL, NULL), SKEP_ELIMIT,
            "1048577 keys");
    REFUSED(skep_dht_store(&op, node, &record, SIZE_MAX, NULL, NULL, NULL), SKEP_ELIMIT, "records");
    REFUSED(skep_moe_declare(&op, node, &uid, SIZE_MAX, NULL, NULL, NULL), SKEP_ELIMIT, "uids");
    skep_pack_bin(pack, (skep_view){large, sizeof large});
    assert_int_equal(skep_pack_view(pack, &record.value), 0);
    REFUSED(skep_dht_store(&op, node, &record, 1, NULL, NULL, NULL), SKEP_ESIZE, "record 0");
    skep_pack_free(pack);
    skep_find_options_init(&find);
    find.prefix = "ffn.";
    find.dimensions = 1;
    find.grid_size = grid;
    find.scores = scores;
    find.beam_size = 65537;
    REFUSED(skep_moe_find(&op, node, &find, NULL, NULL), SKEP_ELIMIT, "beam size is 65537");
    find.beam_size = 1;
    find.batch_size = SIZE_MAX;
    REFUSED(skep_moe_find(&op, node, &find, NULL, NULL), SKEP_EINVAL, "no array");
    find.batch_size = 1;
    grid[0] = ((size_t)1 << 20) + 1;
    REFUSED(skep_moe_find(&op, node, &find, NULL, NULL), SKEP_EINVAL, "size 1048577");
    assert_int_equal(skep_node_free(node), 0);
}

static void node_options_out_of_range_are_refused_by_name(void **state)
{
    char agent[300];
    skep_node_options options;
    skep_node *node;

    (void)state;
    skep_node_options_init(&options);
    options.bucket_size = 65;
    REFUSED(skep_node_new(&node, &options), SKEP_EINVAL, "bucket_size is 65");
    options.bucket_size = 4;
    options.num_replicas = 5;
    REFUSED(skep_node_new(&node, &options), SKEP_EINVAL, "num_replicas is 5");
    skep_node_options_init(&options);
    memset(agent, 'a', sizeof agent);
    agent[257] = '\0';
    options.agent = agent;
    REFUSED(skep_node_new(&node, &options), SKEP_EINVAL, "agent has 257 bytes");
}

/* ---- a program that counts wrong, and handlers that are taken away ---- */

struct slow_end {
    skep_raw_stream *_Atomic stream;
    atomic_size_t got;
    atomic_int closed;
};

static void slow_data(void *user_data, skep_raw_stream *stream, skep_view data)
{
    struct slow_end *end = user_data;

    end->got += data.len;
    skep_raw_stream_consume(stream, SIZE_MAX); /* of all things */
    skep_raw_stream_consume(stream, 1);
}

static void slow_close(void *user_data, skep_raw_stream *stream, int rc)
{
    struct slow_end *end = user_data;

    (void)rc;
    skep_raw_stream_free(stream);
    end->closed++;
}

static void take_slow(void *user_data, skep_raw_stream *stream)
{
    static const skep_raw_stream_events events = {
        .on_data = slow_data, .on_close = slow_close, .manual_consume = true};

    skep_raw_stream_use(stream, &events, user_data);
}

static void more_than_was_given_is_not_consumed(void **state)
{
    static uint8_t bytes[1 << 20];
    skep_node *near = node_on_thread(NULL), *far = node_on_thread(NULL);
    skep_peer peer = peer_of(far);
    struct slow_end end = {.got = 0}, ours = {.got = 0};
    const skep_raw_stream_events events = {.on_close = slow_close};
    skep_raw_stream *stream;

    (void)state;
    connect_nodes(near, far);
    assert_int_equal(skep_p2p_serve_protocol(far, "/slow", take_slow, &end), 0);
    assert_int_equal(skep_p2p_open(&stream, near, &peer, "/slow", &events, &ours), 0);
    assert_int_equal(skep_raw_stream_write(stream, (skep_view){bytes, sizeof bytes}), 0);
    for (int i = 0; i < 2000 && end.got < sizeof bytes; i++)
        usleep(5000);
    assert_int_equal(end.got, sizeof bytes);
    assert_int_equal(skep_node_free(near), 0);
    assert_int_equal(skep_node_free(far), 0);
    assert_int_equal(end.closed, 1);
    assert_int_equal(ours.closed, 1);
}

struct held {
    skep_request *_Atomic request;
};

static void hold_request(void *user_data, skep_request *request)
{
    struct held *held = user_data;

    held->request = request;
}

static void a_request_of_a_method_no_longer_served_is_canceled(void **state)
{
    skep_node *near = node_on_thread(NULL), *far = node_on_thread(NULL);
    skep_peer peer = peer_of(far);
    struct held held = {.request = NULL};
    skep_op *op;

    (void)state;
    connect_nodes(near, far);
    assert_int_equal(skep_p2p_serve(far, "C.hold", hold_request, &held), 0);
    assert_int_equal(
        skep_p2p_call(&op, near, &peer, "C.hold", view_of("x"), SKEP_FOREVER, NULL, NULL), 0);
    for (int i = 0; i < 2000 && !held.request; i++)
        usleep(5000);
    assert_non_null(held.request);
    assert_false(skep_request_canceled(held.request));
    assert_int_equal(skep_p2p_unserve(far, "C.hold"), 0);
    assert_int_equal(skep_op_wait_for(op, PATIENCE_US), SKEP_EPEER_REMOTE);
    assert_true(skep_request_canceled(held.request));
    assert_int_equal(skep_request_reply(held.request, view_of("late")), SKEP_ECLOSED);
    skep_op_free(op);
    assert_int_equal(skep_node_free(near), 0);
    assert_int_equal(skep_node_free(far), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_without_a_node_are_refused),
        cmocka_unit_test(calls_without_an_object_are_refused),
        cmocka_unit_test(a_pack_that_could_not_be_made_says_so_at_its_end),
        cmocka_unit_test(bytes_that_are_not_there_are_refused),
        cmocka_unit_test(options_whose_size_was_forgotten_are_refused),
        cmocka_unit_test(a_pipe_is_no_identity_file),
        cmocka_unit_test(a_validator_needs_its_function),
        cmocka_unit_test(sizes_beyond_their_bounds_are_refused_by_the_call),
        cmocka_unit_test(node_options_out_of_range_are_refused_by_name),
        cmocka_unit_test(more_than_was_given_is_not_consumed),
        cmocka_unit_test(a_request_of_a_method_no_longer_served_is_canceled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
