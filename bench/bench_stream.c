/* SPDX-License-Identifier: MIT */
/* One stream between two processes over loopback, through all layers (TCP, Noise, yamux, multistream): an echo's throughput, the
 * round trip of libp2p ping, and of streams opened one after another with a small request and reply each.
 *
 *   bench_stream [MiB [block KiB]] */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/host.h"
#include "transport/uv_loop.h"

enum { PINGS = 2000, CALLS = 20000, IN_FLIGHT_MAX = 4 << 20, TURN_US = 1000000 };

static const char echo_protocol[] = "/skep/bench/echo";

struct side {
    struct skep_uv_loop *loop;
    struct skep_env *env;
    struct skep_identity identity;
    struct skep_host *host;
};

static void die(const char *what, int rc)
{
    fprintf(stderr, "bench_stream: %s: %s\n", what, skep_strerror(rc));
    exit(1);
}

static void check(const char *what, int rc)
{
    if (rc < 0)
        die(what, rc);
}

static void side_init(struct side *side)
{
    struct skep_host_options options = {.identity = &side->identity};
    uint8_t seed[SKEP_ED25519_LEN];

    check("loop", skep_uv_loop_new(&side->loop, &skep_mem_std));
    side->env = skep_uv_loop_env(side->loop);
    check("entropy", side->env->entropy(side->env, seed, sizeof seed));
    check("identity", skep_identity_from_seed(&side->identity, &skep_mem_std, seed));
    check("host", skep_host_new(&side->host, side->env, skep_uv_loop_tcp(side->loop), &options));
}

static void side_fini(struct side *side)
{
    skep_host_free(side->host);
    skep_identity_fini(&side->identity);
    skep_uv_loop_free(side->loop);
}

/* ---- the echo ---- */

static void echo_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    (void)user;
    check("echo", skep_stream_write(stream, data));
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

static void on_echo(void *user, struct skep_stream *stream)
{
    (void)user;
    skep_stream_use(stream, &echo_events, NULL);
}

static void serve(int address_fd)
{
    struct skep_multiaddr addr;
    char text[SKEP_MULTIADDR_TEXT_MAX] = {0};
    struct side side;

    side_init(&side);
    check("serve", skep_host_serve(side.host, echo_protocol, on_echo, NULL));
    check("parse", skep_multiaddr_parse(&addr, "/ip4/127.0.0.1/tcp/0"));
    check("listen", skep_host_listen(side.host, &addr));
    skep_host_addresses(side.host, &addr, 1);
    skep_multiaddr_text(text, &addr);
    if (write(address_fd, text, sizeof text) < 0)
        exit(1);
    close(address_fd);
    while (getppid() != 1) {
        struct skep_host_stats stats;

        skep_uv_loop_turn(side.loop, TURN_US);
        skep_host_stats(side.host, &stats);
        if (stats.accepted > 0 && stats.connections == 0)
            break;
    }
    side_fini(&side);
    exit(0);
}

/* ---- the client ---- */

struct run {
    struct side *side;
    struct skep_stream *stream;
    uint8_t *block;
    size_t block_len;
    uint64_t to_send, sent, received, want;
    bool ended;
};

static void send_more(struct run *run)
{
    while (run->sent < run->to_send && skep_stream_queued(run->stream) < SKEP_STREAM_HIGH_WATER) {
        size_t len = (size_t)SKEP_MIN(run->block_len, run->to_send - run->sent);

        check("write", skep_stream_write(run->stream, skep_bytes_of(run->block, len)));
        run->sent += len;
    }
}

static void on_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    struct run *run = user;

    run->received += data.len;
    skep_stream_consume(stream, data.len);
}

static void on_writable(struct skep_stream *stream, void *user)
{
    (void)stream;
    send_more(user);
}

static void on_close(struct skep_stream *stream, void *user, int rc)
{
    struct run *run = user;

    (void)stream;
    check("stream", rc);
    run->ended = true;
}

static const struct skep_stream_events run_events = {
    .on_data = on_data, .on_writable = on_writable, .on_close = on_close};

static void on_done(struct skep_host_request *request, int rc)
{
    (void)request;
    check("request", rc);
}

static void wait_for(struct side *side, struct skep_host_request *request)
{
    while (request->state)
        skep_uv_loop_turn(side->loop, TURN_US);
}

static double seconds_since(struct side *side, uint64_t start_us)
{
    return (double)(skep_env_now_us(side->env) - start_us) / 1e6;
}

static void bench_echo(struct side *side, const struct skep_peer_id *peer, uint64_t len,
                       size_t block_len)
{
    struct run run = {
        .side = side, .block = calloc(1, block_len), .block_len = block_len, .to_send = len};
    uint64_t start_us = skep_env_now_us(side->env);
    double seconds;

    check("open", skep_host_open(side->host, &run.stream, peer, echo_protocol, &run_events, &run));
    send_more(&run);
    while (run.received < len)
        skep_uv_loop_turn(side->loop, TURN_US);
    seconds = seconds_since(side, start_us);
    printf("echo: %.0f MiB in %.3f s: %.1f MiB/s each way\n", (double)len / 0x1p20, seconds,
           (double)len / 0x1p20 / seconds);
    skep_stream_reset(run.stream);
    free(run.block);
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void bench_ping(struct side *side, const struct skep_peer_id *peer)
{
    static uint64_t rtts[PINGS];

    for (int i = 0; i < PINGS; i++) {
        struct skep_host_request request = {.done = on_done};

        check("ping", skep_host_ping(side->host, &request, peer, 0));
        wait_for(side, &request);
        rtts[i] = request.rtt_us;
    }
    qsort(rtts, PINGS, sizeof rtts[0], compare_u64);
    printf("ping (a stream each): median %llu us, 99%% %llu us, least %llu us\n",
           (unsigned long long)rtts[PINGS / 2], (unsigned long long)rtts[PINGS * 99 / 100],
           (unsigned long long)rtts[0]);
}

static void bench_round_trips(struct side *side, const struct skep_peer_id *peer)
{
    uint8_t block[32] = {0};
    struct run run = {.side = side, .block = block, .block_len = sizeof block};
    uint64_t start_us;

    check("open", skep_host_open(side->host, &run.stream, peer, echo_protocol, &run_events, &run));
    start_us = skep_env_now_us(side->env);
    for (uint64_t i = 1; i <= CALLS; i++) {
        check("write", skep_stream_write(run.stream, skep_bytes_of(block, sizeof block)));
        while (run.received < i * sizeof block)
            skep_uv_loop_turn(side->loop, TURN_US);
    }
    printf("32 bytes there and back on one stream: %.1f us\n",
           seconds_since(side, start_us) * 1e6 / CALLS);
    skep_stream_reset(run.stream);
}

static void bench_calls(struct side *side, const struct skep_peer_id *peer)
{
    uint8_t block[64] = {0};
    uint64_t start_us = skep_env_now_us(side->env);

    for (int i = 0; i < CALLS; i++) {
        struct run run = {.side = side};

        check("open",
              skep_host_open(side->host, &run.stream, peer, echo_protocol, &run_events, &run));
        check("write", skep_stream_write(run.stream, skep_bytes_of(block, sizeof block)));
        skep_stream_close_write(run.stream);
        while (run.received < sizeof block)
            skep_uv_loop_turn(side->loop, TURN_US);
        if (!run.ended)
            skep_stream_release(run.stream);
    }
    printf("a stream, 64 bytes there and back, close: %.1f us\n",
           seconds_since(side, start_us) * 1e6 / CALLS);
}

static void client(const char *address, uint64_t len, size_t block_len)
{
    struct skep_host_request request = {.done = on_done};
    struct skep_multiaddr addr;
    struct rusage usage;
    struct side side;

    side_init(&side);
    check("parse", skep_multiaddr_parse(&addr, address));
    check("connect", skep_host_connect(side.host, &request, NULL, &addr, 0));
    wait_for(&side, &request);
    check("identify", skep_host_identify(side.host, &request, &addr.peer, 0));
    wait_for(&side, &request);
    bench_ping(&side, &addr.peer);
    bench_round_trips(&side, &addr.peer);
    bench_calls(&side, &addr.peer);
    bench_echo(&side, &addr.peer, len, block_len);
    getrusage(RUSAGE_SELF, &usage);
    printf("client: %ld KiB resident at most, cpu %.2f s user, %.2f s system\n", usage.ru_maxrss,
           (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6,
           (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec * 1e-6);
    side_fini(&side);
}

int main(int argc, char **argv)
{
    uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 1024;
    size_t block_kib = argc > 2 ? strtoull(argv[2], NULL, 10) : 256;
    char address[SKEP_MULTIADDR_TEXT_MAX];
    int fds[2], status;
    pid_t child;

    if (pipe(fds) != 0)
        return 1;
    child = fork();
    if (child == 0) {
        close(fds[0]);
        serve(fds[1]);
    }
    close(fds[1]);
    if (read(fds[0], address, sizeof address) <= 0)
        return 1;
    client(address, mib << 20, block_kib << 10);
    waitpid(child, &status, 0);
    return 0;
}
