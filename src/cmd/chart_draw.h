/* SPDX-License-Identifier: MIT */
/* The series of a chart, drawn into its frame. */
#ifndef SKEP_CMD_CHART_DRAW_H
#define SKEP_CMD_CHART_DRAW_H

#include "cmd/chart_frame.h"

struct skep_chart_drawing {
    const struct skep_chart *chart;
    struct skep_frame frame;
    int below[SKEP_CHART_SERIES_MAX]; /* the AREA that this one stacks on, or -1 */
};

/** Fill `below`. */
void skep_chart_stack(struct skep_chart_drawing *drawing);

/** The y of one point, with what it stacks on. */
double skep_chart_top(const struct skep_chart_drawing *drawing, size_t series, size_t index);

/** The least distance on the x axis between neighbours of any series of bars, in units of the axis; 0 if there is none. */
double skep_chart_bar_gap(const struct skep_chart *chart, bool x_log);

/** Does each bar have its number above it? */
bool skep_chart_has_bar_labels(const struct skep_chart *chart);

/** Draw all series: areas, bars, lines, dots. Frame and axes are ready. @return 0 or SKEP_ENOMEM. */
int skep_chart_draw(struct skep_chart_drawing *drawing);

#endif
