/* SPDX-License-Identifier: MIT */
/* The error codes of the public API, and the few macros that every file uses. */
#ifndef SKEP_BASE_ERROR_H
#define SKEP_BASE_ERROR_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <skep/error.h>

#define SKEP_COUNT_OF(array) (sizeof(array) / sizeof(array)[0])
#define SKEP_MIN(a, b) ((a) < (b) ? (a) : (b))
#define SKEP_MAX(a, b) ((a) > (b) ? (a) : (b))

/** The struct that holds `member` at `ptr`. */
#define SKEP_CONTAINER_OF(ptr, type, member)                                                       \
    ((type *)(void *)((char *)(uintptr_t)(ptr)-offsetof(type, member)))

#define SKEP_UNREACHABLE()                                                                         \
    do {                                                                                           \
        assert(false && "unreachable");                                                            \
        __builtin_unreachable();                                                                   \
    } while (0)

/** a * b into *out. @return false if that overflows size_t. */
static inline bool skep_size_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/** a + b into *out. @return false if that overflows size_t. */
static inline bool skep_size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

#endif
