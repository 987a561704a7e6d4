/* SPDX-License-Identifier: MIT */
/* The experts of a simulated grid, and the truth about them: which are the best for given scores, found by looking at all. */
#ifndef SKEP_LAB_WORLD_H
#define SKEP_LAB_WORLD_H

#include "base/bytes.h"
#include "base/limits.h"
#include "base/prng.h"

enum { SKEP_LAB_UID_MAX = 16 + 12 * SKEP_GRID_DIMENSIONS_MAX };

struct skep_lab_world {
    const struct skep_mem *mem;
    size_t dims;
    uint32_t sizes[SKEP_GRID_DIMENSIONS_MAX];
    uint32_t *places; /* [count][dims], all different */
    size_t count;
};

/** `count` experts at random places. @return 0; SKEP_EINVAL: the grid has not so many places; SKEP_ENOMEM. */
int skep_lab_world_init(struct skep_lab_world *world, const struct skep_mem *mem, size_t dims,
                        const uint32_t *sizes, size_t count, struct skep_prng *prng);
void skep_lab_world_fini(struct skep_lab_world *world);

/** "expert.1.2.3" of an expert. @return its length. */
size_t skep_lab_world_uid(const struct skep_lab_world *world, size_t expert,
                          char out[SKEP_LAB_UID_MAX]);

/** The sum of an expert's scores, in the order of the dimensions. @param rows  [dims] → [sizes[d]] */
double skep_lab_world_score(const struct skep_lab_world *world, size_t expert,
                            const double *const *rows);

/** The k best scores of all experts, best first. @return how many: less than k if there are fewer experts. */
size_t skep_lab_world_best(const struct skep_lab_world *world, const double *const *rows, size_t k,
                           double *out);

#endif
