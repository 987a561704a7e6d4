/* SPDX-License-Identifier: MIT */
/* Doors for simulations: a node's table and storage filled by a rule instead of by joins and stores, and a look at whether they are sound.
 * Nothing here is sent, and no peer can reach it. */
#include "dht/node_internal.h"

int skep_dht_place_node(struct skep_dht *dht, const struct skep_dht_id *id,
                        const struct skep_peer_id *peer)
{
    struct skep_routing_node to_ping;
    int rc = skep_routing_add(&dht->table, id, peer, skep_env_now_us(dht->env), &to_ping);

    return rc == SKEP_ENOMEM ? rc
                             : 0; /* one that must wait for a place has none: as with a real join */
}

int skep_dht_place_value(struct skep_dht *dht, const struct skep_dht_id *key,
                         const struct skep_dht_value *value)
{
    int rc = skep_dht_storage_store_value(&dht->storage, key, value, skep_env_unix_s(dht->env));

    return SKEP_MIN(rc, 0);
}

const struct skep_dht_value *skep_dht_stored(struct skep_dht *dht, const struct skep_dht_id *key)
{
    const struct skep_dht_item *item =
        skep_dht_storage_get(&dht->storage, key, skep_env_unix_s(dht->env));

    return item ? item->value : NULL;
}

/* ---- is it sound? ---- */

static const char *check_bucket(const struct skep_routing *t, const struct skep_routing_bucket *b)
{
    if (b->node_count > t->bucket_size)
        return "a bucket holds more nodes than it may";
    if (b->replacement_count > t->replacements_max)
        return "a bucket has more replacements than it may";
    for (size_t i = 0; i < b->node_count + b->replacement_count; i++) {
        const struct skep_routing_node *node = skep_routing_bucket_node(t, b, i);

        if (skep_dht_id_common_bits(&node->id, &b->lower) < b->depth)
            return "a node is in a bucket of other ids";
        if (skep_dht_id_equal(&node->id, &t->own_id))
            return "the table holds our own id";
        if (skep_routing_get_peer(t, &node->peer) != node)
            return "a peer of the table is found under another node, or not at all";
    }
    return NULL;
}

static const char *check_table(const struct skep_routing *t)
{
    size_t nodes = 0, all = 0;

    for (size_t i = 0; i < t->bucket_count; i++) {
        const struct skep_routing_bucket *b = &t->buckets[i];
        const char *wrong = check_bucket(t, b);

        if (wrong)
            return wrong;
        if (i > 0 && memcmp(t->buckets[i - 1].lower.bytes, b->lower.bytes, SKEP_DHT_ID_LEN) >= 0)
            return "the buckets are out of order";
        nodes += b->node_count;
        all += b->node_count + b->replacement_count;
    }
    return nodes != t->node_count || all != t->live ? "the table has miscounted its nodes" : NULL;
}

static const char *check_storage(const struct skep_dht_storage *storage)
{
    const struct skep_dht_item *item = NULL;
    size_t bytes = 0, count = 0;

    while ((item = skep_dht_storage_next(storage, item))) {
        bytes += item->cost;
        count++;
    }
    if (bytes != storage->bytes)
        return "a storage has miscounted its bytes";
    if (count != skep_dht_storage_count(storage))
        return "a storage has miscounted its keys";
    return storage->bytes > storage->options.bytes_max ? "a storage is beyond its bound" : NULL;
}

const char *skep_dht_check(const struct skep_dht *dht)
{
    const char *wrong = check_table(&dht->table);

    if (!wrong)
        wrong = check_storage(&dht->storage);
    if (!wrong)
        wrong = check_storage(&dht->cache.storage);
    if (!wrong && dht->ping_count > SKEP_DHT_PINGS_MAX)
        wrong = "more pings are in flight than may be";
    if (!wrong && dht->push_count > SKEP_DHT_PUSHES_MAX)
        wrong = "more newcomers are being sent records than may be";
    return wrong;
}

bool skep_dht_is_idle(const struct skep_dht *dht)
{
    return skep_list_empty(&dht->lookups) && skep_list_empty(&dht->gets) &&
           skep_list_empty(&dht->stores) && skep_list_empty(&dht->joins) && dht->in_flight == 0;
}
