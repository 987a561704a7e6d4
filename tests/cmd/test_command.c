/* SPDX-License-Identifier: MIT */
/* The `skep` command from outside, against a swarm of its own on loopback: every subcommand, the shapes of its JSON, its exit codes,
 * and what bad input gets. The command to run is the first argument. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "support/test.h"

enum {
    ARGS_MAX = 32,
    OUTPUT_MAX = 65536,
    START_TIMEOUT_MS = 30000,
    END_TIMEOUT_MS = 60000,
    STAYING_MAX = 8
};

extern char **environ;
static const char *skep;
static char folder[] = "/tmp/skep-test-XXXXXX";
static char *join_at[4]; /* addresses of the swarm's nodes */

struct result {
    int code; /* 128 + n after signal n */
    char out[OUTPUT_MAX], err[OUTPUT_MAX];
};
static struct result r;

/* ---- running it ---- */

static char *in_folder(const char *name)
{
    static char paths[8][128];
    static size_t next;
    char *path = paths[next++ % SKEP_COUNT_OF(paths)];

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_file(const char *path, const void *data, size_t len, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void read_whole(char *to, const char *path)
{
    FILE *file = fopen(path, "rb");

    assert_non_null(file);
    to[fread(to, 1, OUTPUT_MAX - 1, file)] = '\0';
    fclose(file);
}

/* Start it with stdin from a text, stdout and stderr into files (or stdout into `out_fd`). */
static pid_t start(const char *const *args, const char *input, int out_fd)
{
    const char *argv[ARGS_MAX + 2] = {skep};
    posix_spawn_file_actions_t files;
    pid_t pid;
    size_t n = 0;

    while (args[n]) {
        assert_true(n < ARGS_MAX);
        argv[n + 1] = args[n];
        n++;
    }
    write_file(in_folder("stdin"), input ? input : "", input ? strlen(input) : 0, 0600);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, in_folder("stdin"), O_RDONLY, 0);
    if (out_fd >= 0)
        posix_spawn_file_actions_adddup2(&files, out_fd, 1);
    else
        posix_spawn_file_actions_addopen(&files, 1, in_folder("stdout"),
                                         O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (out_fd < 0)
        posix_spawn_file_actions_addopen(&files, 2, in_folder("stderr"),
                                         O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(posix_spawn(&pid, skep, &files, NULL, (char *const *)(uintptr_t)argv, environ),
                     0);
    posix_spawn_file_actions_destroy(&files);
    return pid;
}

/* Its exit code. What does not end by itself is killed, and the test fails. */
static int end_of(pid_t pid)
{
    int status = 0;
    pid_t ended;

    for (int ms = 0; (ended = waitpid(pid, &status, WNOHANG)) == 0 && ms < END_TIMEOUT_MS; ms += 2)
        poll(NULL, 0, 2);
    if (ended == 0) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        fail_msg("it did not end");
    }
    assert_int_equal(ended, pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void run_with(const char *input, const char *const *args)
{
    r.code = end_of(start(args, input, -1));
    read_whole(r.out, in_folder("stdout"));
    read_whole(r.err, in_folder("stderr"));
}

#define RUN(...) run_with(NULL, (const char *const[]){__VA_ARGS__, NULL})
#define RUN_INPUT(input, ...) run_with(input, (const char *const[]){__VA_ARGS__, NULL})
/* joined to the swarm */
#define JOINED(...) RUN(__VA_ARGS__, "--join", join_at[0])
#define JOINED_JSON(...) RUN(__VA_ARGS__, "--json", "--join", join_at[0])

static void expect_code(int code)
{
    if (r.code != code)
        fail_msg("exit %d, not %d\nstdout: %s\nstderr: %s", r.code, code, r.out, r.err);
}

/* One document on stdout, nothing behind it. Kept until the next. */
static json_t *document(void)
{
    static json_t *kept;
    json_error_t error;

    json_decref(kept);
    kept = json_loads(r.out, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
    if (!kept)
        fail_msg("not one JSON document (%s): %s\nstderr: %s", error.text, r.out, r.err);
    return kept;
}

/* Has `value` these members, in this order and no others? Types by letters: s string, i integer, n number, b boolean, a array, o object;
 * '?' after it: or null. "uid:s score:n peer_id:s?" */
static void expect_shape(const json_t *value, const char *shape)
{
    char name[32], type[4];
    void *iter = json_object_iter((json_t *)(uintptr_t)value);
    int used;

    while (sscanf(shape, " %31[^:]:%3s%n", name, type, &used) == 2) {
        const json_t *member = iter ? json_object_iter_value(iter) : NULL;
        bool ok = iter && strcmp(json_object_iter_key(iter), name) == 0;

        switch (type[0]) {
        case 's':
            ok = ok && (json_is_string(member) || (type[1] == '?' && json_is_null(member)));
            break;
        case 'i': ok = ok && json_is_integer(member); break;
        case 'n':
            ok = ok && (json_is_number(member) || (type[1] == '?' && json_is_null(member)));
            break;
        case 'b': ok = ok && json_is_boolean(member); break;
        case 'a': ok = ok && json_is_array(member); break;
        case 'o': ok = ok && json_is_object(member); break;
        default: ok = ok && type[0] == '*'; break;
        }
        if (!ok)
            fail_msg("%s is missing, of another type or out of order in %s", name, r.out);
        iter = json_object_iter_next((json_t *)(uintptr_t)value, iter);
        shape += used;
    }
    if (iter)
        fail_msg("%s is one member too many in %s", json_object_iter_key(iter), r.out);
}

/* ---- processes that stay ---- */

struct process {
    pid_t pid;
    int out;
};
static struct process swarm;
static pid_t staying[STAYING_MAX]; /* a test that fails leaves them behind */

static struct process stay(const char *const *args)
{
    struct process p;
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    p.pid = start(args, NULL, ends[1]);
    p.out = ends[0];
    close(ends[1]);
    for (size_t i = 0; i < STAYING_MAX; i++) {
        if (staying[i] == 0) {
            staying[i] = p.pid;
            break;
        }
    }
    return p;
}

/* The next line of its output, without the newline. */
static char *line_of(struct process *p)
{
    static char line[OUTPUT_MAX];
    size_t len = 0;
    char c = '\0';

    while (c != '\n') {
        struct pollfd wait = {.fd = p->out, .events = POLLIN};

        if (poll(&wait, 1, START_TIMEOUT_MS) <= 0 || read(p->out, &c, 1) != 1 ||
            len + 1 >= sizeof line)
            fail_msg("it said no more than '%.*s'", (int)len, line);
        line[len++] = c;
    }
    line[len - 1] = '\0';
    return line;
}

static int stop(struct process *p, int signal_number)
{
    int code;

    for (size_t i = 0; i < STAYING_MAX; i++)
        staying[i] = staying[i] == p->pid ? 0 : staying[i];
    kill(p->pid, signal_number);
    code = end_of(p->pid);
    close(p->out);
    p->pid = 0;
    return code;
}

static int start_swarm(void **state)
{
    json_t *facts;

    (void)state;
    if (!mkdtemp(folder))
        return -1;
    swarm = stay((const char *const[]){"swarm", "--nodes", "4", "--experts", "300", "--grid",
                                       "16x16x16", "--json", NULL});
    facts = json_loads(line_of(&swarm), 0, NULL);
    if (!facts)
        return -1;
    for (size_t i = 0; i < SKEP_COUNT_OF(join_at); i++)
        join_at[i] =
            strdup(json_string_value(json_array_get(json_object_get(facts, "addresses"), i)));
    json_decref(facts);
    return 0;
}

static int stop_swarm(void **state)
{
    static const char *const names[] = {"stdin", "stdout",     "stderr",    "key",     "loose",
                                        "junk",  "scores.npy", "short.npy", "new.key", "big"};
    int code = swarm.pid > 0 ? stop(&swarm, SIGINT) : -1;

    (void)state;
    for (size_t i = 0; i < STAYING_MAX; i++) {
        if (staying[i] > 0) {
            kill(staying[i], SIGKILL);
            waitpid(staying[i], NULL, 0);
        }
    }
    for (size_t i = 0; i < SKEP_COUNT_OF(join_at); i++)
        free(join_at[i]);
    for (size_t i = 0; i < SKEP_COUNT_OF(names); i++)
        unlink(in_folder(names[i]));
    rmdir(folder);
    return code;
}

/* ---- usage ---- */

static const char *const subcommands[] = {"node",       "id",      "ping",    "store",
                                          "get",        "declare", "experts", "find",
                                          "successors", "call",    "swarm"};

static void help_of_every_subcommand_has_an_example(void **state)
{
    (void)state;
    RUN("--help");
    expect_code(0);
    for (size_t i = 0; i < SKEP_COUNT_OF(subcommands); i++)
        assert_non_null(strstr(r.out, subcommands[i]));
    for (size_t i = 0; i < SKEP_COUNT_OF(subcommands); i++) {
        char example[64];

        RUN(subcommands[i], "--help");
        expect_code(0);
        snprintf(example, sizeof example, "Example:\n  skep %s", subcommands[i]);
        assert_non_null(strstr(r.out, example));
        assert_non_null(strstr(r.out, "--json"));
        assert_string_equal(r.err, "");
        RUN("help", subcommands[i]);
        expect_code(0);
    }
}

static void the_version_is_one_line(void **state)
{
    (void)state;
    RUN("--version");
    expect_code(0);
    assert_int_equal(strncmp(r.out, "skep ", 5), 0);
    assert_true(r.out[strlen(r.out) - 1] == '\n');
}

/* A socket that listens and never answers; anything sent to it would begin with a connection. */
static int silent_listener(char *maddr, size_t len)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &address_len), 0);
    snprintf(maddr, len,
             "/ip4/127.0.0.1/tcp/%d/p2p/12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB",
             ntohs(address.sin_port));
    return fd;
}

static void bad_input_is_named_and_nothing_is_sent(void **state)
{
    static const struct {
        const char *args[14];
        const char *input, *says; /* says: what stderr has to name */
    } cases[] = {
        {{"frobnicate"}, NULL, "skep: frobnicate: "},
        {{"get"}, NULL, "an argument is missing"},
        {{"get", "k", "--frob"}, NULL, "skep: --frob: "},
        {{"get", "k", "--timeout", "soon"}, NULL, "skep: --timeout: 'soon'"},
        {{"get", "k", "--timeout", "0"}, NULL, "skep: --timeout: "},
        {{"get", "k", "--join", "/ip4/1.2.3.4"}, NULL, "'/ip4/1.2.3.4'"},
        {{"get", "k", "--join", "127.0.0.1:80"}, NULL, "'127.0.0.1:80'"},
        {{"get", "k", "--join", "/ip4/127.0.0.1/tcp/80"},
         NULL,
         "'/ip4/127.0.0.1/tcp/80' does not end in /p2p/"},
        {{"get", "\xff"}, NULL, "not UTF-8"},
        {{"node", "extra"}, NULL, "skep: extra: "},
        {{"node", "--listen", "localhost"}, NULL, "'localhost'"},
        {{"node", "--refresh", "1ms"}, NULL, "--refresh"},
        {{"node", "--one-hop", "65537"}, NULL, "--one-hop"},
        {{"ping", "nowhere"}, NULL, "'nowhere'"},
        {{"ping", "/ip4/127.0.0.1/tcp/1", "--count", "0"}, NULL, "--count"},
        {{"ping", "/p2p/12D3KooX"}, NULL, "'/p2p/12D3KooX'"},
        {{"store", "k", "1"}, NULL, "--ttl"},
        {{"store", "k", "{'a': 1}", "--ttl", "5"}, NULL, "skep: VALUE: "},
        {{"store", "k", "{\"$tuple\": 1}", "--ttl", "5"}, NULL, "$tuple"},
        {{"store", "k", "-", "--ttl", "5"}, "[1, 2", "skep: VALUE: "},
        {{"store", "k", "1", "--ttl", "0"}, NULL, "--ttl"},
        {{"store", "k", "1", "--ttl", "5", "--subkey-json", "[1]"}, NULL, "--subkey-json"},
        {{"store", "k", "1", "--ttl", "5", "--subkey-json", "1", "--subkey", "s"},
         NULL,
         "--subkey"},
        {{"declare", "ffn.01", "--ttl", "5"}, NULL, "skep: ffn.01: "},
        {{"declare", "ffn.", "--ttl", "5"}, NULL, "skep: ffn.: "},
        {{"declare", "--ttl", "5"}, NULL, "no expert uid"},
        {{"declare", "ffn.1"}, NULL, "--ttl"},
        {{"declare", "--file", "-", "--ttl", "5"}, "ffn.1\nffn\n", "skep: ffn: "},
        {{"declare", "--file", "/nonexistent", "--ttl", "5"}, NULL, "/nonexistent: No such file"},
        {{"experts", "ffn"}, NULL, "skep: ffn: "},
        {{"successors", "ffn.1"}, NULL, "skep: ffn.1: "},
        {{"find", "--grid", "2", "--scores", "-"}, "[[1, 2]]", "skep: --prefix: "},
        {{"find", "--prefix", "ffn", "--grid", "2", "--scores", "-"}, "[[1, 2]]", "skep: ffn: "},
        {{"find", "--prefix", "ffn.", "--grid", "0x2", "--scores", "-"}, "[[1, 2]]", "zero"},
        {{"find", "--prefix", "ffn.", "--grid", "2x2", "--scores", "-"},
         "[[1, 2]]",
         "1 row of scores for a grid of 2 dimensions"},
        {{"find", "--prefix", "ffn.", "--grid", "2", "--scores", "-"}, "[[1, \"inf\"]]", "index 1"},
        {{"find", "--prefix", "ffn.", "--grid", "2", "--scores", "-"}, "[[1, NaN]]", "NaN"},
        {{"find", "--prefix", "ffn.", "--grid", "2", "--scores", "-", "--beam", "0"},
         "[[1, 2]]",
         "skep: --beam: "},
        {{"find", "--prefix", "ffn.", "--grid", "2", "--scores", "-", "--mode", "best"},
         "[[1, 2]]",
         "skep: --mode: 'best'"},
        {{"find", "--prefix", "ffn.", "--grid", "2", "--scores", "-", "--budget", "0"},
         "[[1, 2]]",
         "skep: --budget: "},
        {{"find", "--prefix", "ffn.", "--grid", "2", "--scores", "-", "--guess", "4097"},
         "[[1, 2]]",
         "skep: --guess: "},
        {{"find", "--prefix", "ffn.", "--grid", "2", "--scores", "-", "--cache-expiration", "0"},
         "[[1, 2]]",
         "skep: --cache-expiration: "},
        {{"find", "--prefix", "ffn.", "--grid", "3x3", "--scores", "tests/cmd/data/nan.npy"},
         NULL,
         "tests/cmd/data/nan.npy: example 0, row 1, index 1 is NaN"},
        {{"find", "--prefix", "ffn.", "--grid", "3x3", "--scores", "tests/cmd/data/inf.npy"},
         NULL,
         "+infinity"},
        {{"find", "--prefix", "ffn.", "--grid", "3x3", "--scores", "tests/cmd/data/i8.npy"},
         NULL,
         "dtype '<i8'"},
        {{"find", "--prefix", "ffn.", "--grid", "3x4", "--scores", "tests/cmd/data/f4.npy"},
         NULL,
         "row 1 has 3 scores"},
        {{"find", "--prefix", "ffn.", "--grid", "3x3", "--scores", "SHORT"}, NULL, "truncated"},
        {{"get", "k", "--identity", "JUNK"}, NULL, "junk: "},
        {{"get", "k", "--identity", "LOOSE"}, NULL, "loose: "},
        {{"get", "k", "--identity", "/nonexistent/key"}, NULL, "/nonexistent/key: "},
        {{"id", "--identity", "JUNK"}, NULL, "junk: "},
        {{"id", "--identity", "LOOSE"}, NULL, "loose: "},
        {{"swarm", "--nodes", "0"}, NULL, "--nodes"},
        {{"swarm", "--grid", "2x0"}, NULL, "zero"},
        {{"swarm", "--grid", "2x2", "--experts", "5"}, NULL, "--experts"},
        {{"swarm", "--prefix", "ffn"}, NULL, "skep: ffn: "},
    };
    char maddr[160], npy[200];
    int fd = silent_listener(maddr, sizeof maddr);
    FILE *file = fopen("tests/cmd/data/f4.npy", "rb");

    (void)state;
    assert_non_null(file);
    write_file(in_folder("short.npy"), npy, fread(npy, 1, 140, file), 0600);
    fclose(file);
    write_file(in_folder("junk"), "no key", 6, 0600);
    RUN("id", "--identity", in_folder("loose"));
    assert_int_equal(chmod(in_folder("loose"), 0644), 0);
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        const char *args[20] = {NULL};
        size_t n = 0;
        bool takes_join =
            strcmp(cases[i].args[0], "frobnicate") != 0 && strcmp(cases[i].args[0], "id") != 0 &&
            strcmp(cases[i].args[0], "swarm") != 0 && strcmp(cases[i].says, "'/p2p/12D3KooX'") != 0;

        for (; cases[i].args[n]; n++) {
            args[n] = strcmp(cases[i].args[n], "JUNK") == 0    ? in_folder("junk")
                      : strcmp(cases[i].args[n], "LOOSE") == 0 ? in_folder("loose")
                      : strcmp(cases[i].args[n], "SHORT") == 0 ? in_folder("short.npy")
                                                               : cases[i].args[n];
        }
        if (takes_join) {
            args[n++] = "--join";
            args[n++] = maddr;
        }
        run_with(cases[i].input, args);
        if (r.code != 2 || !strstr(r.err, cases[i].says) || strncmp(r.err, "skep: ", 6) != 0 ||
            r.out[0] != '\0')
            fail_msg("case %zu (%s): exit %d\nstdout: %s\nstderr: %s\nwanted exit 2 and: %s", i,
                     cases[i].args[0], r.code, r.out, r.err, cases[i].says);
        if (strchr(r.err, '\n') != r.err + strlen(r.err) - 1)
            fail_msg("case %zu: more than one line: %s", i, r.err);
        if (accept(fd, NULL, NULL) >= 0 || errno != EAGAIN)
            fail_msg("case %zu: it connected", i);
    }
    close(fd);
}

static void a_file_one_byte_past_256_mib_is_refused(void **state)
{
    const char *path = in_folder("big");
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    (void)state;
    assert_true(fd >= 0);
    for (off_t extra = 1; extra >= 0; extra--) { /* holes, which take no place on the disk */
        assert_int_equal(ftruncate(fd, (off_t)SKEP_CMD_INPUT_MAX + extra), 0);
        RUN("find", "--prefix", "ffn.", "--grid", "2", "--scores", path);
        expect_code(2);
        assert_int_equal(strstr(r.err, "it is longer than 256 MiB") != NULL, extra);
    }
    close(fd);
}

static void without_join_there_is_nobody_to_ask(void **state)
{
    (void)state;
    RUN("get", "k");
    expect_code(2);
    assert_non_null(strstr(r.err, "skep: --join: "));
}

static void an_initial_peer_that_is_not_there_is_named(void **state)
{
    char maddr[160];

    (void)state;
    close(silent_listener(maddr, sizeof maddr)); /* a port that was free a moment ago */
    RUN("get", "k", "--join", maddr);
    expect_code(1);
    assert_non_null(strstr(r.err, maddr));
    assert_string_equal(r.out, "");
}

static void a_silent_initial_peer_does_not_hold_up_a_command(void **state)
{
    char maddr[160];
    int fd = silent_listener(maddr, sizeof maddr);

    (void)state;
    /* a peer that joins to stay would wait 3 s for it */
    RUN("store", "beside-a-silent-peer", "1", "--ttl", "60", "--timeout", "2", "--join", join_at[0],
        "--join", maddr);
    expect_code(0);
    RUN("get", "beside-a-silent-peer", "--timeout", "2", "--join", maddr, "--join", join_at[0]);
    expect_code(0);
    close(fd);
}

static void a_deadline_gives_124(void **state)
{
    char maddr[160];
    int fd = silent_listener(maddr, sizeof maddr);

    (void)state;
    RUN("get", "k", "--timeout", "300ms", "--join", maddr);
    expect_code(124);
    assert_non_null(strstr(r.err, "--timeout"));
    RUN("ping", maddr, "--timeout", "300ms");
    expect_code(124);
    close(fd);
}

static void a_full_disk_is_no_success(void **state)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

    (void)state;
    assert_true(full >= 0);
    assert_int_equal(end_of(start((const char *const[]){"id", "--identity", in_folder("key"), NULL},
                                  NULL, full)),
                     1);
    close(full);
}

/* ---- subcommands ---- */

static void id_makes_a_key_once_and_keeps_it(void **state)
{
    struct stat stat_of;
    char first[128];

    (void)state;
    unlink(in_folder("new.key"));
    RUN("id", "--identity", in_folder("new.key"), "--json");
    expect_code(0);
    expect_shape(document(), "peer_id:s identity:s created:b");
    assert_true(json_is_true(json_object_get(document(), "created")));
    snprintf(first, sizeof first, "%s", json_string_value(json_object_get(document(), "peer_id")));
    assert_int_equal(strncmp(first, "12D3KooW", 8), 0);
    assert_int_equal(stat(in_folder("new.key"), &stat_of), 0);
    assert_int_equal(stat_of.st_mode & 0777, 0600);
    RUN("id", "--identity", in_folder("new.key"));
    expect_code(0);
    assert_int_equal(strncmp(r.out, first, strlen(first)), 0);
}

static void node_prints_its_addresses_and_ends_on_a_signal(void **state)
{
    struct process node =
        stay((const char *const[]){"node", "--listen", "/ip4/127.0.0.1/tcp/0", "--join", join_at[0],
                                   "--identity", in_folder("key"), NULL});
    char maddr[256], id[128];

    (void)state;
    snprintf(maddr, sizeof maddr, "%s", line_of(&node));
    assert_int_equal(strncmp(maddr, "/ip4/127.0.0.1/tcp/", 19), 0);
    snprintf(id, sizeof id, "/p2p/%s", strstr(maddr, "/p2p/") + 5);
    RUN("ping", maddr, "--count", "2", "--json");
    expect_code(0);
    expect_shape(document(), "peer_id:s round_trips:a");
    assert_int_equal(json_array_size(json_object_get(document(), "round_trips")), 2);
    expect_shape(json_array_get(json_object_get(document(), "round_trips"), 1),
                 "ping_ms:n dht_ping_ms:n");
    JOINED("ping", id, "--count", "1"); /* by its id alone */
    expect_code(0);
    RUN("id", "--identity", in_folder("key"));
    assert_int_equal(strncmp(r.out, id + 5, strlen(id + 5)), 0);
    assert_int_equal(stop(&node, SIGTERM), 0);
    node = stay((const char *const[]){"node", "--listen", "/ip4/127.0.0.1/tcp/0", "--client",
                                      "--join", join_at[1], "--json", NULL});
    snprintf(r.out, sizeof r.out, "%s", line_of(&node));
    expect_shape(document(), "peer_id:s addresses:a");
    assert_int_equal(stop(&node, SIGINT), 0);
}

static void what_store_stores_get_gets(void **state)
{
    static const char value[] =
        "{\"a\": [1, 2.5, null], \"t\": {\"$tuple\": [{\"$bytes\": \"AP+A\"}, {\"$float\": \"-inf\"}]}}";
    json_t *wanted = json_loads(value, 0, NULL);

    (void)state;
    JOINED_JSON("store", "plain", value, "--ttl", "5m");
    expect_code(0);
    expect_shape(document(), "key:s stored:i answered:i expiration:n");
    assert_true(json_integer_value(json_object_get(document(), "stored")) > 0);
    RUN("get", "plain", "--typed", "--json", "--join", join_at[3]);
    expect_code(0);
    expect_shape(document(), "key:s found:b value:o expiration:n");
    assert_true(json_equal(json_object_get(document(), "value"), wanted));
    json_decref(wanted);
    JOINED("get", "plain");
    expect_code(0);
    assert_non_null(strstr(
        r.out,
        "plain: {\"a\": [1, 2.5, null], \"t\": [{\"$bytes\": \"AP+A\"}, {\"$float\": \"-inf\"}]}  (until 20"));
    RUN_INPUT("\"from stdin\"\n", "store", "piped", "-", "--ttl", "60", "--join", join_at[0]);
    expect_code(0);
    assert_int_equal(strncmp(r.out, "stored on ", 10), 0);
    JOINED_JSON("get", "piped", "nobody stored this", "plain");
    expect_code(1);
    assert_int_equal(json_array_size(document()), 3);
    expect_shape(json_array_get(document(), 1), "key:s found:b");
    assert_string_equal(json_string_value(json_object_get(json_array_get(document(), 0), "value")),
                        "from stdin");
}

static void a_negative_number_is_no_option(void **state)
{
    (void)state;
    JOINED("store", "cold", "-3", "--ttl", "60");
    expect_code(0);
    RUN("store", "colder", "--ttl=60", "-j", join_at[0], "--", "-4.5");
    expect_code(0);
    JOINED_JSON("get", "cold", "colder");
    expect_code(0);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(document(), 0), "value")),
                     -3);
    assert_true(json_real_value(json_object_get(json_array_get(document(), 1), "value")) == -4.5);
}

static void a_dictionary_shows_every_subkey(void **state)
{
    json_t *entries;

    (void)state;
    JOINED("store", "dictionary", "1", "--subkey", "a", "--ttl", "60");
    expect_code(0);
    JOINED("store", "dictionary", "[2]", "--subkey-json", "-1", "--ttl", "90");
    expect_code(0);
    JOINED_JSON("get", "dictionary", "--latest");
    expect_code(0);
    expect_shape(document(), "key:s found:b dictionary:a expiration:n");
    entries = json_object_get(document(), "dictionary");
    assert_int_equal(json_array_size(entries), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *subkey = json_object_get(json_array_get(entries, i), "subkey");

        expect_shape(json_array_get(entries, i), "subkey:* value:* expiration:n");
        assert_true(json_integer_value(subkey) == -1 ||
                    strcmp(json_string_value(subkey), "a") == 0);
    }
    JOINED("get", "dictionary");
    expect_code(0);
    assert_non_null(strstr(r.out, "dictionary: a dictionary of 2"));
}

static void declared_experts_are_found_by_uid(void **state)
{
    (void)state;
    RUN_INPUT("cmd.1.2\r\n\n# a comment\ncmd.3.4\n", "declare", "cmd.0.0", "--file", "-", "--ttl",
              "10m", "--json", "--identity", in_folder("key"), "--join", join_at[0]);
    expect_code(0);
    expect_shape(
        document(),
        "experts:i keys:i accepted:i replicas:i rounds:i calls:i elapsed_ms:n expiration:n");
    assert_int_equal(json_integer_value(json_object_get(document(), "experts")), 3);
    RUN("id", "--identity", in_folder("key"), "--json");
    {
        char id[128];

        snprintf(id, sizeof id, "%s", json_string_value(json_object_get(document(), "peer_id")));
        RUN("experts", "cmd.1.2", "cmd.9.9", "--json", "--join", join_at[2]);
        expect_code(1);
        assert_int_equal(json_array_size(document()), 2);
        expect_shape(json_array_get(document(), 0), "uid:s peer_id:s");
        assert_string_equal(
            json_string_value(json_object_get(json_array_get(document(), 0), "peer_id")), id);
        expect_shape(json_array_get(document(), 1), "uid:s peer_id:s?");
        assert_true(json_is_null(json_object_get(json_array_get(document(), 1), "peer_id")));
        JOINED("experts", "cmd.3.4");
        expect_code(0);
        assert_non_null(strstr(r.out, id));
    }
}

static void declare_keep_declares_again_until_a_signal(void **state)
{
    struct process p =
        stay((const char *const[]){"declare", "kept.1.1", "--keep", "--ttl", "1s", "--listen",
                                   "/ip4/127.0.0.1/tcp/0", "--json", "--join", join_at[0], NULL});

    (void)state;
    for (int i = 0; i < 3; i++) {
        snprintf(r.out, sizeof r.out, "%s", line_of(&p));
        expect_shape(
            document(),
            "experts:i keys:i accepted:i replicas:i rounds:i calls:i elapsed_ms:n expiration:n");
    }
    JOINED("experts", "kept.1.1");
    expect_code(0);
    assert_int_equal(stop(&p, SIGINT), 0);
}

static void serve_hosts_experts_until_a_signal(void **state)
{
    struct process p = stay((const char *const[]){
        "serve", "--expert_uids", "served.1", "served.2", "--expert_cls", "nop", "--hidden_dim",
        "8", "--listen", "/ip4/127.0.0.1/tcp/0", "--initial_peers", join_at[0], NULL});

    (void)state;
    assert_non_null(strstr(line_of(&p), "/p2p/12D3KooW"));
    assert_string_equal(line_of(&p), "expert served.1");
    assert_string_equal(line_of(&p), "expert served.2");
    JOINED("call", "served.2", "--info");
    expect_code(0);
    assert_non_null(strstr(r.out, "float32 (batch, 8)"));
    JOINED("call", "served.3", "--info");
    expect_code(1);
    assert_int_equal(stop(&p, SIGTERM), 0);
}

static void find_ranks_what_was_declared(void **state)
{
    static const char scores[] = "[[0, 1, \"-inf\"], [0.5, 0.25, 4]]";
    const json_t *experts;

    (void)state;
    JOINED("declare", "rank.0.0", "rank.0.2", "rank.1.1", "rank.2.2", "--ttl", "10m");
    expect_code(0);
    RUN_INPUT(scores, "find", "--prefix", "rank.", "--grid", "3x3", "--scores", "-", "--beam", "3",
              "--json", "--join", join_at[1]);
    expect_code(0);
    expect_shape(document(),
                 "experts:a exact:b bound:n? unanswered:i rounds:i keys:i calls:i elapsed_ms:n");
    experts = json_object_get(document(), "experts");
    assert_int_equal(json_array_size(experts), 3);
    expect_shape(json_array_get(experts, 0), "uid:s peer_id:s score:n");
    assert_string_equal(json_string_value(json_object_get(json_array_get(experts, 0), "uid")),
                        "rank.0.2");
    assert_true(json_real_value(json_object_get(json_array_get(experts, 0), "score")) == 4);
    assert_string_equal(json_string_value(json_object_get(json_array_get(experts, 1), "uid")),
                        "rank.1.1");
    assert_string_equal(json_string_value(json_object_get(json_array_get(experts, 2), "uid")),
                        "rank.0.0");
    RUN_INPUT(scores, "find", "--prefix", "rank.", "--grid", "3x3", "--scores", "-", "--repeat",
              "5", "--join", join_at[0]);
    expect_code(0);
    assert_non_null(strstr(r.out, "rank  uid       "));
    assert_non_null(strstr(r.out, "   1  rank.0.2  4.000000  12D3KooW"));
    assert_non_null(strstr(r.out, " rounds, "));
    assert_non_null(strstr(r.out, "5 searches: "));
    RUN_INPUT("[[1, 1]]", "find", "--prefix", "empty.", "--grid", "2", "--scores", "-", "--json",
              "--join", join_at[0]);
    expect_code(1);
    expect_shape(document(),
                 "experts:a exact:b bound:n? unanswered:i rounds:i keys:i calls:i elapsed_ms:n");
    assert_int_equal(json_array_size(json_object_get(document(), "experts")), 0);
}

static void find_guesses_ahead_and_finds_the_same(void **state)
{
    static const char scores[] = "[[2, 1], [2, 1], [1, 2]]";
    static const char *const guesses[] = {"0", "64"};

    (void)state;
    JOINED("declare", "deep.0.0.0", "deep.0.1.1", "deep.1.0.1", "deep.1.1.0", "--ttl", "10m");
    expect_code(0);
    for (size_t i = 0; i < 2; i++) {
        RUN_INPUT(scores, "find", "--prefix", "deep.", "--grid", "2x2x2", "--scores", "-", "--beam",
                  "2", "--guess", guesses[i], "--json", "--join", join_at[1]);
        expect_code(0);
        assert_int_equal(json_integer_value(json_object_get(document(), "keys")), i > 0 ? 6 : 4);
        assert_string_equal(json_string_value(json_object_get(
                                json_array_get(json_object_get(document(), "experts"), 0), "uid")),
                            "deep.1.0.1");
    }
}

static void an_exact_find_says_so_and_a_budget_of_keys_says_what_is_open(void **state)
{
    static const char scores[] = "[[4, 3, 2, 1], [0, 9, 0, 9]]";

    (void)state;
    JOINED("declare", "true.0.0", "true.1.0", "true.3.1", "true.3.3", "--ttl", "10m");
    expect_code(0);
    RUN_INPUT(scores, "find", "--prefix", "true.", "--grid", "4x4", "--scores", "-", "--beam", "1",
              "--json", "--join", join_at[1]);
    expect_code(0);
    assert_false(
        json_is_true(json_object_get(document(), "exact"))); /* a beam sees true.0. alone */
    RUN_INPUT(scores, "find", "--prefix", "true.", "--grid", "4x4", "--scores", "-", "--beam", "1",
              "--mode", "exact", "--json", "--join", join_at[1]);
    expect_code(0);
    assert_true(json_is_true(json_object_get(document(), "exact")));
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(document(), "experts"), 0), "uid")),
                        "true.3.3");
    RUN_INPUT(scores, "find", "--prefix", "true.", "--grid", "4x4", "--scores", "-", "--beam", "1",
              "--mode", "exact", "--join", join_at[1]);
    expect_code(0);
    assert_non_null(strstr(r.out, "exact: no expert"));
    RUN_INPUT(scores, "find", "--prefix", "true.", "--grid", "4x4", "--scores", "-", "--beam", "1",
              "--mode", "exact", "--key-budget", "1", "--json", "--join", join_at[0]);
    expect_code(0);
    if (!json_is_true(json_object_get(document(), "exact")))
        assert_true(json_real_value(json_object_get(document(), "bound")) >= 10);
    RUN_INPUT(scores, "find", "--prefix", "true.", "--grid", "4x4", "--scores", "-", "--key-budget",
              "1", "--join", join_at[0]);
    expect_code(2);
}

static void a_batch_has_one_answer_an_example(void **state)
{
    const json_t *batch;

    (void)state;
    JOINED("declare", "many.0.1", "many.1.2", "--ttl", "10m");
    expect_code(0);
    JOINED_JSON("find", "--prefix", "many.", "--grid", "2x3", "--scores",
                "tests/cmd/data/batch_deflated.npz", "--repeat", "2");
    expect_code(0);
    expect_shape(document(), "batch:a rounds:i keys:i calls:i elapsed_ms:n latency_ms:o");
    expect_shape(json_object_get(document(), "latency_ms"), "count:i min:n median:n p95:n max:n");
    batch = json_object_get(document(), "batch");
    assert_int_equal(json_array_size(batch), 4);
    expect_shape(json_array_get(batch, 3),
                 "experts:a exact:b bound:n? unanswered:i rounds:i keys:i calls:i elapsed_ms:n");
    assert_true(json_real_value(json_object_get(
                    json_array_get(json_object_get(json_array_get(batch, 3), "experts"), 0),
                    "score")) == 7 + 11);
    JOINED("find", "--prefix", "many.", "--grid", "2x3", "--scores",
           "tests/cmd/data/batch_deflated.npz");
    expect_code(0);
    assert_non_null(strstr(r.out, "example 3\n"));
}

static void successors_of_prefixes_are_listed(void **state)
{
    const json_t *row;

    (void)state;
    JOINED("declare", "succ.1.2.3", "succ.1.5.0", "--ttl", "10m");
    expect_code(0);
    JOINED_JSON("successors", "succ.1.", "succ.7.");
    expect_code(0);
    assert_int_equal(json_array_size(document()), 2);
    row = json_array_get(document(), 0);
    expect_shape(row, "prefix:s answered:b successors:a");
    assert_int_equal(json_array_size(json_object_get(row, "successors")), 2);
    expect_shape(json_array_get(json_object_get(row, "successors"), 0),
                 "coordinate:i uid:s peer_id:s");
    JOINED("successors", "succ.1.", "--grid-size", "3");
    expect_code(0);
    assert_non_null(strstr(r.out, "succ.1.2.3"));
    assert_null(strstr(r.out, "succ.1.5.0"));
    JOINED("successors", "succ.8.");
    expect_code(1);
}

static void swarm_searches_and_draws(void **state)
{
    (void)state;
    RUN("swarm", "--nodes", "3", "--experts", "200", "--grid", "16x16x4", "--search", "--json");
    expect_code(0);
    expect_shape(document(), "nodes:i experts:i joined_ms:n declared_ms:n search:o");
    expect_shape(json_object_get(document(), "search"),
                 "experts:a exact:b bound:n? unanswered:i rounds:i keys:i calls:i elapsed_ms:n");
    assert_int_equal(
        json_array_size(json_object_get(json_object_get(document(), "search"), "experts")), 4);
    RUN("swarm", "--nodes", "3", "--experts", "200", "--grid", "16x16x4", "--demo");
    expect_code(0);
    assert_non_null(strstr(r.out, "rank  uid"));
    assert_non_null(strstr(r.out, " ms\n"));
    assert_non_null(strstr(r.out, ">|"));
    assert_non_null(strstr(r.out, "expert. -> "));
    RUN("swarm", "--nodes", "1", "--experts", "3", "--grid", "4",
        "--demo"); /* one row, no beam above the experts */
    expect_code(0);
    RUN("swarm", "--nodes", "2", "--experts", "4", "--grid", "2x2", "--once");
    expect_code(0);
    assert_non_null(strstr(r.out, "/p2p/12D3KooW"));
}

static void the_soft_limit_of_open_files_does_not_hold_it_back(void **state)
{
    struct rlimit before, files;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    files = before;
    files.rlim_cur = 48; /* eight nodes need some 150 */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    RUN("swarm", "--nodes", "8", "--experts", "4", "--grid", "2x2", "--once");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    expect_code(0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_of_every_subcommand_has_an_example),
        cmocka_unit_test(the_version_is_one_line),
        cmocka_unit_test(bad_input_is_named_and_nothing_is_sent),
        cmocka_unit_test(a_file_one_byte_past_256_mib_is_refused),
        cmocka_unit_test(without_join_there_is_nobody_to_ask),
        cmocka_unit_test(an_initial_peer_that_is_not_there_is_named),
        cmocka_unit_test(a_silent_initial_peer_does_not_hold_up_a_command),
        cmocka_unit_test(a_deadline_gives_124),
        cmocka_unit_test(a_full_disk_is_no_success),
        cmocka_unit_test(id_makes_a_key_once_and_keeps_it),
        cmocka_unit_test(node_prints_its_addresses_and_ends_on_a_signal),
        cmocka_unit_test(what_store_stores_get_gets),
        cmocka_unit_test(a_negative_number_is_no_option),
        cmocka_unit_test(a_dictionary_shows_every_subkey),
        cmocka_unit_test(declared_experts_are_found_by_uid),
        cmocka_unit_test(declare_keep_declares_again_until_a_signal),
        cmocka_unit_test(serve_hosts_experts_until_a_signal),
        cmocka_unit_test(find_ranks_what_was_declared),
        cmocka_unit_test(find_guesses_ahead_and_finds_the_same),
        cmocka_unit_test(an_exact_find_says_so_and_a_budget_of_keys_says_what_is_open),
        cmocka_unit_test(a_batch_has_one_answer_an_example),
        cmocka_unit_test(successors_of_prefixes_are_listed),
        cmocka_unit_test(swarm_searches_and_draws),
        cmocka_unit_test(the_soft_limit_of_open_files_does_not_hold_it_back),
    };

    if (argc < 2) {
        fputs("usage: test_command SKEP\n", stderr);
        return 2;
    }
    skep = argv[1];
    return cmocka_run_group_tests(tests, start_swarm, stop_swarm);
}
