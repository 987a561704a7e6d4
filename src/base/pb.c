/* SPDX-License-Identifier: MIT */
#include "base/pb.h"

static bool fail(struct skep_pb_reader *reader)
{
    if (reader->rc == 0)
        reader->rc = SKEP_EPEER_FRAME;
    return false;
}

static bool take_fixed(struct skep_pb_reader *reader, size_t len, uint64_t *value)
{
    uint8_t bytes[8] = {0};

    if (reader->in.len < len)
        return fail(reader);
    skep_bytes_copy(bytes, skep_bytes_take(&reader->in, len));
    *value = skep_get_le64(bytes);
    return true;
}

static bool take_bytes(struct skep_pb_reader *reader, struct skep_pb_field *field)
{
    if (skep_varint_decode(&reader->in, &field->value) <= 0 || field->value > reader->in.len)
        return fail(reader);
    field->bytes = skep_bytes_take(&reader->in, (size_t)field->value);
    return true;
}

bool skep_pb_next(struct skep_pb_reader *reader, struct skep_pb_field *field)
{
    uint64_t tag;

    if (reader->rc < 0 || reader->in.len == 0)
        return false;
    /* A tag is a 32-bit number: 29 bits of field number, three of wire type. */
    if (skep_varint_decode(&reader->in, &tag) <= 0 || tag > UINT32_MAX || tag >> 3 == 0)
        return fail(reader);
    *field = (struct skep_pb_field){.number = (uint32_t)(tag >> 3)};
    switch (tag & 7) {
    case SKEP_PB_VARINT:
        field->type = SKEP_PB_VARINT;
        return skep_varint_decode(&reader->in, &field->value) > 0 || fail(reader);
    case SKEP_PB_FIXED64:
        field->type = SKEP_PB_FIXED64;
        return take_fixed(reader, 8, &field->value);
    case SKEP_PB_BYTES: field->type = SKEP_PB_BYTES; return take_bytes(reader, field);
    case SKEP_PB_FIXED32:
        field->type = SKEP_PB_FIXED32;
        return take_fixed(reader, 4, &field->value);
    default: return fail(reader);
    }
}

skep_bytes skep_pb_bytes(struct skep_pb_reader *reader, const struct skep_pb_field *field)
{
    if (field->type != SKEP_PB_BYTES) {
        fail(reader);
        return (skep_bytes){0};
    }
    return field->bytes;
}

uint64_t skep_pb_varint(struct skep_pb_reader *reader, const struct skep_pb_field *field)
{
    if (field->type != SKEP_PB_VARINT) {
        fail(reader);
        return 0;
    }
    return field->value;
}

double skep_pb_double(struct skep_pb_reader *reader, const struct skep_pb_field *field)
{
    if (field->type != SKEP_PB_FIXED64) {
        fail(reader);
        return 0;
    }
    return skep_double_of_bits(field->value);
}

static void put_tag(struct skep_buf *buf, uint32_t number, enum skep_pb_type type)
{
    skep_buf_put_varint(buf, (uint64_t)number << 3 | (uint64_t)type);
}

void skep_pb_put_varint(struct skep_buf *buf, uint32_t number, uint64_t v)
{
    put_tag(buf, number, SKEP_PB_VARINT);
    skep_buf_put_varint(buf, v);
}

void skep_pb_put_double(struct skep_buf *buf, uint32_t number, double v)
{
    uint8_t bytes[8];

    put_tag(buf, number, SKEP_PB_FIXED64);
    skep_put_le64(bytes, skep_bits_of_double(v));
    skep_buf_put(buf, bytes, sizeof bytes);
}

void skep_pb_put_header(struct skep_buf *buf, uint32_t number, size_t content_len)
{
    put_tag(buf, number, SKEP_PB_BYTES);
    skep_buf_put_varint(buf, content_len);
}

void skep_pb_put_bytes(struct skep_buf *buf, uint32_t number, skep_bytes v)
{
    skep_pb_put_header(buf, number, v.len);
    skep_buf_put_bytes(buf, v);
}

void skep_pb_put_str(struct skep_buf *buf, uint32_t number, const char *v)
{
    skep_pb_put_bytes(buf, number, skep_bytes_str(v));
}

size_t skep_pb_begin(struct skep_buf *buf, uint32_t number)
{
    put_tag(buf, number, SKEP_PB_BYTES);
    return buf->len;
}

void skep_pb_end(struct skep_buf *buf, size_t mark)
{
    uint8_t prefix[SKEP_VARINT_LEN_MAX];
    size_t content_len, prefix_len;

    if (buf->rc < 0)
        return;
    content_len = buf->len - mark;
    prefix_len = skep_varint_encode(prefix, content_len);
    if (!skep_buf_reserve(buf, prefix_len))
        return;
    memmove(buf->data + mark + prefix_len, buf->data + mark, content_len);
    memcpy(buf->data + mark, prefix, prefix_len);
    buf->len += prefix_len;
}
