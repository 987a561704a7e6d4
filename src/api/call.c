/* SPDX-License-Identifier: MIT */
/* Unary calls and the handlers of methods. See include/skep/p2p.h; docs/wire.md b.1. */
#include "api/api.h"

#include <stdio.h>

#include "rpc/envelope.h"

/* ---- outbound ---- */

struct call_op {
    skep_op op;
    struct skep_rpc_call call;
    struct skep_peer_id peer;
    const char *method; /* the caller's while it starts, or our copy */
    skep_bytes request; /* likewise */
    uint64_t timeout_us;
    skep_bytes reply;
};

static void on_call_done(struct skep_rpc_call *call, int rc, skep_bytes reply)
{
    struct call_op *op = SKEP_CONTAINER_OF(call, struct call_op, call);
    char text[SKEP_PEER_TEXT_MAX + 1];

    if (rc == 0) {
        op->reply =
            skep_bytes_of(skep_api_arena_copy(&op->op.arena, reply.data, reply.len), reply.len);
        if (!op->reply.data)
            rc = SKEP_ENOMEM;
    }
    skep_api_op_end(&op->op, rc,
                    rc == SKEP_EPEER_REMOTE ? skep_text_escape(text, sizeof text, reply)
                    : rc < 0                ? skep_strerror(rc)
                                            : NULL);
}

static int call_start(skep_op *base, skep_node *node)
{
    struct call_op *op = SKEP_CONTAINER_OF(base, struct call_op, op);
    int rc;

    op->call.done = on_call_done;
    rc = skep_rpc_call_start(node->rpc, &op->call, &op->peer, op->method, op->request,
                             op->timeout_us);
    if (rc < 0)
        return skep_api_fail(rc, "cannot call %s with %zu bytes: %s", skep_api_quote(op->method),
                             op->request.len, skep_strerror(rc));
    return 0;
}

static void call_cancel(skep_op *base, skep_node *node)
{
    skep_rpc_call_cancel(node->rpc, &SKEP_CONTAINER_OF(base, struct call_op, op)->call);
}

static const struct api_op_class call_class = {sizeof(struct call_op), call_start, call_cancel};

int skep_api_check_method(const char *method)
{
    if (!method || !*method)
        return skep_api_fail(SKEP_EINVAL, "the method has no name");
    if (strlen(method) > SKEP_METHOD_LEN_MAX)
        return skep_api_fail(SKEP_ESIZE, "the method's name is longer than %d bytes: %s",
                             SKEP_METHOD_LEN_MAX, skep_api_quote(method));
    if (strchr(method, '\n'))
        return skep_api_fail(SKEP_EINVAL, "the method's name has a line break: %s",
                             skep_api_quote(method));
    return 0;
}

/* Before the loop has it: an error of the call itself, also from another thread. */
static int check_request(const skep_peer *peer, const char *method, skep_view request)
{
    static const uint8_t call_id[SKEP_CALL_ID_LEN];
    uint8_t head[SKEP_ENVELOPE_HEAD_MAX];

    if (request.len > SKEP_UNARY_MESSAGE_MAX ||
        skep_envelope_call_head(head, call_id, skep_bytes_of(peer->bytes, peer->len),
                                skep_bytes_str(method), request.len) == 0)
        return skep_api_fail(SKEP_ESIZE, "a request of %zu bytes; at most %d with its envelope",
                             request.len, SKEP_UNARY_MESSAGE_MAX);
    return skep_api_need_bytes(request, "request");
}

int skep_p2p_call(skep_op **out, skep_node *node, const skep_peer *peer, const char *method,
                  skep_view request, uint64_t timeout_us, skep_op_cb *cb, void *user_data)
{
    struct call_op *op;
    bool own;
    int rc;

    if (out)
        *out = NULL;
    if ((rc = skep_api_need(node, "node")) < 0 || (rc = skep_api_bad_peer(peer)) < 0 ||
        (rc = skep_api_check_method(method)) < 0)
        return rc;
    if ((rc = check_request(peer, method, request)) < 0)
        return rc;
    if (!(op = skep_api_op_new(node, &call_class, cb, user_data, &own)))
        return SKEP_ENOMEM;
    op->peer = api_peer_in(peer);
    op->method = method;
    op->request = api_bytes(request);
    op->timeout_us = timeout_us == SKEP_FOREVER ? SKEP_NEVER_US : timeout_us;
    if (own) {
        op->method = skep_api_arena_str(&op->op.arena, skep_bytes_str(method));
        op->request.data = skep_api_arena_copy(&op->op.arena, request.data, request.len);
        if (!op->method || !op->request.data) {
            skep_api_op_drop(&op->op);
            return skep_api_fail(SKEP_ENOMEM, "out of memory");
        }
    }
    return skep_api_op_begin(out, node, &op->op);
}

skep_view skep_p2p_call_result(const skep_op *op)
{
    if (!api_op_ok(op, &call_class))
        return (skep_view){NULL, 0};
    return api_view(((const struct call_op *)(const void *)op)->reply);
}

int skep_p2p_method(char *out, size_t out_len, const char *name_space, const char *class_and_method)
{
    bool spaced = name_space && *name_space;
    int n;

    if (skep_api_need(out_len > 0 ? out : "", "place for the method's name") < 0 ||
        skep_api_need(class_and_method, "method") < 0)
        return SKEP_EINVAL;
    n = snprintf(out, out_len, "%s%s%s", spaced ? name_space : "", spaced ? "::" : "",
                 class_and_method);

    return n >= 0 && (size_t)n < out_len
               ? n
               : skep_api_fail(SKEP_ESIZE, "the method's name does not fit");
}

/* ---- handlers by name ---- */

static struct api_handler *handler_find(skep_node *node, const char *name, bool raw)
{
    SKEP_LIST_EACH(&node->handlers, entry, after)
    {
        struct api_handler *handler = SKEP_LIST_ITEM(entry, struct api_handler, entry);

        if (strcmp(handler->name, name) == 0 && (handler->kind == API_RAW) == raw)
            return handler;
    }
    return NULL;
}

struct adding {
    const struct api_handler *like;
    int (*serve)(struct api_handler *handler);
};

static int add(skep_node *node, void *arg)
{
    const struct adding *adding = arg;
    size_t size = strlen(adding->like->name) + 1;
    struct api_handler *handler;
    int rc;

    if (node->closing)
        return SKEP_ECLOSED;
    if (!(handler = skep_mem_zalloc(API_MEM, 1, sizeof *handler + size)))
        return SKEP_ENOMEM;
    *handler = *adding->like;
    handler->node = node;
    handler->name = memcpy(handler + 1, adding->like->name, size);
    if ((rc = adding->serve(handler)) < 0) {
        skep_mem_free(API_MEM, handler);
        return rc;
    }
    skep_list_push_back(&node->handlers, &handler->entry);
    return 0;
}

int skep_api_handler_add(skep_node *node, const struct api_handler *like,
                         int (*serve)(struct api_handler *handler))
{
    struct adding adding = {like, serve};
    int rc;

    if ((rc = skep_api_need(node, "node")) < 0 || (rc = skep_api_check_method(like->name)) < 0)
        return rc;
    if (!like->fn.unary)
        return skep_api_fail(SKEP_EINVAL, "no handler for %s", skep_api_quote(like->name));
    if ((rc = skep_api_call(node->core, add, &adding)) < 0)
        skep_api_fail(rc, "cannot serve %s: %s", skep_api_quote(like->name), skep_strerror(rc));
    return rc;
}

static void requests_let_go(const struct api_handler *handler);

static void handler_remove(struct api_handler *handler)
{
    skep_node *node = handler->node;

    if (handler->kind == API_RAW)
        skep_host_unserve(node->host, handler->name);
    else
        skep_rpc_unserve(node->rpc, handler->name);
    if (handler->kind == API_UNARY)
        requests_let_go(handler);
    skep_list_remove(&handler->entry);
    skep_mem_free(API_MEM, handler);
}

void skep_api_handlers_close(skep_node *node)
{
    while (!skep_list_empty(&node->handlers))
        handler_remove(SKEP_LIST_ITEM(node->handlers.next, struct api_handler, entry));
}

struct naming {
    const char *name;
    bool raw;
};

static int unserve(skep_node *node, void *arg)
{
    const struct naming *naming = arg;
    struct api_handler *handler = handler_find(node, naming->name, naming->raw);

    if (!handler)
        return SKEP_ENOTFOUND;
    handler_remove(handler);
    return 0;
}

static int take_away(skep_node *node, const char *name, bool raw)
{
    struct naming naming = {name, raw};
    int rc;

    if ((rc = skep_api_need(node, "node")) == 0 && (rc = skep_api_check_method(name)) == 0 &&
        (rc = skep_api_call(node->core, unserve, &naming)) < 0)
        skep_api_fail(rc, "%s is not served", skep_api_quote(name));
    return rc;
}

int skep_p2p_unserve(skep_node *node, const char *method)
{
    return take_away(node, method, false);
}

int skep_p2p_unserve_protocol(skep_node *node, const char *protocol)
{
    return take_away(node, protocol, true);
}

/* ---- inbound ---- */

struct skep_request {
    struct api_core *core;
    struct skep_list entry; /* node->requests; the loop's */
    struct skep_rpc_request *
        inner; /* the loop's; NULL: the caller gave up, the method is served no more, or the node is closed */
    const struct api_handler *handler; /* good while `inner` is there */
    atomic_bool canceled;
    skep_peer peer;
    struct api_job job;
    struct skep_buf answer; /* from another thread */
    bool is_error;
    size_t len;
    uint8_t data[];
};

static void request_detach(skep_request *request)
{
    atomic_store(&request->canceled, true);
    skep_list_remove(&request->entry);
    request->inner = NULL;
}

static void on_request_canceled(struct skep_rpc_request *inner)
{
    skep_request *request = inner->user;

    /* The inner one is over; ours goes on until its handler ends it. */
    request_detach(request);
    skep_rpc_fail(inner, "");
}

/* Its callers have had their error: whoever still works on a request should hear that it is for nobody. */
static void requests_let_go(const struct api_handler *handler)
{
    for (struct skep_list *at = handler->node->requests.next, *after;
         at != &handler->node->requests; at = after) {
        skep_request *request = SKEP_LIST_ITEM(at, skep_request, entry);
        struct skep_rpc_request *inner = request->inner;

        after = at->next;
        if (request->handler != handler)
            continue;
        request_detach(request);
        inner->on_cancel = NULL;
        skep_rpc_fail(inner, "");
    }
}

static void request_free(skep_request *request)
{
    skep_buf_fini(&request->answer);
    skep_api_core_unref(request->core);
    skep_mem_free(API_MEM, request);
}

static void answer(skep_request *request, bool is_error, skep_bytes bytes)
{
    struct skep_rpc_request *inner = request->inner;

    if (inner) {
        skep_list_remove(&request->entry);
        inner->on_cancel = NULL;
        if (is_error)
            (inner->rpc->ops->fail)(inner, bytes);
        else
            skep_rpc_reply(inner, bytes);
    }
    request_free(request);
}

static void on_request(void *user, struct skep_rpc_request *inner)
{
    struct api_handler *handler = user;
    skep_request *request = skep_mem_alloc(API_MEM, sizeof *request + inner->data.len);

    if (!request) {
        skep_rpc_fail(inner, "MemoryError()");
        return;
    }
    /* A copy, since a handler in another thread may read it when the caller is long gone. */
    *request = (skep_request){.core = skep_api_core_ref(handler->node->core),
                              .inner = inner,
                              .handler = handler,
                              .peer = api_peer_out(inner->peer)};
    skep_buf_init(&request->answer, API_MEM);
    request->len = inner->data.len;
    skep_bytes_copy(request->data, inner->data);
    skep_list_push_back(&handler->node->requests, &request->entry);
    inner->user = request;
    inner->on_cancel = on_request_canceled;
    handler->fn.unary(handler->user_data, request);
}

static int serve_unary(struct api_handler *handler)
{
    return skep_rpc_serve(handler->node->rpc, handler->name, on_request, handler);
}

int skep_p2p_serve(skep_node *node, const char *method, skep_request_handler *handler,
                   void *user_data)
{
    const struct api_handler like = {
        .kind = API_UNARY, .fn.unary = handler, .user_data = user_data, .name = method};

    return skep_api_handler_add(node, &like, serve_unary);
}

const skep_peer *skep_request_peer(const skep_request *request)
{
    return request ? &request->peer : NULL;
}

skep_view skep_request_data(const skep_request *request)
{
    return request ? (skep_view){request->data, request->len} : (skep_view){NULL, 0};
}

bool skep_request_canceled(const skep_request *request)
{
    return !request || atomic_load(&((skep_request *)(uintptr_t)request)->canceled);
}

static void on_answer(struct api_job *job, skep_node *node)
{
    skep_request *request = SKEP_CONTAINER_OF(job, skep_request, job);

    (void)node; /* also while the node closes: its requests are let go after the last job */
    answer(request, request->is_error, skep_buf_view(&request->answer));
}

static int end_request(skep_request *request, bool is_error, skep_bytes bytes)
{
    bool late = atomic_load(&request->canceled);

    if (skep_api_on_loop(request->core)) {
        answer(request, is_error, bytes);
        return late ? SKEP_ECLOSED : 0;
    }
    skep_buf_put_bytes(&request->answer, bytes);
    if (request->answer.rc < 0) {
        skep_buf_clear(&request->answer);
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    }
    request->is_error = is_error;
    request->job.run = on_answer;
    if (skep_api_post(request->core, &request->job) == 0)
        return late ? SKEP_ECLOSED : 0;
    request_free(request); /* the node is closed and has let go of it */
    return SKEP_ECLOSED;
}

int skep_request_reply(skep_request *request, skep_view response)
{
    int rc;

    if ((rc = skep_api_need(request, "request")) < 0)
        return rc;
    if (response.len > SKEP_UNARY_MESSAGE_MAX - 64)
        return skep_api_fail(SKEP_ESIZE, "a response of %zu bytes; at most %d with its envelope",
                             response.len, SKEP_UNARY_MESSAGE_MAX);
    if ((rc = skep_api_need_bytes(response, "response")) < 0)
        return rc;
    return end_request(request, false, api_bytes(response));
}

int skep_request_fail(skep_request *request, const char *text)
{
    if (skep_api_need(request, "request") < 0)
        return SKEP_EINVAL;
    return end_request(request, true, skep_bytes_str(text ? text : ""));
}

void skep_api_requests_close(skep_node *node)
{
    while (!skep_list_empty(&node->requests)) {
        skep_request *request = SKEP_LIST_ITEM(node->requests.next, skep_request, entry);
        struct skep_rpc_request *inner = request->inner;

        assert(inner); /* or it would not be listed */
        request_detach(request);
        inner->on_cancel = NULL;
        skep_rpc_fail(inner, "CancelledError()");
    }
}
