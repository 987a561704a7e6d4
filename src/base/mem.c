/* SPDX-License-Identifier: MIT */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static void *std_resize(void *ctx, void *ptr, size_t len)
{
    (void)ctx;
    if (len == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, len);
}

const struct skep_mem skep_mem_std = {std_resize, NULL};

void *skep_mem_alloc(const struct skep_mem *mem, size_t len)
{
    return mem->resize(mem->ctx, NULL, len > 0 ? len : 1);
}

void *skep_mem_zalloc(const struct skep_mem *mem, size_t count, size_t size)
{
    size_t len;
    void *ptr;

    if (!skep_size_mul(count, size, &len))
        return NULL;
    ptr = skep_mem_alloc(mem, len);
    if (ptr)
        memset(ptr, 0, len);
    return ptr;
}

void *skep_mem_resize(const struct skep_mem *mem, void *ptr, size_t len)
{
    return mem->resize(mem->ctx, ptr, len > 0 ? len : 1);
}

void *skep_mem_dup(const struct skep_mem *mem, const void *data, size_t len)
{
    void *copy = skep_mem_alloc(mem, len);

    if (copy && len > 0)
        memcpy(copy, data, len);
    return copy;
}

char *skep_mem_strdup(const struct skep_mem *mem, const char *text)
{
    return skep_mem_dup(mem, text, strlen(text) + 1);
}

void skep_mem_free(const struct skep_mem *mem, void *ptr)
{
    if (ptr)
        mem->resize(mem->ctx, ptr, 0);
}
