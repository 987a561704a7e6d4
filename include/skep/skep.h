/* SPDX-License-Identifier: MIT */
/* skep: a peer of a hivemind swarm in a C library. This header has the node: its options, its life, its loop.
 *
 *   p2p.h  peers, calls, streams        dht.h  the swarm's table of records        moe.h  experts and the search for them
 *   tensor.h  tensors      expert.h  calling experts
 *
 * Threads: a node's state belongs to one loop. By default the loop runs on a thread of its own; with options.caller_driven it runs
 * inside skep_node_run() and skep_node_run_until(), on the caller's thread, and nothing crosses threads: that of who made the node, until
 * another thread calls one of the two. One thread may drive several nodes, each with a short skep_node_run() in turn. Every function here may be
 * called from any thread unless it says otherwise; callbacks and handlers run on the loop's thread and must not block.
 *
 * Errors: 0 or a negative SKEP_E code. An error returned by a call means that nothing was sent and no callback will run;
 * skep_last_error_text() then names what was wrong with the input. NULL where an object is needed is SKEP_EINVAL. */
#ifndef SKEP_SKEP_H
#define SKEP_SKEP_H

#include <skep/error.h>
#include <skep/op.h>

#ifdef __cplusplus
extern "C" {
#endif

/** @return this library's version, "0.1.0". */
SKEP_API const char *skep_version(void);

/** Why the last failed call on this thread failed: a sentence that names the offending thing, or "". Of the thread; good
 *  until its next failing call. */
SKEP_API const char *skep_last_error_text(void);

/** Frees what skep gave the caller to free. NULL is fine. */
SKEP_API void skep_free(void *ptr);

/** Bytes that belong to somebody else. */
typedef struct skep_view {
    const void *data;
    size_t len;
} skep_view;

/** A peer id in binary. The unused tail is zero, so that two are equal when their bytes are. */
typedef struct skep_peer {
    uint8_t len;
    uint8_t bytes[47];
} skep_peer;

enum { SKEP_PEER_TEXT_LEN = 80 };

/** From "12D3KooW…", "Qm…" or a CID. @return 0 or SKEP_EPEERID. */
SKEP_API int skep_peer_from_text(skep_peer *out, const char *text);
/** Base58 text, terminated; `out` holds SKEP_PEER_TEXT_LEN bytes. @return `out`. */
SKEP_API char *skep_peer_to_text(char *out, const skep_peer *peer);
SKEP_API bool skep_peer_equal(const skep_peer *a, const skep_peer *b);

/** @return a copy of `text` (a uid, a message of a peer) that is fit for a terminal: control bytes and what is not UTF-8 as \xNN, cut
 *  to 256 bytes; in `out`, terminated. */
SKEP_API char *skep_text_for_terminal(char *out, size_t out_len, const char *text);

/* ---- a node ---- */

typedef struct skep_node skep_node;

enum skep_verbosity {
    SKEP_VERBOSITY_ERROR,
    SKEP_VERBOSITY_WARNING,
    SKEP_VERBOSITY_INFO,
    SKEP_VERBOSITY_DEBUG
};

/** On the loop's thread. `text` is one line without its end, already escaped. */
typedef void skep_log_cb(void *user_data, enum skep_verbosity verbosity, const char *text);

/** Set by skep_node_options_init(); then change what should differ. Everything it points to is copied by skep_node_new(). */
typedef struct skep_node_options {
    size_t struct_size; /* of this header's struct; set by _init */

    /* who we are: the first of these that is set, else a new key that is forgotten with the node */
    const char *identity_path;    /* a file of hivemind's or ours; see skep_identity_create() */
    const uint8_t *identity_seed; /* 32 secret bytes of an Ed25519 key */

    /* where we are */
    const char *const *listen; /* [listen_count] multiaddrs; none: only outbound connections */
    size_t listen_count;
    const char *const *announce; /* [announce_count] instead of what we listen on */
    size_t announce_count;
    const char *const
        *initial_peers; /* [initial_peer_count] multiaddrs with /p2p, for skep_dht_join() */
    size_t initial_peer_count;

    /* how it runs */
    bool caller_driven; /* no thread: skep_node_run() and skep_node_run_until() */
    bool no_dht;        /* only peers, calls and streams */
    bool
        check_identity; /* skep_dht_join() first asks whether another peer already uses identity_path's key (default true) */
    skep_log_cb *log;   /* may be NULL */
    void *log_user_data;
    enum skep_verbosity verbosity;
    const char *agent; /* NULL: "skep/VERSION"; at most 256 bytes */

    /* the host; 0: the default */
    size_t connections_max;
    size_t connections_per_address_max;
    uint64_t connection_idle_us;
    uint64_t dial_timeout_us;

    /* the DHT: hivemind's switches, _init has hivemind's defaults where the comment has no other */
    bool client_mode;    /* use the DHT, serve nothing, appear in nobody's table */
    size_t bucket_size;  /* at most 64 */
    size_t num_replicas; /* at most bucket_size */
    unsigned depth_modulo;
    size_t parallel_rpc; /* 0: no limit */
    uint64_t wait_timeout_us;
    uint64_t refresh_timeout_us; /* 0: no periodic refresh of the table */
    uint64_t bootstrap_timeout_us;
    bool ensure_bootstrap_success;
    bool strict;
    size_t num_workers; /* wider than hivemind's 4 */
    size_t chunk_size;  /* larger than hivemind's 16 */
    bool cache_locally;
    size_t cache_nearest;
    bool cache_on_store;
    uint64_t cache_refresh_before_expiry_us; /* 0: off */
    bool reuse_get_requests;
    size_t cache_size;    /* keys; 0: no limit but the bytes */
    size_t cache_bytes;   /* 256 MiB */
    size_t storage_bytes; /* 256 MiB */
    uint64_t blacklist_time_us;
    double blacklist_backoff;
    double ttl_max_s;       /* records that would live longer are refused; 7 days */
    const uint8_t *node_id; /* 20 bytes; NULL: random */

    /* The one-hop table: so many nodes of the swarm are kept in mind, with 96 bytes each, so that a lookup begins where it would end. It is kept fresh
     * by calls: for 1,000 nodes 1.6 a second with 200 bytes, for 10,000 17 with 2.1 kB, for 50,000 83 with 11 kB, never more than 100; a
     * connection for each besides. Peers are told nothing of what is in it. */
    size_t one_hop_nodes_max;  /* 0, the default: none; at most 65,536 */
    uint64_t one_hop_round_us; /* all are called once in so long; 10 min */
    uint64_t one_hop_fill_us;  /* and asked who there is, the first time; 30 s */
} skep_node_options;

SKEP_API void skep_node_options_init_size(skep_node_options *options, size_t struct_size);

static inline void skep_node_options_init(skep_node_options *options)
{
    skep_node_options_init_size(options, sizeof *options);
}

/**
 * Make a node, listen, and start its thread (unless caller_driven). It knows nobody yet: skep_p2p_connect(), skep_dht_join().
 * @param options  NULL: the defaults.
 * @return 0; SKEP_EMULTIADDR, SKEP_EKEY, SKEP_EKEYMODE, SKEP_EIO (the identity file), SKEP_EADDRINUSE, SKEP_ESYSTEM, SKEP_ENOMEM, SKEP_EINVAL.
 */
SKEP_API int skep_node_new(skep_node **out, const skep_node_options *options);

/**
 * Close: every operation ends with SKEP_ECANCELED and every stream is closed, their callbacks run, then all is freed. Operations and streams that
 * the caller still holds stay good until the caller frees them. No other call with this node may be under way in another thread. NULL is fine.
 * @return 0; SKEP_EDEADLOCK from the node's own callbacks, and nothing is done.
 */
SKEP_API int skep_node_free(skep_node *node);

SKEP_API void skep_node_peer(const skep_node *node, skep_peer *out);

/** Run `fn` once on the loop, never from inside this call; also when the node is closed before it came to it. @return 0 or SKEP_ENOMEM. */
SKEP_API int skep_node_post(skep_node *node, void (*fn)(void *user_data), void *user_data);

/* ---- a loop driven by the caller (options.caller_driven), one thread at a time ---- */

/** Handle what is there, waiting at most max_wait_us for something to happen. @return 0; SKEP_EDEADLOCK from a callback; SKEP_EINVAL: it
 *  has a thread of its own; SKEP_ESYSTEM. */
SKEP_API int skep_node_run(skep_node *node, uint64_t max_wait_us);

/** Run until the operation has ended. @return its status; SKEP_EDEADLOCK, SKEP_EINVAL, SKEP_ESYSTEM as above. */
SKEP_API int skep_node_run_until(skep_node *node, skep_op *op);

/* ---- identities ---- */

/** Make a new Ed25519 key file (mode 0600, written atomically) unless the file exists. @param peer  may be NULL: receives its id.
 *  @return 0 made; 1 it was there; SKEP_EKEY, SKEP_EKEYMODE, SKEP_EIO. */
SKEP_API int skep_identity_create(const char *path, skep_peer *peer);

/** @return 0 and the peer id of a key file; SKEP_EKEY, SKEP_EKEYMODE, SKEP_EIO. */
SKEP_API int skep_identity_load(const char *path, skep_peer *peer);

/** hivemind's is_identity_taken: does a peer with this key answer in the swarm of these initial peers? Waits for the answer.
 *  @param timeout_us  for the whole of it; a few seconds will do.
 *  @return 0 and *taken; SKEP_EBOOTSTRAP (none of them answered), and what skep_identity_load() returns. */
SKEP_API int skep_identity_is_taken(const char *path, const char *const *initial_peers,
                                    size_t count, uint64_t timeout_us, bool *taken);

/* ---- counters ---- */

typedef struct skep_node_counters {
    size_t struct_size; /* set by the caller to sizeof this struct */
    size_t connections, calls_in_flight, calls_queued, handlers_running, operations;
    uint64_t bytes_in, bytes_out;
    uint64_t dials, dials_failed, accepted, accepts_refused, handshakes_failed, peer_errors;
    uint64_t streams_opened, streams_served, streams_refused;
    uint64_t calls_made, calls_failed, calls_timed_out, calls_served, calls_malformed,
        calls_refused;
    size_t table_nodes, stored_keys, stored_bytes, cached_keys, cached_bytes;
    uint64_t dht_requests_in, dht_requests_out, dht_requests_failed, dht_refused_records,
        dht_bad_messages, dht_blacklisted;
    size_t one_hop_nodes, one_hop_bytes; /* of the one-hop table */
    uint64_t crawl_calls, crawl_bytes;   /* that keep it fresh; they are among dht_requests_out */
} skep_node_counters;

/** From another thread this waits for the loop. @return 0. */
SKEP_API int skep_node_counters_get(skep_node *node, skep_node_counters *out);

#ifdef __cplusplus
}
#endif
#endif
