/* SPDX-License-Identifier: MIT */
/* Messages of expert calls, written and read: ExpertUID, ExpertInfo, ExpertRequest, ExpertResponse and the Tensors in them, whole or in parts.
 * docs/wire.md e.1, e.4; hivemind proto/runtime.proto, utils/streaming.py. */
#ifndef SKEP_MOE_EXPERT_MESSAGE_H
#define SKEP_MOE_EXPERT_MESSAGE_H

#include <skep/tensor.h>

#include "base/bytes.h"
#include "base/limits.h"

/* A request or answer of more bytes of numbers than this (before compression) is streamed; hivemind MAX_UNARY_PAYLOAD_SIZE. */
enum { SKEP_EXPERT_UNARY_MAX = 2 << 20, SKEP_EXPERT_PART_LEN = 4 << 20 };

/* ---- writing ---- */

enum skep_expert_message { SKEP_EXPERT_REQUEST, SKEP_EXPERT_RESPONSE };

/** Tensors on their way out, one part at a time. A part is a head that the writer owns and a body that is a view of the tensor's numbers (NONE) or of what
 *  the writer compressed; the message is one behind the other. */
struct skep_expert_writer {
    const struct skep_mem *mem;
    enum skep_expert_message kind;
    skep_bytes uid; /* of a request; borrowed */
    const skep_tensor *tensors;
    const skep_compression *compressions;
    size_t count, at; /* the tensor that is being written */
    size_t offset;    /* of its buffer */
    uint8_t *packed;  /* the compressed tensor `at`; NULL: as it is */
    size_t packed_len;
    struct skep_buf head;
};

/** Borrows everything until skep_expert_writer_fini(). The tensors must have passed skep_codec_check(). */
void skep_expert_writer_init(struct skep_expert_writer *writer, const struct skep_mem *mem,
                             enum skep_expert_message kind, skep_bytes uid,
                             const skep_tensor *tensors, const skep_compression *compressions,
                             size_t count);
void skep_expert_writer_fini(struct skep_expert_writer *writer);

/** The next message of a stream: at most SKEP_EXPERT_PART_LEN bytes of buffer. Good until the next call.
 *  @return 1; 0: that was all; SKEP_ENOMEM. */
int skep_expert_writer_next(struct skep_expert_writer *writer, skep_bytes *head, skep_bytes *body);

/** All tensors in one message, appended to `out`. @return 0 or SKEP_ENOMEM. */
int skep_expert_writer_whole(struct skep_expert_writer *writer, struct skep_buf *out);

/** Its length, without writing it. */
size_t skep_expert_writer_whole_len(const struct skep_expert_writer *writer);

/** ExpertUID { 1 uid }. */
void skep_expert_uid_write(struct skep_buf *out, skep_bytes uid);
/** @return 0 and a view; SKEP_EPEER_FRAME. */
int skep_expert_uid_read(skep_bytes message, skep_bytes *uid);
/** ExpertInfo { 1 serialized_info }. */
void skep_expert_info_message_write(struct skep_buf *out, skep_bytes info);
int skep_expert_info_message_read(skep_bytes message, skep_bytes *info);

/* ---- reading ---- */

enum { SKEP_EXPERT_WHY_MAX = 256 };

/** Puts the tensors of a request or an answer together, from one message or from many. Decodes each tensor as soon as it is whole; without compression the
 *  numbers go straight to their place. Memory is asked for only after shape, type and lengths were found to agree. */
struct skep_expert_reader {
    const struct skep_mem *mem;
    enum skep_expert_message kind;
    size_t
        bytes_max; /* of all tensors, as numbers in memory and as buffers that are being gathered */
    size_t tensors_max;
    struct skep_buf uid; /* of a request, from its first message */
    bool has_uid;
    skep_tensor tensors
        [SKEP_EXPERT_TENSORS_MAX]; /* [count] whole or being gathered; their numbers are the reader's */
    size_t count;
    size_t bytes; /* that it holds now */
    size_t
        needed; /* that it will hold when the tensor being gathered is whole: known after its first part */
    char
        why[SKEP_EXPERT_WHY_MAX]; /* of the first error: what was wrong, with the tensor's number */
    int rc;                       /* the first error, kept */
    /* private */
    bool gathering;
    skep_compression compression;
    size_t expected, got; /* bytes of the buffer being gathered */
    uint8_t *numbers;     /* of the tensor being gathered, where they go straight to their place */
    struct skep_buf gathered; /* what is compressed */
};

void skep_expert_reader_init(struct skep_expert_reader *reader, const struct skep_mem *mem,
                             enum skep_expert_message kind, size_t bytes_max);
void skep_expert_reader_fini(struct skep_expert_reader *reader);

/** Take one message. @return 0; and from then on: SKEP_EPEER_FRAME (malformed), SKEP_EPEER_PROTO (does not agree; `why`), SKEP_EPEER_LIMIT (bytes_max, number of
 *  tensors), SKEP_ENOMEM. */
int skep_expert_reader_add(struct skep_expert_reader *reader, skep_bytes message);

/** What a message would bring, before it is added: so that whoever lacks the memory can put it off. */
struct skep_expert_peek {
    size_t begun;                 /* tensors whose first part is in it */
    skep_tensor first;            /* type and shape of the first of them */
    skep_compression compression; /* its */
    size_t needed;                /* as the reader's, afterwards; saturates */
};
/** Nothing is taken or allocated. In a message that does not fit, what comes before the fault is counted: adding it tells. */
void skep_expert_reader_peek(const struct skep_expert_reader *reader, skep_bytes message,
                             struct skep_expert_peek *peek);

/** The tensor that is being gathered, and is not yet one of [count]; NULL: none. */
const skep_tensor *skep_expert_reader_gathering(const struct skep_expert_reader *reader);

/** There are no more. @return 0: every tensor is whole; SKEP_EPEER_PROTO; or the error of before. */
int skep_expert_reader_end(struct skep_expert_reader *reader);

/** The tensors' memory, each to be freed with `mem`: the reader forgets it. */
void skep_expert_reader_steal(struct skep_expert_reader *reader);

#endif
