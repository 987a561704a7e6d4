/* SPDX-License-Identifier: MIT */
/* Who may have memory: the rule, and that nobody waits for ever. */
#include "server/budget.h"
#include "support/test.h"

enum { TOTAL = 100, START = 12, CLAIMS = 40 };

static void claims_are_added_up_and_come_back(void **state)
{
    struct skep_budget budget;
    struct skep_claim a, b;

    (void)state;
    skep_budget_init(&budget, TOTAL);
    skep_claim_init(&a);
    skep_claim_init(&b);
    assert_int_equal(skep_budget_room(&budget), 50); /* half is kept for whoever grows */
    assert_true(skep_budget_set(&budget, &a, 30));
    assert_false(skep_budget_set(&budget, &b, 21));
    assert_int_equal(b.bytes, 0);
    assert_true(skep_budget_set(&budget, &b, 20));
    assert_false(skep_budget_set(&budget, &b, 21));
    assert_true(skep_budget_set(&budget, &b, 5));
    assert_int_equal(skep_budget_room(&budget), 15);
    skep_budget_release(&budget, &a);
    skep_budget_release(&budget, &a);
    skep_budget_release(&budget, &b);
    assert_int_equal(budget.used, 0);
    assert_int_equal(budget.used_most, 50);
    assert_false(skep_budget_set(&budget, &a, SIZE_MAX));
}

static void the_head_gets_what_is_kept_for_it(void **state)
{
    struct skep_budget budget;
    struct skep_claim head, next, small;

    (void)state;
    skep_budget_init(&budget, TOTAL);
    skep_claim_init(&head);
    skep_claim_init(&next);
    skep_claim_init(&small);
    assert_true(skep_budget_admit(&budget, &head, START));
    assert_true(skep_budget_admit(&budget, &next, START));
    assert_true(skep_budget_set(&budget, &small, 38)); /* 50 beside the head */
    assert_false(skep_budget_set(&budget, &small, 39));
    assert_false(skep_budget_set(&budget, &next, START + 1));
    assert_true(skep_budget_set(&budget, &head, 50));
    assert_int_equal(budget.used, TOTAL);
    skep_budget_settle(&head);
    assert_false(skep_budget_set(&budget, &next, 50)); /* the head now, but it has to wait */
    skep_budget_release(&budget, &small);
    skep_budget_release(&budget, &head);
    assert_true(skep_budget_set(&budget, &next, 50));
}

static void a_head_may_have_more_than_is_kept_while_there_is_room(void **state)
{
    struct skep_budget budget;
    struct skep_claim head;

    (void)state;
    skep_budget_init(&budget, TOTAL);
    skep_claim_init(&head);
    assert_true(skep_budget_admit(&budget, &head, START));
    assert_true(skep_budget_set(&budget, &head, 90));
    assert_int_equal(skep_budget_room(&budget), 10);
}

/* Any order of arrivals, first parts and ends: the total is never passed, and when those that have all end, all others get on. */
static void whoever_waits_gets_on_in_the_end(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(300); seed++) {
        struct skep_budget budget;
        struct skep_prng prng;
        struct claimant {
            struct skep_claim claim;
            size_t needs;
            enum { LINED_UP, ADMITTED, WAITS, HAS_ALL, GONE } at;
        } all[CLAIMS];
        size_t gone = 0, first = 0;

        skep_prng_init(&prng, seed);
        skep_budget_init(&budget, TOTAL);
        for (size_t i = 0; i < CLAIMS; i++) {
            skep_claim_init(&all[i].claim);
            all[i].needs = 1 + (size_t)skep_prng_below(&prng, TOTAL / 2);
            all[i].at = LINED_UP;
        }
        for (size_t steps = 0; gone < CLAIMS; steps++) {
            struct claimant *c = &all[skep_prng_below(&prng, CLAIMS)];

            assert_true(steps < 100000);
            if (c->at == LINED_UP && c == &all[first]) {
                if (skep_budget_admit(&budget, &c->claim, START)) {
                    c->at = ADMITTED;
                    first++;
                }
            } else if (c->at == LINED_UP && c->claim.bytes == 0) {
                (void)skep_budget_set(&budget, &c->claim,
                                      1); /* a little that came while it waits */
            } else if (c->at == ADMITTED || c->at == WAITS) {
                c->at = WAITS;
                if (skep_budget_set(&budget, &c->claim, c->needs)) {
                    skep_budget_settle(&c->claim);
                    c->at = HAS_ALL;
                }
            } else if (c->at == HAS_ALL && skep_prng_below(&prng, 4) == 0) {
                skep_budget_release(&budget, &c->claim);
                c->at = GONE;
                gone++;
            }
            assert_true(budget.used <= TOTAL);
        }
        assert_int_equal(budget.used, 0);
        assert_true(skep_list_empty(&budget.growing));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(claims_are_added_up_and_come_back),
        cmocka_unit_test(the_head_gets_what_is_kept_for_it),
        cmocka_unit_test(a_head_may_have_more_than_is_kept_while_there_is_room),
        cmocka_unit_test(whoever_waits_gets_on_in_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
