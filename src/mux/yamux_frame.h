/* SPDX-License-Identifier: MIT */
/* Frames out of a byte stream, and headers into one. Spec: libp2p yamux r0, "Framing"; docs/wire.md a.4. All big endian:
 *   version 8 | type 8 | flags 16 | stream id 32 | length 32 | data, if the type is DATA
 *
 * It knows one frame at a time. What frames mean to streams and windows is yamux_session.c's. */
#ifndef SKEP_MUX_YAMUX_FRAME_H
#define SKEP_MUX_YAMUX_FRAME_H

#include "base/bytes.h"
#include "base/limits.h"

enum { SKEP_YAMUX_HEADER_LEN = 12 };

enum skep_yamux_type {
    SKEP_YAMUX_DATA,
    SKEP_YAMUX_WINDOW_UPDATE,
    SKEP_YAMUX_PING,
    SKEP_YAMUX_GO_AWAY
};

enum skep_yamux_flag {
    SKEP_YAMUX_SYN = 1,
    SKEP_YAMUX_ACK = 2,
    SKEP_YAMUX_FIN = 4,
    SKEP_YAMUX_RST = 8
};

/* Codes of GO_AWAY */
enum { SKEP_YAMUX_NORMAL = 0, SKEP_YAMUX_PROTOCOL_ERROR = 1, SKEP_YAMUX_INTERNAL_ERROR = 2 };

struct skep_yamux_frame {
    uint8_t type;
    uint16_t flags;
    uint32_t stream_id;
    uint32_t length; /* of the data; the window's delta; the ping's value; the code */
};

struct skep_yamux_event {
    bool is_header;                /* else a piece of the data of the last DATA header */
    bool is_last;                  /* of a DATA frame: no more of its data follows */
    struct skep_yamux_frame frame; /* of the header */
    skep_bytes data;
};

/* EXPECT_HEADER --DATA of some length--> EXPECT_DATA --last byte--> EXPECT_HEADER
 * EXPECT_HEADER --malformed-----------> FAILED, for good */
struct skep_yamux_parser {
    enum { SKEP_YAMUX_EXPECT_HEADER, SKEP_YAMUX_EXPECT_DATA, SKEP_YAMUX_FAILED } state;
    uint8_t header_len; /* bytes of `header` held so far: only while one is cut */
    uint8_t header[SKEP_YAMUX_HEADER_LEN];
    uint32_t data_left;
};

/** Move `in` past the next event; event->data borrows from `in`.
 *  @return 1 with *event set; 0 when `in` is used up; SKEP_EPEER_FRAME, then and ever after. */
int skep_yamux_next(struct skep_yamux_parser *parser, skep_bytes *in,
                    struct skep_yamux_event *event);

static inline void skep_yamux_put_header(uint8_t out[SKEP_YAMUX_HEADER_LEN],
                                         enum skep_yamux_type type, uint16_t flags,
                                         uint32_t stream_id, uint32_t length)
{
    out[0] = 0;
    out[1] = (uint8_t)type;
    skep_put_be16(out + 2, flags);
    skep_put_be32(out + 4, stream_id);
    skep_put_be32(out + 8, length);
}

#endif
