/* SPDX-License-Identifier: MIT */
/* The frame of a chart; see chart_frame.h. Its texts are measured by guess (chart_svg.h), so all have some room to spare. */
#include "cmd/chart_frame.h"

#include <math.h>
#include <stdlib.h>

enum {
    MARGIN = 28,
    TITLE_SIZE = 17,
    SUBTITLE_SIZE = 12,
    SUBTITLE_LINES_MAX = 2,
    TEXT_SIZE = 12,
    LINE_HEIGHT = 16,
    TEXT_MAX = 256,
    END_LABEL_ROOM_MAX = 170,
    NAME_SLANT_LEN = 110, /* of a slanted name */
    SWATCH = 18,
    PLACES_MAX = 12, /* for the label of a mark */
    DATA_INK = 1,
    CROSSING_INK = 8, /* the line of another mark through a label */
    TEXT_INK = 20,    /* text on text is worse than text on lines */
};
#define OUTSIDE_INK 5000u
#define TEXT_WIDTH_MAX (SKEP_SVG_WIDTH - 2.0 * MARGIN)

/* ---- title and legend ---- */

/* May a line end before this byte? Of a command line an option stays with its value. */
static bool may_break(skep_bytes text, size_t at, bool command)
{
    return text.data[at] == ' ' && (!command || (at + 1 < text.len && text.data[at + 1] == '-'));
}

/* The words at the front of `left` that fit into a line; all of it if there is no place to break it. */
static skep_bytes take_line(skep_bytes *left, double size, double width, bool command)
{
    size_t fits = 0;

    for (size_t n = 1; n <= left->len; n++) {
        if (n < left->len && !may_break(*left, n, command))
            continue;
        if (skep_svg_text_width(skep_bytes_of(left->data, n), size) > width)
            break;
        fits = n;
    }
    return skep_bytes_take(left, fits > 0 ? fits : left->len);
}

static void put_subtitle(struct skep_frame *f, const char *subtitle)
{
    skep_bytes left = skep_bytes_str(subtitle);
    char text[TEXT_MAX];

    for (int line = 1; left.len > 0 && line <= SUBTITLE_LINES_MAX; line++) {
        skep_bytes words = left;

        if (line < SUBTITLE_LINES_MAX)
            words = take_line(&left, SUBTITLE_SIZE, TEXT_WIDTH_MAX, strstr(subtitle, " --"));
        while (left.len > 0 && left.data[0] == ' ')
            skep_bytes_take(&left, 1);
        f->head += LINE_HEIGHT;
        skep_svg_write(f->out, "<text class=\"dim\" x=\"%d\" y=\"%x\">%t</text>\n", MARGIN, f->head,
                       skep_svg_text_cut(text, sizeof text, words, SUBTITLE_SIZE, TEXT_WIDTH_MAX));
    }
}

void skep_frame_begin(struct skep_frame *f, const char *title, const char *subtitle, size_t colours)
{
    char text[TEXT_MAX];

    skep_svg_begin(f->out, title, subtitle, colours);
    f->head = 18;
    if (title && *title) {
        f->head = 36;
        skep_svg_write(
            f->out,
            "<text class=\"ink\" x=\"%d\" y=\"%x\" font-size=\"%d\" font-weight=\"600\">%t</text>\n",
            MARGIN, f->head, TITLE_SIZE,
            skep_svg_text_cut(text, sizeof text, skep_bytes_str(title), TITLE_SIZE * 1.06,
                              TEXT_WIDTH_MAX));
        f->head += 3;
    }
    if (subtitle)
        put_subtitle(f, subtitle);
}

static void put_swatch(struct skep_frame *f, const struct skep_frame_label *label, double x,
                       double y)
{
    int colour = (int)label->colour;

    switch (label->form) {
    case SKEP_CHART_LINE:
    case SKEP_CHART_STEPS:
        skep_svg_write(f->out,
                       "<path class=\"c%d\" d=\"M%x %xh14\" stroke=\"currentColor\" "
                       "stroke-width=\"3\" stroke-linecap=\"round\"/>",
                       colour, x + 1, y - 4);
        break;
    case SKEP_CHART_DOTS:
        skep_svg_write(f->out,
                       "<circle class=\"c%d\" cx=\"%x\" cy=\"%x\" r=\"4\" fill=\"currentColor\"/>",
                       colour, x + 7, y - 4);
        break;
    default:
        skep_svg_write(f->out,
                       "<rect class=\"c%d\" x=\"%x\" y=\"%x\" width=\"12\" height=\"12\" rx=\"2\" "
                       "fill=\"currentColor\"/>",
                       colour, x + 1, y - 10);
        break;
    }
}

void skep_frame_legend(struct skep_frame *f, const struct skep_frame_label *labels, size_t count)
{
    double x = MARGIN, y = f->head + 22;
    char text[TEXT_MAX];

    for (size_t i = 0; i < count; i++) {
        double swatch = labels[i].form < 0 ? 0 : SWATCH + 4, width;

        skep_svg_text_cut(text, sizeof text, skep_bytes_str(labels[i].text), TEXT_SIZE,
                          TEXT_WIDTH_MAX - swatch);
        width = swatch + skep_svg_text_width(skep_bytes_str(text), TEXT_SIZE);
        if (x > MARGIN && x + width > SKEP_SVG_WIDTH - MARGIN) {
            x = MARGIN;
            y += LINE_HEIGHT + 2;
        }
        if (labels[i].form >= 0)
            put_swatch(f, &labels[i], x, y);
        skep_svg_write(f->out, "<text class=\"%s\" x=\"%x\" y=\"%x\">%t</text>\n",
                       labels[i].form < 0 ? "dim" : "ink", x + swatch, y, text);
        x += width + 20;
    }
    if (count > 0)
        f->head = y + 2;
}

/* ---- where the plot stands ---- */

static double widest_tick(const struct skep_axis *axis)
{
    double widest = 0;

    for (size_t i = 0; i < axis->tick_count; i++) {
        double width = skep_svg_text_width(skep_bytes_str(axis->ticks[i].text), TEXT_SIZE);

        widest = SKEP_MAX(widest, width);
    }
    return widest;
}

static double band_width(const struct skep_frame *f)
{
    return (f->right - f->left) / (double)SKEP_MAX(f->name_count, (size_t)1);
}

/* Names that do not fit beside each other are slanted by 30 degrees and take half their length in height. */
static double names_height(struct skep_frame *f)
{
    double widest = 0;

    for (size_t i = 0; i < f->name_count; i++) {
        double width = skep_svg_text_width(skep_bytes_str(f->names[i]), TEXT_SIZE);

        widest = SKEP_MAX(widest, width);
    }
    f->names_slant = widest > band_width(f) - 6;
    return f->names_slant ? SKEP_MIN(widest, (double)NAME_SLANT_LEN) / 2 + 12 : 12;
}

void skep_frame_place(struct skep_frame *f, double right_room, double below)
{
    double under = TEXT_SIZE;

    f->left = MARGIN + widest_tick(&f->y) + 8;
    f->right = SKEP_SVG_WIDTH - MARGIN - right_room;
    f->top = f->head + (f->y_label && *f->y_label ? 40 : 20);
    if (f->names)
        under = names_height(f);
    f->bottom = SKEP_SVG_HEIGHT - 28 - under - below - (f->x_label && *f->x_label ? 22 : 0);
    f->y.start = f->bottom;
    f->y.end = f->top;
    f->x.start = f->left;
    f->x.end = f->right;
}

/* ---- axes ---- */

static void put_y_axis(struct skep_frame *f)
{
    const struct skep_axis *y = &f->y;

    skep_buf_put_str(f->out, "<path class=\"grid\" fill=\"none\" d=\"");
    for (size_t i = 0; i < y->tick_count; i++) {
        if (!y->ticks[i].minor)
            skep_svg_write(f->out, "M%x %xH%x", f->left, skep_axis_at(y, y->ticks[i].value),
                           f->right);
    }
    skep_buf_put_str(f->out, "\"/>\n<g class=\"dim\" text-anchor=\"end\">");
    for (size_t i = 0; i < y->tick_count; i++) {
        if (!y->ticks[i].minor)
            skep_svg_write(f->out, "<text x=\"%x\" y=\"%x\">%t</text>", f->left - 8,
                           skep_axis_at(y, y->ticks[i].value) + 4, y->ticks[i].text);
    }
    skep_buf_put_str(f->out, "</g>\n");
    if (f->y_label && *f->y_label)
        skep_svg_write(f->out, "<text class=\"dim\" x=\"%d\" y=\"%x\">%t</text>\n", MARGIN,
                       f->head + 22, f->y_label);
}

/* Zero where it is shown, else the lower end. */
static void put_base_line(struct skep_frame *f)
{
    bool inside = !f->y.log && f->y.low < 0 && f->y.high > 0;

    skep_svg_write(f->out, "<path class=\"axis\" d=\"M%x %xH%x\"/>\n", f->left,
                   inside ? skep_axis_at(&f->y, 0) : f->bottom, f->right);
}

static void put_x_ticks(struct skep_frame *f)
{
    const struct skep_axis *x = &f->x;

    skep_buf_put_str(f->out, "<path class=\"axis\" d=\"");
    for (size_t i = 0; i < x->tick_count; i++)
        skep_svg_write(f->out, "M%x %xv%d", skep_axis_at(x, x->ticks[i].value), f->bottom,
                       x->ticks[i].minor ? 3 : 5);
    skep_buf_put_str(f->out, "\"/>\n<g class=\"dim\" text-anchor=\"middle\">");
    for (size_t i = 0; i < x->tick_count; i++) {
        if (!x->ticks[i].minor)
            skep_svg_write(f->out, "<text x=\"%x\" y=\"%x\">%t</text>",
                           skep_axis_at(x, x->ticks[i].value), f->bottom + 20, x->ticks[i].text);
    }
    skep_buf_put_str(f->out, "</g>\n");
}

static void put_names(struct skep_frame *f)
{
    size_t every = f->names_slant ? (size_t)(14 / band_width(f)) + 1 : 1;
    char text[TEXT_MAX];

    skep_svg_write(f->out, "<g class=\"ink\" text-anchor=\"%s\">",
                   f->names_slant ? "end" : "middle");
    for (size_t i = 0; i < f->name_count; i += every) {
        double x = skep_axis_at(&f->x, (double)i), y = f->bottom + (f->names_slant ? 14 : 20);

        skep_svg_text_cut(text, sizeof text, skep_bytes_str(f->names[i]), TEXT_SIZE,
                          f->names_slant ? NAME_SLANT_LEN : SKEP_SVG_WIDTH);
        if (f->names_slant)
            skep_svg_write(f->out, "<text transform=\"translate(%x %x)rotate(-30)\">%t</text>",
                           x + 4, y, text);
        else
            skep_svg_write(f->out, "<text x=\"%x\" y=\"%x\">%t</text>", x, y, text);
    }
    skep_buf_put_str(f->out, "</g>\n");
}

void skep_frame_grid(struct skep_frame *f)
{
    put_y_axis(f);
    put_base_line(f);
    if (f->names)
        put_names(f);
    else
        put_x_ticks(f);
    if (f->x_label && *f->x_label)
        skep_svg_write(f->out,
                       "<text class=\"dim\" x=\"%x\" y=\"%d\" text-anchor=\"middle\">%t</text>\n",
                       (f->left + f->right) / 2, SKEP_SVG_HEIGHT - 18, f->x_label);
}

/* ---- where something is ---- */

static void touch(struct skep_frame *f, double x, double y, uint8_t ink)
{
    double column = x / SKEP_FRAME_CELL, row = y / SKEP_FRAME_CELL;

    if (column >= 0 && column < SKEP_FRAME_COLUMNS && row >= 0 && row < SKEP_FRAME_ROWS)
        f->ink[(size_t)row][(size_t)column] = ink;
}

static void touch_line(struct skep_frame *f, double x0, double y0, double x1, double y1,
                       uint8_t ink)
{
    double len = SKEP_MIN(fabs(x1 - x0) + fabs(y1 - y0), 4.0 * SKEP_SVG_WIDTH);
    int count = (int)(len / (SKEP_FRAME_CELL / 2.0)) + 1;

    for (int i = 0; i <= count; i++)
        touch(f, x0 + (x1 - x0) * i / count, y0 + (y1 - y0) * i / count, ink);
}

static void touch_box(struct skep_frame *f, double x0, double y0, double x1, double y1, uint8_t ink)
{
    double low = SKEP_MAX(SKEP_MIN(y0, y1), 0.0),
           high = SKEP_MIN(SKEP_MAX(y0, y1), (double)SKEP_SVG_HEIGHT);

    for (int i = 0; low + i * SKEP_FRAME_CELL < high; i++)
        touch_line(f, x0, low + i * SKEP_FRAME_CELL, x1, low + i * SKEP_FRAME_CELL, ink);
    touch_line(f, x0, high, x1, high, ink);
}

void skep_frame_touch_line(struct skep_frame *f, double x0, double y0, double x1, double y1)
{
    touch_line(f, x0, y0, x1, y1, DATA_INK);
}

void skep_frame_touch_box(struct skep_frame *f, double x0, double y0, double x1, double y1)
{
    touch_box(f, x0, y0, x1, y1, DATA_INK);
}

void skep_frame_touch_text(struct skep_frame *f, double x, double y, double width)
{
    touch_box(f, x, y - 11, x + width, y + 3, TEXT_INK);
}

static unsigned ink_in(const struct skep_frame *f, double x0, double y0, double x1, double y1)
{
    unsigned sum = 0;

    if (x0 < 0 || y0 < 0 || x1 >= SKEP_SVG_WIDTH || y1 >= SKEP_SVG_HEIGHT)
        return UINT32_MAX;
    for (size_t row = (size_t)(y0 / SKEP_FRAME_CELL);
         row <= (size_t)(y1 / SKEP_FRAME_CELL) && row < SKEP_FRAME_ROWS; row++) {
        for (size_t column = (size_t)(x0 / SKEP_FRAME_CELL);
             column <= (size_t)(x1 / SKEP_FRAME_CELL) && column < SKEP_FRAME_COLUMNS; column++)
            sum += f->ink[row][column];
    }
    return sum;
}

/* ---- marks ---- */

static bool is_shown(const struct skep_frame *f, const struct skep_chart_mark *mark)
{
    const struct skep_axis *axis = mark->vertical ? &f->x : &f->y;
    double slack = (axis->high - axis->low) * 1e-9;

    return mark->at >= axis->low - slack && mark->at <= axis->high + slack;
}

static void put_mark(struct skep_frame *f, double x0, double y0, double x1, double y1)
{
    skep_svg_write(f->out, "<path class=\"mark\" stroke-dasharray=\"5 4\" d=\"M%x %xL%x %x\"/>\n",
                   x0, y0, x1, y1);
}

void skep_frame_marks(struct skep_frame *f, const struct skep_chart_mark *marks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double x = skep_axis_at(&f->x, marks[i].at), y = skep_axis_at(&f->y, marks[i].at);

        if (!is_shown(f, &marks[i]))
            continue;
        if (marks[i].vertical)
            put_mark(f, x, f->top - 6, x, f->bottom);
        else
            put_mark(f, f->left, y, f->right, y);
    }
}

struct place {
    double x, y; /* of the text's left end, on its line */
};

/* The places beside a mark's line, the preferred first. @return how many. */
static size_t places_of(struct place places[PLACES_MAX], const struct skep_frame *f,
                        const struct skep_chart_mark *mark, double width)
{
    double free_width = f->right - f->left - width - 8, height = f->bottom - f->top - 14;
    const double down[] = {0, 16, 32, 48, height / 2, height}, along[] = {0, 1, 0.5, 0.25, 0.75};
    double at = mark->vertical ? skep_axis_at(&f->x, mark->at) : skep_axis_at(&f->y, mark->at);
    size_t count = 0;

    for (size_t i = 0; mark->vertical && i < SKEP_COUNT_OF(down); i++) {
        places[count++] = (struct place){at + 6, f->top + 6 + down[i]};
        places[count++] = (struct place){at - 6 - width, f->top + 6 + down[i]};
    }
    for (size_t i = 0; !mark->vertical && i < SKEP_COUNT_OF(along); i++) {
        places[count++] = (struct place){f->right - width - 4 - along[i] * free_width, at - 6};
        places[count++] = (struct place){f->right - width - 4 - along[i] * free_width, at + 15};
    }
    return count;
}

/* What would be below the label of marks[own] there. */
static unsigned ink_below(const struct skep_frame *f, const struct skep_chart_mark *marks,
                          size_t count, size_t own, struct place p, double width)
{
    unsigned ink = ink_in(f, p.x - 3, p.y - 11, p.x + width + 3, p.y + 3);

    if (p.x < f->left - 1 || p.x + width > f->right + 1 || p.y > f->bottom)
        return SKEP_MAX(ink, OUTSIDE_INK);
    for (size_t i = 0; i < count; i++) {
        double x = skep_axis_at(&f->x, marks[i].at), y = skep_axis_at(&f->y, marks[i].at);

        if (i != own &&
            (marks[i].vertical ? x > p.x - 3 && x < p.x + width + 3 : y > p.y - 11 && y < p.y + 3))
            ink += CROSSING_INK;
    }
    return ink;
}

static struct place best_place(const struct skep_frame *f, const struct skep_chart_mark *marks,
                               size_t count, size_t own, double width)
{
    struct place places[PLACES_MAX];
    unsigned least = UINT32_MAX;
    size_t best = 0, place_count = places_of(places, f, &marks[own], width);

    for (size_t i = 0; i < place_count; i++) {
        unsigned ink = ink_below(f, marks, count, own, places[i], width);

        if (ink < least) {
            least = ink;
            best = i;
        }
    }
    return places[best];
}

void skep_frame_mark_labels(struct skep_frame *f, const struct skep_chart_mark *marks, size_t count)
{
    char text[TEXT_MAX];

    for (size_t i = 0; i < count; i++) {
        double width;
        struct place at;

        if (!is_shown(f, &marks[i]) || !marks[i].label || !*marks[i].label)
            continue;
        skep_svg_text_cut(text, sizeof text, skep_bytes_str(marks[i].label), TEXT_SIZE,
                          f->right - f->left - 12);
        width = skep_svg_text_width(skep_bytes_str(text), TEXT_SIZE);
        at = best_place(f, marks, count, i, width);
        skep_svg_write(
            f->out,
            "<text class=\"dim halo\" x=\"%x\" y=\"%x\" paint-order=\"stroke\" stroke-width=\"4\" "
            "stroke-linejoin=\"round\">%t</text>\n",
            at.x, at.y, text);
        skep_frame_touch_text(f, at.x, at.y, width);
    }
}

/* ---- the ends of lines ---- */

double skep_frame_end_room(const struct skep_frame_label *labels, size_t count)
{
    double widest = 0;

    for (size_t i = 0; i < count; i++) {
        double width = skep_svg_text_width(skep_bytes_str(labels[i].text), TEXT_SIZE * 1.05);

        widest = SKEP_MAX(widest, width);
    }
    return widest > END_LABEL_ROOM_MAX ? 0 : widest + 10;
}

static int higher_first(const void *a, const void *b)
{
    const struct skep_frame_label *p = a, *q = b;

    if (p->y != q->y)
        return p->y < q->y ? -1 : 1;
    return (p->colour > q->colour) - (p->colour < q->colour);
}

/* Down until none overlaps the one above, then up from the lower end. */
static void spread(const struct skep_frame *f, double *y, size_t count)
{
    double floor_y = f->bottom + 4;

    for (size_t i = 0; i < count; i++)
        y[i] = i > 0 ? SKEP_MAX(y[i], y[i - 1] + LINE_HEIGHT) : SKEP_MAX(y[i], f->top);
    for (size_t i = count; i-- > 0;) {
        y[i] = SKEP_MIN(y[i], floor_y);
        floor_y = y[i] - LINE_HEIGHT;
    }
}

void skep_frame_end_labels(struct skep_frame *f, struct skep_frame_label *labels, size_t count)
{
    double y[SKEP_CHART_SERIES_MAX];

    assert(count <= SKEP_COUNT_OF(y));
    qsort(labels, count, sizeof *labels, higher_first);
    for (size_t i = 0; i < count; i++)
        y[i] = labels[i].y;
    spread(f, y, count);
    for (size_t i = 0; i < count; i++)
        skep_svg_write(
            f->out,
            "<text class=\"c%d\" x=\"%x\" y=\"%x\" fill=\"currentColor\" font-weight=\"600\">%t</text>\n",
            (int)labels[i].colour, f->right + 10, y[i] + 4, labels[i].text);
}
