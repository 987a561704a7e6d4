/* SPDX-License-Identifier: MIT */
/* Hosts in memory for the tests of the call layer, see fake_host.h. */
#include "rpc/fake_host.h"

#include "base/list.h"

struct served {
    char *protocol;
    skep_stream_handler *handler;
    void *user;
    struct served *next;
};

struct skep_host {
    struct fake_net *net;
    struct skep_identity identity;
    struct served *served;
    struct skep_list streams;
    struct skep_list requests;
    size_t open_count;
};

struct skep_stream {
    struct skep_list entry; /* host->streams */
    struct skep_host *host;
    struct skep_peer_id peer;
    char *protocol;
    const struct skep_stream_events *events;
    void *user;
    struct skep_stream *other; /* NULL: not yet opened there, or gone there */
    struct skep_host *to;      /* outbound, not yet opened there */
    bool outbound, pending, fin_sent, fin_told, fin_queued, lost, ignored;
    int close_rc;
    bool closing;
    struct skep_buf out; /* written, not yet delivered to the other */
    size_t unconsumed;   /* delivered to us, not yet given back */
    bool was_high;
};

static void on_turn(struct skep_timer *timer);

static void wake(struct fake_net *net)
{
    if (!skep_timer_running(&net->timer))
        assert_int_equal(skep_env_after(&net->env.env, &net->timer, 10), 0);
}

void fake_net_init(struct fake_net *net, uint64_t seed)
{
    memset(net, 0, sizeof *net);
    test_env_init(&net->env, seed);
    net->timer.fire = on_turn;
}

struct skep_host *fake_host_new(struct fake_net *net, uint8_t name)
{
    struct skep_host *host = calloc(1, sizeof *host);

    assert_non_null(host);
    host->net = net;
    host->identity.id.len = 38;
    memset(host->identity.id.bytes, name, 38);
    skep_list_init(&host->streams);
    skep_list_init(&host->requests);
    net->hosts[net->host_count++] = host;
    return host;
}

const struct skep_peer_id *fake_host_id(const struct skep_host *host)
{
    return &host->identity.id;
}

static void stream_gone(struct skep_stream *stream)
{
    if (stream->other)
        stream->other->other = NULL;
    skep_list_remove(&stream->entry);
    if (stream->outbound)
        stream->host->open_count--;
    skep_buf_fini(&stream->out);
    free(stream->protocol);
    free(stream);
}

static void closed(struct skep_stream *stream, int rc)
{
    const struct skep_stream_events *events = stream->events;
    void *user = stream->user;
    bool tell = !stream->ignored;

    if (tell && events && events->on_close)
        events->on_close(stream, user, rc);
    stream_gone(stream);
}

void fake_net_fini(struct fake_net *net)
{
    for (size_t i = 0; i < net->host_count; i++) {
        struct skep_host *host = net->hosts[i];

        while (!skep_list_empty(&host->streams))
            closed(SKEP_LIST_ITEM(host->streams.next, struct skep_stream, entry), SKEP_ECANCELED);
        while (host->served)
            skep_host_unserve(host, host->served->protocol);
        free(host);
    }
    skep_env_stop(&net->env.env, &net->timer);
    test_env_fini(&net->env);
}

void fake_net_run(struct fake_net *net, uint64_t us)
{
    test_env_advance(&net->env, us);
}

static struct skep_host *host_by_id(struct fake_net *net, const struct skep_peer_id *id)
{
    for (size_t i = 0; i < net->host_count; i++)
        if (skep_peer_id_equal(&net->hosts[i]->identity.id, id))
            return net->hosts[i];
    return NULL;
}

static struct skep_stream *stream_new(struct skep_host *host, const struct skep_peer_id *peer,
                                      const char *protocol)
{
    struct skep_stream *stream = calloc(1, sizeof *stream);

    assert_non_null(stream);
    stream->host = host;
    stream->peer = *peer;
    stream->protocol = strdup(protocol);
    skep_buf_init(&stream->out, &skep_mem_std);
    skep_list_push_back(&host->streams, &stream->entry);
    return stream;
}

struct skep_stream *fake_stream_open(struct skep_host *from, struct skep_host *to,
                                     const char *protocol, const struct skep_stream_events *events,
                                     void *user)
{
    struct skep_stream *stream = stream_new(from, &to->identity.id, protocol);

    stream->to = to;
    stream->outbound = stream->pending = true;
    from->open_count++;
    from->net->opens++;
    skep_stream_use(stream, events, user);
    wake(from->net);
    return stream;
}

void fake_host_lose(struct skep_host *host)
{
    SKEP_LIST_EACH(&host->streams, node, after)
    {
        struct skep_stream *stream = SKEP_LIST_ITEM(node, struct skep_stream, entry);

        stream->lost = true;
        if (stream->other)
            stream->other->lost = true;
    }
    wake(host->net);
}

/* ---- what happens on a turn ---- */

static bool open_there(struct skep_stream *stream)
{
    struct skep_host *to = stream->to;
    struct served *served = to->served;

    stream->pending = false;
    while (served && strcmp(served->protocol, stream->protocol) != 0)
        served = served->next;
    if (!served) {
        closed(stream, SKEP_EPEER_UNSUPPORTED);
        return false;
    }
    stream->other = stream_new(to, &stream->host->identity.id, stream->protocol);
    stream->other->other = stream;
    served->handler(served->user, stream->other);
    return false; /* the walk starts anew: anything may have changed */
}

static bool deliver(struct skep_stream *stream)
{
    struct skep_stream *other = stream->other;
    struct fake_net *net = stream->host->net;
    size_t n = stream->out.len;
    uint8_t *copy;

    if (net->chunk > 0)
        n = SKEP_MIN(n, net->chunk);
    if (net->window > 0)
        n = SKEP_MIN(n, net->window - SKEP_MIN(net->window, other->unconsumed));
    if (n == 0 && stream->out.len > 0)
        return true;
    copy = malloc(n + 1); /* of just this size, so that a sanitizer sees a read past the view */
    memcpy(copy, stream->out.data ? stream->out.data : copy, n);
    skep_buf_drop(&stream->out, n);
    other->unconsumed += n;
    net->most_in_flight = SKEP_MAX(net->most_in_flight, other->unconsumed);
    if (n > 0 && !other->ignored && other->events->on_data)
        other->events->on_data(other, other->user, skep_bytes_of(copy, n));
    else if (n > 0)
        other->unconsumed -= n;
    free(copy);
    return false;
}

/* One event of one stream. @return true: it had nothing to do. */
static bool step(struct skep_stream *stream)
{
    struct skep_stream *other = stream->other;

    if (stream->lost || stream->closing) {
        closed(stream, stream->lost ? SKEP_ELOST : stream->close_rc);
        return false;
    }
    if (stream->pending)
        return open_there(stream);
    if (other && stream->out.len > 0)
        return deliver(stream);
    if (stream->was_high && stream->out.len < SKEP_STREAM_LOW_WATER) {
        stream->was_high = false;
        if (!stream->ignored && stream->events->on_writable)
            stream->events->on_writable(stream, stream->user);
        return false;
    }
    if (other && stream->fin_queued && !stream->fin_told) {
        stream->fin_told = true;
        if (!other->ignored && other->events->on_eof)
            other->events->on_eof(other, other->user);
        return false;
    }
    if (other && stream->fin_told && (other->fin_told || other->ignored)) {
        other->closing = true;
        other->close_rc = 0;
        closed(stream, 0);
        return false;
    }
    return true;
}

static void on_turn(struct skep_timer *timer)
{
    struct fake_net *net = SKEP_CONTAINER_OF(timer, struct fake_net, timer);
    bool idle = false;

    for (size_t budget = 100000; budget > 0 && !idle; budget--) {
        idle = true;
        for (size_t i = 0; i < net->host_count && idle; i++) {
            SKEP_LIST_EACH(&net->hosts[i]->streams, node, after)
            {
                idle = step(SKEP_LIST_ITEM(node, struct skep_stream, entry));
                if (!idle)
                    break;
            }
        }
    }
}

/* ---- host.h ---- */

const struct skep_identity *skep_host_identity(const struct skep_host *host)
{
    return &host->identity;
}

int skep_host_open(struct skep_host *host, struct skep_stream **out,
                   const struct skep_peer_id *peer, const char *protocol,
                   const struct skep_stream_events *events, void *user)
{
    struct skep_host *to = host_by_id(host->net, peer);

    *out = NULL;
    if (host->net->open_max > 0 && host->open_count >= host->net->open_max)
        return SKEP_ELIMIT;
    if (!to)
        return SKEP_EUNREACH;
    *out = fake_stream_open(host, to, protocol, events, user);
    return 0;
}

int skep_host_serve(struct skep_host *host, const char *protocol, skep_stream_handler *handler,
                    void *user)
{
    struct served *served = calloc(1, sizeof *served);

    assert_non_null(served);
    *served = (struct served){strdup(protocol), handler, user, host->served};
    host->served = served;
    return 0;
}

void skep_host_unserve(struct skep_host *host, const char *protocol)
{
    for (struct served **at = &host->served; *at; at = &(*at)->next) {
        struct served *served = *at;

        if (strcmp(served->protocol, protocol) != 0)
            continue;
        *at = served->next;
        free(served->protocol);
        free(served);
        return;
    }
}

int skep_host_connect(struct skep_host *host, struct skep_host_request *request,
                      const struct skep_peer_id *peer, const struct skep_multiaddr *addr,
                      uint64_t timeout_us)
{
    (void)timeout_us;
    request->peer = peer ? *peer : (struct skep_peer_id){.len = (uint8_t)addr->port};
    request->state = host;
    skep_list_push_back(&host->requests, &request->entry);
    return 0;
}

void skep_host_cancel(struct skep_host *host, struct skep_host_request *request)
{
    (void)host;
    if (request->state)
        skep_list_remove(&request->entry);
    request->state = NULL;
}

void skep_host_hint(struct skep_host *host, const struct skep_peer_id *peer,
                    const struct skep_peer_id *via)
{
    (void)host;
    (void)peer;
    (void)via;
}

int skep_host_peer_info(const struct skep_host *host, const struct skep_peer_id *peer,
                        struct skep_peer_info *out)
{
    (void)host;
    (void)peer;
    *out = (struct skep_peer_info){.rtt_us = 59};
    return 0;
}

/* ---- stream.h ---- */

void skep_stream_use(struct skep_stream *stream, const struct skep_stream_events *events,
                     void *user)
{
    stream->events = events;
    stream->user = user;
}

int skep_stream_write(struct skep_stream *stream, skep_bytes data)
{
    if (stream->fin_queued)
        return SKEP_ECLOSED;
    skep_buf_put_bytes(&stream->out, data);
    stream->was_high = stream->was_high || stream->out.len > SKEP_STREAM_LOW_WATER;
    wake(stream->host->net);
    return 0;
}

bool skep_stream_has_room(const struct skep_stream *stream, size_t len)
{
    return stream->host->net->room == 0 || len <= stream->host->net->room;
}

size_t skep_stream_queued(const struct skep_stream *stream)
{
    return stream->out.len;
}

void skep_stream_close_write(struct skep_stream *stream)
{
    stream->fin_queued = true;
    wake(stream->host->net);
}

void skep_stream_consume(struct skep_stream *stream, size_t n)
{
    assert_true(n <= stream->unconsumed);
    stream->unconsumed -= n;
    wake(stream->host->net);
}

void skep_stream_reset(struct skep_stream *stream)
{
    struct fake_net *net = stream->host->net;

    net->resets++;
    if (stream->other) {
        stream->other->closing = true;
        stream->other->close_rc = SKEP_EPEER_RESET;
    }
    stream_gone(stream);
    wake(net);
}

void skep_stream_release(struct skep_stream *stream)
{
    stream->fin_queued = stream->ignored = true;
    if (!stream->other && !stream->pending) {
        stream->closing = true;
        stream->close_rc = 0;
    }
    wake(stream->host->net);
}

void skep_stream_finish(struct skep_stream *stream)
{
    skep_stream_release(stream);
}

const struct skep_peer_id *skep_stream_peer(const struct skep_stream *stream)
{
    return &stream->peer;
}

const char *skep_stream_protocol(const struct skep_stream *stream)
{
    return stream->protocol;
}
