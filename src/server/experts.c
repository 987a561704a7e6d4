/* SPDX-License-Identifier: MIT */
/* Making the experts of a server: which uids, then for each a backend whose parameters come from its checkpoint or are drawn. What takes long, the disk and
 * millions of random numbers, is done by workers, as many experts at once as the runtime will have. */
#include "server/server_impl.h"

#include <stdio.h>

/* ---- uids ---- */

static int add_uid(struct skep_server_core *core, const char *uid)
{
    if (!(core->uids[core->count] = skep_mem_strdup(core->env->mem, uid)))
        return SKEP_ENOMEM;
    core->count++;
    return 0;
}

int skep_server_take_uids(struct skep_server_core *core, const char *const *uids, size_t count)
{
    if (!(core->uids = skep_mem_zalloc(core->env->mem, count, sizeof *core->uids)))
        return SKEP_ENOMEM;
    for (size_t i = 0; i < count; i++)
        if (add_uid(core, uids[i]) < 0)
            return SKEP_ENOMEM;
    return 0;
}

static void fail(struct skep_server_core *core, int rc, const char *text)
{
    core->make_rc = rc;
    snprintf(core->text, sizeof core->text, "%s", text && *text ? text : skep_strerror(rc));
}

static void on_picked(struct skep_pick *pick, int rc, const char *text)
{
    struct skep_server_core *core = SKEP_CONTAINER_OF(pick, struct skep_server_core, pick);

    if (rc == 0) {
        core->uids = pick->uids;
        core->count = pick->count;
        pick->uids = NULL;
        pick->count = 0;
        rc = skep_server_make_experts(core);
    }
    if (rc < 0) {
        fail(core, rc, text);
        skep_server_experts_made(core);
    }
}

static int pick(struct skep_server_core *core, char *why, size_t why_len)
{
    const struct skep_server_core_options *options = &core->options;

    core->pick = (struct skep_pick){.done = on_picked};
    return skep_pick_start(&core->pick, core->env, core->dht, options->pattern,
                           options->num_experts, core->kept, core->kept_count, core->seed, why,
                           why_len);
}

static void list_job(struct skep_work *work)
{
    struct skep_server_core *core = SKEP_CONTAINER_OF(work, struct skep_server_core, list_work);

    core->list_rc =
        skep_checkpoint_list(&core->kept, &core->kept_count, core->env->mem,
                             core->options.checkpoint_dir, core->save_why, sizeof core->save_why);
}

static void on_listed(struct skep_work *work)
{
    struct skep_server_core *core = SKEP_CONTAINER_OF(work, struct skep_server_core, list_work);
    char why[SKEP_SERVER_WHY_MAX] = "";
    int rc = core->list_rc;

    core->jobs--;
    if (core->leaving) {
        skep_server_experts_made(core);
        return;
    }
    if (rc < 0)
        snprintf(why, sizeof why, "%s", core->save_why);
    else
        rc = pick(core, why, sizeof why);
    if (rc < 0) {
        fail(core, rc, why);
        skep_server_experts_made(core);
    }
}

int skep_server_pick_uids(struct skep_server_core *core, char *why, size_t why_len)
{
    int rc;

    if (core->count > 0)
        return skep_server_make_experts(core);
    if (!core->options.checkpoint_dir)
        return pick(core, why, why_len);
    core->list_work = (struct skep_work){.job = list_job, .done = on_listed};
    if ((rc = core->env->work(core->env, &core->list_work)) == 0)
        core->jobs++;
    return rc;
}

/* ---- experts ---- */

/* FNV-1a: an expert's first values follow from the seed and its uid, not from its place among the others. */
static uint64_t hash_of(const char *uid)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (; *uid != '\0'; uid++)
        hash = (hash ^ (uint8_t)*uid) * 0x100000001b3u;
    return hash;
}

static void make_job(struct skep_work *work)
{
    struct server_lane *lane = SKEP_CONTAINER_OF(work, struct server_lane, work);
    struct skep_server_core *core = lane->core;
    struct server_expert *e = lane->expert;
    struct skep_backend *backend = &e->hosted.backend;
    struct skep_prng prng;
    int rc;

    skep_prng_init(&prng, core->seed ^ hash_of(e->uid));
    lane->rc = skep_backend_init(backend, core->env->mem, &core->class, &core->options.training,
                                 core->sgemm, &prng);
    if (lane->rc < 0 || !core->options.checkpoint_dir)
        return;
    rc = skep_checkpoint_load(backend, skep_bytes_str(e->uid), core->options.checkpoint_dir,
                              lane->why, sizeof lane->why);
    if (rc == 0) {
        e->saved_batches = 0;
        e->saved_step = backend->step;
    } else if (rc < 0) {
        lane->rc = rc;
        skep_backend_fini(backend);
    }
}

static int make_next(struct server_lane *lane)
{
    struct skep_server_core *core = lane->core;
    int rc;

    lane->expert = &core->experts[core->next_expert];
    lane->why[0] = '\0';
    if ((rc = core->env->work(core->env, &lane->work)) == 0) {
        core->next_expert++;
        core->jobs++;
    }
    return rc;
}

static void on_made(struct skep_work *work)
{
    struct server_lane *lane = SKEP_CONTAINER_OF(work, struct server_lane, work);
    struct skep_server_core *core = lane->core;
    int rc = lane->rc;

    core->jobs--;
    lane->expert->made = rc == 0;
    if (rc == 0 && core->make_rc == 0 && !core->leaving && core->next_expert < core->count)
        rc = make_next(lane);
    if (rc < 0 && core->make_rc == 0)
        fail(core, rc, lane->why);
    if (core->jobs == 0)
        skep_server_experts_made(core);
}

static int index_experts(struct skep_server_core *core)
{
    for (size_t i = 0; i < core->count; i++) {
        struct server_expert *e = &core->experts[i];

        e->core = core;
        e->uid = core->uids[i];
        e->saved_batches = UINT64_MAX;
        e->saved_step = UINT64_MAX;
        HASH_ADD_KEYPTR(hh, core->by_uid, e->uid, strlen(e->uid), e);
        if (!e->hh.tbl)
            return SKEP_ENOMEM;
    }
    return 0;
}

int skep_server_make_experts(struct skep_server_core *core)
{
    const struct skep_mem *mem = core->env->mem;
    int rc;

    core->lane_count = SKEP_MIN(core->count, (size_t)core->options.workers);
    core->experts = skep_mem_zalloc(mem, core->count, sizeof *core->experts);
    core->lanes = skep_mem_zalloc(mem, core->lane_count, sizeof *core->lanes);
    if (!core->experts || !core->lanes || index_experts(core) < 0)
        return SKEP_ENOMEM;
    for (size_t i = 0; i < core->lane_count; i++) {
        core->lanes[i] =
            (struct server_lane){.work = {.job = make_job, .done = on_made}, .core = core};
        if ((rc = make_next(&core->lanes[i])) < 0)
            return i == 0 ? rc : 0; /* the lanes there are take the rest */
    }
    return 0;
}

void skep_server_experts_fini(struct skep_server_core *core)
{
    const struct skep_mem *mem = core->mem;

    HASH_CLEAR(hh, core->by_uid);
    for (size_t i = 0; core->experts && i < core->count; i++)
        if (core->experts[i].made)
            skep_backend_fini(&core->experts[i].hosted.backend);
    skep_mem_free(mem, core->experts);
    skep_mem_free(mem, core->lanes);
    for (size_t i = 0; core->uids && i < core->count; i++)
        skep_mem_free(mem, core->uids[i]);
    skep_mem_free(mem, core->uids);
    skep_mem_free(mem, core->kept);
    skep_pick_fini(&core->pick);
}
