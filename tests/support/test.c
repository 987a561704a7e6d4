/* SPDX-License-Identifier: MIT */
#include "support/test.h"

#include <inttypes.h>

enum { HEX_RING = 8, ITERATIONS_MAX = 100000, TURNS_MAX = 10000000 };

const char *test_hex(const void *data, size_t len)
{
    static char *ring[HEX_RING];
    static size_t next;
    char **slot = &ring[next++ % HEX_RING];

    free(*slot);
    *slot = malloc(2 * len + 1);
    assert_non_null(*slot);
    return skep_hex(*slot, skep_bytes_of(data, len));
}

/* What lives as long as the program hangs on a list, so that the leak checker sees that it is held. */
struct kept {
    struct kept *next;
    uint8_t data[];
};
static struct kept *kept_first;

static uint8_t *keep(size_t len)
{
    struct kept *kept = malloc(sizeof *kept + len + 1);

    assert_non_null(kept);
    kept->next = kept_first;
    kept_first = kept;
    return kept->data;
}

skep_bytes test_unhex(const char *hex)
{
    size_t len = strlen(hex) / 2;
    uint8_t *data = keep(len);

    if (skep_unhex(data, len, hex) != (ptrdiff_t)len)
        fail_msg("not hex: %.80s", hex);
    return skep_bytes_of(data, len);
}

json_t *test_vectors(const char *name)
{
    static struct {
        char name[64];
        json_t *root;
    } loaded[16];
    char path[256];
    json_error_t error;

    for (size_t i = 0; i < SKEP_COUNT_OF(loaded); i++) {
        if (loaded[i].root && strcmp(loaded[i].name, name) == 0)
            return loaded[i].root;
        if (loaded[i].root)
            continue;
        snprintf(path, sizeof path, "tests/vectors/%s", name);
        loaded[i].root = json_load_file(path, JSON_ALLOW_NUL, &error);
        if (!loaded[i].root)
            fail_msg("%s: %s (tests run from the source folder)", path, error.text);
        snprintf(loaded[i].name, sizeof loaded[i].name, "%s", name);
        return loaded[i].root;
    }
    fail_msg("more vector files than test_vectors() has room for");
    return NULL;
}

json_t *test_get(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);

    if (!value)
        fail_msg("the vector has no \"%s\"", key);
    return value;
}

const char *test_str(const json_t *object, const char *key)
{
    const char *text = json_string_value(test_get(object, key));

    if (!text)
        fail_msg("\"%s\" of the vector is not a string", key);
    return text;
}

/* Each block has its length in front, aligned as malloc aligns. */
union block_head {
    size_t len;
    max_align_t align;
};

static void *test_mem_resize(void *ctx, void *ptr, size_t len)
{
    struct test_mem *mem = ctx;
    union block_head *head = ptr ? (union block_head *)ptr - 1 : NULL, *made;

    if (len == 0) {
        if (head) {
            assert_true(mem->live > 0 && mem->live_bytes >= head->len);
            mem->live--;
            mem->live_bytes -= head->len;
        }
        free(head);
        return NULL;
    }
    mem->allocations++;
    if (mem->fail_at > 0 && --mem->fail_at == 0)
        return NULL;
    /* Always a new place, so that whoever keeps the old pointer is found out. */
    made = malloc(sizeof *made + len);
    assert_non_null(made);
    made->len = len;
    if (head) {
        memcpy(made + 1, ptr, SKEP_MIN(len, head->len));
        mem->live_bytes -= head->len;
        free(head);
    } else {
        mem->live++;
    }
    mem->live_bytes += len;
    return made + 1;
}

void test_mem_init(struct test_mem *mem)
{
    *mem = (struct test_mem){.mem = {test_mem_resize, mem}};
}

void test_each_allocation_fails(int (*body)(const struct skep_mem *mem, void *user), void *user)
{
    for (size_t n = 1; n <= ITERATIONS_MAX; n++) {
        struct test_mem mem;
        int rc;
        bool failed;

        test_mem_init(&mem);
        mem.fail_at = n;
        rc = body(&mem.mem, user);
        failed = mem.fail_at == 0;
        if (mem.live != 0)
            fail_msg("allocation %zu failed and %zu blocks (%zu bytes) were left behind", n,
                     mem.live, mem.live_bytes);
        if (failed && rc != SKEP_ENOMEM && rc != 0)
            fail_msg("allocation %zu failed and was reported as %s", n, skep_error_name(rc));
        if (failed)
            continue;
        if (rc != 0)
            fail_msg("no allocation failed, and yet: %s", skep_error_name(rc));
        return;
    }
    fail_msg("still allocating after %d runs", (int)ITERATIONS_MAX);
}

static struct test_env *test_env_of(struct skep_env *env)
{
    return SKEP_CONTAINER_OF(env, struct test_env, env);
}

static uint64_t env_now_us(struct skep_env *env)
{
    return test_env_of(env)->now_us;
}

static double env_unix_s(struct skep_env *env)
{
    const struct test_env *test = test_env_of(env);

    return test->unix_s + (double)test->now_us / 1e6;
}

static int env_entropy(struct skep_env *env, void *out, size_t len)
{
    skep_prng_fill(&test_env_of(env)->prng, out, len);
    return 0;
}

static void env_log(struct skep_env *env, enum skep_log_level level, const char *text)
{
    (void)level;
    snprintf(test_env_of(env)->last_log, sizeof test_env_of(env)->last_log, "%s", text);
}

static void on_work_done(struct skep_timer *timer)
{
    struct test_env *test = SKEP_CONTAINER_OF(timer, struct test_env, work_timer);
    struct skep_work *work[SKEP_COUNT_OF(test->work)];
    size_t count = test->work_count;

    /* What `done` starts is done on the run after. */
    memcpy(work, test->work, sizeof work);
    test->work_count = 0;
    for (size_t i = 0; i < count; i++)
        work[i]->done(work[i]);
}

static int env_work(struct skep_env *env, struct skep_work *work)
{
    struct test_env *test = test_env_of(env);

    if (test->work_count == SKEP_COUNT_OF(test->work))
        return SKEP_ELIMIT;
    if (!skep_timer_running(&test->work_timer) && skep_env_after(env, &test->work_timer, 0) < 0)
        return SKEP_ENOMEM;
    work->job(work);
    test->work[test->work_count++] = work;
    return 0;
}

void test_env_init(struct test_env *env, uint64_t seed)
{
    memset(env, 0, sizeof *env);
    test_mem_init(&env->mem);
    skep_prng_init(&env->prng, seed);
    env->unix_s = 1.7e9;
    env->work_timer.fire = on_work_done;
    env->env.mem = &env->mem.mem;
    env->env.log_level = SKEP_LOG_DEBUG;
    env->env.now_us = env_now_us;
    env->env.unix_s = env_unix_s;
    env->env.entropy = env_entropy;
    env->env.log = env_log;
    env->env.work = env_work;
    env->env.timers = &env->timers;
    skep_timers_init(&env->timers, env->env.mem);
}

void test_env_fini(struct test_env *env)
{
    skep_timers_fini(env->env.timers);
    if (env->mem.live != 0)
        fail_msg("%zu blocks (%zu bytes) were left behind", env->mem.live, env->mem.live_bytes);
}

void test_env_advance(struct test_env *env, uint64_t us)
{
    uint64_t end = env->now_us + us;

    for (size_t turns = 0;; turns++) {
        uint64_t next = skep_timers_next_us(env->env.timers);

        if (next > end)
            break;
        if (turns == TURNS_MAX)
            fail_msg("timers fired %zu times without the clock reaching its end", turns);
        env->now_us = SKEP_MAX(env->now_us, next);
        skep_timers_run(env->env.timers, env->now_us);
    }
    env->now_us = end;
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

uint64_t test_seed_first(void)
{
    return number_of("SKEP_SEED", 1);
}

uint64_t test_seed_end(uint64_t count)
{
    return number_of("SKEP_SEED", 0) > 0 ? test_seed_first() + 1
                                         : 1 + number_of("SKEP_SEEDS", count);
}
