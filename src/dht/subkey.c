/* SPDX-License-Identifier: MIT */
#include "dht/subkey.h"

#include "base/limits.h"
#include "base/map.h"
#include "base/msgpack.h"
#include "dht/value.h"

static size_t uint_len(uint64_t v)
{
    return v < 0x80 ? 1 : v <= UINT8_MAX ? 2 : v <= UINT16_MAX ? 3 : v <= UINT32_MAX ? 5 : 9;
}

static size_t int_len(int64_t v)
{
    return v >= -32 ? 1 : v >= INT8_MIN ? 2 : v >= INT16_MIN ? 3 : v >= INT32_MIN ? 5 : 9;
}

/* Of a token that means the same in both forms: how long its shortest form is; else 0. */
static size_t plain_len(const struct skep_msgpack_token *t)
{
    size_t len = t->bytes.len;

    switch (t->type) {
    case SKEP_MSGPACK_NIL: return 1;
    case SKEP_MSGPACK_UINT: return uint_len(t->u);
    case SKEP_MSGPACK_INT: return int_len(t->i);
    case SKEP_MSGPACK_STR:
        return len + (len < 32 ? 1 : len <= UINT8_MAX ? 2 : len <= UINT16_MAX ? 3 : 5);
    case SKEP_MSGPACK_BIN: return len + (len <= UINT8_MAX ? 2 : len <= UINT16_MAX ? 3 : 5);
    default: return 0;
    }
}

/* 2^63 and 2^64 are exact in a double, so the comparisons are. */
static void put_number(struct skep_buf *out, double v)
{
    if (v >= 0 && v < 0x1p64 && (double)(uint64_t)v == v)
        skep_msgpack_put_uint(out, (uint64_t)v);
    else if (v < 0 && v >= -0x1p63 && (double)(int64_t)v == v)
        skep_msgpack_put_int(out, (int64_t)v);
    else
        skep_msgpack_put_float(out, v);
}

static int put_scalar(struct skep_buf *out, const struct skep_msgpack_token *t, bool identity)
{
    switch (t->type) {
    case SKEP_MSGPACK_NIL: skep_msgpack_put_nil(out); return 0;
    case SKEP_MSGPACK_UINT: skep_msgpack_put_uint(out, t->u); return 0;
    case SKEP_MSGPACK_INT: skep_msgpack_put_int(out, t->i); return 0;
    case SKEP_MSGPACK_STR: skep_msgpack_put_str(out, t->bytes); return 0;
    case SKEP_MSGPACK_BIN: skep_msgpack_put_bin(out, t->bytes); return 0;
    case SKEP_MSGPACK_BOOL:
        if (identity)
            skep_msgpack_put_uint(out, t->u);
        else
            skep_msgpack_put_bool(out, t->u != 0);
        return 0;
    case SKEP_MSGPACK_FLOAT:
        if (identity)
            put_number(out, t->f);
        else
            skep_msgpack_put_float(out, t->f);
        return 0;
    case SKEP_MSGPACK_EXT:
        /* hivemind reads an unknown extension as its bare payload. A dictionary, a tensor descriptor or a timestamp (-1) are objects there: no use as a key. */
        if (t->ext_type == SKEP_EXT_DICTIONARY || t->ext_type == SKEP_EXT_TENSOR ||
            t->ext_type == -1)
            return SKEP_EPEER_PROTO;
        skep_msgpack_put_bin(out, t->bytes);
        return 0;
    case SKEP_MSGPACK_ARRAY:
    case SKEP_MSGPACK_MAP: return SKEP_EPEER_PROTO; /* Python: unhashable */
    }
    SKEP_UNREACHABLE();
}

/* A tuple whose items are being written: its header goes in front of them when they are all there. */
struct open_tuple {
    size_t mark;
    uint32_t items_left;
    skep_bytes behind;
};

struct tuples {
    struct open_tuple stack[SKEP_MSGPACK_DEPTH_MAX];
    size_t depth;
};

static int open_tuple(struct tuples *tuples, skep_bytes *in, skep_bytes payload,
                      struct skep_buf *out)
{
    struct skep_msgpack_token array;
    struct open_tuple *tuple;

    if (tuples->depth == SKEP_MSGPACK_DEPTH_MAX)
        return SKEP_EPEER_FRAME;
    tuple = &tuples->stack[tuples->depth++];
    *tuple = (struct open_tuple){.mark = out->len, .behind = *in};
    if (skep_msgpack_next(&payload, &array) != 1 || array.type != SKEP_MSGPACK_ARRAY)
        return SKEP_EPEER_FRAME;
    tuple->items_left = array.count;
    skep_msgpack_put_array(out, array.count);
    *in = payload;
    return 0;
}

static void insert_ext_header(struct skep_buf *out, size_t mark)
{
    uint8_t header[8];
    size_t len = out->len, header_len;

    skep_msgpack_put_ext(out, SKEP_EXT_TUPLE, (uint32_t)(len - mark));
    if (out->rc < 0)
        return;
    header_len = out->len - len;
    memcpy(header, out->data + len, header_len);
    memmove(out->data + mark + header_len, out->data + mark, len - mark);
    memcpy(out->data + mark, header, header_len);
}

static int close_tuples(struct tuples *tuples, skep_bytes *in, struct skep_buf *out)
{
    while (tuples->depth > 0 && tuples->stack[tuples->depth - 1].items_left == 0) {
        const struct open_tuple *tuple = &tuples->stack[--tuples->depth];

        if (in->len != 0)
            return SKEP_EPEER_FRAME;
        *in = tuple->behind;
        insert_ext_header(out, tuple->mark);
    }
    return 0;
}

static int normalise(struct skep_buf *out, skep_bytes in, bool identity)
{
    struct tuples tuples = {.depth = 0};
    struct skep_msgpack_token token;
    int rc;

    do {
        if (skep_msgpack_next(&in, &token) != 1)
            return SKEP_EPEER_FRAME;
        if (tuples.depth > 0)
            tuples.stack[tuples.depth - 1].items_left--;
        if (token.type == SKEP_MSGPACK_EXT && token.ext_type == SKEP_EXT_TUPLE)
            rc = open_tuple(&tuples, &in, token.bytes, out);
        else
            rc = put_scalar(out, &token, identity);
        if (rc < 0 || (rc = close_tuples(&tuples, &in, out)) < 0)
            return rc;
    } while (tuples.depth > 0);
    return in.len == 0 ? out->rc : SKEP_EPEER_FRAME;
}

/* Is the subkey in both forms already? True of all that hivemind's own code ever uses, but for tuples. */
static bool is_plain(skep_bytes packed)
{
    struct skep_msgpack_token token;
    skep_bytes rest = packed;

    return skep_msgpack_next(&rest, &token) == 1 && rest.len == 0 &&
           plain_len(&token) == packed.len;
}

int skep_dht_subkey_normalise(struct skep_buf *out, skep_bytes subkey)
{
    if (is_plain(subkey)) {
        skep_buf_put_bytes(out, subkey);
        return out->rc;
    }
    return normalise(out, subkey, false);
}

int skep_dht_subkey_init(struct skep_dht_subkey *subkey, const struct skep_mem *mem,
                         skep_bytes packed)
{
    size_t normal_len;
    int rc;

    skep_buf_init(&subkey->scratch, mem);
    subkey->normal = subkey->identity = packed;
    if (!is_plain(packed)) {
        if ((rc = normalise(&subkey->scratch, packed, false)) < 0)
            goto fail;
        normal_len = subkey->scratch.len;
        if ((rc = normalise(&subkey->scratch, packed, true)) < 0)
            goto fail;
        subkey->normal = skep_bytes_of(subkey->scratch.data, normal_len);
        subkey->identity =
            skep_bytes_of(subkey->scratch.data + normal_len, subkey->scratch.len - normal_len);
    }
    subkey->hash = skep_map_hash(subkey->identity.data, subkey->identity.len);
    return 0;
fail:
    skep_buf_fini(&subkey->scratch);
    return rc;
}

void skep_dht_subkey_fini(struct skep_dht_subkey *subkey)
{
    skep_buf_fini(&subkey->scratch);
}

int skep_dht_subkey_same(const struct skep_dht_subkey *subkey, skep_bytes normal)
{
    struct skep_buf identity;
    int rc;

    if (skep_bytes_equal(subkey->normal, normal))
        return 1;
    if (is_plain(normal))
        return skep_bytes_equal(subkey->identity, normal);
    skep_buf_init(&identity, subkey->scratch.mem);
    rc = normalise(&identity, normal, true);
    if (rc == 0)
        rc = skep_bytes_equal(subkey->identity, skep_buf_view(&identity));
    skep_buf_fini(&identity);
    return rc;
}
