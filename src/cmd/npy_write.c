/* SPDX-License-Identifier: MIT */
/* See npy_write.h. The file is byte for byte numpy's (1.26): the header has room for a longer first axis, and items begin at a multiple of 64. */
#include "cmd/npy_write.h"

#include <errno.h>

enum { ALIGNMENT = 64, PREFIX_LEN = 10, HEADER_CAP = 512, GROWTH = 21, CHUNK = 4096 };

static int failed(struct skep_cmd_why *why)
{
    return skep_cmd_refuse(why, SKEP_EIO, "%s", strerror(errno));
}

/* @return its length; at most 384: eight numbers of twenty digits, and less than two hundred bytes. */
static size_t build_header(char *out, const skep_tensor *tensor, const struct skep_npy_type *type)
{
    const uint16_t one = 1;
    char order = type->size == 1 ? '|' : *(const uint8_t *)&one == 1 ? '<' : '>';
    size_t len = PREFIX_LEN, room = 0, end;

    len += (size_t)snprintf(out + len, HEADER_CAP - len,
                            "{'descr': '%c%c%zu', 'fortran_order': False, 'shape': (", order,
                            type->kind, type->size);
    for (size_t i = 0; i < tensor->axes; i++) {
        size_t begin = len;

        len += (size_t)snprintf(out + len, HEADER_CAP - len, "%s%zu", i > 0 ? ", " : "",
                                tensor->shape[i]);
        room = i == 0 ? GROWTH - (len - begin) : room;
    }
    len += (size_t)snprintf(out + len, HEADER_CAP - len, "%s), }", tensor->axes == 1 ? "," : "");
    end = ((len + room + 1) / ALIGNMENT + 1) * ALIGNMENT;
    memset(out + len, ' ', end - len);
    out[end - 1] = '\n';
    memcpy(out, "\x93NUMPY\1\0", 8);
    out[8] = (char)(uint8_t)(end - PREFIX_LEN);
    out[9] = (char)(uint8_t)((end - PREFIX_LEN) >> 8);
    return end;
}

/* The upper halves of float32 numbers, made whole. */
static bool write_bfloat16(FILE *to, const uint8_t *items, size_t count)
{
    float numbers[CHUNK];

    while (count > 0) {
        size_t n = SKEP_MIN(count, (size_t)CHUNK);

        for (size_t i = 0; i < n; i++) {
            uint16_t half;
            uint32_t bits;

            memcpy(&half, items + 2 * i, sizeof half);
            bits = (uint32_t)half << 16;
            memcpy(&numbers[i], &bits, sizeof bits);
        }
        if (fwrite(numbers, sizeof *numbers, n, to) < n)
            return false;
        items += 2 * n;
        count -= n;
    }
    return true;
}

int skep_npy_write(FILE *to, const skep_tensor *tensor, struct skep_cmd_why *why)
{
    const struct skep_npy_type *type = skep_npy_type_for(tensor->dtype);
    size_t count = 1, header_len;
    char header[HEADER_CAP];
    bool ok;

    assert(tensor->axes <= SKEP_TENSOR_AXES_MAX);
    for (size_t i = 0; i < tensor->axes; i++)
        count *= tensor->shape[i]; /* of a tensor that is in memory */
    header_len = build_header(header, tensor, type);
    ok = fwrite(header, 1, header_len, to) == header_len;
    if (ok && tensor->dtype == SKEP_BFLOAT16)
        ok = write_bfloat16(to, tensor->data, count);
    else if (ok && count > 0)
        ok = fwrite(tensor->data, type->size, count, to) == count;
    return ok ? 0 : failed(why);
}

int skep_npy_save(const char *path, const skep_tensor *tensor, struct skep_cmd_why *why)
{
    bool is_stdout = strcmp(path, "-") == 0;
    FILE *file = is_stdout ? stdout : fopen(path, "wb");
    int rc;

    if (!file)
        return failed(why);
    rc = skep_npy_write(file, tensor, why);
    if ((is_stdout ? fflush(file) : fclose(file)) != 0 && rc == 0)
        rc = failed(why);
    return rc;
}
