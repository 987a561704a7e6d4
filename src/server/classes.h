/* SPDX-License-Identifier: MIT */
/* skep's own classes of experts, and what they share. hivemind moe/server/layers. */
#ifndef SKEP_SERVER_CLASSES_H
#define SKEP_SERVER_CLASSES_H

#include <skep/expert_class.h>

#include "base/error.h"

extern const skep_expert_class skep_class_nop, skep_class_nop_delay, skep_class_ffn,
    skep_class_transformer, skep_class_det_dropout;

/** @return 0; SKEP_EINVAL with `why` for a dimension that is 0, above SKEP_HIDDEN_MAX or no multiple of `multiple`. */
int skep_class_check_hidden(size_t hidden, size_t multiple, char *why, size_t why_len);

/** For classes that have no options. @return 0; SKEP_EINVAL where some were given. */
int skep_class_check_no_options(const char *options, char *why, size_t why_len);

/** A positional float32 tensor of one axis. */
skep_tensor_schema skep_class_vector(size_t hidden);

/** Add torch.nn.Linear's weight [out][in] and bias [out], with its first values: uniform in 1/sqrt(in). */
void skep_class_add_linear(skep_class_schema *schema, const char *weight, const char *bias,
                           size_t in, size_t out);

/** Add torch.nn.LayerNorm's weight [hidden] and bias [hidden]: 1 and 0. */
void skep_class_add_layer_norm(skep_class_schema *schema, const char *weight, const char *bias,
                               size_t hidden);

/** `count` numbers of scratch memory. */
float *skep_pass_floats(skep_pass *pass, size_t count);

/* How many rows go through the layers together: what they leave between the layers takes up to this. */
#define SKEP_CLASS_CHUNK_BYTES ((size_t)32 << 20)

/** @param row_len  numbers of a row of the widest layer. @return at least 1. */
size_t skep_class_chunk_rows(size_t rows, size_t row_len);

#endif
