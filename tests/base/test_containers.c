/* SPDX-License-Identifier: MIT */
/* Heap, list, map, generator, allocator. */
#include "support/test.h"

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"

struct item {
    struct skep_heap_node node;
    uint64_t key;
};

static bool before(const struct skep_heap_node *a, const struct skep_heap_node *b)
{
    return ((const struct item *)(const void *)a)->key <
           ((const struct item *)(const void *)b)->key;
}

static struct item *item_of(struct skep_heap_node *node)
{
    return SKEP_CONTAINER_OF(node, struct item, node);
}

static void a_heap_gives_the_least_first_after_any_pushes_and_removals(void **state)
{
    enum { COUNT = 200 };

    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(50); seed++) {
        static struct item items[COUNT];
        struct skep_heap heap;
        struct skep_prng prng;
        size_t held = 0;
        uint64_t last = 0;

        memset(items, 0, sizeof items);
        skep_prng_init(&prng, seed);
        skep_heap_init(&heap, &skep_mem_std, before);
        for (size_t step = 0; step < 1000; step++) {
            struct item *item = &items[skep_prng_below(&prng, COUNT)];

            if (item->node.place == SKEP_HEAP_NONE) {
                item->key = skep_prng_below(&prng, 50);
                assert_int_equal(skep_heap_push(&heap, &item->node), 0);
                held++;
            } else {
                skep_heap_remove(&heap, &item->node);
                skep_heap_remove(&heap, &item->node); /* harmless */
                held--;
            }
            for (size_t i = 1; i < heap.count; i++)
                if (before(heap.items[i], heap.items[(i - 1) / 2]) || heap.items[i]->place != i + 1)
                    fail_msg("seed %llu, step %zu", (unsigned long long)seed, step);
        }
        assert_int_equal(heap.count, held);
        for (; held > 0; held--) {
            struct skep_heap_node *peeked = skep_heap_peek(&heap), *node = skep_heap_pop(&heap);

            assert_ptr_equal(peeked, node);
            assert_true(item_of(node)->key >= last);
            assert_int_equal(node->place, SKEP_HEAP_NONE);
            last = item_of(node)->key;
        }
        assert_null(skep_heap_pop(&heap));
        assert_null(skep_heap_peek(&heap));
        skep_heap_fini(&heap);
    }
}

static void a_heap_that_ends_lets_its_items_go(void **state)
{
    struct item items[3] = {{{0}, 3}, {{0}, 2}, {{0}, 1}};
    struct skep_heap heap;

    (void)state;
    skep_heap_init(&heap, &skep_mem_std, before);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(skep_heap_push(&heap, &items[i].node), 0);
    skep_heap_fini(&heap);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(items[i].node.place, SKEP_HEAP_NONE);
    skep_heap_remove(&heap, &items[0].node);
}

struct member {
    struct skep_list link;
    int number;
};

static void a_list_keeps_its_order_and_allows_removal_on_the_way(void **state)
{
    struct member members[5];
    struct skep_list list;
    int text = 0;

    (void)state;
    skep_list_init(&list);
    assert_true(skep_list_empty(&list));
    for (int i = 0; i < 5; i++) {
        members[i].number = i;
        if (i % 2)
            skep_list_push_front(&list, &members[i].link);
        else
            skep_list_push_back(&list, &members[i].link);
    }
    SKEP_LIST_EACH(&list, node, after)
    {
        text = text * 10 + SKEP_LIST_ITEM(node, struct member, link)->number;
        if (SKEP_LIST_ITEM(node, struct member, link)->number % 2 == 0)
            skep_list_remove(node);
    }
    assert_int_equal(text, 31024);
    text = 0;
    SKEP_LIST_EACH(&list, node, after)
    text = text * 10 + SKEP_LIST_ITEM(node, struct member, link)->number;
    assert_int_equal(text, 31);
    skep_list_remove(&members[0].link); /* harmless the second time */
}

struct entry {
    UT_hash_handle hh;
    uint32_t key;
};

static int fill_map(const struct skep_mem *mem, void *user)
{
    enum { COUNT = 500 };
    struct entry *map = NULL, *entry, *after;
    size_t *count = user;
    int rc = 0;

    skep_map_set_mem(mem);
    *count = 0;
    for (uint32_t i = 0; i < COUNT && rc == 0; i++) {
        entry = skep_mem_zalloc(mem, 1, sizeof *entry);
        if (!entry) {
            rc = SKEP_ENOMEM;
            break;
        }
        entry->key = i * 2654435761u;
        HASH_ADD_KEYPTR(hh, map, &entry->key, sizeof entry->key, entry);
        if (!entry->hh.tbl) {
            skep_mem_free(mem, entry);
            rc = SKEP_ENOMEM;
            break;
        }
        ++*count;
    }
    assert_int_equal(HASH_COUNT(map), *count);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t key = i * 2654435761u;

        HASH_FIND(hh, map, &key, sizeof key, entry);
        assert_int_equal(entry != NULL, i < *count);
    }
    for (entry = map, *count = 0; entry; entry = after) {
        after = entry->hh.next;
        assert_int_equal(entry->key,
                         (uint32_t)(*count)++ * 2654435761u); /* in the order of insertion */
        HASH_DEL(map, entry);
        skep_mem_free(mem, entry);
    }
    assert_null(map);
    skep_map_set_mem(&skep_mem_std);
    return rc;
}

static void a_map_survives_each_failing_allocation(void **state)
{
    size_t count;

    (void)state;
    test_each_allocation_fails(fill_map, &count);
    assert_int_equal(count, 500);
}

/* SipHash-1-3 of the bytes 00 01 02 … under the key 00 01 … 0f; from the test vectors that Rust's SipHasher13 has. */
static void the_hash_of_maps_is_siphash_1_3(void **state)
{
    static const uint64_t expected[] = {0xabac0158050fc4dc, 0xc9f49bf37d57ca93, 0x82cb9b024dc7d44d,
                                        0x8bf80ab8e7ddf7fb};
    static const uint8_t bytes[] = {0, 1, 2};

    (void)state;
    skep_map_set_key(0x0706050403020100, 0x0f0e0d0c0b0a0908);
    for (size_t len = 0; len < SKEP_COUNT_OF(expected); len++)
        assert_int_equal(skep_map_hash(bytes, len),
                         (uint32_t)(expected[len] ^ expected[len] >> 32));
    skep_map_set_key(1, 2);
    assert_true(skep_map_hash(bytes, 3) != (uint32_t)(expected[3] ^ expected[3] >> 32));
}

/* xoshiro256** with the state {1, 2, 3, 4}: the first outputs that its authors' program prints. */
static void the_generator_is_xoshiro256starstar(void **state)
{
    static const uint64_t expected[] = {11520, 0, 1509978240, 1215971899390074240};
    struct skep_prng prng = {{1, 2, 3, 4}};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(expected); i++)
        assert_true(skep_prng_u64(&prng) == expected[i]);
}

static void the_generator_is_uniform_and_repeats_from_its_seed(void **state)
{
    struct skep_prng a, b;
    size_t seen[7] = {0};
    double sum = 0;
    uint8_t bytes_a[13], bytes_b[13];

    (void)state;
    skep_prng_init(&a, 42);
    skep_prng_init(&b, 42);
    for (size_t i = 0; i < 70000; i++) {
        uint64_t v = skep_prng_below(&a, 7);

        assert_true(v == skep_prng_below(&b, 7) && v < 7);
        seen[v]++;
    }
    for (size_t i = 0; i < 7; i++)
        assert_in_range(seen[i], 9600, 10400);
    for (size_t i = 0; i < 10000; i++) {
        double u = skep_prng_unit(&a);

        assert_true(u >= 0 && u < 1);
        sum += u;
    }
    assert_true(sum > 4800 && sum < 5200);
    skep_prng_init(&a, 7);
    skep_prng_init(&b, 7);
    skep_prng_fill(&a, bytes_a, sizeof bytes_a);
    skep_prng_fill(&b, bytes_b, sizeof bytes_b);
    assert_memory_equal(bytes_a, bytes_b, sizeof bytes_a);
    assert_true(skep_prng_below(&a, UINT64_MAX) < UINT64_MAX);
    assert_true(skep_prng_below(&a, 1) == 0);
}

static void the_allocator_checks_products_and_empty_sizes(void **state)
{
    struct test_mem mem;
    void *ptr;
    char *text;

    (void)state;
    test_mem_init(&mem);
    assert_null(skep_mem_zalloc(&mem.mem, SIZE_MAX / 2, 3));
    ptr = skep_mem_alloc(&mem.mem, 0);
    assert_non_null(ptr);
    ptr = skep_mem_resize(&mem.mem, ptr, 0);
    assert_non_null(ptr);
    skep_mem_free(&mem.mem, ptr);
    skep_mem_free(&mem.mem, NULL);
    text = skep_mem_strdup(&mem.mem, "text");
    assert_string_equal(text, "text");
    mem.fail_at = 1;
    assert_null(skep_mem_resize(&mem.mem, text, 100));
    assert_string_equal(text, "text");
    skep_mem_free(&mem.mem, text);
    assert_int_equal(mem.live, 0);
    ptr = skep_mem_zalloc(&skep_mem_std, 3, 5);
    assert_memory_equal(ptr, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 15);
    skep_mem_free(&skep_mem_std, ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_heap_gives_the_least_first_after_any_pushes_and_removals),
        cmocka_unit_test(a_heap_that_ends_lets_its_items_go),
        cmocka_unit_test(a_list_keeps_its_order_and_allows_removal_on_the_way),
        cmocka_unit_test(a_map_survives_each_failing_allocation),
        cmocka_unit_test(the_hash_of_maps_is_siphash_1_3),
        cmocka_unit_test(the_generator_is_xoshiro256starstar),
        cmocka_unit_test(the_generator_is_uniform_and_repeats_from_its_seed),
        cmocka_unit_test(the_allocator_checks_products_and_empty_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
