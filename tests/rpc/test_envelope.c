/* SPDX-License-Identifier: MIT */
/* The envelope of unary calls and the frames of streaming calls, against bytes of hivemind (tests/vectors/rpc.json). */
#include "base/limits.h"
#include "base/pb.h"
#include "base/varint.h"
#include "rpc/envelope.h"
#include "rpc/frame.h"

#include "support/test.h"

static const uint8_t call_id[SKEP_CALL_ID_LEN] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                  8, 9, 10, 11, 12, 13, 14, 15};

static skep_bytes whole_message(skep_bytes wire, struct skep_envelope_reader *reader)
{
    skep_bytes message, in = wire;

    skep_buf_init(&reader->held, &skep_mem_std);
    assert_int_equal(skep_envelope_next(reader, &in, &message), 1);
    assert_int_equal(in.len, 0);
    return message;
}

static void heads_and_bodies_are_what_hivemind_writes(void **state)
{
    json_t *fixed = test_get(test_vectors("rpc.json"), "unary_fixed"), *item;
    size_t i;

    (void)state;
    assert_true(json_array_size(fixed) >= 4);
    json_array_foreach(fixed, i, item)
    {
        skep_bytes wire = test_unhex(test_str(item, "wire"));
        struct skep_envelope_reader reader = {0};
        struct skep_envelope envelope;
        uint8_t made[1024];
        size_t n;

        assert_int_equal(skep_envelope_parse(whole_message(wire, &reader), &envelope), 0);
        assert_memory_equal(envelope.call_id.data, call_id, sizeof call_id);
        if (envelope.kind == SKEP_ENVELOPE_CALL)
            n = skep_envelope_call_head(made, call_id, envelope.peer, envelope.method,
                                        envelope.body.len);
        else
            n = skep_envelope_answer_head(made, call_id, envelope.kind == SKEP_ENVELOPE_ERROR,
                                          envelope.body.len);
        skep_bytes_copy(made + n, envelope.body);
        assert_string_equal(test_hex(made, n + envelope.body.len), test_hex(wire.data, wire.len));
    }
}

static void live_calls_of_hivemind_are_read(void **state)
{
    json_t *live = test_get(test_vectors("rpc.json"), "unary_live"), *item;
    size_t i, read = 0;

    (void)state;
    json_array_foreach(live, i, item)
    {
        struct skep_envelope_reader reader = {0};
        struct skep_envelope envelope;
        const char *result;

        if (!json_object_get(item, "answer"))
            continue;
        assert_int_equal(
            skep_envelope_parse(whole_message(test_unhex(test_str(item, "request")), &reader),
                                &envelope),
            0);
        assert_int_equal(envelope.kind, SKEP_ENVELOPE_CALL);
        assert_true(skep_bytes_equal(envelope.method, skep_bytes_str(test_str(item, "proto"))));
        assert_int_equal(
            skep_envelope_parse(whole_message(test_unhex(test_str(item, "answer")), &reader),
                                &envelope),
            0);
        result = test_str(item, "result");
        if (strcmp(result, "error") == 0) {
            assert_int_equal(envelope.kind, SKEP_ENVELOPE_ERROR);
            assert_true(skep_bytes_equal(envelope.body, skep_bytes_str(test_str(item, "text"))));
        } else {
            assert_int_equal(envelope.kind, SKEP_ENVELOPE_RESPONSE);
            assert_string_equal(test_hex(envelope.body.data, envelope.body.len),
                                test_str(item, "payload"));
        }
        read++;
    }
    assert_true(read >= 4);
}

static void a_call_without_one_of_its_three_fields_is_refused(void **state)
{
    json_t *live = test_get(test_vectors("rpc.json"), "unary_live"), *item;
    size_t i, refused = 0, taken = 0;

    (void)state;
    json_array_foreach(live, i, item)
    {
        struct skep_envelope_reader reader = {0};
        struct skep_envelope envelope;
        bool is_refused =
            strstr(test_str(item, "what"), ": refused") && json_object_get(item, "request");
        int rc;

        if (!json_object_get(item, "request"))
            continue;
        rc = skep_envelope_parse(whole_message(test_unhex(test_str(item, "request")), &reader),
                                 &envelope);
        assert_int_equal(rc, is_refused ? SKEP_EPEER_PROTO : 0);
        refused += is_refused;
        taken += !is_refused;
    }
    assert_int_equal(refused, 3);
    assert_true(taken >= 6);
}

static void a_call_id_that_is_not_16_bytes_is_refused(void **state)
{
    struct skep_envelope envelope;
    uint8_t message[64] = {0x0a, 15};

    (void)state;
    memcpy(message + 17, (uint8_t[]){0x1a, 6, 0x0a, 0, 0x12, 0, 0x1a, 0}, 8);
    assert_int_equal(skep_envelope_parse(skep_bytes_of(message, 25), &envelope), SKEP_EPEER_PROTO);
}

static void a_message_comes_out_the_same_wherever_it_is_cut(void **state)
{
    skep_bytes wire = test_unhex(
        test_str(json_array_get(test_get(test_vectors("rpc.json"), "unary_fixed"), 0), "wire"));

    (void)state;
    for (size_t cut = 0; cut <= wire.len; cut++) {
        struct skep_envelope_reader reader = {0};
        skep_bytes message, in = skep_bytes_of(wire.data, cut);
        int rc;

        skep_buf_init(&reader.held, &skep_mem_std);
        rc = skep_envelope_next(&reader, &in, &message);
        assert_int_equal(rc, cut == wire.len);
        if (rc == 0) {
            assert_int_equal(in.len, 0);
            in = skep_bytes_of(wire.data + cut, wire.len - cut);
            assert_int_equal(skep_envelope_next(&reader, &in, &message), 1);
        }
        assert_int_equal(message.len, wire.len - 1);
        assert_memory_equal(message.data, wire.data + 1, message.len);
        skep_buf_fini(&reader.held);
    }
}

static void a_cut_message_is_malformed_and_never_read_past_its_end(void **state)
{
    skep_bytes wire = test_unhex(
        test_str(json_array_get(test_get(test_vectors("rpc.json"), "unary_fixed"), 0), "wire"));

    (void)state;
    for (size_t len = 0; len < wire.len - 1; len++) {
        uint8_t *copy = malloc(len + 1);
        struct skep_envelope envelope;

        memcpy(copy, wire.data + 1, len);
        assert_true(skep_envelope_parse(skep_bytes_of(copy, len), &envelope) < 0);
        free(copy);
    }
}

static void a_prefix_of_4_mib_is_waited_for_and_one_more_is_refused(void **state)
{
    struct skep_envelope_reader reader = {0};
    skep_bytes message, in;
    uint8_t prefix[10];

    (void)state;
    skep_buf_init(&reader.held, &skep_mem_std);
    in = skep_bytes_of(prefix, skep_varint_encode(prefix, SKEP_UNARY_MESSAGE_MAX));
    assert_int_equal(skep_envelope_next(&reader, &in, &message), 0);
    assert_true(reader.held.cap < 1024); /* nothing is set aside for what has not come */
    skep_buf_clear(&reader.held);
    in = skep_bytes_of(prefix, skep_varint_encode(prefix, SKEP_UNARY_MESSAGE_MAX + 1));
    assert_int_equal(skep_envelope_next(&reader, &in, &message), SKEP_EPEER_LIMIT);
    skep_buf_fini(&reader.held);
}

static void a_message_above_4_mib_is_not_written(void **state)
{
    uint8_t head[SKEP_ENVELOPE_HEAD_MAX];
    skep_bytes method = skep_bytes_str("C.m");
    size_t n = skep_envelope_answer_head(head, call_id, false, SKEP_UNARY_MESSAGE_MAX - 28);

    (void)state;
    assert_int_equal(n + SKEP_UNARY_MESSAGE_MAX - 28 - 4,
                     SKEP_UNARY_MESSAGE_MAX); /* 4: the prefix */
    assert_int_equal(skep_envelope_answer_head(head, call_id, false, SKEP_UNARY_MESSAGE_MAX - 27),
                     0);
    assert_int_equal(skep_envelope_call_head(head, call_id, (skep_bytes){NULL, 0}, method,
                                             SKEP_UNARY_MESSAGE_MAX),
                     0);
    assert_int_equal(
        skep_envelope_call_head(head, call_id, (skep_bytes){NULL, 0}, method, SIZE_MAX), 0);
}

/* ---- frames ---- */

static void frames_of_hivemind_are_read_and_written(void **state)
{
    json_t *streams = test_get(test_vectors("rpc.json"), "stream"), *item;
    size_t i;

    (void)state;
    json_array_foreach(streams, i, item)
    {
        skep_bytes wire, in;
        struct skep_rpc_frame_reader reader = {0};
        struct skep_rpc_frame frame;
        uint8_t made[256];
        size_t n = 0;
        int rc;

        if (!json_object_get(item, "sent"))
            continue;
        in = wire = test_unhex(test_str(item, "sent"));
        skep_buf_init(&reader.held, &skep_mem_std);
        while ((rc = skep_rpc_frame_next(&reader, &in, &frame)) > 0) {
            skep_rpc_frame_head(made + n, frame.marker, frame.body.len);
            skep_bytes_copy(made + n + SKEP_RPC_FRAME_HEAD_LEN, frame.body);
            n += SKEP_RPC_FRAME_HEAD_LEN + frame.body.len;
        }
        assert_int_equal(rc, 0);
        assert_string_equal(test_hex(made, n), test_hex(wire.data, wire.len));
        skep_buf_fini(&reader.held);
    }
}

static void the_end_mark_is_hiveminds(void **state)
{
    uint8_t head[SKEP_RPC_FRAME_HEAD_LEN];

    (void)state;
    skep_rpc_frame_head(head, SKEP_RPC_FRAME_ERROR, 0);
    assert_string_equal(test_hex(head, sizeof head),
                        test_str(test_get(test_vectors("rpc.json"), "stream_end_marker"), "hex"));
}

static void the_text_of_an_error_frame_is_read(void **state)
{
    skep_bytes body = test_unhex("0a0c6e6f20746869727465656e73");

    (void)state;
    assert_true(skep_bytes_equal(skep_rpc_frame_error_text(body), skep_bytes_str("no thirteens")));
    assert_int_equal(skep_rpc_frame_error_text(test_unhex("0aff")).len, 0);
}

static void of_an_errors_text_in_a_stream_4_kib_are_kept(void **state)
{
    static const char text[SKEP_ERROR_TEXT_MAX + 1] = {'N', 'o'};
    struct skep_buf body;

    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        skep_bytes kept;

        skep_buf_init(&body, &skep_mem_std);
        skep_pb_put_bytes(&body, 1, skep_bytes_of(text, SKEP_ERROR_TEXT_MAX + extra));
        kept = skep_rpc_frame_error_text(skep_buf_view(&body));
        assert_true(skep_bytes_equal(kept, skep_bytes_of(text, SKEP_ERROR_TEXT_MAX)));
        skep_buf_fini(&body);
    }
}

static void frames_come_out_the_same_wherever_they_are_cut(void **state)
{
    skep_bytes wire = test_unhex("00000000000000000208050000000000000000020807010000000000000000");

    (void)state;
    for (size_t cut = 0; cut <= wire.len; cut++) {
        struct skep_rpc_frame_reader reader = {0};
        struct skep_rpc_frame frame;
        skep_bytes in = skep_bytes_of(wire.data, cut);
        size_t seen = 0;

        skep_buf_init(&reader.held, &skep_mem_std);
        for (int part = 0; part < 2; part++) {
            while (skep_rpc_frame_next(&reader, &in, &frame) > 0) {
                assert_int_equal(frame.marker, seen == 2);
                assert_int_equal(frame.body.len, seen < 2 ? 2 : 0);
                if (seen < 2)
                    assert_int_equal(frame.body.data[1], seen == 0 ? 5 : 7);
                seen++;
            }
            in = skep_bytes_of(wire.data + cut, wire.len - cut);
        }
        assert_int_equal(seen, 3);
        skep_buf_fini(&reader.held);
    }
}

static void a_wrong_marker_or_a_frame_above_the_bound_is_refused(void **state)
{
    struct skep_rpc_frame_reader reader = {0};
    struct skep_rpc_frame frame;
    uint8_t head[SKEP_RPC_FRAME_HEAD_LEN];
    skep_bytes in = test_unhex("02");

    (void)state;
    skep_buf_init(&reader.held, &skep_mem_std);
    assert_int_equal(skep_rpc_frame_next(&reader, &in, &frame), SKEP_EPEER_FRAME);
    skep_rpc_frame_head(head, SKEP_RPC_FRAME_MESSAGE, SKEP_STREAM_MESSAGE_MAX);
    in = skep_bytes_of(head, sizeof head);
    assert_int_equal(skep_rpc_frame_next(&reader, &in, &frame), 0);
    skep_buf_clear(&reader.held);
    skep_rpc_frame_head(head, SKEP_RPC_FRAME_MESSAGE, (size_t)SKEP_STREAM_MESSAGE_MAX + 1);
    in = skep_bytes_of(head, sizeof head);
    assert_int_equal(skep_rpc_frame_next(&reader, &in, &frame), SKEP_EPEER_LIMIT);
    skep_buf_fini(&reader.held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_and_bodies_are_what_hivemind_writes),
        cmocka_unit_test(live_calls_of_hivemind_are_read),
        cmocka_unit_test(a_call_without_one_of_its_three_fields_is_refused),
        cmocka_unit_test(a_call_id_that_is_not_16_bytes_is_refused),
        cmocka_unit_test(a_message_comes_out_the_same_wherever_it_is_cut),
        cmocka_unit_test(a_cut_message_is_malformed_and_never_read_past_its_end),
        cmocka_unit_test(a_prefix_of_4_mib_is_waited_for_and_one_more_is_refused),
        cmocka_unit_test(a_message_above_4_mib_is_not_written),
        cmocka_unit_test(frames_of_hivemind_are_read_and_written),
        cmocka_unit_test(the_end_mark_is_hiveminds),
        cmocka_unit_test(the_text_of_an_error_frame_is_read),
        cmocka_unit_test(of_an_errors_text_in_a_stream_4_kib_are_kept),
        cmocka_unit_test(frames_come_out_the_same_wherever_they_are_cut),
        cmocka_unit_test(a_wrong_marker_or_a_frame_above_the_bound_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
