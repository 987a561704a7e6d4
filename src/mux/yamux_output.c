/* SPDX-License-Identifier: MIT */
/* The sending half of a yamux session: who has something to send, and frames into the caller's buffer.
 *
 * Order: go-away, answers to pings, our ping, resets of refused streams, window updates and resets of streams, then data, one frame
 * a stream in turn. A FIN goes on an empty frame of its own (interop: js-libp2p takes the FIN of a data frame before its data). */
#include "mux/yamux_internal.h"

enum {
    HEADER_LEN = SKEP_YAMUX_HEADER_LEN,
    PULL_MIN = 64,
    FRAGMENT_MIN =
        1024, /* a frame is not cut to less than this while a next buffer would take it whole */
};

/* Where frames go. */
struct output {
    uint8_t *data;
    size_t used, cap;
};

static size_t sendable(const struct skep_yamux_stream *stream)
{
    return SKEP_MIN(stream->queue.len, (size_t)stream->send_window);
}

static bool fin_due(const struct skep_yamux_stream *stream)
{
    return stream->write_closed && !stream->fin_sent && stream->queue.len == 0;
}

/* A SYN or ACK waits for data to ride on; an ACK also until the stream is in use. */
static bool wants_control(const struct skep_yamux_stream *stream)
{
    if (stream->rst_due || stream->grant_due)
        return true;
    return stream->open_flag_due && sendable(stream) == 0 &&
           (!stream->inbound || stream->accepted || fin_due(stream));
}

static bool wants_data(const struct skep_yamux_stream *stream)
{
    return !stream->gone && (sendable(stream) > 0 || fin_due(stream));
}

/* Nobody waits for our FIN; alone it is not worth a write and a wake-up of the peer. */
static bool fin_waits(const struct skep_yamux_stream *stream)
{
    return stream->fin_may_wait && fin_due(stream) && !stream->open_flag_due;
}

static void place(struct skep_list *list, struct skep_list *node, bool wanted)
{
    bool is_on = !skep_list_empty(node);

    if (wanted && !is_on)
        skep_list_push_back(list, node);
    else if (!wanted && is_on)
        skep_list_remove(node);
}

void skep_yamux_stream_schedule(struct skep_yamux_stream *stream)
{
    place(&stream->session->control, &stream->control, wants_control(stream));
    bool waits = fin_waits(stream);
    struct skep_yamux *session = stream->session;

    if (waits != stream->waits)
        skep_list_remove(&stream->ready);
    stream->waits = waits;
    if (waits && skep_list_empty(&session->late))
        session->late_us = skep_yamux_now(session) + SKEP_YAMUX_LATE_FIN_US;
    place(waits ? &session->late : &session->ready, &stream->ready, wants_data(stream));
}

void skep_yamux_release_late(struct skep_yamux *session)
{
    while (!skep_list_empty(&session->late)) {
        struct skep_yamux_stream *stream =
            SKEP_LIST_ITEM(session->late.next, struct skep_yamux_stream, ready);

        stream->fin_may_wait = false;
        skep_yamux_stream_schedule(stream);
    }
}

bool skep_yamux_has_output(const struct skep_yamux *session)
{
    if (session->rc < 0)
        return session->go_away_due;
    return session->go_away_due || session->ping_due || session->ping_count > 0 ||
           session->refusal_count > 0 || !skep_list_empty(&session->control) ||
           !skep_list_empty(&session->ready);
}

void skep_yamux_signal(struct skep_yamux *session)
{
    if (session->signalled || session->pulling || session->freeing ||
        !skep_yamux_has_output(session))
        return;
    session->signalled = true;
    if (session->events->on_output)
        session->events->on_output(session->user);
}

static size_t room(const struct output *out)
{
    return out->cap - out->used;
}

static void put_header(struct output *out, enum skep_yamux_type type, unsigned flags,
                       uint32_t stream_id, uint32_t length)
{
    assert(room(out) >= HEADER_LEN);
    skep_yamux_put_header(out->data + out->used, type, (uint16_t)flags, stream_id, length);
    out->used += HEADER_LEN;
}

static void pull_session_frames(struct skep_yamux *session, struct output *out)
{
    if (session->go_away_due && room(out) >= HEADER_LEN) {
        put_header(out, SKEP_YAMUX_GO_AWAY, 0, 0, session->go_away_code);
        session->go_away_due = false;
    }
    if (session->rc < 0)
        return;
    while (session->ping_count > 0 && room(out) >= HEADER_LEN) {
        put_header(out, SKEP_YAMUX_PING, SKEP_YAMUX_ACK, 0, session->pings[session->ping_first]);
        session->ping_first = (uint8_t)((session->ping_first + 1) % SKEP_YAMUX_PINGS_MAX);
        session->ping_count--;
    }
    if (session->ping_due && room(out) >= HEADER_LEN) {
        put_header(out, SKEP_YAMUX_PING, SKEP_YAMUX_SYN, 0, session->ping_value);
        session->ping_due = false;
    }
}

static void pull_refusals(struct skep_yamux *session, struct output *out)
{
    while (session->refusal_count > 0 && room(out) >= HEADER_LEN) {
        struct refusals *run = &session->refusals[session->refusal_first];

        put_header(out, SKEP_YAMUX_WINDOW_UPDATE, SKEP_YAMUX_RST, run->first, 0);
        if (run->first != run->last) {
            run->first += 2;
            continue;
        }
        session->refusal_first = (uint8_t)((session->refusal_first + 1) % SKEP_YAMUX_REFUSALS_MAX);
        session->refusal_count--;
    }
}

/* The flag that our first frame of a stream carries. */
static unsigned take_open_flag(struct skep_yamux_stream *stream)
{
    if (!stream->open_flag_due)
        return 0;
    stream->open_flag_due = false;
    return stream->inbound ? SKEP_YAMUX_ACK : SKEP_YAMUX_SYN;
}

static void put_window_update(struct skep_yamux_stream *stream, struct output *out)
{
    uint32_t delta = stream->grant_due ? stream->pending : 0;

    put_header(out, SKEP_YAMUX_WINDOW_UPDATE, take_open_flag(stream), stream->id, delta);
    stream->recv_left += delta;
    stream->pending -= delta;
    stream->grant_due = false;
}

static void pull_control(struct skep_yamux *session, struct output *out)
{
    while (!skep_list_empty(&session->control) && room(out) >= HEADER_LEN) {
        struct skep_yamux_stream *stream =
            SKEP_LIST_ITEM(session->control.next, struct skep_yamux_stream, control);

        skep_list_remove(&stream->control);
        if (stream->rst_due) {
            put_header(out, SKEP_YAMUX_WINDOW_UPDATE, SKEP_YAMUX_RST, stream->id, 0);
            skep_yamux_stream_recycle(stream);
        } else {
            put_window_update(stream, out);
        }
    }
}

static void defer(struct skep_yamux_stream *stream)
{
    if (skep_list_empty(&stream->deferred))
        skep_list_push_back(&stream->session->deferred, &stream->deferred);
}

static void put_data(struct skep_yamux_stream *stream, struct output *out)
{
    size_t n = SKEP_MIN(SKEP_MIN(sendable(stream), room(out) - HEADER_LEN),
                        (size_t)SKEP_YAMUX_FRAME_DATA_MAX);

    put_header(out, SKEP_YAMUX_DATA, take_open_flag(stream), stream->id, (uint32_t)n);
    skep_yamux_queue_take(&stream->queue, &stream->session->pool, out->data + out->used, n);
    out->used += n;
    stream->send_window -= (uint32_t)n;
    if (stream->above_low_water && stream->queue.len < stream->low_water) {
        stream->above_low_water = false;
        stream->writable_due = true;
        defer(stream);
    }
}

static void put_fin(struct skep_yamux_stream *stream, struct output *out)
{
    if (stream->open_flag_due)
        put_window_update(stream, out);
    if (room(out) < HEADER_LEN)
        return;
    put_header(out, SKEP_YAMUX_WINDOW_UPDATE, SKEP_YAMUX_FIN, stream->id, 0);
    stream->fin_sent = true;
    if (stream->remote_closed)
        defer(stream);
}

static void pull_data(struct skep_yamux *session, struct output *out)
{
    while (!skep_list_empty(&session->ready)) {
        struct skep_yamux_stream *stream =
            SKEP_LIST_ITEM(session->ready.next, struct skep_yamux_stream, ready);
        size_t want = sendable(stream);

        if (room(out) < HEADER_LEN + SKEP_MIN(want, out->used > 0 ? (size_t)FRAGMENT_MIN : 1))
            return;
        skep_list_remove(&stream->ready);
        if (want > 0)
            put_data(stream, out);
        if (fin_due(stream) && room(out) >= HEADER_LEN)
            put_fin(stream, out);
        skep_yamux_stream_schedule(stream);
    }
}

/* Events that came up while frames were written: by now the session is in order, and the user may do what it likes but free it. */
static void run_deferred(struct skep_yamux *session)
{
    while (!skep_list_empty(&session->deferred)) {
        struct skep_yamux_stream *stream =
            SKEP_LIST_ITEM(session->deferred.next, struct skep_yamux_stream, deferred);

        skep_list_remove(&stream->deferred);
        if (stream->fin_sent && stream->remote_closed) {
            skep_yamux_stream_end(stream, 0);
        } else if (stream->writable_due) {
            stream->writable_due = false;
            if (stream->events && stream->events->on_writable)
                stream->events->on_writable(stream->user, stream);
        }
    }
}

size_t skep_yamux_pull(struct skep_yamux *session, uint8_t *out, size_t cap)
{
    struct output output = {out, 0, cap};

    assert(cap >= PULL_MIN && !session->pulling);
    session->pulling = true;
    pull_session_frames(session, &output);
    if (session->rc == 0) {
        pull_refusals(session, &output);
        pull_control(session, &output);
        if (output.used > 0 || !skep_list_empty(&session->ready))
            skep_yamux_release_late(session);
        pull_data(session, &output);
        run_deferred(session);
    }
    session->pulling = false;
    session->signalled = skep_yamux_has_output(session);
    return output.used;
}
