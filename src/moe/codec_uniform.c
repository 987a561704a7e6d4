/* SPDX-License-Identifier: MIT */
/* UNIFORM_8BIT: 256 steps over six standard deviations; torch.quantize_per_tensor. hivemind compression/quantization.py Uniform8BitQuantization. */
#include <math.h>

#include "moe/codec_parts.h"

static const float range_in_sigmas = 6, offset = CODEBOOK_LEN / 2;

SKEP_VECTOR static void choose(uint8_t *out, const float *in, size_t n, float shift, float inverse)
{
    for (size_t i = 0; i < n; i++) {
        float step = rintf((in[i] - shift) * inverse) + offset;

        step = step > 0 ? step : 0; /* NaN too */
        out[i] = (uint8_t)(step < CODEBOOK_LEN - 1 ? step : CODEBOOK_LEN - 1);
    }
}

int skep_uniform_encode(const skep_tensor *tensor, uint8_t *out, const struct skep_mem *mem)
{
    size_t n = skep_tensor_elements(tensor);
    uint8_t *indices = out + 8 + 4 * CODEBOOK_LEN;
    float *scratch, shift, scale;
    const float *in = skep_codec_floats(tensor, &scratch, mem);

    if (!in)
        return SKEP_ENOMEM;
    shift = skep_codec_sum(in, n) / (float)n;
    if (tensor->dtype == SKEP_FLOAT16 || tensor->dtype == SKEP_BFLOAT16) {
        /* the mean is of the tensor's own type */
        uint16_t narrow;

        skep_numbers_from_float(tensor->dtype, &narrow, &shift, 1);
        skep_numbers_to_float(&shift, tensor->dtype, &narrow, 1);
    }
    scale = range_in_sigmas *
            (sqrtf(skep_codec_sum_squares(in, n, shift)) / (float)sqrt((double)n - 1)) /
            CODEBOOK_LEN;
    choose(indices, in, n, shift, 1.0f / scale);
    skep_codebook_of_means(out, in, indices, n);
    skep_mem_free(mem, scratch);
    return 0;
}
