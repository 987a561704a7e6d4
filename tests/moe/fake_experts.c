/* SPDX-License-Identifier: MIT */
#include "moe/fake_experts.h"

#include <math.h>

#include "moe/codec.h"
#include "support/test.h"

struct expert_call {
    struct skep_list entry;
    struct fake_experts *experts;
    const struct skep_mem *mem;
    struct skep_expert_call *user;
    struct skep_expert_request request;
    skep_tensor tensors[64];
    char uid[64];
    struct fake_behaviour behaviour;
    struct skep_timer timer, timeout;
    bool running, stolen;
    skep_tensor outputs[SKEP_EXPERT_TENSORS_MAX];
    size_t output_count;
};

void fake_experts_init(struct fake_experts *experts, struct skep_env *env)
{
    memset(experts, 0, sizeof *experts);
    experts->env = env;
    skep_list_init(&experts->calls);
}

void fake_experts_fini(struct fake_experts *experts)
{
    assert_int_equal(fake_experts_running(experts), 0);
}

struct skep_expert_caller *fake_experts_caller(struct fake_experts *experts)
{
    return (struct skep_expert_caller *)(void *)experts;
}

size_t fake_experts_running(const struct fake_experts *experts)
{
    size_t count = 0;

    for (const struct skep_list *at = experts->calls.next; at != &experts->calls; at = at->next)
        count++;
    return count;
}

void fake_expert_of(skep_bytes uid, float *s, float *t)
{
    uint32_t sum = 7;

    for (size_t i = 0; i < uid.len; i++)
        sum = sum * 31 + uid.data[i];
    *s = 0.5F + (float)(sum % 97) / 97;
    *t = (float)(sum / 97 % 89) / 89 - 0.5F;
}

/* ---- arithmetic ---- */

static const float *floats(const skep_tensor *tensor)
{
    return tensor->data;
}

static skep_tensor *new_output(struct expert_call *call, const skep_tensor *like, skep_dtype type,
                               bool scalar)
{
    skep_tensor *out = &call->outputs[call->output_count];
    size_t bytes;

    *out = *like;
    out->dtype = type;
    if (scalar) {
        out->axes = 2;
        out->shape[1] = 1;
    }
    bytes = skep_tensor_bytes(out);
    out->data = skep_mem_zalloc(call->mem, bytes + 1, 1);
    if (!out->data)
        return NULL;
    call->output_count++;
    return out;
}

static bool put(skep_tensor *out, const float *numbers)
{
    if (!out)
        return false;
    skep_numbers_from_float(out->dtype, (void *)(uintptr_t)out->data, numbers,
                            skep_tensor_elements(out));
    return true;
}

static bool forward(struct expert_call *call)
{
    const struct fake_behaviour *b = &call->behaviour;
    skep_tensor like = call->tensors[0];
    size_t rows = like.shape[0], width = skep_tensor_elements(&like) / rows,
           out_width = width + b->extra_width, out_rows = rows + b->extra_rows;
    float *y = calloc(out_rows * out_width, sizeof *y), *z = calloc(out_rows, sizeof *z), s, t;
    const float *x = floats(&call->tensors[0]);
    const float *u = call->request.input_count > 1 && call->tensors[1].dtype == SKEP_FLOAT32
                         ? floats(&call->tensors[1])
                         : NULL;
    bool good = true;

    fake_expert_of(call->request.uid, &s, &t);
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < width; i++) {
            float v = x[r * width + i];

            y[r * out_width + i] = s * v + t * v * v + (u ? u[r * width + i] : 0);
            z[r] += s * v;
        }
        if (r < 64 && b->nan_rows[r])
            y[r * out_width] = NAN;
    }
    like.shape[0] += b->extra_rows;
    like.shape[like.axes - 1] += b->extra_width;
    good = put(new_output(call, &like, b->type, false), y);
    if (good && b->outputs > 1)
        good = put(new_output(call, &like, SKEP_FLOAT32, true), z);
    for (size_t i = 0; good && i < b->extra_count; i++)
        good = new_output(call, &like, SKEP_FLOAT32, true) != NULL;
    free(y);
    free(z);
    return good;
}

static bool backward(struct expert_call *call)
{
    const skep_tensor *input = &call->tensors[0];
    size_t inputs = call->request.input_count, elements = skep_tensor_elements(input),
           width = elements / input->shape[0];
    const skep_tensor *grads = call->tensors + inputs;
    float *grad = calloc(elements, sizeof *grad), *dx = calloc(elements, sizeof *dx), s, t;
    bool good;

    fake_expert_of(call->request.uid, &s, &t);
    skep_numbers_to_float(grad, grads[0].dtype, grads[0].data, elements);
    for (size_t i = 0; i < elements; i++) {
        dx[i] = grad[i] * (s + 2 * t * floats(input)[i]);
        if (call->request.count - inputs > 1)
            dx[i] += s * floats(&grads[1])[i / width];
    }
    for (size_t r = 0; r < input->shape[0] && r < 64; r++)
        if (call->behaviour.nan_rows[r])
            dx[r * width] = NAN;
    good = put(new_output(call, input, SKEP_FLOAT32, false), dx);
    for (size_t i = 1; good && i < inputs; i++) {
        skep_tensor *other = new_output(call, &call->tensors[i], call->tensors[i].dtype, false);

        good = other && (i > 1 || other->dtype != SKEP_FLOAT32 || put(other, grad));
    }
    for (size_t i = 0; good && i < call->behaviour.extra_count; i++)
        good = new_output(call, input, SKEP_FLOAT32, true) != NULL;
    free(grad);
    free(dx);
    return good;
}

/* ---- moe/expert.h ---- */

static void stop(struct expert_call *call)
{
    if (!call->running)
        return;
    call->running = false;
    skep_env_stop(call->experts->env, &call->timer);
    skep_env_stop(call->experts->env, &call->timeout);
    skep_list_remove(&call->entry);
}

static void finish(struct expert_call *call, int rc, const char *text)
{
    struct skep_expert_call *user = call->user;

    stop(call);
    if (rc == 0 && !(call->request.kind == SKEP_EXPERT_FORWARD ? forward(call) : backward(call)))
        rc = SKEP_ENOMEM;
    if (rc == 0) {
        user->outputs = call->outputs;
        user->output_count = call->output_count;
    }
    user->done(user, rc, skep_bytes_str(text ? text : ""));
}

static void on_timer(struct skep_timer *timer)
{
    struct expert_call *call = SKEP_CONTAINER_OF(timer, struct expert_call, timer);

    finish(call, call->behaviour.rc, call->behaviour.text);
}

static void on_timeout(struct skep_timer *timer)
{
    struct expert_call *call = SKEP_CONTAINER_OF(timer, struct expert_call, timeout);
    struct fake_experts *experts = call->experts;

    if (experts->failing_count < SKEP_COUNT_OF(experts->failing))
        snprintf(experts->failing[experts->failing_count++], sizeof experts->failing[0], "%.31s",
                 call->uid);
    finish(call, SKEP_ETIMEDOUT, "");
}

static int set_timers(struct expert_call *call)
{
    struct skep_env *env = call->experts->env;
    int rc = 0;

    call->timer.fire = on_timer;
    call->timeout.fire = on_timeout;
    if (!call->behaviour.hang)
        rc = skep_env_after(env, &call->timer, call->behaviour.delay_us);
    if (rc == 0 && call->request.timeout_us != SKEP_NEVER_US)
        rc = skep_env_after(env, &call->timeout, call->request.timeout_us);
    if (rc < 0)
        skep_env_stop(env, &call->timer);
    return rc;
}

int skep_expert_call_start(struct skep_expert_call *user, struct skep_expert_caller *caller,
                           const struct skep_expert_request *request, char *why, size_t why_len)
{
    struct fake_experts *experts = (struct fake_experts *)(void *)caller;
    struct expert_call *call = skep_mem_zalloc(experts->env->mem, 1, sizeof *call);

    if (!call)
        return SKEP_ENOMEM;
    assert_true(request->count <= 64 && request->uid.len < sizeof call->uid);
    call->experts = experts;
    call->mem = experts->env->mem;
    call->user = user;
    call->request = *request;
    memcpy(call->uid, request->uid.data, request->uid.len);
    call->request.uid = skep_bytes_of(call->uid, request->uid.len);
    memcpy(call->tensors, request->tensors, request->count * sizeof *request->tensors);
    for (size_t t = 0; t < request->count; t++)
        assert_int_equal(request->tensors[t].shape[0], request->tensors[0].shape[0]);
    call->behaviour.outputs = 1;
    if (experts->behave)
        experts->behave(experts, request, &call->behaviour);
    if (experts->see)
        experts->see(experts, request);
    if (call->behaviour.start_rc < 0 || set_timers(call) < 0) {
        int rc = call->behaviour.start_rc < 0 ? call->behaviour.start_rc : SKEP_ENOMEM;

        snprintf(why, why_len, "%s", call->behaviour.text ? call->behaviour.text : "");
        skep_mem_free(call->mem, call);
        return rc;
    }
    experts->forwards += request->kind == SKEP_EXPERT_FORWARD;
    experts->backwards += request->kind == SKEP_EXPERT_BACKWARD;
    experts->rows += request->tensors[0].shape[0];
    experts->rows_most = SKEP_MAX(experts->rows_most, request->tensors[0].shape[0]);
    call->running = true;
    skep_list_push_back(&experts->calls, &call->entry);
    user->state = call;
    return 0;
}

void skep_expert_call_fini(struct skep_expert_call *user)
{
    struct expert_call *call = user->state;

    if (!call)
        return;
    stop(call);
    for (size_t t = 0; !call->stolen && t < call->output_count; t++)
        skep_mem_free(call->mem, (void *)(uintptr_t)call->outputs[t].data);
    skep_mem_free(call->mem, call);
    *user = (struct skep_expert_call){.done = user->done};
}

void skep_expert_call_steal(struct skep_expert_call *user)
{
    user->state->stolen = true;
}

bool skep_expert_failing(struct skep_expert_caller *caller, skep_bytes uid,
                         const struct skep_peer_id *peer)
{
    const struct fake_experts *experts = (const struct fake_experts *)(void *)caller;

    (void)peer;
    for (size_t i = 0; i < experts->failing_count; i++)
        if (skep_bytes_equal(uid, skep_bytes_str(experts->failing[i])))
            return true;
    return false;
}
