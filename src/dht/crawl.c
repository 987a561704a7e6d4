/* SPDX-License-Identifier: MIT */
#include "dht/crawl.h"

#include "dht/crawl_impl.h"

/* Looks at what is due in a round. */
#define TICKS_A_ROUND 2048
/* Between two looks while there is nobody to ask. */
#define IDLE_US ((uint64_t)250000)
#define CALL_US (1000000 / SKEP_DHT_CRAWL_CALLS_PER_S)

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
    uint64_t rtt_us = rpc->ops->rtt_us ? rpc->ops->rtt_us(rpc, peer) : 0;
    uint64_t before_us = skep_crawl_rtt_us(c->dht, peer);

    if (rtt_us == 0 && (before_us == 0 || took_us < before_us))
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
                      const struct skep_peer_id *peer, const struct skep_peer_id *via)
{
    struct skep_crawl *c = dht->crawl;

    if (c && !skep_dht_id_equal(id, &dht->node_id) && !skep_peer_id_equal(peer, &dht->rpc->self) &&
        !skep_blacklist_has(&dht->blacklist, peer, skep_env_now_us(dht->env)))
        (void)skep_onehop_heard(&c->table, id, peer, via, now_ds(c));
}

/* A second try does not wait for credit, but those who come after it do. */
static void try_again(struct skep_crawl *c, struct skep_onehop_node *node)
{
    if (!node->calling && c->call_count < SKEP_DHT_CRAWL_CALLS_MAX)
        (void)skep_crawl_start_call(c, node, NULL, NULL);
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

    return node && node->state == SKEP_ONE_HOP_ANSWERED ? node->rtt_us : 0;
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
bool skep_crawl_may_call(struct skep_crawl *c)
{
    struct skep_dht *dht = c->dht;
    uint64_t now = skep_env_now_us(dht->env);
    int64_t most = (int64_t)SKEP_MAX(c->round_us / TICKS_A_ROUND * 2, (uint64_t)100000);

    c->credit_us = SKEP_MIN(c->credit_us + (int64_t)(now - c->credit_at_us), most);
    c->credit_at_us = now;
    return c->credit_us >= CALL_US && c->call_count < SKEP_DHT_CRAWL_CALLS_MAX &&
           (dht->options.parallel_rpc == 0 || dht->in_flight < dht->options.parallel_rpc);
}

static void free_call(struct skep_crawl_call *call)
{
    struct skep_crawl *c = call->crawl;

    skep_list_remove(&call->entry);
    c->call_count--;
    skep_mem_free(c->dht->mem, call);
}

static void on_answer(struct skep_dht_request *request, int rc, skep_bytes reply);

bool skep_crawl_start_call(struct skep_crawl *c, struct skep_onehop_node *node,
                           const struct skep_tile *tile, const struct skep_dht_id *key)
{
    struct skep_dht *dht = c->dht;
    struct skep_crawl_call *call = skep_mem_zalloc(dht->mem, 1, sizeof *call);
    struct skep_peer_id peer = skep_onehop_peer(node), via;
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
    if (skep_onehop_via(&c->table, node, &via))
        skep_rpc_hint(dht->rpc, &peer, &via);
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

/* ---- answers ---- */

/* It answered, but as no node at all. */
static void no_node(struct skep_crawl *c, const struct skep_peer_id *peer)
{
    struct skep_onehop_node *node = skep_onehop_get_peer(&c->table, peer);

    if (node)
        skep_onehop_bury(&c->table, node, now_ds(c));
}

static int read_find(struct skep_crawl *c, struct skep_crawl_call *call, skep_bytes reply,
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
    skep_crawl_found(c, call, &result);
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
static void call_failed(struct skep_crawl *c, const struct skep_crawl_call *call, int rc)
{
    struct skep_onehop_node *node = skep_onehop_get(&c->table, &call->id);
    struct skep_peer_id peer = call->request.peer;
    bool theirs = skep_dht_fault_is_theirs(rc);

    if (call->is_find)
        skep_crawl_not_found(c, call);
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
    struct skep_crawl_call *call = SKEP_CONTAINER_OF(request, struct skep_crawl_call, request);
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
        const struct skep_crawl_call *call =
            SKEP_LIST_ITEM(entry, const struct skep_crawl_call, entry);

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
        if (skep_tile_place(&node->id) >= until || (is_due(c, node) && !skep_crawl_may_call(c)))
            return false;
        c->cursor = node->id;
        c->has_cursor = true;
        node->asked = 0;
        if (node->state == SKEP_ONE_HOP_DEAD && now_ds(c) - node->since_ds >= c->table.grudge_ds)
            skep_onehop_remove(&c->table, node);
        else if (is_due(c, node) && !skep_crawl_start_call(c, node, NULL, NULL))
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
    skep_crawl_ask(c, until);
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
        struct skep_crawl_call *call = SKEP_LIST_ITEM(entry, struct skep_crawl_call, entry);

        skep_dht_request_cancel(&call->request);
        free_call(call);
    }
    skep_env_stop(dht->env, &c->timer);
    skep_onehop_fini(&c->table);
    skep_mem_free(dht->mem, c);
    dht->crawl = NULL;
}
