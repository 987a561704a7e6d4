/* SPDX-License-Identifier: MIT */
/* skep experts: who serves these experts. */
#include <skep/moe.h>

#include "cmd/json_value.h"
#include "cmd/session.h"
#include "cmd/uids.h"

static char *file;

static struct poptOption options[] = {{"file", 'f', POPT_ARG_STRING, &file, 0,
                                       "a file of further uids, one a line; - is stdin", "FILE"},
                                      SKEP_CMD_OPTIONS_JOIN,
                                      SKEP_CMD_OPTIONS_OUTPUT,
                                      POPT_TABLEEND};

static int print_json(const skep_expert *experts, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++) {
        char id[SKEP_PEER_TEXT_LEN];
        json_t *peer = experts[i].peer.len > 0
                           ? json_string(skep_peer_to_text(id, &experts[i].peer))
                           : json_null();

        json_array_append_new(list, json_pack("{s:o, s:o}", "uid",
                                              skep_cmd_json_text(skep_bytes_str(experts[i].uid)),
                                              "peer_id", peer));
    }
    return skep_cmd_print_json(list) ? SKEP_EXIT_DONE : SKEP_EXIT_FAILED;
}

static int print_table(const skep_expert *experts, size_t count)
{
    static const char *const heading[] = {"uid", "peer"};
    struct skep_table table;

    skep_table_init(&table, heading, 2);
    for (size_t i = 0; i < count; i++) {
        char id[SKEP_PEER_TEXT_LEN];

        skep_table_add(&table, "%s", experts[i].uid);
        skep_table_add(&table, "%s",
                       experts[i].peer.len > 0 ? skep_peer_to_text(id, &experts[i].peer)
                                               : "not found");
    }
    skep_table_print(&table, stdout);
    skep_table_fini(&table);
    return SKEP_EXIT_DONE;
}

static int look_up(const struct skep_cmd_uids *uids)
{
    struct skep_session session;
    skep_op *op = NULL;
    int rc, code = skep_session_start(&session);

    if (code == SKEP_EXIT_DONE) {
        const skep_expert *experts;
        size_t count = 0;

        rc = skep_moe_get_experts(&op, session.node, uids->items, uids->count, 0, NULL, NULL);
        code = skep_session_wait(&session, rc, op, "experts");
        if (code == SKEP_EXIT_DONE) {
            experts = skep_moe_get_experts_result(op, &count);
            code = skep_cmd_common.json ? print_json(experts, count) : print_table(experts, count);
            for (size_t i = 0; i < count; i++) {
                if (experts[i].peer.len == 0)
                    code = SKEP_EXIT_FAILED;
            }
        }
        skep_op_free(op);
    }
    skep_session_close(&session);
    return code;
}

static int run(const struct skep_cmd *cmd, int argc, const char **argv)
{
    struct skep_cmd_args args;
    struct skep_cmd_uids uids;
    int code = skep_cmd_parse(cmd, options, argc, argv, 0, SIZE_MAX - 1, &args);

    if (code != SKEP_CMD_GO_ON)
        return code;
    code = skep_cmd_uids_read(&uids, &args, file) ? look_up(&uids) : SKEP_EXIT_USAGE;
    skep_cmd_uids_fini(&uids);
    return code;
}

const struct skep_cmd skep_cmd_experts = {
    .name = "experts",
    .arguments = "UID...",
    .summary = "show who serves these experts",
    .details = "Exits with 1 unless each is served by somebody.",
    .example = "  skep experts ffn.0.3 ffn.1.12 --join /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW…",
    .run = run};
