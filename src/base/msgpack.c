/* SPDX-License-Identifier: MIT */
#include "base/msgpack.h"

#include "base/limits.h"

static uint64_t get_be(const uint8_t *p, size_t len)
{
    uint64_t v = 0;

    for (size_t i = 0; i < len; i++)
        v = v << 8 | p[i];
    return v;
}

static bool take_be(skep_bytes *in, size_t len, uint64_t *v)
{
    if (in->len < len)
        return false;
    *v = get_be(skep_bytes_take(in, len).data, len);
    return true;
}

static int set_int(struct skep_msgpack_token *t, int64_t v)
{
    if (v >= 0) {
        t->type = SKEP_MSGPACK_UINT;
        t->u = (uint64_t)v;
    } else {
        t->type = SKEP_MSGPACK_INT;
        t->i = v;
    }
    return 1;
}

static int read_int(skep_bytes *in, struct skep_msgpack_token *t, uint8_t lead)
{
    size_t len = (size_t)1 << (lead & 3);
    uint64_t v;

    if (!take_be(in, len, &v))
        return SKEP_EPEER_FRAME;
    if (lead < 0xd0) { /* cc..cf */
        t->type = SKEP_MSGPACK_UINT;
        t->u = v;
        return 1;
    }
    switch (len) { /* d0..d3 */
    case 1: return set_int(t, (int8_t)v);
    case 2: return set_int(t, (int16_t)v);
    case 4: return set_int(t, (int32_t)v);
    default: return set_int(t, (int64_t)v);
    }
}

static int read_float(skep_bytes *in, struct skep_msgpack_token *t, uint8_t lead)
{
    uint64_t bits;

    t->type = SKEP_MSGPACK_FLOAT;
    if (!take_be(in, lead == 0xca ? 4 : 8, &bits))
        return SKEP_EPEER_FRAME;
    if (lead == 0xca) {
        uint32_t bits32 = (uint32_t)bits;
        float narrow;

        memcpy(&narrow, &bits32, sizeof narrow);
        t->f = (double)narrow;
    } else {
        t->f = skep_double_of_bits(bits);
    }
    return 1;
}

static int read_blob(skep_bytes *in, struct skep_msgpack_token *t, enum skep_msgpack_type type,
                     uint64_t len)
{
    if (len > in->len)
        return SKEP_EPEER_FRAME;
    t->type = type;
    t->bytes = skep_bytes_take(in, (size_t)len);
    if (type == SKEP_MSGPACK_STR && !skep_utf8_valid(t->bytes))
        return SKEP_EPEER_FRAME;
    return 1;
}

static int read_sized_blob(skep_bytes *in, struct skep_msgpack_token *t,
                           enum skep_msgpack_type type, size_t len_len)
{
    uint64_t len;

    if (!take_be(in, len_len, &len))
        return SKEP_EPEER_FRAME;
    return read_blob(in, t, type, len);
}

static int read_ext(skep_bytes *in, struct skep_msgpack_token *t, uint64_t len)
{
    uint64_t type;

    if (!take_be(in, 1, &type))
        return SKEP_EPEER_FRAME;
    t->ext_type = (int8_t)type;
    return read_blob(in, t, SKEP_MSGPACK_EXT, len);
}

static int read_sized_ext(skep_bytes *in, struct skep_msgpack_token *t, size_t len_len)
{
    uint64_t len;

    if (!take_be(in, len_len, &len))
        return SKEP_EPEER_FRAME;
    return read_ext(in, t, len);
}

/* Each item takes at least a byte (a pair two), so a larger count is a lie. */
static int set_container(skep_bytes *in, struct skep_msgpack_token *t, enum skep_msgpack_type type,
                         uint64_t count)
{
    if (count > in->len / (type == SKEP_MSGPACK_MAP ? 2 : 1))
        return SKEP_EPEER_FRAME;
    t->type = type;
    t->count = (uint32_t)count;
    return 1;
}

static int read_container(skep_bytes *in, struct skep_msgpack_token *t, enum skep_msgpack_type type,
                          size_t len_len)
{
    uint64_t count;

    if (!take_be(in, len_len, &count))
        return SKEP_EPEER_FRAME;
    return set_container(in, t, type, count);
}

int skep_msgpack_next(skep_bytes *in, struct skep_msgpack_token *t)
{
    uint8_t lead;

    if (in->len == 0)
        return 0;
    lead = skep_bytes_take(in, 1).data[0];
    *t = (struct skep_msgpack_token){.type = SKEP_MSGPACK_NIL};
    if (lead < 0x80)
        return set_int(t, lead);
    if (lead < 0x90)
        return set_container(in, t, SKEP_MSGPACK_MAP, lead & 15);
    if (lead < 0xa0)
        return set_container(in, t, SKEP_MSGPACK_ARRAY, lead & 15);
    if (lead < 0xc0)
        return read_blob(in, t, SKEP_MSGPACK_STR, lead & 31);
    if (lead >= 0xe0)
        return set_int(t, (int8_t)lead);
    switch (lead) {
    case 0xc0: return 1;
    case 0xc2:
    case 0xc3:
        t->type = SKEP_MSGPACK_BOOL;
        t->u = lead & 1;
        return 1;
    case 0xc4:
    case 0xc5:
    case 0xc6: return read_sized_blob(in, t, SKEP_MSGPACK_BIN, (size_t)1 << (lead - 0xc4));
    case 0xc7:
    case 0xc8:
    case 0xc9: return read_sized_ext(in, t, (size_t)1 << (lead - 0xc7));
    case 0xca:
    case 0xcb: return read_float(in, t, lead);
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3: return read_int(in, t, lead);
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8: return read_ext(in, t, (uint64_t)1 << (lead - 0xd4));
    case 0xd9:
    case 0xda:
    case 0xdb: return read_sized_blob(in, t, SKEP_MSGPACK_STR, (size_t)1 << (lead - 0xd9));
    case 0xdc:
    case 0xdd: return read_container(in, t, SKEP_MSGPACK_ARRAY, (size_t)2 << (lead - 0xdc));
    case 0xde:
    case 0xdf: return read_container(in, t, SKEP_MSGPACK_MAP, (size_t)2 << (lead - 0xde));
    default: return SKEP_EPEER_FRAME; /* c1 is never used */
    }
}

/* What is still open while a value is checked: items to come, and the bytes behind an extension's payload. */
struct open_value {
    uint64_t items_left; /* map pairs count twice */
    bool is_map;
    bool is_ext;
    skep_bytes behind; /* after the extension, when is_ext */
};

struct checker {
    struct open_value stack[SKEP_MSGPACK_DEPTH_MAX];
    size_t depth;
};

static int open_level(struct checker *c, struct open_value level)
{
    if (c->depth == SKEP_MSGPACK_DEPTH_MAX)
        return SKEP_EPEER_FRAME;
    c->stack[c->depth++] = level;
    return 0;
}

/* A tuple's payload is one array in its own bytes: check inside, then go on behind it. */
static int open_tuple(struct checker *c, skep_bytes *in, skep_bytes payload)
{
    struct open_value level = {.items_left = 1, .is_ext = true, .behind = *in};

    if (payload.len == 0 ||
        ((payload.data[0] & 0xf0) != 0x90 && payload.data[0] != 0xdc && payload.data[0] != 0xdd))
        return SKEP_EPEER_FRAME;
    *in = payload;
    return open_level(c, level);
}

/* Close every level whose items are all there. */
static int close_levels(struct checker *c, skep_bytes *in)
{
    while (c->depth > 0 && c->stack[c->depth - 1].items_left == 0) {
        const struct open_value *level = &c->stack[--c->depth];

        if (level->is_ext) {
            if (in->len != 0)
                return SKEP_EPEER_FRAME;
            *in = level->behind;
        }
    }
    return 0;
}

static int check_token(struct checker *c, skep_bytes *in, const struct skep_msgpack_token *t)
{
    if (c->depth > 0) {
        struct open_value *level = &c->stack[c->depth - 1];
        bool is_key = level->is_map && level->items_left % 2 == 0;

        if (is_key && t->type != SKEP_MSGPACK_STR && t->type != SKEP_MSGPACK_BIN)
            return SKEP_EPEER_FRAME;
        level->items_left--;
    }
    if (t->type == SKEP_MSGPACK_ARRAY)
        return open_level(c, (struct open_value){.items_left = t->count});
    if (t->type == SKEP_MSGPACK_MAP)
        return open_level(
            c, (struct open_value){.items_left = (uint64_t)t->count * 2, .is_map = true});
    if (t->type == SKEP_MSGPACK_EXT && t->ext_type == SKEP_EXT_TUPLE)
        return open_tuple(c, in, t->bytes);
    return 0;
}

int skep_msgpack_skip(skep_bytes *in)
{
    struct checker c = {.depth = 0};
    struct skep_msgpack_token token;

    do {
        if (skep_msgpack_next(in, &token) != 1 || check_token(&c, in, &token) < 0 ||
            close_levels(&c, in) < 0)
            return SKEP_EPEER_FRAME;
    } while (c.depth > 0);
    return 0;
}

bool skep_msgpack_valid(skep_bytes value)
{
    return skep_msgpack_skip(&value) == 0 && value.len == 0;
}

bool skep_msgpack_int64(const struct skep_msgpack_token *t, int64_t *out)
{
    if (t->type == SKEP_MSGPACK_INT) {
        *out = t->i;
        return true;
    }
    if (t->type == SKEP_MSGPACK_UINT && t->u <= INT64_MAX) {
        *out = (int64_t)t->u;
        return true;
    }
    return false;
}

bool skep_msgpack_number(const struct skep_msgpack_token *t, double *out)
{
    switch (t->type) {
    case SKEP_MSGPACK_FLOAT: *out = t->f; return true;
    case SKEP_MSGPACK_UINT: *out = (double)t->u; return true;
    case SKEP_MSGPACK_INT: *out = (double)t->i; return true;
    default: return false;
    }
}

/* A lead byte and the n low bytes of v, big endian. */
static void put_be(struct skep_buf *buf, uint8_t lead, uint64_t v, size_t n)
{
    uint8_t bytes[9] = {lead};

    for (size_t i = 0; i < n; i++)
        bytes[1 + i] = (uint8_t)(v >> (8 * (n - 1 - i)));
    skep_buf_put(buf, bytes, 1 + n);
}

void skep_msgpack_put_nil(struct skep_buf *buf)
{
    skep_buf_put_u8(buf, 0xc0);
}

void skep_msgpack_put_bool(struct skep_buf *buf, bool v)
{
    skep_buf_put_u8(buf, v ? 0xc3 : 0xc2);
}

void skep_msgpack_put_uint(struct skep_buf *buf, uint64_t v)
{
    if (v < 0x80)
        skep_buf_put_u8(buf, (uint8_t)v);
    else if (v <= UINT8_MAX)
        put_be(buf, 0xcc, v, 1);
    else if (v <= UINT16_MAX)
        put_be(buf, 0xcd, v, 2);
    else if (v <= UINT32_MAX)
        put_be(buf, 0xce, v, 4);
    else
        put_be(buf, 0xcf, v, 8);
}

void skep_msgpack_put_int(struct skep_buf *buf, int64_t v)
{
    if (v >= 0)
        skep_msgpack_put_uint(buf, (uint64_t)v);
    else if (v >= -32)
        skep_buf_put_u8(buf, (uint8_t)v);
    else if (v >= INT8_MIN)
        put_be(buf, 0xd0, (uint64_t)v, 1);
    else if (v >= INT16_MIN)
        put_be(buf, 0xd1, (uint64_t)v, 2);
    else if (v >= INT32_MIN)
        put_be(buf, 0xd2, (uint64_t)v, 4);
    else
        put_be(buf, 0xd3, (uint64_t)v, 8);
}

void skep_msgpack_put_float(struct skep_buf *buf, double v)
{
    put_be(buf, 0xcb, skep_bits_of_double(v), 8);
}

void skep_msgpack_put_str(struct skep_buf *buf, skep_bytes v)
{
    if (v.len < 32)
        skep_buf_put_u8(buf, (uint8_t)(0xa0 | v.len));
    else if (v.len <= UINT8_MAX)
        put_be(buf, 0xd9, v.len, 1);
    else if (v.len <= UINT16_MAX)
        put_be(buf, 0xda, v.len, 2);
    else
        put_be(buf, 0xdb, v.len, 4);
    skep_buf_put_bytes(buf, v);
}

void skep_msgpack_put_bin(struct skep_buf *buf, skep_bytes v)
{
    if (v.len <= UINT8_MAX)
        put_be(buf, 0xc4, v.len, 1);
    else if (v.len <= UINT16_MAX)
        put_be(buf, 0xc5, v.len, 2);
    else
        put_be(buf, 0xc6, v.len, 4);
    skep_buf_put_bytes(buf, v);
}

void skep_msgpack_put_array(struct skep_buf *buf, uint32_t count)
{
    if (count < 16)
        skep_buf_put_u8(buf, (uint8_t)(0x90 | count));
    else if (count <= UINT16_MAX)
        put_be(buf, 0xdc, count, 2);
    else
        put_be(buf, 0xdd, count, 4);
}

void skep_msgpack_put_map(struct skep_buf *buf, uint32_t count)
{
    if (count < 16)
        skep_buf_put_u8(buf, (uint8_t)(0x80 | count));
    else if (count <= UINT16_MAX)
        put_be(buf, 0xde, count, 2);
    else
        put_be(buf, 0xdf, count, 4);
}

void skep_msgpack_put_ext(struct skep_buf *buf, int8_t type, uint32_t payload_len)
{
    switch (payload_len) {
    case 1: skep_buf_put_u8(buf, 0xd4); break;
    case 2: skep_buf_put_u8(buf, 0xd5); break;
    case 4: skep_buf_put_u8(buf, 0xd6); break;
    case 8: skep_buf_put_u8(buf, 0xd7); break;
    case 16: skep_buf_put_u8(buf, 0xd8); break;
    default:
        if (payload_len <= UINT8_MAX)
            put_be(buf, 0xc7, payload_len, 1);
        else if (payload_len <= UINT16_MAX)
            put_be(buf, 0xc8, payload_len, 2);
        else
            put_be(buf, 0xc9, payload_len, 4);
    }
    skep_buf_put_u8(buf, (uint8_t)type);
}
