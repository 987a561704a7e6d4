/* SPDX-License-Identifier: MIT */
/* e to the x in arithmetic that compilers vectorise: within 2 units of the last place for -87 <= x <= 88, clamped outside; NaN stays NaN. */
#ifndef SKEP_SERVER_FAST_EXP_H
#define SKEP_SERVER_FAST_EXP_H

#include <stdint.h>
#include <string.h>

/* x = n ln 2 + r with |r| <= ln 2 / 2; e^r by Cephes' polynomial (expf.c, Moshier 1989); 2^n by its bits. */
static inline float skep_fast_exp(float x)
{
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves an integer in the low bits */
    float low = x < -87.0f ? -87.0f : x;
    float v = low > 88.0f ? 88.0f : low;
    float shifted = v * 1.44269504088896341f + round;
    float n = shifted - round;
    float r = (v - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    uint32_t bits;
    float scale;

    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127u) << 23;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

#endif
