/* SPDX-License-Identifier: MIT */
/* What a run is made of, and what it measured. The same scenario gives the same report, byte for byte, on every machine and compiler. */
#ifndef SKEP_LAB_SCENARIO_H
#define SKEP_LAB_SCENARIO_H

#include "dht/node.h"
#include "sim/sim_faults.h"
#include "lab/samples.h"

enum { SKEP_LAB_SEARCHERS_MAX = 100, SKEP_LAB_TIMELINE = 60, SKEP_LAB_WRONG_MAX = 256 };

struct skep_lab_scenario {
    uint64_t seed;
    size_t nodes; /* full members */
    size_t experts, dims;
    uint32_t grid[SKEP_GRID_DIMENSIONS_MAX];
    bool
        real; /* joins and declarations go through the network, else both are placed by rule (place.h) */

    struct skep_sim_faults faults;
    uint32_t
        dead_ppm; /* of the full members: silent from the start, and still in everybody's table */
    uint32_t slow_ppm; /* stragglers: their answers leave so much later: */
    uint64_t slow_us;
    uint32_t malicious_ppm; /* of all members; each with a vice of malice.h, drawn */
    uint64_t skew_us;       /* wall clocks are wrong by up to so much, either way */
    uint32_t client_ppm;    /* of all members: cannot be reached, hold nothing, but serve experts */

    /* searches */
    size_t queries, searchers, beam_size;
    bool exact;
    uint64_t budget_us;           /* of each search; 0: none */
    size_t keys_max;              /* exact: keys asked for at most; 0: no bound of its own */
    bool normal_scores;           /* else uniform in [0, 1) */
    bool keep_caches;             /* else every search starts cold */
    size_t guess_keys;            /* keys asked for on a guess at most, a search */
    bool one_hop;                 /* the searchers know everybody */
    struct skep_dht_options node; /* of every member; the searchers' is the same */

    /* time passes: 0: it does not, and the searches follow one another */
    uint64_t duration_us;
    struct skep_sim_session
        session; /* a member's life, who is replaced at once; median 0: for ever */
    uint64_t
        declare_every_us; /* each expert is declared so often, for twice as long; 0: once, for a day (or placed), and by who takes over */
    uint32_t
        partition_ppm; /* of the members are cut off from the others, once a third of the time has passed … */
    uint64_t partition_us; /* … for so long */
    bool
        check; /* watch what must always hold, which takes time: look at every node now and then, and at the end see that all comes to rest */
};

struct skep_lab_minute {
    uint32_t found, missed; /* values asked for */
    uint32_t living;
};

struct skep_lab_report {
    /* how it was built */
    uint64_t joins_failed;
    struct skep_lab_samples table_nodes; /* of full members, at the start of the searches */
    struct skep_lab_samples rtt_us;      /* of pairs of members, drawn */
    uint64_t one_hop_bytes;              /* of one searcher's table */

    /* searches */
    uint64_t searches, unanswered, claimed_exact, timed_out,
        late;                   /* late: answered after their budget */
    uint64_t hits, hits_wanted; /* experts found that are among the best, of so many */
    struct skep_lab_samples latency_us, rounds, calls, keys, guessed;
    struct skep_lab_samples
        gap_micro; /* the bound's height above the worst expert of the answer, in millionths of a score; 0: exact */

    /* values, while time passes */
    uint64_t values_found, values_missed;
    struct skep_lab_minute timeline[SKEP_LAB_TIMELINE];
    size_t timeline_count;
    uint64_t deaths, births;

    /* the network */
    struct skep_lab_samples load; /* calls that each full member received during the searches */
    struct skep_lab_traffic {
        uint64_t calls, lost, timeouts, handshakes, bytes;
    } net; /* during the searches */
    uint64_t events, virtual_us, digest;
    char wrong[SKEP_LAB_WRONG_MAX]; /* the first promise that was broken; empty: none was */
};

/** 1,000 nodes, 4,096 experts of 256^3, 100 searches by 10 searchers, 80 ms lognormal. */
void skep_lab_scenario_default(struct skep_lab_scenario *scenario);

/** One drawn from a seed, of at most so many nodes, with `check`. */
void skep_lab_scenario_random(struct skep_lab_scenario *scenario, uint64_t seed, size_t nodes_max);

/** @param why  gets one line on what is wrong. @return 0 or SKEP_EINVAL. */
int skep_lab_scenario_check(const struct skep_lab_scenario *scenario, const char **why);

/** What is going on, for a progress line; done of whole. */
typedef void skep_lab_progress(void *user, const char *what, uint64_t done, uint64_t whole);

/** @param report  to be released with skep_lab_report_fini(), also after an error. @param progress  May be NULL.
 *  @return 0; SKEP_EINVAL (the scenario), SKEP_ENOMEM. */
int skep_lab_run(const struct skep_lab_scenario *scenario, const struct skep_mem *mem,
                 struct skep_lab_report *report, skep_lab_progress *progress, void *user);
void skep_lab_report_fini(struct skep_lab_report *report);

#endif
