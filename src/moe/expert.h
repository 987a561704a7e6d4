/* SPDX-License-Identifier: MIT */
/* Calling remote experts: info, forward, backward. docs/wire.md e; hivemind moe/client/expert.py.
 *
 * A caller belongs to a node. It remembers what experts said of themselves, and which of them failed lately. Many calls may be in flight; large ones are
 * streamed, and feed the stream as it drains. */
#ifndef SKEP_MOE_EXPERT_H
#define SKEP_MOE_EXPERT_H

#include "moe/expert_info.h"
#include "moe/expert_message.h"
#include "rpc/rpc.h"

struct skep_expert_caller;

int skep_expert_caller_new(struct skep_expert_caller **out, struct skep_rpc *rpc);
/** Calls under way end with SKEP_ECANCELED, from inside this. Before the rpc goes. */
void skep_expert_caller_free(struct skep_expert_caller *caller);

enum skep_expert_call_kind { SKEP_EXPERT_INFO, SKEP_EXPERT_FORWARD, SKEP_EXPERT_BACKWARD };

/** A call while it runs, and its results after: embedded by the user, zeroed but for `done`. */
struct skep_expert_call {
    /** Once, never from inside the start. rc 0; SKEP_EPEER_REMOTE …; `text` says more, may be empty, is good until this returns. Results live until
     *  skep_expert_call_fini(). */
    void (*done)(struct skep_expert_call *call, int rc, skep_bytes text);
    const struct skep_expert_schema
        *schema; /* of INFO, and of the others unless without_info; good until the fini */
    const skep_tensor *
        outputs; /* outputs, or gradients of the inputs: whole, checked against the schema where there is one */
    size_t output_count;
    struct expert_call *state; /* private */
};

struct skep_expert_request {
    enum skep_expert_call_kind kind;
    skep_bytes uid; /* copied */
    struct skep_peer_id peer;
    const skep_tensor *
        tensors; /* inputs, then (BACKWARD) gradients of the outputs; the array is copied, the numbers are borrowed until the end */
    size_t count;
    size_t input_count;  /* of them */
    uint64_t timeout_us; /* SKEP_NEVER_US: none */
    bool without_info;   /* send as `compression`, and ask for no info */
    skep_compression compression;
};

/** Is there anything wrong with it that needs no expert to tell? @return 0; SKEP_EINVAL, SKEP_ESIZE, SKEP_ELIMIT, and `why` (may be NULL). */
int skep_expert_request_check(const struct skep_expert_request *request, char *why, size_t why_len);

/** @return 0, and `done` follows unless it is stopped; SKEP_EINVAL, SKEP_ESIZE, SKEP_ELIMIT, SKEP_ENOMEM, and it never does; `why` may be NULL. */
int skep_expert_call_start(struct skep_expert_call *call, struct skep_expert_caller *caller,
                           const struct skep_expert_request *request, char *why, size_t why_len);

/** Stop it if it runs (`done` does not run then) and release its results. Harmless on a zeroed or released one; also from inside `done`. */
void skep_expert_call_fini(struct skep_expert_call *call);

/** Take over the outputs' memory, each to be freed with the rpc's env->mem; call->outputs stay as they are and are no longer released. */
void skep_expert_call_steal(struct skep_expert_call *call);

/** Did this expert fail lately (no answer, no connection; not an error that it answered), so that it should be left alone for now? */
bool skep_expert_failing(struct skep_expert_caller *caller, skep_bytes uid,
                         const struct skep_peer_id *peer);

struct skep_expert_caller_stats {
    uint64_t infos, forwards, backwards, unary, streamed, failed, timed_out, bytes_sent,
        bytes_received;
    size_t infos_kept, failing;
};
const struct skep_expert_caller_stats *
skep_expert_caller_stats(const struct skep_expert_caller *caller);

#endif
