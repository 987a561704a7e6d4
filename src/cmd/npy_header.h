/* SPDX-License-Identifier: MIT */
/* What the readers and the writer of .npy files share: the header, the types, and where items lie. Source: numpy.lib.format.
 *
 *   93 'NUMPY' | major 8 | minor 8 | header length 16 (1.0) or 32 (2.0, 3.0), little endian
 *   | header: the text of a Python dict {'descr': '<f4', 'fortran_order': False, 'shape': (3, 256), } | items */
#ifndef SKEP_CMD_NPY_HEADER_H
#define SKEP_CMD_NPY_HEADER_H

#include <skep/tensor.h>

#include "base/bytes.h"
#include "cmd/why.h"

enum { SKEP_NPY_DESCR_MAX = 64 };

struct skep_npy_header {
    char descr[SKEP_NPY_DESCR_MAX];
    bool fortran_order;
    size_t axes;
    size_t shape[SKEP_TENSOR_AXES_MAX];
};

/* A type as numpy and we name it. */
struct skep_npy_type {
    skep_dtype dtype;
    char kind; /* 'f', 'i', 'u', 'b' */
    size_t size;
    const char *name; /* "float32" */
};

/** Cut prefix and header off the front of *file. @param axes_max  at most SKEP_TENSOR_AXES_MAX. @param types  what would be taken: "float32 or float64".
 *  @return 0; SKEP_EVALUE with the reason. */
int skep_npy_header_take(struct skep_npy_header *out, skep_bytes *file, size_t axes_max,
                         const char *types, struct skep_cmd_why *why);

/** The type of 'descr'; *swap: its items are not in this machine's byte order. @return NULL: none that experts take. */
const struct skep_npy_type *skep_npy_type_of(const char *descr, bool *swap);

/** How numpy writes a type; of bfloat16, which numpy has not: float32. */
const struct skep_npy_type *skep_npy_type_for(skep_dtype dtype);

/** Has the file as many bytes as its shape says? @return 0 and *count, of items; SKEP_EVALUE with the reason. */
int skep_npy_items_check(size_t *count, const struct skep_npy_header *header,
                         const struct skep_npy_type *type, size_t have, struct skep_cmd_why *why);

/** Items in C order and in this machine's byte order. */
void skep_npy_items_copy(void *to, const uint8_t *from, const struct skep_npy_header *header,
                         size_t count, size_t item_size, bool swap);

#endif
