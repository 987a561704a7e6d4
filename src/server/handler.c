/* SPDX-License-Identifier: MIT */
/* The handler's life, rpc_info, and unary forward and backward. Streamed ones are in handler_stream.c, what both have in common in expert_work.c.
 *
 * A unary request is whole when it comes (the call layer holds it, in a budget of its own). So all of it happens at once: it is read, checked, given the memory
 * that it will need, or refused, and put into its pool. Whether its answer fits a unary message follows from its shapes, and is asked before anything is
 * computed: a backward whose answer cannot be sent must not train. */
#include "moe/codec.h"
#include "moe/expert_info.h"
#include "server/expert_work.h"

enum { ANSWER_MAX = SKEP_UNARY_MESSAGE_MAX - 64 }; /* what the envelope leaves of a unary message */

static const char INFO[] = "ConnectionHandler.rpc_info",
                  FORWARD[] = "ConnectionHandler.rpc_forward",
                  BACKWARD[] = "ConnectionHandler.rpc_backward",
                  FORWARD_STREAM[] = "ConnectionHandler.rpc_forward_stream",
                  BACKWARD_STREAM[] = "ConnectionHandler.rpc_backward_stream";

/* ---- answers that are errors ---- */

static void fail_unary(struct skep_rpc_request *unary, const struct skep_exception *exception)
{
    char text[SKEP_EXCEPTION_LEN_MAX];

    skep_rpc_fail(unary, skep_exception_repr(exception, text));
}

static void refuse_unary(struct skep_handler *handler, struct skep_rpc_request *unary,
                         const struct skep_exception *exception)
{
    handler->stats.refused++;
    fail_unary(unary, exception);
}

/* ---- rpc_info ---- */

static void on_info(void *user, struct skep_rpc_request *unary)
{
    struct skep_handler *handler = user;
    struct skep_exception exception;
    skep_bytes uid;

    if (skep_expert_uid_read(unary->data, &uid) < 0 || uid.len > SKEP_UID_LEN_MAX ||
        !skep_utf8_valid(uid)) {
        skep_exception_set(&exception, "ValueError", "the request is malformed");
        refuse_unary(handler, unary, &exception);
    } else if (!handler->options.find(handler->options.user, uid)) {
        skep_exception_set_key(&exception, uid.data ? uid : skep_bytes_str(""));
        refuse_unary(handler, unary, &exception);
    } else {
        handler->stats.infos++;
        skep_rpc_reply(unary, skep_buf_view(&handler->info));
    }
}

/* ---- unary forward and backward ---- */

static void on_unary_canceled(struct skep_rpc_request *unary)
{
    struct request *r = unary->user;

    r->handler->stats.canceled++;
    r->unary = NULL;
    skep_rpc_fail(unary, "CancelledError()"); /* nobody hears it; but it must be ended */
    skep_expert_work_end(r);
}

static int write_answer(struct request *r, struct skep_buf *out)
{
    struct skep_expert_writer writer;
    int rc;

    skep_expert_writer_init(&writer, r->mem, SKEP_EXPERT_RESPONSE, (skep_bytes){NULL, 0},
                            r->task.outputs, skep_expert_work_compressions(r),
                            r->task.output_count);
    (void)skep_buf_reserve(out, skep_expert_writer_whole_len(&writer));
    rc = skep_expert_writer_whole(&writer, out);
    skep_expert_writer_fini(&writer);
    return rc;
}

static void finish_unary(struct request *r, const struct skep_exception *exception)
{
    struct skep_rpc_request *unary = r->unary;
    struct skep_buf answer;

    r->unary = NULL;
    skep_buf_init(&answer, r->mem);
    if (exception)
        fail_unary(unary, exception);
    else if (write_answer(r, &answer) < 0)
        skep_rpc_fail(unary, "MemoryError('out of memory')");
    else
        skep_rpc_reply(unary, skep_buf_view(&answer));
    skep_buf_fini(&answer);
    skep_expert_work_end(r);
}

static int read_unary(struct request *r, skep_bytes message, struct skep_exception *exception)
{
    struct skep_expert_peek peek;

    skep_expert_reader_peek(&r->reader, message, &peek);
    if (peek.needed <= SKEP_EXPERT_BYTES_MAX && peek.needed > skep_budget_room(&r->handler->budget))
        return skep_exception_set(
            exception, "MemoryError",
            "the request needs %zu bytes and the server has less than that for it now",
            peek.needed);
    r->reader.bytes_max = SKEP_EXPERT_BYTES_MAX;
    if (skep_expert_reader_add(&r->reader, message) < 0 || skep_expert_reader_end(&r->reader) < 0)
        return skep_expert_work_reader_failed(r, exception);
    return skep_expert_work_check(r, true, exception);
}

/* What its answer will be long, once it is computed. */
static size_t answer_len(const struct request *r)
{
    skep_tensor outputs[SKEP_CLASS_TENSORS_MAX];
    struct skep_expert_writer writer;
    size_t count = skep_expert_work_outputs(r, outputs), len;

    skep_expert_writer_init(&writer, r->mem, SKEP_EXPERT_RESPONSE, (skep_bytes){NULL, 0}, outputs,
                            skep_expert_work_compressions(r), count);
    len = skep_expert_writer_whole_len(&writer);
    skep_expert_writer_fini(&writer);
    return len;
}

static int begin_unary(struct request *r, skep_bytes message, struct skep_exception *exception)
{
    size_t len;
    int rc;

    if ((rc = read_unary(r, message, exception)) < 0)
        return rc;
    if ((len = answer_len(r)) > ANSWER_MAX)
        return skep_exception_set(
            exception, "ValueError",
            "the answer would have %zu bytes and a unary one has at most %d: call rpc_%s_stream",
            len, SKEP_UNARY_MESSAGE_MAX, r->backward ? "backward" : "forward");
    /* compressed, and in the message */
    if ((rc = skep_expert_work_claim(r, 2 * len, exception)) < 0)
        return rc;
    return skep_expert_work_submit(r, exception);
}

static void on_unary(void *user, struct skep_rpc_request *unary)
{
    struct method *method = user;
    struct skep_handler *handler = method->handler;
    struct skep_exception exception;
    struct request *r = NULL;

    if (handler->draining)
        skep_exception_set(&exception, "RuntimeError", "the server is being shut down");
    else if (!(r = skep_expert_work_new(handler, method->backward)))
        skep_exception_set(&exception, "MemoryError", "out of memory");
    if (r && skep_expert_work_find(r, unary->data, unary->peer, &exception) == 0) {
        r->unary = unary;
        r->finish = finish_unary;
        unary->user = r;
        unary->on_cancel = on_unary_canceled;
        if (begin_unary(r, unary->data, &exception) == 0)
            return;
        unary->on_cancel = NULL;
    }
    if (r)
        skep_expert_work_end(r);
    refuse_unary(handler, unary, &exception);
}

/* ---- turns ---- */

void skep_handler_turn_at(struct skep_handler *handler, uint64_t at_us)
{
    if (at_us < handler->turn.deadline_us)
        (void)skep_timer_start(handler->rpc->env->timers, &handler->turn,
                               at_us); /* it runs: cannot fail */
}

static void on_turn(struct skep_timer *timer)
{
    struct skep_handler *handler = SKEP_CONTAINER_OF(timer, struct skep_handler, turn);

    (void)skep_timer_start(handler->rpc->env->timers, timer,
                           SKEP_NEVER_US); /* its place is still free */
    skep_handler_turn_at(handler, skep_handler_streams_turn(handler));
    if (handler->on_drained && skep_list_empty(&handler->requests)) {
        void (*on_drained)(void *user) = handler->on_drained;

        handler->on_drained = NULL;
        on_drained(handler->drained_user);
    }
}

/* ---- its life ---- */

/* How answers are compressed: outputs as hivemind's own schema says of them, not at all; gradients as the inputs. What a compression does not take goes as it is. */
static void choose_compressions(struct skep_handler *handler, skep_tensor_schema *inputs)
{
    const skep_class_schema *schema = &handler->options.class->schema;

    for (size_t i = 0; i < schema->input_count; i++) {
        skep_tensor one = {.dtype = inputs[i].dtype, .axes = inputs[i].axes + 1, .data = inputs};
        const char *why;

        one.shape[0] = 1;
        memcpy(one.shape + 1, inputs[i].shape, inputs[i].axes * sizeof inputs[i].shape[0]);
        inputs[i].compression = SKEP_COMPRESSION_NONE;
        if (skep_dtype_is_floating(one.dtype) &&
            skep_codec_check(handler->options.compression, &one, &why) == 0)
            inputs[i].compression = handler->options.compression;
        handler->as_inputs[i] = inputs[i].compression;
    }
}

static int write_info(struct skep_handler *handler)
{
    const skep_class_schema *schema = &handler->options.class->schema;
    skep_tensor_schema inputs[SKEP_CLASS_TENSORS_MAX];
    struct skep_buf info;

    memcpy(inputs, schema->inputs, sizeof inputs);
    choose_compressions(handler, inputs);
    skep_buf_init(&info, handler->mem);
    (void)skep_expert_info_write(&info, inputs, schema->input_count, schema->outputs,
                                 schema->output_count);
    skep_expert_info_message_write(&handler->info, skep_buf_view(&info));
    if (info.rc < 0)
        handler->info.rc = info.rc;
    skep_buf_fini(&info);
    return handler->info.rc;
}

static int serve_unary(struct skep_handler *handler)
{
    struct skep_rpc *rpc = handler->rpc;
    int rc;

    if ((rc = skep_rpc_serve(rpc, INFO, on_info, handler)) < 0)
        return rc;
    if ((rc = skep_rpc_serve(rpc, FORWARD, on_unary, &handler->forward)) < 0)
        goto no_forward;
    if ((rc = skep_rpc_serve(rpc, BACKWARD, on_unary, &handler->backward)) < 0)
        goto no_backward;
    return 0;
no_backward:
    skep_rpc_unserve(rpc, FORWARD);
no_forward:
    skep_rpc_unserve(rpc, INFO);
    return rc;
}

static void unserve_unary(struct skep_handler *handler)
{
    skep_rpc_unserve(handler->rpc, BACKWARD);
    skep_rpc_unserve(handler->rpc, FORWARD);
    skep_rpc_unserve(handler->rpc, INFO);
}

/* Between nodes of a simulation there are no streams: what is small can be asked for all the same. */
static int serve_streams(struct skep_handler *handler)
{
    struct skep_rpc *rpc = handler->rpc;
    int rc = rpc->ops->stream_serve(rpc, FORWARD_STREAM, skep_handler_on_stream, &handler->forward);

    if (rc == SKEP_EPEER_UNSUPPORTED)
        return 0;
    if (rc < 0)
        return rc;
    rc = rpc->ops->stream_serve(rpc, BACKWARD_STREAM, skep_handler_on_stream, &handler->backward);
    if (rc < 0)
        skep_rpc_unserve(rpc, FORWARD_STREAM);
    else
        handler->has_streams = true;
    return rc;
}

static int serve(struct skep_handler *handler)
{
    int rc = serve_unary(handler);

    if (rc == 0 && (rc = serve_streams(handler)) < 0)
        unserve_unary(handler);
    return rc;
}

static void unserve(struct skep_handler *handler)
{
    unserve_unary(handler);
    if (!handler->has_streams)
        return;
    skep_rpc_unserve(handler->rpc, FORWARD_STREAM);
    skep_rpc_unserve(handler->rpc, BACKWARD_STREAM);
}

static void free_handler(struct skep_handler *handler)
{
    skep_env_stop(handler->rpc->env, &handler->turn);
    skep_buf_fini(&handler->info);
    skep_mem_free(handler->mem, handler);
}

int skep_handler_new(struct skep_handler **out, struct skep_rpc *rpc, struct skep_runtime *runtime,
                     const struct skep_handler_options *options)
{
    struct skep_handler *handler;
    int rc;

    *out = NULL;
    if (options->memory_bytes < SKEP_EXPERT_MEMORY_MIN)
        return SKEP_EINVAL;
    if (!(handler = skep_mem_zalloc(rpc->env->mem, 1, sizeof *handler)))
        return SKEP_ENOMEM;
    handler->rpc = rpc;
    handler->mem = rpc->env->mem;
    handler->runtime = runtime;
    handler->options = *options;
    handler->forward = (struct method){handler, false};
    handler->backward = (struct method){handler, true};
    skep_buf_init(&handler->info, handler->mem);
    skep_budget_init(&handler->budget, options->memory_bytes);
    skep_list_init(&handler->requests);
    skep_list_init(&handler->line);
    skep_list_init(&handler->moving);
    handler->turn.fire = on_turn;
    rc = skep_timer_start(rpc->env->timers, &handler->turn, SKEP_NEVER_US);
    if (rc == 0)
        rc = write_info(handler);
    if (rc == 0)
        rc = serve(handler);
    if (rc < 0)
        free_handler(handler);
    else
        *out = handler;
    return rc;
}

void skep_handler_drain(struct skep_handler *handler, void (*on_drained)(void *user), void *user)
{
    handler->draining = true;
    handler->on_drained = on_drained;
    handler->drained_user = user;
    skep_handler_turn_at(handler, skep_env_now_us(handler->rpc->env));
}

static void end_request(struct request *r)
{
    struct skep_exception exception;

    if (r->stream) {
        skep_exception_set_bare(&exception, "CancelledError");
        skep_stream_refuse(r, &exception);
        return;
    }
    if (r->unary) {
        struct skep_rpc_request *unary = r->unary;

        r->unary = NULL;
        unary->on_cancel = NULL;
        skep_rpc_fail(unary, "CancelledError()");
    }
    if (!r->abandoned)
        skep_expert_work_end(r);
}

void skep_handler_free(struct skep_handler *handler)
{
    if (!handler)
        return;
    while (!skep_list_empty(&handler->requests)) {
        struct request *r = SKEP_LIST_ITEM(handler->requests.next, struct request, entry);

        end_request(r);
        if (handler->requests.next == &r->entry)
            skep_expert_work_orphan(r);
    }
    unserve(handler);
    free_handler(handler);
}

const struct skep_handler_stats *skep_handler_stats(struct skep_handler *handler)
{
    handler->stats.bytes = handler->budget.used;
    handler->stats.bytes_most = handler->budget.used_most;
    return &handler->stats;
}
