/* SPDX-License-Identifier: MIT */
/* Expert messages, written. See expert_message.h; docs/wire.md e.1, e.4.
 *
 *   ExpertRequest  { 1 uid, 2 Tensor… }      ExpertResponse { 2 Tensor… }
 *   Tensor { 2 size (packed), 3 requires_grad, 4 dtype, 5 compression, 6 chunks, 1 buffer }
 * The buffer comes last, so that what is before it is a short head and the numbers themselves are sent from where they are. */
#include "base/pb.h"
#include "base/varint.h"
#include "moe/codec.h"
#include "moe/expert_message.h"

enum { UID = 1, TENSORS = 2, BUFFER = 1, SIZE, REQUIRES_GRAD, DTYPE, COMPRESSION, CHUNKS };

void skep_expert_writer_init(struct skep_expert_writer *writer, const struct skep_mem *mem,
                             enum skep_expert_message kind, skep_bytes uid,
                             const skep_tensor *tensors, const skep_compression *compressions,
                             size_t count)
{
    *writer = (struct skep_expert_writer){.mem = mem,
                                          .kind = kind,
                                          .uid = uid,
                                          .tensors = tensors,
                                          .compressions = compressions,
                                          .count = count};
    skep_buf_init(&writer->head, mem);
}

void skep_expert_writer_fini(struct skep_expert_writer *writer)
{
    skep_buf_fini(&writer->head);
    skep_mem_free(writer->mem, writer->packed);
    writer->packed = NULL;
}

static bool is_sent_as_it_is(const struct skep_expert_writer *w, size_t at)
{
    return w->compressions[at] == SKEP_COMPRESSION_NONE && w->tensors[at].dtype != SKEP_BFLOAT16;
}

static size_t buffer_len(const struct skep_expert_writer *w, size_t at)
{
    return skep_codec_encoded_len(w->compressions[at], &w->tensors[at]);
}

/* @return the buffer of the tensor `at`, compressed when it is first asked for; data NULL with a len above 0: no memory. */
static skep_bytes buffer_of(struct skep_expert_writer *w)
{
    size_t len = buffer_len(w, w->at);

    if (is_sent_as_it_is(w, w->at))
        return skep_bytes_of(w->tensors[w->at].data, len);
    if (!w->packed && len > 0) {
        w->packed = skep_mem_alloc(w->mem, len);
        w->packed_len = len;
        if (w->packed &&
            skep_codec_encode(w->compressions[w->at], &w->tensors[w->at], w->packed, w->mem) < 0) {
            skep_mem_free(w->mem, w->packed);
            w->packed = NULL;
        }
    }
    return skep_bytes_of(w->packed, len);
}

static void next_tensor(struct skep_expert_writer *w)
{
    skep_mem_free(w->mem, w->packed);
    w->packed = NULL;
    w->offset = 0;
    w->at++;
}

/* What a tensor says of itself, before its buffer. */
static void put_description(struct skep_buf *out, const skep_tensor *tensor,
                            skep_compression compression, size_t chunks)
{
    uint8_t sizes[SKEP_TENSOR_AXES_MAX * SKEP_VARINT_LEN_MAX];
    size_t len = 0;

    for (size_t i = 0; i < tensor->axes; i++)
        len += skep_varint_encode(sizes + len, tensor->shape[i]);
    if (len > 0)
        skep_pb_put_bytes(out, SIZE, skep_bytes_of(sizes, len));
    if (tensor->requires_grad)
        skep_pb_put_varint(out, REQUIRES_GRAD, 1);
    skep_pb_put_str(out, DTYPE, skep_dtype_name(tensor->dtype));
    if (compression != SKEP_COMPRESSION_NONE)
        skep_pb_put_varint(out, COMPRESSION, compression);
    if (chunks > 0)
        skep_pb_put_varint(out, CHUNKS, chunks);
}

static size_t field_head_len(size_t content_len)
{
    return 1 + skep_varint_len(content_len);
}

/* The head of a Tensor field whose buffer of `len` bytes follows. */
static void put_tensor_head(struct skep_buf *out, const struct skep_buf *description, size_t len)
{
    size_t inner = description->len + (len > 0 ? field_head_len(len) + len : 0);

    skep_pb_put_header(out, TENSORS, inner);
    skep_buf_put_bytes(out, skep_buf_view(description));
    if (len > 0)
        skep_pb_put_header(out, BUFFER, len);
}

int skep_expert_writer_next(struct skep_expert_writer *w, skep_bytes *head, skep_bytes *body)
{
    struct skep_buf description;
    skep_bytes buffer, part;

    *head = *body = (skep_bytes){NULL, 0};
    /* The part before this one was its tensor's last: its memory may go now that the next is asked for. */
    if (w->at < w->count && w->offset > 0 && w->offset == buffer_len(w, w->at))
        next_tensor(w);
    if (w->at == w->count)
        return 0;
    buffer = buffer_of(w);
    if (buffer.len > 0 && !buffer.data)
        return SKEP_ENOMEM;
    part = skep_bytes_of(buffer.len > 0 ? buffer.data + w->offset : NULL,
                         SKEP_MIN(buffer.len - w->offset, (size_t)SKEP_EXPERT_PART_LEN));
    skep_buf_init(&description, w->mem);
    if (w->offset == 0)
        put_description(&description, &w->tensors[w->at], w->compressions[w->at],
                        (buffer.len + SKEP_EXPERT_PART_LEN - 1) / SKEP_EXPERT_PART_LEN);
    skep_buf_clear(&w->head);
    if (w->kind == SKEP_EXPERT_REQUEST)
        skep_pb_put_bytes(&w->head, UID, w->uid);
    put_tensor_head(&w->head, &description, part.len);
    if (description.rc < 0)
        w->head.rc = description.rc;
    skep_buf_fini(&description);
    if (w->head.rc < 0)
        return w->head.rc;
    w->offset += part.len;
    if (buffer.len == 0)
        next_tensor(w);
    *head = skep_buf_view(&w->head);
    *body = part;
    return 1;
}

int skep_expert_writer_whole(struct skep_expert_writer *w, struct skep_buf *out)
{
    if (w->kind == SKEP_EXPERT_REQUEST)
        skep_pb_put_bytes(out, UID, w->uid);
    for (; w->at < w->count; next_tensor(w)) {
        skep_bytes buffer = buffer_of(w);

        if (buffer.len > 0 && !buffer.data)
            return SKEP_ENOMEM;
        skep_buf_clear(&w->head);
        put_description(&w->head, &w->tensors[w->at], w->compressions[w->at], 0);
        put_tensor_head(out, &w->head, buffer.len);
        skep_buf_put_bytes(out, buffer);
        if (w->head.rc < 0 || out->rc < 0)
            return SKEP_ENOMEM;
    }
    return out->rc;
}

size_t skep_expert_writer_whole_len(const struct skep_expert_writer *w)
{
    size_t len = w->kind == SKEP_EXPERT_REQUEST ? field_head_len(w->uid.len) + w->uid.len : 0;

    for (size_t i = 0; i < w->count; i++) {
        const skep_tensor *t = &w->tensors[i];
        size_t sizes = 0, inner, buffer = buffer_len(w, i);

        for (size_t axis = 0; axis < t->axes; axis++)
            sizes += skep_varint_len(t->shape[axis]);
        inner = (sizes > 0 ? field_head_len(sizes) + sizes : 0) + (t->requires_grad ? 2 : 0);
        inner += 2 + strlen(skep_dtype_name(t->dtype));
        inner += w->compressions[i] != SKEP_COMPRESSION_NONE ? 2 : 0;
        inner += buffer > 0 ? field_head_len(buffer) + buffer : 0;
        len += field_head_len(inner) + inner;
    }
    return len;
}

/* ---- the two small ones ---- */

static int read_only_field(skep_bytes message, skep_bytes *out)
{
    struct skep_pb_reader reader = skep_pb_read(message);
    struct skep_pb_field field;

    *out = (skep_bytes){NULL, 0};
    while (skep_pb_next(&reader, &field)) {
        if (field.number == 1)
            *out = skep_pb_bytes(&reader, &field);
    }
    return reader.rc;
}

void skep_expert_uid_write(struct skep_buf *out, skep_bytes uid)
{
    skep_pb_put_bytes(out, UID, uid);
}

int skep_expert_uid_read(skep_bytes message, skep_bytes *uid)
{
    return read_only_field(message, uid);
}

void skep_expert_info_message_write(struct skep_buf *out, skep_bytes info)
{
    skep_pb_put_bytes(out, 1, info);
}

int skep_expert_info_message_read(skep_bytes message, skep_bytes *info)
{
    return read_only_field(message, info);
}
