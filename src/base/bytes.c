/* SPDX-License-Identifier: MIT */
#include "base/bytes.h"

#include "base/limits.h"

enum { BUF_CAP_MIN = 64 };

void skep_buf_init(struct skep_buf *buf, const struct skep_mem *mem)
{
    *buf = (struct skep_buf){.mem = mem};
}

void skep_buf_fini(struct skep_buf *buf)
{
    if (buf->mem)
        skep_mem_free(buf->mem, buf->data);
    *buf = (struct skep_buf){.mem = buf->mem};
}

void skep_buf_clear(struct skep_buf *buf)
{
    buf->len = 0;
    buf->rc = 0;
}

uint8_t *skep_buf_reserve(struct skep_buf *buf, size_t n)
{
    size_t need, cap;
    uint8_t *grown;

    if (buf->rc < 0)
        return NULL;
    if (n <= buf->cap - buf->len && buf->data)
        return buf->data + buf->len;
    if (!skep_size_add(buf->len, n, &need) || need > SIZE_MAX / 2) {
        buf->rc = SKEP_ENOMEM;
        return NULL;
    }
    cap = SKEP_MAX(SKEP_MAX(need, buf->cap + buf->cap / 2), (size_t)BUF_CAP_MIN);
    grown = skep_mem_resize(buf->mem, buf->data, cap);
    if (!grown) {
        buf->rc = SKEP_ENOMEM;
        return NULL;
    }
    buf->data = grown;
    buf->cap = cap;
    return buf->data + buf->len;
}

void skep_buf_drop(struct skep_buf *buf, size_t n)
{
    assert(n <= buf->len);
    buf->len -= n;
    if (buf->len > 0 && n > 0)
        memmove(buf->data, buf->data + n, buf->len);
}

void skep_buf_put(struct skep_buf *buf, const void *data, size_t len)
{
    uint8_t *to = skep_buf_reserve(buf, len);

    if (!to || len == 0)
        return;
    memcpy(to, data, len);
    buf->len += len;
}

void skep_buf_put_u8(struct skep_buf *buf, uint8_t v)
{
    skep_buf_put(buf, &v, 1);
}

void skep_buf_put_be16(struct skep_buf *buf, uint16_t v)
{
    uint8_t bytes[2];

    skep_put_be16(bytes, v);
    skep_buf_put(buf, bytes, sizeof bytes);
}

void skep_buf_put_be32(struct skep_buf *buf, uint32_t v)
{
    uint8_t bytes[4];

    skep_put_be32(bytes, v);
    skep_buf_put(buf, bytes, sizeof bytes);
}

void skep_buf_put_be64(struct skep_buf *buf, uint64_t v)
{
    uint8_t bytes[8];

    skep_put_be64(bytes, v);
    skep_buf_put(buf, bytes, sizeof bytes);
}

void skep_buf_put_str(struct skep_buf *buf, const char *text)
{
    skep_buf_put(buf, text, strlen(text));
}

uint8_t *skep_buf_steal(struct skep_buf *buf, size_t *len)
{
    uint8_t *data = buf->data;

    *len = buf->len;
    *buf = (struct skep_buf){.mem = buf->mem};
    return data;
}

static const char hex_digits[] = "0123456789abcdef";

char *skep_hex(char *out, skep_bytes bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        out[2 * i] = hex_digits[bytes.data[i] >> 4];
        out[2 * i + 1] = hex_digits[bytes.data[i] & 15];
    }
    out[2 * bytes.len] = '\0';
    return out;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

ptrdiff_t skep_unhex(uint8_t *out, size_t out_cap, const char *text)
{
    size_t len = strlen(text);

    if (len % 2 != 0 || len / 2 > out_cap)
        return -1;
    for (size_t i = 0; i < len / 2; i++) {
        int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return -1;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return (ptrdiff_t)(len / 2);
}

/* Length of the well-formed UTF-8 sequence at the front, or 0. Unicode 15, table 3-7. */
static size_t utf8_sequence_len(skep_bytes text)
{
    const uint8_t *p = text.data;
    size_t need;
    uint8_t low = 0x80, high = 0xbf;

    if (text.len == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        need = 2;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        need = 3;
        low = p[0] == 0xe0 ? 0xa0 : 0x80;
        high = p[0] == 0xed ? 0x9f : 0xbf;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        need = 4;
        low = p[0] == 0xf0 ? 0x90 : 0x80;
        high = p[0] == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    if (text.len < need || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++)
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    return need;
}

/* Bytes at the front that are ASCII, eight at a time: nearly all text is nothing else. */
static size_t ascii_len(skep_bytes text)
{
    size_t n = 0;
    uint64_t word;

    for (; text.len - n >= sizeof word; n += sizeof word) {
        memcpy(&word, text.data + n, sizeof word);
        if (word & 0x8080808080808080u)
            break;
    }
    while (n < text.len && text.data[n] < 0x80)
        n++;
    return n;
}

bool skep_utf8_valid(skep_bytes text)
{
    while (text.len > 0) {
        size_t n = ascii_len(text);

        skep_bytes_take(&text, n);
        if (text.len == 0)
            return true;
        if ((n = utf8_sequence_len(text)) == 0)
            return false;
        skep_bytes_take(&text, n);
    }
    return true;
}

/* C0, DEL and C1 (U+0080..9F) move cursors and change colours; U+200E..F, U+2028..E and U+2066..9 break lines and turn text
 * around, so that it reads as what it is not. */
static bool is_plain(const uint8_t *p, size_t n)
{
    if (n == 0 || p[0] < 0x20 || p[0] == 0x7f || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0))
        return false;
    if (n != 3 || p[0] != 0xe2)
        return true;
    return !(p[1] == 0x80 && (p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xa8 && p[2] <= 0xae))) &&
           !(p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9);
}

char *skep_text_escape(char *out, size_t out_len, skep_bytes text)
{
    size_t used = 0, limit = SKEP_MIN(out_len - 1, (size_t)SKEP_PEER_TEXT_MAX);

    assert(out_len > 0);
    while (text.len > 0) {
        size_t n = utf8_sequence_len(text);
        bool plain = is_plain(text.data, n);
        size_t cost = plain ? n : 4;

        if (cost > limit - used)
            break;
        if (plain) {
            memcpy(out + used, text.data, n);
            skep_bytes_take(&text, n);
        } else {
            out[used] = '\\';
            out[used + 1] = 'x';
            out[used + 2] = hex_digits[text.data[0] >> 4];
            out[used + 3] = hex_digits[text.data[0] & 15];
            skep_bytes_take(&text, 1);
        }
        used += cost;
    }
    out[used] = '\0';
    return out;
}
