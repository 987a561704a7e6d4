/* SPDX-License-Identifier: MIT */
/* Whom gets ask first, and what they do about those that do not answer: near holders, few requests, hedges within their budget. */
#include "sim/swarm.h"

#include "dht/node_internal.h"

static struct swarm swarm;

static uint64_t rtt_of(uint32_t a, uint32_t b)
{
    return skep_sim_latency_us(&skep_sim_net_faults(swarm.net)->latency, swarm.seed, a, b);
}

static bool holds(uint32_t node, const char *text)
{
    struct skep_dht_id key = swarm_key(text);

    return skep_dht_storage_get(&swarm.dht[node]->storage, &key, swarm_now(&swarm)) != NULL;
}

static void put(uint32_t node, const char *text)
{
    struct skep_dht_record record = swarm_record(text, "value", swarm_now(&swarm) + 36000);

    assert_int_equal(swarm_store(&swarm, node, &record, NULL), 5);
}

static double get_us(uint32_t node, const char *text, bool found)
{
    const struct skep_dht_get_options options = {.no_local = true};
    uint64_t started = swarm.clock.now_us;
    struct swarm_found got = swarm_get(&swarm, node, text, &options);

    assert_true(got.found == found && got.answered);
    return (double)(swarm.clock.now_us - started);
}

/* A swarm, and a client of it that is connected to all. @return the client. */
static uint32_t begin(uint64_t seed, size_t nodes, const struct skep_sim_faults *faults,
                      double hedge_share)
{
    struct skep_dht_options options;
    const uint32_t via[] = {0};
    uint32_t client;

    swarm_init(&swarm, &skep_mem_std, seed, faults);
    skep_dht_options_default(&options);
    options.cache_nearest = 0; /* so that only replicas hold what is stored */
    swarm_grow(&swarm, nodes, &options);
    options.client_mode = true;
    options.cache_locally = options.cache_on_store = false;
    options.hedge_share = hedge_share;
    client = swarm_add(&swarm, &options);
    assert_int_equal(swarm_join(&swarm, client, via, 1, NULL), 0);
    swarm.dht[client]->options.exhaustive_lookups = true;
    for (size_t i = 0, known = 0; known < nodes; i++) {
        char text[32];

        assert_true(i < 2000);
        snprintf(text, sizeof text, "warm %zu", i);
        (void)get_us(client, text, false);
        known = 0;
        for (uint32_t n = 0; n < nodes; n++)
            known += skep_dht_rtt_us(swarm.dht[client], &swarm.rpc[n]->self) > 0;
    }
    swarm.dht[client]->options.exhaustive_lookups = false;
    return client;
}

static const struct skep_sim_faults far_and_near = {

    .latency = {.kind = SKEP_SIM_UNIFORM, .min_us = 10000, .max_us = 100000},
    .handshake_rounds = 3};

/* ---- the first ask ---- */

static void a_single_key_is_asked_of_its_nearest_holder(void **state)
{
    enum { NODES = 15, KEYS = 100 };
    uint32_t client = begin(1, NODES, &far_and_near, 0.05);

    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        uint64_t best = UINT64_MAX;
        char text[32];

        snprintf(text, sizeof text, "key %zu", i);
        put(0, text);
        for (uint32_t n = 0; n < NODES; n++)
            if (holds(n, text))
                best = SKEP_MIN(best, rtt_of(client, n));
        assert_in_range(get_us(client, text, true), best - 1, best);
    }
    swarm_fini(&swarm);
}

/* Where the table has only a part of the swarm the nearest in time may not be a holder, and then costs a round trip in vain. */
static void in_a_large_swarm_gets_take_little_longer_than_to_the_nearest_holder(void **state)
{
    enum { NODES = 300, KEYS = 200 };
    uint32_t client = begin(2, NODES, &far_and_near, 0.05);
    double taken = 0, nearest = 0, average = 0;

    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        uint64_t best = UINT64_MAX, sum = 0;
        char text[32];

        snprintf(text, sizeof text, "key %zu", i);
        put(0, text);
        for (uint32_t n = 0; n < NODES; n++)
            if (holds(n, text)) {
                best = SKEP_MIN(best, rtt_of(client, n));
                sum += rtt_of(client, n);
            }
        taken += get_us(client, text, true);
        nearest += (double)best;
        average += (double)sum / 5;
    }
    assert_true(taken < 1.35 * nearest);
    assert_true(taken < 0.7 * average);
    swarm_fini(&swarm);
}

/* Any four of eight nodes hold every key. */
static void many_keys_of_a_small_swarm_take_few_requests(void **state)
{
    enum { NODES = 8, KEYS = 200 };
    static struct swarm_found found[KEYS];
    const struct skep_dht_get_options options = {.no_local = true};
    uint32_t client = begin(3, NODES, &far_and_near, 0.05);
    struct skep_dht_id keys[KEYS];
    uint64_t slowest = 0, started;

    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        char text[32];

        snprintf(text, sizeof text, "key %zu", i);
        put(0, text);
        keys[i] = swarm_key(text);
    }
    for (uint32_t n = 0; n < NODES; n++)
        slowest = SKEP_MAX(slowest, rtt_of(client, n));
    started = swarm.clock.now_us;
    assert_int_equal(swarm_get_many(&swarm, client, keys, KEYS, &options, found), 0);
    assert_true(found[0].cost.calls <= 4);
    assert_true(swarm.clock.now_us - started < slowest);
    for (size_t i = 0; i < KEYS; i++)
        assert_true(found[i].found);
    swarm_fini(&swarm);
}

/* ---- the slow ---- */

static const struct skep_sim_faults even = {.latency = {.median_us = 50000}, .handshake_rounds = 3};

/* What a request for one key takes until it is overdue, and until it is late. */
#define OVERDUE_US (50000 * 3 / 2 + 5000 + 200)
#define LATE_US (50000 * 4 + 200) /* at most */

/* The longest get of a key of which one holder after the other is silent, though the connection to it seems to be there. @param hedges  receives how many there were. */
static double longest_with_one_silent(double hedge_share, uint64_t *hedges)
{
    enum { NODES = 100 };
    uint32_t client = begin(4, NODES, &even, hedge_share);
    double longest = 0;

    put(0, "key");
    for (uint32_t n = 0; n < NODES; n++) {
        double taken;

        if (!holds(n, "key"))
            continue;
        skep_sim_net_set_group(swarm.net, n, 1);
        taken = get_us(client, "key", true);
        longest = SKEP_MAX(longest, taken);
        skep_sim_net_set_group(swarm.net, n, 0);
        skep_sim_clock_run_for(&swarm.clock, 60 * SKEP_SIM_SECOND);
    }
    *hedges = swarm_stats(&swarm, client).hedges;
    swarm_fini(&swarm);
    return longest;
}

static void a_silent_holder_stalls_a_get_for_a_hedge_and_a_round_trip(void **state)
{
    uint64_t hedges;
    double longest;

    (void)state;
    assert_true(longest_with_one_silent(0.05, &hedges) == OVERDUE_US + 50000);
    assert_true(hedges > 0);
    /* Without hedges, when it is late: never before it is overdue. */
    longest = longest_with_one_silent(0, &hedges);
    assert_true(longest >= OVERDUE_US + 50000 && longest <= LATE_US + 50000);
    assert_int_equal(hedges, 0);
}

static size_t nearer_nodes(const struct skep_dht_id *key, uint32_t than, size_t nodes)
{
    size_t nearer = 0;

    for (uint32_t n = 0; n < nodes; n++)
        nearer += skep_dht_id_nearer(key, &swarm.dht[n]->node_id, &swarm.dht[than]->node_id) < 0;
    return nearer;
}

/* Three rounds: a first node, five, and the other neighbours. */
static void a_silent_neighbour_stalls_a_missing_key_for_a_hedge(void **state)
{
    enum { NODES = 100 };
    struct skep_dht_id key = swarm_key("nothing");
    uint32_t client = begin(5, NODES, &even, 0.05);
    size_t silent = 0;

    (void)state;
    for (uint32_t n = 0; n < NODES; n++) {
        if (nearer_nodes(&key, n, NODES) >= 8)
            continue;
        silent++;
        skep_sim_net_set_group(swarm.net, n, 1);
        assert_true(get_us(client, "nothing", false) <= OVERDUE_US + 3 * 50000);
        skep_sim_net_set_group(swarm.net, n, 0);
        skep_sim_clock_run_for(&swarm.clock, 60 * SKEP_SIM_SECOND);
    }
    assert_int_equal(silent, 8);
    swarm_fini(&swarm);
}

/* Most of its likely holders are silent: nobody can know, and nobody waits for a timeout to say so. */
static void a_key_whose_holders_are_silent_is_soon_told_unknown(void **state)
{
    enum { NODES = 100 };
    const struct skep_dht_get_options options = {.no_local = true};
    struct skep_dht_id key = swarm_key("nothing");
    uint32_t client = begin(8, NODES, &even, 0.05);
    uint64_t started = swarm.clock.now_us;
    struct swarm_found found;

    (void)state;
    for (uint32_t n = 0; n < NODES; n++)
        if (nearer_nodes(&key, n, NODES) < 4)
            skep_sim_net_set_group(swarm.net, n, 1);
    found = swarm_get(&swarm, client, "nothing", &options);
    assert_false(found.found || found.answered);
    assert_true(swarm.clock.now_us - started < 2 * LATE_US + 4 * 50000);
    swarm_fini(&swarm);
}

/* Messages that are up to 60 ms late on 50 ms round trips: most requests are overdue, and only so many are hedged. */
static void hedges_are_at_most_a_twentieth_of_the_requests(void **state)
{
    enum { NODES = 60, GETS = 4000, KEYS = 50 };
    uint32_t client = begin(6, NODES, &even, 0.05);
    struct skep_dht_stats before = swarm_stats(&swarm, client), after;
    const struct skep_dht_get_options options = {.no_local = true};
    uint64_t calls = 0, hedges;
    char text[32];

    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        snprintf(text, sizeof text, "key %zu", i);
        put(0, text);
    }
    skep_sim_net_faults(swarm.net)->jitter_us = 60000;
    for (size_t i = 0; i < GETS; i++) {
        snprintf(text, sizeof text, "key %zu", i % KEYS);
        calls += swarm_get(&swarm, client, text, &options).cost.calls;
    }
    after = swarm_stats(&swarm, client);
    hedges = after.hedges - before.hedges;
    assert_true(after.hedges_refused - before.hedges_refused > GETS / 2);
    assert_true(hedges > 10 + (calls - hedges) / 25);
    assert_true(hedges <= 10 + (calls - hedges) / 20);
    print_message("%llu requests, %llu of them hedges, %llu hedges refused\n",
                  (unsigned long long)calls, (unsigned long long)hedges,
                  (unsigned long long)(after.hedges_refused - before.hedges_refused));
    swarm_fini(&swarm);
}

/* What was late is not waited for a second time: it comes last until it has answered. */
static void who_was_late_is_asked_last(void **state)
{
    enum { NODES = 15, KEYS = 20 };
    uint32_t client = begin(7, NODES, &far_and_near, 0.05), silent = UINT32_MAX;
    uint64_t best = UINT64_MAX;
    char text[32];

    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        snprintf(text, sizeof text, "key %zu", i);
        put(0, text);
    }
    for (uint32_t n = 0; n < NODES; n++)
        if (holds(n, "key 0") && rtt_of(client, n) < best) {
            best = rtt_of(client, n);
            silent = n;
        }
    skep_sim_net_set_group(swarm.net, silent, 1);
    assert_true(get_us(client, "key 0", true) > (double)best * 1.5);
    skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND); /* late, and not yet given up */
    for (size_t i = 0; i < KEYS; i++) {
        best = UINT64_MAX;
        snprintf(text, sizeof text, "key %zu", i);
        for (uint32_t n = 0; n < NODES; n++)
            if (n != silent && holds(n, text))
                best = SKEP_MIN(best, rtt_of(client, n));
        assert_in_range(get_us(client, text, true), best - 1, best);
    }
    swarm_fini(&swarm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_single_key_is_asked_of_its_nearest_holder),
        cmocka_unit_test(in_a_large_swarm_gets_take_little_longer_than_to_the_nearest_holder),
        cmocka_unit_test(many_keys_of_a_small_swarm_take_few_requests),
        cmocka_unit_test(a_silent_holder_stalls_a_get_for_a_hedge_and_a_round_trip),
        cmocka_unit_test(a_silent_neighbour_stalls_a_missing_key_for_a_hedge),
        cmocka_unit_test(a_key_whose_holders_are_silent_is_soon_told_unknown),
        cmocka_unit_test(hedges_are_at_most_a_twentieth_of_the_requests),
        cmocka_unit_test(who_was_late_is_asked_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
