/* SPDX-License-Identifier: MIT */
/* Unsigned LEB128, as protobuf, multistream and multiformats write integers. At most 10 bytes for 64 bits. */
#ifndef SKEP_BASE_VARINT_H
#define SKEP_BASE_VARINT_H

#include "base/bytes.h"

enum { SKEP_VARINT_LEN_MAX = 10 };

/** Write v at `out` (SKEP_VARINT_LEN_MAX bytes of room). @return the bytes written. */
size_t skep_varint_encode(uint8_t *out, uint64_t v);

/** @return how many bytes v takes. */
size_t skep_varint_len(uint64_t v);

/** Read one off the front of *in.
 *  @return the bytes read; 0 when *in ends inside it (*in stays); SKEP_EPEER_FRAME above 64 bits. */
int skep_varint_decode(skep_bytes *in, uint64_t *v);

void skep_buf_put_varint(struct skep_buf *buf, uint64_t v);

#endif
