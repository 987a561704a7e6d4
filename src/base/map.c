/* SPDX-License-Identifier: MIT */
#include "base/map.h"

static uint64_t map_k0 = 0x736b65702d6d6170u, map_k1 = 0x9e3779b97f4a7c15u;
static const struct skep_mem *map_mem = &skep_mem_std;

void skep_map_set_key(uint64_t k0, uint64_t k1)
{
    map_k0 = k0;
    map_k1 = k1;
}

void skep_map_set_mem(const struct skep_mem *mem)
{
    map_mem = mem;
}

void *skep_map_alloc(size_t len)
{
    return skep_mem_alloc(map_mem, len);
}

void skep_map_release(void *ptr)
{
    skep_mem_free(map_mem, ptr);
}

static uint64_t rotl(uint64_t v, int by)
{
    return v << by | v >> (64 - by);
}

/* SipHash-1-3 (Aumasson, Bernstein 2012): short keys from strangers must not be able to share a bucket. */
#define SIP_ROUND()                                                                                \
    do {                                                                                           \
        v0 += v1, v1 = rotl(v1, 13) ^ v0, v0 = rotl(v0, 32);                                       \
        v2 += v3, v3 = rotl(v3, 16) ^ v2;                                                          \
        v0 += v3, v3 = rotl(v3, 21) ^ v0;                                                          \
        v2 += v1, v1 = rotl(v1, 17) ^ v2, v2 = rotl(v2, 32);                                       \
    } while (0)

uint32_t skep_map_hash(const void *key, size_t len)
{
    const uint8_t *p = key;
    uint64_t v0 = map_k0 ^ 0x736f6d6570736575u, v1 = map_k1 ^ 0x646f72616e646f6du;
    uint64_t v2 = map_k0 ^ 0x6c7967656e657261u, v3 = map_k1 ^ 0x7465646279746573u;
    uint64_t last = (uint64_t)len << 56;
    size_t i;

    for (i = 0; i + 8 <= len; i += 8) {
        uint64_t word = skep_get_le64(p + i);

        v3 ^= word;
        SIP_ROUND();
        v0 ^= word;
    }
    for (size_t shift = 0; i < len; i++, shift += 8)
        last |= (uint64_t)p[i] << shift;
    v3 ^= last;
    SIP_ROUND();
    v0 ^= last;
    v2 ^= 0xff;
    SIP_ROUND();
    SIP_ROUND();
    SIP_ROUND();
    v0 ^= v1 ^ v2 ^ v3;
    return (uint32_t)(v0 ^ v0 >> 32);
}
