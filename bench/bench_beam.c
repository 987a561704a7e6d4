/* SPDX-License-Identifier: MIT */
/* What a search costs apart from the network: warm (all at home), cold (decoding what arrives), and a batch, against the tests' DHT in a table.
 * Grid 256x256x256 with 4,096 random experts, beam 4, unless arguments say otherwise: bench_beam [experts] [beam]. Prints one line each. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/prng.h"
#include "moe/beam.h"
#include "moe/fake_dht.h"

enum { SIZE = 256, DIMS = 3, BATCH = 4096, WARM_ROUNDS = 20000, COLD_ROUNDS = 2000 };

struct bench {
    struct skep_env env;
    struct skep_timers timers;
    struct skep_prng prng;
    uint64_t now_us;
    struct skep_dht *dht;
    struct skep_beam *beam;
    size_t beam_size;
    struct skep_search search;
    double sum; /* of the best scores, so that nothing is optimised away */
};

static uint64_t bench_now_us(struct skep_env *env)
{
    return SKEP_CONTAINER_OF(env, struct bench, env)->now_us;
}

static double bench_unix_s(struct skep_env *env)
{
    (void)env;
    return 1.7e9;
}

static int bench_entropy(struct skep_env *env, void *out, size_t len)
{
    skep_prng_fill(&SKEP_CONTAINER_OF(env, struct bench, env)->prng, out, len);
    return 0;
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void on_done(struct skep_search *search, int rc)
{
    struct bench *b = SKEP_CONTAINER_OF(search, struct bench, search);

    if (rc < 0)
        abort();
    for (size_t i = 0; i < search->hit_count; i++)
        b->sum += search->hits[i].count > 0 ? search->hits[i].experts[0].score : 0;
}

static void find(struct bench *b, const float *rows, size_t examples)
{
    const void *row_at[DIMS] = {rows, rows + examples * SIZE, rows + 2 * examples * SIZE};
    struct skep_scores scores = {
        .type = SKEP_GRID_FLOAT32, .examples = examples, .dims = DIMS, .rows = row_at};
    struct skep_search_options options = {.beam_size = b->beam_size};

    b->search = (struct skep_search){.done = on_done};
    if (skep_find_best_start(&b->search, b->beam, &scores, &options, NULL, 0) < 0)
        abort();
    while (b->search.hits == NULL) { /* the network's answers */
        b->now_us = skep_timers_next_us(b->env.timers);
        skep_timers_run(b->env.timers, b->now_us);
    }
    skep_search_fini(&b->search);
}

static float *random_rows(struct bench *b, size_t examples)
{
    float *rows = malloc(examples * SIZE * DIMS * sizeof *rows);

    if (!rows)
        abort();
    for (size_t i = 0; i < examples * SIZE * DIMS; i++)
        rows[i] = (float)skep_prng_unit(&b->prng);
    return rows;
}

static void new_searcher(struct bench *b)
{
    static const uint32_t sizes[DIMS] = {SIZE, SIZE, SIZE};
    struct skep_beam_options options;

    skep_beam_options_default(&options);
    options.prefix = skep_bytes_str("ffn.");
    options.grid = sizes;
    options.dims = DIMS;
    skep_beam_free(b->beam);
    if (skep_beam_new(&b->beam, b->dht, &options, NULL, 0) < 0)
        abort();
}

static void fill(struct bench *b, size_t experts)
{
    static const char *const peers[] = {"12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s",
                                        "12D3KooWRacyeCe8EVynawz1V4Xf5mJvqiLLMgGNMy6RNKFyPNYX",
                                        "12D3KooWEM4WapXGFG5a7oQtMWF713jPEjr3e5bqgKvUNVMXYwwj",
                                        "12D3KooWQpCGnwM5ZRmZAy2Q1dNRSqR3SQ6K7YCa9bECpKdGo9DA"};

    for (size_t i = 0; i < experts; i++) {
        char uid[64];

        snprintf(uid, sizeof uid, "ffn.%u.%u.%u", (unsigned)skep_prng_below(&b->prng, SIZE),
                 (unsigned)skep_prng_below(&b->prng, SIZE),
                 (unsigned)skep_prng_below(&b->prng, SIZE));
        fake_dht_declare(b->dht, uid, peers[i % SKEP_COUNT_OF(peers)], 2e9 + (double)i);
    }
}

static void warm(struct bench *b)
{
    float *rows = random_rows(b, 1);
    double begin;

    fake_dht_fetch_all(b->dht);
    new_searcher(b);
    find(b, rows, 1);
    begin = seconds();
    for (size_t i = 0; i < WARM_ROUNDS; i++)
        find(b, rows, 1);
    printf("the same search again   %8.0f ns\n", (seconds() - begin) / WARM_ROUNDS * 1e9);
    free(rows);
}

static void cold(struct bench *b)
{
    double spent = 0;
    size_t keys = fake_dht_counts(b->dht)->keys;

    for (size_t i = 0; i < COLD_ROUNDS; i++) {
        float *rows = random_rows(b, 1);
        double begin;

        fake_dht_forget(b->dht);
        new_searcher(b);
        begin = seconds();
        find(b, rows, 1);
        spent += seconds() - begin;
        free(rows);
    }
    printf("a search of a new searcher, nothing at home   %8.0f ns, %.1f keys\n",
           spent / COLD_ROUNDS * 1e9, (double)(fake_dht_counts(b->dht)->keys - keys) / COLD_ROUNDS);
}

static void batch(struct bench *b)
{
    float *rows = random_rows(b, BATCH);
    size_t keys = fake_dht_counts(b->dht)->keys, gets = fake_dht_counts(b->dht)->gets;
    double begin;

    fake_dht_forget(b->dht);
    new_searcher(b);
    begin = seconds();
    find(b, rows, BATCH);
    printf("a batch of %d, nothing at home   %8.0f ns an example, %zu keys in %zu gets\n", BATCH,
           (seconds() - begin) / BATCH * 1e9, fake_dht_counts(b->dht)->keys - keys,
           fake_dht_counts(b->dht)->gets - gets);
    begin = seconds();
    find(b, rows, BATCH);
    printf("the same batch again   %8.0f ns an example\n", (seconds() - begin) / BATCH * 1e9);
    free(rows);
}

int main(int argc, char **argv)
{
    static struct bench b;
    size_t experts = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : 4096;

    b.beam_size = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 4;
    b.env = (struct skep_env){.mem = &skep_mem_std,
                              .timers = &b.timers,
                              .now_us = bench_now_us,
                              .unix_s = bench_unix_s,
                              .entropy = bench_entropy};
    skep_prng_init(&b.prng, 1);
    skep_timers_init(b.env.timers, b.env.mem);
    b.dht = fake_dht_new(&b.env, 1);
    fill(&b, experts);
    warm(&b);
    cold(&b);
    batch(&b);
    skep_beam_free(b.beam);
    fake_dht_free(b.dht);
    skep_timers_fini(b.env.timers);
    printf("(check: %g)\n", b.sum);
    return 0;
}
