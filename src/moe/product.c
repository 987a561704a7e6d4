/* SPDX-License-Identifier: MIT */
/* See product.h. The product is computed in tiles of 4 rows and 32 columns that stay in registers, over 256 terms at a time, whose part of `b` is laid out
 * as the tile reads it. 2048 x 768 x 1024 runs at 70 GFLOP/s with AVX-512, 27 with SSE2 (a plain triple loop: 2). */
#include "moe/product.h"

#include <string.h>

#include "base/bytes.h"
#include "base/vector.h"

enum { TILE_ROWS = 4, TILE_COLUMNS = 32, TERMS = 256, LANES = 16 };

/* The rows of a tile: pointers, as the last tile may have fewer than four, and then computes its last one again. */
struct tile_rows {
    const float *at[TILE_ROWS];
    size_t step; /* from one term to the next */
};

SKEP_VECTOR static void tile(float *restrict out, const struct tile_rows *rows, size_t terms,
                             const float *restrict panel)
{
    float c0[TILE_COLUMNS] = {0}, c1[TILE_COLUMNS] = {0}, c2[TILE_COLUMNS] = {0},
          c3[TILE_COLUMNS] = {0};
    const float *r0 = rows->at[0], *r1 = rows->at[1], *r2 = rows->at[2], *r3 = rows->at[3];
    size_t step = rows->step;

    for (size_t p = 0; p < terms; p++) {
        const float *b = panel + p * TILE_COLUMNS;
        float a0 = r0[p * step], a1 = r1[p * step], a2 = r2[p * step], a3 = r3[p * step];

        for (int j = 0; j < TILE_COLUMNS; j++) {
            c0[j] += a0 * b[j];
            c1[j] += a1 * b[j];
            c2[j] += a2 * b[j];
            c3[j] += a3 * b[j];
        }
    }
    memcpy(out, c0, sizeof c0);
    memcpy(out + TILE_COLUMNS, c1, sizeof c1);
    memcpy(out + TILE_COLUMNS * (ptrdiff_t)2, c2, sizeof c2);
    memcpy(out + TILE_COLUMNS * (ptrdiff_t)3, c3, sizeof c3);
}

/* Columns j … of `b`, terms p …, side by side; what is missing to a whole tile is 0. */
static void pack(float *panel, struct skep_matrix b, size_t terms, size_t columns)
{
    for (size_t p = 0; p < terms; p++) {
        float *to = panel + p * TILE_COLUMNS;

        for (size_t j = 0; j < columns; j++)
            to[j] = b.at[p * b.row + j * b.column];
        for (size_t j = columns; j < TILE_COLUMNS; j++)
            to[j] = 0;
    }
}

static void add_tile(float *out, size_t stride, const float *computed, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            out[i * stride + j] += computed[i * TILE_COLUMNS + j];
}

/* All rows of `a` by one panel. */
static void multiply_panel(float *out, size_t m, size_t n, size_t columns, struct skep_matrix a,
                           size_t terms, const float *panel)
{
    float computed[TILE_ROWS * TILE_COLUMNS];
    struct tile_rows rows = {.step = a.column};

    for (size_t i = 0; i < m; i += TILE_ROWS) {
        size_t count = SKEP_MIN(m - i, (size_t)TILE_ROWS);

        for (size_t r = 0; r < TILE_ROWS; r++)
            rows.at[r] = a.at + (i + SKEP_MIN(r, count - 1)) * a.row;
        tile(computed, &rows, terms, panel);
        add_tile(out + i * n, n, computed, count, columns);
    }
}

void skep_product_add(float *out, size_t m, size_t n, size_t k, struct skep_matrix a,
                      struct skep_matrix b)
{
    float panel[TERMS * TILE_COLUMNS];

    for (size_t p = 0; p < k; p += TERMS) {
        size_t terms = SKEP_MIN(k - p, (size_t)TERMS);

        for (size_t j = 0; j < n; j += TILE_COLUMNS) {
            size_t columns = SKEP_MIN(n - j, (size_t)TILE_COLUMNS);

            pack(panel, (struct skep_matrix){b.at + p * b.row + j * b.column, b.row, b.column},
                 terms, columns);
            multiply_panel(out + j, m, n, columns,
                           (struct skep_matrix){a.at + p * a.column, a.row, a.column}, terms,
                           panel);
        }
    }
}

SKEP_VECTOR float skep_product_dot(const float *a, const float *b, size_t count)
{
    float lanes[LANES] = {0}, sum = 0;
    size_t i = 0;

    for (; i + LANES <= count; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] += a[i + l] * b[i + l];
    for (size_t l = 0; i + l < count; l++)
        lanes[l] += a[i + l] * b[i + l];
    for (size_t l = 0; l < LANES; l++)
        sum += lanes[l];
    return sum;
}

SKEP_VECTOR void skep_product_add_scaled(float *restrict out, float factor, const float *restrict a,
                                         size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] += factor * a[i];
}

SKEP_VECTOR void skep_product_scale(float *restrict out, float factor, const float *restrict a,
                                    size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = factor * a[i];
}

SKEP_VECTOR void skep_product_multiply(float *restrict out, const float *restrict a, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] *= a[i];
}
