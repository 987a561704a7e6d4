/* SPDX-License-Identifier: MIT */
/* Streams between two hosts over links that delay bytes and cut them at random places. */
#include "base/limits.h"
#include "host/host_impl.h"
#include "world.h"

static const char echo[] = "/test/echo";

static void bytes_come_back_in_order_however_the_link_cuts_them(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(12); seed++) {
        struct skep_sim_net_options net = {
            .delay_us_max = 5 * MS, .chunk_max = seed % 3 == 0 ? 1 : 4000, .in_flight_max = 20000};
        struct service service = {.echo = true};
        struct world world;
        struct node *a, *b;
        struct user user;
        uint8_t *data = malloc(300000);
        size_t len = seed % 3 == 0 ? 9000 : 300000;

        world_init(&world, seed, &net);
        a = world_add(&world, NULL);
        b = world_add(&world, NULL);
        world_knows(a, b);
        assert_int_equal(skep_host_serve(b->host, echo, service_on_stream, &service), 0);
        skep_prng_fill(&world.env.prng, data, len);
        user_init(&user);
        assert_int_equal(user_open(&user, a, b, echo), 0);
        for (size_t at = 0; at < len;) {
            size_t part = 1 + (size_t)skep_prng_below(&world.env.prng, 70000);

            part = SKEP_MIN(part, len - at);
            assert_int_equal(skep_stream_write(user.stream, skep_bytes_of(data + at, part)), 0);
            at += part;
            if (seed % 2 == 0)
                world_run(&world, 2 * MS);
        }
        skep_stream_close_write(user.stream);
        assert_int_equal(skep_stream_write(user.stream, skep_bytes_str("x")), SKEP_ECLOSED);
        world_run(&world, 9 * SECOND);
        if (user.got.len != len || memcmp(user.got.data, data, len) != 0 || user.rc != 0)
            fail_msg("seed %llu: %zu of %zu bytes, %s", (unsigned long long)seed, user.got.len, len,
                     skep_error_name(user.rc));
        assert_int_equal(user.opened, 1);
        assert_int_equal(user.eof, 1);
        assert_int_equal(user.closed, 1);
        assert_int_equal(service.users[0].closed, 1);
        assert_string_equal(service.users[0].protocol, echo);
        assert_true(len < 100000 || user.writable > 0);
        user_fini(&user);
        world_fini(&world);
        service_fini(&service);
        free(data);
    }
}

static void a_stream_may_be_opened_and_written_before_there_is_a_connection(void **state)
{
    struct service service = {.echo = true};
    struct world world;
    struct user user;
    struct node *a, *b;
    struct skep_host_stats stats;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    world_knows(a, b);
    skep_host_serve(b->host, echo, service_on_stream, &service);
    user_init(&user);
    assert_int_equal(user_open(&user, a, b, echo), 0);
    assert_int_equal(skep_stream_write(user.stream, skep_bytes_str("early")), 0);
    assert_int_equal(skep_stream_queued(user.stream), 5);
    skep_stream_close_write(user.stream);
    world_run(&world, 1 * SECOND);
    assert_int_equal(user.closed, 1);
    assert_int_equal(user.rc, 0);
    assert_memory_equal(user.got.data, "early", 5);
    skep_host_stats(a->host, &stats);
    assert_int_equal(stats.dials, 1);
    assert_int_equal(stats.connections, 1);
    user_fini(&user);
    world_fini(&world);
    service_fini(&service);
}

static void a_request_and_its_answer_take_one_round_trip(void **state)
{
    struct skep_sim_net_options net = {.delay_us_min = 10 * MS, .delay_us_max = 10 * MS};
    struct service service = {.echo = true};
    struct world world;
    struct user user;
    struct node *a, *b;

    (void)state;
    world_init(&world, 1, &net);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    skep_host_serve(b->host, echo, service_on_stream, &service);
    assert_int_equal(world_connect(&world, a, b), 0);
    world_run(&world, 1 * SECOND);
    user_init(&user);
    user_open(&user, a, b, echo);
    skep_stream_write(user.stream, skep_bytes_str("request"));
    world_run(&world, 20 * MS);
    assert_int_equal(user.got.len, 7);
    skep_stream_reset(user.stream);
    user_fini(&user);
    world_fini(&world);
    service_fini(&service);
}

static void after_its_fin_a_side_still_reads(void **state)
{
    struct service service = {0};
    struct world world;
    struct user user;
    struct node *a, *b;

    (void)state;
    world_init(&world, 2, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    world_knows(a, b);
    skep_host_serve(b->host, echo, service_on_stream, &service);
    user_init(&user);
    user_open(&user, a, b, echo);
    skep_stream_close_write(user.stream);
    world_run(&world, 1 * SECOND);
    assert_int_equal(service.users[0].eof, 1);
    assert_int_equal(service.users[0].closed, 0);
    assert_int_equal(user.closed, 0);
    skep_stream_write(service.users[0].stream, skep_bytes_str("late answer"));
    skep_stream_close_write(service.users[0].stream);
    world_run(&world, 1 * SECOND);
    assert_int_equal(user.got.len, 11);
    assert_int_equal(user.closed, 1);
    assert_int_equal(service.users[0].closed, 1);
    user_fini(&user);
    world_fini(&world);
    service_fini(&service);
}

static void a_fin_waits_for_the_echo_of_the_protocol(void **state)
{
    struct skep_sim_net_options net = {.delay_us_min = 10 * MS, .delay_us_max = 10 * MS};
    struct service service = {0};
    struct world world;
    struct user user;
    struct node *a, *b;

    (void)state;
    world_init(&world, 1, &net);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    skep_host_serve(b->host, echo, service_on_stream, &service);
    assert_int_equal(world_connect(&world, a, b), 0);
    world_run(&world, 1 * SECOND);
    user_init(&user);
    user_open(&user, a, b, echo);
    skep_stream_write(user.stream, skep_bytes_str("all of it"));
    skep_stream_close_write(user.stream);
    world_run(&world, 10 * MS);
    assert_int_equal(service.users[0].got.len, 9); /* the data does not wait */
    world_run(&world, 19 * MS);
    assert_int_equal(service.users[0].eof, 0);
    world_run(&world, 2 * MS);
    assert_int_equal(service.users[0].eof, 1);
    skep_stream_reset(user.stream);
    user_fini(&user);
    world_fini(&world);
    service_fini(&service);
}

static void the_fin_of_a_finished_stream_rides_along_or_follows_in_5_ms(void **state)
{
    struct skep_sim_net_options net = {.delay_us_min = 10 * MS, .delay_us_max = 10 * MS};

    (void)state;
    for (int company = 0; company < 2; company++) {
        struct service service = {.echo = true};
        struct world world;
        struct user user, other;
        struct node *a, *b;

        world_init(&world, 1, &net);
        a = world_add(&world, NULL);
        b = world_add(&world, NULL);
        skep_host_serve(b->host, echo, service_on_stream, &service);
        assert_int_equal(world_connect(&world, a, b), 0);
        world_run(&world, 1 * SECOND);
        user_init(&user);
        user_init(&other);
        user_open(&user, a, b, echo);
        user_open(&other, a, b, echo);
        skep_stream_write(user.stream, skep_bytes_str("request"));
        world_run(&world, 25 * MS);
        assert_int_equal(user.got.len, 7);
        skep_stream_finish(user.stream);
        world_run(&world, 1 * MS);
        if (company)
            skep_stream_write(other.stream, skep_bytes_str("more"));
        world_run(&world, 11 * MS);
        assert_int_equal(service.users[0].eof, company);
        world_run(&world, SKEP_YAMUX_LATE_FIN_US);
        assert_int_equal(service.users[0].eof, 1);
        assert_int_equal(service.users[0].closed, 1);
        skep_stream_reset(other.stream);
        user_fini(&user);
        user_fini(&other);
        world_fini(&world);
        service_fini(&service);
    }
}

static void a_reset_ends_the_stream_at_the_other_side_only_there_with_an_event(void **state)
{
    struct service service = {0};
    struct world world;
    struct user user;
    struct node *a, *b;

    (void)state;
    world_init(&world, 3, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    world_knows(a, b);
    skep_host_serve(b->host, echo, service_on_stream, &service);
    user_init(&user);
    user_open(&user, a, b, echo);
    world_run(&world, 1 * SECOND);
    assert_int_equal(user.opened, 1);
    skep_stream_reset(user.stream);
    world_run(&world, 1 * SECOND);
    assert_int_equal(user.closed, 0);
    assert_int_equal(service.users[0].closed, 1);
    assert_int_equal(service.users[0].rc, SKEP_EPEER_RESET);
    user_fini(&user);
    world_fini(&world);
    service_fini(&service);
}

static void a_protocol_nobody_serves_is_reported_as_unsupported(void **state)
{
    struct world world;
    struct user user;
    struct node *a, *b;
    struct skep_host_stats stats;

    const skep_bytes requests[] = {
        skep_bytes_str("a request that nobody reads"), skep_bytes_of("\x00 malformed", 11),
        skep_bytes_str("\x02x\n\x02y\n\x01junk"), skep_bytes_of(NULL, 0)};

    (void)state;
    world_init(&world, 4, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    world_knows(a, b);
    /* A request is no proposal, whatever it looks like: a cut one, a malformed one, one refused again and again, nothing but a FIN. */
    for (size_t i = 0; i < SKEP_COUNT_OF(requests); i++) {
        user_init(&user);
        user_open(&user, a, b, "/test/none");
        skep_stream_write(user.stream, requests[i]);
        if (requests[i].len == 0)
            skep_stream_close_write(user.stream);
        world_run(&world, 1 * SECOND);
        assert_int_equal(user.closed, 1);
        assert_int_equal(user.rc, SKEP_EPEER_UNSUPPORTED);
        assert_int_equal(user.opened, 0);
        user_fini(&user);
    }
    skep_host_stats(b->host, &stats);
    assert_int_equal(stats.connections, 1);
    assert_int_equal(stats.peer_errors, 0);
    world_fini(&world);
}

static void a_stream_in_use_no_longer_counts_for_the_backlog(void **state)
{
    static struct user users[SKEP_YAMUX_BACKLOG_MAX + 40];
    struct service service = {.ignore = true};
    struct world world;
    struct node *a, *b;

    (void)state;
    world_init(&world, 10, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    skep_host_serve(b->host, echo, service_on_stream, &service);
    assert_int_equal(world_connect(&world, a, b), 0);
    for (size_t i = 0; i < SKEP_COUNT_OF(users); i++) {
        user_init(&users[i]);
        assert_int_equal(user_open(&users[i], a, b, echo), 0);
        if (i % 100 == 99)
            world_run(&world, 1 * SECOND);
    }
    world_run(&world, 1 * SECOND);
    for (size_t i = 0; i < SKEP_COUNT_OF(users); i++) {
        assert_int_equal(users[i].opened, 1);
        assert_int_equal(users[i].closed, 0);
        skep_stream_reset(users[i].stream);
        user_fini(&users[i]);
    }
    world_fini(&world);
}

static void streams_beyond_those_not_acknowledged_wait_and_are_all_served(void **state)
{
    static struct user users[2 * SKEP_YAMUX_OPENING_MAX + 1];
    struct service service = {.ignore = true};
    struct world world;
    struct node *a, *b;

    (void)state;
    world_init(&world, 11, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    skep_host_serve(b->host, echo, service_on_stream, &service);
    for (int round = 0; round < 2; round++) { /* not yet connected; connected */
        if (round == 0)
            world_knows(a, b);
        for (size_t i = 0; i < SKEP_COUNT_OF(users); i++) {
            user_init(&users[i]);
            assert_int_equal(user_open(&users[i], a, b, echo), 0);
        }
        world_run(&world, 3 * SECOND);
        for (size_t i = 0; i < SKEP_COUNT_OF(users); i++) {
            assert_int_equal(users[i].opened, 1);
            skep_stream_reset(users[i].stream);
            user_fini(&users[i]);
        }
        world_run(&world, 1 * SECOND);
    }
    world_fini(&world);
}

static void streams_in_line_end_with_the_connection(void **state)
{
    static struct user users[SKEP_YAMUX_OPENING_MAX + 10];
    struct service service = {.ignore = true};
    struct world world;
    struct node *a, *b;

    (void)state;
    world_init(&world, 12, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    skep_host_serve(b->host, echo, service_on_stream, &service);
    assert_int_equal(world_connect(&world, a, b), 0);
    for (size_t i = 0; i < SKEP_COUNT_OF(users); i++) {
        user_init(&users[i]);
        assert_int_equal(user_open(&users[i], a, b, echo), 0);
    }
    assert_int_equal(skep_sim_net_cut(world.net, a->ip, b->ip), 1);
    world_run(&world, 1 * SECOND);
    for (size_t i = 0; i < SKEP_COUNT_OF(users); i++) {
        assert_int_equal(users[i].closed, 1);
        assert_int_equal(users[i].rc, SKEP_ELOST);
        user_fini(&users[i]);
    }
    world_fini(&world);
}

static void a_service_may_refuse_a_stream(void **state)
{
    struct service service = {.refuse = true};
    struct world world;
    struct user user;
    struct node *a, *b;

    (void)state;
    world_init(&world, 4, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    world_knows(a, b);
    skep_host_serve(b->host, echo, service_on_stream, &service);
    user_init(&user);
    user_open(&user, a, b, echo);
    skep_stream_write(user.stream, skep_bytes_str("x"));
    world_run(&world, 1 * SECOND);
    assert_int_equal(user.closed, 1);
    assert_int_equal(user.rc, SKEP_EPEER_RESET);
    user_fini(&user);
    world_fini(&world);
}

static void a_released_stream_that_the_peer_does_not_close_is_reset(void **state)
{
    struct service service = {0};
    struct world world;
    struct user user;
    struct node *a, *b;

    (void)state;
    world_init(&world, 5, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    world_knows(a, b);
    skep_host_serve(b->host, echo, service_on_stream, &service);
    user_init(&user);
    user_open(&user, a, b, echo);
    skep_stream_write(user.stream, skep_bytes_str("last words"));
    skep_stream_release(user.stream);
    world_run(&world, 2 * SECOND);
    assert_int_equal(service.users[0].got.len, 10);
    assert_int_equal(service.users[0].eof, 1);
    assert_int_equal(service.users[0].closed, 0);
    world_run(&world, SKEP_NEGOTIATE_TIMEOUT_US + 2 * SECOND);
    assert_int_equal(service.users[0].closed, 1);
    assert_int_equal(service.users[0].rc, SKEP_EPEER_RESET);
    assert_int_equal(user.closed, 0);
    user_fini(&user);
    world_fini(&world);
    service_fini(&service);
}

static void a_released_stream_is_not_cut_while_its_bytes_move(void **state)
{
    enum { LEN = 1 << 20, STEP = 128 << 10 };
    static uint8_t bytes[LEN];
    struct service service = {.hold = true};
    struct world world;
    struct user user;
    struct node *a, *b;
    size_t consumed = 0;

    (void)state;
    world_init(&world, 5, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    world_knows(a, b);
    skep_host_serve(b->host, echo, service_on_stream, &service);
    user_init(&user);
    user_open(&user, a, b, echo);
    skep_stream_write(user.stream, skep_bytes_of(bytes, LEN));
    skep_stream_release(user.stream);
    /* A reader that takes half a minute over it. */
    while (consumed < LEN) {
        world_run(&world, 4 * SECOND);
        assert_int_equal(service.users[0].closed, 0);
        skep_stream_consume(service.users[0].stream, STEP);
        consumed += STEP;
    }
    world_run(&world, 1 * SECOND);
    assert_int_equal(service.users[0].got.len, LEN);
    assert_int_equal(service.users[0].eof, 1);
    skep_stream_reset(service.users[0].stream);
    user_fini(&user);
    world_fini(&world);
    service_fini(&service);
}

static void who_does_not_give_window_back_stops_the_writer_and_nobody_else(void **state)
{
    struct service slow = {.hold = true}, quick = {.echo = true};
    struct world world;
    struct user blocked, other;
    struct node *a, *b;
    uint8_t *block = calloc(1, 1 << 20);

    (void)state;
    world_init(&world, 6, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    world_knows(a, b);
    skep_host_serve(b->host, "/test/slow", service_on_stream, &slow);
    skep_host_serve(b->host, echo, service_on_stream, &quick);
    user_init(&blocked);
    user_init(&other);
    user_open(&blocked, a, b, "/test/slow");
    skep_stream_write(blocked.stream, skep_bytes_of(block, 1 << 20));
    world_run(&world, 5 * SECOND);
    assert_true(slow.users[0].got.len > 200000 && slow.users[0].got.len <= SKEP_YAMUX_WINDOW);
    assert_true(skep_stream_queued(blocked.stream) > 700000);
    user_open(&other, a, b, echo);
    skep_stream_write(other.stream, skep_bytes_str("hello"));
    world_run(&world, 1 * SECOND);
    assert_int_equal(other.got.len, 5);
    slow.users[0].hold = false;
    skep_stream_consume(slow.users[0].stream, slow.users[0].got.len);
    world_run(&world, 5 * SECOND);
    assert_int_equal(slow.users[0].got.len, 1 << 20);
    assert_int_equal(blocked.writable, 1);
    skep_stream_reset(blocked.stream);
    skep_stream_reset(other.stream);
    user_fini(&blocked);
    user_fini(&other);
    world_fini(&world);
    service_fini(&slow);
    service_fini(&quick);
    free(block);
}

static void unsent_bytes_are_counted_over_all_connections(void **state)
{
    enum { LEN = 1 << 20, CLIENTS = 3 };
    struct service slow = {.hold = true}, quick = {.echo = true};
    struct user clients[CLIENTS], other;
    struct world world;
    struct node *server, *reader;
    uint8_t *block = calloc(1, LEN);
    size_t sum = 0;

    (void)state;
    world_init(&world, 8, NULL);
    server = world_add(&world, NULL);
    skep_host_serve(server->host, echo, service_on_stream, &quick);
    for (size_t i = 0; i < CLIENTS; i++) { /* who do not read */
        struct node *client = world_add(&world, NULL);

        skep_host_serve(client->host, "/test/slow", service_on_stream, &slow);
        world_knows(server, client);
        world_knows(client, server);
        user_init(&clients[i]);
        user_open(&clients[i], server, client, "/test/slow");
        skep_stream_write(clients[i].stream, skep_bytes_of(block, LEN));
    }
    reader = world_add(&world, NULL);
    world_knows(reader, server);
    world_run(&world, 5 * SECOND);
    for (size_t i = 0; i < CLIENTS; i++)
        sum += skep_stream_queued(clients[i].stream);
    assert_true(sum > CLIENTS * (size_t)SKEP_YAMUX_WINDOW);
    assert_int_equal(server->host->queued, sum);
    server->host->queued += SKEP_HOST_QUEUED_MAX; /* of many more such clients */
    assert_false(skep_stream_has_room(clients[0].stream, 1));
    user_init(&other);
    user_open(&other, &world.nodes[1], server, echo);
    world_run(&world, 1 * SECOND);
    assert_int_equal(other.rc, SKEP_EPEER_RESET);
    user_fini(&other);
    user_init(&other);
    user_open(&other, reader, server, echo);
    skep_stream_write(other.stream, skep_bytes_str("hello"));
    world_run(&world, 1 * SECOND);
    assert_int_equal(other.got.len, 5);
    assert_true(skep_stream_has_room(quick.users[0].stream, SKEP_YAMUX_WINDOW));
    assert_false(skep_stream_has_room(quick.users[0].stream, SKEP_YAMUX_WINDOW + 1));
    skep_stream_reset(other.stream);
    server->host->queued -= SKEP_HOST_QUEUED_MAX;
    skep_stream_reset(clients[0].stream);
    assert_int_equal(skep_sim_net_cut(world.net, server->ip, world.nodes[2].ip), 1);
    world_run(&world, 1 * SECOND);
    assert_int_equal(server->host->queued, skep_stream_queued(clients[2].stream));
    skep_host_disconnect(server->host, &world.nodes[3].identity.id);
    world_run(&world, 1 * SECOND);
    assert_int_equal(server->host->queued, 0);
    for (size_t i = 0; i < CLIENTS; i++)
        user_fini(&clients[i]);
    user_fini(&other);
    world_fini(&world);
    service_fini(&slow);
    service_fini(&quick);
    free(block);
}

static void a_lost_connection_ends_its_streams(void **state)
{
    struct service service = {0};
    struct world world;
    struct user user;
    struct node *a, *b;

    (void)state;
    world_init(&world, 7, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    world_knows(a, b);
    skep_host_serve(b->host, echo, service_on_stream, &service);
    user_init(&user);
    user_open(&user, a, b, echo);
    world_run(&world, 1 * SECOND);
    assert_int_equal(skep_sim_net_cut(world.net, a->ip, b->ip), 1);
    world_run(&world, 1 * SECOND);
    assert_int_equal(user.rc, SKEP_ELOST);
    assert_int_equal(service.users[0].rc, SKEP_ELOST);
    user_fini(&user);
    world_fini(&world);
    service_fini(&service);
}

static void freeing_a_host_ends_its_streams_as_cancelled(void **state)
{
    struct service service = {0};
    struct world world;
    struct user open, waiting;
    struct node *a, *b, *c;

    (void)state;
    world_init(&world, 8, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    c = world_add(&world, NULL);
    world_knows(a, b);
    world_knows(a, c);
    skep_host_serve(b->host, echo, service_on_stream, &service);
    user_init(&open);
    user_init(&waiting);
    user_open(&open, a, b, echo);
    world_run(&world, 1 * SECOND);
    user_open(&waiting, a, c, echo);
    skep_host_free(a->host);
    a->host = NULL;
    assert_int_equal(open.rc, SKEP_ECANCELED);
    assert_int_equal(waiting.rc, SKEP_ECANCELED);
    world_run(&world, 1 * SECOND);
    assert_int_equal(service.users[0].rc, SKEP_ELOST);
    user_fini(&open);
    user_fini(&waiting);
    world_fini(&world);
    service_fini(&service);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_back_in_order_however_the_link_cuts_them),
        cmocka_unit_test(a_stream_may_be_opened_and_written_before_there_is_a_connection),
        cmocka_unit_test(a_request_and_its_answer_take_one_round_trip),
        cmocka_unit_test(after_its_fin_a_side_still_reads),
        cmocka_unit_test(a_fin_waits_for_the_echo_of_the_protocol),
        cmocka_unit_test(the_fin_of_a_finished_stream_rides_along_or_follows_in_5_ms),
        cmocka_unit_test(a_reset_ends_the_stream_at_the_other_side_only_there_with_an_event),
        cmocka_unit_test(a_protocol_nobody_serves_is_reported_as_unsupported),
        cmocka_unit_test(a_service_may_refuse_a_stream),
        cmocka_unit_test(a_released_stream_is_not_cut_while_its_bytes_move),
        cmocka_unit_test(a_released_stream_that_the_peer_does_not_close_is_reset),
        cmocka_unit_test(who_does_not_give_window_back_stops_the_writer_and_nobody_else),
        cmocka_unit_test(unsent_bytes_are_counted_over_all_connections),
        cmocka_unit_test(a_lost_connection_ends_its_streams),
        cmocka_unit_test(freeing_a_host_ends_its_streams_as_cancelled),
        cmocka_unit_test(a_stream_in_use_no_longer_counts_for_the_backlog),
        cmocka_unit_test(streams_beyond_those_not_acknowledged_wait_and_are_all_served),
        cmocka_unit_test(streams_in_line_end_with_the_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
