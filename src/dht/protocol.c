/* SPDX-License-Identifier: MIT */
#include "dht/protocol.h"

#include "dht/node_internal.h"

static void on_reply(struct skep_rpc_call *call, int rc, skep_bytes reply);

static int send_now(struct skep_dht_request *request, skep_bytes message)
{
    struct skep_dht *dht = request->dht;
    int rc;

    request->call.done = on_reply;
    rc = skep_rpc_call_start(dht->rpc, &request->call, &request->peer, request->method, message,
                             dht->options.wait_timeout_us);
    if (rc < 0)
        return rc;
    skep_list_push_back(&dht->running, &request->entry);
    dht->in_flight++;
    dht->stats.requests_out++;
    return 0;
}

static bool at_limit(const struct skep_dht *dht)
{
    return dht->options.parallel_rpc > 0 && dht->in_flight >= dht->options.parallel_rpc;
}

/* Somebody ended: the first in line may go. One that cannot even start has failed like any other. */
static void send_waiting(struct skep_dht *dht)
{
    while (!at_limit(dht) && !skep_list_empty(&dht->waiting)) {
        struct skep_dht_request *request =
            SKEP_LIST_ITEM(dht->waiting.next, struct skep_dht_request, entry);
        uint8_t *message = request->message;
        int rc;

        skep_list_remove(&request->entry);
        request->message = NULL;
        rc = send_now(request, skep_bytes_of(message, request->message_len));
        skep_mem_free(dht->mem, message);
        if (rc < 0) {
            request->running = false;
            request->done(request, rc, (skep_bytes){0});
        } else if (request->sent) {
            request->sent(request);
        }
    }
}

static void on_line(struct skep_timer *timer)
{
    send_waiting(SKEP_CONTAINER_OF(timer, struct skep_dht, line_timer));
}

void skep_dht_requests_init(struct skep_dht *dht)
{
    skep_list_init(&dht->running);
    skep_list_init(&dht->waiting);
    dht->line_timer.fire = on_line;
}

void skep_dht_requests_fini(struct skep_dht *dht)
{
    skep_env_stop(dht->env, &dht->line_timer);
    assert(skep_list_empty(&dht->running) && skep_list_empty(&dht->waiting));
}

static void on_reply(struct skep_rpc_call *call, int rc, skep_bytes reply)
{
    struct skep_dht_request *request = SKEP_CONTAINER_OF(call, struct skep_dht_request, call);
    struct skep_dht *dht = request->dht;

    skep_list_remove(&request->entry);
    request->running = false;
    dht->in_flight--;
    if (rc < 0)
        dht->stats.requests_failed++;
    request->done(request, rc, reply);
    if (!skep_list_empty(&dht->waiting))
        send_waiting(dht);
}

int skep_dht_request_start(struct skep_dht *dht, struct skep_dht_request *request,
                           const struct skep_peer_id *peer, const char *method, skep_bytes message)
{
    int rc;

    request->dht = dht;
    request->peer = *peer;
    request->method = method;
    if (at_limit(dht)) {
        request->message = skep_mem_dup(dht->mem, message.data, message.len);
        request->message_len = message.len;
        rc = request->message ? 0 : SKEP_ENOMEM;
        if (rc == 0)
            skep_list_push_back(&dht->waiting, &request->entry);
    } else {
        rc = send_now(request, message);
    }
    request->running = rc == 0;
    return rc;
}

void skep_dht_request_cancel(struct skep_dht_request *request)
{
    struct skep_dht *dht = request->dht;

    if (!request->running)
        return;
    request->running = false;
    skep_list_remove(&request->entry);
    if (request->message) {
        skep_mem_free(dht->mem, request->message);
        request->message = NULL;
        return;
    }
    dht->in_flight--;
    skep_rpc_call_cancel(dht->rpc, &request->call);
    /* Its place is free, and if it was the last no answer will come to say so. On the next turn, since nothing calls back from here. */
    if (!skep_list_empty(&dht->waiting) && !skep_timer_running(&dht->line_timer))
        (void)skep_env_after(dht->env, &dht->line_timer, 0);
}

static void on_pong(struct skep_dht_request *request, int rc, skep_bytes reply)
{
    struct skep_dht_ping *ping = SKEP_CONTAINER_OF(request, struct skep_dht_ping, request);
    struct skep_dht *dht = request->dht;
    struct skep_dht_ping_response response;

    if (rc == 0 && (rc = skep_dht_ping_response_decode(&response, reply)) < 0)
        dht->stats.bad_messages++;
    if (rc == 0 && !response.sender.has_id)
        rc = SKEP_EPEER_PROTO; /* a node in client mode is no node to us */
    if (rc == 0)
        skep_dht_met(dht, &response.sender.id, &request->peer);
    else
        skep_dht_failed(dht, &request->peer, rc);
    ping->done(ping, rc, rc == 0 ? &response : NULL);
}

int skep_dht_ping_start(struct skep_dht *dht, struct skep_dht_ping *ping,
                        const struct skep_peer_id *peer, bool validate)
{
    skep_buf_clear(&dht->message);
    skep_dht_ping_request_encode(&dht->message, dht->told_id, validate);
    if (dht->message.rc < 0)
        return dht->message.rc;
    ping->request.done = on_pong;
    ping->sent_unix_s = skep_env_unix_s(dht->env);
    return skep_dht_request_start(dht, &ping->request, peer, SKEP_DHT_RPC_PING,
                                  skep_buf_view(&dht->message));
}
