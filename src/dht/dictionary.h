/* SPDX-License-Identifier: MIT */
/* The inside of a dictionary value: its entries as the bytes of their packed form, an index by subkey and a heap by expiration.
 * docs/wire.md c.1 (0x50), c.3. Only value.c uses it.
 *
 *   buf: HEADROOM for the header | item | item | …      item: 93 | subkey | bin header, value | cb, expiration (8 bytes)
 *
 * While `in_order`, the items in buf are exactly the live ones in their order, so that the packed form is there already. */
#ifndef SKEP_DHT_DICTIONARY_H
#define SKEP_DHT_DICTIONARY_H

#include "dht/subkey.h"
#include "dht/value.h"

struct dictionary_entry {
    double expiration_unix_s;
    uint32_t offset; /* of the item in buf */
    uint32_t subkey_len, value_len;
    uint32_t hash;       /* of the subkey's identity */
    uint32_t heap_place; /* index + 1; 0: the entry is gone */
    uint32_t owner;
};

struct skep_dht_dictionary {
    uint8_t *buf;
    size_t buf_len, buf_cap; /* headroom included */
    size_t items_len;        /* of the live items */
    bool in_order;
    size_t header_len; /* of the header that ends where the headroom ends; 0: to be written */
    uint64_t maxsize;  /* 0: none. Read and written, never applied */
    struct dictionary_entry *entries;
    uint32_t used, cap; /* entries, those that are gone included */
    uint32_t live;
    uint32_t *heap;     /* [live] entries, the one that expires first in front; room for cap */
    uint32_t *index;    /* open addressing: entry + 1 or 0 */
    uint32_t index_cap; /* a power of two, at least 2 * live; or 0 */
};

struct skep_dht_dictionary *skep_dht_dictionary_new(const struct skep_mem *mem);
void skep_dht_dictionary_free(struct skep_dht_dictionary *d, const struct skep_mem *mem);
struct skep_dht_dictionary *skep_dht_dictionary_clone(const struct skep_dht_dictionary *d,
                                                      const struct skep_mem *mem,
                                                      bool clear_owners);

/** Make room for items of `len` bytes in all, in `count` entries. @return 0, SKEP_ENOMEM. */
int skep_dht_dictionary_reserve(struct skep_dht_dictionary *d, const struct skep_mem *mem,
                                size_t count, size_t len);

/** @return 1 with *index set, 0 not there, SKEP_ENOMEM. */
int skep_dht_dictionary_lookup(const struct skep_dht_dictionary *d,
                               const struct skep_dht_subkey *subkey, uint32_t *index);
void skep_dht_dictionary_view(const struct skep_dht_dictionary *d, uint32_t index,
                              struct skep_dht_entry *out);

/** Add an entry that is not there yet, or write over the one at `index`. @return 0, SKEP_EPEER_LIMIT, SKEP_ENOMEM. */
int skep_dht_dictionary_add(struct skep_dht_dictionary *d, const struct skep_mem *mem,
                            const struct skep_dht_subkey *subkey,
                            const struct skep_dht_entry *entry);
int skep_dht_dictionary_replace(struct skep_dht_dictionary *d, const struct skep_mem *mem,
                                uint32_t index, const struct skep_dht_entry *entry);
void skep_dht_dictionary_remove(struct skep_dht_dictionary *d, uint32_t index);

/** Put the items in order, without what is gone. @return 0, SKEP_ENOMEM. */
int skep_dht_dictionary_rebuild(struct skep_dht_dictionary *d, const struct skep_mem *mem);
skep_bytes skep_dht_dictionary_packed(struct skep_dht_dictionary *d, double latest_unix_s);
size_t skep_dht_dictionary_packed_len(const struct skep_dht_dictionary *d);

#endif
