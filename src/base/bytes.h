/* SPDX-License-Identifier: MIT */
/* Views of bytes, a bounded reader over one, and a growing writer.
 *
 * A view (`skep_bytes`) never owns and never outlives the call that got it. A writer (`skep_buf`) keeps its
 * first error: append as much as you like, then check `rc` once. */
#ifndef SKEP_BASE_BYTES_H
#define SKEP_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"

typedef struct skep_bytes {
    const uint8_t *data;
    size_t len;
} skep_bytes;

static inline skep_bytes skep_bytes_of(const void *data, size_t len)
{
    return (skep_bytes){(const uint8_t *)data, len};
}

static inline skep_bytes skep_bytes_str(const char *text)
{
    return (skep_bytes){(const uint8_t *)text, strlen(text)};
}

/** Cut up to n bytes off the front. @return them. */
static inline skep_bytes skep_bytes_take(skep_bytes *in, size_t n)
{
    skep_bytes got = {in->data, SKEP_MIN(n, in->len)};

    in->data = got.len > 0 ? in->data + got.len : in->data;
    in->len -= got.len;
    return got;
}

static inline void skep_bytes_copy(void *to, skep_bytes from)
{
    if (from.len > 0)
        memcpy(to, from.data, from.len);
}

static inline bool skep_bytes_equal(skep_bytes a, skep_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/** Like memcmp, shorter first among equals. */
static inline int skep_bytes_compare(skep_bytes a, skep_bytes b)
{
    size_t n = SKEP_MIN(a.len, b.len);
    int order = n > 0 ? memcmp(a.data, b.data, n) : 0;

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static inline uint16_t skep_get_be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t skep_get_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t skep_get_be64(const uint8_t *p)
{
    return (uint64_t)skep_get_be32(p) << 32 | skep_get_be32(p + 4);
}

static inline uint64_t skep_get_le64(const uint8_t *p)
{
    uint64_t v = 0;

    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static inline void skep_put_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void skep_put_be32(uint8_t *p, uint32_t v)
{
    skep_put_be16(p, (uint16_t)(v >> 16));
    skep_put_be16(p + 2, (uint16_t)v);
}

static inline void skep_put_be64(uint8_t *p, uint64_t v)
{
    skep_put_be32(p, (uint32_t)(v >> 32));
    skep_put_be32(p + 4, (uint32_t)v);
}

static inline void skep_put_le64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++, v >>= 8)
        p[i] = (uint8_t)v;
}

static inline double skep_double_of_bits(uint64_t bits)
{
    double v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline uint64_t skep_bits_of_double(double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/** A growing writer. Zero `data`, `len`, `cap`; skep_buf_init does it. */
struct skep_buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    const struct skep_mem *mem;
    int rc; /* the first error, kept: SKEP_ENOMEM */
};

void skep_buf_init(struct skep_buf *buf, const struct skep_mem *mem);

/** Frees the bytes; the writer can be used again. */
void skep_buf_fini(struct skep_buf *buf);

/** Forget the bytes and the error, keep the memory. */
void skep_buf_clear(struct skep_buf *buf);

/** Room for n more bytes. @return where they go, or NULL with buf->rc set. Add what was written to buf->len. */
uint8_t *skep_buf_reserve(struct skep_buf *buf, size_t n);

/** Drop n bytes from the front. */
void skep_buf_drop(struct skep_buf *buf, size_t n);

void skep_buf_put(struct skep_buf *buf, const void *data, size_t len);
void skep_buf_put_u8(struct skep_buf *buf, uint8_t v);
void skep_buf_put_be16(struct skep_buf *buf, uint16_t v);
void skep_buf_put_be32(struct skep_buf *buf, uint32_t v);
void skep_buf_put_be64(struct skep_buf *buf, uint64_t v);
void skep_buf_put_str(struct skep_buf *buf, const char *text);

static inline void skep_buf_put_bytes(struct skep_buf *buf, skep_bytes bytes)
{
    skep_buf_put(buf, bytes.data, bytes.len);
}

static inline skep_bytes skep_buf_view(const struct skep_buf *buf)
{
    return (skep_bytes){buf->data, buf->len};
}

/** @return the bytes, now the caller's to free with buf->mem; the writer is empty again. */
uint8_t *skep_buf_steal(struct skep_buf *buf, size_t *len);

/** Text from a peer, fit for a terminal or a log: control bytes and what is not UTF-8 escaped as \xNN, cut to
 *  SKEP_PEER_TEXT_MAX bytes. @return `out`, always terminated. */
char *skep_text_escape(char *out, size_t out_len, skep_bytes text);

/** Lower-case hex, terminated; `out` holds 2 * bytes.len + 1. */
char *skep_hex(char *out, skep_bytes bytes);

/** @return the number of bytes, or -1 if the text is not hex or does not fit. */
ptrdiff_t skep_unhex(uint8_t *out, size_t out_cap, const char *text);

/** Is it well-formed UTF-8 (no surrogates, no overlong forms)? */
bool skep_utf8_valid(skep_bytes text);

#endif
