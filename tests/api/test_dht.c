/* SPDX-License-Identifier: MIT */
/* The DHT and the experts through the public API: values of every kind, validators, searches, and what bad input gets. */
#include "api/api_test.h"

#include <math.h>

static skep_view pack_of(skep_pack *pack)
{
    skep_view view;

    assert_int_equal(skep_pack_view(pack, &view), 0);
    return view;
}

static void store_one(skep_node *node, skep_key key, skep_view subkey, skep_view value)
{
    const skep_record record = {
        .key = key, .subkey = subkey, .value = value, .expiration_unix_s = skep_dht_time() + 30};
    const skep_stored *stored;
    size_t count;
    skep_op *op;

    assert_int_equal(skep_dht_store(&op, node, &record, 1, NULL, NULL, NULL), 0);
    finish_ok(op);
    stored = skep_dht_store_result(op, &count);
    assert_int_equal(count, 1);
    assert_true(stored[0].accepted > 0);
    skep_op_free(op);
}

static skep_op *get_one(skep_node *node, skep_key key)
{
    skep_op *op;

    assert_int_equal(skep_dht_get(&op, node, &key, 1, NULL, NULL, NULL), 0);
    finish_ok(op);
    return op;
}

struct pair {
    skep_node *a, *b;
};

static int make_pair(void **state)
{
    struct pair *pair = calloc(1, sizeof *pair);
    char **addresses;

    pair->a = node_on_thread(NULL);
    addresses = addresses_of(pair->a);
    pair->b = node_on_thread(addresses[0]);
    skep_free(addresses);
    *state = pair;
    return 0;
}

static int free_pair(void **state)
{
    struct pair *pair = *state;

    skep_node_free(pair->b);
    skep_node_free(pair->a);
    free(pair);
    return 0;
}

static void values_of_every_kind_come_back_as_they_were(void **state)
{
    struct pair *pair = *state;
    skep_pack *pack = skep_pack_new(), *items = skep_pack_new();
    const skep_item *item;
    skep_view stored;
    skep_op *op;

    skep_pack_array(items, 2);
    skep_pack_int(items, -5);
    skep_pack_str(items, "zwei");
    skep_pack_map(pack, 3);
    skep_pack_str(pack, "list");
    skep_pack_array(pack, 6);
    skep_pack_nil(pack);
    skep_pack_bool(pack, true);
    skep_pack_uint(pack, UINT64_MAX);
    skep_pack_int(pack, INT64_MIN);
    skep_pack_float(pack, -0.5);
    skep_pack_bin(pack, view_of("raw"));
    skep_pack_str(pack, "tuple");
    skep_pack_tuple(pack, pack_of(items));
    skep_pack_bin(pack, view_of("key"));
    skep_pack_raw(pack, pack_of(items));
    stored = pack_of(pack);
    store_one(pair->a, skep_key_text("kinds"), (skep_view){NULL, 0}, stored);
    op = get_one(pair->b, skep_key_text("kinds"));
    item = skep_dht_get_result(op, NULL);
    assert_true(item->found && !item->is_dictionary);
    assert_int_equal(item->value.len, stored.len);
    assert_memory_equal(item->value.data, stored.data, stored.len);
    skep_op_free(op);
    skep_pack_free(pack);
    skep_pack_free(items);
}

static void tokens_come_out_as_they_went_in(void **state)
{
    static const enum skep_kind kinds[] = {SKEP_KIND_ARRAY, SKEP_KIND_NIL, SKEP_KIND_BOOL,
                                           SKEP_KIND_UINT,  SKEP_KIND_INT, SKEP_KIND_FLOAT,
                                           SKEP_KIND_STR,   SKEP_KIND_BIN, SKEP_KIND_TUPLE};
    skep_pack *pack = skep_pack_new();
    skep_token token;
    skep_view in;
    size_t n = 0;

    (void)state;
    skep_pack_array(pack, 8);
    skep_pack_nil(pack);
    skep_pack_bool(pack, false);
    skep_pack_uint(pack, 7);
    skep_pack_int(pack, -7);
    skep_pack_float(pack, 1.5);
    skep_pack_str(pack, "text");
    skep_pack_bin(pack, view_of("bytes"));
    skep_pack_tuple(pack, (skep_view){"\x90", 1});
    for (in = pack_of(pack); skep_unpack(&in, &token) == 1; n++)
        assert_int_equal(token.kind, kinds[n]);
    assert_int_equal(n, 9);
    skep_pack_clear(pack);
    skep_pack_str(pack, "\xff");
    assert_int_equal(skep_pack_view(pack, &in), SKEP_EVALUE);
    skep_pack_clear(pack);
    skep_pack_array(pack, 2);
    skep_pack_nil(pack);
    assert_int_equal(skep_pack_view(pack, &in), SKEP_EVALUE); /* one item short */
    in = (skep_view){"\xc1", 1};
    assert_int_equal(skep_unpack(&in, &token), SKEP_EVALUE);
    skep_pack_free(pack);
}

static void keys_are_hivemind_s(void **state)
{
    const uint8_t ffn[20] = {0x2b, 0x2d, 0x55, 0x8b, 0xb9, 0x9c, 0x7a, 0x39, 0xfb, 0x30,
                             0x66, 0x00, 0xce, 0x4d, 0xdc, 0x70, 0x0d, 0x95, 0x26, 0xbd};
    skep_key text = skep_key_text("ffn."),
             packed = skep_key_packed((skep_view){"\xa4"
                                                  "ffn.",
                                                  5}),
             bytes = skep_key_bytes(view_of("ffn."));

    (void)state;
    assert_memory_equal(text.id, ffn, 20);
    assert_memory_equal(packed.id, ffn, 20);
    assert_memory_not_equal(bytes.id, ffn, 20);
}

static void a_dictionary_gathers_the_subkeys_of_all(void **state)
{
    struct pair *pair = *state;
    const skep_item *item;
    skep_op *op;

    store_one(pair->a, skep_key_text("dictionary"), (skep_view){"\x01", 1},
              (skep_view){"\xa1x", 2});
    store_one(pair->b, skep_key_text("dictionary"), (skep_view){"\x02", 1},
              (skep_view){"\xa1y", 2});
    op = get_one(pair->b, skep_key_text("dictionary"));
    item = skep_dht_get_result(op, NULL);
    assert_true(item->found && item->is_dictionary);
    assert_int_equal(item->entry_count, 2);
    assert_true(view_is(item->entries[0].subkey, "\x01"));
    assert_true(view_is(item->entries[1].value, "\xa1y"));
    skep_op_free(op);
    op = get_one(pair->b, skep_key_text("no such key"));
    item = skep_dht_get_result(op, NULL);
    assert_false(item->found);
    assert_true(item->answered);
    skep_op_free(op);
}

static int store_bad(skep_node *node, skep_view subkey, skep_view value, double expiration_unix_s)
{
    const skep_record record = {.key = skep_key_text("bad"),
                                .subkey = subkey,
                                .value = value,
                                .expiration_unix_s = expiration_unix_s};
    skep_op *op;
    int rc = skep_dht_store(&op, node, &record, 1, NULL, NULL, NULL);

    assert_null(op);
    return rc;
}

static void bad_records_are_refused_by_name(void **state)
{
    struct pair *pair = *state;
    skep_view none = {NULL, 0}, nil = {"\xc0", 1}, cut = {"\xa5xy", 3}, list = {"\x90", 1};
    double soon = skep_dht_time() + 30;
    skep_op *op;

    assert_int_equal(store_bad(pair->a, none, cut, soon), SKEP_EVALUE);
    assert_non_null(strstr(skep_last_error_text(), "record 0: the value's 3 bytes"));
    assert_int_equal(store_bad(pair->a, none, none, soon), SKEP_EVALUE);
    assert_int_equal(store_bad(pair->a, list, nil, soon), SKEP_EVALUE);
    assert_non_null(strstr(skep_last_error_text(), "subkey"));
    assert_int_equal(store_bad(pair->a, none, nil, (double)NAN), SKEP_EINVAL);
    assert_int_equal(store_bad(pair->a, none, nil, soon - 60), SKEP_EINVAL);
    assert_int_equal(store_bad(pair->a, none, nil, soon + 8 * 24 * 3600), SKEP_EINVAL);
    assert_int_equal(skep_dht_get(&op, pair->a, NULL, 0, NULL, NULL, NULL), SKEP_EINVAL);
}

/* ---- validators ---- */

struct rules {
    atomic_int validated, signed_count, stripped, released;
};

static bool no_seven(void *user_data, const skep_record *record)
{
    struct rules *rules = user_data;

    atomic_fetch_add(&rules->validated, 1);
    return !view_is(record->value, "\x07!");
}

static int add_mark(void *user_data, const skep_record *record, skep_pack *out)
{
    atomic_fetch_add(&((struct rules *)user_data)->signed_count, 1);
    skep_pack_raw(out, record->value);
    skep_pack_raw(out, view_of("!"));
    return 0;
}

static int cut_mark(void *user_data, const skep_record *record, skep_pack *out)
{
    atomic_fetch_add(&((struct rules *)user_data)->stripped, 1);
    skep_pack_raw(out, (skep_view){record->value.data, record->value.len - 1});
    return 0;
}

static void rules_released(void *user_data)
{
    atomic_fetch_add(&((struct rules *)user_data)->released, 1);
}

static void a_program_s_validator_signs_checks_and_strips(void **state)
{
    struct rules rules = {0};
    const skep_record_validator validator = {.priority = 1,
                                             .validate = no_seven,
                                             .sign = add_mark,
                                             .strip = cut_mark,
                                             .release = rules_released,
                                             .user_data = &rules};
    struct pair *pair;
    const skep_item *item;
    skep_op *op;

    (void)state;
    make_pair((void **)&pair);
    assert_int_equal(skep_dht_add_validator(pair->a, &validator), 0);
    assert_int_equal(skep_dht_add_validator(pair->b, &validator), 0);
    store_one(pair->a, skep_key_text("six"), (skep_view){NULL, 0}, view_of("\x06"));
    op = get_one(pair->b, skep_key_text("six"));
    item = skep_dht_get_result(op, NULL);
    assert_true(item->found);
    assert_true(view_is(item->value, "\x06"));
    skep_op_free(op);
    assert_true(atomic_load(&rules.signed_count) > 0 && atomic_load(&rules.validated) > 0 &&
                atomic_load(&rules.stripped) > 0);
    free_pair((void **)&pair);
    assert_int_equal(atomic_load(&rules.released), 2);
}

static void signed_records_are_their_owner_s_alone(void **state)
{
    struct pair *pair;
    skep_pack *subkey = skep_pack_new();
    const skep_item *item;
    char *owner;
    skep_record record;
    skep_op *op;

    (void)state;
    make_pair((void **)&pair);
    assert_int_equal(skep_dht_add_rsa_validator(pair->a, (skep_view){NULL, 0}, &owner), 0);
    assert_int_equal(skep_dht_add_rsa_validator(pair->b, (skep_view){NULL, 0}, NULL), 0);
    assert_int_equal(skep_dht_add_rsa_validator(pair->b, view_of("no key"), NULL), SKEP_EKEY);
    assert_int_equal(strncmp(owner, "[owner:ssh-rsa ", 15), 0);
    skep_pack_bin(subkey, view_of(owner));
    store_one(pair->a, skep_key_text("signed"), pack_of(subkey), view_of("\x05"));
    /* Another's record under the same owner: refused everywhere. */
    record = (skep_record){.key = skep_key_text("signed"),
                           .subkey = pack_of(subkey),
                           .value = view_of("\x06"),
                           .expiration_unix_s = skep_dht_time() + 60};
    assert_int_equal(skep_dht_store(&op, pair->b, &record, 1, NULL, NULL, NULL), 0);
    (void)skep_op_wait_for(op, PATIENCE_US);
    if (skep_dht_store_result(op, NULL))
        assert_int_equal(skep_dht_store_result(op, NULL)[0].accepted, 0);
    skep_op_free(op);
    op = get_one(pair->b, skep_key_text("signed"));
    item = skep_dht_get_result(op, NULL);
    assert_int_equal(item->entry_count, 1);
    assert_true(view_is(item->entries[0].value, "\x05")); /* the signature is not seen */
    skep_op_free(op);
    skep_free(owner);
    skep_pack_free(subkey);
    free_pair((void **)&pair);
}

/* ---- experts ---- */

enum { SIDE = 16 };

static void declare(skep_node *node, const char *const *uids, size_t count)
{
    skep_op *op;

    assert_int_equal(skep_moe_declare(&op, node, uids, count, NULL, NULL, NULL), 0);
    finish_ok(op);
    assert_int_equal(skep_moe_declare_result(op)->accepted, skep_moe_declare_result(op)->keys);
    skep_op_free(op);
}

static void find_options(skep_find_options *options, const size_t *grid, const void *const *scores)
{
    skep_find_options_init(options);
    options->prefix = "ffn.";
    options->grid_size = grid;
    options->dimensions = 2;
    options->scores = scores;
}

static void the_best_experts_are_found(void **state)
{
    static const char *const uids[] = {"ffn.1.2", "ffn.1.3", "ffn.7.7", "ffn.15.0"};
    static const size_t grid[] = {SIDE, SIDE};
    struct pair *pair = *state;
    double first[SIDE] = {0}, second[SIDE] = {0};
    const void *scores[] = {first, second};
    skep_find_options options;
    const skep_found *found;
    skep_find_cost cost;
    skep_peer peer = peer_of(pair->a);
    size_t count;
    skep_op *op;

    declare(pair->a, uids, 4);
    first[1] = 1;
    first[7] = 3;
    second[3] = 1.25;
    second[0] = -INFINITY;
    find_options(&options, grid, scores);
    options.score_type = SKEP_SCORE_FLOAT64;
    for (int copied = 0; copied < 2; copied++) {
        options.copy_scores = copied == 1;
        assert_int_equal(skep_moe_find(&op, pair->b, &options, NULL, NULL), 0);
        finish_ok(op);
        found = skep_moe_find_result(op, &count, &cost);
        assert_int_equal(count, 1);
        assert_int_equal(found->count, 4);
        assert_string_equal(found->experts[0].uid, "ffn.7.7");
        assert_string_equal(found->experts[1].uid, "ffn.1.3");
        assert_true(found->experts[1].score == 2.25);
        assert_string_equal(found->experts[2].uid, "ffn.1.2");
        assert_string_equal(found->experts[3].uid, "ffn.15.0");
        assert_true(isinf(found->experts[3].score));
        assert_true(skep_peer_equal(&found->experts[0].peer, &peer));
        skep_op_free(op);
    }
}

static void a_batch_answers_each_example(void **state)
{
    enum { BATCH = 64 };
    static const char *const uids[] = {"ffn.4.4", "ffn.5.5", "ffn.6.6"};
    static const size_t grid[] = {SIDE, SIDE}, stride[] = {2 * SIDE, 2 * SIDE};
    static float rows[BATCH]
                     [2 * SIDE]; /* both dimensions side by side, as a gating layer makes them */
    const void *scores[] = {&rows[0][0], &rows[0][SIDE]};
    struct pair *pair = *state;
    skep_find_options options;
    const skep_found *found;
    size_t count;
    skep_op *op;

    declare(pair->b, uids, 3);
    for (int e = 0; e < BATCH; e++)
        rows[e][4 + e % 3] = 10;
    find_options(&options, grid, scores);
    options.batch_size = BATCH;
    options.row_stride = stride;
    options.beam_size = 1;
    assert_int_equal(skep_moe_find(&op, pair->a, &options, NULL, NULL), 0);
    finish_ok(op);
    found = skep_moe_find_result(op, &count, NULL);
    assert_int_equal(count, BATCH);
    for (int e = 0; e < BATCH; e++) {
        assert_int_equal(found[e].count, 1);
        assert_string_equal(found[e].experts[0].uid, uids[e % 3]);
    }
    skep_op_free(op);
}

static void experts_successors_and_beams_are_looked_up(void **state)
{
    static const char *const uids[] = {"net.3.1", "net.3.2", "net.9.9"}, *const prefixes[] = {
                                                                             "net.3.", "net.4."};
    static const char *const asked[] = {"net.3.1", "net.0.0"};
    static const size_t grid[] = {SIDE};
    struct pair *pair = *state;
    float first[SIDE] = {[9] = 1, [3] = 2, [4] = 3};
    const void *scores[] = {first};
    const skep_successors *successors;
    const skep_expert *experts;
    skep_peer peer = peer_of(pair->a);
    skep_find_options options;
    size_t count;
    skep_op *op;

    declare(pair->a, uids, 3);
    assert_int_equal(skep_moe_get_experts(&op, pair->b, asked, 2, 0, NULL, NULL), 0);
    finish_ok(op);
    experts = skep_moe_get_experts_result(op, &count);
    assert_int_equal(count, 2);
    assert_true(skep_peer_equal(&experts[0].peer, &peer));
    assert_string_equal(experts[1].uid, "net.0.0");
    assert_int_equal(experts[1].peer.len, 0);
    skep_op_free(op);

    assert_int_equal(skep_moe_successors(&op, pair->b, prefixes, 2, NULL, NULL, NULL), 0);
    finish_ok(op);
    successors = skep_moe_successors_result(op, &count);
    assert_int_equal(count, 2);
    assert_string_equal(successors[0].prefix, "net.3.");
    assert_int_equal(successors[0].count, 2);
    assert_int_equal(
        successors[0].successors[0].coordinate + successors[0].successors[1].coordinate, 3);
    assert_int_equal(successors[1].count, 0);
    assert_true(successors[1].answered);
    skep_op_free(op);

    skep_find_options_init(&options);
    options.prefix = "net.";
    options.grid_size = grid;
    options.dimensions = 1;
    options.scores = scores;
    assert_int_equal(skep_moe_initial_beam(&op, pair->b, &options, NULL, NULL), 0);
    finish_ok(op);
    successors = skep_moe_successors_result(op, &count);
    assert_int_equal(count, 2);
    assert_string_equal(successors[0].prefix, "net.3.");
    assert_string_equal(successors[1].prefix, "net.9.");
    skep_op_free(op);
}

static void bad_searches_are_refused_by_name(void **state)
{
    static const size_t grid[] = {4, 4}, zero[] = {4, 0};
    static const char *const bad_uids[] = {"ffn.1", "ffn.01"}, *const bad_prefixes[] = {"ffn"};
    struct pair *pair = *state;
    float first[4] = {0}, second[4] = {0};
    const void *scores[] = {first, second};
    skep_find_options options;
    skep_op *op;

#define REFUSED(rc, text, change)                                                                  \
    do {                                                                                           \
        find_options(&options, grid, scores);                                                      \
        change;                                                                                    \
        assert_int_equal(skep_moe_find(&op, pair->a, &options, NULL, NULL), rc);                   \
        assert_null(op);                                                                           \
        assert_non_null(strstr(skep_last_error_text(), text));                                     \
    } while (0)
    REFUSED(SKEP_EPREFIX, "ffn.01.", options.prefix = "ffn.01.");
    REFUSED(SKEP_EPREFIX, "no prefix", options.prefix = NULL);
    REFUSED(SKEP_EINVAL, "beam size", options.beam_size = 0);
    REFUSED(SKEP_EINVAL, "dimension 1 has size 0", options.grid_size = zero);
    REFUSED(SKEP_EINVAL, "no dimensions", options.dimensions = 0);
    REFUSED(SKEP_EINVAL, "at most", options.dimensions = 1000);
    REFUSED(SKEP_EINVAL, "batch", options.batch_size = 0);
    REFUSED(SKEP_EINVAL, "is none", options.mode = (enum skep_find_mode)7);
    second[2] = NAN;
    REFUSED(SKEP_EINVAL, "example 0, dimension 1, index 2 is not a number", (void)0);
    second[2] = INFINITY;
    REFUSED(SKEP_EINVAL, "+infinity", (void)0);
#undef REFUSED
    assert_int_equal(skep_moe_declare(&op, pair->a, bad_uids, 2, NULL, NULL, NULL), SKEP_EUID);
    assert_non_null(strstr(skep_last_error_text(), "uid 1: \"ffn.01\""));
    assert_int_equal(skep_moe_get_experts(&op, pair->a, bad_uids, 2, 0, NULL, NULL), SKEP_EUID);
    assert_int_equal(skep_moe_successors(&op, pair->a, bad_prefixes, 1, NULL, NULL, NULL),
                     SKEP_EPREFIX);
    assert_true(skep_is_uid("ffn.1.2") && !skep_is_uid("ffn.1.") && skep_is_prefix("ffn.1.") &&
                !skep_is_prefix("ffn.1"));
}

static void a_search_ends_by_its_budget(void **state)
{
    static const size_t grid[] = {SIDE, SIDE, SIDE};
    struct pair *pair = *state;
    float values[SIDE] = {0};
    const void *scores[] = {values, values, values};
    skep_find_options options;
    skep_find_cost cost;
    size_t count;
    skep_op *op;

    find_options(&options, grid, scores);
    options.prefix = "empty.";
    options.dimensions = 3;
    options.time_budget_us = 1;
    assert_int_equal(skep_moe_find(&op, pair->b, &options, NULL, NULL), 0);
    finish_ok(op);
    assert_int_equal(skep_moe_find_result(op, &count, &cost)[0].count, 0);
    assert_true(cost.out_of_time);
    skep_op_free(op);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_kind_come_back_as_they_were),
        cmocka_unit_test(tokens_come_out_as_they_went_in),
        cmocka_unit_test(keys_are_hivemind_s),
        cmocka_unit_test(a_dictionary_gathers_the_subkeys_of_all),
        cmocka_unit_test(bad_records_are_refused_by_name),
        cmocka_unit_test(a_program_s_validator_signs_checks_and_strips),
        cmocka_unit_test(signed_records_are_their_owner_s_alone),
        cmocka_unit_test(the_best_experts_are_found),
        cmocka_unit_test(a_batch_answers_each_example),
        cmocka_unit_test(experts_successors_and_beams_are_looked_up),
        cmocka_unit_test(bad_searches_are_refused_by_name),
        cmocka_unit_test(a_search_ends_by_its_budget),
    };

    return cmocka_run_group_tests(tests, make_pair, free_pair);
}
