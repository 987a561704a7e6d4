/* SPDX-License-Identifier: MIT */
/* X25519, RFC 7748. */
#include "crypto/x25519.h"

#include <openssl/core_names.h>
#include <openssl/err.h>

#include "crypto/ossl.h"
#include "crypto/secret.h"

static EVP_PKEY *private_of(const uint8_t private_key[SKEP_X25519_LEN])
{
    skep_ossl_get(); /* before anything else of OpenSSL, or it reads its configuration */
    return EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", NULL, private_key, SKEP_X25519_LEN);
}

/* A key for derivation only. Given a public half, OpenSSL does not compute it, which would cost as much as half a derivation
 * again; derivation looks at the private half alone, so any bytes do. */
static EVP_PKEY *private_for_derivation(const uint8_t private_key[SKEP_X25519_LEN])
{
    uint8_t secret[SKEP_X25519_LEN], unused[SKEP_X25519_LEN] = {0};
    EVP_PKEY_CTX *ctx;
    EVP_PKEY *key = NULL;

    skep_ossl_get();
    memcpy(secret, private_key, sizeof secret);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PRIV_KEY, secret, sizeof secret),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, unused, sizeof unused),
        OSSL_PARAM_construct_end()};

    ctx = EVP_PKEY_CTX_new_from_name(NULL, "X25519", NULL);
    if (ctx && EVP_PKEY_fromdata_init(ctx) > 0 &&
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) <= 0)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    skep_secret_wipe(secret, sizeof secret);
    return key;
}

int skep_x25519_public(uint8_t public_key[SKEP_X25519_LEN],
                       const uint8_t private_key[SKEP_X25519_LEN])
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
    EVP_PKEY *ours = private_for_derivation(private_key);
    EVP_PKEY *theirs =
        EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", NULL, public_key, SKEP_X25519_LEN);
    EVP_PKEY_CTX *ctx = ours ? EVP_PKEY_CTX_new_from_pkey(NULL, ours, NULL) : NULL;
    size_t len = SKEP_X25519_LEN;
    int rc = SKEP_ECRYPTO;

    if (!theirs || !ctx || EVP_PKEY_derive_init(ctx) <= 0 ||
        EVP_PKEY_derive_set_peer(ctx, theirs) <= 0)
        goto out;
    /* All was set up, so a failure now is the other side's low-order point: OpenSSL refuses a result of zero. */
    rc = EVP_PKEY_derive(ctx, shared, &len) > 0 && !skep_secret_equal(shared, zero, sizeof zero)
             ? 0
             : SKEP_EPEER_AUTH;
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
