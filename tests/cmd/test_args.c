/* SPDX-License-Identifier: MIT */
/* Durations, counts and grids of the command line. */
#include "cmd/args.h"
#include "support/test.h"

static void durations_are_seconds_or_have_a_unit(void **state)
{
    static const struct {
        const char *text;
        uint64_t us;
    } cases[] = {{"0", 0},
                 {"30", 30000000},
                 {"0.5", 500000},
                 {"50ms", 50000},
                 {"1.5s", 1500000},
                 {"250us", 250},
                 {"2h", 7200000000},
                 {"3m", 180000000},
                 {"7d", 604800000000},
                 {"0.25h", 900000000},
                 {"1.5us", 1},
                 {"0.0000019", 1},
                 {"1.1234567", 1123456},
                 {"0.1d", 8640000000},
                 {"106000000d", 9158400000000000000}};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_cmd_why why;
        uint64_t us;

        assert_int_equal(skep_cmd_duration(&us, cases[i].text, &why), 0);
        assert_int_equal(us, cases[i].us);
    }
}

static void what_is_no_duration_is_refused_by_name(void **state)
{
    static const char *const cases[] = {"",
                                        "-1",
                                        "+1",
                                        "s",
                                        "1 s",
                                        "1.",
                                        ".5",
                                        "1.s",
                                        "5mss",
                                        "1e3",
                                        "inf",
                                        "nan",
                                        "0x10",
                                        "10S",
                                        "1,5",
                                        "1.2.3",
                                        "10min",
                                        "99999999999999999999",
                                        "300000000000d",
                                        "106751992d"};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_cmd_why why = {.text = ""};
        uint64_t us = 1;

        assert_int_equal(skep_cmd_duration(&us, cases[i], &why), SKEP_EINVAL);
        assert_int_equal(us, 0);
        assert_non_null(strstr(why.text, cases[i]));
    }
}

static void counts_are_whole_and_within_their_bounds(void **state)
{
    struct skep_cmd_why why;
    uint64_t v;

    (void)state;
    assert_int_equal(skep_cmd_count(&v, "18446744073709551615", 0, UINT64_MAX, &why), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(skep_cmd_count(&v, "1", 1, 1, &why), 0);
    assert_int_equal(skep_cmd_count(&v, "0", 1, 9, &why), SKEP_EINVAL);
    assert_int_equal(skep_cmd_count(&v, "10", 1, 9, &why), SKEP_EINVAL);
    assert_string_equal(why.text, "10 is not between 1 and 9");
    assert_int_equal(skep_cmd_count(&v, "18446744073709551616", 0, UINT64_MAX, &why), SKEP_EINVAL);
    assert_int_equal(skep_cmd_count(&v, "", 0, 9, &why), SKEP_EINVAL);
    assert_int_equal(skep_cmd_count(&v, "-1", 0, 9, &why), SKEP_EINVAL);
    assert_int_equal(skep_cmd_count(&v, "1.0", 0, 9, &why), SKEP_EINVAL);
}

static void a_grid_is_sizes_joined_by_x(void **state)
{
    struct skep_cmd_grid grid;
    struct skep_cmd_why why;

    char text[64];

    (void)state;
    snprintf(text, sizeof text, "256x1x%d", SKEP_GRID_SIZE_MAX);
    assert_int_equal(skep_cmd_grid_parse(&grid, text, &why), 0);
    assert_int_equal(grid.dims, 3);
    assert_int_equal(grid.size[0], 256);
    assert_int_equal(grid.size[1], 1);
    assert_int_equal(grid.size[2], SKEP_GRID_SIZE_MAX);
    assert_int_equal(skep_cmd_grid_parse(&grid, "7", &why), 0);
    assert_int_equal(grid.dims, 1);
}

static void a_grid_with_a_zero_or_of_another_form_is_refused(void **state)
{
    static const char *const cases[] = {"",    "0",    "256x0x256", "x",
                                        "2x",  "x2",   "2xx2",      "2X2",
                                        "2*2", "-2x2", "2x2 ",      "99999999999999999999"};
    struct skep_cmd_grid grid;
    struct skep_cmd_why why;
    char text[64];

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        why.text[0] = '\0';
        assert_int_equal(skep_cmd_grid_parse(&grid, cases[i], &why), SKEP_EINVAL);
        assert_true(strlen(why.text) > 0);
    }
    snprintf(text, sizeof text, "%d", SKEP_GRID_SIZE_MAX + 1);
    assert_int_equal(skep_cmd_grid_parse(&grid, text, &why), SKEP_EINVAL);
    assert_int_equal(skep_cmd_grid_parse(&grid, "256x0x256", &why), SKEP_EINVAL);
    assert_string_equal(why.text, "dimension 2 of grid '256x0x256' is zero");
}

static void a_grid_has_at_most_64_dimensions(void **state)
{
    char text[SKEP_GRID_DIMENSIONS_MAX * 2 + 2];
    struct skep_cmd_grid grid;
    struct skep_cmd_why why;

    (void)state;
    for (size_t i = 0; i < SKEP_GRID_DIMENSIONS_MAX; i++)
        memcpy(text + 2 * i, "2x", 2);
    text[SKEP_GRID_DIMENSIONS_MAX * 2 - 1] = '\0';
    assert_int_equal(skep_cmd_grid_parse(&grid, text, &why), 0);
    assert_int_equal(grid.dims, SKEP_GRID_DIMENSIONS_MAX);
    memcpy(text + SKEP_GRID_DIMENSIONS_MAX * 2 - 1, "x2", 3);
    assert_int_equal(skep_cmd_grid_parse(&grid, text, &why), SKEP_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_seconds_or_have_a_unit),
        cmocka_unit_test(what_is_no_duration_is_refused_by_name),
        cmocka_unit_test(counts_are_whole_and_within_their_bounds),
        cmocka_unit_test(a_grid_is_sizes_joined_by_x),
        cmocka_unit_test(a_grid_with_a_zero_or_of_another_form_is_refused),
        cmocka_unit_test(a_grid_has_at_most_64_dimensions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
