/* SPDX-License-Identifier: MIT */
/* skep_dht_store: finds out which nodes are near to which keys, for all keys together. docs/wire.md c.4 (store); hivemind dht/node.py, store_many().
 *
 * A traversal that has ended knows every node of the subtree of ids that shares more leading bits with its target than the farthest node of its beam does.
 * So it answers not only for its target but for every key in that subtree, if that many nodes are in it as a key has replicas: keys are sorted by id, the
 * first one without an answer is looked up, its subtree is marked, and so on, several at a time. In a swarm smaller than a bucket one traversal answers for all. */
#include "dht/store_internal.h"

/* Traversals at once. */
#define SEEKERS_MAX 16
/* So long a small swarm, once seen whole, is taken to be whole in our table. Who came since has asked us; who left is replaced as any that fails. */
#define WHOLE_FRESH_US ((uint64_t)10000000)

/* A traversal under way. */
struct seeker {
    struct skep_list entry; /* store->seekers */
    struct skep_store *store;
    struct skep_dht_lookup *lookup;
    uint32_t key;
    uint32_t presumed_from, presumed_to; /* keys it will likely answer for */
};

static void seek(struct skep_store *store);

/* ---- the end ---- */

static void free_hood(struct skep_hood *hood)
{
    const struct skep_mem *mem = hood->store->dht->mem;

    for (uint32_t i = 0; i < hood->node_count; i++) {
        skep_dht_request_cancel(&hood->nodes[i].request);
        skep_mem_free(mem, hood->nodes[i].keys);
    }
    skep_list_remove(&hood->entry);
    skep_mem_free(mem, hood);
}

static void free_seeker(struct seeker *seeker)
{
    struct skep_store *store = seeker->store;

    for (uint32_t i = seeker->presumed_from; i < seeker->presumed_to; i++)
        store->keys[i].presumed = false;
    skep_list_remove(&seeker->entry);
    store->seeker_count--;
    skep_mem_free(store->dht->mem, seeker);
}

static void cancel_seekers(struct skep_store *store)
{
    SKEP_LIST_EACH(&store->seekers, entry, after)
    {
        struct seeker *seeker = SKEP_LIST_ITEM(entry, struct seeker, entry);
        struct skep_dht_lookup *lookup = seeker->lookup;

        lookup->user = NULL;
        free_seeker(seeker);
        skep_dht_lookup_cancel(lookup);
    }
}

static void free_store(struct skep_store *store)
{
    const struct skep_mem *mem = store->dht->mem;

    cancel_seekers(store);
    SKEP_LIST_EACH(&store->hoods, entry, after)
    free_hood(SKEP_LIST_ITEM(entry, struct skep_hood, entry));
    skep_env_stop(store->dht->env, &store->deadline);
    skep_env_stop(store->dht->env, &store->kick);
    skep_list_remove(&store->entry);
    skep_buf_fini(&store->arena);
    skep_mem_free(mem, store->records);
    skep_mem_free(mem, store->order);
    skep_mem_free(mem, store->keys);
    skep_mem_free(mem, store->items);
    skep_mem_free(mem, store);
}

static void tell_end(struct skep_store *store, int rc)
{
    struct skep_dht_store *owner = store->owner;

    store->owner = NULL;
    owner->op.state = NULL;
    store->busy++;
    owner->done(owner, rc);
    store->busy--;
}

void skep_store_end_if_over(struct skep_store *store)
{
    if (store->busy > 0)
        return;
    if (store->owner && store->keys_left == 0)
        tell_end(store, 0);
    if (store->dead || (!store->owner && store->in_flight == 0))
        free_store(store);
}

static void cancel_store(struct skep_dht_op_head *head)
{
    struct skep_store *store = SKEP_CONTAINER_OF(head, struct skep_store, head);

    store->owner = NULL;
    store->dead = true;
    skep_store_end_if_over(store);
}

void skep_dht_store_end_all(struct skep_dht *dht)
{
    while (!skep_list_empty(&dht->stores)) {
        struct skep_store *store = SKEP_LIST_ITEM(dht->stores.next, struct skep_store, entry);

        store->dead = true;
        if (store->owner)
            tell_end(store, SKEP_ECANCELED);
        free_store(store);
    }
}

/* The owner is told how far each record came; requests under way go on, nothing new starts. */
static void on_deadline(struct skep_timer *timer)
{
    struct skep_store *store = SKEP_CONTAINER_OF(timer, struct skep_store, deadline);

    store->busy++;
    cancel_seekers(store);
    for (uint32_t i = 0; i < store->key_count && !store->dead; i++)
        if (!store->keys[i].done)
            skep_store_finish_key(store, &store->keys[i]);
    if (!store->dead)
        tell_end(store, SKEP_EDEADLINE);
    store->busy--;
    skep_store_end_if_over(store);
}

/* ---- a key is done ---- */

static void cache_record(struct skep_store *store, const struct skep_store_key *key,
                         const struct skep_store_record *r, bool in_cache)
{
    struct skep_dht *dht = store->dht;
    struct skep_dht_storage *cache = &dht->cache.storage;
    double now = skep_env_unix_s(dht->env);
    skep_bytes subkey = skep_bytes_of(store->arena.data + r->subkey_at, r->subkey_len);
    skep_bytes value = skep_bytes_of(store->arena.data + r->value_at, r->value_len);
    const struct skep_dht_item *cached;

    if (r->accepted > 0 && (r->subkey_len == 0 || in_cache))
        (void)skep_dht_storage_store(cache, &key->id, subkey, value, r->expiration_unix_s, NULL,
                                     now);
    if (r->subkey_len == 0 && r->accepted == 0 && r->answered > 0) {
        cached = skep_dht_storage_get(cache, &key->id, now);
        if (cached && cached->value->expiration_unix_s <= r->expiration_unix_s)
            (void)skep_dht_cache_refresh_soon(&dht->cache, &key->id,
                                              now); /* others have something newer */
    }
}

static void cache_key(struct skep_store *store, const struct skep_store_key *key)
{
    struct skep_dht *dht = store->dht;
    double now = skep_env_unix_s(dht->env);
    bool in_cache = skep_dht_storage_get(&dht->cache.storage, &key->id, now) != NULL,
         dictionary = false;

    for (uint32_t i = 0; i < key->count; i++) {
        const struct skep_store_record *r = &store->records[store->order[key->first + i]];

        dictionary |= r->subkey_len > 0;
        cache_record(store, key, r, in_cache);
    }
    if (dictionary && in_cache)
        (void)skep_dht_cache_refresh_soon(&dht->cache, &key->id,
                                          now); /* there may be other subkeys, too */
    skep_dht_refresh_schedule(dht);
}

bool skep_store_finish_key(struct skep_store *store, struct skep_store_key *key)
{
    key->done = true;
    store->keys_left--;
    if (store->dht->options.cache_on_store && key->hood)
        cache_key(store, key);
    for (uint32_t i = 0; i < key->count && !store->dead; i++) {
        uint32_t index = store->order[key->first + i];

        store->owner->on_stored(store->owner, index, store->records[index].accepted,
                                store->records[index].answered);
    }
    return !store->dead;
}

/* ---- neighbourhoods ---- */

/* The keys that share `depth` bits with keys[at]: they lie around it. */
static void subtree(const struct skep_store *store, uint32_t at, unsigned depth, uint32_t *from,
                    uint32_t *to)
{
    const struct skep_dht_id *id = &store->keys[at].id;

    for (*from = at; *from > 0 && skep_dht_id_common_bits(&store->keys[*from - 1].id, id) >= depth;
         --*from)
        ;
    for (*to = at + 1;
         *to < store->key_count && skep_dht_id_common_bits(&store->keys[*to].id, id) >= depth;
         ++*to)
        ;
}

static void add_hood_node(struct skep_hood *hood, const struct skep_dht_id *id,
                          const struct skep_peer_id *peer, bool is_self)
{
    struct skep_hood_node *node = &hood->nodes[hood->node_count++];

    node->hood = hood;
    node->id = *id;
    node->peer = *peer;
    node->is_self = is_self;
}

static void add_late_node(struct skep_hood *hood, const struct skep_dht_lookup_node *node)
{
    add_hood_node(hood, &node->id, &node->peer, false);
    hood->nodes[hood->node_count - 1].late = hood->nodes[hood->node_count - 1].failed = true;
    hood->late_count++;
}

/* Would one of those that have not answered be a replica of this key? Then a lookup of its own waits for it. */
static bool late_is_near(const struct skep_hood *hood, const struct skep_dht_id *key)
{
    for (uint32_t late = 0; hood->late_count > 0 && late < hood->node_count; late++) {
        size_t nearer = 0;

        if (!hood->nodes[late].late)
            continue;
        for (uint32_t i = 0; i < hood->node_count; i++)
            nearer += !hood->nodes[i].late &&
                      skep_dht_id_nearer(key, &hood->nodes[i].id, &hood->nodes[late].id) < 0;
        if (nearer < hood->store->dht->options.num_replicas)
            return true;
    }
    return false;
}

static struct skep_hood *new_hood(struct skep_store *store, size_t nodes, uint32_t rounds)
{
    struct skep_hood *hood =
        skep_mem_zalloc(store->dht->mem, 1, sizeof *hood + (nodes + 1) * sizeof hood->nodes[0]);

    if (!hood)
        return NULL;
    hood->store = store;
    hood->rounds = rounds;
    skep_list_push_back(&store->hoods, &hood->entry);
    if (store->with_self)
        add_hood_node(hood, &store->dht->node_id, &store->dht->rpc->self, true);
    return hood;
}

/* Keys [from, to) that have no hood yet get this one, and their records go out: keys[at], whose lookup it comes from, and those it will do for. */
static void settle_keys(struct skep_store *store, struct skep_hood *hood, uint32_t from,
                        uint32_t to, uint32_t at)
{
    for (uint32_t i = from; i < to; i++) {
        struct skep_store_key *key = &store->keys[i];

        if (key->hood || key->done || (i != at && late_is_near(hood, &key->id)))
            continue;
        key->hood = hood;
        if (skep_store_dispatch(store, key) && !skep_store_finish_key(store, key))
            return;
    }
    skep_store_flush(hood);
}

/* All nodes of a small swarm are in our table, and were seen lately. */
static bool settle_from_table(struct skep_store *store)
{
    struct skep_dht *dht = store->dht;
    struct skep_hood *hood;
    size_t count;

    if (skep_env_now_us(dht->env) >= dht->whole_until_us || dht->table.node_count == 0 ||
        dht->table.node_count >= dht->options.bucket_size)
        return false;
    count = skep_routing_nearest(&dht->table, &store->keys[0].id, dht->options.bucket_size, NULL,
                                 dht->nearest);
    hood = new_hood(store, count, 0);
    if (!hood)
        return false;
    for (size_t i = 0; i < count; i++)
        add_hood_node(hood, &dht->nearest[i]->id, &dht->nearest[i]->peer, false);
    settle_keys(store, hood, 0, store->key_count, 0);
    return true;
}

/* How many of a lookup's beam are known to have nobody between them: up to the first that was not asked who is near him. */
static size_t asked_count(const struct skep_dht_lookup *l, const struct skep_dht_lookup_key *key)
{
    size_t count = 0;

    while (count < key->count && count < l->beam && key->beam[count].state != SKEP_DHT_CAND_NEW)
        count++;
    return count;
}

/* How many leading bits of a lookup's target the ids have all of whose nodes are among those asked; 0: all ids. Each node asked names as many as a beam
 * holds, those that are gone among them: so many fewer are known for sure. */
static unsigned complete_depth(const struct skep_dht_lookup *l,
                               const struct skep_dht_lookup_key *key)
{
    size_t asked = asked_count(l, key), gone = (size_t)key->asks - key->answers - key->late,
           sure = SKEP_MIN(asked, l->beam - SKEP_MIN(gone, (size_t)l->beam));

    if (asked == key->count && asked < l->beam && !key->dropped)
        return 0;
    return sure == 0
               ? SKEP_DHT_ID_BITS
               : skep_dht_id_common_bits(&key->id, &l->nodes[key->beam[sure - 1].node].id) + 1;
}

/* Nodes that are there and share `depth` bits with the target. */
static size_t nodes_inside(const struct skep_store *store, const struct skep_dht_lookup *l,
                           const struct skep_dht_lookup_key *key, unsigned depth)
{
    size_t count =
        store->with_self && skep_dht_id_common_bits(&key->id, &store->dht->node_id) >= depth;

    for (size_t i = 0; i < key->count; i++)
        count += key->beam[i].state == SKEP_DHT_CAND_ANSWERED &&
                 skep_dht_id_common_bits(&key->id, &l->nodes[key->beam[i].node].id) >= depth;
    return count;
}

static struct skep_hood *hood_of_lookup(struct skep_store *store, const struct skep_dht_lookup *l,
                                        const struct skep_dht_lookup_key *key)
{
    struct skep_hood *hood = new_hood(store, key->count, key->rounds);
    bool want_late = true;

    if (!hood)
        return NULL;
    for (size_t i = 0; i < key->count; i++)
        want_late &= key->beam[i].state != SKEP_DHT_CAND_ANSWERED;
    /* Those that have not answered so far would only hold the store up, unless there is nobody else. */
    for (size_t i = 0; i < key->count && hood->node_count < SKEP_STORE_HOOD_MAX; i++) {
        const struct skep_dht_lookup_node *node = &l->nodes[key->beam[i].node];

        /* Those that did not have to be asked are there in case that others fail. */
        if (key->beam[i].state == SKEP_DHT_CAND_ANSWERED ||
            key->beam[i].state == SKEP_DHT_CAND_NEW ||
            (want_late && key->beam[i].state == SKEP_DHT_CAND_LATE))
            add_hood_node(hood, &node->id, &node->peer, false);
        else if (key->beam[i].state == SKEP_DHT_CAND_LATE)
            add_late_node(hood, node);
    }
    return hood;
}

static void on_near_known(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key)
{
    struct seeker *seeker = l->user;
    struct skep_store *store = seeker->store;
    struct skep_dht *dht = store->dht;
    uint32_t at = seeker->key, from = at, to = at + 1;
    unsigned depth = complete_depth(l, key);
    struct skep_hood *hood = hood_of_lookup(store, l, key);

    store->busy++;
    l->user = NULL;
    store->owner->cost.calls += l->cost.calls;
    store->owner->cost.rounds = SKEP_MAX(store->owner->cost.rounds, key->rounds);
    free_seeker(seeker);
    if (depth == 0 && key->late == 0 && key->failed_near == 0)
        dht->whole_until_us = skep_env_now_us(dht->env) + WHOLE_FRESH_US;
    if (depth == 0 || nodes_inside(store, l, key, depth) >= dht->options.num_replicas)
        subtree(store, at, depth, &from, &to);
    if (asked_count(l, key) == SKEP_MIN(key->count, l->beam)) /* what its whole beam answers for */
        store->last_depth = SKEP_MAX(depth, 1) - 1;
    if (hood)
        settle_keys(store, hood, from, to, at);
    else
        skep_store_finish_key(store, &store->keys[at]); /* without memory: stored nowhere */
    if (!store->dead)
        seek(store);
    store->busy--;
    skep_store_end_if_over(store);
}

static void on_lookup_free(struct skep_dht_lookup *l)
{
    struct seeker *seeker = l->user;

    if (seeker)
        free_seeker(seeker);
}

/* ---- seeking ---- */

/* What a lookup of this key will likely answer for: judged by our own table, and by what the last one answered for. */
static void presume(struct skep_store *store, struct seeker *seeker)
{
    struct skep_dht *dht = store->dht;
    const struct skep_dht_id *id = &store->keys[seeker->key].id;
    size_t count =
        skep_routing_nearest(&dht->table, id, dht->options.bucket_size, NULL, dht->nearest);
    unsigned depth = count < dht->options.bucket_size
                         ? 0
                         : skep_dht_id_common_bits(id, &dht->nearest[count - 1]->id) + 1;

    depth = SKEP_MAX(depth, store->last_depth);
    subtree(store, seeker->key, depth, &seeker->presumed_from, &seeker->presumed_to);
    for (uint32_t i = seeker->presumed_from; i < seeker->presumed_to; i++) {
        /* Those that another lookup is presumed to answer for stay its own. */
        if (store->keys[i].presumed && i < seeker->key)
            seeker->presumed_from = i + 1;
        else if (store->keys[i].presumed) {
            seeker->presumed_to = i;
            break;
        }
    }
    for (uint32_t i = seeker->presumed_from; i < seeker->presumed_to; i++)
        store->keys[i].presumed = true;
}

static int start_seeker(struct skep_store *store, uint32_t key)
{
    struct seeker *seeker = skep_mem_zalloc(store->dht->mem, 1, sizeof *seeker);
    struct skep_dht_lookup *l;
    int rc;

    if (!seeker)
        return SKEP_ENOMEM;
    seeker->store = store;
    seeker->key = key;
    rc = skep_dht_lookup_new(&l, store->dht, 1, false);
    if (rc < 0) {
        skep_mem_free(store->dht->mem, seeker);
        return rc;
    }
    seeker->lookup = l;
    skep_list_push_back(&store->seekers, &seeker->entry);
    store->seeker_count++;
    presume(store, seeker);
    /* The whole beam answers for more keys, if there are more. */
    l->exhaustive |= seeker->presumed_to - seeker->presumed_from > 1;
    l->keys[0].id = store->keys[key].id;
    l->user = seeker;
    l->on_key = on_near_known;
    l->on_free = on_lookup_free;
    return skep_dht_lookup_start(l);
}

static void seek(struct skep_store *store)
{
    while (store->next_key < store->key_count &&
           (store->keys[store->next_key].hood || store->keys[store->next_key].done))
        store->next_key++;
    for (uint32_t i = store->next_key; i < store->key_count && store->seeker_count < SEEKERS_MAX;
         i++) {
        struct skep_store_key *key = &store->keys[i];

        if (key->hood || key->done || key->presumed)
            continue;
        if (start_seeker(store, i) < 0 && store->seeker_count == 0 &&
            !skep_store_finish_key(store, key))
            return;
    }
}

static void on_kick(struct skep_timer *timer)
{
    struct skep_store *store = SKEP_CONTAINER_OF(timer, struct skep_store, kick);

    store->busy++;
    if (store->key_count > 0 && !settle_from_table(store))
        seek(store);
    store->busy--;
    skep_store_end_if_over(store);
}

/* ---- the start ---- */

/* Records sorted by key, those of one key in their order: heap sort, since records may be many and memory is ours to count. */
static bool record_before(const struct skep_dht_record *records, uint32_t a, uint32_t b)
{
    int order = memcmp(records[a].key.bytes, records[b].key.bytes, SKEP_DHT_ID_LEN);

    return order != 0 ? order < 0 : a < b;
}

static void sift(uint32_t *order, size_t count, size_t at, const struct skep_dht_record *records)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        uint32_t top = order[at];

        child += child + 1 < count && record_before(records, order[child], order[child + 1]);
        if (!record_before(records, top, order[child]))
            return;
        order[at] = order[child];
        order[child] = top;
    }
}

static void sort_order(uint32_t *order, size_t count, const struct skep_dht_record *records)
{
    for (size_t i = count / 2; i-- > 0;)
        sift(order, count, i, records);
    for (size_t end = count; end-- > 1;) {
        uint32_t last = order[end];

        order[end] = order[0];
        order[0] = last;
        sift(order, end, 0, records);
    }
}

static void group_keys(struct skep_store *store, const struct skep_dht_record *records)
{
    for (uint32_t i = 0; i < store->record_count; i++) {
        const struct skep_dht_id *id = &records[store->order[i]].key;
        struct skep_store_key *key =
            store->key_count > 0 ? &store->keys[store->key_count - 1] : NULL;

        if (!key || !skep_dht_id_equal(&key->id, id)) {
            key = &store->keys[store->key_count++];
            key->id = *id;
            key->first = i;
        }
        key->count++;
    }
    store->keys_left = store->key_count;
}

/* Sign a record and keep its bytes. */
static int take_record(struct skep_store *store, struct skep_store_record *to,
                       const struct skep_dht_record *record, struct skep_buf *scratch)
{
    static const uint8_t plain_subkey[1] = {0xc0};
    struct skep_dht *dht = store->dht;
    struct skep_dht_signable signable = {
        .key = skep_bytes_of(record->key.bytes, SKEP_DHT_ID_LEN),
        .subkey = record->subkey.len > 0 ? record->subkey : skep_bytes_of(plain_subkey, 1),
        .value = record->value,
        .expiration_unix_s = record->expiration_unix_s};
    skep_bytes value = record->value;
    int rc = 0;

    if (dht->validators.count > 0) {
        skep_buf_clear(scratch);
        rc = skep_validators_sign(&dht->validators, &signable, scratch, &value);
    }
    if (rc < 0)
        return rc;
    if (store->arena.len + record->subkey.len + value.len > UINT32_MAX)
        return SKEP_ELIMIT;
    to->subkey_at = (uint32_t)store->arena.len;
    to->subkey_len = (uint32_t)record->subkey.len;
    skep_buf_put_bytes(&store->arena, record->subkey);
    to->value_at = (uint32_t)store->arena.len;
    to->value_len = (uint32_t)value.len;
    skep_buf_put_bytes(&store->arena, value);
    to->expiration_unix_s = record->expiration_unix_s;
    return store->arena.rc;
}

static int take_records(struct skep_store *store, const struct skep_dht_record *records,
                        size_t count)
{
    const struct skep_mem *mem = store->dht->mem;
    struct skep_buf scratch;
    int rc = 0;

    store->records = skep_mem_zalloc(mem, count, sizeof *store->records);
    store->order = skep_mem_alloc(mem, count * sizeof *store->order);
    store->keys = skep_mem_zalloc(mem, count, sizeof *store->keys);
    store->items =
        skep_mem_alloc(mem, SKEP_MIN(count, (size_t)SKEP_STORE_ITEMS_MAX) * sizeof *store->items);
    if (!store->records || !store->order || !store->keys || !store->items)
        return SKEP_ENOMEM;
    skep_buf_init(&scratch, mem);
    for (uint32_t i = 0; i < count && rc >= 0; i++) {
        store->order[i] = i;
        rc = take_record(store, &store->records[i], &records[i], &scratch);
    }
    skep_buf_fini(&scratch);
    if (rc < 0)
        return rc;
    store->record_count = (uint32_t)count;
    sort_order(store->order, count, records);
    group_keys(store, records);
    return 0;
}

int skep_dht_store_start(struct skep_dht *dht, struct skep_dht_store *owner,
                         const struct skep_dht_record *records, size_t count,
                         const struct skep_dht_store_options *options)
{
    struct skep_store *store;
    int rc = 0;

    if (count > SKEP_DHT_KEYS_MAX)
        return SKEP_ELIMIT;
    store = skep_mem_zalloc(dht->mem, 1, sizeof *store);
    if (!store)
        return SKEP_ENOMEM;
    store->dht = dht;
    store->owner = owner;
    store->head.cancel = cancel_store;
    store->deadline.fire = on_deadline;
    store->kick.fire = on_kick;
    store->in_cache = options->in_cache;
    store->with_self = !options->exclude_self && !dht->options.client_mode;
    skep_list_init(&store->hoods);
    skep_list_init(&store->seekers);
    skep_buf_init(&store->arena, dht->mem);
    skep_list_push_back(&dht->stores, &store->entry);
    if (count > 0)
        rc = take_records(store, records, count);
    owner->cost = (struct skep_dht_cost){.keys = store->key_count};
    if (rc == 0 && options->deadline_us > 0)
        rc = skep_timer_start(dht->env->timers, &store->deadline, options->deadline_us);
    /* Replicas of our own are stored at once, so nothing may be told before we return. */
    if (rc == 0)
        rc = skep_env_after(dht->env, &store->kick, 0);
    if (rc < 0) {
        free_store(store);
        return rc;
    }
    owner->op.state = &store->head;
    return 0;
}
