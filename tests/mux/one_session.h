/* SPDX-License-Identifier: MIT */
/* One session under test, frames written by hand to it and read by hand from it, and what its streams were told. */
#ifndef SKEP_TESTS_ONE_SESSION_H
#define SKEP_TESTS_ONE_SESSION_H

#include "support/test.h"

#include "mux/yamux_session.h"

enum { SEEN_MAX = 8192 };

/* What one stream was told. */
struct seen {
    struct one_session *one;
    struct skep_yamux_stream *stream;
    size_t data_len, eofs, writables, closes;
    int rc;
    bool reset_on_data, reset_on_eof;
};

struct one_session {
    struct test_mem mem;
    struct skep_yamux *session;
    struct seen seen[SEEN_MAX];
    size_t seen_count, outputs;
    uint64_t now_us;
    bool hold_data;   /* do not consume */
    bool refuse;      /* leave new streams unused */
    bool auto_accept; /* accept at once */
};

static void one_on_data(void *user, struct skep_yamux_stream *stream, skep_bytes data)
{
    struct seen *seen = user;

    assert_int_equal(seen->closes, 0);
    seen->data_len += data.len;
    if (seen->reset_on_data)
        skep_yamux_reset(stream);
    else if (!seen->one->hold_data)
        skep_yamux_consume(stream, data.len);
}

static void one_on_writable(void *user, struct skep_yamux_stream *stream)
{
    (void)stream;
    ((struct seen *)user)->writables++;
}

static void one_on_eof(void *user, struct skep_yamux_stream *stream)
{
    struct seen *seen = user;

    assert_int_equal(seen->closes, 0);
    seen->eofs++;
    if (seen->reset_on_eof)
        skep_yamux_reset(stream);
}

static void one_on_close(void *user, struct skep_yamux_stream *stream, int rc)
{
    struct seen *seen = user;

    (void)stream;
    seen->closes++;
    seen->rc = rc;
}

static const struct skep_yamux_stream_events one_stream_events = {one_on_data, one_on_writable,
                                                                  one_on_eof, one_on_close};

static struct seen *one_new_seen(struct one_session *one)
{
    struct seen *seen = &one->seen[one->seen_count++];

    assert_true(one->seen_count <= SEEN_MAX);
    *seen = (struct seen){.one = one};
    return seen;
}

static void one_on_stream(void *user, struct skep_yamux_stream *stream)
{
    struct one_session *one = user;

    if (one->refuse)
        return;
    struct seen *seen = one_new_seen(one);

    seen->stream = stream;
    skep_yamux_stream_use(stream, &one_stream_events, seen, 1000);
    if (one->auto_accept)
        skep_yamux_accept(stream);
}

static void one_on_output(void *user)
{
    ((struct one_session *)user)->outputs++;
}

static uint64_t one_now_us(void *user)
{
    return ((struct one_session *)user)->now_us;
}

static const struct skep_yamux_events one_events = {one_on_stream, one_on_output, one_now_us};

static inline void one_start(struct one_session *one, bool is_client)
{
    memset(one, 0, sizeof *one);
    test_mem_init(&one->mem);
    one->now_us = 1000;
    assert_int_equal(skep_yamux_new(&one->session, &one->mem.mem, is_client, &one_events, one), 0);
    assert_int_equal(skep_yamux_on_time(one->session, one->now_us), 0);
}

static inline void one_end(struct one_session *one)
{
    skep_yamux_free(one->session, SKEP_ECANCELED);
    for (size_t i = 0; i < one->seen_count; i++)
        assert_true(one->seen[i].closes <= 1);
    assert_int_equal(one->mem.live, 0);
}

/* A frame arrives; its data are zeros. */
static inline int one_get(struct one_session *one, unsigned type, unsigned flags, uint32_t id,
                          uint32_t length)
{
    static uint8_t frame[SKEP_YAMUX_HEADER_LEN + (1 << 20)];
    size_t len = SKEP_YAMUX_HEADER_LEN + (type == SKEP_YAMUX_DATA ? length : 0);

    assert_true(len <= sizeof frame);
    skep_yamux_put_header(frame, (enum skep_yamux_type)type, (uint16_t)flags, id, length);
    return skep_yamux_receive(one->session, skep_bytes_of(frame, len), one->now_us);
}

/* All that is to be sent, as text: "TYPE flags id length;" a frame, flags as "SAFR". */
static inline const char *one_sent(struct one_session *one)
{
    static char text[1 << 20];
    static uint8_t out[65519]; /* as one Noise message */
    struct skep_yamux_parser parser = {0};
    struct skep_yamux_event event;
    size_t used = 0, n;

    text[0] = '\0';
    while ((n = skep_yamux_pull(one->session, out, sizeof out)) > 0) {
        skep_bytes in = skep_bytes_of(out, n);

        while (skep_yamux_next(&parser, &in, &event) > 0) {
            if (!event.is_header)
                continue;
            assert_true(used + 64 < sizeof text);
            used += (size_t)snprintf(
                text + used, sizeof text - used, "%s%s%s%s%s %u %u;",
                (const char *[]){"data", "window", "ping", "away"}[event.frame.type],
                event.frame.flags & SKEP_YAMUX_SYN ? " S" : "",
                event.frame.flags & SKEP_YAMUX_ACK ? " A" : "",
                event.frame.flags & SKEP_YAMUX_FIN ? " F" : "",
                event.frame.flags & SKEP_YAMUX_RST ? " R" : "", event.frame.stream_id,
                event.frame.length);
        }
        assert_int_equal(parser.state, SKEP_YAMUX_EXPECT_HEADER); /* whole frames only */
        assert_int_equal(parser.header_len, 0);
    }
    assert_false(skep_yamux_has_output(one->session));
    return text;
}

static inline struct seen *one_open(struct one_session *one)
{
    struct seen *seen = one_new_seen(one);

    assert_int_equal(skep_yamux_open(one->session, &seen->stream, &one_stream_events, seen, 1000),
                     0);
    return seen;
}

static inline void one_write(struct seen *seen, size_t len)
{
    static const uint8_t zeros[1 << 20];

    assert_int_equal(skep_yamux_write(seen->stream, skep_bytes_of(zeros, len)), 0);
}

static inline struct skep_yamux_stats one_stats(struct one_session *one)
{
    struct skep_yamux_stats stats;

    skep_yamux_stats(one->session, &stats);
    return stats;
}

#endif
