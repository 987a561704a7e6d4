/* SPDX-License-Identifier: MIT */
/* skep store: puts one value under a key, or under a subkey of it. */
#include "base/msgpack.h"
#include "cmd/json_value.h"
#include "cmd/session.h"

static char *subkey_text, *subkey_json, *ttl_text;

static struct poptOption options[] = {
    {"subkey", '\0', POPT_ARG_STRING, &subkey_text, 0,
     "one entry of a dictionary, named by a string", "S"},
    {"subkey-json", '\0', POPT_ARG_STRING, &subkey_json, 0, "the same, named by any JSON scalar",
     "JSON"},
    {"ttl", '\0', POPT_ARG_STRING, &ttl_text, 0, "how long it is to live", "DURATION"},
    SKEP_CMD_OPTIONS_JOIN,
    SKEP_CMD_OPTIONS_OUTPUT,
    POPT_TABLEEND};

static bool pack_json(struct skep_buf *out, const char *what, skep_bytes text, bool scalar)
{
    struct skep_cmd_why why = {.text = ""};
    json_t *value = skep_cmd_json_parse(text, &why);
    bool ok = value && skep_cmd_json_pack(out, value, &why) == 0;

    if (!ok) {
        skep_cmd_error(what, "%s", why.text);
    } else if (scalar && (json_is_array(value) || json_is_object(value))) {
        skep_cmd_error(what, "a subkey is a string, a number, true, false or null");
        ok = false;
    }
    json_decref(value);
    return ok;
}

static bool read_value(struct skep_buf *out, const char *text)
{
    struct skep_buf file;
    bool ok;

    if (strcmp(text, "-") != 0)
        return pack_json(out, "VALUE", skep_bytes_str(text), false);
    skep_buf_init(&file, out->mem);
    ok = skep_cmd_read_file(&file, "-") && pack_json(out, "VALUE", skep_buf_view(&file), false);
    skep_buf_fini(&file);
    return ok;
}

static bool read_subkey(struct skep_buf *out)
{
    if (subkey_text && subkey_json) {
        skep_cmd_error("--subkey", "it cannot be given together with --subkey-json");
        return false;
    }
    if (subkey_json)
        return pack_json(out, "--subkey-json", skep_bytes_str(subkey_json), true);
    if (subkey_text && !skep_utf8_valid(skep_bytes_str(subkey_text))) {
        skep_cmd_error("--subkey", "it is not UTF-8");
        return false;
    }
    if (subkey_text)
        skep_msgpack_put_str(out, skep_bytes_str(subkey_text));
    return true;
}

static int print_stored(const char *key, const skep_stored *stored, double expiration)
{
    char until[40], escaped[257];
    int code = stored->accepted > 0 ? SKEP_EXIT_DONE : SKEP_EXIT_FAILED;

    if (skep_cmd_common.json)
        return skep_cmd_print_json(json_pack("{s:o, s:i, s:i, s:f}", "key", json_string(key),
                                             "stored", (int)stored->accepted, "answered",
                                             (int)stored->answered, "expiration", expiration))
                   ? code
                   : SKEP_EXIT_FAILED;
    if (stored->accepted > 0)
        printf("stored on %u of %u peers, until %s\n", stored->accepted, stored->answered,
               skep_cmd_time_text(until, expiration));
    else
        skep_cmd_error(skep_text_escape(escaped, sizeof escaped, skep_bytes_str(key)), "%s",
                       stored->answered > 0
                           ? "refused by every peer (is a longer-lived value there?)"
                           : "no peer answered");
    return code;
}

static int store(const char *key, skep_view value, skep_view subkey, double ttl_s)
{
    struct skep_session session;
    skep_record record = {.key = skep_key_text(key), .subkey = subkey, .value = value};
    skep_op *op = NULL;
    int code = skep_session_start(&session);

    if (code == SKEP_EXIT_DONE) {
        const skep_store_options store_options = {.struct_size = sizeof store_options,
                                                  .exclude_self = true,
                                                  .timeout_us = skep_session_time_left(&session)};
        size_t count;
        int rc;

        record.expiration_unix_s = skep_dht_time() + ttl_s;
        rc = skep_dht_store(&op, session.node, &record, 1, &store_options, NULL, NULL);
        code = skep_session_wait(&session, rc, op, "store");
        if (code == SKEP_EXIT_DONE)
            code = print_stored(key, skep_dht_store_result(op, &count), record.expiration_unix_s);
        skep_op_free(op);
    }
    skep_session_close(&session);
    return code;
}

static int run(const struct skep_cmd *cmd, int argc, const char **argv)
{
    struct skep_cmd_args args;
    struct skep_buf value, subkey;
    uint64_t ttl_us = 0;
    int code = skep_cmd_parse(cmd, options, argc, argv, 2, 2, &args);

    if (code != SKEP_CMD_GO_ON)
        return code;
    if (!skep_cmd_option_duration("--ttl", ttl_text, &ttl_us))
        return SKEP_EXIT_USAGE;
    if (ttl_us == 0) {
        skep_cmd_error("--ttl", ttl_text ? "nothing can live for no time"
                                         : "say how long the value is to live, such as --ttl 1h");
        return SKEP_EXIT_USAGE;
    }
    if (!skep_utf8_valid(skep_bytes_str(args.items[0]))) {
        skep_cmd_error("KEY", "it is not UTF-8");
        return SKEP_EXIT_USAGE;
    }
    skep_buf_init(&value, &skep_mem_std);
    skep_buf_init(&subkey, &skep_mem_std);
    code = read_subkey(&subkey) && read_value(&value, args.items[1])
               ? store(args.items[0], (skep_view){value.data, value.len},
                       (skep_view){subkey.data, subkey.len}, (double)ttl_us / 1e6)
               : SKEP_EXIT_USAGE;
    skep_buf_fini(&value);
    skep_buf_fini(&subkey);
    return code;
}

const struct skep_cmd skep_cmd_store = {
    .name = "store",
    .arguments = "KEY VALUE",
    .summary = "store a JSON value under a key of the DHT",
    .details =
        "VALUE is JSON, or - to read it from stdin. What JSON cannot say: {\"$tuple\": [...]}, {\"$bytes\": \"base64\"},\n"
        "{\"$uint\": \"18446744073709551615\"}, {\"$float\": \"inf\"}, {\"$map\": [[key, value]...]}, {\"$raw\": \"hex\"}.",
    .example =
        "  skep store greeting '\"hello\"' --ttl 1h --join /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW…\n"
        "  skep store progress '{\"step\": 12}' --subkey worker-1 --ttl 5m --join …",
    .run = run};
