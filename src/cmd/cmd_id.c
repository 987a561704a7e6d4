/* SPDX-License-Identifier: MIT */
/* skep id: the peer id of a key file, which it makes where there is none. */
#include "cmd/session.h"

static struct poptOption options[] = {{"identity", 'i', POPT_ARG_STRING, &skep_cmd_common.identity,
                                       0, "private key file, ours or hivemind's (identity.key)",
                                       "FILE"},
                                      SKEP_CMD_OPTIONS_OUTPUT,
                                      POPT_TABLEEND};

static int run(const struct skep_cmd *cmd, int argc, const char **argv)
{
    struct skep_cmd_args args;
    char id[SKEP_PEER_TEXT_LEN];
    const char *path;
    skep_peer peer;
    int rc, code = skep_cmd_parse(cmd, options, argc, argv, 0, 0, &args);

    if (code != SKEP_CMD_GO_ON)
        return code;
    path = skep_cmd_common.identity ? skep_cmd_common.identity : "identity.key";
    rc = skep_identity_create(path, &peer);
    if (rc < 0) {
        skep_session_failed(rc, NULL, path);
        return SKEP_EXIT_USAGE;
    }
    skep_peer_to_text(id, &peer);
    if (skep_cmd_common.json)
        return skep_cmd_print_json(json_pack("{s:s, s:s, s:b}", "peer_id", id, "identity", path,
                                             "created", rc == 0))
                   ? SKEP_EXIT_DONE
                   : SKEP_EXIT_FAILED;
    puts(id);
    return SKEP_EXIT_DONE;
}

const struct skep_cmd skep_cmd_id = {
    .name = "id",
    .arguments = "",
    .summary = "show the peer id of a key file; make the file where there is none",
    .details = "",
    .example = "  skep id --identity node.key",
    .run = run};
