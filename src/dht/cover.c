/* SPDX-License-Identifier: MIT */
#include "dht/cover.h"

#include "dht/beam.h"
#include "dht/plan.h"

/* The first asks of a get: each key at one of its likely holders, by weighted greedy cover: again and again the node that will likely answer most of the keys left,
 * for the time that its answer is expected to take. So in a small swarm, where each node holds many of the keys, few are asked; in a large one, where each key has
 * holders of its own, the nearest of them. Guesses come last and change nothing for the others: they ride along to nodes that are asked anyway, and are covered in
 * their turn where they are left. */
struct cover {
    uint32_t *first; /* [nodes + 1] where a node's keys begin in `keys` */
    uint32_t *keys;  /* [first[nodes]] */
    uint64_t *
        holds; /* [nodes] of how many keys of this turn that are not covered yet it is likely a holder, in 1/65536 */
    uint32_t *wait_us; /* [nodes] */
};

static bool cover_new(struct skep_dht_lookup *l, struct cover *c)
{
    const struct skep_mem *mem = l->dht->mem;
    size_t near = l->dht->options.num_replicas;

    c->first = skep_mem_zalloc(mem, (size_t)l->node_count + 2, sizeof *c->first);
    c->keys = skep_mem_alloc(mem, l->key_count * near * sizeof *c->keys);
    c->holds = skep_mem_zalloc(mem, l->node_count, sizeof *c->holds);
    c->wait_us = skep_mem_zalloc(mem, l->node_count, sizeof *c->wait_us);
    if (!c->first || !c->keys || !c->holds || !c->wait_us)
        return false;
    for (uint32_t k = 0; k < l->key_count; k++)
        for (size_t i = 0; i < l->keys[k].count && i < near; i++)
            c->first[l->keys[k].beam[i].node + 2]++;
    for (uint32_t n = 0; n < l->node_count; n++)
        c->first[n + 2] += c->first[n + 1];
    for (uint32_t k = 0; k < l->key_count; k++)
        for (size_t i = 0; i < l->keys[k].count && i < near; i++)
            c->keys[c->first[l->keys[k].beam[i].node + 1]++] = k;
    return true;
}

/* The keys of this turn. @return are there any? */
static bool cover_count(struct skep_dht_lookup *l, struct cover *c, bool guesses)
{
    size_t near = l->dht->options.num_replicas;
    bool any = false;

    memset(c->holds, 0, l->node_count * sizeof *c->holds);
    for (uint32_t k = 0; k < l->key_count; k++) {
        const struct skep_dht_lookup_key *key = &l->keys[k];

        if (key->asks > 0 || key->shallow != guesses)
            continue;
        for (size_t i = 0; i < key->count && i < near; i++)
            c->holds[key->beam[i].node] += skep_lookup_holds(l, &key->beam[i], i);
        any = true;
    }
    for (uint32_t n = 0; any && n < l->node_count; n++) {
        if (!skep_lookup_usable(l, &l->nodes[n]))
            c->holds[n] = 0;
        else if (c->holds[n] > 0)
            c->wait_us[n] = skep_lookup_wait_us(l, n);
    }
    return any;
}

static uint32_t cover_best(const struct skep_dht_lookup *l, const struct cover *c)
{
    uint32_t best = SKEP_DHT_NO_NODE;

    for (uint32_t n = 0; n < l->node_count; n++)
        if (c->holds[n] > 0 && (best == SKEP_DHT_NO_NODE ||
                                c->holds[n] * c->wait_us[best] > c->holds[best] * c->wait_us[n]))
            best = n;
    return best;
}

/* A key is covered: it counts no more for anyone. */
static void take_key(struct skep_dht_lookup *l, struct cover *c, struct skep_dht_lookup_key *key)
{
    for (size_t i = 0; i < key->count && i < l->dht->options.num_replicas; i++) {
        uint32_t node = key->beam[i].node, holds = skep_lookup_holds(l, &key->beam[i], i);

        c->holds[node] -= SKEP_MIN(c->holds[node], holds);
    }
}

/* Ask this node for all keys that it is near to and that are not covered. */
static void cover_with(struct skep_dht_lookup *l, struct cover *c, uint32_t node, bool guesses)
{
    for (uint32_t i = c->first[node]; i < c->first[node + 1]; i++) {
        struct skep_dht_lookup_key *key = &l->keys[c->keys[i]];

        if (key->asks > 0)
            continue;
        if (key->shallow == guesses)
            take_key(l, c, key);
        if (!skep_lookup_plan(l, key, skep_beam_find(key, node)))
            skep_lookup_make_ready(l, key);
    }
    c->holds[node] = 0;
}

void skep_cover_keys(struct skep_dht_lookup *l)
{
    struct cover c = {0};
    bool usable = l->node_count > 0 && cover_new(l, &c);

    for (int guesses = 0; usable && guesses < 2; guesses++) {
        size_t workers = skep_lookup_workers(l, guesses);
        uint32_t node;

        if (cover_count(l, &c, guesses)) {
            while (l->touched_count < workers && (node = cover_best(l, &c)) != SKEP_DHT_NO_NODE)
                cover_with(l, &c, node, guesses);
        }
    }
    skep_mem_free(l->dht->mem, c.first);
    skep_mem_free(l->dht->mem, c.keys);
    skep_mem_free(l->dht->mem, c.holds);
    skep_mem_free(l->dht->mem, c.wait_us);
}
