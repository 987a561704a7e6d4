/* SPDX-License-Identifier: MIT */
/* Byte links over TCP: the real side of transport.h, on libuv.
 *
 * Reads go straight into the user's room. Writes are tried at once; only what the socket does not take is copied. A name is
 * resolved by the system's resolver in the thread pool and its addresses are tried in the order it gives. Left out: listening on
 * a name, anything but TCP. */
#include "transport/uv_impl.h"

#include <netinet/in.h>

enum { ACCEPT_BACKLOG = 1024, KEEPALIVE_S = 60, PORT_TEXT_LEN = 8 };

struct tcp_link {
    struct skep_link link;
    struct skep_uv_loop *loop;
    uv_tcp_t handle;
    union { /* one after the other in a link's life */
        uv_getaddrinfo_t resolve;
        uv_connect_t connect;
        uv_write_t write;
    } request;
    uint8_t *unsent;             /* the copy that `request.write` sends, or NULL */
    struct addrinfo *found;      /* what the resolver gave */
    struct addrinfo *next_found; /* to be tried if this one fails */
    bool resolving, connected, paused;
    bool closing; /* uv_close was called, or will be once the resolver is back */
    bool silent;  /* the user has closed it: no event */
    int rc;       /* what on_closed will say */
};

static struct tcp_link *of_link(struct skep_link *link)
{
    return SKEP_CONTAINER_OF(link, struct tcp_link, link);
}

static int rc_of_uv(int status)
{
    switch (status) {
    case UV_ECONNREFUSED: return SKEP_EREFUSED;
    case UV_ETIMEDOUT: return SKEP_ETIMEDOUT;
    case UV_EADDRINUSE: return SKEP_EADDRINUSE;
    case UV_ENOMEM: return SKEP_ENOMEM;
    case UV_EMFILE:
    case UV_ENFILE:
    case UV_EACCES:
    case UV_EADDRNOTAVAIL: return SKEP_ESYSTEM;
    case UV_EINVAL:
    case UV_ENETUNREACH:
    case UV_EHOSTUNREACH: return SKEP_EUNREACH;
    case UV_EOF: return 0;
    default: return SKEP_ELOST;
    }
}

/* ---- addresses ---- */

static int to_sockaddr(struct sockaddr_storage *out, const struct skep_multiaddr *addr)
{
    memset(out, 0, sizeof *out);
    if (addr->kind == SKEP_ADDR_IP4) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(addr->port)};

        memcpy(&in.sin_addr, addr->ip, 4);
        memcpy(out, &in, sizeof in);
        return 0;
    }
    if (addr->kind == SKEP_ADDR_IP6) {
        struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(addr->port)};

        memcpy(&in.sin6_addr, addr->ip, 16);
        memcpy(out, &in, sizeof in);
        return 0;
    }
    return SKEP_EINVAL;
}

static void from_sockaddr(struct skep_multiaddr *out, const struct sockaddr *from)
{
    memset(out, 0, sizeof *out);
    if (from->sa_family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, from, sizeof in);
        out->kind = SKEP_ADDR_IP4;
        memcpy(out->ip, &in.sin_addr, 4);
        out->port = ntohs(in.sin_port);
    } else if (from->sa_family == AF_INET6) {
        struct sockaddr_in6 in;

        memcpy(&in, from, sizeof in);
        out->kind = SKEP_ADDR_IP6;
        memcpy(out->ip, &in.sin6_addr, 16);
        out->port = ntohs(in.sin6_port);
    }
}

static void read_names(struct tcp_link *tcp)
{
    struct sockaddr_storage name;
    int len = sizeof name;

    memset(&name, 0, sizeof name);
    if (uv_tcp_getpeername(&tcp->handle, (struct sockaddr *)&name, &len) == 0)
        from_sockaddr(&tcp->link.remote, (const struct sockaddr *)&name);
    len = sizeof name;
    if (uv_tcp_getsockname(&tcp->handle, (struct sockaddr *)&name, &len) == 0)
        from_sockaddr(&tcp->link.local, (const struct sockaddr *)&name);
}

/* ---- the end of a link ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct tcp_link *tcp = handle->data;

    if (!tcp->silent)
        tcp->link.events->on_closed(&tcp->link, tcp->link.user, tcp->rc);
    skep_mem_free(tcp->loop->env.mem, tcp->unsent);
    uv_freeaddrinfo(tcp->found);
    skep_mem_free(tcp->loop->env.mem, tcp);
}

static void close_link(struct tcp_link *tcp, int rc)
{
    if (tcp->closing)
        return;
    tcp->closing = true;
    tcp->rc = rc;
    /* The resolver's callback needs the struct: it goes on from there. */
    if (tcp->resolving)
        uv_cancel((uv_req_t *)&tcp->request.resolve);
    else if (!uv_is_closing((uv_handle_t *)&tcp->handle))
        uv_close((uv_handle_t *)&tcp->handle, on_handle_closed);
}

static void tcp_close(struct skep_link *link)
{
    struct tcp_link *tcp = of_link(link);

    tcp->silent = true;
    close_link(tcp, 0);
}

/* ---- reading and writing ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct tcp_link *tcp = handle->data;
    size_t len = 0;

    (void)suggested;
    buf->base = (char *)tcp->link.events->on_room(&tcp->link, tcp->link.user, &len);
    buf->len = len;
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    struct tcp_link *tcp = stream->data;

    (void)buf;
    if (got > 0)
        tcp->link.events->on_data(&tcp->link, tcp->link.user, (size_t)got);
    else if (got < 0)
        close_link(tcp, rc_of_uv((int)got));
}

static void set_reading(struct skep_link *link, bool on)
{
    struct tcp_link *tcp = of_link(link);

    tcp->paused = !on;
    if (tcp->closing || !tcp->connected)
        return;
    if (on)
        uv_read_start((uv_stream_t *)&tcp->handle, on_alloc, on_read);
    else
        uv_read_stop((uv_stream_t *)&tcp->handle);
}

static void on_written(uv_write_t *request, int status)
{
    struct tcp_link *tcp = request->handle->data;

    skep_mem_free(tcp->loop->env.mem, tcp->unsent);
    tcp->unsent = NULL;
    if (tcp->closing)
        return;
    if (status < 0)
        close_link(tcp, rc_of_uv(status));
    else
        tcp->link.events->on_drained(&tcp->link, tcp->link.user);
}

static int write_rest(struct tcp_link *tcp, skep_bytes data)
{
    uv_buf_t buf;
    int status;

    tcp->unsent = skep_mem_dup(tcp->loop->env.mem, data.data, data.len);
    if (!tcp->unsent) {
        close_link(tcp, SKEP_ENOMEM);
        return SKEP_ENOMEM;
    }
    buf = uv_buf_init((char *)tcp->unsent, (unsigned)data.len);
    status = uv_write(&tcp->request.write, (uv_stream_t *)&tcp->handle, &buf, 1, on_written);
    if (status < 0) {
        close_link(tcp, rc_of_uv(status));
        return tcp->rc;
    }
    return 0;
}

static int tcp_write(struct skep_link *link, skep_bytes data)
{
    struct tcp_link *tcp = of_link(link);
    uv_buf_t buf;
    int sent;

    if (tcp->closing)
        return SKEP_ELOST;
    assert(tcp->connected && !tcp->unsent);
    /* libuv does not write through a const pointer; its type only cannot say so. */
    buf.base = (char *)(uintptr_t)data.data;
    buf.len = data.len;
    sent = uv_try_write((uv_stream_t *)&tcp->handle, &buf, 1);
    if (sent < 0 && sent != UV_EAGAIN) {
        close_link(tcp, rc_of_uv(sent));
        return SKEP_ELOST;
    }
    if (sent > 0)
        skep_bytes_take(&data, (size_t)sent);
    return data.len == 0 ? 1 : write_rest(tcp, data);
}

static const struct skep_link_ops link_ops = {tcp_write, set_reading, tcp_close};

static struct tcp_link *link_new(struct skep_uv_loop *loop)
{
    struct tcp_link *tcp = skep_mem_zalloc(loop->env.mem, 1, sizeof *tcp);

    if (!tcp)
        return NULL;
    tcp->link.ops = &link_ops;
    tcp->loop = loop;
    uv_tcp_init(&loop->uv, &tcp->handle);
    tcp->handle.data = tcp;
    return tcp;
}

static void set_connected(struct tcp_link *tcp)
{
    tcp->connected = true;
    uv_tcp_nodelay(&tcp->handle, 1);
    uv_tcp_keepalive(&tcp->handle, 1, KEEPALIVE_S);
    read_names(tcp);
}

static void start_reading(struct tcp_link *tcp)
{
    if (!tcp->closing && !tcp->paused)
        uv_read_start((uv_stream_t *)&tcp->handle, on_alloc, on_read);
}

/* ---- dialling ---- */

static void on_connect(uv_connect_t *request, int status);

static void connect_to(struct tcp_link *tcp, const struct sockaddr *to)
{
    int status = uv_tcp_connect(&tcp->request.connect, &tcp->handle, to, on_connect);

    if (status < 0)
        close_link(tcp, rc_of_uv(status));
}

/* A libuv handle that failed to connect cannot be used again: it is closed and made anew for the next address. */
static void on_closed_for_next(uv_handle_t *handle)
{
    struct tcp_link *tcp = handle->data;
    struct addrinfo *to = tcp->next_found;

    if (tcp->closing) {
        on_handle_closed(handle);
        return;
    }
    tcp->next_found = to->ai_next;
    uv_tcp_init(&tcp->loop->uv, &tcp->handle);
    tcp->handle.data = tcp;
    from_sockaddr(&tcp->link.remote, to->ai_addr);
    connect_to(tcp, to->ai_addr);
}

static void on_connect(uv_connect_t *request, int status)
{
    struct tcp_link *tcp = request->handle->data;

    if (tcp->closing || status == UV_ECANCELED)
        return;
    if (status < 0 && tcp->next_found) {
        uv_close((uv_handle_t *)&tcp->handle, on_closed_for_next);
        return;
    }
    if (status < 0) {
        close_link(tcp, rc_of_uv(status));
        return;
    }
    set_connected(tcp);
    tcp->link.events->on_connected(&tcp->link, tcp->link.user);
    start_reading(tcp);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct tcp_link *tcp = SKEP_CONTAINER_OF(request, struct tcp_link, request.resolve);

    tcp->resolving = false;
    tcp->found = found;
    if (tcp->closing || status < 0 || !found) {
        tcp->rc = tcp->closing ? tcp->rc : SKEP_ERESOLVE;
        tcp->closing = true;
        uv_close((uv_handle_t *)&tcp->handle, on_handle_closed);
        return;
    }
    tcp->next_found = found->ai_next;
    from_sockaddr(&tcp->link.remote, found->ai_addr);
    connect_to(tcp, found->ai_addr);
}

static int start_resolving(struct tcp_link *tcp, const struct skep_multiaddr *addr)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    char port[PORT_TEXT_LEN];

    hints.ai_family = addr->kind == SKEP_ADDR_DNS4   ? AF_INET
                      : addr->kind == SKEP_ADDR_DNS6 ? AF_INET6
                                                     : AF_UNSPEC;
    snprintf(port, sizeof port, "%u", addr->port);
    if (uv_getaddrinfo(&tcp->loop->uv, &tcp->request.resolve, on_resolved, addr->name, port,
                       &hints) != 0)
        return SKEP_ESYSTEM;
    tcp->resolving = true;
    return 0;
}

static int tcp_dial(struct skep_transport *transport, struct skep_link **out,
                    const struct skep_multiaddr *addr)
{
    struct skep_uv_loop *loop = SKEP_CONTAINER_OF(transport, struct skep_uv_loop, transport);
    struct tcp_link *tcp = link_new(loop);
    struct sockaddr_storage to;
    int rc = 0;

    *out = NULL;
    if (!tcp)
        return SKEP_ENOMEM;
    tcp->link.remote = *addr;
    tcp->link.remote.peer.len = 0;
    if (to_sockaddr(&to, addr) == 0)
        connect_to(tcp, (const struct sockaddr *)&to);
    else
        rc = start_resolving(tcp, addr);
    if (rc < 0)
        tcp_close(&tcp->link);
    else
        *out = &tcp->link;
    return rc;
}

/* ---- listening ---- */

struct tcp_listener {
    struct skep_listener listener;
    struct skep_uv_loop *loop;
    uv_tcp_t handle;
    skep_accept_cb *on_accept;
    void *user;
};

static void on_listener_closed(uv_handle_t *handle)
{
    struct tcp_listener *tcp = handle->data;

    skep_mem_free(tcp->loop->env.mem, tcp->listener.bound);
    skep_mem_free(tcp->loop->env.mem, tcp);
}

static void listener_close(struct skep_listener *listener)
{
    struct tcp_listener *tcp = SKEP_CONTAINER_OF(listener, struct tcp_listener, listener);

    uv_close((uv_handle_t *)&tcp->handle, on_listener_closed);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct tcp_listener *listener = server->data;
    struct tcp_link *tcp = status == 0 ? link_new(listener->loop) : NULL;

    if (!tcp)
        return;
    if (uv_accept(server, (uv_stream_t *)&tcp->handle) != 0) {
        tcp_close(&tcp->link);
        return;
    }
    set_connected(tcp);
    listener->on_accept(listener->user, &tcp->link);
    assert(tcp->closing || tcp->link.events);
    start_reading(tcp);
}

/** The addresses of this machine's interfaces of one family, for a socket bound to "any". */
static int expand_any(struct tcp_listener *tcp, const struct skep_multiaddr *bound)
{
    uv_interface_address_t *interfaces;
    int count, family = bound->kind == SKEP_ADDR_IP4 ? AF_INET : AF_INET6;

    if (uv_interface_addresses(&interfaces, &count) != 0)
        return SKEP_ESYSTEM;
    tcp->listener.bound = skep_mem_zalloc(tcp->loop->env.mem, (size_t)count + 1, sizeof *bound);
    for (int i = 0; tcp->listener.bound && i < count; i++) {
        const struct sockaddr *address = (const struct sockaddr *)&interfaces[i].address;
        struct skep_multiaddr *one = &tcp->listener.bound[tcp->listener.bound_count];

        if (address->sa_family != family)
            continue;
        from_sockaddr(one, address);
        /* fe80::/10 means nothing without its interface */
        if (family == AF_INET6 && one->ip[0] == 0xfe && (one->ip[1] & 0xc0) == 0x80)
            continue;
        one->port = bound->port;
        tcp->listener.bound_count++;
    }
    uv_free_interface_addresses(interfaces, count);
    return tcp->listener.bound ? 0 : SKEP_ENOMEM;
}

static int read_bound(struct tcp_listener *tcp)
{
    static const uint8_t any[16];
    struct sockaddr_storage name;
    struct skep_multiaddr bound;
    int len = sizeof name;

    if (uv_tcp_getsockname(&tcp->handle, (struct sockaddr *)&name, &len) != 0)
        return SKEP_ESYSTEM;
    from_sockaddr(&bound, (const struct sockaddr *)&name);
    if (memcmp(bound.ip, any, sizeof any) == 0)
        return expand_any(tcp, &bound);
    tcp->listener.bound = skep_mem_dup(tcp->loop->env.mem, &bound, sizeof bound);
    tcp->listener.bound_count = 1;
    return tcp->listener.bound ? 0 : SKEP_ENOMEM;
}

static int tcp_listen(struct skep_transport *transport, struct skep_listener **out,
                      const struct skep_multiaddr *addr, skep_accept_cb *on_accept, void *user)
{
    struct skep_uv_loop *loop = SKEP_CONTAINER_OF(transport, struct skep_uv_loop, transport);
    struct sockaddr_storage at;
    struct tcp_listener *tcp;
    int rc, status;

    *out = NULL;
    if (to_sockaddr(&at, addr) < 0)
        return SKEP_EINVAL;
    tcp = skep_mem_zalloc(loop->env.mem, 1, sizeof *tcp);
    if (!tcp)
        return SKEP_ENOMEM;
    tcp->listener.transport = transport;
    tcp->loop = loop;
    tcp->on_accept = on_accept;
    tcp->user = user;
    uv_tcp_init(&loop->uv, &tcp->handle);
    tcp->handle.data = tcp;
    status = uv_tcp_bind(&tcp->handle, (const struct sockaddr *)&at,
                         addr->kind == SKEP_ADDR_IP6 ? UV_TCP_IPV6ONLY : 0);
    if (status == 0)
        status = uv_listen((uv_stream_t *)&tcp->handle, ACCEPT_BACKLOG, on_connection);
    rc = status == 0 ? read_bound(tcp) : status == UV_EADDRINUSE ? SKEP_EADDRINUSE : SKEP_ESYSTEM;
    if (rc < 0)
        listener_close(&tcp->listener);
    else
        *out = &tcp->listener;
    return rc;
}

static const struct skep_transport_ops transport_ops = {tcp_dial, tcp_listen, listener_close};

void skep_uv_tcp_init(struct skep_uv_loop *loop)
{
    loop->transport = (struct skep_transport){.ops = &transport_ops, .env = &loop->env};
}
