/* SPDX-License-Identifier: MIT */
/* The text of an SVG document; see chart_svg.h. Source: SVG 1.1; XML 1.0, section 2.2 (which characters there are). */
#include "cmd/chart_svg.h"

#include <stdarg.h>

/* The palettes keep at least 0.06 apart in OKLab, pair by pair, to normal eyes and to the three kinds of colour blindness (Machado 2009), and
 * have a contrast of 3 and more against their background. */
static const uint32_t light[] = {0x2e5cb0, 0xc0440f, 0x2f9478, 0x8a3fe0,
                                 0xb57d10, 0x2ca1cc, 0xe0579a, 0x5b5458};
static const uint32_t dark[] = {0x4f90ff, 0xf08a4b, 0x4fe3c1, 0xa975b5,
                                0xffc456, 0x25b9de, 0xe2605f, 0xa6a4a4};
enum { LIGHT_BACKGROUND = 0xffffff, DARK_BACKGROUND = 0x14171c, TINT_PERCENT = 68 };

/* So much of the colour, the rest background: for large surfaces, without being transparent. */
static uint32_t tint_of(uint32_t colour, uint32_t background)
{
    uint32_t tint = 0;

    for (int shift = 16; shift >= 0; shift -= 8)
        tint |= ((colour >> shift & 255) * TINT_PERCENT +
                 (background >> shift & 255) * (100 - TINT_PERCENT)) /
                    100
                << shift;
    return tint;
}

static void put_colour(struct skep_buf *out, uint32_t colour)
{
    const uint8_t bytes[3] = {(uint8_t)(colour >> 16), (uint8_t)(colour >> 8), (uint8_t)colour};
    char hex[2 * sizeof bytes + 1];

    skep_svg_write(out, "#%s", skep_hex(hex, skep_bytes_of(bytes, sizeof bytes)));
}

static void put_colours(struct skep_buf *out, const uint32_t *palette, uint32_t background,
                        size_t count)
{
    for (size_t i = 0; i < SKEP_MIN(count, SKEP_COUNT_OF(light)); i++) {
        skep_svg_write(out, ".c%d{color:", (int)i);
        put_colour(out, palette[i]);
        skep_svg_write(out, "}.a%d{fill:", (int)i);
        put_colour(out, tint_of(palette[i], background));
        skep_buf_put_str(out, "}");
    }
}

static void put_style(struct skep_buf *out, size_t colours)
{
    skep_buf_put_str(out, "<style>.bg{fill:#fff}.ink{fill:#1d2228}.dim{fill:#626a74}"
                          ".grid{stroke:#e7e9ec}.axis{stroke:#a4abb3}.mark{stroke:#6d7680}"
                          ".halo{stroke:#fff}");
    put_colours(out, light, LIGHT_BACKGROUND, colours);
    skep_buf_put_str(out, "@media(prefers-color-scheme:dark){.bg{fill:#14171c}.ink{fill:#e9ebee}"
                          ".dim{fill:#9aa3ad}.grid{stroke:#282d35}.axis{stroke:#59616b}"
                          ".mark{stroke:#9aa3ad}.halo{stroke:#14171c}");
    put_colours(out, dark, DARK_BACKGROUND, colours);
    skep_buf_put_str(out, "}</style>\n");
}

void skep_svg_begin(struct skep_buf *out, const char *title, const char *about, size_t colours)
{
    skep_svg_write(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" "
        "font-family=\"system-ui, sans-serif\" font-size=\"12\">\n",
        SKEP_SVG_WIDTH, SKEP_SVG_HEIGHT, SKEP_SVG_WIDTH, SKEP_SVG_HEIGHT);
    if (title)
        skep_svg_write(out, "<title>%t</title>\n", title);
    if (about)
        skep_svg_write(out, "<desc>%t</desc>\n", about);
    put_style(out, colours);
    skep_svg_write(out, "<rect class=\"bg\" width=\"%d\" height=\"%d\"/>\n", SKEP_SVG_WIDTH,
                   SKEP_SVG_HEIGHT);
}

void skep_svg_end(struct skep_buf *out)
{
    skep_buf_put_str(out, "</svg>\n");
}

/* The length of the UTF-8 sequence at the front, 0 if there is none. */
static size_t sequence_len(skep_bytes text)
{
    for (size_t n = 1; n <= SKEP_MIN(text.len, (size_t)4); n++) {
        if (skep_utf8_valid(skep_bytes_of(text.data, n)))
            return n;
    }
    return 0;
}

size_t skep_svg_character(skep_bytes text, bool *plain)
{
    size_t n = sequence_len(text);
    const uint8_t *p = text.data;

    /* No control characters, and neither U+FFFE nor U+FFFF. */
    *plain = n > 0 && p[0] >= 0x20 && p[0] != 0x7f &&
             !(n == 3 && p[0] == 0xef && p[1] == 0xbf && p[2] >= 0xbe);
    return SKEP_MAX(n, (size_t)1);
}

static void put_escaped(struct skep_buf *out, const char *text)
{
    skep_bytes left = skep_bytes_str(text);

    while (left.len > 0) {
        bool plain;
        skep_bytes c = skep_bytes_take(&left, skep_svg_character(left, &plain));

        if (!plain)
            skep_buf_put_str(out, c.data[0] == '\t' || c.data[0] == '\n' ? " " : "\xef\xbf\xbd");
        else if (c.data[0] == '&')
            skep_buf_put_str(out, "&amp;");
        else if (c.data[0] == '<')
            skep_buf_put_str(out, "&lt;");
        else if (c.data[0] == '>')
            skep_buf_put_str(out, "&gt;");
        else if (c.data[0] == '"')
            skep_buf_put_str(out, "&quot;");
        else
            skep_buf_put_bytes(out, c);
    }
}

static void put_unsigned(struct skep_buf *out, uint64_t v)
{
    char digits[24];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    skep_buf_put(out, digits + at, sizeof digits - at);
}

/* One decimal, which is dropped where it is 0. What is far off the page stands just as far as one can tell. */
static void put_coordinate(struct skep_buf *out, double v)
{
    double bounded = SKEP_MIN(SKEP_MAX(v, -99999.0), 99999.0) * 10;
    int64_t tenths = (int64_t)(bounded < 0 ? bounded - 0.5 : bounded + 0.5);
    uint64_t size = (uint64_t)(tenths < 0 ? -tenths : tenths);

    if (tenths < 0)
        skep_buf_put_u8(out, '-');
    put_unsigned(out, size / 10);
    if (size % 10 > 0) {
        skep_buf_put_u8(out, '.');
        put_unsigned(out, size % 10);
    }
}

static void put_int(struct skep_buf *out, int v)
{
    if (v < 0)
        skep_buf_put_u8(out, '-');
    put_unsigned(out, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void skep_svg_write(struct skep_buf *out, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    for (const char *p = format; *p != '\0'; p++) {
        size_t run = strcspn(p, "%");

        if (run > 0) {
            skep_buf_put(out, p, run);
            p += run - 1;
            continue;
        }
        switch (*++p) {
        case 's': skep_buf_put_str(out, va_arg(args, const char *)); break;
        case 't': put_escaped(out, va_arg(args, const char *)); break;
        case 'x': put_coordinate(out, va_arg(args, double)); break;
        case 'd': put_int(out, va_arg(args, int)); break;
        case '%': skep_buf_put_u8(out, '%'); break;
        default: SKEP_UNREACHABLE();
        }
    }
    va_end(args);
}

/* ---- how wide text is ---- */

/* Hundredths of the size from ' ' to '~': of Helvetica, Inter, Roboto and Segoe the widest. */
static const uint8_t widths[] = {
    28, 29, 38, 63, 64, 90, 68, 24, 36, 36, 50, 66, 29, 46, 29, 38, 64, 50, 62, 63, 65, 61, 62, 57,
    62, 62, 29, 29, 66, 66, 66, 52, 98, 70, 66, 73, 73, 61, 60, 78, 75, 28, 56, 67, 57, 90, 76, 78,
    65, 78, 67, 65, 66, 74, 70, 98, 68, 67, 63, 36, 38, 36, 50, 51, 33, 58, 62, 57, 62, 60, 37, 62,
    61, 25, 25, 56, 25, 89, 60, 61, 62, 62, 39, 53, 37, 60, 58, 82, 56, 58, 56, 39, 33, 39, 66};

static bool is_thin_space(skep_bytes c)
{
    return c.len == 3 && memcmp(c.data, "\xe2\x80\x89", 3) == 0;
}

static double character_width(skep_bytes c)
{
    if (c.len == 1 && c.data[0] >= ' ' && c.data[0] <= '~')
        return widths[c.data[0] - ' '] / 100.0;
    if (is_thin_space(c))
        return 0.2;
    return c.len >= 3 && c.data[0] >= 0xe3 ? 1.0 : 0.65; /* from U+3000 on mostly square */
}

double skep_svg_text_width(skep_bytes text, double size)
{
    double width = 0;

    while (text.len > 0) {
        bool plain;

        width += character_width(skep_bytes_take(&text, skep_svg_character(text, &plain)));
    }
    return width * size;
}

char *skep_svg_text_cut(char *out, size_t out_len, skep_bytes text, double size, double width)
{
    static const char ellipsis[] = "…";
    size_t used = 0;
    double wide = 0, room = width / size - 1.0;
    bool whole = skep_svg_text_width(text, size) <= width && text.len < out_len;

    assert(out_len > sizeof ellipsis);
    while (text.len > 0) {
        bool plain;
        skep_bytes c = skep_bytes_take(&text, skep_svg_character(text, &plain));

        wide += character_width(c);
        if (!whole && (wide > room || used + c.len + sizeof ellipsis > out_len)) {
            memcpy(out + used, ellipsis, sizeof ellipsis);
            return out;
        }
        memcpy(out + used, c.data, c.len);
        used += c.len;
    }
    out[used] = '\0';
    return out;
}
