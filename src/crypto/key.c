/* SPDX-License-Identifier: MIT */
/* Private keys and the encodings they are kept in: raw Ed25519, PKCS#1 DER, PEM, SubjectPublicKeyInfo, OpenSSH. */
#include "crypto/key.h"

#include <limits.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/limits.h"
#include "crypto/ossl.h"
#include "crypto/secret.h"

enum { EXPONENT_BITS_MAX = 31 };

/* A huge exponent makes each verification as dear as a signature; Go refuses those above 31 bits, and even ones are no RSA. */
bool skep_rsa_usable(const EVP_PKEY *pkey)
{
    BIGNUM *e = NULL;
    int bits = EVP_PKEY_get_bits(pkey);
    bool usable;

    if (!EVP_PKEY_is_a(pkey, "RSA") || bits < SKEP_RSA_BITS_MIN || bits > SKEP_RSA_BITS_MAX)
        return false;
    if (!EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e))
        return false;
    usable = BN_is_odd(e) && !BN_is_one(e) && BN_num_bits(e) <= EXPONENT_BITS_MAX;
    BN_free(e);
    return usable;
}

/* Takes pkey over. */
static int wrap(struct skep_private_key **out, const struct skep_mem *mem, EVP_PKEY *pkey,
                enum skep_key_type type)
{
    struct skep_private_key *key = skep_mem_alloc(mem, sizeof *key);

    if (!key) {
        EVP_PKEY_free(pkey);
        return SKEP_ENOMEM;
    }
    *key = (struct skep_private_key){pkey, type, mem};
    *out = key;
    return 0;
}

static int wrap_if_usable(struct skep_private_key **out, const struct skep_mem *mem, EVP_PKEY *pkey)
{
    if (pkey && EVP_PKEY_is_a(pkey, "ED25519"))
        return wrap(out, mem, pkey, SKEP_KEY_ED25519);
    if (pkey && skep_rsa_usable(pkey))
        return wrap(out, mem, pkey, SKEP_KEY_RSA);
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return SKEP_EKEY;
}

int skep_private_key_from_ed25519(struct skep_private_key **out, const struct skep_mem *mem,
                                  const uint8_t seed[SKEP_ED25519_LEN])
{
    EVP_PKEY *pkey;

    *out = NULL;
    skep_ossl_get();
    pkey = EVP_PKEY_new_raw_private_key_ex(NULL, "ED25519", NULL, seed, SKEP_ED25519_LEN);
    if (!pkey)
        return SKEP_ECRYPTO;
    return wrap(out, mem, pkey, SKEP_KEY_ED25519);
}

int skep_private_key_from_rsa_der(struct skep_private_key **out, const struct skep_mem *mem,
                                  skep_bytes der)
{
    const unsigned char *at = der.data;
    size_t left = der.len;
    OSSL_DECODER_CTX *ctx;
    EVP_PKEY *pkey = NULL;

    *out = NULL;
    skep_ossl_get();
    if (der.len == 0 || der.len > SKEP_KEY_TEXT_MAX)
        return SKEP_EKEY;
    ctx = OSSL_DECODER_CTX_new_for_pkey(&pkey, "DER", "type-specific", "RSA", EVP_PKEY_KEYPAIR,
                                        NULL, NULL);
    if (!ctx)
        return SKEP_ECRYPTO;
    if (!OSSL_DECODER_from_data(ctx, &at, &left) || left > 0) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    OSSL_DECODER_CTX_free(ctx);
    return wrap_if_usable(out, mem, pkey);
}

/* An encrypted file must not make OpenSSL ask the terminal for its password. */
static int no_password(char *buf, int size, int writing, void *user)
{
    (void)buf, (void)size, (void)writing, (void)user;
    return -1;
}

int skep_private_key_from_pem(struct skep_private_key **out, const struct skep_mem *mem,
                              skep_bytes pem)
{
    EVP_PKEY *pkey;
    BIO *bio;

    *out = NULL;
    skep_ossl_get();
    if (pem.len == 0 || pem.len > SKEP_KEY_TEXT_MAX)
        return SKEP_EKEY;
    bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    if (!bio)
        return SKEP_ENOMEM;
    pkey = PEM_read_bio_PrivateKey_ex(bio, NULL, no_password, NULL, NULL, NULL);
    BIO_free(bio);
    return wrap_if_usable(out, mem, pkey);
}

int skep_private_key_new_rsa(struct skep_private_key **out, const struct skep_mem *mem,
                             unsigned bits)
{
    EVP_PKEY *pkey;

    *out = NULL;
    skep_ossl_get();
    if (bits < SKEP_RSA_BITS_MIN || bits > SKEP_RSA_BITS_MAX)
        return SKEP_EKEY;
    pkey = EVP_RSA_gen(bits);
    if (!pkey)
        return SKEP_ECRYPTO;
    return wrap(out, mem, pkey, SKEP_KEY_RSA);
}

void skep_private_key_free(struct skep_private_key *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey); /* wipes */
    skep_mem_free(key->mem, key);
}

enum skep_key_type skep_private_key_type(const struct skep_private_key *key)
{
    return key->type;
}

/* DER that OpenSSL allocated, appended and freed. */
static int put_der(struct skep_buf *data, unsigned char *der, int len)
{
    if (len < 0)
        return SKEP_ECRYPTO;
    skep_buf_put(data, der, (size_t)len);
    OPENSSL_clear_free(der, (size_t)len);
    return data->rc;
}

int skep_private_key_public(const struct skep_private_key *key, struct skep_buf *data)
{
    uint8_t raw[SKEP_ED25519_LEN];
    size_t len = sizeof raw;
    unsigned char *der = NULL;

    if (key->type == SKEP_KEY_RSA) {
        int der_len = i2d_PUBKEY(key->pkey, &der);

        return put_der(data, der, der_len);
    }
    if (!EVP_PKEY_get_raw_public_key(key->pkey, raw, &len))
        return SKEP_ECRYPTO;
    skep_buf_put(data, raw, len);
    return data->rc;
}

int skep_private_key_export(const struct skep_private_key *key, struct skep_buf *data)
{
    uint8_t raw[2 * SKEP_ED25519_LEN];
    size_t seed_len = SKEP_ED25519_LEN, public_len = SKEP_ED25519_LEN;
    unsigned char *der = NULL;
    int rc = SKEP_ECRYPTO;

    if (key->type == SKEP_KEY_RSA) {
        int der_len = i2d_PrivateKey(key->pkey, &der);

        return put_der(data, der, der_len);
    }
    if (EVP_PKEY_get_raw_private_key(key->pkey, raw, &seed_len) &&
        EVP_PKEY_get_raw_public_key(key->pkey, raw + SKEP_ED25519_LEN, &public_len)) {
        skep_buf_put(data, raw, sizeof raw);
        rc = data->rc;
    }
    skep_secret_wipe(raw, sizeof raw);
    return rc;
}

/* RFC 4251, section 5: a string is its length and its bytes; an mpint is signed, so a set top bit needs a zero in front. */
static int put_mpint(struct skep_buf *blob, const EVP_PKEY *pkey, const char *name)
{
    BIGNUM *v = NULL;
    size_t len;
    uint8_t *to;

    if (!EVP_PKEY_get_bn_param(pkey, name, &v))
        return SKEP_ECRYPTO;
    len = (size_t)BN_num_bits(v) / 8 + 1;
    skep_buf_put_be32(blob, (uint32_t)len);
    to = skep_buf_reserve(blob, len);
    if (to && BN_bn2binpad(v, to, (int)len) >= 0)
        blob->len += len;
    BN_free(v);
    return blob->rc;
}

int skep_private_key_openssh(const struct skep_private_key *key, struct skep_buf *text)
{
    struct skep_buf blob;
    int rc;

    if (key->type != SKEP_KEY_RSA)
        return SKEP_EKEY;
    skep_buf_init(&blob, text->mem);
    skep_buf_put_be32(&blob, 7);
    skep_buf_put_str(&blob, "ssh-rsa");
    if ((rc = put_mpint(&blob, key->pkey, OSSL_PKEY_PARAM_RSA_E)) < 0)
        goto out;
    if ((rc = put_mpint(&blob, key->pkey, OSSL_PKEY_PARAM_RSA_N)) < 0)
        goto out;
    skep_buf_put_str(text, "ssh-rsa ");
    skep_base64_encode(text, skep_buf_view(&blob));
    rc = text->rc;
out:
    skep_buf_fini(&blob);
    return rc;
}

static bool take_string(skep_bytes *in, skep_bytes *out)
{
    uint32_t len;

    if (in->len < 4)
        return false;
    len = skep_get_be32(skep_bytes_take(in, 4).data);
    if (len > in->len)
        return false;
    *out = skep_bytes_take(in, len);
    return true;
}

static EVP_PKEY *rsa_of_numbers(skep_bytes e, skep_bytes n)
{
    BIGNUM *bn_e = BN_bin2bn(e.data, (int)e.len, NULL), *bn_n = BN_bin2bn(n.data, (int)n.len, NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    OSSL_PARAM *params = NULL;
    EVP_PKEY *pkey = NULL;

    if (bn_e && bn_n && build && ctx &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, bn_e) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, bn_n) &&
        (params = OSSL_PARAM_BLD_to_param(build)) && EVP_PKEY_fromdata_init(ctx) > 0 &&
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        pkey = NULL;
    OSSL_PARAM_free(params);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_BLD_free(build);
    BN_free(bn_n);
    BN_free(bn_e);
    return pkey;
}

/* A positive mpint: not empty, sign bit clear, and no longer than a number that could pass. */
static bool is_positive(skep_bytes mpint)
{
    return mpint.len > 0 && mpint.len <= SKEP_RSA_BITS_MAX / 8 + 1 && mpint.data[0] < 0x80;
}

EVP_PKEY *skep_rsa_of_openssh(const struct skep_mem *mem, skep_bytes text)
{
    static const char lead[] = "ssh-rsa ";
    skep_bytes blob, name, e, n;
    struct skep_buf buf;
    EVP_PKEY *pkey = NULL;

    skep_ossl_get();
    if (!skep_bytes_equal(skep_bytes_take(&text, sizeof lead - 1), skep_bytes_str(lead)) ||
        text.len > SKEP_KEY_TEXT_MAX)
        return NULL;
    skep_buf_init(&buf, mem);
    if (skep_base64_decode(&buf, text) < 0)
        goto out;
    blob = skep_buf_view(&buf);
    if (!take_string(&blob, &name) || !skep_bytes_equal(name, skep_bytes_str("ssh-rsa")) ||
        !take_string(&blob, &e) || !take_string(&blob, &n) || blob.len > 0 || !is_positive(e) ||
        !is_positive(n))
        goto out;
    pkey = rsa_of_numbers(e, n);
    if (pkey && !skep_rsa_usable(pkey)) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
out:
    skep_buf_fini(&buf);
    return pkey;
}
