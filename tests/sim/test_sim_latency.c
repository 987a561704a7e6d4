/* SPDX-License-Identifier: MIT */
/* Distributions drawn without libm: that they are what they claim to be, and the same on every compiler and at every optimisation. */
#include "sim/sim_faults.h"
#include "support/test.h"

#define MEDIAN_US ((uint64_t)80000)

/* p * 2^64, for p in millionths. */
static uint64_t at(uint64_t ppm)
{
    return UINT64_MAX / 1000000 * ppm;
}

static void assert_within_ppm(uint64_t got, double exact, double ppm)
{
    double off = ((double)got - exact) / exact * 1e6;

    if (off < -ppm || off > ppm)
        fail_msg("%llu is not %.1f: %.0f ppm off", (unsigned long long)got, exact, off);
}

static void a_lognormal_has_the_quantiles_of_the_exact_one(void **state)
{
    /* 80 ms * exp(0.5 * quantile of the normal distribution): Python's statistics.NormalDist. */
    static const struct {
        uint64_t ppm;
        double us;
    } exact[] = {{1000, 17062.967666},    {10000, 24999.421826},   {100000, 42150.681464},
                 {250000, 57098.723425},  {500000, 80000.0},       {750000, 112086.568948},
                 {900000, 151836.216587}, {990000, 256005.920635}, {999000, 375081.294481},
                 {999900, 513646.290299}};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(exact); i++)
        assert_within_ppm(skep_sim_lognormal_us(MEDIAN_US, 500, at(exact[i].ppm)), exact[i].us,
                          1000);
    /* As wide as three the 99.9th percentile is far out. */
    assert_within_ppm(skep_sim_lognormal_us(MEDIAN_US, 3000, at(999000)), 80000 * 10622.152, 3000);
}

static void a_lognormal_grows_with_the_draw_and_has_ends(void **state)
{
    uint64_t last = 0;

    (void)state;
    for (uint64_t i = 0; i < 100000; i++) {
        uint64_t us = skep_sim_lognormal_us(MEDIAN_US, 1500, UINT64_MAX / 100000 * i);

        assert_true(us >= last && us > 0);
        last = us;
    }
    for (unsigned bit = 0; bit < 63; bit++)
        assert_true(skep_sim_lognormal_us(MEDIAN_US, 1500, (uint64_t)1 << bit) <=
                    skep_sim_lognormal_us(MEDIAN_US, 1500, (uint64_t)2 << bit));
    assert_int_equal(skep_sim_lognormal_us(0, 500, at(500000)), 1);
    assert_int_equal(skep_sim_lognormal_us(MEDIAN_US, 0, 0), MEDIAN_US);
    assert_int_equal(skep_sim_lognormal_us(UINT64_MAX, 0, 0), SKEP_SIM_MEDIAN_US_MAX);
    assert_true(skep_sim_lognormal_us(UINT64_MAX, UINT32_MAX, UINT64_MAX) == SKEP_SIM_MEDIAN_US_MAX
                                                                                 << 20);
    assert_int_equal(skep_sim_lognormal_us(MEDIAN_US, UINT32_MAX, 0), 1);
}

static int by_size(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

enum { DRAWS = 200000 };
static uint64_t draws[DRAWS];

static uint64_t quantile(uint64_t milli)
{
    return draws[(size_t)DRAWS * milli / 1000];
}

static void pairs_are_as_far_apart_as_their_model_says(void **state)
{
    struct skep_sim_latency lognormal = skep_sim_latency_lognormal(MEDIAN_US, 500);
    struct skep_sim_latency uniform = skep_sim_latency_uniform(10000, 90000);
    struct skep_sim_latency constant = skep_sim_latency_constant(7000);

    (void)state;
    for (uint32_t i = 0; i < DRAWS; i++) {
        uint32_t a = i % 500, b = 500 + i / 500;

        draws[i] = skep_sim_latency_us(&lognormal, 7, a, b);
        assert_true(draws[i] == skep_sim_latency_us(&lognormal, 7, b, a));
    }
    qsort(draws, DRAWS, sizeof *draws, by_size);
    assert_within_ppm(quantile(500), 80000, 10000);
    assert_within_ppm(quantile(900), 151836, 10000);
    assert_within_ppm(quantile(990), 256006, 20000); /* so few are up there */
    for (uint32_t i = 0; i < DRAWS; i++)
        draws[i] = skep_sim_latency_us(&uniform, 7, i, i + 13);
    qsort(draws, DRAWS, sizeof *draws, by_size);
    assert_in_range(draws[0], 10000, 10010);
    assert_in_range(draws[DRAWS - 1], 89990, 90000);
    assert_within_ppm(quantile(500), 50000, 10000);
    assert_int_equal(skep_sim_latency_us(&constant, 7, 1, 2), 7000);
    assert_true(skep_sim_latency_us(&lognormal, 7, 1, 2) !=
                skep_sim_latency_us(&lognormal, 8, 1, 2));
}

static void nodes_stand_at_the_places_of_a_matrix(void **state)
{
    static const uint32_t rtt_us[9] = {1, 12, 13, 99, 2, 23, 98, 97, 3};
    struct skep_sim_latency matrix = skep_sim_latency_matrix(rtt_us, 3);
    size_t at_place[3] = {0};

    (void)state;
    for (uint32_t i = 0; i < 3000; i++)
        at_place[skep_sim_latency_place(5, i, 3)]++;
    for (size_t i = 0; i < 3; i++)
        assert_in_range(at_place[i], 900, 1100);
    for (uint32_t i = 0; i < 100; i++) {
        uint32_t a = skep_sim_latency_place(5, i, 3), b = skep_sim_latency_place(5, i + 1, 3);
        uint64_t us = skep_sim_latency_us(&matrix, 5, i, i + 1);

        assert_true(us == skep_sim_latency_us(&matrix, 5, i + 1, i));
        assert_int_equal(us, a == b ? a + 1 : SKEP_MIN(a, b) * 10 + SKEP_MAX(a, b) + 11);
    }
}

static void half_of_the_sessions_are_shorter_than_the_median(void **state)
{
    struct skep_sim_session exponential = {.median_us = 3600 * SKEP_SIM_SECOND};
    struct skep_sim_session lognormal = {.kind = SKEP_SIM_SESSION_LOGNORMAL,
                                         .median_us = 3600 * SKEP_SIM_SECOND,
                                         .sigma_milli = 1000};
    const double median = 3600e6, ln_2 = 0.6931471805599453;
    struct skep_prng prng;
    double sum = 0;

    (void)state;
    skep_prng_init(&prng, 3);
    for (size_t i = 0; i < DRAWS; i++) {
        draws[i] = skep_sim_session_us(&prng, &exponential);
        sum += (double)draws[i];
    }
    qsort(draws, DRAWS, sizeof *draws, by_size);
    assert_within_ppm(quantile(500), median, 10000);
    assert_within_ppm(quantile(750), 2 * median, 10000);
    assert_within_ppm(quantile(100), 0.1520031 * median, 20000); /* log2(1 / 0.9) */
    assert_within_ppm((uint64_t)(sum / DRAWS), median / ln_2, 10000);
    for (size_t i = 0; i < DRAWS; i++)
        draws[i] = skep_sim_session_us(&prng, &lognormal);
    qsort(draws, DRAWS, sizeof *draws, by_size);
    assert_within_ppm(quantile(500), median, 10000);
    assert_within_ppm(quantile(900), 3.6022245 * median, 15000);
    exponential.median_us = 0;
    assert_int_equal(skep_sim_session_us(&prng, &exponential), 1);
}

static uint64_t fold(uint64_t sum, uint64_t v)
{
    return (sum ^ v) * 0x100000001b3u;
}

/* gcc and clang, at -O0 and -O2, must agree on these. */
static void draws_are_the_same_on_every_compiler(void **state)
{
    struct skep_sim_latency lognormal = skep_sim_latency_lognormal(MEDIAN_US, 500);
    struct skep_sim_latency uniform = skep_sim_latency_uniform(20000, 80000);
    struct skep_sim_session exponential = {.median_us = 3600 * SKEP_SIM_SECOND};
    struct skep_sim_session late = {.kind = SKEP_SIM_SESSION_LOGNORMAL,
                                    .median_us = 3600 * SKEP_SIM_SECOND,
                                    .sigma_milli = 1500};
    const uint64_t golden[4] = {0xaf82a3b84142fc92, 0x6755d6ccce82fb20, 0x2204fa923c87aff6,
                                0x23b197360fb0f6fb};
    uint64_t sums[4] = {0};
    struct skep_prng prng;

    (void)state;
    skep_prng_init(&prng, 1);
    for (uint32_t i = 0; i < 10000; i++) {
        sums[0] = fold(sums[0], skep_sim_latency_us(&lognormal, 1, i, i * 7 + 1));
        sums[1] = fold(sums[1], skep_sim_latency_us(&uniform, 1, i, i * 7 + 1));
        sums[2] = fold(sums[2], skep_sim_session_us(&prng, &exponential));
        sums[3] = fold(sums[3], skep_sim_session_us(&prng, &late));
    }
    for (size_t i = 0; i < 4; i++)
        assert_true(sums[i] == golden[i]);
    assert_int_equal(skep_sim_latency_us(&lognormal, 1, 0, 1), 134526);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lognormal_has_the_quantiles_of_the_exact_one),
        cmocka_unit_test(a_lognormal_grows_with_the_draw_and_has_ends),
        cmocka_unit_test(pairs_are_as_far_apart_as_their_model_says),
        cmocka_unit_test(nodes_stand_at_the_places_of_a_matrix),
        cmocka_unit_test(half_of_the_sessions_are_shorter_than_the_median),
        cmocka_unit_test(draws_are_the_same_on_every_compiler),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
