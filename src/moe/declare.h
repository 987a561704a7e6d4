/* SPDX-License-Identifier: MIT */
/* Declaring experts in the DHT, and asking who serves them. docs/wire.md d.2, d.3; hivemind moe/server/dht_handler.py. */
#ifndef SKEP_MOE_DECLARE_H
#define SKEP_MOE_DECLARE_H

#include "dht/node.h"
#include "peer/peer_id.h"

/** What one declared record became. */
struct skep_declare_record {
    const char *key; /* a uid, or a prefix: terminated */
    size_t key_len;
    bool has_subkey; /* false: the plain record of the uid itself */
    int64_t subkey;
    unsigned accepted; /* on so many replicas */
    unsigned answered;
};

/** A declaration while it runs: embedded by the caller, zeroed but for `done`. */
struct skep_declare {
    /** Last of all; the results live until skep_declare_fini(). rc: that of the store; a refused record is no error, see `accepted`. May run
     *  from inside the start only if the store's does. */
    void (*done)(struct skep_declare *declare, int rc);
    struct skep_declare_record *
        records; /* [record_count], in hivemind's order: each uid, then its prefixes from the longest */
    size_t record_count;
    struct skep_dht_cost cost;
    struct skep_declare_state *state; /* private */
};

/** Declare that `peer` serves the experts `uids` until expiration_unix_s, with all their prefixes: one store of all records. Everything is
 *  copied. Of the uids that share a (prefix, coordinate) the last becomes its example.
 *  @param why  May be NULL; else names the uid that is wrong, and how (SKEP_UID_WHY_MAX).
 *  @return 0; and, then `done` never runs and there is nothing to release, SKEP_EUID, SKEP_EINVAL (no uid, expiration not finite), SKEP_ELIMIT, SKEP_ENOMEM. */
int skep_declare_start(struct skep_declare *declare, struct skep_dht *dht, const skep_bytes *uids,
                       size_t count, const struct skep_peer_id *peer, double expiration_unix_s,
                       const struct skep_dht_store_options *options, char *why, size_t why_len);

/** The records of such a declaration, one by one, without storing them. `each` is given a view. @return as above. */
int skep_declare_each(const struct skep_mem *mem, const skep_bytes *uids, size_t count,
                      const struct skep_peer_id *peer, double expiration_unix_s,
                      int (*each)(void *user, const struct skep_dht_record *record), void *user);

/** Stop it if it runs (`done` does not run then) and release its results. Harmless on a zeroed or released one; also from inside `done`. */
void skep_declare_fini(struct skep_declare *declare);

/** Who serves an expert. */
struct skep_located {
    bool found;
    struct skep_peer_id peer;
    double expiration_unix_s;
    bool answered; /* false: not found, and too few holders answered to be sure of it */
};

struct skep_locate {
    void (*done)(
        struct skep_locate *locate,
        int rc); /* also from inside the start; rc 0, SKEP_EDEADLINE (what was found until then stays) … */
    struct skep_located *experts; /* [count], in the order of the uids */
    size_t count;
    struct skep_dht_cost cost;
    struct skep_locate_state *state; /* private */
};

/** hivemind's get_experts. @param options  May be NULL; its sufficient expiration is hivemind's expiration_time (0: now).
 *  @return 0; SKEP_EUID, SKEP_EINVAL, SKEP_ELIMIT, SKEP_ENOMEM as above. */
int skep_locate_start(struct skep_locate *locate, struct skep_dht *dht, const skep_bytes *uids,
                      size_t count, const struct skep_dht_get_options *options, char *why,
                      size_t why_len);
void skep_locate_fini(struct skep_locate *locate);

#endif
