/* SPDX-License-Identifier: MIT */
/* The small grammars of the command line: durations, counts, grids. Source: design.md, "The command line is a contract". */
#ifndef SKEP_CMD_ARGS_H
#define SKEP_CMD_ARGS_H

#include "base/bytes.h"
#include "base/limits.h"
#include "cmd/why.h"

/** "50ms", "30s", "1.5h"; a bare number is seconds; units us, ms, s, m, h, d. @return 0 or SKEP_EINVAL. */
int skep_cmd_duration(uint64_t *out_us, const char *text, struct skep_cmd_why *why);

/** A whole number of decimal digits in [least, most]. @return 0 or SKEP_EINVAL. */
int skep_cmd_count(uint64_t *out, const char *text, uint64_t least, uint64_t most,
                   struct skep_cmd_why *why);

struct skep_cmd_grid {
    size_t dims;
    size_t size[SKEP_GRID_DIMENSIONS_MAX];
};

/** "256x256x256": one to SKEP_GRID_DIMENSIONS_MAX sizes of at least 1. @return 0 or SKEP_EINVAL. */
int skep_cmd_grid_parse(struct skep_cmd_grid *out, const char *text, struct skep_cmd_why *why);

#endif
