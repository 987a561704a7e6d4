/* SPDX-License-Identifier: MIT */
/* A few DHT nodes in virtual time: storing and getting. */
#include <math.h>

#include "sim/swarm.h"

#include "dht/node_internal.h"

static struct swarm swarm;

static void begin(uint64_t seed, size_t nodes)
{
    swarm_init(&swarm, &skep_mem_std, seed, NULL);
    swarm_grow(&swarm, nodes, NULL);
}

static void end(void)
{
    swarm_fini(&swarm);
}

static uint32_t add_joined(const struct skep_dht_options *options)
{
    uint32_t index = swarm_add(&swarm, options), via = 0;

    assert_int_equal(swarm_join(&swarm, index, &via, 1, NULL), 0);
    return index;
}

/* A node that keeps nothing, so that all it gets comes from others. */
static uint32_t add_client(void)
{
    struct skep_dht_options options;

    skep_dht_options_default(&options);
    options.client_mode = true;
    options.cache_locally = options.cache_on_store = false;
    return add_joined(&options);
}

static unsigned put(uint32_t node, const char *key, const char *value, double ttl_s)
{
    struct skep_dht_record record = swarm_record(key, value, swarm_now(&swarm) + ttl_s);

    return swarm_store(&swarm, node, &record, NULL);
}

/* ---- storing and getting ---- */

static void a_value_stored_by_one_node_is_got_by_all(void **state)
{
    (void)state;
    begin(1, 8);
    assert_int_equal(put(3, "key", "value", 60), 5);
    for (uint32_t i = 0; i < 8; i++) {
        struct swarm_found found = swarm_get(&swarm, i, "key", NULL);

        assert_true(found.found);
        assert_string_equal(found.text, "value");
        assert_true(found.cost.rounds <= 1 && found.cost.calls <= 1);
    }
    end();
}

static void a_node_alone_stores_at_itself_and_knows_what_is_missing(void **state)
{
    struct swarm_found found;

    (void)state;
    begin(1, 1);
    assert_int_equal(put(0, "key", "value", 60), 1);
    assert_string_equal(swarm_get(&swarm, 0, "key", NULL).text, "value");
    found = swarm_get(&swarm, 0, "other", NULL);
    assert_false(found.found);
    assert_true(found.answered);
    assert_int_equal(found.cost.calls, 0);
    end();
}

static void a_key_nobody_holds_is_missing_after_two_rounds(void **state)
{
    struct swarm_found found;

    (void)state;
    begin(2, 8);
    found = swarm_get(&swarm, 5, "nothing", NULL);
    assert_false(found.found);
    assert_true(found.answered);
    assert_int_equal(found.cost.rounds, 2);
    assert_int_equal(found.cost.calls, 7);
    end();
}

static void a_store_takes_two_rounds_and_one_when_the_swarm_was_seen_whole(void **state)
{
    struct skep_dht_record record;
    struct skep_dht_cost cost;
    uint32_t client;

    (void)state;
    begin(2, 8);
    client = add_client();
    record = swarm_record("a", "1", swarm_now(&swarm) + 60);
    assert_int_equal(swarm_store_many(&swarm, client, &record, 1, NULL, NULL, NULL, &cost), 0);
    assert_int_equal(cost.rounds, 2);
    assert_int_equal(cost.calls, 8 + 5);
    record = swarm_record("b", "1", swarm_now(&swarm) + 60);
    assert_int_equal(swarm_store_many(&swarm, client, &record, 1, NULL, NULL, NULL, &cost), 0);
    assert_int_equal(cost.rounds, 1);
    assert_int_equal(cost.calls, 5);
    end();
}

static void many_keys_go_to_few_peers_in_few_requests(void **state)
{
    enum { KEYS = 1000 };
    static struct skep_dht_record records[KEYS];
    static struct swarm_found found[KEYS];
    static struct skep_dht_id ids[KEYS];
    static unsigned accepted[KEYS];
    struct skep_dht_cost cost;
    uint32_t client;
    char key[32];

    (void)state;
    begin(3, 8);
    client = add_client();
    for (size_t i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "k%zu", i);
        records[i] = swarm_record(key, "value", swarm_now(&swarm) + 60);
        ids[i] = records[i].key;
    }
    assert_int_equal(swarm_store_many(&swarm, client, records, KEYS, NULL, accepted, NULL, &cost),
                     0);
    assert_int_equal(cost.calls, 8 + 8);
    assert_int_equal(cost.keys, KEYS);
    for (size_t i = 0; i < KEYS; i++)
        assert_int_equal(accepted[i], 5);
    assert_int_equal(swarm_get_many(&swarm, client, ids, KEYS, NULL, found), 0);
    for (size_t i = 0; i < KEYS; i++)
        assert_true(found[i].found);
    assert_int_equal(found[0].cost.rounds, 1);
    /* 128 keys to a request before anybody knows what answers weigh, more afterwards. */
    assert_in_range(found[0].cost.calls, 4, 12);
    end();
}

static void replicas_are_the_nearest_nodes(void **state)
{
    struct skep_dht_id key = swarm_key("somewhere");
    struct skep_dht_store_options options = {.exclude_self = true};
    struct skep_dht_record record;
    size_t holders = 0;

    (void)state;
    begin(4, 60);
    record = swarm_record("somewhere", "value", swarm_now(&swarm) + 60);
    assert_int_equal(swarm_store(&swarm, 7, &record, &options), 5);
    for (uint32_t i = 0; i < 60; i++) {
        size_t nearer = 0;

        if (swarm_stats(&swarm, i).stored_keys == 0)
            continue;
        holders++;
        for (uint32_t j = 0; j < 60; j++)
            nearer += j != 7 && skep_dht_id_nearer(&key, skep_dht_node_id(swarm.dht[j]),
                                                   skep_dht_node_id(swarm.dht[i])) < 0;
        assert_true(nearer < 5);
    }
    assert_int_equal(holders, 5);
    end();
}

/* With many replicas the nodes of a lookup's own subtree do not suffice, and each key must be looked up for itself. */
static void bulk_stores_in_a_large_swarm_reach_the_nearest_nodes_of_each_key(void **state)
{
    enum { KEYS = 200, NODES = 120 };
    static struct skep_dht_record records[KEYS];
    static unsigned accepted[KEYS];

    (void)state;
    for (size_t replicas = 5; replicas <= 17; replicas += 12) {
        struct skep_dht_options options;

        skep_dht_options_default(&options);
        options.num_replicas = replicas;
        swarm_init(&swarm, &skep_mem_std, 5, NULL);
        swarm_grow(&swarm, NODES, &options);
        for (size_t i = 0; i < KEYS; i++) {
            char key[32];

            snprintf(key, sizeof key, "bulk%zu", i);
            records[i] = swarm_record(key, "value", swarm_now(&swarm) + 60);
        }
        assert_int_equal(swarm_store_many(&swarm, 11, records, KEYS, NULL, accepted, NULL, NULL),
                         0);
        for (size_t i = 0; i < KEYS; i++) {
            assert_int_equal(accepted[i], replicas);
            for (uint32_t a = 0; a < NODES; a++) {
                size_t nearer = 0;

                for (uint32_t b = 0; b < NODES; b++)
                    nearer += skep_dht_id_nearer(&records[i].key, skep_dht_node_id(swarm.dht[b]),
                                                 skep_dht_node_id(swarm.dht[a])) < 0;
                if (nearer < replicas)
                    assert_non_null(skep_dht_peek(swarm.dht[a], &records[i].key, NULL));
            }
        }
        end();
    }
}

/* Of the `count` nodes nearest to a key that are still there, how many hold it? */
static size_t living_near_holders(const struct skep_dht_id *key, size_t count)
{
    size_t holders = 0;

    for (uint32_t i = 0; i < swarm.count; i++) {
        size_t nearer = 0;

        if (!swarm.dht[i] || swarm.dht[i]->options.client_mode)
            continue;
        for (uint32_t j = 0; j < swarm.count; j++)
            nearer += swarm.dht[j] && !swarm.dht[j]->options.client_mode &&
                      skep_dht_id_nearer(key, &swarm.dht[j]->node_id, &swarm.dht[i]->node_id) < 0;
        holders +=
            nearer < count && skep_dht_storage_get(&swarm.dht[i]->storage, key, swarm_now(&swarm));
    }
    return holders;
}

static void subkeys_of_several_nodes_make_one_dictionary(void **state)
{
    struct skep_dht_record records[2];
    struct swarm_found found;
    unsigned accepted[2];

    (void)state;
    begin(6, 8);
    for (int i = 0; i < 2; i++) {
        records[i] = swarm_record("dict", i ? "two" : "one", swarm_now(&swarm) + 60 + i);
        records[i].subkey = skep_bytes_str(i ? "\x02" : "\x01");
    }
    assert_int_equal(swarm_store_many(&swarm, 1, records, 2, NULL, accepted, NULL, NULL), 0);
    assert_int_equal(accepted[0], 5);
    assert_int_equal(accepted[1], 5);
    records[0].subkey = skep_bytes_str("\x03");
    assert_int_equal(swarm_store(&swarm, 2, &records[0], NULL), 5);
    found = swarm_get(&swarm, 7, "dict", NULL);
    assert_string_equal(found.text, "01=6f6e65;02=74776f;03=6f6e65;");
    end();
}

static void a_node_that_fails_is_replaced_by_the_next_nearest(void **state)
{
    (void)state;
    begin(7, 12);
    assert_int_equal(put(0, "warm", "x", 60),
                     5); /* node 0 takes the swarm to be whole for a while */
    swarm_kill(&swarm, 3);
    swarm_kill(&swarm, 4);
    for (int i = 0; i < 8; i++) {
        char key[16];

        snprintf(key, sizeof key, "key%d", i);
        assert_int_equal(put(0, key, "value", 60), 5);
    }
    end();
}

static void a_node_that_failed_is_not_tried_again_for_other_keys(void **state)
{
    enum { KEYS = 100 };
    static struct skep_dht_record records[KEYS];
    static unsigned accepted[KEYS];
    uint64_t before;

    (void)state;
    begin(7, 14);
    assert_int_equal(put(0, "warm", "x", 60), 5);
    for (size_t i = 0; i < KEYS; i++) {
        char key[16];

        snprintf(key, sizeof key, "key%zu", i);
        records[i] = swarm_record(key, "value", swarm_now(&swarm) + 60);
    }
    swarm_kill(&swarm, 3);
    skep_sim_net_set_state(swarm.net, 4, SKEP_SIM_REFUSING);
    skep_sim_net_set_state(swarm.net, 5, SKEP_SIM_REFUSING);
    before = swarm_stats(&swarm, 0).requests_failed;
    assert_int_equal(swarm_store_many(&swarm, 0, records, KEYS, NULL, accepted, NULL, NULL), 0);
    for (size_t i = 0; i < KEYS; i++)
        assert_int_equal(accepted[i], 5);
    assert_int_equal(swarm_stats(&swarm, 0).requests_failed - before, 3);
    end();
}

static void a_store_of_no_records_is_done_on_the_next_turn(void **state)
{
    (void)state;
    begin(7, 3);
    assert_int_equal(swarm_store_many(&swarm, 0, NULL, 0, NULL, NULL, NULL, NULL), 0);
    put(0, "warm", "x", 60);
    assert_int_equal(swarm_store_many(&swarm, 0, NULL, 0, NULL, NULL, NULL, NULL), 0);
    end();
}

static void an_older_value_is_refused_and_a_newer_one_replaces(void **state)
{
    struct skep_dht_record record;
    unsigned accepted, answered;

    (void)state;
    begin(8, 6);
    assert_int_equal(put(0, "key", "new", 60), 5);
    record = swarm_record("key", "old", swarm_now(&swarm) + 30);
    assert_int_equal(swarm_store_many(&swarm, 1, &record, 1, NULL, &accepted, &answered, NULL), 0);
    assert_int_equal(accepted, 0);
    assert_int_equal(answered, 5);
    assert_string_equal(swarm_get(&swarm, 2, "key", NULL).text, "new");
    assert_int_equal(put(1, "key", "newer", 90), 5);
    assert_string_equal(swarm_get(&swarm, add_client(), "key", NULL).text, "newer");
    end();
}

static void the_latest_value_is_found_among_all_holders(void **state)
{
    struct skep_dht_get_options latest = {.sufficient_expiration_unix_s = INFINITY};
    struct skep_dht_store_options here = {0};
    struct skep_dht_options options;
    struct skep_dht_record record;
    uint32_t far;

    (void)state;
    begin(9, 7);
    assert_int_equal(put(0, "key", "early", 60), 5);
    /* A node that knows nobody keeps a later value to itself, then joins. */
    skep_dht_options_default(&options);
    far = swarm_add(&swarm, &options);
    record = swarm_record("key", "late", swarm_now(&swarm) + 120);
    assert_int_equal(swarm_store(&swarm, far, &record, &here), 1);
    assert_int_equal(swarm_join(&swarm, far, (uint32_t[]){0}, 1, NULL), 0);
    assert_string_equal(swarm_get(&swarm, add_client(), "key", &latest).text, "late");
    end();
}

static void a_node_that_refuses_what_others_take_is_no_replica(void **state)
{
    struct skep_dht_options full;
    struct skep_dht_record record;
    unsigned accepted, answered;

    (void)state;
    begin(29, 8);
    skep_dht_options_default(&full);
    full.storage_bytes = 1;
    full.has_node_id = true;
    full.node_id = swarm_key("key"); /* as near as can be */
    add_joined(&full);
    record = swarm_record("key", "value", swarm_now(&swarm) + 60);
    assert_int_equal(swarm_store_many(&swarm, 1, &record, 1, NULL, &accepted, &answered, NULL), 0);
    assert_int_equal(accepted, 5);
    assert_int_equal(answered, 6);
    end();
}

/* A table larger than a beam, of which many have gone: what is left of the beam is not the whole swarm. */
static void what_is_left_of_a_beam_is_not_taken_for_the_whole_swarm(void **state)
{
    enum { KEYS = 60 };
    static struct skep_dht_record records[KEYS];
    size_t held = 0;
    uint32_t client;
    char key[32];

    (void)state;
    begin(30, 150);
    client = add_client();
    for (uint32_t i = 1; i < 150; i += 2)
        skep_sim_net_set_state(swarm.net, i, SKEP_SIM_REFUSING);
    for (size_t i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "k%zu", i);
        records[i] = swarm_record(key, "value", swarm_now(&swarm) + 60);
    }
    assert_int_equal(swarm_store_many(&swarm, client, records, KEYS, NULL, NULL, NULL, NULL), 0);
    for (uint32_t i = 1; i < 150; i += 2) {
        skep_dht_free(swarm.dht[i]);
        swarm.dht[i] = NULL;
    }
    for (size_t i = 0; i < KEYS; i++)
        held += living_near_holders(&records[i].key, 5);
    assert_true(held >= KEYS * 5 * 9 / 10);
    end();
}

static void values_expire(void **state)
{
    struct swarm_found found;

    (void)state;
    begin(10, 4);
    assert_int_equal(put(0, "key", "value", 10), 4);
    skep_sim_clock_run_for(&swarm.clock, 11 * SKEP_SIM_SECOND);
    found = swarm_get(&swarm, 1, "key", NULL);
    assert_false(found.found);
    assert_true(found.answered);
    end();
}

static void what_expires_while_others_are_waited_for_is_not_found(void **state)
{
    struct skep_dht_get_options latest = {.sufficient_expiration_unix_s = INFINITY};
    struct skep_dht_record records[3];
    struct swarm_found found;
    uint32_t client;

    (void)state;
    begin(28, 2);
    client = add_client();
    records[0] = swarm_record("plain", "value", swarm_now(&swarm) + 1);
    records[1] = records[2] = swarm_record("dictionary", "value", swarm_now(&swarm) + 1);
    records[1].subkey = skep_bytes_str("\x01");
    records[2].subkey = skep_bytes_str("\x02");
    records[2].expiration_unix_s += 60;
    assert_int_equal(swarm_store_many(&swarm, 0, records, 3, NULL, NULL, NULL, NULL), 0);
    skep_sim_net_set_state(swarm.net, 1, SKEP_SIM_SILENT);
    assert_false(swarm_get(&swarm, client, "plain", &latest).found);
    end();

    begin(28, 2);
    client = add_client();
    records[1].expiration_unix_s = swarm_now(&swarm) + 1;
    records[2].expiration_unix_s = swarm_now(&swarm) + 60;
    assert_int_equal(swarm_store_many(&swarm, 0, records + 1, 2, NULL, NULL, NULL, NULL), 0);
    skep_sim_net_set_state(swarm.net, 1, SKEP_SIM_SILENT);
    found = swarm_get(&swarm, client, "dictionary", &latest);
    assert_true(found.found);
    assert_int_equal(found.entries, 1);
    end();
}

/* ---- at home ---- */

struct told {
    struct skep_dht_get get;
    int values, dones, rc;
};

static void on_value(struct skep_dht_get *get, size_t index, const struct skep_dht_value *value,
                     bool answered)
{
    struct told *told = SKEP_CONTAINER_OF(get, struct told, get);

    (void)index;
    (void)answered;
    told->values += value != NULL;
}

static void on_done(struct skep_dht_get *get, int rc)
{
    struct told *told = SKEP_CONTAINER_OF(get, struct told, get);

    told->dones++;
    told->rc = rc;
}

#define TOLD                                                                                       \
    {                                                                                              \
        .get = {.on_value = on_value, .done = on_done }                                            \
    }

static void what_is_at_home_is_told_before_the_start_returns(void **state)
{
    struct skep_dht_get_options options = {0};
    struct skep_dht_id key = swarm_key("key");
    struct told told = TOLD;

    (void)state;
    begin(11, 1);
    put(0, "key", "value", 60);
    assert_int_equal(skep_dht_get_start(swarm.dht[0], &told.get, &key, 1, &options), 0);
    assert_int_equal(told.values, 1);
    assert_int_equal(told.dones, 1);
    end();
}

static void a_get_of_no_keys_is_done_at_once(void **state)
{
    struct skep_dht_get_options options = {0};
    struct told told = TOLD;

    (void)state;
    begin(11, 2);
    assert_int_equal(skep_dht_get_start(swarm.dht[0], &told.get, NULL, 0, &options), 0);
    assert_int_equal(told.dones, 1);
    assert_int_equal(
        skep_dht_get_start(swarm.dht[0], &told.get, NULL, SKEP_DHT_KEYS_MAX + 1, &options),
        SKEP_ELIMIT);
    end();
}

static void peek_tells_another_version_after_each_change(void **state)
{
    struct skep_dht_id key = swarm_key("key");
    uint64_t none = 7, first, again, second;

    (void)state;
    begin(12, 1);
    assert_null(skep_dht_peek(swarm.dht[0], &key, &none));
    assert_int_equal(none, 0);
    put(0, "key", "a", 60);
    assert_non_null(skep_dht_peek(swarm.dht[0], &key, &first));
    assert_non_null(skep_dht_peek(swarm.dht[0], &key, &again));
    assert_true(first == again && first != 0);
    put(0, "key", "b", 61);
    assert_non_null(skep_dht_peek(swarm.dht[0], &key, &second));
    assert_true(second != first);
    skep_sim_clock_run_for(&swarm.clock, 62 * SKEP_SIM_SECOND);
    assert_null(skep_dht_peek(swarm.dht[0], &key, NULL));
    end();
}

/* ---- faults ---- */

static void a_dead_holder_does_not_stall_a_get(void **state)
{
    struct skep_dht_get_options options = {0};
    struct skep_dht_id keys[40];
    struct told told = TOLD;
    uint32_t client;
    uint64_t started;

    (void)state;
    begin(13, 8);
    client = add_client();
    for (size_t i = 0; i < SKEP_COUNT_OF(keys); i++) {
        char text[16];

        snprintf(text, sizeof text, "key%zu", i);
        keys[i] = swarm_key(text);
        assert_int_equal(put(0, text, "value", 60), 5);
    }
    for (uint32_t dead = 1; dead <= 2; dead++)
        swarm_kill(&swarm, dead);
    started = swarm.clock.now_us;
    assert_int_equal(
        skep_dht_get_start(swarm.dht[client], &told.get, keys, SKEP_COUNT_OF(keys), &options), 0);
    while (told.dones == 0)
        assert_true(skep_sim_clock_step(&swarm.clock, started + 3 * SKEP_SIM_SECOND));
    assert_int_equal(told.values, SKEP_COUNT_OF(keys));
    assert_true(swarm.clock.now_us - started < SKEP_SIM_SECOND / 2);
    end();
}

static void a_missing_key_is_told_without_waiting_for_one_dead_node(void **state)
{
    struct swarm_found found;
    uint64_t started;
    uint32_t client;

    (void)state;
    begin(14, 10);
    client = add_client();
    swarm_kill(&swarm, 4);
    started = swarm.clock.now_us;
    found = swarm_get(&swarm, client, "nothing", NULL);
    assert_false(found.found);
    assert_true(found.answered);
    assert_true(swarm.clock.now_us - started < SKEP_SIM_SECOND);
    end();
}

static void not_found_is_not_an_answer_when_the_holders_are_silent(void **state)
{
    struct swarm_found found;
    uint32_t client;

    (void)state;
    begin(15, 5);
    client = add_client();
    for (uint32_t i = 1; i < 5; i++)
        swarm_kill(&swarm, i);
    found = swarm_get(&swarm, client, "nothing", NULL);
    assert_false(found.found);
    assert_false(found.answered);
    end();
}

static void a_deadline_ends_a_get_in_time_and_late_answers_warm_the_cache(void **state)
{
    struct skep_dht_options defaults;
    struct skep_sim_faults slow = {.latency = {.median_us = 100000}};
    struct skep_dht_get_options options = {0};
    struct skep_dht_store_options others = {.exclude_self = true};
    struct skep_dht_record record;
    struct swarm_found found;
    uint64_t started;

    (void)state;
    swarm_init(&swarm, &skep_mem_std, 16, &slow);
    swarm_grow(&swarm, 3, NULL);
    record = swarm_record("key", "value", swarm_now(&swarm) + 60);
    skep_dht_options_default(&defaults);
    assert_int_equal(swarm_store(&swarm, 0, &record, &others), 2);
    skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
    uint32_t node = add_joined(&defaults);

    started = swarm.clock.now_us;
    options.deadline_us = started + 30000;
    found = swarm_get(&swarm, node, "key", &options);
    assert_int_equal(found.rc, SKEP_EDEADLINE);
    assert_false(found.found);
    assert_false(found.answered);
    assert_true(swarm.clock.now_us - started == 30000);
    skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
    assert_non_null(skep_dht_peek(swarm.dht[node], &record.key, NULL));
    end();
}

static void a_deadline_ends_a_store_in_time(void **state)
{
    struct skep_dht_store_options options = {0};
    struct skep_dht_record record;
    unsigned accepted, answered;
    uint64_t started;

    (void)state;
    begin(17, 8);
    for (uint32_t i = 1; i < 7; i++)
        swarm_kill(&swarm, i);
    started = swarm.clock.now_us;
    options.deadline_us = started + 200000;
    record = swarm_record("key", "value", swarm_now(&swarm) + 60);
    assert_int_equal(swarm_store_many(&swarm, 0, &record, 1, &options, &accepted, &answered, NULL),
                     SKEP_EDEADLINE);
    assert_true(swarm.clock.now_us - started == 200000);
    end();
}

/* Of the `count` nodes nearest to a key, how many hold it? */
static size_t near_holders(const struct skep_dht_id *key, size_t count)
{
    size_t holders = 0;

    for (uint32_t i = 0; i < swarm.count; i++) {
        size_t nearer = 0;

        for (uint32_t j = 0; j < swarm.count; j++)
            nearer += !swarm.dht[j]->options.client_mode &&
                      skep_dht_id_nearer(key, &swarm.dht[j]->node_id, &swarm.dht[i]->node_id) < 0;
        holders += !swarm.dht[i]->options.client_mode && nearer < count &&
                   skep_dht_storage_get(&swarm.dht[i]->storage, key, swarm_now(&swarm));
    }
    return holders;
}

static void what_a_search_learns_does_not_hide_slow_nodes_from_other_keys(void **state)
{
    static const struct skep_sim_faults far = {.latency = {.median_us = 100000},
                                               .handshake_rounds = 8};
    enum { KEYS = 200 };
    static struct skep_dht_record records[KEYS];
    struct skep_dht_options options;
    uint32_t client, via = 0;
    char key[32];

    (void)state;
    swarm_init(&swarm, &skep_mem_std, 26, &far);
    swarm_grow(&swarm, 8, NULL);
    skep_dht_options_default(&options);
    options.client_mode = true;
    client = add_joined(&options);
    for (
        int i = 0; i < 8;
        i++) /* the client has never spoken to these: a first contact takes longer than its patience */
        assert_int_equal(swarm_join(&swarm, swarm_add(&swarm, NULL), &via, 1, NULL), 0);
    skep_sim_clock_run_for(&swarm.clock, 20 * SKEP_SIM_SECOND);
    for (size_t i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "k%zu", i);
        records[i] = swarm_record(key, "value", swarm_now(&swarm) + 60);
    }
    assert_int_equal(swarm_store_many(&swarm, client, records, KEYS, NULL, NULL, NULL, NULL), 0);
    for (size_t i = 0; i < KEYS; i++)
        assert_true(near_holders(&records[i].key, 5) >= 3);
    end();
}

static void a_peer_that_failed_is_left_alone_twice_as_long_each_time(void **state)
{
    struct skep_dht_options options;
    uint32_t client;

    (void)state;
    begin(18, 3);
    skep_dht_options_default(&options);
    options.client_mode = true;
    client = add_joined(&options);
    skep_sim_net_set_state(swarm.net, 1, SKEP_SIM_REFUSING);
    for (int failure = 0; failure < 3; failure++) {
        uint32_t seconds = 5u << failure;

        (void)swarm_get(&swarm, client, "nothing", NULL);
        skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
        assert_int_equal(swarm_stats(&swarm, client).blacklisted, 1);
        /* Others name it again, but it is not asked. */
        assert_int_equal(swarm_get(&swarm, client, "nothing", NULL).cost.calls, 2);
        skep_sim_clock_run_for(&swarm.clock, (seconds - 2) * SKEP_SIM_SECOND);
        assert_int_equal(swarm_stats(&swarm, client).blacklisted, 1);
        skep_sim_clock_run_for(&swarm.clock, 2 * SKEP_SIM_SECOND);
        assert_int_equal(swarm_stats(&swarm, client).blacklisted, 0);
    }
    end();
}

/* ---- sharing ---- */

static void gets_of_one_key_share_one_search(void **state)
{
    for (int reuse = 0; reuse < 2; reuse++) {
        struct skep_dht_get_options options = {0};
        struct skep_dht_options dht;
        struct skep_dht_id key = swarm_key("nothing");
        struct told told[3] = {TOLD, TOLD, TOLD};
        uint64_t before;
        uint32_t client;

        (void)state;
        begin(19, 6);
        skep_dht_options_default(&dht);
        dht.client_mode = true;
        dht.reuse_get_requests = reuse;
        client = add_joined(&dht);
        before = swarm_stats(&swarm, client).requests_out;
        for (int i = 0; i < 3; i++)
            assert_int_equal(skep_dht_get_start(swarm.dht[client], &told[i].get, &key, 1, &options),
                             0);
        skep_dht_cancel(swarm.dht[client], &told[0].get.op); /* the one whose search it was */
        skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
        assert_int_equal(told[0].dones, 0);
        assert_int_equal(told[1].dones, 1);
        assert_int_equal(told[2].dones, 1);
        assert_int_equal(swarm_stats(&swarm, client).requests_out - before, reuse ? 6 : 13);
        end();
    }
}

static void a_get_for_something_later_does_not_settle_for_another_search(void **state)
{
    struct skep_dht_get_options any = {0}, latest = {.sufficient_expiration_unix_s = INFINITY};
    struct skep_dht_id key = swarm_key("key");
    struct told first = TOLD, second = TOLD;
    uint32_t client;

    (void)state;
    begin(20, 8);
    put(0, "key", "value", 60);
    client = add_client();
    assert_int_equal(skep_dht_get_start(swarm.dht[client], &first.get, &key, 1, &any), 0);
    assert_int_equal(skep_dht_get_start(swarm.dht[client], &second.get, &key, 1, &latest), 0);
    skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
    assert_int_equal(first.values, 1);
    assert_int_equal(second.values, 1);
    assert_int_equal(first.get.cost.calls, 1);
    assert_int_equal(second.get.cost.calls, 8);
    end();
}

static void no_more_than_parallel_rpc_requests_are_in_flight(void **state)
{
    struct skep_dht_options options;
    struct swarm_found found;
    uint64_t started;
    uint32_t client;

    (void)state;
    begin(21, 9);
    skep_dht_options_default(&options);
    options.client_mode = true;
    options.parallel_rpc = 1;
    options.exhaustive_lookups = true;
    client = add_joined(&options);
    skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
    started = swarm.clock.now_us;
    found = swarm_get(&swarm, client, "nothing", NULL);
    assert_int_equal(found.cost.calls, 9);
    assert_true(swarm.clock.now_us - started == 9 * 1000); /* one round trip after the other */
    end();
}

static void a_place_in_line_that_a_cancel_frees_is_taken(void **state)
{
    struct skep_dht_get_options any = {0};
    struct skep_dht_id keys[2] = {swarm_key("nothing"), swarm_key("nothing else")};
    struct told first = TOLD, second = TOLD;
    struct skep_dht_options options;
    uint32_t client;

    (void)state;
    begin(21, 4);
    skep_dht_options_default(&options);
    options.client_mode = true;
    options.parallel_rpc = 1;
    client = add_joined(&options);
    skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
    assert_int_equal(skep_dht_get_start(swarm.dht[client], &first.get, &keys[0], 1, &any), 0);
    assert_int_equal(skep_dht_get_start(swarm.dht[client], &second.get, &keys[1], 1, &any), 0);
    skep_dht_cancel(swarm.dht[client], &first.get.op);
    assert_int_equal(second.dones, 0);
    skep_sim_clock_run_for(&swarm.clock, 10000); /* long before its request counts as late */
    assert_int_equal(first.dones, 0);
    assert_int_equal(second.dones, 1);
    end();
}

static void those_in_line_do_not_count_as_late(void **state)
{
    struct skep_dht_get_options any = {0};
    struct skep_dht_options options;
    struct told told[64];
    uint32_t client;
    char text[32];

    (void)state;
    begin(27, 9);
    skep_dht_options_default(&options);
    options.client_mode = true;
    options.parallel_rpc = 1;
    client = add_joined(&options);
    skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
    for (size_t i = 0; i < SKEP_COUNT_OF(told); i++) {
        struct skep_dht_id key;

        snprintf(text, sizeof text, "nothing %zu", i);
        key = swarm_key(text);
        told[i] = (struct told)TOLD;
        assert_int_equal(skep_dht_get_start(swarm.dht[client], &told[i].get, &key, 1, &any), 0);
    }
    skep_sim_clock_run_for(&swarm.clock, 10 * SKEP_SIM_SECOND);
    for (size_t i = 0; i < SKEP_COUNT_OF(told); i++)
        assert_int_equal(told[i].dones, 1);
    assert_int_equal(swarm_stats(&swarm, client).late, 0);
    end();
}

/* ---- ends ---- */

static void on_stored(struct skep_dht_store *store, size_t index, unsigned accepted,
                      unsigned answered)
{
    (void)store, (void)index, (void)accepted, (void)answered;
}

struct stored {
    struct skep_dht_store store;
    int dones, rc;
};

static void on_store_done(struct skep_dht_store *store, int rc)
{
    struct stored *s = SKEP_CONTAINER_OF(store, struct stored, store);

    s->dones++;
    s->rc = rc;
}

struct joined {
    struct skep_dht_join join;
    int dones, rc;
};

static void on_joined(struct skep_dht_join *join, int rc, const char *text)
{
    struct joined *j = SKEP_CONTAINER_OF(join, struct joined, join);

    (void)text;
    j->dones++;
    j->rc = rc;
}

/* Start one of each kind of operation, let `steps` events pass, then cancel them or free the node; nothing may be told twice or leak. */
static bool stop_after(size_t steps, bool cancel)
{
    struct skep_dht_get_options get_options = {0};
    struct skep_dht_store_options store_options = {0};
    struct skep_dht_id keys[3] = {swarm_key("a"), swarm_key("b"), swarm_key("nothing")};
    struct told told = TOLD;
    struct stored stored = {.store = {.on_stored = on_stored, .done = on_store_done}};
    struct joined joined = {.join = {.done = on_joined}};
    struct skep_dht_record records[2];
    char maddr[SKEP_SIM_MADDR_MAX];
    const char *maddrs[] = {skep_sim_net_maddr(maddr, 0)};
    struct skep_dht *dht;
    uint32_t node;
    bool over;

    begin(22, 5);
    put(0, "a", "x", 60);
    node = swarm_add(&swarm, NULL);
    dht = swarm.dht[node];
    records[0] = swarm_record("b", "y", swarm_now(&swarm) + 60);
    records[1] = swarm_record("c", "z", swarm_now(&swarm) + 60);
    assert_int_equal(skep_dht_join_start(dht, &joined.join, maddrs, 1), 0);
    skep_sim_clock_run_for(&swarm.clock, 1700); /* it knows somebody by now */
    assert_int_equal(skep_dht_get_start(dht, &told.get, keys, 3, &get_options), 0);
    assert_int_equal(skep_dht_store_start(dht, &stored.store, records, 2, &store_options), 0);
    for (size_t i = 0;
         i < steps && skep_sim_clock_step(&swarm.clock, swarm.clock.now_us + SKEP_SIM_SECOND); i++)
        ;
    over = told.dones + stored.dones + joined.dones == 3;
    if (cancel) {
        int before = told.dones + stored.dones + joined.dones;

        skep_dht_cancel(dht, &told.get.op);
        skep_dht_cancel(dht, &stored.store.op);
        skep_dht_cancel(dht, &joined.join.op);
        skep_sim_clock_run_for(&swarm.clock, 10 * SKEP_SIM_SECOND);
        assert_int_equal(told.dones + stored.dones + joined.dones, before);
    } else {
        skep_dht_free(dht);
        swarm.dht[node] = NULL;
        assert_int_equal(told.dones, 1);
        assert_int_equal(stored.dones, 1);
        assert_int_equal(joined.dones, 1);
        assert_true(over || told.rc == SKEP_ECANCELED || stored.rc == SKEP_ECANCELED ||
                    joined.rc == SKEP_ECANCELED);
        skep_sim_clock_run_for(&swarm.clock, 10 * SKEP_SIM_SECOND);
    }
    end();
    return over;
}

static void operations_can_be_cancelled_at_any_moment(void **state)
{
    (void)state;
    for (size_t steps = 0; !stop_after(steps, true); steps++)
        assert_true(steps < 1000);
}

static void a_node_can_be_freed_at_any_moment(void **state)
{
    (void)state;
    for (size_t steps = 0; !stop_after(steps, false); steps++)
        assert_true(steps < 1000);
}

static struct told *victim;

static void cancel_the_other(struct skep_dht_get *get, size_t index,
                             const struct skep_dht_value *value, bool answered)
{
    on_value(get, index, value, answered);
    skep_dht_cancel(swarm.dht[0], &victim->get.op);
}

static void a_get_may_be_cancelled_from_a_callback_even_its_own(void **state)
{
    struct skep_dht_get_options options = {0};
    struct skep_dht_id keys[2] = {swarm_key("nothing"), swarm_key("none")};
    struct told a = {.get = {.on_value = cancel_the_other, .done = on_done}}, b = TOLD;

    (void)state;
    for (int own = 0; own < 2; own++) {
        begin(23, 4);
        a.dones = b.dones = 0;
        victim = own ? &a : &b;
        assert_int_equal(skep_dht_get_start(swarm.dht[0], &a.get, keys, 2, &options), 0);
        assert_int_equal(skep_dht_get_start(swarm.dht[0], &b.get, keys, 2, &options), 0);
        skep_sim_clock_run_for(&swarm.clock, 10 * SKEP_SIM_SECOND);
        assert_int_equal(a.dones, own ? 0 : 1);
        assert_int_equal(b.dones, own ? 1 : 0);
        end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_stored_by_one_node_is_got_by_all),
        cmocka_unit_test(a_node_alone_stores_at_itself_and_knows_what_is_missing),
        cmocka_unit_test(a_key_nobody_holds_is_missing_after_two_rounds),
        cmocka_unit_test(a_store_takes_two_rounds_and_one_when_the_swarm_was_seen_whole),
        cmocka_unit_test(many_keys_go_to_few_peers_in_few_requests),
        cmocka_unit_test(replicas_are_the_nearest_nodes),
        cmocka_unit_test(bulk_stores_in_a_large_swarm_reach_the_nearest_nodes_of_each_key),
        cmocka_unit_test(subkeys_of_several_nodes_make_one_dictionary),
        cmocka_unit_test(a_node_that_fails_is_replaced_by_the_next_nearest),
        cmocka_unit_test(a_node_that_failed_is_not_tried_again_for_other_keys),
        cmocka_unit_test(a_store_of_no_records_is_done_on_the_next_turn),
        cmocka_unit_test(an_older_value_is_refused_and_a_newer_one_replaces),
        cmocka_unit_test(the_latest_value_is_found_among_all_holders),
        cmocka_unit_test(a_node_that_refuses_what_others_take_is_no_replica),
        cmocka_unit_test(what_is_left_of_a_beam_is_not_taken_for_the_whole_swarm),
        cmocka_unit_test(values_expire),
        cmocka_unit_test(what_expires_while_others_are_waited_for_is_not_found),
        cmocka_unit_test(what_is_at_home_is_told_before_the_start_returns),
        cmocka_unit_test(a_get_of_no_keys_is_done_at_once),
        cmocka_unit_test(peek_tells_another_version_after_each_change),
        cmocka_unit_test(a_dead_holder_does_not_stall_a_get),
        cmocka_unit_test(a_missing_key_is_told_without_waiting_for_one_dead_node),
        cmocka_unit_test(not_found_is_not_an_answer_when_the_holders_are_silent),
        cmocka_unit_test(a_deadline_ends_a_get_in_time_and_late_answers_warm_the_cache),
        cmocka_unit_test(a_deadline_ends_a_store_in_time),
        cmocka_unit_test(what_a_search_learns_does_not_hide_slow_nodes_from_other_keys),
        cmocka_unit_test(a_peer_that_failed_is_left_alone_twice_as_long_each_time),
        cmocka_unit_test(gets_of_one_key_share_one_search),
        cmocka_unit_test(a_get_for_something_later_does_not_settle_for_another_search),
        cmocka_unit_test(no_more_than_parallel_rpc_requests_are_in_flight),
        cmocka_unit_test(a_place_in_line_that_a_cancel_frees_is_taken),
        cmocka_unit_test(those_in_line_do_not_count_as_late),
        cmocka_unit_test(operations_can_be_cancelled_at_any_moment),
        cmocka_unit_test(a_node_can_be_freed_at_any_moment),
        cmocka_unit_test(a_get_may_be_cancelled_from_a_callback_even_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
