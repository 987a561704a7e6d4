/* SPDX-License-Identifier: MIT */
/* Outbound unary calls: one stream a call. docs/wire.md b.1.
 *
 *          start --> IN_FLIGHT --answer, error, lost, time--> done
 *   start, at the peer's bound --> QUEUED --a place is free--> IN_FLIGHT
 *                                  QUEUED --time--> done
 *
 * The writing side stays open until the answer is read: hivemind takes a FIN for a cancellation.
 * Left out: matching the answer's call id. There is one call a stream, and hivemind does not look at it either. */
#include "rpc/rpc_internal.h"

struct call {
    struct skep_list entry; /* peer->calls, peer->queued, rpc->failed or rpc->free_calls */
    struct rpc_host *rpc;
    struct skep_rpc_call *user; /* NULL: it has ended */
    struct rpc_peer *peer;
    struct rpc_method *method;
    struct skep_stream *stream; /* NULL: queued, or gone */
    struct skep_timer timer;
    struct skep_envelope_reader reader;
    struct skep_buf request; /* while QUEUED */
    enum { QUEUED, IN_FLIGHT, FAILED } state;
    int rc; /* FAILED */
};

static void pump(struct rpc_host *rpc, struct rpc_peer *peer);

static const struct skep_mem *mem_of(const struct rpc_host *rpc)
{
    return rpc->base.env->mem;
}

/* ---- the recycled struct ---- */

static void call_free(struct call *call)
{
    skep_buf_fini(&call->reader.held);
    skep_buf_fini(&call->request);
    skep_mem_free(mem_of(call->rpc), call);
}

static struct call *call_get(struct rpc_host *rpc)
{
    struct call *call;

    if (!skep_list_empty(&rpc->free_calls)) {
        call = SKEP_LIST_ITEM(rpc->free_calls.next, struct call, entry);
        skep_list_remove(&call->entry);
        rpc->free_call_count--;
        return call;
    }
    if (!(call = skep_mem_zalloc(mem_of(rpc), 1, sizeof *call)))
        return NULL;
    call->rpc = rpc;
    skep_list_init(&call->entry);
    skep_buf_init(&call->reader.held, mem_of(rpc));
    skep_buf_init(&call->request, mem_of(rpc));
    return call;
}

static void trim(struct skep_buf *buf)
{
    if (buf->cap > RPC_BUFFER_KEPT)
        skep_buf_fini(buf);
    skep_buf_clear(buf);
}

static void call_put(struct call *call)
{
    struct rpc_host *rpc = call->rpc;

    call->user = NULL;
    call->stream = NULL;
    trim(&call->reader.held);
    trim(&call->request);
    if (rpc->free_call_count >= SKEP_RPC_SPARE_MAX) {
        call_free(call);
        return;
    }
    rpc->free_call_count++;
    skep_list_push_front(&rpc->free_calls, &call->entry);
}

/* ---- the end ---- */

/* Take it off its peer's books. */
static void detach(struct call *call)
{
    struct rpc_host *rpc = call->rpc;

    skep_env_stop(rpc->base.env, &call->timer);
    skep_list_remove(&call->entry);
    if (call->state == IN_FLIGHT) {
        call->peer->in_flight--;
        rpc->stats.in_flight--;
    } else if (call->state == QUEUED) {
        call->peer->queued_count--;
        rpc->stats.queued--;
    }
}

static void count_end(struct rpc_host *rpc, int rc)
{
    if (rc == 0)
        return;
    rpc->stats.calls_failed++;
    if (rc == SKEP_ETIMEDOUT)
        rpc->stats.calls_timed_out++;
    else if (rc == SKEP_ECANCELED)
        rpc->stats.calls_canceled++;
}

/* State first, the callback after it, and the stream last: `reply` may be a view into what it received. */
/* NOLINTNEXTLINE(misc-no-recursion): pump() does not begin anew inside itself */
static void finish(struct call *call, int rc, skep_bytes reply, bool answered)
{
    struct rpc_host *rpc = call->rpc;
    struct rpc_peer *peer = call->peer;
    struct skep_rpc_call *user = call->user;

    detach(call);
    call->user = NULL;
    user->state = NULL;
    count_end(rpc, rc);
    if (call->stream && !answered) {
        skep_stream_reset(call->stream);
        call->stream = NULL;
    }
    user->done(user, rc, reply);
    if (call->stream)
        skep_stream_finish(call->stream);
    call_put(call);
    pump(rpc, peer);
    skep_rpc_peer_put(rpc, peer);
}

/* NOLINTNEXTLINE(misc-no-recursion): pump() does not begin anew inside itself */
static void fail(struct call *call, int rc)
{
    finish(call, rc, (skep_bytes){NULL, 0}, false);
}

/* ---- events of the stream ---- */

static void on_answer(struct call *call, skep_bytes message)
{
    struct skep_envelope envelope;
    int rc = skep_envelope_parse(message, &envelope);

    if (rc == 0 && envelope.kind == SKEP_ENVELOPE_RESPONSE) {
        finish(call, 0, envelope.body, true);
    } else if (rc == 0 && envelope.kind == SKEP_ENVELOPE_ERROR) {
        envelope.body.len = SKEP_MIN(envelope.body.len, (size_t)SKEP_ERROR_TEXT_MAX);
        finish(call, SKEP_EPEER_REMOTE, envelope.body, true);
    } else {
        call->rpc->stats.malformed++;
        fail(call, rc < 0 ? rc : SKEP_EPEER_PROTO);
    }
}

static void on_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    struct call *call = user;
    skep_bytes message, in = data;
    int rc;

    if (!call->user)
        return;
    skep_stream_consume(stream, data.len);
    rc = skep_envelope_next(&call->reader, &in, &message);
    if (rc > 0) {
        on_answer(call, message);
    } else if (rc < 0) {
        call->rpc->stats.malformed += rc != SKEP_ENOMEM;
        fail(call, rc);
    }
}

static void on_eof(struct skep_stream *stream, void *user)
{
    struct call *call = user;

    (void)stream;
    if (call->user)
        fail(call, SKEP_EPEER_RESET); /* closed without an answer: hivemind's way of refusing */
}

static void on_close(struct skep_stream *stream, void *user, int rc)
{
    struct call *call = user;

    (void)stream;
    call->stream = NULL;
    if (call->user)
        fail(call, rc == 0 ? SKEP_EPEER_RESET : rc);
}

static const struct skep_stream_events call_events = {
    .on_data = on_data, .on_eof = on_eof, .on_close = on_close};

static void on_timeout(struct skep_timer *timer)
{
    fail(SKEP_CONTAINER_OF(timer, struct call, timer), SKEP_ETIMEDOUT);
}

/* ---- the start ---- */

static int launch(struct call *call, skep_bytes request)
{
    struct rpc_host *rpc = call->rpc;
    uint8_t head[SKEP_ENVELOPE_HEAD_MAX], call_id[SKEP_CALL_ID_LEN];
    size_t head_len;
    int rc;

    skep_put_be64(call_id, rpc->call_id_base);
    skep_put_be64(call_id + 8, rpc->call_id_next++);
    head_len = skep_envelope_call_head(head, call_id, skep_peer_id_view(&call->peer->id),
                                       skep_bytes_of(call->method->name, call->method->name_len),
                                       request.len);
    if (head_len == 0)
        return SKEP_ESIZE;
    if ((rc = skep_host_open(rpc->host, &call->stream, &call->peer->id, call->method->name,
                             &call_events, call)) < 0)
        return rc;
    if ((rc = skep_rpc_write(call->stream, head, head_len, request)) < 0) {
        skep_stream_reset(call->stream);
        call->stream = NULL;
        return rc;
    }
    call->state = IN_FLIGHT;
    skep_list_push_back(&call->peer->calls, &call->entry);
    call->peer->in_flight++;
    rpc->stats.in_flight++;
    rpc->stats.calls_made++;
    return 0;
}

static int enqueue(struct call *call, skep_bytes request)
{
    struct rpc_peer *peer = call->peer;

    if (peer->queued_count >= SKEP_CALLS_QUEUED_MAX)
        return SKEP_ELIMIT;
    skep_buf_put_bytes(&call->request, request);
    if (call->request.rc < 0)
        return call->request.rc;
    call->state = QUEUED;
    skep_list_push_back(&peer->queued, &call->entry);
    peer->queued_count++;
    call->rpc->stats.queued++;
    return 0;
}

static int start(struct call *call, skep_bytes request)
{
    struct rpc_peer *peer = call->peer;
    int rc = SKEP_ELIMIT;

    if (peer->in_flight < SKEP_CALLS_PER_PEER_MAX && peer->queued_count == 0)
        rc = launch(call, request);
    /* The host's own bound on streams may be lower for a while: as long as something runs, its end will let us in. */
    if (rc == SKEP_ELIMIT && peer->in_flight > 0)
        rc = enqueue(call, request);
    return rc;
}

int skep_rpc_unary_call(struct skep_rpc *base, struct skep_rpc_call *user,
                        const struct skep_peer_id *id, const char *name, skep_bytes request,
                        uint64_t timeout_us)
{
    struct rpc_host *rpc = rpc_host_of(base);
    struct rpc_method *method;
    struct call *call;
    int rc;

    assert(!user->state);
    if (rpc->closing)
        return SKEP_ECLOSED;
    if (skep_peer_id_equal(id, &base->self))
        return SKEP_ESELF;
    if (request.len > SKEP_UNARY_MESSAGE_MAX || strlen(name) > SKEP_METHOD_LEN_MAX)
        return SKEP_ESIZE;
    if (!(method = skep_rpc_method_get(rpc, name)) || !(call = call_get(rpc)))
        return SKEP_ENOMEM;
    if (!(call->peer = skep_rpc_peer_get(rpc, id))) {
        call_put(call);
        return SKEP_ENOMEM;
    }
    call->method = method;
    call->user = user;
    call->timer.fire = on_timeout;
    if (timeout_us != SKEP_NEVER_US &&
        (rc = skep_env_after(base->env, &call->timer, timeout_us)) < 0)
        goto fail;
    if ((rc = start(call, request)) < 0)
        goto fail;
    user->state = call;
    return 0;
fail:
    skep_env_stop(base->env, &call->timer);
    skep_rpc_peer_put(rpc, call->peer);
    call_put(call);
    return rc;
}

void skep_rpc_unary_cancel(struct skep_rpc *base, struct skep_rpc_call *user)
{
    struct rpc_host *rpc = rpc_host_of(base);
    struct call *call = user->state;
    struct rpc_peer *peer;

    if (!call)
        return;
    peer = call->peer;
    user->state = NULL;
    detach(call);
    count_end(rpc, SKEP_ECANCELED);
    if (call->stream)
        skep_stream_reset(call->stream);
    call_put(call);
    pump(rpc, peer);
    skep_rpc_peer_put(rpc, peer);
}

/* ---- the line ---- */

/* Told on the next turn: the pump may run inside any call of the user's. */
/* NOLINTNEXTLINE(misc-no-recursion): pump() does not begin anew inside itself */
static void fail_later(struct call *call, int rc)
{
    struct rpc_host *rpc = call->rpc;

    call->state = FAILED;
    call->rc = rc;
    skep_list_push_back(&rpc->failed, &call->entry);
    if (!skep_timer_running(&rpc->failed_timer) &&
        skep_env_after(rpc->base.env, &rpc->failed_timer, 0) < 0)
        fail(call, rc);
}

void skep_rpc_unary_on_failed(struct skep_timer *timer)
{
    struct rpc_host *rpc = SKEP_CONTAINER_OF(timer, struct rpc_host, failed_timer);
    struct skep_list todo;

    /* Only those that are here now: a callback may well try again. */
    skep_list_init(&todo);
    while (!skep_list_empty(&rpc->failed)) {
        struct skep_list *entry = rpc->failed.next;

        skep_list_remove(entry);
        skep_list_push_back(&todo, entry);
    }
    while (!skep_list_empty(&todo)) {
        struct call *call = SKEP_LIST_ITEM(todo.next, struct call, entry);

        fail(call, call->rc);
    }
}

/* NOLINTNEXTLINE(misc-no-recursion): peer->pumping sees to it */
static void pump(struct rpc_host *rpc, struct rpc_peer *peer)
{
    bool full = false;

    if (peer->pumping)
        return;
    peer->pumping = true;
    while (!full && !rpc->closing && peer->queued_count > 0 &&
           peer->in_flight < SKEP_CALLS_PER_PEER_MAX) {
        struct call *call = SKEP_LIST_ITEM(peer->queued.next, struct call, entry);
        int rc;

        skep_list_remove(&call->entry);
        peer->queued_count--;
        rpc->stats.queued--;
        rc = launch(call, skep_buf_view(&call->request));
        full = rc == SKEP_ELIMIT && peer->in_flight > 0;
        if (full) {
            skep_list_push_front(&peer->queued, &call->entry);
            peer->queued_count++;
            rpc->stats.queued++;
        } else if (rc < 0) {
            fail_later(call, rc);
        } else {
            trim(&call->request);
        }
    }
    peer->pumping = false;
}

void skep_rpc_unary_close(struct rpc_host *rpc)
{
    struct rpc_peer *peer, *next;

    skep_rpc_unary_on_failed(&rpc->failed_timer);
    HASH_ITER(hh, rpc->peers, peer, next)
    {
        peer->refs++; /* it stays while we walk */
        while (!skep_list_empty(&peer->queued))
            fail(SKEP_LIST_ITEM(peer->queued.next, struct call, entry), SKEP_ECANCELED);
        while (!skep_list_empty(&peer->calls))
            fail(SKEP_LIST_ITEM(peer->calls.next, struct call, entry), SKEP_ECANCELED);
        peer->refs--;
    }
    while (!skep_list_empty(&rpc->free_calls)) {
        struct call *call = SKEP_LIST_ITEM(rpc->free_calls.next, struct call, entry);

        skep_list_remove(&call->entry);
        call_free(call);
    }
}
