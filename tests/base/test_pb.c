/* SPDX-License-Identifier: MIT */
#include "support/test.h"

#include "base/pb.h"

static int write_all(const struct skep_mem *mem, void *user)
{
    struct skep_buf *out = user, buf;
    size_t outer, inner;
    int rc;

    skep_buf_init(&buf, mem);
    skep_pb_put_varint(&buf, 1, 300);
    skep_pb_put_str(&buf, 2, "testing");
    skep_pb_put_double(&buf, 3, 1.5);
    outer = skep_pb_begin(&buf, 4);
    skep_pb_put_varint(&buf, 1, 0);
    inner = skep_pb_begin(&buf, 5);
    for (size_t i = 0; i < 100; i++)
        skep_pb_put_varint(&buf, 6, UINT64_MAX);
    skep_pb_end(&buf, inner);
    skep_pb_end(&buf, outer);
    skep_pb_end(&buf, skep_pb_begin(&buf, 7));
    skep_pb_put_bytes(&buf, 536870911, (skep_bytes){0});
    rc = buf.rc;
    if (out && rc == 0)
        skep_buf_put_bytes(out, skep_buf_view(&buf));
    skep_buf_fini(&buf);
    return rc;
}

static void fields_are_written_as_the_specification_has_them(void **state)
{
    static const char front[] = "08ac02"
                                "120774657374696e67"
                                "19000000000000f83f";
    struct skep_buf buf;

    (void)state;
    skep_buf_init(&buf, &skep_mem_std);
    assert_int_equal(write_all(&skep_mem_std, &buf), 0);
    assert_memory_equal(test_hex(buf.data, buf.len), front, sizeof front - 1);
    /* 100 fields of 11 bytes in a field 5 in a field 4: 22 (len 2 bytes) 08 00 2a (len 2 bytes) … */
    assert_string_equal(test_hex(buf.data + 21, 8), "22d10808002acc08");
    assert_string_equal(test_hex(buf.data + buf.len - 8, 8), "3a00faffffff0f00");
    skep_buf_fini(&buf);
}

static void fields_read_back(void **state)
{
    struct skep_buf buf;
    struct skep_pb_reader reader, inner;
    struct skep_pb_field field;
    size_t count = 0;

    (void)state;
    skep_buf_init(&buf, &skep_mem_std);
    assert_int_equal(write_all(&skep_mem_std, &buf), 0);
    reader = skep_pb_read(skep_buf_view(&buf));
    assert_true(skep_pb_next(&reader, &field));
    assert_int_equal(field.number, 1);
    assert_int_equal(skep_pb_varint(&reader, &field), 300);
    assert_true(skep_pb_next(&reader, &field));
    assert_true(skep_bytes_equal(skep_pb_bytes(&reader, &field), skep_bytes_str("testing")));
    assert_true(skep_pb_next(&reader, &field));
    assert_true(skep_pb_double(&reader, &field) == 1.5);
    assert_true(skep_pb_next(&reader, &field));
    inner = skep_pb_read(skep_pb_bytes(&reader, &field));
    assert_true(skep_pb_next(&inner, &field));
    assert_true(skep_pb_next(&inner, &field));
    assert_int_equal(field.number, 5);
    inner = skep_pb_read(skep_pb_bytes(&inner, &field));
    while (skep_pb_next(&inner, &field)) {
        assert_true(skep_pb_varint(&inner, &field) == UINT64_MAX);
        count++;
    }
    assert_int_equal(count, 100);
    assert_int_equal(inner.rc, 0);
    assert_true(skep_pb_next(&reader, &field));
    assert_int_equal(field.bytes.len, 0);
    assert_true(skep_pb_next(&reader, &field));
    assert_int_equal(field.number, 536870911);
    assert_false(skep_pb_next(&reader, &field));
    assert_int_equal(reader.rc, 0);
    skep_buf_fini(&buf);
}

/* A message cut anywhere either ends at a field's end or is refused; it never reads on. */
static void a_cut_message_is_refused_or_ends_between_fields(void **state)
{
    struct skep_buf buf;

    (void)state;
    skep_buf_init(&buf, &skep_mem_std);
    assert_int_equal(write_all(&skep_mem_std, &buf), 0);
    for (size_t cut = 0; cut < buf.len; cut++) {
        uint8_t *part = malloc(cut + 1);
        struct skep_pb_reader reader;
        struct skep_pb_field field;
        size_t fields = 0;

        assert_non_null(part);
        memcpy(part, buf.data, cut);
        reader = skep_pb_read(skep_bytes_of(part, cut));
        while (skep_pb_next(&reader, &field))
            fields++;
        assert_true(reader.rc == 0 || reader.rc == SKEP_EPEER_FRAME);
        if (reader.rc == 0)
            assert_true(cut == 0 || cut == 3 || cut == 12 || cut == 21 || fields >= 4);
        assert_false(skep_pb_next(&reader, &field)); /* then and ever after */
        free(part);
    }
    skep_buf_fini(&buf);
}

static void malformed_messages_are_refused(void **state)
{
    static const char *const bad[] = {
        "00",                     /* field number 0 */
        "07",                     /* wire type 7 */
        "0b",                     /* a group begins */
        "0c",                     /* a group ends */
        "0e",                     /* wire type 6 */
        "808080801000",           /* a tag of 33 bits */
        "08",                     /* no value */
        "0880",                   /* half a value */
        "08ffffffffffffffffff02", /* 65 bits */
        "0a01",                   /* a length without bytes */
        "0affffffffffffffffff01", /* a length of 2^64 - 1 */
        "0affffffff0f00",         /* 2^32 - 1 */
        "0900000000000000",       /* 7 of 8 bytes */
        "0d000000",               /* 3 of 4 bytes */
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(bad); i++) {
        struct skep_pb_reader reader = skep_pb_read(test_unhex(bad[i]));
        struct skep_pb_field field;

        if (skep_pb_next(&reader, &field) || reader.rc != SKEP_EPEER_FRAME)
            fail_msg("%s was taken", bad[i]);
    }
}

static void a_field_of_another_wire_type_is_an_error(void **state)
{
    struct skep_pb_reader reader = skep_pb_read(test_unhex("080108010801"));
    struct skep_pb_field field;

    (void)state;
    assert_true(skep_pb_next(&reader, &field));
    assert_int_equal(skep_pb_bytes(&reader, &field).len, 0);
    assert_int_equal(reader.rc, SKEP_EPEER_FRAME);
    assert_false(skep_pb_next(&reader, &field));

    reader = skep_pb_read(test_unhex("0a0108"));
    assert_true(skep_pb_next(&reader, &field));
    assert_int_equal(skep_pb_varint(&reader, &field), 0);
    assert_int_equal(reader.rc, SKEP_EPEER_FRAME);

    reader = skep_pb_read(test_unhex("0d01000000"));
    assert_true(skep_pb_next(&reader, &field));
    assert_int_equal(field.type, SKEP_PB_FIXED32);
    assert_int_equal(field.value, 1);
    assert_true(skep_pb_double(&reader, &field) == 0);
    assert_int_equal(reader.rc, SKEP_EPEER_FRAME);
}

static void each_failing_allocation_is_reported(void **state)
{
    (void)state;
    test_each_allocation_fails(write_all, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_written_as_the_specification_has_them),
        cmocka_unit_test(fields_read_back),
        cmocka_unit_test(a_cut_message_is_refused_or_ends_between_fields),
        cmocka_unit_test(malformed_messages_are_refused),
        cmocka_unit_test(a_field_of_another_wire_type_is_an_error),
        cmocka_unit_test(each_failing_allocation_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
