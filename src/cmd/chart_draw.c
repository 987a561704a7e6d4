/* SPDX-License-Identifier: MIT */
/* The series of a chart as paths. Thousands of points become the first, lowest, highest and last of each column that can be told apart, dots
 * the first of each small square: what is seen is the same, and a document stays small. */
#include "cmd/chart_draw.h"

#include <math.h>

enum {
    POINTS_BUDGET = 3000, /* of a document, some 12 bytes each */
    MARKERS_MAX = 24,     /* a line of so few points shows them */
    BAR_WIDTH_MAX = 56,
    BAR_LABELS_MAX = 16,
    FAR = 4000, /* pixels; what is further outside is not told apart */
};
#define BAR_SHARE 0.72    /* of the place that bars have, the rest is gap */
#define BAR_WIDTH_MIN 1.2 /* narrower ones are drawn as one area */

struct point {
    double x, y;
};

struct path {
    struct point *points;
    size_t count;
};

void skep_chart_stack(struct skep_chart_drawing *d)
{
    const struct skep_chart_series *series = d->chart->series;
    int last = -1;

    for (size_t s = 0; s < d->chart->series_count; s++) {
        d->below[s] = -1;
        if (series[s].form != SKEP_CHART_AREA || series[s].count == 0)
            continue;
        if (last >= 0 && series[last].count == series[s].count &&
            memcmp(series[last].x, series[s].x, series[s].count * sizeof *series[s].x) == 0)
            d->below[s] = last;
        last = (int)s;
    }
}

double skep_chart_top(const struct skep_chart_drawing *d, size_t s, size_t index)
{
    double sum = 0;

    for (int at = (int)s; at >= 0; at = d->below[at])
        sum += d->chart->series[at].y[index];
    return sum;
}

/* ---- points on the page ---- */

static double bounded(double v)
{
    return SKEP_MIN(SKEP_MAX(v, (double)-FAR), (double)FAR);
}

static struct point place_of(const struct skep_chart_drawing *d, double x, double y)
{
    return (struct point){bounded(skep_axis_at(&d->frame.x, x)),
                          bounded(skep_axis_at(&d->frame.y, y))};
}

static struct point point_at(const struct skep_chart_drawing *d, size_t s, size_t i)
{
    return place_of(d, d->chart->series[s].x[i], skep_chart_top(d, s, i));
}

/* Where areas and bars begin. */
static double base_of(const struct skep_chart_drawing *d)
{
    return d->frame.y.log ? d->frame.bottom : bounded(skep_axis_at(&d->frame.y, 0));
}

static bool is_stacked(const struct skep_chart_drawing *d, size_t s)
{
    bool stacked = d->below[s] >= 0;

    for (size_t i = 0; i < d->chart->series_count; i++)
        stacked = stacked || d->below[i] == (int)s;
    return stacked;
}

/* An area for itself is drawn twice, filled and as a line, and so are bars where they are too many. */
static size_t weight_of(const struct skep_chart_drawing *d)
{
    size_t sum = 0;

    for (size_t s = 0; s < d->chart->series_count; s++) {
        int form = (int)d->chart->series[s].form;

        sum += form == SKEP_CHART_BARS || (form == SKEP_CHART_AREA && !is_stacked(d, s)) ? 2 : 1;
    }
    return SKEP_MAX(sum, (size_t)1);
}

/* Columns that points are put together in, at most four of each. */
static size_t column_count(const struct skep_chart_drawing *d)
{
    size_t pixels = (size_t)(d->frame.right - d->frame.left);

    return SKEP_MIN(POINTS_BUDGET / 4 / weight_of(d), SKEP_MAX(pixels, (size_t)1));
}

static int column_of(const struct skep_chart_drawing *d, struct point p, size_t columns)
{
    double share = (p.x - d->frame.left) / (d->frame.right - d->frame.left);
    int column = (int)(share * (double)columns);

    return share < 0 ? -1 : SKEP_MIN(column, (int)columns);
}

/* Points of one column, by their index: those that say where its line comes in, turns and leaves. */
static void put_column(struct path *path, const struct skep_chart_drawing *d, size_t s,
                       const size_t index[4])
{
    size_t low = SKEP_MIN(index[1], index[2]), high = SKEP_MAX(index[1], index[2]);
    const size_t order[4] = {index[0], low, high, index[3]};

    for (size_t i = 0; i < 4; i++) {
        if (i == 0 || order[i] != order[i - 1])
            path->points[path->count++] = point_at(d, s, order[i]);
    }
}

static void thin(struct path *path, const struct skep_chart_drawing *d, size_t s)
{
    const struct skep_chart_series *series = &d->chart->series[s];
    size_t columns = column_count(d), index[4] = {0}; /* first, lowest, highest, last */
    struct point lowest = {0}, highest = {0};
    int column = 0;

    path->count = 0;
    for (size_t i = 0; i < series->count; i++) {
        struct point p = point_at(d, s, i);
        int here = column_of(d, p, columns);

        if (i == 0 || here != column) {
            if (i > 0)
                put_column(path, d, s, index);
            index[0] = index[1] = index[2] = index[3] = i;
            lowest = highest = p;
            column = here;
            continue;
        }
        index[3] = i;
        if (p.y > lowest.y) {
            lowest = p;
            index[1] = i;
        }
        if (p.y < highest.y) {
            highest = p;
            index[2] = i;
        }
    }
    if (series->count > 0)
        put_column(path, d, s, index);
}

static struct point mean_point(const struct skep_chart_drawing *d, double x_sum, double y_sum,
                               size_t count)
{
    return place_of(d, x_sum / (double)count, y_sum / (double)count);
}

/* Of a stack the mean of each column: thickness is what is looked at there, and edges of different columns would cross. */
static void thin_stack(struct path *path, const struct skep_chart_drawing *d, size_t s)
{
    const struct skep_chart_series *series = &d->chart->series[s];
    size_t columns = 2 * column_count(d), count = 0;
    double x = 0, y = 0;
    int column = 0;

    path->count = 0;
    for (size_t i = 0; i < series->count; i++) {
        int here = column_of(d, point_at(d, s, i), columns);

        if (count > 0 && here != column) {
            path->points[path->count++] = mean_point(d, x, y, count);
            count = 0;
            x = y = 0;
        }
        column = here;
        count++;
        x += series->x[i];
        y += skep_chart_top(d, s, i);
    }
    path->points[path->count++] = mean_point(d, x, y, count);
}

/* Columns run from -1, what is left of the plot, to column_count(), what is right of it. */
static int path_new(struct path *path, const struct skep_chart_drawing *d)
{
    size_t cap = 4 * (column_count(d) + 2);

    *path = (struct path){.count = 0};
    path->points = skep_mem_zalloc(d->frame.out->mem, cap, sizeof *path->points);
    return path->points ? 0 : SKEP_ENOMEM;
}

static void path_free(struct path *path, const struct skep_chart_drawing *d)
{
    skep_mem_free(d->frame.out->mem, path->points);
    *path = (struct path){.count = 0};
}

/* What an axis with given ends does not show is cut off. */
static void clip_begin(struct skep_chart_drawing *d)
{
    const struct skep_frame *f = &d->frame;
    double x = f->left, y = f->top - 1, width = f->right - f->left, height = f->bottom - f->top + 2;

    if (d->chart->x_min != d->chart->x_max || d->chart->y_min != d->chart->y_max)
        skep_svg_write(f->out,
                       "<svg x=\"%x\" y=\"%x\" width=\"%x\" height=\"%x\" viewBox=\"%x %x %x %x\">",
                       x, y, width, height, x, y, width, height);
}

static void clip_end(struct skep_chart_drawing *d)
{
    if (d->chart->x_min != d->chart->x_max || d->chart->y_min != d->chart->y_max)
        skep_svg_end(d->frame.out);
}

/* ---- lines ---- */

static void put_points(struct skep_chart_drawing *d, const struct path *path, bool steps)
{
    struct skep_buf *out = d->frame.out;

    for (size_t i = 0; i < path->count; i++) {
        const struct point *p = &path->points[i], *before = i > 0 ? p - 1 : p;

        if (i == 0)
            skep_svg_write(out, "M%x %x", p->x, p->y);
        else if (steps)
            skep_svg_write(out, "H%xV%x", p->x, p->y);
        else
            skep_svg_write(out, i == 1 ? "L%x %x" : " %x %x", p->x, p->y);
        skep_frame_touch_line(&d->frame, before->x, before->y, p->x, steps ? before->y : p->y);
        if (steps)
            skep_frame_touch_line(&d->frame, p->x, before->y, p->x, p->y);
    }
}

/* A subpath of no length with a round cap is a dot. */
static void put_dots(struct skep_chart_drawing *d, const struct path *path)
{
    const struct skep_frame *f = &d->frame;

    for (size_t i = 0; i < path->count; i++) {
        const struct point *p = &path->points[i];

        if (p->x >= f->left - 1 && p->x <= f->right + 1 && p->y >= f->top - 1 &&
            p->y <= f->bottom + 1)
            skep_svg_write(f->out, "M%x %xh0", p->x, p->y);
    }
}

static void put_markers(struct skep_chart_drawing *d, size_t s, const struct path *path)
{
    struct skep_buf *out = d->frame.out;

    skep_buf_put_str(out, "<path class=\"halo\" stroke-width=\"10\" stroke-linecap=\"round\" d=\"");
    put_dots(d, path);
    skep_svg_write(out,
                   "\"/>\n<path class=\"c%d\" stroke=\"currentColor\" stroke-width=\"7\" "
                   "stroke-linecap=\"round\" d=\"",
                   (int)s);
    put_dots(d, path);
    skep_buf_put_str(out, "\"/>\n");
}

static int draw_line(struct skep_chart_drawing *d, size_t s)
{
    const struct skep_chart_series *series = &d->chart->series[s];
    bool steps = series->form == SKEP_CHART_STEPS;
    struct path path;

    if (path_new(&path, d) < 0)
        return SKEP_ENOMEM;
    thin(&path, d, s);
    clip_begin(d);
    skep_svg_write(d->frame.out,
                   "<path class=\"c%d\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"%s\" "
                   "stroke-linejoin=\"round\" stroke-linecap=\"round\" d=\"",
                   (int)s, path.count > 400 ? "1.4" : "2.2");
    put_points(d, &path, steps);
    skep_buf_put_str(d->frame.out, "\"/>\n");
    clip_end(d);
    if (series->count == 1 || (!steps && series->count <= MARKERS_MAX))
        put_markers(d, s, &path);
    path_free(&path, d);
    return 0;
}

/* ---- areas ---- */

/* Down to zero. Of a stack the highest is drawn first and the next covers its lower part, so that edges cannot part. */
static void put_area(struct skep_chart_drawing *d, size_t s, const struct path *top)
{
    struct skep_frame *f = &d->frame;
    double zero = base_of(d);

    if (is_stacked(d, s))
        skep_svg_write(f->out, "<path class=\"a%d\" d=\"", (int)s);
    else
        skep_svg_write(
            f->out, "<path class=\"c%d\" fill=\"currentColor\" fill-opacity=\".25\" d=\"", (int)s);
    put_points(d, top, false);
    skep_svg_write(f->out, "L%x %xH%xZ\"/>\n", top->points[top->count - 1].x, zero,
                   top->points[0].x);
    for (size_t i = 0; i < top->count; i++)
        skep_frame_touch_line(f, top->points[i].x, top->points[i].y, top->points[i].x, zero);
}

static int draw_area(struct skep_chart_drawing *d, size_t s)
{
    struct path top;

    if (path_new(&top, d) < 0)
        return SKEP_ENOMEM;
    if (is_stacked(d, s))
        thin_stack(&top, d, s);
    else
        thin(&top, d, s);
    clip_begin(d);
    put_area(d, s, &top);
    if (!is_stacked(d, s)) {
        skep_svg_write(
            d->frame.out,
            "<path class=\"c%d\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.6\" "
            "stroke-linejoin=\"round\" stroke-linecap=\"round\" d=\"",
            (int)s);
        put_points(d, &top, false);
        skep_buf_put_str(d->frame.out, "\"/>\n");
    }
    clip_end(d);
    path_free(&top, d);
    return 0;
}

/* ---- bars ---- */

static size_t bar_count(const struct skep_chart *chart)
{
    size_t sum = 0;

    for (size_t s = 0; s < chart->series_count; s++)
        sum += chart->series[s].form == SKEP_CHART_BARS ? chart->series[s].count : 0;
    return sum;
}

bool skep_chart_has_bar_labels(const struct skep_chart *chart)
{
    size_t count = bar_count(chart);

    return chart->x_names && count > 0 && count <= BAR_LABELS_MAX;
}

double skep_chart_bar_gap(const struct skep_chart *chart, bool x_log)
{
    double least = 0;

    for (size_t s = 0; s < chart->series_count; s++) {
        const struct skep_chart_series *series = &chart->series[s];

        for (size_t i = 1; i < series->count && series->form == SKEP_CHART_BARS; i++) {
            double gap =
                fabs(skep_axis_unit(x_log, series->x[i]) - skep_axis_unit(x_log, series->x[i - 1]));

            if (gap > 0 && isfinite(gap) && (least == 0 || gap < least))
                least = gap;
        }
    }
    return least;
}

/* The bars of one place stand side by side: how wide one is, and where the first of this series begins. */
struct bars {
    double width, offset;
};

static struct bars bars_of(const struct skep_chart_drawing *d, size_t s)
{
    const struct skep_axis *x = &d->frame.x;
    double gap = d->chart->x_names ? 1 : skep_chart_bar_gap(d->chart, x->log);
    double room = (x->end - x->start) * BAR_SHARE, side_by_side = 0, before = 0;
    struct bars bars;

    for (size_t i = 0; i < d->chart->series_count; i++) {
        if (d->chart->series[i].form != SKEP_CHART_BARS)
            continue;
        before += i < s;
        side_by_side++;
    }
    if (gap > 0)
        room *= SKEP_MIN(gap / (x->unit_high - x->unit_low), 1.0);
    bars.width = SKEP_MIN(room / side_by_side, (double)BAR_WIDTH_MAX);
    bars.offset = bars.width * (before - side_by_side / 2);
    return bars;
}

static void put_bar_labels(struct skep_chart_drawing *d, size_t s, const struct bars *bars)
{
    const struct skep_chart_series *series = &d->chart->series[s];
    char text[SKEP_AXIS_TEXT_MAX];

    skep_buf_put_str(d->frame.out, "<g class=\"ink\" text-anchor=\"middle\" font-size=\"11\">");
    for (size_t i = 0; i < series->count; i++) {
        struct point p = point_at(d, s, i);
        double x = p.x + bars->offset + bars->width / 2, y = series->y[i] < 0 ? p.y + 14 : p.y - 5;

        skep_axis_value(text, series->y[i]);
        if (skep_svg_text_width(skep_bytes_str(text), 11) > bars->width + 8)
            continue;
        skep_svg_write(d->frame.out, "<text x=\"%x\" y=\"%x\">%t</text>", x, y, text);
        skep_frame_touch_box(&d->frame, x - 14, y - 10, x + 14, y);
    }
    skep_buf_put_str(d->frame.out, "</g>\n");
}

static int draw_bars(struct skep_chart_drawing *d, size_t s)
{
    const struct skep_chart_series *series = &d->chart->series[s];
    struct bars bars = bars_of(d, s);
    double zero = base_of(d), thin_gap = bars.width > 8 ? 1 : 0;

    if (bars.width < BAR_WIDTH_MIN || bar_count(d->chart) > POINTS_BUDGET / 2)
        return draw_area(d, s);
    clip_begin(d);
    skep_svg_write(d->frame.out, "<path class=\"c%d\" fill=\"currentColor\" d=\"", (int)s);
    for (size_t i = 0; i < series->count; i++) {
        struct point p = point_at(d, s, i);
        double left = p.x + bars.offset + thin_gap / 2;

        skep_svg_write(d->frame.out, "M%x %xV%xh%xV%xz", left, zero, p.y, bars.width - thin_gap,
                       zero);
        skep_frame_touch_box(&d->frame, left, p.y, left + bars.width, zero);
    }
    skep_buf_put_str(d->frame.out, "\"/>\n");
    clip_end(d);
    if (skep_chart_has_bar_labels(d->chart))
        put_bar_labels(d, s, &bars);
    return 0;
}

/* ---- dots ---- */

/* Squares of `cell` pixels that the plot has. */
struct squares {
    double cell;
    size_t columns, rows;
};

static struct squares squares_of(const struct skep_frame *f, double cell)
{
    return (struct squares){cell, (size_t)((f->right - f->left) / cell) + 2,
                            (size_t)((f->bottom - f->top) / cell) + 2};
}

/* The square of a point, or none if it is outside of the plot. */
static size_t square_of(const struct skep_frame *f, const struct squares *q, struct point p)
{
    double column = (p.x - f->left + 1) / q->cell, row = (p.y - f->top + 1) / q->cell;

    if (column < 0 || row < 0 || column >= (double)q->columns || row >= (double)q->rows)
        return SIZE_MAX;
    return (size_t)row * q->columns + (size_t)column;
}

/* Walk over the first point of each square; with `put` they are drawn. @return how many. */
static size_t dots_apart(struct skep_chart_drawing *d, size_t s, const struct squares *q,
                         uint8_t *taken, bool put)
{
    size_t count = 0;

    memset(taken, 0, q->columns * q->rows);
    for (size_t i = 0; i < d->chart->series[s].count; i++) {
        struct point p = point_at(d, s, i);
        size_t at = square_of(&d->frame, q, p);

        if (at == SIZE_MAX || taken[at])
            continue;
        taken[at] = 1;
        count++;
        if (!put)
            continue;
        skep_svg_write(d->frame.out, "M%x %xh0", p.x, p.y);
        skep_frame_touch_line(&d->frame, p.x, p.y, p.x, p.y);
    }
    return count;
}

static int draw_dots(struct skep_chart_drawing *d, size_t s)
{
    struct squares q = squares_of(&d->frame, 1);
    uint8_t *taken = skep_mem_zalloc(d->frame.out->mem, q.columns, q.rows);
    size_t count;

    if (!taken)
        return SKEP_ENOMEM;
    while ((count = dots_apart(d, s, &q, taken, false)) > POINTS_BUDGET / weight_of(d))
        q = squares_of(&d->frame, q.cell * 1.3);
    skep_svg_write(d->frame.out,
                   "<path class=\"c%d\" stroke=\"currentColor\" stroke-linecap=\"round\" "
                   "stroke-width=\"%s\" stroke-opacity=\"%s\" d=\"",
                   (int)s,
                   count <= 100   ? "7"
                   : count <= 600 ? "4.8"
                                  : "3.2",
                   count <= 100   ? ".85"
                   : count <= 600 ? ".7"
                                  : ".5");
    dots_apart(d, s, &q, taken, true);
    skep_buf_put_str(d->frame.out, "\"/>\n");
    skep_mem_free(d->frame.out->mem, taken);
    return 0;
}

/* ---- all ---- */

static int draw_series(struct skep_chart_drawing *d, size_t s)
{
    if (d->chart->series[s].count == 0)
        return 0;
    switch (d->chart->series[s].form) {
    case SKEP_CHART_LINE:
    case SKEP_CHART_STEPS: return draw_line(d, s);
    case SKEP_CHART_DOTS: return draw_dots(d, s);
    case SKEP_CHART_BARS: return draw_bars(d, s);
    case SKEP_CHART_AREA: return draw_area(d, s);
    }
    SKEP_UNREACHABLE();
}

int skep_chart_draw(struct skep_chart_drawing *d)
{
    static const int order[] = {SKEP_CHART_AREA, SKEP_CHART_BARS, SKEP_CHART_STEPS, SKEP_CHART_LINE,
                                SKEP_CHART_DOTS};
    size_t count = d->chart->series_count;

    for (size_t i = 0; i < SKEP_COUNT_OF(order); i++) {
        for (size_t k = 0; k < count; k++) {
            size_t s = order[i] == SKEP_CHART_AREA ? count - 1 - k : k;
            int rc = (int)d->chart->series[s].form == order[i] ? draw_series(d, s) : 0;

            if (rc < 0)
                return rc;
        }
    }
    return 0;
}
