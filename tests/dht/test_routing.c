/* SPDX-License-Identifier: MIT */
/* dht/routing.h against vectors/dht.json (routing), a brute-force model, and its bounds. */
#include "support/test.h"

#include "base/limits.h"
#include "dht/routing.h"

static struct skep_dht_id id_of_hex(const char *hex)
{
    struct skep_dht_id id;

    assert_int_equal(skep_dht_id_from_wire(&id, test_unhex(hex)), 0);
    return id;
}

static struct skep_peer_id peer_of(uint64_t number)
{
    struct skep_peer_id peer = {.len = 34, .bytes = {0x12, 0x20}};

    skep_put_be64(peer.bytes + 2, number);
    return peer;
}

static struct skep_dht_id random_id(struct skep_prng *prng)
{
    struct skep_dht_id id;

    skep_prng_fill(prng, id.bytes, sizeof id.bytes);
    return id;
}

static int add(struct skep_routing *table, struct skep_dht_id id, uint64_t peer_number,
               struct skep_routing_node *to_ping)
{
    struct skep_peer_id peer = peer_of(peer_number);
    struct skep_routing_node ignored;

    return skep_routing_add(table, &id, &peer, 0, to_ping ? to_ping : &ignored);
}

static void assert_ids(json_t *expected, const struct skep_routing *table,
                       const struct skep_routing_bucket *bucket, size_t from, size_t count)
{
    assert_int_equal(json_array_size(expected), count);
    for (size_t i = 0; i < count; i++) {
        const struct skep_routing_node *node = skep_routing_bucket_node(table, bucket, from + i);

        assert_string_equal(test_hex(node->id.bytes, sizeof node->id.bytes),
                            json_string_value(json_array_get(expected, i)));
    }
}

static void check_table(const struct skep_routing *table, json_t *vector)
{
    json_t *item;
    size_t i;

    assert_int_equal(json_array_size(test_get(vector, "buckets")), table->bucket_count);
    json_array_foreach(test_get(vector, "buckets"), i, item)
    {
        const struct skep_routing_bucket *bucket = &table->buckets[i];

        assert_string_equal(test_hex(bucket->lower.bytes, sizeof bucket->lower.bytes),
                            test_str(item, "lower"));
        assert_int_equal(bucket->depth, json_integer_value(test_get(item, "depth")));
        assert_ids(test_get(item, "nodes"), table, bucket, 0, bucket->node_count);
        assert_ids(test_get(item, "replacements"), table, bucket, bucket->node_count,
                   bucket->replacement_count);
    }
    json_array_foreach(test_get(vector, "queries"), i, item)
    {
        struct skep_dht_id target = id_of_hex(test_str(item, "target"));
        json_t *nearest = test_get(item, "nearest");
        const struct skep_routing_node *out[64];
        size_t k = (size_t)json_integer_value(test_get(item, "k"));
        size_t count = skep_routing_nearest(table, &target, k, NULL, out);

        assert_int_equal(count, json_array_size(nearest));
        for (size_t j = 0; j < count; j++)
            assert_string_equal(test_hex(out[j]->id.bytes, sizeof out[j]->id.bytes),
                                json_string_value(json_array_get(nearest, j)));
    }
}

static void tables_are_those_of_hivemind(void **state)
{
    json_t *vector, *added;
    size_t i, j, pings = 0;

    (void)state;
    json_array_foreach(test_get(test_vectors("dht.json"), "routing"), i, vector)
    {
        struct skep_dht_id own = id_of_hex(test_str(vector, "my_id"));
        struct skep_routing table;

        /* hivemind's replacement lists have no bound */
        assert_int_equal(
            skep_routing_init(&table, &skep_mem_std, &own,
                              (size_t)json_integer_value(test_get(vector, "bucket_size")),
                              (unsigned)json_integer_value(test_get(vector, "depth_modulo")), 1000),
            0);
        json_array_foreach(test_get(vector, "added"), j, added)
        {
            json_t *ping = test_get(added, "ping_oldest");
            struct skep_routing_node to_ping;
            int rc = add(&table, id_of_hex(test_str(added, "node_id")), j, &to_ping);

            assert_int_equal(rc, json_is_null(ping) ? 0 : 1);
            if (rc == 1) {
                assert_string_equal(test_hex(to_ping.id.bytes, sizeof to_ping.id.bytes),
                                    json_string_value(ping));
                pings++;
            }
        }
        check_table(&table, vector);
        skep_routing_fini(&table);
    }
    assert_true(i >= 4 && pings > 0);
}

struct model {
    struct skep_dht_id ids[400];
    size_t count;
    struct skep_dht_id target;
};
static struct model model;

static int by_distance(const void *a, const void *b)
{
    return skep_dht_id_nearer(&model.target, a, b);
}

/* Every node that is in the buckets, and nothing else, sorted. */
static void assert_nearest(const struct skep_routing *table, const struct skep_dht_id *target,
                           size_t k, const struct skep_dht_id *exclude)
{
    const struct skep_routing_node *out[400];
    size_t count = skep_routing_nearest(table, target, k, exclude, out), n = 0;

    for (size_t b = 0; b < table->bucket_count; b++)
        for (size_t i = 0; i < table->buckets[b].node_count; i++) {
            const struct skep_routing_node *node =
                skep_routing_bucket_node(table, &table->buckets[b], i);

            assert_false(node->replacement);
            if (!exclude || !skep_dht_id_equal(&node->id, exclude))
                model.ids[n++] = node->id;
        }
    model.target = *target;
    qsort(model.ids, n, sizeof model.ids[0], by_distance);
    assert_int_equal(count, SKEP_MIN(k, n));
    for (size_t i = 0; i < count; i++)
        assert_true(skep_dht_id_equal(&out[i]->id, &model.ids[i]));
}

static void assert_sane(const struct skep_routing *table)
{
    size_t nodes = 0, all = 0;

    for (size_t b = 0; b < table->bucket_count; b++) {
        const struct skep_routing_bucket *bucket = &table->buckets[b];

        assert_true(bucket->node_count <= table->bucket_size &&
                    bucket->replacement_count <= table->replacements_max);
        assert_true(bucket->replacement_count == 0 || bucket->node_count == table->bucket_size);
        nodes += bucket->node_count;
        for (size_t i = 0; i < bucket->node_count + bucket->replacement_count; i++, all++) {
            const struct skep_routing_node *node = skep_routing_bucket_node(table, bucket, i);

            assert_int_equal(skep_routing_bucket_of(table, &node->id), b);
            assert_int_equal(node->replacement, i >= bucket->node_count);
            assert_ptr_equal(skep_routing_get(table, &node->id), node);
            assert_ptr_equal(skep_routing_get_peer(table, &node->peer), node);
        }
    }
    assert_int_equal(nodes, table->node_count);
    assert_int_equal(all, table->live);
}

static void random_changes_keep_the_table_sane_and_its_answers_exact(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(10); seed++) {
        struct skep_dht_id known[300], own;
        struct skep_routing table;
        struct skep_prng prng;

        skep_prng_init(&prng, seed);
        own = random_id(&prng);
        assert_int_equal(skep_routing_init(&table, &skep_mem_std, &own,
                                           1 + skep_prng_below(&prng, 6),
                                           1 + (unsigned)skep_prng_below(&prng, 5),
                                           1 + skep_prng_below(&prng, 4)),
                         0);
        for (size_t i = 0; i < SKEP_COUNT_OF(known); i++) {
            known[i] = random_id(&prng);
            memcpy(known[i].bytes, own.bytes, skep_prng_below(&prng, 4)); /* some near ourselves */
        }
        for (int step = 0; step < 1500; step++) {
            size_t i = skep_prng_below(&prng, SKEP_COUNT_OF(known));
            struct skep_dht_id target = random_id(&prng);

            if (skep_prng_below(&prng, 3) == 0) {
                bool was_there = skep_routing_get(&table, &known[i]) != NULL;

                assert_int_equal(skep_routing_remove(&table, &known[i]), was_there);
            } else {
                assert_true(add(&table, known[i], i, NULL) >= 0);
                assert_non_null(skep_routing_get(&table, &known[i]));
            }
            if (step % 16 == 0) {
                assert_sane(&table);
                assert_nearest(&table, &target, skep_prng_below(&prng, 30), NULL);
                assert_nearest(&table, &own, 20, &known[i]);
                assert_nearest(&table, &known[i], 20, &known[i]);
                assert_nearest(&table, &target, 400, NULL);
            }
        }
        skep_routing_fini(&table);
    }
}

static void a_node_that_fails_is_replaced_by_the_last_that_waits(void **state)
{
    struct skep_dht_id own = {{0}}, ids[5];
    struct skep_routing_node to_ping;
    struct skep_routing table;

    (void)state;
    /* All in the far half, which may not split at depth 1 when depth_modulo is 1. */
    assert_int_equal(skep_routing_init(&table, &skep_mem_std, &own, 2, 1, 2), 0);
    for (uint8_t i = 0; i < 5; i++)
        ids[i] = (struct skep_dht_id){{0x80, i}};
    assert_int_equal(add(&table, ids[0], 0, &to_ping), 0);
    assert_int_equal(add(&table, ids[1], 1, &to_ping), 0);
    assert_int_equal(add(&table, ids[2], 2, &to_ping), 1);
    assert_true(skep_dht_id_equal(&to_ping.id, &ids[0]));
    assert_int_equal(add(&table, ids[3], 3, &to_ping),
                     1); /* the oldest is being pinged: the next */
    assert_true(skep_dht_id_equal(&to_ping.id, &ids[1]));
    assert_int_equal(add(&table, ids[4], 4, &to_ping),
                     0); /* both are; and the list is full, so the first that waited goes */
    assert_null(skep_routing_get(&table, &ids[2]));
    assert_true(skep_routing_get(&table, &ids[4])->replacement);
    assert_int_equal(add(&table, ids[0], 0, &to_ping), 0); /* it answered */
    assert_int_equal(add(&table, ids[3], 3, &to_ping),
                     1); /* still alone in line for it: ids[1] is pinged, ids[0] may be again */
    assert_true(skep_dht_id_equal(&to_ping.id, &ids[0]));
    assert_true(skep_routing_remove(&table, &ids[1]));
    assert_false(skep_routing_get(&table, &ids[3])->replacement); /* heard of last */
    assert_true(skep_routing_get(&table, &ids[4])->replacement);
    assert_true(skep_routing_remove(&table, &ids[4]));
    assert_false(skep_routing_remove(&table, &ids[4]));
    assert_sane(&table);
    skep_routing_fini(&table);
}

static void a_peer_has_one_node_id_and_keeps_it_from_others(void **state)
{
    struct skep_dht_id own = {{0}}, a = {{1}}, b = {{2}};
    struct skep_routing table;

    (void)state;
    assert_int_equal(
        skep_routing_init(&table, &skep_mem_std, &own, 20, 5, SKEP_DHT_REPLACEMENTS_MAX), 0);
    assert_int_equal(add(&table, a, 1, NULL), 0);
    assert_int_equal(add(&table, a, 2, NULL), SKEP_EEXIST); /* somebody else's */
    assert_int_equal(add(&table, own, 3, NULL), SKEP_EEXIST);
    assert_int_equal(add(&table, b, 1, NULL), 0); /* the peer started anew */
    assert_null(skep_routing_get(&table, &a));
    assert_int_equal(table.node_count, 1);
    assert_int_equal(add(&table, b, 1, NULL), 0);
    assert_int_equal(table.node_count, 1);
    assert_sane(&table);
    skep_routing_fini(&table);
}

static void replacement_lists_are_bounded(void **state)
{
    struct skep_dht_id own = {{0}};
    struct skep_routing table;
    struct skep_prng prng;

    (void)state;
    skep_prng_init(&prng, 3);
    assert_int_equal(
        skep_routing_init(&table, &skep_mem_std, &own, 20, 5, SKEP_DHT_REPLACEMENTS_MAX), 0);
    for (uint64_t i = 0; i < 5000; i++)
        assert_true(add(&table, random_id(&prng), i, NULL) >= 0);
    assert_sane(&table);
    assert_true(table.live <= table.bucket_count * (20 + SKEP_DHT_REPLACEMENTS_MAX));
    skep_routing_fini(&table);
}

static void an_id_for_the_refresh_of_a_bucket_lies_in_it(void **state)
{
    struct skep_dht_id own;
    struct skep_routing table;
    struct skep_prng prng;

    (void)state;
    skep_prng_init(&prng, 4);
    own = random_id(&prng);
    assert_int_equal(
        skep_routing_init(&table, &skep_mem_std, &own, 4, 3, SKEP_DHT_REPLACEMENTS_MAX), 0);
    for (uint64_t i = 0; i < 1000; i++)
        assert_true(add(&table, random_id(&prng), i, NULL) >= 0);
    for (size_t b = 0; b < table.bucket_count; b++)
        for (int i = 0; i < 20; i++) {
            struct skep_dht_id random = random_id(&prng),
                               id = skep_routing_bucket_id(&table.buckets[b], &random);

            assert_int_equal(skep_routing_bucket_of(&table, &id), b);
        }
    skep_routing_fini(&table);
}

static void sizes_of_zero_are_refused(void **state)
{
    struct skep_dht_id own = {{0}};
    struct skep_routing table;

    (void)state;
    assert_int_equal(skep_routing_init(&table, &skep_mem_std, &own, 0, 5, 1), SKEP_EINVAL);
    assert_int_equal(skep_routing_init(&table, &skep_mem_std, &own, 20, 0, 1), SKEP_EINVAL);
    assert_int_equal(skep_routing_init(&table, &skep_mem_std, &own, 20, 5, 0), SKEP_EINVAL);
}

static int fill_table(const struct skep_mem *mem, void *user)
{
    struct skep_dht_id own = {{0}};
    struct skep_routing_node to_ping;
    struct skep_routing table;
    struct skep_prng prng;
    int rc;

    (void)user;
    skep_prng_init(&prng, 5);
    if ((rc = skep_routing_init(&table, mem, &own, 2, 2, 2)) < 0)
        return rc;
    for (uint64_t i = 0; i < 60 && rc >= 0; i++) {
        struct skep_dht_id id = random_id(&prng);
        struct skep_peer_id peer = peer_of(i);

        rc = skep_routing_add(&table, &id, &peer, 0, &to_ping);
    }
    assert_sane(&table);
    skep_routing_fini(&table);
    return SKEP_MIN(rc, 0);
}

static void running_out_of_memory_leaves_a_sane_table(void **state)
{
    (void)state;
    test_each_allocation_fails(fill_table, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_those_of_hivemind),
        cmocka_unit_test(random_changes_keep_the_table_sane_and_its_answers_exact),
        cmocka_unit_test(a_node_that_fails_is_replaced_by_the_last_that_waits),
        cmocka_unit_test(a_peer_has_one_node_id_and_keeps_it_from_others),
        cmocka_unit_test(replacement_lists_are_bounded),
        cmocka_unit_test(an_id_for_the_refresh_of_a_bucket_lies_in_it),
        cmocka_unit_test(sizes_of_zero_are_refused),
        cmocka_unit_test(running_out_of_memory_leaves_a_sane_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
