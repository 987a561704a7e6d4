/* SPDX-License-Identifier: MIT */
/* Values of the DHT as JSON and back, as the contract has them. The msgpack bytes are Python's. */
#include "cmd/json_value.h"

#include "base/limits.h"
#include "base/msgpack.h"
#include "cmd/output.h"
#include "support/test.h"

/* What both ways agree on. */
static const struct {
    const char *json, *hex;
} both_ways[] = {
    {"null", "c0"},
    {"true", "c3"},
    {"false", "c2"},
    {"0", "00"},
    {"127", "7f"},
    {"128", "cc80"},
    {"65536", "ce00010000"},
    {"-1", "ff"},
    {"-33", "d0df"},
    {"9223372036854775807", "cf7fffffffffffffff"},
    {"-9223372036854775808", "d38000000000000000"},
    {"1.0", "cb3ff0000000000000"},
    {"0.1", "cb3fb999999999999a"},
    {"-0.0", "cb8000000000000000"},
    {"\"\"", "a0"},
    {"\"hello\"", "a568656c6c6f"},
    {"\"\xc3\xa9\"", "a2c3a9"},
    {"\"a\\u0000b\"", "a3610062"},
    {"[]", "90"},
    {"[1,[2,\"x\"],null]", "930192"
                           "02a178c0"},
    {"{}", "80"},
    {"{\"a\":1,\"b\":{\"c\":[]}}", "82a16101a16281a16390"},
    {"{\"$tuple\":[]}", "d44090"},
    {"{\"$tuple\":[1,\"x\"]}", "d6409201a178"},
    {"{\"$tuple\":[{\"$tuple\":[1]}]}", "c70540"
                                        "91d5409101"},
    {"{\"$bytes\":\"\"}", "c400"},
    {"{\"$bytes\":\"AP+A\"}", "c40300ff80"},
    {"{\"$uint\":\"18446744073709551615\"}", "cfffffffffffffffff"},
    {"{\"$float\":\"inf\"}", "cb7ff0000000000000"},
    {"{\"$float\":\"-inf\"}", "cbfff0000000000000"},
    {"{\"$float\":\"nan\"}", "cb7ff8000000000000"},
    {"{\"$map\":[[{\"$bytes\":\"AQ==\"},2],[\"k\",[]]]}", "82c4010102a16b90"},
    {"{\"$map\":[[\"$tuple\",[]]]}", "81a6247475706c6590"},
    {"{\"$map\":[[\"a\\u0000\",1]]}", "81a2610001"},
    {"{\"$raw\":\"c7035101a16b\"}", "c7035101a16b"},
    {"[{\"$raw\":\"d40100\"}]", "91d40100"},
};

static char *unpacked_line(const struct skep_mem *mem, skep_bytes packed, bool typed)
{
    json_t *value = skep_cmd_json_unpack(mem, packed, typed);
    char *line = value ? skep_cmd_json_line(value) : NULL;

    json_decref(value);
    return line;
}

/* The same JSON, however it is spaced. */
static void assert_json(char *line, const char *wanted)
{
    json_t *a = line ? json_loads(line, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL,
           *b = json_loads(wanted, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

    if (!a || !json_equal(a, b))
        fail_msg("%s, not %s", line ? line : "(nothing)", wanted);
    json_decref(a);
    json_decref(b);
    free(line);
}

static int pack_text(struct skep_buf *out, const char *json, struct skep_cmd_why *why)
{
    json_t *value = skep_cmd_json_parse(skep_bytes_str(json), why);
    int rc = value ? skep_cmd_json_pack(out, value, why) : SKEP_EVALUE;

    json_decref(value);
    return rc;
}

static void every_value_goes_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(both_ways); i++) {
        struct skep_cmd_why why = {.text = ""};
        struct skep_buf packed;
        char *line;

        skep_buf_init(&packed, &skep_mem_std);
        assert_int_equal(pack_text(&packed, both_ways[i].json, &why), 0);
        assert_string_equal(test_hex(packed.data, packed.len), both_ways[i].hex);
        line = unpacked_line(&skep_mem_std, skep_buf_view(&packed), true);
        assert_json(line, both_ways[i].json);
        skep_buf_fini(&packed);
    }
}

static void tuples_are_arrays_unless_typed(void **state)
{
    char *line = unpacked_line(&skep_mem_std, test_unhex("92d6409201a178d44090"), false);

    (void)state;
    assert_json(line, "[[1,\"x\"],[]]");
}

static void whole_numbers_with_a_dot_or_an_e_are_floats(void **state)
{
    struct skep_cmd_why why;
    struct skep_buf packed;

    (void)state;
    skep_buf_init(&packed, &skep_mem_std);
    assert_int_equal(pack_text(&packed, "[1, 1.0, 1e0]", &why), 0);
    assert_string_equal(test_hex(packed.data, packed.len),
                        "9301cb3ff0000000000000cb3ff0000000000000");
    skep_buf_fini(&packed);
}

static void what_does_not_decode_is_raw(void **state)
{
    static const char *const cases[] = {"",
                                        "c1",
                                        "a5686579",
                                        "a1ff",
                                        "dd7fffffff",
                                        "c000",
                                        "81c001",
                                        "d4"
                                        "4001",
                                        "d5409101ff",
                                        "d4"
                                        "40c0",
                                        "c70340"
                                        "910102"};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        char *line = unpacked_line(&skep_mem_std, test_unhex(cases[i]), true), wanted[64];

        snprintf(wanted, sizeof wanted, "{\"$raw\":\"%s\"}", cases[i]);
        assert_json(line, wanted);
    }
}

static void of_repeated_map_keys_the_last_counts(void **state)
{
    char *line = unpacked_line(&skep_mem_std, test_unhex("82a16101a161920203"), true);

    (void)state;
    assert_json(line, "{\"a\":[2,3]}");
}

static void misused_forms_are_refused_with_a_reason(void **state)
{
    static const char *const cases[] = {
        "{\"$tuple\": 1}",
        "{\"$tuple\": {}}",
        "{\"$bytes\": \"A\"}",
        "{\"$bytes\": \"A===\"}",
        "{\"$bytes\": 1}",
        "{\"$bytes\": \"AA =\"}",
        "{\"$uint\": 5}",
        "{\"$uint\": \"-1\"}",
        "{\"$uint\": \"1e3\"}",
        "{\"$uint\": \"18446744073709551616\"}",
        "{\"$uint\": \"1\\u0000\"}",
        "{\"$float\": 1.5}",
        "{\"$float\": \"infinity\"}",
        "{\"$raw\": \"c\"}",
        "{\"$raw\": \"c1\"}",
        "{\"$raw\": \"c0c0\"}",
        "{\"$raw\": \"\"}",
        "{\"$raw\": 1}",
        "{\"$map\": {}}",
        "{\"$map\": [1]}",
        "{\"$map\": [[1, 2]]}",
        "{\"$map\": [[\"a\"]]}",
        "{\"$map\": [[\"a\", 1, 2]]}",
        "{\"$map\": [[{\"$bytes\": \"\", \"x\": 1}, 2]]}",
        "{\"$list\": []}",
        "{\"$\": []}",
        "[{\"$tuple\": null}]",
        "{\"a\": 1, \"a\": 2}",
        "18446744073709551616",
        "nan",
        "[1,]",
        "",
        "1 2",
        "\"\xff\"",
        "{'a': 1}",
        "1e999",
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_cmd_why why = {.text = ""};
        struct skep_buf packed;

        skep_buf_init(&packed, &skep_mem_std);
        if (pack_text(&packed, cases[i], &why) != SKEP_EVALUE)
            fail_msg("%s was taken", cases[i]);
        assert_true(strlen(why.text) > 0);
        skep_buf_fini(&packed);
    }
}

/* levels of "[" or of {"$tuple": [ */
static int pack_nested(size_t levels, bool tuples, struct skep_buf *packed)
{
    struct skep_buf text;
    struct skep_cmd_why why;
    int rc;

    skep_buf_init(&text, &skep_mem_std);
    for (size_t i = 0; i < levels; i++)
        skep_buf_put_str(&text, tuples ? "{\"$tuple\":[" : "[");
    for (size_t i = 0; i < levels; i++)
        skep_buf_put_str(&text, tuples ? "]}" : "]");
    skep_buf_put_u8(&text, '\0');
    rc = pack_text(packed, (const char *)text.data, &why);
    skep_buf_fini(&text);
    return rc;
}

static void nesting_ends_at_32_levels(void **state)
{
    (void)state;
    for (int tuples = 0; tuples < 2; tuples++) {
        size_t most = tuples ? SKEP_MSGPACK_DEPTH_MAX / 2 : SKEP_MSGPACK_DEPTH_MAX;
        struct skep_buf packed;
        char *line;

        skep_buf_init(&packed, &skep_mem_std);
        assert_int_equal(pack_nested(most, tuples, &packed), 0);
        line = unpacked_line(&skep_mem_std, skep_buf_view(&packed), true);
        assert_null(strstr(line, "$raw"));
        free(line);
        skep_buf_clear(&packed);
        assert_int_equal(pack_nested(most + 1, tuples, &packed), SKEP_EVALUE);
        skep_buf_fini(&packed);
    }
}

static void raw_bytes_do_not_pass_the_depth(void **state)
{
    char text[256] = "[{\"$raw\":\"";
    struct skep_cmd_why why;
    struct skep_buf packed;

    (void)state;
    for (size_t i = 0; i + 1 < SKEP_MSGPACK_DEPTH_MAX; i++)
        strcat(text, "91");
    strcat(text, "c0\"}]");
    skep_buf_init(&packed, &skep_mem_std);
    assert_int_equal(pack_text(&packed, text, &why), 0);
    skep_buf_clear(&packed);
    memmove(text + 1, text, strlen(text) + 1);
    text[0] = '[';
    strcat(text, "]");
    assert_int_equal(pack_text(&packed, text, &why), SKEP_EVALUE);
    skep_buf_fini(&packed);
}

static void every_cut_of_a_value_still_has_a_json_form(void **state)
{
    skep_bytes whole = test_unhex(
        "86a16193c0c3cb3ff0000000000000a162d6409201a178a163c40300ff80a164cfffffffffffffffffa16581c4010102a166c7035101a16b");

    (void)state;
    for (size_t len = 0; len <= whole.len; len++) {
        uint8_t *copy = malloc(len + 1); /* of its own, so that reading past the cut is seen */
        char *line;

        assert_non_null(copy);
        memcpy(copy, whole.data, len);
        line = unpacked_line(&skep_mem_std, skep_bytes_of(copy, len), true);
        assert_non_null(line);
        assert_int_equal(strncmp(line, "{\"$raw\"", 7) == 0, len < whole.len);
        free(line);
        free(copy);
    }
}

static int pack_and_unpack(const struct skep_mem *mem, void *user)
{
    struct skep_cmd_why why;
    struct skep_buf packed;
    json_t *back = NULL;
    int rc;

    (void)user;
    skep_buf_init(&packed, mem);
    rc = pack_text(&packed,
                   "[{\"$tuple\":[{\"$bytes\":\"AP+A\"}]},{\"$raw\":\"c7035101a16b\"},\"text\"]",
                   &why);
    if (rc == 0) {
        back = skep_cmd_json_unpack(mem, skep_buf_view(&packed), true);
        rc = back ? 0 : SKEP_ENOMEM;
    }
    json_decref(back);
    skep_buf_fini(&packed);
    return rc;
}

static void no_failed_allocation_leaks_or_crashes(void **state)
{
    (void)state;
    test_each_allocation_fails(pack_and_unpack, NULL);
}

static void texts_of_peers_are_cut_and_escaped(void **state)
{
    char longer[300];
    json_t *text = skep_cmd_json_text(skep_bytes_str("caf\xc3\xa9"));

    (void)state;
    assert_string_equal(json_string_value(text), "caf\xc3\xa9");
    json_decref(text);
    text = skep_cmd_json_text(skep_bytes_str("\xff!"));
    assert_string_equal(json_string_value(text), "\\xff!");
    json_decref(text);
    memset(longer, 'a', sizeof longer);
    text = skep_cmd_json_text(skep_bytes_of(longer, sizeof longer));
    assert_int_equal(json_string_length(text), SKEP_PEER_TEXT_MAX);
    json_decref(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_goes_both_ways),
        cmocka_unit_test(tuples_are_arrays_unless_typed),
        cmocka_unit_test(whole_numbers_with_a_dot_or_an_e_are_floats),
        cmocka_unit_test(what_does_not_decode_is_raw),
        cmocka_unit_test(of_repeated_map_keys_the_last_counts),
        cmocka_unit_test(misused_forms_are_refused_with_a_reason),
        cmocka_unit_test(nesting_ends_at_32_levels),
        cmocka_unit_test(raw_bytes_do_not_pass_the_depth),
        cmocka_unit_test(every_cut_of_a_value_still_has_a_json_form),
        cmocka_unit_test(no_failed_allocation_leaks_or_crashes),
        cmocka_unit_test(texts_of_peers_are_cut_and_escaped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
