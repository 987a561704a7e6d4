/* SPDX-License-Identifier: MIT */
/* Properties: a public key message that is taken has one encoding; an identity file that is taken, written again, gives the same
 * peer id. */
#include <stdlib.h>

#include "base/pb.h"
#include "peer/key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_public_key(skep_bytes message)
{
    enum skep_key_type type;
    struct skep_buf buf;
    skep_bytes data;

    if (skep_public_key_parse(message, &type, &data) < 0)
        return;
    skep_buf_init(&buf, &skep_mem_std);
    skep_pb_put_varint(&buf, 1, (uint64_t)type);
    skep_pb_put_bytes(&buf, 2, data);
    if (!skep_bytes_equal(message, skep_buf_view(&buf)))
        abort();
    skep_buf_fini(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct skep_identity identity, again;
    struct skep_buf file;

    check_public_key(skep_bytes_of(data, len));
    if (skep_identity_parse(&identity, &skep_mem_std, skep_bytes_of(data, len)) < 0)
        return 0;
    check_public_key(skep_buf_view(&identity.public_key));
    skep_buf_init(&file, &skep_mem_std);
    if (skep_identity_serialize(&identity, &file) < 0 ||
        skep_identity_parse(&again, &skep_mem_std, skep_buf_view(&file)) < 0 ||
        !skep_peer_id_equal(&identity.id, &again.id))
        abort();
    skep_buf_fini(&file);
    skep_identity_fini(&again);
    skep_identity_fini(&identity);
    return 0;
}
