/* SPDX-License-Identifier: MIT */
/* A yamux session: streams over one ordered channel. Spec: libp2p yamux r0; docs/wire.md a.4 and g. The frame parser is yamux_frame.c.
 *
 * A machine without I/O: received plaintext goes in by skep_yamux_receive(), which calls the events; what is to be sent is pulled
 * out by skep_yamux_pull() straight into the buffer that will be encrypted, so a byte is copied once between the writer and the cipher.
 * The owner of the session pulls, on a later turn, whenever `events->on_output` has been called and the link takes bytes.
 *
 * Left out: yamux over anything but an encrypted channel, and stream priorities. */
#ifndef SKEP_MUX_YAMUX_SESSION_H
#define SKEP_MUX_YAMUX_SESSION_H

#include "base/bytes.h"
#include "base/limits.h"
#include "base/list.h"
#include "mux/yamux_frame.h"

struct skep_yamux;
struct skep_yamux_stream;

struct skep_yamux_events {
    /** The peer opened a stream: give it events by skep_yamux_stream_use() now, or reset it. */
    void (*on_stream)(void *user, struct skep_yamux_stream *stream);
    /** There is something to pull (called on the change from nothing to something; may come from inside any call here but pull).
     *  Do not pull from inside it: note it, and pull once the turn's writes are made, so that they share a message. */
    void (*on_output)(void *user);
    /** The clock, or NULL: then the time of the last receive or on_time is taken. */
    uint64_t (*now_us)(void *user);
};

/** All of one stream; each may be NULL (data without on_data is consumed at once). */
struct skep_yamux_stream_events {
    /** The view is good until this returns; window comes back by skep_yamux_consume(). */
    void (*on_data)(void *user, struct skep_yamux_stream *stream, skep_bytes data);
    /** What was queued fell below low_water (given to _use) after it had been above. */
    void (*on_writable)(void *user, struct skep_yamux_stream *stream);
    void (*on_eof)(void *user, struct skep_yamux_stream *stream);
    /** The last event: 0 both closed, SKEP_EPEER_RESET, or what skep_yamux_free() was given. The stream is gone after it. */
    void (*on_close)(void *user, struct skep_yamux_stream *stream, int rc);
};

struct skep_yamux_stats {
    uint64_t streams_opened, streams_accepted; /* accepted: given to on_stream */
    uint64_t
        streams_refused; /* beyond the backlog, the stream limit, the unsent bytes or our go-away */
    uint64_t refusals_dropped; /* of those, how many were not even told */
    uint64_t resets_in, pings_dropped;
    uint64_t unknown_stream_frames; /* of streams that are closed, or never were */
};

/** @param is_client  the dialler: odd ids. */
int skep_yamux_new(struct skep_yamux **out, const struct skep_mem *mem, bool is_client,
                   const struct skep_yamux_events *events, void *user);

/** Add the session's unsent bytes to *total, which it shares with others and outlives it (SKEP_HOST_QUEUED_MAX). Before anything is written. */
void skep_yamux_share_queued(struct skep_yamux *session, size_t *total);

/** Every live stream gets on_close with rc. */
void skep_yamux_free(struct skep_yamux *session, int rc);

/** Plaintext from the channel. @return 0; SKEP_EPEER_FRAME, SKEP_EPEER_PROTO, SKEP_EPEER_LIMIT: end the connection, after pulling
 *  the go-away that is then queued; SKEP_ELOST: the peer went away with an error code. An error is for good. The session may be freed by its owner from inside an event only after receive has returned. */
int skep_yamux_receive(struct skep_yamux *session, skep_bytes data, uint64_t now_us);

/** Next bytes to send into out[0..cap), cap >= 64: whole frames only, data cut to fit, control frames before data, streams in turn.
 *  on_writable and on_close (of streams whose FIN was the last thing missing) may be called at its end.
 *  @return how many; 0: nothing to send. */
size_t skep_yamux_pull(struct skep_yamux *session, uint8_t *out, size_t cap);
bool skep_yamux_has_output(const struct skep_yamux *session);

/** Keep-alive: a ping after SKEP_YAMUX_KEEPALIVE_US without received frames; dead when nothing at all comes for
 *  SKEP_YAMUX_PING_TIMEOUT_US after one. The deadline mostly moves later, so a timer need not follow it: when it fires, call
 *  on_time and set it anew. Call on_time once at the start of the session: it starts the clock. */
uint64_t skep_yamux_deadline_us(const struct skep_yamux *session);
int skep_yamux_on_time(struct skep_yamux *session, uint64_t now_us); /* 0 or SKEP_ETIMEDOUT */

uint64_t skep_yamux_rtt_us(const struct skep_yamux *session); /* smoothed from pings; 0 unknown */
size_t skep_yamux_stream_count(const struct skep_yamux *session);
bool skep_yamux_going_away(
    const struct skep_yamux *session); /* the peer sent go-away 0: it takes no new streams */
void skep_yamux_go_away(struct skep_yamux *session, uint32_t code);
void skep_yamux_stats(const struct skep_yamux *session, struct skep_yamux_stats *out);

/** As many streams of ours as may be (SKEP_YAMUX_OPENING_MAX) are not yet acknowledged: skep_yamux_open() would fail until one is or ends. */
bool skep_yamux_opening_full(const struct skep_yamux *session);

/** May the peer have so many more bytes? It leaves too much unread (SKEP_YAMUX_QUEUED_MAX), or all do (SKEP_HOST_QUEUED_MAX) and it is none of
 *  the better: then its new streams are refused, and it should get no answers. Writing is not held to it. */
bool skep_yamux_has_room(const struct skep_yamux *session, size_t more);

/** @return 0; SKEP_ELIMIT (SKEP_YAMUX_STREAMS_MAX, SKEP_YAMUX_OPENING_MAX), SKEP_ECLOSED (gone away, ids used up), SKEP_ENOMEM.
 *  The SYN rides on the first data frame if some is written before the next pull, else on a window update. */
int skep_yamux_open(struct skep_yamux *session, struct skep_yamux_stream **out,
                    const struct skep_yamux_stream_events *events, void *user, size_t low_water);

/** Inbound, from inside on_stream. */
void skep_yamux_stream_use(struct skep_yamux_stream *stream,
                           const struct skep_yamux_stream_events *events, void *user,
                           size_t low_water);

/** Inbound: it is in use (its negotiation has ended), so it no longer counts for SKEP_YAMUX_BACKLOG_MAX, and its ACK is sent even
 *  if nothing is written. Harmless for other streams and more than once. */
void skep_yamux_accept(struct skep_yamux_stream *stream);

int skep_yamux_write(struct skep_yamux_stream *stream,
                     skep_bytes data); /* copied; 0, SKEP_ENOMEM, SKEP_ECLOSED */
size_t skep_yamux_queued(const struct skep_yamux_stream *stream);
void skep_yamux_close_write(
    struct skep_yamux_stream *stream); /* FIN on an empty frame of its own (interop: js-libp2p) */
/** n bytes of on_data are used up. Window goes back in batches of half a window. */
/** As skep_yamux_close_write(), where the peer has nothing to wait for: the FIN goes with what is sent next, at the latest
 *  SKEP_YAMUX_LATE_FIN_US later (skep_yamux_deadline_us() says so). */
void skep_yamux_close_write_late(struct skep_yamux_stream *stream);
void skep_yamux_consume(struct skep_yamux_stream *stream, size_t n);
/** RST, unless already closed both ways. No event follows and the stream is gone. */
void skep_yamux_reset(struct skep_yamux_stream *stream);
uint32_t skep_yamux_stream_id(const struct skep_yamux_stream *stream);
bool skep_yamux_stream_inbound(const struct skep_yamux_stream *stream);
void *skep_yamux_stream_user(const struct skep_yamux_stream *stream);

#endif
