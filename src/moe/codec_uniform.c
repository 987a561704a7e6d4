/* SPDX-License-Identifier: MIT */
/* UNIFORM_8BIT: 256 buckets of one width over six standard deviations, each sent as the mean of what fell into it. hivemind compression/quantization.py,
 * Uniform8BitQuantization. */
#include <math.h>

#include "moe/codec_parts.h"

enum { SIGMAS = 6, MIDDLE = CODEBOOK_LEN / 2 };

static double sum_of_doubles(const uint8_t *in, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += skep_load_double(in, i);
    return sum;
}

/* The mean in the tensor's own type, as torch has it. */
static float mean_of(const skep_tensor *tensor, const float *in, size_t n)
{
    float mean = tensor->dtype == SKEP_FLOAT64
                     ? (float)(sum_of_doubles(tensor->data, n) / (double)n)
                     : skep_codec_sum(in, n) / (float)n;

    if (tensor->dtype == SKEP_FLOAT16)
        return skep_half_to_float(skep_half_of_float(mean));
    if (tensor->dtype == SKEP_BFLOAT16)
        return skep_bfloat_to_float(skep_bfloat_of_float(mean));
    return mean;
}

/* clamp(round((v - shift) / scale) + 128, 0, 255), ties to even; NaN is bucket 0. Between -128 and 127 a float32 plus 1.5 * 2^23 has the rounded
 * number in its low bits. */
SKEP_VECTOR static void choose_buckets(uint8_t *out, const float *in, size_t n, float shift,
                                       float per_scale)
{
    for (size_t i = 0; i < n; i++) {
        float v = (in[i] - shift) * per_scale;

        v = v > -(float)MIDDLE ? v : -(float)MIDDLE;
        v = v < (float)(MIDDLE - 1) ? v : (float)(MIDDLE - 1);
        out[i] = (uint8_t)(skep_bits_of_float(v + 12582912.0f) + MIDDLE);
    }
}

int skep_uniform_encode(const skep_tensor *tensor, uint8_t *out, const struct skep_mem *mem)
{
    size_t n = skep_tensor_elements(tensor);
    uint8_t *indices = out + 8 + 4 * CODEBOOK_LEN;
    float *scratch, shift, std, scale;
    const float *in = skep_codec_floats(tensor, &scratch, mem);

    if (!in)
        return SKEP_ENOMEM;
    shift = mean_of(tensor, in, n);
    std = sqrtf(skep_codec_sum_squares(in, n, shift)) / (float)sqrt((double)(n - 1));
    scale = (float)SIGMAS * std / (float)CODEBOOK_LEN;
    choose_buckets(indices, in, n, shift, 1.0f / scale); /* n = 1: NaN, and so bucket 0 */
    skep_codebook_of_means(out, in, indices, n);
    skep_mem_free(mem, scratch);
    return 0;
}
