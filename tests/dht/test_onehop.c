/* SPDX-License-Identifier: MIT */
/* dht/onehop.h against a brute-force model, and its bounds. */
#include "support/test.h"

#include "base/limits.h"
#include "base/map.h"
#include "dht/onehop.h"

static struct skep_peer_id peer_of(uint32_t n)
{
    struct skep_peer_id peer = {.len = 38, .bytes = {0x00, 0x24, 0x08, 0x01, 0x12, 0x20}};

    skep_put_be32(peer.bytes + 20, n);
    return peer;
}

/* Ids that crowd: `bits` of them are random, the rest are 0. */
static struct skep_dht_id random_id(struct skep_prng *prng, unsigned bits)
{
    struct skep_dht_id id;

    skep_prng_fill(prng, id.bytes, sizeof id.bytes);
    for (unsigned i = bits; i < SKEP_DHT_ID_BITS; i++)
        id.bytes[SKEP_DHT_ID_LEN - 1 - i / 8] &= (uint8_t) ~(1u << i % 8);
    return id;
}

/* ---- the model: all nodes in one list ---- */

enum { MODEL_MAX = 4096 };

static struct model {
    struct {
        struct skep_dht_id id;
        uint32_t peer;
        uint8_t state;
    } nodes[MODEL_MAX];
    size_t count;
    struct skep_dht_id target;
} model;

static int by_distance(const void *a, const void *b)
{
    return skep_dht_id_nearer(&model.target, a, b);
}

static void assert_nearest(const struct skep_onehop *table, const struct skep_dht_id *target,
                           size_t k)
{
    static struct skep_dht_id ids[MODEL_MAX];
    struct skep_onehop_node *out[MODEL_MAX];
    size_t n = 0, count = skep_onehop_nearest(table, target, k, out);

    for (size_t i = 0; i < model.count; i++)
        if (model.nodes[i].state == SKEP_ONE_HOP_HEARD ||
            model.nodes[i].state == SKEP_ONE_HOP_ANSWERED)
            ids[n++] = model.nodes[i].id;
    model.target = *target;
    qsort(ids, n, sizeof ids[0], by_distance);
    assert_int_equal(count, SKEP_MIN(k, n));
    for (size_t i = 0; i < count; i++)
        assert_memory_equal(out[i]->id.bytes, ids[i].bytes, SKEP_DHT_ID_LEN);
}

static void assert_same(const struct skep_onehop *table)
{
    struct skep_onehop_node *node = NULL;
    struct skep_dht_id last;
    size_t walked = 0;

    assert_int_equal(table->count, model.count);
    for (size_t i = 0; i < model.count; i++) {
        struct skep_peer_id peer = peer_of(model.nodes[i].peer);

        node = skep_onehop_get(table, &model.nodes[i].id);
        assert_non_null(node);
        assert_ptr_equal(skep_onehop_get_peer(table, &peer), node);
        assert_int_equal(node->state, model.nodes[i].state);
    }
    for (node = skep_onehop_after(table, NULL); node; node = skep_onehop_after(table, &last)) {
        assert_true(walked == 0 || memcmp(last.bytes, node->id.bytes, sizeof last.bytes) < 0);
        last = node->id;
        walked++;
    }
    assert_int_equal(walked, model.count);
}

static void come_or_go(struct skep_onehop *table, struct skep_prng *prng, unsigned bits,
                       uint32_t step)
{
    size_t at = model.count > 0 ? skep_prng_below(prng, model.count) : 0;
    struct skep_onehop_node *node;
    struct skep_dht_id id = random_id(prng, bits);
    struct skep_peer_id peer = peer_of(step);

    if (model.count == 0 || (skep_prng_below(prng, 10) < 7 && model.count < MODEL_MAX)) {
        bool told = skep_prng_below(prng, 2);

        if (skep_onehop_get(table, &id))
            return;
        assert_int_equal(told ? skep_onehop_heard(table, &id, &peer, &peer, 0)
                              : skep_onehop_answered(table, &id, &peer, 1, 0),
                         0);
        model.nodes[model.count].id = id;
        model.nodes[model.count].peer = step;
        model.nodes[model.count++].state = told ? SKEP_ONE_HOP_HEARD : SKEP_ONE_HOP_ANSWERED;
        return;
    }
    node = skep_onehop_get(table, &model.nodes[at].id);
    if (skep_prng_below(prng, 2)) {
        skep_onehop_failed(table, node, step);
        model.nodes[at].state = node->state;
        return;
    }
    skep_onehop_remove(table, node);
    model.nodes[at] = model.nodes[--model.count];
}

static void the_nearest_are_those_of_brute_force(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(12); seed++) {
        unsigned bits = seed % 3 == 0 ? SKEP_DHT_ID_BITS : seed % 3 == 1 ? 12 : 150;
        struct skep_onehop table;
        struct skep_prng prng;

        skep_prng_init(&prng, seed);
        skep_onehop_init(&table, &skep_mem_std, SKEP_DHT_ONE_HOP_NODES_MAX, 6000);
        memset(&model, 0, sizeof model);
        for (uint32_t step = 0; step < 3000; step++) {
            struct skep_dht_id target = random_id(&prng, skep_prng_below(&prng, 2) ? bits : 160);

            come_or_go(&table, &prng, bits, step);
            if (step % 20 == 0)
                assert_nearest(&table, &target, 1 + skep_prng_below(&prng, 40));
        }
        assert_same(&table);
        assert_nearest(&table, &model.nodes[0].id, MODEL_MAX);
        skep_onehop_fini(&table);
    }
}

/* ---- who is believed ---- */

static struct skep_onehop small;

static void begin(size_t nodes_max)
{
    skep_onehop_init(&small, &skep_mem_std, nodes_max, 6000);
}

static struct skep_dht_id id_of(uint32_t n)
{
    struct skep_dht_id id = {{0}};

    skep_put_be32(id.bytes, n * 2654435761u);
    return id;
}

static int hear(uint32_t id, uint32_t peer)
{
    struct skep_dht_id i = id_of(id);
    struct skep_peer_id p = peer_of(peer);

    return skep_onehop_heard(&small, &i, &p, &p, 0);
}

static int answer(uint32_t id, uint32_t peer, uint32_t rtt_us)
{
    struct skep_dht_id i = id_of(id);
    struct skep_peer_id p = peer_of(peer);

    return skep_onehop_answered(&small, &i, &p, rtt_us, 0);
}

static struct skep_onehop_node *at(uint32_t id)
{
    struct skep_dht_id i = id_of(id);

    return skep_onehop_get(&small, &i);
}

static void a_node_that_has_answered_is_not_put_out_by_what_others_say(void **state)
{
    (void)state;
    begin(10);
    assert_int_equal(answer(1, 1, 0), 0);
    assert_int_equal(hear(1, 2), 0);
    assert_int_equal(answer(1, 2, 0), SKEP_EEXIST);
    assert_int_equal(hear(2, 1), 0);
    assert_int_equal(small.count, 1);
    assert_int_equal(at(1)->state, SKEP_ONE_HOP_ANSWERED);
    assert_int_equal(at(1)->peer[23], 1);
    skep_onehop_fini(&small);
}

static void what_a_peer_says_of_itself_replaces_what_was_said_of_it(void **state)
{
    (void)state;
    begin(10);
    assert_int_equal(hear(1, 1), 0);
    assert_int_equal(answer(2, 1, 0), 0); /* it has another id */
    assert_null(at(1));
    assert_int_equal(hear(3, 3), 0);
    assert_int_equal(answer(3, 4, 0), 0); /* the id is another peer's */
    assert_int_equal(at(3)->peer[23], 4);
    assert_int_equal(small.count, 2);
    skep_onehop_fini(&small);
}

static void a_node_is_dead_after_it_failed_twice_a_second_apart(void **state)
{
    struct skep_onehop_node *out[4];
    struct skep_dht_id target = id_of(1);

    (void)state;
    begin(10);
    assert_int_equal(answer(1, 1, 0), 0);
    skep_onehop_failed(&small, at(1), 100);
    skep_onehop_failed(&small, at(1), 109); /* one of several calls that ended together */
    assert_int_equal(at(1)->state, SKEP_ONE_HOP_DOUBTED);
    assert_int_equal(skep_onehop_nearest(&small, &target, 4, out), 0);
    assert_int_equal(skep_onehop_count(&small), 1);
    skep_onehop_failed(&small, at(1), 110);
    assert_int_equal(at(1)->state, SKEP_ONE_HOP_DEAD);
    assert_int_equal(skep_onehop_count(&small), 0);
    skep_onehop_fini(&small);
}

static void the_dead_come_back_by_answering_or_named_much_later(void **state)
{
    struct skep_dht_id id = id_of(1);
    struct skep_peer_id peer = peer_of(1);

    (void)state;
    begin(10);
    assert_int_equal(hear(1, 1), 0);
    skep_onehop_bury(&small, at(1), 0);
    assert_int_equal(skep_onehop_heard(&small, &id, &peer, &peer, 5999), 0);
    assert_int_equal(at(1)->state, SKEP_ONE_HOP_DEAD);
    assert_int_equal(skep_onehop_heard(&small, &id, &peer, &peer, 6000), 0);
    assert_int_equal(at(1)->state, SKEP_ONE_HOP_HEARD);
    skep_onehop_bury(&small, at(1), 0);
    assert_int_equal(answer(1, 1, 0), 0);
    assert_int_equal(at(1)->state, SKEP_ONE_HOP_ANSWERED);
    skep_onehop_bury(&small, at(1), 0);
    assert_int_equal(hear(2, 1), 0); /* its peer is back under another id */
    assert_null(at(1));
    assert_int_equal(at(2)->state, SKEP_ONE_HOP_HEARD);
    skep_onehop_fini(&small);
}

static void round_trips_are_smoothed(void **state)
{
    (void)state;
    begin(10);
    assert_int_equal(answer(1, 1, 8000), 0);
    assert_int_equal(answer(1, 1, 0), 0);
    assert_int_equal(at(1)->rtt_us, 8000);
    assert_int_equal(answer(1, 1, 16000), 0);
    assert_int_equal(at(1)->rtt_us, 9000);
    assert_int_equal(answer(1, 1, UINT32_MAX), 0);
    assert_true(at(1)->rtt_us > UINT32_MAX / 9);
    skep_onehop_fini(&small);
}

static void who_named_a_node_is_known_until_it_answers(void **state)
{
    struct skep_peer_id first = peer_of(1), second = peer_of(2), stranger = peer_of(9), via;
    struct skep_dht_id id = id_of(2), other = id_of(3);

    (void)state;
    begin(10);
    assert_int_equal(answer(1, 1, 0), 0);
    assert_int_equal(skep_onehop_heard(&small, &id, &second, &first, 0), 0);
    assert_true(skep_onehop_via(&small, at(2), &via));
    assert_true(skep_peer_id_equal(&via, &first));
    assert_int_equal(answer(2, 2, 5000), 0);
    assert_false(skep_onehop_via(&small, at(2), &via));
    assert_int_equal(at(2)->rtt_us, 5000);
    second = peer_of(3);
    assert_int_equal(skep_onehop_heard(&small, &other, &second, &stranger, 0), 0);
    assert_false(skep_onehop_via(&small, at(3), &via));
    skep_onehop_remove(&small, at(3));
    assert_int_equal(skep_onehop_heard(&small, &other, &second, &first, 0), 0);
    skep_onehop_remove(&small, at(1));
    assert_false(skep_onehop_via(&small, at(3), &via)); /* it has left */
    skep_onehop_fini(&small);
}

static void peer_ids_of_every_length_are_kept(void **state)
{
    static const uint8_t lens[] = {2, 34, 38, 39, 44};

    (void)state;
    begin(10);
    for (uint32_t i = 0; i < SKEP_COUNT_OF(lens); i++) {
        struct skep_peer_id peer = {.len = lens[i]}, back;
        struct skep_dht_id id = id_of(i);

        memset(peer.bytes, (int)i + 1, peer.len);
        assert_int_equal(skep_onehop_heard(&small, &id, &peer, &peer, 0), 0);
        back = skep_onehop_peer(at(i));
        assert_memory_equal(&back, &peer, sizeof peer);
    }
    skep_onehop_fini(&small);
}

static void what_is_no_peer_id_is_refused(void **state)
{
    struct skep_peer_id none = {.len = 0}, longest = {.len = 45};
    struct skep_dht_id id = id_of(1);

    (void)state;
    begin(10);
    assert_int_equal(skep_onehop_heard(&small, &id, &none, &none, 0), SKEP_EINVAL);
    assert_int_equal(skep_onehop_heard(&small, &id, &longest, &none, 0), SKEP_EINVAL);
    skep_onehop_fini(&small);
}

/* ---- bounds ---- */

static void a_table_has_at_most_65536_nodes(void **state)
{
    uint32_t n;

    (void)state;
    begin(SKEP_DHT_ONE_HOP_NODES_MAX + 1);
    for (n = 0; n < SKEP_DHT_ONE_HOP_NODES_MAX; n++)
        assert_int_equal(n % 2 == 0 ? hear(n, n) : answer(n, n, 0), 0);
    assert_int_equal(hear(n, n), SKEP_ELIMIT);
    assert_int_equal(answer(n, n, 0), 0); /* one that was just heard of makes room */
    assert_int_equal(small.count, SKEP_DHT_ONE_HOP_NODES_MAX);
    assert_int_equal(small.counts[SKEP_ONE_HOP_HEARD], SKEP_DHT_ONE_HOP_NODES_MAX / 2 - 1);
    skep_onehop_bury(&small, at(1), 0);
    assert_int_equal(hear(n + 1, n + 1), 0); /* and one that is dead */
    assert_null(at(1));
    assert_int_equal(small.count, SKEP_DHT_ONE_HOP_NODES_MAX);
    skep_onehop_fini(&small);
}

static void nodes_that_answered_make_room_for_nobody(void **state)
{
    (void)state;
    begin(3);
    for (uint32_t n = 0; n < 3; n++)
        assert_int_equal(answer(n, n, 0), 0);
    assert_int_equal(answer(3, 3, 0), SKEP_ELIMIT);
    assert_int_equal(hear(3, 3), SKEP_ELIMIT);
    skep_onehop_fini(&small);
}

static void a_node_takes_at_most_96_bytes(void **state)
{
    static const uint32_t sizes[] = {1000, 1600, 3100, 6200, 12300, 24600, 49200, 65536};
    struct test_mem mem;
    struct skep_prng prng;
    uint32_t n = 0;

    (void)state;
    test_mem_init(&mem);
    skep_prng_init(&prng, 1);
    skep_onehop_init(&small, &mem.mem, SKEP_DHT_ONE_HOP_NODES_MAX, 6000);
    for (size_t i = 0; i < SKEP_COUNT_OF(sizes); i++) {
        for (; n < sizes[i]; n++) {
            struct skep_dht_id id = random_id(&prng, SKEP_DHT_ID_BITS);
            struct skep_peer_id peer = peer_of(n);

            assert_int_equal(skep_onehop_answered(&small, &id, &peer, 1, 0), 0);
        }
        assert_int_equal(small.bytes, mem.live_bytes);
        assert_true(small.bytes <=
                    SKEP_DHT_ONE_HOP_NODE_BYTES * (size_t)n + SKEP_ONE_HOP_FIXED_BYTES);
    }
    skep_onehop_fini(&small);
    assert_int_equal(mem.live, 0);
}

/* One who makes up ids puts all into one bin, then into the next: what the first had grown to is given back. */
static void crowds_that_move_do_not_make_a_table_grow(void **state)
{
    enum { CROWD = 4096 };

    (void)state;
    begin(CROWD);
    for (uint32_t bin = 0; bin < 20; bin++)
        for (uint32_t n = 0; n < CROWD; n++) {
            struct skep_dht_id id = {{(uint8_t)bin}};
            struct skep_peer_id peer = peer_of(bin * CROWD + n);
            struct skep_onehop_node *node;

            skep_put_be32(id.bytes + 1, n * 2654435761u);
            if (small.count == CROWD && (node = skep_onehop_after(&small, NULL)) != NULL)
                skep_onehop_remove(&small, node);
            assert_int_equal(skep_onehop_heard(&small, &id, &peer, &peer, 0), 0);
            assert_true(small.bytes <=
                        (size_t)SKEP_DHT_ONE_HOP_NODE_BYTES * CROWD + SKEP_ONE_HOP_FIXED_BYTES);
        }
    assert_int_equal(small.count, CROWD);
    skep_onehop_fini(&small);
}

static void beyond_its_bytes_a_table_takes_nobody(void **state)
{
    uint32_t n = 0;
    int rc;

    (void)state;
    begin(1000);
    small.bytes_max = 20000;
    while ((rc = hear(n, n)) == 0)
        n++;
    assert_int_equal(rc, SKEP_ELIMIT);
    assert_true(small.count == n && n > 100 && small.bytes <= 20000);
    assert_int_equal(answer(n, n, 0), SKEP_ELIMIT);
    assert_non_null(at(n - 1));
    skep_onehop_fini(&small);
}

static int fill(const struct skep_mem *mem, void *user)
{
    struct skep_onehop table;
    int rc = 0;

    (void)user;
    skep_onehop_init(&table, mem, 1000, 6000);
    for (uint32_t n = 0; n < 600 && rc == 0; n++) {
        struct skep_dht_id id = id_of(n % 2 ? n : n / 64); /* one bin grows as well */
        struct skep_peer_id peer = peer_of(n);

        id.bytes[4] = (uint8_t)n;
        id.bytes[5] = (uint8_t)(n >> 8);
        rc = skep_onehop_heard(&table, &id, &peer, &peer, 0);
        assert_true(rc == 0 || rc == SKEP_ENOMEM);
        assert_int_equal(table.count, rc == 0 ? n + 1 : n);
        assert_true(rc == 0 || !skep_onehop_get(&table, &id));
    }
    skep_onehop_fini(&table);
    return rc;
}

static void without_memory_a_node_is_left_out_and_the_table_stays(void **state)
{
    (void)state;
    test_each_allocation_fails(fill, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_are_those_of_brute_force),
        cmocka_unit_test(a_node_that_has_answered_is_not_put_out_by_what_others_say),
        cmocka_unit_test(what_a_peer_says_of_itself_replaces_what_was_said_of_it),
        cmocka_unit_test(a_node_is_dead_after_it_failed_twice_a_second_apart),
        cmocka_unit_test(the_dead_come_back_by_answering_or_named_much_later),
        cmocka_unit_test(round_trips_are_smoothed),
        cmocka_unit_test(who_named_a_node_is_known_until_it_answers),
        cmocka_unit_test(peer_ids_of_every_length_are_kept),
        cmocka_unit_test(what_is_no_peer_id_is_refused),
        cmocka_unit_test(a_table_has_at_most_65536_nodes),
        cmocka_unit_test(nodes_that_answered_make_room_for_nobody),
        cmocka_unit_test(a_node_takes_at_most_96_bytes),
        cmocka_unit_test(crowds_that_move_do_not_make_a_table_grow),
        cmocka_unit_test(beyond_its_bytes_a_table_takes_nobody),
        cmocka_unit_test(without_memory_a_node_is_left_out_and_the_table_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
