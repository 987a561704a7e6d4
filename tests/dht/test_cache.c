/* SPDX-License-Identifier: MIT */
/* dht/cache.h: eviction as hivemind has it, and which keys are due for another fetch. */
#include "support/test.h"

#include "base/map.h"
#include "dht/cache.h"

static struct skep_dht_id key_of(uint8_t number)
{
    return (struct skep_dht_id){{number}};
}

static int store(struct skep_dht_cache *cache, uint8_t number, size_t len, double expiration,
                 double now)
{
    static uint8_t blob[4096];
    struct skep_dht_id key = key_of(number);

    return skep_dht_storage_store(&cache->storage, &key, (skep_bytes){0}, skep_bytes_of(blob, len),
                                  expiration, NULL, now);
}

static bool has(struct skep_dht_cache *cache, uint8_t number)
{
    struct skep_dht_id key = key_of(number);

    return skep_dht_storage_get(&cache->storage, &key, 0) != NULL;
}

static void a_full_cache_drops_what_expires_first(void **state)
{
    struct skep_dht_cache cache;

    (void)state;
    skep_dht_cache_init(&cache, &skep_mem_std, 16384, 0, SKEP_DHT_TTL_MAX_S, 5);
    for (uint8_t i = 0; i < 20; i++)
        assert_int_equal(store(&cache, i, 1024, 100 - (double)(i % 10), 0), 1);
    assert_true(cache.storage.bytes <= 16384 && cache.storage.evicted >= 8);
    assert_false(has(&cache, 9));
    assert_true(has(&cache, 0) && has(&cache, 10));
    assert_int_equal(store(&cache, 30, 1024, 1, 0), 1); /* said to be in, and gone at once */
    assert_false(has(&cache, 30));
    assert_true(has(&cache, 0));
    skep_dht_cache_fini(&cache);
}

static void what_is_larger_than_the_cache_is_refused(void **state)
{
    struct skep_dht_cache cache;

    (void)state;
    skep_dht_cache_init(&cache, &skep_mem_std, 2048, 0, SKEP_DHT_TTL_MAX_S, 5);
    assert_int_equal(store(&cache, 1, 64, 100, 0), 1);
    assert_int_equal(store(&cache, 2, 4096, 200, 0), 0);
    assert_int_equal(cache.storage.refused.full, 1);
    assert_true(has(&cache, 1));
    skep_dht_cache_fini(&cache);
}

static void at_most_so_many_keys_are_cached(void **state)
{
    struct skep_dht_cache cache;

    (void)state;
    skep_dht_cache_init(&cache, &skep_mem_std, SKEP_MIB(1), 2, SKEP_DHT_TTL_MAX_S, 5);
    assert_int_equal(store(&cache, 1, 8, 10, 0), 1);
    assert_int_equal(store(&cache, 2, 8, 20, 0), 1);
    assert_int_equal(store(&cache, 3, 8, 15, 0), 1);
    assert_int_equal(skep_dht_storage_count(&cache.storage), 2);
    assert_false(has(&cache, 1));
    skep_dht_cache_fini(&cache);
}

static size_t due(struct skep_dht_cache *cache, double now, struct skep_dht_id *keys, size_t max,
                  double *expiration)
{
    *expiration = -1;
    return skep_dht_cache_refresh_due(cache, now, keys, max, expiration);
}

static void keys_that_were_read_are_due_before_they_expire(void **state)
{
    struct skep_dht_id keys[4], one = key_of(1), two = key_of(2), three = key_of(3);
    struct skep_dht_cache cache;
    double expiration;

    (void)state;
    skep_dht_cache_init(&cache, &skep_mem_std, SKEP_MIB(1), 0, SKEP_DHT_TTL_MAX_S, 5);
    store(&cache, 1, 8, 100, 0);
    store(&cache, 2, 8, 50, 0);
    assert_int_equal(skep_dht_cache_used(&cache, &three, 0), 0); /* not cached */
    assert_true(skep_dht_cache_next_refresh(&cache) == (double)INFINITY);
    assert_int_equal(skep_dht_cache_used(&cache, &one, 0), 1);
    assert_int_equal(skep_dht_cache_used(&cache, &two, 0), 1);
    assert_int_equal(skep_dht_cache_used(&cache, &two, 0), 1);
    assert_true(skep_dht_cache_next_refresh(&cache) == 45);
    assert_int_equal(due(&cache, 44, keys, 4, &expiration), 0);
    assert_true(expiration == -1);
    assert_int_equal(due(&cache, 45, keys, 4, &expiration), 1);
    assert_true(skep_dht_id_equal(&keys[0], &two) && expiration == 50);
    assert_int_equal(due(&cache, 45, keys, 4, &expiration), 0); /* once */

    store(&cache, 1, 8, 200, 45); /* renewed meanwhile */
    assert_int_equal(skep_dht_cache_used(&cache, &one, 45), 1);
    assert_true(skep_dht_cache_next_refresh(&cache) == 195);
    assert_int_equal(skep_dht_cache_refresh_soon(&cache, &one, 60), 1);
    assert_int_equal(skep_dht_cache_used(&cache, &one, 60), 1); /* stays due at once */
    assert_int_equal(skep_dht_cache_refresh_soon(&cache, &three, 60), 0);
    assert_int_equal(due(&cache, 60, keys, 4, &expiration), 1);
    skep_dht_cache_fini(&cache);
}

static void a_key_that_nobody_renews_is_due_again_only_after_a_second(void **state)
{
    struct skep_dht_id keys[4], one = key_of(1);
    struct skep_dht_cache cache;
    double expiration;

    (void)state;
    skep_dht_cache_init(&cache, &skep_mem_std, SKEP_MIB(1), 0, SKEP_DHT_TTL_MAX_S, 5);
    store(&cache, 1, 8, 100, 0);
    assert_int_equal(skep_dht_cache_used(&cache, &one, 0), 1);
    assert_int_equal(due(&cache, 95.5, keys, 4, &expiration), 1);
    assert_int_equal(skep_dht_cache_used(&cache, &one, 95.6), 0);
    assert_int_equal(skep_dht_cache_used(&cache, &one, 96.4), 0);
    assert_int_equal(due(&cache, 96.4, keys, 4, &expiration), 0);
    assert_int_equal(skep_dht_cache_used(&cache, &one, 96.6), 1);
    assert_int_equal(due(&cache, 96.6, keys, 4, &expiration), 1);
    store(&cache, 1, 8, 200, 96.7); /* renewed: due again in its time */
    assert_int_equal(skep_dht_cache_used(&cache, &one, 96.8), 1);
    assert_true(skep_dht_cache_next_refresh(&cache) == 195);
    skep_dht_cache_fini(&cache);
}

static void so_many_keys_are_taken_at_a_time(void **state)
{
    struct skep_dht_id keys[20];
    struct skep_dht_cache cache;
    double expiration;

    (void)state;
    skep_dht_cache_init(&cache, &skep_mem_std, SKEP_MIB(1), 0, SKEP_DHT_TTL_MAX_S, 5);
    for (uint8_t i = 0; i < 20; i++) {
        struct skep_dht_id key = key_of(i);

        store(&cache, i, 8, 50 + (double)i, 0);
        assert_int_equal(skep_dht_cache_used(&cache, &key, 0), 1);
    }
    assert_int_equal(due(&cache, 49, keys, 3, &expiration), 3);
    assert_true(expiration == 52);
    assert_int_equal(due(&cache, 49, keys, 20, &expiration), 2); /* up to 54 - 5 */
    assert_int_equal(due(&cache, 60, keys, 20, &expiration),
                     6); /* those that expired are not fetched again */
    skep_dht_cache_fini(&cache);
}

static void with_refreshing_off_nothing_is_ever_due(void **state)
{
    struct skep_dht_id one = key_of(1);
    struct skep_dht_cache cache;

    (void)state;
    skep_dht_cache_init(&cache, &skep_mem_std, SKEP_MIB(1), 0, SKEP_DHT_TTL_MAX_S, 0);
    store(&cache, 1, 8, 100, 0);
    assert_int_equal(skep_dht_cache_used(&cache, &one, 0), 0);
    assert_int_equal(skep_dht_cache_refresh_soon(&cache, &one, 0), 0);
    assert_true(skep_dht_cache_next_refresh(&cache) == (double)INFINITY);
    skep_dht_cache_fini(&cache);
}

static int use_cache(const struct skep_mem *mem, void *user)
{
    struct skep_dht_cache cache;
    int rc = 0;

    (void)user;
    skep_map_set_mem(mem);
    skep_dht_cache_init(&cache, mem, SKEP_MIB(1), 12, SKEP_DHT_TTL_MAX_S, 5);
    for (uint8_t i = 0; i < 40 && rc >= 0; i++) {
        struct skep_dht_id key = key_of(i);

        rc = store(&cache, i, 16, 100 + (double)(i * 7 % 13), 0);
        if (rc >= 0)
            rc = skep_dht_cache_used(&cache, &key, 0);
    }
    skep_dht_cache_fini(&cache);
    skep_map_set_mem(&skep_mem_std);
    return SKEP_MIN(rc, 0);
}

static void running_out_of_memory_leaks_nothing(void **state)
{
    (void)state;
    test_each_allocation_fails(use_cache, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_cache_drops_what_expires_first),
        cmocka_unit_test(what_is_larger_than_the_cache_is_refused),
        cmocka_unit_test(at_most_so_many_keys_are_cached),
        cmocka_unit_test(keys_that_were_read_are_due_before_they_expire),
        cmocka_unit_test(a_key_that_nobody_renews_is_due_again_only_after_a_second),
        cmocka_unit_test(so_many_keys_are_taken_at_a_time),
        cmocka_unit_test(with_refreshing_off_nothing_is_ever_due),
        cmocka_unit_test(running_out_of_memory_leaks_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
