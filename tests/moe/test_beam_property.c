/* SPDX-License-Identifier: MIT */
/* The searcher against a plain reading of docs/wire.md d.5 on thousands of random small grids: few and many dimensions, sparse and dense, ties,
 * -infinity, float32 and float64, stale prefixes, stray uids, keys that nobody answers for. */
#include <math.h>

#include "moe/beam.h"
#include "moe/fake_dht.h"
#include "support/test.h"

enum {
    DIMS_MAX = 4,
    SIZE_MAX_HERE = 12,
    RECORDS_MAX = 4096,
    HITS_MAX = 4096,
    BEAM_MAX = 8,
    EXAMPLES_MAX = 4
};

static const char *const peers[] = {"12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s",
                                    "12D3KooWRacyeCe8EVynawz1V4Xf5mJvqiLLMgGNMy6RNKFyPNYX",
                                    "12D3KooWEM4WapXGFG5a7oQtMWF713jPEjr3e5bqgKvUNVMXYwwj"};

/* ---- the plain reading ---- */

struct record {
    char key[64], uid[64];
    int coordinate;
    const char *peer;
};

struct world {
    size_t dims, beam_size, examples;
    uint32_t sizes[DIMS_MAX];
    bool narrow;
    double scores[EXAMPLES_MAX][DIMS_MAX][SIZE_MAX_HERE];
    struct record records[RECORDS_MAX];
    size_t record_count, added;
};

struct scored {
    double score;
    char text[64];
    const char *peer;
};

static struct world world;
static bool (*blocked)(const char *key); /* nobody answers for this one */

static double add(double a, double b)
{
    return world.narrow ? (double)((float)a + (float)b) : a + b;
}

static bool is_valid(const struct record *r)
{
    char whole[96];
    size_t len;

    if (r->coordinate == -1) {
        snprintf(whole, sizeof whole, "%s.", r->uid);
        return strcmp(whole, r->key) == 0;
    }
    len = (size_t)snprintf(whole, sizeof whole, "%s%d", r->key, r->coordinate);
    return strncmp(r->uid, whole, len) == 0 && (r->uid[len] == '\0' || r->uid[len] == '.');
}

static bool has_entries(const char *key, bool flat_too)
{
    if (blocked && blocked(key))
        return false;
    for (size_t i = 0; i < world.record_count; i++) {
        const struct record *r = &world.records[i];

        if (strcmp(r->key, key) == 0 && is_valid(r) && (flat_too || r->coordinate >= 0))
            return true;
    }
    return false;
}

static int by_rank(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;

    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return -strcmp(x->text, y->text);
}

static bool expert_of(const struct record *r, const double (*scores)[SIZE_MAX_HERE],
                      double prefix_score, double *score)
{
    const char *at = strchr(r->uid, '.');
    size_t d = 0;

    if (world.dims == 1 && r->coordinate == -1) {
        *score = prefix_score;
        return true;
    }
    *score = 0;
    for (; at; at = strchr(at + 1, '.'), d++) {
        long number = strtol(at + 1, NULL, 10);

        if (d >= world.dims || number >= (long)world.sizes[d])
            return false;
        *score = add(*score, scores[d][number]);
    }
    return d == world.dims;
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

            if (strcmp(r->key, beam[b].text) != 0 || !is_valid(r) ||
                (r->coordinate < 0 && !flat_too) || !expert_of(r, scores, beam[b].score, &score))
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
        if (has_entries(key, true)) {
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

                if (strcmp(r->key, beam[b].text) != 0 || !is_valid(r) || r->coordinate < 0 ||
                    r->coordinate >= (int)world.sizes[d])
                    continue;
                next[candidates].score = add(beam[b].score, scores[d][r->coordinate]);
                snprintf(next[candidates++].text, sizeof next->text, "%.40s%d.", beam[b].text,
                         r->coordinate);
            }
        }
        qsort(next, candidates, sizeof *next, by_rank);
        for (size_t i = 0; i < candidates && i < world.beam_size; i++) {
            if (has_entries(next[i].text, false))
                beam[kept++] = next[i];
        }
        count = kept;
    }
    collect(beam, count, scores, flat_too, hits, &hit_count);
    qsort(hits, hit_count, sizeof *hits, by_rank);
    return hit_count < world.beam_size ? hit_count : world.beam_size;
}

/* ---- random worlds ---- */

static void add_record(struct skep_dht *dht, const char *key, int coordinate, const char *uid,
                       const char *peer)
{
    size_t at = 0;

    while (at < world.record_count &&
           (strcmp(world.records[at].key, key) != 0 || world.records[at].coordinate != coordinate))
        at++;
    if (at == world.record_count)
        world.record_count++;
    assert_true(world.record_count <= RECORDS_MAX);
    snprintf(world.records[at].key, sizeof world.records[at].key, "%s", key);
    snprintf(world.records[at].uid, sizeof world.records[at].uid, "%s", uid);
    world.records[at].coordinate = coordinate;
    world.records[at].peer = peer;
    fake_dht_put_expert(dht, key, coordinate, uid, peer,
                        1.9e9 + (double)world.added++); /* a later record wins in the table, too */
}

static void declare(struct skep_dht *dht, const uint32_t *coordinates, size_t dims,
                    const char *peer, size_t from)
{
    char uid[64] = "e", key[64] = "e.";
    size_t len = 1;

    for (size_t d = 0; d < dims; d++)
        len += (size_t)snprintf(uid + len, sizeof uid - len, ".%u", (unsigned)coordinates[d]);
    if (dims == 1) {
        snprintf(key, sizeof key, "%.50s.", uid);
        add_record(dht, key, -1, uid, peer);
    }
    for (size_t d = 1; d < dims; d++) {
        snprintf(key + strlen(key), sizeof key - strlen(key), "%u.", (unsigned)coordinates[d - 1]);
        if (d >= from)
            add_record(dht, key, (int)coordinates[d], uid, peer);
    }
}

static double random_score(struct skep_prng *prng, unsigned kind)
{
    switch (kind) {
    case 0: return (double)skep_prng_below(prng, 3); /* ties everywhere */
    case 1:
        return skep_prng_below(prng, 4) == 0 ? -HUGE_VAL : (double)skep_prng_below(prng, 8) / 10;
    case 2: return (skep_prng_unit(prng) - 0.5) * 3e38;
    case 3: return 0;
    default: return skep_prng_unit(prng) * 2 - 1;
    }
}

static void random_world(struct skep_prng *prng, struct skep_dht *dht)
{
    size_t experts = (size_t)skep_prng_below(prng, 3) == 0 ? (size_t)skep_prng_below(prng, 4)
                                                           : (size_t)skep_prng_below(prng, 120);
    uint32_t size_max = skep_prng_below(prng, 4) == 0 ? SIZE_MAX_HERE : 5;
    unsigned kind = (unsigned)skep_prng_below(prng, 6);

    memset(&world, 0, sizeof world);
    world.dims = 1 + (size_t)skep_prng_below(prng, DIMS_MAX);
    world.beam_size = 1 + (size_t)skep_prng_below(prng, BEAM_MAX);
    world.examples = 1 + (size_t)skep_prng_below(prng, EXAMPLES_MAX);
    world.narrow = skep_prng_below(prng, 2) == 0;
    for (size_t d = 0; d < world.dims; d++)
        world.sizes[d] = 1 + (uint32_t)skep_prng_below(prng, size_max);
    for (size_t e = 0; e < world.examples; e++) {
        for (size_t d = 0; d < world.dims; d++) {
            for (size_t i = 0; i < world.sizes[d]; i++) {
                double score = random_score(prng, kind);

                world.scores[e][d][i] = world.narrow ? (double)(float)score : score;
            }
        }
    }
    for (size_t i = 0; i < experts; i++) {
        uint32_t at[DIMS_MAX];
        size_t dims = skep_prng_below(prng, 16) == 0 ? 1 + (size_t)skep_prng_below(prng, DIMS_MAX)
                                                     : world.dims;

        for (size_t d = 0; d < DIMS_MAX; d++) /* now and then outside the grid */
            at[d] = (uint32_t)skep_prng_below(prng, world.sizes[d < world.dims ? d : 0] +
                                                        (skep_prng_below(prng, 8) == 0));
        /* Now and then a prefix of it is missing: hivemind's stale records. */
        declare(dht, at, dims, peers[skep_prng_below(prng, SKEP_COUNT_OF(peers))],
                skep_prng_below(prng, 8) == 0 ? 2 : 1);
    }
    for (size_t i = world.record_count > 0 ? (size_t)skep_prng_below(prng, 3) : 0; i > 0;
         i--) { /* strays */
        struct record victim = world.records[skep_prng_below(prng, world.record_count)];

        add_record(dht, victim.key, (int)skep_prng_below(prng, 4),
                   world.records[skep_prng_below(prng, world.record_count)].uid, peers[0]);
    }
}

/* ---- the searcher ---- */

struct run {
    struct skep_search search;
    int ended, rc;
};

static void on_done(struct skep_search *search, int rc)
{
    struct run *run = SKEP_CONTAINER_OF(search, struct run, search);

    run->ended++;
    run->rc = rc;
}

static void start(struct run *run, struct skep_beam *beam, size_t first, size_t examples)
{
    static double wide[DIMS_MAX][EXAMPLES_MAX * SIZE_MAX_HERE];
    static float narrow[DIMS_MAX][EXAMPLES_MAX * SIZE_MAX_HERE];
    const void *rows[DIMS_MAX];
    struct skep_scores scores = {.type = world.narrow ? SKEP_GRID_FLOAT32 : SKEP_GRID_FLOAT64,
                                 .examples = examples,
                                 .dims = world.dims,
                                 .rows = rows};
    struct skep_search_options options = {.beam_size = world.beam_size};
    char why[512];

    for (size_t d = 0; d < world.dims; d++) {
        for (size_t e = 0; e < examples; e++) {
            for (size_t i = 0; i < world.sizes[d]; i++) {
                wide[d][e * world.sizes[d] + i] = world.scores[first + e][d][i];
                narrow[d][e * world.sizes[d] + i] = (float)world.scores[first + e][d][i];
            }
        }
        rows[d] = world.narrow ? (const void *)narrow[d] : (const void *)wide[d];
    }
    *run = (struct run){.search = {.done = on_done}};
    if (skep_find_best_start(&run->search, beam, &scores, &options, why, sizeof why) != 0)
        fail_msg("%s", why);
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
        if (first >= world.sizes[0] || !is_valid(r) ||
            !expert_of(r, scores, scores[0][first], &score))
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

static struct skep_beam *new_beam(struct skep_dht *dht)
{
    struct skep_beam_options options;
    struct skep_beam *beam;

    skep_beam_options_default(&options);
    options.prefix = skep_bytes_str("e");
    options.grid = world.sizes;
    options.dims = world.dims;
    options.negative_caching = false;
    assert_int_equal(skep_beam_new(&beam, dht, &options, NULL, 0), 0);
    return beam;
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
    random_world(&prng, dht);
    beam = new_beam(dht);
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

static unsigned blocked_ppm;

static bool is_blocked(const char *key)
{
    struct skep_dht_id id;

    skep_dht_id_from_str(&id, skep_bytes_str(key));
    return skep_get_be32(id.bytes) % 1000000 < blocked_ppm;
}

static void what_nobody_answers_for_is_skipped_and_bounded(void **state)
{
    (void)state;
    blocked = is_blocked;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(500); seed++) {
        struct test_env env;
        struct skep_prng prng;
        struct run run;
        struct skep_beam *beam;
        struct skep_dht *dht;

        test_env_init(&env, seed);
        skep_prng_init(&prng, seed);
        dht = fake_dht_new(&env.env, seed);
        fake_dht_settings(dht)->unanswered_ppm = blocked_ppm = 200000;
        random_world(&prng, dht);
        beam = new_beam(dht);
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
    blocked = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(searches_of_random_grids_find_what_a_plain_reading_finds),
        cmocka_unit_test(what_nobody_answers_for_is_skipped_and_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
