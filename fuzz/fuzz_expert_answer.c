/* SPDX-License-Identifier: MIT */
/* A hostile expert. Property: whatever bytes it answers, as its info and as the answer to a call, in one message or in a stream that ends anywhere, the call ends exactly
 * once; what it gives on success is whole and fits what the expert said; and nothing is left behind. */
#include <stdio.h>
#include <stdlib.h>

#include "moe/expert.h"
#include "moe/fake_rpc.h"

enum { ROWS = 2, WIDTH = 4 };

struct counted {
    struct skep_mem mem;
    size_t live;
};

static void *resize(void *ctx, void *ptr, size_t len)
{
    struct counted *counted = ctx;

    counted->live += ptr == NULL && len > 0;
    counted->live -= ptr != NULL && len == 0;
    return skep_mem_std.resize(skep_mem_std.ctx, ptr, len);
}

static uint64_t no_time(struct skep_env *env)
{
    (void)env;
    return 0;
}

struct run {
    struct counted counted;
    struct skep_env env;
    struct skep_timers timers;
    struct fake_rpc rpc;
    struct skep_expert_caller *caller;
    struct skep_expert_call call;
    bool known; /* its info is known: else nothing is checked but gradients */
    size_t ends;
    int rc;
};

static void check_outputs(const struct run *run)
{
    const struct skep_expert_call *call = &run->call;

    for (size_t i = 0; i < call->output_count; i++) {
        const skep_tensor *t = &call->outputs[i];
        const uint8_t *bytes = t->data;
        volatile uint8_t sum = 0;

        for (size_t j = 0; j < skep_tensor_bytes(t); j++) /* a sanitizer sees what is not there */
            sum = (uint8_t)(sum + bytes[j]);
        if (run->known && (t->axes == 0 || t->shape[0] != ROWS))
            abort();
    }
    if (call->schema && call->output_count != call->schema->output_count)
        abort();
}

static void on_done(struct skep_expert_call *call, int rc, skep_bytes text)
{
    struct run *run = SKEP_CONTAINER_OF(call, struct run, call);

    run->ends++;
    run->rc = rc;
    if (rc > 0 || (text.len > 0 && !text.data))
        abort();
    if (rc == 0)
        check_outputs(run);
}

/* Everything that happens later happens now. */
static void run_timers(struct run *run)
{
    while (skep_timers_run(run->env.timers, 0) > 0)
        ;
}

/* The info, then the call's answer; two bytes of length each. */
static skep_bytes take_piece(skep_bytes *in)
{
    skep_bytes head = skep_bytes_take(in, 2);

    return skep_bytes_take(in, head.len == 2 ? skep_get_be16(head.data) : 0);
}

static void answer_stream(struct skep_rpc_stream *stream, skep_bytes in)
{
    while (!stream->ended)
        fake_stream_drain(stream);
    while (!stream->gone && in.len > 0)
        fake_stream_message(stream, take_piece(&in));
    if (!stream->gone)
        fake_stream_end(stream);
}

static void start(struct run *run, bool without_info, bool large)
{
    static float numbers[(2 << 18) + WIDTH];
    const skep_tensor input = {.dtype = SKEP_FLOAT32,
                               .axes = 2,
                               .shape = {ROWS, large ? (1 << 18) + 1 : WIDTH},
                               .data = numbers};
    const struct skep_expert_request request = {.kind = SKEP_EXPERT_FORWARD,
                                                .uid = skep_bytes_str("ffn.0"),
                                                .peer = {.len = 1},
                                                .tensors = &input,
                                                .count = 1,
                                                .input_count = 1,
                                                .timeout_us = SKEP_NEVER_US,
                                                .without_info = without_info};

    run->known = !without_info;
    run->call.done = on_done;
    if (skep_expert_call_start(&run->call, run->caller, &request, NULL, 0) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct run run = {.counted.mem = {resize, &run.counted}};
    skep_bytes in = {data, len}, mode = skep_bytes_take(&in, 1);
    bool without_info = mode.len > 0 && mode.data[0] & 1, large = mode.len > 0 && mode.data[0] & 2;
    struct fake_call *call;

    run.env.mem = &run.counted.mem;
    run.env.now_us = no_time;
    run.env.timers = &run.timers;
    skep_timers_init(run.env.timers, run.env.mem);
    fake_rpc_init(&run.rpc, &run.env);
    if (skep_expert_caller_new(&run.caller, &run.rpc.base) < 0)
        abort();
    start(&run, without_info, large && without_info);
    if (!without_info && (call = fake_rpc_call(&run.rpc)) != NULL)
        fake_call_end(call, 0, take_piece(&in));
    run_timers(&run);
    if ((call = fake_rpc_call(&run.rpc)) != NULL)
        fake_call_end(call, 0, in);
    else if (run.ends == 0)
        answer_stream(fake_rpc_stream(&run.rpc), in);
    run_timers(&run);
    if (run.ends != 1)
        abort();
    skep_expert_call_fini(&run.call);
    skep_expert_caller_free(run.caller);
    fake_rpc_fini(&run.rpc);
    skep_timers_fini(run.env.timers);
    if (run.counted.live != 0)
        abort();
    return 0;
}
