/* SPDX-License-Identifier: MIT */
/* Backward of a mixture. See mixture.h; hivemind moe/client/moe.py, _RemoteCallMany.backward, and what autograd does around it.
 *
 * Each expert that answered the forward is sent its samples' inputs again, with their gradients times its weight. Those that fail now are constants:
 * no gradient comes through them, but the gate's does not need them, as their outputs are known. Left out: other experts in their place. */
#include "moe/mixture_parts.h"

#include "moe/codec.h"
#include "moe/product.h"

enum { BLOCK_ROWS = 128, CHUNK = 256 };

struct mix_backward {
    struct skep_mixer_backward *user;
    struct mix_forward *forward; /* until the end */
    size_t input_count;
    struct skep_env *env;
    const struct skep_mem *mem;
    skep_tensor grad_outputs[SKEP_EXPERT_TENSORS_MAX];
    double grad_loss;
    uint64_t started_us;
    bool anomaly; /* a gradient has NaN or infinity */
    bool ended;
    struct skep_heavy heavy;
    struct mix_calls calls;
    skep_tensor patterns[2 * SKEP_EXPERT_TENSORS_MAX];
    float *grad_weights;       /* [cells] */
    float *grad_probabilities; /* switch: [batch][outputs] */
    float *grad_scores;        /* [batch][outputs] */
    float *grad_x;             /* [batch][in_features] */
    float *gate_weight, *gate_bias;
    float *sums[SKEP_EXPERT_TENSORS_MAX]; /* of the inputs' gradients; NULL: not floating point */
    skep_tensor grad_inputs[SKEP_EXPERT_TENSORS_MAX];
    char why[SKEP_MIXTURE_WHY_MAX + 128];
};

static struct mix_backward *of_heavy(struct skep_heavy *heavy)
{
    return SKEP_CONTAINER_OF(heavy, struct mix_backward, heavy);
}

static float *numbers_of(const skep_tensor *tensor)
{
    return (float *)(uintptr_t)tensor->data;
}

/* ---- the end ---- */

static void end(struct mix_backward *backward, int rc, const char *text)
{
    struct skep_mixer_backward *user = backward->user;
    struct skep_mixer_report *report = &user->report;

    backward->ended = true;
    *report = backward->forward->user->report;
    report->answered = backward->calls.answered;
    report->calls = backward->calls.call_count;
    report->failed = backward->calls.failed_count;
    report->replaced = 0;
    report->elapsed_us = skep_env_now_us(backward->env) - backward->started_us;
    if (rc == 0) {
        user->grad_inputs = backward->grad_inputs;
        user->input_count = backward->input_count;
        user->grad_weight = backward->gate_weight;
        user->grad_bias = backward->gate_bias;
    }
    user->done(user, rc, text);
}

static void fail(struct mix_backward *backward, int rc)
{
    end(backward, rc, *backward->why ? backward->why : skep_strerror(rc));
}

/* ---- SUM ---- */

/* In the order of the samples, then of their experts, whatever the order of the answers. */
static void sum_experts(struct mix_backward *backward, size_t t, const atomic_bool *stop)
{
    const struct mix_calls *calls = &backward->calls;
    size_t elements = mix_row_elements(&backward->forward->inputs[t]);
    size_t columns = calls->experts->columns;

    for (size_t cell = 0; cell < calls->experts->batch * columns && !atomic_load(stop); cell++) {
        const struct mix_place *place = &calls->places[cell];

        if (calls->answered[cell])
            skep_product_add_scaled(backward->sums[t] + cell / columns * elements, 1,
                                    numbers_of(&place->call->answers[t]) + place->row * elements,
                                    elements);
    }
}

static void sum_scores(struct mix_backward *backward)
{
    const struct mix_forward *forward = backward->forward;
    struct skep_gate_cells cells = mix_forward_cells(forward);

    if (!forward->mixer->options.is_switch) {
        skep_gate_softmax_backward(&forward->gate, &cells, forward->weights, backward->grad_weights,
                                   backward->grad_scores);
        return;
    }
    skep_gate_product_backward(&forward->gate, &cells, forward->probabilities,
                               backward->grad_weights, backward->grad_probabilities);
    skep_gate_balance_backward(&forward->gate, forward->utilization, forward->batch,
                               backward->grad_loss, backward->grad_probabilities);
    skep_gate_probabilities_backward(&forward->gate, forward->probabilities,
                                     backward->grad_probabilities, forward->batch,
                                     backward->grad_scores);
}

static void sum_gate(struct mix_backward *backward, const atomic_bool *stop)
{
    const struct mix_forward *forward = backward->forward;
    const struct skep_mixer_options *options = &forward->mixer->options;
    size_t features = forward->gate.in_features, outputs = forward->gate.outputs;

    sum_scores(backward);
    for (size_t i = 0; i < forward->batch && !atomic_load(stop); i += BLOCK_ROWS)
        skep_gate_backward(&forward->gate, forward->x + i * features,
                           SKEP_MIN(forward->batch - i, (size_t)BLOCK_ROWS),
                           backward->grad_scores + i * outputs, backward->gate_weight,
                           backward->gate_bias, backward->grad_x + i * features);
    if (options->is_switch)
        skep_gate_jitter(backward->grad_x, forward->batch * features, options->jitter_eps,
                         forward->jitter_seed);
    skep_gate_average_backward(backward->sums[0], backward->grad_x, forward->batch, forward->middle,
                               features);
    if (options->is_switch) /* the residual */
        skep_product_add_scaled(backward->sums[0], 1, backward->grad_outputs[0].data,
                                skep_tensor_elements(&forward->inputs[0]));
}

static void sum(struct skep_heavy *heavy, const atomic_bool *stop)
{
    struct mix_backward *backward = of_heavy(heavy);

    for (size_t t = 0; t < backward->forward->input_count; t++)
        if (backward->sums[t])
            sum_experts(backward, t, stop);
    sum_gate(backward, stop);
    for (size_t t = 0; t < backward->forward->input_count; t++) {
        skep_tensor *grad = &backward->grad_inputs[t];

        if (backward->sums[t] && grad->dtype != SKEP_FLOAT32)
            skep_numbers_from_float(grad->dtype, (void *)(uintptr_t)grad->data, backward->sums[t],
                                    skep_tensor_elements(grad));
    }
}

static void on_sums(struct skep_heavy *heavy)
{
    end(of_heavy(heavy), 0, "");
}

/* Zeros for everything, and sums in float32 beside gradients of another type. */
static int make_sums(struct mix_backward *backward)
{
    const struct mix_forward *forward = backward->forward;
    const struct skep_mem *mem = backward->mem;

    for (size_t t = 0; t < forward->input_count; t++) {
        skep_tensor *grad = &backward->grad_inputs[t];
        size_t elements = skep_tensor_elements(grad);

        if (!(grad->data = skep_mem_zalloc(mem, elements + 1, skep_dtype_size(grad->dtype))))
            return SKEP_ENOMEM;
        if (grad->dtype == SKEP_FLOAT32)
            backward->sums[t] = numbers_of(grad);
        else if (skep_dtype_is_floating(grad->dtype) &&
                 !(backward->sums[t] = skep_mem_zalloc(mem, elements + 1, sizeof(float))))
            return SKEP_ENOMEM;
    }
    backward->grad_scores =
        skep_mem_zalloc(mem, forward->batch * forward->gate.outputs, sizeof(float));
    backward->grad_x =
        skep_mem_zalloc(mem, forward->batch * forward->gate.in_features, sizeof(float));
    backward->gate_weight =
        skep_mem_zalloc(mem, forward->gate.outputs * forward->gate.in_features, sizeof(float));
    backward->gate_bias = skep_mem_zalloc(mem, forward->gate.outputs, sizeof(float));
    if (!backward->grad_scores || !backward->grad_x || !backward->gate_weight ||
        !backward->gate_bias)
        return SKEP_ENOMEM;
    if (!forward->mixer->options.is_switch)
        return 0;
    backward->grad_probabilities =
        skep_mem_zalloc(mem, forward->batch * forward->gate.outputs, sizeof(float));
    return backward->grad_probabilities ? 0 : SKEP_ENOMEM;
}

/* ---- CALLS ---- */

static void on_calls_ended(struct mix_calls *calls)
{
    struct mix_backward *backward = SKEP_CONTAINER_OF(calls, struct mix_backward, calls);
    const struct mix_forward *forward = backward->forward;
    double rows = (double)(forward->batch * forward->gate.outputs);
    int rc = calls->rc;

    if (rc == 0 && calls->answered_count < calls->k_min)
        rc = mix_say(backward->why, sizeof backward->why, SKEP_ETIMEDOUT,
                     "less than %zu experts answered: %zu of %zu calls failed; %s", calls->k_min,
                     calls->failed_count, calls->call_count, calls->why);
    if (rc == 0)
        rc = make_sums(backward);
    if (rc < 0) {
        fail(backward, rc);
        return;
    }
    backward->heavy.run = sum;
    backward->heavy.done = on_sums;
    skep_heavy_start(&backward->heavy, backward->env,
                     4 * rows * (double)forward->gate.in_features +
                         (double)skep_tensor_elements(&forward->inputs[0]) *
                             (double)(forward->experts.columns + 1));
}

static int accept_gradients(struct mix_calls *calls, const struct mix_call *call, char *why,
                            size_t why_len)
{
    const skep_tensor *gradients = call->call.outputs;

    if (call->call.output_count != calls->input_count)
        return mix_say(why, why_len, SKEP_EPEER_PROTO, "it answered %zu gradients for %zu inputs",
                       call->call.output_count, calls->input_count);
    for (size_t t = 0; t < calls->input_count; t++) {
        skep_tensor like = calls->patterns[t];

        like.shape[0] = call->rows;
        if (gradients[t].axes != like.axes ||
            memcmp(gradients[t].shape, like.shape, like.axes * sizeof *like.shape) != 0)
            return mix_say(why, why_len, SKEP_EPEER_PROTO,
                           "the gradient of input %zu has another shape than the input", t);
    }
    return 0;
}

/* ---- PREPARE ---- */

static void scale_row(skep_dtype type, void *to, size_t row, float weight, const float *grad,
                      size_t elements)
{
    size_t size = skep_dtype_size(type);
    float chunk[CHUNK];

    if (type == SKEP_FLOAT32) {
        skep_product_scale((float *)to + row * elements, weight, grad, elements);
        return;
    }
    for (size_t e = 0; e < elements; e += CHUNK) {
        size_t count = SKEP_MIN(elements - e, (size_t)CHUNK);
        uint8_t *at = (uint8_t *)to + (row * elements + e) * size;

        skep_product_scale(chunk, weight, grad + e, count);
        if (skep_dtype_is_floating(type))
            skep_numbers_from_float(type, at, chunk, count);
        else
            memset(at, 0, count * size);
    }
}

static void write_gradient(struct mix_calls *calls, const struct mix_call *call, size_t gradient,
                           void *to)
{
    struct mix_backward *backward = SKEP_CONTAINER_OF(calls, struct mix_backward, calls);
    const skep_tensor *grad = &backward->grad_outputs[gradient];
    size_t elements = mix_row_elements(grad), columns = calls->experts->columns;

    for (size_t r = 0; r < call->rows; r++) {
        uint32_t cell = call->cells[r];

        scale_row(backward->forward->types[gradient], to, r, backward->forward->weights[cell],
                  numbers_of(grad) + cell / columns * elements, elements);
    }
}

/* The gradient of each weight: what the sample's gradient and the expert's output have in common. */
static void weigh(struct mix_backward *backward, const atomic_bool *stop)
{
    const struct mix_forward *forward = backward->forward;
    size_t columns = forward->experts.columns;

    for (size_t cell = 0; cell < forward->batch * columns && !atomic_load(stop); cell++) {
        const struct mix_place *place = &forward->calls.places[cell];

        for (size_t o = 0; o < forward->output_count && forward->calls.answered[cell]; o++) {
            size_t elements = mix_row_elements(&forward->outputs[o]);

            backward->grad_weights[cell] += skep_product_dot(
                numbers_of(&backward->grad_outputs[o]) + cell / columns * elements,
                numbers_of(&place->call->answers[o]) + place->row * elements, elements);
        }
    }
}

static void prepare(struct skep_heavy *heavy, const atomic_bool *stop)
{
    struct mix_backward *backward = of_heavy(heavy);

    for (size_t o = 0; backward->calls.detect_anomalies && o < backward->forward->output_count; o++)
        backward->anomaly = backward->anomaly || !skep_tensor_finite(&backward->grad_outputs[o]);
    if (backward->anomaly)
        return;
    weigh(backward, stop);
    mix_calls_gather(&backward->calls, stop);
}

static void on_prepared(struct skep_heavy *heavy)
{
    struct mix_backward *backward = of_heavy(heavy);

    if (backward->anomaly) {
        mix_say(backward->why, sizeof backward->why, 0, "a gradient has NaN or infinity");
        fail(backward, SKEP_EVALUE);
    } else {
        mix_calls_start(&backward->calls);
    }
}

static void set_up_calls(struct mix_backward *backward)
{
    struct mix_forward *forward = backward->forward;
    const struct skep_mixer_options *options = &forward->mixer->options;
    skep_tensor *gradients = backward->patterns + forward->input_count;

    memcpy(backward->patterns, forward->inputs, forward->input_count * sizeof *backward->patterns);
    for (size_t o = 0; o < forward->output_count; o++) {
        gradients[o] = forward->outputs[o];
        gradients[o].dtype = forward->types[o];
        gradients[o].data = NULL;
    }
    backward->calls =
        (struct mix_calls){.env = backward->env,
                           .mem = backward->mem,
                           .caller = forward->mixer->caller,
                           .experts = &forward->experts,
                           .kind = SKEP_EXPERT_BACKWARD,
                           .patterns = backward->patterns,
                           .pattern_count = forward->input_count + forward->output_count,
                           .input_count = forward->input_count,
                           .k_min = options->backward_k_min,
                           .timeout_us = options->backward_timeout_us,
                           .after_k_min_us = options->timeout_after_k_min_us,
                           .detect_anomalies = options->detect_anomalies,
                           .accept = accept_gradients,
                           .write = write_gradient,
                           .ended = on_calls_ended};
}

static int make_calls(struct mix_backward *backward)
{
    const struct mix_forward *forward = backward->forward;
    size_t all = forward->batch * forward->experts.columns, count = 0;
    uint32_t *cells = skep_mem_zalloc(backward->mem, all + 1, sizeof *cells);
    int rc = cells ? 0 : SKEP_ENOMEM;

    set_up_calls(backward);
    for (size_t cell = 0; rc == 0 && cell < all; cell++)
        if (forward->calls.answered[cell])
            cells[count++] = (uint32_t)cell;
    if (rc == 0 && (rc = mix_calls_init(&backward->calls)) == 0)
        rc = mix_calls_add(&backward->calls, cells, count);
    skep_mem_free(backward->mem, cells);
    backward->grad_weights = skep_mem_zalloc(backward->mem, all + 1, sizeof(float));
    return rc == 0 && !backward->grad_weights ? SKEP_ENOMEM : rc;
}

/* ---- the start ---- */

int skep_mixer_check_gradients(const struct skep_mixer_forward *user,
                               const skep_tensor *grad_outputs, size_t count, char *why,
                               size_t why_len)
{
    const struct mix_forward *forward = user->state;

    if (!forward || !forward->ok)
        return mix_say(why, why_len, SKEP_EINVAL, "the forward has not ended well");
    if (forward->used)
        return mix_say(why, why_len, SKEP_EINVAL, "the forward was run backward before");
    if (count != forward->output_count)
        return mix_say(why, why_len, SKEP_EINVAL, "%zu gradients for %zu outputs", count,
                       forward->output_count);
    for (size_t o = 0; o < count; o++) {
        const skep_tensor *grad = &grad_outputs[o], *output = &forward->outputs[o];

        if (grad->dtype != SKEP_FLOAT32 || grad->axes != output->axes ||
            memcmp(grad->shape, output->shape, output->axes * sizeof *output->shape) != 0 ||
            (!grad->data && skep_tensor_elements(output) > 0))
            return mix_say(why, why_len, SKEP_EINVAL,
                           "gradient %zu is not float32 of the output's shape", o);
    }
    return 0;
}

static double prepare_operations(const struct mix_backward *backward)
{
    double operations = mix_calls_operations(&backward->calls);

    for (size_t o = 0; o < backward->forward->output_count; o++)
        operations += 2 * (double)skep_tensor_elements(&backward->forward->outputs[o]) *
                      (double)backward->forward->experts.columns;
    return operations;
}

int skep_mixer_backward_start(struct skep_mixer_backward *user,
                              struct skep_mixer_forward *user_forward,
                              const skep_tensor *grad_outputs, size_t count, double grad_loss,
                              char *why, size_t why_len)
{
    struct mix_forward *forward = user_forward->state;
    struct mix_backward *backward;
    int rc = skep_mixer_check_gradients(user_forward, grad_outputs, count, why, why_len);

    user->state = NULL;
    if (rc < 0)
        return rc;
    if (!(backward = skep_mem_zalloc(forward->mem, 1, sizeof *backward)))
        return SKEP_ENOMEM;
    user->state = backward;
    backward->user = user;
    backward->forward = forward;
    backward->env = forward->env;
    backward->mem = forward->mem;
    backward->input_count = forward->input_count;
    backward->grad_loss = grad_loss;
    backward->started_us = skep_env_now_us(backward->env);
    memcpy(backward->grad_outputs, grad_outputs, count * sizeof *grad_outputs);
    memcpy(backward->grad_inputs, forward->inputs,
           forward->input_count * sizeof *backward->grad_inputs);
    for (size_t t = 0; t < forward->input_count; t++)
        backward->grad_inputs[t].data = NULL;
    if ((rc = make_calls(backward)) < 0) {
        skep_mixer_backward_fini(user);
        return rc;
    }
    forward->used = true;
    backward->heavy.run = prepare;
    backward->heavy.done = on_prepared;
    skep_heavy_start(&backward->heavy, backward->env, prepare_operations(backward));
    return 0;
}

void skep_mixer_backward_fini(struct skep_mixer_backward *user)
{
    struct mix_backward *backward = user->state;
    const struct skep_mem *mem;

    if (!backward)
        return;
    mem = backward->mem;
    if (!backward->ended) {
        skep_heavy_stop(&backward->heavy);
        mix_calls_stop(&backward->calls);
    }
    for (size_t t = 0; t < backward->input_count; t++) {
        if (backward->sums[t] != numbers_of(&backward->grad_inputs[t]))
            skep_mem_free(mem, backward->sums[t]);
        skep_mem_free(mem, numbers_of(&backward->grad_inputs[t]));
    }
    mix_calls_fini(&backward->calls);
    skep_mem_free(mem, backward->grad_weights);
    skep_mem_free(mem, backward->grad_probabilities);
    skep_mem_free(mem, backward->grad_scores);
    skep_mem_free(mem, backward->grad_x);
    skep_mem_free(mem, backward->gate_weight);
    skep_mem_free(mem, backward->gate_bias);
    skep_mem_free(mem, backward);
    *user = (struct skep_mixer_backward){.done = user->done};
}
