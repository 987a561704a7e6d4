/* SPDX-License-Identifier: MIT */
#include "server/layer_norm.h"

#include <math.h>

#include "base/vector.h"

enum { LANES = 16 };

static inline float sum_of_lanes(const float *lanes)
{
    float sum = 0;

    for (size_t j = 0; j < LANES; j++)
        sum += lanes[j];
    return sum;
}

/* v += product_bias + residual. @return the mean. */
SKEP_VECTOR
static float add_and_mean(float *restrict v, const float *restrict product_bias,
                          const float *restrict residual, size_t n)
{
    float lanes[LANES] = {0}, sum;
    size_t i = 0;

    if (product_bias)
        for (size_t j = 0; j < n; j++)
            v[j] = residual[j] + (v[j] + product_bias[j]);
    else
        for (size_t j = 0; j < n; j++)
            v[j] = residual[j] + v[j];
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lanes[j] += v[i + j];
    sum = sum_of_lanes(lanes);
    for (; i < n; i++)
        sum += v[i];
    return sum / (float)n;
}

/* v -= mean. @return the variance. */
SKEP_VECTOR
static float center(float *restrict v, float mean, size_t n)
{
    float lanes[LANES] = {0}, sum;
    size_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) {
            float c = v[i + j] - mean;

            v[i + j] = c;
            lanes[j] += c * c;
        }
    sum = sum_of_lanes(lanes);
    for (; i < n; i++) {
        v[i] -= mean;
        sum += v[i] * v[i];
    }
    return sum / (float)n;
}

/* Leaves v centred. @return one over the standard deviation. */
static float centered_row(const struct skep_layer_norm *norm, float *v, const float *residual)
{
    float mean = add_and_mean(v, norm->product_bias, residual, norm->columns);
    float variance = center(v, mean, norm->columns);

    return 1.0f / sqrtf(variance + norm->eps);
}

SKEP_VECTOR
static void scale_row(float *restrict v, float factor, const float *restrict weight,
                      const float *restrict bias, size_t n)
{
    for (size_t j = 0; j < n; j++)
        v[j] = v[j] * factor * weight[j] + bias[j];
}

void skep_layer_norm_forward(const struct skep_layer_norm *norm, float *v, const float *residual,
                             size_t rows)
{
    size_t n = norm->columns;

    for (size_t i = 0; i < rows; i++) {
        float factor = centered_row(norm, v + i * n, residual + i * n);

        scale_row(v + i * n, factor, norm->weight, norm->bias, n);
    }
}

struct means {
    float grad;        /* of grad * weight */
    float grad_normed; /* of grad * weight * normed */
};

/* v becomes the normed row; the sums of the gradients of weight and bias go on. */
SKEP_VECTOR
static struct means backward_sums(float *restrict v, float factor, const float *restrict weight,
                                  const float *restrict grad, float *restrict grad_weight,
                                  float *restrict grad_bias, size_t n)
{
    float lanes[LANES] = {0}, lanes_normed[LANES] = {0};
    struct means out;
    size_t i = 0;

    for (size_t j = 0; j < n; j++) {
        v[j] *= factor;
        grad_weight[j] += grad[j] * v[j];
        grad_bias[j] += grad[j];
    }
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) {
            float g = grad[i + j] * weight[i + j];

            lanes[j] += g;
            lanes_normed[j] += g * v[i + j];
        }
    out = (struct means){sum_of_lanes(lanes), sum_of_lanes(lanes_normed)};
    for (; i < n; i++) {
        out.grad += grad[i] * weight[i];
        out.grad_normed += grad[i] * weight[i] * v[i];
    }
    return (struct means){out.grad / (float)n, out.grad_normed / (float)n};
}

SKEP_VECTOR
static void backward_row(float *restrict v, float factor, struct means means,
                         const float *restrict weight, const float *restrict grad, size_t n)
{
    for (size_t j = 0; j < n; j++)
        v[j] = factor * (grad[j] * weight[j] - means.grad - v[j] * means.grad_normed);
}

void skep_layer_norm_backward(const struct skep_layer_norm *norm, float *v, const float *residual,
                              const float *grad, float *grad_weight, float *grad_bias, size_t rows)
{
    size_t n = norm->columns;

    for (size_t i = 0; i < rows; i++) {
        float *row = v + i * n;
        const float *grad_row = grad + i * n;
        float factor = centered_row(norm, row, residual + i * n);
        struct means means =
            backward_sums(row, factor, norm->weight, grad_row, grad_weight, grad_bias, n);

        backward_row(row, factor, means, norm->weight, grad_row, n);
    }
}
