/* SPDX-License-Identifier: MIT */
#include "dht/crawl_tiles.h"

static uint32_t width_of(unsigned depth)
{
    return (uint32_t)1 << (SKEP_TILE_BITS - depth);
}

struct skep_dht_id skep_tile_id(const struct skep_tile *tile, bool middle)
{
    struct skep_dht_id id = {{0}};
    uint32_t place = tile->lo << (32 - SKEP_TILE_BITS);

    if (middle)
        place += width_of(tile->depth) << (31 - SKEP_TILE_BITS);
    skep_put_be32(id.bytes, place);
    return id;
}

struct skep_tile skep_tile_part(const struct skep_tile *tile, const struct skep_dht_id *id,
                                unsigned bits)
{
    unsigned depth = SKEP_MIN(SKEP_MAX(bits, (unsigned)tile->depth), (unsigned)SKEP_TILE_BITS);

    return (struct skep_tile){.lo = skep_tile_place(id) & ~(width_of(depth) - 1),
                              .depth = (uint8_t)depth};
}

bool skep_tiles_add(struct skep_tiles *t, struct skep_tile tile)
{
    bool room = t->count < SKEP_DHT_CRAWL_TILES_MAX;
    size_t at;

    if (!room) {
        if (tile.lo > t->tiles[0].lo)
            return false;
        t->count--;
        memmove(t->tiles, t->tiles + 1, t->count * sizeof t->tiles[0]);
    }
    for (at = t->count++; at > 0 && t->tiles[at - 1].lo < tile.lo; at--)
        t->tiles[at] = t->tiles[at - 1];
    t->tiles[at] = tile;
    return room;
}

void skep_tiles_add_rest(struct skep_tiles *t, const struct skep_tile *tile,
                         const struct skep_tile *done)
{
    for (unsigned depth = tile->depth + 1u; depth <= done->depth; depth++) {
        uint32_t width = width_of(depth);

        (void)skep_tiles_add(t, (struct skep_tile){.lo = (done->lo & ~(width - 1)) ^ width,
                                                   .depth = (uint8_t)depth});
    }
}

uint32_t skep_tiles_next(const struct skep_tiles *t)
{
    return t->count > 0 ? t->tiles[t->count - 1].lo : SKEP_TILE_END;
}

bool skep_tiles_take(struct skep_tiles *t, struct skep_tile *out)
{
    if (t->count == 0)
        return false;
    *out = t->tiles[--t->count];
    return true;
}
