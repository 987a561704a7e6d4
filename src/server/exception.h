/* SPDX-License-Identifier: MIT */
/* What went wrong, told as a Python exception: hivemind answers a unary call with its repr and a stream with its str, and its users read them.
 *
 *            repr                     str
 *   ValueError('batch 0')    batch 0              KeyError('ffn.9.9')     'ffn.9.9'
 *   CancelledError()                              KeyError(None)          None */
#ifndef SKEP_SERVER_EXCEPTION_H
#define SKEP_SERVER_EXCEPTION_H

#include "base/bytes.h"
#include "base/limits.h"

enum { SKEP_EXCEPTION_LEN_MAX = SKEP_ERROR_TEXT_MAX + 1 }; /* of a text with its terminator */

struct skep_exception {
    const char *type; /* "ValueError", static; NULL: nothing went wrong */
    enum {
        SKEP_EXCEPTION_TEXT,
        SKEP_EXCEPTION_KEY,
        SKEP_EXCEPTION_NONE,
        SKEP_EXCEPTION_EMPTY
    } argument;
    size_t len;
    char text[SKEP_UID_LEN_MAX]; /* the argument: UTF-8, not terminated */
};

/** @return SKEP_EINVAL, so that whoever finds something wrong can return it. A text that is too long is cut. */
int skep_exception_set(struct skep_exception *exception, const char *type, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** KeyError of a text, or (data NULL) of None. @return SKEP_EINVAL. */
int skep_exception_set_key(struct skep_exception *exception, skep_bytes key);
/** A type without an argument. @return SKEP_EINVAL. */
int skep_exception_set_bare(struct skep_exception *exception, const char *type);
/** What `repr` of one says, where that is the work of skep_exception_repr() or as simple. @return SKEP_EINVAL. */
int skep_exception_set_repr(struct skep_exception *exception, const char *repr);

/** Terminated texts. @return `out`. */
char *skep_exception_repr(const struct skep_exception *exception, char out[SKEP_EXCEPTION_LEN_MAX]);
char *skep_exception_str(const struct skep_exception *exception, char out[SKEP_EXCEPTION_LEN_MAX]);

#endif
