/* SPDX-License-Identifier: MIT */
/* Tensors of the command: read from files that options name, written to files, shown as text and as JSON. */
#ifndef SKEP_CMD_TENSORS_H
#define SKEP_CMD_TENSORS_H

#include <skep/expert.h>

#include "cmd/cmd.h"
#include "cmd/npy_tensor.h"

/** The tensors of some files, in the order of the files. Zeroed before its first use. */
struct skep_cmd_tensors {
    skep_tensor items[SKEP_EXPERT_TENSORS_MAX];
    size_t count;
    struct skep_npy_tensors *files; /* [file_count], which own them */
    size_t file_count;
};

/** @param paths  NULL-terminated, or NULL; "-" is stdin. @return false, with the error printed. */
bool skep_cmd_tensors_read(struct skep_cmd_tensors *tensors, char *const *paths);
void skep_cmd_tensors_fini(struct skep_cmd_tensors *tensors);

/** One tensor into `path`; several into y.0.npy, y.1.npy … where `path` is y.npy. @return false, with the error printed. */
bool skep_cmd_tensors_write(const char *path, const skep_tensor *tensors, size_t count);

/** "float32 (2, 4)"; of a schema "float32 (batch, 4)". `out` holds SKEP_CMD_SHAPE_MAX. @return `out`. */
enum { SKEP_CMD_SHAPE_MAX = 256 };
char *skep_cmd_tensor_form(char *out, const skep_tensor *tensor);
char *skep_cmd_schema_form(char *out, const skep_tensor_schema *schema);

/** Its form and its first numbers, a few rows of a few. @param what  "output". */
void skep_cmd_tensor_print(const skep_tensor *tensor, const char *what, size_t index);

/** {"dtype", "shape", "data": [...]}: all numbers, in one row. @param with_data  false: without "data". NULL: out of memory. */
json_t *skep_cmd_tensor_json(const skep_tensor *tensor, bool with_data);
/** {"name", "dtype", "shape": [null, 4], "requires_grad", "compression"}. */
json_t *skep_cmd_schema_json(const skep_tensor_schema *schema);

#endif
