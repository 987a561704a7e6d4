/* SPDX-License-Identifier: MIT */
/* Calls over the whole stack below them (Noise, yamux, negotiation) and in-memory links that cut, delay and break: each ends exactly once,
 * and what succeeds is right. */
#include "host/world.h"
#include "rpc/rpc_host.h"

enum { CALLS = 40 };

struct tried {
    struct skep_rpc_call call;
    uint8_t request[3000];
    size_t len;
    int rc, count;
};

static void on_done(struct skep_rpc_call *call, int rc, skep_bytes reply)
{
    struct tried *tried = SKEP_CONTAINER_OF(call, struct tried, call);

    tried->count++;
    tried->rc = rc;
    if (rc == 0)
        assert_true(skep_bytes_equal(reply, skep_bytes_of(tried->request, tried->len)));
}

static void echo(void *user, struct skep_rpc_request *request)
{
    (void)user;
    skep_rpc_reply(request, request->data);
}

static size_t call_many(struct world *world, struct skep_rpc *rpc, const struct skep_peer_id *peer,
                        bool lose)
{
    static struct tried tried[CALLS];
    size_t answered = 0;

    memset(tried, 0, sizeof tried);
    for (size_t i = 0; i < CALLS; i++) {
        tried[i].call.done = on_done;
        tried[i].len = (size_t)skep_prng_below(&world->env.prng, sizeof tried[i].request);
        skep_prng_fill(&world->env.prng, tried[i].request, tried[i].len);
        assert_int_equal(skep_rpc_call_start(rpc, &tried[i].call, peer, "C.echo",
                                             skep_bytes_of(tried[i].request, tried[i].len),
                                             3 * SECOND),
                         0);
        world_run(world, skep_prng_below(&world->env.prng, 5) * MS);
        if (lose && i == CALLS / 2)
            skep_host_disconnect(world->nodes[1].host, &world->nodes[0].identity.id);
    }
    world_run(world, 10 * SECOND);
    for (size_t i = 0; i < CALLS; i++) {
        assert_int_equal(tried[i].count, 1);
        answered += tried[i].rc == 0;
    }
    return answered;
}

static void run_seed(uint64_t seed)
{
    struct world world;
    struct skep_rpc *a, *b;
    struct tried refused = {.call.done = on_done};

    world_init(&world, seed, NULL);
    assert_non_null(world_add(&world, NULL));
    assert_non_null(world_add(&world, NULL));
    assert_int_equal(skep_rpc_host_new(&a, &world.env.env, world.nodes[0].host), 0);
    assert_int_equal(skep_rpc_host_new(&b, &world.env.env, world.nodes[1].host), 0);
    assert_int_equal(skep_rpc_serve(b, "C.echo", echo, NULL), 0);
    world_knows(&world.nodes[0], &world.nodes[1]);
    assert_int_equal(call_many(&world, a, &b->self, false),
                     CALLS); /* the first ones wait for the connection */
    assert_true(call_many(&world, a, &b->self, true) >
                0); /* the loss ends some; the next dial anew */
    assert_int_equal(call_many(&world, a, &b->self, false), CALLS);
    assert_int_equal(
        skep_rpc_call_start(a, &refused.call, &b->self, "C.none", skep_bytes_str("x"), 3 * SECOND),
        0);
    world_run(&world, SECOND);
    assert_int_equal(refused.rc, SKEP_EPEER_UNSUPPORTED);
    assert_true(a->ops->rtt_us(a, &b->self) > 0);
    skep_rpc_host_free(a);
    skep_rpc_host_free(b);
    world_fini(&world);
}

static void calls_end_once_and_right_over_links_that_cut_and_break(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(10); seed++) {
        print_message("replay: SKEP_SEED=%llu\n", (unsigned long long)seed);
        run_seed(seed);
    }
}

struct dialled {
    struct skep_rpc_dial dial;
    struct skep_peer_id peer;
    int rc, count;
};

static void on_dialled(struct skep_rpc_dial *dial, int rc, const struct skep_peer_id *peer)
{
    struct dialled *dialled = SKEP_CONTAINER_OF(dial, struct dialled, dial);

    dialled->rc = rc;
    dialled->count++;
    dialled->peer = *peer;
}

static void a_dial_tells_who_answered_and_can_be_cancelled(void **state)
{
    struct world world;
    struct dialled first = {.dial.done = on_dialled}, second = first, bad = first;
    char text[SKEP_MULTIADDR_TEXT_MAX];
    struct skep_rpc *a;

    (void)state;
    world_init(&world, 1, NULL);
    assert_non_null(world_add(&world, NULL));
    assert_non_null(world_add(&world, NULL));
    assert_int_equal(skep_rpc_host_new(&a, &world.env.env, world.nodes[0].host), 0);
    skep_multiaddr_text(text, &world.nodes[1].addr);
    assert_int_equal(skep_rpc_dial_start(a, &first.dial, text, SECOND), 0);
    assert_int_equal(skep_rpc_dial_start(a, &second.dial, text, SECOND), 0);
    assert_int_equal(skep_rpc_dial_start(a, &bad.dial, "nowhere", SECOND), SKEP_EMULTIADDR);
    skep_rpc_dial_cancel(a, &second.dial);
    world_run(&world, SECOND);
    assert_true(first.count == 1 && first.rc == 0 && second.count == 0 && bad.count == 0);
    assert_true(skep_peer_id_equal(&first.peer, &world.nodes[1].identity.id));
    assert_int_equal(skep_rpc_dial_start(a, &second.dial, text, SECOND), 0);
    skep_rpc_host_free(a); /* while it runs */
    assert_true(second.count == 1 && second.rc == SKEP_ECANCELED);
    world_fini(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_end_once_and_right_over_links_that_cut_and_break),
        cmocka_unit_test(a_dial_tells_who_answered_and_can_be_cancelled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
