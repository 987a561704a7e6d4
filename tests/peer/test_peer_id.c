/* SPDX-License-Identifier: MIT */
/* Peer ids and identity files. Vectors: transport.json (p2pd reported these ids) and the peer-ids specification. */
#include "support/test.h"

#include "base/limits.h"
#include "base/pb.h"
#include "peer/base58.h"
#include "peer/key.h"

static void identity_files_of_p2pd_and_hivemind_give_their_ids(void **state)
{
    json_t *vectors = test_get(test_vectors("transport.json"), "peer_ids"), *vector;
    size_t i, of_rsa = 0;

    (void)state;
    json_array_foreach(vectors, i, vector)
    {
        skep_bytes file = test_unhex(test_str(vector, "identity_file"));
        char text[SKEP_PEER_ID_TEXT_MAX];
        struct skep_identity identity;
        struct skep_buf again;

        assert_int_equal(skep_identity_parse(&identity, &skep_mem_std, file), 0);
        assert_string_equal(skep_peer_id_text(text, &identity.id),
                            test_str(vector, "peer_id_base58"));
        assert_string_equal(test_hex(identity.id.bytes, identity.id.len),
                            test_str(vector, "peer_id"));
        if (json_object_get(vector, "public_key_pb"))
            assert_string_equal(test_hex(identity.public_key.data, identity.public_key.len),
                                test_str(vector, "public_key_pb"));
        skep_buf_init(&again, &skep_mem_std);
        assert_int_equal(skep_identity_serialize(&identity, &again), 0);
        assert_true(skep_bytes_equal(skep_buf_view(&again), file));
        of_rsa += skep_private_key_type(identity.key) == SKEP_KEY_RSA;
        skep_buf_fini(&again);
        skep_identity_fini(&identity);
    }
    assert_true(i >= 4 && of_rsa >= 1);
}

static void an_identity_comes_from_its_seed(void **state)
{
    json_t *vector = json_array_get(test_get(test_vectors("transport.json"), "peer_ids"), 0);
    struct skep_identity identity;
    struct skep_peer_id id;
    skep_bytes message;

    (void)state;
    assert_int_equal(skep_identity_from_seed(&identity, &skep_mem_std,
                                             test_unhex(test_str(vector, "seed")).data),
                     0);
    assert_int_equal(
        skep_peer_id_from_base58(&id, skep_bytes_str(test_str(vector, "peer_id_base58"))), 0);
    assert_true(skep_peer_id_equal(&identity.id, &id));
    assert_true(skep_peer_id_inline_key(&id, &message));
    assert_true(skep_bytes_equal(message, skep_buf_view(&identity.public_key)));
    skep_identity_fini(&identity);
    skep_identity_fini(&identity); /* harmless */
}

static void identity_files_cut_or_damaged_are_refused(void **state)
{
    json_t *vectors = test_get(test_vectors("transport.json"), "peer_ids"), *vector;
    size_t i;

    (void)state;
    json_array_foreach(vectors, i, vector)
    {
        skep_bytes file = test_unhex(test_str(vector, "identity_file"));
        struct skep_identity identity;
        uint8_t *part = malloc(file.len);

        assert_non_null(part);
        for (size_t cut = 0; cut < file.len; cut += cut < 80 ? 1 : 13) {
            memcpy(part, file.data, cut);
            assert_int_equal(
                skep_identity_parse(&identity, &skep_mem_std, skep_bytes_of(part, cut)), SKEP_EKEY);
            assert_null(identity.key);
        }
        free(part);
    }
}

static void the_forms_of_an_ed25519_identity_are_checked(void **state)
{
    json_t *vector = json_array_get(test_get(test_vectors("transport.json"), "peer_ids"), 0);
    skep_bytes file = test_unhex(test_str(vector, "identity_file"));
    uint8_t text[4 + 96] = {0x08, 0x01, 0x12, 0x60};
    struct skep_identity identity;

    (void)state;
    memcpy(text + 4, file.data + 4, 64);
    memcpy(text + 68, file.data + 36, 32); /* the older form has the public key twice */
    assert_int_equal(
        skep_identity_parse(&identity, &skep_mem_std, skep_bytes_of(text, sizeof text)), 0);
    skep_identity_fini(&identity);
    text[99] ^= 1;
    assert_int_equal(
        skep_identity_parse(&identity, &skep_mem_std, skep_bytes_of(text, sizeof text)), SKEP_EKEY);
    memcpy(text, file.data, file.len);
    text[40] ^= 1; /* the halves disagree */
    assert_int_equal(skep_identity_parse(&identity, &skep_mem_std, skep_bytes_of(text, file.len)),
                     SKEP_EKEY);
    memcpy(text, file.data, file.len);
    text[1] = SKEP_KEY_SECP256K1; /* kinds that we do not make */
    assert_int_equal(skep_identity_parse(&identity, &skep_mem_std, skep_bytes_of(text, file.len)),
                     SKEP_EKEY);
    text[1] = SKEP_KEY_RSA;
    assert_int_equal(skep_identity_parse(&identity, &skep_mem_std, skep_bytes_of(text, file.len)),
                     SKEP_EKEY);
    assert_int_equal(skep_identity_parse(&identity, &skep_mem_std, test_unhex("0801")), SKEP_EKEY);
    assert_int_equal(
        skep_identity_parse(&identity, &skep_mem_std, skep_bytes_of(file.data + 2, file.len - 2)),
        SKEP_EKEY);
}

static void an_identity_file_past_the_bound_is_refused(void **state)
{
    static uint8_t text[SKEP_IDENTITY_FILE_MAX + 1];
    json_t *vector = json_array_get(test_get(test_vectors("transport.json"), "peer_ids"), 0);
    skep_bytes file = test_unhex(test_str(vector, "identity_file"));
    struct skep_identity identity;
    struct skep_buf buf;

    (void)state;
    for (size_t extra = 0; extra < 2; extra++) { /* an unknown field makes it as long as we like */
        skep_buf_init(&buf, &skep_mem_std);
        skep_buf_put_bytes(&buf, file);
        skep_pb_put_bytes(&buf, 15,
                          skep_bytes_of(text, SKEP_IDENTITY_FILE_MAX + extra - file.len - 3));
        assert_int_equal(buf.len, SKEP_IDENTITY_FILE_MAX + extra);
        assert_int_equal(skep_identity_parse(&identity, &skep_mem_std, skep_buf_view(&buf)),
                         extra == 0 ? 0 : SKEP_EKEY);
        skep_identity_fini(&identity);
        skep_buf_fini(&buf);
    }
}

/* peer-ids, "Test vectors" and "Examples"; the other multibases of the same CIDs */
static void ids_are_read_from_every_text_form(void **state)
{
    static const struct {
        const char *hex, *texts[4];
    } rows[] = {
        {"0024080112202ffa35a99d3a3cfbb17bb7c1dc5561b18a8dcca4df38dc613ea859c37eb1336b",
         {"12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
          "bafzaajaiaejcal72gwuz2or47oyxxn6b3rkwdmmkrxgkjxzy3rqt5kczyn7lcm3l",
          "k51qzi5uqu5dhdmyb9bd18pypu2wp5lpv2xnskfmrqa4lb5knqryrotb05e7or",
          "z5AanNVJCxnJ4fhdT9DsSUYvwjgHpsJ4pn4bueg8bvDe6b1tDj9rmdk"}},
        {"12209dff3b17d74cf4d38a50d8b6383e92d181a10395a5e73a726dcccbd21bf6f0b9",
         {"QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
          "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe",
          "k2k4r8ncs1yoluq95unsd7x2vfhgve0ncjoggwqx9vyh3vl8warrcp15",
          "zdvgqC3jczfCwLUoSyWT8GLc5UZ9aG4RkAg7XAfidRbX9qVj6"}},
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(rows); i++)
        for (size_t j = 0; j < 4; j++) {
            skep_bytes text = skep_bytes_str(rows[i].texts[j]);
            struct skep_peer_id id;
            char out[SKEP_PEER_ID_TEXT_MAX];

            assert_int_equal(skep_peer_id_from_text(&id, text), 0);
            assert_string_equal(test_hex(id.bytes, id.len), rows[i].hex);
            assert_string_equal(skep_peer_id_text(out, &id), rows[i].texts[0]);
            assert_int_equal(skep_peer_id_from_base58(&id, text), j == 0 ? 0 : SKEP_EPEERID);
            for (size_t cut = 0; cut < text.len; cut++) {
                /* "12D3KooWD3ec" happens to be an identity multihash too, of seven bytes. */
                bool is_one = i == 0 && j == 0 && cut == 12;

                assert_int_equal(skep_peer_id_from_text(&id, skep_bytes_of(text.data, cut)),
                                 is_one ? 0 : SKEP_EPEERID);
            }
        }
}

static void what_is_no_peer_id_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "1",
        "Q",
        "Qm",
        "b",
        "k",
        "z",
        "x",
        "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5S",
        "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SAA",
        "112D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
        "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5S0", /* 0 is no digit */
        "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA\n",
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5\xc3",
        "bafybeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe", /* a CID of another codec */
        "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxf", /* left-over bits that are not zero */
        "BAFZBEIE5745RPV2M6TJYUUGYWY4D5EWRQGQQHFNF445HE3OMZPJBX5XQXE",
        "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
        "kzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
        "k0000000000000000000000000000000000000000000000000000000000000000000000000",
        "b7777777777777777777777777777777777777777777777777777777777777777777777777777777777777",
    };
    static const char *const bytes[] = {"",     "00",     "0001",   "000200",
                                        "1220", "112000", "122100", "002b00"};
    uint8_t inline_id[2 + SKEP_PEER_ID_INLINE_MAX + 1] = {0};
    struct skep_peer_id id;

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(texts); i++)
        if (skep_peer_id_from_text(&id, skep_bytes_str(texts[i])) != SKEP_EPEERID || id.len != 0)
            fail_msg("%s was taken", texts[i]);
    for (size_t i = 0; i < SKEP_COUNT_OF(bytes); i++)
        if (skep_peer_id_from_bytes(&id, test_unhex(bytes[i])) != SKEP_EPEERID || id.len != 0)
            fail_msg("%s was taken", bytes[i]);
    inline_id[1] = SKEP_PEER_ID_INLINE_MAX;
    assert_int_equal(
        skep_peer_id_from_bytes(&id, skep_bytes_of(inline_id, 2 + SKEP_PEER_ID_INLINE_MAX)), 0);
    inline_id[1]++;
    assert_int_equal(skep_peer_id_from_bytes(&id, skep_bytes_of(inline_id, sizeof inline_id)),
                     SKEP_EPEERID);
}

static void a_long_key_is_hashed_and_a_short_one_is_inside(void **state)
{
    uint8_t message[SKEP_PEER_ID_INLINE_MAX + 1] = {7};
    struct skep_peer_id id, again;
    char text[SKEP_PEER_ID_TEXT_MAX];
    skep_bytes inside;

    (void)state;
    skep_peer_id_from_public_key(&id, skep_bytes_of(message, SKEP_PEER_ID_INLINE_MAX));
    assert_true(skep_peer_id_inline_key(&id, &inside));
    assert_int_equal(inside.len, SKEP_PEER_ID_INLINE_MAX);
    assert_int_equal(skep_peer_id_from_text(&again, skep_bytes_str(skep_peer_id_text(text, &id))),
                     0);
    assert_memory_equal(&id, &again, sizeof id); /* fit for a map's key, tail and all */
    skep_peer_id_from_public_key(&id, skep_bytes_of(message, sizeof message));
    assert_int_equal(id.len, 34);
    assert_false(skep_peer_id_inline_key(&id, &inside));
}

/* The same numbers digit by digit */
static size_t slow_base58(char *out, skep_bytes in)
{
    static const char alphabet[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    uint8_t digits[100] = {0};
    size_t count = 0, zeros = 0;

    while (zeros < in.len && in.data[zeros] == 0)
        zeros++;
    for (size_t i = zeros; i < in.len; i++) {
        unsigned carry = in.data[i];

        for (size_t j = 0; j < count || carry > 0; j++) {
            carry += digits[j] * 256u;
            digits[j] = (uint8_t)(carry % 58);
            carry /= 58;
            count = SKEP_MAX(count, j + 1);
        }
    }
    memset(out, '1', zeros);
    for (size_t i = 0; i < count; i++)
        out[zeros + i] = alphabet[digits[count - 1 - i]];
    out[zeros + count] = '\0';
    return zeros + count;
}

static void base58_agrees_with_long_division(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(20000); seed++) {
        uint8_t bytes[SKEP_BASE58_BYTES_MAX], back[SKEP_BASE58_BYTES_MAX];
        char fast[SKEP_BASE58_TEXT_MAX + 1], slow[SKEP_BASE58_TEXT_MAX + 20];
        struct skep_prng prng;
        size_t len, text_len;

        skep_prng_init(&prng, seed);
        len = skep_prng_below(&prng, SKEP_BASE58_BYTES_MAX + 1);
        skep_prng_fill(&prng, bytes, len);
        memset(bytes, skep_prng_below(&prng, 4) ? 0 : 0xff,
               skep_prng_below(&prng, len + 1) / (1 + skep_prng_below(&prng, 9)));
        text_len = skep_base58_encode(fast, skep_bytes_of(bytes, len));
        if (slow_base58(slow, skep_bytes_of(bytes, len)) != text_len || strcmp(fast, slow) != 0)
            fail_msg("SKEP_SEED=%llu: %s, not %s", (unsigned long long)seed, fast, slow);
        if (skep_base58_decode(back, sizeof back, skep_bytes_of(fast, text_len)) !=
                (ptrdiff_t)len ||
            memcmp(back, bytes, len) != 0)
            fail_msg("SKEP_SEED=%llu: %s does not read back", (unsigned long long)seed, fast);
        if (len > 0)
            assert_int_equal(skep_base58_decode(back, len - 1, skep_bytes_of(fast, text_len)), -1);
    }
}

static void public_keys_have_one_encoding(void **state)
{
    static const char ed25519[] =
        "080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e";
    static const char *const bad[] = {
        "",
        "0801",
        "08011200ff",
        "08041200",
        "12011e0801",
        "080112011e1a00",
        "0801120200",
        "08011281001e",
        "8801001201aa",
        "08810012011e",
        "080112ffffffffffffffffff01",
    };
    skep_bytes data, whole = test_unhex(ed25519);
    enum skep_key_type type;

    (void)state;
    assert_int_equal(skep_public_key_parse(whole, &type, &data), 0);
    assert_int_equal(type, SKEP_KEY_ED25519);
    assert_int_equal(data.len, 32);
    for (size_t cut = 0; cut < whole.len; cut++)
        assert_int_equal(skep_public_key_parse(skep_bytes_of(whole.data, cut), &type, &data),
                         SKEP_EPEER_AUTH);
    for (size_t i = 0; i < SKEP_COUNT_OF(bad); i++)
        if (skep_public_key_parse(test_unhex(bad[i]), &type, &data) != SKEP_EPEER_AUTH)
            fail_msg("%s was taken", bad[i]);
}

static void a_public_key_past_the_bound_is_refused(void **state)
{
    static uint8_t text[SKEP_PUBLIC_KEY_MESSAGE_MAX + 1];
    enum skep_key_type type;
    skep_bytes data;

    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        size_t len = SKEP_PUBLIC_KEY_MESSAGE_MAX + extra, data_len = len - 5;

        memcpy(text,
               (uint8_t[]){0x08, 0, 0x12, (uint8_t)(data_len | 0x80), (uint8_t)(data_len >> 7)}, 5);
        assert_int_equal(skep_public_key_parse(skep_bytes_of(text, len), &type, &data),
                         extra == 0 ? 0 : SKEP_EPEER_AUTH);
    }
}

static void a_public_key_verifies_what_its_identity_signed(void **state)
{
    json_t *vectors = test_get(test_vectors("transport.json"), "peer_ids"), *vector;
    size_t i;

    (void)state;
    json_array_foreach(vectors, i, vector)
    {
        struct skep_identity identity;
        struct skep_buf signature;

        assert_int_equal(skep_identity_parse(&identity, &skep_mem_std,
                                             test_unhex(test_str(vector, "identity_file"))),
                         0);
        skep_buf_init(&signature, &skep_mem_std);
        assert_int_equal(skep_sign(identity.key, skep_bytes_str("text"), &signature), 0);
        assert_int_equal(skep_public_key_verify(skep_buf_view(&identity.public_key),
                                                skep_bytes_str("text"), skep_buf_view(&signature)),
                         0);
        assert_int_equal(skep_public_key_verify(skep_buf_view(&identity.public_key),
                                                skep_bytes_str("Text"), skep_buf_view(&signature)),
                         SKEP_EPEER_AUTH);
        assert_int_equal(skep_public_key_verify(skep_bytes_str("text"), skep_bytes_str("text"),
                                                skep_buf_view(&signature)),
                         SKEP_EPEER_AUTH);
        skep_buf_fini(&signature);
        skep_identity_fini(&identity);
    }
}

static int parse_and_serialize(const struct skep_mem *mem, void *user)
{
    const skep_bytes *file = user;
    struct skep_identity identity;
    struct skep_buf again;
    int rc = skep_identity_parse(&identity, mem, *file);

    if (rc < 0)
        return rc;
    skep_buf_init(&again, mem);
    rc = skep_identity_serialize(&identity, &again);
    skep_buf_fini(&again);
    skep_identity_fini(&identity);
    return rc;
}

static void each_failing_allocation_is_reported(void **state)
{
    json_t *vectors = test_get(test_vectors("transport.json"), "peer_ids"), *vector;
    size_t i;

    (void)state;
    json_array_foreach(vectors, i, vector)
    {
        skep_bytes file = test_unhex(test_str(vector, "identity_file"));

        test_each_allocation_fails(parse_and_serialize, &file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity_files_of_p2pd_and_hivemind_give_their_ids),
        cmocka_unit_test(an_identity_comes_from_its_seed),
        cmocka_unit_test(identity_files_cut_or_damaged_are_refused),
        cmocka_unit_test(the_forms_of_an_ed25519_identity_are_checked),
        cmocka_unit_test(an_identity_file_past_the_bound_is_refused),
        cmocka_unit_test(ids_are_read_from_every_text_form),
        cmocka_unit_test(what_is_no_peer_id_is_refused),
        cmocka_unit_test(a_long_key_is_hashed_and_a_short_one_is_inside),
        cmocka_unit_test(base58_agrees_with_long_division),
        cmocka_unit_test(public_keys_have_one_encoding),
        cmocka_unit_test(a_public_key_past_the_bound_is_refused),
        cmocka_unit_test(a_public_key_verifies_what_its_identity_signed),
        cmocka_unit_test(each_failing_allocation_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
