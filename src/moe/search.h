/* SPDX-License-Identifier: MIT */
/* Inside of a searcher: what beam.c (searchers, starts, results), search.c (the steps of docs/wire.md d.5), frontier.c (which prefixes a search
 * has looked at, and the gets for the others), speculate.c (which of them to ask for before they are known to be there) share.
 *
 *   INITIAL --every example has its first beam--> CHOOSE --prefixes picked--> FORM --their records are there--> CHOOSE (next dimension) … --> ENDED
 *   … the last dimension --exact mode--> EXACT --nothing that is open can hold a better one--> ENDED
 *   PREFIXES (active successors) --every record is there--> ENDED
 * Each state is left when nothing that it needs is still being asked for; what is asked for ahead of need, and what is guessed, does not hold it up.
 *
 * A guess: UNKNOWN --guess--> GUESSED --found, or surely nobody's--> EARLY --wanted--> KNOWN, as if it had been asked for and answered at once
 *                                     --nothing found so far--> UNKNOWN (asked for properly if it comes to be wanted)
 *                                     --wanted--> ASKED, and the get is told to look for it to the end
 * So a search takes the same steps with guesses and without, only sooner, and what is known early never decides between equal scores. */
#ifndef SKEP_MOE_SEARCH_H
#define SKEP_MOE_SEARCH_H

#include "moe/arena.h"
#include "moe/beam.h"
#include "moe/prefix_tree.h"
#include "moe/rank.h"

enum slot_state {
    SLOT_UNKNOWN,    /* not at home, not asked for yet */
    SLOT_GUESSED,    /* in a get, or in `guesses`, as a guess */
    SLOT_EARLY,      /* answered, but the search has not come to it yet */
    SLOT_WANTED,     /* in `wanted` or `early` */
    SLOT_ASKED,      /* in a get */
    SLOT_KNOWN,      /* found, or (NULL) held by nobody */
    SLOT_UNANSWERED, /* too few holders answered, or not in time */
};

/** A prefix that a search has looked at. */
struct slot {
    uint64_t key;
    struct skep_prefix_node *node;     /* pinned */
    struct skep_moe_successors *found; /* a reference; NULL: none */
    struct fetch *fetch;               /* GUESSED, ASKED: by this get … */
    uint32_t place;                    /* … in which it is this one */
    enum slot_state state;
    uint16_t
        rounds;   /* of its answer: how many requests, each waiting for the one before, led to it */
    bool needed;  /* the search cannot go on without it */
    bool marked;  /* a negative mark is to be written, or is there */
    bool guessed; /* its answer comes of a guess, and was not used yet */
};

#define SLOT_ROOT 0
#define SLOT_NONE UINT32_MAX

/** A prefix in a beam. */
struct item {
    double score;
    uint32_t slot;
    const struct skep_prefix_node *node;
    const struct skep_moe_successors *found;
    const struct item *parent;            /* in the beam before; NULL in the first */
    const struct skep_moe_successor *via; /* the parent's entry that leads here */
};

/** One example of a batch. */
struct example {
    struct item *beam;
    size_t beam_count;
    /* the first dimension, best first, as far as it has been ranked */
    struct skep_ranked *order;
    size_t order_count, order_cap, cursor;
    size_t window;    /* how many unknown ones were asked for at once, so far */
    size_t home_walk; /* looked at since the deadline */
    size_t kept, consumed;
    bool complete;
    struct skep_top hits;
    size_t hits_room;
    size_t guesses; /* asked for so far */
    size_t unanswered;
    bool has_bound;
    double bound;
    bool
        has_floor; /* exact: so many experts were seen that no worse one than this can be in the answer */
    double floor;
    uint64_t *collected; /* exact: the slots it has collected from, a bit each */
    size_t collected_words;
};

enum search_kind { FIND_BEST, INITIAL_BEAM, ACTIVE_SUCCESSORS };
enum search_phase {
    PHASE_INITIAL,
    PHASE_CHOOSE,
    PHASE_FORM,
    PHASE_EXACT,
    PHASE_PREFIXES,
    PHASE_ENDED
};

struct search {
    struct skep_search *user;
    struct skep_beam *beam; /* NULL: it is gone, only results are left */
    struct skep_list link;
    struct skep_arena arena;
    enum search_kind kind;
    enum search_phase phase;
    bool running, timed_out;
    bool exact;
    size_t keys_max,
        keys; /* to be asked for at most in the exact mode (0: no bound of its own), and asked for so far, guesses apart */
    size_t guess_keys_max; /* of one example; 0: no guesses */
    int rc;
    size_t beam_size, dims, dim; /* `dim`: that of the coordinates chosen next */
    const uint32_t *sizes;
    uint32_t grid_size; /* of ACTIVE_SUCCESSORS */
    struct skep_score_table scores;
    struct example *examples;
    size_t example_count;
    /* the frontier */
    struct slot *slots;
    uint32_t slot_count, slot_cap, *table, table_mask;
    struct slot_list {
        uint32_t *slots;
        size_t count, cap;
    } wanted, guesses;      /* for the next gets */
    struct slot_list early; /* wanted, and there already */
    uint32_t *asked_prefixes;
    size_t asked_prefix_count;
    size_t needed;   /* slots */
    uint32_t rounds; /* the longest chain of requests that it has waited for */
    struct skep_list fetches;
    struct skep_top_item *scratch;
    size_t scratch_room;
    struct skep_timer deadline;
    double now_unix_s;
    uint64_t started_us;
    struct skep_successors_dropped dropped_before;
};

struct skep_beam {
    struct skep_dht *dht;
    struct skep_env *env;
    const struct skep_mem *mem;
    struct skep_prefix_tree tree;
    struct skep_grid grid;
    uint32_t *base; /* [base_count]: the numbers of the prefix itself */
    size_t base_count;
    bool negative_caching;
    double cache_expiration_s;
    size_t num_workers;
    uint64_t seed; /* of the slot tables */
    bool density_known;
    double density; /* the share of first indices under which there was something */
    /* [d]: of the prefixes of d >= 2 coordinates whose parent has something under it, the share that have, too; 0: not known */
    double deeper[SKEP_GRID_DIMENSIONS_MAX];
    struct skep_list searches; /* running, and ended but not yet released */
    size_t running;
    struct skep_list left; /* gets that go on without their search */
    size_t left_count;
    struct skep_list marks; /* stores of negative marks */
    size_t mark_count;
    struct skep_arena_block *spare;
};

/* ---- search.c ---- */

/** Go on as far as possible. The search may be gone afterwards. */
void skep_search_run(struct search *s);

/** Use what is at home from now on, and run to the end. */
void skep_search_time_out(struct search *s);

/** What an expert under a prefix of `depth` coordinates can score at most. */
double skep_search_bound(const struct search *s, size_t example, double score, size_t depth);

/** Nobody looked under this prefix: what may be there bounds the answer. */
void skep_search_not_looked_at(const struct search *s, struct example *e, double score,
                               size_t depth);

/** See to it that order[p] is there. @return 1; 0: there are not so many first indices; SKEP_ENOMEM. */
int skep_search_rank(struct search *s, struct example *e, size_t p);

/* ---- speculate.c ---- */

/** Add to what is about to be asked for the prefixes that it will probably lead to. @return 0, SKEP_ENOMEM. */
int skep_search_speculate(struct search *s);

/** The records of the beams are there, prefixes of `dim` coordinates: how many children do they name? */
void skep_search_learn_deeper(struct search *s, size_t dim);

/* ---- collect.c ---- */

/** Offer the experts that the records of `items` (of `dim` coordinates each) name to the example's hits. @return 0, SKEP_ENOMEM. */
int skep_collect(struct search *s, struct example *e, const struct item *items, size_t count,
                 size_t dim);

/* ---- exact.c ---- */

/** One pass of the exact mode over all examples. @return 0, SKEP_ENOMEM. */
int skep_search_exact(struct search *s);

/** The beam has collected from these. @return 0, SKEP_ENOMEM. */
int skep_exact_collected(struct search *s, struct example *e, const struct item *items,
                         size_t count);

/* ---- frontier.c ---- */

int skep_frontier_init(struct search *s);

/** @return the slot of a child of `parent`, looked up at home when it is new; SLOT_NONE: out of memory. */
uint32_t skep_frontier_child(struct search *s, uint32_t parent, uint32_t coordinate);

/** The same for a prefix of any kind; *fresh: it was not there yet. */
uint32_t skep_frontier_prefix(struct search *s, skep_bytes prefix, bool *fresh);

/** The search cannot go on without this slot (if it is not decided already). */
void skep_frontier_need(struct search *s, uint32_t slot);

/** Ask for this slot with the next gets. @return 0, SKEP_ENOMEM. */
int skep_frontier_want(struct search *s, uint32_t slot);

/** Ask for it with the next gets, too, though it may well be that there is nothing. @return 0, SKEP_ENOMEM. */
int skep_frontier_guess(struct search *s, uint32_t slot);

/** What a step wanted and was there already is known to the next. */
void skep_frontier_settle(struct search *s);

/** The search went by the answer of this slot. */
void skep_frontier_used(struct search *s, uint32_t slot);

/** Start the gets of everything wanted. @return 0, SKEP_ENOMEM. */
int skep_frontier_ask(struct search *s);

/** Leave the gets to themselves; what they had to decide is looked up at home or stays unanswered. @return 0, SKEP_ENOMEM. */
int skep_frontier_leave(struct search *s);

/** Cancel the gets. */
void skep_frontier_cancel(struct search *s);

/** Write the negative marks that were noted, in the background. */
void skep_frontier_write_marks(struct search *s);

/** Unpin everything. */
void skep_frontier_release(struct search *s);

/** Of a searcher that goes: cancel its gets and stores. */
void skep_frontier_abandon(struct skep_beam *beam);

/* ---- beam.c ---- */

/** Build the results, write the marks, release what only a running search needs, call `done`. */
void skep_search_end(struct search *s, int rc);

#endif
