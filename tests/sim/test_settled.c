/* SPDX-License-Identifier: MIT */
/* Lookups that end before their whole beam was asked find what exhaustive ones find, and stores reach the same nodes: random swarms of 30 to 1,000 nodes, with clients
 * and dead nodes, each key looked for both ways. SKEP_SEED=n runs n alone, SKEP_SEEDS=n the first n. */
#include <math.h>

#include "sim/swarm.h"

#include "dht/node_internal.h"

enum { KEYS = 100, MISSES = 100, STORES = 100, BRIEF = 0, WHOLE = 1 };

static struct swarm swarm;
static uint64_t seed;
static double
    estimate; /* what the one with brief lookups is made to believe before each; 0: what it will */

/* Of all swarms; [BRIEF] as by default, [WHOLE] exhaustive. */
static struct sums {
    uint64_t gets, differ;                        /* keys looked for; those found one way only */
    uint64_t misses, miss_calls[2];               /* requests for keys that nobody has */
    uint64_t stores, store_calls[2], replicas[2]; /* replicas that are among the true nearest */
    uint64_t wanted, same_nodes;                  /* stores that reached the same nodes both ways */
} sums;

#define SIM_CHECK(condition)                                                                       \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("replay: SKEP_SEED=%llu ctest -R sim/test_settled\n",                      \
                        (unsigned long long)seed);                                                 \
            assert_true(condition);                                                                \
        }                                                                                          \
    } while (0)

static uint32_t some_node(void)
{
    uint32_t node;

    do
        node = (uint32_t)skep_prng_below(&swarm.prng, swarm.count);
    while (!swarm.dht[node]);
    return node;
}

static uint32_t add_client(bool exhaustive)
{
    struct skep_dht_options options;
    uint32_t client, via = 0;

    skep_dht_options_default(&options);
    options.client_mode = true;
    options.cache_locally = options.cache_on_store = false;
    options.cache_nearest = 0;
    options.exhaustive_lookups = exhaustive;
    client = swarm_add(&swarm, &options);
    SIM_CHECK(swarm_join(&swarm, client, &via, 1, NULL) == 0);
    return client;
}

/* 30 to 1,000 nodes, as often of one order of magnitude as of another. */
static size_t draw_size(void)
{
    size_t size = (size_t)30 << skep_prng_below(&swarm.prng, 6);

    return SKEP_MIN(size + skep_prng_below(&swarm.prng, size), (size_t)1000);
}

static size_t begin(uint64_t of_seed, size_t nodes)
{
    struct skep_sim_faults faults;
    struct skep_dht_options options;

    seed = of_seed;
    skep_sim_faults_default(&faults);
    skep_dht_options_default(&options);
    options.cache_nearest = 0;
    swarm_init(&swarm, &skep_mem_std, seed, &faults);
    swarm_grow(&swarm, nodes > 0 ? nodes : draw_size(), &options);
    nodes = swarm.count;
    for (size_t i = 0; i < nodes / 20; i++) /* in nobody's table */
        (void)add_client(false);
    return nodes;
}

static void kill_some(size_t nodes, size_t share_percent)
{
    for (size_t i = 0; i < nodes * share_percent / 100; i++) {
        uint32_t node = some_node();

        if (node != 0 && node < nodes)
            swarm_kill(&swarm, node);
    }
}

static void key_text(char out[32], const char *kind, size_t i)
{
    snprintf(out, 32, "%s %zu", kind, i);
}

static void store_keys(void)
{
    char key[32];

    for (size_t i = 0; i < KEYS; i++) {
        struct skep_dht_record record;

        key_text(key, "key", i);
        record = swarm_record(key, key, swarm_now(&swarm) + 36000);
        (void)swarm_store(&swarm, some_node(), &record, NULL);
    }
}

static void believe(uint32_t client)
{
    if (estimate > 0 && !swarm.dht[client]->options.exhaustive_lookups)
        swarm.dht[client]->swarm_size = (struct skep_swarm_size){
            .nodes = estimate, .table_looked_us = skep_env_now_us(&swarm.clock.env)};
}

static struct swarm_found get(uint32_t client, const char *kind, size_t i, bool latest)
{
    const struct skep_dht_get_options options = {
        .no_local = true, .sufficient_expiration_unix_s = latest ? (double)INFINITY : 0};
    char key[32];

    key_text(key, kind, i);
    believe(client);
    return swarm_get(&swarm, client, key, &options);
}

static void compare_gets(const uint32_t clients[2])
{
    for (size_t i = 0; i < KEYS + MISSES; i++) {
        const char *kind = i < KEYS ? "key" : "nothing";
        struct swarm_found brief = get(clients[BRIEF], kind, i, i % 4 == 0),
                           whole = get(clients[WHOLE], kind, i, i % 4 == 0);

        sums.gets++;
        sums.differ += brief.found != whole.found || strcmp(brief.text, whole.text) != 0;
        if (i < KEYS)
            continue;
        sums.misses++;
        sums.miss_calls[BRIEF] += brief.cost.calls;
        sums.miss_calls[WHOLE] += whole.cost.calls;
    }
}

/* ---- stores ---- */

static const skep_bytes subkeys[2] = {{(const uint8_t *)"\xa1"
                                                        "b",
                                       2},
                                      {(const uint8_t *)"\xa1"
                                                        "w",
                                       2}};

/* Does a node hold the entry that one of the two ways stored? */
static bool holds(uint32_t node, const struct skep_dht_id *key, int way)
{
    const struct skep_dht_item *item =
        skep_dht_storage_get(&swarm.dht[node]->storage, key, swarm_now(&swarm));
    struct skep_dht_entry entry;
    size_t cursor = 0;

    while (item && skep_dht_value_next(item->value, &cursor, &entry))
        if (skep_bytes_equal(entry.subkey, subkeys[way]))
            return true;
    return false;
}

static bool is_near(const struct skep_dht_id *key, uint32_t node)
{
    size_t nearer = 0;

    for (uint32_t i = 0; i < swarm.count; i++)
        nearer += swarm.dht[i] && !swarm.dht[i]->options.client_mode &&
                  skep_dht_id_nearer(key, &swarm.dht[i]->node_id, &swarm.dht[node]->node_id) < 0;
    return nearer < 5;
}

static void compare_holders(const struct skep_dht_id *key)
{
    bool same = true;

    for (uint32_t i = 0; i < swarm.count; i++) {
        bool brief, whole;

        if (!swarm.dht[i] || swarm.dht[i]->options.client_mode)
            continue;
        brief = holds(i, key, BRIEF);
        whole = holds(i, key, WHOLE);
        same &= brief == whole;
        if ((brief || whole) && is_near(key, i)) {
            sums.replicas[BRIEF] += brief;
            sums.replicas[WHOLE] += whole;
        }
    }
    sums.same_nodes += same;
    sums.wanted += 5;
}

static void compare_stores(const uint32_t clients[2])
{
    for (size_t i = 0; i < STORES; i++) {
        struct skep_dht_record record;
        char key[32];

        key_text(key, "store", i);
        record = swarm_record(key, "\xc3", swarm_now(&swarm) + 36000);
        for (int way = 0; way < 2; way++) {
            struct skep_dht_cost cost;

            record.subkey = subkeys[way];
            believe(clients[way]);
            SIM_CHECK(swarm_store_many(&swarm, clients[way], &record, 1, NULL, NULL, NULL, &cost) ==
                      0);
            sums.store_calls[way] += cost.calls;
        }
        sums.stores++;
        compare_holders(&record.key);
    }
}

static void report(const char *what)
{
    print_message(
        "%s: %llu gets, %llu differ; missing: %.2f requests of %.2f; store: %.2f of %.2f, same nodes "
        "%.2f %%, of the nearest %.3f %% and %.3f %%\n",
        what, (unsigned long long)sums.gets, (unsigned long long)sums.differ,
        (double)sums.miss_calls[BRIEF] / (double)sums.misses,
        (double)sums.miss_calls[WHOLE] / (double)sums.misses,
        (double)sums.store_calls[BRIEF] / (double)sums.stores,
        (double)sums.store_calls[WHOLE] / (double)sums.stores,
        100.0 * (double)sums.same_nodes / (double)sums.stores,
        100.0 * (double)sums.replicas[BRIEF] / (double)sums.wanted,
        100.0 * (double)sums.replicas[WHOLE] / (double)sums.wanted);
}

static void compare(const uint32_t clients[2])
{
    compare_gets(clients);
    compare_stores(clients);
}

static void check(const char *what)
{
    report(what);
    assert_true(sums.differ * 1000 <= sums.gets);
    assert_true(sums.replicas[BRIEF] * 1000 >= sums.replicas[WHOLE] * 999);
}

static void lookups_that_end_early_find_what_exhaustive_ones_find(void **state)
{
    (void)state;
    sums = (struct sums){0};
    for (uint64_t s = test_seed_first(); s < test_seed_end(3); s++) {
        size_t nodes = begin(s, 0);
        uint32_t clients[2] = {add_client(false), add_client(true)};

        store_keys();
        kill_some(nodes, skep_prng_below(&swarm.prng, 21));
        swarm_grow(&swarm, nodes / 20, NULL);
        compare(clients);
        swarm_fini(&swarm);
    }
    check("random swarms");
    assert_true(sums.miss_calls[BRIEF] * 2 < sums.miss_calls[WHOLE]);
    assert_true(sums.store_calls[BRIEF] * 3 < sums.store_calls[WHOLE] * 2);
}

static void compare_with_estimate(double nodes)
{
    size_t count = begin(seed, 200);
    uint32_t clients[2] = {add_client(false), add_client(true)};

    sums = (struct sums){0};
    store_keys();
    kill_some(count, 10);
    estimate = nodes;
    compare(clients);
    estimate = 0;
    swarm_fini(&swarm);
    check("wrong estimate");
}

static void an_estimate_too_small_loses_nothing(void **state)
{
    (void)state;
    seed = 11;
    compare_with_estimate(100);
    compare_with_estimate(1); /* as many as the table has */
}

static void an_estimate_too_large_costs_requests_and_nothing_else(void **state)
{
    (void)state;
    seed = 12;
    compare_with_estimate(400);
    assert_true(sums.miss_calls[BRIEF] < sums.miss_calls[WHOLE]);
    compare_with_estimate(100000);
    assert_true(sums.miss_calls[BRIEF] > sums.miss_calls[WHOLE] * 9 / 10);
}

/* The `count` nodes nearest to a key, nearest first. */
static void nearest(const struct skep_dht_id *key, size_t nodes, uint32_t *out, size_t count)
{
    size_t kept = 0;

    for (uint32_t i = 0; i < nodes; i++) {
        size_t at = kept < count ? kept++ : count;

        for (; at > 0 && skep_dht_id_nearer(key, &swarm.dht[i]->node_id,
                                            &swarm.dht[out[at - 1]]->node_id) < 0;
             at--)
            if (at < count)
                out[at] = out[at - 1];
        if (at < count)
            out[at] = i;
    }
}

static void make_unknown(uint32_t node, uint32_t to)
{
    (void)skep_routing_remove(&swarm.dht[to]->table, &swarm.dht[node]->node_id);
}

/* The nearest node is known only to some that a short lookup does not ask, the next one to a few of those that it does: the sign that there may be more. */
static void where_answers_disagree_the_whole_beam_is_asked(void **state)
{
    enum { FEW = 12, BEAM = 20 };
    struct skep_dht_id key = swarm_key("nothing 1");
    size_t nodes = begin(30, 100);
    uint32_t near[BEAM], client = add_client(false);

    (void)state;
    nearest(&key, nodes, near, BEAM);
    for (uint32_t i = 0; i < swarm.count; i++) {
        size_t rank = 0;

        while (rank < BEAM && near[rank] != i)
            rank++;
        if (rank < FEW || rank == BEAM)
            make_unknown(near[0], i);
        if (rank % 3 != 0 || rank >= FEW)
            make_unknown(near[1], i);
    }
    for (size_t rank = 2; rank < FEW; rank++) {
        struct skep_routing_node to_ping;
        const struct skep_dht *node = swarm.dht[near[rank]];

        (void)skep_routing_add(&swarm.dht[client]->table, &node->node_id, &node->rpc->self,
                               skep_env_now_us(&swarm.clock.env), &to_ping);
    }
    assert_int_equal(skep_dht_storage_store(&swarm.dht[near[0]]->storage, &key, (skep_bytes){0},
                                            skep_bytes_str("\xc3"), swarm_now(&swarm) + 60, NULL,
                                            swarm_now(&swarm)),
                     1);
    estimate = 1; /* so that only the answers can tell */
    SIM_CHECK(get(client, "nothing", 1, false).found);
    estimate = 0;
    swarm_fini(&swarm);
}

static void the_size_of_a_swarm_is_known_to_those_in_it(void **state)
{
    static const size_t sizes[] = {5, 19, 60, 200, 600};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(sizes); i++) {
        size_t nodes = begin(20 + i, sizes[i]), off = 0;

        skep_sim_clock_run_for(&swarm.clock,
                               60 * SKEP_SIM_SECOND); /* what was seen while it grew is old */
        for (uint32_t n = 0; n < nodes; n++) {
            uint64_t size = swarm_stats(&swarm, n).swarm_size_estimate;

            off += size < nodes / 2 || size > nodes * 2;
            SIM_CHECK(nodes >= 20 || size == nodes);
        }
        SIM_CHECK(off <= nodes / 20);
        swarm_fini(&swarm);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookups_that_end_early_find_what_exhaustive_ones_find),
        cmocka_unit_test(an_estimate_too_small_loses_nothing),
        cmocka_unit_test(an_estimate_too_large_costs_requests_and_nothing_else),
        cmocka_unit_test(where_answers_disagree_the_whole_beam_is_asked),
        cmocka_unit_test(the_size_of_a_swarm_is_known_to_those_in_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
