/* SPDX-License-Identifier: MIT */
/* Expert messages, read. See expert_message.h; docs/wire.md e.1, e.4, e.5; hivemind utils/streaming.py, compression/serialization.py. */
#include <stdarg.h>
#include <stdio.h>

#include "base/pb.h"
#include "base/varint.h"
#include "moe/codec.h"
#include "moe/expert_message.h"

enum { UID = 1, TENSORS = 2, BUFFER = 1, SIZE, REQUIRES_GRAD, DTYPE, COMPRESSION, CHUNKS };

/* One Tensor message: a whole tensor, or a part of one. */
struct part {
    skep_bytes buffer, dtype;
    uint64_t sizes[SKEP_TENSOR_AXES_MAX + 1], compression, chunks;
    size_t axes;
    bool requires_grad;
};

void skep_expert_reader_init(struct skep_expert_reader *reader, const struct skep_mem *mem,
                             enum skep_expert_message kind, size_t bytes_max)
{
    memset(reader, 0, sizeof *reader);
    reader->mem = mem;
    reader->kind = kind;
    reader->bytes_max = bytes_max;
    reader->tensors_max = SKEP_EXPERT_TENSORS_MAX;
    skep_buf_init(&reader->uid, mem);
    skep_buf_init(&reader->gathered, mem);
}

void skep_expert_reader_fini(struct skep_expert_reader *reader)
{
    for (size_t i = 0; i < reader->count; i++)
        skep_mem_free(reader->mem, (void *)(uintptr_t)reader->tensors[i].data);
    reader->count = 0;
    skep_mem_free(reader->mem, reader->numbers);
    reader->numbers = NULL;
    skep_buf_fini(&reader->uid);
    skep_buf_fini(&reader->gathered);
}

void skep_expert_reader_steal(struct skep_expert_reader *reader)
{
    reader->count = 0;
}

__attribute__((format(printf, 3, 4))) static int fail_with(struct skep_expert_reader *r, int rc,
                                                           const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(r->why, sizeof r->why, format, args);
    va_end(args);
    return r->rc = rc;
}

/* ---- one Tensor message ---- */

static void add_size(struct part *part, uint64_t size)
{
    if (part->axes < SKEP_COUNT_OF(part->sizes))
        part->sizes[part->axes++] = size;
}

static int read_sizes(struct skep_pb_reader *reader, const struct skep_pb_field *field,
                      struct part *part)
{
    skep_bytes packed;

    if (field->type == SKEP_PB_VARINT) {
        add_size(part, field->value);
        return 0;
    }
    packed = skep_pb_bytes(reader, field);
    while (packed.len > 0) {
        uint64_t size;

        if (skep_varint_decode(&packed, &size) <= 0)
            return SKEP_EPEER_FRAME;
        add_size(part, size);
    }
    return 0;
}

static int read_part(skep_bytes message, struct part *part)
{
    struct skep_pb_reader reader = skep_pb_read(message);
    struct skep_pb_field field;
    int rc = 0;

    memset(part, 0, sizeof *part);
    while (rc == 0 && skep_pb_next(&reader, &field)) {
        switch (field.number) {
        case BUFFER: part->buffer = skep_pb_bytes(&reader, &field); break;
        case SIZE: rc = read_sizes(&reader, &field, part); break;
        case REQUIRES_GRAD: part->requires_grad = skep_pb_varint(&reader, &field) != 0; break;
        case DTYPE: part->dtype = skep_pb_bytes(&reader, &field); break;
        case COMPRESSION: part->compression = skep_pb_varint(&reader, &field); break;
        case CHUNKS: part->chunks = skep_pb_varint(&reader, &field); break;
        default: break;
        }
    }
    return rc < 0 ? rc : reader.rc;
}

/* ---- tensors out of parts ---- */

static int describe(struct skep_expert_reader *r, const struct part *part, skep_tensor *tensor)
{
    char name[16] = "";

    *tensor = (skep_tensor){.requires_grad = part->requires_grad, .axes = part->axes};
    if (part->axes > SKEP_TENSOR_AXES_MAX)
        return fail_with(r, SKEP_EPEER_LIMIT, "tensor %zu has more than %d axes", r->count,
                         SKEP_TENSOR_AXES_MAX);
    for (size_t i = 0; i < part->axes; i++)
        tensor->shape[i] = (size_t)part->sizes[i];
    if (part->dtype.len < sizeof name)
        skep_bytes_copy(name, part->dtype);
    if (memchr(name, '.', sizeof name) || skep_dtype_from_name(&tensor->dtype, name) < 0)
        return fail_with(r, SKEP_EPEER_PROTO, "tensor %zu is of a type that is none: %.*s",
                         r->count, (int)SKEP_MIN(part->dtype.len, (size_t)32),
                         part->dtype.len > 0 ? (const char *)part->dtype.data : "");
    if (part->compression >= SKEP_COMPRESSIONS)
        return fail_with(r, SKEP_EPEER_PROTO, "tensor %zu has a compression that is none: %llu",
                         r->count, (unsigned long long)part->compression);
    return 0;
}

/* What it takes to hold a tensor: its numbers, and what is compressed until it is whole. */
static int check_room(struct skep_expert_reader *r, const skep_tensor *tensor, size_t gathered)
{
    size_t numbers = skep_tensor_bytes(tensor);

    if (numbers > r->bytes_max || gathered > r->bytes_max - numbers ||
        r->bytes > r->bytes_max - numbers - gathered)
        return fail_with(r, SKEP_EPEER_LIMIT, "tensor %zu is too large: at most %zu bytes in all",
                         r->count, r->bytes_max);
    r->needed = r->bytes + numbers + gathered;
    return 0;
}

static bool goes_straight(const struct skep_expert_reader *r, const skep_tensor *tensor)
{
    return r->compression == SKEP_COMPRESSION_NONE && tensor->dtype != SKEP_BFLOAT16 &&
           tensor->dtype != SKEP_BOOL;
}

static int finish_tensor(struct skep_expert_reader *r)
{
    skep_tensor *tensor = &r->tensors[r->count];
    const char *why = NULL;
    size_t bytes = skep_tensor_bytes(tensor);

    if (!r->gathering)
        return 0;
    r->gathering = false;
    if (!goes_straight(r, tensor)) {
        r->numbers = skep_mem_alloc(r->mem, bytes);
        if (!r->numbers)
            return fail_with(r, SKEP_ENOMEM, "out of memory");
        r->bytes += bytes;
        if (skep_codec_decode(r->compression, skep_buf_view(&r->gathered), tensor, r->numbers,
                              &why) < 0)
            return fail_with(r, SKEP_EPEER_PROTO, "tensor %zu: %s", r->count, why);
        r->bytes -= r->gathered.len;
        skep_buf_fini(&r->gathered);
    } else if (r->got < bytes) {
        return fail_with(r, SKEP_EPEER_PROTO, "tensor %zu: the buffer is too short for the shape",
                         r->count);
    }
    tensor->data = r->numbers;
    r->numbers = NULL;
    r->count++;
    return 0;
}

static int begin_tensor(struct skep_expert_reader *r, const struct part *part)
{
    skep_tensor *tensor = &r->tensors[r->count];
    const char *why = NULL;
    int rc;

    if (r->count == r->tensors_max)
        return fail_with(r, SKEP_EPEER_LIMIT, "more than %zu tensors", r->tensors_max);
    if ((rc = describe(r, part, tensor)) < 0)
        return rc;
    r->compression = (skep_compression)part->compression;
    r->got = 0;
    rc = skep_codec_whole_len(r->compression, tensor, part->buffer, &r->expected, &why);
    if (rc < 0)
        return fail_with(r, rc, "tensor %zu: %s", r->count, why);
    if ((rc = check_room(r, tensor, goes_straight(r, tensor) ? 0 : r->expected)) < 0)
        return rc;
    if (goes_straight(r, tensor)) {
        r->numbers = skep_mem_alloc(r->mem, skep_tensor_bytes(tensor));
        if (!r->numbers)
            return fail_with(r, SKEP_ENOMEM, "out of memory");
        r->bytes += skep_tensor_bytes(tensor);
    } else if (!skep_buf_reserve(&r->gathered, r->expected)) {
        return fail_with(r, SKEP_ENOMEM, "out of memory");
    }
    r->gathering = true;
    return 0;
}

static int add_bytes(struct skep_expert_reader *r, skep_bytes more)
{
    const skep_tensor *tensor = &r->tensors[r->count];
    bool straight = goes_straight(r, tensor);
    /* With a codebook the length may not be known from the first part on: then the bound on all is what there is. */
    size_t room = straight ? skep_tensor_bytes(tensor) - r->got : r->bytes_max - r->bytes;

    if (more.len > room)
        return fail_with(r, SKEP_EPEER_PROTO, "tensor %zu: the buffer is too long for the shape",
                         r->count);
    if (straight) {
        skep_bytes_copy(r->numbers + r->got, more);
    } else {
        skep_buf_put_bytes(&r->gathered, more);
        if (r->gathered.rc < 0)
            return fail_with(r, SKEP_ENOMEM, "out of memory");
        r->bytes += more.len;
    }
    r->got += more.len;
    return 0;
}

static int add_part(struct skep_expert_reader *r, skep_bytes message)
{
    struct part part;
    int rc = read_part(message, &part);

    if (rc < 0)
        return fail_with(r, rc, "a tensor is malformed");
    if (part.dtype.len > 0) {
        if ((rc = finish_tensor(r)) < 0 || (rc = begin_tensor(r, &part)) < 0)
            return rc;
    } else if (!r->gathering) {
        return fail_with(r, SKEP_EPEER_PROTO, "tensor %zu has no type", r->count);
    }
    return add_bytes(r, part.buffer);
}

static int check_uid(struct skep_expert_reader *r, skep_bytes uid)
{
    if (r->kind != SKEP_EXPERT_REQUEST)
        return 0;
    if (r->has_uid)
        return skep_bytes_equal(uid, skep_buf_view(&r->uid))
                   ? 0
                   : fail_with(r, SKEP_EPEER_PROTO, "Expert uids differ in one request");
    if (uid.len > SKEP_UID_LEN_MAX || !skep_utf8_valid(uid))
        return fail_with(r, SKEP_EPEER_PROTO, "the uid is malformed");
    r->has_uid = true;
    skep_buf_put_bytes(&r->uid, uid);
    return r->uid.rc < 0 ? fail_with(r, SKEP_ENOMEM, "out of memory") : 0;
}

int skep_expert_reader_add(struct skep_expert_reader *r, skep_bytes message)
{
    struct skep_pb_reader reader = skep_pb_read(message);
    struct skep_pb_field field;
    skep_bytes uid = {NULL, 0};

    if (r->rc < 0)
        return r->rc;
    /* The uid first, wherever it stands, and whether the message is whole. */
    while (skep_pb_next(&reader, &field)) {
        if (field.number == UID && r->kind == SKEP_EXPERT_REQUEST)
            uid = skep_pb_bytes(&reader, &field);
    }
    if (reader.rc < 0)
        return fail_with(r, reader.rc, "a message is malformed");
    if (check_uid(r, uid) < 0)
        return r->rc;
    reader = skep_pb_read(message);
    while (skep_pb_next(&reader, &field)) {
        skep_bytes part;

        if (field.number != TENSORS)
            continue;
        part = skep_pb_bytes(&reader, &field);
        if (reader.rc < 0)
            return fail_with(r, reader.rc, "a message is malformed");
        if (add_part(r, part) < 0)
            return r->rc;
    }
    return 0;
}

static size_t saturating_add(size_t a, size_t b)
{
    return a > SIZE_MAX - b ? SIZE_MAX : a + b;
}

/* @return false: it does not fit. */
static bool peek_part(struct skep_expert_reader *probe, const struct part *part,
                      struct skep_expert_peek *peek)
{
    const char *why = NULL;
    skep_tensor tensor;
    size_t gathered;

    if (describe(probe, part, &tensor) < 0)
        return false;
    probe->compression = (skep_compression)part->compression;
    if (skep_codec_whole_len(probe->compression, &tensor, part->buffer, &gathered, &why) < 0)
        return false;
    if (peek->begun++ == 0) {
        peek->first = tensor;
        peek->compression = probe->compression;
    }
    if (!goes_straight(probe, &tensor))
        peek->needed = saturating_add(peek->needed, gathered);
    peek->needed = saturating_add(peek->needed, skep_tensor_bytes(&tensor));
    return true;
}

void skep_expert_reader_peek(const struct skep_expert_reader *r, skep_bytes message,
                             struct skep_expert_peek *peek)
{
    struct skep_pb_reader reader = skep_pb_read(message);
    struct skep_expert_reader probe = {.count = r->count};
    struct skep_pb_field field;

    *peek = (struct skep_expert_peek){.needed = r->gathering ? r->needed : r->bytes};
    while (skep_pb_next(&reader, &field)) {
        struct part part;

        if (field.number != TENSORS)
            continue;
        if (read_part(skep_pb_bytes(&reader, &field), &part) < 0 ||
            (part.dtype.len > 0 && !peek_part(&probe, &part, peek)))
            return;
    }
}

const skep_tensor *skep_expert_reader_gathering(const struct skep_expert_reader *r)
{
    return r->gathering ? &r->tensors[r->count] : NULL;
}

int skep_expert_reader_end(struct skep_expert_reader *r)
{
    return r->rc < 0 ? r->rc : finish_tensor(r);
}
