/* SPDX-License-Identifier: MIT */
/* The byte link seam: ordered bytes to and from one remote address. Real side: uv_tcp.c. Simulated side:
 * sim/sim_link.c, with chosen delay, chunking and loss of connection.
 *
 * Nothing here calls back from inside the call that started it, and after on_closed nothing calls at all. */
#ifndef SKEP_TRANSPORT_H
#define SKEP_TRANSPORT_H

#include "env/env.h"
#include "peer/multiaddr.h"

struct skep_link;
struct skep_listener;
struct skep_transport;

/** What the user of a link is told. `user` is what skep_link_use() set. */
struct skep_link_events {
    /** Only for dialled links: it is connected. Then on_data may follow. */
    void (*on_connected)(struct skep_link *link, void *user);
    /** Room for received bytes: at least 1. Asked right before each read; the bytes arrive by on_data in that room. */
    uint8_t *(*on_room)(struct skep_link *link, void *user, size_t *len);
    /** `len` bytes were written to the start of the last room. The user may change them in place. */
    void (*on_data)(struct skep_link *link, void *user, size_t len);
    /** Everything written so far has left for the OS: the next skep_link_write() may be made. */
    void (*on_drained)(struct skep_link *link, void *user);
    /** The last event: rc 0 the remote closed, SKEP_ELOST, SKEP_EREFUSED, SKEP_EUNREACH, SKEP_ERESOLVE, SKEP_ETIMEDOUT. Not after
     *  skep_link_close(). The link is gone when it returns. */
    void (*on_closed)(struct skep_link *link, void *user, int rc);
};

struct skep_link_ops {
    int (*write)(struct skep_link *link, skep_bytes data);
    void (*set_reading)(struct skep_link *link, bool on);
    void (*close)(struct skep_link *link);
};

struct skep_link {
    const struct skep_link_ops *ops;
    const struct skep_link_events *events;
    void *user;
    struct skep_multiaddr remote; /* the socket's, without a peer */
    struct skep_multiaddr local;
};

static inline void skep_link_use(struct skep_link *link, const struct skep_link_events *events,
                                 void *user)
{
    link->events = events;
    link->user = user;
}

/** Send. Tries to hand the bytes to the OS at once; what does not fit is copied, and on_drained follows.
 *  @return 1: all is gone, write on; 0: wait for on_drained before the next write; < 0: an error, and on_closed follows. */
static inline int skep_link_write(struct skep_link *link, skep_bytes data)
{
    return link->ops->write(link, data);
}

/** Stop or resume on_data: back-pressure on the remote. Links start reading. */
static inline void skep_link_set_reading(struct skep_link *link, bool on)
{
    link->ops->set_reading(link, on);
}

/** Close now; no event follows. What has not left yet is lost. */
static inline void skep_link_close(struct skep_link *link)
{
    link->ops->close(link);
}

/** A new inbound link: call skep_link_use() on it before returning, or close it. */
typedef void skep_accept_cb(void *user, struct skep_link *link);

struct skep_transport_ops {
    int (*dial)(struct skep_transport *transport, struct skep_link **out,
                const struct skep_multiaddr *addr);
    int (*listen)(struct skep_transport *transport, struct skep_listener **out,
                  const struct skep_multiaddr *addr, skep_accept_cb *on_accept, void *user);
    void (*listener_close)(struct skep_listener *listener);
};

struct skep_transport {
    const struct skep_transport_ops *ops;
    struct skep_env *env;
    size_t links_max; /* how many links it can hold at once; 0: no limit known */
};

/** What a listener bound: port 0 became a real one; an address of "any" (0.0.0.0, ::) is expanded to the interfaces' addresses. */
struct skep_listener {
    struct skep_transport *transport;
    struct skep_multiaddr *bound; /* [bound_count] */
    size_t bound_count;
};

/** Start to connect; the events tell how it went. The caller sets events by skep_link_use() right after.
 *  @return 0; SKEP_EINVAL (a kind of address this transport cannot dial), SKEP_ENOMEM, SKEP_ESYSTEM. */
static inline int skep_transport_dial(struct skep_transport *transport, struct skep_link **out,
                                      const struct skep_multiaddr *addr)
{
    return transport->ops->dial(transport, out, addr);
}

/** @return 0; SKEP_EADDRINUSE, SKEP_EINVAL, SKEP_ESYSTEM, SKEP_ENOMEM. */
static inline int skep_transport_listen(struct skep_transport *transport,
                                        struct skep_listener **out,
                                        const struct skep_multiaddr *addr,
                                        skep_accept_cb *on_accept, void *user)
{
    return transport->ops->listen(transport, out, addr, on_accept, user);
}

static inline void skep_listener_close(struct skep_listener *listener)
{
    listener->transport->ops->listener_close(listener);
}

#endif
