/* SPDX-License-Identifier: MIT */
/* dht/blacklist.h: how long peers are left alone, and how many. */
#include "support/test.h"

#include "base/limits.h"
#include "base/map.h"
#include "dht/blacklist.h"

enum { SECOND = 1000000 };

static struct skep_peer_id peer_of(uint32_t number)
{
    struct skep_peer_id peer = {.len = 34, .bytes = {0x12, 0x20}};

    skep_put_be32(peer.bytes + 2, number);
    return peer;
}

static void a_peer_is_left_alone_for_5_10_20_seconds(void **state)
{
    struct skep_peer_id peer = peer_of(1), other = peer_of(2);
    struct skep_blacklist blacklist;
    uint64_t now = 0;

    (void)state;
    skep_blacklist_init(&blacklist, &skep_mem_std, 5 * SECOND, 2);
    for (uint64_t ban = 5; ban <= 80; ban *= 2) {
        assert_false(skep_blacklist_has(&blacklist, &peer, now));
        assert_int_equal(skep_blacklist_fail(&blacklist, &peer, now), 0);
        assert_int_equal(skep_blacklist_fail(&blacklist, &peer, now + SECOND),
                         0); /* already punished */
        assert_true(skep_blacklist_has(&blacklist, &peer, now + ban * SECOND - 1));
        assert_false(skep_blacklist_has(&blacklist, &other, now));
        assert_int_equal(skep_blacklist_count(&blacklist, now), 1);
        now += ban * SECOND;
    }
    skep_blacklist_succeed(&blacklist, &peer);
    skep_blacklist_succeed(&blacklist, &peer);
    assert_int_equal(skep_blacklist_fail(&blacklist, &peer, now), 0);
    assert_false(
        skep_blacklist_has(&blacklist, &peer, now + 5 * SECOND)); /* from the start again */
    skep_blacklist_fini(&blacklist);
}

static void a_time_of_zero_turns_it_off(void **state)
{
    struct skep_peer_id peer = peer_of(1);
    struct skep_blacklist blacklist;

    (void)state;
    skep_blacklist_init(&blacklist, &skep_mem_std, 0, 2);
    assert_int_equal(skep_blacklist_fail(&blacklist, &peer, 0), 0);
    assert_false(skep_blacklist_has(&blacklist, &peer, 0));
    skep_blacklist_fini(&blacklist);
}

static void ever_more_failures_overflow_nothing(void **state)
{
    struct skep_peer_id peer = peer_of(1);
    struct skep_blacklist blacklist;
    uint64_t now = 0;

    (void)state;
    skep_blacklist_init(&blacklist, &skep_mem_std, 5 * SECOND, 1e9);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(skep_blacklist_fail(&blacklist, &peer, now), 0);
        assert_true(skep_blacklist_has(&blacklist, &peer, now));
        now += 366 * 86400 * (uint64_t)SECOND;
        assert_false(skep_blacklist_has(&blacklist, &peer, now));
    }
    skep_blacklist_fini(&blacklist);
}

static void beyond_4096_peers_the_first_to_fail_is_forgotten(void **state)
{
    struct skep_blacklist blacklist;

    (void)state;
    skep_blacklist_init(&blacklist, &skep_mem_std, 5 * SECOND, 2);
    for (uint32_t i = 0; i <= SKEP_DHT_BLACKLIST_MAX; i++) {
        struct skep_peer_id peer = peer_of(i);

        assert_int_equal(skep_blacklist_fail(&blacklist, &peer, 0), 0);
    }
    assert_int_equal(skep_blacklist_count(&blacklist, 0), SKEP_DHT_BLACKLIST_MAX);
    for (uint32_t i = 0; i < 2; i++) {
        struct skep_peer_id peer = peer_of(i);

        assert_int_equal(skep_blacklist_has(&blacklist, &peer, 0), i != 0);
    }
    skep_blacklist_fini(&blacklist);
}

static void one_whose_time_is_over_is_forgotten_first(void **state)
{
    struct skep_peer_id a = peer_of(1), b = peer_of(2), c = peer_of(3);
    struct skep_blacklist blacklist;

    (void)state;
    skep_blacklist_init(&blacklist, &skep_mem_std, 5 * SECOND, 2);
    blacklist.peers_max = 2;
    skep_blacklist_fail(&blacklist, &a, 0);
    skep_blacklist_fail(&blacklist, &a, 6 * SECOND); /* until 16 */
    skep_blacklist_fail(&blacklist, &b, 7 * SECOND); /* until 12 */
    skep_blacklist_fail(&blacklist, &c, 13 * SECOND);
    assert_true(skep_blacklist_has(&blacklist, &a, 13 * SECOND));
    assert_false(skep_blacklist_has(&blacklist, &b, 7 * SECOND));
    skep_blacklist_fini(&blacklist);
}

static void one_that_was_slow_is_in_doubt_until_it_answers_but_not_left_alone(void **state)
{
    struct skep_peer_id slow = peer_of(1), failed = peer_of(2);
    struct skep_blacklist blacklist;

    (void)state;
    skep_blacklist_init(&blacklist, &skep_mem_std, 5 * SECOND, 2);
    skep_blacklist_doubt(&blacklist, &slow, 0);
    skep_blacklist_doubt(&blacklist, &slow, 0);
    assert_true(skep_blacklist_doubts(&blacklist, &slow));
    assert_false(skep_blacklist_doubts(&blacklist, &failed));
    assert_false(skep_blacklist_has(&blacklist, &slow, 0));
    assert_int_equal(skep_blacklist_count(&blacklist, 0), 0);
    skep_blacklist_fail(&blacklist, &slow, SECOND); /* its first failure: for 5 s */
    assert_true(skep_blacklist_has(&blacklist, &slow, 5 * SECOND));
    assert_false(skep_blacklist_has(&blacklist, &slow, 6 * SECOND));
    assert_true(skep_blacklist_doubts(&blacklist, &slow));
    skep_blacklist_succeed(&blacklist, &slow);
    assert_false(skep_blacklist_doubts(&blacklist, &slow));
    skep_blacklist_fini(&blacklist);
}

static int use_blacklist(const struct skep_mem *mem, void *user)
{
    struct skep_blacklist blacklist;
    int rc = 0;

    (void)user;
    skep_map_set_mem(mem);
    skep_blacklist_init(&blacklist, mem, SECOND, 2);
    for (uint32_t i = 0; i < 40 && rc == 0; i++) {
        struct skep_peer_id peer = peer_of(i);

        rc = skep_blacklist_fail(&blacklist, &peer, 0);
    }
    skep_blacklist_fini(&blacklist);
    skep_map_set_mem(&skep_mem_std);
    return rc;
}

static void running_out_of_memory_leaks_nothing(void **state)
{
    (void)state;
    test_each_allocation_fails(use_blacklist, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peer_is_left_alone_for_5_10_20_seconds),
        cmocka_unit_test(a_time_of_zero_turns_it_off),
        cmocka_unit_test(ever_more_failures_overflow_nothing),
        cmocka_unit_test(beyond_4096_peers_the_first_to_fail_is_forgotten),
        cmocka_unit_test(one_whose_time_is_over_is_forgotten_first),
        cmocka_unit_test(one_that_was_slow_is_in_doubt_until_it_answers_but_not_left_alone),
        cmocka_unit_test(running_out_of_memory_leaks_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
