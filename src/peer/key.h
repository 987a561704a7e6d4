/* SPDX-License-Identifier: MIT */
/* libp2p's key messages, and identity files as hivemind's `identity_path` has them. Spec: libp2p peer-ids, "Keys".
 *   PublicKey / PrivateKey { 1 type varint, 2 data bytes } */
#ifndef SKEP_PEER_KEY_H
#define SKEP_PEER_KEY_H

#include "base/limits.h"
#include "peer/peer_id.h"

/** A node's own identity. */
struct skep_identity {
    struct skep_private_key *key;
    struct skep_buf public_key; /* the serialized PublicKey message */
    struct skep_peer_id id;
};

/** Takes `key` over, also on failure. @return 0, SKEP_ENOMEM, SKEP_ECRYPTO. */
int skep_identity_init(struct skep_identity *identity, const struct skep_mem *mem,
                       struct skep_private_key *key);
/** A new Ed25519 identity from a seed of 32 random bytes. */
int skep_identity_from_seed(struct skep_identity *identity, const struct skep_mem *mem,
                            const uint8_t seed[SKEP_ED25519_LEN]);
void skep_identity_fini(struct skep_identity *identity);

/** The bytes of an identity file: a PrivateKey message. @return 0; SKEP_EKEY. */
int skep_identity_parse(struct skep_identity *identity, const struct skep_mem *mem,
                        skep_bytes file);
int skep_identity_serialize(const struct skep_identity *identity, struct skep_buf *file);

/** Split a PublicKey message. @return 0; SKEP_EPEER_AUTH: malformed or of an unknown type. */
int skep_public_key_parse(skep_bytes message, enum skep_key_type *type, skep_bytes *data);

/** Verify a libp2p signature by the key in a PublicKey message. @return 0 or SKEP_EPEER_AUTH. */
int skep_public_key_verify(skep_bytes message, skep_bytes signed_data, skep_bytes signature);

#endif
