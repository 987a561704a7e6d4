/* SPDX-License-Identifier: MIT */
/* skep get: values and expirations; a dictionary with every subkey. */
#include <stdlib.h>

#include "cmd/json_value.h"
#include "cmd/session.h"

static int latest, typed;

static struct poptOption options[] = {
    {"latest", '\0', POPT_ARG_NONE, &latest, 0,
     "ask everybody who could know, take what lives longest", NULL},
    {"typed", '\0', POPT_ARG_NONE, &typed, 0, "show tuples as {\"$tuple\": [...]}", NULL},
    SKEP_CMD_OPTIONS_JOIN,
    SKEP_CMD_OPTIONS_OUTPUT,
    POPT_TABLEEND};

static json_t *value_json(skep_view packed)
{
    return skep_cmd_json_unpack(&skep_mem_std, skep_bytes_of(packed.data, packed.len), typed);
}

/* {"key", "found", …} as the contract has it. */
static json_t *item_json(const char *key, const skep_item *item)
{
    json_t *entries;

    if (!item->found)
        return json_pack("{s:s, s:b}", "key", key, "found", 0);
    if (!item->is_dictionary)
        return json_pack("{s:s, s:b, s:o, s:o}", "key", key, "found", 1, "value",
                         value_json(item->value), "expiration",
                         skep_cmd_json_real(item->expiration_unix_s));
    entries = json_array();
    for (size_t i = 0; i < item->entry_count; i++) {
        const skep_entry *e = &item->entries[i];

        json_array_append_new(entries, json_pack("{s:o, s:o, s:o}", "subkey", value_json(e->subkey),
                                                 "value", value_json(e->value), "expiration",
                                                 skep_cmd_json_real(e->expiration_unix_s)));
    }
    return json_pack("{s:s, s:b, s:o, s:o}", "key", key, "found", 1, "dictionary", entries,
                     "expiration", skep_cmd_json_real(item->expiration_unix_s));
}

static void print_value(const char *before, skep_view packed, double expiration)
{
    json_t *value = value_json(packed);
    char *line = value ? skep_cmd_json_line(value) : NULL;
    char until[40];

    /* JSON text has no control bytes; it is valid UTF-8 whatever the peer sent. */
    printf("%s%s  (until %s)\n", before, line ? line : "(out of memory)",
           skep_cmd_time_text(until, expiration));
    free(line);
    json_decref(value);
}

static void print_item(const char *key, const skep_item *item)
{
    char escaped[257];

    skep_text_escape(escaped, sizeof escaped, skep_bytes_str(key));
    if (!item->found) {
        printf("%s: not found%s\n", escaped,
               item->answered ? "" : " (not every peer that could know has answered)");
    } else if (!item->is_dictionary) {
        printf("%s: ", escaped);
        print_value("", item->value, item->expiration_unix_s);
    } else {
        printf("%s: a dictionary of %zu\n", escaped, item->entry_count);
        for (size_t i = 0; i < item->entry_count; i++) {
            json_t *subkey = value_json(item->entries[i].subkey);
            char *name = subkey ? skep_cmd_json_line(subkey) : NULL;

            printf("  %s: ", name ? name : "(out of memory)");
            print_value("", item->entries[i].value, item->entries[i].expiration_unix_s);
            free(name);
            json_decref(subkey);
        }
    }
}

/* One key gives an object, several an array of them: one document in either case. */
static int print_items(const struct skep_cmd_args *args, const skep_item *items)
{
    json_t *document = args->count > 1 ? json_array() : NULL;
    int code = SKEP_EXIT_DONE;

    for (size_t i = 0; i < args->count; i++) {
        if (!items[i].found)
            code = SKEP_EXIT_FAILED;
        if (!skep_cmd_common.json)
            print_item(args->items[i], &items[i]);
        else if (document)
            json_array_append_new(document, item_json(args->items[i], &items[i]));
        else
            document = item_json(args->items[i], &items[i]);
    }
    if (!skep_cmd_common.json)
        json_decref(document);
    else if (!skep_cmd_print_json(document))
        code = SKEP_EXIT_FAILED;
    return code;
}

static int get(const struct skep_cmd_args *args)
{
    struct skep_session session = {.node = NULL};
    skep_key *keys = calloc(args->count, sizeof *keys);
    skep_op *op = NULL;
    int code = keys ? skep_session_start(&session) : skep_session_failed(SKEP_ENOMEM, NULL, "get");

    if (code == SKEP_EXIT_DONE) {
        const skep_get_options get_options = {.struct_size = sizeof get_options,
                                              .latest = latest != 0};
        size_t count;
        int rc;

        assert(keys);
        for (size_t i = 0; i < args->count; i++)
            keys[i] = skep_key_text(args->items[i]);
        rc = skep_dht_get(&op, session.node, keys, args->count, &get_options, NULL, NULL);
        code = skep_session_wait(&session, rc, op, "get");
        if (code == SKEP_EXIT_DONE)
            code = print_items(args, skep_dht_get_result(op, &count));
        skep_op_free(op);
    }
    skep_session_close(&session);
    free(keys);
    return code;
}

static int run(const struct skep_cmd *cmd, int argc, const char **argv)
{
    struct skep_cmd_args args;
    int code = skep_cmd_parse(cmd, options, argc, argv, 1, SIZE_MAX - 1, &args);

    if (code != SKEP_CMD_GO_ON)
        return code;
    for (size_t i = 0; i < args.count; i++) {
        if (!skep_utf8_valid(skep_bytes_str(args.items[i]))) {
            skep_cmd_error("KEY", "number %zu is not UTF-8", i + 1);
            return SKEP_EXIT_USAGE;
        }
    }
    return get(&args);
}

const struct skep_cmd skep_cmd_get = {
    .name = "get",
    .arguments = "KEY...",
    .summary = "get what is stored under keys of the DHT",
    .details =
        "With --json one key gives one object, several keys an array of them. Exits with 1 unless all were found.",
    .example = "  skep get greeting --join /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW…",
    .run = run};
