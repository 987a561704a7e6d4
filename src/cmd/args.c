/* SPDX-License-Identifier: MIT */
/* Durations, counts and grids, as the command line has them. Leaves out signs, exponents and white space. */
#include "cmd/args.h"

#include <stdarg.h>
#include <stdio.h>

enum { FRACTION_DIGITS_MAX = 9 };

int skep_cmd_refuse(struct skep_cmd_why *why, int rc, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why->text, sizeof why->text, format, args);
    va_end(args);
    return rc;
}

int skep_cmd_no_memory(struct skep_cmd_why *why)
{
    return skep_cmd_refuse(why, SKEP_ENOMEM, "out of memory");
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits off the front of *text. @return false when there is none, or the number is above 64 bits. */
static bool take_digits(const char **text, uint64_t *out)
{
    const char *p = *text;
    uint64_t v = 0;

    for (; is_digit(*p); p++) {
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return false;
    }
    if (p == *text)
        return false;
    *text = p;
    *out = v;
    return true;
}

/* ".25" off the front of *text in units of 1e-9. Digits after the ninth say nothing at this grain. */
static bool take_fraction(const char **text, uint64_t *out_nano)
{
    const char *p = *text + 1;
    uint64_t v = 0;
    size_t digits = 0;

    for (; is_digit(*p); p++, digits++) {
        if (digits < FRACTION_DIGITS_MAX)
            v = v * 10 + (uint64_t)(*p - '0');
    }
    for (size_t i = digits; i < FRACTION_DIGITS_MAX; i++)
        v *= 10;
    *text = p;
    *out_nano = v;
    return digits > 0;
}

static uint64_t unit_us(const char *unit)
{
    static const struct {
        const char *name;
        uint64_t us;
    } units[] = {{"", 1000000},   {"us", 1},         {"ms", 1000},      {"s", 1000000},
                 {"m", 60000000}, {"h", 3600000000}, {"d", 86400000000}};

    for (size_t i = 0; i < SKEP_COUNT_OF(units); i++) {
        if (strcmp(unit, units[i].name) == 0)
            return units[i].us;
    }
    return 0;
}

int skep_cmd_duration(uint64_t *out_us, const char *text, struct skep_cmd_why *why)
{
    const char *p = text;
    uint64_t whole, nano = 0, unit, us;

    *out_us = 0;
    if (!take_digits(&p, &whole) || (*p == '.' && !take_fraction(&p, &nano)) ||
        (unit = unit_us(p)) == 0)
        return skep_cmd_refuse(why, SKEP_EINVAL,
                               "'%.64s' is not a duration such as 30, 50ms, 1.5s, 2h", text);
    if (__builtin_mul_overflow(whole, unit, &us) || us > INT64_MAX - unit)
        return skep_cmd_refuse(why, SKEP_EINVAL, "'%.64s' is too long a time", text);
    /* nano < 1e9 and unit < 1e11, so the product is split to stay in 64 bits. */
    *out_us = us + (unit / 1000000 * nano) / 1000 + (unit % 1000000 * nano) / 1000000000;
    return 0;
}

int skep_cmd_count(uint64_t *out, const char *text, uint64_t least, uint64_t most,
                   struct skep_cmd_why *why)
{
    const char *p = text;
    uint64_t v;

    *out = 0;
    if (!take_digits(&p, &v) || *p != '\0')
        return skep_cmd_refuse(why, SKEP_EINVAL, "'%.64s' is not a whole number", text);
    if (v < least || v > most)
        return skep_cmd_refuse(why, SKEP_EINVAL, "%.64s is not between %llu and %llu", text,
                               (unsigned long long)least, (unsigned long long)most);
    *out = v;
    return 0;
}

int skep_cmd_grid_parse(struct skep_cmd_grid *out, const char *text, struct skep_cmd_why *why)
{
    const char *p = text;
    uint64_t size;

    *out = (struct skep_cmd_grid){.dims = 0};
    do {
        p += out->dims > 0; /* the 'x' */
        if (!take_digits(&p, &size) || (*p != 'x' && *p != '\0'))
            return skep_cmd_refuse(why, SKEP_EINVAL, "'%.64s' is not a grid such as 256x256x256",
                                   text);
        if (size == 0 || size > SKEP_GRID_SIZE_MAX)
            return skep_cmd_refuse(why, SKEP_EINVAL, "dimension %zu of grid '%.64s' is %s",
                                   out->dims + 1, text, size == 0 ? "zero" : "too large");
        if (out->dims == SKEP_GRID_DIMENSIONS_MAX)
            return skep_cmd_refuse(why, SKEP_EINVAL, "the grid has more than %d dimensions",
                                   SKEP_GRID_DIMENSIONS_MAX);
        out->size[out->dims++] = (size_t)size;
    } while (*p == 'x');
    return 0;
}
