/* SPDX-License-Identifier: MIT */
/* Those who search: clients with caches of their own, each with one search at a time. What they find is held against the truth. */
#include <math.h>

#include "moe/declare.h"
#include "lab/run.h"

/* Between two searches of a searcher, when time does not pass by itself: below this, drawn. */
#define PAUSE_US (2 * SKEP_SIM_SECOND)
/* A search without a budget that has not answered by then never will. */
#define SEARCH_US_MAX (120 * SKEP_SIM_SECOND)
/* How much later than its budget a search may answer: the deadline's own timer is exact. */
#define LATE_US ((uint64_t)1)
#define TOP_MAX 256

struct searcher {
    struct skep_lab_run *run;
    uint32_t member;
    struct skep_beam *beam;
    struct skep_timer next;
    size_t left;
    /* the search */
    struct skep_search search;
    bool searching;
    struct skep_timer patience;
    uint64_t began_us;
    double **rows; /* [dims] → [grid[d]] */
    /* the value asked for, while time passes */
    struct skep_locate locate;
    bool locating, starting;
    size_t expert;
    uint32_t server;
    double asked_unix_s;
};

static struct skep_dht *dht_of(const struct searcher *w)
{
    return w->run->swarm.members[w->member].dht;
}

/* ---- scores ---- */

/* The sum of twelve uniform numbers less six: as good as normal here, and the same on every machine. */
static double normal(struct skep_prng *prng)
{
    double sum = -6;

    for (int i = 0; i < 12; i++)
        sum += skep_prng_unit(prng);
    return sum;
}

static void draw_scores(struct searcher *w)
{
    const struct skep_lab_scenario *s = w->run->scenario;

    for (size_t d = 0; d < s->dims; d++)
        for (uint32_t i = 0; i < s->grid[d]; i++)
            w->rows[d][i] =
                s->normal_scores ? normal(&w->run->prng) : skep_prng_unit(&w->run->prng);
}

static double **new_rows(const struct skep_mem *mem, const struct skep_lab_scenario *s)
{
    double **rows = skep_mem_zalloc(mem, s->dims, sizeof *rows);

    for (size_t d = 0; rows && d < s->dims; d++)
        if (!(rows[d] = skep_mem_alloc(mem, s->grid[d] * sizeof **rows)))
            return NULL; /* the run is over then; the little that leaks is told as what it is */
    return rows;
}

static void free_rows(const struct skep_mem *mem, double **rows, size_t dims)
{
    for (size_t d = 0; rows && d < dims; d++)
        skep_mem_free(mem, rows[d]);
    skep_mem_free(mem, rows);
}

/* ---- what was found ---- */

/* Can no record have gone missing? Not while all stand still, nobody is dead, every record is on all of its holders, and no message is lost: a get whose calls are
 * lost can take a record for nobody's (docs/simulation.md). */
static bool is_complete(const struct skep_lab_scenario *s)
{
    return !s->real && s->duration_us == 0 && s->dead_ppm == 0 && s->malicious_ppm == 0 &&
           s->faults.loss_ppm == 0;
}

/* Is the answer what it says it is? */
static void check_claims(struct skep_lab_run *run, const struct skep_beam_hits *hits,
                         const double *best, size_t best_count)
{
    double worst = hits->count > 0 ? hits->experts[hits->count - 1].score : -HUGE_VAL;
    bool is_full = hits->count == run->scenario->beam_size;

    for (size_t i = 0; i < best_count; i++) {
        bool found = i < hits->count && hits->experts[i].score >= best[i];

        if (found)
            continue;
        if (hits->exact)
            skep_lab_wrong(
                run, "an answer that claims to be exact lacks an expert that scores %.9g", best[i]);
        else if (best[i] > hits->bound && !(is_full && best[i] <= worst))
            skep_lab_wrong(run, "an expert scores %.9g, above the bound %.9g of the answer",
                           best[i], hits->bound);
        return;
    }
}

static void take_hits(struct searcher *w, const struct skep_beam_hits *hits)
{
    struct skep_lab_run *run = w->run;
    struct skep_lab_report *report = run->report;
    double best[TOP_MAX];
    size_t k = SKEP_MIN(run->scenario->beam_size, (size_t)TOP_MAX);
    size_t count = skep_lab_world_best(&run->world, (const double *const *)w->rows, k, best),
           hit = 0;

    report->hits_wanted += count;
    for (size_t i = 0; i < hits->count && i < count; i++)
        hit += hits->experts[i].score >= best[count - 1];
    report->hits += hit;
    report->unanswered += hits->unanswered > 0;
    report->claimed_exact += hits->exact;
    if (hits->exact || hits->count == 0 || !hits->has_bound)
        skep_lab_samples_add(&report->gap_micro, 0);
    else
        skep_lab_samples_add(
            &report->gap_micro,
            (uint64_t)(SKEP_MAX(hits->bound - hits->experts[hits->count - 1].score, 0.0) * 1e6));
    if (is_complete(run->scenario))
        check_claims(run, hits, best, count);
}

static void go_on(struct searcher *w);

static void end_search(struct searcher *w)
{
    skep_env_stop(&w->run->swarm.clock.env, &w->patience);
    skep_search_fini(&w->search);
    w->searching = false;
    w->run->searching--;
    w->run->searched++;
    if (w->run->progress)
        w->run->progress(w->run->progress_user, "searching", w->run->searched,
                         w->run->scenario->queries);
    go_on(w);
}

static void on_found(struct skep_search *search, int rc)
{
    struct searcher *w = SKEP_CONTAINER_OF(search, struct searcher, search);
    struct skep_lab_run *run = w->run;
    struct skep_lab_report *report = run->report;
    uint64_t took = run->swarm.clock.now_us - w->began_us, budget = run->scenario->budget_us;

    if (rc < 0) {
        skep_lab_wrong(run, "a search failed: %s", skep_error_name(rc));
        end_search(w);
        return;
    }
    report->searches++;
    report->timed_out += search->timed_out;
    if (budget > 0 && took > budget + LATE_US) {
        report->late++;
        skep_lab_wrong(run, "a search with a budget of %llu us answered after %llu us",
                       (unsigned long long)budget, (unsigned long long)took);
    }
    skep_lab_samples_add(&report->latency_us, took);
    skep_lab_samples_add(&report->rounds, search->stats.cost.rounds);
    skep_lab_samples_add(&report->calls, search->stats.cost.calls);
    skep_lab_samples_add(&report->keys, search->stats.cost.keys);
    skep_lab_samples_add(&report->guessed, search->stats.guessed);
    take_hits(w, &search->hits[0]);
    end_search(w);
}

static void on_patience_lost(struct skep_timer *timer)
{
    struct searcher *w = SKEP_CONTAINER_OF(timer, struct searcher, patience);

    skep_lab_wrong(w->run, "a search has not answered for %llu s",
                   (unsigned long long)(SEARCH_US_MAX / SKEP_SIM_SECOND));
    end_search(w);
}

static void start_search(struct searcher *w)
{
    struct skep_lab_run *run = w->run;
    const struct skep_lab_scenario *s = run->scenario;
    struct skep_search_options options = {.beam_size = s->beam_size,
                                          .exact = s->exact,
                                          .keys_max = s->keys_max,
                                          .guess_keys_max = s->guess_keys};
    struct skep_scores scores = {.type = SKEP_GRID_FLOAT64,
                                 .examples = 1,
                                 .dims = s->dims,
                                 .rows = (const void *const *)w->rows};
    int rc;

    draw_scores(w);
    if (!s->keep_caches)
        skep_dht_clear_cache_now(dht_of(w));
    w->began_us = run->swarm.clock.now_us;
    if (s->budget_us > 0)
        options.deadline_us = w->began_us + s->budget_us;
    w->search = (struct skep_search){.done = on_found};
    w->searching = true;
    run->searching++;
    run->begun++;
    w->patience.fire = on_patience_lost;
    skep_env_after(&run->swarm.clock.env, &w->patience, SEARCH_US_MAX);
    rc = skep_find_best_start(&w->search, w->beam, &scores, &options, NULL, 0);
    if (rc < 0) {
        run->rc = rc;
        w->left = 0;
        end_search(w);
    }
}

/* ---- values, while time passes ---- */

static struct skep_lab_minute *minute(struct skep_lab_run *run)
{
    uint64_t at = (run->swarm.clock.now_us - run->started_us) * SKEP_LAB_TIMELINE /
                  run->scenario->duration_us;

    return &run->report->timeline[SKEP_MIN(at, (uint64_t)SKEP_LAB_TIMELINE - 1)];
}

static void look_for_it(struct searcher *w)
{
    char text[SKEP_LAB_UID_MAX];
    struct skep_dht_id key;
    size_t len = skep_lab_world_uid(&w->run->world, w->expert, text);

    if (skep_dht_id_from_str(&key, skep_bytes_of(text, len)) == 0)
        skep_lab_promises_missed(w->run, &key, w->asked_unix_s);
}

static void on_located(struct skep_locate *locate, int rc)
{
    struct searcher *w = SKEP_CONTAINER_OF(locate, struct searcher, locate);
    struct skep_lab_run *run = w->run;
    const struct skep_lab_member *server = &run->swarm.members[w->server];
    bool found = rc == 0 && locate->experts[0].found;

    w->locating = false;
    if (server->dht) { /* it has not died in the meantime */
        if (!found && rc == 0 && locate->experts[0].answered)
            look_for_it(w);
        run->report->values_found += found;
        run->report->values_missed += !found;
        minute(run)->found += found;
        minute(run)->missed += !found;
    }
    skep_locate_fini(locate);
    go_on(w);
}

static void start_locating(struct searcher *w)
{
    struct skep_lab_run *run = w->run;
    char text[SKEP_LAB_UID_MAX];
    skep_bytes uid;

    w->expert = (size_t)skep_prng_below(&run->prng, run->world.count);
    w->server = skep_lab_server_of(run, w->expert);
    if (w->server == SKEP_LAB_NOBODY)
        return;
    uid = skep_bytes_of(text, skep_lab_world_uid(&run->world, w->expert, text));
    w->locate = (struct skep_locate){.done = on_located};
    w->locating = true;
    w->asked_unix_s = skep_lab_swarm_unix_s(&run->swarm);
    if (skep_locate_start(&w->locate, dht_of(w), &uid, 1, NULL, NULL, 0) < 0)
        w->locating = false;
}

/* ---- one after the other ---- */

static void on_next(struct skep_timer *timer)
{
    struct searcher *w = SKEP_CONTAINER_OF(timer, struct searcher, next);

    w->left--;
    w->starting = true; /* either may be over at once */
    if (w->run->scenario->duration_us > 0)
        start_locating(w);
    start_search(w);
    w->starting = false;
    go_on(w);
}

static uint64_t time_left(const struct skep_lab_run *run)
{
    uint64_t end_us = run->started_us + run->scenario->duration_us, now = run->swarm.clock.now_us;

    return end_us > now ? end_us - now : 0;
}

static void go_on(struct searcher *w)
{
    const struct skep_lab_scenario *s = w->run->scenario;
    uint64_t pause = PAUSE_US;

    if (w->starting || w->searching || w->locating || w->left == 0 || skep_timer_running(&w->next))
        return;
    if (s->duration_us > 0)
        pause = SKEP_MIN(time_left(w->run) * 2 / (w->left + 1), time_left(w->run));
    skep_env_after(&w->run->swarm.clock.env, &w->next,
                   skep_prng_below(&w->run->prng, pause + 1) + 1);
}

static int add_searcher(struct skep_lab_run *run, struct searcher *w, size_t index)
{
    const struct skep_lab_scenario *s = run->scenario;
    struct skep_beam_options options;
    struct skep_dht_options node = s->node;
    int rc;

    if (s->one_hop) {
        node.one_hop_nodes_max = SKEP_DHT_ONE_HOP_NODES_MAX;
        node.one_hop_round_us = s->duration_us > 0 ? node.one_hop_round_us : 0;
    }
    rc = skep_lab_swarm_add(&run->swarm, &node, SKEP_LAB_CLIENT, &w->member);
    if (rc < 0)
        return rc;
    w->run = run;
    w->next.fire = on_next;
    w->left = s->queries / s->searchers + (index < s->queries % s->searchers);
    w->rows = new_rows(run->mem, s);
    if (!w->rows)
        return SKEP_ENOMEM;
    skep_beam_options_default(&options);
    options.prefix = skep_bytes_str("expert.");
    options.grid = s->grid;
    options.dims = s->dims;
    return skep_beam_new(&w->beam, dht_of(w), &options, NULL, 0);
}

int skep_lab_searchers_add(struct skep_lab_run *run)
{
    size_t count = run->scenario->searchers;
    int rc = 0;

    run->searchers = skep_mem_zalloc(run->mem, count, sizeof *run->searchers);
    if (!run->searchers)
        return SKEP_ENOMEM;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = add_searcher(run, &run->searchers[i], i);
    return rc;
}

int skep_lab_searchers_run(struct skep_lab_run *run)
{
    const struct skep_lab_scenario *s = run->scenario;
    uint64_t until = run->swarm.clock.now_us + s->duration_us;

    for (size_t i = 0; i < s->searchers; i++)
        go_on(&run->searchers[i]);
    if (s->duration_us > 0) {
        while (run->rc == 0 && skep_sim_clock_step(&run->swarm.clock, until))
            ;
        /* Those who have begun end. */
        while (run->rc == 0 && run->searched < s->queries &&
               skep_sim_clock_step(&run->swarm.clock, SKEP_NEVER_US))
            ;
        return run->rc;
    }
    while (run->rc == 0 && run->searched < s->queries &&
           skep_sim_clock_step(&run->swarm.clock, SKEP_NEVER_US))
        ;
    return run->rc;
}

void skep_lab_searchers_fini(struct skep_lab_run *run)
{
    for (size_t i = 0; run->searchers && i < run->scenario->searchers; i++) {
        struct searcher *w = &run->searchers[i];

        if (!w->run)
            continue;
        skep_env_stop(&run->swarm.clock.env, &w->next);
        skep_env_stop(&run->swarm.clock.env, &w->patience);
        skep_search_fini(&w->search);
        skep_locate_fini(&w->locate);
        skep_beam_free(w->beam);
        free_rows(run->mem, w->rows, run->scenario->dims);
    }
    skep_mem_free(run->mem, run->searchers);
    run->searchers = NULL;
}
