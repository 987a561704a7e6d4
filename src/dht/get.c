/* SPDX-License-Identifier: MIT */
/* skep_dht_get: what is at home at once, the rest by one lookup, what others already search for with them. docs/wire.md c.4 (get); hivemind
 * dht/node.py, get_many_by_id(), _SearchState, _cache_new_result().
 * Unlike hivemind's, a get that shares another's search sends nothing of its own, and cache_nearest only tells nodes that were asked and had nothing. */
#include <math.h>

#include "dht/believe.h"
#include "dht/offer.h"

struct get;

/** One key of one get, waiting for a key of some lookup. */
struct waiter {
    struct skep_list entry; /* key->waiters */
    struct get *get;
    struct skep_dht_lookup *lookup;
    struct skep_dht_lookup_key *key; /* NULL: not waiting */
    struct skep_dht_value *home;     /* what we had ourselves; until it is delivered */
};

struct get {
    struct skep_dht_op_head head;
    struct skep_dht *dht;
    struct skep_list entry; /* dht->gets */
    struct skep_dht_get *owner;
    struct skep_timer deadline;
    double sufficient_unix_s;
    skep_dht_judge *believes;
    size_t count, left, guesses;
    unsigned busy; /* callbacks under way */
    bool dead;     /* cancelled from inside one */
    bool no_local, is_refresh;
    struct waiter waiters[];
};

/* What a lookup of gets has besides its keys. */
struct search {
    struct get *origin; /* who pays for its calls; NULL when gone */
    bool is_refresh;
    struct skep_offers offers; /* to nodes that were asked and had nothing */
};

/* ---- the end of a get ---- */

static void free_get(struct get *g)
{
    skep_env_stop(g->dht->env, &g->deadline);
    skep_list_remove(&g->entry);
    for (size_t i = 0; i < g->count; i++)
        skep_dht_value_unref(g->waiters[i].home);
    skep_mem_free(g->dht->mem, g);
}

static void forget_pending(struct skep_dht *dht, struct skep_dht_lookup_key *key)
{
    if (!key->pending)
        return;
    key->pending = false;
    HASH_DEL(dht->pending, key);
}

/* Stop waiting. A key that nobody waits for any more is not searched on; with `hard` a lookup that has only such keys is cancelled. */
static void leave(struct get *g, struct waiter *w, bool hard)
{
    struct skep_dht_lookup *l = w->lookup;
    struct skep_dht_lookup_key *key = w->key;

    skep_list_remove(&w->entry);
    w->key = NULL;
    if (!key || key->finished || !skep_list_empty(&key->waiters))
        return;
    forget_pending(g->dht, key);
    if (hard && l->unfinished == 1)
        skep_dht_lookup_cancel(l);
    else
        skep_dht_lookup_drop(l, key);
}

static void disown_searches(struct get *g)
{
    SKEP_LIST_EACH(&g->dht->lookups, entry, after)
    {
        struct skep_dht_lookup *l = SKEP_LIST_ITEM(entry, struct skep_dht_lookup, entry);
        struct search *search = l->want_values ? l->user : NULL;

        if (search && search->origin == g)
            search->origin = NULL;
    }
}

static void leave_all(struct get *g, bool hard)
{
    disown_searches(g);
    for (size_t i = 0; i < g->count; i++)
        leave(g, &g->waiters[i], hard);
}

static void cancel_get(struct skep_dht_op_head *head)
{
    struct get *g = SKEP_CONTAINER_OF(head, struct get, head);

    g->dead = true;
    leave_all(g, true);
    if (g->busy == 0)
        free_get(g);
}

static void end_get(struct get *g, int rc)
{
    struct skep_dht_get *owner = g->owner;

    leave_all(g, rc == SKEP_ECANCELED);
    owner->op.state = NULL;
    free_get(g);
    owner->done(owner, rc);
}

void skep_dht_get_end_all(struct skep_dht *dht)
{
    while (!skep_list_empty(&dht->gets))
        end_get(SKEP_LIST_ITEM(dht->gets.next, struct get, entry), SKEP_ECANCELED);
}

/* One key's outcome to its get. @return false when the get is gone. */
static bool deliver(struct get *g, size_t index, const struct skep_dht_value *value, bool answered)
{
    g->left--;
    g->busy++;
    g->owner->on_value(g->owner, index, value, answered);
    g->busy--;
    if (!g->dead)
        return true;
    if (g->busy == 0)
        free_get(g);
    return false;
}

/* A search may outlast what it found. */
static void drop_expired(struct skep_dht_value **value, double now)
{
    struct skep_dht_entry gone;

    if (!*value)
        return;
    if ((*value)->expiration_unix_s < now) {
        skep_dht_value_unref(*value);
        *value = NULL;
    } else if (skep_dht_value_earliest(*value) < now && skep_dht_value_unique(value, true) == 0) {
        while (skep_dht_value_expire(*value, now, &gone))
            ;
    }
}

static void on_deadline(struct skep_timer *timer)
{
    struct get *g = SKEP_CONTAINER_OF(timer, struct get, deadline);

    for (size_t i = 0; i < g->count; i++) {
        struct waiter *w = &g->waiters[i];
        struct skep_dht_value *value = NULL;
        bool there;

        if (!w->key)
            continue;
        drop_expired(&w->key->best, skep_env_unix_s(g->dht->env));
        if (w->key->best)
            value = skep_dht_stripped(g->dht, &w->key->id, w->key->best);
        g->owner->rounds = w->key->rounds;
        leave(g, w, false); /* answers under way still warm the cache */
        there = deliver(g, i, value, false);
        skep_dht_value_unref(value);
        if (!there)
            return;
    }
    end_get(g, SKEP_EDEADLINE);
}

/* ---- what peers answer ---- */

/* The value of a result that can be believed. hivemind keeps and serves what never expires (+infinity), so that is believed too; our
 * own storage and cache refuse it. @return NULL if it cannot be believed, or has expired. */
static struct skep_dht_value *decode_found(struct skep_dht *dht,
                                           const struct skep_dht_lookup_key *key,
                                           const struct skep_dht_find_result *result)
{
    struct skep_dht_value *value = NULL;
    struct skep_dht_entry gone;
    double now = skep_env_unix_s(dht->env);
    bool good;
    int rc;

    if (result->type == SKEP_DHT_FOUND_PLAIN)
        rc = !isnan(result->expiration_unix_s)
                 ? skep_dht_value_new_plain(&value, dht->mem, result->value,
                                            result->expiration_unix_s)
                 : SKEP_EPEER_PROTO;
    else
        rc = skep_dht_value_decode(&value, dht->mem, result->value);
    if (rc < 0) {
        dht->stats.bad_messages += rc != SKEP_ENOMEM;
        return NULL;
    }
    while (value->is_dictionary && skep_dht_value_expire(value, now, &gone))
        ;
    good = value->expiration_unix_s >= now;
    if (good && !skep_dht_valid(dht, skep_bytes_of(key->id.bytes, SKEP_DHT_ID_LEN), value)) {
        dht->stats.refused_records++;
        good = false;
    }
    if (good)
        return value;
    skep_dht_value_unref(value);
    return NULL;
}

static void keep_in_cache(struct skep_dht *dht, const struct skep_dht_lookup_key *key,
                          const struct skep_dht_value *value)
{
    (void)skep_dht_storage_store_value(&dht->cache.storage, &key->id, value,
                                       skep_env_unix_s(dht->env));
    skep_dht_cache_judge(&dht->cache, &key->id, key->believes);
}

static bool on_found(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key, uint32_t node,
                     const struct skep_dht_find_result *result)
{
    struct skep_dht *dht = l->dht;
    struct skep_dht_value *value = decode_found(dht, key, result);
    double before = key->best ? key->best->expiration_unix_s : -INFINITY;

    if (!value || !skep_dht_believe(dht, key->believes, &key->id, &value))
        return false;
    if (key->finished) {
        /* Too late for those who asked; the next one finds it at home. */
        if (dht->options.cache_locally && !key->best)
            keep_in_cache(dht, key, value);
        skep_dht_value_unref(value);
        return false;
    }
    (void)skep_dht_value_merge(&key->best, value);
    skep_dht_value_unref(value);
    if (!key->best)
        return false;
    if (key->best->expiration_unix_s > before)
        key->source = node;
    return key->best->expiration_unix_s >= key->sufficient_unix_s;
}

/* ---- caching what was found ---- */

static double expiration_of(struct skep_dht_storage *storage, const struct skep_dht_id *key,
                            double now)
{
    const struct skep_dht_item *item = skep_dht_storage_get(storage, key, now);

    return item ? item->value->expiration_unix_s : -INFINITY;
}

static void cache_result(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key)
{
    struct skep_dht *dht = l->dht;
    struct search *search = l->user;
    double now = skep_env_unix_s(dht->env), held;
    size_t offered = 0;

    if (!key->best || key->source == SKEP_DHT_NO_NODE)
        return;
    held = SKEP_MAX(expiration_of(&dht->storage, &key->id, now),
                    expiration_of(&dht->cache.storage, &key->id, now));
    if (key->best->expiration_unix_s <= held)
        return;
    if (dht->options.cache_locally || search->is_refresh)
        keep_in_cache(dht, key, key->best);
    for (size_t i = 0; i < key->count && offered < dht->options.cache_nearest; i++)
        if (key->beam[i].state == SKEP_DHT_CAND_ANSWERED && key->beam[i].node != key->source) {
            skep_offers_add(l, &search->offers, key, key->beam[i].node);
            offered++;
        }
}

static void on_turn(struct skep_dht_lookup *l)
{
    struct search *search = l->user;

    skep_offers_send(l, &search->offers);
}

/* ---- a key is decided ---- */

static void pay(struct skep_dht_lookup *l, const struct skep_dht_lookup_key *key, struct get *g)
{
    struct search *search = l->user;
    struct skep_dht_cost *cost = &g->owner->cost;

    g->owner->rounds = key->rounds;
    cost->rounds = SKEP_MAX(cost->rounds, key->rounds);
    if (search->origin == g)
        cost->calls = l->cost.calls;
}

static void on_key(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key)
{
    struct skep_dht *dht = l->dht;
    bool answered = skep_dht_lookup_answered(l, key);
    struct skep_dht_value *value = NULL;

    forget_pending(dht, key);
    drop_expired(&key->best, skep_env_unix_s(dht->env));
    cache_result(l, key);
    if (key->best) {
        value = skep_dht_stripped(dht, &key->id, key->best);
        answered = value != NULL; /* without memory we have learnt nothing */
    }
    /* Whoever is told may cancel others: so take them off one at a time. */
    while (!skep_list_empty(&key->waiters)) {
        struct waiter *w = SKEP_LIST_ITEM(key->waiters.next, struct waiter, entry);
        struct get *g = w->get;

        skep_list_remove(&w->entry);
        w->key = NULL;
        pay(l, key, g);
        if (deliver(g, (size_t)(w - g->waiters), value, answered) && g->left == 0)
            end_get(g, 0);
    }
    skep_dht_value_unref(value);
}

static void on_free(struct skep_dht_lookup *l)
{
    struct search *search = l->user;

    for (uint32_t i = 0; i < l->key_count; i++) {
        forget_pending(l->dht, &l->keys[i]);
        skep_dht_value_unref(l->keys[i].best);
    }
    if (!search)
        return;
    skep_offers_fini(l, &search->offers);
    skep_mem_free(l->dht->mem, search);
}

/* ---- the start ---- */

/* A cached value of which a part is not believed may have lost true parts to it: it goes, and what is found takes its place. */
static struct skep_dht_value *cached_value(struct get *g, const struct skep_dht_id *key, double now)
{
    struct skep_dht *dht = g->dht;
    const struct skep_dht_item *item =
        g->is_refresh ? NULL : skep_dht_storage_get(&dht->cache.storage, key, now);
    struct skep_dht_value *value, *before;

    if (!item)
        return NULL;
    if (item->by_refresh.place == SKEP_HEAP_NONE && skep_dht_cache_used(&dht->cache, key, now) == 1)
        skep_dht_refresh_schedule(dht);
    skep_dht_cache_judge(&dht->cache, key, g->believes);
    value = before = skep_dht_value_ref(item->value);
    if (skep_dht_believe(dht, g->believes, key, &value) && value == before)
        return value;
    skep_dht_value_unref(value);
    skep_dht_storage_remove(&dht->cache.storage, key);
    return NULL;
}

static struct skep_dht_value *stored_value(struct get *g, const struct skep_dht_id *key, double now)
{
    const struct skep_dht_item *item = skep_dht_storage_get(&g->dht->storage, key, now);
    struct skep_dht_value *value = item ? skep_dht_value_ref(item->value) : NULL;

    if (value)
        (void)skep_dht_believe(g->dht, g->believes, key, &value);
    return value;
}

/* What we hold ourselves, into w->home. @return is it enough? */
static bool look_at_home(struct get *g, struct waiter *w, const struct skep_dht_id *key, double now)
{
    struct skep_dht_value *cached, *other;

    if (g->no_local)
        return false;
    cached = cached_value(g, key, now);
    w->home = stored_value(g, key, now);
    other = cached;
    if (!w->home || (cached && w->home->expiration_unix_s < cached->expiration_unix_s)) {
        other = w->home;
        w->home = cached;
    }
    if (w->home && other && w->home->expiration_unix_s < g->sufficient_unix_s)
        (void)skep_dht_value_merge(&w->home, other);
    skep_dht_value_unref(other);
    return w->home && w->home->expiration_unix_s >= g->sufficient_unix_s;
}

static void wait_for(struct waiter *w, struct skep_dht_lookup *l, struct skep_dht_lookup_key *key)
{
    w->lookup = l;
    w->key = key;
    skep_list_push_back(&key->waiters, &w->entry);
}

static bool is_guess(const struct get *g, const struct waiter *w)
{
    return (size_t)(w - g->waiters) >= g->count - g->guesses;
}

/* Somebody searches for this key already, for something at least as late, and believes the same? */
static bool share(struct get *g, struct waiter *w, const struct skep_dht_id *id)
{
    struct skep_dht_lookup_key *key;

    if (!g->dht->options.reuse_get_requests || g->no_local || g->is_refresh || !g->dht->pending)
        return false;
    HASH_FIND(hh, g->dht->pending, id->bytes, SKEP_DHT_ID_LEN, key);
    if (!key || key->sufficient_unix_s < g->sufficient_unix_s || key->believes != g->believes)
        return false;
    wait_for(w, key->lookup, key);
    key->shallow = key->shallow && is_guess(g, w);
    skep_dht_value_unref(w->home); /* the search has it, too */
    w->home = NULL;
    return true;
}

static void announce(struct get *g, struct skep_dht_lookup_key *key)
{
    struct skep_dht_lookup_key *other;

    if (!g->dht->options.reuse_get_requests || g->no_local || g->is_refresh)
        return;
    HASH_FIND(hh, g->dht->pending, key->id.bytes, SKEP_DHT_ID_LEN, other);
    if (other)
        return;
    HASH_ADD_KEYPTR(hh, g->dht->pending, key->id.bytes, SKEP_DHT_ID_LEN, key);
    key->pending = key->hh.tbl != NULL;
}

/* One lookup for the keys marked missing. */
static int search_for(struct get *g, const struct skep_dht_id *keys, const uint32_t *missing,
                      uint32_t count)
{
    struct skep_dht_lookup *l;
    struct search *search;
    int rc = skep_dht_lookup_new(&l, g->dht, count, true);

    if (rc < 0)
        return rc;
    l->on_free = on_free;
    l->user = search = skep_mem_zalloc(g->dht->mem, 1, sizeof *search);
    if (!search) {
        skep_dht_lookup_free(l);
        return SKEP_ENOMEM;
    }
    search->origin = g;
    search->is_refresh = g->is_refresh;
    l->terse = g->dht->options.terse_finds && isfinite(g->sufficient_unix_s);
    l->on_found = on_found;
    l->on_key = on_key;
    l->on_turn = on_turn;
    for (uint32_t i = 0; i < count; i++) {
        struct waiter *w = &g->waiters[missing[i]];
        struct skep_dht_lookup_key *key = &l->keys[i];

        key->id = keys[missing[i]];
        key->lookup = l;
        key->sufficient_unix_s = g->sufficient_unix_s;
        key->believes = g->believes;
        key->shallow = is_guess(g, w);
        key->best = w->home;
        w->home = NULL;
        wait_for(w, l, key);
        announce(g, key);
    }
    rc = skep_dht_lookup_start(l);
    for (uint32_t i = 0; rc < 0 && i < count; i++) {
        g->waiters[missing[i]].key = NULL; /* the lookup went, and with it the lists they were on */
        skep_list_init(&g->waiters[missing[i]].entry);
    }
    return rc;
}

/* Sort the keys into those at home, those shared and those to search for, and start the search. */
static int begin(struct get *g, const struct skep_dht_id *keys)
{
    double now = skep_env_unix_s(g->dht->env);
    uint32_t *missing = skep_mem_alloc(g->dht->mem, g->count * sizeof *missing);
    uint32_t count = 0, shared = 0;
    int rc = 0;

    if (!missing)
        return SKEP_ENOMEM;
    for (size_t i = 0; i < g->count; i++) {
        struct waiter *w = &g->waiters[i];

        if (look_at_home(g, w, &keys[i], now))
            continue;
        if (share(g, w, &keys[i]))
            shared++;
        else
            missing[count++] = (uint32_t)i;
    }
    g->owner->cost = (struct skep_dht_cost){.keys = count + shared};
    if (count > 0)
        rc = search_for(g, keys, missing, count);
    skep_mem_free(g->dht->mem, missing);
    return rc;
}

/* Tell what was at home, and the end if that was all. */
static void deliver_home(struct get *g, const struct skep_dht_id *keys)
{
    for (size_t i = 0; i < g->count; i++) {
        struct skep_dht_value *value, *bare;
        bool there;

        if (!g->waiters[i].home)
            continue;
        value = g->waiters[i].home;
        g->waiters[i].home = NULL;
        g->owner->rounds = 0;
        bare = skep_dht_stripped(g->dht, &keys[i], value);
        skep_dht_value_unref(value);
        there = deliver(g, i, bare, bare != NULL);
        skep_dht_value_unref(bare);
        if (!there)
            return;
    }
    if (g->left == 0)
        end_get(g, 0);
}

static int start(struct skep_dht *dht, struct skep_dht_get *owner, const struct skep_dht_id *keys,
                 size_t count, const struct skep_dht_get_options *options, bool is_refresh)
{
    struct get *g;
    int rc;

    if (count > SKEP_DHT_KEYS_MAX)
        return SKEP_ELIMIT;
    g = skep_mem_zalloc(dht->mem, 1, sizeof *g + count * sizeof g->waiters[0]);
    if (!g)
        return SKEP_ENOMEM;
    g->head.cancel = cancel_get;
    g->dht = dht;
    g->owner = owner;
    g->count = g->left = count;
    g->deadline.fire = on_deadline;
    g->is_refresh = is_refresh;
    g->guesses = SKEP_MIN(options->guesses, count);
    g->no_local = options->no_local;
    g->believes = options->believes;
    g->sufficient_unix_s = options->sufficient_expiration_unix_s;
    if (g->sufficient_unix_s == 0)
        g->sufficient_unix_s = skep_env_unix_s(dht->env);
    for (size_t i = 0; i < count; i++) {
        g->waiters[i].get = g;
        skep_list_init(&g->waiters[i].entry);
    }
    skep_list_push_back(&dht->gets, &g->entry);
    owner->op.state = &g->head;
    rc = options->deadline_us > 0
             ? skep_timer_start(dht->env->timers, &g->deadline, options->deadline_us)
             : 0;
    if (rc == 0)
        rc = begin(g, keys);
    if (rc < 0) {
        owner->op.state = NULL;
        leave_all(g, true);
        free_get(g);
        return rc;
    }
    deliver_home(g, keys);
    return 0;
}

int skep_dht_get_start(struct skep_dht *dht, struct skep_dht_get *get,
                       const struct skep_dht_id *keys, size_t count,
                       const struct skep_dht_get_options *options)
{
    return start(dht, get, keys, count, options, false);
}

int skep_dht_get_start_refresh(struct skep_dht *dht, struct skep_dht_get *get,
                               const struct skep_dht_id *keys, size_t count,
                               const struct skep_dht_get_options *options)
{
    return start(dht, get, keys, count, options, true);
}

void skep_dht_get_insist(struct skep_dht *dht, struct skep_dht_get *get, size_t index)
{
    struct get *g = get->op.state ? SKEP_CONTAINER_OF(get->op.state, struct get, head) : NULL;

    (void)dht;
    if (g && g->waiters[index].key)
        g->waiters[index].key->shallow = false;
}
