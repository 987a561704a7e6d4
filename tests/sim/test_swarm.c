/* SPDX-License-Identifier: MIT */
/* Several hundred real nodes in virtual time: what is stored is found though nodes die, messages get lost and neighbours come and go. Same seed, same run;
 * a failure prints the line that replays it. SKEP_SEED=n runs n alone, SKEP_SEEDS=n the first n. */
#include "sim/swarm.h"

#include "dht/node_internal.h"

enum { NODES = 400, KEYS = 200 };

static struct swarm swarm;
static uint64_t seed;

/* cmocka's assert, with the line that replays the run. */
#define SIM_CHECK(condition)                                                                       \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("replay: SKEP_SEED=%llu ctest -R sim/test_swarm\n",                        \
                        (unsigned long long)seed);                                                 \
            assert_true(condition);                                                                \
        }                                                                                          \
    } while (0)

static void begin(uint64_t of_seed, size_t nodes, const struct skep_sim_faults *faults)
{
    struct skep_sim_faults usual;

    seed = of_seed;
    skep_sim_faults_default(&usual);
    swarm_init(&swarm, &skep_mem_std, seed, faults ? faults : &usual);
    swarm_grow(&swarm, nodes, NULL);
}

static void key_text(char *out, size_t i)
{
    snprintf(out, 32, "ffn.%zu.", i);
}

static uint32_t some_node(void)
{
    uint32_t node;

    do
        node = (uint32_t)skep_prng_below(&swarm.prng, swarm.count);
    while (!swarm.dht[node]);
    return node;
}

/* Store KEYS values from one node each, in bulk of 20. @return how many replicas hold them in all. */
static unsigned store_all(double ttl_s)
{
    struct skep_dht_record records[KEYS];
    unsigned accepted[KEYS], sum = 0;
    char keys[KEYS][32];

    for (size_t i = 0; i < KEYS; i++) {
        key_text(keys[i], i);
        records[i] = swarm_record(keys[i], keys[i], swarm_now(&swarm) + ttl_s);
    }
    for (size_t i = 0; i < KEYS; i += 20)
        SIM_CHECK(swarm_store_many(&swarm, some_node(), records + i, 20, NULL, accepted + i, NULL,
                                   NULL) == 0);
    for (size_t i = 0; i < KEYS; i++)
        sum += accepted[i];
    return sum;
}

/* @return how many of KEYS values some nodes find, each asked for alone or in bulk. */
static size_t find_all(size_t bulk, uint32_t *rounds)
{
    static struct swarm_found found[KEYS];
    struct skep_dht_id ids[KEYS];
    char key[32];
    size_t count = 0;

    for (size_t i = 0; i < KEYS; i++) {
        key_text(key, i);
        ids[i] = swarm_key(key);
    }
    for (size_t i = 0; i < KEYS; i += bulk) {
        SIM_CHECK(swarm_get_many(&swarm, some_node(), ids + i, bulk, NULL, found + i) == 0);
        *rounds = SKEP_MAX(*rounds, found[i].cost.rounds);
    }
    for (size_t i = 0; i < KEYS; i++) {
        key_text(key, i);
        count += found[i].found && strcmp(found[i].text, key) == 0;
    }
    return count;
}

static void values_are_found_after_a_fifth_of_the_nodes_died(void **state)
{
    (void)state;
    for (uint64_t s = test_seed_first(); s < test_seed_end(1); s++) {
        uint32_t rounds = 0;

        begin(s, NODES, NULL);
        SIM_CHECK(store_all(3600) >= KEYS * 5 - 5);
        for (size_t i = 0; i < NODES / 5; i++)
            swarm_kill(&swarm, some_node());
        SIM_CHECK(find_all(1, &rounds) >= KEYS - 1);
        SIM_CHECK(find_all(50, &rounds) >= KEYS - 1);
        SIM_CHECK(rounds <= 12);
        swarm_fini(&swarm);
    }
}

static void values_are_stored_and_found_though_messages_are_lost(void **state)
{
    (void)state;
    for (uint64_t s = test_seed_first(); s < test_seed_end(1); s++) {
        struct skep_sim_faults faults;
        uint32_t rounds = 0;

        skep_sim_faults_default(&faults);
        begin(s, NODES / 2, NULL);
        skep_sim_net_faults(swarm.net)->loss_ppm = 20000;
        SIM_CHECK(store_all(3600) >= KEYS * 5 * 9 / 10);
        SIM_CHECK(find_all(1, &rounds) >= KEYS - 2);
        swarm_fini(&swarm);
    }
}

/* Of the five nodes nearest to a node, how many are not in its table? */
static size_t neighbours_unknown(uint32_t node)
{
    const struct skep_dht_id *id = &swarm.dht[node]->node_id;
    size_t unknown = 0;

    for (uint32_t i = 0; i < swarm.count; i++) {
        size_t nearer = 0;

        if (!swarm.dht[i] || i == node)
            continue;
        for (uint32_t j = 0; j < swarm.count; j++)
            nearer += swarm.dht[j] && j != node &&
                      skep_dht_id_nearer(id, &swarm.dht[j]->node_id, &swarm.dht[i]->node_id) < 0;
        unknown += nearer < 5 && !skep_routing_get(&swarm.dht[node]->table, &swarm.dht[i]->node_id);
    }
    return unknown;
}

/* The silent are named to it by all, and none of them may keep a nearer one out of its search. */
static void newcomers_find_their_neighbours_though_a_fifth_of_the_nodes_are_silent(void **state)
{
    (void)state;
    for (uint64_t s = test_seed_first(); s < test_seed_end(1); s++) {
        size_t unknown = 0;

        begin(s, NODES, NULL);
        for (size_t i = 0; i < NODES / 5; i++)
            swarm_kill(&swarm, some_node());
        swarm_grow(&swarm, 20, NULL);
        skep_sim_clock_run_for(&swarm.clock, 20 * SKEP_SIM_SECOND);
        for (uint32_t i = NODES; i < swarm.count; i++)
            unknown += neighbours_unknown(i);
        SIM_CHECK(unknown <= 1);
        swarm_fini(&swarm);
    }
}

/* One node dies without a word; others join as the minutes pass. */
static void lose_one(struct skep_sim_churn *churn)
{
    uint32_t node = some_node();

    (void)churn;
    if (node + 1 < swarm.count) /* the newest may still be joining */
        swarm_kill(&swarm, node);
}

static void values_stay_findable_under_churn(void **state)
{
    (void)state;
    for (uint64_t s = test_seed_first(); s < test_seed_end(1); s++) {
        struct skep_sim_churn churn = {0};
        uint32_t rounds = 0;

        begin(s, NODES / 2, NULL);
        (void)store_all(3600);
        skep_sim_churn_start(&churn, &swarm.clock, 300, lose_one);
        for (int minute = 0; minute < 5; minute++) {
            skep_sim_clock_run_for(&swarm.clock, 60 * SKEP_SIM_SECOND);
            swarm_grow(&swarm, 5, NULL);
            (void)store_all(3600 + 60.0 * minute);
            SIM_CHECK(find_all(10, &rounds) >= KEYS - 2);
        }
        skep_sim_churn_stop(&churn);
        swarm_fini(&swarm);
    }
}

/* Everything that happens to a swarm, in one number: each call and reply in the net's digest, and what was found. */
static uint64_t run_of(uint64_t of_seed)
{
    uint32_t rounds = 0;
    uint64_t digest;

    begin(of_seed, 60, NULL);
    skep_sim_net_faults(swarm.net)->loss_ppm = 20000;
    (void)store_all(600);
    for (int i = 0; i < 10; i++)
        swarm_kill(&swarm, some_node());
    digest = find_all(10, &rounds);
    digest = digest * 1000003 + skep_sim_net_digest(swarm.net);
    digest = digest * 1000003 + swarm.clock.now_us;
    digest = digest * 1000003 + swarm.clock.events;
    print_message("seed %llu: %llu calls, digest %016llx\n", (unsigned long long)of_seed,
                  (unsigned long long)skep_sim_net_stats(swarm.net)->calls,
                  (unsigned long long)digest);
    swarm_fini(&swarm);
    return digest;
}

/* Between compilers compare the line it prints. */
static void the_same_seed_is_the_same_run_and_another_is_not(void **state)
{
    uint64_t first = run_of(5);

    (void)state;
    assert_true(run_of(5) == first);
    assert_true(run_of(6) != first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_found_after_a_fifth_of_the_nodes_died),
        cmocka_unit_test(values_are_stored_and_found_though_messages_are_lost),
        cmocka_unit_test(newcomers_find_their_neighbours_though_a_fifth_of_the_nodes_are_silent),
        cmocka_unit_test(values_stay_findable_under_churn),
        cmocka_unit_test(the_same_seed_is_the_same_run_and_another_is_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
