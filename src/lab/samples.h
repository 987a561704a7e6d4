/* SPDX-License-Identifier: MIT */
/* Numbers that a run has measured, and what they are like together. Integers, so that the same run gives the same percentiles everywhere. */
#ifndef SKEP_LAB_SAMPLES_H
#define SKEP_LAB_SAMPLES_H

#include "base/error.h"
#include "base/mem.h"

struct skep_lab_samples {
    const struct skep_mem *mem;
    uint64_t *values; /* [count]; sorted after the first question */
    size_t count, cap;
    uint64_t sum;
    bool sorted, failed; /* failed: memory ran out, some are missing */
};

void skep_lab_samples_init(struct skep_lab_samples *samples, const struct skep_mem *mem);
void skep_lab_samples_fini(struct skep_lab_samples *samples);
void skep_lab_samples_add(struct skep_lab_samples *samples, uint64_t value);

/** The smallest value that `per_mille` of all are at or below; 0 when there are none. */
uint64_t skep_lab_samples_at(struct skep_lab_samples *samples, unsigned per_mille);

/** Rounded down; 0 when there are none. */
uint64_t skep_lab_samples_mean(const struct skep_lab_samples *samples);

#endif
