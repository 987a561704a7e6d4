/* SPDX-License-Identifier: MIT */
#include "server/fake_rpc.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"

enum { LOW_WATER = 64 << 10 };

static struct fake_rpc *fake_of(struct skep_rpc *rpc)
{
    return SKEP_CONTAINER_OF(rpc, struct fake_rpc, base);
}

static struct fake_method *find(struct fake_rpc *rpc, const char *name)
{
    for (size_t i = 0; i < rpc->method_count; i++)
        if (strcmp(rpc->methods[i].name, name) == 0)
            return &rpc->methods[i];
    return NULL;
}

static int add(struct skep_rpc *base, struct fake_method method)
{
    struct fake_rpc *rpc = fake_of(base);
    void *memory;

    if (find(rpc, method.name))
        return SKEP_EEXIST;
    if (!(memory = skep_mem_alloc(base->env->mem, 1))) /* as the real one may lack it */
        return SKEP_ENOMEM;
    skep_mem_free(base->env->mem, memory);
    assert(rpc->method_count < SKEP_COUNT_OF(rpc->methods));
    rpc->methods[rpc->method_count++] = method;
    return 0;
}

static int serve(struct skep_rpc *rpc, const char *name, skep_rpc_handler *handler, void *user)
{
    return add(rpc, (struct fake_method){name, handler, NULL, user});
}

static int stream_serve(struct skep_rpc *rpc, const char *name, skep_rpc_stream_handler *handler,
                        void *user)
{
    if (fake_of(rpc)->no_streams)
        return SKEP_EPEER_UNSUPPORTED;
    return add(rpc, (struct fake_method){name, NULL, handler, user});
}

static void unserve(struct skep_rpc *base, const char *name)
{
    struct fake_rpc *rpc = fake_of(base);
    struct fake_method *method = find(rpc, name);

    assert(method);
    *method = rpc->methods[--rpc->method_count];
}

/* ---- unary ---- */

static void end_call(struct skep_rpc_request *request, bool failed, skep_bytes answer)
{
    struct fake_call *call = SKEP_CONTAINER_OF(request, struct fake_call, request);

    call->answers++;
    call->failed = failed;
    skep_buf_put_bytes(&call->answer, answer);
    skep_buf_put_u8(&call->answer, 0);
    call->answer.len--;
    free(call->data); /* whoever looks at the request now is found out */
    call->data = NULL;
}

static void reply(struct skep_rpc_request *request, skep_bytes response)
{
    end_call(request, false, response);
}

static void fail_call(struct skep_rpc_request *request, skep_bytes text)
{
    end_call(request, true, text);
}

void fake_call(struct fake_rpc *rpc, struct fake_call *call, const char *name,
               const struct skep_peer_id *peer, skep_bytes message)
{
    struct fake_method *method = find(rpc, name);

    memset(call, 0, sizeof *call);
    skep_buf_init(&call->answer, &skep_mem_std);
    call->peer = *peer;
    call->data = malloc(message.len > 0 ? message.len : 1);
    assert(call->data && method && method->handler);
    skep_bytes_copy(call->data, message);
    call->request = (struct skep_rpc_request){
        .rpc = &rpc->base, .peer = &call->peer, .data = skep_bytes_of(call->data, message.len)};
    method->handler(method->user, &call->request);
}

void fake_call_cancel(struct fake_call *call)
{
    if (call->answers == 0 && call->request.on_cancel)
        call->request.on_cancel(&call->request);
}

void fake_call_fini(struct fake_call *call)
{
    free(call->data);
    skep_buf_fini(&call->answer);
}

/* ---- streams, the handler's side ---- */

static void stream_use(struct skep_rpc_stream *stream, const struct skep_rpc_stream_events *events,
                       void *user)
{
    stream->events = events;
    stream->user = user;
}

static int stream_send(struct skep_rpc_stream *stream, skep_bytes head, skep_bytes body)
{
    uint8_t len[8];

    assert(!fake_stream_is_over(stream));
    if (stream->rpc->send_fails < 0)
        return stream->rpc->send_fails;
    assert(head.len + body.len <= SKEP_STREAM_MESSAGE_MAX);
    stream->out_messages++;
    stream->out_bytes += head.len + body.len;
    stream->queued += head.len + body.len;
    stream->was_high = stream->was_high || stream->queued > LOW_WATER;
    if (stream->forget_out)
        return 0;
    skep_put_be64(len, head.len + body.len);
    skep_buf_put(&stream->out, len, sizeof len);
    skep_buf_put_bytes(&stream->out, head);
    skep_buf_put_bytes(&stream->out, body);
    return 0;
}

static void stream_end(struct skep_rpc_stream *stream)
{
    assert(!fake_stream_is_over(stream));
    stream->finished++;
}

static void stream_fail(struct skep_rpc_stream *stream, skep_bytes text)
{
    assert(!fake_stream_is_over(stream));
    stream->failed++;
    snprintf(stream->text, sizeof stream->text, "%.*s", (int)text.len, (const char *)text.data);
}

static void stream_cancel(struct skep_rpc_stream *stream)
{
    assert(!fake_stream_is_over(stream));
    stream->canceled++;
}

static void stream_consume(struct skep_rpc_stream *stream, size_t n)
{
    assert(n <= stream->unconsumed && !fake_stream_is_over(stream));
    stream->unconsumed -= n;
}

/* Window goes back as bytes arrive, and doubles each time that half of it was used up: every caller is a quick one. */
static void give_back(struct skep_rpc_stream *stream)
{
    size_t extra = SKEP_MIN(stream->window, SKEP_YAMUX_WINDOW_MAX - stream->window);

    if (stream->paused || stream->withheld < stream->window / 2 ||
        stream->unconsumed > SKEP_STREAM_UNCONSUMED_MAX)
        return;
    stream->window += extra;
    stream->credit += stream->withheld + extra;
    stream->withheld = 0;
}

static void stream_pause(struct skep_rpc_stream *stream, bool paused)
{
    assert(!fake_stream_is_over(stream));
    stream->paused = paused;
    give_back(stream);
}

static size_t stream_queued(const struct skep_rpc_stream *stream)
{
    return stream->queued;
}

static const struct skep_rpc_ops ops = {.serve = serve,
                                        .unserve = unserve,
                                        .reply = reply,
                                        .fail = fail_call,
                                        .stream_serve = stream_serve,
                                        .stream_use = stream_use,
                                        .stream_send = stream_send,
                                        .stream_end = stream_end,
                                        .stream_fail = stream_fail,
                                        .stream_consume = stream_consume,
                                        .stream_pause = stream_pause,
                                        .stream_cancel = stream_cancel,
                                        .stream_queued = stream_queued};

void fake_rpc_init(struct fake_rpc *rpc, struct skep_env *env)
{
    memset(rpc, 0, sizeof *rpc);
    rpc->base.ops = &ops;
    rpc->base.env = env;
    skep_list_init(&rpc->streams);
}

void fake_rpc_fini(struct fake_rpc *rpc)
{
    while (!skep_list_empty(&rpc->streams))
        fake_stream_free(SKEP_LIST_ITEM(rpc->streams.next, struct skep_rpc_stream, entry));
}

/* ---- streams, the caller's side ---- */

struct skep_rpc_stream *fake_stream_open(struct fake_rpc *rpc, const char *name,
                                         const struct skep_peer_id *peer)
{
    struct fake_method *method = find(rpc, name);
    struct skep_rpc_stream *stream;

    if (!method || !method->stream_handler)
        return NULL;
    stream = calloc(1, sizeof *stream);
    assert(stream);
    stream->rpc = rpc;
    stream->peer = *peer;
    stream->window = stream->credit = SKEP_YAMUX_WINDOW;
    skep_buf_init(&stream->out, &skep_mem_std);
    skep_list_push_back(&rpc->streams, &stream->entry);
    method->stream_handler(method->user, stream, &stream->peer);
    return stream;
}

bool fake_stream_is_over(const struct skep_rpc_stream *stream)
{
    return stream->finished + stream->failed + stream->canceled + stream->gone > 0;
}

void fake_stream_send(struct skep_rpc_stream *stream, skep_bytes head, skep_bytes body)
{
    assert(stream->message_count < SKEP_COUNT_OF(stream->messages));
    stream->messages[stream->message_count++] = (struct fake_message){head, body};
}

void fake_stream_end(struct skep_rpc_stream *stream)
{
    stream->end_sent = true;
}

void fake_stream_leave(struct skep_rpc_stream *stream)
{
    if (fake_stream_is_over(stream))
        return;
    stream->gone++;
    stream->events->on_error(stream, stream->user, SKEP_ECANCELED, (skep_bytes){NULL, 0});
}

static void message_arrived(struct skep_rpc_stream *stream)
{
    const struct fake_message *message = &stream->messages[stream->message_at++];
    size_t len = message->head.len + message->body.len;
    uint8_t *copy = malloc(len > 0 ? len : 1);

    assert(copy);
    skep_bytes_copy(copy, message->head);
    skep_bytes_copy(copy + message->head.len, message->body);
    stream->sent = 0;
    stream->unconsumed += len;
    stream->events->on_message(stream, stream->user, skep_bytes_of(copy, len));
    free(copy);
}

size_t fake_stream_arrive(struct skep_rpc_stream *stream, size_t bytes)
{
    size_t all = 0;

    while (!fake_stream_is_over(stream) && stream->message_at < stream->message_count) {
        const struct fake_message *message = &stream->messages[stream->message_at];
        size_t left = message->head.len + message->body.len - stream->sent;
        size_t n = SKEP_MIN(SKEP_MIN(left, bytes - all), SKEP_MIN(stream->credit, SKEP_KIB(64)));

        if (n < left && n == 0)
            return all;
        stream->credit -= n;
        stream->withheld += n;
        stream->sent += n;
        all += n;
        if (n == left)
            message_arrived(stream);
        if (!fake_stream_is_over(stream))
            give_back(stream);
    }
    if (!fake_stream_is_over(stream) && stream->end_sent && !stream->end_told) {
        stream->end_told = true;
        stream->events->on_end(stream, stream->user);
        all++;
    }
    return all;
}

void fake_stream_read(struct skep_rpc_stream *stream, size_t bytes)
{
    stream->queued -= SKEP_MIN(bytes, stream->queued);
    if (stream->was_high && stream->queued < LOW_WATER && !fake_stream_is_over(stream)) {
        stream->was_high = false;
        stream->events->on_writable(stream, stream->user);
    }
}

void fake_stream_free(struct skep_rpc_stream *stream)
{
    skep_list_remove(&stream->entry);
    skep_buf_fini(&stream->out);
    free(stream);
}
