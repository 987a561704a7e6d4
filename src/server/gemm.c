/* SPDX-License-Identifier: MIT */
/* Matrix products in plain C, after Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008): blocks of both matrices are packed so that
 * the innermost loops read memory in order, and a tile of C stays in registers meanwhile. Packing also takes care of 'T'. */
#include "server/backend.h"

#include "base/vector.h"

enum {
    TILE_ROWS = 4,
    TILE_COLUMNS = 16,
    BLOCK_M = 64,
    BLOCK_N = 128,
    BLOCK_K = 128,
};

struct matrix {
    const float *data;
    size_t row_step, column_step; /* numbers from one to the next */
};

/* On the stack: no pass may fail for want of 100 KiB. */
struct packed {
    float a[BLOCK_M * BLOCK_K]; /* strips of TILE_ROWS rows; within one, column after column */
    float b[BLOCK_K * BLOCK_N]; /* strips of TILE_COLUMNS columns; within one, row after row */
};

static struct matrix matrix_of(char op, const float *data, size_t ld)
{
    return op == 'T' ? (struct matrix){data, 1, ld} : (struct matrix){data, ld, 1};
}

static float element(const struct matrix *x, size_t row, size_t column)
{
    return x->data[row * x->row_step + column * x->column_step];
}

/* Rows past the last are zero, so that every tile is whole. */
static void pack_a(float *to, const struct matrix *a, size_t row, size_t rows, size_t k,
                   size_t k_len)
{
    for (size_t strip = 0; strip < rows; strip += TILE_ROWS)
        for (size_t p = 0; p < k_len; p++)
            for (size_t i = strip; i < strip + TILE_ROWS; i++)
                *to++ = i < rows ? element(a, row + i, k + p) : 0;
}

static void pack_b(float *to, const struct matrix *b, size_t k, size_t k_len, size_t column,
                   size_t columns)
{
    for (size_t strip = 0; strip < columns; strip += TILE_COLUMNS)
        for (size_t p = 0; p < k_len; p++)
            for (size_t j = strip; j < strip + TILE_COLUMNS; j++)
                *to++ = j < columns ? element(b, k + p, column + j) : 0;
}

SKEP_VECTOR
static void multiply_tile(float *restrict tile, const float *restrict a, const float *restrict b,
                          size_t k_len)
{
    float sums[TILE_ROWS][TILE_COLUMNS] = {{0}};

    for (size_t p = 0; p < k_len; p++, a += TILE_ROWS, b += TILE_COLUMNS)
        for (size_t i = 0; i < TILE_ROWS; i++)
            for (size_t j = 0; j < TILE_COLUMNS; j++)
                sums[i][j] += a[i] * b[j];
    for (size_t i = 0; i < TILE_ROWS; i++)
        for (size_t j = 0; j < TILE_COLUMNS; j++)
            tile[i * TILE_COLUMNS + j] = sums[i][j];
}

static void multiply_blocks(const struct packed *packed, size_t rows, size_t columns, size_t k_len,
                            float alpha, float *c, size_t ldc)
{
    float tile[TILE_ROWS * TILE_COLUMNS];

    for (size_t column = 0; column < columns; column += TILE_COLUMNS)
        for (size_t row = 0; row < rows; row += TILE_ROWS) {
            size_t height = SKEP_MIN(rows - row, (size_t)TILE_ROWS);
            size_t width = SKEP_MIN(columns - column, (size_t)TILE_COLUMNS);

            multiply_tile(tile, packed->a + row * k_len, packed->b + column * k_len, k_len);
            for (size_t i = 0; i < height; i++)
                for (size_t j = 0; j < width; j++)
                    c[(row + i) * ldc + column + j] += alpha * tile[i * TILE_COLUMNS + j];
        }
}

/* As BLAS has it, beta 0 overwrites what may be NaN. */
static void scale(float *c, size_t rows, size_t columns, size_t ldc, float beta)
{
    for (size_t i = 0; i < rows && beta != 1; i++)
        for (size_t j = 0; j < columns; j++)
            c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];
}

void skep_sgemm_portable(char op_a, char op_b, size_t m, size_t n, size_t k, float alpha,
                         const float *a, size_t lda, const float *b, size_t ldb, float beta,
                         float *c, size_t ldc)
{
    struct matrix left = matrix_of(op_a, a, lda), right = matrix_of(op_b, b, ldb);
    struct packed packed;

    scale(c, m, n, ldc, beta);
    for (size_t column = 0; column < n; column += BLOCK_N) {
        size_t columns = SKEP_MIN(n - column, (size_t)BLOCK_N);

        for (size_t p = 0; p < k; p += BLOCK_K) {
            size_t k_len = SKEP_MIN(k - p, (size_t)BLOCK_K);

            pack_b(packed.b, &right, p, k_len, column, columns);
            for (size_t row = 0; row < m; row += BLOCK_M) {
                size_t rows = SKEP_MIN(m - row, (size_t)BLOCK_M);

                pack_a(packed.a, &left, row, rows, p, k_len);
                multiply_blocks(&packed, rows, columns, k_len, alpha, c + row * ldc + column, ldc);
            }
        }
    }
}
