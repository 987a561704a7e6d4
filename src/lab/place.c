/* SPDX-License-Identifier: MIT */
#include "lab/place.h"

#include "dht/storage.h"
#include "moe/declare.h"

int skep_lab_place_index(struct skep_lab_index *index, const struct skep_lab_swarm *swarm)
{
    int rc = 0;

    skep_lab_index_init(index, swarm->mem);
    for (uint32_t i = 0; i < swarm->count && rc == 0; i++)
        if (swarm->members[i].malice ||
            (swarm->members[i].role == SKEP_LAB_FULL && swarm->members[i].dht))
            rc = skep_lab_index_add(index, &swarm->members[i].id, i);
    skep_lab_index_sort(index);
    return rc;
}

/* ---- tables ---- */

struct table {
    const struct skep_lab_swarm *swarm;
    struct skep_dht *dht;
};

static int know(void *user, const struct skep_lab_index_entry *entry)
{
    struct table *table = user;

    return skep_dht_place_node(table->dht, &entry->id,
                               &table->swarm->members[entry->member].rpc->self);
}

int skep_lab_place_tables(struct skep_lab_swarm *swarm, const struct skep_lab_index *index,
                          uint32_t first, uint32_t end, size_t each)
{
    int rc = 0;

    for (uint32_t i = first; i < end && rc == 0; i++) {
        struct skep_lab_member *member = &swarm->members[i];
        struct table table = {swarm, member->dht};

        if (!member->dht)
            continue;
        rc = skep_lab_index_table(index, &member->id, each, &swarm->prng, know, &table);
        if (rc == 0)
            rc = skep_lab_swarm_welcome(swarm, i);
    }
    return rc;
}

/* ---- records ---- */

/* All records of the world by key, as one storage that nothing bounds. */
struct library {
    struct skep_dht_storage storage;
    double now_unix_s;
};

static int shelve(void *user, const struct skep_dht_record *record)
{
    struct library *library = user;
    int rc = skep_dht_storage_store(&library->storage, &record->key, record->subkey, record->value,
                                    record->expiration_unix_s, NULL, library->now_unix_s);

    return SKEP_MIN(rc, 0);
}

/* The experts of one owner. */
static int declare_for(struct library *library, const struct skep_lab_swarm *swarm,
                       const struct skep_lab_world *world, uint32_t owner, uint32_t owners,
                       double expiration_unix_s)
{
    size_t count = world->count / owners + (owner < world->count % owners), done = 0;
    char(*texts)[SKEP_LAB_UID_MAX] = skep_mem_alloc(world->mem, (count + 1) * sizeof *texts);
    skep_bytes *uids = skep_mem_alloc(world->mem, (count + 1) * sizeof *uids);
    int rc = texts && uids ? 0 : SKEP_ENOMEM;

    for (size_t i = 0; i < count && rc == 0; i++)
        uids[i] = skep_bytes_of(texts[i], skep_lab_world_uid(world, owner + i * owners, texts[i]));
    while (rc == 0 && done < count) {
        size_t some = SKEP_MIN(count - done, (size_t)SKEP_DECLARE_UIDS_MAX);

        rc = skep_declare_each(world->mem, uids + done, some, &swarm->members[owner].rpc->self,
                               expiration_unix_s, shelve, library);
        done += some;
    }
    skep_mem_free(world->mem, texts);
    skep_mem_free(world->mem, uids);
    return rc;
}

/* From the library to the shelves of those who should have it. */
static int hand_out(struct library *library, struct skep_lab_swarm *swarm,
                    const struct skep_lab_index *index, size_t replicas)
{
    const struct skep_dht_item *item = NULL;
    uint32_t nearest[SKEP_DHT_BUCKET_SIZE_MAX];
    int rc = 0;

    replicas = SKEP_MIN(replicas, SKEP_COUNT_OF(nearest));
    while (rc == 0 && (item = skep_dht_storage_next(&library->storage, item))) {
        size_t count = skep_lab_index_nearest(index, &item->key, replicas, nearest);
        skep_bytes packed;

        rc = skep_dht_storage_packed(&library->storage, item, &packed); /* once, for all holders */
        for (size_t i = 0; i < count && rc == 0; i++)
            if (swarm->members[nearest[i]].dht) /* who is malicious keeps nothing */
                rc = skep_dht_place_value(swarm->members[nearest[i]].dht, &item->key, item->value);
    }
    return rc;
}

int skep_lab_place_records(struct skep_lab_swarm *swarm, const struct skep_lab_index *index,
                           const struct skep_lab_world *world, uint32_t owners, size_t replicas,
                           double expiration_unix_s)
{
    const struct skep_dht_storage_options options = {
        .mem = world->mem, .bytes_max = SIZE_MAX, .ttl_max_s = SKEP_DHT_TTL_MAX_S};
    struct library library = {.now_unix_s = skep_lab_swarm_unix_s(swarm)};
    int rc = 0;

    skep_dht_storage_init(&library.storage, &options);
    for (uint32_t i = 0; i < owners && rc == 0; i++)
        rc = declare_for(&library, swarm, world, i, owners, expiration_unix_s);
    if (rc == 0)
        rc = hand_out(&library, swarm, index, replicas);
    skep_dht_storage_fini(&library.storage);
    return rc;
}
