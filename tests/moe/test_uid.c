/* SPDX-License-Identifier: MIT */
/* The grammar of uids and prefixes: moe.json, and what the errors say. */
#include "base/limits.h"
#include "moe/uid.h"
#include "support/test.h"

static skep_bytes text_of(const json_t *vector)
{
    const json_t *text = test_get(vector, "text");

    return skep_bytes_of(json_string_value(text), json_string_length(text));
}

static void uids_and_prefixes_are_those_of_hivemind(void **state)
{
    /* One of its integers is above 64 bits, which jansson reads only as a real. */
    json_t *vectors = json_load_file("tests/vectors/moe.json", JSON_DECODE_INT_AS_REAL, NULL),
           *vector;
    size_t i;

    (void)state;
    json_array_foreach(test_get(vectors, "grammar"), i, vector)
    {
        skep_bytes text = text_of(vector), prefix;
        const json_t *split = test_get(vector, "split_uid");
        bool uid = json_is_true(test_get(vector, "is_valid_uid"));
        uint64_t number;

        assert_int_equal(skep_uid_check(text, NULL, 0), uid ? 0 : SKEP_EUID);
        assert_int_equal(skep_uid_valid(text, NULL), uid);
        assert_int_equal(skep_prefix_check(text, NULL, 0),
                         json_is_true(test_get(vector, "is_valid_prefix")) ? 0 : SKEP_EPREFIX);
        if (!json_is_array(split))
            continue;
        assert_true(skep_uid_split(text, &prefix, &number));
        assert_true(
            skep_bytes_equal(prefix, skep_bytes_str(json_string_value(json_array_get(split, 0)))));
        if (json_number_value(json_array_get(split, 1)) < 1e18)
            assert_true((double)number == json_number_value(json_array_get(split, 1)));
        else
            assert_true(number == UINT64_MAX); /* 99999999999999999999 */
    }
    assert_true(i >= 22);
    json_decref(vectors);
}

static void errors_say_what_is_wrong_and_where(void **state)
{
    static const struct {
        const char *text, *why;
        bool prefix;
    } cases[] = {
        {"ffn.01", "\"ffn.01\": number 1 (at byte 4) has a leading zero", false},
        {"ffn.1.x", "\"ffn.1.x\": number 2 (at byte 6) has something in it that is no digit",
         false},
        {"ffn.1x", "\"ffn.1x\": number 1 (at byte 5) has something in it that is no digit", false},
        {"ffn..1", "\"ffn..1\": number 1 (at byte 4) is empty", false},
        {"ffn", "\"ffn\": a uid needs a number after its name, as in name.0", false},
        {"ffn.1.", "\"ffn.1.\": it ends in a dot, as prefixes do and uids do not", false},
        {"", "\"\": it is empty", false},
        {".1", "\".1\": there is no name before the first dot", false},
        {"\xff.1", "\"\\xff.1\": it is not UTF-8", false},
        {"ffn.1", "\"ffn.1\": a prefix ends in a dot", true},
        {"ffn.01.", "\"ffn.01.\": number 1 (at byte 4) has a leading zero", true},
        {".", "\".\": there is no name before the first dot", true},
    };
    char why[SKEP_UID_WHY_MAX];

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        if (cases[i].prefix)
            assert_int_equal(skep_prefix_check(skep_bytes_str(cases[i].text), why, sizeof why),
                             SKEP_EPREFIX);
        else
            assert_int_equal(skep_uid_check(skep_bytes_str(cases[i].text), why, sizeof why),
                             SKEP_EUID);
        assert_string_equal(why, cases[i].why);
    }
    assert_int_equal(skep_uid_check(skep_bytes_str("ffn.1"), why, sizeof why), 0);
    assert_string_equal(why, "");
}

static void a_uid_one_byte_too_long_is_refused(void **state)
{
    static char text[SKEP_UID_LEN_MAX + 1];
    char why[SKEP_UID_WHY_MAX];

    (void)state;
    memset(text, '1', sizeof text);
    memcpy(text, "ffn.", 4);
    assert_int_equal(skep_uid_check(skep_bytes_of(text, SKEP_UID_LEN_MAX), why, sizeof why), 0);
    assert_int_equal(skep_uid_check(skep_bytes_of(text, SKEP_UID_LEN_MAX + 1), why, sizeof why),
                     SKEP_EUID);
    assert_false(skep_uid_valid(skep_bytes_of(text, SKEP_UID_LEN_MAX + 1), NULL));
    assert_non_null(strstr(why, "too long"));
}

static void every_cut_of_a_uid_is_judged_by_itself(void **state)
{
    static const char uid[] = "ffn.12.0.7";
    static const bool valid[] = {0, 0, 0, 0, 0, 1, 1, 0, 1, 0, 1};

    (void)state;
    for (size_t len = 0; len < sizeof uid; len++)
        assert_int_equal(skep_uid_valid(skep_bytes_of(uid, len), NULL), valid[len]);
    assert_int_equal(skep_uid_number_count(skep_bytes_str(uid)), 3);
    assert_int_equal(skep_uid_number_count(skep_bytes_str("ffn.12.")), 1);
    assert_int_equal(skep_uid_number_count(skep_bytes_str("ffn.")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uids_and_prefixes_are_those_of_hivemind),
        cmocka_unit_test(errors_say_what_is_wrong_and_where),
        cmocka_unit_test(a_uid_one_byte_too_long_is_refused),
        cmocka_unit_test(every_cut_of_a_uid_is_judged_by_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
