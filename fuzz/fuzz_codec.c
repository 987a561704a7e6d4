/* SPDX-License-Identifier: MIT */
/* Buffers of compressed tensors from a hostile peer. Property: what decodes has the length that the codec itself says a whole buffer has, and no byte outside of the
 * input is read, none outside of the tensor written.
 *
 * input: compression 1 | type 1 | axes 1 | sizes, a byte each | buffer */
#include <stdlib.h>

#include "moe/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    skep_tensor tensor = {.axes = 0};
    skep_compression compression;
    const char *why;
    skep_bytes in = {data, len};
    size_t whole;
    void *out;
    int rc;

    if (len < 3)
        return 0;
    compression = (skep_compression)(data[0] % (SKEP_COMPRESSIONS + 1));
    tensor.dtype = (skep_dtype)(data[1] % (SKEP_DTYPES + 1));
    tensor.axes = data[2] % 4;
    skep_bytes_take(&in, 3);
    for (size_t i = 0; i < tensor.axes; i++) {
        skep_bytes size = skep_bytes_take(&in, 1);

        tensor.shape[i] = size.len > 0 ? *size.data : 0;
    }
    if (skep_tensor_bytes(&tensor) > 1 << 20)
        return 0;
    out = malloc(skep_tensor_bytes(&tensor) + 1);
    rc = skep_codec_decode(compression, in, &tensor, out, &why);
    if (rc != 0 && !why)
        abort();
    if (rc == 0 && (skep_codec_check_len(compression, &tensor, in.len, &why) != 0 ||
                    skep_codec_whole_len(compression, &tensor, in, &whole, &why) < 0))
        abort();
    free(out);
    return 0;
}
