/* SPDX-License-Identifier: MIT */
/* OpenSSL's algorithms, fetched once a process: a fetch by name in every call costs more than a short hash.
 * For the files of crypto/ only. */
#ifndef SKEP_CRYPTO_OSSL_H
#define SKEP_CRYPTO_OSSL_H

#include <openssl/evp.h>

struct skep_ossl {
    EVP_MD *sha1, *sha256;
    EVP_CIPHER *chacha20_poly1305;
    EVP_MAC *hmac;
};

/** Fetched on first use, on any thread. Aborts where OpenSSL lacks them or memory runs out: there is no skep without. */
const struct skep_ossl *skep_ossl_get(void);

#endif
