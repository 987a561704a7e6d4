/* SPDX-License-Identifier: MIT */
/* dht/storage.h: the rules against vectors/dht.json (storage), less hivemind's defect (f) 1, then bounds, shares and sharing. */
#include "support/test.h"

#include "base/map.h"
#include "base/msgpack.h"
#include "dht/storage.h"

enum { KIB = 1024 };

static struct skep_dht_storage_options options_of(const struct skep_mem *mem, size_t bytes_max)
{
    return (struct skep_dht_storage_options){
        .mem = mem, .bytes_max = bytes_max, .ttl_max_s = SKEP_DHT_TTL_MAX_S};
}

static void open_storage(struct skep_dht_storage *storage, size_t bytes_max)
{
    struct skep_dht_storage_options options = options_of(&skep_mem_std, bytes_max);

    skep_dht_storage_init(storage, &options);
}

static struct skep_dht_id key_of(uint64_t number)
{
    struct skep_dht_id key = {{0}};

    skep_put_be64(key.bytes + 12, number);
    return key;
}

static struct skep_peer_id peer_of(uint8_t number)
{
    return (struct skep_peer_id){.len = 34, .bytes = {0x12, 0x20, number}};
}

static int store(struct skep_dht_storage *storage, uint64_t key_number, const char *subkey_hex,
                 const char *text, double expiration, const struct skep_peer_id *from, double now)
{
    struct skep_dht_id key = key_of(key_number);

    return skep_dht_storage_store(storage, &key, test_unhex(subkey_hex), skep_bytes_str(text),
                                  expiration, from, now);
}

static const struct skep_dht_item *get(struct skep_dht_storage *storage, uint64_t key_number,
                                       double now)
{
    struct skep_dht_id key = key_of(key_number);

    return skep_dht_storage_get(storage, &key, now);
}

/* ---- the golden steps ---- */

static void pack_subkey(struct skep_buf *out, const json_t *subkey)
{
    if (json_is_string(subkey))
        skep_msgpack_put_str(out, skep_bytes_str(json_string_value(subkey)));
    else
        skep_msgpack_put_int(out, strtoll(test_str(subkey, "int"), NULL, 10));
}

static void check_get(struct skep_dht_storage *storage, const struct skep_dht_id *key,
                      const json_t *expected, double now)
{
    const struct skep_dht_item *item = skep_dht_storage_get(storage, key, now);
    skep_bytes packed;
    json_t *plain;

    if (json_is_null(expected)) {
        assert_null(item);
        return;
    }
    assert_non_null(item);
    assert_true(item->expiration_unix_s == json_real_value(test_get(expected, "expiration")));
    assert_int_equal(skep_dht_storage_packed(storage, item, &packed), 0);
    plain = json_object_get(test_get(expected, "value"), "bytes");
    assert_int_equal(item->value->is_dictionary, plain == NULL);
    assert_string_equal(test_hex(packed.data, packed.len),
                        plain ? json_string_value(plain) : test_str(expected, "packed"));
}

static void run_step(struct skep_dht_storage *storage, const json_t *step, double *now)
{
    const char *op = test_str(step, "op");
    struct skep_dht_id key;
    struct skep_buf subkey;

    if (strcmp(op, "time") == 0) {
        *now = json_real_value(test_get(step, "now"));
        return;
    }
    if (strcmp(op, "new storage") == 0) {
        struct skep_dht_storage_options options = options_of(&skep_mem_std, SKEP_MIB(1));

        options.keys_max = (size_t)json_integer_value(test_get(step, "maxsize"));
        skep_dht_storage_fini(storage);
        skep_dht_storage_init(storage, &options);
        return;
    }
    assert_int_equal(skep_dht_id_from_str(&key, skep_bytes_str(test_str(step, "key"))), 0);
    if (strcmp(op, "get") == 0) {
        check_get(storage, &key, test_get(step, "result"), *now);
        return;
    }
    skep_buf_init(&subkey, &skep_mem_std);
    if (strcmp(op, "store subkey") == 0)
        pack_subkey(&subkey, test_get(step, "subkey"));
    else
        assert_string_equal(op, "store");
    assert_int_equal(skep_dht_storage_store(
                         storage, &key, skep_buf_view(&subkey), test_unhex(test_str(step, "value")),
                         json_real_value(test_get(step, "expiration")), NULL, *now),
                     json_is_true(test_get(step, "result")));
    skep_buf_fini(&subkey);
}

static void records_are_kept_as_hivemind_keeps_them(void **state)
{
    json_t *vector, *step;
    size_t i, j, run = 0;

    (void)state;
    json_array_foreach(test_get(test_vectors("dht.json"), "storage"), i, vector)
    {
        struct skep_dht_storage storage;
        double now = 0;

        if (strncmp(test_str(vector, "what"), "BUG", 3) == 0)
            continue; /* the next test */
        open_storage(&storage, SKEP_MIB(1));
        json_array_foreach(test_get(vector, "steps"), j, step) run_step(&storage, step, &now);
        skep_dht_storage_fini(&storage);
        run++;
    }
    assert_int_equal(run, json_array_size(test_get(test_vectors("dht.json"), "storage")) - 1);
}

static void a_refused_store_takes_nothing_down_with_it(void **state)
{
    struct skep_dht_storage storage;

    (void)state;
    open_storage(&storage, SKEP_MIB(1));
    assert_int_equal(store(&storage, 1, "", "a", 100, NULL, 0), 1);
    assert_int_equal(store(&storage, 1, "", "b", 50, NULL, 0), 0);
    assert_non_null(get(&storage, 1, 51)); /* hivemind: gone */
    assert_int_equal(store(&storage, 2, "01", "a", 100, NULL, 51), 1);
    assert_int_equal(store(&storage, 2, "01", "b", 60, NULL, 51), 0);
    assert_int_equal(get(&storage, 2, 99)->value->count, 1);
    assert_int_equal(storage.refused.older, 2);
    skep_dht_storage_fini(&storage);
}

static void subkeys_of_different_types_may_expire_together(void **state)
{
    struct skep_dht_storage storage;

    (void)state;
    open_storage(&storage, SKEP_MIB(1));
    assert_int_equal(store(&storage, 1, "01", "a", 100, NULL, 0), 1);
    assert_int_equal(store(&storage, 1, "a173", "b", 100, NULL, 0), 1); /* hivemind: TypeError */
    assert_int_equal(store(&storage, 1, "c0", "c", 100, NULL, 0), 1);
    assert_int_equal(get(&storage, 1, 100)->value->count, 3);
    assert_null(get(&storage, 1, 101));
    skep_dht_storage_fini(&storage);
}

static void an_entry_that_expires_goes_alone(void **state)
{
    struct skep_dht_storage storage;
    struct skep_peer_id peer = peer_of(1);
    size_t bytes;

    (void)state;
    open_storage(&storage, SKEP_MIB(1));
    store(&storage, 1, "01", "a", 20, &peer, 0);
    bytes = storage.bytes;
    store(&storage, 1, "02", "b", 10, &peer, 0);
    assert_int_equal(skep_dht_storage_share(&storage, &peer), storage.bytes);
    assert_int_equal(skep_dht_storage_expire(&storage, 15), 0); /* no key went, */
    assert_int_equal(storage.bytes, bytes);                     /* an entry did */
    assert_int_equal(get(&storage, 1, 15)->value->count, 1);
    assert_int_equal(skep_dht_storage_expire(&storage, 21), 1);
    assert_int_equal(storage.bytes, 0);
    assert_int_equal(skep_dht_storage_share(&storage, &peer), 0);
    skep_dht_storage_fini(&storage);
}

static void whole_dictionaries_are_stored_past_refused_entries(void **state)
{
    struct skep_dht_storage storage;
    struct skep_dht_value *dictionary;
    struct skep_dht_id key = key_of(1);

    (void)state;
    open_storage(&storage, SKEP_MIB(1));
    store(&storage, 1, "01", "newer", 30, NULL, 0);
    assert_int_equal(skep_dht_value_new_dictionary(&dictionary, &skep_mem_std), 0);
    assert_int_equal(skep_dht_storage_store_dictionary(&storage, &key, dictionary, NULL, 0),
                     1); /* all of none */
    skep_dht_value_put(dictionary, test_unhex("01"), skep_bytes_str("older"), 20, 0, NULL);
    skep_dht_value_put(dictionary, test_unhex("02"), skep_bytes_str("two"), 20, 0, NULL);
    assert_int_equal(skep_dht_storage_store_dictionary(&storage, &key, dictionary, NULL, 0), 0);
    assert_int_equal(get(&storage, 1, 0)->value->count, 2); /* hivemind stops at the first, (f) 3 */
    skep_dht_value_unref(dictionary);
    skep_dht_storage_fini(&storage);
}

static void expirations_that_make_no_sense_are_refused(void **state)
{
    struct skep_dht_storage storage;

    (void)state;
    open_storage(&storage, SKEP_MIB(1));
    assert_int_equal(store(&storage, 1, "", "a", (double)NAN, NULL, 0), 0);
    assert_int_equal(store(&storage, 1, "", "a", (double)INFINITY, NULL, 0), 0);
    assert_int_equal(store(&storage, 1, "01", "a", (double)-INFINITY, NULL, 0), 0);
    assert_int_equal(store(&storage, 1, "", "a", SKEP_DHT_TTL_MAX_S + 1.0, NULL, 0), 0);
    assert_int_equal(storage.refused.expiration, 4);
    assert_int_equal(store(&storage, 1, "", "a", SKEP_DHT_TTL_MAX_S, NULL, 0), 1);
    assert_int_equal(store(&storage, 2, "", "a", 4.5, NULL, 5), 0);
    assert_int_equal(storage.refused.expired, 1);
    skep_dht_storage_fini(&storage);
}

static void a_subkey_that_is_no_key_is_an_error_and_stores_nothing(void **state)
{
    static const char *const subkeys[] = {"91c0", "80", "d902", "c1", "0101"};
    struct skep_dht_storage storage;

    (void)state;
    open_storage(&storage, SKEP_MIB(1));
    for (size_t i = 0; i < SKEP_COUNT_OF(subkeys); i++)
        assert_true(store(&storage, 1, subkeys[i], "a", 10, NULL, 0) <= SKEP_EPEER_FRAME);
    assert_int_equal(storage.refused.subkey, SKEP_COUNT_OF(subkeys));
    assert_int_equal(skep_dht_storage_count(&storage), 0);
    skep_dht_storage_fini(&storage);
}

/* ---- bounds ---- */

static int store_blob(struct skep_dht_storage *storage, uint64_t key_number, size_t len,
                      const struct skep_peer_id *from)
{
    static uint8_t blob[SKEP_DHT_DICTIONARY_BYTES_MAX + 1];
    struct skep_dht_id key = key_of(key_number);

    return skep_dht_storage_store(storage, &key, (skep_bytes){0}, skep_bytes_of(blob, len),
                                  100 + (double)key_number, from, 0);
}

static void a_full_storage_refuses_what_would_make_it_grow(void **state)
{
    struct skep_dht_storage storage;
    uint64_t n = 0;

    (void)state;
    open_storage(&storage, 64 * KIB);
    while (store_blob(&storage, n, KIB, NULL) == 1)
        n++;
    assert_true(n > 40 && storage.bytes <= 64 * KIB);
    assert_int_equal(storage.refused.full, 1);
    assert_int_equal(store(&storage, 0, "", "smaller", 1000, NULL, 0),
                     1); /* room for it comes with it */
    assert_int_equal(skep_dht_storage_count(&storage), n);
    skep_dht_storage_remove(&storage, &(struct skep_dht_id){{0}});
    skep_dht_storage_remove(&storage, &(struct skep_dht_id){{0}});
    assert_int_equal(skep_dht_storage_count(&storage), n - 1);
    skep_dht_storage_fini(&storage);
}

static void past_half_full_a_peer_has_at_most_a_quarter(void **state)
{
    struct skep_peer_id greedy = peer_of(1), modest = peer_of(2);
    struct skep_dht_storage storage;
    uint64_t n = 0;

    (void)state;
    open_storage(&storage, 64 * KIB);
    while (store_blob(&storage, n, KIB, &greedy) == 1)
        n++;
    assert_int_equal(storage.refused.share, 1);
    assert_true(storage.bytes <= 32 * KIB && storage.bytes > 30 * KIB);
    assert_int_equal(skep_dht_storage_share(&storage, &greedy), storage.bytes);
    assert_int_equal(store_blob(&storage, 1000, KIB, &greedy), 0);
    while (store_blob(&storage, n, KIB, &modest) == 1)
        n++;
    assert_true(skep_dht_storage_share(&storage, &modest) <= 16 * KIB &&
                skep_dht_storage_share(&storage, &modest) > 14 * KIB);
    /* What it does not grow by it may change. */
    assert_int_equal(store(&storage, 0, "", "smaller", 1000, &greedy, 0), 1);
    assert_int_equal(store_blob(&storage, 2000, KIB, NULL), 1); /* we ourselves are not bound */
    skep_dht_storage_fini(&storage);
}

static void entries_in_others_dictionaries_count_for_whoever_stored_them(void **state)
{
    struct skep_peer_id a = peer_of(1), b = peer_of(2);
    struct skep_dht_storage storage;
    size_t share_a;

    (void)state;
    open_storage(&storage, 64 * KIB);
    assert_int_equal(store(&storage, 1, "01", "of a", 10, &a, 0), 1);
    share_a = skep_dht_storage_share(&storage, &a);
    assert_int_equal(store(&storage, 1, "02", "of b", 10, &b, 0), 1);
    assert_int_equal(skep_dht_storage_share(&storage, &a), share_a);
    assert_int_equal(skep_dht_storage_share(&storage, &b), skep_dht_entry_cost(1, 4));
    assert_int_equal(store(&storage, 1, "01", "b's now", 11, &b, 0), 1);
    assert_int_equal(skep_dht_storage_share(&storage, &a), share_a - skep_dht_entry_cost(1, 4));
    assert_int_equal(store(&storage, 1, "", "plain", 20, &b, 0), 1);
    assert_int_equal(skep_dht_storage_share(&storage, &a), 0);
    assert_int_equal(skep_dht_storage_share(&storage, &b), storage.bytes);
    skep_dht_storage_fini(&storage);
}

static void a_dictionary_that_would_grow_too_large_is_refused(void **state)
{
    static uint8_t blob[SKEP_DHT_DICTIONARY_BYTES_MAX + 1];
    struct skep_dht_storage storage;
    struct skep_dht_id key = key_of(1);

    (void)state;
    open_storage(&storage, SKEP_MIB(64));
    assert_int_equal(store(&storage, 1, "01", "a", 10, NULL, 0), 1);
    assert_int_equal(skep_dht_storage_store(&storage, &key, test_unhex("02"),
                                            skep_bytes_of(blob, sizeof blob), 10, NULL, 0),
                     0);
    assert_int_equal(skep_dht_storage_store(&storage, &key, test_unhex("02"),
                                            skep_bytes_of(blob, SKEP_DHT_DICTIONARY_BYTES_MAX - 30),
                                            10, NULL, 0),
                     0);
    assert_int_equal(storage.refused.dictionary, 2);
    assert_int_equal(skep_dht_storage_store(
                         &storage, &key, test_unhex("02"),
                         skep_bytes_of(blob, SKEP_DHT_DICTIONARY_BYTES_MAX - 100), 10, NULL, 0),
                     1);
    skep_dht_storage_fini(&storage);
}

/* ---- sharing ---- */

static void a_value_that_somebody_holds_stays_as_it_was(void **state)
{
    struct skep_dht_storage storage;
    struct skep_dht_value *held;
    uint64_t version;

    (void)state;
    open_storage(&storage, SKEP_MIB(1));
    store(&storage, 1, "01", "a", 10, NULL, 0);
    held = skep_dht_value_ref(get(&storage, 1, 0)->value);
    version = get(&storage, 1, 0)->version;
    assert_int_equal(get(&storage, 1, 5)->version, version);
    store(&storage, 1, "02", "b", 20, NULL, 0);
    assert_true(get(&storage, 1, 0)->version > version);
    assert_int_equal(held->count, 1);
    version = get(&storage, 1, 0)->version;
    assert_true(get(&storage, 1, 11)->version > version); /* an entry went */
    skep_dht_value_unref(held);
    skep_dht_storage_fini(&storage);
}

static void a_value_goes_from_one_storage_into_another_without_a_copy(void **state)
{
    struct skep_peer_id peer = peer_of(1);
    struct skep_dht_storage storage, other;
    struct skep_dht_value *found;
    struct skep_dht_id key = key_of(1);

    (void)state;
    open_storage(&storage, SKEP_MIB(1));
    open_storage(&other, SKEP_MIB(1));
    store(&storage, 1, "01", "a", 10, &peer, 0);
    store(&storage, 1, "02", "b", 20, &peer, 0);
    found = get(&storage, 1, 0)->value;
    assert_int_equal(skep_dht_storage_store_value(&other, &key, found, 0), 1);
    assert_ptr_equal(get(&other, 1, 0)->value, found);
    assert_int_equal(skep_dht_storage_store_value(&other, &key, found, 0), 0); /* it is there */
    assert_int_equal(store(&other, 1, "03", "c", 30, &peer, 0), 1);
    assert_int_equal(get(&storage, 1, 0)->value->count, 2);
    assert_int_equal(skep_dht_storage_share(&other, &peer), skep_dht_entry_cost(1, 1));
    assert_int_equal(skep_dht_storage_store_value(&other, &key, found, 0), 1);
    assert_int_equal(get(&other, 1, 0)->value->count, 3);
    assert_int_equal(get(&other, 1, 15)->value->count, 2);  /* expires there, */
    assert_int_equal(get(&storage, 1, 0)->value->count, 2); /* not here */
    skep_dht_storage_fini(&other);
    skep_dht_storage_fini(&storage);
}

static void items_are_walked_in_the_order_they_came(void **state)
{
    struct skep_dht_storage storage;
    const struct skep_dht_item *item = NULL;

    (void)state;
    open_storage(&storage, SKEP_MIB(1));
    for (uint64_t i = 100; i > 0; i--)
        store(&storage, i, "", "v", 10 + (double)i, NULL, 0);
    for (uint64_t i = 100; i > 0; i--) {
        struct skep_dht_id key = key_of(i);

        item = skep_dht_storage_next(&storage, item);
        assert_true(skep_dht_id_equal(&item->key, &key));
    }
    assert_null(skep_dht_storage_next(&storage, item));
    skep_dht_storage_fini(&storage);
}

static int use_storage(const struct skep_mem *mem, void *user)
{
    struct skep_dht_storage_options options = options_of(mem, SKEP_MIB(1));
    struct skep_dht_storage storage;
    struct skep_dht_value *held = NULL;
    int rc = 0;

    (void)user;
    skep_map_set_mem(mem);
    skep_dht_storage_init(&storage, &options);
    for (uint64_t i = 0; i < 60 && rc >= 0; i++) {
        struct skep_peer_id peer = peer_of((uint8_t)(i % 11));
        const struct skep_dht_item *item;

        rc = store(&storage, i % 7,
                   i % 3 == 0   ? ""
                   : i % 3 == 1 ? "01"
                                : "a173",
                   "value", 100 + (double)i, &peer, (double)i * 1.5);
        item = get(&storage, i % 5, (double)i * 1.5);
        skep_dht_value_unref(held);
        held = item ? skep_dht_value_ref(item->value) : NULL;
        if (rc >= 0 && held) {
            struct skep_dht_id key = key_of(6);

            rc = skep_dht_storage_store_value(&storage, &key, held, (double)i);
        }
    }
    skep_dht_value_unref(held);
    skep_dht_storage_fini(&storage);
    skep_map_set_mem(&skep_mem_std);
    return SKEP_MIN(rc, 0);
}

static void running_out_of_memory_leaves_the_books_in_order(void **state)
{
    (void)state;
    test_each_allocation_fails(use_storage, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_kept_as_hivemind_keeps_them),
        cmocka_unit_test(a_refused_store_takes_nothing_down_with_it),
        cmocka_unit_test(subkeys_of_different_types_may_expire_together),
        cmocka_unit_test(an_entry_that_expires_goes_alone),
        cmocka_unit_test(whole_dictionaries_are_stored_past_refused_entries),
        cmocka_unit_test(expirations_that_make_no_sense_are_refused),
        cmocka_unit_test(a_subkey_that_is_no_key_is_an_error_and_stores_nothing),
        cmocka_unit_test(a_full_storage_refuses_what_would_make_it_grow),
        cmocka_unit_test(past_half_full_a_peer_has_at_most_a_quarter),
        cmocka_unit_test(entries_in_others_dictionaries_count_for_whoever_stored_them),
        cmocka_unit_test(a_dictionary_that_would_grow_too_large_is_refused),
        cmocka_unit_test(a_value_that_somebody_holds_stays_as_it_was),
        cmocka_unit_test(a_value_goes_from_one_storage_into_another_without_a_copy),
        cmocka_unit_test(items_are_walked_in_the_order_they_came),
        cmocka_unit_test(running_out_of_memory_leaves_the_books_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
