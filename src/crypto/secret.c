/* SPDX-License-Identifier: MIT */
#include "crypto/secret.h"

#include <openssl/crypto.h>

bool skep_secret_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void skep_secret_wipe(void *secret, size_t len)
{
    if (secret && len > 0)
        OPENSSL_cleanse(secret, len);
}
