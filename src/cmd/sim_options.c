/* SPDX-License-Identifier: MIT */
/* The grammars of `skep sim`; see sim_options.h. Numbers are decimal digits with an optional fraction, read as integers of the unit that is
 * wanted, so that a run is the same on every machine. */
#include "cmd/sim_options.h"

#include "cmd/args.h"

enum {
    PART_MAX = 64,      /* bytes of one part of an option */
    SHOWN_MAX = 64,     /* bytes of a file's text in an error */
    SIGMA_DECIMALS = 3, /* thousandths */
    SHARE_DECIMALS = 6, /* millionths */
    PERCENT_DECIMALS = 4,
    MILLISECOND_DECIMALS = 3,
};
#define TIME_US_MAX ((uint64_t)1 << 42) /* 50 days, as far as the simulator's draws go */

/* ---- decimal numbers ---- */

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* A digit more, or none past the end of the fraction. @return false if the number is above 64 bits. */
static bool add_digit(uint64_t *v, unsigned digit)
{
    return !__builtin_mul_overflow(*v, 10, v) && !__builtin_add_overflow(*v, digit, v);
}

/* "12.5" in units of 10^-decimals; `*exact` is false where further digits were left out.
 * @return false if it is no such number, or above 64 bits. */
static bool decimal_of(uint64_t *out, skep_bytes text, size_t decimals, bool *exact)
{
    size_t i = 0, places = 0;

    *out = 0;
    *exact = true;
    for (; i < text.len && is_digit(text.data[i]); i++) {
        if (!add_digit(out, text.data[i] - '0'))
            return false;
    }
    if (i == 0)
        return false;
    if (i < text.len) {
        if (text.data[i++] != '.' || i == text.len)
            return false;
        for (; i < text.len && is_digit(text.data[i]); i++, places++) {
            if (places >= decimals)
                *exact = *exact && text.data[i] == '0';
            else if (!add_digit(out, text.data[i] - '0'))
                return false;
        }
    }
    for (; places < decimals; places++) {
        if (!add_digit(out, 0))
            return false;
    }
    return i == text.len;
}

/* ---- options ---- */

/* What follows "kind:", or NULL. */
static const char *after(const char *text, const char *kind)
{
    size_t len = strlen(kind);

    return strncmp(text, kind, len) == 0 && text[len] == ':' ? text + len + 1 : NULL;
}

static int time_parse(uint64_t *out_us, const char *text, struct skep_cmd_why *why)
{
    int rc = skep_cmd_duration(out_us, text, why);

    if (rc == 0 && *out_us > TIME_US_MAX) {
        *out_us = 0;
        return skep_cmd_refuse(why, SKEP_EINVAL, "'%.64s' is longer than 50 days", text);
    }
    return rc;
}

/* A median of no time has no distribution around it. */
static int median_parse(uint64_t *out_us, const char *text, struct skep_cmd_why *why)
{
    int rc = time_parse(out_us, text, why);

    if (rc == 0 && *out_us == 0)
        return skep_cmd_refuse(why, SKEP_EINVAL, "a median of '%.64s' is no time at all", text);
    return rc;
}

static int sigma_parse(uint32_t *out_milli, const char *text, struct skep_cmd_why *why)
{
    uint64_t v;
    bool exact;

    if (!decimal_of(&v, skep_bytes_str(text), SIGMA_DECIMALS, &exact))
        return skep_cmd_refuse(why, SKEP_EINVAL, "'%.64s' is not a sigma such as 0.5", text);
    if (!exact)
        return skep_cmd_refuse(why, SKEP_EINVAL, "sigma '%.64s' is finer than thousandths", text);
    if (v > SKEP_SIM_SIGMA_TEXT_MAX_MILLI)
        return skep_cmd_refuse(why, SKEP_EINVAL, "sigma '%.64s' is above %d", text,
                               SKEP_SIM_SIGMA_TEXT_MAX_MILLI / 1000);
    *out_milli = (uint32_t)v;
    return 0;
}

/* "a,b" into two. @return what follows the comma, `first` before it; NULL if there is not just one comma, or a part is too long. */
static const char *split(char first[PART_MAX], const char *text)
{
    const char *comma = strchr(text, ',');

    if (!comma || comma - text >= PART_MAX || strchr(comma + 1, ','))
        return NULL;
    memcpy(first, text, (size_t)(comma - text));
    first[comma - text] = '\0';
    return comma + 1;
}

static int uniform_parse(struct skep_sim_latency_text *out, const char *text,
                         struct skep_cmd_why *why)
{
    char first[PART_MAX];
    const char *second = split(first, text);
    int rc;

    if (!second)
        return skep_cmd_refuse(why, SKEP_EINVAL, "'%.64s' is not two times such as 20ms,80ms",
                               text);
    if ((rc = time_parse(&out->a_us, first, why)) < 0 ||
        (rc = time_parse(&out->b_us, second, why)) < 0)
        return rc;
    if (out->a_us > out->b_us)
        return skep_cmd_refuse(why, SKEP_EINVAL, "'%.64s' begins with the longer time", text);
    return 0;
}

static int lognormal_parse(uint64_t *out_median_us, uint32_t *out_sigma_milli, const char *text,
                           struct skep_cmd_why *why)
{
    char first[PART_MAX];
    const char *second = split(first, text);
    int rc;

    if (!second)
        return skep_cmd_refuse(why, SKEP_EINVAL,
                               "'%.64s' is not a median and a sigma such as 80ms,0.5", text);
    if ((rc = median_parse(out_median_us, first, why)) < 0)
        return rc;
    return sigma_parse(out_sigma_milli, second, why);
}

static int latency_parse(struct skep_sim_latency_text *out, const char *text,
                         struct skep_cmd_why *why)
{
    const char *rest;

    if ((rest = after(text, "uniform"))) {
        out->kind = SKEP_LATENCY_UNIFORM;
        return uniform_parse(out, rest, why);
    }
    if ((rest = after(text, "lognormal"))) {
        out->kind = SKEP_LATENCY_LOGNORMAL;
        return lognormal_parse(&out->a_us, &out->sigma_milli, rest, why);
    }
    if ((rest = after(text, "matrix"))) {
        out->kind = SKEP_LATENCY_MATRIX;
        out->file = rest;
        return *rest != '\0' ? 0 : skep_cmd_refuse(why, SKEP_EINVAL, "'%.64s' names no file", text);
    }
    if ((rest = after(text, "constant")))
        return time_parse(&out->a_us, rest, why);
    if (strchr(text, ':'))
        return skep_cmd_refuse(why, SKEP_EINVAL,
                               "'%.64s' is not a latency such as 80ms, uniform:20ms,80ms, "
                               "lognormal:80ms,0.5, matrix:FILE",
                               text);
    return time_parse(&out->a_us, text, why);
}

int skep_cmd_latency_parse(struct skep_sim_latency_text *out, const char *text,
                           struct skep_cmd_why *why)
{
    int rc;

    *out = (struct skep_sim_latency_text){.kind = SKEP_LATENCY_CONSTANT};
    rc = latency_parse(out, text, why);
    if (rc < 0)
        *out = (struct skep_sim_latency_text){.kind = SKEP_LATENCY_CONSTANT};
    return rc;
}

static int session_parse(struct skep_sim_session_text *out, const char *text,
                         struct skep_cmd_why *why)
{
    const char *rest;

    if ((rest = after(text, "lognormal"))) {
        out->kind = SKEP_SESSION_LOGNORMAL;
        return lognormal_parse(&out->median_us, &out->sigma_milli, rest, why);
    }
    if ((rest = after(text, "exp")))
        return median_parse(&out->median_us, rest, why);
    if (strchr(text, ':'))
        return skep_cmd_refuse(
            why, SKEP_EINVAL,
            "'%.64s' is not a session such as 3600s, exp:3600s, lognormal:3600s,1.0", text);
    return median_parse(&out->median_us, text, why);
}

int skep_cmd_session_parse(struct skep_sim_session_text *out, const char *text,
                           struct skep_cmd_why *why)
{
    int rc;

    *out = (struct skep_sim_session_text){.kind = SKEP_SESSION_EXPONENTIAL};
    rc = session_parse(out, text, why);
    if (rc < 0)
        *out = (struct skep_sim_session_text){.kind = SKEP_SESSION_EXPONENTIAL};
    return rc;
}

int skep_cmd_share_parse(uint32_t *out_ppm, const char *text, struct skep_cmd_why *why)
{
    skep_bytes number = skep_bytes_str(text);
    bool percent = number.len > 0 && text[number.len - 1] == '%', exact;
    uint64_t v;

    *out_ppm = 0;
    number.len -= percent;
    if (!decimal_of(&v, number, percent ? PERCENT_DECIMALS : SHARE_DECIMALS, &exact))
        return skep_cmd_refuse(why, SKEP_EINVAL, "'%.64s' is not a share such as 1%% or 0.01",
                               text);
    if (!exact)
        return skep_cmd_refuse(why, SKEP_EINVAL, "'%.64s' is finer than millionths", text);
    if (v > 1000000)
        return skep_cmd_refuse(why, SKEP_EINVAL, "'%.64s' is more than all", text);
    *out_ppm = (uint32_t)v;
    return 0;
}

/* ---- matrices ---- */

struct matrix {
    const struct skep_mem *mem;
    uint32_t *us; /* [n][n], NULL before the first row */
    size_t n, rows;
    size_t line; /* in the file, from 1 */
    struct skep_cmd_why *why;
};

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static void skip_blanks(skep_bytes *text)
{
    while (text->len > 0 && is_blank(text->data[0]))
        skep_bytes_take(text, 1);
}

/* The next value of a line, "" where a comma has none before it; the comma after it is gone. */
static skep_bytes take_value(skep_bytes *line)
{
    skep_bytes value;
    size_t len = 0;

    while (len < line->len && !is_blank(line->data[len]) && line->data[len] != ',')
        len++;
    value = skep_bytes_take(line, len);
    skip_blanks(line);
    return value;
}

/* Past the comma between two values, which there need not be. @return whether there is a next value, if only an empty one. */
static bool take_separator(skep_bytes *line)
{
    bool comma = line->len > 0 && line->data[0] == ',';

    skep_bytes_take(line, comma);
    skip_blanks(line);
    return comma || line->len > 0;
}

static size_t count_values(skep_bytes line)
{
    size_t count = 0;

    do {
        take_value(&line);
        count++;
    } while (take_separator(&line));
    return count;
}

static int value_parse(struct matrix *m, size_t column, skep_bytes value)
{
    uint64_t us;
    bool exact;
    char shown[SHOWN_MAX];

    skep_text_escape(shown, sizeof shown, value);
    if (!decimal_of(&us, value, MILLISECOND_DECIMALS, &exact))
        return skep_cmd_refuse(m->why, SKEP_EINVAL,
                               "line %zu, value %zu: '%s' is not a time in milliseconds", m->line,
                               column + 1, shown);
    if (us > UINT32_MAX)
        return skep_cmd_refuse(m->why, SKEP_EINVAL, "line %zu, value %zu: '%s' is too long a time",
                               m->line, column + 1, shown);
    if (us == 0 && column != m->rows)
        return skep_cmd_refuse(m->why, SKEP_EINVAL,
                               "line %zu, value %zu: '%s' is less than a microsecond", m->line,
                               column + 1, shown);
    m->us[m->rows * m->n + column] = (uint32_t)us;
    return 0;
}

/* The first row says how many there are. */
static int size_from(struct matrix *m, size_t count)
{
    if (count > SKEP_SIM_PLACES_MAX)
        return skep_cmd_refuse(m->why, SKEP_EINVAL, "line %zu has %zu values; at most are %d",
                               m->line, count, SKEP_SIM_PLACES_MAX);
    m->n = count;
    m->us = skep_mem_zalloc(m->mem, count * count, sizeof *m->us);
    return m->us ? 0 : skep_cmd_no_memory(m->why);
}

static int row_parse(struct matrix *m, skep_bytes line)
{
    size_t count = count_values(line);
    int rc = 0;

    if (m->rows == 0 && (rc = size_from(m, count)) < 0)
        return rc;
    if (count != m->n)
        return skep_cmd_refuse(m->why, SKEP_EINVAL,
                               "line %zu has %zu values; those before it have %zu", m->line, count,
                               m->n);
    if (m->rows == m->n)
        return skep_cmd_refuse(m->why, SKEP_EINVAL, "line %zu is one more than its %zu values",
                               m->line, m->n);
    for (size_t column = 0; rc == 0 && column < count; column++) {
        rc = value_parse(m, column, take_value(&line));
        take_separator(&line);
    }
    m->rows++;
    return rc;
}

static void make_symmetric(struct matrix *m)
{
    for (size_t a = 0; a < m->n; a++) {
        for (size_t b = 0; b < a; b++) {
            uint32_t *one = &m->us[a * m->n + b], *other = &m->us[b * m->n + a];

            *one = *other = (uint32_t)(((uint64_t)*one + *other + 1) / 2);
        }
    }
}

static int rows_parse(struct matrix *m, skep_bytes text)
{
    int rc = 0;

    while (rc == 0 && text.len > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        skep_bytes line = skep_bytes_take(&text, end ? (size_t)(end - text.data) : text.len);

        skep_bytes_take(&text, 1);
        m->line++;
        while (line.len > 0 && is_blank(line.data[line.len - 1]))
            line.len--;
        skip_blanks(&line);
        if (line.len > 0 && line.data[0] != '#')
            rc = row_parse(m, line);
    }
    if (rc == 0 && m->rows == 0)
        return skep_cmd_refuse(m->why, SKEP_EINVAL, "there are no round trips in it");
    if (rc == 0 && m->rows < m->n)
        return skep_cmd_refuse(m->why, SKEP_EINVAL, "there are %zu lines of %zu values", m->rows,
                               m->n);
    return rc;
}

int skep_cmd_matrix_parse(uint32_t **out_us, size_t *out_n, const struct skep_mem *mem,
                          skep_bytes text, struct skep_cmd_why *why)
{
    struct matrix m = {.mem = mem, .why = why};
    int rc = rows_parse(&m, text);

    *out_us = NULL;
    *out_n = 0;
    if (rc < 0) {
        skep_mem_free(mem, m.us);
        return rc;
    }
    make_symmetric(&m);
    *out_us = m.us;
    *out_n = m.n;
    return 0;
}
