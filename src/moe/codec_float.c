/* SPDX-License-Identifier: MIT */
/* FLOAT16 and MEANSTD_16BIT: halves, plain or after each row was shifted and scaled. hivemind compression/floating.py. */
#include <math.h>

#include "moe/codec_parts.h"

enum { LANES = 32 };

#define STD_MIN 0x1p-23f /* the distance from 1 to the next float32 */

SKEP_VECTOR static void clamped_halves(uint8_t *out, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        skep_store_u16(out, i, skep_half_of_clamped(skep_load_float(in, i)));
}

void skep_float16_encode(const skep_tensor *tensor, uint8_t *out)
{
    const uint8_t *in = tensor->data;
    size_t left = skep_tensor_elements(tensor), size = skep_dtype_size(tensor->dtype);
    float run[CODEC_RUN_LEN];

    if (tensor->dtype == SKEP_FLOAT32) {
        clamped_halves(out, in, left);
        return;
    }
    while (left > 0) {
        size_t n = SKEP_MIN(left, (size_t)CODEC_RUN_LEN);

        skep_numbers_to_float(run, tensor->dtype, in, n);
        clamped_halves(out, (const uint8_t *)run, n);
        in += n * size;
        out += n * 2;
        left -= n;
    }
}

SKEP_VECTOR static void floats_of_halves(uint8_t *out, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        skep_store_float(out, i, skep_half_to_float(skep_load_u16(in, i)));
}

SKEP_VECTOR static void doubles_of_halves(uint8_t *out, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        skep_store_double(out, i, (double)skep_half_to_float(skep_load_u16(in, i)));
}

void skep_float16_decode(const uint8_t *in, const skep_tensor *tensor, uint8_t *out)
{
    size_t n = skep_tensor_elements(tensor);

    if (tensor->dtype == SKEP_FLOAT32)
        floats_of_halves(out, in, n);
    else if (tensor->dtype == SKEP_FLOAT64)
        doubles_of_halves(out, in, n);
    else
        skep_bytes_copy(out, skep_bytes_of(in, 2 * n));
}

/* ---- sums ---- */

/* Few numbers: one after the other, as torch does. Many: in lanes, which are added up in double every so often. */
SKEP_VECTOR static float sum_run(const float *in, size_t n)
{
    float lanes[LANES] = {0};
    double sum = 0;

    for (size_t i = 0; i < n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lanes[j] += in[i + j];
    for (size_t j = 0; j < LANES; j++)
        sum += (double)lanes[j];
    return (float)sum;
}

SKEP_VECTOR static float square_run(const float *in, size_t n, float shift)
{
    float lanes[LANES] = {0};
    double sum = 0;

    for (size_t i = 0; i < n; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            float v = in[i + j] - shift;

            lanes[j] += v * v;
        }
    }
    for (size_t j = 0; j < LANES; j++)
        sum += (double)lanes[j];
    return (float)sum;
}

float skep_codec_sum(const float *in, size_t n)
{
    double sum = 0;
    float rest = 0;
    size_t at = 0;

    while (n - at >= LANES) {
        size_t run = SKEP_MIN(n - at, (size_t)CODEC_RUN_LEN) / LANES * LANES;

        sum += (double)sum_run(in + at, run);
        at += run;
    }
    for (; at < n; at++)
        rest += in[at];
    return n < LANES ? rest : (float)(sum + (double)rest);
}

float skep_codec_sum_squares(const float *in, size_t n, float shift)
{
    double sum = 0;
    float rest = 0;
    size_t at = 0;

    while (n - at >= LANES) {
        size_t run = SKEP_MIN(n - at, (size_t)CODEC_RUN_LEN) / LANES * LANES;

        sum += (double)square_run(in + at, run, shift);
        at += run;
    }
    for (; at < n; at++) {
        float v = in[at] - shift;

        rest += v * v;
    }
    return n < LANES ? rest : (float)(sum + (double)rest);
}

/* ---- MEANSTD_16BIT ---- */

SKEP_VECTOR static void scaled_halves(uint8_t *out, const float *in, size_t n, float mean,
                                      float std)
{
    for (size_t i = 0; i < n; i++)
        skep_store_u16(out, i, skep_half_of_clamped((in[i] - mean) / std));
}

/* Which NaN a sum gives depends on its order and on the machine; let it be the usual one. */
static float plain_nan(float v, size_t n)
{
    return v == v ? v : skep_float_of_bits(n > 0 ? 0x7fc00000 : 0xffc00000);
}

int skep_meanstd_encode(const skep_tensor *tensor, uint8_t *out, const struct skep_mem *mem)
{
    size_t width = tensor->shape[tensor->axes - 1], rows = skep_codec_rows(tensor);
    uint8_t *means = out + 2 * skep_tensor_elements(tensor), *stds = means + 4 * rows;
    float *scratch, root = (float)sqrt((double)width);
    const float *in = skep_codec_floats(tensor, &scratch, mem);

    if (!in && width > 0 && rows > 0)
        return SKEP_ENOMEM;
    for (size_t i = 0; i < rows; i++) {
        const float *row = width > 0 ? in + i * width : NULL;
        float mean = plain_nan(skep_codec_sum(row, width) / (float)width, width);
        float std = sqrtf(skep_codec_sum_squares(row, width, mean)) / root;

        std = plain_nan(std < STD_MIN ? STD_MIN : std, width);
        scaled_halves(out + 2 * i * width, row, width, mean, std);
        skep_store_float(means, i, mean);
        skep_store_float(stds, i, std);
    }
    skep_mem_free(mem, scratch);
    return 0;
}

SKEP_VECTOR static void floats_of_scaled(uint8_t *out, const uint8_t *in, size_t n, float mean,
                                         float std)
{
    for (size_t i = 0; i < n; i++)
        skep_store_float(out, i, skep_half_to_float(skep_load_u16(in, i)) * std + mean);
}

SKEP_VECTOR static void doubles_of_scaled(uint8_t *out, const uint8_t *in, size_t n, double mean,
                                          double std)
{
    for (size_t i = 0; i < n; i++)
        skep_store_double(out, i, (double)skep_half_to_float(skep_load_u16(in, i)) * std + mean);
}

/* torch rounds to half after each step. */
SKEP_VECTOR static void halves_of_scaled(uint8_t *out, const uint8_t *in, size_t n, float mean,
                                         float std)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t product = skep_half_of_float(skep_half_to_float(skep_load_u16(in, i)) * std);

        skep_store_u16(out, i, skep_half_of_float(skep_half_to_float(product) + mean));
    }
}

void skep_meanstd_decode(const uint8_t *in, const skep_tensor *tensor, uint8_t *out)
{
    size_t width = tensor->shape[tensor->axes - 1], elements = skep_tensor_elements(tensor);
    size_t rows = elements > 0 ? elements / width : 0, size = skep_dtype_size(tensor->dtype);
    const uint8_t *means, *stds;

    if (rows == 0)
        return;
    means = in + 2 * elements;
    stds = means + 4 * rows;
    for (size_t i = 0; i < rows; i++) {
        float mean = skep_load_float(means, i), std = skep_load_float(stds, i);
        const uint8_t *row = in + 2 * i * width;
        uint8_t *to = out + size * i * width;

        if (tensor->dtype == SKEP_FLOAT32)
            floats_of_scaled(to, row, width, mean, std);
        else if (tensor->dtype == SKEP_FLOAT64)
            doubles_of_scaled(to, row, width, (double)mean, (double)std);
        else
            halves_of_scaled(to, row, width, mean, std);
    }
}
