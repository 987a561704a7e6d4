/* SPDX-License-Identifier: MIT */
#include "dht/onehop.h"

#include "base/limits.h"
#include "base/map.h"

enum { SLAB_NODES = 128, BY_PEER_MIN = 64, BIN_MIN = 4 };

/* A range of a bin so short is sorted, not cut further. */
#define SHORT 8
/* Failures within so long are one: several calls to a node that has gone end at the same moment. */
#define ONE_FAILURE_DS 10

/* The pool, the bins and the index at their fullest. */
static_assert(sizeof(struct skep_onehop_node) + 8 + 11 <= SKEP_DHT_ONE_HOP_NODE_BYTES,
              "a node takes what docs/limits.md says");

void skep_onehop_init(struct skep_onehop *t, const struct skep_mem *mem, size_t nodes_max,
                      uint32_t grudge_ds)
{
    memset(t, 0, sizeof *t);
    t->mem = mem;
    t->grudge_ds = grudge_ds;
    t->nodes_max = SKEP_MIN(nodes_max, (size_t)SKEP_DHT_ONE_HOP_NODES_MAX);
    t->bytes_max = t->nodes_max * SKEP_DHT_ONE_HOP_NODE_BYTES + SKEP_ONE_HOP_FIXED_BYTES;
}

void skep_onehop_fini(struct skep_onehop *t)
{
    for (uint32_t i = 0; i < t->slab_count; i++)
        skep_mem_free(t->mem, t->slabs[i]);
    for (size_t i = 0; i < SKEP_ONE_HOP_BINS; i++)
        skep_mem_free(t->mem, t->bins[i].nodes);
    skep_mem_free(t->mem, t->slabs);
    skep_mem_free(t->mem, t->by_peer);
}

/* Another size of an array, within the table's bytes. @return 0; SKEP_ELIMIT, SKEP_ENOMEM. */
static int resize(struct skep_onehop *t, void *array, size_t from, size_t to, void **out)
{
    if (to > from && to - from > t->bytes_max - SKEP_MIN(t->bytes, t->bytes_max))
        return SKEP_ELIMIT;
    *out = skep_mem_resize(t->mem, array, to);
    if (!*out && to > 0)
        return SKEP_ENOMEM;
    t->bytes = t->bytes - from + to;
    return 0;
}

/* ---- the pool ---- */

static struct skep_onehop_node *node_at(const struct skep_onehop *t, uint32_t i)
{
    return &t->slabs[i / SLAB_NODES][i % SLAB_NODES];
}

static int add_slab(struct skep_onehop *t)
{
    uint32_t cap = SKEP_MAX(t->slab_cap * 2, 8u);
    void *grown;
    int rc = 0;

    if (t->slab_count == t->slab_cap) {
        rc = resize(t, t->slabs, t->slab_cap * sizeof *t->slabs, cap * sizeof *t->slabs, &grown);
        if (rc < 0)
            return rc;
        t->slabs = grown;
        t->slab_cap = cap;
    }
    rc = resize(t, NULL, 0, SLAB_NODES * sizeof **t->slabs, &grown);
    if (rc == 0)
        t->slabs[t->slab_count++] = grown;
    return rc;
}

static int take_place(struct skep_onehop *t, uint32_t *out)
{
    int rc;

    if (t->free != 0) {
        *out = t->free - 1;
        t->free = node_at(t, *out)->since_ds;
        return 0;
    }
    if (t->used == t->slab_count * SLAB_NODES && (rc = add_slab(t)) < 0)
        return rc;
    *out = t->used++;
    return 0;
}

static void give_place_back(struct skep_onehop *t, uint32_t i)
{
    struct skep_onehop_node *node = node_at(t, i);

    node->state = SKEP_ONE_HOP_FREE;
    node->since_ds = t->free;
    t->free = i + 1;
}

/* ---- the index by peer: open addressing, linear probing, at most three quarters full ---- */

static skep_bytes peer_of(const struct skep_onehop_node *node)
{
    return skep_bytes_of(node->peer, node->peer_len);
}

struct skep_peer_id skep_onehop_peer(const struct skep_onehop_node *node)
{
    struct skep_peer_id peer = {.len = node->peer_len};

    memcpy(peer.bytes, node->peer, node->peer_len);
    return peer;
}

static uint32_t home_of(const struct skep_onehop *t, skep_bytes peer)
{
    return skep_map_hash(peer.data, peer.len) & (t->by_peer_cap - 1);
}

/* The slot that a peer is in, or the free one that it would go into. */
static uint32_t slot_of(const struct skep_onehop *t, skep_bytes peer)
{
    uint32_t slot = home_of(t, peer);

    while (t->by_peer[slot] != 0 &&
           !skep_bytes_equal(peer_of(node_at(t, t->by_peer[slot] - 1)), peer))
        slot = (slot + 1) & (t->by_peer_cap - 1);
    return slot;
}

static int reserve_peer(struct skep_onehop *t)
{
    uint32_t cap = SKEP_MAX(t->by_peer_cap * 2, (uint32_t)BY_PEER_MIN), old_cap = t->by_peer_cap;
    uint32_t *old = t->by_peer;

    if (4 * (t->count + 1) <= 3 * t->by_peer_cap)
        return 0;
    if ((cap - old_cap) * sizeof *old > t->bytes_max - SKEP_MIN(t->bytes, t->bytes_max))
        return SKEP_ELIMIT;
    t->by_peer = skep_mem_zalloc(t->mem, cap, sizeof *old);
    if (!t->by_peer) {
        t->by_peer = old;
        return SKEP_ENOMEM;
    }
    t->bytes += (cap - old_cap) * sizeof *old;
    t->by_peer_cap = cap;
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i] != 0)
            t->by_peer[slot_of(t, peer_of(node_at(t, old[i] - 1)))] = old[i];
    skep_mem_free(t->mem, old);
    return 0;
}

/* Those behind the hole move up, so that no search stops short of them (Knuth, volume 3, 6.4, algorithm R). */
static void forget_peer(struct skep_onehop *t, skep_bytes peer)
{
    uint32_t mask = t->by_peer_cap - 1, hole = slot_of(t, peer);

    for (uint32_t i = (hole + 1) & mask; t->by_peer[i] != 0; i = (i + 1) & mask) {
        uint32_t home = home_of(t, peer_of(node_at(t, t->by_peer[i] - 1)));

        if (((i - home) & mask) >= ((i - hole) & mask)) {
            t->by_peer[hole] = t->by_peer[i];
            hole = i;
        }
    }
    t->by_peer[hole] = 0;
}

/* ---- the bins ---- */

static const struct skep_onehop_bin *bin_of(const struct skep_onehop *t,
                                            const struct skep_dht_id *id)
{
    return &t->bins[id->bytes[0]];
}

static int compare(const struct skep_onehop *t, uint32_t node, const struct skep_dht_id *id)
{
    return memcmp(node_at(t, node)->id.bytes, id->bytes, SKEP_DHT_ID_LEN);
}

/* How many of a bin lie before an id. */
static uint32_t rank_of(const struct skep_onehop *t, const struct skep_onehop_bin *bin,
                        const struct skep_dht_id *id)
{
    uint32_t lo = 0, hi = bin->count;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (compare(t, bin->nodes[mid], id) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int reserve_in_bin(struct skep_onehop *t, struct skep_onehop_bin *bin)
{
    uint32_t cap = bin->cap + SKEP_MAX(bin->cap / 2, (uint32_t)BIN_MIN);
    void *grown;
    int rc;

    if (bin->count < bin->cap)
        return 0;
    rc = resize(t, bin->nodes, bin->cap * sizeof *bin->nodes, cap * sizeof *bin->nodes, &grown);
    if (rc < 0)
        return rc;
    bin->nodes = grown;
    bin->cap = cap;
    return 0;
}

static void put_in_bin(struct skep_onehop *t, uint32_t node)
{
    const struct skep_dht_id *id = &node_at(t, node)->id;
    struct skep_onehop_bin *bin = &t->bins[id->bytes[0]];
    uint32_t at = rank_of(t, bin, id);

    memmove(bin->nodes + at + 1, bin->nodes + at, (bin->count - at) * sizeof *bin->nodes);
    bin->nodes[at] = node;
    bin->count++;
}

/* A bin that was once full gives back what it no longer needs: else one who makes up ids fills each in turn. */
static uint32_t take_out_of_bin(struct skep_onehop *t, const struct skep_dht_id *id)
{
    struct skep_onehop_bin *bin = &t->bins[id->bytes[0]];
    uint32_t at = rank_of(t, bin, id), node = bin->nodes[at];
    uint32_t cap = bin->count + bin->count / 4;
    void *shrunk;

    bin->count--;
    memmove(bin->nodes + at, bin->nodes + at + 1, (bin->count - at) * sizeof *bin->nodes);
    if (bin->cap > 2 * BIN_MIN && bin->count < bin->cap / 2 &&
        resize(t, bin->nodes, bin->cap * sizeof *bin->nodes, cap * sizeof *bin->nodes, &shrunk) ==
            0) {
        bin->nodes = shrunk;
        bin->cap = cap;
    }
    return node;
}

struct skep_onehop_node *skep_onehop_get(const struct skep_onehop *t, const struct skep_dht_id *id)
{
    const struct skep_onehop_bin *bin = bin_of(t, id);
    uint32_t at = rank_of(t, bin, id);

    if (at == bin->count || compare(t, bin->nodes[at], id) != 0)
        return NULL;
    return node_at(t, bin->nodes[at]);
}

struct skep_onehop_node *skep_onehop_get_peer(const struct skep_onehop *t,
                                              const struct skep_peer_id *peer)
{
    uint32_t slot;

    if (t->by_peer_cap == 0)
        return NULL;
    slot = slot_of(t, skep_peer_id_view(peer));
    return t->by_peer[slot] != 0 ? node_at(t, t->by_peer[slot] - 1) : NULL;
}

struct skep_onehop_node *skep_onehop_after(const struct skep_onehop *t,
                                           const struct skep_dht_id *id)
{
    uint32_t at = 0;

    if (id) {
        at = rank_of(t, bin_of(t, id), id);
        if (at < bin_of(t, id)->count && compare(t, bin_of(t, id)->nodes[at], id) == 0)
            at++;
    }
    for (size_t b = id ? id->bytes[0] : 0; b < SKEP_ONE_HOP_BINS; b++, at = 0)
        if (at < t->bins[b].count)
            return node_at(t, t->bins[b].nodes[at]);
    return NULL;
}

/* ---- coming and going ---- */

static bool is_usable(const struct skep_onehop_node *node)
{
    return node->state == SKEP_ONE_HOP_HEARD || node->state == SKEP_ONE_HOP_ANSWERED;
}

static void change_state(struct skep_onehop *t, struct skep_onehop_node *node, uint8_t state)
{
    t->counts[node->state]--;
    t->counts[state]++;
    node->state = state;
}

void skep_onehop_remove(struct skep_onehop *t, struct skep_onehop_node *node)
{
    forget_peer(t, peer_of(node));
    t->counts[node->state]--;
    t->count--;
    give_place_back(t, take_out_of_bin(t, &node->id));
}

/* The next one in the pool that is dead, or as may be just heard of, gives its place. */
static bool make_room(struct skep_onehop *t, bool also_heard)
{
    if (t->counts[SKEP_ONE_HOP_DEAD] + (also_heard ? t->counts[SKEP_ONE_HOP_HEARD] : 0) == 0)
        return false;
    for (;; t->hand++) {
        struct skep_onehop_node *node;

        if (t->hand >= t->used)
            t->hand = 0;
        node = node_at(t, t->hand);
        if (node->state != SKEP_ONE_HOP_DEAD && !(also_heard && node->state == SKEP_ONE_HOP_HEARD))
            continue;
        skep_onehop_remove(t, node);
        return true;
    }
}

static int add(struct skep_onehop *t, const struct skep_dht_id *id, const struct skep_peer_id *peer,
               uint8_t state, struct skep_onehop_node **out)
{
    uint32_t place;
    int rc;

    if (peer->len == 0 || peer->len > SKEP_ONE_HOP_PEER_LEN_MAX)
        return SKEP_EINVAL;
    if (t->count >= t->nodes_max && !make_room(t, state == SKEP_ONE_HOP_ANSWERED))
        return SKEP_ELIMIT;
    if ((rc = reserve_peer(t)) < 0 || (rc = reserve_in_bin(t, &t->bins[id->bytes[0]])) < 0 ||
        (rc = take_place(t, &place)) < 0)
        return rc;
    *out = node_at(t, place);
    **out = (struct skep_onehop_node){.id = *id, .state = state, .peer_len = peer->len};
    memcpy((*out)->peer, peer->bytes, peer->len);
    t->by_peer[slot_of(t, skep_peer_id_view(peer))] = place + 1;
    put_in_bin(t, place);
    t->counts[state]++;
    t->count++;
    return 0;
}

int skep_onehop_heard(struct skep_onehop *t, const struct skep_dht_id *id,
                      const struct skep_peer_id *peer, const struct skep_peer_id *via,
                      uint32_t now_ds)
{
    struct skep_onehop_node *node = skep_onehop_get(t, id);
    int rc;

    if (node && (node->state != SKEP_ONE_HOP_DEAD || now_ds - node->since_ds < t->grudge_ds))
        return 0;
    if (node)
        skep_onehop_remove(t, node);
    node = skep_onehop_get_peer(t, peer);
    if (node && node->state != SKEP_ONE_HOP_DEAD)
        return 0;
    if (node)
        skep_onehop_remove(t, node); /* it may be back under another id */
    rc = add(t, id, peer, SKEP_ONE_HOP_HEARD, &node);
    if (rc == 0) {
        node->rtt_us = t->by_peer[slot_of(t, skep_peer_id_view(via))];
        node->since_ds = now_ds;
    }
    return rc;
}

bool skep_onehop_via(const struct skep_onehop *t, const struct skep_onehop_node *node,
                     struct skep_peer_id *out)
{
    /* Its place may be another's by now, who is then a bad guess, or free. */
    if (node->state != SKEP_ONE_HOP_HEARD || node->rtt_us == 0 ||
        node_at(t, node->rtt_us - 1)->state == SKEP_ONE_HOP_FREE)
        return false;
    *out = skep_onehop_peer(node_at(t, node->rtt_us - 1));
    return true;
}

static uint32_t smooth(uint32_t before_us, uint32_t now_us)
{
    if (before_us == 0 || now_us == 0)
        return before_us + now_us;
    return (uint32_t)(((uint64_t)before_us * 7 + now_us) / 8);
}

int skep_onehop_answered(struct skep_onehop *t, const struct skep_dht_id *id,
                         const struct skep_peer_id *peer, uint32_t rtt_us, uint32_t now_ds)
{
    struct skep_onehop_node *node = skep_onehop_get(t, id), *other;
    int rc = 0;

    if (node && !skep_bytes_equal(peer_of(node), skep_peer_id_view(peer))) {
        if (node->state == SKEP_ONE_HOP_ANSWERED)
            return SKEP_EEXIST;
        skep_onehop_remove(t, node);
        node = NULL;
    }
    if (!node && (other = skep_onehop_get_peer(t, peer)) != NULL)
        skep_onehop_remove(t, other);
    if (node && node->state != SKEP_ONE_HOP_ANSWERED)
        node->rtt_us = 0;
    if (node)
        change_state(t, node, SKEP_ONE_HOP_ANSWERED);
    else
        rc = add(t, id, peer, SKEP_ONE_HOP_ANSWERED, &node);
    if (rc < 0)
        return rc;
    node->rtt_us = smooth(node->rtt_us, rtt_us);
    node->since_ds = now_ds;
    return 0;
}

void skep_onehop_bury(struct skep_onehop *t, struct skep_onehop_node *node, uint32_t now_ds)
{
    if (node->state == SKEP_ONE_HOP_DEAD)
        return;
    change_state(t, node, SKEP_ONE_HOP_DEAD);
    node->since_ds = now_ds;
}

void skep_onehop_failed(struct skep_onehop *t, struct skep_onehop_node *node, uint32_t now_ds)
{
    if (is_usable(node)) {
        change_state(t, node, SKEP_ONE_HOP_DOUBTED);
        node->since_ds = now_ds;
    } else if (now_ds - node->since_ds >= ONE_FAILURE_DS) {
        skep_onehop_bury(t, node, now_ds);
    }
}

/* ---- the nearest ---- */

/* What is found so far: [0, sorted) are nearer than all that come, [sorted, count) may still be mixed with the range at hand. */
struct search {
    const struct skep_onehop *table;
    const struct skep_dht_id *target;
    struct skep_onehop_node **out;
    size_t k, count;
};

/* All of a short range, sorted in behind what is there, as far as there is room. */
static void take_short(struct search *s, const uint32_t *nodes, uint32_t count)
{
    size_t first = s->count;

    for (uint32_t i = 0; i < count; i++) {
        struct skep_onehop_node *node = node_at(s->table, nodes[i]);
        size_t at = s->count;

        if (!is_usable(node))
            continue;
        if (s->count == s->k) {
            if (at == first || skep_dht_id_nearer(s->target, &node->id, &s->out[at - 1]->id) > 0)
                continue;
            at--;
        } else {
            s->count++;
        }
        for (; at > first && skep_dht_id_nearer(s->target, &node->id, &s->out[at - 1]->id) < 0;
             at--)
            s->out[at] = s->out[at - 1];
        s->out[at] = node;
    }
}

/* Where in a sorted range the bit turns to 1; all bits before it are the same. */
static uint32_t turn_of(const struct skep_onehop *t, const uint32_t *nodes, uint32_t count,
                        unsigned bit)
{
    uint32_t lo = 0, hi = count;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (node_at(t, nodes[mid])->id.bytes[bit / 8] & (0x80 >> bit % 8))
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* Cut the range at its first bit that differs; of the halves the one that has the target's bit is nearer, as a whole. Each range on the stack differs at a
 * later bit than those below it, so there are at most as many as bits. */
static void search_bin(struct search *s, const struct skep_onehop_bin *bin)
{
    struct {
        uint32_t lo, hi;
    } stack[SKEP_DHT_ID_BITS + 1];
    size_t depth = 0;

    stack[depth].lo = 0;
    stack[depth++].hi = bin->count;
    while (depth > 0 && s->count < s->k) {
        uint32_t lo = stack[--depth].lo, hi = stack[depth].hi, turn;
        unsigned bit;
        bool is_one;

        if (hi - lo <= SHORT) {
            take_short(s, bin->nodes + lo, hi - lo);
            continue;
        }
        bit = skep_dht_id_common_bits(&node_at(s->table, bin->nodes[lo])->id,
                                      &node_at(s->table, bin->nodes[hi - 1])->id);
        turn = lo + turn_of(s->table, bin->nodes + lo, hi - lo, bit);
        is_one = s->target->bytes[bit / 8] & (0x80 >> bit % 8);
        stack[depth].lo = is_one ? lo : turn;
        stack[depth++].hi = is_one ? turn : hi;
        stack[depth].lo = is_one ? turn : lo;
        stack[depth++].hi = is_one ? hi : turn;
    }
}

size_t skep_onehop_nearest(const struct skep_onehop *t, const struct skep_dht_id *target, size_t k,
                           struct skep_onehop_node **out)
{
    struct search s = {.table = t, .target = target, .out = out, .k = k};

    for (unsigned i = 0; i < SKEP_ONE_HOP_BINS && s.count < k; i++)
        if (t->bins[target->bytes[0] ^ i].count > 0)
            search_bin(&s, &t->bins[target->bytes[0] ^ i]);
    return s.count;
}
