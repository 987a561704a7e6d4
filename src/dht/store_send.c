/* SPDX-License-Identifier: MIT */
/* Records to their nodes: keys that go to one node travel together in rpc_store requests of at most SKEP_DHT_STORE_REQUEST_BYTES, one in flight a node. A node
 * that fails is replaced by the next nearest, for each of its keys. docs/wire.md c.2 (rpc_store), c.4 (store). */
#include "dht/store_internal.h"

static const uint8_t plain_subkey[1] = {0xc0};

static skep_bytes arena_bytes(const struct skep_store *store, uint32_t at, uint32_t len)
{
    return skep_bytes_of(store->arena.data + at, len);
}

/* ---- whom a key goes to ---- */

/* The nearest node not tried yet. @return its index, or node_count. */
static uint32_t nearest_untried(const struct skep_hood *hood, const struct skep_store_key *key)
{
    uint64_t head = skep_get_be64(key->id.bytes), best_head = UINT64_MAX;
    uint32_t best = hood->node_count;

    for (uint32_t i = 0; i < hood->node_count; i++) {
        uint64_t distance = skep_get_be64(hood->nodes[i].id.bytes) ^ head;

        if (key->tried >> i & 1 || hood->nodes[i].failed || distance > best_head)
            continue;
        if (distance == best_head && best < hood->node_count &&
            skep_dht_id_nearer(&key->id, &hood->nodes[i].id, &hood->nodes[best].id) > 0)
            continue;
        best = i;
        best_head = distance;
    }
    return best;
}

static bool queue_key(struct skep_hood_node *node, uint32_t key)
{
    struct skep_dht *dht = node->hood->store->dht;

    if (node->key_count == node->key_cap) {
        uint32_t cap = SKEP_MAX(node->key_cap * 2, 16);
        void *grown = skep_mem_resize(dht->mem, node->keys, cap * sizeof *node->keys);

        if (!grown)
            return false;
        node->keys = grown;
        node->key_cap = cap;
    }
    node->keys[node->key_count++] = key;
    return true;
}

static void store_here(struct skep_store *store, struct skep_store_key *key)
{
    struct skep_dht *dht = store->dht;
    struct skep_dht_storage *into = store->in_cache ? &dht->cache.storage : &dht->storage;
    double now = skep_env_unix_s(dht->env);
    bool took = false;

    for (uint32_t i = 0; i < key->count; i++) {
        struct skep_store_record *r = &store->records[store->order[key->first + i]];
        skep_bytes subkey = arena_bytes(store, r->subkey_at, r->subkey_len),
                   value = arena_bytes(store, r->value_at, r->value_len);
        struct skep_dht_signable record = {
            .key = skep_bytes_of(key->id.bytes, SKEP_DHT_ID_LEN),
            .subkey = subkey.len > 0 ? subkey : skep_bytes_of(plain_subkey, 1),
            .value = value,
            .expiration_unix_s = r->expiration_unix_s};

        r->answered++;
        if (dht->validators.count > 0 && skep_validators_validate(&dht->validators, &record) < 0)
            continue;
        if (skep_dht_storage_store(into, &key->id, subkey, value, r->expiration_unix_s, NULL,
                                   now) == 1) {
            r->accepted++;
            took = true;
        }
    }
    key->answered++;
    key->refused += !took;
}

/* How many nodes have, or will have, the key. One that refuses what others take is none of them: it lies, or is full. If all refuse they have something newer. */
static size_t replicas(const struct skep_store_key *key)
{
    size_t refused = key->refused < key->answered ? key->refused : 0;

    return (size_t)key->answered - refused + key->pending;
}

bool skep_store_dispatch(struct skep_store *store, struct skep_store_key *key)
{
    struct skep_hood *hood = key->hood;

    while (replicas(key) < store->dht->options.num_replicas) {
        uint32_t node = nearest_untried(hood, key);

        if (node == hood->node_count)
            break;
        key->tried |= (uint64_t)1 << node;
        if (hood->nodes[node].is_self)
            store_here(store, key);
        else if (queue_key(&hood->nodes[node], (uint32_t)(key - store->keys)))
            key->pending++;
    }
    return key->pending == 0;
}

/* ---- requests ---- */

static void on_stored(struct skep_dht_request *request, int rc, skep_bytes reply);

/* As many of the records that wait as fit into one request: from next_… on. @return how many. */
static size_t gather(struct skep_hood_node *node)
{
    struct skep_store *store = node->hood->store;
    size_t count = 0, len = 0;

    node->from_key = node->next_key;
    node->from_record = node->next_record;
    for (; node->next_key < node->key_count; node->next_key++, node->next_record = 0) {
        const struct skep_store_key *key = &store->keys[node->keys[node->next_key]];

        for (; node->next_record < key->count; node->next_record++) {
            const struct skep_store_record *r =
                &store->records[store->order[key->first + node->next_record]];
            struct skep_dht_store_item *item = &store->items[count];

            if (count == SKEP_STORE_ITEMS_MAX)
                return count;
            *item = (struct skep_dht_store_item){
                .key = skep_bytes_of(key->id.bytes, SKEP_DHT_ID_LEN),
                .subkey = r->subkey_len > 0 ? arena_bytes(store, r->subkey_at, r->subkey_len)
                                            : skep_bytes_of(plain_subkey, 1),
                .value = arena_bytes(store, r->value_at, r->value_len),
                .expiration_unix_s = r->expiration_unix_s,
                .in_cache = store->in_cache};
            len += skep_dht_store_item_len(item);
            if (count > 0 && len > SKEP_DHT_STORE_REQUEST_BYTES)
                return count;
            count++;
        }
    }
    return count;
}

static int send_next(struct skep_hood_node *node)
{
    struct skep_store *store = node->hood->store;
    struct skep_dht *dht = store->dht;
    size_t count = gather(node);
    int rc;

    skep_buf_clear(&dht->message);
    skep_dht_store_request_encode(&dht->message, dht->told_id, store->items, count);
    if ((rc = dht->message.rc) < 0)
        return rc;
    node->request.done = on_stored;
    rc = skep_dht_request_start(dht, &node->request, &node->peer, SKEP_DHT_RPC_STORE,
                                skep_buf_view(&dht->message));
    if (rc < 0)
        return rc;
    store->in_flight++;
    if (store->owner) {
        store->owner->cost.calls++;
        store->owner->cost.rounds = SKEP_MAX(store->owner->cost.rounds, node->hood->rounds + 1);
    }
    return 0;
}

/* All that waits for this node goes elsewhere. @return false when the store was cancelled. */
static bool lose_node(struct skep_hood_node *node)
{
    struct skep_store *store = node->hood->store;

    node->failed = true;
    for (uint32_t i = node->from_key; i < node->key_count; i++) {
        struct skep_store_key *key = &store->keys[node->keys[i]];

        key->pending--;
        if (skep_store_dispatch(store, key) && !skep_store_finish_key(store, key))
            return false;
    }
    node->from_key = node->next_key = node->key_count;
    node->next_record = 0;
    return true;
}

void skep_store_flush(struct skep_hood *hood)
{
    bool again = true;

    /* Where not even sending works the keys go to other nodes, which then have something to send. */
    while (again) {
        again = false;
        for (uint32_t i = 0; i < hood->node_count; i++) {
            struct skep_hood_node *node = &hood->nodes[i];

            if (node->request.running || node->next_key >= node->key_count)
                continue;
            if (send_next(node) == 0)
                continue;
            again = true;
            if (!lose_node(node))
                return;
        }
    }
}

/* Count what a node accepted. @return false when the answer is not one to this request. */
static bool take_acceptance(struct skep_hood_node *node, skep_bytes reply)
{
    struct skep_store *store = node->hood->store;
    struct skep_dht_store_response response;
    uint32_t at = node->from_key, record = node->from_record;
    size_t expected = 0;
    bool ok;

    for (uint32_t i = at; i <= node->next_key && i < node->key_count; i++)
        expected += i < node->next_key ? store->keys[node->keys[i]].count : node->next_record;
    expected -= record;
    if (skep_dht_store_response_decode(&response, reply) < 0 ||
        response.store_ok.left != expected) {
        store->dht->stats.bad_messages++;
        return false;
    }
    if (response.sender.has_id)
        skep_dht_met(store->dht, &response.sender.id, &node->peer);
    while (skep_dht_next_bool(&response.store_ok, &ok)) {
        struct skep_store_key *key = &store->keys[node->keys[at]];
        struct skep_store_record *r = &store->records[store->order[key->first + record]];

        r->answered++;
        r->accepted += ok;
        node->took |= ok;
        if (++record == key->count) {
            key->refused += !node->took;
            node->took = false;
            record = 0;
            at++;
        }
    }
    return true;
}

/* The keys that this answer completes here. @return false when the store was cancelled. */
static bool complete_keys(struct skep_hood_node *node)
{
    struct skep_store *store = node->hood->store;
    uint32_t from = node->from_key, to = node->next_key;

    node->from_key = node->next_key;
    node->from_record = node->next_record;
    for (uint32_t i = from; i < to; i++) {
        struct skep_store_key *key = &store->keys[node->keys[i]];

        key->answered++;
        key->pending--;
        if (key->pending == 0 && skep_store_dispatch(store, key) &&
            !skep_store_finish_key(store, key))
            return false;
    }
    return true;
}

static void on_stored(struct skep_dht_request *request, int rc, skep_bytes reply)
{
    struct skep_hood_node *node = SKEP_CONTAINER_OF(request, struct skep_hood_node, request);
    struct skep_hood *hood = node->hood;
    struct skep_store *store = hood->store;

    store->busy++;
    store->in_flight--;
    if (rc < 0)
        skep_dht_failed(store->dht, &node->peer, rc);
    if (store->owner &&
        (rc == 0 && take_acceptance(node, reply) ? complete_keys(node) : lose_node(node)))
        skep_store_flush(hood);
    store->busy--;
    skep_store_end_if_over(store);
}
