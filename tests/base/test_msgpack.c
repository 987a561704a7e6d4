/* SPDX-License-Identifier: MIT */
/* Vectors: dht.json, made by hivemind's own MSGPackSerializer. */
#include "support/test.h"

#include "base/limits.h"
#include "base/msgpack.h"

static const json_t *member(const json_t *value, const char *key)
{
    return json_is_object(value) ? json_object_get(value, key) : NULL;
}

static void encode(struct skep_buf *out, const json_t *value);

static void encode_tuple(struct skep_buf *out, const json_t *items)
{
    struct skep_buf payload;

    skep_buf_init(&payload, out->mem);
    skep_msgpack_put_array(&payload, (uint32_t)json_array_size(items));
    for (size_t i = 0; i < json_array_size(items); i++)
        encode(&payload, json_array_get(items, i));
    skep_msgpack_put_ext(out, SKEP_EXT_TUPLE, (uint32_t)payload.len);
    skep_buf_put_bytes(out, skep_buf_view(&payload));
    skep_buf_fini(&payload);
}

/* A value as the vectors spell it. */
static void encode(struct skep_buf *out, const json_t *value)
{
    const json_t *items;

    if (json_is_null(value))
        skep_msgpack_put_nil(out);
    else if (json_is_boolean(value))
        skep_msgpack_put_bool(out, json_is_true(value));
    else if (json_is_string(value))
        skep_msgpack_put_str(out,
                             skep_bytes_of(json_string_value(value), json_string_length(value)));
    else if ((items = member(value, "int")) && json_string_value(items)[0] == '-')
        skep_msgpack_put_int(out, strtoll(json_string_value(items), NULL, 10));
    else if ((items = member(value, "int")))
        skep_msgpack_put_uint(out, strtoull(json_string_value(items), NULL, 10));
    else if (member(value, "float"))
        skep_msgpack_put_float(
            out, skep_double_of_bits(skep_get_be64(test_unhex(test_str(value, "be_bits")).data)));
    else if (member(value, "bytes"))
        skep_msgpack_put_bin(out, test_unhex(test_str(value, "bytes")));
    else if ((items = member(value, "tuple")))
        encode_tuple(out, items);
    else if ((items = member(value, "list"))) {
        skep_msgpack_put_array(out, (uint32_t)json_array_size(items));
        for (size_t i = 0; i < json_array_size(items); i++)
            encode(out, json_array_get(items, i));
    } else {
        items = test_get(value, "map");
        skep_msgpack_put_map(out, (uint32_t)json_array_size(items));
        for (size_t i = 0; i < json_array_size(items); i++) {
            encode(out, json_array_get(json_array_get(items, i), 0));
            encode(out, json_array_get(json_array_get(items, i), 1));
        }
    }
}

static void values_are_written_as_hivemind_writes_them(void **state)
{
    json_t *vectors = test_get(test_vectors("dht.json"), "msgpack"), *vector;
    size_t i;

    (void)state;
    assert_int_equal(json_array_size(vectors), 113);
    json_array_foreach(vectors, i, vector)
    {
        skep_bytes expected = test_unhex(test_str(vector, "hex"));
        bool loads = json_is_true(test_get(vector, "loads_back_equal"));
        struct skep_buf buf;

        skep_buf_init(&buf, &skep_mem_std);
        encode(&buf, test_get(vector, "value"));
        if (!skep_bytes_equal(skep_buf_view(&buf), expected))
            fail_msg("%s: %s, not %s", test_str(vector, "what"), test_hex(buf.data, buf.len),
                     test_str(vector, "hex"));
        if (skep_msgpack_valid(expected) != loads)
            fail_msg("%s: %s", test_str(vector, "what"), test_str(vector, "hex"));
        skep_buf_fini(&buf);
    }
}

/* Read one value and write it again from its tokens; tuples are descended into. */
static void write_again(struct skep_buf *out, skep_bytes *in)
{
    struct skep_msgpack_token t;
    uint64_t items = 0;

    assert_int_equal(skep_msgpack_next(in, &t), 1);
    switch (t.type) {
    case SKEP_MSGPACK_NIL: skep_msgpack_put_nil(out); break;
    case SKEP_MSGPACK_BOOL: skep_msgpack_put_bool(out, t.u); break;
    case SKEP_MSGPACK_UINT: skep_msgpack_put_uint(out, t.u); break;
    case SKEP_MSGPACK_INT: skep_msgpack_put_int(out, t.i); break;
    case SKEP_MSGPACK_FLOAT: skep_msgpack_put_float(out, t.f); break;
    case SKEP_MSGPACK_STR: skep_msgpack_put_str(out, t.bytes); break;
    case SKEP_MSGPACK_BIN: skep_msgpack_put_bin(out, t.bytes); break;
    case SKEP_MSGPACK_ARRAY:
        items = t.count;
        skep_msgpack_put_array(out, t.count);
        break;
    case SKEP_MSGPACK_MAP:
        items = (uint64_t)t.count * 2;
        skep_msgpack_put_map(out, t.count);
        break;
    case SKEP_MSGPACK_EXT:
        skep_msgpack_put_ext(out, t.ext_type, (uint32_t)t.bytes.len);
        skep_buf_put_bytes(out, t.bytes);
        break;
    }
    for (; items > 0; items--)
        write_again(out, in);
}

static void values_read_back(void **state)
{
    json_t *vectors = test_get(test_vectors("dht.json"), "msgpack"), *vector;
    size_t i;

    (void)state;
    json_array_foreach(vectors, i, vector)
    {
        skep_bytes in = test_unhex(test_str(vector, "hex")), rest = in;
        struct skep_buf buf;

        if (!json_is_true(test_get(vector, "loads_back_equal")))
            continue;
        skep_buf_init(&buf, &skep_mem_std);
        write_again(&buf, &rest);
        assert_int_equal(rest.len, 0);
        assert_true(skep_bytes_equal(skep_buf_view(&buf), in));
        skep_buf_fini(&buf);
    }
}

static void values_cut_at_each_byte_are_refused(void **state)
{
    json_t *vectors = test_get(test_vectors("dht.json"), "msgpack"), *vector;
    size_t i;

    (void)state;
    json_array_foreach(vectors, i, vector)
    {
        skep_bytes whole = test_unhex(test_str(vector, "hex"));

        for (size_t cut = 0; cut < whole.len && cut < 600; cut++) {
            uint8_t *part = malloc(cut + 1);

            assert_non_null(part);
            memcpy(part, whole.data, cut);
            if (skep_msgpack_valid(skep_bytes_of(part, cut)))
                fail_msg("%s cut to %zu bytes", test_str(vector, "hex"), cut);
            free(part);
        }
    }
}

static void what_hivemind_decodes_is_decoded_alike(void **state)
{
    json_t *vectors = test_get(test_vectors("dht.json"), "msgpack_decode"), *vector;
    size_t i;

    (void)state;
    assert_int_equal(json_array_size(vectors), 11);
    json_array_foreach(vectors, i, vector)
    {
        skep_bytes in = test_unhex(test_str(vector, "hex")), rest = in;
        const json_t *value = json_object_get(vector, "value");
        struct skep_msgpack_token t;

        if (skep_msgpack_valid(in) != (value != NULL))
            fail_msg("%s", test_str(vector, "what"));
        if (!value)
            continue;
        assert_int_equal(skep_msgpack_next(&rest, &t), 1);
        if (member(value, "float"))
            assert_true(t.type == SKEP_MSGPACK_FLOAT && t.f == 1.5);
        else if (member(value, "int"))
            assert_true(t.type == SKEP_MSGPACK_UINT && t.u == 1);
        else if (json_is_string(value))
            assert_true(t.type == SKEP_MSGPACK_STR &&
                        skep_bytes_equal(t.bytes, skep_bytes_str("a")));
        else if (member(value, "bytes"))
            assert_true(t.type == SKEP_MSGPACK_EXT && t.ext_type == 0x41 && t.bytes.len == 1);
        else if (member(value, "tuple"))
            assert_true(t.type == SKEP_MSGPACK_EXT && t.ext_type == SKEP_EXT_TUPLE &&
                        t.bytes.len == 1);
        else
            assert_true(t.type == SKEP_MSGPACK_MAP && t.count == 2);
    }
}

static void every_form_of_an_integer_reads_as_its_value(void **state)
{
    static const struct {
        const char *hex;
        bool negative;
        uint64_t u;
        int64_t i;
    } forms[] = {
        {"00", false, 0, 0},
        {"7f", false, 127, 0},
        {"cc00", false, 0, 0},
        {"ccff", false, 255, 0},
        {"cd0001", false, 1, 0},
        {"ce00000001", false, 1, 0},
        {"d001", false, 1, 0},
        {"d17fff", false, 32767, 0},
        {"d200000005", false, 5, 0},
        {"d30000000000000005", false, 5, 0},
        {"ff", true, 0, -1},
        {"e0", true, 0, -32},
        {"d0ff", true, 0, -1},
        {"d1ffff", true, 0, -1},
        {"d2ffffffff", true, 0, -1},
        {"d3ffffffffffffffff", true, 0, -1},
        {"d38000000000000000", true, 0, INT64_MIN},
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(forms); i++) {
        skep_bytes in = test_unhex(forms[i].hex);
        struct skep_msgpack_token t;
        int64_t got;
        double number;

        assert_int_equal(skep_msgpack_next(&in, &t), 1);
        assert_int_equal(t.type, forms[i].negative ? SKEP_MSGPACK_INT : SKEP_MSGPACK_UINT);
        assert_true(forms[i].negative ? t.i == forms[i].i : t.u == forms[i].u);
        assert_true(skep_msgpack_int64(&t, &got) &&
                    got == (forms[i].negative ? forms[i].i : (int64_t)forms[i].u));
        assert_true(skep_msgpack_number(&t, &number) && number == (double)got);
    }
}

static void what_is_no_number_is_not_taken_for_one(void **state)
{
    struct skep_msgpack_token t = {.type = SKEP_MSGPACK_UINT, .u = (uint64_t)INT64_MAX + 1};
    int64_t i;
    double f;

    (void)state;
    assert_false(skep_msgpack_int64(&t, &i));
    assert_true(skep_msgpack_number(&t, &f) && f == 0x1p63);
    t.type = SKEP_MSGPACK_FLOAT;
    assert_false(skep_msgpack_int64(&t, &i));
    t.type = SKEP_MSGPACK_BOOL;
    assert_false(skep_msgpack_number(&t, &f));
    assert_false(skep_msgpack_int64(&t, &i));
}

static void malformed_values_are_refused(void **state)
{
    static const char *const bad[] = {
        "c1", /* never used */
        "dd05000000"
        "c0",         /* 2^26 items in one byte */
        "ddffffffff", /* 4 Gi items in none */
        "dfffffffff"
        "c0c0",           /* 4 Gi pairs */
        "82a161c0a162",   /* a pair without its value */
        "93c0c0",         /* two of three items */
        "a3c3a9",         /* two of three bytes */
        "a2c3c3",         /* not UTF-8 */
        "a1c3",           /* half a character */
        "a3eda080",       /* a surrogate */
        "c6ffffffff",     /* 4 GiB of bytes in none */
        "c9ffffffff40",   /* and of an extension */
        "c70040",         /* an empty tuple has a payload of one byte, 90 */
        "d540c0c0",       /* a tuple that is no array */
        "d5409000",       /* a tuple with a byte too many */
        "d54091",         /* a tuple cut off inside */
        "d64092c0c1c0",   /* malformed inside */
        "c7044091a1c3c0", /* not UTF-8 inside */
        "81c001",         /* a nil key */
        "819001",         /* an array as key */
        "81d5409101c0",   /* a tuple as key */
        "c3c3",           /* two values */
        "",
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(bad); i++)
        if (skep_msgpack_valid(test_unhex(bad[i])))
            fail_msg("%s was taken", bad[i]);
    assert_true(skep_msgpack_valid(test_unhex("81c40161d5409101")));
    assert_true(
        skep_msgpack_valid(test_unhex("d7ff0000000000000000"))); /* opaque extensions stay opaque */
}

/* Arrays in arrays, or arrays in tuples: a tuple is two levels, itself and its array. */
static void nesting_is_bounded_and_one_deeper_is_refused(void **state)
{
    (void)state;
    for (size_t depth = 1; depth <= 2 * SKEP_MSGPACK_DEPTH_MAX; depth++) {
        uint8_t text[2 * SKEP_MSGPACK_DEPTH_MAX + 1];

        memset(text, 0x91, depth);
        text[depth] = 0xc0;
        assert_int_equal(skep_msgpack_valid(skep_bytes_of(text, depth + 1)),
                         depth <= SKEP_MSGPACK_DEPTH_MAX);
    }
    for (size_t depth = 1; depth <= SKEP_MSGPACK_DEPTH_MAX; depth++) {
        struct skep_buf inner, outer;

        skep_buf_init(&inner, &skep_mem_std);
        skep_buf_init(&outer, &skep_mem_std);
        skep_msgpack_put_nil(&inner);
        for (size_t i = 0; i < depth; i++) {
            skep_buf_clear(&outer);
            skep_msgpack_put_ext(&outer, SKEP_EXT_TUPLE, (uint32_t)inner.len + 1);
            skep_msgpack_put_array(&outer, 1);
            skep_buf_put_bytes(&outer, skep_buf_view(&inner));
            skep_buf_clear(&inner);
            skep_buf_put_bytes(&inner, skep_buf_view(&outer));
        }
        assert_int_equal(skep_msgpack_valid(skep_buf_view(&inner)),
                         2 * depth <= SKEP_MSGPACK_DEPTH_MAX);
        skep_buf_fini(&inner);
        skep_buf_fini(&outer);
    }
}

static void skipping_stops_behind_the_value(void **state)
{
    skep_bytes in = test_unhex("c7034092"
                               "0102"
                               "a16b"
                               "05");

    (void)state;
    assert_int_equal(skep_msgpack_skip(&in), 0);
    assert_int_equal(in.len, 3);
    assert_int_equal(skep_msgpack_skip(&in), 0);
    assert_int_equal(skep_msgpack_skip(&in), 0);
    assert_int_equal(in.len, 0);
    assert_int_equal(skep_msgpack_skip(&in), SKEP_EPEER_FRAME);
}

static void lengths_take_their_smallest_form(void **state)
{
    static const struct {
        uint32_t len;
        const char *str, *bin, *array, *map, *ext;
    } rows[] = {
        {0, "a0", "c400", "90", "80", "c70007"},
        {1, "a1", "c401", "91", "81", "d407"},
        {2, "a2", "c402", "92", "82", "d507"},
        {3, "a3", "c403", "93", "83", "c70307"},
        {4, "a4", "c404", "94", "84", "d607"},
        {8, "a8", "c408", "98", "88", "d707"},
        {15, "af", "c40f", "9f", "8f", "c70f07"},
        {16, "b0", "c410", "dc0010", "de0010", "d807"},
        {31, "bf", "c41f", "dc001f", "de001f", "c71f07"},
        {32, "d920", "c420", "dc0020", "de0020", "c72007"},
        {255, "d9ff", "c4ff", "dc00ff", "de00ff", "c7ff07"},
        {256, "da0100", "c50100", "dc0100", "de0100", "c8010007"},
        {65535, "daffff", "c5ffff", "dcffff", "deffff", "c8ffff07"},
        {65536, "db00010000", "c600010000", "dd00010000", "df00010000", "c90001000007"},
    };
    static const uint8_t zeros[65536];

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(rows); i++) {
        struct skep_buf buf;
        size_t len = rows[i].len;

        skep_buf_init(&buf, &skep_mem_std);
        skep_msgpack_put_str(&buf, skep_bytes_of(zeros, len));
        assert_string_equal(test_hex(buf.data, buf.len - len), rows[i].str);
        skep_buf_clear(&buf);
        skep_msgpack_put_bin(&buf, skep_bytes_of(zeros, len));
        assert_string_equal(test_hex(buf.data, buf.len - len), rows[i].bin);
        skep_buf_clear(&buf);
        skep_msgpack_put_array(&buf, rows[i].len);
        assert_string_equal(test_hex(buf.data, buf.len), rows[i].array);
        skep_buf_clear(&buf);
        skep_msgpack_put_map(&buf, rows[i].len);
        assert_string_equal(test_hex(buf.data, buf.len), rows[i].map);
        skep_buf_clear(&buf);
        skep_msgpack_put_ext(&buf, 7, rows[i].len);
        assert_string_equal(test_hex(buf.data, buf.len), rows[i].ext);
        skep_buf_fini(&buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_written_as_hivemind_writes_them),
        cmocka_unit_test(values_read_back),
        cmocka_unit_test(values_cut_at_each_byte_are_refused),
        cmocka_unit_test(what_hivemind_decodes_is_decoded_alike),
        cmocka_unit_test(every_form_of_an_integer_reads_as_its_value),
        cmocka_unit_test(what_is_no_number_is_not_taken_for_one),
        cmocka_unit_test(malformed_values_are_refused),
        cmocka_unit_test(nesting_is_bounded_and_one_deeper_is_refused),
        cmocka_unit_test(skipping_stops_behind_the_value),
        cmocka_unit_test(lengths_take_their_smallest_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
