/* SPDX-License-Identifier: MIT */
/* See npy_header.h. Leaves out every type that experts do not take, and what an array of structures would need. */
#include "cmd/npy_header.h"

#include <stdio.h>

enum { NPY_PREFIX_LEN = 8, NPY_HEADER_MAX = 65536 };

/* The header's text: a bounded reader of the little Python that numpy writes. */
struct cursor {
    const char *at, *end;
};

static void skip_space(struct cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t'))
        c->at++;
}

static bool take_char(struct cursor *c, char wanted)
{
    skip_space(c);
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

static bool take_word(struct cursor *c, const char *word)
{
    size_t len = strlen(word);

    skip_space(c);
    if ((size_t)(c->end - c->at) < len || memcmp(c->at, word, len) != 0)
        return false;
    c->at += len;
    return true;
}

/* A quoted text without escapes, as all of numpy's are. */
static bool take_quoted(struct cursor *c, char *out, size_t cap)
{
    size_t len = 0;
    char quote;

    skip_space(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"'))
        return false;
    quote = *c->at++;
    while (c->at < c->end && *c->at != quote && *c->at != '\\' && len + 1 < cap)
        out[len++] = *c->at++;
    out[len] = '\0';
    return take_char(c, quote);
}

static bool take_size(struct cursor *c, size_t *out)
{
    size_t v = 0;
    const char *start;

    skip_space(c);
    start = c->at;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        if (__builtin_mul_overflow(v, (size_t)10, &v) ||
            __builtin_add_overflow(v, (size_t)(*c->at - '0'), &v))
            return false;
    }
    *out = v;
    return c->at > start;
}

/* What is being read. */
struct reader {
    struct skep_npy_header *out;
    size_t axes_max;
    const char *types;
    bool has_descr, has_order, has_shape;
};

static int take_shape(struct reader *r, struct cursor *c, struct skep_cmd_why *why)
{
    struct skep_npy_header *out = r->out;
    size_t size;

    if (!take_char(c, '('))
        return skep_cmd_refuse(why, SKEP_EVALUE, "the shape in its header is no tuple");
    out->axes = 0;
    while (!take_char(c, ')')) {
        if (!take_size(c, &size))
            return skep_cmd_refuse(why, SKEP_EVALUE, "the shape in its header is malformed");
        take_char(c, 'L'); /* as Python 2 wrote it */
        if (out->axes == r->axes_max)
            return skep_cmd_refuse(why, SKEP_EVALUE, "it has more than %zu axes", r->axes_max);
        out->shape[out->axes++] = size;
        if (!take_char(c, ',')) {
            if (!take_char(c, ')'))
                return skep_cmd_refuse(why, SKEP_EVALUE, "the shape in its header is malformed");
            break;
        }
    }
    return 0;
}

static int take_entry(struct reader *r, struct cursor *c, struct skep_cmd_why *why)
{
    char key[SKEP_NPY_DESCR_MAX];

    if (!take_quoted(c, key, sizeof key) || !take_char(c, ':'))
        return skep_cmd_refuse(why, SKEP_EVALUE, "its header is malformed");
    if (strcmp(key, "descr") == 0) {
        r->has_descr = true;
        if (!take_quoted(c, r->out->descr, sizeof r->out->descr))
            return skep_cmd_refuse(why, SKEP_EVALUE, "its dtype is a structure, not %s", r->types);
        return 0;
    }
    if (strcmp(key, "fortran_order") == 0) {
        r->has_order = true;
        r->out->fortran_order = take_word(c, "True");
        if (!r->out->fortran_order && !take_word(c, "False"))
            return skep_cmd_refuse(why, SKEP_EVALUE,
                                   "fortran_order in its header is neither True nor False");
        return 0;
    }
    if (strcmp(key, "shape") == 0) {
        r->has_shape = true;
        return take_shape(r, c, why);
    }
    return skep_cmd_refuse(why, SKEP_EVALUE, "its header has an unknown entry");
}

static int parse_header(struct reader *r, skep_bytes text, struct skep_cmd_why *why)
{
    struct cursor c = {(const char *)text.data, (const char *)text.data + text.len};
    int rc;

    if (!take_char(&c, '{'))
        return skep_cmd_refuse(why, SKEP_EVALUE, "its header is malformed");
    while (!take_char(&c, '}')) {
        if ((rc = take_entry(r, &c, why)) < 0)
            return rc;
        if (!take_char(&c, ',')) {
            if (!take_char(&c, '}'))
                return skep_cmd_refuse(why, SKEP_EVALUE, "its header is malformed");
            break;
        }
    }
    skip_space(&c);
    if (c.at != c.end)
        return skep_cmd_refuse(why, SKEP_EVALUE, "its header is malformed");
    if (!r->has_descr || !r->has_order || !r->has_shape)
        return skep_cmd_refuse(why, SKEP_EVALUE, "its header lacks %s",
                               !r->has_descr   ? "descr"
                               : !r->has_order ? "fortran_order"
                                               : "shape");
    return 0;
}

/* Cut prefix and header off the front of *file. */
static int take_header(skep_bytes *file, skep_bytes *header, struct skep_cmd_why *why)
{
    skep_bytes prefix = skep_bytes_take(file, NPY_PREFIX_LEN);
    size_t len_len, header_len = 0;

    if (prefix.len < 6 || memcmp(prefix.data, "\x93NUMPY", 6) != 0)
        return skep_cmd_refuse(why, SKEP_EVALUE, "it is no .npy file");
    if (prefix.len < NPY_PREFIX_LEN)
        return skep_cmd_refuse(why, SKEP_EVALUE, "it is truncated in its header");
    if (prefix.data[6] < 1 || prefix.data[6] > 3 || prefix.data[7] != 0)
        return skep_cmd_refuse(why, SKEP_EVALUE, ".npy version %d.%d is unknown", prefix.data[6],
                               prefix.data[7]);
    len_len = prefix.data[6] == 1 ? 2 : 4;
    prefix = skep_bytes_take(file, len_len);
    for (size_t i = prefix.len; i > 0; i--)
        header_len = header_len << 8 | prefix.data[i - 1];
    if (prefix.len == len_len && header_len > NPY_HEADER_MAX)
        return skep_cmd_refuse(why, SKEP_EVALUE, "its header of %zu bytes is too long", header_len);
    if (prefix.len < len_len || header_len > file->len)
        return skep_cmd_refuse(why, SKEP_EVALUE, "it is truncated in its header");
    *header = skep_bytes_take(file, header_len);
    return 0;
}

int skep_npy_header_take(struct skep_npy_header *out, skep_bytes *file, size_t axes_max,
                         const char *types, struct skep_cmd_why *why)
{
    struct reader r = {.out = out, .axes_max = axes_max, .types = types};
    skep_bytes header = {NULL, 0};
    int rc = take_header(file, &header, why);

    *out = (struct skep_npy_header){.axes = 0};
    return rc < 0 ? rc : parse_header(&r, header, why);
}

/* ---- types ---- */

static const struct skep_npy_type types[] = {
    {SKEP_FLOAT32, 'f', 4, "float32"}, {SKEP_FLOAT64, 'f', 8, "float64"},
    {SKEP_FLOAT16, 'f', 2, "float16"}, {SKEP_INT64, 'i', 8, "int64"},
    {SKEP_INT32, 'i', 4, "int32"},     {SKEP_INT16, 'i', 2, "int16"},
    {SKEP_INT8, 'i', 1, "int8"},       {SKEP_UINT8, 'u', 1, "uint8"},
    {SKEP_BOOL, 'b', 1, "bool"}};

static bool is_little_endian(void)
{
    const uint16_t one = 1;

    return *(const uint8_t *)&one == 1;
}

const struct skep_npy_type *skep_npy_type_of(const char *descr, bool *swap)
{
    if (strlen(descr) != 3 || !strchr("<>=|", descr[0]))
        return NULL;
    for (size_t i = 0; i < SKEP_COUNT_OF(types); i++) {
        const struct skep_npy_type *type = &types[i];

        if (type->kind != descr[1] || type->size != (size_t)(descr[2] - '0'))
            continue;
        if (descr[0] == '|' && type->size > 1) /* "not applicable" */
            return NULL;
        *swap = type->size > 1 && descr[0] != '=' && (descr[0] == '<') != is_little_endian();
        return type;
    }
    return NULL;
}

const struct skep_npy_type *skep_npy_type_for(skep_dtype dtype)
{
    for (size_t i = 0; i < SKEP_COUNT_OF(types); i++) {
        if (types[i].dtype == dtype)
            return &types[i];
    }
    return &types[0];
}

/* ---- items ---- */

/* The shape as people write it. */
static const char *shape_text(char *out, size_t cap, const struct skep_npy_header *header)
{
    size_t len = 0;

    out[0] = '\0';
    for (size_t i = 0; i < header->axes && len < cap; i++)
        len += (size_t)snprintf(out + len, cap - len, "%s%zu", i > 0 ? "x" : "", header->shape[i]);
    return header->axes > 0 ? out : "no axes";
}

int skep_npy_items_check(size_t *count, const struct skep_npy_header *header,
                         const struct skep_npy_type *type, size_t have, struct skep_cmd_why *why)
{
    size_t bytes, items = 1;
    bool fits = true;
    char shape[192];

    for (size_t i = 0; i < header->axes; i++)
        fits = fits && skep_size_mul(items, header->shape[i], &items);
    fits = fits && skep_size_mul(items, type->size, &bytes);
    if (!fits || bytes > have)
        return skep_cmd_refuse(why, SKEP_EVALUE,
                               "it is truncated: %s %s items do not fit in the %zu bytes it has",
                               shape_text(shape, sizeof shape, header), type->name, have);
    if (bytes < have)
        return skep_cmd_refuse(why, SKEP_EVALUE, "%zu bytes follow its %s items", have - bytes,
                               shape_text(shape, sizeof shape, header));
    *count = items;
    return 0;
}

/* Where the items of C order lie in a file, one after the other. */
struct walk {
    const struct skep_npy_header *header;
    size_t index[SKEP_TENSOR_AXES_MAX], stride[SKEP_TENSOR_AXES_MAX];
    size_t place; /* of the item it is at, in items */
};

static void start_walk(struct walk *walk, const struct skep_npy_header *header)
{
    size_t stride = 1;

    *walk = (struct walk){.header = header};
    for (size_t axis = 0; axis < header->axes; axis++) {
        walk->stride[axis] = stride;
        stride *= header->shape[axis];
    }
}

static void next_item(struct walk *walk)
{
    for (size_t axis = walk->header->axes; axis-- > 0;) {
        walk->place += walk->stride[axis];
        if (++walk->index[axis] < walk->header->shape[axis])
            return;
        walk->place -= walk->index[axis] * walk->stride[axis];
        walk->index[axis] = 0;
    }
}

void skep_npy_items_copy(void *out, const uint8_t *from, const struct skep_npy_header *header,
                         size_t count, size_t item_size, bool swap)
{
    bool fortran = header->fortran_order && header->axes > 1;
    uint8_t *to = out;
    struct walk walk;

    if (!fortran && !swap) {
        skep_bytes_copy(to, skep_bytes_of(from, count * item_size));
        return;
    }
    start_walk(&walk, header);
    for (size_t i = 0; i < count; i++, to += item_size) {
        const uint8_t *item = from + (fortran ? walk.place : i) * item_size;

        for (size_t b = 0; b < item_size; b++)
            to[b] = item[swap ? item_size - 1 - b : b];
        next_item(&walk);
    }
}
