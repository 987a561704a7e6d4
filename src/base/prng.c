/* SPDX-License-Identifier: MIT */
#include "base/prng.h"

#include <string.h>

#include "base/error.h"

static uint64_t rotl(uint64_t v, int by)
{
    return v << by | v >> (64 - by);
}

/* splitmix64 spreads the seed over the state, which must not be all zero. */
void skep_prng_init(struct skep_prng *prng, uint64_t seed)
{
    for (size_t i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15u);

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        prng->s[i] = z ^ z >> 31;
    }
}

uint64_t skep_prng_u64(struct skep_prng *prng)
{
    uint64_t *s = prng->s, out = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return out;
}

uint64_t skep_prng_below(struct skep_prng *prng, uint64_t below)
{
    uint64_t reject_under = (0 - below) % below, v;

    do
        v = skep_prng_u64(prng);
    while (v < reject_under);
    return v % below;
}

double skep_prng_unit(struct skep_prng *prng)
{
    return (double)(skep_prng_u64(prng) >> 11) * 0x1p-53;
}

void skep_prng_fill(struct skep_prng *prng, void *out, size_t len)
{
    uint8_t *p = out;

    while (len > 0) {
        uint64_t word = skep_prng_u64(prng);
        size_t n = SKEP_MIN(len, sizeof word);

        memcpy(p, &word, n);
        p += n;
        len -= n;
    }
}
