/* SPDX-License-Identifier: MIT */
#include "server/handler_world.h"

#include "moe/codec.h"

static void *count_resize(void *ctx, void *ptr, size_t len)
{
    struct handler_world *world = ctx;
    void *made = world->env.mem.mem.resize(&world->env.mem, ptr, len);

    world->most_bytes = SKEP_MAX(world->most_bytes, world->env.mem.live_bytes);
    return made;
}

static struct skep_hosted *find(void *user, skep_bytes uid)
{
    struct handler_world *world = user;

    for (size_t i = 0; i < world->experts.count; i++) {
        char name[8];

        snprintf(name, sizeof name, "t.%zu", i);
        if (skep_bytes_equal(uid, skep_bytes_str(name)))
            return &world->experts.experts[i];
    }
    return NULL;
}

void handler_world_init(struct handler_world *world, size_t hidden, const char *class_options)
{
    memset(world, 0, sizeof *world);
    small_diary_forget();
    test_env_init(&world->env, 1);
    world->env.now_us = 1000;
    world->counted = (struct skep_mem){count_resize, world};
    world->env.env.mem = &world->counted;
    small_experts_init(&world->experts, 2, &world->counted, hidden, class_options);
    world->pool = (struct skep_task_pool_options){1, 64, 0};
    world->options = (struct skep_handler_options){
        .class = &world->experts.class, .memory_bytes = SKEP_MIB(64), .find = find, .user = world};
    world->peer.len = 38;
    memset(world->peer.bytes, 7, 38);
    fake_rpc_init(&world->rpc, &world->env.env);
}

int handler_world_serve(struct handler_world *world)
{
    int rc = skep_runtime_new(&world->runtime, &world->env.env, 1);

    for (size_t i = 0; rc == 0 && i < world->experts.count; i++)
        skep_runtime_add(world->runtime, &world->experts.experts[i], &world->pool);
    if (rc == 0)
        rc = skep_handler_new(&world->handler, &world->rpc.base, world->runtime, &world->options);
    return rc;
}

void handler_world_fini(struct handler_world *world)
{
    skep_handler_free(world->handler);
    handler_world_turn(world);
    fake_rpc_fini(&world->rpc);
    skep_runtime_free(world->runtime);
    small_experts_fini(&world->experts);
    test_env_fini(&world->env);
}

void handler_world_turn(struct handler_world *world)
{
    test_env_advance(&world->env, 0);
}

const struct skep_handler_stats *handler_world_stats(struct handler_world *world)
{
    return skep_handler_stats(world->handler);
}

skep_tensor handler_tensor(skep_dtype dtype, size_t rows, size_t hidden, float value)
{
    size_t n = rows * hidden;
    skep_tensor tensor = {.dtype = dtype, .axes = 2, .shape = {rows, hidden}};
    char *data = malloc(n * skep_dtype_size(dtype) + 1);

    assert_non_null(data);
    for (size_t i = 0; i < n; i++) {
        int64_t integer = skep_dtype_is_floating(dtype) ? 0 : (int64_t)value;

        if (skep_dtype_is_floating(dtype))
            skep_numbers_from_float(dtype, data + i * skep_dtype_size(dtype), &value, 1);
        else
            memcpy(data + i * skep_dtype_size(dtype), &integer, skep_dtype_size(dtype));
    }
    tensor.data = data;
    return tensor;
}

void handler_tensor_free(skep_tensor *tensor)
{
    free((void *)(uintptr_t)tensor->data);
    tensor->data = NULL;
}

void handler_message(struct skep_buf *out, const char *uid, const skep_tensor *tensors,
                     skep_compression compression, size_t count)
{
    skep_compression compressions[SKEP_EXPERT_TENSORS_MAX];
    struct skep_expert_writer writer;

    for (size_t i = 0; i < count; i++)
        compressions[i] =
            skep_dtype_is_floating(tensors[i].dtype) ? compression : SKEP_COMPRESSION_NONE;
    skep_buf_init(out, &skep_mem_std);
    skep_expert_writer_init(&writer, &skep_mem_std, SKEP_EXPERT_REQUEST, skep_bytes_str(uid),
                            tensors, compressions, count);
    assert_int_equal(skep_expert_writer_whole(&writer, out), 0);
    skep_expert_writer_fini(&writer);
}

void handler_answer(struct skep_expert_reader *reader, const struct fake_call *call)
{
    if (call->answers != 1 || call->failed)
        fail_msg("no answer but: %s", (const char *)call->answer.data);
    skep_expert_reader_init(reader, &skep_mem_std, SKEP_EXPERT_RESPONSE, SKEP_EXPERT_BYTES_MAX);
    assert_int_equal(skep_expert_reader_add(reader, skep_buf_view(&call->answer)), 0);
    assert_int_equal(skep_expert_reader_end(reader), 0);
}
