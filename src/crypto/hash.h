/* SPDX-License-Identifier: MIT */
/* SHA-1, SHA-256, HMAC-SHA-256 and Noise's HKDF, from OpenSSL, without an allocation a call. */
#ifndef SKEP_CRYPTO_HASH_H
#define SKEP_CRYPTO_HASH_H

#include "base/bytes.h"

enum { SKEP_SHA1_LEN = 20, SKEP_SHA256_LEN = 32 };

void skep_sha1(uint8_t out[SKEP_SHA1_LEN], skep_bytes data);
void skep_sha256(uint8_t out[SKEP_SHA256_LEN], skep_bytes data);

/** SHA-256 of a followed by b. */
void skep_sha256_pair(uint8_t out[SKEP_SHA256_LEN], skep_bytes a, skep_bytes b);

/** HKDF of the Noise specification, section 4.3, with two outputs.
 *  @return 0 or SKEP_ECRYPTO. */
int skep_hkdf2(uint8_t out1[SKEP_SHA256_LEN], uint8_t out2[SKEP_SHA256_LEN],
               const uint8_t chaining_key[SKEP_SHA256_LEN], skep_bytes input_key_material);

#endif
