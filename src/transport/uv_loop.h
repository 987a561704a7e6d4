/* SPDX-License-Identifier: MIT */
/* The real environment: a libuv loop that drives a skep_env's timers, OS entropy, clocks and threads for work. */
#ifndef SKEP_TRANSPORT_UV_LOOP_H
#define SKEP_TRANSPORT_UV_LOOP_H

#include "transport/transport.h"

struct skep_uv_loop;

/** @param log  May be NULL: nothing is logged. `mem` is for everything on this loop. */
int skep_uv_loop_new(struct skep_uv_loop **out, const struct skep_mem *mem);

/** The loop must not be running; all links and listeners must be closed. Waits for jobs under way and runs their `done`s, runs what closing needs, then
 *  frees. */
void skep_uv_loop_free(struct skep_uv_loop *loop);

/** How many jobs of env->work run at once, each on a thread of this loop's own: 2 unless said otherwise before the first job.
 *  @return 0; SKEP_EINVAL: none, more than SKEP_WORKERS_MAX, or too late. */
int skep_uv_loop_set_workers(struct skep_uv_loop *loop, unsigned count);

struct skep_env *skep_uv_loop_env(struct skep_uv_loop *loop);

/** TCP over this loop: keep-alive and no-delay on every socket. */
struct skep_transport *skep_uv_loop_tcp(struct skep_uv_loop *loop);

/** One turn: fire due timers, wait for I/O at most until the next timer or max_wait_us, handle it.
 *  @return 0, or SKEP_ESYSTEM. */
int skep_uv_loop_turn(struct skep_uv_loop *loop, uint64_t max_wait_us);

/** From any thread: make a waiting turn return, and have `on_wake` called on the loop (set once, before use). */
void skep_uv_loop_wake(struct skep_uv_loop *loop);
void skep_uv_loop_on_wake(struct skep_uv_loop *loop, void (*on_wake)(void *user), void *user);

/** Call `on_signal` on the loop when SIGINT or SIGTERM arrives (for commands). */
int skep_uv_loop_on_signal(struct skep_uv_loop *loop, void (*on_signal)(void *user, int signal),
                           void *user);

#endif
