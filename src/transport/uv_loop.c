/* SPDX-License-Identifier: MIT */
/* The real environment: clocks, entropy and the timers of one libuv loop. Work off the loop is uv_work.c's.
 *
 * A turn is: due timers, one poll, due timers. Work that was put off to "the end of this turn" by a timer of
 * zero delay (a host's flush) so runs right after the sockets were read, without another trip through the poll.
 * libuv's own timers count in milliseconds, so a deadline is rounded up to the next one. */
#include "transport/uv_impl.h"

#include <openssl/rand.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include "base/limits.h"

enum {
    TIMER_PASSES_MAX =
        16, /* timers that start timers of no delay: after so many rounds the sockets come first */
    US_PER_MS = 1000,
    WAIT_MS_MAX = 60000,
    WORKERS = 2
};

static uint64_t now_us(struct skep_env *env)
{
    (void)env;
    return uv_hrtime() / 1000;
}

static double unix_s(struct skep_env *env)
{
    struct timespec now;

    (void)env;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int entropy(struct skep_env *env, void *out, size_t len)
{
    (void)env;
    return len <= INT32_MAX && RAND_bytes(out, (int)len) == 1 ? 0 : SKEP_ECRYPTO;
}

/* ---- the loop ---- */

static void on_deadline(uv_timer_t *timer)
{
    (void)timer; /* it only ends the poll; the turn runs what is due */
}

static void on_async(uv_async_t *async)
{
    struct skep_uv_loop *loop = SKEP_CONTAINER_OF(async, struct skep_uv_loop, wake);

    if (loop->on_wake)
        loop->on_wake(loop->wake_user);
}

/* A write to a socket that the peer has closed must be an error, not the end of the process. A handler that the program
 * has set itself stays. */
static void ignore_sigpipe(void)
{
    struct sigaction old;

    if (sigaction(SIGPIPE, NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) &&
        old.sa_handler == SIG_DFL) {
        struct sigaction ignore = {.sa_handler = SIG_IGN};

        sigemptyset(&ignore.sa_mask);
        sigaction(SIGPIPE, &ignore, NULL);
    }
}

/* Every link takes a file descriptor, and the loop, its listeners and the program itself need some too. */
static size_t links_max(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY)
        return 0;
    return files.rlim_cur >= (rlim_t)2 * SKEP_FILES_SPARED
               ? (size_t)files.rlim_cur - SKEP_FILES_SPARED
               : (size_t)files.rlim_cur / 2 + 1;
}

int skep_uv_loop_new(struct skep_uv_loop **out, const struct skep_mem *mem)
{
    struct skep_uv_loop *loop = skep_mem_zalloc(mem, 1, sizeof *loop);

    *out = NULL;
    if (!loop)
        return SKEP_ENOMEM;
    if (uv_loop_init(&loop->uv) != 0)
        goto no_loop;
    if (uv_async_init(&loop->uv, &loop->wake, on_async) != 0)
        goto no_async;
    uv_timer_init(&loop->uv, &loop->deadline);
    ignore_sigpipe();
    loop->env = (struct skep_env){.mem = mem,
                                  .timers = &loop->timers,
                                  .log_level = SKEP_LOG_WARNING,
                                  .now_us = now_us,
                                  .unix_s = unix_s,
                                  .entropy = entropy,
                                  .work = skep_uv_work_start};
    loop->workers_max = WORKERS;
    skep_timers_init(&loop->timers, mem);
    skep_uv_tcp_init(loop);
    loop->transport.links_max = links_max();
    *out = loop;
    return 0;
no_async:
    uv_loop_close(&loop->uv);
no_loop:
    skep_mem_free(mem, loop);
    return SKEP_ESYSTEM;
}

void skep_uv_loop_free(struct skep_uv_loop *loop)
{
    if (!loop)
        return;
    skep_uv_work_close(loop); /* runs what ends the jobs under way */
    uv_close((uv_handle_t *)&loop->deadline, NULL);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    for (int i = 0; loop->has_signals && i < 2; i++)
        uv_close((uv_handle_t *)&loop->signals[i], NULL);
    /* Links and listeners were closed by their owners; here their handles come to their end. */
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    uv_loop_close(&loop->uv);
    skep_timers_fini(loop->env.timers);
    skep_mem_free(loop->env.mem, loop);
}

struct skep_env *skep_uv_loop_env(struct skep_uv_loop *loop)
{
    return &loop->env;
}

struct skep_transport *skep_uv_loop_tcp(struct skep_uv_loop *loop)
{
    return &loop->transport;
}

static void run_timers(struct skep_uv_loop *loop)
{
    struct skep_timers *timers = loop->env.timers;

    for (int i = 0; i < TIMER_PASSES_MAX; i++)
        if (skep_timers_next_us(timers) == SKEP_NEVER_US ||
            skep_timers_run(timers, now_us(&loop->env)) == 0)
            return;
}

/** Milliseconds to wait, rounded up; -1: for ever. */
static int64_t wait_ms(struct skep_uv_loop *loop, uint64_t max_wait_us)
{
    uint64_t next_us = skep_timers_next_us(loop->env.timers);
    uint64_t wait_us = max_wait_us;

    if (next_us != SKEP_NEVER_US && max_wait_us > 0) {
        uint64_t now = now_us(&loop->env);

        wait_us = SKEP_MIN(wait_us, next_us > now ? next_us - now : 0);
    }
    if (wait_us == SKEP_NEVER_US)
        return -1;
    if (wait_us > (uint64_t)WAIT_MS_MAX * US_PER_MS)
        return WAIT_MS_MAX;
    return (int64_t)((wait_us + US_PER_MS - 1) / US_PER_MS);
}

int skep_uv_loop_turn(struct skep_uv_loop *loop, uint64_t max_wait_us)
{
    int64_t wait;

    run_timers(loop);
    wait = wait_ms(loop, max_wait_us);
    if (wait > 0) {
        uv_update_time(&loop->uv);
        uv_timer_start(&loop->deadline, on_deadline, (uint64_t)wait, 0);
    }
    uv_run(&loop->uv, wait == 0 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
    if (wait > 0)
        uv_timer_stop(&loop->deadline);
    run_timers(loop);
    return 0;
}

void skep_uv_loop_wake(struct skep_uv_loop *loop)
{
    uv_async_send(&loop->wake);
}

void skep_uv_loop_on_wake(struct skep_uv_loop *loop, void (*on_wake)(void *user), void *user)
{
    loop->on_wake = on_wake;
    loop->wake_user = user;
}

static void on_uv_signal(uv_signal_t *handle, int signal)
{
    struct skep_uv_loop *loop = handle->data;

    loop->on_signal(loop->signal_user, signal);
}

int skep_uv_loop_on_signal(struct skep_uv_loop *loop, void (*on_signal)(void *user, int signal),
                           void *user)
{
    static const int signals[2] = {SIGINT, SIGTERM};

    loop->on_signal = on_signal;
    loop->signal_user = user;
    if (loop->has_signals)
        return 0;
    loop->has_signals = true;
    for (int i = 0; i < 2; i++) {
        uv_signal_init(&loop->uv, &loop->signals[i]);
        loop->signals[i].data = loop;
        if (uv_signal_start(&loop->signals[i], on_uv_signal, signals[i]) != 0)
            return SKEP_ESYSTEM;
    }
    return 0;
}
