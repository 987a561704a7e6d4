/* SPDX-License-Identifier: MIT */
#include "dht/cache.h"

/* A record that nobody renews is asked for again at most so often, however often it is read. */
#define RETRY_S 1.0

static struct skep_dht_item *item_of(const struct skep_heap_node *node)
{
    return SKEP_CONTAINER_OF(node, struct skep_dht_item, by_refresh);
}

static bool due_before(const struct skep_heap_node *a, const struct skep_heap_node *b)
{
    const struct skep_dht_item *x = item_of(a), *y = item_of(b);

    if (x->refresh_unix_s != y->refresh_unix_s)
        return x->refresh_unix_s < y->refresh_unix_s;
    return memcmp(x->key.bytes, y->key.bytes, SKEP_DHT_ID_LEN) < 0;
}

static void on_remove(struct skep_dht_storage *storage, struct skep_dht_item *item)
{
    struct skep_dht_cache *cache = SKEP_CONTAINER_OF(storage, struct skep_dht_cache, storage);

    skep_heap_remove(&cache->by_refresh, &item->by_refresh);
}

void skep_dht_cache_init(struct skep_dht_cache *cache, const struct skep_mem *mem, size_t bytes_max,
                         size_t keys_max, double ttl_max_s, double refresh_before_s)
{
    struct skep_dht_storage_options options = {.mem = mem,
                                               .bytes_max = bytes_max,
                                               .keys_max = keys_max,
                                               .evict = true,
                                               .ttl_max_s = ttl_max_s};

    skep_dht_storage_init(&cache->storage, &options);
    cache->storage.on_remove = on_remove;
    skep_heap_init(&cache->by_refresh, mem, due_before);
    cache->refresh_before_s = refresh_before_s;
}

void skep_dht_cache_fini(struct skep_dht_cache *cache)
{
    skep_dht_storage_fini(&cache->storage);
    skep_heap_fini(&cache->by_refresh);
}

void skep_dht_cache_clear(struct skep_dht_cache *cache)
{
    struct skep_dht_storage *storage = &cache->storage;

    while (storage->items) {
        const struct skep_dht_id key = storage->items->key;

        skep_dht_storage_remove(storage, &key);
    }
}

/* The item of a key if refreshing is on; only this file changes the fields about refreshing. */
static struct skep_dht_item *refreshable(struct skep_dht_cache *cache,
                                         const struct skep_dht_id *key, double now_unix_s)
{
    const struct skep_dht_item *item =
        cache->refresh_before_s > 0 ? skep_dht_storage_get(&cache->storage, key, now_unix_s) : NULL;

    return (struct skep_dht_item *)(uintptr_t)item;
}

static int schedule(struct skep_dht_cache *cache, struct skep_dht_item *item, double refresh_unix_s)
{
    skep_heap_remove(&cache->by_refresh, &item->by_refresh);
    item->refresh_unix_s = refresh_unix_s;
    return skep_heap_push(&cache->by_refresh, &item->by_refresh) < 0 ? SKEP_ENOMEM : 1;
}

int skep_dht_cache_used(struct skep_dht_cache *cache, const struct skep_dht_id *key,
                        double now_unix_s)
{
    struct skep_dht_item *item = refreshable(cache, key, now_unix_s);
    double refresh_unix_s;

    if (!item)
        return 0;
    refresh_unix_s = item->expiration_unix_s - cache->refresh_before_s;
    /* Due at once stays due at once; else a record that was renewed since is due later than it was. */
    if (item->by_refresh.place != SKEP_HEAP_NONE &&
        (item->refresh_unix_s == refresh_unix_s || item->refresh_unix_s <= now_unix_s))
        return 1;
    /* Out of its place since it was due, and no later value has come. */
    if (item->by_refresh.place == SKEP_HEAP_NONE && refresh_unix_s <= now_unix_s &&
        item->refresh_unix_s > now_unix_s - RETRY_S)
        return 0;
    return schedule(cache, item, refresh_unix_s);
}

int skep_dht_cache_refresh_soon(struct skep_dht_cache *cache, const struct skep_dht_id *key,
                                double now_unix_s)
{
    struct skep_dht_item *item = refreshable(cache, key, now_unix_s);

    if (!item)
        return 0;
    if (item->by_refresh.place != SKEP_HEAP_NONE && item->refresh_unix_s <= now_unix_s)
        return 1;
    return schedule(cache, item, now_unix_s);
}

void skep_dht_cache_judge(struct skep_dht_cache *cache, const struct skep_dht_id *key,
                          skep_dht_judge *believes)
{
    struct skep_dht_item *item;

    HASH_FIND(hh, cache->storage.items, key, sizeof *key, item);
    if (item && believes)
        item->believes = believes;
}

double skep_dht_cache_next_refresh(const struct skep_dht_cache *cache)
{
    const struct skep_heap_node *node = skep_heap_peek(&cache->by_refresh);

    return node ? item_of(node)->refresh_unix_s : (double)INFINITY;
}

size_t skep_dht_cache_refresh_due(struct skep_dht_cache *cache, double now_unix_s,
                                  struct skep_dht_id *keys, size_t max, double *expiration)
{
    size_t count = 0;

    skep_dht_storage_expire(&cache->storage, now_unix_s);
    while (count < max && skep_dht_cache_next_refresh(cache) <= now_unix_s) {
        struct skep_dht_item *item = item_of(skep_heap_pop(&cache->by_refresh));

        item->refresh_unix_s = now_unix_s;
        *expiration =
            count == 0 ? item->expiration_unix_s : SKEP_MAX(*expiration, item->expiration_unix_s);
        keys[count++] = item->key;
    }
    return count;
}
