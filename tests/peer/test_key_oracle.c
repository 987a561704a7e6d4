/* SPDX-License-Identifier: MIT */
/* protobuf-c and ours on libp2p's key messages. */
#include "support/test.h"

#include "peer/key.h"
#include "proto/libp2p.pb-c.h"

static void our_key_messages_are_theirs(void **state)
{
    json_t *vectors = test_get(test_vectors("transport.json"), "peer_ids"), *vector;
    size_t i;

    (void)state;
    json_array_foreach(vectors, i, vector)
    {
        struct skep_identity identity;
        SkepLibp2p__PublicKey *theirs;
        enum skep_key_type type;
        skep_bytes data;
        uint8_t packed[SKEP_PUBLIC_KEY_MESSAGE_MAX];

        assert_int_equal(skep_identity_parse(&identity, &skep_mem_std,
                                             test_unhex(test_str(vector, "identity_file"))),
                         0);
        theirs = skep_libp2p__public_key__unpack(NULL, identity.public_key.len,
                                                 identity.public_key.data);
        assert_non_null(theirs);
        assert_int_equal(skep_public_key_parse(skep_buf_view(&identity.public_key), &type, &data),
                         0);
        assert_int_equal(theirs->type, type);
        assert_true(skep_bytes_equal(data, skep_bytes_of(theirs->data.data, theirs->data.len)));
        assert_int_equal(skep_libp2p__public_key__pack(theirs, packed), identity.public_key.len);
        assert_memory_equal(packed, identity.public_key.data, identity.public_key.len);
        skep_libp2p__public_key__free_unpacked(theirs, NULL);
        skep_identity_fini(&identity);
    }
}

/* Any message that we take is one that they take and would write with the same bytes. */
static void what_we_take_they_write_alike(void **state)
{
    size_t taken = 0;

    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(200000); seed++) {
        uint8_t text[24] = {0x08, 0x01, 0x12}, packed[64];
        SkepLibp2p__PublicKey *theirs;
        struct skep_prng prng;
        enum skep_key_type type;
        skep_bytes data;
        size_t len;

        skep_prng_init(&prng, seed);
        len = 4 + skep_prng_below(&prng, 20);
        skep_prng_fill(&prng, text + 4, len - 4);
        text[3] = (uint8_t)(len - 4);
        text[1] = (uint8_t)skep_prng_below(&prng, 6);
        if (skep_prng_below(&prng, 2))
            text[skep_prng_below(&prng, 5) % len] = (uint8_t)skep_prng_u64(&prng);
        if (skep_public_key_parse(skep_bytes_of(text, len), &type, &data) < 0)
            continue;
        taken++;
        theirs = skep_libp2p__public_key__unpack(NULL, len, text);
        if (!theirs || skep_libp2p__public_key__pack(theirs, packed) != len ||
            memcmp(packed, text, len) != 0)
            fail_msg("SKEP_SEED=%llu: %s", (unsigned long long)seed, test_hex(text, len));
        skep_libp2p__public_key__free_unpacked(theirs, NULL);
    }
    if (test_seed_first() == 1)
        assert_true(taken > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_key_messages_are_theirs),
        cmocka_unit_test(what_we_take_they_write_alike),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
