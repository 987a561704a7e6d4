/* SPDX-License-Identifier: MIT */
/* skep's half of the experts' benchmark, through the public API alone: servers are processes of their own, the client drives its loop itself.
 * run_experts.py starts it. Prints one line of JSON; times are seconds, the least, the median and the most of so many calls.
 *
 *   bench_experts run [PART …]                        all of it, or: memcpy nop ffn callers start streams mixture_nop mixture_ffn
 *   bench_experts serve CLASS MEMORY_MIB UID,… MADDR…  (what `run` starts) a server with one thread; one line of JSON for each line on its stdin
 *   bench_experts caller UID ROUNDS PEER MADDR        (what `run` starts) one of 64 clients */
#include <skep/dht.h>
#include <skep/mixture.h>
#include <skep/p2p.h>
#include <skep/server.h>

#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    HIDDEN = 1024,
    ROWS_MAX = 2048,
    SAMPLES_MAX = 4096,
    CALLERS = 64,
    STREAMS = 64,
    SERVERS = 4,
    SIDE = 8, /* of the mixture's grid: 64 experts */
    UID_MAX = 32,
    TEXT_MAX = 4096,
    MEMORY_MIB = 512,
    STREAMS_MEMORY_MIB = 128
};

extern char **environ;

static char *program;

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *what, int rc, const char *text)
{
    fprintf(stderr, "bench_experts: %s: %s (%s)\n", what, skep_strerror(rc), text);
    exit(1);
}

static void check(const char *what, int rc)
{
    if (rc < 0)
        die(what, rc, skep_last_error_text());
}

/* Wait; a failed call is not a fast one. */
static skep_op *ended(const char *what, skep_op *op)
{
    int rc = skep_op_wait(op);

    if (rc < 0)
        die(what, rc, skep_op_text(op));
    return op;
}

static skep_node *join(char **maddrs, size_t count, bool client)
{
    static const char *listen[] = {"/ip4/127.0.0.1/tcp/0"};
    skep_node_options options;
    skep_node *node;
    skep_op *op;

    skep_node_options_init(&options);
    options.initial_peers = (const char *const *)maddrs;
    options.initial_peer_count = count;
    options.client_mode = client;
    options.caller_driven = client;
    options.connections_per_address_max = 4 * CALLERS; /* all of them come from 127.0.0.1 */
    if (!client) {
        options.listen = listen;
        options.listen_count = 1;
    }
    check("node", skep_node_new(&node, &options));
    check("join", skep_dht_join(&op, node, NULL, NULL));
    skep_op_free(ended("join", op));
    return node;
}

/* ---- samples ---- */

struct samples {
    double s[SAMPLES_MAX];
    size_t count;
};

static struct samples samples;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void add(double value)
{
    if (samples.count < SAMPLES_MAX)
        samples.s[samples.count++] = value;
}

/* Prints them, and forgets them. @return the median. */
__attribute__((format(printf, 1, 2))) static double print_samples(const char *name, ...)
{
    double median;
    va_list args;

    qsort(samples.s, samples.count, sizeof samples.s[0], by_value);
    median = samples.s[samples.count / 2];
    printf("\"");
    va_start(args, name);
    vprintf(name, args);
    va_end(args);
    printf("\": {\"min\": %.9f, \"median\": %.9f, \"max\": %.9f, \"count\": %zu}, ", samples.s[0],
           median, samples.s[samples.count - 1], samples.count);
    samples.count = 0;
    return median;
}

/* ---- a server process ---- */

static long status_kib(const char *name)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long kib = 0;

    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, name, strlen(name)) == 0)
            kib = strtol(line + strlen(name), NULL, 10);
    }
    if (file)
        fclose(file);
    return kib;
}

static size_t split(char *text, const char **parts, size_t cap)
{
    size_t count = 0;

    for (char *part = strtok(text, ","); part && count < cap; part = strtok(NULL, ","))
        parts[count++] = part;
    return count;
}

static void print_server(skep_server *server)
{
    skep_server_counters counters = {.struct_size = sizeof counters};

    check("counters", skep_server_counters_get(server, &counters));
    printf("compute_us %llu memory_most %zu peak_kib %ld now_kib %ld\n",
           (unsigned long long)counters.compute_us, counters.memory_bytes_most,
           status_kib("VmHWM:"), status_kib("VmRSS:"));
    fflush(stdout);
}

static int run_serve(char **argv, int argc)
{
    const char *uids[SIDE * SIDE];
    skep_node *node = join(argv + 5, (size_t)argc - 5, false);
    char text[SKEP_PEER_TEXT_LEN], line[16], **addresses = skep_p2p_addresses(node, NULL);
    skep_server_options options;
    skep_server *server;
    skep_peer peer;
    skep_op *op;

    skep_server_options_init(&options);
    options.class_name = argv[2];
    options.memory_bytes = strtoull(argv[3], NULL, 10) << 20;
    options.uids = uids;
    options.uid_count = split(argv[4], uids, SIDE * SIDE);
    options.hidden = HIDDEN;
    options.max_batch_size = 16384;
    options.threads = 1;
    check("server", skep_server_start(&op, &server, node, &options, NULL, NULL));
    skep_op_free(ended("server", op));
    skep_node_peer(node, &peer);
    printf("%s %s\n", skep_peer_to_text(text, &peer), addresses ? addresses[0] : "");
    fflush(stdout);
    skep_free(addresses);
    while (fgets(line, sizeof line, stdin))
        print_server(server);
    skep_server_free(server);
    return skep_node_free(node);
}

/* ---- children ---- */

struct child {
    pid_t pid;
    FILE *in, *out; /* its stdin and stdout */
};

static void spawn(struct child *child, char **argv)
{
    posix_spawn_file_actions_t actions;
    int in[2], out[2];

    /* A child that held another's stdin open would keep it from ending. */
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        die("pipe", SKEP_ESYSTEM, "");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    argv[0] = program;
    if (posix_spawn(&child->pid, program, &actions, NULL, argv, environ) != 0)
        die("spawn", SKEP_ESYSTEM, program);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    child->in = fdopen(in[1], "w");
    child->out = fdopen(out[0], "r");
}

static char *child_line(struct child *child, char *line)
{
    if (!fgets(line, TEXT_MAX, child->out))
        die("a child ended", SKEP_EIO, "");
    line[strcspn(line, "\n")] = '\0';
    return line;
}

static void end_child(struct child *child)
{
    int status;

    fclose(child->in);
    fclose(child->out);
    waitpid(child->pid, &status, 0);
}

struct served {
    struct child child;
    skep_peer peer;
    char maddr[512];
};

static void served_start(struct served *served, char *kind, char *uids, unsigned mib, char *maddr)
{
    char mib_text[16];
    char *argv[] = {NULL, (char[]){"serve"}, kind, mib_text, uids, maddr, NULL};

    snprintf(mib_text, sizeof mib_text, "%u", mib);
    spawn(&served->child, argv);
}

static void served_wait(struct served *served)
{
    char line[TEXT_MAX], *space;

    space = strchr(child_line(&served->child, line), ' ');
    if (!space)
        die(line, SKEP_EIO, "");
    *space = '\0';
    check("peer", skep_peer_from_text(&served->peer, line));
    snprintf(served->maddr, sizeof served->maddr, "%s", space + 1);
}

struct counters {
    unsigned long long compute_us;
    size_t memory_most;
    long peak_kib, now_kib;
};

static struct counters served_counters(struct served *served)
{
    struct counters counters;
    char line[TEXT_MAX];

    fprintf(served->child.in, "\n");
    fflush(served->child.in);
    if (sscanf(child_line(&served->child, line),
               "compute_us %llu memory_most %zu peak_kib %ld now_kib %ld", &counters.compute_us,
               &counters.memory_most, &counters.peak_kib, &counters.now_kib) != 4)
        die(line, SKEP_EIO, "");
    return counters;
}

/* ---- one expert ---- */

static float *numbers(size_t count)
{
    float *out = malloc(count * sizeof *out);
    uint32_t state = 1;

    if (!out)
        die("memory", SKEP_ENOMEM, "");
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        out[i] = (float)(state >> 8) / 0x1p23f - 1.0f; /* uniform in [-1, 1) */
    }
    return out;
}

static skep_tensor rows_of(const float *data, size_t rows)
{
    return (skep_tensor){.dtype = SKEP_FLOAT32, .axes = 2, .shape = {rows, HIDDEN}, .data = data};
}

static void forward(skep_node *node, const skep_expert *expert, const float *x, size_t rows)
{
    skep_tensor input = rows_of(x, rows);
    skep_op *op;

    check("forward", skep_expert_forward(&op, node, expert, &input, 1, NULL, NULL, NULL));
    skep_op_free(ended("forward", op));
}

static void backward(skep_node *node, const skep_expert *expert, const float *x, size_t rows)
{
    skep_tensor input = rows_of(x, rows), grad = rows_of(x, rows);
    skep_op *op;

    check("backward",
          skep_expert_backward(&op, node, expert, &input, 1, &grad, 1, NULL, NULL, NULL));
    skep_op_free(ended("backward", op));
}

/* @return how many calls to make: about a second and a half, at least 5. */
static size_t calls_for(double seconds)
{
    double count = 1.5 / (seconds > 1e-6 ? seconds : 1e-6);

    return count < 5 ? 5 : count > SAMPLES_MAX ? SAMPLES_MAX : (size_t)count;
}

static void measure(struct served *served, skep_node *node, const skep_expert *expert,
                    const char *name, const float *x, size_t rows,
                    void (*call)(skep_node *, const skep_expert *, const float *, size_t))
{
    struct counters before;
    double started;
    size_t count;

    call(node, expert, x, rows);
    started = now_s();
    call(node, expert, x, rows);
    count = calls_for(now_s() - started);
    before = served_counters(served);
    for (size_t i = 0; i < count; i++) {
        started = now_s();
        call(node, expert, x, rows);
        add(now_s() - started);
    }
    print_samples("%s_%zu", name, rows);
    printf("\"%s_%zu_compute\": %.9f, ", name, rows,
           (double)(served_counters(served).compute_us - before.compute_us) / 1e6 / (double)count);
}

static void measure_class(char *kind)
{
    static const size_t batches[] = {1, 64, ROWS_MAX};
    float *x = numbers((size_t)ROWS_MAX * HIDDEN);
    char uid[UID_MAX], name[UID_MAX], *maddrs[1];
    struct served served;
    skep_expert expert;
    skep_node *node;

    snprintf(uid, sizeof uid, "%s.0", kind);
    served_start(&served, kind, uid, MEMORY_MIB, NULL);
    served_wait(&served);
    maddrs[0] = served.maddr;
    node = join(maddrs, 1, true);
    expert = (skep_expert){.uid = uid, .peer = served.peer};
    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        snprintf(name, sizeof name, "%s_forward", kind);
        measure(&served, node, &expert, name, x, batches[i], forward);
        if (strcmp(kind, "nop") == 0)
            continue;
        snprintf(name, sizeof name, "%s_backward", kind);
        measure(&served, node, &expert, name, x, batches[i], backward);
    }
    check("free", skep_node_free(node));
    end_child(&served.child);
    free(x);
}

static void measure_memcpy(void)
{
    enum { LEN = ROWS_MAX * HIDDEN * 4 };
    char *from = malloc(LEN), *to = malloc(LEN);

    if (!from || !to)
        die("memory", SKEP_ENOMEM, "");
    memset(from, 1, LEN);
    for (int i = 0; i < 50; i++) {
        double started = now_s();

        memcpy(to, from, LEN);
        from[i] = to[LEN - 1 - i];
        add(now_s() - started);
    }
    print_samples("memcpy_%d", ROWS_MAX);
    free(from);
    free(to);
}

/* ---- 64 clients ---- */

static int run_caller(char **argv)
{
    float *x = numbers(HIDDEN);
    skep_expert expert = {.uid = argv[2]};
    skep_node *node = join(argv + 5, 1, true);
    long rounds = strtol(argv[3], NULL, 10);

    check("peer", skep_peer_from_text(&expert.peer, argv[4]));
    forward(node, &expert, x, 1);
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {
        for (long i = 0; i < rounds; i++)
            forward(node, &expert, x, 1);
        puts("done");
        fflush(stdout);
    }
    free(x);
    return skep_node_free(node);
}

static void measure_nodes(struct served *served, const char *kind, char *uid, int rounds)
{
    char peer[SKEP_PEER_TEXT_LEN], rounds_text[16], line[TEXT_MAX];
    static struct child callers[CALLERS];

    snprintf(rounds_text, sizeof rounds_text, "%d", rounds);
    skep_peer_to_text(peer, &served->peer);
    for (int i = 0; i < CALLERS; i++) {
        char *argv[] = {NULL, (char[]){"caller"}, uid, rounds_text, peer, served->maddr, NULL};

        spawn(&callers[i], argv);
    }
    for (int i = 0; i < CALLERS; i++)
        child_line(&callers[i], line);
    for (int run = 0; run < 3; run++) {
        double started = now_s();

        for (int i = 0; i < CALLERS; i++) {
            fputc('g', callers[i].in);
            fflush(callers[i].in);
        }
        for (int i = 0; i < CALLERS; i++)
            child_line(&callers[i], line);
        add((double)CALLERS * rounds / (now_s() - started));
    }
    print_samples("%s_nodes_per_s", kind);
    for (int i = 0; i < CALLERS; i++)
        end_child(&callers[i]);
}

/* One client with 64 calls in flight. */
static void measure_in_flight(struct served *served, const char *kind, const char *uid, int rounds)
{
    char *maddrs[] = {served->maddr};
    skep_node *node = join(maddrs, 1, true);
    skep_expert expert = {.uid = uid, .peer = served->peer};
    float *x = numbers(HIDDEN);
    skep_tensor input = rows_of(x, 1);
    skep_op *ops[CALLERS];

    forward(node, &expert, x, 1);
    for (int run = 0; run < 3; run++) {
        double started = now_s();

        for (int i = 0; i < CALLERS * rounds; i++) {
            skep_op **op = &ops[i % CALLERS];

            if (i >= CALLERS)
                skep_op_free(ended("forward", *op));
            check("forward", skep_expert_forward(op, node, &expert, &input, 1, NULL, NULL, NULL));
        }
        for (int i = 0; i < CALLERS; i++)
            skep_op_free(ended("forward", ops[i]));
        add((double)CALLERS * rounds / (now_s() - started));
    }
    print_samples("%s_callers_per_s", kind);
    check("free", skep_node_free(node));
    free(x);
}

static void measure_callers(char *kind, int rounds)
{
    struct served served;
    char uid[UID_MAX];

    snprintf(uid, sizeof uid, "%s.0", kind);
    served_start(&served, kind, uid, MEMORY_MIB, NULL);
    served_wait(&served);
    measure_in_flight(&served, kind, uid, rounds);
    measure_nodes(&served, kind, uid, rounds);
    end_child(&served.child);
}

/* ---- from the start of the process to the first answer ---- */

static void measure_start(void)
{
    float *x = numbers(HIDDEN);

    for (int i = 0; i < 10; i++) {
        skep_expert expert = {.uid = "ffn.0"};
        double started = now_s();
        struct served served;
        char *maddrs[1];
        skep_node *node;

        served_start(&served, "ffn", "ffn.0", MEMORY_MIB, NULL);
        served_wait(&served);
        maddrs[0] = served.maddr;
        node = join(maddrs, 1, true);
        expert.peer = served.peer;
        forward(node, &expert, x, 1);
        add(now_s() - started);
        check("free", skep_node_free(node));
        end_child(&served.child);
    }
    print_samples("start");
    free(x);
}

/* ---- 64 streams of 8 MiB, and a budget of 128 MiB ---- */

static void measure_streams(void)
{
    float *x = numbers((size_t)ROWS_MAX * HIDDEN);
    skep_tensor input = rows_of(x, ROWS_MAX);
    skep_expert expert = {.uid = "nop.0"};
    struct counters idle, after;
    skep_op *ops[STREAMS];
    struct served served;
    char *maddrs[1];
    skep_node *node;
    double started;

    served_start(&served, "nop", "nop.0", STREAMS_MEMORY_MIB, NULL);
    served_wait(&served);
    maddrs[0] = served.maddr;
    node = join(maddrs, 1, true);
    expert.peer = served.peer;
    forward(node, &expert, x, 1);
    idle = served_counters(&served);
    started = now_s();
    for (int i = 0; i < STREAMS; i++)
        check("forward", skep_expert_forward(&ops[i], node, &expert, &input, 1, NULL, NULL, NULL));
    for (int i = 0; i < STREAMS; i++)
        skep_op_free(ended("forward", ops[i]));
    after = served_counters(&served);
    printf(
        "\"streams\": {\"seconds\": %.6f, \"budget\": %u, \"memory_most\": %zu, \"idle_rss\": %ld, "
        "\"peak_rss\": %ld}, ",
        now_s() - started, STREAMS_MEMORY_MIB << 20, after.memory_most, idle.now_kib << 10,
        after.peak_kib << 10);
    check("free", skep_node_free(node));
    end_child(&served.child);
    free(x);
}

/* ---- a mixture ---- */

static void uids_of_server(char *out, size_t out_len, const char *kind, int server)
{
    size_t len = 0;

    for (int i = server; i < SIDE * SIDE; i += SERVERS)
        len += (size_t)snprintf(out + len, out_len - len, "%s%s.%d.%d", len > 0 ? "," : "", kind,
                                i / SIDE, i % SIDE);
}

/* A forward, and if asked for the backward of it: what is timed is the last of them. */
static void mix(skep_mixture *mixture, const float *x, size_t rows, bool with_backward)
{
    skep_tensor input = rows_of(x, rows);
    skep_op *op, *backward_op;
    double started = now_s();

    check("mixture", skep_mixture_forward(&op, mixture, &input, 1, NULL, NULL));
    ended("mixture", op);
    if (skep_mixture_get_report(op)->failed > 0)
        die("mixture: calls failed", SKEP_EPEER_REMOTE, skep_op_text(op));
    if (with_backward) {
        started = now_s();
        check("mixture", skep_mixture_backward(&backward_op, op, &input, 1, 0, NULL, NULL));
        skep_op_free(ended("mixture", backward_op));
    }
    add(now_s() - started);
    skep_op_free(op);
}

static void measure_mixture(char *kind)
{
    enum { BATCH = 256, RUNS = 7 };
    static const size_t grid[] = {SIDE, SIDE};
    static struct served servers[SERVERS];
    float *x = numbers((size_t)BATCH * HIDDEN);
    char uids[TEXT_MAX], prefix[UID_MAX], *maddrs[1];
    skep_mixture_options options;
    skep_mixture *mixture;
    skep_node *node;

    for (int i = 0; i < SERVERS; i++) {
        uids_of_server(uids, sizeof uids, kind, i);
        served_start(&servers[i], kind, uids, MEMORY_MIB, i > 0 ? servers[0].maddr : NULL);
        served_wait(&servers[i]);
    }
    maddrs[0] = servers[0].maddr;
    node = join(maddrs, 1, true);
    snprintf(prefix, sizeof prefix, "%s.", kind);
    skep_mixture_options_init(&options, SKEP_MIXTURE_SOFTMAX);
    options.prefix = prefix;
    options.grid_size = grid;
    options.dimensions = 2;
    options.in_features = HIDDEN;
    options.k_best = 4;
    options.failover = false;
    options.seed = 1;
    check("mixture", skep_mixture_new(&mixture, node, &options));
    mix(mixture, x, BATCH, false);
    samples.count = 0;
    for (int i = 0; i < RUNS; i++)
        mix(mixture, x, BATCH, false);
    print_samples("mixture_%s", kind);
    for (int i = 0; i < 3; i++)
        mix(mixture, x, BATCH, true);
    print_samples("mixture_%s_backward", kind);
    skep_mixture_free(mixture);
    check("free", skep_node_free(node));
    for (int i = SERVERS; i-- > 0;)
        end_child(&servers[i].child);
    free(x);
}

static bool wanted(char **argv, int argc, const char *part)
{
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], part) == 0)
            return true;
    }
    return argc == 2;
}

static int run_all(char **argv, int argc)
{
    printf("{");
    if (wanted(argv, argc, "memcpy"))
        measure_memcpy();
    if (wanted(argv, argc, "nop"))
        measure_class("nop");
    if (wanted(argv, argc, "ffn"))
        measure_class("ffn");
    if (wanted(argv, argc, "callers")) {
        measure_callers("nop", 100);
        measure_callers("ffn", 20);
    }
    if (wanted(argv, argc, "start"))
        measure_start();
    if (wanted(argv, argc, "streams"))
        measure_streams();
    if (wanted(argv, argc, "mixture_nop"))
        measure_mixture("nop");
    if (wanted(argv, argc, "mixture_ffn"))
        measure_mixture("ffn");
    printf("\"ended\": true}\n");
    return 0;
}

int main(int argc, char **argv)
{
    program = argv[0];
    if (argc >= 2 && strcmp(argv[1], "run") == 0)
        return run_all(argv, argc);
    if (argc >= 5 && strcmp(argv[1], "serve") == 0)
        return run_serve(argv, argc) < 0;
    if (argc >= 6 && strcmp(argv[1], "caller") == 0)
        return run_caller(argv) < 0;
    fprintf(stderr, "usage: bench_experts run [PART …]\n");
    return 2;
}
