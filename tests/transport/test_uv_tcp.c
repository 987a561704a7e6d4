/* SPDX-License-Identifier: MIT */
/* Byte links over real loopback sockets. */
#include "support/test.h"
#include "transport/uv_loop.h"

enum { TURN_US = 10000, TURNS_MAX = 1500 };

struct end {
    struct skep_link *link;
    struct skep_buf got;
    uint8_t room[1 << 16];
    int connected, drained, closed, rc;
};

static void on_connected(struct skep_link *link, void *user)
{
    (void)link;
    ((struct end *)user)->connected++;
}

static uint8_t *on_room(struct skep_link *link, void *user, size_t *len)
{
    struct end *end = user;

    (void)link;
    *len = sizeof end->room;
    return end->room;
}

static void on_data(struct skep_link *link, void *user, size_t len)
{
    struct end *end = user;

    (void)link;
    skep_buf_put(&end->got, end->room, len);
}

static void on_drained(struct skep_link *link, void *user)
{
    (void)link;
    ((struct end *)user)->drained++;
}

static void on_closed(struct skep_link *link, void *user, int rc)
{
    struct end *end = user;

    assert_ptr_equal(link, end->link);
    end->closed++;
    end->rc = rc;
    end->link = NULL;
}

static const struct skep_link_events events = {on_connected, on_room, on_data, on_drained,
                                               on_closed};

struct net {
    struct skep_uv_loop *loop;
    struct skep_transport *tcp;
    struct skep_listener *listener;
    struct skep_multiaddr at;
    struct end dialer, accepted;
    bool refuse;
};

static void on_accept(void *user, struct skep_link *link)
{
    struct net *net = user;

    if (net->refuse) {
        skep_link_close(link);
        return;
    }
    assert_null(net->accepted.link);
    net->accepted.link = link;
    skep_link_use(link, &events, &net->accepted);
}

static void net_init(struct net *net, const char *listen)
{
    memset(net, 0, sizeof *net);
    skep_buf_init(&net->dialer.got, &skep_mem_std);
    skep_buf_init(&net->accepted.got, &skep_mem_std);
    assert_int_equal(skep_uv_loop_new(&net->loop, &skep_mem_std), 0);
    net->tcp = skep_uv_loop_tcp(net->loop);
    assert_int_equal(skep_multiaddr_parse(&net->at, listen), 0);
    assert_int_equal(skep_transport_listen(net->tcp, &net->listener, &net->at, on_accept, net), 0);
    net->at = net->listener->bound[0];
}

static void net_fini(struct net *net)
{
    if (net->dialer.link)
        skep_link_close(net->dialer.link);
    if (net->accepted.link)
        skep_link_close(net->accepted.link);
    if (net->listener)
        skep_listener_close(net->listener);
    skep_uv_loop_free(net->loop);
    skep_buf_fini(&net->dialer.got);
    skep_buf_fini(&net->accepted.got);
}

static void dial(struct net *net, const struct skep_multiaddr *to)
{
    assert_int_equal(skep_transport_dial(net->tcp, &net->dialer.link, to), 0);
    skep_link_use(net->dialer.link, &events, &net->dialer);
    assert_int_equal(net->dialer.connected + net->dialer.closed, 0);
}

static void turn_until(struct net *net, const int *count)
{
    for (int i = 0; i < TURNS_MAX && *count == 0; i++)
        skep_uv_loop_turn(net->loop, TURN_US);
    assert_true(*count > 0);
}

static void exchange(const char *listen)
{
    struct net net;
    size_t len = 3 << 20, sent = 0;
    uint8_t *data = malloc(len);

    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 31 >> 4);
    net_init(&net, listen);
    dial(&net, &net.at);
    turn_until(&net, &net.dialer.connected);
    assert_true(skep_multiaddr_same(&net.dialer.link->remote, &net.at));
    while (sent < len) {
        size_t part = SKEP_MIN(len - sent, (size_t)1 << 20);
        int rc = skep_link_write(net.dialer.link, skep_bytes_of(data + sent, part));

        assert_true(rc >= 0);
        sent += part;
        net.dialer.drained = 0;
        if (rc == 0)
            turn_until(&net, &net.dialer.drained);
    }
    for (int i = 0; i < TURNS_MAX && net.accepted.got.len < len; i++)
        skep_uv_loop_turn(net.loop, TURN_US);
    assert_int_equal(net.accepted.got.len, len);
    assert_memory_equal(net.accepted.got.data, data, len);
    assert_true(skep_multiaddr_same(&net.accepted.link->remote, &net.dialer.link->local));
    skep_link_close(net.dialer.link);
    net.dialer.link = NULL;
    turn_until(&net, &net.accepted.closed);
    assert_int_equal(net.accepted.rc, 0);
    assert_int_equal(net.dialer.closed, 0);
    net_fini(&net);
    free(data);
}

static void megabytes_pass_over_ip4_and_the_end_is_told(void **state)
{
    (void)state;
    exchange("/ip4/127.0.0.1/tcp/0");
}

static void megabytes_pass_over_ip6_and_the_end_is_told(void **state)
{
    (void)state;
    exchange("/ip6/::1/tcp/0");
}

static void a_refused_dial_is_told_after_the_call(void **state)
{
    struct net net;

    (void)state;
    net_init(&net, "/ip4/127.0.0.1/tcp/0");
    skep_listener_close(net.listener);
    net.listener = NULL;
    skep_uv_loop_turn(net.loop, 0);
    dial(&net, &net.at);
    turn_until(&net, &net.dialer.closed);
    assert_int_equal(net.dialer.rc, SKEP_EREFUSED);
    net_fini(&net);
}

static void a_name_is_resolved_and_each_address_tried(void **state)
{
    struct net net;
    struct skep_multiaddr name = {.kind = SKEP_ADDR_DNS, .name = "localhost"};

    (void)state;
    net_init(&net, "/ip4/127.0.0.1/tcp/0");
    name.port = net.at.port;
    dial(&net, &name);
    turn_until(&net, &net.dialer.connected);
    assert_true(skep_multiaddr_same(&net.dialer.link->remote, &net.at));
    net_fini(&net);
}

static void a_name_that_is_none_cannot_be_resolved(void **state)
{
    struct net net;
    struct skep_multiaddr name = {
        .kind = SKEP_ADDR_DNS4, .name = "no-such-host.invalid", .port = 1};

    (void)state;
    net_init(&net, "/ip4/127.0.0.1/tcp/0");
    dial(&net, &name);
    turn_until(&net, &net.dialer.closed);
    assert_int_equal(net.dialer.rc, SKEP_ERESOLVE);
    net_fini(&net);
}

static void closing_during_the_resolution_tells_nothing(void **state)
{
    struct net net;
    struct skep_multiaddr name = {.kind = SKEP_ADDR_DNS, .name = "localhost", .port = 1};

    (void)state;
    net_init(&net, "/ip4/127.0.0.1/tcp/0");
    dial(&net, &name);
    skep_link_close(net.dialer.link);
    net.dialer.link = NULL;
    for (int i = 0; i < 20; i++)
        skep_uv_loop_turn(net.loop, 1000);
    assert_int_equal(net.dialer.closed, 0);
    net_fini(&net);
}

static void a_taken_address_and_a_name_cannot_be_listened_on(void **state)
{
    struct net net;
    struct skep_listener *second;
    struct skep_multiaddr name = {.kind = SKEP_ADDR_DNS, .name = "localhost"};

    (void)state;
    net_init(&net, "/ip4/127.0.0.1/tcp/0");
    assert_int_equal(skep_transport_listen(net.tcp, &second, &net.at, on_accept, &net),
                     SKEP_EADDRINUSE);
    assert_null(second);
    assert_int_equal(skep_transport_listen(net.tcp, &second, &name, on_accept, &net), SKEP_EINVAL);
    net_fini(&net);
}

static void any_address_is_told_as_those_of_the_interfaces(void **state)
{
    struct net net;
    bool has_loopback = false;

    (void)state;
    net_init(&net, "/ip4/0.0.0.0/tcp/0");
    assert_true(net.listener->bound_count >= 1);
    for (size_t i = 0; i < net.listener->bound_count; i++) {
        has_loopback |= net.listener->bound[i].ip[0] == 127;
        assert_int_equal(net.listener->bound[i].port, net.at.port);
        assert_true(net.listener->bound[i].ip[0] != 0 && net.at.port != 0);
    }
    assert_true(has_loopback);
    net_fini(&net);
}

static void a_link_that_does_not_read_holds_the_writer_back(void **state)
{
    struct net net;
    static uint8_t block[1 << 20];
    int rc = 1;

    (void)state;
    net_init(&net, "/ip4/127.0.0.1/tcp/0");
    dial(&net, &net.at);
    turn_until(&net, &net.dialer.connected);
    for (int i = 0; i < TURNS_MAX && !net.accepted.link; i++)
        skep_uv_loop_turn(net.loop, TURN_US);
    skep_link_set_reading(net.accepted.link, false);
    for (int i = 0; i < 64 && rc == 1; i++)
        rc = skep_link_write(net.dialer.link, skep_bytes_of(block, sizeof block));
    assert_int_equal(rc, 0);
    for (int i = 0; i < 20; i++)
        skep_uv_loop_turn(net.loop, 1000);
    assert_int_equal(net.dialer.drained, 0);
    assert_int_equal(net.accepted.got.len, 0);
    skep_link_set_reading(net.accepted.link, true);
    turn_until(&net, &net.dialer.drained);
    net_fini(&net);
}

static void a_link_may_be_closed_while_it_is_accepted(void **state)
{
    struct net net;

    (void)state;
    net_init(&net, "/ip4/127.0.0.1/tcp/0");
    net.refuse = true;
    dial(&net, &net.at);
    turn_until(&net, &net.dialer.closed);
    net_fini(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(megabytes_pass_over_ip4_and_the_end_is_told),
        cmocka_unit_test(megabytes_pass_over_ip6_and_the_end_is_told),
        cmocka_unit_test(a_refused_dial_is_told_after_the_call),
        cmocka_unit_test(a_name_is_resolved_and_each_address_tried),
        cmocka_unit_test(a_name_that_is_none_cannot_be_resolved),
        cmocka_unit_test(closing_during_the_resolution_tells_nothing),
        cmocka_unit_test(a_taken_address_and_a_name_cannot_be_listened_on),
        cmocka_unit_test(any_address_is_told_as_those_of_the_interfaces),
        cmocka_unit_test(a_link_that_does_not_read_holds_the_writer_back),
        cmocka_unit_test(a_link_may_be_closed_while_it_is_accepted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
