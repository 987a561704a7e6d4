/* SPDX-License-Identifier: MIT */
/* What a node keeps for others: records by key until they expire. docs/wire.md c.3; hivemind dht/storage.py, without its defects (f) 1 and 2.
 *
 * Every call first drops what has expired by `now`. All that peers can make grow is bounded: bytes in all, bytes a peer, entries and bytes of a
 * dictionary, how far ahead an expiration may lie. Each entry remembers whose it is, so that a peer's share is exact.
 * Left out: who may store what (validator.h), and where a record belongs (routing.h). */
#ifndef SKEP_DHT_STORAGE_H
#define SKEP_DHT_STORAGE_H

#include "base/heap.h"
#include "base/map.h"
#include "dht/dht_id.h"
#include "dht/value.h"
#include "peer/peer_id.h"

struct skep_dht_storage_options {
    const struct skep_mem *mem;
    size_t bytes_max; /* SKEP_DHT_STORAGE_BYTES */
    size_t
        keys_max; /* 0: no limit. Above it the key that expires first goes, even if it is the newcomer */
    bool
        evict; /* at bytes_max: a cache drops what expires first, a storage (false) refuses the newcomer */
    double ttl_max_s; /* expirations later than now + this are refused */
};

/** One key's record. Read only. */
struct skep_dht_item {
    struct skep_dht_id key;
    uint32_t owner; /* tag of the peer that pays for the item itself; 0: ourselves */
    bool shared; /* the value came whole, from ourselves: its entries' owners mean nothing here */
    struct skep_dht_value *value;
    double expiration_unix_s; /* the value's */
    uint64_t
        version; /* another number after each change of this key's content; never 0, never used again in this storage */
    struct skep_heap_node by_expiration,
        by_earliest;                  /* when it goes, and when its first entry goes */
    struct skep_heap_node by_refresh; /* of cache.c */
    double earliest_unix_s;           /* of its entries; INFINITY for a plain value */
    double refresh_unix_s;            /* of cache.c */
    skep_dht_judge *believes;         /* of cache.c: by what to judge what is fetched anew */
    size_t cost;                      /* bytes it is charged for, entries included */
    UT_hash_handle hh;
};

/** Why stores were refused, since the start. */
struct skep_dht_refusals {
    uint64_t older;      /* a record with the same or a later expiration is there */
    uint64_t expired;    /* on arrival */
    uint64_t expiration; /* NaN, infinite, or beyond ttl_max_s */
    uint64_t full;       /* bytes_max */
    uint64_t share;      /* more than half full, and the peer would hold more than a quarter */
    uint64_t dictionary; /* too many entries or bytes in one dictionary */
    uint64_t subkey;     /* no key */
};

struct skep_dht_owner; /* storage.c */
union skep_dht_owner_slot;

struct skep_dht_storage {
    struct skep_dht_storage_options options;
    struct skep_dht_item *items; /* map by key, in insertion order */
    struct skep_heap by_expiration, by_earliest;
    size_t bytes;
    uint64_t last_version;
    struct skep_dht_refusals refused;
    uint64_t evicted;
    struct skep_dht_owner *owners;          /* map by peer id */
    union skep_dht_owner_slot *owner_slots; /* [owner_cap] by tag */
    uint32_t owner_cap,
        owner_used;      /* tags below owner_used are taken, or chained from owner_free */
    uint32_t owner_free; /* 0: none */
    /** Called before an item goes, may be NULL: of cache.c. */
    void (*on_remove)(struct skep_dht_storage *storage, struct skep_dht_item *item);
};

void skep_dht_storage_init(struct skep_dht_storage *storage,
                           const struct skep_dht_storage_options *options);
void skep_dht_storage_fini(struct skep_dht_storage *storage);

/** Store a plain value, or with a subkey one entry of a dictionary. Bytes are copied.
 *  @param subkey  msgpack of the subkey; len 0: a plain value.
 *  @param from    the peer that stores it; NULL: ourselves, who are bound by bytes_max only.
 *  @return 1 in, 0 refused (and counted); SKEP_EPEER_PROTO, SKEP_EPEER_FRAME (the subkey is no key or malformed: the request deserves an error answer), SKEP_ENOMEM. */
int skep_dht_storage_store(struct skep_dht_storage *storage, const struct skep_dht_id *key,
                           skep_bytes subkey, skep_bytes value, double expiration_unix_s,
                           const struct skep_peer_id *from, double now_unix_s);

/** Store every entry of a dictionary, trying all. @return 1 if all went in (also of none), 0 if one was refused; SKEP_ENOMEM. */
int skep_dht_storage_store_dictionary(struct skep_dht_storage *storage,
                                      const struct skep_dht_id *key,
                                      const struct skep_dht_value *dictionary,
                                      const struct skep_peer_id *from, double now_unix_s);

/** Store a value of ours without copying it, for what a search found: two dictionaries are merged entry by entry; else the value goes in if what is
 *  there expires earlier, whichever kind either is. @return as skep_dht_storage_store(). */
int skep_dht_storage_store_value(struct skep_dht_storage *storage, const struct skep_dht_id *key,
                                 const struct skep_dht_value *value, double now_unix_s);

/** The record of a key without what has expired; NULL if there is none. Good until the next call on this storage; its value longer with a reference. */
const struct skep_dht_item *skep_dht_storage_get(struct skep_dht_storage *storage,
                                                 const struct skep_dht_id *key, double now_unix_s);

/** The bytes of an rpc_find answer for an item of skep_dht_storage_get(): a plain value, or the packed dictionary. @return 0, SKEP_ENOMEM. */
int skep_dht_storage_packed(struct skep_dht_storage *storage, const struct skep_dht_item *item,
                            skep_bytes *out);

/** Drop what has expired. The other calls do it too; call it now and then so that memory comes back. @return how many keys went. */
size_t skep_dht_storage_expire(struct skep_dht_storage *storage, double now_unix_s);

/** Drop a key; harmless if it is not there. */
void skep_dht_storage_remove(struct skep_dht_storage *storage, const struct skep_dht_id *key);

/** Walk all items in the order in which their keys came: start with NULL. Nothing may be changed meanwhile. @return NULL at the end. */
const struct skep_dht_item *skep_dht_storage_next(const struct skep_dht_storage *storage,
                                                  const struct skep_dht_item *item);

static inline size_t skep_dht_storage_count(const struct skep_dht_storage *storage)
{
    return HASH_COUNT(storage->items);
}

/** Bytes that a peer's records are charged here. */
size_t skep_dht_storage_share(const struct skep_dht_storage *storage,
                              const struct skep_peer_id *peer);

#endif
