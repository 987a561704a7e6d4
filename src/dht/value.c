/* SPDX-License-Identifier: MIT */
#include "dht/value.h"

#include "base/msgpack.h"
#include "dht/dictionary.h"

static struct skep_dht_value *value_new(const struct skep_mem *mem, size_t plain_len)
{
    struct skep_dht_value *value = plain_len <= SIZE_MAX - sizeof *value
                                       ? skep_mem_alloc(mem, sizeof *value + plain_len)
                                       : NULL;

    if (value)
        *value = (struct skep_dht_value){.mem = mem, .refs = 1};
    return value;
}

int skep_dht_value_new_plain(struct skep_dht_value **out, const struct skep_mem *mem,
                             skep_bytes bytes, double expiration_unix_s)
{
    struct skep_dht_value *value = value_new(mem, bytes.len);

    *out = value;
    if (!value)
        return SKEP_ENOMEM;
    skep_bytes_copy(value + 1, bytes);
    value->plain = skep_bytes_of(value + 1, bytes.len);
    value->expiration_unix_s = expiration_unix_s;
    return 0;
}

static int wrap_dictionary(struct skep_dht_value **out, const struct skep_mem *mem,
                           struct skep_dht_dictionary *dictionary, double expiration_unix_s)
{
    struct skep_dht_value *value = dictionary ? value_new(mem, 0) : NULL;

    *out = value;
    if (!value) {
        if (dictionary)
            skep_dht_dictionary_free(dictionary, mem);
        return SKEP_ENOMEM;
    }
    value->is_dictionary = true;
    value->dictionary = dictionary;
    value->count = dictionary->live;
    value->expiration_unix_s = expiration_unix_s;
    return 0;
}

int skep_dht_value_new_dictionary(struct skep_dht_value **out, const struct skep_mem *mem)
{
    return wrap_dictionary(out, mem, skep_dht_dictionary_new(mem), (double)-INFINITY);
}

struct skep_dht_value *skep_dht_value_ref(const struct skep_dht_value *value)
{
    /* The count is no part of the content that const protects. */
    struct skep_dht_value *counted = (struct skep_dht_value *)(uintptr_t)value;

    assert(counted->refs < UINT32_MAX);
    counted->refs++;
    return counted;
}

void skep_dht_value_unref(struct skep_dht_value *value)
{
    if (!value || --value->refs > 0)
        return;
    if (value->is_dictionary)
        skep_dht_dictionary_free(value->dictionary, value->mem);
    skep_mem_free(value->mem, value);
}

int skep_dht_value_unique(struct skep_dht_value **value, bool clear_owners)
{
    struct skep_dht_value *old = *value, *copy;
    int rc;

    if (old->refs == 1) {
        for (uint32_t i = 0; clear_owners && old->is_dictionary && i < old->dictionary->used; i++)
            old->dictionary->entries[i].owner = 0;
        return 0;
    }
    if (old->is_dictionary)
        rc = wrap_dictionary(&copy, old->mem,
                             skep_dht_dictionary_clone(old->dictionary, old->mem, clear_owners),
                             old->expiration_unix_s);
    else
        rc = skep_dht_value_new_plain(&copy, old->mem, old->plain, old->expiration_unix_s);
    if (rc < 0)
        return rc;
    skep_dht_value_unref(old);
    *value = copy;
    return 0;
}

/* ---- entries ---- */

bool skep_dht_value_next(const struct skep_dht_value *value, size_t *cursor,
                         struct skep_dht_entry *entry)
{
    const struct skep_dht_dictionary *d = value->dictionary;

    if (!d)
        return false;
    while (*cursor < d->used && d->entries[*cursor].heap_place == 0)
        ++*cursor;
    if (*cursor >= d->used)
        return false;
    skep_dht_dictionary_view(d, (uint32_t)(*cursor)++, entry);
    return true;
}

int skep_dht_value_find_subkey(const struct skep_dht_value *value,
                               const struct skep_dht_subkey *subkey, struct skep_dht_entry *entry)
{
    uint32_t index;
    int rc =
        value->is_dictionary ? skep_dht_dictionary_lookup(value->dictionary, subkey, &index) : 0;

    if (rc == 1)
        skep_dht_dictionary_view(value->dictionary, index, entry);
    return rc;
}

bool skep_dht_value_find(const struct skep_dht_value *value, skep_bytes packed,
                         struct skep_dht_entry *entry)
{
    struct skep_dht_subkey subkey;
    bool found;

    if (skep_dht_subkey_init(&subkey, value->mem, packed) < 0)
        return false;
    found = skep_dht_value_find_subkey(value, &subkey, entry) == 1;
    skep_dht_subkey_fini(&subkey);
    return found;
}

int skep_dht_value_put_subkey(struct skep_dht_value *value, const struct skep_dht_subkey *subkey,
                              const struct skep_dht_entry *entry, struct skep_dht_entry *replaced)
{
    struct skep_dht_dictionary *d = value->dictionary;
    struct skep_dht_entry old;
    uint32_t index;
    int rc;

    assert(value->is_dictionary && value->refs == 1);
    *replaced = (struct skep_dht_entry){.owner = 0};
    if (isnan(entry->expiration_unix_s))
        return SKEP_EINVAL;
    if ((rc = skep_dht_dictionary_lookup(d, subkey, &index)) < 0)
        return rc;
    if (rc == 0) {
        rc = skep_dht_dictionary_add(d, value->mem, subkey, entry);
    } else {
        skep_dht_dictionary_view(d, index, &old);
        if (old.expiration_unix_s >= entry->expiration_unix_s)
            return 0;
        rc = skep_dht_dictionary_replace(d, value->mem, index, entry);
        if (rc == 0)
            *replaced = (struct skep_dht_entry){
                {NULL, old.subkey.len}, {NULL, old.value.len}, old.expiration_unix_s, old.owner};
    }
    if (rc < 0)
        return rc;
    value->count = d->live;
    value->expiration_unix_s = SKEP_MAX(value->expiration_unix_s, entry->expiration_unix_s);
    return 1;
}

int skep_dht_value_put(struct skep_dht_value *value, skep_bytes packed, skep_bytes bytes,
                       double expiration_unix_s, uint32_t owner, struct skep_dht_entry *replaced)
{
    struct skep_dht_entry entry = {.value = bytes,
                                   .expiration_unix_s = expiration_unix_s,
                                   .owner = owner},
                          none;
    struct skep_dht_subkey subkey;
    int rc;

    if (!replaced)
        replaced = &none;
    *replaced = (struct skep_dht_entry){.owner = 0};
    if ((rc = skep_dht_subkey_init(&subkey, value->mem, packed)) < 0)
        return rc;
    rc = skep_dht_value_put_subkey(value, &subkey, &entry, replaced);
    skep_dht_subkey_fini(&subkey);
    return rc;
}

double skep_dht_value_earliest(const struct skep_dht_value *value)
{
    const struct skep_dht_dictionary *d = value->dictionary;

    return d && d->live > 0 ? d->entries[d->heap[0]].expiration_unix_s : (double)INFINITY;
}

bool skep_dht_value_expire(struct skep_dht_value *value, double now_unix_s,
                           struct skep_dht_entry *gone)
{
    struct skep_dht_dictionary *d = value->dictionary;

    if (!(skep_dht_value_earliest(value) < now_unix_s))
        return false;
    assert(value->refs == 1);
    skep_dht_dictionary_view(d, d->heap[0], gone);
    gone->subkey.data = gone->value.data = NULL;
    skep_dht_dictionary_remove(d, d->heap[0]);
    value->count = d->live;
    if (value->count == 0)
        value->expiration_unix_s = (double)-INFINITY;
    return true;
}

/* ---- the packed form ---- */

int skep_dht_value_packed(struct skep_dht_value **value, skep_bytes *packed)
{
    int rc;

    assert((*value)->is_dictionary);
    if (!(*value)->dictionary->in_order || !(*value)->dictionary->buf) {
        if ((rc = skep_dht_value_unique(value, false)) < 0)
            return rc;
        if ((rc = skep_dht_dictionary_rebuild((*value)->dictionary, (*value)->mem)) < 0)
            return rc;
    }
    *packed = skep_dht_dictionary_packed((*value)->dictionary, (*value)->expiration_unix_s);
    return 0;
}

size_t skep_dht_value_packed_len(const struct skep_dht_value *value)
{
    return value->is_dictionary ? skep_dht_dictionary_packed_len(value->dictionary)
                                : value->plain.len;
}

size_t skep_dht_value_cost(const struct skep_dht_value *value)
{
    return sizeof *value + (value->is_dictionary ? sizeof *value->dictionary : value->plain.len);
}

/* ---- decoding ---- */

struct packed_reader {
    skep_bytes in;
    uint32_t count; /* items to come */
    uint64_t maxsize;
};

/* [maxsize, latest expiration, items]; the latest expiration is known better from the items themselves. */
static int read_header(struct packed_reader *r, skep_bytes packed)
{
    struct skep_msgpack_token t;
    double number;

    if (skep_msgpack_next(&packed, &t) != 1 || t.type != SKEP_MSGPACK_EXT ||
        t.ext_type != SKEP_EXT_DICTIONARY || packed.len != 0)
        return SKEP_EPEER_FRAME;
    r->in = t.bytes;
    r->maxsize = 0;
    if (skep_msgpack_next(&r->in, &t) != 1 || t.type != SKEP_MSGPACK_ARRAY || t.count != 3)
        return SKEP_EPEER_FRAME;
    if (skep_msgpack_next(&r->in, &t) != 1 ||
        (t.type != SKEP_MSGPACK_NIL && !skep_msgpack_number(&t, &number)))
        return SKEP_EPEER_FRAME;
    if (t.type == SKEP_MSGPACK_UINT)
        r->maxsize = t.u;
    if (skep_msgpack_next(&r->in, &t) != 1 || !skep_msgpack_number(&t, &number))
        return SKEP_EPEER_FRAME;
    if (skep_msgpack_next(&r->in, &t) != 1 || t.type != SKEP_MSGPACK_ARRAY)
        return SKEP_EPEER_FRAME;
    r->count = t.count;
    return 0;
}

static int read_item(struct packed_reader *r, struct skep_dht_entry *entry)
{
    struct skep_msgpack_token t;
    skep_bytes start;

    if (skep_msgpack_next(&r->in, &t) != 1 || t.type != SKEP_MSGPACK_ARRAY || t.count != 3)
        return SKEP_EPEER_FRAME;
    start = r->in;
    if (skep_msgpack_skip(&r->in) < 0)
        return SKEP_EPEER_FRAME;
    entry->subkey = skep_bytes_of(start.data, start.len - r->in.len);
    if (skep_msgpack_next(&r->in, &t) != 1 || t.type != SKEP_MSGPACK_BIN)
        return SKEP_EPEER_FRAME;
    entry->value = t.bytes;
    if (skep_msgpack_next(&r->in, &t) != 1 || !skep_msgpack_number(&t, &entry->expiration_unix_s))
        return SKEP_EPEER_FRAME;
    return 0;
}

static int read_items(struct skep_dht_value *value, struct packed_reader *r)
{
    enum {
        ITEM_LEN_MIN = 5
    }; /* array, subkey, bin header, expiration: of shorter ones the count is a lie */
    struct skep_dht_entry entry;
    int rc;

    if (r->count > SKEP_DHT_DICTIONARY_ENTRIES_MAX || r->in.len > SKEP_DHT_DICTIONARY_BYTES_MAX)
        return SKEP_EPEER_LIMIT;
    if (r->count > r->in.len / ITEM_LEN_MIN)
        return SKEP_EPEER_FRAME;
    if ((rc = skep_dht_dictionary_reserve(value->dictionary, value->mem, r->count, r->in.len)) < 0)
        return rc;
    for (uint32_t i = 0; i < r->count; i++) {
        if ((rc = read_item(r, &entry)) < 0)
            return rc;
        if (isnan(entry.expiration_unix_s))
            continue;
        if ((rc = skep_dht_value_put(value, entry.subkey, entry.value, entry.expiration_unix_s, 0,
                                     NULL)) < 0)
            return rc;
    }
    return r->in.len == 0 ? 0 : SKEP_EPEER_FRAME;
}

int skep_dht_value_decode(struct skep_dht_value **out, const struct skep_mem *mem,
                          skep_bytes packed)
{
    struct packed_reader reader;
    int rc;

    *out = NULL;
    if ((rc = read_header(&reader, packed)) < 0)
        return rc;
    if ((rc = skep_dht_value_new_dictionary(out, mem)) < 0)
        return rc;
    (*out)->dictionary->maxsize = reader.maxsize;
    rc = read_items(*out, &reader);
    if (rc < 0) {
        skep_dht_value_unref(*out);
        *out = NULL;
    }
    return rc;
}

/* ---- merging ---- */

static int merge_entry(struct skep_dht_value **into, const struct skep_dht_entry *entry)
{
    struct skep_dht_entry here,
        mine = {.value = entry->value, .expiration_unix_s = entry->expiration_unix_s}, replaced;
    struct skep_dht_subkey subkey;
    int rc;

    if ((rc = skep_dht_subkey_init(&subkey, (*into)->mem, entry->subkey)) < 0)
        return rc;
    /* Answers of replicas are mostly the same: look before copying. */
    rc = skep_dht_value_find_subkey(*into, &subkey, &here);
    if (rc == 1 && here.expiration_unix_s >= entry->expiration_unix_s)
        rc = 0;
    else if (rc >= 0 && (rc = (*into)->refs > 1 ? skep_dht_value_unique(into, true) : 0) == 0)
        rc = skep_dht_value_put_subkey(*into, &subkey, &mine, &replaced);
    skep_dht_subkey_fini(&subkey);
    return rc;
}

static int merge_dictionary(struct skep_dht_value **into, const struct skep_dht_value *from)
{
    struct skep_dht_entry entry;
    size_t cursor = 0;
    int changed = 0, first_error = 0;

    while (skep_dht_value_next(from, &cursor, &entry)) {
        int rc = merge_entry(into, &entry);

        if (rc < 0 && first_error == 0)
            first_error = rc;
        if (rc > 0)
            changed = 1;
    }
    return first_error < 0 ? first_error : changed;
}

int skep_dht_value_merge(struct skep_dht_value **into, const struct skep_dht_value *from)
{
    if (*into == from)
        return 0;
    if (*into && (*into)->is_dictionary && from->is_dictionary)
        return merge_dictionary(into, from);
    if (*into && !(from->expiration_unix_s > (*into)->expiration_unix_s))
        return 0;
    skep_dht_value_unref(*into);
    *into = skep_dht_value_ref(from);
    return 1;
}
