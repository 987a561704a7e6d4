/* SPDX-License-Identifier: MIT */
/* Errors, JSON lines, tables and progress of the command; see output.h. What comes from peers is escaped before it gets to a
 * terminal. Leaves out locales: numbers always have a dot. */
#include "cmd/output.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"

enum { ESCAPED_MAX = SKEP_PEER_TEXT_MAX + 1, REAL_TEXT_MAX = 40 };

static bool progress_shown;

void skep_cmd_error(const char *what, const char *format, ...)
{
    char escaped[ESCAPED_MAX];
    va_list args;

    skep_cmd_progress_end();
    fflush(stdout);
    va_start(args, format);
    fprintf(stderr, "skep: %s: ", skep_text_escape(escaped, sizeof escaped, skep_bytes_str(what)));
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

bool skep_cmd_has_colour(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

void skep_cmd_progress(const char *format, ...)
{
    va_list args;

    if (!isatty(STDERR_FILENO))
        return;
    va_start(args, format);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, format, args);
    fflush(stderr);
    va_end(args);
    progress_shown = true;
}

void skep_cmd_progress_end(void)
{
    if (progress_shown)
        fputs("\r\033[K", stderr);
    progress_shown = false;
}

char *skep_cmd_time_text(char *out, double unix_s)
{
    struct tm tm;
    time_t t;

    /* Up to the year 9999; strftime's years would grow beyond the buffer after it. */
    if (unix_s >= 0 && unix_s < 253402300800.0) {
        t = (time_t)unix_s;
        if (gmtime_r(&t, &tm) && strftime(out, 40, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
            return out;
    }
    snprintf(out, 40, "%.17g", unix_s);
    return out;
}

/* ---- JSON ---- */

/* Jansson writes 17 digits always; the fewest that read back as the same number are what people expect of 0.1. */
static size_t shortest_real(char out[REAL_TEXT_MAX], const char *number, size_t len)
{
    char text[REAL_TEXT_MAX], *plus;
    double v;

    if (len >= sizeof text)
        return 0;
    memcpy(text, number, len);
    text[len] = '\0';
    v = strtod(text, NULL);
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, REAL_TEXT_MAX, "%.*g", digits, v);
        if (strtod(out, NULL) == v)
            break;
    }
    if ((plus = strchr(out, '+')))
        memmove(plus, plus + 1, strlen(plus)); /* 1e300, as Jansson writes it */
    if (!strpbrk(out, ".e"))
        memcpy(out + strlen(out), ".0", sizeof ".0");
    return strlen(out);
}

static bool is_number_char(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* Copy one token from *from to *to: a string whole, a real shortened, any other byte as it is. Never longer than before. */
static void copy_token(const char **from, char **to)
{
    const char *start = *from, *p = start;
    char real[REAL_TEXT_MAX];
    size_t len, real_len = 0;

    if (*p == '"') {
        for (p++; *p != '"'; p++)
            p += *p == '\\';
        p++;
    } else if (is_number_char(*p)) {
        while (is_number_char(*p))
            p++;
        len = (size_t)(p - start);
        if (memchr(start, '.', len) || memchr(start, 'e', len))
            real_len = shortest_real(real, start, len);
    } else {
        p++;
    }
    len = (size_t)(p - start);
    if (real_len > 0 && real_len <= len) {
        start = real;
        len = real_len;
    }
    memmove(*to, start, len);
    *to += len;
    *from = p;
}

/* Jansson escapes the control characters of ASCII. Those above it (U+0080 to U+009F), which some terminals obey, and the marks that
 * turn the direction of text are still in the way. */
static bool has_odd_characters(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;

    for (; *p; p++) {
        if (*p == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0) ||
            (p[0] == 0xe2 && p[1] == 0x80 && p[2] >= 0xaa && p[2] <= 0xae) ||
            (p[0] == 0xe2 && p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9))
            return true;
    }
    return false;
}

static char *dump(const json_t *document)
{
    char *text = json_dumps(document, JSON_ENCODE_ANY);

    if (text && has_odd_characters(text)) {
        free(text);
        text = json_dumps(document, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    }
    return text;
}

char *skep_cmd_json_line(const json_t *document)
{
    char *text = dump(document), *to = text;
    const char *from = text;

    if (!text)
        return NULL;
    while (*from) {
        /* "true", "false" and "null" hold an 'e' that no number begins with. */
        if (*from >= 'a' && *from <= 'z')
            *to++ = *from++;
        else
            copy_token(&from, &to);
    }
    *to = '\0';
    return text;
}

bool skep_cmd_print_json(json_t *document)
{
    char *text = document ? skep_cmd_json_line(document) : NULL;

    json_decref(document);
    if (!text) {
        skep_cmd_error("output", "out of memory");
        return false;
    }
    puts(text);
    fflush(stdout);
    free(text);
    return true;
}

/* ---- tables ---- */

static void add_cell(struct skep_table *table, const char *text)
{
    if (table->count == table->cap) {
        size_t cap = table->cap * 2 + 32;
        char **grown = realloc(table->cells, cap * sizeof *grown);

        table->failed = table->failed || !grown;
        if (!grown)
            return;
        table->cells = grown;
        table->cap = cap;
    }
    table->cells[table->count] = strdup(text);
    if (table->cells[table->count])
        table->count++;
    else
        table->failed = true;
}

void skep_table_init(struct skep_table *table, const char *const *heading, size_t columns)
{
    assert(columns <= SKEP_TABLE_COLUMNS_MAX);
    *table = (struct skep_table){.columns = columns};
    for (size_t c = 0; c < columns; c++) {
        table->right[c] = heading[c][0] == '>';
        add_cell(table, heading[c] + table->right[c]);
    }
}

void skep_table_add(struct skep_table *table, const char *format, ...)
{
    char *text = NULL, escaped[ESCAPED_MAX];
    va_list args;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    if (text)
        add_cell(table, skep_text_escape(escaped, sizeof escaped, skep_bytes_str(text)));
    else
        table->failed = true;
    free(text);
}

/* Code points, not bytes: every one that is no continuation byte. */
static size_t text_width(const char *text)
{
    size_t width = 0;

    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void print_row(const struct skep_table *table, const size_t *widths, size_t row, FILE *to)
{
    for (size_t c = 0; c < table->columns; c++) {
        const char *cell = table->cells[row * table->columns + c];
        int pad = (int)(widths[c] - text_width(cell));

        if (c > 0)
            fputs("  ", to);
        if (table->right[c])
            fprintf(to, "%*s%s", pad, "", cell);
        else if (c + 1 < table->columns)
            fprintf(to, "%s%*s", cell, pad, "");
        else
            fputs(cell, to);
    }
    fputc('\n', to);
}

void skep_table_print(const struct skep_table *table, FILE *to)
{
    size_t widths[SKEP_TABLE_COLUMNS_MAX] = {0};
    bool colour = to == stdout && skep_cmd_has_colour();

    if (table->failed) {
        skep_cmd_error("output", "out of memory");
        return;
    }
    for (size_t i = 0; i < table->count; i++)
        widths[i % table->columns] =
            SKEP_MAX(widths[i % table->columns], text_width(table->cells[i]));
    for (size_t row = 0; row < table->count / table->columns; row++) {
        if (row == 0 && colour)
            fputs("\033[1m", to);
        print_row(table, widths, row, to);
        if (row == 0 && colour)
            fputs("\033[0m", to);
    }
}

void skep_table_fini(struct skep_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (struct skep_table){.columns = 0};
}
