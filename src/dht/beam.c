/* SPDX-License-Identifier: MIT */
#include "dht/beam.h"

#include "dht/crawl.h"
#include "dht/names.h"

static uint64_t head_of(const struct skep_dht_id *a, const struct skep_dht_id *b)
{
    return skep_get_be64(a->bytes) ^ skep_get_be64(b->bytes);
}

/* ---- the pool ---- */

static uint32_t *slot_of(const struct skep_dht_lookup *l, const struct skep_dht_id *id)
{
    uint32_t slot = skep_map_hash(id->bytes, SKEP_DHT_ID_LEN) & (l->node_table_cap - 1);

    while (l->node_table[slot] != 0 &&
           !skep_dht_id_equal(&l->nodes[l->node_table[slot] - 1].id, id))
        slot = (slot + 1) & (l->node_table_cap - 1);
    return &l->node_table[slot];
}

static bool grow_pool(struct skep_dht_lookup *l)
{
    uint32_t cap = l->node_cap > 0 ? l->node_cap * 2 : 32;
    struct skep_dht_lookup_node *nodes;
    uint32_t *table;

    if (l->node_count >= SKEP_DHT_LOOKUP_NODES_MAX)
        return false;
    table = skep_mem_zalloc(l->dht->mem, (size_t)cap * 2, sizeof *table);
    if (!table)
        return false;
    nodes = skep_mem_resize(l->dht->mem, l->nodes, cap * sizeof *nodes);
    if (!nodes) {
        skep_mem_free(l->dht->mem, table);
        return false;
    }
    skep_mem_free(l->dht->mem, l->node_table);
    l->nodes = nodes;
    l->node_cap = cap;
    l->node_table = table;
    l->node_table_cap = cap * 2;
    for (uint32_t i = 0; i < l->node_count; i++)
        *slot_of(l, &l->nodes[i].id) = i + 1;
    return true;
}

/* The index of a node, added if it is new; SKEP_DHT_NO_NODE when there is no room. */
static uint32_t pool_node(struct skep_dht_lookup *l, const struct skep_dht_id *id,
                          const struct skep_peer_id *peer, uint32_t via)
{
    uint32_t *slot = l->node_cap > 0 ? slot_of(l, id) : NULL;
    struct skep_dht_lookup_node *node;

    if (slot && *slot != 0)
        return *slot - 1;
    if (!slot || l->node_count == l->node_cap) {
        if (!grow_pool(l))
            return SKEP_DHT_NO_NODE;
        slot = slot_of(l, id);
    }
    node = &l->nodes[l->node_count];
    memset(node, 0, sizeof *node);
    node->id = *id;
    node->peer = *peer;
    node->via = via;
    *slot = ++l->node_count;
    return l->node_count - 1;
}

/* ---- the beam ---- */

static bool nearer(const struct skep_dht_lookup *l, const struct skep_dht_lookup_key *key,
                   uint64_t head, const struct skep_dht_id *id,
                   const struct skep_dht_candidate *than)
{
    if (head != than->head)
        return head < than->head;
    return skep_dht_id_nearer(&key->id, id, &l->nodes[than->node].id) < 0;
}

static struct skep_dht_candidate *find_peer(const struct skep_dht_lookup *l,
                                            struct skep_dht_lookup_key *key,
                                            const struct skep_peer_id *peer)
{
    for (size_t i = 0; i < key->count; i++)
        if (skep_peer_id_equal(&l->nodes[key->beam[i].node].peer, peer))
            return &key->beam[i];
    return NULL;
}

static void take_out(struct skep_dht_lookup_key *key, struct skep_dht_candidate *candidate)
{
    key->count--;
    memmove(candidate, candidate + 1,
            (key->count - (size_t)(candidate - key->beam)) * sizeof *candidate);
}

/* A peer is one node, so that nobody fills a neighbourhood with names of his own. Of two names the nearer one is asked, and what the peer then says
 * it is decides: who lies about others keeps nobody out. @return may the new one come in? */
static bool settle_names(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key, uint64_t head,
                         const struct skep_dht_id *id, const struct skep_peer_id *peer)
{
    struct skep_dht_candidate *other = find_peer(l, key, peer);

    if (!other)
        return true;
    if (other->state != SKEP_DHT_CAND_NEW || !nearer(l, key, head, id, other))
        return false;
    take_out(key, other);
    return true;
}

/* One behind the beam falls off: the farthest, by preference of those whose answer is not still to come. It must not be kept for that alone: else a few silent nodes would keep
 * all nearer ones out. */
static void make_room(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key, uint64_t head,
                      const struct skep_dht_id *id)
{
    size_t victim = key->count - 1;

    for (size_t i = key->count; i-- > l->beam && nearer(l, key, head, id, &key->beam[i]);)
        if (key->beam[i].state == SKEP_DHT_CAND_NEW ||
            key->beam[i].state == SKEP_DHT_CAND_ANSWERED) {
            victim = i;
            break;
        }
    key->dropped = true;
    take_out(key, &key->beam[victim]);
}

/* Are those kept in mind for whom there is no room? Where there is one key for which they are: among many they would soon be more than a lookup remembers. */
static bool is_remembered(const struct skep_dht_lookup *l)
{
    return l->key_count == 1;
}

bool skep_beam_add(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key,
                   const struct skep_dht_id *id, const struct skep_peer_id *peer, uint32_t via)
{
    uint64_t head = head_of(&key->id, id);
    uint32_t node;
    size_t at;

    /* Who is in the beam is usually named again: found here without hashing. */
    for (size_t i = 0; i < key->count; i++)
        if (key->beam[i].head == head && skep_dht_id_equal(&l->nodes[key->beam[i].node].id, id)) {
            if (via != SKEP_DHT_NO_NODE)
                key->beam[i].named++;
            return false;
        }
    if (key->count == l->beam_cap && !nearer(l, key, head, id, &key->beam[key->count - 1])) {
        key->dropped = true;
        if (is_remembered(l) && skep_names_plausible(l, id, peer))
            (void)pool_node(l, id, peer, via);
        return false;
    }
    if (!skep_names_plausible(l, id, peer))
        return false;
    node = pool_node(l, id, peer, via);
    if (node == SKEP_DHT_NO_NODE || l->nodes[node].failed ||
        !settle_names(l, key, head, id, &l->nodes[node].peer))
        return false;
    if (key->count == l->beam_cap)
        make_room(l, key, head, id);
    at = key->count;
    while (at > 0 && nearer(l, key, head, id, &key->beam[at - 1]))
        at--;
    memmove(key->beam + at + 1, key->beam + at, (key->count - at) * sizeof *key->beam);
    key->beam[at] = (struct skep_dht_candidate){
        .head = head, .node = node, .named = via != SKEP_DHT_NO_NODE, .state = SKEP_DHT_CAND_NEW};
    key->count++;
    return at < l->beam;
}

/* One of our own candidates; they come nearest first. @return 0; 1: no room for more; SKEP_ENOMEM. */
static int seed_with(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key,
                     const struct skep_dht_id *id, const struct skep_peer_id *peer)
{
    uint32_t node = pool_node(l, id, peer, SKEP_DHT_NO_NODE);

    if (node == SKEP_DHT_NO_NODE)
        return l->node_count >= SKEP_DHT_LOOKUP_NODES_MAX ? 1 : SKEP_ENOMEM;
    key->beam[key->count++] = (struct skep_dht_candidate){
        .head = head_of(&key->id, id), .node = node, .state = SKEP_DHT_CAND_NEW};
    return 0;
}

/* The table and the one-hop table are merged by distance. The latter is the better where there is one, but it may still be filling, or hold a part of a larger swarm. */
int skep_beam_seed(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key)
{
    struct skep_dht *dht = l->dht;
    struct skep_onehop_node *hops[SKEP_DHT_BUCKET_SIZE_MAX];
    size_t count = skep_routing_nearest(&dht->table, &key->id, l->beam, NULL, dht->nearest);
    size_t hop_count = skep_crawl_nearest(dht, &key->id, l->beam, hops), i = 0, j = 0;
    int rc = 0;

    key->dropped = count < dht->table.node_count || hop_count == l->beam;
    while (rc == 0 && key->count < l->beam && (i < count || j < hop_count)) {
        const struct skep_routing_node *known = i < count ? dht->nearest[i] : NULL;
        const struct skep_onehop_node *hop = j < hop_count ? hops[j] : NULL;
        int order = !hop ? -1 : 1;

        if (known && hop)
            order = skep_dht_id_nearer(&key->id, &known->id, &hop->id);
        i += order <= 0;
        j += order >= 0;
        if (order <= 0) {
            rc = seed_with(l, key, &known->id, &known->peer);
        } else {
            struct skep_peer_id peer = skep_onehop_peer(hop);

            rc = seed_with(l, key, &hop->id, &peer);
        }
    }
    return SKEP_MIN(rc, 0);
}

void skep_beam_refill(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key)
{
    struct skep_dht *dht = l->dht;
    size_t count;

    if (!key->dropped)
        return;
    count = skep_routing_nearest(&dht->table, &key->id, l->beam, NULL, dht->nearest);
    for (size_t i = 0; i < count; i++)
        (void)skep_beam_add(l, key, &dht->nearest[i]->id, &dht->nearest[i]->peer, SKEP_DHT_NO_NODE);
    for (uint32_t n = 0; is_remembered(l) && n < l->node_count; n++) {
        struct skep_dht_lookup_node node = l->nodes[n]; /* a copy: the pool may move */

        if (!node.failed && (node.via == SKEP_DHT_NO_NODE || skep_names_heard(l, node.via)))
            (void)skep_beam_add(l, key, &node.id, &node.peer, node.via);
    }
}

bool skep_beam_merge(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key, uint32_t via,
                     const struct skep_dht_find_result *result)
{
    struct skep_dht *dht = l->dht;
    struct skep_dht_repeated ids = result->node_ids, peers = result->peer_ids;
    uint64_t now = skep_env_now_us(dht->env);
    skep_bytes id_bytes, peer_bytes;
    bool came = false;

    for (size_t i = 0; i < SKEP_DHT_NEAREST_MAX; i++) {
        struct skep_peer_id peer;
        struct skep_dht_id id;

        if (!skep_dht_next_bytes(&ids, &id_bytes) || !skep_dht_next_bytes(&peers, &peer_bytes))
            break;
        if (skep_dht_id_from_wire(&id, id_bytes) < 0) {
            dht->stats.bad_messages++;
            break;
        }
        if (skep_dht_id_equal(&id, &dht->node_id) ||
            skep_bytes_equal(peer_bytes, skep_peer_id_view(&dht->rpc->self)))
            continue;
        if (!is_remembered(l) && key->count == l->beam_cap &&
            head_of(&key->id, &id) > key->beam[key->count - 1].head) {
            key->dropped = true;
            continue;
        }
        if (skep_peer_id_from_bytes(&peer, peer_bytes) < 0) {
            dht->stats.bad_messages++;
            continue;
        }
        /* Also who is blacklisted: that a likely holder cannot be asked now is something to know. Not if what it held is lost. */
        if (skep_blacklist_has(&dht->blacklist, &peer, now) &&
            skep_blacklist_is_gone(&dht->blacklist, &peer))
            continue;
        if (skep_beam_add(l, key, &id, &peer, via)) {
            skep_crawl_named(dht, &id, &peer, &l->nodes[via].peer);
            came = true;
        }
    }
    return came;
}

struct skep_dht_candidate *skep_beam_find(struct skep_dht_lookup_key *key, uint32_t node)
{
    for (size_t i = 0; i < key->count; i++)
        if (key->beam[i].node == node)
            return &key->beam[i];
    return NULL;
}

void skep_beam_remove(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key,
                      struct skep_dht_candidate *candidate)
{
    size_t at = (size_t)(candidate - key->beam);

    if (at < l->dht->options.num_replicas)
        key->failed_near++;
    take_out(key, candidate);
}
