/* SPDX-License-Identifier: MIT */
/* Inbound unary calls. docs/wire.md b.1.
 *
 *   RECEIVING --whole request--> RUNNING --reply, fail--> answered, FIN, recycled
 *       |                           |--EOF, reset, another byte--> ABANDONED --reply, fail--> recycled
 *       `--malformed, EOF, no progress--> reset, recycled
 *
 * What hivemind sends after its request, be it a byte or a FIN, means that it has given up. */
#include "rpc/rpc_internal.h"

struct inbound {
    struct skep_rpc_request request; /* what the handler has */
    struct skep_list entry;          /* rpc->receiving, rpc->running or rpc->free_inbound */
    struct skep_list in_method;
    struct rpc_host *rpc;
    struct rpc_method *method;
    struct rpc_peer *peer;
    struct skep_stream *stream;         /* NULL: gone */
    struct skep_envelope_reader reader; /* holds the request while RUNNING */
    size_t counted;                     /* of reader.held */
    uint64_t moved_us;                  /* RECEIVING: when something last arrived */
    uint8_t call_id[SKEP_CALL_ID_LEN];
    enum { RECEIVING, RUNNING, ABANDONED } state;
};

static struct inbound *inbound_of(struct skep_rpc_request *request)
{
    return SKEP_CONTAINER_OF(request, struct inbound, request);
}

/* ---- the recycled struct ---- */

static void inbound_free(struct inbound *inbound)
{
    skep_buf_fini(&inbound->reader.held);
    skep_mem_free(inbound->rpc->base.env->mem, inbound);
}

static struct inbound *inbound_get(struct rpc_host *rpc)
{
    struct inbound *inbound;

    if (!skep_list_empty(&rpc->free_inbound)) {
        inbound = SKEP_LIST_ITEM(rpc->free_inbound.next, struct inbound, entry);
        skep_list_remove(&inbound->entry);
        rpc->free_inbound_count--;
        return inbound;
    }
    if (!(inbound = skep_mem_zalloc(rpc->base.env->mem, 1, sizeof *inbound)))
        return NULL;
    inbound->rpc = rpc;
    skep_list_init(&inbound->entry);
    skep_list_init(&inbound->in_method);
    skep_buf_init(&inbound->reader.held, rpc->base.env->mem);
    return inbound;
}

static void inbound_put(struct inbound *inbound)
{
    struct rpc_host *rpc = inbound->rpc;

    skep_list_remove(&inbound->entry);
    skep_list_remove(&inbound->in_method);
    if (inbound->state != RECEIVING)
        rpc->stats.handling--;
    inbound->peer->handling--;
    (void)skep_rpc_count_held(rpc, inbound->peer, &inbound->counted, 0);
    skep_rpc_peer_put(rpc, inbound->peer);
    inbound->stream = NULL;
    inbound->request = (struct skep_rpc_request){0};
    if (inbound->reader.held.cap > RPC_BUFFER_KEPT)
        skep_buf_fini(&inbound->reader.held);
    skep_buf_clear(&inbound->reader.held);
    if (rpc->free_inbound_count >= SKEP_RPC_SPARE_MAX) {
        inbound_free(inbound);
        return;
    }
    rpc->free_inbound_count++;
    skep_list_push_front(&rpc->free_inbound, &inbound->entry);
}

static void drop(struct inbound *inbound)
{
    if (inbound->stream)
        skep_stream_reset(inbound->stream);
    inbound_put(inbound);
}

/* The caller gave up on a request that its handler still has. */
static void abandon(struct inbound *inbound)
{
    if (inbound->stream)
        skep_stream_reset(inbound->stream);
    inbound->stream = NULL;
    inbound->state = ABANDONED;
    inbound->rpc->stats.served_canceled++;
    if (inbound->request.on_cancel)
        inbound->request.on_cancel(&inbound->request);
}

/* ---- answers ---- */

static void answer(struct inbound *inbound, bool is_error, skep_bytes body)
{
    uint8_t head[SKEP_ENVELOPE_HEAD_MAX];
    size_t head_len = skep_envelope_answer_head(head, inbound->call_id, is_error, body.len);

    assert(head_len > 0);
    if (!skep_stream_has_room(inbound->stream, head_len + body.len)) {
        inbound->rpc->stats.refused++; /* who asked at once for more than it reads */
        skep_stream_reset(inbound->stream);
    } else if (skep_rpc_write(inbound->stream, head, head_len, body) < 0) {
        skep_stream_reset(inbound->stream);
    } else {
        skep_stream_release(inbound->stream);
    }
    inbound->stream = NULL;
}

static bool answer_fits(const struct inbound *inbound, skep_bytes body)
{
    uint8_t head[SKEP_ENVELOPE_HEAD_MAX];

    return skep_envelope_answer_head(head, inbound->call_id, false, body.len) > 0;
}

void skep_rpc_unary_reply(struct skep_rpc_request *request, skep_bytes response)
{
    struct inbound *inbound = inbound_of(request);

    if (inbound->stream && answer_fits(inbound, response)) {
        answer(inbound, false, response);
    } else if (inbound->stream) {
        inbound->rpc->stats.oversized++;
        answer(inbound, true,
               skep_bytes_str("ValueError('the response is larger than 4194304 bytes')"));
    }
    inbound_put(inbound);
}

void skep_rpc_unary_fail(struct skep_rpc_request *request, skep_bytes text)
{
    struct inbound *inbound = inbound_of(request);

    text.len = SKEP_MIN(text.len, (size_t)SKEP_ERROR_TEXT_MAX);
    if (inbound->stream)
        answer(inbound, true, text);
    inbound_put(inbound);
}

/* ---- events of the stream ---- */

static bool is_for(const struct rpc_method *method, skep_bytes name)
{
    return skep_bytes_equal(name, skep_bytes_of(method->name, method->name_len));
}

static bool may_hold(struct inbound *inbound)
{
    if (skep_rpc_count_held(inbound->rpc, inbound->peer, &inbound->counted,
                            inbound->reader.held.len))
        return true;
    inbound->rpc->stats.refused++;
    drop(inbound);
    return false;
}

static void on_request(struct inbound *inbound, skep_bytes message, bool more_behind)
{
    struct rpc_host *rpc = inbound->rpc;
    struct skep_envelope envelope;
    struct skep_buf *held = &inbound->reader.held;

    /* The body must stay until the request is ended. A message that came in one piece is a view: keep it. */
    if (held->len == 0) {
        skep_buf_put_bytes(held, message);
        if (held->rc < 0) {
            drop(inbound);
            return;
        }
        message = skep_buf_view(held);
    }
    if (!may_hold(inbound))
        return;
    if (more_behind || skep_envelope_parse(message, &envelope) < 0 ||
        envelope.kind != SKEP_ENVELOPE_CALL || !is_for(inbound->method, envelope.method)) {
        rpc->stats.malformed++;
        drop(inbound);
        return;
    }
    skep_bytes_copy(inbound->call_id, envelope.call_id);
    inbound->request = (struct skep_rpc_request){
        .rpc = &rpc->base, .peer = &inbound->peer->id, .data = envelope.body};
    inbound->state = RUNNING;
    skep_list_remove(&inbound->entry);
    skep_list_push_back(&rpc->running, &inbound->entry);
    rpc->stats.handling++;
    rpc->stats.calls_served++;
    inbound->method->handler(inbound->method->user, &inbound->request);
}

static void on_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    struct inbound *inbound = user;
    skep_bytes message, in = data;
    int rc;

    skep_stream_consume(stream, data.len);
    if (inbound->state != RECEIVING) {
        abandon(inbound);
        return;
    }
    rc = skep_envelope_next(&inbound->reader, &in, &message);
    if (rc > 0) {
        on_request(inbound, message, in.len > 0);
    } else if (rc < 0) {
        inbound->rpc->stats.malformed += rc != SKEP_ENOMEM;
        drop(inbound);
    } else if (may_hold(inbound)) {
        inbound->moved_us = skep_env_now_us(inbound->rpc->base.env);
        skep_list_remove(&inbound->entry);
        skep_list_push_back(&inbound->rpc->receiving, &inbound->entry);
    }
}

static void on_eof(struct skep_stream *stream, void *user)
{
    struct inbound *inbound = user;

    (void)stream;
    if (inbound->state == RECEIVING)
        drop(inbound);
    else
        abandon(inbound);
}

static void on_close(struct skep_stream *stream, void *user, int rc)
{
    struct inbound *inbound = user;

    (void)stream;
    (void)rc;
    inbound->stream = NULL;
    if (inbound->state == RECEIVING)
        inbound_put(inbound);
    else
        abandon(inbound);
}

static const struct skep_stream_events inbound_events = {
    .on_data = on_data, .on_eof = on_eof, .on_close = on_close};

/* One timer for all that are receiving: the list is in the order of their last progress. */
void skep_rpc_unary_on_receiving(struct skep_timer *timer)
{
    struct rpc_host *rpc = SKEP_CONTAINER_OF(timer, struct rpc_host, receiving_timer);
    uint64_t now_us = skep_env_now_us(rpc->base.env);

    while (!skep_list_empty(&rpc->receiving)) {
        struct inbound *inbound = SKEP_LIST_ITEM(rpc->receiving.next, struct inbound, entry);
        uint64_t deadline_us = inbound->moved_us + SKEP_REQUEST_TIMEOUT_US;

        if (deadline_us > now_us) {
            (void)skep_env_after(rpc->base.env, timer,
                                 deadline_us - now_us); /* it ran before: cannot fail */
            return;
        }
        rpc->stats.malformed++;
        drop(inbound);
    }
}

static void on_stream(void *user, struct skep_stream *stream)
{
    struct rpc_method *method = user;
    struct rpc_host *rpc = method->rpc;
    struct rpc_peer *peer = skep_rpc_peer_get(rpc, skep_stream_peer(stream));
    struct inbound *inbound = NULL;

    if (!peer || peer->handling >= SKEP_HANDLERS_PER_PEER_MAX || !(inbound = inbound_get(rpc))) {
        rpc->stats.refused++;
        skep_stream_reset(stream);
        if (peer)
            skep_rpc_peer_put(rpc, peer);
        return;
    }
    peer->handling++;
    inbound->peer = peer;
    inbound->method = method;
    inbound->stream = stream;
    inbound->state = RECEIVING;
    inbound->moved_us = skep_env_now_us(rpc->base.env);
    skep_list_push_back(&rpc->receiving, &inbound->entry);
    skep_list_push_back(&method->inbound, &inbound->in_method);
    skep_stream_use(stream, &inbound_events, inbound);
    if (!skep_timer_running(&rpc->receiving_timer) &&
        skep_env_after(rpc->base.env, &rpc->receiving_timer, SKEP_REQUEST_TIMEOUT_US) < 0)
        drop(inbound);
}

/* ---- serving ---- */

int skep_rpc_unary_serve(struct skep_rpc *base, const char *name, skep_rpc_handler *handler,
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
    method->handler = handler;
    method->user = user;
    return 0;
}

void skep_rpc_unary_unserve(struct rpc_host *rpc, struct rpc_method *method)
{
    skep_host_unserve(rpc->host, method->name);
    method->handler = NULL;
    SKEP_LIST_EACH(&method->inbound, node, after)
    {
        struct inbound *inbound = SKEP_LIST_ITEM(node, struct inbound, in_method);

        if (inbound->state == RECEIVING) {
            drop(inbound);
            continue;
        }
        /* The handler, though no longer served, still has it to end. */
        if (inbound->stream)
            answer(inbound, true, skep_bytes_str("CancelledError()"));
        inbound->state = ABANDONED;
        skep_list_remove(&inbound->in_method);
    }
}

void skep_rpc_unary_serve_close(struct rpc_host *rpc)
{
    while (!skep_list_empty(&rpc->receiving))
        drop(SKEP_LIST_ITEM(rpc->receiving.next, struct inbound, entry));
    while (!skep_list_empty(&rpc->running)) {
        struct inbound *inbound = SKEP_LIST_ITEM(rpc->running.next, struct inbound, entry);

        /* on_cancel may end it; whoever does not has lost it. */
        abandon(inbound);
        if (rpc->running.next == &inbound->entry)
            inbound_put(inbound);
    }
    while (!skep_list_empty(&rpc->free_inbound)) {
        struct inbound *inbound = SKEP_LIST_ITEM(rpc->free_inbound.next, struct inbound, entry);

        skep_list_remove(&inbound->entry);
        inbound_free(inbound);
    }
}
