/* SPDX-License-Identifier: MIT */
/* What the files of crypto/ share about keys; nobody else's business. */
#ifndef SKEP_CRYPTO_KEY_H
#define SKEP_CRYPTO_KEY_H

#include <openssl/evp.h>

#include "crypto/sign.h"

struct skep_private_key {
    EVP_PKEY *pkey;
    enum skep_key_type type;
    const struct skep_mem *mem;
};

/** An RSA key with a modulus of SKEP_RSA_BITS_MIN..MAX and an exponent that Go's crypto/rsa takes too? */
bool skep_rsa_usable(const EVP_PKEY *pkey);

/** The RSA key of "ssh-rsa AAAA…" (RFC 4253, section 6.6), or NULL. The caller frees it. */
EVP_PKEY *skep_rsa_of_openssh(const struct skep_mem *mem, skep_bytes text);

#endif
