/* SPDX-License-Identifier: MIT */
#include "secure/noise_payload.h"

#include "base/pb.h"

enum { FIELD_KEY = 1, FIELD_SIG = 2, FIELD_EXTENSIONS = 4, FIELD_STREAM_MUXERS = 2 };

static const char signed_prefix[] = "noise-libp2p-static-key:";

enum {
    SIGNED_PREFIX_LEN = sizeof signed_prefix - 1,
    SIGNED_LEN = SIGNED_PREFIX_LEN + SKEP_X25519_LEN
};

static void signed_data(uint8_t out[SIGNED_LEN], const uint8_t static_public[SKEP_X25519_LEN])
{
    memcpy(out, signed_prefix, SIGNED_PREFIX_LEN);
    memcpy(out + SIGNED_PREFIX_LEN, static_public, SKEP_X25519_LEN);
}

int skep_noise_payload_encode(struct skep_buf *out, const struct skep_mem *mem,
                              const struct skep_identity *identity,
                              const uint8_t static_public[SKEP_X25519_LEN], bool with_extensions)
{
    uint8_t to_sign[SIGNED_LEN];
    struct skep_buf signature;
    size_t mark;
    int rc;

    skep_buf_init(&signature, mem);
    signed_data(to_sign, static_public);
    if ((rc = skep_sign(identity->key, skep_bytes_of(to_sign, sizeof to_sign), &signature)) < 0)
        goto out;
    skep_pb_put_bytes(out, FIELD_KEY, skep_buf_view(&identity->public_key));
    skep_pb_put_bytes(out, FIELD_SIG, skep_buf_view(&signature));
    if (with_extensions) {
        mark = skep_pb_begin(out, FIELD_EXTENSIONS);
        skep_pb_put_str(out, FIELD_STREAM_MUXERS, SKEP_NOISE_MUXER);
        skep_pb_end(out, mark);
    }
    rc = out->rc;
out:
    skep_buf_fini(&signature);
    return rc;
}

static int decode_extensions(struct skep_noise_payload *payload, skep_bytes message)
{
    struct skep_pb_reader reader = skep_pb_read(message);
    struct skep_pb_field field;

    while (skep_pb_next(&reader, &field))
        if (field.number == FIELD_STREAM_MUXERS &&
            skep_bytes_equal(skep_pb_bytes(&reader, &field), skep_bytes_str(SKEP_NOISE_MUXER)))
            payload->has_muxer = true;
    return reader.rc;
}

int skep_noise_payload_decode(struct skep_noise_payload *payload, skep_bytes message)
{
    struct skep_pb_reader reader = skep_pb_read(message);
    struct skep_pb_field field;
    int rc = 0;

    *payload = (struct skep_noise_payload){0};
    while (rc == 0 && skep_pb_next(&reader, &field)) {
        switch (field.number) {
        case FIELD_KEY: payload->identity_key = skep_pb_bytes(&reader, &field); break;
        case FIELD_SIG: payload->identity_sig = skep_pb_bytes(&reader, &field); break;
        case FIELD_EXTENSIONS:
            rc = decode_extensions(payload, skep_pb_bytes(&reader, &field));
            break;
        default: break;
        }
    }
    return rc < 0 ? rc : reader.rc;
}

int skep_noise_payload_verify(const struct skep_noise_payload *payload,
                              const uint8_t static_public[SKEP_X25519_LEN])
{
    uint8_t signed_bytes[SIGNED_LEN];

    signed_data(signed_bytes, static_public);
    return skep_public_key_verify(payload->identity_key,
                                  skep_bytes_of(signed_bytes, sizeof signed_bytes),
                                  payload->identity_sig);
}
