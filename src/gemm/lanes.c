/* SPDX-License-Identifier: MIT */
/* A product of few rows is bound by how fast B, a layer's weights, comes from memory, and libraries copy all of it into another order first. Here B is read once, as it lies, one number
 * at a time into all lanes of a register, and it is A, which is small, that is transposed: the lanes are the rows of A.
 *
 *   at[k][16 vectors]     A^T: a number's row of lanes
 *   ct[48][16 vectors]    48 rows of C^T in the making, one a row of B; then written to C
 *
 * Depth is cut so that a block of at stays in the first cache while 48 rows of B go by. */
#include "gemm/lanes.h"

#if defined __x86_64__ && defined __GNUC__

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WIDE __attribute__((target("avx512f")))
#define INLINE static inline __attribute__((always_inline)) WIDE

enum {
    LANES = 16,
    VECTORS_MAX = 4, /* so many rows of A, divided by 16, at once */
    BLOCK_ROWS = 48, /* of B; a multiple of each tile's rows */
    BLOCK_DEPTH = 128,
    ROWS_MIN = 5, /* below this the library's NT is bound by memory as well */
    ROWS_MAX = 128,
};

typedef float vector __attribute__((vector_size(LANES * sizeof(float)), may_alias));
typedef float loose_vector
    __attribute__((vector_size(LANES * sizeof(float)), may_alias, aligned(sizeof(float))));

struct lanes {
    const float *b;
    float *c;
    size_t n, k, ldb, ldc, rows, vectors;
    float alpha, beta;
    const vector *at;
};

/* ct[rows][vectors] += rows of B, `depth` numbers of each, times at. The sums stay in registers. */
INLINE void add_tile(vector *ct, const float *b, size_t ldb, const vector *at, size_t depth,
                     const size_t rows, const size_t vectors)
{
    vector sums[8][VECTORS_MAX];

    for (size_t i = 0; i < rows; i++)
        for (size_t v = 0; v < vectors; v++)
            sums[i][v] = ct[i * vectors + v];
    for (size_t p = 0; p < depth; p++, at += vectors)
        for (size_t i = 0; i < rows; i++) {
            vector x = b[i * ldb + p] - (vector){0};

            for (size_t v = 0; v < vectors; v++)
                sums[i][v] += x * at[v];
        }
    for (size_t i = 0; i < rows; i++)
        for (size_t v = 0; v < vectors; v++)
            ct[i * vectors + v] = sums[i][v];
}

INLINE void add_rows(vector *ct, const float *b, size_t ldb, const vector *at, size_t rows,
                     size_t depth, const size_t tile, const size_t vectors)
{
    size_t i = 0;

    for (; i + tile <= rows; i += tile)
        add_tile(ct + i * vectors, b + i * ldb, ldb, at, depth, tile, vectors);
    for (; i < rows; i++)
        add_tile(ct + i * vectors, b + i * ldb, ldb, at, depth, 1, vectors);
}

/* Tiles fill the 32 registers, with one for the number of B and those of A. */
WIDE static void add_block(const struct lanes *l, vector *ct, size_t row, size_t rows, size_t p,
                           size_t depth)
{
    const float *b = l->b + row * l->ldb + p;
    const vector *at = l->at + p * l->vectors;

    switch (l->vectors) {
    case 1: add_rows(ct, b, l->ldb, at, rows, depth, 8, 1); break;
    case 2: add_rows(ct, b, l->ldb, at, rows, depth, 8, 2); break;
    case 3: add_rows(ct, b, l->ldb, at, rows, depth, 8, 3); break;
    case 4: add_rows(ct, b, l->ldb, at, rows, depth, 6, 4); break;
    default: break;
    }
}

static void write_block(const struct lanes *l, const float *ct, size_t row, size_t rows)
{
    size_t step = l->vectors * LANES;

    for (size_t i = 0; i < l->rows; i++) {
        float *c = l->c + i * l->ldc + row;

        for (size_t j = 0; j < rows; j++) {
            float sum = l->alpha * ct[j * step + i];

            c[j] = l->beta == 0 ? sum : sum + l->beta * c[j];
        }
    }
}

WIDE static void multiply_block(const struct lanes *l, size_t row)
{
    vector ct[BLOCK_ROWS * VECTORS_MAX];
    size_t rows = l->n - row < BLOCK_ROWS ? l->n - row : BLOCK_ROWS;

    memset(ct, 0, rows * l->vectors * sizeof *ct);
    for (size_t p = 0; p < l->k; p += BLOCK_DEPTH) {
        size_t depth = l->k - p < BLOCK_DEPTH ? l->k - p : BLOCK_DEPTH;

        add_block(l, ct, row, rows, p, depth);
    }
    write_block(l, (const float *)ct, row, rows);
}

/* Lanes without a row are zero. A line of a row at a time: rows are often a power of two apart, and so compete for the same few places of the cache. */
static void transpose(float *at, const float *a, size_t lda, size_t rows, size_t k, size_t lanes)
{
    for (size_t begin = 0; begin < k; begin += LANES) {
        size_t end = k - begin < LANES ? k : begin + LANES;

        for (size_t i = 0; i < lanes; i++)
            for (size_t p = begin; p < end; p++)
                at[p * lanes + i] = i < rows ? a[i * lda + p] : 0;
    }
}

static void multiply_rows(struct lanes *l, float *at, const float *a, size_t lda)
{
    l->vectors = (l->rows + LANES - 1) / LANES;
    l->at = (const vector *)at;
    transpose(at, a, lda, l->rows, l->k, l->vectors * LANES);
#if defined _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (size_t row = 0; row < l->n; row += BLOCK_ROWS)
        multiply_block(l, row);
}

bool skep_gemm_lanes(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda,
                     const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    enum { AT_ONCE = VECTORS_MAX * LANES };
    struct lanes l = {.b = b, .n = n, .k = k, .ldb = ldb, .ldc = ldc, .alpha = alpha, .beta = beta};
    void *at;

    if (m < ROWS_MIN || m > ROWS_MAX || n < BLOCK_ROWS || k < LANES || k > SIZE_MAX / 1024 ||
        !__builtin_cpu_supports("avx512f"))
        return false;
    if (posix_memalign(&at, sizeof(vector), k * AT_ONCE * sizeof(float)) != 0)
        return false;
    for (size_t row = 0; row < m; row += AT_ONCE) {
        l.c = c + row * ldc;
        l.rows = m - row < AT_ONCE ? m - row : AT_ONCE;
        multiply_rows(&l, at, a + row * lda, lda);
    }
    free(at);
    return true;
}

#else

bool skep_gemm_lanes(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda,
                     const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    (void)m, (void)n, (void)k, (void)alpha, (void)a, (void)lda, (void)b, (void)ldb, (void)beta;
    (void)c, (void)ldc;
    return false;
}

#endif
