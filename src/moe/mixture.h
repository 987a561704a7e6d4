/* SPDX-License-Identifier: MIT */
/* A layer of a mixture of remote experts: scores, search, calls, weighted sum; forward and backward. docs/wire.md h;
 * hivemind moe/client/moe.py (_RemoteCallMany), switch_moe.py.
 *
 *   forward   GATE --scores--> SEARCH --experts of each sample--> GATHER --one call an expert--> CALLS --masks--> COMBINE --> done
 *   backward  PREPARE --gradients of the outputs--> CALLS --gradients of the inputs--> SUM --> done
 *
 * Masks are hivemind's: which (sample, expert) counts as answered, and when waiting ends. The calls are not: all samples that go to one expert travel
 * together (hivemind: one call each), and with `failover` the search's next best take the places of those that fail. GATE, GATHER, COMBINE, PREPARE and
 * SUM are arithmetic, done on a worker thread where there is much of it. Left out: more than one optimizer step a backward and expert (a batch that has to be
 * cut into several calls makes as many). */
#ifndef SKEP_MOE_MIXTURE_H
#define SKEP_MOE_MIXTURE_H

#include "moe/beam.h"
#include "moe/expert.h"

enum {
    SKEP_MIXTURE_CALL_ROWS = 4096, /* of one call: what hivemind's servers take by default */
    SKEP_MIXTURE_CALL_BYTES =
        64 << 20, /* of the tensors of one call; the answer may be some times larger */
    SKEP_MIXTURE_WHY_MAX = 768
};

struct
    skep_mixer; /* what lives on between calls: the gate's parameters, the utilization, the draws */

struct skep_mixer_options {
    bool is_switch;
    const uint32_t *grid; /* [dims]; the searcher's */
    size_t dims, in_features;
    size_t k_best, k_min, backward_k_min;
    size_t spares; /* experts that the search looks for beyond k_best; 0: no failover */
    uint64_t forward_timeout_us, backward_timeout_us,
        timeout_after_k_min_us; /* SKEP_NEVER_US: none */
    bool detect_anomalies, allow_zero_outputs;
    double utilization_alpha, grid_dropout, jitter_eps;
    uint64_t seed;
    uint64_t search_budget_us; /* 0: none */
};

/** @param beam    The searcher of the grid; like `caller` and `env` borrowed while anything runs.
 *  @return 0; SKEP_ELIMIT, SKEP_ENOMEM. */
int skep_mixer_new(struct skep_mixer **out, struct skep_env *env, struct skep_expert_caller *caller,
                   struct skep_beam *beam, const struct skep_mixer_options *options);
/** No pass may be running. Ended ones are still to be released, and can be run backward no more. NULL is fine. */
void skep_mixer_free(struct skep_mixer *mixer);

size_t skep_mixer_outputs(const struct skep_mixer *mixer);
float *skep_mixer_weight(struct skep_mixer *mixer);
float *skep_mixer_bias(struct skep_mixer *mixer);
const float *skep_mixer_utilization(const struct skep_mixer *mixer);

struct skep_mixer_expert {
    const char *uid; /* terminated */
    size_t uid_len;
    struct skep_peer_id peer;
};

#define SKEP_MIXER_NONE UINT32_MAX

struct skep_mixer_report {
    size_t batch, columns;
    const struct skep_mixer_expert *experts;
    size_t expert_count;
    const uint32_t *cells; /* [batch][columns]: indices of experts, SKEP_MIXER_NONE */
    const double *scores;  /* [batch][columns]: of the search */
    const bool *answered;  /* [batch][columns] */
    const float *weights;  /* [batch][columns]; 0 where there was no answer */
    size_t calls, failed, replaced;
    double balancing_loss;
    struct skep_beam_stats search;
    bool search_timed_out;
    uint64_t elapsed_us;
};

struct skep_mixer_forward {
    /** Once; also from inside the start. rc: 0; SKEP_ENOTFOUND, SKEP_ETIMEDOUT, SKEP_EUNREACH, SKEP_EVALUE, SKEP_EINVAL (the scores are no numbers), SKEP_ENOMEM …;
     *  `text` says more and is good until this returns. What follows is good until skep_mixer_forward_fini(). */
    void (*done)(struct skep_mixer_forward *forward, int rc, const char *text);
    const skep_tensor *outputs; /* float32; NULL unless rc was 0 */
    size_t output_count;
    struct skep_mixer_report report; /* also where it failed, as far as it came */
    struct mix_forward *state;       /* private */
};

/** Can a forward take these? @return 0 or SKEP_EINVAL; `why` says more. In any thread. */
int skep_mixer_check_inputs(const struct skep_mixer *mixer, const skep_tensor *inputs, size_t count,
                            char *why, size_t why_len);

/** @param inputs  The array is copied, the numbers are borrowed until skep_mixer_forward_fini().
 *  @return 0; and then `done` never runs: SKEP_EINVAL (shapes), SKEP_ELIMIT, SKEP_ENOMEM; `why` says more. */
int skep_mixer_forward_start(struct skep_mixer_forward *forward, struct skep_mixer *mixer,
                             const skep_tensor *inputs, size_t count, char *why, size_t why_len);
/** Stop it if it runs (`done` does not run then) and release its results. After its backward has ended or was stopped. Harmless on a zeroed or released one. */
void skep_mixer_forward_fini(struct skep_mixer_forward *forward);

struct skep_mixer_backward {
    /** As a forward's. rc: 0; SKEP_ETIMEDOUT (less than backward_k_min), SKEP_EVALUE, SKEP_ENOMEM. */
    void (*done)(struct skep_mixer_backward *backward, int rc, const char *text);
    const skep_tensor *grad_inputs; /* of the inputs' types and shapes; NULL unless rc was 0 */
    size_t input_count;
    const float *grad_weight, *grad_bias;
    struct skep_mixer_report report; /* the forward's (and its memory), with the answers of this */
    struct mix_backward *state;      /* private */
};

/** Can this forward be run backward with these? @return 0 or SKEP_EINVAL; `why` says more. In any thread, once it has ended. */
int skep_mixer_check_gradients(const struct skep_mixer_forward *forward,
                               const skep_tensor *grad_outputs, size_t count, char *why,
                               size_t why_len);

/** Backward of a forward that ended with 0; once. @param grad_outputs  float32, like the outputs; the numbers are borrowed until the end.
 *  @return 0; SKEP_EINVAL, SKEP_ENOMEM; `why` says more. */
int skep_mixer_backward_start(struct skep_mixer_backward *backward,
                              struct skep_mixer_forward *forward, const skep_tensor *grad_outputs,
                              size_t count, double grad_loss, char *why, size_t why_len);
void skep_mixer_backward_fini(struct skep_mixer_backward *backward);

#endif
