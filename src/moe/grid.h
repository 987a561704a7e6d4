/* SPDX-License-Identifier: MIT */
/* A grid of experts, and the scores of a search over it. docs/wire.md d.5, design.md "A search, as data flows".
 *
 * Scores are float32 or float64 as the caller has them, and every sum is rounded to that type. They are held as
 * doubles: the double sum of two floats, rounded to float, is exactly their float sum. */
#ifndef SKEP_MOE_GRID_H
#define SKEP_MOE_GRID_H

#include "base/error.h"
#include "base/limits.h"
#include "base/mem.h"

enum skep_grid_scores { SKEP_GRID_FLOAT32, SKEP_GRID_FLOAT64 };

struct skep_grid {
    size_t dims;           /* 1 … SKEP_GRID_DIMENSIONS_MAX */
    const uint32_t *sizes; /* [dims], each 1 … SKEP_GRID_SIZE_MAX */
};

/** What a caller passes in: for each dimension d a row-major [examples][sizes[d]] block, or rows further apart. */
struct skep_scores {
    enum skep_grid_scores type;
    size_t examples;         /* 1: a single search */
    size_t dims;             /* must be the grid's */
    const void *const *rows; /* [dims] → const float * or const double * */
    const size_t
        *row_stride; /* [dims]: numbers from one example's row to the next; NULL: sizes[d] */
};

/** @param why  May be NULL; else one line that names the offending dimension. @return 0; SKEP_EINVAL, SKEP_ELIMIT. */
int skep_grid_check(const struct skep_grid *grid, char *why, size_t why_len);

/** A checked copy of scores: row d of example e starts at values + e * stride + offsets[d]. */
struct skep_score_table {
    double *values;
    size_t *offsets; /* [dims] */
    double *best;    /* [examples][dims]: the highest score of each row */
    size_t dims, examples, stride;
    bool narrow; /* sums are rounded to float32 */
    const struct skep_mem *mem;
};

/** NaN and +infinity are refused, -infinity is legal. @return 0; SKEP_EINVAL (`why` names example, dimension, index), SKEP_ENOMEM. */
int skep_score_table_init(struct skep_score_table *table, const struct skep_mem *mem,
                          const struct skep_grid *grid, const struct skep_scores *scores, char *why,
                          size_t why_len);
void skep_score_table_fini(struct skep_score_table *table);

static inline const double *skep_score_row(const struct skep_score_table *table, size_t example,
                                           size_t dim)
{
    return table->values + example * table->stride + table->offsets[dim];
}

/** A sum in the caller's type. An overflowed sum plus -infinity is no number; it ranks last, as -infinity does. */
static inline double skep_score_add(bool narrow, double a, double b)
{
    double sum = narrow ? (double)(float)(a + b) : a + b;

    return sum == sum ? sum : -__builtin_inf();
}

#endif
