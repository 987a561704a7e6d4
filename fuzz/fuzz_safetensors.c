/* SPDX-License-Identifier: MIT */
/* A safetensors file is refused with a reason, or its tensors cover its data without holes or overlaps, each as its shape says; and where all are of
 * float32, what we write of it reads the same. Jansson reads every header that we read. */
#include <jansson.h>
#include <stdlib.h>

#include "base/limits.h"
#include "server/safetensors.h"

#define REQUIRE(fact)                                                                              \
    do {                                                                                           \
        if (!(fact))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_cover(const struct skep_safetensors *file, size_t data_len)
{
    size_t end = 0;

    for (size_t i = 0; i < file->tensor_count; i++) {
        REQUIRE(file->tensors[i].begin == end && file->tensors[i].end >= end);
        REQUIRE(file->tensors[i].axes <= SKEP_TENSOR_AXES_MAX);
        end = file->tensors[i].end;
    }
    REQUIRE(end == data_len);
}

/* Names and keys with NUL cannot be given to the writer. */
static bool is_writable(const struct skep_safetensors *file)
{
    for (size_t i = 0; i < file->tensor_count; i++) {
        if (strcmp(file->tensors[i].dtype, "F32") != 0 ||
            memchr(file->tensors[i].name.data, 0, file->tensors[i].name.len))
            return false;
    }
    for (size_t i = 0; i < file->note_count; i++) {
        if (memchr(file->notes[i].key.data, 0, file->notes[i].key.len))
            return false;
    }
    return true;
}

static int write_again(struct skep_buf *out, const struct skep_safetensors *file)
{
    struct skep_safetensors_header header;
    char text[8192];

    skep_safetensors_begin(&header, out);
    for (size_t i = 0; i < file->note_count; i++) {
        REQUIRE(file->notes[i].key.len < sizeof text);
        skep_bytes_copy(text, file->notes[i].key);
        text[file->notes[i].key.len] = '\0';
        skep_safetensors_put_note(&header, text, file->notes[i].value);
    }
    for (size_t i = 0; i < file->tensor_count; i++) {
        const struct skep_safetensors_tensor *t = &file->tensors[i];

        REQUIRE(t->name.len < sizeof text);
        skep_bytes_copy(text, t->name);
        text[t->name.len] = '\0';
        skep_safetensors_put_float32(&header, "", text, t->axes, t->shape);
    }
    return skep_safetensors_end(&header);
}

static void check_rewritten(const struct skep_safetensors *file, size_t data_len)
{
    struct skep_safetensors again;
    struct skep_buf out;
    char why[256];

    skep_buf_init(&out, &skep_mem_std);
    REQUIRE(write_again(&out, file) == 0 && out.len % 8 == 0);
    REQUIRE(skep_safetensors_parse(&again, &skep_mem_std, skep_bytes_of(out.data + 8, out.len - 8),
                                   data_len, why, sizeof why) == 0);
    REQUIRE(again.tensor_count == file->tensor_count && again.note_count == file->note_count);
    for (size_t i = 0; i < file->tensor_count; i++) {
        const struct skep_safetensors_tensor *a = &file->tensors[i], *b = &again.tensors[i];

        if (a->begin < a->end) /* those without numbers may change places */
            REQUIRE(skep_bytes_equal(a->name, b->name) && a->begin == b->begin && a->end == b->end);
    }
    for (size_t i = 0; i < file->note_count; i++)
        REQUIRE(skep_bytes_equal(file->notes[i].key, again.notes[i].key) &&
                skep_bytes_equal(file->notes[i].value, again.notes[i].value));
    skep_safetensors_fini(&again);
    skep_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    skep_bytes rest = skep_bytes_of(data, len), first = skep_bytes_take(&rest, 8), header;
    struct skep_safetensors file;
    char why[256] = "";
    size_t header_len;

    if (skep_safetensors_prefix(&header_len, first, len, why, sizeof why) < 0) {
        REQUIRE(why[0] != '\0');
        return 0;
    }
    header = skep_bytes_take(&rest, header_len);
    if (skep_safetensors_parse(&file, &skep_mem_std, header, rest.len, why, sizeof why) == 0) {
        json_t *json = json_loadb((const char *)header.data, header.len, JSON_ALLOW_NUL, NULL);

        REQUIRE(json && json_object_size(json) ==
                            file.tensor_count + (json_object_get(json, "__metadata__") != NULL));
        json_decref(json);
        check_cover(&file, rest.len);
        if (is_writable(&file))
            check_rewritten(&file, rest.len);
        skep_safetensors_fini(&file);
    } else {
        REQUIRE(why[0] != '\0' && !file.tensors);
    }
    return 0;
}
