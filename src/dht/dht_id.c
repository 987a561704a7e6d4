/* SPDX-License-Identifier: MIT */
#include "dht/dht_id.h"

#include "base/msgpack.h"
#include "crypto/hash.h"

int skep_dht_id_from_str(struct skep_dht_id *out, skep_bytes key)
{
    uint8_t packed[SKEP_DHT_KEY_TEXT_MAX + 5]; /* the longest header of a str has 5 bytes */
    struct skep_buf buf = {.data = packed, .cap = sizeof packed, .mem = &skep_mem_std};

    *out = (struct skep_dht_id){{0}};
    if (key.len > SKEP_DHT_KEY_TEXT_MAX)
        return SKEP_ESIZE;
    skep_msgpack_put_str(&buf, key); /* fits: never grows */
    skep_dht_id_from_packed(out, skep_buf_view(&buf));
    return 0;
}

void skep_dht_id_from_packed(struct skep_dht_id *out, skep_bytes packed)
{
    skep_sha1(out->bytes, packed);
}

int skep_dht_id_from_wire(struct skep_dht_id *out, skep_bytes bytes)
{
    *out = (struct skep_dht_id){{0}};
    while (bytes.len > SKEP_DHT_ID_LEN)
        if (*skep_bytes_take(&bytes, 1).data != 0)
            return SKEP_EPEER_PROTO;
    skep_bytes_copy(out->bytes + (SKEP_DHT_ID_LEN - bytes.len), bytes);
    return 0;
}

unsigned skep_dht_id_common_bits(const struct skep_dht_id *a, const struct skep_dht_id *b)
{
    for (unsigned i = 0; i < SKEP_DHT_ID_LEN; i++) {
        unsigned diff = (unsigned)(a->bytes[i] ^ b->bytes[i]);

        if (diff != 0)
            return 8 * i + (unsigned)__builtin_clz(diff) - 24;
    }
    return SKEP_DHT_ID_BITS;
}
