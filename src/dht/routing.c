/* SPDX-License-Identifier: MIT */
#include "dht/routing.h"

#include "base/map.h"

#define NO_NODE UINT32_MAX

enum { BY_PEER_MIN = 16 };

/* ---- nodes, and the index by peer: open addressing, linear probing, at most half full ---- */

static uint32_t peer_hash(const struct skep_peer_id *peer)
{
    return skep_map_hash(peer->bytes, peer->len);
}

static void by_peer_put(struct skep_routing *t, uint32_t node)
{
    uint32_t mask = t->by_peer_cap - 1, i = peer_hash(&t->nodes[node].peer) & mask;

    while (t->by_peer[i] != 0)
        i = (i + 1) & mask;
    t->by_peer[i] = node + 1;
}

static uint32_t by_peer_find(const struct skep_routing *t, const struct skep_peer_id *peer)
{
    uint32_t mask = t->by_peer_cap - 1;

    if (t->by_peer_cap == 0)
        return NO_NODE;
    for (uint32_t i = peer_hash(peer) & mask; t->by_peer[i] != 0; i = (i + 1) & mask)
        if (skep_peer_id_equal(&t->nodes[t->by_peer[i] - 1].peer, peer))
            return t->by_peer[i] - 1;
    return NO_NODE;
}

/* Those behind the hole move up, so that no search stops short of them (Knuth, volume 3, 6.4, algorithm R). */
static void by_peer_remove(struct skep_routing *t, uint32_t node)
{
    uint32_t mask = t->by_peer_cap - 1, hole = peer_hash(&t->nodes[node].peer) & mask;

    while (t->by_peer[hole] != node + 1)
        hole = (hole + 1) & mask;
    for (uint32_t i = (hole + 1) & mask; t->by_peer[i] != 0; i = (i + 1) & mask) {
        uint32_t home = peer_hash(&t->nodes[t->by_peer[i] - 1].peer) & mask;

        if (((i - home) & mask) >= ((i - hole) & mask)) {
            t->by_peer[hole] = t->by_peer[i];
            hole = i;
        }
    }
    t->by_peer[hole] = 0;
}

static int grow_by_peer(struct skep_routing *t)
{
    uint32_t cap = SKEP_MAX(2 * t->by_peer_cap, (uint32_t)BY_PEER_MIN), old_cap = t->by_peer_cap;
    uint32_t *old = t->by_peer, *grown;

    if (2 * (t->live + 1) <= t->by_peer_cap)
        return 0;
    grown = skep_mem_zalloc(t->mem, cap, sizeof *grown);
    if (!grown)
        return SKEP_ENOMEM;
    t->by_peer = grown;
    t->by_peer_cap = cap;
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i] != 0)
            by_peer_put(t, old[i] - 1);
    skep_mem_free(t->mem, old);
    return 0;
}

/* A free node's peer id holds the index of the next free one. */
static uint32_t next_free(const struct skep_routing_node *node)
{
    return skep_get_be32(node->peer.bytes);
}

static int node_new(struct skep_routing *t, const struct skep_dht_id *id,
                    const struct skep_peer_id *peer, uint32_t *out)
{
    uint32_t cap = SKEP_MAX(t->node_cap + t->node_cap / 2, 8u);
    void *grown;

    if (grow_by_peer(t) < 0)
        return SKEP_ENOMEM;
    if (t->free_node != NO_NODE) {
        *out = t->free_node;
        t->free_node = next_free(&t->nodes[*out]);
    } else {
        if (t->node_used == t->node_cap) {
            if (!(grown = skep_mem_resize(t->mem, t->nodes, cap * sizeof *t->nodes)))
                return SKEP_ENOMEM;
            t->nodes = grown;
            t->node_cap = cap;
        }
        *out = t->node_used++;
    }
    t->nodes[*out] = (struct skep_routing_node){.id = *id, .peer = *peer};
    by_peer_put(t, *out);
    t->live++;
    return 0;
}

static void node_free(struct skep_routing *t, uint32_t node)
{
    by_peer_remove(t, node);
    skep_put_be32(t->nodes[node].peer.bytes, t->free_node);
    t->free_node = node;
    t->live--;
}

/* ---- buckets ---- */

static uint32_t *nodes_of(const struct skep_routing_bucket *b)
{
    return b->slots;
}

static uint32_t *replacements_of(const struct skep_routing *t, const struct skep_routing_bucket *b)
{
    return b->slots + t->bucket_size;
}

static void slot_remove(uint32_t *slots, uint32_t *count, uint32_t at)
{
    --*count;
    memmove(slots + at, slots + at + 1, (*count - at) * sizeof *slots);
}

/* Where an id is in its bucket: among the nodes, behind them among the replacements, or NO_NODE. */
static uint32_t place_in(const struct skep_routing *t, const struct skep_routing_bucket *b,
                         const struct skep_dht_id *id)
{
    for (uint32_t i = 0; i < b->node_count; i++)
        if (skep_dht_id_equal(&t->nodes[nodes_of(b)[i]].id, id))
            return i;
    for (uint32_t i = 0; i < b->replacement_count; i++)
        if (skep_dht_id_equal(&t->nodes[replacements_of(t, b)[i]].id, id))
            return b->node_count + i;
    return NO_NODE;
}

size_t skep_routing_bucket_of(const struct skep_routing *t, const struct skep_dht_id *id)
{
    size_t low = 0, high = t->bucket_count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (memcmp(id->bytes, t->buckets[middle].lower.bytes, SKEP_DHT_ID_LEN) >= 0)
            low = middle;
        else
            high = middle;
    }
    return low;
}

const struct skep_routing_node *skep_routing_bucket_node(const struct skep_routing *t,
                                                         const struct skep_routing_bucket *b,
                                                         size_t i)
{
    if (i < b->node_count)
        return &t->nodes[nodes_of(b)[i]];
    assert(i - b->node_count < b->replacement_count);
    return &t->nodes[replacements_of(t, b)[i - b->node_count]];
}

static const struct skep_routing_node *find_in_bucket(const struct skep_routing *t,
                                                      const struct skep_dht_id *id)
{
    const struct skep_routing_bucket *b = &t->buckets[skep_routing_bucket_of(t, id)];
    uint32_t place = place_in(t, b, id);

    return place == NO_NODE ? NULL : skep_routing_bucket_node(t, b, place);
}

const struct skep_routing_node *skep_routing_get(const struct skep_routing *t,
                                                 const struct skep_dht_id *id)
{
    return find_in_bucket(t, id);
}

const struct skep_routing_node *skep_routing_get_peer(const struct skep_routing *t,
                                                      const struct skep_peer_id *peer)
{
    uint32_t node = by_peer_find(t, peer);

    return node == NO_NODE ? NULL : &t->nodes[node];
}

static int new_slots(const struct skep_routing *t, uint32_t **slots)
{
    *slots = skep_mem_zalloc(t->mem, t->bucket_size + t->replacements_max, sizeof **slots);
    return *slots ? 0 : SKEP_ENOMEM;
}

int skep_routing_init(struct skep_routing *t, const struct skep_mem *mem,
                      const struct skep_dht_id *own_id, size_t bucket_size, unsigned depth_modulo,
                      size_t replacements_max)
{
    *t = (struct skep_routing){.mem = mem,
                               .own_id = *own_id,
                               .bucket_size = bucket_size,
                               .replacements_max = replacements_max,
                               .depth_modulo = depth_modulo,
                               .free_node = NO_NODE};
    if (bucket_size == 0 || depth_modulo == 0 || replacements_max == 0)
        return SKEP_EINVAL;
    t->buckets = skep_mem_zalloc(mem, 1, sizeof *t->buckets);
    if (!t->buckets || new_slots(t, &t->buckets[0].slots) < 0) {
        skep_mem_free(mem, t->buckets);
        t->buckets = NULL;
        return SKEP_ENOMEM;
    }
    t->bucket_count = t->bucket_cap = 1;
    return 0;
}

void skep_routing_fini(struct skep_routing *t)
{
    for (size_t i = 0; i < t->bucket_count; i++)
        skep_mem_free(t->mem, t->buckets[i].slots);
    skep_mem_free(t->mem, t->buckets);
    skep_mem_free(t->mem, t->nodes);
    skep_mem_free(t->mem, t->by_peer);
    *t = (struct skep_routing){.mem = t->mem, .free_node = NO_NODE};
}

/* ---- splitting ---- */

static bool bit_of(const struct skep_dht_id *id, unsigned bit)
{
    return id->bytes[bit / 8] >> (7 - bit % 8) & 1;
}

static bool may_split(const struct skep_routing *t, const struct skep_routing_bucket *b)
{
    bool has_own_id = skep_dht_id_common_bits(&b->lower, &t->own_id) >= b->depth;

    return b->depth < SKEP_DHT_ID_BITS && (has_own_id || b->depth % t->depth_modulo != 0);
}

/* A node moves into one half: to the nodes while there is room, else to the replacements. */
static void settle(struct skep_routing *t, struct skep_routing_bucket *half, uint32_t node)
{
    bool is_full = half->node_count == t->bucket_size;

    t->nodes[node].ping_asked = false;
    t->nodes[node].replacement = is_full;
    if (is_full) {
        replacements_of(t, half)[half->replacement_count++] = node;
    } else {
        nodes_of(half)[half->node_count++] = node;
        t->node_count++;
    }
}

static int split(struct skep_routing *t, size_t index)
{
    struct skep_routing_bucket old = t->buckets[index], half[2] = {old, old}, *grown;

    if (t->bucket_count == t->bucket_cap) {
        size_t cap = t->bucket_cap + t->bucket_cap / 2 + 4;

        if (!(grown = skep_mem_resize(t->mem, t->buckets, cap * sizeof *grown)))
            return SKEP_ENOMEM;
        t->buckets = grown;
        t->bucket_cap = cap;
    }
    for (int i = 0; i < 2; i++) {
        half[i].depth++;
        half[i].node_count = half[i].replacement_count = 0;
    }
    half[1].lower.bytes[old.depth / 8] =
        (uint8_t)(half[1].lower.bytes[old.depth / 8] | 0x80u >> old.depth % 8);
    if (new_slots(t, &half[0].slots) < 0)
        return SKEP_ENOMEM;
    if (new_slots(t, &half[1].slots) < 0) {
        skep_mem_free(t->mem, half[0].slots);
        return SKEP_ENOMEM;
    }
    t->node_count -= old.node_count;
    for (uint32_t i = 0; i < old.node_count; i++)
        settle(t, &half[bit_of(&t->nodes[nodes_of(&old)[i]].id, old.depth)], nodes_of(&old)[i]);
    for (uint32_t i = 0; i < old.replacement_count; i++)
        settle(t, &half[bit_of(&t->nodes[replacements_of(t, &old)[i]].id, old.depth)],
               replacements_of(t, &old)[i]);
    skep_mem_free(t->mem, old.slots);
    memmove(t->buckets + index + 2, t->buckets + index + 1,
            (t->bucket_count - index - 1) * sizeof *t->buckets);
    t->buckets[index] = half[0];
    t->buckets[index + 1] = half[1];
    t->bucket_count++;
    return 0;
}

/* ---- adding and removing ---- */

/* A node that is in its bucket already is as good as new. @return is it among the nodes? */
static bool freshen(struct skep_routing *t, struct skep_routing_bucket *b, uint32_t place)
{
    bool is_node = place < b->node_count;
    uint32_t *slots = is_node ? nodes_of(b) : replacements_of(t, b);
    uint32_t count = is_node ? b->node_count : b->replacement_count,
             at = is_node ? place : place - b->node_count;
    uint32_t node = slots[at];

    slot_remove(slots, &count, at);
    slots[count] = node;
    t->nodes[node].ping_asked = false;
    return is_node;
}

/* Into the bucket, or where it is full onto its replacement list. @return 1 in, 0 waiting, SKEP_ENOMEM. */
static int put_in_bucket(struct skep_routing *t, struct skep_routing_bucket *b,
                         const struct skep_dht_id *id, const struct skep_peer_id *peer)
{
    uint32_t place = place_in(t, b, id), node;

    if (place != NO_NODE) {
        bool is_node = freshen(t, b, place);

        if (is_node || b->node_count == t->bucket_size)
            return is_node;
        /* Waiting, and there is room by now. */
        node = replacements_of(t, b)[--b->replacement_count];
    } else {
        if (node_new(t, id, peer, &node) < 0)
            return SKEP_ENOMEM;
        if (b->node_count == t->bucket_size && b->replacement_count == t->replacements_max) {
            node_free(t, replacements_of(t, b)[0]);
            slot_remove(replacements_of(t, b), &b->replacement_count, 0);
        }
    }
    settle(t, b, node);
    return !t->nodes[node].replacement;
}

/* The node not heard of for longest, unless it is being pinged already. */
static int ask_for_ping(struct skep_routing *t, const struct skep_routing_bucket *b,
                        struct skep_routing_node *to_ping)
{
    for (uint32_t i = 0; i < b->node_count; i++) {
        struct skep_routing_node *node = &t->nodes[nodes_of(b)[i]];

        if (!node->ping_asked) {
            node->ping_asked = true;
            *to_ping = *node;
            return 1;
        }
    }
    return 0;
}

int skep_routing_add(struct skep_routing *t, const struct skep_dht_id *id,
                     const struct skep_peer_id *peer, uint64_t now_us,
                     struct skep_routing_node *to_ping)
{
    const struct skep_routing_node *known = skep_routing_get_peer(t, peer);
    struct skep_dht_id old_id;
    int rc;

    if (skep_dht_id_equal(id, &t->own_id))
        return SKEP_EEXIST;
    if (!known || !skep_dht_id_equal(&known->id, id)) {
        if (find_in_bucket(t, id))
            return SKEP_EEXIST; /* another peer's */
        if (known) {            /* it started anew, and so has another node id */
            old_id = known->id;
            skep_routing_remove(t, &old_id);
        }
    }
    for (;;) {
        size_t index = skep_routing_bucket_of(t, id);
        struct skep_routing_bucket *b = &t->buckets[index];

        b->updated_us = now_us;
        rc = put_in_bucket(t, b, id, peer);
        if (rc != 0)
            return SKEP_MIN(rc, 0);
        if (!may_split(t, b))
            return ask_for_ping(t, b, to_ping);
        if ((rc = split(t, index)) < 0)
            return rc;
    }
}

bool skep_routing_remove(struct skep_routing *t, const struct skep_dht_id *id)
{
    struct skep_routing_bucket *b = &t->buckets[skep_routing_bucket_of(t, id)];
    uint32_t place = place_in(t, b, id);

    if (place == NO_NODE)
        return false;
    if (place >= b->node_count) {
        node_free(t, replacements_of(t, b)[place - b->node_count]);
        slot_remove(replacements_of(t, b), &b->replacement_count, place - b->node_count);
        return true;
    }
    node_free(t, nodes_of(b)[place]);
    slot_remove(nodes_of(b), &b->node_count, place);
    t->node_count--;
    if (b->replacement_count > 0)
        settle(t, b, replacements_of(t, b)[--b->replacement_count]);
    return true;
}

/* ---- the nearest ---- */

struct nearest {
    const struct skep_dht_id *target, *exclude;
    const struct skep_routing_node **out;
    size_t max, count;
    size_t sorted; /* out[0 … sorted) are of nearer subtrees: nothing to come belongs among them */
};

static void consider(struct nearest *n, const struct skep_routing_node *node)
{
    size_t at = n->count;

    if (n->exclude && skep_dht_id_equal(&node->id, n->exclude))
        return;
    if (at == n->max) {
        if (at == n->sorted || skep_dht_id_nearer(n->target, &node->id, &n->out[at - 1]->id) >= 0)
            return;
        at--;
    } else {
        n->count++;
    }
    while (at > n->sorted && skep_dht_id_nearer(n->target, &node->id, &n->out[at - 1]->id) < 0) {
        n->out[at] = n->out[at - 1];
        at--;
    }
    n->out[at] = node;
}

static void consider_bucket(const struct skep_routing *t, const struct skep_routing_bucket *b,
                            struct nearest *n)
{
    for (uint32_t i = 0; i < b->node_count; i++)
        consider(n, &t->nodes[nodes_of(b)[i]]);
}

/* Every node outside a subtree that holds the target is farther than all inside, so subtrees are looked at from the target's bucket up to
 * the root, and only while there are too few. */
size_t skep_routing_nearest(const struct skep_routing *t, const struct skep_dht_id *target,
                            size_t k, const struct skep_dht_id *exclude,
                            const struct skep_routing_node **out)
{
    struct nearest n = {.target = target, .exclude = exclude, .out = out, .max = k};
    size_t left = skep_routing_bucket_of(t, target), right = left + 1;
    unsigned depth = t->buckets[left].depth;

    consider_bucket(t, &t->buckets[left], &n);
    while (depth > 0 && n.count < k) {
        depth--;
        n.sorted = n.count;
        while (left > 0 && skep_dht_id_common_bits(&t->buckets[left - 1].lower, target) >= depth)
            consider_bucket(t, &t->buckets[--left], &n);
        while (right < t->bucket_count &&
               skep_dht_id_common_bits(&t->buckets[right].lower, target) >= depth)
            consider_bucket(t, &t->buckets[right++], &n);
    }
    return n.count;
}

struct skep_dht_id skep_routing_bucket_id(const struct skep_routing_bucket *b,
                                          const struct skep_dht_id *random)
{
    struct skep_dht_id id = *random;
    unsigned whole = b->depth / 8, bits = b->depth % 8;

    memcpy(id.bytes, b->lower.bytes, whole);
    if (bits > 0) {
        unsigned mask = 0xffu << (8 - bits) & 0xffu;

        id.bytes[whole] = (uint8_t)((b->lower.bytes[whole] & mask) | (id.bytes[whole] & ~mask));
    }
    return id;
}
