/* SPDX-License-Identifier: MIT */
/* Base64 with padding. Spec: RFC 4648, section 4. OpenSSL's decoder skips white space and newlines; ours refuses them. */
#include "crypto/sign.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void skep_base64_encode(struct skep_buf *out, skep_bytes data)
{
    uint8_t *to = skep_buf_reserve(out, (data.len + 2) / 3 * 4);

    if (!to)
        return;
    for (size_t i = 0; i < data.len; i += 3, to += 4) {
        size_t n = SKEP_MIN(data.len - i, (size_t)3);
        uint32_t v = (uint32_t)data.data[i] << 16 | (n > 1 ? (uint32_t)data.data[i + 1] << 8 : 0) |
                     (n > 2 ? data.data[i + 2] : 0u);

        to[0] = (uint8_t)alphabet[v >> 18];
        to[1] = (uint8_t)alphabet[v >> 12 & 63];
        to[2] = n > 1 ? (uint8_t)alphabet[v >> 6 & 63] : '=';
        to[3] = n > 2 ? (uint8_t)alphabet[v & 63] : '=';
    }
    out->len += (data.len + 2) / 3 * 4;
}

static int digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

int skep_base64_decode(struct skep_buf *out, skep_bytes text)
{
    size_t padding = 0;
    uint8_t *to;
    uint32_t v = 0;

    if (text.len % 4 != 0)
        return SKEP_EVALUE;
    while (padding < 2 && text.len > padding && text.data[text.len - 1 - padding] == '=')
        padding++;
    to = skep_buf_reserve(out, text.len / 4 * 3);
    if (!to)
        return SKEP_ENOMEM;
    for (size_t i = 0; i < text.len; i++) {
        int d = i < text.len - padding ? digit(text.data[i]) : 0;

        if (d < 0)
            return SKEP_EVALUE;
        v = v << 6 | (uint32_t)d;
        if (i % 4 == 3) {
            *to++ = (uint8_t)(v >> 16);
            *to++ = (uint8_t)(v >> 8);
            *to++ = (uint8_t)v;
        }
    }
    out->len += text.len / 4 * 3 - padding;
    return 0;
}
