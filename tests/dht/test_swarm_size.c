/* SPDX-License-Identifier: MIT */
#include "dht/swarm_size.h"
#include "support/test.h"

enum { NEAREST = 20 };

/* The distances of the nearest of so many random ids, nearest first. */
static void draw(struct skep_prng *prng, size_t nodes, uint64_t heads[NEAREST])
{
    size_t count = 0;

    for (size_t i = 0; i < nodes; i++) {
        uint64_t head = skep_prng_u64(prng);
        size_t at = count < NEAREST ? count++ : NEAREST;

        for (; at > 0 && heads[at - 1] > head; at--)
            if (at < NEAREST)
                heads[at] = heads[at - 1];
        if (at < NEAREST)
            heads[at] = head;
    }
}

static void the_nearest_twenty_tell_the_size_within_a_factor_of_two(void **state)
{
    struct skep_prng prng;

    (void)state;
    skep_prng_init(&prng, 1);
    for (size_t nodes = 30; nodes <= 10000; nodes *= 3) {
        size_t off = 0, tries = 200;
        double sum = 0;

        for (size_t i = 0; i < tries; i++) {
            uint64_t heads[NEAREST];
            double size;

            draw(&prng, nodes, heads);
            size = skep_swarm_size_of(heads, NEAREST);
            sum += size;
            off += size > 2 * (double)nodes || size < (double)nodes / 2;
        }
        assert_true(off <= tries / 20);
        assert_true(sum / (double)tries > 0.85 * (double)nodes &&
                    sum / (double)tries < 1.15 * (double)nodes);
    }
}

static void many_opinions_are_surer_than_one(void **state)
{
    struct skep_swarm_size size = {0};
    uint64_t heads[NEAREST];
    struct skep_prng prng;

    (void)state;
    skep_prng_init(&prng, 2);
    for (size_t i = 0; i < 400; i++) {
        draw(&prng, 1000, heads);
        skep_swarm_size_learn(&size, heads, NEAREST);
        if (i >= 30)
            assert_true(size.nodes > 700 && size.nodes < 1400);
    }
}

static void one_liar_moves_the_estimate_by_little(void **state)
{
    struct skep_swarm_size size = {.nodes = 1000};
    uint64_t heads[NEAREST] = {0};

    (void)state;
    skep_swarm_size_learn(&size, heads, NEAREST); /* twenty nodes with the very id */
    assert_true(size.nodes > 1000 && size.nodes < 1500);
    memset(heads, 0xff, sizeof heads);
    size.nodes = 1000;
    skep_swarm_size_learn(&size, heads, NEAREST);
    assert_true(size.nodes < 1000 && size.nodes > 700);
}

static void too_few_tell_nothing(void **state)
{
    struct skep_swarm_size size = {0};
    const uint64_t heads[] = {1, 2, 3};

    (void)state;
    assert_true(skep_swarm_size_of(heads, 3) == 0);
    assert_true(skep_swarm_size_of(NULL, 0) == 0);
    skep_swarm_size_learn(&size, heads, 3);
    assert_true(size.nodes == 0);
}

/* Against what it stands for: how often fewer than `replicas` of Poisson many are nearer. */
static void the_chance_to_hold_a_key_falls_with_the_number_of_nodes_expected_nearer(void **state)
{
    (void)state;
    for (size_t replicas = 1; replicas <= 20; replicas++) {
        uint32_t before = 65536;

        for (double expected = 0; expected < 1e9; expected = expected * 1.1 + 0.01) {
            uint32_t holds = skep_swarm_holds(expected, replicas);

            assert_true(holds >= 1 && holds <= before);
            before = holds;
        }
        assert_true(skep_swarm_holds(0, replicas) == 65536);
        assert_in_range(skep_swarm_holds((double)replicas, replicas), 25000, 33000);
        assert_true(skep_swarm_holds(3 * (double)replicas, replicas) < 6000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_twenty_tell_the_size_within_a_factor_of_two),
        cmocka_unit_test(many_opinions_are_surer_than_one),
        cmocka_unit_test(one_liar_moves_the_estimate_by_little),
        cmocka_unit_test(too_few_tell_nothing),
        cmocka_unit_test(the_chance_to_hold_a_key_falls_with_the_number_of_nodes_expected_nearer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
