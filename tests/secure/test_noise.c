/* SPDX-License-Identifier: MIT */
/* Noise XX against the whole handshake in vectors/transport.json, cut at each byte, damaged at each byte, and used up. */
#include "support/test.h"

#include "base/limits.h"
#include "secure/noise.h"

enum { BUFFER_LEN = SKEP_NOISE_PLAINTEXT_MAX + SKEP_NOISE_OVERHEAD };

struct side {
    struct skep_identity identity;
    struct skep_noise *noise;
    struct skep_buf out;
};

struct pair {
    struct test_env env;
    struct side initiator, responder;
};

static const json_t *vector(void)
{
    return test_get(test_vectors("transport.json"), "noise");
}

static int make_side(struct side *side, struct skep_env *env, const char *seed, bool is_initiator,
                     const struct skep_peer_id *expected)
{
    int rc;

    *side = (struct side){0};
    skep_buf_init(&side->out, env->mem);
    if ((rc = skep_identity_from_seed(&side->identity, env->mem,
                                      test_unhex(test_str(vector(), seed)).data)) < 0)
        return rc;
    return skep_noise_new(&side->noise, env, &side->identity, is_initiator, expected);
}

static void free_side(struct side *side)
{
    skep_noise_free(side->noise);
    if (side->identity.key)
        skep_identity_fini(&side->identity);
    skep_buf_fini(&side->out);
}

static void fix_keys(struct side *side, const char *static_key, const char *ephemeral_key)
{
    const json_t *keys = test_get(vector(), "private_keys");

    skep_noise_fix_keys(side->noise, test_unhex(test_str(keys, static_key)).data,
                        test_unhex(test_str(keys, ephemeral_key)).data);
}

static void setup_pair(struct pair *pair)
{
    test_env_init(&pair->env, 1);
    assert_int_equal(
        make_side(&pair->initiator, &pair->env.env, "initiator_identity_seed", true, NULL), 0);
    assert_int_equal(
        make_side(&pair->responder, &pair->env.env, "responder_identity_seed", false, NULL), 0);
}

static void teardown_pair(struct pair *pair)
{
    free_side(&pair->initiator);
    free_side(&pair->responder);
    assert_int_equal(pair->env.mem.live, 0);
    test_env_fini(&pair->env);
}

/* What `from` has written goes to `to`, up to `piece` new bytes a call, cut-off messages coming again. */
static int hand_over(struct side *from, struct side *to, size_t piece)
{
    int rc = 0;

    for (size_t seen = SKEP_MIN(piece, from->out.len); rc == 0;
         seen = SKEP_MIN(seen + piece, from->out.len)) {
        skep_bytes in = skep_bytes_of(from->out.data, seen);

        rc = skep_noise_handshake(to->noise, &in, &to->out);
        if (rc < 0)
            return rc;
        skep_buf_drop(&from->out, seen - in.len);
        seen = in.len;
        if (seen == from->out.len)
            break;
    }
    return rc;
}

static int shake_hands(struct pair *pair, size_t piece)
{
    skep_bytes nothing = {0};
    int rc;

    if ((rc = skep_noise_handshake(pair->initiator.noise, &nothing, &pair->initiator.out)) != 0)
        return rc;
    if ((rc = hand_over(&pair->initiator, &pair->responder, piece)) != 0)
        return rc;
    if ((rc = hand_over(&pair->responder, &pair->initiator, piece)) != 1)
        return rc;
    return hand_over(&pair->initiator, &pair->responder, piece);
}

static void assert_message(struct side *side, const char *name)
{
    skep_bytes expected = test_unhex(test_str(vector(), name));

    assert_true(side->out.len >= 2);
    assert_int_equal(skep_get_be16(side->out.data), expected.len);
    assert_string_equal(test_hex(side->out.data + 2, side->out.len - 2),
                        test_hex(expected.data, expected.len));
}

static void assert_seals_to(struct skep_noise *from, struct skep_noise *to, const json_t *frame)
{
    skep_bytes plain = test_unhex(test_str(frame, "plaintext")), opened;
    uint8_t data[256];
    ptrdiff_t len;

    skep_bytes_copy(data + SKEP_NOISE_LENGTH_LEN, plain);
    len = skep_noise_seal(from, data, plain.len);
    assert_true(len > 0);
    assert_string_equal(test_hex(data, (size_t)len), test_str(frame, "wire"));
    assert_int_equal(skep_noise_open(to, data, (size_t)len, &opened), len);
    assert_true(skep_bytes_equal(opened, plain));
}

static void with_fixed_keys_every_byte_is_that_of_the_vectors(void **state)
{
    struct pair pair;
    skep_bytes nothing = {0};
    const json_t *frame;
    size_t i;

    (void)state;
    setup_pair(&pair);
    fix_keys(&pair.initiator, "initiator static", "initiator ephemeral");
    fix_keys(&pair.responder, "responder static", "responder ephemeral");
    assert_int_equal(skep_noise_handshake(pair.initiator.noise, &nothing, &pair.initiator.out), 0);
    assert_message(&pair.initiator, "message_1");
    assert_int_equal(hand_over(&pair.initiator, &pair.responder, SIZE_MAX / 2), 0);
    assert_message(&pair.responder, "message_2");
    assert_int_equal(hand_over(&pair.responder, &pair.initiator, SIZE_MAX / 2), 1);
    assert_message(&pair.initiator, "message_3");
    assert_int_equal(hand_over(&pair.initiator, &pair.responder, SIZE_MAX / 2), 1);
    assert_string_equal(test_hex(skep_noise_handshake_hash(pair.initiator.noise), 32),
                        test_str(vector(), "handshake_hash"));
    assert_string_equal(test_hex(skep_noise_handshake_hash(pair.responder.noise), 32),
                        test_str(vector(), "handshake_hash"));
    json_array_foreach(test_get(vector(), "transport"), i, frame)
    {
        bool forth = strcmp(test_str(frame, "dir"), "i->r") == 0;

        assert_seals_to(forth ? pair.initiator.noise : pair.responder.noise,
                        forth ? pair.responder.noise : pair.initiator.noise, frame);
    }
    teardown_pair(&pair);
}

static void each_side_learns_who_the_other_is_and_the_muxer(void **state)
{
    struct pair pair;

    (void)state;
    setup_pair(&pair);
    assert_int_equal(shake_hands(&pair, SIZE_MAX / 2), 1);
    assert_true(
        skep_peer_id_equal(skep_noise_peer(pair.initiator.noise), &pair.responder.identity.id));
    assert_true(
        skep_peer_id_equal(skep_noise_peer(pair.responder.noise), &pair.initiator.identity.id));
    assert_true(skep_bytes_equal(skep_noise_peer_key(pair.initiator.noise),
                                 skep_buf_view(&pair.responder.identity.public_key)));
    assert_string_equal(skep_noise_muxer(pair.initiator.noise), "/yamux/1.0.0");
    assert_string_equal(skep_noise_muxer(pair.responder.noise), "/yamux/1.0.0");
    teardown_pair(&pair);
}

static void the_handshake_is_the_same_wherever_its_bytes_are_cut(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 260; piece++) {
        struct pair pair;

        setup_pair(&pair);
        assert_int_equal(shake_hands(&pair, piece), 1);
        assert_memory_equal(skep_noise_handshake_hash(pair.initiator.noise),
                            skep_noise_handshake_hash(pair.responder.noise), 32);
        teardown_pair(&pair);
    }
}

static void without_extensions_on_either_side_no_muxer_is_agreed(void **state)
{
    (void)state;
    for (int which = 1; which <= 3; which++) {
        struct pair pair;

        setup_pair(&pair);
        if (which & 1)
            skep_noise_no_extensions(pair.initiator.noise);
        if (which & 2)
            skep_noise_no_extensions(pair.responder.noise);
        assert_int_equal(shake_hands(&pair, SIZE_MAX / 2), 1);
        assert_null(skep_noise_muxer(pair.initiator.noise));
        assert_null(skep_noise_muxer(pair.responder.noise));
        teardown_pair(&pair);
    }
}

static void a_payload_without_extensions_is_that_of_the_vectors(void **state)
{
    /* Its length shows in message 3: 32 + 16 of the static key, the payload, 16. */
    skep_bytes payload = test_unhex(test_str(vector(), "payload_without_extensions"));
    struct pair pair;
    skep_bytes nothing = {0};

    (void)state;
    setup_pair(&pair);
    skep_noise_no_extensions(pair.initiator.noise);
    assert_int_equal(skep_noise_handshake(pair.initiator.noise, &nothing, &pair.initiator.out), 0);
    assert_int_equal(hand_over(&pair.initiator, &pair.responder, SIZE_MAX / 2), 0);
    assert_int_equal(hand_over(&pair.responder, &pair.initiator, SIZE_MAX / 2), 1);
    assert_int_equal(pair.initiator.out.len, 2 + 48 + payload.len + 16);
    teardown_pair(&pair);
}

static void another_peer_than_the_one_dialled_is_refused(void **state)
{
    struct pair pair;

    (void)state;
    setup_pair(&pair);
    skep_noise_free(pair.initiator.noise);
    assert_int_equal(skep_noise_new(&pair.initiator.noise, &pair.env.env, &pair.initiator.identity,
                                    true, &pair.responder.identity.id),
                     0);
    assert_int_equal(shake_hands(&pair, SIZE_MAX / 2), 1);
    teardown_pair(&pair);

    setup_pair(&pair);
    skep_noise_free(pair.initiator.noise);
    assert_int_equal(skep_noise_new(&pair.initiator.noise, &pair.env.env, &pair.initiator.identity,
                                    true, &pair.initiator.identity.id),
                     0);
    assert_int_equal(shake_hands(&pair, SIZE_MAX / 2), SKEP_EPEER_AUTH);
    assert_int_equal(pair.initiator.out.len, 0); /* we do not say who we are */
    teardown_pair(&pair);
}

static void rsa_identities_shake_hands(void **state)
{
    struct pair pair;
    struct skep_private_key *key;

    (void)state;
    setup_pair(&pair);
    skep_identity_fini(&pair.responder.identity);
    assert_int_equal(skep_private_key_new_rsa(&key, &pair.env.mem.mem, 2048), 0);
    assert_int_equal(skep_identity_init(&pair.responder.identity, &pair.env.mem.mem, key), 0);
    assert_int_equal(shake_hands(&pair, SIZE_MAX / 2), 1);
    assert_true(
        skep_peer_id_equal(skep_noise_peer(pair.initiator.noise), &pair.responder.identity.id));
    teardown_pair(&pair);
}

/* Any changed byte of a message ends the handshake at the latest with the other side's next message. */
static void a_changed_byte_is_noticed(void **state)
{
    (void)state;
    for (int message = 2; message <= 3; message++) {
        for (size_t at = 2;; at++) {
            struct pair pair;
            struct side *from, *to;
            skep_bytes nothing = {0};
            size_t len;
            int rc;

            setup_pair(&pair);
            from = message == 2 ? &pair.responder : &pair.initiator;
            to = message == 2 ? &pair.initiator : &pair.responder;
            assert_int_equal(
                skep_noise_handshake(pair.initiator.noise, &nothing, &pair.initiator.out), 0);
            assert_int_equal(hand_over(&pair.initiator, &pair.responder, SIZE_MAX / 2), 0);
            if (message == 3)
                assert_int_equal(hand_over(&pair.responder, &pair.initiator, SIZE_MAX / 2), 1);
            len = from->out.len;
            if (at < len) {
                from->out.data[at] ^= 1;
                rc = hand_over(from, to, SIZE_MAX / 2);
                assert_int_equal(rc, SKEP_EPEER_AUTH);
                assert_int_equal(skep_noise_handshake(to->noise, &nothing, &to->out),
                                 SKEP_EPEER_AUTH);
            }
            teardown_pair(&pair);
            if (at >= len)
                break;
        }
    }
}

static int first_message(const void *message, size_t len)
{
    struct pair pair;
    skep_bytes in = skep_bytes_of(message, len);
    int rc;

    setup_pair(&pair);
    rc = skep_noise_handshake(pair.responder.noise, &in, &pair.responder.out);
    teardown_pair(&pair);
    return rc;
}

static void malformed_first_messages_are_refused(void **state)
{
    uint8_t message[2 + 32] = {0, 32};
    uint8_t longest[2] = {0};

    (void)state;
    assert_int_equal(first_message(message, sizeof message),
                     SKEP_EPEER_AUTH); /* a point of low order */
    assert_int_equal(first_message("\0\x1f"
                                   "0123456789012345678901234567890",
                                   33),
                     SKEP_EPEER_FRAME);
    assert_int_equal(first_message("\0\0", 2), SKEP_EPEER_FRAME);
    assert_int_equal(first_message("\0", 1), 0);
    skep_put_be16(longest, 32 + 48 + SKEP_NOISE_PAYLOAD_MAX + 16);
    assert_int_equal(first_message(longest, 2), 0); /* it waits for so much */
    skep_put_be16(longest, 32 + 48 + SKEP_NOISE_PAYLOAD_MAX + 16 + 1);
    assert_int_equal(first_message(longest, 2), SKEP_EPEER_LIMIT);
}

static void what_follows_the_handshake_stays_in_the_input(void **state)
{
    struct pair pair;
    skep_bytes nothing = {0}, in;
    uint8_t frame[64] = {0};
    skep_bytes plaintext;
    ptrdiff_t len;

    (void)state;
    setup_pair(&pair);
    assert_int_equal(skep_noise_handshake(pair.initiator.noise, &nothing, &pair.initiator.out), 0);
    assert_int_equal(hand_over(&pair.initiator, &pair.responder, SIZE_MAX / 2), 0);
    assert_int_equal(hand_over(&pair.responder, &pair.initiator, SIZE_MAX / 2), 1);
    memcpy(frame + 2, "early", 5);
    len = skep_noise_seal(pair.initiator.noise, frame, 5);
    skep_buf_put(&pair.initiator.out, frame, (size_t)len);
    in = skep_buf_view(&pair.initiator.out);
    assert_int_equal(skep_noise_handshake(pair.responder.noise, &in, &pair.responder.out), 1);
    assert_int_equal(in.len, len);
    memcpy(frame, in.data, in.len);
    assert_int_equal(skep_noise_open(pair.responder.noise, frame, in.len, &plaintext), len);
    assert_memory_equal(plaintext.data, "early", 5);
    teardown_pair(&pair);
}

static void the_largest_frame_goes_through_and_is_not_opened_before_it_is_whole(void **state)
{
    static uint8_t frame[BUFFER_LEN], copy[BUFFER_LEN];
    struct pair pair;
    skep_bytes plaintext;
    ptrdiff_t len;

    (void)state;
    setup_pair(&pair);
    assert_int_equal(shake_hands(&pair, SIZE_MAX / 2), 1);
    memset(frame, 0x5a, sizeof frame);
    len = skep_noise_seal(pair.responder.noise, frame, SKEP_NOISE_PLAINTEXT_MAX);
    assert_int_equal(len, BUFFER_LEN);
    memcpy(copy, frame, sizeof frame);
    for (size_t cut = 0; cut < (size_t)len; cut += cut < 40 ? 1 : 997)
        assert_int_equal(skep_noise_open(pair.initiator.noise, frame, cut, &plaintext), 0);
    assert_memory_equal(copy, frame, sizeof frame);
    assert_int_equal(skep_noise_open(pair.initiator.noise, frame, (size_t)len, &plaintext), len);
    assert_int_equal(plaintext.len, SKEP_NOISE_PLAINTEXT_MAX);
    assert_int_equal(plaintext.data[SKEP_NOISE_PLAINTEXT_MAX - 1], 0x5a);
    teardown_pair(&pair);
}

static void a_bad_transport_frame_ends_the_channel(void **state)
{
    uint8_t frame[64] = {0}, good[64] = {0};
    struct pair pair;
    skep_bytes plaintext;
    ptrdiff_t len;

    (void)state;
    setup_pair(&pair);
    assert_int_equal(shake_hands(&pair, SIZE_MAX / 2), 1);
    len = skep_noise_seal(pair.initiator.noise, frame, 8);
    memcpy(good, frame, (size_t)len);
    frame[5] ^= 1;
    assert_int_equal(skep_noise_open(pair.responder.noise, frame, (size_t)len, &plaintext),
                     SKEP_EPEER_AUTH);
    assert_int_equal(skep_noise_open(pair.responder.noise, good, (size_t)len, &plaintext),
                     SKEP_EPEER_AUTH);
    /* shorter than a tag; and the same frame a second time */
    assert_int_equal(skep_noise_open(pair.initiator.noise, (uint8_t[]){0, 15}, 2, &plaintext),
                     SKEP_EPEER_FRAME);
    teardown_pair(&pair);

    setup_pair(&pair);
    assert_int_equal(shake_hands(&pair, SIZE_MAX / 2), 1);
    len = skep_noise_seal(pair.initiator.noise, frame, 8);
    memcpy(good, frame, (size_t)len);
    assert_int_equal(skep_noise_open(pair.responder.noise, frame, (size_t)len, &plaintext), len);
    assert_int_equal(skep_noise_open(pair.responder.noise, good, (size_t)len, &plaintext),
                     SKEP_EPEER_AUTH);
    teardown_pair(&pair);
}

static void nothing_is_sealed_or_opened_with_the_reserved_nonce(void **state)
{
    uint8_t frame[64] = {0};
    struct pair pair;
    skep_bytes plaintext;
    ptrdiff_t len;

    (void)state;
    setup_pair(&pair);
    assert_int_equal(shake_hands(&pair, SIZE_MAX / 2), 1);
    skep_noise_set_counters(pair.initiator.noise, UINT64_MAX - 1, 0);
    skep_noise_set_counters(pair.responder.noise, 0, UINT64_MAX - 1);
    len = skep_noise_seal(pair.initiator.noise, frame, 8);
    assert_int_equal(len, 8 + SKEP_NOISE_OVERHEAD);
    assert_int_equal(skep_noise_open(pair.responder.noise, frame, (size_t)len, &plaintext), len);
    assert_int_equal(skep_noise_seal(pair.initiator.noise, frame, 8), SKEP_ECRYPTO);
    assert_int_equal(skep_noise_open(pair.responder.noise, frame, (size_t)len, &plaintext),
                     SKEP_ECRYPTO);
    teardown_pair(&pair);
}

static void nothing_is_sealed_before_the_handshake_is_done(void **state)
{
    uint8_t frame[64] = {0};
    struct pair pair;
    skep_bytes plaintext;

    (void)state;
    setup_pair(&pair);
    assert_int_equal(skep_noise_seal(pair.initiator.noise, frame, 8), SKEP_ECRYPTO);
    assert_int_equal(skep_noise_open(pair.initiator.noise, frame, sizeof frame, &plaintext),
                     SKEP_ECRYPTO);
    teardown_pair(&pair);
}

static int shake_hands_with(const struct skep_mem *mem, void *user)
{
    struct pair pair;
    int rc;

    (void)user;
    test_env_init(&pair.env, 1);
    pair.env.env.mem = mem;
    pair.responder = (struct side){0};
    if ((rc = make_side(&pair.initiator, &pair.env.env, "initiator_identity_seed", true, NULL)) ==
            0 &&
        (rc = make_side(&pair.responder, &pair.env.env, "responder_identity_seed", false, NULL)) ==
            0)
        rc = shake_hands(&pair, SIZE_MAX / 2);
    free_side(&pair.initiator);
    free_side(&pair.responder);
    test_env_fini(&pair.env);
    return rc == 1 ? 0 : rc;
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    test_each_allocation_fails(shake_hands_with, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_fixed_keys_every_byte_is_that_of_the_vectors),
        cmocka_unit_test(each_side_learns_who_the_other_is_and_the_muxer),
        cmocka_unit_test(the_handshake_is_the_same_wherever_its_bytes_are_cut),
        cmocka_unit_test(without_extensions_on_either_side_no_muxer_is_agreed),
        cmocka_unit_test(a_payload_without_extensions_is_that_of_the_vectors),
        cmocka_unit_test(another_peer_than_the_one_dialled_is_refused),
        cmocka_unit_test(rsa_identities_shake_hands),
        cmocka_unit_test(a_changed_byte_is_noticed),
        cmocka_unit_test(malformed_first_messages_are_refused),
        cmocka_unit_test(what_follows_the_handshake_stays_in_the_input),
        cmocka_unit_test(the_largest_frame_goes_through_and_is_not_opened_before_it_is_whole),
        cmocka_unit_test(a_bad_transport_frame_ends_the_channel),
        cmocka_unit_test(nothing_is_sealed_or_opened_with_the_reserved_nonce),
        cmocka_unit_test(nothing_is_sealed_before_the_handshake_is_done),
        cmocka_unit_test(each_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
