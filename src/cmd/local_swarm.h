/* SPDX-License-Identifier: MIT */
/* A swarm in one process: full nodes over real loopback TCP, and random experts declared in it. */
#ifndef SKEP_CMD_LOCAL_SWARM_H
#define SKEP_CMD_LOCAL_SWARM_H

#include "base/prng.h"
#include "cmd/session.h"

struct skep_local_swarm {
    skep_node **nodes; /* [count]; each on a thread of its own */
    size_t count;
    char **addresses; /* [count] one of each, the caller of the API's strings */
    char **uids;      /* [expert_count] */
    uint64_t *cells;  /* [expert_count] row-major indices in the grid, all different */
    size_t expert_count;
    uint64_t joined_us, declared_us; /* how long it took */
};

/** Start the nodes and join them. All here give SKEP_EXIT_DONE, or an exit code with the error printed. */
int skep_local_swarm_start(struct skep_local_swarm *swarm, size_t count);

/** Choose experts at random, all different, and keep their names. The grid has at most 2^63 places. */
int skep_local_swarm_choose(struct skep_local_swarm *swarm, const char *prefix,
                            const struct skep_cmd_grid *grid, size_t count, struct skep_prng *prng);

/** Declare them, node i every count-th from the i-th on. */
int skep_local_swarm_declare(struct skep_local_swarm *swarm, uint64_t ttl_us);
void skep_local_swarm_stop(struct skep_local_swarm *swarm);

/** The grid's number of places. @return false above 2^63. */
bool skep_cmd_grid_places(const struct skep_cmd_grid *grid, uint64_t *places);

/** The coordinates of a cell. */
void skep_cmd_grid_coordinates(const struct skep_cmd_grid *grid, uint64_t cell,
                               size_t *coordinates);

#endif
