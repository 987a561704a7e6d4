/* SPDX-License-Identifier: MIT */
/* A search as the command runs and shows it: shared by `find` and `swarm`. */
#ifndef SKEP_CMD_SEARCH_H
#define SKEP_CMD_SEARCH_H

#include <skep/moe.h>

#include "cmd/scores.h"
#include "cmd/session.h"

/** The scores and the grid in the form the API takes. */
struct skep_cmd_search {
    skep_find_options options;
    const void *rows[SKEP_GRID_DIMENSIONS_MAX];
    size_t strides[SKEP_GRID_DIMENSIONS_MAX];
};

/** Fill search->options with prefix, grid and scores, which are borrowed; the rest has its defaults. */
void skep_cmd_search_init(struct skep_cmd_search *search, const char *prefix,
                          const struct skep_cmd_grid *grid, const struct skep_cmd_scores *scores);

/** Run it once. @return the operation, the caller's to free, or NULL; *code is SKEP_EXIT_DONE or what went wrong, printed. */
skep_op *skep_cmd_search_run(struct skep_cmd_search *search, struct skep_session *session,
                             int *code);

/** The search's document, design.md. `times_ms` may be NULL: else "latency_ms" over them. */
json_t *skep_cmd_search_json(const skep_op *op, bool is_batch, double *times_ms, size_t time_count);

/** The table of one example: rank, uid, score, peer. */
void skep_cmd_search_print_table(const skep_found *found);

/** "3 rounds, 18 keys, 12 calls, 1.42 ms". */
void skep_cmd_search_print_cost(const skep_find_cost *cost);

struct skep_cmd_latency {
    double min, median, p95, max;
};

/** Sorts times_ms. */
struct skep_cmd_latency skep_cmd_latency_of(double *times_ms, size_t count);

#endif
