/* SPDX-License-Identifier: MIT */
/* Properties: what decodes also walks, and encodes to the same bytes, since each address has one form (but the lengths, whose
 * varints may be padded); what is text or becomes text parses to the same address. */
#include <stdlib.h>

#include "peer/multiaddr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(const struct skep_multiaddr *addr)
{
    uint8_t binary[SKEP_MULTIADDR_LEN_MAX];
    char text[SKEP_MULTIADDR_TEXT_MAX];
    struct skep_multiaddr again;
    size_t len = skep_multiaddr_encode(binary, addr, true);

    if (skep_multiaddr_decode(&again, skep_bytes_of(binary, len)) < 0 ||
        memcmp(addr, &again, sizeof again) != 0)
        abort();
    if (skep_multiaddr_parse(&again, skep_multiaddr_text(text, addr)) < 0 ||
        memcmp(addr, &again, sizeof again) != 0)
        abort();
    if (!skep_multiaddr_same(addr, &again))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct skep_multiaddr addr;
    char *text = malloc(len + 1);

    if (!text)
        return 0;
    skep_bytes_copy(text, skep_bytes_of(data, len));
    text[len] = '\0';
    if (skep_multiaddr_parse(&addr, text) == 0)
        check(&addr);
    if (skep_multiaddr_decode(&addr, skep_bytes_of(data, len)) == 0) {
        if (!skep_multiaddr_valid(skep_bytes_of(data, len)))
            abort();
        check(&addr);
    }
    free(text);
    return 0;
}
