/* SPDX-License-Identifier: MIT */
/* X25519, RFC 7748. */
#include "crypto/x25519.h"

#include <openssl/err.h>

#include "crypto/ossl.h"
#include "crypto/secret.h"

static EVP_PKEY *private_of(const uint8_t private_key[SKEP_X25519_LEN])
{
    skep_ossl_get(); /* before anything else of OpenSSL, or it reads its configuration */
    return EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", NULL, private_key, SKEP_X25519_LEN);
}

int skep_x25519_public(uint8_t public_key[SKEP_X25519_LEN], const uint8_t private_key[SKEP_X25519_LEN])
{
    EVP_PKEY *key = private_of(private_key);
    size_t len = SKEP_X25519_LEN;
    int rc = key && EVP_PKEY_get_raw_public_key(key, public_key, &len) ? 0 : SKEP_ECRYPTO;

    EVP_PKEY_free(key);
    return rc;
}

int skep_x25519(uint8_t shared[SKEP_X25519_LEN], const uint8_t private_key[SKEP_X25519_LEN],
                const uint8_t public_key[SKEP_X25519_LEN])
{
    static const uint8_t zero[SKEP_X25519_LEN];
    EVP_PKEY *ours = private_of(private_key);
    EVP_PKEY *theirs = EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", NULL, public_key, SKEP_X25519_LEN);
    EVP_PKEY_CTX *ctx = ours ? EVP_PKEY_CTX_new_from_pkey(NULL, ours, NULL) : NULL;
    size_t len = SKEP_X25519_LEN;
    int rc = SKEP_ECRYPTO;

    if (!theirs || !ctx || EVP_PKEY_derive_init(ctx) <= 0 || EVP_PKEY_derive_set_peer(ctx, theirs) <= 0)
        goto out;
    /* All was set up, so a failure now is the other side's low-order point: OpenSSL refuses a result of zero. */
    rc = EVP_PKEY_derive(ctx, shared, &len) > 0 && !skep_secret_equal(shared, zero, sizeof zero) ? 0 : SKEP_EPEER_AUTH;
out:
    if (rc < 0) {
        skep_secret_wipe(shared, SKEP_X25519_LEN);
        ERR_clear_error();
    }
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(theirs);
    EVP_PKEY_free(ours);
    return rc;
}
