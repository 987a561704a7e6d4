/* SPDX-License-Identifier: MIT */
/* Why something was refused: one sentence, filled by whoever found out, printed by the command after "skep: WHAT: ". */
#ifndef SKEP_CMD_WHY_H
#define SKEP_CMD_WHY_H

#include <stddef.h>

enum { SKEP_CMD_WHY_MAX = 512 };

struct skep_cmd_why {
    char text[SKEP_CMD_WHY_MAX];
};

/** Set the reason. @return rc, so that `return skep_cmd_refuse(why, SKEP_EVALUE, "…")` reads well. */
int skep_cmd_refuse(struct skep_cmd_why *why, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** The same where memory ran out. */
int skep_cmd_no_memory(struct skep_cmd_why *why);

#endif
