/* SPDX-License-Identifier: MIT */
/* Experts: to declare them, to look them up, and to find the best of a grid. What hivemind's moe module and MoEBeamSearcher give.
 *
 * A uid is "ffn.12.7": a name and one coordinate a dimension. A prefix ends in a dot: "ffn.", "ffn.12.". Texts that come from peers are
 * as the peers sent them: skep_text_for_terminal() before printing. */
#ifndef SKEP_MOE_H
#define SKEP_MOE_H

#include <skep/skep.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct skep_expert {
    const char *uid;
    skep_peer peer; /* who serves it; len 0: nobody */
    double score;   /* of a search */
} skep_expert;

/** @return whether it is in the grammar of uids, or of prefixes. */
SKEP_API bool skep_is_uid(const char *text);
SKEP_API bool skep_is_prefix(const char *text);

/* ---- declare, look up ---- */

typedef struct skep_declare_options {
    size_t struct_size;       /* sizeof this struct; 0 with all else zero: the defaults */
    double ttl_s;             /* 0: 60 s from now */
    double expiration_unix_s; /* 0: from ttl_s */
    const skep_peer *peer;    /* who serves them; NULL: this node */
    uint64_t timeout_us;      /* 0: none */
} skep_declare_options;

typedef struct skep_declared {
    size_t keys;     /* (key, subkey) pairs written */
    size_t accepted; /* of them, by at least one replica */
    size_t replicas; /* sum over the keys of the replicas that accepted */
    uint32_t rounds, calls;
    uint64_t elapsed_us;
} skep_declared;

/** @return 0; SKEP_EUID (the text names it), SKEP_EINVAL, SKEP_ELIMIT, SKEP_ENOMEM. */
SKEP_API int skep_moe_declare(skep_op **out, skep_node *node, const char *const *uids, size_t count,
                              const skep_declare_options *options, skep_op_cb *cb, void *user_data);
/** @return owned by the operation; NULL unless it ended with 0 or SKEP_EDEADLINE. */
SKEP_API const skep_declared *skep_moe_declare_result(const skep_op *op);

/** Who serves these experts. @return 0; SKEP_EUID. */
SKEP_API int skep_moe_get_experts(skep_op **out, skep_node *node, const char *const *uids,
                                  size_t count, uint64_t timeout_us, skep_op_cb *cb,
                                  void *user_data);
/** @return [*count] in the order of the uids, peer.len 0 where nobody does; owned by the operation. */
SKEP_API const skep_expert *skep_moe_get_experts_result(const skep_op *op, size_t *count);

/* ---- search ---- */

enum skep_find_mode {
    SKEP_FIND_BEAM, /* as hivemind: the best beam_size prefixes of each dimension */
    SKEP_FIND_EXACT /* the true best of all experts that the records name; the prefix must have no numbers */
};

enum skep_score_type { SKEP_SCORE_FLOAT32, SKEP_SCORE_FLOAT64 };

/** Set by skep_find_options_init(). */
typedef struct skep_find_options {
    size_t struct_size;
    const char *prefix;      /* "ffn." */
    const size_t *grid_size; /* [dimensions] */
    size_t dimensions;
    enum skep_score_type score_type; /* sums stay in it */
    /** [dimensions] pointers: scores[d] points to batch_size rows of grid_size[d] numbers. -infinity is legal; NaN and +infinity are refused.
     *  Borrowed until the operation has ended (a large batch is megabytes) unless copy_scores. */
    const void *const *scores;
    /** [dimensions] numbers from one row of scores[d] to the next; NULL: grid_size. With a row of all dimensions side by side it is their sum. */
    const size_t *row_stride;
    size_t batch_size; /* 1 */
    bool copy_scores;
    size_t beam_size;          /* 4 */
    size_t num_workers;        /* 0: as many requests in flight as is good */
    bool negative_caching;     /* true */
    double cache_expiration_s; /* 300: how long a negative mark lives */
    uint64_t time_budget_us;   /* 0: none. It answers by then with what it has */
    enum skep_find_mode mode;
    /** Exact: prefixes asked for at most, the beam's that goes before counted; then it answers with what it has, and `bound` tells. 0: 65,536. */
    size_t key_budget;
    /** 64: prefixes asked for at most, for each example, before it is known that they are there, so that a search is done in one round where the grid is
     *  dense enough; 4096 for a whole batch. 0: none. Changes nothing in the answer. */
    size_t guess_keys;
} skep_find_options;

SKEP_API void skep_find_options_init_size(skep_find_options *options, size_t struct_size);

static inline void skep_find_options_init(skep_find_options *options)
{
    skep_find_options_init_size(options, sizeof *options);
}

/** The answer for one example. */
typedef struct skep_found {
    const skep_expert *experts; /* [count], best first */
    size_t count;
    bool exact; /* nothing better is declared in any record that could have been asked for */
    double
        bound; /* no expert that was not looked at scores above it; NaN: not known, -infinity: none is left */
    uint32_t unanswered; /* prefixes whose holders did not answer, or not in time */
} skep_found;

/** What a whole search cost. */
typedef struct skep_find_cost {
    uint32_t rounds, keys, calls;
    uint64_t elapsed_us;
    bool out_of_time; /* the budget ended it */
} skep_find_cost;

/**
 * Find up to beam_size alive experts with the highest sums of grid scores, for each example of the batch.
 * @return 0; and then nothing is sent: SKEP_EPREFIX, SKEP_EINVAL (shapes, beam size 0, NaN or +infinity; the text names the place),
 *         SKEP_ELIMIT (searches running, a beam above 65,536), SKEP_ENOMEM.
 * Source: hivemind moe/client/beam_search.py; Ryabinin & Gusev 2020, structured gating function; docs/wire.md d.5.
 */
SKEP_API int skep_moe_find(skep_op **out, skep_node *node, const skep_find_options *options,
                           skep_op_cb *cb, void *user_data);
/** @return [*count] = [batch_size], owned by the operation; NULL unless it ended with 0. `cost` may be NULL. */
SKEP_API const skep_found *skep_moe_find_result(const skep_op *op, size_t *count,
                                                skep_find_cost *cost);

typedef struct skep_successor {
    int64_t coordinate; /* -1: the 1-d expert itself */
    const char *uid;    /* an example of an expert below it */
    skep_peer peer;
} skep_successor;

typedef struct skep_successors {
    const char *prefix;
    double score;                     /* of an initial beam */
    const skep_successor *successors; /* [count] */
    size_t count;
    bool answered; /* none, and enough holders answered for that to mean that there is none */
} skep_successors;

/** The beam_size best indices of the first dimension under which there is an expert. options as for skep_moe_find(); only the first
 *  dimension of `grid_size` and `scores` is looked at, and one example. */
SKEP_API int skep_moe_initial_beam(skep_op **out, skep_node *node, const skep_find_options *options,
                                   skep_op_cb *cb, void *user_data);

typedef struct skep_successors_options {
    size_t struct_size; /* sizeof this struct; 0 with all else zero: the defaults */
    size_t grid_size;   /* coordinates at or above it are left out; 0: no bound */
    bool no_negative_caching;
    double cache_expiration_s; /* 0: 300 */
    uint64_t timeout_us;       /* 0: none */
} skep_successors_options;

/** The active successors of each prefix. @return 0; SKEP_EPREFIX. */
SKEP_API int skep_moe_successors(skep_op **out, skep_node *node, const char *const *prefixes,
                                 size_t count, const skep_successors_options *options,
                                 skep_op_cb *cb, void *user_data);
/** Of skep_moe_initial_beam() (best first) and skep_moe_successors() (in the order of the prefixes). @return [*count], owned by the operation. */
SKEP_API const skep_successors *skep_moe_successors_result(const skep_op *op, size_t *count);

#ifdef __cplusplus
}
#endif
#endif
