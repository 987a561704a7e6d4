/* SPDX-License-Identifier: MIT */
#include "moe/random_world.h"

#include <math.h>

static const char *const peers[] = {"12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s",
                                    "12D3KooWRacyeCe8EVynawz1V4Xf5mJvqiLLMgGNMy6RNKFyPNYX",
                                    "12D3KooWEM4WapXGFG5a7oQtMWF713jPEjr3e5bqgKvUNVMXYwwj"};

struct world world;
bool (*world_blocked)(const char *key); /* nobody answers for this one */

double world_add(double a, double b)
{
    return world.narrow ? (double)((float)a + (float)b) : a + b;
}

bool world_is_valid(const struct record *r)
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

bool world_has_entries(const char *key, bool flat_too)
{
    if (world_blocked && world_blocked(key))
        return false;
    for (size_t i = 0; i < world.record_count; i++) {
        const struct record *r = &world.records[i];

        if (strcmp(r->key, key) == 0 && world_is_valid(r) && (flat_too || r->coordinate >= 0))
            return true;
    }
    return false;
}

bool world_expert_of(const struct record *r, const double (*scores)[SIZE_MAX_HERE],
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
        *score = world_add(*score, scores[d][number]);
    }
    return d == world.dims;
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

void world_draw(struct skep_prng *prng, struct skep_dht *dht)
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

unsigned world_blocked_ppm;

bool world_is_blocked(const char *key)
{
    struct skep_dht_id id;

    skep_dht_id_from_str(&id, skep_bytes_str(key));
    return skep_get_be32(id.bytes) % 1000000 < world_blocked_ppm;
}

struct skep_beam *world_beam(struct skep_dht *dht)
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

static void on_done(struct skep_search *search, int rc)
{
    struct run *run = SKEP_CONTAINER_OF(search, struct run, search);

    run->ended++;
    run->rc = rc;
}

void world_start(struct run *run, struct skep_beam *beam, size_t first, size_t examples,
                 const struct skep_search_options *options)
{
    static double wide[DIMS_MAX][EXAMPLES_MAX * SIZE_MAX_HERE];
    static float narrow[DIMS_MAX][EXAMPLES_MAX * SIZE_MAX_HERE];
    const void *rows[DIMS_MAX];
    struct skep_scores scores = {.type = world.narrow ? SKEP_GRID_FLOAT32 : SKEP_GRID_FLOAT64,
                                 .examples = examples,
                                 .dims = world.dims,
                                 .rows = rows};
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
    if (skep_find_best_start(&run->search, beam, &scores, options, why, sizeof why) != 0)
        fail_msg("%s", why);
}
