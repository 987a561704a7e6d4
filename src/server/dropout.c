/* SPDX-License-Identifier: MIT */
#include "server/dropout.h"

#include "base/error.h"
#include "base/vector.h"

/* splitmix64's finisher (Steele, Lea, Flood 2014). */
uint64_t skep_dropout_key(uint64_t seed, uint64_t place)
{
    uint64_t z = seed + place * 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* The 32-bit mixer "lowbias32" (Wellons 2018), which vector units can do. */
SKEP_VECTOR
static void drop(float *v, uint32_t count, uint32_t below, float scale, uint32_t key)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t x = i ^ key;

        x = (x ^ x >> 16) * 0x7feb352du;
        x = (x ^ x >> 15) * 0x846ca68bu;
        x ^= x >> 16;
        v[i] = x < below ? 0 : v[i] * scale;
    }
}

enum { PIECE = 1 << 20 };

void skep_dropout(float *v, size_t count, double probability, uint64_t key)
{
    if (probability <= 0)
        return;
    for (size_t at = 0, n; at < count; at += n) {
        n = SKEP_MIN(count - at, (size_t)PIECE);
        drop(v + at, (uint32_t)n, (uint32_t)(probability * 0x1p32), (float)(1 / (1 - probability)),
             (uint32_t)skep_dropout_key(key, at));
    }
}
