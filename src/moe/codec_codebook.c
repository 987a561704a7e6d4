/* SPDX-License-Identifier: MIT */
/* A codebook and a byte for each number that chooses from it: what the 8-bit compressions have in common. hivemind compression/quantization.py,
 * Quantization, average_buckets.
 *
 * A codebook is turned into the tensor's type once; after that a number is one look into a table of 256. */
#include "moe/codec_parts.h"

void skep_codebook_of_means(uint8_t *out, const float *in, const uint8_t *indices, size_t n)
{
    float sums[CODEBOOK_LEN] = {0};
    uint64_t counts[CODEBOOK_LEN] = {0};

    for (size_t i = 0; i < n; i++) {
        sums[indices[i]] += in[i]; /* one after the other, as torch adds them up */
        counts[indices[i]]++;
    }
    skep_put_le64(out, CODEBOOK_LEN);
    for (size_t i = 0; i < CODEBOOK_LEN; i++)
        skep_store_float(out + 8, i, sums[i] / (float)SKEP_MAX(counts[i], (uint64_t)1));
}

SKEP_VECTOR static uint8_t highest(const uint8_t *indices, size_t n)
{
    uint8_t high = 0;

    for (size_t i = 0; i < n; i++)
        high = SKEP_MAX(high, indices[i]);
    return high;
}

bool skep_codebook_covers(size_t len, const uint8_t *indices, size_t n)
{
    return len >= CODEBOOK_LEN || n == 0 || highest(indices, n) < len;
}

#define CHOOSE(name, type)                                                                         \
    static void name(uint8_t *out, const void *table, const uint8_t *indices, size_t n)            \
    {                                                                                              \
        const type *numbers = table;                                                               \
                                                                                                   \
        for (size_t i = 0; i < n; i++)                                                             \
            memcpy(out + i * sizeof *numbers, &numbers[indices[i]], sizeof *numbers);              \
    }
CHOOSE(choose_8, uint64_t)
CHOOSE(choose_4, uint32_t)
CHOOSE(choose_2, uint16_t)
CHOOSE(choose_1, uint8_t)

void skep_codebook_apply(const uint8_t *codebook, size_t len, float scale, const uint8_t *indices,
                         size_t n, skep_dtype dtype, uint8_t *out)
{
    float scaled[CODEBOOK_LEN] = {0};
    uint64_t table[CODEBOOK_LEN]; /* of the tensor's type, aligned for the largest */

    len = SKEP_MIN(len, (size_t)CODEBOOK_LEN);
    for (size_t i = 0; i < len; i++)
        scaled[i] = skep_load_float(codebook, i) * scale;
    skep_numbers_from_float(dtype, table, scaled, CODEBOOK_LEN);
    switch (skep_dtype_size(dtype)) {
    case 8: choose_8(out, table, indices, n); break;
    case 4: choose_4(out, table, indices, n); break;
    case 2: choose_2(out, table, indices, n); break;
    default: choose_1(out, table, indices, n); break;
    }
}
