/* SPDX-License-Identifier: MIT */
#include "dht/crawl_impl.h"

/* Nodes of a tile among which the one to ask is drawn, so that it is another one each round. */
#define CHOICE 8
/* Nodes looked at in search of those. */
#define LOOKS 64
/* A tile is asked for so many times when answers are poor or calls fail for want of something of ours. */
#define TRIES_MAX 3
/* Of one node in a round: who names nodes that are not there does not keep us busy. */
#define ASKS_MAX 4
/* Tiles may be so much deeper than what answers usually cover, once so many have come. */
#define DEEPER 5
#define COMMONS_MIN 8
/* So few names are few. */
#define NAMES_FEW 8
/* Discovery may make so many calls in a round, and one for each four nodes known: names that lead nowhere do not keep it going for ever. */
#define FINDS_MIN 64

static bool may_ask(const struct skep_onehop_node *node)
{
    return (node->state == SKEP_ONE_HOP_ANSWERED || node->state == SKEP_ONE_HOP_HEARD) &&
           !node->calling && node->asked < ASKS_MAX;
}

/* One of several, rather one that has answered before. */
static struct skep_onehop_node *draw(struct skep_crawl *c, struct skep_onehop_node **nodes,
                                     size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++)
        if (nodes[i]->state == SKEP_ONE_HOP_ANSWERED)
            nodes[kept++] = nodes[i];
    if (kept > 0)
        count = kept;
    return count > 0 ? nodes[skep_env_random(c->dht->env) % count] : NULL;
}

/* The first node in a tile, or behind it. */
static struct skep_onehop_node *first_in(const struct skep_crawl *c, const struct skep_tile *tile)
{
    struct skep_dht_id at = skep_tile_id(tile, false);
    struct skep_onehop_node *node = skep_onehop_get(&c->table, &at);

    return node ? node : skep_onehop_after(&c->table, &at);
}

/* How many bits the nodes shared that answers named lately, by their median. */
static unsigned usual_depth(const struct skep_crawl *c)
{
    unsigned count[SKEP_DHT_ID_BITS + 1] = {0}, depth = 0;
    unsigned seen = SKEP_MIN(c->answers, (uint32_t)SKEP_CRAWL_COMMONS);

    if (seen < COMMONS_MIN)
        return SKEP_TILE_BITS;
    for (unsigned i = 0; i < seen; i++)
        count[c->commons[i]]++;
    for (unsigned below = count[0]; 2 * below <= seen; below += count[depth])
        depth++;
    return depth;
}

/* How deep tiles may get: somewhat below that. Who names nodes that are not there could else have us look for them everywhere. */
static unsigned depth_max(const struct skep_crawl *c)
{
    return SKEP_MIN(usual_depth(c) + DEEPER, (unsigned)SKEP_TILE_BITS);
}

/* Whom to ask for a tile: one of the first nodes in it, else one near its middle. */
static struct skep_onehop_node *whom_to_ask(struct skep_crawl *c, const struct skep_tile *tile,
                                            struct skep_dht_id *key)
{
    struct skep_onehop_node *nodes[CHOICE], *node = first_in(c, tile);
    size_t count = 0, near;

    for (size_t i = 0; i < LOOKS && count < CHOICE && node && skep_tile_has(tile, &node->id); i++) {
        if (may_ask(node))
            nodes[count++] = node;
        node = skep_onehop_after(&c->table, &node->id);
    }
    node = draw(c, nodes, count);
    if (node) {
        *key = node->id;
        return node;
    }
    *key = skep_tile_id(tile, true);
    near = skep_onehop_nearest(&c->table, key, CHOICE, nodes);
    for (size_t i = 0; i < near; i++)
        if (may_ask(nodes[i]))
            nodes[count++] = nodes[i];
    return draw(c, nodes, count);
}

void skep_crawl_ask(struct skep_crawl *c, uint32_t until)
{
    struct skep_tile tile;

    if (c->finds >= FINDS_MIN + skep_onehop_count(&c->table) / 4)
        skep_tiles_clear(&c->tiles);
    while (skep_tiles_next(&c->tiles) <= until && skep_crawl_may_call(c) &&
           skep_tiles_take(&c->tiles, &tile)) {
        struct skep_dht_id key;
        struct skep_onehop_node *node = whom_to_ask(c, &tile, &key);

        if (!node)
            continue;
        node->asked++;
        c->finds++;
        if (!skep_crawl_start_call(c, node, &tile, &key))
            break; /* without memory the tile is left to the next round */
    }
}

/* What an answer says of where it is complete. */
struct named {
    size_t count, inside; /* in all, and in the tile that was asked for */
    unsigned common;      /* bits that all of them share with the key */
};

static void take_names(struct skep_crawl *c, const struct skep_crawl_call *call,
                       const struct skep_dht_find_result *result, struct named *named)
{
    struct skep_dht_repeated ids = result->node_ids, peers = result->peer_ids;
    skep_bytes id_bytes, peer_bytes;

    *named = (struct named){.common = SKEP_DHT_ID_BITS};
    for (size_t i = 0; i < SKEP_DHT_NEAREST_MAX; i++) {
        struct skep_peer_id peer;
        struct skep_dht_id id;

        if (!skep_dht_next_bytes(&ids, &id_bytes) || !skep_dht_next_bytes(&peers, &peer_bytes))
            break;
        if (skep_dht_id_from_wire(&id, id_bytes) < 0 ||
            skep_peer_id_from_bytes(&peer, peer_bytes) < 0) {
            c->dht->stats.bad_messages++;
            continue;
        }
        named->count++;
        named->inside += skep_tile_has(&call->tile, &id);
        named->common = SKEP_MIN(named->common, skep_dht_id_common_bits(&id, &call->key));
        skep_crawl_named(c->dht, &id, &peer, &call->request.peer);
    }
}

/* Are there more who have answered us around the key than it can have named? Then its table has gaps, or it hides something. */
static bool is_poor(const struct skep_crawl *c, const struct skep_crawl_call *call,
                    const struct named *named, const struct skep_tile *done)
{
    const struct skep_onehop_node *node = first_in(c, done);
    size_t known = 0;

    if (named->count < NAMES_FEW && 2 * named->count + 2 < skep_onehop_count(&c->table))
        return true;
    for (size_t i = 0; i < LOOKS && node && skep_tile_has(done, &node->id); i++) {
        known += node->state == SKEP_ONE_HOP_ANSWERED && !skep_dht_id_equal(&node->id, &call->id);
        node = skep_onehop_after(&c->table, &node->id);
    }
    return known > 2 * named->count;
}

static bool has_more_than(const struct skep_crawl *c, const struct skep_tile *tile, size_t count)
{
    const struct skep_onehop_node *node = first_in(c, tile);

    for (; node && skep_tile_has(tile, &node->id) && count > 0; count--)
        node = skep_onehop_after(&c->table, &node->id);
    return node && skep_tile_has(tile, &node->id);
}

/* Another node is asked for the tile; in the end for each half of a large one by itself. */
void skep_crawl_not_found(struct skep_crawl *c, const struct skep_crawl_call *call)
{
    struct skep_tile tile = call->tile, half;

    if (++tile.tries < TRIES_MAX) {
        (void)skep_tiles_add(&c->tiles, tile);
    } else if (tile.depth < depth_max(c) && has_more_than(c, &tile, CHOICE)) {
        half = skep_tile_part(&tile, &call->key, tile.depth + 1u);
        skep_tiles_add_rest(&c->tiles, &tile, &half);
        (void)skep_tiles_add(&c->tiles, half);
    }
}

/* The nodes nearest to its own id were named: as deep as they all share its bits, and one bit more, nobody is missing. Tables are not perfect, so the first
 * round takes smaller steps, and others draw others to ask. One outside of the tile can only
 * tell whether there is somebody inside, who is then asked; where many should be, one who knows of none is not believed. */
void skep_crawl_found(struct skep_crawl *c, const struct skep_crawl_call *call,
                      const struct skep_dht_find_result *result)
{
    struct skep_onehop_node *asked = skep_onehop_get(&c->table, &call->id);
    struct skep_tile done = call->tile;
    struct named named;

    take_names(c, call, result, &named);
    if (!skep_dht_id_equal(&call->id, &call->key)) {
        if (named.inside == 0 && asked)
            asked->asked = ASKS_MAX;
        if (named.inside > 0 || call->tile.depth <= usual_depth(c))
            skep_crawl_not_found(c, call);
        return;
    }
    if (named.count > 0) {
        c->commons[c->answers++ % SKEP_CRAWL_COMMONS] = (uint8_t)named.common;
        done = skep_tile_part(&call->tile, &call->key,
                              SKEP_MIN(named.common + (c->filled ? 1 : 2), depth_max(c)));
    }
    if (call->tile.tries + 1 < TRIES_MAX && is_poor(c, call, &named, &done)) {
        if (asked)
            asked->asked = ASKS_MAX;
        skep_crawl_not_found(c, call);
        return;
    }
    skep_tiles_add_rest(&c->tiles, &call->tile, &done);
}
