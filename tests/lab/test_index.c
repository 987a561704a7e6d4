/* SPDX-License-Identifier: MIT */
#include "lab/index.h"

#include "support/test.h"

enum { ENTRIES = 300, WIDE = 20 };

static void fill(struct skep_lab_index *index, struct skep_prng *prng, size_t count)
{
    skep_lab_index_init(index, &skep_mem_std);
    for (uint32_t i = 0; i < count; i++) {
        struct skep_dht_id id;

        skep_prng_fill(prng, id.bytes, sizeof id.bytes);
        assert_int_equal(skep_lab_index_add(index, &id, i), 0);
    }
    skep_lab_index_sort(index);
}

static void the_nearest_are_those_that_looking_at_all_gives(void **state)
{
    struct skep_lab_index index;
    struct skep_prng prng;

    (void)state;
    skep_prng_init(&prng, 1);
    for (size_t count = 0; count < ENTRIES; count = count * 3 + 1) {
        fill(&index, &prng, count);
        for (int round = 0; round < 50; round++) {
            struct skep_dht_id target;
            uint32_t out[WIDE];
            size_t found;

            skep_prng_fill(&prng, target.bytes, sizeof target.bytes);
            found = skep_lab_index_nearest(&index, &target, WIDE, out);
            assert_int_equal(found, SKEP_MIN(count, (size_t)WIDE));
            for (size_t i = 0; i < found; i++) {
                const struct skep_dht_id *id = NULL;
                size_t nearer = 0;

                for (size_t j = 0; j < count; j++)
                    if (index.entries[j].member == out[i])
                        id = &index.entries[j].id;
                assert_non_null(id);
                for (size_t j = 0; j < count; j++)
                    nearer += skep_dht_id_nearer(&target, &index.entries[j].id, id) < 0;
                assert_int_equal(nearer, i);
            }
        }
        skep_lab_index_fini(&index);
    }
}

struct known {
    unsigned times[ENTRIES];
    size_t count, by_bits[SKEP_DHT_ID_BITS + 1];
    struct skep_dht_id own;
};

static int know(void *user, const struct skep_lab_index_entry *entry)
{
    struct known *known = user;

    known->times[entry->member]++;
    known->count++;
    known->by_bits[skep_dht_id_common_bits(&entry->id, &known->own)]++;
    return 0;
}

static void a_table_has_its_share_of_every_subtree_and_all_neighbours(void **state)
{
    struct skep_lab_index index;
    struct known known = {.count = 0};
    struct skep_prng prng;
    unsigned deepest = 0;

    (void)state;
    skep_prng_init(&prng, 2);
    fill(&index, &prng, ENTRIES);
    known.own = index.entries[77].id;
    assert_int_equal(skep_lab_index_table(&index, &known.own, WIDE, &prng, know, &known), 0);
    for (size_t i = 0; i < ENTRIES; i++)
        assert_true(known.times[i] <= 1);
    assert_int_equal(known.times[index.entries[77].member], 0);
    for (unsigned bits = 0; bits < 12; bits++) {
        size_t all = 0;

        for (size_t i = 0; i < ENTRIES; i++)
            all += skep_dht_id_common_bits(&index.entries[i].id, &known.own) == bits;
        if (known.by_bits[bits] < all)
            assert_int_equal(known.by_bits[bits], WIDE);
        else
            deepest = bits;
    }
    assert_true(deepest >= 4);
    skep_lab_index_fini(&index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_are_those_that_looking_at_all_gives),
        cmocka_unit_test(a_table_has_its_share_of_every_subtree_and_all_neighbours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
