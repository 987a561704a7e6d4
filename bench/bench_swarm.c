/* SPDX-License-Identifier: MIT */
/* skep's half of the benchmark, through the public API alone; run.py starts it and gives it the same experts and scores as
 * hivemind's half. Prints one line of JSON; times are seconds.
 *
 *   bench_swarm declare FOLDER MADDR   a full peer: declares FOLDER/experts.txt, serves "Bench.empty", stays until stdin ends
 *   bench_swarm search FOLDER MADDR…   a client: searches FOLDER/scores.f32 (float32 [count][3][256]) and batch.f32; gets, stores
 *   bench_swarm start MADDR            process start to first answered call, 20 times
 *   bench_swarm started MADDR          (what `start` runs)
 * With BENCH_THREAD=1 the node has a thread of its own; else the loop is driven here. */
#include <skep/dht.h>
#include <skep/moe.h>
#include <skep/p2p.h>

#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DIMS = 3, SIZE = 256, BEAM = 4, SAMPLES_MAX = 4096, URLS_MAX = 16 };

extern char **environ;

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Of all threads of this process, user and system. */
static double cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *what, int rc)
{
    fprintf(stderr, "bench_swarm: %s: %s (%s)\n", what, skep_strerror(rc), skep_last_error_text());
    exit(1);
}

static void check(const char *what, int rc)
{
    if (rc < 0)
        die(what, rc);
}

/* Wait, free, and let its failure end the benchmark: a failed call is not a fast one. */
static void finish(const char *what, skep_op *op)
{
    check(what, skep_op_wait(op));
    skep_op_free(op);
}

static skep_node *join(char **maddrs, size_t count, bool client)
{
    skep_node_options options;
    static const char *listen[] = {"/ip4/127.0.0.1/tcp/0"};
    skep_node *node;
    skep_op *op;

    skep_node_options_init(&options);
    options.initial_peers = (const char *const *)maddrs;
    options.initial_peer_count = count;
    options.client_mode = client;
    options.caller_driven = client && !getenv("BENCH_THREAD");
    if (!client) {
        options.listen = listen;
        options.listen_count = 1;
    }
    check("node", skep_node_new(&node, &options));
    check("join", skep_dht_join(&op, node, NULL, NULL));
    finish("join", op);
    return node;
}

/* ---- samples ---- */

struct samples {
    double s[SAMPLES_MAX];
    size_t count;
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_samples(const char *name, struct samples *samples)
{
    qsort(samples->s, samples->count, sizeof samples->s[0], by_value);
    printf("\"%s\": {\"median\": %.9f, \"p95\": %.9f, \"count\": %zu}, ", name,
           samples->s[samples->count / 2], samples->s[samples->count * 95 / 100], samples->count);
    samples->count = 0;
}

static void add(struct samples *samples, double since)
{
    samples->s[samples->count++] = now_s() - since;
}

/* ---- the work ---- */

static float *read_floats(const char *folder, const char *name, size_t *examples)
{
    char path[4096];
    FILE *file;
    long len = 0;
    float *data;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) < 0 || (len = ftell(file)) < 0)
        die(path, SKEP_EIO);
    rewind(file);
    data = malloc((size_t)len);
    if (!data || fread(data, 1, (size_t)len, file) != (size_t)len)
        die(path, SKEP_EIO);
    fclose(file);
    *examples = (size_t)len / (sizeof(float) * DIMS * SIZE);
    return data;
}

static void find(skep_node *node, const float *scores, size_t batch, skep_find_cost *cost,
                 size_t *found)
{
    static const size_t grid[DIMS] = {SIZE, SIZE, SIZE},
                        stride[DIMS] = {DIMS * SIZE, DIMS * SIZE, DIMS * SIZE};
    const void *rows[DIMS] = {scores, scores + SIZE, scores + 2 * SIZE};
    skep_find_options options;
    const skep_found *result;
    size_t count;
    skep_op *op;

    skep_find_options_init(&options);
    options.prefix = "expert.";
    options.grid_size = grid;
    options.dimensions = DIMS;
    options.scores = rows;
    options.row_stride = stride;
    options.batch_size = batch;
    options.beam_size = BEAM;
    check("find", skep_moe_find(&op, node, &options, NULL, NULL));
    check("find", skep_op_wait(op));
    result = skep_moe_find_result(op, &count, cost);
    for (size_t i = 0; result && i < count; i++)
        *found += result[i].count;
    skep_op_free(op);
}

static void get(skep_node *node, const char *key)
{
    skep_key id = skep_key_text(key);
    skep_op *op;

    check("get", skep_dht_get(&op, node, &id, 1, NULL, NULL, NULL));
    finish("get", op);
}

static void store(skep_node *node, const char *key)
{
    skep_record record = {.key = skep_key_text(key),
                          .value = {"\x07", 1},
                          .expiration_unix_s = skep_dht_time() + 3600};
    skep_op *op;

    check("store", skep_dht_store(&op, node, &record, 1, NULL, NULL, NULL));
    finish("store", op);
}

static void searches(skep_node *node, const char *folder)
{
    static struct samples samples;
    skep_find_cost cost = {0};
    uint64_t rounds = 0, calls = 0, keys = 0;
    size_t examples, found = 0, batch_examples;
    float *scores = read_floats(folder, "scores.f32", &examples);
    float *batch = read_floats(folder, "batch.f32", &batch_examples);
    double started, cpu = 0, wall = 0, cpu_started;

    find(node, scores, 1, &cost, &found);
    for (size_t i = 0; i < examples; i++) {
        skep_dht_clear_cache(node);
        cpu_started = cpu_s();
        started = now_s();
        find(node, scores + i * DIMS * SIZE, 1, &cost, &found);
        add(&samples, started);
        wall += now_s() - started;
        cpu += cpu_s() - cpu_started;
        rounds += cost.rounds;
        calls += cost.calls;
        keys += cost.keys;
    }
    printf(
        "\"cpu_share\": %.4f, \"found\": %zu, \"rounds\": %.2f, \"calls\": %.2f, \"keys\": %.2f, ",
        cpu / wall, found, (double)rounds / (double)examples, (double)calls / (double)examples,
        (double)keys / (double)examples);
    print_samples("search_cold", &samples);
    skep_dht_clear_cache(node);
    for (size_t i = 0; i < examples; i++) {
        started = now_s();
        find(node, scores + i * DIMS * SIZE, 1, &cost, &found);
        add(&samples, started);
    }
    print_samples("search_warming", &samples);
    for (size_t i = 0; i < 1000; i++) {
        started = now_s();
        find(node, scores, 1, &cost, &found);
        add(&samples, started);
    }
    print_samples("search_again", &samples);
    for (size_t size = 4; size <= 4096; size *= size < 256 ? 64 : 16) {
        char name[32];

        for (int run = 0; run < 5; run++) {
            skep_dht_clear_cache(node);
            started = now_s();
            find(node, batch, size, &cost, &found);
            samples.s[samples.count++] = (now_s() - started) / (double)size;
        }
        snprintf(name, sizeof name, "batch_%zu_per_example", size);
        print_samples(name, &samples);
    }
    free(scores);
    free(batch);
}

static void records(skep_node *node)
{
    static struct samples samples;
    char key[64];
    double started;

    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "stored %d", i);
        started = now_s();
        store(node, key);
        add(&samples, started);
    }
    print_samples("store", &samples);
    skep_dht_clear_cache(node);
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "stored %d", i);
        started = now_s();
        get(node, key);
        add(&samples, started);
    }
    print_samples("get_remote", &samples);
    for (int i = 0; i < 1000; i++) {
        started = now_s();
        get(node, "stored 0");
        add(&samples, started);
    }
    print_samples("get_held", &samples);
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "missing %d", i);
        started = now_s();
        get(node, key);
        add(&samples, started);
    }
    print_samples("get_missing", &samples);
}

/* An empty unary call to the declaring peer: what every other figure is made of. */
static void floor_of_calls(skep_node *node, const char *peer_text)
{
    static struct samples samples;
    skep_peer peer;
    double started;

    check("BENCH_PEER", skep_peer_from_text(&peer, peer_text));
    for (int i = 0; i < 2000; i++) {
        skep_op *op;

        started = now_s();
        check("call", skep_p2p_call(&op, node, &peer, "Bench.empty", (skep_view){"", 0},
                                    SKEP_FOREVER, NULL, NULL));
        finish("call", op);
        if (i >= 100)
            add(&samples, started);
    }
    print_samples("floor", &samples);
}

static int run_search(char **argv, int argc)
{
    skep_node *node = join(argv + 3, (size_t)argc - 3, true);

    printf("{");
    if (getenv("BENCH_PEER"))
        floor_of_calls(node, getenv("BENCH_PEER"));
    searches(node, argv[2]);
    records(node);
    printf("\"thread\": %s}\n", getenv("BENCH_THREAD") ? "true" : "false");
    return skep_node_free(node);
}

/* ---- declaring ---- */

static void answer_empty(void *user_data, skep_request *request)
{
    (void)user_data;
    skep_request_reply(request, (skep_view){"", 0});
}

static size_t read_uids(const char *folder, const char *name, char ***uids)
{
    char path[4096], line[256];
    size_t count = 0, cap = 0;
    FILE *file;

    snprintf(path, sizeof path, "%s/experts.txt", folder);
    file = fopen(path, "r");
    if (!file)
        die(path, SKEP_EIO);
    *uids = NULL;
    while (fgets(line, sizeof line, file)) {
        char uid[512];

        line[strcspn(line, "\n")] = '\0';
        snprintf(uid, sizeof uid, "%s%s", name, strchr(line, '.'));
        if (count == cap)
            *uids = realloc(*uids, (cap = cap ? 2 * cap : 1024) * sizeof **uids);
        (*uids)[count++] = strdup(uid);
    }
    fclose(file);
    return count;
}

static double declare(skep_node *node, const char *folder, const char *name)
{
    skep_declare_options options = {.struct_size = sizeof options, .ttl_s = 3600};
    const skep_declared *declared;
    char **uids;
    size_t count = read_uids(folder, name, &uids);
    double started = now_s(), seconds;
    skep_op *op;

    check("declare",
          skep_moe_declare(&op, node, (const char *const *)uids, count, &options, NULL, NULL));
    check("declare", skep_op_wait(op));
    seconds = now_s() - started;
    declared = skep_moe_declare_result(op);
    if (!declared || declared->accepted != declared->keys)
        die("declare: not every key was accepted", SKEP_EPEER_PROTO);
    fprintf(stderr, "declared %zu keys, %.2f replicas each, %u calls, %u rounds\n", declared->keys,
            (double)declared->replicas / (double)declared->keys, declared->calls, declared->rounds);
    skep_op_free(op);
    for (size_t i = 0; i < count; i++)
        free(uids[i]);
    free(uids);
    return (double)count / seconds;
}

static int run_declare(char **argv, int argc)
{
    skep_node *node = join(argv + 3, (size_t)argc - 3, false);
    char text[SKEP_PEER_TEXT_LEN], **addresses = skep_p2p_addresses(node, NULL);
    skep_peer peer;

    check("serve", skep_p2p_serve(node, "Bench.empty", answer_empty, NULL));
    sleep(1); /* the others' tables have us by then */
    skep_node_peer(node, &peer);
    printf("{\"declare_per_s\": %.1f, ", declare(node, argv[2], "rate"));
    declare(node, argv[2], "expert");
    printf("\"peer\": \"%s\", \"maddr\": \"%s\"}\n", skep_peer_to_text(text, &peer),
           addresses ? addresses[0] : "");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    skep_free(addresses);
    return skep_node_free(node);
}

/* ---- process start ---- */

static int run_started(char **argv)
{
    skep_node_options options;
    skep_node *node;
    skep_op *op;
    skep_peer peer;

    skep_node_options_init(&options);
    options.caller_driven = true;
    options.client_mode = true;
    check("node", skep_node_new(&node, &options));
    check("connect", skep_p2p_connect(&op, node, argv[2], 0, NULL, NULL));
    check("connect", skep_op_wait(op));
    peer = *skep_p2p_connect_result(op);
    skep_op_free(op);
    check("call", skep_p2p_call(&op, node, &peer, "DHTProtocol.rpc_ping", (skep_view){"", 0},
                                SKEP_FOREVER, NULL, NULL));
    finish("call", op);
    printf("%.9f\n", now_s());
    fflush(stdout);
    return skep_node_free(node);
}

static int run_start(char **argv)
{
    static struct samples samples;

    for (int i = 0; i < 20; i++) {
        char *child_argv[] = {argv[0], (char[]){"started"}, argv[2], NULL}, line[64] = "";
        posix_spawn_file_actions_t actions;
        int fds[2], status;
        double started;
        pid_t pid;

        if (pipe(fds) < 0)
            die("pipe", SKEP_ESYSTEM);
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
        posix_spawn_file_actions_addclose(&actions, fds[0]);
        started = now_s();
        if (posix_spawn(&pid, argv[0], &actions, NULL, child_argv, environ) != 0)
            die("spawn", SKEP_ESYSTEM);
        close(fds[1]);
        if (read(fds[0], line, sizeof line - 1) <= 0)
            die("started", SKEP_EIO);
        close(fds[0]);
        waitpid(pid, &status, 0);
        posix_spawn_file_actions_destroy(&actions);
        samples.s[samples.count++] = strtod(line, NULL) - started;
    }
    printf("{");
    print_samples("start", &samples);
    printf("\"runs\": 20}\n");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 4 && strcmp(argv[1], "search") == 0)
        return run_search(argv, argc) < 0;
    if (argc >= 4 && strcmp(argv[1], "declare") == 0)
        return run_declare(argv, argc) < 0;
    if (argc >= 3 && strcmp(argv[1], "start") == 0)
        return run_start(argv) < 0;
    if (argc >= 3 && strcmp(argv[1], "started") == 0)
        return run_started(argv) < 0;
    fprintf(stderr, "usage: bench_swarm declare|search FOLDER MADDR… | start MADDR\n");
    return 2;
}
