/* SPDX-License-Identifier: MIT */
#include "dht/cover.h"

#include "dht/beam.h"

/* The first asks of a get: each key at one of its likely holders, by greedy cover: again and again the node that has most of
 * the keys left. One that we are connected to counts four times. */
struct cover {
    uint32_t *first;  /* [nodes + 1] where a node's keys begin in `keys` */
    uint32_t *keys;   /* [first[nodes]] */
    uint32_t *left;   /* [nodes] keys not covered yet */
    uint64_t *rtt_us; /* [nodes]; 0: not connected */
};

static bool cover_new(struct skep_dht_lookup *l, struct cover *c)
{
    const struct skep_mem *mem = l->dht->mem;
    size_t near = l->dht->options.num_replicas;

    c->first = skep_mem_zalloc(mem, (size_t)l->node_count + 2, sizeof *c->first);
    c->keys = skep_mem_alloc(mem, l->key_count * near * sizeof *c->keys);
    c->left = skep_mem_zalloc(mem, l->node_count, sizeof *c->left);
    c->rtt_us = skep_mem_zalloc(mem, l->node_count, sizeof *c->rtt_us);
    if (!c->first || !c->keys || !c->left || !c->rtt_us)
        return false;
    for (uint32_t k = 0; k < l->key_count; k++)
        for (size_t i = 0; i < l->keys[k].count && i < near; i++)
            c->left[l->keys[k].beam[i].node]++;
    for (uint32_t n = 0; n < l->node_count; n++)
        c->first[n + 2] = c->first[n + 1] + c->left[n];
    for (uint32_t k = 0; k < l->key_count; k++)
        for (size_t i = 0; i < l->keys[k].count && i < near; i++)
            c->keys[c->first[l->keys[k].beam[i].node + 1]++] = k;
    for (uint32_t n = 0; n < l->node_count; n++) {
        if (!skep_lookup_usable(l, &l->nodes[n]))
            c->left[n] = 0;
        else if (c->left[n] > 0)
            c->rtt_us[n] = skep_dht_rtt_us(l->dht, &l->nodes[n].peer);
    }
    return true;
}

static uint32_t cover_best(const struct skep_dht_lookup *l, const struct cover *c)
{
    uint32_t best = SKEP_DHT_NO_NODE, best_weight = 0;

    for (uint32_t n = 0; n < l->node_count; n++) {
        uint32_t weight = c->left[n] * (c->rtt_us[n] > 0 ? 4 : 1);

        if (weight > best_weight ||
            (weight > 0 && weight == best_weight && c->rtt_us[n] < c->rtt_us[best])) {
            best = n;
            best_weight = weight;
        }
    }
    return best;
}

void skep_cover_keys(struct skep_dht_lookup *l)
{
    size_t near = l->dht->options.num_replicas, workers = SKEP_MAX(l->dht->options.num_workers, 1);
    struct cover c = {0};
    uint32_t node;

    if (l->node_count > 0 && cover_new(l, &c)) {
        while (l->touched_count < workers && (node = cover_best(l, &c)) != SKEP_DHT_NO_NODE) {
            for (uint32_t i = c.first[node]; i < c.first[node + 1]; i++) {
                struct skep_dht_lookup_key *key = &l->keys[c.keys[i]];

                if (key->asks > 0)
                    continue;
                for (size_t j = 0; j < key->count && j < near; j++)
                    c.left[key->beam[j].node] -= c.left[key->beam[j].node] > 0;
                if (!skep_lookup_plan(l, key, skep_beam_find(key, node)))
                    skep_lookup_make_ready(l, key);
            }
            c.left[node] = 0;
        }
    }
    skep_mem_free(l->dht->mem, c.first);
    skep_mem_free(l->dht->mem, c.keys);
    skep_mem_free(l->dht->mem, c.left);
    skep_mem_free(l->dht->mem, c.rtt_us);
}
