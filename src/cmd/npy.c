/* SPDX-License-Identifier: MIT */
/* numpy's .npy; see npy.h. Source: numpy.lib.format.
 *
 *   93 'NUMPY' | major 8 | minor 8 | header length 16 (1.0) or 32 (2.0, 3.0), little endian
 *   | header: the text of a Python dict {'descr': '<f4', 'fortran_order': False, 'shape': (3, 256), } | items
 *
 * Leaves out every item type but float32 and float64, and what an array of structures would need. */
#include "cmd/npy.h"

#include <stdio.h>

enum { NPY_PREFIX_LEN = 8, NPY_HEADER_MAX = 65536, DESCR_MAX = 64 };

struct npy_header {
    bool has_descr, has_order, has_shape;
    char descr[DESCR_MAX];
    bool fortran_order;
};

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

static int take_shape(struct skep_npy *npy, struct cursor *c, struct skep_cmd_why *why)
{
    size_t size;

    if (!take_char(c, '('))
        return skep_cmd_refuse(why, SKEP_EVALUE, "the shape in its header is no tuple");
    npy->dim_count = 0;
    while (!take_char(c, ')')) {
        if (!take_size(c, &size))
            return skep_cmd_refuse(why, SKEP_EVALUE, "the shape in its header is malformed");
        take_char(c, 'L'); /* as Python 2 wrote it */
        if (npy->dim_count == SKEP_NPY_DIMS_MAX)
            return skep_cmd_refuse(why, SKEP_EVALUE, "it has more than %d axes", SKEP_NPY_DIMS_MAX);
        npy->dims[npy->dim_count++] = size;
        if (!take_char(c, ',')) {
            if (!take_char(c, ')'))
                return skep_cmd_refuse(why, SKEP_EVALUE, "the shape in its header is malformed");
            break;
        }
    }
    return 0;
}

static int take_entry(struct skep_npy *npy, struct npy_header *h, struct cursor *c,
                      struct skep_cmd_why *why)
{
    char key[DESCR_MAX];

    if (!take_quoted(c, key, sizeof key) || !take_char(c, ':'))
        return skep_cmd_refuse(why, SKEP_EVALUE, "its header is malformed");
    if (strcmp(key, "descr") == 0) {
        h->has_descr = true;
        if (!take_quoted(c, h->descr, sizeof h->descr))
            return skep_cmd_refuse(why, SKEP_EVALUE,
                                   "its dtype is a structure, not float32 or float64");
        return 0;
    }
    if (strcmp(key, "fortran_order") == 0) {
        h->has_order = true;
        h->fortran_order = take_word(c, "True");
        if (!h->fortran_order && !take_word(c, "False"))
            return skep_cmd_refuse(why, SKEP_EVALUE,
                                   "fortran_order in its header is neither True nor False");
        return 0;
    }
    if (strcmp(key, "shape") == 0) {
        h->has_shape = true;
        return take_shape(npy, c, why);
    }
    return skep_cmd_refuse(why, SKEP_EVALUE, "its header has an unknown entry");
}

static int parse_header(struct skep_npy *npy, struct npy_header *h, skep_bytes text,
                        struct skep_cmd_why *why)
{
    struct cursor c = {(const char *)text.data, (const char *)text.data + text.len};
    int rc;

    if (!take_char(&c, '{'))
        return skep_cmd_refuse(why, SKEP_EVALUE, "its header is malformed");
    while (!take_char(&c, '}')) {
        if ((rc = take_entry(npy, h, &c, why)) < 0)
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
    if (!h->has_descr || !h->has_order || !h->has_shape)
        return skep_cmd_refuse(why, SKEP_EVALUE, "its header lacks %s",
                               !h->has_descr   ? "descr"
                               : !h->has_order ? "fortran_order"
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

static int set_type(struct skep_npy *npy, bool *swap, const char *descr, struct skep_cmd_why *why)
{
    const uint16_t one = 1;
    bool little_here = *(const uint8_t *)&one == 1;
    char escaped[SKEP_PEER_TEXT_MAX + 1];

    if (strlen(descr) != 3 || !strchr("<>=", descr[0]) || descr[1] != 'f' ||
        (descr[2] != '4' && descr[2] != '8'))
        return skep_cmd_refuse(why, SKEP_EVALUE, "its dtype '%s' is neither float32 nor float64",
                               skep_text_escape(escaped, sizeof escaped, skep_bytes_str(descr)));
    npy->is_float64 = descr[2] == '8';
    *swap = descr[0] != '=' && (descr[0] == '<') != little_here;
    return 0;
}

/* The shape as Python writes it. */
static const char *shape_text(char *out, size_t cap, const struct skep_npy *npy)
{
    size_t len = 0;

    out[0] = '\0';
    for (size_t i = 0; i < npy->dim_count && len < cap; i++)
        len += (size_t)snprintf(out + len, cap - len, "%s%zu", i > 0 ? "x" : "", npy->dims[i]);
    return npy->dim_count > 0 ? out : "no axes";
}

static int check_length(struct skep_npy *npy, size_t have, struct skep_cmd_why *why)
{
    size_t bytes, count = 1;
    bool fits = true;
    char shape[96];

    for (size_t i = 0; i < npy->dim_count; i++)
        fits = fits && skep_size_mul(count, npy->dims[i], &count);
    fits = fits && skep_size_mul(count, npy->is_float64 ? 8 : 4, &bytes);
    if (!fits || bytes > have)
        return skep_cmd_refuse(
            why, SKEP_EVALUE, "it is truncated: %s %s items do not fit in the %zu bytes it has",
            shape_text(shape, sizeof shape, npy), npy->is_float64 ? "float64" : "float32", have);
    if (bytes < have)
        return skep_cmd_refuse(why, SKEP_EVALUE, "%zu bytes follow its %s items", have - bytes,
                               shape_text(shape, sizeof shape, npy));
    npy->count = count;
    return 0;
}

/* Where item `index` of C order lies in a Fortran-ordered file. */
static size_t fortran_index(const struct skep_npy *npy, size_t index)
{
    size_t stride = npy->count, place = 0;

    for (size_t axis = npy->dim_count; axis-- > 0;) {
        stride /= npy->dims[axis];
        place += index % npy->dims[axis] * stride;
        index /= npy->dims[axis];
    }
    return place;
}

static void copy_items(const struct skep_npy *npy, const uint8_t *from, bool fortran, bool swap)
{
    size_t size = npy->is_float64 ? 8 : 4;
    uint8_t *to = npy->data;

    if (!fortran && !swap) {
        skep_bytes_copy(to, skep_bytes_of(from, npy->count * size));
        return;
    }
    for (size_t i = 0; i < npy->count; i++, to += size) {
        const uint8_t *item = from + (fortran ? fortran_index(npy, i) : i) * size;

        for (size_t b = 0; b < size; b++)
            to[b] = item[swap ? size - 1 - b : b];
    }
}

int skep_npy_parse(struct skep_npy *out, const struct skep_mem *mem, skep_bytes file,
                   struct skep_cmd_why *why)
{
    struct npy_header h = {.fortran_order = false};
    skep_bytes header = {NULL, 0};
    bool swap = false;
    int rc;

    *out = (struct skep_npy){.data = NULL};
    if ((rc = take_header(&file, &header, why)) < 0 ||
        (rc = parse_header(out, &h, header, why)) < 0 ||
        (rc = set_type(out, &swap, h.descr, why)) < 0 ||
        (rc = check_length(out, file.len, why)) < 0)
        goto fail;
    out->data = skep_mem_alloc(mem, file.len);
    if (!out->data) {
        rc = skep_cmd_no_memory(why);
        goto fail;
    }
    copy_items(out, file.data, h.fortran_order, swap);
    return 0;
fail:
    *out = (struct skep_npy){.data = NULL};
    return rc;
}

void skep_npy_fini(struct skep_npy *npy, const struct skep_mem *mem)
{
    skep_mem_free(mem, npy->data);
    *npy = (struct skep_npy){.data = NULL};
}
