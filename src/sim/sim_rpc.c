/* SPDX-License-Identifier: MIT */
/* Nodes, their connections, unary calls and dialling; see sim_rpc.h. */
#include "sim/sim_impl.h"

#include <stdio.h>
#include <stdlib.h>

/* GOING --arrives--> AT_HANDLER --reply, fail--> RETURNING --arrives--> freed; the caller may leave at any moment.
 * One timer: for what arrives, or for the caller's patience if that ends first or nothing will arrive. */
struct flight {
    struct skep_timer timer;
    struct skep_rpc_request request;
    struct skep_rpc_call *call; /* NULL: the caller has left */
    struct sim_node *from, *to;
    struct skep_list serving;
    struct sim_method *method; /* while AT_HANDLER */
    const struct sim_name *name;
    uint8_t *reply;
    uint64_t deadline_us;
    uint32_t reply_len;
    uint32_t epochs; /* sum of both nodes' when they were connected at its start, else 0 */
    int reply_rc;
    enum { GOING, AT_HANDLER, RETURNING } state;
    bool times_out; /* what the timer is for */
    uint8_t data[]; /* the request */
};

struct dialling {
    struct skep_timer timer;
    struct skep_rpc_dial *dial;
    struct sim_node *from, *to;
    int rc;
};

/* ---- connections ---- */

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
    uint64_t rtt = skep_sim_pair_rtt_us(net, from, to), now = net->clock->now_us, ready = now;

    if (!net->faults.warm)
        ready = skep_sim_links_ready_us(&net->links, from, to);
    if (ready == SKEP_NEVER_US) {
        ready = now + rtt * net->faults.handshake_rounds;
        if (to->state == SKEP_SIM_ALIVE && from->group == to->group && !to->unreachable) {
            (void)skep_sim_links_add(net, from, to, ready);
            net->stats.handshakes++;
        }
    }
    return SKEP_MAX(ready, now) + skep_sim_faults_delay_us(&net->faults, &net->prng, rtt);
}

bool skep_sim_connected(struct skep_sim_net *net, const struct sim_node *a,
                        const struct sim_node *b)
{
    return net->faults.warm || skep_sim_links_ready_us(&net->links, a, b) != SKEP_NEVER_US;
}

/* ---- the digest ---- */

static uint64_t fold(uint64_t sum, uint64_t v)
{
    sum = (sum ^ v) * 0x9e3779b97f4a7c15u;
    return sum ^ sum >> 29;
}

void skep_sim_note(struct skep_sim_net *net, enum skep_sim_event event, const struct sim_node *from,
                   const struct sim_node *to, const struct sim_name *name, size_t len)
{
    uint64_t sum = fold(net->digest, net->clock->now_us);

    sum = fold(sum, (uint64_t)from->index << 32 | (to ? to->index : UINT32_MAX));
    net->digest = fold(sum ^ name->hash, (uint64_t)len << 8 | (unsigned)event);
}

const struct sim_name *skep_sim_name(struct skep_sim_net *net, const char *text)
{
    struct sim_name *name = net->names;
    size_t len = strlen(text);

    while (name && strcmp(name->text, text) != 0)
        name = name->next;
    if (name)
        return name;
    name = skep_mem_alloc(net->mem, sizeof *name + len + 1);
    if (!name)
        return NULL;
    memcpy(name->text, text, len + 1);
    name->hash = 0;
    for (size_t i = 0; i < len; i++)
        name->hash = fold(name->hash, (uint8_t)text[i]);
    name->next = net->names;
    net->names = name;
    return name;
}

/* ---- calls ---- */

static void free_flight(struct flight *f)
{
    struct skep_sim_net *net = f->from->net;

    if (f->call)
        f->call->state = NULL;
    skep_env_stop(&net->clock->env, &f->timer);
    skep_list_remove(&f->serving);
    skep_mem_free(net->mem, f->reply);
    skep_mem_free(net->mem, f);
}

/* Cannot fail once it has been started: a timer that runs is moved, and one that has just fired left its place. */
static int arrive_at(struct flight *f, uint64_t at_us)
{
    f->times_out = at_us >= f->deadline_us;
    return skep_timer_start(f->from->net->clock->env.timers, &f->timer,
                            SKEP_MIN(at_us, f->deadline_us));
}

/* Nothing will be heard of it. */
static void lose(struct flight *f)
{
    (void)arrive_at(f, SKEP_NEVER_US);
}

/* The flight lives on while a handler has it. */
static void caller_left(struct flight *f)
{
    struct skep_sim_net *net = f->from->net;

    f->call->state = NULL;
    f->call = NULL;
    if (f->state != AT_HANDLER) {
        free_flight(f);
        return;
    }
    skep_env_after(&net->clock->env, &f->timer,
                   skep_sim_faults_delay_us(&net->faults, &net->prng,
                                            skep_sim_pair_rtt_us(net, f->from, f->to)));
}

static void time_out(struct flight *f)
{
    struct skep_rpc_call *call = f->call;

    f->from->net->stats.timeouts++;
    caller_left(f);
    call->done(call, SKEP_ETIMEDOUT, (skep_bytes){0});
}

static uint64_t return_us(const struct flight *f)
{
    struct skep_sim_net *net = f->from->net;

    if (f->epochs == f->from->epoch + f->to->epoch) /* still connected: no need to look */
        return net->clock->now_us +
               skep_sim_faults_delay_us(&net->faults, &net->prng,
                                        skep_sim_pair_rtt_us(net, f->from, f->to));
    return skep_sim_arrival_us(net, f->to, f->from);
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
    f->reply_rc = rc;
    f->reply = skep_mem_dup(net->mem, reply.data, reply.len);
    f->reply_len = (uint32_t)reply.len;
    net->stats.replies++;
    net->stats.bytes += reply.len;
    skep_sim_note(net, SKEP_SIM_REPLY, f->to, f->from, f->name, reply.len);
    /* As on the wire: an answer that is too large is never heard. */
    if (!f->reply || reply.len > SKEP_UNARY_MESSAGE_MAX || f->to->state != SKEP_SIM_ALIVE ||
        skep_sim_faults_lost(&net->faults, &net->prng)) {
        net->stats.lost++;
        lose(f);
        return;
    }
    (void)arrive_at(f, return_us(f) + f->to->slow_us);
}

static void arrive_at_handler(struct flight *f)
{
    struct sim_node *to = f->to;
    struct sim_method *m;

    if (f->from->group != to->group || to->state == SKEP_SIM_SILENT) {
        lose(f);
        return;
    }
    if (to->state == SKEP_SIM_REFUSING) {
        f->state = RETURNING;
        f->reply_rc = SKEP_EREFUSED;
        (void)arrive_at(f, to->net->clock->now_us + skep_sim_pair_rtt_us(to->net, f->from, to) / 2);
        return;
    }
    to->calls_in++;
    if (!(m = skep_sim_find_method(to, f->name)) || !m->handler) {
        send_back(f, SKEP_EPEER_UNSUPPORTED, (skep_bytes){0});
        return;
    }
    f->state = AT_HANDLER;
    f->method = m;
    skep_list_push_back(&to->serving, &f->serving);
    lose(f); /* until it answers */
    m->handler(m->user, &f->request);
}

static void arrive_at_caller(struct flight *f)
{
    struct skep_rpc_call *call = f->call;

    assert(call); /* one that left took the flight with it */
    if (f->from->group != f->to->group) {
        lose(f);
        return;
    }
    f->call = NULL;
    call->state = NULL;
    call->done(call, f->reply_rc, skep_bytes_of(f->reply, f->reply_len));
    free_flight(f);
}

static void on_timer(struct skep_timer *timer)
{
    struct flight *f = SKEP_CONTAINER_OF(timer, struct flight, timer);

    if (f->call && f->times_out) {
        time_out(f);
        return;
    }
    switch (f->state) {
    case GOING: arrive_at_handler(f); return;
    case AT_HANDLER: /* the caller's leaving arrives */
        if (f->request.on_cancel)
            f->request.on_cancel(&f->request);
        return;
    case RETURNING: arrive_at_caller(f); return;
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

static struct flight *new_flight(struct sim_node *from, struct sim_node *to,
                                 struct skep_rpc_call *call, const struct sim_name *name,
                                 skep_bytes request)
{
    struct flight *f = skep_mem_alloc(from->net->mem, sizeof *f + request.len);

    if (!f)
        return NULL;
    memset(f, 0, sizeof *f);
    skep_bytes_copy(f->data, request);
    f->name = name;
    f->from = from;
    f->to = to;
    f->call = call;
    f->timer.fire = on_timer;
    skep_list_init(&f->serving);
    f->request.rpc = &to->rpc;
    f->request.peer = &from->rpc.self;
    f->request.data = skep_bytes_of(f->data, request.len);
    return f;
}

/* Send it on its way. @param to  NULL: there is no such peer. */
static int depart(struct flight *f, struct sim_node *to)
{
    struct sim_node *from = f->from;
    struct skep_sim_net *net = from->net;
    bool lost = skep_sim_faults_lost(&net->faults, &net->prng);
    uint64_t at_us;

    net->stats.lost += lost;
    if (!to || (to->unreachable && !skep_sim_connected(net, from, to))) {
        f->state = RETURNING; /* nobody knows an address that answers */
        f->reply_rc = SKEP_EUNREACH;
        return arrive_at(f, net->clock->now_us + skep_sim_try_us(net, from, to));
    }
    if (lost)
        return arrive_at(f, SKEP_NEVER_US);
    at_us = skep_sim_arrival_us(net, from, to);
    if (to->state == SKEP_SIM_ALIVE && from->group == to->group)
        f->epochs = from->epoch + to->epoch;
    return arrive_at(f, at_us);
}

static int call_start(struct skep_rpc *rpc, struct skep_rpc_call *call,
                      const struct skep_peer_id *peer, const char *name, skep_bytes request,
                      uint64_t timeout_us)
{
    struct sim_node *from = sim_node_of(rpc);
    struct skep_sim_net *net = from->net;
    struct sim_node *to = skep_sim_node_of_peer(net, peer);
    const struct sim_name *interned = skep_sim_name(net, name);
    struct flight *f;

    if (to == from)
        return SKEP_ESELF;
    if (request.len > SKEP_UNARY_MESSAGE_MAX)
        return SKEP_ESIZE;
    f = interned ? new_flight(from, to ? to : from, call, interned, request) : NULL;
    if (!f)
        return SKEP_ENOMEM;
    f->deadline_us = net->clock->now_us + SKEP_MIN(timeout_us, SIM_LOST_AFTER_US);
    if (depart(f, to) < 0) {
        free_flight(f);
        return SKEP_ENOMEM;
    }
    net->stats.calls++;
    net->stats.bytes += request.len;
    skep_sim_note(net, SKEP_SIM_CALL, from, to, interned, request.len);
    call->state = f;
    return 0;
}

static void call_cancel(struct skep_rpc *rpc, struct skep_rpc_call *call)
{
    struct flight *f = call->state;

    (void)rpc;
    if (f)
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

struct sim_method *skep_sim_find_method(struct sim_node *node, const struct sim_name *name)
{
    for (struct sim_method **at = &node->methods; *at; at = &(*at)->next) {
        struct sim_method *m = *at;

        if (m->name != name)
            continue;
        *at = m->next; /* to the front: it will be asked for again */
        m->next = node->methods;
        node->methods = m;
        return m;
    }
    return NULL;
}

int skep_sim_add_method(struct sim_node *node, const struct sim_method *like, const char *name)
{
    const struct sim_name *interned = skep_sim_name(node->net, name);
    struct sim_method *m;

    if (interned && skep_sim_find_method(node, interned))
        return SKEP_EEXIST;
    m = interned ? skep_mem_alloc(node->net->mem, sizeof *m) : NULL;
    if (!m)
        return SKEP_ENOMEM;
    *m = *like;
    m->name = interned;
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
    const struct sim_name *interned = skep_sim_name(node->net, name);
    struct sim_method *m = interned ? skep_sim_find_method(node, interned) : NULL;
    struct sim_method **at = &node->methods;

    if (!m)
        return;
    SKEP_LIST_EACH(&node->serving, entry, after)
    {
        struct flight *f = SKEP_LIST_ITEM(entry, struct flight, serving);

        if (f->method == m)
            fail(&f->request, skep_bytes_str("CancelledError()"));
    }
    skep_sim_streams_unserve(node, m);
    while (*at && *at != m) /* those told may have asked for others */
        at = &(*at)->next;
    if (*at)
        *at = m->next;
    skep_mem_free(node->net->mem, m);
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

    return to && to != from && skep_sim_connected(from->net, from, to)
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
    skep_sim_links_fini(net);
    while (net->names) {
        struct sim_name *name = net->names;

        net->names = name->next;
        skep_mem_free(net->mem, name);
    }
    skep_mem_free(net->mem, net);
}

/* @return 0; SKEP_ENOMEM, SKEP_ELIMIT. */
static int add_node(struct skep_sim_net *net, struct sim_node **out)
{
    struct sim_node *node;

    if (net->node_count == SIM_NODES_MAX)
        return SKEP_ELIMIT;
    if (net->node_count == net->node_cap) {
        size_t cap = net->node_cap > 0 ? net->node_cap * 2 : 16;
        void *grown = skep_mem_resize(net->mem, net->nodes, cap * sizeof *net->nodes);

        if (!grown)
            return SKEP_ENOMEM;
        net->nodes = grown;
        net->node_cap = cap;
    }
    node = skep_mem_zalloc(net->mem, 1, sizeof *node);
    if (!node)
        return SKEP_ENOMEM;
    node->rpc.ops = &sim_ops;
    node->rpc.env = &net->clock->env;
    node->net = net;
    node->index = (uint32_t)net->node_count;
    node->epoch = 1;
    skep_list_init(&node->serving);
    net->nodes[net->node_count++] = node;
    *out = node;
    return 0;
}

int skep_sim_net_add(struct skep_sim_net *net, struct skep_rpc **out)
{
    static const uint8_t ed25519_head[6] = {0x00, 0x24, 0x08, 0x01, 0x12, 0x20};
    struct sim_node *node;
    struct skep_prng prng;
    int rc = add_node(net, &node);

    *out = NULL;
    if (rc < 0)
        return rc;
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
    struct sim_node *node;
    int rc = add_node(net, &node);

    *out = NULL;
    if (rc < 0)
        return rc;
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

void skep_sim_net_set_slow(struct skep_sim_net *net, uint32_t index, uint64_t extra_us)
{
    net->nodes[index]->slow_us = extra_us;
}

uint64_t skep_sim_net_load(const struct skep_sim_net *net, uint32_t index)
{
    return net->nodes[index]->calls_in;
}

uint64_t skep_sim_net_digest(const struct skep_sim_net *net)
{
    return net->digest;
}

struct skep_sim_faults *skep_sim_net_faults(struct skep_sim_net *net)
{
    return &net->faults;
}

const struct skep_sim_net_stats *skep_sim_net_stats(const struct skep_sim_net *net)
{
    return &net->stats;
}
