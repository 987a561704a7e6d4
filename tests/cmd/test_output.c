/* SPDX-License-Identifier: MIT */
/* JSON lines, tables, times and the picture of a grid. */
#include "cmd/output.h"

#include <math.h>

#include "cmd/picture.h"
#include "support/test.h"

static char *line_of(const char *json)
{
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    char *line;

    assert_non_null(value);
    line = skep_cmd_json_line(value);
    json_decref(value);
    return line;
}

static void reals_have_the_fewest_digits_that_read_back(void **state)
{
    static const struct {
        const char *json, *line;
    } cases[] = {{"0.1", "0.1"},
                 {"1.0", "1.0"},
                 {"1e300", "1e300"},
                 {"0.30000000000000004", "0.30000000000000004"},
                 {"1795384179.5", "1795384179.5"},
                 {"-0.0", "-0.0"},
                 {"5e-324", "4.94065645841247e-324"},
                 {"100000000000000000000.0", "1e20"},
                 {"[12345678901234567, true, false, null, \"\\\" 0.10000000000000001\"]",
                  "[12345678901234567, true, false, null, \"\\\" 0.10000000000000001\"]"},
                 {"{\"10.0e\": [0.2, {\"x\": 3.25}]}", "{\"10.0e\": [0.2, {\"x\": 3.25}]}"}};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        char *line = line_of(cases[i].json);

        assert_string_equal(line, cases[i].line);
        free(line);
    }
}

static void characters_that_terminals_obey_are_escaped(void **state)
{
    char *line = line_of("[\"\\u009b31m\", \"caf\xc3\xa9\"]");

    (void)state;
    assert_string_equal(line, "[\"\\u009B31m\", \"caf\\u00E9\"]");
    free(line);
    line = line_of("\"\\u202e\"");
    assert_string_equal(line, "\"\\u202E\"");
    free(line);
    line = line_of("\"caf\xc3\xa9\\u001b\"");
    assert_string_equal(line, "\"caf\xc3\xa9\\u001B\"");
    free(line);
}

static char *read_back(FILE *file)
{
    static char text[8192];
    size_t len;

    rewind(file);
    len = fread(text, 1, sizeof text - 1, file);
    text[len] = '\0';
    fclose(file);
    return text;
}

static void a_table_lines_up_and_escapes(void **state)
{
    static const char *const heading[] = {">rank", "uid", ">score"};
    struct skep_table table;
    FILE *file = tmpfile();

    (void)state;
    assert_non_null(file);
    skep_table_init(&table, heading, 3);
    skep_table_add(&table, "%d", 1);
    skep_table_add(&table, "caf\xc3\xa9.1");
    skep_table_add(&table, "%.2f", 3.25);
    skep_table_add(&table, "%d", 10);
    skep_table_add(&table, "%s", "a\033[31m");
    skep_table_add(&table, "%.2f", -12.5);
    skep_table_print(&table, file);
    skep_table_fini(&table);
    assert_string_equal(read_back(file), "rank  uid         score\n"
                                         "   1  caf\xc3\xa9.1       3.25\n"
                                         "  10  a\\x1b[31m  -12.50\n");
}

static void times_are_utc_and_odd_ones_are_numbers(void **state)
{
    char text[40];

    (void)state;
    assert_string_equal(skep_cmd_time_text(text, 1795384179.5), "2026-11-22T21:49:39Z");
    assert_string_equal(skep_cmd_time_text(text, 0), "1970-01-01T00:00:00Z");
    assert_string_equal(skep_cmd_time_text(text, 1e300), "1.0000000000000001e+300");
    assert_string_equal(skep_cmd_time_text(text, -1), "-1");
    assert_string_equal(skep_cmd_time_text(text, INFINITY), "inf");
    assert_string_equal(skep_cmd_time_text(text, NAN), "nan");
}

static void the_picture_marks_what_the_beam_kept(void **state)
{
    static const struct skep_picture_place experts[] = {{0, 0}, {0, 1}, {1, 3},
                                                        {2, 2}, {2, 2}, {2, 2}};
    static const struct skep_picture_place beam[] = {{0, 1}, {1, 3}}, found[] = {{1, 3}};
    static const size_t rows[] = {0, 1};
    const struct skep_picture picture = {.rows = 3,
                                         .columns = 4,
                                         .experts = experts,
                                         .expert_count = 6,
                                         .beam_rows = rows,
                                         .beam_row_count = 2,
                                         .beam = beam,
                                         .beam_count = 2,
                                         .found = found,
                                         .found_count = 1};
    FILE *file = tmpfile();

    (void)state;
    assert_non_null(file);
    assert_int_equal(skep_picture_print(&picture, file, false), 0);
    assert_string_equal(read_back(file), "       0 >|+o  |\n"
                                         "       1 >|   1|\n"
                                         "       2  |  + |\n");
}

static void a_large_grid_is_drawn_in_blocks_and_in_colour(void **state)
{
    static const struct skep_picture_place places[] = {{0, 0}, {255, 255}, {1000, 1000}};
    const struct skep_picture picture = {.rows = 256,
                                         .columns = 256,
                                         .experts = places,
                                         .expert_count = 3,
                                         .found = places,
                                         .found_count = 2};
    FILE *file = tmpfile();
    char *text;

    (void)state;
    assert_non_null(file);
    assert_int_equal(skep_picture_print(&picture, file, true), 0);
    text = read_back(file);
    assert_non_null(strstr(text, "       0  |\033[0m\033[1;32m1"));
    assert_non_null(strstr(text, "     240  |"));
    assert_non_null(strstr(text, "2\033[0m|\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reals_have_the_fewest_digits_that_read_back),
        cmocka_unit_test(characters_that_terminals_obey_are_escaped),
        cmocka_unit_test(a_table_lines_up_and_escapes),
        cmocka_unit_test(times_are_utc_and_odd_ones_are_numbers),
        cmocka_unit_test(the_picture_marks_what_the_beam_kept),
        cmocka_unit_test(a_large_grid_is_drawn_in_blocks_and_in_colour),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
