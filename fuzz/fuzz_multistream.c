/* SPDX-License-Identifier: MIT */
/* Negotiation with any peer. Property: where its bytes are cut changes neither the end, nor what is left, nor (but for a header that
 * is sent earlier to a peer that seems to wait) what is answered. The first byte says where to cut and which side we are. */
#include <stdlib.h>

#include "base/limits.h"
#include "negotiate/multistream.h"

static const char *lookup(void *user, skep_bytes protocol)
{
    (void)user;
    return protocol.len > 0 && protocol.data[0] == '/' && protocol.len < 9 ? "/served" : NULL;
}

struct outcome {
    int rc;
    size_t left, proposals;
    struct skep_buf out;
};

static void run(struct outcome *outcome, bool is_dialer, skep_bytes in, size_t piece)
{
    static const char *const protocols[] = {"/noise", "/tls/1.0.0", "/yamux/1.0.0"};
    struct skep_multistream ms;

    *outcome = (struct outcome){0};
    skep_buf_init(&outcome->out, &skep_mem_std);
    if (is_dialer)
        skep_multistream_dial(&ms, &skep_mem_std, protocols, 3, &outcome->out);
    else
        skep_multistream_listen(&ms, &skep_mem_std, lookup, NULL, true, &outcome->out);
    while (outcome->rc == 0 && in.len > 0) {
        skep_bytes part = skep_bytes_take(&in, piece);

        outcome->rc = skep_multistream_next(&ms, &part, &outcome->out);
        outcome->left = part.len + in.len;
        if (outcome->rc == 0 && part.len > 0)
            abort(); /* what it wants more for is used up */
    }
    outcome->proposals = ms.proposals;
    if (ms.proposals > SKEP_NEGOTIATE_PROPOSALS_MAX + 1 ||
        (outcome->rc == 1) != (ms.chosen != NULL))
        abort();
    skep_multistream_fini(&ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct outcome whole, cut;

    if (len < 1)
        return 0;
    run(&whole, data[0] & 1, skep_bytes_of(data + 1, len - 1), len);
    run(&cut, data[0] & 1, skep_bytes_of(data + 1, len - 1), 1 + data[0] / 2);
    if (whole.rc != cut.rc || (whole.rc == 1 && whole.left != cut.left) ||
        whole.proposals != cut.proposals ||
        !skep_bytes_equal(skep_buf_view(&whole.out), skep_buf_view(&cut.out)))
        abort();
    skep_buf_fini(&whole.out);
    skep_buf_fini(&cut.out);
    return 0;
}
