/* SPDX-License-Identifier: MIT */
/* hivemind-server's flags become those of `skep serve`. */
#include "cmd/serve_flags.h"
#include "support/test.h"

enum { ARGS_MAX = 16 };

static void expect(const char *const *args, const char *const *expected)
{
    struct skep_serve_flags flags;
    int argc = 0;

    while (args[argc])
        argc++;
    assert_int_equal(skep_serve_flags_init(&flags, &skep_mem_std, argc, args), 0);
    for (int i = 0; expected[i] || i < flags.argc; i++) {
        assert_true(i < flags.argc && expected[i]);
        assert_string_equal(flags.argv[i], expected[i]);
    }
    assert_null(flags.argv[flags.argc]);
    skep_serve_flags_fini(&flags, &skep_mem_std);
}

static void names_of_hivemind_become_ours_with_either_dash(void **state)
{
    static const struct {
        const char *args[ARGS_MAX], *expected[ARGS_MAX];
    } cases[] = {
        {{"skep serve"}, {"skep serve"}},
        {{"serve", "--expert_cls", "ffn", "--hidden_dim=512"},
         {"serve", "--class", "ffn", "--hidden=512"}},
        {{"serve", "--expert-cls", "ffn", "--identity_path", "key"},
         {"serve", "--class", "ffn", "--identity", "key"}},
        {{"serve", "--min_batch_size", "2", "--clip_grad_norm=1_0"},
         {"serve", "--min-batch-size", "2", "--clip-grad-norm=1_0"}},
        {{"serve", "--checkpoint_dir", "my_dir", "--class", "./my_class.so"},
         {"serve", "--checkpoint-dir", "my_dir", "--class", "./my_class.so"}},
        {{"serve", "-v", "--use_auto_relay"}, {"serve", "-v", "--use-auto-relay"}},
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++)
        expect(cases[i].args, cases[i].expected);
}

static void flags_of_several_values_take_them_all(void **state)
{
    static const struct {
        const char *args[ARGS_MAX], *expected[ARGS_MAX];
    } cases[] = {
        {{"serve", "--initial_peers", "/a", "/b", "/c", "--json"},
         {"serve", "--join", "/a", "--join", "/b", "--join", "/c", "--json"}},
        {{"serve", "--expert_uids", "a.0", "a.1"},
         {"serve", "--expert-uids", "a.0", "--expert-uids", "a.1"}},
        {{"serve", "--host_maddrs", "/x", "--announce_maddrs", "/y", "/z"},
         {"serve", "--listen", "/x", "--announce", "/y", "--announce", "/z"}},
        {{"serve", "--initial_peers", "--json"}, {"serve", "--json"}},
        {{"serve", "--initial-peers"}, {"serve"}},
        {{"serve", "--initial_peers=/a", "--expert-uids=a.0"},
         {"serve", "--join=/a", "--expert-uids=a.0"}},
        {{"serve", "--join", "/a", "/b"}, {"serve", "--join", "/a", "/b"}},
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++)
        expect(cases[i].args, cases[i].expected);
}

static void what_is_behind_two_dashes_stays(void **state)
{
    static const char *const args[] = {
        "serve", "--hidden_dim", "8", "--", "--expert_cls", "--expert_uids", "a", "b", NULL};
    static const char *const expected[] = {"serve",         "--hidden", "8", "--", "--expert_cls",
                                           "--expert_uids", "a",        "b", NULL};

    (void)state;
    expect(args, expected);
}

static int attempt(const struct skep_mem *mem, void *user)
{
    static const char *const args[] = {"serve", "--initial_peers", "/a", "/b", "--hidden_dim", "8"};
    struct skep_serve_flags flags;
    int rc = skep_serve_flags_init(&flags, mem, SKEP_COUNT_OF(args), args);

    (void)user;
    skep_serve_flags_fini(&flags, mem);
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
        cmocka_unit_test(names_of_hivemind_become_ours_with_either_dash),
        cmocka_unit_test(flags_of_several_values_take_them_all),
        cmocka_unit_test(what_is_behind_two_dashes_stays),
        cmocka_unit_test(each_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
