/* SPDX-License-Identifier: MIT */
/* The bytes of tensors: hivemind's own (vectors/tensors.json) both ways, and every length that does not agree. */
#include "support/test.h"

#include <math.h>

#include "moe/codec.h"
#include "tensor_vectors.h"

static const char *label(const json_t *vector)
{
    static char text[256];

    snprintf(text, sizeof text, "%s, %s, %s", test_str(vector, "what"),
             test_str(vector, "compression"), test_str(vector, "dtype"));
    return text;
}

static bool raises(const json_t *vector)
{
    return json_object_get(vector, "raises") != NULL;
}

static void hivemind_s_bytes_are_written(void **state)
{
    json_t *cases = test_get(test_vectors("tensors.json"), "cases"), *vector;
    size_t i;

    (void)state;
    json_array_foreach(cases, i, vector)
    {
        skep_tensor tensor = test_tensor(vector);
        skep_compression compression = test_compression(vector);
        const char *why = NULL;
        skep_bytes expected;
        uint8_t *got;

        if (raises(vector)) {
            assert_int_equal(skep_codec_check(compression, &tensor, &why), SKEP_EINVAL);
            assert_non_null(why);
            continue;
        }
        if (skep_codec_check(compression, &tensor, &why) < 0)
            fail_msg("%s: %s", label(vector), why);
        expected = test_unhex(test_str(vector, "buffer"));
        if (skep_codec_encoded_len(compression, &tensor) != expected.len)
            fail_msg("%s: a length of %zu", label(vector),
                     skep_codec_encoded_len(compression, &tensor));
        got = malloc(expected.len + 1);
        assert_non_null(got);
        assert_int_equal(skep_codec_encode(compression, &tensor, got, &skep_mem_std), 0);
        if (memcmp(got, expected.data, expected.len) != 0)
            fail_msg("%s:\n%.4000s\nis not\n%.4000s", label(vector), test_hex(got, expected.len),
                     test_hex(expected.data, expected.len));
        free(got);
    }
}

static void hivemind_s_bytes_are_read(void **state)
{
    json_t *cases = test_get(test_vectors("tensors.json"), "cases"), *vector;
    size_t i;

    (void)state;
    json_array_foreach(cases, i, vector)
    {
        skep_tensor tensor = test_tensor(vector);
        skep_compression compression = test_compression(vector);
        skep_bytes expected, buffer;
        const char *why;
        uint8_t *got;

        if (raises(vector))
            continue;
        expected = test_unhex(test_str(vector, "decoded_raw"));
        buffer = test_unhex(test_str(vector, "buffer"));
        assert_int_equal(expected.len, skep_tensor_bytes(&tensor));
        got = malloc(expected.len + 1);
        assert_non_null(got);
        if (skep_codec_decode(compression, buffer, &tensor, got, &why) < 0)
            fail_msg("%s: %s", label(vector), why);
        if (memcmp(got, expected.data, expected.len) != 0)
            fail_msg("%s:\n%.4000s\nis not\n%.4000s", label(vector), test_hex(got, expected.len),
                     test_hex(expected.data, expected.len));
        free(got);
    }
}

/* ---- there and back ---- */

/* What becomes of numbers that travel so; to be freed. `buffer` gets a copy of what travelled, if wanted. */
static float *there_and_back(skep_compression compression, const skep_tensor *tensor,
                             uint8_t **buffer)
{
    size_t len = skep_codec_encoded_len(compression, tensor);
    uint8_t *packed = malloc(len + 1);
    float *out = malloc(skep_tensor_bytes(tensor) + 1);
    const char *why = "";

    assert_non_null(packed);
    assert_non_null(out);
    assert_int_equal(skep_codec_check(compression, tensor, &why), 0);
    assert_int_equal(skep_codec_encode(compression, tensor, packed, &skep_mem_std), 0);
    if (skep_codec_decode(compression, skep_bytes_of(packed, len), tensor, out, &why) < 0)
        fail_msg("%s", why);
    if (buffer)
        *buffer = packed;
    else
        free(packed);
    return out;
}

enum shape_of_numbers { NORMAL, ONE_VALUE, TWO_VALUES, CLOSE, WIDE, TINY, SHAPES };

static float draw(struct skep_prng *prng, enum shape_of_numbers shape)
{
    double normal = 0;

    for (int i = 0; i < 12; i++)
        normal += skep_prng_unit(prng) - 0.5;
    switch (shape) {
    case NORMAL: return (float)normal;
    case ONE_VALUE: return 7;
    case TWO_VALUES: return skep_prng_below(prng, 2) ? 1.0f : -0.0f;
    case CLOSE: return 1 + (float)skep_prng_below(prng, 300) * 0x1p-23f;
    case WIDE: return (float)(normal * exp(normal * 10));
    case TINY: return (float)(normal * 1e-41);
    default: return 0;
    }
}

static float *draw_many(uint64_t seed, enum shape_of_numbers shape, size_t n)
{
    struct skep_prng prng;
    float *numbers = malloc(n * sizeof *numbers);

    assert_non_null(numbers);
    skep_prng_init(&prng, seed);
    for (size_t i = 0; i < n; i++)
        numbers[i] = draw(&prng, shape);
    return numbers;
}

static void halves_lose_eleven_bits_and_rows_less(void **state)
{
    float *numbers = draw_many(2, NORMAL, 6 * 1001), *got;
    const skep_tensor tensor = {.axes = 2, .shape = {6, 1001}, .data = numbers};

    (void)state;
    for (size_t i = 0; i < 6 * 1001; i++)
        numbers[i] = numbers[i] * 3 + 100.0f * (float)(i / 1001);
    got = there_and_back(SKEP_COMPRESSION_FLOAT16, &tensor, NULL);
    for (size_t i = 0; i < 6 * 1001; i++)
        assert_true(fabsf(got[i] - numbers[i]) <= SKEP_MAX(fabsf(numbers[i]) * 0x1p-11f, 0x1p-25f));
    free(got);
    got = there_and_back(SKEP_COMPRESSION_MEANSTD_16BIT, &tensor, NULL);
    for (size_t i = 0; i < 6 * 1001; i++) /* of 3.5 deviations, and what float32 itself loses */
        assert_true(fabsf(got[i] - numbers[i]) <= 3 * 3.5f * 0x1p-11f + 500 * 0x1p-22f);
    free(got);
    free(numbers);
}

static void uniform_buckets_are_as_wide_as_they_should_be(void **state)
{
    enum { N = 5000 };

    (void)state;
    for (int shape = 0; shape < SHAPES; shape++) {
        float *numbers = draw_many(3, (enum shape_of_numbers)shape, N), *got;
        const skep_tensor tensor = {.axes = 1, .shape = {N}, .data = numbers};
        double mean = 0, square = 0, std;
        uint8_t *buffer;

        for (size_t i = 0; i < N; i++)
            mean += (double)numbers[i] / N;
        for (size_t i = 0; i < N; i++)
            square += ((double)numbers[i] - mean) * ((double)numbers[i] - mean);
        std = sqrt(square / (N - 1));
        got = there_and_back(SKEP_COMPRESSION_UNIFORM_8BIT, &tensor, &buffer);
        for (size_t i = 0; i < N; i++) {
            double at = ((double)numbers[i] - mean) / (6 * std / 256);
            int index = buffer[8 + 1024 + i];

            if (shape == ONE_VALUE || shape == TINY ||
                shape == CLOSE) /* as narrow as float32 itself */
                continue;
            if (at > -127 && at < 126) { /* in its bucket, or beside it when near a border */
                assert_true(fabs(at + 128 - index) < 0.5 + 0.01);
                assert_true(fabs((double)(got[i] - numbers[i])) <=
                            1.02 * 6 * std / 256 + fabs((double)numbers[i]) * 0x1p-18);
            } else {
                assert_true(index < 2 || index > 253);
            }
        }
        if (shape == ONE_VALUE)
            assert_true(got[0] == 7 && buffer[8 + 1024] == 0);
        free(buffer);
        free(got);
        free(numbers);
    }
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* numpy.quantile, "linear", as it is written there. */
static float numpy_quantile(const float *sorted, size_t n, float q)
{
    float at = q * (float)(n - 1), below = floorf(at);
    size_t i = at >= (float)(n - 1) ? n - 1 : (size_t)below;
    size_t next = at >= (float)(n - 1) ? n - 1 : i + 1;
    double t = i == n - 1 ? 0 : (double)(at - below);
    float diff = sorted[next] - sorted[i];

    return t >= 0.5 ? sorted[next] - (float)((double)diff * (1 - t))
                    : (float)((double)sorted[i] + (double)diff * t);
}

/* The 255 inner borders, from chunks of their own quantiles. */
static void borders_of(float *borders, const float *numbers, size_t n)
{
    size_t leftover = n % 100000, chunks = n / 100000, chunk = 100000, count = 0;
    float *sorted = malloc(n * sizeof *sorted), *all;

    if (n > 100000)
        chunk += leftover > 0 ? (leftover - 1) / chunks + 1 : 0;
    all = malloc((n / chunk + 1) * 257 * sizeof *all);
    assert_true(sorted && all);
    memcpy(sorted, numbers, n * sizeof *sorted);
    for (size_t at = 0; at < n; at += chunk) {
        size_t len = SKEP_MIN(chunk, n - at);

        qsort(sorted + at, len, sizeof *sorted, ascending);
        for (size_t k = 0; k <= 256; k++)
            all[count++] = numpy_quantile(sorted + at, len, (float)k / 256);
    }
    qsort(all, count, sizeof *all, ascending);
    for (size_t k = 1; k < 256; k++)
        borders[k - 1] = numpy_quantile(all, count, (float)k / 256);
    free(all);
    free(sorted);
}

static void check_quantiles(const float *numbers, size_t n)
{
    const skep_tensor tensor = {.axes = 1, .shape = {n}, .data = numbers};
    float borders[255], *got;
    uint8_t *buffer;

    got = there_and_back(SKEP_COMPRESSION_QUANTILE_8BIT, &tensor, &buffer);
    borders_of(borders, numbers, n);
    for (size_t i = 0; i < n; i++) {
        size_t low = 0, high = 255;

        while (low < high) { /* torch.bucketize: how many borders are below */
            size_t middle = (low + high) / 2;

            if (borders[middle] < numbers[i])
                low = middle + 1;
            else
                high = middle;
        }
        if (buffer[8 + 1024 + i] != low)
            fail_msg("number %zu of %zu, %g: bucket %u, should be %zu", i, n, (double)numbers[i],
                     buffer[8 + 1024 + i], low);
    }
    free(got);
    free(buffer);
}

static void quantile_buckets_are_those_of_numpy_and_torch(void **state)
{
    static const size_t sizes[] = {1, 2, 3, 255, 256, 257, 1000, 20000};
    static const size_t large[] = {100000, 100001, 250001};

    (void)state;
    for (int shape = 0; shape < SHAPES; shape++) {
        for (size_t i = 0; i < SKEP_COUNT_OF(sizes); i++) {
            float *numbers = draw_many(sizes[i], (enum shape_of_numbers)shape, sizes[i]);

            check_quantiles(numbers, sizes[i]);
            free(numbers);
        }
    }
    for (size_t i = 0; i < SKEP_COUNT_OF(large); i++) {
        float *numbers = draw_many(i, i == 2 ? WIDE : NORMAL, large[i]);

        check_quantiles(numbers, large[i]);
        free(numbers);
    }
}

/* As torch and numpy have it: all borders are NaN, and all numbers beyond them. */
static void quantiles_of_what_is_not_finite_are_one_bucket(void **state)
{
    static const float nan[] = {1, NAN, 2, 3}, infinite[] = {1, INFINITY, 2, -INFINITY};
    static const float *const cases[] = {nan, infinite};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const skep_tensor tensor = {.axes = 1, .shape = {4}, .data = cases[i]};
        uint8_t *buffer;
        float *got = there_and_back(SKEP_COMPRESSION_QUANTILE_8BIT, &tensor, &buffer);

        assert_memory_equal(buffer + 8 + 1024, "\xff\xff\xff\xff", 4);
        assert_true(isnan(got[0]));
        free(got);
        free(buffer);
    }
}

static float float_at(const uint8_t *bytes, size_t i)
{
    float v;

    memcpy(&v, bytes + 4 * i, sizeof v);
    return v;
}

/* bitsandbytes: the largest entry that is not above, or the next one if that is nearer. */
static size_t nearest_entry(const uint8_t *codebook, float v)
{
    size_t entry = 255;

    while (entry > 0 && float_at(codebook, entry) > v)
        entry--;
    if (entry < 255 &&
        fabsf(v - float_at(codebook, entry + 1)) < fabsf(v - float_at(codebook, entry)))
        entry++;
    return entry;
}

static void check_blockwise(const float *numbers, size_t n)
{
    const skep_tensor tensor = {.axes = 1, .shape = {n}, .data = numbers};
    size_t blocks = (n + 4095) / 4096;
    uint8_t *buffer, *codebook;
    float *got = there_and_back(SKEP_COMPRESSION_BLOCKWISE_8BIT, &tensor, &buffer);

    codebook = buffer + 16 + 4 * blocks;
    for (size_t i = 0; i < n; i++) {
        float scale = float_at(buffer + 16, i / 4096), v = numbers[i] / scale;
        size_t entry = isnan(v) ? 0 : nearest_entry(codebook, v);

        assert_true(fabsf(numbers[i]) <= scale);
        if (codebook[1024 + i] != entry)
            fail_msg("%g of %g: entry %u, should be %zu", (double)numbers[i], (double)scale,
                     codebook[1024 + i], entry);
        assert_true(got[i] == float_at(codebook, entry) * scale);
    }
    free(got);
    free(buffer);
}

static void blockwise_entries_are_the_nearest(void **state)
{
    float *numbers;
    enum { N = 3 * 4096 + 5 };

    (void)state;
    for (int shape = 0; shape < SHAPES; shape++) {
        numbers = draw_many(5, (enum shape_of_numbers)shape, N);
        check_blockwise(numbers, N);
        free(numbers);
    }
    /* every place between two entries, and the floats around it */
    numbers = draw_many(6, NORMAL, 8 * 256);
    {
        const skep_tensor tensor = {.axes = 1, .shape = {1}, .data = numbers};
        uint8_t *buffer;

        free(there_and_back(SKEP_COMPRESSION_BLOCKWISE_8BIT, &tensor, &buffer));
        for (size_t i = 0; i < 256; i++) {
            float entry = float_at(buffer + 20, i),
                  next = float_at(buffer + 20, i < 255 ? i + 1 : i);
            float middle = entry + (next - entry) / 2;

            for (size_t k = 0; k < 7; k++) {
                numbers[8 * i + k] = middle;
                for (size_t step = 0; step < (k > 3 ? k - 3 : 3 - k); step++)
                    numbers[8 * i + k] = nextafterf(numbers[8 * i + k], k > 3 ? 2.0f : -2.0f);
                numbers[8 * i + k] = SKEP_MIN(SKEP_MAX(numbers[8 * i + k], -1.0f), 1.0f);
            }
            numbers[8 * i + 7] = entry;
        }
        free(buffer);
    }
    check_blockwise(numbers, 8 * 256);
    free(numbers);
}

/* ---- addresses, codebooks, lengths ---- */

/* Every dtype a compression takes, with buffers of the exact length at odd addresses. */
static void buffers_may_stand_at_odd_addresses(void **state)
{
    float numbers[60];

    (void)state;
    for (size_t i = 0; i < 60; i++)
        numbers[i] = (float)i / 4 - 3;
    for (unsigned c = 0; c < SKEP_COMPRESSIONS; c++) {
        for (unsigned d = 0; d < SKEP_DTYPES; d++) {
            skep_compression compression = (skep_compression)c;
            skep_dtype dtype = (skep_dtype)d;
            size_t size = skep_dtype_size(dtype), len;
            uint8_t *in = malloc(60 * size + 1), *out = malloc(60 * size + 1), *packed;
            skep_tensor tensor = {.dtype = dtype, .axes = 2, .shape = {4, 15}, .data = in + 1};
            const char *why;

            assert_true(in && out);
            skep_numbers_from_float(dtype, in + 1, numbers, 60);
            if (skep_codec_check(compression, &tensor, &why) == 0) {
                len = skep_codec_encoded_len(compression, &tensor);
                packed = malloc(len + 1);
                assert_non_null(packed);
                assert_int_equal(skep_codec_encode(compression, &tensor, packed + 1, &skep_mem_std),
                                 0);
                assert_int_equal(skep_codec_decode(compression, skep_bytes_of(packed + 1, len),
                                                   &tensor, out + 1, &why),
                                 0);
                if (compression == SKEP_COMPRESSION_NONE)
                    assert_memory_equal(in + 1, out + 1, 60 * size);
                free(packed);
            }
            free(in);
            free(out);
        }
    }
}

static void any_codebook_is_read_and_no_index_leaves_it(void **state)
{
    static const size_t lens[] = {1, 3, 255, 256, 257, 1000};
    const skep_tensor tensor = {.axes = 1, .shape = {2}};
    float out[2];

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(lens); i++) {
        for (size_t index = 0; index < 256; index++) {
            size_t len = 8 + 4 * lens[i] + 2;
            uint8_t *buffer = calloc(1, len);
            const char *why = NULL;
            int rc;

            assert_non_null(buffer);
            skep_put_le64(buffer, lens[i]);
            for (size_t k = 0; k < lens[i]; k++) {
                float v = (float)k + 0.5f;

                memcpy(buffer + 8 + 4 * k, &v, sizeof v);
            }
            buffer[len - 1] = (uint8_t)index;
            rc = skep_codec_decode(SKEP_COMPRESSION_UNIFORM_8BIT, skep_bytes_of(buffer, len),
                                   &tensor, out, &why);
            if (index < lens[i]) {
                assert_int_equal(rc, 0);
                assert_true(out[0] == 0.5f && out[1] == (float)index + 0.5f);
            } else {
                assert_int_equal(rc, SKEP_EPEER_PROTO);
                assert_string_equal(why, "an index is outside the codebook");
            }
            free(buffer);
        }
    }
}

static void a_buffer_of_another_length_is_refused_before_it_is_read(void **state)
{
    static const skep_tensor forms[] = {
        {.dtype = SKEP_FLOAT32, .axes = 2, .shape = {2, 3}},
        {.dtype = SKEP_FLOAT64, .axes = 1, .shape = {1}},
        {.dtype = SKEP_FLOAT16, .axes = 2, .shape = {2, 0}},
        {.dtype = SKEP_BFLOAT16, .axes = 1, .shape = {3}},
        {.dtype = SKEP_FLOAT32, .axes = 0},
        {.dtype = SKEP_BOOL, .axes = 1, .shape = {5}},
        {.dtype = SKEP_FLOAT32, .axes = 1, .shape = {4097}},
    };
    static uint64_t out[8192];

    (void)state;
    for (size_t f = 0; f < SKEP_COUNT_OF(forms); f++) {
        for (unsigned c = 0; c < SKEP_COMPRESSIONS; c++) {
            skep_compression compression = (skep_compression)c;
            size_t right = skep_codec_encoded_len(compression, &forms[f]);
            size_t from = right > 2000 ? right - 2000 : 0;
            const char *why;

            if (skep_codec_check_len(compression, &forms[f], right, &why) < 0)
                continue; /* not this type so */
            for (size_t len = from; len < right + 40; len++) {
                uint8_t *buffer = calloc(1, len + 1);
                bool other_form = compression == SKEP_COMPRESSION_NONE &&
                                  forms[f].dtype == SKEP_BFLOAT16 && len == right / 2;
                int rc;

                assert_non_null(buffer);
                buffer = realloc(buffer, SKEP_MAX(len, (size_t)1)); /* nothing behind it */
                assert_non_null(buffer);
                if (len >= 16 && compression == SKEP_COMPRESSION_BLOCKWISE_8BIT) {
                    skep_put_le64(buffer, (skep_tensor_elements(&forms[f]) + 4095) / 4096);
                    skep_put_le64(buffer + 8, 256);
                } else if (len >= 8 && compression != SKEP_COMPRESSION_NONE) {
                    skep_put_le64(buffer, 256);
                }
                rc = skep_codec_decode(compression, skep_bytes_of(buffer, len), &forms[f], out,
                                       &why);
                if (rc != (len == right || other_form ? 0 : SKEP_EPEER_PROTO))
                    fail_msg("form %zu, %s, %zu bytes where %zu are right: %s", f,
                             skep_compression_name(compression), len, right, skep_error_name(rc));
                free(buffer);
            }
        }
    }
}

static void what_cannot_be_sent_is_refused_with_a_reason(void **state)
{
    static const uint8_t numbers[64];
    static const struct {
        skep_compression compression;
        skep_tensor tensor;
        const char *why;
    } cases[] = {
        {SKEP_COMPRESSION_FLOAT16,
         {SKEP_BFLOAT16, false, 1, {2}, numbers},
         "FLOAT16 takes float64, float32 and float16 only"},
        {SKEP_COMPRESSION_MEANSTD_16BIT,
         {SKEP_INT32, false, 1, {2}, numbers},
         "MEANSTD_16BIT takes float64, float32 and float16 only"},
        {SKEP_COMPRESSION_MEANSTD_16BIT,
         {SKEP_FLOAT32, false, 0, {0}, numbers},
         "MEANSTD_16BIT needs an axis"},
        {SKEP_COMPRESSION_QUANTILE_8BIT,
         {SKEP_BOOL, false, 1, {2}, numbers},
         "QUANTILE_8BIT takes floating-point numbers only"},
        {SKEP_COMPRESSION_UNIFORM_8BIT,
         {SKEP_INT64, false, 1, {2}, numbers},
         "UNIFORM_8BIT takes floating-point numbers only"},
        {SKEP_COMPRESSION_QUANTILE_8BIT,
         {SKEP_FLOAT32, false, 1, {0}, NULL},
         "QUANTILE_8BIT takes no empty tensor"},
        {SKEP_COMPRESSION_UNIFORM_8BIT,
         {SKEP_FLOAT32, false, 1, {0}, NULL},
         "UNIFORM_8BIT takes no empty tensor"},
        {SKEP_COMPRESSION_NONE, {SKEP_FLOAT32, false, 1, {2}, NULL}, "there are no numbers"},
        {SKEP_COMPRESSION_NONE, {SKEP_FLOAT32, false, 9, {0}, NULL}, "there are too many axes"},
        {SKEP_COMPRESSION_NONE,
         {(skep_dtype)99, false, 1, {2}, numbers},
         "there is no such type of numbers"},
        {(skep_compression)6,
         {SKEP_FLOAT32, false, 1, {2}, numbers},
         "there is no such compression"},
        {SKEP_COMPRESSION_NONE,
         {SKEP_FLOAT32, false, 2, {SIZE_MAX / 2, 4}, numbers},
         "the shape is too large"},
        {SKEP_COMPRESSION_NONE,
         {SKEP_FLOAT32, false, 2, {(size_t)1 << 32, 0}, numbers},
         "the shape is too large"},
        {SKEP_COMPRESSION_NONE,
         {SKEP_BFLOAT16, false, 2, {UINT32_MAX, (size_t)3 << 29}, numbers},
         "the shape is too large"},
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        const char *why = NULL;

        assert_int_equal(skep_codec_check(cases[i].compression, &cases[i].tensor, &why),
                         SKEP_EINVAL);
        assert_string_equal(why, cases[i].why);
    }
}

static int encode_all(const struct skep_mem *mem, void *user)
{
    static const double numbers[60] = {1, 2, 3};
    int rc = 0;

    (void)user;
    for (unsigned c = 0; rc == 0 && c < SKEP_COMPRESSIONS; c++) {
        for (unsigned d = 0; rc == 0 && d < 2; d++) { /* as float32, and as float64 */
            const skep_tensor tensor = {
                .dtype = (skep_dtype)d, .axes = 2, .shape = {5, 12}, .data = numbers};
            uint8_t out[2000];

            rc = skep_codec_encode((skep_compression)c, &tensor, out, mem);
        }
    }
    return rc;
}

static void without_memory_nothing_is_left_behind(void **state)
{
    (void)state;
    test_each_allocation_fails(encode_all, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hivemind_s_bytes_are_written),
        cmocka_unit_test(hivemind_s_bytes_are_read),
        cmocka_unit_test(halves_lose_eleven_bits_and_rows_less),
        cmocka_unit_test(uniform_buckets_are_as_wide_as_they_should_be),
        cmocka_unit_test(quantile_buckets_are_those_of_numpy_and_torch),
        cmocka_unit_test(quantiles_of_what_is_not_finite_are_one_bucket),
        cmocka_unit_test(blockwise_entries_are_the_nearest),
        cmocka_unit_test(buffers_may_stand_at_odd_addresses),
        cmocka_unit_test(any_codebook_is_read_and_no_index_leaves_it),
        cmocka_unit_test(a_buffer_of_another_length_is_refused_before_it_is_read),
        cmocka_unit_test(what_cannot_be_sent_is_refused_with_a_reason),
        cmocka_unit_test(without_memory_nothing_is_left_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
