/* SPDX-License-Identifier: MIT */
/* Two hosts on one real loop over loopback TCP: what the simulated links cannot show. */
#include "host/host.h"
#include "support/test.h"
#include "transport/uv_loop.h"

enum { SECOND_US = 1000000 };

struct pair {
    struct skep_uv_loop *loop;
    struct skep_identity identity[2];
    struct skep_host *host[2];
    struct skep_multiaddr addr;
    struct skep_stream *stream;
    size_t echoed;
    bool closed;
    int done, rc;
};

static void echo_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    (void)user;
    assert_int_equal(skep_stream_write(stream, data), 0);
    skep_stream_consume(stream, data.len);
}

static void echo_eof(struct skep_stream *stream, void *user)
{
    (void)user;
    skep_stream_close_write(stream);
}

static void echo_close(struct skep_stream *stream, void *user, int rc)
{
    (void)stream;
    (void)user;
    (void)rc;
}

static const struct skep_stream_events echo_events = {
    .on_data = echo_data, .on_eof = echo_eof, .on_close = echo_close};

static void on_stream(void *user, struct skep_stream *stream)
{
    (void)user;
    skep_stream_use(stream, &echo_events, NULL);
}

static void on_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    struct pair *pair = user;

    for (size_t i = 0; i < data.len; i++)
        assert_int_equal(data.data[i], (uint8_t)((pair->echoed + i) * 7 >> 3));
    pair->echoed += data.len;
    skep_stream_consume(stream, data.len);
}

static void on_close(struct skep_stream *stream, void *user, int rc)
{
    struct pair *pair = user;

    (void)stream;
    pair->closed = true;
    pair->rc = rc;
}

static const struct skep_stream_events user_events = {.on_data = on_data, .on_close = on_close};

/** A request and whom to tell. */
struct told {
    struct skep_host_request request;
    struct pair *pair;
};

static void on_done(struct skep_host_request *request, int rc)
{
    struct pair *pair = SKEP_CONTAINER_OF(request, struct told, request)->pair;

    pair->done++;
    pair->rc = rc;
}

static void pair_init(struct pair *pair, const char *listen)
{
    memset(pair, 0, sizeof *pair);
    assert_int_equal(skep_uv_loop_new(&pair->loop, &skep_mem_std), 0);
    for (int i = 0; i < 2; i++) {
        struct skep_host_options options = {.identity = &pair->identity[i], .kad_server = true};
        uint8_t seed[32] = {(uint8_t)(i + 1)};

        assert_int_equal(skep_identity_from_seed(&pair->identity[i], &skep_mem_std, seed), 0);
        assert_int_equal(skep_host_new(&pair->host[i], skep_uv_loop_env(pair->loop),
                                       skep_uv_loop_tcp(pair->loop), &options),
                         0);
    }
    assert_int_equal(skep_host_serve(pair->host[1], "/echo", on_stream, NULL), 0);
    assert_int_equal(skep_multiaddr_parse(&pair->addr, listen), 0);
    assert_int_equal(skep_host_listen(pair->host[1], &pair->addr), 0);
    assert_true(skep_host_addresses(pair->host[1], &pair->addr, 1) >= 1);
    assert_true(pair->addr.port != 0);
}

static void pair_fini(struct pair *pair)
{
    for (int i = 0; i < 2; i++) {
        skep_host_free(pair->host[i]);
        skep_identity_fini(&pair->identity[i]);
    }
    skep_uv_loop_free(pair->loop);
}

static void run_until(struct pair *pair, const bool *flag, const int *count)
{
    uint64_t end_us = skep_env_now_us(skep_uv_loop_env(pair->loop)) + 20 * (uint64_t)SECOND_US;

    while (!(flag && *flag) && !(count && *count > 0)) {
        assert_int_equal(skep_uv_loop_turn(pair->loop, SECOND_US), 0);
        assert_true(skep_env_now_us(skep_uv_loop_env(pair->loop)) < end_us);
    }
}

static void megabytes_there_and_back(const char *listen)
{
    enum { LEN = 8 << 20 };
    uint8_t *data = malloc(LEN);
    struct pair pair;

    for (size_t i = 0; i < LEN; i++)
        data[i] = (uint8_t)(i * 7 >> 3);
    pair_init(&pair, listen);
    skep_host_add_address(pair.host[0], &pair.identity[1].id, &pair.addr);
    assert_int_equal(skep_host_open(pair.host[0], &pair.stream, &pair.identity[1].id, "/echo",
                                    &user_events, &pair),
                     0);
    assert_int_equal(skep_stream_write(pair.stream, skep_bytes_of(data, LEN)), 0);
    skep_stream_close_write(pair.stream);
    run_until(&pair, &pair.closed, NULL);
    assert_int_equal(pair.rc, 0);
    assert_int_equal(pair.echoed, LEN);
    pair_fini(&pair);
    free(data);
}

static void eight_megabytes_go_there_and_back_over_ip4(void **state)
{
    (void)state;
    megabytes_there_and_back("/ip4/127.0.0.1/tcp/0");
}

static void eight_megabytes_go_there_and_back_over_ip6(void **state)
{
    (void)state;
    megabytes_there_and_back("/ip6/::1/tcp/0");
}

static void a_ping_takes_microseconds_and_a_name_can_be_dialled(void **state)
{
    struct pair pair;
    struct told told = {.request.done = on_done};
    struct skep_multiaddr by_name = {.kind = SKEP_ADDR_DNS4, .name = "localhost"};

    (void)state;
    pair_init(&pair, "/ip4/127.0.0.1/tcp/0");
    told.pair = &pair;
    by_name.port = pair.addr.port;
    assert_int_equal(skep_host_connect(pair.host[0], &told.request, NULL, &by_name, 0), 0);
    run_until(&pair, NULL, &pair.done);
    assert_int_equal(pair.rc, 0);
    assert_true(skep_peer_id_equal(&told.request.peer, &pair.identity[1].id));
    pair.done = 0;
    assert_int_equal(skep_host_ping(pair.host[0], &told.request, &pair.identity[1].id, 0), 0);
    run_until(&pair, NULL, &pair.done);
    assert_int_equal(pair.rc, 0);
    assert_in_range(told.request.rtt_us, 1, SECOND_US);
    pair_fini(&pair);
}

static void freeing_hosts_while_they_dial_leaves_nothing(void **state)
{
    (void)state;
    for (int turns = 0; turns < 12; turns++) {
        struct pair pair;

        pair_init(&pair, "/ip4/127.0.0.1/tcp/0");
        skep_host_add_address(pair.host[0], &pair.identity[1].id, &pair.addr);
        assert_int_equal(skep_host_open(pair.host[0], &pair.stream, &pair.identity[1].id, "/echo",
                                        &user_events, &pair),
                         0);
        for (int i = 0; i < turns; i++)
            skep_uv_loop_turn(pair.loop, 1000);
        pair_fini(&pair);
        assert_true(pair.closed);
        assert_int_equal(pair.rc, SKEP_ECANCELED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_megabytes_go_there_and_back_over_ip4),
        cmocka_unit_test(eight_megabytes_go_there_and_back_over_ip6),
        cmocka_unit_test(a_ping_takes_microseconds_and_a_name_can_be_dialled),
        cmocka_unit_test(freeing_hosts_while_they_dial_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
