/* SPDX-License-Identifier: MIT */
#include "dht/plan.h"

#include "dht/beam.h"
#include "dht/decide.h"

/* How many more nodes a key asks at a time while nearer ones keep being named. */
#define ALPHA 5
/* What a request costs both sides, in time. */
#define REQUEST_US ((uint64_t)5000)
/* Who was late or failed, and has not answered since. */
#define DOUBTED_US ((uint64_t)1000000)

/* ---- pairs ---- */

static bool reserve(struct skep_dht *dht, void **array, uint32_t *cap, uint32_t count, size_t size)
{
    uint32_t wanted = SKEP_MAX(*cap * 2, 32);
    void *grown;

    if (count < *cap)
        return true;
    grown = skep_mem_resize(dht->mem, *array, wanted * size);
    if (!grown)
        return false;
    *array = grown;
    *cap = wanted;
    return true;
}

bool skep_lookup_plan(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key,
                      struct skep_dht_candidate *candidate)
{
    struct skep_dht_lookup_node *node = &l->nodes[candidate->node];
    void *plan = l->plan, *touched = l->touched;
    bool room = reserve(l->dht, &plan, &l->plan_cap, l->plan_count, sizeof *l->plan);

    l->plan = plan;
    if (node->plan_head == 0) {
        room = room &&
               reserve(l->dht, &touched, &l->touched_cap, l->touched_count, sizeof *l->touched);
        l->touched = touched;
    }
    if (!room)
        return false;
    if (node->plan_head == 0)
        l->touched[l->touched_count++] = candidate->node;
    l->plan[l->plan_count] =
        (struct skep_dht_plan){.key = (uint32_t)(key - l->keys), .next = node->plan_head};
    node->plan_head = ++l->plan_count;
    node->plan_count++;
    candidate->state = SKEP_DHT_CAND_ASKED;
    key->in_flight++;
    key->asks++;
    return true;
}

/* ---- whom ---- */

bool skep_lookup_usable(struct skep_dht_lookup *l, const struct skep_dht_lookup_node *node)
{
    return !node->failed &&
           !skep_blacklist_has(&l->dht->blacklist, &node->peer, skep_env_now_us(l->dht->env));
}

uint32_t skep_lookup_wait_us(struct skep_dht_lookup *l, uint32_t index)
{
    struct skep_dht_lookup_node *node = &l->nodes[index];
    struct skep_dht *dht = l->dht;
    uint64_t wait;

    if (node->wait_us > 0)
        return node->wait_us;
    wait = skep_dht_rtt_us(dht, &node->peer);
    if (skep_blacklist_doubts(&dht->blacklist, &node->peer))
        wait = DOUBTED_US;
    else if (wait == 0)
        wait = skep_patience_overdue_us(&dht->patience, 0, 0);
    node->wait_us = (uint32_t)(SKEP_MIN(wait, DOUBTED_US) + REQUEST_US);
    return node->wait_us;
}

uint32_t skep_lookup_holds(const struct skep_dht_lookup *l,
                           const struct skep_dht_candidate *candidate, size_t rank)
{
    size_t replicas = l->dht->options.num_replicas;
    double expected = skep_swarm_expected(l->swarm_size, candidate->head);

    if (l->whole) /* then its rank is no guess */
        return skep_swarm_holds(rank < replicas ? 0 : (double)rank, replicas);
    return skep_swarm_holds(SKEP_MAX(expected, (double)rank), replicas);
}

/* Whom to ask next for a key within the first `reach` of its beam: of a get's likely holders the one that likely answers with it soonest, else the nearest.
 * Those that are not to be asked any more go. @return NULL: nobody. */
static struct skep_dht_candidate *choose(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key,
                                         size_t reach)
{
    struct skep_dht_candidate *best = NULL;
    size_t near = l->dht->options.num_replicas;
    uint64_t best_wait = 0, best_holds = 0;

    for (size_t i = 0; i < key->count && i < reach && (i < near || !best);) {
        struct skep_dht_candidate *candidate = &key->beam[i];
        uint64_t wait, holds;

        if (candidate->state != SKEP_DHT_CAND_NEW) {
            i++;
            continue;
        }
        if (!skep_lookup_usable(l, &l->nodes[candidate->node])) {
            l->nodes[candidate->node].failed = true; /* named again, it is not counted again */
            skep_beam_remove(l, key, candidate);
            continue;
        }
        if (!l->want_values || i >= near)
            return candidate;
        wait = skep_lookup_wait_us(l, candidate->node);
        holds = skep_lookup_holds(l, candidate, i++);
        if (!best || holds * best_wait > best_holds * wait) {
            best = candidate;
            best_wait = wait;
            best_holds = holds;
        }
    }
    return best;
}

size_t skep_lookup_workers(const struct skep_dht_lookup *l, bool shallow)
{
    size_t workers = SKEP_MAX(l->dht->options.num_workers, 1);

    return shallow ? workers - workers / 4 : workers;
}

/* Ask as many of the first `reach` candidates as the key may ask now. @return false: it must wait for workers. */
static bool plan_within(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key, size_t reach)
{
    size_t width = key->shallow ? 1 : key->wide ? l->beam : key->eager ? ALPHA : 1;
    size_t workers = skep_lookup_workers(l, key->shallow);

    while (key->in_flight < width && key->asks < SKEP_DHT_LOOKUP_ASKS_MAX) {
        struct skep_dht_candidate *candidate = choose(l, key, reach);

        if (!candidate)
            break;
        if (l->nodes[candidate->node].plan_head == 0 && l->find_count + l->touched_count >= workers)
            return false;
        if (!skep_lookup_plan(l, key, candidate)) /* without memory: as if it had failed, */
            skep_beam_remove(l, key, candidate);  /* so that the lookup ends */
    }
    return true;
}

bool skep_lookup_plan_key(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key)
{
    if (skep_lookup_is_settled(l, key))
        return true;
    if (!plan_within(l, key, skep_lookup_reach(l, key, false)))
        return false;
    if (l->exhaustive || key->deep || key->in_flight > 0)
        return true;
    /* The nearest few have answered, or will not, and that was not enough. */
    key->deep = key->wide = true;
    return plan_within(l, key, skep_lookup_reach(l, key, false));
}

/* ---- hedges ---- */

/* A likely holder not yet asked, of the request that is being planned for others anyway if there is one. */
static struct skep_dht_candidate *choose_hedge(struct skep_dht_lookup *l,
                                               struct skep_dht_lookup_key *key, size_t chunk)
{
    size_t near = SKEP_MIN((size_t)key->count, l->dht->options.num_replicas);

    for (size_t i = 0; l->want_values && i < near; i++) {
        struct skep_dht_candidate *candidate = &key->beam[i];
        const struct skep_dht_lookup_node *node = &l->nodes[candidate->node];

        if (candidate->state == SKEP_DHT_CAND_NEW && node->plan_count % chunk > 0)
            return candidate;
    }
    return choose(l, key, skep_lookup_reach(l, key, true));
}

void skep_lookup_plan_hedges(struct skep_dht_lookup *l, const uint32_t *keys, uint32_t count,
                             size_t chunk)
{
    struct skep_dht *dht = l->dht;
    bool refused = false;

    for (uint32_t i = 0; i < count; i++) {
        struct skep_dht_lookup_key *key = &l->keys[keys[i]];
        struct skep_dht_candidate *candidate;

        if (key->finished || key->asks >= SKEP_DHT_LOOKUP_ASKS_MAX)
            continue;
        candidate = choose_hedge(l, key, chunk);
        if (!candidate)
            continue;
        if (l->nodes[candidate->node].plan_count % chunk == 0) {
            if (!skep_patience_spend(&dht->patience)) {
                refused = true;
                continue;
            }
            dht->stats.hedges++;
        }
        (void)skep_lookup_plan(l, key, candidate); /* without memory: it is not hedged */
    }
    dht->stats.hedges_refused += refused;
}
