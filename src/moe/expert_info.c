/* SPDX-License-Identifier: MIT */
/* The msgpack of rpc_info, written and read. See expert_info.h for its form. */
#include "moe/expert_info.h"

#include <stdio.h>

#include "base/msgpack.h"

/* ---- writing ---- */

static void put_text(struct skep_buf *out, const char *text)
{
    skep_msgpack_put_str(out, skep_bytes_str(text));
}

/* An extension whose payload is what `payload` holds. */
static void put_ext(struct skep_buf *out, int8_t type, struct skep_buf *payload)
{
    if (payload->rc < 0)
        out->rc = payload->rc;
    skep_msgpack_put_ext(out, type, (uint32_t)payload->len);
    skep_buf_put_bytes(out, skep_buf_view(payload));
    skep_buf_fini(payload);
}

static void put_descriptor(struct skep_buf *out, const skep_tensor_schema *t, unsigned compression)
{
    struct skep_buf map, size;
    char dtype[32];

    skep_buf_init(&map, out->mem);
    skep_buf_init(&size, out->mem);
    snprintf(dtype, sizeof dtype, "torch.%s", skep_dtype_name(t->dtype));
    skep_msgpack_put_map(&map, 8);
    put_text(&map, "size");
    skep_msgpack_put_array(&size, (uint32_t)t->axes + 1);
    skep_msgpack_put_nil(&size);
    for (size_t i = 0; i < t->axes; i++)
        skep_msgpack_put_uint(&size, t->shape[i]);
    put_ext(&map, SKEP_EXT_TUPLE, &size);
    put_text(&map, "dtype");
    put_text(&map, dtype);
    put_text(&map, "layout");
    put_text(&map, "torch.strided");
    put_text(&map, "requires_grad");
    skep_msgpack_put_bool(&map, t->requires_grad);
    put_text(&map, "pin_memory");
    skep_msgpack_put_bool(&map, false);
    put_text(&map, "compression");
    skep_msgpack_put_uint(&map, compression);
    put_text(&map, "device_type");
    put_text(&map, "cpu");
    put_text(&map, "device_index");
    skep_msgpack_put_nil(&map);
    put_ext(out, SKEP_EXT_TENSOR, &map);
}

static void put_forward_schema(struct skep_buf *out, const skep_tensor_schema *inputs, size_t count)
{
    struct skep_buf both, args;
    size_t named = 0;

    skep_buf_init(&both, out->mem);
    skep_buf_init(&args, out->mem);
    for (size_t i = 0; i < count; i++)
        named += inputs[i].name != NULL;
    skep_msgpack_put_array(&both, 2);
    skep_msgpack_put_array(&args, (uint32_t)(count - named));
    for (size_t i = 0; i < count - named; i++)
        put_descriptor(&args, &inputs[i], inputs[i].compression);
    put_ext(&both, SKEP_EXT_TUPLE, &args);
    skep_msgpack_put_map(&both, (uint32_t)named);
    for (size_t i = count - named; i < count; i++) {
        put_text(&both, inputs[i].name);
        put_descriptor(&both, &inputs[i], inputs[i].compression);
    }
    put_ext(out, SKEP_EXT_TUPLE, &both);
}

static void put_names(struct skep_buf *out, const skep_tensor_schema *inputs, size_t count)
{
    struct skep_buf names;
    uint32_t named = 0;

    skep_buf_init(&names, out->mem);
    for (size_t i = 0; i < count; i++)
        named += inputs[i].name != NULL;
    skep_msgpack_put_array(&names, named);
    for (size_t i = 0; i < count; i++)
        if (inputs[i].name)
            put_text(&names, inputs[i].name);
    put_ext(out, SKEP_EXT_TUPLE, &names);
}

int skep_expert_info_write(struct skep_buf *out, const skep_tensor_schema *inputs,
                           size_t input_count, const skep_tensor_schema *outputs,
                           size_t output_count)
{
    struct skep_buf tuple;

    skep_msgpack_put_map(out, 3);
    put_text(out, "forward_schema");
    put_forward_schema(out, inputs, input_count);
    put_text(out, "outputs_schema");
    if (output_count == 1) {
        put_descriptor(out, outputs, 0);
    } else {
        skep_buf_init(&tuple, out->mem);
        skep_msgpack_put_array(&tuple, (uint32_t)output_count);
        for (size_t i = 0; i < output_count; i++)
            put_descriptor(&tuple, &outputs[i], 0);
        put_ext(out, SKEP_EXT_TUPLE, &tuple);
    }
    put_text(out, "keyword_names");
    put_names(out, inputs, input_count);
    return out->rc;
}

/* ---- reading ---- */

enum { NEST_MAX = 8, NAMES_MAX = 4096 };

static bool is_text(const struct skep_msgpack_token *token, const char *text)
{
    return token->type == SKEP_MSGPACK_STR && skep_bytes_equal(token->bytes, skep_bytes_str(text));
}

/* The items of a tuple, list or map token: what follows it (in *in), or its payload. */
static bool open_items(const struct skep_msgpack_token *token, skep_bytes *items, uint32_t *count)
{
    struct skep_msgpack_token inner;

    if (token->type == SKEP_MSGPACK_ARRAY || token->type == SKEP_MSGPACK_MAP) {
        *count = token->count;
        return true;
    }
    if (token->type != SKEP_MSGPACK_EXT || token->ext_type != SKEP_EXT_TUPLE)
        return false;
    *items = token->bytes;
    if (skep_msgpack_next(items, &inner) != 1 || inner.type != SKEP_MSGPACK_ARRAY)
        return false;
    *count = inner.count;
    return true;
}

static int read_size(skep_tensor_schema *out, const struct skep_msgpack_token *token,
                     skep_bytes *in)
{
    skep_bytes items = *in;
    uint32_t count;

    if (!open_items(token, &items, &count) || count == 0)
        return SKEP_EPEER_PROTO;
    if (count > SKEP_TENSOR_AXES_MAX)
        return SKEP_EPEER_LIMIT;
    out->axes = count - 1;
    for (uint32_t i = 0; i < count; i++) {
        struct skep_msgpack_token item;

        if (skep_msgpack_next(&items, &item) != 1 ||
            (i == 0 ? item.type != SKEP_MSGPACK_NIL : item.type != SKEP_MSGPACK_UINT))
            return SKEP_EPEER_PROTO;
        if (i > 0)
            out->shape[i - 1] = (size_t)item.u;
    }
    if (token->type == SKEP_MSGPACK_ARRAY)
        *in = items;
    return 0;
}

static int read_dtype(skep_tensor_schema *out, const struct skep_msgpack_token *token)
{
    char name[32] = "";

    if (token->type == SKEP_MSGPACK_NIL)
        return 0; /* any: float32 */
    if (token->type != SKEP_MSGPACK_STR || token->bytes.len >= sizeof name)
        return SKEP_EPEER_PROTO;
    skep_bytes_copy(name, token->bytes);
    return skep_dtype_from_name(&out->dtype, name) < 0 ? SKEP_EPEER_PROTO : 0;
}

static int read_descriptor(skep_tensor_schema *out, skep_bytes payload)
{
    struct skep_msgpack_token map, key, value;
    bool has_size = false;
    int rc = 0;

    *out = (skep_tensor_schema){.dtype = SKEP_FLOAT32};
    if (skep_msgpack_next(&payload, &map) != 1 || map.type != SKEP_MSGPACK_MAP)
        return SKEP_EPEER_PROTO;
    for (uint32_t i = 0; rc == 0 && i < map.count; i++) {
        skep_bytes at;

        if (skep_msgpack_next(&payload, &key) != 1)
            return SKEP_EPEER_FRAME;
        at = payload;
        if (skep_msgpack_next(&payload, &value) != 1)
            return SKEP_EPEER_FRAME;
        if (is_text(&key, "size")) {
            rc = read_size(out, &value, &payload);
            has_size = true;
        } else if (is_text(&key, "dtype")) {
            rc = read_dtype(out, &value);
        } else if (is_text(&key, "requires_grad")) {
            out->requires_grad = value.type == SKEP_MSGPACK_BOOL && value.u != 0;
        } else if (is_text(&key, "compression")) {
            if (value.type != SKEP_MSGPACK_UINT || value.u >= SKEP_COMPRESSIONS)
                return SKEP_EPEER_PROTO;
            out->compression = (skep_compression)value.u;
        } else {
            payload = at;
            rc = skep_msgpack_skip(&payload);
        }
    }
    return rc < 0 ? rc : has_size ? 0 : SKEP_EPEER_PROTO;
}

/* A nest of tuples, lists and maps is walked with a stack of what is left of each. */
struct nest {
    struct level {
        skep_bytes *in, own;
        uint32_t left;
        bool is_map;
        skep_bytes last_key;
    } levels[NEST_MAX];
    size_t depth;
};

struct schema_sink {
    skep_tensor_schema *out;
    size_t count;
    struct skep_buf *names; /* of maps' keys, each terminated; NULL: not wanted */
    size_t *name_at;        /* [count] + 1, 0: none */
};

static int take_descriptor(struct schema_sink *sink, const struct skep_msgpack_token *token,
                           const struct level *level)
{
    int rc;

    if (sink->count == SKEP_EXPERT_TENSORS_MAX)
        return SKEP_EPEER_LIMIT;
    if ((rc = read_descriptor(&sink->out[sink->count], token->bytes)) < 0)
        return rc;
    if (sink->names) {
        sink->name_at[sink->count] = 0;
        if (level && level->is_map) {
            if (sink->names->len + level->last_key.len + 1 > NAMES_MAX)
                return SKEP_EPEER_LIMIT;
            sink->name_at[sink->count] = sink->names->len + 1;
            skep_buf_put_bytes(sink->names, level->last_key);
            skep_buf_put_u8(sink->names, 0);
        }
    }
    sink->count++;
    return 0;
}

static int take_key(struct level *level)
{
    struct skep_msgpack_token key;

    if (!level->is_map)
        return 0;
    if (skep_msgpack_next(level->in, &key) != 1)
        return SKEP_EPEER_FRAME;
    /* hivemind flattens by sorted key, whatever the order of the map: we take the order it sends, which is that of a sorted one. */
    if ((key.type != SKEP_MSGPACK_STR && key.type != SKEP_MSGPACK_BIN) ||
        (level->last_key.data && skep_bytes_compare(level->last_key, key.bytes) >= 0))
        return SKEP_EPEER_PROTO;
    level->last_key = key.bytes;
    return 0;
}

/* Flatten the value at the front of *in. */
static int read_nest(struct schema_sink *sink, skep_bytes *in)
{
    struct nest nest = {.depth = 0};
    int rc = 0;

    do {
        struct level *level = nest.depth > 0 ? &nest.levels[nest.depth - 1] : NULL;
        struct skep_msgpack_token token;

        if (level && level->left == 0) {
            nest.depth--;
            continue;
        }
        if (level) {
            level->left--;
            if ((rc = take_key(level)) < 0)
                return rc;
        }
        if (skep_msgpack_next(level ? level->in : in, &token) != 1)
            return SKEP_EPEER_FRAME;
        if (token.type == SKEP_MSGPACK_EXT && token.ext_type == SKEP_EXT_TENSOR) {
            if ((rc = take_descriptor(sink, &token, level)) < 0)
                return rc;
        } else {
            struct level *inner = &nest.levels[nest.depth];

            if (nest.depth == NEST_MAX)
                return SKEP_EPEER_LIMIT;
            *inner = (struct level){.in = level ? level->in : in,
                                    .is_map = token.type == SKEP_MSGPACK_MAP};
            if (!open_items(&token, &inner->own, &inner->left))
                return SKEP_EPEER_PROTO;
            if (token.type == SKEP_MSGPACK_EXT)
                inner->in = &inner->own;
            nest.depth++;
        }
    } while (nest.depth > 0);
    return 0;
}

static int read_inputs(struct skep_expert_schema *schema, const struct skep_mem *mem,
                       skep_bytes *in)
{
    size_t name_at[SKEP_EXPERT_TENSORS_MAX] = {0};
    struct skep_buf names;
    struct schema_sink sink = {.out = schema->inputs, .names = &names, .name_at = name_at};
    size_t len;
    int rc;

    skep_buf_init(&names, mem);
    rc = read_nest(&sink, in);
    if (rc == 0)
        rc = names.rc;
    if (rc < 0) {
        skep_buf_fini(&names);
        return rc;
    }
    skep_mem_free(mem, schema->names); /* of a key that came twice */
    schema->names = (char *)skep_buf_steal(&names, &len);
    schema->input_count = sink.count;
    for (size_t i = 0; i < sink.count; i++)
        schema->inputs[i].name = name_at[i] > 0 ? schema->names + name_at[i] - 1 : NULL;
    return 0;
}

static int read_info(struct skep_expert_schema *schema, const struct skep_mem *mem, skep_bytes in)
{
    bool has_inputs = false, has_outputs = false;
    struct skep_msgpack_token map, key;
    int rc = 0;

    if (skep_msgpack_next(&in, &map) != 1 || map.type != SKEP_MSGPACK_MAP)
        return SKEP_EPEER_PROTO;
    for (uint32_t i = 0; rc == 0 && i < map.count; i++) {
        struct schema_sink outputs = {.out = schema->outputs};

        if (skep_msgpack_next(&in, &key) != 1)
            return SKEP_EPEER_FRAME;
        if (is_text(&key, "forward_schema")) {
            rc = read_inputs(schema, mem, &in);
            has_inputs = true;
        } else if (is_text(&key, "outputs_schema")) {
            rc = read_nest(&outputs, &in);
            schema->output_count = outputs.count;
            has_outputs = true;
        } else {
            rc = skep_msgpack_skip(&in);
        }
    }
    return rc < 0 ? rc : has_inputs && has_outputs ? 0 : SKEP_EPEER_PROTO;
}

int skep_expert_info_read(struct skep_expert_schema *schema, const struct skep_mem *mem,
                          skep_bytes info, char *why, size_t why_len)
{
    int rc = SKEP_EPEER_LIMIT;

    memset(schema, 0, sizeof *schema);
    if (info.len <= SKEP_EXPERT_INFO_MAX)
        rc = skep_msgpack_valid(info) ? read_info(schema, mem, info) : SKEP_EPEER_FRAME;
    if (rc < 0) {
        if (why && why_len > 0)
            snprintf(why, why_len, "what the expert says of itself: %s",
                     rc == SKEP_EPEER_LIMIT   ? "too much of it"
                     : rc == SKEP_EPEER_FRAME ? "it is malformed"
                                              : "it has another form than hivemind's");
        skep_expert_schema_fini(schema, mem);
    }
    return rc;
}

void skep_expert_schema_fini(struct skep_expert_schema *schema, const struct skep_mem *mem)
{
    skep_mem_free(mem, schema->names);
    memset(schema, 0, sizeof *schema);
}

/* ---- do tensors fit? ---- */

static void shape_text(char *out, size_t len, const size_t *shape, size_t axes, bool batch)
{
    size_t at = (size_t)snprintf(out, len, batch ? "(batch" : "(");

    for (size_t i = 0; i < axes && at < len; i++)
        at += (size_t)snprintf(out + at, len - at, "%s%zu", i > 0 || batch ? ", " : "", shape[i]);
    if (at < len)
        snprintf(out + at, len - at, ")");
}

static bool has_shape(const skep_tensor_schema *schema, const skep_tensor *tensor)
{
    return tensor->axes == schema->axes + 1 &&
           memcmp(tensor->shape + 1, schema->shape, schema->axes * sizeof *schema->shape) == 0;
}

/* Among floating-point types the other side converts. */
static bool has_type(const skep_tensor_schema *schema, const skep_tensor *tensor)
{
    return tensor->dtype == schema->dtype ||
           (skep_dtype_is_floating(tensor->dtype) && skep_dtype_is_floating(schema->dtype));
}

int skep_expert_schema_check(const skep_tensor_schema *schemas, size_t schema_count,
                             const skep_tensor *tensors, size_t count, const char *what, char *why,
                             size_t why_len)
{
    char got[128], want[128];

    if (count != schema_count) {
        snprintf(why, why_len, "%zu %ss were given, and the expert takes %zu", count, what,
                 schema_count);
        return SKEP_EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        if (!has_type(&schemas[i], &tensors[i])) {
            snprintf(why, why_len, "%s %zu is %s and has to be %s", what, i,
                     skep_dtype_name(tensors[i].dtype), skep_dtype_name(schemas[i].dtype));
            return SKEP_EINVAL;
        }
        if (!has_shape(&schemas[i], &tensors[i])) {
            shape_text(got, sizeof got, tensors[i].shape, tensors[i].axes, false);
            shape_text(want, sizeof want, schemas[i].shape, schemas[i].axes, true);
            snprintf(why, why_len, "%s %zu has the shape %s and has to be %s", what, i, got, want);
            return SKEP_EINVAL;
        }
        if (tensors[i].shape[0] == 0 || tensors[i].shape[0] != tensors[0].shape[0]) {
            snprintf(why, why_len,
                     tensors[i].shape[0] == 0 ? "%s %zu is an empty batch"
                                              : "%s %zu is of another batch size than the first",
                     what, i);
            return SKEP_EINVAL;
        }
    }
    return 0;
}
