/* SPDX-License-Identifier: MIT */
/* Distributions side by side; see chart.h. A percentile between two samples is interpolated (Hyndman & Fan 1996, type 7). The shape behind a
 * box ends at the 99th; it is a density along the axis as it is drawn, so that a logarithmic one is smoothed in its logarithm. */
#include "cmd/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/chart_frame.h"

enum {
    Y_TICKS_MAX = 6,
    SHAPE_ROWS_MAX = 200,
    SHAPE_ROWS_BUDGET = 1600, /* of all boxes of a document */
    ROW_PIXELS_MIN = 2,
    STRIP_MAX = 40, /* so few samples are shown one by one */
    KEY_MAX = 192,
    OUTLIER_PIXELS = 2,
    BOX_COUNT_MIN = 5,  /* of fewer samples there is a median, but no box */
    LABEL_BAND_MIN = 64 /* pixels of a category that its numbers take */
};
#define SHAPE_WIDTH_MAX 64.0 /* half of it, pixels */
#define BOX_WIDTH_MAX 15.0

enum { P5, P25, P50, P75, P95, P99, PERCENTILES };
static const double shares[PERCENTILES] = {0.05, 0.25, 0.5, 0.75, 0.95, 0.99};

struct summary {
    double *sorted; /* [count] */
    size_t count;
    double at[PERCENTILES];
};

struct drawing {
    const struct skep_chart_boxes *chart;
    struct skep_frame frame;
    struct summary summaries[SKEP_CHART_BOXES_MAX];
    const char *names[SKEP_CHART_BOXES_MAX];
};

/* ---- numbers ---- */

static bool is_number(double v, bool log)
{
    return isfinite(v) && fabs(v) <= SKEP_AXIS_MOST && !(log && v < 0);
}

static int check(const struct skep_chart_boxes *c)
{
    size_t samples = 0;

    if (c->box_count == 0 || c->box_count > SKEP_CHART_BOXES_MAX)
        return SKEP_EINVAL;
    for (size_t b = 0; b < c->box_count; b++) {
        for (size_t i = 0; i < c->boxes[b].count; i++) {
            if (!is_number(c->boxes[b].samples[i], c->y_log))
                return SKEP_EINVAL;
        }
        samples += c->boxes[b].count;
    }
    for (size_t i = 0; i < c->mark_count; i++) {
        if (!is_number(c->marks[i].at, c->y_log && !c->marks[i].vertical))
            return SKEP_EINVAL;
    }
    return samples > 0 ? 0 : SKEP_EINVAL;
}

static int ascending(const void *a, const void *b)
{
    double p, q;

    memcpy(&p, a, sizeof p);
    memcpy(&q, b, sizeof q);
    return (p > q) - (p < q);
}

static double percentile(const struct summary *s, double share)
{
    double at = share * (double)(s->count - 1);
    size_t below = (size_t)at, above = SKEP_MIN(below + 1, s->count - 1);

    return s->sorted[below] + (s->sorted[above] - s->sorted[below]) * (at - (double)below);
}

static int summarize(struct summary *out, const struct skep_chart_box *box,
                     const struct skep_mem *mem)
{
    if (box->count == 0)
        return 0;
    out->sorted = skep_mem_dup(mem, box->samples, box->count * sizeof *box->samples);
    if (!out->sorted)
        return SKEP_ENOMEM;
    out->count = box->count;
    qsort(out->sorted, out->count, sizeof *out->sorted, ascending);
    for (size_t i = 0; i < PERCENTILES; i++)
        out->at[i] = percentile(out, shares[i]);
    return 0;
}

static void y_fit(struct drawing *d)
{
    const struct skep_chart_boxes *c = d->chart;
    struct skep_axis_range range = {0};

    for (size_t b = 0; b < c->box_count; b++) {
        for (size_t i = 0; i < c->boxes[b].count; i++)
            skep_axis_range_add(&range, c->boxes[b].samples[i]);
    }
    for (size_t i = 0; i < c->mark_count; i++) {
        if (!c->marks[i].vertical)
            skep_axis_range_add(&range, c->marks[i].at);
    }
    if (c->y_from_zero && !c->y_log)
        skep_axis_range_add(&range, 0);
    skep_axis_fit(&d->frame.y, &range, c->y_log, -1, Y_TICKS_MAX);
}

/* ---- the shape of the samples ---- */

struct shape {
    double
        rows[SHAPE_ROWS_MAX]; /* of equal height, from the plot's top: how many samples; smoothed */
    size_t count;
    double height;
};

static double row_y(const struct shape *shape, const struct skep_frame *f, size_t row)
{
    return f->top + ((double)row + 0.5) * shape->height;
}

/* Means of 2 * radius + 1 neighbours; three times over that is close to a normal kernel of sigma = radius rows. */
static void smooth(struct shape *shape, size_t radius)
{
    double before[SHAPE_ROWS_MAX];

    memcpy(before, shape->rows, sizeof before);
    for (size_t i = 0; i < shape->count; i++) {
        size_t first = i > radius ? i - radius : 0, last = SKEP_MIN(i + radius, shape->count - 1);
        double sum = 0;

        for (size_t k = first; k <= last; k++)
            sum += before[k];
        shape->rows[i] = sum / (double)(2 * radius + 1);
    }
}

/* Silverman's rule of thumb, from the quartiles as they are drawn. */
static size_t smoothing_of(const struct drawing *d, const struct summary *s,
                           const struct shape *shape)
{
    double spread =
        fabs(skep_axis_at(&d->frame.y, s->at[P75]) - skep_axis_at(&d->frame.y, s->at[P25]));
    double sigma = 0.67 * spread * pow((double)s->count, -0.2);

    return (size_t)(SKEP_MIN(SKEP_MAX(sigma, 3.0), 20.0) / shape->height + 0.5);
}

static void shape_of(struct shape *out, const struct drawing *d, const struct summary *s)
{
    const struct skep_frame *f = &d->frame;
    double height = f->bottom - f->top, most = 0;
    size_t rows =
        SKEP_MIN((size_t)(height / ROW_PIXELS_MIN), SHAPE_ROWS_BUDGET / d->chart->box_count);
    size_t radius;

    *out = (struct shape){.count = SKEP_MIN(rows, (size_t)SHAPE_ROWS_MAX)};
    out->height = height / (double)out->count;
    for (size_t i = 0; i < s->count; i++) {
        double row = (skep_axis_at(&f->y, s->sorted[i]) - f->top) / out->height;

        out->rows[SKEP_MIN((size_t)SKEP_MAX(row, 0.0), out->count - 1)] += 1;
    }
    radius = smoothing_of(d, s, out);
    for (int i = 0; i < 3; i++)
        smooth(out, SKEP_MAX(radius, (size_t)1));
    for (size_t i = 0; i < out->count; i++)
        most = SKEP_MAX(most, out->rows[i]);
    for (size_t i = 0; i < out->count; i++)
        out->rows[i] /= most;
}

static void put_shape(struct drawing *d, const struct summary *s, double x, double width)
{
    struct skep_frame *f = &d->frame;
    double top = skep_axis_at(&f->y, s->at[P99]), bottom = skep_axis_at(&f->y, s->sorted[0]);
    struct shape shape;

    shape_of(&shape, d, s);
    skep_svg_write(f->out, "<path fill=\"currentColor\" fill-opacity=\".24\" d=\"M%x %xL", x, top);
    for (size_t i = 0; i < shape.count; i++) {
        double y = row_y(&shape, f, i), half = SKEP_MAX(width * shape.rows[i], 0.4);

        if (y <= top || y >= bottom)
            continue;
        skep_svg_write(f->out, "%x %x ", x + half, y);
        skep_frame_touch_line(f, x - half, y, x + half, y);
    }
    skep_svg_write(f->out, "%x %x", x, bottom);
    for (size_t i = shape.count; i-- > 0;) {
        double y = row_y(&shape, f, i);

        if (y > top && y < bottom)
            skep_svg_write(f->out, " %x %x", x - SKEP_MAX(width * shape.rows[i], 0.4), y);
    }
    skep_buf_put_str(f->out, "Z\"/>");
}

/* What is above the 99th percentile one by one, as far as they stand apart. */
static void put_outliers(struct drawing *d, const struct summary *s, double x)
{
    struct skep_frame *f = &d->frame;
    double last = -1;

    skep_buf_put_str(f->out,
                     "<path stroke=\"currentColor\" stroke-opacity=\".6\" stroke-width=\"3\" "
                     "stroke-linecap=\"round\" d=\"");
    for (size_t i = s->count; i-- > 0 && s->sorted[i] > s->at[P99];) {
        double y = skep_axis_at(&f->y, s->sorted[i]);

        if (last >= 0 && y - last < OUTLIER_PIXELS)
            continue;
        skep_svg_write(f->out, "M%x %xh0", x, y);
        skep_frame_touch_line(f, x, y, x, y);
        last = y;
    }
    skep_buf_put_str(f->out, "\"/>");
}

/* A few samples one by one, moved sideways by the golden ratio so that neighbours do not cover each other. */
static void put_strip(struct drawing *d, const struct summary *s, double x, double width)
{
    struct skep_frame *f = &d->frame;

    skep_buf_put_str(f->out,
                     "<path stroke=\"currentColor\" stroke-opacity=\".45\" stroke-width=\"5\" "
                     "stroke-linecap=\"round\" d=\"");
    for (size_t i = 0; i < s->count; i++) {
        double turn = (double)i * 0.6180339887, side = turn - floor(turn) - 0.5;
        double dot_x = x + side * width * 0.8, y = skep_axis_at(&f->y, s->sorted[i]);

        skep_svg_write(f->out, "M%x %xh0", dot_x, y);
        skep_frame_touch_line(f, dot_x, y, dot_x, y);
    }
    skep_buf_put_str(f->out, "\"/>");
}

/* ---- one box ---- */

static void put_box(struct drawing *d, const struct summary *s, double x, double width)
{
    struct skep_frame *f = &d->frame;
    double y[PERCENTILES];

    for (size_t i = 0; i < PERCENTILES; i++)
        y[i] = skep_axis_at(&f->y, s->at[i]);
    skep_svg_write(
        f->out,
        "<path fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.6\" stroke-linecap=\"round\" "
        "d=\"M%x %xV%xM%x %xh%x\"/>",
        x, y[P5], y[P95], x - width / 3, y[P99], width * 2 / 3);
    skep_svg_write(
        f->out,
        "<rect x=\"%x\" y=\"%x\" width=\"%x\" height=\"%x\" rx=\"2.5\" fill=\"currentColor\"/>",
        x - width / 2, y[P75], width, SKEP_MAX(y[P25] - y[P75], 1.0));
    skep_frame_touch_box(f, x - width / 2, y[P99], x + width / 2, y[P5]);
}

static void put_median(struct drawing *d, const struct summary *s, double x, double width)
{
    double y = skep_axis_at(&d->frame.y, s->at[P50]);

    if (s->count >= BOX_COUNT_MIN)
        skep_svg_write(d->frame.out, "<path class=\"halo\" stroke-width=\"2.4\" d=\"M%x %xh%x\"/>",
                       x - width / 2, y, width);
    else
        skep_svg_write(d->frame.out,
                       "<path stroke=\"currentColor\" stroke-width=\"2.4\" d=\"M%x %xh%x\"/>",
                       x - width, y, width * 2);
}

/* For who points at it, and for programs that read aloud. */
static void put_tooltip(struct drawing *d, size_t b)
{
    static const char *const words[PERCENTILES] = {"5 %", "25 %", "median", "75 %", "95 %", "99 %"};
    const struct summary *s = &d->summaries[b];
    char text[SKEP_AXIS_TEXT_MAX];

    skep_svg_write(d->frame.out, "<title>%t: ", d->names[b]);
    for (size_t i = 0; i < PERCENTILES; i++)
        skep_svg_write(d->frame.out, "%s %t, ", words[i], skep_axis_value(text, s->at[i]));
    skep_svg_write(d->frame.out, "of %t</title>", skep_axis_number(text, (double)s->count, 0));
}

/* Median and 95th percentile, right of the box; the second moves up where they would touch. */
static void put_numbers(struct drawing *d, const struct summary *s, double x)
{
    static const char halo[] =
        "paint-order=\"stroke\" stroke-width=\"3\" stroke-linejoin=\"round\"";
    double median = skep_axis_at(&d->frame.y, s->at[P50]) + 4,
           high = SKEP_MIN(skep_axis_at(&d->frame.y, s->at[P95]) + 4, median - 14);
    char text[SKEP_AXIS_TEXT_MAX];

    skep_svg_write(d->frame.out,
                   "<text class=\"ink halo\" x=\"%x\" y=\"%x\" font-weight=\"600\" %s>%t</text>", x,
                   median, halo, skep_axis_value(text, s->at[P50]));
    if (s->count >= BOX_COUNT_MIN)
        skep_svg_write(d->frame.out,
                       "<text class=\"dim halo\" x=\"%x\" y=\"%x\" font-size=\"11\" %s>%t</text>",
                       x, high, halo, skep_axis_value(text, s->at[P95]));
    skep_frame_touch_text(&d->frame, x, median, 36);
    skep_frame_touch_text(&d->frame, x, high, 30);
}

static void draw_box(struct drawing *d, size_t b)
{
    struct skep_frame *f = &d->frame;
    const struct summary *s = &d->summaries[b];
    double band = (f->right - f->left) / (double)d->chart->box_count;
    double x = skep_axis_at(&f->x, (double)b), shape = SKEP_MIN(band * 0.42, SHAPE_WIDTH_MAX),
           box = SKEP_MIN(band * 0.3, BOX_WIDTH_MAX);

    if (s->count == 0)
        return;
    skep_buf_put_str(f->out, "<g class=\"c0\">");
    put_tooltip(d, b);
    if (s->count > STRIP_MAX) {
        put_shape(d, s, x, shape);
        put_outliers(d, s, x);
    } else {
        put_strip(d, s, x, shape);
    }
    if (s->count >= BOX_COUNT_MIN)
        put_box(d, s, x, box);
    put_median(d, s, x, box);
    skep_buf_put_str(f->out, "</g>\n");
    if (band >= LABEL_BAND_MIN)
        put_numbers(d, s, x + (s->count >= BOX_COUNT_MIN ? box / 2 : box) + 7);
}

/* ---- all ---- */

static bool counts_are_equal(const struct skep_chart_boxes *c)
{
    for (size_t b = 1; b < c->box_count; b++) {
        if (c->boxes[b].count != c->boxes[0].count)
            return false;
    }
    return true;
}

static void put_key(struct drawing *d)
{
    bool wide = (SKEP_SVG_WIDTH - 120.0) / (double)d->chart->box_count >= LABEL_BAND_MIN;
    char number[SKEP_AXIS_TEXT_MAX], text[KEY_MAX];
    const struct skep_frame_label key = {text, 0, -1, 0};

    skep_axis_number(number, (double)d->chart->boxes[0].count, 0);
    snprintf(text, sizeof text,
             "Box: 25 to 75 %%, line: 5 to 95 %%, dash: 99 %%, dots: above.%s%s%s%s",
             wide ? " Numbers: median and 95 %." : "", counts_are_equal(d->chart) ? " " : "",
             counts_are_equal(d->chart) ? number : "",
             counts_are_equal(d->chart) ? " samples each." : "");
    skep_frame_legend(&d->frame, &key, 1);
}

/* Below the names, where they are not the same. */
static void put_counts(struct drawing *d)
{
    const struct skep_frame *f = &d->frame;
    char text[SKEP_AXIS_TEXT_MAX];

    skep_buf_put_str(f->out, "<g class=\"dim\" text-anchor=\"middle\" font-size=\"11\">");
    for (size_t b = 0; b < d->chart->box_count; b++)
        skep_svg_write(f->out, "<text x=\"%x\" y=\"%x\">n = %t</text>",
                       skep_axis_at(&f->x, (double)b), f->bottom + 35,
                       skep_axis_number(text, (double)d->chart->boxes[b].count, 0));
    skep_buf_put_str(f->out, "</g>\n");
}

static int write(struct drawing *d)
{
    const struct skep_chart_boxes *c = d->chart;
    struct skep_frame *f = &d->frame;
    bool counts = !counts_are_equal(c);

    y_fit(d);
    skep_axis_set(&f->x, -0.5, (double)c->box_count - 0.5, false, 1);
    skep_frame_begin(f, c->title, c->subtitle, 1);
    put_key(d);
    skep_frame_place(f, 0, counts ? 15 : 0);
    skep_frame_grid(f);
    if (counts && !f->names_slant)
        put_counts(d);
    for (size_t b = 0; b < c->box_count; b++)
        draw_box(d, b);
    skep_frame_marks(f, c->marks, c->mark_count);
    skep_frame_mark_labels(f, c->marks, c->mark_count);
    skep_svg_end(f->out);
    return f->out->rc;
}

static int summarize_all(struct drawing *d)
{
    for (size_t b = 0; b < d->chart->box_count; b++) {
        d->names[b] = d->chart->boxes[b].name ? d->chart->boxes[b].name : "";
        if (summarize(&d->summaries[b], &d->chart->boxes[b], d->frame.out->mem) < 0)
            return SKEP_ENOMEM;
    }
    return 0;
}

int skep_chart_write_boxes(struct skep_buf *out, const struct skep_chart_boxes *chart)
{
    struct drawing d = {
        .chart = chart,
        .frame = {.out = out,
                  .x_label = chart->x_label,
                  .y_label = chart->y_label,
                  .name_count = chart->box_count},
    };
    size_t before = out->len;
    int rc = check(chart);

    d.frame.names = d.names;
    if (rc == 0)
        rc = summarize_all(&d);
    if (rc == 0)
        rc = write(&d);
    for (size_t b = 0; b < SKEP_CHART_BOXES_MAX; b++)
        skep_mem_free(out->mem, d.summaries[b].sorted);
    if (rc < 0)
        out->len = before;
    return rc;
}
