/* SPDX-License-Identifier: MIT */
/* The real side of the call seam: hivemind's unary calls and streams over a host. docs/wire.md b.1, b.2. */
#ifndef SKEP_RPC_HOST_H
#define SKEP_RPC_HOST_H

#include "host/host.h"
#include "rpc/rpc.h"

struct skep_rpc_host_stats {
    uint64_t calls_made, calls_failed, calls_timed_out, calls_canceled;
    uint64_t calls_served;    /* requests given to a handler */
    uint64_t served_canceled; /* their callers gave up */
    uint64_t malformed;       /* streams ended for what the peer sent */
    uint64_t
        refused; /* inbound calls beyond SKEP_HANDLERS_PER_PEER_MAX or SKEP_REQUEST_BYTES_MAX; answers without skep_stream_has_room() */
    uint64_t oversized; /* answers that a handler made too large */
    size_t in_flight, queued, handling;
};

/** @param host  outlives it. */
int skep_rpc_host_new(struct skep_rpc **out, struct skep_env *env, struct skep_host *host);

/** Outbound calls end with SKEP_ECANCELED from inside this call. Inbound requests still open get on_cancel and are gone when this
 *  returns, ended or not. */
void skep_rpc_host_free(struct skep_rpc *rpc);

void skep_rpc_host_stats(const struct skep_rpc *rpc, struct skep_rpc_host_stats *out);

#endif
