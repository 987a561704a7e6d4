/* SPDX-License-Identifier: MIT */
/* The demonstration; see demo.h. Where the beam went is asked of the swarm anew, by the calls that a search is made of: the search has
 * filled the node's caches, so that costs next to nothing. */
#include "cmd/demo.h"

#include <math.h>
#include <stdlib.h>

#include "cmd/picture.h"

/* A prefix kept by the beam. */
struct step {
    struct skep_picture_place place;
    double score;
};

static int draw_scores(struct skep_cmd_demo *demo, struct skep_prng *prng)
{
    struct skep_cmd_scores *s = &demo->scores;
    float *to;

    *s = (struct skep_cmd_scores){.examples = 1, .dims = demo->grid->dims};
    for (size_t d = 0; d < s->dims; d++) {
        s->offset[d] = s->stride;
        s->stride += demo->grid->size[d];
    }
    to = calloc(s->stride, sizeof *to);
    if (!to)
        return skep_session_failed(SKEP_ENOMEM, NULL, "scores");
    for (size_t i = 0; i < s->stride; i++) { /* Box and Muller 1958 */
        double radius = sqrt(-2 * log(1 - skep_prng_unit(prng)));

        to[i] = (float)(radius * cos(6.283185307179586 * skep_prng_unit(prng)));
    }
    s->data = to;
    return SKEP_EXIT_DONE;
}

int skep_cmd_demo_start(struct skep_cmd_demo *demo, struct skep_prng *prng)
{
    skep_node_options options;
    int code = draw_scores(demo, prng);

    if (code != SKEP_EXIT_DONE)
        return code;
    skep_session_options(&options, SKEP_SESSION_CLIENT);
    options.identity_path = NULL;
    options.initial_peers = (const char *const *)demo->swarm->addresses;
    options.initial_peer_count = demo->swarm->count;
    code = skep_session_open_with(&demo->session, &options);
    if (code == SKEP_EXIT_DONE)
        code = skep_session_join(&demo->session);
    if (code != SKEP_EXIT_DONE)
        return code;
    skep_cmd_search_init(&demo->search, demo->prefix, demo->grid, &demo->scores);
    demo->search.options.beam_size = demo->beam_size;
    demo->found = skep_cmd_search_run(&demo->search, &demo->session, &code);
    return code;
}

void skep_cmd_demo_fini(struct skep_cmd_demo *demo)
{
    skep_op_free(demo->found);
    skep_session_close(&demo->session);
    skep_cmd_scores_fini(&demo->scores, &skep_mem_std);
}

/* The coordinates of a uid or prefix below the demo's prefix. @return how many. */
static size_t coordinates_of(const struct skep_cmd_demo *demo, const char *uid, size_t *out)
{
    const char *p = uid + strlen(demo->prefix);
    size_t count = 0;

    while (count < demo->grid->dims && *p >= '0' && *p <= '9') {
        char *end;

        out[count++] = (size_t)strtoull(p, &end, 10);
        p = *end == '.' ? end + 1 : end;
    }
    return count;
}

static struct skep_picture_place place_of(const size_t *coordinates, size_t count)
{
    return count < 2 ? (struct skep_picture_place){0, coordinates[0]}
                     : (struct skep_picture_place){coordinates[0], coordinates[1]};
}

static double score_of(const struct skep_cmd_demo *demo, size_t dim, size_t index)
{
    return (double)((const float *)skep_cmd_scores_row(&demo->scores, 0, dim))[index];
}

static int by_score(const void *a, const void *b)
{
    double x = ((const struct step *)a)->score, y = ((const struct step *)b)->score;

    return (x < y) - (x > y);
}

/* Ask for the first dimension's beam. The rows go to `rows`. */
static skep_op *ask_first(struct skep_cmd_demo *demo, size_t *rows, size_t *row_count)
{
    skep_op *op = NULL;
    const skep_successors *beam;
    size_t coordinates[SKEP_GRID_DIMENSIONS_MAX];
    int rc = skep_moe_initial_beam(&op, demo->session.node, &demo->search.options, NULL, NULL);

    if (skep_session_wait(&demo->session, rc, op, "beam") != SKEP_EXIT_DONE) {
        skep_op_free(op);
        return NULL;
    }
    beam = skep_moe_successors_result(op, row_count);
    *row_count = SKEP_MIN(*row_count, demo->beam_size);
    for (size_t i = 0; i < *row_count; i++)
        rows[i] = coordinates_of(demo, beam[i].prefix, coordinates) > 0 ? coordinates[0] : 0;
    return op;
}

/* The best prefixes of two dimensions: the first beam's successors by the sum of two scores. @return how many are kept. */
static size_t second_beam(const struct skep_cmd_demo *demo, const skep_op *first,
                          const size_t *rows, struct skep_picture_place *out)
{
    size_t count = 0, total = 0, kept;
    const skep_successors *beam = skep_moe_successors_result(first, &count);
    struct step *steps;

    count = SKEP_MIN(count, demo->beam_size);
    for (size_t i = 0; i < count; i++)
        total += beam[i].count;
    steps = calloc(total + 1, sizeof *steps);
    if (!steps)
        return 0;
    total = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < beam[i].count; j++) {
            int64_t column = beam[i].successors[j].coordinate;

            if (column >= 0 && (size_t)column < demo->grid->size[1])
                steps[total++] =
                    (struct step){{rows[i], (size_t)column},
                                  score_of(demo, 0, rows[i]) + score_of(demo, 1, (size_t)column)};
        }
    }
    qsort(steps, total, sizeof *steps, by_score);
    kept = SKEP_MIN(total, demo->beam_size);
    for (size_t i = 0; i < kept; i++)
        out[i] = steps[i].place;
    free(steps);
    return kept;
}

static void print_paths(const struct skep_cmd_demo *demo, const skep_found *found)
{
    size_t coordinates[SKEP_GRID_DIMENSIONS_MAX];

    for (size_t i = 0; i < SKEP_MIN(found->count, (size_t)9); i++) {
        size_t count = coordinates_of(demo, found->experts[i].uid, coordinates);
        double score = 0;

        printf("%8zu  %s", i + 1, demo->prefix);
        for (size_t d = 0; d < count && d < demo->grid->dims; d++) {
            score += score_of(demo, d, coordinates[d]);
            printf(" -> %zu%s (%.2f)", coordinates[d], d + 1 < demo->grid->dims ? "." : "", score);
        }
        putchar('\n');
    }
}

/* What the picture shows, as lists. */
struct drawing {
    struct skep_picture_place *experts, *beam, *found;
    size_t *rows;
};

static bool drawing_init(struct drawing *w, const struct skep_cmd_demo *demo,
                         const skep_found *found)
{
    size_t coordinates[SKEP_GRID_DIMENSIONS_MAX];

    w->experts = calloc(demo->swarm->expert_count + 1, sizeof *w->experts);
    w->beam = calloc(demo->beam_size, sizeof *w->beam);
    w->found = calloc(found->count + 1, sizeof *w->found);
    w->rows = calloc(demo->beam_size, sizeof *w->rows);
    if (!w->experts || !w->beam || !w->found || !w->rows)
        return false;
    for (size_t i = 0; i < demo->swarm->expert_count; i++) {
        skep_cmd_grid_coordinates(demo->grid, demo->swarm->cells[i], coordinates);
        w->experts[i] = place_of(coordinates, demo->grid->dims);
    }
    for (size_t i = 0; i < found->count; i++)
        w->found[i] =
            place_of(coordinates, coordinates_of(demo, found->experts[i].uid, coordinates));
    return true;
}

static void drawing_fini(struct drawing *w)
{
    free(w->experts);
    free(w->beam);
    free(w->found);
    free(w->rows);
}

static int draw_picture(struct skep_cmd_demo *demo, const skep_found *found, struct drawing *w)
{
    const struct skep_cmd_grid *grid = demo->grid;
    struct skep_picture picture = {.rows = grid->dims > 1 ? grid->size[0] : 1,
                                   .columns = grid->dims > 1 ? grid->size[1] : grid->size[0],
                                   .experts = w->experts,
                                   .expert_count = demo->swarm->expert_count,
                                   .beam_rows = w->rows,
                                   .beam = w->beam,
                                   .found = w->found,
                                   .found_count = found->count};
    skep_op *first = grid->dims > 1 ? ask_first(demo, w->rows, &picture.beam_row_count) : NULL;

    if (first && grid->dims > 2)
        picture.beam_count = second_beam(demo, first, w->rows, w->beam);
    skep_op_free(first);
    if (grid->dims > 1)
        printf(
            "\nThe grid's first dimension down, its second across. Experts: . few  : some  + many\n"
            "The beam: > rows kept at the first dimension%s, 1 2 3 the experts found\n",
            grid->dims > 2 ? ", o places kept at the second" : "");
    return skep_picture_print(&picture, stdout, skep_cmd_has_colour());
}

int skep_cmd_demo_print(struct skep_cmd_demo *demo, bool draw)
{
    skep_find_cost cost = {.rounds = 0};
    struct drawing w = {.experts = NULL};
    size_t count = 0;
    const skep_found *found = skep_moe_find_result(demo->found, &count, &cost);
    int rc = 0;

    printf("\nThe best %zu experts by random scores:\n", found->count);
    skep_cmd_search_print_table(found);
    printf("Found in ");
    skep_cmd_search_print_cost(&cost);
    if (draw) {
        rc = drawing_init(&w, demo, found) ? draw_picture(demo, found, &w) : SKEP_ENOMEM;
        drawing_fini(&w);
        printf("\nHow the beam got there, with the sum of scores so far:\n");
        print_paths(demo, found);
    }
    if (rc < 0)
        return skep_session_failed(rc, NULL, "picture");
    return found->count > 0 ? SKEP_EXIT_DONE : SKEP_EXIT_FAILED;
}
