/* SPDX-License-Identifier: MIT */
#include "env/timers.h"

static const struct skep_timer *timer_of(const struct skep_heap_node *node)
{
    return (const struct skep_timer *)(const void *)((const char *)node -
                                                     offsetof(struct skep_timer, node));
}

static bool fires_before(const struct skep_heap_node *a, const struct skep_heap_node *b)
{
    const struct skep_timer *ta = timer_of(a), *tb = timer_of(b);

    return ta->deadline_us != tb->deadline_us ? ta->deadline_us < tb->deadline_us
                                              : ta->order < tb->order;
}

void skep_timers_init(struct skep_timers *timers, const struct skep_mem *mem)
{
    skep_heap_init(&timers->heap, mem, fires_before);
    timers->started = 0;
    timers->ran_us = 0;
}

void skep_timers_fini(struct skep_timers *timers)
{
    skep_heap_fini(&timers->heap);
}

int skep_timer_start(struct skep_timers *timers, struct skep_timer *timer, uint64_t deadline_us)
{
    skep_heap_remove(&timers->heap, &timer->node);
    /* Behind all that is due already: a timer that restarts itself in the past must not get ahead of the others for ever. */
    timer->deadline_us = SKEP_MAX(deadline_us, timers->ran_us);
    timer->order = timers->started++;
    return skep_heap_push(&timers->heap, &timer->node);
}

void skep_timer_stop(struct skep_timers *timers, struct skep_timer *timer)
{
    skep_heap_remove(&timers->heap, &timer->node);
}

uint64_t skep_timers_next_us(const struct skep_timers *timers)
{
    const struct skep_heap_node *first = skep_heap_peek(&timers->heap);

    return first ? timer_of(first)->deadline_us : SKEP_NEVER_US;
}

size_t skep_timers_run(struct skep_timers *timers, uint64_t now_us)
{
    uint64_t until = timers->started;
    size_t fired = 0;

    timers->ran_us = SKEP_MAX(timers->ran_us, now_us);
    for (;;) {
        struct skep_heap_node *first = skep_heap_peek(&timers->heap);
        struct skep_timer *timer;

        if (!first)
            return fired;
        timer = SKEP_CONTAINER_OF(first, struct skep_timer, node);
        /* A timer started while we run has a later order; a zero delay must not keep the loop here for ever. */
        if (timer->deadline_us > now_us || timer->order >= until)
            return fired;
        skep_heap_remove(&timers->heap, first);
        timer->fire(timer);
        fired++;
    }
}
