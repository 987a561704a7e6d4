/* SPDX-License-Identifier: MIT */
/* Patterns of uids: "ffn.[0:16].[0:16]", "ffn.3.[0:256]". hivemind moe/server/server.py _generate_uids.
 *
 *   pattern = name 1*( "." ( number | "[" number ":" number "]" ) )
 *
 * A range is half open, as in Python. hivemind lets Python's int() read the numbers (" 1", "+1", "1_0") and puts blocks that are no numbers into uids, which
 * nobody can declare; we refuse both. Brackets in the name are refused as there, though a uid may have them: somebody forgot a dot. */
#ifndef SKEP_SERVER_UID_PATTERN_H
#define SKEP_SERVER_UID_PATTERN_H

#include "base/bytes.h"
#include "base/limits.h"
#include "base/prng.h"

enum { SKEP_UID_PATTERN_WHY_MAX = 512 }; /* room for any `why` */

struct skep_uid_pattern {
    skep_bytes text; /* borrowed */
    size_t blocks;   /* behind the name */
    uint32_t first[SKEP_GRID_DIMENSIONS_MAX],
        end[SKEP_GRID_DIMENSIONS_MAX]; /* half open; a number alone: [n, n + 1) */
    skep_bytes name;
    uint64_t size; /* how many uids there are; saturates */
};

/** @return 0; SKEP_EINVAL, and `why` names the block that is wrong. */
int skep_uid_pattern_parse(struct skep_uid_pattern *out, const char *text, char *why,
                           size_t why_len);

/** The uid of an index below size, in the order of counting with the last block fastest. @return its length; SKEP_ESIZE. */
int skep_uid_pattern_uid(const struct skep_uid_pattern *pattern, uint64_t index, char *out,
                         size_t out_len);

/** A random uid of the pattern, uniform. */
int skep_uid_pattern_draw(const struct skep_uid_pattern *pattern, struct skep_prng *prng, char *out,
                          size_t out_len);

/** Is it a uid of the pattern? */
bool skep_uid_pattern_has(const struct skep_uid_pattern *pattern, skep_bytes uid);

#endif
