/* SPDX-License-Identifier: MIT */
#include "crypto/aead.h"

#include <limits.h>

#include <openssl/err.h>

#include "crypto/ossl.h"

int skep_aead_init(struct skep_aead *aead, const uint8_t key[SKEP_AEAD_KEY_LEN])
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

    aead->ctx = NULL;
    if (!ctx)
        return SKEP_ECRYPTO;
    if (!EVP_EncryptInit_ex2(ctx, skep_ossl_get()->chacha20_poly1305, key, NULL, NULL)) {
        EVP_CIPHER_CTX_free(ctx);
        return SKEP_ECRYPTO;
    }
    aead->ctx = ctx;
    return 0;
}

void skep_aead_fini(struct skep_aead *aead)
{
    EVP_CIPHER_CTX_free(aead->ctx); /* wipes the key */
    aead->ctx = NULL;
}

/* The key stays; only the nonce and the direction are set. */
static bool begin(EVP_CIPHER_CTX *ctx, uint64_t counter, skep_bytes associated, int encrypt)
{
    uint8_t nonce[SKEP_AEAD_NONCE_LEN] = {0};
    int len;

    skep_put_le64(nonce + 4, counter);
    return EVP_CipherInit_ex2(ctx, NULL, NULL, nonce, encrypt, NULL) &&
           (associated.len == 0 ||
            EVP_CipherUpdate(ctx, NULL, &len, associated.data, (int)associated.len));
}

int skep_aead_seal(struct skep_aead *aead, uint64_t counter, skep_bytes associated, uint8_t *data,
                   size_t len)
{
    EVP_CIPHER_CTX *ctx = aead->ctx;
    int done;

    assert(len <= INT_MAX && associated.len <= INT_MAX);
    if (!ctx || !begin(ctx, counter, associated, 1) ||
        (len > 0 && !EVP_CipherUpdate(ctx, data, &done, data, (int)len)) ||
        !EVP_CipherFinal_ex(ctx, data + len, &done) ||
        !EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, SKEP_AEAD_TAG_LEN, data + len))
        return SKEP_ECRYPTO;
    return 0;
}

int skep_aead_open(struct skep_aead *aead, uint64_t counter, skep_bytes associated, uint8_t *data,
                   size_t len)
{
    EVP_CIPHER_CTX *ctx = aead->ctx;
    size_t text_len;
    int done;

    assert(len <= INT_MAX && associated.len <= INT_MAX);
    if (!ctx || len < SKEP_AEAD_TAG_LEN)
        return SKEP_EPEER_AUTH;
    text_len = len - SKEP_AEAD_TAG_LEN;
    if (!begin(ctx, counter, associated, 0) ||
        !EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, SKEP_AEAD_TAG_LEN, data + text_len) ||
        (text_len > 0 && !EVP_CipherUpdate(ctx, data, &done, data, (int)text_len)) ||
        !EVP_CipherFinal_ex(ctx, data + text_len, &done)) {
        memset(data, 0, len); /* nobody may look at a text that was not authentic */
        ERR_clear_error();
        return SKEP_EPEER_AUTH;
    }
    return 0;
}
