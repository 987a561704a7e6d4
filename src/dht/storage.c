/* SPDX-License-Identifier: MIT */
#include "dht/storage.h"

#include "dht/subkey.h"

/* A peer whose records are here. Tags, not pointers, are what entries carry. */
struct skep_dht_owner {
    struct skep_peer_id peer;
    size_t bytes;
    uint32_t tag;
    UT_hash_handle hh;
};

union skep_dht_owner_slot {
    struct skep_dht_owner *owner;
    uint32_t next_free;
};

/* Of an item besides its value: itself, its places in the heaps and in the map's table. */
enum { ITEM_COST = sizeof(struct skep_dht_item) + 4 * sizeof(void *) };

/* ---- order ---- */

static bool sooner(double a_unix_s, double b_unix_s, const struct skep_dht_item *a,
                   const struct skep_dht_item *b)
{
    return a_unix_s != b_unix_s ? a_unix_s < b_unix_s
                                : memcmp(a->key.bytes, b->key.bytes, SKEP_DHT_ID_LEN) < 0;
}

static bool expires_before(const struct skep_heap_node *a, const struct skep_heap_node *b)
{
    const struct skep_dht_item *x = SKEP_CONTAINER_OF(a, struct skep_dht_item, by_expiration);
    const struct skep_dht_item *y = SKEP_CONTAINER_OF(b, struct skep_dht_item, by_expiration);

    return sooner(x->expiration_unix_s, y->expiration_unix_s, x, y);
}

static bool loses_before(const struct skep_heap_node *a, const struct skep_heap_node *b)
{
    const struct skep_dht_item *x = SKEP_CONTAINER_OF(a, struct skep_dht_item, by_earliest);
    const struct skep_dht_item *y = SKEP_CONTAINER_OF(b, struct skep_dht_item, by_earliest);

    return sooner(x->earliest_unix_s, y->earliest_unix_s, x, y);
}

static struct skep_dht_item *first_to_expire(const struct skep_dht_storage *storage)
{
    struct skep_heap_node *node = skep_heap_peek(&storage->by_expiration);

    return node ? SKEP_CONTAINER_OF(node, struct skep_dht_item, by_expiration) : NULL;
}

/* The value has changed: take its times over and say so. Neither push can fail, for the item has just left its place. */
static void on_changed(struct skep_dht_storage *storage, struct skep_dht_item *item)
{
    double earliest = skep_dht_value_earliest(item->value);

    item->version = ++storage->last_version;
    if (item->expiration_unix_s != item->value->expiration_unix_s) {
        skep_heap_remove(&storage->by_expiration, &item->by_expiration);
        item->expiration_unix_s = item->value->expiration_unix_s;
        (void)skep_heap_push(&storage->by_expiration, &item->by_expiration);
    }
    if (item->earliest_unix_s != earliest) {
        skep_heap_remove(&storage->by_earliest, &item->by_earliest);
        item->earliest_unix_s = earliest;
        (void)skep_heap_push(&storage->by_earliest, &item->by_earliest);
    }
}

/* ---- whose bytes they are ---- */

static struct skep_dht_owner *find_owner(const struct skep_dht_storage *storage,
                                         const struct skep_peer_id *peer)
{
    struct skep_dht_owner *owner;

    HASH_FIND(hh, storage->owners, peer, sizeof *peer, owner);
    return owner;
}

static int take_tag(struct skep_dht_storage *storage, uint32_t *tag)
{
    union skep_dht_owner_slot *grown;
    uint32_t cap = SKEP_MAX(2 * storage->owner_cap, 8u);

    if (storage->owner_free != 0) {
        *tag = storage->owner_free;
        storage->owner_free = storage->owner_slots[*tag].next_free;
        return 0;
    }
    if (storage->owner_used >= storage->owner_cap) {
        grown = skep_mem_resize(storage->options.mem, storage->owner_slots, cap * sizeof *grown);
        if (!grown)
            return SKEP_ENOMEM;
        storage->owner_slots = grown;
        storage->owner_cap = cap;
    }
    *tag = storage->owner_used++;
    return 0;
}

static void give_tag_back(struct skep_dht_storage *storage, uint32_t tag)
{
    storage->owner_slots[tag].next_free = storage->owner_free;
    storage->owner_free = tag;
}

/* The tag of a peer, who may be new and then owns nothing yet: drop_if_idle() is due. */
static int tag_of(struct skep_dht_storage *storage, const struct skep_peer_id *peer, uint32_t *tag)
{
    struct skep_dht_owner *owner;

    *tag = 0;
    if (!peer)
        return 0;
    owner = find_owner(storage, peer);
    if (owner) {
        *tag = owner->tag;
        return 0;
    }
    owner = skep_mem_zalloc(storage->options.mem, 1, sizeof *owner);
    if (!owner || take_tag(storage, tag) < 0) {
        skep_mem_free(storage->options.mem, owner);
        return SKEP_ENOMEM;
    }
    owner->peer = *peer;
    owner->tag = *tag;
    HASH_ADD_KEYPTR(hh, storage->owners, &owner->peer, sizeof owner->peer, owner);
    if (!owner->hh.tbl) {
        give_tag_back(storage, *tag);
        skep_mem_free(storage->options.mem, owner);
        return SKEP_ENOMEM;
    }
    storage->owner_slots[*tag].owner = owner;
    return 0;
}

static void drop_if_idle(struct skep_dht_storage *storage, uint32_t tag)
{
    struct skep_dht_owner *owner;

    if (tag == 0 || storage->owner_slots[tag].owner->bytes > 0)
        return;
    owner = storage->owner_slots[tag].owner;
    HASH_DEL(storage->owners, owner);
    skep_mem_free(storage->options.mem, owner);
    give_tag_back(storage, tag);
}

static void charge(struct skep_dht_storage *storage, struct skep_dht_item *item, uint32_t tag,
                   size_t bytes)
{
    item->cost += bytes;
    storage->bytes += bytes;
    if (tag != 0)
        storage->owner_slots[tag].owner->bytes += bytes;
}

static void release(struct skep_dht_storage *storage, struct skep_dht_item *item, uint32_t tag,
                    size_t bytes)
{
    assert(item->cost >= bytes && storage->bytes >= bytes);
    item->cost -= bytes;
    storage->bytes -= bytes;
    if (tag == 0)
        return;
    storage->owner_slots[tag].owner->bytes -= bytes;
    drop_if_idle(storage, tag);
}

/* All of an item's bytes: of its entries to whoever stored them, the rest to whoever stored the item. */
static void release_all(struct skep_dht_storage *storage, struct skep_dht_item *item)
{
    struct skep_dht_entry entry;
    size_t cursor = 0;

    while (!item->shared && skep_dht_value_next(item->value, &cursor, &entry))
        release(storage, item, entry.owner, skep_dht_entry_cost(entry.subkey.len, entry.value.len));
    release(storage, item, item->owner, item->cost);
}

/* May the owner of `tag` add so many bytes, where `freed` go, `freed_own` of them its own? Eviction comes after. */
static bool has_room(struct skep_dht_storage *storage, uint32_t tag, size_t add, size_t freed,
                     size_t freed_own)
{
    size_t max = storage->options.bytes_max;
    size_t after = storage->bytes - freed + add;
    bool is_full = storage->options.evict ? add > max : after > max;

    if (is_full && add > freed) {
        storage->refused.full++;
        return false;
    }
    if (tag != 0 && after > max / 2 && add > freed_own &&
        storage->owner_slots[tag].owner->bytes - freed_own + add > max / 4) {
        storage->refused.share++;
        return false;
    }
    return true;
}

/* ---- items ---- */

static struct skep_dht_item *find_item(const struct skep_dht_storage *storage,
                                       const struct skep_dht_id *key)
{
    struct skep_dht_item *item;

    HASH_FIND(hh, storage->items, key, sizeof *key, item);
    return item;
}

static void remove_item(struct skep_dht_storage *storage, struct skep_dht_item *item)
{
    if (storage->on_remove)
        storage->on_remove(storage, item);
    release_all(storage, item);
    skep_heap_remove(&storage->by_expiration, &item->by_expiration);
    skep_heap_remove(&storage->by_earliest, &item->by_earliest);
    HASH_DEL(storage->items, item);
    skep_dht_value_unref(item->value);
    skep_mem_free(storage->options.mem, item);
}

/* A new item around a value, whose reference it takes over when it succeeds. Nothing is charged yet. */
static int add_item(struct skep_dht_storage *storage, const struct skep_dht_id *key,
                    struct skep_dht_value *value, struct skep_dht_item **out)
{
    struct skep_dht_item *item = skep_mem_zalloc(storage->options.mem, 1, sizeof *item);

    if (!item)
        return SKEP_ENOMEM;
    item->key = *key;
    item->value = value;
    item->expiration_unix_s = value->expiration_unix_s;
    item->earliest_unix_s = skep_dht_value_earliest(value);
    item->version = ++storage->last_version;
    HASH_ADD_KEYPTR(hh, storage->items, &item->key, sizeof item->key, item);
    if (!item->hh.tbl)
        goto free_item;
    if (skep_heap_push(&storage->by_expiration, &item->by_expiration) < 0)
        goto leave_map;
    if (skep_heap_push(&storage->by_earliest, &item->by_earliest) < 0)
        goto leave_heap;
    *out = item;
    return 0;
leave_heap:
    skep_heap_remove(&storage->by_expiration, &item->by_expiration);
leave_map:
    HASH_DEL(storage->items, item);
free_item:
    skep_mem_free(storage->options.mem, item);
    return SKEP_ENOMEM;
}

/* Make `value` the record of a key; its reference goes over when this succeeds. All of it is charged to `tag`, whose entries those of the dictionary are unless shared. */
static int set_value(struct skep_dht_storage *storage, const struct skep_dht_id *key,
                     struct skep_dht_item *item, struct skep_dht_value *value, uint32_t tag,
                     bool shared)
{
    int rc;

    if (item) {
        release_all(storage, item);
        skep_dht_value_unref(item->value);
        item->value = value;
        on_changed(storage, item);
    } else if ((rc = add_item(storage, key, value, &item)) < 0) {
        return rc;
    }
    item->owner = tag;
    item->shared = shared;
    charge(storage, item, tag,
           ITEM_COST + skep_dht_value_cost(value) + skep_dht_value_entries_cost(value));
    return 0;
}

/* Make an item's value fit for a change: ours alone, and its entries' owners those of this storage. */
static int own_value(struct skep_dht_item *item)
{
    int rc = skep_dht_value_unique(&item->value, item->shared);

    if (rc == 0)
        item->shared = false;
    return rc;
}

/* Take out the entries that have expired. Without memory for a copy of a shared dictionary they stay until the next time. */
static bool prune(struct skep_dht_storage *storage, struct skep_dht_item *item, double now_unix_s)
{
    struct skep_dht_entry gone;

    if (own_value(item) < 0)
        return false;
    while (skep_dht_value_expire(item->value, now_unix_s, &gone))
        release(storage, item, gone.owner, skep_dht_entry_cost(gone.subkey.len, gone.value.len));
    on_changed(storage, item);
    return true;
}

size_t skep_dht_storage_expire(struct skep_dht_storage *storage, double now_unix_s)
{
    struct skep_dht_item *item;
    struct skep_heap_node *node;
    size_t removed = 0;

    while ((item = first_to_expire(storage)) && item->expiration_unix_s < now_unix_s) {
        remove_item(storage, item);
        removed++;
    }
    while ((node = skep_heap_peek(&storage->by_earliest))) {
        item = SKEP_CONTAINER_OF(node, struct skep_dht_item, by_earliest);
        if (!(item->earliest_unix_s < now_unix_s) || !prune(storage, item, now_unix_s))
            break;
    }
    return removed;
}

/* hivemind evicts what expires first, were it the newcomer. */
static void evict(struct skep_dht_storage *storage)
{
    const struct skep_dht_storage_options *o = &storage->options;

    while (storage->items && ((o->evict && storage->bytes > o->bytes_max) ||
                              (o->keys_max > 0 && skep_dht_storage_count(storage) > o->keys_max))) {
        remove_item(storage, first_to_expire(storage));
        storage->evicted++;
    }
}

/* ---- stores ---- */

static bool refuse_older(struct skep_dht_storage *storage)
{
    storage->refused.older++;
    return false;
}

static bool is_acceptable(struct skep_dht_storage *storage, double expiration_unix_s,
                          double now_unix_s)
{
    if (!isfinite(expiration_unix_s) ||
        expiration_unix_s > now_unix_s + storage->options.ttl_max_s) {
        storage->refused.expiration++;
        return false;
    }
    if (expiration_unix_s < now_unix_s) {
        storage->refused.expired++;
        return false;
    }
    return true;
}

static int store_plain(struct skep_dht_storage *storage, const struct skep_dht_id *key,
                       skep_bytes bytes, double expiration_unix_s, uint32_t tag)
{
    struct skep_dht_item *item = find_item(storage, key);
    struct skep_dht_value *value;
    size_t add = ITEM_COST + sizeof *value + bytes.len, freed = item ? item->cost : 0;
    int rc;

    if (item && item->expiration_unix_s >= expiration_unix_s)
        return refuse_older(storage);
    if (!has_room(storage, tag, add, freed,
                  item && !item->value->is_dictionary && item->owner == tag ? freed : 0))
        return 0;
    if ((rc = skep_dht_value_new_plain(&value, storage->options.mem, bytes, expiration_unix_s)) < 0)
        return rc;
    if (tag != 0) /* so that letting go of what was there does not forget the peer */
        storage->owner_slots[tag].owner->bytes++;
    rc = set_value(storage, key, item, value, tag, false);
    if (tag != 0)
        storage->owner_slots[tag].owner->bytes--;
    if (rc < 0) {
        skep_dht_value_unref(value);
        return rc;
    }
    return 1;
}

/* The first entry of a key makes a dictionary, in place of an older plain value if there is one. */
static int store_first_entry(struct skep_dht_storage *storage, const struct skep_dht_id *key,
                             struct skep_dht_item *item, const struct skep_dht_subkey *subkey,
                             const struct skep_dht_entry *entry)
{
    size_t freed = item ? item->cost : 0, add;
    struct skep_dht_value *value;
    struct skep_dht_entry replaced;
    uint32_t tag = entry->owner;
    int rc;

    if ((rc = skep_dht_value_new_dictionary(&value, storage->options.mem)) < 0)
        return rc;
    add = ITEM_COST + skep_dht_value_cost(value) +
          skep_dht_entry_cost(subkey->normal.len, entry->value.len);
    if (!has_room(storage, tag, add, freed, item && item->owner == tag ? freed : 0)) {
        rc = 0;
        goto drop;
    }
    if ((rc = skep_dht_value_put_subkey(value, subkey, entry, &replaced)) < 0)
        goto drop;
    if (tag != 0)
        storage->owner_slots[tag].owner->bytes++;
    rc = set_value(storage, key, item, value, tag, false);
    if (tag != 0)
        storage->owner_slots[tag].owner->bytes--;
    if (rc == 0)
        return 1;
drop:
    skep_dht_value_unref(value);
    return rc;
}

static int store_next_entry(struct skep_dht_storage *storage, struct skep_dht_item *item,
                            const struct skep_dht_subkey *subkey,
                            const struct skep_dht_entry *entry)
{
    size_t add = skep_dht_entry_cost(subkey->normal.len, entry->value.len), freed = 0;
    struct skep_dht_entry old;
    int rc;

    if ((rc = skep_dht_value_find_subkey(item->value, subkey, &old)) < 0)
        return rc;
    if (rc == 1 && old.expiration_unix_s >= entry->expiration_unix_s)
        return refuse_older(storage);
    if (rc == 1)
        freed = skep_dht_entry_cost(old.subkey.len, old.value.len);
    if (!has_room(storage, entry->owner, add, freed,
                  rc == 1 && !item->shared && old.owner == entry->owner ? freed : 0))
        return 0;
    if ((rc = own_value(item)) < 0)
        return rc;
    if ((rc = skep_dht_value_put_subkey(item->value, subkey, entry, &old)) != 1)
        return rc;
    if (freed > 0) /* the subkey stays as it was first written */
        add = skep_dht_entry_cost(old.subkey.len, entry->value.len);
    charge(storage, item, entry->owner, add);
    if (freed > 0)
        release(storage, item, old.owner, freed);
    on_changed(storage, item);
    return 1;
}

static int store_entry(struct skep_dht_storage *storage, const struct skep_dht_id *key,
                       skep_bytes packed_subkey, const struct skep_dht_entry *entry)
{
    struct skep_dht_item *item = find_item(storage, key);
    struct skep_dht_subkey subkey;
    int rc;

    if (packed_subkey.len > SKEP_DHT_DICTIONARY_BYTES_MAX ||
        entry->value.len > SKEP_DHT_DICTIONARY_BYTES_MAX) {
        storage->refused.dictionary++;
        return 0;
    }
    rc = skep_dht_subkey_init(&subkey, storage->options.mem, packed_subkey);
    if (rc < 0) {
        storage->refused.subkey += rc != SKEP_ENOMEM;
        return rc;
    }
    if (item && item->value->is_dictionary)
        rc = store_next_entry(storage, item, &subkey, entry);
    else if (item && item->expiration_unix_s >= entry->expiration_unix_s)
        rc = refuse_older(storage);
    else
        rc = store_first_entry(storage, key, item, &subkey, entry);
    skep_dht_subkey_fini(&subkey);
    if (rc == SKEP_EPEER_LIMIT) {
        storage->refused.dictionary++;
        rc = 0;
    }
    return rc;
}

int skep_dht_storage_store(struct skep_dht_storage *storage, const struct skep_dht_id *key,
                           skep_bytes subkey, skep_bytes value, double expiration_unix_s,
                           const struct skep_peer_id *from, double now_unix_s)
{
    struct skep_dht_entry entry = {.value = value, .expiration_unix_s = expiration_unix_s};
    uint32_t tag;
    int rc;

    skep_dht_storage_expire(storage, now_unix_s);
    if (!is_acceptable(storage, expiration_unix_s, now_unix_s))
        return 0;
    if ((rc = tag_of(storage, from, &tag)) < 0)
        return rc;
    entry.owner = tag;
    if (subkey.len == 0)
        rc = store_plain(storage, key, value, expiration_unix_s, tag);
    else
        rc = store_entry(storage, key, subkey, &entry);
    drop_if_idle(storage, tag);
    evict(storage);
    return rc;
}

int skep_dht_storage_store_dictionary(struct skep_dht_storage *storage,
                                      const struct skep_dht_id *key,
                                      const struct skep_dht_value *dictionary,
                                      const struct skep_peer_id *from, double now_unix_s)
{
    struct skep_dht_entry entry;
    size_t cursor = 0;
    int all = 1;

    while (skep_dht_value_next(dictionary, &cursor, &entry)) {
        int rc = skep_dht_storage_store(storage, key, entry.subkey, entry.value,
                                        entry.expiration_unix_s, from, now_unix_s);

        if (rc < 0)
            return rc;
        all = all && rc == 1;
    }
    return all;
}

int skep_dht_storage_store_value(struct skep_dht_storage *storage, const struct skep_dht_id *key,
                                 const struct skep_dht_value *value, double now_unix_s)
{
    struct skep_dht_item *item;
    struct skep_dht_value *merged;
    size_t add;
    int rc = 0;

    skep_dht_storage_expire(storage, now_unix_s);
    if (!is_acceptable(storage, value->expiration_unix_s, now_unix_s))
        return 0;
    item = find_item(storage, key);
    if (item && item->value == value)
        return 0;
    if (item && !(item->value->is_dictionary && value->is_dictionary) &&
        item->expiration_unix_s >= value->expiration_unix_s)
        return refuse_older(storage);
    /* The newer one usually has all that the older one has: then it is shared, not copied. */
    merged = skep_dht_value_ref(value);
    if (item && item->value->is_dictionary && value->is_dictionary)
        rc = skep_dht_value_merge(&merged, item->value);
    add = ITEM_COST + skep_dht_value_cost(merged) + skep_dht_value_entries_cost(merged);
    if (rc >= 0 || rc == SKEP_EPEER_LIMIT)
        rc = has_room(storage, 0, add, item ? item->cost : 0, 0)
                 ? set_value(storage, key, item, merged, 0, true) == 0 ? 1 : SKEP_ENOMEM
                 : 0;
    if (rc != 1)
        skep_dht_value_unref(merged);
    skep_dht_storage_expire(storage, now_unix_s);
    evict(storage);
    return rc;
}

/* ---- the rest ---- */

void skep_dht_storage_init(struct skep_dht_storage *storage,
                           const struct skep_dht_storage_options *options)
{
    *storage = (struct skep_dht_storage){.options = *options, .owner_used = 1};
    skep_heap_init(&storage->by_expiration, options->mem, expires_before);
    skep_heap_init(&storage->by_earliest, options->mem, loses_before);
}

void skep_dht_storage_fini(struct skep_dht_storage *storage)
{
    while (storage->items)
        remove_item(storage, storage->items);
    assert(storage->bytes == 0 && !storage->owners);
    skep_heap_fini(&storage->by_expiration);
    skep_heap_fini(&storage->by_earliest);
    skep_mem_free(storage->options.mem, storage->owner_slots);
    storage->owner_slots = NULL;
    storage->owner_cap = 0;
}

const struct skep_dht_item *skep_dht_storage_get(struct skep_dht_storage *storage,
                                                 const struct skep_dht_id *key, double now_unix_s)
{
    skep_dht_storage_expire(storage, now_unix_s);
    return find_item(storage, key);
}

int skep_dht_storage_packed(struct skep_dht_storage *storage, const struct skep_dht_item *item,
                            skep_bytes *out)
{
    if (!item->value->is_dictionary) {
        *out = item->value->plain;
        return 0;
    }
    /* The same content in another copy, so no change that anyone can see. */
    return skep_dht_value_packed(&find_item(storage, &item->key)->value, out);
}

void skep_dht_storage_remove(struct skep_dht_storage *storage, const struct skep_dht_id *key)
{
    struct skep_dht_item *item = find_item(storage, key);

    if (item)
        remove_item(storage, item);
}

const struct skep_dht_item *skep_dht_storage_next(const struct skep_dht_storage *storage,
                                                  const struct skep_dht_item *item)
{
    return item ? item->hh.next : storage->items;
}

size_t skep_dht_storage_share(const struct skep_dht_storage *storage,
                              const struct skep_peer_id *peer)
{
    const struct skep_dht_owner *owner = find_owner(storage, peer);

    return owner ? owner->bytes : 0;
}
