/* SPDX-License-Identifier: MIT */
/* The DHT in the API: join, get, store. See include/skep/dht.h. */
#include "api/api.h"

#include <math.h>
#include <stdio.h>

#include "base/msgpack.h"

enum {
    TAKEN_TIMEOUT_US = 3000000,
    RECORD_BYTES_MAX =
        SKEP_UNARY_MESSAGE_MAX -
        1024 /* the rest of its request: the envelope, the key, our own node's info */
};

static int check_dht(const skep_node *node)
{
    if (skep_api_need(node, "node") < 0)
        return SKEP_EINVAL;
    return node->dht ? 0 : skep_api_fail(SKEP_EINVAL, "the node has no DHT (options.no_dht)");
}

int skep_dht_id(const skep_node *node, uint8_t out[20])
{
    int rc = check_dht(node);

    if (rc == 0 && (rc = skep_api_need(out, "place for the id")) == 0)
        memcpy(out, skep_dht_node_id(node->dht)->bytes, SKEP_DHT_ID_LEN);
    return rc;
}

static int clear_cache(skep_node *node, void *arg)
{
    (void)arg;
    skep_dht_clear_cache_now(node->dht);
    return 0;
}

int skep_dht_clear_cache(skep_node *node)
{
    int rc = check_dht(node);

    return rc < 0 ? rc : skep_api_call(node->core, clear_cache, NULL);
}

/* ---- join ---- */

struct join_op {
    skep_op op;
    struct skep_dht_join join;
    struct api_taken *taken;
    bool joining;
};

static void on_joined(struct skep_dht_join *join, int rc, const char *text)
{
    struct join_op *op = SKEP_CONTAINER_OF(join, struct join_op, join);

    op->joining = false;
    skep_api_op_end(&op->op, rc, rc < 0 && (!text || !*text) ? skep_strerror(rc) : text);
}

static int start_join(struct join_op *op, skep_node *node)
{
    int rc;

    op->join.done = on_joined;
    op->joining = true;
    rc = skep_dht_join_start(node->dht, &op->join, (const char *const *)node->initial_peers,
                             node->initial_peer_count);
    if (rc < 0) {
        op->joining = false;
        skep_api_fail(rc, "cannot join: %s", skep_strerror(rc));
    }
    return rc;
}

static void on_taken(void *user, int rc, bool is_taken, const char *text)
{
    struct join_op *op = user;
    skep_node *node = op->op.core->node;
    char peer[SKEP_PEER_ID_TEXT_MAX], line[256];

    (void)rc; /* no answer from the initial peers: the join itself will say so */
    (void)text;
    skep_api_taken_free(op->taken);
    op->taken = NULL;
    if (is_taken) {
        snprintf(line, sizeof line, "another running peer is %s already",
                 skep_peer_id_text(peer, &node->identity.id));
        skep_api_op_end(&op->op, SKEP_EIDENTITYTAKEN, line);
        return;
    }
    if ((rc = start_join(op, node)) < 0)
        skep_api_op_end(&op->op, rc, skep_last_error_text());
}

static int join_start(skep_op *base, skep_node *node)
{
    struct join_op *op = SKEP_CONTAINER_OF(base, struct join_op, op);
    int rc;

    if (!node->check_identity || node->initial_peer_count == 0)
        return start_join(op, node);
    rc = skep_api_taken_start(&op->taken, node, &node->identity.id,
                              (const char *const *)node->initial_peers, node->initial_peer_count,
                              TAKEN_TIMEOUT_US, on_taken, op);
    return rc < 0 ? skep_api_fail(rc, "cannot ask for our own identity: %s", skep_strerror(rc)) : 0;
}

static void join_cancel(skep_op *base, skep_node *node)
{
    struct join_op *op = SKEP_CONTAINER_OF(base, struct join_op, op);

    skep_api_taken_free(op->taken);
    op->taken = NULL;
    if (op->joining)
        skep_dht_cancel(node->dht, &op->join.op);
    op->joining = false;
}

static const struct api_op_class join_class = {sizeof(struct join_op), join_start, join_cancel};

int skep_dht_join(skep_op **out, skep_node *node, skep_op_cb *cb, void *user_data)
{
    struct join_op *op;
    int rc = check_dht(node);

    if (out)
        *out = NULL;
    if (rc < 0)
        return rc;
    if (!(op = skep_api_op_new(node, &join_class, cb, user_data, NULL)))
        return SKEP_ENOMEM;
    return skep_api_op_begin(out, node, &op->op);
}

/* ---- get ---- */

struct get_op {
    skep_op op;
    struct skep_dht_get get;
    struct skep_dht_get_options options;
    const struct skep_dht_id *keys; /* the caller's while it starts, or our copy */
    size_t count;
    uint64_t timeout_us;
    skep_item *items; /* [count] */
    bool out_of_memory;
};

/* Two passes: how much there is, then one block for all of it. */
static int copy_dictionary(struct api_arena *arena, skep_item *item,
                           const struct skep_dht_value *value, double now_unix_s)
{
    struct skep_dht_entry entry;
    size_t cursor = 0, count = 0, bytes = 0;
    skep_entry *entries;
    uint8_t *to;

    while (skep_dht_value_next(value, &cursor, &entry)) {
        if (!(entry.expiration_unix_s >= now_unix_s))
            continue;
        count++;
        bytes += entry.subkey.len + entry.value.len;
    }
    entries = skep_api_arena_alloc(arena, 1, count * sizeof *entries + bytes + 1);
    if (!entries)
        return SKEP_ENOMEM;
    to = (uint8_t *)(entries + count);
    item->entries = entries;
    item->entry_count = count;
    for (cursor = 0; skep_dht_value_next(value, &cursor, &entry);) {
        if (!(entry.expiration_unix_s >= now_unix_s))
            continue;
        skep_bytes_copy(to, entry.subkey);
        skep_bytes_copy(to + entry.subkey.len, entry.value);
        *entries++ = (skep_entry){{to, entry.subkey.len},
                                  {to + entry.subkey.len, entry.value.len},
                                  entry.expiration_unix_s};
        to += entry.subkey.len + entry.value.len;
    }
    return 0;
}

static int copy_item(struct get_op *op, skep_item *item, const struct skep_dht_value *value)
{
    struct api_arena *arena = &op->op.arena;

    item->found = true;
    item->expiration_unix_s = value->expiration_unix_s;
    item->is_dictionary = value->is_dictionary;
    if (value->is_dictionary)
        return copy_dictionary(arena, item, value, skep_env_unix_s(op->op.core->node->env));
    item->value.data = skep_api_arena_copy(arena, value->plain.data, value->plain.len);
    item->value.len = value->plain.len;
    return item->value.data ? 0 : SKEP_ENOMEM;
}

static void on_value(struct skep_dht_get *get, size_t index, const struct skep_dht_value *value,
                     bool answered)
{
    struct get_op *op = SKEP_CONTAINER_OF(get, struct get_op, get);
    skep_item *item = &op->items[index];

    item->answered = answered;
    if (value && copy_item(op, item, value) < 0)
        op->out_of_memory = true;
}

static void on_got(struct skep_dht_get *get, int rc)
{
    struct get_op *op = SKEP_CONTAINER_OF(get, struct get_op, get);

    if (op->out_of_memory)
        rc = SKEP_ENOMEM;
    skep_api_op_end(&op->op, rc, rc < 0 ? skep_strerror(rc) : NULL);
}

static int get_start(skep_op *base, skep_node *node)
{
    struct get_op *op = SKEP_CONTAINER_OF(base, struct get_op, op);
    int rc;

    op->get.on_value = on_value;
    op->get.done = on_got;
    op->options.deadline_us = skep_api_deadline_us(node, op->timeout_us);
    rc = skep_dht_get_start(node->dht, &op->get, op->keys, op->count, &op->options);
    return rc < 0 ? skep_api_fail(rc, "cannot get %zu keys: %s", op->count, skep_strerror(rc)) : 0;
}

static void get_cancel(skep_op *base, skep_node *node)
{
    skep_dht_cancel(node->dht, &SKEP_CONTAINER_OF(base, struct get_op, op)->get.op);
}

static const struct api_op_class get_class = {sizeof(struct get_op), get_start, get_cancel};

static int get_options_in(struct get_op *op, const skep_get_options *user)
{
    skep_get_options options;
    int rc = skep_api_options_in(&options, sizeof options, user, sizeof options, "get options");

    if (rc < 0)
        return rc;
    if (isnan(options.sufficient_expiration_unix_s))
        return skep_api_fail(SKEP_EINVAL, "the sufficient expiration is not a number");
    op->options.sufficient_expiration_unix_s =
        options.latest ? INFINITY : options.sufficient_expiration_unix_s;
    op->options.no_local = options.no_local;
    op->timeout_us = options.timeout_us;
    return 0;
}

static int get_fill(struct get_op *op, const skep_key *keys, size_t count, bool own)
{
    struct api_arena *arena = &op->op.arena;

    op->keys = (const struct skep_dht_id *)(const void *)keys;
    op->count = count;
    if (own && !(op->keys = skep_api_arena_copy(arena, keys, count * sizeof *keys)))
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    if (!(op->items = skep_api_arena_alloc(arena, count, sizeof *op->items)))
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++)
        op->items[i].key = keys[i];
    return 0;
}

int skep_dht_get(skep_op **out, skep_node *node, const skep_key *keys, size_t count,
                 const skep_get_options *options, skep_op_cb *cb, void *user_data)
{
    struct get_op *op;
    bool own;
    int rc = check_dht(node);

    if (out)
        *out = NULL;
    if (rc < 0)
        return rc;
    if (!keys || count == 0)
        return skep_api_fail(SKEP_EINVAL, "no keys");
    if (count > SKEP_DHT_KEYS_MAX)
        return skep_api_fail(SKEP_ELIMIT, "%zu keys; at most %d in one get", count,
                             SKEP_DHT_KEYS_MAX);
    if (!(op = skep_api_op_new(node, &get_class, cb, user_data, &own)))
        return SKEP_ENOMEM;
    if ((rc = get_options_in(op, options)) < 0 || (rc = get_fill(op, keys, count, own)) < 0) {
        skep_api_op_drop(&op->op);
        return rc;
    }
    return skep_api_op_begin(out, node, &op->op);
}

static bool ended_with_results(const skep_op *op, const struct api_op_class *class)
{
    return op && op->class == class &&
           (skep_op_poll(op) == 0 || skep_op_poll(op) == SKEP_EDEADLINE);
}

const skep_item *skep_dht_get_result(const skep_op *op, size_t *count)
{
    const struct get_op *get = (const struct get_op *)(const void *)op;

    if (count)
        *count = 0;
    if (!ended_with_results(op, &get_class))
        return NULL;
    if (count)
        *count = get->count;
    return get->items;
}

/* ---- store ---- */

struct store_op {
    skep_op op;
    struct skep_dht_store store;
    struct skep_dht_store_options options;
    struct skep_dht_record *records; /* its bytes are the caller's while it starts, or our copy */
    size_t count;
    uint64_t timeout_us;
    skep_stored *stored; /* [count] */
};

static void on_stored(struct skep_dht_store *store, size_t index, unsigned accepted,
                      unsigned answered)
{
    struct store_op *op = SKEP_CONTAINER_OF(store, struct store_op, store);

    op->stored[index] = (skep_stored){accepted, answered};
}

static void on_store_done(struct skep_dht_store *store, int rc)
{
    struct store_op *op = SKEP_CONTAINER_OF(store, struct store_op, store);

    skep_api_op_end(&op->op, rc, rc < 0 ? skep_strerror(rc) : NULL);
}

static int store_start(skep_op *base, skep_node *node)
{
    struct store_op *op = SKEP_CONTAINER_OF(base, struct store_op, op);
    int rc;

    op->store.on_stored = on_stored;
    op->store.done = on_store_done;
    op->options.deadline_us = skep_api_deadline_us(node, op->timeout_us);
    rc = skep_dht_store_start(node->dht, &op->store, op->records, op->count, &op->options);
    return rc < 0 ? skep_api_fail(rc, "cannot store %zu records: %s", op->count, skep_strerror(rc))
                  : 0;
}

static void store_cancel(skep_op *base, skep_node *node)
{
    skep_dht_cancel(node->dht, &SKEP_CONTAINER_OF(base, struct store_op, op)->store.op);
}

static const struct api_op_class store_class = {sizeof(struct store_op), store_start, store_cancel};

static int check_record(const skep_node *node, const skep_record *record, size_t index,
                        double now_unix_s)
{
    double expiration = record->expiration_unix_s;
    struct skep_buf normal;
    int rc = 0;

    if ((rc = skep_api_need_bytes(record->value, "record's value")) < 0 ||
        (rc = skep_api_need_bytes(record->subkey, "record's subkey")) < 0)
        return rc;
    if (record->value.len + record->subkey.len > RECORD_BYTES_MAX)
        return skep_api_fail(SKEP_ESIZE, "record %zu has %zu bytes; no peer takes more than %d",
                             index, record->value.len + record->subkey.len, RECORD_BYTES_MAX);
    if (!skep_msgpack_valid(api_bytes(record->value)))
        return skep_api_fail(SKEP_EVALUE,
                             "record %zu: the value's %zu bytes are not one msgpack value", index,
                             record->value.len);
    if (record->subkey.len > 0) {
        skep_buf_init(&normal, API_MEM);
        rc = skep_dht_subkey_normalise(&normal, api_bytes(record->subkey));
        skep_buf_fini(&normal);
    }
    if (rc == SKEP_ENOMEM)
        return skep_api_fail(rc, "out of memory");
    if (rc < 0)
        return skep_api_fail(
            SKEP_EVALUE, "record %zu: the subkey is not a msgpack value that can be a key", index);
    if (isnan(expiration))
        return skep_api_fail(SKEP_EINVAL, "record %zu: the expiration is not a number", index);
    if (expiration < now_unix_s)
        return skep_api_fail(SKEP_EINVAL, "record %zu expired %.3f seconds ago", index,
                             now_unix_s - expiration);
    if (expiration > now_unix_s + node->ttl_max_s + 1)
        return skep_api_fail(SKEP_EINVAL, "record %zu would live %.0f seconds; at most %.0f", index,
                             expiration - now_unix_s, node->ttl_max_s);
    return 0;
}

static int store_fill(struct store_op *op, const skep_record *records, size_t count, bool own)
{
    struct api_arena *arena = &op->op.arena;

    op->records = skep_api_arena_alloc(arena, count, sizeof *op->records);
    op->stored = skep_api_arena_alloc(arena, count, sizeof *op->stored);
    op->count = count;
    for (size_t i = 0; op->records && op->stored && i < count; i++) {
        struct skep_dht_record *to = &op->records[i];

        memcpy(&to->key, &records[i].key, sizeof to->key);
        to->expiration_unix_s = records[i].expiration_unix_s;
        to->subkey = api_bytes(records[i].subkey);
        to->value = api_bytes(records[i].value);
        if (own &&
            (!(to->subkey.data = skep_api_arena_copy(arena, to->subkey.data, to->subkey.len)) ||
             !(to->value.data = skep_api_arena_copy(arena, to->value.data, to->value.len))))
            return skep_api_fail(SKEP_ENOMEM, "out of memory");
    }
    return op->records && op->stored ? 0 : skep_api_fail(SKEP_ENOMEM, "out of memory");
}

static int check_records(const skep_node *node, const skep_record *records, size_t count)
{
    double now_unix_s = skep_dht_time();
    int rc = check_dht(node);

    if (rc < 0)
        return rc;
    if (!records || count == 0)
        return skep_api_fail(SKEP_EINVAL, "no records");
    if (count > SKEP_DHT_KEYS_MAX)
        return skep_api_fail(SKEP_ELIMIT, "%zu records; at most %d in one store", count,
                             SKEP_DHT_KEYS_MAX);
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = check_record(node, &records[i], i, now_unix_s);
    return rc;
}

int skep_dht_store(skep_op **out, skep_node *node, const skep_record *records, size_t count,
                   const skep_store_options *user, skep_op_cb *cb, void *user_data)
{
    skep_store_options options;
    struct store_op *op;
    bool own;
    int rc = check_records(node, records, count);

    if (out)
        *out = NULL;
    if (rc < 0)
        return rc;
    if ((rc = skep_api_options_in(&options, sizeof options, user, sizeof options,
                                  "store options")) < 0)
        return rc;
    if (!(op = skep_api_op_new(node, &store_class, cb, user_data, &own)))
        return SKEP_ENOMEM;
    op->options.exclude_self = options.exclude_self;
    op->options.in_cache = options.in_cache;
    op->timeout_us = options.timeout_us;
    if ((rc = store_fill(op, records, count, own)) < 0) {
        skep_api_op_drop(&op->op);
        return rc;
    }
    return skep_api_op_begin(out, node, &op->op);
}

const skep_stored *skep_dht_store_result(const skep_op *op, size_t *count)
{
    const struct store_op *store = (const struct store_op *)(const void *)op;

    if (count)
        *count = 0;
    if (!ended_with_results(op, &store_class))
        return NULL;
    if (count)
        *count = store->count;
    return store->stored;
}
