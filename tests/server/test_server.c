/* SPDX-License-Identifier: MIT */
/* An expert server in virtual time, over a simulated swarm: it is found, declares again, takes no uid that is alive, answers what is in progress when it stops,
 * and keeps what it learnt. */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "moe/declare.h"
#include "moe/expert_message.h"
#include "server/server.h"
#include "server/small_class.h"
#include "sim/swarm.h"

enum { NODES = 8, HOME = 3, CALLER = 6, HIDDEN = 2, SECOND = 1000000 };

/* The swarm, a server at HOME, and what it told. */
static struct swarm swarm;
static struct skep_server_core *core;
static char folder[64];

struct told {
    bool done;
    int rc;
    char text[1024];
};
static struct told started, stopped;
static bool gone;
static int complaints; /* logged, of checkpoints */

static void on_log(struct skep_sim_clock *clock, enum skep_log_level level, const char *text)
{
    (void)clock;
    complaints += level == SKEP_LOG_ERROR && strstr(text, "checkpoint not written: ") != NULL;
}

static void on_told(void *user, int rc, const char *text)
{
    struct told *told = user;

    assert_false(told->done);
    told->done = true;
    told->rc = rc;
    snprintf(told->text, sizeof told->text, "%s", text);
}

static void on_gone(void *user)
{
    (void)user;
    assert_false(gone);
    gone = true;
}

static void run(uint64_t us)
{
    skep_sim_clock_run_for(&swarm.clock, us);
}

static void begin(void)
{
    snprintf(folder, sizeof folder, "/tmp/skep-server-XXXXXX");
    assert_non_null(mkdtemp(folder));
    small_diary_forget();
    swarm_init(&swarm, &skep_mem_std, 1, NULL);
    swarm.clock.log = on_log;
    complaints = 0;
    swarm_grow(&swarm, NODES, NULL);
}

static void remove_folder(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    char name[512];

    while (dir && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (unlink(name) != 0)
            remove_folder(name);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

static void end(void)
{
    swarm_fini(&swarm);
    remove_folder(folder);
}

static const char *const two_uids[] = {"small.0", "small.1"};

static struct skep_server_core_options options_of(const char *class_options)
{
    return (struct skep_server_core_options){
        .uids = two_uids,
        .uid_count = 2,
        .class = &small_class,
        .hidden = HIDDEN,
        .class_options = class_options,
        .training = {.optimizer = SKEP_OPTIMIZER_SGD, .learning_rate = 1},
        .memory_bytes = SKEP_MIB(64),
        .pools = {.min_batch_size = 1, .max_batch_size = 64},
        .workers = 2,
        .seed = 1,
        .update_period_us = 30 * SECOND};
}

static void make(const struct skep_server_core_options *options)
{
    char why[SKEP_SERVER_WHY_MAX];
    int rc = skep_server_core_new(&core, &swarm.clock.env, swarm.rpc[HOME], swarm.dht[HOME],
                                  options, why, sizeof why);

    if (rc < 0)
        fail_msg("%s", why);
}

static int start(const struct skep_server_core_options *options)
{
    make(options);
    started = stopped = (struct told){.done = false};
    assert_int_equal(skep_server_core_start(core, on_told, &started), 0);
    assert_false(started.done);
    assert_true(skep_sim_clock_run_until(&swarm.clock, &started.done, 60 * SECOND));
    return started.rc;
}

static int stop(void)
{
    skep_server_core_stop(core, on_told, &stopped);
    assert_false(stopped.done);
    assert_true(skep_sim_clock_run_until(&swarm.clock, &stopped.done, 60 * SECOND));
    return stopped.rc;
}

static void drop(void)
{
    gone = false;
    skep_server_core_free(core, on_gone, NULL);
    if (!gone)
        assert_true(skep_sim_clock_run_until(&swarm.clock, &gone, 60 * SECOND));
    core = NULL;
}

/* ---- callers ---- */

struct looking {
    struct skep_locate locate;
    bool done;
};

static void on_located(struct skep_locate *locate, int rc)
{
    (void)rc;
    SKEP_CONTAINER_OF(locate, struct looking, locate)->done = true;
}

/* Who serves a uid, as seen from CALLER. @return its index in the net; -1: nobody. */
static int server_of(const char *uid)
{
    static const struct skep_dht_get_options fresh = {.sufficient_expiration_unix_s = 0,
                                                      .no_local = true};
    struct looking looking = {.locate = {.done = on_located}};
    const struct skep_located *located;
    skep_bytes uids[1] = {skep_bytes_str(uid)};
    int found = -1;

    assert_int_equal(
        skep_locate_start(&looking.locate, swarm.dht[CALLER], uids, 1, &fresh, NULL, 0), 0);
    assert_true(skep_sim_clock_run_until(&swarm.clock, &looking.done, 30 * SECOND));
    located = &looking.locate.experts[0];
    for (uint32_t i = 0; located->found && i < swarm.count; i++)
        if (skep_peer_id_equal(&swarm.rpc[i]->self, &located->peer))
            found = (int)i;
    skep_locate_fini(&looking.locate);
    return found;
}

struct call {
    struct skep_rpc_call call;
    bool done;
    int rc;
    float y[64 * HIDDEN];
    char text[512];
};

static void on_answer(struct skep_rpc_call *base, int rc, skep_bytes reply)
{
    struct call *call = SKEP_CONTAINER_OF(base, struct call, call);
    struct skep_expert_reader reader;

    call->done = true;
    call->rc = rc;
    if (rc < 0) {
        snprintf(call->text, sizeof call->text, "%.*s", (int)reply.len,
                 reply.len > 0 ? (const char *)reply.data : "");
        return;
    }
    skep_expert_reader_init(&reader, &skep_mem_std, SKEP_EXPERT_RESPONSE, SKEP_MIB(1));
    assert_int_equal(skep_expert_reader_add(&reader, reply), 0);
    assert_int_equal(skep_expert_reader_end(&reader), 0);
    assert_int_equal(reader.count, 1);
    memcpy(call->y, reader.tensors[0].data,
           SKEP_MIN(skep_tensor_bytes(&reader.tensors[0]), sizeof call->y));
    skep_expert_reader_fini(&reader);
}

/* Rows of the value x; of a backward the gradients are 1. */
static void call_start(struct call *call, const char *uid, bool backward, size_t rows, float x)
{
    static const skep_compression none[2];
    float numbers[2][64 * HIDDEN];
    skep_tensor tensors[2];
    struct skep_expert_writer writer;
    struct skep_buf message;

    for (size_t i = 0; i < rows * HIDDEN; i++) {
        numbers[0][i] = x;
        numbers[1][i] = 1;
    }
    for (size_t i = 0; i < 2; i++)
        tensors[i] = (skep_tensor){
            .dtype = SKEP_FLOAT32, .axes = 2, .shape = {rows, HIDDEN}, .data = numbers[i]};
    skep_buf_init(&message, &skep_mem_std);
    skep_expert_writer_init(&writer, &skep_mem_std, SKEP_EXPERT_REQUEST, skep_bytes_str(uid),
                            tensors, none, backward ? 2 : 1);
    assert_int_equal(skep_expert_writer_whole(&writer, &message), 0);
    *call = (struct call){.call = {.done = on_answer}};
    assert_int_equal(skep_rpc_call_start(swarm.rpc[CALLER], &call->call, &swarm.rpc[HOME]->self,
                                         backward ? "ConnectionHandler.rpc_backward"
                                                  : "ConnectionHandler.rpc_forward",
                                         skep_bytes_of(message.data, message.len), SKEP_NEVER_US),
                     0);
    skep_expert_writer_fini(&writer);
    skep_buf_fini(&message);
}

static void call_finish(struct call *call)
{
    assert_true(skep_sim_clock_run_until(&swarm.clock, &call->done, 100 * SECOND));
}

static float forward(const char *uid, float x)
{
    struct call call;

    call_start(&call, uid, false, 1, x);
    call_finish(&call);
    if (call.rc < 0)
        fail_msg("%s: %s", skep_error_name(call.rc), call.text);
    return call.y[0];
}

static void train(const char *uid)
{
    struct call call;

    call_start(&call, uid, true, 1, 1);
    call_finish(&call);
    assert_int_equal(call.rc, 0);
}

/* ---- the swarm ---- */

static void experts_answer_and_are_found_and_declared_again(void **state)
{
    struct skep_server_core_options options = options_of("quiet");
    struct skep_server_core_stats stats;

    (void)state;
    begin();
    assert_int_equal(start(&options), 0);
    assert_int_equal(server_of("small.0"), HOME);
    assert_true(forward("small.1", 3) == 6);
    run(300 * SECOND);
    assert_int_equal(server_of("small.1"), HOME);
    skep_server_core_stats(core, &stats);
    assert_in_range(stats.declarations, 10, 12);
    assert_int_equal(stats.declarations_failed, 0);
    assert_int_equal(stop(), 0);
    run(61 * SECOND);
    assert_int_equal(server_of("small.0"), -1);
    drop();
    end();
}

static void without_a_dht_experts_answer_those_who_know_them(void **state)
{
    struct skep_server_core_options options = options_of("quiet");
    char why[SKEP_SERVER_WHY_MAX];

    (void)state;
    begin();
    assert_int_equal(skep_server_core_new(&core, &swarm.clock.env, swarm.rpc[HOME], NULL, &options,
                                          why, sizeof why),
                     0);
    started = (struct told){.done = false};
    assert_int_equal(skep_server_core_start(core, on_told, &started), 0);
    run(SECOND);
    assert_true(started.done && started.rc == 0);
    assert_true(forward("small.0", 1) == 2);
    assert_int_equal(server_of("small.0"), -1);
    drop();
    end();
}

static void on_declared(struct skep_declare *declare, int rc)
{
    assert_int_equal(rc, 0);
    skep_declare_fini(declare);
}

static void declare_elsewhere(const char *uid)
{
    struct skep_declare declare = {.done = on_declared};
    skep_bytes uids[1] = {skep_bytes_str(uid)};

    assert_int_equal(skep_declare_start(&declare, swarm.dht[1], uids, 1, &swarm.rpc[1]->self,
                                        swarm_now(&swarm) + 600, NULL, NULL, 0),
                     0);
    run(5 * SECOND);
    assert_int_equal(server_of(uid), 1);
}

static bool serves(const char *uid)
{
    size_t count;
    char *const *uids = skep_server_core_uids(core, &count);

    for (size_t i = 0; i < count; i++)
        if (strcmp(uids[i], uid) == 0)
            return true;
    return false;
}

static void a_uid_found_alive_is_not_taken(void **state)
{
    struct skep_server_core_options options = options_of("quiet");

    (void)state;
    begin();
    declare_elsewhere("small.0");
    declare_elsewhere("small.2");
    options.uid_count = 0;
    options.pattern = "small.[0:4]";
    options.num_experts = 2;
    for (options.seed = 1; options.seed < 9; options.seed++) {
        assert_int_equal(start(&options), 0);
        assert_true(serves("small.1") && serves("small.3"));
        assert_int_equal(stop(), 0);
        drop();
    }
    options.num_experts = 3;
    assert_int_equal(start(&options), SKEP_ELIMIT);
    assert_non_null(strstr(started.text, "only 2 of 3"));
    assert_int_equal(stop(), 0);
    drop();
    end();
}

static void without_a_pattern_uids_are_counted(void **state)
{
    struct skep_server_core_options options = options_of("quiet");

    (void)state;
    begin();
    declare_elsewhere("expert.1");
    options.uid_count = 0;
    options.num_experts = 3;
    assert_int_equal(start(&options), 0);
    assert_true(serves("expert.0") && serves("expert.2") && serves("expert.3"));
    drop();
    end();
}

/* ---- stopping ---- */

static void a_stop_answers_what_is_in_progress_and_nothing_new(void **state)
{
    struct skep_server_core_options options = options_of("quiet delay");
    struct call slow, late;

    (void)state;
    begin();
    assert_int_equal(start(&options), 0);
    call_start(&slow, "small.0", false, 3, 5);
    run(SECOND / 10);
    skep_server_core_stop(core, on_told, &stopped);
    call_start(&late, "small.0", false, 1, 5);
    call_finish(&late);
    assert_int_equal(late.rc, SKEP_EPEER_REMOTE);
    assert_false(slow.done);
    assert_false(stopped.done);
    call_finish(&slow);
    assert_int_equal(slow.rc, 0);
    assert_true(slow.y[5] == 10);
    run(SECOND);
    assert_true(stopped.done && stopped.rc == 0);
    drop();
    end();
}

static void a_stop_lets_batches_go_that_wait_to_become_fuller(void **state)
{
    struct skep_server_core_options options = options_of("quiet");
    struct call call;

    (void)state;
    begin();
    options.pools.min_batch_size = 8;
    assert_int_equal(start(&options), 0);
    call_start(&call, "small.0", false, 1, 5);
    run(30 * SECOND);
    assert_false(call.done);
    assert_int_equal(stop(), 0);
    call_finish(&call);
    assert_int_equal(call.rc, 0);
    drop();
    end();
}

static void freed_with_requests_in_progress_it_fails_them(void **state)
{
    struct skep_server_core_options options = options_of("quiet delay");
    struct call running, waiting;

    (void)state;
    begin();
    options.pools.min_batch_size = 2;
    assert_int_equal(start(&options), 0);
    call_start(&running, "small.0", false, 2, 5);
    call_start(&waiting, "small.1", false, 1, 5);
    run(SECOND / 10);
    drop();
    call_finish(&waiting);
    assert_int_equal(waiting.rc, SKEP_EPEER_REMOTE);
    call_finish(&running);
    end();
}

static void it_may_be_stopped_or_freed_at_any_moment(void **state)
{
    struct skep_server_core_options options = options_of("quiet");

    (void)state;
    options.checkpoint_dir = folder;
    for (int turns = 0; turns < 40; turns++) {
        for (int how = 0; how < 3; how++) {
            begin();
            options.uid_count = how == 1 ? 0 : 2;
            options.num_experts = how == 1 ? 2 : 0;
            make(&options);
            started = stopped = (struct told){.done = false};
            if (turns > 0)
                assert_int_equal(skep_server_core_start(core, on_told, &started), 0);
            for (int i = 1; i < turns; i++)
                skep_sim_clock_step(&swarm.clock, UINT64_MAX);
            if (how < 2) {
                assert_int_equal(stop(), 0);
                assert_int_equal(started.done, turns > 0);
                assert_true(started.rc == 0 || started.rc == SKEP_ECANCELED);
            }
            drop();
            end();
        }
    }
}

static void another_may_serve_once_the_first_has_gone(void **state)
{
    struct skep_server_core_options options = options_of("quiet");

    (void)state;
    begin();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(start(&options), 0);
        assert_true(forward("small.0", 2) == 4);
        drop();
    }
    end();
}

/* ---- checkpoints ---- */

static bool has_checkpoint(const char *uid)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s/checkpoint_last.safetensors", folder, uid);
    return access(path, F_OK) == 0;
}

static uint64_t checkpoints(void)
{
    struct skep_server_core_stats stats;

    skep_server_core_stats(core, &stats);
    return stats.checkpoints;
}

static void what_was_learnt_is_saved_each_period_and_at_the_stop(void **state)
{
    struct skep_server_core_options options = options_of("quiet");

    (void)state;
    begin();
    options.checkpoint_dir = folder;
    assert_int_equal(start(&options), 0);
    assert_false(has_checkpoint("small.0"));
    run(31 * SECOND);
    assert_true(has_checkpoint("small.0") && has_checkpoint("small.1"));
    assert_int_equal(checkpoints(), 2);
    run(100 * SECOND);
    assert_int_equal(checkpoints(), 2); /* nothing has changed */
    train("small.0");
    run(31 * SECOND);
    assert_int_equal(checkpoints(), 3);
    train("small.1");
    assert_int_equal(stop(), 0);
    assert_int_equal(checkpoints(), 4);
    drop();

    assert_int_equal(start(&options), 0);
    assert_true(forward("small.0", 0) == -(float)HIDDEN);
    assert_true(forward("small.1", 0) == -(float)HIDDEN);
    assert_int_equal(stop(), 0);
    assert_int_equal(checkpoints(), 0);
    drop();
    end();
}

static void experts_of_a_pattern_with_a_checkpoint_come_first(void **state)
{
    struct skep_server_core_options options = options_of("quiet");
    char path[256];

    (void)state;
    begin();
    options.checkpoint_dir = folder;
    assert_int_equal(start(&options), 0);
    assert_int_equal(stop(), 0);
    drop();
    declare_elsewhere("small.0"); /* it was ours, and is ours */
    snprintf(path, sizeof path, "%s/other.7", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    options.uid_count = 0;
    options.pattern = "small.[0:1000]";
    options.num_experts = 5;
    assert_int_equal(start(&options), 0);
    assert_true(serves("small.0") && serves("small.1"));
    drop();
    options.num_experts = 1;
    assert_int_equal(start(&options), SKEP_EINVAL);
    assert_non_null(strstr(started.text, "2 uids of the pattern have checkpoints"));
    drop();
    end();
}

static void a_torn_checkpoint_is_refused_and_left_alone(void **state)
{
    struct skep_server_core_options options = options_of("quiet");
    char path[256];
    struct stat stat_;
    FILE *file;

    (void)state;
    begin();
    options.checkpoint_dir = folder;
    snprintf(path, sizeof path, "%s/small.1", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/small.1/checkpoint_last.safetensors", folder);
    file = fopen(path, "w");
    fputs("torn", file);
    fclose(file);
    assert_int_equal(start(&options), SKEP_EVALUE);
    assert_non_null(strstr(started.text, "small.1/checkpoint_last.safetensors"));
    assert_int_equal(stop(), 0);
    drop();
    assert_int_equal(stat(path, &stat_), 0);
    assert_int_equal(stat_.st_size, 4);
    end();
}

static void what_cannot_be_saved_is_counted_and_tried_again(void **state)
{
    struct skep_server_core_options options = options_of("quiet");
    struct skep_server_core_stats stats;
    char aside[80];

    (void)state;
    begin();
    snprintf(aside, sizeof aside, "%s-aside", folder);
    options.checkpoint_dir = folder;
    assert_int_equal(start(&options), 0);
    train("small.0");
    assert_int_equal(rename(folder, aside), 0);
    run(31 * SECOND);
    skep_server_core_stats(core, &stats);
    assert_int_equal(stats.checkpoints, 0);
    assert_int_equal(stats.checkpoints_failed, 2);
    assert_int_equal(complaints, 2);
    assert_int_equal(rename(aside, folder), 0);
    run(31 * SECOND);
    assert_int_equal(checkpoints(), 2);
    train("small.0");
    assert_int_equal(rename(folder, aside), 0);
    assert_int_equal(stop(), SKEP_EIO);
    assert_true(*stopped.text != '\0');
    assert_int_equal(rename(aside, folder), 0);
    drop();
    end();
}

/* ---- options ---- */

static void options_that_make_no_sense_are_refused_in_a_sentence(void **state)
{
    static const char *const twice[] = {"a.0", "b.1", "a.0"}, *const bad[] = {"a.0", "b"};
    struct skep_server_core_options options[6];
    static const int expected[] = {SKEP_EINVAL, SKEP_EINVAL, SKEP_EEXIST,
                                   SKEP_EUID,   SKEP_EINVAL, SKEP_EINVAL};
    char why[SKEP_SERVER_WHY_MAX];

    (void)state;
    begin();
    for (size_t i = 0; i < SKEP_COUNT_OF(options); i++)
        options[i] = options_of("quiet");
    options[0].uid_count = 0;
    options[1].num_experts = 1;
    options[2].uids = twice;
    options[2].uid_count = 3;
    options[3].uids = bad;
    options[4].uid_count = 0;
    options[4].num_experts = 1;
    options[4].pattern = "a.[3:1]";
    options[5].class = skep_expert_class_find("ffn");
    options[5].class_options = "nonsense=1";
    for (size_t i = 0; i < SKEP_COUNT_OF(options); i++) {
        why[0] = '\0';
        assert_int_equal(skep_server_core_new(&core, &swarm.clock.env, swarm.rpc[HOME],
                                              swarm.dht[HOME], &options[i], why, sizeof why),
                         expected[i]);
        assert_null(core);
        assert_true(strlen(why) > 10);
    }
    end();
}

/* A server of its own, without a swarm. */
static int attempt(const struct skep_mem *mem, void *user)
{
    static const struct skep_sim_faults calm = {.latency = {.median_us = 1000}};
    struct skep_server_core_options options = options_of("quiet");
    struct skep_sim_clock clock;
    struct skep_sim_net *net = NULL;
    struct skep_server_core *made = NULL;
    struct skep_rpc *rpc = NULL;
    struct told told = {.done = false};
    char why[SKEP_SERVER_WHY_MAX];
    int rc;

    (void)user;
    options.uid_count = 0;
    options.pattern = "small.[0:100]";
    options.num_experts = 3;
    gone = false;
    skep_sim_clock_init(&clock, mem, 1);
    if ((rc = skep_sim_net_new(&net, &clock, 1, &calm)) < 0 ||
        (rc = skep_sim_net_add(net, &rpc)) < 0 ||
        (rc = skep_server_core_new(&made, &clock.env, rpc, NULL, &options, why, sizeof why)) < 0)
        goto out;
    if ((rc = skep_server_core_start(made, on_told, &told)) == 0) {
        skep_sim_clock_run_until(&clock, &told.done, 10 * SECOND);
        rc = told.done ? told.rc : SKEP_ENOMEM;
    }
    skep_server_core_free(made, on_gone, NULL);
    if (!gone)
        assert_true(skep_sim_clock_run_until(&clock, &gone, 10 * SECOND));
out:
    skep_sim_net_free(net);
    skep_sim_clock_fini(&clock);
    return rc;
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    test_each_allocation_fails(attempt, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(experts_answer_and_are_found_and_declared_again),
        cmocka_unit_test(without_a_dht_experts_answer_those_who_know_them),
        cmocka_unit_test(a_uid_found_alive_is_not_taken),
        cmocka_unit_test(without_a_pattern_uids_are_counted),
        cmocka_unit_test(a_stop_answers_what_is_in_progress_and_nothing_new),
        cmocka_unit_test(a_stop_lets_batches_go_that_wait_to_become_fuller),
        cmocka_unit_test(freed_with_requests_in_progress_it_fails_them),
        cmocka_unit_test(it_may_be_stopped_or_freed_at_any_moment),
        cmocka_unit_test(another_may_serve_once_the_first_has_gone),
        cmocka_unit_test(what_was_learnt_is_saved_each_period_and_at_the_stop),
        cmocka_unit_test(experts_of_a_pattern_with_a_checkpoint_come_first),
        cmocka_unit_test(a_torn_checkpoint_is_refused_and_left_alone),
        cmocka_unit_test(what_cannot_be_saved_is_counted_and_tried_again),
        cmocka_unit_test(options_that_make_no_sense_are_refused_in_a_sentence),
        cmocka_unit_test(each_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
