/* SPDX-License-Identifier: MIT */
/* What a class hands out as gradients is applied at once where the class vouches for it and nothing is clipped; otherwise all of it is gathered first, so that a
 * step is taken as a whole or not at all. */
#include "server/backend.h"

#include <math.h>
#include <string.h>

#include "server/numbers.h"
#include "server/optimizer.h"

/* A pass in progress. */
struct run {
    skep_pass pass;
    struct skep_backend *backend;
    struct skep_scratch scratch;
    struct skep_step step;
    bool at_once; /* gradients are applied as they come, not gathered */
    bool wrong;   /* the class handed out what is not there */
    float *gathered[SKEP_CLASS_PARAMETERS_MAX];
    size_t filled[SKEP_CLASS_PARAMETERS_MAX]; /* numbers from the first on that have a gradient */
};

static struct run *run_of(skep_pass *pass)
{
    return SKEP_CONTAINER_OF(pass, struct run, pass);
}

static void *on_alloc(skep_pass *pass, size_t len)
{
    return skep_scratch_alloc(&run_of(pass)->scratch, len);
}

static void apply(struct run *run, size_t parameter, size_t offset, const float *gradient,
                  size_t count)
{
    struct skep_backend *b = run->backend;
    float *exp_avg = b->exp_avg[parameter], *exp_avg_sq = b->exp_avg_sq[parameter];

    skep_step_apply(&run->step, b->parameters[parameter] + offset,
                    exp_avg ? exp_avg + offset : NULL, exp_avg_sq ? exp_avg_sq + offset : NULL,
                    gradient, count);
}

/* What is left out in between has a gradient of zero. */
static void fill_up_to(struct run *run, size_t parameter, size_t end)
{
    size_t begin = run->filled[parameter];

    if (begin >= end)
        return;
    if (run->at_once)
        apply(run, parameter, begin, NULL, end - begin);
    else
        memset(run->gathered[parameter] + begin, 0, (end - begin) * sizeof(float));
    run->filled[parameter] = end;
}

static void on_gradient(skep_pass *pass, size_t parameter, size_t offset, const float *gradient,
                        size_t count)
{
    struct run *run = run_of(pass);
    const struct skep_backend *b = run->backend;

    if (pass->frozen || count == 0)
        return;
    if (parameter >= b->class->schema.parameter_count || offset > b->counts[parameter] ||
        count > b->counts[parameter] - offset ||
        (run->at_once && offset < run->filled[parameter])) {
        run->wrong = true;
        return;
    }
    fill_up_to(run, parameter, offset);
    if (run->at_once)
        apply(run, parameter, offset, gradient, count);
    else
        memcpy(run->gathered[parameter] + offset, gradient, count * sizeof *gradient);
    run->filled[parameter] = SKEP_MAX(run->filled[parameter], offset + count);
}

static void run_begin(struct run *run, struct skep_backend *backend, size_t rows, uint64_t seed)
{
    memset(run, 0, sizeof *run);
    run->backend = backend;
    run->pass = (skep_pass){
        .state = backend->class->state,
        .rows = rows,
        .parameters = (const float *const *)backend->parameters,
        .seed = seed,
        .frozen = backend->training->optimizer == SKEP_OPTIMIZER_NONE,
        .alloc = on_alloc,
        .sgemm = backend->sgemm,
        .gradient = on_gradient,
    };
    skep_scratch_begin(&run->scratch, backend->mem, backend->class->shelf);
}

static void run_end(struct run *run)
{
    skep_scratch_end(&run->scratch);
}

int skep_backend_forward(struct skep_backend *backend, size_t rows, uint64_t seed,
                         const skep_tensor *inputs, void *const *outputs)
{
    struct run run;
    int rc;

    run_begin(&run, backend, rows, seed);
    rc = backend->class->class->forward(&run.pass, inputs, outputs);
    run_end(&run);
    return rc;
}

static int prepare_step(struct run *run)
{
    const struct skep_backend *b = run->backend;

    skep_step_init(&run->step, b->training, b->step);
    run->at_once = b->class->schema.gradients_are_final && b->training->clip_grad_norm <= 0;
    if (run->pass.frozen || run->at_once)
        return 0;
    for (size_t i = 0; i < b->class->schema.parameter_count; i++) {
        run->gathered[i] = skep_scratch_alloc(&run->scratch, b->counts[i] * sizeof(float));
        if (!run->gathered[i])
            return SKEP_ENOMEM;
    }
    return 0;
}

static bool gathered_are_fine(const struct run *run)
{
    for (size_t i = 0; i < run->backend->class->schema.parameter_count; i++)
        if (!(skep_max_abs(run->gathered[i], run->backend->counts[i]) < SKEP_GRADIENT_MAX))
            return false;
    return true;
}

static void clip(struct run *run)
{
    const struct skep_backend *b = run->backend;
    double sum = 0;

    if (b->training->clip_grad_norm <= 0)
        return;
    for (size_t i = 0; i < b->class->schema.parameter_count; i++)
        sum += skep_sum_of_squares(run->gathered[i], b->counts[i]);
    skep_step_clip(&run->step, sqrt(sum), b->training->clip_grad_norm);
}

/* The class is done: give those without a gradient theirs, and apply what was gathered. */
static int finish_step(struct run *run)
{
    struct skep_backend *b = run->backend;
    size_t count = b->class->schema.parameter_count;

    if (run->wrong)
        return SKEP_EINVAL;
    if (run->pass.frozen)
        return 0;
    for (size_t i = 0; i < count; i++)
        fill_up_to(run, i, b->counts[i]);
    if (!run->at_once) {
        if (!gathered_are_fine(run))
            return SKEP_EVALUE;
        clip(run);
        for (size_t i = 0; i < count; i++)
            apply(run, i, 0, run->gathered[i], b->counts[i]);
    }
    b->step++;
    return 0;
}

static void zero_integers(const struct skep_class *class, const skep_tensor *inputs,
                          void *const *grad_inputs, void **for_class)
{
    for (size_t i = 0; i < class->schema.input_count; i++) {
        bool floating = skep_dtype_is_floating(class->schema.inputs[i].dtype);

        for_class[i] = floating ? grad_inputs[i] : NULL;
        if (!floating)
            memset(grad_inputs[i], 0, skep_tensor_bytes(&inputs[i]));
    }
}

int skep_backend_backward(struct skep_backend *backend, size_t rows, uint64_t seed,
                          const skep_tensor *inputs, const skep_tensor *grad_outputs,
                          void *const *grad_inputs)
{
    void *for_class[SKEP_CLASS_TENSORS_MAX];
    struct run run;
    int rc;

    run_begin(&run, backend, rows, seed);
    zero_integers(backend->class, inputs, grad_inputs, for_class);
    rc = prepare_step(&run);
    if (rc == 0)
        rc = backend->class->class->backward(&run.pass, inputs, grad_outputs, for_class);
    if (rc == 0)
        rc = finish_step(&run);
    if (rc == SKEP_EVALUE)
        backend->steps_refused++;
    run_end(&run);
    return rc;
}

static void draw(float *to, size_t count, const skep_parameter_schema *parameter,
                 struct skep_prng *prng)
{
    double bound = parameter->init_value;

    for (size_t i = 0; i < count; i++)
        to[i] = parameter->init == SKEP_INIT_UNIFORM
                    ? (float)((2 * skep_prng_unit(prng) - 1) * bound)
                    : (float)bound;
}

static size_t elements(const skep_parameter_schema *parameter)
{
    size_t count = 1;

    for (size_t i = 0; i < parameter->axes; i++)
        count *= parameter->shape[i]; /* skep_class_open() has seen that it fits */
    return count;
}

/* Bytes of one block of numbers, so that the next one is aligned too. */
static size_t block_bytes(size_t count)
{
    size_t bytes = count * sizeof(float);

    return bytes + (SKEP_SCRATCH_ALIGN - bytes % SKEP_SCRATCH_ALIGN) % SKEP_SCRATCH_ALIGN;
}

static float *take_block(char **at, size_t count)
{
    float *block = (float *)(void *)*at;

    *at += block_bytes(count);
    return block;
}

/* Parameters, and with Adam their moments, are one piece of memory. */
static int allocate(struct skep_backend *b, bool moments)
{
    size_t len = SKEP_SCRATCH_ALIGN, count = b->class->schema.parameter_count;
    char *at;

    for (size_t i = 0; i < count; i++) {
        size_t bytes = block_bytes(b->counts[i]);

        if (!skep_size_mul(bytes, moments ? 3 : 1, &bytes) || !skep_size_add(len, bytes, &len))
            return SKEP_ENOMEM;
    }
    b->memory = at = skep_mem_alloc(b->mem, len);
    if (!at)
        return SKEP_ENOMEM;
    at += -(uintptr_t)at % SKEP_SCRATCH_ALIGN;
    for (size_t i = 0; i < count; i++) {
        b->parameters[i] = take_block(&at, b->counts[i]);
        if (!moments)
            continue;
        b->exp_avg[i] = take_block(&at, b->counts[i]);
        b->exp_avg_sq[i] = take_block(&at, b->counts[i]);
        memset(b->exp_avg[i], 0, b->counts[i] * sizeof(float));
        memset(b->exp_avg_sq[i], 0, b->counts[i] * sizeof(float));
    }
    return 0;
}

int skep_backend_init(struct skep_backend *backend, const struct skep_mem *mem,
                      const struct skep_class *class, const struct skep_training *training,
                      skep_sgemm_fn *sgemm, struct skep_prng *prng)
{
    const skep_class_schema *schema = &class->schema;
    int rc;

    *backend =
        (struct skep_backend){.mem = mem, .class = class, .training = training, .sgemm = sgemm};
    for (size_t i = 0; i < schema->parameter_count; i++)
        backend->counts[i] = elements(&schema->parameters[i]);
    rc = allocate(backend, training->optimizer == SKEP_OPTIMIZER_ADAM);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < schema->parameter_count; i++)
        draw(backend->parameters[i], backend->counts[i], &schema->parameters[i], prng);
    return 0;
}

void skep_backend_fini(struct skep_backend *backend)
{
    skep_mem_free(backend->mem, backend->memory);
    *backend = (struct skep_backend){0};
}
