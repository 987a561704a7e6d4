/* SPDX-License-Identifier: MIT */
/* Two peers share notes: one stores a note and a dictionary of notes, the other finds them. Both run on threads of their own. */
#include <stdio.h>
#include <string.h>

#include <skep/dht.h>
#include <skep/p2p.h>

static int check(int rc, const char *what)
{
    if (rc < 0)
        fprintf(stderr, "%s: %s %s\n", what, skep_strerror(rc), skep_last_error_text());
    return rc;
}

static skep_node *start(const char *join)
{
    const char *listen = "/ip4/127.0.0.1/tcp/0";
    skep_node_options options;
    skep_node *node;
    skep_op *op;

    skep_node_options_init(&options);
    options.listen = &listen;
    options.listen_count = 1;
    options.initial_peers = &join;
    options.initial_peer_count = join ? 1 : 0;
    if (check(skep_node_new(&node, &options), "node") < 0)
        return NULL;
    if (check(skep_dht_join(&op, node, NULL, NULL), "join") == 0) {
        int rc = skep_op_wait(op);

        if (rc < 0)
            fprintf(stderr, "join: %s: %s\n", skep_strerror(rc), skep_op_text(op));
        skep_op_free(op);
        if (rc == 0)
            return node;
    }
    skep_node_free(node);
    return NULL;
}

/* A record with a text as its value, and perhaps a subkey. */
static int store_text(skep_node *node, const char *key, const char *subkey, const char *text)
{
    skep_pack *packed_subkey = skep_pack_new(), *packed = skep_pack_new();
    skep_record record = {.key = skep_key_text(key), .expiration_unix_s = skep_dht_time() + 60};
    skep_op *op;
    int rc;

    skep_pack_str(packed, text);
    rc = skep_pack_view(packed, &record.value);
    if (rc == 0 && subkey) {
        skep_pack_str(packed_subkey, subkey);
        rc = skep_pack_view(packed_subkey, &record.subkey);
    }
    if (rc == 0 && (rc = skep_dht_store(&op, node, &record, 1, NULL, NULL, NULL)) == 0) {
        rc = skep_op_wait(op);
        if (rc == 0)
            printf("stored \"%s\" on %u peers\n", key, skep_dht_store_result(op, NULL)[0].accepted);
        skep_op_free(op);
    }
    skep_pack_free(packed_subkey);
    skep_pack_free(packed);
    return check(rc, "store");
}

static void print_text(const char *before, skep_view value)
{
    skep_token token;

    if (skep_unpack(&value, &token) == 1 && token.kind == SKEP_KIND_STR)
        printf("%s%.*s\n", before, (int)token.bytes.len, (const char *)token.bytes.data);
}

static int print_notes(skep_node *node)
{
    const skep_key keys[] = {skep_key_text("note"), skep_key_text("notes"),
                             skep_key_text("nothing")};
    const skep_item *items;
    skep_op *op;
    int rc;

    if (check(rc = skep_dht_get(&op, node, keys, 3, NULL, NULL, NULL), "get") < 0)
        return rc;
    rc = skep_op_wait(op);
    if ((items = skep_dht_get_result(op, NULL))) {
        print_text("note: ", items[0].value);
        for (size_t i = 0; i < items[1].entry_count; i++) {
            print_text("notes, of: ", items[1].entries[i].subkey);
            print_text("  ", items[1].entries[i].value);
        }
        printf("nothing: %s\n", items[2].found ? "found" : "not found");
        rc = items[0].found && items[1].entry_count == 2 && !items[2].found ? 0 : SKEP_ENOTFOUND;
    }
    skep_op_free(op);
    return check(rc, "notes");
}

int main(void)
{
    skep_node *first = start(NULL), *second = NULL;
    char **addresses = first ? skep_p2p_addresses(first, NULL) : NULL;
    int rc = 1;

    if (addresses && addresses[0] && (second = start(addresses[0])) != NULL) {
        rc = store_text(first, "note", NULL, "bread and honey") < 0 ||
             store_text(first, "notes", "ann", "wax") < 0 ||
             store_text(second, "notes", "bob", "smoke") < 0 || print_notes(second) < 0;
    }
    skep_free(addresses);
    skep_node_free(second);
    skep_node_free(first);
    return rc;
}
