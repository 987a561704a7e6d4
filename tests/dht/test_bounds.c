/* SPDX-License-Identifier: MIT */
/* Each bound on what peers can make a node do or keep, one past it. */
#include "sim/swarm.h"

#include "base/limits.h"
#include "dht/beam.h"
#include "dht/node_internal.h"

static struct swarm swarm;

static void begin(size_t nodes)
{
    swarm_init(&swarm, &skep_mem_std, 1, NULL);
    swarm_grow(&swarm, nodes, NULL);
}

static void end(void)
{
    swarm_fini(&swarm);
}

static struct skep_peer_id peer_of(uint32_t n)
{
    struct skep_peer_id peer = {.len = 38, .bytes = {0x00, 0x24, 0x08, 0x01, 0x12, 0x20}};

    skep_put_be32(peer.bytes + 20, n);
    return peer;
}

static void something_is_done_once_in_an_interval_a_peer(void **state)
{
    struct skep_once once;
    struct skep_peer_id one = peer_of(1), two = peer_of(2);

    (void)state;
    skep_once_init(&once, &skep_mem_std, 1000, 10);
    assert_true(skep_once_take(&once, &one, 5000));
    assert_false(skep_once_take(&once, &one, 5999));
    assert_true(skep_once_take(&once, &two, 5999));
    assert_true(skep_once_take(&once, &one, 6000));
    assert_false(skep_once_take(&once, &one, 6999));
    skep_once_fini(&once);
}

static void of_one_peer_too_many_the_longest_ago_is_forgotten(void **state)
{
    struct skep_once once;
    struct skep_peer_id peer;

    (void)state;
    skep_once_init(&once, &skep_mem_std, 1000000, SKEP_DHT_ONCE_PEERS_MAX);
    for (uint32_t i = 0; i <= SKEP_DHT_ONCE_PEERS_MAX; i++) {
        peer = peer_of(i);
        assert_true(skep_once_take(&once, &peer, i));
    }
    peer = peer_of(1);
    assert_false(skep_once_take(&once, &peer, SKEP_DHT_ONCE_PEERS_MAX));
    peer = peer_of(0);
    assert_true(skep_once_take(&once, &peer, SKEP_DHT_ONCE_PEERS_MAX));
    skep_once_fini(&once);
}

static int once_take(const struct skep_mem *mem, void *user)
{
    struct skep_peer_id peer = peer_of(1);
    struct skep_once once;
    bool taken;

    (void)user;
    skep_map_set_mem(mem);
    skep_once_init(&once, mem, 1000, 10);
    taken = skep_once_take(&once, &peer, 0);
    skep_once_fini(&once);
    skep_map_set_mem(&skep_mem_std);
    return taken ? 0 : SKEP_ENOMEM;
}

static void without_memory_it_is_not_done(void **state)
{
    (void)state;
    test_each_allocation_fails(once_take, NULL);
}

static void at_most_64_newcomers_are_verified_at_a_time(void **state)
{
    struct skep_dht_sender sender = {.has_id = true};
    struct skep_dht *dht;

    (void)state;
    begin(1);
    dht = swarm.dht[0];
    for (uint32_t i = 0; i <= SKEP_DHT_PINGS_MAX; i++) {
        struct skep_peer_id peer = peer_of(i);

        skep_put_be32(sender.id.bytes, i + 1);
        skep_dht_heard(dht, &sender, &peer);
        assert_int_equal(dht->ping_count, SKEP_MIN(i + 1, (uint32_t)SKEP_DHT_PINGS_MAX));
    }
    end();
}

struct pinged {
    struct skep_rpc_call call;
    bool done, available;
};

static void on_pong(struct skep_rpc_call *call, int rc, skep_bytes reply)
{
    struct pinged *pinged = SKEP_CONTAINER_OF(call, struct pinged, call);
    struct skep_dht_ping_response response;

    assert_int_equal(rc, 0);
    assert_int_equal(skep_dht_ping_response_decode(&response, reply), 0);
    pinged->done = true;
    pinged->available = response.available;
}

static void hold(void *user, struct skep_rpc_request *request)
{
    (void)user, (void)request; /* never answers: the call back takes its three seconds */
}

/* `senders` peers that answer no ping, each with `each` requests to be called back. @return how many were answered at once. */
static size_t ask_to_be_called_back(size_t senders, size_t each)
{
    static struct pinged pinged[SKEP_DHT_VALIDATIONS_MAX + 1];
    struct skep_dht_id id = swarm_key("caller");
    struct skep_buf request;
    size_t count = 0, done = 0;

    assert_true(senders * each <= SKEP_COUNT_OF(pinged));
    skep_buf_init(&request, &skep_mem_std);
    skep_dht_ping_request_encode(&request, &id, true);
    for (size_t i = 0; i < senders; i++) {
        struct skep_rpc *caller;

        assert_int_equal(skep_sim_net_add(swarm.net, &caller), 0);
        assert_int_equal(skep_rpc_serve(caller, SKEP_DHT_RPC_PING, hold, NULL), 0);
        for (size_t n = 0; n < each; n++, count++) {
            pinged[count] = (struct pinged){.call = {.done = on_pong}};
            assert_int_equal(skep_rpc_call_start(caller, &pinged[count].call, &swarm.rpc[0]->self,
                                                 SKEP_DHT_RPC_PING, skep_buf_view(&request),
                                                 SKEP_NEVER_US),
                             0);
        }
    }
    skep_buf_fini(&request);
    skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
    for (size_t i = 0; i < count; i++)
        done += pinged[i].done;
    assert_int_equal(swarm.dht[0]->validation_count, count - done);
    skep_sim_clock_run_for(&swarm.clock, 5 * SKEP_SIM_SECOND);
    for (size_t i = 0; i < count; i++)
        assert_true(pinged[i].done && !pinged[i].available);
    return done;
}

/* The one too many is told at once that it is not available. */
static void one_sender_is_called_back_for_eight_pings_at_a_time(void **state)
{
    (void)state;
    begin(1);
    assert_int_equal(ask_to_be_called_back(1, SKEP_DHT_VALIDATIONS_PER_PEER_MAX + 1), 1);
    end();
}

static void at_most_256_senders_are_called_back_at_a_time(void **state)
{
    (void)state;
    begin(1);
    assert_int_equal(ask_to_be_called_back(SKEP_DHT_VALIDATIONS_MAX + 1, 1), 1);
    end();
}

static void at_most_64_newcomers_are_sent_records_at_a_time(void **state)
{
    struct skep_dht_record record;

    (void)state;
    begin(1);
    record = swarm_record("key", "value", swarm_now(&swarm) + 60);
    assert_int_equal(swarm_store(&swarm, 0, &record, NULL), 1);
    for (uint32_t i = 0; i <= SKEP_DHT_PUSHES_MAX; i++) {
        struct skep_dht_id near = record.key;
        struct skep_rpc *rpc;

        assert_int_equal(skep_sim_net_add(swarm.net, &rpc), 0);
        skep_sim_net_set_state(swarm.net, skep_sim_net_index(rpc), SKEP_SIM_SILENT);
        skep_put_be32(near.bytes + 16,
                      skep_get_be32(near.bytes + 16) ^
                          (SKEP_DHT_PUSHES_MAX + 1 - i)); /* each nearer than those before */
        skep_dht_push_to_newcomer(swarm.dht[0], &near, &rpc->self);
    }
    assert_int_equal(swarm.dht[0]->push_count, SKEP_DHT_PUSHES_MAX);
    skep_sim_clock_run_for(&swarm.clock, 5 * SKEP_SIM_SECOND);
    assert_int_equal(swarm.dht[0]->push_count, 0);
    end();
}

static size_t validated;

static int count_validation(struct skep_validator *validator,
                            const struct skep_dht_signable *record)
{
    (void)validator, (void)record;
    validated++;
    return 0;
}

struct stored {
    struct skep_rpc_call call;
    int dones, rc;
    size_t accepted;
};

static void on_store_answer(struct skep_rpc_call *call, int rc, skep_bytes reply)
{
    struct stored *stored = SKEP_CONTAINER_OF(call, struct stored, call);
    struct skep_dht_store_response response;
    bool ok;

    stored->dones++;
    stored->rc = rc;
    if (rc == 0 && skep_dht_store_response_decode(&response, reply) == 0)
        while (skep_dht_next_bool(&response.store_ok, &ok))
            stored->accepted += ok;
}

enum { TO_VALIDATE = 10 * SKEP_DHT_VALIDATED_A_TURN + 1 };

static void send_to_validate(struct skep_rpc *from, struct stored *stored)
{
    static struct skep_dht_store_item items[TO_VALIDATE];
    static struct skep_dht_id keys[TO_VALIDATE];
    struct skep_buf request;

    for (size_t i = 0; i < TO_VALIDATE; i++) {
        skep_put_be32(keys[i].bytes, (uint32_t)i);
        items[i] =
            (struct skep_dht_store_item){.key = skep_bytes_of(keys[i].bytes, SKEP_DHT_ID_LEN),
                                         .subkey = skep_bytes_of("\xc0", 1),
                                         .value = skep_bytes_str("value"),
                                         .expiration_unix_s = swarm_now(&swarm) + 60};
    }
    *stored = (struct stored){.call = {.done = on_store_answer}};
    skep_buf_init(&request, &skep_mem_std);
    skep_dht_store_request_encode(&request, NULL, items, TO_VALIDATE);
    assert_int_equal(skep_rpc_call_start(from, &stored->call, &swarm.rpc[0]->self,
                                         SKEP_DHT_RPC_STORE, skep_buf_view(&request),
                                         SKEP_NEVER_US),
                     0);
    skep_buf_fini(&request);
}

static void validators_check_64_records_a_turn(void **state)
{
    static const struct skep_validator_class class = {.name = "count",
                                                      .validate = count_validation};
    struct skep_validator validator = {&class};
    struct stored stored[2];
    struct skep_rpc *caller;
    size_t most = 0;

    (void)state;
    for (int close = 0; close < 2; close++) {
        begin(1);
        assert_int_equal(skep_validators_add(skep_dht_validators(swarm.dht[0]), &validator), 1);
        assert_int_equal(skep_sim_net_add(swarm.net, &caller), 0);
        for (size_t i = 0; i < 2; i++)
            send_to_validate(caller, &stored[i]);
        while (swarm_stats(&swarm, 0).stored_keys < (close ? 300 : TO_VALIDATE)) {
            size_t before = validated;

            assert_true(skep_sim_clock_step(&swarm.clock, UINT64_MAX));
            most = SKEP_MAX(most, validated - before);
        }
        if (close)
            swarm_kill(&swarm, 0);
        skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
        if (!close) {
            assert_true(stored[0].dones == 1 && stored[1].dones == 1);
            assert_int_equal(stored[0].accepted + stored[1].accepted,
                             TO_VALIDATE); /* the second time they are no later */
        }
        for (size_t i = 0; i < 2; i++)
            skep_rpc_call_cancel(caller, &stored[i].call);
        end();
    }
    assert_int_equal(most, SKEP_DHT_VALIDATED_A_TURN);
}

/* Peers that name `named` others in every answer, each time others and ever nearer ones, and never say who they are. */
static struct {
    size_t named, asked;
    uint32_t next;
    struct skep_rpc *peers[2 * SKEP_DHT_LOOKUP_ASKS_MAX + 4];
} crowd;

static void crowd_find(void *user, struct skep_rpc_request *request)
{
    struct skep_buf out;
    size_t mark;

    (void)user;
    crowd.asked++;
    skep_buf_init(&out, &skep_mem_std);
    mark = skep_pb_begin(&out, 2);
    for (size_t i = 0; i < crowd.named; i++) {
        struct skep_dht_id id = swarm_key("wanted");

        /* Further bits equal than before: always nearer to the key. */
        skep_put_be32(id.bytes + 16, skep_get_be32(id.bytes + 16) ^ (0x7fffffffu - ++crowd.next));
        skep_pb_put_bytes(&out, 4, skep_bytes_of(id.bytes, SKEP_DHT_ID_LEN));
        skep_pb_put_bytes(
            &out, 5,
            skep_peer_id_view(&crowd.peers[crowd.next % SKEP_COUNT_OF(crowd.peers)]->self));
    }
    skep_pb_end(&out, mark);
    skep_dht_find_response_end(&out, NULL);
    skep_rpc_reply(request, skep_buf_view(&out));
    skep_buf_fini(&out);
}

static struct swarm_found ask_the_crowd(size_t named)
{
    struct swarm_found found;
    struct skep_dht_id id;

    begin(1);
    crowd.named = named;
    crowd.asked = 0;
    crowd.next = 0;
    for (size_t i = 0; i < SKEP_COUNT_OF(crowd.peers); i++) {
        assert_int_equal(skep_sim_net_add(swarm.net, &crowd.peers[i]), 0);
        assert_int_equal(skep_rpc_serve(crowd.peers[i], SKEP_DHT_RPC_FIND, crowd_find, NULL), 0);
    }
    memset(id.bytes, 1, sizeof id.bytes);
    skep_dht_met(swarm.dht[0], &id, &crowd.peers[0]->self);
    found = swarm_get(&swarm, 0, "wanted", NULL);
    assert_false(found.found);
    end();
    return found;
}

static void a_key_asks_at_most_256_nodes(void **state)
{
    struct swarm_found found;

    (void)state;
    found = ask_the_crowd(2);
    assert_int_equal(crowd.asked, SKEP_DHT_LOOKUP_ASKS_MAX);
    assert_int_equal(found.cost.calls, SKEP_DHT_LOOKUP_ASKS_MAX);
}

/* Names that do not parse, then one that does. */
static void junk_find(void *user, struct skep_rpc_request *request)
{
    struct skep_rpc *other = user;
    struct skep_dht_id id = swarm_key("wanted");
    struct skep_buf out;
    size_t mark;

    crowd.asked++;
    skep_buf_init(&out, &skep_mem_std);
    mark = skep_pb_begin(&out, 2);
    for (size_t i = 0; i <= crowd.named; i++) {
        skep_pb_put_bytes(&out, 4, skep_bytes_of(id.bytes, SKEP_DHT_ID_LEN));
        skep_pb_put_bytes(
            &out, 5, i < crowd.named ? skep_bytes_str("junk") : skep_peer_id_view(&other->self));
    }
    skep_pb_end(&out, mark);
    skep_dht_find_response_end(&out, NULL);
    skep_rpc_reply(request, skep_buf_view(&out));
    skep_buf_fini(&out);
}

static void of_each_result_64_nodes_are_looked_at(void **state)
{
    struct skep_dht_id id;
    struct skep_rpc *rpc, *other;

    (void)state;
    for (crowd.named = SKEP_DHT_NEAREST_MAX - 1; crowd.named <= SKEP_DHT_NEAREST_MAX;
         crowd.named++) {
        begin(1);
        assert_int_equal(skep_sim_net_add(swarm.net, &rpc), 0);
        assert_int_equal(skep_sim_net_add(swarm.net, &other), 0);
        crowd.asked = 0;
        assert_int_equal(skep_rpc_serve(rpc, SKEP_DHT_RPC_FIND, junk_find, other), 0);
        assert_int_equal(skep_rpc_serve(other, SKEP_DHT_RPC_FIND, junk_find, other), 0);
        memset(id.bytes, 1, sizeof id.bytes);
        skep_dht_met(swarm.dht[0], &id, &rpc->self);
        assert_false(swarm_get(&swarm, 0, "wanted", NULL).found);
        assert_int_equal(crowd.asked, crowd.named < SKEP_DHT_NEAREST_MAX ? 2 : 1);
        end();
    }
}

static void a_lookup_remembers_at_most_16384_nodes(void **state)
{
    struct skep_dht_id id = swarm_key("wanted");
    uint32_t tail = skep_get_be32(id.bytes + 16);
    struct skep_dht_lookup *lookup;
    struct skep_peer_id peer;

    (void)state;
    begin(1);
    assert_int_equal(skep_dht_lookup_new(&lookup, swarm.dht[0], 1, false), 0);
    lookup->keys[0].id = id;
    for (uint32_t i = 0; i <= SKEP_DHT_LOOKUP_NODES_MAX; i++) { /* each nearer than those before */
        skep_put_be32(id.bytes + 16, tail ^ (SKEP_DHT_LOOKUP_NODES_MAX + 1 - i));
        peer = peer_of(i);
        assert_int_equal(skep_beam_add(lookup, &lookup->keys[0], &id, &peer, SKEP_DHT_NO_NODE),
                         i < SKEP_DHT_LOOKUP_NODES_MAX);
    }
    assert_int_equal(lookup->node_count, SKEP_DHT_LOOKUP_NODES_MAX);
    assert_int_equal(lookup->keys[0].count, lookup->beam_cap);
    skep_dht_lookup_free(lookup);
    end();
}

/* Knows nothing and nobody but itself. */
static void find_nothing(void *user, struct skep_rpc_request *request)
{
    struct skep_dht_find_request find;
    struct skep_buf out;

    assert_int_equal(skep_dht_find_request_decode(&find, request->data), 0);
    skep_buf_init(&out, &skep_mem_std);
    for (size_t i = 0; i < find.keys.left; i++)
        skep_pb_end(&out, skep_pb_begin(&out, 2));
    skep_dht_find_response_end(&out, user);
    skep_rpc_reply(request, skep_buf_view(&out));
    skep_buf_fini(&out);
}

static struct {
    size_t requests, most;
} store_requests;

static void take_stores(void *user, struct skep_rpc_request *request)
{
    struct skep_dht_store_request stores;
    bool ok[8] = {true, true, true, true, true, true, true, true};
    struct skep_buf out;

    (void)user;
    store_requests.requests++;
    store_requests.most = SKEP_MAX(store_requests.most, request->data.len);
    assert_int_equal(skep_dht_store_request_decode(&stores, request->data), 0);
    assert_in_range(stores.count, 1, SKEP_COUNT_OF(ok));
    skep_buf_init(&out, &skep_mem_std);
    skep_dht_store_response_encode(&out, NULL, ok, stores.count);
    skep_rpc_reply(request, skep_buf_view(&out));
    skep_buf_fini(&out);
}

static void a_store_request_has_at_most_1_mib_of_records(void **state)
{
    static const struct skep_dht_store_options elsewhere = {.exclude_self = true};
    static uint8_t value[SKEP_DHT_STORE_REQUEST_BYTES / 2];
    struct skep_dht_id id;
    struct skep_rpc *rpc;

    (void)state;
    memset(id.bytes, 1, sizeof id.bytes);
    for (size_t extra = 0; extra < 2; extra++) {
        struct skep_dht_store_item item = {.key = {NULL, SKEP_DHT_ID_LEN},
                                           .subkey = {NULL, 1},
                                           .value = {NULL, sizeof value - 100}};
        struct skep_dht_record records[2];
        unsigned accepted[2];

        begin(1);
        for (size_t i = 0; i < 2; i++) { /* both together: 1 MiB in the request, or one byte more */
            size_t around = skep_dht_store_item_len(&item) - item.value.len;

            records[i] = swarm_record(i == 0 ? "one" : "other", "", swarm_now(&swarm) + 60);
            records[i].value = skep_bytes_of(value, sizeof value - around + (i == 0 ? 0 : extra));
        }
        store_requests.requests = store_requests.most = 0;
        assert_int_equal(skep_sim_net_add(swarm.net, &rpc), 0);
        assert_int_equal(skep_rpc_serve(rpc, SKEP_DHT_RPC_FIND, find_nothing, &id), 0);
        assert_int_equal(skep_rpc_serve(rpc, SKEP_DHT_RPC_STORE, take_stores, NULL), 0);
        skep_dht_met(swarm.dht[0], &id, &rpc->self);
        assert_int_equal(swarm_store_many(&swarm, 0, records, 2, &elsewhere, accepted, NULL, NULL),
                         0);
        assert_true(accepted[0] == 1 && accepted[1] == 1);
        assert_int_equal(store_requests.requests, 1 + extra);
        assert_true(store_requests.most <= SKEP_DHT_STORE_REQUEST_BYTES + 64); /* with who we are */
        end();
    }
}

static void options_out_of_range_are_refused(void **state)
{
    struct skep_dht_options options;
    struct skep_dht *dht;

    (void)state;
    begin(1);
    for (int i = 0; i < 7; i++) {
        skep_dht_options_default(&options);
        if (i == 0)
            options.bucket_size = 0;
        else if (i == 1)
            options.bucket_size = SKEP_DHT_BUCKET_SIZE_MAX + 1;
        else if (i == 2)
            options.num_replicas = 0;
        else if (i == 3)
            options.num_replicas = options.bucket_size + 1;
        else if (i == 4)
            options.depth_modulo = 0;
        else if (i == 5)
            options.wait_timeout_us = 0;
        else
            options.blacklist_backoff = 0.5;
        assert_int_equal(skep_dht_new(&dht, &swarm.clock.env, swarm.rpc[0], &options), SKEP_EINVAL);
        assert_null(dht);
    }
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(something_is_done_once_in_an_interval_a_peer),
        cmocka_unit_test(of_one_peer_too_many_the_longest_ago_is_forgotten),
        cmocka_unit_test(without_memory_it_is_not_done),
        cmocka_unit_test(at_most_64_newcomers_are_verified_at_a_time),
        cmocka_unit_test(one_sender_is_called_back_for_eight_pings_at_a_time),
        cmocka_unit_test(at_most_256_senders_are_called_back_at_a_time),
        cmocka_unit_test(at_most_64_newcomers_are_sent_records_at_a_time),
        cmocka_unit_test(validators_check_64_records_a_turn),
        cmocka_unit_test(a_key_asks_at_most_256_nodes),
        cmocka_unit_test(of_each_result_64_nodes_are_looked_at),
        cmocka_unit_test(a_lookup_remembers_at_most_16384_nodes),
        cmocka_unit_test(a_store_request_has_at_most_1_mib_of_records),
        cmocka_unit_test(options_out_of_range_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
