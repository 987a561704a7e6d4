/* SPDX-License-Identifier: MIT */
#include "dht/swarm_size.h"

#include "dht/node_internal.h"

enum { FEWEST = 4 };
#define TABLE_EVERY_US ((uint64_t)1000000)
/* After so long without a lookup what was thought before is forgotten. */
#define STALE_US ((uint64_t)60000000)
/* An opinion's weight against what was thought before. */
#define WEIGHT 0.125

/* (k - 1) / d_k is on average N. Of the larger half of the k, which are the surer ones. */
double skep_swarm_size_of(const uint64_t *heads, size_t count)
{
    double sorted[SKEP_DHT_BUCKET_SIZE_MAX];
    size_t kept = 0;

    count = SKEP_MIN(count, (size_t)SKEP_DHT_BUCKET_SIZE_MAX);
    if (count < FEWEST)
        return 0;
    for (size_t k = SKEP_MAX(count / 2, (size_t)FEWEST); k <= count; k++) {
        double nodes = (double)(k - 1) / (((double)heads[k - 1] + 1) * 0x1p-64);
        size_t at = kept++;

        for (; at > 0 && sorted[at - 1] > nodes; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = nodes;
    }
    return SKEP_MAX((sorted[kept / 2] + sorted[(kept - 1) / 2]) / 2, 1.0);
}

void skep_swarm_size_learn(struct skep_swarm_size *size, const uint64_t *heads, size_t count)
{
    double nodes = skep_swarm_size_of(heads, count);

    if (nodes == 0)
        return;
    if (size->nodes == 0)
        size->nodes = nodes;
    nodes = SKEP_MAX(SKEP_MIN(nodes, 4 * size->nodes), size->nodes / 4);
    size->nodes += (nodes - size->nodes) * WEIGHT;
}

/* What our own table says. */
static void look_at_table(const struct skep_dht *dht, struct skep_swarm_size *size)
{
    uint64_t heads[SKEP_DHT_BUCKET_SIZE_MAX], own = skep_get_be64(dht->node_id.bytes),
                                              now = skep_env_now_us(dht->env),
                                              since = now - size->table_looked_us;
    size_t count;

    if (size->nodes > 0 && since < TABLE_EVERY_US)
        return;
    count = skep_routing_nearest(&dht->table, &dht->node_id, dht->options.bucket_size, NULL,
                                 dht->nearest);
    for (size_t i = 0; i < count; i++)
        heads[i] = own ^ skep_get_be64(dht->nearest[i]->id.bytes);
    size->table_looked_us = now;
    if (since >= STALE_US)
        size->nodes = 0;
    skep_swarm_size_learn(size, heads, count);
}

static double at_least_known(const struct skep_dht *dht, const struct skep_swarm_size *size)
{
    double known = (double)dht->table.node_count + !dht->options.client_mode;

    /* Fewer than a bucket: the table has all of them. */
    if (dht->table.node_count < dht->options.bucket_size)
        return SKEP_MAX(known, 1.0);
    return SKEP_MAX(size->nodes, known);
}

double skep_dht_swarm_size(struct skep_dht *dht)
{
    look_at_table(dht, &dht->swarm_size);
    return at_least_known(dht, &dht->swarm_size);
}

double skep_dht_swarm_size_now(const struct skep_dht *dht)
{
    struct skep_swarm_size size = dht->swarm_size;

    look_at_table(dht, &size);
    return at_least_known(dht, &size);
}

/* A Poisson distribution's chance of fewer than 5, at 0, 1, … 8 expected; for other numbers of replicas it is stretched. Beyond, what counts is that nearer is better. */
uint32_t skep_swarm_holds(double expected, size_t replicas)
{
    static const uint32_t holds[] = {65536, 65296, 62086, 53426, 41199, 28869, 18690, 11336, 6531};
    double x = expected * 5 / (double)replicas;
    size_t at = x < 8 ? (size_t)x : 8;

    if (at == 8)
        return (uint32_t)SKEP_MAX(6531 * 8 / x, 1.0);
    return (uint32_t)((double)holds[at] - (double)(holds[at] - holds[at + 1]) * (x - (double)at));
}
