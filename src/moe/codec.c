/* SPDX-License-Identifier: MIT */
/* What is common to all compressions: which types they take, how long their buffers are, and the way to each. hivemind compression/base.py,
 * serialization.py. Each one's layout (docs/wire.md e.5), little-endian, with e elements in r rows of the last axis:
 *
 *   NONE            e numbers; a bfloat16 as float32 (or, from some peers, as it is)
 *   FLOAT16         e halves
 *   MEANSTD_16BIT   e halves | r float32 means | r float32 deviations
 *   QUANTILE_8BIT, UNIFORM_8BIT
 *                   int64 n | n float32 codebook | e bytes
 *   BLOCKWISE_8BIT  int64 a | int64 n | a float32 scales | n float32 codebook | e bytes            a = e / 4096, rounded up */
#include "moe/codec.h"

#include "moe/codec_parts.h"

static const char too_short[] = "the buffer is too short for the shape";
static const char too_long[] = "the buffer is too long for the shape";

/* Types in which a compression can be received; for BLOCKWISE hivemind sets no bounds. */
static const char *type_refused(skep_compression compression, skep_dtype dtype)
{
    if (!skep_dtype_name(dtype))
        return "there is no such type of numbers";
    switch (compression) {
    case SKEP_COMPRESSION_NONE:
    case SKEP_COMPRESSION_BLOCKWISE_8BIT: return NULL;
    case SKEP_COMPRESSION_FLOAT16:
        return skep_dtype_is_floating(dtype) && dtype != SKEP_BFLOAT16
                   ? NULL
                   : "FLOAT16 takes float64, float32 and float16 only";
    case SKEP_COMPRESSION_MEANSTD_16BIT:
        return skep_dtype_is_floating(dtype) && dtype != SKEP_BFLOAT16
                   ? NULL
                   : "MEANSTD_16BIT takes float64, float32 and float16 only";
    case SKEP_COMPRESSION_QUANTILE_8BIT:
        return skep_dtype_is_floating(dtype) ? NULL
                                             : "QUANTILE_8BIT takes floating-point numbers only";
    case SKEP_COMPRESSION_UNIFORM_8BIT:
        return skep_dtype_is_floating(dtype) ? NULL
                                             : "UNIFORM_8BIT takes floating-point numbers only";
    }
    return "there is no such compression";
}

static const char *form_refused(skep_compression compression, const skep_tensor *tensor)
{
    const char *refused = type_refused(compression, tensor->dtype);

    if (refused)
        return refused;
    if (tensor->axes > SKEP_TENSOR_AXES_MAX)
        return "there are too many axes";
    if (compression == SKEP_COMPRESSION_MEANSTD_16BIT && tensor->axes == 0)
        return "MEANSTD_16BIT needs an axis";
    if (skep_tensor_bytes(tensor) == SIZE_MAX)
        return "the shape is too large";
    return NULL;
}

/* The wire has 32 bits for each axis. */
static bool axes_fit(const skep_tensor *tensor)
{
    for (size_t i = 0; i < tensor->axes; i++)
        if (tensor->shape[i] > UINT32_MAX)
            return false;
    return true;
}

int skep_codec_check(skep_compression compression, const skep_tensor *tensor, const char **why)
{
    bool empty;

    *why = form_refused(compression, tensor);
    if (*why)
        return SKEP_EINVAL;
    empty = skep_tensor_elements(tensor) == 0;
    if (empty && compression == SKEP_COMPRESSION_QUANTILE_8BIT)
        *why = "QUANTILE_8BIT takes no empty tensor";
    else if (empty && compression == SKEP_COMPRESSION_UNIFORM_8BIT)
        *why = "UNIFORM_8BIT takes no empty tensor";
    else if (!empty && !tensor->data)
        *why = "there are no numbers";
    else if (!axes_fit(tensor) || skep_codec_encoded_len(compression, tensor) == SIZE_MAX)
        *why = "the shape is too large";
    return *why ? SKEP_EINVAL : 0;
}

size_t skep_codec_rows(const skep_tensor *tensor)
{
    skep_tensor rows = *tensor;

    rows.axes--;
    return skep_tensor_elements(&rows);
}

static size_t block_count(size_t elements)
{
    return elements / CODEC_BLOCK_LEN + (elements % CODEC_BLOCK_LEN != 0);
}

/* a + b * count; SIZE_MAX where that does not fit. */
static size_t len_of(size_t a, size_t b, size_t count)
{
    size_t len;

    return count != SIZE_MAX && a != SIZE_MAX && skep_size_mul(b, count, &len) &&
                   skep_size_add(a, len, &len)
               ? len
               : SIZE_MAX;
}

/* With a codebook of n entries, where there is one. */
static size_t buffer_len(skep_compression compression, const skep_tensor *tensor, size_t n)
{
    size_t elements = skep_tensor_elements(tensor);

    switch (compression) {
    case SKEP_COMPRESSION_NONE:
        return len_of(0, tensor->dtype == SKEP_BFLOAT16 ? 4 : skep_dtype_size(tensor->dtype),
                      elements);
    case SKEP_COMPRESSION_FLOAT16: return len_of(0, 2, elements);
    case SKEP_COMPRESSION_MEANSTD_16BIT:
        return len_of(len_of(0, 2, elements), 8, skep_codec_rows(tensor));
    case SKEP_COMPRESSION_QUANTILE_8BIT:
    case SKEP_COMPRESSION_UNIFORM_8BIT: return len_of(len_of(8, 1, elements), 4, n);
    case SKEP_COMPRESSION_BLOCKWISE_8BIT:
        return len_of(len_of(len_of(16, 1, elements), 4, block_count(elements)), 4, n);
    }
    return SIZE_MAX;
}

size_t skep_codec_encoded_len(skep_compression compression, const skep_tensor *tensor)
{
    return buffer_len(compression, tensor, CODEBOOK_LEN);
}

/* A count on the wire, an int64. @return SIZE_MAX where it is negative or absurd. */
static size_t load_count(const uint8_t *in)
{
    uint64_t count = skep_load_u64(in, 0);

    return count < SIZE_MAX / 16 ? (size_t)count : SIZE_MAX;
}

/* Where the length depends on what the buffer itself says of its codebook. */
static int codebook_whole_len(skep_compression compression, const skep_tensor *tensor,
                              skep_bytes start, size_t *len, const char **why)
{
    bool blockwise = compression == SKEP_COMPRESSION_BLOCKWISE_8BIT;
    size_t at = blockwise ? 8 : 0, n;

    *len = buffer_len(compression, tensor, CODEBOOK_LEN);
    if (blockwise && start.len >= 8 &&
        load_count(start.data) != block_count(skep_tensor_elements(tensor))) {
        *why = "the number of scales does not agree with the shape";
        return SKEP_EPEER_PROTO;
    }
    if (start.len < at + 8)
        return 0;
    n = load_count(start.data + at);
    if (n == 0 || n == SIZE_MAX) {
        *why = "a codebook cannot have that many entries";
        return SKEP_EPEER_PROTO;
    }
    *len = buffer_len(compression, tensor, n);
    return 1;
}

static int whole_len(skep_compression compression, const skep_tensor *tensor, skep_bytes start,
                     size_t *len, const char **why)
{
    *why = form_refused(compression, tensor);
    if (*why)
        return SKEP_EPEER_PROTO;
    *len = buffer_len(compression, tensor, CODEBOOK_LEN);
    switch (compression) {
    case SKEP_COMPRESSION_NONE:
        return tensor->dtype != SKEP_BFLOAT16 || *len == 0 || start.len > *len / 2;
    case SKEP_COMPRESSION_FLOAT16:
    case SKEP_COMPRESSION_MEANSTD_16BIT: return 1;
    case SKEP_COMPRESSION_QUANTILE_8BIT:
    case SKEP_COMPRESSION_UNIFORM_8BIT:
    case SKEP_COMPRESSION_BLOCKWISE_8BIT: break;
    }
    return codebook_whole_len(compression, tensor, start, len, why);
}

int skep_codec_whole_len(skep_compression compression, const skep_tensor *tensor, skep_bytes start,
                         size_t *len, const char **why)
{
    int known = whole_len(compression, tensor, start, len, why);

    if (known >= 0 && *len == SIZE_MAX)
        *why = "the shape is too large";
    else if (known == 1 && start.len > *len)
        *why = too_long;
    return *why ? SKEP_EPEER_PROTO : known;
}

int skep_codec_check_len(skep_compression compression, const skep_tensor *tensor, size_t len,
                         const char **why)
{
    bool has_codebook = compression == SKEP_COMPRESSION_QUANTILE_8BIT ||
                        compression == SKEP_COMPRESSION_UNIFORM_8BIT ||
                        compression == SKEP_COMPRESSION_BLOCKWISE_8BIT;
    size_t least;

    *why = form_refused(compression, tensor);
    if (*why)
        return SKEP_EPEER_PROTO;
    least = buffer_len(compression, tensor, 1);
    if (least == SIZE_MAX)
        *why = "the shape is too large";
    else if (compression == SKEP_COMPRESSION_NONE && tensor->dtype == SKEP_BFLOAT16 &&
             len == least / 2)
        return 0;
    else if (len < least)
        *why = too_short;
    else if (has_codebook && (len - least) % 4 != 0)
        *why = "the buffer's length does not fit the shape";
    else if (!has_codebook && len > least)
        *why = too_long;
    return *why ? SKEP_EPEER_PROTO : 0;
}

/* ---- to the wire ---- */

const float *skep_codec_floats(const skep_tensor *tensor, float **scratch,
                               const struct skep_mem *mem)
{
    size_t n = skep_tensor_elements(tensor);

    *scratch = NULL;
    if (tensor->dtype == SKEP_FLOAT32 && (uintptr_t)tensor->data % _Alignof(float) == 0)
        return tensor->data;
    *scratch = skep_mem_alloc(mem, n * sizeof **scratch);
    if (*scratch)
        skep_numbers_to_float(*scratch, tensor->dtype, tensor->data, n);
    return *scratch;
}

SKEP_VECTOR static void widen(uint8_t *out, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        skep_store_float(out, i, skep_bfloat_to_float(skep_load_u16(in, i)));
}

static void none_encode(const skep_tensor *tensor, uint8_t *out)
{
    const uint8_t *in = tensor->data;
    size_t n = skep_tensor_elements(tensor);

    if (tensor->dtype == SKEP_BFLOAT16)
        widen(out, in, n);
    else
        skep_bytes_copy(out, skep_bytes_of(in, skep_tensor_bytes(tensor)));
}

int skep_codec_encode(skep_compression compression, const skep_tensor *tensor, uint8_t *out,
                      const struct skep_mem *mem)
{
    switch (compression) {
    case SKEP_COMPRESSION_NONE: none_encode(tensor, out); return 0;
    case SKEP_COMPRESSION_FLOAT16: skep_float16_encode(tensor, out); return 0;
    case SKEP_COMPRESSION_MEANSTD_16BIT: return skep_meanstd_encode(tensor, out, mem);
    case SKEP_COMPRESSION_QUANTILE_8BIT: return skep_quantile_encode(tensor, out, mem);
    case SKEP_COMPRESSION_UNIFORM_8BIT: return skep_uniform_encode(tensor, out, mem);
    case SKEP_COMPRESSION_BLOCKWISE_8BIT: return skep_blockwise_encode(tensor, out, mem);
    }
    SKEP_UNREACHABLE();
}

/* ---- from the wire ---- */

SKEP_VECTOR static void narrow(uint8_t *out, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        skep_store_u16(out, i, skep_bfloat_of_float(skep_load_float(in, i)));
}

static void none_decode(skep_bytes buffer, const skep_tensor *tensor, uint8_t *out)
{
    size_t n = skep_tensor_elements(tensor);

    if (tensor->dtype == SKEP_BFLOAT16 && buffer.len == 4 * n)
        narrow(out, buffer.data, n);
    else if (tensor->dtype == SKEP_BOOL)
        for (size_t i = 0; i < n; i++)
            out[i] = buffer.data[i] != 0;
    else
        skep_bytes_copy(out, buffer);
}

/* The lengths agree. @return the reason, or NULL. */
static const char *quantized_decode(skep_bytes buffer, const skep_tensor *tensor, uint8_t *out)
{
    size_t n = load_count(buffer.data), elements = skep_tensor_elements(tensor);
    const uint8_t *codebook = buffer.data + 8, *indices = codebook + 4 * n;

    if (!skep_codebook_covers(n, indices, elements))
        return "an index is outside the codebook";
    skep_codebook_apply(codebook, n, 1, indices, elements, tensor->dtype, out);
    return NULL;
}

static const char *blockwise_decode(skep_bytes buffer, const skep_tensor *tensor, uint8_t *out)
{
    size_t elements = skep_tensor_elements(tensor), blocks = block_count(elements);
    size_t n = load_count(buffer.data + 8), size = skep_dtype_size(tensor->dtype);
    const uint8_t *scales = buffer.data + 16, *codebook = scales + 4 * blocks;
    const uint8_t *indices = codebook + 4 * n;

    if (!skep_codebook_covers(n, indices, elements))
        return "an index is outside the codebook";
    for (size_t i = 0; i < blocks; i++) {
        size_t at = i * CODEC_BLOCK_LEN;

        skep_codebook_apply(codebook, n, skep_load_float(scales, i), indices + at,
                            SKEP_MIN(elements - at, (size_t)CODEC_BLOCK_LEN), tensor->dtype,
                            out + at * size);
    }
    return NULL;
}

int skep_codec_decode(skep_compression compression, skep_bytes buffer, const skep_tensor *tensor,
                      void *out, const char **why)
{
    size_t len;
    int rc = skep_codec_check_len(compression, tensor, buffer.len, why);

    if (rc < 0 || (rc = skep_codec_whole_len(compression, tensor, buffer, &len, why)) < 0)
        return rc;
    if (rc == 1 && buffer.len < len) {
        *why = too_short;
        return SKEP_EPEER_PROTO;
    }
    switch (compression) {
    case SKEP_COMPRESSION_NONE: none_decode(buffer, tensor, out); break;
    case SKEP_COMPRESSION_FLOAT16: skep_float16_decode(buffer.data, tensor, out); break;
    case SKEP_COMPRESSION_MEANSTD_16BIT: skep_meanstd_decode(buffer.data, tensor, out); break;
    case SKEP_COMPRESSION_QUANTILE_8BIT:
    case SKEP_COMPRESSION_UNIFORM_8BIT: *why = quantized_decode(buffer, tensor, out); break;
    case SKEP_COMPRESSION_BLOCKWISE_8BIT: *why = blockwise_decode(buffer, tensor, out); break;
    }
    return *why ? SKEP_EPEER_PROTO : 0;
}
