/* SPDX-License-Identifier: MIT */
/* The bytes of a tensor on the wire: every compression hivemind speaks. docs/wire.md e.5; hivemind compression/.
 *
 * Pure functions over memory that the caller has made: encoding never writes, and decoding never reads, past the lengths that were checked first. The wire
 * is little-endian; so is every machine we build for (checked at compile time). Loops are straight, so that compilers turn them into vector code. */
#ifndef SKEP_MOE_CODEC_H
#define SKEP_MOE_CODEC_H

#include <skep/tensor.h>

#include "base/bytes.h"

/** Can a tensor of this type and shape be sent so? @return 0; SKEP_EINVAL, and *why (static text) says why not: "FLOAT16 takes floating-point numbers only". */
int skep_codec_check(skep_compression compression, const skep_tensor *tensor, const char **why);

/** Bytes that skep_codec_encode() will write; of a tensor that passed skep_codec_check(). SIZE_MAX where that does not fit. */
size_t skep_codec_encoded_len(skep_compression compression, const skep_tensor *tensor);

/** @param out   [skep_codec_encoded_len()]. @param mem  for scratch memory of the quantizers. @return 0 or SKEP_ENOMEM. */
int skep_codec_encode(skep_compression compression, const skep_tensor *tensor, uint8_t *out,
                      const struct skep_mem *mem);

/** Does a buffer of so many bytes fit a tensor of this type and shape, as far as its length tells? bfloat16 may have 2 or 4 bytes a number.
 *  @return 0; SKEP_EPEER_PROTO, and *why says what is wrong. */
int skep_codec_check_len(skep_compression compression, const skep_tensor *tensor, size_t len,
                         const char **why);

/** How long is the whole buffer of which `start` is what has come so far? @return 1 with *len; 0: more must come to tell, about *len as it seems;
 *  SKEP_EPEER_PROTO: no buffer begins so, and *why. */
int skep_codec_whole_len(skep_compression compression, const skep_tensor *tensor, skep_bytes start,
                         size_t *len, const char **why);

/** @param tensor  type and shape; its data is not looked at. @param out  [skep_tensor_bytes(tensor)].
 *  @return 0; SKEP_EPEER_PROTO (lengths, codebook, an index out of it), and *why. */
int skep_codec_decode(skep_compression compression, skep_bytes buffer, const skep_tensor *tensor,
                      void *out, const char **why);

/** Are all numbers finite? True for types that are not floating point. */
bool skep_tensor_finite(const skep_tensor *tensor);

/* Conversions between types, n numbers: to float32 and back (bfloat16 and float16 round to nearest even, as torch's). */
void skep_numbers_to_float(float *out, skep_dtype from, const void *in, size_t n);
void skep_numbers_from_float(skep_dtype to, void *out, const float *in, size_t n);

#endif
