/* SPDX-License-Identifier: MIT */
/* libmsgpack and ours: what one writes the other reads, for random values; and they agree on what is well-formed. */
#include "support/test.h"

#include <msgpack.h>

#include "base/limits.h"
#include "base/msgpack.h"

static uint64_t random_integer(struct skep_prng *prng)
{
    return skep_prng_u64(prng) >> skep_prng_below(prng, 64);
}

static skep_bytes random_bytes(struct skep_prng *prng, uint8_t *room, bool text)
{
    static const size_t lens[] = {0, 1, 2, 4, 8, 16, 31, 32, 255, 256, 300};
    size_t len = skep_prng_below(prng, 2) ? lens[skep_prng_below(prng, SKEP_COUNT_OF(lens))]
                                          : skep_prng_below(prng, 40);

    skep_prng_fill(prng, room, len);
    for (size_t i = 0; text && i < len; i++)
        room[i] &= 0x7f;
    return skep_bytes_of(room, len);
}

/* The same random value with both writers; the two generators give the same numbers. */
static void write_both(struct skep_buf *ours, msgpack_packer *theirs, struct skep_prng *prng,
                       unsigned depth)
{
    uint8_t room[300];
    uint64_t kind = skep_prng_below(prng, depth < 6 ? 10 : 8), v = random_integer(prng);
    uint32_t count = (uint32_t)(skep_prng_below(prng, 8) == 0 ? 20 : skep_prng_below(prng, 4));
    skep_bytes bytes = random_bytes(prng, room, kind == 5);
    int8_t type = (int8_t)(1 + v % 60);

    switch (kind) {
    case 0:
        skep_msgpack_put_nil(ours);
        msgpack_pack_nil(theirs);
        return;
    case 1:
        skep_msgpack_put_bool(ours, v & 1);
        v & 1 ? msgpack_pack_true(theirs) : msgpack_pack_false(theirs);
        return;
    case 2:
        skep_msgpack_put_uint(ours, v);
        msgpack_pack_uint64(theirs, v);
        return;
    case 3:
        skep_msgpack_put_int(ours, -(int64_t)(v >> 1));
        msgpack_pack_int64(theirs, -(int64_t)(v >> 1));
        return;
    case 4:
        skep_msgpack_put_float(ours, (double)v / 3);
        msgpack_pack_double(theirs, (double)v / 3);
        return;
    case 5:
        skep_msgpack_put_str(ours, bytes);
        msgpack_pack_str_with_body(theirs, bytes.data, bytes.len);
        return;
    case 6:
        skep_msgpack_put_bin(ours, bytes);
        msgpack_pack_bin_with_body(theirs, bytes.data, bytes.len);
        return;
    case 7:
        skep_msgpack_put_ext(ours, type, (uint32_t)bytes.len);
        skep_buf_put_bytes(ours, bytes);
        msgpack_pack_ext_with_body(theirs, bytes.data, bytes.len, type);
        return;
    case 8:
        skep_msgpack_put_array(ours, count);
        msgpack_pack_array(theirs, count);
        break;
    default:
        skep_msgpack_put_map(ours, count);
        msgpack_pack_map(theirs, count);
        break;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (kind == 9) {
            skep_msgpack_put_str(ours, bytes.len < 10 ? skep_bytes_str("key") : skep_bytes_str(""));
            msgpack_pack_str_with_body(theirs, bytes.len < 10 ? "key" : "", bytes.len < 10 ? 3 : 0);
        }
        write_both(ours, theirs, prng, depth + 1);
    }
}

static void both_write_the_same_bytes(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(3000); seed++) {
        struct skep_prng prng;
        struct skep_buf ours;
        msgpack_sbuffer buffer;
        msgpack_packer theirs;

        skep_prng_init(&prng, seed);
        skep_buf_init(&ours, &skep_mem_std);
        msgpack_sbuffer_init(&buffer);
        msgpack_packer_init(&theirs, &buffer, msgpack_sbuffer_write);
        write_both(&ours, &theirs, &prng, 0);
        if (!skep_bytes_equal(skep_buf_view(&ours), skep_bytes_of(buffer.data, buffer.size)))
            fail_msg("SKEP_SEED=%llu: %s, not %s", (unsigned long long)seed,
                     test_hex(ours.data, ours.len), test_hex(buffer.data, buffer.size));
        if (!skep_msgpack_valid(skep_bytes_of(buffer.data, buffer.size)))
            fail_msg("SKEP_SEED=%llu: not well-formed", (unsigned long long)seed);
        msgpack_sbuffer_destroy(&buffer);
        skep_buf_fini(&ours);
    }
}

/* Compare an object of theirs with our tokens. Strings that are not UTF-8, which only we refuse, do not get here. */
static bool same(const msgpack_object *theirs, skep_bytes *in)
{
    struct skep_msgpack_token t;

    if (skep_msgpack_next(in, &t) != 1)
        return false;
    switch (theirs->type) {
    case MSGPACK_OBJECT_NIL: return t.type == SKEP_MSGPACK_NIL;
    case MSGPACK_OBJECT_BOOLEAN:
        return t.type == SKEP_MSGPACK_BOOL && (t.u != 0) == theirs->via.boolean;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        return t.type == SKEP_MSGPACK_UINT && t.u == theirs->via.u64;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        return t.type == SKEP_MSGPACK_INT && t.i == theirs->via.i64;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        return t.type == SKEP_MSGPACK_FLOAT &&
               (t.f == theirs->via.f64 || (t.f != t.f && theirs->via.f64 != theirs->via.f64));
    case MSGPACK_OBJECT_STR:
        return t.type == SKEP_MSGPACK_STR &&
               skep_bytes_equal(t.bytes, skep_bytes_of(theirs->via.str.ptr, theirs->via.str.size));
    case MSGPACK_OBJECT_BIN:
        return t.type == SKEP_MSGPACK_BIN &&
               skep_bytes_equal(t.bytes, skep_bytes_of(theirs->via.bin.ptr, theirs->via.bin.size));
    case MSGPACK_OBJECT_EXT:
        return t.type == SKEP_MSGPACK_EXT && t.ext_type == theirs->via.ext.type &&
               skep_bytes_equal(t.bytes, skep_bytes_of(theirs->via.ext.ptr, theirs->via.ext.size));
    case MSGPACK_OBJECT_ARRAY:
        if (t.type != SKEP_MSGPACK_ARRAY || t.count != theirs->via.array.size)
            return false;
        for (uint32_t i = 0; i < t.count; i++)
            if (!same(&theirs->via.array.ptr[i], in))
                return false;
        return true;
    case MSGPACK_OBJECT_MAP:
        if (t.type != SKEP_MSGPACK_MAP || t.count != theirs->via.map.size)
            return false;
        for (uint32_t i = 0; i < t.count; i++)
            if (!same(&theirs->via.map.ptr[i].key, in) || !same(&theirs->via.map.ptr[i].val, in))
                return false;
        return true;
    }
    return false;
}

/* Random bytes, weighted to leads, so that a good part is well-formed. Whatever we take, they take, as the same value. */
static void what_we_take_they_take_as_the_same_value(void **state)
{
    size_t taken = 0;

    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(200000); seed++) {
        struct skep_prng prng;
        uint8_t text[24];
        skep_bytes in = {text, 0}, rest;
        msgpack_unpacked result;
        size_t end = 0;

        skep_prng_init(&prng, seed);
        in.len = 1 + skep_prng_below(&prng, sizeof text);
        skep_prng_fill(&prng, text, in.len);
        for (size_t i = 0; i < in.len; i++)
            text[i] = skep_prng_below(&prng, 3) == 0 ? (uint8_t)(0xc0 | (text[i] & 31))
                      : skep_prng_below(&prng, 2)    ? (uint8_t)(0x80 | (text[i] & 0x33))
                                                     : text[i] & 15;
        rest = in;
        if (skep_msgpack_skip(&rest) < 0)
            continue;
        taken++;
        msgpack_unpacked_init(&result);
        if (msgpack_unpack_next(&result, (const char *)text, in.len, &end) !=
                MSGPACK_UNPACK_SUCCESS ||
            end != in.len - rest.len)
            fail_msg("SKEP_SEED=%llu: %s: they say it ends at %zu", (unsigned long long)seed,
                     test_hex(text, in.len), end);
        rest = in;
        if (!same(&result.data, &rest))
            fail_msg("SKEP_SEED=%llu: %s", (unsigned long long)seed, test_hex(text, in.len));
        msgpack_unpacked_destroy(&result);
    }
    if (test_seed_first() == 1)
        assert_true(taken > 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_write_the_same_bytes),
        cmocka_unit_test(what_we_take_they_take_as_the_same_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
