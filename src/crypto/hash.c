/* SPDX-License-Identifier: MIT */
/* Digests over contexts that each thread keeps: starting one over is three times as fast as making one. */
#include "crypto/hash.h"

#include <stdlib.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>

#include "crypto/ossl.h"
#include "crypto/secret.h"

struct contexts {
    EVP_MD_CTX *sha1, *sha256;
    EVP_MAC_CTX *hmac;
};

static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
static CRYPTO_THREAD_LOCAL at_thread_end; /* only there for its destructor */
static bool have_destructor;
static _Thread_local struct contexts *mine;

static void free_contexts(void *user)
{
    struct contexts *contexts = user;

    if (!contexts)
        return;
    EVP_MD_CTX_free(contexts->sha1);
    EVP_MD_CTX_free(contexts->sha256);
    EVP_MAC_CTX_free(contexts->hmac);
    OPENSSL_free(contexts);
}

static void make_destructor(void)
{
    have_destructor = CRYPTO_THREAD_init_local(&at_thread_end, free_contexts) == 1;
}

static int init_hmac(EVP_MAC_CTX *hmac)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};

    return EVP_MAC_CTX_set_params(hmac, params);
}

static struct contexts *new_contexts(void)
{
    const struct skep_ossl *ossl = skep_ossl_get();
    struct contexts *made = OPENSSL_zalloc(sizeof *made);

    if (!made)
        return NULL;
    made->sha1 = EVP_MD_CTX_new();
    made->sha256 = EVP_MD_CTX_new();
    made->hmac = EVP_MAC_CTX_new(ossl->hmac);
    if (!made->sha1 || !made->sha256 || !made->hmac ||
        !EVP_DigestInit_ex2(made->sha1, ossl->sha1, NULL) ||
        !EVP_DigestInit_ex2(made->sha256, ossl->sha256, NULL) || !init_hmac(made->hmac) ||
        !CRYPTO_THREAD_run_once(&once, make_destructor) || !have_destructor ||
        !CRYPTO_THREAD_set_local(&at_thread_end, made)) {
        free_contexts(made);
        return NULL;
    }
    return made;
}

/* A hash has no way to fail that a caller could handle, so running out of memory here ends the process. */
static struct contexts *contexts_of_thread(void)
{
    if (!mine)
        mine = new_contexts();
    if (!mine)
        abort();
    return mine;
}

static void digest(EVP_MD_CTX *ctx, uint8_t *out, skep_bytes a, skep_bytes b)
{
    if (!EVP_DigestInit_ex2(ctx, NULL, NULL) ||
        (a.len > 0 && !EVP_DigestUpdate(ctx, a.data, a.len)) ||
        (b.len > 0 && !EVP_DigestUpdate(ctx, b.data, b.len)) || !EVP_DigestFinal_ex(ctx, out, NULL))
        abort();
}

void skep_sha1(uint8_t out[SKEP_SHA1_LEN], skep_bytes data)
{
    digest(contexts_of_thread()->sha1, out, data, (skep_bytes){0});
}

void skep_sha256(uint8_t out[SKEP_SHA256_LEN], skep_bytes data)
{
    digest(contexts_of_thread()->sha256, out, data, (skep_bytes){0});
}

void skep_sha256_pair(uint8_t out[SKEP_SHA256_LEN], skep_bytes a, skep_bytes b)
{
    digest(contexts_of_thread()->sha256, out, a, b);
}

static int hmac_sha256(EVP_MAC_CTX *ctx, uint8_t out[SKEP_SHA256_LEN],
                       const uint8_t key[SKEP_SHA256_LEN], skep_bytes data)
{
    size_t len;

    if (!EVP_MAC_init(ctx, key, SKEP_SHA256_LEN, NULL) ||
        (data.len > 0 && !EVP_MAC_update(ctx, data.data, data.len)) ||
        !EVP_MAC_final(ctx, out, &len, SKEP_SHA256_LEN))
        return SKEP_ECRYPTO;
    return 0;
}

int skep_hkdf2(uint8_t out1[SKEP_SHA256_LEN], uint8_t out2[SKEP_SHA256_LEN],
               const uint8_t chaining_key[SKEP_SHA256_LEN], skep_bytes input_key_material)
{
    EVP_MAC_CTX *hmac = contexts_of_thread()->hmac;
    uint8_t temp_key[SKEP_SHA256_LEN], first[SKEP_SHA256_LEN + 1];
    int rc;

    if ((rc = hmac_sha256(hmac, temp_key, chaining_key, input_key_material)) < 0)
        goto out;
    first[0] = 1;
    if ((rc = hmac_sha256(hmac, out1, temp_key, skep_bytes_of(first, 1))) < 0)
        goto out;
    memcpy(first, out1, SKEP_SHA256_LEN);
    first[SKEP_SHA256_LEN] = 2;
    rc = hmac_sha256(hmac, out2, temp_key, skep_bytes_of(first, sizeof first));
out:
    skep_secret_wipe(temp_key, sizeof temp_key);
    skep_secret_wipe(first, sizeof first);
    if (rc < 0) {
        skep_secret_wipe(out1, SKEP_SHA256_LEN);
        skep_secret_wipe(out2, SKEP_SHA256_LEN);
    }
    return rc;
}
