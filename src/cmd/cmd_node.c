/* SPDX-License-Identifier: MIT */
/* skep node: a DHT peer until SIGINT or SIGTERM. As hivemind-dht's heartbeat does, it asks for a random key now and then, which
 * meets peers from all over the table and drops those that are gone. Source: hivemind_cli/run_dht.py, report_status. */
#include <stdlib.h> /* defines __GLIBC__ */
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "base/limits.h"
#include "cmd/session.h"

static char *refresh_text, *storage_text, *one_hop_text;
static int client;

static struct poptOption options[] = {
    {"client", '\0', POPT_ARG_NONE, &client, 0, "use the DHT but serve nothing", NULL},
    {"refresh", '\0', POPT_ARG_STRING, &refresh_text, 0,
     "time between two looks at the table (30s)", "DURATION"},
    {"one-hop", '\0', POPT_ARG_STRING, &one_hop_text, 0,
     "keep up to N nodes of the swarm in mind (0: only what a table needs)", "N"},
    {"storage", '\0', POPT_ARG_STRING, &storage_text, 0, "most memory for stored records (256)",
     "MIB"},
    SKEP_CMD_OPTIONS_JOIN,
    SKEP_CMD_OPTIONS_LISTEN,
    SKEP_CMD_OPTIONS_OUTPUT,
    POPT_TABLEEND};

static void report(skep_node *node)
{
    skep_node_counters counters = {.struct_size = sizeof counters};

    if (skep_cmd_common.verbose > 0 && skep_node_counters_get(node, &counters) == 0)
        fprintf(
            stderr,
            "skep: info: %zu peers connected, %zu nodes in the table, %zu keys stored (%zu KiB)\n",
            counters.connections, counters.table_nodes, counters.stored_keys,
            counters.stored_bytes >> 10);
    if (skep_cmd_common.verbose > 0 && counters.one_hop_bytes > 0)
        fprintf(stderr, "skep: info: %zu nodes in the one-hop table, %llu calls to keep it fresh\n",
                counters.one_hop_nodes, (unsigned long long)counters.crawl_calls);
}

/* A key that nobody holds, another one each time. */
static skep_key heartbeat_key(const skep_node *node, uint64_t beat)
{
    struct {
        uint8_t id[20];
        uint64_t beat, now_us;
    } seed = {.beat = beat, .now_us = skep_cmd_now_us()};

    skep_dht_id(node, seed.id);
    return skep_key_bytes((skep_view){&seed, sizeof seed});
}

/* After a burst the C library keeps the memory of what has expired: 41 MB were held where 2 were in use. */
static void give_memory_back(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

static void heartbeats(skep_node *node, uint64_t refresh_us)
{
    const skep_get_options latest = {
        .struct_size = sizeof latest, .latest = true, .timeout_us = refresh_us};
    skep_op *op = NULL;

    for (uint64_t beat = 0; !skep_session_stopped(refresh_us); beat++) {
        skep_key key = heartbeat_key(node, beat);

        report(node);
        give_memory_back();
        skep_op_free(op); /* one that still runs goes on */
        op = NULL;
        skep_dht_get(&op, node, &key, 1, &latest, NULL, NULL);
    }
    skep_op_free(op);
}

static int serve(uint64_t refresh_us, uint64_t storage_mib, uint64_t one_hop)
{
    struct skep_session session = {.node = NULL};
    skep_node_options node_options;
    int code;

    skep_session_block_signals();
    skep_session_options(&node_options, SKEP_SESSION_PEER);
    node_options.client_mode = client;
    node_options.refresh_timeout_us = refresh_us;
    if (storage_text)
        node_options.storage_bytes = SKEP_MIB(storage_mib);
    node_options.one_hop_nodes_max = one_hop;
    if (client && !skep_cmd_common.listen)
        node_options.listen_count = 0;
    if (skep_cmd_common.verbose == 0)
        node_options.verbosity = SKEP_VERBOSITY_WARNING;
    code = skep_session_make_identity(skep_cmd_common.identity);
    if (code == SKEP_EXIT_DONE)
        code = skep_session_open_with(&session, &node_options);
    if (code == SKEP_EXIT_DONE)
        code = skep_session_join(&session);
    if (code == SKEP_EXIT_DONE) {
        if (skep_session_print_addresses(&session.node, 1, NULL))
            heartbeats(session.node, refresh_us);
        else
            code = SKEP_EXIT_FAILED;
    }
    skep_session_close(&session);
    return code;
}

static int run(const struct skep_cmd *cmd, int argc, const char **argv)
{
    struct skep_cmd_args args;
    uint64_t refresh_us = 30000000, storage_mib = 0, one_hop = 0;
    int code = skep_cmd_parse(cmd, options, argc, argv, 0, 0, &args);

    if (code != SKEP_CMD_GO_ON)
        return code;
    if (!skep_cmd_option_duration("--refresh", refresh_text, &refresh_us) ||
        !skep_cmd_option_count("--storage", storage_text, 1, 1 << 20, &storage_mib) ||
        !skep_cmd_option_count("--one-hop", one_hop_text, 0, SKEP_DHT_ONE_HOP_NODES_MAX, &one_hop))
        return SKEP_EXIT_USAGE;
    if (refresh_us < 1000000) {
        skep_cmd_error("--refresh", "%s is shorter than a second", refresh_text);
        return SKEP_EXIT_USAGE;
    }
    return serve(refresh_us, storage_mib, one_hop);
}

const struct skep_cmd skep_cmd_node = {
    .name = "node",
    .arguments = "",
    .summary = "be a DHT peer until SIGINT or SIGTERM",
    .details = "Prints its visible multiaddrs, one a line, once it is ready. The first node of a "
               "swarm has no --join.\n"
               "An --identity file that is not there is made (mode 0600).",
    .example = "  skep node --listen /ip4/0.0.0.0/tcp/4001 --identity node.key\n"
               "  skep node --join "
               "/ip4/10.0.0.1/tcp/4001/p2p/12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s",
    .run = run};
