/* SPDX-License-Identifier: MIT */
/* Remote experts: ask what one takes, run it forward, run it backward. What hivemind's RemoteExpert gives.
 *
 * An expert is its uid and the peer that serves it, as skep_moe_get_experts() and skep_moe_find() give them. What it says of itself is asked for once
 * and kept by the node. Small tensors travel in one message, large ones in a stream, as hivemind sends them (docs/wire.md e.4). */
#ifndef SKEP_EXPERT_H
#define SKEP_EXPERT_H

#include <skep/moe.h>
#include <skep/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct skep_expert_info {
    const skep_tensor_schema
        *inputs; /* [input_count]: positional ones first, then keyword ones by name */
    size_t input_count;
    const skep_tensor_schema *outputs; /* [output_count], flattened */
    size_t output_count;
} skep_expert_info;

/** @param timeout_us  0: none. @return 0; SKEP_EUID, SKEP_EPEERID, SKEP_ELIMIT, SKEP_ENOMEM. The operation: 0; SKEP_EPEER_REMOTE (skep_op_text()
 *  has the expert's words), SKEP_ETIMEDOUT, SKEP_EUNREACH, SKEP_EPEER_PROTO (it makes no sense) … */
SKEP_API int skep_expert_get_info(skep_op **out, skep_node *node, const skep_expert *expert,
                                  uint64_t timeout_us, skep_op_cb *cb, void *user_data);
/** @return owned by the operation; NULL unless it ended with 0. */
SKEP_API const skep_expert_info *skep_expert_get_info_result(const skep_op *op);

typedef struct skep_expert_options {
    size_t struct_size;  /* sizeof this struct; 0 with all else zero: the defaults */
    uint64_t timeout_us; /* 0: none, as hivemind */
    /** false: each tensor is compressed as the expert's info says (and checked against it); true: as below, and nothing is asked before. */
    bool without_info;
    skep_compression compression;
    bool copy; /* false: the tensors' numbers are borrowed until the operation has ended */
} skep_expert_options;

/**
 * Run an expert.
 * @param inputs  [count] the first axis of each is the batch; positional inputs, then keyword inputs by name.
 * @return 0; SKEP_EINVAL (a tensor that is none), SKEP_ESIZE (above 256 MiB), SKEP_EUID, SKEP_EPEERID, SKEP_ENOMEM. The operation: as skep_expert_get_info();
 *         also SKEP_EINVAL (it does not fit the expert's info; the text names what).
 */
SKEP_API int skep_expert_forward(skep_op **out, skep_node *node, const skep_expert *expert,
                                 const skep_tensor *inputs, size_t count,
                                 const skep_expert_options *options, skep_op_cb *cb,
                                 void *user_data);
/** Gradients of the inputs; the server also takes a step of its optimizer. @param grad_outputs  [grad_count], one an output. */
SKEP_API int skep_expert_backward(skep_op **out, skep_node *node, const skep_expert *expert,
                                  const skep_tensor *inputs, size_t count,
                                  const skep_tensor *grad_outputs, size_t grad_count,
                                  const skep_expert_options *options, skep_op_cb *cb,
                                  void *user_data);
/** Outputs, or gradients of the inputs. @return [*count], owned by the operation; NULL unless it ended with 0. */
SKEP_API const skep_tensor *skep_expert_result(const skep_op *op, size_t *count);

#ifdef __cplusplus
}
#endif
#endif
