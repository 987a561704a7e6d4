/* SPDX-License-Identifier: MIT */
/* Frames of streaming calls. docs/wire.md b.2; hivemind p2p/p2p_daemon.py send_protobuf.
 *
 *   marker 8 | length 64, big endian | body      marker 00: a message, 01: RPCError { 1 message } */
#ifndef SKEP_RPC_FRAME_H
#define SKEP_RPC_FRAME_H

#include "base/bytes.h"
#include "base/limits.h"

enum { SKEP_RPC_FRAME_HEAD_LEN = 9, SKEP_RPC_FRAME_MESSAGE = 0, SKEP_RPC_FRAME_ERROR = 1 };

struct skep_rpc_frame {
    uint8_t marker;
    skep_bytes body;
};

/** Cuts frames out of a stream; holds no more than what has arrived. */
struct skep_rpc_frame_reader {
    struct skep_buf held;
    bool complete; /* `held` is a frame that was given out: forget it first */
};

void skep_rpc_frame_head(uint8_t out[SKEP_RPC_FRAME_HEAD_LEN], uint8_t marker, size_t body_len);

/** Move *in past the next frame; its body is a view into *in's bytes or the reader, good until the next call.
 *  @return 1; 0: more is needed; SKEP_EPEER_FRAME (marker), SKEP_EPEER_LIMIT (length), SKEP_ENOMEM. */
int skep_rpc_frame_next(struct skep_rpc_frame_reader *reader, skep_bytes *in,
                        struct skep_rpc_frame *frame);

/** The text of an RPCError body, cut to SKEP_ERROR_TEXT_MAX; empty where there is none or it is malformed. */
skep_bytes skep_rpc_frame_error_text(skep_bytes body);

#endif
