/* SPDX-License-Identifier: MIT */
/* Running a search and showing what it found; see search.h. */
#include "cmd/search.h"

#include <math.h>
#include <stdlib.h>

#include "cmd/json_value.h"

void skep_cmd_search_init(struct skep_cmd_search *search, const char *prefix,
                          const struct skep_cmd_grid *grid, const struct skep_cmd_scores *scores)
{
    skep_find_options *o = &search->options;

    skep_find_options_init(o);
    for (size_t d = 0; d < grid->dims; d++) {
        search->rows[d] = skep_cmd_scores_row(scores, 0, d);
        search->strides[d] = scores->stride;
    }
    o->prefix = prefix;
    o->grid_size = grid->size;
    o->dimensions = grid->dims;
    o->score_type = scores->is_float64 ? SKEP_SCORE_FLOAT64 : SKEP_SCORE_FLOAT32;
    o->scores = search->rows;
    o->row_stride = search->strides;
    o->batch_size = scores->examples;
}

skep_op *skep_cmd_search_run(struct skep_cmd_search *search, struct skep_session *session,
                             int *code)
{
    skep_op *op = NULL;
    int rc = skep_moe_find(&op, session->node, &search->options, NULL, NULL);

    *code = skep_session_wait(session, rc, op, "find");
    if (*code == SKEP_EXIT_DONE)
        return op;
    skep_op_free(op);
    return NULL;
}

static void add_cost(json_t *document, const skep_find_cost *cost)
{
    json_object_set_new(document, "rounds", json_integer(cost->rounds));
    json_object_set_new(document, "keys", json_integer(cost->keys));
    json_object_set_new(document, "calls", json_integer(cost->calls));
    json_object_set_new(document, "elapsed_ms", json_real((double)cost->elapsed_us / 1000));
}

static json_t *found_json(const skep_found *found, const skep_find_cost *cost)
{
    json_t *experts = json_array(), *document;

    for (size_t i = 0; i < found->count; i++) {
        const skep_expert *e = &found->experts[i];
        char id[SKEP_PEER_TEXT_LEN];

        json_array_append_new(experts, json_pack("{s:o, s:s, s:o}", "uid",
                                                 skep_cmd_json_text(skep_bytes_str(e->uid)),
                                                 "peer_id", skep_peer_to_text(id, &e->peer),
                                                 "score", skep_cmd_json_real(e->score)));
    }
    document = json_pack("{s:o, s:b, s:o, s:I}", "experts", experts, "exact", found->exact, "bound",
                         isfinite(found->bound) ? json_real(found->bound) : json_null(),
                         "unanswered", (json_int_t)found->unanswered);
    if (document)
        add_cost(document, cost);
    return document;
}

static void add_latency(json_t *document, double *times_ms, size_t count)
{
    struct skep_cmd_latency l = skep_cmd_latency_of(times_ms, count);

    json_object_set_new(document, "latency_ms",
                        json_pack("{s:I, s:f, s:f, s:f, s:f}", "count", (json_int_t)count, "min",
                                  l.min, "median", l.median, "p95", l.p95, "max", l.max));
}

json_t *skep_cmd_search_json(const skep_op *op, bool is_batch, double *times_ms, size_t time_count)
{
    size_t count = 0;
    skep_find_cost cost = {.rounds = 0};
    const skep_found *found = skep_moe_find_result(op, &count, &cost);
    json_t *document, *list;

    if (!is_batch) {
        document = found_json(&found[0], &cost);
    } else {
        list = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append_new(list, found_json(&found[i], &cost));
        document = json_pack("{s:o}", "batch", list);
        if (document) /* of the whole batch, which shares its requests */
            add_cost(document, &cost);
    }
    if (document && times_ms)
        add_latency(document, times_ms, time_count);
    return document;
}

void skep_cmd_search_print_table(const skep_found *found)
{
    static const char *const heading[] = {">rank", "uid", ">score", "peer"};
    struct skep_table table;

    skep_table_init(&table, heading, SKEP_COUNT_OF(heading));
    for (size_t i = 0; i < found->count; i++) {
        char id[SKEP_PEER_TEXT_LEN];

        skep_table_add(&table, "%zu", i + 1);
        skep_table_add(&table, "%s", found->experts[i].uid);
        skep_table_add(&table, "%.6f", found->experts[i].score);
        skep_table_add(&table, "%s", skep_peer_to_text(id, &found->experts[i].peer));
    }
    skep_table_print(&table, stdout);
    skep_table_fini(&table);
}

void skep_cmd_search_print_cost(const skep_find_cost *cost)
{
    printf("%u round%s, %u keys, %u calls, %.2f ms\n", cost->rounds, cost->rounds == 1 ? "" : "s",
           cost->keys, cost->calls, (double)cost->elapsed_us / 1000);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct skep_cmd_latency skep_cmd_latency_of(double *times_ms, size_t count)
{
    qsort(times_ms, count, sizeof *times_ms, by_size);
    return (struct skep_cmd_latency){times_ms[0],
                                     (times_ms[(count - 1) / 2] + times_ms[count / 2]) / 2,
                                     times_ms[(count * 95 + 99) / 100 - 1], times_ms[count - 1]};
}
