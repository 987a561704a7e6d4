/* SPDX-License-Identifier: MIT */
/* The allocator seam: all memory below api/ comes from a `struct skep_mem`, so that a test can make the
 * n-th allocation fail and a simulation can count what each node holds. */
#ifndef SKEP_BASE_MEM_H
#define SKEP_BASE_MEM_H

#include <stddef.h>

/** realloc with a context: ptr NULL allocates; len 0 frees and returns NULL. */
struct skep_mem {
    void *(*resize)(void *ctx, void *ptr, size_t len);
    void *ctx;
};

/** malloc, realloc and free. */
extern const struct skep_mem skep_mem_std;

/** @return len bytes, not initialised, or NULL. A len of 0 gives a valid pointer. */
void *skep_mem_alloc(const struct skep_mem *mem, size_t len);

/** @return count * size zeroed bytes, or NULL (also where the product overflows). */
void *skep_mem_zalloc(const struct skep_mem *mem, size_t count, size_t size);

/** Grow or shrink; on failure NULL, and `ptr` stays as it was. */
void *skep_mem_resize(const struct skep_mem *mem, void *ptr, size_t len);

/** @return a copy of len bytes, or NULL. */
void *skep_mem_dup(const struct skep_mem *mem, const void *data, size_t len);

/** @return a copy of a string, or NULL. */
char *skep_mem_strdup(const struct skep_mem *mem, const char *text);

/** NULL is fine. */
void skep_mem_free(const struct skep_mem *mem, void *ptr);

#endif
