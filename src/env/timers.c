/* SPDX-License-Identifier: MIT */
#include "env/timers.h"

enum { CHILDREN = 4, FIRST_CAP = 16 };

/* The outcome of a comparison in a heap is a coin's, so it must not become a branch: with 128 bits it is one subtraction and its borrow. */
static inline size_t fires_before(const struct skep_timers_entry *a,
                                  const struct skep_timers_entry *b)
{
#ifdef __SIZEOF_INT128__
    __extension__ typedef unsigned __int128 key;

    return ((key)a->deadline_us << 64 | a->order) < ((key)b->deadline_us << 64 | b->order);
#else
    return (size_t)(a->deadline_us < b->deadline_us) |
           ((size_t)(a->deadline_us == b->deadline_us) & (size_t)(a->order < b->order));
#endif
}

static void put_at(struct skep_timers *timers, size_t index, const struct skep_timers_entry *entry)
{
    timers->entries[index] = *entry;
    entry->timer->place = index + 1;
}

/* Leave `entry` at `index` or at an ancestor of it, each of which may move down. */
static void sift_up(struct skep_timers *timers, size_t index, struct skep_timers_entry entry)
{
    while (index > 0) {
        size_t parent = (index - 1) / CHILDREN;

        if (!fires_before(&entry, &timers->entries[parent]))
            break;
        put_at(timers, index, &timers->entries[parent]);
        index = parent;
    }
    put_at(timers, index, &entry);
}

/* The child of `index` that fires first; there is at least one. Chosen without a branch where all four are there. */
static size_t first_child(const struct skep_timers *timers, size_t index)
{
    const struct skep_timers_entry *entries = timers->entries;
    size_t child = CHILDREN * index + 1, left, right;

    if (child + CHILDREN <= timers->count) {
        left = child + fires_before(&entries[child + 1], &entries[child]);
        right = child + 2 + fires_before(&entries[child + 3], &entries[child + 2]);
        return left ^ ((left ^ right) & -(size_t)fires_before(&entries[right], &entries[left]));
    }
    left = child;
    for (right = child + 1; right < timers->count; right++)
        if (fires_before(&entries[right], &entries[left]))
            left = right;
    return left;
}

/* Leave `entry` at `index` or below it; children that fire before it move up. */
static void sift_down(struct skep_timers *timers, size_t index, struct skep_timers_entry entry)
{
    while (CHILDREN * index + 1 < timers->count) {
        size_t child = first_child(timers, index);

        if (!fires_before(&timers->entries[child], &entry))
            break;
        put_at(timers, index, &timers->entries[child]);
        index = child;
    }
    put_at(timers, index, &entry);
}

/* Leave `entry` where it belongs, given a hole at `index`. */
static void sift(struct skep_timers *timers, size_t index, struct skep_timers_entry entry)
{
    if (index > 0 && fires_before(&entry, &timers->entries[(index - 1) / CHILDREN]))
        sift_up(timers, index, entry);
    else
        sift_down(timers, index, entry);
}

void skep_timers_init(struct skep_timers *timers, const struct skep_mem *mem)
{
    *timers = (struct skep_timers){.mem = mem};
}

void skep_timers_fini(struct skep_timers *timers)
{
    for (size_t i = 0; i < timers->count; i++)
        timers->entries[i].timer->place = 0;
    skep_mem_free(timers->mem, timers->entries);
    timers->entries = NULL;
    timers->count = timers->cap = 0;
}

static int make_room(struct skep_timers *timers)
{
    size_t cap = timers->cap > 0 ? timers->cap * 2 : FIRST_CAP;
    void *grown;

    if (timers->count < timers->cap)
        return 0;
    grown = skep_mem_resize(timers->mem, timers->entries, cap * sizeof *timers->entries);
    if (!grown)
        return SKEP_ENOMEM;
    timers->entries = grown;
    timers->cap = cap;
    return 0;
}

int skep_timer_start(struct skep_timers *timers, struct skep_timer *timer, uint64_t deadline_us)
{
    struct skep_timers_entry entry;

    if (timer->place == 0 && make_room(timers) < 0)
        return SKEP_ENOMEM;
    /* Behind all that is due already: a timer that restarts itself in the past must not get ahead of the others for ever. */
    timer->deadline_us = SKEP_MAX(deadline_us, timers->ran_us);
    timer->order = timers->started++;
    entry = (struct skep_timers_entry){timer->deadline_us, timer->order, timer};
    if (timer->place == 0)
        sift_up(timers, timers->count++, entry);
    else
        sift(timers, timer->place - 1, entry);
    return 0;
}

void skep_timer_stop(struct skep_timers *timers, struct skep_timer *timer)
{
    size_t place = timer->place;

    if (place == 0)
        return;
    assert(place <= timers->count && timers->entries[place - 1].timer == timer);
    timer->place = 0;
    timers->count--;
    if (place <= timers->count)
        sift(timers, place - 1, timers->entries[timers->count]);
}

uint64_t skep_timers_next_us(const struct skep_timers *timers)
{
    return timers->count > 0 ? timers->entries[0].deadline_us : SKEP_NEVER_US;
}

size_t skep_timers_run(struct skep_timers *timers, uint64_t now_us)
{
    uint64_t until = timers->started;
    size_t fired = 0;

    timers->ran_us = SKEP_MAX(timers->ran_us, now_us);
    while (timers->count > 0) {
        struct skep_timers_entry first = timers->entries[0];

        /* A timer started while we run has a later order; a zero delay must not keep the loop here for ever. */
        if (first.deadline_us > now_us || first.order >= until)
            break;
        skep_timer_stop(timers, first.timer);
        first.timer->fire(first.timer);
        fired++;
    }
    return fired;
}
