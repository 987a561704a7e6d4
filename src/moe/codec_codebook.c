/* SPDX-License-Identifier: MIT */
/* The codebook of the 8-bit compressions: made of bucket means, looked up, and searched. hivemind compression/quantization.py average_buckets. */
#include "moe/codec_parts.h"

void skep_codebook_of_means(uint8_t *out, const float *in, const uint8_t *indices, size_t n)
{
    float sums[CODEBOOK_LEN] = {0};
    uint64_t counts[CODEBOOK_LEN] = {0}, len = CODEBOOK_LEN;

    for (size_t i = 0; i < n; i++) { /* in float32, one after the other, as torch's scatter_add_ */
        sums[indices[i]] += in[i];
        counts[indices[i]]++;
    }
    memcpy(out, &len, sizeof len);
    for (size_t i = 0; i < CODEBOOK_LEN; i++)
        skep_store_float(out + 8, i, sums[i] / (float)SKEP_MAX(counts[i], UINT64_C(1)));
}

static void floats_of(const float *book, float scale, const uint8_t *indices, size_t n,
                      uint8_t *out)
{
    for (size_t i = 0; i < n; i++)
        skep_store_float(out, i, book[indices[i]] * scale);
}

void skep_codebook_apply(const uint8_t *codebook, size_t len, float scale, const uint8_t *indices,
                         size_t n, skep_dtype dtype, uint8_t *out)
{
    float book[CODEBOOK_LEN] = {0}, run[CODEC_RUN_LEN];
    size_t size = skep_dtype_size(dtype);

    for (size_t i = 0; i < SKEP_MIN(len, (size_t)CODEBOOK_LEN); i++)
        book[i] = skep_load_float(codebook, i);
    if (dtype == SKEP_FLOAT32) {
        floats_of(book, scale, indices, n, out);
        return;
    }
    while (n > 0) {
        size_t some = SKEP_MIN(n, (size_t)CODEC_RUN_LEN);

        floats_of(book, scale, indices, some, (uint8_t *)run);
        skep_numbers_from_float(dtype, out, run, some);
        indices += some;
        out += some * size;
        n -= some;
    }
}

bool skep_codebook_covers(size_t len, const uint8_t *indices, size_t n)
{
    uint8_t most = 0;

    if (len >= CODEBOOK_LEN)
        return true;
    for (size_t i = 0; i < n; i++)
        most = indices[i] > most ? indices[i] : most;
    return n == 0 || most < len;
}

SKEP_VECTOR void skep_codebook_search(uint8_t *out, const float *borders, const float *in, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t at = 0;

        for (uint32_t step = CODEBOOK_LEN / 2; step > 0; step /= 2)
            at += borders[at + step - 1] < in[i] ? step : 0;
        out[i] = (uint8_t)at;
    }
}
