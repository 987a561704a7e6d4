/* SPDX-License-Identifier: MIT */
/* Streaming calls: many messages each way on one stream, without an envelope. docs/wire.md b.2.
 *
 *   caller:  messages, then the end mark 01 + eight zeros; reads until FIN; closes only then (a FIN before the answer has
 *            ended aborts the handler)
 *   handler: messages, then FIN; or one error frame, then FIN
 *
 * A caller's stream lives until on_end or on_error has returned, or its cancel. A handler's lives until stream_end or stream_fail, until
 * on_error has returned, or its cancel. Then it is gone. */
#include "base/varint.h"
#include "rpc/rpc_internal.h"

enum { STREAM_HEAD_COPIED = 512 }; /* a message's head that short goes out with the frame's own */

struct skep_rpc_stream {
    struct skep_list entry; /* rpc->streams */
    struct skep_list in_method;
    struct rpc_host *rpc;
    struct rpc_peer *peer;
    struct rpc_method *method;
    struct skep_stream *stream; /* NULL: gone */
    const struct skep_rpc_stream_events *events;
    void *user;
    struct skep_rpc_frame_reader reader;
    size_t unconsumed; /* bytes of messages delivered and not yet used up */
    size_t counted;    /* of reader.held */
    size_t withheld;   /* bytes of the stream's window not yet given back */
    bool is_caller, ended_in, ended_out, paused;
    bool busy, gone; /* inside on_data; to be freed when that returns */
};

static void stream_free(struct skep_rpc_stream *s)
{
    struct rpc_host *rpc = s->rpc;

    s->gone = true;
    if (s->busy)
        return;
    skep_list_remove(&s->entry);
    skep_list_remove(&s->in_method);
    if (!s->is_caller)
        s->peer->streams--;
    (void)skep_rpc_count_held(rpc, s->peer, &s->counted, 0);
    skep_rpc_peer_put(rpc, s->peer);
    skep_buf_fini(&s->reader.held);
    skep_mem_free(rpc->base.env->mem, s);
}

static void reset(struct skep_rpc_stream *s)
{
    if (s->stream)
        skep_stream_reset(s->stream);
    s->stream = NULL;
}

/* The last event, then the end of it. */
static void fail(struct skep_rpc_stream *s, int rc, skep_bytes text)
{
    bool was_busy = s->busy;

    if (s->gone)
        return;
    if (rc == SKEP_EPEER_REMOTE && s->stream)
        skep_stream_release(s->stream);
    else
        reset(s);
    s->stream = NULL;
    s->busy = true; /* a cancel from inside the callback must not free it under us */
    if (s->events && s->events->on_error)
        s->events->on_error(s, s->user, rc, text);
    s->busy = was_busy;
    stream_free(s);
}

static void fail_quietly(struct skep_rpc_stream *s, int rc)
{
    fail(s, rc, (skep_bytes){NULL, 0});
}

/* The caller read the end of the answer: now it may close its side. */
static void caller_ended(struct skep_rpc_stream *s)
{
    bool was_busy = s->busy;

    if (s->stream)
        skep_stream_release(s->stream);
    s->stream = NULL;
    s->busy = true;
    if (s->events && s->events->on_end)
        s->events->on_end(s, s->user);
    s->busy = was_busy;
    stream_free(s);
}

/* Window goes back as long as what was delivered is being used up; else the peer must wait. */
static void give_back(struct skep_rpc_stream *s)
{
    if (s->stream && !s->paused && s->withheld > 0 && s->unconsumed <= SKEP_STREAM_UNCONSUMED_MAX) {
        size_t n = s->withheld;

        s->withheld = 0;
        skep_stream_consume(s->stream, n);
    }
}

static void on_frame(struct skep_rpc_stream *s, const struct skep_rpc_frame *frame)
{
    if (s->ended_in) { /* only a handler gets here: something behind the end mark */
        s->rpc->stats.malformed++;
        fail_quietly(s, SKEP_EPEER_PROTO);
    } else if (frame->marker == SKEP_RPC_FRAME_MESSAGE) {
        s->unconsumed += frame->body.len;
        if (s->events && s->events->on_message)
            s->events->on_message(s, s->user, frame->body);
    } else if (s->is_caller) {
        fail(s, SKEP_EPEER_REMOTE, skep_rpc_frame_error_text(frame->body));
    } else {
        s->ended_in = true;
        if (s->events && s->events->on_end)
            s->events->on_end(s, s->user);
    }
}

static void on_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    struct skep_rpc_stream *s = user;
    struct skep_rpc_frame frame;
    skep_bytes in = data;
    int rc;

    (void)stream;
    s->busy = true;
    s->withheld += data.len;
    while (!s->gone && (rc = skep_rpc_frame_next(&s->reader, &in, &frame)) != 0) {
        if (rc > 0) {
            on_frame(s, &frame);
            continue;
        }
        s->rpc->stats.malformed += rc != SKEP_ENOMEM;
        fail_quietly(s, rc);
    }
    if (!s->gone && !s->is_caller &&
        !skep_rpc_count_held(s->rpc, s->peer, &s->counted, s->reader.held.len)) {
        s->rpc->stats.refused++;
        fail_quietly(s, SKEP_EPEER_LIMIT);
    }
    s->busy = false;
    if (s->gone)
        stream_free(s);
    else
        give_back(s);
}

static void on_writable(struct skep_stream *stream, void *user)
{
    struct skep_rpc_stream *s = user;

    (void)stream;
    if (s->events && s->events->on_writable)
        s->events->on_writable(s, s->user);
}

static void on_eof(struct skep_stream *stream, void *user)
{
    struct skep_rpc_stream *s = user;
    bool cut = s->reader.held.len > 0 && !s->reader.complete;

    (void)stream;
    if (!s->is_caller)
        fail_quietly(s, SKEP_ECANCELED); /* with or without the end mark before it */
    else if (cut)
        fail_quietly(s, SKEP_EPEER_FRAME);
    else
        caller_ended(s);
}

static void on_close(struct skep_stream *stream, void *user, int rc)
{
    struct skep_rpc_stream *s = user;

    (void)stream;
    s->stream = NULL;
    if (!s->is_caller && (rc == 0 || rc == SKEP_EPEER_RESET))
        rc = SKEP_ECANCELED;
    fail_quietly(s, rc == 0 ? SKEP_EPEER_RESET : rc);
}

static const struct skep_stream_events stream_events = {
    .on_data = on_data, .on_writable = on_writable, .on_eof = on_eof, .on_close = on_close};

/* ---- calls of the user ---- */

static struct skep_rpc_stream *stream_new(struct rpc_host *rpc, const struct skep_peer_id *id,
                                          struct rpc_method *method)
{
    struct skep_rpc_stream *s = skep_mem_zalloc(rpc->base.env->mem, 1, sizeof *s);

    if (!s)
        return NULL;
    if (!(s->peer = skep_rpc_peer_get(rpc, id))) {
        skep_mem_free(rpc->base.env->mem, s);
        return NULL;
    }
    s->rpc = rpc;
    s->method = method;
    skep_buf_init(&s->reader.held, rpc->base.env->mem);
    skep_list_init(&s->in_method);
    skep_list_push_back(&rpc->streams, &s->entry);
    return s;
}

int skep_rpc_stream_open(struct skep_rpc *base, struct skep_rpc_stream **out,
                         const struct skep_peer_id *id, const char *name,
                         const struct skep_rpc_stream_events *events, void *user)
{
    struct rpc_host *rpc = rpc_host_of(base);
    struct rpc_method *method;
    struct skep_rpc_stream *s;
    int rc;

    *out = NULL;
    if (rpc->closing)
        return SKEP_ECLOSED;
    if (skep_peer_id_equal(id, &base->self))
        return SKEP_ESELF;
    if (strlen(name) > SKEP_METHOD_LEN_MAX)
        return SKEP_ESIZE;
    if (!(method = skep_rpc_method_get(rpc, name)) || !(s = stream_new(rpc, id, method)))
        return SKEP_ENOMEM;
    s->is_caller = true;
    s->events = events;
    s->user = user;
    if ((rc = skep_host_open(rpc->host, &s->stream, id, method->name, &stream_events, s)) < 0) {
        stream_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void skep_rpc_stream_use(struct skep_rpc_stream *s, const struct skep_rpc_stream_events *events,
                         void *user)
{
    s->events = events;
    s->user = user;
}

int skep_rpc_stream_send(struct skep_rpc_stream *s, skep_bytes head, skep_bytes body)
{
    uint8_t start[SKEP_RPC_FRAME_HEAD_LEN + STREAM_HEAD_COPIED];
    size_t len = SKEP_RPC_FRAME_HEAD_LEN;
    int rc;

    if (!s->stream || s->ended_out)
        return SKEP_ECLOSED;
    if (head.len > SKEP_STREAM_MESSAGE_MAX || body.len > SKEP_STREAM_MESSAGE_MAX - head.len)
        return SKEP_ESIZE;
    skep_rpc_frame_head(start, SKEP_RPC_FRAME_MESSAGE, head.len + body.len);
    if (head.len > STREAM_HEAD_COPIED) {
        if ((rc = skep_rpc_write(s->stream, start, len, head)) < 0)
            return rc;
        return body.len > 0 ? skep_stream_write(s->stream, body) : 0;
    }
    skep_bytes_copy(start + len, head);
    return skep_rpc_write(s->stream, start, len + head.len, body);
}

void skep_rpc_stream_end(struct skep_rpc_stream *s)
{
    uint8_t mark[SKEP_RPC_FRAME_HEAD_LEN];

    if (!s->stream || s->ended_out)
        return;
    s->ended_out = true;
    if (s->is_caller) {
        skep_rpc_frame_head(mark, SKEP_RPC_FRAME_ERROR, 0);
        (void)skep_stream_write(
            s->stream,
            skep_bytes_of(mark,
                          sizeof mark)); /* out of memory: the handler waits, the user cancels */
        return;
    }
    skep_stream_release(s->stream);
    s->stream = NULL;
    stream_free(s);
}

void skep_rpc_stream_fail(struct skep_rpc_stream *s, skep_bytes text)
{
    uint8_t frame[SKEP_RPC_FRAME_HEAD_LEN + 8];
    size_t n;

    /* A caller has no error to tell: to hivemind such a frame would be the end mark. */
    if (!s->stream || s->is_caller) {
        skep_rpc_stream_cancel(s);
        return;
    }
    text.len = SKEP_MIN(text.len, (size_t)SKEP_ERROR_TEXT_MAX);
    frame[SKEP_RPC_FRAME_HEAD_LEN] =
        1 << 3 | 2; /* RPCError.message, proto3: left out where empty */
    n = text.len > 0 ? 1 + skep_varint_encode(frame + SKEP_RPC_FRAME_HEAD_LEN + 1, text.len) : 0;
    skep_rpc_frame_head(frame, SKEP_RPC_FRAME_ERROR, n + text.len);
    if (skep_rpc_write(s->stream, frame, SKEP_RPC_FRAME_HEAD_LEN + n, text) < 0)
        skep_stream_reset(s->stream);
    else
        skep_stream_release(s->stream);
    s->stream = NULL;
    stream_free(s);
}

void skep_rpc_stream_consume(struct skep_rpc_stream *s, size_t n)
{
    s->unconsumed -= SKEP_MIN(n, s->unconsumed);
    if (!s->busy)
        give_back(s);
}

void skep_rpc_stream_pause(struct skep_rpc_stream *s, bool paused)
{
    s->paused = paused;
    if (!s->busy)
        give_back(s);
}

void skep_rpc_stream_cancel(struct skep_rpc_stream *s)
{
    if (s->gone)
        return;
    reset(s);
    stream_free(s);
}

size_t skep_rpc_stream_queued(const struct skep_rpc_stream *s)
{
    return s->stream ? skep_stream_queued(s->stream) : 0;
}

/* ---- serving ---- */

static void on_stream(void *user, struct skep_stream *stream)
{
    struct rpc_method *method = user;
    struct rpc_host *rpc = method->rpc;
    struct skep_rpc_stream *s = stream_new(rpc, skep_stream_peer(stream), method);

    if (s && s->peer->streams++ >= SKEP_STREAMS_PER_PEER_MAX) {
        stream_free(s);
        s = NULL;
    }
    if (!s) {
        rpc->stats.refused++;
        skep_stream_reset(stream);
        return;
    }
    s->stream = stream;
    skep_list_push_back(&method->inbound, &s->in_method);
    rpc->stats.calls_served++;
    skep_stream_use(stream, &stream_events, s);
    s->busy = true;
    method->stream_handler(method->user, s, &s->peer->id);
    s->busy = false;
    if (s->gone)
        stream_free(s);
}

int skep_rpc_stream_serve(struct skep_rpc *base, const char *name, skep_rpc_stream_handler *handler,
                          void *user)
{
    struct rpc_host *rpc = rpc_host_of(base);
    struct rpc_method *method;
    int rc;

    if (strlen(name) > SKEP_METHOD_LEN_MAX)
        return SKEP_ESIZE;
    if (!(method = skep_rpc_method_get(rpc, name)))
        return SKEP_ENOMEM;
    if (method->handler || method->stream_handler)
        return SKEP_EEXIST;
    if ((rc = skep_host_serve(rpc->host, method->name, on_stream, method)) < 0)
        return rc;
    method->stream_handler = handler;
    method->user = user;
    return 0;
}

/* Send what the caller takes for a cancelled handler, and tell the handler as well. */
static void end_served(struct skep_rpc_stream *s)
{
    uint8_t frame[SKEP_RPC_FRAME_HEAD_LEN];

    skep_rpc_frame_head(frame, SKEP_RPC_FRAME_ERROR, 0);
    if (s->stream && skep_stream_write(s->stream, skep_bytes_of(frame, sizeof frame)) == 0) {
        skep_stream_release(s->stream);
        s->stream = NULL;
    }
    fail_quietly(s, SKEP_ECANCELED);
}

void skep_rpc_stream_unserve(struct rpc_host *rpc, struct rpc_method *method)
{
    skep_host_unserve(rpc->host, method->name);
    method->stream_handler = NULL;
    while (!skep_list_empty(&method->inbound)) {
        struct skep_rpc_stream *s =
            SKEP_LIST_ITEM(method->inbound.next, struct skep_rpc_stream, in_method);

        skep_list_remove(&s->in_method);
        end_served(s);
    }
}

void skep_rpc_stream_close(struct rpc_host *rpc)
{
    while (!skep_list_empty(&rpc->streams)) {
        struct skep_rpc_stream *s =
            SKEP_LIST_ITEM(rpc->streams.next, struct skep_rpc_stream, entry);

        assert(!s->busy);
        fail_quietly(s, SKEP_ECANCELED);
    }
}
