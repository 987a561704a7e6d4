/* SPDX-License-Identifier: MIT */
/* What a node does beside answering its user: joining, caching, its table, handing records on. */
#include <math.h>

#include "sim/swarm.h"

#include "dht/node_internal.h"

#include "base/map.h"
#include "dht/protocol.h"

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

static struct skep_dht_options client_options(void)
{
    struct skep_dht_options options;

    skep_dht_options_default(&options);
    options.client_mode = true;
    return options;
}

static unsigned put(uint32_t node, const char *key, const char *value, double ttl_s)
{
    struct skep_dht_record record = swarm_record(key, value, swarm_now(&swarm) + ttl_s);

    return swarm_store(&swarm, node, &record, NULL);
}

static void run_s(double seconds)
{
    skep_sim_clock_run_for(&swarm.clock, (uint64_t)(seconds * 1e6));
}

/* ---- joining ---- */

static void bad_initial_peers_among_good_ones_do_no_harm(void **state)
{
    uint32_t node, via[] = {1, 999999, 2, 0};

    (void)state;
    begin(1, 3);
    skep_sim_net_set_state(swarm.net, 1, SKEP_SIM_REFUSING);
    node = swarm_add(&swarm, NULL);
    assert_int_equal(swarm_join(&swarm, node, via, 4, NULL), 0);
    assert_int_equal(swarm_stats(&swarm, node).table_nodes, 2);
    end();
}

static void a_silent_initial_peer_is_waited_for_until_the_bootstrap_timeout(void **state)
{
    uint32_t node, via[] = {1, 0};
    uint64_t started;

    (void)state;
    begin(2, 3);
    swarm_kill(&swarm, 1);
    node = swarm_add(&swarm, NULL);
    started = swarm.clock.now_us;
    assert_int_equal(swarm_join(&swarm, node, via, 2, NULL), 0);
    assert_in_range(swarm.clock.now_us - started, 2900000, 3100000);
    end();
}

static void a_join_that_fails_names_each_peer_and_why(void **state)
{
    uint32_t node, via[] = {1, 77};
    char text[512];

    (void)state;
    begin(3, 2);
    swarm_kill(&swarm, 1);
    node = swarm_add(&swarm, NULL);
    assert_int_equal(swarm_join(&swarm, node, via, 2, text), SKEP_EBOOTSTRAP);
    assert_non_null(strstr(text, "/ip4/10.0.0.1/tcp/4001: timed out"));
    assert_non_null(strstr(text, "/ip4/10.0.0.77/tcp/4001: the connection was refused"));
    end();
}

static void on_joined(struct skep_dht_join *join, int rc, const char *text)
{
    (void)text;
    join->op.state = (void *)(uintptr_t)(rc == SKEP_EBOOTSTRAP ? 1 : 2);
}

static void an_address_that_cannot_be_dialled_fails_the_join_later_not_at_once(void **state)
{
    const char *maddrs[] = {"rubbish", "/dns4/nowhere"};
    struct skep_dht_join join = {.done = on_joined};

    (void)state;
    begin(3, 1);
    assert_int_equal(skep_dht_join_start(swarm.dht[0], &join, maddrs, 2), 0);
    assert_true((uintptr_t)join.op.state > 2);
    run_s(1);
    assert_true((uintptr_t)join.op.state == 1);
    end();
}

static void without_ensure_bootstrap_success_a_join_never_fails(void **state)
{
    struct skep_dht_options options;
    uint32_t via[] = {1};

    (void)state;
    begin(4, 2);
    swarm_kill(&swarm, 1);
    skep_dht_options_default(&options);
    options.ensure_bootstrap_success = false;
    assert_int_equal(swarm_join(&swarm, swarm_add(&swarm, &options), via, 1, NULL), 0);
    assert_int_equal(swarm_join(&swarm, swarm_add(&swarm, NULL), NULL, 0, NULL), 0);
    end();
}

static void somebody_with_our_identity_is_told_of(void **state)
{
    struct skep_dht_options options;
    uint32_t via[] = {0};

    (void)state;
    begin(5, 1);
    skep_dht_options_default(&options);
    assert_int_equal(skep_sim_net_add_twin(swarm.net, &swarm.rpc[1], 0), 0);
    assert_int_equal(skep_dht_new(&swarm.dht[1], &swarm.clock.env, swarm.rpc[1], &options), 0);
    swarm.count = 2;
    assert_int_equal(swarm_join(&swarm, 1, via, 1, NULL), SKEP_EIDENTITYTAKEN);
    end();
}

/* A peer of the test's making: answers rpc_ping as told, and may serve more. */
struct puppet {
    struct skep_rpc *rpc;
    uint32_t index;
    struct skep_dht_id id;
    double clock_skew_s;
    bool unavailable, no_id, nan_time;
    unsigned pings;
    struct skep_buf out;
};

static void puppet_ping(void *user, struct skep_rpc_request *request)
{
    struct puppet *puppet = user;
    double now = puppet->nan_time ? NAN : swarm_now(&swarm) + puppet->clock_skew_s;

    puppet->pings++;
    skep_buf_clear(&puppet->out);
    skep_dht_ping_response_encode(&puppet->out, puppet->no_id ? NULL : &puppet->id, now,
                                  !puppet->unavailable);
    skep_rpc_reply(request, skep_buf_view(&puppet->out));
}

static void puppet_init(struct puppet *puppet, uint8_t first_byte)
{
    memset(puppet, 0, sizeof *puppet);
    assert_int_equal(skep_sim_net_add(swarm.net, &puppet->rpc), 0);
    puppet->index = skep_sim_net_index(puppet->rpc);
    swarm.count = puppet->index + 1;
    memset(puppet->id.bytes, first_byte, SKEP_DHT_ID_LEN);
    skep_buf_init(&puppet->out, &skep_mem_std);
    assert_int_equal(skep_rpc_serve(puppet->rpc, SKEP_DHT_RPC_PING, puppet_ping, puppet), 0);
}

static int join_puppet(struct puppet *puppet, const struct skep_dht_options *options)
{
    uint32_t node = swarm_add(&swarm, options);
    int rc = swarm_join(&swarm, node, &puppet->index, 1, NULL);

    skep_buf_fini(&puppet->out);
    end();
    return rc;
}

static void a_clock_that_differs_by_more_than_three_seconds_is_refused(void **state)
{
    static const struct {
        double skew_s;
        bool nan, strict;
        int rc;
    } cases[] = {{2.9, false, true, 0},
                 {-2.9, false, true, 0},
                 {3.1, false, true, SKEP_EPEER_CLOCK},
                 {-3.1, false, true, SKEP_EPEER_CLOCK},
                 {3.1, false, false, 0},
                 {0, true, true, SKEP_EPEER_CLOCK}};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_dht_options options;
        struct puppet puppet;

        begin(6, 0);
        puppet_init(&puppet, 9);
        puppet.clock_skew_s = cases[i].skew_s;
        puppet.nan_time = cases[i].nan;
        skep_dht_options_default(&options);
        options.strict = cases[i].strict;
        assert_int_equal(join_puppet(&puppet, &options), cases[i].rc);
    }
}

static void a_peer_that_cannot_reach_us_back_is_refused_unless_we_are_a_client(void **state)
{
    (void)state;
    for (int client = 0; client < 2; client++) {
        struct skep_dht_options options;
        struct puppet puppet;

        begin(7, 0);
        puppet_init(&puppet, 9);
        puppet.unavailable = true;
        skep_dht_options_default(&options);
        options.client_mode = client;
        assert_int_equal(join_puppet(&puppet, &options), client ? 0 : SKEP_EPEER_UNVERIFIED);
    }
}

static void an_answer_without_node_id_is_no_answer(void **state)
{
    struct puppet puppet;

    (void)state;
    begin(8, 0);
    puppet_init(&puppet, 9);
    puppet.no_id = true;
    assert_int_equal(join_puppet(&puppet, NULL), SKEP_EBOOTSTRAP);
}

static void a_node_behind_a_firewall_is_told_so(void **state)
{
    struct skep_dht_options options;
    uint32_t node;

    (void)state;
    begin(9, 2);
    skep_dht_options_default(&options);
    node = swarm_add(&swarm, &options);
    skep_rpc_unserve(swarm.rpc[node], SKEP_DHT_RPC_PING); /* as if nothing came through */
    assert_int_equal(swarm_join(&swarm, node, (uint32_t[]){0}, 1, NULL), SKEP_EPEER_UNVERIFIED);
    end();
}

/* ---- the table ---- */

static void nobody_keeps_a_client_in_its_table_and_it_stores_nothing(void **state)
{
    struct skep_dht_options options = client_options();
    uint32_t client;

    (void)state;
    begin(10, 4);
    client = add_joined(&options);
    assert_int_equal(put(client, "key", "value", 60), 4);
    assert_int_equal(swarm_stats(&swarm, client).stored_keys, 0);
    assert_int_equal(swarm_stats(&swarm, client).table_nodes, 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(swarm_stats(&swarm, i).table_nodes, 3);
    end();
}

static void nothing(struct skep_rpc_call *call, int rc, skep_bytes reply)
{
    (void)call, (void)rc, (void)reply;
}

/* A bare rpc_find from a puppet, claiming an id. */
static void claim(struct puppet *puppet, uint32_t node, const struct skep_dht_id *id)
{
    struct skep_rpc_call call = {.done = nothing};
    struct skep_buf message;

    skep_buf_init(&message, &skep_mem_std);
    skep_dht_find_request_encode(&message, id, id, 1);
    assert_int_equal(skep_rpc_call_start(puppet->rpc, &call, &swarm.rpc[node]->self,
                                         SKEP_DHT_RPC_FIND, skep_buf_view(&message), 100000),
                     0);
    skep_buf_fini(&message);
    run_s(1);
}

static void a_sender_is_in_the_table_only_once_it_has_answered_a_ping(void **state)
{
    struct puppet puppet;
    struct skep_dht_id other;

    (void)state;
    begin(11, 2);
    puppet_init(&puppet, 9);
    memset(other.bytes, 8, sizeof other.bytes);
    claim(&puppet, 0, &puppet.id);
    assert_int_equal(puppet.pings, 1);
    assert_int_equal(swarm_stats(&swarm, 0).table_nodes, 2);
    /* Claiming another id brings a ping, whose answer counts, not the claim. */
    claim(&puppet, 0, &other);
    assert_int_equal(swarm_stats(&swarm, 0).table_nodes, 2);
    skep_rpc_unserve(puppet.rpc, SKEP_DHT_RPC_PING);
    run_s(60);
    claim(&puppet, 1, &puppet.id);
    assert_int_equal(swarm_stats(&swarm, 1).table_nodes, 1);
    skep_buf_fini(&puppet.out);
    end();
}

static void a_sender_is_verified_at_most_once_in_ten_seconds(void **state)
{
    struct puppet puppet;
    struct skep_dht_id id;

    (void)state;
    begin(12, 2);
    puppet_init(&puppet, 9);
    puppet.no_id = true; /* it never gets in */
    for (uint8_t i = 0; i < 5; i++) {
        memset(id.bytes, i + 1, sizeof id.bytes);
        claim(&puppet, 0, &id);
    }
    assert_int_equal(puppet.pings, 1);
    run_s(10);
    claim(&puppet, 0, &id);
    assert_int_equal(puppet.pings, 2);
    assert_int_equal(swarm_stats(&swarm, 0).verifications, 3); /* one was node 1's */
    skep_buf_fini(&puppet.out);
    end();
}

static void the_table_forgets_the_dead_by_its_refresh(void **state)
{
    struct skep_dht_options options;
    uint32_t node;

    (void)state;
    begin(13, 6);
    skep_dht_options_default(&options);
    options.refresh_timeout_us = 30 * SKEP_SIM_SECOND;
    node = add_joined(&options);
    swarm_kill(&swarm, 2);
    swarm_kill(&swarm, 3);
    assert_int_equal(swarm_stats(&swarm, node).table_nodes, 6);
    run_s(40);
    assert_int_equal(swarm_stats(&swarm, node).table_nodes, 4);
    end();
}

/* ---- records handed on ---- */

static void a_newcomer_is_sent_what_it_should_hold(void **state)
{
    uint32_t newcomer;

    (void)state;
    begin(14, 2);
    for (int i = 0; i < 30; i++) {
        char key[16];

        snprintf(key, sizeof key, "key%d", i);
        put(0, key, "value", 600);
    }
    newcomer = add_joined(NULL);
    run_s(1);
    /* Three nodes, five replicas: everything belongs everywhere. */
    assert_int_equal(swarm_stats(&swarm, newcomer).stored_keys, 30);
    assert_int_equal(swarm_stats(&swarm, 0).pushes + swarm_stats(&swarm, 1).pushes, 2);
    end();
}

static void what_goes_while_records_are_handed_on_does_not_stop_it(void **state)
{
    enum { KEYS = 3000 };
    static struct skep_dht_record records[KEYS];

    (void)state;
    for (unsigned joins_ms = 1960; joins_ms <= 2020; joins_ms += 10) {
        uint32_t newcomer;

        begin(14, 1);
        for (int i = 0; i < KEYS; i++) {
            char key[16];

            snprintf(key, sizeof key, "key%d", i);
            records[i] = swarm_record(
                key, "value",
                swarm_now(&swarm) +
                    (i % 3 == 0 ? 600 : 2 + i * 10e-6)); /* go one by one from 2 s on */
        }
        assert_int_equal(swarm_store_many(&swarm, 0, records, KEYS, NULL, NULL, NULL, NULL), 0);
        skep_sim_clock_run_for(&swarm.clock, joins_ms * 1000);
        newcomer = add_joined(NULL);
        run_s(1);
        assert_int_equal(swarm.dht[0]->push_count, 0);
        skep_dht_storage_expire(&swarm.dht[newcomer]->storage, swarm_now(&swarm));
        assert_int_equal(swarm_stats(&swarm, newcomer).stored_keys, KEYS / 3);
        end();
    }
}

static unsigned stores_seen;

static void count_store(void *user, struct skep_rpc_request *request)
{
    (void)user;
    stores_seen++;
    skep_rpc_reply(request, (skep_bytes){0});
}

static void records_are_pushed_to_a_peer_at_most_once_a_minute(void **state)
{
    struct puppet puppet;

    (void)state;
    begin(15, 1);
    put(0, "key", "value", 3600);
    puppet_init(&puppet, 9);
    assert_int_equal(skep_rpc_serve(puppet.rpc, SKEP_DHT_RPC_STORE, count_store, NULL), 0);
    stores_seen = 0;
    for (uint8_t i = 0; i < 4; i++) {
        memset(puppet.id.bytes, i + 1, sizeof puppet.id.bytes); /* a new node every time */
        claim(&puppet, 0, &puppet.id);
        run_s(11);
    }
    assert_int_equal(puppet.pings, 4);
    assert_int_equal(stores_seen, 1);
    run_s(20);
    memset(puppet.id.bytes, 77, sizeof puppet.id.bytes);
    claim(&puppet, 0, &puppet.id);
    assert_int_equal(stores_seen, 2);
    skep_buf_fini(&puppet.out);
    end();
}

/* ---- caches ---- */

static void what_a_get_found_is_cached_unless_told_not_to(void **state)
{
    (void)state;
    for (int locally = 0; locally < 2; locally++) {
        struct skep_dht_options options = client_options();
        uint32_t client;

        begin(16, 4);
        options.cache_locally = locally;
        client = add_joined(&options);
        put(0, "key", "value", 60);
        assert_true(swarm_get(&swarm, client, "key", NULL).found);
        assert_int_equal(swarm_stats(&swarm, client).cached_keys, locally);
        assert_int_equal(swarm_get(&swarm, client, "key", NULL).cost.calls, locally ? 0 : 1);
        end();
    }
}

static void what_was_stored_is_cached_unless_told_not_to(void **state)
{
    (void)state;
    for (int on_store = 0; on_store < 2; on_store++) {
        struct skep_dht_options options = client_options();
        uint32_t client;

        begin(17, 4);
        options.cache_on_store = on_store;
        client = add_joined(&options);
        put(client, "key", "value", 60);
        assert_int_equal(swarm_stats(&swarm, client).cached_keys, on_store);
        end();
    }
}

static void the_cache_holds_at_most_cache_size_keys(void **state)
{
    struct skep_dht_options options = client_options();
    uint32_t client;
    char key[16];

    (void)state;
    begin(18, 3);
    options.cache_size = 5;
    client = add_joined(&options);
    for (int i = 0; i < 9; i++) {
        snprintf(key, sizeof key, "key%d", i);
        put(client, key, "value", 60);
    }
    assert_int_equal(swarm_stats(&swarm, client).cached_keys, 5);
    end();
}

static void a_node_asked_in_vain_is_told_what_was_found(void **state)
{
    enum { KEYS = 20 };

    (void)state;
    for (int nearest = 0; nearest < 2; nearest++) {
        struct skep_dht_options options = client_options();
        size_t cached = 0, in_vain = 0;
        uint32_t client;
        char key[16];

        begin(19, 1);
        for (int i = 0; i < KEYS; i++) {
            snprintf(key, sizeof key, "key%d", i);
            put(0, key, "value", 600);
        }
        for (int i = 0; i < 6; i++) {
            struct skep_dht_options full;

            skep_dht_options_default(&full);
            full.storage_bytes = 1; /* no room for what is pushed: node 0 stays the only holder */
            assert_int_equal(swarm_stats(&swarm, add_joined(&full)).stored_keys, 0);
        }
        options.cache_nearest = (size_t)nearest;
        client = add_joined(&options);
        for (int i = 0; i < KEYS; i++) {
            struct swarm_found found;

            snprintf(key, sizeof key, "key%d", i);
            found = swarm_get(&swarm, client, key, NULL);
            assert_true(found.found);
            in_vain += found.cost.rounds > 1;
        }
        run_s(1);
        for (uint32_t i = 1; i < 7; i++)
            cached += swarm_stats(&swarm, i).cached_keys;
        assert_true(in_vain > 0);
        assert_int_equal(cached, nearest ? in_vain : 0);
        end();
    }
}

static void a_cached_key_that_is_read_is_fetched_again_before_it_expires(void **state)
{
    struct skep_dht_options options = client_options();
    uint32_t client;

    (void)state;
    begin(20, 4);
    client = add_joined(&options);
    put(0, "read", "old", 60);
    put(0, "unread", "old", 60);
    assert_true(swarm_get(&swarm, client, "read", NULL).found);
    assert_true(swarm_get(&swarm, client, "unread", NULL).found);
    assert_true(
        swarm_get(&swarm, client, "read", NULL).found); /* from the cache: this is what counts */
    put(0, "read", "new", 300);
    put(0, "unread", "new", 300);
    run_s(56);
    assert_string_equal(swarm_get(&swarm, client, "read", NULL).text, "new");
    assert_int_equal(swarm_get(&swarm, client, "read", NULL).cost.calls, 0);
    assert_string_equal(swarm_get(&swarm, client, "unread", NULL).text, "old");
    end();
}

static void a_refused_store_has_an_obsolete_cache_fetched_again(void **state)
{
    struct skep_dht_options options = client_options();
    uint32_t client;

    (void)state;
    begin(21, 4);
    client = add_joined(&options);
    put(client, "key", "mine", 60);
    put(0, "key", "newer", 600);
    assert_int_equal(put(client, "key", "mine again", 100), 0);
    run_s(1);
    assert_string_equal(swarm_get(&swarm, client, "key", NULL).text, "newer");
    end();
}

static void records_for_caches_go_into_caches(void **state)
{
    struct skep_dht_store_options options = {.in_cache = true};
    struct skep_dht_record record;

    (void)state;
    begin(22, 4);
    record = swarm_record("key", "value", swarm_now(&swarm) + 60);
    assert_int_equal(swarm_store(&swarm, 1, &record, &options), 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(swarm_stats(&swarm, i).stored_keys, 0);
        assert_int_equal(swarm_stats(&swarm, i).cached_keys, 1);
    }
    end();
}

/* ---- memory ---- */

struct stage {
    struct skep_dht *dht[3];
    struct skep_sim_clock clock;
    struct skep_sim_net *net;
};

struct outcome {
    struct skep_dht_join join;
    struct skep_dht_get get;
    struct skep_dht_store store;
    unsigned ends;
    bool found;
};

static void at_join_end(struct skep_dht_join *join, int rc, const char *text)
{
    (void)rc, (void)text;
    SKEP_CONTAINER_OF(join, struct outcome, join)->ends++;
}

static void at_value(struct skep_dht_get *get, size_t index, const struct skep_dht_value *value,
                     bool answered)
{
    (void)index, (void)answered;
    SKEP_CONTAINER_OF(get, struct outcome, get)->found |= value != NULL;
}

static void at_get_end(struct skep_dht_get *get, int rc)
{
    (void)rc;
    SKEP_CONTAINER_OF(get, struct outcome, get)->ends++;
}

static void at_stored(struct skep_dht_store *store, size_t index, unsigned accepted,
                      unsigned answered)
{
    (void)store, (void)index, (void)accepted, (void)answered;
}

static void at_store_end(struct skep_dht_store *store, int rc)
{
    (void)rc;
    SKEP_CONTAINER_OF(store, struct outcome, store)->ends++;
}

/* Three nodes join, store and get; whatever started must end, whichever allocation fails. */
static int act(struct stage *stage)
{
    struct skep_dht_get_options get_options = {.no_local = true};
    struct skep_dht_store_options store_options = {0};
    struct outcome o = {.join = {.done = at_join_end},
                        .get = {.on_value = at_value, .done = at_get_end},
                        .store = {.on_stored = at_stored, .done = at_store_end}};
    struct skep_dht_id keys[2] = {swarm_key("key"), swarm_key("nothing")};
    struct skep_dht_record record;
    struct skep_dht_options options;
    char maddr[SKEP_SIM_MADDR_MAX];
    const char *maddrs[1] = {skep_sim_net_maddr(maddr, 0)};
    unsigned started = 0;
    struct skep_rpc *rpc;

    skep_dht_options_default(&options);
    options.cache_nearest = 1;
    for (int i = 0; i < 3; i++) {
        if (skep_sim_net_add(stage->net, &rpc) < 0 ||
            skep_dht_new(&stage->dht[i], &stage->clock.env, rpc, &options) < 0)
            return SKEP_ENOMEM;
        if (i > 0 && skep_dht_join_start(stage->dht[i], &o.join, maddrs, 1) == 0)
            started++;
        skep_sim_clock_run_for(&stage->clock, 10 * SKEP_SIM_SECOND);
        assert_int_equal(o.ends, started);
    }
    record = swarm_record("key", "value", skep_env_unix_s(&stage->clock.env) + 600);
    if (skep_dht_store_start(stage->dht[1], &o.store, &record, 1, &store_options) == 0)
        started++;
    skep_sim_clock_run_for(&stage->clock, 60 * SKEP_SIM_SECOND);
    assert_int_equal(o.ends, started);
    if (skep_dht_get_start(stage->dht[2], &o.get, keys, 2, &get_options) == 0)
        started++;
    skep_sim_clock_run_for(&stage->clock, 60 * SKEP_SIM_SECOND);
    assert_int_equal(o.ends, started);
    return started == 4 && o.found ? 0 : SKEP_ENOMEM;
}

static int join_store_and_get(const struct skep_mem *mem, void *user)
{
    struct skep_sim_faults faults = {.latency = {.median_us = 1000}};
    struct stage stage = {0};
    int rc;

    (void)user;
    skep_map_set_mem(mem);
    skep_sim_clock_init(&stage.clock, mem, 1);
    rc = skep_sim_net_new(&stage.net, &stage.clock, 1, &faults);
    if (rc == 0)
        rc = act(&stage);
    for (int i = 0; i < 3; i++)
        skep_dht_free(stage.dht[i]);
    skep_sim_net_free(stage.net);
    skep_sim_clock_fini(&stage.clock);
    skep_map_set_mem(&skep_mem_std);
    return rc;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    test_each_allocation_fails(join_store_and_get, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_initial_peers_among_good_ones_do_no_harm),
        cmocka_unit_test(a_silent_initial_peer_is_waited_for_until_the_bootstrap_timeout),
        cmocka_unit_test(a_join_that_fails_names_each_peer_and_why),
        cmocka_unit_test(an_address_that_cannot_be_dialled_fails_the_join_later_not_at_once),
        cmocka_unit_test(without_ensure_bootstrap_success_a_join_never_fails),
        cmocka_unit_test(somebody_with_our_identity_is_told_of),
        cmocka_unit_test(a_clock_that_differs_by_more_than_three_seconds_is_refused),
        cmocka_unit_test(a_peer_that_cannot_reach_us_back_is_refused_unless_we_are_a_client),
        cmocka_unit_test(an_answer_without_node_id_is_no_answer),
        cmocka_unit_test(a_node_behind_a_firewall_is_told_so),
        cmocka_unit_test(nobody_keeps_a_client_in_its_table_and_it_stores_nothing),
        cmocka_unit_test(a_sender_is_in_the_table_only_once_it_has_answered_a_ping),
        cmocka_unit_test(a_sender_is_verified_at_most_once_in_ten_seconds),
        cmocka_unit_test(the_table_forgets_the_dead_by_its_refresh),
        cmocka_unit_test(a_newcomer_is_sent_what_it_should_hold),
        cmocka_unit_test(what_goes_while_records_are_handed_on_does_not_stop_it),
        cmocka_unit_test(records_are_pushed_to_a_peer_at_most_once_a_minute),
        cmocka_unit_test(what_a_get_found_is_cached_unless_told_not_to),
        cmocka_unit_test(what_was_stored_is_cached_unless_told_not_to),
        cmocka_unit_test(the_cache_holds_at_most_cache_size_keys),
        cmocka_unit_test(a_node_asked_in_vain_is_told_what_was_found),
        cmocka_unit_test(a_cached_key_that_is_read_is_fetched_again_before_it_expires),
        cmocka_unit_test(a_refused_store_has_an_obsolete_cache_fetched_again),
        cmocka_unit_test(records_for_caches_go_into_caches),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
