/* SPDX-License-Identifier: MIT */
/* kad messages from a peer: what is read of an answer, written again, is read the same; and a request's key lies inside the message. */
#include <stdlib.h>

#include "host/host_impl.h"

struct copy {
    struct skep_buf out;
    size_t peers;
};

static void write_again(void *user, const struct skep_peer_id *id,
                        const struct skep_multiaddr *addrs, size_t addr_count)
{
    struct copy *copy = user;
    struct skep_kad_peer peer = {.id = *id, .addrs = addrs, .addr_count = addr_count};

    if (addr_count > SKEP_ADDRESSES_PER_PEER_MAX)
        abort();
    copy->peers++;
    skep_kad_put_peer(&copy->out, &peer);
}

static int read_and_write(skep_bytes body, struct copy *copy)
{
    size_t mark;
    int rc;

    skep_buf_init(&copy->out, &skep_mem_std);
    copy->peers = 0;
    mark = skep_kad_begin_answer(&copy->out);
    rc = skep_kad_read_answer(body, write_again, copy);
    if (rc == 0)
        skep_kad_end_answer(&copy->out, mark);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    skep_bytes in = {data, len}, body, again, key;
    struct copy first, second;

    if (skep_kad_next(&in, &body) != 1)
        return 0;
    if (skep_kad_read_request(body, &key) == 0 && key.len > 0 &&
        (key.data < body.data || key.data + key.len > body.data + body.len))
        abort();
    if (read_and_write(body, &first) == 0) {
        in = skep_buf_view(&first.out);
        if (skep_kad_next(&in, &again) != 1 || in.len != 0 || read_and_write(again, &second) != 0)
            abort();
        if (!skep_bytes_equal(skep_buf_view(&first.out), skep_buf_view(&second.out)))
            abort();
        skep_buf_fini(&second.out);
    }
    skep_buf_fini(&first.out);
    return 0;
}
