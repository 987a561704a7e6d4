/* SPDX-License-Identifier: MIT */
/* dht/validator.h and dht/rsa_validator.h against vectors/records.json; how several validators work together. */
#include "support/test.h"

#include "dht/rsa_validator.h"

/* ---- hivemind's signed records ---- */

static struct skep_private_key *vector_key(const struct skep_mem *mem)
{
    struct skep_private_key *key;
    const char *pem = test_str(test_get(test_vectors("records.json"), "key"), "private_pem");

    return skep_private_key_from_pem(&key, mem, skep_bytes_str(pem)) == 0 ? key : NULL;
}

static struct skep_dht_signable record_of(const json_t *vector, const char *value_name)
{
    return (struct skep_dht_signable){.key = test_unhex(test_str(vector, "key")),
                                      .subkey = test_unhex(test_str(vector, "subkey")),
                                      .value = test_unhex(test_str(vector, value_name)),
                                      .expiration_unix_s =
                                          json_real_value(test_get(vector, "expiration"))};
}

static void records_are_valid_when_hivemind_says_so(void **state)
{
    struct skep_rsa_validator rsa;
    struct skep_validators validators;
    json_t *vector;
    size_t i, valid = 0;

    (void)state;
    assert_int_equal(skep_rsa_validator_init(&rsa, &skep_mem_std, NULL), 0);
    skep_validators_init(&validators, &skep_mem_std);
    assert_int_equal(skep_validators_add(&validators, &rsa.base), 1);
    json_array_foreach(test_get(test_vectors("records.json"), "cases"), i, vector)
    {
        struct skep_dht_signable record = record_of(vector, "value");
        bool expected = json_is_true(test_get(vector, "validate"));
        struct skep_buf scratch;
        skep_bytes stripped;

        if (skep_validators_validate(&validators, &record) != (expected ? 0 : SKEP_EPEER_AUTH))
            fail_msg("%s", test_str(vector, "what"));
        valid += expected;
        if (!json_object_get(vector, "strip_value"))
            continue;
        skep_buf_init(&scratch, &skep_mem_std);
        assert_int_equal(skep_validators_strip(&validators, &record, &scratch, &stripped), 0);
        assert_string_equal(test_hex(stripped.data, stripped.len), test_str(vector, "strip_value"));
        skep_buf_fini(&scratch);
    }
    assert_true(valid >= 4 && i - valid >= 4);
    skep_validators_fini(&validators);
    skep_rsa_validator_fini(&rsa);
}

static void what_we_sign_is_valid_and_strips_to_what_it_was(void **state)
{
    struct skep_private_key *key = vector_key(&skep_mem_std);
    struct skep_rsa_validator rsa, checker;
    json_t *vector;
    size_t i, signed_ones = 0;

    (void)state;
    assert_non_null(key);
    assert_int_equal(skep_rsa_validator_init(&rsa, &skep_mem_std, key), 0);
    assert_int_equal(skep_rsa_validator_init(&checker, &skep_mem_std, NULL), 0);
    skep_bytes mark = skep_rsa_validator_owner_mark(&rsa);
    assert_true(skep_bytes_equal(
        mark,
        skep_bytes_str(test_str(test_get(test_vectors("records.json"), "key"), "owner_mark"))));
    json_array_foreach(test_get(test_vectors("records.json"), "cases"), i, vector)
    {
        struct skep_dht_signable record;
        struct skep_buf value, plain;

        if (!json_object_get(vector, "plain_value") ||
            strstr(test_str(vector, "what"), "two different"))
            continue;
        record = record_of(vector, "plain_value");
        skep_buf_init(&value, &skep_mem_std);
        skep_buf_init(&plain, &skep_mem_std);
        if (rsa.base.class->sign(&rsa.base, &record, &value) == 1) {
            skep_bytes unsigned_value = record.value;

            record.value = skep_buf_view(&value);
            assert_int_equal(record.value.len, unsigned_value.len + strlen("[signature:") + 344 +
                                                   1); /* base64 of 256 bytes, and the bracket */
            assert_int_equal(checker.base.class->validate(&checker.base, &record), 0);
            record.expiration_unix_s += 1;
            assert_int_equal(checker.base.class->validate(&checker.base, &record), SKEP_EPEER_AUTH);
            assert_int_equal(checker.base.class->strip(&checker.base, &record, &plain), 1);
            assert_true(skep_bytes_equal(skep_buf_view(&plain), unsigned_value));
            signed_ones++;
        }
        assert_int_equal(checker.base.class->sign(&checker.base, &record, &plain),
                         0); /* has no key */
        skep_buf_fini(&value);
        skep_buf_fini(&plain);
    }
    assert_true(signed_ones >= 3);
    skep_rsa_validator_fini(&checker);
    skep_rsa_validator_fini(&rsa);
    skep_private_key_free(key);
}

static void a_record_of_two_owners_is_refused_even_if_one_of_them_signed(void **state)
{
    struct skep_private_key *key = vector_key(&skep_mem_std);
    struct skep_rsa_validator rsa;
    struct skep_buf subkey, value;

    (void)state;
    assert_non_null(key);
    assert_int_equal(skep_rsa_validator_init(&rsa, &skep_mem_std, key), 0);
    for (int both = 0; both < 2; both++) {
        struct skep_dht_signable record = {skep_bytes_str("key"), {0}, skep_bytes_str("v"), 1};

        skep_buf_init(&subkey, &skep_mem_std);
        skep_buf_init(&value, &skep_mem_std);
        skep_buf_put_str(&subkey, both ? "[owner:ssh-rsa another]" : "");
        skep_buf_put_bytes(&subkey, skep_rsa_validator_owner_mark(&rsa));
        skep_buf_put_bytes(&subkey,
                           skep_rsa_validator_owner_mark(&rsa)); /* the same twice is one owner */
        record.subkey = skep_buf_view(&subkey);
        assert_int_equal(rsa.base.class->sign(&rsa.base, &record, &value), 1);
        record.value = skep_buf_view(&value);
        assert_int_equal(rsa.base.class->validate(&rsa.base, &record), both ? SKEP_EPEER_AUTH : 0);
        skep_buf_fini(&subkey);
        skep_buf_fini(&value);
    }
    skep_rsa_validator_fini(&rsa);
    skep_private_key_free(key);
}

static void only_an_rsa_key_signs_records(void **state)
{
    static const uint8_t seed[SKEP_ED25519_LEN];
    struct skep_private_key *key;
    struct skep_rsa_validator rsa;

    (void)state;
    assert_int_equal(skep_private_key_from_ed25519(&key, &skep_mem_std, seed), 0);
    assert_int_equal(skep_rsa_validator_init(&rsa, &skep_mem_std, key), SKEP_EKEY);
    skep_private_key_free(key);
}

/* Content of the first mark, "-" for none, and what is left. As Python's re.findall(rb"\[owner:(.+?)\]", …) finds them. */
static void marks_are_found_as_the_regular_expression_finds_them(void **state)
{
    static const struct {
        const char *text, *contents;
    } cases[] = {
        {"", ""},
        {"[owner:a]", "a|"},
        {"x[owner:a]y[owner:bc]z", "a|bc|"},
        {"[owner:]", ""},
        {"[owner:]]", "]|"},
        {"[owner:]x]y]", "]x|"},
        {"[owner:a", ""},
        {"[owner:a\n]", ""},
        {"[owner:\n]", ""},
        {"[owner:a\n][owner:b]", "b|"},
        {"[owner:[owner:a]]", "[owner:a|"},
        {"[owner:a[owner:b\n[owner:c]", "c|"},
        {"[owne[owner:a]r:", "a|"},
        {"[owner:\r]", "\r|"},
        {"[[owner:a]", "a|"},
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        skep_bytes in = skep_bytes_str(cases[i].text), whole, content;
        char found[64] = "";

        while (skep_rsa_next_mark(&in, "[owner:", &whole, &content)) {
            assert_int_equal(whole.len, content.len + strlen("[owner:]"));
            strncat(found, (const char *)content.data, content.len);
            strcat(found, "|");
        }
        assert_string_equal(found, cases[i].contents);
    }
}

static void odd_owners_and_signatures_are_refused(void **state)
{
    static const struct {
        const char *subkey, *value;
    } cases[] = {
        {"[owner:x]", "v[signature:AAAA]"},
        {"[owner:ssh-rsa ]", "v[signature:AAAA]"},
        {"[owner:ssh-rsa AAAA]", "v[signature:AAAA]"},
        {"[owner:x]", "v"},
        {"[owner:x]", ""},
        {"[owner:x]", "[signature:a][signature:b]"},
        {"[owner:x][owner:y]", "v[signature:AAAA]"},
    };
    struct skep_rsa_validator rsa;

    (void)state;
    assert_int_equal(skep_rsa_validator_init(&rsa, &skep_mem_std, NULL), 0);
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_dht_signable record = {skep_bytes_str("key"), skep_bytes_str(cases[i].subkey),
                                           skep_bytes_str(cases[i].value), 1};

        assert_int_equal(rsa.base.class->validate(&rsa.base, &record), SKEP_EPEER_AUTH);
    }
    skep_rsa_validator_fini(&rsa);
}

/* ---- several validators ---- */

/* Adds its letter, wants its letter at the end, takes its letter off. */
struct letter {
    struct skep_validator base;
    char letter;
    int asked;
};

static int letter_validate(struct skep_validator *validator, const struct skep_dht_signable *record)
{
    struct letter *l = SKEP_CONTAINER_OF(validator, struct letter, base);

    l->asked++;
    return record->value.len > 0 && record->value.data[record->value.len - 1] == (uint8_t)l->letter
               ? 0
               : SKEP_EPEER_AUTH;
}

static int letter_sign(struct skep_validator *validator, const struct skep_dht_signable *record,
                       struct skep_buf *out)
{
    skep_buf_put_bytes(out, record->value);
    skep_buf_put_u8(out, (uint8_t)SKEP_CONTAINER_OF(validator, struct letter, base)->letter);
    return out->rc < 0 ? out->rc : 1;
}

static int letter_strip(struct skep_validator *validator, const struct skep_dht_signable *record,
                        struct skep_buf *out)
{
    (void)validator;
    if (record->value.len == 0)
        return 0;
    skep_buf_put(out, record->value.data, record->value.len - 1);
    return out->rc < 0 ? out->rc : 1;
}

static bool letter_merge(struct skep_validator *validator, const struct skep_validator *other)
{
    const struct letter *l = SKEP_CONTAINER_OF(validator, struct letter, base),
                        *o = SKEP_CONTAINER_OF(other, struct letter, base);

    return other->class->validate == letter_validate && l->letter == o->letter;
}

static const struct skep_validator_class low = {
    "low", 1, letter_validate, letter_sign, letter_strip, letter_merge};
static const struct skep_validator_class high = {
    "high", 7, letter_validate, letter_sign, letter_strip, letter_merge};

static const char *signed_text(const struct skep_validators *validators, const char *text)
{
    static char out[64];
    struct skep_dht_signable record = {.value = skep_bytes_str(text)};
    struct skep_buf scratch;
    skep_bytes value;

    skep_buf_init(&scratch, &skep_mem_std);
    assert_int_equal(skep_validators_sign(validators, &record, &scratch, &value), 0);
    snprintf(out, sizeof out, "%.*s", (int)value.len, (const char *)value.data);
    skep_buf_fini(&scratch);
    return out;
}

static int validated(const struct skep_validators *validators, const char *text)
{
    struct skep_dht_signable record = {.value = skep_bytes_str(text)};

    return skep_validators_validate(validators, &record);
}

static void signing_goes_up_in_priority_and_checking_down(void **state)
{
    struct letter a = {{&high}, 'a', 0}, b = {{&low}, 'b', 0}, c = {{&high}, 'c', 0},
                  again = {{&low}, 'b', 0};
    struct skep_validators validators;

    (void)state;
    skep_validators_init(&validators, &skep_mem_std);
    assert_string_equal(signed_text(&validators, "v"), "v");
    assert_int_equal(validated(&validators, "v"), 0);
    assert_int_equal(skep_validators_add(&validators, &a.base), 1);
    assert_int_equal(skep_validators_add(&validators, &b.base), 1);
    assert_int_equal(skep_validators_add(&validators, &c.base), 1);
    assert_int_equal(skep_validators_add(&validators, &c.base), SKEP_EEXIST);
    assert_int_equal(skep_validators_add(&validators, &again.base), 0); /* merged */
    assert_string_equal(signed_text(&validators, "v"), "vbac");
    assert_int_equal(validated(&validators, "vbac"), 0);
    assert_int_equal(validated(&validators, "vbca"), SKEP_EPEER_AUTH);
    assert_int_equal(a.asked, 1); /* c refused before a was asked */
    assert_int_equal(validated(&validators, "vxac"), SKEP_EPEER_AUTH);
    assert_int_equal(again.asked, 0);

    struct skep_dht_signable record = {.value = skep_bytes_str("vbac")};
    struct skep_buf scratch;
    skep_bytes value;

    skep_buf_init(&scratch, &skep_mem_std);
    assert_int_equal(skep_validators_strip(&validators, &record, &scratch, &value), 0);
    assert_true(skep_bytes_equal(value, skep_bytes_str("v")));
    skep_buf_fini(&scratch);

    assert_true(skep_validators_remove(&validators, &a.base));
    assert_false(skep_validators_remove(&validators, &a.base));
    assert_string_equal(signed_text(&validators, "v"), "vbc");
    skep_validators_fini(&validators);
}

static int use_validators(const struct skep_mem *mem, void *user)
{
    struct letter a = {{&high}, 'a', 0};
    const json_t *vector = json_array_get(test_get(test_vectors("records.json"), "cases"), 0);
    struct skep_dht_signable record = record_of(vector, "plain_value");
    struct skep_rsa_validator rsa = {.mem = mem};
    struct skep_validators validators;
    struct skep_buf signature, plain;
    skep_bytes value;
    int rc;

    skep_validators_init(&validators, mem);
    skep_buf_init(&signature, mem);
    skep_buf_init(&plain, mem);
    skep_buf_init(&rsa.owner_mark, mem);
    if ((rc = skep_rsa_validator_init(&rsa, mem, user)) < 0 ||
        (rc = skep_validators_add(&validators, &rsa.base)) < 0 ||
        (rc = skep_validators_add(&validators, &a.base)) < 0 ||
        (rc = skep_validators_sign(&validators, &record, &signature, &value)) < 0)
        goto out;
    record.value = value;
    if ((rc = skep_validators_validate(&validators, &record)) < 0)
        goto out;
    rc = skep_validators_strip(&validators, &record, &plain, &value);
out:
    skep_buf_fini(&signature);
    skep_buf_fini(&plain);
    skep_validators_fini(&validators);
    skep_rsa_validator_fini(&rsa);
    return rc;
}

static void running_out_of_memory_leaks_nothing_and_accepts_nothing(void **state)
{
    struct skep_private_key *key = vector_key(&skep_mem_std);

    (void)state;
    test_each_allocation_fails(use_validators, key);
    skep_private_key_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_valid_when_hivemind_says_so),
        cmocka_unit_test(what_we_sign_is_valid_and_strips_to_what_it_was),
        cmocka_unit_test(a_record_of_two_owners_is_refused_even_if_one_of_them_signed),
        cmocka_unit_test(only_an_rsa_key_signs_records),
        cmocka_unit_test(marks_are_found_as_the_regular_expression_finds_them),
        cmocka_unit_test(odd_owners_and_signatures_are_refused),
        cmocka_unit_test(signing_goes_up_in_priority_and_checking_down),
        cmocka_unit_test(running_out_of_memory_leaks_nothing_and_accepts_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
