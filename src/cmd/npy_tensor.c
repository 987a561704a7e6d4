/* SPDX-License-Identifier: MIT */
/* See npy_tensor.h. */
#include "cmd/npy_tensor.h"

#include <stdio.h>

static const struct skep_npy_type *type_of(const char *descr, bool *swap, struct skep_cmd_why *why)
{
    const struct skep_npy_type *type = skep_npy_type_of(descr, swap);
    char escaped[SKEP_PEER_TEXT_MAX + 1];

    if (!type)
        skep_cmd_refuse(
            why, SKEP_EVALUE,
            "its dtype '%s' is none that experts take (float16 to 64, int8 to 64, uint8, bool)",
            skep_text_escape(escaped, sizeof escaped, skep_bytes_str(descr)));
    return type;
}

static bool are_bools(const uint8_t *items, size_t count)
{
    uint8_t all = 0;

    for (size_t i = 0; i < count; i++)
        all |= items[i];
    return all <= 1;
}

static int parse_npy(skep_tensor *out, const struct skep_mem *mem, skep_bytes file,
                     struct skep_cmd_why *why)
{
    const struct skep_npy_type *type;
    struct skep_npy_header header;
    bool swap = false;
    void *data;
    size_t count;
    int rc;

    *out = (skep_tensor){.data = NULL};
    rc = skep_npy_header_take(&header, &file, SKEP_TENSOR_AXES_MAX, "numbers", why);
    if (rc < 0)
        return rc;
    if (!(type = type_of(header.descr, &swap, why)))
        return SKEP_EVALUE;
    if ((rc = skep_npy_items_check(&count, &header, type, file.len, why)) < 0)
        return rc;
    if (type->dtype == SKEP_BOOL && !are_bools(file.data, count))
        return skep_cmd_refuse(why, SKEP_EVALUE, "one of its bools is neither 0 nor 1");
    data = skep_mem_alloc(mem, file.len);
    if (!data)
        return skep_cmd_no_memory(why);
    skep_npy_items_copy(data, file.data, &header, count, type->size, swap);
    *out = (skep_tensor){.dtype = type->dtype, .axes = header.axes, .data = data};
    memcpy(out->shape, header.shape, sizeof out->shape);
    return 0;
}

struct parse {
    struct skep_npy_tensors *out;
    const struct skep_mem *mem;
};

static int begin(void *user, size_t count)
{
    struct parse *parse = user;

    parse->out->tensors = skep_mem_zalloc(parse->mem, count, sizeof *parse->out->tensors);
    return parse->out->tensors ? 0 : SKEP_ENOMEM;
}

static int add(void *user, size_t index, const char *name, skep_bytes npy, struct skep_cmd_why *why)
{
    struct parse *parse = user;
    struct skep_npy_tensor *made = &parse->out->tensors[index];
    int rc = parse_npy(&made->tensor, parse->mem, npy, why);

    if (rc < 0)
        return rc;
    snprintf(made->name, sizeof made->name, "%s", name);
    parse->out->count = index + 1;
    return 0;
}

int skep_npy_tensors_parse(struct skep_npy_tensors *out, const struct skep_mem *mem,
                           skep_bytes file, struct skep_cmd_why *why)
{
    struct parse parse = {out, mem};
    const struct skep_npz_visit visit = {begin, add, &parse};
    int rc;

    *out =
        (struct skep_npy_tensors){.is_npz = file.len >= 4 && (memcmp(file.data, "PK\3\4", 4) == 0 ||
                                                              memcmp(file.data, "PK\5\6", 4) == 0)};
    if (out->is_npz)
        rc = skep_npz_walk(&visit, mem, file, why);
    else if (begin(&parse, 1) < 0)
        rc = skep_cmd_no_memory(why);
    else
        rc = add(&parse, 0, "", file, why);
    if (rc < 0)
        skep_npy_tensors_fini(out, mem);
    return rc;
}

void skep_npy_tensors_fini(struct skep_npy_tensors *tensors, const struct skep_mem *mem)
{
    for (size_t i = 0; i < tensors->count; i++)
        skep_mem_free(mem, (void *)(uintptr_t)tensors->tensors[i].tensor.data);
    skep_mem_free(mem, tensors->tensors);
    *tensors = (struct skep_npy_tensors){.count = 0};
}
