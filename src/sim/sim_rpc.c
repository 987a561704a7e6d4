/* SPDX-License-Identifier: MIT */
/* Nodes, their connections, unary calls and dialling; see sim_rpc.h. */
#include "sim/sim_impl.h"

#include <stdio.h>
#include <stdlib.h>

/* Which pairs are connected, since or from when: open addressing, never shrunk, a pair of a dead epoch is never found. */
struct sim_link {
    uint64_t pair[2]; /* index << 32 | epoch of either, the smaller first; pair[1] == 0: free */
    uint64_t ready_us;
};

/* GOING --arrives--> AT_HANDLER --reply, fail--> RETURNING --arrives--> freed; the caller may leave at any moment. */
struct flight {
    enum { GOING, AT_HANDLER, RETURNING } state;
    struct skep_timer hop, timeout;
    struct skep_rpc_request request;
    struct skep_rpc_call *call; /* NULL: the caller has left */
    struct sim_node *from, *to;
    struct skep_list serving;
    struct sim_method *method; /* while AT_HANDLER */
    const char *name;
    uint8_t *reply;
    size_t reply_len;
    int reply_rc;
    uint8_t data[]; /* the request, then the method's name */
};

struct dialling {
    struct skep_timer timer;
    struct skep_rpc_dial *dial;
    struct sim_node *from, *to;
    int rc;
};

/* ---- connections ---- */

static size_t link_slot(const struct sim_link *links, size_t cap, const uint64_t pair[2])
{
    uint64_t hash = (pair[0] * 0x9e3779b97f4a7c15u ^ pair[1]) * 0xbf58476d1ce4e5b9u;
    size_t slot = (size_t)(hash >> 20) & (cap - 1);

    while (links[slot].pair[1] != 0 &&
           (links[slot].pair[0] != pair[0] || links[slot].pair[1] != pair[1]))
        slot = (slot + 1) & (cap - 1);
    return slot;
}

static bool grow_links(struct skep_sim_net *net)
{
    size_t cap = net->link_cap > 0 ? net->link_cap * 2 : 64;
    struct sim_link *grown = skep_mem_zalloc(net->mem, cap, sizeof *grown);

    if (!grown)
        return false;
    for (size_t i = 0; i < net->link_cap; i++)
        if (net->links[i].pair[1] != 0)
            grown[link_slot(grown, cap, net->links[i].pair)] = net->links[i];
    skep_mem_free(net->mem, net->links);
    net->links = grown;
    net->link_cap = cap;
    return true;
}

static struct sim_link *find_link(struct skep_sim_net *net, const struct sim_node *a,
                                  const struct sim_node *b, bool add)
{
    const struct sim_node *low = a->index < b->index ? a : b, *high = low == a ? b : a;
    uint64_t pair[2] = {(uint64_t)low->index << 32 | low->epoch,
                        (uint64_t)high->index << 32 | high->epoch};
    struct sim_link *link;

    if (net->link_cap < 2 * (net->link_count + 1) && !grow_links(net))
        return NULL;
    link = &net->links[link_slot(net->links, net->link_cap, pair)];
    if (link->pair[1] == 0) {
        if (!add)
            return NULL;
        memcpy(link->pair, pair, sizeof pair);
        net->link_count++;
    }
    return link;
}

uint64_t skep_sim_pair_rtt_us(const struct skep_sim_net *net, const struct sim_node *a,
                              const struct sim_node *b)
{
    return skep_sim_latency_us(&net->faults.latency, net->seed, a->index, b->index);
}

/* As if the address that nobody answers at were a node's that is not there. */
uint64_t skep_sim_try_us(const struct skep_sim_net *net, const struct sim_node *from,
                         const struct sim_node *to)
{
    return skep_sim_latency_us(&net->faults.latency, net->seed, from->index,
                               to ? to->index : UINT32_MAX);
}

/* When a message from `from` to `to` arrives; the first one pays the handshake. */
uint64_t skep_sim_arrival_us(struct skep_sim_net *net, struct sim_node *from, struct sim_node *to)
{
    uint64_t rtt = skep_sim_pair_rtt_us(net, from, to), now = net->clock->now_us;
    struct sim_link *link = find_link(net, from, to, false);
    uint64_t ready = link ? link->ready_us : now + rtt * net->faults.handshake_rounds;

    if (!link && to->state == SKEP_SIM_ALIVE && from->group == to->group && !to->unreachable) {
        link = find_link(net, from, to, true);
        if (link)
            link->ready_us = ready;
        net->stats.handshakes++;
    }
    return SKEP_MAX(ready, now) + skep_sim_faults_delay_us(&net->faults, &net->prng, rtt);
}

bool skep_sim_connected(struct skep_sim_net *net, const struct sim_node *a,
                        const struct sim_node *b)
{
    return find_link(net, a, b, false) != NULL;
}

/* ---- calls ---- */

static void free_flight(struct flight *f)
{
    struct skep_sim_net *net = f->from->net;

    if (f->call)
        f->call->state = NULL;
    skep_env_stop(&net->clock->env, &f->hop);
    skep_env_stop(&net->clock->env, &f->timeout);
    skep_list_remove(&f->serving);
    skep_mem_free(net->mem, f->reply);
    skep_mem_free(net->mem, f);
}

/* The caller learns the end; the flight lives on while a handler has it. */
static void tell_caller(struct flight *f, int rc, skep_bytes reply)
{
    struct skep_rpc_call *call = f->call;

    f->call = NULL;
    call->state = NULL;
    skep_env_stop(&f->from->net->clock->env, &f->timeout);
    call->done(call, rc, reply);
}

static void caller_left(struct flight *f)
{
    struct skep_sim_net *net = f->from->net;

    if (f->state != AT_HANDLER) {
        free_flight(f);
        return;
    }
    skep_env_after(&net->clock->env, &f->hop,
                   skep_sim_faults_delay_us(&net->faults, &net->prng,
                                            skep_sim_pair_rtt_us(net, f->from, f->to)));
}

static void on_timeout(struct skep_timer *timer)
{
    struct flight *f = SKEP_CONTAINER_OF(timer, struct flight, timeout);

    f->from->net->stats.timeouts++;
    tell_caller(f, SKEP_ETIMEDOUT, (skep_bytes){0});
    caller_left(f);
}

static void send_back(struct flight *f, int rc, skep_bytes reply)
{
    struct skep_sim_net *net = f->from->net;

    f->state = RETURNING;
    skep_list_remove(&f->serving);
    if (!f->call) {
        free_flight(f);
        return;
    }
    skep_env_stop(&net->clock->env, &f->hop);
    f->reply_rc = rc;
    f->reply = skep_mem_dup(net->mem, reply.data, reply.len);
    f->reply_len = reply.len;
    net->stats.replies++;
    net->stats.bytes += reply.len;
    /* As on the wire: an answer that is too large is never heard. */
    if (!f->reply || reply.len > SKEP_UNARY_MESSAGE_MAX || f->to->state != SKEP_SIM_ALIVE ||
        skep_sim_faults_lost(&net->faults, &net->prng)) {
        net->stats.lost++;
        return;
    }
    skep_timer_start(net->clock->env.timers, &f->hop, skep_sim_arrival_us(net, f->to, f->from));
}

static void arrive_at_handler(struct flight *f)
{
    struct sim_node *to = f->to;
    struct sim_method *m;

    if (f->from->group != to->group || to->state == SKEP_SIM_SILENT)
        return;
    if (to->state == SKEP_SIM_REFUSING) {
        f->state = RETURNING;
        f->reply_rc = SKEP_EREFUSED;
        skep_env_after(&to->net->clock->env, &f->hop,
                       skep_sim_pair_rtt_us(to->net, f->from, to) / 2);
        return;
    }
    if (!(m = skep_sim_find_method(to, f->name)) || !m->handler) {
        send_back(f, SKEP_EPEER_UNSUPPORTED, (skep_bytes){0});
        return;
    }
    f->state = AT_HANDLER;
    f->method = m;
    skep_list_push_back(&to->serving, &f->serving);
    m->handler(m->user, &f->request);
}

static void on_hop(struct skep_timer *timer)
{
    struct flight *f = SKEP_CONTAINER_OF(timer, struct flight, hop);

    switch (f->state) {
    case GOING: arrive_at_handler(f); return;
    case AT_HANDLER: /* the caller's leaving arrives */
        if (f->request.on_cancel)
            f->request.on_cancel(&f->request);
        return;
    case RETURNING:
        if (f->from->group != f->to->group)
            return;
        tell_caller(f, f->reply_rc, skep_bytes_of(f->reply, f->reply_len));
        free_flight(f);
        return;
    }
}

/* The node a peer id belongs to: its index is written into the id. */
struct sim_node *skep_sim_node_of_peer(struct skep_sim_net *net, const struct skep_peer_id *peer)
{
    uint32_t index;

    if (peer->len != 38)
        return NULL;
    index = skep_get_be32(peer->bytes + 6);
    if (index >= net->node_count || !skep_peer_id_equal(&net->nodes[index]->rpc.self, peer))
        return NULL;
    return net->nodes[index];
}

static struct flight *new_flight(struct sim_node *from, struct skep_rpc_call *call,
                                 const char *name, skep_bytes request)
{
    size_t name_len = strlen(name) + 1;
    struct flight *f = skep_mem_alloc(from->net->mem, sizeof *f + request.len + name_len);

    if (!f)
        return NULL;
    memset(f, 0, sizeof *f);
    skep_bytes_copy(f->data, request);
    memcpy(f->data + request.len, name, name_len);
    f->name = (const char *)f->data + request.len;
    f->from = from;
    f->call = call;
    f->hop.fire = on_hop;
    f->timeout.fire = on_timeout;
    skep_list_init(&f->serving);
    f->request.peer = &from->rpc.self;
    f->request.data = skep_bytes_of(f->data, request.len);
    return f;
}

static int call_start(struct skep_rpc *rpc, struct skep_rpc_call *call,
                      const struct skep_peer_id *peer, const char *name, skep_bytes request,
                      uint64_t timeout_us)
{
    struct sim_node *from = sim_node_of(rpc);
    struct skep_sim_net *net = from->net;
    struct skep_timers *timers = net->clock->env.timers;
    struct sim_node *to = skep_sim_node_of_peer(net, peer);
    uint64_t now = net->clock->now_us, patience = SKEP_MIN(timeout_us, SIM_LOST_AFTER_US);
    bool lost = skep_sim_faults_lost(&net->faults, &net->prng);
    struct flight *f;
    int rc;

    if (to == from)
        return SKEP_ESELF;
    if (request.len > SKEP_UNARY_MESSAGE_MAX)
        return SKEP_ESIZE;
    f = new_flight(from, call, name, request);
    if (!f)
        return SKEP_ENOMEM;
    net->stats.calls++;
    net->stats.bytes += request.len;
    net->stats.lost += lost;
    f->to = to ? to : from;
    f->request.rpc = &f->to->rpc;
    rc = skep_timer_start(timers, &f->timeout, now + patience);
    if (rc == 0 && (!to || (to->unreachable && !find_link(net, from, to, false)))) {
        f->state = RETURNING; /* nobody knows an address that answers */
        f->reply_rc = SKEP_EUNREACH;
        rc = skep_timer_start(timers, &f->hop, now + skep_sim_try_us(net, from, to));
    } else if (rc == 0 && !lost) {
        rc = skep_timer_start(timers, &f->hop, skep_sim_arrival_us(net, from, to));
    }
    if (rc < 0) {
        free_flight(f);
        return rc;
    }
    call->state = f;
    return 0;
}

static void call_cancel(struct skep_rpc *rpc, struct skep_rpc_call *call)
{
    struct flight *f = call->state;

    (void)rpc;
    if (!f)
        return;
    call->state = NULL;
    f->call = NULL;
    skep_env_stop(&f->from->net->clock->env, &f->timeout);
    caller_left(f);
}

static void reply(struct skep_rpc_request *request, skep_bytes response)
{
    send_back(SKEP_CONTAINER_OF(request, struct flight, request), 0, response);
}

static void fail(struct skep_rpc_request *request, skep_bytes text)
{
    send_back(SKEP_CONTAINER_OF(request, struct flight, request), SKEP_EPEER_REMOTE,
              (skep_bytes){text.data, SKEP_MIN(text.len, (size_t)SKEP_ERROR_TEXT_MAX)});
}

/* ---- handlers ---- */

struct sim_method *skep_sim_find_method(struct sim_node *node, const char *name)
{
    struct sim_method *m = node->methods;

    while (m && strcmp(m->name, name) != 0)
        m = m->next;
    return m;
}

int skep_sim_add_method(struct sim_node *node, const struct sim_method *like, const char *name)
{
    struct sim_method *m;

    if (skep_sim_find_method(node, name))
        return SKEP_EEXIST;
    m = skep_mem_alloc(node->net->mem, sizeof *m + strlen(name) + 1);
    if (!m)
        return SKEP_ENOMEM;
    *m = *like;
    memcpy(m->name, name, strlen(name) + 1);
    m->next = node->methods;
    node->methods = m;
    return 0;
}

static int serve(struct skep_rpc *rpc, const char *name, skep_rpc_handler *handler, void *user)
{
    return skep_sim_add_method(sim_node_of(rpc),
                               &(struct sim_method){.handler = handler, .user = user}, name);
}

static void unserve(struct skep_rpc *rpc, const char *name)
{
    struct sim_node *node = sim_node_of(rpc);

    for (struct sim_method **at = &node->methods; *at; at = &(*at)->next) {
        struct sim_method *m = *at;

        if (strcmp(m->name, name) != 0)
            continue;
        SKEP_LIST_EACH(&node->serving, entry, after)
        {
            struct flight *f = SKEP_LIST_ITEM(entry, struct flight, serving);

            if (f->method == m)
                fail(&f->request, skep_bytes_str("CancelledError()"));
        }
        skep_sim_streams_unserve(node, m);
        *at = m->next;
        skep_mem_free(node->net->mem, m);
        return;
    }
}

/* ---- dialling ---- */

static void on_dialled(struct skep_timer *timer)
{
    struct dialling *d = SKEP_CONTAINER_OF(timer, struct dialling, timer);
    struct skep_rpc_dial *dial = d->dial;
    struct sim_node *to = d->to;
    int rc = d->rc;

    dial->state = NULL;
    skep_mem_free(d->from->net->mem, d);
    dial->done(dial, rc, rc == 0 ? &to->rpc.self : NULL);
}

/* How a dial will end, and after how long. */
static uint64_t dial_outcome(struct dialling *d, uint64_t timeout_us)
{
    struct skep_sim_net *net = d->from->net;
    uint64_t rtt = skep_sim_try_us(net, d->from, d->to);
    uint64_t arrives;

    if (d->to &&
        (d->to->state == SKEP_SIM_SILENT || d->to->unreachable || d->from->group != d->to->group)) {
        d->rc = SKEP_ETIMEDOUT;
        return timeout_us;
    }
    if (!d->to || d->to->state == SKEP_SIM_REFUSING) {
        d->rc = SKEP_EREFUSED;
        return SKEP_MIN(rtt, timeout_us);
    }
    if (skep_peer_id_equal(&d->from->rpc.self, &d->to->rpc.self)) {
        d->rc = SKEP_ESELF;
        return rtt;
    }
    arrives = skep_sim_arrival_us(net, d->from, d->to) - net->clock->now_us;
    if (arrives > timeout_us)
        d->rc = SKEP_ETIMEDOUT;
    return SKEP_MIN(arrives, timeout_us);
}

static int dial_start(struct skep_rpc *rpc, struct skep_rpc_dial *dial, const char *maddr,
                      uint64_t timeout_us)
{
    struct sim_node *from = sim_node_of(rpc);
    unsigned high, middle, low;
    struct dialling *d;
    uint32_t index;
    int rc;

    /* NOLINTNEXTLINE(cert-err34-c): addresses of our own making */
    if (sscanf(maddr, "/ip4/10.%u.%u.%u/tcp/4001", &high, &middle, &low) != 3)
        return SKEP_EMULTIADDR;
    index = high << 16 | middle << 8 | low;
    d = skep_mem_zalloc(from->net->mem, 1, sizeof *d);
    if (!d)
        return SKEP_ENOMEM;
    d->dial = dial;
    d->from = from;
    d->to = index < from->net->node_count ? from->net->nodes[index] : NULL;
    d->timer.fire = on_dialled;
    rc = skep_env_after(&from->net->clock->env, &d->timer, dial_outcome(d, timeout_us));
    if (rc < 0) {
        skep_mem_free(from->net->mem, d);
        return rc;
    }
    dial->state = d;
    return 0;
}

static void dial_cancel(struct skep_rpc *rpc, struct skep_rpc_dial *dial)
{
    struct dialling *d = dial->state;

    if (!d)
        return;
    dial->state = NULL;
    skep_env_stop(rpc->env, &d->timer);
    skep_mem_free(d->from->net->mem, d);
}

static uint64_t rtt_us(struct skep_rpc *rpc, const struct skep_peer_id *peer)
{
    struct sim_node *from = sim_node_of(rpc), *to = skep_sim_node_of_peer(from->net, peer);

    return to && to != from && find_link(from->net, from, to, false)
               ? skep_sim_pair_rtt_us(from->net, from, to)
               : 0;
}

static const struct skep_rpc_ops sim_ops = {
    .call = call_start,
    .cancel = call_cancel,
    .serve = serve,
    .unserve = unserve,
    .reply = reply,
    .fail = fail,
    .stream_open = skep_sim_stream_open,
    .stream_serve = skep_sim_stream_serve,
    .stream_use = skep_sim_stream_use,
    .stream_send = skep_sim_stream_send,
    .stream_end = skep_sim_stream_end,
    .stream_fail = skep_sim_stream_fail,
    .stream_consume = skep_sim_stream_consume,
    .stream_pause = skep_sim_stream_pause,
    .stream_cancel = skep_sim_stream_cancel,
    .stream_queued = skep_sim_stream_queued,
    .dial = dial_start,
    .dial_cancel = dial_cancel,
    .rtt_us = rtt_us,
};

/* ---- the net ---- */

int skep_sim_net_new(struct skep_sim_net **out, struct skep_sim_clock *clock, uint64_t seed,
                     const struct skep_sim_faults *faults)
{
    struct skep_sim_net *net = skep_mem_zalloc(clock->env.mem, 1, sizeof *net);

    *out = net;
    if (!net)
        return SKEP_ENOMEM;
    net->clock = clock;
    net->mem = clock->env.mem;
    net->seed = seed;
    net->faults = *faults;
    skep_prng_init(&net->prng, seed ^ 0x6e6574);
    skep_list_init(&net->channels);
    return 0;
}

/* What handlers never ended; before any node goes, since a flight knows both of its own. */
static void free_held(struct sim_node *node)
{
    SKEP_LIST_EACH(&node->serving, entry, after)
    {
        struct flight *f = SKEP_LIST_ITEM(entry, struct flight, serving);

        assert(!f->call && "a caller outlives the net");
        free_flight(f);
    }
}

static void free_node(struct sim_node *node)
{
    while (node->methods) {
        struct sim_method *m = node->methods;

        node->methods = m->next;
        skep_mem_free(node->net->mem, m);
    }
    skep_mem_free(node->net->mem, node);
}

void skep_sim_net_free(struct skep_sim_net *net)
{
    if (!net)
        return;
    skep_sim_streams_close(net);
    for (size_t i = 0; i < net->node_count; i++)
        free_held(net->nodes[i]);
    for (size_t i = 0; i < net->node_count; i++)
        free_node(net->nodes[i]);
    skep_mem_free(net->mem, net->nodes);
    skep_mem_free(net->mem, net->links);
    skep_mem_free(net->mem, net);
}

static struct sim_node *add_node(struct skep_sim_net *net)
{
    struct sim_node *node;

    if (net->node_count == net->node_cap) {
        size_t cap = net->node_cap > 0 ? net->node_cap * 2 : 16;
        void *grown = skep_mem_resize(net->mem, net->nodes, cap * sizeof *net->nodes);

        if (!grown)
            return NULL;
        net->nodes = grown;
        net->node_cap = cap;
    }
    node = skep_mem_zalloc(net->mem, 1, sizeof *node);
    if (!node)
        return NULL;
    node->rpc.ops = &sim_ops;
    node->rpc.env = &net->clock->env;
    node->net = net;
    node->index = (uint32_t)net->node_count;
    node->epoch = 1;
    skep_list_init(&node->serving);
    net->nodes[net->node_count++] = node;
    return node;
}

int skep_sim_net_add(struct skep_sim_net *net, struct skep_rpc **out)
{
    static const uint8_t ed25519_head[6] = {0x00, 0x24, 0x08, 0x01, 0x12, 0x20};
    struct sim_node *node = add_node(net);
    struct skep_prng prng;

    *out = NULL;
    if (!node)
        return SKEP_ENOMEM;
    /* The shape of an Ed25519 peer id; the first bytes of the "key" say which node it is. */
    node->rpc.self.len = 38;
    memcpy(node->rpc.self.bytes, ed25519_head, sizeof ed25519_head);
    skep_put_be32(node->rpc.self.bytes + 6, node->index);
    skep_prng_init(&prng, net->seed + node->index);
    skep_prng_fill(&prng, node->rpc.self.bytes + 10, 28);
    *out = &node->rpc;
    return 0;
}

int skep_sim_net_add_twin(struct skep_sim_net *net, struct skep_rpc **out, uint32_t of)
{
    struct sim_node *node = add_node(net);

    *out = NULL;
    if (!node)
        return SKEP_ENOMEM;
    node->rpc.self = net->nodes[of]->rpc.self;
    *out = &node->rpc;
    return 0;
}

size_t skep_sim_net_count(const struct skep_sim_net *net)
{
    return net->node_count;
}

uint32_t skep_sim_net_index(struct skep_rpc *rpc)
{
    return sim_node_of(rpc)->index;
}

struct skep_rpc *skep_sim_net_node(struct skep_sim_net *net, uint32_t index)
{
    return &net->nodes[index]->rpc;
}

char *skep_sim_net_maddr(char out[SKEP_SIM_MADDR_MAX], uint32_t index)
{
    snprintf(out, SKEP_SIM_MADDR_MAX, "/ip4/10.%u.%u.%u/tcp/4001", index >> 16 & 255,
             index >> 8 & 255, index & 255);
    return out;
}

void skep_sim_net_set_state(struct skep_sim_net *net, uint32_t index, enum skep_sim_state state)
{
    struct sim_node *node = net->nodes[index];

    if (node->state == SKEP_SIM_ALIVE && state != SKEP_SIM_ALIVE)
        node->epoch++;
    node->state = state;
    skep_sim_streams_check(net, node);
}

void skep_sim_net_set_reachable(struct skep_sim_net *net, uint32_t index, bool reachable)
{
    net->nodes[index]->unreachable = !reachable;
}

void skep_sim_net_set_group(struct skep_sim_net *net, uint32_t index, uint32_t group)
{
    net->nodes[index]->group = group;
    skep_sim_streams_check(net, net->nodes[index]);
}

struct skep_sim_faults *skep_sim_net_faults(struct skep_sim_net *net)
{
    return &net->faults;
}

const struct skep_sim_net_stats *skep_sim_net_stats(const struct skep_sim_net *net)
{
    return &net->stats;
}
