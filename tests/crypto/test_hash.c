/* SPDX-License-Identifier: MIT */
/* Hashes, HKDF, AEAD, X25519, secrets, base64: the vectors of their RFCs. */
#include "support/test.h"

#include <pthread.h>

#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/secret.h"
#include "crypto/sign.h"
#include "crypto/x25519.h"

/* FIPS 180-4's examples */
static void hashes_match_their_standards(void **state)
{
    static const struct {
        const char *text, *sha1, *sha256;
    } rows[] = {
        {"", "da39a3ee5e6b4b0d3255bfef95601890afd80709",
         "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "a9993e364706816aba3e25717850c26c9cd0d89d",
         "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    uint8_t out[SKEP_SHA256_LEN];

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(rows); i++) {
        skep_bytes text = skep_bytes_str(rows[i].text);

        skep_sha1(out, text);
        assert_string_equal(test_hex(out, SKEP_SHA1_LEN), rows[i].sha1);
        skep_sha256(out, text);
        assert_string_equal(test_hex(out, SKEP_SHA256_LEN), rows[i].sha256);
        for (size_t cut = 0; cut <= text.len; cut++) {
            skep_sha256_pair(out, skep_bytes_of(text.data, cut),
                             skep_bytes_of(text.data + cut, text.len - cut));
            assert_string_equal(test_hex(out, SKEP_SHA256_LEN), rows[i].sha256);
        }
    }
}

static void *hash_in_a_thread(void *user)
{
    uint8_t out[SKEP_SHA1_LEN];

    for (size_t i = 0; i < 200; i++)
        skep_sha1(out, skep_bytes_str("abc"));
    memcpy(user, out, sizeof out);
    return NULL;
}

static void threads_hash_at_the_same_time(void **state)
{
    pthread_t threads[4];
    uint8_t out[4][SKEP_SHA1_LEN];

    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hash_in_a_thread, out[i]), 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_string_equal(test_hex(out[i], SKEP_SHA1_LEN),
                            "a9993e364706816aba3e25717850c26c9cd0d89d");
    }
}

/* RFC 5869, test case 3: no salt, which is 32 zeros, and no info, as Noise has it. */
static void hkdf_matches_rfc_5869(void **state)
{
    static const uint8_t zero[SKEP_SHA256_LEN];
    uint8_t out1[SKEP_SHA256_LEN], out2[SKEP_SHA256_LEN], chaining_key[SKEP_SHA256_LEN] = {0};

    (void)state;
    assert_int_equal(
        skep_hkdf2(out1, out2, zero, test_unhex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b")),
        0);
    assert_string_equal(test_hex(out1, sizeof out1),
                        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
    assert_string_equal(test_hex(out2, 10), "9d201395faa4b61a96c8");
    /* In Noise the first output replaces the chaining key that it was made from. */
    assert_int_equal(skep_hkdf2(chaining_key, out2, chaining_key,
                                test_unhex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b")),
                     0);
    assert_memory_equal(chaining_key, out1, sizeof out1);
    assert_int_equal(skep_hkdf2(out1, out2, zero, (skep_bytes){0}), 0);
}

/* RFC 8439, appendix A.5, whose nonce happens to begin with four zeros as Noise's do */
static const char aead_key[] = "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0";
static const char aead_data[] = "f33388860000000000004e91";
static const char aead_text[] =
    "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b0100d4f03b7f3558"
    "94cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c8559797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b"
    "53c867e4b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523eaf4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b42"
    "2273f548271a0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130305beaba2eda04df"
    "997b714d6c6f2c29a6ad5cb4022b02709beead9d67890cbb22392336fea1851f38";
static const uint64_t aead_counter = 0x0807060504030201;

static void aead_matches_rfc_8439_both_ways(void **state)
{
    skep_bytes sealed = test_unhex(aead_text);
    struct skep_aead aead;
    uint8_t data[300];

    (void)state;
    assert_int_equal(skep_aead_init(&aead, test_unhex(aead_key).data), 0);
    for (int round = 0; round < 3; round++) { /* the key stays, whatever was done before */
        memcpy(data, sealed.data, sealed.len);
        assert_int_equal(
            skep_aead_open(&aead, aead_counter, test_unhex(aead_data), data, sealed.len), 0);
        assert_memory_equal(data, "Internet-Drafts are draft documents", 35);
        assert_int_equal(skep_aead_seal(&aead, aead_counter, test_unhex(aead_data), data,
                                        sealed.len - SKEP_AEAD_TAG_LEN),
                         0);
        assert_memory_equal(data, sealed.data, sealed.len);
    }
    skep_aead_fini(&aead);
    skep_aead_fini(&aead); /* harmless */
}

static void aead_refuses_whatever_was_changed(void **state)
{
    skep_bytes sealed = test_unhex(aead_text), associated = test_unhex(aead_data);
    struct skep_aead aead;
    uint8_t data[300];

    (void)state;
    assert_int_equal(skep_aead_init(&aead, test_unhex(aead_key).data), 0);
    for (size_t i = 0; i < sealed.len; i++) {
        memcpy(data, sealed.data, sealed.len);
        data[i] ^= (uint8_t)(1u << i % 8);
        assert_int_equal(skep_aead_open(&aead, aead_counter, associated, data, sealed.len),
                         SKEP_EPEER_AUTH);
        assert_true(data[0] == 0 && data[100] == 0); /* the text is not left for anybody to use */
    }
    for (size_t cut = 0; cut < sealed.len; cut++) {
        memcpy(data, sealed.data, sealed.len);
        assert_int_equal(skep_aead_open(&aead, aead_counter, associated, data, cut),
                         SKEP_EPEER_AUTH);
    }
    memcpy(data, sealed.data, sealed.len);
    assert_int_equal(skep_aead_open(&aead, aead_counter + 1, associated, data, sealed.len),
                     SKEP_EPEER_AUTH);
    memcpy(data, sealed.data, sealed.len);
    assert_int_equal(skep_aead_open(&aead, aead_counter, (skep_bytes){0}, data, sealed.len),
                     SKEP_EPEER_AUTH);
    memcpy(data, sealed.data, sealed.len);
    assert_int_equal(skep_aead_open(&aead, aead_counter, associated, data, sealed.len),
                     0); /* and still works */
    skep_aead_fini(&aead);
}

static void empty_text_is_sealed_to_a_tag(void **state)
{
    struct skep_aead aead;
    uint8_t data[SKEP_AEAD_TAG_LEN];

    (void)state;
    assert_int_equal(skep_aead_init(&aead, test_unhex(aead_key).data), 0);
    assert_int_equal(skep_aead_seal(&aead, 0, (skep_bytes){0}, data, 0), 0);
    assert_int_equal(skep_aead_open(&aead, 0, (skep_bytes){0}, data, sizeof data), 0);
    data[3] ^= 1;
    assert_int_equal(skep_aead_open(&aead, 0, (skep_bytes){0}, data, sizeof data), SKEP_EPEER_AUTH);
    skep_aead_fini(&aead);
    assert_int_equal(skep_aead_seal(&aead, 0, (skep_bytes){0}, data, 0), SKEP_ECRYPTO);
}

/* RFC 7748, section 5.2: one and a thousand rounds, each with the last result as key and the key before as point. */
static void x25519_matches_rfc_7748(void **state)
{
    uint8_t k[SKEP_X25519_LEN] = {9}, u[SKEP_X25519_LEN] = {9}, out[SKEP_X25519_LEN];

    (void)state;
    for (int i = 1; i <= 1000; i++) {
        assert_int_equal(skep_x25519(out, k, u), 0);
        memcpy(u, k, sizeof u);
        memcpy(k, out, sizeof k);
        if (i == 1)
            assert_string_equal(test_hex(k, sizeof k),
                                "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
    }
    assert_string_equal(test_hex(k, sizeof k),
                        "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
}

/* The points of low order, and again with their top bit set, which is to be ignored. */
static void x25519_refuses_points_of_low_order(void **state)
{
    static const char *const points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    uint8_t private_key[SKEP_X25519_LEN], shared[SKEP_X25519_LEN], point[SKEP_X25519_LEN];

    (void)state;
    memset(private_key, 0x42, sizeof private_key);
    for (size_t i = 0; i < 2 * SKEP_COUNT_OF(points); i++) {
        memcpy(point, test_unhex(points[i / 2]).data, sizeof point);
        point[31] |= (uint8_t)(i % 2 << 7);
        memset(shared, 1, sizeof shared);
        assert_int_equal(skep_x25519(shared, private_key, point), SKEP_EPEER_AUTH);
        assert_int_equal(shared[5], 0);
    }
}

static void both_sides_agree_on_the_shared_secret(void **state)
{
    json_t *noise = test_get(test_vectors("transport.json"), "noise");
    const json_t *private_keys = test_get(noise, "private_keys"),
                 *public_keys = test_get(noise, "public_keys");
    uint8_t out[SKEP_X25519_LEN], ours[SKEP_X25519_LEN], theirs[SKEP_X25519_LEN];
    const char *name;
    json_t *value;

    (void)state;
    json_object_foreach(test_get(noise, "private_keys"), name, value)
    {
        assert_int_equal(skep_x25519_public(out, test_unhex(json_string_value(value)).data), 0);
        assert_string_equal(test_hex(out, sizeof out), test_str(public_keys, name));
    }
    assert_int_equal(skep_x25519(ours, test_unhex(test_str(private_keys, "initiator static")).data,
                                 test_unhex(test_str(public_keys, "responder static")).data),
                     0);
    assert_int_equal(skep_x25519(theirs,
                                 test_unhex(test_str(private_keys, "responder static")).data,
                                 test_unhex(test_str(public_keys, "initiator static")).data),
                     0);
    assert_memory_equal(ours, theirs, sizeof ours);
}

static void secrets_are_compared_whole_and_wiped(void **state)
{
    uint8_t secret[32], other[32];

    (void)state;
    memset(secret, 7, sizeof secret);
    memset(other, 7, sizeof other);
    assert_true(skep_secret_equal(secret, other, sizeof secret));
    other[31] ^= 0x80;
    assert_false(skep_secret_equal(secret, other, sizeof secret));
    skep_secret_wipe(secret, sizeof secret);
    for (size_t i = 0; i < sizeof secret; i++)
        assert_int_equal(secret[i], 0);
    skep_secret_wipe(NULL, 0);
}

/* RFC 4648, section 10 */
static void base64_matches_rfc_4648(void **state)
{
    static const struct {
        const char *text, *base64;
    } rows[] = {{"", ""},
                {"f", "Zg=="},
                {"fo", "Zm8="},
                {"foo", "Zm9v"},
                {"foob", "Zm9vYg=="},
                {"fooba", "Zm9vYmE="},
                {"foobar", "Zm9vYmFy"},
                {"\xfb\xff\xfe", "+//+"}};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(rows); i++) {
        struct skep_buf buf;

        skep_buf_init(&buf, &skep_mem_std);
        skep_base64_encode(&buf, skep_bytes_str(rows[i].text));
        assert_true(skep_bytes_equal(skep_buf_view(&buf), skep_bytes_str(rows[i].base64)));
        skep_buf_clear(&buf);
        assert_int_equal(skep_base64_decode(&buf, skep_bytes_str(rows[i].base64)), 0);
        assert_true(skep_bytes_equal(skep_buf_view(&buf), skep_bytes_str(rows[i].text)));
        skep_buf_fini(&buf);
    }
}

static void what_is_not_base64_is_refused(void **state)
{
    static const char *const bad[] = {"Z",      "Zg",   "Zg=",  "Zg===",        "Zm9vY",
                                      "Zm9v=",  "====", "=m9v", "Z=9v",         "Zm=v",
                                      "Zm9v\n", " Zm9", "Zm-_", "Zm9vZg==Zm9v", "Zm\xc3\xa9"};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(bad); i++) {
        struct skep_buf buf;

        skep_buf_init(&buf, &skep_mem_std);
        if (skep_base64_decode(&buf, skep_bytes_str(bad[i])) != SKEP_EVALUE || buf.len != 0)
            fail_msg("%s was taken", bad[i]);
        skep_buf_fini(&buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_match_their_standards),
        cmocka_unit_test(threads_hash_at_the_same_time),
        cmocka_unit_test(hkdf_matches_rfc_5869),
        cmocka_unit_test(aead_matches_rfc_8439_both_ways),
        cmocka_unit_test(aead_refuses_whatever_was_changed),
        cmocka_unit_test(empty_text_is_sealed_to_a_tag),
        cmocka_unit_test(x25519_matches_rfc_7748),
        cmocka_unit_test(x25519_refuses_points_of_low_order),
        cmocka_unit_test(both_sides_agree_on_the_shared_secret),
        cmocka_unit_test(secrets_are_compared_whole_and_wiped),
        cmocka_unit_test(base64_matches_rfc_4648),
        cmocka_unit_test(what_is_not_base64_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
