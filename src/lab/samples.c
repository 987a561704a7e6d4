/* SPDX-License-Identifier: MIT */
#include "lab/samples.h"

#include <stdlib.h>

void skep_lab_samples_init(struct skep_lab_samples *samples, const struct skep_mem *mem)
{
    *samples = (struct skep_lab_samples){.mem = mem};
}

void skep_lab_samples_fini(struct skep_lab_samples *samples)
{
    skep_mem_free(samples->mem, samples->values);
    skep_lab_samples_init(samples, samples->mem);
}

void skep_lab_samples_add(struct skep_lab_samples *samples, uint64_t value)
{
    if (samples->count == samples->cap) {
        size_t cap = samples->cap > 0 ? samples->cap * 2 : 256;
        void *grown = skep_mem_resize(samples->mem, samples->values, cap * sizeof value);

        if (!grown) {
            samples->failed = true;
            return;
        }
        samples->values = grown;
        samples->cap = cap;
    }
    samples->values[samples->count++] = value;
    samples->sum += value;
    samples->sorted = false;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

uint64_t skep_lab_samples_at(struct skep_lab_samples *samples, unsigned per_mille)
{
    size_t rank;

    if (samples->count == 0)
        return 0;
    if (!samples->sorted)
        qsort(samples->values, samples->count, sizeof *samples->values, by_value);
    samples->sorted = true;
    rank = (samples->count * per_mille + 999) / 1000;
    return samples->values[SKEP_MIN(SKEP_MAX(rank, (size_t)1), samples->count) - 1];
}

uint64_t skep_lab_samples_mean(const struct skep_lab_samples *samples)
{
    return samples->count > 0 ? samples->sum / samples->count : 0;
}
