/* SPDX-License-Identifier: MIT */
/* Tensors as experts take and give them: numbers in memory, row-major, in this machine's byte order.
 *
 * The first axis is the batch. What a tensor points to belongs to whoever made it; results belong to their operation. */
#ifndef SKEP_TENSOR_H
#define SKEP_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <skep/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** hivemind's (torch's) types of numbers. float16 is IEEE's half, bfloat16 the upper half of a float32; a bool is a byte, 0 or 1. */
typedef enum skep_dtype {
    SKEP_FLOAT32,
    SKEP_FLOAT64,
    SKEP_FLOAT16,
    SKEP_BFLOAT16,
    SKEP_INT64,
    SKEP_INT32,
    SKEP_INT16,
    SKEP_INT8,
    SKEP_UINT8,
    SKEP_BOOL
} skep_dtype;

/** How numbers travel. The numbers of the enum are hivemind's CompressionType. */
typedef enum skep_compression {
    SKEP_COMPRESSION_NONE = 0,
    SKEP_COMPRESSION_MEANSTD_16BIT = 1,
    SKEP_COMPRESSION_FLOAT16 = 2,
    SKEP_COMPRESSION_QUANTILE_8BIT = 3,
    SKEP_COMPRESSION_UNIFORM_8BIT = 4,
    SKEP_COMPRESSION_BLOCKWISE_8BIT = 5
} skep_compression;

enum { SKEP_DTYPES = 10, SKEP_COMPRESSIONS = 6, SKEP_TENSOR_AXES_MAX = 8 };

typedef struct skep_tensor {
    skep_dtype dtype;
    bool requires_grad; /* carried along; skep itself does not look at it */
    size_t axes;        /* 0: one number */
    size_t shape[SKEP_TENSOR_AXES_MAX];
    const void *data; /* may be NULL when there is no element */
} skep_tensor;

/** What an expert says of one of its inputs or outputs. */
typedef struct skep_tensor_schema {
    skep_dtype dtype;
    bool requires_grad;
    size_t axes; /* the batch axis not counted */
    size_t shape[SKEP_TENSOR_AXES_MAX - 1];
    skep_compression compression; /* how it is to be sent */
    const char *name;             /* of a keyword input; NULL: it goes by its place */
} skep_tensor_schema;

/** @return bytes of one number; 0 for what is no type. */
SKEP_API size_t skep_dtype_size(skep_dtype dtype);
/** @return "float32", "bfloat16", "bool" …; NULL for what is no type. */
SKEP_API const char *skep_dtype_name(skep_dtype dtype);
/** @return 0 and *out; SKEP_EINVAL. With or without "torch." before it. */
SKEP_API int skep_dtype_from_name(skep_dtype *out, const char *name);
SKEP_API bool skep_dtype_is_floating(skep_dtype dtype);
/** @return "NONE", "MEANSTD_16BIT" …; NULL for what is none. */
SKEP_API const char *skep_compression_name(skep_compression compression);
SKEP_API int skep_compression_from_name(skep_compression *out, const char *name);
/** @return how many numbers it has; SIZE_MAX where that does not fit (or axes are above SKEP_TENSOR_AXES_MAX). */
SKEP_API size_t skep_tensor_elements(const skep_tensor *tensor);
/** @return bytes of its numbers in memory; SIZE_MAX where that does not fit. */
SKEP_API size_t skep_tensor_bytes(const skep_tensor *tensor);

#ifdef __cplusplus
}
#endif
#endif
