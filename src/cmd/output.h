/* SPDX-License-Identifier: MIT */
/* What the command prints: errors, JSON documents, tables, progress. */
#ifndef SKEP_CMD_OUTPUT_H
#define SKEP_CMD_OUTPUT_H

#include <jansson.h>
#include <stdio.h>

#include "base/bytes.h"

/** "skep: WHAT: WHY" to stderr. */
void skep_cmd_error(const char *what, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** One compact line of JSON to stdout; takes `document` over. Numbers have the fewest digits that give them back.
 *  @return false (and an error is printed) when `document` is NULL or memory ran out. */
bool skep_cmd_print_json(json_t *document);

/** The line that skep_cmd_print_json() prints, malloced; borrows `document`. NULL: out of memory. */
char *skep_cmd_json_line(const json_t *document);

/** Is stdout a terminal that has colours (and does NO_COLOR not forbid them)? */
bool skep_cmd_has_colour(void);

/** A line on stderr that the next one replaces; nothing at all unless stderr is a terminal. */
void skep_cmd_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void skep_cmd_progress_end(void);

/** UTC, as 2026-11-23T07:00:00Z; the number itself where that is no date. `out` holds 40 bytes. @return `out`. */
char *skep_cmd_time_text(char *out, double unix_s);

/* ---- tables ---- */

enum { SKEP_TABLE_COLUMNS_MAX = 8 };

struct skep_table {
    size_t columns;
    bool right[SKEP_TABLE_COLUMNS_MAX]; /* numbers stand right */
    char **cells;                       /* the heading is the first row */
    size_t count, cap;
    bool failed;
};

/** @param heading  [columns]; one that begins with '>' stands right. */
void skep_table_init(struct skep_table *table, const char *const *heading, size_t columns);
/** Cells row by row; the text is escaped: it may come from a peer. */
void skep_table_add(struct skep_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void skep_table_print(const struct skep_table *table, FILE *to);
void skep_table_fini(struct skep_table *table);

#endif
