/* SPDX-License-Identifier: MIT */
/* BLOCKWISE_8BIT: blocks of 4096 numbers, each scaled by its largest and rounded to a fixed codebook. hivemind compression/quantization.py,
 * BlockwiseQuantization; bitsandbytes 0.41.3: the dynamic map of eight bits with a sign (Dettmers 2015, "8-bit approximations for parallelism in
 * deep learning"), as its CPU code uses it: the lowest entry is -1.
 *
 * The nearest entry, the lower of two equally near: a table by sign, exponent and six bits of fraction says where to begin, then one comparison decides;
 * between two neighbours of that table there is at most one place where the nearest entry changes. */
#include <float.h>
#include <math.h>

#include "moe/codec_parts.h"

enum {
    HALF_LEN = 127, /* entries above 0 and below 1 */
    ZERO_AT = 127,
    FRACTION_BITS = 6,
    BIN_SHIFT = 23 - FRACTION_BITS,
    LEAST_EXPONENT = 127 - 23, /* 2^-23 is nearer to 0 than to the least entry */
    LEAST_BIN = LEAST_EXPONENT << FRACTION_BITS,
    BINS = (127 << FRACTION_BITS) - LEAST_BIN + 1 /* up to 1 */
};

/* Ascending. Each decade has twice as many as the one below, in the middles of equal parts of its upper nine tenths. */
static const float upper_half[HALF_LEN] = {
    5.5000004e-07f, 3.2500002e-06f, 7.75e-06f,      2.1249998e-05f, 4.375e-05f,     6.625e-05f,
    8.875e-05f,     0.00015625001f, 0.00026875004f, 0.00038125002f, 0.00049375003f, 0.0006062501f,
    0.00071875006f, 0.00083125f,    0.0009437501f,  0.0012812499f,  0.00184375f,    0.00240625f,
    0.00296875f,    0.0035312497f,  0.00409375f,    0.0046562497f,  0.0052187503f,  0.00578125f,
    0.00634375f,    0.00690625f,    0.00746875f,    0.00803125f,    0.00859375f,    0.009156249f,
    0.00971875f,    0.01140625f,    0.01421875f,    0.01703125f,    0.01984375f,    0.02265625f,
    0.02546875f,    0.028281247f,   0.03109375f,    0.033906247f,   0.036718752f,   0.03953125f,
    0.042343747f,   0.04515625f,    0.04796875f,    0.05078125f,    0.05359375f,    0.05640625f,
    0.059218753f,   0.062031247f,   0.06484375f,    0.067656256f,   0.070468746f,   0.07328125f,
    0.07609375f,    0.07890625f,    0.08171874f,    0.08453125f,    0.08734375f,    0.09015625f,
    0.092968754f,   0.095781244f,   0.09859375f,    0.107031256f,   0.12109375f,    0.13515624f,
    0.14921875f,    0.16328125f,    0.17734374f,    0.19140625f,    0.20546874f,    0.21953125f,
    0.23359376f,    0.24765626f,    0.26171875f,    0.27578127f,    0.28984374f,    0.30390626f,
    0.31796873f,    0.33203125f,    0.3460937f,     0.36015624f,    0.37421876f,    0.38828123f,
    0.40234375f,    0.4164062f,     0.43046874f,    0.44453126f,    0.45859373f,    0.47265625f,
    0.48671877f,    0.50078124f,    0.51484376f,    0.5289062f,     0.54296875f,    0.5570313f,
    0.5710938f,     0.58515626f,    0.5992187f,     0.61328125f,    0.6273438f,     0.64140624f,
    0.65546876f,    0.6695313f,     0.68359375f,    0.6976563f,     0.7117188f,     0.72578126f,
    0.7398438f,     0.75390625f,    0.7679688f,     0.78203124f,    0.7960937f,     0.8101562f,
    0.82421875f,    0.8382812f,     0.85234374f,    0.8664062f,     0.8804687f,     0.89453125f,
    0.9085938f,     0.92265624f,    0.9367187f,     0.9507812f,     0.96484375f,    0.9789062f,
    0.99296874f,
};

static void fill_codebook(float *codebook)
{
    for (size_t i = 0; i < HALF_LEN; i++) {
        codebook[ZERO_AT + 1 + i] = upper_half[i];
        codebook[ZERO_AT - 1 - i] = -upper_half[i];
    }
    codebook[0] = -1;
    codebook[ZERO_AT] = 0;
    codebook[CODEBOOK_LEN - 1] = 1;
}

struct nearest {
    float codebook[CODEBOOK_LEN];
    float above[CODEBOOK_LEN]; /* from this number on the next entry is the nearest */
    uint8_t first[2][BINS];    /* by sign: the nearest of the bin's least number */
};

/* The next float above. */
static float next_up(float v)
{
    uint32_t bits = skep_bits_of_float(v);

    return v == 0 ? FLT_TRUE_MIN : skep_float_of_bits(v < 0 ? bits - 1 : bits + 1);
}

static bool is_nearer(float v, float next, float entry)
{
    return fabsf(v - next) < fabsf(v - entry);
}

/* The least float that is_nearer() to `next`: at the middle or a few floats away, as differences are rounded. */
static float change_between(float entry, float next)
{
    float v = entry + (next - entry) * 0.5f;

    while (is_nearer(v, next, entry))
        v = -next_up(-v);
    while (!is_nearer(v, next, entry))
        v = next_up(v);
    return v;
}

static uint8_t nearest_from(const struct nearest *t, size_t entry, float v)
{
    while (v >= t->above[entry])
        entry++;
    return (uint8_t)entry;
}

static void nearest_init(struct nearest *t)
{
    uint8_t entry = 0;

    fill_codebook(t->codebook);
    for (size_t i = 0; i + 1 < CODEBOOK_LEN; i++)
        t->above[i] = change_between(t->codebook[i], t->codebook[i + 1]);
    t->above[CODEBOOK_LEN - 1] = INFINITY;
    for (size_t i = BINS; i > 0; i--) { /* of a negative bin the number of the greatest size */
        uint32_t end = ((uint32_t)(LEAST_BIN + i) << BIN_SHIFT) - 1;

        entry = nearest_from(t, entry, -skep_float_of_bits(end));
        t->first[1][i - 1] = entry;
    }
    t->first[0][0] = nearest_from(t, entry, 0);
    for (size_t i = 1; i < BINS; i++)
        t->first[0][i] = nearest_from(t, t->first[0][i - 1],
                                      skep_float_of_bits((uint32_t)(LEAST_BIN + i) << BIN_SHIFT));
}

/* NaN counts as nothing. */
SKEP_VECTOR static float largest(const float *in, size_t n)
{
    uint32_t most = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t bits = skep_bits_of_float(in[i]) & 0x7fffffff;

        bits = bits > 0x7f800000 ? 0 : bits;
        most = bits > most ? bits : most;
    }
    return skep_float_of_bits(most);
}

static void choose_entries(uint8_t *out, const struct nearest *t, const float *in, size_t n,
                           float scale)
{
    for (size_t i = 0; i < n; i++) {
        float v = in[i] / scale;
        uint32_t bits = skep_bits_of_float(v), size = (bits & 0x7fffffff) >> BIN_SHIFT;
        uint32_t bin = size > LEAST_BIN ? size - LEAST_BIN : 0;
        size_t entry;

        if (bin >= BINS) { /* NaN, also of 0 / 0 */
            out[i] = 0;
            continue;
        }
        entry = t->first[bits >> 31][bin];
        out[i] = (uint8_t)(entry + (v >= t->above[entry]));
    }
}

int skep_blockwise_encode(const skep_tensor *tensor, uint8_t *out, const struct skep_mem *mem)
{
    size_t n = skep_tensor_elements(tensor), blocks = (n + CODEC_BLOCK_LEN - 1) / CODEC_BLOCK_LEN;
    uint8_t *scales = out + 16, *codebook = scales + 4 * blocks;
    uint8_t *indices = codebook + 4 * CODEBOOK_LEN;
    struct nearest nearest;
    float *scratch = NULL;
    const float *in = n > 0 ? skep_codec_floats(tensor, &scratch, mem) : NULL;

    if (!in && n > 0)
        return SKEP_ENOMEM;
    nearest_init(&nearest);
    skep_put_le64(out, blocks);
    skep_put_le64(out + 8, CODEBOOK_LEN);
    memcpy(codebook, nearest.codebook, sizeof nearest.codebook);
    for (size_t i = 0; i < blocks; i++) {
        size_t at = i * CODEC_BLOCK_LEN, len = SKEP_MIN(n - at, (size_t)CODEC_BLOCK_LEN);
        float scale = largest(in + at, len);

        skep_store_float(scales, i, scale);
        choose_entries(indices + at, &nearest, in + at, len, scale);
    }
    skep_mem_free(mem, scratch);
    return 0;
}
