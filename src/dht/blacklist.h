/* SPDX-License-Identifier: MIT */
/* Peers that failed a find are left alone for a while, twice as long after each further failure. docs/wire.md c.4; hivemind dht/node.py (Blacklist).
 *
 * Bounded: beyond SKEP_DHT_BLACKLIST_MAX peers the one that failed first is forgotten, one that may be asked again by preference. */
#ifndef SKEP_DHT_BLACKLIST_H
#define SKEP_DHT_BLACKLIST_H

#include "base/list.h"
#include "base/map.h"
#include "peer/peer_id.h"

struct skep_blacklisted; /* blacklist.c */

struct skep_blacklist {
    const struct skep_mem *mem;
    uint64_t base_us;               /* 0: nobody is ever blacklisted */
    double backoff;                 /* at least 1 */
    struct skep_blacklisted *peers; /* map by peer id */
    struct skep_list by_age;        /* by their last failure */
    size_t peers_max;
};

void skep_blacklist_init(struct skep_blacklist *blacklist, const struct skep_mem *mem,
                         uint64_t base_us, double backoff);
void skep_blacklist_fini(struct skep_blacklist *blacklist);

/** A call failed. One that fails while it is blacklisted is not punished again. @return 0, SKEP_ENOMEM. */
int skep_blacklist_fail(struct skep_blacklist *blacklist, const struct skep_peer_id *peer,
                        uint64_t now_us);

/** A call takes so long that its answer is not waited for: in doubt until one succeeds, but not to be left alone. Without memory it is not. */
void skep_blacklist_doubt(struct skep_blacklist *blacklist, const struct skep_peer_id *peer,
                          uint64_t now_us);

/** Has the last that we know of a peer been a failure or a delay? */
bool skep_blacklist_doubts(const struct skep_blacklist *blacklist, const struct skep_peer_id *peer);

/** It failed because there is nothing any more at its address: what it held is lost. Until it fails otherwise, or succeeds. */
void skep_blacklist_set_gone(struct skep_blacklist *blacklist, const struct skep_peer_id *peer,
                             bool gone);
bool skep_blacklist_is_gone(const struct skep_blacklist *blacklist,
                            const struct skep_peer_id *peer);

/** A call succeeded: all is forgotten. */
void skep_blacklist_succeed(struct skep_blacklist *blacklist, const struct skep_peer_id *peer);

bool skep_blacklist_has(const struct skep_blacklist *blacklist, const struct skep_peer_id *peer,
                        uint64_t now_us);

/** How many peers are to be left alone now. */
size_t skep_blacklist_count(const struct skep_blacklist *blacklist, uint64_t now_us);

#endif
