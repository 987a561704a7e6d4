/* SPDX-License-Identifier: MIT */
/* What the files of a run share: run.c (building, ending), searchers.c, servers.c (declarations, sessions). */
#ifndef SKEP_LAB_RUN_H
#define SKEP_LAB_RUN_H

#include "moe/beam.h"
#include "lab/place.h"
#include "lab/scenario.h"

struct skep_lab_run {
    const struct skep_lab_scenario *scenario;
    const struct skep_mem *mem;
    struct skep_lab_report *report;
    skep_lab_progress *progress;
    void *progress_user;
    struct skep_lab_swarm swarm;
    struct skep_lab_world world;
    struct skep_prng prng;      /* of scores, times and choices */
    uint64_t started_us;        /* the searches */
    struct searcher *searchers; /* [scenario->searchers] */
    size_t searching;           /* searches that have begun and not ended */
    size_t searched, begun;
    struct server *servers; /* [scenario->nodes], while time passes */
    struct skep_timer partition_timer, check_timer;
    bool is_parted;
    struct skep_peer_id *accomplices; /* of the malicious members */
    int rc;
};

/** The first broken promise is kept. */
void skep_lab_wrong(struct skep_lab_run *run, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- searchers.c ---- */

/** Members of their own, clients. @return 0, SKEP_ENOMEM. */
int skep_lab_searchers_add(struct skep_lab_run *run);
/** Search until all queries are through (or, while time passes, until it has). @return 0, SKEP_ENOMEM. */
int skep_lab_searchers_run(struct skep_lab_run *run);
void skep_lab_searchers_fini(struct skep_lab_run *run);

/* ---- servers.c ---- */

/** Every full member declares its experts through the network, once. @return 0, SKEP_ENOMEM. */
int skep_lab_servers_start(struct skep_lab_run *run);
/** Sessions end from now on, and experts are declared again and again. */
void skep_lab_servers_live(struct skep_lab_run *run);
/** The member that serves an expert now and has declared it; SKEP_LAB_NOBODY: nobody at the moment. */
uint32_t skep_lab_server_of(const struct skep_lab_run *run, size_t expert);
/** Nobody declares or dies any more. */
void skep_lab_servers_stop(struct skep_lab_run *run);
void skep_lab_servers_fini(struct skep_lab_run *run);

/* ---- promises.c ---- */

/** Look at every living node, now and (while time passes) again and again. */
void skep_lab_promises_watch(struct skep_lab_run *run);
/** A key was not found although enough of its holders answered: has it been there all the time since it was asked for? */
void skep_lab_promises_missed(struct skep_lab_run *run, const struct skep_dht_id *key,
                              double asked_unix_s);
/** Everybody has stopped: does all come to rest? */
void skep_lab_promises_at_rest(struct skep_lab_run *run);

#endif
