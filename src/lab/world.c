/* SPDX-License-Identifier: MIT */
#include "lab/world.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* Cells taken: open addressing, at most half full; 0 is free, so cells count from 1. */
struct taken {
    uint64_t *cells;
    size_t cap;
};

/* @return was it free? */
static bool take(struct taken *taken, uint64_t cell)
{
    size_t at = (size_t)((cell * 0x9e3779b97f4a7c15u) >> 20) & (taken->cap - 1);

    while (taken->cells[at] != 0) {
        if (taken->cells[at] == cell + 1)
            return false;
        at = (at + 1) & (taken->cap - 1);
    }
    taken->cells[at] = cell + 1;
    return true;
}

static uint64_t places_of(size_t dims, const uint32_t *sizes)
{
    uint64_t places = 1;

    for (size_t d = 0; d < dims; d++) {
        if (places > UINT64_MAX / 4 / sizes[d])
            return UINT64_MAX / 4;
        places *= sizes[d];
    }
    return places;
}

static void settle(struct skep_lab_world *world, uint64_t cell)
{
    uint32_t *place = world->places + world->count++ * world->dims;

    for (size_t d = world->dims; d-- > 0;) {
        place[d] = (uint32_t)(cell % world->sizes[d]);
        cell /= world->sizes[d];
    }
}

int skep_lab_world_init(struct skep_lab_world *world, const struct skep_mem *mem, size_t dims,
                        const uint32_t *sizes, size_t count, struct skep_prng *prng)
{
    uint64_t places = places_of(dims, sizes);
    struct taken taken = {.cap = 64};

    *world = (struct skep_lab_world){.mem = mem, .dims = dims};
    memcpy(world->sizes, sizes, dims * sizeof *sizes);
    if (count > places)
        return SKEP_EINVAL;
    while (taken.cap < 2 * count)
        taken.cap *= 2;
    taken.cells = skep_mem_zalloc(mem, taken.cap, sizeof *taken.cells);
    world->places = skep_mem_zalloc(mem, count + 1, dims * sizeof *world->places);
    if (!taken.cells || !world->places) {
        skep_mem_free(mem, taken.cells);
        skep_lab_world_fini(world);
        return SKEP_ENOMEM;
    }
    /* Floyd's way: each draw settles one, however dense the grid is. */
    for (uint64_t last = places - count; world->count < count; last++) {
        uint64_t cell = skep_prng_below(prng, last + 1);

        if (!take(&taken, cell)) {
            take(&taken, last);
            cell = last;
        }
        settle(world, cell);
    }
    skep_mem_free(mem, taken.cells);
    return 0;
}

void skep_lab_world_fini(struct skep_lab_world *world)
{
    skep_mem_free(world->mem, world->places);
    world->places = NULL;
    world->count = 0;
}

size_t skep_lab_world_uid(const struct skep_lab_world *world, size_t expert,
                          char out[SKEP_LAB_UID_MAX])
{
    size_t len = (size_t)snprintf(out, SKEP_LAB_UID_MAX, "expert");

    for (size_t d = 0; d < world->dims; d++)
        len += (size_t)snprintf(out + len, SKEP_LAB_UID_MAX - len, ".%u",
                                world->places[expert * world->dims + d]);
    return len;
}

double skep_lab_world_score(const struct skep_lab_world *world, size_t expert,
                            const double *const *rows)
{
    const uint32_t *place = world->places + expert * world->dims;
    double sum = rows[0][place[0]];

    for (size_t d = 1; d < world->dims; d++)
        sum += rows[d][place[d]];
    return sum;
}

size_t skep_lab_world_best(const struct skep_lab_world *world, const double *const *rows, size_t k,
                           double *out)
{
    size_t count = 0;

    for (size_t i = 0; i < world->count; i++) {
        double score = skep_lab_world_score(world, i, rows);
        size_t at;

        if (count == k && score <= out[k - 1])
            continue;
        at = count < k ? count++ : k - 1;
        for (; at > 0 && out[at - 1] < score; at--)
            out[at] = out[at - 1];
        out[at] = score;
    }
    return count;
}
