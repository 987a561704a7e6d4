/* SPDX-License-Identifier: MIT */
/* One peer declares the experts of a small grid, another searches it with random scores. */
#include <stdio.h>
#include <stdlib.h>

#include <skep/dht.h>
#include <skep/moe.h>
#include <skep/p2p.h>

enum { SIDE = 8, EXPERTS = SIDE * SIDE / 2, BEAM = 4 };

static skep_node *start(const char *join, bool client)
{
    const char *listen = "/ip4/127.0.0.1/tcp/0";
    skep_node_options options;
    skep_node *node;
    skep_op *op;
    int rc;

    skep_node_options_init(&options);
    options.listen = &listen;
    options.listen_count = client ? 0 : 1;
    options.client_mode = client;
    options.initial_peers = &join;
    options.initial_peer_count = join ? 1 : 0;
    if ((rc = skep_node_new(&node, &options)) < 0) {
        fprintf(stderr, "node: %s\n", skep_last_error_text());
        return NULL;
    }
    if ((rc = skep_dht_join(&op, node, NULL, NULL)) == 0) {
        rc = skep_op_wait(op);
        if (rc < 0)
            fprintf(stderr, "join: %s\n", skep_op_text(op));
        skep_op_free(op);
    }
    if (rc == 0)
        return node;
    skep_node_free(node);
    return NULL;
}

/* Every other cell of the grid has an expert. */
static int declare(skep_node *node)
{
    static char texts[EXPERTS][32];
    const char *uids[EXPERTS];
    skep_op *op;
    int rc;

    for (int i = 0; i < EXPERTS; i++) {
        snprintf(texts[i], sizeof texts[i], "ffn.%d.%d", i / (SIDE / 2), i % (SIDE / 2) * 2);
        uids[i] = texts[i];
    }
    if ((rc = skep_moe_declare(&op, node, uids, EXPERTS, NULL, NULL, NULL)) < 0)
        return rc;
    if ((rc = skep_op_wait(op)) == 0) {
        const skep_declared *declared = skep_moe_declare_result(op);

        printf("declared %d experts: %zu records, %zu of them accepted\n", EXPERTS, declared->keys,
               declared->accepted);
    }
    skep_op_free(op);
    return rc;
}

static int print_found(const skep_op *op)
{
    skep_find_cost cost;
    const skep_found *found = skep_moe_find_result(op, NULL, &cost);

    for (size_t i = 0; i < found->count; i++) {
        char uid[256], peer[SKEP_PEER_TEXT_LEN];

        printf("%-10s %6.3f  %s\n", skep_text_for_terminal(uid, sizeof uid, found->experts[i].uid),
               found->experts[i].score, skep_peer_to_text(peer, &found->experts[i].peer));
    }
    printf("%u rounds, %u keys, %u calls\n", cost.rounds, cost.keys, cost.calls);
    return found->count == BEAM ? 0 : SKEP_ENOTFOUND;
}

static int find(skep_node *node)
{
    static const size_t grid[] = {SIDE, SIDE};
    float first[SIDE], second[SIDE];
    const void *scores[] = {first, second};
    skep_find_options options;
    skep_op *op;
    int rc;

    srand(1);
    for (int i = 0; i < SIDE; i++) {
        first[i] = (float)rand() / (float)RAND_MAX;
        second[i] = (float)rand() / (float)RAND_MAX;
    }
    skep_find_options_init(&options);
    options.prefix = "ffn.";
    options.grid_size = grid;
    options.dimensions = 2;
    options.scores = scores;
    options.beam_size = BEAM;
    if ((rc = skep_moe_find(&op, node, &options, NULL, NULL)) < 0)
        return rc;
    if ((rc = skep_op_wait(op)) == 0)
        rc = print_found(op);
    skep_op_free(op);
    return rc;
}

int main(void)
{
    skep_node *server = start(NULL, false), *client = NULL;
    char **addresses = server ? skep_p2p_addresses(server, NULL) : NULL;
    int rc = SKEP_EINVAL;

    if (addresses && addresses[0] && (client = start(addresses[0], true)) != NULL) {
        rc = declare(server);
        if (rc == 0)
            rc = find(client);
        if (rc < 0)
            fprintf(stderr, "moe_find: %s %s\n", skep_strerror(rc), skep_last_error_text());
    }
    skep_free(addresses);
    skep_node_free(client);
    skep_node_free(server);
    return rc < 0;
}
