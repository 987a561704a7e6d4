/* SPDX-License-Identifier: MIT */
/* A tensor's buffer. Of any bytes under any shape: what is taken has the length that its beginning announced, and all that is refused has a reason. Of the
 * same bytes as numbers: what is sent comes back within the error of its compression.
 *
 * input: compression | dtype | axes | one byte each axis | buffer */
#include <math.h>
#include <stdlib.h>

#include "moe/codec.h"

#define REQUIRE(fact)                                                                              \
    do {                                                                                           \
        if (!(fact))                                                                               \
            abort();                                                                               \
    } while (0)

enum { ELEMENTS_MAX = 1 << 14 };

/* A copy with nothing behind it, so that the sanitizer sees what reads on. */
static uint8_t *copy_of(skep_bytes bytes)
{
    uint8_t *copy = malloc(bytes.len > 0 ? bytes.len : 1);

    REQUIRE(copy);
    skep_bytes_copy(copy, bytes);
    return copy;
}

static void decode_any(skep_compression compression, const skep_tensor *tensor, skep_bytes buffer)
{
    uint8_t *exact = copy_of(buffer), *out = malloc(skep_tensor_bytes(tensor) + 1);
    const char *why = NULL, *also = NULL;
    size_t len;
    int rc;

    REQUIRE(out);
    buffer.data = exact;
    rc = skep_codec_decode(compression, buffer, tensor, out, &why);
    REQUIRE(rc == 0 ? why == NULL : rc == SKEP_EPEER_PROTO && why != NULL);
    if (rc == 0) {
        int known = skep_codec_whole_len(compression, tensor, buffer, &len, &also);

        REQUIRE(skep_codec_check_len(compression, tensor, buffer.len, &also) == 0);
        REQUIRE(known == 1 ? len == buffer.len
                           : known == 0 && tensor->dtype == SKEP_BFLOAT16 && len == 2 * buffer.len);
    }
    free(out);
    free(exact);
}

/* The largest error of a number among its likes. */
static double error_of(skep_compression compression, double v, double largest, double mean,
                       double std)
{
    switch (compression) {
    case SKEP_COMPRESSION_NONE: return 0;
    case SKEP_COMPRESSION_FLOAT16:
        return fmax(fabs(v) * 0x1p-11, 0x1p-25) + fmax(fabs(v) - 65504, 0);
    case SKEP_COMPRESSION_MEANSTD_16BIT:
        return fabs(v - mean) * 0x1p-10 + fmax(std, 0x1p-23) * 0x1p-24 +
               (fabs(mean) + fabs(v)) * 0x1p-20 + 1e-30;
    case SKEP_COMPRESSION_BLOCKWISE_8BIT: return largest * 0.0108 + 1e-44;
    case SKEP_COMPRESSION_QUANTILE_8BIT:
    case SKEP_COMPRESSION_UNIFORM_8BIT: return 2.001 * largest + 1e-44; /* another of its bucket */
    }
    return 0;
}

/* One row of float32, moderate so that sums of squares are finite. */
static void send_and_receive(skep_compression compression, skep_bytes bytes)
{
    size_t n = bytes.len / 4;
    float *in = malloc(4 * n + 4), *out = malloc(4 * n + 4);
    const skep_tensor tensor = {.axes = 1, .shape = {n}, .data = in};
    double largest = 0, mean = 0, square = 0;
    const char *why;
    uint8_t *packed;
    size_t len;

    REQUIRE(in && out);
    skep_bytes_copy(in, skep_bytes_of(bytes.data, 4 * n));
    for (size_t i = 0; i < n; i++) {
        if (!(fabsf(in[i]) < 1e15f))
            in[i] = 1;
        largest = fmax(largest, (double)fabsf(in[i]));
        mean += (double)in[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++)
        square += ((double)in[i] - mean) * ((double)in[i] - mean) / (double)n;
    if (skep_codec_check(compression, &tensor, &why) == 0) {
        len = skep_codec_encoded_len(compression, &tensor);
        packed = malloc(len + 1);
        REQUIRE(packed);
        REQUIRE(skep_codec_encode(compression, &tensor, packed, &skep_mem_std) == 0);
        REQUIRE(skep_codec_decode(compression, skep_bytes_of(packed, len), &tensor, out, &why) ==
                0);
        for (size_t i = 0; i < n; i++)
            REQUIRE(fabs((double)out[i] - (double)in[i]) <=
                    error_of(compression, (double)in[i], largest, mean, sqrt(square)));
        free(packed);
    }
    free(in);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    skep_bytes in = {data, len}, head = skep_bytes_take(&in, 3), shape;
    skep_tensor tensor = {.axes = 0};
    skep_compression compression;

    if (head.len < 3)
        return 0;
    compression = (skep_compression)(head.data[0] % SKEP_COMPRESSIONS);
    tensor.dtype = (skep_dtype)(head.data[1] % SKEP_DTYPES);
    shape = skep_bytes_take(&in, head.data[2] % 4);
    tensor.axes = shape.len;
    for (size_t i = 0; i < shape.len; i++)
        tensor.shape[i] = shape.data[i];
    if (skep_tensor_elements(&tensor) > ELEMENTS_MAX)
        return 0;
    decode_any(compression, &tensor, in);
    send_and_receive(compression, in);
    return 0;
}
