/* SPDX-License-Identifier: MIT */
/* Tensors of the command; see tensors.h. */
#include "cmd/tensors.h"

#include <math.h>
#include <stdlib.h>

#include "cmd/json_value.h"
#include "cmd/npy_write.h"

enum { ROWS_SHOWN = 6, NUMBERS_SHOWN = 8 };

/* ---- files ---- */

static bool add_file(struct skep_cmd_tensors *tensors, const char *path)
{
    struct skep_npy_tensors *file = &tensors->files[tensors->file_count];
    struct skep_cmd_why why = {.text = ""};
    struct skep_buf bytes;
    bool ok;

    skep_buf_init(&bytes, &skep_mem_std);
    ok = skep_cmd_read_file(&bytes, path);
    if (ok && skep_npy_tensors_parse(file, &skep_mem_std, skep_buf_view(&bytes), &why) < 0) {
        skep_cmd_error(path, "%s", why.text);
        ok = false;
    }
    skep_buf_fini(&bytes);
    if (!ok)
        return false;
    tensors->file_count++;
    for (size_t i = 0; i < file->count; i++) {
        if (tensors->count == SKEP_EXPERT_TENSORS_MAX) {
            skep_cmd_error(path, "with it there are more than %d tensors",
                           (int)SKEP_EXPERT_TENSORS_MAX);
            return false;
        }
        tensors->items[tensors->count++] = file->tensors[i].tensor;
    }
    return true;
}

bool skep_cmd_tensors_read(struct skep_cmd_tensors *tensors, char *const *paths)
{
    size_t count = skep_cmd_list_count(paths);

    tensors->files = calloc(count + 1, sizeof *tensors->files);
    if (!tensors->files) {
        skep_cmd_error("input", "out of memory");
        return false;
    }
    for (size_t i = 0; i < count; i++)
        if (!add_file(tensors, paths[i]))
            return false;
    return true;
}

void skep_cmd_tensors_fini(struct skep_cmd_tensors *tensors)
{
    for (size_t i = 0; i < tensors->file_count; i++)
        skep_npy_tensors_fini(&tensors->files[i], &skep_mem_std);
    free(tensors->files);
    *tensors = (struct skep_cmd_tensors){.count = 0};
}

/* y.npy -> y.1.npy; what has another ending, or none, gets .1 behind it. */
static char *numbered(const char *path, size_t number)
{
    size_t len = strlen(path), stem = len;
    char *out = malloc(len + 32);

    if (len > 4 && strcmp(path + len - 4, ".npy") == 0)
        stem = len - 4;
    if (out)
        snprintf(out, len + 32, "%.*s.%zu%s", (int)stem, path, number, path + stem);
    return out;
}

bool skep_cmd_tensors_write(const char *path, const skep_tensor *tensors, size_t count)
{
    struct skep_cmd_why why = {.text = ""};

    for (size_t i = 0; i < count; i++) {
        char *name = count == 1 || strcmp(path, "-") == 0 ? strdup(path) : numbered(path, i);
        bool ok = name && skep_npy_save(name, &tensors[i], &why) == 0;

        if (!ok)
            skep_cmd_error(name ? name : path, "%s", name ? why.text : "out of memory");
        free(name);
        if (!ok)
            return false;
    }
    return true;
}

/* ---- numbers ---- */

/* IEEE's half: sign 1 | exponent 5 | fraction 10. */
static double of_half(uint16_t bits)
{
    int exponent = bits >> 10 & 31;
    double fraction = (bits & 1023) / 1024.0;
    double v = exponent == 31  ? (fraction > 0 ? (double)NAN : (double)INFINITY)
               : exponent == 0 ? ldexp(fraction, -14)
                               : ldexp(1 + fraction, exponent - 15);

    return bits >> 15 ? -v : v;
}

static double of_bfloat16(uint16_t bits)
{
    uint32_t whole = (uint32_t)bits << 16;
    float v;

    memcpy(&v, &whole, sizeof v);
    return (double)v;
}

static double float_at(const skep_tensor *tensor, size_t i)
{
    switch (tensor->dtype) {
    case SKEP_FLOAT64: return ((const double *)tensor->data)[i];
    case SKEP_FLOAT32: return (double)((const float *)tensor->data)[i];
    case SKEP_FLOAT16: return of_half(((const uint16_t *)tensor->data)[i]);
    default: return of_bfloat16(((const uint16_t *)tensor->data)[i]);
    }
}

static int64_t integer_at(const skep_tensor *tensor, size_t i)
{
    switch (tensor->dtype) {
    case SKEP_INT64: return ((const int64_t *)tensor->data)[i];
    case SKEP_INT32: return ((const int32_t *)tensor->data)[i];
    case SKEP_INT16: return ((const int16_t *)tensor->data)[i];
    case SKEP_INT8: return ((const int8_t *)tensor->data)[i];
    default: return ((const uint8_t *)tensor->data)[i]; /* uint8, bool */
    }
}

static void print_number(const skep_tensor *tensor, size_t i)
{
    if (skep_dtype_is_floating(tensor->dtype))
        printf(" %12.6g", float_at(tensor, i));
    else
        printf(" %12lld", (long long)integer_at(tensor, i));
}

static json_t *number_json(const skep_tensor *tensor, size_t i)
{
    if (skep_dtype_is_floating(tensor->dtype))
        return skep_cmd_json_real(float_at(tensor, i));
    if (tensor->dtype == SKEP_BOOL)
        return json_boolean(integer_at(tensor, i) != 0);
    return json_integer(integer_at(tensor, i));
}

/* ---- forms ---- */

static char *form(char *out, skep_dtype dtype, const char *batch, const size_t *shape, size_t axes)
{
    const char *name = skep_dtype_name(dtype);
    size_t len =
        (size_t)snprintf(out, SKEP_CMD_SHAPE_MAX, "%s (%s", name ? name : "nothing", batch);

    for (size_t i = 0; i < axes && len < SKEP_CMD_SHAPE_MAX; i++)
        len += (size_t)snprintf(out + len, SKEP_CMD_SHAPE_MAX - len, "%s%zu",
                                i > 0 || *batch ? ", " : "", shape[i]);
    if (len < SKEP_CMD_SHAPE_MAX)
        snprintf(out + len, SKEP_CMD_SHAPE_MAX - len, ")");
    return out;
}

char *skep_cmd_tensor_form(char *out, const skep_tensor *tensor)
{
    return form(out, tensor->dtype, "", tensor->shape, tensor->axes);
}

char *skep_cmd_schema_form(char *out, const skep_tensor_schema *schema)
{
    return form(out, schema->dtype, "batch", schema->shape, schema->axes);
}

void skep_cmd_tensor_print(const skep_tensor *tensor, const char *what, size_t index)
{
    size_t count = skep_tensor_elements(tensor);
    size_t width = tensor->axes > 0 ? tensor->shape[tensor->axes - 1] : 1;
    size_t rows = width > 0 ? count / width : 0;
    char text[SKEP_CMD_SHAPE_MAX];

    printf("%s %zu: %s\n", what, index, skep_cmd_tensor_form(text, tensor));
    for (size_t row = 0; row < rows && row < ROWS_SHOWN; row++) {
        for (size_t i = 0; i < width && i < NUMBERS_SHOWN; i++)
            print_number(tensor, row * width + i);
        puts(width > NUMBERS_SHOWN ? " ..." : "");
    }
    if (rows > ROWS_SHOWN)
        printf("  ... %zu rows more\n", rows - ROWS_SHOWN);
}

static json_t *shape_json(const size_t *shape, size_t axes)
{
    json_t *list = json_array();

    for (size_t i = 0; i < axes; i++)
        json_array_append_new(list, json_integer((json_int_t)shape[i]));
    return list;
}

json_t *skep_cmd_tensor_json(const skep_tensor *tensor, bool with_data)
{
    json_t *document = json_pack("{s:s, s:o}", "dtype", skep_dtype_name(tensor->dtype), "shape",
                                 shape_json(tensor->shape, tensor->axes));
    size_t count = skep_tensor_elements(tensor);
    json_t *data;

    if (!document || !with_data)
        return document;
    data = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(data, number_json(tensor, i));
    json_object_set_new(document, "data", data);
    return document;
}

json_t *skep_cmd_schema_json(const skep_tensor_schema *schema)
{
    json_t *shape = shape_json(schema->shape, schema->axes);

    json_array_insert_new(shape, 0, json_null()); /* the batch */
    return json_pack("{s:o, s:s, s:o, s:b, s:s}", "name",
                     schema->name ? skep_cmd_json_text(skep_bytes_str(schema->name)) : json_null(),
                     "dtype", skep_dtype_name(schema->dtype), "shape", shape, "requires_grad",
                     schema->requires_grad, "compression",
                     skep_compression_name(schema->compression));
}
