/* SPDX-License-Identifier: MIT */
/* The envelope of unary calls, see envelope.h. Left out: addUnaryHandler (2) and daemonError (6), which only the socket between
 * hivemind's Python and its own daemon carries. */
#include "rpc/envelope.h"

#include "base/pb.h"

enum { FIELD_CALL_ID = 1, FIELD_CALL = 3, FIELD_ANSWER = 4, FIELD_CANCEL = 5 };
enum { CALL_PEER = 1, CALL_METHOD = 2, CALL_DATA = 3 };
enum { ANSWER_RESPONSE = 1, ANSWER_ERROR = 2 };

/* All field numbers here are below 16, so a tag is one byte. */
static uint8_t tag(unsigned number)
{
    return (uint8_t)(number << 3 | SKEP_PB_BYTES);
}

static uint8_t *put_header(uint8_t *to, unsigned number, size_t len)
{
    *to++ = tag(number);
    return to + skep_varint_encode(to, len);
}

static uint8_t *put_field(uint8_t *to, unsigned number, skep_bytes bytes)
{
    to = put_header(to, number, bytes.len);
    skep_bytes_copy(to, bytes);
    return to + bytes.len;
}

static size_t field_len(size_t len)
{
    return 1 + skep_varint_len(len) + len;
}

/* The prefix of the whole message, and its call id. @return NULL: too large. */
static uint8_t *put_start(uint8_t *to, const uint8_t *call_id, size_t nested_len)
{
    size_t total = field_len(SKEP_CALL_ID_LEN) + field_len(nested_len);

    if (total > SKEP_UNARY_MESSAGE_MAX)
        return NULL;
    to += skep_varint_encode(to, total);
    return put_field(to, FIELD_CALL_ID, skep_bytes_of(call_id, SKEP_CALL_ID_LEN));
}

size_t skep_envelope_call_head(uint8_t *out, const uint8_t call_id[SKEP_CALL_ID_LEN],
                               skep_bytes peer, skep_bytes method, size_t body_len)
{
    size_t nested_len;
    uint8_t *to;

    if (body_len > SKEP_UNARY_MESSAGE_MAX || peer.len > 64 || method.len > SKEP_METHOD_LEN_MAX)
        return 0;
    nested_len = field_len(peer.len) + field_len(method.len) + field_len(body_len);
    if (!(to = put_start(out, call_id, nested_len)))
        return 0;
    to = put_header(to, FIELD_CALL, nested_len);
    to = put_field(to, CALL_PEER, peer);
    to = put_field(to, CALL_METHOD, method);
    to = put_header(to, CALL_DATA, body_len);
    return (size_t)(to - out);
}

size_t skep_envelope_answer_head(uint8_t *out, const uint8_t call_id[SKEP_CALL_ID_LEN],
                                 bool is_error, size_t body_len)
{
    size_t nested_len;
    uint8_t *to;

    if (body_len > SKEP_UNARY_MESSAGE_MAX)
        return 0;
    nested_len = field_len(body_len);
    if (!(to = put_start(out, call_id, nested_len)))
        return 0;
    to = put_header(to, FIELD_ANSWER, nested_len);
    to = put_header(to, is_error ? ANSWER_ERROR : ANSWER_RESPONSE, body_len);
    return (size_t)(to - out);
}

/* ---- reading ---- */

static int check_length(uint64_t len)
{
    return len > SKEP_UNARY_MESSAGE_MAX ? SKEP_EPEER_LIMIT : 0;
}

/* The usual case: all of the message is in *in, and nothing was held. @return 1, 0: not so. */
static int next_in_place(skep_bytes *in, skep_bytes *message)
{
    skep_bytes rest = *in;
    uint64_t len;
    int rc = skep_varint_decode(&rest, &len);

    if (rc <= 0)
        return rc;
    if ((rc = check_length(len)) < 0)
        return rc;
    if (len > rest.len)
        return 0;
    *message = skep_bytes_take(&rest, (size_t)len);
    *in = rest;
    return 1;
}

/* Hold up to `want` bytes in all. @return 1: they are there; 0: more is needed; SKEP_ENOMEM. */
static int hold(struct skep_envelope_reader *reader, skep_bytes *in, size_t want)
{
    struct skep_buf *held = &reader->held;

    if (held->len < want)
        skep_buf_put_bytes(held, skep_bytes_take(in, want - held->len));
    return held->rc < 0 ? held->rc : held->len >= want;
}

int skep_envelope_next(struct skep_envelope_reader *reader, skep_bytes *in, skep_bytes *message)
{
    uint64_t len;
    int rc;

    if (reader->held.len == 0 && (rc = next_in_place(in, message)) != 0)
        return rc;
    for (;;) {
        skep_bytes held = skep_buf_view(&reader->held);

        rc = skep_varint_decode(&held, &len);
        if (rc < 0)
            return rc;
        if (rc == 0) { /* the prefix itself is cut */
            if ((rc = hold(reader, in, reader->held.len + 1)) <= 0)
                return rc;
            continue;
        }
        if ((rc = check_length(len)) < 0)
            return rc;
        size_t prefix_len = reader->held.len - held.len;

        if ((rc = hold(reader, in, prefix_len + (size_t)len)) <= 0)
            return rc;
        *message = skep_bytes_of(reader->held.data + prefix_len, (size_t)len);
        return 1;
    }
}

static int parse_call(skep_bytes nested, struct skep_envelope *out)
{
    struct skep_pb_reader reader = skep_pb_read(nested);
    struct skep_pb_field field;
    unsigned seen = 0;

    while (skep_pb_next(&reader, &field)) {
        skep_bytes *to = field.number == CALL_PEER     ? &out->peer
                         : field.number == CALL_METHOD ? &out->method
                         : field.number == CALL_DATA   ? &out->body
                                                       : NULL;

        if (to) {
            *to = skep_pb_bytes(&reader, &field);
            seen |= 1U << field.number;
        }
    }
    if (reader.rc < 0)
        return reader.rc;
    out->kind = SKEP_ENVELOPE_CALL;
    return seen == (1U << CALL_PEER | 1U << CALL_METHOD | 1U << CALL_DATA) ? 0 : SKEP_EPEER_PROTO;
}

static int parse_answer(skep_bytes nested, struct skep_envelope *out)
{
    struct skep_pb_reader reader = skep_pb_read(nested);
    struct skep_pb_field field;

    out->kind = SKEP_ENVELOPE_NONE;
    while (skep_pb_next(&reader, &field)) {
        if (field.number != ANSWER_RESPONSE && field.number != ANSWER_ERROR)
            continue;
        out->body = skep_pb_bytes(&reader, &field);
        out->kind = field.number == ANSWER_ERROR ? SKEP_ENVELOPE_ERROR : SKEP_ENVELOPE_RESPONSE;
    }
    return reader.rc;
}

int skep_envelope_parse(skep_bytes message, struct skep_envelope *out)
{
    struct skep_pb_reader reader = skep_pb_read(message);
    struct skep_pb_field field;
    int rc = 0;

    *out = (struct skep_envelope){.kind = SKEP_ENVELOPE_NONE};
    while (rc == 0 && skep_pb_next(&reader, &field)) {
        if (field.number == FIELD_CALL_ID)
            out->call_id = skep_pb_bytes(&reader, &field);
        else if (field.number == FIELD_CALL)
            rc = parse_call(skep_pb_bytes(&reader, &field), out);
        else if (field.number == FIELD_ANSWER)
            rc = parse_answer(skep_pb_bytes(&reader, &field), out);
        else if (field.number == FIELD_CANCEL)
            out->kind = SKEP_ENVELOPE_CANCEL;
    }
    if (reader.rc < 0)
        return reader.rc;
    if (rc < 0)
        return rc;
    if (out->kind == SKEP_ENVELOPE_NONE)
        return SKEP_EPEER_PROTO;
    if (out->kind == SKEP_ENVELOPE_CALL && out->call_id.len != SKEP_CALL_ID_LEN)
        return SKEP_EPEER_PROTO;
    return 0;
}
