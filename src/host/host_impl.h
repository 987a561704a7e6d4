/* SPDX-License-Identifier: MIT */
/* The structs of a host and what its files offer each other. Nothing outside this folder includes it.
 *
 *   host ── peers ── connections ── streams      a peer exists while it has a connection, a dial or somebody waiting for it
 *     │       └───── dial ── attempts (connections not yet open)
 *     └── requests (what callers asked for: connect, ping, find, identify)
 *
 * Who may free what: a connection is ended only from the top of an event (a link's, a timer's, skep_host_free()), never from
 * inside a call of the user; skep_conn_doom() asks for that. */
#ifndef SKEP_HOST_IMPL_H
#define SKEP_HOST_IMPL_H

#include "base/limits.h"
#include "base/list.h"
#include "base/map.h"
#include "base/pb.h"
#include "crypto/hash.h"
#include "host/host.h"
#include "mux/yamux_session.h"
#include "negotiate/multistream.h"
#include "secure/noise.h"

#define SKEP_ADDRESS_TTL_US                                                                        \
    UINT64_C(3600000000) /* of addresses a peer has told of itself, or where it was reached */

#define SKEP_PROTO_IDENTIFY "/ipfs/id/1.0.0"
#define SKEP_PROTO_PUSH "/ipfs/id/push/1.0.0"
#define SKEP_PROTO_PING "/ipfs/ping/1.0.0"
#define SKEP_PROTO_KAD "/ipfs/kad/1.0.0"

enum {
    SKEP_HOST_READ_BYTES =
        256 << 10, /* room for one read, behind what is left of the read before */
    SKEP_HOST_FRAME_BYTES = SKEP_NOISE_LENGTH_LEN + SKEP_NOISE_MESSAGE_MAX,
    SKEP_HOST_RECEIVE_BYTES = SKEP_HOST_READ_BYTES + SKEP_HOST_FRAME_BYTES,
    SKEP_HOST_SEND_BYTES = 4 * SKEP_HOST_FRAME_BYTES,
    SKEP_HOST_FLUSH_BYTES = 1 << 20, /* one connection's share of a turn */
    SKEP_HOST_ADDRESSES_MAX = 32,    /* of our own, announced or listened on */
    SKEP_DIAL_STAGGER_US = 250000,
    SKEP_CONNECTION_LINGER_US = 2000000, /* a surplus connection without streams lives so long */
    SKEP_ADDRESS_HEARD_TTL_US = 600 * 1000000, /* addresses heard second-hand */
    SKEP_PUSH_DELAY_US = 10000,                /* changes within it go in one identify push */
    SKEP_KAD_ALPHA = 10,
    SKEP_KAD_BUCKETS = 64, /* by shared leading bits of the hashes; the last holds the rest */
    SKEP_KAD_BUCKET_SIZE = 20,
    SKEP_KAD_QUERY_TIMEOUT_US = 5000000,
};

struct skep_conn;
struct skep_dial;
struct skep_kad_lookup;
struct skep_upgrade;

/* ---- protocols: names are interned for the host's life, so that streams can point at them ---- */

struct skep_host_protocol {
    UT_hash_handle hh;
    skep_stream_handler *handler; /* NULL: not served */
    void *user;
    char name[];
};

/* ---- peers ---- */

struct skep_host_peer {
    struct skep_peer_id id;
    UT_hash_handle hh;
    struct skep_list conns;   /* open ones */
    struct skep_conn *best;   /* where new streams go; NULL: not connected */
    struct skep_dial *dial;   /* under way */
    struct skep_list waiting; /* streams that wait for a connection */
    struct skep_list wanting; /* requests that wait for a connection, or for identify */
    struct skep_identify_info *info;
    bool identify_ended;
    size_t service_streams; /* inbound ones of kad, push and ping */
    unsigned holds;         /* somebody up the stack still looks at it */
};

struct skep_identify_info {
    const char **protocols;
    size_t protocol_count;
    struct skep_multiaddr *addrs;
    size_t addr_count;
    skep_bytes agent, protocol_version;
    struct skep_multiaddr observed;
    bool speaks_kad, takes_push;
    struct skep_buf text; /* what the views and names point into */
};

/* ---- connections ---- */

enum skep_conn_state { CONN_CONNECTING, CONN_UPGRADING, CONN_OPEN, CONN_ENDED };

struct skep_address_use {     /* how many accepted connections one remote address has */
    uint8_t key[9];           /* kind, then the IPv4 address or the IPv6 /64 */
    size_t count, handshakes; /* handshakes: those not yet muxed */
    UT_hash_handle hh;
};

struct skep_conn {
    struct skep_host *host;
    struct skep_link *link;
    enum skep_conn_state state;
    bool is_dialer;
    bool blocked;  /* the link has not taken all: wait for on_drained */
    bool handling; /* inside on_data: the flush comes at its end */
    bool doomed;
    bool surplus; /* the peer has a better one: no new streams, gone when the last has ended */
    int doom_rc;
    struct skep_upgrade *upgrade;
    struct skep_noise *noise;
    struct skep_yamux *mux;
    struct skep_host_peer *peer;
    struct skep_dial *dial; /* whose attempt it is, until it is open */
    struct skep_address_use *address;
    uint8_t *rest; /* the start of a frame, kept between reads */
    size_t rest_len;
    size_t stream_count;      /* skep_streams on it */
    size_t negotiating_count; /* inbound ones that have not said yet what they want */
    struct skep_timer timer;
    uint64_t started_us, idle_since_us, opened_order, handshake_rtt_us;
    struct skep_list entry, peer_entry, flush_entry, dial_entry;
};

/* ---- requests ---- */

enum skep_request_kind { REQUEST_CONNECT, REQUEST_PING, REQUEST_FIND, REQUEST_IDENTIFY };

struct skep_request_state {
    struct skep_host *host;
    struct skep_host_request *request;
    enum skep_request_kind kind;
    struct skep_timer timer;
    struct skep_list entry;      /* host->requests */
    struct skep_list want_entry; /* peer->wanting, dial->wanting or lookup->wanting */
    int rc;                      /* what the zero-delay timer will say */
    bool settled;
    struct skep_host_peer *peer; /* held by want_entry */
    struct skep_stream *stream;  /* ping */
    uint64_t sent_us;
    uint8_t payload[32];
    size_t echoed;
};

struct skep_dial {
    struct skep_host *host;
    struct skep_host_peer *peer; /* NULL: whoever is there */
    struct skep_multiaddr *addrs;
    size_t addr_count, addr_next;
    struct skep_list attempts;
    struct skep_list wanting; /* requests, where there is no peer */
    struct skep_list entry;   /* host->dials */
    struct skep_timer timer;  /* next attempt, or the end */
    uint64_t deadline_us;
    bool may_find; /* ask kad when the addresses are used up */
    bool finding;
    bool reload; /* the address book may have more than when it was last read */
    int rc;
};

/* ---- streams ---- */

enum skep_stream_state { STREAM_WAITING, STREAM_NEGOTIATING, STREAM_OPEN, STREAM_DEAD };

struct skep_stream {
    struct skep_host *host;
    struct skep_host_peer *peer;
    struct skep_conn *conn;
    struct skep_yamux_stream *mux;
    const struct skep_stream_events *events; /* NULL: released */
    void *user;
    const char *protocol; /* interned; NULL: inbound and not yet known */
    enum skep_stream_state state;
    bool inbound, write_closed, internal;
    bool timed;          /* in host->timed */
    size_t timed_queued; /* unsent when that began: less of it by the deadline is progress */
    unsigned upcalls;    /* how many of our callers look at the struct: it is freed by the last */
    uint64_t deadline_us;
    struct skep_multistream select;
    struct skep_buf pending; /* written before there was a connection */
    struct skep_list entry;  /* peer->waiting */
    struct skep_list timed_entry;
};

/* ---- kad ---- */

struct skep_kad_entry {
    struct skep_peer_id id;
    uint8_t hash[SKEP_SHA256_LEN];
};

struct skep_kad_table {
    const struct skep_mem *mem;
    uint8_t self[SKEP_SHA256_LEN];
    struct {
        struct skep_kad_entry *entries; /* [SKEP_KAD_BUCKET_SIZE], or NULL */
        size_t count;
    } buckets[SKEP_KAD_BUCKETS];
};

struct skep_hint {
    struct skep_peer_id peer, via;
    UT_hash_handle hh;
};

/* ---- the host ---- */

struct skep_host {
    struct skep_env *env;
    struct skep_transport *transport;
    struct skep_host_options options;
    bool closing;
    uint8_t *receive, *send; /* shared by all connections */
    struct skep_buf scratch; /* small messages on their way into a stream */
    struct skep_host_protocol *protocols;
    struct skep_host_peer *peers;
    struct skep_address_use *address_uses;
    struct skep_address_book *book;
    struct skep_list conns, flushes, dials, requests, timed, lookups, kad_streams;
    size_t conn_count, handshake_count;
    size_t queued; /* unsent bytes of all connections */
    uint64_t conns_opened;
    struct skep_timer flush_timer, push_timer, timed_timer;
    struct skep_listener *listeners[SKEP_HOST_ADDRESSES_MAX];
    size_t listener_count;
    struct skep_multiaddr announced[SKEP_HOST_ADDRESSES_MAX];
    size_t announced_count;
    struct skep_hint *hints;
    struct skep_kad_table kad;
    struct {
        skep_host_observer *call;
        void *user;
    } observers[SKEP_HOST_OBSERVERS];
    struct skep_host_stats stats;
};

/* host.c */
struct skep_host_peer *
skep_host_peer_get(struct skep_host *host,
                   const struct skep_peer_id *id); /* made if need be; NULL: no memory */
struct skep_host_peer *skep_host_peer_find(const struct skep_host *host,
                                           const struct skep_peer_id *id);
void skep_host_peer_put(struct skep_host *host,
                        struct skep_host_peer *peer); /* free it if nothing needs it any more */
void skep_host_tell(struct skep_host *host, const struct skep_peer_id *peer, bool connected);
struct skep_host_protocol *skep_host_intern(struct skep_host *host, const char *name);
struct skep_host_protocol *skep_host_protocol_find(const struct skep_host *host, skep_bytes name);
size_t skep_host_own_addresses(const struct skep_host *host, struct skep_multiaddr *out,
                               size_t cap);

/* upgrade.c: bytes of one connection */
extern const struct skep_link_events skep_conn_link_events;
int skep_upgrade_start(struct skep_conn *conn, const struct skep_peer_id *expected);
void skep_upgrade_free(struct skep_conn *conn);
void skep_conn_flush(struct skep_conn *conn);
void skep_conn_want_flush(struct skep_conn *conn);
void skep_host_flush_fire(struct skep_timer *timer);

/* connections.c: their lives */
int skep_conn_dial(struct skep_host *host, struct skep_conn **out, struct skep_dial *dial,
                   const struct skep_multiaddr *addr);
void skep_conn_accept(void *host, struct skep_link *link);
void skep_conn_opened(struct skep_conn *conn);       /* upgrade is complete */
void skep_conn_end(struct skep_conn *conn, int rc);  /* now; only from the top of an event */
void skep_conn_doom(struct skep_conn *conn, int rc); /* soon; from anywhere */
void skep_conn_stream_ended(struct skep_conn *conn);
/** A FIN may be waiting for company: the timer must not be later than its deadline. */
void skep_conn_deadline_came_nearer(struct skep_conn *conn);

/* dial.c */
int skep_dial_peer(struct skep_host *host, struct skep_host_peer *peer, bool may_find,
                   uint64_t timeout_us);
int skep_dial_address(struct skep_host *host, struct skep_dial **out,
                      const struct skep_multiaddr *addr, uint64_t timeout_us);
void skep_dial_attempt_failed(struct skep_conn *conn, int rc);
void skep_dial_attempt_opened(struct skep_conn *conn); /* an anonymous dial has found its peer */
void skep_dial_abandon(struct skep_dial *dial); /* its peer is connected, or the host is closing */
void skep_dial_found(struct skep_host_peer *peer, int rc); /* a lookup for it has ended */

/* request.c */
int skep_request_new(struct skep_host *host, struct skep_host_request *request,
                     enum skep_request_kind kind, uint64_t timeout_us,
                     struct skep_request_state **out);
void skep_request_settle(struct skep_request_state *state,
                         int rc); /* `done` comes on the next turn */
void skep_request_finish(struct skep_request_state *state, int rc); /* `done` comes now */
void skep_request_want(struct skep_request_state *state, struct skep_host_peer *peer);
void skep_requests_connected(struct skep_list *wanting, struct skep_host_peer *peer);
void skep_requests_failed(struct skep_list *wanting, int rc);
void skep_requests_identified(struct skep_host_peer *peer, int rc);

/* stream.c */
int skep_stream_open(struct skep_host *host, struct skep_stream **out, struct skep_host_peer *peer,
                     struct skep_conn *conn, const char *protocol, bool may_find,
                     const struct skep_stream_events *events, void *user);
void skep_stream_attach_waiting(struct skep_host_peer *peer);
void skep_stream_fail_waiting(struct skep_host_peer *peer, int rc);
extern const struct skep_yamux_events skep_conn_mux_events;
void skep_stream_timed_fire(struct skep_timer *timer);
/** Count one more stream of ours that may hold a peer's message; false: it has too many. skep_stream_service_end() gives it back. */
bool skep_stream_service_begin(struct skep_stream *stream);
void skep_stream_service_end(struct skep_host_peer *peer);

/* ping.c, identify.c, kad.c */
int skep_ping_serve(struct skep_host *host);
void skep_ping_start(struct skep_request_state *state);
int skep_identify_serve(struct skep_host *host);
void skep_identify_start(struct skep_conn *conn);
void skep_identify_push_fire(struct skep_timer *timer);
void skep_identify_changed(struct skep_host *host);
void skep_identify_info_free(const struct skep_mem *mem, struct skep_identify_info *info);
int skep_kad_serve(struct skep_host *host);
void skep_kad_identified(struct skep_host_peer *peer);
int skep_kad_find(struct skep_host *host, const struct skep_peer_id *id,
                  struct skep_request_state *state);
void skep_kad_close(struct skep_host *host);
void skep_kad_forget_hints(struct skep_host *host);

/* identify_message.c: the bytes of identify, without I/O */
struct skep_identify_reader {
    struct skep_buf message; /* the one being received */
    struct skep_buf all;     /* the bodies so far, one after the other: protobuf's merge */
    unsigned messages;
};
void skep_identify_reader_init(struct skep_identify_reader *reader, const struct skep_mem *mem);
void skep_identify_reader_fini(struct skep_identify_reader *reader);
/** @return 0; SKEP_EPEER_FRAME, SKEP_EPEER_LIMIT, SKEP_ENOMEM. */
int skep_identify_feed(struct skep_identify_reader *reader, skep_bytes data);
/** After the end of the stream. @return 0 with *out to be freed by skep_identify_info_free(); the errors of feed. */
int skep_identify_finish(struct skep_identify_reader *reader, struct skep_identify_info **out);
struct skep_identify_self {
    skep_bytes public_key;
    const char *agent;
    const char *const *protocols;
    size_t protocol_count;
    const struct skep_multiaddr *addrs;
    size_t addr_count;
    const struct skep_multiaddr *observed; /* or NULL */
};
void skep_identify_write(struct skep_buf *out, const struct skep_identify_self *self);

/* kad_message.c: FIND_NODE on the wire */
enum { SKEP_KAD_FIND_NODE = 4 };
struct skep_kad_peer {
    struct skep_peer_id id;
    const struct skep_multiaddr *addrs;
    size_t addr_count;
    bool connected;
};
void skep_kad_write_request(struct skep_buf *out, const struct skep_peer_id *target);
size_t skep_kad_begin_answer(struct skep_buf *out);
void skep_kad_put_peer(struct skep_buf *out, const struct skep_kad_peer *peer);
/** Prefix what begin_answer began with its length. */
void skep_kad_end_answer(struct skep_buf *out, size_t mark);
/** Split a message off *in. @return 1 with *body; 0: not whole yet; SKEP_EPEER_FRAME, SKEP_EPEER_LIMIT. */
int skep_kad_next(skep_bytes *in, skep_bytes *body);
/** @return 0; SKEP_EPEER_FRAME: malformed; SKEP_EPEER_PROTO: not FIND_NODE. */
int skep_kad_read_request(skep_bytes body, skep_bytes *key);
/** Each named peer in turn: @return 0; SKEP_EPEER_FRAME; peers that cannot be understood are left out. addrs [addr_count]. */
typedef void skep_kad_on_peer(void *user, const struct skep_peer_id *id,
                              const struct skep_multiaddr *addrs, size_t addr_count);
int skep_kad_read_answer(skep_bytes body, skep_kad_on_peer *on_peer, void *user);

/* kad_table.c: peers that speak kad, in buckets by distance */
void skep_kad_table_init(struct skep_kad_table *table, const struct skep_mem *mem,
                         const struct skep_peer_id *self);
void skep_kad_table_fini(struct skep_kad_table *table);
/** A full bucket drops an entry that `is_live` denies, else the newcomer. @return 0, SKEP_ENOMEM. */
int skep_kad_table_add(struct skep_kad_table *table, const struct skep_peer_id *id,
                       bool (*is_live)(void *user, const struct skep_peer_id *id), void *user);
void skep_kad_table_remove(struct skep_kad_table *table, const struct skep_peer_id *id);
/** The nearest to a hash, nearest first. @return how many were written to out[0..cap). */
size_t skep_kad_table_nearest(const struct skep_kad_table *table,
                              const uint8_t hash[SKEP_SHA256_LEN], struct skep_kad_entry *out,
                              size_t cap);
/** Is a nearer to `target` than b? */
bool skep_kad_nearer(const uint8_t *a, const uint8_t *b, const uint8_t *target);

#endif
