/* SPDX-License-Identifier: MIT */
/* Operations: begun in any thread, run on the loop, ended exactly once. See include/skep/op.h.
 *
 *   new --begin--> RUNNING --end--> [callback put off to the next turn, if inside a call of the user] --> published --> callback
 *
 * The caller's reference and the node's are counted together; whoever drops the last one frees it, in whatever thread. */
#include "api/api.h"

enum { ARENA_CHUNK = 1024 };

/* ---- results ---- */

struct api_chunk {
    struct api_chunk *next;
    size_t used, cap;
    _Alignas(max_align_t) uint8_t bytes[];
};

void *skep_api_arena_alloc(struct api_arena *arena, size_t count, size_t size)
{
    struct api_chunk *chunk = arena->chunks;
    size_t align = _Alignof(max_align_t), need;
    void *got;

    if (!skep_size_mul(count, size, &need) || need > SIZE_MAX / 2)
        return NULL;
    need = (need + align - 1) / align * align;
    if (!chunk || need > chunk->cap - chunk->used) {
        size_t cap = SKEP_MAX(need, (size_t)ARENA_CHUNK);

        if (!(chunk = skep_mem_alloc(API_MEM, sizeof *chunk + cap)))
            return NULL;
        *chunk = (struct api_chunk){.next = arena->chunks, .cap = cap};
        arena->chunks = chunk;
    }
    got = chunk->bytes + chunk->used;
    chunk->used += need;
    return memset(got, 0, need);
}

void *skep_api_arena_copy(struct api_arena *arena, const void *data, size_t len)
{
    uint8_t *to = len < SIZE_MAX ? skep_api_arena_alloc(arena, len + 1, 1) : NULL;

    if (to)
        skep_bytes_copy(to, skep_bytes_of(data, len));
    return to;
}

char *skep_api_arena_str(struct api_arena *arena, skep_bytes text)
{
    return skep_api_arena_copy(arena, text.data, text.len);
}

void skep_api_arena_fini(struct api_arena *arena)
{
    while (arena->chunks) {
        struct api_chunk *chunk = arena->chunks;

        arena->chunks = chunk->next;
        skep_mem_free(API_MEM, chunk);
    }
}

/* ---- life ---- */

static void on_start(struct api_job *job, skep_node *node);
static void on_cancel(struct api_job *job, skep_node *node);

void *skep_api_op_new_of(struct api_core *core, const struct api_op_class *class, skep_op_cb *cb,
                         void *user_data)
{
    skep_op *op = skep_mem_zalloc(API_MEM, 1, class->size);

    if (!op) {
        skep_api_fail(SKEP_ENOMEM, "out of memory");
        return NULL;
    }
    op->class = class;
    op->core = skep_api_core_ref(core);
    op->cb = cb;
    op->user_data = user_data;
    atomic_init(&op->state, 1);
    atomic_init(&op->refs, 2);
    atomic_flag_clear(&op->cancel_posted);
    op->start_job.run = on_start;
    op->cancel_job.run = on_cancel;
    skep_list_init(&op->entry);
    return op;
}

void *skep_api_op_new(skep_node *node, const struct api_op_class *class, skep_op_cb *cb,
                      void *user_data, bool *own)
{
    if (own)
        *own = !skep_api_on_loop(node->core);
    return skep_api_op_new_of(node->core, class, cb, user_data);
}

void skep_api_op_drop(skep_op *op)
{
    if (op->free)
        op->free(op);
    skep_api_arena_fini(&op->arena);
    skep_api_core_unref(op->core);
    skep_mem_free(API_MEM, op);
}

static void op_unref(skep_op *op)
{
    if (atomic_fetch_sub_explicit(&op->refs, 1, memory_order_acq_rel) == 1)
        skep_api_op_drop(op);
}

void skep_op_free(skep_op *op)
{
    if (op)
        op_unref(op);
}

/* ---- begin ---- */

static int start(skep_op *op, skep_node *node)
{
    int rc;

    atomic_fetch_add_explicit(
        &op->refs, 1, memory_order_relaxed); /* it may end in here, and be freed elsewhere */
    skep_list_push_back(&node->ops, &op->entry);
    node->op_count++;
    op->started = op->in_call = true;
    rc = op->class->start(op, node);
    op->in_call = false;
    assert(rc == 0 || !op->ended);
    op_unref(op);
    return rc;
}

static void unlist(skep_op *op, skep_node *node)
{
    skep_list_remove(&op->entry);
    node->op_count--;
}

static void on_start(struct api_job *job, skep_node *node)
{
    skep_op *op = SKEP_CONTAINER_OF(job, skep_op, start_job);
    int rc = node && !node->closing ? start(op, node) : SKEP_ECANCELED;

    if (rc < 0)
        skep_api_op_end(op, rc, rc == SKEP_ECANCELED ? NULL : skep_last_error_text());
}

int skep_api_op_begin_of(skep_op **out, struct api_core *core, skep_op *op)
{
    skep_node *node;
    int rc;

    if (out)
        *out = NULL;
    if (!skep_api_on_loop(core)) {
        if ((rc = skep_api_post(core, &op->start_job)) < 0) {
            skep_api_op_drop(op);
            return skep_api_fail(rc, "the node is closed");
        }
    } else {
        node = core->node;
        if (!node || node->closing) {
            skep_api_op_drop(op);
            return skep_api_fail(SKEP_ECLOSED, "the node is closed");
        }
        if ((rc = start(op, node)) < 0) {
            unlist(op, node);
            skep_api_op_drop(op);
            return rc;
        }
    }
    if (out)
        *out = op;
    else
        op_unref(op);
    return 0;
}

int skep_api_op_begin(skep_op **out, skep_node *node, skep_op *op)
{
    return skep_api_op_begin_of(out, node->core, op);
}

/* ---- end ---- */

static void finish(skep_op *op)
{
    skep_api_op_publish(op);
    if (op->cb)
        op->cb(op, op->user_data);
    op_unref(op);
}

void skep_api_op_end(skep_op *op, int rc, const char *text)
{
    skep_node *node = op->core->node;

    assert(!op->ended && rc <= 0);
    op->ended = true;
    op->rc = rc;
    if (text && *text)
        op->text = skep_api_arena_str(&op->arena, skep_bytes_str(text));
    if (op->started)
        unlist(op, node);
    if (op->cb && op->in_call)
        skep_list_push_back(&node->deferred, &op->entry);
    else
        finish(op);
}

void skep_api_run_deferred(skep_node *node)
{
    struct skep_list todo;

    /* Only those that are here now: a callback may start the next operation, which ends at once. */
    skep_list_init(&todo);
    while (!skep_list_empty(&node->deferred)) {
        struct skep_list *entry = node->deferred.next;

        skep_list_remove(entry);
        skep_list_push_back(&todo, entry);
    }
    while (!skep_list_empty(&todo)) {
        skep_op *op = SKEP_LIST_ITEM(todo.next, skep_op, entry);

        skep_list_remove(&op->entry);
        finish(op);
    }
}

static void cancel(skep_op *op, skep_node *node)
{
    if (op->ended || !op->started)
        return;
    atomic_fetch_add_explicit(&op->refs, 1, memory_order_relaxed);
    op->in_call = true;
    op->class->cancel(op, node);
    if (!op->ended)
        skep_api_op_end(op, SKEP_ECANCELED, NULL);
    op->in_call = false;
    op_unref(op);
}

void skep_api_ops_close(skep_node *node)
{
    while (!skep_list_empty(&node->ops)) {
        cancel(SKEP_LIST_ITEM(node->ops.next, skep_op, entry), node);
        skep_api_run_deferred(node);
    }
    while (!skep_list_empty(&node->deferred))
        skep_api_run_deferred(node);
}

static void on_cancel(struct api_job *job, skep_node *node)
{
    skep_op *op = SKEP_CONTAINER_OF(job, skep_op, cancel_job);

    if (node)
        cancel(op, node);
    op_unref(op);
}

void skep_op_cancel(skep_op *op)
{
    struct api_core *core;

    if (!op || atomic_load(&op->state) != 1)
        return;
    core = op->core;
    if (skep_api_on_loop(core)) {
        if (core->node && op->started) {
            cancel(op, core->node);
            return;
        }
        /* Begun in another thread and not yet come to the loop: behind its start in the queue. */
    }
    if (atomic_flag_test_and_set(&op->cancel_posted))
        return;
    atomic_fetch_add_explicit(&op->refs, 1, memory_order_relaxed);
    if (skep_api_post(core, &op->cancel_job) < 0)
        op_unref(op); /* the node is closing, which ends it as well */
}

int skep_op_poll(const skep_op *op)
{
    if (!op)
        return skep_api_need(op, "operation");
    return atomic_load_explicit(&((skep_op *)(uintptr_t)op)->state, memory_order_acquire);
}

const char *skep_op_text(const skep_op *op)
{
    return op && skep_op_poll(op) != 1 && op->text ? op->text : "";
}
