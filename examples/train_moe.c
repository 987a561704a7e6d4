/* SPDX-License-Identifier: MIT */
/* Training a mixture of experts end to end: a gate and a head here, the experts on servers, found by the search and trained by their own optimizers.
 *
 *     example_train_moe [--steps 300] [--seed 1] [--servers 3] [--kill 0]
 *
 * The data are two spirals, wound one into the other: point i of a spiral lies at radius r = 0.2 to 1 and angle 3 pi r, noise 0.02; a fixed random layer of
 * cosines lifts the plane to HIDDEN features. The model: y = mixture(x), the two best of 16 ffn experts in a 4 x 4 grid; p = sigmoid(w y + b). The servers run
 * in this process, each a peer of its own on loopback. --kill N takes away so many of them half-way: the search passes over what is gone. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <skep/dht.h>
#include <skep/mixture.h>
#include <skep/p2p.h>
#include <skep/server.h>

enum { HIDDEN = 32, SIDE = 4, EXPERTS = SIDE * SIDE, BATCH = 128, SERVERS_MAX = EXPERTS };

static uint64_t random_state;

/* splitmix64: uniform in [0, 1). */
static double draw(void)
{
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "train_moe: %s: %s\n", what, why);
    exit(1);
}

static void finish(const char *what, int rc, skep_op *op)
{
    if (rc < 0)
        fail(what, skep_last_error_text());
    if (skep_op_wait(op) < 0)
        fail(what, *skep_op_text(op) ? skep_op_text(op) : skep_strerror(skep_op_poll(op)));
}

static skep_node *join(const char *initial_peer, bool client)
{
    const char *listen = "/ip4/127.0.0.1/tcp/0";
    skep_node_options options;
    skep_node *node;
    skep_op *op;
    int rc;

    skep_node_options_init(&options);
    options.listen = &listen;
    options.listen_count = !client;
    options.client_mode = client;
    options.initial_peers = &initial_peer;
    options.initial_peer_count = initial_peer != NULL;
    if (skep_node_new(&node, &options) < 0)
        fail("node", skep_last_error_text());
    rc = skep_dht_join(&op, node, NULL, NULL); /* first, as it sets op */
    finish("join", rc, op);
    skep_op_free(op);
    return node;
}

/* ---- servers: each hosts its share of the grid ---- */

struct host {
    skep_node *node;
    skep_server *server;
};

static void serve(struct host *host, size_t index, size_t count, const char *initial_peer,
                  uint64_t seed)
{
    static char texts[EXPERTS][16];
    const char *uids[EXPERTS];
    skep_server_options options;
    skep_op *op;
    int rc;

    skep_server_options_init(&options);
    options.uids = uids;
    for (size_t i = index; i < EXPERTS; i += count) {
        snprintf(texts[i], sizeof texts[i], "ffn.%zu.%zu", i / SIDE, i % SIDE);
        uids[options.uid_count++] = texts[i];
    }
    options.hidden = HIDDEN;
    options.seed = seed * 1000 + index + 1;
    options.threads = 1;
    host->node = join(initial_peer, false);
    rc = skep_server_start(&op, &host->server, host->node, &options, NULL, NULL);
    finish("server", rc, op);
    skep_op_free(op);
}

static void take_away(struct host *host)
{
    skep_server_free(host->server);
    skep_node_free(host->node);
    *host = (struct host){NULL, NULL};
}

/* ---- the data ---- */

static float lift[HIDDEN][3];

static void make_batch(float *x, float *label)
{
    for (size_t i = 0; i < BATCH; i++) {
        double r = 0.2 + 0.8 * draw(), side = draw() < 0.5 ? 0 : 1;
        double angle = 3 * 3.14159265358979 * r + side * 3.14159265358979;
        double px = r * cos(angle) + 0.04 * (draw() - 0.5),
               py = r * sin(angle) + 0.04 * (draw() - 0.5);

        label[i] = (float)side;
        for (size_t j = 0; j < HIDDEN; j++)
            x[i * HIDDEN + j] =
                (float)cos((double)lift[j][0] * px + (double)lift[j][1] * py + (double)lift[j][2]);
    }
}

/* ---- what is trained here: Adam over the gate and the head ---- */

struct parameter {
    float *at, *m, *v;
    size_t count;
};

static struct parameter parameter_of(float *at, size_t count)
{
    return (struct parameter){at, calloc(count, sizeof(float)), calloc(count, sizeof(float)),
                              count};
}

static void adam(struct parameter *p, const float *gradient, size_t step)
{
    double rate = 3e-3 * sqrt(1 - pow(0.999, (double)step)) / (1 - pow(0.9, (double)step));

    for (size_t i = 0; i < p->count; i++) {
        p->m[i] = 0.9f * p->m[i] + 0.1f * gradient[i];
        p->v[i] = 0.999f * p->v[i] + 0.001f * gradient[i] * gradient[i];
        p->at[i] -= (float)(rate * (double)p->m[i] / (sqrt((double)p->v[i]) + 1e-8));
    }
}

/* @return the mean cross-entropy; its gradients by the head (w, then b) and by y. */
static double loss_of(const float *y, const float *label, const float *head, float *grad_head,
                      float *grad_y)
{
    double loss = 0;

    memset(grad_head, 0, (HIDDEN + 1) * sizeof *grad_head);
    for (size_t i = 0; i < BATCH; i++) {
        const float *row = y + i * HIDDEN;
        double logit = (double)head[HIDDEN], p;
        float g;

        for (size_t j = 0; j < HIDDEN; j++)
            logit += (double)(head[j] * row[j]);
        p = 1 / (1 + exp(-logit));
        loss -= log(fmax(label[i] > 0 ? p : 1 - p, 1e-12)) / BATCH;
        g = (float)((p - (double)label[i]) / BATCH);
        for (size_t j = 0; j < HIDDEN; j++) {
            grad_head[j] += g * row[j];
            grad_y[i * HIDDEN + j] = g * head[j];
        }
        grad_head[HIDDEN] += g;
    }
    return loss;
}

static double train_step(skep_mixture *mixture, struct parameter *gate, struct parameter *head,
                         size_t step)
{
    static float x[BATCH * HIDDEN], grad_y[BATCH * HIDDEN], label[BATCH], grad_head[HIDDEN + 1];
    skep_tensor input = {.dtype = SKEP_FLOAT32, .axes = 2, .shape = {BATCH, HIDDEN}, .data = x};
    skep_tensor gradient = input;
    const skep_mixture_gradients *gradients;
    const skep_tensor *y;
    skep_op *forward, *backward;
    double loss;
    int rc;

    make_batch(x, label);
    rc = skep_mixture_forward(&forward, mixture, &input, 1, NULL, NULL);
    finish("forward", rc, forward);
    y = skep_mixture_forward_result(forward, NULL);
    loss = loss_of(y->data, label, head->at, grad_head, grad_y);
    gradient.data = grad_y;
    rc = skep_mixture_backward(&backward, forward, &gradient, 1, 0, NULL, NULL);
    finish("backward", rc, backward); /* and the experts have taken a step */
    gradients = skep_mixture_backward_result(backward);
    adam(&gate[0], gradients->gate_weight, step);
    adam(&gate[1], gradients->gate_bias, step);
    adam(head, grad_head, step);
    skep_op_free(backward);
    skep_op_free(forward);
    return loss;
}

static size_t option(int argc, char **argv, const char *name, size_t otherwise, size_t most)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0) {
            char *end;
            unsigned long long value = strtoull(argv[i + 1], &end, 10);

            if (*end || end == argv[i + 1] || value > most)
                fail(name, argv[i + 1]);
            return (size_t)value;
        }
    return otherwise;
}

int main(int argc, char **argv)
{
    static const size_t grid[] = {SIDE, SIDE};
    size_t steps = option(argc, argv, "--steps", 300, 1000000);
    size_t seed = option(argc, argv, "--seed", 1, 1000000);
    size_t servers = option(argc, argv, "--servers", 3, SERVERS_MAX);
    size_t kill = option(argc, argv, "--kill", 0, servers - 1);
    struct host hosts[SERVERS_MAX] = {{NULL, NULL}};
    struct parameter gate[2], head;
    float head_at[HIDDEN + 1];
    skep_mixture_options options;
    skep_mixture *mixture;
    double sum = 0;
    char **addresses = NULL;
    skep_node *trainer;

    random_state = 7; /* the data's layer is the same for every seed */
    for (size_t j = 0; j < HIDDEN; j++)
        for (size_t k = 0; k < 3; k++)
            lift[j][k] = (float)((draw() - 0.5) * (k < 2 ? 12 : 6.28));
    random_state = seed;
    for (size_t j = 0; j <= HIDDEN; j++)
        head_at[j] = (float)((2 * draw() - 1) / sqrt(HIDDEN));
    for (size_t i = 0; i < servers; i++) {
        serve(&hosts[i], i, servers, addresses ? addresses[0] : NULL, seed);
        if (i == 0 && !(addresses = skep_p2p_addresses(hosts[0].node, NULL)))
            fail("addresses", "out of memory");
    }
    trainer = join(addresses[0], true);
    skep_mixture_options_init(&options, SKEP_MIXTURE_SOFTMAX);
    options.prefix = "ffn.";
    options.grid_size = grid;
    options.dimensions = 2;
    options.in_features = HIDDEN;
    options.k_best = 2;
    options.seed = seed;
    options.forward_timeout_us = options.backward_timeout_us = 5000000;
    options.timeout_after_k_min_us = 500000;
    if (skep_mixture_new(&mixture, trainer, &options) < 0)
        fail("mixture", skep_last_error_text());
    gate[0] = parameter_of(skep_mixture_gate_weight(mixture),
                           skep_mixture_gate_outputs(mixture) * HIDDEN);
    gate[1] = parameter_of(skep_mixture_gate_bias(mixture), skep_mixture_gate_outputs(mixture));
    head = parameter_of(head_at, HIDDEN + 1);
    printf("two spirals, %d experts on %zu servers, %d samples a step\n", EXPERTS, servers, BATCH);
    for (size_t step = 1; step <= steps; step++) {
        size_t every = steps >= 10 ? steps / 10 : 1;

        if (kill > 0 && step == steps / 2 + 1) {
            for (size_t i = 0; i < kill; i++)
                take_away(&hosts[servers - 1 - i]);
            printf("%zu of %zu servers are gone\n", kill, servers);
        }
        sum += train_step(mixture, gate, &head, step);
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "\rstep %zu of %zu\r", step, steps);
        if (step % every == 0) {
            printf("step %5zu  loss %.4f\n", step, sum / (double)every);
            fflush(stdout);
            sum = 0;
        }
    }
    for (size_t i = 0; i < 2; i++) {
        free(gate[i].m);
        free(gate[i].v);
    }
    free(head.m);
    free(head.v);
    skep_mixture_free(mixture);
    skep_node_free(trainer);
    for (size_t i = 0; i < servers; i++)
        if (hosts[i].node)
            take_away(&hosts[i]);
    skep_free(addresses);
    return 0;
}
