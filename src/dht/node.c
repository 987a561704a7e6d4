/* SPDX-License-Identifier: MIT */
#include "dht/node.h"

#include <math.h>

#include "dht/crawl.h"
#include "dht/traverse.h"

/* Before any answer has told: what a key's part of one may weigh. */
#define KEY_BYTES_GUESS ((size_t)16 << 10)

/* Round trips before the first request to a peer can leave: TCP, Noise, the muxer. */
#define HANDSHAKE_ROUNDS 3

static const uint8_t plain_subkey[1] = {0xc0};

void skep_dht_options_default(struct skep_dht_options *options)
{
    *options = (struct skep_dht_options){
        .bucket_size = 20,
        .num_replicas = 5,
        .depth_modulo = 5,
        .wait_timeout_us = 3000000,
        .bootstrap_timeout_us = 3000000,
        .ensure_bootstrap_success = true,
        .strict = true,
        .num_workers = 128,
        .chunk_size = 256,
        .cache_locally = true,
        .cache_nearest = 1,
        .cache_on_store = true,
        .cache_refresh_before_expiry_us = 5000000,
        .reuse_get_requests = true,
        .cache_bytes = SKEP_DHT_CACHE_BYTES,
        .storage_bytes = SKEP_DHT_STORAGE_BYTES,
        .blacklist_time_us = 5000000,
        .blacklist_backoff = 2.0,
        .ttl_max_s = SKEP_DHT_TTL_MAX_S,
        .terse_finds = true,
        .hedge_share = 0.05,
        .one_hop_round_us = 600000000,
        .one_hop_fill_us = 30000000,
    };
}

static bool options_are_valid(const struct skep_dht_options *o)
{
    return o->bucket_size >= 1 && o->bucket_size <= SKEP_DHT_BUCKET_SIZE_MAX &&
           o->num_replicas >= 1 && o->num_replicas <= o->bucket_size && o->depth_modulo >= 1 &&
           o->wait_timeout_us > 0 && o->ttl_max_s > 0 && o->blacklist_backoff >= 1 &&
           o->hedge_share >= 0 && o->hedge_share <= 1 &&
           o->one_hop_nodes_max <= SKEP_DHT_ONE_HOP_NODES_MAX;
}

static void init_lists(struct skep_dht *dht)
{
    struct skep_list *lists[] = {&dht->pings,   &dht->validations, &dht->storings,
                                 &dht->favours, &dht->lookups,     &dht->joins,
                                 &dht->gets,    &dht->stores,      &dht->refreshes};

    for (size_t i = 0; i < SKEP_COUNT_OF(lists); i++)
        skep_list_init(lists[i]);
}

static void init_parts(struct skep_dht *dht)
{
    const struct skep_dht_options *o = &dht->options;
    const struct skep_dht_storage_options storage = {
        .mem = dht->mem, .bytes_max = o->storage_bytes, .ttl_max_s = o->ttl_max_s};

    init_lists(dht);
    skep_dht_requests_init(dht);
    skep_dht_storage_init(&dht->storage, &storage);
    skep_dht_push_init(dht);
    skep_dht_cache_init(&dht->cache, dht->mem, o->cache_bytes, o->cache_size, o->ttl_max_s,
                        (double)o->cache_refresh_before_expiry_us / 1e6);
    skep_patience_init(&dht->patience, o->hedge_share);
    skep_blacklist_init(&dht->blacklist, dht->mem, o->blacklist_time_us, o->blacklist_backoff);
    skep_validators_init(&dht->validators, dht->mem);
    skep_once_init(&dht->verified, dht->mem, SKEP_DHT_VERIFY_INTERVAL_US, SKEP_DHT_ONCE_PEERS_MAX);
    skep_once_init(&dht->pushed, dht->mem, SKEP_DHT_PUSH_INTERVAL_US, SKEP_DHT_ONCE_PEERS_MAX);
    skep_buf_init(&dht->message, dht->mem);
    dht->key_bytes = KEY_BYTES_GUESS;
}

static void fini_parts(struct skep_dht *dht)
{
    skep_crawl_free(dht);
    skep_dht_requests_fini(dht);
    skep_dht_refresh_fini(dht);
    skep_dht_value_unref(dht->peeked);
    skep_buf_fini(&dht->message);
    skep_once_fini(&dht->pushed);
    skep_once_fini(&dht->verified);
    skep_validators_fini(&dht->validators);
    skep_blacklist_fini(&dht->blacklist);
    skep_dht_cache_fini(&dht->cache);
    skep_dht_storage_fini(&dht->storage);
    skep_routing_fini(&dht->table);
    skep_mem_free(dht->mem, dht->nearest);
    skep_mem_free(dht->mem, dht);
}

int skep_dht_new(struct skep_dht **out, struct skep_env *env, struct skep_rpc *rpc,
                 const struct skep_dht_options *options)
{
    struct skep_dht *dht;
    int rc;

    *out = NULL;
    if (!options_are_valid(options))
        return SKEP_EINVAL;
    dht = skep_mem_zalloc(env->mem, 1, sizeof *dht);
    if (!dht)
        return SKEP_ENOMEM;
    dht->env = env;
    dht->rpc = rpc;
    dht->mem = env->mem;
    dht->options = *options;
    dht->node_id = options->node_id;
    init_parts(dht);
    rc = options->has_node_id ? 0 : env->entropy(env, dht->node_id.bytes, SKEP_DHT_ID_LEN);
    dht->told_id = options->client_mode ? NULL : &dht->node_id;
    if (rc == 0)
        rc = skep_routing_init(&dht->table, dht->mem, &dht->node_id, options->bucket_size,
                               options->depth_modulo, SKEP_DHT_REPLACEMENTS_MAX);
    if (rc == 0) {
        dht->nearest = skep_mem_alloc(dht->mem, options->bucket_size * sizeof *dht->nearest);
        rc = dht->nearest ? 0 : SKEP_ENOMEM;
    }
    skep_dht_refresh_init(dht);
    if (rc == 0)
        rc = skep_crawl_new(dht);
    if (rc == 0 && !options->client_mode)
        rc = skep_dht_serve_start(dht);
    if (rc < 0) {
        fini_parts(dht);
        return rc;
    }
    *out = dht;
    return 0;
}

static void cancel_pings(struct skep_dht *dht);

void skep_dht_free(struct skep_dht *dht)
{
    if (!dht)
        return;
    skep_dht_serve_stop(dht);
    skep_dht_refresh_fini(dht);
    skep_dht_join_end_all(dht);
    skep_dht_get_end_all(dht);
    skep_dht_store_end_all(dht);
    while (!skep_list_empty(&dht->lookups))
        skep_dht_lookup_cancel(SKEP_LIST_ITEM(dht->lookups.next, struct skep_dht_lookup, entry));
    skep_dht_push_cancel_all(dht);
    skep_dht_favours_cancel_all(dht);
    cancel_pings(dht);
    fini_parts(dht);
}

void skep_dht_cancel(struct skep_dht *dht, struct skep_dht_op *op)
{
    struct skep_dht_op_head *head = op->state;

    (void)dht;
    if (!head)
        return;
    op->state = NULL;
    head->cancel(head);
}

const struct skep_dht_id *skep_dht_node_id(const struct skep_dht *dht)
{
    return &dht->node_id;
}

struct skep_env *skep_dht_env(const struct skep_dht *dht)
{
    return dht->env;
}

struct skep_rpc *skep_dht_rpc(const struct skep_dht *dht)
{
    return dht->rpc;
}

struct skep_validators *skep_dht_validators(struct skep_dht *dht)
{
    return &dht->validators;
}

void skep_dht_clear_cache_now(struct skep_dht *dht)
{
    skep_dht_cache_clear(&dht->cache);
}

void skep_dht_stats(const struct skep_dht *dht, struct skep_dht_stats *out)
{
    *out = dht->stats;
    out->table_nodes = dht->table.node_count;
    out->stored_keys = skep_dht_storage_count(&dht->storage);
    out->stored_bytes = dht->storage.bytes;
    out->cached_keys = skep_dht_storage_count(&dht->cache.storage);
    out->cached_bytes = dht->cache.storage.bytes;
    out->swarm_size_estimate = (uint64_t)(skep_dht_swarm_size_now(dht) + 0.5);
    out->blacklisted = skep_blacklist_count(&dht->blacklist, skep_env_now_us(dht->env));
    skep_crawl_stats(dht, out);
}

/* ---- nodes come and go ---- */

/* A ping of ours that nobody waits for: its answer or failure changes the table, which is all. */
struct probe {
    struct skep_dht_ping ping;
    struct skep_dht *dht;
    struct skep_list entry;
};

static void free_probe(struct probe *probe)
{
    skep_list_remove(&probe->entry);
    probe->dht->ping_count--;
    skep_mem_free(probe->dht->mem, probe);
}

static void on_probed(struct skep_dht_ping *ping, int rc,
                      const struct skep_dht_ping_response *response)
{
    (void)rc;
    (void)response;
    free_probe(SKEP_CONTAINER_OF(ping, struct probe, ping));
}

static void probe(struct skep_dht *dht, const struct skep_peer_id *peer)
{
    struct probe *probe;

    if (dht->ping_count >= SKEP_DHT_PINGS_MAX)
        return;
    probe = skep_mem_zalloc(dht->mem, 1, sizeof *probe);
    if (!probe)
        return;
    probe->dht = dht;
    probe->ping.done = on_probed;
    skep_list_push_back(&dht->pings, &probe->entry);
    dht->ping_count++;
    if (skep_dht_ping_start(dht, &probe->ping, peer, false) < 0)
        free_probe(probe);
}

static void cancel_pings(struct skep_dht *dht)
{
    SKEP_LIST_EACH(&dht->pings, entry, after)
    {
        struct probe *probe = SKEP_LIST_ITEM(entry, struct probe, entry);

        skep_dht_request_cancel(&probe->ping.request);
        free_probe(probe);
    }
}

void skep_dht_met(struct skep_dht *dht, const struct skep_dht_id *id,
                  const struct skep_peer_id *peer)
{
    struct skep_routing_node to_ping;

    if (skep_dht_id_equal(id, &dht->node_id) || skep_peer_id_equal(peer, &dht->rpc->self))
        return;
    skep_crawl_met(dht, id, peer);
    if (!skep_routing_get(&dht->table, id))
        skep_dht_push_to_newcomer(dht, id, peer);
    if (skep_routing_add(&dht->table, id, peer, skep_env_now_us(dht->env), &to_ping) == 1)
        probe(dht, &to_ping.peer);
}

void skep_dht_heard(struct skep_dht *dht, const struct skep_dht_sender *sender,
                    const struct skep_peer_id *peer)
{
    const struct skep_routing_node *known;
    struct skep_routing_node to_ping;

    dht->stats.requests_in++;
    if (!sender->has_id || skep_dht_id_equal(&sender->id, &dht->node_id))
        return;
    known = skep_routing_get_peer(&dht->table, peer);
    if (known && skep_dht_id_equal(&known->id, &sender->id)) {
        struct skep_dht_id id = known->id;

        if (skep_routing_add(&dht->table, &id, peer, skep_env_now_us(dht->env), &to_ping) == 1)
            probe(dht, &to_ping.peer);
        return;
    }
    if (dht->ping_count < SKEP_DHT_PINGS_MAX &&
        skep_once_take(&dht->verified, peer, skep_env_now_us(dht->env))) {
        dht->stats.verifications++;
        probe(dht, peer);
    }
}

void skep_dht_failed(struct skep_dht *dht, const struct skep_peer_id *peer, int rc)
{
    const struct skep_routing_node *known = skep_routing_get_peer(&dht->table, peer);
    struct skep_dht_id id;

    if (!skep_dht_fault_is_theirs(rc))
        return;
    skep_crawl_failed(dht, peer);
    if (!known)
        return;
    id = known->id;
    skep_routing_remove(&dht->table, &id);
    dht->whole_until_us = 0;
}

uint64_t skep_dht_rtt_us(struct skep_dht *dht, const struct skep_peer_id *peer)
{
    uint64_t rtt_us = dht->rpc->ops->rtt_us ? dht->rpc->ops->rtt_us(dht->rpc, peer) : 0;

    return rtt_us > 0 ? rtt_us : skep_crawl_rtt_us(dht, peer) * (HANDSHAKE_ROUNDS + 1);
}

/* ---- values and validators ---- */

static struct skep_dht_signable signable(skep_bytes key, skep_bytes subkey, skep_bytes value,
                                         double expiration_unix_s)
{
    return (struct skep_dht_signable){
        .key = key, .subkey = subkey, .value = value, .expiration_unix_s = expiration_unix_s};
}

bool skep_dht_valid(struct skep_dht *dht, skep_bytes key, const struct skep_dht_value *value)
{
    struct skep_dht_signable record;
    struct skep_dht_entry entry;
    size_t cursor = 0;

    if (dht->validators.count == 0)
        return true;
    if (!value->is_dictionary) {
        record =
            signable(key, skep_bytes_of(plain_subkey, 1), value->plain, value->expiration_unix_s);
        return skep_validators_validate(&dht->validators, &record) == 0;
    }
    while (skep_dht_value_next(value, &cursor, &entry)) {
        record = signable(key, entry.subkey, entry.value, entry.expiration_unix_s);
        if (skep_validators_validate(&dht->validators, &record) < 0)
            return false;
    }
    return true;
}

static int strip_dictionary(struct skep_dht *dht, skep_bytes key,
                            const struct skep_dht_value *value, struct skep_dht_value *into)
{
    struct skep_dht_entry entry;
    struct skep_buf scratch;
    size_t cursor = 0;
    int rc = 0;

    skep_buf_init(&scratch, dht->mem);
    while (rc >= 0 && skep_dht_value_next(value, &cursor, &entry)) {
        struct skep_dht_signable record =
            signable(key, entry.subkey, entry.value, entry.expiration_unix_s);
        skep_bytes bare;

        skep_buf_clear(&scratch);
        rc = skep_validators_strip(&dht->validators, &record, &scratch, &bare);
        if (rc >= 0)
            rc = skep_dht_value_put(into, entry.subkey, bare, entry.expiration_unix_s, 0, NULL);
    }
    skep_buf_fini(&scratch);
    return SKEP_MIN(rc, 0);
}

static int strip_plain(struct skep_dht *dht, skep_bytes key, const struct skep_dht_value *value,
                       struct skep_dht_value **out)
{
    struct skep_dht_signable record =
        signable(key, skep_bytes_of(plain_subkey, 1), value->plain, value->expiration_unix_s);
    struct skep_buf scratch;
    skep_bytes bare;
    int rc;

    skep_buf_init(&scratch, dht->mem);
    rc = skep_validators_strip(&dht->validators, &record, &scratch, &bare);
    if (rc >= 0)
        rc = skep_dht_value_new_plain(out, dht->mem, bare, value->expiration_unix_s);
    skep_buf_fini(&scratch);
    return rc;
}

struct skep_dht_value *skep_dht_stripped(struct skep_dht *dht, const struct skep_dht_id *key,
                                         struct skep_dht_value *value)
{
    skep_bytes key_bytes = skep_bytes_of(key->bytes, SKEP_DHT_ID_LEN);
    struct skep_dht_value *bare = NULL;
    int rc;

    if (dht->validators.count == 0)
        return skep_dht_value_ref(value);
    if (!value->is_dictionary) {
        rc = strip_plain(dht, key_bytes, value, &bare);
    } else {
        rc = skep_dht_value_new_dictionary(&bare, dht->mem);
        if (rc == 0)
            rc = strip_dictionary(dht, key_bytes, value, bare);
    }
    if (rc < 0) {
        skep_dht_value_unref(bare);
        return NULL;
    }
    return bare;
}

const struct skep_dht_value *skep_dht_peek(struct skep_dht *dht, const struct skep_dht_id *key,
                                           uint64_t *version)
{
    double now = skep_env_unix_s(dht->env);
    const struct skep_dht_item *stored = skep_dht_storage_get(&dht->storage, key, now);
    const struct skep_dht_item *cached = skep_dht_storage_get(&dht->cache.storage, key, now);
    const struct skep_dht_item *item = stored;

    if (cached && (!stored || cached->value->expiration_unix_s > stored->value->expiration_unix_s))
        item = cached;
    if (version)
        *version = item ? item->version << 1 | (item == cached) : 0;
    if (!item)
        return NULL;
    if (item == cached && item->by_refresh.place == SKEP_HEAP_NONE &&
        skep_dht_cache_used(&dht->cache, key, now) == 1)
        skep_dht_refresh_schedule(dht);
    if (dht->validators.count == 0)
        return item->value;
    skep_dht_value_unref(dht->peeked);
    dht->peeked = skep_dht_stripped(dht, key, item->value);
    return dht->peeked;
}

void skep_dht_peek_judged_by(struct skep_dht *dht, const struct skep_dht_id *key,
                             skep_dht_judge *believes)
{
    skep_dht_cache_judge(&dht->cache, key, believes);
}
