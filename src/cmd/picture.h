/* SPDX-License-Identifier: MIT */
/* A small picture of a grid in text: where experts are, in its first two dimensions, and where a beam went. */
#ifndef SKEP_CMD_PICTURE_H
#define SKEP_CMD_PICTURE_H

#include <stdio.h>

#include "base/bytes.h"

/* A place in the first two dimensions; in a 1-d grid row is 0. */
struct skep_picture_place {
    size_t row, column;
};

struct skep_picture {
    size_t rows, columns;                     /* sizes of the two dimensions */
    const struct skep_picture_place *experts; /* [expert_count] */
    size_t expert_count;
    const size_t *beam_rows; /* [beam_row_count] kept at the first dimension */
    size_t beam_row_count;
    const struct skep_picture_place *beam; /* [beam_count] kept at the second */
    size_t beam_count;
    const struct skep_picture_place *found; /* [found_count], best first */
    size_t found_count;
};

/** @return 0 or SKEP_ENOMEM. */
int skep_picture_print(const struct skep_picture *picture, FILE *to, bool colour);

#endif
