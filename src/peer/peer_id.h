/* SPDX-License-Identifier: MIT */
/* Peer ids: the multihash of a peer's public key. Spec: libp2p peer-ids. */
#ifndef SKEP_PEER_ID_H
#define SKEP_PEER_ID_H

#include "base/bytes.h"
#include "crypto/sign.h"

enum {
    SKEP_PEER_ID_LEN_MAX = 47,    /* identity multihash of a key message of up to 42 bytes: 44 */
    SKEP_PEER_ID_TEXT_MAX = 80,   /* base58 text and its terminator */
    SKEP_PEER_ID_INLINE_MAX = 42, /* a longer key message is hashed with SHA-256 */
};

struct skep_peer_id {
    uint8_t len; /* 0: none */
    uint8_t bytes[SKEP_PEER_ID_LEN_MAX];
};

static inline skep_bytes skep_peer_id_view(const struct skep_peer_id *id)
{
    return skep_bytes_of(id->bytes, id->len);
}

static inline bool skep_peer_id_equal(const struct skep_peer_id *a, const struct skep_peer_id *b)
{
    return skep_bytes_equal(skep_peer_id_view(a), skep_peer_id_view(b));
}

/** From a serialized PublicKey message. */
void skep_peer_id_from_public_key(struct skep_peer_id *out, skep_bytes public_key_message);

/** From raw multihash bytes: identity of at most 42 bytes, or sha2-256 of 32. The unused tail is zeroed, so that the struct can be
 *  a map key. @return 0 or SKEP_EPEERID. */
int skep_peer_id_from_bytes(struct skep_peer_id *out, skep_bytes bytes);

/** From base58btc text ("12D3Koo…", "Qm…") or a CIDv1 with the libp2p-key codec ("bafz…" base32, "k51…" base36).
 *  @return 0 or SKEP_EPEERID. */
int skep_peer_id_from_text(struct skep_peer_id *out, skep_bytes text);

/** As hivemind reads it: base58btc only. This is on the path of every search, and is fast. */
int skep_peer_id_from_base58(struct skep_peer_id *out, skep_bytes text);

/** Base58btc, terminated; `out` holds SKEP_PEER_ID_TEXT_MAX. @return `out`. */
char *skep_peer_id_text(char *out, const struct skep_peer_id *id);

/** The public key inside an identity multihash. @return false if the id is a hash. */
bool skep_peer_id_inline_key(const struct skep_peer_id *id, skep_bytes *public_key_message);

#endif
