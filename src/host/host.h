/* SPDX-License-Identifier: MIT */
/* A libp2p host: one identity, its connections, and streams by protocol id over them.
 *
 * Below it: transport (links), negotiate, secure and mux, joined by host/upgrade.c into muxed connections. One connection
 * a peer, whichever side dialled. Streams exist from the moment they are opened: what is written before the peer is
 * even connected waits in the stream. Nothing calls back from inside the call that started it. */
#ifndef SKEP_HOST_H
#define SKEP_HOST_H

#include "base/list.h"
#include "host/stream.h"
#include "peer/address_book.h"
#include "peer/key.h"
#include "transport/transport.h"

struct skep_host;

struct skep_host_options {
    const struct skep_identity *identity; /* borrowed; outlives the host */
    const char *agent;                    /* NULL: "skep/VERSION" */
    bool kad_server;                      /* serve /ipfs/kad/1.0.0 (not in client mode) */
    size_t connections_max;               /* 0: SKEP_CONNECTIONS_MAX; likewise below */
    size_t connections_per_address_max;
    uint64_t idle_us;
    uint64_t dial_timeout_us;
};

int skep_host_new(struct skep_host **out, struct skep_env *env, struct skep_transport *transport,
                  const struct skep_host_options *options);

/** Closes everything: each open stream, dial and search gets its last event with SKEP_ECANCELED, from inside this call. */
void skep_host_free(struct skep_host *host);

/** @return 0, or an error of skep_transport_listen(). */
int skep_host_listen(struct skep_host *host, const struct skep_multiaddr *addr);

/** Addresses to announce instead of those listened on. Call any number of times before or after listen; pushed to connected peers. */
int skep_host_announce(struct skep_host *host, const struct skep_multiaddr *addr);

/** Our visible addresses, with our peer id in them. @return how many there are; up to cap are written. */
size_t skep_host_addresses(const struct skep_host *host, struct skep_multiaddr *out, size_t cap);

const struct skep_identity *skep_host_identity(const struct skep_host *host);
struct skep_env *skep_host_env(const struct skep_host *host);

/* ---- connections ---- */

/** An asynchronous request of the host: a dial, a ping, a search for a peer. Embedded by the caller, zeroed; free again after `done`
 *  or skep_host_cancel(). */
struct skep_host_request {
    void (*done)(struct skep_host_request *request, int rc);
    struct skep_peer_id peer; /* dial: who answered */
    uint64_t rtt_us;          /* ping */
    struct skep_list entry;   /* the host's */
    void *state;              /* the host's */
};

/** Connect to addr (with or without /p2p), or to peer by all we know: an open connection, the address book, the peer that told us of it, kad.
 *  Either may be NULL, not both. `done` gets 0 and request->peer; SKEP_ESELF, SKEP_ETIMEDOUT, SKEP_EREFUSED, SKEP_EUNREACH, SKEP_EPEER_AUTH
 *  (another peer is there), … timeout_us 0: the host's dial timeout. */
int skep_host_connect(struct skep_host *host, struct skep_host_request *request,
                      const struct skep_peer_id *peer, const struct skep_multiaddr *addr,
                      uint64_t timeout_us);

/** libp2p ping over an open or new connection; request->rtt_us. */
int skep_host_ping(struct skep_host *host, struct skep_host_request *request,
                   const struct skep_peer_id *peer, uint64_t timeout_us);

/** Find the addresses of a peer by kad (a.7): asks `via` first where a hint is known, then iteratively; what is found
 *  goes to the address book. `done` gets 0 or SKEP_ENOTFOUND. */
int skep_host_find_peer(struct skep_host *host, struct skep_host_request *request,
                        const struct skep_peer_id *peer, uint64_t timeout_us);

/** Wait until identify of an open or new connection has ended; then skep_host_peer_info() has it. */
int skep_host_identify(struct skep_host *host, struct skep_host_request *request,
                       const struct skep_peer_id *peer, uint64_t timeout_us);

/** No callback follows. */
void skep_host_cancel(struct skep_host *host, struct skep_host_request *request);

/** `peer` was named to us by `via`, which then likely knows its address (a.7, "As a client"). Kept small, forgotten with `via`. */
void skep_host_hint(struct skep_host *host, const struct skep_peer_id *peer,
                    const struct skep_peer_id *via);

void skep_host_add_address(struct skep_host *host, const struct skep_peer_id *peer,
                           const struct skep_multiaddr *addr);

void skep_host_disconnect(struct skep_host *host, const struct skep_peer_id *peer);

/** What a connected peer said of itself; views into the host, good until the next turn of the loop. */
struct skep_peer_info {
    bool identified;
    bool inbound; /* it dialled us */
    skep_bytes agent, protocol_version;
    const char *const *protocols; /* [protocol_count] */
    size_t protocol_count;
    const struct skep_multiaddr *listen_addrs; /* [listen_addr_count] */
    size_t listen_addr_count;
    struct skep_multiaddr observed; /* our address as it sees it */
    struct skep_multiaddr remote;   /* of the socket */
    uint64_t rtt_us;                /* smoothed, 0 unknown */
};

/** @return 0; SKEP_ENOTFOUND: not connected. */
int skep_host_peer_info(const struct skep_host *host, const struct skep_peer_id *peer,
                        struct skep_peer_info *out);

/** Connected peers. @return how many; up to cap are written. */
size_t skep_host_peers(const struct skep_host *host, struct skep_peer_id *out, size_t cap);

/** Called when a peer is connected (first connection) or gone. At most SKEP_HOST_OBSERVERS. */
enum { SKEP_HOST_OBSERVERS = 8 };
typedef void skep_host_observer(void *user, const struct skep_peer_id *peer, bool connected);
int skep_host_observe(struct skep_host *host, skep_host_observer *observer, void *user);
void skep_host_unobserve(struct skep_host *host, skep_host_observer *observer, void *user);

/* ---- streams ---- */

/** Open a stream; see stream.h for its life. It connects first where needed.
 *  @return 0; SKEP_ENOMEM, SKEP_ELIMIT, SKEP_ESELF. */
int skep_host_open(struct skep_host *host, struct skep_stream **out,
                   const struct skep_peer_id *peer, const char *protocol,
                   const struct skep_stream_events *events, void *user);

/** A peer opened a stream of a served protocol: call skep_stream_use() on it before returning, or skep_stream_reset() it. */
typedef void skep_stream_handler(void *user, struct skep_stream *stream);

/** Serve a protocol id. Connected peers are told by identify push. @return 0; SKEP_EEXIST, SKEP_ENOMEM. */
int skep_host_serve(struct skep_host *host, const char *protocol, skep_stream_handler *handler,
                    void *user);
void skep_host_unserve(struct skep_host *host, const char *protocol);

/** Counters of what was dropped or refused, and of the connections. */
struct skep_host_stats {
    uint64_t dials, dials_failed, accepted, refused_accepts, handshakes_failed;
    uint64_t streams_opened, streams_served, streams_refused;
    uint64_t bytes_in, bytes_out;
    uint64_t peer_errors; /* connections ended for a broken rule */
    size_t connections, connections_max;
};
void skep_host_stats(const struct skep_host *host, struct skep_host_stats *out);

#endif
