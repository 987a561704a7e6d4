/* SPDX-License-Identifier: MIT */
/* Numbers from one type to another, and whether all are finite: straight loops. The interface is in moe/codec.h. */
#include "moe/numbers.h"

#include "moe/codec.h"

SKEP_VECTOR static void floats_of_halves(float *out, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = skep_half_to_float(skep_load_u16(in, i));
}

SKEP_VECTOR static void floats_of_bfloats(float *out, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = skep_bfloat_to_float(skep_load_u16(in, i));
}

SKEP_VECTOR static void floats_of_doubles(float *out, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)skep_load_double(in, i);
}

#define FLOATS_OF(name, type)                                                                      \
    static void name(float *out, const uint8_t *in, size_t n)                                      \
    {                                                                                              \
        for (size_t i = 0; i < n; i++) {                                                           \
            type v;                                                                                \
                                                                                                   \
            memcpy(&v, in + i * sizeof v, sizeof v);                                               \
            out[i] = (float)v;                                                                     \
        }                                                                                          \
    }
FLOATS_OF(floats_of_int64, int64_t)
FLOATS_OF(floats_of_int32, int32_t)
FLOATS_OF(floats_of_int16, int16_t)
FLOATS_OF(floats_of_int8, int8_t)
FLOATS_OF(floats_of_uint8, uint8_t)

static void floats_of_bools(float *out, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] != 0 ? 1.0f : 0.0f;
}

void skep_numbers_to_float(float *out, skep_dtype from, const void *in, size_t n)
{
    switch (from) {
    case SKEP_FLOAT32: skep_bytes_copy(out, skep_bytes_of(in, n * sizeof *out)); break;
    case SKEP_FLOAT64: floats_of_doubles(out, in, n); break;
    case SKEP_FLOAT16: floats_of_halves(out, in, n); break;
    case SKEP_BFLOAT16: floats_of_bfloats(out, in, n); break;
    case SKEP_INT64: floats_of_int64(out, in, n); break;
    case SKEP_INT32: floats_of_int32(out, in, n); break;
    case SKEP_INT16: floats_of_int16(out, in, n); break;
    case SKEP_INT8: floats_of_int8(out, in, n); break;
    case SKEP_UINT8: floats_of_uint8(out, in, n); break;
    case SKEP_BOOL: floats_of_bools(out, in, n); break;
    }
}

SKEP_VECTOR static void halves_of_floats(uint8_t *out, const float *in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        skep_store_u16(out, i, skep_half_of_float(in[i]));
}

SKEP_VECTOR static void bfloats_of_floats(uint8_t *out, const float *in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        skep_store_u16(out, i, skep_bfloat_of_float(in[i]));
}

SKEP_VECTOR static void doubles_of_floats(uint8_t *out, const float *in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        skep_store_double(out, i, (double)in[i]);
}

/* Toward zero; what does not fit becomes the nearest that does, NaN becomes 0. `above` is the first float beyond the type. */
#define OF_FLOATS(name, type, least, above, most)                                                  \
    static void name(uint8_t *out, const float *in, size_t n)                                      \
    {                                                                                              \
        for (size_t i = 0; i < n; i++) {                                                           \
            float f = in[i];                                                                       \
            type v = f >= (above) ? (most) : f >= (float)(least) ? (type)f : (least);              \
                                                                                                   \
            v = f != f ? 0 : v;                                                                    \
            memcpy(out + i * sizeof v, &v, sizeof v);                                              \
        }                                                                                          \
    }
OF_FLOATS(int64_of_floats, int64_t, INT64_MIN, 9223372036854775808.0f, INT64_MAX)
OF_FLOATS(int32_of_floats, int32_t, INT32_MIN, 2147483648.0f, INT32_MAX)
OF_FLOATS(int16_of_floats, int16_t, INT16_MIN, 32768.0f, INT16_MAX)
OF_FLOATS(int8_of_floats, int8_t, INT8_MIN, 128.0f, INT8_MAX)
OF_FLOATS(uint8_of_floats, uint8_t, 0, 256.0f, UINT8_MAX)

static void bools_of_floats(uint8_t *out, const float *in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] != 0;
}

void skep_numbers_from_float(skep_dtype to, void *out, const float *in, size_t n)
{
    switch (to) {
    case SKEP_FLOAT32: skep_bytes_copy(out, skep_bytes_of(in, n * sizeof *in)); break;
    case SKEP_FLOAT64: doubles_of_floats(out, in, n); break;
    case SKEP_FLOAT16: halves_of_floats(out, in, n); break;
    case SKEP_BFLOAT16: bfloats_of_floats(out, in, n); break;
    case SKEP_INT64: int64_of_floats(out, in, n); break;
    case SKEP_INT32: int32_of_floats(out, in, n); break;
    case SKEP_INT16: int16_of_floats(out, in, n); break;
    case SKEP_INT8: int8_of_floats(out, in, n); break;
    case SKEP_UINT8: uint8_of_floats(out, in, n); break;
    case SKEP_BOOL: bools_of_floats(out, in, n); break;
    }
}

/* An exponent of all ones and one more carries into the sign's place: of numbers that are finite none does. */
SKEP_VECTOR static bool finite_floats(const uint8_t *in, size_t n)
{
    uint32_t carried = 0;

    for (size_t i = 0; i < n; i++)
        carried |= (skep_load_u32(in, i) & 0x7f800000) + 0x00800000;
    return carried >> 31 == 0;
}

SKEP_VECTOR static bool finite_doubles(const uint8_t *in, size_t n)
{
    uint64_t carried = 0;

    for (size_t i = 0; i < n; i++)
        carried |= (skep_load_u64(in, i) & 0x7ff0000000000000) + 0x0010000000000000;
    return carried >> 63 == 0;
}

SKEP_VECTOR static bool finite_halves(const uint8_t *in, size_t n)
{
    uint16_t carried = 0;

    for (size_t i = 0; i < n; i++)
        carried |= (uint16_t)((skep_load_u16(in, i) & 0x7c00) + 0x0400);
    return carried >> 15 == 0;
}

SKEP_VECTOR static bool finite_bfloats(const uint8_t *in, size_t n)
{
    uint16_t carried = 0;

    for (size_t i = 0; i < n; i++)
        carried |= (uint16_t)((skep_load_u16(in, i) & 0x7f80) + 0x0080);
    return carried >> 15 == 0;
}

bool skep_tensor_finite(const skep_tensor *tensor)
{
    size_t n = skep_tensor_elements(tensor);

    switch (tensor->dtype) {
    case SKEP_FLOAT32: return finite_floats(tensor->data, n);
    case SKEP_FLOAT64: return finite_doubles(tensor->data, n);
    case SKEP_FLOAT16: return finite_halves(tensor->data, n);
    case SKEP_BFLOAT16: return finite_bfloats(tensor->data, n);
    case SKEP_INT64:
    case SKEP_INT32:
    case SKEP_INT16:
    case SKEP_INT8:
    case SKEP_UINT8:
    case SKEP_BOOL: break;
    }
    return true;
}
