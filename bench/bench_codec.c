/* SPDX-License-Identifier: MIT */
/* How fast tensors become bytes and bytes become tensors: each compression over 8 MiB of float32, and the check that all are finite.
 *
 *   bench_codec [MiB]
 *
 * The rate is that of the numbers in memory (the float32 side), the best of several runs; memcpy stands beside it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/prng.h"
#include "moe/codec.h"

enum { RUNS = 7 };

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *allocate(size_t len)
{
    void *p = malloc(len);

    if (!p)
        exit(1);
    memset(p, 0, len);
    return p;
}

static float *normal_numbers(size_t n)
{
    float *numbers = allocate(n * sizeof *numbers);
    struct skep_prng prng;

    skep_prng_init(&prng, 1);
    for (size_t i = 0; i < n; i++)
        numbers[i] = (float)(sqrt(-2 * log(1 - skep_prng_unit(&prng))) *
                             cos(6.283185307179586 * skep_prng_unit(&prng)));
    return numbers;
}

struct job {
    skep_tensor tensor;
    skep_compression compression;
    uint8_t *packed;
    size_t packed_len;
    void *out;
};

typedef void work(struct job *job);

static void copy(struct job *job)
{
    memcpy(job->out, job->tensor.data, skep_tensor_bytes(&job->tensor));
}

static void encode(struct job *job)
{
    if (skep_codec_encode(job->compression, &job->tensor, job->packed, &skep_mem_std) < 0)
        exit(1);
}

static void decode(struct job *job)
{
    const char *why;

    if (skep_codec_decode(job->compression, skep_bytes_of(job->packed, job->packed_len),
                          &job->tensor, job->out, &why) < 0)
        exit(1);
}

static void check(struct job *job)
{
    if (!skep_tensor_finite(&job->tensor))
        exit(1);
}

/* GB of float32 a second. */
static double rate(work *what, struct job *job)
{
    double best = 1e9, bytes = 4 * (double)skep_tensor_elements(&job->tensor);

    for (int i = 0; i < RUNS; i++) {
        double start = now_s();

        what(job);
        best = SKEP_MIN(best, now_s() - start);
    }
    return bytes / best / 1e9;
}

static void run(skep_compression compression, const skep_tensor *tensor)
{
    struct job job = {.tensor = *tensor,
                      .compression = compression,
                      .packed_len = skep_codec_encoded_len(compression, tensor)};
    double encoded, decoded;

    job.packed = allocate(job.packed_len);
    job.out = allocate(skep_tensor_bytes(tensor));
    encoded = rate(encode, &job);
    decoded = rate(decode, &job);
    printf("%-16s %-9s %8.2f %8.2f\n", skep_compression_name(compression),
           skep_dtype_name(tensor->dtype), encoded, decoded);
    free(job.packed);
    free(job.out);
}

int main(int argc, char **argv)
{
    size_t mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 8, rows = SKEP_MAX(mib, (size_t)1) * 256;
    float *numbers = normal_numbers(rows * 1024);
    uint16_t *bfloats = allocate(rows * 1024 * sizeof *bfloats);
    const skep_tensor floats = {.axes = 2, .shape = {rows, 1024}, .data = numbers};
    const skep_tensor halves = {
        .dtype = SKEP_BFLOAT16, .axes = 2, .shape = {rows, 1024}, .data = bfloats};
    struct job job = {.tensor = floats, .out = allocate(rows * 4096)};

    skep_numbers_from_float(SKEP_BFLOAT16, bfloats, numbers, rows * 1024);
    printf("%zu MiB of float32, GB/s: encode, decode\n", rows / 256);
    printf("%-26s %8.2f\n", "memcpy", rate(copy, &job));
    printf("%-26s %8.2f\n", "all finite?", rate(check, &job));
    run(SKEP_COMPRESSION_NONE, &floats);
    run(SKEP_COMPRESSION_NONE, &halves);
    for (unsigned c = 1; c < SKEP_COMPRESSIONS; c++)
        run((skep_compression)c, &floats);
    free(job.out);
    free(bfloats);
    free(numbers);
    return 0;
}
