/* SPDX-License-Identifier: MIT */
/* A list of uids or prefixes from the arguments and a file. */
#ifndef SKEP_CMD_UIDS_H
#define SKEP_CMD_UIDS_H

#include "cmd/cmd.h"

struct skep_cmd_uids {
    const char **items; /* [count]; they point into the arguments and into `file` */
    size_t count;
    struct skep_buf file;
};

/** Arguments, then the lines of `path` (NULL: none, "-": stdin; empty lines and those that begin with '#' are skipped), each checked
 *  to be a uid. @return false, with the error printed. */
bool skep_cmd_uids_read(struct skep_cmd_uids *uids, const struct skep_cmd_args *args,
                        const char *path);
void skep_cmd_uids_fini(struct skep_cmd_uids *uids);

#endif
