/* SPDX-License-Identifier: MIT */
/* Signatures: Ed25519, RSA, ECDSA P-256/384/521 and secp256k1 keys, as libp2p uses them, and RSA-PSS for hivemind's signed records.
 * A key is opaque (OpenSSL's EVP_PKEY inside); its encodings are those of libp2p's key protobuf, see peer/key.h. */
#ifndef SKEP_CRYPTO_SIGN_H
#define SKEP_CRYPTO_SIGN_H

#include "base/bytes.h"

/* libp2p's numbers, peer-ids specification, "Keys" */
enum skep_key_type {
    SKEP_KEY_RSA = 0,
    SKEP_KEY_ED25519 = 1,
    SKEP_KEY_SECP256K1 = 2,
    SKEP_KEY_ECDSA = 3
};

enum { SKEP_ED25519_LEN = 32, SKEP_SIGNATURE_LEN_MAX = 1024 };

struct skep_private_key; /* Ed25519 or RSA */

/** From the 32-byte seed. @return 0, SKEP_ENOMEM, SKEP_ECRYPTO. */
int skep_private_key_from_ed25519(struct skep_private_key **out, const struct skep_mem *mem,
                                  const uint8_t seed[SKEP_ED25519_LEN]);

/** From PKCS#1 DER (RSAPrivateKey). @return 0; SKEP_EKEY (not one, or outside SKEP_RSA_BITS_MIN..MAX); SKEP_ENOMEM. */
int skep_private_key_from_rsa_der(struct skep_private_key **out, const struct skep_mem *mem,
                                  skep_bytes der);

/** From PEM ("RSA PRIVATE KEY" or "PRIVATE KEY"), as hivemind's crypto.py keeps them. */
int skep_private_key_from_pem(struct skep_private_key **out, const struct skep_mem *mem,
                              skep_bytes pem);

/** A new RSA key of `bits`. */
int skep_private_key_new_rsa(struct skep_private_key **out, const struct skep_mem *mem,
                             unsigned bits);

void skep_private_key_free(struct skep_private_key *key);
enum skep_key_type skep_private_key_type(const struct skep_private_key *key);

/** libp2p's `data` field of the public key: 32 raw bytes, or SubjectPublicKeyInfo DER for RSA. */
int skep_private_key_public(const struct skep_private_key *key, struct skep_buf *data);

/** libp2p's `data` field of the private key: seed ‖ public key (64 bytes), or PKCS#1 DER. Secret: wipe it. */
int skep_private_key_export(const struct skep_private_key *key, struct skep_buf *data);

/** OpenSSH text of an RSA key's public half, "ssh-rsa AAAA…" without comment. */
int skep_private_key_openssh(const struct skep_private_key *key, struct skep_buf *text);

/** As libp2p signs: plain Ed25519, or RSA PKCS#1 v1.5 with SHA-256. Appends the signature. */
int skep_sign(const struct skep_private_key *key, skep_bytes message, struct skep_buf *signature);

/** Verify as libp2p does. `key_data` is the data field of a libp2p public key of `type`.
 *  RSA: PKCS#1 v1.5 SHA-256, SPKI DER. Ed25519: 32 raw bytes, small-order points refused. ECDSA: SPKI DER, ASN.1 signature, SHA-256.
 *  secp256k1: compressed point of 33 bytes, ASN.1 DER signature, SHA-256.
 *  @return 0; SKEP_EPEER_AUTH (bad key or bad signature). */
int skep_verify(enum skep_key_type type, skep_bytes key_data, skep_bytes message,
                skep_bytes signature);

/** RSA-PSS, SHA-256, MGF1-SHA-256, salt of the greatest length: hivemind's signed records (docs/wire.md c.6). */
int skep_sign_pss(const struct skep_private_key *key, skep_bytes message,
                  struct skep_buf *signature);

/** `openssh`: "ssh-rsa AAAA…". The salt must have the greatest length. @return 0 or SKEP_EPEER_AUTH. */
int skep_verify_pss(skep_bytes openssh, skep_bytes message, skep_bytes signature);

/** Base64 with padding, as Python's b64encode; decode refuses what b64decode(validate=True) refuses. */
void skep_base64_encode(struct skep_buf *out, skep_bytes data);
int skep_base64_decode(struct skep_buf *out, skep_bytes text);

#endif
