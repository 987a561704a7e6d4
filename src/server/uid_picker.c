/* SPDX-License-Identifier: MIT */
/* See uid_picker.h. Draws at random; where that hits what has been seen a few times in a row, the pattern is nearly used up, and the next free uid behind a
 * random one is taken instead. That walk passes only what has been seen, so it is no longer than that. */
#include "server/uid_picker.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/map.h"

enum { DRAWS = 16 };

struct uid_seen {
    UT_hash_handle hh;
    size_t len;
    char text[];
};

void skep_uid_picker_init(struct skep_uid_picker *picker, const struct skep_mem *mem,
                          const struct skep_uid_pattern *pattern, struct skep_prng *prng)
{
    *picker = (struct skep_uid_picker){.mem = mem, .pattern = pattern, .prng = prng};
}

void skep_uid_picker_fini(struct skep_uid_picker *picker)
{
    struct uid_seen *seen, *next;

    HASH_ITER(hh, picker->seen, seen, next)
    {
        HASH_DEL(picker->seen, seen);
        skep_mem_free(picker->mem, seen);
    }
    picker->seen_count = 0;
}

static bool was_seen(const struct skep_uid_picker *picker, skep_bytes uid)
{
    struct uid_seen *seen;

    HASH_FIND(hh, picker->seen, uid.data, uid.len, seen);
    return seen != NULL;
}

static int see(struct skep_uid_picker *picker, skep_bytes uid)
{
    struct uid_seen *seen = skep_mem_alloc(picker->mem, sizeof *seen + uid.len);

    if (!seen)
        return SKEP_ENOMEM;
    seen->len = uid.len;
    skep_bytes_copy(seen->text, uid);
    HASH_ADD_KEYPTR(hh, picker->seen, seen->text, seen->len, seen);
    if (!seen->hh.tbl) {
        skep_mem_free(picker->mem, seen);
        return SKEP_ENOMEM;
    }
    picker->seen_count++;
    return 0;
}

int skep_uid_picker_take(struct skep_uid_picker *picker, skep_bytes uid)
{
    if (!skep_uid_pattern_has(picker->pattern, uid) || was_seen(picker, uid))
        return 0;
    return see(picker, uid);
}

/* One that was not seen: there is one. @return its length; SKEP_ESIZE. */
static int find_free(struct skep_uid_picker *picker, char *out, size_t out_len)
{
    const struct skep_uid_pattern *pattern = picker->pattern;
    uint64_t at;
    int len;

    for (int i = 0; i < DRAWS; i++) {
        len = skep_uid_pattern_draw(pattern, picker->prng, out, out_len);
        if (len < 0 || !was_seen(picker, skep_bytes_of(out, (size_t)len)))
            return len;
    }
    at = skep_prng_below(picker->prng, pattern->size);
    do {
        len = skep_uid_pattern_uid(pattern, at, out, out_len);
        at = at + 1 < pattern->size ? at + 1 : 0;
    } while (len >= 0 && was_seen(picker, skep_bytes_of(out, (size_t)len)));
    return len;
}

static int refuse(const struct skep_uid_picker *picker, char *why, size_t why_len)
{
    const struct skep_uid_pattern *pattern = picker->pattern;
    char shown[SKEP_PEER_TEXT_MAX + 8];

    skep_text_escape(shown, sizeof shown, pattern->text);
    if (!why)
        return SKEP_ELIMIT;
    if (picker->seen_count == pattern->size)
        snprintf(why, why_len, "pattern \"%s\": all of its %" PRIu64 " uids are taken", shown,
                 pattern->size);
    else
        snprintf(why, why_len, "pattern \"%s\": no more free uids were found after %zu tries",
                 shown, picker->proposed);
    return SKEP_ELIMIT;
}

int skep_uid_picker_next(struct skep_uid_picker *picker, char *out, size_t out_len, char *why,
                         size_t why_len)
{
    int len, rc;

    if (picker->seen_count == picker->pattern->size || picker->proposed == SKEP_UID_TRIES_MAX)
        return refuse(picker, why, why_len);
    len = find_free(picker, out, out_len);
    if (len < 0)
        return len;
    if ((rc = see(picker, skep_bytes_of(out, (size_t)len))) < 0)
        return rc;
    picker->proposed++;
    return len;
}
