/* SPDX-License-Identifier: MIT */
/* A record of the DHT: a plain value, or a dictionary of subkeys with a value and an expiration each.
 * docs/wire.md c.1 (the packed form, extension 0x50), c.3; hivemind dht/storage.py, utils/timed_storage.py.
 *
 * A value is reference counted. Whoever changes one must hold the only reference (skep_dht_value_unique() sees to that by
 * copying where it must), so what another holds never changes under it: storage, cache and a running search share one value.
 * A dictionary keeps its entries as the very bytes of its packed form, so that answering a find with it is one memcpy, and an
 * update of the same length (an expert that declares itself again) is written in place.
 * Left out: the size limit of a dictionary (it is read, kept and written, but never applied: hivemind does not use it either). */
#ifndef SKEP_DHT_VALUE_H
#define SKEP_DHT_VALUE_H

#include <math.h>

#include "base/limits.h"
#include "dht/dht_id.h"

struct skep_dht_dictionary; /* value.c */

/** Read the fields freely; only the functions below change them. */
struct skep_dht_value {
    const struct skep_mem *mem;
    uint32_t refs;
    bool is_dictionary;
    double expiration_unix_s; /* of a dictionary: the latest of its entries, -INFINITY when empty */
    skep_bytes plain;         /* the value, when it is no dictionary */
    size_t count; /* entries of a dictionary, expired ones too until skep_dht_value_expire() */
    struct skep_dht_dictionary *dictionary; /* NULL for a plain value */
};

/** One entry of a dictionary; the views are good until the value changes or goes. */
struct skep_dht_entry {
    skep_bytes subkey; /* msgpack, in the form that hivemind would write */
    skep_bytes value;
    double expiration_unix_s;
    uint32_t
        owner; /* what skep_dht_value_put() was told: the storage's tag of the peer that stored it; 0: nobody */
};

/** What of a value can be believed, says who knows what its key is for: sets believed[i] for the i-th entry of a dictionary in order, believed[0] for a plain
 *  value; all are false at first. Depends on its arguments alone: a search outlives who asked for it, and others share it. Starts and cancels nothing. */
typedef void skep_dht_judge(const struct skep_dht_id *key, const struct skep_dht_value *value,
                            bool *believed);

/** A plain value; the bytes are copied. @return 0, SKEP_ENOMEM. */
int skep_dht_value_new_plain(struct skep_dht_value **out, const struct skep_mem *mem,
                             skep_bytes bytes, double expiration_unix_s);

/** A dictionary without entries. @return 0, SKEP_ENOMEM. */
int skep_dht_value_new_dictionary(struct skep_dht_value **out, const struct skep_mem *mem);

/** A dictionary from its packed form, expired entries included. Of equal subkeys the later expiration wins, the place is the first's; entries whose expiration
 *  is NaN are left out.
 *  @return 0; SKEP_EPEER_FRAME (not exactly one well-formed 0x50), SKEP_EPEER_PROTO (a subkey that is no key), SKEP_EPEER_LIMIT (too many entries or
 *  bytes), SKEP_ENOMEM. */
int skep_dht_value_decode(struct skep_dht_value **out, const struct skep_mem *mem,
                          skep_bytes packed);

struct skep_dht_value *skep_dht_value_ref(const struct skep_dht_value *value);

/** Drop a reference; NULL is fine. */
void skep_dht_value_unref(struct skep_dht_value *value);

/** Make *value ours alone: where others hold it too, *value becomes a copy (owners kept or, with clear_owners, all 0) and our reference to the old one goes.
 *  @return 0; SKEP_ENOMEM, and nothing has changed. */
int skep_dht_value_unique(struct skep_dht_value **value, bool clear_owners);

/* ---- dictionaries ---- */

/** Walk the entries in insertion order: *cursor starts at 0. The entry may have expired: compare with the time.
 *  @return false at the end, and for a plain value at once. */
bool skep_dht_value_next(const struct skep_dht_value *value, size_t *cursor,
                         struct skep_dht_entry *entry);

/** The entry of a subkey (any msgpack form of it). @return false if there is none or the subkey is no key. */
bool skep_dht_value_find(const struct skep_dht_value *value, skep_bytes subkey,
                         struct skep_dht_entry *entry);

/** Put an entry in: refused if one with the same subkey expires at the same time or later; else the newcomer takes its place in the order. Needs the only reference.
 *  @param owner     a tag that comes back in skep_dht_entry; 0 if it does not matter.
 *  @param replaced  may be NULL; receives the owner and sizes of the entry whose place it took (its views are gone: data NULL, lengths kept), or zeroes.
 *  @return 1 in, 0 refused; SKEP_EPEER_PROTO (the subkey is malformed or no key), SKEP_EPEER_LIMIT (65,537th entry, or above
 *  SKEP_DHT_DICTIONARY_BYTES_MAX packed), SKEP_EINVAL (NaN), SKEP_ENOMEM. On an error nothing has changed. */
int skep_dht_value_put(struct skep_dht_value *value, skep_bytes subkey, skep_bytes bytes,
                       double expiration_unix_s, uint32_t owner, struct skep_dht_entry *replaced);

/** When the first of the entries expires; INFINITY when there is none. */
double skep_dht_value_earliest(const struct skep_dht_value *value);

/** Take out one entry that has expired (expiration < now). Call it until it returns false. Needs the only reference.
 *  @param gone  its owner and lengths (data NULL). */
bool skep_dht_value_expire(struct skep_dht_value *value, double now_unix_s,
                           struct skep_dht_entry *gone);

/** The packed form, good until the value changes or goes. Usually there already; else one pass makes it, which needs the only reference
 *  (a value others hold too is copied, and *value changes).
 *  @return 0; SKEP_ENOMEM. */
int skep_dht_value_packed(struct skep_dht_value **value, skep_bytes *packed);

/** Bytes of the packed form, without making it. */
size_t skep_dht_value_packed_len(const struct skep_dht_value *value);

/** Memory that a value takes, for accounts: of a dictionary without its entries, which cost skep_dht_entry_cost() each. */
size_t skep_dht_value_cost(const struct skep_dht_value *value);
size_t skep_dht_entry_cost(size_t subkey_len, size_t value_len);
/** Of all entries together. */
size_t skep_dht_value_entries_cost(const struct skep_dht_value *value);

/** What a search does with answers from several peers: two dictionaries are merged entry by entry, the later expiration wins; else the one that expires later
 *  stays. *into may be NULL (nothing found yet); it may come to share `from`.
 *  @return 1 *into has changed, 0 it has not; SKEP_ENOMEM, SKEP_EPEER_LIMIT (the merged dictionary would be too large; what fitted is in). */
int skep_dht_value_merge(struct skep_dht_value **into, const struct skep_dht_value *from);

/** Bring a subkey into the form hivemind would write it in: smallest integers and lengths, float64, unknown extensions as bin.
 *  @return 0, appended to `out`; SKEP_EPEER_FRAME (malformed), SKEP_EPEER_PROTO (lists, maps and dictionaries are no keys), SKEP_ENOMEM. */
int skep_dht_subkey_normalise(struct skep_buf *out, skep_bytes subkey);

#endif
