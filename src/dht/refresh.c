/* SPDX-License-Identifier: MIT */
/* What a node does unasked: fetches cached keys that are read anew before they expire, and keeps its table fresh. docs/wire.md c.4 (cache refresh);
 * hivemind dht/node.py, _refresh_stale_cache_entries(), _refresh_routing_table(), and hivemind-dht's heartbeat: a lookup of a random id each period, which
 * takes nodes that are gone out of the table. */
#include <math.h>

#include "dht/node_internal.h"
#include "dht/traverse.h"

/* Keys fetched anew in one go. */
#define REFRESH_KEYS 16
/* Buckets looked up in one period. */
#define STALE_BUCKETS_MAX 16

/* A fetch of cached keys. */
struct refresh {
    struct skep_dht_get get;
    struct skep_dht *dht;
    struct skep_list entry; /* dht->refreshes */
};

static void on_value(struct skep_dht_get *get, size_t index, const struct skep_dht_value *value,
                     bool answered)
{
    (void)get, (void)index, (void)value, (void)answered; /* cached as a side effect */
}

static void on_done(struct skep_dht_get *get, int rc)
{
    struct refresh *refresh = SKEP_CONTAINER_OF(get, struct refresh, get);

    (void)rc;
    skep_list_remove(&refresh->entry);
    skep_mem_free(refresh->dht->mem, refresh);
}

/* Something that lives longer than what we have. */
static void fetch(struct skep_dht *dht, const struct skep_dht_id *keys, size_t count,
                  double expiration_unix_s, skep_dht_judge *believes)
{
    struct skep_dht_get_options options = {
        .believes = believes,
        .sufficient_expiration_unix_s =
            expiration_unix_s + (double)dht->options.cache_refresh_before_expiry_us / 1e6 + 1};
    struct refresh *refresh = skep_mem_zalloc(dht->mem, 1, sizeof *refresh);

    if (!refresh)
        return;
    refresh->dht = dht;
    refresh->get.on_value = on_value;
    refresh->get.done = on_done;
    skep_list_push_back(&dht->refreshes, &refresh->entry);
    if (skep_dht_get_start_refresh(dht, &refresh->get, keys, count, &options) < 0)
        on_done(&refresh->get, SKEP_ENOMEM);
}

static skep_dht_judge *judge_of(struct skep_dht *dht, const struct skep_dht_id *key, double now)
{
    const struct skep_dht_item *item = skep_dht_storage_get(&dht->cache.storage, key, now);

    return item ? item->believes : NULL;
}

/* One get for all that are judged alike. */
static void fetch_all(struct skep_dht *dht, struct skep_dht_id *keys, size_t count,
                      double expiration_unix_s)
{
    double now = skep_env_unix_s(dht->env);

    while (count > 0) {
        skep_dht_judge *believes = judge_of(dht, &keys[0], now);
        struct skep_dht_id alike[REFRESH_KEYS];
        size_t alike_count = 0, kept = 0;

        for (size_t i = 0; i < count; i++) {
            if (judge_of(dht, &keys[i], now) == believes)
                alike[alike_count++] = keys[i];
            else
                keys[kept++] = keys[i];
        }
        fetch(dht, alike, alike_count, expiration_unix_s, believes);
        count = kept;
    }
}

static void on_cache_timer(struct skep_timer *timer)
{
    struct skep_dht *dht = SKEP_CONTAINER_OF(timer, struct skep_dht, cache_timer);
    struct skep_dht_id keys[REFRESH_KEYS];
    double expiration = 0;
    size_t count;

    count = skep_dht_cache_refresh_due(&dht->cache, skep_env_unix_s(dht->env), keys, REFRESH_KEYS,
                                       &expiration);
    fetch_all(dht, keys, count, expiration);
    skep_dht_refresh_schedule(dht);
}

void skep_dht_refresh_schedule(struct skep_dht *dht)
{
    double due = skep_dht_cache_next_refresh(&dht->cache), delay;
    uint64_t at;

    if (!(due < INFINITY)) {
        skep_env_stop(dht->env, &dht->cache_timer);
        return;
    }
    delay = due - skep_env_unix_s(dht->env);
    at = skep_env_now_us(dht->env) + (delay > 0 ? (uint64_t)(SKEP_MIN(delay, 1e9) * 1e6) + 1 : 0);
    if (skep_timer_running(&dht->cache_timer) && dht->cache_timer.deadline_us <= at)
        return; /* it looks again when it fires */
    (void)skep_timer_start(dht->env->timers, &dht->cache_timer, at);
}

/* ---- the table ---- */

static void look_up(struct skep_dht *dht, const struct skep_dht_id *id)
{
    struct skep_dht_lookup *l;

    if (skep_dht_lookup_new(&l, dht, 1, false) < 0)
        return;
    l->keys[0].id = *id;
    l->exhaustive = true; /* it is for those that we meet on the way */
    (void)skep_dht_lookup_start(l);
}

static bool random_id(struct skep_dht *dht, struct skep_dht_id *id)
{
    return dht->env->entropy(dht->env, id->bytes, SKEP_DHT_ID_LEN) == 0;
}

static void on_table_timer(struct skep_timer *timer)
{
    struct skep_dht *dht = SKEP_CONTAINER_OF(timer, struct skep_dht, table_timer);
    uint64_t now = skep_env_now_us(dht->env), period = dht->options.refresh_timeout_us;
    struct skep_dht_id random, id;
    size_t looked_up = 0;

    (void)skep_env_after(dht->env, timer, period);
    (void)skep_dht_storage_expire(&dht->storage, skep_env_unix_s(dht->env));
    (void)skep_dht_storage_expire(&dht->cache.storage, skep_env_unix_s(dht->env));
    for (size_t i = 0; i < dht->table.bucket_count && looked_up < STALE_BUCKETS_MAX; i++) {
        const struct skep_routing_bucket *bucket =
            &dht->table.buckets[(dht->stale_bucket + i) % dht->table.bucket_count];

        if (now - bucket->updated_us < period || !random_id(dht, &random))
            continue;
        id = skep_routing_bucket_id(bucket, &random);
        look_up(dht, &id);
        looked_up++;
    }
    dht->stale_bucket++;
    if (looked_up == 0 && random_id(dht, &random))
        look_up(dht, &random);
}

void skep_dht_refresh_init(struct skep_dht *dht)
{
    dht->cache_timer.fire = on_cache_timer;
    dht->table_timer.fire = on_table_timer;
    /* Without memory for the timer the table is refreshed by its use alone. */
    if (dht->options.refresh_timeout_us > 0)
        (void)skep_env_after(dht->env, &dht->table_timer, dht->options.refresh_timeout_us);
}

void skep_dht_refresh_fini(struct skep_dht *dht)
{
    skep_env_stop(dht->env, &dht->cache_timer);
    skep_env_stop(dht->env, &dht->table_timer);
}
