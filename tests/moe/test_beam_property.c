/* SPDX-License-Identifier: MIT */
/* The searcher against a plain reading of docs/wire.md d.5 on thousands of random small grids: few and many dimensions, sparse and dense, ties,
 * -infinity, float32 and float64, stale prefixes, stray uids, keys that nobody answers for. */
#include "moe/random_world.h"

struct scored {
    double score;
    char text[64];
    const char *peer;
};

static int by_rank(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;

    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return -strcmp(x->text, y->text);
}

static void collect(const struct scored *beam, size_t beam_count,
                    const double (*scores)[SIZE_MAX_HERE], bool flat_too, struct scored *hits,
                    size_t *count)
{
    for (size_t b = 0; b < beam_count; b++) {
        for (size_t i = 0; i < world.record_count; i++) {
            const struct record *r = &world.records[i];
            bool seen = false;
            double score;

            if (strcmp(r->key, beam[b].text) != 0 || !world_is_valid(r) ||
                (r->coordinate < 0 && !flat_too) ||
                !world_expert_of(r, scores, beam[b].score, &score))
                continue;
            for (size_t h = 0; h < *count; h++)
                seen |= strcmp(hits[h].text, r->uid) == 0;
            if (seen)
                continue;
            assert_true(*count < HITS_MAX);
            hits[*count] = (struct scored){.score = score, .peer = r->peer};
            snprintf(hits[(*count)++].text, sizeof hits->text, "%s", r->uid);
        }
    }
}

static size_t first_beam(const double (*scores)[SIZE_MAX_HERE], struct scored *beam)
{
    bool used[SIZE_MAX_HERE] = {false};
    size_t kept = 0;

    for (uint32_t round = 0; round < world.sizes[0] && kept < world.beam_size; round++) {
        uint32_t best = UINT32_MAX;
        char key[64];

        for (uint32_t i = 0; i < world.sizes[0]; i++) {
            if (!used[i] && (best == UINT32_MAX || scores[0][i] >= scores[0][best]))
                best = i;
        }
        used[best] = true;
        snprintf(key, sizeof key, "e.%u.", (unsigned)best);
        if (world_has_entries(key, true)) {
            beam[kept].score = scores[0][best];
            memcpy(beam[kept++].text, key, sizeof key);
        }
    }
    return kept;
}

static size_t naive(size_t example, struct scored *hits)
{
    static struct scored beam[RECORDS_MAX], next[RECORDS_MAX];
    const double(*scores)[SIZE_MAX_HERE] = (const double(*)[SIZE_MAX_HERE])world.scores[example];
    size_t count = first_beam(scores, beam), hit_count = 0;
    bool flat_too = true;

    for (size_t d = 1; d + 1 < world.dims && count > 0; d++) {
        size_t candidates = 0, kept = 0;

        collect(beam, count, scores, flat_too, hits, &hit_count);
        flat_too = false;
        for (size_t b = 0; b < count; b++) {
            for (size_t i = 0; i < world.record_count; i++) {
                const struct record *r = &world.records[i];

                if (strcmp(r->key, beam[b].text) != 0 || !world_is_valid(r) || r->coordinate < 0 ||
                    r->coordinate >= (int)world.sizes[d])
                    continue;
                next[candidates].score = world_add(beam[b].score, scores[d][r->coordinate]);
                snprintf(next[candidates++].text, sizeof next->text, "%.40s%d.", beam[b].text,
                         r->coordinate);
            }
        }
        qsort(next, candidates, sizeof *next, by_rank);
        for (size_t i = 0; i < candidates && i < world.beam_size; i++) {
            if (world_has_entries(next[i].text, false))
                beam[kept++] = next[i];
        }
        count = kept;
    }
    collect(beam, count, scores, flat_too, hits, &hit_count);
    qsort(hits, hit_count, sizeof *hits, by_rank);
    return hit_count < world.beam_size ? hit_count : world.beam_size;
}

/* ---- the searcher ---- */

static void start(struct run *run, struct skep_beam *beam, size_t first, size_t examples)
{
    world_start(run, beam, first, examples,
                &(struct skep_search_options){.beam_size = world.beam_size});
}

static void check_example(uint64_t seed, const struct skep_beam_hits *found, size_t example)
{
    static struct scored hits[HITS_MAX];
    size_t count = naive(example, hits);

    if (found->count != count)
        fail_msg("replay: SKEP_SEED=%llu: %zu hits, not %zu", (unsigned long long)seed,
                 found->count, count);
    for (size_t i = 0; i < count; i++) {
        char peer[SKEP_PEER_ID_TEXT_MAX];

        if (strcmp(found->experts[i].uid, hits[i].text) != 0 ||
            found->experts[i].score != hits[i].score ||
            strcmp(skep_peer_id_text(peer, &found->experts[i].peer), hits[i].peer) != 0)
            fail_msg("replay: SKEP_SEED=%llu: hit %zu of example %zu is %s (%g), not %s (%g)",
                     (unsigned long long)seed, i, example, found->experts[i].uid,
                     found->experts[i].score, hits[i].text, hits[i].score);
    }
}

/* Nothing declared under a record that was not seen is above the bound; an exact answer has the best of everything. */
static void check_bound(uint64_t seed, const struct skep_beam_hits *found, size_t example)
{
    const double(*scores)[SIZE_MAX_HERE] = (const double(*)[SIZE_MAX_HERE])world.scores[example];

    if (!found->exact)
        return;
    for (size_t i = 0; i < world.record_count; i++) {
        const struct record *r = &world.records[i];
        double score;
        bool listed = false;
        char top[64];
        uint32_t first = (uint32_t)strtoul(r->key + 2, NULL, 10);

        /* Only what can be reached: prefixes from the first on. */
        if (first >= world.sizes[0] || !world_is_valid(r) ||
            !world_expert_of(r, scores, scores[0][first], &score))
            continue;
        snprintf(top, sizeof top, "e.%u.", (unsigned)first);
        if (strcmp(top, r->key) != 0)
            continue;
        for (size_t h = 0; h < found->count; h++)
            listed |= strcmp(found->experts[h].uid, r->uid) == 0;
        if (!listed &&
            (found->count < world.beam_size || found->experts[found->count - 1].score < score))
            fail_msg("replay: SKEP_SEED=%llu: said to be exact without %s (%g)",
                     (unsigned long long)seed, r->uid, score);
    }
}

static void run_seed(uint64_t seed)
{
    struct test_env env;
    struct skep_prng prng;
    struct skep_dht *dht;
    struct skep_beam *beam;
    struct run batch, single, again;

    test_env_init(&env, seed);
    skep_prng_init(&prng, seed);
    dht = fake_dht_new(&env.env, seed);
    fake_dht_settings(dht)->delay_us = 10;
    fake_dht_settings(dht)->no_cache = skep_prng_below(&prng, 4) == 0;
    world_draw(&prng, dht);
    beam = world_beam(dht);
    start(&batch, beam, 0, world.examples);
    test_env_advance(&env, 1000000);
    start(&single, beam, world.examples - 1, 1);
    test_env_advance(&env, 1000000);
    fake_dht_forget(dht);
    fake_dht_fetch_all(dht);
    start(&again, beam, 0, world.examples);
    test_env_advance(&env, 1000000); /* what is not in the network at all is asked for each time */
    if (batch.ended != 1 || single.ended != 1 || again.ended != 1 || batch.rc != 0 ||
        single.rc != 0 || again.rc != 0)
        fail_msg("replay: SKEP_SEED=%llu: it did not end well", (unsigned long long)seed);
    for (size_t e = 0; e < world.examples; e++) {
        check_example(seed, &batch.search.hits[e], e);
        check_example(seed, &again.search.hits[e], e);
        check_bound(seed, &batch.search.hits[e], e);
    }
    check_example(seed, single.search.hits, world.examples - 1);
    skep_search_fini(&batch.search);
    skep_search_fini(&single.search);
    skep_search_fini(&again.search);
    skep_beam_free(beam);
    fake_dht_free(dht);
    test_env_fini(&env);
}

static void searches_of_random_grids_find_what_a_plain_reading_finds(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(3000); seed++)
        run_seed(seed);
}

/* ---- keys without an answer ---- */

static void what_nobody_answers_for_is_skipped_and_bounded(void **state)
{
    (void)state;
    world_blocked = world_is_blocked;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(500); seed++) {
        struct test_env env;
        struct skep_prng prng;
        struct run run;
        struct skep_beam *beam;
        struct skep_dht *dht;

        test_env_init(&env, seed);
        skep_prng_init(&prng, seed);
        dht = fake_dht_new(&env.env, seed);
        fake_dht_settings(dht)->unanswered_ppm = world_blocked_ppm = 200000;
        world_draw(&prng, dht);
        beam = world_beam(dht);
        start(&run, beam, 0, world.examples);
        test_env_advance(&env, 1000000);
        assert_int_equal(run.ended, 1);
        for (size_t e = 0; e < world.examples; e++) {
            const struct skep_beam_hits *hits = &run.search.hits[e];

            check_example(seed, hits, e);
            check_bound(seed, hits, e);
            if (hits->unanswered > 0)
                assert_true(hits->has_bound);
        }
        skep_search_fini(&run.search);
        skep_beam_free(beam);
        fake_dht_free(dht);
        test_env_fini(&env);
    }
    world_blocked = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(searches_of_random_grids_find_what_a_plain_reading_finds),
        cmocka_unit_test(what_nobody_answers_for_is_skipped_and_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
