/* SPDX-License-Identifier: MIT */
/* The class det_dropout: y = W2 relu(W1 (x * mask / 0.8) + b1) + b2, with the mask as an input so that forward and backward see the same one.
 * hivemind moe/server/layers/dropout.py DeterministicDropoutNetwork. */
#include <string.h>

#include "base/vector.h"
#include "server/classes.h"
#include "server/gradients.h"
#include "server/numbers.h"

enum { IN_WEIGHT, IN_BIAS, OUT_WEIGHT, OUT_BIAS, PARAMETERS };

enum { WIDTH = 2 /* of the inner layer, in hidden dimensions */ };

static const float keep = (float)(1 - 0.2);

static int open_det_dropout(size_t hidden, const char *options, skep_class_schema *schema,
                            void **state, char *why, size_t why_len)
{
    int rc;

    (void)state;
    if ((rc = skep_class_check_hidden(hidden, 1, why, why_len)) < 0 ||
        (rc = skep_class_check_no_options(options, why, why_len)) < 0)
        return rc;
    schema->inputs[0] = schema->inputs[1] = schema->outputs[0] = skep_class_vector(hidden);
    schema->inputs[1].dtype = SKEP_INT64;
    schema->input_count = 2;
    schema->outputs[0].requires_grad = true;
    schema->output_count = 1;
    skep_class_add_linear(schema, "linear_in.weight", "linear_in.bias", hidden, WIDTH * hidden);
    skep_class_add_linear(schema, "linear_out.weight", "linear_out.bias", WIDTH * hidden, hidden);
    schema->gradients_are_final = true;
    return 0;
}

/* to may be x. */
SKEP_VECTOR
static void drop(float *to, const float *x, const int64_t *mask, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = x[i] * (float)mask[i] / keep;
}

SKEP_VECTOR
static void add_bias_and_relu(float *restrict v, const float *restrict bias, size_t rows,
                              size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) {
            float u = v[i * columns + j] + bias[j];

            v[i * columns + j] = u < 0 ? 0 : u; /* NaN stays */
        }
}

/* Nothing goes back where relu gave 0. */
SKEP_VECTOR
static void relu_backward(float *restrict grad, const float *restrict active, size_t count)
{
    for (size_t i = 0; i < count; i++)
        grad[i] = active[i] == 0 ? 0 : grad[i];
}

/* What a pass works with. */
struct network {
    skep_pass *pass;
    size_t h, inner, chunk;
    float *dropped; /* [chunk][h]: x * mask / keep */
    float *active;  /* [chunk][inner] */
};

static int network_init(struct network *n, skep_pass *pass, size_t hidden)
{
    *n = (struct network){.pass = pass, .h = hidden, .inner = WIDTH * hidden};
    n->chunk = skep_class_chunk_rows(pass->rows, n->inner);
    n->dropped = skep_pass_floats(pass, n->chunk * n->h);
    n->active = skep_pass_floats(pass, n->chunk * n->inner);
    return n->dropped && n->active ? 0 : SKEP_ENOMEM;
}

static void up_to_relu(struct network *n, const float *x, const int64_t *mask, size_t rows)
{
    skep_pass *pass = n->pass;

    drop(n->dropped, x, mask, rows * n->h);
    pass->sgemm('N', 'T', rows, n->inner, n->h, 1, n->dropped, n->h, pass->parameters[IN_WEIGHT],
                n->h, 0, n->active, n->inner);
    add_bias_and_relu(n->active, pass->parameters[IN_BIAS], rows, n->inner);
}

static int forward(skep_pass *pass, const skep_tensor *inputs, void *const *outputs)
{
    const float *x = inputs[0].data;
    const int64_t *mask = inputs[1].data;
    struct network n;

    if (network_init(&n, pass, inputs[0].shape[1]) < 0)
        return SKEP_ENOMEM;
    for (size_t at = 0, rows; at < pass->rows; at += rows) {
        float *y = (float *)outputs[0] + at * n.h;

        rows = SKEP_MIN(n.chunk, pass->rows - at);
        up_to_relu(&n, x + at * n.h, mask + at * n.h, rows);
        pass->sgemm('N', 'T', rows, n.h, n.inner, 1, n.active, n.inner,
                    pass->parameters[OUT_WEIGHT], n.inner, 0, y, n.h);
        skep_add_bias(y, pass->parameters[OUT_BIAS], rows, n.h);
    }
    return 0;
}

static void backward_chunk(struct network *n, struct skep_gradients *gradients, float *inner_grad,
                           const float *grad, float *dx, size_t rows)
{
    skep_pass *pass = n->pass;

    skep_gradients_add_product(gradients, OUT_WEIGHT, grad, n->h, n->active, n->inner, rows);
    skep_gradients_add_columns(gradients, OUT_BIAS, grad, rows);
    pass->sgemm('N', 'N', rows, n->inner, n->h, 1, grad, n->h, pass->parameters[OUT_WEIGHT],
                n->inner, 0, inner_grad, n->inner);
    relu_backward(inner_grad, n->active, rows * n->inner);
    skep_gradients_add_product(gradients, IN_WEIGHT, inner_grad, n->inner, n->dropped, n->h, rows);
    skep_gradients_add_columns(gradients, IN_BIAS, inner_grad, rows);
    pass->sgemm('N', 'N', rows, n->h, n->inner, 1, inner_grad, n->inner,
                pass->parameters[IN_WEIGHT], n->h, 0, dx, n->h);
}

static int backward(skep_pass *pass, const skep_tensor *inputs, const skep_tensor *grad_outputs,
                    void *const *grad_inputs)
{
    const float *x = inputs[0].data, *grad = grad_outputs[0].data;
    const int64_t *mask = inputs[1].data;
    size_t h = inputs[0].shape[1], inner = WIDTH * h;
    size_t counts[PARAMETERS] = {inner * h, inner, h * inner, h};
    struct network n;
    struct skep_gradients gradients;
    float *inner_grad;

    if (network_init(&n, pass, h) < 0 ||
        skep_gradients_init(&gradients, pass, counts, PARAMETERS) < 0)
        return SKEP_ENOMEM;
    inner_grad = skep_pass_floats(pass, n.chunk * inner);
    if (!inner_grad)
        return SKEP_ENOMEM;
    for (size_t at = 0, rows; at < pass->rows; at += rows) {
        float *dx = (float *)grad_inputs[0] + at * h;

        rows = SKEP_MIN(n.chunk, pass->rows - at);
        up_to_relu(&n, x + at * h, mask + at * h, rows);
        backward_chunk(&n, &gradients, inner_grad, grad + at * h, dx, rows);
        drop(dx, dx, mask + at * h, rows * h);
    }
    return skep_gradients_hand_out(&gradients);
}

const skep_expert_class skep_class_det_dropout = {
    SKEP_CLASS_ABI, "det_dropout", open_det_dropout, NULL, forward, backward,
};
