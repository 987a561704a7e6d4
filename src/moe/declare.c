/* SPDX-License-Identifier: MIT */
#include "moe/declare.h"

#include <math.h>
#include <stdio.h>

#include "base/limits.h"
#include "base/map.h"
#include "base/msgpack.h"
#include "moe/successors.h"
#include "moe/uid.h"

static void say(char *why, size_t why_len, const char *text)
{
    if (why && why_len > 0)
        snprintf(why, why_len, "%s", text);
}

static int check_uids(const skep_bytes *uids, size_t count, char *why, size_t why_len)
{
    say(why, why_len, "");
    if (count == 0) {
        say(why, why_len, "there are no uids");
        return SKEP_EINVAL;
    }
    if (count > SKEP_DECLARE_UIDS_MAX) {
        say(why, why_len, "there are too many uids for one call");
        return SKEP_ELIMIT;
    }
    for (size_t i = 0; i < count; i++) {
        int rc = skep_uid_check(uids[i], why, why_len);

        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- declaring ---- */

/* A record to be stored; found again by its key and subkey, which lie next to each other in memory for that. */
struct pending {
    UT_hash_handle hh;
    size_t uid;       /* whose it is: the last of those that share it */
    size_t label_len; /* the key, and 8 bytes of subkey if it has one */
    size_t key_len;
    bool has_subkey;
    int64_t subkey;
    char label[]; /* the key text, then the subkey */
};

struct skep_declare_state {
    struct skep_dht_store store;
    struct skep_declare *declare;
    struct skep_dht *dht;
    const struct skep_mem *mem;
    bool running;
    char *text; /* all the keys */
};

/* What is only needed until the store has started. */
struct draft {
    const struct skep_mem *mem;
    struct pending *map;
    struct pending **order;
    size_t count, cap, text_len;
    struct skep_buf values; /* the value of each uid, one after the other */
    size_t *value_ends;     /* [uids] */
    struct skep_dht_record *records;
};

static void draft_fini(struct draft *draft)
{
    HASH_CLEAR(hh, draft->map);
    for (size_t i = 0; i < draft->count; i++)
        skep_mem_free(draft->mem, draft->order[i]);
    skep_mem_free(draft->mem, draft->order);
    skep_mem_free(draft->mem, draft->value_ends);
    skep_mem_free(draft->mem, draft->records);
    skep_buf_fini(&draft->values);
}

static int draft_room(struct draft *draft)
{
    size_t cap = SKEP_MAX((size_t)64, draft->cap * 2);
    struct pending **order;

    if (draft->count < draft->cap)
        return 0;
    order = skep_mem_resize(draft->mem, draft->order, cap * sizeof(struct pending *));
    if (!order)
        return SKEP_ENOMEM;
    draft->order = order;
    draft->cap = cap;
    return 0;
}

/* hivemind collects all records of a call first: a later uid takes over a (key, subkey), at its first place. */
static int draft_add(struct draft *draft, size_t uid, skep_bytes key, const int64_t *subkey)
{
    size_t label_len = key.len + (subkey ? sizeof *subkey : 0);
    struct pending *fresh, *found;

    if (draft_room(draft) < 0)
        return SKEP_ENOMEM;
    fresh = skep_mem_zalloc(draft->mem, 1, sizeof *fresh + label_len);
    if (!fresh)
        return SKEP_ENOMEM;
    *fresh = (struct pending){.uid = uid,
                              .label_len = label_len,
                              .key_len = key.len,
                              .has_subkey = subkey != NULL,
                              .subkey = subkey ? *subkey : 0};
    skep_bytes_copy(fresh->label, key);
    if (subkey)
        memcpy(fresh->label + key.len, subkey, sizeof *subkey);
    HASH_FIND(hh, draft->map, fresh->label, label_len, found);
    if (found) {
        found->uid = uid;
        skep_mem_free(draft->mem, fresh);
        return 0;
    }
    HASH_ADD_KEYPTR(hh, draft->map, fresh->label, label_len, fresh);
    if (!fresh->hh.tbl) {
        skep_mem_free(draft->mem, fresh);
        return SKEP_ENOMEM;
    }
    draft->order[draft->count++] = fresh;
    draft->text_len += key.len + 1;
    return 0;
}

/* The records of one uid, docs/wire.md d.2. */
static int draft_uid(struct draft *draft, size_t index, skep_bytes uid, char *why, size_t why_len)
{
    size_t numbers = skep_uid_number_count(uid);
    int64_t flat = SKEP_FLAT_EXPERT;
    skep_bytes rest = uid;
    struct skep_buf prefix;
    int rc = draft_add(draft, index, uid, NULL);

    if (rc == 0 && numbers == 1) {
        skep_buf_init(&prefix, draft->mem);
        skep_buf_put_bytes(&prefix, uid);
        skep_buf_put_u8(&prefix, '.');
        rc = prefix.rc < 0 ? prefix.rc : draft_add(draft, index, skep_buf_view(&prefix), &flat);
        skep_buf_fini(&prefix);
    }
    for (size_t k = numbers; rc == 0 && k > 1; k--) {
        uint64_t number;
        int64_t subkey;

        if (!skep_uid_split(rest, &rest, &number) || number > INT64_MAX) {
            char shown[SKEP_PEER_TEXT_MAX + 8];

            skep_text_escape(shown, sizeof shown, uid);
            if (why && why_len > 0)
                snprintf(why, why_len, "\"%s\": number %zu is too large to be declared", shown, k);
            return SKEP_EUID;
        }
        subkey = (int64_t)number;
        rc = draft_add(draft, index, rest, &subkey);
    }
    return rc;
}

/* The tuple (uid, peer): the value of all the uid's prefixes. */
static void put_pair(struct skep_buf *values, struct skep_buf *scratch, skep_bytes uid,
                     skep_bytes peer)
{
    skep_buf_clear(scratch);
    skep_msgpack_put_array(scratch, 2);
    skep_msgpack_put_str(scratch, uid);
    skep_msgpack_put_str(scratch, peer);
    if (scratch->rc < 0)
        values->rc = scratch->rc;
    skep_msgpack_put_ext(values, SKEP_EXT_TUPLE, (uint32_t)scratch->len);
    skep_buf_put_bytes(values, skep_buf_view(scratch));
}

static int draft_values(struct draft *draft, const skep_bytes *uids, size_t count, skep_bytes peer)
{
    struct skep_buf scratch;

    draft->value_ends = skep_mem_alloc(draft->mem, (count + 1) * sizeof *draft->value_ends);
    if (!draft->value_ends)
        return SKEP_ENOMEM;
    skep_buf_init(&scratch, draft->mem);
    skep_msgpack_put_str(&draft->values, peer); /* of every uid itself */
    draft->value_ends[0] = draft->values.len;
    for (size_t i = 0; i < count; i++) {
        put_pair(&draft->values, &scratch, uids[i], peer);
        draft->value_ends[i + 1] = draft->values.len;
    }
    skep_buf_fini(&scratch);
    return draft->values.rc;
}

static skep_bytes value_of(const struct draft *draft, const struct pending *record)
{
    size_t begin = record->has_subkey ? draft->value_ends[record->uid] : 0;
    size_t end = record->has_subkey ? draft->value_ends[record->uid + 1] : draft->value_ends[0];

    return skep_bytes_of(draft->values.data + begin, end - begin);
}

/* From the draft to what a store takes. `subkeys` holds their msgpack forms and must not grow in between. */
static int fill_records(struct draft *draft, struct skep_buf *subkeys, double expiration_unix_s)
{
    draft->records = skep_mem_zalloc(draft->mem, draft->count, sizeof *draft->records);
    if (!draft->records || !skep_buf_reserve(subkeys, draft->count * 9))
        return SKEP_ENOMEM;
    for (size_t i = 0; i < draft->count; i++) {
        const struct pending *from = draft->order[i];
        size_t begin = subkeys->len;

        if (from->has_subkey)
            skep_msgpack_put_int(subkeys, from->subkey);
        draft->records[i].subkey = skep_bytes_of(subkeys->data + begin, subkeys->len - begin);
        draft->records[i].value = value_of(draft, from);
        draft->records[i].expiration_unix_s = expiration_unix_s;
        skep_dht_id_from_str(&draft->records[i].key, skep_bytes_of(from->label, from->key_len));
    }
    return 0;
}

/* What the caller sees of them. */
static int fill_results(const struct draft *draft, struct skep_declare *declare)
{
    struct skep_declare_state *state = declare->state;
    char *text;

    declare->records = skep_mem_zalloc(draft->mem, draft->count, sizeof *declare->records);
    state->text = text = skep_mem_alloc(draft->mem, draft->text_len);
    if (!declare->records || !text)
        return SKEP_ENOMEM;
    for (size_t i = 0; i < draft->count; i++) {
        const struct pending *from = draft->order[i];

        memcpy(text, from->label, from->key_len);
        text[from->key_len] = '\0';
        declare->records[i] = (struct skep_declare_record){.key = text,
                                                           .key_len = from->key_len,
                                                           .has_subkey = from->has_subkey,
                                                           .subkey = from->subkey};
        text += from->key_len + 1;
    }
    declare->record_count = draft->count;
    return 0;
}

static void on_stored(struct skep_dht_store *store, size_t index, unsigned accepted,
                      unsigned answered)
{
    struct skep_declare_state *state = SKEP_CONTAINER_OF(store, struct skep_declare_state, store);

    state->declare->records[index].accepted = accepted;
    state->declare->records[index].answered = answered;
}

static void on_store_done(struct skep_dht_store *store, int rc)
{
    struct skep_declare_state *state = SKEP_CONTAINER_OF(store, struct skep_declare_state, store);
    struct skep_declare *declare = state->declare;

    state->running = false;
    declare->cost = store->cost;
    declare->done(declare, rc);
}

static int draft_build(struct draft *draft, const skep_bytes *uids, size_t count,
                       const struct skep_peer_id *peer, char *why, size_t why_len)
{
    char text[SKEP_PEER_ID_TEXT_MAX];

    for (size_t i = 0; i < count; i++) {
        int rc = draft_uid(draft, i, uids[i], why, why_len);

        if (rc < 0)
            return rc;
    }
    return draft_values(draft, uids, count, skep_bytes_str(skep_peer_id_text(text, peer)));
}

int skep_declare_start(struct skep_declare *declare, struct skep_dht *dht, const skep_bytes *uids,
                       size_t count, const struct skep_peer_id *peer, double expiration_unix_s,
                       const struct skep_dht_store_options *options, char *why, size_t why_len)
{
    const struct skep_mem *mem = skep_dht_env(dht)->mem;
    struct draft draft = {.mem = mem};
    struct skep_buf subkeys;
    int rc = check_uids(uids, count, why, why_len);

    declare->state = NULL;
    declare->records = NULL;
    declare->record_count = 0;
    declare->cost = (struct skep_dht_cost){0};
    if (rc == 0 && !(fabs(expiration_unix_s) < HUGE_VAL)) {
        say(why, why_len, "the expiration is not a finite time");
        rc = SKEP_EINVAL;
    }
    if (rc < 0)
        return rc;
    declare->state = skep_mem_zalloc(mem, 1, sizeof *declare->state);
    if (!declare->state)
        return SKEP_ENOMEM;
    *declare->state =
        (struct skep_declare_state){.store = {.on_stored = on_stored, .done = on_store_done},
                                    .declare = declare,
                                    .dht = dht,
                                    .mem = mem};
    skep_buf_init(&draft.values, mem);
    skep_buf_init(&subkeys, mem);
    rc = draft_build(&draft, uids, count, peer, why, why_len);
    if (rc == 0)
        rc = fill_records(&draft, &subkeys, expiration_unix_s);
    if (rc == 0)
        rc = fill_results(&draft, declare);
    if (rc == 0) {
        declare->state->running = true;
        rc = skep_dht_store_start(dht, &declare->state->store, draft.records, draft.count,
                                  options ? options : &(struct skep_dht_store_options){0});
    }
    draft_fini(&draft);
    skep_buf_fini(&subkeys);
    if (rc < 0) {
        declare->state->running = false;
        skep_declare_fini(declare);
    }
    return rc;
}

int skep_declare_each(const struct skep_mem *mem, const skep_bytes *uids, size_t count,
                      const struct skep_peer_id *peer, double expiration_unix_s,
                      int (*each)(void *user, const struct skep_dht_record *record), void *user)
{
    struct draft draft = {.mem = mem};
    struct skep_buf subkeys;
    int rc = check_uids(uids, count, NULL, 0);

    if (rc < 0)
        return rc;
    skep_buf_init(&draft.values, mem);
    skep_buf_init(&subkeys, mem);
    rc = draft_build(&draft, uids, count, peer, NULL, 0);
    if (rc == 0)
        rc = fill_records(&draft, &subkeys, expiration_unix_s);
    for (size_t i = 0; rc == 0 && i < draft.count; i++)
        rc = each(user, &draft.records[i]);
    draft_fini(&draft);
    skep_buf_fini(&subkeys);
    return rc;
}

void skep_declare_fini(struct skep_declare *declare)
{
    struct skep_declare_state *state = declare->state;
    const struct skep_mem *mem;

    if (!state)
        return;
    mem = state->mem;
    if (state->running)
        skep_dht_cancel(state->dht, &state->store.op);
    skep_mem_free(mem, state->text);
    skep_mem_free(mem, declare->records);
    skep_mem_free(mem, state);
    declare->state = NULL;
    declare->records = NULL;
    declare->record_count = 0;
}

/* ---- looking up ---- */

struct skep_locate_state {
    struct skep_dht_get get;
    struct skep_locate *locate;
    struct skep_dht *dht;
    const struct skep_mem *mem;
    bool running;
};

static bool read_peer(const struct skep_dht_value *value, struct skep_peer_id *peer)
{
    struct skep_msgpack_token token;
    skep_bytes in = value->plain;

    return !value->is_dictionary && skep_msgpack_next(&in, &token) == 1 &&
           token.type == SKEP_MSGPACK_STR && in.len == 0 &&
           skep_peer_id_from_base58(peer, token.bytes) == 0;
}

/* Nothing else can be the record of an expert. */
static void believe_peers(const struct skep_dht_id *key, const struct skep_dht_value *value,
                          bool *believed)
{
    struct skep_peer_id peer;

    (void)key;
    if (!value->is_dictionary)
        believed[0] = read_peer(value, &peer);
}

static void on_value(struct skep_dht_get *get, size_t index, const struct skep_dht_value *value,
                     bool answered)
{
    struct skep_locate_state *state = SKEP_CONTAINER_OF(get, struct skep_locate_state, get);
    struct skep_located *expert = &state->locate->experts[index];

    *expert = (struct skep_located){.answered = answered || value};
    if (!value || !read_peer(value, &expert->peer))
        return;
    expert->found = true;
    expert->expiration_unix_s = value->expiration_unix_s;
}

static void on_get_done(struct skep_dht_get *get, int rc)
{
    struct skep_locate_state *state = SKEP_CONTAINER_OF(get, struct skep_locate_state, get);
    struct skep_locate *locate = state->locate;

    state->running = false;
    locate->cost = get->cost;
    locate->done(locate, rc);
}

int skep_locate_start(struct skep_locate *locate, struct skep_dht *dht, const skep_bytes *uids,
                      size_t count, const struct skep_dht_get_options *options, char *why,
                      size_t why_len)
{
    const struct skep_mem *mem = skep_dht_env(dht)->mem;
    struct skep_dht_get_options judged = {0};
    struct skep_dht_id *keys = NULL;
    int rc = check_uids(uids, count, why, why_len);

    locate->state = NULL;
    locate->experts = NULL;
    locate->count = 0;
    locate->cost = (struct skep_dht_cost){0};
    if (rc < 0)
        return rc;
    keys = skep_mem_zalloc(mem, count, sizeof *keys);
    locate->experts = skep_mem_zalloc(mem, count, sizeof *locate->experts);
    locate->state = skep_mem_zalloc(mem, 1, sizeof *locate->state);
    rc = SKEP_ENOMEM;
    if (!keys || !locate->experts || !locate->state)
        goto fail;
    locate->count = count;
    for (size_t i = 0; i < count; i++)
        skep_dht_id_from_str(&keys[i], uids[i]);
    *locate->state = (struct skep_locate_state){.get = {.on_value = on_value, .done = on_get_done},
                                                .locate = locate,
                                                .dht = dht,
                                                .mem = mem,
                                                .running = true};
    if (options)
        judged = *options;
    judged.believes = believe_peers;
    rc = skep_dht_get_start(dht, &locate->state->get, keys, count, &judged);
    skep_mem_free(mem, keys);
    if (rc == 0)
        return 0; /* it may be over, and released */
    keys = NULL;
fail:
    skep_mem_free(mem, keys);
    skep_mem_free(mem, locate->state);
    skep_mem_free(mem, locate->experts);
    locate->state = NULL;
    locate->experts = NULL;
    locate->count = 0;
    return rc;
}

void skep_locate_fini(struct skep_locate *locate)
{
    struct skep_locate_state *state = locate->state;

    if (!state)
        return;
    if (state->running)
        skep_dht_cancel(state->dht, &state->get.op);
    skep_mem_free(state->mem, locate->experts);
    skep_mem_free(state->mem, state);
    locate->state = NULL;
    locate->experts = NULL;
    locate->count = 0;
}
