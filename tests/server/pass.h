/* SPDX-License-Identifier: MIT */
/* Running a class of experts without a backend: numbers drawn as tests/vectors/generate_experts.py draws them, gradients kept as they are handed out. */
#ifndef SKEP_TEST_SERVER_PASS_H
#define SKEP_TEST_SERVER_PASS_H

#include "server/backend.h"
#include "support/test.h"

/** [-bound, bound), count of them; freed by the caller with free(). */
float *test_draw(uint32_t seed, size_t count, float bound);

/** max |a - b| <= tolerance * max |b|, all finite; `what` is said where that fails. */
void test_close(const float *a, const float *b, size_t count, double tolerance, const char *what);

/** The numbers of a vector's hex text; freed by the caller with free(). */
float *test_floats(const char *hex, size_t *count);

/** The products of this machine: libskep_gemm's where there is one. */
skep_sgemm_fn *test_sgemm(void);

struct test_pass {
    skep_pass pass;
    struct skep_class class;
    float *parameters[SKEP_CLASS_PARAMETERS_MAX];
    float *gradients[SKEP_CLASS_PARAMETERS_MAX]; /* NaN where nothing was handed out */
    size_t counts[SKEP_CLASS_PARAMETERS_MAX];
    size_t handed_out; /* numbers */
    void *blocks[256];
    size_t block_count;
    size_t allocations_left; /* alloc() fails after so many */
};

/** The class by name, its parameters drawn from seed, seed + 1 … in [-0.3, 0.3), those of one axis moved up by 0.5. */
void test_pass_init(struct test_pass *test, const char *name, size_t hidden, const char *options,
                    uint32_t seed);
void test_pass_fini(struct test_pass *test);

int test_pass_forward(struct test_pass *test, size_t rows, const skep_tensor *inputs,
                      void *const *outputs);
int test_pass_backward(struct test_pass *test, size_t rows, const skep_tensor *inputs,
                       const skep_tensor *grads, void *const *grad_inputs);

#endif
