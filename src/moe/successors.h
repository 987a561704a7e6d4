/* SPDX-License-Identifier: MIT */
/* What a prefix's record says: for each next coordinate one example expert and the peer that serves it.
 * docs/wire.md d.2, d.5; hivemind moe/client/beam_search.py, _select_valid_entries.
 *
 * One deliberate difference from hivemind: a uid must be its prefix plus its coordinate, alone or followed by "." (for
 * subkey -1, the prefix without its last dot); hivemind believes any uid. Entries that are not (uid, peer id) pairs, or
 * expired, are dropped and counted. A decoded record is immutable and shared by count. */
#ifndef SKEP_MOE_SUCCESSORS_H
#define SKEP_MOE_SUCCESSORS_H

#include "base/bytes.h"
#include "dht/value.h"
#include "peer/peer_id.h"

enum {
    SKEP_FLAT_EXPERT = -1
}; /* the subkey under which a 1-d expert is declared, and of negative marks */

struct skep_moe_successor {
    int64_t coordinate;       /* SKEP_FLAT_EXPERT or >= 0 */
    uint32_t uid_at, uid_len; /* in `text` */
    uint32_t
        number_at; /* in `numbers`: those of the uid behind the prefix; those that do not fit are UINT32_MAX */
    uint32_t number_count; /* of these; 0 for SKEP_FLAT_EXPERT */
    uint32_t peer;         /* in `peers` */
};

struct skep_moe_successors {
    unsigned refs;
    uint32_t count, grid_count; /* entries; those with a coordinate >= 0 */
    const struct skep_mem *mem;
    size_t bytes; /* what it occupies */
    double
        earliest_unix_s; /* when the first entry (or the mark) expires: decode again after that; INFINITY: never */
    bool marked; /* holds a live negative mark: subkey -1, nil */
    bool
        spoiled; /* a plain value, or held entries that are none of this prefix's: they may have displaced some that are */
    uint32_t peer_count;
    struct skep_moe_successor *entries; /* [count], in the record's order; no coordinate twice */
    uint32_t *numbers;
    struct skep_peer_id *peers; /* [peer_count], each peer once where that is cheap to see */
    char *text;                 /* each uid terminated */
};

/** What was dropped, and why; added to. */
struct skep_successors_dropped {
    uint64_t subkeys; /* not a whole number that could be a coordinate */
    uint64_t values;  /* not a pair of texts */
    uint64_t uids;    /* outside the grammar */
    uint64_t strays;  /* a uid that is not its prefix plus its coordinate */
    uint64_t peer_ids;
    uint64_t expired; /* or NaN */
};

/** Peer ids lately seen as base58 text, so that each is decoded once. Zeroed at first; bounded. */
struct skep_peer_texts;
struct skep_peer_texts *skep_peer_texts_new(const struct skep_mem *mem);
void skep_peer_texts_free(const struct skep_mem *mem, struct skep_peer_texts *texts);

/** Decode the record of `prefix`. A plain value has no entries. NULL `texts` and `dropped` are fine.
 *  @return 0 with *out, to be dropped with skep_successors_unref(); SKEP_ENOMEM. */
int skep_successors_decode(struct skep_moe_successors **out, const struct skep_mem *mem,
                           skep_bytes prefix, const struct skep_dht_value *value, double now_unix_s,
                           struct skep_peer_texts *texts, struct skep_successors_dropped *dropped);

/** What of a key's record can be believed by who looks for successors: entries as skep_successors_decode() takes them, of a prefix that has this id, and negative marks. */
skep_dht_judge skep_successors_believe;

/** Only the entries with coordinates in [0, size). @return 0 with *out, a reference of its own; SKEP_ENOMEM. */
int skep_successors_below(struct skep_moe_successors **out, struct skep_moe_successors *successors,
                          uint64_t size);

struct skep_moe_successors *skep_successors_ref(struct skep_moe_successors *successors);
/** NULL is fine. */
void skep_successors_unref(struct skep_moe_successors *successors);

static inline skep_bytes skep_successor_uid(const struct skep_moe_successors *s,
                                            const struct skep_moe_successor *entry)
{
    return skep_bytes_of(s->text + entry->uid_at, entry->uid_len);
}

#endif
