/* SPDX-License-Identifier: MIT */
/* Streaming calls on the simulated call seam, with the rules of rpc/stream.c: a window of 256 KiB each way that is given back while what was
 * delivered is being used up, and a caller's end that is a mark, not a FIN.
 *
 * A channel has two ends. A message waits in its sender's line until the window lets its bytes go; they travel as pieces, in order, each with the
 * drawn delay, and the message is delivered when its last one has arrived. Left out: windows that grow, and what a frame's head may have wrong.
 *
 *   a message is lost, a node dies or is cut off --40 s, as a dead connection is found--> both ends: SKEP_ELOST
 *   a node dies and refuses                      --half a round trip--------------------> both ends: SKEP_ELOST */
#include "sim/sim_impl.h"

enum { WINDOW = 256 << 10, FRAME_HEAD = 9, LOW_WATER = 64 << 10 };

/* What lines up at a sender's end and travels as bytes. */
enum parcel_kind { MESSAGE, END, ERROR };
struct parcel {
    enum parcel_kind kind;
    struct skep_list entry; /* end->line, in order; the first ones are under way */
    size_t total, sent;     /* bytes, with those of the frame's head */
    size_t len;
    uint8_t data[];
};

/* What is on its way to an end. */
enum piece_kind { OPEN, BYTES, CREDIT, RESET, REFUSED };
struct piece {
    enum piece_kind kind;
    struct skep_timer timer;
    struct skep_list entry; /* channel->pieces */
    struct skep_rpc_stream *to;
    size_t bytes;
    int rc; /* REFUSED */
};

/* One end of a channel. */
struct skep_rpc_stream {
    struct channel *channel;
    struct skep_rpc_stream *other;
    struct sim_node *node;
    const struct skep_rpc_stream_events *events;
    void *user;
    bool is_caller;
    bool gone; /* its user is through with it; what a handler said may still be under way */
    bool paused, ended_in, ended_out;
    /* out */
    struct skep_list line; /* struct parcel.entry */
    size_t queued;         /* bytes not yet under way */
    bool above_low_water;  /* they were, and on_writable has not told otherwise */
    size_t window;         /* that the other end still lets come */
    uint64_t last_us;      /* when the last of its pieces arrives */
    /* in */
    size_t arrived; /* bytes of the first parcel in other->line */
    size_t unconsumed, withheld;
};

struct channel {
    struct skep_sim_net *net;
    struct skep_list entry; /* net->channels */
    struct skep_list pieces;
    struct skep_rpc_stream caller, handler;
    const struct sim_method *method; /* once the handler was called */
    uint32_t epochs;                 /* sum of both nodes' when it was opened */
    struct skep_timer broken;        /* nothing arrives any more; when it fires both ends know */
    unsigned busy;                   /* inside callbacks */
    const struct sim_name *name;
};

/* ---- memory ---- */

/* What is not wholly under way never arrives. */
static void drop_unsent(struct skep_rpc_stream *s)
{
    SKEP_LIST_EACH(&s->line, entry, after)
    {
        struct parcel *p = SKEP_LIST_ITEM(entry, struct parcel, entry);

        if (p->sent < p->total) {
            skep_list_remove(entry);
            skep_mem_free(s->channel->net->mem, p);
        }
    }
    s->queued = 0;
}

static void free_line(struct skep_rpc_stream *s)
{
    SKEP_LIST_EACH(&s->line, entry, after)
    {
        skep_mem_free(s->channel->net->mem, SKEP_LIST_ITEM(entry, struct parcel, entry));
    }
}

static void free_piece(struct channel *c, struct piece *piece)
{
    skep_env_stop(&c->net->clock->env, &piece->timer);
    skep_list_remove(&piece->entry);
    skep_mem_free(c->net->mem, piece);
}

static void free_channel(struct channel *c)
{
    SKEP_LIST_EACH(&c->pieces, entry, after)
    {
        free_piece(c, SKEP_LIST_ITEM(entry, struct piece, entry));
    }
    free_line(&c->caller);
    free_line(&c->handler);
    skep_env_stop(&c->net->clock->env, &c->broken);
    skep_list_remove(&c->entry);
    skep_mem_free(c->net->mem, c);
}

/* It goes when both users have left. */
static void settle(struct channel *c)
{
    if (c->caller.gone && c->handler.gone && c->busy == 0)
        free_channel(c);
}

static void leave(struct skep_rpc_stream *s)
{
    s->gone = true;
    settle(s->channel);
}

/* ---- under way ---- */

static void break_channel(struct channel *c, uint64_t after_us)
{
    if (!skep_timer_running(&c->broken))
        (void)skep_env_after(&c->net->clock->env, &c->broken, after_us);
}

static bool is_cut(const struct channel *c)
{
    const struct sim_node *a = c->caller.node, *b = c->handler.node;

    return a->group != b->group || a->state != SKEP_SIM_ALIVE || b->state != SKEP_SIM_ALIVE ||
           a->epoch + b->epoch != c->epochs;
}

static void on_piece(struct skep_timer *timer);

static void post_at(struct skep_rpc_stream *to, enum piece_kind kind, size_t bytes, int rc,
                    uint64_t at_us)
{
    struct channel *c = to->channel;
    struct piece *piece = skep_mem_zalloc(c->net->mem, 1, sizeof *piece);

    if (!piece) {
        break_channel(c, 0);
        return;
    }
    *piece =
        (struct piece){.kind = kind, .timer.fire = on_piece, .to = to, .bytes = bytes, .rc = rc};
    skep_list_push_back(&c->pieces, &piece->entry);
    if (skep_timer_start(c->net->clock->env.timers, &piece->timer, at_us) < 0)
        break_channel(c, 0);
}

/* Behind all that this end has sent before. */
static void post(struct skep_rpc_stream *from, enum piece_kind kind, size_t bytes)
{
    uint64_t at_us = skep_sim_arrival_us(from->channel->net, from->node, from->other->node) +
                     (from->is_caller ? 0 : from->node->slow_us);

    from->last_us = SKEP_MAX(from->last_us, at_us);
    post_at(from->other, kind, bytes, 0, from->last_us);
}

/* Send what the window allows. */
static void pump(struct skep_rpc_stream *s)
{
    struct skep_sim_net *net = s->channel->net;

    SKEP_LIST_EACH(&s->line, entry, after)
    {
        struct parcel *p = SKEP_LIST_ITEM(entry, struct parcel, entry);
        size_t n = SKEP_MIN(p->total - p->sent, s->window);

        if (p->sent == p->total)
            continue;
        if (n == 0)
            return;
        if (p->sent == 0)
            skep_sim_note(net, SKEP_SIM_MESSAGE, s->node, s->other->node, s->channel->name, p->len);
        if (p->sent == 0 && skep_sim_faults_lost(&net->faults, &net->prng)) {
            net->stats.lost++;
            break_channel(s->channel, SIM_LOST_AFTER_US);
        }
        p->sent += n;
        s->window -= n;
        s->queued -= n;
        net->stats.bytes += n;
        post(s, BYTES, n);
    }
}

static int line_up(struct skep_rpc_stream *s, enum parcel_kind kind, skep_bytes head,
                   skep_bytes body)
{
    struct parcel *p = skep_mem_alloc(s->channel->net->mem, sizeof *p + head.len + body.len);

    if (!p)
        return SKEP_ENOMEM;
    p->kind = kind;
    p->len = head.len + body.len;
    p->total = p->len + FRAME_HEAD;
    p->sent = 0;
    skep_bytes_copy(p->data, head);
    skep_bytes_copy(p->data + head.len, body);
    skep_list_push_back(&s->line, &p->entry);
    s->queued += p->total;
    pump(s);
    s->above_low_water = s->above_low_water || s->queued > LOW_WATER;
    return 0;
}

/* ---- arriving; the channel is busy ---- */

static void tell_error(struct skep_rpc_stream *s, int rc, skep_bytes text)
{
    if (s->gone)
        return;
    s->gone = true;
    drop_unsent(s);
    if (s->events && s->events->on_error)
        s->events->on_error(s, s->user, rc, text);
}

static void deliver(struct skep_rpc_stream *s, const struct parcel *p)
{
    skep_bytes content = skep_bytes_of(p->data, p->len);

    if (s->gone)
        return;
    if (p->kind == MESSAGE) {
        s->unconsumed += p->len;
        if (s->events && s->events->on_message)
            s->events->on_message(s, s->user, content);
    } else if (p->kind == ERROR) {
        tell_error(s, SKEP_EPEER_REMOTE, content);
    } else {
        s->ended_in = true;
        s->gone = s->is_caller;
        if (s->events && s->events->on_end)
            s->events->on_end(s, s->user);
    }
}

/* Window goes back as long as what was delivered is being used up; else the peer must wait. */
static void give_back(struct skep_rpc_stream *s)
{
    size_t n = s->withheld;

    if (n == 0 || (!s->gone && (s->paused || s->unconsumed > SKEP_STREAM_UNCONSUMED_MAX)))
        return;
    s->withheld = 0;
    post(s, CREDIT, n);
}

static void on_bytes(struct skep_rpc_stream *s, size_t n)
{
    struct skep_list *line = &s->other->line;

    s->arrived += n;
    s->withheld += n;
    while (!skep_list_empty(line)) {
        struct parcel *p = SKEP_LIST_ITEM(line->next, struct parcel, entry);

        if (s->arrived < p->total)
            break;
        s->arrived -= p->total;
        skep_list_remove(&p->entry);
        deliver(s, p);
        skep_mem_free(s->channel->net->mem, p);
    }
    give_back(s);
}

static void on_credit(struct skep_rpc_stream *s, size_t n)
{
    s->window += n;
    pump(s);
    if (!s->above_low_water || s->queued > LOW_WATER)
        return;
    s->above_low_water = false;
    if (!s->gone && s->events && s->events->on_writable)
        s->events->on_writable(s, s->user);
}

static void on_open(struct skep_rpc_stream *s)
{
    struct channel *c = s->channel;
    struct sim_method *m = skep_sim_find_method(s->node, c->name);

    s->node->calls_in++;
    if (!m || !m->stream_handler) {
        s->gone = true;
        post_at(s->other, REFUSED, 0, SKEP_EPEER_UNSUPPORTED,
                skep_sim_arrival_us(c->net, s->node, s->other->node));
        return;
    }
    c->method = m;
    m->stream_handler(m->user, s, &s->other->node->rpc.self);
}

static void on_piece(struct skep_timer *timer)
{
    struct piece *piece = SKEP_CONTAINER_OF(timer, struct piece, timer), what = *piece;
    struct skep_rpc_stream *to = what.to;
    struct channel *c = to->channel;

    free_piece(c, piece);
    if (what.kind != REFUSED) {
        if (is_cut(c))
            break_channel(c, SIM_LOST_AFTER_US);
        if (skep_timer_running(&c->broken))
            return;
    }
    c->busy++;
    switch (what.kind) {
    case OPEN: on_open(to); break;
    case BYTES: on_bytes(to, what.bytes); break;
    case CREDIT: on_credit(to, what.bytes); break;
    case RESET:
        tell_error(to, to->is_caller ? SKEP_EPEER_RESET : SKEP_ECANCELED, (skep_bytes){NULL, 0});
        break;
    case REFUSED: tell_error(to, what.rc, (skep_bytes){NULL, 0}); break;
    }
    c->busy--;
    settle(c);
}

static void on_broken(struct skep_timer *timer)
{
    struct channel *c = SKEP_CONTAINER_OF(timer, struct channel, broken);

    c->busy++;
    tell_error(&c->caller, SKEP_ELOST, (skep_bytes){NULL, 0});
    if (c->method)
        tell_error(&c->handler, SKEP_ELOST, (skep_bytes){NULL, 0});
    c->handler.gone = true;
    c->busy--;
    settle(c);
}

/* ---- calls of the users ---- */

static void init_end(struct skep_rpc_stream *s, struct channel *c, struct sim_node *node)
{
    s->channel = c;
    s->node = node;
    s->is_caller = s == &c->caller;
    s->other = s->is_caller ? &c->handler : &c->caller;
    s->window = WINDOW;
    skep_list_init(&s->line);
}

static struct channel *new_channel(struct sim_node *from, struct sim_node *to, const char *name)
{
    const struct sim_name *interned = skep_sim_name(from->net, name);
    struct channel *c = interned ? skep_mem_zalloc(from->net->mem, 1, sizeof *c) : NULL;

    if (!c)
        return NULL;
    c->name = interned;
    c->net = from->net;
    c->epochs = from->epoch + to->epoch;
    c->broken.fire = on_broken;
    skep_list_init(&c->pieces);
    skep_list_push_back(&from->net->channels, &c->entry);
    init_end(&c->caller, c, from);
    init_end(&c->handler, c, to);
    return c;
}

/* Does nobody ever answer? Then when the caller knows. */
static int refusal(struct sim_node *from, struct sim_node *to, uint64_t *after_us)
{
    struct skep_sim_net *net = from->net;
    bool connected = to && skep_sim_connected(net, from, to);

    *after_us = SKEP_DIAL_TIMEOUT_US;
    if (!to || (to->unreachable && !connected)) {
        *after_us = skep_sim_try_us(net, from, to);
        return SKEP_EUNREACH;
    }
    if (to->state == SKEP_SIM_REFUSING) {
        *after_us = skep_sim_pair_rtt_us(net, from, to);
        return SKEP_EREFUSED;
    }
    if (to->state == SKEP_SIM_SILENT || (from->group != to->group && !connected))
        return SKEP_ETIMEDOUT;
    return 0;
}

int skep_sim_stream_open(struct skep_rpc *rpc, struct skep_rpc_stream **out,
                         const struct skep_peer_id *peer, const char *name,
                         const struct skep_rpc_stream_events *events, void *user)
{
    struct sim_node *from = sim_node_of(rpc), *to = skep_sim_node_of_peer(from->net, peer);
    uint64_t after_us;
    int rc = refusal(from, to, &after_us);
    struct channel *c;

    *out = NULL;
    if (to == from)
        return SKEP_ESELF;
    if (strlen(name) > SKEP_METHOD_LEN_MAX)
        return SKEP_ESIZE;
    if (!(c = new_channel(from, to ? to : from, name)))
        return SKEP_ENOMEM;
    from->net->stats.calls++;
    skep_sim_note(from->net, SKEP_SIM_OPEN, from, to, c->name, 0);
    c->caller.events = events;
    c->caller.user = user;
    c->handler.gone = rc < 0;
    if (rc < 0)
        post_at(&c->caller, REFUSED, 0, rc, from->net->clock->now_us + after_us);
    else
        post(&c->caller, OPEN, 0);
    *out = &c->caller;
    return 0;
}

int skep_sim_stream_serve(struct skep_rpc *rpc, const char *name, skep_rpc_stream_handler *handler,
                          void *user)
{
    if (strlen(name) > SKEP_METHOD_LEN_MAX)
        return SKEP_ESIZE;
    return skep_sim_add_method(sim_node_of(rpc),
                               &(struct sim_method){.stream_handler = handler, .user = user}, name);
}

void skep_sim_stream_use(struct skep_rpc_stream *s, const struct skep_rpc_stream_events *events,
                         void *user)
{
    s->events = events;
    s->user = user;
}

int skep_sim_stream_send(struct skep_rpc_stream *s, skep_bytes head, skep_bytes body)
{
    if (s->gone || s->ended_out)
        return SKEP_ECLOSED;
    if (head.len > SKEP_STREAM_MESSAGE_MAX || body.len > SKEP_STREAM_MESSAGE_MAX - head.len)
        return SKEP_ESIZE;
    return line_up(s, MESSAGE, head, body);
}

void skep_sim_stream_end(struct skep_rpc_stream *s)
{
    if (s->gone || s->ended_out)
        return;
    s->ended_out = true;
    if (line_up(s, END, (skep_bytes){NULL, 0}, (skep_bytes){NULL, 0}) < 0)
        post(s, RESET, 0);
    if (!s->is_caller)
        leave(s);
}

void skep_sim_stream_fail(struct skep_rpc_stream *s, skep_bytes text)
{
    if (s->is_caller) {
        skep_sim_stream_cancel(s);
        return;
    }
    if (s->gone)
        return;
    text.len = SKEP_MIN(text.len, (size_t)SKEP_ERROR_TEXT_MAX);
    if (line_up(s, ERROR, (skep_bytes){NULL, 0}, text) < 0)
        post(s, RESET, 0);
    leave(s);
}

void skep_sim_stream_consume(struct skep_rpc_stream *s, size_t n)
{
    s->unconsumed -= SKEP_MIN(n, s->unconsumed);
    give_back(s);
}

void skep_sim_stream_pause(struct skep_rpc_stream *s, bool paused)
{
    s->paused = paused;
    give_back(s);
}

void skep_sim_stream_cancel(struct skep_rpc_stream *s)
{
    if (s->gone)
        return;
    drop_unsent(s);
    post(s, RESET, 0);
    leave(s);
}

size_t skep_sim_stream_queued(const struct skep_rpc_stream *s)
{
    return s->queued;
}

/* ---- for sim_rpc.c ---- */

static struct channel *served_by(struct sim_node *node, const struct sim_method *method)
{
    SKEP_LIST_EACH(&node->net->channels, entry, after)
    {
        struct channel *c = SKEP_LIST_ITEM(entry, struct channel, entry);

        if (c->handler.node == node && c->method == method && !c->handler.gone)
            return c;
    }
    return NULL;
}

void skep_sim_streams_unserve(struct sim_node *node, const struct sim_method *method)
{
    struct channel *c;

    while ((c = served_by(node, method)) != NULL) {
        c->busy++;
        (void)line_up(&c->handler, ERROR, (skep_bytes){NULL, 0}, (skep_bytes){NULL, 0});
        c->handler.gone = true; /* for tell_error() drops what is not under way */
        if (c->handler.events && c->handler.events->on_error)
            c->handler.events->on_error(&c->handler, c->handler.user, SKEP_ECANCELED,
                                        (skep_bytes){NULL, 0});
        c->busy--;
        settle(c);
    }
}

void skep_sim_streams_check(struct skep_sim_net *net, const struct sim_node *node)
{
    SKEP_LIST_EACH(&net->channels, entry, after)
    {
        struct channel *c = SKEP_LIST_ITEM(entry, struct channel, entry);

        if ((c->caller.node == node || c->handler.node == node) && is_cut(c))
            break_channel(c, node->state == SKEP_SIM_REFUSING
                                 ? skep_sim_pair_rtt_us(net, c->caller.node, c->handler.node) / 2
                                 : SIM_LOST_AFTER_US);
    }
}

void skep_sim_streams_close(struct skep_sim_net *net)
{
    SKEP_LIST_EACH(&net->channels, entry, after)
    {
        struct channel *c = SKEP_LIST_ITEM(entry, struct channel, entry);

        assert(c->caller.gone && "a caller outlives the net");
        free_channel(c);
    }
}
