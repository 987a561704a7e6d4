/* SPDX-License-Identifier: MIT */
/* Properties of an expert server: whatever is sent to it as a unary request, or as the messages of a stream, gets exactly one end, be it an answer, an error or
 * a reset; it never has more than its memory; and when all is over it has nothing.
 *
 *   mode 8 | a unary request, or messages of a stream: length 16 (little endian), bytes */
#include <stdlib.h>

#include "server/fake_rpc.h"
#include "server/handler.h"
#include "sim/sim_clock.h"

enum { HIDDEN = 2, IS_STREAM = 1, IS_BACKWARD = 2, LEAVES = 4, IS_CUT = 8, READS_LATE = 16 };

/* y = x, of a mask it makes nothing. */
static int open_class(size_t hidden, const char *options, skep_class_schema *schema, void **state,
                      char *why, size_t why_len)
{
    (void)options, (void)state, (void)why, (void)why_len;
    schema->inputs[0] = (skep_tensor_schema){.dtype = SKEP_FLOAT32, .axes = 1, .shape = {hidden}};
    schema->inputs[1] = (skep_tensor_schema){.dtype = SKEP_INT64};
    schema->input_count = 2;
    schema->outputs[0] = schema->inputs[0];
    schema->output_count = 1;
    return 0;
}

static int forward(skep_pass *pass, const skep_tensor *inputs, void *const *outputs)
{
    memcpy(outputs[0], inputs[0].data, pass->rows * HIDDEN * sizeof(float));
    return 0;
}

static int backward(skep_pass *pass, const skep_tensor *inputs, const skep_tensor *grad_outputs,
                    void *const *grad_inputs)
{
    (void)inputs;
    memcpy(grad_inputs[0], grad_outputs[0].data, pass->rows * HIDDEN * sizeof(float));
    return 0;
}

static const skep_expert_class identity = {.abi = SKEP_CLASS_ABI,
                                           .name = "identity",
                                           .open = open_class,
                                           .forward = forward,
                                           .backward = backward};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static struct skep_hosted *find(void *user, skep_bytes uid)
{
    return skep_bytes_equal(uid, skep_bytes_str("t.0")) ? user : NULL;
}

static void call_unary(struct fake_rpc *rpc, struct skep_sim_clock *clock, unsigned mode,
                       skep_bytes message)
{
    struct fake_call call;

    fake_call(rpc, &call,
              mode & IS_BACKWARD ? "ConnectionHandler.rpc_backward"
                                 : "ConnectionHandler.rpc_forward",
              &rpc->base.self, message);
    if (mode & LEAVES)
        fake_call_cancel(&call);
    skep_sim_clock_run_for(clock, SKEP_SIM_SECOND);
    check(call.answers == 1);
    fake_call_fini(&call);
}

static void call_stream(struct fake_rpc *rpc, struct skep_sim_clock *clock, unsigned mode,
                        skep_bytes in)
{
    struct skep_rpc_stream *stream =
        fake_stream_open(rpc,
                         mode & IS_BACKWARD ? "ConnectionHandler.rpc_backward_stream"
                                            : "ConnectionHandler.rpc_forward_stream",
                         &rpc->base.self);

    while (in.len >= 2 && stream->message_count < SKEP_COUNT_OF(stream->messages)) {
        size_t len = (size_t)in.data[0] | (size_t)in.data[1] << 8;

        skep_bytes_take(&in, 2);
        fake_stream_send(stream, skep_bytes_take(&in, len), (skep_bytes){NULL, 0});
    }
    if (!(mode & IS_CUT))
        fake_stream_end(stream);
    while (fake_stream_arrive(stream, 1000) > 0)
        skep_sim_clock_run_for(clock, 0);
    if (mode & LEAVES)
        fake_stream_leave(stream);
    skep_sim_clock_run_for(clock, SKEP_SIM_SECOND);
    if (!(mode & READS_LATE))
        fake_stream_read(stream, SIZE_MAX);
    skep_sim_clock_run_for(clock, 2 * (uint64_t)SKEP_EXPERT_STREAM_IDLE_US);
    check(stream->finished + stream->failed + stream->canceled + stream->gone == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct skep_task_pool_options pool = {1, 1 << 20, 0};
    const struct skep_training training = {.optimizer = SKEP_OPTIMIZER_NONE};
    struct skep_handler_options options = {.memory_bytes = SKEP_EXPERT_MEMORY_MIN,
                                           .compression = SKEP_COMPRESSION_FLOAT16,
                                           .find = find};
    struct skep_sim_clock clock;
    struct skep_class class;
    struct skep_hosted expert;
    struct skep_runtime *runtime;
    struct skep_handler *handler;
    struct fake_rpc rpc;
    char why[64];

    if (len == 0)
        return 0;
    skep_sim_clock_init(&clock, &skep_mem_std, 1);
    memset(&expert, 0, sizeof expert);
    check(skep_class_open(&class, &identity, HIDDEN, NULL, why, sizeof why) == 0);
    check(skep_backend_init(&expert.backend, &skep_mem_std, &class, &training, skep_sgemm_portable,
                            &clock.prng) == 0);
    check(skep_runtime_new(&runtime, &clock.env, 1) == 0);
    skep_runtime_add(runtime, &expert, &pool);
    fake_rpc_init(&rpc, &clock.env);
    options.class = &class;
    options.user = &expert;
    check(skep_handler_new(&handler, &rpc.base, runtime, &options) == 0);

    (data[0] & IS_STREAM ? call_stream : call_unary)(&rpc, &clock, data[0],
                                                     skep_bytes_of(data + 1, len - 1));
    check(skep_handler_stats(handler)->bytes == 0 && skep_handler_stats(handler)->in_progress == 0);
    check(skep_handler_stats(handler)->bytes_most <= SKEP_EXPERT_MEMORY_MIN);
    skep_handler_free(handler);
    fake_rpc_fini(&rpc);
    skep_runtime_free(runtime);
    skep_backend_fini(&expert.backend);
    skep_class_close(&class);
    skep_sim_clock_fini(&clock);
    return 0;
}
