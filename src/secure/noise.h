/* SPDX-License-Identifier: MIT */
/* libp2p's Noise: XX_25519_ChaChaPoly_SHA256, empty prologue, the dialler initiates. Specs: noiseprotocol.org r34; libp2p noise r5.
 *
 * On the wire every message is preceded by its length, 2 bytes big endian.
 *
 * Handshake: feed whole messages to skep_noise_handshake() until it says it is done. Then frames are opened and sealed in place. */
#ifndef SKEP_SECURE_NOISE_H
#define SKEP_SECURE_NOISE_H

#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/x25519.h"
#include "env/env.h"
#include "peer/key.h"

enum {
    SKEP_NOISE_LENGTH_LEN = 2,
    SKEP_NOISE_MESSAGE_MAX = 65535,                                        /* without the length */
    SKEP_NOISE_PLAINTEXT_MAX = SKEP_NOISE_MESSAGE_MAX - SKEP_AEAD_TAG_LEN, /* 65519 */
    SKEP_NOISE_OVERHEAD = SKEP_NOISE_LENGTH_LEN + SKEP_AEAD_TAG_LEN,
};

struct skep_noise;

/** @param identity  borrowed for the life of the channel. @param expected  the peer that was dialled, or NULL (copied). */
int skep_noise_new(struct skep_noise **out, struct skep_env *env,
                   const struct skep_identity *identity, bool is_initiator,
                   const struct skep_peer_id *expected);

/** For vectors: fixed static and ephemeral private keys instead of the env's entropy. Before the handshake starts. */
void skep_noise_fix_keys(struct skep_noise *noise, const uint8_t static_key[SKEP_X25519_LEN],
                         const uint8_t ephemeral_key[SKEP_X25519_LEN]);

/** For vectors: the handshake hash h, once done (a channel binding; not secret). */
const uint8_t *skep_noise_handshake_hash(const struct skep_noise *noise);

/** For tests of nonce exhaustion: continue from these counters. Once done. */
void skep_noise_set_counters(struct skep_noise *noise, uint64_t send_counter,
                             uint64_t receive_counter);

/** For the peer whose own payload has no extensions (a.2). Before the handshake starts. */
void skep_noise_no_extensions(struct skep_noise *noise);

/** Wipes all keys. */
void skep_noise_free(struct skep_noise *noise);

/** Move the handshake on: call with empty `in` to start (the initiator sends first), then with received bytes; moves `in` past the
 *  messages used (framed; cut-off messages are left in `in`), appends framed answers to `out`.
 *  @return 1 done; 0 more is needed; SKEP_EPEER_AUTH, SKEP_EPEER_FRAME, SKEP_EPEER_LIMIT, SKEP_ECRYPTO, SKEP_ENOMEM; an error is for good.
 *  Right after `done` the rest of `in` are transport frames. */
int skep_noise_handshake(struct skep_noise *noise, skep_bytes *in, struct skep_buf *out);

/** Once done: who it is, and the muxer both sides agreed on early: "/yamux/1.0.0", or NULL (then multistream-select decides). */
const struct skep_peer_id *skep_noise_peer(const struct skep_noise *noise);
skep_bytes skep_noise_peer_key(const struct skep_noise *noise); /* its PublicKey message */
const char *skep_noise_muxer(const struct skep_noise *noise);

/** Seal in place: `frame` holds 2 bytes of room, len plaintext bytes (at most SKEP_NOISE_PLAINTEXT_MAX), 16 bytes of room.
 *  @return the frame's length, len + SKEP_NOISE_OVERHEAD; SKEP_ECRYPTO (also before the nonces run out). */
ptrdiff_t skep_noise_seal(struct skep_noise *noise, uint8_t *frame, size_t len);

/** Open the first whole frame of data[0..len) in place.
 *  @return bytes of `data` used, with *plaintext inside it; 0: not whole yet; SKEP_EPEER_AUTH, SKEP_EPEER_FRAME (shorter than a tag),
 *  SKEP_ECRYPTO (nonces used up); an error is for good. */
ptrdiff_t skep_noise_open(struct skep_noise *noise, uint8_t *data, size_t len,
                          skep_bytes *plaintext);

#endif
