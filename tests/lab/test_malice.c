/* SPDX-License-Identifier: MIT */
/* Three hundred nodes of which a share lies: experts that honest nodes declare are still found by honest nodes. The shares are printed; those with forgers,
 * chameleons, or two fifths of liars are what the README tells of, and only bounded loosely here. Same seed, same run; SKEP_SEED=n runs n alone. */
#include "moe/beam.h"
#include "moe/declare.h"
#include "moe/successors.h"
#include "lab/malice.h"
#include "sim/swarm.h"

enum { NODES = 300, DECLARERS = 10, EXPERTS = 400, SIZE = 12, SEARCHES = 150, BEAM = 4 };

static struct swarm swarm, truth; /* `truth`: one honest node that knows all */
static struct skep_lab_malice *malices[NODES];
static struct skep_peer_id accomplices[NODES];
static size_t malice_count;
static char uid_texts[EXPERTS][32];
static skep_bytes uids[EXPERTS];
static uint64_t seed;

#define SIM_CHECK(condition)                                                                       \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("replay: SKEP_SEED=%llu ctest -R sim/test_malice\n",                       \
                        (unsigned long long)seed);                                                 \
            assert_true(condition);                                                                \
        }                                                                                          \
    } while (0)

/* ---- the swarm ---- */

static uint32_t some_honest_node(void)
{
    uint32_t node;

    do
        node = (uint32_t)skep_prng_below(&swarm.prng, swarm.count);
    while (!swarm.dht[node]);
    return node;
}

static void add_malicious(enum skep_lab_vice vice)
{
    uint32_t index = (uint32_t)swarm.count++;
    struct skep_dht_id id;

    assert_int_equal(skep_sim_net_add(swarm.net, &swarm.rpc[index]), 0);
    swarm.dht[index] = NULL;
    skep_prng_fill(&swarm.prng, id.bytes, sizeof id.bytes);
    if (vice == SKEP_LAB_VICE_COUNT)
        vice = (enum skep_lab_vice)skep_prng_below(&swarm.prng, SKEP_LAB_VICE_COUNT);
    assert_int_equal(skep_lab_malice_new(&malices[malice_count], &swarm.clock.env, swarm.rpc[index],
                                         &id, vice, seed + index),
                     0);
    accomplices[malice_count++] = swarm.rpc[index]->self;
    for (int i = 0; i < 3; i++)
        skep_lab_malice_greet(malices[malice_count - 1], &swarm.rpc[some_honest_node()]->self);
    skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
}

/* SKEP_LAB_VICE_COUNT: one of the three vices each. */
static void begin(uint64_t of_seed, unsigned percent, enum skep_lab_vice vice)
{
    struct skep_sim_faults usual;

    seed = of_seed;
    malice_count = 0;
    skep_sim_faults_default(&usual);
    swarm_init(&swarm, &skep_mem_std, seed, &usual);
    swarm_init(&truth, &skep_mem_std, seed, NULL);
    swarm_grow(&truth, 1, NULL);
    swarm_grow(&swarm, 10, NULL);
    while (swarm.count < NODES) {
        if (skep_prng_below(&swarm.prng, 100) < percent)
            add_malicious(vice);
        else
            swarm_grow(&swarm, 1, NULL);
    }
    for (size_t i = 0; i < malice_count; i++)
        skep_lab_malice_conspire(malices[i], accomplices, malice_count);
}

static void end(void)
{
    for (size_t i = 0; i < malice_count; i++)
        skep_lab_malice_free(malices[i]);
    swarm_fini(&swarm);
    swarm_fini(&truth);
}

/* ---- experts ---- */

struct declaring {
    struct skep_declare declare;
    bool done;
};

static void on_declared(struct skep_declare *declare, int rc)
{
    struct declaring *d = SKEP_CONTAINER_OF(declare, struct declaring, declare);

    SIM_CHECK(rc == 0);
    d->done = true;
}

static void declare(struct swarm *at, uint32_t node, size_t first, size_t count,
                    const struct skep_peer_id *peer, double expiration_unix_s)
{
    struct declaring d = {.declare = {.done = on_declared}};

    assert_int_equal(skep_declare_start(&d.declare, at->dht[node], uids + first, count, peer,
                                        expiration_unix_s, NULL, NULL, 0),
                     0);
    assert_true(skep_sim_clock_run_until(&at->clock, &d.done, 600 * SKEP_SIM_SECOND));
    skep_declare_fini(&d.declare);
}

static void draw_uid(char text[32])
{
    unsigned at[3];

    for (size_t d = 0; d < SKEP_COUNT_OF(at); d++)
        at[d] = (unsigned)skep_prng_below(&swarm.prng, SIZE);
    snprintf(text, 32, "ffn.%u.%u.%u", at[0], at[1], at[2]);
}

static bool is_drawn(size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (strcmp(uid_texts[i], uid_texts[j]) == 0)
            return true;
    return false;
}

/* Each declarer serves its share; a later one's example replaces an earlier one's in both swarms. */
static void declare_all(void)
{
    double expiration = swarm_now(&swarm) + 3000, expiration_there = swarm_now(&truth) + 3000;

    for (size_t i = 0; i < EXPERTS; i++) {
        do
            draw_uid(uid_texts[i]);
        while (is_drawn(i));
        uids[i] = skep_bytes_str(uid_texts[i]);
    }
    for (size_t d = 0; d < DECLARERS; d++) {
        uint32_t node = some_honest_node();
        size_t share = EXPERTS / DECLARERS;

        declare(&swarm, node, d * share, share, &swarm.rpc[node]->self, expiration + (double)d);
        declare(&truth, 0, d * share, share, &swarm.rpc[node]->self, expiration_there + (double)d);
    }
}

/* ---- gets ---- */

struct comparing {
    struct skep_dht_get get;
    const struct skep_dht_id *key;
    bool same, done;
};

/* All entries that are true, and no other. */
static void compare(struct skep_dht_get *get, size_t index, const struct skep_dht_value *value,
                    bool answered)
{
    struct comparing *c = SKEP_CONTAINER_OF(get, struct comparing, get);
    const struct skep_dht_value *true_one = skep_dht_peek(truth.dht[0], c->key, NULL);
    struct skep_dht_entry entry, other;
    size_t cursor = 0;

    (void)index, (void)answered;
    c->same = value && value->is_dictionary && value->count == true_one->count;
    while (c->same && skep_dht_value_next(true_one, &cursor, &entry))
        c->same = skep_dht_value_find(value, entry.subkey, &other) &&
                  skep_bytes_equal(entry.value, other.value);
}

static void on_compared(struct skep_dht_get *get, int rc)
{
    struct comparing *c = SKEP_CONTAINER_OF(get, struct comparing, get);

    (void)rc;
    c->done = true;
}

/* The record of each expert's longer prefix, by some honest node. */
static size_t gets_that_find_the_truth(skep_dht_judge *believes, double *calls)
{
    struct skep_dht_get_options options = {.believes = believes};
    size_t found = 0;

    *calls = 0;
    for (size_t i = 0; i < EXPERTS; i++) {
        size_t len = (size_t)(strrchr(uid_texts[i], '.') + 1 - uid_texts[i]);
        struct skep_dht_id key;
        struct comparing c = {.get = {.on_value = compare, .done = on_compared}, .key = &key};

        skep_dht_id_from_str(&key, skep_bytes_of(uid_texts[i], len));
        assert_int_equal(
            skep_dht_get_start(swarm.dht[some_honest_node()], &c.get, &key, 1, &options), 0);
        assert_true(skep_sim_clock_run_until(&swarm.clock, &c.done, 60 * SKEP_SIM_SECOND));
        found += c.same;
        *calls += (double)c.get.cost.calls / EXPERTS;
    }
    return found;
}

struct locating {
    struct skep_locate locate;
    bool done;
};

static void on_located(struct skep_locate *locate, int rc)
{
    (void)rc;
    SKEP_CONTAINER_OF(locate, struct locating, locate)->done = true;
}

static bool locate(struct swarm *at, uint32_t node, size_t i, struct skep_peer_id *peer)
{
    struct locating l = {.locate = {.done = on_located}};
    bool found;

    assert_int_equal(skep_locate_start(&l.locate, at->dht[node], &uids[i], 1, NULL, NULL, 0), 0);
    assert_true(skep_sim_clock_run_until(&at->clock, &l.done, 60 * SKEP_SIM_SECOND));
    found = l.locate.experts[0].found;
    *peer = l.locate.experts[0].peer;
    skep_locate_fini(&l.locate);
    return found;
}

static size_t experts_located(void)
{
    size_t found = 0;

    for (size_t i = 0; i < EXPERTS; i++) {
        struct skep_peer_id there, here;

        SIM_CHECK(locate(&truth, 0, i, &there));
        found += locate(&swarm, some_honest_node(), i, &here) && skep_peer_id_equal(&there, &here);
    }
    return found;
}

/* ---- searches ---- */

struct finding {
    struct skep_search search;
    bool done;
};

static void on_found(struct skep_search *search, int rc)
{
    SIM_CHECK(rc == 0);
    SKEP_CONTAINER_OF(search, struct finding, search)->done = true;
}

static struct skep_beam *find(struct swarm *at, uint32_t node, const struct skep_scores *scores,
                              struct finding *f)
{
    static const uint32_t sizes[] = {SIZE, SIZE, SIZE};
    struct skep_beam_options options;
    struct skep_beam *beam;

    skep_beam_options_default(&options);
    options.prefix = skep_bytes_str("ffn.");
    options.grid = sizes;
    options.dims = 3;
    options.negative_caching = false;
    assert_int_equal(skep_beam_new(&beam, at->dht[node], &options, NULL, 0), 0);
    *f = (struct finding){.search = {.done = on_found}};
    assert_int_equal(skep_find_best_start(&f->search, beam, scores,
                                          &(struct skep_search_options){.beam_size = BEAM}, NULL,
                                          0),
                     0);
    assert_true(skep_sim_clock_run_until(&at->clock, &f->done, 60 * SKEP_SIM_SECOND));
    return beam;
}

static bool same_hits(const struct skep_beam_hits *a, const struct skep_beam_hits *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->experts[i].uid, b->experts[i].uid) != 0 ||
            !skep_peer_id_equal(&a->experts[i].peer, &b->experts[i].peer))
            return false;
    return true;
}

/* Searches from honest nodes, each with its own scores, whose hits are those of one who knows all. */
static size_t searches_that_are_true(double *calls)
{
    float rows[3][SIZE];
    const void *row_at[] = {rows[0], rows[1], rows[2]};
    struct skep_scores scores = {
        .type = SKEP_GRID_FLOAT32, .examples = 1, .dims = 3, .rows = row_at};
    size_t same = 0;

    *calls = 0;
    for (size_t i = 0; i < SEARCHES; i++) {
        struct finding here, there;
        struct skep_beam *beam_here, *beam_there;

        for (size_t j = 0; j < 3 * SIZE; j++)
            rows[j / SIZE][j % SIZE] = (float)skep_prng_unit(&swarm.prng);
        beam_there = find(&truth, 0, &scores, &there);
        beam_here = find(&swarm, some_honest_node(), &scores, &here);
        same += same_hits(here.search.hits, there.search.hits);
        *calls += (double)here.search.stats.cost.calls / SEARCHES;
        skep_search_fini(&here.search);
        skep_search_fini(&there.search);
        skep_beam_free(beam_here);
        skep_beam_free(beam_there);
    }
    return same;
}

/* ---- shares ---- */

struct shares {
    double gets, located, searches, get_calls;
};

static struct shares measure(const char *what)
{
    double search_calls;
    struct shares shares;

    declare_all();
    shares.gets =
        (double)gets_that_find_the_truth(skep_successors_believe, &shares.get_calls) / EXPERTS;
    shares.located = (double)experts_located() / EXPERTS;
    shares.searches = (double)searches_that_are_true(&search_calls) / SEARCHES;
    print_message("%-22s seed %llu, %3zu of %d nodes: records %6.2f %% (%.1f calls), experts "
                  "%6.2f %%, searches %6.2f %% (%.1f calls)\n",
                  what, (unsigned long long)seed, malice_count, NODES, shares.gets * 100,
                  shares.get_calls, shares.located * 100, shares.searches * 100, search_calls);
    return shares;
}

/* Over several seeds, since one record whose holders all lie is some searches that fail. */
static void a_fifth_of_malicious_nodes_hides_less_than_one_record_in_a_hundred(void **state)
{
    uint64_t first = test_seed_first(), end_seed = test_seed_end(3);
    struct shares sum = {0};

    (void)state;
    for (uint64_t s = first; s < end_seed; s++) {
        struct shares shares;

        begin(s, 20, SKEP_LAB_VICE_COUNT);
        shares = measure("20 % malicious");
        SIM_CHECK(malice_count >= NODES * 15 / 100);
        sum.gets += shares.gets / (double)(end_seed - first);
        sum.located += shares.located / (double)(end_seed - first);
        sum.searches += shares.searches / (double)(end_seed - first);
        end();
    }
    assert_true(sum.gets >= 0.99 && sum.located >= 0.99 && sum.searches >= 0.99);
}

static void each_vice_alone_is_withstood_at_a_fifth(void **state)
{
    static const char *const names[] = {"20 % wrong neighbours", "20 % refusing", "20 % garbage"};

    (void)state;
    for (int vice = 0; vice < SKEP_LAB_VICE_COUNT; vice++) {
        struct shares shares;

        begin(test_seed_first(), 20, (enum skep_lab_vice)vice);
        shares = measure(names[vice]);
        SIM_CHECK(shares.gets >= 0.99 && shares.located >= 0.99 && shares.searches >= 0.9);
        /* Each of some sixty liars may waste a call, but not all do. */
        SIM_CHECK(shares.get_calls <= 20);
        end();
    }
}

/* What the README tells of; the bounds are loose, and there are none where nothing helps. */
static void more_malice_is_measured(void **state)
{
    static const struct {
        const char *what;
        unsigned percent;
        enum skep_lab_vice vice;
        double at_least; /* of the records */
    } worlds[] = {{"no malice", 0, SKEP_LAB_VICE_COUNT, 0.97},
                  {"40 % malicious", 40, SKEP_LAB_VICE_COUNT, 0.9},
                  {"5 % forgers", 5, SKEP_LAB_VICE_FORGER, 0},
                  {"20 % forgers", 20, SKEP_LAB_VICE_FORGER, 0},
                  {"5 % chameleons", 5, SKEP_LAB_VICE_CHAMELEON, 0},
                  {"20 % chameleons", 20, SKEP_LAB_VICE_CHAMELEON, 0}};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(worlds); i++) {
        begin(test_seed_first(), worlds[i].percent, worlds[i].vice);
        SIM_CHECK(measure(worlds[i].what).gets >= worlds[i].at_least);
        end();
    }
}

/* Everything that happens to a swarm, in one number. */
static uint64_t run_of(uint64_t of_seed)
{
    const struct skep_sim_net_stats *stats;
    double calls;
    uint64_t digest;

    begin(of_seed, 20, SKEP_LAB_VICE_COUNT);
    declare_all();
    digest = searches_that_are_true(&calls);
    stats = skep_sim_net_stats(swarm.net);
    digest = digest * 1000003 + stats->calls;
    digest = digest * 1000003 + stats->bytes;
    digest = digest * 1000003 + swarm.clock.now_us;
    digest = digest * 1000003 + swarm.clock.events;
    end();
    return digest;
}

static void the_same_seed_is_the_same_run(void **state)
{
    (void)state;
    assert_true(run_of(5) == run_of(5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fifth_of_malicious_nodes_hides_less_than_one_record_in_a_hundred),
        cmocka_unit_test(each_vice_alone_is_withstood_at_a_fifth),
        cmocka_unit_test(more_malice_is_measured),
        cmocka_unit_test(the_same_seed_is_the_same_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
