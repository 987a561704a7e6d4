/* SPDX-License-Identifier: MIT */
/* The simulated sides of the clock and call seams: what the swarms of the other tests stand on. */
#include "base/limits.h"
#include "sim/sim_rpc.h"
#include "support/test.h"

static struct skep_sim_clock clock;
static struct skep_sim_net *net;
static struct skep_rpc *a, *b;

static void begin(const struct skep_sim_faults *faults)
{
    skep_sim_clock_init(&clock, &skep_mem_std, 1);
    assert_int_equal(skep_sim_net_new(&net, &clock, 1, faults), 0);
    assert_int_equal(skep_sim_net_add(net, &a), 0);
    assert_int_equal(skep_sim_net_add(net, &b), 0);
}

static void end(void)
{
    skep_sim_net_free(net);
    skep_sim_clock_fini(&clock);
}

struct heard {
    struct skep_rpc_call call;
    struct skep_rpc_dial dial;
    int times, rc;
    uint64_t at_us;
    char text[32];
};

static void on_reply(struct skep_rpc_call *call, int rc, skep_bytes reply)
{
    struct heard *heard = SKEP_CONTAINER_OF(call, struct heard, call);

    heard->times++;
    heard->rc = rc;
    heard->at_us = clock.now_us;
    snprintf(heard->text, sizeof heard->text, "%.*s", (int)reply.len, (const char *)reply.data);
}

static void on_dialled(struct skep_rpc_dial *dial, int rc, const struct skep_peer_id *peer)
{
    struct heard *heard = SKEP_CONTAINER_OF(dial, struct heard, dial);

    heard->times++;
    heard->rc = rc;
    heard->at_us = clock.now_us;
    assert_int_equal(rc == 0, peer != NULL);
}

static void echo(void *user, struct skep_rpc_request *request)
{
    (void)user;
    skep_rpc_reply(request, request->data);
}

static void complain(void *user, struct skep_rpc_request *request)
{
    (void)user;
    skep_rpc_fail(request, "KeyError('x')");
}

static struct skep_rpc_request *held;
static int cancels;

static void on_cancel(struct skep_rpc_request *request)
{
    (void)request;
    cancels++;
}

static void hold(void *user, struct skep_rpc_request *request)
{
    (void)user;
    request->on_cancel = on_cancel;
    held = request;
}

static struct heard call(const char *method, uint64_t timeout_us)
{
    struct heard heard = {.call = {.done = on_reply}};
    uint64_t started = clock.now_us;

    assert_int_equal(
        skep_rpc_call_start(a, &heard.call, &b->self, method, skep_bytes_str("hello"), timeout_us),
        0);
    assert_int_equal(heard.times, 0);
    skep_sim_clock_run_for(&clock, 60 * SKEP_SIM_SECOND);
    assert_int_equal(heard.times, 1);
    heard.at_us -= started;
    return heard;
}

static const struct skep_sim_faults plain = {.latency = {.median_us = 1000}, .handshake_rounds = 3};

static void the_first_call_pays_the_handshake_and_the_next_a_round_trip(void **state)
{
    struct heard heard;

    (void)state;
    begin(&plain);
    assert_int_equal(skep_rpc_serve(b, "echo", echo, NULL), 0);
    assert_int_equal(skep_rpc_serve(b, "echo", echo, NULL), SKEP_EEXIST);
    assert_int_equal(a->ops->rtt_us(a, &b->self), 0);
    heard = call("echo", SKEP_SIM_SECOND);
    assert_int_equal(heard.rc, 0);
    assert_string_equal(heard.text, "hello");
    assert_int_equal(heard.at_us, 4000);
    assert_int_equal(a->ops->rtt_us(a, &b->self), 1000);
    assert_int_equal(call("echo", SKEP_SIM_SECOND).at_us, 1000);
    end();
}

static void errors_and_missing_methods_come_back(void **state)
{
    struct heard heard;

    (void)state;
    begin(&plain);
    assert_int_equal(skep_rpc_serve(b, "complain", complain, NULL), 0);
    heard = call("complain", SKEP_SIM_SECOND);
    assert_int_equal(heard.rc, SKEP_EPEER_REMOTE);
    assert_string_equal(heard.text, "KeyError('x')");
    assert_int_equal(call("nothing", SKEP_SIM_SECOND).rc, SKEP_EPEER_UNSUPPORTED);
    end();
}

static void the_dead_time_out_or_refuse_and_partitions_are_silent(void **state)
{
    struct heard heard;

    (void)state;
    begin(&plain);
    assert_int_equal(skep_rpc_serve(b, "echo", echo, NULL), 0);
    skep_sim_net_set_state(net, 1, SKEP_SIM_SILENT);
    heard = call("echo", 2 * SKEP_SIM_SECOND);
    assert_int_equal(heard.rc, SKEP_ETIMEDOUT);
    assert_int_equal(heard.at_us, 2 * SKEP_SIM_SECOND);
    skep_sim_net_set_state(net, 1, SKEP_SIM_REFUSING);
    assert_int_equal(call("echo", SKEP_SIM_SECOND).rc, SKEP_EREFUSED);
    skep_sim_net_set_state(net, 1, SKEP_SIM_ALIVE);
    assert_int_equal(call("echo", SKEP_SIM_SECOND).rc, 0);
    skep_sim_net_set_group(net, 1, 1);
    assert_int_equal(call("echo", SKEP_SIM_SECOND).rc, SKEP_ETIMEDOUT);
    skep_sim_net_set_group(net, 1, 0);
    assert_int_equal(call("echo", SKEP_SIM_SECOND).rc, 0);
    end();
}

static void only_those_connected_reach_a_node_behind_a_firewall(void **state)
{
    struct skep_rpc *c;

    (void)state;
    begin(&plain);
    assert_int_equal(skep_rpc_serve(b, "echo", echo, NULL), 0);
    skep_sim_net_set_reachable(net, 1, false);
    assert_int_equal(call("echo", SKEP_SIM_SECOND).rc, SKEP_EUNREACH);
    skep_sim_net_set_reachable(net, 1, true);
    assert_int_equal(call("echo", SKEP_SIM_SECOND).rc, 0);
    skep_sim_net_set_reachable(net, 1, false);
    assert_int_equal(call("echo", SKEP_SIM_SECOND).rc, 0);
    assert_int_equal(skep_sim_net_add(net, &c), 0);
    a = c;
    assert_int_equal(call("echo", SKEP_SIM_SECOND).rc, SKEP_EUNREACH);
    end();
}

static void a_share_of_messages_is_lost(void **state)
{
    struct skep_sim_faults faults = plain;
    int lost = 0;

    (void)state;
    faults.loss_ppm = 100000;
    begin(&faults);
    assert_int_equal(skep_rpc_serve(b, "echo", echo, NULL), 0);
    for (int i = 0; i < 500; i++)
        lost += call("echo", SKEP_SIM_SECOND).rc == SKEP_ETIMEDOUT;
    assert_in_range(lost, 60, 130); /* 19 % of 500: request or answer */
    end();
}

static void a_cancelled_call_tells_its_handler_and_no_one_else(void **state)
{
    struct heard heard = {.call = {.done = on_reply}};

    (void)state;
    begin(&plain);
    cancels = 0;
    assert_int_equal(skep_rpc_serve(b, "hold", hold, NULL), 0);
    assert_int_equal(
        skep_rpc_call_start(a, &heard.call, &b->self, "hold", (skep_bytes){0}, SKEP_NEVER_US), 0);
    skep_sim_clock_run_for(&clock, SKEP_SIM_SECOND);
    skep_rpc_call_cancel(a, &heard.call);
    skep_rpc_call_cancel(a, &heard.call);
    skep_sim_clock_run_for(&clock, SKEP_SIM_SECOND);
    assert_int_equal(cancels, 1);
    skep_rpc_reply(held, (skep_bytes){0});
    skep_sim_clock_run_for(&clock, SKEP_SIM_SECOND);
    assert_int_equal(heard.times, 0);
    /* What a handler still holds when its method goes is failed for it. */
    assert_int_equal(
        skep_rpc_call_start(a, &heard.call, &b->self, "hold", (skep_bytes){0}, SKEP_NEVER_US), 0);
    skep_sim_clock_run_for(&clock, SKEP_SIM_SECOND);
    skep_rpc_unserve(b, "hold");
    skep_sim_clock_run_for(&clock, SKEP_SIM_SECOND);
    assert_int_equal(heard.rc, SKEP_EPEER_REMOTE);
    assert_string_equal(heard.text, "CancelledError()");
    end();
}

static int dial(const char *maddr)
{
    struct heard heard = {.dial = {.done = on_dialled}};
    int rc = skep_rpc_dial_start(a, &heard.dial, maddr, SKEP_SIM_SECOND);

    if (rc < 0)
        return rc;
    skep_sim_clock_run_for(&clock, 2 * SKEP_SIM_SECOND);
    assert_int_equal(heard.times, 1);
    return heard.rc;
}

static void dialling_ends_as_it_would_on_the_wire(void **state)
{
    struct heard heard = {.dial = {.done = on_dialled}};
    char maddr[SKEP_SIM_MADDR_MAX];
    struct skep_rpc *twin;

    (void)state;
    begin(&plain);
    assert_int_equal(dial(skep_sim_net_maddr(maddr, 1)), 0);
    assert_int_equal(dial(skep_sim_net_maddr(maddr, 0)), SKEP_ESELF);
    assert_int_equal(dial(skep_sim_net_maddr(maddr, 5)), SKEP_EREFUSED);
    assert_int_equal(dial("rubbish"), SKEP_EMULTIADDR);
    skep_sim_net_set_state(net, 1, SKEP_SIM_SILENT);
    assert_int_equal(dial(skep_sim_net_maddr(maddr, 1)), SKEP_ETIMEDOUT);
    assert_int_equal(skep_sim_net_add_twin(net, &twin, 0), 0);
    assert_int_equal(dial(skep_sim_net_maddr(maddr, 2)), SKEP_ESELF);
    assert_int_equal(
        skep_rpc_dial_start(a, &heard.dial, skep_sim_net_maddr(maddr, 1), SKEP_SIM_SECOND), 0);
    skep_rpc_dial_cancel(a, &heard.dial);
    skep_sim_clock_run_for(&clock, 2 * SKEP_SIM_SECOND);
    assert_int_equal(heard.times, 0);
    end();
}

static void what_is_too_large_for_the_wire_is_too_large_here(void **state)
{
    static uint8_t large[SKEP_UNARY_MESSAGE_MAX + 1];
    struct heard heard = {.call = {.done = on_reply}};

    (void)state;
    begin(&plain);
    assert_int_equal(skep_rpc_call_start(a, &heard.call, &b->self, "echo",
                                         skep_bytes_of(large, sizeof large), 1000),
                     SKEP_ESIZE);
    assert_int_equal(skep_rpc_call_start(a, &heard.call, &a->self, "echo", (skep_bytes){0}, 1000),
                     SKEP_ESELF);
    end();
}

struct job {
    struct skep_work work;
    int jobs, dones;
};

static void on_job(struct skep_work *work)
{
    SKEP_CONTAINER_OF(work, struct job, work)->jobs++;
}

static void on_job_done(struct skep_work *work)
{
    struct job *job = SKEP_CONTAINER_OF(work, struct job, work);

    if (++job->dones == 1)
        assert_int_equal(clock.env.work(&clock.env, work), 0);
}

static void work_ends_on_a_later_turn(void **state)
{
    struct job job = {.work = {.job = on_job, .done = on_job_done}};

    (void)state;
    begin(&plain);
    assert_int_equal(clock.env.work(&clock.env, &job.work), 0);
    assert_int_equal(job.dones, 0);
    skep_sim_clock_run_for(&clock, 1000);
    assert_int_equal(job.jobs, 2);
    assert_int_equal(job.dones, 2);
    end();
}

struct alarm {
    struct skep_timer timer;
    int number;
};

static int rang[4];
static size_t rang_count;

static void on_alarm(struct skep_timer *timer)
{
    rang[rang_count++] = SKEP_CONTAINER_OF(timer, struct alarm, timer)->number;
}

static void a_second_environment_shares_all_but_the_wall_clock(void **state)
{
    struct alarm alarms[3] = {
        {{.fire = on_alarm}, 0}, {{.fire = on_alarm}, 1}, {{.fire = on_alarm}, 2}};
    struct job job = {.work = {.job = on_job, .done = on_job_done}, .dones = 1};
    struct skep_sim_env ahead, behind;
    uint64_t first, second;

    (void)state;
    begin(&plain);
    rang_count = 0;
    skep_sim_clock_env(&clock, &ahead, 90);
    skep_sim_clock_env(&clock, &behind, -2.5);
    assert_int_equal(skep_env_after(&behind.env, &alarms[2].timer, 1000), 0);
    assert_int_equal(skep_env_after(&ahead.env, &alarms[0].timer, 1000), 0);
    assert_int_equal(skep_env_after(&clock.env, &alarms[1].timer, 1000), 0);
    assert_int_equal(ahead.env.work(&ahead.env, &job.work), 0);
    skep_sim_clock_run_for(&clock, 1000);
    assert_int_equal(rang_count, 3);
    assert_int_equal(rang[0], 2); /* in the order they were started, whoever did */
    assert_int_equal(rang[1], 0);
    assert_int_equal(rang[2], 1);
    assert_int_equal(job.dones, 2);
    assert_int_equal(skep_env_now_us(&ahead.env), clock.now_us);
    assert_true(skep_env_unix_s(&ahead.env) == skep_env_unix_s(&clock.env) + 90);
    assert_true(skep_env_unix_s(&behind.env) == skep_env_unix_s(&clock.env) - 2.5);
    first = skep_env_random(&ahead.env);
    second = skep_env_random(&clock.env);
    skep_prng_init(&clock.prng, 1);
    assert_true(first == skep_env_random(&clock.env)); /* one source */
    assert_true(second == skep_env_random(&behind.env));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_call_pays_the_handshake_and_the_next_a_round_trip),
        cmocka_unit_test(errors_and_missing_methods_come_back),
        cmocka_unit_test(the_dead_time_out_or_refuse_and_partitions_are_silent),
        cmocka_unit_test(only_those_connected_reach_a_node_behind_a_firewall),
        cmocka_unit_test(a_share_of_messages_is_lost),
        cmocka_unit_test(a_cancelled_call_tells_its_handler_and_no_one_else),
        cmocka_unit_test(dialling_ends_as_it_would_on_the_wire),
        cmocka_unit_test(what_is_too_large_for_the_wire_is_too_large_here),
        cmocka_unit_test(work_ends_on_a_later_turn),
        cmocka_unit_test(a_second_environment_shares_all_but_the_wall_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
