/* SPDX-License-Identifier: MIT */
/* hivemind's envelope of unary calls. docs/wire.md b.1; hivemind p2p_daemon_bindings, p2pd's persistent connections.
 *
 *   uvarint length | PersistentConnectionRequest { 1 callId, one of:
 *     3 callUnary { 1 peer, 2 proto, 3 data }, 4 unaryResponse { 1 response | 2 error }, 5 cancel {} }
 *
 * Both ways travel the same message. Heads are written apart from the body, so that a body is copied once, into the stream. */
#ifndef SKEP_RPC_ENVELOPE_H
#define SKEP_RPC_ENVELOPE_H

#include "base/bytes.h"
#include "base/limits.h"

enum { SKEP_CALL_ID_LEN = 16, SKEP_ENVELOPE_HEAD_MAX = 64 + 64 + SKEP_METHOD_LEN_MAX };

/** Write what goes before the body of a request. `out` has SKEP_ENVELOPE_HEAD_MAX.
 *  @return its length; 0: the message would pass SKEP_UNARY_MESSAGE_MAX. */
size_t skep_envelope_call_head(uint8_t *out, const uint8_t call_id[SKEP_CALL_ID_LEN],
                               skep_bytes peer, skep_bytes method, size_t body_len);

/** Write what goes before a response (is_error: before the text of an error). @return as above. */
size_t skep_envelope_answer_head(uint8_t *out, const uint8_t call_id[SKEP_CALL_ID_LEN],
                                 bool is_error, size_t body_len);

/** Cuts one length-prefixed message out of a stream. Holds no more than what has arrived, whatever the prefix says. */
struct skep_envelope_reader {
    struct skep_buf held;
};

/** Move *in past what belongs to the message.
 *  @return 1 with *message, a view into *in's bytes or the reader; 0: more is needed; SKEP_EPEER_LIMIT (before the body is read),
 *  SKEP_EPEER_FRAME, SKEP_ENOMEM. Clear reader->held before the next message. */
int skep_envelope_next(struct skep_envelope_reader *reader, skep_bytes *in, skep_bytes *message);

enum skep_envelope_kind {
    SKEP_ENVELOPE_NONE,
    SKEP_ENVELOPE_CALL,
    SKEP_ENVELOPE_RESPONSE,
    SKEP_ENVELOPE_ERROR,
    SKEP_ENVELOPE_CANCEL
};

struct skep_envelope {
    enum skep_envelope_kind kind;
    skep_bytes call_id;
    skep_bytes peer, method; /* of a call */
    skep_bytes body;         /* the request, the response or the error's text */
};

/** Parse a message (without its prefix); the views borrow from it. Unknown fields are skipped, the last of two answers counts.
 *  @return 0; SKEP_EPEER_FRAME: malformed; SKEP_EPEER_PROTO: no known kind, or a call without its three fields and a call id of 16 bytes. */
int skep_envelope_parse(skep_bytes message, struct skep_envelope *out);

#endif
