/* SPDX-License-Identifier: MIT */
/* A piece of arithmetic: at once where it takes less than a millisecond, else on a worker thread, so that the loop is never held up by it.
 *
 *   start --light--> run, done (inside the start)
 *         --heavy--> QUEUED --worker--> RUNNING --> RAN --loop--> done
 *   stop     of a QUEUED one: it never runs; of a RUNNING one: asks it to end, and waits for that. */
#ifndef SKEP_MOE_HEAVY_H
#define SKEP_MOE_HEAVY_H

#include <stdatomic.h>

#include "env/env.h"

/* Operations on numbers, or bytes copied divided by four, that are done at once: about a millisecond of them. */
enum { SKEP_HEAVY_OPERATIONS = 1 << 20 };

struct skep_heavy {
    /** On any thread; touches nothing of the loop's. Where *stop becomes true it should return soon, with whatever it has. */
    void (*run)(struct skep_heavy *heavy, const atomic_bool *stop);
    /** On the loop, unless it was stopped; may be from inside the start. */
    void (*done)(struct skep_heavy *heavy);
    struct heavy_job *job; /* private: while it runs elsewhere */
};

/** Embedded by the user, with `run` and `done` set. Where there is no memory or no thread for it, it runs at once. */
void skep_heavy_start(struct skep_heavy *heavy, struct skep_env *env, double operations);

/** Neither run nor done is running or will run after this. Harmless on one that does not run. */
void skep_heavy_stop(struct skep_heavy *heavy);

#endif
