/* SPDX-License-Identifier: MIT */
/* Texts of the API: the last error of a thread, peer ids, versions. */
#include "api/api.h"

#include <stdarg.h>
#include <stdio.h>

enum { ERROR_TEXT_LEN = 1024, QUOTES = 4, QUOTE_LEN = 512 };

const struct skep_mem *skep_api_mem = &skep_mem_std;

static _Thread_local char last_error[ERROR_TEXT_LEN];
static _Thread_local char quotes[QUOTES][QUOTE_LEN];
static _Thread_local unsigned next_quote;

int skep_api_fail(int rc, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(last_error, sizeof last_error, format, args);
    va_end(args);
    return rc;
}

const char *skep_api_quote(const char *text)
{
    return skep_text_escape(quotes[next_quote++ % QUOTES], QUOTE_LEN,
                            skep_bytes_str(text ? text : "(null)"));
}

int skep_api_need(const void *thing, const char *what)
{
    return thing ? 0 : skep_api_fail(SKEP_EINVAL, "no %s (NULL)", what);
}

int skep_api_need_bytes(skep_view bytes, const char *what)
{
    if (bytes.len > SIZE_MAX / 4)
        return skep_api_fail(SKEP_ESIZE, "the %s of %zu bytes is too large", what, bytes.len);
    if (!bytes.data && bytes.len > 0)
        return skep_api_fail(SKEP_EINVAL, "the %s has %zu bytes and is NULL", what, bytes.len);
    return 0;
}

int skep_api_options_in(void *to, size_t size, const void *user, size_t first_size,
                        const char *what)
{
    size_t user_size = 0;

    memset(to, 0, size);
    if (!user)
        return 0;
    memcpy(&user_size, user, sizeof user_size); /* struct_size is the first of every such struct */
    if (user_size > 1 << 16 || (user_size > 0 && user_size < sizeof user_size))
        return skep_api_fail(SKEP_EINVAL, "%s: struct_size is %zu; sizeof the struct is meant",
                             what, user_size);
    if (user_size > 0) {
        memcpy(to, user, SKEP_MIN(user_size, size));
        return 0;
    }
    /* What the first version had is there in any. Left out by mistake, it would turn every switch off without a word. */
    for (size_t i = 0; i < first_size; i++)
        if (((const uint8_t *)user)[i] != 0)
            return skep_api_fail(
                SKEP_EINVAL,
                "%s: struct_size is 0, yet something is set; set it to sizeof the struct", what);
    return 0;
}

const char *skep_last_error_text(void)
{
    return last_error;
}

const char *skep_version(void)
{
    return SKEP_VERSION;
}

void skep_free(void *ptr)
{
    skep_mem_free(API_MEM, ptr);
}

char *skep_text_for_terminal(char *out, size_t out_len, const char *text)
{
    return out && out_len > 0 ? skep_text_escape(out, out_len, skep_bytes_str(text ? text : ""))
                              : out;
}

int skep_peer_from_text(skep_peer *out, const char *text)
{
    struct skep_peer_id id;
    int rc;

    if ((rc = skep_api_need(out, "place for the peer id")) < 0)
        return rc;
    rc = text ? skep_peer_id_from_text(&id, skep_bytes_str(text)) : SKEP_EPEERID;
    memset(out, 0, sizeof *out);
    if (rc < 0)
        return skep_api_fail(rc, "\"%s\" is not a peer id", skep_api_quote(text));
    *out = api_peer_out(&id);
    return 0;
}

char *skep_peer_to_text(char *out, const skep_peer *peer)
{
    struct skep_peer_id id = {0};

    if (!out)
        return NULL;
    if (peer && peer->len <= sizeof peer->bytes) /* else nobody: an empty text */
        id = api_peer_in(peer);
    return skep_peer_id_text(out, &id);
}

bool skep_peer_equal(const skep_peer *a, const skep_peer *b)
{
    if (!a || !b)
        return a == b;
    return a->len == b->len && memcmp(a->bytes, b->bytes, SKEP_MIN(a->len, sizeof a->bytes)) == 0;
}

int skep_api_bad_peer(const skep_peer *peer)
{
    struct skep_peer_id id;

    if (!peer || peer->len > sizeof peer->bytes ||
        skep_peer_id_from_bytes(&id, skep_bytes_of(peer->bytes, peer->len)) < 0)
        return skep_api_fail(SKEP_EPEERID, "the peer is not a peer id");
    return 0;
}
