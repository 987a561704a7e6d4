/* SPDX-License-Identifier: MIT */
/* dht/crawl.h among tens of thousands of stubs that answer as nodes with complete tables would: its traffic, its bounds, and what liars can do to it. */
#include "support/test.h"

#include "base/map.h"
#include "dht/crawl.h"
#include "dht/crawl_tiles.h"
#include "sim/sim_rpc.h"

enum { CROWD_MAX = 50000 };

enum manner { HONEST, LIAR, MUTE, NO_PONG, CLIENT };

/* A stub. */
struct member {
    struct skep_dht_id id;
    struct skep_rpc *rpc;
    enum manner manner;
    uint32_t finds; /* answered lately */
};

static struct crowd {
    struct skep_sim_clock clock;
    struct skep_sim_net *net;
    struct skep_dht *dht; /* the node that is tested; index 0 of the net */
    struct skep_onehop all;
    struct member *members; /* [count] */
    uint32_t count;
    struct skep_prng prng;
    uint64_t called_us[SKEP_DHT_CRAWL_CALLS_PER_S * 2]; /* when the last calls came */
    uint64_t calls;
    bool too_fast;
} crowd;

static void member_id(struct skep_dht_id *id)
{
    skep_prng_fill(&crowd.prng, id->bytes, sizeof id->bytes);
}

/* More than a second's worth and what a look may start at once came within a second: handshakes are as long for all, so calls come as they were sent. */
static void note_call(void)
{
    uint64_t now = crowd.clock.now_us,
             *oldest = &crowd.called_us[crowd.calls++ % SKEP_COUNT_OF(crowd.called_us)];

    crowd.too_fast |=
        crowd.calls > SKEP_COUNT_OF(crowd.called_us) && now - *oldest < SKEP_SIM_SECOND;
    *oldest = now;
}

static void serve_ping(void *user, struct skep_rpc_request *request)
{
    const struct member *member = user;
    struct skep_buf out;

    note_call();
    if (member->manner == MUTE || member->manner == NO_PONG)
        return;
    skep_buf_init(&out, &skep_mem_std);
    skep_dht_ping_response_encode(&out, member->manner == CLIENT ? NULL : &member->id, 1e9, false);
    skep_rpc_reply(request, skep_buf_view(&out));
    skep_buf_fini(&out);
}

/* The nearest to a key, but for the one that answers. A liar makes up nodes that are nearer still, each with a peer id that nobody has. */
static size_t nearest(const struct member *member, const struct skep_dht_id *key,
                      struct skep_routing_node *out)
{
    struct skep_onehop_node *near[21];
    size_t count = skep_onehop_nearest(&crowd.all, key, 21, near), n = 0;

    for (size_t i = 0; i < count && n < 20; i++) {
        if (skep_dht_id_equal(&near[i]->id, &member->id))
            continue;
        out[n].id = near[i]->id;
        out[n].peer = skep_onehop_peer(near[i]);
        if (member->manner == LIAR) {
            out[n].id = *key;
            skep_prng_fill(&crowd.prng, out[n].id.bytes + 2, SKEP_DHT_ID_LEN - 2);
            skep_put_be64(out[n].peer.bytes + 10, skep_prng_u64(&crowd.prng) | 1);
        }
        n++;
    }
    return n;
}

static void serve_find(void *user, struct skep_rpc_request *request)
{
    struct member *member = user;
    struct skep_dht_find_request find;
    struct skep_routing_node nodes[20];
    const struct skep_routing_node *near[20];
    struct skep_buf out;
    skep_bytes bytes;

    note_call();
    member->finds++;
    assert_int_equal(skep_dht_find_request_decode(&find, request->data), 0);
    assert_false(find.sender.has_id); /* it says no id, so that nobody takes it into a table */
    if (member->manner == MUTE)
        return;
    skep_buf_init(&out, &skep_mem_std);
    while (skep_dht_next_bytes(&find.keys, &bytes)) {
        struct skep_dht_id key;
        size_t count;

        assert_int_equal(skep_dht_id_from_wire(&key, bytes), 0);
        count = nearest(member, &key, nodes);
        for (size_t i = 0; i < count; i++)
            near[i] = &nodes[i];
        skep_dht_find_result_encode(&out, SKEP_DHT_NOT_FOUND, (skep_bytes){0}, 0, near, count);
    }
    skep_dht_find_response_end(&out, member->manner == CLIENT ? NULL : &member->id);
    skep_rpc_reply(request, skep_buf_view(&out));
    skep_buf_fini(&out);
}

static int add_members(uint32_t count)
{
    int rc = 0;

    for (uint32_t i = 0; i < count && rc == 0; i++) {
        struct member *member = &crowd.members[i];

        member_id(&member->id);
        if ((rc = skep_sim_net_add(crowd.net, &member->rpc)) < 0 ||
            (rc = skep_rpc_serve(member->rpc, SKEP_DHT_RPC_PING, serve_ping, member)) < 0 ||
            (rc = skep_rpc_serve(member->rpc, SKEP_DHT_RPC_FIND, serve_find, member)) < 0)
            return rc;
        rc = skep_onehop_answered(&crowd.all, &member->id, &member->rpc->self, 0, 0);
        crowd.count++;
    }
    return rc;
}

static void options_for_crowd(struct skep_dht_options *options)
{
    skep_dht_options_default(options);
    options->client_mode = true;
    options->one_hop_nodes_max = SKEP_DHT_ONE_HOP_NODES_MAX;
}

static int open_crowd(const struct skep_mem *mem, uint32_t count,
                      const struct skep_dht_options *options)
{
    static const struct skep_sim_faults faults = {
        .latency = {.kind = SKEP_SIM_UNIFORM, .min_us = 50000, .max_us = 50000},
        .handshake_rounds = 3};
    struct skep_rpc *rpc;
    int rc;

    memset(&crowd, 0, sizeof crowd);
    skep_prng_init(&crowd.prng, 7); /* not that of the clock, or the first would have our id */
    skep_onehop_init(&crowd.all, &skep_mem_std, SKEP_DHT_ONE_HOP_NODES_MAX, 0);
    crowd.members = skep_mem_zalloc(&skep_mem_std, count, sizeof *crowd.members);
    skep_sim_clock_init(&crowd.clock, mem, 1);
    if ((rc = skep_sim_net_new(&crowd.net, &crowd.clock, 1, &faults)) < 0 ||
        (rc = skep_sim_net_add(crowd.net, &rpc)) < 0 || (rc = add_members(count)) < 0)
        return rc;
    return skep_dht_new(&crowd.dht, &crowd.clock.env, rpc, options);
}

static void close_crowd(void)
{
    skep_dht_free(crowd.dht);
    skep_sim_net_free(crowd.net);
    skep_sim_clock_fini(&crowd.clock);
    skep_onehop_fini(&crowd.all);
    skep_mem_free(&skep_mem_std, crowd.members);
}

static void begin(uint32_t count)
{
    struct skep_dht_options options;

    options_for_crowd(&options);
    assert_int_equal(open_crowd(&skep_mem_std, count, &options), 0);
}

/* It knows one node to begin with. */
static void meet(uint32_t member)
{
    skep_dht_met(crowd.dht, &crowd.members[member].id, &crowd.members[member].rpc->self);
}

static struct skep_dht_stats stats(void)
{
    struct skep_dht_stats stats;

    skep_dht_stats(crowd.dht, &stats);
    return stats;
}

static bool knows(const struct member *member)
{
    struct skep_onehop_node *near[1];

    return skep_crawl_nearest(crowd.dht, &member->id, 1, near) == 1 &&
           skep_dht_id_equal(&near[0]->id, &member->id);
}

static size_t known(void)
{
    size_t count = 0;

    for (uint32_t i = 0; i < crowd.count; i++)
        count += crowd.members[i].manner != MUTE && knows(&crowd.members[i]);
    return count;
}

static void run_until_round(uint64_t rounds)
{
    for (int i = 0; i < 3000 && stats().crawl_rounds < rounds; i++)
        skep_sim_clock_run_for(&crowd.clock, SKEP_SIM_SECOND);
    assert_int_equal(stats().crawl_rounds, rounds);
}

/* ---- traffic ---- */

/* What crawl.h states. */
static const struct figures {
    uint32_t nodes;
    double known_s, fill_s, calls_per_s, bytes_per_s;
} stated[] = {{1000, 32, 35, 1.7, 250}, {10000, 35, 120, 17, 2500}, {50000, 100, 540, 85, 12000}};

static uint32_t total_finds(void)
{
    uint32_t finds = 0;

    for (uint32_t i = 0; i < crowd.count; i++) {
        finds += crowd.members[i].finds;
        crowd.members[i].finds = 0;
    }
    return finds;
}

static void traffic_is_as_stated(void **state)
{
    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(stated); i++) {
        struct skep_dht_stats before, after;
        double known_s = 0, fill_s, seconds;
        uint64_t began;
        uint32_t finds;

        begin(stated[i].nodes);
        meet(0);
        while (stats().crawl_rounds < 1) {
            skep_sim_clock_run_for(&crowd.clock, SKEP_SIM_SECOND);
            if (known_s == 0 && stats().one_hop_nodes * 1000 >= stated[i].nodes * 995ull)
                known_s = (double)crowd.clock.now_us / 1e6;
        }
        fill_s = (double)crowd.clock.now_us / 1e6;
        assert_int_equal(known(), stated[i].nodes);
        before = stats();
        began = crowd.clock.now_us;
        total_finds();
        run_until_round(2);
        after = stats();
        finds = total_finds();
        seconds = SKEP_MAX((double)(crowd.clock.now_us - began) / 1e6, 600);
        printf("%u nodes: %.0f s to know 99.5 %%, %.0f s to have called all, %.1f KB; then "
               "%.1f calls/s, %.0f bytes/s, N/%.1f finds, %.1f bytes of table a node\n",
               stated[i].nodes, known_s, fill_s, (double)before.crawl_bytes / 1e3,
               (double)(after.crawl_calls - before.crawl_calls) / seconds,
               (double)(after.crawl_bytes - before.crawl_bytes) / seconds,
               (double)stated[i].nodes / finds, (double)after.one_hop_bytes / stated[i].nodes);
        assert_true(known_s <= stated[i].known_s);
        assert_true(fill_s <= stated[i].fill_s);
        assert_true((double)(after.crawl_calls - before.crawl_calls) <=
                    stated[i].calls_per_s * seconds);
        assert_true((double)(after.crawl_bytes - before.crawl_bytes) <=
                    stated[i].bytes_per_s * seconds);
        assert_true(finds * 8 <= stated[i].nodes);
        assert_int_equal(known(), stated[i].nodes);
        assert_false(crowd.too_fast);
        close_crowd();
    }
}

static void at_most_100_calls_start_in_a_second(void **state)
{
    (void)state;
    begin(3000);
    meet(0);
    skep_sim_clock_run_for(&crowd.clock, SKEP_SIM_SECOND);
    for (int second = 0; second < 25; second++) {
        uint64_t before = stats().crawl_calls;

        skep_sim_clock_run_for(&crowd.clock, SKEP_SIM_SECOND);
        /* and what a tenth of a second may have saved up */
        assert_true(stats().crawl_calls - before <= SKEP_DHT_CRAWL_CALLS_PER_S * 11 / 10);
        assert_true(second < 10 || stats().crawl_calls - before > SKEP_DHT_CRAWL_CALLS_PER_S / 2);
    }
    close_crowd();
}

static void at_most_128_calls_are_in_flight(void **state)
{
    struct skep_dht_options options;
    size_t most = 0;

    (void)state;
    options_for_crowd(&options);
    options.one_hop_round_us = SKEP_SIM_SECOND;
    assert_int_equal(open_crowd(&skep_mem_std, 1000, &options), 0);
    for (uint32_t i = 0; i < crowd.count; i++) {
        crowd.members[i].manner = NO_PONG;
        skep_dht_one_hop_place(crowd.dht, &crowd.members[i].id, &crowd.members[i].rpc->self, 0);
    }
    for (int i = 0; i < 3000; i++) {
        skep_sim_clock_run_for(&crowd.clock, 10 * SKEP_SIM_MS);
        most = SKEP_MAX(most, crowd.dht->in_flight);
    }
    assert_int_equal(most, SKEP_DHT_CRAWL_CALLS_MAX);
    close_crowd();
}

static void a_limit_on_requests_leaves_room_for_others(void **state)
{
    struct skep_dht_options options;

    (void)state;
    options_for_crowd(&options);
    options.parallel_rpc = 8;
    assert_int_equal(open_crowd(&skep_mem_std, 500, &options), 0);
    meet(0);
    for (int i = 0; i < 4000; i++) {
        skep_sim_clock_run_for(&crowd.clock, 10 * SKEP_SIM_MS);
        assert_true(skep_list_empty(&crowd.dht->waiting));
    }
    assert_int_equal(known(), 500);
    close_crowd();
}

static size_t hints;

static void on_hint(struct skep_rpc *rpc, const struct skep_peer_id *peer,
                    const struct skep_peer_id *via)
{
    assert_true(rpc->ops->rtt_us(rpc, via) > 0); /* who has just named it is connected */
    assert_false(skep_peer_id_equal(peer, via));
    hints++;
}

static void who_named_a_node_is_asked_for_its_address(void **state)
{
    struct skep_rpc_ops ops;
    struct skep_rpc *rpc;

    (void)state;
    begin(300);
    rpc = skep_dht_rpc(crowd.dht);
    ops = *rpc->ops;
    ops.hint = on_hint;
    rpc->ops = &ops;
    meet(0);
    run_until_round(1);
    assert_int_equal(known(), 300);
    assert_int_equal(hints, 299);
    close_crowd();
}

/* ---- those who do not behave ---- */

static void members_in_client_mode_are_no_nodes(void **state)
{
    (void)state;
    begin(200);
    for (uint32_t i = 100; i < 200; i++)
        crowd.members[i].manner = CLIENT;
    meet(0);
    run_until_round(2);
    for (uint32_t i = 0; i < 200; i++)
        assert_int_equal(knows(&crowd.members[i]), i < 100);
    close_crowd();
}

/* A fifth of all name nodes that are not there, right beside the keys that they are asked for. */
static void liars_cost_calls_but_hide_few(void **state)
{
    struct skep_dht_stats before, after;
    uint32_t honest = 0, found = 0;

    (void)state;
    begin(2000);
    for (uint32_t i = 0; i < crowd.count; i += 5)
        crowd.members[i].manner = LIAR;
    meet(1);
    run_until_round(2);
    before = stats();
    run_until_round(3);
    after = stats();
    for (uint32_t i = 0; i < crowd.count; i++) {
        honest += crowd.members[i].manner == HONEST;
        found += crowd.members[i].manner == HONEST && knows(&crowd.members[i]);
    }
    printf("a fifth liars: %u of %u honest ones known, %.2f calls a node and round\n", found,
           honest, (double)(after.crawl_calls - before.crawl_calls) / crowd.count);
    assert_true(found * 100 >= honest * 99);
    assert_true(after.crawl_calls - before.crawl_calls <= 12 * crowd.count);
    assert_false(crowd.too_fast);
    close_crowd();
}

static void the_dead_cost_two_calls_and_are_forgotten(void **state)
{
    struct skep_dht_stats before, after;

    (void)state;
    begin(1000);
    meet(0);
    run_until_round(1);
    for (uint32_t i = 0; i < crowd.count; i += 2)
        crowd.members[i].manner = MUTE; /* all others still name them */
    run_until_round(2);
    before = stats();
    assert_int_equal(known(), 500);
    run_until_round(3);
    after = stats();
    assert_true(after.crawl_calls - before.crawl_calls <= 500 + 2 * 500 + 200);
    close_crowd();
}

/* ---- tiles ---- */

static void a_round_remembers_at_most_2048_tiles(void **state)
{
    static struct skep_tiles tiles;
    struct skep_tile tile;

    (void)state;
    for (uint32_t i = 0; i < SKEP_DHT_CRAWL_TILES_MAX; i++)
        assert_true(skep_tiles_add(
            &tiles, (struct skep_tile){.lo = (i * 769) % 4096 + 4, .depth = SKEP_TILE_BITS}));
    assert_false(skep_tiles_add(&tiles, (struct skep_tile){.lo = 5000, .depth = SKEP_TILE_BITS}));
    assert_false(skep_tiles_add(&tiles, (struct skep_tile){.lo = 1, .depth = SKEP_TILE_BITS}));
    assert_int_equal(tiles.count, SKEP_DHT_CRAWL_TILES_MAX);
    assert_int_equal(skep_tiles_next(&tiles), 1);
    for (uint32_t last = 0, i = 0; skep_tiles_take(&tiles, &tile); last = tile.lo, i++)
        assert_true(i == 0 || tile.lo > last);
    assert_int_equal(skep_tiles_next(&tiles), SKEP_TILE_END);
}

static void a_tile_and_the_rest_of_it_are_the_whole(void **state)
{
    static struct skep_tiles tiles;
    struct skep_prng prng;

    (void)state;
    skep_prng_init(&prng, 1);
    for (int i = 0; i < 1000; i++) {
        struct skep_tile whole = {.lo = 0}, done, tile;
        struct skep_dht_id id;
        uint32_t at;

        skep_prng_fill(&prng, id.bytes, sizeof id.bytes);
        whole = skep_tile_part(&whole, &id, (unsigned)skep_prng_below(&prng, 12));
        done = skep_tile_part(&whole, &id, (unsigned)skep_prng_below(&prng, 30));
        assert_true(skep_tile_has(&whole, &id) && skep_tile_has(&done, &id));
        skep_tiles_add_rest(&tiles, &whole, &done);
        skep_tiles_add(&tiles, done);
        for (at = whole.lo; skep_tiles_take(&tiles, &tile);
             at += (uint32_t)SKEP_TILE_END >> tile.depth) {
            struct skep_dht_id first = skep_tile_id(&tile, false),
                               middle = skep_tile_id(&tile, true);

            assert_int_equal(tile.lo, at);
            assert_true(skep_tile_has(&tile, &first) && skep_tile_has(&tile, &middle));
            assert_int_equal(skep_tile_place(&first), tile.lo);
        }
        assert_int_equal(at, whole.lo + ((uint32_t)SKEP_TILE_END >> whole.depth));
    }
}

/* ---- without memory ---- */

static int fill_a_table(const struct skep_mem *mem, void *user)
{
    struct skep_dht_options options;
    int rc;

    (void)user;
    options_for_crowd(&options);
    options.one_hop_round_us = options.one_hop_fill_us = 5 * SKEP_SIM_SECOND;
    skep_map_set_mem(mem);
    rc = open_crowd(mem, 30, &options);
    if (rc == 0) {
        meet(0);
        meet(1);
        skep_sim_clock_run_for(&crowd.clock, 6 * SKEP_SIM_SECOND);
        rc = known() == 30 ? 0 : SKEP_ENOMEM;
        skep_sim_clock_run_for(&crowd.clock, 10 * SKEP_SIM_SECOND);
        assert_true(known() == 30 || known() == 0); /* 0: both of the first two were left out */
    }
    close_crowd();
    skep_map_set_mem(&skep_mem_std);
    return rc;
}

static void without_memory_for_a_while_the_table_is_filled_later(void **state)
{
    (void)state;
    test_each_allocation_fails(fill_a_table, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(traffic_is_as_stated),
        cmocka_unit_test(at_most_100_calls_start_in_a_second),
        cmocka_unit_test(at_most_128_calls_are_in_flight),
        cmocka_unit_test(a_limit_on_requests_leaves_room_for_others),
        cmocka_unit_test(who_named_a_node_is_asked_for_its_address),
        cmocka_unit_test(members_in_client_mode_are_no_nodes),
        cmocka_unit_test(liars_cost_calls_but_hide_few),
        cmocka_unit_test(the_dead_cost_two_calls_and_are_forgotten),
        cmocka_unit_test(a_round_remembers_at_most_2048_tiles),
        cmocka_unit_test(a_tile_and_the_rest_of_it_are_the_whole),
        cmocka_unit_test(without_memory_for_a_while_the_table_is_filled_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
