/* SPDX-License-Identifier: MIT */
/* What the files of the mixture share: who the experts of each sample are, and the calls of a pass. */
#ifndef SKEP_MOE_MIXTURE_PARTS_H
#define SKEP_MOE_MIXTURE_PARTS_H

#include "base/prng.h"
#include "moe/gate.h"
#include "moe/heavy.h"
#include "moe/mixture.h"

/* ---- the layer ---- */

struct skep_mixer {
    struct skep_env *env;
    const struct skep_mem *mem;
    struct skep_expert_caller *caller;
    struct skep_beam *beam;
    struct skep_mixer_options options;
    struct skep_gate gate;
    struct skep_prng prng;
    uint32_t *grid;
    float *weight, *bias, *utilization;           /* the gate's are the same memory */
    bool has_outputs;                             /* some forward has learnt their shapes */
    skep_tensor outputs[SKEP_EXPERT_TENSORS_MAX]; /* the batch apart */
    skep_dtype types[SKEP_EXPERT_TENSORS_MAX];
    size_t output_count;
};

/* ---- experts of samples: mixture_experts.c ---- */

struct mix_experts {
    const struct skep_mem *mem;
    size_t batch, width; /* width: the most candidates of a sample */
    struct skep_mixer_expert *experts;
    uint32_t *coordinates; /* [expert_count][dims] */
    size_t expert_count, dims;
    char *text; /* the uids */
    uint32_t
        *candidates;  /* [batch][width]: those chosen, then the spares in the order to be tried */
    double *scores;   /* [batch][width] */
    uint32_t *counts; /* [batch] of the candidates */
    uint32_t *next;   /* [batch] the spare to be tried next */
    size_t columns;   /* the most that a sample has chosen */
    uint32_t *cells;  /* [batch][columns]: indices of experts, SKEP_MIXER_NONE */
    double *cell_scores; /* [batch][columns] */
    size_t passed_over;  /* places that went to another as the first is known to fail */
};

/** Copy what a search found, and choose the best k of each sample; those that fail at the moment last, where `caller` is given.
 *  @return 0; SKEP_ENOMEM; SKEP_ELIMIT; SKEP_EPEER_PROTO (a uid that is not in the grid). */
int mix_experts_init(struct mix_experts *experts, const struct skep_mem *mem,
                     const struct skep_gate *gate, const struct skep_search *search, size_t k_best,
                     struct skep_expert_caller *caller);
void mix_experts_fini(struct mix_experts *experts);

/** Give a cell the sample's next spare. @return false: there is none. */
bool mix_experts_replace(struct mix_experts *experts, size_t cell);

/** The coordinates of all cells' experts, [batch][columns][dims]; 0 where there is none. */
void mix_experts_coordinates(const struct mix_experts *experts, uint32_t *out);

/* ---- the calls of a pass: mixture_calls.c ---- */

struct mix_calls;

enum mix_call_state { MIX_WAITS, MIX_RUNS, MIX_ANSWERED, MIX_FAILED };

/** One call: all rows of one expert, or as many as one call takes. */
struct mix_call {
    struct skep_expert_call call;
    struct mix_calls *calls;
    struct mix_call *next;
    uint32_t expert;
    enum mix_call_state state;
    skep_tensor
        *tensors; /* [pattern_count] and their numbers, one block, until the call has ended */
    skep_tensor *answers;
    size_t answer_count;
    size_t rows;
    uint32_t cells[]; /* [rows]: row r belongs to sample cells[r] / columns */
};

/** Where the answer of a cell is. */
struct mix_place {
    struct mix_call *call; /* NULL: none was made */
    uint32_t row;
};

/** Calls of one pass, and hivemind's _collect_responses over them. */
struct mix_calls {
    struct skep_env *env;
    const struct skep_mem *mem;
    struct skep_expert_caller *caller;
    struct mix_experts *experts;
    enum skep_expert_call_kind kind;
    const skep_tensor *
        patterns; /* [pattern_count]: inputs, whose rows are sent, then gradients of outputs: type and shape */
    size_t pattern_count, input_count;
    size_t k_min;
    uint64_t timeout_us, after_k_min_us;
    bool detect_anomalies, failover;
    /** May its answer be used? `call` has the rows; the tensors are as they came. @return 0, or an error with `why` filled. */
    int (*accept)(struct mix_calls *calls, const struct mix_call *call, char *why, size_t why_len);
    /** Write a gradient's numbers for the rows of a call; on any thread. */
    void (*write)(struct mix_calls *calls, const struct mix_call *call, size_t gradient, void *to);
    /** Nothing more is to come: all calls have ended, or the time is up; also from inside the start. */
    void (*ended)(struct mix_calls *calls);
    /* results */
    struct mix_place *places; /* [cells] */
    bool *answered;           /* [cells] */
    size_t answered_count, call_count, failed_count, replaced_count;
    int rc; /* what went wrong on this machine: SKEP_ENOMEM; not an expert's failure */
    char why[SKEP_MIXTURE_WHY_MAX]; /* of the first call that failed */
    /* private */
    struct mix_call *first, **tail, *waits; /* waits: the first that is not started */
    size_t rows_max;                        /* of one call */
    uint32_t *successes;                    /* [batch] */
    size_t waiting_samples, running;
    uint64_t finish_us;
    struct skep_timer timer;
    bool starting;
};

/** Zeroed before, with what is above `results` set. @return 0 or SKEP_ENOMEM. */
int mix_calls_init(struct mix_calls *calls);
void mix_calls_fini(struct mix_calls *calls);

/** Make the calls of these cells, one an expert, and reserve their memory. @return 0 or SKEP_ENOMEM. */
int mix_calls_add(struct mix_calls *calls, const uint32_t *cells, size_t count);

/** Numbers that gathering all will copy. */
double mix_calls_operations(const struct mix_calls *calls);
/** Gather the rows of all that wait. On any thread. */
void mix_calls_gather(struct mix_calls *calls, const atomic_bool *stop);

/** Start them; `ended` follows. */
void mix_calls_start(struct mix_calls *calls);
/** No event any more; the answers stay. */
void mix_calls_stop(struct mix_calls *calls);

/* ---- tensors of rows ---- */

/** Numbers of one row of a tensor whose first axis is the batch. */
size_t mix_row_elements(const skep_tensor *tensor);

/* ---- a forward, as its backward needs it ---- */

struct mix_forward {
    struct skep_mixer_forward *user;
    struct skep_mixer *mixer;
    struct skep_env *env;
    const struct skep_mem *mem;
    struct skep_gate gate; /* parameters are the mixer's */
    skep_tensor inputs[SKEP_EXPERT_TENSORS_MAX];
    size_t input_count, batch, middle;
    uint64_t started_us, jitter_seed, dropout_seed;
    float *own_x;         /* what the gate saw, where that is not the input itself */
    const float *x;       /* [batch][in_features] */
    float *scores;        /* [batch][outputs]; switch: dropped ones -infinity */
    float *probabilities; /* switch: [batch][outputs] */
    float *mean;          /* switch: [outputs] of the probabilities */
    bool *kept;           /* switch: [outputs] */
    float *utilization;   /* switch: [outputs] as it was used in the loss */
    bool anomaly;         /* an input has NaN or infinity */
    struct skep_heavy heavy;
    struct skep_search search;
    struct mix_experts experts;
    struct mix_calls calls;
    uint32_t *coordinates; /* of the cells */
    float *weights;        /* [cells] */
    skep_tensor outputs[SKEP_EXPERT_TENSORS_MAX];
    skep_dtype types[SKEP_EXPERT_TENSORS_MAX]; /* of the experts' outputs, as they came */
    size_t output_count;
    bool has_outputs; /* an answer, or the mixer, has said what they are */
    bool ended, ok, used;
    char why[SKEP_MIXTURE_WHY_MAX + 128];
};

struct skep_gate_cells mix_forward_cells(const struct mix_forward *forward);

int mix_say(char *why, size_t why_len, int rc, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
