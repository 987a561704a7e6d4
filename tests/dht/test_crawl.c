/* SPDX-License-Identifier: MIT */
/* dht/crawl.h among real nodes: what a node with a one-hop table knows of its swarm, what that is good for, and who notices. */
#include "sim/swarm.h"

#include "dht/crawl.h"
#include "dht/node_internal.h"

enum { NODES = 300, KEYS = 100 };

#define FILL_US (45 * SKEP_SIM_SECOND)
#define ROUND_US (120 * SKEP_SIM_SECOND)

static struct swarm swarm;
static struct skep_dht_options plain;

static uint32_t add_crawler(bool client)
{
    struct skep_dht_options options;
    uint32_t index, via = 0;

    skep_dht_options_default(&options);
    options.one_hop_nodes_max = 4096;
    options.one_hop_round_us = ROUND_US;
    options.client_mode = client;
    index = swarm_add(&swarm, &options);
    assert_int_equal(swarm_join(&swarm, index, &via, 1, NULL), 0);
    return index;
}

static uint32_t begin(const struct skep_sim_faults *faults, bool client)
{
    uint32_t crawler;

    swarm_init(&swarm, &skep_mem_std, 1, faults);
    skep_dht_options_default(&plain);
    plain.refresh_timeout_us = faults ? 60 * SKEP_SIM_SECOND : 0;
    swarm_grow(&swarm, NODES, &plain);
    crawler = add_crawler(client);
    skep_sim_clock_run_for(&swarm.clock, FILL_US);
    return crawler;
}

static void end(void)
{
    swarm_fini(&swarm);
}

/* A node whose first messages were lost after it had joined knows nobody, and nobody knows it. */
static bool is_part(uint32_t node)
{
    return swarm.dht[node] && swarm.dht[node]->table.node_count > 0;
}

/* How many of the swarm's nodes it knows, and how many it takes for nodes that are not. */
static size_t known_by(uint32_t crawler, size_t *wrong)
{
    struct skep_onehop_node *near[1];
    size_t known = 0;

    for (uint32_t i = 0; i < swarm.count; i++) {
        if (!is_part(i) || i == crawler)
            continue;
        assert_int_equal(
            skep_crawl_nearest(swarm.dht[crawler], skep_dht_node_id(swarm.dht[i]), 1, near), 1);
        known += skep_dht_id_equal(&near[0]->id, skep_dht_node_id(swarm.dht[i]));
    }
    *wrong = swarm_stats(&swarm, crawler).one_hop_nodes - known;
    return known;
}

static size_t part_count(void)
{
    size_t count = 0;

    for (uint32_t i = 0; i < swarm.count; i++)
        count += is_part(i);
    return count;
}

static void assert_knows_the_swarm(uint32_t crawler)
{
    size_t wrong, known = known_by(crawler, &wrong), others = part_count() - 1;

    /* Who is dead and still named by others is heard of for the seconds until two pings have failed. */
    if (known * 1000 < others * 995 || wrong * 20 > others)
        fail_msg("%zu of %zu known, %zu wrong", known, others, wrong);
}

static void after_the_fill_it_knows_the_swarm(void **state)
{
    uint32_t crawler = begin(NULL, false);

    (void)state;
    assert_knows_the_swarm(crawler);
    assert_int_equal(swarm_stats(&swarm, crawler).crawl_rounds, 1);
    end();
}

static void in_client_mode_it_works_as_well(void **state)
{
    uint32_t crawler = begin(NULL, true);

    (void)state;
    assert_knows_the_swarm(crawler);
    end();
}

static void without_the_option_there_is_none(void **state)
{
    struct skep_peer_id peer = {.len = 0};
    struct skep_dht_id id = {{0}};

    (void)state;
    swarm_init(&swarm, &skep_mem_std, 1, NULL);
    swarm_grow(&swarm, 2, NULL);
    skep_sim_clock_run_for(&swarm.clock, FILL_US);
    assert_null(swarm.dht[0]->crawl);
    assert_int_equal(swarm_stats(&swarm, 0).crawl_calls, 0);
    assert_int_equal(skep_dht_one_hop_place(swarm.dht[0], &id, &peer, 0), SKEP_EINVAL);
    end();
}

static void more_than_65536_nodes_are_not_to_be_had(void **state)
{
    struct skep_dht_options options;
    struct skep_dht *dht;

    (void)state;
    swarm_init(&swarm, &skep_mem_std, 1, NULL);
    swarm_grow(&swarm, 1, NULL);
    skep_dht_options_default(&options);
    options.one_hop_nodes_max = SKEP_DHT_ONE_HOP_NODES_MAX + 1;
    assert_int_equal(skep_dht_new(&dht, &swarm.clock.env, swarm.rpc[0], &options), SKEP_EINVAL);
    end();
}

/* ---- what it is good for ---- */

static void key_text(char out[16], int i)
{
    snprintf(out, 16, "key %d", i);
}

static void a_get_takes_one_round(void **state)
{
    uint32_t crawler = begin(NULL, false);
    struct skep_dht_get_options options = {.no_local = true};
    char key[16];

    (void)state;
    for (int i = 0; i < KEYS; i++) {
        struct skep_dht_record record;
        struct swarm_found found;

        key_text(key, i);
        record = swarm_record(key, "value", swarm_now(&swarm) + 600);
        assert_true(swarm_store(&swarm, (uint32_t)i * 2, &record, NULL) > 0);
        found = swarm_get(&swarm, crawler, key, &options);
        assert_true(found.found);
        assert_int_equal(found.cost.rounds, 1);
        assert_int_equal(found.cost.calls, 1);
    }
    end();
}

static void the_round_trip_to_a_peer_is_known_when_it_is_not_connected(void **state)
{
    const struct skep_sim_faults faults = {
        .latency = {.kind = SKEP_SIM_UNIFORM, .min_us = 20000, .max_us = 80000},
        .handshake_rounds = 3};
    uint32_t crawler = begin(&faults, false);

    (void)state;
    for (uint32_t i = 0; i < NODES; i += 10) {
        const struct skep_peer_id *peer = &swarm.rpc[i]->self;
        uint64_t connected = skep_dht_rtt_us(swarm.dht[crawler], peer);

        assert_in_range(connected, 20000, 80000);
        assert_int_equal(skep_crawl_rtt_us(swarm.dht[crawler], peer), connected);
        skep_sim_net_set_state(swarm.net, i, SKEP_SIM_SILENT); /* connections go */
        skep_sim_net_set_state(swarm.net, i, SKEP_SIM_ALIVE);
        assert_int_equal(swarm.rpc[crawler]->ops->rtt_us(swarm.rpc[crawler], peer), 0);
        assert_int_equal(skep_dht_rtt_us(swarm.dht[crawler], peer), 4 * connected); /* handshake */
    }
    end();
}

/* ---- who notices ---- */

static size_t tables_with(uint32_t node)
{
    size_t count = 0;

    for (uint32_t i = 0; i < swarm.count; i++)
        count += swarm.dht[i] &&
                 skep_routing_get(&swarm.dht[i]->table, skep_dht_node_id(swarm.dht[node])) != NULL;
    return count;
}

/* Everything that goes on among 300 nodes and one more, with a crawl or without, looks the same but for its calls. */
static void nobodys_table_changes_by_it(void **state)
{
    size_t in_tables[2], in_own[2];

    (void)state;
    for (int with = 0; with < 2; with++) {
        struct skep_dht_options options;
        uint32_t index, via = 0;

        swarm_init(&swarm, &skep_mem_std, 1, NULL);
        swarm_grow(&swarm, NODES, NULL);
        skep_dht_options_default(&options);
        options.has_node_id = true;
        memset(options.node_id.bytes, 0x5a, SKEP_DHT_ID_LEN);
        options.one_hop_nodes_max = with ? 4096 : 0;
        index = swarm_add(&swarm, &options);
        assert_int_equal(swarm_join(&swarm, index, &via, 1, NULL), 0);
        skep_sim_clock_run_for(&swarm.clock, FILL_US);
        in_tables[with] = tables_with(index);
        in_own[with] = swarm.dht[index]->table.node_count;
        assert_int_equal(swarm_stats(&swarm, index).crawl_calls > 0, with);
        end();
    }
    assert_int_equal(in_tables[0], in_tables[1]);
    assert_int_equal(in_own[0], in_own[1]);
}

struct asked {
    struct skep_rpc_call call;
    bool done;
    struct skep_dht *of;
    size_t named;
};

/* Whom it names are in its routing table. */
static void on_named(struct skep_rpc_call *call, int rc, skep_bytes reply)
{
    struct asked *asked = SKEP_CONTAINER_OF(call, struct asked, call);
    struct skep_dht_find_response response;
    skep_bytes bytes;

    assert_int_equal(rc, 0);
    assert_int_equal(skep_dht_find_response_decode(&response, reply), 0);
    while (skep_dht_next_bytes(&response.results, &bytes)) {
        struct skep_dht_find_result result;
        struct skep_dht_id id;
        skep_bytes id_bytes;

        assert_int_equal(skep_dht_find_result_decode(&result, bytes), 0);
        for (; skep_dht_next_bytes(&result.node_ids, &id_bytes); asked->named++) {
            assert_int_equal(skep_dht_id_from_wire(&id, id_bytes), 0);
            assert_non_null(skep_routing_get(&asked->of->table, &id));
        }
    }
    asked->done = true;
}

static void peers_are_told_of_its_routing_table_only(void **state)
{
    uint32_t crawler = begin(NULL, false);
    struct asked asked = {.call = {.done = on_named}, .of = swarm.dht[crawler]};
    struct skep_dht_id keys[64];
    struct skep_buf request;

    (void)state;
    assert_true(swarm.dht[crawler]->table.node_count + 50 <
                swarm_stats(&swarm, crawler).one_hop_nodes);
    skep_prng_fill(&swarm.prng, keys, sizeof keys);
    skep_buf_init(&request, &skep_mem_std);
    skep_dht_find_request_encode(&request, NULL, keys, SKEP_COUNT_OF(keys));
    assert_int_equal(skep_rpc_call_start(swarm.rpc[1], &asked.call, &swarm.rpc[crawler]->self,
                                         SKEP_DHT_RPC_FIND, skep_buf_view(&request),
                                         SKEP_SIM_SECOND),
                     0);
    assert_true(skep_sim_clock_run_until(&swarm.clock, &asked.done, SKEP_SIM_SECOND));
    assert_int_equal(asked.named, SKEP_COUNT_OF(keys) * 20);
    skep_buf_fini(&request);
    end();
}

/* ---- comings and goings ---- */

static void replace_a_third(uint32_t but)
{
    size_t killed = 0;

    while (killed < NODES / 3) {
        uint32_t i = (uint32_t)skep_prng_below(&swarm.prng, swarm.count);

        if (!swarm.dht[i] || i == but)
            continue;
        swarm_kill(&swarm, i);
        killed++;
    }
    swarm_grow(&swarm, NODES / 3, &plain);
}

static void two_rounds_after_a_third_was_replaced_it_is_right_again(void **state)
{
    const struct skep_sim_faults faults = {
        .latency = {.kind = SKEP_SIM_UNIFORM, .min_us = 20000, .max_us = 80000},
        .handshake_rounds = 3};
    uint32_t crawler = begin(&faults, false);
    struct skep_dht_stats before, after;

    (void)state;
    assert_knows_the_swarm(crawler);
    replace_a_third(crawler);
    skep_sim_net_faults(swarm.net)->loss_ppm = 10000;
    before = swarm_stats(&swarm, crawler);
    skep_sim_clock_run_for(&swarm.clock, 2 * ROUND_US);
    after = swarm_stats(&swarm, crawler);
    assert_knows_the_swarm(crawler);
    assert_int_equal(after.crawl_rounds - before.crawl_rounds, 2);
    /* A node alive is called once a round, one that is dead twice at first, and discovery is a tenth. */
    assert_true(after.crawl_calls - before.crawl_calls < 3 * NODES);
    end();
}

static void cut_off_it_forgets_and_finds_them_again(void **state)
{
    uint32_t crawler = begin(NULL, false), via = 0;

    (void)state;
    skep_sim_net_set_group(swarm.net, crawler, 1);
    skep_sim_clock_run_for(&swarm.clock, 3 * ROUND_US);
    assert_int_equal(swarm_stats(&swarm, crawler).one_hop_nodes, 0);
    skep_sim_net_set_group(swarm.net, crawler, 0);
    assert_int_equal(swarm_join(&swarm, crawler, &via, 1, NULL), 0);
    skep_sim_clock_run_for(&swarm.clock, FILL_US);
    assert_knows_the_swarm(crawler);
    end();
}

static void a_node_closes_in_the_middle_of_its_crawl(void **state)
{
    uint32_t crawler;

    (void)state;
    for (uint64_t ms = 1; ms < 1000; ms = ms * 3 / 2 + 1) {
        swarm_init(&swarm, &skep_mem_std, 1, NULL);
        swarm_grow(&swarm, 30, NULL);
        crawler = add_crawler(false);
        skep_sim_clock_run_for(&swarm.clock, ms * SKEP_SIM_MS);
        swarm_kill(&swarm, crawler);
        skep_sim_clock_run_for(&swarm.clock, 5 * SKEP_SIM_SECOND);
        end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_the_fill_it_knows_the_swarm),
        cmocka_unit_test(in_client_mode_it_works_as_well),
        cmocka_unit_test(without_the_option_there_is_none),
        cmocka_unit_test(more_than_65536_nodes_are_not_to_be_had),
        cmocka_unit_test(a_get_takes_one_round),
        cmocka_unit_test(the_round_trip_to_a_peer_is_known_when_it_is_not_connected),
        cmocka_unit_test(nobodys_table_changes_by_it),
        cmocka_unit_test(peers_are_told_of_its_routing_table_only),
        cmocka_unit_test(two_rounds_after_a_third_was_replaced_it_is_right_again),
        cmocka_unit_test(cut_off_it_forgets_and_finds_them_again),
        cmocka_unit_test(a_node_closes_in_the_middle_of_its_crawl),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
