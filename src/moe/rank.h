/* SPDX-License-Identifier: MIT */
/* Picking the best of many scores without sorting the rest. docs/wire.md d.5 says which of equal scores comes first. */
#ifndef SKEP_MOE_RANK_H
#define SKEP_MOE_RANK_H

#include "base/error.h"

/** An index of the first dimension. Of equal scores the larger index comes first. */
struct skep_ranked {
    double score;
    uint32_t index;
};

/** The best `want` of row[0 … count) that come after `after` (NULL: of all), best first. @return how many there are. */
size_t skep_rank_next(struct skep_ranked *out, size_t want, const double *row, uint32_t count,
                      const struct skep_ranked *after);

/** The `cap` best of all that were offered: a heap with the worst on top. */
struct skep_top_item {
    double score;
    const void *owner; /* what `index` counts in */
    uint32_t index;
};

struct skep_top {
    struct skep_top_item *items; /* room for as many as are offered, at most cap */
    size_t count, cap;
    /** Of two items with equal scores, does a come before b? */
    bool (*above)(const struct skep_top_item *a, const struct skep_top_item *b);
    bool has_cut;     /* something was offered that is not among them … */
    double cut_score; /* … and this is the best of that */
};

void skep_top_offer(struct skep_top *top, struct skep_top_item item);

/** Bring the items into order, best first. Nothing can be offered after that. */
void skep_top_sort(struct skep_top *top);

#endif
