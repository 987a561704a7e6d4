/* SPDX-License-Identifier: MIT */
#include "moe/fake_dht.h"

#include "base/list.h"
#include "base/map.h"
#include "base/msgpack.h"
#include "moe/uid.h"
#include "support/test.h"

struct record {
    UT_hash_handle hh;
    struct skep_dht_id key;
    struct skep_dht_value *network, *home;
    uint64_t version;
};

struct skep_dht {
    struct skep_env *env;
    struct record *records;
    struct skep_prng prng;
    struct fake_dht_settings settings;
    struct fake_dht_counts counts;
    uint64_t versions;
    struct skep_list ops;
};

struct op {
    struct skep_list link;
    struct skep_dht *dht;
    struct skep_dht_op *owner;
    struct skep_dht_get *get;
    struct skep_dht_store *store;
    struct skep_timer timer;
    struct skep_dht_id *keys;
    size_t *pending; /* indices not yet reported */
    bool *is_guess;
    size_t count, held; /* pending; and guesses that hang */
};

struct skep_dht *fake_dht_new(struct skep_env *env, uint64_t seed)
{
    struct skep_dht *dht = calloc(1, sizeof *dht);

    dht->env = env;
    dht->settings.delay_us = 1000;
    skep_prng_init(&dht->prng, seed);
    skep_list_init(&dht->ops);
    return dht;
}

static void end_op(struct op *op)
{
    op->owner->state = NULL;
    skep_env_stop(op->dht->env, &op->timer);
    skep_list_remove(&op->link);
    op->dht->counts.running--;
    free(op->keys);
    free(op->pending);
    free(op->is_guess);
    free(op);
}

void fake_dht_clear(struct skep_dht *dht)
{
    struct record *r, *next;

    HASH_ITER(hh, dht->records, r, next)
    {
        HASH_DEL(dht->records, r);
        skep_dht_value_unref(r->network);
        skep_dht_value_unref(r->home);
        free(r);
    }
}

void fake_dht_free(struct skep_dht *dht)
{
    SKEP_LIST_EACH(&dht->ops, link, after)
    {
        struct op *op = SKEP_LIST_ITEM(link, struct op, link);
        struct skep_dht_get *get = op->get;
        struct skep_dht_store *store = op->store;

        end_op(op);
        if (get)
            get->done(get, SKEP_ECANCELED);
        else
            store->done(store, SKEP_ECANCELED);
    }
    fake_dht_clear(dht);
    free(dht);
}

struct fake_dht_settings *fake_dht_settings(struct skep_dht *dht)
{
    return &dht->settings;
}

struct fake_dht_counts *fake_dht_counts(struct skep_dht *dht)
{
    return &dht->counts;
}

static struct record *record_at(struct skep_dht *dht, const struct skep_dht_id *key, bool make)
{
    struct record *r;

    HASH_FIND(hh, dht->records, key->bytes, sizeof key->bytes, r);
    if (!r && make) {
        r = calloc(1, sizeof *r);
        r->key = *key;
        HASH_ADD_KEYPTR(hh, dht->records, r->key.bytes, sizeof r->key.bytes, r);
    }
    return r;
}

static void put(struct skep_dht *dht, const struct skep_dht_id *key, skep_bytes subkey,
                skep_bytes value, double expiration_unix_s)
{
    struct record *r = record_at(dht, key, true);

    if (subkey.len == 0 || (r->network && !r->network->is_dictionary)) {
        skep_dht_value_unref(r->network);
        r->network = NULL;
    }
    if (subkey.len == 0) {
        assert_int_equal(
            skep_dht_value_new_plain(&r->network, &skep_mem_std, value, expiration_unix_s), 0);
        return;
    }
    if (!r->network)
        assert_int_equal(skep_dht_value_new_dictionary(&r->network, &skep_mem_std), 0);
    assert_int_equal(skep_dht_value_unique(&r->network, true), 0);
    assert_true(skep_dht_value_put(r->network, subkey, value, expiration_unix_s, 0, NULL) >= 0);
}

void fake_dht_put(struct skep_dht *dht, const char *key, skep_bytes subkey, skep_bytes value,
                  double expiration_unix_s)
{
    struct skep_dht_id id;

    skep_dht_id_from_str(&id, skep_bytes_str(key));
    put(dht, &id, subkey, value, expiration_unix_s);
}

void fake_dht_put_expert(struct skep_dht *dht, const char *key, int64_t subkey, const char *uid,
                         const char *peer, double expiration_unix_s)
{
    struct skep_buf sub, value, pair;

    skep_buf_init(&sub, &skep_mem_std);
    skep_buf_init(&value, &skep_mem_std);
    skep_buf_init(&pair, &skep_mem_std);
    skep_msgpack_put_int(&sub, subkey);
    skep_msgpack_put_array(&pair, 2);
    skep_msgpack_put_str(&pair, skep_bytes_str(uid));
    skep_msgpack_put_str(&pair, skep_bytes_str(peer));
    skep_msgpack_put_ext(&value, SKEP_EXT_TUPLE, (uint32_t)pair.len);
    skep_buf_put_bytes(&value, skep_buf_view(&pair));
    fake_dht_put(dht, key, skep_buf_view(&sub), skep_buf_view(&value), expiration_unix_s);
    skep_buf_fini(&sub);
    skep_buf_fini(&value);
    skep_buf_fini(&pair);
}

void fake_dht_declare(struct skep_dht *dht, const char *uid, const char *peer,
                      double expiration_unix_s)
{
    skep_bytes rest = skep_bytes_str(uid);
    size_t numbers = skep_uid_number_count(rest);
    struct skep_buf plain;
    char key[SKEP_UID_LEN_MAX + 2];

    skep_buf_init(&plain, &skep_mem_std);
    skep_msgpack_put_str(&plain, skep_bytes_str(peer));
    fake_dht_put(dht, uid, (skep_bytes){0}, skep_buf_view(&plain), expiration_unix_s);
    skep_buf_fini(&plain);
    if (numbers == 1) {
        snprintf(key, sizeof key, "%s.", uid);
        fake_dht_put_expert(dht, key, -1, uid, peer, expiration_unix_s);
    }
    for (; numbers > 1; numbers--) {
        uint64_t number;

        assert_true(skep_uid_split(rest, &rest, &number));
        snprintf(key, sizeof key, "%.*s", (int)rest.len, (const char *)rest.data);
        fake_dht_put_expert(dht, key, (int64_t)number, uid, peer, expiration_unix_s);
    }
}

const struct skep_dht_value *fake_dht_at(struct skep_dht *dht, skep_bytes key)
{
    struct skep_dht_id id;
    struct record *r;

    skep_dht_id_from_str(&id, key);
    r = record_at(dht, &id, false);
    return r ? r->network : NULL;
}

static void bring_home(struct skep_dht *dht, struct record *r)
{
    if (r->home == r->network)
        return;
    skep_dht_value_unref(r->home);
    r->home = r->network ? skep_dht_value_ref(r->network) : NULL;
    r->version = ++dht->versions;
}

void fake_dht_forget(struct skep_dht *dht)
{
    for (struct record *r = dht->records; r; r = r->hh.next) {
        skep_dht_value_unref(r->home);
        r->home = NULL;
        r->version = ++dht->versions;
    }
}

void fake_dht_fetch_all(struct skep_dht *dht)
{
    for (struct record *r = dht->records; r; r = r->hh.next)
        bring_home(dht, r);
}

/* ---- dht/node.h ---- */

struct skep_env *skep_dht_env(const struct skep_dht *dht)
{
    return dht->env;
}

const struct skep_dht_value *skep_dht_peek(struct skep_dht *dht, const struct skep_dht_id *key,
                                           uint64_t *version)
{
    struct record *r = record_at(dht, key, false);

    dht->counts.peeks++;
    if (!r || !r->home || r->home->expiration_unix_s < skep_env_unix_s(dht->env))
        return NULL;
    if (version)
        *version = r->version;
    return r->home;
}

static struct op *new_op(struct skep_dht *dht, struct skep_dht_op *owner, size_t count)
{
    struct op *op = calloc(1, sizeof *op);

    op->dht = dht;
    op->owner = owner;
    op->keys = calloc(count + 1, sizeof *op->keys);
    op->pending = calloc(count + 1, sizeof *op->pending);
    op->is_guess = calloc(count + 1, sizeof *op->is_guess);
    owner->state = op;
    skep_list_push_back(&dht->ops, &op->link);
    dht->counts.running++;
    return op;
}

static bool is_unanswered(const struct skep_dht *dht, const struct skep_dht_id *key)
{
    return skep_get_be32(key->bytes) % 1000000 < dht->settings.unanswered_ppm;
}

static void report(struct op *op, size_t index, const struct skep_dht_id *key)
{
    struct skep_dht *dht = op->dht;
    struct record *r = record_at(dht, key, false);
    bool answered = !is_unanswered(dht, key);
    bool missed =
        op->is_guess[index] && skep_prng_below(&dht->prng, 1000000) < dht->settings.missed_ppm;
    struct skep_dht_value *value = NULL;

    if (answered && !missed && r && r->network &&
        r->network->expiration_unix_s >= skep_env_unix_s(dht->env)) {
        if (!dht->settings.no_cache)
            bring_home(dht, r);
        value = skep_dht_value_ref(r->network);
    } else if (op->is_guess[index]) {
        answered = answered && missed && !(r && r->network);
    }
    op->get->rounds = dht->settings.sync ? 0 : 1;
    op->get->on_value(op->get, index, value, answered);
    skep_dht_value_unref(value);
}

/* Some of what is pending, in a random order; `done` with the last. */
static void answer_some(struct skep_timer *timer)
{
    struct op *op = SKEP_CONTAINER_OF(timer, struct op, timer);
    struct skep_dht *dht = op->dht;
    size_t some = 1 + (size_t)skep_prng_below(&dht->prng, op->count + 1);

    for (; some > 0 && op->count > 0; some--) {
        size_t at = (size_t)skep_prng_below(&dht->prng, op->count), index = op->pending[at];
        struct skep_dht_op *owner = op->owner;

        op->pending[at] = op->pending[--op->count];
        op->get->cost.keys++;
        op->get->cost.calls++;
        report(op, index, &op->keys[index]);
        if (owner->state != op)
            return; /* cancelled from inside */
    }
    if (op->count + op->held == 0) {
        struct skep_dht_get *get = op->get;

        get->cost.rounds++;
        end_op(op);
        get->done(get, 0);
    } else if (op->count > 0) {
        assert_int_equal(skep_env_after(dht->env, &op->timer,
                                        skep_prng_below(&dht->prng, dht->settings.delay_us + 1)),
                         0);
    }
}

void skep_dht_peek_judged_by(struct skep_dht *dht, const struct skep_dht_id *key,
                             skep_dht_judge *believes)
{
    (void)dht, (void)key, (void)believes;
}

int skep_dht_get_start(struct skep_dht *dht, struct skep_dht_get *get,
                       const struct skep_dht_id *keys, size_t count,
                       const struct skep_dht_get_options *options)
{
    struct op *op;

    if (dht->settings.get_rc < 0)
        return dht->settings.get_rc;
    dht->counts.gets++;
    dht->counts.keys += count;
    dht->counts.guesses += options->guesses;
    op = new_op(dht, &get->op, count);
    op->get = get;
    for (size_t i = count - options->guesses; i < count; i++)
        op->is_guess[i] = true;
    memcpy(op->keys, keys, count * sizeof *keys);
    for (size_t i = 0; i < count; i++) {
        struct record *r = record_at(dht, &keys[i], false);

        if (dht->settings.sync ||
            (r && r->home && r->home->expiration_unix_s >= skep_env_unix_s(dht->env)))
            report(op, i, &keys[i]);
        else if (op->is_guess[i] && dht->settings.guesses_hang)
            op->held++;
        else
            op->pending[op->count++] = i;
    }
    if (op->count + op->held == 0) {
        end_op(op);
        get->done(get, 0);
        return 0;
    }
    op->timer.fire = answer_some;
    if (!dht->settings.hang)
        assert_int_equal(skep_env_after(dht->env, &op->timer, dht->settings.delay_us), 0);
    return 0;
}

void skep_dht_get_insist(struct skep_dht *dht, struct skep_dht_get *get, size_t index)
{
    struct op *op = get->op.state;

    dht->counts.insisted++;
    op->is_guess[index] = false;
    if (op->held > 0) {
        op->held--;
        op->pending[op->count++] = index;
        skep_env_stop(dht->env, &op->timer);
        assert_int_equal(skep_env_after(dht->env, &op->timer, dht->settings.delay_us), 0);
    }
}

static void stored(struct skep_timer *timer)
{
    struct op *op = SKEP_CONTAINER_OF(timer, struct op, timer);
    struct skep_dht_store *store = op->store;
    size_t count = op->count;

    for (size_t i = 0; i < count; i++)
        store->on_stored(store, i, 5, 5);
    end_op(op);
    store->done(store, 0);
}

int skep_dht_store_start(struct skep_dht *dht, struct skep_dht_store *store,
                         const struct skep_dht_record *records, size_t count,
                         const struct skep_dht_store_options *options)
{
    struct op *op;

    (void)options;
    if (dht->settings.store_rc < 0)
        return dht->settings.store_rc;
    dht->counts.stores++;
    for (size_t i = 0; i < count; i++)
        put(dht, &records[i].key, records[i].subkey, records[i].value,
            records[i].expiration_unix_s);
    op = new_op(dht, &store->op, count);
    op->store = store;
    op->count = count;
    op->timer.fire = stored;
    if (!dht->settings.hang)
        assert_int_equal(skep_env_after(dht->env, &op->timer, dht->settings.delay_us), 0);
    return 0;
}

void skep_dht_cancel(struct skep_dht *dht, struct skep_dht_op *op)
{
    if (!op->state)
        return;
    dht->counts.cancels++;
    end_op(op->state);
}
