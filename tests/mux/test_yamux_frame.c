/* SPDX-License-Identifier: MIT */
/* The frame parser and header writer against vectors/transport.json, cut at each byte. */
#include "support/test.h"

#include "mux/yamux_frame.h"

static const char *const type_names[] = {"data", "window_update", "ping", "go_away"};
static const char *const flag_names[] = {"SYN", "ACK", "FIN", "RST"};

static uint8_t type_of(const json_t *frame)
{
    for (uint8_t type = 0; type < 4; type++)
        if (strcmp(test_str(frame, "type"), type_names[type]) == 0)
            return type;
    fail_msg("unknown type");
    return 0;
}

static uint16_t flags_of(const json_t *frame)
{
    uint16_t flags = 0;
    const json_t *name;
    size_t i;

    json_array_foreach(test_get(frame, "flags"), i,
                       name) for (unsigned bit = 0; bit < 4;
                                  bit++) if (strcmp(json_string_value(name), flag_names[bit]) == 0)
        flags = (uint16_t)(flags | 1u << bit);
    return flags;
}

static uint32_t number(const json_t *frame, const char *key)
{
    return (uint32_t)json_integer_value(test_get(frame, key));
}

static void check_frame(const json_t *vector)
{
    skep_bytes header = test_unhex(test_str(vector, "header")),
               body = test_unhex(test_str(vector, "body")), in;
    struct skep_yamux_parser parser = {0};
    struct skep_yamux_event event;
    uint8_t written[SKEP_YAMUX_HEADER_LEN];

    skep_yamux_put_header(written, type_of(vector), flags_of(vector), number(vector, "stream"),
                          number(vector, "length"));
    assert_memory_equal(written, header.data, sizeof written);
    in = header;
    assert_int_equal(skep_yamux_next(&parser, &in, &event), 1);
    assert_true(event.is_header);
    assert_int_equal(event.frame.type, type_of(vector));
    assert_int_equal(event.frame.flags, flags_of(vector));
    assert_int_equal(event.frame.stream_id, number(vector, "stream"));
    assert_int_equal(event.frame.length, number(vector, "length"));
    in = body;
    if (body.len > 0) {
        assert_int_equal(skep_yamux_next(&parser, &in, &event), 1);
        assert_false(event.is_header);
        assert_true(event.is_last);
        assert_ptr_equal(event.data.data, body.data); /* a view, not a copy */
        assert_int_equal(event.data.len, body.len);
    }
    assert_int_equal(skep_yamux_next(&parser, &in, &event), 0);
}

static void frames_are_those_of_the_vectors(void **state)
{
    const json_t *frame;
    size_t i;

    (void)state;
    json_array_foreach(test_get(test_vectors("transport.json"), "yamux_headers"), i, frame)
        check_frame(frame);
    assert_true(i > 10);
    json_array_foreach(test_get(test_get(test_vectors("transport.json"), "live_dial"), "frames"), i,
                       frame) check_frame(frame);
    json_array_foreach(test_get(test_get(test_vectors("transport.json"), "live_accept"), "frames"),
                       i, frame) check_frame(frame);
}

/* Headers and data of all frames, one after the other, whatever the pieces were. */
static void digest(struct skep_buf *out, skep_bytes in, size_t cut)
{
    skep_bytes parts[2];
    struct skep_yamux_parser parser = {0};
    struct skep_yamux_event event;

    parts[0] = skep_bytes_take(&in, cut);
    parts[1] = in;
    for (size_t i = 0; i < 2; i++) {
        while (skep_yamux_next(&parser, &parts[i], &event) > 0) {
            if (event.is_header)
                skep_buf_put_u8(out, event.frame.type);
            skep_buf_put_bytes(out, event.data);
        }
        assert_int_equal(parts[i].len, 0);
    }
}

static void it_changes_nothing_where_the_bytes_are_cut(void **state)
{
    struct skep_buf in, whole, cut_up;
    const json_t *frame;
    size_t i;

    (void)state;
    skep_buf_init(&in, &skep_mem_std);
    skep_buf_init(&whole, &skep_mem_std);
    skep_buf_init(&cut_up, &skep_mem_std);
    json_array_foreach(test_get(test_get(test_vectors("transport.json"), "live_dial"), "frames"), i,
                       frame)
    {
        skep_buf_put_bytes(&in, test_unhex(test_str(frame, "header")));
        skep_buf_put_bytes(&in, test_unhex(test_str(frame, "body")));
    }
    digest(&whole, skep_buf_view(&in), 0);
    for (size_t cut = 1; cut <= in.len; cut++) {
        skep_buf_clear(&cut_up);
        digest(&cut_up, skep_buf_view(&in), cut);
        assert_true(skep_bytes_equal(skep_buf_view(&whole), skep_buf_view(&cut_up)));
    }
    skep_buf_fini(&in);
    skep_buf_fini(&whole);
    skep_buf_fini(&cut_up);
}

static int parse(const char *hex)
{
    skep_bytes in = test_unhex(hex), after = test_unhex("000200010000000000000000");
    struct skep_yamux_parser parser = {0};
    struct skep_yamux_event event;
    int rc = skep_yamux_next(&parser, &in, &event);

    if (rc < 0)
        assert_int_equal(skep_yamux_next(&parser, &after, &event), rc); /* for good */
    return rc;
}

static void a_malformed_header_fails_for_good(void **state)
{
    (void)state;
    assert_int_equal(parse("010000000000000100000000"), SKEP_EPEER_FRAME); /* version */
    assert_int_equal(parse("000400000000000100000000"), SKEP_EPEER_FRAME); /* type */
    assert_int_equal(parse("000000000000000101000000"), 1); /* 16 MiB, the largest window */
    assert_int_equal(parse("000000000000000101000001"), SKEP_EPEER_FRAME); /* one more */
    assert_int_equal(parse("0001000000000001ffffffff"), 1); /* a delta is no length */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_are_those_of_the_vectors),
        cmocka_unit_test(it_changes_nothing_where_the_bytes_are_cut),
        cmocka_unit_test(a_malformed_header_fails_for_good),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
