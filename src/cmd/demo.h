/* SPDX-License-Identifier: MIT */
/* A search in a local swarm with random scores, and its story: the experts, the cost, the beam's path through the grid. */
#ifndef SKEP_CMD_DEMO_H
#define SKEP_CMD_DEMO_H

#include "cmd/local_swarm.h"
#include "cmd/search.h"

struct skep_cmd_demo {
    /* the caller's */
    const struct skep_local_swarm *swarm;
    const struct skep_cmd_grid *grid;
    const char *prefix;
    size_t beam_size;
    /* ours */
    struct skep_session session; /* a client that joined the swarm */
    struct skep_cmd_scores scores;
    struct skep_cmd_search search;
    skep_op *found;
};

/** Join as a client, draw scores (normal, float32), search. @return SKEP_EXIT_DONE, or an exit code with the error printed. */
int skep_cmd_demo_start(struct skep_cmd_demo *demo, struct skep_prng *prng);

/** Table and cost, and with `draw` the picture and the paths. @return as above. */
int skep_cmd_demo_print(struct skep_cmd_demo *demo, bool draw);
void skep_cmd_demo_fini(struct skep_cmd_demo *demo);

#endif
