/* SPDX-License-Identifier: MIT */
/* What we hold goes to a new node that should hold it: docs/wire.md c.4; hivemind dht/protocol.py, update_routing_table().
 * At most once a minute a peer, in requests of at most SKEP_DHT_STORE_REQUEST_BYTES, one at a time.
 * Unlike in hivemind a newcomer is also sent what has fewer than num_replicas holders, however far it is. */
#include "dht/node_internal.h"

/* Records looked at in one turn of the loop: storage may hold a million. */
enum { LOOKS = 512 };

struct push {
    struct skep_dht_request request;
    struct skep_dht *dht;
    struct skep_list entry;
    struct skep_peer_id peer;
    struct skep_dht_id newcomer;
    const struct skep_dht_item *at; /* the next record to look at; NULL: none is left */
    struct skep_timer kick;         /* nothing to send among those looked at: on to the next ones */
    bool began;
};

static void free_push(struct push *push)
{
    skep_dht_request_cancel(&push->request);
    skep_env_stop(push->dht->env, &push->kick);
    skep_list_remove(&push->entry);
    push->dht->push_count--;
    skep_mem_free(push->dht->mem, push);
}

/* Of the storage: a record goes, so whoever stands at it steps on. */
static void on_remove(struct skep_dht_storage *storage, struct skep_dht_item *item)
{
    struct skep_dht *dht = SKEP_CONTAINER_OF(storage, struct skep_dht, storage);

    SKEP_LIST_EACH(&dht->pushes, entry, after)
    {
        struct push *push = SKEP_LIST_ITEM(entry, struct push, entry);

        if (push->at == item)
            push->at = skep_dht_storage_next(storage, item);
    }
}

void skep_dht_push_init(struct skep_dht *dht)
{
    skep_list_init(&dht->pushes);
    dht->storage.on_remove = on_remove;
}

/* Is it ours to hand on, and should the newcomer hold it? */
static bool should_have(struct skep_dht *dht, const struct skep_dht_id *key,
                        const struct skep_dht_id *newcomer)
{
    size_t wanted = dht->options.num_replicas;
    size_t count = skep_routing_nearest(&dht->table, key, wanted, newcomer, dht->nearest);

    if (count == 0)
        return true;
    return skep_dht_id_nearer(key, &dht->node_id, &dht->nearest[0]->id) < 0 &&
           (count < wanted || skep_dht_id_nearer(key, newcomer, &dht->nearest[count - 1]->id) < 0);
}

static void on_pushed(struct skep_dht_request *request, int rc, skep_bytes reply);

/* The record as a request has it. */
static bool item_of(struct skep_dht *dht, const struct skep_dht_item *held,
                    struct skep_dht_store_item *item)
{
    static const uint8_t plain_subkey[1] = {0xc0};
    skep_bytes bytes;

    if (skep_dht_storage_packed(&dht->storage, held, &bytes) < 0)
        return false;
    *item = (struct skep_dht_store_item){
        .key = skep_bytes_of(held->key.bytes, SKEP_DHT_ID_LEN),
        .subkey = held->value->is_dictionary ? (skep_bytes){0} : skep_bytes_of(plain_subkey, 1),
        .value = bytes,
        .expiration_unix_s = held->value->expiration_unix_s};
    return true;
}

/* The next records that it should have and that fit into one request. @return how many. */
static size_t gather(struct push *push, struct skep_dht_store_item *items, size_t max)
{
    struct skep_dht *dht = push->dht;
    size_t count = 0, len = 0;

    for (size_t looks = 0; push->at && looks < LOOKS && count < max; looks++) {
        const struct skep_dht_item *held = push->at;

        if (should_have(dht, &held->key, &push->newcomer) && item_of(dht, held, &items[count])) {
            len += skep_dht_store_item_len(&items[count]);
            if (count > 0 && len > SKEP_DHT_STORE_REQUEST_BYTES)
                break;
            count++;
        }
        push->at = skep_dht_storage_next(&dht->storage, held);
    }
    return count;
}

/* @return 0: it goes on; 1 when none are left; an error. */
static int send_some(struct push *push)
{
    enum { BATCH = 256 };
    struct skep_dht *dht = push->dht;
    struct skep_dht_store_item items[BATCH];
    size_t count;

    (void)skep_dht_storage_expire(&dht->storage, skep_env_unix_s(dht->env));
    count = gather(push, items, BATCH);
    if (count == 0)
        return push->at ? skep_env_after(dht->env, &push->kick, 0) : 1;
    dht->stats.pushes += !push->began;
    push->began = true;
    skep_buf_clear(&dht->message);
    skep_dht_store_request_encode(&dht->message, dht->told_id, items, count);
    if (dht->message.rc < 0)
        return dht->message.rc;
    push->request.done = on_pushed;
    return skep_dht_request_start(dht, &push->request, &push->peer, SKEP_DHT_RPC_STORE,
                                  skep_buf_view(&dht->message));
}

static void on_kick(struct skep_timer *timer)
{
    struct push *push = SKEP_CONTAINER_OF(timer, struct push, kick);

    if (send_some(push) != 0)
        free_push(push);
}

static void on_pushed(struct skep_dht_request *request, int rc, skep_bytes reply)
{
    struct push *push = SKEP_CONTAINER_OF(request, struct push, request);

    (void)reply;
    if (rc < 0)
        skep_dht_failed(push->dht, &push->peer, rc);
    if (rc < 0 || send_some(push) != 0)
        free_push(push);
}

void skep_dht_push_to_newcomer(struct skep_dht *dht, const struct skep_dht_id *id,
                               const struct skep_peer_id *peer)
{
    struct push *push;

    if (skep_dht_storage_count(&dht->storage) == 0 || dht->options.client_mode ||
        dht->push_count >= SKEP_DHT_PUSHES_MAX ||
        !skep_once_take(&dht->pushed, peer, skep_env_now_us(dht->env)))
        return;
    push = skep_mem_zalloc(dht->mem, 1, sizeof *push);
    if (!push)
        return;
    push->dht = dht;
    push->peer = *peer;
    push->newcomer = *id;
    push->at = skep_dht_storage_next(&dht->storage, NULL);
    push->kick.fire = on_kick;
    skep_list_push_back(&dht->pushes, &push->entry);
    dht->push_count++;
    if (send_some(push) != 0)
        free_push(push);
}

void skep_dht_push_cancel_all(struct skep_dht *dht)
{
    SKEP_LIST_EACH(&dht->pushes, entry, after)
    free_push(SKEP_LIST_ITEM(entry, struct push, entry));
}
