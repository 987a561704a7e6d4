/* SPDX-License-Identifier: MIT */
/* Any bytes of a peer's have a JSON form; it packs again, and what it packs to has the same JSON form. Any JSON text packs to one
 * well-formed msgpack value or is refused with a reason. */
#include <stdlib.h>
#include <string.h>

#include "base/msgpack.h"
#include "cmd/json_value.h"
#include "cmd/output.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_bytes(skep_bytes in)
{
    json_t *value = skep_cmd_json_unpack(&skep_mem_std, in, true), *again;
    struct skep_cmd_why why = {.text = ""};
    struct skep_buf packed;
    int rc;

    if (!value)
        abort();
    skep_buf_init(&packed, &skep_mem_std);
    rc = skep_cmd_json_pack(&packed, value, &why);
    if (rc == 0) {
        again = skep_cmd_json_unpack(&skep_mem_std, skep_buf_view(&packed), true);
        if (!json_equal(value, again))
            abort();
        json_decref(again);
    } else if (skep_msgpack_valid(in)) { /* only $raw of malformed bytes cannot be packed */
        abort();
    }
    skep_buf_fini(&packed);
    json_decref(value);
}

static void check_text(skep_bytes in)
{
    struct skep_cmd_why why = {.text = ""};
    json_t *value = skep_cmd_json_parse(in, &why);
    struct skep_buf packed;
    char *line;

    skep_buf_init(&packed, &skep_mem_std);
    if (value && skep_cmd_json_pack(&packed, value, &why) == 0) {
        if (!skep_msgpack_valid(skep_buf_view(&packed)))
            abort();
    } else if (why.text[0] == '\0') {
        abort();
    }
    line = value ? skep_cmd_json_line(value) : NULL;
    if (line) { /* shortened numbers are the same numbers */
        json_t *again = json_loads(line, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

        if (!json_equal(value, again))
            abort();
        json_decref(again);
    }
    free(line);
    skep_buf_fini(&packed);
    json_decref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    check_bytes(skep_bytes_of(data, len));
    check_text(skep_bytes_of(data, len));
    return 0;
}
