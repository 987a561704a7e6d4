/* SPDX-License-Identifier: MIT */
/* 160-bit ids of nodes and keys, and their XOR distance. docs/wire.md c.1; hivemind dht/routing.py. */
#ifndef SKEP_DHT_ID_H
#define SKEP_DHT_ID_H

#include "base/bytes.h"

enum {
    SKEP_DHT_ID_LEN = 20,
    SKEP_DHT_ID_BITS = 160,
    SKEP_DHT_KEY_TEXT_MAX = 8192, /* bytes of a text key, as skep_dht_id_from_str() takes it */
};

struct skep_dht_id {
    uint8_t bytes[SKEP_DHT_ID_LEN]; /* big endian */
};

/** Of a text key: SHA-1 of its msgpack form. @return 0; SKEP_ESIZE above SKEP_DHT_KEY_TEXT_MAX bytes (*out is 0): pack it yourself. */
int skep_dht_id_from_str(struct skep_dht_id *out, skep_bytes key);
/** Of any other key: SHA-1 of `packed`, its msgpack form; of a bytes key: SHA-1 of the bytes themselves. */
void skep_dht_id_from_packed(struct skep_dht_id *out, skep_bytes packed);
/** Off the wire: a big-endian number of any length below 2^160. @return 0 or SKEP_EPEER_PROTO. */
int skep_dht_id_from_wire(struct skep_dht_id *out, skep_bytes bytes);

/** Which of a, b is nearer to target: < 0 a, > 0 b, 0 the same id. */
static inline int skep_dht_id_nearer(const struct skep_dht_id *target, const struct skep_dht_id *a,
                                     const struct skep_dht_id *b)
{
    for (size_t i = 0; i < SKEP_DHT_ID_LEN; i++) {
        int da = a->bytes[i] ^ target->bytes[i], db = b->bytes[i] ^ target->bytes[i];

        if (da != db)
            return da - db;
    }
    return 0;
}

/** Leading bits that a and b share; 160 when equal. */
unsigned skep_dht_id_common_bits(const struct skep_dht_id *a, const struct skep_dht_id *b);

static inline bool skep_dht_id_equal(const struct skep_dht_id *a, const struct skep_dht_id *b)
{
    return memcmp(a->bytes, b->bytes, SKEP_DHT_ID_LEN) == 0;
}

#endif
