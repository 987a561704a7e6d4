/* SPDX-License-Identifier: MIT */
#ifndef SKEP_CRYPTO_X25519_H
#define SKEP_CRYPTO_X25519_H

#include "base/bytes.h"

enum { SKEP_X25519_LEN = 32 };

/** The public key of a private key of 32 random bytes. @return 0 or SKEP_ECRYPTO. */
int skep_x25519_public(uint8_t public_key[SKEP_X25519_LEN],
                       const uint8_t private_key[SKEP_X25519_LEN]);

/** Diffie-Hellman. @return 0; SKEP_EPEER_AUTH when the result is all zero (a low-order point); SKEP_ECRYPTO. */
int skep_x25519(uint8_t shared[SKEP_X25519_LEN], const uint8_t private_key[SKEP_X25519_LEN],
                const uint8_t public_key[SKEP_X25519_LEN]);

#endif
