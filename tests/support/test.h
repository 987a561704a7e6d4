/* SPDX-License-Identifier: MIT */
/* What every test uses: cmocka, hex, the golden vectors, an allocator that fails on demand, a fake environment. */
#ifndef SKEP_TEST_H
#define SKEP_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/bytes.h"
#include "base/prng.h"
#include "env/env.h"

/** Lower-case hex in a ring of static buffers. */
const char *test_hex(const void *data, size_t len);

/** The bytes of a hex text; allocated for the life of the test program. Fails the test if it is not hex. */
skep_bytes test_unhex(const char *hex);

/** tests/vectors/<name>, loaded once for the life of the program. Fails the test if it is missing. */
json_t *test_vectors(const char *name);

/** A member that must be there. */
json_t *test_get(const json_t *object, const char *key);
const char *test_str(const json_t *object, const char *key);

/** A counting allocator. With fail_at = n > 0 the n-th allocation from now on fails (growing counts as one). */
struct test_mem {
    struct skep_mem mem;
    size_t allocations; /* made since the start */
    size_t live;        /* blocks now held */
    size_t live_bytes;
    size_t fail_at;
};
void test_mem_init(struct test_mem *mem);

/** Run `body` once with each of its allocations failing in turn until it has run without a failure; body returns
 *  SKEP_ENOMEM when it noticed, 0 when it got through. Nothing may be left allocated. */
void test_each_allocation_fails(int (*body)(const struct skep_mem *mem, void *user), void *user);

/** An environment with a hand-set clock, seeded entropy and no threads: work runs at once, done on the next run. */
struct test_env {
    struct skep_env env;
    struct skep_timers timers;
    struct test_mem mem;
    struct skep_prng prng;
    uint64_t now_us;
    double unix_s; /* at now_us == 0 */
    struct skep_timer work_timer;
    struct skep_work *work[64];
    size_t work_count;
    char last_log[1024];
};
void test_env_init(struct test_env *env, uint64_t seed);
void test_env_fini(struct test_env *env);
/** Fire what is due, then move the clock from deadline to deadline until `us` have passed. */
void test_env_advance(struct test_env *env, uint64_t us);

/** Seeds of property tests: SKEP_SEED=n runs n alone, else [1, 1 + SKEP_SEEDS or count). Print it on failure. */
uint64_t test_seed_first(void);
uint64_t test_seed_end(uint64_t count);

#endif
