/* SPDX-License-Identifier: MIT */
/* skep call from outside, against a node of this program that serves an expert by hand: it gives back what it is given (backward: the first input).
 * The command to run is the first argument. */
#include "api/api_test.h"

#include <sys/wait.h>

#include "support/test.h"

enum { LINE_MAX_LEN = 2048, OUTPUT_LEN = 65536 };

static const char *skep;
static char folder[] = "/tmp/skep-test-XXXXXX";
static skep_node *server;
static char *address; /* of the server, with its id */
static char id[SKEP_PEER_TEXT_LEN];
static char out[OUTPUT_LEN], err[OUTPUT_LEN];

/* ---- the server ---- */

static skep_view without_uid(skep_view request)
{
    const uint8_t *bytes = request.data;
    size_t skip = 2 + (size_t)bytes[1];

    return (skep_view){bytes + skip, request.len - skip};
}

static bool names(skep_view request, const char *uid)
{
    const char *bytes = request.data;

    return request.len >= 2 + strlen(uid) && memcmp(bytes + 2, uid, strlen(uid)) == 0;
}

static void on_info(void *user_data, skep_request *request)
{
    (void)user_data;
    if (names(skep_request_data(request), "ffn.0.0"))
        skep_request_reply(request, *(const skep_view *)user_data);
    else
        (skep_request_fail)(request, "KeyError('ffn.9.9')");
}

static void on_forward(void *user_data, skep_request *request)
{
    (void)user_data;
    skep_request_reply(request, without_uid(skep_request_data(request)));
}

static void on_backward(void *user_data, skep_request *request)
{
    skep_view answer = without_uid(skep_request_data(request));

    (void)user_data;
    answer.len = 2 + (size_t)((const uint8_t *)answer.data)[1];
    skep_request_reply(request, answer);
}

/* ---- running the command ---- */

static void read_file(char *to, const char *name)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "rb");
    assert_non_null(file);
    to[fread(to, 1, OUTPUT_LEN - 1, file)] = '\0';
    fclose(file);
}

/* `arguments` are a shell's, in the folder. @return the exit code. */
static int run(const char *arguments)
{
    char line[LINE_MAX_LEN];
    int status;

    snprintf(line, sizeof line, "cd %s && %s call %s > stdout 2> stderr", folder, skep, arguments);
    status = system(line);
    assert_true(WIFEXITED(status));
    read_file(out, "stdout");
    read_file(err, "stderr");
    return WEXITSTATUS(status);
}

static int run_at(const char *arguments)
{
    char line[LINE_MAX_LEN];

    snprintf(line, sizeof line, "%s --peer %s", arguments, address);
    return run(line);
}

static void expect(int code, int want)
{
    if (code != want)
        fail_msg("exit %d, not %d\nstdout: %s\nstderr: %s", code, want, out, err);
}

static void expect_error(int code, int want, const char *words)
{
    expect(code, want);
    if (!strstr(err, words))
        fail_msg("\"%s\" does not say \"%s\"", err, words);
    assert_string_equal(out, "");
}

static json_t *document(void)
{
    static json_t *kept;
    json_error_t error;

    json_decref(kept);
    kept = json_loads(out, 0, &error);
    if (!kept)
        fail_msg("no JSON: %s", out);
    return kept;
}

/* ---- files ---- */

/* A .npy of float32, version 1.0. */
static void write_npy(const char *name, size_t rows, size_t columns, const char *descr,
                      const void *items, size_t len)
{
    char path[128], header[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10);
    snprintf(header + 10, sizeof header - 10,
             "{'descr': '%s', 'fortran_order': False, 'shape': (%zu, %zu), }", descr, rows,
             columns);
    header[strlen(header + 10) + 10] = ' ';
    header[sizeof header - 1] = '\n';
    file = fopen(path, "wb");
    assert_non_null(file);
    fwrite(header, 1, sizeof header, file);
    fwrite(items, 1, len, file);
    fclose(file);
}

static const float numbers[8] = {0.5F, -1, 2, 0.25F, 1, 1, -1, 0};

static int setup(void **state)
{
    static skep_view info;
    const json_t *infos = test_get(test_vectors("expert.json"), "rpc_info");
    skep_bytes answer = test_unhex(test_str(json_array_get(infos, 0), "response"));
    const char *uids[] = {"ffn.0.0", "ffn.9.9"};
    char **addresses;
    skep_peer peer;
    skep_op *op;

    (void)state;
    assert_non_null(mkdtemp(folder));
    info = (skep_view){answer.data, answer.len};
    server = node_on_thread(NULL);
    peer = peer_of(server);
    skep_peer_to_text(id, &peer);
    addresses = addresses_of(server);
    address = strdup(addresses[0]);
    skep_free(addresses);
    assert_int_equal(skep_p2p_serve(server, "ConnectionHandler.rpc_info", on_info, &info), 0);
    assert_int_equal(skep_p2p_serve(server, "ConnectionHandler.rpc_forward", on_forward, NULL), 0);
    assert_int_equal(skep_p2p_serve(server, "ConnectionHandler.rpc_backward", on_backward, NULL),
                     0);
    assert_int_equal(skep_moe_declare(&op, server, uids, 2, NULL, NULL, NULL), 0);
    finish_ok(op);
    skep_op_free(op);
    write_npy("x.npy", 2, 4, "<f4", numbers, sizeof numbers);
    write_npy("wide.npy", 1, 8, "<f4", numbers, sizeof numbers);
    write_npy("text.npy", 2, 4, "<U4", numbers, sizeof numbers);
    return 0;
}

static int teardown(void **state)
{
    char line[64];

    (void)state;
    skep_node_free(server);
    free(address);
    snprintf(line, sizeof line, "rm -r %s", folder);
    return system(line) == 0 ? 0 : -1;
}

/* ---- tests ---- */

static void an_expert_is_looked_up_and_run(void **state)
{
    char line[LINE_MAX_LEN];
    const json_t *output;

    (void)state;
    snprintf(line, sizeof line, "ffn.0.0 --input x.npy --json --join %s", address);
    expect(run(line), 0);
    assert_string_equal(test_str(document(), "uid"), "ffn.0.0");
    assert_string_equal(test_str(document(), "peer_id"), id);
    output = json_array_get(test_get(document(), "outputs"), 0);
    assert_string_equal(test_str(output, "dtype"), "float32");
    assert_int_equal(json_integer_value(json_array_get(test_get(output, "shape"), 1)), 4);
    assert_int_equal(json_array_size(test_get(output, "data")), 8);
    assert_true(json_real_value(json_array_get(test_get(output, "data"), 3)) == 0.25);
    assert_true(json_real_value(test_get(document(), "elapsed_ms")) > 0);
    snprintf(line, sizeof line, "ffn.0.0 --input x.npy --join %s --peer %s", address, id);
    expect(run(line), 0);
    assert_non_null(strstr(out, "output 0: float32 (2, 4)"));
    assert_non_null(strstr(out, " 0.25"));
}

static void an_output_is_written_as_it_was_read(void **state)
{
    char x[OUTPUT_LEN], y[OUTPUT_LEN];

    (void)state;
    expect(run_at("ffn.0.0 --input x.npy --output y.npy"), 0);
    read_file(x, "x.npy");
    read_file(y, "y.npy");
    assert_memory_equal(x + 128, y + 128, sizeof numbers);
    assert_null(strstr(out, "output 0"));
    expect(run_at("ffn.0.0 --input - --output - < x.npy"), 0);
    assert_memory_equal(out + 128, numbers, sizeof numbers);
    /* Several get numbers. What an expert takes is not asked where --compression says how to send. */
    expect(run_at("ffn.0.0 --input x.npy --input wide.npy --compression NONE --output z.npy"), 0);
    read_file(y, "z.0.npy");
    assert_memory_equal(y + 128, numbers, sizeof numbers);
    read_file(y, "z.1.npy");
    assert_non_null(strstr(y + 10, "(1, 8)"));
}

static void backward_gives_gradients_of_the_inputs(void **state)
{
    (void)state;
    expect(run_at("ffn.0.0 --input x.npy --backward x.npy --json"), 0);
    assert_int_equal(json_array_size(test_get(document(), "gradients")), 1);
    expect(run_at("ffn.0.0 --input x.npy --backward x.npy"), 0);
    assert_non_null(strstr(out, "gradient of input 0: float32 (2, 4)"));
    expect_error(run_at("ffn.0.0 --input x.npy --backward wide.npy"), 2, "gradient 0");
}

static void info_shows_what_an_expert_takes_and_gives(void **state)
{
    const json_t *input;

    (void)state;
    expect(run_at("ffn.0.0 --info"), 0);
    assert_non_null(strstr(out, "input 0: float32 (batch, 4), compression NONE"));
    assert_non_null(strstr(out, "output 0: float32 (batch, 4)"));
    expect(run_at("ffn.0.0 --info --json"), 0);
    input = json_array_get(test_get(document(), "inputs"), 0);
    assert_true(json_is_null(json_array_get(test_get(input, "shape"), 0)));
    assert_string_equal(test_str(input, "compression"), "NONE");
    assert_true(json_is_null(test_get(input, "name")));
}

static void numbers_of_every_type_are_shown(void **state)
{
    const uint16_t halves[] = {0x3800, 0xbc00, 0x7c00, 0x0001}; /* 0.5, -1, infinity, 2^-24 */
    const int64_t integers[] = {-3, INT64_MAX};
    const json_t *data;

    (void)state;
    write_npy("half.npy", 1, 4, "<f2", halves, sizeof halves);
    write_npy("integers.npy", 1, 2, "<i8", integers, sizeof integers);
    expect(run_at("ffn.0.0 --input half.npy --input integers.npy -c NONE --json"), 0);
    data = test_get(json_array_get(test_get(document(), "outputs"), 0), "data");
    assert_true(json_real_value(json_array_get(data, 0)) == 0.5);
    assert_true(json_real_value(json_array_get(data, 1)) == -1);
    assert_string_equal(test_str(json_array_get(data, 2), "$float"), "inf");
    assert_true(json_real_value(json_array_get(data, 3)) == 0x1p-24);
    data = test_get(json_array_get(test_get(document(), "outputs"), 1), "data");
    assert_int_equal(json_integer_value(json_array_get(data, 0)), -3);
    assert_true(json_integer_value(json_array_get(data, 1)) == INT64_MAX);
    expect(run_at("ffn.0.0 --input half.npy --input integers.npy -c NONE"), 0);
    assert_non_null(strstr(out, "inf"));
    assert_non_null(strstr(out, "9223372036854775807"));
}

static void repeat_shows_the_spread_of_the_times(void **state)
{
    (void)state;
    expect(run_at("ffn.0.0 --input x.npy --repeat 20 --json"), 0);
    assert_int_equal(json_integer_value(test_get(test_get(document(), "latency_ms"), "count")), 20);
    expect(run_at("ffn.0.0 --input x.npy --repeat 3"), 0);
    assert_non_null(strstr(out, "3 calls: "));
}

static void what_cannot_be_is_named_with_its_exit_code(void **state)
{
    char line[LINE_MAX_LEN];

    (void)state;
    expect_error(run_at("ffn. --input x.npy"), 2, "ffn.");
    expect_error(run_at("ffn.0.0"), 2, "--input x.npy");
    expect_error(run_at("ffn.0.0 --info --input x.npy"), 2, "--info");
    expect_error(run_at("ffn.0.0 --input x.npy --compression ZIP"), 2, "'ZIP' is none: NONE");
    expect_error(run_at("ffn.0.0 --input x.npy --repeat 0"), 2, "--repeat");
    expect_error(run_at("ffn.0.0 --input none.npy"), 2, "none.npy: No such file");
    expect_error(run_at("ffn.0.0 --input text.npy"), 2, "text.npy: its dtype '<U4'");
    expect_error(run_at("ffn.0.0 --input wide.npy"), 2,
                 "ffn.0.0: input 0 has the shape (1, 8) and has to be");
    expect_error(run_at("ffn.0.0 --input x.npy --input x.npy"), 2, "2 inputs");
    expect_error(run_at("ffn.9.9 --input x.npy"), 1, "ffn.9.9: KeyError('ffn.9.9')");
    expect_error(run("ffn.0.0 --input x.npy"), 2, "--join");
    expect_error(run("ffn.0.0 --input x.npy --peer 12D3"), 2, "neither a peer id nor");
    expect_error(run("ffn.0.0 --input x.npy --peer /ip4/127.0.0.1/tcp/1"), 1, "refused");
    snprintf(line, sizeof line, "ffn.5.5 --input x.npy --join %s", address);
    expect_error(run(line), 1, "ffn.5.5: nobody serves it");
    expect_error(run_at("ffn.0.0 --input x.npy --repeat 1000000 --timeout 200ms"), 124,
                 "--timeout");
    expect(run_at("ffn.0.0 --input x.npy --output /none/y.npy"), 1);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_expert_is_looked_up_and_run),
        cmocka_unit_test(an_output_is_written_as_it_was_read),
        cmocka_unit_test(backward_gives_gradients_of_the_inputs),
        cmocka_unit_test(info_shows_what_an_expert_takes_and_gives),
        cmocka_unit_test(numbers_of_every_type_are_shown),
        cmocka_unit_test(repeat_shows_the_spread_of_the_times),
        cmocka_unit_test(what_cannot_be_is_named_with_its_exit_code),
    };

    skep = argc > 1 ? argv[1] : "build/asan/skep";
    return cmocka_run_group_tests(tests, setup, teardown);
}
