/* SPDX-License-Identifier: MIT */
/* Streams of the API: calls with many messages each way, and raw bytes. See include/skep/p2p.h.
 *
 *   OPEN --remote end, error--> on_close --> CLOSED
 *   OPEN --cancel, reset, free, a handler's end--> CLOSED, on_close follows on the next turn
 *
 * Two references: the user's and, until on_close has returned, the node's. From another thread every call is a job. */
#include "api/api.h"

enum verb {
    VERB_OPEN,
    VERB_SEND,
    VERB_END,
    VERB_FAIL,
    VERB_CONSUME,
    VERB_STOP,
    VERB_FREE,
    VERB_USE
};

struct api_stream {
    struct api_core *core;
    struct skep_list entry; /* node->streams */
    atomic_uint refs;
    bool is_raw;
    bool used;                    /* it has events */
    bool let_go;                  /* the user freed it: only on_close is still told */
    bool telling;                 /* on_close is on its way */
    bool answers;                 /* a handler's call: its end is the end of the stream */
    struct skep_stream *raw;      /* NULL: not open, or gone */
    struct skep_rpc_stream *call; /* likewise */
    atomic_bool closed;
    atomic_size_t posted;  /* bytes on the way to the loop */
    atomic_size_t waiting; /* bytes in the stream when the loop last looked; see backlog() */
    int close_rc;
    size_t unused; /* bytes given to the user and not yet used up; the loop's */
    skep_peer peer;
    void *user_data;
    struct api_job close_job;
};

struct skep_raw_stream {
    struct api_stream base;
    skep_raw_stream_events events;
};

struct skep_call_stream {
    struct api_stream base;
    skep_call_stream_events events;
};

static struct skep_raw_stream *raw_of(struct api_stream *s)
{
    return SKEP_CONTAINER_OF(s, struct skep_raw_stream, base);
}

static struct skep_call_stream *call_of(struct api_stream *s)
{
    return SKEP_CONTAINER_OF(s, struct skep_call_stream, base);
}

static void unref(struct api_stream *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) > 1)
        return;
    skep_api_core_unref(s->core);
    skep_mem_free(API_MEM, s);
}

static bool is_open(const struct api_stream *s)
{
    return s->raw || s->call;
}

/* ---- the end ---- */

static void tell_closed(struct api_stream *s, int rc, const char *text)
{
    atomic_store(&s->closed, true);
    s->raw = NULL;
    s->call = NULL;
    skep_list_remove(&s->entry);
    if (s->used && s->is_raw && raw_of(s)->events.on_close)
        raw_of(s)->events.on_close(s->user_data, raw_of(s), rc);
    else if (s->used && !s->is_raw && call_of(s)->events.on_close)
        call_of(s)->events.on_close(s->user_data, call_of(s), rc, text);
    unref(s);
}

static void on_close_job(struct api_job *job, skep_node *node)
{
    struct api_stream *s = SKEP_CONTAINER_OF(job, struct api_stream, close_job);

    (void)node;
    tell_closed(s, s->close_rc, "");
}

/* We ended it: the inner stream is gone, and the user, who may be inside a call on it, hears on the next turn. */
static void closed_here(struct api_stream *s, int rc)
{
    if (s->telling)
        return;
    s->telling = true;
    atomic_store(&s->closed, true);
    s->raw = NULL;
    s->call = NULL;
    s->close_rc = rc;
    s->close_job.run = on_close_job;
    if (skep_api_post(s->core, &s->close_job) < 0)
        tell_closed(s, rc, "");
}

static void stop(struct api_stream *s, bool orderly)
{
    struct skep_rpc *rpc = s->core->node ? s->core->node->rpc : NULL;

    if (s->raw && orderly)
        skep_stream_release(s->raw);
    else if (s->raw)
        skep_stream_reset(s->raw);
    else if (s->call && rpc)
        rpc->ops->stream_cancel(s->call);
    if (is_open(s))
        closed_here(s, orderly && s->is_raw ? 0 : SKEP_ECANCELED);
}

void skep_api_streams_close(skep_node *node)
{
    while (!skep_list_empty(&node->streams)) {
        struct api_stream *s = SKEP_LIST_ITEM(node->streams.next, struct api_stream, entry);

        stop(s, false);
        /* The queue of jobs is shut: a stream that was open is told from inside the stop, one that was being told has had its job. */
        if (!skep_list_empty(&node->streams) && node->streams.next == &s->entry)
            tell_closed(s, SKEP_ECANCELED, "");
    }
}

/* ---- a new one ---- */

static void *stream_new(skep_node *node, bool is_raw, const struct skep_peer_id *peer,
                        void *user_data)
{
    struct api_stream *s = skep_mem_zalloc(
        API_MEM, 1, is_raw ? sizeof(struct skep_raw_stream) : sizeof(struct skep_call_stream));

    if (!s)
        return NULL;
    s->core = skep_api_core_ref(node->core);
    s->is_raw = is_raw;
    s->peer = api_peer_out(peer);
    s->user_data = user_data;
    atomic_init(&s->refs, 2);
    atomic_init(&s->closed, false);
    skep_list_init(&s->entry);
    return s;
}

static void drop(struct api_stream *s)
{
    unref(s);
    unref(s);
}

/* ---- events of the inner streams ---- */

static void on_raw_open(struct skep_stream *inner, void *user)
{
    struct api_stream *s = user;

    (void)inner;
    if (s->used && !s->let_go && raw_of(s)->events.on_open)
        raw_of(s)->events.on_open(s->user_data, raw_of(s));
}

/* No more than was given: a program that counts wrong must not open a window that is not there. */
static void consume(struct api_stream *s, size_t n)
{
    n = SKEP_MIN(n, s->unused);
    s->unused -= n;
    if (n == 0)
        return;
    if (s->raw)
        skep_stream_consume(s->raw, n);
    else if (s->call)
        s->core->node->rpc->ops->stream_consume(s->call, n);
}

static void on_raw_data(struct skep_stream *inner, void *user, skep_bytes data)
{
    struct api_stream *s = user;
    bool manual = s->used && raw_of(s)->events.manual_consume;

    (void)inner;
    s->unused += data.len;
    if (s->used && raw_of(s)->events.on_data)
        raw_of(s)->events.on_data(s->user_data, raw_of(s), api_view(data));
    if (!manual)
        consume(s, data.len);
}

static void on_raw_writable(struct skep_stream *inner, void *user)
{
    struct api_stream *s = user;

    (void)inner;
    if (s->used && raw_of(s)->events.on_writable)
        raw_of(s)->events.on_writable(s->user_data, raw_of(s));
}

static void on_raw_eof(struct skep_stream *inner, void *user)
{
    struct api_stream *s = user;

    (void)inner;
    if (s->used && raw_of(s)->events.on_end)
        raw_of(s)->events.on_end(s->user_data, raw_of(s));
}

static void on_raw_close(struct skep_stream *inner, void *user, int rc)
{
    (void)inner;
    tell_closed(user, rc, "");
}

static const struct skep_stream_events raw_events = {.on_open = on_raw_open,
                                                     .on_data = on_raw_data,
                                                     .on_writable = on_raw_writable,
                                                     .on_eof = on_raw_eof,
                                                     .on_close = on_raw_close};

static void on_call_message(struct skep_rpc_stream *inner, void *user, skep_bytes message)
{
    struct api_stream *s = user;
    bool manual = s->used && call_of(s)->events.manual_consume;

    (void)inner;
    s->unused += message.len;
    if (s->used && call_of(s)->events.on_message)
        call_of(s)->events.on_message(s->user_data, call_of(s), api_view(message));
    if (!manual)
        consume(s, message.len);
}

static void on_call_writable(struct skep_rpc_stream *inner, void *user)
{
    struct api_stream *s = user;

    (void)inner;
    if (s->used && call_of(s)->events.on_writable)
        call_of(s)->events.on_writable(s->user_data, call_of(s));
}

static void on_caller_end(struct skep_rpc_stream *inner, void *user)
{
    struct api_stream *s = user;

    (void)inner;
    s->call = NULL; /* gone when this returns */
    s->telling = true;
    atomic_store(&s->closed, true);
    if (s->used && call_of(s)->events.on_end)
        call_of(s)->events.on_end(s->user_data, call_of(s));
    tell_closed(s, 0, "");
}

static void on_handler_end(struct skep_rpc_stream *inner, void *user)
{
    struct api_stream *s = user;

    (void)inner;
    if (s->used && call_of(s)->events.on_end)
        call_of(s)->events.on_end(s->user_data, call_of(s));
}

static void on_call_error(struct skep_rpc_stream *inner, void *user, int rc, skep_bytes text)
{
    char escaped[SKEP_PEER_TEXT_MAX + 1];

    (void)inner;
    tell_closed(user, rc, skep_text_escape(escaped, sizeof escaped, text));
}

static const struct skep_rpc_stream_events caller_events = {.on_message = on_call_message,
                                                            .on_writable = on_call_writable,
                                                            .on_end = on_caller_end,
                                                            .on_error = on_call_error};
static const struct skep_rpc_stream_events handler_events = {.on_message = on_call_message,
                                                             .on_writable = on_call_writable,
                                                             .on_end = on_handler_end,
                                                             .on_error = on_call_error};

/* ---- what a call does, on the loop ---- */

static int open_inner(struct api_stream *s, skep_node *node, const char *name)
{
    struct skep_peer_id peer = api_peer_in(&s->peer);
    int rc;

    if (s->is_raw)
        rc = skep_peer_id_equal(&peer, &node->identity.id)
                 ? SKEP_ESELF
                 : skep_host_open(node->host, &s->raw, &peer, name, &raw_events, s);
    else
        rc = node->rpc->ops->stream_open(node->rpc, &s->call, &peer, name, &caller_events, s);
    if (rc == 0)
        skep_list_push_back(&node->streams, &s->entry);
    return rc;
}

static void end_inner(struct api_stream *s, skep_node *node)
{
    if (s->raw)
        skep_stream_close_write(s->raw);
    else
        node->rpc->ops->stream_end(s->call);
}

static int apply(struct api_stream *s, skep_node *node, enum verb verb, skep_bytes bytes, size_t n)
{
    if (!is_open(s))
        return SKEP_ECLOSED;
    switch (verb) {
    case VERB_SEND:
        return s->raw ? skep_stream_write(s->raw, bytes)
                      : node->rpc->ops->stream_send(s->call, bytes, (skep_bytes){NULL, 0});
    case VERB_END:
        end_inner(s, node);
        if (s->answers)
            closed_here(s, 0);
        return 0;
    case VERB_FAIL:
        node->rpc->ops->stream_fail(s->call, bytes);
        closed_here(s, SKEP_ECANCELED);
        return 0;
    case VERB_CONSUME: consume(s, n); return 0;
    case VERB_STOP: stop(s, false); return 0;
    case VERB_FREE:
        s->let_go = true;
        stop(s, true);
        return 0;
    case VERB_OPEN:
    case VERB_USE: break;
    }
    return SKEP_EINVAL;
}

/* ---- from another thread ---- */

struct stream_job {
    struct api_job job;
    struct api_stream *s;
    enum verb verb;
    size_t n, len;
    uint8_t bytes[];
};

static void on_stream_job(struct api_job *base, skep_node *node)
{
    struct stream_job *job = SKEP_CONTAINER_OF(base, struct stream_job, job);
    struct api_stream *s = job->s;
    int rc;

    if (job->verb == VERB_OPEN) {
        rc = node ? open_inner(s, node, (const char *)job->bytes) : SKEP_ECANCELED;
        if (rc < 0) {
            s->telling = true;
            tell_closed(s, rc, skep_strerror(rc));
        }
    } else if (node) {
        (void)apply(s, node, job->verb, skep_bytes_of(job->bytes, job->len), job->n);
    }
    if (job->verb == VERB_SEND)
        atomic_fetch_sub_explicit(&s->posted, job->len, memory_order_relaxed);
    unref(s);
    skep_mem_free(API_MEM, job);
}

static int post_verb(struct api_stream *s, enum verb verb, skep_bytes bytes, size_t n)
{
    struct stream_job *job =
        bytes.len < SIZE_MAX / 2 ? skep_mem_alloc(API_MEM, sizeof *job + bytes.len) : NULL;
    int rc;

    if (!job)
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    *job = (struct stream_job){
        .job.run = on_stream_job, .s = s, .verb = verb, .n = n, .len = bytes.len};
    skep_bytes_copy(job->bytes, bytes);
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    if (verb == VERB_SEND)
        atomic_fetch_add_explicit(&s->posted, bytes.len, memory_order_relaxed);
    if ((rc = skep_api_post(s->core, &job->job)) < 0) {
        skep_mem_free(API_MEM, job);
        unref(s);
    }
    return rc;
}

static int perform(struct api_stream *s, enum verb verb, skep_bytes bytes, size_t n)
{
    int rc;

    if (!s)
        return skep_api_need(s, "stream");
    if ((rc = skep_api_need_bytes((skep_view){bytes.data, bytes.len}, "data")) < 0)
        return rc;
    if (atomic_load(&s->closed))
        return skep_api_fail(SKEP_ECLOSED, "the stream is closed");
    if (skep_api_on_loop(s->core))
        return s->core->node ? apply(s, s->core->node, verb, bytes, n) : SKEP_ECLOSED;
    return post_verb(s, verb, bytes, n);
}

static const skep_bytes none = {NULL, 0};

/* ---- opening ---- */

static int open_stream(struct api_stream *s, skep_node *node, const char *name)
{
    int rc;

    s->used = true;
    if (!skep_api_on_loop(node->core))
        rc = post_verb(s, VERB_OPEN, skep_bytes_of(name, strlen(name) + 1), 0);
    else
        rc = node->closing ? SKEP_ECLOSED : open_inner(s, node, name);
    if (rc < 0) {
        drop(s);
        skep_api_fail(rc, "cannot open a stream for %s: %s", skep_api_quote(name),
                      skep_strerror(rc));
    }
    return rc;
}

static int check_open(void *out, const skep_node *node, const skep_peer *peer, const char *name,
                      const void *events)
{
    int rc;

    if ((rc = skep_api_need(node, "node")) < 0)
        return rc;
    if (!out || !events)
        return skep_api_fail(SKEP_EINVAL, "nowhere to put the stream, or no events for it");
    if ((rc = skep_api_bad_peer(peer)) < 0)
        return rc;
    return skep_api_check_method(name);
}

int skep_p2p_open(skep_raw_stream **out, skep_node *node, const skep_peer *peer,
                  const char *protocol, const skep_raw_stream_events *events, void *user_data)
{
    struct skep_raw_stream *s;
    struct skep_peer_id id;
    int rc = check_open(out, node, peer, protocol, events);

    if (rc < 0)
        return rc;
    *out = NULL;
    id = api_peer_in(peer);
    if (!(s = stream_new(node, true, &id, user_data)))
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    s->events = *events;
    if ((rc = open_stream(&s->base, node, protocol)) == 0)
        *out = s;
    return rc;
}

int skep_p2p_call_stream(skep_call_stream **out, skep_node *node, const skep_peer *peer,
                         const char *method, const skep_call_stream_events *events, void *user_data)
{
    struct skep_call_stream *s;
    struct skep_peer_id id;
    int rc = check_open(out, node, peer, method, events);

    if (rc < 0)
        return rc;
    *out = NULL;
    id = api_peer_in(peer);
    if (!(s = stream_new(node, false, &id, user_data)))
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    s->events = *events;
    if ((rc = open_stream(&s->base, node, method)) == 0)
        *out = s;
    return rc;
}

/* ---- serving ---- */

/* The handler has returned: a stream that it left without events is of no use to anybody. */
static void after_handler(struct api_stream *s)
{
    if (!s->used && is_open(s))
        stop(s, false);
    unref(s);
}

static void on_raw_stream(void *user, struct skep_stream *inner)
{
    struct api_handler *handler = user;
    struct skep_raw_stream *s = stream_new(handler->node, true, skep_stream_peer(inner), NULL);

    if (!s) {
        skep_stream_reset(inner);
        return;
    }
    s->base.raw = inner;
    skep_stream_use(inner, &raw_events, &s->base);
    skep_list_push_back(&handler->node->streams, &s->base.entry);
    atomic_fetch_add_explicit(&s->base.refs, 1, memory_order_relaxed);
    handler->fn.raw(handler->user_data, s);
    after_handler(&s->base);
}

static void on_call_stream(void *user, struct skep_rpc_stream *inner,
                           const struct skep_peer_id *peer)
{
    struct api_handler *handler = user;
    struct skep_call_stream *s = stream_new(handler->node, false, peer, NULL);

    if (!s) {
        handler->node->rpc->ops->stream_cancel(inner);
        return;
    }
    s->base.call = inner;
    s->base.answers = true;
    handler->node->rpc->ops->stream_use(inner, &handler_events, &s->base);
    skep_list_push_back(&handler->node->streams, &s->base.entry);
    atomic_fetch_add_explicit(&s->base.refs, 1, memory_order_relaxed);
    handler->fn.stream(handler->user_data, s);
    after_handler(&s->base);
}

static int serve_raw(struct api_handler *handler)
{
    return skep_host_serve(handler->node->host, handler->name, on_raw_stream, handler);
}

static int serve_call_stream(struct api_handler *handler)
{
    return handler->node->rpc->ops->stream_serve(handler->node->rpc, handler->name, on_call_stream,
                                                 handler);
}

int skep_p2p_serve_protocol(skep_node *node, const char *protocol, skep_raw_stream_handler *handler,
                            void *user_data)
{
    const struct api_handler like = {
        .kind = API_RAW, .fn.raw = handler, .user_data = user_data, .name = protocol};

    return skep_api_handler_add(node, &like, serve_raw);
}

int skep_p2p_serve_stream(skep_node *node, const char *method, skep_call_stream_handler *handler,
                          void *user_data)
{
    const struct api_handler like = {
        .kind = API_STREAM, .fn.stream = handler, .user_data = user_data, .name = method};

    return skep_api_handler_add(node, &like, serve_call_stream);
}

/* ---- the calls on a stream ---- */

void skep_raw_stream_use(skep_raw_stream *stream, const skep_raw_stream_events *events,
                         void *user_data)
{
    if (!stream || !events)
        return;
    stream->events = *events;
    stream->base.user_data = user_data;
    stream->base.used = true;
}

const skep_peer *skep_raw_stream_peer(const skep_raw_stream *stream)
{
    return stream ? &stream->base.peer : NULL;
}

int skep_raw_stream_write(skep_raw_stream *stream, skep_view data)
{
    return perform(stream ? &stream->base : NULL, VERB_SEND, api_bytes(data), 0);
}

static void note_waiting(struct api_stream *s)
{
    size_t waiting = s->raw    ? skep_stream_queued(s->raw)
                     : s->call ? s->core->node->rpc->ops->stream_queued(s->call)
                               : 0;

    atomic_store_explicit(&s->waiting, waiting, memory_order_relaxed);
}

static int look(skep_node *node, void *arg)
{
    (void)node;
    note_waiting(arg);
    return 0;
}

/* Another thread waits for the loop's answer: a figure from before would never fall for somebody who waits for it to. */
static size_t backlog(struct api_stream *s)
{
    if (atomic_load(&s->closed) || skep_api_call(s->core, look, s) < 0)
        return 0;
    return atomic_load_explicit(&s->waiting, memory_order_relaxed) +
           atomic_load_explicit(&s->posted, memory_order_relaxed);
}

size_t skep_raw_stream_backlog(const skep_raw_stream *stream)
{
    return stream ? backlog((struct api_stream *)(uintptr_t)&stream->base) : 0;
}

int skep_raw_stream_end(skep_raw_stream *stream)
{
    return perform(stream ? &stream->base : NULL, VERB_END, none, 0);
}

int skep_raw_stream_consume(skep_raw_stream *stream, size_t len)
{
    return perform(stream ? &stream->base : NULL, VERB_CONSUME, none, len);
}

int skep_raw_stream_reset(skep_raw_stream *stream)
{
    return perform(stream ? &stream->base : NULL, VERB_STOP, none, 0);
}

void skep_raw_stream_free(skep_raw_stream *stream)
{
    if (!stream)
        return;
    (void)perform(&stream->base, VERB_FREE, none, 0);
    unref(&stream->base);
}

void skep_call_stream_use(skep_call_stream *stream, const skep_call_stream_events *events,
                          void *user_data)
{
    if (!stream || !events)
        return;
    stream->events = *events;
    stream->base.user_data = user_data;
    stream->base.used = true;
}

const skep_peer *skep_call_stream_peer(const skep_call_stream *stream)
{
    return stream ? &stream->base.peer : NULL;
}

int skep_call_stream_send(skep_call_stream *stream, skep_view message)
{
    if (message.len > SKEP_STREAM_MESSAGE_MAX)
        return skep_api_fail(SKEP_ESIZE, "a message of %zu bytes; at most %d", message.len,
                             SKEP_STREAM_MESSAGE_MAX);
    return perform(stream ? &stream->base : NULL, VERB_SEND, api_bytes(message), 0);
}

size_t skep_call_stream_backlog(const skep_call_stream *stream)
{
    return stream ? backlog((struct api_stream *)(uintptr_t)&stream->base) : 0;
}

int skep_call_stream_end(skep_call_stream *stream)
{
    return perform(stream ? &stream->base : NULL, VERB_END, none, 0);
}

int skep_call_stream_fail(skep_call_stream *stream, const char *text)
{
    return perform(stream ? &stream->base : NULL, VERB_FAIL, skep_bytes_str(text ? text : ""), 0);
}

int skep_call_stream_consume(skep_call_stream *stream, size_t len)
{
    return perform(stream ? &stream->base : NULL, VERB_CONSUME, none, len);
}

int skep_call_stream_cancel(skep_call_stream *stream)
{
    return perform(stream ? &stream->base : NULL, VERB_STOP, none, 0);
}

void skep_call_stream_free(skep_call_stream *stream)
{
    if (!stream)
        return;
    (void)perform(&stream->base, VERB_FREE, none, 0);
    unref(&stream->base);
}
