/* SPDX-License-Identifier: MIT */
/* See safetensors.h. The reader is stricter than JSON: two levels of objects, and nothing in them but what the format has. So it needs no stack and no
 * tree of values, and a JSON library would be a dependency of libskep for the sake of a few lines.
 *
 * Leaves out the types of fewer than eight bits. */
#include "server/safetensors.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/limits.h"

static const struct dtype {
    const char *name;
    size_t size;
} dtypes[] = {{"F32", 4},     {"F64", 8},     {"F16", 2},         {"BF16", 2},       {"I64", 8},
              {"I32", 4},     {"I16", 2},     {"I8", 1},          {"U64", 8},        {"U32", 4},
              {"U16", 2},     {"U8", 1},      {"BOOL", 1},        {"C64", 8},        {"F8_E5M2", 1},
              {"F8_E4M3", 1}, {"F8_E8M0", 1}, {"F8_E4M3FNUZ", 1}, {"F8_E5M2FNUZ", 1}};

enum { SHOWN_MAX = 96 }; /* bytes of a name in a message */

/* ---- reading ---- */

struct reader {
    uint8_t *start, *at, *end; /* the header, ours: strings are unescaped where they lie */
    struct skep_safetensors *out;
    bool has_notes;
    char *why;
    size_t why_len;
};

static int refuse(struct reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int refuse(struct reader *r, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(r->why, r->why_len, format, args);
    va_end(args);
    return SKEP_EVALUE;
}

static int malformed(struct reader *r)
{
    return refuse(r, "its header is malformed at byte %zu", (size_t)(r->at - r->start));
}

/* A tensor's name for a message; one at a time. */
struct shown {
    char text[SHOWN_MAX];
};

static const char *show(struct shown *shown, skep_bytes name)
{
    return skep_text_escape(shown->text, sizeof shown->text, name);
}

static void skip_space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r'))
        r->at++;
}

static bool take(struct reader *r, char wanted)
{
    skip_space(r);
    if (r->at == r->end || *r->at != (uint8_t)wanted)
        return false;
    r->at++;
    return true;
}

/* After an item of an object or array: is there another? @return 1, 0 (`close` was there), SKEP_EVALUE. */
static int take_more(struct reader *r, char close)
{
    if (take(r, ','))
        return 1;
    return take(r, close) ? 0 : malformed(r);
}

static bool take_hex4(struct reader *r, uint32_t *out)
{
    uint32_t v = 0;

    if (r->end - r->at < 4)
        return false;
    for (int i = 0; i < 4; i++, r->at++) {
        uint8_t c = *r->at, lower = c | 0x20;

        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if (lower >= 'a' && lower <= 'f')
            v = v << 4 | (uint32_t)(lower - 'a' + 10);
        else
            return false;
    }
    *out = v;
    return true;
}

/* At most as long as the escape it stands for. @return behind it. */
static uint8_t *put_utf8(uint8_t *to, uint32_t v)
{
    if (v < 0x80) {
        *to++ = (uint8_t)v;
    } else if (v < 0x800) {
        *to++ = (uint8_t)(0xc0 | v >> 6);
        *to++ = (uint8_t)(0x80 | (v & 0x3f));
    } else if (v < 0x10000) {
        *to++ = (uint8_t)(0xe0 | v >> 12);
        *to++ = (uint8_t)(0x80 | (v >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (v & 0x3f));
    } else {
        *to++ = (uint8_t)(0xf0 | v >> 18);
        *to++ = (uint8_t)(0x80 | (v >> 12 & 0x3f));
        *to++ = (uint8_t)(0x80 | (v >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (v & 0x3f));
    }
    return to;
}

/* Behind "\u": one code point, of one escape or of two that are surrogates. */
static bool take_code_point(struct reader *r, uint32_t *out)
{
    uint32_t low;

    if (!take_hex4(r, out) || (*out >= 0xdc00 && *out < 0xe000))
        return false;
    if (*out < 0xd800 || *out >= 0xe000)
        return true;
    if (r->end - r->at < 2 || r->at[0] != '\\' || r->at[1] != 'u')
        return false;
    r->at += 2;
    if (!take_hex4(r, &low) || low < 0xdc00 || low >= 0xe000)
        return false;
    *out = 0x10000 + ((*out - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

/* Behind a backslash. @return false where that is no escape of JSON's. */
static bool take_escape(struct reader *r, uint8_t **to)
{
    static const char from[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *found;
    uint32_t v;

    if (r->at == r->end || *r->at == '\0')
        return false;
    if (*r->at == 'u') {
        r->at++;
        if (!take_code_point(r, &v))
            return false;
        *to = put_utf8(*to, v);
        return true;
    }
    found = strchr(from, *r->at);
    if (!found)
        return false;
    r->at++;
    *(*to)++ = (uint8_t)meant[found - from];
    return true;
}

static int take_string(struct reader *r, skep_bytes *out)
{
    uint8_t *text, *to;

    if (!take(r, '"'))
        return malformed(r);
    text = to = r->at;
    while (r->at < r->end && *r->at != '"') {
        if (*r->at < 0x20)
            return malformed(r);
        if (*r->at != '\\') {
            *to++ = *r->at++;
            continue;
        }
        r->at++;
        if (!take_escape(r, &to))
            return malformed(r);
    }
    if (r->at == r->end)
        return malformed(r);
    r->at++;
    *out = skep_bytes_of(text, (size_t)(to - text));
    return 0;
}

/* A whole number that is not negative, as Python and Rust write them. */
static int take_size(struct reader *r, size_t *out)
{
    size_t v = 0;
    uint8_t *start;

    skip_space(r);
    start = r->at;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
        if (!skep_size_mul(v, 10, &v) || !skep_size_add(v, (size_t)(*r->at - '0'), &v))
            return refuse(r, "the number at byte %zu of its header is too large",
                          (size_t)(start - r->start));
    }
    if (r->at == start || (*start == '0' && r->at - start > 1))
        return malformed(r);
    *out = v;
    return 0;
}

static int take_sizes(struct reader *r, size_t *out, size_t max, size_t *count)
{
    int more = 1, rc;

    *count = 0;
    if (!take(r, '['))
        return malformed(r);
    if (take(r, ']'))
        return 0;
    while (more > 0) {
        if (*count == max)
            return refuse(r, "the list at byte %zu of its header has more than %zu numbers",
                          (size_t)(r->at - r->start), max);
        if ((rc = take_size(r, &out[(*count)++])) < 0)
            return rc;
        more = take_more(r, ']');
    }
    return more;
}

static int add_note(struct reader *r)
{
    struct skep_safetensors *out = r->out;
    struct skep_safetensors_note *note = &out->notes[out->note_count];
    struct shown shown;
    int rc;

    if (out->note_count == SKEP_SAFETENSORS_NOTES_MAX)
        return refuse(r, "its __metadata__ has more than %d entries", SKEP_SAFETENSORS_NOTES_MAX);
    if ((rc = take_string(r, &note->key)) < 0)
        return rc;
    if (!take(r, ':'))
        return malformed(r);
    if ((rc = take_string(r, &note->value)) < 0)
        return rc;
    for (size_t i = 0; i < out->note_count; i++) {
        if (skep_bytes_equal(out->notes[i].key, note->key))
            return refuse(r, "its __metadata__ has \"%s\" twice", show(&shown, note->key));
    }
    out->note_count++;
    return 0;
}

static int take_notes(struct reader *r)
{
    int more = 1, rc;

    if (r->has_notes)
        return refuse(r, "its header has __metadata__ twice");
    r->has_notes = true;
    if (!take(r, '{'))
        return malformed(r);
    if (take(r, '}'))
        return 0;
    while (more > 0) {
        if ((rc = add_note(r)) < 0)
            return rc;
        more = take_more(r, '}');
    }
    return more;
}

/* What has been seen of one tensor. */
struct tensor_entries {
    size_t item_size; /* 0: no dtype yet */
    bool has_shape, has_offsets;
};

static int take_dtype(struct reader *r, struct skep_safetensors_tensor *t, size_t *item_size)
{
    struct shown shown, dtype;
    skep_bytes name;
    int rc = take_string(r, &name);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < SKEP_COUNT_OF(dtypes); i++) {
        if (skep_bytes_equal(name, skep_bytes_str(dtypes[i].name))) {
            t->dtype = dtypes[i].name;
            *item_size = dtypes[i].size;
            return 0;
        }
    }
    return refuse(r, "tensor \"%s\" has the unknown dtype \"%s\"", show(&shown, t->name),
                  show(&dtype, name));
}

static int take_offsets(struct reader *r, struct skep_safetensors_tensor *t)
{
    size_t offsets[2], count;
    struct shown shown;
    int rc = take_sizes(r, offsets, 2, &count);

    if (rc < 0)
        return rc;
    if (count != 2 || offsets[0] > offsets[1])
        return refuse(r, "the data_offsets of tensor \"%s\" are not begin and end",
                      show(&shown, t->name));
    t->begin = offsets[0];
    t->end = offsets[1];
    return 0;
}

static int take_entry(struct reader *r, struct skep_safetensors_tensor *t,
                      struct tensor_entries *seen)
{
    struct shown shown, entry;
    skep_bytes key;
    bool twice = false;
    int rc;

    if ((rc = take_string(r, &key)) < 0)
        return rc;
    if (!take(r, ':'))
        return malformed(r);
    if (skep_bytes_equal(key, skep_bytes_str("dtype"))) {
        twice = seen->item_size > 0;
        rc = take_dtype(r, t, &seen->item_size);
    } else if (skep_bytes_equal(key, skep_bytes_str("shape"))) {
        twice = seen->has_shape;
        seen->has_shape = true;
        rc = take_sizes(r, t->shape, SKEP_TENSOR_AXES_MAX, &t->axes);
    } else if (skep_bytes_equal(key, skep_bytes_str("data_offsets"))) {
        twice = seen->has_offsets;
        seen->has_offsets = true;
        rc = take_offsets(r, t);
    } else {
        return refuse(r, "tensor \"%s\" has the unknown entry \"%s\"", show(&shown, t->name),
                      show(&entry, key));
    }
    if (rc == 0 && twice)
        return refuse(r, "tensor \"%s\" has \"%s\" twice", show(&shown, t->name),
                      show(&entry, key));
    return rc;
}

static int check_tensor(struct reader *r, const struct skep_safetensors_tensor *t,
                        const struct tensor_entries *seen)
{
    size_t bytes = seen->item_size;
    struct shown shown;
    bool fits = true;

    if (seen->item_size == 0 || !seen->has_shape || !seen->has_offsets)
        return refuse(r, "tensor \"%s\" lacks its %s", show(&shown, t->name),
                      seen->item_size == 0 ? "dtype"
                      : !seen->has_shape   ? "shape"
                                           : "data_offsets");
    for (size_t i = 0; i < t->axes; i++)
        fits = fits && skep_size_mul(bytes, t->shape[i], &bytes);
    if (!fits || bytes != t->end - t->begin)
        return refuse(r, "tensor \"%s\" has %zu bytes, which its shape contradicts",
                      show(&shown, t->name), t->end - t->begin);
    for (size_t i = 0; i < r->out->tensor_count; i++) {
        if (skep_bytes_equal(r->out->tensors[i].name, t->name))
            return refuse(r, "it has tensor \"%s\" twice", show(&shown, t->name));
    }
    return 0;
}

static int take_tensor(struct reader *r, skep_bytes name)
{
    struct skep_safetensors_tensor *t = &r->out->tensors[r->out->tensor_count];
    struct tensor_entries seen = {.item_size = 0};
    int more = 1, rc;

    if (r->out->tensor_count == SKEP_SAFETENSORS_TENSORS_MAX)
        return refuse(r, "it has more than %d tensors", SKEP_SAFETENSORS_TENSORS_MAX);
    t->name = name;
    if (!take(r, '{'))
        return malformed(r);
    while (more > 0) {
        if ((rc = take_entry(r, t, &seen)) < 0)
            return rc;
        if ((more = take_more(r, '}')) < 0)
            return more;
    }
    if ((rc = check_tensor(r, t, &seen)) < 0)
        return rc;
    r->out->tensor_count++;
    return 0;
}

static int take_member(struct reader *r)
{
    skep_bytes name;
    int rc = take_string(r, &name);

    if (rc < 0)
        return rc;
    if (!take(r, ':'))
        return malformed(r);
    return skep_bytes_equal(name, skep_bytes_str("__metadata__")) ? take_notes(r)
                                                                  : take_tensor(r, name);
}

static int take_header(struct reader *r)
{
    int more = 1, rc;

    if (r->at == r->end || *r->at != '{') /* "must begin with a {" */
        return malformed(r);
    r->at++;
    if (take(r, '}'))
        more = 0;
    while (more > 0) {
        if ((rc = take_member(r)) < 0)
            return rc;
        if ((more = take_more(r, '}')) < 0)
            return more;
    }
    skip_space(r);
    return r->at == r->end ? 0 : malformed(r);
}

static bool lies_before(const struct skep_safetensors_tensor *a,
                        const struct skep_safetensors_tensor *b)
{
    return a->begin != b->begin ? a->begin < b->begin : a->end < b->end;
}

/* Few, and mostly in order: insertion. */
static void sort_tensors(struct skep_safetensors *file)
{
    struct skep_safetensors_tensor *t = file->tensors;

    for (size_t i = 1; i < file->tensor_count; i++) {
        struct skep_safetensors_tensor moved = t[i];
        size_t at = i;

        for (; at > 0 && lies_before(&moved, &t[at - 1]); at--)
            t[at] = t[at - 1];
        t[at] = moved;
    }
}

/* "The byte buffer needs to be entirely indexed, and cannot contain holes." */
static int check_data(struct reader *r, uint64_t data_len)
{
    const struct skep_safetensors *file = r->out;
    size_t end = 0;
    struct shown shown;

    for (size_t i = 0; i < file->tensor_count; i++) {
        const struct skep_safetensors_tensor *t = &file->tensors[i];

        if (t->begin != end)
            return refuse(r, "tensor \"%s\" %s", show(&shown, t->name),
                          t->begin > end ? "has a hole before it" : "overlaps another");
        end = t->end;
    }
    if (end > data_len)
        return refuse(r, "it is torn: of %zu bytes of tensors it has %llu", end,
                      (unsigned long long)data_len);
    if (end < data_len)
        return refuse(r, "%llu bytes follow its tensors", (unsigned long long)(data_len - end));
    return 0;
}

int skep_safetensors_prefix(size_t *header_len, skep_bytes first, uint64_t file_len, char *why,
                            size_t why_len)
{
    struct reader r = {.why = why, .why_len = why_len};
    uint64_t len;

    *header_len = 0;
    if (first.len < SKEP_SAFETENSORS_PREFIX_LEN || file_len < SKEP_SAFETENSORS_PREFIX_LEN)
        return refuse(&r, "it is torn, or no safetensors file: it has only %llu bytes",
                      (unsigned long long)file_len);
    len = skep_get_le64(first.data);
    if (len > SKEP_SAFETENSORS_HEADER_MAX)
        return refuse(&r, "it is no safetensors file, or has a header of more than %d bytes",
                      SKEP_SAFETENSORS_HEADER_MAX);
    if (len > file_len - SKEP_SAFETENSORS_PREFIX_LEN)
        return refuse(&r, "it is torn, or no safetensors file: its header has %llu bytes, it %llu",
                      (unsigned long long)len, (unsigned long long)file_len);
    *header_len = (size_t)len;
    return 0;
}

static int no_memory(struct reader *r)
{
    refuse(r, "out of memory");
    return SKEP_ENOMEM;
}

int skep_safetensors_parse(struct skep_safetensors *out, const struct skep_mem *mem,
                           skep_bytes header, uint64_t data_len, char *why, size_t why_len)
{
    struct reader r = {.out = out, .why = why, .why_len = why_len};
    int rc;

    *out = (struct skep_safetensors){.mem = mem};
    if (header.len > SKEP_SAFETENSORS_HEADER_MAX)
        return refuse(&r, "its header has more than %d bytes", SKEP_SAFETENSORS_HEADER_MAX);
    if (!skep_utf8_valid(header))
        return refuse(&r, "its header is not UTF-8");
    out->text = skep_mem_dup(mem, header.data, header.len);
    out->tensors = skep_mem_zalloc(mem, SKEP_SAFETENSORS_TENSORS_MAX, sizeof *out->tensors);
    out->notes = skep_mem_zalloc(mem, SKEP_SAFETENSORS_NOTES_MAX, sizeof *out->notes);
    if (!out->text || !out->tensors || !out->notes) {
        rc = no_memory(&r);
        goto out;
    }
    r.start = r.at = out->text;
    r.end = r.start + header.len;
    if ((rc = take_header(&r)) < 0)
        goto out;
    sort_tensors(out);
    rc = check_data(&r, data_len);
out:
    if (rc < 0)
        skep_safetensors_fini(out);
    return rc;
}

void skep_safetensors_fini(struct skep_safetensors *file)
{
    skep_mem_free(file->mem, file->notes);
    skep_mem_free(file->mem, file->tensors);
    skep_mem_free(file->mem, file->text);
    *file = (struct skep_safetensors){.mem = file->mem};
}

const skep_bytes *skep_safetensors_note(const struct skep_safetensors *file, const char *key)
{
    for (size_t i = 0; i < file->note_count; i++) {
        if (skep_bytes_equal(file->notes[i].key, skep_bytes_str(key)))
            return &file->notes[i].value;
    }
    return NULL;
}

/* ---- writing ---- */

/* A string's inside. */
static void put_escaped(struct skep_buf *out, skep_bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        char escape[8];

        if (c == '"' || c == '\\')
            skep_buf_put_u8(out, '\\');
        if (c >= 0x20) {
            skep_buf_put_u8(out, c);
            continue;
        }
        snprintf(escape, sizeof escape, "\\u%04x", c);
        skep_buf_put_str(out, escape);
    }
}

static void put_size(struct skep_buf *out, size_t v)
{
    char digits[24];

    snprintf(digits, sizeof digits, "%zu", v);
    skep_buf_put_str(out, digits);
}

void skep_safetensors_begin(struct skep_safetensors_header *header, struct skep_buf *out)
{
    static const uint8_t room[SKEP_SAFETENSORS_PREFIX_LEN];

    *header = (struct skep_safetensors_header){.out = out, .start = out->len};
    skep_buf_put(out, room, sizeof room);
    skep_buf_put_u8(out, '{');
}

void skep_safetensors_put_note(struct skep_safetensors_header *header, const char *key,
                               skep_bytes value)
{
    struct skep_buf *out = header->out;

    assert(header->part != SKEP_SAFETENSORS_TENSORS);
    skep_buf_put_str(out, header->part == SKEP_SAFETENSORS_EMPTY ? "\"__metadata__\":{\"" : ",\"");
    header->part = SKEP_SAFETENSORS_NOTES;
    put_escaped(out, skep_bytes_str(key));
    skep_buf_put_str(out, "\":\"");
    put_escaped(out, value);
    skep_buf_put_u8(out, '"');
}

void skep_safetensors_put_float32(struct skep_safetensors_header *header, const char *prefix,
                                  const char *name, size_t axes, const size_t *shape)
{
    static const char *const before[] = {[SKEP_SAFETENSORS_EMPTY] = "\"",
                                         [SKEP_SAFETENSORS_NOTES] = "},\"",
                                         [SKEP_SAFETENSORS_TENSORS] = ",\""};
    struct skep_buf *out = header->out;
    size_t bytes = sizeof(float), end;
    bool fits = true;

    skep_buf_put_str(out, before[header->part]);
    header->part = SKEP_SAFETENSORS_TENSORS;
    put_escaped(out, skep_bytes_str(prefix));
    put_escaped(out, skep_bytes_str(name));
    skep_buf_put_str(out, "\":{\"dtype\":\"F32\",\"shape\":[");
    for (size_t i = 0; i < axes; i++) {
        if (i > 0)
            skep_buf_put_u8(out, ',');
        put_size(out, shape[i]);
        fits = fits && skep_size_mul(bytes, shape[i], &bytes);
    }
    if (!fits || !skep_size_add(header->data_len, bytes, &end)) {
        header->rc = SKEP_EINVAL;
        return;
    }
    skep_buf_put_str(out, "],\"data_offsets\":[");
    put_size(out, header->data_len);
    skep_buf_put_u8(out, ',');
    put_size(out, end);
    skep_buf_put_str(out, "]}");
    header->data_len = end;
}

int skep_safetensors_end(struct skep_safetensors_header *header)
{
    struct skep_buf *out = header->out;
    size_t len;

    skep_buf_put_str(out, header->part == SKEP_SAFETENSORS_NOTES ? "}}" : "}");
    while (out->rc == 0 && (out->len - header->start) % 8 != 0)
        skep_buf_put_u8(out, ' ');
    if (out->rc < 0)
        return out->rc;
    len = out->len - header->start - SKEP_SAFETENSORS_PREFIX_LEN;
    if (header->rc == 0 && len > SKEP_SAFETENSORS_HEADER_MAX)
        header->rc = SKEP_ESIZE;
    if (header->rc == 0 && !skep_utf8_valid(skep_bytes_of(out->data + out->len - len, len)))
        header->rc = SKEP_EINVAL;
    if (header->rc == 0)
        skep_put_le64(out->data + header->start, len);
    return header->rc;
}
