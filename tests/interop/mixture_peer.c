/* SPDX-License-Identifier: MIT */
/* skep's mixture for the tests against hivemind: one forward and one backward, through the public API alone.
 *
 *   mixture_peer FOLDER softmax|switch PREFIX AxB HIDDEN BATCH K MADDR…
 *
 * Reads x, grad, weight, bias from FOLDER/NAME.f32 (float32, row-major); writes y, x_grad, weight_grad, bias_grad. Prints one line of JSON. Failover,
 * jitter and the grid's dropout are off, so that hivemind's results are to be the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <skep/dht.h>
#include <skep/mixture.h>

enum { PATH_LEN = 4096 };

static const char *folder;

static void die(const char *what, int rc, const char *text)
{
    fprintf(stderr, "mixture_peer: %s: %s (%s)\n", what, skep_strerror(rc), text);
    exit(1);
}

static void check(const char *what, int rc)
{
    if (rc < 0)
        die(what, rc, skep_last_error_text());
}

static skep_op *ended(const char *what, skep_op *op)
{
    int rc = skep_op_wait(op);

    if (rc < 0)
        die(what, rc, skep_op_text(op));
    return op;
}

static FILE *open_file(const char *name, const char *mode)
{
    char path[PATH_LEN];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s.f32", folder, name);
    file = fopen(path, mode);
    if (!file)
        die(path, SKEP_EIO, "");
    return file;
}

static void read_numbers(const char *name, float *out, size_t count)
{
    FILE *file = open_file(name, "rb");

    if (fread(out, sizeof *out, count, file) != count)
        die(name, SKEP_EIO, "too short");
    fclose(file);
}

static float *new_numbers(const char *name, size_t count)
{
    float *out = calloc(count, sizeof *out);

    if (!out)
        die(name, SKEP_ENOMEM, "");
    read_numbers(name, out, count);
    return out;
}

static void write_numbers(const char *name, const void *data, size_t count)
{
    FILE *file = open_file(name, "wb");

    if (fwrite(data, sizeof(float), count, file) != count || fclose(file) != 0)
        die(name, SKEP_EIO, "");
}

static skep_node *join(char **maddrs, size_t count)
{
    skep_node_options options;
    skep_node *node;
    skep_op *op;

    skep_node_options_init(&options);
    options.initial_peers = (const char *const *)maddrs;
    options.initial_peer_count = count;
    options.client_mode = true;
    check("node", skep_node_new(&node, &options));
    check("join", skep_dht_join(&op, node, NULL, NULL));
    skep_op_free(ended("join", op));
    return node;
}

static skep_mixture *new_mixture(skep_node *node, char **argv, const size_t *grid, size_t hidden)
{
    bool is_switch = strcmp(argv[2], "switch") == 0;
    skep_mixture_options options;
    skep_mixture *mixture;

    skep_mixture_options_init(&options, is_switch ? SKEP_MIXTURE_SWITCH : SKEP_MIXTURE_SOFTMAX);
    options.prefix = argv[3];
    options.grid_size = grid;
    options.dimensions = 2;
    options.in_features = hidden;
    options.k_best = strtoull(argv[7], NULL, 10);
    options.jitter_eps = 0;
    options.failover = false;
    check("mixture", skep_mixture_new(&mixture, node, &options));
    read_numbers("weight", skep_mixture_gate_weight(mixture), (grid[0] + grid[1]) * hidden);
    read_numbers("bias", skep_mixture_gate_bias(mixture), grid[0] + grid[1]);
    return mixture;
}

static void print_report(const skep_mixture_report *forward, const skep_mixture_report *backward)
{
    printf(
        "{\"forward_calls\": %zu, \"backward_calls\": %zu, \"failed\": %zu, \"balancing_loss\": %.9g}\n",
        forward->calls, backward->calls, forward->failed + backward->failed,
        forward->balancing_loss);
}

static void forward_backward(skep_mixture *mixture, size_t batch, size_t hidden, size_t outputs)
{
    float *x = new_numbers("x", batch * hidden), *grad = new_numbers("grad", batch * hidden);
    skep_tensor input = {.dtype = SKEP_FLOAT32, .axes = 2, .shape = {batch, hidden}, .data = x};
    skep_tensor grad_output = input;
    const skep_mixture_gradients *gradients;
    skep_op *forward, *backward;
    size_t count;

    grad_output.data = grad;
    check("forward", skep_mixture_forward(&forward, mixture, &input, 1, NULL, NULL));
    ended("forward", forward);
    write_numbers("y", skep_mixture_forward_result(forward, &count)->data, batch * hidden);
    check("backward", skep_mixture_backward(&backward, forward, &grad_output, 1, 0, NULL, NULL));
    ended("backward", backward);
    gradients = skep_mixture_backward_result(backward);
    write_numbers("x_grad", gradients->inputs[0].data, batch * hidden);
    write_numbers("weight_grad", gradients->gate_weight, outputs * hidden);
    write_numbers("bias_grad", gradients->gate_bias, outputs);
    print_report(skep_mixture_get_report(forward), skep_mixture_get_report(backward));
    skep_op_free(backward);
    skep_op_free(forward);
    free(grad);
    free(x);
}

int main(int argc, char **argv)
{
    size_t grid[2], hidden, batch;
    skep_mixture *mixture;
    skep_node *node;
    char *side;

    if (argc < 9) {
        fprintf(stderr,
                "usage: mixture_peer FOLDER softmax|switch PREFIX AxB HIDDEN BATCH K MADDR…\n");
        return 2;
    }
    folder = argv[1];
    grid[0] = strtoull(argv[4], &side, 10);
    grid[1] = strtoull(*side ? side + 1 : side, NULL, 10);
    hidden = strtoull(argv[5], NULL, 10);
    batch = strtoull(argv[6], NULL, 10);
    node = join(argv + 8, (size_t)argc - 8);
    mixture = new_mixture(node, argv, grid, hidden);
    forward_backward(mixture, batch, hidden, grid[0] + grid[1]);
    skep_mixture_free(mixture);
    return skep_node_free(node) < 0;
}
