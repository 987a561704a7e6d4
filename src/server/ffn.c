/* SPDX-License-Identifier: MIT */
/* The class ffn: y = LayerNorm(x + W2 g(W1 x + b1) + b2). hivemind moe/server/layers/common.py FeedforwardBlock.
 *
 * With s = x + W2 g(u) + b2, u = W1 x + b1 and ds the gradient that the layer norm passes on:
 *   dg = ds W2,  du = dg * g'(u),  dx = ds + du W1,
 *   dW1 = du^T x,  db1 = sum of du,  dW2 = ds^T g(u),  db2 = sum of ds.
 *
 * The batch goes through in chunks of rows. If one chunk is enough, the gradients of the weights are computed and handed out in tiles, each of which is applied
 * before it leaves the cache; otherwise they add up over the chunks first. */
#include <math.h>
#include <string.h>

#include "server/activation.h"
#include "server/classes.h"
#include "server/layer_norm.h"
#include "server/numbers.h"

enum { FFN_WEIGHT, FFN_BIAS, OUTPUT_WEIGHT, OUTPUT_BIAS, NORM_WEIGHT, NORM_BIAS };

enum { WIDTH = 4 /* of the inner layer, in hidden dimensions */ };

static int open_ffn(size_t hidden, const char *options, skep_class_schema *schema, void **state,
                    char *why, size_t why_len)
{
    int rc;

    (void)state;
    if ((rc = skep_class_check_hidden(hidden, 1, why, why_len)) < 0 ||
        (rc = skep_class_check_no_options(options, why, why_len)) < 0)
        return rc;
    schema->inputs[0] = schema->outputs[0] = skep_class_vector(hidden);
    schema->input_count = schema->output_count = 1;
    schema->outputs[0].requires_grad = true;
    skep_class_add_linear(schema, "ffn.weight", "ffn.bias", hidden, WIDTH * hidden);
    skep_class_add_linear(schema, "ffn_output.weight", "ffn_output.bias", WIDTH * hidden, hidden);
    skep_class_add_layer_norm(schema, "layer_norm.weight", "layer_norm.bias", hidden);
    schema->gradients_are_final = true;
    return 0;
}

static struct skep_layer_norm norm_of(const skep_pass *pass, size_t hidden)
{
    return (struct skep_layer_norm){
        .columns = hidden,
        .eps = 1e-12f,
        .weight = pass->parameters[NORM_WEIGHT],
        .bias = pass->parameters[NORM_BIAS],
        .product_bias = pass->parameters[OUTPUT_BIAS],
    };
}

static int forward(skep_pass *pass, const skep_tensor *inputs, void *const *outputs)
{
    size_t h = inputs[0].shape[1], inner = WIDTH * h;
    size_t chunk = skep_class_chunk_rows(pass->rows, inner);
    const struct skep_layer_norm norm = norm_of(pass, h);
    float *active = skep_pass_floats(pass, chunk * inner);

    if (!active)
        return SKEP_ENOMEM;
    for (size_t at = 0, rows; at < pass->rows; at += rows) {
        const float *x = (const float *)inputs[0].data + at * h;
        float *y = (float *)outputs[0] + at * h;

        rows = SKEP_MIN(chunk, pass->rows - at);
        pass->sgemm('N', 'T', rows, inner, h, 1, x, h, pass->parameters[FFN_WEIGHT], h, 0, active,
                    inner);
        skep_gelu(active, pass->parameters[FFN_BIAS], rows, inner);
        pass->sgemm('N', 'T', rows, h, inner, 1, active, inner, pass->parameters[OUTPUT_WEIGHT],
                    inner, 0, y, h);
        skep_layer_norm_forward(&norm, y, x, rows);
    }
    return 0;
}

/* What a backward works with. */
struct ffn {
    skep_pass *pass;
    size_t h, inner, chunk;
    float *active;     /* [chunk][inner]: g(u) */
    float *inner_grad; /* [chunk][inner]: g'(u), then du */
    float *sum_grad;   /* [chunk][h]: ds */
    float *tile;       /* [tile_len]: of dg, then of the weights' gradients */
    size_t tile_len;
    float *small; /* the gradients of what is not a weight matrix: */
    float *ffn_bias, *output_bias, *norm_weight, *norm_bias;
    float *sums[2]; /* whole gradients of the weights, where there are several chunks */
    float x_max, active_max, inner_grad_max, sum_grad_max;
};

enum { TILE_BYTES_MIN = 256 << 10 };

static int allocate(struct ffn *f)
{
    size_t rows = f->pass->rows, h = f->h, weights = h * f->inner;
    bool whole = f->chunk < rows;

    f->tile_len = SKEP_MAX(f->inner, (size_t)TILE_BYTES_MIN / sizeof(float));
    if (rows >= 32)
        f->tile_len = weights;
    f->tile_len = SKEP_MIN(f->tile_len, weights);
    f->active = skep_pass_floats(f->pass, f->chunk * f->inner);
    f->inner_grad = skep_pass_floats(f->pass, f->chunk * f->inner);
    f->sum_grad = skep_pass_floats(f->pass, f->chunk * h);
    f->small = skep_pass_floats(f->pass, f->inner + 3 * h);
    f->tile = skep_pass_floats(f->pass, f->tile_len);
    for (size_t i = 0; i < 2 && whole; i++)
        f->sums[i] = skep_pass_floats(f->pass, weights);
    if (!f->active || !f->inner_grad || !f->sum_grad || !f->small || !f->tile ||
        (whole && (!f->sums[0] || !f->sums[1])))
        return SKEP_ENOMEM;
    memset(f->small, 0, (f->inner + 3 * h) * sizeof(float));
    f->ffn_bias = f->small;
    f->output_bias = f->ffn_bias + f->inner;
    f->norm_weight = f->output_bias + h;
    f->norm_bias = f->norm_weight + h;
    return 0;
}

/* Forward again as far as the sum, then its gradient. */
static void through_norm(struct ffn *f, const float *x, const float *grad, size_t rows)
{
    skep_pass *pass = f->pass;
    const struct skep_layer_norm norm = norm_of(pass, f->h);

    pass->sgemm('N', 'T', rows, f->inner, f->h, 1, x, f->h, pass->parameters[FFN_WEIGHT], f->h, 0,
                f->active, f->inner);
    skep_gelu_and_slope(f->active, f->inner_grad, pass->parameters[FFN_BIAS], rows, f->inner);
    pass->sgemm('N', 'T', rows, f->h, f->inner, 1, f->active, f->inner,
                pass->parameters[OUTPUT_WEIGHT], f->inner, 0, f->sum_grad, f->h);
    skep_layer_norm_backward(&norm, f->sum_grad, x, grad, f->norm_weight, f->norm_bias, rows);
    skep_add_column_sums(f->output_bias, f->sum_grad, rows, f->h);
}

/* du and dx. dg is made in pieces, so that it need not be in memory as a whole. */
static void through_layers(struct ffn *f, float *dx, size_t rows)
{
    skep_pass *pass = f->pass;
    size_t most = SKEP_MAX((size_t)1, f->tile_len / f->inner);

    for (size_t at = 0, n; at < rows; at += n) {
        n = SKEP_MIN(most, rows - at);
        pass->sgemm('N', 'N', n, f->inner, f->h, 1, f->sum_grad + at * f->h, f->h,
                    pass->parameters[OUTPUT_WEIGHT], f->inner, 0, f->tile, f->inner);
        skep_multiply(f->inner_grad + at * f->inner, f->tile, n * f->inner);
    }
    skep_add_column_sums(f->ffn_bias, f->inner_grad, rows, f->inner);
    memcpy(dx, f->sum_grad, rows * f->h * sizeof(float));
    pass->sgemm('N', 'N', rows, f->h, f->inner, 1, f->inner_grad, f->inner,
                pass->parameters[FFN_WEIGHT], f->h, 1, dx, f->h);
}

static void note_maxima(struct ffn *f, const float *x, size_t rows)
{
    f->x_max = skep_max_abs(x, rows * f->h);
    f->active_max = skep_max_abs(f->active, rows * f->inner);
    f->inner_grad_max = skep_max_abs(f->inner_grad, rows * f->inner);
    f->sum_grad_max = skep_max_abs(f->sum_grad, rows * f->h);
}

static void add_weight_gradients(struct ffn *f, const float *x, size_t rows, bool first)
{
    float beta = first ? 0 : 1;

    f->pass->sgemm('T', 'N', f->inner, f->h, rows, 1, f->inner_grad, f->inner, x, f->h, beta,
                   f->sums[0], f->h);
    f->pass->sgemm('T', 'N', f->h, f->inner, rows, 1, f->sum_grad, f->h, f->active, f->inner, beta,
                   f->sums[1], f->inner);
}

static bool gradients_are_fine(const struct ffn *f)
{
    size_t rows = f->pass->rows, weights = f->h * f->inner;

    if (!(skep_max_abs(f->small, f->inner + 3 * f->h) < SKEP_GRADIENT_MAX))
        return false;
    if (f->sums[0])
        return skep_max_abs(f->sums[0], weights) < SKEP_GRADIENT_MAX &&
               skep_max_abs(f->sums[1], weights) < SKEP_GRADIENT_MAX;
    return skep_products_are_fine(rows, f->inner_grad_max, f->x_max) &&
           skep_products_are_fine(rows, f->sum_grad_max, f->active_max);
}

/* The gradient of a weight [m][n], left^T right, tile by tile. */
static void hand_out_product(struct ffn *f, size_t parameter, const float *left, size_t m,
                             const float *right, size_t n)
{
    size_t most = f->tile_len / n;

    for (size_t at = 0, rows; at < m; at += rows) {
        rows = SKEP_MIN(most, m - at);
        f->pass->sgemm('T', 'N', rows, n, f->pass->rows, 1, left + at, m, right, n, 0, f->tile, n);
        f->pass->gradient(f->pass, parameter, at * n, f->tile, rows * n);
    }
}

static void hand_out(struct ffn *f, const float *x)
{
    skep_pass *pass = f->pass;

    pass->gradient(pass, FFN_BIAS, 0, f->ffn_bias, f->inner);
    pass->gradient(pass, OUTPUT_BIAS, 0, f->output_bias, f->h);
    pass->gradient(pass, NORM_WEIGHT, 0, f->norm_weight, f->h);
    pass->gradient(pass, NORM_BIAS, 0, f->norm_bias, f->h);
    if (f->sums[0]) {
        pass->gradient(pass, FFN_WEIGHT, 0, f->sums[0], f->h * f->inner);
        pass->gradient(pass, OUTPUT_WEIGHT, 0, f->sums[1], f->h * f->inner);
        return;
    }
    hand_out_product(f, FFN_WEIGHT, f->inner_grad, f->inner, x, f->h);
    hand_out_product(f, OUTPUT_WEIGHT, f->sum_grad, f->h, f->active, f->inner);
}

static int backward(skep_pass *pass, const skep_tensor *inputs, const skep_tensor *grad_outputs,
                    void *const *grad_inputs)
{
    size_t h = inputs[0].shape[1];
    struct ffn f = {.pass = pass, .h = h, .inner = WIDTH * h};
    const float *x = inputs[0].data, *grad = grad_outputs[0].data;
    float *dx = grad_inputs[0];

    f.chunk = skep_class_chunk_rows(pass->rows, f.inner);
    if (allocate(&f) < 0)
        return SKEP_ENOMEM;
    for (size_t at = 0, rows; at < pass->rows; at += rows) {
        rows = SKEP_MIN(f.chunk, pass->rows - at);
        through_norm(&f, x + at * h, grad + at * h, rows);
        through_layers(&f, dx + at * h, rows);
        if (f.sums[0] && !pass->frozen)
            add_weight_gradients(&f, x + at * h, rows, at == 0);
    }
    if (pass->frozen)
        return 0;
    note_maxima(&f, x, SKEP_MIN(f.chunk, pass->rows));
    if (!gradients_are_fine(&f))
        return SKEP_EVALUE;
    hand_out(&f, x);
    return 0;
}

const skep_expert_class skep_class_ffn = {
    SKEP_CLASS_ABI, "ffn", open_ffn, NULL, forward, backward,
};
