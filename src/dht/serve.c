/* SPDX-License-Identifier: MIT */
/* The answering side of rpc_ping, rpc_store and rpc_find: docs/wire.md c.2, c.3; hivemind dht/protocol.py.
 * Differs where hivemind is defective (docs/wire.md f): an entry that is refused does not keep those behind it from being tried, what would not
 * fit into an answer is answered as not found, and a sender gets into the table only when it answers a ping of ours. */
#include "dht/node_internal.h"

/* Room in an answer for its envelope and our NodeInfo. */
#define ANSWER_OVERHEAD ((size_t)256)
/* What of the scratch buffer we keep between answers. */
#define ANSWER_KEPT ((size_t)64 << 10)

/* ---- rpc_ping ---- */

/* An rpc_ping with validate, while we call the sender back. */
struct validation {
    struct skep_dht_ping ping;
    struct skep_dht *dht;
    struct skep_list entry;
    struct skep_rpc_request *request;
    struct skep_dht_id claimed;
};

static void answer_ping(struct skep_dht *dht, struct skep_rpc_request *request, bool available)
{
    skep_buf_clear(&dht->message);
    skep_dht_ping_response_encode(&dht->message, dht->told_id, skep_env_unix_s(dht->env),
                                  available);
    if (dht->message.rc < 0)
        skep_rpc_fail(request, "MemoryError()");
    else
        skep_rpc_reply(request, skep_buf_view(&dht->message));
}

static void free_validation(struct validation *v)
{
    skep_list_remove(&v->entry);
    v->dht->validation_count--;
    skep_mem_free(v->dht->mem, v);
}

static void on_called_back(struct skep_dht_ping *ping, int rc,
                           const struct skep_dht_ping_response *response)
{
    struct validation *v = SKEP_CONTAINER_OF(ping, struct validation, ping);

    answer_ping(v->dht, v->request,
                rc == 0 && skep_dht_id_equal(&response->sender.id, &v->claimed));
    free_validation(v);
}

/* One peer must not take all places: hivemind peers who join through us would be told that nobody can reach them, and give up. */
static size_t validations_of(const struct skep_dht *dht, const struct skep_peer_id *peer)
{
    size_t count = 0;

    for (const struct skep_list *node = dht->validations.next; node != &dht->validations;
         node = node->next)
        count += skep_peer_id_equal(
            SKEP_LIST_ITEM(node, const struct validation, entry)->request->peer, peer);
    return count;
}

static bool call_back(struct skep_dht *dht, struct skep_rpc_request *request,
                      const struct skep_dht_id *claimed)
{
    struct validation *v;

    if (dht->validation_count >= SKEP_DHT_VALIDATIONS_MAX ||
        validations_of(dht, request->peer) >= SKEP_DHT_VALIDATIONS_PER_PEER_MAX)
        return false;
    v = skep_mem_zalloc(dht->mem, 1, sizeof *v);
    if (!v)
        return false;
    v->dht = dht;
    v->request = request;
    v->claimed = *claimed;
    v->ping.done = on_called_back;
    skep_list_push_back(&dht->validations, &v->entry);
    dht->validation_count++;
    if (skep_dht_ping_start(dht, &v->ping, request->peer, false) == 0)
        return true;
    free_validation(v);
    return false;
}

static void refuse(struct skep_dht *dht, struct skep_rpc_request *request, const char *why)
{
    dht->stats.requests_in++;
    dht->stats.bad_messages++;
    skep_rpc_fail(request, why);
}

static void serve_ping(void *user, struct skep_rpc_request *request)
{
    struct skep_dht *dht = user;
    struct skep_dht_ping_request ping;

    if (skep_dht_ping_request_decode(&ping, request->data) < 0) {
        refuse(dht, request, "ValueError('malformed PingRequest')");
        return;
    }
    if (ping.validate && ping.sender.has_id && call_back(dht, request, &ping.sender.id)) {
        dht->stats.requests_in++;
        return;
    }
    skep_dht_heard(dht, &ping.sender, request->peer);
    answer_ping(dht, request, false);
}

/* ---- rpc_store ---- */

/* One item. @return 1 stored, 0 refused; an error that fails the whole request. */
static int store_item(struct skep_dht *dht, const struct skep_dht_store_item *item,
                      const struct skep_peer_id *from, double now)
{
    struct skep_dht_storage *into = item->in_cache ? &dht->cache.storage : &dht->storage;
    struct skep_dht_signable record = {.key = item->key,
                                       .subkey = item->subkey,
                                       .value = item->value,
                                       .expiration_unix_s = item->expiration_unix_s};
    bool is_plain = item->subkey.len == 1 && item->subkey.data[0] == 0xc0;
    struct skep_dht_value *dictionary;
    struct skep_dht_id key;
    int rc = skep_dht_id_from_wire(&key, item->key);

    if (rc < 0)
        return rc;
    if (item->subkey.len == 0) {
        rc = skep_dht_value_decode(&dictionary, dht->mem, item->value);
        if (rc == SKEP_EPEER_LIMIT)
            return 0;
        if (rc < 0)
            return rc;
        rc = skep_dht_valid(dht, item->key, dictionary)
                 ? skep_dht_storage_store_dictionary(into, &key, dictionary, from, now)
                 : 0;
        skep_dht_value_unref(dictionary);
        return rc;
    }
    if (dht->validators.count > 0 && skep_validators_validate(&dht->validators, &record) < 0)
        return 0;
    return skep_dht_storage_store(into, &key, is_plain ? (skep_bytes){0} : item->subkey,
                                  item->value, item->expiration_unix_s, from, now);
}

/* A request whose records are being stored. With validators, each of which may cost a check of a signature, that takes several turns of the loop. */
struct storing {
    struct skep_dht *dht;
    struct skep_list entry; /* dht->storings */
    struct skep_rpc_request *request;
    struct skep_dht_store_request store; /* what is left of it */
    bool *ok;                            /* [count] */
    size_t count, done;
};

/* @return 1 when all are done, 0 when more are left, an error that fails the request. */
static int store_some(struct storing *s)
{
    struct skep_dht *dht = s->dht;
    size_t until = dht->validators.count > 0
                       ? SKEP_MIN(s->count, s->done + SKEP_DHT_VALIDATED_A_TURN)
                       : s->count;
    double now = skep_env_unix_s(dht->env);
    struct skep_dht_store_item item;

    for (; s->done < until && skep_dht_store_request_next(&s->store, &item); s->done++) {
        int rc = store_item(dht, &item, s->request->peer, now);

        if (rc < 0)
            return rc;
        s->ok[s->done] = rc == 1;
        dht->stats.refused_records += rc == 0;
    }
    return s->done == s->count;
}

static void answer_store(struct storing *s, int rc)
{
    struct skep_dht *dht = s->dht;

    if (rc < 0) {
        refuse(dht, s->request,
               rc == SKEP_ENOMEM ? "MemoryError()"
                                 : "ValueError('not a key, subkey or dictionary')");
        goto out;
    }
    skep_dht_heard(dht, &s->store.sender, s->request->peer);
    skep_buf_clear(&dht->message);
    skep_dht_store_response_encode(&dht->message, dht->told_id, s->ok, s->count);
    if (dht->message.rc < 0)
        skep_rpc_fail(s->request, "MemoryError()");
    else
        skep_rpc_reply(s->request, skep_buf_view(&dht->message));
out:
    skep_mem_free(dht->mem, s->ok);
}

static void free_storing(struct storing *s)
{
    skep_list_remove(&s->entry);
    skep_mem_free(s->dht->mem, s);
}

static void cancel_storings(struct skep_dht *dht, const char *why)
{
    SKEP_LIST_EACH(&dht->storings, entry, after)
    {
        struct storing *s = SKEP_LIST_ITEM(entry, struct storing, entry);

        skep_rpc_fail(s->request, why);
        skep_mem_free(dht->mem, s->ok);
        free_storing(s);
    }
}

/* One request a turn, in rotation. */
static void on_storing_turn(struct skep_timer *timer)
{
    struct skep_dht *dht = SKEP_CONTAINER_OF(timer, struct skep_dht, storing_timer);
    struct storing *s = SKEP_LIST_ITEM(dht->storings.next, struct storing, entry);
    int rc = store_some(s);

    skep_list_remove(&s->entry);
    if (rc == 0) {
        skep_list_push_back(&dht->storings, &s->entry);
    } else {
        answer_store(s, rc);
        free_storing(s);
    }
    if (!skep_list_empty(&dht->storings) && skep_env_after(dht->env, timer, 0) < 0)
        cancel_storings(dht, "MemoryError()");
}

static int store_the_rest_later(const struct storing *begun)
{
    struct skep_dht *dht = begun->dht;
    struct storing *s = skep_mem_dup(dht->mem, begun, sizeof *begun);

    if (!s)
        return SKEP_ENOMEM;
    skep_list_push_back(&dht->storings, &s->entry);
    if (!skep_timer_running(&dht->storing_timer) &&
        skep_env_after(dht->env, &dht->storing_timer, 0) < 0) {
        free_storing(s);
        return SKEP_ENOMEM;
    }
    return 0;
}

static void serve_store(void *user, struct skep_rpc_request *request)
{
    struct storing s = {.dht = user, .request = request};
    int rc;

    if (skep_dht_store_request_decode(&s.store, request->data) < 0) {
        refuse(s.dht, request, "AssertionError()");
        return;
    }
    s.count = s.store.count;
    s.ok = skep_mem_zalloc(s.dht->mem, s.count, sizeof *s.ok);
    if (!s.ok)
        rc = SKEP_ENOMEM;
    else
        rc = skep_list_empty(&s.dht->storings) || s.dht->validators.count == 0
                 ? store_some(&s)
                 : 0; /* no getting ahead of those in line */
    if (rc == 0 && (rc = store_the_rest_later(&s)) == 0)
        return;
    answer_store(&s, rc);
}

/* ---- rpc_find ---- */

/* An answer as it grows. */
struct answer {
    struct skep_dht *dht;
    struct skep_buf *out;
    const struct skep_dht_id *asker; /* NULL: it did not tell */
    bool terse;
    size_t budget;  /* bytes of all results */
    size_t reserve; /* kept for each key still to come */
    double now;
};

/* What we hold of a key: the later of storage and cache, storage on ties. */
static int held_value(struct skep_dht *dht, const struct skep_dht_id *key, double now,
                      enum skep_dht_found *type, skep_bytes *value, double *expiration)
{
    const struct skep_dht_item *stored = skep_dht_storage_get(&dht->storage, key, now);
    const struct skep_dht_item *cached = skep_dht_storage_get(&dht->cache.storage, key, now);
    bool use_cache =
        cached && (!stored || cached->value->expiration_unix_s > stored->value->expiration_unix_s);
    const struct skep_dht_item *item = use_cache ? cached : stored;

    *type = SKEP_DHT_NOT_FOUND;
    *value = (skep_bytes){0};
    *expiration = 0;
    if (!item)
        return 0;
    *type = item->value->is_dictionary ? SKEP_DHT_FOUND_DICTIONARY : SKEP_DHT_FOUND_PLAIN;
    *expiration = item->value->expiration_unix_s;
    return skep_dht_storage_packed(use_cache ? &dht->cache.storage : &dht->storage, item, value);
}

static int answer_key(struct answer *a, const struct skep_dht_id *key, size_t keys_left)
{
    struct skep_dht *dht = a->dht;
    size_t room = a->budget - SKEP_MIN(a->budget, a->out->len + keys_left * a->reserve);
    size_t near = 0;
    enum skep_dht_found type;
    double expiration;
    skep_bytes value;
    int rc = held_value(dht, key, a->now, &type, &value, &expiration);

    if (rc < 0)
        return rc;
    if (!a->terse || type == SKEP_DHT_NOT_FOUND)
        near = skep_routing_nearest(&dht->table, key, dht->options.bucket_size, a->asker,
                                    dht->nearest);
    /* Values cost most, so only they and long lists are weighed. */
    if (type != SKEP_DHT_NOT_FOUND &&
        skep_dht_find_result_len(type, value, expiration, dht->nearest, near) > room) {
        dht->stats.answers_cut++;
        type = SKEP_DHT_NOT_FOUND;
        value = (skep_bytes){0};
        expiration = 0;
        if (a->terse)
            near = skep_routing_nearest(&dht->table, key, dht->options.bucket_size, a->asker,
                                        dht->nearest);
    }
    if (skep_dht_find_result_len(type, value, expiration, dht->nearest, near) > room)
        near = 0;
    skep_dht_find_result_encode(a->out, type, value, expiration, dht->nearest, near);
    return a->out->rc;
}

/* skep's own field is the first of the message, or not there. */
static bool is_terse(skep_bytes message)
{
    struct skep_pb_reader reader = skep_pb_read(message);
    struct skep_pb_field field;

    return skep_pb_next(&reader, &field) && field.number == SKEP_DHT_FIND_TERSE_FIELD &&
           field.type == SKEP_PB_VARINT && field.value != 0;
}

static int answer_find(struct skep_dht *dht, struct skep_dht_find_request *find, skep_bytes message)
{
    enum { EMPTY_RESULT = 2, NEAREST_LEN = 72 };
    size_t budget = SKEP_UNARY_MESSAGE_MAX - ANSWER_OVERHEAD, left = find->keys.left;
    struct answer a = {.dht = dht,
                       .out = &dht->message,
                       .asker = find->sender.has_id ? &find->sender.id : NULL,
                       .terse = is_terse(message),
                       .budget = budget,
                       .now = skep_env_unix_s(dht->env)};
    skep_bytes raw;
    int rc = 0;

    a.reserve = SKEP_MIN(dht->options.bucket_size * NEAREST_LEN, budget / SKEP_MAX(left, 1));
    a.reserve = SKEP_MAX(a.reserve, EMPTY_RESULT);
    skep_buf_clear(a.out);
    while (rc == 0 && skep_dht_next_bytes(&find->keys, &raw)) {
        struct skep_dht_id key;

        rc = skep_dht_id_from_wire(&key, raw);
        if (rc == 0)
            rc = answer_key(&a, &key, --left);
    }
    if (rc == 0)
        skep_dht_find_response_end(a.out, dht->told_id);
    return rc < 0 ? rc : a.out->rc;
}

static void serve_find(void *user, struct skep_rpc_request *request)
{
    struct skep_dht *dht = user;
    struct skep_dht_find_request find;
    struct skep_peer_id asker = *request->peer; /* the request is gone once it is answered */
    int rc;

    if (skep_dht_find_request_decode(&find, request->data) < 0 ||
        find.keys.left > SKEP_DHT_FIND_KEYS_MAX) {
        refuse(dht, request, "ValueError('malformed FindRequest')");
        return;
    }
    rc = answer_find(dht, &find, request->data);
    if (rc < 0) {
        refuse(dht, request, rc == SKEP_ENOMEM ? "MemoryError()" : "AssertionError()");
        return;
    }
    skep_rpc_reply(request, skep_buf_view(&dht->message));
    if (dht->message.cap > ANSWER_KEPT)
        skep_buf_fini(&dht->message);
    skep_dht_heard(dht, &find.sender, &asker);
}

/* ---- start and stop ---- */

static const struct {
    const char *method;
    skep_rpc_handler *handler;
} served[] = {{SKEP_DHT_RPC_PING, serve_ping},
              {SKEP_DHT_RPC_STORE, serve_store},
              {SKEP_DHT_RPC_FIND, serve_find}};

int skep_dht_serve_start(struct skep_dht *dht)
{
    dht->storing_timer.fire = on_storing_turn;
    for (size_t i = 0; i < SKEP_COUNT_OF(served); i++) {
        int rc = skep_rpc_serve(dht->rpc, served[i].method, served[i].handler, dht);

        if (rc < 0) {
            while (i-- > 0)
                skep_rpc_unserve(dht->rpc, served[i].method);
            return rc;
        }
    }
    return 0;
}

void skep_dht_serve_stop(struct skep_dht *dht)
{
    SKEP_LIST_EACH(&dht->validations, entry, after)
    {
        struct validation *v = SKEP_LIST_ITEM(entry, struct validation, entry);

        skep_dht_request_cancel(&v->ping.request);
        skep_rpc_fail(v->request, "CancelledError()");
        free_validation(v);
    }
    cancel_storings(dht, "CancelledError()");
    skep_env_stop(dht->env, &dht->storing_timer);
    if (dht->options.client_mode)
        return;
    for (size_t i = 0; i < SKEP_COUNT_OF(served); i++)
        skep_rpc_unserve(dht->rpc, served[i].method);
}
