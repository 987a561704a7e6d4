/* SPDX-License-Identifier: MIT */
/* torch.nn.LayerNorm over the last axis, of what came out of a product: its bias and the residual are added on the way. */
#ifndef SKEP_SERVER_LAYER_NORM_H
#define SKEP_SERVER_LAYER_NORM_H

#include <stddef.h>

struct skep_layer_norm {
    size_t columns;
    float eps;
    const float *weight, *bias; /* [columns] */
    const float *product_bias;  /* [columns], added before; NULL: none */
};

/** v = norm(v + product_bias + residual). @param residual  [rows][columns]. */
void skep_layer_norm_forward(const struct skep_layer_norm *norm, float *v, const float *residual,
                             size_t rows);

/**
 * @param v            In: what forward gets. Out: the gradient of the sum, and so of product and residual.
 * @param grad         [rows][columns]: of the output.
 * @param grad_weight  [columns]: the sums over the rows are added.
 * @param grad_bias    [columns]: likewise.
 */
void skep_layer_norm_backward(const struct skep_layer_norm *norm, float *v, const float *residual,
                              const float *grad, float *grad_weight, float *grad_bias, size_t rows);

#endif
