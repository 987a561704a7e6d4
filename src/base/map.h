/* SPDX-License-Identifier: MIT */
/* uthash, set up for bytes that a peer chooses: a keyed hash, and no exit() when memory runs out.
 *
 * Use HASH_ADD_KEYPTR, HASH_FIND, HASH_DEL and HASH_ITER as uthash documents them. Iteration is in the order
 * of insertion, never of the hash, so the key of the hash changes nothing that a simulation sees.
 * After HASH_ADD… an element that could not be added has hh.tbl == NULL (HASH_NONFATAL_OOM). */
#ifndef SKEP_BASE_MAP_H
#define SKEP_BASE_MAP_H

#include "base/bytes.h"

/** Keyed hash of the keys. Set the key once, before the first map, from the OS's entropy; fixed by default. */
void skep_map_set_key(uint64_t k0, uint64_t k1);
uint32_t skep_map_hash(const void *key, size_t len);

/** Where the tables of all maps come from; malloc by default. Tests make it fail. */
void skep_map_set_mem(const struct skep_mem *mem);
void *skep_map_alloc(size_t len);
void skep_map_release(void *ptr);

#define HASH_NONFATAL_OOM 1
#define uthash_malloc(len) skep_map_alloc(len)
#define uthash_free(ptr, len) skep_map_release(ptr)
#define HASH_FUNCTION(key, len, hash) ((hash) = skep_map_hash((key), (len)))

#include <uthash.h>

#endif
