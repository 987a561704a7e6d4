/* SPDX-License-Identifier: MIT */
/* The call seam: all that dht/, moe/ and server/ know of other peers. Real side: rpc/unary.c and rpc/stream.c over a
 * host. Simulated side: sim/sim_rpc.c, ten thousand nodes in one process.
 *
 * Nothing calls back from inside the call that started it. */
#ifndef SKEP_RPC_H
#define SKEP_RPC_H

#include "env/env.h"
#include "peer/peer_id.h"

struct skep_rpc;
struct skep_rpc_call;

/** An outbound call. Embedded by the caller (zeroed before its first use); it may be used again after `done` or cancel. */
struct skep_rpc_call {
    /** rc 0: `reply` is the response. SKEP_EPEER_REMOTE: `reply` is the error's text as the peer sent it. Other errors: empty.
     *  The view is good until this returns. */
    void (*done)(struct skep_rpc_call *call, int rc, skep_bytes reply);
    void *state; /* the implementation's; NULL when it does not run */
};

/** An inbound unary request, the implementation's; ended by exactly one skep_rpc_reply() or skep_rpc_fail(), now or later. */
struct skep_rpc_request {
    struct skep_rpc *rpc;
    const struct skep_peer_id *peer; /* authenticated */
    skep_bytes data;                 /* good until the request is ended */
    /** The caller gave up. Set by the handler if it wants to know; the request must still be ended. */
    void (*on_cancel)(struct skep_rpc_request *request);
    void *user; /* the handler's */
};

typedef void skep_rpc_handler(void *user, struct skep_rpc_request *request);

/** Many messages each way (docs/wire.md b.2). */
struct skep_rpc_stream;
struct skep_rpc_stream_events {
    void (*on_message)(struct skep_rpc_stream *stream, void *user,
                       skep_bytes message); /* whole; then skep_rpc_stream_consume() */
    void (*on_writable)(struct skep_rpc_stream *stream, void *user);
    /** The other side ended its messages: for a caller, the call has ended and nothing more follows; a handler may still answer. */
    void (*on_end)(struct skep_rpc_stream *stream, void *user);
    /** It failed: SKEP_EPEER_REMOTE with text, SKEP_ELOST, SKEP_ECANCELED (handler: the caller gave up) … The last event. */
    void (*on_error)(struct skep_rpc_stream *stream, void *user, int rc, skep_bytes text);
};
typedef void skep_rpc_stream_handler(void *user, struct skep_rpc_stream *stream,
                                     const struct skep_peer_id *peer);

/** Connecting to an initial peer. Embedded by the caller, as skep_rpc_call. */
struct skep_rpc_dial {
    void (*done)(struct skep_rpc_dial *dial, int rc, const struct skep_peer_id *peer);
    void *state;
};

struct skep_rpc_ops {
    int (*call)(struct skep_rpc *rpc, struct skep_rpc_call *call, const struct skep_peer_id *peer,
                const char *method, skep_bytes request, uint64_t timeout_us);
    void (*cancel)(struct skep_rpc *rpc, struct skep_rpc_call *call);
    int (*serve)(struct skep_rpc *rpc, const char *method, skep_rpc_handler *handler, void *user);
    void (*unserve)(struct skep_rpc *rpc, const char *method);
    void (*reply)(struct skep_rpc_request *request, skep_bytes response);
    void (*fail)(struct skep_rpc_request *request, skep_bytes text);

    int (*stream_open)(struct skep_rpc *rpc, struct skep_rpc_stream **out,
                       const struct skep_peer_id *peer, const char *method,
                       const struct skep_rpc_stream_events *events, void *user);
    int (*stream_serve)(struct skep_rpc *rpc, const char *method, skep_rpc_stream_handler *handler,
                        void *user);
    void (*stream_use)(struct skep_rpc_stream *stream, const struct skep_rpc_stream_events *events,
                       void *user);
    /* The message is head, then body; either may be empty. Both are copied. */
    int (*stream_send)(struct skep_rpc_stream *stream, skep_bytes head, skep_bytes body);
    void (*stream_end)(struct skep_rpc_stream *stream);
    void (*stream_fail)(struct skep_rpc_stream *stream, skep_bytes text);
    void (*stream_consume)(struct skep_rpc_stream *stream, size_t n);
    /* Paused: no window is given back, so that no more than a first window arrives. Streams start unpaused. */
    void (*stream_pause)(struct skep_rpc_stream *stream, bool paused);
    void (*stream_cancel)(struct skep_rpc_stream *stream);
    size_t (*stream_queued)(const struct skep_rpc_stream *stream);

    int (*dial)(struct skep_rpc *rpc, struct skep_rpc_dial *dial, const char *maddr,
                uint64_t timeout_us);
    void (*dial_cancel)(struct skep_rpc *rpc, struct skep_rpc_dial *dial);
    void (*hint)(struct skep_rpc *rpc, const struct skep_peer_id *peer,
                 const struct skep_peer_id *via);
    uint64_t (*rtt_us)(struct skep_rpc *rpc,
                       const struct skep_peer_id *peer); /* 0: unknown or not connected */
};

struct skep_rpc {
    const struct skep_rpc_ops *ops;
    struct skep_env *env;
    struct skep_peer_id self;
};

/** Call `method` ("DHTProtocol.rpc_find") at a peer; connects where needed. `request` is copied.
 *  timeout_us counts from now, connecting and waiting in line included; SKEP_NEVER_US: none.
 *  @return 0, and `done` follows exactly once unless cancelled; SKEP_ELIMIT, SKEP_ENOMEM, SKEP_ESIZE, SKEP_ESELF, and it never does. */
static inline int skep_rpc_call_start(struct skep_rpc *rpc, struct skep_rpc_call *call,
                                      const struct skep_peer_id *peer, const char *method,
                                      skep_bytes request, uint64_t timeout_us)
{
    return rpc->ops->call(rpc, call, peer, method, request, timeout_us);
}

/** `done` does not follow; the stream is closed, which tells the handler. Harmless when it does not run. */
static inline void skep_rpc_call_cancel(struct skep_rpc *rpc, struct skep_rpc_call *call)
{
    rpc->ops->cancel(rpc, call);
}

/** Answer `method` from now on. @return 0; SKEP_EEXIST, SKEP_ENOMEM. Handlers may be added and removed at run time; requests in
 *  progress at unserve are failed with "CancelledError()". */
static inline int skep_rpc_serve(struct skep_rpc *rpc, const char *method,
                                 skep_rpc_handler *handler, void *user)
{
    return rpc->ops->serve(rpc, method, handler, user);
}

static inline void skep_rpc_unserve(struct skep_rpc *rpc, const char *method)
{
    rpc->ops->unserve(rpc, method);
}

static inline void skep_rpc_reply(struct skep_rpc_request *request, skep_bytes response)
{
    request->rpc->ops->reply(request, response);
}

/** Answer with an error; by hivemind's custom the text is like Python's repr: "KeyError('ffn.0')". */
static inline void skep_rpc_fail(struct skep_rpc_request *request, const char *text)
{
    (request->rpc->ops->fail)(
        request,
        skep_bytes_str(text)); /* in parentheses: a test library has a macro of that name */
}

/** Connect to an initial peer by multiaddr text; `done` gets its peer id. */
static inline int skep_rpc_dial_start(struct skep_rpc *rpc, struct skep_rpc_dial *dial,
                                      const char *maddr, uint64_t timeout_us)
{
    return rpc->ops->dial(rpc, dial, maddr, timeout_us);
}

static inline void skep_rpc_dial_cancel(struct skep_rpc *rpc, struct skep_rpc_dial *dial)
{
    rpc->ops->dial_cancel(rpc, dial);
}

/** `peer` was named to us by `via`: ask that one first for its address. May be NULL in ops. */
static inline void skep_rpc_hint(struct skep_rpc *rpc, const struct skep_peer_id *peer,
                                 const struct skep_peer_id *via)
{
    if (rpc->ops->hint)
        rpc->ops->hint(rpc, peer, via);
}

#endif
