/* SPDX-License-Identifier: MIT */
/* Peer ids as multihashes and as text. Specs: libp2p peer-ids; multiformats multihash, multibase, CID. */
#include "peer/peer_id.h"

#include "crypto/hash.h"
#include "peer/base58.h"

/* Multihash codes and the bytes in front of the digest in a CIDv1 of codec libp2p-key (0x72). */
enum { IDENTITY = 0x00, SHA2_256 = 0x12, CID_VERSION = 0x01, CODEC_LIBP2P_KEY = 0x72 };

_Static_assert(SKEP_PEER_ID_TEXT_MAX > SKEP_PEER_ID_LEN_MAX * 138 / 100 + 1,
               "base58 takes log 256 / log 58 < 1.38 digits a byte");

void skep_peer_id_from_public_key(struct skep_peer_id *out, skep_bytes public_key_message)
{
    size_t len = public_key_message.len;

    memset(out, 0, sizeof *out);
    if (len <= SKEP_PEER_ID_INLINE_MAX) {
        out->bytes[0] = IDENTITY;
        out->bytes[1] = (uint8_t)len;
        skep_bytes_copy(out->bytes + 2, public_key_message);
        out->len = (uint8_t)(2 + len);
    } else {
        out->bytes[0] = SHA2_256;
        out->bytes[1] = SKEP_SHA256_LEN;
        skep_sha256(out->bytes + 2, public_key_message);
        out->len = 2 + SKEP_SHA256_LEN;
    }
}

/* Code and length are below 128, so each is one byte. */
static bool is_peer_multihash(skep_bytes bytes)
{
    if (bytes.len < 2 || bytes.data[1] != bytes.len - 2)
        return false;
    return (bytes.data[0] == IDENTITY && bytes.data[1] <= SKEP_PEER_ID_INLINE_MAX) ||
           (bytes.data[0] == SHA2_256 && bytes.data[1] == SKEP_SHA256_LEN);
}

int skep_peer_id_from_bytes(struct skep_peer_id *out, skep_bytes bytes)
{
    memset(out, 0, sizeof *out);
    if (!is_peer_multihash(bytes))
        return SKEP_EPEERID;
    out->len = (uint8_t)bytes.len;
    skep_bytes_copy(out->bytes, bytes);
    return 0;
}

int skep_peer_id_from_base58(struct skep_peer_id *out, skep_bytes text)
{
    uint8_t bytes[SKEP_PEER_ID_LEN_MAX];
    ptrdiff_t len = skep_base58_decode(bytes, sizeof bytes, text);

    return skep_peer_id_from_bytes(out, skep_bytes_of(bytes, len > 0 ? (size_t)len : 0));
}

/* Base32 of RFC 4648, lower case, no padding; the bits left over must be zero. @return the bytes, or -1. */
static ptrdiff_t decode_base32(uint8_t *out, size_t cap, skep_bytes text)
{
    uint32_t bits = 0;
    size_t count = 0, held = 0;

    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        int d = c >= 'a' && c <= 'z' ? c - 'a' : c >= '2' && c <= '7' ? c - '2' + 26 : -1;

        if (d < 0)
            return -1;
        bits = (bits << 5 | (uint32_t)d) & 0xfff;
        held += 5;
        if (held >= 8) {
            if (count == cap)
                return -1;
            held -= 8;
            out[count++] = (uint8_t)(bits >> held);
        }
    }
    return held >= 5 || (bits & ((1u << held) - 1)) != 0 ? -1 : (ptrdiff_t)count;
}

/* Base36, lower case: rare, so digit by digit over the bytes. @return the bytes, or -1. */
static ptrdiff_t decode_base36(uint8_t *out, size_t cap, skep_bytes text)
{
    size_t zeros = 0, len = 0;

    while (zeros < text.len && text.data[zeros] == '0')
        zeros++;
    if (zeros > cap)
        return -1;
    memset(out, 0, cap);
    for (size_t i = zeros; i < text.len; i++) {
        uint8_t c = text.data[i];
        unsigned carry;

        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z'))
            return -1;
        carry = c <= '9' ? c - (unsigned)'0' : c - 'a' + 10u;
        for (size_t j = 0; j < len; j++) {
            carry += out[cap - 1 - j] * 36u;
            out[cap - 1 - j] = (uint8_t)carry;
            carry >>= 8;
        }
        if (carry > 0 && zeros + len == cap)
            return -1;
        if (carry > 0)
            out[cap - 1 - len++] = (uint8_t)carry;
    }
    memmove(out + zeros, out + cap - len, len);
    memset(out, 0, zeros);
    return (ptrdiff_t)(zeros + len);
}

static int from_cid(struct skep_peer_id *out, skep_bytes text)
{
    uint8_t cid[2 + SKEP_PEER_ID_LEN_MAX];
    ptrdiff_t len = -1;
    skep_bytes digits = text;
    skep_bytes base = skep_bytes_take(&digits, 1);

    memset(out, 0, sizeof *out);
    if (base.len == 0 || digits.len > SKEP_BASE58_TEXT_MAX)
        return SKEP_EPEERID;
    switch (base.data[0]) {
    case 'b': len = decode_base32(cid, sizeof cid, digits); break;
    case 'k': len = decode_base36(cid, sizeof cid, digits); break;
    case 'z': len = skep_base58_decode(cid, sizeof cid, digits); break;
    default: break;
    }
    if (len < 2 || cid[0] != CID_VERSION || cid[1] != CODEC_LIBP2P_KEY)
        return SKEP_EPEERID;
    return skep_peer_id_from_bytes(out, skep_bytes_of(cid + 2, (size_t)len - 2));
}

/* peer-ids, "Decoding": what begins with "1" or "Qm" is bare base58, all else a CID. */
int skep_peer_id_from_text(struct skep_peer_id *out, skep_bytes text)
{
    if (text.len >= 2 && (text.data[0] == '1' || (text.data[0] == 'Q' && text.data[1] == 'm')))
        return skep_peer_id_from_base58(out, text);
    return from_cid(out, text);
}

char *skep_peer_id_text(char *out, const struct skep_peer_id *id)
{
    skep_base58_encode(out, skep_peer_id_view(id));
    return out;
}

bool skep_peer_id_inline_key(const struct skep_peer_id *id, skep_bytes *public_key_message)
{
    if (id->len < 2 || id->bytes[0] != IDENTITY)
        return false;
    *public_key_message = skep_bytes_of(id->bytes + 2, (size_t)id->len - 2);
    return true;
}
