/* SPDX-License-Identifier: MIT */
/* skep swarm: a swarm in one process, for trying things out; with --demo a search in it, drawn. */
#include <math.h>
#include <stdlib.h>

#include "cmd/demo.h"

enum { NODES_MAX = 256 };

static char *nodes_text, *experts_text, *grid_text, *prefix_text, *seed_text, *ttl_text, *beam_text;
static int search_too, demo, once;

static struct poptOption options[] = {
    {"nodes", 'n', POPT_ARG_STRING, &nodes_text, 0, "how many nodes (8)", "N"},
    {"experts", 'e', POPT_ARG_STRING, &experts_text, 0, "how many experts, at random places (4096)",
     "M"},
    {"grid", 'g', POPT_ARG_STRING, &grid_text, 0, "sizes of the grid's dimensions (256x256x256)",
     "GRID"},
    {"prefix", 'p', POPT_ARG_STRING, &prefix_text, 0, "of the experts' uids (expert.)", "PREFIX"},
    {"seed", '\0', POPT_ARG_STRING, &seed_text, 0, "of the places and scores (1)", "S"},
    {"declare-ttl", '\0', POPT_ARG_STRING, &ttl_text, 0,
     "how long experts are declared for, again and again (1h)", "DURATION"},
    {"search", '\0', POPT_ARG_NONE, &search_too, 0, "search it once with random scores, then stop",
     NULL},
    {"beam", 'b', POPT_ARG_STRING, &beam_text, 0, "how many experts to find (4)", "K"},
    {"demo", '\0', POPT_ARG_NONE, &demo, 0, "as --search, and draw the grid and the beam's path",
     NULL},
    {"once", '\0', POPT_ARG_NONE, &once, 0, "stop when the experts are declared", NULL},
    SKEP_CMD_OPTIONS_OUTPUT,
    POPT_TABLEEND};

struct wanted {
    struct skep_cmd_grid grid;
    uint64_t nodes, experts, seed, ttl_us, beam;
    const char *prefix;
};

static bool check_options(struct wanted *w)
{
    struct skep_cmd_why why = {.text = ""};
    uint64_t places;

    if (skep_cmd_grid_parse(&w->grid, grid_text ? grid_text : "256x256x256", &why) < 0) {
        skep_cmd_error("--grid", "%s", why.text);
        return false;
    }
    if (!skep_cmd_option_count("--nodes", nodes_text, 1, NODES_MAX, &w->nodes) ||
        !skep_cmd_option_count("--experts", experts_text, 1, SKEP_DECLARE_UIDS_MAX, &w->experts) ||
        !skep_cmd_option_count("--seed", seed_text, 0, UINT64_MAX, &w->seed) ||
        !skep_cmd_option_count("--beam", beam_text, 1, SKEP_BEAM_SIZE_MAX, &w->beam) ||
        !skep_cmd_option_duration("--declare-ttl", ttl_text, &w->ttl_us) ||
        !skep_cmd_check_prefix(w->prefix))
        return false;
    if (!skep_cmd_grid_places(&w->grid, &places) || w->experts > places) {
        skep_cmd_error("--experts", "%llu do not fit into the grid",
                       (unsigned long long)w->experts);
        return false;
    }
    if (w->ttl_us < 1000000) {
        skep_cmd_error("--declare-ttl", "that is too short");
        return false;
    }
    return true;
}

static json_t *facts_json(const struct skep_local_swarm *swarm)
{
    return json_pack("{s:I, s:I, s:f, s:f}", "nodes", (json_int_t)swarm->count, "experts",
                     (json_int_t)swarm->expert_count, "joined_ms", (double)swarm->joined_us / 1000,
                     "declared_ms", (double)swarm->declared_us / 1000);
}

static void print_facts(const struct skep_local_swarm *swarm)
{
    printf(
        "%zu nodes on 127.0.0.1 joined in %.0f ms; %zu experts of a %s grid declared in %.0f ms\n",
        swarm->count, (double)swarm->joined_us / 1000, swarm->expert_count,
        grid_text ? grid_text : "256x256x256", (double)swarm->declared_us / 1000);
}

/* Print where it can be joined, then stay and declare again before the experts expire. */
static int stay(struct skep_local_swarm *swarm, const struct wanted *w)
{
    if (!skep_cmd_common.json)
        print_facts(swarm);
    if (!skep_session_print_addresses(swarm->nodes, swarm->count,
                                      skep_cmd_common.json ? facts_json(swarm) : NULL))
        return SKEP_EXIT_FAILED;
    if (!once) {
        while (!skep_session_stopped(w->ttl_us / 2))
            skep_local_swarm_declare(swarm, w->ttl_us);
    }
    return SKEP_EXIT_DONE;
}

static int search(struct skep_local_swarm *swarm, const struct wanted *w, struct skep_prng *prng)
{
    struct skep_cmd_demo d = {
        .swarm = swarm, .grid = &w->grid, .prefix = w->prefix, .beam_size = (size_t)w->beam};
    int code = skep_cmd_demo_start(&d, prng);

    if (code == SKEP_EXIT_DONE && skep_cmd_common.json) {
        json_t *document = facts_json(swarm);

        json_object_set_new(document, "search", skep_cmd_search_json(d.found, false, NULL, 0));
        code = skep_cmd_print_json(document) ? SKEP_EXIT_DONE : SKEP_EXIT_FAILED;
    } else if (code == SKEP_EXIT_DONE) {
        print_facts(swarm);
        code = skep_cmd_demo_print(&d, demo != 0);
    }
    skep_cmd_demo_fini(&d);
    return code;
}

static int run(const struct skep_cmd *cmd, int argc, const char **argv)
{
    struct wanted w = {.nodes = 8, .experts = 4096, .seed = 1, .ttl_us = 3600000000, .beam = 4};
    struct skep_local_swarm swarm;
    struct skep_cmd_args args;
    struct skep_prng prng;
    int code = skep_cmd_parse(cmd, options, argc, argv, 0, 0, &args);

    if (code != SKEP_CMD_GO_ON)
        return code;
    w.prefix = prefix_text ? prefix_text : "expert.";
    if (!check_options(&w))
        return SKEP_EXIT_USAGE;
    if (!search_too && !demo && !once)
        skep_session_block_signals();
    skep_prng_init(&prng, w.seed);
    skep_cmd_progress("starting %llu nodes …", (unsigned long long)w.nodes);
    code = skep_local_swarm_start(&swarm, (size_t)w.nodes);
    if (code == SKEP_EXIT_DONE)
        code = skep_local_swarm_choose(&swarm, w.prefix, &w.grid, (size_t)w.experts, &prng);
    skep_cmd_progress("declaring %llu experts …", (unsigned long long)w.experts);
    if (code == SKEP_EXIT_DONE)
        code = skep_local_swarm_declare(&swarm, w.ttl_us);
    skep_cmd_progress_end();
    if (code == SKEP_EXIT_DONE)
        code = search_too || demo ? search(&swarm, &w, &prng) : stay(&swarm, &w);
    skep_local_swarm_stop(&swarm);
    return code;
}

const struct skep_cmd skep_cmd_swarm = {
    .name = "swarm",
    .arguments = "",
    .summary = "run a local swarm over loopback, for trying things out",
    .details =
        "Prints a multiaddr of each node and stays until SIGINT or SIGTERM; other commands can --join any of them.",
    .example = "  skep swarm --nodes 8 --experts 4096 --grid 256x256x256 --demo",
    .run = run};
