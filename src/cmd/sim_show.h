/* SPDX-License-Identifier: MIT */
/* What a simulated run has measured, as a table, as JSON and as pictures. */
#ifndef SKEP_CMD_SIM_SHOW_H
#define SKEP_CMD_SIM_SHOW_H

#include <jansson.h>

#include "lab/scenario.h"

/** How the run went on this machine. */
struct skep_sim_costs {
    uint64_t wall_us, memory_bytes; /* memory: the most that the process has held so far */
};

/** Scenario, report and costs; NULL: out of memory. Costs are left out when NULL: the rest is the same on every machine. */
json_t *skep_sim_json(const struct skep_lab_scenario *scenario, struct skep_lab_report *report,
                      const struct skep_sim_costs *costs);

void skep_sim_print(const struct skep_lab_scenario *scenario, struct skep_lab_report *report,
                    const struct skep_sim_costs *costs);

/** Write the pictures of a run into a folder, which is made: latency by swarm size, rounds, load, the exact mode's gap by budget, and values found while time
 *  passes. Runs smaller swarms and other budgets for them. @param how  the command line, for the subtitles. @return an exit code, the error printed. */
int skep_sim_plot(const char *folder, const char *how, const struct skep_lab_scenario *scenario,
                  struct skep_lab_report *report);

#endif
