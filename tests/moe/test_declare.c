/* SPDX-License-Identifier: MIT */
/* Declaring and looking up: the records of moe.json bit for bit. */
#include <math.h>

#include "base/limits.h"
#include "moe/declare.h"
#include "moe/fake_dht.h"
#include "support/test.h"

struct fixture {
    struct test_env env;
    struct skep_dht *dht;
    struct skep_declare declare;
    struct skep_locate locate;
    int ended, rc;
};

static void on_declared(struct skep_declare *declare, int rc)
{
    struct fixture *f = SKEP_CONTAINER_OF(declare, struct fixture, declare);

    f->ended++;
    f->rc = rc;
}

static void on_located(struct skep_locate *locate, int rc)
{
    struct fixture *f = SKEP_CONTAINER_OF(locate, struct fixture, locate);

    f->ended++;
    f->rc = rc;
}

static void set_up(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    test_env_init(&f->env, 1);
    f->dht = fake_dht_new(&f->env.env, 1);
    f->declare.done = on_declared;
    f->locate.done = on_located;
}

static void tear_down(struct fixture *f)
{
    skep_declare_fini(&f->declare);
    skep_locate_fini(&f->locate);
    fake_dht_free(f->dht);
    test_env_fini(&f->env);
}

static void check_stored(struct fixture *f, const json_t *stored)
{
    size_t i, k;
    json_t *record, *sub;

    json_array_foreach(stored, i, record)
    {
        const struct skep_dht_value *value =
            fake_dht_at(f->dht, skep_bytes_str(test_str(record, "key")));

        assert_non_null(value);
        if (json_object_get(record, "plain_value_bytes")) {
            assert_false(value->is_dictionary);
            assert_true(
                skep_bytes_equal(value->plain, test_unhex(test_str(record, "plain_value_bytes"))));
            continue;
        }
        assert_int_equal(value->count, json_array_size(test_get(record, "subkeys")));
        json_array_foreach(test_get(record, "subkeys"), k, sub)
        {
            struct skep_dht_entry entry;

            assert_true(
                skep_dht_value_find(value, test_unhex(test_str(sub, "subkey_bytes")), &entry));
            assert_true(skep_bytes_equal(entry.value, test_unhex(test_str(sub, "value_bytes"))));
            assert_true(entry.expiration_unix_s == json_number_value(test_get(sub, "expiration")));
        }
    }
}

/* [key, true] or [(key, subkey), true], in the order in which hivemind collects them. */
static void check_order(const struct fixture *f, const json_t *result)
{
    size_t i;
    json_t *item;

    assert_int_equal(f->declare.record_count, json_array_size(result));
    json_array_foreach(result, i, item)
    {
        const struct skep_declare_record *record = &f->declare.records[i];
        const json_t *key = json_array_get(item, 0);

        if (json_is_object(key)) {
            const json_t *tuple = test_get(key, "tuple"), *subkey = json_array_get(tuple, 1);

            assert_string_equal(record->key, json_string_value(json_array_get(tuple, 0)));
            assert_true(record->has_subkey);
            assert_int_equal(record->subkey, strtoll(test_str(subkey, "int"), NULL, 10));
        } else {
            assert_string_equal(record->key, json_string_value(key));
            assert_false(record->has_subkey);
        }
        assert_int_equal(record->key_len, strlen(record->key));
        assert_int_equal(record->accepted, 5);
    }
}

static size_t uids_of(const json_t *list, skep_bytes *uids)
{
    size_t i;
    json_t *uid;

    json_array_foreach(list, i, uid) uids[i] = skep_bytes_str(json_string_value(uid));
    return json_array_size(list);
}

static void check_located(struct fixture *f, const json_t *expected)
{
    skep_bytes uids[16];
    size_t count = json_array_size(expected), i;
    json_t *item;

    json_array_foreach(expected, i, item) uids[i] = skep_bytes_str(
        json_is_array(item) ? json_string_value(json_array_get(item, 0)) : "nobody.1");
    assert_int_equal(skep_locate_start(&f->locate, f->dht, uids, count, NULL, NULL, 0), 0);
    test_env_advance(&f->env, 100000);
    assert_int_equal(f->ended, 2);
    json_array_foreach(expected, i, item)
    {
        char text[SKEP_PEER_ID_TEXT_MAX];

        assert_int_equal(f->locate.experts[i].found, json_is_array(item));
        if (json_is_array(item))
            assert_string_equal(skep_peer_id_text(text, &f->locate.experts[i].peer),
                                json_string_value(json_array_get(item, 1)));
        else
            assert_true(f->locate.experts[i].answered);
    }
}

static void records_are_hiveminds_bit_for_bit_and_in_its_order(void **state)
{
    /* One of its integers is above 64 bits, which jansson reads only as a real. */
    json_t *vectors = json_load_file("tests/vectors/moe.json", JSON_DECODE_INT_AS_REAL, NULL),
           *vector;
    size_t i;

    (void)state;
    json_array_foreach(test_get(vectors, "declare"), i, vector)
    {
        struct fixture f;
        struct skep_peer_id peer;
        skep_bytes uids[16];
        size_t count = uids_of(test_get(vector, "uids"), uids);

        set_up(&f);
        assert_int_equal(
            skep_peer_id_from_base58(&peer, skep_bytes_str(test_str(vector, "peer_id_base58"))), 0);
        assert_int_equal(skep_declare_start(&f.declare, f.dht, uids, count, &peer,
                                            json_number_value(test_get(vector, "expiration")), NULL,
                                            NULL, 0),
                         0);
        test_env_advance(&f.env, 10000);
        assert_int_equal(f.ended, 1);
        assert_int_equal(f.rc, 0);
        check_stored(&f, test_get(vector, "stored"));
        check_order(&f, test_get(vector, "result"));
        check_located(&f, test_get(vector, "get_experts"));
        assert_int_equal(fake_dht_counts(f.dht)->stores, 1);
        tear_down(&f);
    }
    assert_int_equal(i, 5);
    json_decref(vectors);
}

static void wrong_uids_are_named_and_nothing_is_sent(void **state)
{
    struct fixture f;
    struct skep_peer_id peer;
    char why[512];
    const skep_bytes uids[] = {skep_bytes_str("ffn.1"), skep_bytes_str("ffn.01")};
    const skep_bytes huge[] = {skep_bytes_str("ffn.1.9223372036854775808")};

    (void)state;
    set_up(&f);
    assert_int_equal(
        skep_peer_id_from_base58(
            &peer, skep_bytes_str("12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s")),
        0);
    assert_int_equal(
        skep_declare_start(&f.declare, f.dht, uids, 2, &peer, 2e9, NULL, why, sizeof why),
        SKEP_EUID);
    assert_string_equal(why, "\"ffn.01\": number 1 (at byte 4) has a leading zero");
    assert_int_equal(
        skep_declare_start(&f.declare, f.dht, huge, 1, &peer, 2e9, NULL, why, sizeof why),
        SKEP_EUID);
    assert_non_null(strstr(why, "number 2 is too large"));
    assert_int_equal(
        skep_declare_start(&f.declare, f.dht, uids, 0, &peer, 2e9, NULL, why, sizeof why),
        SKEP_EINVAL);
    assert_int_equal(
        skep_declare_start(&f.declare, f.dht, uids, 1, &peer, (double)NAN, NULL, why, sizeof why),
        SKEP_EINVAL);
    assert_int_equal(
        skep_declare_start(&f.declare, f.dht, uids, 1, &peer, HUGE_VAL, NULL, why, sizeof why),
        SKEP_EINVAL);
    assert_int_equal(skep_declare_start(&f.declare, f.dht, uids, SKEP_DECLARE_UIDS_MAX + 1, &peer,
                                        2e9, NULL, why, sizeof why),
                     SKEP_ELIMIT);
    assert_int_equal(skep_locate_start(&f.locate, f.dht, uids + 1, 1, NULL, why, sizeof why),
                     SKEP_EUID);
    assert_int_equal(fake_dht_counts(f.dht)->stores + fake_dht_counts(f.dht)->gets, 0);
    assert_int_equal(f.ended, 0);
    tear_down(&f);
}

static void what_is_no_peer_id_is_nobody(void **state)
{
    struct fixture f;
    const skep_bytes uids[] = {skep_bytes_str("a.1"), skep_bytes_str("a.2"), skep_bytes_str("a.3"),
                               skep_bytes_str("a.4")};

    (void)state;
    set_up(&f);
    fake_dht_put(f.dht, "a.1", (skep_bytes){0}, test_unhex("01"), 2e9);
    fake_dht_put(f.dht, "a.2", (skep_bytes){0}, test_unhex("a3616263"), 2e9);
    fake_dht_put_expert(f.dht, "a.3", 1, "a.3.1",
                        "12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s", 2e9);
    fake_dht_settings(f.dht)->sync = true;
    assert_int_equal(skep_locate_start(&f.locate, f.dht, uids, 4, NULL, NULL, 0), 0);
    assert_int_equal(f.ended, 1);
    for (size_t i = 0; i < 4; i++)
        assert_false(f.locate.experts[i].found);
    tear_down(&f);
}

static void a_cancelled_declaration_or_lookup_says_nothing_more(void **state)
{
    struct fixture f;
    struct skep_peer_id peer;
    const skep_bytes uid = skep_bytes_str("a.1.2");

    (void)state;
    set_up(&f);
    assert_int_equal(
        skep_peer_id_from_base58(
            &peer, skep_bytes_str("12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s")),
        0);
    assert_int_equal(skep_declare_start(&f.declare, f.dht, &uid, 1, &peer, 2e9, NULL, NULL, 0), 0);
    assert_int_equal(skep_locate_start(&f.locate, f.dht, &uid, 1, NULL, NULL, 0), 0);
    skep_declare_fini(&f.declare);
    skep_locate_fini(&f.locate);
    skep_locate_fini(&f.locate);
    test_env_advance(&f.env, 100000);
    assert_int_equal(f.ended, 0);
    assert_int_equal(fake_dht_counts(f.dht)->running, 0);
    tear_down(&f);
}

static int declare_with(const struct skep_mem *mem, void *user)
{
    struct fixture *f = user;
    struct skep_peer_id peer;
    const skep_bytes uids[] = {skep_bytes_str("a.1.2"), skep_bytes_str("b.3"),
                               skep_bytes_str("a.1.2")};
    int rc;

    assert_int_equal(
        skep_peer_id_from_base58(
            &peer, skep_bytes_str("12D3KooWGPCb8HuCZLMmKAhdeD58t6vkLSWePRw6nWePejzcHB4s")),
        0);
    f->env.env.mem = mem;
    rc = skep_declare_start(&f->declare, f->dht, uids, 3, &peer, 2e9, NULL, NULL, 0);
    if (rc == 0)
        rc = skep_locate_start(&f->locate, f->dht, uids, 3, NULL, NULL, 0);
    skep_declare_fini(&f->declare);
    skep_locate_fini(&f->locate);
    f->env.env.mem = &f->env.mem.mem;
    return rc;
}

static void declaring_survives_each_failed_allocation(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f);
    test_each_allocation_fails(declare_with, &f);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_hiveminds_bit_for_bit_and_in_its_order),
        cmocka_unit_test(wrong_uids_are_named_and_nothing_is_sent),
        cmocka_unit_test(what_is_no_peer_id_is_nobody),
        cmocka_unit_test(a_cancelled_declaration_or_lookup_says_nothing_more),
        cmocka_unit_test(declaring_survives_each_failed_allocation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
