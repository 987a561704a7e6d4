/* SPDX-License-Identifier: MIT */
/* Forward of a mixture. See mixture.h; its calls are in mixture_calls.c.
 *
 * A sample's outputs are summed in the order of its experts, whatever the order of their answers: the same answers give the same bits. A sample that
 * nobody answered has zeros where allow_zero_outputs is on, and NaN, as hivemind's, where it is off. */
#include "moe/mixture_parts.h"

#include <math.h>

#include "moe/codec.h"
#include "moe/product.h"

enum { BLOCK_ROWS = 128 }; /* of a job, between two looks at its stop */

/* ---- the end ---- */

struct skep_gate_cells mix_forward_cells(const struct mix_forward *forward)
{
    return (struct skep_gate_cells){forward->batch, forward->experts.columns, forward->coordinates,
                                    forward->calls.answered};
}

static void fill_report(struct mix_forward *forward)
{
    struct skep_mixer_report *report = &forward->user->report;

    report->batch = forward->batch;
    report->columns = forward->experts.columns;
    report->experts = forward->experts.experts;
    report->expert_count = forward->experts.expert_count;
    report->cells = forward->experts.cells;
    report->scores = forward->experts.cell_scores;
    report->answered = forward->calls.answered;
    report->weights = forward->weights;
    report->calls = forward->calls.call_count;
    report->failed = forward->calls.failed_count;
    report->replaced = forward->experts.passed_over + forward->calls.replaced_count;
    report->elapsed_us = skep_env_now_us(forward->env) - forward->started_us;
}

static void end(struct mix_forward *forward, int rc, const char *text)
{
    forward->ended = true;
    forward->ok = rc == 0;
    skep_search_fini(&forward->search);
    fill_report(forward);
    if (rc == 0) {
        forward->user->outputs = forward->outputs;
        forward->user->output_count = forward->output_count;
    }
    forward->user->done(forward->user, rc, text);
}

static void fail(struct mix_forward *forward, int rc)
{
    end(forward, rc, *forward->why ? forward->why : skep_strerror(rc));
}

/* ---- COMBINE ---- */

static struct mix_forward *of_heavy(struct skep_heavy *heavy)
{
    return SKEP_CONTAINER_OF(heavy, struct mix_forward, heavy);
}

static float *numbers_of(const skep_tensor *tensor)
{
    return (float *)(uintptr_t)tensor->data;
}

static void combine_row(struct mix_forward *forward, size_t o, size_t sample)
{
    size_t elements = mix_row_elements(&forward->outputs[o]), columns = forward->experts.columns;
    float *row = numbers_of(&forward->outputs[o]) + sample * elements;
    bool is_switch = forward->mixer->options.is_switch, answered = false;

    memset(row, 0, elements * sizeof *row);
    for (size_t cell = sample * columns; cell < (sample + 1) * columns; cell++) {
        const struct mix_place *place = &forward->calls.places[cell];

        if (!forward->calls.answered[cell])
            continue;
        answered = true;
        skep_product_add_scaled(row, forward->weights[cell],
                                numbers_of(&place->call->answers[o]) + place->row * elements,
                                elements);
    }
    if (is_switch && o == 0)
        skep_product_add_scaled(row, 1, numbers_of(&forward->inputs[0]) + sample * elements,
                                elements);
    if (!is_switch && !answered && !forward->mixer->options.allow_zero_outputs)
        for (size_t e = 0; e < elements; e++)
            row[e] = NAN;
}

static void combine(struct skep_heavy *heavy, const atomic_bool *stop)
{
    struct mix_forward *forward = of_heavy(heavy);
    struct skep_gate_cells cells = mix_forward_cells(forward);

    if (forward->mixer->options.is_switch)
        skep_gate_product(&forward->gate, &cells, forward->probabilities, forward->weights);
    else
        skep_gate_softmax(&forward->gate, &cells, forward->scores, forward->weights);
    for (size_t i = 0; i < forward->batch && !atomic_load(stop); i++)
        for (size_t o = 0; o < forward->output_count; o++)
            combine_row(forward, o, i);
}

static void on_combined(struct skep_heavy *heavy)
{
    struct mix_forward *forward = of_heavy(heavy);
    struct skep_mixer *mixer = forward->mixer;

    mixer->has_outputs = true;
    mixer->output_count = forward->output_count;
    memcpy(mixer->outputs, forward->outputs, sizeof mixer->outputs);
    memcpy(mixer->types, forward->types, sizeof mixer->types);
    end(forward, 0, "");
}

static int make_outputs(struct mix_forward *forward)
{
    size_t cells = forward->batch * forward->experts.columns;

    forward->weights = skep_mem_zalloc(forward->mem, cells + 1, sizeof *forward->weights);
    forward->coordinates =
        skep_mem_zalloc(forward->mem, cells * forward->gate.dims + 1, sizeof *forward->coordinates);
    if (!forward->weights || !forward->coordinates)
        return SKEP_ENOMEM;
    for (size_t o = 0; o < forward->output_count; o++) {
        size_t elements = skep_tensor_elements(&forward->outputs[o]);

        forward->outputs[o].data =
            elements < SIZE_MAX ? skep_mem_alloc(forward->mem, elements * sizeof(float)) : NULL;
        if (!forward->outputs[o].data)
            return SKEP_ENOMEM;
    }
    mix_experts_coordinates(&forward->experts, forward->coordinates);
    return 0;
}

static double combine_operations(const struct mix_forward *forward)
{
    double operations = 0;

    for (size_t o = 0; o < forward->output_count; o++)
        operations += (double)skep_tensor_elements(&forward->outputs[o]);
    return operations * (double)(forward->experts.columns + 1);
}

/* The utilization is counted on the loop, where forwards come one after the other. */
static void balance(struct mix_forward *forward)
{
    struct skep_mixer *mixer = forward->mixer;
    struct skep_gate_cells cells = mix_forward_cells(forward);

    skep_gate_utilize(&forward->gate, &cells, mixer->options.utilization_alpha, mixer->utilization,
                      forward->utilization);
    memcpy(forward->utilization, mixer->utilization,
           forward->gate.outputs * sizeof *forward->utilization);
    forward->user->report.balancing_loss =
        skep_gate_balance(&forward->gate, forward->mean, forward->utilization);
}

/* Nobody answered: zeros, of shapes that an earlier forward has learnt. */
static bool remember_outputs(struct mix_forward *forward)
{
    const struct skep_mixer *mixer = forward->mixer;

    if (!mixer->has_outputs)
        return false;
    forward->has_outputs = true;
    forward->output_count = mixer->output_count;
    memcpy(forward->outputs, mixer->outputs, sizeof forward->outputs);
    memcpy(forward->types, mixer->types, sizeof forward->types);
    for (size_t o = 0; o < forward->output_count; o++) {
        forward->outputs[o].shape[0] = forward->batch;
        forward->outputs[o].data = NULL;
    }
    if (mixer->options.is_switch) { /* the input itself */
        forward->outputs[0] = forward->inputs[0];
        forward->outputs[0].data = NULL;
    }
    return true;
}

/* @return 0: there are enough answers; or the error that it is not so, and why. */
static int check_answers(struct mix_forward *forward)
{
    const struct mix_calls *calls = &forward->calls;
    const struct skep_mixer_options *options = &forward->mixer->options;

    if (calls->rc < 0)
        return calls->rc;
    if (calls->answered_count < options->k_min)
        return mix_say(forward->why, sizeof forward->why, SKEP_ETIMEDOUT,
                       "less than %zu experts answered: %zu of %zu calls failed; %s",
                       options->k_min, calls->failed_count, calls->call_count, calls->why);
    if (calls->answered_count == 0 && !options->allow_zero_outputs)
        return mix_say(forward->why, sizeof forward->why, SKEP_EUNREACH, "no expert answered: %s",
                       calls->why);
    if (calls->answered_count == 0 && !remember_outputs(forward))
        return mix_say(
            forward->why, sizeof forward->why, SKEP_EUNREACH,
            "no expert answered, and none did before to say what zeros would be like: %s",
            calls->why);
    return 0;
}

static void on_calls_ended(struct mix_calls *calls)
{
    struct mix_forward *forward = SKEP_CONTAINER_OF(calls, struct mix_forward, calls);
    int rc = check_answers(forward);

    if (rc == 0)
        rc = make_outputs(forward);
    if (rc < 0) {
        fail(forward, rc);
        return;
    }
    if (forward->mixer->options.is_switch)
        balance(forward);
    forward->heavy.run = combine;
    forward->heavy.done = on_combined;
    skep_heavy_start(&forward->heavy, forward->env, combine_operations(forward));
}

/* ---- GATHER and CALLS ---- */

static bool same_row(const skep_tensor *a, const skep_tensor *b)
{
    return a->axes == b->axes &&
           memcmp(a->shape + 1, b->shape + 1, (a->axes - 1) * sizeof *a->shape) == 0;
}

/* A row of an answer is what one sample makes us hold; a few that are absurdly long must not become a batch of them. */
static bool outputs_are_too_long(const struct mix_forward *forward, const struct mix_call *call)
{
    double row = 0, most = 0;

    for (size_t t = 0; t < forward->input_count; t++)
        most += (double)skep_tensor_bytes(&forward->inputs[t]);
    for (size_t o = 0; o < call->call.output_count; o++)
        row += (double)mix_row_elements(&call->call.outputs[o]) * sizeof(float);
    most = most * SKEP_MIXTURE_OUTPUT_TIMES + SKEP_MIXTURE_OUTPUT_BYTES;
    return row * (double)forward->batch > most;
}

/* The first answer says what outputs are like. */
static int learn_outputs(struct mix_forward *forward, const struct mix_call *call, char *why,
                         size_t why_len)
{
    const struct skep_expert_schema *schema = call->call.schema;

    if (outputs_are_too_long(forward, call))
        return mix_say(why, why_len, SKEP_EPEER_LIMIT,
                       "its output is more than %d times as long as the input",
                       SKEP_MIXTURE_OUTPUT_TIMES);
    if (forward->mixer->options.is_switch && !same_row(&call->call.outputs[0], &forward->inputs[0]))
        return mix_say(why, why_len, SKEP_EPEER_PROTO,
                       "its output has another shape than the input, to which it is to be added");
    for (size_t o = 0; o < call->call.output_count; o++) {
        forward->outputs[o] = call->call.outputs[o];
        forward->outputs[o].dtype = SKEP_FLOAT32;
        forward->outputs[o].shape[0] = forward->batch;
        forward->outputs[o].data = NULL;
        forward->types[o] = schema && o < schema->output_count ? schema->outputs[o].dtype
                                                               : call->call.outputs[o].dtype;
    }
    forward->output_count = call->call.output_count;
    forward->has_outputs = true;
    return 0;
}

static int accept_outputs(struct mix_calls *calls, const struct mix_call *call, char *why,
                          size_t why_len)
{
    struct mix_forward *forward = SKEP_CONTAINER_OF(calls, struct mix_forward, calls);
    const skep_tensor *outputs = call->call.outputs;
    size_t count = call->call.output_count;

    if (count == 0 || count > SKEP_EXPERT_TENSORS_MAX)
        return mix_say(why, why_len, SKEP_EPEER_PROTO, "it answered %zu tensors", count);
    for (size_t o = 0; o < count; o++)
        if (outputs[o].axes == 0 || outputs[o].shape[0] != call->rows)
            return mix_say(why, why_len, SKEP_EPEER_PROTO,
                           "output %zu has not the %zu rows of the input", o, call->rows);
    if (!forward->has_outputs)
        return learn_outputs(forward, call, why, why_len);
    if (count != forward->output_count)
        return mix_say(why, why_len, SKEP_EPEER_PROTO, "it answered %zu tensors, others %zu", count,
                       forward->output_count);
    for (size_t o = 0; o < count; o++)
        if (!same_row(&outputs[o], &forward->outputs[o]))
            return mix_say(why, why_len, SKEP_EPEER_PROTO,
                           "output %zu has another shape than that of other experts", o);
    return 0;
}

static int make_calls(struct mix_forward *forward)
{
    const struct skep_mixer_options *options = &forward->mixer->options;
    struct mix_experts *experts = &forward->experts;
    size_t count = 0, all = experts->batch * experts->columns;
    uint32_t *cells = skep_mem_zalloc(forward->mem, all + 1, sizeof *cells);
    int rc = cells ? 0 : SKEP_ENOMEM;

    forward->calls = (struct mix_calls){.env = forward->env,
                                        .mem = forward->mem,
                                        .caller = forward->mixer->caller,
                                        .experts = experts,
                                        .kind = SKEP_EXPERT_FORWARD,
                                        .patterns = forward->inputs,
                                        .pattern_count = forward->input_count,
                                        .input_count = forward->input_count,
                                        .k_min = options->k_min,
                                        .timeout_us = options->forward_timeout_us,
                                        .after_k_min_us = options->timeout_after_k_min_us,
                                        .detect_anomalies = options->detect_anomalies,
                                        .failover = options->spares > 0,
                                        .accept = accept_outputs,
                                        .ended = on_calls_ended};
    for (size_t cell = 0; rc == 0 && cell < all; cell++)
        if (experts->cells[cell] != SKEP_MIXER_NONE)
            cells[count++] = (uint32_t)cell;
    if (rc == 0 && (rc = mix_calls_init(&forward->calls)) == 0)
        rc = mix_calls_add(&forward->calls, cells, count);
    skep_mem_free(forward->mem, cells);
    return rc;
}

static void gather(struct skep_heavy *heavy, const atomic_bool *stop)
{
    mix_calls_gather(&of_heavy(heavy)->calls, stop);
}

static void on_gathered(struct skep_heavy *heavy)
{
    mix_calls_start(&of_heavy(heavy)->calls);
}

/* ---- SEARCH ---- */

static void on_found(struct skep_search *search, int rc)
{
    struct mix_forward *forward = SKEP_CONTAINER_OF(search, struct mix_forward, search);
    const struct skep_mixer_options *options = &forward->mixer->options;

    forward->user->report.search = search->stats;
    forward->user->report.search_timed_out = search->timed_out;
    if (rc == 0)
        rc = mix_experts_init(&forward->experts, forward->mem, &forward->gate, search,
                              options->k_best, options->spares > 0 ? forward->mixer->caller : NULL);
    skep_search_fini(search);
    if (rc == 0 && forward->experts.columns == 0 &&
        (options->k_min > 0 || !options->allow_zero_outputs || !forward->mixer->has_outputs)) {
        mix_say(forward->why, sizeof forward->why, 0, "no expert was found");
        rc = SKEP_ENOTFOUND;
    }
    if (rc == 0)
        rc = make_calls(forward);
    if (rc < 0) {
        fail(forward, rc);
        return;
    }
    forward->heavy.run = gather;
    forward->heavy.done = on_gathered;
    skep_heavy_start(&forward->heavy, forward->env, mix_calls_operations(&forward->calls));
}

static void search(struct mix_forward *forward)
{
    const struct skep_mixer_options *options = &forward->mixer->options;
    const struct skep_gate *gate = &forward->gate;
    const void *rows[SKEP_GRID_DIMENSIONS_MAX];
    size_t strides[SKEP_GRID_DIMENSIONS_MAX], at = 0;
    const struct skep_scores scores = {.type = SKEP_GRID_FLOAT32,
                                       .examples = forward->batch,
                                       .dims = gate->dims,
                                       .rows = rows,
                                       .row_stride = strides};
    struct skep_search_options how = {.beam_size = options->k_best + options->spares};
    int rc;

    for (size_t d = 0; d < gate->dims; d++) {
        rows[d] = forward->scores + at;
        strides[d] = gate->outputs;
        at += gate->sizes[d];
    }
    if (options->search_budget_us > 0)
        how.deadline_us = skep_env_now_us(forward->env) + options->search_budget_us;
    forward->search.done = on_found;
    rc = skep_find_best_start(&forward->search, forward->mixer->beam, &scores, &how, forward->why,
                              sizeof forward->why);
    if (rc < 0)
        fail(forward, rc);
}

/* ---- GATE ---- */

static bool inputs_are_finite(const struct mix_forward *forward)
{
    for (size_t t = 0; t < forward->input_count; t++)
        if (!skep_tensor_finite(&forward->inputs[t]))
            return false;
    return true;
}

static void see_input(struct mix_forward *forward)
{
    const struct skep_mixer_options *options = &forward->mixer->options;
    size_t features = forward->gate.in_features;

    if (!forward->own_x)
        return;
    skep_gate_average(forward->own_x, forward->inputs[0].data, forward->batch, forward->middle,
                      features);
    if (options->is_switch)
        skep_gate_jitter(forward->own_x, forward->batch * features, options->jitter_eps,
                         forward->jitter_seed);
}

static void make_scores(struct skep_heavy *heavy, const atomic_bool *stop)
{
    struct mix_forward *forward = of_heavy(heavy);
    const struct skep_mixer_options *options = &forward->mixer->options;
    const struct skep_gate *gate = &forward->gate;

    forward->anomaly = options->detect_anomalies && !inputs_are_finite(forward);
    if (forward->anomaly)
        return;
    see_input(forward);
    for (size_t i = 0; i < forward->batch && !atomic_load(stop); i += BLOCK_ROWS)
        skep_gate_forward(gate, forward->x + i * gate->in_features,
                          SKEP_MIN(forward->batch - i, (size_t)BLOCK_ROWS),
                          forward->scores + i * gate->outputs);
    if (!options->is_switch)
        return;
    skep_gate_draw_kept(forward->kept, gate->outputs, options->grid_dropout, forward->dropout_seed);
    skep_gate_drop(forward->scores, forward->kept, forward->batch, gate->outputs);
    skep_gate_probabilities(gate, forward->scores, forward->batch, forward->probabilities);
    skep_gate_mean(forward->probabilities, forward->batch, gate->outputs, forward->mean);
}

static void on_scores(struct skep_heavy *heavy)
{
    struct mix_forward *forward = of_heavy(heavy);

    if (forward->anomaly) {
        mix_say(forward->why, sizeof forward->why, 0, "an input has NaN or infinity");
        fail(forward, SKEP_EVALUE);
    } else {
        search(forward);
    }
}

/* ---- the start ---- */

int skep_mixer_check_inputs(const struct skep_mixer *mixer, const skep_tensor *inputs, size_t count,
                            char *why, size_t why_len)
{
    size_t features = mixer->gate.in_features;

    if (count == 0 || count > SKEP_EXPERT_TENSORS_MAX)
        return mix_say(why, why_len, SKEP_EINVAL, "%zu inputs; 1 to %d are possible", count,
                       SKEP_EXPERT_TENSORS_MAX);
    for (size_t t = 0; t < count; t++) {
        size_t bytes =
            skep_dtype_size(inputs[t].dtype) > 0 ? skep_tensor_bytes(&inputs[t]) : SIZE_MAX;

        if (bytes == SIZE_MAX || (bytes > 0 && !inputs[t].data))
            return mix_say(why, why_len, SKEP_EINVAL, "input %zu is no tensor", t);
        if (inputs[t].axes == 0 || inputs[t].shape[0] == 0 ||
            inputs[t].shape[0] != inputs[0].shape[0])
            return mix_say(why, why_len, SKEP_EINVAL,
                           "input %zu has not the batch of input 0 (which is not empty)", t);
    }
    if (inputs->dtype != SKEP_FLOAT32 || inputs->axes < 2 ||
        inputs->shape[inputs->axes - 1] != features || skep_tensor_elements(inputs) == 0)
        return mix_say(why, why_len, SKEP_EINVAL,
                       "input 0 is not float32 [batch, ..., %zu], which the gate takes", features);
    return 0;
}

static int make_forward(struct mix_forward *forward)
{
    const struct skep_mem *mem = forward->mem;
    size_t features = forward->gate.in_features, outputs = forward->gate.outputs, numbers;

    if (!skep_size_mul(forward->batch, outputs, &numbers))
        return SKEP_ENOMEM;
    if (!(forward->scores = skep_mem_zalloc(mem, numbers, sizeof(float))))
        return SKEP_ENOMEM;
    forward->x = forward->inputs[0].data;
    if (forward->middle != 1 || forward->mixer->options.is_switch) {
        forward->x = forward->own_x =
            skep_mem_zalloc(mem, forward->batch * features, sizeof(float));
        if (!forward->own_x)
            return SKEP_ENOMEM;
    }
    if (!forward->mixer->options.is_switch)
        return 0;
    forward->probabilities = skep_mem_zalloc(mem, numbers, sizeof(float));
    forward->mean = skep_mem_zalloc(mem, outputs, sizeof(float));
    forward->utilization = skep_mem_zalloc(mem, outputs, sizeof(float));
    forward->kept = skep_mem_zalloc(mem, outputs, sizeof *forward->kept);
    return forward->probabilities && forward->mean && forward->utilization && forward->kept
               ? 0
               : SKEP_ENOMEM;
}

static struct mix_forward *new_forward(struct skep_mixer *mixer, const skep_tensor *inputs,
                                       size_t count)
{
    struct mix_forward *forward = skep_mem_zalloc(mixer->mem, 1, sizeof *forward);

    if (!forward)
        return NULL;
    forward->mixer = mixer;
    forward->env = mixer->env;
    forward->mem = mixer->mem;
    forward->gate = mixer->gate;
    memcpy(forward->inputs, inputs, count * sizeof *inputs);
    forward->input_count = count;
    forward->batch = inputs[0].shape[0];
    forward->middle = mix_row_elements(&inputs[0]) / mixer->gate.in_features;
    forward->started_us = skep_env_now_us(mixer->env);
    forward->jitter_seed = skep_prng_u64(&mixer->prng);
    forward->dropout_seed = skep_prng_u64(&mixer->prng);
    return forward;
}

int skep_mixer_forward_start(struct skep_mixer_forward *user, struct skep_mixer *mixer,
                             const skep_tensor *inputs, size_t count, char *why, size_t why_len)
{
    struct mix_forward *forward;
    double rows;
    int rc = skep_mixer_check_inputs(mixer, inputs, count, why, why_len);

    user->state = NULL;
    if (rc < 0)
        return rc;
    if (!(forward = new_forward(mixer, inputs, count)))
        return SKEP_ENOMEM;
    user->state = forward;
    forward->user = user;
    if ((rc = make_forward(forward)) < 0) {
        skep_mixer_forward_fini(user);
        return rc;
    }
    rows = (double)(forward->batch * forward->gate.outputs);
    forward->heavy.run = make_scores;
    forward->heavy.done = on_scores;
    skep_heavy_start(&forward->heavy, forward->env,
                     2 * rows * (double)forward->gate.in_features +
                         (double)skep_tensor_elements(&inputs[0]) +
                         (mixer->options.is_switch ? 16 * rows : 0));
    return 0;
}

void skep_mixer_forward_fini(struct skep_mixer_forward *user)
{
    struct mix_forward *forward = user->state;

    if (!forward)
        return;
    if (!forward->ended) {
        skep_heavy_stop(&forward->heavy);
        skep_search_fini(&forward->search);
        mix_calls_stop(&forward->calls);
    }
    mix_calls_fini(&forward->calls);
    mix_experts_fini(&forward->experts);
    for (size_t o = 0; o < forward->output_count; o++)
        skep_mem_free(forward->mem, numbers_of(&forward->outputs[o]));
    skep_mem_free(forward->mem, forward->weights);
    skep_mem_free(forward->mem, forward->coordinates);
    skep_mem_free(forward->mem, forward->own_x);
    skep_mem_free(forward->mem, forward->scores);
    skep_mem_free(forward->mem, forward->probabilities);
    skep_mem_free(forward->mem, forward->mean);
    skep_mem_free(forward->mem, forward->utilization);
    skep_mem_free(forward->mem, forward->kept);
    skep_mem_free(forward->mem, forward);
    user->state = NULL;
    user->outputs = NULL;
    user->output_count = 0;
    user->report = (struct skep_mixer_report){0};
}
