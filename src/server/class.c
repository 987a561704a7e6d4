/* SPDX-License-Identifier: MIT */
/* Finding and opening classes of experts, and what skep's own ones share. Loading a shared object is the server's. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "server/backend.h"
#include "server/classes.h"

const skep_expert_class *skep_expert_class_find(const char *name)
{
    static const skep_expert_class *const classes[] = {
        &skep_class_ffn, &skep_class_transformer, &skep_class_det_dropout,
        &skep_class_nop, &skep_class_nop_delay,
    };

    for (size_t i = 0; i < SKEP_COUNT_OF(classes); i++)
        if (strcmp(classes[i]->name, name) == 0)
            return classes[i];
    return NULL;
}

/* What a class says of itself is its author's, and a mistake there must not become a stray write here. */
struct complaint {
    char *text;
    size_t len;
};

__attribute__((format(printf, 2, 3))) static int complain(struct complaint why, const char *format,
                                                          ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why.text, why.len, format, args);
    va_end(args);
    return SKEP_EINVAL;
}

static bool shape_fits(const size_t *shape, size_t axes)
{
    size_t bytes = sizeof(double);

    for (size_t i = 0; i < axes; i++)
        if (!skep_size_mul(bytes, shape[i], &bytes))
            return false;
    return bytes <= PTRDIFF_MAX;
}

static int check_tensor(struct complaint why, const skep_tensor_schema *tensor, const char *kind,
                        size_t index)
{
    if (skep_dtype_size(tensor->dtype) == 0)
        return complain(why, "%s %zu: dtype %d is none", kind, index, (int)tensor->dtype);
    if (tensor->axes > SKEP_TENSOR_AXES_MAX - 1 || !shape_fits(tensor->shape, tensor->axes))
        return complain(why, "%s %zu: its shape is too large", kind, index);
    return 0;
}

/* Positional ones first, then those with a name, sorted by it. */
static int check_inputs(struct complaint why, const skep_class_schema *schema)
{
    const char *before = NULL;

    if (schema->input_count == 0 || schema->input_count > SKEP_CLASS_TENSORS_MAX)
        return complain(why, "%zu inputs are not 1 to %d", schema->input_count,
                        SKEP_CLASS_TENSORS_MAX);
    for (size_t i = 0; i < schema->input_count; i++) {
        const char *name = schema->inputs[i].name;
        int rc = check_tensor(why, &schema->inputs[i], "input", i);

        if (rc < 0)
            return rc;
        if (before && (!name || strcmp(before, name) >= 0))
            return complain(why, "input %zu: inputs with a name come last, sorted by it", i);
        before = name;
    }
    return 0;
}

static int check_outputs(struct complaint why, const skep_class_schema *schema)
{
    if (schema->output_count == 0 || schema->output_count > SKEP_CLASS_TENSORS_MAX)
        return complain(why, "%zu outputs are not 1 to %d", schema->output_count,
                        SKEP_CLASS_TENSORS_MAX);
    for (size_t i = 0; i < schema->output_count; i++) {
        int rc = check_tensor(why, &schema->outputs[i], "output", i);

        if (rc < 0)
            return rc;
    }
    return 0;
}

static int check_parameter(struct complaint why, const skep_class_schema *schema, size_t index)
{
    const skep_parameter_schema *parameter = &schema->parameters[index];

    if (!parameter->name || !parameter->name[0])
        return complain(why, "parameter %zu has no name", index);
    for (size_t i = 0; i < index; i++)
        if (strcmp(schema->parameters[i].name, parameter->name) == 0)
            return complain(why, "two parameters are named %s", parameter->name);
    if (parameter->axes > SKEP_PARAMETER_AXES_MAX || !shape_fits(parameter->shape, parameter->axes))
        return complain(why, "%s: its shape is too large", parameter->name);
    if ((parameter->init != SKEP_INIT_CONSTANT && parameter->init != SKEP_INIT_UNIFORM) ||
        !isfinite(parameter->init_value))
        return complain(why, "%s: its first value is none", parameter->name);
    return 0;
}

static int check_schema(struct complaint why, const skep_class_schema *schema)
{
    int rc;

    if ((rc = check_inputs(why, schema)) < 0 || (rc = check_outputs(why, schema)) < 0)
        return rc;
    if (schema->parameter_count > SKEP_CLASS_PARAMETERS_MAX)
        return complain(why, "%zu parameters are more than %d", schema->parameter_count,
                        SKEP_CLASS_PARAMETERS_MAX);
    for (size_t i = 0; i < schema->parameter_count; i++)
        if ((rc = check_parameter(why, schema, i)) < 0)
            return rc;
    return 0;
}

int skep_class_open(struct skep_class *out, const skep_expert_class *class, size_t hidden,
                    const char *options, char *why, size_t why_len)
{
    struct complaint complaint = {why, why_len};
    int rc;

    if (why_len > 0)
        why[0] = '\0';
    memset(out, 0, sizeof *out);
    if (class->abi != SKEP_CLASS_ABI)
        return complain(complaint,
                        "the class was built for version %u of skep/expert_class.h, not %d",
                        class->abi, SKEP_CLASS_ABI);
    if (!class->name || !class->name[0] || !class->open || !class->forward || !class->backward)
        return complain(complaint, "the class lacks its name, open, forward or backward");
    rc = class->open(hidden, options, &out->schema, &out->state, why, why_len);
    if (rc < 0)
        return rc;
    out->class = class;
    out->hidden = hidden;
    skep_scratch_shelf_init(&out->own_shelf);
    out->shelf = &out->own_shelf;
    rc = check_schema(complaint, &out->schema);
    if (rc < 0)
        skep_class_close(out);
    return rc;
}

void skep_class_close(struct skep_class *class)
{
    if (!class->class)
        return;
    skep_scratch_shelf_fini(class->shelf);
    if (class->class->close)
        class->class->close(class->state);
    memset(class, 0, sizeof *class);
}

int skep_class_check_hidden(size_t hidden, size_t multiple, char *why, size_t why_len)
{
    if (hidden > 0 && hidden <= SKEP_HIDDEN_MAX && hidden % multiple == 0)
        return 0;
    return complain((struct complaint){why, why_len},
                    "hidden %zu is not a multiple of %zu from %zu to %zu", hidden, multiple,
                    multiple, (size_t)SKEP_HIDDEN_MAX);
}

int skep_class_check_no_options(const char *options, char *why, size_t why_len)
{
    if (!options || !options[0])
        return 0;
    return complain((struct complaint){why, why_len}, "it has no options, and so not \"%.64s\"",
                    options);
}

skep_tensor_schema skep_class_vector(size_t hidden)
{
    return (skep_tensor_schema){.dtype = SKEP_FLOAT32, .axes = 1, .shape = {hidden}};
}

static void add_parameter(skep_class_schema *schema, skep_parameter_schema parameter)
{
    assert(schema->parameter_count < SKEP_CLASS_PARAMETERS_MAX);
    schema->parameters[schema->parameter_count++] = parameter;
}

void skep_class_add_linear(skep_class_schema *schema, const char *weight, const char *bias,
                           size_t in, size_t out)
{
    double bound = 1 / sqrt((double)in);

    add_parameter(schema, (skep_parameter_schema){weight, 2, {out, in}, SKEP_INIT_UNIFORM, bound});
    add_parameter(schema, (skep_parameter_schema){bias, 1, {out}, SKEP_INIT_UNIFORM, bound});
}

void skep_class_add_layer_norm(skep_class_schema *schema, const char *weight, const char *bias,
                               size_t hidden)
{
    add_parameter(schema, (skep_parameter_schema){weight, 1, {hidden}, SKEP_INIT_CONSTANT, 1});
    add_parameter(schema, (skep_parameter_schema){bias, 1, {hidden}, SKEP_INIT_CONSTANT, 0});
}

float *skep_pass_floats(skep_pass *pass, size_t count)
{
    size_t bytes;

    return skep_size_mul(count, sizeof(float), &bytes) ? pass->alloc(pass, bytes) : NULL;
}

size_t skep_class_chunk_rows(size_t rows, size_t row_len)
{
    size_t most = SKEP_CLASS_CHUNK_BYTES / sizeof(float) / row_len;

    return SKEP_MAX((size_t)1, SKEP_MIN(rows, most));
}
