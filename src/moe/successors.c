/* SPDX-License-Identifier: MIT */
#include "moe/successors.h"

#include <math.h>

#include "base/msgpack.h"
#include "moe/uid.h"

enum {
    TEXT_SLOTS = 256, /* peer texts remembered; a power of two */
    SCRATCH_KEPT =
        64 << 10, /* larger scratch space is given back after the record that needed it */
};

/* A base58 text and what it decodes to. Slots are found by a sum over the text's tail, where peer ids differ; who makes them
 * collide costs us one decoding each, as without this table. */
struct text_slot {
    uint8_t text_len;
    char text[SKEP_PEER_ID_TEXT_MAX];
    struct skep_peer_id peer;
    uint64_t
        record; /* of the last record that names it: the number, and its place in that record's `peers` */
    uint32_t place;
};

struct skep_peer_texts {
    uint64_t records;                              /* decoded so far */
    struct skep_buf entries, numbers, peers, text; /* scratch */
    struct text_slot slots[TEXT_SLOTS];
};

struct decoder {
    struct skep_peer_texts *texts;
    skep_bytes prefix;
    double now_unix_s, earliest_unix_s;
    bool marked, flat, plain;
    uint32_t count;
    struct skep_successors_dropped dropped;
};

struct skep_peer_texts *skep_peer_texts_new(const struct skep_mem *mem)
{
    struct skep_peer_texts *texts = skep_mem_zalloc(mem, 1, sizeof *texts);

    if (!texts)
        return NULL;
    skep_buf_init(&texts->entries, mem);
    skep_buf_init(&texts->numbers, mem);
    skep_buf_init(&texts->peers, mem);
    skep_buf_init(&texts->text, mem);
    return texts;
}

void skep_peer_texts_free(const struct skep_mem *mem, struct skep_peer_texts *texts)
{
    if (!texts)
        return;
    skep_buf_fini(&texts->entries);
    skep_buf_fini(&texts->numbers);
    skep_buf_fini(&texts->peers);
    skep_buf_fini(&texts->text);
    skep_mem_free(mem, texts);
}

static struct text_slot *slot_of(struct skep_peer_texts *texts, skep_bytes text)
{
    uint64_t sum = 0;

    for (size_t i = text.len > 8 ? text.len - 8 : 0; i < text.len; i++)
        sum = sum * 67 + text.data[i];
    return &texts->slots[(sum ^ sum >> 17) % TEXT_SLOTS];
}

/* @return the peer's place in the record's `peers`; UINT32_MAX if the text is no peer id (or memory ran out: see texts->peers.rc). */
static uint32_t place_of_peer(struct skep_peer_texts *texts, skep_bytes text)
{
    struct text_slot *slot = slot_of(texts, text);

    if (text.len == 0 || text.len > sizeof slot->text)
        return UINT32_MAX;
    if (!skep_bytes_equal(text, skep_bytes_of(slot->text, slot->text_len))) {
        struct skep_peer_id peer;

        if (skep_peer_id_from_base58(&peer, text) < 0)
            return UINT32_MAX;
        skep_bytes_copy(slot->text, text);
        slot->text_len = (uint8_t)text.len;
        slot->peer = peer;
        slot->record = 0;
    }
    if (slot->record != texts->records) {
        uint32_t place = (uint32_t)(texts->peers.len / sizeof slot->peer);

        skep_buf_put(&texts->peers, &slot->peer, sizeof slot->peer);
        if (texts->peers.rc < 0)
            return UINT32_MAX;
        slot->record = texts->records;
        slot->place = place;
    }
    return slot->place;
}

/* The value of an entry: msgpack of a tuple (uid, peer id as base58 text), and nothing behind. */
static bool read_pair(skep_bytes value, skep_bytes *uid, skep_bytes *peer)
{
    struct skep_msgpack_token tuple, array, first, second;
    skep_bytes in;

    if (skep_msgpack_next(&value, &tuple) != 1 || tuple.type != SKEP_MSGPACK_EXT ||
        tuple.ext_type != SKEP_EXT_TUPLE || value.len != 0)
        return false;
    in = tuple.bytes;
    if (skep_msgpack_next(&in, &array) != 1 || array.type != SKEP_MSGPACK_ARRAY || array.count != 2)
        return false;
    if (skep_msgpack_next(&in, &first) != 1 || first.type != SKEP_MSGPACK_STR)
        return false;
    if (skep_msgpack_next(&in, &second) != 1 || second.type != SKEP_MSGPACK_STR || in.len != 0)
        return false;
    *uid = first.bytes;
    *peer = second.bytes;
    return true;
}

static bool is_nil(skep_bytes value)
{
    struct skep_msgpack_token token;

    return skep_msgpack_next(&value, &token) == 1 && token.type == SKEP_MSGPACK_NIL &&
           value.len == 0;
}

/* One number of a valid uid, at the front of *in. UINT64_MAX: it does not fit. */
static uint64_t take_number_only(skep_bytes *in)
{
    uint64_t v = 0;
    bool fits = true;
    size_t i = 0;

    for (; i < in->len && in->data[i] != '.'; i++) {
        if (v > (UINT64_MAX - 9) / 10)
            fits = false;
        else
            v = v * 10 + (uint64_t)(in->data[i] - '0');
    }
    skep_bytes_take(in, i);
    return fits ? v : UINT64_MAX;
}

/* The same, and the dot behind it. */
static uint64_t take_number(skep_bytes *in)
{
    uint64_t number = take_number_only(in);

    skep_bytes_take(in, in->len > 0);
    return number;
}

/* Is the uid its prefix plus its coordinate, alone or followed by a dot? Then its numbers from there on are noted. */
static bool uid_belongs(struct decoder *d, skep_bytes uid, int64_t coordinate,
                        struct skep_moe_successor *entry)
{
    skep_bytes rest;

    if (coordinate == SKEP_FLAT_EXPERT)
        return skep_bytes_equal(uid, skep_bytes_of(d->prefix.data, d->prefix.len - 1));
    if (uid.len <= d->prefix.len || memcmp(uid.data, d->prefix.data, d->prefix.len) != 0)
        return false;
    rest = skep_bytes_of(uid.data + d->prefix.len, uid.len - d->prefix.len);
    entry->number_at = (uint32_t)(d->texts->numbers.len / sizeof(uint32_t));
    while (rest.len > 0) {
        uint64_t number = take_number(&rest);
        uint32_t kept = (uint32_t)SKEP_MIN(number, (uint64_t)UINT32_MAX);

        if (entry->number_count == 0 && number != (uint64_t)coordinate)
            return false;
        skep_buf_put(&d->texts->numbers, &kept, sizeof kept);
        entry->number_count++;
    }
    return true;
}

/* @return the counter of what is wrong with the entry, or NULL: it was added. */
static uint64_t *read_entry(struct decoder *d, const struct skep_dht_entry *raw)
{
    struct skep_moe_successor entry = {.coordinate = 0};
    struct skep_msgpack_token subkey;
    skep_bytes in = raw->subkey, uid, peer;
    size_t numbers_len = d->texts->numbers.len;

    if (!(raw->expiration_unix_s >= d->now_unix_s))
        return &d->dropped.expired;
    if (skep_msgpack_next(&in, &subkey) != 1 || in.len != 0 ||
        !skep_msgpack_int64(&subkey, &entry.coordinate) || entry.coordinate < SKEP_FLAT_EXPERT)
        return &d->dropped.subkeys;
    if (entry.coordinate == SKEP_FLAT_EXPERT && is_nil(raw->value)) {
        d->marked = true;
        d->earliest_unix_s = SKEP_MIN(d->earliest_unix_s, raw->expiration_unix_s);
        return NULL;
    }
    if (!read_pair(raw->value, &uid, &peer))
        return &d->dropped.values;
    if (!skep_uid_valid(uid, NULL))
        return &d->dropped.uids;
    if (!uid_belongs(d, uid, entry.coordinate, &entry)) {
        d->texts->numbers.len = numbers_len;
        return &d->dropped.strays;
    }
    entry.peer = place_of_peer(d->texts, peer);
    if (entry.peer == UINT32_MAX) {
        d->texts->numbers.len = numbers_len;
        return &d->dropped.peer_ids;
    }
    entry.uid_at = (uint32_t)d->texts->text.len;
    entry.uid_len = (uint32_t)uid.len;
    skep_buf_put_bytes(&d->texts->text, uid);
    skep_buf_put_u8(&d->texts->text, '\0');
    skep_buf_put(&d->texts->entries, &entry, sizeof entry);
    d->earliest_unix_s = SKEP_MIN(d->earliest_unix_s, raw->expiration_unix_s);
    d->flat |= entry.coordinate == SKEP_FLAT_EXPERT;
    d->count++;
    return NULL;
}

static bool is_spoiled(const struct decoder *d)
{
    const struct skep_successors_dropped *n = &d->dropped;

    return d->plain || n->subkeys + n->values + n->uids + n->strays + n->peer_ids > 0;
}

/* From scratch space into one block of just the size. */
static struct skep_moe_successors *pack(const struct decoder *d, const struct skep_mem *mem)
{
    const struct skep_peer_texts *t = d->texts;
    size_t len = sizeof(struct skep_moe_successors) + t->entries.len + t->numbers.len +
                 t->peers.len + t->text.len;
    struct skep_moe_successors *s = skep_mem_alloc(mem, len);
    uint8_t *at;

    if (!s)
        return NULL;
    at = (uint8_t *)(s + 1);
    *s = (struct skep_moe_successors){.refs = 1,
                                      .count = d->count,
                                      .mem = mem,
                                      .bytes = len,
                                      .earliest_unix_s = d->earliest_unix_s,
                                      .marked = d->marked,
                                      .spoiled = is_spoiled(d),
                                      .grid_count = d->count - d->flat};
    s->entries = (struct skep_moe_successor *)(void *)at;
    skep_bytes_copy(at, skep_buf_view(&t->entries));
    at += t->entries.len;
    s->numbers = (uint32_t *)(void *)at;
    skep_bytes_copy(at, skep_buf_view(&t->numbers));
    at += t->numbers.len;
    s->peers = (struct skep_peer_id *)(void *)at;
    s->peer_count = (uint32_t)(t->peers.len / sizeof *s->peers);
    skep_bytes_copy(at, skep_buf_view(&t->peers));
    at += t->peers.len;
    s->text = (char *)at;
    skep_bytes_copy(at, skep_buf_view(&t->text));
    return s;
}

static void reset(struct skep_buf *scratch)
{
    if (scratch->cap > SCRATCH_KEPT)
        skep_buf_fini(scratch);
    skep_buf_clear(scratch);
}

static void add_dropped(struct skep_successors_dropped *sum,
                        const struct skep_successors_dropped *more)
{
    sum->subkeys += more->subkeys;
    sum->values += more->values;
    sum->uids += more->uids;
    sum->strays += more->strays;
    sum->peer_ids += more->peer_ids;
    sum->expired += more->expired;
}

static int decode(struct decoder *d, struct skep_moe_successors **out, const struct skep_mem *mem,
                  const struct skep_dht_value *value)
{
    struct skep_peer_texts *t = d->texts;
    struct skep_dht_entry entry;
    size_t cursor = 0;

    t->records++;
    d->plain = !value->is_dictionary;
    while (skep_dht_value_next(value, &cursor, &entry)) {
        uint64_t *counter = read_entry(d, &entry);

        if (counter)
            ++*counter;
        if (t->entries.rc < 0 || t->numbers.rc < 0 || t->peers.rc < 0 || t->text.rc < 0)
            return SKEP_ENOMEM;
    }
    *out = pack(d, mem);
    return *out ? 0 : SKEP_ENOMEM;
}

int skep_successors_decode(struct skep_moe_successors **out, const struct skep_mem *mem,
                           skep_bytes prefix, const struct skep_dht_value *value, double now_unix_s,
                           struct skep_peer_texts *texts, struct skep_successors_dropped *dropped)
{
    struct skep_peer_texts *own = texts ? NULL : skep_peer_texts_new(mem);
    struct decoder d = {.texts = texts ? texts : own,
                        .prefix = prefix,
                        .now_unix_s = now_unix_s,
                        .earliest_unix_s = HUGE_VAL};
    int rc;

    *out = NULL;
    if (!d.texts)
        return SKEP_ENOMEM;
    rc = decode(&d, out, mem, value);
    if (rc == 0 && dropped)
        add_dropped(dropped, &d.dropped);
    reset(&d.texts->entries);
    reset(&d.texts->numbers);
    reset(&d.texts->peers);
    reset(&d.texts->text);
    skep_peer_texts_free(mem, own);
    return rc;
}

/* ---- what can be believed ---- */

/* The record of a key whose prefix we are not told: it must be one that the entries name themselves. */
struct witness {
    const struct skep_dht_id *key;
    skep_bytes stem; /* the prefix, without its dot, once it is found: part of the value */
    skep_bytes peer; /* the last text that was a peer id: most entries name the same few */
    unsigned tries;
};

/* Is `stem` and a dot what the key is the hash of? */
static bool is_stem(struct witness *w, skep_bytes stem)
{
    uint8_t prefix[SKEP_UID_LEN_MAX + 1];
    struct skep_dht_id id;

    if (w->stem.len > 0)
        return skep_bytes_equal(stem, w->stem);
    if (w->tries == SKEP_BELIEVE_TRIES_MAX || stem.len > SKEP_UID_LEN_MAX)
        return false;
    w->tries++;
    skep_bytes_copy(prefix, stem);
    prefix[stem.len] = '.';
    (void)skep_dht_id_from_str(&id, skep_bytes_of(prefix, stem.len + 1));
    if (!skep_dht_id_equal(&id, w->key))
        return false;
    w->stem = stem;
    return true;
}

/* As uid_belongs(), for the prefix that the key is the hash of: some front part of the uid, with the coordinate behind it. */
static bool uid_is_of_key(struct witness *w, skep_bytes uid, int64_t coordinate)
{
    skep_bytes rest = uid;

    if (coordinate == SKEP_FLAT_EXPERT)
        return is_stem(w, uid);
    while (rest.len > 0 && rest.data[0] != '.')
        skep_bytes_take(&rest, 1); /* the name */
    while (rest.len > 0) {
        skep_bytes stem = skep_bytes_of(uid.data, uid.len - rest.len);

        skep_bytes_take(&rest, 1);
        if (take_number_only(&rest) == (uint64_t)coordinate && is_stem(w, stem))
            return true;
    }
    return false;
}

static bool is_peer(struct witness *w, skep_bytes text)
{
    struct skep_peer_id peer;

    if (w->peer.len > 0 && skep_bytes_equal(text, w->peer))
        return true;
    if (text.len == 0 || text.len > SKEP_PEER_ID_TEXT_MAX ||
        skep_peer_id_from_base58(&peer, text) < 0)
        return false;
    w->peer = text;
    return true;
}

static bool is_believable(struct witness *w, const struct skep_dht_entry *entry)
{
    struct skep_msgpack_token subkey;
    skep_bytes in = entry->subkey, uid, peer;
    int64_t coordinate;

    if (skep_msgpack_next(&in, &subkey) != 1 || in.len != 0 ||
        !skep_msgpack_int64(&subkey, &coordinate) || coordinate < SKEP_FLAT_EXPERT)
        return false;
    if (coordinate == SKEP_FLAT_EXPERT && is_nil(entry->value))
        return true;
    return read_pair(entry->value, &uid, &peer) && skep_uid_valid(uid, NULL) &&
           uid_is_of_key(w, uid, coordinate) && is_peer(w, peer);
}

void skep_successors_believe(const struct skep_dht_id *key, const struct skep_dht_value *value,
                             bool *believed)
{
    struct witness w = {.key = key};
    struct skep_dht_entry entry;
    size_t cursor = 0;

    for (size_t i = 0; skep_dht_value_next(value, &cursor, &entry); i++)
        believed[i] = is_believable(&w, &entry);
}

int skep_successors_below(struct skep_moe_successors **out, struct skep_moe_successors *successors,
                          uint64_t size)
{
    struct skep_moe_successors *copy;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < successors->count; i++)
        kept += successors->entries[i].coordinate >= 0 &&
                (uint64_t)successors->entries[i].coordinate < size;
    if (kept == successors->count) {
        *out = skep_successors_ref(successors);
        return 0;
    }
    *out = copy = skep_mem_dup(successors->mem, successors, successors->bytes);
    if (!copy)
        return SKEP_ENOMEM;
    copy->refs = 1;
    copy->entries = (struct skep_moe_successor *)(void *)(copy + 1);
    copy->numbers =
        (uint32_t *)(void *)(copy->entries +
                             copy->count); /* where they were: only `count` shrinks below */
    copy->peers = (struct skep_peer_id *)(void *)((uint8_t *)copy + ((uint8_t *)successors->peers -
                                                                     (uint8_t *)successors));
    copy->text = (char *)copy + (successors->text - (char *)successors);
    copy->count = copy->grid_count = 0;
    for (uint32_t i = 0; i < successors->count; i++) {
        if (successors->entries[i].coordinate >= 0 &&
            (uint64_t)successors->entries[i].coordinate < size)
            copy->entries[copy->count++] = successors->entries[i];
    }
    copy->grid_count = copy->count;
    return 0;
}

struct skep_moe_successors *skep_successors_ref(struct skep_moe_successors *successors)
{
    successors->refs++;
    return successors;
}

void skep_successors_unref(struct skep_moe_successors *successors)
{
    if (successors && --successors->refs == 0)
        skep_mem_free(successors->mem, successors);
}
