/* SPDX-License-Identifier: MIT */
/* Pictures of numbers: SVG documents of 760 by 440 that look right on their own, on a page, on white and in the dark. Pure functions from
 * numbers to text; no scripts, no references to anything outside, below some 60 kB however many points there are. */
#ifndef SKEP_CMD_CHART_H
#define SKEP_CMD_CHART_H

#include "base/bytes.h"

struct skep_chart_series {
    const char *name;    /* at the line's end where that fits, else in a legend; may be NULL */
    const double *x, *y; /* [count]; of lines, steps and areas x does not decrease */
    size_t count;
    /* An AREA is filled down to zero, or, where it has the same x as the AREA before it, stacked on that: y is its own thickness. */
    enum {
        SKEP_CHART_LINE,
        SKEP_CHART_STEPS,
        SKEP_CHART_DOTS,
        SKEP_CHART_BARS,
        SKEP_CHART_AREA
    } form;
};

/* A thin line across with a label: a goal, a median. */
struct skep_chart_mark {
    double at; /* of y; of x if it is vertical */
    const char *label;
    bool vertical;
};

struct skep_chart {
    const char *title, *subtitle;  /* what it shows; how it was made (the command line) */
    const char *x_label, *y_label; /* with their units; may be NULL, as the title's may */
    bool x_log,
        y_log; /* 0 has a place apart below a logarithmic scale; negative numbers are refused */
    bool y_from_zero;
    double x_min, x_max, y_min, y_max; /* both equal: from the data */
    const char *const *x_names;        /* categories instead of numbers: x is 0, 1, 2 … */
    size_t x_name_count;
    const struct skep_chart_series *series;
    size_t series_count; /* at most SKEP_CHART_SERIES_MAX */
    const struct skep_chart_mark *marks;
    size_t mark_count;
};

enum { SKEP_CHART_SERIES_MAX = 8, SKEP_CHART_NAMES_MAX = 1000 };

/** Append a whole SVG document.
 *  @return 0, SKEP_ENOMEM, or SKEP_EINVAL: nothing to draw, too much of it, a number that is not finite (or beyond 1e30), x that decreases,
 *          what is negative on a logarithmic scale. After an error `out` is as long as it was. */
int skep_chart_write(struct skep_buf *out, const struct skep_chart *chart);

/* Distributions side by side: per category the 5th, 25th, 50th, 75th, 95th and 99th percentile as a box with whiskers, before the shape
 * of the samples; a few samples are shown one by one. */
struct skep_chart_box {
    const char *name;
    const double *samples; /* in any order; a box without any keeps its place */
    size_t count;
};

struct skep_chart_boxes {
    const char *title, *subtitle, *x_label, *y_label;
    bool y_log, y_from_zero;
    const struct skep_chart_box *boxes;
    size_t box_count; /* at most SKEP_CHART_BOXES_MAX */
    const struct skep_chart_mark *marks;
    size_t mark_count;
};

enum { SKEP_CHART_BOXES_MAX = 32 };

/** As skep_chart_write(). */
int skep_chart_write_boxes(struct skep_buf *out, const struct skep_chart_boxes *chart);

#endif
