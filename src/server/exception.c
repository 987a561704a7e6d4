/* SPDX-License-Identifier: MIT */
/* The repr of a text is Python's (Objects/unicodeobject.c, unicode_repr): quoted with ' unless it has that and no ", control characters and what is not
 * printable as \n, \xNN, \uNNNN, \UNNNNNNNN. Of what Unicode calls not printable, the blocks that are so as a whole are known here; a character that no version of
 * Unicode has given out yet goes through as it is. */
#include "server/exception.h"

#include <stdarg.h>
#include <stdio.h>

int skep_exception_set(struct skep_exception *e, const char *type, const char *format, ...)
{
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    e->type = type;
    e->argument = SKEP_EXCEPTION_TEXT;
    e->len = len < 0 ? 0 : SKEP_MIN((size_t)len, sizeof e->text - 1);
    return SKEP_EINVAL;
}

int skep_exception_set_key(struct skep_exception *e, skep_bytes key)
{
    e->type = "KeyError";
    e->argument = key.data ? SKEP_EXCEPTION_KEY : SKEP_EXCEPTION_NONE;
    e->len = SKEP_MIN(key.len, sizeof e->text);
    skep_bytes_copy(e->text, skep_bytes_of(key.data, e->len));
    return SKEP_EINVAL;
}

int skep_exception_set_bare(struct skep_exception *e, const char *type)
{
    e->type = type;
    e->argument = SKEP_EXCEPTION_EMPTY;
    e->len = 0;
    return SKEP_EINVAL;
}

int skep_exception_set_repr(struct skep_exception *e, const char *repr)
{
    static const char *const types[] = {"RuntimeError", "MemoryError", "ValueError"};
    size_t len = strlen(repr);

    if (strcmp(repr, "CancelledError()") == 0)
        return skep_exception_set_bare(e, "CancelledError");
    for (size_t i = 0; i < SKEP_COUNT_OF(types); i++) {
        size_t head = strlen(types[i]) + 2; /* type('…') */

        if (len >= head + 2 && strncmp(repr, types[i], head - 2) == 0)
            return skep_exception_set(e, types[i], "%.*s", (int)(len - head - 2), repr + head);
    }
    return skep_exception_set(e, "RuntimeError", "%s", repr);
}

/* ---- Python's repr of a text ---- */

/* Text that is cut where there is no more room. */
struct sink {
    char *out;
    size_t len, cap;
};

static void put(struct sink *sink, const char *data, size_t len)
{
    if (len > sink->cap - sink->len)
        sink->cap = sink->len; /* and nothing behind it */
    else {
        memcpy(sink->out + sink->len, data, len);
        sink->len += len;
    }
}

static void put_text(struct sink *sink, const char *text)
{
    put(sink, text, strlen(text));
}

static bool is_printable(uint32_t c)
{
    static const uint32_t not_printable[][2] = {
        {0x00, 0x1f},       {0x7f, 0xa0},        {0xad, 0xad},       {0x600, 0x605},
        {0x61c, 0x61c},     {0x6dd, 0x6dd},      {0x70f, 0x70f},     {0x890, 0x891},
        {0x8e2, 0x8e2},     {0x1680, 0x1680},    {0x180e, 0x180e},   {0x2000, 0x200f},
        {0x2028, 0x202f},   {0x205f, 0x206f},    {0x3000, 0x3000},   {0xd800, 0xf8ff},
        {0xfeff, 0xfeff},   {0xfff0, 0xfffb},    {0xfffe, 0xffff},   {0x110bd, 0x110bd},
        {0x110cd, 0x110cd}, {0x13430, 0x1343f},  {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a},
        {0xe0000, 0xe00ff}, {0xe01f0, 0x10ffff},
    };

    for (size_t i = 0; i < SKEP_COUNT_OF(not_printable); i++)
        if (c >= not_printable[i][0] && c <= not_printable[i][1])
            return false;
    return true;
}

/* The next character of well-formed UTF-8; a byte of anything else. */
static uint32_t take_character(skep_bytes *in, size_t *len)
{
    uint8_t first = in->data[0];
    uint32_t c = first;

    *len = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (*len > in->len)
        *len = 1;
    if (*len > 1)
        c = first & (0x7fU >> *len);
    for (size_t i = 1; i < *len; i++)
        c = c << 6 | (in->data[i] & 0x3f);
    skep_bytes_take(in, *len);
    return c;
}

static void put_character(struct sink *sink, uint32_t c, const char *as_it_is, size_t len,
                          char quote)
{
    char escaped[16];

    if (c == (uint8_t)quote || c == '\\') {
        char text[3] = {'\\', (char)c, '\0'};

        put_text(sink, text);
    } else if (c == '\n' || c == '\r' || c == '\t') {
        put_text(sink, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
    } else if (is_printable(c)) {
        put(sink, as_it_is, len);
    } else {
        snprintf(escaped, sizeof escaped,
                 c <= 0xff     ? "\\x%02x"
                 : c <= 0xffff ? "\\u%04x"
                               : "\\U%08x",
                 c);
        put_text(sink, escaped);
    }
}

static void put_repr(struct sink *sink, skep_bytes text)
{
    bool has_single = text.len > 0 && memchr(text.data, '\'', text.len);
    bool has_double = text.len > 0 && memchr(text.data, '"', text.len);
    char quote = has_single && !has_double ? '"' : '\'';

    put(sink, &quote, 1);
    while (text.len > 0) {
        const char *at = (const char *)text.data;
        size_t len;
        uint32_t c = take_character(&text, &len);

        put_character(sink, c, at, len, quote);
    }
    put(sink, &quote, 1);
}

/* ---- */

static char *end(struct sink *sink)
{
    sink->out[sink->len] = '\0';
    return sink->out;
}

char *skep_exception_repr(const struct skep_exception *e, char out[SKEP_EXCEPTION_LEN_MAX])
{
    struct sink sink = {out, 0, SKEP_EXCEPTION_LEN_MAX - 1};

    put_text(&sink, e->type);
    put_text(&sink, "(");
    if (e->argument == SKEP_EXCEPTION_NONE)
        put_text(&sink, "None");
    else if (e->argument != SKEP_EXCEPTION_EMPTY)
        put_repr(&sink, skep_bytes_of(e->text, e->len));
    put_text(&sink, ")");
    return end(&sink);
}

char *skep_exception_str(const struct skep_exception *e, char out[SKEP_EXCEPTION_LEN_MAX])
{
    struct sink sink = {out, 0, SKEP_EXCEPTION_LEN_MAX - 1};

    switch (e->argument) {
    case SKEP_EXCEPTION_TEXT: put(&sink, e->text, e->len); break;
    case SKEP_EXCEPTION_KEY: put_repr(&sink, skep_bytes_of(e->text, e->len)); break;
    case SKEP_EXCEPTION_NONE: put_text(&sink, "None"); break;
    case SKEP_EXCEPTION_EMPTY: break;
    }
    return end(&sink);
}
