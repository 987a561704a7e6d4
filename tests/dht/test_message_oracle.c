/* SPDX-License-Identifier: MIT */
/* The DHT's messages against protobuf-c, made from proto/dht.proto: for random messages, what one writes the other reads the same. */
#include "support/test.h"

#include "dht/message.h"
#include "dht/routing.h"
#include "proto/dht.pb-c.h"

enum { ITEMS_MAX = 10, SEEDS = 300 };

static ProtobufCBinaryData pb_bytes(skep_bytes bytes)
{
    return (ProtobufCBinaryData){.len = bytes.len, .data = (uint8_t *)(uintptr_t)bytes.data};
}

static bool same(ProtobufCBinaryData theirs, skep_bytes ours)
{
    return skep_bytes_equal(skep_bytes_of(theirs.data, theirs.len), ours);
}

struct random_items {
    struct skep_dht_store_item items[ITEMS_MAX];
    uint8_t bytes[ITEMS_MAX][3][300];
    size_t count;
    struct skep_dht_id own;
    bool has_own;
};

static skep_bytes random_bytes(struct skep_prng *prng, uint8_t *out, size_t max)
{
    size_t len = skep_prng_below(prng, max + 1);

    skep_prng_fill(prng, out, len);
    return skep_bytes_of(out, len);
}

static void fill(struct random_items *r, uint64_t seed)
{
    struct skep_prng prng;

    skep_prng_init(&prng, seed);
    r->count = skep_prng_below(&prng, ITEMS_MAX + 1);
    r->has_own = skep_prng_below(&prng, 2);
    skep_prng_fill(&prng, r->own.bytes, sizeof r->own.bytes);
    for (size_t i = 0; i < r->count; i++)
        r->items[i] =
            (struct skep_dht_store_item){.key = random_bytes(&prng, r->bytes[i][0], 20),
                                         .subkey = random_bytes(&prng, r->bytes[i][1], 9),
                                         .value = random_bytes(&prng, r->bytes[i][2], 300),
                                         .expiration_unix_s = skep_prng_unit(&prng) * 2e9,
                                         .in_cache = skep_prng_below(&prng, 2)};
}

static void check_sender(const SkepDht__NodeInfo *theirs, const struct random_items *r)
{
    assert_non_null(theirs);
    assert_true(
        same(theirs->node_id, skep_bytes_of(r->own.bytes, r->has_own ? sizeof r->own.bytes : 0)));
}

static void store_requests_agree(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        static struct random_items r;
        SkepDht__StoreRequest *theirs;
        struct skep_dht_store_request ours;
        struct skep_dht_store_item item;
        struct skep_buf out;
        uint8_t *packed;

        fill(&r, seed);
        skep_buf_init(&out, &skep_mem_std);
        skep_dht_store_request_encode(&out, r.has_own ? &r.own : NULL, r.items, r.count);
        theirs = skep_dht__store_request__unpack(NULL, out.len, out.data);
        assert_non_null(theirs);
        assert_int_equal(theirs->n_keys, r.count);
        check_sender(theirs->peer, &r);
        packed = malloc(skep_dht__store_request__get_packed_size(theirs) + 1);
        assert_non_null(packed);
        assert_int_equal(skep_dht__store_request__pack(theirs, packed), out.len);
        assert_memory_equal(packed, out.data,
                            out.len); /* the same bytes, not only the same meaning */
        assert_int_equal(skep_dht_store_request_decode(&ours, skep_bytes_of(packed, out.len)), 0);
        for (size_t i = 0; i < r.count; i++) {
            assert_true(skep_dht_store_request_next(&ours, &item));
            assert_true(same(theirs->keys[i], item.key) && same(theirs->subkeys[i], item.subkey) &&
                        same(theirs->values[i], item.value));
            assert_true(theirs->expiration_time[i] == item.expiration_unix_s &&
                        (theirs->in_cache[i] != 0) == item.in_cache);
        }
        assert_false(skep_dht_store_request_next(&ours, &item));
        free(packed);
        skep_dht__store_request__free_unpacked(theirs, NULL);
        skep_buf_fini(&out);
    }
}

static void pings_agree(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        static struct random_items r;
        SkepDht__PingResponse *theirs;
        struct skep_dht_ping_response ours;
        struct skep_buf out;

        fill(&r, seed);
        skep_buf_init(&out, &skep_mem_std);
        skep_dht_ping_response_encode(&out, r.has_own ? &r.own : NULL, seed % 3 ? (double)seed : 0,
                                      seed % 2);
        theirs = skep_dht__ping_response__unpack(NULL, out.len, out.data);
        assert_non_null(theirs);
        check_sender(theirs->peer, &r);
        assert_int_equal(skep_dht_ping_response_decode(&ours, skep_buf_view(&out)), 0);
        assert_true(ours.dht_time == theirs->dht_time &&
                    ours.available == (theirs->available != 0));
        assert_int_equal(ours.sender.has_id, r.has_own);
        skep_dht__ping_response__free_unpacked(theirs, NULL);
        skep_buf_fini(&out);
    }
}

/* One of theirs with random results, read by us and written by us again: the same bytes. */
static void find_responses_agree(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        static struct random_items r;
        static struct skep_routing_node nodes[ITEMS_MAX];
        const struct skep_routing_node *nearest[ITEMS_MAX];
        SkepDht__FindResponse theirs = SKEP_DHT__FIND_RESPONSE__INIT;
        SkepDht__FindResult results[ITEMS_MAX], *result_list[ITEMS_MAX];
        SkepDht__NodeInfo info = SKEP_DHT__NODE_INFO__INIT;
        ProtobufCBinaryData ids[ITEMS_MAX], peers[ITEMS_MAX];
        struct skep_dht_find_response ours;
        struct skep_dht_find_result result;
        struct skep_buf out;
        skep_bytes view;
        uint8_t *packed;
        size_t len, i = 0;

        fill(&r, seed);
        for (size_t n = 0; n < r.count; n++) {
            memcpy(nodes[n].id.bytes, r.bytes[n][0], SKEP_DHT_ID_LEN);
            nodes[n].peer = (struct skep_peer_id){.len = 34, .bytes = {0x12, 0x20, (uint8_t)n}};
            ids[n] = pb_bytes(skep_bytes_of(nodes[n].id.bytes, SKEP_DHT_ID_LEN));
            peers[n] = pb_bytes(skep_peer_id_view(&nodes[n].peer));
            nearest[n] = &nodes[n];
        }
        for (size_t n = 0; n < r.count; n++) {
            skep_dht__find_result__init(&results[n]);
            results[n].type = (SkepDht__ResultType)(n % 3);
            results[n].value = pb_bytes(n % 3 ? r.items[n].value : (skep_bytes){0});
            results[n].expiration_time = n % 3 ? r.items[n].expiration_unix_s : 0;
            results[n].n_nearest_node_ids = results[n].n_nearest_peer_ids = n;
            results[n].nearest_node_ids = ids;
            results[n].nearest_peer_ids = peers;
            result_list[n] = &results[n];
        }
        info.node_id = pb_bytes(skep_bytes_of(r.own.bytes, sizeof r.own.bytes));
        theirs.peer = &info;
        theirs.n_results = r.count;
        theirs.results = result_list;
        packed = malloc(skep_dht__find_response__get_packed_size(&theirs));
        assert_non_null(packed);
        len = skep_dht__find_response__pack(&theirs, packed);
        assert_int_equal(skep_dht_find_response_decode(&ours, skep_bytes_of(packed, len)), 0);
        assert_int_equal(ours.results.left, r.count);
        skep_buf_init(&out, &skep_mem_std);
        for (; skep_dht_next_bytes(&ours.results, &view); i++) {
            assert_int_equal(skep_dht_find_result_decode(&result, view), 0);
            assert_int_equal(result.node_ids.left, i);
            skep_dht_find_result_encode(&out, result.type, result.value, result.expiration_unix_s,
                                        nearest, i);
        }
        skep_dht_find_response_end(&out, &ours.sender.id);
        assert_int_equal(out.len, len);
        assert_memory_equal(out.data, packed, len);
        skep_buf_fini(&out);
        free(packed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_requests_agree),
        cmocka_unit_test(pings_agree),
        cmocka_unit_test(find_responses_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
