/* SPDX-License-Identifier: MIT */
/* skep successors: the active successors of prefixes, as the search sees them. */
#include <skep/moe.h>

#include "base/limits.h"
#include "cmd/json_value.h"
#include "cmd/session.h"

static char *grid_size;
static int no_negative_cache;

static struct poptOption options[] = {{"grid-size", '\0', POPT_ARG_STRING, &grid_size, 0,
                                       "leave out coordinates at or above this", "N"},
                                      {"no-negative-cache", '\0', POPT_ARG_NONE, &no_negative_cache,
                                       0, "do not remember prefixes without experts in the DHT",
                                       NULL},
                                      SKEP_CMD_OPTIONS_JOIN,
                                      SKEP_CMD_OPTIONS_OUTPUT,
                                      POPT_TABLEEND};

static json_t *prefix_json(const skep_successors *s)
{
    json_t *list = json_array();

    for (size_t i = 0; i < s->count; i++) {
        char id[SKEP_PEER_TEXT_LEN];

        json_array_append_new(list,
                              json_pack("{s:I, s:o, s:s}", "coordinate",
                                        (json_int_t)s->successors[i].coordinate, "uid",
                                        skep_cmd_json_text(skep_bytes_str(s->successors[i].uid)),
                                        "peer_id", skep_peer_to_text(id, &s->successors[i].peer)));
    }
    return json_pack("{s:o, s:b, s:o}", "prefix", skep_cmd_json_text(skep_bytes_str(s->prefix)),
                     "answered", s->answered, "successors", list);
}

static int print_json(const skep_successors *results, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, prefix_json(&results[i]));
    return skep_cmd_print_json(list) ? SKEP_EXIT_DONE : SKEP_EXIT_FAILED;
}

static int print_table(const skep_successors *results, size_t count)
{
    static const char *const heading[] = {"prefix", ">coordinate", "uid", "peer"};
    struct skep_table table;

    skep_table_init(&table, heading, 4);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < results[i].count; j++) {
            const skep_successor *s = &results[i].successors[j];
            char id[SKEP_PEER_TEXT_LEN];

            skep_table_add(&table, "%s", results[i].prefix);
            skep_table_add(&table, "%lld", (long long)s->coordinate);
            skep_table_add(&table, "%s", s->uid);
            skep_table_add(&table, "%s", skep_peer_to_text(id, &s->peer));
        }
        if (results[i].count == 0) {
            skep_table_add(&table, "%s", results[i].prefix);
            skep_table_add(&table, "-");
            skep_table_add(&table, results[i].answered
                                       ? "none"
                                       : "none (not every peer that could know has answered)");
            skep_table_add(&table, " ");
        }
    }
    skep_table_print(&table, stdout);
    skep_table_fini(&table);
    return SKEP_EXIT_DONE;
}

static int look_up(const struct skep_cmd_args *prefixes, uint64_t bound)
{
    const skep_successors_options look_options = {.struct_size = sizeof look_options,
                                                  .grid_size = (size_t)bound,
                                                  .no_negative_caching = no_negative_cache != 0};
    struct skep_session session;
    skep_op *op = NULL;
    int rc, code = skep_session_start(&session);

    if (code == SKEP_EXIT_DONE) {
        rc = skep_moe_successors(&op, session.node, prefixes->items, prefixes->count, &look_options,
                                 NULL, NULL);
        code = skep_session_wait(&session, rc, op, "successors");
        if (code == SKEP_EXIT_DONE) {
            size_t count = 0;
            const skep_successors *results = skep_moe_successors_result(op, &count);

            size_t found = 0;

            code = skep_cmd_common.json ? print_json(results, count) : print_table(results, count);
            for (size_t i = 0; i < count; i++)
                found += results[i].count;
            if (found == 0)
                code = SKEP_EXIT_FAILED;
        }
        skep_op_free(op);
    }
    skep_session_close(&session);
    return code;
}

static int run(const struct skep_cmd *cmd, int argc, const char **argv)
{
    struct skep_cmd_args args;
    uint64_t bound = 0;
    int code = skep_cmd_parse(cmd, options, argc, argv, 1, SIZE_MAX - 1, &args);

    if (code != SKEP_CMD_GO_ON)
        return code;
    if (!skep_cmd_option_count("--grid-size", grid_size, 1, SKEP_GRID_SIZE_MAX, &bound))
        return SKEP_EXIT_USAGE;
    for (size_t i = 0; i < args.count; i++) {
        if (!skep_cmd_check_prefix(args.items[i]))
            return SKEP_EXIT_USAGE;
    }
    return look_up(&args, bound);
}

const struct skep_cmd skep_cmd_successors = {
    .name = "successors",
    .arguments = "PREFIX...",
    .summary = "show the active successors of prefixes",
    .details = "A prefix ends in a dot. Exits with 1 where none has a successor.",
    .example = "  skep successors ffn.0. ffn.1. --join /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW…",
    .run = run};
