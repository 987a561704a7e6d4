/* SPDX-License-Identifier: MIT */
#include "support/test.h"

#include "peer/multiaddr.h"

#define PEER_TEXT "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
#define PEER_HEX                                                                                   \
    "a503260024080112202ffa35a99d3a3cfbb17bb7c1dc5561b18a8dcca4df38dc613ea859c37eb1336b"

static const struct {
    const char *text, *hex;
} vectors[] = {
    {"/ip4/127.0.0.1/tcp/45225",
     "047f00000106b0a9"}, /* as a live p2pd sent it, transport.json "kad" */
    {"/ip4/0.0.0.0/tcp/0", "0400000000060000"},
    {"/ip4/255.255.255.255/tcp/65535", "04ffffffff06ffff"},
    {"/ip6/::1/tcp/80", "2900000000000000000000000000000001060050"},
    {"/ip6/2001:db8::8a2e:370:7334/tcp/4001", "2920010db80000000000008a2e03707334060fa1"},
    {"/dns/localhost/tcp/1", "35096c6f63616c686f7374060001"},
    {"/dns4/example.com/tcp/443", "360b6578616d706c652e636f6d0601bb"},
    {"/dns6/a-b_c.example/tcp/443", "370d612d625f632e6578616d706c650601bb"},
    {"/ip4/10.0.0.1/tcp/31330/p2p/" PEER_TEXT, "040a000001067a62" PEER_HEX},
    {"/ip6/fe80::1/tcp/31330/p2p/" PEER_TEXT, "29fe800000000000000000000000000001067a62" PEER_HEX},
    {"/dns4/example.com/tcp/443/p2p/" PEER_TEXT, "360b6578616d706c652e636f6d0601bb" PEER_HEX},
};

static void texts_and_binaries_are_the_same_address(void **state)
{
    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(vectors); i++) {
        struct skep_multiaddr parsed, decoded;
        uint8_t binary[SKEP_MULTIADDR_LEN_MAX];
        char text[SKEP_MULTIADDR_TEXT_MAX];
        size_t len;

        assert_int_equal(skep_multiaddr_parse(&parsed, vectors[i].text), 0);
        assert_int_equal(skep_multiaddr_decode(&decoded, test_unhex(vectors[i].hex)), 0);
        assert_memory_equal(&parsed, &decoded, sizeof parsed);
        assert_true(skep_multiaddr_same(&parsed, &decoded));
        assert_string_equal(skep_multiaddr_text(text, &decoded), vectors[i].text);
        len = skep_multiaddr_encode(binary, &parsed, true);
        assert_string_equal(test_hex(binary, len), vectors[i].hex);
        len = skep_multiaddr_encode(binary, &parsed, false);
        assert_memory_equal(test_hex(binary, len), vectors[i].hex, 2 * len);
        assert_int_equal(len, strlen(vectors[i].hex) / 2 -
                                  (parsed.peer.len > 0 ? strlen(PEER_HEX) / 2 : 0));
        assert_true(skep_multiaddr_valid(test_unhex(vectors[i].hex)));
    }
}

static void an_older_name_and_a_cid_name_the_same_peer(void **state)
{
    struct skep_multiaddr a, b;

    (void)state;
    assert_int_equal(skep_multiaddr_parse(&a, "/ip4/1.2.3.4/tcp/5/p2p/" PEER_TEXT), 0);
    assert_int_equal(skep_multiaddr_parse(&b, "/ip4/1.2.3.4/tcp/5/ipfs/" PEER_TEXT), 0);
    assert_memory_equal(&a, &b, sizeof a);
    assert_int_equal(
        skep_multiaddr_parse(
            &b,
            "/ip4/1.2.3.4/tcp/5/p2p/bafzaajaiaejcal72gwuz2or47oyxxn6b3rkwdmmkrxgkjxzy3rqt5kczyn7lcm3l"),
        0);
    assert_memory_equal(&a, &b, sizeof a);
}

static void same_compares_what_would_be_dialled(void **state)
{
    static const char *const texts[] = {
        "/ip4/1.2.3.4/tcp/5", "/ip4/1.2.3.5/tcp/5", "/ip4/1.2.3.4/tcp/6", "/ip6/102:304::/tcp/5",
        "/dns4/a/tcp/5",      "/dns6/a/tcp/5",      "/dns/a/tcp/5",       "/dns/b/tcp/5"};
    struct skep_multiaddr a, b;

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(texts); i++)
        for (size_t j = 0; j < SKEP_COUNT_OF(texts); j++) {
            assert_int_equal(skep_multiaddr_parse(&a, texts[i]), 0);
            assert_int_equal(skep_multiaddr_parse(&b, texts[j]), 0);
            assert_int_equal(skep_multiaddr_same(&a, &b), i == j);
        }
    assert_int_equal(skep_multiaddr_parse(&a, "/ip4/1.2.3.4/tcp/5/p2p/" PEER_TEXT), 0);
    assert_int_equal(skep_multiaddr_parse(&b, "/ip4/1.2.3.4/tcp/5"), 0);
    assert_true(skep_multiaddr_same(&a, &b));
}

static void texts_that_we_cannot_dial_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "/",
        "//",
        "ip4/1.2.3.4/tcp/5",
        "/ip4",
        "/ip4/",
        "/ip4/1.2.3.4",
        "/ip4/1.2.3.4/",
        "/ip4/1.2.3.4/tcp",
        "/ip4/1.2.3.4/tcp/",
        "/ip4/1.2.3.4/tcp/5/",
        "/ip4/1.2.3.4/tcp/65536",
        "/ip4/1.2.3.4/tcp/-1",
        "/ip4/1.2.3.4/tcp/+1",
        "/ip4/1.2.3.4/tcp/ 1",
        "/ip4/1.2.3.4/tcp/000001",
        "/ip4/1.2.3.4/tcp/1x",
        "/ip4/1.2.3/tcp/5",
        "/ip4/1.2.3.256/tcp/5",
        "/ip4/::1/tcp/5",
        "/ip6/1.2.3.4/tcp/5",
        "/ip6/1::2::3/tcp/5",
        "/ip6/fe80::1%eth0/tcp/5",
        "/ip4/1.2.3.4/udp/5",
        "/ip4/1.2.3.4/udp/5/quic-v1",
        "/ip4/1.2.3.4/tcp/5/ws",
        "/ip4/1.2.3.4/tcp/5/p2p",
        "/ip4/1.2.3.4/tcp/5/p2p/",
        "/ip4/1.2.3.4/tcp/5/p2p/x",
        "/ip4/1.2.3.4/tcp/5/p2p/" PEER_TEXT "/",
        "/ip4/1.2.3.4/tcp/5/p2p/" PEER_TEXT "/p2p-circuit",
        "/ip4/1.2.3.4/tcp/5/tls/" PEER_TEXT,
        "/dns4//tcp/5",
        "/dns4/a b/tcp/5",
        "/dns4/\xc3\xa9/tcp/5",
        "/dns4/.a/tcp/5",
        "/dns4/a\x1b/tcp/5",
        "/dnsaddr/a/tcp/5",
        "/p2p/" PEER_TEXT,
        "/IP4/1.2.3.4/tcp/5",
        "/ip4/1.2.3.4/tcp/5 ",
        "/ip4/1111111111111111111111111111111111111111111111111111.2.3.4/tcp/5",
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(bad); i++) {
        struct skep_multiaddr addr = {.port = 9};

        if (skep_multiaddr_parse(&addr, bad[i]) != SKEP_EMULTIADDR || addr.port != 0)
            fail_msg("%s was taken", bad[i]);
    }
}

/* What other peers announce: well-formed, so it can be told on, but not ours to dial. */
static void other_protocols_are_walked_over(void **state)
{
    static const char *const known[] = {
        "047f000001910210e1",               /* ip4 udp */
        "047f000001910210e1cc03",           /* and quic-v1 */
        "047f000001910210e1cc03d103",       /* and webtransport */
        "047f00000106b0a9dd03",             /* tcp ws */
        "047f00000106b0a9" PEER_HEX "a202", /* through a relay */
        "38036162630610e1",                 /* dnsaddr */
        "2a0465746830",                     /* ip6zone */
        PEER_HEX,
        "900303612f62", /* unix, with a slash in it */
        "bd030102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425", /* onion3 */
    };
    static const char *const unknown[] = {"",         "ff7f00",
                                          "80",       "047f0000",
                                          "36ff0161", "36ffffffffffffffffff01",
                                          "06b0",     "047f00000106b0a9a503"};
    struct skep_multiaddr addr;

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(known); i++) {
        if (!skep_multiaddr_valid(test_unhex(known[i])))
            fail_msg("%s was not walked over", known[i]);
        assert_int_equal(skep_multiaddr_decode(&addr, test_unhex(known[i])), SKEP_EMULTIADDR);
    }
    for (size_t i = 0; i < SKEP_COUNT_OF(unknown); i++) {
        if (skep_multiaddr_valid(test_unhex(unknown[i])))
            fail_msg("%s was walked over", unknown[i]);
        assert_int_equal(skep_multiaddr_decode(&addr, test_unhex(unknown[i])), SKEP_EMULTIADDR);
    }
}

static void binaries_cut_at_each_byte_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(vectors); i++) {
        skep_bytes whole = test_unhex(vectors[i].hex);
        size_t bare_len = whole.len - (strstr(vectors[i].text, "/p2p/") ? strlen(PEER_HEX) / 2 : 0);

        for (size_t cut = 0; cut < whole.len; cut++) {
            uint8_t *part = malloc(cut + 1);
            struct skep_multiaddr addr;

            assert_non_null(part);
            memcpy(part, whole.data, cut);
            assert_int_equal(skep_multiaddr_decode(&addr, skep_bytes_of(part, cut)),
                             cut == bare_len ? 0 : SKEP_EMULTIADDR);
            free(part);
        }
    }
}

static void the_longest_name_fits_and_one_more_is_refused(void **state)
{
    char text[SKEP_MULTIADDR_TEXT_MAX + 100], name[SKEP_DNS_NAME_MAX + 2],
        out[SKEP_MULTIADDR_TEXT_MAX];
    struct skep_multiaddr addr, again;
    uint8_t binary[SKEP_MULTIADDR_LEN_MAX];

    (void)state;
    for (size_t len = SKEP_DNS_NAME_MAX; len <= SKEP_DNS_NAME_MAX + 1; len++) {
        memset(name, 'a', len);
        name[len] = '\0';
        snprintf(text, sizeof text, "/dns4/%s/tcp/65535/p2p/%s", name, PEER_TEXT);
        assert_int_equal(skep_multiaddr_parse(&addr, text),
                         len == SKEP_DNS_NAME_MAX ? 0 : SKEP_EMULTIADDR);
        if (len > SKEP_DNS_NAME_MAX)
            continue;
        assert_string_equal(skep_multiaddr_text(out, &addr), text);
        assert_int_equal(
            skep_multiaddr_decode(
                &again, skep_bytes_of(binary, skep_multiaddr_encode(binary, &addr, true))),
            0);
        assert_memory_equal(&addr, &again, sizeof addr);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_and_binaries_are_the_same_address),
        cmocka_unit_test(an_older_name_and_a_cid_name_the_same_peer),
        cmocka_unit_test(same_compares_what_would_be_dialled),
        cmocka_unit_test(texts_that_we_cannot_dial_are_refused),
        cmocka_unit_test(other_protocols_are_walked_over),
        cmocka_unit_test(binaries_cut_at_each_byte_are_refused),
        cmocka_unit_test(the_longest_name_fits_and_one_more_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
