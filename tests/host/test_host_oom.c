/* SPDX-License-Identifier: MIT */
/* Two hosts from nothing to an answered stream, identify and a kad question, once with each allocation failing. */
#include "base/map.h"
#include "world.h"

static int live_through(const struct skep_mem *mem, void *unused)
{
    static struct world world;
    struct service service = {.echo = true};
    struct user user;
    struct asked ping, found;
    struct node *a, *b;
    int rc;

    (void)unused;
    memset(&world, 0, sizeof world);
    test_env_init(&world.env, 1);
    world.env.env.mem = mem;
    skep_map_set_mem(mem);
    skep_timers_fini(world.env.env.timers);
    skep_timers_init(world.env.env.timers, mem);
    user_init(&user);
    asked_init(&ping);
    asked_init(&found);
    rc = skep_sim_net_new(&world.net, &world.env.env,
                          &(struct skep_sim_net_options){.seed = 1, .delay_us_max = 1000});
    if (rc == 0)
        rc = world_try_add(&world, NULL);
    if (rc == 0)
        rc = world_try_add(&world, NULL);
    if (rc < 0)
        goto out;
    a = &world.nodes[0];
    b = &world.nodes[1];
    world_knows(a, b);
    if ((rc = skep_host_serve(b->host, "/echo", service_on_stream, &service)) < 0)
        goto out;
    if ((rc = user_open(&user, a, b, "/echo")) < 0)
        goto out;
    (void)skep_stream_write(user.stream, skep_bytes_str("hello"));
    world_run(&world, 20 * SECOND);
    (void)skep_host_ping(a->host, &ping.request, &b->identity.id, 0);
    (void)skep_host_find_peer(b->host, &found.request, &a->identity.id, 0);
    world_run(&world, 20 * SECOND);
    assert_true(ping.done <= 1 && found.done <= 1);
    /* Whatever failed on the way, nothing hangs: an answer, or the end. */
    if (user.stream && user.got.len < 5 && !user.closed)
        world_run(&world, 120 * SECOND);
    rc = user.got.len == 5 && ping.done == 1 && ping.rc == 0 ? 0 : SKEP_ENOMEM;
out:
    for (size_t i = 0; i < world.count; i++) {
        skep_host_free(world.nodes[i].host);
        skep_identity_fini(&world.nodes[i].identity);
    }
    skep_sim_net_free(world.net);
    skep_timers_fini(world.env.env.timers);
    skep_map_set_mem(&skep_mem_std);
    service_fini(&service);
    user_fini(&user);
    return rc;
}

static void two_hosts_survive_each_failed_allocation(void **state)
{
    (void)state;
    test_each_allocation_fails(live_through, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_hosts_survive_each_failed_allocation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
