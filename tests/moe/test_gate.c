/* SPDX-License-Identifier: MIT */
/* The arithmetic of mixtures against torch's, on numbers of hivemind's own modules (tests/vectors/generate_mixture.py), and against plain loops. */
#include <math.h>

#include "moe/gate.h"
#include "moe/product.h"
#include "support/test.h"

/* ---- a case of the vectors ---- */

struct numbers {
    float *at;
    size_t count;
};

struct mix_case {
    uint32_t sizes[8];
    struct skep_gate gate;
    struct skep_gate_cells cells;
    size_t batch, columns, middle, out_features;
    struct numbers input, outputs, grad;
    const json_t *json;
};

static struct numbers numbers_of(const json_t *object, const char *key)
{
    const json_t *array = test_get(object, key);
    struct numbers numbers = {.count = json_array_size(array)};

    numbers.at = calloc(numbers.count + 1, sizeof *numbers.at);
    for (size_t i = 0; i < numbers.count; i++)
        numbers.at[i] = (float)json_number_value(json_array_get(array, i));
    return numbers;
}

static size_t size_of(const json_t *object, const char *key)
{
    return (size_t)json_integer_value(test_get(object, key));
}

static void read_cells(struct mix_case *c)
{
    const json_t *coordinates = test_get(c->json, "coordinates"),
                 *answered = test_get(c->json, "answered");
    uint32_t *at = calloc(c->batch * c->columns * c->gate.dims, sizeof *at);
    bool *is = calloc(c->batch * c->columns, sizeof *is);

    c->cells = (struct skep_gate_cells){c->batch, c->columns, at, is};
    for (size_t i = 0; i < c->batch; i++) {
        for (size_t j = 0; j < c->columns; j++) {
            const json_t *expert = json_array_get(json_array_get(coordinates, i), j);

            *is++ = json_is_true(json_array_get(json_array_get(answered, i), j));
            for (size_t d = 0; d < c->gate.dims; d++)
                *at++ = (uint32_t)json_integer_value(json_array_get(expert, d));
        }
    }
}

static void read_case(struct mix_case *c, const json_t *json)
{
    const json_t *grid = test_get(json, "grid");

    memset(c, 0, sizeof *c);
    c->json = json;
    c->gate.dims = json_array_size(grid);
    c->gate.sizes = c->sizes;
    for (size_t d = 0; d < c->gate.dims; d++) {
        c->sizes[d] = (uint32_t)json_integer_value(json_array_get(grid, d));
        c->gate.outputs += c->sizes[d];
    }
    c->gate.in_features = size_of(json, "features");
    c->gate.weight = numbers_of(json, "weight").at;
    c->gate.bias = numbers_of(json, "bias").at;
    c->batch = size_of(json, "batch");
    c->columns = size_of(json, "columns");
    c->middle = size_of(json, "middle");
    c->out_features = size_of(json, "out_features");
    c->input = numbers_of(json, "input");
    c->outputs = numbers_of(json, "outputs");
    c->grad = numbers_of(json, "grad");
    read_cells(c);
}

static void drop_case(struct mix_case *c)
{
    free((void *)(uintptr_t)c->gate.weight);
    free((void *)(uintptr_t)c->gate.bias);
    free((void *)(uintptr_t)c->cells.coordinates);
    free((void *)(uintptr_t)c->cells.answered);
    free(c->input.at);
    free(c->outputs.at);
    free(c->grad.at);
}

/* max |a - b| ≤ 1e-5 · max |b| */
static void assert_near(const float *got, const json_t *object, const char *key)
{
    struct numbers want = numbers_of(object, key);
    float most = 0;

    for (size_t i = 0; i < want.count; i++)
        most = fmaxf(most, fabsf(want.at[i]));
    for (size_t i = 0; i < want.count; i++)
        if (!(fabsf(got[i] - want.at[i]) <= 1e-5F * most + 1e-12F))
            fail_msg("%s[%zu]: %.9g, not %.9g", key, i, (double)got[i], (double)want.at[i]);
    free(want.at);
}

static float *floats(size_t count)
{
    return calloc(count + 1, sizeof(float));
}

/* What src/moe/mixture.c does with answers: outputs [batch][columns][out_features]. */
static void mix_outputs(const struct mix_case *c, const float *weights, float *mixed)
{
    for (size_t cell = 0; cell < c->batch * c->columns; cell++)
        skep_product_add_scaled(mixed + cell / c->columns * c->out_features, weights[cell],
                                c->outputs.at + cell * c->out_features, c->out_features);
}

static void check_mix_backward(const struct mix_case *c, const float *weights, float *grad_weights)
{
    float *grad_outputs = floats(c->batch * c->columns * c->out_features);

    for (size_t cell = 0; cell < c->batch * c->columns; cell++) {
        const float *grad = c->grad.at + cell / c->columns * c->out_features;

        skep_product_scale(grad_outputs + cell * c->out_features, weights[cell], grad,
                           c->out_features);
        grad_weights[cell] =
            skep_product_dot(grad, c->outputs.at + cell * c->out_features, c->out_features);
    }
    assert_near(grad_outputs, c->json, "grad_outputs");
    free(grad_outputs);
}

/* grad_x → the gradients of the gate and of the input, the residual apart. */
static void check_gate_backward(const struct mix_case *c, const float *x, const float *grad_scores,
                                const float *noise, bool residual)
{
    size_t features = c->gate.in_features;
    float *grad_weight = floats(c->gate.outputs * features), *grad_bias = floats(c->gate.outputs),
          *grad_x = floats(c->batch * features), *grad_input = floats(c->input.count);

    skep_gate_backward(&c->gate, x, c->batch, grad_scores, grad_weight, grad_bias, grad_x);
    if (noise)
        skep_product_multiply(grad_x, noise, c->batch * features);
    if (residual)
        memcpy(grad_input, c->grad.at, c->grad.count * sizeof *grad_input);
    skep_gate_average_backward(grad_input, grad_x, c->batch, c->middle, features);
    assert_near(grad_weight, c->json, "grad_weight");
    assert_near(grad_bias, c->json, "grad_bias");
    assert_near(grad_input, c->json, "grad_input");
    free(grad_weight);
    free(grad_bias);
    free(grad_x);
    free(grad_input);
}

static void check_mixture(const json_t *json)
{
    struct mix_case c;
    float *x, *scores, *weights, *grad_weights, *mixed;

    read_case(&c, json);
    x = floats(c.batch * c.gate.in_features);
    scores = floats(c.batch * c.gate.outputs);
    weights = floats(c.batch * c.columns);
    grad_weights = floats(c.batch * c.columns);
    mixed = floats(c.batch * c.out_features);
    skep_gate_average(x, c.input.at, c.batch, c.middle, c.gate.in_features);
    skep_gate_forward(&c.gate, x, c.batch, scores);
    assert_near(scores, json, "scores");
    skep_gate_softmax(&c.gate, &c.cells, scores, weights);
    assert_near(weights, json, "weights");
    mix_outputs(&c, weights, mixed);
    assert_near(mixed, json, "mixed");
    check_mix_backward(&c, weights, grad_weights);
    skep_gate_softmax_backward(&c.gate, &c.cells, weights, grad_weights, scores);
    check_gate_backward(&c, x, scores, NULL, false);
    free(x);
    free(scores);
    free(weights);
    free(grad_weights);
    free(mixed);
    drop_case(&c);
}

static void a_mixtures_outputs_and_gradients_are_torchs(void **state)
{
    const json_t *cases = test_get(test_vectors("mixture.json"), "mixture");

    (void)state;
    assert_true(json_array_size(cases) >= 4);
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_mixture(json_array_get(cases, i));
}

static void drop_scores(const struct mix_case *c, float *scores)
{
    const json_t *kept = test_get(c->json, "kept");
    bool *is_kept = calloc(c->gate.outputs, sizeof *is_kept);

    for (size_t o = 0; o < c->gate.outputs; o++)
        is_kept[o] = json_is_true(json_array_get(kept, o));
    skep_gate_drop(scores, is_kept, c->batch, c->gate.outputs);
    free(is_kept);
}

static void check_balance(const struct mix_case *c, const float *probabilities, float *utilization,
                          float *scratch)
{
    double loss, want = json_number_value(test_get(c->json, "loss"));

    skep_gate_utilize(&c->gate, &c->cells, 0.9, utilization, scratch);
    assert_near(utilization, c->json, "utilization");
    skep_gate_mean(probabilities, c->batch, c->gate.outputs, scratch);
    loss = skep_gate_balance(&c->gate, scratch, utilization);
    if (!(fabs(loss - want) <= 1e-5 * want))
        fail_msg("loss %.9g, not %.9g", loss, want);
}

static void check_switch(const json_t *json)
{
    struct mix_case c;
    struct numbers noise = numbers_of(json, "noise"),
                   utilization = numbers_of(json, "utilization_before");
    float *x, *scores, *probabilities, *weights, *grad_weights, *grad_probabilities;

    read_case(&c, json);
    x = floats(c.batch * c.gate.in_features);
    scores = floats(c.batch * c.gate.outputs);
    probabilities = floats(c.batch * c.gate.outputs);
    grad_probabilities = floats(c.batch * c.gate.outputs);
    weights = floats(c.batch * c.columns);
    grad_weights = floats(c.batch * c.columns);
    memcpy(x, c.input.at, c.input.count * sizeof *x);
    skep_product_multiply(x, noise.at, c.input.count);
    skep_gate_forward(&c.gate, x, c.batch, scores);
    drop_scores(&c, scores);
    skep_gate_probabilities(&c.gate, scores, c.batch, probabilities);
    assert_near(probabilities, json, "probabilities");
    skep_gate_product(&c.gate, &c.cells, probabilities, weights);
    assert_near(weights, json, "weights");
    check_balance(&c, probabilities, utilization.at, scores);
    check_mix_backward(&c, weights, grad_weights);
    skep_gate_product_backward(&c.gate, &c.cells, probabilities, grad_weights, grad_probabilities);
    skep_gate_balance_backward(&c.gate, utilization.at, c.batch,
                               json_number_value(test_get(json, "grad_loss")), grad_probabilities);
    skep_gate_probabilities_backward(&c.gate, probabilities, grad_probabilities, c.batch, scores);
    check_gate_backward(&c, x, scores, noise.at, true);
    mix_outputs(&c, weights, c.input.at); /* the residual */
    assert_near(c.input.at, json, "mixed");
    free(x);
    free(scores);
    free(probabilities);
    free(grad_probabilities);
    free(weights);
    free(grad_weights);
    free(noise.at);
    free(utilization.at);
    drop_case(&c);
}

static void a_switch_mixtures_outputs_loss_and_gradients_are_torchs(void **state)
{
    const json_t *cases = test_get(test_vectors("mixture.json"), "switch");

    (void)state;
    assert_true(json_array_size(cases) >= 3);
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_switch(json_array_get(cases, i));
}

/* ---- products ---- */

static float at(struct skep_matrix matrix, size_t i, size_t j)
{
    return matrix.at[i * matrix.row + j * matrix.column];
}

static void check_product(struct skep_prng *prng, size_t m, size_t n, size_t k)
{
    bool turn_a = skep_prng_below(prng, 2) == 0, turn_b = skep_prng_below(prng, 2) == 0;
    float *a = floats(m * k), *b = floats(k * n), *out = floats(m * n);
    struct skep_matrix left = {a, turn_a ? 1 : k, turn_a ? m : 1},
                       right = {b, turn_b ? 1 : n, turn_b ? k : 1};

    for (size_t i = 0; i < m * k; i++)
        a[i] = (float)skep_prng_below(prng, 17) - 8;
    for (size_t i = 0; i < k * n; i++)
        b[i] = (float)skep_prng_below(prng, 17) - 8;
    for (size_t i = 0; i < m * n; i++)
        out[i] = 3;
    skep_product_add(out, m, n, k, left, right);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            float sum = 3;

            for (size_t p = 0; p < k; p++)
                sum += at(left, i, p) * at(right, p, j);
            if (out[i * n + j] != sum) /* whole numbers below 2^24: every order gives the same */
                fail_msg("%zux%zux%zu at %zu, %zu: %g, not %g", m, n, k, i, j,
                         (double)out[i * n + j], (double)sum);
        }
    }
    free(a);
    free(b);
    free(out);
}

static void products_of_all_shapes_are_those_of_the_plain_loops(void **state)
{
    struct skep_prng prng;

    (void)state;
    skep_prng_init(&prng, 1);
    for (size_t m = 0; m <= 5; m++)
        for (size_t n = 31; n <= 33; n++)
            for (size_t k = 255; k <= 257; k++)
                check_product(&prng, m, n, k);
    for (int i = 0; i < 50; i++)
        check_product(&prng, (size_t)skep_prng_below(&prng, 40), (size_t)skep_prng_below(&prng, 70),
                      (size_t)skep_prng_below(&prng, 600));
}

static void sums_over_rows_take_every_number_once(void **state)
{
    float a[67], b[67], out[67];

    (void)state;
    for (size_t n = 0; n <= 67; n++) {
        for (size_t i = 0; i < n; i++) {
            a[i] = (float)i;
            b[i] = 2;
            out[i] = 1;
        }
        assert_true(skep_product_dot(a, b, n) == (float)(n > 0 ? n * (n - 1) : 0));
        skep_product_add_scaled(out, 3, a, n);
        skep_product_multiply(out, b, n);
        for (size_t i = 0; i < n; i++)
            assert_true(out[i] == (float)(2 + 6 * i));
        skep_product_scale(out, 0.5F, a, n);
        for (size_t i = 0; i < n; i++)
            assert_true(out[i] == 0.5F * (float)i);
    }
}

/* ---- where hivemind has NaN ---- */

static const uint32_t sizes_2_2[] = {2, 2};
static const struct skep_gate small_gate = {
    .dims = 2, .sizes = sizes_2_2, .outputs = 4, .in_features = 1};

static void a_sample_without_an_answer_has_weights_and_gradients_of_zero(void **state)
{
    static const uint32_t coordinates[2 * 2 * 2] = {0, 0, 1, 1, 0, 1, 1, 0};
    static const bool answered[4] = {true, true, false, false};
    const struct skep_gate_cells cells = {2, 2, coordinates, answered};
    float scores[8] = {1, 2, 3, 4, 5, 6, 7, 8}, weights[4], grads[4] = {1, 2, 3, 4}, grad[8];

    (void)state;
    skep_gate_softmax(&small_gate, &cells, scores, weights);
    assert_true(weights[0] > 0 && weights[1] > weights[0]);
    assert_true(weights[2] == 0 && weights[3] == 0);
    skep_gate_softmax_backward(&small_gate, &cells, weights, grads, grad);
    for (size_t i = 0; i < 4; i++) {
        assert_true(grad[i] != 0);
        assert_true(grad[4 + i] == 0);
    }
}

static void a_dimension_that_was_dropped_as_a_whole_has_no_probability(void **state)
{
    static const bool kept[4] = {false, false, true, true};
    float scores[8] = {1, 2, 3, 4, 5, 6, 7, 7}, probabilities[8], grads[8], grad[8];

    (void)state;
    skep_gate_drop(scores, kept, 2, 4);
    assert_true(scores[0] == -INFINITY && scores[5] == -INFINITY && scores[6] == 7);
    skep_gate_probabilities(&small_gate, scores, 2, probabilities);
    assert_true(probabilities[0] == 0 && probabilities[1] == 0 && probabilities[7] == 0.5F);
    for (size_t i = 0; i < 8; i++)
        grads[i] = (float)i;
    skep_gate_probabilities_backward(&small_gate, probabilities, grads, 2, grad);
    assert_true(grad[0] == 0 && grad[1] == 0 && grad[7] == 0.25F);
}

static void a_factor_of_zero_hides_no_gradient(void **state)
{
    static const uint32_t coordinates[2] = {0, 1};
    static const bool answered[1] = {true};
    const struct skep_gate_cells cells = {1, 1, coordinates, answered};
    float probabilities[4] = {0, 1, 0.25F, 0.75F}, one = 1, weight, grad[4] = {0};

    (void)state;
    skep_gate_product(&small_gate, &cells, probabilities, &weight);
    assert_true(weight == 0);
    skep_gate_product_backward(&small_gate, &cells, probabilities, &one, grad);
    assert_true(grad[0] == 0.75F && grad[1] == 0 && grad[2] == 0 && grad[3] == 0);
}

static void a_batch_that_nobody_answered_makes_all_use_fade(void **state)
{
    static const uint32_t coordinates[2] = {0, 1};
    static const bool answered[1] = {false};
    const struct skep_gate_cells cells = {1, 1, coordinates, answered};
    float use[4] = {0.5F, 0.5F, 0, 1}, scratch[4];

    (void)state;
    skep_gate_utilize(&small_gate, &cells, 0.5, use, scratch);
    assert_true(use[0] == 0.25F && use[1] == 0.25F && use[2] == 0 && use[3] == 0.5F);
}

/* ---- draws ---- */

static void jitter_stays_in_its_range_and_repeats_with_its_seed(void **state)
{
    float noise[1000], again[1000], low = 2, high = 0;

    (void)state;
    for (size_t i = 0; i < 1000; i++)
        noise[i] = again[i] = 1;
    skep_gate_jitter(noise, 1000, 0.01, 5);
    skep_gate_jitter(again, 1000, 0.01, 5);
    assert_memory_equal(noise, again, sizeof noise);
    for (size_t i = 0; i < 1000; i++) {
        low = fminf(low, noise[i]);
        high = fmaxf(high, noise[i]);
    }
    assert_true(low >= 0.99F && low < 0.9905F && high <= 1.01F && high > 1.0095F);
}

static void dropout_keeps_each_coordinate_with_its_probability(void **state)
{
    bool kept[1000];
    size_t count = 0;

    (void)state;
    skep_gate_draw_kept(kept, 1000, 0.8, 5);
    for (size_t i = 0; i < 1000; i++)
        count += kept[i];
    assert_in_range(count, 750, 850);
    skep_gate_draw_kept(kept, 1000, 1, 5);
    for (size_t i = 0; i < 1000; i++)
        assert_true(kept[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mixtures_outputs_and_gradients_are_torchs),
        cmocka_unit_test(a_switch_mixtures_outputs_loss_and_gradients_are_torchs),
        cmocka_unit_test(products_of_all_shapes_are_those_of_the_plain_loops),
        cmocka_unit_test(sums_over_rows_take_every_number_once),
        cmocka_unit_test(a_sample_without_an_answer_has_weights_and_gradients_of_zero),
        cmocka_unit_test(a_dimension_that_was_dropped_as_a_whole_has_no_probability),
        cmocka_unit_test(a_factor_of_zero_hides_no_gradient),
        cmocka_unit_test(a_batch_that_nobody_answered_makes_all_use_fade),
        cmocka_unit_test(jitter_stays_in_its_range_and_repeats_with_its_seed),
        cmocka_unit_test(dropout_keeps_each_coordinate_with_its_probability),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
