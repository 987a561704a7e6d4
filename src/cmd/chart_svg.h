/* SPDX-License-Identifier: MIT */
/* The text of an SVG document: its head and colours, escaping, numbers, and how wide text will be. */
#ifndef SKEP_CMD_CHART_SVG_H
#define SKEP_CMD_CHART_SVG_H

#include "base/bytes.h"

enum { SKEP_SVG_WIDTH = 760, SKEP_SVG_HEIGHT = 440 };

/** The document up to its background. `title` and `about` are read aloud; NULL leaves one out.
 *  @param colours  how many of the palette's colours are used: classes c0 … c7 for `currentColor`, a0 … a7 fill with a tint of them. */
void skep_svg_begin(struct skep_buf *out, const char *title, const char *about, size_t colours);
void skep_svg_end(struct skep_buf *out);

/** Append `format`: %s text as it is, %t text from outside, escaped, %x a coordinate (double, one decimal), %d an int, %% a percent sign.
 *  Not printf(), whose numbers depend on the locale. */
void skep_svg_write(struct skep_buf *out, const char *format, ...);

/** Move `text` past its next character. @return its bytes; of what is no UTF-8 or no XML, one byte. `*plain`: it may stand in a document. */
size_t skep_svg_character(skep_bytes text, bool *plain);

/** About how wide `text` is at `size` pixels, in a common sans-serif, rather too wide than too narrow. */
double skep_svg_text_width(skep_bytes text, double size);

/** Cut `text` to `width` at `size`, with an ellipsis. @return `out`, `out_len` bytes with the end. */
char *skep_svg_text_cut(char *out, size_t out_len, skep_bytes text, double size, double width);

#endif
