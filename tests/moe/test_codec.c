/* SPDX-License-Identifier: MIT */
/* Codecs of tensors against what hivemind 1.1.12 writes and reads: vectors/tensors.json. */
#include <math.h>

#include "moe/codec.h"
#include "support/test.h"

static skep_compression compression_of(const json_t *c)
{
    skep_compression compression = SKEP_COMPRESSION_NONE;

    if (json_object_get(c, "compression"))
        assert_int_equal(skep_compression_from_name(&compression, test_str(c, "compression")), 0);
    return compression;
}

static skep_tensor tensor_of(const json_t *c, const char *dtype, const char *shape, skep_bytes raw)
{
    const json_t *sizes = test_get(c, shape);
    skep_tensor tensor = {.axes = json_array_size(sizes), .data = raw.data};

    assert_int_equal(skep_dtype_from_name(&tensor.dtype, test_str(c, dtype)), 0);
    for (size_t i = 0; i < tensor.axes; i++)
        tensor.shape[i] = (size_t)json_integer_value(json_array_get(sizes, i));
    return tensor;
}

static double number(skep_dtype dtype, const void *data, size_t i)
{
    float f;

    if (dtype == SKEP_FLOAT64)
        return ((const double *)data)[i];
    skep_numbers_to_float(&f, dtype, (const uint8_t *)data + i * skep_dtype_size(dtype), 1);
    return (double)f;
}

static void expect_bytes(const char *what, skep_bytes got, skep_bytes want)
{
    if (!skep_bytes_equal(got, want)) {
        size_t i = 0;

        while (i < got.len && i < want.len && got.data[i] == want.data[i])
            i++;
        fail_msg("%s: byte %zu of %zu (%zu wanted): %02x, not %02x", what, i, got.len, want.len,
                 i < got.len ? got.data[i] : 0, i < want.len ? want.data[i] : 0);
    }
}

static void every_tensor_of_hivemind_is_written_as_hivemind_writes_it(void **state)
{
    const json_t *cases = test_get(test_vectors("tensors.json"), "cases");
    size_t index;
    json_t *c;

    (void)state;
    json_array_foreach(cases, index, c)
    {
        skep_compression compression = compression_of(c);
        const json_t *raises = json_object_get(c, "raises");
        skep_bytes raw = json_object_get(c, "input_raw") ? test_unhex(test_str(c, "input_raw"))
                                                         : (skep_bytes){NULL, 0};
        skep_tensor tensor = tensor_of(c, "dtype", "shape", raw);
        const char *why = NULL;
        uint8_t *out;
        size_t len;

        if (raises) {
            assert_int_equal(skep_codec_check(compression, &tensor, &why), SKEP_EINVAL);
            assert_non_null(why);
            continue;
        }
        assert_int_equal(skep_codec_check(compression, &tensor, &why), 0);
        len = skep_codec_encoded_len(compression, &tensor);
        out = malloc(len + 1);
        assert_non_null(out);
        assert_int_equal(skep_codec_encode(compression, &tensor, out, &skep_mem_std), 0);
        if (json_is_true(test_get(c, "fixed")))
            expect_bytes(test_str(c, "what"), skep_bytes_of(out, len),
                         test_unhex(test_str(c, "buffer")));
        free(out);
    }
}

static void every_tensor_of_hivemind_is_read_as_hivemind_reads_it(void **state)
{
    const json_t *cases = test_get(test_vectors("tensors.json"), "cases");
    size_t index;
    json_t *c;

    (void)state;
    json_array_foreach(cases, index, c)
    {
        skep_bytes buffer, want;
        skep_tensor tensor;
        const char *why;
        void *out;

        if (json_object_get(c, "raises"))
            continue;
        buffer = test_unhex(test_str(c, "buffer"));
        want = test_unhex(test_str(c, "decoded_raw"));
        tensor = tensor_of(c, "decoded_dtype", "shape", want);
        assert_int_equal(skep_tensor_bytes(&tensor), want.len);
        out = calloc(1, want.len + 1);
        assert_non_null(out);
        assert_int_equal(skep_codec_decode(compression_of(c), buffer, &tensor, out, &why), 0);
        for (size_t i = 0; i < skep_tensor_elements(&tensor); i++) {
            double got = number(tensor.dtype, out, i), wanted = number(tensor.dtype, want.data, i);

            if (!(got == wanted || (isnan(got) && isnan(wanted))))
                fail_msg("%s, %s: number %zu is %.9g, not %.9g", test_str(c, "what"),
                         test_str(c, "compression"), i, got, wanted);
        }
        free(out);
    }
}

static void buffers_of_another_length_are_refused(void **state)
{
    static const skep_dtype types[] = {SKEP_FLOAT32, SKEP_FLOAT64};
    float numbers[200];

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(numbers); i++)
        numbers[i] = (float)i - 50;
    for (int c = 0; c < SKEP_COMPRESSIONS; c++) {
        for (size_t t = 0; t < SKEP_COUNT_OF(types); t++) {
            skep_tensor tensor = {.dtype = types[t], .axes = 2, .shape = {5, 20}, .data = numbers};
            size_t len = skep_codec_encoded_len((skep_compression)c, &tensor);
            uint8_t *buffer = calloc(1, len + 9), *out = malloc(skep_tensor_bytes(&tensor));
            const char *why = NULL;

            assert_int_equal(skep_codec_encode((skep_compression)c, &tensor, buffer, &skep_mem_std),
                             0);
            for (size_t cut = 0; cut < len + 9; cut++) {
                int rc = skep_codec_decode((skep_compression)c, skep_bytes_of(buffer, cut), &tensor,
                                           out, &why);

                assert_int_equal(rc, cut == len ? 0 : SKEP_EPEER_PROTO);
                if (cut != len)
                    assert_non_null(why);
            }
            free(buffer);
            free(out);
        }
    }
}

static void an_index_outside_of_the_codebook_is_refused(void **state)
{
    uint8_t buffer[8 + 3 * 4 + 4] = {3}, out[16];
    skep_tensor tensor = {.dtype = SKEP_FLOAT32, .axes = 1, .shape = {4}};
    const char *why = NULL;

    (void)state;
    assert_int_equal(skep_codec_decode(SKEP_COMPRESSION_UNIFORM_8BIT,
                                       skep_bytes_of(buffer, sizeof buffer), &tensor, out, &why),
                     0);
    buffer[sizeof buffer - 1] = 3;
    assert_int_equal(skep_codec_decode(SKEP_COMPRESSION_UNIFORM_8BIT,
                                       skep_bytes_of(buffer, sizeof buffer), &tensor, out, &why),
                     SKEP_EPEER_PROTO);
    assert_string_equal(why, "an index is outside the codebook");
}

static void numbers_that_are_not_finite_are_seen_in_every_type(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static const skep_dtype types[] = {SKEP_FLOAT32, SKEP_FLOAT64, SKEP_FLOAT16, SKEP_BFLOAT16};

    (void)state;
    for (size_t t = 0; t < SKEP_COUNT_OF(types); t++) {
        for (size_t b = 0; b < SKEP_COUNT_OF(bad); b++) {
            uint64_t storage[100] = {0};
            size_t size = skep_dtype_size(types[t]);
            skep_tensor tensor = {.dtype = types[t], .axes = 1, .shape = {100}, .data = storage};

            assert_true(skep_tensor_finite(&tensor));
            skep_numbers_from_float(types[t], (uint8_t *)storage + 67 * size, &bad[b], 1);
            assert_false(skep_tensor_finite(&tensor));
        }
    }
}

/* Large tensors: the error is the codec's own, as hivemind's documentation and the vectors have it. */
static void large_tensors_come_back_within_the_error_of_their_codec(void **state)
{
    static const double worst[SKEP_COMPRESSIONS] = {0, 0.002, 0.002, 0.9, 0.9, 0.06};
    enum { N = 250000 };
    float *numbers = malloc(N * sizeof *numbers), *back = malloc(N * sizeof *back);
    struct skep_prng prng;

    (void)state;
    skep_prng_init(&prng, 1);
    for (size_t i = 0; i < N; i++)
        numbers[i] = (float)(skep_prng_unit(&prng) + skep_prng_unit(&prng) + skep_prng_unit(&prng) -
                             skep_prng_unit(&prng));
    for (int c = 0; c < SKEP_COMPRESSIONS; c++) {
        skep_tensor tensor = {
            .dtype = SKEP_FLOAT32, .axes = 2, .shape = {N / 100, 100}, .data = numbers};
        size_t len = skep_codec_encoded_len((skep_compression)c, &tensor);
        uint8_t *buffer = malloc(len);
        double sum = 0;
        const char *why;

        assert_int_equal(skep_codec_encode((skep_compression)c, &tensor, buffer, &skep_mem_std), 0);
        assert_int_equal(
            skep_codec_decode((skep_compression)c, skep_bytes_of(buffer, len), &tensor, back, &why),
            0);
        for (size_t i = 0; i < N; i++) {
            double error = fabs((double)numbers[i] - (double)back[i]);

            sum += error;
            if (error > worst[c])
                fail_msg("%s: %g became %g", skep_compression_name((skep_compression)c),
                         (double)numbers[i], (double)back[i]);
        }
        assert_true(sum / N < 0.02);
        free(buffer);
    }
    free(numbers);
    free(back);
}

static int encode_all(const struct skep_mem *mem, void *user)
{
    skep_tensor tensor = *(const skep_tensor *)user;
    uint8_t *out = malloc(8192);
    int rc = 0;

    for (int c = 0; rc == 0 && c < SKEP_COMPRESSIONS; c++)
        rc = skep_codec_encode((skep_compression)c, &tensor, out, mem);
    free(out);
    return rc;
}

static void encoding_reports_that_memory_ran_out(void **state)
{
    double numbers[64] = {1, 2, 3};
    skep_tensor tensor = {.dtype = SKEP_FLOAT64, .axes = 2, .shape = {8, 8}, .data = numbers};

    (void)state;
    test_each_allocation_fails(encode_all, &tensor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tensor_of_hivemind_is_written_as_hivemind_writes_it),
        cmocka_unit_test(every_tensor_of_hivemind_is_read_as_hivemind_reads_it),
        cmocka_unit_test(buffers_of_another_length_are_refused),
        cmocka_unit_test(an_index_outside_of_the_codebook_is_refused),
        cmocka_unit_test(numbers_that_are_not_finite_are_seen_in_every_type),
        cmocka_unit_test(large_tensors_come_back_within_the_error_of_their_codec),
        cmocka_unit_test(encoding_reports_that_memory_ran_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
