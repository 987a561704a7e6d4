/* SPDX-License-Identifier: MIT */
/* What a node keeps for itself and its neighbours as long as there is room: a storage that evicts, and which of its keys to fetch again and when.
 * docs/wire.md c.4 (cache refresh); hivemind dht/node.py (_trigger_cache_refresh, _refresh_stale_cache_entries).
 *
 * At its bounds it drops the key that expires first, as hivemind does. Left out: the fetching (node.c asks skep_dht_cache_refresh_due()). */
#ifndef SKEP_DHT_CACHE_H
#define SKEP_DHT_CACHE_H

#include "dht/storage.h"

struct skep_dht_cache {
    struct skep_dht_storage storage; /* store into it and get from it as from any */
    struct skep_heap by_refresh;
    double refresh_before_s;
};

/** @param keys_max          0: no limit but the bytes.
 *  @param refresh_before_s  how long before its expiration a key that was read is due again; 0: never. */
void skep_dht_cache_init(struct skep_dht_cache *cache, const struct skep_mem *mem, size_t bytes_max,
                         size_t keys_max, double ttl_max_s, double refresh_before_s);
void skep_dht_cache_fini(struct skep_dht_cache *cache);

/** Forget every key. Versions go on, so that nobody takes what comes next for what was here. */
void skep_dht_cache_clear(struct skep_dht_cache *cache);

/** A key was read (found here or not): when the cache holds it, it is due refresh_before_s before it expires, or sooner where skep_dht_cache_refresh_soon() was
 *  called, and at most once a second. @return 1 scheduled, 0 not cached, off or tried just now; SKEP_ENOMEM. */
int skep_dht_cache_used(struct skep_dht_cache *cache, const struct skep_dht_id *key,
                        double now_unix_s);

/** Others have something newer: when the cache holds the key it is due at once. */
int skep_dht_cache_refresh_soon(struct skep_dht_cache *cache, const struct skep_dht_id *key,
                                double now_unix_s);

/** When the cache holds the key: what is fetched anew for it is judged by `believes`, until it goes. NULL changes nothing. */
void skep_dht_cache_judge(struct skep_dht_cache *cache, const struct skep_dht_id *key,
                          skep_dht_judge *believes);

/** When the next key is due; INFINITY when none is. */
double skep_dht_cache_next_refresh(const struct skep_dht_cache *cache);

/** Take up to `max` keys that are due by now off the schedule.
 *  @param keys        [max]. @param expiration  receives the latest expiration among them: what is fetched should live longer; untouched when none is due.
 *  @return how many. */
size_t skep_dht_cache_refresh_due(struct skep_dht_cache *cache, double now_unix_s,
                                  struct skep_dht_id *keys, size_t max, double *expiration);

#endif
