/* SPDX-License-Identifier: MIT */
/* msgpack and keys for users of the DHT. See include/skep/dht.h; docs/wire.md c.1. */
#include "api/api.h"

#include <time.h>

#include "base/msgpack.h"

struct skep_pack {
    struct skep_buf buf;
    bool bad; /* a text that is not UTF-8, a tuple that is not an array */
};

skep_pack *skep_pack_new(void)
{
    skep_pack *pack = skep_mem_zalloc(API_MEM, 1, sizeof *pack);

    if (pack)
        skep_buf_init(&pack->buf, API_MEM);
    return pack;
}

void skep_pack_free(skep_pack *pack)
{
    if (!pack)
        return;
    skep_buf_fini(&pack->buf);
    skep_mem_free(API_MEM, pack);
}

void skep_pack_clear(skep_pack *pack)
{
    if (!pack)
        return;
    skep_buf_clear(&pack->buf);
    pack->bad = false;
}

void skep_pack_nil(skep_pack *pack)
{
    if (pack)
        skep_msgpack_put_nil(&pack->buf);
}

void skep_pack_bool(skep_pack *pack, bool v)
{
    if (pack)
        skep_msgpack_put_bool(&pack->buf, v);
}

void skep_pack_int(skep_pack *pack, int64_t v)
{
    if (pack)
        skep_msgpack_put_int(&pack->buf, v);
}

void skep_pack_uint(skep_pack *pack, uint64_t v)
{
    if (pack)
        skep_msgpack_put_uint(&pack->buf, v);
}

void skep_pack_float(skep_pack *pack, double v)
{
    if (pack)
        skep_msgpack_put_float(&pack->buf, v);
}

void skep_pack_str(skep_pack *pack, const char *text)
{
    skep_bytes bytes = skep_bytes_str(text ? text : "");

    if (!pack)
        return;
    pack->bad = pack->bad || !text || bytes.len > UINT32_MAX || !skep_utf8_valid(bytes);
    if (!pack->bad)
        skep_msgpack_put_str(&pack->buf, bytes);
}

void skep_pack_bin(skep_pack *pack, skep_view bytes)
{
    if (!pack)
        return;
    pack->bad = pack->bad || bytes.len > UINT32_MAX || skep_api_need_bytes(bytes, "bin") < 0;
    if (!pack->bad)
        skep_msgpack_put_bin(&pack->buf, api_bytes(bytes));
}

void skep_pack_array(skep_pack *pack, uint32_t count)
{
    if (pack)
        skep_msgpack_put_array(&pack->buf, count);
}

void skep_pack_map(skep_pack *pack, uint32_t count)
{
    if (pack)
        skep_msgpack_put_map(&pack->buf, count);
}

void skep_pack_tuple(skep_pack *pack, skep_view items_as_array)
{
    skep_bytes in = api_bytes(items_as_array);
    struct skep_msgpack_token token;

    if (!pack)
        return;
    pack->bad = pack->bad || in.len > UINT32_MAX ||
                skep_api_need_bytes(items_as_array, "tuple") < 0 || !skep_msgpack_valid(in) ||
                skep_msgpack_next(&in, &token) != 1 || token.type != SKEP_MSGPACK_ARRAY;
    if (pack->bad)
        return;
    skep_msgpack_put_ext(&pack->buf, SKEP_EXT_TUPLE, (uint32_t)items_as_array.len);
    skep_buf_put_bytes(&pack->buf, api_bytes(items_as_array));
}

void skep_pack_raw(skep_pack *pack, skep_view msgpack)
{
    if (!pack)
        return;
    pack->bad = pack->bad || skep_api_need_bytes(msgpack, "msgpack") < 0;
    if (!pack->bad)
        skep_buf_put_bytes(&pack->buf, api_bytes(msgpack));
}

int skep_pack_view(const skep_pack *pack, skep_view *out)
{
    if (skep_api_need(out, "place for the bytes") < 0)
        return SKEP_EINVAL;
    *out = (skep_view){NULL, 0};
    if (!pack)
        return skep_api_fail(SKEP_ENOMEM, "no pack: skep_pack_new() was out of memory");
    if (pack->buf.rc < 0)
        return skep_api_fail(pack->buf.rc, "out of memory");
    if (pack->bad || !skep_msgpack_valid(skep_buf_view(&pack->buf)))
        return skep_api_fail(SKEP_EVALUE, "the %zu packed bytes are not exactly one value",
                             pack->buf.len);
    *out = api_view(skep_buf_view(&pack->buf));
    return 0;
}

/* For validators: what was put there, value or not. */
skep_bytes skep_api_pack_bytes(const skep_pack *pack);
skep_bytes skep_api_pack_bytes(const skep_pack *pack)
{
    return skep_buf_view(&pack->buf);
}

int skep_unpack(skep_view *in, skep_token *out)
{
    static const enum skep_kind kinds[] = {
        [SKEP_MSGPACK_NIL] = SKEP_KIND_NIL,     [SKEP_MSGPACK_BOOL] = SKEP_KIND_BOOL,
        [SKEP_MSGPACK_UINT] = SKEP_KIND_UINT,   [SKEP_MSGPACK_INT] = SKEP_KIND_INT,
        [SKEP_MSGPACK_FLOAT] = SKEP_KIND_FLOAT, [SKEP_MSGPACK_STR] = SKEP_KIND_STR,
        [SKEP_MSGPACK_BIN] = SKEP_KIND_BIN,     [SKEP_MSGPACK_ARRAY] = SKEP_KIND_ARRAY,
        [SKEP_MSGPACK_MAP] = SKEP_KIND_MAP,     [SKEP_MSGPACK_EXT] = SKEP_KIND_EXT,
    };
    struct skep_msgpack_token token;
    skep_bytes bytes;
    int rc;

    if (skep_api_need(in, "bytes to read") < 0 || skep_api_need(out, "place for the token") < 0)
        return SKEP_EINVAL;
    if ((rc = skep_api_need_bytes(*in, "msgpack")) < 0)
        return rc;
    bytes = api_bytes(*in);
    rc = skep_msgpack_next(&bytes, &token);
    memset(out, 0, sizeof *out);
    if (rc < 0)
        return skep_api_fail(SKEP_EVALUE, "malformed msgpack");
    *in = api_view(bytes);
    if (rc == 0)
        return 0;
    out->kind = kinds[token.type];
    if (out->kind == SKEP_KIND_EXT && token.ext_type == SKEP_EXT_TUPLE)
        out->kind = SKEP_KIND_TUPLE;
    out->ext_type = token.ext_type;
    out->count = token.count;
    out->u = token.u;
    out->i = token.i;
    out->f = token.f;
    out->bytes = api_view(token.bytes);
    return 1;
}

/* ---- keys ---- */

static skep_key key_out(const struct skep_dht_id *id)
{
    skep_key key;

    _Static_assert(sizeof key == sizeof *id, "a key is a DHT id");
    memcpy(&key, id, sizeof key);
    return key;
}

skep_key skep_key_text(const char *text)
{
    struct skep_dht_id id;

    skep_dht_id_from_str(&id, skep_bytes_str(text ? text : ""));
    return key_out(&id);
}

skep_key skep_key_bytes(skep_view bytes)
{
    struct skep_dht_id id;

    skep_dht_id_from_packed(&id, bytes.data ? api_bytes(bytes)
                                            : skep_bytes_str("")); /* hashed as they are */
    return key_out(&id);
}

skep_key skep_key_packed(skep_view msgpack)
{
    struct skep_dht_id id;

    skep_dht_id_from_packed(&id, msgpack.data ? api_bytes(msgpack) : skep_bytes_str(""));
    return key_out(&id);
}

double skep_dht_time(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}
