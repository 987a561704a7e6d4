/* SPDX-License-Identifier: MIT */
/* QUANTILE_8BIT: borders at the 257-quantiles of the numbers, by numpy's linear interpolation; above 100,000 numbers at the quantiles of the quantiles of
 * chunks. hivemind compression/quantization.py Quantile8BitQuantization. */
#include <math.h>

#include "moe/codec_parts.h"

enum { QUANTILES = CODEBOOK_LEN + 1, CHUNK_LEN = 100000, DIGIT_BITS = 11, DIGITS = 3 };

/* As integers that are in the order of the floats. */
static uint32_t key_of(float v)
{
    uint32_t bits = skep_bits_of_float(v);

    return bits ^ (bits >> 31 ? 0xffffffff : 0x80000000);
}

static float of_key(uint32_t key)
{
    return skep_float_of_bits(key ^ (key >> 31 ? 0x80000000 : 0xffffffff));
}

/* Least digit first; `other` has room for as many. The result is in `other`. */
static void sort(uint32_t *keys, uint32_t *other, size_t n)
{
    for (unsigned digit = 0; digit < DIGITS; digit++) {
        size_t places[1 << DIGIT_BITS] = {0}, sum = 0;
        unsigned shift = digit * DIGIT_BITS, mask = (1 << DIGIT_BITS) - 1;
        uint32_t *swap = keys;

        for (size_t i = 0; i < n; i++)
            places[keys[i] >> shift & mask]++;
        for (size_t i = 0; i < SKEP_COUNT_OF(places); i++) {
            size_t count = places[i];

            places[i] = sum;
            sum += count;
        }
        for (size_t i = 0; i < n; i++)
            other[places[keys[i] >> shift & mask]++] = keys[i];
        keys = other;
        other = swap;
    }
}

/* numpy.quantile of sorted numbers, in float32. */
static float quantile(const uint32_t *sorted, size_t n, float q)
{
    float at = q * (float)(n - 1), below = floorf(at), t = at - below;
    size_t i = SKEP_MIN((size_t)below, n - 1);
    float a = of_key(sorted[i]), b = of_key(sorted[SKEP_MIN(i + 1, n - 1)]), diff = b - a;

    return t >= 0.5f ? b - diff * (1 - t) : a + diff * t;
}

static float share(size_t i)
{
    return (float)((double)i / (QUANTILES - 1));
}

static size_t chunk_len(size_t n)
{
    return n <= CHUNK_LEN ? CHUNK_LEN
                          : CHUNK_LEN + (n % CHUNK_LEN + n / CHUNK_LEN - 1) / (n / CHUNK_LEN);
}

/* @param keys  [2 * room] scratch. @param out  [chunks * QUANTILES]. */
static size_t chunk_quantiles(float *out, const float *in, size_t n, uint32_t *keys, size_t room)
{
    size_t len = chunk_len(n), count = 0;

    for (size_t at = 0; at < n; at += len, count++) {
        size_t here = SKEP_MIN(len, n - at);

        for (size_t i = 0; i < here; i++)
            keys[i] = key_of(in[at + i]);
        sort(keys, keys + room, here);
        for (size_t i = 0; i < QUANTILES; i++)
            out[count * QUANTILES + i] = quantile(keys + room, here, share(i));
    }
    return count * QUANTILES;
}

int skep_quantile_encode(const skep_tensor *tensor, uint8_t *out, const struct skep_mem *mem)
{
    size_t n = skep_tensor_elements(tensor), len = chunk_len(n), chunks = (n - 1) / len + 1;
    size_t room = SKEP_MAX(SKEP_MIN(n, len), chunks * QUANTILES);
    uint8_t *indices = out + 8 + 4 * CODEBOOK_LEN;
    float borders[CODEBOOK_LEN], *scratch;
    const float *in = skep_codec_floats(tensor, &scratch, mem);
    uint32_t *keys = skep_mem_alloc(mem, 2 * room * sizeof *keys);
    float *quantiles = skep_mem_alloc(mem, chunks * QUANTILES * sizeof *quantiles);
    int rc = SKEP_ENOMEM;

    if (!in || !keys || !quantiles)
        goto end;
    n = chunk_quantiles(quantiles, in, skep_tensor_elements(tensor), keys, room);
    for (size_t i = 0; i < n; i++)
        keys[i] = key_of(quantiles[i]);
    sort(keys, keys + room, n);
    for (size_t i = 1; i < QUANTILES - 1; i++)
        borders[i - 1] = quantile(keys + room, n, share(i));
    borders[CODEBOOK_LEN - 1] = INFINITY;
    n = skep_tensor_elements(tensor);
    skep_codebook_search(indices, borders, in, n);
    skep_codebook_of_means(out, in, indices, n);
    rc = 0;
end:
    skep_mem_free(mem, quantiles);
    skep_mem_free(mem, keys);
    skep_mem_free(mem, scratch);
    return rc;
}
