/* SPDX-License-Identifier: MIT */
/* The small grammars of `skep sim`: round trips, sessions, shares, and files of measured round trips. */
#ifndef SKEP_CMD_SIM_OPTIONS_H
#define SKEP_CMD_SIM_OPTIONS_H

#include "base/bytes.h"
#include "cmd/why.h"

enum {
    SKEP_SIM_PLACES_MAX = 4096,           /* of a matrix of round trips: 64 MiB */
    SKEP_SIM_SIGMA_TEXT_MAX_MILLI = 10000 /* of a logarithm; e^10 is 22,000 times the median */
};

struct skep_sim_latency_text {
    enum {
        SKEP_LATENCY_CONSTANT,
        SKEP_LATENCY_UNIFORM,
        SKEP_LATENCY_LOGNORMAL,
        SKEP_LATENCY_MATRIX
    } kind;
    uint64_t a_us, b_us;  /* constant: a; uniform: from a to b; lognormal: a is the median */
    uint32_t sigma_milli; /* lognormal */
    const char *file;     /* matrix; borrowed from the text */
};

/** "80ms", "constant:80ms", "uniform:20ms,80ms", "lognormal:80ms,0.5" (median, sigma of the logarithm), "matrix:FILE". Times are those of
 *  skep_cmd_duration(), up to 50 days. @return 0 or SKEP_EINVAL. */
int skep_cmd_latency_parse(struct skep_sim_latency_text *out, const char *text,
                           struct skep_cmd_why *why);

struct skep_sim_session_text {
    enum { SKEP_SESSION_EXPONENTIAL, SKEP_SESSION_LOGNORMAL } kind;
    uint64_t median_us;
    uint32_t sigma_milli; /* lognormal */
};

/** "3600s" or "exp:3600s", "lognormal:3600s,1.0". @return 0 or SKEP_EINVAL. */
int skep_cmd_session_parse(struct skep_sim_session_text *out, const char *text,
                           struct skep_cmd_why *why);

/** "1%" or "0.01", from 0 to 1, in parts per million; a finer share is refused. @return 0 or SKEP_EINVAL. */
int skep_cmd_share_parse(uint32_t *out_ppm, const char *text, struct skep_cmd_why *why);

/**
 * A file of measured round trips: n lines of n numbers, milliseconds, between blanks or commas. Empty lines and those that begin with '#' are
 * skipped. Two directions of a pair that differ are averaged. Only from a place to itself it may take no time.
 *
 * @param out_us  [*out_n][*out_n], symmetric, microseconds; the caller's, freed with `mem`. NULL on error.
 * @return 0, SKEP_ENOMEM, or SKEP_EINVAL: not square, not a positive number, more than SKEP_SIM_PLACES_MAX; `why` names line and value.
 */
int skep_cmd_matrix_parse(uint32_t **out_us, size_t *out_n, const struct skep_mem *mem,
                          skep_bytes text, struct skep_cmd_why *why);

#endif
