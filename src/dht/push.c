/* SPDX-License-Identifier: MIT */
/* What we hold goes to a new node that should hold it: docs/wire.md c.4; hivemind dht/protocol.py, update_routing_table().
 * At most once a minute a peer, in requests of at most SKEP_DHT_STORE_REQUEST_BYTES, one at a time.
 * Unlike in hivemind a newcomer is also sent what has fewer than num_replicas holders, however far it is. */
#include "dht/node_internal.h"

struct push {
    struct skep_dht_request request;
    struct skep_dht *dht;
    struct skep_list entry;
    struct skep_peer_id peer;
    size_t count, next;
    struct skep_dht_id keys[];
};

static void free_push(struct push *push)
{
    skep_dht_request_cancel(&push->request);
    skep_list_remove(&push->entry);
    skep_mem_free(push->dht->mem, push);
}

/* Is it ours to hand on, and should the newcomer hold it? */
static bool should_have(struct skep_dht *dht, const struct skep_dht_id *key, const struct skep_dht_id *newcomer)
{
    size_t wanted = dht->options.num_replicas;
    size_t count = skep_routing_nearest(&dht->table, key, wanted, newcomer, dht->nearest);

    if (count == 0)
        return true;
    return skep_dht_id_nearer(key, &dht->node_id, &dht->nearest[0]->id) < 0 &&
           (count < wanted || skep_dht_id_nearer(key, newcomer, &dht->nearest[count - 1]->id) < 0);
}

static void on_pushed(struct skep_dht_request *request, int rc, skep_bytes reply);

/* The record as it is now, if it is still there. */
static bool item_of(struct skep_dht *dht, const struct skep_dht_id *key, double now, struct skep_dht_store_item *item)
{
    static const uint8_t plain_subkey[1] = {0xc0};
    const struct skep_dht_item *held = skep_dht_storage_get(&dht->storage, key, now);
    skep_bytes bytes;

    if (!held || skep_dht_storage_packed(&dht->storage, held, &bytes) < 0)
        return false;
    *item = (struct skep_dht_store_item){.key = skep_bytes_of(key->bytes, SKEP_DHT_ID_LEN),
                                         .subkey = held->value->is_dictionary ? (skep_bytes){0} : skep_bytes_of(plain_subkey, 1),
                                         .value = bytes,
                                         .expiration_unix_s = held->value->expiration_unix_s};
    return true;
}

/* The next records that fit into one request. @return 0; 1 when none are left; an error. */
static int send_some(struct push *push)
{
    enum { BATCH = 256 };
    struct skep_dht *dht = push->dht;
    double now = skep_env_unix_s(dht->env);
    struct skep_dht_store_item items[BATCH];
    size_t count = 0, len = 0;

    for (; push->next < push->count && count < BATCH; push->next++) {
        if (!item_of(dht, &push->keys[push->next], now, &items[count]))
            continue;
        len += skep_dht_store_item_len(&items[count]);
        if (count > 0 && len > SKEP_DHT_STORE_REQUEST_BYTES)
            break;
        count++;
    }
    if (count == 0)
        return 1;
    skep_buf_clear(&dht->message);
    skep_dht_store_request_encode(&dht->message, dht->told_id, items, count);
    if (dht->message.rc < 0)
        return dht->message.rc;
    push->request.done = on_pushed;
    return skep_dht_request_start(dht, &push->request, &push->peer, SKEP_DHT_RPC_STORE, skep_buf_view(&dht->message));
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

void skep_dht_push_to_newcomer(struct skep_dht *dht, const struct skep_dht_id *id, const struct skep_peer_id *peer)
{
    size_t held = skep_dht_storage_count(&dht->storage);
    const struct skep_dht_item *item = NULL;
    struct push *push;

    if (held == 0 || dht->options.client_mode || !skep_once_take(&dht->pushed, peer, skep_env_now_us(dht->env)))
        return;
    push = skep_mem_alloc(dht->mem, sizeof *push + held * sizeof push->keys[0]);
    if (!push)
        return;
    memset(push, 0, sizeof *push);
    push->dht = dht;
    push->peer = *peer;
    skep_list_push_back(&dht->pushes, &push->entry);
    while ((item = skep_dht_storage_next(&dht->storage, item)) != NULL)
        if (should_have(dht, &item->key, id))
            push->keys[push->count++] = item->key;
    dht->stats.pushes += push->count > 0;
    if (push->count == 0 || send_some(push) != 0)
        free_push(push);
}

void skep_dht_push_cancel_all(struct skep_dht *dht)
{
    SKEP_LIST_EACH(&dht->pushes, entry, after)
        free_push(SKEP_LIST_ITEM(entry, struct push, entry));
}
