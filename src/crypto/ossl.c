/* SPDX-License-Identifier: MIT */
#include "crypto/ossl.h"

#include <stdlib.h>

#include <openssl/crypto.h>

static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
static struct skep_ossl algorithms;

static void fetch_all(void)
{
    /* Reading openssl.cnf takes longer than all else that happens before the first byte is sent. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    algorithms.sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    algorithms.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    algorithms.chacha20_poly1305 = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
    algorithms.hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
}

const struct skep_ossl *skep_ossl_get(void)
{
    if (!CRYPTO_THREAD_run_once(&once, fetch_all) || !algorithms.sha1 || !algorithms.sha256 ||
        !algorithms.chacha20_poly1305 || !algorithms.hmac)
        abort();
    return &algorithms;
}
