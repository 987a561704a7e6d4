/* SPDX-License-Identifier: MIT */
/* One hosted expert: its parameters, its optimizer's state, and a pass over a batch. hivemind moe/server/module_backend.py.
 *
 * No locks: the runtime sees to it that one expert is in one place at a time, on the loop or on a worker. */
#ifndef SKEP_SERVER_BACKEND_H
#define SKEP_SERVER_BACKEND_H

#include <skep/expert_class.h>
#include <skep/server.h>

#include "base/bytes.h"
#include "base/prng.h"
#include "server/scratch.h"

/** C[m][n] = alpha * op(A) op(B) + beta * C: see skep_pass. */
typedef void skep_sgemm_fn(char op_a, char op_b, size_t m, size_t n, size_t k, float alpha,
                           const float *a, size_t lda, const float *b, size_t ldb, float beta,
                           float *c, size_t ldc);

/** Ours, in plain C: for tests, and where no library is. gemm.c */
skep_sgemm_fn skep_sgemm_portable;

/** How parameters are trained. */
struct skep_training {
    enum skep_optimizer optimizer;
    double learning_rate;  /* of the schedule's top */
    double clip_grad_norm; /* 0: none */
    enum skep_schedule schedule;
    uint64_t warmup_steps, training_steps;
};

/** The schedule's learning rate after so many steps. schedule.c; hivemind moe/server/layers/lr_schedule.py. */
double skep_training_rate(const struct skep_training *training, uint64_t step);

/** A class that has been opened for a dimension and options. Stays where it was opened. */
struct skep_class {
    const skep_expert_class *class;
    skep_class_schema schema;
    void *state;
    size_t hidden;
    /* private: scratch memory that the passes of its experts leave to each other */
    struct skep_scratch_shelf *shelf, own_shelf;
};

/** skep's own classes, by name; NULL: there is none. class.c */
const skep_expert_class *skep_expert_class_find(const char *name);

/** @return 0; SKEP_EINVAL, SKEP_ENOMEM; `why` says what. Checks what the class says (names, counts, shapes). */
int skep_class_open(struct skep_class *out, const skep_expert_class *class, size_t hidden,
                    const char *options, char *why, size_t why_len);
/** After its backends have gone, while their memory's allocator lives. Once more, or after open() failed, is fine. */
void skep_class_close(struct skep_class *class);

struct skep_backend {
    const struct skep_mem *mem;
    const struct skep_class *class;
    const struct skep_training *training;
    skep_sgemm_fn *sgemm;
    /* [parameter_count] blocks of numbers, aligned to 64 bytes; exp_avg and exp_avg_sq only with Adam */
    float *parameters[SKEP_CLASS_PARAMETERS_MAX];
    float *exp_avg[SKEP_CLASS_PARAMETERS_MAX];
    float *exp_avg_sq[SKEP_CLASS_PARAMETERS_MAX];
    size_t counts[SKEP_CLASS_PARAMETERS_MAX];
    uint64_t step; /* of the optimizer, taken so far */
    uint64_t steps_refused;
    void *memory; /* private: holds the blocks */
};

/** Memory for the parameters, and their first values drawn from `prng`. @return 0 or SKEP_ENOMEM. */
int skep_backend_init(struct skep_backend *backend, const struct skep_mem *mem,
                      const struct skep_class *class, const struct skep_training *training,
                      skep_sgemm_fn *sgemm, struct skep_prng *prng);
void skep_backend_fini(struct skep_backend *backend);

/** @param outputs  [output_count] where each output's numbers go. @return 0; what the class returns. */
int skep_backend_forward(struct skep_backend *backend, size_t rows, uint64_t seed,
                         const skep_tensor *inputs, void *const *outputs);

/** Gradients of the inputs (zeros for those that are not floating point), then one step of the optimizer and of the schedule. A step whose gradient is not
 *  finite changes nothing, and is counted. @param grad_inputs  [input_count]. @return 0; SKEP_EVALUE: such a step; what the class returns: nothing changed. */
int skep_backend_backward(struct skep_backend *backend, size_t rows, uint64_t seed,
                          const skep_tensor *inputs, const skep_tensor *grad_outputs,
                          void *const *grad_inputs);

#endif
