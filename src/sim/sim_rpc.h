/* SPDX-License-Identifier: MIT */
/* The call seam between nodes of one process: ten thousand of them without the cost of their cryptography.
 *
 * Calls take the drawn delay each way, the first contact of a pair also its handshake (unless the net is warm); the answers of a
 * straggler leave later. What is lost is never answered, so the caller's timeout ends it. Dead nodes are silent, or refuse at once. A node that is not reachable can only be called by those
 * it is connected to. Streams (sim_stream.c) end with SKEP_ELOST when a message of theirs is lost or their connection goes.
 * Left out: limits per peer, and bandwidth. */
#ifndef SKEP_SIM_RPC_H
#define SKEP_SIM_RPC_H

#include "rpc/rpc.h"
#include "sim/sim_faults.h"

struct skep_sim_net;

enum { SKEP_SIM_MADDR_MAX = 48 };

int skep_sim_net_new(struct skep_sim_net **out, struct skep_sim_clock *clock, uint64_t seed,
                     const struct skep_sim_faults *faults);

/** The nodes' owners have stopped using their rpc. */
void skep_sim_net_free(struct skep_sim_net *net);

/** A new node with a peer id of its own. Its index is the number of nodes added before. @return 0; SKEP_ENOMEM, SKEP_ELIMIT (2^24 of them). */
int skep_sim_net_add(struct skep_sim_net *net, struct skep_rpc **out);

/** A node that stole the identity of node `of`: dialling it tells SKEP_ESELF to that one. */
int skep_sim_net_add_twin(struct skep_sim_net *net, struct skep_rpc **out, uint32_t of);

size_t skep_sim_net_count(const struct skep_sim_net *net);
uint32_t skep_sim_net_index(struct skep_rpc *rpc);
struct skep_rpc *skep_sim_net_node(struct skep_sim_net *net, uint32_t index);

/** The multiaddr that dials a node: /ip4/10.x.y.z/tcp/4001. One beyond the nodes there are refuses connections. */
char *skep_sim_net_maddr(char out[SKEP_SIM_MADDR_MAX], uint32_t index);

enum skep_sim_state { SKEP_SIM_ALIVE, SKEP_SIM_SILENT, SKEP_SIM_REFUSING };
/** Dead nodes answer nothing, or refuse; their connections are gone also if they come back. */
void skep_sim_net_set_state(struct skep_sim_net *net, uint32_t index, enum skep_sim_state state);
void skep_sim_net_set_reachable(struct skep_sim_net *net, uint32_t index, bool reachable);
/** Only nodes of the same group hear each other; all start in group 0. */
void skep_sim_net_set_group(struct skep_sim_net *net, uint32_t index, uint32_t group);
/** A straggler: each of its answers leaves so much later. */
void skep_sim_net_set_slow(struct skep_sim_net *net, uint32_t index, uint64_t extra_us);
/** How many calls have arrived at a node, answered or not. */
uint64_t skep_sim_net_load(const struct skep_sim_net *net, uint32_t index);
/** Of every call and reply so far: when, from whom, to whom, the method and the length. Equal runs have equal digests. */
uint64_t skep_sim_net_digest(const struct skep_sim_net *net);
struct skep_sim_faults *skep_sim_net_faults(struct skep_sim_net *net);

struct skep_sim_net_stats {
    uint64_t calls, replies, lost, timeouts, handshakes, bytes;
};
const struct skep_sim_net_stats *skep_sim_net_stats(const struct skep_sim_net *net);

#endif
