/* SPDX-License-Identifier: MIT */
/* The `skep` command: picks the subcommand. Source: design.md, "The command line is a contract". */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "cmd/cmd.h"

static const struct skep_cmd *const commands[] = {
    &skep_cmd_node,    &skep_cmd_id,      &skep_cmd_ping, &skep_cmd_store,      &skep_cmd_get,
    &skep_cmd_declare, &skep_cmd_experts, &skep_cmd_find, &skep_cmd_successors, &skep_cmd_call,
    &skep_cmd_serve,   &skep_cmd_swarm,   &skep_cmd_sim};

static void print_usage(FILE *to)
{
    fputs(
        "skep: decentralised mixture-of-experts, as a peer of a hivemind swarm\n\nUsage: skep COMMAND [ARGUMENT...] [OPTION...]\n\nCommands:\n",
        to);
    for (size_t i = 0; i < SKEP_COUNT_OF(commands); i++)
        fprintf(to, "  %-11s %s\n", commands[i]->name, commands[i]->summary);
    fputs(
        "\nskep COMMAND --help shows a command's options, with an example. skep --version shows the version.\n"
        "Exit codes: 0 done; 1 the network or a peer could not, or not found; 2 bad usage or input; 124 the deadline passed.\n"
        "\nExample:\n  skep swarm --nodes 8 --experts 4096 --grid 256x256x256 --demo\n",
        to);
}

static const struct skep_cmd *find_command(const char *name)
{
    assert(name);
    for (size_t i = 0; i < SKEP_COUNT_OF(commands); i++) {
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    }
    return NULL;
}

static int run(int argc, const char **argv)
{
    const char *help_argv[] = {argv[0], "--help", NULL};
    const struct skep_cmd *cmd;
    bool is_help;

    if (argc < 2) {
        print_usage(stderr);
        return SKEP_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("skep %s\n", skep_version());
        return SKEP_EXIT_DONE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        (strcmp(argv[1], "help") == 0 && argc == 2)) {
        print_usage(stdout);
        return SKEP_EXIT_DONE;
    }
    is_help = strcmp(argv[1], "help") == 0;
    cmd = find_command(argv[is_help ? 2 : 1]);
    if (!cmd) {
        skep_cmd_error(argv[is_help ? 2 : 1], "unknown command (see skep --help)");
        return SKEP_EXIT_USAGE;
    }
    if (is_help)
        return cmd->run(cmd, 2, help_argv);
    return cmd->run(cmd, argc - 1, argv + 1);
}

/* Each connection takes a file descriptor; the soft limit is often 1024, for the sake of programs that use select(). */
static void allow_many_files(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

int main(int argc, char **argv)
{
    const char **args =
        calloc((size_t)argc + 2, sizeof *args); /* popt takes them const and may change the list */
    int code;

    if (!args)
        return SKEP_EXIT_FAILED;
    for (int i = 0; i < argc; i++)
        args[i] = argv[i];
    allow_many_files();
    signal(SIGPIPE,
           SIG_IGN); /* a closed connection or pipe is an error of the write, not our end */
    code = run(argc, args);
    skep_cmd_parse_fini();
    free(args);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == SKEP_EXIT_DONE) {
        skep_cmd_error("standard output", "%s", strerror(errno));
        code = SKEP_EXIT_FAILED;
    }
    return code;
}
