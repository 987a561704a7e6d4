/* SPDX-License-Identifier: MIT */
/* Numbers of 16 bits, without branches so that loops over them become vector code; loads and stores at any address. */
#ifndef SKEP_MOE_NUMBERS_H
#define SKEP_MOE_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/vector.h"

/* The wire is little-endian, and tensors lie in memory as they travel. */
#if !defined __BYTE_ORDER__ || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "a little-endian machine is needed"
#endif

static inline uint16_t skep_load_u16(const uint8_t *p, size_t i)
{
    uint16_t v;

    memcpy(&v, p + i * sizeof v, sizeof v);
    return v;
}

static inline uint32_t skep_load_u32(const uint8_t *p, size_t i)
{
    uint32_t v;

    memcpy(&v, p + i * sizeof v, sizeof v);
    return v;
}

static inline uint64_t skep_load_u64(const uint8_t *p, size_t i)
{
    uint64_t v;

    memcpy(&v, p + i * sizeof v, sizeof v);
    return v;
}

static inline float skep_load_float(const uint8_t *p, size_t i)
{
    float v;

    memcpy(&v, p + i * sizeof v, sizeof v);
    return v;
}

static inline double skep_load_double(const uint8_t *p, size_t i)
{
    double v;

    memcpy(&v, p + i * sizeof v, sizeof v);
    return v;
}

static inline void skep_store_u16(uint8_t *p, size_t i, uint16_t v)
{
    memcpy(p + i * sizeof v, &v, sizeof v);
}

static inline void skep_store_float(uint8_t *p, size_t i, float v)
{
    memcpy(p + i * sizeof v, &v, sizeof v);
}

static inline void skep_store_double(uint8_t *p, size_t i, double v)
{
    memcpy(p + i * sizeof v, &v, sizeof v);
}

static inline uint32_t skep_bits_of_float(float v)
{
    uint32_t bits;

    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static inline float skep_float_of_bits(uint32_t bits)
{
    float v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

/* sign 1 | exponent 5, bias 15 | fraction 10, to sign 1 | exponent 8, bias 127 | fraction 23. Those without a leading one get it from a subtraction. */
static inline float skep_half_to_float(uint16_t half)
{
    uint32_t rest = (uint32_t)(half & 0x7fff) << 13;
    uint32_t exponent = rest & 0x0f800000;
    uint32_t normal = rest + ((127u - 15) << 23);
    uint32_t special = rest + ((255u - 31) << 23);
    uint32_t tiny = skep_bits_of_float(skep_float_of_bits(normal + (1u << 23)) -
                                       skep_float_of_bits(113u << 23));
    uint32_t bits = exponent == 0x0f800000 ? special : exponent == 0 ? tiny : normal;

    return skep_float_of_bits(bits | (uint32_t)(half & 0x8000) << 16);
}

/* All ones where it is so. Selecting with masks instead of ?: keeps gcc from making branches of it. */
static inline uint32_t skep_mask(bool so)
{
    return (uint32_t)0 - so;
}

/* Of the bits of a float without its sign: to the nearest, ties to even; above the range: infinity; every NaN: 7e00. */
static inline uint32_t skep_half_of_size(uint32_t size)
{
    uint32_t is_nan = skep_mask(size > 0x7f800000), is_big = skep_mask(size >= (127u + 16) << 23);
    uint32_t is_tiny = skep_mask(size < 113u << 23);
    uint32_t normal = (size - ((127u - 15) << 23) + 0xfff + (size >> 13 & 1)) >> 13;
    uint32_t tiny = skep_bits_of_float(skep_float_of_bits(size) + 0.5f) - (126u << 23);

    return (normal & ~(is_tiny | is_big)) | (tiny & is_tiny) | (0x7c00 & is_big) |
           (0x0200 & is_nan);
}

static inline uint16_t skep_half_of_float(float v)
{
    uint32_t bits = skep_bits_of_float(v);

    return (uint16_t)(skep_half_of_size(bits & 0x7fffffff) | (bits >> 16 & 0x8000));
}

/* Of the number clamped to -65504 … 65504. NaN stays. */
static inline uint16_t skep_half_of_clamped(float v)
{
    uint32_t bits = skep_bits_of_float(v), size = bits & 0x7fffffff, most = 0x477fe000;
    uint32_t above = skep_mask(size > most) & skep_mask(size <= 0x7f800000);

    size = (size & ~above) | (most & above);
    return (uint16_t)(skep_half_of_size(size) | (bits >> 16 & 0x8000));
}

static inline float skep_bfloat_to_float(uint16_t v)
{
    return skep_float_of_bits((uint32_t)v << 16);
}

/* To the nearest, ties to even; every NaN: 7fc0. */
static inline uint16_t skep_bfloat_of_float(float v)
{
    uint32_t bits = skep_bits_of_float(v);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    uint32_t is_nan = skep_mask((bits & 0x7fffffff) > 0x7f800000);

    return (uint16_t)((rounded & ~is_nan) | (0x7fc0 & is_nan));
}

#endif
