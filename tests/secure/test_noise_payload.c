/* SPDX-License-Identifier: MIT */
/* The libp2p payload: the vectors' bytes, each kind of key a peer may have, and payloads that are not what they say. */
#include "support/test.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/pb.h"
#include "secure/noise_payload.h"

static const json_t *vector(void)
{
    return test_get(test_vectors("transport.json"), "noise");
}

static void our_payload_is_that_of_the_vectors(void **state)
{
    static const char *const seeds[] = {"initiator_identity_seed", "responder_identity_seed",
                                        "initiator_identity_seed"};
    static const char *const statics[] = {"initiator static", "responder static",
                                          "initiator static"};
    static const char *const payloads[] = {"initiator_payload", "responder_payload",
                                           "payload_without_extensions"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct skep_identity identity;
        struct skep_buf out;
        const char *key = test_str(test_get(vector(), "public_keys"), statics[i]);

        skep_buf_init(&out, &skep_mem_std);
        assert_int_equal(skep_identity_from_seed(&identity, &skep_mem_std,
                                                 test_unhex(test_str(vector(), seeds[i])).data),
                         0);
        assert_int_equal(
            skep_noise_payload_encode(&out, &skep_mem_std, &identity, test_unhex(key).data, i < 2),
            0);
        assert_string_equal(test_hex(out.data, out.len), test_str(vector(), payloads[i]));
        skep_identity_fini(&identity);
        skep_buf_fini(&out);
    }
}

static void the_payload_of_a_live_p2pd_verifies_for_its_static_key_only(void **state)
{
    const json_t *live = test_get(test_vectors("transport.json"), "live_dial");
    struct skep_noise_payload payload;
    uint8_t other[SKEP_X25519_LEN];
    struct skep_peer_id id, expected;

    (void)state;
    assert_int_equal(
        skep_noise_payload_decode(&payload, test_unhex(test_str(live, "remote_payload"))), 0);
    assert_true(payload.has_muxer);
    memcpy(other, test_unhex(test_str(live, "remote_static")).data, sizeof other);
    assert_int_equal(skep_noise_payload_verify(&payload, other), 0);
    skep_peer_id_from_public_key(&id, payload.identity_key);
    assert_int_equal(
        skep_peer_id_from_text(&expected, skep_bytes_str(test_str(live, "remote_peer_id"))), 0);
    assert_true(skep_peer_id_equal(&id, &expected));
    other[31] ^= 1;
    assert_int_equal(skep_noise_payload_verify(&payload, other), SKEP_EPEER_AUTH);
}

/* A key of a curve, made by OpenSSL, signs our static key as a peer with such an identity does. */
static void check_curve(const char *curve, enum skep_key_type type)
{
    uint8_t static_public[SKEP_X25519_LEN], to_sign[24 + SKEP_X25519_LEN], signature[256],
        data[256];
    EVP_PKEY *key = EVP_EC_gen(curve);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t signature_len = sizeof signature, data_len = 0;
    struct skep_noise_payload payload;
    struct skep_buf message, key_message;
    uint8_t *der = data;

    assert_non_null(key);
    memset(static_public, 7, sizeof static_public);
    memcpy(to_sign, "noise-libp2p-static-key:", 24);
    memcpy(to_sign + 24, static_public, sizeof static_public);
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(ctx, signature, &signature_len, to_sign, sizeof to_sign), 1);
    if (type == SKEP_KEY_ECDSA) {
        data_len = (size_t)i2d_PUBKEY(key, &der);
    } else {
        EVP_PKEY_set_utf8_string_param(key, "point-format", "compressed");
        assert_int_equal(EVP_PKEY_get_octet_string_param(key, "pub", data, sizeof data, &data_len),
                         1);
        assert_int_equal(data_len, 33);
    }
    skep_buf_init(&message, &skep_mem_std);
    skep_buf_init(&key_message, &skep_mem_std);
    skep_pb_put_varint(&key_message, 1, type);
    skep_pb_put_bytes(&key_message, 2, skep_bytes_of(data, data_len));
    skep_pb_put_bytes(&message, 1, skep_buf_view(&key_message));
    skep_pb_put_bytes(&message, 2, skep_bytes_of(signature, signature_len));
    assert_int_equal(skep_noise_payload_decode(&payload, skep_buf_view(&message)), 0);
    assert_false(payload.has_muxer);
    assert_int_equal(skep_noise_payload_verify(&payload, static_public), 0);
    static_public[0] ^= 1;
    assert_int_equal(skep_noise_payload_verify(&payload, static_public), SKEP_EPEER_AUTH);
    skep_buf_fini(&message);
    skep_buf_fini(&key_message);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
}

static void ecdsa_and_secp256k1_peers_are_verified(void **state)
{
    (void)state;
    check_curve("P-256", SKEP_KEY_ECDSA);
    check_curve("P-384", SKEP_KEY_ECDSA);
    check_curve("secp256k1", SKEP_KEY_SECP256K1);
}

static void the_muxer_is_found_among_others_and_unknown_fields_are_skipped(void **state)
{
    struct skep_noise_payload payload;
    struct skep_buf message;
    size_t mark;

    (void)state;
    skep_buf_init(&message, &skep_mem_std);
    skep_pb_put_str(&message, 9, "new");
    mark = skep_pb_begin(&message, 4);
    skep_pb_put_str(&message, 1, "webtransport hash");
    skep_pb_put_str(&message, 2, "/mplex/6.7.0");
    skep_pb_end(&message, mark);
    assert_int_equal(skep_noise_payload_decode(&payload, skep_buf_view(&message)), 0);
    assert_false(payload.has_muxer);
    mark = skep_pb_begin(&message, 4);
    skep_pb_put_str(&message, 2, "/mplex/6.7.0");
    skep_pb_put_str(&message, 2, "/yamux/1.0.0");
    skep_pb_end(&message, mark);
    assert_int_equal(skep_noise_payload_decode(&payload, skep_buf_view(&message)), 0);
    assert_true(payload.has_muxer);
    skep_buf_fini(&message);
}

static void a_payload_cut_at_any_byte_never_verifies(void **state)
{
    skep_bytes whole = test_unhex(test_str(vector(), "initiator_payload"));
    skep_bytes key = test_unhex(test_str(test_get(vector(), "public_keys"), "initiator static"));
    size_t without_extensions = strlen(test_str(vector(), "payload_without_extensions")) / 2;

    (void)state;
    for (size_t len = 0; len <= whole.len; len++) {
        struct skep_noise_payload payload;
        uint8_t *copy = malloc(len + 1); /* so that reading past the cut is found out */
        int rc;

        memcpy(copy, whole.data, len);
        rc = skep_noise_payload_decode(&payload, skep_bytes_of(copy, len));
        assert_true(rc == 0 || rc == SKEP_EPEER_FRAME);
        if (rc == 0)
            assert_int_equal(skep_noise_payload_verify(&payload, key.data),
                             len >= without_extensions ? 0 : SKEP_EPEER_AUTH);
        free(copy);
    }
}

static void a_field_of_the_wrong_type_is_refused(void **state)
{
    static const char *const bad[] = {"0801", "1001", "2001", "22021001", "0aff"};
    struct skep_noise_payload payload;

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(bad); i++)
        assert_int_equal(skep_noise_payload_decode(&payload, test_unhex(bad[i])), SKEP_EPEER_FRAME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_payload_is_that_of_the_vectors),
        cmocka_unit_test(the_payload_of_a_live_p2pd_verifies_for_its_static_key_only),
        cmocka_unit_test(ecdsa_and_secp256k1_peers_are_verified),
        cmocka_unit_test(the_muxer_is_found_among_others_and_unknown_fields_are_skipped),
        cmocka_unit_test(a_payload_cut_at_any_byte_never_verifies),
        cmocka_unit_test(a_field_of_the_wrong_type_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
