/* SPDX-License-Identifier: MIT */
/* Signing and verifying. Specs: libp2p peer-ids, "Keys"; RFC 8032 (Ed25519), RFC 8017 (RSA), FIPS 186-5 (ECDSA). */
#include "crypto/key.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/limits.h"
#include "crypto/hash.h"
#include "crypto/ossl.h"

enum { KEY_DATA_MAX = 2048, ED25519_SIGNATURE_LEN = 64, SECP256K1_LEN = 33 };

/* EMSA-PSS of RFC 8017, 9.1: emLen = ceil((modulus bits - 1) / 8), of which a hash and two bytes are not salt. */
static int greatest_salt_len(const EVP_PKEY *pkey)
{
    return (EVP_PKEY_get_bits(pkey) - 1 + 7) / 8 - SKEP_SHA256_LEN - 2;
}

static bool set_pss(EVP_PKEY_CTX *ctx, const EVP_PKEY *pkey)
{
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, skep_ossl_get()->sha256) > 0 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, greatest_salt_len(pkey)) > 0;
}

static int sign_with(const struct skep_private_key *key, bool pss, skep_bytes message,
                     struct skep_buf *signature)
{
    const char *digest = key->type == SKEP_KEY_RSA ? "SHA256" : NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    size_t len = SKEP_SIGNATURE_LEN_MAX;
    uint8_t *to = skep_buf_reserve(signature, len);
    int rc = SKEP_ECRYPTO;

    if (!to || !ctx) {
        rc = SKEP_ENOMEM;
        goto out;
    }
    if (EVP_DigestSignInit_ex(ctx, &pctx, digest, NULL, NULL, key->pkey, NULL) <= 0 ||
        (pss && !set_pss(pctx, key->pkey)) ||
        EVP_DigestSign(ctx, to, &len, message.data, message.len) <= 0)
        goto out;
    signature->len += len;
    rc = 0;
out:
    EVP_MD_CTX_free(ctx);
    if (rc < 0)
        ERR_clear_error();
    return rc;
}

int skep_sign(const struct skep_private_key *key, skep_bytes message, struct skep_buf *signature)
{
    return sign_with(key, false, message, signature);
}

int skep_sign_pss(const struct skep_private_key *key, skep_bytes message,
                  struct skep_buf *signature)
{
    if (key->type != SKEP_KEY_RSA)
        return SKEP_EKEY;
    return sign_with(key, true, message, signature);
}

static int verify_with(EVP_PKEY *pkey, const char *digest, bool pss, skep_bytes message,
                       skep_bytes signature)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    int rc = SKEP_EPEER_AUTH;

    if (ctx && EVP_DigestVerifyInit_ex(ctx, &pctx, digest, NULL, NULL, pkey, NULL) > 0 &&
        (!pss || set_pss(pctx, pkey)) &&
        EVP_DigestVerify(ctx, signature.data, signature.len, message.data, message.len) == 1)
        rc = 0;
    EVP_MD_CTX_free(ctx);
    return rc;
}

/* The y coordinates of the points of order 1, 2, 4 and 8, and those of them that can be written a second way (y + p).
 * With such a key a signature can be made to fit any message. Compared without the sign bit. */
static const uint8_t small_order[][SKEP_ED25519_LEN] = {
    {0x00},
    {0x01},
    {0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4,
     0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6,
     0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
    {0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b,
     0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39,
     0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
    {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    {0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    {0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
};

static bool has_small_order(const uint8_t point[SKEP_ED25519_LEN])
{
    for (size_t i = 0; i < SKEP_COUNT_OF(small_order); i++)
        if (memcmp(point, small_order[i], SKEP_ED25519_LEN - 1) == 0 &&
            (point[SKEP_ED25519_LEN - 1] & 0x7f) == small_order[i][SKEP_ED25519_LEN - 1])
            return true;
    return false;
}

static EVP_PKEY *ed25519_key(skep_bytes data)
{
    if (data.len != SKEP_ED25519_LEN || has_small_order(data.data))
        return NULL;
    return EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, data.data, data.len);
}

/* SubjectPublicKeyInfo with nothing behind it. */
static EVP_PKEY *spki_key(skep_bytes data)
{
    const unsigned char *at = data.data;
    EVP_PKEY *pkey = d2i_PUBKEY_ex(NULL, &at, (long)data.len, NULL, NULL);

    if (pkey && at != data.data + data.len) {
        EVP_PKEY_free(pkey);
        return NULL;
    }
    return pkey;
}

static bool is_nist_curve(const EVP_PKEY *pkey)
{
    char name[32];

    if (!EVP_PKEY_is_a(pkey, "EC") || !EVP_PKEY_get_group_name(pkey, name, sizeof name, NULL))
        return false;
    return strcmp(name, "prime256v1") == 0 || strcmp(name, "secp384r1") == 0 ||
           strcmp(name, "secp521r1") == 0;
}

static EVP_PKEY *secp256k1_key(skep_bytes data)
{
    char group[] = "secp256k1";
    uint8_t point[SECP256K1_LEN];
    EVP_PKEY_CTX *ctx;
    EVP_PKEY *pkey = NULL;

    if (data.len != SECP256K1_LEN || (data.data[0] & 0xfe) != 2)
        return NULL;
    memcpy(point, data.data, sizeof point);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point),
        OSSL_PARAM_construct_end()};

    ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (ctx && EVP_PKEY_fromdata_init(ctx) > 0 &&
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        pkey = NULL;
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

static EVP_PKEY *public_key(enum skep_key_type type, skep_bytes data)
{
    EVP_PKEY *pkey = NULL;

    switch (type) {
    case SKEP_KEY_ED25519: return ed25519_key(data);
    case SKEP_KEY_SECP256K1: return secp256k1_key(data);
    case SKEP_KEY_RSA:
        pkey = spki_key(data);
        if (pkey && skep_rsa_usable(pkey))
            return pkey;
        break;
    case SKEP_KEY_ECDSA:
        pkey = spki_key(data);
        if (pkey && is_nist_curve(pkey))
            return pkey;
        break;
    }
    EVP_PKEY_free(pkey);
    return NULL;
}

int skep_verify(enum skep_key_type type, skep_bytes key_data, skep_bytes message,
                skep_bytes signature)
{
    EVP_PKEY *pkey;
    int rc = SKEP_EPEER_AUTH;

    if (key_data.len == 0 || key_data.len > KEY_DATA_MAX || signature.len == 0 ||
        signature.len > SKEP_SIGNATURE_LEN_MAX)
        return SKEP_EPEER_AUTH;
    if (type == SKEP_KEY_ED25519 && signature.len != ED25519_SIGNATURE_LEN)
        return SKEP_EPEER_AUTH;
    skep_ossl_get();
    pkey = public_key(type, key_data);
    if (pkey)
        rc = verify_with(pkey, type == SKEP_KEY_ED25519 ? NULL : "SHA256", false, message,
                         signature);
    EVP_PKEY_free(pkey);
    if (rc < 0)
        ERR_clear_error();
    return rc;
}

int skep_verify_pss(skep_bytes openssh, skep_bytes message, skep_bytes signature)
{
    EVP_PKEY *pkey;
    int rc = SKEP_EPEER_AUTH;

    if (signature.len == 0 || signature.len > SKEP_SIGNATURE_LEN_MAX)
        return SKEP_EPEER_AUTH;
    pkey = skep_rsa_of_openssh(&skep_mem_std, openssh);
    if (pkey)
        rc = verify_with(pkey, "SHA256", true, message, signature);
    EVP_PKEY_free(pkey);
    if (rc < 0)
        ERR_clear_error();
    return rc;
}
