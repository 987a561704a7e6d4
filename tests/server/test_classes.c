/* SPDX-License-Identifier: MIT */
/* What skep's classes compute, against torch's numbers (tests/vectors/experts.json, expert.json) and against differences. */
#include <math.h>

#include "base/limits.h"
#include "server/activation.h"
#include "server/fast_exp.h"
#include "server/pass.h"
#include "server/softmax.h"

static const double tolerance = 1e-5;

/* The tensors of one pass. */
struct batch {
    skep_tensor inputs[2], grads[1];
    float *x, *grad, *out, *dx;
    void *mask;
    size_t rows, count; /* numbers of x, and so of the output */
};

static void set_tensor(skep_tensor *tensor, skep_dtype dtype, size_t rows, size_t length,
                       size_t hidden, const void *data)
{
    *tensor = (skep_tensor){.dtype = dtype, .data = data};
    tensor->shape[tensor->axes++] = rows;
    if (length > 0)
        tensor->shape[tensor->axes++] = length;
    if (hidden > 0)
        tensor->shape[tensor->axes++] = hidden;
}

/* generate_experts.py mask_of() */
static void draw_sequence_mask(struct batch *b, uint32_t seed, size_t length)
{
    float *u = test_draw(seed, b->rows * length, 1);
    uint8_t *mask = b->mask = malloc(b->rows * length);

    for (size_t i = 0; i < b->rows * length; i++)
        mask[i] = i % length != 0 && u[i] > 0.4f;
    set_tensor(&b->inputs[1], SKEP_BOOL, b->rows, length, 0, mask);
    free(u);
}

static void draw_dropout_mask(struct batch *b, uint32_t seed, size_t hidden)
{
    float *u = test_draw(seed, b->count, 1), *v = test_draw(seed + 1, b->count, 1);
    int64_t *mask = b->mask = malloc(b->count * sizeof *mask);

    for (size_t i = 0; i < b->count; i++)
        mask[i] = (u[i] > -0.6f) * 2 - (v[i] > 0.8f);
    set_tensor(&b->inputs[1], SKEP_INT64, b->rows, 0, hidden, mask);
    free(u);
    free(v);
}

static void batch_init(struct batch *b, const char *class, size_t hidden, size_t rows,
                       size_t length, uint32_t seed)
{
    bool sequences = strcmp(class, "transformer") == 0;

    memset(b, 0, sizeof *b);
    b->rows = rows;
    b->count = rows * hidden * (sequences ? length : 1);
    b->x = test_draw(seed + 100, b->count, 2);
    b->grad = test_draw(seed + 101, b->count, 1);
    b->out = calloc(b->count, sizeof(float));
    b->dx = calloc(b->count, sizeof(float));
    set_tensor(&b->inputs[0], SKEP_FLOAT32, rows, sequences ? length : 0, hidden, b->x);
    b->grads[0] = b->inputs[0];
    b->grads[0].data = b->grad;
    if (sequences)
        draw_sequence_mask(b, seed + 200, length);
    else if (strcmp(class, "det_dropout") == 0)
        draw_dropout_mask(b, seed + 200, hidden);
}

static void batch_fini(struct batch *b)
{
    free(b->x);
    free(b->grad);
    free(b->out);
    free(b->dx);
    free(b->mask);
}

static int run_forward(struct test_pass *test, struct batch *b)
{
    return test_pass_forward(test, b->rows, b->inputs, (void *[]){b->out});
}

static int run_backward(struct test_pass *test, struct batch *b)
{
    return test_pass_backward(test, b->rows, b->inputs, b->grads, (void *[]){b->dx, NULL});
}

static void check_whole(const float *got, size_t count, const json_t *of, const char *key,
                        const char *what)
{
    size_t expected_count;
    float *expected = test_floats(test_str(of, key), &expected_count);

    assert_int_equal(expected_count, count);
    test_close(got, expected, count, tolerance, what);
    free(expected);
}

/* gradient [m][n] times a drawn vector, from either side. */
static void check_products(const float *gradient, const skep_parameter_schema *parameter,
                           const json_t *stored, uint32_t seed)
{
    size_t m = parameter->shape[0], n = parameter->shape[1];
    float *right = test_draw(seed, n, 1), *left = test_draw(seed + 1, m, 1);
    float *by_right = malloc(m * sizeof(float)), *by_left = malloc(n * sizeof(float));

    for (size_t i = 0; i < m; i++) {
        double sum = 0;

        for (size_t j = 0; j < n; j++)
            sum += (double)gradient[i * n + j] * (double)right[j];
        by_right[i] = (float)sum;
    }
    for (size_t j = 0; j < n; j++) {
        double sum = 0;

        for (size_t i = 0; i < m; i++)
            sum += (double)gradient[i * n + j] * (double)left[i];
        by_left[j] = (float)sum;
    }
    check_whole(by_right, m, stored, "times_right", parameter->name);
    check_whole(by_left, n, stored, "times_left", parameter->name);
    free(right);
    free(left);
    free(by_right);
    free(by_left);
}

static void check_gradients(const struct test_pass *test, const json_t *vector, uint32_t seed)
{
    const json_t *gradients = test_get(vector, "gradients");

    assert_int_equal(json_object_size(gradients), test->class.schema.parameter_count);
    for (size_t i = 0; i < test->class.schema.parameter_count; i++) {
        const skep_parameter_schema *parameter = &test->class.schema.parameters[i];
        const json_t *stored = test_get(gradients, parameter->name);

        if (json_object_get(stored, "whole"))
            check_whole(test->gradients[i], test->counts[i], stored, "whole", parameter->name);
        else
            check_products(test->gradients[i], parameter, stored, seed + 300 + 2 * (uint32_t)i);
    }
}

static size_t size_of(const json_t *vector, const char *key)
{
    return (size_t)json_integer_value(test_get(vector, key));
}

static void check_pass(const json_t *vector, skep_sgemm_fn *sgemm)
{
    const char *class = test_str(vector, "class");
    size_t hidden = size_of(vector, "hidden");
    uint32_t seed = (uint32_t)size_of(vector, "seed");
    struct test_pass test;
    struct batch b;

    test_pass_init(&test, class, hidden, strcmp(class, "transformer") == 0 ? "dropout=0" : NULL,
                   seed);
    test.pass.sgemm = sgemm;
    batch_init(&b, class, hidden, size_of(vector, "rows"), size_of(vector, "length"), seed);
    assert_int_equal(run_forward(&test, &b), 0);
    check_whole(b.out, b.count, vector, "output", class);
    assert_int_equal(run_backward(&test, &b), 0);
    check_whole(b.dx, b.count, vector, "input_gradient", class);
    check_gradients(&test, vector, seed);
    batch_fini(&b);
    test_pass_fini(&test);
}

static void outputs_and_gradients_are_torchs(void **state)
{
    const json_t *passes = test_get(test_vectors("experts.json"), "passes"), *vector;
    size_t i;

    (void)state;
    json_array_foreach(passes, i, vector) check_pass(vector, test_sgemm());
}

static void they_are_with_the_portable_products_too(void **state)
{
    const json_t *passes = test_get(test_vectors("experts.json"), "passes"), *vector;
    size_t i;

    (void)state;
    json_array_foreach(passes, i, vector) check_pass(vector, skep_sgemm_portable);
}

/* expert.json is of a live hivemind server. */
static void the_ffn_of_a_hivemind_server_answers_the_same_here(void **state)
{
    const json_t *root = test_vectors("expert.json"), *weights = test_get(root, "ffn_weights");
    const json_t *call = json_array_get(test_get(root, "calls"), 0);
    const json_t *x = json_array_get(test_get(call, "inputs"), 0);
    const json_t *y = json_array_get(test_get(call, "outputs"), 0);
    float expected[8];
    struct test_pass test;
    struct batch b;

    (void)state;
    test_pass_init(&test, "ffn", 4, "", 1);
    batch_init(&b, "ffn", 4, 2, 0, 1);
    for (size_t i = 0; i < test.class.schema.parameter_count; i++) {
        size_t count;
        const json_t *weight = test_get(weights, test.class.schema.parameters[i].name);
        float *numbers = test_floats(test_str(weight, "float32_le"), &count);

        assert_int_equal(count, test.counts[i]);
        memcpy(test.parameters[i], numbers, count * sizeof *numbers);
        free(numbers);
    }
    for (size_t i = 0; i < 8; i++) {
        b.x[i] = (float)json_number_value(json_array_get(x, i));
        expected[i] = (float)json_number_value(json_array_get(y, i));
    }
    assert_int_equal(run_forward(&test, &b), 0);
    test_close(b.out, expected, 8, tolerance, "output");
    batch_fini(&b);
    test_pass_fini(&test);
}

static double loss(struct test_pass *test, struct batch *b)
{
    double sum = 0;

    assert_int_equal(run_forward(test, b), 0);
    for (size_t i = 0; i < b->count; i++)
        sum += (double)b->out[i] * (double)b->grad[i];
    return sum;
}

/* How the loss changes with one number, against the gradient that backward gave for it. */
static void check_difference(struct test_pass *test, struct batch *b, float *number,
                             double gradient, const char *what)
{
    float before = *number, step = 4e-3f;
    double up, down, difference;

    *number = before + step;
    up = loss(test, b);
    *number = before - step;
    down = loss(test, b);
    *number = before;
    difference = (up - down) / (2 * (double)step);
    if (fabs(difference - gradient) > 0.02 * (1 + fabs(gradient)))
        fail_msg("%s: the gradient is %g, the difference says %g", what, gradient, difference);
}

/* With dropout on: forward and backward of one seed drop the same numbers. */
static void gradients_are_what_small_differences_say(void **state)
{
    static const struct {
        const char *class, *options;
        size_t hidden, rows, length;
    } cases[] = {
        {"ffn", NULL, 16, 3, 0},
        {"det_dropout", NULL, 16, 3, 0},
        {"transformer", "dropout=0", 16, 2, 6},
        {"transformer", NULL, 32, 2, 7},
        {"transformer", "dropout=0.5", 32, 1, 9},
        {"nop", NULL, 16, 3, 0},
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct test_pass test;
        struct batch b;

        test_pass_init(&test, cases[i].class, cases[i].hidden, cases[i].options, 11);
        batch_init(&b, cases[i].class, cases[i].hidden, cases[i].rows, cases[i].length, 12);
        assert_int_equal(run_backward(&test, &b), 0);
        for (size_t j = 0; j < b.count; j += 5)
            check_difference(&test, &b, &b.x[j], (double)b.dx[j], cases[i].class);
        for (size_t p = 0; p < test.class.schema.parameter_count; p++)
            for (size_t j = 0; j < test.counts[p]; j += 1 + test.counts[p] / 13)
                check_difference(&test, &b, &test.parameters[p][j], (double)test.gradients[p][j],
                                 test.class.schema.parameters[p].name);
        batch_fini(&b);
        test_pass_fini(&test);
    }
}

/* More rows than one chunk holds, and than that: each row's result and the sum of the gradients are those of the parts. */
static void a_batch_of_several_chunks_is_the_sum_of_its_parts(void **state)
{
    enum { HIDDEN = 1024, PART = 1100, ROWS = 2 * PART };
    struct test_pass whole, part;
    struct batch b, half;
    float *sums[SKEP_CLASS_PARAMETERS_MAX];

    (void)state;
    test_pass_init(&whole, "ffn", HIDDEN, NULL, 31);
    test_pass_init(&part, "ffn", HIDDEN, NULL, 31);
    batch_init(&b, "ffn", HIDDEN, ROWS, 0, 32);
    assert_int_equal(run_backward(&whole, &b), 0);
    for (size_t p = 0; p < whole.class.schema.parameter_count; p++)
        sums[p] = calloc(whole.counts[p], sizeof(float));
    for (size_t i = 0; i < 2; i++) {
        batch_init(&half, "ffn", HIDDEN, PART, 0, 32);
        memcpy(half.x, b.x + i * half.count, half.count * sizeof(float));
        memcpy(half.grad, b.grad + i * half.count, half.count * sizeof(float));
        assert_int_equal(run_backward(&part, &half), 0);
        test_close(half.dx, b.dx + i * half.count, half.count, tolerance, "input gradient");
        for (size_t p = 0; p < part.class.schema.parameter_count; p++)
            for (size_t j = 0; j < part.counts[p]; j++)
                sums[p][j] += part.gradients[p][j];
        batch_fini(&half);
    }
    for (size_t p = 0; p < whole.class.schema.parameter_count; p++) {
        test_close(whole.gradients[p], sums[p], whole.counts[p], tolerance,
                   whole.class.schema.parameters[p].name);
        free(sums[p]);
    }
    batch_fini(&b);
    test_pass_fini(&whole);
    test_pass_fini(&part);
}

static void dropout_drops_its_share_and_differs_from_pass_to_pass(void **state)
{
    struct test_pass test;
    struct batch b, again;

    (void)state;
    test_pass_init(&test, "transformer", 16, "dropout=0.25", 41);
    batch_init(&b, "transformer", 16, 2, 8, 42);
    batch_init(&again, "transformer", 16, 2, 8, 42);
    assert_int_equal(run_forward(&test, &b), 0);
    assert_int_equal(run_forward(&test, &again), 0);
    assert_memory_equal(b.out, again.out, b.count * sizeof(float));
    test.pass.seed++;
    assert_int_equal(run_forward(&test, &again), 0);
    assert_memory_not_equal(b.out, again.out, b.count * sizeof(float));
    batch_fini(&b);
    batch_fini(&again);
    test_pass_fini(&test);
}

static void a_sequence_masked_as_a_whole_gives_finite_numbers(void **state)
{
    struct test_pass test;
    struct batch b;

    (void)state;
    test_pass_init(&test, "transformer", 16, "dropout=0", 51);
    batch_init(&b, "transformer", 16, 3, 5, 52);
    memset((uint8_t *)b.mask + 5, 1, 5);
    assert_int_equal(run_forward(&test, &b), 0);
    assert_int_equal(run_backward(&test, &b), 0);
    for (size_t i = 0; i < b.count; i++)
        assert_true(isfinite(b.out[i]) && isfinite(b.dx[i]));
    batch_fini(&b);
    test_pass_fini(&test);
}

static void a_class_that_finds_no_memory_says_so(void **state)
{
    static const char *const classes[] = {"ffn", "det_dropout", "transformer"};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(classes); i++)
        for (size_t left = 0;; left++) {
            struct test_pass test;
            struct batch b;
            int rc;

            test_pass_init(&test, classes[i], 16, NULL, 61);
            batch_init(&b, classes[i], 16, 2, 4, 62);
            test.allocations_left = left;
            rc = run_forward(&test, &b);
            assert_true(rc == 0 || rc == SKEP_ENOMEM);
            test.allocations_left = left;
            rc = run_backward(&test, &b);
            assert_int_equal(rc == SKEP_ENOMEM, test.handed_out == 0);
            batch_fini(&b);
            test_pass_fini(&test);
            if (rc == 0)
                break;
        }
}

/* What spoils a gradient, and whether anything was handed out before it was seen. */
static void gradients_that_are_not_finite_are_not_handed_out(void **state)
{
    static const char *const classes[] = {"ffn", "det_dropout", "transformer"};
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f, 1e19f};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(classes); i++)
        for (size_t j = 0; j < SKEP_COUNT_OF(bad); j++) {
            struct test_pass test;
            struct batch b;

            test_pass_init(&test, classes[i], 16, NULL, 71);
            batch_init(&b, classes[i], 16, 2, 4, 72);
            b.grad[b.count - 1] = bad[j];
            assert_int_equal(run_backward(&test, &b), SKEP_EVALUE);
            assert_int_equal(test.handed_out, 0);
            b.grad[b.count - 1] = 1;
            b.x[3] = NAN;
            assert_int_equal(run_backward(&test, &b), SKEP_EVALUE);
            assert_int_equal(test.handed_out, 0);
            b.x[3] = 0;
            assert_int_equal(run_backward(&test, &b), 0);
            batch_fini(&b);
            test_pass_fini(&test);
        }
}

static void a_nop_copies_and_has_a_parameter_without_numbers(void **state)
{
    static const char *const classes[] = {"nop", "nop_delay"};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(classes); i++) {
        struct test_pass test;
        struct batch b;

        test_pass_init(&test, classes[i], 7, NULL, 81);
        batch_init(&b, classes[i], 7, 3, 0, 82);
        assert_true(test.class.schema.cheap);
        assert_int_equal(test.class.schema.delay_us, i == 0 ? 0 : 500000);
        assert_int_equal(test.class.schema.parameter_count, 1);
        assert_string_equal(test.class.schema.parameters[0].name, "w");
        assert_int_equal(test.counts[0], 0);
        assert_int_equal(run_forward(&test, &b), 0);
        assert_memory_equal(b.out, b.x, b.count * sizeof(float));
        assert_int_equal(run_backward(&test, &b), 0);
        assert_memory_equal(b.dx, b.grad, b.count * sizeof(float));
        batch_fini(&b);
        test_pass_fini(&test);
    }
}

static void dimensions_and_options_that_make_no_sense_are_refused_with_a_reason(void **state)
{
    static const struct {
        const char *class, *options;
        size_t hidden;
        const char *why;
    } cases[] = {
        {"ffn", NULL, 0, "hidden 0"},
        {"ffn", NULL, SKEP_HIDDEN_MAX + 1, "hidden 65537"},
        {"ffn", "dropout=0", 16, "no options"},
        {"nop", NULL, 0, "hidden 0"},
        {"nop_delay", "delay=1", 16, "no options"},
        {"det_dropout", "x", 16, "no options"},
        {"transformer", NULL, 24, "multiple of 16"},
        {"transformer", "dropout=", 16, "dropout="},
        {"transformer", "dropout=1", 16, "[0, 1)"},
        {"transformer", "dropout=nan", 16, "[0, 1)"},
        {"transformer", "dropout=0.5x", 16, "[0, 1)"},
        {"transformer", "heads=2", 16, "one option"},
    };

    (void)state;
    assert_null(skep_expert_class_find("ff"));
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct skep_class class;
        char why[128];

        assert_int_equal(skep_class_open(&class, skep_expert_class_find(cases[i].class),
                                         cases[i].hidden, cases[i].options, why, sizeof why),
                         SKEP_EINVAL);
        if (!strstr(why, cases[i].why))
            fail_msg("\"%s\" does not say \"%s\"", why, cases[i].why);
        skep_class_close(&class);
    }
}

/* A class of a user's own that says nonsense of itself. */
static skep_class_schema nonsense;

static int open_nonsense(size_t hidden, const char *options, skep_class_schema *schema,
                         void **state, char *why, size_t why_len)
{
    (void)hidden, (void)options, (void)state, (void)why, (void)why_len;
    *schema = nonsense;
    return 0;
}

static int compute_nothing(skep_pass *pass, const skep_tensor *inputs, void *const *outputs)
{
    (void)pass, (void)inputs, (void)outputs;
    return 0;
}

static int train_nothing(skep_pass *pass, const skep_tensor *inputs, const skep_tensor *grads,
                         void *const *grad_inputs)
{
    (void)pass, (void)inputs, (void)grads, (void)grad_inputs;
    return 0;
}

static void assert_refused(const skep_expert_class *of, const char *expected)
{
    struct skep_class class;
    char why[160];

    assert_int_equal(skep_class_open(&class, of, 4, NULL, why, sizeof why), SKEP_EINVAL);
    if (!strstr(why, expected))
        fail_msg("\"%s\" does not say \"%s\"", why, expected);
}

static void what_a_class_says_of_itself_is_checked(void **state)
{
    skep_expert_class class = {SKEP_CLASS_ABI, "mine",          open_nonsense,
                               NULL,           compute_nothing, train_nothing};
    const skep_tensor_schema vector = {.dtype = SKEP_FLOAT32, .axes = 1, .shape = {4}};
    const skep_parameter_schema weight = {.name = "w", .axes = 1, .shape = {4}};
    const skep_class_schema good = {.inputs = {vector, vector},
                                    .input_count = 2,
                                    .outputs = {vector},
                                    .output_count = 1,
                                    .parameters = {weight},
                                    .parameter_count = 1};
    struct skep_class opened;
    char why[160];

    (void)state;
    nonsense = good;
    assert_int_equal(skep_class_open(&opened, &class, 4, NULL, why, sizeof why), 0);
    skep_class_close(&opened);
    nonsense.input_count = 0;
    assert_refused(&class, "0 inputs");
    nonsense.input_count = SKEP_CLASS_TENSORS_MAX + 1;
    assert_refused(&class, "17 inputs");
    nonsense = good, nonsense.output_count = 0;
    assert_refused(&class, "0 outputs");
    nonsense = good, nonsense.inputs[0].name = "b";
    assert_refused(&class, "come last");
    nonsense = good, nonsense.inputs[0].name = "b", nonsense.inputs[1].name = "a";
    assert_refused(&class, "sorted");
    nonsense = good, nonsense.inputs[1].dtype = (skep_dtype)77;
    assert_refused(&class, "input 1: dtype 77");
    nonsense = good, nonsense.outputs[0].axes = SKEP_TENSOR_AXES_MAX;
    assert_refused(&class, "output 0");
    nonsense = good, nonsense.outputs[0].shape[0] = SIZE_MAX / 2;
    assert_refused(&class, "too large");
    nonsense = good, nonsense.parameter_count = SKEP_CLASS_PARAMETERS_MAX + 1;
    assert_refused(&class, "65 parameters");
    nonsense = good, nonsense.parameters[0].name = NULL;
    assert_refused(&class, "no name");
    nonsense = good, nonsense.parameters[1] = weight, nonsense.parameter_count = 2;
    assert_refused(&class, "two parameters are named w");
    nonsense = good, nonsense.parameters[0].axes = SKEP_PARAMETER_AXES_MAX + 1;
    assert_refused(&class, "w: its shape");
    nonsense = good, nonsense.parameters[0].init_value = (double)INFINITY;
    assert_refused(&class, "w: its first value");
    nonsense = good, class.abi = SKEP_CLASS_ABI + 1;
    assert_refused(&class, "version 2");
    class.abi = SKEP_CLASS_ABI, class.backward = NULL;
    assert_refused(&class, "lacks");
}

static void our_exponential_is_within_two_units_of_the_last_place(void **state)
{
    (void)state;
    for (double x = -87; x <= 88; x += 0.0037) {
        double expected = exp((double)(float)x), got = (double)skep_fast_exp((float)x);

        if (fabs(got - expected) > 2 * 0x1p-23 * expected)
            fail_msg("e^%g is %g, not %g", x, got, expected);
    }
    assert_true(skep_fast_exp(-1e30f) > 0 && skep_fast_exp(-1e30f) < 1e-37f);
    assert_true(isfinite(skep_fast_exp(INFINITY)));
    assert_true(isnan(skep_fast_exp(NAN)));
    assert_true(skep_fast_exp(0) == 1);
}

static void gelu_and_its_slope_are_right_from_end_to_end(void **state)
{
    enum { COUNT = 4001 };
    float v[COUNT], both[COUNT], slope[COUNT], bias[COUNT];

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        bias[i] = (float)(i % 3);
        v[i] = both[i] = ((float)i - 2000) / 50 - bias[i];
    }
    skep_gelu(v, bias, 1, COUNT);
    skep_gelu_and_slope(both, slope, bias, 1, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        double u = ((double)i - 2000) / 50, c = 0.7978845608,
               t = tanh(c * u * (1 + 0.044715 * u * u));
        double expected = 0.5 * u * (1 + t);
        double expected_slope =
            0.5 * (1 + t) + 0.5 * u * (1 - t * t) * c * (1 + 3 * 0.044715 * u * u);

        if (fabs((double)v[i] - expected) > 1e-6 * (1 + fabs(u)) ||
            fabs((double)slope[i] - expected_slope) > 3e-6)
            fail_msg("at %g: %g and %g, not %g and %g", u, (double)v[i], (double)slope[i], expected,
                     expected_slope);
        assert_memory_equal(&v[i], &both[i], sizeof(float));
    }
}

static void a_softmax_row_of_which_all_is_left_out_is_zero(void **state)
{
    float v[2][3] = {{1, 2, 3}, {-1e30f, 1e30f, 5}};
    const uint8_t all[3] = {1, 1, 1}, one[3] = {0, 0, 1};

    (void)state;
    skep_softmax(v[0], all, 1, 3);
    assert_true(v[0][0] == 0 && v[0][1] == 0 && v[0][2] == 0);
    skep_softmax(v[1], one, 1, 3);
    assert_true(v[1][0] < 1e-37f && v[1][1] == 1 && v[1][2] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_and_gradients_are_torchs),
        cmocka_unit_test(they_are_with_the_portable_products_too),
        cmocka_unit_test(the_ffn_of_a_hivemind_server_answers_the_same_here),
        cmocka_unit_test(gradients_are_what_small_differences_say),
        cmocka_unit_test(a_batch_of_several_chunks_is_the_sum_of_its_parts),
        cmocka_unit_test(dropout_drops_its_share_and_differs_from_pass_to_pass),
        cmocka_unit_test(a_sequence_masked_as_a_whole_gives_finite_numbers),
        cmocka_unit_test(a_class_that_finds_no_memory_says_so),
        cmocka_unit_test(gradients_that_are_not_finite_are_not_handed_out),
        cmocka_unit_test(a_nop_copies_and_has_a_parameter_without_numbers),
        cmocka_unit_test(dimensions_and_options_that_make_no_sense_are_refused_with_a_reason),
        cmocka_unit_test(what_a_class_says_of_itself_is_checked),
        cmocka_unit_test(our_exponential_is_within_two_units_of_the_last_place),
        cmocka_unit_test(gelu_and_its_slope_are_right_from_end_to_end),
        cmocka_unit_test(a_softmax_row_of_which_all_is_left_out_is_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
