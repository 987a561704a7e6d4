/* SPDX-License-Identifier: MIT */
/* Input: the kind of key, a length, that many bytes of key, and a signature. Property: no key or signature that a peer sends is
 * taken for a message it was not made for: the message holds a random secret that no input can have signed. */
#include <stdlib.h>

#include "crypto/sign.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t message[] =
        "f0d2b8c17e5a4936 never signed by anybody, whatever the corpus holds";
    skep_bytes in = {data, len}, kind = skep_bytes_take(&in, 1), size = skep_bytes_take(&in, 2),
               key;
    struct skep_buf text;

    if (size.len < 2)
        return 0;
    key = skep_bytes_take(&in, skep_get_be16(size.data));
    if (kind.data[0] % 5 < 4) {
        if (skep_verify((enum skep_key_type)(kind.data[0] % 5), key,
                        skep_bytes_of(message, sizeof message), in) == 0)
            abort();
        return 0;
    }
    /* An OpenSSH key: the base64 is ours, so that the fuzzer can work on what is inside. */
    skep_buf_init(&text, &skep_mem_std);
    skep_buf_put_str(&text, "ssh-rsa ");
    skep_base64_encode(&text, key);
    if (skep_verify_pss(skep_buf_view(&text), skep_bytes_of(message, sizeof message), in) == 0)
        abort();
    skep_buf_fini(&text);
    return 0;
}
