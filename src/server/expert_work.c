/* SPDX-License-Identifier: MIT */
/* What unary and streamed requests have in common: who may ask what of which expert, whether the tensors are what it takes, how much memory all of it needs, and
 * the task that it becomes. See expert_work.h.
 *
 * hivemind checks nothing of this: a wrong shape fails inside torch, with all that shared its batch. */
#include "server/expert_work.h"

#include <stdio.h>

#include "moe/codec.h"

/* ---- what the expert takes ---- */

static const skep_class_schema *schema_of(const struct request *r)
{
    return &r->handler->options.class->schema;
}

static size_t in_count(const struct request *r)
{
    return schema_of(r)->input_count + (r->backward ? schema_of(r)->output_count : 0);
}

static const skep_tensor_schema *in_schema(const struct request *r, size_t i)
{
    const skep_class_schema *schema = schema_of(r);

    return i < schema->input_count ? &schema->inputs[i] : &schema->outputs[i - schema->input_count];
}

/* "input 0", "gradient 1": as its sender counts. */
static const char *name_of(const struct request *r, size_t i, char *out, size_t len)
{
    size_t inputs = schema_of(r)->input_count;

    snprintf(out, len, i < inputs ? "input %zu" : "gradient %zu", i < inputs ? i : i - inputs);
    return out;
}

static size_t out_count(const struct request *r)
{
    return r->backward ? schema_of(r)->input_count : schema_of(r)->output_count;
}

static skep_tensor tensor_of(const skep_tensor_schema *schema, size_t rows)
{
    skep_tensor tensor = {.dtype = schema->dtype, .axes = schema->axes + 1};

    tensor.shape[0] = rows;
    memcpy(tensor.shape + 1, schema->shape, schema->axes * sizeof *schema->shape);
    return tensor;
}

static skep_tensor out_tensor(const struct request *r, size_t i, size_t rows)
{
    return tensor_of(r->backward ? &schema_of(r)->inputs[i] : &schema_of(r)->outputs[i], rows);
}

/* ---- who asks for what ---- */

static bool may_train(const struct skep_handler *handler, const struct skep_peer_id *peer)
{
    const struct skep_handler_options *options = &handler->options;

    for (size_t i = 0; i < options->allow_backward_count; i++)
        if (skep_peer_id_equal(&options->allow_backward[i], peer))
            return true;
    return options->allow_backward_count == 0;
}

int skep_expert_work_find(struct request *r, skep_bytes message, const struct skep_peer_id *peer,
                          struct skep_exception *exception)
{
    char text[SKEP_PEER_ID_TEXT_MAX];
    skep_bytes uid;

    if (skep_expert_uid_read(message, &uid) < 0)
        return skep_exception_set(exception, "ValueError", "the request is malformed");
    if (uid.len > SKEP_UID_LEN_MAX || !skep_utf8_valid(uid))
        return skep_exception_set(exception, "ValueError", "the uid is malformed");
    if (!uid.data)
        uid = skep_bytes_str("");
    r->expert = r->handler->options.find(r->handler->options.user, uid);
    if (!r->expert)
        return skep_exception_set_key(exception, uid);
    if (r->backward && !may_train(r->handler, peer)) {
        r->handler->stats.refused_peers++;
        return skep_exception_set(exception, "PermissionError",
                                  "peer %s may not train these experts",
                                  skep_peer_id_text(text, peer));
    }
    return 0;
}

/* ---- are the tensors what it takes? ---- */

int skep_expert_work_reader_failed(const struct request *r, struct skep_exception *exception)
{
    if (r->reader.rc == SKEP_ENOMEM)
        return skep_exception_set(exception, "MemoryError", "out of memory");
    return skep_exception_set(exception, "ValueError", "%s", r->reader.why);
}

static void shape_text(char *out, size_t len, const char *batch, const size_t *shape, size_t axes)
{
    size_t at = (size_t)snprintf(out, len, "(%s", batch);

    for (size_t i = 0; i < axes && at < len; i++)
        at += (size_t)snprintf(out + at, len - at, "%s%zu", at > 1 ? ", " : "", shape[i]);
    if (at < len)
        snprintf(out + at, len - at, axes == (*batch == '\0') ? ",)" : ")");
}

static bool has_shape(const skep_tensor_schema *schema, const skep_tensor *tensor)
{
    return tensor->axes == schema->axes + 1 &&
           memcmp(tensor->shape + 1, schema->shape, schema->axes * sizeof *schema->shape) == 0;
}

/* Floating-point numbers of any width become float32, as torch promotes them. */
static bool has_type(const skep_tensor_schema *schema, const skep_tensor *tensor)
{
    return tensor->dtype == schema->dtype ||
           (schema->dtype == SKEP_FLOAT32 && skep_dtype_is_floating(tensor->dtype));
}

static int check_count(const struct request *r, size_t count, bool whole,
                       struct skep_exception *exception)
{
    size_t inputs = schema_of(r)->input_count, gradients = in_count(r) - inputs;
    char wanted[64];

    if (count == in_count(r) || (count < in_count(r) && !whole))
        return 0;
    snprintf(wanted, sizeof wanted, r->backward ? "%zu inputs and %zu gradients" : "%zu inputs",
             inputs, gradients);
    return skep_exception_set(exception, "ValueError", "%zu tensors were sent, and it takes %s",
                              count, wanted);
}

static int check_rows(const struct request *r, const char *name, size_t rows, size_t first_rows,
                      struct skep_exception *exception)
{
    size_t max = r->expert->forward.options.max_batch_size;

    if (rows == 0)
        return skep_exception_set(exception, "ValueError", "%s is an empty batch", name);
    if (rows != first_rows)
        return skep_exception_set(exception, "ValueError",
                                  "%s is a batch of %zu, and the first of %zu", name, rows,
                                  first_rows);
    if (rows > max)
        return skep_exception_set(
            exception, "ValueError",
            "Task size greater than max_batch_size (%zu), it can't be processed", max);
    return 0;
}

static int check_tensor(const struct request *r, size_t i, const skep_tensor *tensor,
                        size_t first_rows, struct skep_exception *exception)
{
    const skep_tensor_schema *schema = in_schema(r, i);
    char name[32], got[256], wanted[256];

    name_of(r, i, name, sizeof name);
    if (!has_type(schema, tensor))
        return skep_exception_set(exception, "ValueError", "%s is of type %s, and it takes %s",
                                  name, skep_dtype_name(tensor->dtype),
                                  skep_dtype_name(schema->dtype));
    if (!has_shape(schema, tensor)) {
        shape_text(got, sizeof got, "", tensor->shape, tensor->axes);
        shape_text(wanted, sizeof wanted, "batch", schema->shape, schema->axes);
        return skep_exception_set(exception, "ValueError", "%s has shape %s, and it takes %s", name,
                                  got, wanted);
    }
    return check_rows(r, name, tensor->shape[0], first_rows, exception);
}

int skep_expert_work_check_tensor(const struct request *r, size_t i, const skep_tensor *tensor,
                                  struct skep_exception *exception)
{
    int rc = check_count(r, i + 1, false, exception);

    if (rc < 0)
        return rc;
    return check_tensor(r, i, tensor, i > 0 ? r->reader.tensors[0].shape[0] : tensor->shape[0],
                        exception);
}

int skep_expert_work_check(const struct request *r, bool whole, struct skep_exception *exception)
{
    size_t begun = r->reader.count + (skep_expert_reader_gathering(&r->reader) != NULL);
    int rc = check_count(r, begun, whole, exception);

    for (size_t i = 0; rc == 0 && i < begun; i++)
        rc = check_tensor(r, i, &r->reader.tensors[i], r->reader.tensors[0].shape[0], exception);
    return rc;
}

/* ---- how much memory ---- */

static size_t sum(size_t a, size_t b)
{
    return a > SIZE_MAX - b ? SIZE_MAX : a + b;
}

static bool is_converted(const struct request *r, size_t i, skep_dtype dtype)
{
    return dtype != in_schema(r, i)->dtype;
}

static size_t rows_of(const struct request *r)
{
    return r->reader.tensors[0].shape[0];
}

static size_t output_bytes(const struct request *r, size_t rows)
{
    size_t bytes = 0;

    for (size_t i = 0; i < out_count(r); i++) {
        skep_tensor tensor = out_tensor(r, i, rows);

        bytes = sum(bytes, skep_tensor_bytes(&tensor));
    }
    return bytes;
}

size_t skep_expert_work_outputs(const struct request *r,
                                skep_tensor outputs[SKEP_CLASS_TENSORS_MAX])
{
    for (size_t i = 0; i < out_count(r); i++)
        outputs[i] = out_tensor(r, i, rows_of(r));
    return out_count(r);
}

size_t skep_expert_work_output_bytes(const struct request *r)
{
    return output_bytes(r, rows_of(r));
}

/* Beside the outputs: the largest one compressed, and what is queued. */
static size_t writing_bytes(const struct request *r, size_t rows)
{
    size_t packed = 0, queued = (size_t)SKEP_EXPERT_PART_LEN + SKEP_MIB(1);

    for (size_t i = 0; i < out_count(r); i++) {
        skep_tensor tensor = out_tensor(r, i, rows);

        if (skep_expert_work_compressions(r)[i] != SKEP_COMPRESSION_NONE)
            packed = SKEP_MAX(packed,
                              skep_codec_encoded_len(skep_expert_work_compressions(r)[i], &tensor));
    }
    return sum(packed, SKEP_MIN(queued, sum(output_bytes(r, rows), SKEP_KIB(4))));
}

size_t skep_expert_work_writing_bytes(const struct request *r)
{
    return writing_bytes(r, rows_of(r));
}

/* Computing holds what came in and what comes out, writing what comes out and its messages. */
static size_t all_bytes(size_t in, size_t out, size_t writing)
{
    return sum(sizeof(struct request), sum(out, SKEP_MAX(in, writing)));
}

/* What is held beside the numbers of a tensor until it is whole. */
static size_t gathered_bytes(const skep_tensor *tensor, skep_compression compression)
{
    bool straight = compression == SKEP_COMPRESSION_NONE && tensor->dtype != SKEP_BFLOAT16 &&
                    tensor->dtype != SKEP_BOOL;
    skep_tensor some = *tensor;
    const char *why;

    some.data = tensor; /* that there are numbers is all that is looked at */
    if (straight)
        return 0;
    return skep_codec_check(compression, &some, &why) == 0
               ? skep_codec_encoded_len(compression, &some)
               : skep_tensor_bytes(tensor);
}

size_t skep_expert_work_estimate(const struct request *r, const struct skep_expert_peek *peek,
                                 size_t *reader_max)
{
    size_t rows = peek->first.shape[0];
    size_t numbers = 0, gathered = 0, as_taken = 0, converted = 0;

    for (size_t i = 0; i < in_count(r); i++) {
        skep_tensor tensor = tensor_of(in_schema(r, i), rows);
        size_t taken = skep_tensor_bytes(&tensor), sent;

        if (skep_dtype_is_floating(tensor.dtype) && skep_dtype_is_floating(peek->first.dtype))
            tensor.dtype = peek->first.dtype;
        sent = skep_tensor_bytes(&tensor);
        numbers = sum(numbers, sent);
        gathered = SKEP_MAX(gathered, gathered_bytes(&tensor, peek->compression));
        as_taken = sum(as_taken, SKEP_MAX(taken, sent));
        if (is_converted(r, i, tensor.dtype))
            converted = SKEP_MAX(converted, taken);
    }
    *reader_max = SKEP_MAX(sum(numbers, gathered), peek->needed);
    return all_bytes(SKEP_MAX(*reader_max, sum(as_taken, converted)), output_bytes(r, rows),
                     writing_bytes(r, rows));
}

/* Tensors are converted one after the other: at most the largest is there twice. */
static size_t converted_bytes(const struct request *r)
{
    size_t more = 0, once = 0;

    for (size_t i = 0; i < r->reader.count; i++) {
        const skep_tensor *tensor = &r->reader.tensors[i];
        size_t bytes = skep_tensor_elements(tensor) * sizeof(float);

        if (!is_converted(r, i, tensor->dtype))
            continue;
        once = SKEP_MAX(once, bytes);
        more += bytes - SKEP_MIN(bytes, skep_tensor_bytes(tensor));
    }
    return more + once;
}

int skep_expert_work_claim(struct request *r, size_t answer_bytes, struct skep_exception *exception)
{
    size_t bytes = all_bytes(r->reader.bytes + converted_bytes(r), skep_expert_work_output_bytes(r),
                             answer_bytes);

    if (skep_budget_set(&r->handler->budget, &r->claim, bytes))
        return 0;
    return skep_exception_set(
        exception, "MemoryError",
        "the request needs %zu bytes and the server has less than that for it now", bytes);
}

/* ---- the end of one ---- */

static void leave_handler(struct request *r)
{
    struct skep_handler *handler = r->handler;

    skep_list_remove(&r->entry);
    skep_list_remove(&r->line);
    skep_budget_release(&handler->budget, &r->claim);
    handler->stats.in_progress--;
    handler->stats.waiting_streams -= r->state == REQUEST_LINED_UP || r->state == REQUEST_GROWING;
    skep_handler_turn_at(handler, skep_env_now_us(handler->rpc->env));
    r->handler = NULL;
}

static void free_request(struct request *r)
{
    if (r->handler)
        leave_handler(r);
    if (r->writing)
        skep_expert_writer_fini(&r->writer);
    for (size_t i = 0; i < r->task.output_count; i++)
        skep_mem_free(r->mem, (void *)(uintptr_t)r->task.outputs[i].data);
    skep_expert_reader_fini(&r->reader);
    skep_stream_forget_held(r);
    skep_mem_free(r->mem, r);
}

void skep_expert_work_end(struct request *r)
{
    if (r->submitted && skep_runtime_cancel(r->handler->runtime, &r->task))
        r->submitted = false;
    r->abandoned = r->submitted;
    if (!r->abandoned)
        free_request(r);
}

void skep_expert_work_orphan(struct request *r)
{
    assert(r->abandoned);
    leave_handler(r);
}

/* ---- the task ---- */

static int convert(struct request *r, size_t i)
{
    skep_tensor *tensor = &r->reader.tensors[i];
    size_t elements = skep_tensor_elements(tensor);
    float *numbers;

    if (!is_converted(r, i, tensor->dtype))
        return 0;
    if (!(numbers = skep_mem_alloc(r->mem, elements * sizeof *numbers)))
        return SKEP_ENOMEM;
    skep_numbers_to_float(numbers, tensor->dtype, tensor->data, elements);
    skep_mem_free(r->mem, (void *)(uintptr_t)tensor->data);
    tensor->data = numbers;
    tensor->dtype = SKEP_FLOAT32;
    return 0;
}

static int check_finite(const struct request *r, size_t i, struct skep_exception *exception)
{
    char name[32];

    if (r->handler->options.accept_non_finite || skep_tensor_finite(&r->reader.tensors[i]))
        return 0;
    r->handler->stats.refused_non_finite++;
    return skep_exception_set(exception, "ValueError", "%s has nan or infinite values",
                              name_of(r, i, name, sizeof name));
}

static void on_task_done(struct skep_task *task, int rc, const char *text)
{
    struct request *r = SKEP_CONTAINER_OF(task, struct request, task);
    struct skep_exception exception;

    r->submitted = false;
    if (r->abandoned) {
        free_request(r);
        return;
    }
    if (rc < 0)
        skep_exception_set_repr(&exception, text);
    r->finish(r, rc < 0 ? &exception : NULL);
}

int skep_expert_work_submit(struct request *r, struct skep_exception *exception)
{
    int rc = 0;

    for (size_t i = 0; i < r->reader.count; i++) {
        if (convert(r, i) < 0)
            return skep_exception_set(exception, "MemoryError", "out of memory");
        if ((rc = check_finite(r, i, exception)) < 0)
            return rc;
    }
    r->task.done = on_task_done;
    r->task.inputs = r->reader.tensors;
    r->task.input_count = r->reader.count;
    r->task.rows = rows_of(r);
    r->submitted = true;
    rc = skep_runtime_submit(r->handler->runtime, r->expert, r->backward, &r->task);
    assert(rc == 0); /* its rows were checked */
    *(r->backward ? &r->handler->stats.backwards : &r->handler->stats.forwards) += 1;
    return rc;
}

/* ---- its life ---- */

struct request *skep_expert_work_new(struct skep_handler *handler, bool backward)
{
    struct request *r = skep_mem_zalloc(handler->mem, 1, sizeof *r);

    if (!r)
        return NULL;
    r->handler = handler;
    r->mem = handler->mem;
    r->backward = backward;
    skep_expert_reader_init(&r->reader, handler->mem, SKEP_EXPERT_REQUEST, 0);
    skep_claim_init(&r->claim);
    skep_list_init(&r->line);
    skep_list_init(&r->held);
    skep_list_push_back(&handler->requests, &r->entry);
    handler->stats.in_progress++;
    return r;
}
