/* SPDX-License-Identifier: MIT */
/* Steps of the optimizers against torch's (tests/vectors/experts.json), and that a step happens as a whole or not at all. */
#include <math.h>

#include "base/limits.h"
#include "server/numbers.h"
#include "server/optimizer.h"
#include "server/pass.h"

static const double tolerance = 1e-5;

/* A backend and a batch for it. */
struct trained {
    struct test_mem mem;
    struct skep_class class;
    struct skep_training training;
    struct skep_backend backend;
    size_t rows, hidden;
};

static const struct skep_training adam = {.optimizer = SKEP_OPTIMIZER_ADAM, .learning_rate = 1e-3};

static int open_backend(struct trained *t, const struct skep_mem *mem,
                        const skep_expert_class *class, size_t hidden,
                        const struct skep_training *training)
{
    struct skep_prng prng;
    char why[128];

    memset(&t->backend, 0, sizeof t->backend);
    t->training = *training;
    t->hidden = hidden;
    t->rows = 5;
    skep_prng_init(&prng, 3);
    assert_int_equal(skep_class_open(&t->class, class, hidden, NULL, why, sizeof why), 0);
    return skep_backend_init(&t->backend, mem, &t->class, &t->training, test_sgemm(), &prng);
}

static void trained_init(struct trained *t, const char *class, size_t hidden,
                         const struct skep_training *training)
{
    test_mem_init(&t->mem);
    assert_int_equal(open_backend(t, &t->mem.mem, skep_expert_class_find(class), hidden, training),
                     0);
}

static void close_backend(struct trained *t)
{
    if (t->backend.mem)
        skep_backend_fini(&t->backend);
    skep_class_close(&t->class);
}

static void trained_fini(struct trained *t)
{
    close_backend(t);
    assert_int_equal(t->mem.live, 0);
}

/* As generate_experts.py set_parameters(). */
static void draw_parameters(struct trained *t, uint32_t seed)
{
    for (size_t i = 0; i < t->class.schema.parameter_count; i++) {
        float *drawn = test_draw(seed + (uint32_t)i, t->backend.counts[i], 0.3f);

        for (size_t j = 0; j < t->backend.counts[i]; j++)
            t->backend.parameters[i][j] =
                drawn[j] + (t->class.schema.parameters[i].axes == 1 ? 0.5f : 0);
        free(drawn);
    }
}

static int step_with(struct trained *t, const float *x, const float *grad, float *dx)
{
    const skep_tensor input = {
        .dtype = SKEP_FLOAT32, .axes = 2, .shape = {t->rows, t->hidden}, .data = x};
    skep_tensor output = input;

    output.data = grad;
    return skep_backend_backward(&t->backend, t->rows, 5, &input, &output, (void *[]){dx});
}

/* A step on the batch of a seed. @return what backward returned; dx is the caller's to free. */
static int step(struct trained *t, uint32_t seed, float **dx)
{
    size_t count = t->rows * t->hidden;
    float *x = test_draw(seed + 100, count, 2), *grad = test_draw(seed + 200, count, 1);
    int rc;

    *dx = test_draw(1, count, 1);
    rc = step_with(t, x, grad, *dx);
    free(x);
    free(grad);
    return rc;
}

static void steps(struct trained *t, uint32_t seed, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float *dx;

        assert_int_equal(step(t, seed + (uint32_t)i, &dx), 0);
        free(dx);
    }
}

static struct skep_training training_of(const json_t *vector)
{
    bool is_adam = strcmp(test_str(vector, "optimizer"), "adam") == 0;
    const json_t *clip = test_get(vector, "clip"), *schedule = test_get(vector, "schedule");
    struct skep_training out = {
        .optimizer = is_adam ? SKEP_OPTIMIZER_ADAM : SKEP_OPTIMIZER_SGD,
        .learning_rate = is_adam ? 1e-3 : 1e-2,
        .clip_grad_norm = json_number_value(clip),
    };

    if (json_is_array(schedule)) {
        out.schedule = SKEP_SCHEDULE_LINEAR;
        out.warmup_steps = (uint64_t)json_integer_value(json_array_get(schedule, 0));
        out.training_steps = (uint64_t)json_integer_value(json_array_get(schedule, 1));
    }
    return out;
}

static void check_training(const json_t *vector)
{
    const json_t *gradients = test_get(vector, "input_gradients");
    const json_t *rates = test_get(vector, "rates"), *parameters = test_get(vector, "parameters");
    uint32_t seed = (uint32_t)json_integer_value(test_get(vector, "seed"));
    const struct skep_training training = training_of(vector);
    struct trained t;
    size_t count;

    trained_init(&t, "ffn", (size_t)json_integer_value(test_get(vector, "hidden")), &training);
    draw_parameters(&t, seed);
    for (size_t i = 0; i < json_array_size(gradients); i++) {
        float *dx, *expected = test_floats(json_string_value(json_array_get(gradients, i)), &count);
        double rate = json_number_value(json_array_get(rates, i));

        assert_true(fabs(skep_training_rate(&t.training, i) - rate) <= 1e-15);
        assert_int_equal(step(&t, seed + (uint32_t)i, &dx), 0);
        test_close(dx, expected, count, tolerance, test_str(vector, "what"));
        free(dx);
        free(expected);
    }
    assert_int_equal(t.backend.step, json_array_size(gradients));
    for (size_t i = 0; i < t.class.schema.parameter_count; i++) {
        const char *name = t.class.schema.parameters[i].name;
        float *expected = test_floats(test_str(parameters, name), &count);

        assert_int_equal(count, t.backend.counts[i]);
        test_close(t.backend.parameters[i], expected, count, tolerance, name);
        free(expected);
    }
    trained_fini(&t);
}

static void ten_steps_of_every_optimizer_are_torchs(void **state)
{
    const json_t *trainings = test_get(test_vectors("experts.json"), "training"), *vector;
    size_t i;

    (void)state;
    json_array_foreach(trainings, i, vector) check_training(vector);
}

static void a_schedule_rises_to_its_top_and_falls_to_zero(void **state)
{
    const struct skep_training t = {.learning_rate = 2,
                                    .schedule = SKEP_SCHEDULE_LINEAR,
                                    .warmup_steps = 4,
                                    .training_steps = 10};
    const struct skep_training none = {.learning_rate = 2,
                                       .schedule = SKEP_SCHEDULE_LINEAR,
                                       .warmup_steps = 4,
                                       .training_steps = 2};
    static const double expected[] = {0, 0.5, 1, 1.5, 2, 10. / 6, 8. / 6, 1, 4. / 6, 2. / 6, 0, 0};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(expected); i++)
        assert_true(fabs(skep_training_rate(&t, i) - expected[i]) < 1e-12);
    assert_true(skep_training_rate(&t, UINT64_MAX) == 0);
    assert_true(skep_training_rate(&none, 3) == 1.5 && skep_training_rate(&none, 4) == 0);
}

/* Everything that a step changes. */
struct snapshot {
    float *numbers;
    size_t count;
    uint64_t step;
};

static void copy_numbers(struct snapshot *s, float *const *from, const struct skep_backend *b)
{
    for (size_t i = 0; i < b->class->schema.parameter_count; i++) {
        if (!from[i])
            continue;
        s->numbers = realloc(s->numbers, (s->count + b->counts[i] + 1) * sizeof(float));
        memcpy(s->numbers + s->count, from[i], b->counts[i] * sizeof(float));
        s->count += b->counts[i];
    }
}

static struct snapshot snapshot_of(const struct skep_backend *b)
{
    struct snapshot s = {.step = b->step};

    copy_numbers(&s, b->parameters, b);
    copy_numbers(&s, b->exp_avg, b);
    copy_numbers(&s, b->exp_avg_sq, b);
    return s;
}

static bool snapshots_equal(struct snapshot *a, struct snapshot *b)
{
    bool equal = a->step == b->step && a->count == b->count &&
                 memcmp(a->numbers, b->numbers, a->count * sizeof(float)) == 0;

    free(a->numbers);
    free(b->numbers);
    return equal;
}

static void a_gradient_that_is_not_finite_changes_nothing_and_is_counted(void **state)
{
    static const float bad[] = {NAN, INFINITY, 3e38f, 2e18f};
    static const double clips[] = {0, 1};

    (void)state;
    for (size_t c = 0; c < SKEP_COUNT_OF(clips); c++)
        for (size_t i = 0; i < SKEP_COUNT_OF(bad); i++) {
            struct skep_training training = adam;
            struct trained t;
            struct snapshot before, after;
            float *x = test_draw(1, 5 * 16, 1), *grad = test_draw(2, 5 * 16, 1), dx[5 * 16];

            training.clip_grad_norm = clips[c];
            trained_init(&t, "ffn", 16, &training);
            steps(&t, 10, 2);
            before = snapshot_of(&t.backend);
            grad[17] = bad[i];
            assert_int_equal(step_with(&t, x, grad, dx), SKEP_EVALUE);
            assert_int_equal(t.backend.steps_refused, 1);
            after = snapshot_of(&t.backend);
            assert_true(snapshots_equal(&before, &after));
            steps(&t, 12, 1);
            assert_int_equal(t.backend.step, 3);
            trained_fini(&t);
            free(x);
            free(grad);
        }
}

/* The ffn's gradients handed out by a class of our own: whole, in odd pieces, with gaps, or wrongly. */
enum {
    TILES_AS_THEY_ARE,
    TILES_GATHERED,
    WITH_GAPS,
    PAST_THE_END,
    NO_SUCH_PARAMETER,
    BACKWARDS,
    FAILING
};
static int behaviour;

static int open_odd(size_t hidden, const char *options, skep_class_schema *schema, void **state,
                    char *why, size_t why_len)
{
    int rc = skep_expert_class_find("ffn")->open(hidden, options, schema, state, why, why_len);

    schema->gradients_are_final = behaviour != TILES_GATHERED;
    return rc;
}

static int forward_odd(skep_pass *pass, const skep_tensor *inputs, void *const *outputs)
{
    return skep_expert_class_find("ffn")->forward(pass, inputs, outputs);
}

static int backward_odd(skep_pass *pass, const skep_tensor *inputs, const skep_tensor *grads,
                        void *const *grad_inputs)
{
    const skep_expert_class *ffn = skep_expert_class_find("ffn");
    const float ones[4] = {1, 1, 1, 1};

    if (behaviour <= TILES_GATHERED)
        return ffn->backward(pass, inputs, grads, grad_inputs);
    memset(grad_inputs[0], 0, skep_tensor_bytes(&inputs[0]));
    switch (behaviour) {
    case WITH_GAPS:
        pass->gradient(pass, 0, 3, ones, 4);
        pass->gradient(pass, 0, 9, ones, 2);
        break;
    case PAST_THE_END: pass->gradient(pass, 1, 4 * inputs[0].shape[1] - 3, ones, 4); break;
    case NO_SUCH_PARAMETER: pass->gradient(pass, 6, 0, ones, 1); break;
    case BACKWARDS:
        pass->gradient(pass, 0, 9, ones, 2);
        pass->gradient(pass, 0, 3, ones, 2);
        break;
    case FAILING: return SKEP_EREFUSED;
    default: break;
    }
    return 0;
}

static const skep_expert_class odd = {SKEP_CLASS_ABI, "odd",       open_odd,
                                      NULL,           forward_odd, backward_odd};

static void odd_init(struct trained *t, int behave, const struct skep_training *training)
{
    behaviour = behave;
    test_mem_init(&t->mem);
    assert_int_equal(open_backend(t, &t->mem.mem, &odd, 16, training), 0);
}

static void gradients_applied_at_once_and_gathered_give_the_same_bits(void **state)
{
    struct trained at_once, gathered;
    struct snapshot a, b;

    (void)state;
    odd_init(&gathered, TILES_GATHERED, &adam);
    steps(&gathered, 40, 4);
    odd_init(&at_once, TILES_AS_THEY_ARE, &adam);
    steps(&at_once, 40, 4);
    a = snapshot_of(&at_once.backend);
    b = snapshot_of(&gathered.backend);
    assert_true(snapshots_equal(&a, &b));
    trained_fini(&at_once);
    trained_fini(&gathered);
}

static void what_no_gradient_is_handed_out_for_has_a_gradient_of_zero(void **state)
{
    static const double clips[] = {0, 1e9}; /* at once, gathered */

    (void)state;
    for (size_t c = 0; c < 2; c++) {
        struct skep_training training = adam;
        struct trained t;
        struct snapshot before, after;
        size_t moved = 0;

        training.clip_grad_norm = clips[c];
        odd_init(&t, WITH_GAPS, &training);
        before = snapshot_of(&t.backend);
        steps(&t, 50, 1);
        after = snapshot_of(&t.backend);
        for (size_t i = 0; i < t.backend.counts[0]; i++) {
            bool given = (i >= 3 && i < 7) || i == 9 || i == 10;

            moved += before.numbers[i] != after.numbers[i];
            assert_int_equal(before.numbers[i] != after.numbers[i], given);
            assert_true(t.backend.exp_avg[0][i] == (given ? (float)(1 - 0.9) : 0));
        }
        assert_int_equal(moved, 6);
        assert_false(snapshots_equal(&before, &after));
        /* A moment from before moves it on, as torch's Adam does with a gradient of zero. */
        t.backend.exp_avg[5][2] = t.backend.exp_avg_sq[5][2] = 1;
        steps(&t, 51, 1);
        assert_true(t.backend.parameters[5][2] < 0);
        assert_true(fabsf(t.backend.exp_avg[5][2] - 0.9f) < 1e-6f);
        trained_fini(&t);
    }
}

static void a_class_that_hands_out_what_is_not_there_is_stopped(void **state)
{
    static const int wrong[] = {PAST_THE_END, NO_SUCH_PARAMETER, BACKWARDS};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(wrong); i++) {
        struct trained t;
        float *dx;

        odd_init(&t, wrong[i], &adam);
        assert_int_equal(step(&t, 60, &dx), SKEP_EINVAL);
        assert_int_equal(t.backend.step, 0);
        free(dx);
        trained_fini(&t);
    }
}

static void what_the_class_returns_comes_back_and_nothing_changed(void **state)
{
    struct trained t;
    struct snapshot before, after;
    float *dx;

    (void)state;
    odd_init(&t, FAILING, &adam);
    before = snapshot_of(&t.backend);
    assert_int_equal(step(&t, 70, &dx), SKEP_EREFUSED);
    after = snapshot_of(&t.backend);
    assert_true(snapshots_equal(&before, &after));
    assert_int_equal(t.backend.steps_refused, 0);
    free(dx);
    trained_fini(&t);
}

static void without_an_optimizer_gradients_flow_and_nothing_moves(void **state)
{
    const struct skep_training none = {.optimizer = SKEP_OPTIMIZER_NONE};
    static const char *const classes[] = {"ffn", "nop"};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(classes); i++) {
        struct trained frozen, training;
        struct snapshot before, after;
        float *dx, *expected;

        trained_init(&frozen, classes[i], 16, &none);
        trained_init(&training, classes[i], 16, &adam);
        before = snapshot_of(&frozen.backend);
        assert_int_equal(step(&frozen, 80, &dx), 0);
        assert_int_equal(step(&training, 80, &expected), 0);
        assert_memory_equal(dx, expected, 5 * 16 * sizeof(float));
        after = snapshot_of(&frozen.backend);
        assert_true(snapshots_equal(&before, &after));
        assert_int_equal(frozen.backend.step, 0);
        free(dx);
        free(expected);
        trained_fini(&frozen);
        trained_fini(&training);
    }
}

static void integers_get_gradients_of_zero(void **state)
{
    struct trained t;
    float *x = test_draw(1, 5 * 16, 1), dx[5 * 16];
    int64_t mask[5 * 16], dmask[5 * 16];
    skep_tensor inputs[2], grad;

    (void)state;
    trained_init(&t, "det_dropout", 16, &adam);
    for (size_t i = 0; i < 5 * 16; i++)
        mask[i] = dmask[i] = 1;
    grad = inputs[0] = inputs[1] =
        (skep_tensor){.dtype = SKEP_FLOAT32, .axes = 2, .shape = {5, 16}, .data = x};
    inputs[1].dtype = SKEP_INT64;
    inputs[1].data = mask;
    assert_int_equal(skep_backend_backward(&t.backend, 5, 1, inputs, &grad, (void *[]){dx, dmask}),
                     0);
    for (size_t i = 0; i < 5 * 16; i++)
        assert_int_equal(dmask[i], 0);
    free(x);
    trained_fini(&t);
}

static void first_values_are_torchs_ranges(void **state)
{
    struct trained t;

    (void)state;
    trained_init(&t, "transformer", 64, &adam);
    for (size_t i = 0; i < t.class.schema.parameter_count; i++) {
        const skep_parameter_schema *parameter = &t.class.schema.parameters[i];
        double most = 0, sum = 0;

        for (size_t j = 0; j < t.backend.counts[i]; j++) {
            most = fmax(most, fabs((double)t.backend.parameters[i][j]));
            sum += (double)t.backend.parameters[i][j];
            assert_true(t.backend.exp_avg[i][j] == 0 && t.backend.exp_avg_sq[i][j] == 0);
        }
        assert_int_equal((uintptr_t)t.backend.parameters[i] % 64, 0);
        assert_true(most <= (double)(float)parameter->init_value);
        if (parameter->init == SKEP_INIT_CONSTANT)
            assert_true(sum == parameter->init_value * (double)t.backend.counts[i]);
        else
            assert_true(most > 0.9 * parameter->init_value &&
                        fabs(sum) < 8 * parameter->init_value * sqrt((double)t.backend.counts[i]));
    }
    trained_fini(&t);
}

/* init, a forward and two steps. */
static int train(const struct skep_mem *mem, void *user)
{
    struct skep_training training = adam;
    struct trained t;
    struct snapshot before = {0}, after = {0};
    float *x = test_draw(1, 5 * 16, 1), out[5 * 16];
    const skep_tensor input = {.dtype = SKEP_FLOAT32, .axes = 2, .shape = {5, 16}, .data = x};
    int rc;

    training.clip_grad_norm = *(double *)user;
    rc = open_backend(&t, mem, skep_expert_class_find("ffn"), 16, &training);
    if (rc == 0)
        rc = skep_backend_forward(&t.backend, 5, 1, &input, (void *[]){out});
    for (size_t i = 0; rc == 0 && i < 2; i++) {
        before = snapshot_of(&t.backend);
        rc = step_with(&t, x, x, out);
        after = snapshot_of(&t.backend);
        assert_int_equal(snapshots_equal(&before, &after), rc != 0);
    }
    close_backend(&t);
    free(x);
    return rc;
}

static void a_step_without_memory_changes_nothing_and_leaks_nothing(void **state)
{
    double at_once = 0, gathered = 1;

    (void)state;
    test_each_allocation_fails(train, &at_once);
    test_each_allocation_fails(train, &gathered);
}

static void passes_of_the_same_size_allocate_nothing_after_the_first(void **state)
{
    struct trained t;
    size_t after_first;

    (void)state;
    trained_init(&t, "ffn", 16, &adam);
    steps(&t, 90, 1);
    after_first = t.mem.allocations;
    steps(&t, 91, 10);
    assert_int_equal(t.mem.allocations, after_first);
    trained_fini(&t);
}

/* Takes as much scratch memory as it is told. */
static size_t wanted;

static int take_much(skep_pass *pass, const skep_tensor *inputs, void *const *outputs)
{
    char *a = pass->alloc(pass, wanted / 2), *b = pass->alloc(pass, wanted - wanted / 2);

    (void)inputs, (void)outputs;
    assert_true((uintptr_t)a % 64 == 0 && (uintptr_t)b % 64 == 0);
    return a && b ? 0 : SKEP_ENOMEM;
}

static size_t bytes_kept(struct trained *t, size_t bytes)
{
    size_t before = t->mem.live_bytes;

    wanted = bytes;
    assert_int_equal(skep_backend_forward(&t->backend, 1, 1, NULL, NULL), 0);
    return t->mem.live_bytes - before;
}

static void a_worker_keeps_at_most_192_mib_of_scratch_memory(void **state)
{
    skep_expert_class greedy = odd;
    struct trained t;
    size_t live, passes = 0;

    (void)state;
    greedy.forward = take_much;
    test_mem_init(&t.mem);
    assert_int_equal(open_backend(&t, &t.mem.mem, &greedy, 16, &adam), 0);
    assert_int_equal(bytes_kept(&t, SKEP_SCRATCH_KEPT_MAX + 128), 0);
    assert_true(bytes_kept(&t, SKEP_SCRATCH_KEPT_MAX) >= SKEP_SCRATCH_KEPT_MAX);
    /* What is hardly used for long is given back. */
    live = t.mem.live_bytes;
    while (t.mem.live_bytes == live && passes++ < 1000)
        (void)bytes_kept(&t, 100);
    assert_in_range(passes, 32, 256);
    trained_fini(&t);
}

static void the_largest_number_is_found_wherever_it_is(void **state)
{
    float v[77] = {0};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(v); i++) {
        v[i] = -3;
        assert_true(skep_max_abs(v, SKEP_COUNT_OF(v)) == 3);
        v[i] = INFINITY;
        assert_true(isinf(skep_max_abs(v, SKEP_COUNT_OF(v))));
        v[i] = -NAN;
        assert_true(isnan(skep_max_abs(v, SKEP_COUNT_OF(v))));
        v[i] = 0;
    }
    assert_false(skep_products_are_fine(1, NAN, 0));
    assert_false(skep_products_are_fine(1, 0, INFINITY));
    assert_false(skep_products_are_fine(10, 1e9f, 1e9f));
    assert_true(skep_products_are_fine(9, 1e8f, 1e9f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_steps_of_every_optimizer_are_torchs),
        cmocka_unit_test(a_schedule_rises_to_its_top_and_falls_to_zero),
        cmocka_unit_test(a_gradient_that_is_not_finite_changes_nothing_and_is_counted),
        cmocka_unit_test(gradients_applied_at_once_and_gathered_give_the_same_bits),
        cmocka_unit_test(what_no_gradient_is_handed_out_for_has_a_gradient_of_zero),
        cmocka_unit_test(a_class_that_hands_out_what_is_not_there_is_stopped),
        cmocka_unit_test(what_the_class_returns_comes_back_and_nothing_changed),
        cmocka_unit_test(without_an_optimizer_gradients_flow_and_nothing_moves),
        cmocka_unit_test(integers_get_gradients_of_zero),
        cmocka_unit_test(first_values_are_torchs_ranges),
        cmocka_unit_test(a_step_without_memory_changes_nothing_and_leaks_nothing),
        cmocka_unit_test(passes_of_the_same_size_allocate_nothing_after_the_first),
        cmocka_unit_test(a_worker_keeps_at_most_192_mib_of_scratch_memory),
        cmocka_unit_test(the_largest_number_is_found_wherever_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
