/* SPDX-License-Identifier: MIT */
/* What gets and stores cost in a simulated swarm, in requests and in virtual time: bench_hops [nodes] [seed]. Joined by real joins; round trips of 20 to 80 ms, three
 * for a first contact; the one that asks is a client that has asked before. Twice: all well, and with a tenth of the nodes silent and 1 % of the messages lost. */
#include <stdlib.h>

#include "sim/swarm.h"

enum { KEYS = 400, BULK = 40, WARM = 300 };

static struct swarm swarm;
static uint32_t client;

/* What one kind of operation cost. */
struct cost {
    uint64_t us[4096];
    size_t count, found, told, calls;
};

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void print_cost(const char *what, struct cost *c, const struct skep_dht_stats *before)
{
    struct skep_dht_stats after = swarm_stats(&swarm, client);

    qsort(c->us, c->count, sizeof c->us[0], by_value);
    printf("%-12s calls %6.2f  ms p50 %6.1f p95 %6.1f max %6.1f  found %5.1f %%  late %llu\n", what,
           (double)c->calls / (double)c->count, (double)c->us[c->count / 2] / 1e3,
           (double)c->us[c->count * 95 / 100] / 1e3, (double)c->us[c->count - 1] / 1e3,
           100.0 * (double)c->found / (double)c->told,
           (unsigned long long)(after.late - before->late));
}

static void key_text(char *out, const char *kind, size_t i)
{
    snprintf(out, 32, "%s.%zu.", kind, i);
}

static void get(struct cost *c, const char *kind, size_t from, size_t bulk)
{
    static struct swarm_found found[BULK];
    struct skep_dht_get_options options = {.no_local = true};
    struct skep_dht_id ids[BULK];
    uint64_t started = swarm.clock.now_us;
    char key[32];

    for (size_t i = 0; i < bulk; i++) {
        key_text(key, kind, from + i);
        ids[i] = swarm_key(key);
    }
    swarm_get_many(&swarm, client, ids, bulk, &options, found);
    c->us[c->count++] = swarm.clock.now_us - started;
    c->calls += found[0].cost.calls;
    for (size_t i = 0; i < bulk; i++)
        c->found += found[i].found;
    c->told += bulk;
}

static void get_all(const char *what, const char *kind, size_t bulk)
{
    static struct cost c;
    struct skep_dht_stats before = swarm_stats(&swarm, client);

    memset(&c, 0, sizeof c);
    for (size_t i = 0; i + bulk <= KEYS; i += bulk) {
        get(&c, kind, i, bulk);
        skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
    }
    print_cost(what, &c, &before);
}

/* `found` is the share of its replicas that a record reached. */
static void store_all(const char *what, const char *kind, size_t bulk)
{
    static struct cost c;
    static char keys[KEYS][32];
    static struct skep_dht_record records[KEYS];
    static unsigned accepted[KEYS];
    struct skep_dht_stats before = swarm_stats(&swarm, client);

    memset(&c, 0, sizeof c);
    for (size_t i = 0; i < KEYS; i++) {
        key_text(keys[i], kind, i);
        records[i] = swarm_record(keys[i], "value", swarm_now(&swarm) + 36000);
    }
    for (size_t i = 0; i + bulk <= KEYS; i += bulk) {
        uint64_t started = swarm.clock.now_us;
        struct skep_dht_cost cost = {0};

        swarm_store_many(&swarm, client, records + i, bulk, NULL, accepted + i, NULL, &cost);
        c.us[c.count++] = swarm.clock.now_us - started;
        c.calls += cost.calls;
        c.told += 5 * bulk;
        for (size_t j = 0; j < bulk; j++)
            c.found += accepted[i + j];
        skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
    }
    if (what)
        print_cost(what, &c, &before);
}

static void warm_up(void)
{
    static struct cost c;

    memset(&c, 0, sizeof c);
    for (size_t i = 0; i < WARM; i++)
        get(&c, "warm", i, 1);
}

static void measure(void)
{
    get_all("get", "ffn", 1);
    get_all("get of 40", "ffn", BULK);
    get_all("missing", "none", 1);
    get_all("missing 40", "none", BULK);
}

int main(int argc, char **argv)
{
    size_t nodes = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    struct skep_dht_options options;
    struct skep_sim_faults faults;
    const uint32_t via[] = {0};

    skep_sim_faults_default(&faults);
    skep_dht_options_default(&options);
    options.cache_locally = options.cache_on_store = false;
    options.cache_nearest = 0;
    swarm_init(&swarm, &skep_mem_std, seed, &faults);
    swarm_grow(&swarm, nodes, &options);
    options.client_mode = true;
    client = swarm_add(&swarm, &options);
    if (swarm_join(&swarm, client, via, 1, NULL) < 0)
        return 1;
    warm_up();
    printf("%zu nodes, seed %llu\n", nodes, (unsigned long long)seed);
    store_all("store", "ffn", 1);
    store_all("store of 40", "bulk", BULK);
    measure();
    printf("a tenth of the nodes silent, 1 %% of the messages lost\n");
    for (size_t i = 0; i < nodes / 10; i++) {
        uint32_t dead;

        do
            dead = 1 + (uint32_t)skep_prng_below(&swarm.prng, nodes - 1);
        while (!swarm.dht[dead]);
        swarm_kill(&swarm, dead);
    }
    skep_sim_net_faults(swarm.net)->loss_ppm = 10000;
    measure();
    store_all("store", "late", 1);
    swarm_fini(&swarm);
    return 0;
}
