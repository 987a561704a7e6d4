/* SPDX-License-Identifier: MIT */
/* Which uids a server takes: those of a pattern that have a checkpoint, then random ones that nobody in the DHT serves. hivemind
 * moe/server/server.py create, _generate_uids. */
#ifndef SKEP_SERVER_PICK_H
#define SKEP_SERVER_PICK_H

#include "moe/declare.h"
#include "server/uid_pattern.h"

enum { SKEP_PICK_TEXT_MAX = 512 };

/** Embedded by the server, zeroed but for `done`. */
struct skep_pick {
    /** Once, never from inside the start. rc 0: uids are `wanted`. SKEP_ELIMIT: not so many are free. The results live until skep_pick_fini(). */
    void (*done)(struct skep_pick *pick, int rc, const char *text);
    char **uids; /* [count]; may be taken over: set to NULL then */
    size_t count;
    const struct skep_mem *mem; /* private */
    struct pick *state;
};

/** @param pattern  NULL: "expert.0", "expert.1", … in this order, as hivemind.
 *  @param kept     [kept_count] uids that have a checkpoint; those of the pattern are taken first, whoever else serves them.
 *  @param dht      NULL: nobody is asked.
 *  @return 0; SKEP_EINVAL (the pattern, more kept than wanted), SKEP_ELIMIT (the pattern has fewer), SKEP_ENOMEM; `why` says what. */
int skep_pick_start(struct skep_pick *pick, struct skep_env *env, struct skep_dht *dht,
                    const char *pattern, size_t wanted, char *const *kept, size_t kept_count,
                    uint64_t seed, char *why, size_t why_len);

/** Stop it if it runs, and release what it found. Harmless on a zeroed one. */
void skep_pick_fini(struct skep_pick *pick);

#endif
