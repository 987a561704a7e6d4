/* SPDX-License-Identifier: MIT */
/* What an expert says of itself: the msgpack of rpc_info. docs/wire.md e.2; hivemind utils/tensor_descr.py, moe/server/module_backend.py get_info.
 *
 *   { "forward_schema": ((descriptor…), {name: descriptor…}), "outputs_schema": descriptor or a nest of them, "keyword_names": (name…) } */
#ifndef SKEP_MOE_EXPERT_INFO_H
#define SKEP_MOE_EXPERT_INFO_H

#include <skep/tensor.h>

#include "base/bytes.h"
#include "base/limits.h"

/** Schemas, flattened: positional inputs in order, then keyword inputs sorted by name. */
struct skep_expert_schema {
    skep_tensor_schema inputs[SKEP_EXPERT_TENSORS_MAX];
    size_t input_count;
    skep_tensor_schema outputs[SKEP_EXPERT_TENSORS_MAX];
    size_t output_count;
    char *names; /* the text of the keyword names; freed by _fini */
};

void skep_expert_schema_fini(struct skep_expert_schema *schema, const struct skep_mem *mem);

/** As hivemind writes it. Outputs are one descriptor where there is one, else a tuple of them; they say compression 0, as hivemind's do, whatever
 *  their schema says of it: see docs/wire.md e.2. */
int skep_expert_info_write(struct skep_buf *out, const skep_tensor_schema *inputs,
                           size_t input_count, const skep_tensor_schema *outputs,
                           size_t output_count);

/** @return 0; SKEP_EPEER_FRAME (no msgpack), SKEP_EPEER_PROTO (another form), SKEP_EPEER_LIMIT (more tensors or axes than we take), SKEP_ENOMEM;
 *  `why` (may be NULL) says what. */
int skep_expert_info_read(struct skep_expert_schema *schema, const struct skep_mem *mem,
                          skep_bytes info, char *why, size_t why_len);

/** Do tensors fit schemas: number, type, shape, one batch size that is not 0? @param what  "input", "gradient": for `why`. @return 0 or SKEP_EINVAL. */
int skep_expert_schema_check(const skep_tensor_schema *schemas, size_t schema_count,
                             const skep_tensor *tensors, size_t count, const char *what, char *why,
                             size_t why_len);

#endif
