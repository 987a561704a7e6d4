/* SPDX-License-Identifier: MIT */
/* A call seam whose other side is the test, see fake_rpc.h. Its memory is malloc's: what a test lets fail is only the code under test. */
#include "moe/fake_rpc.h"

#include <stdlib.h>

static struct fake_rpc *fake_of(struct skep_rpc *rpc)
{
    return SKEP_CONTAINER_OF(rpc, struct fake_rpc, base);
}

static void *get(size_t len)
{
    void *got = calloc(1, len);

    if (!got)
        abort();
    return got;
}

static struct fake_message *message_of(skep_bytes head, skep_bytes body)
{
    struct fake_message *message = get(sizeof *message + head.len + body.len);

    message->head_len = head.len;
    message->len = head.len + body.len;
    skep_bytes_copy(message->data, head);
    skep_bytes_copy(message->data + head.len, body);
    return message;
}

/* ---- calls ---- */

static void call_free(struct fake_call *call)
{
    skep_list_remove(&call->entry);
    free(call->request);
    free(call);
}

static int start(struct skep_rpc *base, struct skep_rpc_call *user, const struct skep_peer_id *peer,
                 const char *method, skep_bytes request, uint64_t timeout_us)
{
    struct fake_rpc *rpc = fake_of(base);
    struct fake_call *call;
    int rc = rpc->call_rc;

    (void)timeout_us;
    assert(!user->state);
    rpc->call_rc = 0;
    if (rc < 0)
        return rc;
    call = get(sizeof *call);
    *call = (struct fake_call){.user = user,
                               .peer = *peer,
                               .method = method,
                               .request = message_of(request, (skep_bytes){0})};
    skep_list_push_back(&rpc->calls, &call->entry);
    user->state = call;
    rpc->call_count++;
    return 0;
}

static void cancel(struct skep_rpc *base, struct skep_rpc_call *user)
{
    if (!user->state)
        return;
    fake_of(base)->cancels++;
    call_free(user->state);
    user->state = NULL;
}

struct fake_call *fake_rpc_call(struct fake_rpc *rpc)
{
    return skep_list_empty(&rpc->calls) ? NULL
                                        : SKEP_LIST_ITEM(rpc->calls.next, struct fake_call, entry);
}

skep_bytes fake_call_request(const struct fake_call *call)
{
    return skep_bytes_of(call->request->data, call->request->len);
}

void fake_call_end(struct fake_call *call, int rc, skep_bytes reply)
{
    struct skep_rpc_call *user = call->user;
    struct fake_message *copy = message_of(reply, (skep_bytes){0}); /* a block of just its size */

    call_free(call);
    user->state = NULL;
    user->done(user, rc, skep_bytes_of(copy->data, copy->len));
    free(copy);
}

/* ---- streams ---- */

static int open_stream(struct skep_rpc *base, struct skep_rpc_stream **out,
                       const struct skep_peer_id *peer, const char *method,
                       const struct skep_rpc_stream_events *events, void *user)
{
    struct fake_rpc *rpc = fake_of(base);
    int rc = rpc->open_rc;

    *out = NULL;
    rpc->open_rc = 0;
    if (rc < 0)
        return rc;
    *out = get(sizeof **out);
    **out = (struct skep_rpc_stream){
        .events = events, .user = user, .peer = *peer, .method = method, .last = &(*out)->first};
    skep_list_push_back(&rpc->streams, &(*out)->entry);
    return 0;
}

/* Which rpc it belongs to is only asked for `send_rc`, so one at a time has it. */
static struct fake_rpc *sending;

static int send_message(struct skep_rpc_stream *stream, skep_bytes head, skep_bytes body)
{
    int rc = sending->send_rc;

    assert(!stream->gone && !stream->ended);
    sending->send_rc = 0;
    if (rc < 0)
        return rc;
    *stream->last = message_of(head, body);
    stream->last = &(*stream->last)->next;
    stream->message_count++;
    stream->queued += head.len + body.len;
    return 0;
}

static void end_stream(struct skep_rpc_stream *stream)
{
    assert(!stream->gone && !stream->ended);
    stream->ended = true;
}

static void consume(struct skep_rpc_stream *stream, size_t n)
{
    assert(!stream->gone && n <= stream->unconsumed);
    stream->unconsumed -= n;
}

static void cancel_stream(struct skep_rpc_stream *stream)
{
    assert(!stream->gone);
    stream->gone = stream->cancelled = true;
}

static size_t queued(const struct skep_rpc_stream *stream)
{
    assert(!stream->gone);
    return stream->queued;
}

struct skep_rpc_stream *fake_rpc_stream(struct fake_rpc *rpc)
{
    return skep_list_empty(&rpc->streams)
               ? NULL
               : SKEP_LIST_ITEM(rpc->streams.prev, struct skep_rpc_stream, entry);
}

void fake_stream_drain(struct skep_rpc_stream *stream)
{
    stream->queued = 0;
    stream->events->on_writable(stream, stream->user);
}

void fake_stream_message(struct skep_rpc_stream *stream, skep_bytes message)
{
    struct fake_message *copy = message_of(message, (skep_bytes){0});

    assert(!stream->gone);
    stream->unconsumed += message.len;
    stream->events->on_message(stream, stream->user, skep_bytes_of(copy->data, copy->len));
    free(copy);
}

void fake_stream_end(struct skep_rpc_stream *stream)
{
    assert(!stream->gone);
    stream->gone = true;
    stream->events->on_end(stream, stream->user);
}

void fake_stream_error(struct skep_rpc_stream *stream, int rc, skep_bytes text)
{
    assert(!stream->gone);
    stream->gone = true;
    stream->events->on_error(stream, stream->user, rc, text);
}

/* ---- life ---- */

static const struct skep_rpc_ops ops = {.call = start,
                                        .cancel = cancel,
                                        .stream_open = open_stream,
                                        .stream_send = send_message,
                                        .stream_end = end_stream,
                                        .stream_consume = consume,
                                        .stream_cancel = cancel_stream,
                                        .stream_queued = queued};

void fake_rpc_init(struct fake_rpc *rpc, struct skep_env *env)
{
    *rpc = (struct fake_rpc){.base = {.ops = &ops, .env = env}};
    skep_list_init(&rpc->calls);
    skep_list_init(&rpc->streams);
    sending = rpc;
}

void fake_rpc_fini(struct fake_rpc *rpc)
{
    assert(skep_list_empty(&rpc->calls));
    while (!skep_list_empty(&rpc->streams)) {
        struct skep_rpc_stream *stream = fake_rpc_stream(rpc);

        assert(stream->gone);
        skep_list_remove(&stream->entry);
        while (stream->first) {
            struct fake_message *message = stream->first;

            stream->first = message->next;
            free(message);
        }
        free(stream);
    }
}
