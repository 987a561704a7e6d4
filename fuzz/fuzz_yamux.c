/* SPDX-License-Identifier: MIT */
/* The frame parser. Property: where the input is cut changes nothing, and data are never more than their header said. */
#include <stdlib.h>

#include "mux/yamux_frame.h"

struct digest {
    uint64_t hash, data_left;
    int rc;
};

static void mix(struct digest *digest, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        digest->hash = (digest->hash ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
}

static void feed(struct digest *digest, struct skep_yamux_parser *parser, skep_bytes in)
{
    struct skep_yamux_event event;

    while ((digest->rc = skep_yamux_next(parser, &in, &event)) > 0) {
        if (!event.is_header) {
            if (event.data.len == 0 || event.data.len > digest->data_left)
                abort();
            digest->data_left -= event.data.len;
            mix(digest, event.data.data, event.data.len);
            if (event.is_last != (digest->data_left == 0))
                abort();
            continue;
        }
        if (digest->data_left != 0)
            abort();
        uint32_t fields[] = {event.frame.type, event.frame.flags, event.frame.stream_id,
                             event.frame.length};

        mix(digest, fields, sizeof fields);
        digest->data_left = event.frame.type == SKEP_YAMUX_DATA ? event.frame.length : 0;
    }
    if (digest->rc == 0 && in.len > 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t cut = len > 0 ? data[0] * len / 255 : 0;
    struct skep_yamux_parser one = {0}, two = {0};
    struct digest whole = {0}, parts = {0};

    feed(&whole, &one, skep_bytes_of(data, len));
    feed(&parts, &two, skep_bytes_of(data, cut));
    if (parts.rc == 0)
        feed(&parts, &two, skep_bytes_of(data + cut, len - cut));
    if (whole.hash != parts.hash || whole.rc != parts.rc || whole.data_left != parts.data_left)
        abort();
    return 0;
}
