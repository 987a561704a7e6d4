/* SPDX-License-Identifier: MIT */
/* Declaring and searching over real DHT nodes in virtual time: the searches of beam.json once more, their cost, and a swarm that dies. */
#include <math.h>

#include "moe/beam.h"
#include "moe/declare.h"
#include "sim/swarm.h"

enum { NODES = 8, DECLARER = 1, STORER = 2, SEARCHER = NODES };

struct run {
    struct skep_search search;
    struct skep_declare declare;
    bool done;
    int rc;
};

static struct skep_peer_id declarer;

static void on_found(struct skep_search *search, int rc)
{
    struct run *run = SKEP_CONTAINER_OF(search, struct run, search);

    run->done = true;
    run->rc = rc;
}

static void on_declared(struct skep_declare *declare, int rc)
{
    struct run *run = SKEP_CONTAINER_OF(declare, struct run, declare);

    run->done = true;
    run->rc = rc;
}

static void set_up(struct swarm *swarm, size_t nodes)
{
    struct skep_dht_options client;
    const uint32_t via[] = {0};

    swarm_init(swarm, &skep_mem_std, 1, NULL);
    swarm_grow(swarm, nodes, NULL);
    skep_dht_options_default(&client);
    client.client_mode = true;
    assert_int_equal(swarm_add(swarm, &client), nodes);
    assert_int_equal(swarm_join(swarm, (uint32_t)nodes, via, 1, NULL), 0);
    assert_int_equal(
        skep_peer_id_from_base58(
            &declarer, skep_bytes_str("12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s")),
        0);
}

static void declare(struct swarm *swarm, const skep_bytes *uids, size_t count)
{
    struct run run = {.declare = {.done = on_declared}};

    assert_int_equal(skep_declare_start(&run.declare, swarm->dht[DECLARER], uids, count, &declarer,
                                        swarm_now(swarm) + 3000, NULL, NULL, 0),
                     0);
    assert_true(skep_sim_clock_run_until(&swarm->clock, &run.done, 60 * SKEP_SIM_SECOND));
    assert_int_equal(run.rc, 0);
    for (size_t i = 0; i < run.declare.record_count; i++)
        assert_true(run.declare.records[i].accepted >= 5);
    skep_declare_fini(&run.declare);
}

static double number_of(const json_t *value)
{
    if (json_is_string(value))
        return json_string_value(value)[0] == '-' ? -HUGE_VAL : HUGE_VAL;
    return json_number_value(value);
}

static void fill(struct swarm *swarm, const json_t *vector)
{
    skep_bytes uids[512];
    size_t count = json_array_size(test_get(vector, "alive")), i;
    json_t *item;

    assert_true(count <= SKEP_COUNT_OF(uids));
    json_array_foreach(test_get(vector, "alive"), i, item) uids[i] =
        skep_bytes_str(json_string_value(item));
    if (count > 0)
        declare(swarm, uids, count);
    json_array_foreach(test_get(vector, "raw_records"), i, item)
    {
        struct skep_dht_record record = {.subkey = test_unhex(test_str(item, "subkey_bytes")),
                                         .value = test_unhex(test_str(item, "value_bytes")),
                                         .expiration_unix_s = swarm_now(swarm) + 3100 + (double)i};

        record.key = swarm_key(test_str(item, "key"));
        if (skep_bytes_equal(record.subkey, skep_bytes_str("\xc0")))
            record.subkey.len = 0;
        assert_true(swarm_store(swarm, STORER, &record, NULL) >= 5);
    }
}

static struct skep_beam *new_beam(struct swarm *swarm, uint32_t node, const char *prefix,
                                  const uint32_t *sizes, size_t dims)
{
    struct skep_beam_options options;
    struct skep_beam *beam;

    skep_beam_options_default(&options);
    options.prefix = skep_bytes_str(prefix);
    options.grid = sizes;
    options.dims = dims;
    assert_int_equal(skep_beam_new(&beam, swarm->dht[node], &options, NULL, 0), 0);
    return beam;
}

static void find(struct swarm *swarm, struct run *run, struct skep_beam *beam,
                 const struct skep_scores *scores, size_t beam_size)
{
    struct skep_search_options options = {.beam_size = beam_size};

    *run = (struct run){.search = {.done = on_found}};
    assert_int_equal(skep_find_best_start(&run->search, beam, scores, &options, NULL, 0), 0);
    assert_true(skep_sim_clock_run_until(&swarm->clock, &run->done, 60 * SKEP_SIM_SECOND));
    assert_int_equal(run->rc, 0);
}

static void check_hits(const struct skep_beam_hits *hits, const json_t *expected)
{
    size_t i;
    json_t *item;

    assert_int_equal(hits->count, json_array_size(expected));
    json_array_foreach(expected, i, item)
    {
        const char *peer = test_str(item, "peer_id");
        char text[SKEP_PEER_ID_TEXT_MAX], own[SKEP_PEER_ID_TEXT_MAX];

        assert_string_equal(hits->experts[i].uid, test_str(item, "uid"));
        assert_string_equal(skep_peer_id_text(text, &hits->experts[i].peer),
                            strcmp(peer, "declarer") == 0 ? skep_peer_id_text(own, &declarer)
                                                          : peer);
        assert_true(number_of(test_get(item, "score")) == hits->experts[i].score);
    }
    assert_int_equal(hits->unanswered, 0);
}

static const json_t *expected_of(const json_t *vector)
{
    size_t i;
    json_t *item;

    json_array_foreach(test_get(test_vectors("beam_skep.json"), "cases"), i, item)
    {
        if (strcmp(test_str(item, "what"), test_str(vector, "what")) == 0)
            return test_get(item, "skep_result");
    }
    return test_get(vector, "result");
}

/* Nobody believes one under a prefix, and as it lives longer than a mark would it is met there each time. */
static bool holds_plain_values(const json_t *vector)
{
    size_t i;
    json_t *item;

    json_array_foreach(test_get(vector, "raw_records"), i, item)
    {
        if (strcmp(test_str(item, "subkey_bytes"), "c0") == 0)
            return true;
    }
    return false;
}

static void run_vector(struct swarm *swarm, const json_t *vector)
{
    const json_t *grid = test_get(vector, "grid"), *rows = test_get(vector, "scores");
    size_t dims = json_array_size(grid),
           beam_size = (size_t)json_integer_value(test_get(vector, "beam_size"));
    uint32_t sizes[8];
    double numbers[8][64];
    const void *row_at[8];
    struct skep_scores scores = {
        .type = SKEP_GRID_FLOAT64, .examples = 1, .dims = dims, .rows = row_at};
    struct skep_beam *beam;
    struct run run;

    for (size_t d = 0; d < dims; d++) {
        sizes[d] = (uint32_t)json_integer_value(json_array_get(grid, d));
        row_at[d] = numbers[d];
        for (size_t i = 0; i < sizes[d]; i++)
            numbers[d][i] = number_of(json_array_get(json_array_get(rows, d), i));
    }
    fill(swarm, vector);
    beam = new_beam(swarm, SEARCHER, test_str(vector, "prefix"), sizes, dims);
    for (int round = 0; round < 3;
         round++) { /* again with warm caches and, from the second on, negative marks */
        find(swarm, &run, beam, &scores, beam_size);
        check_hits(run.search.hits, expected_of(vector));
        if (round == 2 && dims > 1 && !holds_plain_values(vector))
            assert_int_equal(run.search.stats.marked, 0);
        skep_search_fini(&run.search);
        skep_sim_clock_run_for(&swarm->clock, SKEP_SIM_SECOND);
    }
    skep_beam_free(beam);
}

static void a_swarm_of_nodes_gives_hiveminds_answers(void **state)
{
    static struct swarm swarm;
    size_t i;
    json_t *vector;

    (void)state;
    set_up(&swarm, NODES);
    json_array_foreach(test_get(test_vectors("beam.json"), "cases"), i, vector)
        run_vector(&swarm, vector);
    assert_int_equal(i, 47);
    swarm_fini(&swarm);
}

/* ---- a grid of some size ---- */

enum { SIZE = 16, EXPERTS = 200 };

static void declare_many(struct swarm *swarm)
{
    static char texts[EXPERTS][32];
    skep_bytes uids[EXPERTS];

    for (size_t i = 0; i < EXPERTS; i++) {
        snprintf(texts[i], sizeof texts[i], "ffn.%u.%u.%u",
                 (unsigned)skep_prng_below(&swarm->prng, SIZE),
                 (unsigned)skep_prng_below(&swarm->prng, SIZE),
                 (unsigned)skep_prng_below(&swarm->prng, SIZE));
        uids[i] = skep_bytes_str(texts[i]);
    }
    declare(swarm, uids, EXPERTS);
}

static void draw(struct swarm *swarm, float *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        numbers[i] = (float)skep_prng_unit(&swarm->prng);
}

static void a_repeated_search_asks_the_network_for_nothing(void **state)
{
    static const uint32_t sizes[] = {SIZE, SIZE, SIZE};
    static struct swarm swarm;
    float numbers[3][SIZE];
    const void *rows[] = {numbers[0], numbers[1], numbers[2]};
    struct skep_scores scores = {.type = SKEP_GRID_FLOAT32, .examples = 1, .dims = 3, .rows = rows};
    struct skep_beam *beam;
    struct run first, again;

    (void)state;
    set_up(&swarm, NODES);
    declare_many(&swarm);
    draw(&swarm, numbers[0], sizeof numbers / sizeof(float));
    beam = new_beam(&swarm, SEARCHER, "ffn.", sizes, 3);
    find(&swarm, &first, beam, &scores, 4);
    assert_int_equal(first.search.hits->count, 4);
    assert_true(first.search.stats.cost.calls > 0 && first.search.stats.cost.keys <= 10 &&
                first.search.stats.gets == 2);
    skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
    find(&swarm, &again, beam, &scores, 4);
    assert_int_equal(again.search.stats.gets, 0);
    assert_int_equal(again.search.stats.elapsed_us, 0);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(first.search.hits->experts[i].uid, again.search.hits->experts[i].uid);
    skep_search_fini(&first.search);
    skep_search_fini(&again.search);
    skep_beam_free(beam);
    swarm_fini(&swarm);
}

static void searches_go_on_while_nodes_die_and_end_by_their_deadline(void **state)
{
    static const uint32_t sizes[] = {SIZE, SIZE, SIZE};
    static struct swarm swarm;
    float numbers[3][SIZE];
    const void *rows[] = {numbers[0], numbers[1], numbers[2]};
    struct skep_scores scores = {.type = SKEP_GRID_FLOAT32, .examples = 1, .dims = 3, .rows = rows};
    struct skep_search_options options = {.beam_size = 4};
    struct skep_beam *beam;

    (void)state;
    set_up(&swarm, 24);
    declare_many(&swarm);
    beam = new_beam(&swarm, 24, "ffn.", sizes, 3);
    for (uint32_t dead = 3; dead < 18; dead++) {
        struct run run = {.search = {.done = on_found}};

        swarm_kill(&swarm, dead);
        draw(&swarm, numbers[0], sizeof numbers / sizeof(float));
        options.deadline_us = swarm.clock.now_us + SKEP_SIM_SECOND;
        assert_int_equal(skep_find_best_start(&run.search, beam, &scores, &options, NULL, 0), 0);
        assert_true(skep_sim_clock_run_until(&swarm.clock, &run.done, SKEP_SIM_SECOND + 1));
        assert_int_equal(run.rc, 0);
        assert_true(run.search.hits->count > 0 || run.search.hits->unanswered > 0);
        skep_search_fini(&run.search);
    }
    skep_beam_free(beam);
    swarm_fini(&swarm);
}

/* A tenth of the nodes neither answer nor close their connections, which nobody has noticed yet. All round trips take 50 ms. */
static void silent_nodes_stall_a_search_for_a_few_round_trips_not_for_their_timeout(void **state)
{
    enum { MANY = 100, SEARCHES = 30, RTT_US = 50000 };
    static const struct skep_sim_faults even = {.latency = {.median_us = RTT_US}};
    static const uint32_t sizes[] = {SIZE, SIZE, SIZE};
    static struct swarm swarm;
    float numbers[3][SIZE];
    const void *rows[] = {numbers[0], numbers[1], numbers[2]};
    struct skep_scores scores = {.type = SKEP_GRID_FLOAT32, .examples = 1, .dims = 3, .rows = rows};
    uint64_t longest = 0, sum = 0;

    (void)state;
    set_up(&swarm, MANY);
    *skep_sim_net_faults(swarm.net) = even;
    declare_many(&swarm);
    for (size_t i = 0; i < SEARCHES; i++) {
        struct skep_beam *beam = new_beam(&swarm, MANY, "ffn.", sizes, 3);
        struct run run;

        /* Once while all is well, to have met those that are silent afterwards. */
        for (uint32_t n = 1; i > 0 && n <= MANY / 10; n++)
            skep_sim_net_set_group(swarm.net, (n * 7 + (uint32_t)i) % MANY, 1);
        draw(&swarm, numbers[0], sizeof numbers / sizeof(float));
        find(&swarm, &run, beam, &scores, 4);
        longest = SKEP_MAX(longest, run.search.stats.elapsed_us);
        sum += run.search.stats.elapsed_us;
        assert_int_equal(run.search.hits->count, 4);
        skep_search_fini(&run.search);
        skep_beam_free(beam);
        skep_dht_clear_cache_now(swarm.dht[MANY]);
        for (uint32_t n = 0; n < MANY; n++)
            skep_sim_net_set_group(swarm.net, n, 0);
        skep_sim_clock_run_for(&swarm.clock, 60 * SKEP_SIM_SECOND);
    }
    print_message("longest search %.1f round trips, on average %.1f\n", (double)longest / RTT_US,
                  (double)sum / RTT_US / SEARCHES);
    assert_true(longest <= 10 * RTT_US);
    swarm_fini(&swarm);
}

static void a_node_that_goes_cancels_its_searches(void **state)
{
    static const uint32_t sizes[] = {SIZE, SIZE};
    static const double numbers[SIZE];
    static struct swarm swarm;
    const void *rows[] = {numbers, numbers};
    struct skep_scores scores = {.type = SKEP_GRID_FLOAT64, .examples = 1, .dims = 2, .rows = rows};
    struct skep_search_options options = {.beam_size = 4};
    struct run run = {.search = {.done = on_found}};
    struct skep_beam *beam;

    (void)state;
    set_up(&swarm, NODES);
    beam = new_beam(&swarm, SEARCHER, "ffn.", sizes, 2);
    assert_int_equal(skep_find_best_start(&run.search, beam, &scores, &options, NULL, 0), 0);
    assert_false(run.done);
    skep_beam_free(beam);
    assert_true(run.done);
    assert_int_equal(run.rc, SKEP_ECANCELED);
    skep_search_fini(&run.search);
    swarm_fini(&swarm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_swarm_of_nodes_gives_hiveminds_answers),
        cmocka_unit_test(a_repeated_search_asks_the_network_for_nothing),
        cmocka_unit_test(searches_go_on_while_nodes_die_and_end_by_their_deadline),
        cmocka_unit_test(silent_nodes_stall_a_search_for_a_few_round_trips_not_for_their_timeout),
        cmocka_unit_test(a_node_that_goes_cancels_its_searches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
