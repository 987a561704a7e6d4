/* SPDX-License-Identifier: MIT */
/* numpy's .npy, of floats; see npy.h. Leaves out every other type: npy_tensor.c has them. */
#include "cmd/npy.h"

#include "cmd/npy_header.h"

static const struct skep_npy_type *float_type(const char *descr, bool *swap,
                                              struct skep_cmd_why *why)
{
    const struct skep_npy_type *type = skep_npy_type_of(descr, swap);
    char escaped[SKEP_PEER_TEXT_MAX + 1];

    if (type && (type->dtype == SKEP_FLOAT32 || type->dtype == SKEP_FLOAT64))
        return type;
    skep_cmd_refuse(why, SKEP_EVALUE, "its dtype '%s' is neither float32 nor float64",
                    skep_text_escape(escaped, sizeof escaped, skep_bytes_str(descr)));
    return NULL;
}

int skep_npy_parse(struct skep_npy *out, const struct skep_mem *mem, skep_bytes file,
                   struct skep_cmd_why *why)
{
    const struct skep_npy_type *type;
    struct skep_npy_header header;
    bool swap = false;
    size_t count;
    int rc;

    *out = (struct skep_npy){.data = NULL};
    if ((rc = skep_npy_header_take(&header, &file, SKEP_NPY_DIMS_MAX, "float32 or float64", why)) <
        0)
        return rc;
    if (!(type = float_type(header.descr, &swap, why)))
        return SKEP_EVALUE;
    if ((rc = skep_npy_items_check(&count, &header, type, file.len, why)) < 0)
        return rc;
    out->data = skep_mem_alloc(mem, file.len);
    if (!out->data)
        return skep_cmd_no_memory(why);
    skep_npy_items_copy(out->data, file.data, &header, count, type->size, swap);
    out->is_float64 = type->dtype == SKEP_FLOAT64;
    out->count = count;
    out->dim_count = header.axes;
    for (size_t i = 0; i < header.axes; i++)
        out->dims[i] = header.shape[i];
    return 0;
}

void skep_npy_fini(struct skep_npy *npy, const struct skep_mem *mem)
{
    skep_mem_free(mem, npy->data);
    *npy = (struct skep_npy){.data = NULL};
}
