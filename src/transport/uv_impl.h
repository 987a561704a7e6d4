/* SPDX-License-Identifier: MIT */
/* What uv_loop.c, uv_work.c and uv_tcp.c share: the loop's struct. Nothing outside this folder sees libuv. */
#ifndef SKEP_TRANSPORT_UV_IMPL_H
#define SKEP_TRANSPORT_UV_IMPL_H

#include <uv.h>

#include "transport/uv_loop.h"

struct skep_uv_work;

struct skep_uv_loop {
    struct skep_env env;             /* first: env callbacks cast back */
    struct skep_timers timers;       /* env.timers */
    struct skep_transport transport; /* TCP */
    uv_loop_t uv;
    uv_timer_t deadline; /* the only one: armed for the next skep timer */
    uv_async_t wake;
    uv_signal_t signals[2]; /* SIGINT, SIGTERM */
    bool has_signals;
    struct skep_uv_work *work; /* NULL: no job yet */
    unsigned workers_max;
    void (*on_wake)(void *user);
    void *wake_user;
    void (*on_signal)(void *user, int signal);
    void *signal_user;
};

/* uv_work.c: env.work, and its end: waits for the jobs under way and runs their `done`s; its handle is closed when the loop has run. */
int skep_uv_work_start(struct skep_env *env, struct skep_work *work);
void skep_uv_work_close(struct skep_uv_loop *loop);

/** Fill in loop->transport. */
void skep_uv_tcp_init(struct skep_uv_loop *loop);

#endif
