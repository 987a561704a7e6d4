/* SPDX-License-Identifier: MIT */
/* Gets that do not believe everything: what their judge refuses ends no search, displaces nothing, and is neither kept nor handed on. */
#include <math.h>

#include "sim/swarm.h"

#include "dht/believe.h"

enum { NODES = 8 };

static struct swarm swarm;

/* What begins with "true" is, plain or as an entry. */
static void believe_the_true(const struct skep_dht_id *key, const struct skep_dht_value *value,
                             bool *believed)
{
    struct skep_dht_entry entry;
    size_t cursor = 0;

    (void)key;
    if (!value->is_dictionary)
        believed[0] = value->plain.len >= 4 && memcmp(value->plain.data, "true", 4) == 0;
    for (size_t i = 0; skep_dht_value_next(value, &cursor, &entry); i++)
        believed[i] = entry.value.len >= 4 && memcmp(entry.value.data, "true", 4) == 0;
}

static const struct skep_dht_get_options judged = {.believes = believe_the_true};

/* Of NODES nodes and a last one, which holds nothing, the first `liars` hold `lie` under "key", for longer than the rest hold `truth`. subkey "": plain values. */
static uint32_t begin(size_t liars, const char *lie, const char *lie_subkey, const char *truth,
                      const char *subkey)
{
    struct skep_dht_id key = swarm_key("key");
    uint32_t reader, via = 0;

    swarm_init(&swarm, &skep_mem_std, 1, NULL);
    swarm_grow(&swarm, NODES, NULL);
    for (uint32_t i = 0; i < NODES; i++) {
        bool lies = i < liars;

        assert_int_equal(skep_dht_storage_store(&swarm.dht[i]->storage, &key,
                                                skep_bytes_str(lies ? lie_subkey : subkey),
                                                skep_bytes_str(lies ? lie : truth),
                                                swarm_now(&swarm) + (lies ? 5000 : 60), NULL,
                                                swarm_now(&swarm)),
                         1);
    }
    reader = swarm_add(&swarm, NULL);
    assert_int_equal(swarm_join(&swarm, reader, &via, 1, NULL), 0);
    skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
    /* Nothing of it came to the reader as a newcomer. */
    skep_dht_storage_remove(&swarm.dht[reader]->storage, &key);
    skep_dht_clear_cache_now(swarm.dht[reader]);
    return reader;
}

static void end(void)
{
    swarm_fini(&swarm);
}

static void poison_cache(uint32_t node, const char *subkey, const char *value)
{
    struct skep_dht_id key = swarm_key("key");

    assert_int_equal(skep_dht_storage_store(&swarm.dht[node]->cache.storage, &key,
                                            skep_bytes_str(subkey), skep_bytes_str(value),
                                            swarm_now(&swarm) + 5000, NULL, swarm_now(&swarm)),
                     1);
}

static size_t cached_lies(void)
{
    struct skep_dht_id key = swarm_key("key");
    size_t count = 0;

    for (uint32_t i = 0; i < swarm.count; i++) {
        const struct skep_dht_item *item =
            skep_dht_storage_get(&swarm.dht[i]->cache.storage, &key, swarm_now(&swarm));

        count += item && item->expiration_unix_s > swarm_now(&swarm) + 1000;
    }
    return count;
}

static void what_is_not_believed_ends_no_search_and_is_not_kept(void **state)
{
    struct swarm_found found;
    uint32_t reader;

    (void)state;
    reader = begin(NODES - 1, "lie", "", "true", "");
    found = swarm_get(&swarm, reader, "key", &judged);
    assert_string_equal(found.text, "true");
    assert_true(found.cost.calls > 1);
    assert_true(swarm_stats(&swarm, reader).disbelieved > 0);
    skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
    assert_int_equal(cached_lies(), 0);
    end();

    reader = begin(NODES, "lie", "", "", "");
    found = swarm_get(&swarm, reader, "key", &judged);
    assert_true(!found.found && found.answered);
    skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
    assert_int_equal(cached_lies(), 0);
    /* Who believes everything does. */
    assert_string_equal(swarm_get(&swarm, reader, "key", NULL).text, "lie");
    end();
}

static void a_plain_lie_does_not_displace_a_dictionary(void **state)
{
    struct skep_dht_get_options all = judged;
    struct swarm_found found;
    uint32_t reader;

    (void)state;
    all.sufficient_expiration_unix_s = INFINITY; /* hear everybody */
    reader = begin(NODES / 2, "lie", "", "true", "\x01");
    found = swarm_get(&swarm, reader, "key", &all);
    assert_string_equal(found.text, "01=74727565;");
    end();
}

static void entries_that_are_not_believed_displace_none_that_are(void **state)
{
    struct skep_dht_get_options all = judged;
    uint32_t reader;

    (void)state;
    all.sufficient_expiration_unix_s = INFINITY;
    reader = begin(NODES / 2, "lie", "\x01", "true", "\x01");
    assert_string_equal(swarm_get(&swarm, reader, "key", &all).text, "01=74727565;");
    /* Beside true ones they are left out. */
    poison_cache(reader, "\x02", "lie");
    assert_string_equal(swarm_get(&swarm, reader, "key", &all).text, "01=74727565;");
    end();
}

static void what_is_at_home_is_judged_as_well(void **state)
{
    struct skep_dht_id key = swarm_key("key");
    uint32_t reader;

    (void)state;
    reader = begin(0, "", "", "true", "\x01");
    poison_cache(reader, "", "lie");
    assert_string_equal(swarm_get(&swarm, reader, "key", &judged).text, "01=74727565;");
    /* The lie has made room for the truth. */
    assert_true(skep_dht_peek(swarm.dht[reader], &key, NULL)->is_dictionary);
    assert_int_equal(swarm_get(&swarm, reader, "key", &judged).cost.calls, 0);
    /* A cached entry that another's lie displaced is asked for again. */
    poison_cache(reader, "\x01", "lie");
    assert_string_equal(swarm_get(&swarm, reader, "key", &judged).text, "01=74727565;");
    /* What we hold for the swarm stays. */
    assert_int_equal(skep_dht_storage_store(&swarm.dht[reader]->storage, &key, (skep_bytes){0},
                                            skep_bytes_str("lie"), swarm_now(&swarm) + 5000, NULL,
                                            swarm_now(&swarm)),
                     1);
    assert_string_equal(swarm_get(&swarm, reader, "key", &judged).text, "01=74727565;");
    assert_non_null(skep_dht_storage_get(&swarm.dht[reader]->storage, &key, swarm_now(&swarm)));
    end();
}

struct told {
    struct skep_dht_get get;
    bool found, done;
    double expiration_unix_s;
};

static void on_value(struct skep_dht_get *get, size_t index, const struct skep_dht_value *value,
                     bool answered)
{
    struct told *told = SKEP_CONTAINER_OF(get, struct told, get);

    (void)index, (void)answered;
    told->found = value != NULL;
    told->expiration_unix_s = value ? value->expiration_unix_s : 0;
}

static void on_done(struct skep_dht_get *get, int rc)
{
    (void)rc;
    SKEP_CONTAINER_OF(get, struct told, get)->done = true;
}

static void a_search_is_shared_only_with_those_who_believe_the_same(void **state)
{
    static const struct skep_dht_get_options anything;
    const struct skep_dht_get_options *options[] = {&anything, &judged, &judged};
    struct skep_dht_id key = swarm_key("key");
    struct told told[3];
    uint32_t reader;

    (void)state;
    reader = begin(NODES, "lie", "", "", "");
    for (size_t i = 0; i < SKEP_COUNT_OF(told); i++) {
        told[i] = (struct told){.get = {.on_value = on_value, .done = on_done}};
        assert_int_equal(skep_dht_get_start(swarm.dht[reader], &told[i].get, &key, 1, options[i]),
                         0);
    }
    skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
    assert_true(told[0].done && told[0].found);
    assert_true(told[1].done && !told[1].found && told[1].get.cost.calls > 0);
    assert_true(told[2].done && !told[2].found);
    end();
}

static void what_is_fetched_anew_is_judged_as_it_was_found(void **state)
{
    struct skep_dht_id key = swarm_key("key");
    const struct skep_dht_value *value;
    uint32_t reader;

    (void)state;
    reader = begin(NODES - 2, "lie", "", "true", "");
    assert_string_equal(swarm_get(&swarm, reader, "key", &judged).text, "true");
    assert_string_equal(swarm_get(&swarm, reader, "key", &judged).text, "true"); /* read: renewed */
    for (uint32_t i = NODES - 2; i < NODES; i++)
        assert_int_equal(skep_dht_storage_store(&swarm.dht[i]->storage, &key, (skep_bytes){0},
                                                skep_bytes_str("true too"), swarm_now(&swarm) + 600,
                                                NULL, swarm_now(&swarm)),
                         1);
    skep_sim_clock_run_for(&swarm.clock, 62 * SKEP_SIM_SECOND);
    value = skep_dht_peek(swarm.dht[reader], &key, NULL);
    assert_non_null(value);
    assert_true(skep_bytes_equal(value->plain, skep_bytes_str("true too")));
    assert_int_equal(cached_lies(), 0);
    end();
}

static void late_answers_are_judged(void **state)
{
    static const struct skep_sim_faults slow = {.latency = {.median_us = 100000}};
    struct skep_dht_get_options soon = judged;
    struct skep_dht_id key = swarm_key("key");
    uint32_t reader;

    (void)state;
    reader = begin(NODES, "lie", "", "", "");
    *skep_sim_net_faults(swarm.net) = slow;
    soon.deadline_us = swarm.clock.now_us + 30000;
    assert_int_equal(swarm_get(&swarm, reader, "key", &soon).rc, SKEP_EDEADLINE);
    skep_sim_clock_run_for(&swarm.clock, SKEP_SIM_SECOND);
    assert_null(skep_dht_peek(swarm.dht[reader], &key, NULL));
    end();
}

static void nothing_is_believed_for_longer_than_anything_is_kept(void **state)
{
    struct skep_dht_id key = swarm_key("key");
    struct skep_dht_value *value;
    double latest;

    (void)state;
    (void)begin(0, "", "", "true", "");
    latest = swarm_now(&swarm) + SKEP_DHT_TTL_MAX_S;
    assert_int_equal(
        skep_dht_value_new_plain(&value, &skep_mem_std, skep_bytes_str("true"), INFINITY), 0);
    assert_true(skep_dht_believe(swarm.dht[0], believe_the_true, &key, &value));
    assert_true(value->expiration_unix_s == latest);
    skep_dht_value_unref(value);
    assert_int_equal(skep_dht_value_new_dictionary(&value, &skep_mem_std), 0);
    assert_int_equal(skep_dht_value_put(value, skep_bytes_str("\x01"), skep_bytes_str("true"),
                                        latest + 1, 0, NULL),
                     1);
    assert_true(skep_dht_believe(swarm.dht[0], believe_the_true, &key, &value));
    assert_true(value->expiration_unix_s == latest);
    skep_dht_value_unref(value);
    end();
}

/* The last get's value is its waiter's even where a judge took a part out. */
static int believe_a_part(const struct skep_mem *mem, void *user)
{
    struct skep_dht dht = {.env = &swarm.clock.env, .mem = mem};
    struct skep_dht_value *value, *held;
    struct skep_dht_id key = swarm_key("key");
    int rc = 0;

    (void)user;
    dht.options.ttl_max_s = SKEP_DHT_TTL_MAX_S;
    assert_int_equal(skep_dht_value_new_dictionary(&value, &skep_mem_std), 0);
    for (unsigned i = 0; i < 4; i++) {
        uint8_t subkey = (uint8_t)i;

        assert_int_equal(skep_dht_value_put(value, skep_bytes_of(&subkey, 1),
                                            skep_bytes_str(i % 2 ? "true" : "lie"),
                                            swarm_now(&swarm) + 60, 0, NULL),
                         1);
    }
    held = skep_dht_value_ref(value);
    if (!skep_dht_believe(&dht, believe_the_true, &key, &value)) {
        assert_null(value);
        rc = SKEP_ENOMEM;
    } else {
        assert_int_equal(value->count, 2);
    }
    assert_int_equal(held->count, 4); /* what others hold stays as it is */
    skep_dht_value_unref(value);
    skep_dht_value_unref(held);
    return rc;
}

static void without_memory_nothing_is_believed(void **state)
{
    (void)state;
    (void)begin(0, "", "", "true", "");
    test_each_allocation_fails(believe_a_part, NULL);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_believed_ends_no_search_and_is_not_kept),
        cmocka_unit_test(a_plain_lie_does_not_displace_a_dictionary),
        cmocka_unit_test(entries_that_are_not_believed_displace_none_that_are),
        cmocka_unit_test(what_is_at_home_is_judged_as_well),
        cmocka_unit_test(a_search_is_shared_only_with_those_who_believe_the_same),
        cmocka_unit_test(what_is_fetched_anew_is_judged_as_it_was_found),
        cmocka_unit_test(late_answers_are_judged),
        cmocka_unit_test(nothing_is_believed_for_longer_than_anything_is_kept),
        cmocka_unit_test(without_memory_nothing_is_believed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
