/* SPDX-License-Identifier: MIT */
/* QUANTILE_8BIT: 256 buckets with borders at the quantiles k/256, each sent as the mean of what fell into it. hivemind compression/quantization.py,
 * Quantile8BitQuantization, quantile_qq_approximation; numpy's linear quantile.
 *
 * As hivemind does it, more than 10^5 numbers are cut into chunks, and the borders are the quantiles of the chunks' quantiles. Numbers become unsigned
 * keys of the same order; keys are sorted by radix, and a number finds its border by a table over the range of the borders' keys and a few steps of bisection. */
#include "moe/codec_parts.h"

enum {
    BORDERS = CODEBOOK_LEN - 1,
    QUANTILES = CODEBOOK_LEN + 1, /* 0/256 to 256/256 */
    CHUNK_LEN_MIN = 100000,
    RADIX_BITS = 11,
    RADIX = 1 << RADIX_BITS,
    PASSES = 3,
    BINS = 1 << 12
};

/* Unsigned numbers in the order of the floats; -0 is 0, as it is not below it. */
static inline uint32_t key_of(float v)
{
    uint32_t bits = skep_bits_of_float(v + 0.0f);

    return bits ^ ((uint32_t) - (int32_t)(bits >> 31) | 0x80000000);
}

static inline float float_of_key(uint32_t key)
{
    return skep_float_of_bits(key & 0x80000000 ? key ^ 0x80000000 : ~key);
}

SKEP_VECTOR static void keys_of(uint32_t *keys, const float *in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        keys[i] = key_of(in[i]);
}

SKEP_VECTOR static bool any_nan(const float *in, size_t n)
{
    uint32_t nan = 0;

    for (size_t i = 0; i < n; i++)
        nan |= in[i] != in[i];
    return nan != 0;
}

/* ---- sorting ---- */

/* `counts` becomes where each digit's first key goes. @return false: all keys have the same digit. */
static bool counts_to_places(uint32_t *counts, size_t n)
{
    uint32_t place = 0;

    for (size_t digit = 0; digit < RADIX; digit++) {
        uint32_t count = counts[digit];

        if (count == n)
            return false;
        counts[digit] = place;
        place += count;
    }
    return true;
}

/* @param spare  [n]. @return the sorted keys: in `keys` or in `spare`. */
static uint32_t *sort_keys(uint32_t *keys, uint32_t *spare, size_t n)
{
    static const unsigned shifts[PASSES] = {0, RADIX_BITS, 2 * RADIX_BITS};
    uint32_t counts[PASSES][RADIX];

    memset(counts, 0, sizeof counts);
    for (size_t i = 0; i < n; i++)
        for (size_t pass = 0; pass < PASSES; pass++)
            counts[pass][keys[i] >> shifts[pass] & (RADIX - 1)]++;
    for (size_t pass = 0; pass < PASSES; pass++) {
        uint32_t *places = counts[pass], *swap = keys;

        if (!counts_to_places(places, n))
            continue;
        for (size_t i = 0; i < n; i++)
            spare[places[keys[i] >> shifts[pass] & (RADIX - 1)]++] = keys[i];
        keys = spare;
        spare = swap;
    }
    return keys;
}

/* ---- quantiles ---- */

/* numpy: at q (n - 1), in float32; between two numbers from the nearer of them. */
static float quantile(const uint32_t *sorted, size_t n, float q)
{
    float at = q * (float)(n - 1);
    size_t below = (size_t)at;
    double t, step;
    float a, b;

    if (at >= (float)(n - 1))
        return float_of_key(sorted[n - 1]);
    a = float_of_key(sorted[below]);
    b = float_of_key(sorted[below + 1]);
    t = (double)(at - (float)below);
    step = (double)(b - a);
    return t < 0.5 ? (float)((double)a + step * t) : b - (float)(step * (1 - t));
}

/* Chunks of nearly one length, at least CHUNK_LEN_MIN. */
static size_t chunk_len_for(size_t n)
{
    size_t chunks = n / CHUNK_LEN_MIN, left = n % CHUNK_LEN_MIN;

    if (n <= CHUNK_LEN_MIN)
        return n;
    return CHUNK_LEN_MIN + (left > 0 ? (left - 1) / chunks + 1 : 0);
}

/* What sorting takes: a chunk and as much again, and the quantiles of all chunks and as much again. */
struct sorter {
    uint32_t *keys, *spare;    /* [chunk_len] */
    uint32_t *all, *all_spare; /* [chunks * QUANTILES] */
    size_t chunk_len, chunks;
    void *memory;
};

static int sorter_init(struct sorter *s, size_t n, const struct skep_mem *mem)
{
    size_t all_len;

    s->chunk_len = chunk_len_for(n);
    s->chunks = (n - 1) / s->chunk_len + 1;
    all_len = s->chunks * QUANTILES;
    s->memory = skep_mem_alloc(mem, 2 * (s->chunk_len + all_len) * sizeof *s->keys);
    if (!s->memory)
        return SKEP_ENOMEM;
    s->keys = s->memory;
    s->spare = s->keys + s->chunk_len;
    s->all = s->spare + s->chunk_len;
    s->all_spare = s->all + all_len;
    return 0;
}

/* @return false: one is NaN, as between infinities; numpy's are all NaN then. */
static bool find_borders(float *borders, struct sorter *s, const float *in, size_t n)
{
    size_t count = 0;
    const uint32_t *sorted;
    bool nan = false;

    for (size_t at = 0; at < n; at += s->chunk_len) {
        size_t len = SKEP_MIN(n - at, s->chunk_len);

        keys_of(s->keys, in + at, len);
        sorted = sort_keys(s->keys, s->spare, len);
        for (size_t k = 0; k < QUANTILES; k++) {
            float v = quantile(sorted, len, (float)k / CODEBOOK_LEN);

            nan |= v != v;
            s->all[count++] = key_of(v);
        }
    }
    sorted = sort_keys(s->all, s->all_spare, count);
    for (size_t k = 0; k < BORDERS; k++) {
        borders[k] = quantile(sorted, count, (float)(k + 1) / CODEBOOK_LEN);
        nan |= borders[k] != borders[k];
    }
    return !nan;
}

/* ---- buckets ---- */

/* Where to look for a key: bin by bin the borders that are below all of its keys; and then by halves, as many times as the fullest bin takes.
 * Nothing branches on the numbers, which are as they are and mispredicted. */
struct border_table {
    uint32_t
        keys[2 * CODEBOOK_LEN]; /* ascending; behind the borders those that are below nothing */
    uint32_t low, high;         /* the first and the last border */
    unsigned shift;             /* (key - low) >> shift is the bin */
    uint32_t stride;            /* of the first step of the search; 0: no bin has a border inside */
    uint32_t first[BINS];
};

static void fill_keys(struct border_table *t, const float *borders)
{
    memset(t->keys, 0xff, sizeof t->keys);
    for (size_t k = 0; k < BORDERS; k++) { /* rounding may have made one less than the one before */
        t->keys[k] = key_of(borders[k]);
        if (k > 0)
            t->keys[k] = SKEP_MAX(t->keys[k], t->keys[k - 1]);
    }
    t->low = t->keys[0];
    t->high = t->keys[BORDERS - 1];
}

static void fill_table(struct border_table *t, const float *borders)
{
    size_t border = 0, most = 0;

    fill_keys(t, borders);
    for (t->shift = 0; (t->high - t->low) >> t->shift >= BINS; t->shift++)
        continue;
    for (size_t bin = 0; bin < BINS; bin++) {
        uint64_t end = t->low + ((uint64_t)(bin + 1) << t->shift);
        size_t before = border;

        t->first[bin] = (uint32_t)border;
        while (border < BORDERS && t->keys[border] < end)
            border++;
        most = SKEP_MAX(most, border - before);
    }
    for (t->stride = most > 0; 2 * t->stride <= most; t->stride *= 2)
        continue;
}

SKEP_VECTOR static void look_up(uint32_t *borders, uint32_t *keys, const struct border_table *t,
                                const float *in, size_t n)
{
    uint32_t low = t->low, high = t->high;

    for (size_t i = 0; i < n; i++) {
        uint32_t key = key_of(in[i]), inside = SKEP_MIN(SKEP_MAX(key, low), high);

        keys[i] = key;
        borders[i] = t->first[(inside - low) >> t->shift];
    }
}

SKEP_VECTOR static void bisect(uint32_t *borders, const uint32_t *keys,
                               const struct border_table *t, uint32_t stride, size_t n)
{
    const uint32_t *probed = t->keys + stride - 1;

    for (size_t i = 0; i < n; i++)
        borders[i] += stride & skep_mask(probed[borders[i]] < keys[i]);
}

/* How many borders are below each number: step by step for a run of them, so that each step is a loop that the compiler can turn into vector code. */
static void choose_buckets(uint8_t *out, const struct border_table *t, const float *in, size_t n)
{
    uint32_t borders[CODEC_RUN_LEN], keys[CODEC_RUN_LEN];

    for (size_t at = 0; at < n; at += CODEC_RUN_LEN) {
        size_t len = SKEP_MIN(n - at, (size_t)CODEC_RUN_LEN);

        look_up(borders, keys, t, in + at, len);
        for (uint32_t stride = t->stride; stride > 0; stride /= 2)
            bisect(borders, keys, t, stride, len);
        for (size_t i = 0; i < len; i++)
            out[at + i] = (uint8_t)borders[i];
    }
}

int skep_quantile_encode(const skep_tensor *tensor, uint8_t *out, const struct skep_mem *mem)
{
    size_t n = skep_tensor_elements(tensor);
    uint8_t *indices = out + 8 + 4 * CODEBOOK_LEN;
    float borders[BORDERS], *scratch;
    struct border_table table;
    struct sorter sorter = {.memory = NULL};
    const float *in = skep_codec_floats(tensor, &scratch, mem);
    int rc;

    if (!in)
        return SKEP_ENOMEM;
    if ((rc = sorter_init(&sorter, n, mem)) < 0)
        goto out;
    if (!any_nan(in, n) && find_borders(borders, &sorter, in, n)) {
        fill_table(&table, borders);
        choose_buckets(indices, &table, in, n);
    } else { /* every number is beyond borders that are NaN */
        memset(indices, CODEBOOK_LEN - 1, n);
    }
    skep_codebook_of_means(out, in, indices, n);
out:
    skep_mem_free(mem, sorter.memory);
    skep_mem_free(mem, scratch);
    return rc;
}
