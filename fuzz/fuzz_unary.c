/* SPDX-License-Identifier: MIT */
/* Properties of the unary envelope: where the input is cut changes nothing, nothing is held that did not arrive, and what parses as a call
 * or an answer parses the same after being written anew. */
#include <stdlib.h>

#include "rpc/envelope.h"

static uint64_t mix(uint64_t digest, skep_bytes bytes)
{
    digest = (digest ^ bytes.len) * 0x9e3779b97f4a7c15U;
    for (size_t i = 0; i < bytes.len; i++)
        digest = (digest ^ bytes.data[i]) * 0x100000001b3U;
    return digest;
}

static void check_written_anew(const struct skep_envelope *envelope)
{
    uint8_t head[SKEP_ENVELOPE_HEAD_MAX];
    struct skep_envelope again;
    struct skep_envelope_reader reader;
    struct skep_buf whole;
    skep_bytes message, in;
    size_t n;

    if (envelope->kind == SKEP_ENVELOPE_CANCEL || envelope->call_id.len != SKEP_CALL_ID_LEN)
        return;
    if (envelope->kind == SKEP_ENVELOPE_CALL)
        n = skep_envelope_call_head(head, envelope->call_id.data, envelope->peer, envelope->method,
                                    envelope->body.len);
    else
        n = skep_envelope_answer_head(head, envelope->call_id.data,
                                      envelope->kind == SKEP_ENVELOPE_ERROR, envelope->body.len);
    if (n == 0)
        return; /* a peer or method longer than we write */
    skep_buf_init(&whole, &skep_mem_std);
    skep_buf_init(&reader.held, &skep_mem_std);
    skep_buf_put(&whole, head, n);
    skep_buf_put_bytes(&whole, envelope->body);
    in = skep_buf_view(&whole);
    if (skep_envelope_next(&reader, &in, &message) != 1 || in.len != 0 ||
        skep_envelope_parse(message, &again) != 0 || again.kind != envelope->kind ||
        !skep_bytes_equal(again.body, envelope->body) ||
        !skep_bytes_equal(again.method, envelope->method) ||
        !skep_bytes_equal(again.call_id, envelope->call_id))
        abort();
    skep_buf_fini(&whole);
    skep_buf_fini(&reader.held);
}

static uint64_t digest_of_messages(const uint8_t *data, size_t len, size_t cut)
{
    struct skep_envelope_reader reader;
    skep_bytes parts[2] = {skep_bytes_of(data, cut), skep_bytes_of(data + cut, len - cut)};
    uint64_t digest = 1;
    int rc = 0;

    skep_buf_init(&reader.held, &skep_mem_std);
    for (int i = 0; i < 2 && rc >= 0; i++) {
        skep_bytes message;

        while ((rc = skep_envelope_next(&reader, &parts[i], &message)) > 0) {
            struct skep_envelope envelope;

            rc = skep_envelope_parse(message, &envelope);
            digest = mix(digest ^ (uint64_t)(int64_t)rc, message);
            if (rc == 0) {
                digest = mix(mix(digest ^ envelope.kind, envelope.method), envelope.body);
                check_written_anew(&envelope);
            }
            skep_buf_clear(&reader.held);
        }
        if (reader.held.len > len)
            abort();
    }
    skep_buf_fini(&reader.held);
    return digest ^ (uint64_t)(int64_t)rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t cut = len > 0 ? data[0] % len : 0;

    if (digest_of_messages(data, len, len) != digest_of_messages(data, len, cut))
        abort();
    return 0;
}
