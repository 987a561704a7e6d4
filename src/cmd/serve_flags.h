/* SPDX-License-Identifier: MIT */
/* The flags of hivemind-server, as those of `skep serve`: `--initial_peers A B` is `--join A --join B`. Source: hivemind_cli/run_server.py. */
#ifndef SKEP_CMD_SERVE_FLAGS_H
#define SKEP_CMD_SERVE_FLAGS_H

#include "base/bytes.h"

struct skep_serve_flags {
    const char **argv; /* [argc], NULL-terminated; of the caller's strings and our own */
    int argc;
    char *text; /* ours */
};

/** Names with `_` get `-`, hivemind's names become ours, and each value of a flag that takes several gets a flag of its own. What is
 *  behind "--" stays as it is. @return 0 or SKEP_ENOMEM. */
int skep_serve_flags_init(struct skep_serve_flags *flags, const struct skep_mem *mem, int argc,
                          const char *const *argv);
void skep_serve_flags_fini(struct skep_serve_flags *flags, const struct skep_mem *mem);

#endif
