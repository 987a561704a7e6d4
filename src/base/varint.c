/* SPDX-License-Identifier: MIT */
#include "base/varint.h"

size_t skep_varint_encode(uint8_t *out, uint64_t v)
{
    size_t n = 0;

    for (; v >= 0x80; v >>= 7)
        out[n++] = (uint8_t)(v | 0x80);
    out[n++] = (uint8_t)v;
    return n;
}

size_t skep_varint_len(uint64_t v)
{
    size_t n = 1;

    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

int skep_varint_decode(skep_bytes *in, uint64_t *v)
{
    uint64_t got = 0;
    size_t limit = SKEP_MIN(in->len, (size_t)SKEP_VARINT_LEN_MAX);

    for (size_t i = 0; i < limit; i++) {
        uint8_t byte = in->data[i];

        if (i == SKEP_VARINT_LEN_MAX - 1 && byte > 1)
            return SKEP_EPEER_FRAME;
        got |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *v = got;
            skep_bytes_take(in, i + 1);
            return (int)i + 1;
        }
    }
    return 0;
}

void skep_buf_put_varint(struct skep_buf *buf, uint64_t v)
{
    uint8_t bytes[SKEP_VARINT_LEN_MAX];

    skep_buf_put(buf, bytes, skep_varint_encode(bytes, v));
}
