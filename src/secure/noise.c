/* SPDX-License-Identifier: MIT */
/* Noise_XX_25519_ChaChaPoly_SHA256: the handshake and the transport that follows. Spec: noiseprotocol.org r34, sections 5 and 7.5;
 * docs/wire.md a.2. One step per token of the pattern, in the order of the specification.
 *
 *   initiator                       responder
 *   START --e------------------->   WAIT_1
 *   WAIT_2 <---e, ee, s, es, payload--
 *         ---s, se, payload------>  WAIT_3
 *   DONE                            DONE          any error: FAILED, for good
 *
 * Left out: prologues, pre-shared keys, rekeying, and every other pattern. */
#include "secure/noise.h"

#include "base/limits.h"
#include "crypto/secret.h"
#include "secure/noise_payload.h"

enum {
    KEY_LEN = SKEP_X25519_LEN,
    TAG_LEN = SKEP_AEAD_TAG_LEN,
    STATIC_LEN = KEY_LEN + TAG_LEN, /* encrypted */
    /* e, s and a payload: message 2, the longest. */
    HANDSHAKE_MESSAGE_MAX = KEY_LEN + STATIC_LEN + SKEP_NOISE_PAYLOAD_MAX + TAG_LEN,
};

static const char protocol_name[] =
    "Noise_XX_25519_ChaChaPoly_SHA256"; /* HASHLEN bytes, so it is h as it is */

enum noise_state { START, WAIT_1, WAIT_2, WAIT_3, DONE, FAILED };

/* Only while shaking hands. All of it is wiped at its end. */
struct handshake {
    uint8_t chaining_key[SKEP_SHA256_LEN];
    uint8_t static_private[KEY_LEN], static_public[KEY_LEN];
    uint8_t ephemeral_private[KEY_LEN], ephemeral_public[KEY_LEN];
    uint8_t remote_static[KEY_LEN], remote_ephemeral[KEY_LEN];
    struct skep_aead cipher; /* has a key after the first DH; n counts its uses */
    uint64_t n;
    struct skep_peer_id expected;
    bool keys_fixed, no_extensions;
};

struct skep_noise {
    struct skep_env *env;
    const struct skep_identity *identity;
    enum noise_state state;
    int rc; /* of FAILED */
    bool is_initiator;
    struct handshake *hs; /* NULL once done */
    uint8_t h[SKEP_SHA256_LEN];
    struct skep_aead send, receive;
    uint64_t send_counter, receive_counter;
    struct skep_peer_id peer;
    uint8_t *peer_key;
    size_t peer_key_len;
    const char *muxer;
};

/* ---- the symmetric state, section 5.2 ---- */

static void mix_hash(struct skep_noise *n, skep_bytes data)
{
    skep_sha256_pair(n->h, skep_bytes_of(n->h, sizeof n->h), data);
}

static int mix_key(struct skep_noise *n, const uint8_t shared[KEY_LEN])
{
    struct handshake *hs = n->hs;
    uint8_t key[SKEP_SHA256_LEN];
    int rc;

    if ((rc = skep_hkdf2(hs->chaining_key, key, hs->chaining_key, skep_bytes_of(shared, KEY_LEN))) <
        0)
        goto out;
    skep_aead_fini(&hs->cipher);
    hs->n = 0;
    rc = skep_aead_init(&hs->cipher, key);
out:
    skep_secret_wipe(key, sizeof key);
    return rc;
}

static int mix_dh(struct skep_noise *n, const uint8_t private_key[KEY_LEN],
                  const uint8_t public_key[KEY_LEN])
{
    uint8_t shared[KEY_LEN];
    int rc;

    if ((rc = skep_x25519(shared, private_key, public_key)) == 0)
        rc = mix_key(n, shared);
    skep_secret_wipe(shared, sizeof shared);
    return rc;
}

/* `out` holds len plaintext bytes at its end: encrypt them there, behind them the tag. */
static int encrypt_and_hash(struct skep_noise *n, struct skep_buf *out, size_t len)
{
    uint8_t *data;
    int rc;

    if (!skep_buf_reserve(out, TAG_LEN))
        return out->rc;
    data = out->data + out->len - len;
    if ((rc = skep_aead_seal(&n->hs->cipher, n->hs->n++, skep_bytes_of(n->h, sizeof n->h), data,
                             len)) < 0)
        return rc;
    out->len += TAG_LEN;
    mix_hash(n, skep_bytes_of(data, len + TAG_LEN));
    return 0;
}

/* Decrypt in place; *plaintext is inside `data`. */
static int decrypt_and_hash(struct skep_noise *n, uint8_t *data, size_t len, skep_bytes *plaintext)
{
    uint8_t before[SKEP_SHA256_LEN];

    if (len < TAG_LEN)
        return SKEP_EPEER_FRAME;
    memcpy(before, n->h, sizeof before);
    mix_hash(n, skep_bytes_of(data, len));
    *plaintext = skep_bytes_of(data, len - TAG_LEN);
    return skep_aead_open(&n->hs->cipher, n->hs->n++, skep_bytes_of(before, sizeof before), data,
                          len);
}

static int split(struct skep_noise *n)
{
    uint8_t first[SKEP_SHA256_LEN], second[SKEP_SHA256_LEN];
    int rc;

    if ((rc = skep_hkdf2(first, second, n->hs->chaining_key, skep_bytes_of(NULL, 0))) < 0)
        goto out;
    if ((rc = skep_aead_init(&n->send, n->is_initiator ? first : second)) < 0)
        goto out;
    rc = skep_aead_init(&n->receive, n->is_initiator ? second : first);
out:
    skep_secret_wipe(first, sizeof first);
    skep_secret_wipe(second, sizeof second);
    return rc;
}

/* ---- tokens ---- */

static int put_ephemeral(struct skep_noise *n, struct skep_buf *out) /* e */
{
    skep_buf_put(out, n->hs->ephemeral_public, KEY_LEN);
    mix_hash(n, skep_bytes_of(n->hs->ephemeral_public, KEY_LEN));
    return out->rc;
}

static int take_ephemeral(struct skep_noise *n, uint8_t **data, size_t *len) /* e */
{
    if (*len < KEY_LEN)
        return SKEP_EPEER_FRAME;
    memcpy(n->hs->remote_ephemeral, *data, KEY_LEN);
    mix_hash(n, skep_bytes_of(*data, KEY_LEN));
    *data += KEY_LEN;
    *len -= KEY_LEN;
    return 0;
}

static int put_static(struct skep_noise *n, struct skep_buf *out) /* s */
{
    skep_buf_put(out, n->hs->static_public, KEY_LEN);
    return out->rc < 0 ? out->rc : encrypt_and_hash(n, out, KEY_LEN);
}

static int take_static(struct skep_noise *n, uint8_t **data, size_t *len) /* s */
{
    skep_bytes plaintext;
    int rc;

    if (*len < STATIC_LEN)
        return SKEP_EPEER_FRAME;
    if ((rc = decrypt_and_hash(n, *data, STATIC_LEN, &plaintext)) < 0)
        return rc;
    memcpy(n->hs->remote_static, plaintext.data, KEY_LEN);
    *data += STATIC_LEN;
    *len -= STATIC_LEN;
    return 0;
}

static int put_payload(struct skep_noise *n, struct skep_buf *out)
{
    size_t start = out->len;
    int rc = skep_noise_payload_encode(out, n->env->mem, n->identity, n->hs->static_public,
                                       !n->hs->no_extensions);

    return rc < 0 ? rc : encrypt_and_hash(n, out, out->len - start);
}

static int take_payload(struct skep_noise *n, uint8_t *data, size_t len)
{
    struct skep_noise_payload payload;
    skep_bytes plaintext;
    int rc;

    if ((rc = decrypt_and_hash(n, data, len, &plaintext)) < 0)
        return rc;
    if ((rc = skep_noise_payload_decode(&payload, plaintext)) < 0)
        return rc;
    if ((rc = skep_noise_payload_verify(&payload, n->hs->remote_static)) < 0)
        return rc;
    skep_peer_id_from_public_key(&n->peer, payload.identity_key);
    if (n->hs->expected.len > 0 && !skep_peer_id_equal(&n->hs->expected, &n->peer))
        return SKEP_EPEER_AUTH;
    n->peer_key = skep_mem_dup(n->env->mem, payload.identity_key.data, payload.identity_key.len);
    if (!n->peer_key)
        return SKEP_ENOMEM;
    n->peer_key_len = payload.identity_key.len;
    /* The initiator's first muxer that the responder lists too: our list has one entry, so it is that or none. */
    if (payload.has_muxer && !n->hs->no_extensions)
        n->muxer = SKEP_NOISE_MUXER;
    return 0;
}

/* ---- messages ---- */

static int write_message_1(struct skep_noise *n, struct skep_buf *out) /* -> e */
{
    int rc = put_ephemeral(n, out);

    mix_hash(n, skep_bytes_of(NULL, 0)); /* the empty payload, not encrypted: there is no key yet */
    return rc;
}

static int read_message_1(struct skep_noise *n, uint8_t *data, size_t len)
{
    int rc = take_ephemeral(n, &data, &len);

    /* libp2p sends no payload here; if one comes it is hashed and ignored, as the specification says. */
    if (rc == 0)
        mix_hash(n, skep_bytes_of(data, len));
    return rc;
}

static int write_message_2(struct skep_noise *n, struct skep_buf *out) /* <- e, ee, s, es */
{
    int rc;

    if ((rc = put_ephemeral(n, out)) < 0) /* e */
        return rc;
    if ((rc = mix_dh(n, n->hs->ephemeral_private, n->hs->remote_ephemeral)) < 0) /* ee */
        return rc;
    if ((rc = put_static(n, out)) < 0) /* s */
        return rc;
    if ((rc = mix_dh(n, n->hs->static_private, n->hs->remote_ephemeral)) < 0) /* es */
        return rc;
    return put_payload(n, out);
}

static int read_message_2(struct skep_noise *n, uint8_t *data, size_t len)
{
    int rc;

    if ((rc = take_ephemeral(n, &data, &len)) < 0) /* e */
        return rc;
    if ((rc = mix_dh(n, n->hs->ephemeral_private, n->hs->remote_ephemeral)) < 0) /* ee */
        return rc;
    if ((rc = take_static(n, &data, &len)) < 0) /* s */
        return rc;
    if ((rc = mix_dh(n, n->hs->ephemeral_private, n->hs->remote_static)) < 0) /* es */
        return rc;
    return take_payload(n, data, len);
}

static int write_message_3(struct skep_noise *n, struct skep_buf *out) /* -> s, se */
{
    int rc;

    if ((rc = put_static(n, out)) < 0) /* s */
        return rc;
    if ((rc = mix_dh(n, n->hs->static_private, n->hs->remote_ephemeral)) < 0) /* se */
        return rc;
    return put_payload(n, out);
}

static int read_message_3(struct skep_noise *n, uint8_t *data, size_t len)
{
    int rc;

    if ((rc = take_static(n, &data, &len)) < 0) /* s */
        return rc;
    if ((rc = mix_dh(n, n->hs->ephemeral_private, n->hs->remote_static)) < 0) /* se */
        return rc;
    return take_payload(n, data, len);
}

/* ---- the machine ---- */

/* A message with its length before it. */
static int write_framed(struct skep_noise *n, struct skep_buf *out,
                        int (*write)(struct skep_noise *, struct skep_buf *))
{
    size_t start = out->len, len;
    int rc;

    skep_buf_put_be16(out, 0);
    if ((rc = out->rc < 0 ? out->rc : write(n, out)) < 0) {
        out->len = SKEP_MIN(out->len, start);
        return rc;
    }
    len = out->len - start - SKEP_NOISE_LENGTH_LEN;
    assert(len <= SKEP_NOISE_MESSAGE_MAX);
    skep_put_be16(out->data + start, (uint16_t)len);
    return 0;
}

static int make_keys(struct skep_noise *n)
{
    struct handshake *hs = n->hs;
    int rc = 0;

    if (!hs->keys_fixed) {
        if ((rc = n->env->entropy(n->env, hs->static_private, KEY_LEN)) < 0)
            return rc;
        if ((rc = n->env->entropy(n->env, hs->ephemeral_private, KEY_LEN)) < 0)
            return rc;
    }
    if ((rc = skep_x25519_public(hs->static_public, hs->static_private)) < 0)
        return rc;
    return skep_x25519_public(hs->ephemeral_public, hs->ephemeral_private);
}

static int on_start(struct skep_noise *n, struct skep_buf *out)
{
    int rc = make_keys(n);

    if (rc < 0)
        return rc;
    if (!n->is_initiator) {
        n->state = WAIT_1;
        return 0;
    }
    n->state = WAIT_2;
    return write_framed(n, out, write_message_1);
}

static void free_handshake(struct skep_noise *n)
{
    if (!n->hs)
        return;
    skep_aead_fini(&n->hs->cipher);
    skep_secret_wipe(n->hs, sizeof *n->hs);
    skep_mem_free(n->env->mem, n->hs);
    n->hs = NULL;
}

static int finish(struct skep_noise *n)
{
    int rc = split(n);

    if (rc < 0)
        return rc;
    n->state = DONE;
    free_handshake(n);
    return 1;
}

static int on_message(struct skep_noise *n, uint8_t *data, size_t len, struct skep_buf *out)
{
    int rc;

    switch (n->state) {
    case WAIT_1:
        if ((rc = read_message_1(n, data, len)) < 0)
            return rc;
        n->state = WAIT_3;
        return write_framed(n, out, write_message_2);
    case WAIT_2:
        if ((rc = read_message_2(n, data, len)) < 0)
            return rc;
        if ((rc = write_framed(n, out, write_message_3)) < 0)
            return rc;
        return finish(n);
    case WAIT_3:
        if ((rc = read_message_3(n, data, len)) < 0)
            return rc;
        return finish(n);
    case START:
    case DONE:
    case FAILED: break;
    }
    SKEP_UNREACHABLE();
}

/* The next whole message, copied to be decrypted in place. @return 1, 0 when it is cut, or an error. */
static int take_message(struct skep_noise *n, skep_bytes *in, uint8_t **message, size_t *len)
{
    if (in->len < SKEP_NOISE_LENGTH_LEN)
        return 0;
    *len = skep_get_be16(in->data);
    if (*len > HANDSHAKE_MESSAGE_MAX)
        return SKEP_EPEER_LIMIT;
    if (in->len - SKEP_NOISE_LENGTH_LEN < *len)
        return 0;
    *message = skep_mem_dup(n->env->mem, in->data + SKEP_NOISE_LENGTH_LEN, *len);
    if (!*message)
        return SKEP_ENOMEM;
    skep_bytes_take(in, SKEP_NOISE_LENGTH_LEN + *len);
    return 1;
}

static int fail(struct skep_noise *n, int rc)
{
    n->state = FAILED;
    n->rc = rc;
    free_handshake(n);
    return rc;
}

int skep_noise_handshake(struct skep_noise *n, skep_bytes *in, struct skep_buf *out)
{
    int rc = 0;

    if (n->state == FAILED)
        return n->rc;
    if (n->state == START)
        rc = on_start(n, out);
    while (rc == 0 && n->state != DONE) {
        uint8_t *message = NULL;
        size_t len = 0;

        if ((rc = take_message(n, in, &message, &len)) <= 0)
            break;
        rc = on_message(n, message, len, out);
        skep_mem_free(n->env->mem, message);
    }
    if (rc < 0)
        return fail(n, rc);
    return n->state == DONE;
}

int skep_noise_new(struct skep_noise **out, struct skep_env *env,
                   const struct skep_identity *identity, bool is_initiator,
                   const struct skep_peer_id *expected)
{
    struct skep_noise *n = skep_mem_zalloc(env->mem, 1, sizeof *n);

    *out = NULL;
    if (!n)
        return SKEP_ENOMEM;
    n->env = env;
    n->identity = identity;
    n->is_initiator = is_initiator;
    n->hs = skep_mem_zalloc(env->mem, 1, sizeof *n->hs);
    if (!n->hs) {
        skep_mem_free(env->mem, n);
        return SKEP_ENOMEM;
    }
    if (expected)
        n->hs->expected = *expected;
    _Static_assert(sizeof protocol_name - 1 == SKEP_SHA256_LEN, "so that it is h as it is");
    memcpy(n->h, protocol_name, SKEP_SHA256_LEN);
    memcpy(n->hs->chaining_key, protocol_name, SKEP_SHA256_LEN);
    mix_hash(n, skep_bytes_of(NULL, 0)); /* the empty prologue */
    *out = n;
    return 0;
}

void skep_noise_free(struct skep_noise *n)
{
    const struct skep_mem *mem;

    if (!n)
        return;
    mem = n->env->mem;
    free_handshake(n);
    skep_aead_fini(&n->send);
    skep_aead_fini(&n->receive);
    skep_mem_free(mem, n->peer_key);
    skep_secret_wipe(n, sizeof *n);
    skep_mem_free(mem, n);
}

void skep_noise_fix_keys(struct skep_noise *n, const uint8_t static_key[SKEP_X25519_LEN],
                         const uint8_t ephemeral_key[SKEP_X25519_LEN])
{
    assert(n->state == START);
    memcpy(n->hs->static_private, static_key, KEY_LEN);
    memcpy(n->hs->ephemeral_private, ephemeral_key, KEY_LEN);
    n->hs->keys_fixed = true;
}

void skep_noise_no_extensions(struct skep_noise *n)
{
    assert(n->state == START);
    n->hs->no_extensions = true;
}

void skep_noise_set_counters(struct skep_noise *n, uint64_t send_counter, uint64_t receive_counter)
{
    n->send_counter = send_counter;
    n->receive_counter = receive_counter;
}

const uint8_t *skep_noise_handshake_hash(const struct skep_noise *n)
{
    return n->h;
}

const struct skep_peer_id *skep_noise_peer(const struct skep_noise *n)
{
    return &n->peer;
}

skep_bytes skep_noise_peer_key(const struct skep_noise *n)
{
    return skep_bytes_of(n->peer_key, n->peer_key_len);
}

const char *skep_noise_muxer(const struct skep_noise *n)
{
    return n->muxer;
}

/* ---- transport; section 5.1: the nonce 2^64 - 1 is reserved ---- */

ptrdiff_t skep_noise_seal(struct skep_noise *n, uint8_t *frame, size_t len)
{
    int rc;

    assert(len <= SKEP_NOISE_PLAINTEXT_MAX);
    if (n->state != DONE || n->send_counter == UINT64_MAX)
        return SKEP_ECRYPTO;
    rc = skep_aead_seal(&n->send, n->send_counter++, skep_bytes_of(NULL, 0),
                        frame + SKEP_NOISE_LENGTH_LEN, len);
    if (rc < 0)
        return fail(n, rc);
    skep_put_be16(frame, (uint16_t)(len + TAG_LEN));
    return (ptrdiff_t)(len + SKEP_NOISE_OVERHEAD);
}

ptrdiff_t skep_noise_open(struct skep_noise *n, uint8_t *data, size_t len, skep_bytes *plaintext)
{
    size_t message_len;
    int rc;

    if (n->state != DONE)
        return n->state == FAILED ? n->rc : SKEP_ECRYPTO;
    if (len < SKEP_NOISE_LENGTH_LEN)
        return 0;
    message_len = skep_get_be16(data);
    if (message_len < TAG_LEN)
        return fail(n, SKEP_EPEER_FRAME);
    if (len - SKEP_NOISE_LENGTH_LEN < message_len)
        return 0;
    if (n->receive_counter == UINT64_MAX)
        return fail(n, SKEP_ECRYPTO);
    rc = skep_aead_open(&n->receive, n->receive_counter++, skep_bytes_of(NULL, 0),
                        data + SKEP_NOISE_LENGTH_LEN, message_len);
    if (rc < 0)
        return fail(n, rc);
    *plaintext = skep_bytes_of(data + SKEP_NOISE_LENGTH_LEN, message_len - TAG_LEN);
    return (ptrdiff_t)(SKEP_NOISE_LENGTH_LEN + message_len);
}
