/* SPDX-License-Identifier: MIT */
/* Properties: a value that skip takes is one that next walks through to the same place (counting the items of arrays and maps);
 * written again from its tokens it is no longer, is taken too, and stays the same when that is done again. */
#include <stdlib.h>

#include "base/msgpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void write_token(struct skep_buf *buf, const struct skep_msgpack_token *t)
{
    switch (t->type) {
    case SKEP_MSGPACK_NIL: skep_msgpack_put_nil(buf); break;
    case SKEP_MSGPACK_BOOL: skep_msgpack_put_bool(buf, t->u); break;
    case SKEP_MSGPACK_UINT: skep_msgpack_put_uint(buf, t->u); break;
    case SKEP_MSGPACK_INT: skep_msgpack_put_int(buf, t->i); break;
    case SKEP_MSGPACK_FLOAT: skep_msgpack_put_float(buf, t->f); break;
    case SKEP_MSGPACK_STR: skep_msgpack_put_str(buf, t->bytes); break;
    case SKEP_MSGPACK_BIN: skep_msgpack_put_bin(buf, t->bytes); break;
    case SKEP_MSGPACK_ARRAY: skep_msgpack_put_array(buf, t->count); break;
    case SKEP_MSGPACK_MAP: skep_msgpack_put_map(buf, t->count); break;
    case SKEP_MSGPACK_EXT:
        skep_msgpack_put_ext(buf, t->ext_type, (uint32_t)t->bytes.len);
        skep_buf_put_bytes(buf, t->bytes);
        break;
    }
}

/* @return false if the value is cut off or malformed (payloads of extensions are not looked at). */
static bool write_again(struct skep_buf *buf, skep_bytes *in)
{
    uint64_t items = 1;

    for (; items > 0; items--) {
        struct skep_msgpack_token t;
        size_t before = in->len;

        if (skep_msgpack_next(in, &t) != 1)
            return false;
        if (in->len >= before || t.count > in->len)
            abort();
        if (t.type == SKEP_MSGPACK_ARRAY || t.type == SKEP_MSGPACK_MAP)
            items += (uint64_t)t.count * (t.type == SKEP_MSGPACK_MAP ? 2 : 1);
        write_token(buf, &t);
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    skep_bytes skipped = {data, len}, walked = {data, len}, in;
    struct skep_buf first, second;
    bool taken = skep_msgpack_skip(&skipped) == 0, complete;

    skep_buf_init(&first, &skep_mem_std);
    skep_buf_init(&second, &skep_mem_std);
    complete = write_again(&first, &walked);
    if (taken && (!complete || walked.len != skipped.len))
        abort();
    if (taken && !skep_msgpack_valid(skep_buf_view(&first)))
        abort();
    if (skep_msgpack_valid(skep_bytes_of(data, len)) != (taken && skipped.len == 0))
        abort();
    in = skep_buf_view(&first);
    if (complete && (!write_again(&second, &in) || in.len > 0 ||
                     !skep_bytes_equal(skep_buf_view(&first), skep_buf_view(&second))))
        abort();
    skep_buf_fini(&first);
    skep_buf_fini(&second);
    return 0;
}
