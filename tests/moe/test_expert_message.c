/* SPDX-License-Identifier: MIT */
/* Messages of expert calls, and what experts say of themselves, against hivemind 1.1.12: vectors/expert.json, vectors/tensors.json. */
#include "moe/codec.h"
#include "moe/expert_info.h"
#include "moe/expert_message.h"
#include "rpc/frame.h"
#include "support/test.h"

static void read_all(struct skep_expert_reader *r, enum skep_expert_message kind,
                     skep_bytes message)
{
    skep_expert_reader_init(r, &skep_mem_std, kind, SKEP_EXPERT_BYTES_MAX);
    assert_int_equal(skep_expert_reader_add(r, message), 0);
    assert_int_equal(skep_expert_reader_end(r), 0);
}

static void expect_numbers(const skep_tensor *tensor, const json_t *numbers)
{
    assert_int_equal(tensor->dtype, SKEP_FLOAT32);
    assert_int_equal(skep_tensor_elements(tensor), json_array_size(numbers));
    for (size_t i = 0; i < json_array_size(numbers); i++)
        assert_true(((const float *)tensor->data)[i] ==
                    (float)json_number_value(json_array_get(numbers, i)));
}

static void calls_of_hivemind_are_read(void **state)
{
    const json_t *calls = test_get(test_vectors("expert.json"), "calls");
    size_t index;
    json_t *call;

    (void)state;
    json_array_foreach(calls, index, call)
    {
        struct skep_expert_reader r;
        const json_t *inputs = test_get(call, "inputs");

        read_all(&r, SKEP_EXPERT_REQUEST, test_unhex(test_str(call, "request")));
        assert_true(skep_bytes_equal(skep_buf_view(&r.uid), skep_bytes_str(test_str(call, "uid"))));
        assert_int_equal(r.count, json_array_size(inputs));
        for (size_t i = 0; i < r.count; i++)
            expect_numbers(&r.tensors[i], json_array_get(inputs, i));
        skep_expert_reader_fini(&r);
        if (!json_object_get(call, "response"))
            continue;
        read_all(&r, SKEP_EXPERT_RESPONSE, test_unhex(test_str(call, "response")));
        assert_int_equal(r.count, json_array_size(test_get(call, "outputs")));
        for (size_t i = 0; i < r.count; i++)
            expect_numbers(&r.tensors[i], json_array_get(test_get(call, "outputs"), i));
        skep_expert_reader_fini(&r);
    }
}

/* Field order is ours: what we write is read back the same, and is as long as hivemind's. */
static void what_is_written_is_read_the_same_and_as_long_as_hivemind_s(void **state)
{
    const json_t *calls = test_get(test_vectors("expert.json"), "calls");
    size_t index;
    json_t *call;

    (void)state;
    json_array_foreach(calls, index, call)
    {
        skep_bytes request = test_unhex(test_str(call, "request"));
        skep_compression compressions[4] = {0};
        struct skep_expert_reader r, again;
        struct skep_expert_writer w;
        struct skep_buf out;

        if (strstr(test_str(call, "what"), "metadata"))
            continue;
        read_all(&r, SKEP_EXPERT_REQUEST, request);
        if (strstr(test_str(call, "what"), "FLOAT16") || strstr(test_str(call, "what"), "there"))
            compressions[0] = SKEP_COMPRESSION_FLOAT16;
        if (strstr(test_str(call, "what"), "backward there"))
            compressions[1] = SKEP_COMPRESSION_FLOAT16;
        skep_buf_init(&out, &skep_mem_std);
        skep_expert_writer_init(&w, &skep_mem_std, SKEP_EXPERT_REQUEST, skep_buf_view(&r.uid),
                                r.tensors, compressions, r.count);
        assert_int_equal(skep_expert_writer_whole_len(&w), request.len);
        assert_int_equal(skep_expert_writer_whole(&w, &out), 0);
        assert_int_equal(out.len, request.len);
        read_all(&again, SKEP_EXPERT_REQUEST, skep_buf_view(&out));
        assert_int_equal(again.count, r.count);
        for (size_t i = 0; i < r.count; i++)
            assert_memory_equal(again.tensors[i].data, r.tensors[i].data,
                                skep_tensor_bytes(&r.tensors[i]));
        skep_expert_writer_fini(&w);
        skep_expert_reader_fini(&again);
        skep_expert_reader_fini(&r);
        skep_buf_fini(&out);
    }
}

static void streams_of_hivemind_are_read_part_by_part(void **state)
{
    const json_t *streams = test_get(test_vectors("expert.json"), "streams");
    size_t index;
    json_t *stream;

    (void)state;
    json_array_foreach(streams, index, stream)
    {
        skep_bytes in = test_unhex(test_str(stream, "sent"));
        struct skep_rpc_frame_reader frames = {.complete = false};
        struct skep_rpc_frame frame;
        struct skep_expert_reader r;
        int rc = 0;

        skep_buf_init(&frames.held, &skep_mem_std);
        skep_expert_reader_init(&r, &skep_mem_std, SKEP_EXPERT_REQUEST, SKEP_EXPERT_BYTES_MAX);
        while (rc == 0 && skep_rpc_frame_next(&frames, &in, &frame) == 1 && frame.marker == 0)
            rc = skep_expert_reader_add(&r, frame.body);
        if (strstr(test_str(stream, "what"), "only in the first")) {
            assert_int_equal(rc, SKEP_EPEER_PROTO);
            assert_string_equal(r.why, "Expert uids differ in one request");
        } else {
            assert_int_equal(rc, 0);
            assert_int_equal(skep_expert_reader_end(&r), 0);
            if (r.count > 0)
                assert_int_equal(skep_tensor_bytes(&r.tensors[0]), 32);
        }
        skep_expert_reader_fini(&r);
        skep_buf_fini(&frames.held);
    }
}

static void a_large_tensor_is_cut_into_parts_of_4_mib(void **state)
{
    size_t n = (size_t)9 << 18;
    float *numbers = malloc(n * sizeof *numbers);
    skep_tensor tensors[] = {{.dtype = SKEP_FLOAT32, .axes = 2, .shape = {9, 1 << 18}},
                             {.dtype = SKEP_FLOAT32, .axes = 1, .shape = {0}},
                             {.dtype = SKEP_FLOAT32, .axes = 2, .shape = {9, 1 << 18}}};
    const skep_compression compressions[] = {SKEP_COMPRESSION_NONE, SKEP_COMPRESSION_NONE,
                                             SKEP_COMPRESSION_FLOAT16};
    struct skep_expert_writer w;
    struct skep_expert_reader r;
    size_t parts = 0;
    skep_bytes head, body;
    struct skep_buf message;

    (void)state;
    for (size_t i = 0; i < n; i++)
        numbers[i] = (float)(i % 1000);
    tensors[0].data = tensors[2].data = numbers;
    skep_expert_writer_init(&w, &skep_mem_std, SKEP_EXPERT_REQUEST, skep_bytes_str("e.0"), tensors,
                            compressions, 3);
    skep_expert_reader_init(&r, &skep_mem_std, SKEP_EXPERT_REQUEST, SKEP_EXPERT_BYTES_MAX);
    skep_buf_init(&message, &skep_mem_std);
    while (skep_expert_writer_next(&w, &head, &body) == 1) {
        skep_buf_clear(&message);
        skep_buf_put_bytes(&message, head);
        skep_buf_put_bytes(&message, body);
        assert_true(body.len <= SKEP_EXPERT_PART_LEN);
        if (skep_expert_reader_add(&r, skep_buf_view(&message)) != 0)
            fail_msg("part %zu: %s", parts, r.why);
        if (parts == 0)
            assert_true(r.needed == n * 4); /* known from the first part on */
        parts++;
    }
    assert_int_equal(parts, 3 + 1 + 2);
    assert_int_equal(skep_expert_reader_end(&r), 0);
    assert_int_equal(r.count, 3);
    assert_memory_equal(r.tensors[0].data, numbers, n * 4);
    assert_memory_equal(r.tensors[2].data, numbers, n * 4);
    skep_expert_reader_fini(&r);
    skep_expert_writer_fini(&w);
    skep_buf_fini(&message);
    free(numbers);
}

static int add_hex(struct skep_expert_reader *r, size_t bytes_max, const char *hex)
{
    int rc;

    skep_expert_reader_init(r, &skep_mem_std, SKEP_EXPERT_RESPONSE, bytes_max);
    rc = skep_expert_reader_add(r, test_unhex(hex));
    return rc < 0 ? rc : skep_expert_reader_end(r);
}

static void tensors_that_do_not_add_up_are_refused_by_name(void **state)
{
    static const struct {
        const char *hex, *why;
        int rc;
        size_t bytes_max;
    } cases[] = {
        /* float32 (2,) with 4 bytes; with 12; no type; a type that is none; too large; a compression that is none */
        {"12120a0400000000120102"
         "2207666c6f61743332",
         "too short", SKEP_EPEER_PROTO, 1000},
        {"121a0a0c000000000000000000000000120102"
         "2207666c6f61743332",
         "too long", SKEP_EPEER_PROTO, 1000},
        {"12060a0400000000", "no type", SKEP_EPEER_PROTO, 1000},
        {"120f0a04000000002207666c6f61743331", "float31", SKEP_EPEER_PROTO, 1000},
        {"12160a080000000000000000120102"
         "2207666c6f61743332",
         "too large", SKEP_EPEER_LIMIT, 7},
        {"12140a0400000000120101"
         "2207666c6f61743332"
         "2809",
         "compression", SKEP_EPEER_PROTO, 1000},
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_expert_reader r;

        assert_int_equal(add_hex(&r, cases[i].bytes_max, cases[i].hex), cases[i].rc);
        if (!strstr(r.why, cases[i].why))
            fail_msg("case %zu says: %s", i, r.why);
        skep_expert_reader_fini(&r);
    }
}

static void more_than_32_tensors_are_refused(void **state)
{
    skep_tensor tensors[SKEP_EXPERT_TENSORS_MAX + 1];
    skep_compression compressions[SKEP_EXPERT_TENSORS_MAX + 1] = {0};
    float one = 1;
    struct skep_expert_writer w;
    struct skep_buf out;

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(tensors); i++)
        tensors[i] = (skep_tensor){.dtype = SKEP_FLOAT32, .axes = 1, .shape = {1}, .data = &one};
    for (size_t extra = 0; extra < 2; extra++) {
        struct skep_expert_reader r;

        skep_buf_init(&out, &skep_mem_std);
        skep_expert_writer_init(&w, &skep_mem_std, SKEP_EXPERT_RESPONSE, skep_bytes_str(""),
                                tensors, compressions, SKEP_EXPERT_TENSORS_MAX + extra);
        assert_int_equal(skep_expert_writer_whole(&w, &out), 0);
        skep_expert_reader_init(&r, &skep_mem_std, SKEP_EXPERT_RESPONSE, SKEP_EXPERT_BYTES_MAX);
        assert_int_equal(skep_expert_reader_add(&r, skep_buf_view(&out)),
                         extra ? SKEP_EPEER_LIMIT : 0);
        skep_expert_reader_fini(&r);
        skep_expert_writer_fini(&w);
        skep_buf_fini(&out);
    }
}

static void what_experts_say_of_themselves_is_hivemind_s_byte_for_byte(void **state)
{
    const json_t *infos = test_get(test_vectors("expert.json"), "rpc_info");
    size_t index, compared = 0;
    json_t *info;

    (void)state;
    json_array_foreach(infos, index, info)
    {
        struct skep_expert_schema schema;
        struct skep_buf out;
        char why[256];
        skep_bytes raw;

        if (!json_object_get(info, "serialized_info"))
            continue;
        raw = test_unhex(test_str(info, "serialized_info"));
        assert_int_equal(skep_expert_info_read(&schema, &skep_mem_std, raw, why, sizeof why), 0);
        assert_true(schema.input_count > 0 && schema.output_count > 0);
        skep_buf_init(&out, &skep_mem_std);
        assert_int_equal(skep_expert_info_write(&out, schema.inputs, schema.input_count,
                                                schema.outputs, schema.output_count),
                         0);
        assert_string_equal(test_hex(out.data, out.len), test_hex(raw.data, raw.len));
        skep_buf_fini(&out);
        skep_expert_schema_fini(&schema, &skep_mem_std);
        for (size_t cut = 0; cut < raw.len; cut++)
            assert_true(skep_expert_info_read(&schema, &skep_mem_std, skep_bytes_of(raw.data, cut),
                                              why, sizeof why) < 0);
        compared++;
    }
    assert_true(compared >= 2);
}

static void an_info_above_64_kib_is_refused(void **state)
{
    uint8_t *big = calloc(1, SKEP_EXPERT_INFO_MAX + 1);
    struct skep_expert_schema schema;

    (void)state;
    assert_int_equal(skep_expert_info_read(&schema, &skep_mem_std,
                                           skep_bytes_of(big, SKEP_EXPERT_INFO_MAX + 1), NULL, 0),
                     SKEP_EPEER_LIMIT);
    free(big);
}

static void what_does_not_fit_a_schema_is_named(void **state)
{
    static const skep_tensor_schema schema = {.dtype = SKEP_FLOAT32, .axes = 1, .shape = {4}};
    skep_tensor t = {.dtype = SKEP_FLOAT32, .axes = 2, .shape = {2, 4}};
    char why[256];

    (void)state;
    assert_int_equal(skep_expert_schema_check(&schema, 1, &t, 1, "input", why, sizeof why), 0);
    t.shape[1] = 5;
    assert_int_equal(skep_expert_schema_check(&schema, 1, &t, 1, "input", why, sizeof why),
                     SKEP_EINVAL);
    assert_string_equal(why, "input 0 has the shape (2, 5) and has to be (batch, 4)");
    t.shape[1] = 4;
    t.shape[0] = 0;
    assert_int_equal(skep_expert_schema_check(&schema, 1, &t, 1, "input", why, sizeof why),
                     SKEP_EINVAL);
    t.shape[0] = 2;
    t.dtype = SKEP_INT64;
    assert_int_equal(skep_expert_schema_check(&schema, 1, &t, 1, "input", why, sizeof why),
                     SKEP_EINVAL);
    assert_string_equal(why, "input 0 is int64 and has to be float32");
    assert_int_equal(skep_expert_schema_check(&schema, 1, &t, 0, "input", why, sizeof why),
                     SKEP_EINVAL);
}

static int read_and_write(const struct skep_mem *mem, void *user)
{
    const json_t *call = user;
    struct skep_expert_reader r;
    struct skep_expert_writer w;
    skep_compression compressions[2] = {SKEP_COMPRESSION_FLOAT16, SKEP_COMPRESSION_FLOAT16};
    struct skep_buf out;
    int rc;

    skep_expert_reader_init(&r, mem, SKEP_EXPERT_REQUEST, 1000);
    rc = skep_expert_reader_add(&r, test_unhex(test_str(call, "request")));
    if (rc == 0)
        rc = skep_expert_reader_end(&r);
    skep_buf_init(&out, mem);
    if (rc == 0) {
        skep_expert_writer_init(&w, mem, SKEP_EXPERT_REQUEST, skep_buf_view(&r.uid), r.tensors,
                                compressions, r.count);
        rc = skep_expert_writer_whole(&w, &out);
        skep_expert_writer_fini(&w);
    }
    skep_buf_fini(&out);
    skep_expert_reader_fini(&r);
    return rc;
}

static void messages_report_that_memory_ran_out(void **state)
{
    (void)state;
    test_each_allocation_fails(read_and_write,
                               json_array_get(test_get(test_vectors("expert.json"), "calls"),
                                              4)); /* a backward: two tensors */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_of_hivemind_are_read),
        cmocka_unit_test(what_is_written_is_read_the_same_and_as_long_as_hivemind_s),
        cmocka_unit_test(streams_of_hivemind_are_read_part_by_part),
        cmocka_unit_test(a_large_tensor_is_cut_into_parts_of_4_mib),
        cmocka_unit_test(tensors_that_do_not_add_up_are_refused_by_name),
        cmocka_unit_test(more_than_32_tensors_are_refused),
        cmocka_unit_test(what_experts_say_of_themselves_is_hivemind_s_byte_for_byte),
        cmocka_unit_test(an_info_above_64_kib_is_refused),
        cmocka_unit_test(what_does_not_fit_a_schema_is_named),
        cmocka_unit_test(messages_report_that_memory_ran_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
