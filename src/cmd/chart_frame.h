/* SPDX-License-Identifier: MIT */
/* What is around the numbers of a chart: title, legend, axes with their grid, marks, labels at the ends of lines. */
#ifndef SKEP_CMD_CHART_FRAME_H
#define SKEP_CMD_CHART_FRAME_H

#include "cmd/chart.h"
#include "cmd/chart_axis.h"
#include "cmd/chart_svg.h"

enum {
    SKEP_FRAME_CELL = 8, /* pixels of one cell of `ink` */
    SKEP_FRAME_ROWS = SKEP_SVG_HEIGHT / SKEP_FRAME_CELL,
    SKEP_FRAME_COLUMNS = SKEP_SVG_WIDTH / SKEP_FRAME_CELL
};

struct skep_frame {
    struct skep_buf *out;
    const char *x_label, *y_label;
    const char *const *names; /* [name_count] categories of the x axis, or NULL */
    size_t name_count;
    double head;                     /* how far title, legend and y label reach down */
    double left, right, top, bottom; /* of the plot */
    bool names_slant;                /* they do not fit side by side */
    struct skep_axis x, y;
    /* Where something is drawn, so that labels go elsewhere. */
    uint8_t ink[SKEP_FRAME_ROWS][SKEP_FRAME_COLUMNS];
};

/* Of one line of the legend, or at the end of one line. */
struct skep_frame_label {
    const char *text;
    size_t colour;
    int form; /* of skep_chart_series; -1: no swatch, and grey */
    double y; /* of the line's end */
};

/** Begin the document: title and subtitle. The other members of `frame` but `out` and the labels are zero. */
void skep_frame_begin(struct skep_frame *frame, const char *title, const char *subtitle,
                      size_t colours);

/** A legend below what the head has so far. */
void skep_frame_legend(struct skep_frame *frame, const struct skep_frame_label *labels,
                       size_t count);

/**
 * Where the plot stands; then the axes' ends are set. The y axis has been fitted.
 *
 * @param right_room  What labels at the ends of lines take.
 * @param below       What stands below the names of categories.
 */
void skep_frame_place(struct skep_frame *frame, double right_room, double below);

/** Grid, ticks, their labels, names and the axes' labels. Both axes have been fitted. */
void skep_frame_grid(struct skep_frame *frame);

/** The lines of the marks that are within the axes, then their labels; draw both after the data. */
void skep_frame_marks(struct skep_frame *frame, const struct skep_chart_mark *marks, size_t count);
void skep_frame_mark_labels(struct skep_frame *frame, const struct skep_chart_mark *marks,
                            size_t count);

/** Labels right of the plot, kept apart. Sorts them. */
void skep_frame_end_labels(struct skep_frame *frame, struct skep_frame_label *labels, size_t count);

/** Something was drawn along a line, or in a rectangle. */
void skep_frame_touch_line(struct skep_frame *frame, double x0, double y0, double x1, double y1);
void skep_frame_touch_box(struct skep_frame *frame, double x0, double y0, double x1, double y1);

/** Text stands from x on, on the line y. */
void skep_frame_touch_text(struct skep_frame *frame, double x, double y, double width);

/** The widest of the end labels, with room; 0 if one is too wide to stand there. */
double skep_frame_end_room(const struct skep_frame_label *labels, size_t count);

#endif
