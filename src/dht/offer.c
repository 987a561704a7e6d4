/* SPDX-License-Identifier: MIT */
#include "dht/offer.h"

void skep_offers_add(struct skep_dht_lookup *l, struct skep_offers *offers,
                     struct skep_dht_lookup_key *key, uint32_t node)
{
    if (offers->count == offers->cap) {
        size_t cap = SKEP_MAX(offers->cap * 2, 8);
        void *grown = skep_mem_resize(l->dht->mem, offers->list, cap * sizeof *offers->list);

        if (!grown)
            return; /* it is a favour, no duty */
        offers->list = grown;
        offers->cap = cap;
    }
    offers->list[offers->count++] = (struct skep_offer){
        .node = node, .key = (uint32_t)(key - l->keys), .value = skep_dht_value_ref(key->best)};
}

/* A request that nobody waits for. */
struct favour {
    struct skep_dht_request request;
    struct skep_dht *dht;
    struct skep_list entry; /* dht->favours */
};

static void on_favour(struct skep_dht_request *request, int rc, skep_bytes reply)
{
    struct favour *favour = SKEP_CONTAINER_OF(request, struct favour, request);

    (void)reply;
    if (rc < 0)
        skep_dht_failed(favour->dht, &request->peer, rc);
    skep_list_remove(&favour->entry);
    skep_mem_free(favour->dht->mem, favour);
}

/* One rpc_store of all that is offered to the node of the first offer. */
static void send_some(struct skep_dht_lookup *l, struct skep_offers *offers)
{
    enum { BATCH = 128 };
    static const uint8_t plain_subkey[1] = {0xc0};
    struct skep_dht *dht = l->dht;
    struct skep_dht_store_item items[BATCH];
    struct favour *favour = skep_mem_zalloc(dht->mem, 1, sizeof *favour);
    uint32_t node = offers->list[0].node;
    size_t count = 0, kept = 0, len = 0;
    struct skep_dht_value *sent[BATCH];

    for (size_t i = 0; i < offers->count; i++) {
        struct skep_offer *offer = &offers->list[i];
        struct skep_dht_store_item *item = &items[SKEP_MIN(count, (size_t)BATCH - 1)];

        if (offer->node != node || count == BATCH || len > SKEP_DHT_STORE_REQUEST_BYTES) {
            offers->list[kept++] = *offer;
            continue;
        }
        sent[count] = offer->value;
        *item = (struct skep_dht_store_item){
            .key = skep_bytes_of(l->keys[offer->key].id.bytes, SKEP_DHT_ID_LEN),
            .subkey = skep_bytes_of(plain_subkey, 1),
            .value = offer->value->plain,
            .expiration_unix_s = offer->value->expiration_unix_s,
            .in_cache = true};
        if (offer->value->is_dictionary) {
            item->subkey = (skep_bytes){0};
            if (skep_dht_value_packed(&sent[count], &item->value) < 0) {
                skep_dht_value_unref(sent[count]);
                continue;
            }
        }
        len += skep_dht_store_item_len(item);
        count++;
    }
    offers->count = kept;
    skep_buf_clear(&dht->message);
    skep_dht_store_request_encode(&dht->message, dht->told_id, items, count);
    for (size_t i = 0; i < count; i++)
        skep_dht_value_unref(sent[i]);
    if (!favour)
        return;
    favour->dht = dht;
    favour->request.done = on_favour;
    skep_list_push_back(&dht->favours, &favour->entry);
    if (count == 0 || dht->message.rc < 0 ||
        skep_dht_request_start(dht, &favour->request, &l->nodes[node].peer, SKEP_DHT_RPC_STORE,
                               skep_buf_view(&dht->message)) < 0) {
        skep_list_remove(&favour->entry);
        skep_mem_free(dht->mem, favour);
    }
}

void skep_dht_favours_cancel_all(struct skep_dht *dht)
{
    SKEP_LIST_EACH(&dht->favours, entry, after)
    {
        struct favour *favour = SKEP_LIST_ITEM(entry, struct favour, entry);

        skep_dht_request_cancel(&favour->request);
        skep_list_remove(&favour->entry);
        skep_mem_free(dht->mem, favour);
    }
}

void skep_offers_send(struct skep_dht_lookup *l, struct skep_offers *offers)
{
    while (offers->count > 0)
        send_some(l, offers);
}

void skep_offers_fini(struct skep_dht_lookup *l, struct skep_offers *offers)
{
    for (size_t i = 0; i < offers->count; i++)
        skep_dht_value_unref(offers->list[i].value);
    skep_mem_free(l->dht->mem, offers->list);
    *offers = (struct skep_offers){0};
}
