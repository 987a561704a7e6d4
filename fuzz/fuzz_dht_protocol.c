/* SPDX-License-Identifier: MIT */
/* A hostile peer and a live DHT node over the simulated call seam. The input is what the peer says: requests to the node, and answers to what the node
 * asks while it joins, gets and stores.
 * Property: each request gets exactly one answer, each operation ends exactly once within a minute, and what the peer can make the node keep is bounded. */
#include <stdlib.h>

#include "base/limits.h"
#include "dht/node.h"
#include "dht/protocol.h"
#include "sim/sim_rpc.h"

enum { STORAGE_BYTES = 64 << 10 };

static struct peer {
    skep_bytes script; /* what is left of the input */
    struct skep_rpc *rpc;
    struct skep_dht_id id;
} hostile;

/* The next slice: a length byte (255: with a second one), then that many bytes. */
static skep_bytes next_slice(void)
{
    skep_bytes head = skep_bytes_take(&hostile.script, 1);
    size_t len = head.len > 0 ? head.data[0] : 0;

    if (len == 255) {
        head = skep_bytes_take(&hostile.script, 1);
        len += head.len > 0 ? (size_t)head.data[0] * 8 : 0;
    }
    return skep_bytes_take(&hostile.script, len);
}

static void say_something(void *user, struct skep_rpc_request *request)
{
    (void)user;
    skep_rpc_reply(request, next_slice());
}

/* A true pong now and then, so that the node keeps the peer. */
static void say_pong(void *user, struct skep_rpc_request *request)
{
    struct skep_buf out;

    if (hostile.script.len > 0 && hostile.script.data[0] == 0) {
        say_something(user, request);
        return;
    }
    skep_buf_init(&out, &skep_mem_std);
    skep_dht_ping_response_encode(&out, &hostile.id, 0, true);
    skep_rpc_reply(request, skep_buf_view(&out));
    skep_buf_fini(&out);
}

struct counted {
    struct skep_rpc_call call;
    struct skep_dht_join join;
    struct skep_dht_get get;
    struct skep_dht_store store;
    unsigned answers, joins, values, gets, stored, stores;
};

static void on_answer(struct skep_rpc_call *call, int rc, skep_bytes reply)
{
    (void)reply;
    if (rc != 0 && rc != SKEP_EPEER_REMOTE)
        abort(); /* the node must answer */
    SKEP_CONTAINER_OF(call, struct counted, call)->answers++;
}

static void on_join(struct skep_dht_join *join, int rc, const char *text)
{
    (void)rc, (void)text;
    SKEP_CONTAINER_OF(join, struct counted, join)->joins++;
}

static void on_value(struct skep_dht_get *get, size_t index, const struct skep_dht_value *value,
                     bool answered)
{
    struct skep_dht_entry entry;
    size_t cursor = 0;

    (void)index, (void)answered;
    if (value && value->expiration_unix_s != value->expiration_unix_s)
        abort();
    while (value && skep_dht_value_next(value, &cursor, &entry))
        ;
    SKEP_CONTAINER_OF(get, struct counted, get)->values++;
}

static void on_got(struct skep_dht_get *get, int rc)
{
    (void)rc;
    SKEP_CONTAINER_OF(get, struct counted, get)->gets++;
}

static void on_stored(struct skep_dht_store *store, size_t index, unsigned accepted,
                      unsigned answered)
{
    (void)index;
    if (accepted > answered)
        abort();
    SKEP_CONTAINER_OF(store, struct counted, store)->stored++;
}

static void on_all_stored(struct skep_dht_store *store, int rc)
{
    (void)rc;
    SKEP_CONTAINER_OF(store, struct counted, store)->stores++;
}

static void send_requests(struct skep_sim_clock *clock, const struct skep_peer_id *node)
{
    static const char *const methods[] = {SKEP_DHT_RPC_PING, SKEP_DHT_RPC_STORE, SKEP_DHT_RPC_FIND};

    for (int i = 0; i < 8 && hostile.script.len > 0; i++) {
        struct counted c = {.call = {.done = on_answer}};
        const char *method = methods[skep_bytes_take(&hostile.script, 1).data[0] % 3];

        if (skep_rpc_call_start(hostile.rpc, &c.call, node, method, next_slice(),
                                60 * SKEP_SIM_SECOND) < 0)
            abort();
        skep_sim_clock_run_for(clock, 5 * SKEP_SIM_SECOND);
        if (c.answers != 1)
            abort();
    }
}

static void operate(struct skep_sim_clock *clock, struct skep_dht *dht)
{
    struct counted c = {.join = {.done = on_join},
                        .get = {.on_value = on_value, .done = on_got},
                        .store = {.on_stored = on_stored, .done = on_all_stored}};
    struct skep_dht_get_options get_options = {.no_local = true};
    struct skep_dht_store_options store_options = {0};
    struct skep_dht_record records[3];
    struct skep_dht_id keys[3];
    char maddr[SKEP_SIM_MADDR_MAX];
    const char *maddrs[1] = {skep_sim_net_maddr(maddr, 1)};

    for (uint8_t i = 0; i < 3; i++) {
        memset(&keys[i], i * 0x55, sizeof keys[i]);
        records[i] =
            (struct skep_dht_record){.key = keys[i],
                                     .value = skep_bytes_str("v"),
                                     .expiration_unix_s = skep_env_unix_s(&clock->env) + 600};
    }
    if (skep_dht_join_start(dht, &c.join, maddrs, 1) < 0)
        abort();
    skep_sim_clock_run_for(clock, 60 * SKEP_SIM_SECOND);
    if (skep_dht_get_start(dht, &c.get, keys, 3, &get_options) < 0 ||
        skep_dht_store_start(dht, &c.store, records, 3, &store_options) < 0)
        abort();
    skep_sim_clock_run_for(clock, 60 * SKEP_SIM_SECOND);
    if (c.joins != 1 || c.values != 3 || c.gets != 1 || c.stored != 3 || c.stores != 1)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct skep_sim_faults faults = {.latency = {.median_us = 1000}};
    struct skep_sim_clock clock;
    struct skep_sim_net *net;
    struct skep_dht_options options;
    struct skep_dht_stats stats;
    struct skep_dht *dht;
    struct skep_rpc *rpc;

    skep_sim_clock_init(&clock, &skep_mem_std, 1);
    skep_dht_options_default(&options);
    options.storage_bytes = options.cache_bytes = STORAGE_BYTES;
    if (skep_sim_net_new(&net, &clock, 1, &faults) < 0 || skep_sim_net_add(net, &rpc) < 0 ||
        skep_sim_net_add(net, &hostile.rpc) < 0 ||
        skep_dht_new(&dht, &clock.env, rpc, &options) < 0)
        abort();
    hostile.script = skep_bytes_of(data, len);
    memset(&hostile.id, 0x11, sizeof hostile.id);
    skep_rpc_serve(hostile.rpc, SKEP_DHT_RPC_PING, say_pong, NULL);
    skep_rpc_serve(hostile.rpc, SKEP_DHT_RPC_FIND, say_something, NULL);
    skep_rpc_serve(hostile.rpc, SKEP_DHT_RPC_STORE, say_something, NULL);
    if (len > 0 && data[0] % 2 == 0)
        send_requests(&clock, &rpc->self);
    operate(&clock, dht);
    send_requests(&clock, &rpc->self);
    skep_dht_stats(dht, &stats);
    if (stats.table_nodes > 1 || stats.stored_bytes > STORAGE_BYTES ||
        stats.cached_bytes > STORAGE_BYTES)
        abort();
    skep_dht_free(dht);
    skep_sim_net_free(net);
    skep_sim_clock_fini(&clock);
    return 0;
}
