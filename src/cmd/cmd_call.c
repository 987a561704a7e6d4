/* SPDX-License-Identifier: MIT */
/* skep call: one expert asked what it takes, run forward, or run backward. */
#include <stdlib.h>

#include "cmd/json_value.h"
#include "cmd/search.h"
#include "cmd/tensors.h"

enum { REPEAT_MAX = 1000000 };

static char **inputs, **gradients;
static char *output, *peer_text, *compression_text, *repeat_text;
static int info;

static struct poptOption options[] = {
    {"input", '\0', POPT_ARG_ARGV, &inputs, 0,
     "an input, .npy or .npz; - is stdin; may be given several times, in the expert's order",
     "FILE"},
    {"backward", 'b', POPT_ARG_ARGV, &gradients, 0,
     "a gradient of an output: run backward, which trains the expert; may be given several times",
     "FILE"},
    {"output", 'o', POPT_ARG_STRING, &output, 0,
     "write what comes back as .npy; of several tensors y.npy becomes y.0.npy, y.1.npy ...",
     "FILE"},
    {"info", '\0', POPT_ARG_NONE, &info, 0, "only show what the expert takes and gives", NULL},
    {"peer", 'p', POPT_ARG_STRING, &peer_text, 0,
     "call it there: a peer id (with --join), or a multiaddr; else who serves it is looked up",
     "PEER"},
    {"compression", 'c', POPT_ARG_STRING, &compression_text, 0,
     "send so, unchecked, not as the expert says: NONE, FLOAT16, MEANSTD_16BIT, ...", "C"},
    {"repeat", 'n', POPT_ARG_STRING, &repeat_text, 0,
     "call so often, and show the spread of the times", "N"},
    SKEP_CMD_OPTIONS_JOIN,
    SKEP_CMD_OPTIONS_OUTPUT,
    POPT_TABLEEND};

struct calling {
    struct skep_session session;
    skep_expert expert;
    bool by_maddr; /* --peer is a multiaddr: there is nobody to look up */
    struct skep_cmd_tensors inputs, gradients;
    skep_expert_options options;
    uint64_t repeat;
    double *times_ms; /* [repeat] */
};

/* ---- who serves it ---- */

static int connect_to(struct calling *c)
{
    skep_op *op = NULL;
    int rc = skep_p2p_connect(&op, c->session.node, peer_text, 0, NULL, NULL);
    int code = skep_session_wait(&c->session, rc, op, peer_text);

    if (code == SKEP_EXIT_DONE)
        c->expert.peer = *skep_p2p_connect_result(op);
    skep_op_free(op);
    return code;
}

static int look_up(struct calling *c)
{
    skep_op *op = NULL;
    int rc = skep_moe_get_experts(&op, c->session.node, &c->expert.uid, 1, 0, NULL, NULL);
    int code = skep_session_wait(&c->session, rc, op, c->expert.uid);

    if (code == SKEP_EXIT_DONE) {
        c->expert.peer = skep_moe_get_experts_result(op, NULL)[0].peer;
        if (c->expert.peer.len == 0) {
            skep_cmd_error(c->expert.uid,
                           "nobody serves it, or nobody has declared it lately (--peer names one)");
            code = SKEP_EXIT_FAILED;
        }
    }
    skep_op_free(op);
    return code;
}

static int find_server(struct calling *c)
{
    int code;

    if (c->by_maddr) {
        code = skep_session_open(&c->session, SKEP_SESSION_CALLS);
        return code == SKEP_EXIT_DONE ? connect_to(c) : code;
    }
    code = skep_session_start(&c->session);
    return code == SKEP_EXIT_DONE && c->expert.peer.len == 0 ? look_up(c) : code;
}

/* ---- the call ---- */

static int begin(struct calling *c, skep_op **op)
{
    skep_node *node = c->session.node;

    if (info)
        return skep_expert_get_info(op, node, &c->expert, 0, NULL, NULL);
    if (gradients)
        return skep_expert_backward(op, node, &c->expert, c->inputs.items, c->inputs.count,
                                    c->gradients.items, c->gradients.count, &c->options, NULL,
                                    NULL);
    return skep_expert_forward(op, node, &c->expert, c->inputs.items, c->inputs.count, &c->options,
                               NULL, NULL);
}

/* @return the last call's operation, or NULL and the exit code. */
static skep_op *call_often(struct calling *c, int *code)
{
    skep_op *op = NULL;

    *code = SKEP_EXIT_DONE;
    for (uint64_t i = 0; i < c->repeat && *code == SKEP_EXIT_DONE; i++) {
        uint64_t start = skep_cmd_now_us();
        int rc;

        skep_op_free(op);
        op = NULL;
        if (c->repeat > 1)
            skep_cmd_progress("call %llu of %llu", (unsigned long long)i + 1,
                              (unsigned long long)c->repeat);
        rc = begin(c, &op);
        *code = skep_session_wait(&c->session, rc, op, c->expert.uid);
        c->times_ms[i] = (double)(skep_cmd_now_us() - start) / 1000;
    }
    skep_cmd_progress_end();
    if (*code == SKEP_EXIT_DONE)
        return op;
    skep_op_free(op);
    return NULL;
}

/* ---- what came back ---- */

static json_t *schemas_json(const skep_tensor_schema *schemas, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, skep_cmd_schema_json(&schemas[i]));
    return list;
}

static void add_times(json_t *document, const struct calling *c, double last_ms)
{
    struct skep_cmd_latency l = skep_cmd_latency_of(c->times_ms, (size_t)c->repeat);

    json_object_set_new(document, "elapsed_ms", json_real(last_ms));
    if (repeat_text)
        json_object_set_new(document, "latency_ms",
                            json_pack("{s:I, s:f, s:f, s:f, s:f}", "count", (json_int_t)c->repeat,
                                      "min", l.min, "median", l.median, "p95", l.p95, "max",
                                      l.max));
}

static bool print_json(struct calling *c, const skep_op *op)
{
    double last_ms = c->times_ms[c->repeat - 1];
    const skep_expert_info *said = skep_expert_get_info_result(op);
    char id[SKEP_PEER_TEXT_LEN];
    json_t *document = json_pack("{s:s, s:s}", "uid", c->expert.uid, "peer_id",
                                 skep_peer_to_text(id, &c->expert.peer));
    json_t *list = json_array();
    const skep_tensor *tensors;
    size_t count = 0;

    if (said) {
        json_object_set_new(document, "inputs", schemas_json(said->inputs, said->input_count));
        json_object_set_new(document, "outputs", schemas_json(said->outputs, said->output_count));
        json_decref(list);
    } else {
        tensors = skep_expert_result(op, &count);
        for (size_t i = 0; i < count; i++)
            json_array_append_new(list, skep_cmd_tensor_json(&tensors[i], !output));
        json_object_set_new(document, gradients ? "gradients" : "outputs", list);
    }
    if (document)
        add_times(document, c, last_ms);
    return skep_cmd_print_json(document);
}

static void print_schemas(const char *what, const skep_tensor_schema *schemas, size_t count)
{
    char text[SKEP_CMD_SHAPE_MAX], name[SKEP_PEER_TEXT_MAX + 1];

    for (size_t i = 0; i < count; i++) {
        printf("%s %zu: %s, compression %s", what, i, skep_cmd_schema_form(text, &schemas[i]),
               skep_compression_name(schemas[i].compression));
        if (schemas[i].name)
            printf(", by the name %s",
                   skep_text_escape(name, sizeof name, skep_bytes_str(schemas[i].name)));
        putchar('\n');
    }
}

static void print_text(struct calling *c, const skep_op *op)
{
    const skep_expert_info *said = skep_expert_get_info_result(op);
    const skep_tensor *tensors;
    char id[SKEP_PEER_TEXT_LEN];
    size_t count = 0;

    printf("%s at %s\n", c->expert.uid, skep_peer_to_text(id, &c->expert.peer));
    if (said) {
        print_schemas("input", said->inputs, said->input_count);
        print_schemas("output", said->outputs, said->output_count);
    } else if (!output) {
        tensors = skep_expert_result(op, &count);
        for (size_t i = 0; i < count; i++)
            skep_cmd_tensor_print(&tensors[i], gradients ? "gradient of input" : "output", i);
    }
    if (repeat_text) {
        struct skep_cmd_latency l = skep_cmd_latency_of(c->times_ms, (size_t)c->repeat);

        printf("%llu calls: %.3f ms at least, %.3f median, %.3f 95th percentile, %.3f at most\n",
               (unsigned long long)c->repeat, l.min, l.median, l.p95, l.max);
    } else {
        printf("%.3f ms\n", c->times_ms[0]);
    }
}

static int show(struct calling *c, const skep_op *op)
{
    size_t count = 0;
    const skep_tensor *tensors = skep_expert_result(op, &count);

    if (output && !skep_cmd_tensors_write(output, tensors, count))
        return SKEP_EXIT_FAILED;
    if (output && strcmp(output, "-") == 0)
        return SKEP_EXIT_DONE; /* stdout has the numbers, and nothing else */
    if (skep_cmd_common.json)
        return print_json(c, op) ? SKEP_EXIT_DONE : SKEP_EXIT_FAILED;
    print_text(c, op);
    return SKEP_EXIT_DONE;
}

/* ---- options ---- */

/* --peer: an id, or a multiaddr that is dialled. */
static bool check_peer(struct calling *c)
{
    char *maddrs[] = {peer_text, NULL};

    if (!peer_text)
        return true;
    c->by_maddr = peer_text[0] == '/' && strncmp(peer_text, "/p2p/", strlen("/p2p/")) != 0;
    if (c->by_maddr)
        return skep_cmd_check_maddrs("--peer", maddrs, false);
    if (skep_peer_from_text(&c->expert.peer,
                            peer_text[0] == '/' ? peer_text + strlen("/p2p/") : peer_text) == 0)
        return true;
    skep_cmd_error("--peer", "'%.128s' is neither a peer id nor a multiaddr", peer_text);
    return false;
}

static bool check_kinds(void)
{
    if (info && (inputs || gradients || output || compression_text)) {
        skep_cmd_error("--info", "it shows what the expert takes; nothing is computed or written");
        return false;
    }
    if (!info && !inputs) {
        skep_cmd_error("--input",
                       "this option is missing: --input x.npy (--info shows what is taken)");
        return false;
    }
    return true;
}

static bool check_options(struct calling *c)
{
    if (!skep_cmd_check_uid(c->expert.uid) || !check_kinds() || !check_peer(c) ||
        !skep_cmd_option_count("--repeat", repeat_text, 1, REPEAT_MAX, &c->repeat))
        return false;
    if (compression_text &&
        skep_compression_from_name(&c->options.compression, compression_text) < 0) {
        skep_cmd_error(
            "--compression",
            "'%.64s' is none: NONE, MEANSTD_16BIT, FLOAT16, QUANTILE_8BIT, UNIFORM_8BIT or BLOCKWISE_8BIT",
            compression_text);
        return false;
    }
    c->options.struct_size = sizeof c->options;
    c->options.without_info = compression_text != NULL;
    return skep_cmd_tensors_read(&c->inputs, inputs) &&
           skep_cmd_tensors_read(&c->gradients, gradients);
}

static int call(struct calling *c)
{
    int code = check_options(c) ? SKEP_EXIT_DONE : SKEP_EXIT_USAGE;
    skep_op *op = NULL;

    if (code == SKEP_EXIT_DONE && !(c->times_ms = calloc(c->repeat, sizeof *c->times_ms)))
        code = skep_session_failed(SKEP_ENOMEM, NULL, "call");
    if (code == SKEP_EXIT_DONE)
        code = find_server(c);
    if (code == SKEP_EXIT_DONE)
        op = call_often(c, &code);
    if (op)
        code = show(c, op);
    skep_op_free(op);
    return code;
}

static int run(const struct skep_cmd *cmd, int argc, const char **argv)
{
    struct calling c = {.repeat = 1};
    struct skep_cmd_args args;
    int code = skep_cmd_parse(cmd, options, argc, argv, 1, 1, &args);

    if (code != SKEP_CMD_GO_ON)
        return code;
    c.expert.uid = args.items[0];
    code = call(&c);
    skep_session_close(&c.session);
    skep_cmd_tensors_fini(&c.inputs);
    skep_cmd_tensors_fini(&c.gradients);
    free(c.times_ms);
    return code;
}

const struct skep_cmd skep_cmd_call = {
    .name = "call",
    .arguments = "UID",
    .summary = "run an expert: forward, backward, or only ask what it takes",
    .details =
        "Inputs are numpy's arrays, the first axis of each the batch; a .npz gives all of its arrays in order. Keyword inputs\n"
        "come behind the positional ones, by name. Without --output the first numbers are shown, with --json all.\n"
        "--backward gives the gradients of the inputs, and the server takes a step of its optimizer.",
    .example =
        "  skep call ffn.0.3 --info --join /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW…\n"
        "  skep call ffn.0.3 --input x.npy --output y.npy --join /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW…",
    .run = run};
