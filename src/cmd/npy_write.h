/* SPDX-License-Identifier: MIT */
/* Tensors into numpy's .npy files, version 1.0. bfloat16, which numpy has not, is written as float32: each of its numbers is one. */
#ifndef SKEP_CMD_NPY_WRITE_H
#define SKEP_CMD_NPY_WRITE_H

#include <stdio.h>

#include "cmd/npy_header.h"

/** @return 0; SKEP_EIO, and the reason. */
int skep_npy_write(FILE *to, const skep_tensor *tensor, struct skep_cmd_why *why);

/** Into a file, which is made or replaced; "-" is stdout. @return 0; SKEP_EIO, and the reason: then what is in the file is not to be used. */
int skep_npy_save(const char *path, const skep_tensor *tensor, struct skep_cmd_why *why);

#endif
