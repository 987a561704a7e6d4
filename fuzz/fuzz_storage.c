/* SPDX-License-Identifier: MIT */
/* Property: a storage under any sequence of stores, reads, expirations and shared values answers as a naive model of docs/wire.md c.3 does, and its books
 * balance. Four bytes an operation: what and key, subkey and owner, expiration, length of the value. */
#include <stdlib.h>

#include "dht/storage.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

enum { KEYS = 4, SUBKEYS = 8, PEERS = 3, PLAIN = SUBKEYS };

/* Slot PLAIN is the plain value. `place`: when the entry came, 0 for none. */
struct model_key {
    struct {
        unsigned place;
        double expiration;
        uint8_t len, fill;
    } slots[SUBKEYS + 1];
    bool is_dictionary;
};

struct run {
    struct skep_dht_storage storage;
    struct model_key keys[KEYS];
    struct skep_dht_value *held[KEYS];
    size_t held_count[KEYS];
    double now;
    unsigned clock;
};

static bool exists(const struct model_key *k)
{
    for (size_t i = 0; i <= SUBKEYS; i++)
        if (k->slots[i].place > 0)
            return true;
    return false;
}

static double expiration_of(const struct model_key *k)
{
    double latest = (double)-INFINITY;

    for (size_t i = 0; i <= SUBKEYS; i++)
        if (k->slots[i].place > 0)
            latest = SKEP_MAX(latest, k->slots[i].expiration);
    return latest;
}

static void model_expire(struct run *r)
{
    for (size_t k = 0; k < KEYS; k++)
        for (size_t i = 0; i <= SUBKEYS; i++)
            if (r->keys[k].slots[i].place > 0 && r->keys[k].slots[i].expiration < r->now)
                r->keys[k].slots[i].place = 0;
}

static int model_store(struct run *r, size_t key, size_t slot, double expiration, uint8_t len,
                       uint8_t fill)
{
    struct model_key *k = &r->keys[key];
    bool keep = slot != PLAIN && exists(k) && k->is_dictionary;
    unsigned place = ++r->clock;

    if (expiration < r->now)
        return 0;
    if (!keep) {
        if (exists(k) && expiration_of(k) >= expiration)
            return 0;
        memset(k, 0, sizeof *k);
        k->is_dictionary = slot != PLAIN;
    } else if (k->slots[slot].place > 0) {
        if (k->slots[slot].expiration >= expiration)
            return 0;
        place = k->slots[slot].place;
    }
    k->slots[slot].place = place;
    k->slots[slot].expiration = expiration;
    k->slots[slot].len = len;
    k->slots[slot].fill = fill;
    return 1;
}

static struct skep_dht_id id_of(size_t key)
{
    return (struct skep_dht_id){{(uint8_t)key, 7}};
}

static void check_entry(const struct model_key *k, const struct skep_dht_entry *entry,
                        unsigned *last_place)
{
    size_t slot = entry->subkey.data[0];

    CHECK(entry->subkey.len == 1 && slot < SUBKEYS && k->slots[slot].place > *last_place);
    CHECK(entry->expiration_unix_s == k->slots[slot].expiration &&
          entry->value.len == k->slots[slot].len);
    CHECK(entry->value.len == 0 || entry->value.data[entry->value.len - 1] == k->slots[slot].fill);
    *last_place = k->slots[slot].place;
}

static void check_key(struct run *r, size_t key)
{
    struct skep_dht_id id = id_of(key);
    const struct skep_dht_item *item = skep_dht_storage_get(&r->storage, &id, r->now);
    const struct model_key *k = &r->keys[key];
    struct skep_dht_entry entry;
    size_t cursor = 0, count = 0, expected = 0;
    unsigned last_place = 0;

    CHECK((item != NULL) == exists(k));
    if (!item)
        return;
    CHECK(item->value->is_dictionary == k->is_dictionary &&
          item->expiration_unix_s == expiration_of(k));
    if (!k->is_dictionary) {
        CHECK(item->value->plain.len == k->slots[PLAIN].len);
        return;
    }
    for (; skep_dht_value_next(item->value, &cursor, &entry); count++)
        check_entry(k, &entry, &last_place);
    for (size_t i = 0; i < SUBKEYS; i++)
        expected += k->slots[i].place > 0;
    CHECK(count == expected && count == item->value->count);
}

static void check_books(const struct run *r)
{
    size_t bytes = 0, shares = 0;

    for (const struct skep_dht_item *item = skep_dht_storage_next(&r->storage, NULL); item;
         item = skep_dht_storage_next(&r->storage, item)) {
        bytes += item->cost;
        CHECK(item->cost >=
              skep_dht_value_cost(item->value) + skep_dht_value_entries_cost(item->value));
    }
    for (uint8_t p = 0; p < PEERS; p++) {
        struct skep_peer_id peer = {.len = 34, .bytes = {0x12, 0x20, p}};

        shares += skep_dht_storage_share(&r->storage, &peer);
    }
    CHECK(bytes == r->storage.bytes && shares <= bytes);
    for (size_t k = 0; k < KEYS; k++)
        CHECK(!r->held[k] || r->held[k]->count == r->held_count[k]);
}

static void do_store(struct run *r, const uint8_t *op, size_t key)
{
    struct skep_peer_id peer = {.len = 34, .bytes = {0x12, 0x20, (uint8_t)(op[1] >> 5 & 3)}};
    size_t slot = (op[1] & 31) % (SUBKEYS + 1);
    uint8_t subkey = (uint8_t)slot, len = op[3] & 15, bytes[16];
    struct skep_dht_id id = id_of(key);
    double expiration = r->now + (double)(op[2] & 31) - 2;

    memset(bytes, op[3], sizeof bytes);
    CHECK(skep_dht_storage_store(&r->storage, &id, skep_bytes_of(&subkey, slot == PLAIN ? 0 : 1),
                                 skep_bytes_of(bytes, len), expiration,
                                 op[1] >> 5 & 3 ? &peer : NULL,
                                 r->now) == model_store(r, key, slot, expiration, len, op[3]));
}

/* Hold on to what is there, as a search does: it must not change any more. */
static void do_hold(struct run *r, size_t key)
{
    struct skep_dht_id id = id_of(key);
    const struct skep_dht_item *item = skep_dht_storage_get(&r->storage, &id, r->now);

    skep_dht_value_unref(r->held[key]);
    r->held[key] = item ? skep_dht_value_ref(item->value) : NULL;
    r->held_count[key] = item ? item->value->count : 0;
}

static void do_op(struct run *r, const uint8_t *op)
{
    size_t key = op[0] & 3;
    struct skep_dht_id id = id_of(key);
    const struct skep_dht_item *item;
    skep_bytes packed;

    switch (op[0] >> 2 & 7) {
    case 0:
        r->now += (double)(op[2] & 15);
        model_expire(r);
        skep_dht_storage_expire(&r->storage, r->now);
        break;
    case 1:
        item = skep_dht_storage_get(&r->storage, &id, r->now);
        if (item)
            CHECK(skep_dht_storage_packed(&r->storage, item, &packed) == 0 &&
                  packed.len == skep_dht_value_packed_len(item->value));
        break;
    case 2: do_hold(r, key); break;
    case 3:
        skep_dht_storage_remove(&r->storage, &id);
        memset(&r->keys[key], 0, sizeof r->keys[key]);
        break;
    default: do_store(r, op, key); break;
    }
    check_key(r, key);
    check_books(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct skep_dht_storage_options options = {
        .mem = &skep_mem_std, .bytes_max = SKEP_MIB(1), .ttl_max_s = 1e6};
    struct run r = {.now = 1000};

    skep_dht_storage_init(&r.storage, &options);
    for (; len >= 4; data += 4, len -= 4)
        do_op(&r, data);
    for (size_t k = 0; k < KEYS; k++) {
        check_key(&r, k);
        skep_dht_value_unref(r.held[k]);
    }
    skep_dht_storage_fini(&r.storage);
    return 0;
}
