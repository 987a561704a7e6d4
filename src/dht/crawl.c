/* SPDX-License-Identifier: MIT */
#include "dht/crawl.h"

#include "dht/crawl_tiles.h"

/* Looks at what is due in a round. */
#define TICKS_A_ROUND 2048
/* Between two looks while there is nobody to ask. */
#define IDLE_US ((uint64_t)250000)
#define CALL_US (1000000 / SKEP_DHT_CRAWL_CALLS_PER_S)
/* Nodes of a tile among which the one to ask is drawn, so that it is another one each round. */
#define CHOICE 8
/* Nodes looked at in search of those. */
#define LOOKS 64
/* A tile is asked for so many times when answers are poor or calls fail for want of something of ours. */
#define TRIES_MAX 3
/* Of one node in a round: who names nodes that are not there does not keep us busy. */
#define ASKS_MAX 4
/* So few names are few. */
#define NAMES_FEW 8
/* Discovery may make one call for each node that has answered, and so many more: names that lead nowhere do not keep it going. */
#define FINDS_MIN 64

/* IDLE --somebody is known, or the round's time has come--> ROUND --no tile left, cursor at the end--> IDLE */
struct skep_crawl {
    struct skep_dht *dht;
    struct skep_onehop table;
    struct skep_timer timer;
    struct skep_list calls; /* of struct call */
    size_t call_count;

    bool running, filled;
    uint64_t round_began_us, round_us, next_round_us;
    int64_t credit_us; /* a call costs CALL_US; a second try may overdraw it */
    uint64_t credit_at_us;
    struct skep_tiles tiles;
    uint32_t finds; /* calls that discovery has made in this round */
    struct skep_dht_id cursor;
    bool has_cursor; /* nodes up to `cursor` have been looked at in this round */

    uint64_t call_total, byte_total, rounds;
};

struct call {
    struct skep_dht_request request;
    struct skep_list entry;
    struct skep_crawl *crawl;
    struct skep_dht_id id;  /* whom we called, as we knew it */
    struct skep_dht_id key; /* of a find */
    struct skep_tile tile;
    bool is_find;
    bool is_last; /* when it fails the node is dead: it was doubted before */
    uint64_t began_us;
};

static uint32_t now_ds(const struct skep_crawl *c)
{
    return skep_onehop_ds(skep_env_now_us(c->dht->env));
}

/* ---- what others tell ---- */

/* Having answered it is connected, so the call seam knows; where it does not, the time that the call took is an upper bound. */
static uint32_t rtt_of(const struct skep_crawl *c, const struct skep_peer_id *peer,
                       uint64_t took_us)
{
    struct skep_rpc *rpc = c->dht->rpc;
    const struct skep_onehop_node *known = skep_onehop_get_peer(&c->table, peer);
    uint64_t rtt_us = rpc->ops->rtt_us ? rpc->ops->rtt_us(rpc, peer) : 0;

    if (rtt_us == 0 && (!known || known->rtt_us == 0 || took_us < known->rtt_us))
        rtt_us = took_us;
    return (uint32_t)SKEP_MIN(rtt_us, (uint64_t)UINT32_MAX);
}

static void answered(struct skep_crawl *c, const struct skep_dht_id *id,
                     const struct skep_peer_id *peer, uint64_t took_us)
{
    if (!skep_dht_id_equal(id, &c->dht->node_id) && !skep_peer_id_equal(peer, &c->dht->rpc->self))
        (void)skep_onehop_answered(&c->table, id, peer, rtt_of(c, peer, took_us), now_ds(c));
}

void skep_crawl_met(struct skep_dht *dht, const struct skep_dht_id *id,
                    const struct skep_peer_id *peer)
{
    if (dht->crawl)
        answered(dht->crawl, id, peer, 0);
}

void skep_crawl_named(struct skep_dht *dht, const struct skep_dht_id *id,
                      const struct skep_peer_id *peer)
{
    struct skep_crawl *c = dht->crawl;

    if (c && !skep_dht_id_equal(id, &dht->node_id) && !skep_peer_id_equal(peer, &dht->rpc->self) &&
        !skep_blacklist_has(&dht->blacklist, peer, skep_env_now_us(dht->env)))
        (void)skep_onehop_heard(&c->table, id, peer, now_ds(c));
}

static bool start_call(struct skep_crawl *c, struct skep_onehop_node *node,
                       const struct skep_tile *tile, const struct skep_dht_id *key);

/* A second try does not wait for credit, but those who come after it do. */
static void try_again(struct skep_crawl *c, struct skep_onehop_node *node)
{
    if (!node->calling && c->call_count < SKEP_DHT_CRAWL_CALLS_MAX)
        (void)start_call(c, node, NULL, NULL);
}

void skep_crawl_failed(struct skep_dht *dht, const struct skep_peer_id *peer)
{
    struct skep_crawl *c = dht->crawl;
    struct skep_onehop_node *node = c ? skep_onehop_get_peer(&c->table, peer) : NULL;

    if (!node)
        return;
    skep_onehop_failed(&c->table, node, now_ds(c));
    if (node->state == SKEP_ONE_HOP_DOUBTED && dht->options.one_hop_round_us > 0)
        try_again(c, node);
}

size_t skep_crawl_nearest(const struct skep_dht *dht, const struct skep_dht_id *key, size_t k,
                          struct skep_onehop_node **out)
{
    return dht->crawl ? skep_onehop_nearest(&dht->crawl->table, key, k, out) : 0;
}

uint64_t skep_crawl_rtt_us(const struct skep_dht *dht, const struct skep_peer_id *peer)
{
    const struct skep_onehop_node *node =
        dht->crawl ? skep_onehop_get_peer(&dht->crawl->table, peer) : NULL;

    return node ? node->rtt_us : 0;
}

int skep_dht_one_hop_place(struct skep_dht *dht, const struct skep_dht_id *id,
                           const struct skep_peer_id *peer, uint64_t rtt_us)
{
    struct skep_crawl *c = dht->crawl;

    if (!c)
        return SKEP_EINVAL;
    c->filled = true;
    return skep_onehop_answered(&c->table, id, peer,
                                (uint32_t)SKEP_MIN(rtt_us, (uint64_t)UINT32_MAX), now_ds(c));
}

void skep_crawl_stats(const struct skep_dht *dht, struct skep_dht_stats *out)
{
    const struct skep_crawl *c = dht->crawl;

    if (!c)
        return;
    out->one_hop_nodes = skep_onehop_count(&c->table);
    out->one_hop_bytes = c->table.bytes;
    out->crawl_calls = c->call_total;
    out->crawl_bytes = c->byte_total;
    out->crawl_rounds = c->rounds;
}

/* ---- calls ---- */

/* Time that passes is credit, up to a look's worth or what a tenth of a second earns. */
static bool may_call(struct skep_crawl *c)
{
    struct skep_dht *dht = c->dht;
    uint64_t now = skep_env_now_us(dht->env);
    int64_t most = (int64_t)SKEP_MAX(c->round_us / TICKS_A_ROUND * 2, (uint64_t)100000);

    c->credit_us = SKEP_MIN(c->credit_us + (int64_t)(now - c->credit_at_us), most);
    c->credit_at_us = now;
    return c->credit_us >= CALL_US && c->call_count < SKEP_DHT_CRAWL_CALLS_MAX &&
           (dht->options.parallel_rpc == 0 || dht->in_flight < dht->options.parallel_rpc);
}

static void free_call(struct call *call)
{
    struct skep_crawl *c = call->crawl;

    skep_list_remove(&call->entry);
    c->call_count--;
    skep_mem_free(c->dht->mem, call);
}

static void on_answer(struct skep_dht_request *request, int rc, skep_bytes reply);

/* A find of `key` for a tile, or without one a ping. @return false: it could not be sent. */
static bool start_call(struct skep_crawl *c, struct skep_onehop_node *node,
                       const struct skep_tile *tile, const struct skep_dht_id *key)
{
    struct skep_dht *dht = c->dht;
    struct call *call = skep_mem_zalloc(dht->mem, 1, sizeof *call);
    struct skep_peer_id peer = skep_onehop_peer(node);
    skep_bytes message;
    int rc;

    if (!call)
        return false;
    call->crawl = c;
    call->id = node->id;
    call->request.done = on_answer;
    call->began_us = skep_env_now_us(dht->env);
    call->is_find = tile != NULL;
    call->is_last = node->state == SKEP_ONE_HOP_DOUBTED;
    skep_buf_clear(&dht->message);
    if (tile) {
        call->tile = *tile;
        call->key = *key;
        skep_dht_find_request_encode(&dht->message, NULL, key, 1);
    } else {
        skep_dht_ping_request_encode(&dht->message, NULL, false);
    }
    skep_list_push_back(&c->calls, &call->entry);
    c->call_count++;
    rc = dht->message.rc;
    message = skep_buf_view(&dht->message);
    if (rc == 0)
        rc = skep_dht_request_start(dht, &call->request, &peer,
                                    tile ? SKEP_DHT_RPC_FIND : SKEP_DHT_RPC_PING, message);
    if (rc < 0) {
        free_call(call);
        return false;
    }
    c->credit_us -= CALL_US;
    c->call_total++;
    c->byte_total += message.len;
    node->calling = true;
    return true;
}

/* ---- discovery ---- */

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

/* Whom to ask for a tile: one of the first nodes in it, else one near its middle. */
static struct skep_onehop_node *whom_to_ask(struct skep_crawl *c, const struct skep_tile *tile,
                                            struct skep_dht_id *key)
{
    struct skep_onehop_node *nodes[LOOKS], *node;
    struct skep_dht_id at = skep_tile_id(tile, false);
    size_t count = 0, near;

    node = skep_onehop_get(&c->table, &at);
    if (!node)
        node = skep_onehop_after(&c->table, &at);
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

static void ask_for_tiles(struct skep_crawl *c, uint32_t until)
{
    struct skep_tile tile;

    if (c->finds >= FINDS_MIN + c->table.counts[SKEP_ONE_HOP_ANSWERED])
        skep_tiles_clear(&c->tiles);
    while (skep_tiles_next(&c->tiles) <= until && may_call(c) &&
           skep_tiles_take(&c->tiles, &tile)) {
        struct skep_dht_id key;
        struct skep_onehop_node *node = whom_to_ask(c, &tile, &key);

        if (!node)
            continue;
        node->asked++;
        c->finds++;
        if (!start_call(c, node, &tile, &key))
            break; /* without memory the tile is left to the next round */
    }
}

/* What an answer says of where it is complete. */
struct named {
    size_t count, inside; /* in all, and in the tile that was asked for */
    unsigned common;      /* bits that all of them share with the key */
};

static void take_names(struct skep_crawl *c, const struct call *call,
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
        skep_crawl_named(c->dht, &id, &peer);
    }
}

/* Are there more who have answered us around the key than it can have named? Then its table has gaps, or it hides something. */
static bool is_poor(const struct skep_crawl *c, const struct call *call, const struct named *named,
                    const struct skep_tile *done)
{
    struct skep_dht_id at = skep_tile_id(done, false);
    const struct skep_onehop_node *node = skep_onehop_get(&c->table, &at);
    size_t known = 0;

    if (named->count < NAMES_FEW && 2 * named->count + 2 < skep_onehop_count(&c->table))
        return true;
    if (!node)
        node = skep_onehop_after(&c->table, &at);
    for (size_t i = 0; i < LOOKS && node && skep_tile_has(done, &node->id); i++) {
        known += node->state == SKEP_ONE_HOP_ANSWERED && !skep_dht_id_equal(&node->id, &call->id);
        node = skep_onehop_after(&c->table, &node->id);
    }
    return known > 2 * named->count;
}

static void ask_again(struct skep_crawl *c, const struct call *call)
{
    struct skep_tile tile = call->tile;

    if (++tile.tries < TRIES_MAX)
        (void)skep_tiles_add(&c->tiles, tile);
}

/* The nodes nearest to its own id were named: as deep as they all share its bits, and one bit more, nobody is missing. Tables are not perfect, so the first
 * round takes smaller steps, and others draw others to ask. One outside of the tile can only
 * tell whether there is somebody inside, who is then asked. */
static void tile_was_answered(struct skep_crawl *c, struct call *call,
                              const struct skep_dht_find_result *result)
{
    struct skep_onehop_node *asked = skep_onehop_get(&c->table, &call->id);
    struct skep_tile done = call->tile;
    struct named named;

    take_names(c, call, result, &named);
    if (!skep_dht_id_equal(&call->id, &call->key)) {
        if (named.inside > 0)
            ask_again(c, call);
        return;
    }
    if (named.count > 0)
        done = skep_tile_part(&call->tile, &call->key, named.common + (c->filled ? 1 : 2));
    if (call->tile.tries + 1 < TRIES_MAX && is_poor(c, call, &named, &done)) {
        if (asked)
            asked->asked = ASKS_MAX;
        ask_again(c, call);
        return;
    }
    skep_tiles_add_rest(&c->tiles, &call->tile, &done);
}

/* ---- answers ---- */

/* It answered, but as no node at all. */
static void no_node(struct skep_crawl *c, const struct skep_peer_id *peer)
{
    struct skep_onehop_node *node = skep_onehop_get_peer(&c->table, peer);

    if (node)
        skep_onehop_bury(&c->table, node, now_ds(c));
}

static int read_find(struct skep_crawl *c, struct call *call, skep_bytes reply,
                     struct skep_dht_sender *sender)
{
    struct skep_dht_find_response response;
    struct skep_dht_find_result result;
    skep_bytes bytes;
    int rc = skep_dht_find_response_decode(&response, reply);

    if (rc == 0 && (response.results.left != 1 || !skep_dht_next_bytes(&response.results, &bytes)))
        rc = SKEP_EPEER_PROTO;
    if (rc == 0)
        rc = skep_dht_find_result_decode(&result, bytes);
    if (rc < 0)
        return rc;
    *sender = response.sender;
    tile_was_answered(c, call, &result);
    return 0;
}

static int read_pong(skep_bytes reply, struct skep_dht_sender *sender)
{
    struct skep_dht_ping_response response;
    int rc = skep_dht_ping_response_decode(&response, reply);

    if (rc == 0)
        *sender = response.sender;
    return rc;
}

/* Whose fault it was decides: a node that failed is tried again at once, and is dead when that fails as well. */
static void call_failed(struct skep_crawl *c, const struct call *call, int rc)
{
    struct skep_onehop_node *node = skep_onehop_get(&c->table, &call->id);
    struct skep_peer_id peer = call->request.peer;
    bool theirs = skep_dht_fault_is_theirs(rc);

    if (call->is_find && theirs)
        (void)skep_tiles_add(&c->tiles,
                             call->tile); /* as often as somebody fails who has not yet */
    else if (call->is_find)
        ask_again(c, call);
    if (!node || !theirs)
        return;
    if (call->is_last)
        skep_onehop_bury(&c->table, node, now_ds(c));
    else
        skep_onehop_failed(&c->table, node, now_ds(c));
    if (node->state == SKEP_ONE_HOP_DOUBTED)
        try_again(c, node);
    else if (node->state == SKEP_ONE_HOP_DEAD)
        skep_dht_failed(c->dht, &peer, rc);
}

static void on_answer(struct skep_dht_request *request, int rc, skep_bytes reply)
{
    struct call *call = SKEP_CONTAINER_OF(request, struct call, request);
    struct skep_crawl *c = call->crawl;
    struct skep_onehop_node *node = skep_onehop_get(&c->table, &call->id);
    struct skep_dht_sender sender = {.has_id = false};

    if (node)
        node->calling = false;
    if (rc == 0) {
        c->byte_total += reply.len;
        rc = call->is_find ? read_find(c, call, reply, &sender) : read_pong(reply, &sender);
        c->dht->stats.bad_messages += rc < 0;
    }
    if (rc < 0)
        call_failed(c, call, rc);
    else if (sender.has_id)
        answered(c, &sender.id, &request->peer, skep_env_now_us(c->dht->env) - call->began_us);
    else
        no_node(c, &request->peer);
    free_call(call);
}

/* ---- life ---- */

static bool is_due(const struct skep_crawl *c, const struct skep_onehop_node *node)
{
    if (node->calling)
        return false;
    return node->state == SKEP_ONE_HOP_HEARD || node->state == SKEP_ONE_HOP_DOUBTED ||
           (node->state == SKEP_ONE_HOP_ANSWERED &&
            node->since_ds < skep_onehop_ds(c->round_began_us));
}

/* Where discovery has done all before. */
static uint32_t frontier(const struct skep_crawl *c)
{
    uint32_t lowest = skep_tiles_next(&c->tiles);

    for (const struct skep_list *entry = c->calls.next; entry != &c->calls; entry = entry->next) {
        const struct call *call = SKEP_LIST_ITEM(entry, const struct call, entry);

        if (call->is_find)
            lowest = SKEP_MIN(lowest, call->tile.lo);
    }
    return lowest;
}

/* @return has the cursor come to the end? */
static bool ping_the_next(struct skep_crawl *c, uint32_t until)
{
    struct skep_onehop_node *node;

    while ((node = skep_onehop_after(&c->table, c->has_cursor ? &c->cursor : NULL)) != NULL) {
        if (skep_tile_place(&node->id) >= until || (is_due(c, node) && !may_call(c)))
            return false;
        c->cursor = node->id;
        c->has_cursor = true;
        node->asked = 0;
        if (node->state == SKEP_ONE_HOP_DEAD && now_ds(c) - node->since_ds >= c->table.grudge_ds)
            skep_onehop_remove(&c->table, node);
        else if (is_due(c, node) && !start_call(c, node, NULL, NULL))
            return false; /* without memory it has its turn in the next round */
    }
    return until == SKEP_TILE_END;
}

/* ---- rounds ---- */

/* Who died in the last round may be named in this one. */
static void init_table(struct skep_crawl *c)
{
    skep_onehop_init(&c->table, c->dht->mem, c->dht->options.one_hop_nodes_max,
                     skep_onehop_ds(c->dht->options.one_hop_round_us / 4 * 3));
}

static bool begin_round(struct skep_crawl *c)
{
    uint64_t now = skep_env_now_us(c->dht->env);

    if (skep_onehop_count(&c->table) == 0) {
        /* All dead: more likely it was we who were cut off. Whoever is named is believed again. */
        skep_onehop_fini(&c->table);
        init_table(c);
        c->filled = false;
        return false;
    }
    if (c->filled && now < c->next_round_us)
        return false;
    c->running = true;
    c->round_began_us = c->credit_at_us = now;
    c->credit_us = 0;
    c->round_us = c->filled ? c->dht->options.one_hop_round_us : c->dht->options.one_hop_fill_us;
    c->has_cursor = false;
    c->finds = 0;
    skep_tiles_clear(&c->tiles);
    (void)skep_tiles_add(&c->tiles, (struct skep_tile){.depth = 0});
    return true;
}

static void end_round(struct skep_crawl *c)
{
    c->next_round_us = c->filled ? c->round_began_us + c->round_us : 0;
    c->running = false;
    c->filled = true;
    c->rounds++;
}

static void on_tick(struct skep_timer *timer)
{
    struct skep_crawl *c = SKEP_CONTAINER_OF(timer, struct skep_crawl, timer);
    uint64_t elapsed;
    uint32_t until;

    if (!c->running && !begin_round(c)) {
        (void)skep_env_after(c->dht->env, timer, IDLE_US);
        return;
    }
    (void)skep_env_after(c->dht->env, timer, SKEP_MAX(c->round_us / TICKS_A_ROUND, (uint64_t)1000));
    elapsed = skep_env_now_us(c->dht->env) - c->round_began_us;
    until =
        elapsed >= c->round_us ? SKEP_TILE_END : (uint32_t)(elapsed * SKEP_TILE_END / c->round_us);
    ask_for_tiles(c, until);
    if (ping_the_next(c, SKEP_MIN(until, frontier(c))))
        end_round(c);
}

int skep_crawl_new(struct skep_dht *dht)
{
    struct skep_crawl *c;
    int rc = 0;

    if (dht->options.one_hop_nodes_max == 0)
        return 0;
    c = skep_mem_zalloc(dht->mem, 1, sizeof *c);
    if (!c)
        return SKEP_ENOMEM;
    c->dht = dht;
    dht->crawl = c;
    init_table(c);
    skep_list_init(&c->calls);
    c->timer.fire = on_tick;
    if (dht->options.one_hop_round_us > 0)
        rc = skep_env_after(dht->env, &c->timer, IDLE_US);
    return rc;
}

void skep_crawl_free(struct skep_dht *dht)
{
    struct skep_crawl *c = dht->crawl;

    if (!c)
        return;
    SKEP_LIST_EACH(&c->calls, entry, after)
    {
        struct call *call = SKEP_LIST_ITEM(entry, struct call, entry);

        skep_dht_request_cancel(&call->request);
        free_call(call);
    }
    skep_env_stop(dht->env, &c->timer);
    skep_onehop_fini(&c->table);
    skep_mem_free(dht->mem, c);
    dht->crawl = NULL;
}
