/* SPDX-License-Identifier: MIT */
/* The searcher: finds the best alive experts of a grid in the DHT. docs/wire.md d.4, d.5; hivemind moe/client/beam_search.py, MoEBeamSearcher;
 * the idea: Ryabinin and Gusev 2020, "structured gating function".
 *
 * Results and their order are hivemind's; the way of asking is not. The best first indices are asked for together, more of them where the grid is
 * sparse, and consumed in hivemind's order; all examples of a batch share each round's one get. A tree of prefixes remembers each one's DHT id and
 * decoded record, so that a repeated search hashes and decodes nothing. The exact mode goes on where the beam ends: exact.c. */
#ifndef SKEP_MOE_BEAM_H
#define SKEP_MOE_BEAM_H

#include "dht/node.h"
#include "moe/grid.h"
#include "moe/successors.h"

struct skep_beam; /* a searcher; hivemind's MoEBeamSearcher */

struct skep_beam_options {
    skep_bytes prefix;    /* "ffn."; a missing last dot is added, as hivemind does */
    const uint32_t *grid; /* [dims] */
    size_t dims;
    bool negative_caching;     /* hivemind: true */
    double cache_expiration_s; /* how long a negative mark lives; hivemind: 300 */
    size_t num_workers; /* 0: ours; else at most so many first indices are asked for at once */
    size_t cache_bytes; /* decoded records kept; 0: SKEP_BEAM_CACHE_BYTES */
};

/** hivemind's defaults: negative caching for 300 s. Prefix and grid are still to be set. */
void skep_beam_options_default(struct skep_beam_options *options);

/** @param dht  Borrowed; outlives the searcher. @param options  Copied. @param why  May be NULL; else one line on what is wrong (SKEP_UID_WHY_MAX).
 *  @return 0; SKEP_EPREFIX, SKEP_EINVAL, SKEP_ELIMIT, SKEP_ENOMEM. */
int skep_beam_new(struct skep_beam **out, struct skep_dht *dht,
                  const struct skep_beam_options *options, char *why, size_t why_len);

/** Every search under way ends with SKEP_ECANCELED, from inside this call. Results live on until they are released. Before the node goes, and not from
 *  inside a `done`. */
void skep_beam_free(struct skep_beam *beam);

/** With the dot. */
skep_bytes skep_beam_prefix(const struct skep_beam *beam);

struct skep_beam_expert {
    const char *uid; /* terminated */
    size_t uid_len;
    struct skep_peer_id peer;
    double score;
};

/** One example's answer. */
struct skep_beam_hits {
    const struct skep_beam_expert *experts; /* [count], best first */
    size_t count;
    bool exact;        /* nothing that was not looked at can be better than what is here */
    bool has_bound;    /* false: everything was looked at */
    double bound;      /* no expert in a record that was not seen scores above this */
    size_t unanswered; /* prefixes it wanted whose holders did not answer, or not in time */
};

/** A prefix of a beam, and its active successors. */
struct skep_beam_prefix {
    const char *prefix; /* terminated */
    size_t prefix_len;
    double score;                                 /* of an initial beam */
    const struct skep_moe_successors *successors; /* NULL: none were found */
    bool answered; /* false: none were found, and too few holders answered to be sure of it */
};

struct skep_beam_stats {
    struct skep_dht_cost cost; /* rounds, calls and keys that went over the network */
    uint32_t gets;             /* multi-gets that this took */
    uint32_t guessed;          /* prefixes asked for before it was known that they are there … */
    uint32_t guesses_used;     /* … and that were, and were needed */
    uint32_t looked_up;        /* prefixes looked at, at home or in the network */
    uint32_t marked;           /* negative marks written */
    uint64_t elapsed_us;
    struct skep_successors_dropped dropped;
};

/** A search while it runs, and its results after: embedded by the caller, zeroed but for `done`. */
struct skep_search {
    /** Once; also from inside the start when everything was at home. rc: 0 (also with fewer than beam_size experts, or none; also when the time ran out:
     *  see timed_out), SKEP_ECANCELED (the searcher or the node is going), SKEP_ENOMEM. The results live until skep_search_fini(). */
    void (*done)(struct skep_search *search, int rc);
    const struct skep_beam_hits *hits; /* [hit_count], one an example: of skep_find_best_start() */
    size_t hit_count;
    const struct skep_beam_prefix *prefixes; /* [prefix_count]: of the two others */
    size_t prefix_count;
    bool timed_out; /* the deadline passed: from there on only what was at home was used */
    struct skep_beam_stats stats;
    struct search *state; /* private */
};

struct skep_search_options {
    size_t beam_size;
    bool exact; /* the true best, not those that a beam comes by */
    size_t
        keys_max; /* exact: prefixes asked for at most, the beam's counted, and none guessed; 0: SKEP_EXACT_KEYS_MAX, guesses not counted */
    size_t
        guess_keys_max; /* prefixes asked for on a guess at most, for each example; SKEP_BEAM_GUESS_KEYS_MAX for all. Changes nothing in the answer */
    uint64_t
        deadline_us; /* monotonic; 0: none. After it the search goes on with the local cache alone; queries under way go on and warm it */
};

/** hivemind's find_best_experts (one example) and batch_find_best_experts: up to beam_size experts each. Scores are copied.
 *  @return 0; and, then `done` never runs and there is nothing to release, SKEP_EINVAL (shapes, NaN, +infinity, beam size 0), SKEP_ELIMIT (SKEP_SEARCHES_MAX,
 *  SKEP_BEAM_SIZE_MAX …), SKEP_ENOMEM; `why` as above. */
int skep_find_best_start(struct skep_search *search, struct skep_beam *beam,
                         const struct skep_scores *scores,
                         const struct skep_search_options *options, char *why, size_t why_len);

/** hivemind's get_initial_beam: up to beam_size active prefixes of the first dimension, best first. `scores` has one example and one dimension
 *  of any length (hivemind does not hold it to the grid). */
int skep_initial_beam_start(struct skep_search *search, struct skep_beam *beam, const void *scores,
                            size_t count, enum skep_grid_scores type,
                            const struct skep_search_options *options, char *why, size_t why_len);

/** hivemind's get_active_successors: one skep_beam_prefix each, in the order given, equal prefixes once. grid_size: only coordinates below it; 0: all.
 *  Prefixes need not be the searcher's. options->beam_size is not used. */
int skep_active_successors_start(struct skep_search *search, struct skep_beam *beam,
                                 const skep_bytes *prefixes, size_t count, uint32_t grid_size,
                                 const struct skep_search_options *options, char *why,
                                 size_t why_len);

/** Stop it if it runs (`done` does not run then) and release its results. Harmless on a zeroed or released one; also from inside `done`. */
void skep_search_fini(struct skep_search *search);

/** End it now with what is at home, as if its deadline had passed: `done` runs from inside this call. */
void skep_search_finish(struct skep_search *search);

#endif
