/* SPDX-License-Identifier: MIT */
/* Tensors as the vectors write them: a type's name, a shape, numbers in hex. */
#ifndef SKEP_TEST_TENSOR_VECTORS_H
#define SKEP_TEST_TENSOR_VECTORS_H

#include "support/test.h"

#include <skep/tensor.h>

/** { dtype, shape, input_raw }; the numbers live as long as the program. */
static inline skep_tensor test_tensor(const json_t *vector)
{
    const json_t *shape = test_get(vector, "shape");
    skep_tensor tensor = {.axes = json_array_size(shape),
                          .data = test_unhex(test_str(vector, "input_raw")).data};

    assert_int_equal(skep_dtype_from_name(&tensor.dtype, test_str(vector, "dtype")), 0);
    for (size_t i = 0; i < tensor.axes; i++)
        tensor.shape[i] = (size_t)json_integer_value(json_array_get(shape, i));
    tensor.requires_grad = json_is_true(json_object_get(vector, "requires_grad"));
    return tensor;
}

static inline skep_compression test_compression(const json_t *vector)
{
    skep_compression compression;

    assert_int_equal(skep_compression_from_name(&compression, test_str(vector, "compression")), 0);
    return compression;
}

#endif
