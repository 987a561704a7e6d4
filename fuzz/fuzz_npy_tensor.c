/* SPDX-License-Identifier: MIT */
/* A file of tensors is refused with a reason, or each tensor is written to a .npy that reads as the same tensor, whose bytes are written the same again. */
#include <stdlib.h>

#include "cmd/npy_tensor.h"
#include "cmd/npy_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static char *write_tensor(const skep_tensor *tensor, size_t *len)
{
    struct skep_cmd_why why = {.text = ""};
    char *bytes = NULL;
    FILE *file = open_memstream(&bytes, len);

    if (!file || skep_npy_write(file, tensor, &why) < 0 || fclose(file) != 0)
        abort();
    return bytes;
}

static void check(const skep_tensor *tensor)
{
    size_t len, again_len;
    char *bytes = write_tensor(tensor, &len), *again;
    struct skep_cmd_why why = {.text = ""};
    struct skep_npy_tensors read;

    if (skep_npy_tensors_parse(&read, &skep_mem_std, skep_bytes_of(bytes, len), &why) < 0)
        abort();
    if (read.tensors[0].tensor.dtype != tensor->dtype ||
        read.tensors[0].tensor.axes != tensor->axes ||
        memcmp(read.tensors[0].tensor.shape, tensor->shape, tensor->axes * sizeof(size_t)) != 0)
        abort();
    again = write_tensor(&read.tensors[0].tensor, &again_len);
    if (again_len != len || memcmp(again, bytes, len) != 0)
        abort();
    skep_npy_tensors_fini(&read, &skep_mem_std);
    free(again);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct skep_cmd_why why = {.text = ""};
    struct skep_npy_tensors tensors;

    if (skep_npy_tensors_parse(&tensors, &skep_mem_std, skep_bytes_of(data, len), &why) < 0) {
        if (why.text[0] == '\0' || tensors.tensors)
            abort();
        return 0;
    }
    for (size_t i = 0; i < tensors.count; i++)
        check(&tensors.tensors[i].tensor);
    skep_npy_tensors_fini(&tensors, &skep_mem_std);
    return 0;
}
