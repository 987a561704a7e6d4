/* SPDX-License-Identifier: MIT */
/* Properties: an id read from any text or from bytes is written as base58 that reads back the same; bare base58 has one text
 * for each id. */
#include <stdlib.h>

#include "peer/peer_id.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(const struct skep_peer_id *id)
{
    char text[SKEP_PEER_ID_TEXT_MAX];
    struct skep_peer_id again;

    skep_peer_id_text(text, id);
    if (skep_peer_id_from_base58(&again, skep_bytes_str(text)) < 0 ||
        memcmp(id, &again, sizeof again) != 0)
        abort();
    if (skep_peer_id_from_text(&again, skep_bytes_str(text)) < 0 || !skep_peer_id_equal(id, &again))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    skep_bytes in = {data, len};
    char text[SKEP_PEER_ID_TEXT_MAX];
    struct skep_peer_id id;

    if (skep_peer_id_from_text(&id, in) == 0)
        check(&id);
    if (skep_peer_id_from_bytes(&id, in) == 0)
        check(&id);
    if (skep_peer_id_from_base58(&id, in) == 0) {
        check(&id);
        if (!skep_bytes_equal(skep_bytes_str(skep_peer_id_text(text, &id)), in))
            abort();
    }
    return 0;
}
