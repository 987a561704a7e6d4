/* SPDX-License-Identifier: MIT */
/* Scores from .npy, .npz and JSON. The files in data/ were written by numpy 1.26.4. */
#include "cmd/scores.h"

#include <math.h>

#include "cmd/npy.h"
#include "support/test.h"

static skep_bytes load(const char *name)
{
    static uint8_t *kept[64];
    static size_t count;
    char path[128];
    FILE *file;
    size_t len;

    snprintf(path, sizeof path, "tests/cmd/data/%s", name);
    file = fopen(path, "rb");
    assert_non_null(file);
    assert_true(count < SKEP_COUNT_OF(kept));
    kept[count] = malloc(4096);
    assert_non_null(kept[count]);
    len = fread(kept[count], 1, 4096, file);
    fclose(file);
    return skep_bytes_of(kept[count++], len);
}

static double item(const struct skep_npy *npy, size_t index)
{
    return npy->is_float64 ? ((const double *)npy->data)[index]
                           : (double)((const float *)npy->data)[index];
}

static void every_version_order_and_type_of_npy_reads_the_same(void **state)
{
    static const char *const names[] = {"f4.npy",         "f8.npy",    "f4_big.npy", "f8_big.npy",
                                        "f8_fortran.npy", "f4_v2.npy", "f4_v3.npy"};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(names); i++) {
        struct skep_cmd_why why = {.text = ""};
        struct skep_npy npy;

        assert_int_equal(skep_npy_parse(&npy, &skep_mem_std, load(names[i]), &why), 0);
        assert_int_equal(npy.is_float64, names[i][1] == '8');
        assert_int_equal(npy.dim_count, 2);
        assert_int_equal(npy.dims[0], 2);
        assert_int_equal(npy.dims[1], 3);
        for (size_t k = 0; k < 6; k++)
            assert_true(item(&npy, k) == (double)(k + 1));
        skep_npy_fini(&npy, &skep_mem_std);
    }
}

static void three_axes_in_fortran_order_read_as_in_c_order(void **state)
{
    struct skep_cmd_why why;
    struct skep_npy fortran, c;

    (void)state;
    assert_int_equal(skep_npy_parse(&fortran, &skep_mem_std, load("f4_batch_fortran.npy"), &why),
                     0);
    assert_int_equal(skep_npy_parse(&c, &skep_mem_std, load("f4_batch.npy"), &why), 0);
    assert_int_equal(c.count, 12);
    assert_memory_equal(fortran.data, c.data, 12 * sizeof(float));
    assert_true(item(&c, 11) == 11.5);
    skep_npy_fini(&fortran, &skep_mem_std);
    skep_npy_fini(&c, &skep_mem_std);
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    static const char *const names[] = {"f4.npy", "f8_fortran.npy", "rows.npz", "rows_deflated.npz",
                                        "batch_deflated.npz"};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(names); i++) {
        skep_bytes whole = load(names[i]);

        for (size_t len = 0; len < whole.len; len++) {
            uint8_t *copy = malloc(len + 1);
            struct skep_cmd_why why = {.text = ""};
            struct skep_npy npy;
            struct skep_npz npz;

            assert_non_null(copy);
            memcpy(copy, whole.data, len);
            if (strstr(names[i], ".npz"))
                assert_int_equal(
                    skep_npz_parse(&npz, &skep_mem_std, skep_bytes_of(copy, len), &why),
                    SKEP_EVALUE);
            else
                assert_int_equal(
                    skep_npy_parse(&npy, &skep_mem_std, skep_bytes_of(copy, len), &why),
                    SKEP_EVALUE);
            assert_true(strlen(why.text) > 0);
            free(copy);
        }
    }
}

static void npy_of_another_type_or_shape_is_refused_by_name(void **state)
{
    static const struct {
        const char *file, *why;
    } cases[] = {{"i8.npy", "its dtype '<i8' is neither float32 nor float64"},
                 {"f2.npy", "its dtype '<f2' is neither float32 nor float64"},
                 {"structured.npy", "its dtype is a structure, not float32 or float64"},
                 {"four_axes.npy", "it has more than 3 axes"}};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_cmd_why why;
        struct skep_npy npy;

        assert_int_equal(skep_npy_parse(&npy, &skep_mem_std, load(cases[i].file), &why),
                         SKEP_EVALUE);
        assert_string_equal(why.text, cases[i].why);
        assert_null(npy.data);
    }
}

/* A .npy with this header and a body of zeros. */
static int parse_header(const char *header, size_t body, struct skep_cmd_why *why)
{
    struct skep_buf file;
    struct skep_npy npy;
    int rc;

    skep_buf_init(&file, &skep_mem_std);
    skep_buf_put(&file, "\x93NUMPY\1", 8);
    skep_buf_put_u8(&file, (uint8_t)strlen(header));
    skep_buf_put_u8(&file, (uint8_t)(strlen(header) >> 8));
    skep_buf_put_str(&file, header);
    while (body-- > 0)
        skep_buf_put_u8(&file, 0);
    rc = skep_npy_parse(&npy, &skep_mem_std, skep_buf_view(&file), why);
    if (rc == 0)
        skep_npy_fini(&npy, &skep_mem_std);
    skep_buf_fini(&file);
    return rc;
}

static void odd_headers_are_read_or_refused(void **state)
{
    static const char *const good[] = {
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2L,), }",
        "{\"shape\":(2),\"descr\":\"=f4\",\"fortran_order\":True}",
        "  { 'fortran_order' : False ,\n'shape' : ( 1 , 2 ) , 'descr' : '<f4' }  \n"};
    static const char *const bad[] = {
        "",
        "{",
        "{}",
        "{'descr': '<f4'}",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 2}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}",
        "{'descr': 'f4', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '|f4', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f44', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4' 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387905,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296,4294967296)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}"};
    struct skep_cmd_why why;

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(good); i++)
        assert_int_equal(parse_header(good[i], 8, &why), 0);
    for (size_t i = 0; i < SKEP_COUNT_OF(bad); i++) {
        why.text[0] = '\0';
        if (parse_header(bad[i], 8, &why) != SKEP_EVALUE)
            fail_msg("%s was taken", bad[i]);
        assert_true(strlen(why.text) > 0);
    }
    /* numpy writes shapes with a zero */
    assert_int_equal(
        parse_header("{'descr': '<f4', 'fortran_order': True, 'shape': (0, 3)}", 0, &why), 0);
}

/* ---- scores ---- */

static int parse(struct skep_cmd_scores *out, skep_bytes file, const char *grid_text,
                 struct skep_cmd_why *why)
{
    struct skep_cmd_grid grid;

    assert_int_equal(skep_cmd_grid_parse(&grid, grid_text, why), 0);
    why->text[0] = '\0';
    return skep_cmd_scores_parse(out, &skep_mem_std, file, &grid, why);
}

static double score(const struct skep_cmd_scores *s, size_t example, size_t dim, size_t index)
{
    const void *row = skep_cmd_scores_row(s, example, dim);

    return s->is_float64 ? ((const double *)row)[index] : (double)((const float *)row)[index];
}

static void npz_gives_a_row_for_each_dimension(void **state)
{
    static const char *const names[] = {"rows.npz", "rows_deflated.npz"};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(names); i++) {
        struct skep_cmd_scores s;
        struct skep_cmd_why why;

        assert_int_equal(parse(&s, load(names[i]), "2x3", &why), 0);
        assert_false(s.is_float64);
        assert_false(s.is_batch);
        assert_true(score(&s, 0, 0, 1) == 2);
        assert_true(score(&s, 0, 1, 0) == 3);
        assert_true(score(&s, 0, 1, 2) == 5);
        skep_cmd_scores_fini(&s, &skep_mem_std);
    }
}

static void npz_of_two_axes_is_a_batch(void **state)
{
    struct skep_cmd_scores s;
    struct skep_cmd_why why;

    (void)state;
    assert_int_equal(parse(&s, load("batch_deflated.npz"), "2x3", &why), 0);
    assert_true(s.is_batch);
    assert_int_equal(s.examples, 4);
    assert_true(score(&s, 3, 0, 1) == 7);
    assert_true(score(&s, 2, 1, 2) == 8);
    skep_cmd_scores_fini(&s, &skep_mem_std);
}

static void npy_of_two_axes_is_one_example_and_of_three_a_batch(void **state)
{
    struct skep_cmd_scores s;
    struct skep_cmd_why why;

    (void)state;
    assert_int_equal(parse(&s, load("f4.npy"), "3x3", &why), 0);
    assert_false(s.is_batch);
    assert_true(score(&s, 0, 1, 0) == 4);
    skep_cmd_scores_fini(&s, &skep_mem_std);
    assert_int_equal(parse(&s, load("f4_batch.npy"), "3x3", &why), 0);
    assert_true(s.is_batch);
    assert_int_equal(s.examples, 2);
    assert_true(score(&s, 1, 1, 2) == 11.5);
    skep_cmd_scores_fini(&s, &skep_mem_std);
    assert_int_equal(parse(&s, load("one_axis.npy"), "3", &why), 0);
    assert_true(isinf(score(&s, 0, 0, 1)));
    skep_cmd_scores_fini(&s, &skep_mem_std);
}

static void json_is_float64_and_knows_minus_infinity(void **state)
{
    struct skep_cmd_scores s;
    struct skep_cmd_why why;

    (void)state;
    assert_int_equal(parse(&s, skep_bytes_str("[[1, \"-inf\"], [0.5, 2e3, -7]]"), "2x3", &why), 0);
    assert_true(s.is_float64);
    assert_false(s.is_batch);
    assert_true(isinf(score(&s, 0, 0, 1)) && score(&s, 0, 0, 1) < 0);
    assert_true(score(&s, 0, 1, 1) == 2000);
    skep_cmd_scores_fini(&s, &skep_mem_std);
    assert_int_equal(parse(&s, skep_bytes_str(" [[[1, 2]], [[3, 4]], [[5, 6]]]"), "2", &why), 0);
    assert_true(s.is_batch);
    assert_int_equal(s.examples, 3);
    assert_true(score(&s, 2, 0, 1) == 6);
    skep_cmd_scores_fini(&s, &skep_mem_std);
}

static void wrong_scores_are_refused_by_name(void **state)
{
    static const struct {
        const char *text, *grid, *why; /* text: a file, or JSON */
    } cases[] = {
        {"f4.npy", "3x3x3", "2 rows of scores for a grid of 3 dimensions"},
        {"f4.npy", "3", "2 rows of scores for a grid of 1 dimension"},
        {"f4.npy", "3x4", "row 1 has 3 scores, the grid has 4 there"},
        {"nan.npy", "3x3", "example 0, row 1, index 1 is NaN"},
        {"inf.npy", "3x3", "example 0, row 1, index 2 is +infinity"},
        {"scalar.npy", "3x3", "it is a single number, not rows of scores"},
        {"rows.npz", "2", "2 rows of scores for a grid of 1 dimension"},
        {"rows.npz", "2x4", "row 1 has 3 scores, the grid has 4 there"},
        {"mixed.npz", "2x3", "array 'arr_1' is float64, the first is not"},
        {"int_row.npz", "2x3", "member 'arr_1': its dtype '<i8' is neither float32 nor float64"},
        {"[]", "2x3", "it is a batch of no examples"},
        {"{}", "2x3", "its JSON is no array of rows"},
        {"[[1, 2]]", "2x3", "1 row of scores for a grid of 2 dimensions"},
        {"[[1, 2], [1, 2]]", "2x3", "row 1 has 2 scores, the grid has 3 there"},
        {"[[1, 2], 3]", "2x3", "example 0, row 1 is no array of numbers"},
        {"[[1, 2], [1, \"inf\", 2]]", "2x3",
         "example 0, row 1, index 1 is neither a number nor \"-inf\""},
        {"[[1, 2], [1, null, 2]]", "2x3",
         "example 0, row 1, index 1 is neither a number nor \"-inf\""},
        {"[[[1], [2]], [[1]]]", "1x1", "1 row of scores for a grid of 2 dimensions"},
        {"[[[1], [2]], 3]", "1x1", "example 1 is no array of rows"},
        {"[[1, NaN]]", "2",
         "neither .npy, .npz nor JSON: line 1, column 8: invalid token near 'NaN'"},
        {"[[1, 1e999]]", "2",
         "neither .npy, .npz nor JSON: line 1, column 10: real number overflow near '1e999'"},
        {"", "2",
         "neither .npy, .npz nor JSON: line 1, column 0: '[' or '{' expected near end of file"},
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        bool is_file = strstr(cases[i].text, ".np") != NULL;
        struct skep_cmd_scores s;
        struct skep_cmd_why why;

        assert_int_equal(parse(&s, is_file ? load(cases[i].text) : skep_bytes_str(cases[i].text),
                               cases[i].grid, &why),
                         SKEP_EVALUE);
        assert_string_equal(why.text, cases[i].why);
        assert_null(s.data);
    }
}

static void a_changed_byte_of_an_archive_is_noticed(void **state)
{
    skep_bytes whole = load("rows_deflated.npz");
    size_t taken = 0;

    (void)state;
    for (size_t at = 0; at < whole.len; at++) {
        uint8_t *copy = malloc(whole.len);
        struct skep_cmd_why why;
        struct skep_cmd_scores s;

        assert_non_null(copy);
        memcpy(copy, whole.data, whole.len);
        copy[at] ^= 0x10;
        if (parse(&s, skep_bytes_of(copy, whole.len), "2x3", &why) == 0) {
            /* a date, a version, an unused field: the scores are as they were */
            assert_true(score(&s, 0, 0, 0) == 1 && score(&s, 0, 0, 1) == 2 &&
                        score(&s, 0, 1, 0) == 3 && score(&s, 0, 1, 1) == 4 &&
                        score(&s, 0, 1, 2) == 5);
            skep_cmd_scores_fini(&s, &skep_mem_std);
            taken++;
        }
        free(copy);
    }
    assert_true(taken < whole.len / 2);
}

static void a_length_that_deflate_cannot_reach_is_not_allocated(void **state)
{
    skep_bytes whole = load("rows_deflated.npz");
    uint8_t *copy = malloc(whole.len), *entry;
    struct test_mem mem;
    struct skep_cmd_why why;
    struct skep_npz npz;

    (void)state;
    assert_non_null(copy);
    memcpy(copy, whole.data, whole.len);
    entry = memmem(copy, whole.len, "PK\1\2", 4);
    assert_non_null(entry);
    entry[27] = 0x0f; /* the unpacked length in the central directory: 240 MiB and more */
    test_mem_init(&mem);
    assert_int_equal(skep_npz_parse(&npz, &mem.mem, skep_bytes_of(copy, whole.len), &why),
                     SKEP_EVALUE);
    assert_non_null(strstr(why.text, "are too many"));
    assert_int_equal(mem.live, 0);
    free(copy);
}

static int parse_with(const struct skep_mem *mem, void *user)
{
    const skep_bytes *file = user;
    struct skep_cmd_grid grid = {.dims = 2, .size = {2, 3}};
    struct skep_cmd_scores s;
    struct skep_cmd_why why;
    int rc = skep_cmd_scores_parse(&s, mem, *file, &grid, &why);

    skep_cmd_scores_fini(&s, mem);
    return rc;
}

static void no_failed_allocation_leaks_or_crashes(void **state)
{
    skep_bytes files[] = {load("rows_deflated.npz"), load("batch_deflated.npz"),
                          skep_bytes_str("[[1, 2], [3, 4, 5]]")};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(files); i++)
        test_each_allocation_fails(parse_with, &files[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_version_order_and_type_of_npy_reads_the_same),
        cmocka_unit_test(three_axes_in_fortran_order_read_as_in_c_order),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(npy_of_another_type_or_shape_is_refused_by_name),
        cmocka_unit_test(odd_headers_are_read_or_refused),
        cmocka_unit_test(npz_gives_a_row_for_each_dimension),
        cmocka_unit_test(npz_of_two_axes_is_a_batch),
        cmocka_unit_test(npy_of_two_axes_is_one_example_and_of_three_a_batch),
        cmocka_unit_test(json_is_float64_and_knows_minus_infinity),
        cmocka_unit_test(wrong_scores_are_refused_by_name),
        cmocka_unit_test(a_changed_byte_of_an_archive_is_noticed),
        cmocka_unit_test(a_length_that_deflate_cannot_reach_is_not_allocated),
        cmocka_unit_test(no_failed_allocation_leaks_or_crashes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
