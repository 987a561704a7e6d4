/* SPDX-License-Identifier: MIT */
#include "support/test.h"

#include <skep/tensor.h>

static void types_have_torchs_names_and_sizes(void **state)
{
    static const struct {
        skep_dtype dtype;
        const char *name;
        size_t size;
        bool floating;
    } expected[SKEP_DTYPES] = {
        {SKEP_FLOAT32, "float32", 4, true}, {SKEP_FLOAT64, "float64", 8, true},
        {SKEP_FLOAT16, "float16", 2, true}, {SKEP_BFLOAT16, "bfloat16", 2, true},
        {SKEP_INT64, "int64", 8, false},    {SKEP_INT32, "int32", 4, false},
        {SKEP_INT16, "int16", 2, false},    {SKEP_INT8, "int8", 1, false},
        {SKEP_UINT8, "uint8", 1, false},    {SKEP_BOOL, "bool", 1, false},
    };

    (void)state;
    for (size_t i = 0; i < SKEP_DTYPES; i++) {
        char prefixed[32];
        skep_dtype dtype = (skep_dtype)(SKEP_DTYPES - 1);

        assert_string_equal(skep_dtype_name(expected[i].dtype), expected[i].name);
        assert_int_equal(skep_dtype_size(expected[i].dtype), expected[i].size);
        assert_int_equal(skep_dtype_is_floating(expected[i].dtype), expected[i].floating);
        assert_int_equal(skep_dtype_from_name(&dtype, expected[i].name), 0);
        assert_int_equal(dtype, expected[i].dtype);
        snprintf(prefixed, sizeof prefixed, "torch.%s", expected[i].name);
        assert_int_equal(skep_dtype_from_name(&dtype, prefixed), 0);
        assert_int_equal(dtype, expected[i].dtype);
    }
}

static void what_is_no_type_has_no_name(void **state)
{
    static const char *const names[] = {
        "", "float", "float33", "torch.", "torch.int4", "torch.torch.int8", "Float32", "complex64"};
    static const int numbers[] = {-1, SKEP_DTYPES, 1000};
    skep_dtype dtype;

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(names); i++)
        assert_int_equal(skep_dtype_from_name(&dtype, names[i]), SKEP_EINVAL);
    assert_int_equal(skep_dtype_from_name(&dtype, NULL), SKEP_EINVAL);
    for (size_t i = 0; i < SKEP_COUNT_OF(numbers); i++) {
        assert_null(skep_dtype_name((skep_dtype)numbers[i]));
        assert_int_equal(skep_dtype_size((skep_dtype)numbers[i]), 0);
        assert_false(skep_dtype_is_floating((skep_dtype)numbers[i]));
    }
}

static void compressions_have_hiveminds_names_and_numbers(void **state)
{
    static const char *const names[SKEP_COMPRESSIONS] = {
        "NONE", "MEANSTD_16BIT", "FLOAT16", "QUANTILE_8BIT", "UNIFORM_8BIT", "BLOCKWISE_8BIT"};
    skep_compression compression;

    (void)state;
    for (size_t i = 0; i < SKEP_COMPRESSIONS; i++) {
        assert_string_equal(skep_compression_name((skep_compression)i), names[i]);
        assert_int_equal(skep_compression_from_name(&compression, names[i]), 0);
        assert_int_equal(compression, i);
    }
    assert_null(skep_compression_name((skep_compression)SKEP_COMPRESSIONS));
    assert_null(skep_compression_name((skep_compression)-1));
    assert_int_equal(skep_compression_from_name(&compression, "none"), SKEP_EINVAL);
    assert_int_equal(skep_compression_from_name(&compression, NULL), SKEP_EINVAL);
}

static void elements_are_multiplied_out_or_do_not_fit(void **state)
{
    const skep_tensor number = {.dtype = SKEP_FLOAT64};
    const skep_tensor matrix = {.dtype = SKEP_INT16, .axes = 2, .shape = {3, 5}};
    const skep_tensor empty = {.axes = 3, .shape = {SIZE_MAX, SIZE_MAX, 0}};
    const skep_tensor large = {.axes = 2, .shape = {SIZE_MAX, 2}};
    const skep_tensor bytes_large = {.dtype = SKEP_FLOAT32, .axes = 1, .shape = {SIZE_MAX / 2}};
    const skep_tensor many_axes = {.axes = SKEP_TENSOR_AXES_MAX + 1};

    (void)state;
    assert_int_equal(skep_tensor_elements(&number), 1);
    assert_int_equal(skep_tensor_bytes(&number), 8);
    assert_int_equal(skep_tensor_elements(&matrix), 15);
    assert_int_equal(skep_tensor_bytes(&matrix), 30);
    assert_int_equal(skep_tensor_elements(&empty), 0);
    assert_int_equal(skep_tensor_bytes(&empty), 0);
    assert_true(skep_tensor_elements(&large) == SIZE_MAX);
    assert_true(skep_tensor_bytes(&large) == SIZE_MAX);
    assert_true(skep_tensor_elements(&bytes_large) == SIZE_MAX / 2);
    assert_true(skep_tensor_bytes(&bytes_large) == SIZE_MAX);
    assert_true(skep_tensor_elements(&many_axes) == SIZE_MAX);
    assert_true(skep_tensor_bytes(&many_axes) == SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_have_torchs_names_and_sizes),
        cmocka_unit_test(what_is_no_type_has_no_name),
        cmocka_unit_test(compressions_have_hiveminds_names_and_numbers),
        cmocka_unit_test(elements_are_multiplied_out_or_do_not_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
