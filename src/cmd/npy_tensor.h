/* SPDX-License-Identifier: MIT */
/* Tensors from numpy's files: a .npy is one, an .npz some. Every type that experts take and numpy has (all but bfloat16), up to SKEP_TENSOR_AXES_MAX axes,
 * either order of axes and of bytes. */
#ifndef SKEP_CMD_NPY_TENSOR_H
#define SKEP_CMD_NPY_TENSOR_H

#include "cmd/npy.h"
#include "cmd/npy_header.h"

struct skep_npy_tensor {
    char name[SKEP_NPZ_NAME_MAX]; /* in the archive, without ".npy", escaped; "" in a .npy */
    skep_tensor tensor;           /* in C order and this machine's byte order; its data is owned */
};

struct skep_npy_tensors {
    bool is_npz;
    struct skep_npy_tensor *tensors; /* [count], in the file's order */
    size_t count;
};

/** @return 0; SKEP_EVALUE with the reason; SKEP_ENOMEM. On an error `out` is empty. */
int skep_npy_tensors_parse(struct skep_npy_tensors *out, const struct skep_mem *mem,
                           skep_bytes file, struct skep_cmd_why *why);
void skep_npy_tensors_fini(struct skep_npy_tensors *tensors, const struct skep_mem *mem);

#endif
