/* SPDX-License-Identifier: MIT */
/* A stream: ordered bytes both ways under one protocol id, over a shared connection. */
#ifndef SKEP_HOST_STREAM_H
#define SKEP_HOST_STREAM_H

#include "base/bytes.h"
#include "peer/peer_id.h"

struct skep_stream;

struct skep_stream_events {
    /** Outbound only: the peer has agreed to the protocol. May come together with the first data. May be NULL. */
    void (*on_open)(struct skep_stream *stream, void *user);
    /** Bytes arrived; the view is good until this returns. Give the window back with skep_stream_consume() when they
     *  are used up, at once or later. */
    void (*on_data)(struct skep_stream *stream, void *user, skep_bytes data);
    /** skep_stream_queued() fell below SKEP_STREAM_LOW_WATER after it had been above. May be NULL. */
    void (*on_writable)(struct skep_stream *stream, void *user);
    /** The peer will send no more. We still may. May be NULL. */
    void (*on_eof)(struct skep_stream *stream, void *user);
    /** The last event: 0 both sides closed, SKEP_EPEER_RESET, SKEP_EPEER_UNSUPPORTED (the protocol), SKEP_ELOST, SKEP_EUNREACH,
     *  SKEP_ETIMEDOUT (negotiation), SKEP_ECANCELED (host freed). Not after skep_stream_reset() or _release(). */
    void (*on_close)(struct skep_stream *stream, void *user, int rc);
};

enum { SKEP_STREAM_LOW_WATER = 64 << 10, SKEP_STREAM_HIGH_WATER = 1 << 20 };

void skep_stream_use(struct skep_stream *stream, const struct skep_stream_events *events,
                     void *user);

/** Queue bytes (copied). It always takes all; who sends much stops above SKEP_STREAM_HIGH_WATER and waits for on_writable.
 *  @return 0; SKEP_ENOMEM; SKEP_ECLOSED after skep_stream_close_write(). */
int skep_stream_write(struct skep_stream *stream, skep_bytes data);

/** Bytes written that have not yet been handed to the connection. */
size_t skep_stream_queued(const struct skep_stream *stream);

/** May so many more bytes be queued for this peer? false: it, or all peers together, leave too much unread (SKEP_YAMUX_QUEUED_MAX,
 *  SKEP_HOST_QUEUED_MAX); what it asked for is better not sent. Writing is not held to it. */
bool skep_stream_has_room(const struct skep_stream *stream, size_t len);

/** FIN after what is queued. Reading goes on. */
void skep_stream_close_write(struct skep_stream *stream);

/** n bytes of on_data are used up: the peer may send as many more. */
void skep_stream_consume(struct skep_stream *stream, size_t n);

/** RST both ways, drop what is queued. No event follows; the stream is gone. */
void skep_stream_reset(struct skep_stream *stream);

/** FIN after what is queued and lose interest: what still arrives is dropped, no event follows; the stream is the host's to end.
 *  (A stream whose peer does not close within SKEP_NEGOTIATE_TIMEOUT_US is then reset.) */
void skep_stream_release(struct skep_stream *stream);

/** As skep_stream_release(), where the protocol leaves the peer nothing to wait for (a call that was answered): the FIN may ride on what
 *  is sent next. */
void skep_stream_finish(struct skep_stream *stream);

const struct skep_peer_id *skep_stream_peer(const struct skep_stream *stream);
const char *skep_stream_protocol(const struct skep_stream *stream);

#endif
