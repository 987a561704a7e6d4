/* SPDX-License-Identifier: MIT */
/* The line of one pool, alone: order, sizes of batches, when they may leave. */
#include "server/task_pool.h"
#include "support/test.h"

struct line {
    struct skep_task_pool pool;
    struct skep_task tasks[16];
    size_t count;
};

static void line_init(struct line *line, size_t min, size_t max, uint64_t wait_us)
{
    const struct skep_task_pool_options options = {min, max, wait_us};

    memset(line, 0, sizeof *line);
    skep_task_pool_init(&line->pool, &options);
}

static int push(struct line *line, size_t rows, uint64_t now_us)
{
    struct skep_task *task = &line->tasks[line->count];
    int rc;

    task->rows = rows;
    rc = skep_task_pool_push(&line->pool, task, now_us);
    line->count += rc == 0;
    return rc;
}

/* Rows of the tasks of the next batch, as text: "3 1 4". */
static const char *pop(struct line *line)
{
    static char text[64];
    struct skep_list batch;
    size_t rows, sum = 0, at = 0;

    skep_list_init(&batch);
    rows = skep_task_pool_pop(&line->pool, &batch);
    text[0] = '\0';
    SKEP_LIST_EACH(&batch, node, after)
    {
        const struct skep_task *task = SKEP_LIST_ITEM(node, struct skep_task, entry);

        assert_true(task->running);
        sum += task->rows;
        at += (size_t)snprintf(text + at, sizeof text - at, at > 0 ? " %zu" : "%zu", task->rows);
    }
    assert_int_equal(rows, sum);
    return text;
}

static bool ready(const struct line *line, uint64_t now_us, uint64_t *deadline_us)
{
    return skep_task_pool_ready(&line->pool, now_us, deadline_us);
}

static void tasks_leave_oldest_first_and_whole(void **state)
{
    struct line line;

    (void)state;
    line_init(&line, 1, 10, 0);
    assert_false(ready(&line, 0, NULL));
    for (size_t rows = 1; rows <= 7; rows++)
        assert_int_equal(push(&line, rows, 0), 0);
    assert_int_equal(line.pool.rows, 28);
    assert_true(ready(&line, 0, NULL));
    assert_string_equal(pop(&line), "1 2 3 4");
    assert_string_equal(pop(&line), "5");
    assert_string_equal(pop(&line), "6");
    assert_string_equal(pop(&line), "7");
    assert_string_equal(pop(&line), "");
    assert_int_equal(line.pool.rows, 0);
    assert_false(ready(&line, UINT64_MAX - 1, NULL));
}

static void a_task_above_the_largest_batch_is_refused(void **state)
{
    struct line line;

    (void)state;
    line_init(&line, 1, 10, 0);
    assert_int_equal(push(&line, 11, 0), SKEP_ESIZE);
    assert_int_equal(line.pool.task_count, 0);
    assert_int_equal(push(&line, 10, 0), 0);
    assert_string_equal(pop(&line), "10");
}

static void fewer_rows_than_the_least_wait_for_more_or_for_their_time(void **state)
{
    struct line line;
    uint64_t deadline_us;

    (void)state;
    line_init(&line, 4, 10, 500);
    push(&line, 1, 1000);
    push(&line, 2, 1400);
    assert_false(ready(&line, 1499, &deadline_us));
    assert_int_equal(deadline_us, 1500);
    assert_true(ready(&line, 1500, NULL));
    push(&line, 1, 1450);
    assert_true(ready(&line, 1450, NULL));
    assert_string_equal(pop(&line), "1 2 1");
    assert_false(ready(&line, 9999, &deadline_us));
    assert_true(deadline_us == SKEP_NEVER_US);
}

static void without_a_time_they_wait_for_ever_as_with_hivemind(void **state)
{
    struct line line;
    uint64_t deadline_us;

    (void)state;
    line_init(&line, 4, 10, 0);
    push(&line, 3, 0);
    assert_false(ready(&line, UINT64_MAX - 1, &deadline_us));
    assert_true(deadline_us == SKEP_NEVER_US);
    /* and a time that would pass the end of the clock's is none */
    line_init(&line, 4, 10, UINT64_MAX - 1);
    push(&line, 3, 5);
    assert_false(ready(&line, UINT64_MAX - 1, &deadline_us));
    assert_true(deadline_us == SKEP_NEVER_US);
}

static void a_next_task_that_would_not_fit_lets_a_small_batch_go(void **state)
{
    struct line line;

    (void)state;
    line_init(&line, 8, 10, 0);
    push(&line, 3, 0);
    assert_false(ready(&line, 0, NULL));
    push(&line, 9, 0);
    assert_true(ready(&line, 0, NULL));
    assert_string_equal(pop(&line), "3");
    assert_true(ready(&line, 0, NULL));
    assert_string_equal(pop(&line), "9");
}

static void a_removed_task_leaves_the_others_in_order(void **state)
{
    struct line line;

    (void)state;
    line_init(&line, 1, 10, 0);
    push(&line, 1, 0);
    push(&line, 2, 0);
    push(&line, 3, 0);
    skep_task_pool_remove(&line.pool, &line.tasks[1]);
    assert_int_equal(line.pool.rows, 4);
    assert_null(line.tasks[1].pool);
    assert_string_equal(pop(&line), "1 3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_leave_oldest_first_and_whole),
        cmocka_unit_test(a_task_above_the_largest_batch_is_refused),
        cmocka_unit_test(fewer_rows_than_the_least_wait_for_more_or_for_their_time),
        cmocka_unit_test(without_a_time_they_wait_for_ever_as_with_hivemind),
        cmocka_unit_test(a_next_task_that_would_not_fit_lets_a_small_batch_go),
        cmocka_unit_test(a_removed_task_leaves_the_others_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
