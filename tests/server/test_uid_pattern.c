/* SPDX-License-Identifier: MIT */
/* Patterns of uids, and free uids of them. */
#include "server/uid_pattern.h"

#include "base/map.h"
#include "moe/uid.h"
#include "server/uid_picker.h"
#include "support/test.h"

static char why[SKEP_UID_PATTERN_WHY_MAX];

static struct skep_uid_pattern parse(const char *text)
{
    struct skep_uid_pattern pattern;

    if (skep_uid_pattern_parse(&pattern, text, why, sizeof why) < 0)
        fail_msg("%s", why);
    assert_string_equal(why, "");
    return pattern;
}

/* ---- patterns ---- */

static void a_pattern_has_a_name_numbers_and_ranges(void **state)
{
    struct skep_uid_pattern p = parse("my ffn/é.[0:16].3.[5:256]");

    (void)state;
    assert_true(skep_bytes_equal(p.name, skep_bytes_str("my ffn/é")));
    assert_int_equal(p.blocks, 3);
    assert_int_equal(p.first[0], 0);
    assert_int_equal(p.end[0], 16);
    assert_int_equal(p.first[1], 3);
    assert_int_equal(p.end[1], 4);
    assert_int_equal(p.first[2], 5);
    assert_int_equal(p.end[2], 256);
    assert_int_equal(p.size, 16 * 251);
}

static void uids_are_counted_with_the_last_block_fastest(void **state)
{
    static const char *const uids[] = {"x.1.7.0", "x.1.7.1", "x.1.7.2",
                                       "x.2.7.0", "x.2.7.1", "x.2.7.2"};
    struct skep_uid_pattern p = parse("x.[1:3].7.[0:3]");
    char out[16];

    (void)state;
    assert_int_equal(p.size, SKEP_COUNT_OF(uids));
    for (size_t i = 0; i < p.size; i++) {
        assert_int_equal(skep_uid_pattern_uid(&p, i, out, sizeof out), 7);
        assert_string_equal(out, uids[i]);
        assert_int_equal(skep_uid_pattern_uid(&p, i, out, 7), SKEP_ESIZE);
        assert_int_equal(skep_uid_pattern_uid(&p, i, out, 1), SKEP_ESIZE);
        assert_true(skep_uid_pattern_has(&p, skep_bytes_str(uids[i])));
    }
}

static void only_its_own_uids_are_of_a_pattern(void **state)
{
    static const char *const others[] = {"",        "x",        "y.1.7.0",   "x.0.7.0", "x.3.7.0",
                                         "x.1.8.0", "x.1.7",    "x.1.7.0.0", "x.1.7.",  "x.01.7.0",
                                         "x.1.7.3", "x.1.7.0x", "x..7.0",    "xx.1.7.0"};
    struct skep_uid_pattern p = parse("x.[1:3].7.[0:3]");

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(others); i++)
        assert_false(skep_uid_pattern_has(&p, skep_bytes_str(others[i])));
}

static void what_is_wrong_is_said_of_its_block(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "pattern \"\": it begins with a name, as in ffn.[0:16]"},
        {".[0:4]", "pattern \".[0:4]\": it begins with a name, as in ffn.[0:16]"},
        {"ffn", "pattern \"ffn\": a number or range follows the name, as in ffn.[0:16]"},
        {"ffn.", "pattern \"ffn.\": block 2, \"\": a number is missing"},
        {"[0:4].[0:4]",
         "pattern \"[0:4].[0:4]\": block 1, \"[0:4]\": the first block is a name, without brackets"},
        {"ffn[0:4].1",
         "pattern \"ffn[0:4].1\": block 1, \"ffn[0:4]\": the first block is a name, without "
         "brackets"},
        {"ffn.[0:4]..1", "pattern \"ffn.[0:4]..1\": block 3, \"\": a number is missing"},
        {"ffn.[0:4", "pattern \"ffn.[0:4\": block 2, \"[0:4\": it is neither a number nor a range "
                     "such as [0:16]"},
        {"ffn.0:4]", "pattern \"ffn.0:4]\": block 2, \"0:4]\": it is neither a number nor a range "
                     "such as [0:16]"},
        {"ffn.[", "pattern \"ffn.[\": block 2, \"[\": it is neither a number nor a range such as "
                  "[0:16]"},
        {"ffn.[4]", "pattern \"ffn.[4]\": block 2, \"[4]\": a range has a colon in the middle, as "
                    "in [0:16]"},
        {"ffn.[]",
         "pattern \"ffn.[]\": block 2, \"[]\": a range has a colon in the middle, as in [0:16]"},
        {"ffn.[0:1:2]", "pattern \"ffn.[0:1:2]\": block 2, \"[0:1:2]\": it is neither a number nor "
                        "a range such as [0:16]"},
        {"ffn.[:4]", "pattern \"ffn.[:4]\": block 2, \"[:4]\": a number is missing"},
        {"ffn.[0:]", "pattern \"ffn.[0:]\": block 2, \"[0:]\": a number is missing"},
        {"ffn.[5:5]", "pattern \"ffn.[5:5]\": block 2, \"[5:5]\": the range is empty"},
        {"ffn.1.[5:4]", "pattern \"ffn.1.[5:4]\": block 3, \"[5:4]\": the range is empty"},
        {"ffn.01", "pattern \"ffn.01\": block 2, \"01\": a number has a leading zero"},
        {"ffn.[-1:4]", "pattern \"ffn.[-1:4]\": block 2, \"[-1:4]\": it is neither a number nor a "
                       "range such as [0:16]"},
        {"ffn.x", "pattern \"ffn.x\": block 2, \"x\": it is neither a number nor a range such as "
                  "[0:16]"},
        {"ffn.4294967295",
         "pattern \"ffn.4294967295\": block 2, \"4294967295\": a number is too large"},
        {"ffn.[0:99999999999]",
         "pattern \"ffn.[0:99999999999]\": block 2, \"[0:99999999999]\": a number is too large"},
        {"ffn\xff.1", "pattern \"ffn\\xff.1\": it is not UTF-8"},
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_uid_pattern p;

        if (skep_uid_pattern_parse(&p, cases[i].text, why, sizeof why) != SKEP_EINVAL)
            fail_msg("%s was taken", cases[i].text);
        assert_string_equal(why, cases[i].why);
        assert_int_equal(p.size, 0);
    }
}

/* A pattern of so many blocks, or bytes. */
static int parse_long(size_t blocks, size_t len, const char *block)
{
    static char text[SKEP_UID_LEN_MAX + 2];
    struct skep_uid_pattern p;

    memset(text, 'x', len);
    text[len] = '\0';
    for (size_t i = 0; i < blocks; i++)
        strcat(text, block);
    return skep_uid_pattern_parse(&p, text, why, sizeof why);
}

static void patterns_have_64_blocks_and_4096_bytes(void **state)
{
    (void)state;
    assert_int_equal(parse_long(64, 1, ".7"), 0);
    assert_int_equal(parse_long(65, 1, ".7"), SKEP_EINVAL);
    assert_non_null(strstr(why, "block 66, \"7\": there are too many blocks"));
    assert_int_equal(parse_long(1, SKEP_UID_LEN_MAX - 2, ".7"), 0);
    assert_int_equal(parse_long(1, SKEP_UID_LEN_MAX - 1, ".7"), SKEP_EINVAL);
    assert_non_null(strstr(why, ": it is too long"));
}

static void a_huge_pattern_saturates_and_still_gives_uids(void **state)
{
    struct skep_uid_pattern p = parse("x.[0:4294967294].[0:4294967294].[0:3].[1:2]");
    struct skep_prng prng;
    char out[64];

    (void)state;
    assert_true(p.size == UINT64_MAX);
    skep_prng_init(&prng, 1);
    for (int i = 0; i < 100; i++) {
        assert_true(skep_uid_pattern_draw(&p, &prng, out, sizeof out) > 0);
        assert_int_equal(skep_uid_check(skep_bytes_str(out), NULL, 0), 0);
        assert_true(skep_uid_pattern_has(&p, skep_bytes_str(out)));
    }
    assert_int_equal(skep_uid_pattern_draw(&p, &prng, out, 5), SKEP_ESIZE);
}

static void draws_are_uniform_over_the_pattern(void **state)
{
    struct skep_uid_pattern p = parse("x.[3:7].[0:5]");
    size_t counts[20] = {0};
    struct skep_prng prng;
    char out[16], other[16];

    (void)state;
    skep_prng_init(&prng, 5);
    for (size_t n = 0; n < 20000; n++) {
        assert_int_equal(skep_uid_pattern_draw(&p, &prng, out, sizeof out), 5);
        counts[(out[2] - '3') * 5 + (out[4] - '0')]++;
    }
    for (size_t i = 0; i < 20; i++) {
        assert_true(counts[i] > 850 && counts[i] < 1150); /* five sigma around 1000 */
        skep_uid_pattern_uid(&p, i, other, sizeof other);
        assert_int_equal((other[2] - '3') * 5 + (other[4] - '0'), i);
    }
}

/* ---- free uids ---- */

static void each_uid_is_proposed_once_until_all_are(void **state)
{
    struct skep_uid_pattern p = parse("x.[0:256].[0:256]");
    static bool proposed[65536];
    struct skep_uid_picker picker;
    struct skep_prng prng;
    char out[16];

    (void)state;
    skep_prng_init(&prng, 2);
    skep_uid_picker_init(&picker, &skep_mem_std, &p, &prng);
    for (size_t i = 0; i < 65536; i++) {
        unsigned a, b;

        assert_true(skep_uid_picker_next(&picker, out, sizeof out, why, sizeof why) > 0);
        assert_int_equal(sscanf(out, "x.%u.%u", &a, &b), 2);
        assert_false(proposed[a * 256 + b]);
        proposed[a * 256 + b] = true;
    }
    assert_int_equal(skep_uid_picker_next(&picker, out, sizeof out, why, sizeof why), SKEP_ELIMIT);
    assert_string_equal(why, "pattern \"x.[0:256].[0:256]\": all of its 65536 uids are taken");
    skep_uid_picker_fini(&picker);
}

static void what_is_taken_is_not_proposed(void **state)
{
    struct skep_uid_pattern p = parse("x.[0:4]");
    struct skep_uid_picker picker;
    struct skep_prng prng;
    char out[16];

    (void)state;
    skep_prng_init(&prng, 3);
    skep_uid_picker_init(&picker, &skep_mem_std, &p, &prng);
    assert_int_equal(skep_uid_picker_take(&picker, skep_bytes_str("x.3")), 0);
    assert_int_equal(skep_uid_picker_take(&picker, skep_bytes_str("x.0")), 0);
    assert_int_equal(skep_uid_picker_take(&picker, skep_bytes_str("x.0")), 0); /* twice */
    assert_int_equal(skep_uid_picker_take(&picker, skep_bytes_str("x.4")), 0); /* of no concern */
    assert_int_equal(skep_uid_picker_take(&picker, skep_bytes_str("y.1")), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(skep_uid_picker_next(&picker, out, sizeof out, why, sizeof why), 3);
        assert_true(out[2] == '1' || out[2] == '2');
    }
    assert_int_equal(skep_uid_picker_next(&picker, out, sizeof out, why, sizeof why), SKEP_ELIMIT);
    assert_int_equal(skep_uid_picker_next(&picker, out, sizeof out, NULL, 0), SKEP_ELIMIT);
    skep_uid_picker_fini(&picker);
}

static void the_last_free_uid_of_a_large_pattern_is_found(void **state)
{
    struct skep_uid_pattern p = parse("x.[0:100000]");
    struct skep_uid_picker picker;
    struct skep_prng prng;
    char out[16];

    (void)state;
    skep_prng_init(&prng, 4);
    skep_uid_picker_init(&picker, &skep_mem_std, &p, &prng);
    for (size_t i = 0; i < 100000; i++) {
        skep_uid_pattern_uid(&p, i, out, sizeof out);
        if (i != 77777)
            assert_int_equal(skep_uid_picker_take(&picker, skep_bytes_str(out)), 0);
    }
    assert_int_equal(skep_uid_picker_next(&picker, out, sizeof out, why, sizeof why), 7);
    assert_string_equal(out, "x.77777");
    assert_int_equal(skep_uid_picker_next(&picker, out, sizeof out, why, sizeof why), SKEP_ELIMIT);
    assert_string_equal(why, "pattern \"x.[0:100000]\": all of its 100000 uids are taken");
    skep_uid_picker_fini(&picker);
}

static void one_try_past_65536_is_refused(void **state)
{
    struct skep_uid_pattern p = parse("x.[0:1000000]");
    struct skep_uid_picker picker;
    struct skep_prng prng;
    char out[16];

    (void)state;
    skep_prng_init(&prng, 6);
    skep_uid_picker_init(&picker, &skep_mem_std, &p, &prng);
    for (size_t i = 0; i < SKEP_UID_TRIES_MAX; i++)
        assert_true(skep_uid_picker_next(&picker, out, sizeof out, why, sizeof why) > 0);
    assert_int_equal(skep_uid_picker_next(&picker, out, sizeof out, why, sizeof why), SKEP_ELIMIT);
    assert_string_equal(
        why, "pattern \"x.[0:1000000]\": no more free uids were found after 65536 tries");
    skep_uid_picker_fini(&picker);
}

static void a_uid_that_does_not_fit_is_not_used_up(void **state)
{
    struct skep_uid_pattern p = parse("x.7");
    struct skep_uid_picker picker;
    struct skep_prng prng;
    char out[4];

    (void)state;
    skep_prng_init(&prng, 7);
    skep_uid_picker_init(&picker, &skep_mem_std, &p, &prng);
    assert_int_equal(skep_uid_picker_next(&picker, out, 3, why, sizeof why), SKEP_ESIZE);
    assert_int_equal(skep_uid_picker_next(&picker, out, 4, why, sizeof why), 3);
    assert_string_equal(out, "x.7");
    skep_uid_picker_fini(&picker);
}

static int pick(const struct skep_mem *mem, void *user)
{
    struct skep_uid_pattern p = parse("x.[0:40]");
    struct skep_uid_picker picker;
    struct skep_prng prng;
    char out[16];
    int rc;

    (void)user;
    skep_map_set_mem(mem);
    skep_prng_init(&prng, 8);
    skep_uid_picker_init(&picker, mem, &p, &prng);
    rc = skep_uid_picker_take(&picker, skep_bytes_str("x.1"));
    for (int i = 0; rc >= 0 && i < 39; i++)
        rc = skep_uid_picker_next(&picker, out, sizeof out, why, sizeof why);
    skep_uid_picker_fini(&picker);
    skep_map_set_mem(&skep_mem_std);
    return rc > 0 ? 0 : rc;
}

static void no_failed_allocation_leaks_or_crashes(void **state)
{
    (void)state;
    test_each_allocation_fails(pick, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pattern_has_a_name_numbers_and_ranges),
        cmocka_unit_test(uids_are_counted_with_the_last_block_fastest),
        cmocka_unit_test(only_its_own_uids_are_of_a_pattern),
        cmocka_unit_test(what_is_wrong_is_said_of_its_block),
        cmocka_unit_test(patterns_have_64_blocks_and_4096_bytes),
        cmocka_unit_test(a_huge_pattern_saturates_and_still_gives_uids),
        cmocka_unit_test(draws_are_uniform_over_the_pattern),
        cmocka_unit_test(each_uid_is_proposed_once_until_all_are),
        cmocka_unit_test(what_is_taken_is_not_proposed),
        cmocka_unit_test(the_last_free_uid_of_a_large_pattern_is_found),
        cmocka_unit_test(one_try_past_65536_is_refused),
        cmocka_unit_test(a_uid_that_does_not_fit_is_not_used_up),
        cmocka_unit_test(no_failed_allocation_leaks_or_crashes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
