/* SPDX-License-Identifier: MIT */
#include "dht/names.h"

#include "dht/beam.h"
#include "dht/plan.h"

/* A peer that has started anew has another node id, and whoever named it knew no better; but not twice. */
#define LIES_MAX 2

/* A peer that was named wrongly, and the only id that it may be named by: all zeroes for none. */
struct skep_dht_misnamed {
    UT_hash_handle hh;
    struct skep_peer_id peer;
    struct skep_dht_id real;
};

bool skep_names_plausible(const struct skep_dht_lookup *l, const struct skep_dht_id *id,
                          const struct skep_peer_id *peer)
{
    const struct skep_routing_node *known = skep_routing_get_peer(&l->dht->table, peer);
    const struct skep_dht_misnamed *misnamed = NULL;

    if (known && !skep_dht_id_equal(&known->id, id))
        return false;
    if (l->misnamed)
        HASH_FIND(hh, l->misnamed, peer->bytes, peer->len, misnamed);
    return !misnamed || skep_dht_id_equal(&misnamed->real, id);
}

bool skep_names_heard(const struct skep_dht_lookup *l, uint32_t node)
{
    return l->nodes[node].lies < LIES_MAX;
}

bool skep_names_introduced(const struct skep_dht_lookup *l, uint32_t node, bool is_it)
{
    uint32_t via = l->nodes[node].via;

    return via == SKEP_DHT_NO_NODE || (is_it && l->nodes[via].lies == 0);
}

/* As many as nodes were asked at most, and those are bounded. */
static void note(struct skep_dht_lookup *l, const struct skep_peer_id *peer,
                 const struct skep_dht_id *real)
{
    struct skep_dht_misnamed *misnamed;

    HASH_FIND(hh, l->misnamed, peer->bytes, peer->len, misnamed);
    if (misnamed)
        return;
    misnamed = skep_mem_zalloc(l->dht->mem, 1, sizeof *misnamed);
    if (!misnamed)
        return; /* it may waste another call */
    misnamed->peer = *peer;
    if (real)
        misnamed->real = *real;
    HASH_ADD_KEYPTR(hh, l->misnamed, misnamed->peer.bytes, misnamed->peer.len, misnamed);
    if (!misnamed->hh.tbl)
        skep_mem_free(l->dht->mem, misnamed);
}

static void forget_names_of(struct skep_dht_lookup *l, uint32_t liar)
{
    for (uint32_t i = 0; i < l->key_count; i++) {
        struct skep_dht_lookup_key *key = &l->keys[i];
        uint16_t before = key->count, failed_near = key->failed_near;

        if (key->finished)
            continue;
        for (size_t at = key->count; at-- > 0;)
            if (key->beam[at].state == SKEP_DHT_CAND_NEW &&
                l->nodes[key->beam[at].node].via == liar)
                skep_beam_remove(l, key, &key->beam[at]);
        key->failed_near = failed_near; /* they were no likely holders after all */
        if (key->count < before) {
            skep_beam_refill(l, key);
            skep_lookup_make_ready(l, key);
        }
    }
}

void skep_names_wrong(struct skep_dht_lookup *l, uint32_t node, const struct skep_dht_id *real)
{
    uint32_t liar = l->nodes[node].via;

    note(l, &l->nodes[node].peer, real);
    if (liar != SKEP_DHT_NO_NODE && l->nodes[liar].lies < LIES_MAX &&
        ++l->nodes[liar].lies == LIES_MAX)
        forget_names_of(l, liar);
}

void skep_names_fini(struct skep_dht_lookup *l)
{
    struct skep_dht_misnamed *misnamed, *after;

    HASH_ITER(hh, l->misnamed, misnamed, after)
    {
        HASH_DEL(l->misnamed, misnamed);
        skep_mem_free(l->dht->mem, misnamed);
    }
}
