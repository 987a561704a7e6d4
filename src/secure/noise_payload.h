/* SPDX-License-Identifier: MIT */
/* What libp2p puts into Noise's handshake messages 2 and 3: who we are, proven for this static key, and the muxers we speak.
 * Spec: libp2p noise r5, "Libp2p Data in Handshake Messages"; docs/wire.md a.2.
 *
 *   NoiseHandshakePayload { 1 identity_key bytes, 2 identity_sig bytes, 4 extensions { 2 stream_muxers repeated string } }
 *
 * Left out: webtransport certificate hashes (extension 1) are skipped. */
#ifndef SKEP_SECURE_NOISE_PAYLOAD_H
#define SKEP_SECURE_NOISE_PAYLOAD_H

#include "crypto/x25519.h"
#include "peer/key.h"

#define SKEP_NOISE_MUXER "/yamux/1.0.0"

struct skep_noise_payload {
    skep_bytes identity_key; /* borrows from the message */
    skep_bytes identity_sig;
    bool has_muxer; /* its extensions list SKEP_NOISE_MUXER */
};

/** Append ours. @return 0, SKEP_ENOMEM, SKEP_ECRYPTO. */
int skep_noise_payload_encode(struct skep_buf *out, const struct skep_mem *mem,
                              const struct skep_identity *identity,
                              const uint8_t static_public[SKEP_X25519_LEN], bool with_extensions);

/** Read theirs. @return 0; SKEP_EPEER_FRAME (not such a message). */
int skep_noise_payload_decode(struct skep_noise_payload *payload, skep_bytes message);

/** Did the owner of identity_key sign this static key? @return 0 or SKEP_EPEER_AUTH. */
int skep_noise_payload_verify(const struct skep_noise_payload *payload,
                              const uint8_t static_public[SKEP_X25519_LEN]);

#endif
