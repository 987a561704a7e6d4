/* SPDX-License-Identifier: MIT */
/* dht/dht_id.h against vectors/dht.json (dhtid). */
#include "support/test.h"

#include "dht/dht_id.h"

static void ids_of_keys_are_those_of_hivemind(void **state)
{
    json_t *vector;
    size_t i, strings = 0;

    (void)state;
    json_array_foreach(test_get(test_vectors("dht.json"), "dhtid"), i, vector)
    {
        struct skep_dht_id id;
        json_t *key = test_get(vector, "key");

        skep_dht_id_from_packed(&id, test_unhex(test_str(vector, "hashed_bytes")));
        assert_string_equal(test_hex(id.bytes, sizeof id.bytes), test_str(vector, "dhtid"));
        if (!json_is_string(key))
            continue;
        assert_int_equal(skep_dht_id_from_str(
                             &id, skep_bytes_of(json_string_value(key), json_string_length(key))),
                         0);
        assert_string_equal(test_hex(id.bytes, sizeof id.bytes), test_str(vector, "dhtid"));
        strings++;
    }
    assert_true(strings >= 10);
}

static void a_text_key_one_byte_too_long_is_refused(void **state)
{
    static uint8_t text[SKEP_DHT_KEY_TEXT_MAX + 1];
    struct skep_dht_id id;

    (void)state;
    memset(text, 'k', sizeof text);
    assert_int_equal(skep_dht_id_from_str(&id, skep_bytes_of(text, SKEP_DHT_KEY_TEXT_MAX)), 0);
    assert_int_equal(skep_dht_id_from_str(&id, skep_bytes_of(text, sizeof text)), SKEP_ESIZE);
}

static void bytes_of_any_length_are_a_number_below_2_to_160(void **state)
{
    static const struct {
        const char *wire, *id;
    } cases[] = {
        {"", "0000000000000000000000000000000000000000"},
        {"01", "0000000000000000000000000000000000000001"},
        {"0102030405060708090a0b0c0d0e0f1011121314", "0102030405060708090a0b0c0d0e0f1011121314"},
        {"00000102030405060708090a0b0c0d0e0f1011121314",
         "0102030405060708090a0b0c0d0e0f1011121314"},
        {"ffffffffffffffffffffffffffffffffffffffff", "ffffffffffffffffffffffffffffffffffffffff"},
    };
    struct skep_dht_id id;

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        assert_int_equal(skep_dht_id_from_wire(&id, test_unhex(cases[i].wire)), 0);
        assert_string_equal(test_hex(id.bytes, sizeof id.bytes), cases[i].id);
    }
    assert_int_equal(
        skep_dht_id_from_wire(&id, test_unhex("010000000000000000000000000000000000000000")),
        SKEP_EPEER_PROTO);
}

static void common_bits_and_distance_agree(void **state)
{
    struct skep_prng prng;

    (void)state;
    skep_prng_init(&prng, 1);
    for (unsigned bits = 0; bits <= SKEP_DHT_ID_BITS; bits++) {
        struct skep_dht_id a, b;

        skep_prng_fill(&prng, a.bytes, sizeof a.bytes);
        b = a;
        assert_int_equal(skep_dht_id_common_bits(&a, &a), SKEP_DHT_ID_BITS);
        if (bits == SKEP_DHT_ID_BITS)
            continue;
        b.bytes[bits / 8] ^= (uint8_t)(0x80 >> bits % 8);
        assert_int_equal(skep_dht_id_common_bits(&a, &b), bits);
        assert_true(skep_dht_id_nearer(&a, &a, &b) < 0);
        assert_true(skep_dht_id_nearer(&a, &b, &a) > 0);
        assert_int_equal(skep_dht_id_nearer(&a, &b, &b), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_of_keys_are_those_of_hivemind),
        cmocka_unit_test(a_text_key_one_byte_too_long_is_refused),
        cmocka_unit_test(bytes_of_any_length_are_a_number_below_2_to_160),
        cmocka_unit_test(common_bits_and_distance_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
