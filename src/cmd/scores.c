/* SPDX-License-Identifier: MIT */
/* Scores from numpy's files and from JSON; see scores.h. The file's first bytes say which it is. */
#include "cmd/scores.h"

#include <math.h>

#include "cmd/json_value.h"
#include "cmd/npy.h"

static int lay_out(struct skep_cmd_scores *s, const struct skep_mem *mem,
                   const struct skep_cmd_grid *grid, struct skep_cmd_why *why)
{
    size_t count, bytes;

    s->dims = grid->dims;
    s->stride = 0;
    for (size_t d = 0; d < grid->dims; d++) {
        s->offset[d] = s->stride;
        s->stride += grid->size[d]; /* 64 sizes of at most SKEP_GRID_SIZE_MAX */
    }
    if (!skep_size_mul(s->examples, s->stride, &count) ||
        !skep_size_mul(count, s->is_float64 ? 8 : 4, &bytes) || bytes > SKEP_CMD_INPUT_MAX)
        return skep_cmd_refuse(why, SKEP_EVALUE, "there are too many scores");
    s->data = skep_mem_alloc(mem, bytes);
    return s->data ? 0 : skep_cmd_no_memory(why);
}

static size_t item_size(const struct skep_cmd_scores *s)
{
    return s->is_float64 ? sizeof(double) : sizeof(float);
}

const void *skep_cmd_scores_row(const struct skep_cmd_scores *s, size_t example, size_t dim)
{
    return (const char *)s->data + (example * s->stride + s->offset[dim]) * item_size(s);
}

static double score_at(const struct skep_cmd_scores *s, size_t index)
{
    return s->is_float64 ? ((const double *)s->data)[index]
                         : (double)((const float *)s->data)[index];
}

static int check_numbers(const struct skep_cmd_scores *s, struct skep_cmd_why *why)
{
    for (size_t i = 0; i < s->examples * s->stride; i++) {
        double v = score_at(s, i);

        if (isnan(v) || (isinf(v) && v > 0)) {
            size_t in_example = i % s->stride, dim = s->dims - 1;

            while (s->offset[dim] > in_example)
                dim--;
            return skep_cmd_refuse(why, SKEP_EVALUE, "example %zu, row %zu, index %zu is %s",
                                   i / s->stride, dim, in_example - s->offset[dim],
                                   isnan(v) ? "NaN" : "+infinity");
        }
    }
    return 0;
}

static int wrong_rows(size_t rows, const struct skep_cmd_grid *grid, struct skep_cmd_why *why)
{
    return skep_cmd_refuse(why, SKEP_EVALUE, "%zu row%s of scores for a grid of %zu dimension%s",
                           rows, rows == 1 ? "" : "s", grid->dims, grid->dims == 1 ? "" : "s");
}

static int wrong_width(size_t row, size_t width, const struct skep_cmd_grid *grid,
                       struct skep_cmd_why *why)
{
    return skep_cmd_refuse(why, SKEP_EVALUE, "row %zu has %zu scores, the grid has %zu there", row,
                           width, grid->size[row]);
}

/* ---- .npy ---- */

static int from_npy(struct skep_cmd_scores *s, const struct skep_mem *mem, skep_bytes file,
                    const struct skep_cmd_grid *grid, struct skep_cmd_why *why)
{
    struct skep_npy npy;
    size_t rows, width;
    int rc = skep_npy_parse(&npy, mem, file, why);

    if (rc < 0)
        return rc;
    if (npy.dim_count == 0) {
        rc = skep_cmd_refuse(why, SKEP_EVALUE, "it is a single number, not rows of scores");
        goto out;
    }
    rows = npy.dim_count > 1 ? npy.dims[npy.dim_count - 2] : 1;
    width = npy.dims[npy.dim_count - 1];
    s->is_float64 = npy.is_float64;
    s->is_batch = npy.dim_count == 3;
    s->examples = s->is_batch ? npy.dims[0] : 1;
    if (rows != grid->dims) {
        rc = wrong_rows(rows, grid, why);
        goto out;
    }
    for (size_t d = 0; d < rows; d++) {
        if (width != grid->size[d]) {
            rc = wrong_width(d, width, grid, why);
            goto out;
        }
    }
    rc = lay_out(s, mem, grid, why);
    if (rc == 0) /* C order of equal rows is our layout */
        skep_bytes_copy(s->data, skep_bytes_of(npy.data, npy.count * item_size(s)));
out:
    skep_npy_fini(&npy, mem);
    return rc;
}

/* ---- .npz ---- */

static int check_members(const struct skep_npz *npz, const struct skep_cmd_grid *grid,
                         struct skep_cmd_why *why)
{
    const struct skep_npy *first = &npz->members[0].array;

    if (npz->count != grid->dims)
        return wrong_rows(npz->count, grid, why);
    for (size_t d = 0; d < npz->count; d++) {
        const struct skep_npy *a = &npz->members[d].array;
        const char *name = npz->members[d].name;

        if (a->dim_count != 1 && a->dim_count != 2)
            return skep_cmd_refuse(why, SKEP_EVALUE,
                                   "array '%.128s' has %zu axes: a row has 1, a batch of rows 2",
                                   name, a->dim_count);
        if (a->dim_count != first->dim_count || (a->dim_count == 2 && a->dims[0] != first->dims[0]))
            return skep_cmd_refuse(why, SKEP_EVALUE,
                                   "array '%.128s' has another number of examples than the first",
                                   name);
        if (a->is_float64 != first->is_float64)
            return skep_cmd_refuse(why, SKEP_EVALUE, "array '%.128s' is %s, the first is not", name,
                                   a->is_float64 ? "float64" : "float32");
        if (a->dims[a->dim_count - 1] != grid->size[d])
            return wrong_width(d, a->dims[a->dim_count - 1], grid, why);
    }
    return 0;
}

static int from_npz(struct skep_cmd_scores *s, const struct skep_mem *mem, skep_bytes file,
                    const struct skep_cmd_grid *grid, struct skep_cmd_why *why)
{
    struct skep_npz npz;
    int rc = skep_npz_parse(&npz, mem, file, why);

    if (rc < 0)
        return rc;
    rc = check_members(&npz, grid, why);
    if (rc == 0) {
        s->is_float64 = npz.members[0].array.is_float64;
        s->is_batch = npz.members[0].array.dim_count == 2;
        s->examples = s->is_batch ? npz.members[0].array.dims[0] : 1;
        rc = lay_out(s, mem, grid, why);
    }
    for (size_t e = 0; rc == 0 && e < s->examples; e++) {
        for (size_t d = 0; d < s->dims; d++) {
            size_t len = grid->size[d] * item_size(s);

            memcpy((char *)s->data + (e * s->stride + s->offset[d]) * item_size(s),
                   (const char *)npz.members[d].array.data + e * len, len);
        }
    }
    skep_npz_fini(&npz, mem);
    return rc;
}

/* ---- JSON ---- */

static int json_score(const json_t *item, double *out)
{
    const char *text = json_string_value(item);

    if (json_is_number(item)) {
        *out = json_number_value(item);
        return 0;
    }
    if (text && strcmp(text, "-inf") == 0) {
        *out = -INFINITY;
        return 0;
    }
    return SKEP_EVALUE;
}

static int json_example(struct skep_cmd_scores *s, size_t example, const json_t *rows,
                        const struct skep_cmd_grid *grid, struct skep_cmd_why *why)
{
    if (!json_is_array(rows))
        return skep_cmd_refuse(why, SKEP_EVALUE, "example %zu is no array of rows", example);
    if (json_array_size(rows) != grid->dims)
        return wrong_rows(json_array_size(rows), grid, why);
    for (size_t d = 0; d < grid->dims; d++) {
        const json_t *row = json_array_get(rows, d);
        double *to = (double *)s->data + example * s->stride + s->offset[d];

        if (!json_is_array(row))
            return skep_cmd_refuse(why, SKEP_EVALUE, "example %zu, row %zu is no array of numbers",
                                   example, d);
        if (json_array_size(row) != grid->size[d])
            return wrong_width(d, json_array_size(row), grid, why);
        for (size_t i = 0; i < grid->size[d]; i++) {
            if (json_score(json_array_get(row, i), &to[i]) < 0)
                return skep_cmd_refuse(
                    why, SKEP_EVALUE,
                    "example %zu, row %zu, index %zu is neither a number nor \"-inf\"", example, d,
                    i);
        }
    }
    return 0;
}

static json_t *parse_json(skep_bytes file, struct skep_cmd_why *why)
{
    json_error_t error;
    json_t *root = json_loadb((const char *)file.data, file.len, JSON_DECODE_INT_AS_REAL, &error);
    char escaped[SKEP_PEER_TEXT_MAX + 1];

    if (!root)
        skep_cmd_refuse(why, SKEP_EVALUE, "neither .npy, .npz nor JSON: line %d, column %d: %s",
                        error.line, error.column,
                        skep_text_escape(escaped, sizeof escaped, skep_bytes_str(error.text)));
    return root;
}

/* Both are arrays of arrays: where the third level is arrays too, the first is the batch. An empty array is an empty batch. */
static bool looks_like_batch(const json_t *root)
{
    return json_array_size(root) == 0 || json_is_array(json_array_get(json_array_get(root, 0), 0));
}

static int from_json(struct skep_cmd_scores *s, const struct skep_mem *mem, skep_bytes file,
                     const struct skep_cmd_grid *grid, struct skep_cmd_why *why)
{
    json_t *root = parse_json(file, why);
    int rc;

    if (!root)
        return SKEP_EVALUE;
    if (!json_is_array(root)) {
        json_decref(root);
        return skep_cmd_refuse(why, SKEP_EVALUE, "its JSON is no array of rows");
    }
    s->is_float64 = true;
    s->is_batch = looks_like_batch(root);
    s->examples = s->is_batch ? json_array_size(root) : 1;
    rc = lay_out(s, mem, grid, why);
    if (rc == 0 && !s->is_batch)
        rc = json_example(s, 0, root, grid, why);
    for (size_t e = 0; rc == 0 && s->is_batch && e < s->examples; e++)
        rc = json_example(s, e, json_array_get(root, e), grid, why);
    json_decref(root);
    return rc;
}

int skep_cmd_scores_parse(struct skep_cmd_scores *out, const struct skep_mem *mem, skep_bytes file,
                          const struct skep_cmd_grid *grid, struct skep_cmd_why *why)
{
    int rc;

    *out = (struct skep_cmd_scores){.data = NULL};
    if (file.len >= 6 && memcmp(file.data, "\x93NUMPY", 6) == 0)
        rc = from_npy(out, mem, file, grid, why);
    else if (file.len >= 4 && memcmp(file.data, "PK", 2) == 0)
        rc = from_npz(out, mem, file, grid, why);
    else
        rc = from_json(out, mem, file, grid, why);
    if (rc == 0 && out->examples == 0)
        rc = skep_cmd_refuse(why, SKEP_EVALUE, "it is a batch of no examples");
    if (rc == 0)
        rc = check_numbers(out, why);
    if (rc < 0)
        skep_cmd_scores_fini(out, mem);
    return rc;
}

void skep_cmd_scores_fini(struct skep_cmd_scores *s, const struct skep_mem *mem)
{
    skep_mem_free(mem, s->data);
    *s = (struct skep_cmd_scores){.data = NULL};
}
