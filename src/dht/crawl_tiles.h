/* SPDX-License-Identifier: MIT */
/* The parts of the space of ids that a round of the crawl (crawl.h) has still to look at: subtrees, each all ids that share their first bits, lowest first. */
#ifndef SKEP_DHT_CRAWL_TILES_H
#define SKEP_DHT_CRAWL_TILES_H

#include "base/limits.h"
#include "dht/dht_id.h"

enum {
    SKEP_TILE_BITS =
        17, /* 2^17 tiles at the finest: no table holds more than one node in two of them */
    SKEP_TILE_END = 1 << SKEP_TILE_BITS,
};

struct skep_tile {
    uint32_t lo; /* the first SKEP_TILE_BITS of its first id */
    uint8_t depth, tries;
};

struct skep_tiles {
    struct skep_tile tiles[SKEP_DHT_CRAWL_TILES_MAX]; /* apart from each other, highest first */
    size_t count;
};

static inline uint32_t skep_tile_place(const struct skep_dht_id *id)
{
    return skep_get_be32(id->bytes) >> (32 - SKEP_TILE_BITS);
}

static inline bool skep_tile_has(const struct skep_tile *tile, const struct skep_dht_id *id)
{
    return (skep_tile_place(id) ^ tile->lo) >> (SKEP_TILE_BITS - tile->depth) == 0;
}

/** Its first id, or the one in the middle. */
struct skep_dht_id skep_tile_id(const struct skep_tile *tile, bool middle);

/** The part of a tile whose ids share so many bits with one in it: at most the tile, at the least one of the finest. */
struct skep_tile skep_tile_part(const struct skep_tile *tile, const struct skep_dht_id *id,
                                unsigned bits);

static inline void skep_tiles_clear(struct skep_tiles *tiles)
{
    tiles->count = 0;
}

/** @return false: there were SKEP_DHT_CRAWL_TILES_MAX, and the highest is gone. */
bool skep_tiles_add(struct skep_tiles *tiles, struct skep_tile tile);

/** What of a tile is outside of a part of it. */
void skep_tiles_add_rest(struct skep_tiles *tiles, const struct skep_tile *tile,
                         const struct skep_tile *done);

/** Where the lowest one begins; SKEP_TILE_END: there is none. */
uint32_t skep_tiles_next(const struct skep_tiles *tiles);

/** Take the lowest one. @return false: there is none. */
bool skep_tiles_take(struct skep_tiles *tiles, struct skep_tile *out);

#endif
