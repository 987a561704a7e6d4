/* SPDX-License-Identifier: MIT */
/* The calls an expert server answers: ConnectionHandler.rpc_info, rpc_forward, rpc_backward, rpc_forward_stream, rpc_backward_stream. docs/wire.md e;
 * hivemind moe/server/connection_handler.py.
 *
 * Each request is checked whole (uid, who asks, number, type, shape, batch, finite numbers) before it becomes a task. Memory of all requests in progress stays
 * within a budget: a stream is let in when there is room for what its first part announced and waits in the network before that; the oldest one in always
 * has room to become whole. */
#ifndef SKEP_SERVER_HANDLER_H
#define SKEP_SERVER_HANDLER_H

#include "rpc/rpc.h"
#include "server/runtime.h"

struct skep_handler;

struct skep_handler_options {
    const struct skep_class *class;
    skep_compression compression; /* what the info says of floating-point inputs */
    bool accept_non_finite;
    const struct skep_peer_id
        *allow_backward; /* [allow_backward_count]; none: everybody. Borrowed */
    size_t allow_backward_count;
    size_t memory_bytes;
    /** @return the expert of a uid, or NULL. */
    struct skep_hosted *(*find)(void *user, skep_bytes uid);
    void *user;
};

/** Serve the five methods. @return 0; SKEP_EEXIST (they are served already), SKEP_ENOMEM. */
int skep_handler_new(struct skep_handler **out, struct skep_rpc *rpc, struct skep_runtime *runtime,
                     const struct skep_handler_options *options);

/** Take no more requests: new ones are refused with an error; those in progress go on. `on_drained` is called when none is left, not from inside. */
void skep_handler_drain(struct skep_handler *handler, void (*on_drained)(void *user), void *user);

/** Requests in progress fail. The runtime must be idle, or be so before this returns to the loop. */
void skep_handler_free(struct skep_handler *handler);

struct skep_handler_stats {
    uint64_t infos, forwards, backwards, refused, refused_non_finite, refused_peers, canceled;
    size_t in_progress, waiting_streams, bytes, bytes_most;
};
const struct skep_handler_stats *skep_handler_stats(const struct skep_handler *handler);

#endif
