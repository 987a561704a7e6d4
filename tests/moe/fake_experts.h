/* SPDX-License-Identifier: MIT */
/* Experts without a network: what the mixture uses of moe/expert.h, linked instead of it. Each expert computes
 *
 *   y = s·x + t·x² [+ u]      and, where there are two outputs,      z = s · Σ x      of each row
 *
 * with s and t of its uid; u is a second input of floating point. Answers come on the environment's timers. */
#ifndef FAKE_EXPERTS_H
#define FAKE_EXPERTS_H

#include "base/list.h"
#include "moe/expert.h"

struct fake_behaviour {
    int start_rc;     /* what the start returns, if not 0 */
    int rc;           /* what it ends with */
    const char *text; /* of the error */
    uint64_t delay_us;
    bool hang;          /* it never answers */
    bool nan_rows[64];  /* rows whose first number is NaN */
    size_t outputs;     /* 1, or 2 */
    skep_dtype type;    /* of the outputs */
    size_t extra_rows;  /* more than was asked for */
    size_t extra_width; /* each row longer than the input's */
    size_t extra_count; /* more tensors */
};

struct fake_experts {
    struct skep_env *env;
    void *user;
    /** How it behaves; zeroed before, but for outputs 1. */
    void (*behave)(struct fake_experts *experts, const struct skep_expert_request *request,
                   struct fake_behaviour *behaviour);
    struct skep_list calls; /* that run */
    size_t forwards, backwards, rows, rows_most;
    char failing[16][32]; /* uids */
    size_t failing_count;
    /** Sees each request as it starts; may be NULL. */
    void (*see)(struct fake_experts *experts, const struct skep_expert_request *request);
};

void fake_experts_init(struct fake_experts *experts, struct skep_env *env);
/** All calls have ended. */
void fake_experts_fini(struct fake_experts *experts);
struct skep_expert_caller *fake_experts_caller(struct fake_experts *experts);
size_t fake_experts_running(const struct fake_experts *experts);

/** The numbers of an expert. */
void fake_expert_of(skep_bytes uid, float *s, float *t);

#endif
