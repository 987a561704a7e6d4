/* SPDX-License-Identifier: MIT */
/* Frames of streaming calls, see frame.h. */
#include "rpc/frame.h"

#include "base/pb.h"

void skep_rpc_frame_head(uint8_t out[SKEP_RPC_FRAME_HEAD_LEN], uint8_t marker, size_t body_len)
{
    out[0] = marker;
    skep_put_be64(out + 1, body_len);
}

static int read_head(const uint8_t *head, uint8_t *marker, size_t *body_len)
{
    uint64_t len = skep_get_be64(head + 1);

    if (head[0] != SKEP_RPC_FRAME_MESSAGE && head[0] != SKEP_RPC_FRAME_ERROR)
        return SKEP_EPEER_FRAME;
    if (len > SKEP_STREAM_MESSAGE_MAX)
        return SKEP_EPEER_LIMIT;
    *marker = head[0];
    *body_len = (size_t)len;
    return 0;
}

static int hold(struct skep_rpc_frame_reader *reader, skep_bytes *in, size_t want)
{
    struct skep_buf *held = &reader->held;

    if (held->len < want)
        skep_buf_put_bytes(held, skep_bytes_take(in, want - held->len));
    return held->rc < 0 ? held->rc : held->len >= want;
}

static int next_held(struct skep_rpc_frame_reader *reader, skep_bytes *in,
                     struct skep_rpc_frame *frame)
{
    size_t body_len;
    int rc;

    /* A marker is checked as soon as it is there: junk need not be waited for. */
    if (in->len > 0 && reader->held.len == 0 && in->data[0] > SKEP_RPC_FRAME_ERROR)
        return SKEP_EPEER_FRAME;
    if ((rc = hold(reader, in, SKEP_RPC_FRAME_HEAD_LEN)) <= 0)
        return rc;
    if ((rc = read_head(reader->held.data, &frame->marker, &body_len)) < 0)
        return rc;
    if ((rc = hold(reader, in, SKEP_RPC_FRAME_HEAD_LEN + body_len)) <= 0)
        return rc;
    frame->body = skep_bytes_of(reader->held.data + SKEP_RPC_FRAME_HEAD_LEN, body_len);
    reader->complete = true;
    return 1;
}

int skep_rpc_frame_next(struct skep_rpc_frame_reader *reader, skep_bytes *in,
                        struct skep_rpc_frame *frame)
{
    if (reader->complete) {
        skep_buf_clear(&reader->held);
        reader->complete = false;
    }
    if (reader->held.len == 0 && in->len >= SKEP_RPC_FRAME_HEAD_LEN) {
        size_t body_len;
        int rc = read_head(in->data, &frame->marker, &body_len);

        if (rc < 0)
            return rc;
        if (body_len <= in->len - SKEP_RPC_FRAME_HEAD_LEN) {
            skep_bytes_take(in, SKEP_RPC_FRAME_HEAD_LEN);
            frame->body = skep_bytes_take(in, body_len);
            return 1;
        }
    }
    return next_held(reader, in, frame);
}

skep_bytes skep_rpc_frame_error_text(skep_bytes body)
{
    struct skep_pb_reader reader = skep_pb_read(body);
    struct skep_pb_field field;
    skep_bytes text = {NULL, 0};

    while (skep_pb_next(&reader, &field))
        if (field.number == 1 && field.type == SKEP_PB_BYTES)
            text = field.bytes;
    text.len = SKEP_MIN(text.len, (size_t)SKEP_ERROR_TEXT_MAX);
    return text;
}
