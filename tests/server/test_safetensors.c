/* SPDX-License-Identifier: MIT */
/* Headers of safetensors files: what is read, what is refused with which words, what is written. */
#include "server/safetensors.h"

#include "base/limits.h"
#include "support/test.h"

static int parse(struct skep_safetensors *out, const char *header, uint64_t data_len, char *why)
{
    why[0] = '\0';
    return skep_safetensors_parse(out, &skep_mem_std, skep_bytes_str(header), data_len, why, 256);
}

static void a_header_gives_names_shapes_and_places(void **state)
{
    struct skep_safetensors file;
    char why[256];

    (void)state;
    assert_int_equal(
        parse(&file,
              "{\"b\":{\"shape\":[],\"dtype\":\"F64\",\"data_offsets\":[24,32]},\r\n"
              "\t\"__metadata__\" : {\"step\":\"7\" , \"\":\"\"},"
              "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
              "\"none\":{\"dtype\":\"U8\",\"shape\":[5,0],\"data_offsets\":[24,24]}}  ",
              32, why),
        0);
    assert_int_equal(file.tensor_count, 3);
    assert_true(skep_bytes_equal(file.tensors[0].name, skep_bytes_str("a")));
    assert_string_equal(file.tensors[0].dtype, "F32");
    assert_int_equal(file.tensors[0].axes, 2);
    assert_int_equal(file.tensors[0].shape[1], 3);
    assert_int_equal(file.tensors[0].end, 24);
    assert_true(skep_bytes_equal(file.tensors[1].name, skep_bytes_str("none")));
    assert_true(skep_bytes_equal(file.tensors[2].name, skep_bytes_str("b")));
    assert_int_equal(file.tensors[2].axes, 0);
    assert_int_equal(file.tensors[2].begin, 24);
    assert_int_equal(file.note_count, 2);
    assert_true(skep_bytes_equal(*skep_safetensors_note(&file, "step"), skep_bytes_str("7")));
    assert_null(skep_safetensors_note(&file, "steps"));
    skep_safetensors_fini(&file);
}

static void escapes_of_json_are_read(void **state)
{
    struct skep_safetensors file;
    char why[256];

    (void)state;
    assert_int_equal(parse(&file,
                           "{\"__metadata__\":{\"\\\"\\\\\\/\\b\\f\\n\\r\\t\":"
                           "\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\\u0000é\"}}",
                           0, why),
                     0);
    assert_true(skep_bytes_equal(file.notes[0].key, skep_bytes_str("\"\\/\b\f\n\r\t")));
    assert_true(skep_bytes_equal(file.notes[0].value, skep_bytes_of("Aé€😀\0é", 13)));
    skep_safetensors_fini(&file);
}

#define T(name, shape, offsets)                                                                    \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void what_is_wrong_with_a_header_is_said(void **state)
{
    static const struct {
        const char *header;
        uint64_t data_len;
        const char *why;
    } cases[] = {
        {"", 0, "its header is malformed at byte 0"},
        {" {}", 0, "its header is malformed at byte 0"},
        {"[]", 0, "its header is malformed at byte 0"},
        {"{", 0, "its header is malformed at byte 1"},
        {"{,}", 0, "its header is malformed at byte 1"},
        {"{}x", 0, "its header is malformed at byte 2"},
        {"{} {}", 0, "its header is malformed at byte 3"},
        {"{\"a\":1}", 0, "its header is malformed at byte 5"},
        {"{\"a\":{}}", 0, "its header is malformed at byte 6"},
        {"{\"a\" {}}", 0, "its header is malformed at byte 5"},
        {"{\"a\n\":{}}", 0, "its header is malformed at byte 3"},
        {"{\"\\x\":{}}", 0, "its header is malformed at byte 3"},
        {"{\"\\u12g4\":{}}", 0, "its header is malformed at byte 6"},
        {"{\"\\udc00\":{}}", 0, "its header is malformed at byte 8"},
        {"{\"\\ud800\":{}}", 0, "its header is malformed at byte 8"},
        {"{\"\\ud800\\u0041\":{}}", 0, "its header is malformed at byte 14"},
        {"{" T("a", "[1]", "[0,4]") ",}", 4, "its header is malformed at byte 54"},
        {"{" T("a", "[1,]", "[0,4]") "}", 4, "its header is malformed at byte 31"},
        {"{" T("a", "[01]", "[0,4]") "}", 4, "its header is malformed at byte 31"},
        {"{" T("a", "[1.0]", "[0,4]") "}", 4, "its header is malformed at byte 30"},
        {"{" T("a", "[-1]", "[0,4]") "}", 4, "its header is malformed at byte 29"},
        {"{" T("a", "1", "[0,4]") "}", 4, "its header is malformed at byte 28"},
        {"{" T("a", "[99999999999999999999]", "[0,4]") "}", 4,
         "the number at byte 29 of its header is too large"},
        {"{" T("a", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4,
         "the list at byte 45 of its header has more than 8 numbers"},
        {"{" T("a", "[1]", "[0]") "}", 4, "the data_offsets of tensor \"a\" are not begin and end"},
        {"{" T("a", "[1]", "[0,4,8]") "}", 4,
         "the list at byte 52 of its header has more than 2 numbers"},
        {"{" T("a", "[1]", "[4,0]") "}", 4,
         "the data_offsets of tensor \"a\" are not begin and end"},
        {"{" T("a", "[2]", "[0,4]") "}", 4,
         "tensor \"a\" has 4 bytes, which its shape contradicts"},
        {"{" T("a", "[4611686018427387905]", "[0,4]") "}", 4,
         "tensor \"a\" has 4 bytes, which its shape contradicts"},
        {"{" T("a", "[1]", "[0,4]") "," T("a", "[1]", "[4,8]") "}", 8, "it has tensor \"a\" twice"},
        {"{" T("a", "[1]", "[4,8]") "}", 8, "tensor \"a\" has a hole before it"},
        {"{" T("a", "[1]", "[0,4]") "," T("b", "[1]", "[8,12]") "}", 12,
         "tensor \"b\" has a hole before it"},
        {"{" T("a", "[2]", "[0,8]") "," T("b", "[1]", "[4,8]") "}", 8,
         "tensor \"b\" overlaps another"},
        {"{" T("a", "[2]", "[0,8]") "," T("b", "[2]", "[0,8]") "}", 8,
         "tensor \"b\" overlaps another"},
        {"{" T("a", "[2]", "[0,8]") "}", 7, "it is torn: of 8 bytes of tensors it has 7"},
        {"{" T("a", "[2]", "[0,8]") "}", 9, "1 bytes follow its tensors"},
        {"{}", 1, "1 bytes follow its tensors"},
        {"{\"a\":{\"dtype\":\"F3\",\"shape\":[],\"data_offsets\":[0,4]}}", 4,
         "tensor \"a\" has the unknown dtype \"F3\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"x\":[0,4]}}", 4,
         "tensor \"a\" has the unknown entry \"x\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"shape\":[]}}", 4,
         "tensor \"a\" has \"shape\" twice"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 4, "tensor \"a\" has \"dtype\" twice"},
        {"{\"a\":{\"data_offsets\":[0,0],\"data_offsets\":[0,0]}}", 4,
         "tensor \"a\" has \"data_offsets\" twice"},
        {"{\"a\":{\"shape\":[],\"data_offsets\":[0,4]}}", 4, "tensor \"a\" lacks its dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "tensor \"a\" lacks its shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "tensor \"a\" lacks its data_offsets"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "its header is malformed at byte 21"},
        {"{\"__metadata__\":[]}", 0, "its header is malformed at byte 16"},
        {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "its __metadata__ has \"a\" twice"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "its header has __metadata__ twice"},
        {"{\"\xff\":{}}", 0, "its header is not UTF-8"},
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_safetensors file;
        char why[256];

        if (parse(&file, cases[i].header, cases[i].data_len, why) != SKEP_EVALUE)
            fail_msg("%s was taken", cases[i].header);
        if (strcmp(why, cases[i].why) != 0)
            fail_msg("%s: %s", cases[i].header, why);
        assert_null(file.tensors);
    }
}

static const size_t shape_2x3[] = {2, 3}, shape_1[] = {1};

/* A header with all there is, of `bytes` in `out`. */
static int write_header(struct skep_buf *out)
{
    struct skep_safetensors_header header;

    skep_safetensors_begin(&header, out);
    skep_safetensors_put_note(&header, "uid",
                              skep_bytes_str("a\"\\\x01\n\x7f"
                                             "é.7"));
    skep_safetensors_put_note(&header, "step", skep_bytes_str("18446744073709551615"));
    skep_safetensors_put_float32(&header, "module.", "weight", 2, shape_2x3);
    skep_safetensors_put_float32(&header, "", "one", 0, NULL);
    skep_safetensors_put_float32(&header, "x.", "y", 1, shape_1);
    return skep_safetensors_end(&header);
}

static void a_header_cut_anywhere_is_refused(void **state)
{
    struct skep_buf out;

    (void)state;
    skep_buf_init(&out, &skep_mem_std);
    assert_int_equal(write_header(&out), 0);
    while (out.data[out.len - 1] == ' ')
        out.len--;
    for (size_t len = 0; len < out.len - 8; len++) {
        uint8_t *copy = malloc(len + 1);
        struct skep_safetensors file;
        char why[256] = "";

        assert_non_null(copy);
        memcpy(copy, out.data + 8, len);
        assert_int_equal(skep_safetensors_parse(&file, &skep_mem_std, skep_bytes_of(copy, len), 32,
                                                why, sizeof why),
                         SKEP_EVALUE);
        assert_true(strlen(why) > 0);
        free(copy);
    }
    skep_buf_fini(&out);
}

static void what_is_written_is_aligned_and_reads_as_it_was(void **state)
{
    struct skep_safetensors file;
    struct skep_buf out;
    size_t len;
    char why[256];

    (void)state;
    skep_buf_init(&out, &skep_mem_std);
    skep_buf_put_str(&out, "12345678"); /* what was there stays */
    assert_int_equal(write_header(&out), 0);
    assert_int_equal(out.len % 8, 0);
    assert_memory_equal(out.data, "12345678", 8);
    assert_int_equal(skep_safetensors_prefix(&len, skep_bytes_of(out.data + 8, 8), out.len - 8 + 32,
                                             why, sizeof why),
                     0);
    assert_int_equal(len, out.len - 16);
    assert_int_equal(skep_safetensors_parse(&file, &skep_mem_std, skep_bytes_of(out.data + 16, len),
                                            32, why, sizeof why),
                     0);
    assert_int_equal(file.tensor_count, 3);
    assert_true(skep_bytes_equal(file.tensors[0].name, skep_bytes_str("module.weight")));
    assert_int_equal(file.tensors[0].axes, 2);
    assert_memory_equal(file.tensors[0].shape, shape_2x3, sizeof shape_2x3);
    assert_int_equal(file.tensors[1].begin, 24);
    assert_int_equal(file.tensors[2].end, 32);
    assert_true(
        skep_bytes_equal(*skep_safetensors_note(&file, "uid"), skep_bytes_str("a\"\\\x01\n\x7f"
                                                                              "é.7")));
    skep_safetensors_fini(&file);
    skep_buf_fini(&out);
}

static void a_header_may_have_neither_notes_nor_tensors(void **state)
{
    for (int notes = 0; notes < 2; notes++) {
        for (int tensors = 0; tensors < 2; tensors++) {
            struct skep_safetensors_header header;
            struct skep_safetensors file;
            struct skep_buf out;
            char why[256];

            skep_buf_init(&out, &skep_mem_std);
            skep_safetensors_begin(&header, &out);
            if (notes)
                skep_safetensors_put_note(&header, "a", skep_bytes_str("b"));
            if (tensors)
                skep_safetensors_put_float32(&header, "c", "d", 1, shape_1);
            assert_int_equal(skep_safetensors_end(&header), 0);
            assert_int_equal(skep_safetensors_parse(&file, &skep_mem_std,
                                                    skep_bytes_of(out.data + 8, out.len - 8),
                                                    tensors ? 4 : 0, why, sizeof why),
                             0);
            assert_int_equal(file.note_count, notes);
            assert_int_equal(file.tensor_count, tensors);
            skep_safetensors_fini(&file);
            skep_buf_fini(&out);
        }
    }
    (void)state;
}

static int write_text(skep_bytes value, size_t axes, const size_t *shape)
{
    struct skep_safetensors_header header;
    struct skep_buf out;
    int rc;

    skep_buf_init(&out, &skep_mem_std);
    skep_safetensors_begin(&header, &out);
    skep_safetensors_put_note(&header, "a", value);
    skep_safetensors_put_float32(&header, "", "b", axes, shape);
    rc = skep_safetensors_end(&header);
    skep_buf_fini(&out);
    return rc;
}

static void what_could_not_be_read_is_not_written(void **state)
{
    static uint8_t text[SKEP_SAFETENSORS_HEADER_MAX];
    static const size_t huge[] = {SIZE_MAX / 4, 2};

    (void)state;
    memset(text, 'x', sizeof text);
    assert_int_equal(write_text(skep_bytes_of(text, 8), 1, shape_1), 0);
    assert_int_equal(write_text(skep_bytes_of(text, sizeof text), 1, shape_1), SKEP_ESIZE);
    assert_int_equal(write_text(skep_bytes_str("\xc3"), 1, shape_1), SKEP_EINVAL);
    assert_int_equal(write_text(skep_bytes_str("x"), 2, huge), SKEP_EINVAL);
}

static int prefix(uint64_t header_len, size_t have, uint64_t file_len)
{
    uint8_t first[8];
    char why[256] = "";
    size_t len;
    int rc;

    skep_put_le64(first, header_len);
    rc = skep_safetensors_prefix(&len, skep_bytes_of(first, have), file_len, why, sizeof why);
    assert_int_equal(rc == 0, why[0] == '\0');
    assert_int_equal(len, rc == 0 ? header_len : 0);
    return rc;
}

static void a_header_one_byte_past_1_mib_is_refused(void **state)
{
    static uint8_t spaces[SKEP_SAFETENSORS_HEADER_MAX + 1];
    struct skep_safetensors file;
    char why[256];

    (void)state;
    assert_int_equal(prefix(SKEP_SAFETENSORS_HEADER_MAX, 8, SKEP_MIB(2)), 0);
    assert_int_equal(prefix(SKEP_SAFETENSORS_HEADER_MAX + 1, 8, SKEP_MIB(2)), SKEP_EVALUE);
    memset(spaces, ' ', sizeof spaces);
    memcpy(spaces, "{}", 2);
    assert_int_equal(skep_safetensors_parse(&file, &skep_mem_std,
                                            skep_bytes_of(spaces, sizeof spaces - 1), 0, why,
                                            sizeof why),
                     0);
    skep_safetensors_fini(&file);
    assert_int_equal(skep_safetensors_parse(&file, &skep_mem_std,
                                            skep_bytes_of(spaces, sizeof spaces), 0, why,
                                            sizeof why),
                     SKEP_EVALUE);
    assert_string_equal(why, "its header has more than 1048576 bytes");
}

static void a_header_that_does_not_fit_its_file_is_refused(void **state)
{
    (void)state;
    assert_int_equal(prefix(16, 8, 24), 0);
    assert_int_equal(prefix(17, 8, 24), SKEP_EVALUE);
    assert_int_equal(prefix(0, 8, 8), 0);
    assert_int_equal(prefix(0, 8, 7), SKEP_EVALUE);
    assert_int_equal(prefix(0, 7, 8), SKEP_EVALUE);
    assert_int_equal(prefix(UINT64_MAX, 8, 24), SKEP_EVALUE);
}

/* So many tensors without numbers, or notes. @return what reading it gives. */
static int read_many(size_t tensors, size_t notes, char *why)
{
    struct skep_safetensors_header header;
    struct skep_safetensors file;
    struct skep_buf out;
    static const size_t empty[] = {0};
    char name[16];
    int rc;

    skep_buf_init(&out, &skep_mem_std);
    skep_safetensors_begin(&header, &out);
    for (size_t i = 0; i < notes; i++) {
        snprintf(name, sizeof name, "%zu", i);
        skep_safetensors_put_note(&header, name, skep_bytes_str(name));
    }
    for (size_t i = 0; i < tensors; i++) {
        snprintf(name, sizeof name, "%zu", i);
        skep_safetensors_put_float32(&header, "t", name, 1, empty);
    }
    assert_int_equal(skep_safetensors_end(&header), 0);
    rc = skep_safetensors_parse(&file, &skep_mem_std, skep_bytes_of(out.data + 8, out.len - 8), 0,
                                why, 256);
    skep_safetensors_fini(&file);
    skep_buf_fini(&out);
    return rc;
}

static void one_tensor_past_256_is_refused(void **state)
{
    char why[256];

    (void)state;
    assert_int_equal(read_many(SKEP_SAFETENSORS_TENSORS_MAX, 0, why), 0);
    assert_int_equal(read_many(SKEP_SAFETENSORS_TENSORS_MAX + 1, 0, why), SKEP_EVALUE);
    assert_string_equal(why, "it has more than 256 tensors");
}

static void one_entry_of_metadata_past_64_is_refused(void **state)
{
    char why[256];

    (void)state;
    assert_int_equal(read_many(0, SKEP_SAFETENSORS_NOTES_MAX, why), 0);
    assert_int_equal(read_many(0, SKEP_SAFETENSORS_NOTES_MAX + 1, why), SKEP_EVALUE);
    assert_string_equal(why, "its __metadata__ has more than 64 entries");
}

static int write_and_read(const struct skep_mem *mem, void *user)
{
    struct skep_safetensors file = {.mem = mem};
    struct skep_buf out;
    char why[256];
    int rc;

    (void)user;
    skep_buf_init(&out, mem);
    rc = write_header(&out);
    if (rc == 0)
        rc = skep_safetensors_parse(&file, mem, skep_bytes_of(out.data + 8, out.len - 8), 32, why,
                                    sizeof why);
    skep_safetensors_fini(&file);
    skep_buf_fini(&out);
    return rc;
}

static void no_failed_allocation_leaks_or_crashes(void **state)
{
    (void)state;
    test_each_allocation_fails(write_and_read, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_gives_names_shapes_and_places),
        cmocka_unit_test(escapes_of_json_are_read),
        cmocka_unit_test(what_is_wrong_with_a_header_is_said),
        cmocka_unit_test(a_header_cut_anywhere_is_refused),
        cmocka_unit_test(what_is_written_is_aligned_and_reads_as_it_was),
        cmocka_unit_test(a_header_may_have_neither_notes_nor_tensors),
        cmocka_unit_test(what_could_not_be_read_is_not_written),
        cmocka_unit_test(a_header_one_byte_past_1_mib_is_refused),
        cmocka_unit_test(a_header_that_does_not_fit_its_file_is_refused),
        cmocka_unit_test(one_tensor_past_256_is_refused),
        cmocka_unit_test(one_entry_of_metadata_past_64_is_refused),
        cmocka_unit_test(no_failed_allocation_leaks_or_crashes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
