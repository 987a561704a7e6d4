/* SPDX-License-Identifier: MIT */
/* ChaCha20-Poly1305 with a key set once and a nonce a call; seals and opens in place. */
#ifndef SKEP_CRYPTO_AEAD_H
#define SKEP_CRYPTO_AEAD_H

#include "base/bytes.h"

enum { SKEP_AEAD_KEY_LEN = 32, SKEP_AEAD_NONCE_LEN = 12, SKEP_AEAD_TAG_LEN = 16 };

struct skep_aead {
    void *ctx; /* OpenSSL's, both directions' key schedule */
};

/** @return 0 or SKEP_ECRYPTO. skep_aead_fini() wipes and frees; harmless on a zeroed struct. */
int skep_aead_init(struct skep_aead *aead, const uint8_t key[SKEP_AEAD_KEY_LEN]);
void skep_aead_fini(struct skep_aead *aead);

/** Encrypt `len` bytes at `data` where they are; the tag goes behind them (16 bytes of room). `counter` is the nonce as
 *  Noise counts it: 4 zero bytes, then 64 bits little endian. @return 0 or SKEP_ECRYPTO. */
int skep_aead_seal(struct skep_aead *aead, uint64_t counter, skep_bytes associated, uint8_t *data,
                   size_t len);

/** Decrypt len bytes in place, the last 16 of which are the tag. @return 0 or SKEP_EPEER_AUTH. */
int skep_aead_open(struct skep_aead *aead, uint64_t counter, skep_bytes associated, uint8_t *data,
                   size_t len);

#endif
