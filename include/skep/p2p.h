/* SPDX-License-Identifier: MIT */
/* Peers, calls and streams: what hivemind's P2P class gives.
 *
 * A method is named as hivemind names it: "Class.method", or "NAMESPACE::Class.method". Calls and streams connect first where needed, by the
 * addresses known or found by the peer's id. `out` may be NULL in every call here that returns an operation: then only the callback tells. */
#ifndef SKEP_P2P_H
#define SKEP_P2P_H

#include <skep/skep.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- peers ---- */

/** Connect to a multiaddr (with or without /p2p). @param timeout_us  0: the node's dial timeout.
 *  @return 0; SKEP_EMULTIADDR. The operation: SKEP_EREFUSED, SKEP_EUNREACH, SKEP_ETIMEDOUT, SKEP_EPEER_AUTH (another peer is there), SKEP_ESELF … */
SKEP_API int skep_p2p_connect(skep_op **out, skep_node *node, const char *maddr,
                              uint64_t timeout_us, skep_op_cb *cb, void *user_data);
/** Connect to a peer by its id alone. */
SKEP_API int skep_p2p_connect_peer(skep_op **out, skep_node *node, const skep_peer *peer,
                                   uint64_t timeout_us, skep_op_cb *cb, void *user_data);
/** @return who answered, owned by the operation; NULL if nobody did. */
SKEP_API const skep_peer *skep_p2p_connect_result(const skep_op *op);

/** End the connection, if any, on the loop's next turn: skep_p2p_peers() may still name the peer meanwhile. @return 0; SKEP_EPEERID. */
SKEP_API int skep_p2p_disconnect(skep_node *node, const skep_peer *peer);

/** Remember an address of a peer. @return 0 or SKEP_EMULTIADDR. */
SKEP_API int skep_p2p_add_address(skep_node *node, const skep_peer *peer, const char *maddr);

/** libp2p ping over an open or new connection. @param timeout_us  here and below, as for skep_p2p_connect(). */
SKEP_API int skep_p2p_ping(skep_op **out, skep_node *node, const skep_peer *peer,
                           uint64_t timeout_us, skep_op_cb *cb, void *user_data);
/** @return the round trip in microseconds; 0 unless it succeeded. */
SKEP_API uint64_t skep_p2p_ping_result(const skep_op *op);

/** What a peer says of itself (identify). */
typedef struct skep_peer_description {
    skep_peer peer;
    const char *agent, *protocol_version;
    const char *const *protocols; /* [protocol_count] */
    size_t protocol_count;
    const char *const *listen; /* [listen_count] multiaddrs */
    size_t listen_count;
    const char *observed; /* our address as it sees it, or "" */
    const char *remote;   /* its address as we see it */
    bool inbound;         /* it dialled us */
    uint64_t rtt_us;      /* 0: not known */
} skep_peer_description;

SKEP_API int skep_p2p_identify(skep_op **out, skep_node *node, const skep_peer *peer,
                               uint64_t timeout_us, skep_op_cb *cb, void *user_data);
/** @return owned by the operation; NULL unless it succeeded. */
SKEP_API const skep_peer_description *skep_p2p_identify_result(const skep_op *op);

/** Find where a peer is by its id alone, and connect to it there (kad, docs/wire.md a.7); then as skep_p2p_identify().
 *  The operation: SKEP_ENOTFOUND where nobody knows. */
SKEP_API int skep_p2p_find_peer(skep_op **out, skep_node *node, const skep_peer *peer,
                                uint64_t timeout_us, skep_op_cb *cb, void *user_data);

/** Connected peers. @return how many there are, up to `cap` of them in `peers`; or < 0. From another thread this waits for the loop. */
SKEP_API ptrdiff_t skep_p2p_peers(skep_node *node, skep_peer *peers, size_t cap);

/** Ends when at least `count` peers are connected. @param timeout_us  From now, then SKEP_ETIMEDOUT; 0 only looks, SKEP_FOREVER waits. */
SKEP_API int skep_p2p_wait_for_peers(skep_op **out, skep_node *node, size_t count,
                                     uint64_t timeout_us, skep_op_cb *cb, void *user_data);

/** Our visible multiaddrs with /p2p. @param count  may be NULL. @return a NULL-terminated list, one skep_free() for all; NULL: out of memory. */
SKEP_API char **skep_p2p_addresses(skep_node *node, size_t *count);

/** Announce an address, beside those announced before. Once any is announced, here or in the options, what we listen on is named to nobody.
 *  @return 0 or SKEP_EMULTIADDR. */
SKEP_API int skep_p2p_announce(skep_node *node, const char *maddr);

/* ---- unary calls ---- */

/** "NAMESPACE::Class.method", or "Class.method" where `name_space` is NULL or "". @return the length; SKEP_ESIZE if it does not fit. */
SKEP_API int skep_p2p_method(char *out, size_t out_len, const char *name_space,
                             const char *class_and_method);

/**
 * Call a method at a peer.
 * @param request    Its bytes (as hivemind: a serialized protobuf); copied before this returns.
 * @param timeout_us From now, waiting in line and connecting included; SKEP_FOREVER: none. 0 is no time at all: SKEP_ETIMEDOUT.
 * @return 0; SKEP_ESIZE (the envelope would pass 4 MiB), SKEP_EINVAL. The operation: 0; SKEP_EPEER_REMOTE (skep_op_text() has the error's text),
 *         SKEP_ETIMEDOUT, SKEP_EPEER_UNSUPPORTED, SKEP_EPEER_RESET, SKEP_ELOST, SKEP_EUNREACH, SKEP_ELIMIT, …
 * Source: docs/wire.md b.1.
 */
SKEP_API int skep_p2p_call(skep_op **out, skep_node *node, const skep_peer *peer,
                           const char *method, skep_view request, uint64_t timeout_us,
                           skep_op_cb *cb, void *user_data);
/** @return the response, owned by the operation; empty unless it succeeded. */
SKEP_API skep_view skep_p2p_call_result(const skep_op *op);

/** An inbound call, ended by exactly one skep_request_reply() or skep_request_fail(), from any thread, now or later. It stays good until
 *  then, also when the node is closed meanwhile. */
typedef struct skep_request skep_request;

/** On the loop's thread. */
typedef void skep_request_handler(void *user_data, skep_request *request);

/** Answer a method from now on. @return 0; SKEP_EEXIST, SKEP_EINVAL, SKEP_ESIZE (the name), SKEP_ENOMEM. */
SKEP_API int skep_p2p_serve(skep_node *node, const char *method, skep_request_handler *handler,
                            void *user_data);
/** Serve a unary or streaming method no more; calls in progress end with an error (their requests are
 *  canceled, and still to be ended). When this returns the handler will not be called again.
 *  @return 0 or SKEP_ENOTFOUND. */
SKEP_API int skep_p2p_unserve(skep_node *node, const char *method);

SKEP_API const skep_peer *skep_request_peer(const skep_request *request);
SKEP_API skep_view skep_request_data(const skep_request *request);
/** Is the answer for nobody any more: has the caller given up, is the method served no more, is the node closed? It must be ended all the same. */
SKEP_API bool skep_request_canceled(const skep_request *request);
/** The bytes are copied. @return 0; SKEP_ESIZE (the request is still to be ended); SKEP_ECLOSED (too late; ended all the same). */
SKEP_API int skep_request_reply(skep_request *request, skep_view response);
/** By hivemind's custom the text is like Python's repr: "KeyError('ffn.0')". */
SKEP_API int skep_request_fail(skep_request *request, const char *text);

/* ---- streams ----
 * Two kinds, one form: calls with many messages each way (docs/wire.md b.2), and raw streams of bytes under any protocol id.
 * A stream that was opened, or given to a handler, is the receiver's to free: on_close is a good place. A handler that neither gives its stream
 * events nor frees it has it reset, and still has to free it. Names of protocols and methods have at most 512 bytes, and no line break.
 * Events come on the loop's thread, never from inside a call on the
 * same stream; on_close comes exactly once and last, whoever ended it, so what `user_data` points to may go after it. After it
 * every call returns SKEP_ECLOSED. */

/** Many messages each way. */
typedef struct skep_call_stream skep_call_stream;

typedef struct skep_call_stream_events {
    /** A whole message, good until this returns; its window is given back by skep_call_stream_consume(), or when
     *  this returns unless manual_consume. */
    void (*on_message)(void *user_data, skep_call_stream *stream, skep_view message);
    /** The backlog fell below 64 KiB after it had been above. May be NULL. */
    void (*on_writable)(void *user_data, skep_call_stream *stream);
    /** The other side has ended its messages. May be NULL. */
    void (*on_end)(void *user_data, skep_call_stream *stream);
    /** The last event. 0: both sides ended; SKEP_EPEER_REMOTE with text, SKEP_ECANCELED, SKEP_ELOST … */
    void (*on_close)(void *user_data, skep_call_stream *stream, int rc, const char *text);
    bool manual_consume; /* false: on_message has used the message up when it returns */
} skep_call_stream_events;

/** @param events  copied. */
SKEP_API int skep_p2p_call_stream(skep_call_stream **out, skep_node *node, const skep_peer *peer,
                                  const char *method, const skep_call_stream_events *events,
                                  void *user_data);

/** A peer opened a call: the stream is the handler's, which gives it events by skep_call_stream_use() before it returns (or frees it). */
typedef void skep_call_stream_handler(void *user_data, skep_call_stream *stream);
SKEP_API int skep_p2p_serve_stream(skep_node *node, const char *method,
                                   skep_call_stream_handler *handler, void *user_data);
SKEP_API void skep_call_stream_use(skep_call_stream *stream, const skep_call_stream_events *events,
                                   void *user_data);
SKEP_API const skep_peer *skep_call_stream_peer(const skep_call_stream *stream);
/** Send a message; copied. It takes all; who sends much waits for on_writable above 1 MiB of backlog.
 *  @return 0, SKEP_ECLOSED, SKEP_ESIZE (above 8 MiB; hivemind's parts are 4 MiB), SKEP_ENOMEM. */
SKEP_API int skep_call_stream_send(skep_call_stream *stream, skep_view message);
/** Bytes sent that still wait here. From another thread this waits for the loop. */
SKEP_API size_t skep_call_stream_backlog(const skep_call_stream *stream);
/** No more messages from us. A handler's answer is complete with it. */
SKEP_API int skep_call_stream_end(skep_call_stream *stream);
/** End with an error that the other side will see. */
SKEP_API int skep_call_stream_fail(skep_call_stream *stream, const char *text);
/** With manual_consume: so many bytes of messages are used up. More than were given count as all of them. */
SKEP_API int skep_call_stream_consume(skep_call_stream *stream, size_t len);
/** Give up now. */
SKEP_API int skep_call_stream_cancel(skep_call_stream *stream);
/** Give the reference back; a stream that is still open is cancelled, and on_close still comes. NULL is fine. */
SKEP_API void skep_call_stream_free(skep_call_stream *stream);

/** Ordered bytes both ways. */
typedef struct skep_raw_stream skep_raw_stream;

typedef struct skep_raw_stream_events {
    void (*on_open)(void *user_data,
                    skep_raw_stream *stream); /* the peer agreed to the protocol. May be NULL */
    /** Bytes arrived, good until this returns. */
    void (*on_data)(void *user_data, skep_raw_stream *stream, skep_view data);
    void (*on_writable)(void *user_data, skep_raw_stream *stream); /* as above; may be NULL */
    void (*on_end)(
        void *user_data,
        skep_raw_stream *stream); /* the peer will send no more; we still may. May be NULL */
    /** The last event. 0: both sides closed; SKEP_ECANCELED (we reset it), SKEP_EPEER_RESET, SKEP_EPEER_UNSUPPORTED, SKEP_ELOST, SKEP_EUNREACH … */
    void (*on_close)(void *user_data, skep_raw_stream *stream, int rc);
    bool manual_consume; /* false: on_data has used the bytes up when it returns */
} skep_raw_stream_events;

/** What is written before the peer is even connected waits in the stream. @return 0; SKEP_EPEERID, SKEP_EINVAL, SKEP_ENOMEM. A peer that cannot be
 *  reached, or does not speak the protocol, is told of by on_close. */
SKEP_API int skep_p2p_open(skep_raw_stream **out, skep_node *node, const skep_peer *peer,
                           const char *protocol, const skep_raw_stream_events *events,
                           void *user_data);
/** As skep_call_stream_handler. */
typedef void skep_raw_stream_handler(void *user_data, skep_raw_stream *stream);
SKEP_API int skep_p2p_serve_protocol(skep_node *node, const char *protocol,
                                     skep_raw_stream_handler *handler, void *user_data);
SKEP_API int skep_p2p_unserve_protocol(skep_node *node, const char *protocol);
SKEP_API void skep_raw_stream_use(skep_raw_stream *stream, const skep_raw_stream_events *events,
                                  void *user_data);
SKEP_API const skep_peer *skep_raw_stream_peer(const skep_raw_stream *stream);
/** Copied. It takes all; who writes much waits for on_writable above 1 MiB of backlog. @return 0, SKEP_ECLOSED, SKEP_ENOMEM. */
SKEP_API int skep_raw_stream_write(skep_raw_stream *stream, skep_view data);
SKEP_API size_t skep_raw_stream_backlog(const skep_raw_stream *stream);
/** Half-close: no more bytes from us, reading goes on. interop: hivemind's daemon drops both directions at the first end, whoever's it is, so that
 *  towards a hivemind peer this comes after the last byte that is expected from it. */
SKEP_API int skep_raw_stream_end(skep_raw_stream *stream);
/** With manual_consume: so many bytes are used up, and the peer may send as many more. More than were given count as all of them. */
SKEP_API int skep_raw_stream_consume(skep_raw_stream *stream, size_t len);
/** Drop both directions now. */
SKEP_API int skep_raw_stream_reset(skep_raw_stream *stream);
/** Give the reference back; a stream that is still open sends what it has, ends, and reads no more. NULL is fine. */
SKEP_API void skep_raw_stream_free(skep_raw_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
