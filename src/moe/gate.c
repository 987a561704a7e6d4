/* SPDX-License-Identifier: MIT */
/* See gate.h. Loops run over samples, then over a dimension's coordinates or a sample's experts. */
#include "moe/gate.h"

#include <math.h>
#include <string.h>

#include "base/prng.h"
#include "base/vector.h"
#include "moe/product.h"

/* ---- from inputs to scores ---- */

void skep_gate_average(float *out, const float *input, size_t batch, size_t middle, size_t features)
{
    memset(out, 0, batch * features * sizeof *out);
    for (size_t i = 0; i < batch; i++) {
        float *row = out + i * features;

        for (size_t m = 0; m < middle; m++)
            skep_product_add_scaled(row, 1, input + (i * middle + m) * features, features);
        for (size_t j = 0; j < features; j++)
            row[j] /= (float)middle;
    }
}

void skep_gate_average_backward(float *grad_input, const float *grad_average, size_t batch,
                                size_t middle, size_t features)
{
    for (size_t i = 0; i < batch; i++)
        for (size_t m = 0; m < middle; m++)
            skep_product_add_scaled(grad_input + (i * middle + m) * features, 1 / (float)middle,
                                    grad_average + i * features, features);
}

void skep_gate_jitter(float *x, size_t count, double eps, uint64_t seed)
{
    struct skep_prng prng;

    skep_prng_init(&prng, seed);
    for (size_t i = 0; i < count; i++)
        x[i] *= (float)(1 + eps * (2 * skep_prng_unit(&prng) - 1));
}

void skep_gate_forward(const struct skep_gate *gate, const float *x, size_t batch, float *scores)
{
    for (size_t i = 0; i < batch; i++)
        memcpy(scores + i * gate->outputs, gate->bias, gate->outputs * sizeof *scores);
    skep_product_add(scores, batch, gate->outputs, gate->in_features,
                     (struct skep_matrix){x, gate->in_features, 1},
                     (struct skep_matrix){gate->weight, 1, gate->in_features});
}

void skep_gate_backward(const struct skep_gate *gate, const float *x, size_t batch,
                        const float *grad_scores, float *grad_weight, float *grad_bias,
                        float *grad_x)
{
    size_t outputs = gate->outputs, features = gate->in_features;

    memset(grad_x, 0, batch * features * sizeof *grad_x);
    skep_product_add(grad_weight, outputs, features, batch,
                     (struct skep_matrix){grad_scores, 1, outputs},
                     (struct skep_matrix){x, features, 1});
    for (size_t i = 0; i < batch; i++)
        skep_product_add_scaled(grad_bias, 1, grad_scores + i * outputs, outputs);
    skep_product_add(grad_x, batch, features, outputs,
                     (struct skep_matrix){grad_scores, outputs, 1},
                     (struct skep_matrix){gate->weight, features, 1});
}

/* ---- switch ---- */

void skep_gate_draw_kept(bool *kept, size_t outputs, double keep, uint64_t seed)
{
    struct skep_prng prng;

    skep_prng_init(&prng, seed);
    for (size_t i = 0; i < outputs; i++)
        kept[i] = skep_prng_unit(&prng) < keep;
}

void skep_gate_drop(float *scores, const bool *kept, size_t batch, size_t outputs)
{
    for (size_t i = 0; i < batch; i++)
        for (size_t o = 0; o < outputs; o++)
            scores[i * outputs + o] = kept[o] ? scores[i * outputs + o] : -INFINITY;
}

static float largest(const float *at, size_t count)
{
    float most = -INFINITY;

    for (size_t i = 0; i < count; i++)
        most = at[i] > most ? at[i] : most;
    return most;
}

static void softmax(float *out, const float *scores, size_t count)
{
    float most = largest(scores, count), sum = 0;

    if (most == -INFINITY) {
        memset(out, 0, count * sizeof *out);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        out[i] = expf(scores[i] - most);
        sum += out[i];
    }
    for (size_t i = 0; i < count; i++)
        out[i] /= sum;
}

void skep_gate_probabilities(const struct skep_gate *gate, const float *scores, size_t batch,
                             float *probabilities)
{
    for (size_t i = 0; i < batch; i++) {
        for (size_t d = 0; d < gate->dims; d++) {
            softmax(probabilities, scores, gate->sizes[d]);
            probabilities += gate->sizes[d];
            scores += gate->sizes[d];
        }
    }
}

void skep_gate_probabilities_backward(const struct skep_gate *gate, const float *probabilities,
                                      const float *grad_probabilities, size_t batch,
                                      float *grad_scores)
{
    for (size_t i = 0; i < batch; i++) {
        for (size_t d = 0; d < gate->dims; d++) {
            size_t size = gate->sizes[d];
            float mean = skep_product_dot(probabilities, grad_probabilities, size);

            for (size_t j = 0; j < size; j++)
                grad_scores[j] = probabilities[j] * (grad_probabilities[j] - mean);
            probabilities += size;
            grad_probabilities += size;
            grad_scores += size;
        }
    }
}

void skep_gate_mean(const float *probabilities, size_t batch, size_t outputs, float *mean)
{
    memset(mean, 0, outputs * sizeof *mean);
    for (size_t i = 0; i < batch; i++)
        skep_product_add_scaled(mean, 1, probabilities + i * outputs, outputs);
    for (size_t o = 0; o < outputs; o++)
        mean[o] /= (float)batch;
}

/* ---- experts of samples ---- */

/* The coordinates of a cell, as places in a row of scores: dimension d begins where the sizes before it end. */
static float sum_of_scores(const struct skep_gate *gate, const uint32_t *coordinates,
                           const float *row)
{
    float sum = 0;

    for (size_t d = 0; d < gate->dims; d++) {
        sum += row[coordinates[d]];
        row += gate->sizes[d];
    }
    return sum;
}

void skep_gate_softmax(const struct skep_gate *gate, const struct skep_gate_cells *cells,
                       const float *scores, float *weights)
{
    for (size_t i = 0; i < cells->batch; i++) {
        float *row = weights + i * cells->columns;

        for (size_t j = 0; j < cells->columns; j++) {
            size_t cell = i * cells->columns + j;

            row[j] = cells->answered[cell]
                         ? sum_of_scores(gate, cells->coordinates + cell * gate->dims,
                                         scores + i * gate->outputs)
                         : -INFINITY;
        }
        softmax(row, row, cells->columns);
    }
}

void skep_gate_softmax_backward(const struct skep_gate *gate, const struct skep_gate_cells *cells,
                                const float *weights, const float *grad_weights, float *grad_scores)
{
    memset(grad_scores, 0, cells->batch * gate->outputs * sizeof *grad_scores);
    for (size_t i = 0; i < cells->batch; i++) {
        const float *w = weights + i * cells->columns, *g = grad_weights + i * cells->columns;
        float mean = skep_product_dot(w, g, cells->columns);

        for (size_t j = 0; j < cells->columns; j++) {
            const uint32_t *at = cells->coordinates + (i * cells->columns + j) * gate->dims;
            float *row = grad_scores + i * gate->outputs;

            if (!cells->answered[i * cells->columns + j])
                continue;
            for (size_t d = 0; d < gate->dims; d++) {
                row[at[d]] += w[j] * (g[j] - mean);
                row += gate->sizes[d];
            }
        }
    }
}

void skep_gate_product(const struct skep_gate *gate, const struct skep_gate_cells *cells,
                       const float *probabilities, float *weights)
{
    for (size_t cell = 0; cell < cells->batch * cells->columns; cell++) {
        const uint32_t *at = cells->coordinates + cell * gate->dims;
        const float *row = probabilities + cell / cells->columns * gate->outputs;

        weights[cell] = cells->answered[cell] ? 1 : 0;
        for (size_t d = 0; d < gate->dims && cells->answered[cell]; d++) {
            weights[cell] *= row[at[d]];
            row += gate->sizes[d];
        }
    }
}

/* The product of all factors but one, computed as such: a quotient would be wrong where a factor is 0. */
static float product_without(const struct skep_gate *gate, const uint32_t *at, const float *row,
                             size_t without)
{
    float product = 1;

    for (size_t d = 0; d < gate->dims; d++) {
        product *= d == without ? 1 : row[at[d]];
        row += gate->sizes[d];
    }
    return product;
}

void skep_gate_product_backward(const struct skep_gate *gate, const struct skep_gate_cells *cells,
                                const float *probabilities, const float *grad_weights,
                                float *grad_probabilities)
{
    for (size_t cell = 0; cell < cells->batch * cells->columns; cell++) {
        const uint32_t *at = cells->coordinates + cell * gate->dims;
        size_t start = cell / cells->columns * gate->outputs;
        float *grad = grad_probabilities + start;

        for (size_t d = 0; d < gate->dims && cells->answered[cell]; d++) {
            grad[at[d]] += grad_weights[cell] * product_without(gate, at, probabilities + start, d);
            grad += gate->sizes[d];
        }
    }
}

static void count_use(const struct skep_gate *gate, const struct skep_gate_cells *cells, float *use)
{
    memset(use, 0, gate->outputs * sizeof *use);
    for (size_t cell = 0; cell < cells->batch * cells->columns; cell++) {
        float *at = use;

        for (size_t d = 0; d < gate->dims && cells->answered[cell]; d++) {
            at[cells->coordinates[cell * gate->dims + d]] += 1;
            at += gate->sizes[d];
        }
    }
}

void skep_gate_utilize(const struct skep_gate *gate, const struct skep_gate_cells *cells,
                       double alpha, float *utilization, float *scratch)
{
    count_use(gate, cells, scratch);
    for (size_t d = 0; d < gate->dims; d++) {
        float sum = 0;

        for (size_t j = 0; j < gate->sizes[d]; j++)
            sum += scratch[j];
        sum = sum > 0 ? sum : 1; /* nothing answered: no share for anyone, as torch's normalize */
        for (size_t j = 0; j < gate->sizes[d]; j++)
            utilization[j] =
                (float)alpha * utilization[j] + (float)(1 - alpha) * (scratch[j] / sum);
        utilization += gate->sizes[d];
        scratch += gate->sizes[d];
    }
}

double skep_gate_balance(const struct skep_gate *gate, const float *mean, const float *utilization)
{
    double loss = 0;

    for (size_t d = 0; d < gate->dims; d++) {
        double size = gate->sizes[d], sum = 0;

        for (size_t j = 0; j < gate->sizes[d]; j++)
            sum += (double)mean[j] * (double)utilization[j];
        loss += sum / size * size * size;
        mean += gate->sizes[d];
        utilization += gate->sizes[d];
    }
    return loss;
}

void skep_gate_balance_backward(const struct skep_gate *gate, const float *utilization,
                                size_t batch, double grad_loss, float *grad_probabilities)
{
    for (size_t i = 0; i < batch; i++) {
        const float *use = utilization;

        for (size_t d = 0; d < gate->dims; d++) {
            float factor = (float)(grad_loss * gate->sizes[d] / (double)batch);

            skep_product_add_scaled(grad_probabilities, factor, use, gate->sizes[d]);
            grad_probabilities += gate->sizes[d];
            use += gate->sizes[d];
        }
    }
}
