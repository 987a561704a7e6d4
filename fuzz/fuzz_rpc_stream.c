/* SPDX-License-Identifier: MIT */
/* Properties of the frames of streaming calls: where the input is cut changes nothing, and what came out, written anew, is what went in. */
#include <stdlib.h>

#include "rpc/frame.h"

static void put_frame(struct skep_buf *out, const struct skep_rpc_frame *frame)
{
    uint8_t head[SKEP_RPC_FRAME_HEAD_LEN];

    skep_rpc_frame_head(head, frame->marker, frame->body.len);
    skep_buf_put(out, head, sizeof head);
    skep_buf_put_bytes(out, frame->body);
}

static int read_frames(const uint8_t *data, size_t len, size_t cut, struct skep_buf *out)
{
    struct skep_rpc_frame_reader reader = {0};
    skep_bytes parts[2] = {skep_bytes_of(data, cut), skep_bytes_of(data + cut, len - cut)};
    int rc = 0;

    skep_buf_init(&reader.held, &skep_mem_std);
    for (int i = 0; i < 2 && rc >= 0; i++) {
        struct skep_rpc_frame frame;

        while ((rc = skep_rpc_frame_next(&reader, &parts[i], &frame)) > 0) {
            put_frame(out, &frame);
            if (skep_rpc_frame_error_text(frame.body).len > SKEP_ERROR_TEXT_MAX)
                abort();
        }
    }
    skep_buf_fini(&reader.held);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t cut = len > 0 ? data[0] % len : 0;
    struct skep_buf whole, parts;
    int rc_whole, rc_parts;

    skep_buf_init(&whole, &skep_mem_std);
    skep_buf_init(&parts, &skep_mem_std);
    rc_whole = read_frames(data, len, len, &whole);
    rc_parts = read_frames(data, len, cut, &parts);
    if (rc_whole != rc_parts || !skep_bytes_equal(skep_buf_view(&whole), skep_buf_view(&parts)))
        abort();
    if (whole.len > len || (whole.len > 0 && memcmp(whole.data, data, whole.len) != 0))
        abort();
    skep_buf_fini(&whole);
    skep_buf_fini(&parts);
    return 0;
}
