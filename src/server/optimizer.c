/* SPDX-License-Identifier: MIT */
/* torch/optim/adam.py _single_tensor_adam, torch/optim/sgd.py _single_tensor_sgd, with the options that hivemind uses: betas 0.9 and 0.999, eps 1e-8,
 * no weight decay, no momentum. Operations are in torch's order, each rounded to float32 as there. */
#include "server/optimizer.h"

#include <math.h>

#include "base/vector.h"

static const double beta1 = 0.9, beta2 = 0.999;
static const float eps = 1e-8f;

/* By squaring, so that no libm decides the last bit. */
static double power(double base, uint64_t exponent)
{
    double out = 1;

    for (; exponent > 0; exponent >>= 1, base *= base)
        if (exponent & 1)
            out *= base;
    return out;
}

void skep_step_init(struct skep_step *out, const struct skep_training *training, uint64_t step)
{
    double rate = skep_training_rate(training, step);

    *out = (struct skep_step){.optimizer = training->optimizer, .scale = 1};
    if (training->optimizer == SKEP_OPTIMIZER_ADAM) {
        out->step_size = (float)(rate / (1 - power(beta1, step + 1)));
        out->bias_correction2_sqrt = (float)sqrt(1 - power(beta2, step + 1));
    } else {
        out->step_size = (float)rate;
    }
}

void skep_step_clip(struct skep_step *step, double norm, double max_norm)
{
    double coefficient = max_norm / (norm + 1e-6);

    step->scale = coefficient < 1 ? (float)coefficient : 1;
}

SKEP_VECTOR
static void adam(const struct skep_step *step, float *restrict parameter, float *restrict exp_avg,
                 float *restrict exp_avg_sq, const float *restrict gradient, size_t count)
{
    const float b1 = (float)beta1, b2 = (float)beta2, a1 = (float)(1 - beta1),
                a2 = (float)(1 - beta2);
    const float scale = step->scale, down = -step->step_size,
                correction = step->bias_correction2_sqrt;

    for (size_t i = 0; i < count; i++) {
        float g = gradient[i] * scale;
        float m = exp_avg[i] * b1 + a1 * g;
        float v = exp_avg_sq[i] * b2 + a2 * g * g;

        exp_avg[i] = m;
        exp_avg_sq[i] = v;
        parameter[i] += down * m / (sqrtf(v) / correction + eps);
    }
}

SKEP_VECTOR
static void sgd(const struct skep_step *step, float *restrict parameter,
                const float *restrict gradient, size_t count)
{
    const float scale = step->scale, down = -step->step_size;

    for (size_t i = 0; i < count; i++)
        parameter[i] += down * (gradient[i] * scale);
}

static void apply(const struct skep_step *step, float *parameter, float *exp_avg, float *exp_avg_sq,
                  const float *gradient, size_t count)
{
    switch (step->optimizer) {
    case SKEP_OPTIMIZER_ADAM: adam(step, parameter, exp_avg, exp_avg_sq, gradient, count); return;
    case SKEP_OPTIMIZER_SGD: sgd(step, parameter, gradient, count); return;
    case SKEP_OPTIMIZER_NONE: return;
    }
    SKEP_UNREACHABLE();
}

void skep_step_apply(const struct skep_step *step, float *parameter, float *exp_avg,
                     float *exp_avg_sq, const float *gradient, size_t count)
{
    static const float zeros[1024];

    if (gradient) {
        apply(step, parameter, exp_avg, exp_avg_sq, gradient, count);
        return;
    }
    for (size_t at = 0, n; at < count; at += n) {
        n = SKEP_MIN(count - at, SKEP_COUNT_OF(zeros));
        apply(step, parameter + at, exp_avg ? exp_avg + at : NULL,
              exp_avg_sq ? exp_avg_sq + at : NULL, zeros, n);
    }
}
