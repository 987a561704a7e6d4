/* SPDX-License-Identifier: MIT */
/* A class of experts of one's own: y = x * scale + bias, number by number. Build it as a shared object, and
 *
 *     skep serve --expert-pattern 'scale.[0:16]' --num-experts 4 --hidden 64 --class ./example_expert_scale.so --class-options scale=2
 *
 * hosts experts of it. The one header below is all it needs, and nothing is linked: skep calls it, and what it may call comes with each pass. */
#include <skep/expert_class.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCALE, BIAS, PARAMETERS }; /* their places in the schema, and in pass->parameters */

/* ---- what it is ---- */

/* The one option, "scale=2": where training begins. */
static int read_options(const char *options, double *scale, char *why, size_t why_len)
{
    static const char name[] = "scale=";
    char *end;

    *scale = 1;
    if (!options || options[0] == '\0')
        return 0;
    if (strncmp(options, name, strlen(name)) != 0) {
        snprintf(why, why_len, "the only option is scale=NUMBER");
        return SKEP_EINVAL;
    }
    *scale = strtod(options + strlen(name), &end);
    if (end == options + strlen(name) || *end != '\0' || !isfinite(*scale)) {
        snprintf(why, why_len, "scale is to be a number");
        return SKEP_EINVAL;
    }
    return 0;
}

/* Called once, when the server starts: says what goes in and out of an expert and which parameters it has. skep makes the parameters, of each expert its
 * own, draws their first values, trains them and keeps them in checkpoints. `schema` comes zeroed; `state` is handed to each pass, and stays NULL here: what
 * a class needs beyond its parameters, such as what it has read from its options, goes there (and close() frees it). */
static int open_scale(size_t hidden, const char *options, skep_class_schema *schema, void **state,
                      char *why, size_t why_len)
{
    /* One vector of `hidden` numbers in, one out; the batch is not counted. */
    const skep_tensor_schema vector = {
        .dtype = SKEP_FLOAT32, .requires_grad = true, .axes = 1, .shape = {hidden}};
    double scale;
    int rc = read_options(options, &scale, why, why_len);

    (void)state;
    if (rc < 0)
        return rc;
    schema->inputs[0] = schema->outputs[0] = vector;
    schema->input_count = schema->output_count = 1;
    schema->parameters[SCALE] = (skep_parameter_schema){.name = "scale",
                                                        .axes = 1,
                                                        .shape = {hidden},
                                                        .init = SKEP_INIT_CONSTANT,
                                                        .init_value = scale};
    schema->parameters[BIAS] = (skep_parameter_schema){
        .name = "bias", .axes = 1, .shape = {hidden}, .init = SKEP_INIT_CONSTANT, .init_value = 0};
    schema->parameter_count = PARAMETERS;
    return 0;
}

/* ---- what it computes ---- */

/* The number of columns is in the shape of what comes: [rows][hidden], row by row, checked against the schema. `rows` are those of a whole batch, which may
 * be of many callers. */
static int forward(skep_pass *pass, const skep_tensor *inputs, void *const *outputs)
{
    const float *x = inputs[0].data, *scale = pass->parameters[SCALE],
                *bias = pass->parameters[BIAS];
    size_t hidden = inputs[0].shape[1];
    float *y = outputs[0];

    for (size_t row = 0; row < pass->rows; row++, x += hidden, y += hidden) {
        for (size_t i = 0; i < hidden; i++)
            y[i] = x[i] * scale[i] + bias[i];
    }
    return 0;
}

/* Given the gradients of the outputs, write those of the inputs, and hand out those of the parameters, summed over the batch. Memory for the sums is the
 * pass's: it is freed when the pass ends, also when it fails. */
static int backward(skep_pass *pass, const skep_tensor *inputs, const skep_tensor *grad_outputs,
                    void *const *grad_inputs)
{
    const float *x = inputs[0].data, *grad_y = grad_outputs[0].data,
                *scale = pass->parameters[SCALE];
    size_t hidden = inputs[0].shape[1];
    float *grad_x = grad_inputs[0], *grad_scale = pass->alloc(pass, hidden * sizeof(float)),
          *grad_bias = pass->alloc(pass, hidden * sizeof(float));

    if (!grad_scale || !grad_bias)
        return SKEP_ENOMEM;
    memset(grad_scale, 0, hidden * sizeof(float));
    memset(grad_bias, 0, hidden * sizeof(float));
    for (size_t row = 0; row < pass->rows; row++) {
        for (size_t i = 0; i < hidden; i++) {
            grad_x[i] = grad_y[i] * scale[i];
            grad_scale[i] += grad_y[i] * x[i];
            grad_bias[i] += grad_y[i];
        }
        x += hidden;
        grad_y += hidden;
        grad_x += hidden;
    }
    pass->gradient(pass, SCALE, 0, grad_scale, hidden);
    pass->gradient(pass, BIAS, 0, grad_bias, hidden);
    return 0;
}

/* ---- how skep finds it ---- */

static const skep_expert_class scale_class = {
    .abi = SKEP_CLASS_ABI,
    .name = "scale", /* checkpoints are of this class and no other */
    .open = open_scale,
    .forward = forward,
    .backward = backward,
};

SKEP_API skep_expert_class_get_fn skep_expert_class_get;

const skep_expert_class *skep_expert_class_get(void)
{
    return &scale_class;
}
