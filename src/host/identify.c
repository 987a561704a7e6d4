/* SPDX-License-Identifier: MIT */
/* Identify and identify push, both ways. Spec: libp2p identify; docs/wire.md a.5.
 *
 * Each side asks the other right after the connection is up, and a go-libp2p peer opens nothing else to us until our answer has come with its
 * FIN. A change in what we serve or where is pushed to the peers that take pushes; changes close to each other go in one. */
#include "host/host_impl.h"

/* ---- what we say ---- */

/** Append our messages for the peer at the other end of `conn`. */
static void write_self(struct skep_host *host, const struct skep_conn *conn, struct skep_buf *out)
{
    const char *protocols[SKEP_IDENTIFY_PROTOCOLS_MAX];
    struct skep_multiaddr *addrs =
        skep_mem_alloc(host->env->mem, SKEP_HOST_ADDRESSES_MAX * sizeof *addrs);
    struct skep_identify_self self = {.public_key =
                                          skep_buf_view(&host->options.identity->public_key),
                                      .agent = host->options.agent,
                                      .protocols = protocols,
                                      .addrs = addrs,
                                      .observed = conn->link ? &conn->link->remote : NULL};

    if (!addrs) {
        out->rc = SKEP_ENOMEM;
        return;
    }
    self.addr_count = SKEP_MIN(skep_host_own_addresses(host, addrs, SKEP_HOST_ADDRESSES_MAX),
                               SKEP_HOST_ADDRESSES_MAX);
    for (const struct skep_host_protocol *p = host->protocols; p; p = p->hh.next)
        if (p->handler && self.protocol_count < SKEP_IDENTIFY_PROTOCOLS_MAX)
            protocols[self.protocol_count++] = p->name;
    skep_identify_write(out, &self);
    skep_mem_free(host->env->mem, addrs);
}

static int send_self(struct skep_host *host, struct skep_conn *conn, struct skep_stream *stream)
{
    struct skep_buf out;
    int rc;

    skep_buf_init(&out, host->env->mem);
    write_self(host, conn, &out);
    rc = out.rc;
    if (rc == 0)
        rc = skep_stream_write(stream, skep_buf_view(&out));
    skep_buf_fini(&out);
    if (rc == 0)
        skep_stream_release(stream);
    else
        skep_stream_reset(stream);
    return rc;
}

static void on_asked(void *user, struct skep_stream *stream)
{
    (void)send_self(user, stream->conn, stream);
}

/* ---- what a peer says ---- */

struct hearing {
    struct skep_host *host;
    struct skep_host_peer *peer;
    bool is_push;
    struct skep_identify_reader reader;
};

static void hearing_free(struct hearing *hearing)
{
    if (hearing->is_push)
        skep_stream_service_end(hearing->peer);
    skep_identify_reader_fini(&hearing->reader);
    skep_mem_free(hearing->host->env->mem, hearing);
}

/** Remember where it listens, and that it speaks kad. */
static void learn(struct skep_host *host, struct skep_host_peer *peer)
{
    uint64_t until_us = skep_env_now_us(host->env) + SKEP_ADDRESS_TTL_US;

    for (size_t i = 0; i < peer->info->addr_count; i++)
        (void)skep_address_book_add(host->book, &peer->id, &peer->info->addrs[i], until_us);
    skep_kad_identified(peer);
}

static void heard(struct hearing *hearing, int rc)
{
    struct skep_host *host = hearing->host;
    struct skep_host_peer *peer = hearing->peer;
    struct skep_identify_info *info = NULL;
    bool is_push = hearing->is_push;

    if (rc == 0)
        rc = skep_identify_finish(&hearing->reader, &info);
    hearing_free(hearing);
    if (is_push && rc < 0)
        return;
    peer->holds++;
    if (info) {
        skep_identify_info_free(host->env->mem, peer->info);
        peer->info = info;
        learn(host, peer);
    }
    if (!is_push) {
        peer->identify_ended = peer->best != NULL;
        skep_requests_identified(peer, rc);
    }
    peer->holds--;
    skep_host_peer_put(host, peer);
}

static void on_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    struct hearing *hearing = user;
    int rc = skep_identify_feed(&hearing->reader, data);

    skep_stream_consume(stream, data.len);
    if (rc == 0)
        return;
    skep_stream_reset(stream);
    heard(hearing, rc);
}

static void on_eof(struct skep_stream *stream, void *user)
{
    skep_stream_release(stream);
    heard(user, 0);
}

static void on_close(struct skep_stream *stream, void *user, int rc)
{
    (void)stream;
    heard(user, rc == 0 ? SKEP_ELOST : rc);
}

static const struct skep_stream_events hearing_events = {
    .on_data = on_data, .on_eof = on_eof, .on_close = on_close};

static struct hearing *hearing_new(struct skep_host *host, struct skep_host_peer *peer,
                                   bool is_push)
{
    struct hearing *hearing = skep_mem_zalloc(host->env->mem, 1, sizeof *hearing);

    if (!hearing && is_push)
        skep_stream_service_end(peer);
    if (!hearing)
        return NULL;
    hearing->host = host;
    hearing->peer = peer;
    hearing->is_push = is_push;
    skep_identify_reader_init(&hearing->reader, host->env->mem);
    return hearing;
}

void skep_identify_start(struct skep_conn *conn)
{
    struct skep_host *host = conn->host;
    struct hearing *hearing;
    struct skep_stream *stream;

    if (conn->peer->identify_ended)
        return;
    hearing = hearing_new(host, conn->peer, false);
    if (!hearing)
        return;
    if (skep_stream_open(host, &stream, conn->peer, conn, SKEP_PROTO_IDENTIFY, false,
                         &hearing_events, hearing) < 0)
        hearing_free(hearing);
}

static void on_pushed(void *user, struct skep_stream *stream)
{
    struct hearing *hearing =
        skep_stream_service_begin(stream) ? hearing_new(user, stream->peer, true) : NULL;

    if (!hearing) {
        skep_stream_reset(stream);
        return;
    }
    skep_stream_use(stream, &hearing_events, hearing);
}

/* ---- pushing ---- */

void skep_identify_changed(struct skep_host *host)
{
    if (host->conn_count > 0 && !skep_timer_running(&host->push_timer))
        (void)skep_env_after(host->env, &host->push_timer, SKEP_PUSH_DELAY_US);
}

static void ignore_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    (void)user;
    skep_stream_consume(stream, data.len);
}

static void ignore_close(struct skep_stream *stream, void *user, int rc)
{
    (void)stream;
    (void)user;
    (void)rc;
}

static const struct skep_stream_events push_events = {.on_data = ignore_data,
                                                      .on_close = ignore_close};

void skep_identify_push_fire(struct skep_timer *timer)
{
    struct skep_host *host = SKEP_CONTAINER_OF(timer, struct skep_host, push_timer);

    for (struct skep_host_peer *peer = host->peers; peer; peer = peer->hh.next) {
        struct skep_stream *stream;

        /* One that has not told us yet has not heard us yet either, most likely; if it has, it is told at its next connection. */
        if (!peer->best || peer->best->doomed || !peer->info || !peer->info->takes_push)
            continue;
        if (skep_stream_open(host, &stream, peer, peer->best, SKEP_PROTO_PUSH, false, &push_events,
                             NULL) == 0)
            (void)send_self(host, peer->best, stream);
    }
}

int skep_identify_serve(struct skep_host *host)
{
    int rc = skep_host_serve(host, SKEP_PROTO_IDENTIFY, on_asked, host);

    return rc < 0 ? rc : skep_host_serve(host, SKEP_PROTO_PUSH, on_pushed, host);
}
