/* SPDX-License-Identifier: MIT */
/* The grammar of expert uids and prefixes. docs/wire.md d.1; hivemind moe/expert_uid.py.
 *
 *   uid    = name 1*( "." number )            "ffn.12.7"
 *   prefix = name "." *( number "." )         "ffn.", "ffn.12."
 *   name   = any non-empty UTF-8 without "."  number = "0", or digits without a leading zero, of any length
 *
 * What is not UTF-8 has no uid in Python and is refused; so is text above SKEP_UID_LEN_MAX. */
#ifndef SKEP_MOE_UID_H
#define SKEP_MOE_UID_H

#include "base/bytes.h"

enum {
    SKEP_UID_WHY_MAX = 512
}; /* room for any `why`: the text escaped and cut, and what is wrong with it */

/** @param why  May be NULL; else gets one line that says what is wrong where, such as
 *              `"ffn.01": the number at byte 4 has a leading zero`; empty when all is well.
 *  @return 0 or SKEP_EUID. */
int skep_uid_check(skep_bytes uid, char *why, size_t why_len);

/** As above. @return 0 or SKEP_EPREFIX. */
int skep_prefix_check(skep_bytes prefix, char *why, size_t why_len);

/** Is it a uid? Without a reason: this is on the path of every record. The bytes must be valid UTF-8 already (a
 *  msgpack str is). @param numbers  Gets how many numbers it has; may be NULL. */
bool skep_uid_valid(skep_bytes uid, size_t *numbers);

/** How many numbers a valid uid or prefix has. */
size_t skep_uid_number_count(skep_bytes uid_or_prefix);

/** The last number of a uid (or of a prefix that has one), and the prefix before it, which is a view of the same text.
 *  @param number  UINT64_MAX when it does not fit. @return false if there is none. */
bool skep_uid_split(skep_bytes uid_or_prefix, skep_bytes *prefix, uint64_t *number);

#endif
