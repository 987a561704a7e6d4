/* SPDX-License-Identifier: MIT */
#include "support/test.h"

#include "base/limits.h"
#include "peer/address_book.h"

static struct skep_multiaddr address(unsigned port)
{
    struct skep_multiaddr addr = {
        .kind = SKEP_ADDR_IP4, .ip = {10, 0, 0, 1}, .port = (uint16_t)port};

    return addr;
}

static struct skep_peer_id peer(uint32_t number)
{
    uint8_t message[36] = {0x08, 0x01, 0x12, 0x20};
    struct skep_peer_id id;

    skep_put_be32(message + 4, number);
    skep_peer_id_from_public_key(&id, skep_bytes_of(message, sizeof message));
    return id;
}

static void add(struct skep_address_book *book, uint32_t number, unsigned port, uint64_t expires_us)
{
    struct skep_peer_id id = peer(number);
    struct skep_multiaddr addr = address(port);

    assert_int_equal(skep_address_book_add(book, &id, &addr, expires_us), 0);
}

/* The ports of a peer's addresses as text, in order */
static const char *ports(struct skep_address_book *book, uint32_t number, uint64_t now_us)
{
    static char text[400];
    struct skep_multiaddr out[SKEP_ADDRESSES_PER_PEER_MAX];
    struct skep_peer_id id = peer(number);
    size_t count = skep_address_book_get(book, &id, now_us, out, SKEP_COUNT_OF(out)), used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%u", i > 0 ? " " : "",
                                 out[i].port);
    return text;
}

static void addresses_come_back_most_recently_confirmed_first(void **state)
{
    struct skep_address_book *book;
    struct skep_multiaddr out[2];
    struct skep_peer_id id = peer(1);

    (void)state;
    assert_int_equal(skep_address_book_new(&book, &skep_mem_std, 10), 0);
    add(book, 1, 1, 100);
    add(book, 1, 2, 100);
    add(book, 1, 3, 100);
    assert_string_equal(ports(book, 1, 0), "3 2 1");
    add(book, 1, 1, 50); /* told again, with an earlier end: the later end stays */
    assert_string_equal(ports(book, 1, 99), "1 3 2");
    assert_int_equal(skep_address_book_get(book, &id, 0, out, 2), 2);
    assert_string_equal(ports(book, 2, 0), "");
    skep_address_book_free(book);
    skep_address_book_free(NULL);
}

static void addresses_are_good_until_they_expire(void **state)
{
    struct skep_address_book *book;

    (void)state;
    assert_int_equal(skep_address_book_new(&book, &skep_mem_std, 10), 0);
    add(book, 1, 1, 100);
    add(book, 1, 2, 200);
    assert_string_equal(ports(book, 1, 99), "2 1");
    assert_string_equal(ports(book, 1, 100), "2");
    assert_string_equal(ports(book, 1, 200), "");
    assert_int_equal(skep_address_book_stats(book).peers, 0); /* and nothing is held for nobody */
    assert_int_equal(skep_address_book_stats(book).bytes, 0);
    skep_address_book_free(book);
}

static void the_peer_inside_an_address_is_not_kept(void **state)
{
    struct skep_multiaddr addr = address(1), out;
    struct skep_peer_id id = peer(1);
    struct skep_address_book *book;

    (void)state;
    addr.peer = peer(2);
    assert_int_equal(skep_address_book_new(&book, &skep_mem_std, 10), 0);
    assert_int_equal(skep_address_book_add(book, &id, &addr, 10), 0);
    assert_int_equal(skep_address_book_get(book, &id, 0, &out, 1), 1);
    assert_int_equal(out.peer.len, 0);
    skep_address_book_free(book);
}

static void a_cleared_peer_has_no_addresses(void **state)
{
    struct skep_peer_id id = peer(1);
    struct skep_address_book *book;

    (void)state;
    assert_int_equal(skep_address_book_new(&book, &skep_mem_std, 10), 0);
    add(book, 1, 1, 100);
    add(book, 2, 2, 100);
    skep_address_book_clear(book, &id);
    skep_address_book_clear(book, &id);
    assert_string_equal(ports(book, 1, 0), "");
    assert_string_equal(ports(book, 2, 0), "2");
    skep_address_book_free(book);
}

static void one_address_past_the_bound_drops_the_first_to_expire(void **state)
{
    struct skep_address_book *book;
    const char *text;

    (void)state;
    assert_int_equal(skep_address_book_new(&book, &skep_mem_std, 10), 0);
    for (unsigned i = 0; i < SKEP_ADDRESSES_PER_PEER_MAX; i++)
        add(book, 1, 100 + i, i == 7 ? 50 : 100 + i);
    assert_int_equal(skep_address_book_stats(book).addresses_dropped, 0);
    assert_non_null(strstr(ports(book, 1, 0), "107"));
    add(book, 1, 500, 1000);
    text = ports(book, 1, 0);
    assert_null(strstr(text, "107"));
    assert_non_null(strstr(text, "106"));
    assert_non_null(strstr(text, "500"));
    assert_int_equal(skep_address_book_stats(book).addresses_dropped, 1);
    skep_address_book_free(book);
}

static void one_peer_past_the_bound_drops_the_least_recently_used(void **state)
{
    struct skep_address_book *book;

    (void)state;
    assert_int_equal(skep_address_book_new(&book, &skep_mem_std, 3), 0);
    add(book, 1, 1, 100);
    add(book, 2, 2, 100);
    add(book, 3, 3, 100);
    assert_string_equal(ports(book, 1, 0), "1"); /* used, so that 2 is now the oldest */
    add(book, 4, 4, 100);
    assert_int_equal(skep_address_book_stats(book).peers, 3);
    assert_int_equal(skep_address_book_stats(book).peers_dropped, 1);
    assert_string_equal(ports(book, 2, 0), "");
    assert_string_equal(ports(book, 1, 0), "1");
    assert_string_equal(ports(book, 3, 0), "3");
    assert_string_equal(ports(book, 4, 0), "4");
    skep_address_book_free(book);
}

/* Long names, as many as each peer may have: the bytes are bounded too. */
static void the_bytes_of_all_peers_are_bounded(void **state)
{
    struct skep_multiaddr addr = {.kind = SKEP_ADDR_DNS, .port = 1};
    struct skep_address_book *book;
    struct test_mem mem;

    (void)state;
    test_mem_init(&mem);
    assert_int_equal(skep_address_book_new(&book, &mem.mem, 20), 0);
    memset(addr.name, 'a', SKEP_DNS_NAME_MAX);
    for (uint32_t number = 0; number < 20; number++)
        for (size_t i = 0; i < SKEP_ADDRESSES_PER_PEER_MAX; i++) {
            struct skep_peer_id id = peer(number);

            addr.name[i] ^= 3;
            assert_int_equal(skep_address_book_add(book, &id, &addr, 100), 0);
            assert_true(skep_address_book_stats(book).bytes <=
                        (size_t)20 * SKEP_ADDRESS_BOOK_BYTES_PER_PEER);
        }
    assert_true(skep_address_book_stats(book).peers_dropped > 0);
    assert_true(mem.live_bytes <= (size_t)20 * SKEP_ADDRESS_BOOK_BYTES_PER_PEER + 1000);
    skep_address_book_free(book);
    assert_int_equal(mem.live, 0);
}

static int fill(const struct skep_mem *mem, void *user)
{
    struct skep_address_book *book;
    int rc = skep_address_book_new(&book, mem, 4);

    (void)user;
    for (uint32_t i = 0; i < 12 && rc == 0; i++) {
        struct skep_peer_id id = peer(i % 6);
        struct skep_multiaddr addr = address(i);

        rc = skep_address_book_add(book, &id, &addr, 100);
        if (rc < 0 && i < 4)
            assert_int_equal(skep_address_book_stats(book).peers,
                             i); /* nobody without an address stays behind */
    }
    skep_address_book_free(book);
    return rc;
}

static void each_failing_allocation_is_reported(void **state)
{
    (void)state;
    test_each_allocation_fails(fill, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_come_back_most_recently_confirmed_first),
        cmocka_unit_test(addresses_are_good_until_they_expire),
        cmocka_unit_test(the_peer_inside_an_address_is_not_kept),
        cmocka_unit_test(a_cleared_peer_has_no_addresses),
        cmocka_unit_test(one_address_past_the_bound_drops_the_first_to_expire),
        cmocka_unit_test(one_peer_past_the_bound_drops_the_least_recently_used),
        cmocka_unit_test(the_bytes_of_all_peers_are_bounded),
        cmocka_unit_test(each_failing_allocation_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
