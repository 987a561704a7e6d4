/* SPDX-License-Identifier: MIT */
/* Validators: what a record must be before it is stored or believed. docs/wire.md c.6; hivemind dht/validation.py.
 *
 * Signing goes through them by rising priority, each over what the one before it made; validating and stripping go the other way, each over
 * what is left when the one before it has taken its part off. They can come and go while the node runs. */
#ifndef SKEP_DHT_VALIDATOR_H
#define SKEP_DHT_VALIDATOR_H

#include "base/bytes.h"

/** What a validator sees of a record. */
struct skep_dht_signable {
    skep_bytes key;    /* as on the wire: the 20 bytes of the id */
    skep_bytes subkey; /* msgpack; `c0` for a plain value */
    skep_bytes value;
    double expiration_unix_s;
};

struct skep_validator;

struct skep_validator_class {
    const char *name;
    int priority; /* hivemind: 10 for signatures, 0 for schemas */
    /** @return 0; SKEP_EPEER_AUTH: the record is refused; SKEP_ENOMEM. */
    int (*validate)(struct skep_validator *validator, const struct skep_dht_signable *record);
    /** Put what the value becomes into `out` (empty, of the class's caller). May be NULL: never changes a value.
     *  @return 1 it is in `out`; 0 the value stays as it is; SKEP_ENOMEM, SKEP_ECRYPTO. */
    int (*sign)(struct skep_validator *validator, const struct skep_dht_signable *record,
                struct skep_buf *out);
    int (*strip)(struct skep_validator *validator, const struct skep_dht_signable *record,
                 struct skep_buf *out);
    /** Take the rules of `other` into this one instead of having it apply next to it (it is never called then). May be NULL: no. @return was it merged? */
    bool (*merge)(struct skep_validator *validator, const struct skep_validator *other);
};

/** Embed it first in a validator of your own; it must outlive its stay in a skep_validators. */
struct skep_validator {
    const struct skep_validator_class *class;
};

struct skep_validators {
    const struct skep_mem *mem;
    struct skep_validator *
        *list; /* [count], by rising priority, equal ones in the order they came */
    size_t count, cap;
};

void skep_validators_init(struct skep_validators *validators, const struct skep_mem *mem);
void skep_validators_fini(struct skep_validators *validators);

/** Borrow a validator, or have one that is there merge it. @return 1 borrowed, 0 merged; SKEP_EEXIST (this very one is there), SKEP_ENOMEM. */
int skep_validators_add(struct skep_validators *validators, struct skep_validator *validator);

/** @return was it there? */
bool skep_validators_remove(struct skep_validators *validators,
                            const struct skep_validator *validator);

/** @return 0 valid (also without validators); SKEP_EPEER_AUTH, SKEP_ENOMEM. */
int skep_validators_validate(const struct skep_validators *validators,
                             const struct skep_dht_signable *record);

/** The value to store for a record. @param scratch  an initialised writer; holds the bytes where they differ from the record's.
 *  @param value  receives a view of `scratch`, or the record's own value where nothing changes. @return 0, SKEP_ENOMEM, SKEP_ECRYPTO. */
int skep_validators_sign(const struct skep_validators *validators,
                         const struct skep_dht_signable *record, struct skep_buf *scratch,
                         skep_bytes *value);

/** The value to hand to the user of a record that is valid. As skep_validators_sign(). */
int skep_validators_strip(const struct skep_validators *validators,
                          const struct skep_dht_signable *record, struct skep_buf *scratch,
                          skep_bytes *value);

#endif
