/* SPDX-License-Identifier: MIT */
/* Lists of uids; see uids.h. */
#include "cmd/uids.h"

#include <stdlib.h>

#include "base/limits.h"

static size_t count_lines(const struct skep_buf *file)
{
    size_t count = 0;

    for (size_t i = 0; i < file->len; i++)
        count += file->data[i] == '\n';
    return count;
}

/* Cut the file, which ends in a newline, into strings in place. */
static void split_lines(struct skep_cmd_uids *uids)
{
    char *line = (char *)uids->file.data, *end = line + uids->file.len;

    while (line < end) {
        char *newline = memchr(line, '\n', (size_t)(end - line));
        char *last = newline;

        if (last > line && last[-1] == '\r')
            last--;
        *last = '\0';
        if (*line != '\0' && *line != '#')
            uids->items[uids->count++] = line;
        line = newline + 1;
    }
}

bool skep_cmd_uids_read(struct skep_cmd_uids *uids, const struct skep_cmd_args *args,
                        const char *path)
{
    *uids = (struct skep_cmd_uids){.count = 0};
    skep_buf_init(&uids->file, &skep_mem_std);
    if (path && !skep_cmd_read_file(&uids->file, path))
        return false;
    if (path &&
        memchr(uids->file.data ? (const void *)uids->file.data : "", '\0', uids->file.len)) {
        skep_cmd_error(path, "it is no text file");
        return false;
    }
    if (path)
        skep_buf_put_u8(&uids->file, '\n');
    uids->items = calloc(args->count + count_lines(&uids->file) + 1, sizeof *uids->items);
    if (!uids->items || uids->file.rc < 0) {
        skep_cmd_error("uids", "out of memory");
        return false;
    }
    for (size_t i = 0; i < args->count; i++)
        uids->items[uids->count++] = args->items[i];
    if (path)
        split_lines(uids);
    if (uids->count == 0 || uids->count > SKEP_DECLARE_UIDS_MAX) {
        skep_cmd_error(path ? path : "UID",
                       uids->count == 0 ? "no expert uid is given" : "too many expert uids");
        return false;
    }
    for (size_t i = 0; i < uids->count; i++) {
        if (!skep_cmd_check_uid(uids->items[i]))
            return false;
    }
    return true;
}

void skep_cmd_uids_fini(struct skep_cmd_uids *uids)
{
    free(uids->items);
    skep_buf_fini(&uids->file);
    uids->items = NULL;
}
