/* SPDX-License-Identifier: MIT */
#include "server/batch.h"

enum { ALIGN = 64 };

static const skep_class_schema *schema_of(const struct skep_batch *batch)
{
    return &batch->expert->backend.class->schema;
}

/* What goes in: inputs, of a backward then gradients of the outputs. What comes out: outputs, or gradients of the inputs. */
static size_t in_count(const struct skep_batch *batch)
{
    const skep_class_schema *schema = schema_of(batch);

    return schema->input_count + (batch->backward ? schema->output_count : 0);
}

static const skep_tensor_schema *in_schema(const struct skep_batch *batch, size_t i)
{
    const skep_class_schema *schema = schema_of(batch);

    return i < schema->input_count ? &schema->inputs[i] : &schema->outputs[i - schema->input_count];
}

static size_t out_count(const struct skep_batch *batch)
{
    const skep_class_schema *schema = schema_of(batch);

    return batch->backward ? schema->input_count : schema->output_count;
}

static const skep_tensor_schema *out_schema(const struct skep_batch *batch, size_t i)
{
    const skep_class_schema *schema = schema_of(batch);

    return batch->backward ? &schema->inputs[i] : &schema->outputs[i];
}

static skep_tensor tensor_of(const skep_tensor_schema *schema, size_t rows, const void *data)
{
    skep_tensor tensor = {.dtype = schema->dtype, .axes = schema->axes + 1, .data = data};

    tensor.shape[0] = rows;
    memcpy(tensor.shape + 1, schema->shape, schema->axes * sizeof *schema->shape);
    return tensor;
}

static void *numbers_of(const skep_tensor *tensor)
{
    return (void *)(uintptr_t)tensor->data; /* made by skep_batch_prepare() */
}

/* ---- memory, on the loop ---- */

static void free_outputs(struct skep_task *task, const struct skep_mem *mem)
{
    for (size_t i = 0; i < task->output_count; i++)
        skep_mem_free(mem, numbers_of(&task->outputs[i]));
    task->output_count = 0;
}

static int make_outputs(const struct skep_batch *batch, struct skep_task *task,
                        const struct skep_mem *mem)
{
    task->output_count = 0;
    for (size_t i = 0; i < out_count(batch); i++) {
        skep_tensor tensor = tensor_of(out_schema(batch, i), task->rows, NULL);
        size_t bytes = skep_tensor_bytes(&tensor);

        if (bytes == SIZE_MAX || !(tensor.data = skep_mem_alloc(mem, bytes))) {
            free_outputs(task, mem);
            return SKEP_ENOMEM;
        }
        task->outputs[task->output_count++] = tensor;
    }
    return 0;
}

/* A place for one tensor of all the rows, behind *len bytes. */
static bool place(const skep_tensor_schema *schema, size_t rows, skep_tensor *tensor, size_t *at,
                  size_t *len)
{
    size_t bytes;

    *tensor = tensor_of(schema, rows, NULL);
    *at = *len;
    bytes = skep_tensor_bytes(tensor);
    return bytes < SIZE_MAX - 2 * ALIGN &&
           skep_size_add(*len, (bytes + ALIGN - 1) / ALIGN * ALIGN, len);
}

/* One block for all that goes in and comes out of a joint pass. Where there is none the tasks are computed one by one. */
static void make_scratch(struct skep_batch *batch, const struct skep_mem *mem)
{
    size_t in_at[2 * SKEP_CLASS_TENSORS_MAX], out_at[SKEP_CLASS_TENSORS_MAX];
    size_t len = 0;
    skep_tensor output;
    char *start;

    for (size_t i = 0; i < in_count(batch); i++)
        if (!place(in_schema(batch, i), batch->rows, &batch->inputs[i], &in_at[i], &len))
            return;
    for (size_t i = 0; i < out_count(batch); i++)
        if (!place(out_schema(batch, i), batch->rows, &output, &out_at[i], &len))
            return;
    if (!(batch->scratch = skep_mem_alloc(mem, len + ALIGN)))
        return;
    start = batch->scratch + (ALIGN - (uintptr_t)batch->scratch % ALIGN) % ALIGN;
    for (size_t i = 0; i < in_count(batch); i++)
        batch->inputs[i].data = start + in_at[i];
    for (size_t i = 0; i < out_count(batch); i++)
        batch->outputs[i] = start + out_at[i];
}

bool skep_batch_prepare(struct skep_batch *batch, const struct skep_mem *mem)
{
    batch->rows = batch->count = 0;
    batch->scratch = NULL;
    batch->failed = false;
    SKEP_LIST_EACH(&batch->tasks, node, after)
    {
        struct skep_task *task = SKEP_LIST_ITEM(node, struct skep_task, entry);

        assert(task->input_count == in_count(batch) && task->rows > 0);
        if ((task->rc = make_outputs(batch, task, mem)) < 0)
            continue;
        batch->count++;
        batch->rows += task->rows;
    }
    if (batch->count > 1)
        make_scratch(batch, mem);
    return batch->count > 0;
}

void skep_batch_release(struct skep_batch *batch, const struct skep_mem *mem)
{
    skep_mem_free(mem, batch->scratch);
    batch->scratch = NULL;
    SKEP_LIST_EACH(&batch->tasks, node, after)
    {
        struct skep_task *task = SKEP_LIST_ITEM(node, struct skep_task, entry);

        if (task->rc < 0)
            free_outputs(task, mem);
    }
}

/* ---- the pass, on any thread ---- */

static int pass(struct skep_batch *batch, size_t rows, uint64_t seed, const skep_tensor *inputs,
                void *const *outputs)
{
    struct skep_backend *backend = &batch->expert->backend;

    if (!batch->backward)
        return skep_backend_forward(backend, rows, seed, inputs, outputs);
    return skep_backend_backward(backend, rows, seed, inputs,
                                 inputs + schema_of(batch)->input_count, outputs);
}

static int compute_alone(struct skep_batch *batch, struct skep_task *task, uint64_t seed)
{
    void *outputs[SKEP_CLASS_TENSORS_MAX];

    for (size_t i = 0; i < task->output_count; i++)
        outputs[i] = numbers_of(&task->outputs[i]);
    return pass(batch, task->rows, seed, task->inputs, outputs);
}

static void gather(const struct skep_batch *batch)
{
    for (size_t i = 0; i < in_count(batch); i++) {
        char *to = numbers_of(&batch->inputs[i]);

        SKEP_LIST_EACH(&batch->tasks, node, after)
        {
            const struct skep_task *task = SKEP_LIST_ITEM(node, struct skep_task, entry);
            size_t bytes = skep_tensor_bytes(&task->inputs[i]);

            if (task->rc == 0 && bytes > 0) {
                memcpy(to, task->inputs[i].data, bytes);
                to += bytes;
            }
        }
    }
}

static void scatter(const struct skep_batch *batch)
{
    for (size_t i = 0; i < out_count(batch); i++) {
        const char *from = batch->outputs[i];

        SKEP_LIST_EACH(&batch->tasks, node, after)
        {
            const struct skep_task *task = SKEP_LIST_ITEM(node, struct skep_task, entry);

            if (task->rc == 0) {
                size_t bytes = skep_tensor_bytes(&task->outputs[i]);

                memcpy(numbers_of(&task->outputs[i]), from, bytes);
                from += bytes;
            }
        }
    }
}

static bool compute_together(struct skep_batch *batch)
{
    if (!batch->scratch)
        return false;
    gather(batch);
    if (pass(batch, batch->rows, batch->seed, batch->inputs, batch->outputs) < 0) {
        batch->failed = true;
        return false;
    }
    scatter(batch);
    return true;
}

void skep_batch_compute(struct skep_batch *batch)
{
    uint64_t seed = batch->seed;

    if (batch->count > 1 && compute_together(batch))
        return;
    SKEP_LIST_EACH(&batch->tasks, node, after)
    {
        struct skep_task *task = SKEP_LIST_ITEM(node, struct skep_task, entry);

        if (task->rc == 0 && (task->rc = compute_alone(batch, task, seed++)) < 0)
            batch->failed = true;
    }
}
