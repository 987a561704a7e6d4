/* SPDX-License-Identifier: MIT */
/* A file of scores is refused with a reason, or every score of it is a number that is not above all others, in the shape of the grid.
 * The first byte chooses the grid. */
#include <math.h>
#include <stdlib.h>

#include "cmd/scores.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(const struct skep_cmd_scores *s, const struct skep_cmd_grid *grid)
{
    size_t count = 0;

    for (size_t d = 0; d < grid->dims; d++)
        count += grid->size[d];
    if (s->examples == 0 || s->stride != count)
        abort();
    for (size_t i = 0; i < s->examples * s->stride; i++) {
        double v =
            s->is_float64 ? ((const double *)s->data)[i] : (double)((const float *)s->data)[i];

        if (isnan(v) || (isinf(v) && v > 0))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct skep_cmd_grid grids[] = {
        {1, {3}}, {2, {2, 3}}, {2, {3, 3}}, {3, {1, 1, 1}}};
    const struct skep_cmd_grid *grid = &grids[len > 0 ? data[0] % SKEP_COUNT_OF(grids) : 0];
    skep_bytes file = skep_bytes_of(data, len);
    struct skep_cmd_why why = {.text = ""};
    struct skep_cmd_scores scores;

    skep_bytes_take(&file, 1);
    if (skep_cmd_scores_parse(&scores, &skep_mem_std, file, grid, &why) == 0)
        check(&scores, grid);
    else if (why.text[0] == '\0' || scores.data)
        abort();
    skep_cmd_scores_fini(&scores, &skep_mem_std);
    return 0;
}
