/* SPDX-License-Identifier: MIT */
/* A host: what it serves, where it listens, whom it tells. Its connections are in connections.c, its streams in stream.c. */
#include "host/host_impl.h"

/* ---- peers ---- */

struct skep_host_peer *skep_host_peer_find(const struct skep_host *host,
                                           const struct skep_peer_id *id)
{
    struct skep_host_peer *peer = NULL;

    HASH_FIND(hh, host->peers, id, sizeof *id, peer);
    return peer;
}

struct skep_host_peer *skep_host_peer_get(struct skep_host *host, const struct skep_peer_id *id)
{
    struct skep_host_peer *peer = skep_host_peer_find(host, id);

    if (peer)
        return peer;
    peer = skep_mem_zalloc(host->env->mem, 1, sizeof *peer);
    if (!peer)
        return NULL;
    peer->id = *id;
    skep_list_init(&peer->conns);
    skep_list_init(&peer->waiting);
    skep_list_init(&peer->wanting);
    HASH_ADD(hh, host->peers, id, sizeof peer->id, peer);
    if (!peer->hh.tbl) {
        skep_mem_free(host->env->mem, peer);
        return NULL;
    }
    return peer;
}

void skep_host_peer_put(struct skep_host *host, struct skep_host_peer *peer)
{
    if (peer->holds > 0 || peer->dial || !skep_list_empty(&peer->conns) ||
        !skep_list_empty(&peer->waiting) || !skep_list_empty(&peer->wanting))
        return;
    HASH_DEL(host->peers, peer);
    skep_identify_info_free(host->env->mem, peer->info);
    skep_mem_free(host->env->mem, peer);
}

/* ---- observers ---- */

int skep_host_observe(struct skep_host *host, skep_host_observer *observer, void *user)
{
    for (size_t i = 0; i < SKEP_HOST_OBSERVERS; i++) {
        if (host->observers[i].call)
            continue;
        host->observers[i].call = observer;
        host->observers[i].user = user;
        return 0;
    }
    return SKEP_ELIMIT;
}

void skep_host_unobserve(struct skep_host *host, skep_host_observer *observer, void *user)
{
    for (size_t i = 0; i < SKEP_HOST_OBSERVERS; i++)
        if (host->observers[i].call == observer && host->observers[i].user == user)
            host->observers[i].call = NULL;
}

void skep_host_tell(struct skep_host *host, const struct skep_peer_id *peer, bool connected)
{
    for (size_t i = 0; i < SKEP_HOST_OBSERVERS; i++)
        if (host->observers[i].call)
            host->observers[i].call(host->observers[i].user, peer, connected);
}

/* ---- protocols ---- */

struct skep_host_protocol *skep_host_protocol_find(const struct skep_host *host, skep_bytes name)
{
    struct skep_host_protocol *protocol = NULL;

    HASH_FIND(hh, host->protocols, name.data, name.len, protocol);
    return protocol;
}

struct skep_host_protocol *skep_host_intern(struct skep_host *host, const char *name)
{
    size_t len = strlen(name);
    struct skep_host_protocol *protocol = skep_host_protocol_find(host, skep_bytes_of(name, len));

    if (protocol || len == 0 || len >= SKEP_NEGOTIATE_TOKEN_MAX)
        return protocol;
    protocol = skep_mem_zalloc(host->env->mem, 1, sizeof *protocol + len + 1);
    if (!protocol)
        return NULL;
    memcpy(protocol->name, name, len);
    HASH_ADD_KEYPTR(hh, host->protocols, protocol->name, len, protocol);
    if (!protocol->hh.tbl) {
        skep_mem_free(host->env->mem, protocol);
        return NULL;
    }
    return protocol;
}

int skep_host_serve(struct skep_host *host, const char *name, skep_stream_handler *handler,
                    void *user)
{
    struct skep_host_protocol *protocol = skep_host_intern(host, name);

    if (!protocol)
        return SKEP_ENOMEM;
    if (protocol->handler)
        return SKEP_EEXIST;
    protocol->handler = handler;
    protocol->user = user;
    skep_identify_changed(host);
    return 0;
}

void skep_host_unserve(struct skep_host *host, const char *name)
{
    struct skep_host_protocol *protocol = skep_host_protocol_find(host, skep_bytes_str(name));

    if (!protocol || !protocol->handler)
        return;
    protocol->handler = NULL;
    skep_identify_changed(host);
}

/* ---- addresses ---- */

int skep_host_listen(struct skep_host *host, const struct skep_multiaddr *addr)
{
    struct skep_listener *listener;
    int rc;

    if (host->listener_count == SKEP_HOST_ADDRESSES_MAX)
        return SKEP_ELIMIT;
    rc = skep_transport_listen(host->transport, &listener, addr, skep_conn_accept, host);
    if (rc < 0)
        return rc;
    host->listeners[host->listener_count++] = listener;
    skep_identify_changed(host);
    return 0;
}

int skep_host_announce(struct skep_host *host, const struct skep_multiaddr *addr)
{
    for (size_t i = 0; i < host->announced_count; i++)
        if (skep_multiaddr_same(&host->announced[i], addr))
            return 0;
    if (host->announced_count == SKEP_HOST_ADDRESSES_MAX)
        return SKEP_ELIMIT;
    host->announced[host->announced_count] = *addr;
    host->announced[host->announced_count++].peer.len = 0;
    skep_identify_changed(host);
    return 0;
}

size_t skep_host_own_addresses(const struct skep_host *host, struct skep_multiaddr *out, size_t cap)
{
    size_t count = 0;

    for (size_t i = 0; i < host->announced_count; i++, count++)
        if (count < cap)
            out[count] = host->announced[i];
    for (size_t i = 0; host->announced_count == 0 && i < host->listener_count; i++) {
        const struct skep_listener *listener = host->listeners[i];

        for (size_t j = 0; j < listener->bound_count; j++, count++) {
            if (count >= cap)
                continue;
            out[count] = listener->bound[j];
            memset(&out[count].peer, 0, sizeof out[count].peer);
        }
    }
    return count;
}

size_t skep_host_addresses(const struct skep_host *host, struct skep_multiaddr *out, size_t cap)
{
    size_t count = skep_host_own_addresses(host, out, cap);

    for (size_t i = 0; i < SKEP_MIN(count, cap); i++)
        out[i].peer = host->options.identity->id;
    return count;
}

void skep_host_add_address(struct skep_host *host, const struct skep_peer_id *peer,
                           const struct skep_multiaddr *addr)
{
    (void)skep_address_book_add(host->book, peer, addr, SKEP_NEVER_US);
}

/* ---- questions ---- */

const struct skep_identity *skep_host_identity(const struct skep_host *host)
{
    return host->options.identity;
}

struct skep_env *skep_host_env(const struct skep_host *host)
{
    return host->env;
}

int skep_host_peer_info(const struct skep_host *host, const struct skep_peer_id *id,
                        struct skep_peer_info *out)
{
    const struct skep_host_peer *peer = skep_host_peer_find(host, id);
    const struct skep_identify_info *info;

    memset(out, 0, sizeof *out);
    if (!peer || !peer->best)
        return SKEP_ENOTFOUND;
    out->inbound = !peer->best->is_dialer;
    out->remote = peer->best->link->remote;
    out->rtt_us = skep_yamux_rtt_us(peer->best->mux);
    if (out->rtt_us == 0)
        out->rtt_us = peer->best->handshake_rtt_us;
    info = peer->info;
    if (!info)
        return 0;
    out->identified = true;
    out->agent = info->agent;
    out->protocol_version = info->protocol_version;
    out->protocols = info->protocols;
    out->protocol_count = info->protocol_count;
    out->listen_addrs = info->addrs;
    out->listen_addr_count = info->addr_count;
    out->observed = info->observed;
    return 0;
}

size_t skep_host_peers(const struct skep_host *host, struct skep_peer_id *out, size_t cap)
{
    size_t count = 0;

    for (const struct skep_host_peer *peer = host->peers; peer; peer = peer->hh.next) {
        if (!peer->best)
            continue;
        if (count < cap)
            out[count] = peer->id;
        count++;
    }
    return count;
}

void skep_host_stats(const struct skep_host *host, struct skep_host_stats *out)
{
    *out = host->stats;
    out->connections = host->conn_count;
    out->connections_max = host->options.connections_max;
}

/* ---- life ---- */

static void set_defaults(struct skep_host_options *options, size_t links_max)
{
    if (!options->agent)
        options->agent = "skep/" SKEP_VERSION;
    if (options->connections_max == 0)
        options->connections_max = SKEP_CONNECTIONS_MAX;
    /* At a limit of the system's nobody would make room for a newcomer, and we could not dial. */
    if (links_max > 0 && options->connections_max > links_max)
        options->connections_max = links_max;
    if (options->connections_per_address_max == 0)
        options->connections_per_address_max = SKEP_CONNECTIONS_PER_ADDRESS_MAX;
    if (options->idle_us == 0)
        options->idle_us = SKEP_CONNECTION_IDLE_US;
    if (options->dial_timeout_us == 0)
        options->dial_timeout_us = SKEP_DIAL_TIMEOUT_US;
}

static void init_lists(struct skep_host *host)
{
    struct skep_list *lists[] = {&host->conns, &host->flushes, &host->dials,      &host->requests,
                                 &host->timed, &host->lookups, &host->kad_streams};

    for (size_t i = 0; i < SKEP_COUNT_OF(lists); i++)
        skep_list_init(lists[i]);
    host->flush_timer.fire = skep_host_flush_fire;
    host->push_timer.fire = skep_identify_push_fire;
    host->timed_timer.fire = skep_stream_timed_fire;
}

int skep_host_new(struct skep_host **out, struct skep_env *env, struct skep_transport *transport,
                  const struct skep_host_options *options)
{
    struct skep_host *host = skep_mem_zalloc(env->mem, 1, sizeof *host);
    int rc = SKEP_ENOMEM;

    *out = NULL;
    if (!host)
        return SKEP_ENOMEM;
    host->env = env;
    host->transport = transport;
    host->options = *options;
    set_defaults(&host->options, transport->links_max);
    init_lists(host);
    skep_buf_init(&host->scratch, env->mem);
    skep_kad_table_init(&host->kad, env->mem, &options->identity->id);
    /* Large blocks: the OS gives pages only to what is ever used of them. */
    host->receive = skep_mem_alloc(env->mem, SKEP_HOST_RECEIVE_BYTES);
    host->send = skep_mem_alloc(env->mem, SKEP_HOST_SEND_BYTES);
    if (!host->receive || !host->send ||
        skep_address_book_new(&host->book, env->mem, SKEP_ADDRESS_BOOK_PEERS_MAX) < 0)
        goto fail;
    if ((rc = skep_identify_serve(host)) < 0 || (rc = skep_ping_serve(host)) < 0)
        goto fail;
    if (options->kad_server && (rc = skep_kad_serve(host)) < 0)
        goto fail;
    *out = host;
    return 0;
fail:
    skep_host_free(host);
    return rc;
}

static void end_everything(struct skep_host *host)
{
    while (!skep_list_empty(&host->requests))
        skep_request_finish(SKEP_LIST_ITEM(host->requests.next, struct skep_request_state, entry),
                            SKEP_ECANCELED);
    skep_kad_close(host);
    while (!skep_list_empty(&host->dials))
        skep_dial_abandon(SKEP_LIST_ITEM(host->dials.next, struct skep_dial, entry));
    while (!skep_list_empty(&host->conns))
        skep_conn_end(SKEP_LIST_ITEM(host->conns.next, struct skep_conn, entry), SKEP_ECANCELED);
    while (host->peers) {
        struct skep_host_peer *peer = host->peers;

        peer->holds++;
        skep_stream_fail_waiting(peer, SKEP_ECANCELED);
        peer->holds--;
        skep_host_peer_put(host, peer);
        assert(host->peers != peer);
    }
}

void skep_host_free(struct skep_host *host)
{
    struct skep_host_protocol *protocol, *after;
    const struct skep_mem *mem;

    if (!host)
        return;
    mem = host->env->mem;
    host->closing = true;
    end_everything(host);
    for (size_t i = 0; i < host->listener_count; i++)
        skep_listener_close(host->listeners[i]);
    skep_env_stop(host->env, &host->flush_timer);
    skep_env_stop(host->env, &host->push_timer);
    skep_env_stop(host->env, &host->timed_timer);
    HASH_ITER(hh, host->protocols, protocol, after)
    {
        HASH_DEL(host->protocols, protocol);
        skep_mem_free(mem, protocol);
    }
    skep_kad_forget_hints(host);
    skep_kad_table_fini(&host->kad);
    skep_address_book_free(host->book);
    skep_buf_fini(&host->scratch);
    skep_mem_free(mem, host->receive);
    skep_mem_free(mem, host->send);
    skep_mem_free(mem, host);
}
