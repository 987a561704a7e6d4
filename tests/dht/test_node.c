/* SPDX-License-Identifier: MIT */
/* A few DHT nodes in virtual time: joining, storing and getting. */
#include "sim/swarm.h"

static void a_value_stored_by_one_node_is_got_by_all(void **state)
{
    struct swarm swarm;

    (void)state;
    swarm_init(&swarm, &skep_mem_std, 1, NULL);
    swarm_grow(&swarm, 8, NULL);
    struct skep_dht_record record = swarm_record("key", "value", swarm_now(&swarm) + 60);

    assert_int_equal(swarm_store(&swarm, 3, &record, NULL), 5);
    for (uint32_t i = 0; i < 8; i++) {
        struct swarm_found found = swarm_get(&swarm, i, "key", NULL);

        assert_true(found.found);
        assert_string_equal(found.text, "value");
        printf("%u: rounds %u calls %u\n", i, found.cost.rounds, found.cost.calls);
    }
    swarm_fini(&swarm);
}

static void a_key_nobody_holds_is_missing_after_two_rounds(void **state)
{
    struct swarm swarm;
    struct swarm_found found;

    (void)state;
    swarm_init(&swarm, &skep_mem_std, 2, NULL);
    swarm_grow(&swarm, 8, NULL);
    found = swarm_get(&swarm, 5, "nothing", NULL);
    assert_false(found.found);
    assert_true(found.answered);
    assert_int_equal(found.cost.rounds, 2);
    assert_int_equal(found.cost.calls, 7);
    swarm_fini(&swarm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_stored_by_one_node_is_got_by_all),
        cmocka_unit_test(a_key_nobody_holds_is_missing_after_two_rounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
