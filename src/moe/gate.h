/* SPDX-License-Identifier: MIT */
/* The arithmetic of a mixture of experts, forward and backward, without any I/O. docs/wire.md h; hivemind moe/client/moe.py, switch_moe.py.
 *
 * A gate is torch's nn.Linear whose outputs are the scores of a grid's coordinates, one dimension after the other. From them come the weights of a sample's
 * experts: the softmax of their sums (mixture), or the products of each dimension's softmax (switch). Everything is float32, sums have one order.
 * Where hivemind's arithmetic has no answer (NaN), ours has one: see skep_gate_softmax() and skep_gate_probabilities(). */
#ifndef SKEP_MOE_GATE_H
#define SKEP_MOE_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct skep_gate {
    size_t dims;
    const uint32_t *sizes; /* [dims] */
    size_t outputs;        /* their sum */
    size_t in_features;
    const float *weight; /* [outputs][in_features] */
    const float *bias;   /* [outputs] */
};

/* ---- from inputs to scores ---- */

/** Mean over the axes between the first and the last: [batch][middle][features] → [batch][features]. */
void skep_gate_average(float *out, const float *input, size_t batch, size_t middle,
                       size_t features);
/** Adds to grad_input [batch][middle][features]. */
void skep_gate_average_backward(float *grad_input, const float *grad_average, size_t batch,
                                size_t middle, size_t features);

/** Switch: multiply by factors uniform in [1 - eps, 1 + eps), the same for the same seed. */
void skep_gate_jitter(float *x, size_t count, double eps, uint64_t seed);

/** scores [batch][outputs] = x [batch][in_features] · weightᵀ + bias. */
void skep_gate_forward(const struct skep_gate *gate, const float *x, size_t batch, float *scores);
/** Adds to grad_weight [outputs][in_features] and grad_bias [outputs], so that a batch may come in pieces; grad_x [batch][in_features] is overwritten. */
void skep_gate_backward(const struct skep_gate *gate, const float *x, size_t batch,
                        const float *grad_scores, float *grad_weight, float *grad_bias,
                        float *grad_x);

/* ---- switch: dropout of coordinates, probabilities, balance ---- */

/** One draw a coordinate: kept with probability `keep`. The same for the same seed. */
void skep_gate_draw_kept(bool *kept, size_t outputs, double keep, uint64_t seed);
/** The scores of those that are not kept become -infinity, for the whole batch. */
void skep_gate_drop(float *scores, const bool *kept, size_t batch, size_t outputs);

/** Softmax of each dimension. One of which everything was dropped has no probability at all: zeros (hivemind: NaN). */
void skep_gate_probabilities(const struct skep_gate *gate, const float *scores, size_t batch,
                             float *probabilities);
/** grad_scores is overwritten. */
void skep_gate_probabilities_backward(const struct skep_gate *gate, const float *probabilities,
                                      const float *grad_probabilities, size_t batch,
                                      float *grad_scores);
/** mean [outputs] over the batch. */
void skep_gate_mean(const float *probabilities, size_t batch, size_t outputs, float *mean);

/* ---- experts of samples ---- */

/** A table of experts, [batch][columns]; a sample may have fewer, which have not answered. */
struct skep_gate_cells {
    size_t batch, columns;
    const uint32_t *coordinates; /* [batch][columns][dims] */
    const bool *answered;        /* [batch][columns] */
};

/** weights [batch][columns]: softmax, over a sample's experts that answered, of the sums of their scores; 0 for the rest. A sample without an answer has
 *  zeros (hivemind: NaN). */
void skep_gate_softmax(const struct skep_gate *gate, const struct skep_gate_cells *cells,
                       const float *scores, float *weights);
/** grad_scores [batch][outputs] is overwritten. */
void skep_gate_softmax_backward(const struct skep_gate *gate, const struct skep_gate_cells *cells,
                                const float *weights, const float *grad_weights,
                                float *grad_scores);

/** Switch: weights are products of the dimensions' probabilities; 0 where there is no answer. */
void skep_gate_product(const struct skep_gate *gate, const struct skep_gate_cells *cells,
                       const float *probabilities, float *weights);
/** Adds to grad_probabilities [batch][outputs]. */
void skep_gate_product_backward(const struct skep_gate *gate, const struct skep_gate_cells *cells,
                                const float *probabilities, const float *grad_weights,
                                float *grad_probabilities);

/** utilization [outputs] = alpha · utilization + (1 - alpha) · share of the answered cells of each coordinate, in each dimension.
 *  @param scratch  [outputs]. */
void skep_gate_utilize(const struct skep_gate *gate, const struct skep_gate_cells *cells,
                       double alpha, float *utilization, float *scratch);

/** Σ over dimensions d of mean_j(mean_d[j] · utilization_d[j]) · size_d². Each dimension has its own slice of the utilization, which hivemind means and
 *  misses: it pairs dimension d with the one number utilization[d]. */
double skep_gate_balance(const struct skep_gate *gate, const float *mean, const float *utilization);
/** Adds grad_loss times its gradient to grad_probabilities [batch][outputs]. */
void skep_gate_balance_backward(const struct skep_gate *gate, const float *utilization,
                                size_t batch, double grad_loss, float *grad_probabilities);

#endif
