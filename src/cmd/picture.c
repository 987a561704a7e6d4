/* SPDX-License-Identifier: MIT */
/* The picture of a grid; see picture.h. A character stands for a block of places; a mark of the beam hides the density below it. */
#include "cmd/picture.h"

#include <stdlib.h>

enum { HEIGHT_MAX = 16, WIDTH_MAX = 64 };

static const char *const plain[] = {"", "", "", "", ""};
static const char *const coloured[] = {"\033[0m", "\033[2m", "\033[36m", "\033[1;33m",
                                       "\033[1;32m"};
enum { RESET, DIM, ROW, BEAM, FOUND };

struct canvas {
    size_t height, width;
    unsigned *density; /* [height][width] experts */
    char *mark;        /* [height][width]: 0, 'o', or a rank */
    bool in_beam[HEIGHT_MAX];
};

static size_t cell_of(size_t index, size_t size, size_t cells)
{
    return SKEP_MIN(index, size - 1) * cells / size;
}

static size_t cell_at(const struct canvas *c, const struct skep_picture *p,
                      struct skep_picture_place place)
{
    return cell_of(place.row, p->rows, c->height) * c->width +
           cell_of(place.column, p->columns, c->width);
}

static void draw(struct canvas *c, const struct skep_picture *p)
{
    for (size_t i = 0; i < p->expert_count; i++)
        c->density[cell_at(c, p, p->experts[i])]++;
    for (size_t i = 0; i < p->beam_row_count; i++)
        c->in_beam[cell_of(p->beam_rows[i], p->rows, c->height)] = true;
    for (size_t i = 0; i < p->beam_count; i++)
        c->mark[cell_at(c, p, p->beam[i])] = 'o';
    for (size_t i = p->found_count; i-- > 0;) /* the best is drawn last */
        c->mark[cell_at(c, p, p->found[i])] = i < 9 ? (char)('1' + i) : '*';
}

static char density_char(unsigned count, double mean)
{
    if (count == 0)
        return ' ';
    return count < 0.75 * mean ? '.' : count <= 1.5 * mean ? ':' : '+';
}

static void print_line(const struct canvas *c, const struct skep_picture *p, size_t row,
                       const char *const *style, FILE *to)
{
    double mean = (double)p->expert_count / (double)(c->height * c->width);
    int now = RESET;

    fprintf(to, "%8zu %c|", (row * p->rows + c->height - 1) / c->height,
            c->in_beam[row] ? '>' : ' ');
    for (size_t i = 0; i < c->width; i++) {
        char mark = c->mark[row * c->width + i],
             out = mark ? mark : density_char(c->density[row * c->width + i], mean);
        int wanted = mark == 'o' ? BEAM : mark ? FOUND : c->in_beam[row] ? ROW : DIM;

        if (wanted != now)
            fprintf(to, "%s%s", style[RESET], style[wanted]);
        now = wanted;
        fputc(out, to);
    }
    fprintf(to, "%s|\n", style[RESET]);
}

int skep_picture_print(const struct skep_picture *p, FILE *to, bool colour)
{
    struct canvas c = {.height = SKEP_MIN(p->rows, (size_t)HEIGHT_MAX),
                       .width = SKEP_MIN(p->columns, (size_t)WIDTH_MAX)};
    size_t cells = c.height * c.width;
    int rc = SKEP_ENOMEM;

    c.density = calloc(cells, sizeof *c.density);
    c.mark = calloc(cells, 1);
    if (c.density && c.mark) {
        rc = 0;
        draw(&c, p);
        for (size_t row = 0; row < c.height; row++)
            print_line(&c, p, row, colour ? coloured : plain, to);
    }
    free(c.mark);
    free(c.density);
    return rc;
}
