/* SPDX-License-Identifier: MIT */
/* What the files of the codec share: one pair of functions a compression, behind the checks of codec.c. */
#ifndef SKEP_MOE_CODEC_PARTS_H
#define SKEP_MOE_CODEC_PARTS_H

#include "moe/codec.h"
#include "moe/numbers.h"

enum {
    CODEBOOK_LEN = 256,     /* of what we send, and what a byte can choose of */
    CODEC_BLOCK_LEN = 4096, /* numbers under one scale, BLOCKWISE_8BIT */
    CODEC_RUN_LEN = 1024    /* numbers that are converted at a time, on the stack */
};

/** Numbers as float32: those of the tensor itself, or a copy in *scratch, to be freed. NULL: no memory. */
const float *skep_codec_floats(const skep_tensor *tensor, float **scratch,
                               const struct skep_mem *mem);

/** How many rows a tensor with at least one axis has, along the last; SIZE_MAX where that does not fit. */
size_t skep_codec_rows(const skep_tensor *tensor);

/** The sum, in a fixed order: like torch for few numbers, close to exact for many. */
float skep_codec_sum(const float *in, size_t n);
/** The sum of squares of in[i] - shift. */
float skep_codec_sum_squares(const float *in, size_t n, float shift);

/* codec_float.c */
void skep_float16_encode(const skep_tensor *tensor, uint8_t *out);
void skep_float16_decode(const uint8_t *in, const skep_tensor *tensor, uint8_t *out);
int skep_meanstd_encode(const skep_tensor *tensor, uint8_t *out, const struct skep_mem *mem);
void skep_meanstd_decode(const uint8_t *in, const skep_tensor *tensor, uint8_t *out);

/* codec_codebook.c: the codebook of 256 numbers and what chooses from it */

/** Write n and the mean of the numbers that chose each entry (0 where none did). */
void skep_codebook_of_means(uint8_t *out, const float *in, const uint8_t *indices, size_t n);
/** out[i] = codebook[indices[i]] * scale, as the type says. The codebook may stand at any address; no index is checked. */
void skep_codebook_apply(const uint8_t *codebook, size_t len, float scale, const uint8_t *indices,
                         size_t n, skep_dtype dtype, uint8_t *out);
/** Are all below `len`? */
bool skep_codebook_covers(size_t len, const uint8_t *indices, size_t n);

/* codec_uniform.c, codec_quantile.c, codec_blockwise.c */
int skep_uniform_encode(const skep_tensor *tensor, uint8_t *out, const struct skep_mem *mem);
int skep_quantile_encode(const skep_tensor *tensor, uint8_t *out, const struct skep_mem *mem);
int skep_blockwise_encode(const skep_tensor *tensor, uint8_t *out, const struct skep_mem *mem);

#endif
