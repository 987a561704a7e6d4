/* SPDX-License-Identifier: MIT */
/* JSON to msgpack and msgpack to JSON; see json_value.h. Both ways walk with an explicit stack of at most
 * SKEP_MSGPACK_DEPTH_MAX levels. Leaves out hivemind's dictionaries: those come apart in the DHT, below this. */
#include "cmd/json_value.h"

#include <math.h>
#include <stdio.h>

#include "base/limits.h"
#include "base/msgpack.h"
#include "cmd/args.h"
#include "crypto/sign.h"

/* ---- JSON to msgpack ---- */

/* One container being written. */
struct pack_level {
    enum pack_kind { PACK_ARRAY, PACK_TUPLE, PACK_OBJECT, PACK_PAIRS } kind;
    json_t *items; /* array of items, the object, or the array of [key, value] of $map */
    size_t index;  /* the next item; in PACK_PAIRS keys and values alternate */
    void *iter;    /* PACK_OBJECT */
    size_t start;  /* PACK_TUPLE: where its payload begins in the output */
};

struct packer {
    struct skep_buf *out;
    struct skep_cmd_why *why;
    struct pack_level stack[SKEP_MSGPACK_DEPTH_MAX];
    size_t depth;
};

static int refuse(struct packer *p, const char *text)
{
    return skep_cmd_refuse(p->why, SKEP_EVALUE, "%s", text);
}

static int push_level(struct packer *p, struct pack_level level)
{
    /* A tuple is two levels on the wire: the extension and the array in it. */
    size_t levels = p->depth + 1;

    for (size_t i = 0; i < p->depth; i++)
        levels += p->stack[i].kind == PACK_TUPLE;
    if (levels + (level.kind == PACK_TUPLE) > SKEP_MSGPACK_DEPTH_MAX)
        return skep_cmd_refuse(p->why, SKEP_EVALUE, "nested deeper than %d levels",
                               SKEP_MSGPACK_DEPTH_MAX);
    p->stack[p->depth++] = level;
    return 0;
}

static int pack_list(struct packer *p, json_t *items, enum pack_kind kind)
{
    size_t start = p->out->len;

    if (!json_is_array(items))
        return refuse(p, kind == PACK_TUPLE ? "$tuple takes an array"
                                            : "$map takes an array of [key, value]");
    if (json_array_size(items) > UINT32_MAX)
        return refuse(p, "too many items");
    if (kind == PACK_PAIRS)
        skep_msgpack_put_map(p->out, (uint32_t)json_array_size(items));
    else
        skep_msgpack_put_array(p->out, (uint32_t)json_array_size(items));
    return push_level(p, (struct pack_level){.kind = kind, .items = items, .start = start});
}

static int pack_bytes(struct packer *p, const json_t *text)
{
    struct skep_buf bytes;
    int rc;

    skep_buf_init(&bytes, p->out->mem);
    rc = json_is_string(text) ? skep_base64_decode(&bytes, skep_bytes_of(json_string_value(text),
                                                                         json_string_length(text)))
                              : SKEP_EVALUE;
    if (rc == 0)
        skep_msgpack_put_bin(p->out, skep_buf_view(&bytes));
    skep_buf_fini(&bytes);
    return rc == SKEP_EVALUE ? refuse(p, "$bytes takes padded base64") : rc;
}

static int pack_uint(struct packer *p, const json_t *text)
{
    struct skep_cmd_why ignored;
    uint64_t v;

    if (!json_is_string(text) || strlen(json_string_value(text)) != json_string_length(text) ||
        skep_cmd_count(&v, json_string_value(text), 0, UINT64_MAX, &ignored) < 0)
        return refuse(p, "$uint takes the decimal digits of a number below 2^64 as a string");
    skep_msgpack_put_uint(p->out, v);
    return 0;
}

static int pack_float(struct packer *p, const json_t *text)
{
    const char *name = json_string_value(text);

    if (name && strcmp(name, "inf") == 0)
        skep_msgpack_put_float(p->out, INFINITY);
    else if (name && strcmp(name, "-inf") == 0)
        skep_msgpack_put_float(p->out, -INFINITY);
    else if (name && strcmp(name, "nan") == 0)
        skep_msgpack_put_float(p->out, skep_double_of_bits(0x7ff8000000000000));
    else
        return refuse(p, "$float takes \"inf\", \"-inf\" or \"nan\"");
    return 0;
}

static int pack_raw(struct packer *p, const json_t *hex)
{
    size_t cap = json_string_length(hex) / 2;
    uint8_t *to = skep_buf_reserve(p->out, cap);
    ptrdiff_t len;

    if (!to)
        return SKEP_ENOMEM;
    len = json_is_string(hex) ? skep_unhex(to, cap, json_string_value(hex)) : -1;
    if (len < 0 || (size_t)len * 2 != json_string_length(hex) ||
        !skep_msgpack_valid(skep_bytes_of(to, (size_t)len)))
        return refuse(p, "$raw takes one msgpack value in hex");
    p->out->len += (size_t)len;
    return 0;
}

static int pack_object(struct packer *p, json_t *object)
{
    static const char *const forms[] = {"$tuple", "$bytes", "$uint", "$float", "$map", "$raw"};
    void *first = json_object_iter(object);

    if (first && json_object_size(object) == 1 && json_object_iter_key(first)[0] == '$') {
        json_t *content = json_object_iter_value(first);
        size_t form = 0;

        while (form < SKEP_COUNT_OF(forms) && strcmp(json_object_iter_key(first), forms[form]) != 0)
            form++;
        switch (form) {
        case 0: return pack_list(p, content, PACK_TUPLE);
        case 1: return pack_bytes(p, content);
        case 2: return pack_uint(p, content);
        case 3: return pack_float(p, content);
        case 4: return pack_list(p, content, PACK_PAIRS);
        case 5: return pack_raw(p, content);
        default:
            return refuse(p,
                          "unknown form: $tuple, $bytes, $uint, $float, $map and $raw are known");
        }
    }
    skep_msgpack_put_map(p->out, (uint32_t)json_object_size(object));
    return push_level(p, (struct pack_level){.kind = PACK_OBJECT, .items = object, .iter = first});
}

static int pack_one(struct packer *p, json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_NULL: skep_msgpack_put_nil(p->out); return 0;
    case JSON_TRUE:
    case JSON_FALSE: skep_msgpack_put_bool(p->out, json_is_true(value)); return 0;
    case JSON_INTEGER: skep_msgpack_put_int(p->out, json_integer_value(value)); return 0;
    case JSON_REAL: skep_msgpack_put_float(p->out, json_real_value(value)); return 0;
    case JSON_STRING:
        skep_msgpack_put_str(p->out,
                             skep_bytes_of(json_string_value(value), json_string_length(value)));
        return 0;
    case JSON_ARRAY: return pack_list(p, value, PACK_ARRAY);
    case JSON_OBJECT: return pack_object(p, value);
    }
    SKEP_UNREACHABLE();
}

/* The header of a tuple goes in front of its payload, whose length is known only now. */
static int close_tuple(struct packer *p, size_t start)
{
    size_t len = p->out->len - start;
    uint8_t header[8];
    struct skep_buf head;
    uint8_t *at;

    if (len > UINT32_MAX)
        return refuse(p, "too long a tuple");
    skep_buf_init(&head, p->out->mem);
    skep_msgpack_put_ext(&head, SKEP_EXT_TUPLE, (uint32_t)len);
    if (head.rc < 0 || !skep_buf_reserve(p->out, head.len)) {
        skep_buf_fini(&head);
        return SKEP_ENOMEM;
    }
    skep_bytes_copy(header, skep_buf_view(&head));
    at = p->out->data + start;
    memmove(at + head.len, at, len);
    memcpy(at, header, head.len);
    p->out->len += head.len;
    skep_buf_fini(&head);
    return 0;
}

static bool is_map_key(const json_t *key)
{
    return json_is_string(key) || (json_object_size(key) == 1 && json_object_get(key, "$bytes"));
}

/* The next item of the innermost container, or NULL when it is whole. Keys of an object are written on the way. */
static int next_item(struct packer *p, struct pack_level *level, json_t **item)
{
    *item = NULL;
    switch (level->kind) {
    case PACK_OBJECT:
        if (!level->iter)
            return 0;
        skep_msgpack_put_str(p->out, skep_bytes_of(json_object_iter_key(level->iter),
                                                   json_object_iter_key_len(level->iter)));
        *item = json_object_iter_value(level->iter);
        level->iter = json_object_iter_next(level->items, level->iter);
        return 0;
    case PACK_PAIRS: {
        json_t *pair = json_array_get(level->items, level->index / 2),
               *key = json_array_get(pair, 0);

        if (!pair)
            return 0;
        if (json_array_size(pair) != 2 || !is_map_key(key))
            return refuse(
                p, "$map takes an array of [key, value] with keys that are strings or $bytes");
        *item = json_array_get(pair, level->index++ % 2);
        return 0;
    }
    case PACK_ARRAY:
    case PACK_TUPLE: *item = json_array_get(level->items, level->index++); return 0;
    }
    SKEP_UNREACHABLE();
}

static int pack_all(struct packer *p, json_t *value)
{
    int rc = pack_one(p, value);

    while (rc == 0 && p->depth > 0) {
        struct pack_level *level = &p->stack[p->depth - 1];
        json_t *item;

        if ((rc = next_item(p, level, &item)) < 0)
            break;
        if (item) {
            rc = pack_one(p, item);
        } else {
            p->depth--;
            if (level->kind == PACK_TUPLE)
                rc = close_tuple(p, level->start);
        }
    }
    return rc;
}

int skep_cmd_json_pack(struct skep_buf *out, const json_t *value, struct skep_cmd_why *why)
{
    struct packer p = {.out = out, .why = why};
    size_t start = out->len;
    /* Jansson's iterators take no const; nothing here changes the value. */
    int rc = pack_all(&p, (json_t *)(uintptr_t)value);

    if (rc == 0)
        rc = out->rc;
    /* Bytes given as $raw may lie deeper than the levels counted on the way. */
    if (rc == 0 && !skep_msgpack_valid(skep_bytes_of(out->data + start, out->len - start)))
        return skep_cmd_refuse(why, SKEP_EVALUE, "nested deeper than %d levels",
                               SKEP_MSGPACK_DEPTH_MAX);
    return rc == SKEP_ENOMEM ? skep_cmd_no_memory(why) : rc;
}

json_t *skep_cmd_json_parse(skep_bytes text, struct skep_cmd_why *why)
{
    json_error_t error;
    json_t *value = json_loadb((const char *)text.data, text.len,
                               JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    char escaped[SKEP_PEER_TEXT_MAX + 1];

    if (!value)
        skep_cmd_refuse(why, SKEP_EVALUE, "not JSON: line %d, column %d: %s", error.line,
                        error.column,
                        skep_text_escape(escaped, sizeof escaped, skep_bytes_str(error.text)));
    return value;
}

/* ---- msgpack to JSON ---- */

struct unpack_level {
    json_t *items;  /* borrowed from the level below; the array or object being filled */
    uint64_t left;  /* items to come */
    bool is_map;    /* an object: keys and values alternate */
    bool is_pairs;  /* the array of $map: keys and values alternate */
    skep_bytes key; /* of a map, between the key and its value */
    bool is_ext;    /* the payload of a tuple: `behind` is what follows it */
    skep_bytes behind;
};

struct unpacker {
    const struct skep_mem *mem;
    skep_bytes in;
    bool typed;
    json_t *root;
    struct unpack_level stack[SKEP_MSGPACK_DEPTH_MAX];
    size_t depth;
};

/* {"$form": content}; takes content over. */
static json_t *form(const char *name, json_t *content)
{
    json_t *object = content ? json_object() : NULL;

    if (!object || json_object_set_new(object, name, content) < 0) {
        if (!object)
            json_decref(content);
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *text_of_buf(struct skep_buf *buf)
{
    json_t *text =
        buf->rc == 0 ? json_stringn(buf->len > 0 ? (const char *)buf->data : "", buf->len) : NULL;

    skep_buf_fini(buf);
    return text;
}

static json_t *bytes_form(const struct skep_mem *mem, skep_bytes bytes)
{
    struct skep_buf base64;

    skep_buf_init(&base64, mem);
    skep_base64_encode(&base64, bytes);
    return form("$bytes", text_of_buf(&base64));
}

static json_t *raw_form(const struct skep_mem *mem, skep_bytes bytes)
{
    struct skep_buf hex;
    uint8_t *at;

    skep_buf_init(&hex, mem);
    at = skep_buf_reserve(&hex, bytes.len * 2 + 1);
    if (at) {
        skep_hex((char *)at, bytes);
        hex.len = bytes.len * 2;
    }
    return form("$raw", text_of_buf(&hex));
}

json_t *skep_cmd_json_real(double v)
{
    if (isfinite(v))
        return json_real(v);
    return form("$float", json_string(isnan(v) ? "nan" : v > 0 ? "inf" : "-inf"));
}

json_t *skep_cmd_json_text(skep_bytes text)
{
    char escaped[SKEP_PEER_TEXT_MAX + 1];

    if (text.len <= SKEP_PEER_TEXT_MAX && skep_utf8_valid(text))
        return json_stringn(text.len > 0 ? (const char *)text.data : "", text.len);
    return json_string(skep_text_escape(escaped, sizeof escaped, text));
}

static json_t *uint_json(uint64_t v)
{
    char digits[24];

    if (v <= INT64_MAX)
        return json_integer((json_int_t)v);
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)v);
    return form("$uint", json_string(digits));
}

static json_t *scalar_json(const struct unpacker *u, const struct skep_msgpack_token *t,
                           skep_bytes token)
{
    switch (t->type) {
    case SKEP_MSGPACK_NIL: return json_null();
    case SKEP_MSGPACK_BOOL: return json_boolean(t->u);
    case SKEP_MSGPACK_UINT: return uint_json(t->u);
    case SKEP_MSGPACK_INT: return json_integer(t->i);
    case SKEP_MSGPACK_FLOAT: return skep_cmd_json_real(t->f);
    case SKEP_MSGPACK_STR:
        return json_stringn(t->bytes.len > 0 ? (const char *)t->bytes.data : "", t->bytes.len);
    case SKEP_MSGPACK_BIN: return bytes_form(u->mem, t->bytes);
    default: return raw_form(u->mem, token); /* an extension that is no tuple */
    }
}

/* A map is an object if each key is text that begins with anything but '$' (and so cannot be taken for a form), and has no NUL (which
 * Jansson has in strings alone). */
static bool keys_are_plain(skep_bytes in, uint32_t count)
{
    struct skep_msgpack_token key;

    for (uint32_t i = 0; i < count; i++) {
        if (skep_msgpack_next(&in, &key) != 1 || key.type != SKEP_MSGPACK_STR ||
            (key.bytes.len > 0 &&
             (key.bytes.data[0] == '$' || memchr(key.bytes.data, '\0', key.bytes.len))) ||
            skep_msgpack_skip(&in) < 0)
            return false;
    }
    return true;
}

/* Put a finished or still empty value where it belongs; takes it over. @return 0 or SKEP_ENOMEM. */
static int place(struct unpacker *u, json_t *value)
{
    struct unpack_level *level;
    int rc;

    if (!value)
        return SKEP_ENOMEM;
    if (!u->root) {
        u->root = value;
        return 0;
    }
    level = &u->stack[u->depth - 1];
    if (level->is_map) {
        rc = json_object_setn_new(level->items,
                                  level->key.len > 0 ? (const char *)level->key.data : "",
                                  level->key.len, value);
    } else if (level->is_pairs && level->left % 2 == 0) { /* a key: it opens a pair */
        rc = json_array_append_new(level->items, json_pack("[o]", value));
    } else if (level->is_pairs) {
        rc = json_array_append_new(json_array_get(level->items, json_array_size(level->items) - 1),
                                   value);
    } else {
        rc = json_array_append_new(level->items, value);
    }
    return rc < 0 ? SKEP_ENOMEM : 0;
}

/* A container: place it empty, then fill it level by level. `inner` is what its items go into. */
static int open_container(struct unpacker *u, json_t *outer, struct unpack_level level)
{
    int rc = level.items ? place(u, outer) : SKEP_ENOMEM;

    /* skep_msgpack_valid() has counted the levels before. */
    assert(u->depth < SKEP_MSGPACK_DEPTH_MAX || rc < 0);
    if (rc == 0)
        u->stack[u->depth++] = level;
    return rc;
}

static int open_array(struct unpacker *u, uint32_t count)
{
    json_t *array = json_array();

    return open_container(u, array, (struct unpack_level){.items = array, .left = count});
}

static int open_map(struct unpacker *u, uint32_t count)
{
    struct unpack_level level = {.left = (uint64_t)count * 2};

    if (keys_are_plain(u->in, count)) {
        level.items = json_object();
        level.is_map = true;
        return open_container(u, level.items, level);
    }
    level.items = json_array();
    level.is_pairs = true;
    return open_container(u, form("$map", level.items), level);
}

static int open_tuple(struct unpacker *u, skep_bytes payload)
{
    struct skep_msgpack_token array;
    struct unpack_level level = {.is_ext = true, .behind = u->in};
    json_t *outer;

    u->in = payload;
    if (skep_msgpack_next(&u->in, &array) != 1 || array.type != SKEP_MSGPACK_ARRAY)
        return SKEP_EVALUE;
    level.items = json_array();
    level.left = array.count;
    outer = u->typed ? form("$tuple", level.items) : level.items;
    return open_container(u, outer, level);
}

static int unpack_token(struct unpacker *u)
{
    skep_bytes token = u->in;
    struct skep_msgpack_token t;
    struct unpack_level *level = u->depth > 0 ? &u->stack[u->depth - 1] : NULL;
    int rc;

    if (skep_msgpack_next(&u->in, &t) != 1)
        return SKEP_EVALUE;
    token.len -= u->in.len;
    if (level && level->is_map && level->left % 2 == 0) {
        level->key = t.bytes; /* borrows from the input, which lives longer */
        level->left--;
        return 0;
    }
    if (t.type == SKEP_MSGPACK_ARRAY)
        rc = open_array(u, t.count);
    else if (t.type == SKEP_MSGPACK_MAP)
        rc = open_map(u, t.count);
    else if (t.type == SKEP_MSGPACK_EXT && t.ext_type == SKEP_EXT_TUPLE)
        rc = open_tuple(u, t.bytes);
    else
        rc = place(u, scalar_json(u, &t, token));
    if (level)
        level->left--;
    while (rc == 0 && u->depth > 0 && u->stack[u->depth - 1].left == 0) {
        level = &u->stack[--u->depth];
        if (level->is_ext)
            u->in = level->behind;
    }
    return rc;
}

json_t *skep_cmd_json_unpack(const struct skep_mem *mem, skep_bytes packed, bool typed)
{
    struct unpacker u = {.mem = mem, .in = packed, .typed = typed};
    int rc;

    if (!skep_msgpack_valid(packed))
        return raw_form(mem, packed);
    do {
        rc = unpack_token(&u);
    } while (rc == 0 && u.depth > 0);
    if (rc < 0) {
        json_decref(u.root);
        return rc == SKEP_ENOMEM ? NULL : raw_form(mem, packed);
    }
    return u.root;
}
