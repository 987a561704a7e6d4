/* SPDX-License-Identifier: MIT */
/* An expert server, put together: a class, experts of it with their parameters, the handler of their calls, the runtime that computes them, and what keeps
 * them known and safe: declarations and checkpoints. hivemind moe/server/server.py, dht_handler.py, checkpoints.py.
 *
 *   new --start--> STARTING: pick uids -> make experts (load or draw) -> SERVING --stop--> STOPPING: drain -> idle -> save -> STOPPED
 *
 * All on one loop, but for jobs on workers: what reads or writes the disk or draws numbers. */
#ifndef SKEP_SERVER_CORE_H
#define SKEP_SERVER_CORE_H

#include "dht/node.h"
#include "server/handler.h"
#include "server/runtime.h"

struct skep_server_core;

/** All copied but `class`. */
struct skep_server_core_options {
    const char *const *uids; /* [uid_count]; or so many of a pattern: see server/pick.h */
    size_t uid_count;
    const char *pattern;
    size_t num_experts;

    const skep_expert_class *class; /* outlives the core */
    size_t hidden;
    const char *class_options;
    struct skep_training training;

    skep_compression compression;
    bool accept_non_finite;
    const struct skep_peer_id *allow_backward;
    size_t allow_backward_count;
    size_t memory_bytes;
    struct skep_task_pool_options pools;
    unsigned workers;
    uint64_t seed; /* 0: from env's entropy */

    uint64_t update_period_us;
    double expiration_s;        /* 0: the larger of twice the period and 3 s */
    const char *checkpoint_dir; /* NULL: none */
};

enum { SKEP_SERVER_WHY_MAX = 1024 };

/** @param dht  NULL: nothing is declared, and no uid is known to be taken. @return 0; SKEP_EINVAL, SKEP_EUID, SKEP_EEXIST (a uid twice), SKEP_ENOMEM, what the
 *  class says; `why` says what. */
int skep_server_core_new(struct skep_server_core **out, struct skep_env *env, struct skep_rpc *rpc,
                         struct skep_dht *dht, const struct skep_server_core_options *options,
                         char *why, size_t why_len);

/** Matrix products other than skep_sgemm_portable(). Before the start. */
void skep_server_core_use_gemm(struct skep_server_core *core, skep_sgemm_fn *sgemm);
const struct skep_class *skep_server_core_class(const struct skep_server_core *core);

typedef void skep_server_core_done(void *user, int rc, const char *text);

/** `done` follows once, never from inside, when the experts answer and their first declaration is through, unless the core is freed before. Once only.
 *  @return 0; an error, and it never does: skep_server_core_text() may say why. */
int skep_server_core_start(struct skep_server_core *core, skep_server_core_done *done, void *user);

const char *skep_server_core_text(const struct skep_server_core *core);

/** Take no more requests, answer those in progress, write checkpoints. Of one that has not started yet: give up. `done` follows once, never from
 *  inside, unless the core is freed before: 0; SKEP_EIO … (a checkpoint was not written). Once only. */
void skep_server_core_stop(struct skep_server_core *core, skep_server_core_done *done, void *user);

/** Requests in progress fail, and nothing follows any more but `gone` (may be NULL), when no worker is in it: perhaps from inside. The env, rpc and dht
 *  must live until then. */
void skep_server_core_free(struct skep_server_core *core, void (*gone)(void *user), void *user);

/** Of one that has started. @return [*count], owned by the core. */
char *const *skep_server_core_uids(const struct skep_server_core *core, size_t *count);

/** @return expert `index`, for its counters. */
const struct skep_hosted *skep_server_core_expert(const struct skep_server_core *core,
                                                  size_t index);

struct skep_server_core_stats {
    uint64_t declarations, declarations_failed, checkpoints, checkpoints_failed;
    const struct skep_handler_stats *handler; /* NULL: it does not serve */
    const struct skep_runtime_stats *runtime; /* NULL … */
};
void skep_server_core_stats(const struct skep_server_core *core,
                            struct skep_server_core_stats *out);

#endif
