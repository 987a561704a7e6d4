/* SPDX-License-Identifier: MIT */
/* Messages of an expert call from a hostile peer. Property: what a reader holds and will need stays within its bound, an error is for good, and what was read is
 * the same when it is written and read again. The same bytes are tried as what an expert says of itself: read, written and read again is the same text. */
#include <stdlib.h>

#include "moe/expert_info.h"
#include "moe/expert_message.h"

enum { BYTES_MAX = 1 << 16 };

static void check_again(const struct skep_expert_reader *r)
{
    const skep_compression none[SKEP_EXPERT_TENSORS_MAX] = {SKEP_COMPRESSION_NONE};
    struct skep_expert_writer w;
    struct skep_expert_reader again;
    struct skep_buf out;

    skep_buf_init(&out, &skep_mem_std);
    skep_expert_writer_init(&w, &skep_mem_std, SKEP_EXPERT_RESPONSE, (skep_bytes){NULL, 0},
                            r->tensors, none, r->count);
    if (skep_expert_writer_whole(&w, &out) < 0)
        abort();
    skep_expert_reader_init(&again, &skep_mem_std, SKEP_EXPERT_RESPONSE, 4 * BYTES_MAX);
    if (skep_expert_reader_add(&again, skep_buf_view(&out)) < 0 ||
        skep_expert_reader_end(&again) < 0 || again.count != r->count)
        abort();
    skep_expert_reader_fini(&again);
    skep_expert_writer_fini(&w);
    skep_buf_fini(&out);
}

static void check_info(skep_bytes in)
{
    struct skep_expert_schema schema;
    struct skep_buf out;

    if (skep_expert_info_read(&schema, &skep_mem_std, in, NULL, 0) < 0)
        return;
    skep_buf_init(&out, &skep_mem_std);
    if (skep_expert_info_write(&out, schema.inputs, schema.input_count, schema.outputs,
                               schema.output_count) < 0)
        abort();
    skep_buf_fini(&out);
    skep_expert_schema_fini(&schema, &skep_mem_std);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    skep_bytes in = {data, len};
    struct skep_expert_reader r;
    int rc = 0;

    check_info(in);
    skep_expert_reader_init(&r, &skep_mem_std, SKEP_EXPERT_RESPONSE, BYTES_MAX);
    while (rc == 0 && in.len > 0) { /* messages, each behind two bytes of length */
        skep_bytes head = skep_bytes_take(&in, 2);
        size_t n = head.len == 2 ? skep_get_be16(head.data) : 0;

        rc = skep_expert_reader_add(&r, skep_bytes_take(&in, n));
        if (r.bytes > BYTES_MAX || (rc == 0 && r.needed > BYTES_MAX))
            abort();
    }
    if (rc == 0)
        rc = skep_expert_reader_end(&r);
    if (rc == 0)
        check_again(&r);
    else if (skep_expert_reader_add(&r, (skep_bytes){NULL, 0}) != rc)
        abort();
    skep_expert_reader_fini(&r);
    return 0;
}
