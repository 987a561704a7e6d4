/* SPDX-License-Identifier: MIT */
/* The class transformer: one post-norm encoder layer of 16 heads on sequences of 128. hivemind moe/server/layers/common.py TunedTransformer, torch nn.MultiheadAttention.
 *
 *   q, k, v = x Win + bin          a = dropout(softmax(q k^T / sqrt(d), mask)) v, head by head
 *   z = LayerNorm1(x + dropout(a Wo + bo))
 *   y = LayerNorm2(z + dropout(dropout(g(z W1 + b1)) W2 + b2))
 *
 * hivemind's servers leave dropout on in forward too, so this does. Differs from torch where a sequence is masked as a whole: there its attention is
 * NaN, which would spoil the step for everybody in the batch; here it is 0. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/activation.h"
#include "server/classes.h"
#include "server/dropout.h"
#include "server/gradients.h"
#include "server/layer_norm.h"
#include "server/numbers.h"
#include "server/softmax.h"

enum {
    IN_WEIGHT,
    IN_BIAS,
    OUT_WEIGHT,
    OUT_BIAS,
    WEIGHT1,
    BIAS1,
    WEIGHT2,
    BIAS2,
    NORM1_WEIGHT,
    NORM1_BIAS,
    NORM2_WEIGHT,
    NORM2_BIAS,
    PARAMETERS
};

enum { HEADS = 16, LENGTH = 128, WIDTH = 4 };

/* Where numbers are dropped, chunk by chunk. Heads of sequences are counted down from the other end. */
enum { AFTER_ATTENTION, AFTER_ACTIVATION, AFTER_LAYERS, PLACES };

/* The state is the probability itself, in the pointer's bits: there is nothing to free. */
static void *state_of(float dropout)
{
    uint32_t bits;

    memcpy(&bits, &dropout, sizeof bits);
    return (void *)(uintptr_t)bits;
}

static float dropout_of(const void *state)
{
    uint32_t bits = (uint32_t)(uintptr_t)state;
    float dropout;

    memcpy(&dropout, &bits, sizeof dropout);
    return dropout;
}

static int parse_options(const char *options, void **state, char *why, size_t why_len)
{
    static const char name[] = "dropout=";
    double dropout = 0.1;
    char *end;

    if (options && options[0]) {
        if (strncmp(options, name, sizeof name - 1) != 0 || !options[sizeof name - 1]) {
            snprintf(why, why_len, "its one option is dropout=P, not \"%.64s\"", options);
            return SKEP_EINVAL;
        }
        dropout = strtod(options + sizeof name - 1, &end);
        if (*end || !(dropout >= 0 && dropout < 1)) {
            snprintf(why, why_len, "a dropout of \"%.64s\" is not in [0, 1)",
                     options + sizeof name - 1);
            return SKEP_EINVAL;
        }
    }
    *state = state_of((float)dropout);
    return 0;
}

static void add_parameters(skep_class_schema *schema, size_t h)
{
    skep_parameter_schema *p;

    skep_class_add_linear(schema, "self_attn.in_proj_weight", "self_attn.in_proj_bias", h, 3 * h);
    skep_class_add_linear(schema, "self_attn.out_proj.weight", "self_attn.out_proj.bias", h, h);
    skep_class_add_linear(schema, "linear1.weight", "linear1.bias", h, WIDTH * h);
    skep_class_add_linear(schema, "linear2.weight", "linear2.bias", WIDTH * h, h);
    skep_class_add_layer_norm(schema, "norm1.weight", "norm1.bias", h);
    skep_class_add_layer_norm(schema, "norm2.weight", "norm2.bias", h);
    p = schema->parameters;
    p[IN_WEIGHT].init_value = sqrt(6.0 / (double)(4 * h)); /* xavier_uniform_ */
    p[IN_BIAS].init = p[OUT_BIAS].init = SKEP_INIT_CONSTANT;
    p[IN_BIAS].init_value = p[OUT_BIAS].init_value = 0;
}

static int open_transformer(size_t hidden, const char *options, skep_class_schema *schema,
                            void **state, char *why, size_t why_len)
{
    int rc;

    if ((rc = skep_class_check_hidden(hidden, HEADS, why, why_len)) < 0 ||
        (rc = parse_options(options, state, why, why_len)) < 0)
        return rc;
    schema->inputs[0] = schema->outputs[0] =
        (skep_tensor_schema){.dtype = SKEP_FLOAT32, .axes = 2, .shape = {LENGTH, hidden}};
    schema->inputs[1] = (skep_tensor_schema){.dtype = SKEP_BOOL, .axes = 1, .shape = {LENGTH}};
    schema->input_count = 2;
    schema->outputs[0].requires_grad = true;
    schema->output_count = 1;
    schema->gradients_are_final = true;
    add_parameters(schema, hidden);
    return 0;
}

/* What a pass works with. A chunk is some whole sequences, and its rows are their positions. */
struct layer {
    skep_pass *pass;
    double dropout;
    size_t h, length, inner;
    size_t chunk;    /* sequences of a chunk */
    float alpha;     /* 1 / sqrt(d) */
    float *qkv;      /* [rows][3h] */
    float *scores;   /* [length][length] of one head */
    float *context;  /* [rows][h]: what attention gives */
    float *attended; /* [rows][h]: context Wo + bo, dropped */
    float *middle;   /* [rows][h]: z */
    float *active;   /* [rows][inner] */
    struct skep_layer_norm norm1, norm2;
    /* of the chunk at hand */
    size_t first, rows; /* its first sequence, its rows */
    const float *x;
    const uint8_t *mask;
};

static struct skep_layer_norm norm_of(const skep_pass *pass, size_t h, size_t weight)
{
    return (struct skep_layer_norm){
        .columns = h,
        .eps = 1e-5f,
        .weight = pass->parameters[weight],
        .bias = pass->parameters[weight + 1],
    };
}

static int layer_init(struct layer *l, skep_pass *pass, const skep_tensor *inputs)
{
    size_t length = inputs[0].shape[1], h = inputs[0].shape[2], rows;

    *l = (struct layer){.pass = pass, .h = h, .length = length, .inner = WIDTH * h};
    l->dropout = (double)dropout_of(pass->state);
    l->alpha = 1 / sqrtf((float)(h / HEADS));
    l->norm1 = norm_of(pass, h, NORM1_WEIGHT);
    l->norm2 = norm_of(pass, h, NORM2_WEIGHT);
    l->chunk = skep_class_chunk_rows(pass->rows, length * l->inner);
    rows = l->chunk * length;
    l->qkv = skep_pass_floats(pass, rows * 3 * h);
    l->scores = skep_pass_floats(pass, length * length);
    l->context = skep_pass_floats(pass, rows * h);
    l->attended = skep_pass_floats(pass, rows * h);
    l->middle = skep_pass_floats(pass, rows * h);
    l->active = skep_pass_floats(pass, rows * l->inner);
    return l->qkv && l->scores && l->context && l->attended && l->middle && l->active ? 0
                                                                                      : SKEP_ENOMEM;
}

static void take_chunk(struct layer *l, const skep_tensor *inputs, size_t first)
{
    l->first = first;
    l->rows = SKEP_MIN(l->chunk, l->pass->rows - first) * l->length;
    l->x = (const float *)inputs[0].data + first * l->length * l->h;
    l->mask = (const uint8_t *)inputs[1].data + first * l->length;
}

/* to [rows][out] = x [rows][in] W^T */
static void linear(const struct layer *l, float *to, const float *x, size_t in, size_t weight,
                   size_t out)
{
    l->pass->sgemm('N', 'T', l->rows, out, in, 1, x, in, l->pass->parameters[weight], in, 0, to,
                   out);
}

/* to [rows][in] = beta to + grad [rows][out] W */
static void linear_backward(const struct layer *l, float beta, float *to, const float *grad,
                            size_t out, size_t weight, size_t in)
{
    l->pass->sgemm('N', 'N', l->rows, in, out, 1, grad, out, l->pass->parameters[weight], in, beta,
                   to, in);
}

static void drop(const struct layer *l, float *v, size_t count, uint64_t place)
{
    uint64_t key = skep_dropout_key(l->pass->seed, place + l->first * PLACES);

    skep_dropout(v, count, l->dropout, key);
}

static void drop_scores(const struct layer *l, float *scores, size_t sequence, size_t head)
{
    uint64_t place = ~(uint64_t)((l->first + sequence) * HEADS + head);

    skep_dropout(scores, l->length * l->length, l->dropout, skep_dropout_key(l->pass->seed, place));
}

/* q, k and v of a head, or their gradients, are columns of the same rows. */
struct head {
    size_t sequence, head;
    size_t at;        /* in qkv; k is h further, v 2h */
    size_t of_output; /* in context */
};

static struct head head_of(const struct layer *l, size_t sequence, size_t head)
{
    size_t row = sequence * l->length, column = head * (l->h / HEADS);

    return (struct head){sequence, head, row * 3 * l->h + column, row * l->h + column};
}

/* Before dropout. */
static void attention_weights(const struct layer *l, struct head head, float *scores)
{
    const float *q = l->qkv + head.at, *k = q + l->h;
    size_t s = l->length, ld = 3 * l->h;

    l->pass->sgemm('N', 'T', s, s, l->h / HEADS, l->alpha, q, ld, k, ld, 0, scores, s);
    skep_softmax(scores, l->mask + head.sequence * s, s, s);
}

static void attend(const struct layer *l)
{
    size_t s = l->length, sequences = l->rows / s;

    for (size_t i = 0; i < sequences; i++)
        for (size_t j = 0; j < HEADS; j++) {
            struct head head = head_of(l, i, j);

            attention_weights(l, head, l->scores);
            drop_scores(l, l->scores, i, j);
            l->pass->sgemm('N', 'N', s, l->h / HEADS, s, 1, l->scores, s,
                           l->qkv + head.at + 2 * l->h, 3 * l->h, 0, l->context + head.of_output,
                           l->h);
        }
}

/* Forward as far as z. `attended` is kept for the way back. */
static void up_to_middle(const struct layer *l)
{
    const float *const *p = l->pass->parameters;

    linear(l, l->qkv, l->x, l->h, IN_WEIGHT, 3 * l->h);
    skep_add_bias(l->qkv, p[IN_BIAS], l->rows, 3 * l->h);
    attend(l);
    linear(l, l->attended, l->context, l->h, OUT_WEIGHT, l->h);
    skep_add_bias(l->attended, p[OUT_BIAS], l->rows, l->h);
    drop(l, l->attended, l->rows * l->h, AFTER_ATTENTION);
    memcpy(l->middle, l->attended, l->rows * l->h * sizeof(float));
    skep_layer_norm_forward(&l->norm1, l->middle, l->x, l->rows);
}

/* From what the activation gave to what the second norm gets. */
static void second_linear(const struct layer *l, float *to)
{
    linear(l, to, l->active, l->inner, WEIGHT2, l->h);
    skep_add_bias(to, l->pass->parameters[BIAS2], l->rows, l->h);
    drop(l, to, l->rows * l->h, AFTER_LAYERS);
}

static int forward(skep_pass *pass, const skep_tensor *inputs, void *const *outputs)
{
    struct layer l;

    if (layer_init(&l, pass, inputs) < 0)
        return SKEP_ENOMEM;
    for (size_t at = 0; at < pass->rows; at += l.chunk) {
        float *y = (float *)outputs[0] + at * l.length * l.h;

        take_chunk(&l, inputs, at);
        up_to_middle(&l);
        linear(&l, l.active, l.middle, l.h, WEIGHT1, l.inner);
        skep_gelu(l.active, pass->parameters[BIAS1], l.rows, l.inner);
        drop(&l, l.active, l.rows * l.inner, AFTER_ACTIVATION);
        second_linear(&l, y);
        skep_layer_norm_forward(&l.norm2, y, l.middle, l.rows);
    }
    return 0;
}

/* What the way back needs besides. */
struct back {
    struct skep_gradients sums;
    float *slope;       /* [rows][inner]: g', then the gradient of what g got */
    float *active_grad; /* [rows][inner] */
    float *grad;        /* [rows][h]: of the sum that a norm gets, and so of its residual */
    float *dropped;     /* [rows][h]: the same behind the dropout */
    float *qkv_grad;    /* [rows][3h] */
    float *scores_grad; /* [length][length] */
    float *kept_scores; /* [length][length]: weights after dropout */
    float *norm_weight, *norm_bias; /* [h]: for gradients that nobody wants */
};

static int back_init(struct back *b, const struct layer *l)
{
    size_t h = l->h, inner = l->inner, rows = l->chunk * l->length;
    const size_t counts[PARAMETERS] = {
        [IN_WEIGHT] = 3 * h * h, [IN_BIAS] = 3 * h, [OUT_WEIGHT] = h * h,  [OUT_BIAS] = h,
        [WEIGHT1] = inner * h,   [BIAS1] = inner,   [WEIGHT2] = h * inner, [BIAS2] = h,
        [NORM1_WEIGHT] = h,      [NORM1_BIAS] = h,  [NORM2_WEIGHT] = h,    [NORM2_BIAS] = h,
    };

    b->slope = skep_pass_floats(l->pass, rows * inner);
    b->active_grad = skep_pass_floats(l->pass, rows * inner);
    b->grad = skep_pass_floats(l->pass, rows * h);
    b->dropped = skep_pass_floats(l->pass, rows * h);
    b->qkv_grad = skep_pass_floats(l->pass, rows * 3 * h);
    b->scores_grad = skep_pass_floats(l->pass, l->length * l->length);
    b->kept_scores = skep_pass_floats(l->pass, l->length * l->length);
    b->norm_weight = skep_pass_floats(l->pass, 2 * h);
    if (!b->slope || !b->active_grad || !b->grad || !b->dropped || !b->qkv_grad ||
        !b->scores_grad || !b->kept_scores || !b->norm_weight)
        return SKEP_ENOMEM;
    memset(b->norm_weight, 0, 2 * h * sizeof(float));
    b->norm_bias = b->norm_weight + h;
    return skep_gradients_init(&b->sums, l->pass, counts, PARAMETERS);
}

/* b->grad: in what the norm got, out the gradient of it. */
static void norm_backward(struct back *b, const struct layer *l, const struct skep_layer_norm *norm,
                          size_t parameter, const float *residual, const float *grad)
{
    float *weight = skep_gradients_vector(&b->sums, parameter);
    float *bias = skep_gradients_vector(&b->sums, parameter + 1);

    skep_layer_norm_backward(norm, b->grad, residual, grad, weight ? weight : b->norm_weight,
                             bias ? bias : b->norm_bias, l->rows);
}

static void drop_gradient(struct back *b, const struct layer *l, uint64_t place)
{
    memcpy(b->dropped, b->grad, l->rows * l->h * sizeof(float));
    drop(l, b->dropped, l->rows * l->h, place);
}

/* From dy to dz, which is left in b->grad. */
static void back_to_middle(struct back *b, const struct layer *l, const float *grad)
{
    size_t rows = l->rows, h = l->h, inner = l->inner;

    linear(l, l->active, l->middle, h, WEIGHT1, inner);
    skep_gelu_and_slope(l->active, b->slope, l->pass->parameters[BIAS1], rows, inner);
    drop(l, l->active, rows * inner, AFTER_ACTIVATION);
    drop(l, b->slope, rows * inner, AFTER_ACTIVATION);
    second_linear(l, b->grad);
    norm_backward(b, l, &l->norm2, NORM2_WEIGHT, l->middle, grad);

    drop_gradient(b, l, AFTER_LAYERS);
    skep_gradients_add_columns(&b->sums, BIAS2, b->dropped, rows);
    skep_gradients_add_product(&b->sums, WEIGHT2, b->dropped, h, l->active, inner, rows);
    linear_backward(l, 0, b->active_grad, b->dropped, h, WEIGHT2, inner);
    skep_multiply(b->slope, b->active_grad, rows * inner);
    skep_gradients_add_columns(&b->sums, BIAS1, b->slope, rows);
    skep_gradients_add_product(&b->sums, WEIGHT1, b->slope, inner, l->middle, h, rows);
    linear_backward(l, 1, b->grad, b->slope, inner, WEIGHT1, h);
}

/* With P the weights, D what is left of them behind the dropout, C their product with v:
 *   dv = D^T dC,  dP = drop(dC v^T),  dS = P * (dP - sum of dP * P),  dq = alpha dS k,  dk = alpha dS^T q. */
static void head_backward(struct back *b, const struct layer *l, struct head head,
                          const float *context_grad)
{
    const float *q = l->qkv + head.at, *k = q + l->h, *v = k + l->h;
    const float *grad = context_grad + head.of_output;
    float *dq = b->qkv_grad + head.at, *dk = dq + l->h, *dv = dk + l->h;
    size_t s = l->length, d = l->h / HEADS, ld = 3 * l->h;
    skep_pass *pass = l->pass;

    attention_weights(l, head, l->scores);
    memcpy(b->kept_scores, l->scores, s * s * sizeof(float));
    drop_scores(l, b->kept_scores, head.sequence, head.head);
    pass->sgemm('T', 'N', s, d, s, 1, b->kept_scores, s, grad, l->h, 0, dv, ld);
    pass->sgemm('N', 'T', s, s, d, 1, grad, l->h, v, ld, 0, b->scores_grad, s);
    drop_scores(l, b->scores_grad, head.sequence, head.head);
    skep_softmax_backward(b->scores_grad, l->scores, s, s);
    pass->sgemm('N', 'N', s, d, s, l->alpha, b->scores_grad, s, k, ld, 0, dq, ld);
    pass->sgemm('T', 'N', s, d, s, l->alpha, b->scores_grad, s, q, ld, 0, dk, ld);
}

/* From dz, which is in b->grad, to dx. */
static void back_to_input(struct back *b, const struct layer *l, float *dx)
{
    size_t rows = l->rows, h = l->h;

    /* The norm's gradient goes where its input is, so dz moves out of the way. */
    memcpy(l->middle, b->grad, rows * h * sizeof(float));
    memcpy(b->grad, l->attended, rows * h * sizeof(float));
    norm_backward(b, l, &l->norm1, NORM1_WEIGHT, l->x, l->middle);

    drop_gradient(b, l, AFTER_ATTENTION);
    skep_gradients_add_columns(&b->sums, OUT_BIAS, b->dropped, rows);
    skep_gradients_add_product(&b->sums, OUT_WEIGHT, b->dropped, h, l->context, h, rows);
    linear_backward(l, 0, l->attended, b->dropped, h, OUT_WEIGHT, h);
    for (size_t i = 0; i < rows / l->length; i++)
        for (size_t j = 0; j < HEADS; j++)
            head_backward(b, l, head_of(l, i, j), l->attended);

    skep_gradients_add_columns(&b->sums, IN_BIAS, b->qkv_grad, rows);
    skep_gradients_add_product(&b->sums, IN_WEIGHT, b->qkv_grad, 3 * h, l->x, h, rows);
    memcpy(dx, b->grad, rows * h * sizeof(float));
    linear_backward(l, 1, dx, b->qkv_grad, 3 * h, IN_WEIGHT, h);
}

static int backward(skep_pass *pass, const skep_tensor *inputs, const skep_tensor *grad_outputs,
                    void *const *grad_inputs)
{
    struct layer l;
    struct back b;

    if (layer_init(&l, pass, inputs) < 0 || back_init(&b, &l) < 0)
        return SKEP_ENOMEM;
    for (size_t at = 0; at < pass->rows; at += l.chunk) {
        size_t offset = at * l.length * l.h;

        take_chunk(&l, inputs, at);
        up_to_middle(&l);
        back_to_middle(&b, &l, (const float *)grad_outputs[0].data + offset);
        back_to_input(&b, &l, (float *)grad_inputs[0] + offset);
    }
    return skep_gradients_hand_out(&b.sums);
}

const skep_expert_class skep_class_transformer = {
    SKEP_CLASS_ABI, "transformer", open_transformer, NULL, forward, backward,
};
