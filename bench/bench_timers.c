/* SPDX-License-Identifier: MIT */
/* How many timer events a second the queue of one loop takes, with the population of a simulated swarm.
 *
 *   bench_timers [events [pending]]
 *
 * Each timer that fires starts itself again: three in four after 20 to 80 ms (a message's way), the others after 3 to 10 s (a timeout). With each
 * third event another one, drawn at random, is stopped and started anew, as a timeout is when its answer comes. The timers are members
 * of larger structs, so that one timer is one miss of the cache. The sum at the end is the same for every right queue. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/prng.h"
#include "env/timers.h"

struct item {
    struct skep_timer timer;
    char rest[192];
};

static struct {
    struct skep_timers timers;
    struct skep_prng prng;
    struct item *items;
    size_t count;
    uint64_t now_us, fired, sum;
} run;

static size_t held_bytes, most_bytes;

/* Counts what the queue itself allocates: one block that grows, or several. */
static void *counted(void *ctx, void *ptr, size_t len)
{
    size_t *head = ptr ? (size_t *)ptr - 2 : NULL;

    (void)ctx;
    held_bytes += len - (head ? *head : 0);
    most_bytes = held_bytes > most_bytes ? held_bytes : most_bytes;
    if (len == 0) {
        free(head);
        return NULL;
    }
    head = realloc(head, len + 2 * sizeof *head);
    if (!head)
        exit(1);
    *head = len;
    return head + 2;
}

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void start(struct item *item)
{
    uint64_t draw = skep_prng_u64(&run.prng), low = draw & UINT32_MAX;
    uint64_t delay = draw >> 62 > 0 ? 20000 + (60000 * low >> 32) : 3000000 + (7000000 * low >> 32);

    if (skep_timer_start(&run.timers, &item->timer, run.now_us + delay) < 0)
        exit(1);
}

static void on_fire(struct skep_timer *timer)
{
    struct item *item = SKEP_CONTAINER_OF(timer, struct item, timer);

    run.sum = (run.sum ^ (uint64_t)(item - run.items)) * 0x9e3779b97f4a7c15u + run.now_us;
    start(item);
    if (run.fired++ % 3 == 0) {
        struct item *other = &run.items[skep_prng_u64(&run.prng) % run.count];

        skep_timer_stop(&run.timers, &other->timer);
        start(other);
    }
}

int main(int argc, char **argv)
{
    uint64_t events = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000000;
    struct skep_mem mem = {counted, NULL};
    double from_s;

    run.count = argc > 2 ? strtoull(argv[2], NULL, 10) : 20000;
    run.items = calloc(run.count, sizeof *run.items);
    if (!run.items || run.count == 0)
        return 1;
    skep_timers_init(&run.timers, &mem);
    skep_prng_init(&run.prng, 1);
    for (size_t i = 0; i < run.count; i++) {
        run.items[i].timer.fire = on_fire;
        start(&run.items[i]);
    }
    from_s = now_s();
    while (run.fired < events) {
        run.now_us = skep_timers_next_us(&run.timers);
        skep_timers_run(&run.timers, run.now_us);
    }
    from_s = now_s() - from_s;
    printf("%zu pending, %llu events in %.2f s: %.2f million/s, %.0f ns each; "
           "%.0f + %zu bytes a timer; sum %016llx\n",
           run.count, (unsigned long long)run.fired, from_s, (double)run.fired / from_s / 1e6,
           from_s / (double)run.fired * 1e9, (double)most_bytes / (double)run.count,
           sizeof(struct skep_timer), (unsigned long long)run.sum);
    skep_timers_fini(&run.timers);
    free(run.items);
    return 0;
}
