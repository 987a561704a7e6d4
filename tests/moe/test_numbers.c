/* SPDX-License-Identifier: MIT */
/* Numbers from one type to another, against what the types are by definition; and those that are not finite. */
#include "support/test.h"

#include <math.h>

#include "moe/codec.h"

/* By its definition: the nearest of all halves, the even one of two. */
static uint16_t half_by_definition(float v)
{
    uint16_t sign = signbit(v) ? 0x8000 : 0;
    double size = fabs((double)v), step;
    int exponent;

    if (isnan(v))
        return sign | 0x7e00;
    frexp(size, &exponent);
    step = ldexp(1, SKEP_MAX(exponent, -13) - 11);
    size = rint(size / step) * step; /* in the default mode: ties to even */
    if (size >= 65536)
        return sign | 0x7c00;
    if (size < 0x1p-14)
        return (uint16_t)(sign | (int)(size * 0x1p24));
    frexp(size, &exponent);
    return (uint16_t)(sign | ((exponent + 14) << 10) | ((int)ldexp(size, 11 - exponent) & 0x3ff));
}

static void every_half_goes_to_float_and_back(void **state)
{
    (void)state;
    for (uint32_t i = 0; i <= UINT16_MAX; i++) {
        uint16_t half = (uint16_t)i, back;
        float v;
        bool nan = (half & 0x7fff) > 0x7c00;

        skep_numbers_to_float(&v, SKEP_FLOAT16, &half, 1);
        assert_int_equal(isnan(v), nan);
        if (!nan && (half & 0x7fff) < 0x7c00)
            assert_true((double)fabsf(v) == ((half & 0x7c00) == 0 ? (half & 0x3ff) * 0x1p-24
                                                                  : ldexp(1024 + (half & 0x3ff),
                                                                          (half >> 10 & 31) - 25)));
        assert_int_equal(signbit(v) != 0, half >> 15);
        skep_numbers_from_float(SKEP_FLOAT16, &back, &v, 1);
        assert_int_equal(back, nan ? (half & 0x8000) | 0x7e00 : half);
    }
}

static void floats_are_rounded_to_the_nearest_half_and_bfloat16(void **state)
{
    struct skep_prng prng;

    (void)state;
    skep_prng_init(&prng, 1);
    for (size_t i = 0; i < 200000; i++) {
        uint32_t bits = (uint32_t)skep_prng_u64(&prng), rest;
        uint16_t half, bfloat;
        float v;

        if (i % 2) /* where halves are, and half-way between two of them */
            bits = (bits & 0x87ffffff) | 0x30000000;
        if (i % 8 == 1)
            bits = (bits & ~0x1fffu) | 0x1000;
        if (i % 8 == 2)
            bits = (bits & ~0xffffu) | 0x8000;
        memcpy(&v, &bits, sizeof v);
        skep_numbers_from_float(SKEP_FLOAT16, &half, &v, 1);
        assert_int_equal(half, half_by_definition(v));
        skep_numbers_from_float(SKEP_BFLOAT16, &bfloat, &v, 1);
        rest = bits & 0xffff;
        bits >>= 16;
        if (rest > 0x8000 || (rest == 0x8000 && (bits & 1)))
            bits++;
        assert_int_equal(bfloat, isnan(v) ? 0x7fc0 : bits);
    }
}

static void integers_are_cut_toward_zero_and_at_their_bounds(void **state)
{
    static const float in[] = {1.9f, -1.9f, 3e38f, -3e38f, INFINITY, -INFINITY, NAN, 0, 200};
    int64_t i64[9], i64_expected[] = {1, -1, INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN, 0, 0, 200};
    int32_t i32[9], i32_expected[] = {1, -1, INT32_MAX, INT32_MIN, INT32_MAX, INT32_MIN, 0, 0, 200};
    int16_t i16[9], i16_expected[] = {1, -1, INT16_MAX, INT16_MIN, INT16_MAX, INT16_MIN, 0, 0, 200};
    int8_t i8[9], i8_expected[] = {1, -1, 127, -128, 127, -128, 0, 0, 127};
    uint8_t u8[9], u8_expected[] = {1, 0, 255, 0, 255, 0, 0, 0, 200};
    uint8_t bools[9], bools_expected[] = {1, 1, 1, 1, 1, 1, 1, 0, 1};
    float back[9];

    (void)state;
    skep_numbers_from_float(SKEP_INT64, i64, in, 9);
    assert_memory_equal(i64, i64_expected, sizeof i64);
    skep_numbers_from_float(SKEP_INT32, i32, in, 9);
    assert_memory_equal(i32, i32_expected, sizeof i32);
    skep_numbers_from_float(SKEP_INT16, i16, in, 9);
    assert_memory_equal(i16, i16_expected, sizeof i16);
    skep_numbers_from_float(SKEP_INT8, i8, in, 9);
    assert_memory_equal(i8, i8_expected, sizeof i8);
    skep_numbers_from_float(SKEP_UINT8, u8, in, 9);
    assert_memory_equal(u8, u8_expected, sizeof u8);
    skep_numbers_from_float(SKEP_BOOL, bools, in, 9);
    assert_memory_equal(bools, bools_expected, sizeof bools);
    skep_numbers_to_float(back, SKEP_INT8, i8, 9);
    assert_true(back[3] == -128);
    skep_numbers_to_float(back, SKEP_INT64, i64, 9);
    assert_true(back[2] == 0x1p63f);
}

static void one_number_that_is_not_finite_is_found_wherever_it_is(void **state)
{
    static const skep_dtype dtypes[] = {SKEP_FLOAT32, SKEP_FLOAT64, SKEP_FLOAT16, SKEP_BFLOAT16};
    static const float bad[] = {INFINITY, -INFINITY, NAN};
    enum { N = 71 };

    (void)state;
    for (size_t d = 0; d < SKEP_COUNT_OF(dtypes); d++) {
        uint8_t *numbers = malloc(N * skep_dtype_size(dtypes[d]));
        const skep_tensor tensor = {.dtype = dtypes[d], .axes = 1, .shape = {N}, .data = numbers};
        float in[N];

        assert_non_null(numbers);
        for (size_t i = 0; i <= N; i++) {
            for (size_t n = 0; n < N; n++)
                in[n] = n % 2 ? 65504.0f : -1e-8f;
            if (i < N)
                in[i] = bad[i % 3];
            skep_numbers_from_float(dtypes[d], numbers, in, N);
            assert_int_equal(skep_tensor_finite(&tensor), i == N);
        }
        free(numbers);
    }
    {
        const int64_t all_ones = -1;
        const skep_tensor integer = {.dtype = SKEP_INT64, .axes = 0, .data = &all_ones};
        const skep_tensor empty = {.dtype = SKEP_FLOAT32, .axes = 1};

        assert_true(skep_tensor_finite(&integer));
        assert_true(skep_tensor_finite(&empty));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_goes_to_float_and_back),
        cmocka_unit_test(floats_are_rounded_to_the_nearest_half_and_bfloat16),
        cmocka_unit_test(integers_are_cut_toward_zero_and_at_their_bounds),
        cmocka_unit_test(one_number_that_is_not_finite_is_found_wherever_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
