/* SPDX-License-Identifier: MIT */
/* Nodes: options that are refused before anything happens, identities, life, loops driven by the caller. */
#include "api/api_test.h"

#include <sys/stat.h>
#include <time.h>

static int new_with(void (*change)(skep_node_options *options))
{
    static const char *const bad_maddrs[] = {"/ip4/127.0.0.1/udp/1"};
    skep_node_options options;
    skep_node *node = NULL;
    int rc;

    skep_node_options_init(&options);
    options.listen = bad_maddrs;
    change(&options);
    rc = skep_node_new(&node, &options);
    if (rc < 0)
        assert_null(node);
    skep_node_free(node);
    return rc;
}

static void bad_listen(skep_node_options *options)
{
    options->listen_count = 1;
}

static void bad_join(skep_node_options *options)
{
    options->initial_peers = options->listen;
    options->initial_peer_count = 1;
}

static void no_size(skep_node_options *options)
{
    options->struct_size = 0;
}

static void no_replicas(skep_node_options *options)
{
    options->num_replicas = 0;
}

static void large_table(skep_node_options *options)
{
    options->one_hop_nodes_max = 65537;
}

static void no_file(skep_node_options *options)
{
    options->identity_path = "/nowhere/identity";
}

static void nothing(skep_node_options *options)
{
    options->struct_size = sizeof *options;
}

static void bad_options_are_refused_by_name(void **state)
{
    (void)state;
    assert_int_equal(new_with(nothing), 0);
    assert_int_equal(new_with(bad_listen), SKEP_EMULTIADDR);
    assert_non_null(strstr(skep_last_error_text(), "/ip4/127.0.0.1/udp/1"));
    assert_int_equal(new_with(bad_join), SKEP_EMULTIADDR);
    assert_non_null(strstr(skep_last_error_text(), "initial peers"));
    assert_int_equal(new_with(no_size), SKEP_EINVAL);
    assert_int_equal(new_with(no_replicas), SKEP_EINVAL);
    assert_non_null(strstr(skep_last_error_text(), "num_replicas"));
    assert_int_equal(new_with(large_table), SKEP_EINVAL);
    assert_non_null(strstr(skep_last_error_text(), "one_hop_nodes_max"));
    assert_int_equal(new_with(no_file), SKEP_EIO);
    assert_non_null(strstr(skep_last_error_text(), "/nowhere/identity"));
    assert_int_equal(skep_node_new(NULL, NULL), SKEP_EINVAL);
}

static void an_address_in_use_is_said_so(void **state)
{
    skep_node *first = node_on_thread(NULL), *second;
    char **addresses = addresses_of(first);
    skep_node_options options;
    char maddr[64];
    const char *listen = maddr;

    (void)state;
    *strstr(addresses[0], "/p2p/") = '\0';
    snprintf(maddr, sizeof maddr, "%s", addresses[0]);
    skep_node_options_init(&options);
    options.listen = &listen;
    options.listen_count = 1;
    assert_int_equal(skep_node_new(&second, &options), SKEP_EADDRINUSE);
    assert_non_null(strstr(skep_last_error_text(), maddr));
    skep_free(addresses);
    skep_node_free(first);
}

/* ---- identities ---- */

static char directory[] = "/tmp/skep-test-XXXXXX";
static char path[64];

static int make_directory(void **state)
{
    (void)state;
    if (!mkdtemp(directory))
        return 1;
    snprintf(path, sizeof path, "%s/identity", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(directory);
}

static void an_identity_file_is_made_once_and_kept(void **state)
{
    skep_peer made, again, loaded;
    skep_node_options options;
    struct stat st;
    skep_node *node;

    (void)state;
    assert_int_equal(skep_identity_create(path, &made), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(skep_identity_create(path, &again), 1);
    assert_true(skep_peer_equal(&made, &again));
    assert_int_equal(skep_identity_load(path, &loaded), 0);
    assert_true(skep_peer_equal(&made, &loaded));
    skep_node_options_init(&options);
    options.identity_path = path;
    assert_int_equal(skep_node_new(&node, &options), 0);
    loaded = peer_of(node);
    assert_true(skep_peer_equal(&made, &loaded));
    skep_node_free(node);
}

static void a_key_that_others_can_read_is_refused(void **state)
{
    skep_peer peer;

    (void)state;
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(skep_identity_load(path, &peer), SKEP_EKEYMODE);
    assert_non_null(strstr(skep_last_error_text(), path));
    assert_int_equal(chmod(path, 0400), 0); /* as hivemind leaves it */
    assert_int_equal(skep_identity_load(path, &peer), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void a_file_that_is_no_key_is_refused(void **state)
{
    char bad[80];
    skep_peer peer;
    FILE *file;

    (void)state;
    snprintf(bad, sizeof bad, "%s/bad", directory);
    file = fopen(bad, "w");
    assert_non_null(file);
    assert_int_equal(chmod(bad, 0600), 0);
    for (int i = 0; i < 20000; i++)
        fputs("no key\n", file);
    fclose(file);
    assert_int_equal(skep_identity_load(bad, &peer), SKEP_EKEY);
    assert_int_equal(truncate(bad, 10), 0);
    assert_int_equal(skep_identity_load(bad, &peer), SKEP_EKEY);
    assert_int_equal(truncate(bad, 0), 0);
    assert_int_equal(skep_identity_create(bad, &peer), SKEP_EKEY); /* never written over */
    unlink(bad);
    assert_int_equal(skep_identity_load(directory, &peer), SKEP_EKEY);
}

static void a_seed_gives_the_same_peer_each_time(void **state)
{
    const uint8_t seed[32] = {1, 2, 3};
    skep_node_options options;
    skep_peer peers[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        skep_node *node;

        skep_node_options_init(&options);
        options.identity_seed = seed;
        assert_int_equal(skep_node_new(&node, &options), 0);
        peers[i] = peer_of(node);
        skep_node_free(node);
    }
    assert_true(skep_peer_equal(&peers[0], &peers[1]));
}

static void an_identity_that_another_peer_uses_is_said_so(void **state)
{
    skep_node *entry = node_on_thread(NULL), *holder, *second;
    char **addresses = addresses_of(entry);
    const char *join = addresses[0], *listen = loopback;
    skep_node_options options;
    skep_op *op;
    bool taken;

    (void)state;
    options_for_test(&options, &listen, &join);
    options.identity_path = path;
    assert_int_equal(skep_identity_is_taken(path, &join, 1, 4 * SECOND_US, &taken), 0);
    assert_false(taken);
    assert_int_equal(skep_node_new(&holder, &options), 0);
    assert_int_equal(skep_dht_join(&op, holder, NULL, NULL), 0);
    finish_ok(op);
    skep_op_free(op);
    assert_int_equal(skep_dht_join(&op, holder, NULL, NULL),
                     0); /* now the swarm knows of it, and it finds itself: that does not count */
    finish_ok(op);
    skep_op_free(op);
    assert_int_equal(skep_identity_is_taken(path, &join, 1, 4 * SECOND_US, &taken), 0);
    assert_true(taken);
    assert_int_equal(skep_node_new(&second, &options), 0);
    assert_int_equal(skep_dht_join(&op, second, NULL, NULL), 0);
    assert_int_equal(skep_op_wait_for(op, PATIENCE_US), SKEP_EIDENTITYTAKEN);
    assert_non_null(strstr(skep_op_text(op), "12D3KooW"));
    skep_op_free(op);
    skep_node_free(second);
    skep_node_free(holder);
    skep_free(addresses);
    skep_node_free(entry);
}

static void a_join_that_finds_nobody_names_each_initial_peer(void **state)
{
    const char *join[] = {"/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2"};
    skep_node_options options;
    skep_node *node;
    skep_op *op;

    (void)state;
    skep_node_options_init(&options);
    options.initial_peers = join;
    options.initial_peer_count = 2;
    assert_int_equal(skep_node_new(&node, &options), 0);
    assert_int_equal(skep_dht_join(&op, node, NULL, NULL), 0);
    assert_int_equal(skep_op_wait_for(op, PATIENCE_US), SKEP_EBOOTSTRAP);
    assert_non_null(strstr(skep_op_text(op), "tcp/1"));
    assert_non_null(strstr(skep_op_text(op), "tcp/2"));
    skep_op_free(op);
    skep_node_free(node);
}

/* ---- loops driven by the caller ---- */

static skep_node *driven_node(void)
{
    const char *listen = loopback, *join = NULL;
    skep_node_options options;
    skep_node *node;

    options_for_test(&options, &listen, &join);
    options.caller_driven = true;
    assert_int_equal(skep_node_new(&node, &options), 0);
    return node;
}

static void a_driven_node_runs_inside_its_callers_wait(void **state)
{
    skep_node *far = node_on_thread(NULL), *node = driven_node();
    char **addresses = addresses_of(far);
    skep_op *op;

    (void)state;
    assert_int_equal(skep_p2p_connect(&op, node, addresses[0], 0, NULL, NULL), 0);
    assert_int_equal(skep_op_poll(op), 1); /* nothing happens on its own */
    assert_int_equal(skep_node_run_until(node, op), 0);
    assert_non_null(skep_p2p_connect_result(op));
    skep_op_free(op);
    assert_int_equal(skep_p2p_wait_for_peers(&op, node, 2, SKEP_FOREVER, NULL, NULL), 0);
    assert_int_equal(skep_op_wait_for(op, SECOND_US / 20), 1);
    skep_op_cancel(op);
    assert_int_equal(skep_op_wait(op), SKEP_ECANCELED);
    skep_op_free(op);
    skep_free(addresses);
    skep_node_free(node);
    skep_node_free(far);
}

static void a_driven_node_returns_from_an_operation_that_a_timer_ends(void **state)
{
    skep_node *node = driven_node();
    skep_op *op;

    (void)state;
    assert_int_equal(skep_dht_join(&op, node, NULL, NULL),
                     0); /* the first of its swarm: nothing will ever come over a socket */
    assert_int_equal(skep_node_run_until(node, op), 0);
    skep_op_free(op);
    assert_int_equal(skep_p2p_wait_for_peers(&op, node, 1, 1000, NULL, NULL), 0);
    usleep(2000);
    assert_int_equal(skep_node_run_until(node, op), SKEP_ETIMEDOUT);
    skep_op_free(op);
    skep_node_free(node);
}

static void running_the_wrong_loop_is_an_error(void **state)
{
    skep_node *threaded = node_on_thread(NULL), *driven = driven_node();
    skep_op *op;

    (void)state;
    assert_int_equal(skep_node_run(threaded, 0), SKEP_EINVAL);
    assert_int_equal(skep_p2p_wait_for_peers(&op, threaded, 1, SKEP_FOREVER, NULL, NULL), 0);
    assert_int_equal(skep_node_run_until(driven, op), SKEP_EINVAL);
    skep_node_free(threaded);
    assert_int_equal(skep_op_poll(op), SKEP_ECANCELED);
    skep_op_free(op);
    skep_node_free(driven);
}

struct inside {
    skep_node *node;
    skep_op *other;
    int wait_rc, run_rc, until_rc, free_rc, direct_rc, calls;
};

static void on_inside(skep_op *op, void *user_data)
{
    struct inside *inside = user_data;

    (void)op;
    inside->calls++;
    inside->wait_rc = skep_op_wait(inside->other);
    inside->run_rc = skep_node_run(inside->node, 0);
    inside->until_rc = skep_node_run_until(inside->node, inside->other);
    inside->free_rc = skep_node_free(inside->node);
    inside->direct_rc = (int)skep_p2p_peers(inside->node, NULL, 0); /* needs no waiting: fine */
}

static void blocking_calls_from_a_callback_return_edeadlock(void **state)
{
    (void)state;
    for (int driven = 0; driven < 2; driven++) {
        skep_node *node = driven ? driven_node() : node_on_thread(NULL);
        struct inside inside = {.node = node};
        skep_op *op;

        assert_int_equal(skep_p2p_wait_for_peers(&inside.other, node, 1, SKEP_FOREVER, NULL, NULL),
                         0);
        assert_int_equal(skep_p2p_wait_for_peers(&op, node, 0, SKEP_FOREVER, on_inside, &inside),
                         0);
        if (driven)
            assert_int_equal(inside.calls, 0); /* never from inside the call that started it */
        assert_int_equal(skep_op_wait_for(op, PATIENCE_US), 0);
        skep_op_free(op);
        skep_op_cancel(inside.other);
        assert_int_equal(skep_op_wait(inside.other), SKEP_ECANCELED);
        skep_op_free(inside.other);
        skep_node_free(node);
        assert_int_equal(inside.calls, 1);
        assert_int_equal(inside.wait_rc, SKEP_EDEADLOCK);
        assert_int_equal(inside.run_rc, SKEP_EDEADLOCK);
        assert_int_equal(inside.until_rc, SKEP_EDEADLOCK);
        assert_int_equal(inside.free_rc, SKEP_EDEADLOCK);
        assert_int_equal(inside.direct_rc, 0);
    }
}

static void on_post(void *user_data)
{
    ++*(int *)user_data;
}

static void a_post_runs_once_also_when_the_node_closes(void **state)
{
    skep_node *node = driven_node();
    int count = 0;

    (void)state;
    assert_int_equal(skep_node_post(node, on_post, &count), 0);
    assert_int_equal(count, 0);
    assert_int_equal(skep_node_run(node, 0), 0);
    assert_int_equal(count, 1);
    assert_int_equal(skep_node_post(node, on_post, &count), 0);
    skep_node_free(node);
    assert_int_equal(count, 2);
}

static void counters_and_options_of_another_size_are_taken(void **state)
{
    skep_node *node = node_on_thread(NULL);
    skep_node_counters counters = {.struct_size = offsetof(skep_node_counters, bytes_in)};

    (void)state;
    counters.dials = 77;
    assert_int_equal(skep_node_counters_get(node, &counters), 0);
    assert_int_equal(counters.connections, 0);
    assert_int_equal(counters.dials, 77); /* beyond what the caller said it has */
    counters.struct_size = 0;
    assert_int_equal(skep_node_counters_get(node, &counters), SKEP_EINVAL);
    skep_node_free(node);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* An operation that ends at once must cost the caller little: no trip through the poll. The bound is wide, for sanitizers and busy machines; the figure
 * is printed. */
static void an_operation_that_ends_at_once_is_cheap(void **state)
{
    enum { ROUNDS = 20000 };
    skep_node *node = driven_node();
    uint64_t start = now_ns(), each;

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        skep_op *op;

        assert_int_equal(skep_p2p_wait_for_peers(&op, node, 0, SKEP_FOREVER, NULL, NULL), 0);
        assert_int_equal(skep_node_run_until(node, op), 0);
        skep_op_free(op);
    }
    each = (now_ns() - start) / ROUNDS;
    print_message("an operation that ends at once: %u ns\n", (unsigned)each);
    assert_true(each < 50000);
    skep_node_free(node);
}

static void peer_ids_and_methods_are_checked(void **state)
{
    skep_node *node = driven_node();
    char text[SKEP_PEER_TEXT_LEN], name[32];
    skep_peer peer = peer_of(node), bad = {0}, again;
    skep_op *op;

    (void)state;
    assert_int_equal(skep_peer_from_text(&again, skep_peer_to_text(text, &peer)), 0);
    assert_true(skep_peer_equal(&peer, &again));
    assert_int_equal(skep_peer_from_text(&again, "nonsense\x1b"), SKEP_EPEERID);
    assert_non_null(strstr(skep_last_error_text(), "nonsense\\x1b"));
    assert_int_equal(skep_p2p_ping(&op, node, &bad, 0, NULL, NULL), SKEP_EPEERID);
    assert_null(op);
    assert_int_equal(skep_p2p_ping(&op, node, &peer, 0, NULL, NULL), SKEP_ESELF);
    assert_int_equal(skep_p2p_call(&op, node, &peer, "", view_of(""), 0, NULL, NULL), SKEP_EINVAL);
    assert_int_equal(skep_p2p_method(name, sizeof name, "swarm", "Class.method"), 19);
    assert_string_equal(name, "swarm::Class.method");
    assert_int_equal(skep_p2p_method(name, 12, NULL, "Class.method"), SKEP_ESIZE);
    skep_node_free(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_options_are_refused_by_name),
        cmocka_unit_test(an_address_in_use_is_said_so),
        cmocka_unit_test(an_identity_file_is_made_once_and_kept),
        cmocka_unit_test(a_key_that_others_can_read_is_refused),
        cmocka_unit_test(a_file_that_is_no_key_is_refused),
        cmocka_unit_test(a_seed_gives_the_same_peer_each_time),
        cmocka_unit_test(an_identity_that_another_peer_uses_is_said_so),
        cmocka_unit_test(a_join_that_finds_nobody_names_each_initial_peer),
        cmocka_unit_test(a_driven_node_runs_inside_its_callers_wait),
        cmocka_unit_test(a_driven_node_returns_from_an_operation_that_a_timer_ends),
        cmocka_unit_test(running_the_wrong_loop_is_an_error),
        cmocka_unit_test(blocking_calls_from_a_callback_return_edeadlock),
        cmocka_unit_test(a_post_runs_once_also_when_the_node_closes),
        cmocka_unit_test(counters_and_options_of_another_size_are_taken),
        cmocka_unit_test(an_operation_that_ends_at_once_is_cheap),
        cmocka_unit_test(peer_ids_and_methods_are_checked),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
