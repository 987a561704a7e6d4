/* SPDX-License-Identifier: MIT */
/* A handler with its runtime and two experts, "t.0" and "t.1", over a call layer in memory and in virtual time. */
#ifndef SKEP_HANDLER_WORLD_H
#define SKEP_HANDLER_WORLD_H

#include "moe/expert_message.h"
#include "server/fake_rpc.h"
#include "server/handler.h"
#include "server/small_class.h"
#include "support/test.h"

struct handler_world {
    struct test_env env;
    struct skep_mem counted; /* the environment's, with its most */
    size_t most_bytes;
    struct small_experts experts;
    struct skep_task_pool_options pool;
    struct skep_handler_options options;
    struct skep_runtime *runtime;
    struct fake_rpc rpc;
    struct skep_handler *handler;
    struct skep_peer_id peer;
    int drained;
};

/** Everything but the handler; options may be changed then. */
void handler_world_init(struct handler_world *world, size_t hidden, const char *class_options);
/** @return what skep_handler_new() says. */
int handler_world_serve(struct handler_world *world);
/** Nothing may be left allocated. */
void handler_world_fini(struct handler_world *world);
/** What is due now happens. */
void handler_world_turn(struct handler_world *world);

const struct skep_handler_stats *handler_world_stats(struct handler_world *world);

/** A tensor of `rows` times `hidden` numbers, all `value`. malloc's. */
skep_tensor handler_tensor(skep_dtype dtype, size_t rows, size_t hidden, float value);
void handler_tensor_free(skep_tensor *tensor);
/** An ExpertRequest in one message. */
void handler_message(struct skep_buf *out, const char *uid, const skep_tensor *tensors,
                     skep_compression compression, size_t count);
/** Tensors out of the answer of a call. @return the reader, to be finished. */
void handler_answer(struct skep_expert_reader *reader, const struct fake_call *call);

#endif
