/* SPDX-License-Identifier: MIT */
/* Tensors from and into numpy's files. The files in data/ were written by numpy 1.26.4, but for tensor_bad_bool.npy. */
#include "cmd/npy_tensor.h"

#include <unistd.h>

#include "cmd/npy_write.h"
#include "support/test.h"

static struct skep_cmd_why why;

static skep_bytes load(const char *name)
{
    static uint8_t kept[8][4096];
    static size_t next;
    uint8_t *to = kept[next++ % 8];
    char path[128];
    FILE *file;
    size_t len;

    snprintf(path, sizeof path, "tests/cmd/data/%s", name);
    file = fopen(path, "rb");
    assert_non_null(file);
    len = fread(to, 1, sizeof kept[0], file);
    fclose(file);
    return skep_bytes_of(to, len);
}

static struct skep_npy_tensors parse(const char *name)
{
    struct skep_npy_tensors out;

    if (skep_npy_tensors_parse(&out, &skep_mem_std, load(name), &why) < 0)
        fail_msg("%s: %s", name, why.text);
    return out;
}

static double item(const skep_tensor *t, size_t i)
{
    switch (t->dtype) {
    case SKEP_FLOAT32: return (double)((const float *)t->data)[i];
    case SKEP_FLOAT64: return ((const double *)t->data)[i];
    case SKEP_INT64: return (double)((const int64_t *)t->data)[i];
    case SKEP_INT32: return ((const int32_t *)t->data)[i];
    case SKEP_INT16: return ((const int16_t *)t->data)[i];
    case SKEP_INT8: return ((const int8_t *)t->data)[i];
    case SKEP_UINT8:
    case SKEP_BOOL: return ((const uint8_t *)t->data)[i];
    case SKEP_FLOAT16:
    case SKEP_BFLOAT16: break;
    }
    fail();
    return 0;
}

static void every_type_that_experts_take_is_read(void **state)
{
    static const struct {
        const char *file;
        skep_dtype dtype;
        double sign;
    } cases[] = {{"tensor_f4.npy", SKEP_FLOAT32, -1}, {"tensor_f8.npy", SKEP_FLOAT64, -1},
                 {"tensor_i8.npy", SKEP_INT64, -1},   {"tensor_i4.npy", SKEP_INT32, -1},
                 {"tensor_i2.npy", SKEP_INT16, -1},   {"tensor_i1.npy", SKEP_INT8, -1},
                 {"tensor_u1.npy", SKEP_UINT8, 1}};
    static const uint8_t bools[] = {0, 1, 1, 1, 0, 1};
    static const uint16_t halves[] = {0, 0xbc00, 0xc000, 0xc200, 0xc400, 0xc500};
    struct skep_npy_tensors out;

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        out = parse(cases[i].file);
        assert_false(out.is_npz);
        assert_int_equal(out.count, 1);
        assert_int_equal(out.tensors[0].tensor.dtype, cases[i].dtype);
        assert_int_equal(out.tensors[0].tensor.axes, 2);
        assert_int_equal(out.tensors[0].tensor.shape[0], 2);
        assert_int_equal(out.tensors[0].tensor.shape[1], 3);
        for (size_t k = 0; k < 6; k++)
            assert_true(item(&out.tensors[0].tensor, k) == (double)k * cases[i].sign);
        skep_npy_tensors_fini(&out, &skep_mem_std);
    }
    out = parse("tensor_b1.npy");
    assert_int_equal(out.tensors[0].tensor.dtype, SKEP_BOOL);
    assert_memory_equal(out.tensors[0].tensor.data, bools, sizeof bools);
    skep_npy_tensors_fini(&out, &skep_mem_std);
    out = parse("tensor_f2.npy");
    assert_int_equal(out.tensors[0].tensor.dtype, SKEP_FLOAT16);
    assert_memory_equal(out.tensors[0].tensor.data, halves, sizeof halves);
    skep_npy_tensors_fini(&out, &skep_mem_std);
}

static void both_orders_of_axes_and_of_bytes_are_read(void **state)
{
    struct skep_npy_tensors out = parse("tensor_big_fortran.npy");
    const skep_tensor *t = &out.tensors[0].tensor;

    (void)state;
    assert_int_equal(t->dtype, SKEP_INT16);
    assert_int_equal(t->axes, 3);
    assert_int_equal(t->shape[2], 4);
    for (size_t k = 0; k < 24; k++)
        assert_true(item(t, k) == (double)k);
    skep_npy_tensors_fini(&out, &skep_mem_std);
    out = parse("tensor_eight_axes.npy");
    t = &out.tensors[0].tensor;
    assert_int_equal(t->axes, 8);
    assert_int_equal(t->shape[4], 3);
    for (size_t k = 0; k < 6; k++)
        assert_true(item(t, k) == (double)k);
    skep_npy_tensors_fini(&out, &skep_mem_std);
}

static void scalars_and_empty_tensors_are_read(void **state)
{
    struct skep_npy_tensors out = parse("tensor_scalar.npy");

    (void)state;
    assert_int_equal(out.tensors[0].tensor.axes, 0);
    assert_true(item(&out.tensors[0].tensor, 0) == 2.5);
    skep_npy_tensors_fini(&out, &skep_mem_std);
    out = parse("tensor_empty.npy");
    assert_int_equal(out.tensors[0].tensor.shape[0], 0);
    assert_int_equal(out.tensors[0].tensor.shape[1], 5);
    skep_npy_tensors_fini(&out, &skep_mem_std);
}

static void an_npz_gives_its_tensors_by_name_and_order(void **state)
{
    struct skep_npy_tensors out = parse("tensors.npz");

    (void)state;
    assert_true(out.is_npz);
    assert_int_equal(out.count, 2);
    assert_string_equal(out.tensors[0].name, "mask"); /* numpy puts those with a name first */
    assert_int_equal(out.tensors[0].tensor.dtype, SKEP_BOOL);
    assert_string_equal(out.tensors[1].name, "arr_0");
    assert_true(item(&out.tensors[1].tensor, 3) == 3);
    skep_npy_tensors_fini(&out, &skep_mem_std);
}

static void what_experts_do_not_take_is_refused_by_name(void **state)
{
#define NONE " is none that experts take (float16 to 64, int8 to 64, uint8, bool)"
    static const struct {
        const char *file, *why;
    } cases[] = {{"tensor_u2.npy", "its dtype '<u2'" NONE},
                 {"tensor_c8.npy", "its dtype '<c8'" NONE},
                 {"tensor_text.npy", "its dtype '<U2'" NONE},
                 {"structured.npy", "its dtype is a structure, not numbers"},
                 {"tensor_nine_axes.npy", "it has more than 8 axes"},
                 {"tensor_bad_bool.npy", "one of its bools is neither 0 nor 1"}};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_npy_tensors out;

        assert_int_equal(skep_npy_tensors_parse(&out, &skep_mem_std, load(cases[i].file), &why),
                         SKEP_EVALUE);
        assert_string_equal(why.text, cases[i].why);
        assert_null(out.tensors);
    }
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    static const char *const names[] = {"tensor_big_fortran.npy", "tensor_scalar.npy",
                                        "tensors.npz"};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(names); i++) {
        skep_bytes whole = load(names[i]);

        for (size_t len = 0; len < whole.len; len++) {
            uint8_t *copy = malloc(len + 1);
            struct skep_npy_tensors out;

            assert_non_null(copy);
            memcpy(copy, whole.data, len);
            why.text[0] = '\0';
            assert_int_equal(
                skep_npy_tensors_parse(&out, &skep_mem_std, skep_bytes_of(copy, len), &why),
                SKEP_EVALUE);
            assert_true(strlen(why.text) > 0);
            free(copy);
        }
    }
}

/* ---- writing ---- */

static skep_bytes written(const skep_tensor *tensor)
{
    static char bytes[40000];
    FILE *file = fmemopen(bytes, sizeof bytes, "wb");
    long len;

    assert_non_null(file);
    assert_int_equal(skep_npy_write(file, tensor, &why), 0);
    len = ftell(file);
    assert_int_equal(fclose(file), 0);
    return skep_bytes_of(bytes, (size_t)len);
}

static void what_is_written_is_what_numpy_writes(void **state)
{
    static const char *const names[] = {
        "tensor_f4.npy", "tensor_f8.npy",     "tensor_f2.npy",    "tensor_i8.npy",
        "tensor_i4.npy", "tensor_i2.npy",     "tensor_i1.npy",    "tensor_u1.npy",
        "tensor_b1.npy", "tensor_scalar.npy", "tensor_empty.npy", "tensor_one_axis.npy"};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(names); i++) {
        struct skep_npy_tensors out = parse(names[i]);

        if (!skep_bytes_equal(written(&out.tensors[0].tensor), load(names[i])))
            fail_msg("%s", names[i]);
        skep_npy_tensors_fini(&out, &skep_mem_std);
    }
}

static void bfloat16_is_written_as_float32(void **state)
{
    static uint16_t halves[9000];
    const skep_tensor tensor = {
        .dtype = SKEP_BFLOAT16, .axes = 1, .shape = {SKEP_COUNT_OF(halves)}, .data = halves};
    struct skep_npy_tensors out;

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(halves); i++)
        halves[i] = (uint16_t)(0x3f80 + i);
    halves[8999] = 0xff80;
    assert_int_equal(skep_npy_tensors_parse(&out, &skep_mem_std, written(&tensor), &why), 0);
    assert_int_equal(out.tensors[0].tensor.dtype, SKEP_FLOAT32);
    assert_true(item(&out.tensors[0].tensor, 0) == 1);
    assert_true(item(&out.tensors[0].tensor, 1) == 1.0078125);
    for (size_t i = 0; i < SKEP_COUNT_OF(halves); i++) {
        uint32_t bits;

        memcpy(&bits, (const float *)out.tensors[0].tensor.data + i, sizeof bits);
        assert_int_equal(bits, (uint32_t)halves[i] << 16);
    }
    skep_npy_tensors_fini(&out, &skep_mem_std);
}

static void the_longest_header_is_written(void **state)
{
    const skep_tensor tensor = {
        .dtype = SKEP_FLOAT64,
        .axes = 8,
        .shape = {SIZE_MAX, 0, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX}};

    (void)state;
    assert_int_equal(written(&tensor).len % 64, 0);
}

static void a_file_that_cannot_be_written_is_an_error(void **state)
{
    static const float number = 7;
    const skep_tensor tensor = {.data = &number};
    char path[] = "/tmp/skep-npy-XXXXXX";

    (void)state;
    assert_int_equal(close(mkstemp(path)), 0);
    assert_int_equal(skep_npy_save(path, &tensor, &why), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(skep_npy_save("/nowhere/to/be.npy", &tensor, &why), SKEP_EIO);
    assert_string_equal(why.text, "No such file or directory");
    if (access("/dev/full", W_OK) == 0) {
        assert_int_equal(skep_npy_save("/dev/full", &tensor, &why), SKEP_EIO);
        assert_string_equal(why.text, "No space left on device");
    }
}

static int parse_with(const struct skep_mem *mem, void *user)
{
    struct skep_npy_tensors out;
    int rc = skep_npy_tensors_parse(&out, mem, *(const skep_bytes *)user, &why);

    skep_npy_tensors_fini(&out, mem);
    return rc;
}

static void no_failed_allocation_leaks_or_crashes(void **state)
{
    skep_bytes npy = load("tensor_f4.npy"), npz = load("tensors.npz");

    (void)state;
    test_each_allocation_fails(parse_with, &npy);
    test_each_allocation_fails(parse_with, &npz);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_that_experts_take_is_read),
        cmocka_unit_test(both_orders_of_axes_and_of_bytes_are_read),
        cmocka_unit_test(scalars_and_empty_tensors_are_read),
        cmocka_unit_test(an_npz_gives_its_tensors_by_name_and_order),
        cmocka_unit_test(what_experts_do_not_take_is_refused_by_name),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(what_is_written_is_what_numpy_writes),
        cmocka_unit_test(bfloat16_is_written_as_float32),
        cmocka_unit_test(the_longest_header_is_written),
        cmocka_unit_test(a_file_that_cannot_be_written_is_an_error),
        cmocka_unit_test(no_failed_allocation_leaks_or_crashes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
