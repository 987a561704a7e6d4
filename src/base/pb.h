/* SPDX-License-Identifier: MIT */
/* Protocol Buffers on the wire: a flat bounded reader and a writer. Spec: protobuf.dev, "Encoding".
 *
 * The reader yields one field after the other and never descends: a nested message is a view that the caller
 * reads with a reader of its own, so no peer decides how deep we go. Groups (wire types 3, 4) are refused. */
#ifndef SKEP_BASE_PB_H
#define SKEP_BASE_PB_H

#include "base/bytes.h"
#include "base/varint.h"

enum skep_pb_type {
    SKEP_PB_VARINT = 0,
    SKEP_PB_FIXED64 = 1,
    SKEP_PB_BYTES = 2,
    SKEP_PB_FIXED32 = 5
};

struct skep_pb_field {
    uint32_t number;
    enum skep_pb_type type;
    uint64_t value;   /* VARINT, FIXED64 (bits), FIXED32 (bits) */
    skep_bytes bytes; /* BYTES: borrows from the input */
};

struct skep_pb_reader {
    skep_bytes in;
    int rc; /* the first error, kept */
};

static inline struct skep_pb_reader skep_pb_read(skep_bytes message)
{
    return (struct skep_pb_reader){message, 0};
}

/** @return true with *field set; false at the end (reader->rc is 0) or on malformed input (SKEP_EPEER_FRAME). */
bool skep_pb_next(struct skep_pb_reader *reader, struct skep_pb_field *field);

/** Bytes of a field that must be of wire type BYTES; otherwise sets reader->rc and gives none. */
skep_bytes skep_pb_bytes(struct skep_pb_reader *reader, const struct skep_pb_field *field);

/** Value of a field that must be a varint. */
uint64_t skep_pb_varint(struct skep_pb_reader *reader, const struct skep_pb_field *field);

/** Value of a field that must be a double. */
double skep_pb_double(struct skep_pb_reader *reader, const struct skep_pb_field *field);

void skep_pb_put_varint(struct skep_buf *buf, uint32_t number, uint64_t v);
void skep_pb_put_double(struct skep_buf *buf, uint32_t number, double v);
void skep_pb_put_bytes(struct skep_buf *buf, uint32_t number, skep_bytes v);
void skep_pb_put_str(struct skep_buf *buf, uint32_t number, const char *v);

/** A nested message or packed field of known length: the tag and length; its content follows. */
void skep_pb_put_header(struct skep_buf *buf, uint32_t number, size_t content_len);

/** A nested message of unknown length: begin, write its fields, end with what begin returned. */
size_t skep_pb_begin(struct skep_buf *buf, uint32_t number);
void skep_pb_end(struct skep_buf *buf, size_t mark);

#endif
