/* SPDX-License-Identifier: MIT */
/* Random layers, inputs, delays and failures: masks are those of hivemind's _collect_responses over one task a (sample, expert), written down plainly;
 * outputs are the plain formula in double; gradients are its numerical ones. */
#include <math.h>

#include "moe/gate.h"
#include "moe/mixture_world.h"

enum { AXIS_MAX = 5, CELLS_MAX = 64, OUTPUTS_MAX = 64, NUMBERS_MAX = 512 };

static const double never = 1e18;

/* ---- how experts behave, by their uid ---- */

struct fate {
    char uid[32];
    double time_us; /* of the answer; `never` */
    int rc;
};

struct model {
    struct mix_world world;
    struct skep_prng prng;
    uint64_t seed;
    size_t batch, middle, features, width; /* width: middle · features, a row */
    size_t inputs, outputs;
    struct fate fates[2][128]; /* forward, backward */
    size_t fate_count;
    float x[NUMBERS_MAX], u[NUMBERS_MAX], grad_y[NUMBERS_MAX], grad_z[NUMBERS_MAX];
    double grad_loss;
    /* what was found out by the reference */
    size_t columns;
    uint32_t coordinates[CELLS_MAX][4]; /* of the cells */
    bool there[CELLS_MAX], answered[CELLS_MAX], differentiable[CELLS_MAX];
    double utilization[OUTPUTS_MAX];
};

static struct model *current;

static const struct fate *fate_of(const struct model *m, skep_bytes uid, bool backward)
{
    for (size_t i = 0; i < m->fate_count; i++)
        if (skep_bytes_equal(uid, skep_bytes_str(m->fates[backward][i].uid)))
            return &m->fates[backward][i];
    fail_msg("an expert that is not declared");
    return NULL;
}

static void behave(struct fake_experts *experts, const struct skep_expert_request *request,
                   struct fake_behaviour *behaviour)
{
    const struct fate *fate = fate_of(current, request->uid, request->kind == SKEP_EXPERT_BACKWARD);

    (void)experts;
    *behaviour = (struct fake_behaviour){
        .rc = fate->rc, .hang = fate->time_us == never, .outputs = current->outputs};
    if (!behaviour->hang)
        behaviour->delay_us = (uint64_t)fate->time_us;
}

/* ---- drawing ---- */

static size_t draw(struct model *m, size_t from, size_t to)
{
    return from + (size_t)skep_prng_below(&m->prng, to - from + 1);
}

/* Without a timeout nobody hangs: it would never end. */
static void draw_fate(struct model *m, struct fate *fate, const char *uid, size_t order,
                      uint64_t timeout_us)
{
    snprintf(fate->uid, sizeof fate->uid, "%s", uid);
    /* Each at another time, none at a deadline: those are whole milliseconds, or half ones after an answer. */
    fate->time_us = (double)(draw(m, 0, 300) * 200000 + order * 1000 + 1);
    fate->rc = 0;
    if (draw(m, 0, 9) == 0 && timeout_us != SKEP_NEVER_US)
        fate->time_us = never;
    else if (draw(m, 0, 5) == 0)
        fate->rc = SKEP_ELOST;
}

static void draw_experts(struct model *m)
{
    const struct skep_mixer_options *options = &m->world.options;
    size_t all = 1;

    for (size_t d = 0; d < options->dims; d++)
        all *= m->world.grid[d];
    for (size_t e = 0; e < all; e++) {
        char uid[32] = "e";
        size_t rest = e;

        for (size_t d = 0; d < options->dims; d++) {
            snprintf(uid + strlen(uid), sizeof uid - strlen(uid), ".%zu", rest % m->world.grid[d]);
            rest /= m->world.grid[d];
        }
        if (draw(m, 0, 3) == 0)
            continue;
        world_declare(&m->world, uid);
        draw_fate(m, &m->fates[0][m->fate_count], uid, e, options->forward_timeout_us);
        draw_fate(m, &m->fates[1][m->fate_count], uid, e, options->backward_timeout_us);
        m->fate_count++;
    }
}

static uint64_t draw_time(struct model *m, uint64_t odd_us)
{
    return draw(m, 0, 2) == 0 ? SKEP_NEVER_US : draw(m, 1, 60) * SECOND + odd_us;
}

static void draw_layer(struct model *m)
{
    struct skep_mixer_options *options = &m->world.options;

    for (size_t d = 0; d < 4; d++)
        m->world.grid[d] = (uint32_t)draw(m, 1, AXIS_MAX);
    options->dims = draw(m, 1, 3);
    if (options->dims == 3)
        m->world.grid[2] = (uint32_t)draw(m, 1, 4);
    options->k_best = draw(m, 1, 5);
    options->k_min = draw(m, 0, 3);
    options->backward_k_min = draw(m, 0, 2);
    options->forward_timeout_us = draw_time(m, 0);
    options->backward_timeout_us = draw_time(m, 0);
    options->timeout_after_k_min_us = draw_time(m, 500);
    options->allow_zero_outputs = draw(m, 0, 1);
    options->detect_anomalies = draw(m, 0, 1);
    options->is_switch = draw(m, 0, 2) == 0;
    options->jitter_eps = 0; /* with noise and dropout: test_gate */
}

static void draw_numbers(struct model *m, float *to)
{
    for (size_t i = 0; i < NUMBERS_MAX; i++)
        to[i] = (float)(2 * skep_prng_unit(&m->prng) - 1);
}

static void draw_model(struct model *m, uint64_t seed)
{
    memset(m, 0, sizeof *m);
    m->seed = seed;
    skep_prng_init(&m->prng, seed);
    m->batch = draw(m, 1, 8);
    m->middle = draw(m, 1, 3);
    m->features = draw(m, 1, 5);
    m->width = m->middle * m->features;
    m->inputs = draw(m, 1, 3);
    m->outputs = draw(m, 1, 2);
    m->grad_loss = skep_prng_unit(&m->prng);
    world_init(&m->world, 1, 1, m->features);
    draw_layer(m);
    draw_experts(m);
    draw_numbers(m, m->x);
    draw_numbers(m, m->u);
    draw_numbers(m, m->grad_y);
    draw_numbers(m, m->grad_z);
    m->world.experts.behave = behave;
    current = m;
}

/* ---- hivemind's waiting ---- */

struct task {
    size_t cell;
    double time_us;
    bool ok;
};

static int by_time(const void *a, const void *b)
{
    const struct task *left = a, *right = b;

    return left->time_us < right->time_us ? -1 : left->time_us > right->time_us;
}

/* @return how many answered. */
static size_t collect(const struct model *m, struct task *tasks, size_t count, size_t k_min,
                      uint64_t timeout_us, uint64_t after_us, bool *answered)
{
    double finish = timeout_us == SKEP_NEVER_US ? never : (double)timeout_us;
    size_t successes[16] = {0}, pending = 0, total = 0;
    bool has_tasks[16] = {false};

    for (size_t i = 0; i < count; i++)
        has_tasks[tasks[i].cell / m->columns] = true;
    for (size_t i = 0; i < m->batch; i++)
        pending += has_tasks[i];
    qsort(tasks, count, sizeof *tasks, by_time);
    for (size_t i = 0; i < count && tasks[i].time_us < finish; i++) {
        if (!tasks[i].ok)
            continue;
        answered[tasks[i].cell] = true;
        total++;
        if (++successes[tasks[i].cell / m->columns] == k_min && --pending == 0 &&
            after_us != SKEP_NEVER_US)
            finish = fmin(finish, tasks[i].time_us + (double)after_us);
    }
    return total;
}

static size_t collect_pass(struct model *m, const struct skep_mixer_report *report, bool backward,
                           bool *answered)
{
    const struct skep_mixer_options *options = &m->world.options;
    struct task tasks[CELLS_MAX];
    size_t count = 0;

    memset(answered, 0, CELLS_MAX * sizeof *answered);
    for (size_t cell = 0; cell < m->batch * m->columns; cell++) {
        const struct fate *fate;

        if (!m->there[cell] || (backward && !m->answered[cell]))
            continue;
        fate = fate_of(m, skep_bytes_str(cell_uid(report, cell / m->columns, cell % m->columns)),
                       backward);
        tasks[count++] = (struct task){cell, fate->time_us, fate->rc == 0};
    }
    return collect(m, tasks, count, backward ? options->backward_k_min : options->k_min,
                   backward ? options->backward_timeout_us : options->forward_timeout_us,
                   options->timeout_after_k_min_us, answered);
}

static void read_cells(struct model *m, const struct skep_mixer_report *report)
{
    m->columns = report->columns;
    assert_true(m->batch * m->columns <= CELLS_MAX);
    for (size_t cell = 0; cell < m->batch * m->columns; cell++) {
        skep_bytes rest = skep_bytes_str(cell_uid(report, cell / m->columns, cell % m->columns));
        const char *at = (const char *)rest.data + 1;

        m->there[cell] = rest.len > 0;
        for (size_t d = 0; d < m->world.options.dims && m->there[cell]; d++) {
            m->coordinates[cell][d] = (uint32_t)atoi(at + 1);
            at = strchr(at + 1, '.') ? strchr(at + 1, '.') : at;
        }
        if (cell % m->columns > 0 && m->there[cell])
            assert_true(report->scores[cell] <= report->scores[cell - 1]); /* best first */
    }
}

/* ---- the formula, in double ---- */

struct point {
    double weight[OUTPUTS_MAX * 8], bias[OUTPUTS_MAX], x[NUMBERS_MAX], u[NUMBERS_MAX];
};

static void scores_at(const struct model *m, const struct point *at, size_t sample, double *scores)
{
    size_t outputs = skep_mixer_outputs(m->world.mixer);

    for (size_t o = 0; o < outputs; o++) {
        scores[o] = at->bias[o];
        for (size_t i = 0; i < m->width; i++)
            scores[o] += at->weight[o * m->features + i % m->features] *
                         at->x[sample * m->width + i] / (double)m->middle;
    }
}

static void softmax_in_place(double *at, size_t count)
{
    double most = -INFINITY, sum = 0;

    for (size_t i = 0; i < count; i++)
        most = fmax(most, at[i]);
    for (size_t i = 0; i < count; i++)
        sum += at[i] = exp(at[i] - most);
    for (size_t i = 0; i < count; i++)
        at[i] /= sum;
}

/* Of one sample. `probabilities` are of a switch. */
static void weights_at(const struct model *m, const struct point *at, size_t sample,
                       double *weights, double *probabilities)
{
    double row[OUTPUTS_MAX], *p = row;

    scores_at(m, at, sample, row);
    for (size_t d = 0; d < m->world.options.dims && m->world.options.is_switch; d++) {
        softmax_in_place(p, m->world.grid[d]);
        p += m->world.grid[d];
    }
    memcpy(probabilities, row, sizeof row);
    for (size_t j = 0; j < m->columns; j++) {
        size_t cell = sample * m->columns + j;
        bool is_switch = m->world.options.is_switch;

        weights[j] = is_switch ? 1 : 0;
        p = row;
        for (size_t d = 0; d < m->world.options.dims; d++) {
            double s = p[m->coordinates[cell][d]];

            weights[j] = is_switch ? weights[j] * s : weights[j] + s;
            p += m->world.grid[d];
        }
        if (!m->answered[cell])
            weights[j] = is_switch ? 0 : -INFINITY;
    }
    if (!m->world.options.is_switch)
        softmax_in_place(weights, m->columns);
}

/* y [width] and z of one cell's expert. */
static void expert_at(const struct model *m, const struct point *at, size_t cell,
                      const struct skep_mixer_report *report, double *y, double *z)
{
    size_t sample = cell / m->columns;
    float s, t;

    fake_expert_of(skep_bytes_str(cell_uid(report, sample, cell % m->columns)), &s, &t);
    *z = 0;
    for (size_t i = 0; i < m->width; i++) {
        double v = at->x[sample * m->width + i];

        y[i] =
            (double)s * v + (double)t * v * v + (m->inputs > 1 ? at->u[sample * m->width + i] : 0);
        *z += (double)s * v;
    }
}

static bool has_answer(const struct model *m, size_t sample)
{
    for (size_t j = 0; j < m->columns; j++)
        if (m->answered[sample * m->columns + j])
            return true;
    return false;
}

/* Outputs of one sample. Cells that are not differentiable see `fixed`. */
static void outputs_at(const struct model *m, const struct point *at, const struct point *fixed,
                       const struct skep_mixer_report *report, size_t sample, double *y, double *z,
                       double *probabilities)
{
    double weights[8], of_expert[64], scalar;

    memset(y, 0, m->width * sizeof *y);
    *z = 0;
    weights_at(m, at, sample, weights, probabilities);
    for (size_t j = 0; j < m->columns; j++) {
        size_t cell = sample * m->columns + j;

        if (!m->answered[cell])
            continue;
        expert_at(m, m->differentiable[cell] ? at : fixed, cell, report, of_expert, &scalar);
        for (size_t i = 0; i < m->width; i++)
            y[i] += weights[j] * of_expert[i];
        *z += weights[j] * scalar;
    }
    for (size_t i = 0; i < m->width && m->world.options.is_switch; i++)
        y[i] += at->x[sample * m->width + i];
}

static double balance_of(const struct model *m, const double *mean)
{
    double loss = 0;
    size_t o = 0;

    for (size_t d = 0; d < m->world.options.dims; d++)
        for (size_t j = 0; j < m->world.grid[d]; j++, o++)
            loss += mean[o] * m->utilization[o] * m->world.grid[d];
    return loss;
}

/* What the gradients are of: Σ gradient · output, and the balancing loss. */
static double loss_at(const struct model *m, const struct point *at, const struct point *fixed,
                      const struct skep_mixer_report *report)
{
    double mean[OUTPUTS_MAX] = {0}, loss = 0;

    for (size_t sample = 0; sample < m->batch; sample++) {
        double y[64], z, probabilities[OUTPUTS_MAX] = {0};

        outputs_at(m, at, fixed, report, sample, y, &z, probabilities);
        for (size_t o = 0; o < OUTPUTS_MAX; o++)
            mean[o] += probabilities[o] / (double)m->batch;
        if (!has_answer(m, sample) && !m->world.options.is_switch)
            continue;
        for (size_t i = 0; i < m->width; i++)
            loss += y[i] * (double)m->grad_y[sample * m->width + i];
        loss += m->outputs > 1 ? z * (double)m->grad_z[sample] : 0;
    }
    return loss + (m->world.options.is_switch ? m->grad_loss * balance_of(m, mean) : 0);
}

static double slope(const struct model *m, struct point *at, double *number,
                    const struct skep_mixer_report *report)
{
    static struct point fixed;
    double was = *number, above, below, step = 1e-5;

    fixed = *at;
    *number = was + step;
    above = loss_at(m, at, &fixed, report);
    *number = was - step;
    below = loss_at(m, at, &fixed, report);
    *number = was;
    return (above - below) / (2 * step);
}

/* ---- comparing ---- */

static void near(const struct model *m, const char *what, size_t i, double got, double want)
{
    if (!(fabs(got - want) <= 2e-5 * (1 + fabs(want)) * (double)(1 + m->batch)))
        fail_msg("SKEP_SEED=%llu: %s %zu is %.9g, not %.9g", (unsigned long long)m->seed, what, i,
                 got, want);
}

static void read_point(const struct model *m, struct point *point)
{
    size_t outputs = skep_mixer_outputs(m->world.mixer);

    for (size_t i = 0; i < outputs * m->features; i++)
        point->weight[i] = (double)skep_mixer_weight(m->world.mixer)[i];
    for (size_t i = 0; i < outputs; i++)
        point->bias[i] = (double)skep_mixer_bias(m->world.mixer)[i];
    for (size_t i = 0; i < NUMBERS_MAX; i++) {
        point->x[i] = (double)m->x[i];
        point->u[i] = (double)m->u[i];
    }
}

static void compare_masks(const struct model *m, const bool *got, const bool *want)
{
    for (size_t cell = 0; cell < m->batch * m->columns; cell++)
        if (got[cell] != want[cell])
            fail_msg("SKEP_SEED=%llu: cell %zu answered: %d", (unsigned long long)m->seed, cell,
                     got[cell]);
}

static void compare_outputs(const struct model *m, const struct skep_mixer_forward *forward)
{
    static struct point point;
    const float *got_y = forward->outputs[0].data;

    read_point(m, &point);
    for (size_t sample = 0; sample < m->batch; sample++) {
        double y[64], z, probabilities[OUTPUTS_MAX];
        bool none = !has_answer(m, sample) && !m->world.options.is_switch;

        outputs_at(m, &point, &point, &forward->report, sample, y, &z, probabilities);
        for (size_t i = 0; i < m->width; i++) {
            float got = got_y[sample * m->width + i];

            if (none)
                assert_true(m->world.options.allow_zero_outputs ? got == 0 : isnan(got));
            else
                near(m, "output", sample * m->width + i, (double)got, y[i]);
        }
        if (m->outputs > 1 && !none)
            near(m, "output 1", sample, (double)((const float *)forward->outputs[1].data)[sample],
                 z);
    }
}

static void compare_gradients(const struct model *m, const struct skep_mixer_backward *backward,
                              const struct skep_mixer_report *report)
{
    static struct point point;
    size_t outputs = skep_mixer_outputs(m->world.mixer);
    const float *dx = backward->grad_inputs[0].data;

    read_point(m, &point);
    for (size_t i = 0; i < outputs * m->features; i++)
        near(m, "gradient of weight", i, (double)backward->grad_weight[i],
             slope(m, &point, &point.weight[i], report));
    for (size_t i = 0; i < outputs; i++)
        near(m, "gradient of bias", i, (double)backward->grad_bias[i],
             slope(m, &point, &point.bias[i], report));
    for (size_t i = 0; i < m->batch * m->width; i++)
        near(m, "gradient of input", i, (double)dx[i], slope(m, &point, &point.x[i], report));
    for (size_t i = 0; i < m->batch * m->width && m->inputs > 1; i++)
        near(m, "gradient of input 1", i, (double)((const float *)backward->grad_inputs[1].data)[i],
             slope(m, &point, &point.u[i], report));
    for (size_t i = 0; i < m->batch && m->inputs > 2; i++)
        assert_true(((const int64_t *)backward->grad_inputs[2].data)[i] == 0);
}

/* ---- a run ---- */

/* What it must end with, and the mask. */
static int expected_end(struct model *m, const struct skep_mixer_report *report)
{
    const struct skep_mixer_options *options = &m->world.options;
    size_t total;

    read_cells(m, report);
    if (m->columns == 0)
        return SKEP_ENOTFOUND;
    total = collect_pass(m, report, false, m->answered);
    if (total < options->k_min)
        return SKEP_ETIMEDOUT;
    return total == 0 ? SKEP_EUNREACH : 0; /* what zeros would be like is not known yet */
}

static void run_backward(struct model *m, struct forward_pass *pass)
{
    skep_tensor grads[2] = {pass->forward.outputs[0], {.dtype = SKEP_FLOAT32}};
    struct backward_pass back;
    size_t total, outputs = skep_mixer_outputs(m->world.mixer);

    grads[0].data = m->grad_y;
    if (m->outputs > 1) {
        grads[1] = pass->forward.outputs[1];
        grads[1].data = m->grad_z;
    }
    for (size_t o = 0; o < outputs; o++)
        m->utilization[o] = (double)skep_mixer_utilization(m->world.mixer)[o];
    total = collect_pass(m, &pass->forward.report, true, m->differentiable);
    backward_run(pass, &back, grads, m->outputs, m->grad_loss);
    if (total < m->world.options.backward_k_min) {
        assert_int_equal(back.rc, SKEP_ETIMEDOUT);
    } else {
        if (back.rc != 0)
            fail_msg("SKEP_SEED=%llu: backward: %s", (unsigned long long)m->seed, back.text);
        compare_masks(m, back.backward.report.answered, m->differentiable);
        compare_gradients(m, &back.backward, &pass->forward.report);
    }
    skep_mixer_backward_fini(&back.backward);
}

static void run_seed(uint64_t seed)
{
    static struct model model;
    struct model *m = &model;
    int64_t marks[16] = {5, 6, 7};
    struct forward_pass pass;
    int want;

    draw_model(m, seed);
    skep_tensor inputs[3] = {{.dtype = SKEP_FLOAT32,
                              .axes = 3,
                              .shape = {m->batch, m->middle, m->features},
                              .data = m->x},
                             {.dtype = SKEP_FLOAT32,
                              .axes = 3,
                              .shape = {m->batch, m->middle, m->features},
                              .data = m->u},
                             {.dtype = SKEP_INT64, .axes = 1, .shape = {m->batch}, .data = marks}};

    assert_int_equal(world_start(&m->world), 0);
    forward_run(&m->world, &pass, inputs, m->inputs);
    want = expected_end(m, &pass.forward.report);
    if (pass.rc != want)
        fail_msg("SKEP_SEED=%llu: it ended with %s (%s), not %s", (unsigned long long)seed,
                 skep_error_name(pass.rc), pass.text, skep_error_name(want));
    if (want == 0) {
        compare_masks(m, pass.forward.report.answered, m->answered);
        compare_outputs(m, &pass.forward);
        run_backward(m, &pass);
    }
    skep_mixer_forward_fini(&pass.forward);
    world_fini(&m->world);
}

static void masks_outputs_and_gradients_are_those_of_the_plain_formula(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(300); seed++)
        run_seed(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_outputs_and_gradients_are_those_of_the_plain_formula),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
