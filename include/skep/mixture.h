/* SPDX-License-Identifier: MIT */
/* A layer of a mixture of remote experts: a gate, the search for the best experts of each sample, their calls, and the weighted sum of what they
 * answer; forward and backward. What hivemind's RemoteMixtureOfExperts and RemoteSwitchMixtureOfExperts give.
 *
 * All samples of a batch that go to one expert travel in one call. The caller owns the training of the gate: backward gives the gradients of its
 * weight and bias, and the two arrays may be changed between calls. */
#ifndef SKEP_MIXTURE_H
#define SKEP_MIXTURE_H

#include <skep/expert.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct skep_mixture skep_mixture;

enum skep_mixture_kind {
    SKEP_MIXTURE_SOFTMAX, /* RemoteMixtureOfExperts: softmax over the experts that answered */
    SKEP_MIXTURE_SWITCH /* RemoteSwitchMixtureOfExperts: product of the dimensions' probabilities, plus the input */
};

/** Set by skep_mixture_options_init() to the defaults of a kind. */
typedef struct skep_mixture_options {
    size_t struct_size;
    enum skep_mixture_kind kind;
    const char *prefix;      /* "ffn." */
    const size_t *grid_size; /* [dimensions] */
    size_t dimensions;
    size_t in_features; /* the last axis of the first input */
    size_t k_best;      /* 4; switch: 1 */
    size_t k_min;       /* 1; switch: 0 */
    size_t backward_k_min;
    uint64_t forward_timeout_us, backward_timeout_us, timeout_after_k_min_us; /* 0: none */
    bool
        detect_anomalies; /* refuse NaN and infinity in inputs and gradients; an expert that answers such has failed */
    /** false; switch: true. Zeros for a sample that nobody answered. Where it is off, a forward that nobody answers at all fails, and a single sample without
     *  an answer has NaN, as hivemind's. */
    bool allow_zero_outputs;
    /** An expert that fails is skipped with back-off in later searches, and the next best of the search takes its place within the same call
     *  while the timeout allows; of a forward_timeout_us those that are asked first have half. Default true; false: hivemind's choice and waiting. */
    bool failover;
    size_t
        failover_spares; /* how many more experts than k_best the search looks for; 0: as many as k_best */
    uint64_t
        seed; /* of the gate's first values, the jitter and the grid's dropout; 0: from the system's entropy */
    /* switch only */
    double utilization_alpha; /* 0.9 */
    double grid_dropout;      /* 1: each coordinate is kept with this probability */
    double jitter_eps;        /* 0.01 */
    /* the search, as in skep_find_options */
    size_t num_workers;
    bool negative_caching;
    double cache_expiration_s;
    uint64_t search_budget_us; /* 0: none */
} skep_mixture_options;

SKEP_API void skep_mixture_options_init_size(skep_mixture_options *options, size_t struct_size,
                                             enum skep_mixture_kind kind);

static inline void skep_mixture_options_init(skep_mixture_options *options,
                                             enum skep_mixture_kind kind)
{
    skep_mixture_options_init_size(options, sizeof *options, kind);
}

/** @return 0; SKEP_EINVAL, SKEP_EPREFIX, SKEP_ELIMIT, SKEP_ENOMEM. */
SKEP_API int skep_mixture_new(skep_mixture **out, skep_node *node,
                              const skep_mixture_options *options);
/** Operations of it that still run end with SKEP_ECANCELED; forwards that have ended can no longer be run backward. Before or after the node. NULL is
 *  fine. */
SKEP_API void skep_mixture_free(skep_mixture *mixture);

/** The gate is torch's nn.Linear(in_features, outputs): weight [outputs][in_features], bias [outputs], outputs the sum of the grid's sizes, one
 *  dimension after the other. Owned by the mixture; not to be changed while one of its operations runs. */
SKEP_API size_t skep_mixture_gate_outputs(const skep_mixture *mixture);
SKEP_API float *skep_mixture_gate_weight(skep_mixture *mixture);
SKEP_API float *skep_mixture_gate_bias(skep_mixture *mixture);
/** Switch: how much each coordinate was used lately, [outputs]. To be read while no forward runs. */
SKEP_API const float *skep_mixture_utilization(const skep_mixture *mixture);

/**
 * Forward: for each sample the weighted sum of its experts' outputs.
 * @param inputs  [count] batch first, in the order of the experts' inputs. The first is what the gate looks at: float32 [batch, …, in_features], averaged over
 *                the axes between. Their numbers are borrowed until the forward's operation is freed, and its
 *                backward has ended.
 * @return 0; SKEP_EINVAL, SKEP_ELIMIT, SKEP_ENOMEM. The operation: 0; SKEP_ENOTFOUND (no expert was found), SKEP_ETIMEDOUT (less than k_min answered),
 *         SKEP_EUNREACH (none answered, and allow_zero_outputs is off), SKEP_EVALUE (detect_anomalies).
 */
SKEP_API int skep_mixture_forward(skep_op **out, skep_mixture *mixture, const skep_tensor *inputs,
                                  size_t count, skep_op_cb *cb, void *user_data);
/** @return [*count] outputs, float32, owned by the operation; NULL unless it ended with 0. */
SKEP_API const skep_tensor *skep_mixture_forward_result(const skep_op *op, size_t *count);

/** How a forward, or a backward, went. */
typedef struct skep_mixture_report {
    size_t batch_size,
        experts_max; /* columns of the arrays below: the most experts that a sample has */
    const skep_expert *const
        *experts;         /* [batch_size][experts_max]; NULL: the sample has fewer. Best first */
    const bool *answered; /* [batch_size][experts_max] */
    const float *weights; /* [batch_size][experts_max]; 0 where there was no answer */
    size_t calls, failed,
        replaced; /* remote calls; those that failed or came too late; places of samples that went to another expert */
    double balancing_loss; /* switch */
    skep_find_cost search;
    uint64_t elapsed_us;
} skep_mixture_report;

/** @return owned by the operation (a forward's or a backward's); NULL while it runs. */
SKEP_API const skep_mixture_report *skep_mixture_get_report(const skep_op *op);

/**
 * Backward of one forward, once. Goes to the experts that answered the forward; each of their servers takes a step of its optimizer.
 * @param forward       An ended forward's operation: taken as a reference, and still the caller's to free.
 * @param grad_outputs  [grad_count] one an output, borrowed until the backward has ended.
 * @param grad_loss     switch: the gradient of the balancing loss (its factor in the caller's loss); else 0.
 * @return 0; SKEP_EINVAL (a second time, shapes), SKEP_ENOMEM. The operation: 0; SKEP_ETIMEDOUT (less than backward_k_min), SKEP_EVALUE.
 */
SKEP_API int skep_mixture_backward(skep_op **out, skep_op *forward, const skep_tensor *grad_outputs,
                                   size_t grad_count, double grad_loss, skep_op_cb *cb,
                                   void *user_data);

typedef struct skep_mixture_gradients {
    const skep_tensor *
        inputs; /* [input_count], in the order of the forward's inputs; zeros for those that are not floating point */
    size_t input_count;
    const float *gate_weight; /* [outputs][in_features] */
    const float *gate_bias;   /* [outputs] */
} skep_mixture_gradients;

/** @return owned by the backward's operation; NULL unless it ended with 0. */
SKEP_API const skep_mixture_gradients *skep_mixture_backward_result(const skep_op *op);

#ifdef __cplusplus
}
#endif
#endif
