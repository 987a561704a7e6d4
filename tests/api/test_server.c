/* SPDX-License-Identifier: MIT */
/* skep/server.h and skep/mixture.h over loopback: experts that are hosted, called, mixed and trained, and every end of a server. */
#include <math.h>

#include <skep/expert.h>
#include <skep/mixture.h>
#include <skep/server.h>

#include "api/api_test.h"

enum { HIDDEN = 16, ROWS = 6 };

static const char *const nop_uids[] = {"nop.0", "nop.1"};

/* ---- a class of the test's own: y = 2 x, and its gradient ---- */

static int open_double(size_t hidden, const char *options, skep_class_schema *schema, void **state,
                       char *why, size_t why_len)
{
    const skep_tensor_schema vector = {
        .dtype = SKEP_FLOAT32, .requires_grad = true, .axes = 1, .shape = {hidden}};

    (void)options, (void)state, (void)why, (void)why_len;
    schema->inputs[0] = schema->outputs[0] = vector;
    schema->input_count = schema->output_count = 1;
    return 0;
}

static int twice(skep_pass *pass, const skep_tensor *in, void *out)
{
    const float *from = in->data;
    float *to = out;

    (void)pass;
    for (size_t i = 0; i < skep_tensor_elements(in); i++)
        to[i] = 2 * from[i];
    return 0;
}

static int forward_double(skep_pass *pass, const skep_tensor *inputs, void *const *outputs)
{
    return twice(pass, inputs, outputs[0]);
}

static int backward_double(skep_pass *pass, const skep_tensor *inputs,
                           const skep_tensor *grad_outputs, void *const *grad_inputs)
{
    (void)inputs;
    return twice(pass, grad_outputs, grad_inputs[0]);
}

static const skep_expert_class doubling = {SKEP_CLASS_ABI, "double",       open_double,
                                           NULL,           forward_double, backward_double};

/* ---- two nodes: one hosts, one calls ---- */

struct pair {
    skep_node *host, *caller;
};

static int setup(void **state)
{
    struct pair *pair = calloc(1, sizeof *pair);
    char **addresses;

    pair->host = node_on_thread(NULL);
    addresses = addresses_of(pair->host);
    pair->caller = node_on_thread(addresses[0]);
    skep_free(addresses);
    *state = pair;
    return 0;
}

static int teardown(void **state)
{
    struct pair *pair = *state;

    skep_node_free(pair->caller);
    skep_node_free(pair->host);
    free(pair);
    return 0;
}

static skep_server *start(skep_node *node, const skep_server_options *options)
{
    skep_server *server;
    skep_op *op;

    assert_int_equal(skep_server_start(&op, &server, node, options, NULL, NULL), 0);
    finish_ok(op);
    skep_op_free(op);
    return server;
}

static void options_of(skep_server_options *options, const char *const *uids, size_t count,
                       const skep_expert_class *class)
{
    skep_server_options_init(options);
    options->uids = uids;
    options->uid_count = count;
    options->own_class = class;
    options->class_name = class ? NULL : "nop";
    options->hidden = HIDDEN;
    options->seed = 5;
}

static void stop(skep_server *server)
{
    skep_op *op;

    assert_int_equal(skep_server_stop(&op, server, NULL, NULL), 0);
    finish_ok(op);
    skep_op_free(op);
}

static float numbers[ROWS * HIDDEN];

static skep_tensor input_of(void)
{
    for (size_t i = 0; i < ROWS * HIDDEN; i++)
        numbers[i] = (float)i / 10 - 3;
    return (skep_tensor){
        .dtype = SKEP_FLOAT32, .axes = 2, .shape = {ROWS, HIDDEN}, .data = numbers};
}

static skep_expert find(skep_node *node, const char *const *uid)
{
    skep_op *op;
    skep_expert expert;
    size_t count;

    assert_int_equal(skep_moe_get_experts(&op, node, uid, 1, PATIENCE_US, NULL, NULL), 0);
    finish_ok(op);
    expert = skep_moe_get_experts_result(op, &count)[0];
    expert.uid = *uid;
    assert_true(expert.peer.len > 0);
    skep_op_free(op);
    return expert;
}

static void hosted_experts_are_found_and_called(void **state)
{
    struct pair *pair = *state;
    skep_server_options options;
    skep_server_counters counters = {.struct_size = sizeof counters};
    const skep_tensor input = input_of();
    const skep_tensor *output;
    skep_server *server;
    skep_expert expert;
    skep_op *op;
    size_t count;

    options_of(&options, nop_uids, 2, &doubling);
    server = start(pair->host, &options);
    assert_non_null(skep_server_experts(server, &count));
    assert_int_equal(count, 2);
    expert = find(pair->caller, &nop_uids[1]);
    assert_int_equal(skep_expert_forward(&op, pair->caller, &expert, &input, 1, NULL, NULL, NULL),
                     0);
    finish_ok(op);
    output = skep_expert_result(op, &count);
    assert_int_equal(count, 1);
    for (size_t i = 0; i < ROWS * HIDDEN; i++)
        assert_true(((const float *)output->data)[i] == 2 * numbers[i]);
    skep_op_free(op);
    assert_int_equal(
        skep_expert_backward(&op, pair->caller, &expert, &input, 1, &input, 1, NULL, NULL, NULL),
        0);
    finish_ok(op);
    output = skep_expert_result(op, &count);
    for (size_t i = 0; i < ROWS * HIDDEN; i++)
        assert_true(((const float *)output->data)[i] == 2 * numbers[i]);
    skep_op_free(op);
    assert_int_equal(skep_server_counters_get(server, &counters), 0);
    assert_int_equal(counters.experts, 2);
    assert_int_equal(counters.forwards, 1);
    assert_int_equal(counters.backward_rows, ROWS);
    assert_int_equal(counters.memory_bytes, 0);
    stop(server);
    skep_server_free(server);
}

static void many_callers_at_once_get_their_own_rows(void **state)
{
    enum { CALLS = 64 };
    struct pair *pair = *state;
    skep_server_options options;
    skep_server *server;
    skep_expert expert;
    skep_op *ops[CALLS];
    static float x[CALLS][HIDDEN];

    options_of(&options, nop_uids, 1, &doubling);
    options.workers = 2;
    server = start(pair->host, &options);
    expert = find(pair->caller, nop_uids);
    for (size_t i = 0; i < CALLS; i++) {
        skep_tensor row = {.dtype = SKEP_FLOAT32, .axes = 2, .shape = {1, HIDDEN}, .data = x[i]};

        for (size_t j = 0; j < HIDDEN; j++)
            x[i][j] = (float)i;
        assert_int_equal(
            skep_expert_forward(&ops[i], pair->caller, &expert, &row, 1, NULL, NULL, NULL), 0);
    }
    for (size_t i = 0; i < CALLS; i++) {
        finish_ok(ops[i]);
        assert_true(((const float *)skep_expert_result(ops[i], NULL)->data)[7] == 2 * (float)i);
        skep_op_free(ops[i]);
    }
    stop(server);
    skep_server_free(server);
}

static void an_expert_learns_what_it_is_trained_to(void **state)
{
    struct pair *pair = *state;
    skep_server_options options;
    const skep_tensor input = input_of();
    static float gradient[ROWS * HIDDEN];
    skep_tensor grad = input;
    double first = 0, last = 0;
    skep_server *server;
    skep_expert expert;

    options_of(&options, nop_uids, 1, NULL);
    options.class_name = "ffn";
    options.learning_rate = 0.02;
    options.threads = 1;
    server = start(pair->host, &options);
    expert = find(pair->caller, nop_uids);
    grad.data = gradient;
    for (size_t step = 0; step < 60; step++) {
        const float *y;
        skep_op *op;

        last = 0;
        assert_int_equal(
            skep_expert_forward(&op, pair->caller, &expert, &input, 1, NULL, NULL, NULL), 0);
        finish_ok(op);
        y = skep_expert_result(op, NULL)->data;
        for (size_t i = 0; i < ROWS * HIDDEN; i++) { /* towards 0.5 */
            gradient[i] = y[i] - 0.5f;
            last += (double)(gradient[i] * gradient[i]);
        }
        first = step == 0 ? last : first;
        skep_op_free(op);
        assert_int_equal(
            skep_expert_backward(&op, pair->caller, &expert, &input, 1, &grad, 1, NULL, NULL, NULL),
            0);
        finish_ok(op);
        skep_op_free(op);
    }
    assert_true(last < first / 2);
    skep_server_free(server);
}

static void a_mixture_over_two_servers_adds_up(void **state)
{
    static const char *const at[][2] = {{"e.0.0", "e.0.1"}, {"e.1.0", "e.1.1"}};
    static const size_t grid[] = {2, 2};
    struct pair *pair = *state;
    skep_node *second = NULL;
    char **addresses = addresses_of(pair->host);
    skep_mixture_options options;
    skep_server_options server_options;
    skep_server *servers[2];
    const skep_tensor input = input_of();
    const skep_mixture_report *report;
    const skep_mixture_gradients *gradients;
    const float *y;
    skep_mixture *mixture;
    skep_op *forward, *backward, *again;

    second = node_on_thread(addresses[0]);
    skep_free(addresses);
    options_of(&server_options, at[0], 2, &doubling);
    servers[0] = start(pair->host, &server_options);
    server_options.uids = at[1];
    servers[1] = start(second, &server_options);
    skep_mixture_options_init(&options, SKEP_MIXTURE_SOFTMAX);
    options.prefix = "e.";
    options.grid_size = grid;
    options.dimensions = 2;
    options.in_features = HIDDEN;
    options.k_best = 3;
    options.seed = 3;
    assert_int_equal(skep_mixture_new(&mixture, pair->caller, &options), 0);
    assert_int_equal(skep_mixture_gate_outputs(mixture), 4);
    assert_int_equal(skep_mixture_forward(&forward, mixture, &input, 1, NULL, NULL), 0);
    finish_ok(forward);
    report = skep_mixture_get_report(forward);
    assert_int_equal(report->experts_max, 3);
    assert_true(report->calls <= 4); /* one an expert */
    y = skep_mixture_forward_result(forward, NULL)->data;
    for (size_t i = 0; i < ROWS * HIDDEN; i++) /* every expert doubles, and weights add up to one */
        assert_true(fabsf(y[i] - 2 * numbers[i]) < 1e-4f);
    assert_int_equal(skep_mixture_backward(&backward, forward, &input, 1, 0, NULL, NULL), 0);
    finish_ok(backward);
    gradients = skep_mixture_backward_result(backward);
    assert_int_equal(gradients->input_count, 1);
    for (size_t i = 0; i < ROWS * HIDDEN;
         i++) /* the gate's part is nothing: all experts say the same */
        assert_true(fabsf(((const float *)gradients->inputs[0].data)[i] - 2 * numbers[i]) < 1e-3f);
    assert_int_equal(skep_mixture_backward(&again, forward, &input, 1, 0, NULL, NULL), SKEP_EINVAL);
    skep_op_free(backward);
    skep_op_free(forward);
    skep_mixture_free(mixture);
    skep_server_free(servers[0]);
    skep_server_free(servers[1]);
    skep_node_free(second);
}

static void an_error_names_what_was_wrong_and_the_server_goes_on(void **state)
{
    struct pair *pair = *state;
    skep_server_options options;
    skep_tensor input = input_of();
    skep_expert_options raw = {.struct_size = sizeof raw, .without_info = true};
    skep_server *server;
    skep_expert expert;
    skep_op *op;

    options_of(&options, nop_uids, 1, NULL);
    server = start(pair->host, &options);
    expert = find(pair->caller, nop_uids);
    input.shape[0] = ROWS * 2;
    input.shape[1] = HIDDEN / 2;
    assert_int_equal(skep_expert_forward(&op, pair->caller, &expert, &input, 1, &raw, NULL, NULL),
                     0);
    assert_int_equal(skep_op_wait_for(op, PATIENCE_US), SKEP_EPEER_REMOTE);
    assert_non_null(strstr(skep_op_text(op), "shape"));
    skep_op_free(op);
    input = input_of();
    numbers[5] = NAN;
    assert_int_equal(skep_expert_forward(&op, pair->caller, &expert, &input, 1, &raw, NULL, NULL),
                     0);
    assert_int_equal(skep_op_wait_for(op, PATIENCE_US), SKEP_EPEER_REMOTE);
    assert_non_null(strstr(skep_op_text(op), "nan"));
    skep_op_free(op);
    input = input_of();
    assert_int_equal(skep_expert_forward(&op, pair->caller, &expert, &input, 1, &raw, NULL, NULL),
                     0);
    finish_ok(op);
    skep_op_free(op);
    skep_server_free(server);
}

static void what_makes_no_sense_is_refused_with_a_sentence(void **state)
{
    static const char *const bad[] = {"nop.01"};
    struct pair *pair = *state;
    skep_server_options options;
    skep_server *server = NULL;
    skep_op *op = NULL;

#define REFUSED(rc, text, change)                                                                  \
    do {                                                                                           \
        options_of(&options, nop_uids, 2, NULL);                                                   \
        change;                                                                                    \
        assert_int_equal(skep_server_start(&op, &server, pair->host, &options, NULL, NULL), rc);   \
        if (!strstr(skep_last_error_text(), text))                                                 \
            fail_msg("it says: %s", skep_last_error_text());                                       \
    } while (0)
    REFUSED(SKEP_EUID, "nop.01", (options.uids = bad, options.uid_count = 1));
    REFUSED(SKEP_EINVAL, "which experts", options.uid_count = 0);
    REFUSED(SKEP_EINVAL, "there is no class \"fnn\"", options.class_name = "fnn");
    REFUSED(SKEP_EINVAL, "hidden", options.hidden = (size_t)1 << 40);
    REFUSED(SKEP_EINVAL, "above max_batch_size, 8",
            (options.max_batch_size = 8, options.min_batch_size = 9));
#undef REFUSED
    options_of(&options, nop_uids, 2, NULL);
    server = start(pair->host, &options);
    {
        skep_server *another = NULL;

        assert_int_equal(skep_server_start(&op, &another, pair->host, &options, NULL, NULL),
                         SKEP_EEXIST);
        skep_server_free(another);
    }
    skep_server_free(server);
    skep_server_free(NULL);
}

/* Whoever goes first, nothing hangs and nothing leaks. */
static void servers_and_nodes_may_go_in_any_order(void **state)
{
    (void)state;
    for (int order = 0; order < 4; order++) {
        skep_node *node = node_on_thread(NULL);
        skep_server_options options;
        skep_server *server;
        skep_op *op = NULL;

        options_of(&options, nop_uids, 2, &doubling);
        if (order < 2) {
            server = start(node, &options);
        } else {
            assert_int_equal(skep_server_start(&op, &server, node, &options, NULL, NULL), 0);
        }
        if (order % 2 == 0) {
            skep_server_free(server);
            skep_node_free(node);
        } else {
            skep_node_free(node);
            skep_server_free(server);
        }
        skep_op_free(op);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hosted_experts_are_found_and_called, setup, teardown),
        cmocka_unit_test_setup_teardown(many_callers_at_once_get_their_own_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(an_expert_learns_what_it_is_trained_to, setup, teardown),
        cmocka_unit_test_setup_teardown(a_mixture_over_two_servers_adds_up, setup, teardown),
        cmocka_unit_test_setup_teardown(an_error_names_what_was_wrong_and_the_server_goes_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_makes_no_sense_is_refused_with_a_sentence, setup,
                                        teardown),
        cmocka_unit_test(servers_and_nodes_may_go_in_any_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
