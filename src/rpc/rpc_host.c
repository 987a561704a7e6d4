/* SPDX-License-Identifier: MIT */
/* One rpc over one host: what all calls share. Peers' bookkeeping, method names, dialling, the vtable.
 * Calls are in unary.c, requests in unary_serve.c, streaming calls in stream.c. */
#include "rpc/rpc_internal.h"

/* ---- peers ---- */

static void drop_peer(struct rpc_host *rpc, struct rpc_peer *peer)
{
    skep_list_remove(&peer->idle);
    HASH_DEL(rpc->peers, peer);
    skep_mem_free(rpc->base.env->mem, peer);
}

struct rpc_peer *skep_rpc_peer_get(struct rpc_host *rpc, const struct skep_peer_id *id)
{
    struct rpc_peer *peer;

    HASH_FIND(hh, rpc->peers, id, sizeof *id, peer);
    if (peer) {
        if (peer->refs++ == 0) {
            skep_list_remove(&peer->idle);
            rpc->idle_count--;
        }
        return peer;
    }
    if (!(peer = skep_mem_zalloc(rpc->base.env->mem, 1, sizeof *peer)))
        return NULL;
    peer->id = *id;
    peer->refs = 1;
    skep_list_init(&peer->calls);
    skep_list_init(&peer->queued);
    skep_list_init(&peer->idle);
    HASH_ADD(hh, rpc->peers, id, sizeof peer->id, peer);
    if (!peer->hh.tbl) {
        skep_mem_free(rpc->base.env->mem, peer);
        return NULL;
    }
    return peer;
}

void skep_rpc_peer_put(struct rpc_host *rpc, struct rpc_peer *peer)
{
    if (--peer->refs > 0)
        return;
    skep_list_push_back(&rpc->idle_peers, &peer->idle);
    if (rpc->idle_count < SKEP_RPC_IDLE_PEERS)
        rpc->idle_count++;
    else
        drop_peer(rpc, SKEP_LIST_ITEM(rpc->idle_peers.next, struct rpc_peer, idle));
}

bool skep_rpc_count_held(struct rpc_host *rpc, struct rpc_peer *peer, size_t *counted, size_t now)
{
    bool grew = now > *counted;

    peer->held += now - *counted;
    rpc->held += now - *counted;
    *counted = now;
    if (!grew || rpc->held <= SKEP_REQUEST_BYTES_MAX / 2)
        return true;
    return rpc->held <= SKEP_REQUEST_BYTES_MAX && peer->held <= SKEP_REQUEST_BYTES_MAX / 4;
}

/* ---- methods ---- */

struct rpc_method *skep_rpc_method_find(struct rpc_host *rpc, const char *name)
{
    struct rpc_method *method;

    if (rpc->last_method && strcmp(rpc->last_method->name, name) == 0)
        return rpc->last_method;
    HASH_FIND(hh, rpc->methods, name, strlen(name), method);
    return method;
}

/* Names are kept for the life of the rpc: a stream that ends later still points to its own. */
struct rpc_method *skep_rpc_method_get(struct rpc_host *rpc, const char *name)
{
    struct rpc_method *method = skep_rpc_method_find(rpc, name);
    size_t len = strlen(name);

    if (!method) {
        if (!(method = skep_mem_zalloc(rpc->base.env->mem, 1, sizeof *method + len + 1)))
            return NULL;
        method->name_len = len;
        method->rpc = rpc;
        memcpy(method->name, name, len + 1);
        skep_list_init(&method->inbound);
        HASH_ADD_KEYPTR(hh, rpc->methods, method->name, len, method);
        if (!method->hh.tbl) {
            skep_mem_free(rpc->base.env->mem, method);
            return NULL;
        }
    }
    rpc->last_method = method;
    return method;
}

static void unserve(struct skep_rpc *base, const char *name)
{
    struct rpc_host *rpc = rpc_host_of(base);
    struct rpc_method *method = skep_rpc_method_find(rpc, name);

    if (!method)
        return;
    if (method->handler)
        skep_rpc_unary_unserve(rpc, method);
    else if (method->stream_handler)
        skep_rpc_stream_unserve(rpc, method);
}

int skep_rpc_write(struct skep_stream *stream, const uint8_t *head, size_t head_len,
                   skep_bytes body)
{
    uint8_t whole[SKEP_ENVELOPE_HEAD_MAX + RPC_SMALL_BODY];
    int rc;

    if (body.len <= RPC_SMALL_BODY && head_len <= SKEP_ENVELOPE_HEAD_MAX) {
        memcpy(whole, head, head_len);
        skep_bytes_copy(whole + head_len, body);
        return skep_stream_write(stream, skep_bytes_of(whole, head_len + body.len));
    }
    rc = skep_stream_write(stream, skep_bytes_of(head, head_len));
    return rc < 0 ? rc : skep_stream_write(stream, body);
}

/* ---- dialling ---- */

struct dial {
    struct skep_host_request request;
    struct skep_rpc_dial *user;
    struct rpc_host *rpc;
    struct skep_list entry;
};

static void dial_release(struct dial *dial)
{
    dial->user->state = NULL;
    skep_list_remove(&dial->entry);
    skep_mem_free(dial->rpc->base.env->mem, dial);
}

static void on_dialled(struct skep_host_request *request, int rc)
{
    struct dial *dial = SKEP_CONTAINER_OF(request, struct dial, request);
    struct skep_rpc_dial *user = dial->user;
    struct skep_peer_id peer = request->peer;

    dial_release(dial);
    user->done(user, rc, &peer);
}

static int dial_start(struct skep_rpc *base, struct skep_rpc_dial *user, const char *maddr,
                      uint64_t timeout_us)
{
    struct rpc_host *rpc = rpc_host_of(base);
    struct skep_multiaddr addr;
    struct dial *dial;
    int rc = skep_multiaddr_parse(&addr, maddr);

    if (rc < 0)
        return rc;
    if (!(dial = skep_mem_zalloc(base->env->mem, 1, sizeof *dial)))
        return SKEP_ENOMEM;
    dial->request.done = on_dialled;
    dial->user = user;
    dial->rpc = rpc;
    skep_list_push_back(&rpc->dials, &dial->entry);
    user->state = dial;
    rc = skep_host_connect(rpc->host, &dial->request, addr.peer.len > 0 ? &addr.peer : NULL, &addr,
                           timeout_us);
    if (rc < 0)
        dial_release(dial);
    return rc;
}

static void dial_cancel(struct skep_rpc *base, struct skep_rpc_dial *user)
{
    struct dial *dial = user->state;

    if (!dial)
        return;
    skep_host_cancel(rpc_host_of(base)->host, &dial->request);
    dial_release(dial);
}

static void hint(struct skep_rpc *base, const struct skep_peer_id *peer,
                 const struct skep_peer_id *via)
{
    skep_host_hint(rpc_host_of(base)->host, peer, via);
}

static uint64_t rtt_us(struct skep_rpc *base, const struct skep_peer_id *peer)
{
    struct skep_peer_info info;

    return skep_host_peer_info(rpc_host_of(base)->host, peer, &info) == 0 ? info.rtt_us : 0;
}

/* ---- life ---- */

static const struct skep_rpc_ops host_ops = {
    .call = skep_rpc_unary_call,
    .cancel = skep_rpc_unary_cancel,
    .serve = skep_rpc_unary_serve,
    .unserve = unserve,
    .reply = skep_rpc_unary_reply,
    .fail = skep_rpc_unary_fail,
    .stream_open = skep_rpc_stream_open,
    .stream_serve = skep_rpc_stream_serve,
    .stream_use = skep_rpc_stream_use,
    .stream_send = skep_rpc_stream_send,
    .stream_end = skep_rpc_stream_end,
    .stream_fail = skep_rpc_stream_fail,
    .stream_consume = skep_rpc_stream_consume,
    .stream_pause = skep_rpc_stream_pause,
    .stream_cancel = skep_rpc_stream_cancel,
    .stream_queued = skep_rpc_stream_queued,
    .dial = dial_start,
    .dial_cancel = dial_cancel,
    .hint = hint,
    .rtt_us = rtt_us,
};

int skep_rpc_host_new(struct skep_rpc **out, struct skep_env *env, struct skep_host *host)
{
    struct rpc_host *rpc = skep_mem_zalloc(env->mem, 1, sizeof *rpc);

    *out = NULL;
    if (!rpc)
        return SKEP_ENOMEM;
    rpc->base.ops = &host_ops;
    rpc->base.env = env;
    rpc->base.self = skep_host_identity(host)->id;
    rpc->host = host;
    rpc->call_id_base = skep_env_random(env);
    skep_list_init(&rpc->idle_peers);
    skep_list_init(&rpc->free_calls);
    skep_list_init(&rpc->free_inbound);
    skep_list_init(&rpc->receiving);
    skep_list_init(&rpc->running);
    skep_list_init(&rpc->streams);
    skep_list_init(&rpc->dials);
    skep_list_init(&rpc->failed);
    rpc->failed_timer.fire = skep_rpc_unary_on_failed;
    rpc->receiving_timer.fire = skep_rpc_unary_on_receiving;
    *out = &rpc->base;
    return 0;
}

void skep_rpc_host_free(struct skep_rpc *base)
{
    struct rpc_host *rpc;
    struct rpc_method *method, *next_method;
    struct rpc_peer *peer, *next_peer;

    if (!base)
        return;
    rpc = rpc_host_of(base);
    rpc->closing = true;
    SKEP_LIST_EACH(&rpc->dials, node, after)
    {
        struct dial *dial = SKEP_LIST_ITEM(node, struct dial, entry);

        skep_host_cancel(rpc->host, &dial->request);
        on_dialled(&dial->request, SKEP_ECANCELED);
    }
    skep_rpc_unary_close(rpc);
    skep_rpc_unary_serve_close(rpc);
    skep_rpc_stream_close(rpc);
    HASH_ITER(hh, rpc->methods, method, next_method)
    {
        if (method->handler || method->stream_handler)
            skep_host_unserve(rpc->host, method->name);
        HASH_DEL(rpc->methods, method);
        skep_mem_free(base->env->mem, method);
    }
    HASH_ITER(hh, rpc->peers, peer, next_peer)
    drop_peer(rpc, peer);
    skep_env_stop(base->env, &rpc->failed_timer);
    skep_env_stop(base->env, &rpc->receiving_timer);
    skep_mem_free(base->env->mem, rpc);
}

void skep_rpc_host_stats(const struct skep_rpc *rpc, struct skep_rpc_host_stats *out)
{
    *out = ((const struct rpc_host *)(const void *)rpc)->stats;
}
