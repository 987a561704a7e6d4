/* SPDX-License-Identifier: MIT */
/* Calls of remote experts. docs/wire.md e.3, e.4; hivemind moe/client/expert.py.
 *
 *   start --info not known--> ASKING --answer--> CALLING (one message) or STREAMING (many)
 *                                                   --answer, error, lost, time--> ENDED, and `done` has been told
 *   start --an error, or an info that is known----> ENDING --next turn--> ENDED
 *
 * The calls share nothing but the infos and the table of failing experts: none waits for another. What an ENDED call still holds are its results.
 * Left out: compressing off the loop. A tensor is compressed when the stream is ready for it, one at a time. */
#include "moe/expert.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "moe/codec.h"
#include "moe/expert_infos.h"

enum {
    ENVELOPE_ROOM = 1 << 10,     /* of a unary message, for what goes around the request */
    BACKLOG_BYTES = 1 << 20,     /* unsent, above which a stream gets no further part */
    REQUEST_KEPT = 64 << 10,     /* of the buffer for requests, between calls */
    ANSWER_SLACK_BYTES = 1 << 20 /* what an answer may hold beyond four times what is expected */
};

struct skep_expert_caller {
    struct skep_rpc *rpc;
    const struct skep_mem *mem;
    struct skep_list calls; /* struct expert_call.entry, while they run */
    struct skep_expert_infos infos;
    struct skep_expert_failing_table failing;
    struct skep_buf request; /* of the unary call that is being started: the rpc copies it */
    struct skep_expert_caller_stats stats;
};

struct expert_call {
    struct skep_list entry;
    struct skep_expert_caller *caller; /* while it runs */
    struct skep_expert_call *user;     /* while it runs */
    const struct skep_mem *mem;
    enum { ASKING, CALLING, STREAMING, ENDING, ENDED } state;
    bool starting, telling; /* inside start, inside the user's `done` */
    bool released;          /* while telling: to be freed after it */
    bool asked;             /* its info is as fresh as can be: it was not known before */
    bool all_sent;          /* STREAMING: the end mark too */
    enum skep_expert_call_kind kind;
    bool without_info;
    struct skep_peer_id peer;
    struct skep_timer timer; /* of the deadline; ENDING: of the next turn */
    struct skep_expert_wait info;
    struct skep_rpc_call call;
    struct skep_rpc_stream *stream;
    struct skep_expert_writer writer;
    struct skep_expert_reader reader;
    size_t count, input_count, bytes;
    skep_compression compressions[SKEP_EXPERT_TENSORS_MAX];
    int rc; /* ENDING */
    char why[SKEP_EXPERT_WHY_MAX];
    skep_bytes uid;        /* behind the tensors */
    skep_tensor tensors[]; /* [count] */
};

static skep_bytes why_of(const struct expert_call *call)
{
    return skep_bytes_str(call->why);
}

__attribute__((format(printf, 4, 5))) static int say(char *why, size_t why_len, int rc,
                                                     const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (why && why_len > 0)
        vsnprintf(why, why_len, format, args);
    va_end(args);
    return rc;
}

/* "input 2", "gradient 0": the i-th tensor of a request. */
static const char *place_of(char out[32], size_t i, size_t input_count)
{
    snprintf(out, 32, "%s %zu", i < input_count ? "input" : "gradient",
             i < input_count ? i : i - input_count);
    return out;
}

/* ---- the end ---- */

static void call_free(struct expert_call *call)
{
    skep_expert_writer_fini(&call->writer);
    skep_expert_reader_fini(&call->reader);
    skep_expert_infos_leave(&call->info);
    skep_mem_free(call->mem, call);
}

/* No event comes any more. */
static void stop(struct expert_call *call)
{
    struct skep_expert_caller *caller = call->caller;

    skep_env_stop(caller->rpc->env, &call->timer);
    skep_rpc_call_cancel(caller->rpc, &call->call);
    if (call->stream)
        caller->rpc->ops->stream_cancel(call->stream);
    call->stream = NULL;
    if (call->info.waiting)
        skep_expert_infos_leave(&call->info);
    skep_list_remove(&call->entry);
    skep_expert_writer_fini(&call->writer);
    call->state = ENDED;
    call->caller = NULL;
    call->user = NULL;
}

/* Did it fail to answer? What it answered, an error too, and what is our own fault do not count. */
static bool is_no_answer(int rc)
{
    return rc <= SKEP_ETIMEDOUT && rc != SKEP_EPEER_REMOTE;
}

static void remember(struct skep_expert_caller *caller, const struct expert_call *call, int rc)
{
    struct skep_expert_key key;

    caller->stats.failed += rc < 0;
    caller->stats.timed_out += rc == SKEP_ETIMEDOUT;
    if (is_no_answer(rc) || (rc == 0 && caller->failing.count > 0)) {
        skep_expert_key_make(&key, call->uid, &call->peer);
        if (rc == 0)
            skep_expert_failing_clear(&caller->failing, &key);
        else
            skep_expert_failing_add(&caller->failing, &key, skep_env_now_us(caller->rpc->env));
    }
    /* It may be another one by now, of the same name: of another shape, or gone. */
    if (rc <= SKEP_EPEER_FRAME)
        skep_expert_infos_forget(&call->info);
}

static void finish(struct expert_call *call, int rc, skep_bytes text)
{
    struct skep_expert_call *user = call->user;

    remember(call->caller, call, rc);
    stop(call);
    if (rc == 0) {
        user->schema = skep_expert_infos_schema(&call->info);
        user->outputs = call->reader.tensors;
        user->output_count = call->reader.count;
    } else {
        skep_expert_reader_fini(&call->reader);
    }
    call->telling = true;
    user->done(user, rc, text);
    call->telling = false;
    if (call->released)
        call_free(call);
}

/* With what call->why says. Inside the start it is put off to the next turn. */
static void end(struct expert_call *call, int rc)
{
    if (!call->starting) {
        finish(call, rc, why_of(call));
        return;
    }
    if (call->stream)
        call->caller->rpc->ops->stream_cancel(call->stream);
    call->stream = NULL;
    call->state = ENDING;
    call->rc = rc;
}

static void on_timer(struct skep_timer *timer)
{
    struct expert_call *call = SKEP_CONTAINER_OF(timer, struct expert_call, timer);

    if (call->state == ENDING)
        finish(call, call->rc, why_of(call));
    else
        finish(call, SKEP_ETIMEDOUT, (skep_bytes){NULL, 0});
}

/* ---- the answer ---- */

/* Numbers of floating point may come and go in another type than was said: hivemind minds no more. */
static skep_dtype as_asked(skep_dtype dtype, skep_dtype asked)
{
    return skep_dtype_is_floating(dtype) && skep_dtype_is_floating(asked) ? asked : dtype;
}

static int check_fit(const skep_tensor_schema *schemas, size_t schema_count,
                     const skep_tensor *tensors, size_t count, const char *what, char *why,
                     size_t why_len)
{
    skep_tensor seen[SKEP_EXPERT_TENSORS_MAX];

    for (size_t i = 0; i < count; i++) {
        seen[i] = tensors[i];
        if (i < schema_count)
            seen[i].dtype = as_asked(seen[i].dtype, schemas[i].dtype);
    }
    return skep_expert_schema_check(schemas, schema_count, seen, count, what, why, why_len);
}

/* Gradients of the inputs are like the inputs. */
static int check_gradients(struct expert_call *call)
{
    const struct skep_expert_reader *got = &call->reader;

    if (got->count != call->input_count)
        return say(call->why, sizeof call->why, SKEP_EPEER_PROTO,
                   "%zu gradients came back for %zu inputs", got->count, call->input_count);
    for (size_t i = 0; i < got->count; i++) {
        const skep_tensor *gradient = &got->tensors[i], *input = &call->tensors[i];

        if (as_asked(gradient->dtype, input->dtype) != input->dtype)
            return say(call->why, sizeof call->why, SKEP_EPEER_PROTO,
                       "the gradient of input %zu is %s; the input is %s", i,
                       skep_dtype_name(gradient->dtype), skep_dtype_name(input->dtype));
        if (gradient->axes != input->axes ||
            memcmp(gradient->shape, input->shape, input->axes * sizeof *input->shape) != 0)
            return say(call->why, sizeof call->why, SKEP_EPEER_PROTO,
                       "the gradient of input %zu has another shape than the input", i);
    }
    return 0;
}

static int check_outputs(struct expert_call *call)
{
    const struct skep_expert_schema *schema = skep_expert_infos_schema(&call->info);
    const struct skep_expert_reader *got = &call->reader;

    if (call->without_info)
        return 0;
    if (check_fit(schema->outputs, schema->output_count, got->tensors, got->count, "output",
                  call->why, sizeof call->why) < 0)
        return SKEP_EPEER_PROTO;
    if (got->count > 0 && got->tensors[0].shape[0] != call->tensors[0].shape[0])
        return say(call->why, sizeof call->why, SKEP_EPEER_PROTO,
                   "the outputs have %zu rows; the inputs have %zu", got->tensors[0].shape[0],
                   call->tensors[0].shape[0]);
    return 0;
}

/* The whole answer is there. */
static void on_answer(struct expert_call *call)
{
    int rc = skep_expert_reader_end(&call->reader);

    if (rc < 0)
        snprintf(call->why, sizeof call->why, "the answer: %.*s", (int)sizeof call->why - 16,
                 call->reader.why);
    else
        rc = call->kind == SKEP_EXPERT_BACKWARD ? check_gradients(call) : check_outputs(call);
    end(call, rc);
}

static bool schema_bytes(const skep_tensor_schema *schemas, size_t count, size_t rows, size_t *sum)
{
    for (size_t i = 0; i < count; i++) {
        size_t len = skep_dtype_size(schemas[i].dtype);

        for (size_t j = 0; j < schemas[i].axes; j++)
            if (!skep_size_mul(len, schemas[i].shape[j], &len))
                return false;
        if (!skep_size_mul(len, rows, &len) || !skep_size_add(*sum, len, sum))
            return false;
    }
    return true;
}

/* How much the answer may make us hold: some times what it should be, so that what is a little wrong can still be named. */
static size_t answer_bytes_max(const struct expert_call *call)
{
    const struct skep_expert_schema *schema = skep_expert_infos_schema(&call->info);
    size_t sum = 0;

    if (call->kind == SKEP_EXPERT_BACKWARD)
        for (size_t i = 0; i < call->input_count; i++)
            sum += skep_tensor_bytes(&call->tensors[i]);
    else if (!schema ||
             !schema_bytes(schema->outputs, schema->output_count, call->tensors[0].shape[0], &sum))
        return SKEP_EXPERT_BYTES_MAX;
    if (sum > (SKEP_EXPERT_BYTES_MAX - ANSWER_SLACK_BYTES) / 4)
        return SKEP_EXPERT_BYTES_MAX;
    return 4 * sum + ANSWER_SLACK_BYTES;
}

/* ---- one message ---- */

static void on_reply(struct skep_rpc_call *rpc_call, int rc, skep_bytes reply)
{
    struct expert_call *call = SKEP_CONTAINER_OF(rpc_call, struct expert_call, call);

    if (rc < 0) {
        finish(call, rc, reply);
        return;
    }
    call->caller->stats.bytes_received += reply.len;
    (void)skep_expert_reader_add(&call->reader, reply); /* it keeps its error */
    on_answer(call);
}

static int call_unary(struct expert_call *call)
{
    struct skep_expert_caller *caller = call->caller;
    struct skep_buf *request = &caller->request;
    const char *method = call->kind == SKEP_EXPERT_FORWARD ? "ConnectionHandler.rpc_forward"
                                                           : "ConnectionHandler.rpc_backward";
    int rc = skep_expert_writer_whole(&call->writer, request);

    skep_expert_writer_fini(&call->writer);
    call->state = CALLING;
    call->call.done = on_reply;
    if (rc == 0)
        rc = skep_rpc_call_start(caller->rpc, &call->call, &call->peer, method,
                                 skep_buf_view(request), SKEP_NEVER_US);
    if (rc == 0) {
        caller->stats.unary++;
        caller->stats.bytes_sent += request->len;
    }
    if (request->cap > REQUEST_KEPT)
        skep_buf_fini(request);
    skep_buf_clear(request);
    return rc;
}

/* ---- many messages ---- */

/* Give the stream parts as long as it takes them. */
static int feed(struct expert_call *call)
{
    const struct skep_rpc_ops *ops = call->caller->rpc->ops;
    skep_bytes head, body;
    int rc;

    while (!call->all_sent && ops->stream_queued(call->stream) < BACKLOG_BYTES) {
        if ((rc = skep_expert_writer_next(&call->writer, &head, &body)) < 0)
            return rc;
        if (rc == 0) {
            ops->stream_end(call->stream);
            call->all_sent = true;
        } else if ((rc = ops->stream_send(call->stream, head, body)) < 0) {
            return rc;
        } else {
            call->caller->stats.bytes_sent += head.len + body.len;
        }
    }
    return 0;
}

static void on_message(struct skep_rpc_stream *stream, void *user, skep_bytes message)
{
    struct expert_call *call = user;

    call->caller->stats.bytes_received += message.len;
    call->caller->rpc->ops->stream_consume(stream, message.len);
    if (skep_expert_reader_add(&call->reader, message) < 0)
        on_answer(call);
}

static void on_writable(struct skep_rpc_stream *stream, void *user)
{
    struct expert_call *call = user;
    int rc = feed(call);

    (void)stream;
    if (rc < 0)
        end(call, rc);
}

/* A handler may answer before it has read everything. */
static void on_end(struct skep_rpc_stream *stream, void *user)
{
    struct expert_call *call = user;

    (void)stream;
    call->stream = NULL;
    on_answer(call);
}

static void on_error(struct skep_rpc_stream *stream, void *user, int rc, skep_bytes text)
{
    struct expert_call *call = user;

    (void)stream;
    call->stream = NULL;
    finish(call, rc, text);
}

static const struct skep_rpc_stream_events stream_events = {
    .on_message = on_message, .on_writable = on_writable, .on_end = on_end, .on_error = on_error};

static int call_stream(struct expert_call *call)
{
    struct skep_rpc *rpc = call->caller->rpc;
    const char *method = call->kind == SKEP_EXPERT_FORWARD
                             ? "ConnectionHandler.rpc_forward_stream"
                             : "ConnectionHandler.rpc_backward_stream";
    int rc;

    call->state = STREAMING;
    if ((rc = rpc->ops->stream_open(rpc, &call->stream, &call->peer, method, &stream_events,
                                    call)) < 0)
        return rc;
    call->caller->stats.streamed++;
    return feed(call);
}

/* ---- sending ---- */

static void choose_compressions(struct expert_call *call, const struct skep_expert_schema *schema,
                                skep_compression otherwise)
{
    for (size_t i = 0; i < call->count; i++)
        call->compressions[i] = !schema ? otherwise
                                : i < call->input_count
                                    ? schema->inputs[i].compression
                                    : schema->outputs[i - call->input_count].compression;
}

static int check_compressions(struct expert_call *call)
{
    const char *why = "";
    char place[32];

    for (size_t i = 0; i < call->count; i++)
        if (skep_codec_check(call->compressions[i], &call->tensors[i], &why) < 0)
            return say(call->why, sizeof call->why, SKEP_EINVAL, "%s: %s",
                       place_of(place, i, call->input_count), why);
    return 0;
}

/* Everything is checked and the compressions are chosen. */
static void send(struct expert_call *call)
{
    int rc = check_compressions(call);

    if (rc == 0) {
        skep_expert_writer_init(&call->writer, call->mem, SKEP_EXPERT_REQUEST, call->uid,
                                call->tensors, call->compressions, call->count);
        skep_expert_reader_init(&call->reader, call->mem, SKEP_EXPERT_RESPONSE,
                                answer_bytes_max(call));
        /* e.4: what counts is the size of the numbers before compression; but a bfloat16 grows on the way. */
        if (call->bytes > SKEP_EXPERT_UNARY_MAX ||
            skep_expert_writer_whole_len(&call->writer) > SKEP_UNARY_MESSAGE_MAX - ENVELOPE_ROOM)
            rc = call_stream(call);
        else
            rc = call_unary(call);
    }
    if (rc < 0)
        end(call, rc);
}

/* Do the tensors fit what the expert says of itself? */
static int check_request(struct expert_call *call, const struct skep_expert_schema *schema)
{
    const skep_tensor *inputs = call->tensors, *gradients = inputs + call->input_count;
    size_t gradient_count = call->count - call->input_count;
    int rc = check_fit(schema->inputs, schema->input_count, inputs, call->input_count, "input",
                       call->why, sizeof call->why);

    if (rc < 0 || call->kind == SKEP_EXPERT_FORWARD)
        return rc;
    rc = check_fit(schema->outputs, schema->output_count, gradients, gradient_count, "gradient",
                   call->why, sizeof call->why);
    if (rc == 0 && call->input_count > 0 && gradient_count > 0 &&
        inputs[0].shape[0] != gradients[0].shape[0])
        rc = say(call->why, sizeof call->why, SKEP_EINVAL,
                 "the gradients have %zu rows; the inputs have %zu", gradients[0].shape[0],
                 inputs[0].shape[0]);
    return rc;
}

static void get_info(struct expert_call *call);

/* An info that was kept may be out of date: before an error blames the caller, it is asked anew. */
/* NOLINTNEXTLINE(misc-no-recursion): once */
static void on_info(struct expert_call *call)
{
    const struct skep_expert_schema *schema = skep_expert_infos_schema(&call->info);
    int rc;

    if (call->kind == SKEP_EXPERT_INFO) {
        end(call, 0);
        return;
    }
    rc = check_request(call, schema);
    if (rc == SKEP_EINVAL && !call->asked) {
        skep_expert_infos_forget(&call->info);
        skep_expert_infos_leave(&call->info);
        *call->why = '\0';
        call->asked = true;
        get_info(call);
        return;
    }
    if (rc < 0) {
        end(call, rc);
        return;
    }
    choose_compressions(call, schema, SKEP_COMPRESSION_NONE);
    send(call);
}

static void on_asked(struct skep_expert_wait *wait, int rc, skep_bytes text)
{
    struct expert_call *call = SKEP_CONTAINER_OF(wait, struct expert_call, info);

    call->asked = true;
    if (rc < 0)
        finish(call, rc, text);
    else
        on_info(call);
}

/* NOLINTNEXTLINE(misc-no-recursion): once */
static void get_info(struct expert_call *call)
{
    int rc;

    call->state = ASKING;
    call->info.done = on_asked;
    rc = skep_expert_infos_get(&call->caller->infos, &call->info, call->uid, &call->peer);
    if (rc == 1)
        on_info(call);
    else if (rc < 0)
        end(call, rc);
}

/* ---- the start ---- */

static int check_tensor(const skep_tensor *tensor, const char *place, char *why, size_t why_len)
{
    size_t len;

    if (skep_dtype_size(tensor->dtype) == 0)
        return say(why, why_len, SKEP_EINVAL, "%s has no dtype: %d", place, (int)tensor->dtype);
    if (tensor->axes > SKEP_TENSOR_AXES_MAX)
        return say(why, why_len, SKEP_EINVAL, "%s has %zu axes; at most %d", place, tensor->axes,
                   (int)SKEP_TENSOR_AXES_MAX);
    for (size_t i = 0; i < tensor->axes; i++)
        if (tensor->shape[i] > UINT32_MAX)
            return say(why, why_len, SKEP_ESIZE, "%s has an axis of %zu; at most %" PRIu32, place,
                       tensor->shape[i], UINT32_MAX);
    len = skep_tensor_bytes(tensor);
    if (len > SKEP_EXPERT_BYTES_MAX)
        return say(why, why_len, SKEP_ESIZE, "%s is larger than %d bytes", place,
                   (int)SKEP_EXPERT_BYTES_MAX);
    if (len > 0 && !tensor->data)
        return say(why, why_len, SKEP_EINVAL, "%s has %zu bytes and its data is NULL", place, len);
    return 0;
}

static int check_tensors(const struct skep_expert_request *request, char *why, size_t why_len)
{
    size_t bytes = 0;
    char place[32];
    int rc;

    if (request->kind == SKEP_EXPERT_INFO)
        return 0;
    if (request->input_count == 0 || request->input_count > request->count)
        return say(why, why_len, SKEP_EINVAL, "there are no inputs");
    if (request->kind == SKEP_EXPERT_BACKWARD && request->count == request->input_count)
        return say(why, why_len, SKEP_EINVAL, "there are no gradients of the outputs");
    if (request->kind == SKEP_EXPERT_FORWARD && request->count != request->input_count)
        return say(why, why_len, SKEP_EINVAL, "a forward takes inputs only");
    if (request->count > SKEP_EXPERT_TENSORS_MAX)
        return say(why, why_len, SKEP_ELIMIT, "%zu tensors; at most %d", request->count,
                   (int)SKEP_EXPERT_TENSORS_MAX);
    for (size_t i = 0; i < request->count; i++) {
        if ((rc = check_tensor(&request->tensors[i], place_of(place, i, request->input_count), why,
                               why_len)) < 0)
            return rc;
        bytes += skep_tensor_bytes(&request->tensors[i]);
    }
    if (bytes > SKEP_EXPERT_BYTES_MAX)
        return say(why, why_len, SKEP_ESIZE, "the tensors have %zu bytes; at most %d", bytes,
                   (int)SKEP_EXPERT_BYTES_MAX);
    return 0;
}

int skep_expert_request_check(const struct skep_expert_request *request, char *why, size_t why_len)
{
    if (request->uid.len == 0 || request->uid.len > SKEP_UID_LEN_MAX)
        return say(why, why_len, SKEP_EINVAL, "the uid has %zu bytes; 1 to %d", request->uid.len,
                   (int)SKEP_UID_LEN_MAX);
    if (request->peer.len == 0)
        return say(why, why_len, SKEP_EINVAL, "nobody serves it");
    if (request->without_info && skep_compression_name(request->compression) == NULL)
        return say(why, why_len, SKEP_EINVAL, "%d is no compression", (int)request->compression);
    return check_tensors(request, why, why_len);
}

static struct expert_call *call_new(struct skep_expert_caller *caller,
                                    const struct skep_expert_request *request)
{
    size_t count = request->kind == SKEP_EXPERT_INFO ? 0 : request->count;
    size_t tensors_len = count * sizeof(skep_tensor);
    struct expert_call *call =
        skep_mem_zalloc(caller->mem, 1, sizeof *call + tensors_len + request->uid.len);
    uint8_t *uid;

    if (!call)
        return NULL;
    call->caller = caller;
    call->mem = caller->mem;
    call->kind = request->kind;
    call->without_info = request->without_info && request->kind != SKEP_EXPERT_INFO;
    call->peer = request->peer;
    call->count = count;
    call->input_count = SKEP_MIN(request->input_count, count);
    for (size_t i = 0; i < count; i++)
        call->bytes += skep_tensor_bytes(&request->tensors[i]);
    call->timer.fire = on_timer;
    if (count > 0)
        memcpy(call->tensors, request->tensors, tensors_len);
    uid = (uint8_t *)(call->tensors + count);
    skep_bytes_copy(uid, request->uid);
    call->uid = skep_bytes_of(uid, request->uid.len);
    skep_list_push_back(&caller->calls, &call->entry);
    return call;
}

static void begin(struct expert_call *call, const struct skep_expert_request *request)
{
    call->starting = true;
    if (call->without_info) {
        choose_compressions(call, NULL, request->compression);
        send(call);
    } else {
        get_info(call);
    }
    call->starting = false;
}

int skep_expert_call_start(struct skep_expert_call *user, struct skep_expert_caller *caller,
                           const struct skep_expert_request *request, char *why, size_t why_len)
{
    struct skep_env *env = caller->rpc->env;
    struct expert_call *call;
    int rc;

    assert(!user->state);
    if (why && why_len > 0)
        *why = '\0';
    if ((rc = skep_expert_request_check(request, why, why_len)) < 0)
        return rc;
    if (!(call = call_new(caller, request)))
        return SKEP_ENOMEM;
    if (request->timeout_us != SKEP_NEVER_US)
        rc = skep_env_after(env, &call->timer, request->timeout_us);
    call->user = user;
    if (rc == 0)
        begin(call, request);
    if (rc == 0 && call->state == ENDING)
        rc = skep_env_after(env, &call->timer, 0);
    if (rc < 0) {
        stop(call);
        call_free(call);
        return rc;
    }
    caller->stats.infos += call->kind == SKEP_EXPERT_INFO;
    caller->stats.forwards += call->kind == SKEP_EXPERT_FORWARD;
    caller->stats.backwards += call->kind == SKEP_EXPERT_BACKWARD;
    user->state = call;
    return 0;
}

/* ---- the user's side ---- */

void skep_expert_call_fini(struct skep_expert_call *user)
{
    struct expert_call *call = user->state;

    user->state = NULL;
    user->schema = NULL;
    user->outputs = NULL;
    user->output_count = 0;
    if (!call)
        return;
    if (call->state != ENDED)
        stop(call);
    if (call->telling)
        call->released = true;
    else
        call_free(call);
}

void skep_expert_call_steal(struct skep_expert_call *user)
{
    if (user->state)
        skep_expert_reader_steal(&user->state->reader);
}

int skep_expert_caller_new(struct skep_expert_caller **out, struct skep_rpc *rpc)
{
    struct skep_expert_caller *caller = skep_mem_zalloc(rpc->env->mem, 1, sizeof *caller);

    *out = caller;
    if (!caller)
        return SKEP_ENOMEM;
    caller->rpc = rpc;
    caller->mem = rpc->env->mem;
    skep_list_init(&caller->calls);
    skep_expert_infos_init(&caller->infos, rpc);
    skep_expert_failing_init(&caller->failing, caller->mem);
    skep_buf_init(&caller->request, caller->mem);
    return 0;
}

void skep_expert_caller_free(struct skep_expert_caller *caller)
{
    if (!caller)
        return;
    while (!skep_list_empty(&caller->calls))
        finish(SKEP_LIST_ITEM(caller->calls.next, struct expert_call, entry), SKEP_ECANCELED,
               (skep_bytes){NULL, 0});
    skep_expert_infos_fini(&caller->infos);
    skep_expert_failing_fini(&caller->failing);
    skep_buf_fini(&caller->request);
    skep_mem_free(caller->mem, caller);
}

bool skep_expert_failing(struct skep_expert_caller *caller, skep_bytes uid,
                         const struct skep_peer_id *peer)
{
    struct skep_expert_key key;

    if (caller->failing.count == 0 || uid.len > SKEP_UID_LEN_MAX)
        return false;
    skep_expert_key_make(&key, uid, peer);
    return skep_expert_failing_has(&caller->failing, &key, skep_env_now_us(caller->rpc->env));
}

const struct skep_expert_caller_stats *
skep_expert_caller_stats(const struct skep_expert_caller *caller)
{
    struct skep_expert_caller_stats *stats =
        &((struct skep_expert_caller *)(uintptr_t)caller)->stats;

    stats->infos_kept = caller->infos.known_count;
    stats->failing = caller->failing.count;
    return stats;
}
