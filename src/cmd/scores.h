/* SPDX-License-Identifier: MIT */
/* The scores of a search: one row of floats for each dimension of the grid, for one example or a batch of them.
 *
 *   .npy   (G) in a 1-d grid, (D, G) where all dimensions have G indices, (batch, D, G)
 *   .npz   D arrays in order, each (G_d), or each (batch, G_d)
 *   JSON   [row, …] or [[row, …], …]; "-inf" is legal where a number stands */
#ifndef SKEP_CMD_SCORES_H
#define SKEP_CMD_SCORES_H

#include "cmd/args.h"

struct skep_cmd_scores {
    bool is_float64; /* else float32: sums stay in the type given */
    bool is_batch;   /* a batch of one is still a batch */
    size_t examples;
    size_t dims;
    size_t offset[SKEP_GRID_DIMENSIONS_MAX]; /* of a row in its example, in items */
    size_t stride;                           /* items of one example: the sum of the grid */
    void *data;                              /* [examples][stride], owned */
};

/** @return 0; SKEP_EVALUE with the reason: not a file of scores, of another shape than the grid, NaN or +infinity; SKEP_ENOMEM. */
int skep_cmd_scores_parse(struct skep_cmd_scores *out, const struct skep_mem *mem, skep_bytes file,
                          const struct skep_cmd_grid *grid, struct skep_cmd_why *why);
void skep_cmd_scores_fini(struct skep_cmd_scores *scores, const struct skep_mem *mem);

/** The row of one dimension of one example. */
const void *skep_cmd_scores_row(const struct skep_cmd_scores *scores, size_t example, size_t dim);

#endif
