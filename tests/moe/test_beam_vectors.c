/* SPDX-License-Identifier: MIT */
/* beam.json: 47 searches with hivemind's own answers; beam_skep.json: what differs on purpose. docs/wire.md d.5, (f). */
#include <math.h>

#include "moe/beam.h"
#include "moe/fake_dht.h"
#include "support/test.h"

static const char declarer[] = "12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s";
static const double late = 2e9;

struct fixture {
    struct test_env env;
    struct skep_dht *dht;
    struct skep_beam *beam;
    struct skep_search search;
    int rc;
    int ended;
};

static void on_done(struct skep_search *search, int rc)
{
    struct fixture *f = SKEP_CONTAINER_OF(search, struct fixture, search);

    f->rc = rc;
    f->ended++;
}

static double number_of(const json_t *value)
{
    if (json_is_string(value)) {
        assert_string_equal(json_string_value(value) + (json_string_value(value)[0] == '-'), "inf");
        return json_string_value(value)[0] == '-' ? -HUGE_VAL : HUGE_VAL;
    }
    return json_number_value(value);
}

static void fill_dht(struct skep_dht *dht, const json_t *vector)
{
    size_t i;
    json_t *item;

    json_array_foreach(test_get(vector, "alive"), i, item)
        fake_dht_declare(dht, json_string_value(item), declarer,
                         late + (double)i / 1024); /* one call: the last uid becomes the example */
    json_array_foreach(test_get(vector, "raw_records"), i, item)
    {
        skep_bytes subkey = test_unhex(test_str(item, "subkey_bytes"));

        if (skep_bytes_equal(subkey, skep_bytes_str("\xc0")))
            subkey.len = 0;
        fake_dht_put(dht, test_str(item, "key"), subkey, test_unhex(test_str(item, "value_bytes")),
                     late + 1 + (double)i);
    }
}

static void start(struct fixture *f, const json_t *vector, size_t guesses)
{
    const json_t *grid = test_get(vector, "grid"), *scores = test_get(vector, "scores");
    size_t dims = json_array_size(grid);
    uint32_t sizes[8];
    double rows[8][64];
    const void *row_at[8];
    struct skep_beam_options options;
    struct skep_scores table = {
        .type = SKEP_GRID_FLOAT64, .examples = 1, .dims = dims, .rows = row_at};
    struct skep_search_options search = {
        .beam_size = (size_t)json_integer_value(test_get(vector, "beam_size")),
        .guess_keys_max = guesses};
    char why[512];

    skep_beam_options_default(&options);
    for (size_t d = 0; d < dims; d++) {
        sizes[d] = (uint32_t)json_integer_value(json_array_get(grid, d));
        row_at[d] = rows[d];
        assert_int_equal(json_array_size(json_array_get(scores, d)), sizes[d]);
        for (size_t i = 0; i < sizes[d]; i++)
            rows[d][i] = number_of(json_array_get(json_array_get(scores, d), i));
    }
    options.prefix = skep_bytes_str(test_str(vector, "prefix"));
    options.grid = sizes;
    options.dims = dims;
    options.negative_caching = json_is_true(test_get(vector, "negative_caching"));
    assert_int_equal(skep_beam_new(&f->beam, f->dht, &options, why, sizeof why), 0);
    f->search = (struct skep_search){.done = on_done};
    f->ended = 0;
    assert_int_equal(skep_find_best_start(&f->search, f->beam, &table, &search, why, sizeof why),
                     0);
}

static void check_hits(const struct fixture *f, const json_t *expected)
{
    const struct skep_beam_hits *hits = f->search.hits;
    size_t i;
    json_t *item;

    assert_int_equal(f->search.hit_count, 1);
    assert_int_equal(hits->count, json_array_size(expected));
    json_array_foreach(expected, i, item)
    {
        const char *peer = test_str(item, "peer_id");
        char text[SKEP_PEER_ID_TEXT_MAX];

        assert_string_equal(hits->experts[i].uid, test_str(item, "uid"));
        assert_string_equal(skep_peer_id_text(text, &hits->experts[i].peer),
                            strcmp(peer, "declarer") == 0 ? declarer : peer);
        if (number_of(test_get(item, "score")) != hits->experts[i].score)
            fail_msg("score of %s: %.17g", hits->experts[i].uid, hits->experts[i].score);
    }
}

static void check_mark(struct fixture *f, const char *key)
{
    const struct skep_dht_value *value = fake_dht_at(f->dht, skep_bytes_str(key));
    struct skep_dht_entry entry;

    assert_non_null(value);
    assert_true(skep_dht_value_find(value, skep_bytes_of("\xff", 1), &entry));
    assert_true(skep_bytes_equal(entry.value, skep_bytes_of("\xc0", 1)));
    assert_true(fabs(entry.expiration_unix_s - skep_env_unix_s(&f->env.env) - 300) < 2);
}

/* The marks that hivemind wrote, without those of 1-d grids, which skep never writes; all live for cache_expiration. */
static void check_marks(struct fixture *f, const json_t *vector, const json_t *own)
{
    const json_t *marks =
        own ? test_get(own, "skep_marks") : test_get(vector, "negative_cache_writes");
    size_t i, expected = 0;
    json_t *item;

    if (json_array_size(test_get(vector, "grid")) > 1) {
        json_array_foreach(marks, i, item)
            check_mark(f, own ? json_string_value(item) : test_str(item, "key"));
        expected = json_array_size(marks);
    }
    assert_int_equal(f->search.stats.marked, expected);
}

static void run_vector(const json_t *vector, const json_t *own, bool sync, size_t guesses)
{
    struct fixture f;
    const json_t *calls = json_object_get(vector, "dht_get_calls");

    test_env_init(&f.env, 1);
    f.dht = fake_dht_new(&f.env.env, json_array_size(test_get(vector, "alive")));
    fake_dht_settings(f.dht)->sync = sync;
    fake_dht_settings(f.dht)->delay_us = 100;
    fill_dht(f.dht, vector);
    start(&f, vector, guesses);
    test_env_advance(&f.env, 1000000);
    assert_int_equal(f.ended, 1);
    assert_int_equal(f.rc, 0);
    check_hits(&f, own ? test_get(own, "skep_result") : test_get(vector, "result"));
    check_marks(&f, vector, own);
    /* A key is never asked for twice, and hardly more of them than hivemind asks for. */
    if (guesses == 0)
        assert_true(fake_dht_counts(f.dht)->keys <= f.search.stats.looked_up);
    if (calls)
        assert_true(fake_dht_counts(f.dht)->gets <= json_array_size(calls));
    skep_search_fini(&f.search);
    skep_beam_free(f.beam);
    fake_dht_free(f.dht);
    test_env_fini(&f.env);
}

/* What skep answers instead: by the vector's text. */
static const json_t *own_answer(const json_t *vector)
{
    size_t i;
    json_t *item;

    json_array_foreach(test_get(test_vectors("beam_skep.json"), "cases"), i, item)
    {
        if (strcmp(test_str(item, "what"), test_str(vector, "what")) == 0)
            return item;
    }
    return NULL;
}

static void run_all(bool sync, size_t guesses)
{
    size_t i, own_count = 0;
    json_t *vector;

    json_array_foreach(test_get(test_vectors("beam.json"), "cases"), i, vector)
    {
        const json_t *own = own_answer(vector);

        print_message("%zu: %s\n", i, test_str(vector, "what"));
        own_count += own != NULL;
        run_vector(vector, own, sync, guesses);
    }
    assert_int_equal(i, 47);
    assert_int_equal(own_count, json_array_size(test_get(test_vectors("beam_skep.json"), "cases")));
}

static void searches_find_what_hivemind_finds_in_its_order(void **state)
{
    (void)state;
    run_all(false, 0);
}

static void searches_answered_from_inside_their_gets_find_the_same(void **state)
{
    (void)state;
    run_all(true, 0);
}

static void with_guesses_searches_find_the_same_and_leave_the_same_marks(void **state)
{
    (void)state;
    for (size_t guesses = 1; guesses <= 64; guesses *= 4) {
        run_all(false, guesses);
        run_all(true, guesses);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(searches_find_what_hivemind_finds_in_its_order),
        cmocka_unit_test(searches_answered_from_inside_their_gets_find_the_same),
        cmocka_unit_test(with_guesses_searches_find_the_same_and_leave_the_same_marks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
