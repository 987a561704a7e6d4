/* SPDX-License-Identifier: MIT */
/* Hosts that dial, write, reset, release, disconnect and vanish at random over links that get lost: whatever happens, each stream and
 * request ends exactly once, and nothing is left behind. SKEP_SEED=n replays one run. */
#include "base/limits.h"
#include "world.h"

enum { HOSTS = 5, USERS = 40, STEPS = 400 };

struct chaos {
    struct world world;
    struct service services[HOSTS];
    struct user users[USERS];
    struct asked asked[USERS];
    uint64_t started, closed_by_us;
};

static size_t pick(struct chaos *chaos, size_t below)
{
    return (size_t)skep_prng_below(&chaos->world.env.prng, below);
}

/* A service that reads, answers and ends as it likes, without a memory of its own. */
static void rude_data(struct skep_stream *stream, void *data, skep_bytes bytes)
{
    struct chaos *chaos = data;
    struct skep_host *host = chaos->world.nodes[pick(chaos, HOSTS)].host;

    switch (pick(chaos, 12)) {
    case 0: skep_stream_reset(stream); return;
    case 1: skep_stream_release(stream); return;
    case 2:
        if (host) /* the run may be at its end */
            skep_host_disconnect(host, skep_stream_peer(stream));
        break;
    case 3: skep_stream_close_write(stream); break;
    default: (void)skep_stream_write(stream, bytes); break;
    }
    skep_stream_consume(stream, bytes.len);
}

static void rude_eof(struct skep_stream *stream, void *data)
{
    if (pick(data, 2) == 0)
        skep_stream_close_write(stream);
    else
        skep_stream_reset(stream);
}

static void rude_close(struct skep_stream *stream, void *data, int rc)
{
    (void)stream;
    (void)data;
    (void)rc;
}

static const struct skep_stream_events rude_events = {
    .on_data = rude_data, .on_eof = rude_eof, .on_close = rude_close};

static void rude_service(void *data, struct skep_stream *stream)
{
    if (pick(data, 8) == 0)
        skep_stream_release(stream);
    else
        skep_stream_use(stream, &rude_events, data);
}

static void open_one(struct chaos *chaos, struct user *user)
{
    size_t from = pick(chaos, HOSTS), to = pick(chaos, HOSTS);
    static const char *const protocols[] = {"/rude", "/rude", "/none", "/ipfs/kad/1.0.0",
                                            "/ipfs/ping/1.0.0"};

    if (from == to)
        return;
    skep_buf_fini(&user->got);
    user_init(user);
    if (user_open(user, &chaos->world.nodes[from], &chaos->world.nodes[to],
                  protocols[pick(chaos, SKEP_COUNT_OF(protocols))]) == 0)
        chaos->started++;
}

static void step_user(struct chaos *chaos, struct user *user)
{
    static const uint8_t block[30000];

    if (!user->stream) {
        open_one(chaos, user);
        return;
    }
    switch (pick(chaos, 8)) {
    case 0:
        skep_stream_reset(user->stream);
        user->stream = NULL;
        chaos->closed_by_us++;
        break;
    case 1:
        skep_stream_release(user->stream);
        user->stream = NULL;
        chaos->closed_by_us++;
        break;
    case 2: skep_stream_close_write(user->stream); break;
    default:
        (void)skep_stream_write(user->stream, skep_bytes_of(block, 1 + pick(chaos, sizeof block)));
        break;
    }
}

static void step_request(struct chaos *chaos, struct asked *asked)
{
    struct node *from = &chaos->world.nodes[pick(chaos, HOSTS)];
    const struct node *to = &chaos->world.nodes[pick(chaos, HOSTS)];
    const struct skep_peer_id *peer = &to->identity.id;
    int rc = 0;

    if (asked->request.state) {
        if (pick(chaos, 4) == 0)
            skep_host_cancel(from->host, &asked->request);
        return;
    }
    asked_init(asked);
    switch (pick(chaos, 5)) {
    case 0: rc = skep_host_connect(from->host, &asked->request, NULL, &to->addr, 0); break;
    case 1: rc = skep_host_connect(from->host, &asked->request, peer, NULL, 0); break;
    case 2: rc = skep_host_ping(from->host, &asked->request, peer, 0); break;
    case 3: rc = skep_host_identify(from->host, &asked->request, peer, 0); break;
    default: rc = skep_host_find_peer(from->host, &asked->request, peer, 0); break;
    }
    assert_int_equal(rc, 0);
    assert_int_equal(asked->done, 0);
}

static void step_world(struct chaos *chaos)
{
    struct world *world = &chaos->world;
    struct node *a = &world->nodes[pick(chaos, HOSTS)], *b = &world->nodes[pick(chaos, HOSTS)];

    switch (pick(chaos, 40)) {
    case 0: skep_sim_net_cut(world->net, a->ip, b->ip); break;
    case 1: skep_host_disconnect(a->host, &b->identity.id); break;
    case 2: skep_sim_net_set_reachable(world->net, a->ip, false); break;
    case 3:
    case 4:
        for (size_t i = 0; i < HOSTS; i++)
            skep_sim_net_set_reachable(world->net, world->nodes[i].ip, true);
        break;
    case 5: skep_host_unserve(a->host, "/rude"); break;
    case 6: (void)skep_host_serve(a->host, "/rude", rude_service, chaos); break;
    case 7:
        skep_host_hint(a->host, &b->identity.id, &world->nodes[pick(chaos, HOSTS)].identity.id);
        break;
    case 8: skep_sim_net_mute(world->net, a->ip, b->ip); break;
    default: break;
    }
}

static void run_one(uint64_t seed)
{
    static struct chaos chaos;
    struct skep_sim_net_options net = {
        .delay_us_max = 4 * MS, .chunk_max = 3000, .in_flight_max = 30000, .cut_ppm = 2000};
    uint64_t closed = 0;

    memset(&chaos, 0, sizeof chaos);
    world_init(&chaos.world, seed, &net);
    for (size_t i = 0; i < USERS; i++) {
        user_init(&chaos.users[i]);
        asked_init(&chaos.asked[i]);
    }
    for (size_t i = 0; i < HOSTS; i++) {
        struct skep_host_options options = {
            .kad_server = i != 0, .idle_us = 5 * SECOND, .connections_max = i == 1 ? 4 : 0};
        struct node *node = world_add(&chaos.world, &options);

        assert_int_equal(skep_host_serve(node->host, "/rude", rude_service, &chaos), 0);
        if (i > 0)
            world_knows(node, &chaos.world.nodes[i - 1]);
        world_knows(&chaos.world.nodes[0], node);
    }
    for (int i = 0; i < STEPS; i++) {
        step_user(&chaos, &chaos.users[pick(&chaos, USERS)]);
        step_request(&chaos, &chaos.asked[pick(&chaos, USERS)]);
        step_world(&chaos);
        world_run(&chaos.world,
                  pick(&chaos, 8) == 0 ? pick(&chaos, 9 * SECOND) : pick(&chaos, 3 * MS));
    }
    for (size_t i = 0; i < HOSTS; i++) {
        if (pick(&chaos, 2) == 0)
            world_run(&chaos.world, pick(&chaos, 10 * MS));
        skep_host_free(chaos.world.nodes[i].host);
        chaos.world.nodes[i].host = NULL;
    }
    world_run(&chaos.world, 100 * SECOND);
    for (size_t i = 0; i < USERS; i++) {
        if (chaos.users[i].stream || chaos.asked[i].request.state)
            fail_msg("seed %llu: user %zu did not end", (unsigned long long)seed, i);
        closed += (uint64_t)chaos.users[i].closed;
        user_fini(&chaos.users[i]);
    }
    assert_true(closed > 0);
    world_fini(&chaos.world);
}

static void every_stream_and_request_ends_once_whatever_happens(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(60); seed++) {
        print_message("SKEP_SEED=%llu\n", (unsigned long long)seed);
        run_one(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stream_and_request_ends_once_whatever_happens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
