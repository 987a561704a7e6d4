/* SPDX-License-Identifier: MIT */
/* What the files behind the public API share: the node, its loop, operations, results.
 *
 * Two objects have lives of their own. The node belongs to its loop's thread. The core is what other threads touch: a queue of
 * jobs into the loop and what waiting needs; it lives until the last operation, stream and request that refers to it is gone. */
#ifndef SKEP_API_INTERNAL_H
#define SKEP_API_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <skep/dht.h>
#include <skep/expert.h>
#include <skep/moe.h>
#include <skep/p2p.h>

#include "base/limits.h"
#include "base/list.h"
#include "dht/node.h"
#include "host/host.h"
#include "moe/beam.h"
#include "moe/expert.h"
#include "rpc/rpc_host.h"
#include "transport/uv_loop.h"

/* ---- jobs into the loop ---- */

struct api_job {
    /** On the loop's thread, in the order posted; node is NULL when it was closed before. The job is its own again. */
    void (*run)(struct api_job *job, skep_node *node);
    struct api_job *next;
};

struct api_core {
    atomic_uint refs;
    pthread_mutex_t mutex; /* guards jobs, closed, loop, and the waiters of operations */
    struct api_job *jobs, **jobs_tail;
    atomic_bool has_jobs;
    bool closed;
    struct skep_uv_loop *loop;
    skep_node *node;             /* of the owner's thread; NULL once closed */
    _Atomic(const void *) owner; /* marks the thread that runs the loop */
    atomic_uint waiters;         /* threads that wait for an operation */
    atomic_bool has_server;      /* server.c */
};

struct api_core *skep_api_core_new(struct skep_uv_loop *loop);
struct api_core *skep_api_core_ref(struct api_core *core);
void skep_api_core_unref(struct api_core *core);

/** Does the calling thread own the loop? */
bool skep_api_on_loop(const struct api_core *core);
/** From now on it is the calling thread's. */
void skep_api_own_loop(struct api_core *core);

/** @return 0, and the job will run; SKEP_ECLOSED, and it never does. */
int skep_api_post(struct api_core *core, struct api_job *job);

/** Run fn(node, arg) on the loop and wait for it; at once where the caller is on the loop. @return what fn does; SKEP_ECLOSED. */
int skep_api_call(struct api_core *core, int (*fn)(skep_node *node, void *arg), void *arg);

void skep_api_cond_init(pthread_cond_t *cond);
void skep_api_deadline(struct timespec *out, uint64_t timeout_us);

/* ---- results: bytes that live as long as their operation ---- */

struct api_arena {
    struct api_chunk *chunks;
};

/** Zeroed, aligned for anything. @return NULL: no memory. */
void *skep_api_arena_alloc(struct api_arena *arena, size_t count, size_t size);
void *skep_api_arena_copy(struct api_arena *arena, const void *data,
                          size_t len); /* a zero byte follows */
char *skep_api_arena_str(struct api_arena *arena, skep_bytes text);
void skep_api_arena_fini(struct api_arena *arena);

/* ---- operations ---- */

struct api_op_class {
    size_t size; /* of the struct that has a skep_op first */
    /** On the loop. @return 0, and skep_api_op_end() follows, now or later; or an error, with skep_api_fail() having said why. */
    int (*start)(skep_op *op, skep_node *node);
    /** On the loop: stop what was started; skep_api_op_end() follows from the caller. */
    void (*cancel)(skep_op *op, skep_node *node);
};

struct api_waiter;

struct skep_op {
    const struct api_op_class *class;
    struct api_core *core;
    skep_op_cb *cb;
    void *user_data;
    struct skep_list entry; /* node->ops, then node->deferred */
    atomic_int state;       /* 1: it runs; else the status, for good */
    atomic_uint refs;
    atomic_flag cancel_posted;
    int rc; /* what `state` becomes */
    bool started, ended, in_call;
    char *text;                /* in `arena` */
    void (*free)(skep_op *op); /* in any thread: results that are not in `arena`. May be NULL */
    struct api_arena arena;    /* results */
    struct api_waiter *waiters;
    struct api_job start_job, cancel_job;
};

/** A zeroed operation of a class; NULL: no memory. @param own  receives whether its arguments must be copied, as the call comes from another
 *  thread than the loop's. */
void *skep_api_op_new(skep_node *node, const struct api_op_class *class, skep_op_cb *cb,
                      void *user_data, bool *own);
/** The same where the node may have been closed. */
void *skep_api_op_new_of(struct api_core *core, const struct api_op_class *class, skep_op_cb *cb,
                         void *user_data);
/** Of one that was never begun. */
void skep_api_op_drop(skep_op *op);
/** Hand it to the loop. @return 0, or the error of its start or SKEP_ECLOSED, and then it is gone. */
int skep_api_op_begin(skep_op **out, skep_node *node, skep_op *op);
int skep_api_op_begin_of(skep_op **out, struct api_core *core, skep_op *op);
/** On the loop, once. `text` may be NULL; it is copied. */
void skep_api_op_end(skep_op *op, int rc, const char *text);
/** Make the end known to all threads: the state, then those that wait. */
void skep_api_op_publish(skep_op *op);
/** The node closes: end all of them. */
void skep_api_ops_close(skep_node *node);
void skep_api_run_deferred(skep_node *node);
static inline bool api_op_ok(const skep_op *op, const struct api_op_class *class)
{
    return op && op->class == class && atomic_load(&((skep_op *)(uintptr_t)op)->state) == 0;
}

/* ---- the node ---- */

enum { API_SEARCHERS_KEPT = 16 };

struct skep_node {
    struct api_core *core;
    struct skep_uv_loop *loop;
    struct skep_env *env;
    struct skep_identity identity;
    bool has_identity;
    struct skep_host *host;
    struct skep_rpc *rpc;
    struct skep_dht *dht; /* NULL: options.no_dht */
    char **initial_peers; /* [initial_peer_count] */
    size_t initial_peer_count;
    bool caller_driven, check_identity, observing;
    bool running; /* inside a turn of the loop */
    bool closing;
    atomic_bool stop;
    bool has_thread;
    pthread_t thread;
    int64_t turned_at; /* coarse clock, in ticks of some milliseconds */
    double ttl_max_s;
    struct skep_list ops, deferred;
    size_t op_count;
    struct skep_list handlers;   /* struct api_handler.entry */
    struct skep_list requests;   /* skep_request.entry: their handlers have them */
    struct skep_list streams;    /* struct api_stream.entry: both kinds */
    struct skep_list waiting;    /* struct wait_op.waiting: for peers */
    struct skep_list validators; /* struct api_validator.entry */
    struct skep_list searchers;  /* struct api_searcher.entry, the last used first */
    struct skep_list
        servers; /* struct skep_server.entry: one that serves, and those that are going or wait */
    size_t searcher_count;
    struct skep_list mixtures;          /* skep_mixture.entry */
    struct skep_expert_caller *experts; /* NULL until the first call of an expert */
    skep_log_cb *log;
    void *log_user_data;
    struct skep_node *next_logging; /* node.c: which env belongs to which node */
};

/** One turn. @return 0 or SKEP_ESYSTEM. */
int skep_api_turn(skep_node *node, uint64_t max_wait_us);
void skep_api_run_jobs(skep_node *node);

static inline bool api_in_callback(const skep_node *node)
{
    return skep_api_on_loop(node->core) && node->running; /* only its own thread may look */
}

/** Stops before the rpc goes: handlers, requests, streams. */
void skep_api_requests_close(skep_node *node);
void skep_api_streams_close(skep_node *node);
void skep_api_handlers_close(skep_node *node);
void skep_api_searchers_close(skep_node *node);
void skep_api_validators_close(skep_node *node);
void skep_api_waiting_close(skep_node *node);
/** Waits for what workers are computing. */
void skep_api_servers_close(skep_node *node);
void skep_api_mixtures_close(skep_node *node);
void skep_api_experts_close(skep_node *node);

/** On the loop: the node's caller of experts, made when it is first wanted. @return 0; SKEP_ENOMEM, with skep_api_fail(). */
int skep_api_experts(skep_node *node, struct skep_expert_caller **out);

/** A handler of a method or protocol, so that it can be found again to take it away. */
struct api_handler {
    struct skep_list entry;
    skep_node *node;
    enum { API_UNARY, API_STREAM, API_RAW } kind;
    union {
        skep_request_handler *unary;
        skep_call_stream_handler *stream;
        skep_raw_stream_handler *raw;
    } fn;
    void *user_data;
    const char *name; /* behind the struct */
};

/** Add one like `like` (kind, fn, user_data, name) from any thread. `serve` registers it with the layer below. @return 0, SKEP_EEXIST … */
int skep_api_handler_add(skep_node *node, const struct api_handler *like,
                         int (*serve)(struct api_handler *handler));
int skep_api_check_method(const char *method);

/* ---- small things ---- */

/** Keep a sentence for skep_last_error_text(). @return rc. */
int skep_api_fail(int rc, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** For peers' or callers' text in such a sentence: escaped, in a ring of buffers of the thread. */
const char *skep_api_quote(const char *text);
/** Is it there? @return 0; SKEP_EINVAL, with "no WHAT" said. */
int skep_api_need(const void *thing, const char *what);
/** Bytes that are said to be there and are not? @return 0; SKEP_EINVAL, with a sentence that names them. */
int skep_api_need_bytes(skep_view bytes, const char *what);
/** An options struct of any version into ours, zeroed before; one whose size was never set must be all zero. @param first_size of the first version.
 *  @return 0; SKEP_EINVAL. */
int skep_api_options_in(void *to, size_t size, const void *user, size_t first_size,
                        const char *what);
int skep_api_bad_peer(const skep_peer *peer); /* SKEP_EPEERID unless it is one */

static inline struct skep_peer_id api_peer_in(const skep_peer *peer)
{
    struct skep_peer_id id;

    _Static_assert(sizeof *peer == sizeof id, "the public peer id is the inner one");
    memcpy(&id, peer, sizeof id);
    return id;
}

static inline skep_peer api_peer_out(const struct skep_peer_id *id)
{
    skep_peer peer;

    memcpy(&peer, id, sizeof peer);
    return peer;
}

static inline skep_bytes api_bytes(skep_view view)
{
    return skep_bytes_of(view.data, view.len);
}

static inline skep_view api_view(skep_bytes bytes)
{
    return (skep_view){bytes.data, bytes.len};
}

/** A monotonic deadline from now; 0 (none) for 0 and for ever. */
uint64_t skep_api_deadline_us(const skep_node *node, uint64_t timeout_us);

/* Identity files: identity.c */
int skep_api_identity_load(struct skep_identity *identity, const char *path);

/* Does another peer use this identity? taken.c */
struct api_taken;
typedef void api_taken_done(void *user, int rc, bool taken, const char *text);
int skep_api_taken_start(struct api_taken **out, skep_node *node, const struct skep_peer_id *id,
                         const char *const *maddrs, size_t count, uint64_t timeout_us,
                         api_taken_done *done, void *user);
void skep_api_taken_free(struct api_taken *taken);

/** Where the API and its nodes have their memory from; tests make it fail. */
extern const struct skep_mem *skep_api_mem;
#define API_MEM skep_api_mem

#endif
