/* SPDX-License-Identifier: MIT */
/* What callers ask of a host: connect, ping, find, identify. Each has a timeout of its own and exactly one `done`, never from
 * inside the call that started it. */
#include "host/host_impl.h"

static void on_time(struct skep_timer *timer)
{
    struct skep_request_state *state = SKEP_CONTAINER_OF(timer, struct skep_request_state, timer);

    skep_request_finish(state, state->settled ? state->rc : SKEP_ETIMEDOUT);
}

int skep_request_new(struct skep_host *host, struct skep_host_request *request,
                     enum skep_request_kind kind, uint64_t timeout_us,
                     struct skep_request_state **out)
{
    struct skep_request_state *state = skep_mem_zalloc(host->env->mem, 1, sizeof *state);
    uint64_t usual_us =
        kind == REQUEST_FIND ? SKEP_NEGOTIATE_TIMEOUT_US : host->options.dial_timeout_us;

    *out = NULL;
    if (!state)
        return SKEP_ENOMEM;
    state->host = host;
    state->request = request;
    state->kind = kind;
    state->timer.fire = on_time;
    if (timeout_us != SKEP_NEVER_US &&
        skep_env_after(host->env, &state->timer, timeout_us == 0 ? usual_us : timeout_us) < 0) {
        skep_mem_free(host->env->mem, state);
        return SKEP_ENOMEM;
    }
    skep_list_init(&state->want_entry);
    skep_list_push_back(&host->requests, &state->entry);
    request->state = state;
    *out = state;
    return 0;
}

/** Off every list; the peer it waited for may go. */
static void detach(struct skep_request_state *state)
{
    struct skep_host_peer *peer = state->peer;

    skep_list_remove(&state->want_entry);
    state->peer = NULL;
    if (peer)
        skep_host_peer_put(state->host, peer);
}

static void drop(struct skep_request_state *state)
{
    skep_env_stop(state->host->env, &state->timer);
    skep_list_remove(&state->entry);
    detach(state);
    if (state->stream)
        skep_stream_reset(state->stream);
    state->request->state = NULL;
    skep_mem_free(state->host->env->mem, state);
}

void skep_request_finish(struct skep_request_state *state, int rc)
{
    struct skep_host_request *request = state->request;

    drop(state);
    request->done(request, rc);
}

void skep_request_settle(struct skep_request_state *state, int rc)
{
    detach(state);
    state->settled = true;
    state->rc = rc;
    (void)skep_env_after(state->host->env, &state->timer, 0);
}

void skep_request_want(struct skep_request_state *state, struct skep_host_peer *peer)
{
    state->peer = peer;
    skep_list_push_back(&peer->wanting, &state->want_entry);
}

/** Of the list, those that `until_identified` or not; each `done` may do anything but free the host. */
static void finish_kind(struct skep_list *wanting, enum skep_request_kind kind,
                        const struct skep_peer_id *peer, int rc)
{
    struct skep_list now;

    skep_list_init(&now);
    SKEP_LIST_EACH(wanting, node, after)
    {
        struct skep_request_state *state =
            SKEP_LIST_ITEM(node, struct skep_request_state, want_entry);

        if (state->kind != kind)
            continue;
        skep_list_remove(&state->want_entry);
        skep_list_push_back(&now, &state->want_entry);
    }
    while (!skep_list_empty(&now)) {
        struct skep_request_state *state =
            SKEP_LIST_ITEM(now.next, struct skep_request_state, want_entry);

        if (peer)
            state->request->peer = *peer;
        skep_request_finish(state, rc);
    }
}

void skep_requests_connected(struct skep_list *wanting, struct skep_host_peer *peer)
{
    finish_kind(wanting, REQUEST_CONNECT, &peer->id, 0);
    SKEP_LIST_EACH(wanting, node, after)
    {
        struct skep_request_state *state =
            SKEP_LIST_ITEM(node, struct skep_request_state, want_entry);

        if (state->kind == REQUEST_PING && !state->stream) {
            skep_list_remove(&state->want_entry);
            skep_ping_start(state);
        }
    }
    if (peer->identify_ended)
        skep_requests_identified(peer, peer->info ? 0 : SKEP_EPEER_UNSUPPORTED);
}

void skep_requests_failed(struct skep_list *wanting, int rc)
{
    finish_kind(wanting, REQUEST_CONNECT, NULL, rc);
    finish_kind(wanting, REQUEST_PING, NULL, rc);
    finish_kind(wanting, REQUEST_IDENTIFY, NULL, rc);
    finish_kind(wanting, REQUEST_FIND, NULL, rc);
}

void skep_requests_identified(struct skep_host_peer *peer, int rc)
{
    finish_kind(&peer->wanting, REQUEST_IDENTIFY, &peer->id, rc);
}

/* ---- the calls ---- */

static bool is_self(const struct skep_host *host, const struct skep_peer_id *peer)
{
    return peer && skep_peer_id_equal(peer, &host->options.identity->id);
}

/** Let `state` wait until the peer is connected, which starts now if need be. */
static int want_connected(struct skep_host *host, struct skep_request_state *state,
                          const struct skep_peer_id *id, uint64_t timeout_us)
{
    struct skep_host_peer *peer = skep_host_peer_get(host, id);
    int rc = 0;

    if (!peer)
        return SKEP_ENOMEM;
    state->request->peer = *id;
    skep_request_want(state, peer);
    if (!peer->best || peer->best->doomed)
        rc = skep_dial_peer(host, peer, true, timeout_us);
    if (rc < 0)
        detach(state);
    return rc;
}

int skep_host_connect(struct skep_host *host, struct skep_host_request *request,
                      const struct skep_peer_id *peer, const struct skep_multiaddr *addr,
                      uint64_t timeout_us)
{
    struct skep_request_state *state;
    const struct skep_host_peer *known;
    struct skep_dial *dial;
    int rc;

    if (!peer && addr && addr->peer.len > 0)
        peer = &addr->peer;
    if (!peer && !addr)
        return SKEP_EINVAL;
    if ((rc = skep_request_new(host, request, REQUEST_CONNECT, timeout_us, &state)) < 0)
        return rc;
    known = peer ? skep_host_peer_find(host, peer) : NULL;
    if (peer)
        request->peer = *peer;
    if (is_self(host, peer)) {
        skep_request_settle(state, SKEP_ESELF);
    } else if (known && known->best && !known->best->doomed) {
        skep_request_settle(state, 0);
    } else if (peer) {
        if (addr)
            rc = skep_address_book_add(host->book, peer, addr,
                                       skep_env_now_us(host->env) + SKEP_ADDRESS_TTL_US);
        if (rc == 0)
            rc = want_connected(host, state, peer, timeout_us);
    } else {
        rc = skep_dial_address(host, &dial, addr, timeout_us);
        if (rc == 0)
            skep_list_push_back(&dial->wanting, &state->want_entry);
    }
    if (rc < 0)
        drop(state);
    return rc;
}

int skep_host_ping(struct skep_host *host, struct skep_host_request *request,
                   const struct skep_peer_id *peer, uint64_t timeout_us)
{
    struct skep_request_state *state;
    const struct skep_host_peer *known = skep_host_peer_find(host, peer);
    int rc = skep_request_new(host, request, REQUEST_PING, timeout_us, &state);

    if (rc < 0)
        return rc;
    request->peer = *peer;
    if (is_self(host, peer)) {
        skep_request_settle(state, SKEP_ESELF);
    } else if (known && known->best && !known->best->doomed) {
        skep_ping_start(state);
    } else if ((rc = want_connected(host, state, peer, timeout_us)) < 0) {
        drop(state);
    }
    return rc;
}

int skep_host_identify(struct skep_host *host, struct skep_host_request *request,
                       const struct skep_peer_id *peer, uint64_t timeout_us)
{
    struct skep_request_state *state;
    const struct skep_host_peer *known = skep_host_peer_find(host, peer);
    int rc = skep_request_new(host, request, REQUEST_IDENTIFY, timeout_us, &state);

    if (rc < 0)
        return rc;
    request->peer = *peer;
    if (is_self(host, peer))
        skep_request_settle(state, SKEP_ESELF);
    else if (known && known->identify_ended)
        skep_request_settle(state, known->info ? 0 : SKEP_EPEER_UNSUPPORTED);
    else if ((rc = want_connected(host, state, peer, timeout_us)) < 0)
        drop(state);
    return rc;
}

int skep_host_find_peer(struct skep_host *host, struct skep_host_request *request,
                        const struct skep_peer_id *peer, uint64_t timeout_us)
{
    struct skep_request_state *state;
    int rc = skep_request_new(host, request, REQUEST_FIND, timeout_us, &state);

    if (rc < 0)
        return rc;
    request->peer = *peer;
    if (is_self(host, peer))
        skep_request_settle(state, SKEP_ESELF);
    else if ((rc = skep_kad_find(host, peer, state)) < 0)
        drop(state);
    return rc;
}

void skep_host_cancel(struct skep_host *host, struct skep_host_request *request)
{
    (void)host;
    if (request->state)
        drop(request->state);
}
