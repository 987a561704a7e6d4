/* SPDX-License-Identifier: MIT */
/* See sim_link.h. A link pair is two structs; what one writes becomes segments in the other's queue, each with the time it is due.
 * A segment of no bytes is the end: closed (rc 0) or lost. Left out: bandwidth, reordering, half-close. */
#include "sim/sim_link.h"

#include "base/list.h"
#include "base/prng.h"

enum { IN_FLIGHT_MAX = 1 << 20, FIRST_PORT = 40000 };

struct machine {
    struct skep_transport transport;
    struct skep_sim_net *net;
    uint8_t ip[4];
    bool unreachable;
    struct skep_list listeners;
    struct skep_list entry;
};

struct skep_sim_net {
    struct skep_env *env;
    struct skep_sim_net_options options;
    struct skep_prng prng;
    struct skep_list machines, links;
    size_t link_count;
    uint16_t next_port;
};

struct sim_listener {
    struct skep_listener listener;
    struct machine *machine;
    struct skep_multiaddr bound;
    skep_accept_cb *on_accept;
    void *user;
    struct skep_list entry;
};

struct segment {
    struct skep_list entry;
    uint64_t due_us;
    int rc; /* of the end */
    size_t len, used;
    uint8_t data[];
};

struct sim_link {
    struct skep_link link;
    struct skep_sim_net *net;
    struct sim_link *other; /* NULL: not connected yet, or its end is gone */
    struct skep_list queue; /* segments on their way to us */
    size_t in_flight;       /* bytes in that queue */
    uint64_t last_due_us;   /* of the queue: order is kept */
    struct skep_timer timer, drain_timer;
    struct skep_list entry;
    enum { DIALING, ANSWERED, CONNECTED } state;
    bool paused, waits_for_drain;
    bool muted; /* what it sends is swallowed */
    bool gone;  /* closed by either side: freed when no event of ours is running */
    unsigned busy;
};

static struct sim_link *of_link(struct skep_link *link)
{
    return SKEP_CONTAINER_OF(link, struct sim_link, link);
}

static uint64_t random_delay_us(struct skep_sim_net *net)
{
    uint64_t span = net->options.delay_us_max - net->options.delay_us_min;

    return net->options.delay_us_min + (span > 0 ? skep_prng_below(&net->prng, span + 1) : 0);
}

static struct machine *machine_of(const struct skep_sim_net *net, const uint8_t ip[4])
{
    SKEP_LIST_EACH(&net->machines, node, after)
    {
        struct machine *machine = SKEP_LIST_ITEM(node, struct machine, entry);

        if (memcmp(machine->ip, ip, 4) == 0)
            return machine;
    }
    return NULL;
}

/* ---- the end of a link ---- */

static void free_if_idle(struct sim_link *sim)
{
    const struct skep_mem *mem = sim->net->env->mem;

    if (!sim->gone || sim->busy > 0)
        return;
    while (!skep_list_empty(&sim->queue)) {
        struct segment *segment = SKEP_LIST_ITEM(sim->queue.next, struct segment, entry);

        skep_list_remove(&segment->entry);
        skep_mem_free(mem, segment);
    }
    skep_list_remove(&sim->entry);
    sim->net->link_count--;
    skep_mem_free(mem, sim);
}

/** No event after this. */
static void detach(struct sim_link *sim)
{
    sim->gone = true;
    skep_env_stop(sim->net->env, &sim->timer);
    skep_env_stop(sim->net->env, &sim->drain_timer);
    if (sim->other)
        sim->other->other = NULL;
    sim->other = NULL;
}

static void arm(struct sim_link *sim)
{
    const struct segment *next;

    if (sim->gone || sim->state != CONNECTED || sim->paused || skep_list_empty(&sim->queue))
        return;
    next = SKEP_LIST_ITEM(sim->queue.next, struct segment, entry);
    (void)skep_timer_start(sim->net->env->timers, &sim->timer, next->due_us);
}

/** Send a segment to `to`. @return 0 or SKEP_ENOMEM. */
static int enqueue(struct sim_link *to, skep_bytes data, int rc)
{
    struct skep_sim_net *net = to->net;
    struct segment *segment = skep_mem_alloc(net->env->mem, sizeof *segment + data.len);

    if (!segment)
        return SKEP_ENOMEM;
    to->last_due_us = SKEP_MAX(to->last_due_us, skep_env_now_us(net->env) + random_delay_us(net));
    segment->due_us = to->last_due_us;
    segment->rc = rc;
    segment->len = data.len;
    segment->used = 0;
    skep_bytes_copy(segment->data, data);
    to->in_flight += data.len;
    skep_list_push_back(&to->queue, &segment->entry);
    arm(to);
    return 0;
}

static void sim_close(struct skep_link *link)
{
    struct sim_link *sim = of_link(link);
    struct sim_link *other = sim->other;

    if (sim->gone)
        return;
    detach(sim);
    if (other && !sim->muted && enqueue(other, skep_bytes_of(NULL, 0), 0) < 0)
        other->in_flight = 0; /* no memory for the news: its keep-alive will find out */
    free_if_idle(sim);
}

/** The last event of a link whose connection is gone. */
static void report_closed(struct sim_link *sim, int rc)
{
    detach(sim);
    sim->busy++;
    sim->link.events->on_closed(&sim->link, sim->link.user, rc);
    sim->busy--;
    free_if_idle(sim);
}

/** Both ends learn it, each by an event of its own. */
static void lose(struct sim_link *sim)
{
    struct sim_link *other = sim->other;

    if (other)
        (void)enqueue(other, skep_bytes_of(NULL, 0), SKEP_ELOST);
    (void)enqueue(sim, skep_bytes_of(NULL, 0), SKEP_ELOST);
    if (other)
        other->other = NULL;
    sim->other = NULL;
}

/* ---- bytes ---- */

static void on_drain(struct skep_timer *timer)
{
    struct sim_link *sim = SKEP_CONTAINER_OF(timer, struct sim_link, drain_timer);

    sim->waits_for_drain = false;
    sim->busy++;
    sim->link.events->on_drained(&sim->link, sim->link.user);
    sim->busy--;
    free_if_idle(sim);
}

static int sim_write(struct skep_link *link, skep_bytes data)
{
    struct sim_link *sim = of_link(link);
    struct skep_sim_net *net = sim->net;

    assert(sim->state == CONNECTED && !sim->gone && !sim->waits_for_drain);
    if (!sim->other)
        return SKEP_ELOST; /* the event is on its way */
    if (net->options.cut_ppm > 0 && skep_prng_below(&net->prng, 1000000) < net->options.cut_ppm) {
        lose(sim);
        return SKEP_ELOST;
    }
    if (sim->muted)
        return 1;
    if (enqueue(sim->other, data, 0) < 0) {
        lose(sim);
        return SKEP_ENOMEM;
    }
    sim->waits_for_drain = sim->other->in_flight > net->options.in_flight_max;
    return sim->waits_for_drain ? 0 : 1;
}

static void set_reading(struct skep_link *link, bool on)
{
    struct sim_link *sim = of_link(link);

    sim->paused = !on;
    if (on)
        arm(sim);
    else
        skep_env_stop(sim->net->env, &sim->timer);
}

static const struct skep_link_ops link_ops = {sim_write, set_reading, sim_close};

/** One piece of the first segment to the user. */
static void deliver(struct sim_link *sim, struct segment *segment)
{
    struct skep_sim_net *net = sim->net;
    size_t room, most = SIZE_MAX, len = segment->len - segment->used;
    uint8_t *to = sim->link.events->on_room(&sim->link, sim->link.user, &room);

    if (net->options.chunk_max > 0)
        most = 1 + (size_t)skep_prng_below(&net->prng, net->options.chunk_max);
    len = SKEP_MIN(len, SKEP_MIN(room, most));
    memcpy(to, segment->data + segment->used, len);
    segment->used += len;
    sim->in_flight -= len;
    if (segment->used == segment->len) {
        skep_list_remove(&segment->entry);
        skep_mem_free(net->env->mem, segment);
    }
    if (sim->other && sim->other->waits_for_drain && sim->in_flight <= net->options.in_flight_max)
        (void)skep_env_after(net->env, &sim->other->drain_timer, 0);
    sim->link.events->on_data(&sim->link, sim->link.user, len);
}

static void on_segments(struct sim_link *sim)
{
    sim->busy++;
    while (!sim->gone && !sim->paused && !skep_list_empty(&sim->queue)) {
        struct segment *segment = SKEP_LIST_ITEM(sim->queue.next, struct segment, entry);

        if (segment->due_us > skep_env_now_us(sim->net->env))
            break;
        if (segment->len > 0)
            deliver(sim, segment);
        else
            report_closed(sim, segment->rc);
    }
    sim->busy--;
    arm(sim);
    free_if_idle(sim);
}

/* ---- connecting ---- */

static struct sim_link *link_new(struct skep_sim_net *net);

static struct sim_listener *listener_at(const struct skep_sim_net *net,
                                        const struct skep_multiaddr *addr)
{
    const struct machine *machine = addr->kind == SKEP_ADDR_IP4 ? machine_of(net, addr->ip) : NULL;

    if (!machine)
        return NULL;
    SKEP_LIST_EACH(&machine->listeners, node, after)
    {
        struct sim_listener *listener = SKEP_LIST_ITEM(node, struct sim_listener, entry);

        if (listener->bound.port == addr->port)
            return listener;
    }
    return NULL;
}

/** The dial has come to the other machine. */
static void on_arrival(struct sim_link *sim)
{
    struct skep_sim_net *net = sim->net;
    const struct machine *machine = machine_of(net, sim->link.remote.ip);
    struct sim_listener *listener = listener_at(net, &sim->link.remote);
    struct sim_link *accepted;

    if (machine && machine->unreachable)
        return; /* silence */
    accepted = listener ? link_new(net) : NULL;
    if (!accepted) {
        report_closed(sim, SKEP_EREFUSED);
        return;
    }
    accepted->state = CONNECTED;
    accepted->link.local = sim->link.remote;
    accepted->link.remote = sim->link.local;
    accepted->other = sim;
    sim->other = accepted;
    sim->state = ANSWERED;
    (void)skep_env_after(net->env, &sim->timer, random_delay_us(net));
    accepted->busy++;
    listener->on_accept(listener->user, &accepted->link);
    accepted->busy--;
    arm(accepted);
    free_if_idle(accepted);
}

static void on_time(struct skep_timer *timer)
{
    struct sim_link *sim = SKEP_CONTAINER_OF(timer, struct sim_link, timer);

    if (sim->state == DIALING) {
        on_arrival(sim);
    } else if (sim->state == ANSWERED) {
        sim->state = CONNECTED;
        sim->busy++;
        sim->link.events->on_connected(&sim->link, sim->link.user);
        sim->busy--;
        arm(sim);
        free_if_idle(sim);
    } else {
        on_segments(sim);
    }
}

static struct sim_link *link_new(struct skep_sim_net *net)
{
    struct sim_link *sim = skep_mem_zalloc(net->env->mem, 1, sizeof *sim);

    if (!sim)
        return NULL;
    sim->link.ops = &link_ops;
    sim->net = net;
    sim->timer.fire = on_time;
    sim->drain_timer.fire = on_drain;
    skep_list_init(&sim->queue);
    skep_list_push_back(&net->links, &sim->entry);
    net->link_count++;
    return sim;
}

static int sim_dial(struct skep_transport *transport, struct skep_link **out,
                    const struct skep_multiaddr *addr)
{
    struct machine *machine = SKEP_CONTAINER_OF(transport, struct machine, transport);
    struct skep_sim_net *net = machine->net;
    struct sim_link *sim;

    *out = NULL;
    if (addr->kind != SKEP_ADDR_IP4)
        return SKEP_EINVAL;
    sim = link_new(net);
    if (!sim)
        return SKEP_ENOMEM;
    sim->link.remote = *addr;
    sim->link.remote.peer.len = 0;
    sim->link.local.kind = SKEP_ADDR_IP4;
    memcpy(sim->link.local.ip, machine->ip, 4);
    sim->link.local.port = net->next_port++;
    if (skep_env_after(net->env, &sim->timer, random_delay_us(net)) < 0) {
        sim->gone = true;
        free_if_idle(sim);
        return SKEP_ENOMEM;
    }
    *out = &sim->link;
    return 0;
}

static int sim_listen(struct skep_transport *transport, struct skep_listener **out,
                      const struct skep_multiaddr *addr, skep_accept_cb *on_accept, void *user)
{
    struct machine *machine = SKEP_CONTAINER_OF(transport, struct machine, transport);
    struct skep_sim_net *net = machine->net;
    struct sim_listener *listener;

    *out = NULL;
    if (addr->kind != SKEP_ADDR_IP4 || memcmp(addr->ip, machine->ip, 4) != 0)
        return SKEP_EINVAL;
    if (addr->port != 0 && listener_at(net, addr))
        return SKEP_EADDRINUSE;
    listener = skep_mem_zalloc(net->env->mem, 1, sizeof *listener);
    if (!listener)
        return SKEP_ENOMEM;
    listener->machine = machine;
    listener->bound = *addr;
    listener->bound.port = addr->port != 0 ? addr->port : net->next_port++;
    listener->on_accept = on_accept;
    listener->user = user;
    listener->listener = (struct skep_listener){transport, &listener->bound, 1};
    skep_list_push_back(&machine->listeners, &listener->entry);
    *out = &listener->listener;
    return 0;
}

static void sim_listener_close(struct skep_listener *listener)
{
    struct sim_listener *sim = SKEP_CONTAINER_OF(listener, struct sim_listener, listener);

    skep_list_remove(&sim->entry);
    skep_mem_free(sim->machine->net->env->mem, sim);
}

static const struct skep_transport_ops transport_ops = {sim_dial, sim_listen, sim_listener_close};

/* ---- the net ---- */

int skep_sim_net_new(struct skep_sim_net **out, struct skep_env *env,
                     const struct skep_sim_net_options *options)
{
    struct skep_sim_net *net = skep_mem_zalloc(env->mem, 1, sizeof *net);

    *out = net;
    if (!net)
        return SKEP_ENOMEM;
    net->env = env;
    net->options = *options;
    if (net->options.in_flight_max == 0)
        net->options.in_flight_max = IN_FLIGHT_MAX;
    net->next_port = FIRST_PORT;
    skep_prng_init(&net->prng, options->seed);
    skep_list_init(&net->machines);
    skep_list_init(&net->links);
    return 0;
}

void skep_sim_net_free(struct skep_sim_net *net)
{
    if (!net)
        return;
    assert(net->link_count == 0);
    while (!skep_list_empty(&net->machines)) {
        struct machine *machine = SKEP_LIST_ITEM(net->machines.next, struct machine, entry);

        assert(skep_list_empty(&machine->listeners));
        skep_list_remove(&machine->entry);
        skep_mem_free(net->env->mem, machine);
    }
    skep_mem_free(net->env->mem, net);
}

struct skep_transport *skep_sim_net_transport(struct skep_sim_net *net, const uint8_t ip[4])
{
    struct machine *machine = machine_of(net, ip);

    if (machine)
        return &machine->transport;
    machine = skep_mem_zalloc(net->env->mem, 1, sizeof *machine);
    if (!machine)
        return NULL;
    machine->transport = (struct skep_transport){.ops = &transport_ops, .env = net->env};
    machine->net = net;
    memcpy(machine->ip, ip, 4);
    skep_list_init(&machine->listeners);
    skep_list_push_back(&net->machines, &machine->entry);
    return &machine->transport;
}

size_t skep_sim_net_cut(struct skep_sim_net *net, const uint8_t a[4], const uint8_t b[4])
{
    size_t count = 0;

    SKEP_LIST_EACH(&net->links, node, after)
    {
        struct sim_link *sim = SKEP_LIST_ITEM(node, struct sim_link, entry);

        if (!sim->other || memcmp(sim->link.local.ip, a, 4) != 0 ||
            memcmp(sim->link.remote.ip, b, 4) != 0)
            continue;
        lose(sim);
        count++;
    }
    return count;
}

void skep_sim_net_mute(struct skep_sim_net *net, const uint8_t from[4], const uint8_t to[4])
{
    SKEP_LIST_EACH(&net->links, node, after)
    {
        struct sim_link *sim = SKEP_LIST_ITEM(node, struct sim_link, entry);

        if (memcmp(sim->link.local.ip, from, 4) == 0 && memcmp(sim->link.remote.ip, to, 4) == 0)
            sim->muted = true;
    }
}

void skep_sim_net_set_reachable(struct skep_sim_net *net, const uint8_t ip[4], bool reachable)
{
    struct machine *machine = machine_of(net, ip);

    if (machine)
        machine->unreachable = !reachable;
}

size_t skep_sim_net_link_count(const struct skep_sim_net *net)
{
    return net->link_count;
}
