/* SPDX-License-Identifier: MIT */
/* What every subcommand shares: its place in the table, the options all have, reading files, errors and exit codes.
 * Source: design.md, "The command line is a contract". */
#ifndef SKEP_CMD_H
#define SKEP_CMD_H

#include <popt.h>
#include <skep/skep.h>

#include "base/bytes.h"
#include "cmd/args.h"
#include "cmd/output.h"

enum skep_exit {
    SKEP_EXIT_DONE = 0,
    SKEP_EXIT_FAILED = 1,
    SKEP_EXIT_USAGE = 2,
    SKEP_EXIT_DEADLINE = 124
};

struct skep_cmd {
    const char *name;      /* "get" */
    const char *arguments; /* "KEY…", as the usage line has it */
    const char *summary;   /* one line */
    const char *details;   /* what the summary leaves out, wrapped; may be "" */
    const char *example;   /* whole command lines, each indented by two */
    int (*run)(const struct skep_cmd *cmd, int argc, const char **argv); /* gives the exit code */
};

/* One file a subcommand. */
extern const struct skep_cmd skep_cmd_node, skep_cmd_id, skep_cmd_ping, skep_cmd_store,
    skep_cmd_get, skep_cmd_declare, skep_cmd_experts, skep_cmd_find, skep_cmd_successors,
    skep_cmd_call, skep_cmd_serve, skep_cmd_swarm, skep_cmd_sim;

/** The options that many subcommands have, filled by skep_cmd_parse(); a process runs one subcommand. */
struct skep_cmd_common {
    int json;
    int verbose; /* -v: info, -vv: debug */
    char *timeout;
    uint64_t timeout_us;               /* 0: none */
    char **join, **listen, **announce; /* NULL-terminated, or NULL */
    char *identity;
    char *max_ttl;
    uint64_t max_ttl_us; /* 0: the default */
};
extern struct skep_cmd_common skep_cmd_common;

/** Tables for POPT_ARG_INCLUDE_TABLE. */
extern struct poptOption skep_cmd_output_options[]; /* --json, --timeout, -v, --help */
extern struct poptOption skep_cmd_join_options[];   /* --join, --identity, --max-ttl */
extern struct poptOption skep_cmd_listen_options[]; /* --listen, --announce */

#define SKEP_CMD_OPTIONS_OUTPUT                                                                    \
    {                                                                                              \
        NULL, '\0', POPT_ARG_INCLUDE_TABLE, skep_cmd_output_options, 0, "Output and time:", NULL   \
    }
#define SKEP_CMD_OPTIONS_JOIN                                                                      \
    {                                                                                              \
        NULL, '\0', POPT_ARG_INCLUDE_TABLE, skep_cmd_join_options, 0, "The swarm:", NULL           \
    }
#define SKEP_CMD_OPTIONS_LISTEN                                                                    \
    {                                                                                              \
        NULL, '\0', POPT_ARG_INCLUDE_TABLE, skep_cmd_listen_options, 0, "As a full peer:", NULL    \
    }

/** What is left of the command line behind the options. Borrowed until the process ends. */
struct skep_cmd_args {
    const char *const *items;
    size_t count;
};

enum { SKEP_CMD_GO_ON = -1 };

/** Parse the options; answer --help; check what the common options say.
 *  @return SKEP_CMD_GO_ON, or the exit code. */
int skep_cmd_parse(const struct skep_cmd *cmd, struct poptOption *table, int argc,
                   const char **argv, size_t args_min, size_t args_max, struct skep_cmd_args *args);

/** Frees what skep_cmd_parse() keeps. */
void skep_cmd_parse_fini(void);

/** Check multiaddrs of an option. @param need_peer  must end in /p2p/…  @return false, with the error printed. */
bool skep_cmd_check_maddrs(const char *option, char *const *maddrs, bool need_peer);

size_t skep_cmd_list_count(char *const *list);

/** An option's duration, NULL: leave *out_us. @return false, with the error printed. */
bool skep_cmd_option_duration(const char *option, const char *text, uint64_t *out_us);
bool skep_cmd_option_count(const char *option, const char *text, uint64_t least, uint64_t most,
                           uint64_t *out);

/** Check that a uid or prefix is in the grammar. @return false, with the error printed. */
bool skep_cmd_check_uid(const char *uid);
bool skep_cmd_check_prefix(const char *prefix);

/** A whole file, or stdin for "-". @return false, with the error printed. */
bool skep_cmd_read_file(struct skep_buf *out, const char *path);

/** Whose fault decides: 2 for what the caller gave, 124 for a deadline, 1 for the rest. */
int skep_cmd_exit_of(int rc);

uint64_t skep_cmd_now_us(void);

#endif
