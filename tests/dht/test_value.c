/* SPDX-License-Identifier: MIT */
/* dht/value.h: dictionaries against vectors/dht.json (dictionary), their rules, bounds and sharing. */
#include "support/test.h"

#include "base/map.h"
#include "base/msgpack.h"
#include "dht/value.h"

static const struct skep_mem *std_mem = &skep_mem_std;

static struct skep_dht_value *dictionary(void)
{
    struct skep_dht_value *value;

    assert_int_equal(skep_dht_value_new_dictionary(&value, std_mem), 0);
    return value;
}

static int put(struct skep_dht_value *value, const char *subkey_hex, const char *text,
               double expiration)
{
    return skep_dht_value_put(value, test_unhex(subkey_hex), skep_bytes_str(text), expiration, 0,
                              NULL);
}

static const char *packed_hex(struct skep_dht_value **value)
{
    skep_bytes packed;

    assert_int_equal(skep_dht_value_packed(value, &packed), 0);
    assert_int_equal(packed.len, skep_dht_value_packed_len(*value));
    return test_hex(packed.data, packed.len);
}

static void assert_entry(const struct skep_dht_value *value, const char *subkey_hex,
                         const char *text, double expiration)
{
    struct skep_dht_entry entry;

    assert_true(skep_dht_value_find(value, test_unhex(subkey_hex), &entry));
    assert_true(skep_bytes_equal(entry.value, skep_bytes_str(text)));
    assert_true(entry.expiration_unix_s == expiration);
}

static void dictionaries_of_hivemind_are_read_and_written_byte_for_byte(void **state)
{
    json_t *vector;
    size_t i;

    (void)state;
    json_array_foreach(test_get(test_vectors("dht.json"), "dictionary"), i, vector)
    {
        json_t *items = test_get(test_get(test_get(vector, "value"), "dictionary"), "items"), *item;
        struct skep_dht_value *value;
        struct skep_dht_entry entry;
        size_t cursor = 0, j;

        assert_int_equal(
            skep_dht_value_decode(&value, std_mem, test_unhex(test_str(vector, "hex"))), 0);
        assert_int_equal(value->count, json_array_size(items));
        json_array_foreach(items, j, item)
        {
            assert_true(skep_dht_value_next(value, &cursor, &entry));
            assert_string_equal(test_hex(entry.value.data, entry.value.len),
                                test_str(json_array_get(item, 1), "bytes"));
            assert_true(entry.expiration_unix_s ==
                        strtod(test_str(json_array_get(item, 2), "float"), NULL));
        }
        assert_false(skep_dht_value_next(value, &cursor, &entry));
        assert_string_equal(packed_hex(&value), test_str(vector, "hex"));
        skep_dht_value_unref(value);
    }
    assert_true(i >= 6);
}

static void a_dictionary_cut_at_any_byte_is_refused(void **state)
{
    json_t *vector;
    size_t i;

    (void)state;
    json_array_foreach(test_get(test_vectors("dht.json"), "dictionary"), i, vector)
    {
        skep_bytes packed = test_unhex(test_str(vector, "hex"));

        for (size_t len = 0; len < packed.len; len++) {
            uint8_t *cut =
                malloc(len + 1); /* its own block, so that a byte read too far is found */
            struct skep_dht_value *value;

            memcpy(cut, packed.data, len);
            assert_int_equal(skep_dht_value_decode(&value, std_mem, skep_bytes_of(cut, len)),
                             SKEP_EPEER_FRAME);
            assert_null(value);
            free(cut);
        }
    }
}

static void what_is_no_dictionary_is_refused(void **state)
{
    static const struct {
        const char *hex;
        int rc;
    } cases[] = {
        {"c0", SKEP_EPEER_FRAME},
        {"c7145193cb7ff0000000000000cbfff000000000000090",
         SKEP_EPEER_FRAME}, /* another extension */
        {"c7145093cb7ff0000000000000cbfff00000000000009000",
         SKEP_EPEER_FRAME}, /* a byte behind it */
        {"c7155093cb7ff0000000000000cbfff00000000000009000",
         SKEP_EPEER_FRAME}, /* a byte behind the items */
        {"c7145092cb7ff0000000000000cbfff000000000000090", SKEP_EPEER_FRAME}, /* two parts */
        {"c70c5093a0cbfff000000000000090", SKEP_EPEER_FRAME},                 /* maxsize is text */
        {"c7145093cb7ff0000000000000cbfff0000000000000dd7fffffff",
         SKEP_EPEER_FRAME}, /* a count that lies */
        {"c7235093cb7ff0000000000000cb4202a05f20000000919390c402a176cb4202a05f20000000",
         SKEP_EPEER_PROTO}, /* a list as subkey */
        {"c7235093cb7ff0000000000000cb4202a05f20000000919307d902a176cb4202a05f20000000",
         SKEP_EPEER_FRAME}, /* text as value */
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_dht_value *value;

        if (skep_dht_value_decode(&value, std_mem, test_unhex(cases[i].hex)) != cases[i].rc)
            fail_msg("%s", cases[i].hex);
    }
}

static void integers_are_good_where_floats_are_expected_and_nan_is_left_out(void **state)
{
    struct skep_dht_value *value;

    (void)state;
    /* [nil, 5, [[1, bin "v", 7], [2, bin "w", nan]]] */
    assert_int_equal(
        skep_dht_value_decode(&value, std_mem,
                              test_unhex("c7185093c005929301c40176079302c40177cb7ff8000000000000")),
        0);
    assert_int_equal(value->count, 1);
    assert_entry(value, "01", "v", 7);
    assert_true(value->expiration_unix_s == 7);
    assert_int_equal(put(value, "03", "x", (double)NAN), SKEP_EINVAL);
    skep_dht_value_unref(value);
}

static void equal_subkeys_in_one_dictionary_count_once(void **state)
{
    struct skep_dht_value *value;

    (void)state;
    /* 1 expires at 5, 2 at 5, 1 again at 9 */
    assert_int_equal(
        skep_dht_value_decode(&value, std_mem,
                              test_unhex("c7165093c009939301c40161059302c40162059301c4016309")),
        0);
    assert_int_equal(value->count, 2);
    assert_entry(value, "01", "c", 9);
    assert_string_equal(
        packed_hex(&value),
        "c7305093cb7ff0000000000000cb4022000000000000929301c40163cb40220000000000009302c40162cb4014000000000000");
    skep_dht_value_unref(value);
}

static void a_later_entry_replaces_and_keeps_the_place(void **state)
{
    struct skep_dht_value *value = dictionary();
    struct skep_dht_entry entry, replaced;
    size_t cursor = 0;

    (void)state;
    assert_int_equal(put(value, "02", "a", 10), 1);
    assert_int_equal(put(value, "01", "b", 10), 1);
    assert_int_equal(put(value, "02", "same", 10), 0);
    assert_int_equal(put(value, "02", "older", 9), 0);
    assert_int_equal(
        skep_dht_value_put(value, test_unhex("02"), skep_bytes_str("longer"), 11, 7, &replaced), 1);
    assert_int_equal(replaced.owner, 0);
    assert_int_equal(replaced.value.len, 1);
    assert_int_equal(
        skep_dht_value_put(value, test_unhex("02"), skep_bytes_str("LONGER"), 12, 8, &replaced), 1);
    assert_int_equal(replaced.owner, 7);
    assert_true(skep_dht_value_next(value, &cursor, &entry));
    assert_true(skep_bytes_equal(entry.value, skep_bytes_str("LONGER")));
    assert_true(skep_dht_value_next(value, &cursor, &entry));
    assert_true(skep_bytes_equal(entry.value, skep_bytes_str("b")));
    assert_true(value->expiration_unix_s == 12);
    assert_true(skep_dht_value_earliest(value) == 10);
    skep_dht_value_unref(value);
}

static void subkeys_are_the_same_as_python_has_it(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {"01", "cb3ff0000000000000", true},                  /* 1, 1.0 */
        {"01", "c3", true},                                  /* 1, True */
        {"00", "c2", true},                                  /* 0, False */
        {"00", "cb8000000000000000", true},                  /* 0, -0.0 */
        {"ff", "cbbff0000000000000", true},                  /* -1, -1.0 */
        {"ff", "d3ffffffffffffffff", true},                  /* -1 in a long form */
        {"cf8000000000000000", "cb43e0000000000000", true},  /* 2**63 */
        {"cfffffffffffffffff", "cb43f0000000000000", false}, /* 2**64 - 1, 2**64 */
        {"ca3fc00000", "cb3ff8000000000000", true},          /* 1.5 twice */
        {"a173", "c40173", false},                           /* 's', b's' */
        {"a173", "d90173", true},                            /* 's' in a long form */
        {"d441aa", "c401aa", true},             /* an unknown extension is its payload */
        {"d6409201a173", "d6409201a173", true}, /* (1, 's') */
        {"d6409201a173", "d64092c3a173", true}, /* (1, 's'), (True, 's') */
        {"d6409201a173", "d6409202a173", false},
        {"c0", "00", false}, /* None, 0 */
        {"c0", "c2", false}, /* None, False */
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_dht_value *value = dictionary();
        struct skep_dht_entry entry;

        assert_int_equal(put(value, cases[i].a, "v", 1), 1);
        if (skep_dht_value_find(value, test_unhex(cases[i].b), &entry) != cases[i].same)
            fail_msg("%s and %s", cases[i].a, cases[i].b);
        assert_int_equal(put(value, cases[i].b, "w", 2), 1);
        assert_int_equal(value->count, cases[i].same ? 1 : 2);
        skep_dht_value_unref(value);
    }
}

static void subkeys_are_written_as_hivemind_would(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"d20000000a", "0a"},
        {"ca3fc00000", "cb3ff8000000000000"},
        {"c3", "c3"},
        {"d90173", "a173"},
        {"c5000173", "c40173"},
        {"d441aa", "c401aa"},
        {"c7034092a16b", NULL},                       /* two items announced, one there */
        {"c704409201a16b", "d6409201a16b"},           /* ext8 of 4 bytes is a fixext */
        {"c7074092c7014090cc01", "c7054092d4409001"}, /* ((), 1) */
        {"c70440dc000101", "d5409101"},
        {"90", NULL},
        {"80", NULL},
        {"c7145093cb7ff0000000000000cbfff000000000000090", NULL},
        {"d4409190", NULL},
        {"d54090c0", NULL}, /* a byte behind the items */
        {"c1", NULL},
        {"", NULL},
        {"0101", NULL},
    };
    struct skep_buf out;

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        const char *want = cases[i].out;
        int rc;

        skep_buf_init(&out, std_mem);
        rc = skep_dht_subkey_normalise(&out, test_unhex(cases[i].in));
        if (want ? rc != 0 || strcmp(test_hex(out.data, out.len), want) != 0
                 : rc != SKEP_EPEER_FRAME && rc != SKEP_EPEER_PROTO)
            fail_msg("%s: %d %s", cases[i].in, rc, test_hex(out.data, out.len));
        skep_buf_fini(&out);
    }
}

static void a_subkey_nested_too_deep_is_refused(void **state)
{
    struct skep_buf tuple, outer;
    int rc;

    (void)state;
    skep_buf_init(&tuple, std_mem);
    skep_buf_init(&outer, std_mem);
    skep_msgpack_put_nil(&tuple);
    for (int depth = 1; depth <= SKEP_MSGPACK_DEPTH_MAX + 1; depth++) {
        struct skep_buf normal;

        skep_buf_clear(&outer);
        skep_msgpack_put_ext(&outer, SKEP_EXT_TUPLE, (uint32_t)tuple.len + 1);
        skep_msgpack_put_array(&outer, 1);
        skep_buf_put_bytes(&outer, skep_buf_view(&tuple));
        skep_buf_clear(&tuple);
        skep_buf_put_bytes(&tuple, skep_buf_view(&outer));
        skep_buf_init(&normal, std_mem);
        rc = skep_dht_subkey_normalise(&normal, skep_buf_view(&tuple));
        assert_int_equal(rc, depth <= SKEP_MSGPACK_DEPTH_MAX ? 0 : SKEP_EPEER_FRAME);
        if (rc == 0)
            assert_true(skep_bytes_equal(skep_buf_view(&normal), skep_buf_view(&tuple)));
        skep_buf_fini(&normal);
    }
    skep_buf_fini(&tuple);
    skep_buf_fini(&outer);
}

static void entries_expire_one_by_one(void **state)
{
    struct skep_dht_value *value = dictionary();
    struct skep_dht_entry gone;

    (void)state;
    put(value, "01", "a", 10);
    put(value, "02", "bb", 20);
    put(value, "03", "c", 10);
    assert_false(skep_dht_value_expire(value, 10, &gone)); /* it lives through its last instant */
    assert_true(skep_dht_value_expire(value, 10.5, &gone));
    assert_int_equal(gone.value.len, 1);
    assert_true(skep_dht_value_expire(value, 10.5, &gone));
    assert_false(skep_dht_value_expire(value, 10.5, &gone));
    assert_int_equal(value->count, 1);
    assert_string_equal(
        packed_hex(&value),
        "c7235093cb7ff0000000000000cb4034000000000000919302c4026262cb4034000000000000");
    assert_int_equal(put(value, "01", "d", 15), 1); /* at the end now */
    assert_true(value->expiration_unix_s == 20);
    assert_true(skep_dht_value_expire(value, 30, &gone));
    assert_true(skep_dht_value_expire(value, 30, &gone));
    assert_string_equal(packed_hex(&value), "c7145093cb7ff0000000000000cbfff000000000000090");
    skep_dht_value_unref(value);
}

static void what_others_hold_does_not_change(void **state)
{
    struct skep_dht_value *value = dictionary(), *held, *plain;

    (void)state;
    put(value, "01", "a", 10);
    skep_dht_value_put(value, test_unhex("02"), skep_bytes_str("b"), 10, 5, NULL);
    held = skep_dht_value_ref(value);
    assert_int_equal(skep_dht_value_unique(&value, false), 0);
    assert_ptr_not_equal(value, held);
    assert_int_equal(put(value, "01", "z", 11), 1);
    assert_entry(held, "01", "a", 10);
    assert_entry(value, "01", "z", 11);
    struct skep_dht_entry entry;
    assert_true(skep_dht_value_find(value, test_unhex("02"), &entry));
    assert_int_equal(entry.owner, 5);
    skep_dht_value_unref(held);
    held = skep_dht_value_ref(value);
    assert_int_equal(skep_dht_value_unique(&value, true), 0);
    assert_true(skep_dht_value_find(value, test_unhex("02"), &entry));
    assert_int_equal(entry.owner, 0);
    skep_dht_value_unref(held);
    skep_dht_value_unref(value);

    assert_int_equal(skep_dht_value_new_plain(&plain, std_mem, skep_bytes_str("plain"), 3), 0);
    held = skep_dht_value_ref(plain);
    assert_int_equal(skep_dht_value_unique(&plain, false), 0);
    assert_ptr_not_equal(plain, held);
    assert_true(skep_bytes_equal(plain->plain, held->plain));
    skep_dht_value_unref(plain);
    skep_dht_value_unref(held);
}

static void answers_of_several_peers_are_merged(void **state)
{
    struct skep_dht_value *a = dictionary(), *b = dictionary(), *into = NULL, *plain;

    (void)state;
    put(a, "01", "a1", 10);
    put(a, "02", "a2", 20);
    put(b, "02", "b2", 15);
    put(b, "01", "b1", 15);
    put(b, "03", "b3", 5);
    assert_int_equal(skep_dht_value_merge(&into, a), 1);
    assert_ptr_equal(into, a);
    assert_int_equal(skep_dht_value_merge(&into, a), 0);
    assert_int_equal(skep_dht_value_merge(&into, b), 1);
    assert_ptr_not_equal(into, a); /* a itself is as it was */
    assert_int_equal(a->count, 2);
    assert_entry(into, "01", "b1", 15);
    assert_entry(into, "02", "a2", 20);
    assert_entry(into, "03", "b3", 5);
    assert_true(into->expiration_unix_s == 20);
    assert_int_equal(skep_dht_value_merge(&into, b), 0);
    assert_int_equal(skep_dht_value_new_plain(&plain, std_mem, skep_bytes_str("p"), 20), 0);
    assert_int_equal(skep_dht_value_merge(&into, plain), 0); /* no later: the dictionary stays */
    skep_dht_value_unref(plain);
    assert_int_equal(skep_dht_value_new_plain(&plain, std_mem, skep_bytes_str("p"), 21), 0);
    assert_int_equal(skep_dht_value_merge(&into, plain), 1);
    assert_ptr_equal(into, plain);
    assert_int_equal(skep_dht_value_merge(&into, a), 0);
    skep_dht_value_unref(plain);
    skep_dht_value_unref(into);
    skep_dht_value_unref(a);
    skep_dht_value_unref(b);
}

static void a_dictionary_has_at_most_65536_entries(void **state)
{
    struct skep_dht_value *value = dictionary();
    struct skep_buf subkey;

    (void)state;
    skep_buf_init(&subkey, std_mem);
    for (uint64_t i = 0; i <= SKEP_DHT_DICTIONARY_ENTRIES_MAX; i++) {
        int rc;

        skep_buf_clear(&subkey);
        skep_msgpack_put_uint(&subkey, i);
        rc = skep_dht_value_put(value, skep_buf_view(&subkey), skep_bytes_str("v"), 10, 0, NULL);
        assert_int_equal(rc, i < SKEP_DHT_DICTIONARY_ENTRIES_MAX ? 1 : SKEP_EPEER_LIMIT);
    }
    assert_int_equal(put(value, "07", "w", 11), 1); /* an update needs no new place */
    skep_buf_fini(&subkey);
    skep_dht_value_unref(value);
}

static void a_dictionary_has_at_most_3_mib_packed(void **state)
{
    static uint8_t blob[SKEP_DHT_DICTIONARY_BYTES_MAX];
    struct skep_dht_value *value = dictionary(), *decoded;
    size_t room = SKEP_DHT_DICTIONARY_BYTES_MAX - skep_dht_value_packed_len(value) - 1 - 1 - 5 - 9;
    skep_bytes packed;

    (void)state;
    while (skep_dht_value_put(value, test_unhex("01"), skep_bytes_of(blob, room), 10, 0, NULL) != 1)
        room--;
    assert_true(skep_dht_value_packed_len(value) > SKEP_DHT_DICTIONARY_BYTES_MAX - 16);
    assert_int_equal(put(value, "02", "0123456789abcdef", 10), SKEP_EPEER_LIMIT);
    assert_int_equal(
        skep_dht_value_put(value, test_unhex("01"), skep_bytes_of(blob, room + 16), 11, 0, NULL),
        SKEP_EPEER_LIMIT);
    assert_int_equal(value->count, 1);
    assert_int_equal(skep_dht_value_packed(&value, &packed), 0);
    assert_int_equal(skep_dht_value_decode(&decoded, std_mem, packed), 0);
    skep_dht_value_unref(decoded);
    skep_dht_value_unref(value);
}

static void a_decoded_dictionary_has_at_most_65536_entries(void **state)
{
    struct skep_buf items, packed;
    struct skep_dht_value *value;

    (void)state;
    skep_buf_init(&items, std_mem);
    skep_buf_init(&packed, std_mem);
    skep_msgpack_put_array(&items, 3);
    skep_msgpack_put_nil(&items);
    skep_msgpack_put_uint(&items, 0);
    skep_msgpack_put_array(&items, SKEP_DHT_DICTIONARY_ENTRIES_MAX + 1);
    for (uint64_t i = 0; i <= SKEP_DHT_DICTIONARY_ENTRIES_MAX; i++) {
        skep_msgpack_put_array(&items, 3);
        skep_msgpack_put_uint(&items, i);
        skep_msgpack_put_bin(&items, (skep_bytes){0});
        skep_msgpack_put_uint(&items, 9);
    }
    skep_msgpack_put_ext(&packed, SKEP_EXT_DICTIONARY, (uint32_t)items.len);
    skep_buf_put_bytes(&packed, skep_buf_view(&items));
    assert_int_equal(skep_dht_value_decode(&value, std_mem, skep_buf_view(&packed)),
                     SKEP_EPEER_LIMIT);
    skep_buf_fini(&items);
    skep_buf_fini(&packed);
}

/* Random puts, expirations and packings against arrays that do the same naively. */
enum { MODEL_MAX = 64 };
struct model {
    struct {
        uint8_t subkey, len, fill;
        double expiration;
    } entries[MODEL_MAX];
    size_t count;
};

static int model_put(struct model *m, uint8_t subkey, uint8_t len, uint8_t fill, double expiration)
{
    size_t i = 0;

    while (i < m->count && m->entries[i].subkey != subkey)
        i++;
    if (i < m->count && m->entries[i].expiration >= expiration)
        return 0;
    m->entries[i].subkey = subkey;
    m->entries[i].len = len;
    m->entries[i].fill = fill;
    m->entries[i].expiration = expiration;
    m->count += i == m->count;
    return 1;
}

static size_t model_expire(struct model *m, double now)
{
    size_t kept = 0, before = m->count;

    for (size_t i = 0; i < before; i++)
        if (m->entries[i].expiration >= now)
            m->entries[kept++] = m->entries[i];
    m->count = kept;
    return before - kept;
}

static void assert_like_model(struct skep_dht_value **value, const struct model *m, bool pack)
{
    struct skep_dht_entry entry;
    struct skep_dht_value *again;
    size_t cursor = 0;
    skep_bytes packed;

    assert_int_equal((*value)->count, m->count);
    for (size_t i = 0; i < m->count; i++) {
        assert_true(skep_dht_value_next(*value, &cursor, &entry));
        assert_int_equal(entry.subkey.data[0], m->entries[i].subkey);
        assert_int_equal(entry.value.len, m->entries[i].len);
        assert_true(entry.value.len == 0 ||
                    entry.value.data[entry.value.len - 1] == m->entries[i].fill);
        assert_true(entry.expiration_unix_s == m->entries[i].expiration);
    }
    assert_false(skep_dht_value_next(*value, &cursor, &entry));
    if (!pack)
        return;
    assert_int_equal(skep_dht_value_packed(value, &packed), 0);
    assert_int_equal(skep_dht_value_decode(&again, std_mem, packed), 0);
    assert_string_equal(packed_hex(&again), test_hex(packed.data, packed.len));
    skep_dht_value_unref(again);
}

static void a_dictionary_does_what_a_list_would(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(20); seed++) {
        struct skep_dht_value *value = dictionary();
        struct model m = {.count = 0};
        struct skep_prng prng;
        double now = 0;

        skep_prng_init(&prng, seed);
        for (int step = 0; step < 2000; step++) {
            uint8_t subkey = (uint8_t)skep_prng_below(&prng, MODEL_MAX),
                    len = (uint8_t)(skep_prng_below(&prng, 4) * 3), fill = (uint8_t)step;
            double expiration = now + (double)skep_prng_below(&prng, 40);
            struct skep_dht_entry gone;
            uint8_t bytes[16];
            size_t expired = 0;

            memset(bytes, fill, sizeof bytes);
            assert_int_equal(skep_dht_value_put(value, skep_bytes_of(&subkey, 1),
                                                skep_bytes_of(bytes, len), expiration, 0, NULL),
                             model_put(&m, subkey, len, fill, expiration));
            if (skep_prng_below(&prng, 8) == 0) {
                now += (double)skep_prng_below(&prng, 10);
                while (skep_dht_value_expire(value, now, &gone))
                    expired++;
                assert_int_equal(expired, model_expire(&m, now));
            }
            assert_like_model(&value, &m, skep_prng_below(&prng, 16) == 0);
        }
        skep_dht_value_unref(value);
    }
}

static int use_values(const struct skep_mem *mem, void *user)
{
    static const char *const subkeys[] = {"01",           "a173", "cb3ff8000000000000",
                                          "d6409201a173", "cc80", "c3"};
    struct skep_dht_value *value = NULL, *held = NULL, *decoded = NULL, *merged = NULL;
    skep_bytes packed;
    int rc;

    (void)user;
    if ((rc = skep_dht_value_new_dictionary(&value, mem)) < 0)
        goto out;
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < SKEP_COUNT_OF(subkeys); i++) {
            rc = skep_dht_value_put(value, test_unhex(subkeys[i]),
                                    skep_bytes_of("0123456789", 10 - (size_t)round), 10 + round, 0,
                                    NULL);
            if (rc < 0)
                goto out;
        }
    held = skep_dht_value_ref(value);
    if ((rc = skep_dht_value_packed(&value, &packed)) < 0 ||
        (rc = skep_dht_value_decode(&decoded, mem, packed)) < 0)
        goto out;
    merged = skep_dht_value_ref(held);
    if ((rc = skep_dht_value_put(decoded, test_unhex("09"), skep_bytes_str("9"), 50, 0, NULL)) < 0)
        goto out;
    rc = skep_dht_value_merge(&merged, decoded);
    rc = SKEP_MIN(rc, 0);
out:
    skep_dht_value_unref(value);
    skep_dht_value_unref(held);
    skep_dht_value_unref(decoded);
    skep_dht_value_unref(merged);
    return rc;
}

static void running_out_of_memory_leaks_nothing(void **state)
{
    (void)state;
    test_each_allocation_fails(use_values, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dictionaries_of_hivemind_are_read_and_written_byte_for_byte),
        cmocka_unit_test(a_dictionary_cut_at_any_byte_is_refused),
        cmocka_unit_test(what_is_no_dictionary_is_refused),
        cmocka_unit_test(integers_are_good_where_floats_are_expected_and_nan_is_left_out),
        cmocka_unit_test(equal_subkeys_in_one_dictionary_count_once),
        cmocka_unit_test(a_later_entry_replaces_and_keeps_the_place),
        cmocka_unit_test(subkeys_are_the_same_as_python_has_it),
        cmocka_unit_test(subkeys_are_written_as_hivemind_would),
        cmocka_unit_test(a_subkey_nested_too_deep_is_refused),
        cmocka_unit_test(entries_expire_one_by_one),
        cmocka_unit_test(what_others_hold_does_not_change),
        cmocka_unit_test(answers_of_several_peers_are_merged),
        cmocka_unit_test(a_dictionary_has_at_most_65536_entries),
        cmocka_unit_test(a_dictionary_has_at_most_3_mib_packed),
        cmocka_unit_test(a_decoded_dictionary_has_at_most_65536_entries),
        cmocka_unit_test(a_dictionary_does_what_a_list_would),
        cmocka_unit_test(running_out_of_memory_leaks_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
