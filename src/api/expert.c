/* SPDX-License-Identifier: MIT */
/* Calls of remote experts. See include/skep/expert.h. */
#include "api/api.h"

#include "moe/uid.h"

struct expert_op {
    skep_op op;
    struct skep_expert_call call;
    struct skep_expert_request
        request; /* uid and tensors: the caller's while it starts, or our copies */
    skep_expert_info info;
    skep_tensor
        *outputs; /* [output_count], in the arena; their numbers are freed by free_outputs() */
    size_t output_count;
};

static struct expert_op *expert_op_of(skep_op *op)
{
    return SKEP_CONTAINER_OF(op, struct expert_op, op);
}

/* ---- the node's caller ---- */

int skep_api_experts(skep_node *node, struct skep_expert_caller **out)
{
    if (!node->experts && skep_expert_caller_new(&node->experts, node->rpc) < 0)
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    *out = node->experts;
    return 0;
}

void skep_api_experts_close(skep_node *node)
{
    skep_expert_caller_free(node->experts);
    node->experts = NULL;
}

/* ---- the end of a call ---- */

static void free_outputs(skep_op *base)
{
    struct expert_op *op = expert_op_of(base);

    for (size_t i = 0; i < op->output_count; i++)
        skep_mem_free(API_MEM, (void *)(uintptr_t)op->outputs[i].data);
}

static skep_tensor_schema *copy_schemas(struct api_arena *arena, const skep_tensor_schema *from,
                                        size_t count)
{
    skep_tensor_schema *to = skep_api_arena_alloc(arena, count, sizeof *to);

    for (size_t i = 0; to && i < count; i++) {
        to[i] = from[i];
        if (from[i].name && !(to[i].name = skep_api_arena_str(arena, skep_bytes_str(from[i].name))))
            return NULL;
    }
    return to;
}

static int copy_info(struct expert_op *op)
{
    const struct skep_expert_schema *schema = op->call.schema;
    struct api_arena *arena = &op->op.arena;

    op->info =
        (skep_expert_info){.inputs = copy_schemas(arena, schema->inputs, schema->input_count),
                           .input_count = schema->input_count,
                           .outputs = copy_schemas(arena, schema->outputs, schema->output_count),
                           .output_count = schema->output_count};
    return op->info.inputs && op->info.outputs ? 0 : SKEP_ENOMEM;
}

/* Their numbers stay where they are. */
static int take_outputs(struct expert_op *op)
{
    size_t count = op->call.output_count;

    op->outputs = skep_api_arena_alloc(&op->op.arena, count, sizeof *op->outputs);
    if (!op->outputs)
        return SKEP_ENOMEM;
    if (count > 0)
        memcpy(op->outputs, op->call.outputs, count * sizeof *op->outputs);
    op->output_count = count;
    skep_expert_call_steal(&op->call);
    return 0;
}

static void on_expert_done(struct skep_expert_call *call, int rc, skep_bytes words)
{
    struct expert_op *op = SKEP_CONTAINER_OF(call, struct expert_op, call);
    char text[SKEP_PEER_TEXT_MAX + 1] = "";

    if (rc == 0)
        rc = op->request.kind == SKEP_EXPERT_INFO ? copy_info(op) : take_outputs(op);
    else
        skep_text_escape(text, sizeof text, words);
    skep_expert_call_fini(call);
    skep_api_op_end(&op->op, rc, *text || rc == 0 ? text : skep_strerror(rc));
}

/* ---- the start ---- */

static int expert_start(skep_op *base, skep_node *node)
{
    struct expert_op *op = expert_op_of(base);
    struct skep_expert_caller *experts = NULL;
    char why[SKEP_EXPERT_WHY_MAX];
    int rc;

    if ((rc = skep_api_experts(node, &experts)) < 0)
        return rc;
    op->call.done = on_expert_done;
    rc = skep_expert_call_start(&op->call, experts, &op->request, why, sizeof why);
    return rc < 0 ? skep_api_fail(rc, "%s", *why ? why : skep_strerror(rc)) : 0;
}

static void expert_cancel(skep_op *base, skep_node *node)
{
    (void)node;
    skep_expert_call_fini(&expert_op_of(base)->call);
}

static const struct api_op_class info_class = {sizeof(struct expert_op), expert_start,
                                               expert_cancel};
static const struct api_op_class run_class = {sizeof(struct expert_op), expert_start,
                                              expert_cancel};

/* ---- arguments ---- */

static int check_expert(const skep_node *node, const skep_expert *expert)
{
    char why[SKEP_UID_WHY_MAX];
    int rc;

    if ((rc = skep_api_need(node, "node")) < 0 || (rc = skep_api_need(expert, "expert")) < 0 ||
        (rc = skep_api_need(expert->uid, "uid")) < 0)
        return rc;
    if ((rc = skep_uid_check(skep_bytes_str(expert->uid), why, sizeof why)) < 0)
        return skep_api_fail(rc, "%s", why);
    return skep_api_bad_peer(&expert->peer);
}

/* What must outlive the call that begins the operation. */
static int own_request(struct expert_op *op, bool numbers)
{
    struct skep_expert_request *request = &op->request;
    struct api_arena *arena = &op->op.arena;
    skep_tensor *tensors;

    request->uid.data = skep_api_arena_copy(arena, request->uid.data, request->uid.len);
    tensors = skep_api_arena_copy(arena, request->tensors, request->count * sizeof *tensors);
    if (!request->uid.data || !tensors)
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    request->tensors = tensors;
    for (size_t i = 0; numbers && i < request->count; i++) {
        size_t len = skep_tensor_bytes(&tensors[i]);

        if (!(tensors[i].data = skep_api_arena_copy(arena, tensors[i].data, len)))
            return skep_api_fail(SKEP_ENOMEM, "out of memory");
    }
    return 0;
}

static int begin(skep_op **out, skep_node *node, const struct api_op_class *class,
                 const struct skep_expert_request *request, bool copy, skep_op_cb *cb,
                 void *user_data)
{
    char why[SKEP_EXPERT_WHY_MAX];
    struct expert_op *op;
    bool own;
    int rc;

    if ((rc = skep_expert_request_check(request, why, sizeof why)) < 0)
        return skep_api_fail(rc, "%s", why);
    if (!(op = skep_api_op_new(node, class, cb, user_data, &own)))
        return SKEP_ENOMEM;
    op->op.free = free_outputs;
    op->request = *request;
    if ((own || copy) && (rc = own_request(op, copy)) < 0) {
        skep_api_op_drop(&op->op);
        return rc;
    }
    return skep_api_op_begin(out, node, &op->op);
}

int skep_expert_get_info(skep_op **out, skep_node *node, const skep_expert *expert,
                         uint64_t timeout_us, skep_op_cb *cb, void *user_data)
{
    struct skep_expert_request request = {.kind = SKEP_EXPERT_INFO};
    int rc;

    if (out)
        *out = NULL;
    if ((rc = check_expert(node, expert)) < 0)
        return rc;
    request.uid = skep_bytes_str(expert->uid);
    request.peer = api_peer_in(&expert->peer);
    request.timeout_us = timeout_us == 0 ? SKEP_NEVER_US : timeout_us;
    return begin(out, node, &info_class, &request, false, cb, user_data);
}

const skep_expert_info *skep_expert_get_info_result(const skep_op *op)
{
    return api_op_ok(op, &info_class) ? &((const struct expert_op *)(const void *)op)->info : NULL;
}

/* Inputs, then gradients. */
static int join_tensors(skep_tensor *to, size_t *total, const skep_tensor *tensors, size_t count,
                        const char *what)
{
    if (count > 0 && skep_api_need(tensors, what) < 0)
        return SKEP_EINVAL;
    if (count > SKEP_EXPERT_TENSORS_MAX - *total)
        return skep_api_fail(SKEP_EINVAL, "%zu tensors; at most %d", *total + count,
                             (int)SKEP_EXPERT_TENSORS_MAX);
    if (count > 0)
        memcpy(to + *total, tensors, count * sizeof *to);
    *total += count;
    return 0;
}

static int run(skep_op **out, skep_node *node, const skep_expert *expert,
               struct skep_expert_request *request, const skep_expert_options *user_options,
               skep_op_cb *cb, void *user_data)
{
    skep_expert_options options;
    int rc;

    if ((rc = check_expert(node, expert)) < 0 ||
        (rc = skep_api_options_in(&options, sizeof options, user_options, sizeof options,
                                  "expert options")) < 0)
        return rc;
    request->uid = skep_bytes_str(expert->uid);
    request->peer = api_peer_in(&expert->peer);
    request->timeout_us = options.timeout_us == 0 ? SKEP_NEVER_US : options.timeout_us;
    request->without_info = options.without_info;
    request->compression = options.compression;
    return begin(out, node, &run_class, request, options.copy, cb, user_data);
}

int skep_expert_forward(skep_op **out, skep_node *node, const skep_expert *expert,
                        const skep_tensor *inputs, size_t count, const skep_expert_options *options,
                        skep_op_cb *cb, void *user_data)
{
    struct skep_expert_request request = {
        .kind = SKEP_EXPERT_FORWARD, .tensors = inputs, .count = count, .input_count = count};

    if (out)
        *out = NULL;
    if (count > 0 && skep_api_need(inputs, "inputs") < 0)
        return SKEP_EINVAL;
    return run(out, node, expert, &request, options, cb, user_data);
}

int skep_expert_backward(skep_op **out, skep_node *node, const skep_expert *expert,
                         const skep_tensor *inputs, size_t count, const skep_tensor *grad_outputs,
                         size_t grad_count, const skep_expert_options *options, skep_op_cb *cb,
                         void *user_data)
{
    skep_tensor all[SKEP_EXPERT_TENSORS_MAX];
    struct skep_expert_request request = {
        .kind = SKEP_EXPERT_BACKWARD, .tensors = all, .input_count = count};

    if (out)
        *out = NULL;
    if (join_tensors(all, &request.count, inputs, count, "inputs") < 0 ||
        join_tensors(all, &request.count, grad_outputs, grad_count, "gradients") < 0)
        return SKEP_EINVAL;
    return run(out, node, expert, &request, options, cb, user_data);
}

const skep_tensor *skep_expert_result(const skep_op *op, size_t *count)
{
    const struct expert_op *expert = (const struct expert_op *)(const void *)op;

    if (count)
        *count = 0;
    if (!api_op_ok(op, &run_class))
        return NULL;
    if (count)
        *count = expert->output_count;
    return expert->outputs;
}
