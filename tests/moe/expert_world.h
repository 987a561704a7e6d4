/* SPDX-License-Identifier: MIT */
/* What the tests of calls of experts share: a caller over a seam whose other side is the test, in virtual time. */
#ifndef SKEP_TEST_EXPERT_WORLD_H
#define SKEP_TEST_EXPERT_WORLD_H

#include "moe/expert.h"
#include "moe/fake_rpc.h"
#include "support/test.h"

enum { SECOND = 1000000, WIDTH = 4 };

struct world {
    struct test_env env;
    struct fake_rpc rpc;
    struct skep_expert_caller *caller;
};

/* A call and how it ended. */
struct asked {
    struct skep_expert_call call;
    size_t ends;
    int rc;
    char text[300];
    char why[SKEP_EXPERT_WHY_MAX]; /* of the start */
    bool fini_when_done;
    void (*then)(struct asked *asked);
    void *user;
};

static inline void world_init(struct world *world)
{
    test_env_init(&world->env, 1);
    fake_rpc_init(&world->rpc, &world->env.env);
    assert_int_equal(skep_expert_caller_new(&world->caller, &world->rpc.base), 0);
}

static inline void world_fini(struct world *world)
{
    skep_expert_caller_free(world->caller);
    fake_rpc_fini(&world->rpc);
    test_env_fini(&world->env);
}

static inline void on_asked_done(struct skep_expert_call *call, int rc, skep_bytes text)
{
    struct asked *asked = SKEP_CONTAINER_OF(call, struct asked, call);

    asked->ends++;
    asked->rc = rc;
    snprintf(asked->text, sizeof asked->text, "%.*s", (int)text.len, (const char *)text.data);
    if (asked->fini_when_done)
        skep_expert_call_fini(call);
    if (asked->then)
        asked->then(asked);
}

static inline struct skep_peer_id peer_named(uint8_t name)
{
    struct skep_peer_id peer = {.len = 38};

    memset(peer.bytes, name, 38);
    return peer;
}

static inline struct skep_expert_request request_of(enum skep_expert_call_kind kind,
                                                    const char *uid, const skep_tensor *tensors,
                                                    size_t count)
{
    return (struct skep_expert_request){.kind = kind,
                                        .uid = skep_bytes_str(uid),
                                        .peer = peer_named('p'),
                                        .tensors = tensors,
                                        .count = count,
                                        .input_count =
                                            kind == SKEP_EXPERT_BACKWARD ? count / 2 : count,
                                        .timeout_us = SKEP_NEVER_US};
}

static inline int ask(struct world *world, struct asked *asked,
                      const struct skep_expert_request *request)
{
    asked->call.done = on_asked_done;
    return skep_expert_call_start(&asked->call, world->caller, request, asked->why,
                                  sizeof asked->why);
}

/* What a served expert says of itself: the answer to rpc_info. */
static inline skep_bytes info_answer(const char *what)
{
    const json_t *infos = test_get(test_vectors("expert.json"), "rpc_info");

    for (size_t i = 0; i < json_array_size(infos); i++)
        if (strstr(test_str(json_array_get(infos, i), "what"), what))
            return test_unhex(test_str(json_array_get(infos, i), "response"));
    fail_msg("no info of %s", what);
    return (skep_bytes){0};
}

/* Answer the info that was asked for. */
static inline void tell_info(struct world *world, skep_bytes answer)
{
    struct fake_call *call = fake_rpc_call(&world->rpc);

    assert_non_null(call);
    assert_string_equal(call->method, "ConnectionHandler.rpc_info");
    fake_call_end(call, 0, answer);
}

static inline void answer(struct world *world, int rc, skep_bytes reply)
{
    struct fake_call *call = fake_rpc_call(&world->rpc);

    assert_non_null(call);
    fake_call_end(call, rc, reply);
}

/* Let the caller know ffn.0.0, which takes and gives rows of four float32. */
static inline void know_ffn(struct world *world)
{
    const struct skep_expert_request request = request_of(SKEP_EXPERT_INFO, "ffn.0.0", NULL, 0);
    struct asked asked = {.fini_when_done = true};

    assert_int_equal(ask(world, &asked, &request), 0);
    tell_info(world, info_answer("ffn.0.0"));
    assert_int_equal(asked.ends, 1);
    assert_int_equal(asked.rc, 0);
}

/* An answer with these tensors, for the life of the program. */
static inline skep_bytes response_of(const skep_tensor *tensors, size_t count,
                                     skep_compression compression)
{
    static struct skep_buf kept[16];
    static size_t next;
    struct skep_buf *out = &kept[next++ % SKEP_COUNT_OF(kept)];
    skep_compression compressions[SKEP_EXPERT_TENSORS_MAX];
    struct skep_expert_writer writer;

    for (size_t i = 0; i < count; i++)
        compressions[i] = compression;
    skep_buf_fini(out);
    skep_buf_init(out, &skep_mem_std);
    skep_expert_writer_init(&writer, &skep_mem_std, SKEP_EXPERT_RESPONSE, (skep_bytes){0}, tensors,
                            compressions, count);
    assert_int_equal(skep_expert_writer_whole(&writer, out), 0);
    skep_expert_writer_fini(&writer);
    return skep_buf_view(out);
}

static const float row_numbers[4 * WIDTH] = {0.5F, -1, 2, 0.25F, 1, 1, -1, 0,
                                             3,    4,  5, 6,     7, 8, 9,  10};

static inline skep_tensor rows_of(size_t rows)
{
    return (skep_tensor){
        .dtype = SKEP_FLOAT32, .axes = 2, .shape = {rows, WIDTH}, .data = row_numbers};
}

#endif
