/* SPDX-License-Identifier: MIT */
/* Types of numbers, names of compressions, sizes of tensors. Names are torch's and hivemind's. */
#include <skep/tensor.h>

#include <string.h>

#include "base/error.h"

static const struct dtype {
    const char *name;
    size_t size;
    bool floating;
} dtypes[SKEP_DTYPES] = {
    [SKEP_FLOAT32] = {"float32", 4, true}, [SKEP_FLOAT64] = {"float64", 8, true},
    [SKEP_FLOAT16] = {"float16", 2, true}, [SKEP_BFLOAT16] = {"bfloat16", 2, true},
    [SKEP_INT64] = {"int64", 8, false},    [SKEP_INT32] = {"int32", 4, false},
    [SKEP_INT16] = {"int16", 2, false},    [SKEP_INT8] = {"int8", 1, false},
    [SKEP_UINT8] = {"uint8", 1, false},    [SKEP_BOOL] = {"bool", 1, false},
};

static const char *const compressions[SKEP_COMPRESSIONS] = {
    [SKEP_COMPRESSION_NONE] = "NONE",
    [SKEP_COMPRESSION_MEANSTD_16BIT] = "MEANSTD_16BIT",
    [SKEP_COMPRESSION_FLOAT16] = "FLOAT16",
    [SKEP_COMPRESSION_QUANTILE_8BIT] = "QUANTILE_8BIT",
    [SKEP_COMPRESSION_UNIFORM_8BIT] = "UNIFORM_8BIT",
    [SKEP_COMPRESSION_BLOCKWISE_8BIT] = "BLOCKWISE_8BIT",
};

/* What a caller made of a number may be none of the enum's. */
static const struct dtype *dtype_of(skep_dtype dtype)
{
    return (unsigned)dtype < SKEP_DTYPES ? &dtypes[dtype] : NULL;
}

size_t skep_dtype_size(skep_dtype dtype)
{
    const struct dtype *found = dtype_of(dtype);

    return found ? found->size : 0;
}

const char *skep_dtype_name(skep_dtype dtype)
{
    const struct dtype *found = dtype_of(dtype);

    return found ? found->name : NULL;
}

int skep_dtype_from_name(skep_dtype *out, const char *name)
{
    static const char prefix[] = "torch.";

    if (!name)
        return SKEP_EINVAL;
    if (strncmp(name, prefix, sizeof prefix - 1) == 0)
        name += sizeof prefix - 1;
    for (unsigned i = 0; i < SKEP_DTYPES; i++) {
        if (strcmp(name, dtypes[i].name) == 0) {
            *out = (skep_dtype)i;
            return 0;
        }
    }
    return SKEP_EINVAL;
}

bool skep_dtype_is_floating(skep_dtype dtype)
{
    const struct dtype *found = dtype_of(dtype);

    return found && found->floating;
}

const char *skep_compression_name(skep_compression compression)
{
    return (unsigned)compression < SKEP_COMPRESSIONS ? compressions[compression] : NULL;
}

int skep_compression_from_name(skep_compression *out, const char *name)
{
    for (unsigned i = 0; name && i < SKEP_COMPRESSIONS; i++) {
        if (strcmp(name, compressions[i]) == 0) {
            *out = (skep_compression)i;
            return 0;
        }
    }
    return SKEP_EINVAL;
}

size_t skep_tensor_elements(const skep_tensor *tensor)
{
    size_t elements = 1;
    bool fits = tensor->axes <= SKEP_TENSOR_AXES_MAX;

    for (size_t i = 0; fits && i < tensor->axes; i++)
        if (tensor->shape[i] == 0)
            return 0; /* whatever the others are */
    for (size_t i = 0; fits && i < tensor->axes; i++)
        fits = skep_size_mul(elements, tensor->shape[i], &elements);
    return fits ? elements : SIZE_MAX;
}

size_t skep_tensor_bytes(const skep_tensor *tensor)
{
    size_t elements = skep_tensor_elements(tensor), bytes;

    return elements != SIZE_MAX && skep_size_mul(elements, skep_dtype_size(tensor->dtype), &bytes)
               ? bytes
               : SIZE_MAX;
}
