/* SPDX-License-Identifier: MIT */
#include "lab/world.h"

#include "lab/samples.h"
#include "support/test.h"

static void experts_are_at_different_places_even_in_a_full_grid(void **state)
{
    static const uint32_t sizes[] = {4, 3, 5};
    struct skep_lab_world world;
    struct skep_prng prng;
    bool there[60] = {false};

    (void)state;
    skep_prng_init(&prng, 1);
    assert_int_equal(skep_lab_world_init(&world, &skep_mem_std, 3, sizes, 61, &prng), SKEP_EINVAL);
    assert_int_equal(skep_lab_world_init(&world, &skep_mem_std, 3, sizes, 60, &prng), 0);
    assert_int_equal(world.count, 60);
    for (size_t i = 0; i < world.count; i++) {
        const uint32_t *place = world.places + 3 * i;
        size_t cell = ((size_t)place[0] * 3 + place[1]) * 5 + place[2];

        assert_true(place[0] < 4 && place[1] < 3 && place[2] < 5);
        assert_false(there[cell]);
        there[cell] = true;
    }
    skep_lab_world_fini(&world);
}

static void a_uid_names_the_place(void **state)
{
    static const uint32_t sizes[] = {1, 1};
    struct skep_lab_world world;
    struct skep_prng prng;
    char text[SKEP_LAB_UID_MAX];

    (void)state;
    skep_prng_init(&prng, 1);
    assert_int_equal(skep_lab_world_init(&world, &skep_mem_std, 2, sizes, 1, &prng), 0);
    assert_int_equal(skep_lab_world_uid(&world, 0, text), 10);
    assert_string_equal(text, "expert.0.0");
    skep_lab_world_fini(&world);
}

static void the_best_are_found_by_looking_at_all(void **state)
{
    static const uint32_t sizes[] = {2, 3};
    static const double first[] = {1, 10}, second[] = {0.5, 0.25, 0.75};
    const double *rows[] = {first, second};
    struct skep_lab_world world;
    struct skep_prng prng;
    double best[4];

    (void)state;
    skep_prng_init(&prng, 1);
    assert_int_equal(skep_lab_world_init(&world, &skep_mem_std, 2, sizes, 6, &prng), 0);
    assert_int_equal(skep_lab_world_best(&world, rows, 4, best), 4);
    assert_true(best[0] == 10.75 && best[1] == 10.5 && best[2] == 10.25 && best[3] == 1.75);
    skep_lab_world_fini(&world);
}

static void percentiles_are_values_that_were_there(void **state)
{
    struct skep_lab_samples samples;

    (void)state;
    skep_lab_samples_init(&samples, &skep_mem_std);
    assert_int_equal(skep_lab_samples_at(&samples, 500), 0);
    for (uint64_t i = 100; i > 0; i--)
        skep_lab_samples_add(&samples, i);
    assert_int_equal(skep_lab_samples_at(&samples, 0), 1);
    assert_int_equal(skep_lab_samples_at(&samples, 500), 50);
    assert_int_equal(skep_lab_samples_at(&samples, 950), 95);
    assert_int_equal(skep_lab_samples_at(&samples, 1000), 100);
    assert_int_equal(skep_lab_samples_mean(&samples), 50);
    skep_lab_samples_fini(&samples);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(experts_are_at_different_places_even_in_a_full_grid),
        cmocka_unit_test(a_uid_names_the_place),
        cmocka_unit_test(the_best_are_found_by_looking_at_all),
        cmocka_unit_test(percentiles_are_values_that_were_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
