/* SPDX-License-Identifier: MIT */
/* Hosting experts: answers info, forward and backward, trains on backward, declares the experts, keeps checkpoints. What hivemind's Server gives.
 *
 * Requests of all callers for one expert are put together into batches and computed on worker threads, so that the network never waits for
 * arithmetic. One node has at most one server. */
#ifndef SKEP_SERVER_H
#define SKEP_SERVER_H

#include <skep/expert_class.h>
#include <skep/moe.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct skep_server skep_server;

enum skep_optimizer { SKEP_OPTIMIZER_ADAM, SKEP_OPTIMIZER_SGD, SKEP_OPTIMIZER_NONE };
enum skep_schedule { SKEP_SCHEDULE_NONE, SKEP_SCHEDULE_LINEAR };

/** Set by skep_server_options_init(). Everything it points to is copied, but for `own_class`. */
typedef struct skep_server_options {
    size_t struct_size;

    /* which experts: uids, or so many of a pattern */
    const char *const *uids; /* [uid_count] */
    size_t uid_count;
    const char *
        pattern; /* "ffn.[0:16].[0:16]": random free uids of it; those with a checkpoint come first */
    size_t num_experts;

    /* what they compute */
    const char *
        class_name; /* "ffn" (the default), "transformer", "det_dropout", "nop", "nop_delay", or the path of a shared object (has a '/') */
    const skep_expert_class *own_class; /* instead; outlives the server */
    const char *class_options;          /* "dropout=0" */
    size_t hidden;                      /* 1024 */

    /* training */
    enum skep_optimizer optimizer; /* Adam */
    double learning_rate;          /* 0: Adam 0.001, SGD 0.01 */
    double clip_grad_norm;         /* 0: no clipping */
    enum skep_schedule schedule;
    uint64_t warmup_steps, training_steps; /* of the linear schedule */
    const skep_peer *allow_backward;       /* [allow_backward_count]; 0: everybody may train */
    size_t allow_backward_count;

    /* requests */
    size_t min_batch_size, max_batch_size; /* 1, 4096 */
    uint64_t
        batch_wait_us; /* how long fewer rows than min_batch_size wait before they go anyway; 0: for ever, as hivemind */
    skep_compression compression; /* of floating-point tensors */
    bool
        accept_non_finite; /* NaN and infinity in inputs and gradients; else the request is refused */
    size_t
        memory_bytes; /* of requests in progress, 512 MiB: above it streams wait, and unary calls are refused */

    /* the machine */
    unsigned workers; /* batches of different experts computed at once; 1 */
    unsigned threads; /* of one matrix product; 0: one a processor, divided by the workers */
    uint64_t seed;    /* of first values and uids; 0: from the system's entropy */

    /* the swarm */
    uint64_t update_period_us; /* 30 s: experts are declared, and checkpoints written, so often */
    double expiration_s;       /* 0: the larger of twice the period and 3 s */
    bool no_declare;           /* answer those who know already */

    const char *checkpoint_dir; /* NULL: none */
} skep_server_options;

SKEP_API void skep_server_options_init_size(skep_server_options *options, size_t struct_size);

static inline void skep_server_options_init(skep_server_options *options)
{
    skep_server_options_init_size(options, sizeof *options);
}

/**
 * Host experts on a node (that has joined its swarm, if it is to be found there). Loads what has a checkpoint, draws the rest, serves, declares.
 * @param server  Receives the server at once, the caller's to free, also when the operation fails.
 * @return 0; SKEP_EINVAL (options; the text names it), SKEP_EEXIST (this node has one), SKEP_ENOMEM. The operation, which ends when the experts answer
 *         and their first declaration is through: 0; SKEP_EIO, SKEP_EVALUE (a checkpoint that is torn or foreign: it is left as it is), SKEP_ELIMIT (no free
 *         uids) …
 */
SKEP_API int skep_server_start(skep_op **out, skep_server **server, skep_node *node,
                               const skep_server_options *options, skep_op_cb *cb, void *user_data);

/** Take no more requests, answer those in progress, write the checkpoints. Of a server that has not started yet: give up. The records in the DHT expire by
 *  themselves. @return 0; SKEP_EEXIST (it is being stopped already), SKEP_ENOMEM. The operation: 0; SKEP_EIO (a checkpoint was not written). */
SKEP_API int skep_server_stop(skep_op **out, skep_server *server, skep_op_cb *cb, void *user_data);

/** Drop it, with what is in progress; wait with skep_server_stop() before. From any thread, at any time; another server may be started at once. NULL is fine. */
SKEP_API void skep_server_free(skep_server *server);

/** Of a server that has started. @return [*count] uids, owned by the server. */
SKEP_API const char *const *skep_server_experts(const skep_server *server, size_t *count);

typedef struct skep_server_counters {
    size_t struct_size; /* set by the caller to sizeof this struct */
    size_t experts, tasks_waiting, memory_bytes, memory_bytes_most;
    uint64_t infos, forwards, backwards; /* requests answered */
    uint64_t forward_rows, backward_rows;
    uint64_t forward_batches, backward_batches;
    uint64_t steps;         /* of optimizers */
    uint64_t steps_refused; /* their gradient was not finite */
    uint64_t refused_requests, refused_non_finite, refused_peers, canceled;
    uint64_t compute_us; /* in experts */
    uint64_t declarations, checkpoints, checkpoints_failed;
} skep_server_counters;

/** From another thread than the loop's this waits for the loop. @return 0; SKEP_ECLOSED: the node is closed. */
SKEP_API int skep_server_counters_get(skep_server *server, skep_server_counters *out);

/** What one expert has done. */
typedef struct skep_expert_counters {
    size_t struct_size; /* set by the caller to sizeof this struct */
    uint64_t forward_batches, forward_rows, forward_us;
    uint64_t backward_batches, backward_rows, backward_us;
    uint64_t step, steps_refused; /* of its optimizer */
} skep_expert_counters;

/** @param index  of skep_server_experts(). @return 0; SKEP_EINVAL: there is no such expert; SKEP_ECLOSED. */
SKEP_API int skep_server_expert_counters_get(skep_server *server, size_t index,
                                             skep_expert_counters *out);

#ifdef __cplusplus
}
#endif
#endif
