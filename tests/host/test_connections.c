/* SPDX-License-Identifier: MIT */
/* Dialling, accepting, which connection is kept, when it is closed, and the limits. */
#include "base/limits.h"
#include "world.h"

static size_t connections(const struct node *node)
{
    struct skep_host_stats stats;

    skep_host_stats(node->host, &stats);
    return stats.connections;
}

static void connecting_tells_both_sides_who_is_there(void **state)
{
    struct world world;
    struct node *a, *b;
    struct skep_peer_id peers[2];
    struct skep_peer_info info;
    struct asked asked;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    asked_init(&asked);
    /* An address without a peer id: whoever is there. */
    b->addr.peer.len = 0;
    assert_int_equal(skep_host_connect(a->host, &asked.request, NULL, &b->addr, 0), 0);
    world_run(&world, 1 * SECOND);
    assert_int_equal(asked.done, 1);
    assert_int_equal(asked.rc, 0);
    assert_true(skep_peer_id_equal(&asked.request.peer, &b->identity.id));
    assert_int_equal(skep_host_peers(b->host, peers, 2), 1);
    assert_true(skep_peer_id_equal(&peers[0], &a->identity.id));
    assert_int_equal(skep_host_peer_info(a->host, &b->identity.id, &info), 0);
    assert_false(info.inbound);
    assert_true(info.identified);
    assert_in_range(info.rtt_us, 2 * MS, 7 * MS);
    assert_int_equal(skep_host_peer_info(b->host, &a->identity.id, &info), 0);
    assert_true(info.inbound);
    world_fini(&world);
}

static void a_second_connect_uses_the_open_connection(void **state)
{
    struct world world;
    struct node *a, *b;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    assert_int_equal(world_connect(&world, a, b), 0);
    assert_int_equal(world_connect(&world, a, b), 0);
    assert_int_equal(world_connect(&world, b, a), 0);
    assert_int_equal(connections(a), 1);
    world_fini(&world);
}

static void simultaneous_dials_leave_the_same_connection_at_both_ends(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(40); seed++) {
        struct service service = {.echo = true};
        struct world world;
        struct node *a, *b;
        struct user ua, ub;
        struct skep_peer_info ia, ib;

        world_init(&world, seed, NULL);
        a = world_add(&world, NULL);
        b = world_add(&world, NULL);
        world_knows(a, b);
        world_knows(b, a);
        skep_host_serve(a->host, "/echo", service_on_stream, &service);
        skep_host_serve(b->host, "/echo", service_on_stream, &service);
        user_init(&ua);
        user_init(&ub);
        user_open(&ua, a, b, "/echo");
        world_run(&world, seed % 4 * MS);
        user_open(&ub, b, a, "/echo");
        skep_stream_write(ua.stream, skep_bytes_str("from a"));
        skep_stream_write(ub.stream, skep_bytes_str("from b"));
        world_run(&world, 1 * SECOND);
        /* Both streams live, on whichever connection they began. */
        assert_int_equal(ua.got.len, 6);
        assert_int_equal(ub.got.len, 6);
        skep_stream_close_write(ua.stream);
        skep_stream_close_write(ub.stream);
        world_run(&world, 20 * SECOND);
        assert_int_equal(ua.closed, 1);
        assert_int_equal(ua.rc, 0);
        assert_int_equal(ub.rc, 0);
        assert_int_equal(connections(a), 1);
        assert_int_equal(connections(b), 1);
        assert_int_equal(skep_host_peer_info(a->host, &b->identity.id, &ia), 0);
        assert_int_equal(skep_host_peer_info(b->host, &a->identity.id, &ib), 0);
        assert_true(ia.inbound != ib.inbound);
        user_fini(&ua);
        user_fini(&ub);
        world_fini(&world);
        service_fini(&service);
    }
}

static void an_idle_connection_is_closed_and_dialled_again_when_needed(void **state)
{
    struct skep_host_options options = {.idle_us = 20 * SECOND};
    struct service service = {.echo = true};
    struct world world;
    struct node *a, *b;
    struct user user;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, &options);
    b = world_add(&world, NULL);
    skep_host_serve(b->host, "/echo", service_on_stream, &service);
    world_knows(a, b);
    user_init(&user);
    user_open(&user, a, b, "/echo");
    world_run(&world, 60 * SECOND);
    assert_int_equal(connections(a), 1); /* not while a stream is open */
    skep_stream_reset(user.stream);
    world_run(&world, 19 * SECOND);
    assert_int_equal(connections(a), 1);
    world_run(&world, 3 * SECOND);
    assert_int_equal(connections(a), 0);
    assert_int_equal(connections(b), 0);
    user_open(&user, a, b, "/echo");
    skep_stream_write(user.stream, skep_bytes_str("again"));
    world_run(&world, 1 * SECOND);
    assert_int_equal(user.got.len, 5);
    skep_stream_reset(user.stream);
    user_fini(&user);
    world_fini(&world);
    service_fini(&service);
}

static void a_dead_address_costs_only_a_short_stagger_when_there_is_another(void **state)
{
    struct world world;
    struct node *a, *b, *dead;
    struct skep_multiaddr refused;
    struct asked asked;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    dead = world_add(&world, NULL);
    skep_sim_net_set_reachable(world.net, dead->ip, false);
    world_knows(a, b);
    skep_host_add_address(a->host, &b->identity.id, &dead->addr);
    refused = b->addr;
    refused.port = 9;
    skep_host_add_address(a->host, &b->identity.id, &refused);
    asked_init(&asked);
    assert_int_equal(skep_host_connect(a->host, &asked.request, &b->identity.id, NULL, 0), 0);
    world_run(&world, 400 * MS);
    assert_int_equal(asked.done, 1);
    assert_int_equal(asked.rc, 0);
    world_run(&world, 20 * SECOND);
    assert_int_equal(connections(a), 1);
    world_fini(&world);
}

static void of_a_peers_addresses_16_are_tried_in_one_dial(void **state)
{
    struct skep_host_stats stats;
    struct world world;
    struct node *a, *b;
    struct asked asked;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    for (uint16_t port = 1; port <= SKEP_DIAL_ADDRESSES_MAX + 1; port++) {
        struct skep_multiaddr refused = b->addr;

        refused.port = port;
        skep_host_add_address(a->host, &b->identity.id, &refused);
    }
    asked_init(&asked);
    assert_int_equal(skep_host_connect(a->host, &asked.request, &b->identity.id, NULL, 0), 0);
    world_run(&world, 20 * SECOND);
    assert_int_equal(asked.done, 1);
    assert_int_equal(asked.rc, SKEP_EREFUSED);
    skep_host_stats(a->host, &stats);
    assert_int_equal(stats.dials, SKEP_DIAL_ADDRESSES_MAX);
    assert_int_equal(stats.dials_failed, 1);
    world_fini(&world);
}

static void failed_dials_say_why(void **state)
{
    struct world world;
    struct node *a, *b, *c;
    struct skep_multiaddr other;
    struct asked asked;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    c = world_add(&world, NULL);
    asked_init(&asked);
    other = b->addr;
    other.port = 9;
    skep_host_connect(a->host, &asked.request, NULL, &other, 0);
    world_run(&world, 1 * SECOND);
    assert_int_equal(asked.rc, SKEP_EREFUSED);
    /* somebody else is there */
    other = b->addr;
    other.peer = c->identity.id;
    skep_host_connect(a->host, &asked.request, NULL, &other, 0);
    world_run(&world, 1 * SECOND);
    assert_int_equal(asked.rc, SKEP_EPEER_AUTH);
    /* nobody answers */
    skep_sim_net_set_reachable(world.net, c->ip, false);
    skep_host_connect(a->host, &asked.request, NULL, &c->addr, 3 * SECOND);
    world_run(&world, 4 * SECOND);
    assert_int_equal(asked.rc, SKEP_ETIMEDOUT);
    assert_int_equal(asked.done, 3);
    world_run(&world, 20 * SECOND);
    assert_int_equal(connections(a), 0);
    /* nobody knows where it is */
    skep_host_connect(a->host, &asked.request, &world.nodes[2].identity.id, NULL, 0);
    world_run(&world, 30 * SECOND);
    assert_int_equal(asked.done, 4);
    assert_true(asked.rc < 0);
    world_fini(&world);
}

static void dialling_oneself_is_refused_by_id_and_by_address(void **state)
{
    struct world world;
    struct node *a;
    struct asked asked;
    struct skep_multiaddr addr;
    struct skep_stream *stream;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    asked_init(&asked);
    assert_int_equal(skep_host_connect(a->host, &asked.request, &a->identity.id, NULL, 0), 0);
    assert_int_equal(asked.done, 0);
    world_run(&world, 1 * MS);
    assert_int_equal(asked.rc, SKEP_ESELF);
    addr = a->addr;
    addr.peer.len = 0;
    assert_int_equal(skep_host_connect(a->host, &asked.request, NULL, &addr, 0), 0);
    world_run(&world, 1 * SECOND);
    assert_int_equal(asked.done, 2);
    assert_int_equal(asked.rc, SKEP_ESELF);
    assert_int_equal(connections(a), 0);
    assert_int_equal(skep_host_open(a->host, &stream, &a->identity.id, "/x", &user_events, NULL),
                     SKEP_ESELF);
    world_fini(&world);
}

static void one_connection_beyond_each_limit_is_refused(void **state)
{
    struct skep_host_options total = {.connections_max = 3},
                             per_address = {.connections_per_address_max = 2};
    struct world world;
    struct node *server, *two_each;
    struct skep_host_stats stats;

    (void)state;
    world_init(&world, 1, NULL);
    server = world_add(&world, &total);
    two_each = world_add(&world, &per_address);
    for (int i = 0; i < 4; i++) {
        struct node *client = world_add(&world, NULL);

        assert_int_equal(world_connect(&world, client, server), i < 3 ? 0 : SKEP_ELOST);
        /* all from one machine */
    }
    skep_host_stats(server->host, &stats);
    assert_int_equal(stats.refused_accepts, 1);
    assert_int_equal(stats.connections, 3);
    assert_int_equal(world_connect(&world, server, two_each), SKEP_ELIMIT);
    world_run(&world, 1 * SECOND);
    /* three raw links from one machine to the other */
    for (int i = 0; i < 3; i++) {
        struct node *client = &world.nodes[2];
        struct asked asked;
        struct skep_multiaddr addr = two_each->addr;

        asked_init(&asked);
        addr.peer.len = 0;
        assert_int_equal(skep_host_connect(client->host, &asked.request, NULL, &addr, 0), 0);
        world_run(&world, 100 * MS);
        assert_int_equal(asked.rc, i < 2 ? 0 : SKEP_ELOST);
    }
    skep_host_stats(two_each->host, &stats);
    assert_int_equal(stats.refused_accepts, 1);
    world_fini(&world);
}

static void the_connection_idle_for_longest_makes_room(void **state)
{
    struct skep_host_options total = {.connections_max = 3};
    struct skep_peer_info info;
    struct world world;
    struct node *server;

    (void)state;
    world_init(&world, 1, NULL);
    server = world_add(&world, &total);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(world_connect(&world, world_add(&world, NULL), server), 0);
        world_run(&world, 1 * SECOND);
    }
    assert_int_equal(world_connect(&world, world_add(&world, NULL), server), SKEP_ELOST);
    world_run(&world, SKEP_CONNECTION_SPARED_US);
    assert_int_equal(world_connect(&world, &world.nodes[4], server), 0); /* inbound */
    world_run(&world, 1 * SECOND);
    assert_int_equal(skep_host_peer_info(server->host, &world.nodes[1].identity.id, &info),
                     SKEP_ENOTFOUND);
    assert_int_equal(skep_host_peer_info(server->host, &world.nodes[2].identity.id, &info), 0);
    world_add(&world, NULL);
    assert_int_equal(world_connect(&world, server, &world.nodes[5]), 0); /* outbound */
    world_run(&world, 1 * SECOND);
    assert_int_equal(skep_host_peer_info(server->host, &world.nodes[2].identity.id, &info),
                     SKEP_ENOTFOUND);
    assert_int_equal(skep_host_peer_info(server->host, &world.nodes[3].identity.id, &info), 0);
    world_fini(&world);
}

static void a_host_holds_no_more_connections_than_its_transport_has_links(void **state)
{
    struct skep_host_options many = {.connections_max = 100};
    struct skep_host_stats stats;
    struct world world;
    struct node *server;

    (void)state;
    world_init(&world, 1, NULL);
    skep_sim_net_transport(world.net, (const uint8_t[]){10, 0, 0, 1})->links_max = 3;
    server = world_add(&world, &many);
    for (int i = 0; i < 4; i++)
        assert_int_equal(world_connect(&world, world_add(&world, NULL), server),
                         i < 3 ? 0 : SKEP_ELOST);
    skep_host_stats(server->host, &stats);
    assert_int_equal(stats.connections_max, 3);
    assert_int_equal(stats.connections, 3);
    world_fini(&world);
}

/* ---- raw links: a peer that says nothing, or nonsense ---- */

static int raw_closed;

static void raw_connected(struct skep_link *link, void *user)
{
    (void)link;
    (void)user;
}

static uint8_t *raw_room(struct skep_link *link, void *user, size_t *len)
{
    static uint8_t room[4096];

    (void)link;
    (void)user;
    *len = sizeof room;
    return room;
}

static void raw_data(struct skep_link *link, void *user, size_t len)
{
    (void)link;
    (void)user;
    (void)len;
}

static void raw_close(struct skep_link *link, void *user, int rc)
{
    (void)link;
    (void)user;
    (void)rc;
    raw_closed++;
}

static const struct skep_link_events raw_events = {raw_connected, raw_room, raw_data, raw_connected,
                                                   raw_close};

static struct skep_link *raw_dial_from(struct world *world, uint8_t last, const struct node *to)
{
    const uint8_t ip[4] = {10, 9, 9, last};
    struct skep_link *link;

    assert_int_equal(skep_transport_dial(skep_sim_net_transport(world->net, ip), &link, &to->addr),
                     0);
    skep_link_use(link, &raw_events, NULL);
    return link;
}

static struct skep_link *raw_dial(struct world *world, const struct node *to)
{
    return raw_dial_from(world, 9, to);
}

static void a_handshake_that_takes_too_long_is_ended_however_busy_it_is(void **state)
{
    struct world world;
    struct node *a;
    struct skep_link *link;
    struct skep_host_stats stats;

    (void)state;
    raw_closed = 0;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    link = raw_dial(&world, a);
    world_run(&world, 100 * MS);
    assert_int_equal(connections(a), 1);
    /* one byte of the header every half second */
    for (int i = 0; i < 19; i++) {
        static const char header[] = "\x13/multistream/1.0.0\n";

        assert_int_equal(skep_link_write(link, skep_bytes_of(header + i, 1)), 1);
        world_run(&world, 500 * MS);
        assert_int_equal(raw_closed, 0);
    }
    world_run(&world, 1 * SECOND);
    assert_int_equal(raw_closed, 1);
    assert_int_equal(connections(a), 0);
    skep_host_stats(a->host, &stats);
    assert_int_equal(stats.handshakes_failed, 1);
    world_fini(&world);
}

static void nonsense_instead_of_a_handshake_ends_that_connection_only(void **state)
{
    struct world world;
    struct node *a, *b;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    assert_int_equal(world_connect(&world, b, a), 0);
    for (size_t len = 1; len < 200; len += 13) {
        uint8_t nonsense[200];
        struct skep_link *link = raw_dial(&world, a);
        int closed = raw_closed;

        world_run(&world, 50 * MS);
        skep_prng_fill(&world.env.prng, nonsense, len);
        nonsense[0] |= 0x40;
        skep_link_write(link, skep_bytes_of(nonsense, len));
        world_run(&world, 11 * SECOND);
        assert_int_equal(raw_closed, closed + 1);
    }
    assert_int_equal(connections(a), 1);
    world_fini(&world);
}

static void one_handshake_beyond_the_limit_is_refused(void **state)
{
    struct skep_host_options options = {.connections_per_address_max = 10000};
    struct world world;
    struct node *a;
    struct skep_link *links[SKEP_HANDSHAKES_MAX];
    struct skep_host_stats stats;

    (void)state;
    raw_closed = 0;
    world_init(&world, 1, NULL);
    a = world_add(&world, &options);
    for (int i = 0; i < SKEP_HANDSHAKES_MAX; i++)
        links[i] = raw_dial(&world, a);
    world_run(&world, 1 * SECOND);
    assert_int_equal(raw_closed, 0);
    (void)raw_dial(&world, a);
    world_run(&world, 1 * SECOND);
    assert_int_equal(raw_closed, 1);
    skep_host_stats(a->host, &stats);
    assert_int_equal(stats.refused_accepts, 1);
    for (int i = 0; i < SKEP_HANDSHAKES_MAX; i++)
        skep_link_close(links[i]);
    world_run(&world, 1 * SECOND);
    assert_int_equal(connections(a), 0);
    world_fini(&world);
}

static void who_takes_all_handshakes_and_says_nothing_keeps_only_itself_out(void **state)
{
    struct world world;
    struct node *a, *b;
    struct skep_host_stats stats;

    (void)state;
    raw_closed = 0;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    for (int i = 0; i < SKEP_HANDSHAKES_MAX; i++)
        (void)raw_dial(&world, a);
    world_run(&world, 1 * SECOND);
    assert_int_equal(world_connect(&world, b, a), 0);
    assert_int_equal(raw_closed, 1); /* the oldest */
    (void)raw_dial_from(&world, 10, a);
    (void)raw_dial_from(&world, 10, a);
    world_run(&world, 1 * SECOND);
    assert_int_equal(raw_closed, 2); /* one took b's place */
    skep_host_stats(a->host, &stats);
    assert_int_equal(stats.refused_accepts, 0);
    world_run(&world, SKEP_HANDSHAKE_TIMEOUT_US);
    assert_int_equal(connections(a), 1);
    world_fini(&world);
}

/* ---- requests, observers ---- */

static void a_cancelled_request_is_never_done(void **state)
{
    struct world world;
    struct node *a, *b;
    struct asked connect, ping, find, identify;

    (void)state;
    for (uint64_t at = 0; at < 12; at++) {
        world_init(&world, 1 + at, NULL);
        a = world_add(&world, NULL);
        b = world_add(&world, NULL);
        world_knows(a, b);
        asked_init(&connect);
        asked_init(&ping);
        asked_init(&find);
        asked_init(&identify);
        assert_int_equal(skep_host_connect(a->host, &connect.request, &b->identity.id, NULL, 0), 0);
        assert_int_equal(skep_host_ping(a->host, &ping.request, &b->identity.id, 0), 0);
        assert_int_equal(skep_host_identify(a->host, &identify.request, &b->identity.id, 0), 0);
        assert_int_equal(skep_host_find_peer(a->host, &find.request, &b->identity.id, 0), 0);
        world_run(&world, at * MS);
        if (at % 2 == 0) {
            int done = connect.done + ping.done + find.done + identify.done;

            skep_host_cancel(a->host, &connect.request);
            skep_host_cancel(a->host, &ping.request);
            skep_host_cancel(a->host, &find.request);
            skep_host_cancel(a->host, &identify.request);
            world_run(&world, 20 * SECOND);
            assert_int_equal(connect.done + ping.done + find.done + identify.done, done);
        } else {
            world_run(&world, 20 * SECOND);
            assert_int_equal(connect.done, 1);
            assert_int_equal(connect.rc, 0);
            assert_int_equal(ping.done, 1);
            assert_int_equal(ping.rc, 0);
            assert_in_range(ping.request.rtt_us, 2 * MS, 10 * MS);
            assert_int_equal(identify.done, 1);
            assert_int_equal(identify.rc, 0);
            assert_int_equal(find.done, 1);
        }
        world_fini(&world);
    }
}

struct seen {
    int connected, gone;
};

static void observe(void *user, const struct skep_peer_id *peer, bool connected)
{
    struct seen *seen = user;

    assert_true(peer->len > 0);
    seen->connected += connected ? 1 : 0;
    seen->gone += connected ? 0 : 1;
}

static void observers_are_told_once_of_each_coming_and_going(void **state)
{
    struct world world;
    struct node *a, *b;
    struct seen seen = {0, 0};

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    for (int i = 0; i < SKEP_HOST_OBSERVERS; i++)
        assert_int_equal(skep_host_observe(a->host, observe, &seen), 0);
    assert_int_equal(skep_host_observe(a->host, observe, &seen), SKEP_ELIMIT);
    for (int i = 1; i < SKEP_HOST_OBSERVERS; i++)
        skep_host_unobserve(a->host, observe, &seen);
    assert_int_equal(skep_host_observe(a->host, observe, &seen), 0);
    assert_int_equal(world_connect(&world, b, a), 0);
    world_run(&world, 1 * SECOND);
    assert_int_equal(seen.connected, 1);
    skep_host_disconnect(a->host, &b->identity.id);
    assert_int_equal(seen.gone, 0); /* not from inside the call */
    world_run(&world, 1 * SECOND);
    assert_int_equal(seen.gone, 1);
    assert_int_equal(connections(b), 0);
    world_fini(&world);
}

static void a_connection_that_goes_silent_is_given_up(void **state)
{
    struct world world;
    struct node *a, *b;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    b = world_add(&world, NULL);
    assert_int_equal(world_connect(&world, a, b), 0);
    world_run(&world, 200 * SECOND);
    assert_int_equal(connections(a), 1); /* pings keep it alive */
    /* b vanishes without a word */
    skep_sim_net_mute(world.net, b->ip, a->ip);
    world_run(&world, 60 * SECOND);
    assert_int_equal(connections(a), 0);
    world_fini(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connecting_tells_both_sides_who_is_there),
        cmocka_unit_test(a_second_connect_uses_the_open_connection),
        cmocka_unit_test(simultaneous_dials_leave_the_same_connection_at_both_ends),
        cmocka_unit_test(an_idle_connection_is_closed_and_dialled_again_when_needed),
        cmocka_unit_test(a_dead_address_costs_only_a_short_stagger_when_there_is_another),
        cmocka_unit_test(of_a_peers_addresses_16_are_tried_in_one_dial),
        cmocka_unit_test(failed_dials_say_why),
        cmocka_unit_test(dialling_oneself_is_refused_by_id_and_by_address),
        cmocka_unit_test(one_connection_beyond_each_limit_is_refused),
        cmocka_unit_test(the_connection_idle_for_longest_makes_room),
        cmocka_unit_test(a_host_holds_no_more_connections_than_its_transport_has_links),
        cmocka_unit_test(a_handshake_that_takes_too_long_is_ended_however_busy_it_is),
        cmocka_unit_test(nonsense_instead_of_a_handshake_ends_that_connection_only),
        cmocka_unit_test(one_handshake_beyond_the_limit_is_refused),
        cmocka_unit_test(who_takes_all_handshakes_and_says_nothing_keeps_only_itself_out),
        cmocka_unit_test(a_cancelled_request_is_never_done),
        cmocka_unit_test(observers_are_told_once_of_each_coming_and_going),
        cmocka_unit_test(a_connection_that_goes_silent_is_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
