/* SPDX-License-Identifier: MIT */
#include "mux/yamux_frame.h"

static int on_header(struct skep_yamux_parser *parser, skep_bytes *in,
                     struct skep_yamux_event *event)
{
    const uint8_t *h = in->data;

    if (parser->header_len == 0 && in->len >= SKEP_YAMUX_HEADER_LEN) {
        skep_bytes_take(in, SKEP_YAMUX_HEADER_LEN); /* whole, as nearly always: no copy */
    } else {
        skep_bytes got = skep_bytes_take(in, (size_t)SKEP_YAMUX_HEADER_LEN - parser->header_len);

        skep_bytes_copy(parser->header + parser->header_len, got);
        parser->header_len = (uint8_t)(parser->header_len + got.len);
        if (parser->header_len < SKEP_YAMUX_HEADER_LEN)
            return 0;
        parser->header_len = 0;
        h = parser->header;
    }
    *event = (struct skep_yamux_event){
        .is_header = true,
        .frame = {h[1], skep_get_be16(h + 2), skep_get_be32(h + 4), skep_get_be32(h + 8)},
    };
    bool is_data = event->frame.type == SKEP_YAMUX_DATA;

    /* No stream's window ever grows above this, so a longer frame is a lie whatever it belongs to. */
    if (h[0] != 0 || h[1] > SKEP_YAMUX_GO_AWAY ||
        (is_data && event->frame.length > SKEP_YAMUX_WINDOW_MAX)) {
        parser->state = SKEP_YAMUX_FAILED;
        return SKEP_EPEER_FRAME;
    }
    parser->data_left = is_data ? event->frame.length : 0;
    parser->state = parser->data_left > 0 ? SKEP_YAMUX_EXPECT_DATA : SKEP_YAMUX_EXPECT_HEADER;
    event->is_last = parser->data_left == 0;
    return 1;
}

static int on_data(struct skep_yamux_parser *parser, skep_bytes *in, struct skep_yamux_event *event)
{
    if (in->len == 0)
        return 0;
    *event = (struct skep_yamux_event){.data = skep_bytes_take(in, parser->data_left)};
    parser->data_left -= (uint32_t)event->data.len;
    if (parser->data_left == 0)
        parser->state = SKEP_YAMUX_EXPECT_HEADER;
    event->is_last = parser->data_left == 0;
    return 1;
}

int skep_yamux_next(struct skep_yamux_parser *parser, skep_bytes *in,
                    struct skep_yamux_event *event)
{
    switch (parser->state) {
    case SKEP_YAMUX_EXPECT_HEADER: return in->len == 0 ? 0 : on_header(parser, in, event);
    case SKEP_YAMUX_EXPECT_DATA: return on_data(parser, in, event);
    case SKEP_YAMUX_FAILED: return SKEP_EPEER_FRAME;
    }
    SKEP_UNREACHABLE();
}
