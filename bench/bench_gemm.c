/* SPDX-License-Identifier: MIT */
/* Products of a linear layer, forward ('N','T'), its input's gradient ('N','N') and its weights' ('T','N'), by libskep_gemm on one thread.
 *
 *   bench_gemm [IN OUT [BATCH…]]: the fastest of some runs in ms, and GFLOP/s */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/error.h"
#include "gemm/gemm.h"

enum { RUNS_MIN = 4, RUNS_MAX = 300, SPEND_MS = 150 };

struct product {
    char op_a, op_b;
    size_t m, n, k;
};

static float *a, *b, *c;

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double fastest_ms(struct product p)
{
    double start = now_ms(), best = 1e18;

    for (int i = 0; i < RUNS_MAX && (i < RUNS_MIN || now_ms() - start < SPEND_MS); i++) {
        double begin = now_ms(), took;

        skep_gemm_sgemm(p.op_a, p.op_b, p.m, p.n, p.k, 1, a, p.op_a == 'N' ? p.k : p.m, b,
                        p.op_b == 'N' ? p.n : p.k, 0, c, p.n);
        took = now_ms() - begin;
        best = took < best ? took : best;
    }
    return best;
}

static void bench(size_t in, size_t out, size_t batch)
{
    const struct product products[] = {
        {'N', 'T', batch, out, in}, {'N', 'N', batch, in, out}, {'T', 'N', out, in, batch}};

    printf("%5zu x %5zu batch %5zu:", in, out, batch);
    for (size_t i = 0; i < SKEP_COUNT_OF(products); i++) {
        double ms = fastest_ms(products[i]);

        printf("  %c%c %8.3f ms %4.0f GFLOP/s", products[i].op_a, products[i].op_b, ms,
               2 * (double)batch * (double)in * (double)out / ms / 1e6);
    }
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const size_t batches[] = {1, 2, 4, 5, 8, 16, 17, 32, 48, 64, 96, 128, 256, 2048};
    size_t in = argc > 2 ? strtoul(argv[1], NULL, 10) : 1024;
    size_t out = argc > 2 ? strtoul(argv[2], NULL, 10) : 4096;
    size_t most = 2048 * SKEP_MAX(in, out) + in * out;

    a = calloc(most, sizeof *a);
    b = calloc(most, sizeof *b);
    c = calloc(most, sizeof *c);
    if (!a || !b || !c || in == 0 || out == 0)
        return 1;
    for (size_t i = 0; i < most; i++)
        a[i] = b[i] = (float)(i % 13) * 0.1f;
    skep_gemm_set_threads(1);
    printf("%s\n", skep_gemm_name());
    for (int i = 3; i < argc; i++)
        bench(in, out, SKEP_MIN(strtoul(argv[i], NULL, 10), 2048ul));
    for (size_t i = 0; argc <= 3 && i < SKEP_COUNT_OF(batches); i++)
        bench(in, out, batches[i]);
    free(a);
    free(b);
    free(c);
    return 0;
}
