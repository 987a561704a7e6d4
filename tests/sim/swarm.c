/* SPDX-License-Identifier: MIT */
#include "sim/swarm.h"

#include "base/map.h"

static void keep_log(struct skep_sim_clock *clock, enum skep_log_level level, const char *text)
{
    struct swarm *swarm = SKEP_CONTAINER_OF(clock, struct swarm, clock);

    (void)level;
    snprintf(swarm->log, sizeof swarm->log, "%s", text);
}

void swarm_init(struct swarm *swarm, const struct skep_mem *mem, uint64_t seed,
                const struct skep_sim_faults *faults)
{
    static const struct skep_sim_faults calm = {.latency = {.median_us = 1000}};

    memset(swarm, 0, sizeof *swarm);
    skep_sim_clock_init(&swarm->clock, mem, seed);
    swarm->clock.log = keep_log;
    swarm->seed = seed;
    skep_prng_init(&swarm->prng, seed ^ 0x7377);
    if (skep_sim_net_new(&swarm->net, &swarm->clock, seed, faults ? faults : &calm) < 0)
        swarm->net = NULL;
}

void swarm_fini(struct swarm *swarm)
{
    for (size_t i = 0; i < swarm->count; i++)
        skep_dht_free(swarm->dht[i]);
    skep_sim_net_free(swarm->net);
    skep_sim_clock_fini(&swarm->clock);
}

uint32_t swarm_add(struct swarm *swarm, const struct skep_dht_options *options)
{
    struct skep_dht_options defaults;
    uint32_t index = (uint32_t)swarm->count;

    skep_dht_options_default(&defaults);
    assert_true(index < SWARM_NODES_MAX);
    assert_int_equal(skep_sim_net_add(swarm->net, &swarm->rpc[index]), 0);
    assert_int_equal(skep_dht_new(&swarm->dht[index], &swarm->clock.env, swarm->rpc[index],
                                  options ? options : &defaults),
                     0);
    swarm->count++;
    return index;
}

void swarm_kill(struct swarm *swarm, uint32_t index)
{
    skep_sim_net_set_state(swarm->net, index, SKEP_SIM_SILENT);
    skep_dht_free(swarm->dht[index]);
    swarm->dht[index] = NULL;
}

struct joining {
    struct skep_dht_join join;
    bool done;
    int rc;
    char text[512];
};

static void on_joined(struct skep_dht_join *join, int rc, const char *text)
{
    struct joining *j = SKEP_CONTAINER_OF(join, struct joining, join);

    j->done = true;
    j->rc = rc;
    snprintf(j->text, sizeof j->text, "%s", text);
}

int swarm_join(struct swarm *swarm, uint32_t index, const uint32_t *via, size_t via_count,
               char *text)
{
    struct joining j = {.join = {.done = on_joined}};
    char maddrs[16][SKEP_SIM_MADDR_MAX];
    const char *list[16];
    int rc;

    for (size_t i = 0; i < via_count; i++)
        list[i] = skep_sim_net_maddr(maddrs[i], via[i]);
    rc = skep_dht_join_start(swarm->dht[index], &j.join, list, via_count);
    if (rc < 0)
        return rc;
    assert_true(skep_sim_clock_run_until(&swarm->clock, &j.done, 60 * SKEP_SIM_SECOND));
    if (text)
        memcpy(text, j.text, sizeof j.text);
    return j.rc;
}

void swarm_grow(struct swarm *swarm, size_t count, const struct skep_dht_options *options)
{
    while (count-- > 0) {
        uint32_t index = swarm_add(swarm, options), via = 0;

        if (index == 0)
            continue;
        /* The one it joins by may die or its answer be lost. */
        for (int tries = 0, rc = -1; rc < 0; tries++) {
            assert_true(tries < 5);
            do
                via = (uint32_t)skep_prng_below(&swarm->prng, index);
            while (!swarm->dht[via]);
            rc = swarm_join(swarm, index, &via, 1, NULL);
        }
    }
}

double swarm_now(struct swarm *swarm)
{
    return skep_env_unix_s(&swarm->clock.env);
}

struct skep_dht_id swarm_key(const char *text)
{
    struct skep_dht_id id;

    skep_dht_id_from_str(&id, skep_bytes_str(text));
    return id;
}

struct skep_dht_record swarm_record(const char *key, const char *value, double expiration_unix_s)
{
    return (struct skep_dht_record){.key = swarm_key(key),
                                    .value = skep_bytes_str(value),
                                    .expiration_unix_s = expiration_unix_s};
}

struct storing {
    struct skep_dht_store store;
    bool done;
    int rc;
    unsigned *accepted, *answered;
    size_t told;
};

static void on_stored(struct skep_dht_store *store, size_t index, unsigned accepted,
                      unsigned answered)
{
    struct storing *s = SKEP_CONTAINER_OF(store, struct storing, store);

    s->told++;
    if (s->accepted)
        s->accepted[index] = accepted;
    if (s->answered)
        s->answered[index] = answered;
}

static void on_all_stored(struct skep_dht_store *store, int rc)
{
    struct storing *s = SKEP_CONTAINER_OF(store, struct storing, store);

    s->done = true;
    s->rc = rc;
}

int swarm_store_many(struct swarm *swarm, uint32_t node, const struct skep_dht_record *records,
                     size_t count, const struct skep_dht_store_options *options, unsigned *accepted,
                     unsigned *answered, struct skep_dht_cost *cost)
{
    static const struct skep_dht_store_options none;
    struct storing s = {.store = {.on_stored = on_stored, .done = on_all_stored},
                        .accepted = accepted,
                        .answered = answered};
    int rc =
        skep_dht_store_start(swarm->dht[node], &s.store, records, count, options ? options : &none);

    if (rc < 0)
        return rc;
    assert_false(s.done);
    assert_true(skep_sim_clock_run_until(&swarm->clock, &s.done, 600 * SKEP_SIM_SECOND));
    assert_int_equal(s.told, count);
    if (cost)
        *cost = s.store.cost;
    return s.rc;
}

unsigned swarm_store(struct swarm *swarm, uint32_t node, const struct skep_dht_record *record,
                     const struct skep_dht_store_options *options)
{
    unsigned accepted = 0;

    assert_int_equal(swarm_store_many(swarm, node, record, 1, options, &accepted, NULL, NULL), 0);
    return accepted;
}

struct getting {
    struct skep_dht_get get;
    struct swarm_found *found;
    size_t count, told;
    bool done;
    int rc;
};

static void describe(struct swarm_found *found, const struct skep_dht_value *value)
{
    struct skep_dht_entry entry;
    size_t cursor = 0, len = 0;

    found->found = true;
    found->expiration_unix_s = value->expiration_unix_s;
    if (!value->is_dictionary) {
        snprintf(found->text, sizeof found->text, "%.*s", (int)value->plain.len,
                 (const char *)value->plain.data);
        return;
    }
    while (skep_dht_value_next(value, &cursor, &entry)) {
        found->entries++;
        if (len + 64 < sizeof found->text)
            len +=
                (size_t)snprintf(found->text + len, sizeof found->text - len, "%s=%s;",
                                 test_hex(entry.subkey.data, entry.subkey.len),
                                 test_hex(entry.value.data, SKEP_MIN(entry.value.len, (size_t)16)));
    }
}

static void on_value(struct skep_dht_get *get, size_t index, const struct skep_dht_value *value,
                     bool answered)
{
    struct getting *g = SKEP_CONTAINER_OF(get, struct getting, get);

    assert_true(index < g->count);
    assert_false(g->found[index].told);
    g->found[index].told = true;
    g->found[index].answered = answered;
    g->told++;
    if (value)
        describe(&g->found[index], value);
}

static void on_got(struct skep_dht_get *get, int rc)
{
    struct getting *g = SKEP_CONTAINER_OF(get, struct getting, get);

    g->done = true;
    g->rc = rc;
}

int swarm_get_many(struct swarm *swarm, uint32_t node, const struct skep_dht_id *keys, size_t count,
                   const struct skep_dht_get_options *options, struct swarm_found *found)
{
    static const struct skep_dht_get_options none;
    struct getting g = {
        .get = {.on_value = on_value, .done = on_got}, .found = found, .count = count};
    int rc;

    memset(found, 0, count * sizeof *found);
    rc = skep_dht_get_start(swarm->dht[node], &g.get, keys, count, options ? options : &none);
    if (rc < 0)
        return rc;
    assert_true(skep_sim_clock_run_until(&swarm->clock, &g.done, 600 * SKEP_SIM_SECOND));
    assert_int_equal(g.told, count);
    for (size_t i = 0; i < count; i++) {
        found[i].rc = g.rc;
        found[i].cost = g.get.cost;
    }
    return g.rc;
}

struct swarm_found swarm_get(struct swarm *swarm, uint32_t node, const char *key,
                             const struct skep_dht_get_options *options)
{
    struct skep_dht_id id = swarm_key(key);
    struct swarm_found found;
    int rc = swarm_get_many(swarm, node, &id, 1, options, &found);

    found.rc = rc;
    return found;
}

struct skep_dht_stats swarm_stats(struct swarm *swarm, uint32_t node)
{
    struct skep_dht_stats stats;

    skep_dht_stats(swarm->dht[node], &stats);
    return stats;
}
