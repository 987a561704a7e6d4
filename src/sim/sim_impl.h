/* SPDX-License-Identifier: MIT */
/* What the two halves of the simulated call seam share: sim_rpc.c (nodes, connections, unary calls, dialling) and sim_stream.c. */
#ifndef SKEP_SIM_IMPL_H
#define SKEP_SIM_IMPL_H

#include "base/limits.h"
#include "base/list.h"
#include "sim/sim_rpc.h"

/* What nothing is heard of for so long is given up: a call with no timeout of its own, a connection. */
#define SIM_LOST_AFTER_US (40 * SKEP_SIM_SECOND)

/* Indices are 24 bits, as those in the multiaddrs of nodes. */
enum { SIM_NODES_MAX = 1 << 24 };

/* The name of a method, once for the whole net: equal names are the same pointer. */
struct sim_name {
    struct sim_name *next;
    uint64_t hash;
    char text[];
};

struct sim_method {
    struct sim_method *next;
    const struct sim_name *name;
    skep_rpc_handler *handler; /* or */
    skep_rpc_stream_handler *stream_handler;
    void *user;
};

struct sim_node {
    struct skep_rpc rpc;
    struct skep_sim_net *net;
    uint32_t index, epoch, group;
    enum skep_sim_state state;
    bool unreachable;
    struct sim_method *methods; /* the one asked for last comes first */
    struct skep_list serving;   /* calls at a handler of this node */
    uint64_t calls_in;          /* that arrived */
    uint64_t slow_us;           /* so much later each of its answers leaves */
};

struct sim_link;
struct skep_sim_links {
    struct sim_link *slots;
    size_t count, cap;
};

struct skep_sim_net {
    struct skep_sim_clock *clock;
    const struct skep_mem *mem;
    struct skep_sim_faults faults;
    struct skep_prng prng;
    uint64_t seed;
    struct sim_node **nodes;
    size_t node_count, node_cap;
    struct sim_name *names;
    struct skep_sim_links links;
    struct skep_list channels; /* sim_stream.c */
    struct skep_sim_net_stats stats;
    uint64_t digest;
};

static inline struct sim_node *sim_node_of(struct skep_rpc *rpc)
{
    return SKEP_CONTAINER_OF(rpc, struct sim_node, rpc);
}

/** The node a peer id belongs to; NULL: none. */
struct sim_node *skep_sim_node_of_peer(struct skep_sim_net *net, const struct skep_peer_id *peer);
/** NULL: no memory. */
const struct sim_name *skep_sim_name(struct skep_sim_net *net, const char *text);
struct sim_method *skep_sim_find_method(struct sim_node *node, const struct sim_name *name);
/** @return 0; SKEP_EEXIST, SKEP_ENOMEM. */
int skep_sim_add_method(struct sim_node *node, const struct sim_method *like, const char *name);
bool skep_sim_connected(struct skep_sim_net *net, const struct sim_node *a,
                        const struct sim_node *b);
/** When a message from `from` to `to` arrives; the first one pays the handshake. */
uint64_t skep_sim_arrival_us(struct skep_sim_net *net, struct sim_node *from, struct sim_node *to);
uint64_t skep_sim_pair_rtt_us(const struct skep_sim_net *net, const struct sim_node *a,
                              const struct sim_node *b);
/** After how long a caller knows that nobody answers at an address. @param to  NULL: it is nobody's. */
uint64_t skep_sim_try_us(const struct skep_sim_net *net, const struct sim_node *from,
                         const struct sim_node *to);

enum skep_sim_event { SKEP_SIM_CALL, SKEP_SIM_REPLY, SKEP_SIM_OPEN, SKEP_SIM_MESSAGE };
/** Count an event in the net's digest. @param to  NULL: nobody. */
void skep_sim_note(struct skep_sim_net *net, enum skep_sim_event event, const struct sim_node *from,
                   const struct sim_node *to, const struct sim_name *name, size_t len);

/* ---- sim_links.c ---- */

/** Since when, or from when, two nodes are connected; SKEP_NEVER_US: they are not. */
uint64_t skep_sim_links_ready_us(const struct skep_sim_links *links, const struct sim_node *a,
                                 const struct sim_node *b);
/** @return 0 or SKEP_ENOMEM. */
int skep_sim_links_add(struct skep_sim_net *net, const struct sim_node *a, const struct sim_node *b,
                       uint64_t ready_us);
void skep_sim_links_fini(struct skep_sim_net *net);

/* ---- sim_stream.c ---- */

int skep_sim_stream_open(struct skep_rpc *rpc, struct skep_rpc_stream **out,
                         const struct skep_peer_id *peer, const char *name,
                         const struct skep_rpc_stream_events *events, void *user);
int skep_sim_stream_serve(struct skep_rpc *rpc, const char *name, skep_rpc_stream_handler *handler,
                          void *user);
void skep_sim_stream_use(struct skep_rpc_stream *stream,
                         const struct skep_rpc_stream_events *events, void *user);
int skep_sim_stream_send(struct skep_rpc_stream *stream, skep_bytes head, skep_bytes body);
void skep_sim_stream_end(struct skep_rpc_stream *stream);
void skep_sim_stream_fail(struct skep_rpc_stream *stream, skep_bytes text);
void skep_sim_stream_consume(struct skep_rpc_stream *stream, size_t n);
void skep_sim_stream_pause(struct skep_rpc_stream *stream, bool paused);
void skep_sim_stream_cancel(struct skep_rpc_stream *stream);
size_t skep_sim_stream_queued(const struct skep_rpc_stream *stream);

/** A method is taken away: its streams end. */
void skep_sim_streams_unserve(struct sim_node *node, const struct sim_method *method);
/** A node died or moved to another group: streams over connections that are gone with that end. */
void skep_sim_streams_check(struct skep_sim_net *net, const struct sim_node *node);
/** Frees what handlers never ended. */
void skep_sim_streams_close(struct skep_sim_net *net);

#endif
