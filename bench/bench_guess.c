/* SPDX-License-Identifier: MIT */
/* What guessing deeper prefixes is worth: searches of one searcher in a simulated swarm, nothing at home before each, for several budgets of guesses.
 * Grid 256x256x256, random experts, 200 nodes, round trips of 20 to 80 ms in virtual time; bench_guess [experts] [beam] [nodes] [searches] [exact]. */
#include <stdlib.h>

#include "moe/beam.h"
#include "moe/declare.h"
#include "sim/swarm.h"

enum { SIZE = 256, DIMS = 3, LIFE_S = 500000 };

struct sums {
    size_t searches, one_round, rounds;
    uint64_t asked, guessed, used, calls, keys;
    double *elapsed_ms;
};

struct waiting {
    struct skep_search search;
    struct skep_declare declare;
    bool done;
};

static void on_found(struct skep_search *search, int rc)
{
    assert_int_equal(rc, 0);
    SKEP_CONTAINER_OF(search, struct waiting, search)->done = true;
}

static void on_declared(struct skep_declare *declare, int rc)
{
    assert_int_equal(rc, 0);
    SKEP_CONTAINER_OF(declare, struct waiting, declare)->done = true;
}

static void declare_some(struct swarm *swarm, size_t count)
{
    struct waiting w = {.declare = {.done = on_declared}};
    char(*texts)[32] = calloc(count, sizeof *texts);
    skep_bytes *uids = calloc(count, sizeof *uids);
    struct skep_peer_id peer;

    assert_int_equal(
        skep_peer_id_from_base58(
            &peer, skep_bytes_str("12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s")),
        0);
    for (size_t i = 0; i < count; i++) {
        snprintf(texts[i], sizeof *texts, "ffn.%u.%u.%u",
                 (unsigned)skep_prng_below(&swarm->prng, SIZE),
                 (unsigned)skep_prng_below(&swarm->prng, SIZE),
                 (unsigned)skep_prng_below(&swarm->prng, SIZE));
        uids[i] = skep_bytes_str(texts[i]);
    }
    assert_int_equal(skep_declare_start(&w.declare, swarm->dht[1], uids, count, &peer,
                                        swarm_now(swarm) + LIFE_S, NULL, NULL, 0),
                     0);
    assert_true(skep_sim_clock_run_until(&swarm->clock, &w.done, 3600 * SKEP_SIM_SECOND));
    skep_declare_fini(&w.declare);
    free(uids);
    free(texts);
}

/* Uniform, or nearly normal. */
static void draw(struct skep_prng *prng, float *numbers, size_t count, bool normal)
{
    for (size_t i = 0; i < count; i++) {
        numbers[i] = 0;
        for (int k = 0; k < (normal ? 12 : 1); k++)
            numbers[i] += (float)skep_prng_unit(prng);
    }
}

static void search_once(struct swarm *swarm, struct skep_beam *beam, uint32_t node,
                        const struct skep_scores *scores, const struct skep_search_options *options,
                        struct sums *sums)
{
    struct waiting w = {.search = {.done = on_found}};
    const struct skep_beam_stats *stats = &w.search.stats;
    uint64_t calls = swarm_stats(swarm, node).requests_out;

    skep_dht_clear_cache_now(swarm->dht[node]);
    assert_int_equal(skep_find_best_start(&w.search, beam, scores, options, NULL, 0), 0);
    assert_true(skep_sim_clock_run_until(&swarm->clock, &w.done, 60 * SKEP_SIM_SECOND));
    sums->elapsed_ms[sums->searches++] = (double)stats->elapsed_us / 1000;
    sums->one_round += stats->cost.rounds == 1;
    sums->rounds += stats->cost.rounds;
    sums->guessed += stats->guessed;
    sums->used += stats->guesses_used;
    assert_int_equal(w.search.hits->count, options->beam_size);
    skep_search_fini(&w.search);
    skep_sim_clock_run_for(&swarm->clock, SKEP_SIM_SECOND); /* what it left behind counts, too */
    sums->calls += swarm_stats(swarm, node).requests_out - calls;
    sums->keys += stats->cost.keys;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void run(struct swarm *swarm, uint32_t node, size_t searches, bool normal,
                const struct skep_search_options *options)
{
    static const uint32_t sizes[DIMS] = {SIZE, SIZE, SIZE};
    static float rows[DIMS][SIZE];
    const void *row_at[DIMS] = {rows[0], rows[1], rows[2]};
    struct skep_scores scores = {
        .type = SKEP_GRID_FLOAT32, .examples = 1, .dims = DIMS, .rows = row_at};
    struct sums sums = {.elapsed_ms = calloc(searches, sizeof(double))};
    struct skep_beam_options beam_options;
    struct skep_beam *beam;
    struct skep_prng prng;
    double n = (double)searches;

    skep_prng_init(&prng, 5); /* the same scores for every budget */
    skep_beam_options_default(&beam_options);
    beam_options.prefix = skep_bytes_str("ffn.");
    beam_options.grid = sizes;
    beam_options.dims = DIMS;
    assert_int_equal(skep_beam_new(&beam, swarm->dht[node], &beam_options, NULL, 0), 0);
    for (size_t i = 0; i < searches; i++) {
        draw(&prng, rows[0], sizeof rows / sizeof(float), normal);
        search_once(swarm, beam, node, &scores, options, &sums);
    }
    qsort(sums.elapsed_ms, searches, sizeof(double), by_size);
    printf("%-8s guess %4zu: one round %5.1f %%, rounds %.2f, keys %6.1f, guessed %5.1f, used "
           "%4.1f, calls %5.1f, median %6.1f ms, 95 %% %6.1f ms\n",
           normal ? "normal" : "uniform", options->guess_keys_max, 100 * (double)sums.one_round / n,
           (double)sums.rounds / n, (double)sums.keys / n, (double)sums.guessed / n,
           (double)sums.used / n, (double)sums.calls / n, sums.elapsed_ms[searches / 2],
           sums.elapsed_ms[searches * 95 / 100]);
    skep_beam_free(beam);
    free(sums.elapsed_ms);
}

int main(int argc, char **argv)
{
    static struct swarm swarm;
    static const size_t budgets[] = {0, 16, 64, 256};
    size_t experts = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : 16384;
    size_t beam_size = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 4;
    size_t nodes = argc > 3 ? (size_t)strtoul(argv[3], NULL, 10) : 200;
    size_t searches = argc > 4 ? (size_t)strtoul(argv[4], NULL, 10) : 200;
    bool exact = argc > 5;
    struct skep_sim_faults faults;
    struct skep_dht_options client;
    uint32_t via = 0, node;

    skep_sim_faults_default(&faults);
    swarm_init(&swarm, &skep_mem_std, 1, &faults);
    swarm_grow(&swarm, nodes, NULL);
    skep_dht_options_default(&client);
    client.client_mode = true;
    node = swarm_add(&swarm, &client);
    assert_int_equal(swarm_join(&swarm, node, &via, 1, NULL), 0);
    for (size_t left = experts; left > 0; left -= SKEP_MIN(left, (size_t)4096))
        declare_some(&swarm, SKEP_MIN(left, (size_t)4096));
    printf("%zu experts, beam %zu, %zu nodes, %zu %ssearches\n", experts, beam_size, nodes,
           searches, exact ? "exact " : "");
    run(&swarm, node, searches, false,
        &(struct skep_search_options){.beam_size = beam_size}); /* connections */
    for (int normal = 0; normal < 2; normal++)
        for (size_t i = 0; i < SKEP_COUNT_OF(budgets); i++)
            run(&swarm, node, searches, normal,
                &(struct skep_search_options){
                    .beam_size = beam_size, .exact = exact, .guess_keys_max = budgets[i]});
    swarm_fini(&swarm);
    return 0;
}
