/* SPDX-License-Identifier: MIT */
/* Latencies, sessions, shares and matrices of round trips as `skep sim` is given them. */
#include "cmd/sim_options.h"
#include "support/test.h"

static void a_latency_is_a_time_or_a_distribution_of_times(void **state)
{
    static const struct {
        const char *text;
        int kind;
        uint64_t a_us, b_us;
        uint32_t sigma_milli;
    } cases[] = {{"80ms", SKEP_LATENCY_CONSTANT, 80000, 0, 0},
                 {"0", SKEP_LATENCY_CONSTANT, 0, 0, 0},
                 {"constant:1.5s", SKEP_LATENCY_CONSTANT, 1500000, 0, 0},
                 {"uniform:20ms,80ms", SKEP_LATENCY_UNIFORM, 20000, 80000, 0},
                 {"uniform:0,0", SKEP_LATENCY_UNIFORM, 0, 0, 0},
                 {"lognormal:80ms,0.5", SKEP_LATENCY_LOGNORMAL, 80000, 0, 500},
                 {"lognormal:1us,0", SKEP_LATENCY_LOGNORMAL, 1, 0, 0},
                 {"lognormal:50d,10.000", SKEP_LATENCY_LOGNORMAL, 4320000000000, 0, 10000}};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_sim_latency_text out;
        struct skep_cmd_why why;

        assert_int_equal(skep_cmd_latency_parse(&out, cases[i].text, &why), 0);
        assert_int_equal(out.kind, cases[i].kind);
        assert_int_equal(out.a_us, cases[i].a_us);
        assert_int_equal(out.b_us, cases[i].b_us);
        assert_int_equal(out.sigma_milli, cases[i].sigma_milli);
        assert_null(out.file);
    }
}

static void a_matrix_is_named_by_its_file(void **state)
{
    struct skep_sim_latency_text out;
    struct skep_cmd_why why;

    (void)state;
    assert_int_equal(skep_cmd_latency_parse(&out, "matrix:a:b, c.txt", &why), 0);
    assert_int_equal(out.kind, SKEP_LATENCY_MATRIX);
    assert_string_equal(out.file, "a:b, c.txt");
}

static void what_is_no_latency_is_refused_by_name(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {{"", "is not a duration"},
                 {"fast", "'fast' is not a duration"},
                 {"gamma:80ms", "'gamma:80ms' is not a latency such as"},
                 {"lognorm:80ms,1", "'lognorm:80ms,1' is not a latency such as"},
                 {":80ms", "':80ms' is not a latency such as"},
                 {"80ms,90ms", "'80ms,90ms' is not a duration"},
                 {"constant:", "'' is not a duration"},
                 {"constant:80ms,1", "'80ms,1' is not a duration"},
                 {"uniform:20ms", "'20ms' is not two times"},
                 {"uniform:20ms,30ms,40ms", "is not two times"},
                 {"uniform:20ms,x", "'x' is not a duration"},
                 {"uniform:80ms,20ms", "'80ms,20ms' begins with the longer time"},
                 {"lognormal:80ms", "'80ms' is not a median and a sigma"},
                 {"lognormal:0,0.5", "a median of '0' is no time"},
                 {"lognormal:80ms,", "'' is not a sigma"},
                 {"lognormal:80ms,-1", "'-1' is not a sigma"},
                 {"lognormal:80ms,.5", "'.5' is not a sigma"},
                 {"lognormal:80ms,5.", "'5.' is not a sigma"},
                 {"lognormal:80ms,1e1", "'1e1' is not a sigma"},
                 {"lognormal:80ms,0.0005", "'0.0005' is finer than thousandths"},
                 {"lognormal:80ms,10.001", "'10.001' is above 10"},
                 {"lognormal:80ms,99999999999999999999", "is not a sigma"},
                 {"lognormal:51d,0.5", "'51d' is longer than 50 days"},
                 {"51d", "'51d' is longer than 50 days"},
                 {"matrix:", "'matrix:' names no file"}};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_sim_latency_text out = {.a_us = 1};
        struct skep_cmd_why why = {.text = ""};

        assert_int_equal(skep_cmd_latency_parse(&out, cases[i].text, &why), SKEP_EINVAL);
        assert_true(out.a_us == 0 && out.b_us == 0 && !out.file);
        if (!strstr(why.text, cases[i].why))
            fail_msg("%s: %s", cases[i].text, why.text);
    }
}

static void a_session_is_exponential_or_lognormal(void **state)
{
    struct skep_sim_session_text out;
    struct skep_cmd_why why;

    (void)state;
    assert_int_equal(skep_cmd_session_parse(&out, "3600s", &why), 0);
    assert_int_equal(out.kind, SKEP_SESSION_EXPONENTIAL);
    assert_int_equal(out.median_us, 3600000000);
    assert_int_equal(skep_cmd_session_parse(&out, "exp:1h", &why), 0);
    assert_int_equal(out.kind, SKEP_SESSION_EXPONENTIAL);
    assert_int_equal(out.median_us, 3600000000);
    assert_int_equal(skep_cmd_session_parse(&out, "lognormal:30m,1.0", &why), 0);
    assert_int_equal(out.kind, SKEP_SESSION_LOGNORMAL);
    assert_int_equal(out.median_us, 1800000000);
    assert_int_equal(out.sigma_milli, 1000);
}

static void what_is_no_session_is_refused_by_name(void **state)
{
    static const char *const cases[] = {
        "",    "0",   "exp:", "exp:0", "exp:1h,1", "uniform:1h,2h", "lognormal:1h", "lognormal:0,1",
        "51d", "1h,1"};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_sim_session_text out = {.median_us = 1};
        struct skep_cmd_why why = {.text = ""};

        assert_int_equal(skep_cmd_session_parse(&out, cases[i], &why), SKEP_EINVAL);
        assert_int_equal(out.median_us, 0);
        assert_true(strlen(why.text) > 0);
    }
}

static void a_share_is_a_percentage_or_a_part_of_one(void **state)
{
    static const struct {
        const char *text;
        uint32_t ppm;
    } cases[] = {{"1%", 10000},
                 {"0.01", 10000},
                 {"0", 0},
                 {"0%", 0},
                 {"1", 1000000},
                 {"100%", 1000000},
                 {"0.5%", 5000},
                 {"0.0001%", 1},
                 {"0.000001", 1},
                 {"33.3333%", 333333},
                 {"1.0000000", 1000000}};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_cmd_why why;
        uint32_t ppm;

        assert_int_equal(skep_cmd_share_parse(&ppm, cases[i].text, &why), 0);
        assert_int_equal(ppm, cases[i].ppm);
    }
}

static void what_is_no_share_is_refused_by_name(void **state)
{
    static const char *const cases[] = {
        "",    "%",         "-1%",      "101%", "1.000001",
        "2",   "1 %",       "1%%",      ".5",   "1.",
        "nan", "0.0000001", "0.00001%", "1e-3", "99999999999999999999%"};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_cmd_why why = {.text = ""};
        uint32_t ppm = 1;

        assert_int_equal(skep_cmd_share_parse(&ppm, cases[i], &why), SKEP_EINVAL);
        assert_int_equal(ppm, 0);
        assert_non_null(strstr(why.text, cases[i]));
    }
}

/* ---- matrices ---- */

static void assert_matrix(const char *text, const uint32_t *us, size_t n)
{
    struct skep_cmd_why why = {.text = ""};
    uint32_t *out;
    size_t out_n;

    if (skep_cmd_matrix_parse(&out, &out_n, &skep_mem_std, skep_bytes_str(text), &why) != 0)
        fail_msg("%s", why.text);
    assert_int_equal(out_n, n);
    assert_memory_equal(out, us, n * n * sizeof *us);
    skep_mem_free(&skep_mem_std, out);
}

static void a_matrix_is_lines_of_milliseconds(void **state)
{
    static const uint32_t three[] = {0, 1500, 20000, 1500, 0, 300, 20000, 300, 5};

    (void)state;
    assert_matrix("0 1.5 20\n1.5 0 0.3\n20 0.3 0.005\n", three, 3);
    assert_matrix("0,1.5,20\n1.5,0,0.3\n20,0.3,0.005", three, 3);
    assert_matrix(
        "# three places\r\n\r\n 0 , 1.5,\t20 \r\n1.5  0 0.3000004\n\n20,0.3 , 0.005\n# end", three,
        3);
    assert_matrix("80", (const uint32_t[]){80000}, 1);
    assert_matrix("0 4294967.295\n4294967.295 0", (const uint32_t[]){0, UINT32_MAX, UINT32_MAX, 0},
                  2);
}

static void directions_that_differ_are_averaged(void **state)
{
    (void)state;
    assert_matrix("0 10\n20 0\n", (const uint32_t[]){0, 15000, 15000, 0}, 2);
    assert_matrix("0 0.001\n0.002 0\n", (const uint32_t[]){0, 2, 2, 0}, 2);
    assert_matrix("0 4294967.295\n4294967.294 0", (const uint32_t[]){0, UINT32_MAX, UINT32_MAX, 0},
                  2);
}

static void what_is_no_matrix_is_refused_with_line_and_value(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "there are no round trips in it"},
        {"\n# nothing\n \n", "there are no round trips in it"},
        {"0 1\n1 x\n", "line 2, value 2: 'x' is not a time in milliseconds"},
        {"0 -1\n-1 0\n", "line 1, value 2: '-1' is not a time"},
        {"0 1ms\n1ms 0\n", "line 1, value 2: '1ms' is not a time"},
        {"0 inf\n1 0\n", "line 1, value 2: 'inf' is not a time"},
        {"0,,1\n", "line 1, value 2: '' is not a time"},
        {",0\n", "line 1, value 1: '' is not a time"},
        {"0,\n", "line 1, value 2: '' is not a time"},
        {"0 \x1b[31m\n1 0\n", "line 1, value 2: '\\x1b[31m' is not a time"},
        {"0 0\n1 0\n", "line 1, value 2: '0' is less than a microsecond"},
        {"\n0 1\n0.0009 0\n", "line 3, value 1: '0.0009' is less than a microsecond"},
        {"0 4294967.296\n1 0\n", "line 1, value 2: '4294967.296' is too long a time"},
        {"0 99999999999999999999\n1 0\n", "line 1, value 2: '99999999999999999999' is not a time"},
        {"0 1 2\n1 0\n", "line 2 has 2 values; those before it have 3"},
        {"0 1\n1 0\n#\n1 1\n", "line 4 is one more than its 2 values"},
        {"0 1 2\n1 0 2\n", "there are 2 lines of 3 values"}};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_cmd_why why = {.text = ""};
        uint32_t *out = (uint32_t[]){1};
        size_t n = 1;
        int rc =
            skep_cmd_matrix_parse(&out, &n, &skep_mem_std, skep_bytes_str(cases[i].text), &why);

        assert_int_equal(rc, SKEP_EINVAL);
        assert_null(out);
        assert_int_equal(n, 0);
        if (!strstr(why.text, cases[i].why))
            fail_msg("%s: %s", cases[i].text, why.text);
    }
}

static void a_matrix_has_at_most_4096_places(void **state)
{
    struct skep_buf text;
    struct skep_cmd_why why = {.text = ""};
    uint32_t *out;
    size_t n;

    (void)state;
    skep_buf_init(&text, &skep_mem_std);
    for (size_t i = 0; i < SKEP_SIM_PLACES_MAX; i++)
        skep_buf_put_str(&text, "1 ");
    assert_int_equal(skep_cmd_matrix_parse(&out, &n, &skep_mem_std, skep_buf_view(&text), &why),
                     SKEP_EINVAL);
    assert_string_equal(why.text, "there are 1 lines of 4096 values");
    skep_buf_put_str(&text, "1");
    assert_int_equal(skep_cmd_matrix_parse(&out, &n, &skep_mem_std, skep_buf_view(&text), &why),
                     SKEP_EINVAL);
    assert_string_equal(why.text, "line 1 has 4097 values; at most are 4096");
    skep_buf_fini(&text);
}

/* Whatever the cut: a matrix or a sentence, nothing else. */
static void a_matrix_cut_anywhere_is_refused_or_read(void **state)
{
    static const char text[] = "# places\r\n0, 1.5,20\n1.5 0 0.3\n\n20,0.3 , 0.005";

    (void)state;
    for (size_t len = 0; len < sizeof text; len++) {
        struct skep_cmd_why why = {.text = ""};
        char *copy = malloc(len + 1);
        uint32_t *out;
        size_t n;
        int rc;

        assert_non_null(copy);
        memcpy(copy, text, len);
        rc = skep_cmd_matrix_parse(&out, &n, &skep_mem_std, skep_bytes_of(copy, len), &why);
        assert_true(rc == 0 ? n == 1 || n == 3 : rc == SKEP_EINVAL && strlen(why.text) > 0);
        skep_mem_free(&skep_mem_std, out);
        free(copy);
    }
}

static int parse_matrix(const struct skep_mem *mem, void *user)
{
    struct skep_cmd_why why;
    uint32_t *out;
    size_t n;
    int rc = skep_cmd_matrix_parse(&out, &n, mem, skep_bytes_str("0 1\n1 0\n"), &why);

    (void)user;
    skep_mem_free(mem, out);
    return rc;
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    test_each_allocation_fails(parse_matrix, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_latency_is_a_time_or_a_distribution_of_times),
        cmocka_unit_test(a_matrix_is_named_by_its_file),
        cmocka_unit_test(what_is_no_latency_is_refused_by_name),
        cmocka_unit_test(a_session_is_exponential_or_lognormal),
        cmocka_unit_test(what_is_no_session_is_refused_by_name),
        cmocka_unit_test(a_share_is_a_percentage_or_a_part_of_one),
        cmocka_unit_test(what_is_no_share_is_refused_by_name),
        cmocka_unit_test(a_matrix_is_lines_of_milliseconds),
        cmocka_unit_test(directions_that_differ_are_averaged),
        cmocka_unit_test(what_is_no_matrix_is_refused_with_line_and_value),
        cmocka_unit_test(a_matrix_has_at_most_4096_places),
        cmocka_unit_test(a_matrix_cut_anywhere_is_refused_or_read),
        cmocka_unit_test(each_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
