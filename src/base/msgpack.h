/* SPDX-License-Identifier: MIT */
/* msgpack on the wire: a flat bounded reader of tokens and a writer. Spec: github.com/msgpack, "spec.md".
 *
 * The reader yields one token after the other: an array or map is announced by its count and its items follow.
 * Counts are never above what the bytes left could hold, nothing is allocated, nothing recurses. The writer uses
 * the forms that Python's msgpack uses (docs/wire.md, c.1): the smallest for integers and lengths, float64. */
#ifndef SKEP_BASE_MSGPACK_H
#define SKEP_BASE_MSGPACK_H

#include "base/bytes.h"

enum skep_msgpack_type {
    SKEP_MSGPACK_NIL,
    SKEP_MSGPACK_BOOL,  /* u: 0 or 1 */
    SKEP_MSGPACK_UINT,  /* u: every integer >= 0, whichever form it came in */
    SKEP_MSGPACK_INT,   /* i: every integer < 0 */
    SKEP_MSGPACK_FLOAT, /* f */
    SKEP_MSGPACK_STR,   /* bytes: valid UTF-8 */
    SKEP_MSGPACK_BIN,   /* bytes */
    SKEP_MSGPACK_ARRAY, /* count items follow */
    SKEP_MSGPACK_MAP,   /* count pairs follow; as from Python, each key must be a STR or BIN */
    SKEP_MSGPACK_EXT,   /* ext_type and bytes: the payload, not yet looked at */
};

/* hivemind's extension types, docs/wire.md c.1 */
enum { SKEP_EXT_TUPLE = 0x40, SKEP_EXT_DICTIONARY = 0x50, SKEP_EXT_TENSOR = 0x51 };

struct skep_msgpack_token {
    enum skep_msgpack_type type;
    int8_t ext_type;
    uint32_t count;
    uint64_t u;
    int64_t i;
    double f;
    skep_bytes bytes; /* borrows from the input */
};

/** Read one token off the front of *in.
 *  @return 1; 0 when *in is empty; SKEP_EPEER_FRAME when it is malformed or cut off (*in is then unspecified). */
int skep_msgpack_next(skep_bytes *in, struct skep_msgpack_token *token);

/** Check one whole value at the front of *in, payloads of tuple extensions included, and move past it.
 *  @return 0; SKEP_EPEER_FRAME: malformed, cut off, deeper than SKEP_MSGPACK_DEPTH_MAX, or a map key of a kind
 *  that hivemind refuses. */
int skep_msgpack_skip(skep_bytes *in);

/** Is `value` exactly one well-formed value, with nothing behind it? */
bool skep_msgpack_valid(skep_bytes value);

/** A whole number in either token. @return false if the token is none, or does not fit. */
bool skep_msgpack_int64(const struct skep_msgpack_token *token, int64_t *out);

/** A float or integer token as a double. @return false if the token is neither. */
bool skep_msgpack_number(const struct skep_msgpack_token *token, double *out);

void skep_msgpack_put_nil(struct skep_buf *buf);
void skep_msgpack_put_bool(struct skep_buf *buf, bool v);
void skep_msgpack_put_uint(struct skep_buf *buf, uint64_t v);
void skep_msgpack_put_int(struct skep_buf *buf, int64_t v);
void skep_msgpack_put_float(struct skep_buf *buf, double v);
void skep_msgpack_put_str(struct skep_buf *buf, skep_bytes v);
void skep_msgpack_put_bin(struct skep_buf *buf, skep_bytes v);
void skep_msgpack_put_array(struct skep_buf *buf, uint32_t count);
void skep_msgpack_put_map(struct skep_buf *buf, uint32_t count);
/** The header of an extension whose payload of payload_len bytes follows. */
void skep_msgpack_put_ext(struct skep_buf *buf, int8_t type, uint32_t payload_len);

#endif
