/* SPDX-License-Identifier: MIT */
/* Grids, scores, and picking the best of them. */
#include <math.h>

#include "moe/grid.h"
#include "moe/rank.h"
#include "support/test.h"

static void grids_with_a_zero_or_past_a_bound_are_refused_by_name(void **state)
{
    uint32_t sizes[SKEP_GRID_DIMENSIONS_MAX + 1];
    struct skep_grid grid = {3, sizes};
    char why[256];

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(sizes); i++)
        sizes[i] = 2;
    assert_int_equal(skep_grid_check(&grid, why, sizeof why), 0);
    sizes[1] = 0;
    assert_int_equal(skep_grid_check(&grid, why, sizeof why), SKEP_EINVAL);
    assert_string_equal(why, "dimension 1 of the grid is zero");
    sizes[1] = SKEP_GRID_SIZE_MAX;
    assert_int_equal(skep_grid_check(&grid, why, sizeof why), 0);
    sizes[1]++;
    assert_int_equal(skep_grid_check(&grid, why, sizeof why), SKEP_ELIMIT);
    sizes[1] = 2;
    grid.dims = SKEP_GRID_DIMENSIONS_MAX;
    assert_int_equal(skep_grid_check(&grid, NULL, 0), 0);
    grid.dims++;
    assert_int_equal(skep_grid_check(&grid, why, sizeof why), SKEP_ELIMIT);
    grid.dims = 0;
    assert_int_equal(skep_grid_check(&grid, why, sizeof why), SKEP_EINVAL);
}

static void nan_and_plus_infinity_are_refused_and_minus_infinity_is_legal(void **state)
{
    static const uint32_t sizes[] = {11, 20};
    const struct skep_grid grid = {2, sizes};
    float first[11] = {0};
    float second[20] = {0};
    const void *rows[] = {first, second};
    struct skep_scores scores = {.type = SKEP_GRID_FLOAT32, .examples = 1, .dims = 2, .rows = rows};
    struct skep_score_table table;
    char why[256];

    (void)state;
    first[3] = -INFINITY;
    second[19] = 5;
    assert_int_equal(skep_score_table_init(&table, &skep_mem_std, &grid, &scores, why, sizeof why),
                     0);
    assert_true(skep_score_row(&table, 0, 0)[3] == -HUGE_VAL);
    assert_true(table.best[1] == 5 && table.best[0] == 0);
    skep_score_table_fini(&table);
    for (size_t i = 0; i < 20; i++) {
        char expected[64];

        second[i] = NAN;
        assert_int_equal(
            skep_score_table_init(&table, &skep_mem_std, &grid, &scores, why, sizeof why),
            SKEP_EINVAL);
        snprintf(expected, sizeof expected, "score %zu of dimension 1 is NaN", i);
        assert_string_equal(why, expected);
        second[i] = INFINITY;
        assert_int_equal(
            skep_score_table_init(&table, &skep_mem_std, &grid, &scores, why, sizeof why),
            SKEP_EINVAL);
        snprintf(expected, sizeof expected, "score %zu of dimension 1 is +infinity", i);
        assert_string_equal(why, expected);
        second[i] = 0;
    }
    scores.dims = 1;
    assert_int_equal(skep_score_table_init(&table, &skep_mem_std, &grid, &scores, why, sizeof why),
                     SKEP_EINVAL);
    assert_string_equal(why, "there are 1 rows of scores for a grid of 2 dimensions");
    scores.dims = 2;
    scores.examples = 0;
    assert_int_equal(skep_score_table_init(&table, &skep_mem_std, &grid, &scores, why, sizeof why),
                     SKEP_EINVAL);
    scores.examples = SIZE_MAX / 4;
    assert_int_equal(skep_score_table_init(&table, &skep_mem_std, &grid, &scores, why, sizeof why),
                     SKEP_ENOMEM);
}

static void rows_may_lie_further_apart_than_their_length(void **state)
{
    static const uint32_t sizes[] = {2, 3};
    static const double block[] = {1, 2,  10, 20, 30, 3,
                                   4, 40, 50, 60}; /* two examples, all dimensions side by side */
    static const size_t stride[] = {5, 5};
    const struct skep_grid grid = {2, sizes};
    const void *rows[] = {block, block + 2};
    struct skep_scores scores = {
        .type = SKEP_GRID_FLOAT64, .examples = 2, .dims = 2, .rows = rows, .row_stride = stride};
    struct skep_score_table table;

    (void)state;
    assert_int_equal(skep_score_table_init(&table, &skep_mem_std, &grid, &scores, NULL, 0), 0);
    assert_true(skep_score_row(&table, 1, 0)[1] == 4);
    assert_true(skep_score_row(&table, 1, 1)[2] == 60);
    assert_true(table.best[2] == 4 && table.best[3] == 60);
    skep_score_table_fini(&table);
}

static void sums_are_rounded_to_the_callers_type(void **state)
{
    double a = (double)0.1F, b = (double)0.2F;
    volatile float narrow = 0.1F;

    (void)state;
    narrow = narrow + 0.2F;
    assert_true(skep_score_add(true, a, b) == (double)narrow);
    assert_true(skep_score_add(false, 0.1, 0.2) != 0.3);
    assert_true(skep_score_add(false, HUGE_VAL, -HUGE_VAL) == -HUGE_VAL);
    assert_true(skep_score_add(true, 3e38, 3e38) == HUGE_VAL);
}

static int worse(const void *a, const void *b)
{
    const struct skep_ranked *x = a, *y = b;

    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->index < y->index ? 1 : -1;
}

static void the_best_come_out_in_the_order_of_a_full_sort(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(500); seed++) {
        double row[64];
        struct skep_ranked sorted[64], got[64];
        struct skep_prng prng;
        uint32_t count;
        size_t at = 0;

        skep_prng_init(&prng, seed);
        count = 1 + (uint32_t)skep_prng_below(&prng, 64);
        for (uint32_t i = 0; i < count; i++) {
            row[i] = skep_prng_below(&prng, 8) == 0 ? -HUGE_VAL
                                                    : (double)skep_prng_below(&prng, 1 + seed % 40);
            sorted[i] = (struct skep_ranked){row[i], i};
        }
        qsort(sorted, count, sizeof *sorted, worse);
        while (at < count) {
            size_t want = 1 + (size_t)skep_prng_below(&prng, 20);
            size_t n = skep_rank_next(got + at, SKEP_MIN(want, count - at), row, count,
                                      at > 0 ? &got[at - 1] : NULL);

            assert_true(n > 0);
            at += n;
        }
        assert_int_equal(at, count);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(got[i].index, sorted[i].index);
        assert_int_equal(skep_rank_next(sorted, 1, row, count, &got[count - 1]), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grids_with_a_zero_or_past_a_bound_are_refused_by_name),
        cmocka_unit_test(nan_and_plus_infinity_are_refused_and_minus_infinity_is_legal),
        cmocka_unit_test(rows_may_lie_further_apart_than_their_length),
        cmocka_unit_test(sums_are_rounded_to_the_callers_type),
        cmocka_unit_test(the_best_come_out_in_the_order_of_a_full_sort),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
