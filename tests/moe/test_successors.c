/* SPDX-License-Identifier: MIT */
/* A prefix's record: what is kept of it, and what is dropped and counted. */
#include <math.h>

#include "base/msgpack.h"
#include "moe/successors.h"
#include "support/test.h"

static const char peer_a[] = "12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s";
static const char peer_b[] = "12D3KooWRacyeCe8EVynawz1V4Xf5mJvqiLLMgGNMy6RNKFyPNYX";

static skep_bytes pair(const char *uid, const char *peer)
{
    struct skep_buf in, out;
    skep_bytes made;

    skep_buf_init(&in, &skep_mem_std);
    skep_buf_init(&out, &skep_mem_std);
    skep_msgpack_put_array(&in, 2);
    skep_msgpack_put_str(&in, skep_bytes_str(uid));
    skep_msgpack_put_str(&in, skep_bytes_str(peer));
    skep_msgpack_put_ext(&out, SKEP_EXT_TUPLE, (uint32_t)in.len);
    skep_buf_put_bytes(&out, skep_buf_view(&in));
    skep_buf_fini(&in);
    made = skep_buf_view(&out);
    return made; /* freed by put() */
}

static void put(struct skep_dht_value *value, const char *subkey_hex, skep_bytes bytes,
                double expiration)
{
    skep_bytes subkey = test_unhex(subkey_hex);

    assert_int_equal(skep_dht_value_put(value, subkey, bytes, expiration, 0, NULL), 1);
}

static void put_pair(struct skep_dht_value *value, const char *subkey_hex, const char *uid,
                     const char *peer)
{
    skep_bytes bytes = pair(uid, peer);

    put(value, subkey_hex, bytes, 200);
    free((void *)(uintptr_t)bytes.data);
}

static struct skep_dht_value *new_value(void)
{
    struct skep_dht_value *value;

    assert_int_equal(skep_dht_value_new_dictionary(&value, &skep_mem_std), 0);
    return value;
}

static struct skep_moe_successors *decode(struct skep_dht_value *value, const char *prefix,
                                          struct skep_successors_dropped *dropped)
{
    struct skep_moe_successors *found;

    *dropped = (struct skep_successors_dropped){0};
    assert_int_equal(skep_successors_decode(&found, &skep_mem_std, skep_bytes_str(prefix), value,
                                            100, NULL, dropped),
                     0);
    skep_dht_value_unref(value);
    return found;
}

static void entries_keep_their_order_numbers_and_peers(void **state)
{
    struct skep_dht_value *value = new_value();
    struct skep_moe_successors *found;
    struct skep_successors_dropped dropped;
    char text[SKEP_PEER_ID_TEXT_MAX];

    (void)state;
    put_pair(value, "07", "ffn.3.7.1.2", peer_a);
    put_pair(value, "cd0100", "ffn.3.256", peer_b);
    put_pair(value, "00", "ffn.3.0.99999999999999999999.5", peer_a);
    found = decode(value, "ffn.3.", &dropped);
    assert_int_equal(found->count, 3);
    assert_int_equal(found->grid_count, 3);
    assert_int_equal(found->peer_count, 2);
    assert_int_equal(found->entries[0].coordinate, 7);
    assert_int_equal(found->entries[0].number_count, 3);
    assert_int_equal(found->numbers[found->entries[0].number_at + 2], 2);
    assert_int_equal(found->entries[1].coordinate, 256);
    assert_true(found->numbers[found->entries[2].number_at + 1] == UINT32_MAX);
    assert_int_equal(found->numbers[found->entries[2].number_at + 2], 5);
    assert_string_equal(found->text + found->entries[1].uid_at, "ffn.3.256");
    assert_string_equal(skep_peer_id_text(text, &found->peers[found->entries[1].peer]), peer_b);
    assert_true(found->earliest_unix_s == 200 && !found->marked);
    skep_successors_unref(found);
}

static void what_is_no_entry_is_dropped_and_counted(void **state)
{
    struct skep_dht_value *value = new_value();
    struct skep_moe_successors *found;
    struct skep_successors_dropped dropped;
    skep_bytes bytes;

    (void)state;
    put_pair(value, "05", "ffn.3.5", peer_a);
    put_pair(value, "a135", "ffn.3.5", peer_a);               /* subkey "5" */
    put_pair(value, "cb4016000000000000", "ffn.3.5", peer_a); /* 5.5 */
    put_pair(value, "fe", "ffn.3.5", peer_a);                 /* -2 */
    put(value, "06", test_unhex("a161"), 200);                /* a text */
    put(value, "07", test_unhex("92a161a162"), 200);          /* a list */
    put(value, "08", test_unhex("c0"), 200);                  /* nil, but no mark */
    put(value, "09", test_unhex("c1"), 200);                  /* no msgpack at all */
    put_pair(value, "0a", "ffn.3.010", peer_a);               /* no uid */
    put_pair(value, "0b", "ffn.3.12", peer_a);                /* another coordinate */
    put_pair(value, "0c", "gfn.3.12", peer_a);                /* another prefix */
    put_pair(value, "01", "ffn.3.10", peer_a); /* its coordinate, but not up to a dot */
    put_pair(value, "0d", "ffn.3.13", "no peer id");
    put_pair(value, "0e", "ffn.3.14", "");
    bytes = pair("ffn.3.15", peer_a);
    put(value, "0f", bytes, 99); /* expired */
    free((void *)(uintptr_t)bytes.data);
    found = decode(value, "ffn.3.", &dropped);
    assert_int_equal(found->count, 1);
    assert_int_equal(dropped.subkeys, 3);
    assert_int_equal(dropped.values, 4);
    assert_int_equal(dropped.uids, 1);
    assert_int_equal(dropped.strays, 3);
    assert_int_equal(dropped.peer_ids, 2);
    assert_int_equal(dropped.expired, 1);
    skep_successors_unref(found);
}

static void subkey_minus_one_is_the_1_d_expert_or_a_mark(void **state)
{
    struct skep_dht_value *value = new_value();
    struct skep_moe_successors *found;
    struct skep_successors_dropped dropped;

    (void)state;
    put_pair(value, "ff", "ffn.3", peer_a);
    found = decode(value, "ffn.3.", &dropped);
    assert_int_equal(found->count, 1);
    assert_int_equal(found->grid_count, 0);
    assert_int_equal(found->entries[0].coordinate, SKEP_FLAT_EXPERT);
    skep_successors_unref(found);

    value = new_value();
    put_pair(value, "ff", "ffn.3.1", peer_a);
    found = decode(value, "ffn.3.", &dropped);
    assert_int_equal(found->count, 0);
    assert_int_equal(dropped.strays, 1);
    skep_successors_unref(found);

    value = new_value();
    put(value, "ff", test_unhex("c0"), 150);
    found = decode(value, "ffn.3.", &dropped);
    assert_int_equal(found->count, 0);
    assert_true(found->marked && found->earliest_unix_s == 150);
    assert_int_equal(dropped.values + dropped.strays + dropped.uids, 0);
    skep_successors_unref(found);
}

static void only_coordinates_below_a_size_are_left(void **state)
{
    struct skep_dht_value *value = new_value();
    struct skep_moe_successors *found, *below, *all;
    struct skep_successors_dropped dropped;

    (void)state;
    put_pair(value, "ff", "ffn.3", peer_a);
    put_pair(value, "05", "ffn.3.5", peer_b);
    put_pair(value, "04", "ffn.3.4.1", peer_a);
    found = decode(value, "ffn.3.", &dropped);
    assert_int_equal(skep_successors_below(&below, found, 5), 0);
    assert_int_equal(below->count, 1);
    assert_string_equal(below->text + below->entries[0].uid_at, "ffn.3.4.1");
    assert_int_equal(below->numbers[below->entries[0].number_at + 1], 1);
    assert_int_equal(skep_successors_below(&all, below, 5), 0);
    assert_ptr_equal(all, below);
    skep_successors_unref(all);
    skep_successors_unref(below);
    skep_successors_unref(found);
}

/* The value of an entry, cut at each byte: nothing of it is believed. */
static void entries_cut_anywhere_are_dropped(void **state)
{
    skep_bytes whole = pair("ffn.3.5", peer_a);

    (void)state;
    for (size_t len = 0; len < whole.len; len++) {
        struct skep_dht_value *value = new_value();
        struct skep_moe_successors *found;
        struct skep_successors_dropped dropped;

        put(value, "05", skep_bytes_of(whole.data, len), 200);
        found = decode(value, "ffn.3.", &dropped);
        assert_int_equal(found->count, 0);
        assert_int_equal(dropped.values, 1);
        skep_successors_unref(found);
    }
    free((void *)(uintptr_t)whole.data);
}

static int decode_with(const struct skep_mem *mem, void *user)
{
    struct skep_moe_successors *found;
    int rc = skep_successors_decode(&found, mem, skep_bytes_str("ffn.3."), user, 100, NULL, NULL);

    skep_successors_unref(found);
    return rc;
}

static void decoding_survives_each_failed_allocation(void **state)
{
    struct skep_dht_value *value = new_value();

    (void)state;
    put_pair(value, "05", "ffn.3.5", peer_b);
    put_pair(value, "04", "ffn.3.4.1", peer_a);
    test_each_allocation_fails(decode_with, value);
    skep_dht_value_unref(value);
}

/* ---- belief ---- */

/* Those that are believed are those that are decoded, and the marks. */
static void check_belief(struct skep_dht_value *value, const char *prefix, const char *believed)
{
    bool flags[64] = {false};
    char told[65] = "";
    struct skep_dht_id key;

    skep_dht_id_from_str(&key, skep_bytes_str(prefix));
    assert_true(value->count <= SKEP_COUNT_OF(flags));
    skep_successors_believe(&key, value, flags);
    for (size_t i = 0; i < value->count; i++)
        told[i] = flags[i] ? 'y' : 'n';
    assert_string_equal(told, believed);
    skep_dht_value_unref(value);
}

static void entries_are_believed_that_name_a_prefix_with_the_keys_hash(void **state)
{
    struct skep_dht_value *value = new_value();

    (void)state;
    put_pair(value, "05", "ffn.3.5", peer_a);
    put_pair(value, "06", "ffn.4.6", peer_a); /* of another prefix */
    put_pair(value, "07", "ffn.3.8", peer_a); /* of another coordinate */
    put_pair(value, "08", "ffn.3.8.1.2", peer_b);
    put_pair(value, "09", "ffn.3.9", "no peer");
    put(value, "0a", test_unhex("a161"), 200);
    put(value, "ff", test_unhex("c0"), 200);
    put_pair(value, "a135", "ffn.3.5", peer_a);
    check_belief(value, "ffn.3.", "ynnynnyn");
}

static void an_expert_of_one_dimension_is_believed_under_its_own_prefix(void **state)
{
    struct skep_dht_value *value = new_value();

    (void)state;
    put_pair(value, "ff", "ffn.3", peer_a);
    check_belief(value, "ffn.3.", "y");
    value = new_value();
    put_pair(value, "ff", "ffn.3", peer_a);
    check_belief(value, "ffn.4.", "n");
}

static void a_coordinate_that_comes_twice_in_a_uid_is_found_in_its_place(void **state)
{
    struct skep_dht_value *value = new_value();

    (void)state;
    put_pair(value, "07", "ffn.7.7.7", peer_a);
    put_pair(value, "08", "ffn.7.7.8", peer_a);
    check_belief(value, "ffn.7.7.", "yy");
}

static void a_plain_value_is_not_believed_under_a_prefix(void **state)
{
    struct skep_dht_value *value;
    struct skep_dht_id key;
    bool believed = false;

    (void)state;
    skep_dht_id_from_str(&key, skep_bytes_str("ffn.3."));
    assert_int_equal(skep_dht_value_new_plain(&value, &skep_mem_std, skep_bytes_str("\xa1x"), 200),
                     0);
    skep_successors_believe(&key, value, &believed);
    assert_false(believed);
    skep_dht_value_unref(value);
}

/* `wrong` entries of other prefixes, then a true one. */
static bool is_believed_behind(size_t wrong)
{
    struct skep_dht_value *value = new_value();
    bool believed[SKEP_BELIEVE_TRIES_MAX + 2] = {false};
    struct skep_dht_id key;
    char uid[32], subkey[16];

    for (size_t i = 0; i < wrong; i++) {
        snprintf(uid, sizeof uid, "other.%zu", i);
        snprintf(subkey, sizeof subkey, "%02x", (unsigned)i);
        put_pair(value, subkey, uid, peer_a);
    }
    put_pair(value, "7f", "ffn.3.127", peer_a);
    skep_dht_id_from_str(&key, skep_bytes_str("ffn.3."));
    skep_successors_believe(&key, value, believed);
    skep_dht_value_unref(value);
    return believed[wrong];
}

static void of_a_record_64_prefixes_are_tried_and_not_one_more(void **state)
{
    (void)state;
    assert_true(is_believed_behind(SKEP_BELIEVE_TRIES_MAX - 1));
    assert_false(is_believed_behind(SKEP_BELIEVE_TRIES_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_keep_their_order_numbers_and_peers),
        cmocka_unit_test(what_is_no_entry_is_dropped_and_counted),
        cmocka_unit_test(subkey_minus_one_is_the_1_d_expert_or_a_mark),
        cmocka_unit_test(only_coordinates_below_a_size_are_left),
        cmocka_unit_test(entries_cut_anywhere_are_dropped),
        cmocka_unit_test(decoding_survives_each_failed_allocation),
        cmocka_unit_test(entries_are_believed_that_name_a_prefix_with_the_keys_hash),
        cmocka_unit_test(an_expert_of_one_dimension_is_believed_under_its_own_prefix),
        cmocka_unit_test(a_coordinate_that_comes_twice_in_a_uid_is_found_in_its_place),
        cmocka_unit_test(a_plain_value_is_not_believed_under_a_prefix),
        cmocka_unit_test(of_a_record_64_prefixes_are_tried_and_not_one_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
