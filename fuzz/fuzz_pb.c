/* SPDX-License-Identifier: MIT */
/* Property: what the reader yields, written again and read again, is the same fields; and a message that ended well before a
 * field ends well without it. */
#include <stdlib.h>

#include "base/pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void write_field(struct skep_buf *buf, const struct skep_pb_field *field)
{
    switch (field->type) {
    case SKEP_PB_VARINT: skep_pb_put_varint(buf, field->number, field->value); break;
    case SKEP_PB_FIXED64:
        skep_pb_put_double(buf, field->number, skep_double_of_bits(field->value));
        break;
    case SKEP_PB_BYTES: skep_pb_put_bytes(buf, field->number, field->bytes); break;
    case SKEP_PB_FIXED32: /* the writer has none */
        skep_buf_put_varint(buf, (uint64_t)field->number << 3 | SKEP_PB_FIXED32);
        for (unsigned shift = 0; shift < 32; shift += 8)
            skep_buf_put_u8(buf, (uint8_t)(field->value >> shift));
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct skep_pb_reader reader = skep_pb_read(skep_bytes_of(data, len)), again;
    struct skep_pb_field a, b;
    struct skep_buf buf;

    skep_buf_init(&buf, &skep_mem_std);
    while (skep_pb_next(&reader, &a))
        write_field(&buf, &a);
    if (reader.rc == 0 &&
        (reader.in.len > 0 || buf.len > len)) /* the shortest form is never longer */
        abort();
    again = skep_pb_read(skep_buf_view(&buf));
    reader = skep_pb_read(skep_bytes_of(data, len));
    while (skep_pb_next(&reader, &a))
        if (!skep_pb_next(&again, &b) || a.number != b.number || a.type != b.type ||
            a.value != b.value || !skep_bytes_equal(a.bytes, b.bytes))
            abort();
    if (skep_pb_next(&again, &b) || again.rc < 0)
        abort();
    skep_buf_fini(&buf);
    return 0;
}
