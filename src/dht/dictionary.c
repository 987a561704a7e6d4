/* SPDX-License-Identifier: MIT */
#include "dht/dictionary.h"

#include <math.h>

#include "base/msgpack.h"

enum {
    HEADROOM = 32, /* the longest header has 6 + 1 + 9 + 9 + 5 bytes */
    EXPIRATION_LEN = 9,
    ENTRIES_MIN = 4,
    INDEX_MIN = 8,
    GARBAGE_MIN = 1024, /* bytes that are not worth a rebuild */
};

static size_t bin_header_len(size_t len)
{
    return len <= UINT8_MAX ? 2 : len <= UINT16_MAX ? 3 : 5;
}

static size_t item_len(size_t subkey_len, size_t value_len)
{
    return 1 + subkey_len + bin_header_len(value_len) + value_len + EXPIRATION_LEN;
}

static size_t entry_item_len(const struct dictionary_entry *e)
{
    return item_len(e->subkey_len, e->value_len);
}

size_t skep_dht_entry_cost(size_t subkey_len, size_t value_len)
{
    return item_len(subkey_len, value_len) + sizeof(struct dictionary_entry) + 3 * sizeof(uint32_t);
}

size_t skep_dht_value_entries_cost(const struct skep_dht_value *value)
{
    const struct skep_dht_dictionary *d = value->dictionary;

    return d ? d->items_len + d->live * (sizeof(struct dictionary_entry) + 3 * sizeof(uint32_t))
             : 0;
}

struct skep_dht_dictionary *skep_dht_dictionary_new(const struct skep_mem *mem)
{
    struct skep_dht_dictionary *d = skep_mem_zalloc(mem, 1, sizeof *d);

    if (d) {
        d->buf_len = HEADROOM;
        d->in_order = true;
    }
    return d;
}

void skep_dht_dictionary_free(struct skep_dht_dictionary *d, const struct skep_mem *mem)
{
    skep_mem_free(mem, d->buf);
    skep_mem_free(mem, d->entries);
    skep_mem_free(mem, d->heap);
    skep_mem_free(mem, d->index);
    skep_mem_free(mem, d);
}

struct skep_dht_dictionary *skep_dht_dictionary_clone(const struct skep_dht_dictionary *d,
                                                      const struct skep_mem *mem, bool clear_owners)
{
    struct skep_dht_dictionary *copy = skep_dht_dictionary_new(mem);

    if (!copy)
        return NULL;
    if (d->cap == 0) {
        copy->maxsize = d->maxsize;
        return copy;
    }
    *copy = *d;
    copy->buf = skep_mem_dup(mem, d->buf, d->buf_cap);
    copy->entries = skep_mem_dup(mem, d->entries, d->cap * sizeof *d->entries);
    copy->heap = skep_mem_dup(mem, d->heap, d->cap * sizeof *d->heap);
    copy->index = skep_mem_dup(mem, d->index, d->index_cap * sizeof *d->index);
    if (!copy->buf || !copy->entries || !copy->heap || !copy->index) {
        skep_dht_dictionary_free(copy, mem);
        return NULL;
    }
    for (uint32_t i = 0; clear_owners && i < copy->used; i++)
        copy->entries[i].owner = 0;
    return copy;
}

/* ---- the heap by expiration; equal ones in no order, as hivemind's is: nothing shows it ---- */

static void heap_put(struct skep_dht_dictionary *d, uint32_t place, uint32_t entry)
{
    d->heap[place] = entry;
    d->entries[entry].heap_place = place + 1;
}

static bool expires_before(const struct skep_dht_dictionary *d, uint32_t a, uint32_t b)
{
    return d->entries[a].expiration_unix_s < d->entries[b].expiration_unix_s;
}

/* Put an entry where it belongs, from a place that is free. */
static void heap_sift(struct skep_dht_dictionary *d, uint32_t place, uint32_t entry)
{
    while (place > 0 && expires_before(d, entry, d->heap[(place - 1) / 2])) {
        heap_put(d, place, d->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    for (;;) {
        uint32_t child = 2 * place + 1;

        if (child >= d->live)
            break;
        if (child + 1 < d->live && expires_before(d, d->heap[child + 1], d->heap[child]))
            child++;
        if (!expires_before(d, d->heap[child], entry))
            break;
        heap_put(d, place, d->heap[child]);
        place = child;
    }
    heap_put(d, place, entry);
}

/* ---- the index by subkey: linear probing ---- */

static void index_put(struct skep_dht_dictionary *d, uint32_t entry)
{
    uint32_t mask = d->index_cap - 1, i = d->entries[entry].hash & mask;

    while (d->index[i] != 0)
        i = (i + 1) & mask;
    d->index[i] = entry + 1;
}

static void index_fill(struct skep_dht_dictionary *d)
{
    memset(d->index, 0, d->index_cap * sizeof *d->index);
    for (uint32_t i = 0; i < d->used; i++)
        if (d->entries[i].heap_place != 0)
            index_put(d, i);
}

/* Take an entry out, and move those behind it up so that no search stops short of them (Knuth, volume 3, 6.4, algorithm R). */
static void index_remove(struct skep_dht_dictionary *d, uint32_t entry)
{
    uint32_t mask = d->index_cap - 1, hole = d->entries[entry].hash & mask;

    while (d->index[hole] != entry + 1)
        hole = (hole + 1) & mask;
    for (uint32_t i = (hole + 1) & mask; d->index[i] != 0; i = (i + 1) & mask) {
        uint32_t home = d->entries[d->index[i] - 1].hash & mask;

        if (((i - home) & mask) >= ((i - hole) & mask)) {
            d->index[hole] = d->index[i];
            hole = i;
        }
    }
    d->index[hole] = 0;
}

int skep_dht_dictionary_lookup(const struct skep_dht_dictionary *d,
                               const struct skep_dht_subkey *subkey, uint32_t *index)
{
    uint32_t mask = d->index_cap - 1;

    if (d->index_cap == 0)
        return 0;
    for (uint32_t i = subkey->hash & mask; d->index[i] != 0; i = (i + 1) & mask) {
        const struct dictionary_entry *e = &d->entries[d->index[i] - 1];
        int same;

        if (e->hash != subkey->hash)
            continue;
        same = skep_dht_subkey_same(subkey, skep_bytes_of(d->buf + e->offset + 1, e->subkey_len));
        if (same != 0) {
            *index = d->index[i] - 1;
            return same;
        }
    }
    return 0;
}

void skep_dht_dictionary_view(const struct skep_dht_dictionary *d, uint32_t index,
                              struct skep_dht_entry *out)
{
    const struct dictionary_entry *e = &d->entries[index];
    const uint8_t *subkey = d->buf + e->offset + 1;

    out->subkey = skep_bytes_of(subkey, e->subkey_len);
    out->value = skep_bytes_of(subkey + e->subkey_len + bin_header_len(e->value_len), e->value_len);
    out->expiration_unix_s = e->expiration_unix_s;
    out->owner = e->owner;
}

/* ---- room ---- */

static int reserve_entries(struct skep_dht_dictionary *d, const struct skep_mem *mem, size_t count)
{
    uint32_t cap = d->cap, index_cap = SKEP_MAX(d->index_cap, (uint32_t)INDEX_MIN);
    void *grown;

    if (count > cap) {
        cap = SKEP_MAX(SKEP_MAX((uint32_t)count, cap + cap / 2), (uint32_t)ENTRIES_MIN);
        if (!(grown = skep_mem_resize(mem, d->entries, cap * sizeof *d->entries)))
            return SKEP_ENOMEM;
        d->entries = grown;
        if (!(grown = skep_mem_resize(mem, d->heap, cap * sizeof *d->heap)))
            return SKEP_ENOMEM;
        d->heap = grown;
        d->cap = cap;
    }
    while (index_cap < 2 * count)
        index_cap *= 2;
    if (index_cap > d->index_cap) {
        if (!(grown = skep_mem_alloc(mem, index_cap * sizeof *d->index)))
            return SKEP_ENOMEM;
        skep_mem_free(mem, d->index);
        d->index = grown;
        d->index_cap = index_cap;
        index_fill(d);
    }
    return 0;
}

static int reserve_bytes(struct skep_dht_dictionary *d, const struct skep_mem *mem, size_t len)
{
    size_t need = d->buf_len + len;
    void *grown;

    if (need <= d->buf_cap)
        return 0;
    need = SKEP_MAX(need, d->buf_cap + d->buf_cap / 2);
    if (!(grown = skep_mem_resize(mem, d->buf, need)))
        return SKEP_ENOMEM;
    d->buf = grown;
    d->buf_cap = need;
    return 0;
}

int skep_dht_dictionary_reserve(struct skep_dht_dictionary *d, const struct skep_mem *mem,
                                size_t count, size_t len)
{
    int rc = reserve_entries(d, mem, d->used + count);

    return rc < 0 ? rc : reserve_bytes(d, mem, len);
}

/* Close the gaps among the entries; heap and index follow. */
static void squeeze_entries(struct skep_dht_dictionary *d)
{
    uint32_t to = 0;

    for (uint32_t i = 0; i < d->used; i++) {
        if (d->entries[i].heap_place == 0)
            continue;
        d->entries[to] = d->entries[i];
        d->heap[d->entries[to].heap_place - 1] = to;
        to++;
    }
    d->used = to;
    index_fill(d);
}

int skep_dht_dictionary_rebuild(struct skep_dht_dictionary *d, const struct skep_mem *mem)
{
    size_t cap = HEADROOM + d->items_len + d->items_len / 4 + 64, len = HEADROOM;
    uint8_t *buf = skep_mem_alloc(mem, cap);

    if (!buf)
        return SKEP_ENOMEM;
    if (d->used > d->live)
        squeeze_entries(d);
    for (uint32_t i = 0; i < d->used; i++) {
        size_t n = entry_item_len(&d->entries[i]);

        memcpy(buf + len, d->buf + d->entries[i].offset, n);
        d->entries[i].offset = (uint32_t)len;
        len += n;
    }
    assert(len == HEADROOM + d->items_len);
    skep_mem_free(mem, d->buf);
    d->buf = buf;
    d->buf_len = len;
    d->buf_cap = cap;
    d->in_order = true;
    d->header_len = 0;
    return 0;
}

/* Garbage is never more than what lives, so its removal costs each change a constant. */
static int rebuild_if_worth_it(struct skep_dht_dictionary *d, const struct skep_mem *mem)
{
    size_t garbage = d->buf_len - HEADROOM - d->items_len;

    if (garbage <= d->items_len + GARBAGE_MIN && d->used <= 2 * d->live + ENTRIES_MIN)
        return 0;
    return skep_dht_dictionary_rebuild(d, mem);
}

/* ---- changes ---- */

static uint8_t *write_bin_header(uint8_t *to, size_t len)
{
    if (len <= UINT8_MAX) {
        to[0] = 0xc4;
        to[1] = (uint8_t)len;
    } else if (len <= UINT16_MAX) {
        to[0] = 0xc5;
        skep_put_be16(to + 1, (uint16_t)len);
    } else {
        to[0] = 0xc6;
        skep_put_be32(to + 1, (uint32_t)len);
    }
    return to + bin_header_len(len);
}

/* By hand, for this is most of what reading a dictionary costs. */
static void write_item(uint8_t *to, skep_bytes subkey, const struct skep_dht_entry *entry)
{
    *to++ = 0x93;
    skep_bytes_copy(to, subkey);
    to = write_bin_header(to + subkey.len, entry->value.len);
    skep_bytes_copy(to, entry->value);
    to += entry->value.len;
    *to++ = 0xcb;
    skep_put_be64(to, skep_bits_of_double(entry->expiration_unix_s));
}

int skep_dht_dictionary_add(struct skep_dht_dictionary *d, const struct skep_mem *mem,
                            const struct skep_dht_subkey *subkey,
                            const struct skep_dht_entry *entry)
{
    size_t len = item_len(subkey->normal.len, entry->value.len);
    uint32_t i;
    int rc;

    if (d->live >= SKEP_DHT_DICTIONARY_ENTRIES_MAX || len > SKEP_DHT_DICTIONARY_BYTES_MAX ||
        skep_dht_dictionary_packed_len(d) + len > SKEP_DHT_DICTIONARY_BYTES_MAX)
        return SKEP_EPEER_LIMIT;
    if ((rc = rebuild_if_worth_it(d, mem)) < 0 ||
        (rc = skep_dht_dictionary_reserve(d, mem, 1, len)) < 0)
        return rc;
    i = d->used++;
    d->entries[i] = (struct dictionary_entry){.expiration_unix_s = entry->expiration_unix_s,
                                              .offset = (uint32_t)d->buf_len,
                                              .subkey_len = (uint32_t)subkey->normal.len,
                                              .value_len = (uint32_t)entry->value.len,
                                              .hash = subkey->hash,
                                              .owner = entry->owner};
    write_item(d->buf + d->buf_len, subkey->normal, entry);
    d->buf_len += len;
    d->items_len += len;
    d->header_len = 0;
    d->live++;
    heap_sift(d, d->live - 1, i);
    index_put(d, i);
    return 0;
}

/* A value of another length goes behind the rest; the old item becomes garbage. */
static int move_item(struct skep_dht_dictionary *d, const struct skep_mem *mem, uint32_t index,
                     const struct skep_dht_entry *entry)
{
    size_t old_len = entry_item_len(&d->entries[index]);
    size_t len = item_len(d->entries[index].subkey_len, entry->value.len);
    struct dictionary_entry *e;
    int rc;

    if (len > SKEP_DHT_DICTIONARY_BYTES_MAX ||
        skep_dht_dictionary_packed_len(d) - old_len + len > SKEP_DHT_DICTIONARY_BYTES_MAX)
        return SKEP_EPEER_LIMIT;
    if ((rc = reserve_bytes(d, mem, len)) < 0)
        return rc;
    e = &d->entries[index];
    d->in_order = false;
    d->items_len = d->items_len - old_len + len;
    write_item(d->buf + d->buf_len, skep_bytes_of(d->buf + e->offset + 1, e->subkey_len), entry);
    e->offset = (uint32_t)d->buf_len;
    e->value_len = (uint32_t)entry->value.len;
    d->buf_len += len;
    return 0;
}

static void write_in_place(struct skep_dht_dictionary *d, struct dictionary_entry *e,
                           const struct skep_dht_entry *entry)
{
    uint8_t *value = d->buf + e->offset + 1 + e->subkey_len + bin_header_len(e->value_len);

    if (e->value_len > 0)
        memcpy(value, entry->value.data, e->value_len);
    skep_put_be64(value + e->value_len + 1, skep_bits_of_double(entry->expiration_unix_s));
}

int skep_dht_dictionary_replace(struct skep_dht_dictionary *d, const struct skep_mem *mem,
                                uint32_t index, const struct skep_dht_entry *entry)
{
    struct dictionary_entry *e = &d->entries[index];
    size_t garbage = d->buf_len - HEADROOM - d->items_len;
    int rc;

    if (e->value_len == entry->value.len) {
        write_in_place(d, e, entry);
    } else if ((rc = move_item(d, mem, index, entry)) < 0) {
        return rc;
    }
    e->expiration_unix_s = entry->expiration_unix_s;
    e->owner = entry->owner;
    d->header_len = 0;
    heap_sift(d, e->heap_place - 1, index);
    /* Where there is no memory for tidying up now, the next change tries again. */
    if (garbage > d->items_len + GARBAGE_MIN)
        (void)skep_dht_dictionary_rebuild(d, mem);
    return 0;
}

void skep_dht_dictionary_remove(struct skep_dht_dictionary *d, uint32_t index)
{
    struct dictionary_entry *e = &d->entries[index];
    uint32_t place = e->heap_place - 1, last;

    assert(e->heap_place != 0);
    index_remove(d, index);
    d->items_len -= entry_item_len(e);
    e->heap_place = 0;
    last = d->heap[--d->live];
    if (last != index)
        heap_sift(d, place, last);
    d->in_order = false;
    d->header_len = 0;
}

/* ---- the packed form ---- */

static size_t array_header_len(uint32_t count)
{
    return count < 16 ? 1 : count <= UINT16_MAX ? 3 : 5;
}

static size_t maxsize_len(uint64_t maxsize)
{
    return maxsize == 0 || maxsize > UINT32_MAX ? 9
           : maxsize > UINT16_MAX               ? 5
           : maxsize > UINT8_MAX                ? 3
           : maxsize > 0x7f                     ? 2
                                                : 1;
}

static size_t payload_len(const struct skep_dht_dictionary *d)
{
    return 1 + maxsize_len(d->maxsize) + EXPIRATION_LEN + array_header_len(d->live) + d->items_len;
}

/* The whole header: extension, outer array, maxsize, latest expiration, header of the items. */
static size_t write_header(const struct skep_dht_dictionary *d, double latest_unix_s, uint8_t *to)
{
    struct skep_buf out = {
        .data = to, .cap = HEADROOM, .mem = &skep_mem_std}; /* it fits: never grows */

    skep_msgpack_put_ext(&out, SKEP_EXT_DICTIONARY, (uint32_t)payload_len(d));
    skep_msgpack_put_array(&out, 3);
    if (d->maxsize == 0)
        skep_msgpack_put_float(&out, (double)INFINITY);
    else
        skep_msgpack_put_uint(&out, d->maxsize);
    skep_msgpack_put_float(&out, latest_unix_s);
    skep_msgpack_put_array(&out, d->live);
    return out.len;
}

size_t skep_dht_dictionary_packed_len(const struct skep_dht_dictionary *d)
{
    size_t len = payload_len(d);
    bool is_fixext = len <= 16 && (len & (len - 1)) == 0;

    return len + (is_fixext ? 2 : len <= UINT8_MAX ? 3 : len <= UINT16_MAX ? 4 : 6);
}

skep_bytes skep_dht_dictionary_packed(struct skep_dht_dictionary *d, double latest_unix_s)
{
    assert(d->in_order && d->buf);
    if (d->header_len == 0) {
        uint8_t header[HEADROOM];

        d->header_len = write_header(d, latest_unix_s, header);
        memcpy(d->buf + HEADROOM - d->header_len, header, d->header_len);
    }
    return skep_bytes_of(d->buf + HEADROOM - d->header_len, d->header_len + d->items_len);
}
