/* SPDX-License-Identifier: MIT */
/* Peers that speak kad, by how near they are to us: buckets of 20 by the number of leading bits that the SHA-256 of their id shares
 * with ours. Spec: libp2p kad-dht, "Kademlia routing table". No pings and no refresh: who is listed was connected when it was added, and
 * leaves when it fails to answer. */
#include "host/host_impl.h"

void skep_kad_table_init(struct skep_kad_table *table, const struct skep_mem *mem,
                         const struct skep_peer_id *self)
{
    memset(table, 0, sizeof *table);
    table->mem = mem;
    skep_sha256(table->self, skep_peer_id_view(self));
}

void skep_kad_table_fini(struct skep_kad_table *table)
{
    for (size_t i = 0; i < SKEP_KAD_BUCKETS; i++) {
        skep_mem_free(table->mem, table->buckets[i].entries);
        table->buckets[i].entries = NULL;
        table->buckets[i].count = 0;
    }
}

static size_t bucket_of(const struct skep_kad_table *table, const uint8_t *hash)
{
    uint64_t distance = skep_get_be64(table->self) ^ skep_get_be64(hash);

    return distance == 0 ? SKEP_KAD_BUCKETS - 1 : (size_t)__builtin_clzll(distance);
}

bool skep_kad_nearer(const uint8_t *a, const uint8_t *b, const uint8_t *target)
{
    for (size_t i = 0; i < SKEP_SHA256_LEN; i++) {
        uint8_t da = a[i] ^ target[i], db = b[i] ^ target[i];

        if (da != db)
            return da < db;
    }
    return false;
}

int skep_kad_table_add(struct skep_kad_table *table, const struct skep_peer_id *id,
                       bool (*is_live)(void *user, const struct skep_peer_id *id), void *user)
{
    struct skep_kad_entry entry = {.id = *id}, *entries;
    size_t index, count;

    skep_sha256(entry.hash, skep_peer_id_view(id));
    index = bucket_of(table, entry.hash);
    if (!table->buckets[index].entries) {
        table->buckets[index].entries =
            skep_mem_zalloc(table->mem, SKEP_KAD_BUCKET_SIZE, sizeof *entries);
        if (!table->buckets[index].entries)
            return SKEP_ENOMEM;
    }
    entries = table->buckets[index].entries;
    count = table->buckets[index].count;
    for (size_t i = 0; i < count; i++)
        if (skep_peer_id_equal(&entries[i].id, id))
            return 0;
    if (count < SKEP_KAD_BUCKET_SIZE) {
        entries[table->buckets[index].count++] = entry;
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (is_live(user, &entries[i].id))
            continue;
        entries[i] = entry;
        return 0;
    }
    return 0;
}

void skep_kad_table_remove(struct skep_kad_table *table, const struct skep_peer_id *id)
{
    uint8_t hash[SKEP_SHA256_LEN];
    struct skep_kad_entry *entries;
    size_t index, count;

    skep_sha256(hash, skep_peer_id_view(id));
    index = bucket_of(table, hash);
    entries = table->buckets[index].entries;
    count = table->buckets[index].count;
    for (size_t i = 0; i < count; i++) {
        if (!skep_peer_id_equal(&entries[i].id, id))
            continue;
        memmove(entries + i, entries + i + 1, (count - i - 1) * sizeof entries[0]);
        table->buckets[index].count--;
        return;
    }
}

size_t skep_kad_table_nearest(const struct skep_kad_table *table,
                              const uint8_t hash[SKEP_SHA256_LEN], struct skep_kad_entry *out,
                              size_t cap)
{
    size_t count = 0;

    for (size_t b = 0; b < SKEP_KAD_BUCKETS; b++) {
        for (size_t i = 0; i < table->buckets[b].count; i++) {
            const struct skep_kad_entry *entry = &table->buckets[b].entries[i];
            size_t at;

            if (count == cap &&
                (cap == 0 || !skep_kad_nearer(entry->hash, out[cap - 1].hash, hash)))
                continue;
            at = count < cap ? count++ : cap - 1;
            for (; at > 0 && skep_kad_nearer(entry->hash, out[at - 1].hash, hash); at--)
                out[at] = out[at - 1];
            out[at] = *entry;
        }
    }
    return count;
}
