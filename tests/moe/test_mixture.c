/* SPDX-License-Identifier: MIT */
/* Mixtures in virtual time: which calls are made, when waiting ends, who is masked, what fails and how. The numbers are in test_mixture_property. */
#include <math.h>

#include "moe/mixture_world.h"

enum { FEATURES = 4, BATCH = 12 };

static float numbers[BATCH * FEATURES];

static skep_tensor some_rows(size_t rows)
{
    struct skep_prng prng;

    skep_prng_init(&prng, 9);
    for (size_t i = 0; i < SKEP_COUNT_OF(numbers); i++)
        numbers[i] = (float)(2 * skep_prng_unit(&prng) - 1);
    return rows_of(numbers, rows, FEATURES);
}

/* What the experts do: a list of exceptions by uid. */
struct rule {
    const char *uid; /* NULL: all */
    struct fake_behaviour behaviour;
};

static const struct rule *rules;
static size_t rule_count;

static void by_rules(struct fake_experts *experts, const struct skep_expert_request *request,
                     struct fake_behaviour *behaviour)
{
    (void)experts;
    behaviour->delay_us = 1000;
    for (size_t i = 0; i < rule_count; i++) {
        if (rules[i].uid && !skep_bytes_equal(request->uid, skep_bytes_str(rules[i].uid)))
            continue;
        *behaviour = rules[i].behaviour;
        behaviour->outputs = SKEP_MAX(behaviour->outputs, (size_t)1);
        return;
    }
}

#define RULES(world, ...)                                                                          \
    do {                                                                                           \
        static const struct rule of_test[] = {__VA_ARGS__};                                        \
        rules = of_test;                                                                           \
        rule_count = SKEP_COUNT_OF(of_test);                                                       \
        (world)->experts.behave = by_rules;                                                        \
    } while (0)

/* One dimension of so many experts, all alive: with one sample, k_best of them are asked. */
static void set_up(struct mix_world *world, uint32_t experts, size_t k_best)
{
    world_init(world, experts, 0, FEATURES);
    world->options.k_best = k_best;
    world_declare_all(world);
    rules = NULL;
    rule_count = 0;
    world->experts.behave = by_rules;
}

/* ---- calls ---- */

static void one_call_an_expert_carries_all_its_samples(void **state)
{
    const skep_tensor input = some_rows(BATCH);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    world_init(&world, 3, 2, FEATURES);
    world.options.k_best = 3;
    world_declare_all(&world);
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_in_range(world.experts.forwards, 3, 6);
    assert_int_equal(world.experts.rows, 3 * BATCH);
    assert_int_equal(pass.forward.report.calls, world.experts.forwards);
    assert_int_equal(pass.forward.report.columns, 3);
    assert_int_equal(pass.forward.report.failed, 0);
    assert_true(pass.forward.report.search.gets > 0);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void rows_come_in_the_order_of_the_samples(struct fake_experts *experts,
                                                  const struct skep_expert_request *request)
{
    const float *data = request->tensors[0].data;
    size_t found = 0;

    (void)experts;
    for (size_t r = 0; r < request->tensors[0].shape[0]; r++) {
        while (found < BATCH && memcmp(numbers + found * FEATURES, data + r * FEATURES,
                                       FEATURES * sizeof *data) != 0)
            found++;
        assert_true(found++ < BATCH);
    }
}

static void a_call_has_the_rows_of_its_samples_and_no_others(void **state)
{
    const skep_tensor input = some_rows(BATCH);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    set_up(&world, 5, 2);
    world.experts.see = rows_come_in_the_order_of_the_samples;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_int_equal(world.experts.rows, 2 * BATCH);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void a_batch_above_what_a_call_takes_is_cut(void **state)
{
    size_t rows = SKEP_MIXTURE_CALL_ROWS + 1;
    float *many = calloc(rows * FEATURES, sizeof *many);
    const skep_tensor input = rows_of(many, rows, FEATURES);
    struct mix_world world;
    struct forward_pass pass;
    struct backward_pass back;

    (void)state;
    set_up(&world, 1, 1);
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_int_equal(world.experts.forwards, 2);
    assert_int_equal(world.experts.rows_most, SKEP_MIXTURE_CALL_ROWS);
    assert_int_equal(backward_run(&pass, &back, pass.forward.outputs, 1, 0), 0);
    assert_int_equal(world.experts.backwards, 2);
    assert_int_equal(world.experts.rows, 2 * rows);
    skep_mixer_backward_fini(&back.backward);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
    free(many);
}

/* ---- the end of waiting ---- */

static uint64_t elapsed(const struct forward_pass *pass)
{
    return pass->forward.report.elapsed_us - pass->forward.report.search.elapsed_us;
}

static void stragglers_get_a_while_after_k_min(void **state)
{
    const skep_tensor input = some_rows(1);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    set_up(&world, 4, 4);
    RULES(&world, {"e.1", {.delay_us = 100000}}, {"e.2", {.delay_us = 140000}},
          {"e.3", {.delay_us = 151001}}, {"e.0", {.delay_us = 50000}});
    world.options.k_min = 2;
    world.options.timeout_after_k_min_us = 51000;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_int_equal(elapsed(&pass), 151000);
    assert_int_equal(answered_of(&pass.forward.report, 0), 3);
    for (size_t j = 0; j < 4; j++)
        assert_int_equal(pass.forward.report.answered[j],
                         strcmp(cell_uid(&pass.forward.report, 0, j), "e.3") != 0);
    assert_int_equal(pass.forward.report.failed, 1);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void every_sample_must_have_k_min_before_the_stragglers_time_runs(void **state)
{
    const skep_tensor input = some_rows(BATCH);
    struct mix_world world;
    struct forward_pass pass;
    size_t waiting = 0;

    (void)state;
    set_up(&world, 6, 2);
    /* Whoever has both e.0 and e.1 has to wait for the faster of them. */
    RULES(&world, {"e.0", {.delay_us = 700000}}, {"e.1", {.delay_us = 500000}});
    world.options.timeout_after_k_min_us = 100000;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    for (size_t i = 0; i < BATCH; i++)
        waiting += cell_uid(&pass.forward.report, i, 0)[2] < '2' &&
                   cell_uid(&pass.forward.report, i, 1)[2] < '2';
    assert_int_equal(elapsed(&pass), waiting > 0 ? 600000 : 101000);
    for (size_t i = 0; i < BATCH; i++)
        assert_true(answered_of(&pass.forward.report, i) >= 1);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void with_k_min_0_all_are_waited_for(void **state)
{
    const skep_tensor input = some_rows(1);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    set_up(&world, 3, 3);
    RULES(&world, {"e.1", {.delay_us = 900000}});
    world.options.k_min = 0;
    world.options.timeout_after_k_min_us = 1000;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_int_equal(elapsed(&pass), 900000);
    assert_int_equal(answered_of(&pass.forward.report, 0), 3);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void the_timeout_ends_the_wait_and_counts_the_rest_as_failed(void **state)
{
    const skep_tensor input = some_rows(1);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    set_up(&world, 3, 3);
    RULES(&world, {"e.1", {.hang = true}});
    world.options.forward_timeout_us = 300000;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_int_equal(elapsed(&pass), 300000);
    assert_int_equal(answered_of(&pass.forward.report, 0), 2);
    assert_int_equal(pass.forward.report.failed, 1);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void too_few_answers_in_total_fail_the_forward(void **state)
{
    const skep_tensor input = some_rows(1);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    set_up(&world, 3, 3);
    RULES(&world, {"e.1", {.rc = SKEP_ELOST}}, {"e.2", {.rc = SKEP_EPEER_REMOTE, .text = "no\n"}});
    world.options.k_min = 2;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), SKEP_ETIMEDOUT);
    assert_non_null(strstr(pass.text, "less than 2 experts answered: 2 of 3 calls failed"));
    assert_null(strchr(pass.text, '\n'));
    assert_null(pass.forward.outputs);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void k_min_counts_samples_and_experts_together(void **state)
{
    const skep_tensor input = some_rows(BATCH);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    /* No sample has two answers, but there are two and more in all: hivemind is content. */
    set_up(&world, 2, 2);
    RULES(&world, {"e.1", {.rc = SKEP_ELOST}});
    world.options.k_min = 2;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    for (size_t i = 0; i < BATCH; i++)
        assert_int_equal(answered_of(&pass.forward.report, i), 1);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

/* ---- nobody answers ---- */

static void without_experts_there_is_nothing_to_call(void **state)
{
    const skep_tensor input = some_rows(2);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    world_init(&world, 3, 0, FEATURES);
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), SKEP_ENOTFOUND);
    assert_string_equal(pass.text, "no expert was found");
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void zeros_stand_for_nobody_once_their_shape_is_known(void **state)
{
    const skep_tensor input = some_rows(2);
    struct mix_world world;
    struct forward_pass pass;
    struct backward_pass back;

    (void)state;
    set_up(&world, 3, 2);
    RULES(&world, {NULL, {.rc = SKEP_EUNREACH}});
    world.options.k_min = world.options.backward_k_min = 0;
    world.options.allow_zero_outputs = true;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), SKEP_EUNREACH);
    skep_mixer_forward_fini(&pass.forward);
    rule_count = 0;
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    skep_mixer_forward_fini(&pass.forward);
    rule_count = 1;
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_int_equal(pass.forward.outputs[0].shape[0], 2);
    for (size_t i = 0; i < (size_t)2 * FEATURES; i++)
        assert_true(((const float *)pass.forward.outputs[0].data)[i] == 0);
    /* No expert, no gradient. */
    assert_int_equal(backward_run(&pass, &back, &input, 1, 0), 0);
    assert_int_equal(world.experts.backwards, 0);
    for (size_t i = 0; i < (size_t)2 * FEATURES; i++)
        assert_true(((const float *)back.backward.grad_inputs[0].data)[i] == 0);
    skep_mixer_backward_fini(&back.backward);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void nobody_is_an_error_where_zeros_are_not_allowed(void **state)
{
    const skep_tensor input = some_rows(2);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    set_up(&world, 3, 2);
    RULES(&world, {NULL, {.start_rc = SKEP_EINVAL, .text = "input 0 is too wide"}});
    world.options.k_min = 0;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), SKEP_EUNREACH);
    assert_non_null(strstr(pass.text, "input 0 is too wide"));
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

/* Sample 0 has nobody; others have somebody. */
static void check_lonely_sample(bool allow_zero_outputs)
{
    const skep_tensor input = some_rows(BATCH);
    struct mix_world world;
    struct forward_pass pass;
    size_t lonely = 0;

    set_up(&world, 6, 1);
    RULES(&world, {"e.0", {.rc = SKEP_ELOST}}, {"e.1", {.rc = SKEP_ELOST}},
          {"e.2", {.rc = SKEP_ELOST}}, {"e.3", {.rc = SKEP_ELOST}});
    world.options.allow_zero_outputs = allow_zero_outputs;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    for (size_t i = 0; i < BATCH; i++) {
        float first = ((const float *)pass.forward.outputs[0].data)[i * FEATURES];

        if (answered_of(&pass.forward.report, i) > 0) {
            assert_true(isfinite(first) && pass.forward.report.weights[i] == 1);
            continue;
        }
        lonely++;
        assert_true(pass.forward.report.weights[i] == 0);
        assert_true(allow_zero_outputs ? first == 0 : isnan(first));
    }
    assert_in_range(lonely, 1, BATCH - 1);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void a_sample_that_nobody_answered_has_zeros_if_allowed_else_nan(void **state)
{
    (void)state;
    check_lonely_sample(true);
    check_lonely_sample(false);
}

/* ---- anomalies ---- */

static void an_input_that_is_not_finite_is_refused_before_any_call(void **state)
{
    skep_tensor input = some_rows(2);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    numbers[5] = INFINITY;
    set_up(&world, 3, 2);
    world.options.detect_anomalies = true;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), SKEP_EVALUE);
    assert_int_equal(fake_dht_counts(world.dht)->gets, 0);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void scores_that_are_no_numbers_are_refused_by_the_search(void **state)
{
    skep_tensor input = some_rows(2);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    numbers[5] = NAN;
    set_up(&world, 3, 2);
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), SKEP_EINVAL);
    assert_non_null(strstr(pass.text, "example 1"));
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void an_answer_that_is_not_finite_is_a_failure_for_its_sample_only(void **state)
{
    const skep_tensor input = some_rows(3);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    set_up(&world, 2, 2);
    RULES(&world, {"e.1", {.nan_rows = {[1] = true}}});
    world.options.detect_anomalies = true;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_int_equal(answered_of(&pass.forward.report, 0), 2);
    assert_int_equal(answered_of(&pass.forward.report, 1), 1);
    assert_int_equal(answered_of(&pass.forward.report, 2), 2);
    assert_int_equal(pass.forward.report.failed, 0);
    for (size_t i = 0; i < (size_t)3 * FEATURES; i++)
        assert_true(isfinite(((const float *)pass.forward.outputs[0].data)[i]));
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void without_detection_nan_goes_through(void **state)
{
    const skep_tensor input = some_rows(3);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    set_up(&world, 2, 2);
    RULES(&world, {"e.1", {.nan_rows = {[1] = true}}});
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_int_equal(answered_of(&pass.forward.report, 1), 2);
    assert_true(isnan(((const float *)pass.forward.outputs[0].data)[FEATURES]));
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void gradients_that_are_not_finite_are_refused_or_masked(void **state)
{
    const skep_tensor input = some_rows(2);
    float grads[2 * FEATURES] = {0, NAN};
    skep_tensor grad = rows_of(grads, 2, FEATURES);
    struct mix_world world;
    struct forward_pass pass;
    struct backward_pass back;

    (void)state;
    set_up(&world, 2, 2);
    world.options.detect_anomalies = true;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_int_equal(backward_run(&pass, &back, &grad, 1, 0), SKEP_EVALUE);
    assert_int_equal(world.experts.backwards, 0);
    skep_mixer_backward_fini(&back.backward);
    skep_mixer_forward_fini(&pass.forward);

    RULES(&world, {"e.0", {.nan_rows = {[0] = true}}});
    rule_count = 0;
    grads[1] = 1;
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    rule_count = 1;
    assert_int_equal(backward_run(&pass, &back, &grad, 1, 0), 0);
    assert_int_equal(answered_of(&back.backward.report, 0), 1);
    assert_int_equal(answered_of(&back.backward.report, 1), 2);
    for (size_t i = 0; i < (size_t)2 * FEATURES; i++)
        assert_true(isfinite(((const float *)back.backward.grad_inputs[0].data)[i]));
    skep_mixer_backward_fini(&back.backward);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

/* ---- answers of other shapes ---- */

static void answers_of_odd_shapes_are_failures(void **state)
{
    const skep_tensor input = some_rows(2);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    set_up(&world, 5, 5);
    RULES(&world, {"e.0", {.delay_us = 1}}, {"e.1", {.delay_us = 2, .extra_rows = 1}},
          {"e.2", {.delay_us = 3, .extra_width = 1}}, {"e.3", {.delay_us = 4, .outputs = 2}},
          {"e.4", {.delay_us = 5, .extra_count = SKEP_EXPERT_TENSORS_MAX}});
    /* The fake has no room for that many. */
    rule_count = 4;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_int_equal(pass.forward.report.failed, 3);
    for (size_t j = 0; j < 5; j++)
        assert_int_equal(pass.forward.report.answered[j],
                         strchr("04", cell_uid(&pass.forward.report, 0, j)[2]) != NULL);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void an_output_far_longer_than_the_input_is_refused(void **state)
{
    /* One expert of two samples answers the first of them with a row that the batch cannot all have. */
    size_t rows = 64, row = SKEP_MIXTURE_OUTPUT_BYTES / sizeof(float) / 64;
    float *many = calloc(rows * FEATURES, sizeof *many);
    const skep_tensor input = rows_of(many, rows, FEATURES);
    struct mix_world world;
    struct forward_pass pass;
    static struct rule rule = {.uid = NULL};

    (void)state;
    set_up(&world, 1, 1);
    rules = &rule;
    rule_count = 1;
    rule.behaviour = (struct fake_behaviour){.extra_width = row + (SKEP_MIXTURE_OUTPUT_TIMES - 1) *
                                                                      (size_t)FEATURES};
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    skep_mixer_forward_fini(&pass.forward);
    rule.behaviour.extra_width++;
    assert_int_equal(forward_run(&world, &pass, &input, 1), SKEP_ETIMEDOUT);
    assert_non_null(strstr(pass.text, "times as long as the input"));
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
    free(many);
}

static void gradients_of_odd_shapes_are_failures(void **state)
{
    const skep_tensor input = some_rows(2);
    struct mix_world world;
    struct forward_pass pass;
    struct backward_pass back;

    (void)state;
    set_up(&world, 2, 2);
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    RULES(&world, {"e.0", {.extra_count = 1}});
    assert_int_equal(backward_run(&pass, &back, &input, 1, 0), 0);
    assert_int_equal(back.backward.report.failed, 1);
    assert_int_equal(answered_of(&back.backward.report, 0), 1);
    skep_mixer_backward_fini(&back.backward);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

/* ---- failover ---- */

static void spares_take_the_places_of_those_that_fail(void **state)
{
    const skep_tensor input = some_rows(BATCH);
    struct mix_world world;
    struct forward_pass pass;
    struct backward_pass back;

    (void)state;
    set_up(&world, 6, 2);
    RULES(&world, {"e.0", {.rc = SKEP_ELOST}}, {"e.1", {.start_rc = SKEP_EUNREACH}},
          {"e.2", {.rc = SKEP_EPEER_REMOTE, .delay_us = 50}});
    world.options.spares = 4;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_true(pass.forward.report.replaced > 0 && pass.forward.report.failed >= 1);
    for (size_t i = 0; i < BATCH; i++) {
        const char *a = cell_uid(&pass.forward.report, i, 0),
                   *b = cell_uid(&pass.forward.report, i, 1);

        assert_int_equal(answered_of(&pass.forward.report, i), 2);
        assert_true(a[2] > '2' && b[2] > '2' && a[2] != b[2]);
    }
    /* Backward goes to those who answered. */
    rule_count = 0;
    assert_int_equal(backward_run(&pass, &back, &input, 1, 0), 0);
    assert_in_range(world.experts.backwards, 1, 3);
    skep_mixer_backward_fini(&back.backward);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void without_failover_nobody_takes_a_place(void **state)
{
    const skep_tensor input = some_rows(BATCH);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    set_up(&world, 6, 2);
    RULES(&world, {"e.0", {.rc = SKEP_ELOST}});
    world.options.allow_zero_outputs = true;
    snprintf(world.experts.failing[world.experts.failing_count++], 32, "e.1");
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_int_equal(pass.forward.report.replaced, 0);
    assert_int_equal(world.experts.rows, 2 * BATCH);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void a_sample_with_a_bad_row_takes_its_next_best(void **state)
{
    const skep_tensor input = some_rows(2);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    set_up(&world, 2, 1);
    /* Whoever is asked first answers row 0 with NaN; the other one is good. */
    RULES(&world, {"e.0", {.nan_rows = {true, true}}});
    world.options.detect_anomalies = true;
    world.options.spares = 1;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(answered_of(&pass.forward.report, i), 1);
        assert_string_equal(cell_uid(&pass.forward.report, i, 0), "e.1");
    }
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void an_expert_that_hangs_has_half_of_the_time_if_there_are_spares(void **state)
{
    const skep_tensor input = some_rows(1);
    struct mix_world world;
    struct forward_pass pass;
    char slow[32];

    (void)state;
    set_up(&world, 4, 1);
    RULES(&world, {NULL, {.hang = true}});
    world.options.spares = 2;
    world.options.forward_timeout_us = 400000;
    assert_int_equal(world_start(&world), 0);
    /* All hang: the first until half of the time, the second for what is left. */
    assert_int_equal(forward_run(&world, &pass, &input, 1), SKEP_ETIMEDOUT);
    assert_int_equal(elapsed(&pass), 400000);
    assert_int_equal(pass.forward.report.calls, 2);
    assert_int_equal(world.experts.failing_count, 2);
    snprintf(slow, sizeof slow, "%s", world.experts.failing[0]);
    skep_mixer_forward_fini(&pass.forward);

    /* Next time those two are passed over, and there is nothing to wait for. */
    rule_count = 0;
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_true(elapsed(&pass) < 100000);
    assert_string_not_equal(cell_uid(&pass.forward.report, 0, 0), slow);
    assert_int_equal(pass.forward.report.replaced, 1);
    assert_int_equal(pass.forward.report.calls, 1);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void failing_experts_are_asked_where_there_are_no_others(void **state)
{
    const skep_tensor input = some_rows(1);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    set_up(&world, 3, 2);
    world.options.spares = 2;
    for (size_t i = 0; i < 2; i++)
        snprintf(world.experts.failing[world.experts.failing_count++], 32, "e.%zu", i);
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_int_equal(answered_of(&pass.forward.report, 0), 2);
    assert_true(strcmp(cell_uid(&pass.forward.report, 0, 0), "e.2") == 0 ||
                strcmp(cell_uid(&pass.forward.report, 0, 1), "e.2") == 0);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

/* ---- backward ---- */

static void an_expert_that_fails_in_backward_is_a_constant(void **state)
{
    const skep_tensor input = some_rows(3);
    struct mix_world world;
    struct forward_pass pass;
    struct backward_pass whole, part;
    bool differs = false;

    (void)state;
    set_up(&world, 2, 2);
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_int_equal(backward_run(&pass, &whole, &input, 1, 0), 0);
    skep_mixer_forward_fini(&pass.forward);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    RULES(&world, {"e.0", {.rc = SKEP_ELOST}});
    assert_int_equal(backward_run(&pass, &part, &input, 1, 0), 0);
    assert_int_equal(part.backward.report.failed, 1);
    /* The gate learns as much as before: the outputs are known. */
    assert_memory_equal(part.backward.grad_weight, whole.backward.grad_weight,
                        2 * FEATURES * sizeof(float));
    assert_memory_equal(part.backward.grad_bias, whole.backward.grad_bias, 2 * sizeof(float));
    for (size_t i = 0; i < (size_t)3 * FEATURES; i++)
        differs = differs || ((const float *)part.backward.grad_inputs[0].data)[i] !=
                                 ((const float *)whole.backward.grad_inputs[0].data)[i];
    assert_true(differs);
    skep_mixer_backward_fini(&whole.backward);
    skep_mixer_backward_fini(&part.backward);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void too_few_answers_fail_the_backward(void **state)
{
    const skep_tensor input = some_rows(1);
    struct mix_world world;
    struct forward_pass pass;
    struct backward_pass back;

    (void)state;
    set_up(&world, 3, 3);
    world.options.backward_k_min = 2;
    world.options.backward_timeout_us = 70000;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    RULES(&world, {"e.0", {.hang = true}}, {"e.1", {.rc = SKEP_ELOST}});
    assert_int_equal(backward_run(&pass, &back, &input, 1, 0), SKEP_ETIMEDOUT);
    assert_int_equal(back.backward.report.elapsed_us, 70000);
    assert_null(back.backward.grad_inputs);
    skep_mixer_backward_fini(&back.backward);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void a_forward_is_run_backward_once_with_gradients_that_fit(void **state)
{
    const skep_tensor input = some_rows(3);
    skep_tensor odd = rows_of(numbers, 2, FEATURES);
    struct mix_world world;
    struct forward_pass pass;
    struct backward_pass back;

    (void)state;
    set_up(&world, 2, 2);
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_start(&world, &pass, &input, 1), 0);
    assert_int_equal(backward_run(&pass, &back, &input, 1, 0), SKEP_EINVAL);
    test_env_advance(&world.env, SECOND);
    assert_int_equal(pass.ends, 1);
    assert_int_equal(backward_run(&pass, &back, &odd, 1, 0), SKEP_EINVAL);
    assert_int_equal(backward_run(&pass, &back, &input, 0, 0), SKEP_EINVAL);
    odd = input;
    odd.dtype = SKEP_INT32;
    assert_int_equal(backward_run(&pass, &back, &odd, 1, 0), SKEP_EINVAL);
    assert_int_equal(backward_run(&pass, &back, &input, 1, 0), 0);
    skep_mixer_backward_fini(&back.backward);
    assert_int_equal(backward_run(&pass, &back, &input, 1, 0), SKEP_EINVAL);
    assert_non_null(strstr(back.text, "before"));
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void inputs_that_make_no_sense_are_named(void **state)
{
    const skep_tensor good = some_rows(3);
    skep_tensor many[SKEP_EXPERT_TENSORS_MAX + 1], odd[2] = {good, good};
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    set_up(&world, 2, 2);
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &good, 0), SKEP_EINVAL);
    for (size_t i = 0; i < SKEP_COUNT_OF(many); i++)
        many[i] = good;
    assert_int_equal(forward_run(&world, &pass, many, SKEP_COUNT_OF(many)), SKEP_EINVAL);
    odd[1].shape[0] = 2;
    assert_int_equal(forward_run(&world, &pass, odd, 2), SKEP_EINVAL);
    assert_non_null(strstr(pass.text, "input 1"));
    odd[0].shape[1] = FEATURES - 1;
    assert_int_equal(forward_run(&world, &pass, odd, 1), SKEP_EINVAL);
    odd[0] = good;
    odd[0].data = NULL;
    assert_int_equal(forward_run(&world, &pass, odd, 1), SKEP_EINVAL);
    odd[0] = good;
    odd[0].dtype = (skep_dtype)77;
    assert_int_equal(forward_run(&world, &pass, odd, 1), SKEP_EINVAL);
    odd[0] = good;
    odd[0].axes = SKEP_TENSOR_AXES_MAX + 1;
    assert_int_equal(forward_run(&world, &pass, odd, 1), SKEP_EINVAL);
    world_fini(&world);
}

/* ---- order ---- */

static uint64_t order_seed;

static void in_random_order(struct fake_experts *experts, const struct skep_expert_request *request,
                            struct fake_behaviour *behaviour)
{
    struct skep_prng prng;

    (void)experts;
    skep_prng_init(&prng, order_seed + request->uid.data[request->uid.len - 1]);
    behaviour->delay_us = skep_prng_below(&prng, 100000);
}

static void the_order_of_answers_changes_no_bit(void **state)
{
    const skep_tensor input = some_rows(BATCH);
    float outputs[BATCH * FEATURES], grads[BATCH * FEATURES];

    (void)state;
    for (order_seed = 0; order_seed < 5; order_seed++) {
        struct mix_world world;
        struct forward_pass pass;
        struct backward_pass back;

        set_up(&world, 5, 4);
        world.experts.behave = in_random_order;
        assert_int_equal(world_start(&world), 0);
        assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
        assert_int_equal(backward_run(&pass, &back, &input, 1, 0), 0);
        if (order_seed == 0) {
            memcpy(outputs, pass.forward.outputs[0].data, sizeof outputs);
            memcpy(grads, back.backward.grad_inputs[0].data, sizeof grads);
        }
        assert_memory_equal(outputs, pass.forward.outputs[0].data, sizeof outputs);
        assert_memory_equal(grads, back.backward.grad_inputs[0].data, sizeof grads);
        skep_mixer_backward_fini(&back.backward);
        skep_mixer_forward_fini(&pass.forward);
        world_fini(&world);
    }
}

/* ---- switch ---- */

static void set_up_switch(struct mix_world *world, uint32_t experts)
{
    set_up(world, experts, 1);
    world->options.is_switch = true;
    world->options.k_min = world->options.backward_k_min = 0;
    world->options.allow_zero_outputs = true;
}

static void a_switch_adds_the_input_and_leaves_it_as_it_was(void **state)
{
    const skep_tensor input = some_rows(BATCH);
    float before[BATCH * FEATURES];
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    memcpy(before, numbers, sizeof before);
    set_up_switch(&world, 3);
    RULES(&world, {"e.0", {.rc = SKEP_ELOST}});
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    assert_memory_equal(before, numbers, sizeof before);
    for (size_t i = 0; i < BATCH; i++) {
        const float *row = (const float *)pass.forward.outputs[0].data + i * FEATURES;

        if (answered_of(&pass.forward.report, i) == 0)
            assert_memory_equal(row, numbers + i * FEATURES, FEATURES * sizeof *row);
        else
            assert_true(pass.forward.report.weights[i] > 0 && pass.forward.report.weights[i] < 1);
    }
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void a_switch_that_nobody_answers_gives_the_input_back(void **state)
{
    const skep_tensor input = some_rows(2), shorter = some_rows(1);
    struct mix_world world;
    struct forward_pass pass;
    float faded;

    (void)state;
    set_up_switch(&world, 3);
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    skep_mixer_forward_fini(&pass.forward);
    faded = skep_mixer_utilization(world.mixer)[0] * 0.9F;
    RULES(&world, {NULL, {.rc = SKEP_ELOST}});
    assert_int_equal(forward_run(&world, &pass, &shorter, 1), 0);
    assert_memory_equal(pass.forward.outputs[0].data, numbers, FEATURES * sizeof(float));
    assert_true(fabsf(skep_mixer_utilization(world.mixer)[0] - faded) < 1e-6F);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void utilization_follows_the_choice_of_each_batch(void **state)
{
    const skep_tensor input = some_rows(BATCH);
    struct mix_world world;
    struct forward_pass pass;
    double share[3] = {0}, use[3] = {1 / 3.0, 1 / 3.0, 1 / 3.0};

    (void)state;
    set_up_switch(&world, 3);
    world.options.jitter_eps = 0;
    assert_int_equal(world_start(&world), 0);
    for (size_t run = 0; run < 3; run++) {
        assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
        memset(share, 0, sizeof share);
        for (size_t i = 0; i < BATCH; i++)
            share[cell_uid(&pass.forward.report, i, 0)[2] - '0'] += 1.0 / BATCH;
        for (size_t e = 0; e < 3; e++) {
            use[e] = 0.9 * use[e] + 0.1 * share[e];
            assert_true(fabs((double)skep_mixer_utilization(world.mixer)[e] - use[e]) < 1e-6);
        }
        assert_true(pass.forward.report.balancing_loss > 0);
        skep_mixer_forward_fini(&pass.forward);
    }
    world_fini(&world);
}

static void a_switch_whose_expert_answers_another_shape_masks_it(void **state)
{
    const skep_tensor input = some_rows(BATCH);
    struct mix_world world;
    struct forward_pass pass;

    (void)state;
    set_up_switch(&world, 3);
    RULES(&world, {"e.1", {.extra_width = 2}});
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    for (size_t i = 0; i < BATCH; i++)
        assert_int_equal(answered_of(&pass.forward.report, i),
                         strcmp(cell_uid(&pass.forward.report, i, 0), "e.1") != 0);
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

static void dropped_coordinates_reach_the_search_last(void **state)
{
    const skep_tensor input = some_rows(BATCH);
    struct mix_world world;
    struct forward_pass pass;
    bool seen[8] = {false};
    size_t used = 0;

    (void)state;
    set_up_switch(&world, 8);
    world.options.grid_dropout = 0.3;
    assert_int_equal(world_start(&world), 0);
    assert_int_equal(forward_run(&world, &pass, &input, 1), 0);
    for (size_t i = 0; i < BATCH; i++)
        seen[cell_uid(&pass.forward.report, i, 0)[2] - '0'] = true;
    for (size_t e = 0; e < 8; e++)
        used += seen[e];
    assert_in_range(used, 1, 6); /* most were dropped for the whole batch */
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&world);
}

/* ---- stopping ---- */

/* A layer large enough for worker threads: 64 · 512 · 32 products. */
static void stopped_at_any_moment_it_leaves_nothing(void **state)
{
    enum { ROWS = 64, WIDE = 512 };
    float *wide = calloc((size_t)ROWS * WIDE, sizeof *wide);
    const skep_tensor input = rows_of(wide, ROWS, WIDE);

    (void)state;
    for (size_t steps = 0; steps < 1000; steps++) {
        struct mix_world world;
        struct forward_pass pass;
        struct backward_pass back = {0};

        world_init(&world, 16, 16, WIDE);
        world_declare_all(&world);
        fake_dht_settings(world.dht)->delay_us = 0;
        rule_count = 0;
        world.experts.behave = by_rules;
        assert_int_equal(world_start(&world), 0);
        assert_int_equal(forward_start(&world, &pass, &input, 1), 0);
        for (size_t i = 0; i < steps; i++) {
            uint64_t next;

            if (pass.ends > 0 && !back.backward.state)
                assert_int_equal(backward_start(&pass, &back, &input, 1, 0), 0);
            if ((next = skep_timers_next_us(world.env.env.timers)) == SKEP_NEVER_US)
                break;
            world.env.now_us = SKEP_MAX(world.env.now_us, next);
            skep_timers_run(world.env.env.timers, world.env.now_us);
        }
        skep_mixer_backward_fini(&back.backward);
        skep_mixer_forward_fini(&pass.forward);
        world_fini(&world);
        if (back.ends > 0) { /* a whole run was seen */
            free(wide);
            return;
        }
    }
    fail_msg("the backward never ended");
}

/* ---- memory ---- */

static int pass_with(const struct skep_mem *mem, void *user)
{
    const bool *is_switch = user;
    const skep_tensor input = some_rows(5);
    struct mix_world world;
    struct forward_pass pass = {0};
    struct backward_pass back = {0};
    int rc;

    set_up(&world, 4, 2);
    RULES(&world, {"e.0", {.rc = SKEP_ELOST}}, {NULL, {.type = SKEP_FLOAT16}});
    fake_dht_fetch_all(world.dht);
    skep_timers_fini(world.env.env.timers);
    world.env.env.mem = mem;
    skep_timers_init(world.env.env.timers, mem);
    world.options.spares = 2;
    world.options.detect_anomalies = true;
    world.options.is_switch = *is_switch;
    world.options.forward_timeout_us = SECOND;
    rc = world_start(&world);
    if (rc == 0)
        rc = forward_run(&world, &pass, &input, 1);
    if (rc == 0)
        rc = backward_run(&pass, &back, &input, 1, 1);
    skep_mixer_backward_fini(&back.backward);
    skep_mixer_forward_fini(&pass.forward);
    test_env_advance(&world.env, SECOND);
    skep_mixer_free(world.mixer);
    if (world.beam)
        skep_beam_free(world.beam);
    fake_dht_free(world.dht);
    skep_timers_fini(world.env.env.timers);
    return rc;
}

static void no_memory_ends_a_pass_and_leaves_nothing(void **state)
{
    bool is_switch = false;

    (void)state;
    test_each_allocation_fails(pass_with, &is_switch);
    is_switch = true;
    test_each_allocation_fails(pass_with, &is_switch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_call_an_expert_carries_all_its_samples),
        cmocka_unit_test(a_call_has_the_rows_of_its_samples_and_no_others),
        cmocka_unit_test(a_batch_above_what_a_call_takes_is_cut),
        cmocka_unit_test(stragglers_get_a_while_after_k_min),
        cmocka_unit_test(every_sample_must_have_k_min_before_the_stragglers_time_runs),
        cmocka_unit_test(with_k_min_0_all_are_waited_for),
        cmocka_unit_test(the_timeout_ends_the_wait_and_counts_the_rest_as_failed),
        cmocka_unit_test(too_few_answers_in_total_fail_the_forward),
        cmocka_unit_test(k_min_counts_samples_and_experts_together),
        cmocka_unit_test(without_experts_there_is_nothing_to_call),
        cmocka_unit_test(zeros_stand_for_nobody_once_their_shape_is_known),
        cmocka_unit_test(nobody_is_an_error_where_zeros_are_not_allowed),
        cmocka_unit_test(a_sample_that_nobody_answered_has_zeros_if_allowed_else_nan),
        cmocka_unit_test(an_input_that_is_not_finite_is_refused_before_any_call),
        cmocka_unit_test(scores_that_are_no_numbers_are_refused_by_the_search),
        cmocka_unit_test(an_answer_that_is_not_finite_is_a_failure_for_its_sample_only),
        cmocka_unit_test(without_detection_nan_goes_through),
        cmocka_unit_test(gradients_that_are_not_finite_are_refused_or_masked),
        cmocka_unit_test(answers_of_odd_shapes_are_failures),
        cmocka_unit_test(an_output_far_longer_than_the_input_is_refused),
        cmocka_unit_test(gradients_of_odd_shapes_are_failures),
        cmocka_unit_test(spares_take_the_places_of_those_that_fail),
        cmocka_unit_test(without_failover_nobody_takes_a_place),
        cmocka_unit_test(a_sample_with_a_bad_row_takes_its_next_best),
        cmocka_unit_test(an_expert_that_hangs_has_half_of_the_time_if_there_are_spares),
        cmocka_unit_test(failing_experts_are_asked_where_there_are_no_others),
        cmocka_unit_test(an_expert_that_fails_in_backward_is_a_constant),
        cmocka_unit_test(too_few_answers_fail_the_backward),
        cmocka_unit_test(a_forward_is_run_backward_once_with_gradients_that_fit),
        cmocka_unit_test(inputs_that_make_no_sense_are_named),
        cmocka_unit_test(the_order_of_answers_changes_no_bit),
        cmocka_unit_test(a_switch_adds_the_input_and_leaves_it_as_it_was),
        cmocka_unit_test(a_switch_that_nobody_answers_gives_the_input_back),
        cmocka_unit_test(utilization_follows_the_choice_of_each_batch),
        cmocka_unit_test(a_switch_whose_expert_answers_another_shape_masks_it),
        cmocka_unit_test(dropped_coordinates_reach_the_search_last),
        cmocka_unit_test(stopped_at_any_moment_it_leaves_nothing),
        cmocka_unit_test(no_memory_ends_a_pass_and_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
