/* SPDX-License-Identifier: MIT */
/* A chart of series: what is refused, what its axes show, whether names stand at the lines or in a legend. The rest is in chart_frame.c
 * (around the plot), chart_draw.c (in it) and chart_axis.c. */
#include "cmd/chart.h"

#include <math.h>

#include "cmd/chart_draw.h"

enum {
    Y_TICKS_MAX = 6,
    X_TICKS_MAX = 9,
    FEW_POINTS = 24, /* a line of so few has markers, which want room at the sides */
    X_TICK_GAP = 16, /* pixels between the labels of the x axis */
};
#define BAR_LABEL_ROOM 0.05 /* of the highest bar, for its number */
#define X_PADDING 0.03      /* of the range of x, for markers */
#define END_SHARE 0.05 /* how far before the right side a line may end and have its name there */

/* ---- what is refused ---- */

static bool is_number(double v, bool log)
{
    return isfinite(v) && fabs(v) <= SKEP_AXIS_MOST && !(log && v < 0);
}

static int check_series(const struct skep_chart *c, const struct skep_chart_series *s)
{
    bool x_log = c->x_log && !c->x_names;

    if (s->count > 0 && (!s->x || !s->y))
        return SKEP_EINVAL;
    for (size_t i = 0; i < s->count; i++) {
        if (!is_number(s->x[i], x_log) || !is_number(s->y[i], c->y_log))
            return SKEP_EINVAL;
        if (c->x_names && (s->x[i] < 0 || s->x[i] > (double)(c->x_name_count - 1)))
            return SKEP_EINVAL;
        if (i > 0 && s->form != SKEP_CHART_DOTS && s->x[i] < s->x[i - 1])
            return SKEP_EINVAL;
    }
    return 0;
}

/* Both equal is none: from the data. */
static bool is_limits(double low, double high, bool log)
{
    return low == high || (is_number(low, log) && is_number(high, log) && low < high &&
                           (!log || low >= SKEP_AXIS_LEAST));
}

static int check_marks(const struct skep_chart_mark *marks, size_t count, bool x_log, bool y_log)
{
    for (size_t i = 0; i < count; i++) {
        if (!is_number(marks[i].at, marks[i].vertical ? x_log : y_log))
            return SKEP_EINVAL;
    }
    return 0;
}

static int check(const struct skep_chart *c)
{
    size_t points = 0;

    if (c->series_count == 0 || c->series_count > SKEP_CHART_SERIES_MAX ||
        (c->x_names && (c->x_name_count == 0 || c->x_name_count > SKEP_CHART_NAMES_MAX)))
        return SKEP_EINVAL;
    if (!is_limits(c->x_min, c->x_max, c->x_log && !c->x_names) ||
        !is_limits(c->y_min, c->y_max, c->y_log))
        return SKEP_EINVAL;
    for (size_t s = 0; s < c->series_count; s++) {
        if (check_series(c, &c->series[s]) < 0)
            return SKEP_EINVAL;
        points += c->series[s].count;
    }
    if (points == 0)
        return SKEP_EINVAL;
    return check_marks(c->marks, c->mark_count, c->x_log && !c->x_names, c->y_log);
}

/* ---- axes ---- */

static bool has_form(const struct skep_chart *c, int form)
{
    for (size_t s = 0; s < c->series_count; s++) {
        if ((int)c->series[s].form == form && c->series[s].count > 0)
            return true;
    }
    return false;
}

/* Room at the sides: for markers and dots; none where a line has many points. */
static double x_padding(const struct skep_chart *c)
{
    for (size_t s = 0; s < c->series_count; s++) {
        if (c->series[s].count > FEW_POINTS && c->series[s].form != SKEP_CHART_DOTS)
            return 0;
    }
    return X_PADDING;
}

/* A bar reaches half a bar further than its x. */
static void add_bars(struct skep_axis_range *range, const struct skep_chart *c)
{
    double half = skep_chart_bar_gap(c, c->x_log) / 2;

    for (size_t s = 0; s < c->series_count; s++) {
        const struct skep_chart_series *series = &c->series[s];

        for (size_t i = 0; i < series->count && series->form == SKEP_CHART_BARS; i++) {
            double factor = c->x_log ? pow(10, half) : 1, term = c->x_log ? 0 : half;

            skep_axis_range_add(range, series->x[i] / factor - term);
            skep_axis_range_add(range, series->x[i] * factor + term);
        }
    }
}

/* Bars at whole numbers get no ticks between them. */
static bool is_whole(const struct skep_chart *c)
{
    for (size_t s = 0; s < c->series_count; s++) {
        for (size_t i = 0; i < c->series[s].count; i++) {
            if (c->series[s].x[i] != floor(c->series[s].x[i]))
                return false;
        }
    }
    return true;
}

static void x_fit(struct skep_chart_drawing *d, size_t tick_max)
{
    const struct skep_chart *c = d->chart;
    struct skep_axis *x = &d->frame.x;
    double start = x->start, end = x->end;
    bool bars = has_form(c, SKEP_CHART_BARS);
    struct skep_axis_range range = {0};

    for (size_t s = 0; s < c->series_count; s++) {
        for (size_t i = 0; i < c->series[s].count; i++)
            skep_axis_range_add(&range, c->series[s].x[i]);
    }
    for (size_t i = 0; i < c->mark_count; i++) {
        if (c->marks[i].vertical)
            skep_axis_range_add(&range, c->marks[i].at);
    }
    if (c->x_names) {
        skep_axis_set(x, -0.5, (double)c->x_name_count - 0.5, false, 1);
    } else if (c->x_min != c->x_max) {
        skep_axis_set(x, c->x_min, c->x_max, c->x_log, tick_max);
    } else {
        add_bars(&range, c);
        if (bars && is_whole(c) && !c->x_log)
            tick_max = SKEP_MIN(tick_max, (size_t)SKEP_MAX(range.high - range.low, 1.0));
        skep_axis_fit(x, &range, c->x_log, bars ? 0 : x_padding(c), tick_max);
    }
    x->start = start;
    x->end = end;
}

static bool is_in_x(const struct skep_chart *c, double x)
{
    return c->x_names || c->x_min == c->x_max || (x >= c->x_min && x <= c->x_max);
}

static void y_fit(struct skep_chart_drawing *d)
{
    const struct skep_chart *c = d->chart;
    struct skep_axis_range range = {0};
    bool from_zero = c->y_from_zero || has_form(c, SKEP_CHART_BARS) || has_form(c, SKEP_CHART_AREA);

    for (size_t s = 0; s < c->series_count; s++) {
        for (size_t i = 0; i < c->series[s].count; i++) {
            if (is_in_x(c, c->series[s].x[i]))
                skep_axis_range_add(&range, skep_chart_top(d, s, i));
        }
    }
    for (size_t i = 0; i < c->mark_count; i++) {
        if (!c->marks[i].vertical)
            skep_axis_range_add(&range, c->marks[i].at);
    }
    if (from_zero && !c->y_log)
        skep_axis_range_add(&range, 0);
    if (skep_chart_has_bar_labels(c) && range.high > 0)
        skep_axis_range_add(&range, range.high * (1 + BAR_LABEL_ROOM));
    if (c->y_min != c->y_max)
        skep_axis_set(&d->frame.y, c->y_min, c->y_max, c->y_log, Y_TICKS_MAX);
    else
        skep_axis_fit(&d->frame.y, &range, c->y_log, -1, Y_TICKS_MAX);
}

/* Do the labels of the x axis stand apart from each other? */
static bool ticks_fit(const struct skep_axis *x)
{
    double end = -1e9;

    for (size_t i = 0; i < x->tick_count; i++) {
        double at = skep_axis_at(x, x->ticks[i].value),
               half = skep_svg_text_width(skep_bytes_str(x->ticks[i].text), 12) / 2;

        if (x->ticks[i].minor)
            continue;
        if (at - half < end + X_TICK_GAP)
            return false;
        end = at + half;
    }
    return true;
}

/* ---- names ---- */

static size_t labels_of(struct skep_frame_label *labels, const struct skep_chart *c)
{
    size_t count = 0;

    for (size_t s = 0; s < c->series_count; s++) {
        if (c->series[s].name && *c->series[s].name && c->series[s].count > 0)
            labels[count++] =
                (struct skep_frame_label){c->series[s].name, s, (int)c->series[s].form, 0};
    }
    return count;
}

/* All that have a name are lines that reach the right side. */
static bool lines_reach_right(struct skep_chart_drawing *d, const struct skep_frame_label *labels,
                              size_t count)
{
    const struct skep_axis *x = &d->frame.x;

    x_fit(d, X_TICKS_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct skep_chart_series *s = &d->chart->series[labels[i].colour];
        double last = skep_axis_unit(x->log, SKEP_MAX(s->x[s->count - 1], SKEP_AXIS_LEAST)),
               reach = END_SHARE * (x->unit_high - x->unit_low);

        if (!x->log)
            last = s->x[s->count - 1];
        if (s->form == SKEP_CHART_DOTS || s->form == SKEP_CHART_BARS || d->chart->x_names ||
            last < x->unit_high - reach || last > x->unit_high + reach / 100)
            return false;
    }
    return true;
}

/* Where the line ends; of an area the middle of its right side. */
static double end_of(const struct skep_chart_drawing *d, size_t s)
{
    const struct skep_frame *f = &d->frame;
    size_t last = d->chart->series[s].count - 1;
    double y = skep_axis_at(&f->y, skep_chart_top(d, s, last));

    if (d->chart->series[s].form == SKEP_CHART_AREA && d->below[s] >= 0)
        y = (y + skep_axis_at(&f->y, skep_chart_top(d, (size_t)d->below[s], last))) / 2;
    else if (d->chart->series[s].form == SKEP_CHART_AREA && !f->y.log)
        y = (y + skep_axis_at(&f->y, 0)) / 2;
    return SKEP_MIN(SKEP_MAX(y, f->top), f->bottom);
}

/* ---- all ---- */

static int draw(struct skep_chart_drawing *d)
{
    const struct skep_chart *c = d->chart;
    int rc;

    skep_frame_grid(&d->frame);
    rc = skep_chart_draw(d);
    skep_frame_marks(&d->frame, c->marks, c->mark_count);
    skep_frame_mark_labels(&d->frame, c->marks, c->mark_count);
    return rc;
}

static int write(struct skep_chart_drawing *d)
{
    const struct skep_chart *c = d->chart;
    struct skep_frame *f = &d->frame;
    struct skep_frame_label labels[SKEP_CHART_SERIES_MAX];
    size_t count = labels_of(labels, c);
    double room = skep_frame_end_room(labels, count);
    bool at_ends;
    int rc;

    skep_chart_stack(d);
    y_fit(d);
    at_ends = room > 0 && count > 0 && lines_reach_right(d, labels, count);
    skep_frame_begin(f, c->title, c->subtitle, c->series_count);
    if (!at_ends)
        skep_frame_legend(f, labels, count);
    skep_frame_place(f, at_ends ? room : 0, 0);
    for (size_t ticks = X_TICKS_MAX; ticks > 0; ticks--) {
        x_fit(d, ticks);
        if (ticks_fit(&f->x))
            break;
    }
    if ((rc = draw(d)) < 0)
        return rc;
    for (size_t i = 0; at_ends && i < count; i++)
        labels[i].y = end_of(d, labels[i].colour);
    if (at_ends)
        skep_frame_end_labels(f, labels, count);
    skep_svg_end(f->out);
    return f->out->rc;
}

int skep_chart_write(struct skep_buf *out, const struct skep_chart *chart)
{
    struct skep_chart_drawing d = {
        .chart = chart,
        .frame = {.out = out,
                  .x_label = chart->x_label,
                  .y_label = chart->y_label,
                  .names = chart->x_names,
                  .name_count = chart->x_name_count},
    };
    size_t before = out->len;
    int rc = check(chart);

    if (rc == 0)
        rc = write(&d);
    if (rc < 0)
        out->len = before;
    return rc;
}
