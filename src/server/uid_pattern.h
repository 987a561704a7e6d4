/* SPDX-License-Identifier: MIT */
/* Patterns of uids: "ffn.[0:16].[0:16]", "ffn.3.[0:256]". hivemind moe/server/server.py _generate_uids. */
#ifndef SKEP_SERVER_UID_PATTERN_H
#define SKEP_SERVER_UID_PATTERN_H

#include "base/bytes.h"
#include "base/limits.h"
#include "base/prng.h"

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

#endif
