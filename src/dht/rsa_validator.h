/* SPDX-License-Identifier: MIT */
/* hivemind's signed records: whose key or subkey holds "[owner:ssh-rsa AAAA…]" is only accepted with "[signature:BASE64]" of that owner at its value.
 * docs/wire.md c.6; hivemind dht/crypto.py. */
#ifndef SKEP_DHT_RSA_VALIDATOR_H
#define SKEP_DHT_RSA_VALIDATOR_H

#include "crypto/sign.h"
#include "dht/validator.h"

struct skep_rsa_validator {
    struct skep_validator base;
    const struct skep_mem *mem;
    const struct skep_private_key *key; /* borrowed; NULL: checks only, signs nothing */
    struct skep_buf owner_mark; /* "[owner:ssh-rsa AAAA…]" of that key; empty without one */
};

/** @param key  RSA, borrowed; NULL to check only. @return 0; SKEP_EKEY (not RSA), SKEP_ENOMEM, SKEP_ECRYPTO. */
int skep_rsa_validator_init(struct skep_rsa_validator *validator, const struct skep_mem *mem,
                            const struct skep_private_key *key);
void skep_rsa_validator_fini(struct skep_rsa_validator *validator);

/** The mark to put into a key or subkey that only we may write. */
static inline skep_bytes skep_rsa_validator_owner_mark(const struct skep_rsa_validator *validator)
{
    return skep_buf_view(&validator->owner_mark);
}

/** The next mark `[name:…]` in *in, as the regular expression `\[name:(.+?)\]` finds it; *in moves behind it. For tests and fuzzing.
 *  @param open      "[owner:" or "[signature:".
 *  @param whole     receives the mark with its brackets. @param content  what is between the colon and the bracket.
 *  @return false: no more. */
bool skep_rsa_next_mark(skep_bytes *in, const char *open, skep_bytes *whole, skep_bytes *content);

#endif
