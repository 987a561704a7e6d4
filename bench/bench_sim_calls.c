/* SPDX-License-Identifier: MIT */
/* What the simulated call seam costs: nodes that call each other for nothing, and a handler that answers at once.
 *
 *   bench_sim_calls [calls [nodes [peers [warm]]]]
 *
 * Each node knows `peers` others, drawn, and always has three calls under way to some of them, of 200 bytes each way; 1 % of the messages are lost. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sim/sim_rpc.h"

enum { UNDER_WAY = 3, MESSAGE_LEN = 200 };

struct caller {
    struct skep_rpc_call call;
    struct skep_rpc *rpc;
};

static struct {
    struct skep_sim_clock clock;
    struct skep_sim_net *net;
    struct skep_prng prng;
    struct caller *callers;
    uint32_t *peers;
    size_t nodes, peers_each;
    uint64_t answered, failed;
} run;

static size_t held_bytes;

static void *counted(void *ctx, void *ptr, size_t len)
{
    size_t *head = ptr ? (size_t *)ptr - 2 : NULL;

    (void)ctx;
    held_bytes += len - (head ? *head : 0);
    if (len == 0) {
        free(head);
        return NULL;
    }
    head = realloc(head, len + 2 * sizeof *head);
    if (!head)
        exit(1);
    *head = len;
    return head + 2;
}

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void answer(void *user, struct skep_rpc_request *request)
{
    (void)user;
    skep_rpc_reply(request, request->data);
}

static void call(struct caller *caller)
{
    static const uint8_t message[MESSAGE_LEN];
    uint32_t at = skep_sim_net_index(caller->rpc);
    uint32_t to = run.peers[at * run.peers_each + skep_prng_below(&run.prng, run.peers_each)];

    if (skep_rpc_call_start(caller->rpc, &caller->call, &skep_sim_net_node(run.net, to)->self,
                            "DHTProtocol.rpc_find", skep_bytes_of(message, sizeof message),
                            3 * SKEP_SIM_SECOND) < 0)
        exit(1);
}

static void on_reply(struct skep_rpc_call *of, int rc, skep_bytes reply)
{
    (void)reply;
    run.answered += rc == 0;
    run.failed += rc < 0;
    call(SKEP_CONTAINER_OF(of, struct caller, call));
}

static void add_nodes(void)
{
    for (uint32_t i = 0; i < run.nodes; i++) {
        struct skep_rpc *rpc;

        if (skep_sim_net_add(run.net, &rpc) < 0 ||
            skep_rpc_serve(rpc, "DHTProtocol.rpc_ping", answer, NULL) < 0 ||
            skep_rpc_serve(rpc, "DHTProtocol.rpc_store", answer, NULL) < 0 ||
            skep_rpc_serve(rpc, "DHTProtocol.rpc_find", answer, NULL) < 0)
            exit(1);
        for (size_t k = 0; k < UNDER_WAY; k++)
            run.callers[i * UNDER_WAY + k] = (struct caller){{on_reply, NULL}, rpc};
        for (size_t k = 0; k < run.peers_each; k++) {
            uint32_t *peer = &run.peers[i * run.peers_each + k];

            do
                *peer = (uint32_t)skep_prng_below(&run.prng, run.nodes);
            while (*peer == i);
        }
    }
}

static size_t number(int argc, char **argv, int at, size_t otherwise)
{
    return argc > at ? (size_t)strtoull(argv[at], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    size_t calls = number(argc, argv, 1, 10000000), empty_bytes, node_bytes;
    struct skep_mem mem = {counted, NULL};
    struct skep_sim_faults faults;
    const struct skep_sim_net_stats *stats;
    double from_s;

    run.nodes = number(argc, argv, 2, 10000);
    run.peers_each = number(argc, argv, 3, 64);
    run.callers = calloc(run.nodes * UNDER_WAY, sizeof *run.callers);
    run.peers = calloc(run.nodes * run.peers_each, sizeof *run.peers);
    if (run.nodes < 2 || !run.callers || !run.peers)
        return 1;
    skep_sim_faults_default(&faults);
    faults.loss_ppm = 10000;
    faults.warm = number(argc, argv, 4, 0) > 0;
    skep_prng_init(&run.prng, 1);
    skep_sim_clock_init(&run.clock, &mem, 1);
    if (skep_sim_net_new(&run.net, &run.clock, 1, &faults) < 0)
        return 1;
    empty_bytes = held_bytes;
    add_nodes();
    node_bytes = held_bytes - empty_bytes;
    for (size_t i = 0; i < run.nodes * UNDER_WAY; i++)
        call(&run.callers[i]);
    from_s = now_s();
    while (run.answered + run.failed < calls)
        skep_sim_clock_step(&run.clock, UINT64_MAX);
    from_s = now_s() - from_s;
    stats = skep_sim_net_stats(run.net);
    printf("%zu nodes, %zu calls in %.2f s: %.2f million/s, %.0f ns each; "
           "%.0f bytes a node, %.1f MiB in all, %llu pairs connected; %llu answered\n",
           run.nodes, calls, from_s, (double)calls / from_s / 1e6, from_s / (double)calls * 1e9,
           (double)node_bytes / (double)run.nodes, (double)held_bytes / 1048576,
           (unsigned long long)stats->handshakes, (unsigned long long)run.answered);
    return 0;
}
