/* SPDX-License-Identifier: MIT */
#include "moe/grid.h"

#include <math.h>
#include <stdio.h>

#include "base/bytes.h"

enum { LANES = 8 }; /* rows are looked through this wide, so that the compiler can use vectors */

int skep_grid_check(const struct skep_grid *grid, char *why, size_t why_len)
{
    char none[1];

    if (!why || why_len == 0) {
        why = none;
        why_len = sizeof none;
    }
    why[0] = '\0';
    if (grid->dims == 0) {
        snprintf(why, why_len, "the grid has no dimensions");
        return SKEP_EINVAL;
    }
    if (grid->dims > SKEP_GRID_DIMENSIONS_MAX) {
        snprintf(why, why_len, "the grid has %zu dimensions; at most %d are allowed", grid->dims,
                 SKEP_GRID_DIMENSIONS_MAX);
        return SKEP_ELIMIT;
    }
    for (size_t d = 0; d < grid->dims; d++) {
        if (grid->sizes[d] == 0) {
            snprintf(why, why_len, "dimension %zu of the grid is zero", d);
            return SKEP_EINVAL;
        }
        if (grid->sizes[d] > SKEP_GRID_SIZE_MAX) {
            snprintf(why, why_len, "dimension %zu of the grid is %u; at most %d are allowed", d,
                     (unsigned)grid->sizes[d], SKEP_GRID_SIZE_MAX);
            return SKEP_ELIMIT;
        }
    }
    return 0;
}

/* Copy a row as doubles and find its best score. @return whether all of it is legal: below +infinity, which NaN is not either. */
#define DEFINE_COPY_ROW(name, type)                                                                \
    static bool name(double *out, const type *row, size_t count, double *best)                     \
    {                                                                                              \
        double high[LANES];                                                                        \
        int bad[LANES] = {0};                                                                      \
        size_t i = 0;                                                                              \
                                                                                                   \
        for (size_t j = 0; j < LANES; j++)                                                         \
            high[j] = -HUGE_VAL;                                                                   \
        for (; i + LANES <= count; i += LANES) {                                                   \
            for (size_t j = 0; j < LANES; j++) {                                                   \
                double v = (double)row[i + j];                                                     \
                                                                                                   \
                out[i + j] = v;                                                                    \
                high[j] = v > high[j] ? v : high[j];                                               \
                bad[j] |= !(v < HUGE_VAL);                                                         \
            }                                                                                      \
        }                                                                                          \
        for (; i < count; i++) {                                                                   \
            double v = (double)row[i];                                                             \
                                                                                                   \
            out[i] = v;                                                                            \
            high[0] = v > high[0] ? v : high[0];                                                   \
            bad[0] |= !(v < HUGE_VAL);                                                             \
        }                                                                                          \
        for (size_t j = 1; j < LANES; j++) {                                                       \
            high[0] = high[j] > high[0] ? high[j] : high[0];                                       \
            bad[0] |= bad[j];                                                                      \
        }                                                                                          \
        *best = high[0];                                                                           \
        return !bad[0];                                                                            \
    }

DEFINE_COPY_ROW(copy_doubles, double)
DEFINE_COPY_ROW(copy_floats, float)

static int refuse_row(const double *row, size_t count, size_t example, size_t dim, bool batch,
                      char *why, size_t why_len)
{
    size_t i = 0;

    while (i + 1 < count && row[i] < HUGE_VAL)
        i++;
    if (!why || why_len == 0)
        return SKEP_EINVAL;
    if (batch)
        snprintf(why, why_len, "score %zu of dimension %zu of example %zu is %s", i, dim, example,
                 isnan(row[i]) ? "NaN" : "+infinity");
    else
        snprintf(why, why_len, "score %zu of dimension %zu is %s", i, dim,
                 isnan(row[i]) ? "NaN" : "+infinity");
    return SKEP_EINVAL;
}

static int check_shape(const struct skep_grid *grid, const struct skep_scores *scores, char *why,
                       size_t why_len)
{
    char none[1];

    if (!why || why_len == 0) {
        why = none;
        why_len = sizeof none;
    }
    why[0] = '\0';
    if (scores->dims != grid->dims) {
        snprintf(why, why_len, "there are %zu rows of scores for a grid of %zu dimensions",
                 scores->dims, grid->dims);
        return SKEP_EINVAL;
    }
    if (scores->examples == 0) {
        snprintf(why, why_len, "the batch is empty");
        return SKEP_EINVAL;
    }
    for (size_t d = 0; d < grid->dims; d++) {
        if (scores->row_stride && scores->row_stride[d] < grid->sizes[d] && scores->examples > 1) {
            snprintf(why, why_len,
                     "the rows of dimension %zu are %zu apart, less than their length", d,
                     scores->row_stride[d]);
            return SKEP_EINVAL;
        }
    }
    return 0;
}

static int copy_rows(struct skep_score_table *table, const struct skep_grid *grid,
                     const struct skep_scores *scores, char *why, size_t why_len)
{
    for (size_t d = 0; d < grid->dims; d++) {
        size_t count = grid->sizes[d];
        size_t step = scores->row_stride ? scores->row_stride[d] : count;

        for (size_t e = 0; e < scores->examples; e++) {
            double *out = table->values + e * table->stride + table->offsets[d];
            double *best = &table->best[e * table->dims + d];
            bool legal =
                scores->type == SKEP_GRID_FLOAT32
                    ? copy_floats(out, (const float *)scores->rows[d] + e * step, count, best)
                    : copy_doubles(out, (const double *)scores->rows[d] + e * step, count, best);

            if (!legal)
                return refuse_row(out, count, e, d, scores->examples > 1, why, why_len);
        }
    }
    return 0;
}

int skep_score_table_init(struct skep_score_table *table, const struct skep_mem *mem,
                          const struct skep_grid *grid, const struct skep_scores *scores, char *why,
                          size_t why_len)
{
    size_t numbers, bests, head, len;
    int rc = check_shape(grid, scores, why, why_len);

    *table = (struct skep_score_table){.dims = grid->dims,
                                       .examples = scores->examples,
                                       .narrow = scores->type == SKEP_GRID_FLOAT32,
                                       .mem = mem};
    if (rc < 0)
        return rc;
    for (size_t d = 0; d < grid->dims; d++)
        table->stride += grid->sizes[d];
    head = grid->dims * sizeof *table->offsets;
    if (!skep_size_mul(table->stride, scores->examples, &numbers) ||
        !skep_size_mul(grid->dims, scores->examples, &bests) ||
        !skep_size_add(numbers, bests, &numbers) ||
        !skep_size_mul(numbers, sizeof *table->values, &len) || !skep_size_add(len, head, &len) ||
        len > PTRDIFF_MAX) {
        return SKEP_ENOMEM;
    }
    table->values = skep_mem_alloc(mem, len);
    if (!table->values)
        return SKEP_ENOMEM;
    table->best = table->values + table->stride * scores->examples;
    table->offsets = (size_t *)(void *)(table->best + bests);
    for (size_t d = 0, at = 0; d < grid->dims; at += grid->sizes[d], d++)
        table->offsets[d] = at;
    rc = copy_rows(table, grid, scores, why, why_len);
    if (rc < 0)
        skep_score_table_fini(table);
    return rc;
}

void skep_score_table_fini(struct skep_score_table *table)
{
    if (table->mem)
        skep_mem_free(table->mem, table->values);
    table->values = NULL;
    table->best = NULL;
    table->offsets = NULL;
}
