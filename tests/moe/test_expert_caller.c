/* SPDX-License-Identifier: MIT */
/* The caller of experts beyond single answers: infos that are shared and kept, experts that fail, ends of every kind, and no memory. */
#include "moe/expert_world.h"

#include "moe/expert_infos.h"

static struct skep_expert_request forward_of(const skep_tensor *input)
{
    return request_of(SKEP_EXPERT_FORWARD, "ffn.0.0", input, 1);
}

static skep_bytes rows_answer(size_t rows)
{
    const skep_tensor output = rows_of(rows);

    return response_of(&output, 1, SKEP_COMPRESSION_NONE);
}

static size_t infos_asked(const struct world *world)
{
    const struct fake_call *call = fake_rpc_call((struct fake_rpc *)(uintptr_t)&world->rpc);

    return call && strcmp(call->method, "ConnectionHandler.rpc_info") == 0;
}

/* ---- infos ---- */

static void calls_at_the_same_time_share_one_request_for_the_info(void **state)
{
    const skep_tensor input = rows_of(2);
    struct skep_expert_request request = forward_of(&input);
    struct asked asked[4] = {0};
    struct world world;

    (void)state;
    world_init(&world);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(ask(&world, &asked[i], &request), 0);
    request.kind = SKEP_EXPERT_INFO;
    assert_int_equal(ask(&world, &asked[3], &request), 0);
    assert_int_equal(world.rpc.call_count, 1);
    tell_info(&world, info_answer("ffn.0.0"));
    assert_int_equal(asked[3].ends, 1);
    assert_int_equal(asked[3].call.schema->input_count, 1);
    assert_int_equal(world.rpc.call_count, 4);
    for (size_t i = 0; i < 3; i++) {
        answer(&world, 0, rows_answer(2));
        assert_int_equal(asked[i].ends, 1);
        assert_int_equal(asked[i].rc, 0);
        assert_ptr_equal(asked[i].call.schema, asked[3].call.schema);
    }
    for (size_t i = 0; i < 4; i++)
        skep_expert_call_fini(&asked[i].call);
    world_fini(&world);
}

static void an_info_is_asked_once_and_is_of_one_peer(void **state)
{
    const skep_tensor input = rows_of(2);
    struct skep_expert_request request = forward_of(&input);
    struct asked asked = {.fini_when_done = true};
    struct world world;

    (void)state;
    world_init(&world);
    know_ffn(&world);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(ask(&world, &asked, &request), 0);
        assert_int_equal(infos_asked(&world), 0);
        answer(&world, 0, rows_answer(2));
    }
    assert_int_equal(asked.ends, 3);
    request.peer = peer_named('q');
    assert_int_equal(ask(&world, &asked, &request), 0);
    assert_int_equal(infos_asked(&world), 1);
    skep_expert_call_fini(&asked.call);
    assert_int_equal(skep_expert_caller_stats(world.caller)->infos_kept, 1);
    world_fini(&world);
}

static void an_info_that_is_known_is_told_on_the_next_turn(void **state)
{
    const struct skep_expert_request request = request_of(SKEP_EXPERT_INFO, "ffn.0.0", NULL, 0);
    struct asked asked = {0};
    struct world world;

    (void)state;
    world_init(&world);
    know_ffn(&world);
    assert_int_equal(ask(&world, &asked, &request), 0);
    assert_int_equal(asked.ends, 0);
    test_env_advance(&world.env, 0);
    assert_int_equal(asked.ends, 1);
    assert_int_equal(asked.call.schema->outputs[0].shape[0], WIDTH);
    skep_expert_call_fini(&asked.call);
    world_fini(&world);
}

static void of_infos_above_the_bound_the_least_used_is_forgotten(void **state)
{
    struct skep_expert_request request = request_of(SKEP_EXPERT_INFO, "", NULL, 0);
    skep_bytes info = info_answer("ffn.0.0");
    struct asked asked = {.fini_when_done = true};
    struct world world;
    char uid[32];

    (void)state;
    world_init(&world);
    for (size_t i = 0; i <= SKEP_EXPERT_INFOS_MAX; i++) {
        snprintf(uid, sizeof uid, "ffn.%zu", i);
        request.uid = skep_bytes_str(uid);
        assert_int_equal(ask(&world, &asked, &request), 0);
        tell_info(&world, info);
        if (i == SKEP_EXPERT_INFOS_MAX - 1) { /* the first is used again */
            request.uid = skep_bytes_str("ffn.0");
            assert_int_equal(ask(&world, &asked, &request), 0);
            test_env_advance(&world.env, 0);
        }
    }
    assert_int_equal(asked.ends, SKEP_EXPERT_INFOS_MAX + 2);
    assert_int_equal(skep_expert_caller_stats(world.caller)->infos_kept, SKEP_EXPERT_INFOS_MAX);
    request.uid = skep_bytes_str("ffn.0");
    assert_int_equal(ask(&world, &asked, &request), 0);
    assert_int_equal(infos_asked(&world), 0);
    test_env_advance(&world.env, 0);
    request.uid = skep_bytes_str("ffn.1");
    assert_int_equal(ask(&world, &asked, &request), 0);
    assert_int_equal(infos_asked(&world), 1);
    skep_expert_call_fini(&asked.call);
    world_fini(&world);
}

static void an_info_is_asked_anew_after_the_expert_refused(void **state)
{
    const skep_tensor input = rows_of(2);
    const struct skep_expert_request request = forward_of(&input);
    struct asked asked = {.fini_when_done = true};
    struct world world;

    (void)state;
    world_init(&world);
    know_ffn(&world);
    assert_int_equal(ask(&world, &asked, &request), 0);
    answer(&world, SKEP_EPEER_REMOTE, skep_bytes_str("KeyError('ffn.0.0')"));
    assert_string_equal(asked.text, "KeyError('ffn.0.0')");
    assert_int_equal(ask(&world, &asked, &request), 0);
    assert_int_equal(infos_asked(&world), 1);
    skep_expert_call_fini(&asked.call);
    world_fini(&world);
}

static skep_bytes info_of_width(size_t width)
{
    static struct skep_buf message;
    const skep_tensor_schema schema = {.dtype = SKEP_FLOAT32, .axes = 1, .shape = {width}};
    struct skep_buf info;

    skep_buf_init(&info, &skep_mem_std);
    assert_int_equal(skep_expert_info_write(&info, &schema, 1, &schema, 1), 0);
    skep_buf_fini(&message);
    skep_buf_init(&message, &skep_mem_std);
    skep_expert_info_message_write(&message, skep_buf_view(&info));
    skep_buf_fini(&info);
    return skep_buf_view(&message);
}

static void inputs_that_do_not_fit_a_kept_info_ask_for_it_once_more(void **state)
{
    const skep_tensor narrow = rows_of(2), wide = {.dtype = SKEP_FLOAT32,
                                                   .axes = 2,
                                                   .shape = {1, 2 * WIDTH},
                                                   .data = row_numbers};
    const struct skep_expert_request fits = forward_of(&wide), does_not = forward_of(&narrow);
    struct asked asked = {.fini_when_done = true};
    struct world world;

    (void)state;
    world_init(&world);
    know_ffn(&world); /* of width 4, and then the expert begins anew with 8 */
    assert_int_equal(ask(&world, &asked, &fits), 0);
    tell_info(&world, info_of_width(2 * WIDTH));
    assert_int_equal(asked.ends, 0);
    answer(&world, 0, response_of(&wide, 1, SKEP_COMPRESSION_NONE));
    assert_int_equal(asked.rc, 0);
    assert_int_equal(ask(&world, &asked, &does_not), 0);
    tell_info(&world, info_of_width(2 * WIDTH));
    assert_int_equal(asked.ends, 2);
    assert_int_equal(asked.rc, SKEP_EINVAL);
    assert_null(fake_rpc_call(&world.rpc));
    world_fini(&world);
}

static void end_info(int rc, skep_bytes reply, int want, const char *text)
{
    const skep_tensor input = rows_of(2);
    const struct skep_expert_request request = forward_of(&input);
    struct asked asked[2] = {{.fini_when_done = true}, {.fini_when_done = true}};
    struct world world;

    world_init(&world);
    assert_int_equal(ask(&world, &asked[0], &request), 0);
    assert_int_equal(ask(&world, &asked[1], &request), 0);
    answer(&world, rc, reply);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(asked[i].ends, 1);
        assert_int_equal(asked[i].rc, want);
        if (!strstr(asked[i].text, text))
            fail_msg("\"%s\" does not say \"%s\"", asked[i].text, text);
    }
    assert_int_equal(skep_expert_caller_stats(world.caller)->infos_kept, 0);
    world_fini(&world);
}

static void an_info_that_makes_no_sense_ends_all_that_wait_for_it(void **state)
{
    static uint8_t large[SKEP_EXPERT_INFO_MAX + 1];
    skep_bytes whole = info_answer("ffn.0.0");

    (void)state;
    end_info(SKEP_EPEER_REMOTE, skep_bytes_str("KeyError('ffn.0.0')"), SKEP_EPEER_REMOTE,
             "KeyError('ffn.0.0')");
    end_info(SKEP_ELOST, (skep_bytes){0}, SKEP_ELOST, "");
    end_info(0, skep_bytes_of(large, sizeof large), SKEP_EPEER_LIMIT, "");
    end_info(0, skep_bytes_str("\xff\xff"), SKEP_EPEER_FRAME, "");
    for (size_t len = 4; len < whole.len; len += 7) { /* its length stays in front: a short text */
        struct skep_buf cut;

        skep_buf_init(&cut, &skep_mem_std);
        skep_expert_info_message_write(&cut, skep_bytes_of(whole.data + 3, len - 3));
        end_info(0, skep_buf_view(&cut), SKEP_EPEER_FRAME, "");
        skep_buf_fini(&cut);
    }
}

/* ---- ends ---- */

enum stage { AT_ONCE, ASKING, CALLING, STREAMING, ANSWERING, TOLD, STAGES };

/* A call brought so far. */
static void bring(struct world *world, struct asked *asked, enum stage stage, uint64_t timeout_us)
{
    static uint8_t numbers[(2 << 20) + 8];
    const skep_tensor small = rows_of(2), large = {.dtype = SKEP_INT8,
                                                   .axes = 2,
                                                   .shape = {1, sizeof numbers},
                                                   .data = numbers};
    bool streams = stage == STREAMING || stage == ANSWERING;
    struct skep_expert_request request = forward_of(streams ? &large : &small);
    struct skep_rpc_stream *stream;

    request.timeout_us = timeout_us;
    request.without_info = streams;
    assert_int_equal(ask(world, asked, &request), 0);
    if (stage == CALLING || stage == TOLD)
        tell_info(world, info_answer("ffn.0.0"));
    if (stage == TOLD)
        answer(world, 0, rows_answer(2));
    if (stage == ANSWERING) {
        skep_bytes part = rows_answer(2);

        stream = fake_rpc_stream(&world->rpc);
        while (!stream->ended)
            fake_stream_drain(stream);
        fake_stream_message(stream, part);
    }
}

static void a_call_can_be_stopped_at_every_stage(void **state)
{
    (void)state;
    for (enum stage stage = AT_ONCE; stage < STAGES; stage++) {
        struct asked asked = {0};
        struct world world;

        world_init(&world);
        bring(&world, &asked, stage, SECOND);
        skep_expert_call_fini(&asked.call);
        skep_expert_call_fini(&asked.call); /* harmless */
        test_env_advance(&world.env, 2 * SECOND);
        assert_int_equal(asked.ends, stage == TOLD);
        assert_null(fake_rpc_call(&world.rpc));
        assert_true(!fake_rpc_stream(&world.rpc) || fake_rpc_stream(&world.rpc)->cancelled);
        world_fini(&world);
    }
}

static void an_info_that_one_still_waits_for_is_not_given_up(void **state)
{
    const skep_tensor input = rows_of(2);
    const struct skep_expert_request request = forward_of(&input);
    struct asked asked[2] = {0};
    struct world world;

    (void)state;
    world_init(&world);
    assert_int_equal(ask(&world, &asked[0], &request), 0);
    assert_int_equal(ask(&world, &asked[1], &request), 0);
    skep_expert_call_fini(&asked[0].call);
    assert_int_equal(world.rpc.cancels, 0);
    skep_expert_call_fini(&asked[1].call);
    assert_int_equal(world.rpc.cancels, 1);
    world_fini(&world);
}

static void the_timeout_counts_over_the_whole_call(void **state)
{
    (void)state;
    for (enum stage stage = AT_ONCE; stage < TOLD; stage++) {
        struct asked asked = {0};
        struct world world;

        world_init(&world);
        bring(&world, &asked, stage, SECOND);
        test_env_advance(&world.env, SECOND - 1);
        assert_int_equal(asked.ends, 0);
        test_env_advance(&world.env, 1);
        assert_int_equal(asked.ends, 1);
        assert_int_equal(asked.rc, SKEP_ETIMEDOUT);
        assert_null(fake_rpc_call(&world.rpc));
        assert_true(!fake_rpc_stream(&world.rpc) || fake_rpc_stream(&world.rpc)->cancelled);
        assert_int_equal(skep_expert_caller_stats(world.caller)->timed_out, 1);
        skep_expert_call_fini(&asked.call);
        world_fini(&world);
    }
}

static void calls_under_way_end_with_their_caller(void **state)
{
    (void)state;
    for (enum stage stage = AT_ONCE; stage < STAGES; stage++) {
        struct asked asked = {.fini_when_done = stage % 2 == 0};
        struct world world;

        world_init(&world);
        bring(&world, &asked, stage, SKEP_NEVER_US);
        skep_expert_caller_free(world.caller);
        assert_int_equal(asked.ends, 1);
        assert_int_equal(asked.rc, stage == TOLD ? 0 : SKEP_ECANCELED);
        if (stage == TOLD) /* results outlive the caller */
            assert_int_equal(asked.call.output_count, 1);
        skep_expert_call_fini(&asked.call);
        world.caller = NULL;
        world_fini(&world);
    }
}

static void ask_again(struct asked *asked)
{
    const skep_tensor input = rows_of(2);
    const struct skep_expert_request request = forward_of(&input);

    asked->then = NULL;
    assert_int_equal(ask(asked->user, asked, &request), 0);
}

static void a_call_may_be_released_and_started_anew_as_it_ends(void **state)
{
    const skep_tensor input = rows_of(2);
    const struct skep_expert_request request = forward_of(&input);
    struct world world;
    struct asked asked = {.fini_when_done = true, .then = ask_again, .user = &world};

    (void)state;
    world_init(&world);
    know_ffn(&world);
    assert_int_equal(ask(&world, &asked, &request), 0);
    answer(&world, 0, rows_answer(2));
    assert_int_equal(asked.ends, 1);
    answer(&world, 0, rows_answer(2));
    assert_int_equal(asked.ends, 2);
    assert_int_equal(asked.rc, 0);
    world_fini(&world);
}

static void stolen_outputs_live_on(void **state)
{
    struct asked asked = {0};
    struct world world;
    const float *numbers;

    (void)state;
    world_init(&world);
    bring(&world, &asked, TOLD, SKEP_NEVER_US);
    numbers = asked.call.outputs[0].data;
    skep_expert_call_steal(&asked.call);
    assert_ptr_equal(asked.call.outputs[0].data, numbers);
    skep_expert_call_fini(&asked.call);
    assert_true(numbers[2] == 2);
    skep_mem_free(world.env.env.mem, (void *)(uintptr_t)numbers);
    world_fini(&world);
}

static void errors_of_the_call_layer_come_on_the_next_turn(void **state)
{
    const int errors[] = {SKEP_ELIMIT, SKEP_ESELF, SKEP_ENOMEM, SKEP_EUNREACH};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(errors); i++) {
        struct asked asked = {0};
        struct world world;

        world_init(&world);
        world.rpc.call_rc = errors[i]; /* of the info */
        bring(&world, &asked, AT_ONCE, SECOND);
        assert_int_equal(asked.ends, 0);
        test_env_advance(&world.env, 0);
        assert_int_equal(asked.rc, errors[i]);
        skep_expert_call_fini(&asked.call);
        world.rpc.open_rc = errors[i];
        bring(&world, &asked, STREAMING, SECOND);
        test_env_advance(&world.env, 0);
        assert_int_equal(asked.rc, errors[i]);
        skep_expert_call_fini(&asked.call);
        world.rpc.send_rc = errors[i];
        bring(&world, &asked, STREAMING, SECOND);
        assert_true(fake_rpc_stream(&world.rpc)->cancelled);
        test_env_advance(&world.env, 0);
        assert_int_equal(asked.ends, 3);
        assert_int_equal(asked.rc, errors[i]);
        skep_expert_call_fini(&asked.call);
        world_fini(&world);
    }
}

/* ---- failing experts ---- */

static bool is_failing(struct world *world)
{
    const struct skep_peer_id peer = peer_named('p');

    return skep_expert_failing(world->caller, skep_bytes_str("ffn.0.0"), &peer);
}

static void end_with(struct world *world, int rc)
{
    const skep_tensor input = rows_of(2);
    struct skep_expert_request request = forward_of(&input);
    struct asked asked = {.fini_when_done = true};

    request.without_info = true;
    assert_int_equal(ask(world, &asked, &request), 0);
    answer(world, rc, rc == 0 ? rows_answer(2) : (skep_bytes){0});
    assert_int_equal(asked.rc, rc);
}

static void an_expert_that_does_not_answer_is_left_alone_for_longer_each_time(void **state)
{
    uint64_t backoff_us = SKEP_EXPERT_BACKOFF_US;
    struct world world;

    (void)state;
    world_init(&world);
    assert_false(is_failing(&world));
    for (size_t i = 0; i < 10; i++) {
        end_with(&world, SKEP_ELOST);
        end_with(&world, SKEP_ELOST); /* one that fails together with it changes nothing */
        test_env_advance(&world.env, backoff_us - 1);
        assert_true(is_failing(&world));
        test_env_advance(&world.env, 1);
        assert_false(is_failing(&world));
        backoff_us = SKEP_MIN(2 * backoff_us, (uint64_t)SKEP_EXPERT_BACKOFF_MAX_US);
    }
    assert_int_equal(backoff_us, SKEP_EXPERT_BACKOFF_MAX_US);
    end_with(&world, 0);
    end_with(&world, SKEP_ELOST);
    test_env_advance(&world.env, SKEP_EXPERT_BACKOFF_US);
    assert_false(is_failing(&world));
    world_fini(&world);
}

static void only_what_is_no_answer_makes_an_expert_fail(void **state)
{
    const struct {
        int rc;
        bool failing;
    } ends[] = {{0, false},
                {SKEP_EPEER_REMOTE, false},
                {SKEP_ECANCELED, false},
                {SKEP_ENOMEM, false},
                {SKEP_ETIMEDOUT, true},
                {SKEP_EUNREACH, true},
                {SKEP_ELOST, true},
                {SKEP_EREFUSED, true},
                {SKEP_EPEER_RESET, true},
                {SKEP_EPEER_UNSUPPORTED, true},
                {SKEP_EPEER_FRAME, true}};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(ends); i++) {
        const struct skep_peer_id other = peer_named('q');
        struct world world;

        world_init(&world);
        end_with(&world, ends[i].rc);
        assert_int_equal(is_failing(&world), ends[i].failing);
        assert_false(skep_expert_failing(world.caller, skep_bytes_str("ffn.0.0"), &other));
        assert_false(skep_expert_failing(world.caller, skep_bytes_str("ffn.0.1"), &other));
        world_fini(&world);
    }
}

static void of_failing_experts_above_the_bound_the_oldest_is_forgotten(void **state)
{
    const struct skep_peer_id peer = peer_named('p');
    struct skep_expert_failing_table table;
    struct skep_expert_key key;
    struct test_mem mem;
    char uid[32];

    (void)state;
    test_mem_init(&mem);
    skep_expert_failing_init(&table, &mem.mem);
    for (size_t i = 0; i <= SKEP_EXPERT_FAILING_MAX; i++) {
        snprintf(uid, sizeof uid, "ffn.%zu", i);
        skep_expert_key_make(&key, skep_bytes_str(uid), &peer);
        skep_expert_failing_add(&table, &key, i);
    }
    assert_int_equal(table.count, SKEP_EXPERT_FAILING_MAX);
    skep_expert_key_make(&key, skep_bytes_str("ffn.0"), &peer);
    assert_false(skep_expert_failing_has(&table, &key, 5000));
    skep_expert_key_make(&key, skep_bytes_str("ffn.1"), &peer);
    assert_true(skep_expert_failing_has(&table, &key, 5000));
    skep_expert_failing_fini(&table);
    assert_int_equal(mem.live, 0);
}

/* ---- no memory ---- */

static int finish_calls(struct world *world, struct asked *asked)
{
    struct skep_rpc_stream *stream;
    struct fake_call *call;

    while (asked->ends == 0) {
        stream = fake_rpc_stream(&world->rpc);
        if ((call = fake_rpc_call(&world->rpc)) != NULL) {
            bool info = strcmp(call->method, "ConnectionHandler.rpc_info") == 0;

            fake_call_end(call, 0, info ? info_answer("ffn.0.0") : rows_answer(2));
        } else if (stream && !stream->gone && !stream->ended) {
            fake_stream_drain(stream);
        } else if (stream && !stream->gone) {
            fake_stream_message(stream, rows_answer(2));
            if (!stream->gone)
                fake_stream_end(stream);
        } else {
            test_env_advance(&world->env, 0);
        }
    }
    return asked->rc;
}

static int one_call(struct world *world, const skep_tensor *input, skep_compression compression,
                    bool without_info)
{
    struct skep_expert_request request = forward_of(input);
    struct asked asked = {0};
    int rc;

    request.timeout_us = SECOND;
    request.without_info = without_info;
    request.compression = compression;
    rc = ask(world, &asked, &request);
    if (rc == 0)
        rc = finish_calls(world, &asked);
    skep_expert_call_fini(&asked.call);
    return rc;
}

static int calls_with(const struct skep_mem *mem, void *user)
{
    static float numbers[(2 << 18) + 1];
    const skep_tensor small = rows_of(2), large = {.dtype = SKEP_FLOAT32,
                                                   .axes = 2,
                                                   .shape = {1, SKEP_COUNT_OF(numbers)},
                                                   .data = numbers};
    struct world world;
    int rc;

    (void)user;
    test_env_init(&world.env, 1);
    skep_timers_fini(world.env.env.timers);
    world.env.env.mem = mem;
    skep_timers_init(world.env.env.timers, mem);
    skep_map_set_mem(mem);
    fake_rpc_init(&world.rpc, &world.env.env);
    rc = skep_expert_caller_new(&world.caller, &world.rpc.base);
    if (rc == 0)
        rc = one_call(&world, &small, SKEP_COMPRESSION_NONE, false);
    if (rc == 0)
        rc = one_call(&world, &large, SKEP_COMPRESSION_NONE, true);
    if (rc == 0)
        rc = one_call(&world, &large, SKEP_COMPRESSION_FLOAT16, true);
    skep_expert_caller_free(world.caller);
    fake_rpc_fini(&world.rpc);
    skep_map_set_mem(&skep_mem_std);
    skep_timers_fini(world.env.env.timers);
    return rc;
}

static void no_memory_ends_a_call_and_leaves_nothing(void **state)
{
    (void)state;
    test_each_allocation_fails(calls_with, NULL);
}

static void a_small_call_takes_three_allocations_at_most(void **state)
{
    const skep_tensor input = rows_of(2);
    const struct skep_expert_request request = forward_of(&input);
    struct asked asked = {.fini_when_done = true};
    struct world world;

    (void)state;
    world_init(&world);
    know_ffn(&world);
    for (size_t i = 0; i < 3; i++) {
        size_t before = world.env.mem.allocations;

        assert_int_equal(ask(&world, &asked, &request), 0);
        answer(&world, 0, rows_answer(2));
        if (i > 0) /* the first also makes the buffer that requests are written in */
            assert_true(world.env.mem.allocations - before <= 3);
    }
    world_fini(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_at_the_same_time_share_one_request_for_the_info),
        cmocka_unit_test(an_info_is_asked_once_and_is_of_one_peer),
        cmocka_unit_test(an_info_that_is_known_is_told_on_the_next_turn),
        cmocka_unit_test(of_infos_above_the_bound_the_least_used_is_forgotten),
        cmocka_unit_test(an_info_is_asked_anew_after_the_expert_refused),
        cmocka_unit_test(inputs_that_do_not_fit_a_kept_info_ask_for_it_once_more),
        cmocka_unit_test(an_info_that_makes_no_sense_ends_all_that_wait_for_it),
        cmocka_unit_test(a_call_can_be_stopped_at_every_stage),
        cmocka_unit_test(an_info_that_one_still_waits_for_is_not_given_up),
        cmocka_unit_test(the_timeout_counts_over_the_whole_call),
        cmocka_unit_test(calls_under_way_end_with_their_caller),
        cmocka_unit_test(a_call_may_be_released_and_started_anew_as_it_ends),
        cmocka_unit_test(stolen_outputs_live_on),
        cmocka_unit_test(errors_of_the_call_layer_come_on_the_next_turn),
        cmocka_unit_test(an_expert_that_does_not_answer_is_left_alone_for_longer_each_time),
        cmocka_unit_test(only_what_is_no_answer_makes_an_expert_fail),
        cmocka_unit_test(of_failing_experts_above_the_bound_the_oldest_is_forgotten),
        cmocka_unit_test(a_small_call_takes_three_allocations_at_most),
        cmocka_unit_test(no_memory_ends_a_call_and_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
