/* SPDX-License-Identifier: MIT */
/* The safetensors format: named tensors and a few texts, in one file. https://github.com/huggingface/safetensors, "Format".
 *
 *   header length 64, little endian | header: JSON, padded with spaces | data
 *   {"__metadata__": {"step": "7"}, "module.w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
 *
 * Offsets count from the data's first byte; the tensors cover the data without holes or overlaps. Bytes in, bytes out: files are checkpoint.c's. */
#ifndef SKEP_SERVER_SAFETENSORS_H
#define SKEP_SERVER_SAFETENSORS_H

#include <skep/tensor.h>

#include "base/bytes.h"

enum { SKEP_SAFETENSORS_PREFIX_LEN = 8 };

struct skep_safetensors_tensor {
    skep_bytes name;   /* UTF-8 */
    const char *dtype; /* "F32" …, static */
    size_t axes;
    size_t shape[SKEP_TENSOR_AXES_MAX];
    size_t begin, end; /* of its bytes, in the data */
};

/* An entry of __metadata__. */
struct skep_safetensors_note {
    skep_bytes key, value; /* UTF-8 */
};

struct skep_safetensors {
    struct skep_safetensors_tensor *tensors; /* [tensor_count], as they lie in the data */
    size_t tensor_count;
    struct skep_safetensors_note *notes; /* [note_count], in the header's order */
    size_t note_count;
    uint8_t *text; /* names, keys and values are views of it */
    const struct skep_mem *mem;
};

/** How long the header is, from a file's first bytes. @return 0; SKEP_EVALUE: it is too long for the file, or for us. */
int skep_safetensors_prefix(size_t *header_len, skep_bytes first, uint64_t file_len, char *why,
                            size_t why_len);

/** @param data_len  bytes that follow the header. @return 0; SKEP_EVALUE, `why` says what is wrong; SKEP_ENOMEM. On error `out` is empty. */
int skep_safetensors_parse(struct skep_safetensors *out, const struct skep_mem *mem,
                           skep_bytes header, uint64_t data_len, char *why, size_t why_len);
void skep_safetensors_fini(struct skep_safetensors *file);

/** @return the value of a key in __metadata__, or NULL. */
const skep_bytes *skep_safetensors_note(const struct skep_safetensors *file, const char *key);

/** A header that is being written: begin, notes, tensors, end. */
struct skep_safetensors_header {
    struct skep_buf *out;
    size_t start; /* where it begins in `out` */
    size_t data_len;
    enum { SKEP_SAFETENSORS_EMPTY, SKEP_SAFETENSORS_NOTES, SKEP_SAFETENSORS_TENSORS } part;
    int rc; /* the first error, kept */
};

void skep_safetensors_begin(struct skep_safetensors_header *header, struct skep_buf *out);
void skep_safetensors_put_note(struct skep_safetensors_header *header, const char *key,
                               skep_bytes value);

/** The next tensor of float32 numbers in the data. Its name is `prefix` and `name` together. */
void skep_safetensors_put_float32(struct skep_safetensors_header *header, const char *prefix,
                                  const char *name, size_t axes, const size_t *shape);

/** @return 0; SKEP_ENOMEM; SKEP_ESIZE (longer than is read again); SKEP_EINVAL (text that is not UTF-8, more data than fits memory). */
int skep_safetensors_end(struct skep_safetensors_header *header);

#endif
