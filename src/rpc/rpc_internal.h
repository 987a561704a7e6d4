/* SPDX-License-Identifier: MIT */
/* What the files of the call layer share: one rpc, its peers, its services, its recycled calls. */
#ifndef SKEP_RPC_INTERNAL_H
#define SKEP_RPC_INTERNAL_H

#include "base/limits.h"
#include "base/list.h"
#include "base/map.h"
#include "rpc/envelope.h"
#include "rpc/frame.h"
#include "rpc/rpc_host.h"

struct rpc_host;

/* What we hold of one peer: how much is in flight to it, what waits in line, how much of its own is in progress. */
struct rpc_peer {
    UT_hash_handle hh;
    struct skep_peer_id id; /* the key, whole */
    size_t in_flight, queued_count, handling, streams;
    bool pumping;            /* its line is being let in: what fails there does not begin anew */
    size_t held;             /* bytes of its requests and messages that we hold */
    struct skep_list calls;  /* struct call.entry, in flight */
    struct skep_list queued; /* struct call.entry */
    size_t refs;             /* of calls, requests and streams */
    struct skep_list idle;   /* in rpc_host.idle_peers while refs == 0 */
};

/* A method that we serve, and a name that streams can point to for ever. */
struct rpc_method {
    UT_hash_handle hh;
    size_t name_len;
    skep_rpc_handler *handler;               /* unary; NULL: not served */
    skep_rpc_stream_handler *stream_handler; /* streaming; NULL: not served */
    void *user;
    struct rpc_host *rpc;
    struct skep_list inbound; /* struct inbound.in_method: its requests in progress */
    char name[];
};

struct rpc_host {
    struct skep_rpc base;
    struct skep_host *host;
    struct rpc_peer *peers;
    struct skep_list idle_peers; /* oldest first */
    size_t idle_count;
    struct rpc_method *methods;
    struct rpc_method *last_method; /* of the last outbound call: most are the same */
    struct skep_list free_calls;    /* struct call.entry */
    struct skep_list free_inbound;  /* struct inbound.entry */
    struct skep_list
        receiving; /* struct inbound.entry: requests not yet whole, the least recently moved first */
    struct skep_list running; /* struct inbound.entry: with their handlers */
    struct skep_list streams; /* struct skep_rpc_stream.entry */
    struct skep_list dials;   /* struct dial.entry */
    struct skep_list failed;  /* struct call.entry: to be told on the next turn */
    struct skep_timer failed_timer, receiving_timer;
    size_t free_call_count, free_inbound_count;
    size_t held; /* of all peers */
    uint64_t call_id_base, call_id_next;
    bool closing;
    struct skep_rpc_host_stats stats;
};

static inline struct rpc_host *rpc_host_of(struct skep_rpc *rpc)
{
    return SKEP_CONTAINER_OF(rpc, struct rpc_host, base);
}

/* Buffers that grew beyond this are not kept for the next call. */
enum { RPC_BUFFER_KEPT = 64 << 10, RPC_SMALL_BODY = 1400 };

/* rpc_host.c */
struct rpc_peer *
skep_rpc_peer_get(struct rpc_host *rpc,
                  const struct skep_peer_id *id); /* with a reference; NULL: no memory */
void skep_rpc_peer_put(struct rpc_host *rpc, struct rpc_peer *peer);
/* A buffer of `peer` that held *counted bytes holds `now`. @return false: more than may be (SKEP_REQUEST_BYTES_MAX). */
bool skep_rpc_count_held(struct rpc_host *rpc, struct rpc_peer *peer, size_t *counted, size_t now);
struct rpc_method *skep_rpc_method_get(struct rpc_host *rpc,
                                       const char *name); /* NULL: no memory */
struct rpc_method *skep_rpc_method_find(struct rpc_host *rpc, const char *name);
/* Write head and body, in one piece where they are small. */
int skep_rpc_write(struct skep_stream *stream, const uint8_t *head, size_t head_len,
                   skep_bytes body);

/* unary.c */
int skep_rpc_unary_call(struct skep_rpc *rpc, struct skep_rpc_call *call,
                        const struct skep_peer_id *peer, const char *method, skep_bytes request,
                        uint64_t timeout_us);
void skep_rpc_unary_cancel(struct skep_rpc *rpc, struct skep_rpc_call *call);
void skep_rpc_unary_on_failed(struct skep_timer *timer);
void skep_rpc_unary_close(struct rpc_host *rpc); /* all outbound calls end */

/* unary_serve.c */
int skep_rpc_unary_serve(struct skep_rpc *rpc, const char *method, skep_rpc_handler *handler,
                         void *user);
void skep_rpc_unary_unserve(struct rpc_host *rpc, struct rpc_method *method);
void skep_rpc_unary_reply(struct skep_rpc_request *request, skep_bytes response);
void skep_rpc_unary_fail(struct skep_rpc_request *request, skep_bytes text);
void skep_rpc_unary_on_receiving(struct skep_timer *timer);
void skep_rpc_unary_serve_close(struct rpc_host *rpc);

/* stream.c */
int skep_rpc_stream_open(struct skep_rpc *rpc, struct skep_rpc_stream **out,
                         const struct skep_peer_id *peer, const char *method,
                         const struct skep_rpc_stream_events *events, void *user);
int skep_rpc_stream_serve(struct skep_rpc *rpc, const char *method,
                          skep_rpc_stream_handler *handler, void *user);
void skep_rpc_stream_unserve(struct rpc_host *rpc, struct rpc_method *method);
void skep_rpc_stream_use(struct skep_rpc_stream *stream,
                         const struct skep_rpc_stream_events *events, void *user);
int skep_rpc_stream_send(struct skep_rpc_stream *stream, skep_bytes head, skep_bytes body);
void skep_rpc_stream_end(struct skep_rpc_stream *stream);
void skep_rpc_stream_fail(struct skep_rpc_stream *stream, skep_bytes text);
void skep_rpc_stream_consume(struct skep_rpc_stream *stream, size_t n);
void skep_rpc_stream_pause(struct skep_rpc_stream *stream, bool paused);
void skep_rpc_stream_cancel(struct skep_rpc_stream *stream);
size_t skep_rpc_stream_queued(const struct skep_rpc_stream *stream);
void skep_rpc_stream_close(struct rpc_host *rpc);

#endif
