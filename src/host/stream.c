/* SPDX-License-Identifier: MIT */
/* Streams: a yamux stream under a protocol id agreed by multistream-select. docs/wire.md a.1.
 *
 * WAITING --connected--> NEGOTIATING --echo (ours or theirs)--> OPEN --both ends, reset, connection lost--> DEAD
 *
 * An outbound stream is lazy: the negotiation and the first data leave together, in one frame, and the echo is checked when it comes.
 * The struct outlives its death only while one of our own callers still looks at it (`upcalls`). */
#include "host/host_impl.h"

/* ---- the deadline of negotiations and of released streams: all equally long, so one queue and one timer do ---- */

static void timed_start(struct skep_stream *stream)
{
    struct skep_host *host = stream->host;

    if (stream->timed)
        return;
    stream->timed = true;
    stream->timed_queued = skep_stream_queued(stream);
    stream->deadline_us = skep_env_now_us(host->env) + SKEP_NEGOTIATE_TIMEOUT_US;
    skep_list_push_back(&host->timed, &stream->timed_entry);
    if (!skep_timer_running(&host->timed_timer))
        (void)skep_timer_start(host->env->timers, &host->timed_timer, stream->deadline_us);
}

static void timed_stop(struct skep_stream *stream)
{
    if (stream->timed)
        skep_list_remove(&stream->timed_entry);
    stream->timed = false;
}

/* ---- life and death ---- */

static struct skep_stream *stream_new(struct skep_host *host, bool inbound)
{
    struct skep_stream *stream = skep_mem_zalloc(host->env->mem, 1, sizeof *stream);

    if (!stream)
        return NULL;
    stream->host = host;
    stream->inbound = inbound;
    skep_buf_init(&stream->pending, host->env->mem);
    skep_list_init(&stream->entry);
    return stream;
}

static void leave_negotiation(struct skep_stream *stream)
{
    timed_stop(stream);
    skep_multistream_fini(&stream->select);
    if (stream->inbound && stream->conn)
        stream->conn->negotiating_count--;
}

/** Off everything; freed now or by the last upcall. The mux stream is the caller's affair. */
static void stream_kill(struct skep_stream *stream)
{
    struct skep_host *host = stream->host;
    struct skep_host_peer *peer = stream->peer;
    bool was_waiting = stream->state == STREAM_WAITING && peer; /* not one that never got so far */

    if (stream->state == STREAM_NEGOTIATING)
        leave_negotiation(stream);
    timed_stop(stream);
    stream->state = STREAM_DEAD;
    stream->mux = NULL;
    skep_buf_fini(&stream->pending);
    skep_list_remove(&stream->entry);
    if (stream->conn)
        skep_conn_stream_ended(stream->conn);
    stream->conn = NULL;
    if (stream->upcalls == 0)
        skep_mem_free(host->env->mem, stream);
    if (was_waiting)
        skep_host_peer_put(host, peer);
}

static void upcalls_end(struct skep_stream *stream)
{
    if (--stream->upcalls == 0 && stream->state == STREAM_DEAD)
        skep_mem_free(stream->host->env->mem, stream);
}

/** The user's last event, then the end. */
static void stream_close(struct skep_stream *stream, int rc)
{
    const struct skep_stream_events *events = stream->events;

    stream->events = NULL;
    stream->upcalls++;
    if (stream->peer)
        stream->peer->holds++; /* the user may ask whose stream it was */
    if (events)
        events->on_close(stream, stream->user, rc);
    if (stream->peer)
        stream->peer->holds--;
    if (stream->state != STREAM_DEAD)
        stream_kill(stream);
    upcalls_end(stream);
}

static void stream_fail(struct skep_stream *stream, int rc)
{
    struct skep_yamux_stream *mux = stream->mux;

    stream->mux = NULL;
    if (mux)
        skep_yamux_reset(mux);
    stream_close(stream, rc);
}

void skep_stream_timed_fire(struct skep_timer *timer)
{
    struct skep_host *host = SKEP_CONTAINER_OF(timer, struct skep_host, timed_timer);
    uint64_t now_us = skep_env_now_us(host->env);

    while (!skep_list_empty(&host->timed)) {
        struct skep_stream *stream =
            SKEP_LIST_ITEM(host->timed.next, struct skep_stream, timed_entry);

        if (stream->deadline_us > now_us) {
            (void)skep_timer_start(host->env->timers, timer, stream->deadline_us);
            return;
        }
        timed_stop(stream);
        if (stream->state == STREAM_OPEN && skep_stream_queued(stream) < stream->timed_queued)
            timed_start(stream); /* released with much to send, over a slow line: it moves on */
        else
            stream_fail(stream, SKEP_ETIMEDOUT);
    }
}

/* ---- negotiation ---- */

static const char *lookup_served(void *user, skep_bytes protocol)
{
    const struct skep_stream *stream = user;
    const struct skep_host_protocol *found = skep_host_protocol_find(stream->host, protocol);

    return found && found->handler ? found->name : NULL;
}

/** Outbound: the peer agrees. */
static void on_agreed(struct skep_stream *stream)
{
    leave_negotiation(stream);
    stream->state = STREAM_OPEN;
    if (stream->write_closed)
        skep_yamux_close_write(stream->mux);
    if (!stream->events) /* released meanwhile: it still must not stay for ever */
        timed_start(stream);
    else if (stream->events->on_open)
        stream->events->on_open(stream, stream->user);
}

/** Inbound: we have agreed; find who serves it. */
static void on_chosen(struct skep_stream *stream)
{
    struct skep_host *host = stream->host;
    const char *name = stream->select.chosen;
    const struct skep_host_protocol *served = skep_host_protocol_find(host, skep_bytes_str(name));

    leave_negotiation(stream);
    skep_yamux_accept(stream->mux);
    stream->state = STREAM_OPEN;
    stream->protocol = name;
    host->stats.streams_served++;
    served->handler(served->user, stream);
    assert(stream->state == STREAM_DEAD || stream->events ||
           stream->timed); /* used, reset or released */
}

/** The negotiation came to nothing. Who proposed what we do not serve may have sent its request along, which is no proposal, or its FIN:
 *  it still is to read our refusal, which a reset would drop. */
static void on_failed(struct skep_stream *stream, int rc)
{
    if (!stream->inbound || stream->select.proposals == 0) {
        stream_fail(stream, rc);
        return;
    }
    stream->host->stats.streams_refused++;
    leave_negotiation(stream);
    stream->state = STREAM_OPEN;
    skep_stream_release(stream);
}

/** Move *data past the negotiation. @return 1: the stream is open, the rest is the user's; 0: more is needed; an error. */
static int negotiate(struct skep_stream *stream, skep_bytes *data)
{
    struct skep_buf *scratch = &stream->host->scratch;
    size_t before = data->len;
    int rc;

    skep_buf_clear(scratch);
    rc = skep_multistream_next(&stream->select, data, scratch);
    skep_yamux_consume(stream->mux, before - data->len);
    if (scratch->rc < 0)
        return scratch->rc;
    if (scratch->len > 0) { /* with an error, too: a refusal before it */
        int written = skep_yamux_write(stream->mux, skep_buf_view(scratch));

        if (written < 0)
            return written;
    }
    return rc;
}

static void on_mux_data(void *user, struct skep_yamux_stream *mux, skep_bytes data)
{
    struct skep_stream *stream = user;
    int rc;

    stream->upcalls++;
    if (stream->state == STREAM_NEGOTIATING) {
        rc = negotiate(stream, &data);
        if (rc < 0) {
            on_failed(stream, rc);
        } else if (rc == 1) {
            if (stream->inbound)
                on_chosen(stream);
            else
                on_agreed(stream);
        }
    }
    if (stream->state == STREAM_OPEN && data.len > 0) {
        if (stream->events)
            stream->events->on_data(stream, stream->user, data);
        else
            skep_yamux_consume(mux, data.len);
    }
    upcalls_end(stream);
}

static void on_mux_writable(void *user, struct skep_yamux_stream *mux)
{
    struct skep_stream *stream = user;

    (void)mux;
    stream->upcalls++;
    if (stream->events && stream->events->on_writable)
        stream->events->on_writable(stream, stream->user);
    upcalls_end(stream);
}

static void on_mux_eof(void *user, struct skep_yamux_stream *mux)
{
    struct skep_stream *stream = user;

    (void)mux;
    stream->upcalls++;
    if (stream->state == STREAM_NEGOTIATING)
        on_failed(stream, SKEP_EPEER_RESET); /* it ended before it agreed to anything */
    else if (stream->events && stream->events->on_eof)
        stream->events->on_eof(stream, stream->user);
    upcalls_end(stream);
}

static void on_mux_close(void *user, struct skep_yamux_stream *mux, int rc)
{
    struct skep_stream *stream = user;

    (void)mux;
    stream->mux = NULL;
    stream_close(stream, rc);
}

static const struct skep_yamux_stream_events mux_stream_events = {on_mux_data, on_mux_writable,
                                                                  on_mux_eof, on_mux_close};

/* ---- inbound ---- */

static void on_mux_stream(void *user, struct skep_yamux_stream *mux)
{
    struct skep_conn *conn = user;
    struct skep_host *host = conn->host;
    bool full = conn->doomed || conn->negotiating_count >= SKEP_YAMUX_BACKLOG_MAX;
    struct skep_stream *stream = full ? NULL : stream_new(host, true);

    if (!stream) {
        host->stats.streams_refused++;
        skep_yamux_reset(mux);
        return;
    }
    stream->peer = conn->peer;
    stream->conn = conn;
    stream->mux = mux;
    stream->state = STREAM_NEGOTIATING;
    conn->stream_count++;
    conn->negotiating_count++;
    skep_yamux_stream_use(mux, &mux_stream_events, stream, SKEP_STREAM_LOW_WATER);
    skep_buf_clear(&host->scratch);
    skep_multistream_listen(&stream->select, host->env->mem, lookup_served, stream, false,
                            &host->scratch);
    timed_start(stream);
}

static void on_mux_output(void *user)
{
    skep_conn_want_flush(user);
}

static uint64_t mux_now_us(void *user)
{
    const struct skep_conn *conn = user;

    return skep_env_now_us(conn->host->env);
}

const struct skep_yamux_events skep_conn_mux_events = {on_mux_stream, on_mux_output, mux_now_us};

/* ---- outbound ---- */

static int attach(struct skep_stream *stream, struct skep_conn *conn)
{
    struct skep_host *host = stream->host;
    int rc =
        skep_yamux_open(conn->mux, &stream->mux, &mux_stream_events, stream, SKEP_STREAM_LOW_WATER);

    if (rc < 0)
        return rc;
    stream->conn = conn;
    stream->peer = conn->peer;
    conn->stream_count++;
    stream->state = STREAM_NEGOTIATING;
    skep_list_remove(&stream->entry);
    skep_buf_clear(&host->scratch);
    skep_multistream_dial(&stream->select, host->env->mem, &stream->protocol, 1, &host->scratch);
    rc = host->scratch.rc;
    if (rc == 0)
        rc = skep_yamux_write(stream->mux, skep_buf_view(&host->scratch));
    if (rc == 0 && stream->pending.len > 0)
        rc = skep_yamux_write(stream->mux, skep_buf_view(&stream->pending));
    skep_buf_fini(&stream->pending);
    timed_start(stream);
    return rc;
}

static bool is_usable(const struct skep_conn *conn)
{
    return conn && !conn->doomed && !skep_yamux_going_away(conn->mux);
}

static void wait_in_line(struct skep_stream *stream, struct skep_host_peer *peer)
{
    stream->peer = peer;
    stream->state = STREAM_WAITING;
    skep_list_push_back(&peer->waiting, &stream->entry);
}

/** Open it where the peer is connected now. If as many as may be await their acknowledgement, it waits: each of those has a deadline. */
static int attach_or_wait(struct skep_stream *stream, struct skep_host_peer *peer, bool may_find)
{
    bool usable = is_usable(peer->best);

    if (usable && !skep_yamux_opening_full(peer->best->mux))
        return attach(stream, peer->best);
    wait_in_line(stream, peer);
    return usable ? 0 : skep_dial_peer(stream->host, peer, may_find, 0);
}

int skep_stream_open(struct skep_host *host, struct skep_stream **out, struct skep_host_peer *peer,
                     struct skep_conn *conn, const char *protocol, bool may_find,
                     const struct skep_stream_events *events, void *user)
{
    const struct skep_host_protocol *name = skep_host_intern(host, protocol);
    struct skep_stream *stream = name ? stream_new(host, false) : NULL;
    int rc;

    *out = NULL;
    if (!stream)
        return SKEP_ENOMEM;
    stream->protocol = name->name;
    stream->events = events;
    stream->user = user;
    rc = conn ? attach(stream, conn) : attach_or_wait(stream, peer, may_find);
    if (rc < 0) {
        if (stream->mux)
            skep_yamux_reset(stream->mux);
        stream_kill(stream);
        return rc;
    }
    host->stats.streams_opened++;
    *out = stream;
    return 0;
}

int skep_host_open(struct skep_host *host, struct skep_stream **out, const struct skep_peer_id *id,
                   const char *protocol, const struct skep_stream_events *events, void *user)
{
    struct skep_host_peer *peer;
    int rc;

    *out = NULL;
    if (host->closing)
        return SKEP_ECANCELED;
    if (skep_peer_id_equal(id, &host->options.identity->id))
        return SKEP_ESELF;
    peer = skep_host_peer_get(host, id);
    if (!peer)
        return SKEP_ENOMEM;
    peer->holds++;
    rc = skep_stream_open(host, out, peer, NULL, protocol, true, events, user);
    peer->holds--;
    if (rc < 0)
        skep_host_peer_put(host, peer);
    return rc;
}

void skep_stream_attach_waiting(struct skep_host_peer *peer)
{
    while (!skep_list_empty(&peer->waiting) && is_usable(peer->best) &&
           !skep_yamux_opening_full(peer->best->mux)) {
        struct skep_stream *stream = SKEP_LIST_ITEM(peer->waiting.next, struct skep_stream, entry);
        int rc = attach(stream, peer->best);

        if (rc < 0)
            stream_fail(stream, rc);
    }
}

void skep_stream_fail_waiting(struct skep_host_peer *peer, int rc)
{
    struct skep_list now;

    /* Only those that wait now: an on_close may open the next stream. */
    skep_list_init(&now);
    while (!skep_list_empty(&peer->waiting)) {
        struct skep_list *entry = peer->waiting.next;

        skep_list_remove(entry);
        skep_list_push_back(&now, entry);
    }
    while (!skep_list_empty(&now))
        stream_fail(SKEP_LIST_ITEM(now.next, struct skep_stream, entry), rc);
}

bool skep_stream_service_begin(struct skep_stream *stream)
{
    if (stream->peer->service_streams >= SKEP_SERVICE_STREAMS_MAX) {
        stream->host->stats.streams_refused++;
        return false;
    }
    stream->peer->service_streams++;
    return true;
}

void skep_stream_service_end(struct skep_host_peer *peer)
{
    peer->service_streams--;
}

/* ---- the user's calls ---- */

void skep_stream_use(struct skep_stream *stream, const struct skep_stream_events *events,
                     void *user)
{
    stream->events = events;
    stream->user = user;
}

int skep_stream_write(struct skep_stream *stream, skep_bytes data)
{
    if (stream->write_closed)
        return SKEP_ECLOSED;
    if (stream->mux)
        return skep_yamux_write(stream->mux, data);
    if (stream->state != STREAM_WAITING)
        return SKEP_ECLOSED;
    skep_buf_put_bytes(&stream->pending, data);
    return stream->pending.rc;
}

size_t skep_stream_queued(const struct skep_stream *stream)
{
    return stream->mux ? skep_yamux_queued(stream->mux) : stream->pending.len;
}

bool skep_stream_has_room(const struct skep_stream *stream, size_t len)
{
    return !stream->mux || skep_yamux_has_room(stream->conn->mux, len);
}

void skep_stream_close_write(struct skep_stream *stream)
{
    if (stream->write_closed)
        return;
    stream->write_closed = true;
    /* interop: js-libp2p resets a stream whose FIN comes while it still negotiates: then it waits for the echo, see on_agreed(). */
    if (stream->mux && stream->state == STREAM_OPEN)
        skep_yamux_close_write(stream->mux);
}

void skep_stream_consume(struct skep_stream *stream, size_t n)
{
    if (stream->mux)
        skep_yamux_consume(stream->mux, n);
}

void skep_stream_reset(struct skep_stream *stream)
{
    struct skep_yamux_stream *mux = stream->mux;

    if (stream->state == STREAM_DEAD)
        return;
    stream->events = NULL;
    stream->mux = NULL;
    if (mux)
        skep_yamux_reset(mux);
    stream_kill(stream);
}

void skep_stream_release(struct skep_stream *stream)
{
    if (stream->state == STREAM_DEAD)
        return;
    stream->events = NULL;
    skep_stream_close_write(stream);
    if (stream->state == STREAM_OPEN)
        timed_start(stream);
}

void skep_stream_finish(struct skep_stream *stream)
{
    if (stream->state == STREAM_OPEN && stream->mux && !stream->write_closed) {
        stream->write_closed = true;
        skep_yamux_close_write_late(stream->mux);
        if (!stream->conn->handling) /* else the flush at the end of the event sees to it */
            skep_conn_deadline_came_nearer(stream->conn);
    }
    skep_stream_release(stream);
}

const struct skep_peer_id *skep_stream_peer(const struct skep_stream *stream)
{
    return &stream->peer->id;
}

const char *skep_stream_protocol(const struct skep_stream *stream)
{
    return stream->protocol;
}
