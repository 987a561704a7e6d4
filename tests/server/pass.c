/* SPDX-License-Identifier: MIT */
#include "server/pass.h"

#include <math.h>

#if defined SKEP_HAVE_GEMM
#include "gemm/gemm.h"
#endif

static float draw_one(uint32_t seed, size_t index, float bound)
{
    uint32_t x = (uint32_t)index + seed * 0x9e3779b9u;

    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    x ^= x >> 16;
    return ((float)(x >> 8) * 0x1p-24f * 2 - 1) * bound;
}

float *test_draw(uint32_t seed, size_t count, float bound)
{
    float *out = malloc((count > 0 ? count : 1) * sizeof *out);

    assert_non_null(out);
    for (size_t i = 0; i < count; i++)
        out[i] = draw_one(seed, i, bound);
    return out;
}

void test_close(const float *a, const float *b, size_t count, double tolerance, const char *what)
{
    double most = 0, off = 0;
    size_t where = 0;

    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)a[i] - (double)b[i]);

        most = fmax(most, fabs((double)b[i]));
        if (!(difference <= off)) { /* NaN too */
            off = difference;
            where = i;
        }
        if (!isfinite(a[i]))
            fail_msg("%s: number %zu is %g", what, i, (double)a[i]);
    }
    if (off > tolerance * most)
        fail_msg("%s: number %zu is %.9g, not %.9g: off by %.2g of the largest", what, where,
                 (double)a[where], (double)b[where], off / most);
}

float *test_floats(const char *hex, size_t *count)
{
    skep_bytes bytes = test_unhex(hex);
    float *copy = malloc(bytes.len > 0 ? bytes.len : 1);

    assert_non_null(copy);
    assert_int_equal(bytes.len % sizeof(float), 0);
    skep_bytes_copy(copy, bytes);
    *count = bytes.len / sizeof(float);
    return copy;
}

skep_sgemm_fn *test_sgemm(void)
{
#if defined SKEP_HAVE_GEMM
    skep_gemm_set_threads(1);
    return skep_gemm_sgemm;
#else
    return skep_sgemm_portable;
#endif
}

static struct test_pass *test_of(skep_pass *pass)
{
    return SKEP_CONTAINER_OF(pass, struct test_pass, pass);
}

/* Filled with NaN, so that whoever takes it for zeros is found out. */
static void *on_alloc(skep_pass *pass, size_t len)
{
    struct test_pass *test = test_of(pass);
    void *block;

    if (test->allocations_left == 0)
        return NULL;
    test->allocations_left--;
    assert_true(test->block_count < SKEP_COUNT_OF(test->blocks));
    assert_int_equal(posix_memalign(&block, 64, len > 0 ? len : 1), 0);
    memset(block, 0xff, len);
    test->blocks[test->block_count++] = block;
    return block;
}

static void on_gradient(skep_pass *pass, size_t parameter, size_t offset, const float *gradient,
                        size_t count)
{
    struct test_pass *test = test_of(pass);

    assert_true(parameter < test->class.schema.parameter_count);
    assert_true(offset + count <= test->counts[parameter]);
    for (size_t i = 0; i < count; i++) {
        assert_true(isnan(test->gradients[parameter][offset + i]));
        test->gradients[parameter][offset + i] = gradient[i];
    }
    test->handed_out += count;
}

static size_t elements(const skep_parameter_schema *parameter)
{
    size_t count = 1;

    for (size_t i = 0; i < parameter->axes; i++)
        count *= parameter->shape[i];
    return count;
}

static void init_parameter(struct test_pass *test, size_t i, uint32_t seed)
{
    const skep_parameter_schema *parameter = &test->class.schema.parameters[i];
    size_t count = test->counts[i] = elements(parameter);

    test->parameters[i] = test_draw(seed + (uint32_t)i, count, 0.3f);
    test->gradients[i] = malloc((count > 0 ? count : 1) * sizeof(float));
    assert_non_null(test->gradients[i]);
    for (size_t j = 0; j < count; j++) {
        test->parameters[i][j] += parameter->axes == 1 ? 0.5f : 0;
        test->gradients[i][j] = NAN;
    }
}

void test_pass_init(struct test_pass *test, const char *name, size_t hidden, const char *options,
                    uint32_t seed)
{
    const skep_expert_class *class = skep_expert_class_find(name);
    char why[128];

    memset(test, 0, sizeof *test);
    assert_non_null(class);
    if (skep_class_open(&test->class, class, hidden, options, why, sizeof why) < 0)
        fail_msg("%s: %s", name, why);
    for (size_t i = 0; i < test->class.schema.parameter_count; i++)
        init_parameter(test, i, seed);
    test->allocations_left = SIZE_MAX;
    test->pass = (skep_pass){
        .state = test->class.state,
        .parameters = (const float *const *)test->parameters,
        .seed = 7,
        .alloc = on_alloc,
        .sgemm = test_sgemm(),
        .gradient = on_gradient,
    };
}

static void free_blocks(struct test_pass *test)
{
    while (test->block_count > 0)
        free(test->blocks[--test->block_count]);
}

void test_pass_fini(struct test_pass *test)
{
    for (size_t i = 0; i < test->class.schema.parameter_count; i++) {
        free(test->parameters[i]);
        free(test->gradients[i]);
    }
    skep_class_close(&test->class);
}

int test_pass_forward(struct test_pass *test, size_t rows, const skep_tensor *inputs,
                      void *const *outputs)
{
    int rc;

    test->pass.rows = rows;
    rc = test->class.class->forward(&test->pass, inputs, outputs);
    free_blocks(test);
    return rc;
}

int test_pass_backward(struct test_pass *test, size_t rows, const skep_tensor *inputs,
                       const skep_tensor *grads, void *const *grad_inputs)
{
    int rc;

    for (size_t i = 0; i < test->class.schema.parameter_count; i++)
        for (size_t j = 0; j < test->counts[i]; j++)
            test->gradients[i][j] = NAN;
    test->handed_out = 0;
    test->pass.rows = rows;
    rc = test->class.class->backward(&test->pass, inputs, grads, grad_inputs);
    free_blocks(test);
    return rc;
}
