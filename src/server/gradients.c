/* SPDX-License-Identifier: MIT */
#include "server/gradients.h"

#include <string.h>

#include "server/classes.h"
#include "server/numbers.h"

int skep_gradients_init(struct skep_gradients *gradients, skep_pass *pass, const size_t *counts,
                        size_t count)
{
    memset(gradients, 0, sizeof *gradients);
    gradients->pass = pass;
    gradients->count = pass->frozen ? 0 : count;
    for (size_t i = 0; i < gradients->count; i++) {
        gradients->counts[i] = counts[i];
        gradients->of[i] = skep_pass_floats(pass, counts[i]);
        if (!gradients->of[i])
            return SKEP_ENOMEM;
    }
    return 0;
}

void skep_gradients_add_product(struct skep_gradients *gradients, size_t parameter,
                                const float *left, size_t m, const float *right, size_t n,
                                size_t rows)
{
    float beta = gradients->begun[parameter] ? 1 : 0;

    if (gradients->count == 0)
        return;
    gradients->pass->sgemm('T', 'N', m, n, rows, 1, left, m, right, n, beta,
                           gradients->of[parameter], n);
    gradients->begun[parameter] = true;
}

float *skep_gradients_vector(struct skep_gradients *gradients, size_t parameter)
{
    float *at = gradients->of[parameter];

    if (at && !gradients->begun[parameter])
        memset(at, 0, gradients->counts[parameter] * sizeof *at);
    gradients->begun[parameter] = true;
    return at;
}

void skep_gradients_add_columns(struct skep_gradients *gradients, size_t parameter, const float *v,
                                size_t rows)
{
    if (gradients->count > 0)
        skep_add_column_sums(skep_gradients_vector(gradients, parameter), v, rows,
                             gradients->counts[parameter]);
}

int skep_gradients_hand_out(const struct skep_gradients *gradients)
{
    for (size_t i = 0; i < gradients->count; i++)
        if (!(skep_max_abs(gradients->of[i], gradients->counts[i]) < SKEP_GRADIENT_MAX))
            return SKEP_EVALUE;
    for (size_t i = 0; i < gradients->count; i++)
        gradients->pass->gradient(gradients->pass, i, 0, gradients->of[i], gradients->counts[i]);
    return 0;
}
