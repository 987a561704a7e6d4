/* SPDX-License-Identifier: MIT */
/* Whole runs, small. */
#include "lab/scenario.h"
#include "support/test.h"

static void set_up(struct skep_lab_scenario *scenario)
{
    skep_lab_scenario_default(scenario);
    scenario->nodes = 60;
    scenario->experts = 200;
    scenario->grid[0] = scenario->grid[1] = scenario->grid[2] = 8;
    scenario->queries = 20;
    scenario->searchers = 4;
}

static void run(const struct skep_lab_scenario *scenario, struct skep_lab_report *report)
{
    assert_int_equal(skep_lab_run(scenario, &skep_mem_std, report, NULL, NULL), 0);
    assert_string_equal(report->wrong, "");
}

static void a_placed_swarm_answers_exactly(void **state)
{
    struct skep_lab_scenario scenario;
    struct skep_lab_report report;

    (void)state;
    set_up(&scenario);
    scenario.exact = true;
    run(&scenario, &report);
    assert_int_equal(report.searches, 20);
    assert_int_equal(report.claimed_exact, 20);
    assert_int_equal(report.hits, report.hits_wanted);
    skep_lab_report_fini(&report);
}

static void a_swarm_that_joined_and_declared_answers_exactly(void **state)
{
    struct skep_lab_scenario scenario;
    struct skep_lab_report report;

    (void)state;
    set_up(&scenario);
    scenario.real = true;
    scenario.exact = true;
    run(&scenario, &report);
    assert_int_equal(report.claimed_exact, 20);
    assert_int_equal(report.hits, report.hits_wanted);
    skep_lab_report_fini(&report);
}

static void the_same_seed_gives_the_same_run(void **state)
{
    struct skep_lab_scenario scenario;
    struct skep_lab_report first, again, other;

    (void)state;
    set_up(&scenario);
    scenario.faults.loss_ppm = 20000;
    run(&scenario, &first);
    run(&scenario, &again);
    assert_int_equal(first.events, again.events);
    assert_int_equal(first.latency_us.sum, again.latency_us.sum);
    scenario.seed++;
    run(&scenario, &other);
    assert_true(first.latency_us.sum != other.latency_us.sum);
    skep_lab_report_fini(&first);
    skep_lab_report_fini(&again);
    skep_lab_report_fini(&other);
}

static void a_budget_is_kept_when_half_of_the_swarm_is_silent(void **state)
{
    struct skep_lab_scenario scenario;
    struct skep_lab_report report;

    (void)state;
    set_up(&scenario);
    scenario.dead_ppm = 500000;
    scenario.budget_us = 150 * SKEP_SIM_MS;
    run(&scenario, &report);
    assert_int_equal(report.searches, 20);
    assert_int_equal(report.late, 0);
    assert_true(skep_lab_samples_at(&report.latency_us, 1000) <= scenario.budget_us);
    skep_lab_report_fini(&report);
}

static void values_are_found_while_nodes_come_and_go(void **state)
{
    struct skep_lab_scenario scenario;
    struct skep_lab_report report;

    (void)state;
    set_up(&scenario);
    scenario.experts = 60;
    scenario.queries = 200;
    scenario.duration_us = 600 * SKEP_SIM_SECOND;
    scenario.session.median_us = 600 * SKEP_SIM_SECOND;
    scenario.declare_every_us = 30 * SKEP_SIM_SECOND;
    run(&scenario, &report);
    assert_true(report.deaths > 20);
    assert_true(report.values_found > 100);
    assert_true(report.values_missed * 100 <= report.values_found);
    skep_lab_report_fini(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_placed_swarm_answers_exactly),
        cmocka_unit_test(a_swarm_that_joined_and_declared_answers_exactly),
        cmocka_unit_test(the_same_seed_gives_the_same_run),
        cmocka_unit_test(a_budget_is_kept_when_half_of_the_swarm_is_silent),
        cmocka_unit_test(values_are_found_while_nodes_come_and_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
