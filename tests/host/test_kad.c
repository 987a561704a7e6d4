/* SPDX-License-Identifier: MIT */
/* kad: the bytes of FIND_NODE against recordings, the table, and finding peers among twenty hosts. */
#include "base/limits.h"
#include "host/host_impl.h"
#include "world.h"

struct named {
    size_t count;
    struct skep_peer_id id[64];
    size_t addr_count[64];
};

static void note(void *user, const struct skep_peer_id *id, const struct skep_multiaddr *addrs,
                 size_t addr_count)
{
    struct named *named = user;

    (void)addrs;
    named->id[named->count] = *id;
    named->addr_count[named->count++] = addr_count;
}

static void requests_and_answers_are_those_of_p2pd(void **state)
{
    const json_t *cases = test_get(test_vectors("transport.json"), "kad"), *vector;
    size_t index;

    (void)state;
    json_array_foreach(cases, index, vector)
    {
        skep_bytes request = test_unhex(test_str(vector, "request")),
                   answer = test_unhex(test_str(vector, "answer"));
        skep_bytes body, key;
        struct skep_peer_id target;
        struct skep_buf out;
        struct named named = {0};

        skep_buf_init(&out, &skep_mem_std);
        for (size_t len = 0; len < request.len; len++) {
            skep_bytes cut = {request.data, len};

            assert_int_equal(skep_kad_next(&cut, &body), 0);
            assert_int_equal(cut.len, len);
        }
        assert_int_equal(skep_kad_next(&request, &body), 1);
        assert_int_equal(skep_kad_read_request(body, &key), 0);
        assert_int_equal(skep_peer_id_from_bytes(&target, key), 0);
        skep_kad_write_request(&out, &target);
        /* p2pd writes the cluster level, as we do; one of the recorded askers did not */
        if (memcmp(body.data + body.len - 2, "\x50\x01", 2) == 0)
            assert_string_equal(test_hex(out.data, out.len), test_str(vector, "request"));
        skep_buf_clear(&out);
        assert_int_equal(skep_kad_next(&answer, &body), 1);
        assert_int_equal(answer.len, 0);
        assert_int_equal(skep_kad_read_answer(body, note, &named), 0);
        for (size_t len = 0; len < body.len; len++) {
            struct named cut = {0};
            int rc = skep_kad_read_answer(skep_bytes_of(body.data, len), note, &cut);

            assert_true(rc == 0 || (rc == SKEP_EPEER_FRAME && cut.count == 0));
        }
        if (named.count == 1 && skep_peer_id_equal(&named.id[0], &target)) {
            /* what we would answer for ourselves with the same address */
            struct skep_multiaddr addr = {.kind = SKEP_ADDR_IP4, .ip = {127, 0, 0, 1}};
            struct skep_kad_peer self = {.id = target, .addrs = &addr, .addr_count = 1};
            const char *hex = test_str(vector, "answer");
            unsigned port;

            assert_int_equal(sscanf(hex + strlen(hex) - 8, "%4x", &port), 1);
            addr.port = (uint16_t)port;
            size_t mark = skep_kad_begin_answer(&out);
            skep_kad_put_peer(&out, &self);
            skep_kad_end_answer(&out, mark);
            assert_string_equal(test_hex(out.data, out.len), hex);
        }
        skep_buf_fini(&out);
    }
    assert_true(index >= 3);
}

static void one_byte_beyond_the_message_limit_is_refused(void **state)
{
    struct skep_buf buf;
    skep_bytes in, body;

    (void)state;
    skep_buf_init(&buf, &skep_mem_std);
    skep_buf_put_varint(&buf, SKEP_KAD_MESSAGE_MAX);
    in = skep_buf_view(&buf);
    assert_int_equal(skep_kad_next(&in, &body), 0);
    skep_buf_clear(&buf);
    skep_buf_put_varint(&buf, SKEP_KAD_MESSAGE_MAX + 1);
    in = skep_buf_view(&buf);
    assert_int_equal(skep_kad_next(&in, &body), SKEP_EPEER_LIMIT);
    skep_buf_fini(&buf);
}

static void of_one_answer_20_peers_and_the_wanted_one_are_read(void **state)
{
    struct skep_multiaddr addr = {.kind = SKEP_ADDR_IP4, .ip = {10, 0, 0, 1}, .port = 9};
    struct named named = {0};
    struct skep_buf out;
    skep_bytes in, body;
    size_t mark;

    (void)state;
    skep_buf_init(&out, &skep_mem_std);
    mark = skep_kad_begin_answer(&out);
    for (uint8_t i = 0; i < SKEP_KAD_PEERS_MAX + 2; i++) {
        struct skep_kad_peer peer = {
            .id = {.len = 34, .bytes = {0x12, 0x20, i}}, .addrs = &addr, .addr_count = 1};

        skep_kad_put_peer(&out, &peer);
    }
    skep_kad_end_answer(&out, mark);
    in = skep_buf_view(&out);
    assert_int_equal(skep_kad_next(&in, &body), 1);
    assert_int_equal(skep_kad_read_answer(body, note, &named), 0);
    assert_int_equal(named.count, SKEP_KAD_PEERS_MAX + 1);
    assert_int_equal(named.id[SKEP_KAD_PEERS_MAX].bytes[2], SKEP_KAD_PEERS_MAX);
    skep_buf_fini(&out);
}

static bool never_live(void *user, const struct skep_peer_id *id)
{
    (void)id;
    return *(bool *)user;
}

static void random_peer(struct skep_prng *prng, struct skep_peer_id *id)
{
    memset(id, 0, sizeof *id);
    id->len = 34;
    id->bytes[0] = 0x12;
    id->bytes[1] = 0x20;
    skep_prng_fill(prng, id->bytes + 2, 32);
}

static void the_table_gives_the_nearest_first_and_keeps_twenty_a_bucket(void **state)
{
    struct skep_kad_table table;
    struct skep_prng prng;
    struct skep_peer_id self, id;
    struct skep_kad_entry nearest[20], all[200];
    uint8_t target[32];
    bool live = true;
    size_t count, total;

    (void)state;
    skep_prng_init(&prng, 3);
    random_peer(&prng, &self);
    skep_kad_table_init(&table, &skep_mem_std, &self);
    for (int i = 0; i < 400; i++) {
        random_peer(&prng, &id);
        assert_int_equal(skep_kad_table_add(&table, &id, never_live, &live), 0);
        assert_int_equal(skep_kad_table_add(&table, &id, never_live, &live), 0);
    }
    assert_int_equal(table.buckets[0].count, SKEP_KAD_BUCKET_SIZE);
    skep_prng_fill(&prng, target, sizeof target);
    total = skep_kad_table_nearest(&table, target, all, SKEP_COUNT_OF(all));
    assert_in_range(total, 60, 180);
    count = skep_kad_table_nearest(&table, target, nearest, SKEP_COUNT_OF(nearest));
    assert_int_equal(count, 20);
    for (size_t i = 0; i < total; i++) {
        assert_false(i > 0 && skep_kad_nearer(all[i].hash, all[i - 1].hash, target));
        assert_true(i >= 20 || skep_peer_id_equal(&all[i].id, &nearest[i].id));
    }
    /* in a full bucket the dead make room, the live do not */
    do
        random_peer(&prng, &id);
    while (skep_kad_table_add(&table, &id, never_live, &live) != 0);
    live = false;
    for (int i = 0; i < 8; i++) {
        random_peer(&prng, &id);
        skep_kad_table_add(&table, &id, never_live, &live);
        skep_sha256(target, skep_peer_id_view(&id));
        assert_int_equal(skep_kad_table_nearest(&table, target, nearest, 1), 1);
        assert_true(skep_peer_id_equal(&nearest[0].id, &id));
    }
    skep_kad_table_remove(&table, &id);
    skep_kad_table_nearest(&table, target, nearest, 1);
    assert_false(skep_peer_id_equal(&nearest[0].id, &id));
    skep_kad_table_fini(&table);
}

/* ---- hosts ---- */

static int find(struct world *world, struct node *from, const struct node *whom)
{
    struct asked asked;

    asked_init(&asked);
    assert_int_equal(
        skep_host_find_peer(from->host, &asked.request, &whom->identity.id, 30 * SECOND), 0);
    assert_int_equal(asked.done, 0);
    for (int i = 0; i < 400 && !asked.done; i++)
        world_run(world, 100 * MS);
    assert_int_equal(asked.done, 1);
    return asked.rc;
}

static void a_peer_is_found_through_whoever_named_it(void **state)
{
    struct skep_host_options client = {0};
    struct service service = {.echo = true};
    struct world world;
    struct node *a, *via, *target, *other;
    struct skep_host_stats before, after;
    struct user user;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, &client);
    via = world_add(&world, NULL);
    target = world_add(&world, &client); /* speaks no kad itself */
    other = world_add(&world, NULL);
    skep_host_serve(target->host, "/echo", service_on_stream, &service);
    assert_int_equal(world_connect(&world, a, via), 0);
    assert_int_equal(world_connect(&world, a, other), 0);
    assert_int_equal(world_connect(&world, target, via), 0);
    world_run(&world, 1 * SECOND);
    skep_host_hint(a->host, &target->identity.id, &via->identity.id);
    skep_host_stats(other->host, &before);
    user_init(&user);
    assert_int_equal(user_open(&user, a, target, "/echo"), 0);
    skep_stream_write(user.stream, skep_bytes_str("found you"));
    world_run(&world, 1 * SECOND);
    assert_int_equal(user.got.len, 9);
    skep_host_stats(other->host, &after);
    assert_int_equal(after.streams_served, before.streams_served); /* nobody else was asked */
    skep_stream_reset(user.stream);
    user_fini(&user);
    world_fini(&world);
    service_fini(&service);
}

static void peers_are_found_iteratively_among_twenty_hosts(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(4); seed++) {
        struct world world;
        struct node *first;

        world_init(&world, seed, NULL);
        for (int i = 0; i < 20; i++)
            world_add(&world, NULL);
        /* A chain: each knows its neighbours only. */
        for (size_t i = 1; i < world.count; i++)
            assert_int_equal(world_connect(&world, &world.nodes[i], &world.nodes[i - 1]), 0);
        world_run(&world, 1 * SECOND);
        first = &world.nodes[0];
        for (size_t i = 1; i < world.count; i += 6)
            assert_int_equal(find(&world, first, &world.nodes[i]), 0);
        assert_int_equal(find(&world, first, &world.nodes[19]), 0);
        world_fini(&world);
    }
}

static void a_peer_is_found_through_one_that_was_met_just_now(void **state)
{
    struct skep_host_options client = {0};
    struct world world;
    struct node *a, *hub, *target;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, &client);
    hub = world_add(&world, NULL);
    target = world_add(&world, NULL);
    assert_int_equal(world_connect(&world, target, hub), 0);
    world_run(&world, 1 * SECOND);
    /* The hub has not said yet that it speaks kad. */
    assert_int_equal(world_connect(&world, a, hub), 0);
    assert_int_equal(find(&world, a, target), 0);
    world_fini(&world);
}

/* ---- peers that name strangers, again and again ---- */

static void name_strangers(struct skep_stream *stream, void *user, skep_bytes data)
{
    struct world *world = user;
    struct skep_buf out;
    size_t mark;

    skep_stream_consume(stream, data.len);
    skep_buf_init(&out, &skep_mem_std);
    mark = skep_kad_begin_answer(&out);
    for (size_t i = 0; i < SKEP_KAD_PEERS_MAX; i++) {
        struct skep_multiaddr addr = world->nodes[0].addr; /* a port that refuses */
        struct skep_kad_peer peer = {.addrs = &addr, .addr_count = 1};

        addr.port = 9;
        random_peer(&world->env.prng, &peer.id);
        skep_kad_put_peer(&out, &peer);
    }
    skep_kad_end_answer(&out, mark);
    assert_int_equal(skep_stream_write(stream, skep_buf_view(&out)), 0);
    skep_buf_fini(&out);
}

static void strangers_end(struct skep_stream *stream, void *user)
{
    (void)user;
    skep_stream_release(stream);
}

static void strangers_closed(struct skep_stream *stream, void *user, int rc)
{
    (void)stream;
    (void)user;
    (void)rc;
}

static const struct skep_stream_events strangers_events = {
    .on_data = name_strangers, .on_eof = strangers_end, .on_close = strangers_closed};

static void on_strangers_stream(void *user, struct skep_stream *stream)
{
    skep_stream_use(stream, &strangers_events, user);
}

static void a_lookup_remembers_128_peers_and_asks_60_of_them(void **state)
{
    enum { LIARS = 9 }; /* with 20 strangers each: more than are remembered */
    struct skep_host_options client = {0};
    struct skep_host_stats before, after;
    struct world world;
    struct node *a, nowhere = {0};

    (void)state;
    assert_true(LIARS * (SKEP_KAD_PEERS_MAX + 1) > SKEP_KAD_CANDIDATES_MAX);
    world_init(&world, 1, NULL);
    a = world_add(&world, &client);
    for (int i = 0; i < LIARS; i++) {
        struct node *liar = world_add(&world, &client);

        assert_int_equal(skep_host_serve(liar->host, SKEP_PROTO_KAD, on_strangers_stream, &world),
                         0);
        assert_int_equal(world_connect(&world, a, liar), 0);
    }
    world_run(&world, 1 * SECOND);
    random_peer(&world.env.prng, &nowhere.identity.id);
    skep_host_stats(a->host, &before);
    assert_int_equal(find(&world, a, &nowhere), SKEP_ENOTFOUND);
    skep_host_stats(a->host, &after);
    assert_int_equal(after.streams_opened - before.streams_opened, SKEP_KAD_ASKED_MAX);
    world_fini(&world);
}

static void of_4097_hints_the_oldest_is_forgotten(void **state)
{
    struct skep_peer_id first, second, via, id;
    struct skep_hint *hint;
    struct world world;
    struct node *a;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    random_peer(&world.env.prng, &via);
    random_peer(&world.env.prng, &first);
    random_peer(&world.env.prng, &second);
    skep_host_hint(a->host, &first, &via);
    skep_host_hint(a->host, &second, &via);
    for (int i = 2; i < SKEP_HINTS_MAX; i++) {
        random_peer(&world.env.prng, &id);
        skep_host_hint(a->host, &id, &via);
    }
    HASH_FIND(hh, a->host->hints, &first, sizeof first, hint);
    assert_non_null(hint);
    random_peer(&world.env.prng, &id);
    skep_host_hint(a->host, &id, &via);
    HASH_FIND(hh, a->host->hints, &first, sizeof first, hint);
    assert_null(hint);
    HASH_FIND(hh, a->host->hints, &second, sizeof second, hint);
    assert_non_null(hint);
    HASH_FIND(hh, a->host->hints, &id, sizeof id, hint);
    assert_non_null(hint);
    assert_int_equal(HASH_CNT(hh, a->host->hints), SKEP_HINTS_MAX);
    world_fini(&world);
}

static void a_peer_that_nobody_knows_is_not_found(void **state)
{
    struct world world;
    struct node *a, *b, *c;
    struct user user;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    c = world_add(&world, NULL);
    assert_int_equal(world_connect(&world, a, b), 0);
    world_run(&world, 1 * SECOND);
    assert_int_equal(find(&world, a, c), SKEP_ENOTFOUND);
    user_init(&user);
    assert_int_equal(user_open(&user, a, c, "/echo"), 0);
    world_run(&world, 30 * SECOND);
    assert_int_equal(user.closed, 1);
    assert_int_equal(user.rc, SKEP_EUNREACH);
    user_fini(&user);
    world_fini(&world);
}

static void asked(struct world *world, struct user *user, struct node *from, const struct node *to,
                  const struct skep_peer_id *target)
{
    struct skep_buf out;

    skep_buf_init(&out, &skep_mem_std);
    skep_kad_write_request(&out, target);
    user_init(user);
    assert_int_equal(user_open(user, from, to, "/ipfs/kad/1.0.0"), 0);
    /* two questions on one stream, in pieces */
    for (int i = 0; i < 2; i++)
        for (size_t at = 0; at < out.len; at++) {
            skep_stream_write(user->stream, skep_bytes_of(out.data + at, 1));
            if (at % 16 == 0)
                world_run(world, 1 * MS);
        }
    world_run(world, 1 * SECOND);
    skep_buf_fini(&out);
}

static void check_answers(struct user *user, struct named *named)
{
    skep_bytes in = skep_buf_view(&user->got), body;

    memset(named, 0, sizeof *named);
    assert_int_equal(skep_kad_next(&in, &body), 1);
    assert_int_equal(skep_kad_next(&in, &body), 1);
    assert_int_equal(in.len, 0);
    assert_int_equal(skep_kad_read_answer(body, note, named), 0);
}

static void find_node_is_served_as_p2pd_serves_it(void **state)
{
    struct world world;
    struct node *server, *client;
    struct skep_peer_id unknown = {.len = 34, .bytes = {0x12, 0x20, 7}};
    struct user user;
    struct named named;

    (void)state;
    world_init(&world, 1, NULL);
    server = world_add(&world, NULL);
    client = world_add(&world, NULL);
    for (int i = 0; i < 24; i++)
        assert_int_equal(world_connect(&world, world_add(&world, NULL), server), 0);
    assert_int_equal(world_connect(&world, client, server), 0);
    world_run(&world, 1 * SECOND);
    /* for itself: itself only */
    asked(&world, &user, client, server, &server->identity.id);
    check_answers(&user, &named);
    assert_int_equal(named.count, 1);
    assert_true(skep_peer_id_equal(&named.id[0], &server->identity.id));
    assert_int_equal(named.addr_count[0], 1);
    skep_stream_reset(user.stream);
    user_fini(&user);
    /* for somebody unknown: at most the 20 nearest, without the asker */
    asked(&world, &user, client, server, &unknown);
    check_answers(&user, &named);
    assert_int_equal(named.count, 20);
    for (size_t i = 0; i < named.count; i++)
        assert_false(skep_peer_id_equal(&named.id[i], &client->identity.id));
    /* an idle stream is ended after a minute */
    world_run(&world, 58 * SECOND);
    assert_int_equal(user.closed, 0);
    world_run(&world, 4 * SECOND);
    assert_int_equal(user.closed, 1);
    user_fini(&user);
    /* about the asker itself: never */
    asked(&world, &user, client, server, &client->identity.id);
    check_answers(&user, &named);
    for (size_t i = 0; i < named.count; i++)
        assert_false(skep_peer_id_equal(&named.id[i], &client->identity.id));
    skep_stream_reset(user.stream);
    user_fini(&user);
    world_fini(&world);
}

static void other_requests_reset_the_stream(void **state)
{
    static const uint8_t get_value[] = {2, 0x08, 1};
    struct world world;
    struct node *a, *b;
    struct user user;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    assert_int_equal(world_connect(&world, a, b), 0);
    user_init(&user);
    assert_int_equal(user_open(&user, a, b, "/ipfs/kad/1.0.0"), 0);
    skep_stream_write(user.stream, skep_bytes_of(get_value, sizeof get_value));
    world_run(&world, 1 * SECOND);
    assert_int_equal(user.rc, SKEP_EPEER_RESET);
    user_fini(&user);
    world_fini(&world);
}

static void one_service_stream_beyond_the_limit_is_refused(void **state)
{
    static const char *const services[] = {"/ipfs/kad/1.0.0", "/ipfs/id/push/1.0.0",
                                           "/ipfs/ping/1.0.0"};
    static struct user users[SKEP_SERVICE_STREAMS_MAX + 1];
    struct world world;
    struct node *a, *b;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    assert_int_equal(world_connect(&world, a, b), 0);
    world_run(&world, 1 * SECOND);
    for (int round = 0; round < 2; round++) { /* what is given back can be taken again */
        for (size_t i = 0; i < SKEP_COUNT_OF(users); i++) {
            user_init(&users[i]);
            assert_int_equal(user_open(&users[i], a, b, services[i % SKEP_COUNT_OF(services)]), 0);
            skep_stream_write(users[i].stream, skep_bytes_str("\x7f"));
            world_run(&world, 100 * MS);
            assert_int_equal(users[i].closed, i < SKEP_SERVICE_STREAMS_MAX ? 0 : 1);
        }
        assert_int_equal(users[SKEP_SERVICE_STREAMS_MAX].rc, SKEP_EPEER_RESET);
        for (size_t i = 0; i < SKEP_COUNT_OF(users); i++) {
            if (users[i].stream)
                skep_stream_reset(users[i].stream);
            user_fini(&users[i]);
        }
        world_run(&world, 1 * SECOND);
    }
    world_fini(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_and_answers_are_those_of_p2pd),
        cmocka_unit_test(one_byte_beyond_the_message_limit_is_refused),
        cmocka_unit_test(of_one_answer_20_peers_and_the_wanted_one_are_read),
        cmocka_unit_test(the_table_gives_the_nearest_first_and_keeps_twenty_a_bucket),
        cmocka_unit_test(a_peer_is_found_through_whoever_named_it),
        cmocka_unit_test(peers_are_found_iteratively_among_twenty_hosts),
        cmocka_unit_test(a_peer_is_found_through_one_that_was_met_just_now),
        cmocka_unit_test(a_lookup_remembers_128_peers_and_asks_60_of_them),
        cmocka_unit_test(of_4097_hints_the_oldest_is_forgotten),
        cmocka_unit_test(a_peer_that_nobody_knows_is_not_found),
        cmocka_unit_test(find_node_is_served_as_p2pd_serves_it),
        cmocka_unit_test(other_requests_reset_the_stream),
        cmocka_unit_test(one_service_stream_beyond_the_limit_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
