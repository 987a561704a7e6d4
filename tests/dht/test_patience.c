/* SPDX-License-Identifier: MIT */
#include "base/limits.h"
#include "dht/patience.h"
#include "support/test.h"

#define MS ((uint64_t)1000)

static void a_request_is_overdue_after_one_and_a_half_round_trips_and_late_after_four(void **state)
{
    struct skep_patience patience;

    (void)state;
    skep_patience_init(&patience, 0.05);
    assert_int_equal(skep_patience_overdue_us(&patience, 40 * MS, 0), 65 * MS);
    assert_int_equal(skep_patience_overdue_us(&patience, 40 * MS, 100), 85 * MS);
    assert_int_equal(skep_patience_late_us(&patience, 40 * MS, 0), 160 * MS);
    assert_int_equal(skep_patience_late_us(&patience, 40 * MS, 100), 180 * MS);
    assert_int_equal(skep_patience_late_us(&patience, 1 * MS, 0), 50 * MS);
    assert_int_equal(skep_patience_overdue_us(&patience, 1, 0), 5 * MS + 1);
}

static void first_answers_tell_how_long_others_may_take(void **state)
{
    struct skep_patience patience;

    (void)state;
    skep_patience_init(&patience, 0.05);
    assert_int_equal(skep_patience_overdue_us(&patience, 0, 0), 200 * MS);
    assert_int_equal(skep_patience_late_us(&patience, 0, 0), 400 * MS);
    for (int i = 0; i < 100; i++)
        skep_patience_learn(&patience, 60 * MS);
    assert_in_range(skep_patience_overdue_us(&patience, 0, 0), 59 * MS, 62 * MS);
    assert_in_range(skep_patience_late_us(&patience, 0, 0), 59 * MS, 64 * MS);
    for (int i = 0; i < 100; i++)
        skep_patience_learn(&patience, 1);
    assert_int_equal(skep_patience_late_us(&patience, 0, 0), 50 * MS);
    for (int i = 0; i < 100; i++)
        skep_patience_learn(&patience, 3000 * MS);
    assert_int_equal(skep_patience_late_us(&patience, 0, 0), 400 * MS);
    assert_int_equal(skep_patience_overdue_us(&patience, 0, 0), 400 * MS);
}

static void peers_that_answer_evenly_are_late_sooner_and_never_after_four_round_trips(void **state)
{
    struct skep_patience patience;

    (void)state;
    skep_patience_init(&patience, 0.05);
    for (int i = 0; i < 100; i++)
        skep_patience_learn_slowness(&patience, 100 * MS, 100 * MS);
    assert_int_equal(skep_patience_late_us(&patience, 100 * MS, 0), 155 * MS); /* overdue */
    assert_int_equal(skep_patience_late_us(&patience, 10 * MS, 0), 50 * MS);
    for (int i = 0; i < 100; i++) /* 1 to 2 round trips */
        skep_patience_learn_slowness(&patience, 100 * MS, (uint64_t)(100 + i % 3 * 50) * MS);
    assert_in_range(skep_patience_late_us(&patience, 100 * MS, 0), 250 * MS, 350 * MS);
    for (int i = 0; i < 100; i++)
        skep_patience_learn_slowness(&patience, 1, UINT64_MAX / 2000);
    assert_int_equal(skep_patience_late_us(&patience, 100 * MS, 0), 400 * MS);
    skep_patience_learn_slowness(&patience, 0, 1000);
    assert_in_range(skep_patience_late_us(&patience, 100 * MS, 0), 155 * MS, 400 * MS);
}

/* "About the 95th percentile": between one in eight and one in fifty is overdue, however the times are spread. */
static void one_first_answer_in_twenty_is_overdue(void **state)
{
    struct skep_patience patience;
    struct skep_prng prng;

    (void)state;
    skep_prng_init(&prng, 7);
    for (int shape = 0; shape < 2; shape++) {
        size_t overdue = 0, count = 20000;

        skep_patience_init(&patience, 0.05);
        for (size_t i = 0; i < count; i++) {
            uint64_t took = 40 * MS;

            if (shape == 0) /* nearly normal */
                for (int j = 0; j < 8; j++)
                    took += skep_prng_below(&prng, 10 * MS);
            else /* as often longer by one more step as not */
                while (skep_prng_below(&prng, 2))
                    took += 10 * MS;
            overdue += i > 100 && took > skep_patience_overdue_us(&patience, 0, 0);
            skep_patience_learn(&patience, took);
        }
        assert_in_range(overdue, count / 50, count / 8);
    }
}

static void after_ten_hedges_in_a_row_each_takes_twenty_requests(void **state)
{
    struct skep_patience patience;

    (void)state;
    skep_patience_init(&patience, 0.05);
    for (int i = 0; i < 1000; i++)
        skep_patience_earn(&patience); /* no more than the reserve is kept */
    for (int i = 0; i < SKEP_DHT_HEDGE_TOKENS_MAX; i++)
        assert_true(skep_patience_spend(&patience));
    assert_false(skep_patience_spend(&patience));
    for (int hedge = 0; hedge < 1000; hedge++) {
        for (int i = 0; i < 19; i++)
            skep_patience_earn(&patience);
        assert_false(skep_patience_spend(&patience));
        skep_patience_earn(&patience);
        assert_true(skep_patience_spend(&patience));
    }
}

static void with_a_share_of_none_nothing_is_hedged(void **state)
{
    struct skep_patience patience;

    (void)state;
    skep_patience_init(&patience, 0);
    skep_patience_earn(&patience);
    assert_false(skep_patience_spend(&patience));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_overdue_after_one_and_a_half_round_trips_and_late_after_four),
        cmocka_unit_test(first_answers_tell_how_long_others_may_take),
        cmocka_unit_test(peers_that_answer_evenly_are_late_sooner_and_never_after_four_round_trips),
        cmocka_unit_test(one_first_answer_in_twenty_is_overdue),
        cmocka_unit_test(after_ten_hedges_in_a_row_each_takes_twenty_requests),
        cmocka_unit_test(with_a_share_of_none_nothing_is_hedged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
