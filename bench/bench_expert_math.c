/* SPDX-License-Identifier: MIT */
/* What an expert of the class ffn computes, without any network: forward and backward with Adam on this thread.
 *
 *   bench_expert_math [--hidden 1024] [--portable] [--sgd] [BATCH…]: the fastest of some runs in ms */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/backend.h"
#if defined SKEP_HAVE_GEMM
#include "gemm/gemm.h"
#endif

enum { RUNS_MIN = 5, RUNS_MAX = 400, SPEND_MS = 700 };

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static float *numbers(struct skep_prng *prng, size_t count)
{
    float *out = malloc(count * sizeof *out);

    for (size_t i = 0; out && i < count; i++)
        out[i] = (float)(2 * skep_prng_unit(prng) - 1);
    return out;
}

struct bench {
    struct skep_backend *backend;
    size_t rows;
    skep_tensor x, grad;
    void *out;
};

static int run(struct bench *b, bool backward)
{
    return backward ? skep_backend_backward(b->backend, b->rows, 1, &b->x, &b->grad, &b->out)
                    : skep_backend_forward(b->backend, b->rows, 1, &b->x, &b->out);
}

static double fastest_ms(struct bench *b, bool backward)
{
    double start = now_ms(), best = 1e18;

    for (int i = 0; i < RUNS_MAX && (i < RUNS_MIN || now_ms() - start < SPEND_MS); i++) {
        double begin = now_ms(), took;

        if (run(b, backward) != 0)
            return -1;
        took = now_ms() - begin;
        best = took < best ? took : best;
    }
    return best;
}

static void bench_batch(struct skep_backend *backend, struct skep_prng *prng, size_t rows, size_t h)
{
    float *x = numbers(prng, rows * h), *grad = numbers(prng, rows * h);
    float *out = numbers(prng, rows * h);
    struct bench b = {backend, rows, {SKEP_FLOAT32, false, 2, {rows, h}, x}, {0}, out};

    b.grad = b.x;
    b.grad.data = grad;
    if (x && grad && out) {
        double forward = fastest_ms(&b, false), backward = fastest_ms(&b, true);

        printf("ffn hidden %zu batch %5zu: forward %8.3f ms, backward %8.3f ms\n", h, rows, forward,
               backward);
    }
    free(x);
    free(grad);
    free(out);
}

int main(int argc, char **argv)
{
    struct skep_training training = {.optimizer = SKEP_OPTIMIZER_ADAM, .learning_rate = 1e-3};
    skep_sgemm_fn *sgemm = skep_sgemm_portable;
    size_t batches[16] = {1, 64, 2048}, count = 0, hidden = 1024;
    struct skep_class class;
    struct skep_backend backend;
    struct skep_prng prng;
    char why[128];

#if defined SKEP_HAVE_GEMM
    skep_gemm_set_threads(1);
    sgemm = skep_gemm_sgemm;
#endif
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--hidden") == 0 && i + 1 < argc)
            hidden = strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--portable") == 0)
            sgemm = skep_sgemm_portable;
        else if (strcmp(argv[i], "--sgd") == 0)
            training.optimizer = SKEP_OPTIMIZER_SGD;
        else if (strcmp(argv[i], "--none") == 0)
            training.optimizer = SKEP_OPTIMIZER_NONE;
        else if (count < SKEP_COUNT_OF(batches))
            batches[count++] = strtoul(argv[i], NULL, 10);
    skep_prng_init(&prng, 1);
    if (skep_class_open(&class, skep_expert_class_find("ffn"), hidden, NULL, why, sizeof why) < 0) {
        fprintf(stderr, "bench_expert_math: %s\n", why);
        return 2;
    }
    if (skep_backend_init(&backend, &skep_mem_std, &class, &training, sgemm, &prng) == 0) {
        for (size_t i = 0; i < (count > 0 ? count : 3); i++)
            bench_batch(&backend, &prng, batches[i], hidden);
        skep_backend_fini(&backend);
    }
    skep_class_close(&class);
    return 0;
}
