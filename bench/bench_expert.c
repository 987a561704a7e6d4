/* SPDX-License-Identifier: MIT */
/* Round trips of one expert between two processes over loopback, through all layers, the client's loop driven by its caller. The server is an echo by hand that gives
 * back each message as it comes: the arithmetic, and the forming of batches, of a real one are left out. hidden 1024, float32.
 *
 *   bench_expert [seconds for each batch size [the only batch size]] */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <skep/expert.h>
#include <skep/p2p.h>

#include "moe/expert_info.h"
#include "moe/expert_message.h"

enum { HIDDEN = 1024, ROUNDS_MAX = 100000, ADDRESS_MAX = 256 };

static void die(const char *what, int rc, const char *text)
{
    fprintf(stderr, "bench_expert: %s: %s %s\n", what, skep_strerror(rc), text);
    exit(1);
}

static void check(const char *what, int rc)
{
    if (rc < 0)
        die(what, rc, skep_last_error_text());
}

static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static skep_node *node_new(bool listens)
{
    static const char *const listen = "/ip4/127.0.0.1/tcp/0";
    skep_node_options options;
    skep_node *node;

    skep_node_options_init(&options);
    options.no_dht = options.caller_driven = true;
    options.listen = &listen;
    options.listen_count = listens;
    check("node", skep_node_new(&node, &options));
    return node;
}

/* ---- the server ---- */

/* A request without its uid is an answer with the same tensors. */
static skep_view without_uid(skep_view request)
{
    const uint8_t *bytes = request.data;
    size_t skip = 2 + (size_t)bytes[1];

    return (skep_view){bytes + skip, request.len - skip};
}

static void on_info(void *user_data, skep_request *request)
{
    struct skep_buf *info = user_data;

    check("info", skep_request_reply(request, (skep_view){info->data, info->len}));
}

static void on_forward(void *user_data, skep_request *request)
{
    (void)user_data;
    check("reply", skep_request_reply(request, without_uid(skep_request_data(request))));
}

static void on_part(void *user_data, skep_call_stream *stream, skep_view message)
{
    (void)user_data;
    check("send", skep_call_stream_send(stream, without_uid(message)));
}

static void on_end(void *user_data, skep_call_stream *stream)
{
    (void)user_data;
    skep_call_stream_end(stream);
}

static void on_close(void *user_data, skep_call_stream *stream, int rc, const char *text)
{
    (void)user_data;
    (void)rc;
    (void)text;
    skep_call_stream_free(stream);
}

static void on_stream(void *user_data, skep_call_stream *stream)
{
    static const skep_call_stream_events events = {
        .on_message = on_part, .on_end = on_end, .on_close = on_close};

    skep_call_stream_use(stream, &events, user_data);
}

static void make_info(struct skep_buf *message)
{
    const skep_tensor_schema schema = {.dtype = SKEP_FLOAT32, .axes = 1, .shape = {HIDDEN}};
    struct skep_buf info;

    skep_buf_init(&info, &skep_mem_std);
    skep_buf_init(message, &skep_mem_std);
    check("info", skep_expert_info_write(&info, &schema, 1, &schema, 1));
    skep_expert_info_message_write(message, skep_buf_view(&info));
    skep_buf_fini(&info);
}

static void serve(int address_fd)
{
    skep_node *node = node_new(true);
    char address[ADDRESS_MAX] = "";
    struct skep_buf info;
    char **addresses;

    make_info(&info);
    check("serve", skep_p2p_serve(node, "ConnectionHandler.rpc_info", on_info, &info));
    check("serve", skep_p2p_serve(node, "ConnectionHandler.rpc_forward", on_forward, NULL));
    check("serve",
          skep_p2p_serve_stream(node, "ConnectionHandler.rpc_forward_stream", on_stream, NULL));
    addresses = skep_p2p_addresses(node, NULL);
    snprintf(address, sizeof address, "%s", addresses ? addresses[0] : "");
    skep_free(addresses);
    if (write(address_fd, address, sizeof address) < 0)
        exit(1);
    close(address_fd);
    for (;;)
        skep_node_run(node, 1000000); /* until it is killed */
}

/* ---- the client ---- */

static void run_once(skep_node *node, const skep_expert *expert, const skep_tensor *input)
{
    skep_op *op;
    size_t count;
    int rc;

    check("forward", skep_expert_forward(&op, node, expert, input, 1, NULL, NULL, NULL));
    if ((rc = skep_node_run_until(node, op)) < 0)
        die("forward", rc, skep_op_text(op));
    if (skep_tensor_bytes(skep_expert_result(op, &count)) != skep_tensor_bytes(input))
        die("forward", SKEP_EVALUE, "");
    skep_op_free(op);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void bench(skep_node *node, const skep_expert *expert, size_t rows, double seconds)
{
    float *numbers = calloc(rows, HIDDEN * sizeof *numbers);
    const skep_tensor input = {
        .dtype = SKEP_FLOAT32, .axes = 2, .shape = {rows, HIDDEN}, .data = numbers};
    uint64_t *times_us = calloc(ROUNDS_MAX, sizeof *times_us), start_us, end_us, median_us;
    size_t rounds = 0;

    if (!numbers || !times_us)
        die("batch", SKEP_ENOMEM, "");
    for (size_t i = 0; i < 20; i++)
        run_once(node, expert, &input);
    start_us = now_us();
    end_us = start_us + (uint64_t)(seconds * 1e6);
    while (rounds < ROUNDS_MAX && (rounds < 3 || now_us() < end_us)) {
        uint64_t before_us = now_us();

        run_once(node, expert, &input);
        times_us[rounds++] = now_us() - before_us;
    }
    qsort(times_us, rounds, sizeof *times_us, by_size);
    median_us = times_us[rounds / 2];
    printf("batch %4zu: median %8llu us, least %8llu, %7.1f MiB/s each way (%zu rounds)\n", rows,
           (unsigned long long)median_us, (unsigned long long)times_us[0],
           (double)skep_tensor_bytes(&input) / 0x1p20 / ((double)SKEP_MAX(median_us, 1) / 1e6),
           rounds);
    free(numbers);
    free(times_us);
}

static void client(const char *address, double seconds, size_t only)
{
    static const size_t batches[] = {1, 64, 2048};
    skep_node *node = node_new(false);
    skep_expert expert = {.uid = "nop.0"};
    skep_op *op;

    check("connect", skep_p2p_connect(&op, node, address, 0, NULL, NULL));
    check("connect", skep_node_run_until(node, op));
    expert.peer = *skep_p2p_connect_result(op);
    skep_op_free(op);
    for (size_t i = 0; i < SKEP_COUNT_OF(batches); i++)
        if (only == 0)
            bench(node, &expert, batches[i], seconds);
    if (only > 0)
        bench(node, &expert, only, seconds);
    skep_node_free(node);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 2;
    char address[ADDRESS_MAX] = "";
    int fds[2];
    pid_t pid;

    if (pipe(fds) != 0 || (pid = fork()) < 0) {
        perror("bench_expert");
        return 1;
    }
    if (pid == 0) {
        close(fds[0]);
        serve(fds[1]);
    }
    close(fds[1]);
    if (read(fds[0], address, sizeof address) <= 0)
        return 1;
    client(address, seconds, argc > 2 ? strtoul(argv[2], NULL, 10) : 0);
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    return 0;
}
