/* SPDX-License-Identifier: MIT */
#include "support/test.h"

#include "base/limits.h"
#include "base/varint.h"

static void a_writer_keeps_what_is_put(void **state)
{
    struct test_mem mem;
    struct skep_buf buf;

    (void)state;
    test_mem_init(&mem);
    skep_buf_init(&buf, &mem.mem);
    skep_buf_put_u8(&buf, 1);
    skep_buf_put_be16(&buf, 0x0203);
    skep_buf_put_be32(&buf, 0x04050607);
    skep_buf_put_be64(&buf, 0x08090a0b0c0d0e0f);
    skep_buf_put_str(&buf, "xyz");
    skep_buf_put(&buf, NULL, 0);
    assert_string_equal(test_hex(buf.data, buf.len), "0102030405060708090a0b0c0d0e0f78797a");
    for (size_t i = 0; i < 10000; i++)
        skep_buf_put_u8(&buf, (uint8_t)i);
    assert_int_equal(buf.len, 10018);
    assert_int_equal(buf.data[18 + 777], 777 & 255);
    assert_true(mem.allocations < 20); /* it grows by a factor */
    skep_buf_drop(&buf, 17);
    assert_int_equal(buf.data[0], 'z');
    assert_int_equal(buf.len, 10001);
    skep_buf_drop(&buf, buf.len);
    assert_int_equal(buf.len, 0);
    skep_buf_fini(&buf);
    assert_int_equal(mem.live, 0);
}

static void a_writer_keeps_its_first_error(void **state)
{
    struct test_mem mem;
    struct skep_buf buf;

    (void)state;
    test_mem_init(&mem);
    skep_buf_init(&buf, &mem.mem);
    skep_buf_put_str(&buf, "abc");
    mem.fail_at = 1;
    assert_null(skep_buf_reserve(&buf, 1000));
    assert_int_equal(buf.rc, SKEP_ENOMEM);
    skep_buf_put_str(&buf, "d"); /* would fit, but something before it is missing */
    assert_int_equal(buf.len, 3);
    skep_buf_clear(&buf);
    assert_int_equal(buf.rc, 0);
    assert_null(skep_buf_reserve(&buf, SIZE_MAX - 1));
    assert_int_equal(buf.rc, SKEP_ENOMEM);
    skep_buf_fini(&buf);
    assert_int_equal(mem.live, 0);
}

static void stolen_bytes_are_the_thiefs(void **state)
{
    struct test_mem mem;
    struct skep_buf buf;
    uint8_t *data;
    size_t len;

    (void)state;
    test_mem_init(&mem);
    skep_buf_init(&buf, &mem.mem);
    skep_buf_put_str(&buf, "abc");
    data = skep_buf_steal(&buf, &len);
    assert_int_equal(len, 3);
    assert_memory_equal(data, "abc", 3);
    skep_buf_put_str(&buf, "def");
    assert_memory_equal(data, "abc", 3);
    skep_buf_fini(&buf);
    skep_mem_free(&mem.mem, data);
    assert_int_equal(mem.live, 0);
}

static void views_are_cut_and_compared(void **state)
{
    skep_bytes all = skep_bytes_str("abcdef"), none = {0};

    (void)state;
    assert_true(skep_bytes_equal(skep_bytes_take(&all, 2), skep_bytes_str("ab")));
    assert_true(skep_bytes_equal(skep_bytes_take(&all, 100), skep_bytes_str("cdef")));
    assert_int_equal(all.len, 0);
    assert_int_equal(skep_bytes_take(&none, 5).len, 0);
    assert_true(skep_bytes_equal(none, skep_bytes_str("")));
    assert_true(skep_bytes_compare(skep_bytes_str("a"), skep_bytes_str("ab")) < 0);
    assert_true(skep_bytes_compare(skep_bytes_str("b"), skep_bytes_str("ab")) > 0);
    assert_true(skep_bytes_compare(skep_bytes_of("\xff", 1), skep_bytes_str("a")) > 0);
    assert_int_equal(skep_bytes_compare(none, none), 0);
}

static void numbers_round_trip_in_both_byte_orders(void **state)
{
    uint8_t bytes[8];

    (void)state;
    for (uint64_t v = 1; v != 0; v = v << 1) {
        skep_put_be64(bytes, v + 3);
        assert_true(skep_get_be64(bytes) == v + 3);
        skep_put_le64(bytes, v + 3);
        assert_true(skep_get_le64(bytes) == v + 3);
        skep_put_be32(bytes, (uint32_t)v);
        assert_true(skep_get_be32(bytes) == (uint32_t)v);
        skep_put_be16(bytes, (uint16_t)v);
        assert_true(skep_get_be16(bytes) == (uint16_t)v);
    }
    skep_put_le64(bytes, 1);
    assert_string_equal(test_hex(bytes, 8), "0100000000000000");
}

static void hex_reads_back_and_refuses_what_is_none(void **state)
{
    uint8_t out[4];

    (void)state;
    assert_string_equal(test_hex("\x00\xab\xff", 3), "00abff");
    assert_int_equal(skep_unhex(out, sizeof out, "00aBFf"), 3);
    assert_memory_equal(out, "\x00\xab\xff", 3);
    assert_int_equal(skep_unhex(out, sizeof out, ""), 0);
    assert_int_equal(skep_unhex(out, sizeof out, "0"), -1);
    assert_int_equal(skep_unhex(out, sizeof out, "0g"), -1);
    assert_int_equal(skep_unhex(out, sizeof out, " 0"), -1);
    assert_int_equal(skep_unhex(out, sizeof out, "0011223344"), -1);
}

/* Unicode 15, table 3-7, decoded the slow way. */
static bool utf8_by_code_point(const uint8_t *p, size_t len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

    while (len > 0) {
        size_t n = p[0] < 0x80       ? 1
                   : p[0] >> 5 == 6  ? 2
                   : p[0] >> 4 == 14 ? 3
                   : p[0] >> 3 == 30 ? 4
                                     : 0;
        uint32_t c = n == 0 ? 0 : n == 1 ? p[0] : p[0] & (0x7fu >> n);

        if (n == 0 || n > len)
            return false;
        for (size_t i = 1; i < n; i++) {
            if (p[i] >> 6 != 2)
                return false;
            c = c << 6 | (p[i] & 63);
        }
        if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
            return false;
        p += n;
        len -= n;
    }
    return true;
}

static void utf8_is_checked_as_by_code_points(void **state)
{
    static const uint8_t edges[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                    0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed,
                                    0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
    enum { N = SKEP_COUNT_OF(edges) };

    (void)state;
    for (size_t i = 0; i < (size_t)N * N * N * N; i++) {
        uint8_t *text = malloc(4); /* exactly, for the address sanitizer */
        size_t len = 1 + i % 4;

        assert_non_null(text);
        for (size_t j = 0, k = i; j < 4; j++, k /= N)
            text[j] = edges[k % N];
        if (skep_utf8_valid(skep_bytes_of(text + 4 - len, len)) !=
            utf8_by_code_point(text + 4 - len, len))
            fail_msg("%s", test_hex(text + 4 - len, len));
        free(text);
    }
}

static void text_from_peers_is_escaped_and_cut(void **state)
{
    char out[SKEP_PEER_TEXT_MAX + 1], small[6];
    char wide[2 * SKEP_PEER_TEXT_MAX];

    (void)state;
    assert_string_equal(skep_text_escape(out, sizeof out, skep_bytes_str("ffn.3 \xc3\xa9")),
                        "ffn.3 \xc3\xa9");
    assert_string_equal(skep_text_escape(out, sizeof out, skep_bytes_of("a\x1b[31m\x7f\0\n", 9)),
                        "a\\x1b[31m\\x7f\\x00\\x0a");
    assert_string_equal(skep_text_escape(out, sizeof out, skep_bytes_str("\xc2\x9b|\xff|\xe2\x82")),
                        "\\xc2\\x9b|\\xff|\\xe2\\x82");
    assert_string_equal(skep_text_escape(out, sizeof out, (skep_bytes){0}), "");
    memset(wide, 'x', sizeof wide);
    assert_int_equal(strlen(skep_text_escape(out, sizeof out, skep_bytes_of(wide, sizeof wide))),
                     SKEP_PEER_TEXT_MAX);
    /* never half a character or half an escape */
    assert_string_equal(skep_text_escape(small, sizeof small, skep_bytes_str("abcd\xc3\xa9")),
                        "abcd");
    assert_string_equal(skep_text_escape(small, sizeof small, skep_bytes_str("ab\x01")), "ab");
    assert_string_equal(skep_text_escape(small, 1, skep_bytes_str("ab")), "");
}

/* A reader of marks in both directions hides what follows; a terminal shows other text than was sent. */
static void marks_that_turn_text_around_are_escaped(void **state)
{
    char out[SKEP_PEER_TEXT_MAX + 1];

    (void)state;
    assert_string_equal(skep_text_escape(out, sizeof out,
                                         skep_bytes_str("a\xe2\x80\xae"
                                                        "b")),
                        "a\\xe2\\x80\\xae"
                        "b");
    assert_string_equal(skep_text_escape(out, sizeof out, skep_bytes_str("\xe2\x81\xa6")),
                        "\\xe2\\x81\\xa6");
    assert_string_equal(skep_text_escape(out, sizeof out, skep_bytes_str("\xe2\x80\xa8")),
                        "\\xe2\\x80\\xa8");
    assert_string_equal(skep_text_escape(out, sizeof out, skep_bytes_str("\xe2\x80\xa6")),
                        "\xe2\x80\xa6"); /* an ellipsis */
}

static void varints_match_the_vectors(void **state)
{
    json_t *vectors = test_get(test_vectors("transport.json"), "uvarint"), *vector;
    size_t i;

    (void)state;
    assert_true(json_array_size(vectors) > 0);
    json_array_foreach(vectors, i, vector)
    {
        uint64_t v = (uint64_t)json_integer_value(test_get(vector, "value")), got;
        skep_bytes in = test_unhex(test_str(vector, "hex"));
        uint8_t out[SKEP_VARINT_LEN_MAX];
        size_t len = skep_varint_encode(out, v);

        assert_string_equal(test_hex(out, len), test_str(vector, "hex"));
        assert_int_equal(len, skep_varint_len(v));
        assert_int_equal(skep_varint_decode(&in, &got), len);
        assert_true(got == v);
    }
}

static void varints_round_trip_and_wait_for_their_last_byte(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++)
        for (uint64_t v = ((uint64_t)1 << bit) - 1;
             v <= ((uint64_t)1 << bit) && v >= ((uint64_t)1 << bit) - 1; v++) {
            uint8_t out[SKEP_VARINT_LEN_MAX];
            size_t len = skep_varint_encode(out, v);
            skep_bytes in = skep_bytes_of(out, len);
            uint64_t got = 0;

            for (size_t cut = 0; cut < len; cut++) {
                skep_bytes part = skep_bytes_of(out, cut);

                assert_int_equal(skep_varint_decode(&part, &got), 0);
                assert_int_equal(part.len, cut);
            }
            assert_int_equal(skep_varint_decode(&in, &got), len);
            assert_true(got == v && in.len == 0 && len == skep_varint_len(v));
        }
}

static void varints_above_64_bits_are_refused(void **state)
{
    uint64_t v;
    skep_bytes greatest = test_unhex("ffffffffffffffffff01"),
               above = test_unhex("ffffffffffffffffff02");
    skep_bytes endless = test_unhex("8080808080808080808080"), padded = test_unhex("8000");

    (void)state;
    assert_int_equal(skep_varint_decode(&greatest, &v), 10);
    assert_true(v == UINT64_MAX);
    assert_int_equal(skep_varint_decode(&above, &v), SKEP_EPEER_FRAME);
    assert_int_equal(skep_varint_decode(&endless, &v), SKEP_EPEER_FRAME);
    assert_int_equal(skep_varint_decode(&padded, &v), 2);
    assert_true(v == 0);
}

static void each_error_has_a_name_and_a_text(void **state)
{
    (void)state;
    assert_string_equal(skep_error_name(SKEP_ENOMEM), "SKEP_ENOMEM");
    assert_string_equal(skep_error_name(0), "SKEP_OK");
    assert_string_equal(skep_strerror(0), "success");
    assert_string_equal(skep_strerror(-1), "unknown error");
    assert_string_equal(skep_error_name(7), "SKEP_UNKNOWN");
    assert_true(strlen(skep_strerror(SKEP_EPEER_CLOCK)) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_writer_keeps_what_is_put),
        cmocka_unit_test(a_writer_keeps_its_first_error),
        cmocka_unit_test(stolen_bytes_are_the_thiefs),
        cmocka_unit_test(views_are_cut_and_compared),
        cmocka_unit_test(numbers_round_trip_in_both_byte_orders),
        cmocka_unit_test(hex_reads_back_and_refuses_what_is_none),
        cmocka_unit_test(utf8_is_checked_as_by_code_points),
        cmocka_unit_test(text_from_peers_is_escaped_and_cut),
        cmocka_unit_test(marks_that_turn_text_around_are_escaped),
        cmocka_unit_test(varints_match_the_vectors),
        cmocka_unit_test(varints_round_trip_and_wait_for_their_last_byte),
        cmocka_unit_test(varints_above_64_bits_are_refused),
        cmocka_unit_test(each_error_has_a_name_and_a_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
