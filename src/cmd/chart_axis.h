/* SPDX-License-Identifier: MIT */
/* One axis of a chart: which part of the numbers it shows, its round ticks, and where on the page a number stands. */
#ifndef SKEP_CMD_CHART_AXIS_H
#define SKEP_CMD_CHART_AXIS_H

#include <stdbool.h>
#include <stddef.h>

/* Numbers are within these, or 0; what is less counts as 0. */
#define SKEP_AXIS_LEAST 1e-30
#define SKEP_AXIS_MOST 1e30

enum { SKEP_AXIS_TICKS_MAX = 128, SKEP_AXIS_TEXT_MAX = 48 };

struct skep_axis_tick {
    double value;
    bool minor;                    /* no label, no line: between decades */
    char text[SKEP_AXIS_TEXT_MAX]; /* "" if minor */
};

struct skep_axis {
    bool log;
    bool zero_apart;            /* logarithmic, and 0 has the place `start` below a gap */
    double low, high;           /* what is shown; low < high */
    double unit_low, unit_high; /* the same, or their logarithms */
    double start, end;          /* where low and high stand; the caller's to set */
    struct skep_axis_tick ticks[SKEP_AXIS_TICKS_MAX]; /* ascending */
    size_t tick_count;
};

/** The numbers that an axis has to show. Starts as {0}. */
struct skep_axis_range {
    double low, high,
        low_positive; /* the last: the least number above zero, for logarithmic axes */
    bool some, some_zero, some_positive, some_negative;
};
void skep_axis_range_add(struct skep_axis_range *range, double value);

/**
 * Fit an axis to its numbers.
 *
 * @param padding   Room at both ends, of the range of the numbers; negative: up to the next round numbers instead.
 * @param tick_max  Not many more labels than this.
 * An empty range is taken for [0, 1].
 */
void skep_axis_fit(struct skep_axis *axis, const struct skep_axis_range *range, bool log,
                   double padding, size_t tick_max);

/** An axis that shows just [low, high]; of a logarithmic one both are above zero. */
void skep_axis_set(struct skep_axis *axis, double low, double high, bool log, size_t tick_max);

/** Where `value` stands, between start and end for what is shown. On a logarithmic axis 0 stands
 *  at the start if it is shown, else far below. */
double skep_axis_at(const struct skep_axis *axis, double value);

/** A linear number, or its logarithm. */
double skep_axis_unit(bool log, double value);

/** A number with `decimals`, its thousands apart, or as 2.5·10⁹ where it is very large or small. @return `out`. */
char *skep_axis_number(char out[SKEP_AXIS_TEXT_MAX], double value, int decimals);

/** The same with the three digits that tell something. */
char *skep_axis_value(char out[SKEP_AXIS_TEXT_MAX], double value);

#endif
