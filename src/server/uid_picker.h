/* SPDX-License-Identifier: MIT */
/* Free uids of a pattern: proposes random ones, none twice, until none is left. hivemind moe/server/server.py _generate_uids.
 *
 * Whoever uses it says which uids are taken already, asks for as many as are needed, looks into the DHT whether they are alive, and asks for more instead of
 * those that are. hivemind gives up after ten draws an expert; this one finds what is free, also where that is the last one. */
#ifndef SKEP_SERVER_UID_PICKER_H
#define SKEP_SERVER_UID_PICKER_H

#include "server/uid_pattern.h"

struct uid_seen;

struct skep_uid_picker {
    const struct skep_mem *mem;
    const struct skep_uid_pattern *pattern;
    struct skep_prng *prng;
    struct uid_seen *seen; /* uids of the pattern that are taken or were proposed, by their text */
    size_t seen_count;
    size_t proposed;
};

/** Both are borrowed. */
void skep_uid_picker_init(struct skep_uid_picker *picker, const struct skep_mem *mem,
                          const struct skep_uid_pattern *pattern, struct skep_prng *prng);
void skep_uid_picker_fini(struct skep_uid_picker *picker);

/** This one is not to be proposed. One that is not of the pattern is none of its business. @return 0; SKEP_ENOMEM. */
int skep_uid_picker_take(struct skep_uid_picker *picker, skep_bytes uid);

/** Propose a uid that is not taken and was not proposed before. `why` may be NULL.
 *  @return its length; SKEP_ELIMIT: every uid of the pattern is taken or was proposed, or SKEP_UID_TRIES_MAX were (`why` says which); SKEP_ESIZE; SKEP_ENOMEM. */
int skep_uid_picker_next(struct skep_uid_picker *picker, char *out, size_t out_len, char *why,
                         size_t why_len);

#endif
