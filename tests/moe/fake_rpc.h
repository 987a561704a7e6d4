/* SPDX-License-Identifier: MIT */
/* A call seam whose other side is the test: what is called waits until the test answers it. Nothing happens by itself, and what is called after its
 * end is an assertion. */
#ifndef SKEP_FAKE_RPC_H
#define SKEP_FAKE_RPC_H

#include "base/list.h"
#include "rpc/rpc.h"

struct fake_message {
    struct fake_message *next;
    size_t head_len; /* as it was sent in two pieces */
    size_t len;
    uint8_t data[];
};

struct fake_call {
    struct skep_list entry;
    struct skep_rpc_call *user;
    struct skep_peer_id peer;
    const char *method;
    struct fake_message *request;
};

struct skep_rpc_stream {
    struct skep_list entry;
    const struct skep_rpc_stream_events *events;
    void *user;
    struct skep_peer_id peer;
    const char *method;
    struct fake_message *first, **last;
    size_t message_count, queued, unconsumed;
    bool ended, cancelled, gone;
};

struct fake_rpc {
    struct skep_rpc base;
    struct skep_list calls;   /* struct fake_call.entry, the oldest first */
    struct skep_list streams; /* struct skep_rpc_stream.entry, also those that are gone */
    size_t call_count, cancels;
    int call_rc, open_rc, send_rc; /* what the next ones of these fail with */
};

void fake_rpc_init(struct fake_rpc *rpc, struct skep_env *env);
/** All calls have ended. */
void fake_rpc_fini(struct fake_rpc *rpc);

/** The oldest call that runs; NULL: there is none. */
struct fake_call *fake_rpc_call(struct fake_rpc *rpc);
skep_bytes fake_call_request(const struct fake_call *call);
void fake_call_end(struct fake_call *call, int rc, skep_bytes reply);

/** The newest stream; NULL: there was none. */
struct skep_rpc_stream *fake_rpc_stream(struct fake_rpc *rpc);
/** Everything it was given is sent. */
void fake_stream_drain(struct skep_rpc_stream *stream);
void fake_stream_message(struct skep_rpc_stream *stream, skep_bytes message);
void fake_stream_end(struct skep_rpc_stream *stream);
void fake_stream_error(struct skep_rpc_stream *stream, int rc, skep_bytes text);

#endif
