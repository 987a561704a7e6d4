/* SPDX-License-Identifier: MIT */
/* Random small grids for property tests of the searcher: few and many dimensions, sparse and dense, ties, -infinity, float32 and float64, stale prefixes,
 * stray uids, keys that nobody answers for. */
#ifndef RANDOM_WORLD_H
#define RANDOM_WORLD_H

#include "moe/beam.h"
#include "moe/fake_dht.h"
#include "support/test.h"

enum {
    DIMS_MAX = 4,
    SIZE_MAX_HERE = 12,
    RECORDS_MAX = 4096,
    HITS_MAX = 4096,
    BEAM_MAX = 8,
    EXAMPLES_MAX = 4
};

struct record {
    char key[64], uid[64];
    int coordinate;
    const char *peer;
};

struct world {
    size_t dims, beam_size, examples;
    uint32_t sizes[DIMS_MAX];
    bool narrow;
    double scores[EXAMPLES_MAX][DIMS_MAX][SIZE_MAX_HERE];
    struct record records[RECORDS_MAX];
    size_t record_count, added;
};

extern struct world world;
extern bool (*world_blocked)(const char *key); /* nobody answers for this one */
extern unsigned world_blocked_ppm;

/** As the searcher adds: in float32 where the world is narrow. */
double world_add(double a, double b);

/** Is the record's uid its prefix plus its coordinate? */
bool world_is_valid(const struct record *r);

/** Does the prefix have a valid record that somebody answers for? */
bool world_has_entries(const char *key, bool flat_too);

/** The score of a record's expert. @return false: it is none of this grid. */
bool world_expert_of(const struct record *r, const double (*scores)[SIZE_MAX_HERE],
                     double prefix_score, double *score);

void world_draw(struct skep_prng *prng, struct skep_dht *dht);

/** The keys that fake_dht leaves unanswered at world_blocked_ppm. */
bool world_is_blocked(const char *key);

/** A searcher for the world's grid, without negative caching. */
struct skep_beam *world_beam(struct skep_dht *dht);

struct run {
    struct skep_search search;
    int ended, rc;
};

/** Start a search over examples [first, first + examples). */
void world_start(struct run *run, struct skep_beam *beam, size_t first, size_t examples,
                 const struct skep_search_options *options);

#endif
