/* SPDX-License-Identifier: MIT */
/* Requests to other nodes: at most `parallel_rpc` at once, each with the node's timeout. docs/wire.md c.2; hivemind dht/protocol.py.
 * Left out: what the answers mean (traverse.c, store.c, join.c), and the other side (serve.c). */
#ifndef SKEP_DHT_PROTOCOL_H
#define SKEP_DHT_PROTOCOL_H

#include "base/list.h"
#include "dht/message.h"
#include "rpc/rpc.h"

struct skep_dht;

#define SKEP_DHT_RPC_PING "DHTProtocol.rpc_ping"
#define SKEP_DHT_RPC_STORE "DHTProtocol.rpc_store"
#define SKEP_DHT_RPC_FIND "DHTProtocol.rpc_find"

/* skep's own field of FindRequest, a varint, written first: "leave the nearest nodes out of results that are found". hivemind skips it as unknown. */
enum { SKEP_DHT_FIND_TERSE_FIELD = 100 };

/** Embedded by the caller, zeroed. */
struct skep_dht_request {
    struct skep_rpc_call call;
    struct skep_list entry; /* of dht->running or dht->waiting */
    struct skep_dht *dht;
    bool running;
    struct skep_peer_id peer;
    const char *method;
    uint8_t *message; /* while it waits for others to end */
    size_t message_len;
    void (*sent)(
        struct skep_dht_request *
            request); /* its turn in the line has come; not called where there was no line. May be NULL */
    void (*done)(struct skep_dht_request *request, int rc, skep_bytes reply);
};

void skep_dht_requests_init(struct skep_dht *dht);
/** When all have ended. */
void skep_dht_requests_fini(struct skep_dht *dht);

/** @return 0, and `done` follows exactly once unless cancelled, never from inside; or an error of skep_rpc_call_start(). */
int skep_dht_request_start(struct skep_dht *dht, struct skep_dht_request *request,
                           const struct skep_peer_id *peer, const char *method, skep_bytes message);
/** Does it stand in line, because there are parallel_rpc others? */
static inline bool skep_dht_request_waits(const struct skep_dht_request *request)
{
    return request->message != NULL;
}

/** Harmless when it does not run. */
void skep_dht_request_cancel(struct skep_dht_request *request);

/** rpc_ping. The answer puts the node into the table, a failure takes it out. */
struct skep_dht_ping {
    struct skep_dht_request request;
    double sent_unix_s;
    /** rc 0: `response` is set and has a node id. */
    void (*done)(struct skep_dht_ping *ping, int rc, const struct skep_dht_ping_response *response);
};

int skep_dht_ping_start(struct skep_dht *dht, struct skep_dht_ping *ping,
                        const struct skep_peer_id *peer, bool validate);

#endif
