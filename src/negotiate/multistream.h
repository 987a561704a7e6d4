/* SPDX-License-Identifier: MIT */
/* multistream-select 1.0 as a machine: bytes in, a protocol out. Spec: libp2p connections, "multistream-select".
 *
 * It parses negotiation out of a byte stream that may already hold what follows (lazy peers): what it has not used stays in *in.
 * The dialler may write its proposal and the first data in one go; the echo is checked when it comes. */
#ifndef SKEP_NEGOTIATE_MULTISTREAM_H
#define SKEP_NEGOTIATE_MULTISTREAM_H

#include "base/bytes.h"
#include "base/limits.h"

struct skep_multistream {
    int rc; /* the error that ended it, kept */
    bool is_dialer;
    bool header_seen, header_sent;
    bool done;
    uint16_t token_len; /* bytes of `token` held so far, its length prefix included */
    uint16_t proposals; /* listener: answered so far */
    uint8_t *token;     /* only while a token is cut: [SKEP_NEGOTIATE_TOKEN_MAX + 2], or NULL */
    const char *const *protocols;    /* dialler: what to propose, [protocol_count] */
    size_t protocol_count, proposed; /* protocols[proposed] awaits its answer */
    /** Listener: is it served? @return the static or long-lived name to keep, or NULL. */
    const char *(*lookup)(void *user, skep_bytes protocol);
    void *user;
    const char *chosen; /* once done */
    const struct skep_mem *mem;
};

/** Dialler: writes header and first proposal to `out` right away. `protocols` outlive the machine. With one protocol the caller
 *  may write what follows at once; the echoes are then checked as they come. */
void skep_multistream_dial(struct skep_multistream *ms, const struct skep_mem *mem,
                           const char *const *protocols, size_t protocol_count,
                           struct skep_buf *out);

/** Listener. Sends its header with the first answer (send_header false; but at once to a peer that sent its header alone and may
 *  be waiting for ours) or before anything came (true, as p2pd does on connections). */
void skep_multistream_listen(struct skep_multistream *ms, const struct skep_mem *mem,
                             const char *(*lookup)(void *user, skep_bytes protocol), void *user,
                             bool send_header, struct skep_buf *out);

/** Move `in` past what belongs to the negotiation; answers are appended to `out`.
 *  @return 1 done (ms->chosen; the rest of `in` is the protocol's); 0 more is needed; SKEP_EPEER_UNSUPPORTED (dialler: all refused),
 *  SKEP_EPEER_PROTO, SKEP_EPEER_LIMIT, SKEP_ENOMEM. An error is for good. */
int skep_multistream_next(struct skep_multistream *ms, skep_bytes *in, struct skep_buf *out);

/** Harmless on a zeroed struct and more than once. */
void skep_multistream_fini(struct skep_multistream *ms);

/** Append one token: uvarint length, text, newline. */
void skep_multistream_put(struct skep_buf *out, const char *text);

#endif
