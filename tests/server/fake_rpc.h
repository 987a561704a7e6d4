/* SPDX-License-Identifier: MIT */
/* A call layer in memory for handlers of expert calls: unary requests, and streams whose windows grow as fast as yamux lets them.
 *
 * Its own memory is malloc's, so that what the environment's allocator counts is the handler's. */
#ifndef SKEP_SERVER_FAKE_RPC_H
#define SKEP_SERVER_FAKE_RPC_H

#include "base/list.h"
#include "rpc/rpc.h"

struct fake_method {
    const char *name;
    skep_rpc_handler *handler;
    skep_rpc_stream_handler *stream_handler;
    void *user;
};

struct fake_rpc {
    struct skep_rpc base;
    struct fake_method methods[8];
    size_t method_count;
    struct skep_list streams;
    bool no_streams; /* as the simulation's */
    int send_fails;  /* what stream_send says */
};

struct fake_call {
    struct skep_rpc_request request;
    struct skep_peer_id peer;
    uint8_t *data;
    int answers; /* how often it was ended */
    bool failed;
    struct skep_buf answer; /* or the text of the error, terminated behind its end */
};

/** What a caller sends is borrowed. */
struct fake_message {
    skep_bytes head, body;
};

struct skep_rpc_stream {
    struct skep_list entry;
    struct fake_rpc *rpc;
    struct skep_peer_id peer;
    const struct skep_rpc_stream_events *events;
    void *user;
    /* in */
    struct fake_message messages[96];
    size_t message_count, message_at, sent; /* `sent` bytes of the message at hand */
    bool end_sent, end_told;
    size_t window, credit, withheld;
    bool paused;
    size_t unconsumed;
    /* out */
    size_t queued;
    bool was_high;
    struct skep_buf out; /* messages, each behind its length as 8 bytes */
    bool forget_out;     /* only count */
    size_t out_messages, out_bytes;
    /* the end: exactly one of them */
    int finished, failed, canceled, gone;
    char text[4200];
};

void fake_rpc_init(struct fake_rpc *rpc, struct skep_env *env);
void fake_rpc_fini(struct fake_rpc *rpc);

void fake_call(struct fake_rpc *rpc, struct fake_call *call, const char *method,
               const struct skep_peer_id *peer, skep_bytes message);
void fake_call_cancel(struct fake_call *call);
void fake_call_fini(struct fake_call *call);

/** @return NULL: no such method. It lives until fake_stream_free(). */
struct skep_rpc_stream *fake_stream_open(struct fake_rpc *rpc, const char *method,
                                         const struct skep_peer_id *peer);
void fake_stream_send(struct skep_rpc_stream *stream, skep_bytes head, skep_bytes body);
void fake_stream_end(struct skep_rpc_stream *stream);
/** The caller leaves. */
void fake_stream_leave(struct skep_rpc_stream *stream);
/** Let up to so many bytes of what the caller has sent arrive. @return how many did: 0 where the window is used up. */
size_t fake_stream_arrive(struct skep_rpc_stream *stream, size_t bytes);
/** The caller reads so much of the answer. */
void fake_stream_read(struct skep_rpc_stream *stream, size_t bytes);
bool fake_stream_is_over(const struct skep_rpc_stream *stream);
void fake_stream_free(struct skep_rpc_stream *stream);

#endif
