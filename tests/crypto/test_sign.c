/* SPDX-License-Identifier: MIT */
/* Signatures of the four kinds of keys, RSA-PSS records, and the encodings of keys. Those marked "made with" come from pyca/cryptography. */
#include "support/test.h"

#include <openssl/evp.h>

#include "base/limits.h"
#include "crypto/key.h"

static const char message_text[] = "what is signed";

static skep_bytes message(void)
{
    return skep_bytes_str(message_text);
}

/* Each over message_text, with SHA-256; made with pyca/cryptography. */
static const struct {
    enum skep_key_type type;
    const char *key, *signature;
} ecdsa_vectors[] = {
    {SKEP_KEY_SECP256K1, "031e6a12694805348e1fc5ec20d985d0de552a1295d1cbde261a8cfe539749bfe2",
     "3046022100c2d99ac76e56003bd61837bef4d9cc09c83e0386839ba893a62d7a7acf3b535e022100ba6c916a4f00afde54606c1790c711"
     "080aadd32ada2f5f8169c9c3cd0b26deb4"},
    {SKEP_KEY_ECDSA,
     "3059301306072a8648ce3d020106082a8648ce3d030107034200048ac18823730cb76211e007006c989a54e5ad88ddf520c05afd9232c8"
     "7c3e2c5e624b569e4b6d72fd9c300b99255b89bc0262b5878249da1f5d483594935b731a",
     "3046022100cb7fac2b1f714301bc9662a58a72296cef9e4ba77267591cc9af94c10417d6ae022100c5c8cad159752ceb6ed5b94bac7326"
     "2388887e174b5790aeb2d20c5081edbb73"},
    {SKEP_KEY_ECDSA,
     "3076301006072a8648ce3d020106052b81040022036200045b8943751cb7934c5723512e2a2a212d1977c4e2cbf8f549ffeecea1804806"
     "1c9a514e12dc04d4ab8d8fd447a10dcaa46fbb8ce275c784ce2ee2cefb9e79f2e8dd9cbcc1949ca5ea5699e3942f9203dc01c7e3c13c20"
     "853b76ec9a8741535f84",
     "306502303a5723a4c946d4267a1b763d69005e2a8892076da812bf23a22eb217ed93712c2b5d3bc7f0a113f25133e25ce2f76184023100"
     "9c970b451188440879f407409f57584905e1af37fd407913f58abeb52d74f69298437c0a4c441999c3eeed874ae58492"},
    {SKEP_KEY_ECDSA,
     "30819b301006072a8648ce3d020106052b81040023038186000401288430a4239b121949f52db0b01516a727532245299b7647f1560487"
     "59243e9e59eb44b8a3a0f881a4aa8c09b964f858e999e453f0a25cc5ac99172dc65a16f0e6013a01ef5dec812ecddc955f20456e343492"
     "a5217454e0a3d3417612d0a79d72fc1b6eb5fab0e77be2ac7491e8f770617a1e200bf652bf5158661a16b9c63c0ea4d0",
     "3081880242016b436f4e706bf325c8e80349d4b35c51364a745fbc6b83a7ddccc4db654cae27491fc946a882eab3fdf3447dfc9f85e3a4"
     "91d29f7d1690ba5fff975696d547ebe5024201aeb344d26da857946a2fc1bfc97aa3c8aaf9b7b97b0638a385f7048ac2388de1c058db44"
     "b84777ea6a3be5fa62ca8a7367633f380858f25dc09338e5cabe8e6f1e"},
};

/* Every bit of key and signature changed in turn, and both cut at each byte. */
static void refuse_all_changes(enum skep_key_type type, skep_bytes key, skep_bytes text,
                               skep_bytes signature)
{
    uint8_t *copy = malloc(SKEP_MAX(key.len, signature.len) + 1);

    assert_non_null(copy);
    assert_int_equal(skep_verify(type, key, text, signature), 0);
    for (size_t i = 0; i < signature.len; i++) {
        memcpy(copy, signature.data, signature.len);
        copy[i] ^= (uint8_t)(1u << i % 8);
        assert_int_equal(skep_verify(type, key, text, skep_bytes_of(copy, signature.len)),
                         SKEP_EPEER_AUTH);
        assert_int_equal(skep_verify(type, key, text, skep_bytes_of(signature.data, i)),
                         SKEP_EPEER_AUTH);
    }
    for (size_t i = 0; i < key.len; i++) {
        memcpy(copy, key.data, key.len);
        copy[i] ^= (uint8_t)(1u << i % 8);
        /* In DER a byte may not matter (the parameters of RSA, the point's form), but then it must be the same key. */
        if (type == SKEP_KEY_ED25519 || type == SKEP_KEY_SECP256K1)
            assert_int_equal(skep_verify(type, skep_bytes_of(copy, key.len), text, signature),
                             SKEP_EPEER_AUTH);
        else
            skep_verify(type, skep_bytes_of(copy, key.len), text, signature);
        assert_int_equal(skep_verify(type, skep_bytes_of(key.data, i), text, signature),
                         SKEP_EPEER_AUTH);
    }
    memcpy(copy, signature.data, signature.len);
    copy[signature.len] = 0;
    assert_int_equal(skep_verify(type, key, text, skep_bytes_of(copy, signature.len + 1)),
                     SKEP_EPEER_AUTH);
    assert_int_equal(skep_verify(type, key, skep_bytes_of(text.data, text.len - 1), signature),
                     SKEP_EPEER_AUTH);
    assert_int_equal(skep_verify(type, key, (skep_bytes){0}, signature), SKEP_EPEER_AUTH);
    for (int other = SKEP_KEY_RSA; other <= SKEP_KEY_ECDSA; other++)
        if (other != (int)type)
            assert_int_equal(skep_verify((enum skep_key_type)other, key, text, signature),
                             SKEP_EPEER_AUTH);
    assert_int_equal(skep_verify((enum skep_key_type)4, key, text, signature), SKEP_EPEER_AUTH);
    free(copy);
}

static void ecdsa_signatures_verify_and_changed_ones_do_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(ecdsa_vectors); i++)
        refuse_all_changes(ecdsa_vectors[i].type, test_unhex(ecdsa_vectors[i].key), message(),
                           test_unhex(ecdsa_vectors[i].signature));
}

static void curves_that_libp2p_does_not_name_are_refused(void **state)
{
    /* brainpoolP256r1, and secp256k1 as SubjectPublicKeyInfo with a signature that is right */
    static const char brainpool[] =
        "305a301406072a8648ce3d020106092b240303020801010703420004668adacf4ed5f35980db33ee865581f20198bc9364bdd94dc8aaa9"
        "731cb7bb1704c51e8d475b04dbb59639f222f130d92d03e72e0f7a8e92af582ef674c3ce64";
    static const char secp256k1[] =
        "3056301006072a8648ce3d020106052b8104000a034200041e6a12694805348e1fc5ec20d985d0de552a1295d1cbde261a8cfe539749bf"
        "e28aca72f4bda90def52757723d36e57de5fdff3ebd204aa79dead42e5d24dd543";

    (void)state;
    assert_int_equal(skep_verify(SKEP_KEY_ECDSA, test_unhex(brainpool), message(),
                                 test_unhex(ecdsa_vectors[1].signature)),
                     SKEP_EPEER_AUTH);
    assert_int_equal(skep_verify(SKEP_KEY_ECDSA, test_unhex(secp256k1), message(),
                                 test_unhex(ecdsa_vectors[0].signature)),
                     SKEP_EPEER_AUTH);
}

/* RFC 8032, section 7.1, test 2 */
static void ed25519_matches_rfc_8032(void **state)
{
    static const char signature_hex[] =
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
    struct skep_private_key *key;
    struct skep_buf buf;

    (void)state;
    assert_int_equal(
        skep_private_key_from_ed25519(
            &key, &skep_mem_std,
            test_unhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").data),
        0);
    skep_buf_init(&buf, &skep_mem_std);
    assert_int_equal(skep_private_key_public(key, &buf), 0);
    assert_string_equal(test_hex(buf.data, buf.len),
                        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    skep_buf_clear(&buf);
    assert_int_equal(skep_sign(key, skep_bytes_of("\x72", 1), &buf), 0);
    assert_string_equal(test_hex(buf.data, buf.len), signature_hex);
    assert_int_equal(skep_sign_pss(key, message(), &buf), SKEP_EKEY);
    assert_int_equal(skep_private_key_openssh(key, &buf), SKEP_EKEY);
    refuse_all_changes(
        SKEP_KEY_ED25519,
        test_unhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"),
        skep_bytes_of("\x72", 1), test_unhex(signature_hex));
    skep_buf_fini(&buf);
    skep_private_key_free(key);
}

/* With the neutral point as key, R = neutral and S = 0 fit every message: [S]B = R + [h]A for whatever h. */
static void ed25519_keys_of_small_order_are_refused(void **state)
{
    static const char *const keys[] = {
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    };
    uint8_t signature[64] = {1};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(keys); i++)
        for (uint8_t text = 0; text < 32; text++) /* one in eight would do for the other points */
            assert_int_equal(skep_verify(SKEP_KEY_ED25519, test_unhex(keys[i]),
                                         skep_bytes_of(&text, 1),
                                         skep_bytes_of(signature, sizeof signature)),
                             SKEP_EPEER_AUTH);
}

static struct skep_private_key *records_key(const struct skep_mem *mem)
{
    struct skep_private_key *key;

    assert_int_equal(
        skep_private_key_from_pem(
            &key, mem,
            skep_bytes_str(test_str(test_get(test_vectors("records.json"), "key"), "private_pem"))),
        0);
    return key;
}

static void rsa_signs_and_verifies_as_libp2p_does(void **state)
{
    struct skep_private_key *key = records_key(&skep_mem_std);
    struct skep_buf public_key, signature;

    (void)state;
    skep_buf_init(&public_key, &skep_mem_std);
    skep_buf_init(&signature, &skep_mem_std);
    assert_int_equal(skep_private_key_type(key), SKEP_KEY_RSA);
    assert_int_equal(skep_private_key_public(key, &public_key), 0);
    assert_int_equal(skep_sign(key, message(), &signature), 0);
    assert_int_equal(signature.len, 256);
    refuse_all_changes(SKEP_KEY_RSA, skep_buf_view(&public_key), message(),
                       skep_buf_view(&signature));
    skep_buf_fini(&public_key);
    skep_buf_fini(&signature);
    skep_private_key_free(key);
}

/* 1024 bits with a signature that is right; made with pyca/cryptography */
static void rsa_keys_out_of_bounds_are_refused(void **state)
{
    static const char key_1024[] =
        "30819f300d06092a864886f70d010101050003818d0030818902818100e14ee9b196bb142027699a2a1436131e89648f380e18198e5a94"
        "bd869805f5e2e95d794d8e9ac46260e2c2b2ca87d36d99dfa8a8b1a67f7c7ca3e6d8ce237444562fd0b4126fc7473b936a4f989533ef47"
        "315866f115acf3ac25f5f83995d2db91ee436ed43da54e4e4df1527b14cd020786fc14f1bb0a5efc18f6bd62c151b50203010001";
    static const char signature_1024[] =
        "a6e1cca286e2690e250701776ecf234561a84ace416cb4a864f203d3fb09b06c96160d0c4f827dd45995b165c2669ff4c590947efe0b0a"
        "613cfb249bc489a688f7f02158d6bd3b0dc86b529670ffa80923ddd8a3d944c530a32c0f34d02ae3420342fa0bb596138f6b0f4be5daf1"
        "4d776e0bd29aed04085cbfcd9a2bdef2f266";
    struct skep_private_key *key;

    (void)state;
    assert_int_equal(
        skep_verify(SKEP_KEY_RSA, test_unhex(key_1024), message(), test_unhex(signature_1024)),
        SKEP_EPEER_AUTH);
    assert_int_equal(skep_private_key_new_rsa(&key, &skep_mem_std, SKEP_RSA_BITS_MIN - 1),
                     SKEP_EKEY);
    assert_int_equal(skep_private_key_new_rsa(&key, &skep_mem_std, SKEP_RSA_BITS_MAX + 1),
                     SKEP_EKEY);
    assert_null(key);
}

/* "ssh-rsa …" with these numbers; n is 2^(bits - 1) + 1 */
static bool openssh_is_taken(size_t bits, const char *e_hex, const char *behind)
{
    static uint8_t n[2048];
    skep_bytes e = test_unhex(e_hex);
    size_t n_len = bits / 8 + 1;
    struct skep_buf blob, text;
    EVP_PKEY *pkey;

    memset(n, 0, sizeof n);
    n[n_len - 1 - (bits - 1) / 8] = (uint8_t)(1u << (bits - 1) % 8);
    n[n_len - 1] |= 1;
    skep_buf_init(&blob, &skep_mem_std);
    skep_buf_init(&text, &skep_mem_std);
    skep_buf_put_be32(&blob, 7);
    skep_buf_put_str(&blob, "ssh-rsa");
    skep_buf_put_be32(&blob, (uint32_t)e.len);
    skep_buf_put_bytes(&blob, e);
    skep_buf_put_be32(&blob, (uint32_t)n_len);
    skep_buf_put(&blob, n, n_len);
    skep_buf_put_str(&blob, behind);
    skep_buf_put_str(&text, "ssh-rsa ");
    skep_base64_encode(&text, skep_buf_view(&blob));
    pkey = skep_rsa_of_openssh(&skep_mem_std, skep_buf_view(&text));
    EVP_PKEY_free(pkey);
    skep_buf_fini(&blob);
    skep_buf_fini(&text);
    return pkey != NULL;
}

static void rsa_numbers_have_bounds_and_one_past_them_is_refused(void **state)
{
    (void)state;
    assert_true(openssh_is_taken(SKEP_RSA_BITS_MIN, "010001", ""));
    assert_false(openssh_is_taken(SKEP_RSA_BITS_MIN - 1, "010001", ""));
    assert_true(openssh_is_taken(SKEP_RSA_BITS_MAX, "010001", ""));
    assert_false(openssh_is_taken(SKEP_RSA_BITS_MAX + 1, "010001", ""));
    assert_false(openssh_is_taken(2 * SKEP_RSA_BITS_MAX - 8, "010001", ""));
    assert_true(openssh_is_taken(SKEP_RSA_BITS_MIN, "03", ""));
    assert_true(openssh_is_taken(SKEP_RSA_BITS_MIN, "7fffffff", ""));
    assert_false(openssh_is_taken(SKEP_RSA_BITS_MIN, "0080000001", "")); /* 32 bits */
    assert_false(openssh_is_taken(SKEP_RSA_BITS_MIN, "01", ""));
    assert_false(openssh_is_taken(SKEP_RSA_BITS_MIN, "010000", "")); /* even */
    assert_false(openssh_is_taken(SKEP_RSA_BITS_MIN, "", ""));
    assert_false(openssh_is_taken(SKEP_RSA_BITS_MIN, "810001", "")); /* negative */
    assert_false(openssh_is_taken(SKEP_RSA_BITS_MIN, "010001", "x"));
}

static void signed_records_of_hivemind_verify(void **state)
{
    const json_t *vectors = test_vectors("records.json");
    const char *openssh = test_str(test_get(vectors, "key"), "public_openssh");
    json_t *cases = test_get(vectors, "cases"), *row;
    size_t i, verified = 0;

    (void)state;
    json_array_foreach(cases, i, row)
    {
        static const char mark[] = "[signature:";
        skep_bytes value = test_unhex(test_str(row, "value"));
        const uint8_t *at = memmem(value.data, value.len, mark, sizeof mark - 1);
        struct skep_buf signature;

        if (!at || !json_is_true(test_get(row, "validate")) ||
            !json_object_get(row, "signed_message"))
            continue;
        at += sizeof mark - 1;
        skep_buf_init(&signature, &skep_mem_std);
        assert_int_equal(
            skep_base64_decode(&signature,
                               skep_bytes_of(at, (size_t)(value.data + value.len - 1 - at))),
            0);
        assert_int_equal(skep_verify_pss(skep_bytes_str(openssh),
                                         test_unhex(test_str(row, "signed_message")),
                                         skep_buf_view(&signature)),
                         0);
        signature.data[signature.len / 2] ^= 1;
        assert_int_equal(skep_verify_pss(skep_bytes_str(openssh),
                                         test_unhex(test_str(row, "signed_message")),
                                         skep_buf_view(&signature)),
                         SKEP_EPEER_AUTH);
        skep_buf_fini(&signature);
        verified++;
    }
    assert_true(verified >= 2);
}

/* Salt of 32 bytes; made with pyca/cryptography and the vectors' key */
static const char short_salt[] =
    "0cd76f809e92e4ffbd99dd9c0dd1b800573d7c2f08f9ba5ab3d4f23a384e8206f82aeb94059920136debdcfb605e01c1958e710984e99b"
    "5af60f37a5c10657bb46e340a51e87b93db42959e09a940d5cc3c49ff36941f7c62600abd2ce81320ed34605f50a998fbdfced76dbc0d2"
    "8f45f116d6760e20f6ecf2c6374be37ea28a31204331a329736cf5ccc18aad537b668d0fc03f004624ae1a54f2d91d4e917979f52d7075"
    "f019f11e35556843c904d35970a33668044167f94062c8f5f6ffe559f4bf5ce3444ec9ffbbd5cd25e588e7d93e2738108143829df099da"
    "9cf6d9f7583596b6b79032573fd1358215dd83b54d2e2e4347f6eb6a1674fabc672b05b6";

static void pss_salts_have_the_greatest_length(void **state)
{
    struct skep_private_key *key = records_key(&skep_mem_std);
    struct skep_buf openssh, signature;

    (void)state;
    skep_buf_init(&openssh, &skep_mem_std);
    skep_buf_init(&signature, &skep_mem_std);
    assert_int_equal(skep_private_key_openssh(key, &openssh), 0);
    assert_true(skep_bytes_equal(
        skep_buf_view(&openssh),
        skep_bytes_str(test_str(test_get(test_vectors("records.json"), "key"), "public_openssh"))));
    assert_int_equal(skep_sign_pss(key, message(), &signature), 0);
    assert_int_equal(skep_verify_pss(skep_buf_view(&openssh), message(), skep_buf_view(&signature)),
                     0);
    assert_int_equal(skep_verify_pss(skep_buf_view(&openssh), message(), test_unhex(short_salt)),
                     SKEP_EPEER_AUTH);
    for (size_t cut = 0; cut < openssh.len; cut++)
        assert_int_equal(
            skep_verify_pss(skep_bytes_of(openssh.data, cut), message(), skep_buf_view(&signature)),
            SKEP_EPEER_AUTH);
    openssh.data[40] ^= 1;
    assert_int_equal(skep_verify_pss(skep_buf_view(&openssh), message(), skep_buf_view(&signature)),
                     SKEP_EPEER_AUTH);
    skep_buf_fini(&openssh);
    skep_buf_fini(&signature);
    skep_private_key_free(key);
}

static void private_keys_survive_their_encodings(void **state)
{
    struct skep_private_key *key = records_key(&skep_mem_std), *again;
    struct skep_buf der, der_again;

    (void)state;
    skep_buf_init(&der, &skep_mem_std);
    skep_buf_init(&der_again, &skep_mem_std);
    assert_int_equal(skep_private_key_export(key, &der), 0);
    assert_int_equal(skep_private_key_from_rsa_der(&again, &skep_mem_std, skep_buf_view(&der)), 0);
    assert_int_equal(skep_private_key_export(again, &der_again), 0);
    assert_true(skep_bytes_equal(skep_buf_view(&der), skep_buf_view(&der_again)));
    skep_private_key_free(again);
    for (size_t cut = 0; cut < der.len; cut += cut < 64 ? 1 : 17)
        assert_int_equal(
            skep_private_key_from_rsa_der(&again, &skep_mem_std, skep_bytes_of(der.data, cut)),
            SKEP_EKEY);
    skep_buf_put_u8(&der, 0);
    assert_int_equal(skep_private_key_from_rsa_der(&again, &skep_mem_std, skep_buf_view(&der)),
                     SKEP_EKEY);
    assert_int_equal(skep_private_key_from_pem(&again, &skep_mem_std, skep_buf_view(&der)),
                     SKEP_EKEY);
    assert_int_equal(skep_private_key_from_pem(&again, &skep_mem_std, skep_bytes_str("")),
                     SKEP_EKEY);
    assert_null(again);
    skep_buf_fini(&der);
    skep_buf_fini(&der_again);
    skep_private_key_free(key);
}

static void an_rsa_key_one_byte_past_64_kib_is_refused(void **state)
{
    skep_bytes pem =
        skep_bytes_str(test_str(test_get(test_vectors("records.json"), "key"), "private_pem"));
    uint8_t *text = malloc((size_t)SKEP_KEY_TEXT_MAX + 1);
    struct skep_private_key *key;

    (void)state;
    assert_non_null(text);
    memset(text, '\n', (size_t)SKEP_KEY_TEXT_MAX + 1); /* what follows the key is not looked at */
    memcpy(text, pem.data, pem.len);
    assert_int_equal(
        skep_private_key_from_pem(&key, &skep_mem_std, skep_bytes_of(text, SKEP_KEY_TEXT_MAX)), 0);
    skep_private_key_free(key);
    assert_int_equal(skep_private_key_from_pem(&key, &skep_mem_std,
                                               skep_bytes_of(text, (size_t)SKEP_KEY_TEXT_MAX + 1)),
                     SKEP_EKEY);
    assert_null(key);
    free(text);
}

static int use_a_key(const struct skep_mem *mem, void *user)
{
    uint8_t seed[SKEP_ED25519_LEN] = {1};
    struct skep_private_key *key;
    struct skep_buf buf;
    int rc = skep_private_key_from_ed25519(&key, mem, seed);

    (void)user;
    if (rc < 0)
        return rc;
    skep_buf_init(&buf, mem);
    if ((rc = skep_private_key_public(key, &buf)) == 0 &&
        (rc = skep_sign(key, message(), &buf)) == 0)
        rc = skep_private_key_export(key, &buf);
    skep_buf_fini(&buf);
    skep_private_key_free(key);
    return rc;
}

static int use_an_rsa_key(const struct skep_mem *mem, void *user)
{
    struct skep_private_key *key;
    struct skep_buf buf;
    int rc = skep_private_key_from_pem(&key, mem, skep_bytes_str(user));

    if (rc < 0)
        return rc;
    skep_buf_init(&buf, mem);
    if ((rc = skep_private_key_openssh(key, &buf)) == 0 &&
        (rc = skep_sign_pss(key, message(), &buf)) == 0)
        rc = skep_private_key_export(key, &buf);
    skep_buf_fini(&buf);
    skep_private_key_free(key);
    return rc;
}

static void each_failing_allocation_is_reported(void **state)
{
    char *pem = strdup(test_str(test_get(test_vectors("records.json"), "key"), "private_pem"));

    (void)state;
    test_each_allocation_fails(use_a_key, NULL);
    test_each_allocation_fails(use_an_rsa_key, pem);
    free(pem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ecdsa_signatures_verify_and_changed_ones_do_not),
        cmocka_unit_test(curves_that_libp2p_does_not_name_are_refused),
        cmocka_unit_test(ed25519_matches_rfc_8032),
        cmocka_unit_test(ed25519_keys_of_small_order_are_refused),
        cmocka_unit_test(rsa_signs_and_verifies_as_libp2p_does),
        cmocka_unit_test(rsa_keys_out_of_bounds_are_refused),
        cmocka_unit_test(rsa_numbers_have_bounds_and_one_past_them_is_refused),
        cmocka_unit_test(signed_records_of_hivemind_verify),
        cmocka_unit_test(pss_salts_have_the_greatest_length),
        cmocka_unit_test(private_keys_survive_their_encodings),
        cmocka_unit_test(an_rsa_key_one_byte_past_64_kib_is_refused),
        cmocka_unit_test(each_failing_allocation_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
