/* SPDX-License-Identifier: MIT */
/* The receiving half of a yamux session, and the life of its streams. Spec: libp2p yamux r0; docs/wire.md a.4. */
#include "mux/yamux_internal.h"

enum {
    SPARE_STREAMS_MAX = 16,
    GROW_RTTS = 4,               /* a window used up within so many round trips is too small */
    RTT_FRESH_US = 10 * 1000000, /* measured anew by a busy session after so long */
};

uint64_t skep_yamux_now(const struct skep_yamux *session)
{
    return session->events->now_us ? session->events->now_us(session->user) : session->now_us;
}

static void start_clock(struct skep_yamux *session, uint64_t now_us)
{
    session->now_us = now_us;
    if (!session->clock_started)
        session->last_received_us = now_us;
    session->clock_started = true;
}

static int fail(struct skep_yamux *session, int rc)
{
    session->rc = rc;
    /* Who has gone away with an error wants to hear nothing more. */
    session->go_away_due = rc != SKEP_ELOST;
    session->go_away_code = SKEP_YAMUX_PROTOCOL_ERROR;
    session->reading = NULL;
    skep_yamux_signal(session);
    return rc;
}

static struct skep_yamux_stream *find(struct skep_yamux *session, uint32_t id)
{
    struct skep_yamux_stream *stream;

    HASH_FIND(hh, session->streams, &id, sizeof id, stream);
    return stream;
}

/* ---- the life of a stream ---- */

static bool add_to_table(struct skep_yamux *session, struct skep_yamux_stream *stream)
{
    HASH_ADD(hh, session->streams, id, sizeof stream->id, stream);
    return stream->hh.tbl != NULL;
}

static struct skep_yamux_stream *new_stream(struct skep_yamux *session, uint32_t id, bool inbound)
{
    struct skep_yamux_stream *stream;

    if (!session->streams && !add_to_table(session, &session->anchor))
        return NULL;
    if (session->spare_count > 0) {
        stream = SKEP_LIST_ITEM(session->spare.next, struct skep_yamux_stream, control);
        skep_list_remove(&stream->control);
        session->spare_count--;
    } else {
        stream = skep_mem_alloc(session->mem, sizeof *stream);
        if (!stream)
            return NULL;
    }
    *stream = (struct skep_yamux_stream){
        .session = session,
        .id = id,
        .inbound = inbound,
        .open_flag_due = true,
        .send_window = SKEP_YAMUX_WINDOW,
        .window = SKEP_YAMUX_WINDOW,
        .recv_left = SKEP_YAMUX_WINDOW,
    };
    skep_list_init(&stream->control);
    skep_list_init(&stream->ready);
    skep_list_init(&stream->deferred);
    if (!add_to_table(session, stream)) {
        skep_mem_free(session->mem, stream);
        return NULL;
    }
    session->live++;
    session->held++;
    session->window_sum += stream->window;
    *(inbound ? &session->backlog : &session->opening) += 1;
    return stream;
}

void skep_yamux_stream_detach(struct skep_yamux_stream *stream)
{
    struct skep_yamux *session = stream->session;

    HASH_DELETE(hh, session->streams, stream);
    skep_list_remove(&stream->control);
    skep_list_remove(&stream->ready);
    skep_list_remove(&stream->deferred);
    skep_yamux_queue_clear(&stream->queue, &session->pool);
    session->live--;
    session->window_sum -= stream->window;
    if (stream->inbound && !stream->accepted)
        session->backlog--;
    if (!stream->inbound && !stream->acked)
        session->opening--;
    if (session->reading == stream)
        session->reading = NULL;
    stream->gone = stream->write_closed = true;
    stream->grant_due = false;
}

void skep_yamux_stream_recycle(struct skep_yamux_stream *stream)
{
    struct skep_yamux *session = stream->session;

    session->held--;
    if (session->spare_count < SPARE_STREAMS_MAX && !session->freeing) {
        skep_list_push_front(&session->spare, &stream->control);
        session->spare_count++;
    } else {
        skep_mem_free(session->mem, stream);
    }
}

void skep_yamux_stream_end(struct skep_yamux_stream *stream, int rc)
{
    skep_yamux_stream_detach(stream);
    if (stream->events && stream->events->on_close)
        stream->events->on_close(stream->user, stream, rc);
    skep_yamux_stream_recycle(stream);
}

void skep_yamux_reset(struct skep_yamux_stream *stream)
{
    struct skep_yamux *session = stream->session;
    bool never_sent = !stream->inbound && stream->open_flag_due;
    bool is_done = stream->fin_sent && stream->remote_closed;

    if (stream->gone)
        return;
    skep_yamux_stream_detach(stream);
    if (never_sent || is_done || session->freeing || session->rc < 0) {
        skep_yamux_stream_recycle(stream);
        return;
    }
    stream->rst_due = true;
    stream->events = NULL;
    skep_yamux_stream_schedule(stream);
    skep_yamux_signal(session);
}

static void trim(struct skep_yamux *session)
{
    SKEP_LIST_EACH(&session->spare, node, after)
    skep_mem_free(session->mem, SKEP_LIST_ITEM(node, struct skep_yamux_stream, control));
    skep_list_init(&session->spare);
    session->spare_count = 0;
    skep_yamux_pool_trim(&session->pool);
}

/* ---- frames in ---- */

/* Remember to reset a stream that is not taken, in constant space: a run of ids, which a burst of SYNs is. */
static void refuse(struct skep_yamux *session, uint32_t id)
{
    size_t count = session->refusal_count;
    size_t last =
        (session->refusal_first + count + SKEP_YAMUX_REFUSALS_MAX - 1) % SKEP_YAMUX_REFUSALS_MAX;

    session->stats.streams_refused++;
    if (count > 0 && session->refusals[last].last == id - 2) {
        session->refusals[last].last = id;
    } else if (count < SKEP_YAMUX_REFUSALS_MAX) {
        last = (last + 1) % SKEP_YAMUX_REFUSALS_MAX;
        session->refusals[last] = (struct refusals){id, id};
        session->refusal_count++;
    } else {
        session->stats.refusals_dropped++;
    }
}

/* Where all connections together leave too much unread, those that read are served on: they have little unsent. */
bool skep_yamux_has_room(const struct skep_yamux *session, size_t more)
{
    const struct skep_yamux_pool *pool = &session->pool;
    size_t queued = pool->queued + more;

    if (queued > SKEP_YAMUX_QUEUED_MAX)
        return false;
    return !pool->queued_total || *pool->queued_total + more <= SKEP_HOST_QUEUED_MAX ||
           queued <= SKEP_YAMUX_WINDOW;
}

/* Who does not read our answers may not ask on. */
static bool takes_streams(const struct skep_yamux *session)
{
    return !session->local_gone && session->backlog < SKEP_YAMUX_BACKLOG_MAX &&
           session->held < SKEP_YAMUX_STREAMS_MAX && skep_yamux_has_room(session, 0);
}

/* @return 0 with *out the new stream, or NULL if it was refused; SKEP_EPEER_PROTO. */
static int on_syn(struct skep_yamux *session, uint32_t id, struct skep_yamux_stream **out)
{
    struct skep_yamux_stream *stream = NULL;

    *out = NULL;
    if ((id % 2 == 1) == session->is_client || find(session, id))
        return SKEP_EPEER_PROTO;
    if (takes_streams(session))
        stream = new_stream(session, id, true);
    if (!stream) {
        refuse(session, id);
        return 0;
    }
    session->stats.streams_accepted++;
    session->reading = stream; /* NULL again if the user resets it */
    if (session->events->on_stream)
        session->events->on_stream(session->user, stream);
    if (session->reading && !stream->events)
        skep_yamux_reset(stream);
    *out = session->reading;
    return 0;
}

static void on_fin(struct skep_yamux *session, struct skep_yamux_stream *stream)
{
    if (stream->remote_closed)
        return;
    stream->remote_closed = true;
    stream->grant_due = false;
    skep_yamux_stream_schedule(stream);
    session->reading = stream; /* NULL again if the user resets it */
    if (stream->events->on_eof)
        stream->events->on_eof(stream->user, stream);
    if (session->reading && stream->fin_sent)
        skep_yamux_stream_end(stream, 0);
    session->reading = NULL;
}

static int on_window_update(struct skep_yamux_stream *stream, uint32_t delta)
{
    if (delta > UINT32_MAX - stream->send_window)
        return SKEP_EPEER_PROTO;
    stream->send_window += delta;
    skep_yamux_stream_schedule(stream);
    return 0;
}

static int on_data_header(struct skep_yamux *session, struct skep_yamux_stream *stream,
                          uint32_t length)
{
    if (stream->remote_closed) {
        session->stats.unknown_stream_frames++;
        return 0;
    }
    if (length > stream->recv_left)
        return SKEP_EPEER_LIMIT;
    stream->recv_left -= length;
    session->reading = stream;
    return 0;
}

static void on_ack(struct skep_yamux *session, struct skep_yamux_stream *stream)
{
    if (stream->inbound || stream->acked)
        return;
    stream->acked = true; /* any frame says that the peer has taken the stream */
    session->opening--;
}

static int on_stream_frame(struct skep_yamux *session, const struct skep_yamux_frame *frame)
{
    struct skep_yamux_stream *stream;
    int rc = 0;

    session->reading = NULL;
    session->reading_fin = false;
    if (frame->stream_id == 0)
        return SKEP_EPEER_PROTO;
    if (frame->flags & SKEP_YAMUX_SYN) {
        if ((rc = on_syn(session, frame->stream_id, &stream)) < 0)
            return rc;
        session->reading = NULL;
    } else {
        stream = find(session, frame->stream_id);
        session->stats.unknown_stream_frames += stream == NULL;
    }
    if (!stream)
        return 0; /* its data is drained */
    if (frame->flags & SKEP_YAMUX_RST) {
        session->stats.resets_in++;
        skep_yamux_stream_end(stream, SKEP_EPEER_RESET);
        return 0;
    }
    on_ack(session, stream);
    if (frame->type == SKEP_YAMUX_WINDOW_UPDATE)
        rc = on_window_update(stream, frame->length);
    else if (frame->length > 0)
        rc = on_data_header(session, stream, frame->length);
    if (rc < 0 || !(frame->flags & SKEP_YAMUX_FIN))
        return rc;
    /* The FIN of a frame with data comes after the data. */
    session->reading_fin = session->reading != NULL;
    if (!session->reading_fin)
        on_fin(session, stream);
    return 0;
}

static void on_data(struct skep_yamux *session, const struct skep_yamux_event *event)
{
    struct skep_yamux_stream *stream = session->reading;

    if (!stream)
        return;
    stream->unconsumed += (uint32_t)event->data.len;
    if (stream->events->on_data)
        stream->events->on_data(stream->user, stream, event->data);
    else
        skep_yamux_consume(stream, event->data.len);
    if (!event->is_last || session->reading != stream)
        return;
    session->reading = NULL;
    if (session->reading_fin)
        on_fin(session, stream);
}

static void on_ping(struct skep_yamux *session, const struct skep_yamux_frame *frame)
{
    if (frame->flags & SKEP_YAMUX_ACK) {
        if (!session->ping_outstanding || session->ping_due || frame->length != session->ping_value)
            return;
        uint64_t sample = SKEP_MAX(
            session->now_us - SKEP_MIN(session->now_us, session->ping_sent_us), (uint64_t)1);

        session->ping_outstanding = false;
        session->rtt_us = session->rtt_us == 0 ? sample : (7 * session->rtt_us + sample) / 8;
        session->rtt_at_us = session->now_us;
        return;
    }
    if (session->ping_count == SKEP_YAMUX_PINGS_MAX) {
        session->ping_first = (uint8_t)((session->ping_first + 1) % SKEP_YAMUX_PINGS_MAX);
        session->ping_count--;
        session->stats.pings_dropped++;
    }
    session->pings[(session->ping_first + session->ping_count) % SKEP_YAMUX_PINGS_MAX] =
        frame->length;
    session->ping_count++;
}

static int on_frame(struct skep_yamux *session, const struct skep_yamux_frame *frame)
{
    switch (frame->type) {
    case SKEP_YAMUX_DATA:
    case SKEP_YAMUX_WINDOW_UPDATE: return on_stream_frame(session, frame);
    case SKEP_YAMUX_PING: on_ping(session, frame); return 0;
    case SKEP_YAMUX_GO_AWAY:
        session->remote_gone = true;
        return frame->length == SKEP_YAMUX_NORMAL ? 0 : SKEP_ELOST;
    default: SKEP_UNREACHABLE(); /* the parser let none through */
    }
}

int skep_yamux_receive(struct skep_yamux *session, skep_bytes data, uint64_t now_us)
{
    struct skep_yamux_event event;
    int rc;

    if (session->rc < 0)
        return session->rc;
    start_clock(session, now_us);
    session->last_received_us = now_us;
    session->depth++;
    while ((rc = skep_yamux_next(&session->parser, &data, &event)) > 0) {
        if (!event.is_header)
            on_data(session, &event);
        else if ((rc = on_frame(session, &event.frame)) < 0)
            break;
    }
    session->depth--;
    if (rc < 0)
        return fail(session, rc);
    skep_yamux_signal(session);
    return 0;
}

/* ---- what the user of a stream does ---- */

bool skep_yamux_opening_full(const struct skep_yamux *session)
{
    return session->opening >= SKEP_YAMUX_OPENING_MAX;
}

int skep_yamux_open(struct skep_yamux *session, struct skep_yamux_stream **out,
                    const struct skep_yamux_stream_events *events, void *user, size_t low_water)
{
    struct skep_yamux_stream *stream;

    *out = NULL;
    if (session->rc < 0 || session->freeing || session->remote_gone || session->local_gone ||
        session->next_id > UINT32_MAX - 2)
        return SKEP_ECLOSED;
    if (skep_yamux_opening_full(session) || session->held >= SKEP_YAMUX_STREAMS_MAX)
        return SKEP_ELIMIT;
    stream = new_stream(session, session->next_id, false);
    if (!stream)
        return SKEP_ENOMEM;
    session->next_id += 2;
    session->stats.streams_opened++;
    skep_yamux_stream_use(stream, events, user, low_water);
    *out = stream;
    skep_yamux_stream_schedule(stream);
    skep_yamux_signal(session);
    return 0;
}

void skep_yamux_stream_use(struct skep_yamux_stream *stream,
                           const struct skep_yamux_stream_events *events, void *user,
                           size_t low_water)
{
    stream->events = events;
    stream->user = user;
    stream->low_water = low_water;
}

void skep_yamux_accept(struct skep_yamux_stream *stream)
{
    if (!stream->inbound || stream->accepted || stream->gone)
        return;
    stream->accepted = true;
    stream->session->backlog--;
    skep_yamux_stream_schedule(stream);
    skep_yamux_signal(stream->session);
}

int skep_yamux_write(struct skep_yamux_stream *stream, skep_bytes data)
{
    struct skep_yamux *session = stream->session;
    int rc;

    if (stream->write_closed || session->rc < 0 || session->freeing)
        return SKEP_ECLOSED;
    if ((rc = skep_yamux_queue_put(&stream->queue, &session->pool, data)) < 0)
        return rc;
    if (stream->queue.len >= stream->low_water && stream->queue.len > 0)
        stream->above_low_water = true;
    skep_yamux_stream_schedule(stream);
    skep_yamux_signal(session);
    return 0;
}

size_t skep_yamux_queued(const struct skep_yamux_stream *stream)
{
    return stream->queue.len;
}

void skep_yamux_close_write(struct skep_yamux_stream *stream)
{
    if (stream->write_closed)
        return;
    stream->write_closed = true;
    skep_yamux_stream_schedule(stream);
    skep_yamux_signal(stream->session);
}

void skep_yamux_close_write_late(struct skep_yamux_stream *stream)
{
    stream->fin_may_wait = true;
    skep_yamux_close_write(stream);
}

static void start_ping(struct skep_yamux *session, uint64_t now_us)
{
    if (session->ping_outstanding)
        return;
    session->ping_value++;
    session->ping_due = session->ping_outstanding = true;
    session->ping_sent_us = now_us;
}

/* A consumer that uses up half a window within a few round trips is held back by the window: double it, as go-yamux does,
 * within what the session may hold. The round trip is measured only once windows move: a small call costs no ping. */
static void grow_window(struct skep_yamux_stream *stream)
{
    struct skep_yamux *session = stream->session;
    uint64_t now_us = skep_yamux_now(session),
             since_us = now_us - SKEP_MIN(now_us, stream->grant_us);
    bool is_quick =
        stream->grant_us != 0 && session->rtt_us != 0 && since_us < GROW_RTTS * session->rtt_us;
    uint64_t spare = SKEP_YAMUX_SESSION_WINDOW_MAX -
                     SKEP_MIN(session->window_sum, (uint64_t)SKEP_YAMUX_SESSION_WINDOW_MAX);
    uint64_t extra = SKEP_MIN(
        SKEP_MIN((uint64_t)stream->window, (uint64_t)SKEP_YAMUX_WINDOW_MAX - stream->window),
        spare);

    stream->grant_us = SKEP_MAX(now_us, (uint64_t)1);
    if (session->rtt_us == 0 || now_us - SKEP_MIN(now_us, session->rtt_at_us) > RTT_FRESH_US)
        start_ping(session, now_us);
    if (!is_quick)
        return;
    stream->window += (uint32_t)extra;
    stream->pending += (uint32_t)extra;
    session->window_sum += extra;
}

void skep_yamux_consume(struct skep_yamux_stream *stream, size_t n)
{
    if (stream->gone)
        return;
    assert(n <= stream->unconsumed);
    stream->unconsumed -= (uint32_t)n;
    stream->pending += (uint32_t)n;
    if (stream->grant_due || stream->remote_closed || stream->pending < stream->window / 2)
        return;
    grow_window(stream);
    stream->grant_due = true;
    skep_yamux_stream_schedule(stream);
    skep_yamux_signal(stream->session);
}

uint32_t skep_yamux_stream_id(const struct skep_yamux_stream *stream)
{
    return stream->id;
}

bool skep_yamux_stream_inbound(const struct skep_yamux_stream *stream)
{
    return stream->inbound;
}

void *skep_yamux_stream_user(const struct skep_yamux_stream *stream)
{
    return stream->user;
}

/* ---- the session ---- */

int skep_yamux_new(struct skep_yamux **out, const struct skep_mem *mem, bool is_client,
                   const struct skep_yamux_events *events, void *user)
{
    struct skep_yamux *session = skep_mem_zalloc(mem, 1, sizeof *session);

    *out = session;
    if (!session)
        return SKEP_ENOMEM;
    session->mem = session->pool.mem = mem;
    session->is_client = is_client;
    session->next_id = is_client ? 1 : 2;
    session->events = events;
    session->user = user;
    skep_list_init(&session->control);
    skep_list_init(&session->ready);
    skep_list_init(&session->late);
    skep_list_init(&session->deferred);
    skep_list_init(&session->spare);
    return 0;
}

void skep_yamux_free(struct skep_yamux *session, int rc)
{
    if (!session)
        return;
    assert(session->depth == 0 && !session->pulling);
    session->freeing = true;
    /* Oldest first; the user may reset others meanwhile, so each turn begins anew. */
    while (session->streams && session->anchor.hh.next)
        skep_yamux_stream_end(session->anchor.hh.next, rc);
    while (!skep_list_empty(&session->control)) { /* those that waited for their RST */
        struct skep_yamux_stream *stream =
            SKEP_LIST_ITEM(session->control.next, struct skep_yamux_stream, control);

        skep_list_remove(&stream->control);
        skep_yamux_stream_recycle(stream);
    }
    HASH_CLEAR(hh, session->streams);
    trim(session);
    skep_mem_free(session->mem, session);
}

void skep_yamux_share_queued(struct skep_yamux *session, size_t *total)
{
    assert(session->pool.queued == 0);
    session->pool.queued_total = total;
}

static uint64_t keepalive_us(const struct skep_yamux *session)
{
    return session->ping_outstanding ? session->ping_sent_us + SKEP_YAMUX_PING_TIMEOUT_US
                                     : session->last_received_us + SKEP_YAMUX_KEEPALIVE_US;
}

uint64_t skep_yamux_deadline_us(const struct skep_yamux *session)
{
    uint64_t at_us = keepalive_us(session);

    return skep_list_empty(&session->late) ? at_us : SKEP_MIN(at_us, session->late_us);
}

int skep_yamux_on_time(struct skep_yamux *session, uint64_t now_us)
{
    start_clock(session, now_us);
    if (now_us >= session->late_us)
        skep_yamux_release_late(session);
    if (now_us < keepalive_us(session)) {
        skep_yamux_signal(session);
        return 0;
    }
    if (session->ping_outstanding) {
        if (session->last_received_us <= session->ping_sent_us)
            return SKEP_ETIMEDOUT;
        /* It answers no pings, or they are stuck behind much data, but it lives. */
        session->ping_outstanding = session->ping_due = false;
        if (now_us < keepalive_us(session))
            return 0;
    }
    trim(session);
    start_ping(session, now_us);
    skep_yamux_signal(session);
    return 0;
}

uint64_t skep_yamux_rtt_us(const struct skep_yamux *session)
{
    return session->rtt_us;
}

size_t skep_yamux_stream_count(const struct skep_yamux *session)
{
    return session->live;
}

bool skep_yamux_going_away(const struct skep_yamux *session)
{
    return session->remote_gone;
}

void skep_yamux_go_away(struct skep_yamux *session, uint32_t code)
{
    if (session->rc < 0 || session->freeing)
        return;
    session->local_gone = session->go_away_due = true;
    session->go_away_code = code;
    skep_yamux_signal(session);
}

void skep_yamux_stats(const struct skep_yamux *session, struct skep_yamux_stats *out)
{
    *out = session->stats;
}
