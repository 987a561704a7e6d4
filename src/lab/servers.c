/* SPDX-License-Identifier: MIT */
/* The full members at work: each serves its share of the experts and declares them; when one's session ends another takes its place, and its experts. */
#include "moe/declare.h"
#include "lab/run.h"

struct server {
    struct skep_lab_run *run;
    uint32_t slot, member;
    struct skep_timer declare_timer, session_timer;
    struct skep_declare declare;
    bool declaring, declared; /* declared: at least once, with success */
    skep_bytes *uids;         /* [uid_count] */
    char *texts;
    size_t uid_count;
};

/* ---- declarations ---- */

static void declare_again(struct server *s, uint64_t delay_us)
{
    if (s->run->scenario->declare_every_us > 0)
        skep_env_after(&s->run->swarm.clock.env, &s->declare_timer, delay_us);
}

static void on_declared(struct skep_declare *declare, int rc)
{
    struct server *s = SKEP_CONTAINER_OF(declare, struct server, declare);
    bool all = rc == 0;

    for (size_t i = 0; i < declare->record_count; i++)
        all &= declare->records[i].accepted > 0;
    s->declared |= all;
    s->declaring = false;
    skep_declare_fini(declare);
}

static void start_declaring(struct server *s)
{
    struct skep_lab_swarm *swarm = &s->run->swarm;
    struct skep_lab_member *member = &swarm->members[s->member];
    uint64_t every = s->run->scenario->declare_every_us;
    double ttl = every > 0 ? 2 * ((double)every / 1e6) : 24 * 3600;
    int rc;

    if (s->declaring || s->uid_count == 0 || !member->dht)
        return;
    s->declare = (struct skep_declare){.done = on_declared};
    s->declaring = true;
    rc = skep_declare_start(&s->declare, member->dht, s->uids, s->uid_count, &member->rpc->self,
                            skep_lab_swarm_unix_s(swarm) + ttl, NULL, NULL, 0);
    if (rc < 0) {
        s->declaring = false;
        s->run->rc = rc;
    }
}

static void on_time_to_declare(struct skep_timer *timer)
{
    struct server *s = SKEP_CONTAINER_OF(timer, struct server, declare_timer);

    start_declaring(s);
    declare_again(s, s->run->scenario->declare_every_us);
}

/* ---- sessions ---- */

static void on_joined(void *user, uint32_t member)
{
    struct server *s = user;

    (void)member;
    start_declaring(s);
    declare_again(s, s->run->scenario->declare_every_us);
}

static void live(struct server *s)
{
    const struct skep_sim_session *session = &s->run->scenario->session;

    if (session->median_us > 0 && !s->run->swarm.members[s->member].malice)
        skep_env_after(&s->run->swarm.clock.env, &s->session_timer,
                       skep_sim_session_us(&s->run->prng, session));
}

static void on_session_over(struct skep_timer *timer)
{
    struct server *s = SKEP_CONTAINER_OF(timer, struct server, session_timer);
    struct skep_lab_run *run = s->run;
    enum skep_lab_role role = run->swarm.members[s->member].role;
    int rc;

    skep_env_stop(&run->swarm.clock.env, &s->declare_timer);
    skep_declare_fini(&s->declare);
    s->declaring = s->declared = false;
    /* Half of them are machines that are gone, half only programs that have ended. */
    skep_lab_swarm_kill(&run->swarm, s->member,
                        skep_prng_below(&run->prng, 2) ? SKEP_SIM_SILENT : SKEP_SIM_REFUSING);
    run->report->deaths++;
    rc = skep_lab_swarm_add(&run->swarm, &run->scenario->node, role, &s->member);
    if (rc == 0)
        rc = skep_lab_swarm_join(&run->swarm, s->member, on_joined, s);
    if (rc < 0)
        run->rc = rc;
    run->report->births++;
    live(s);
}

/* ---- the start and the end ---- */

static int name_experts(struct server *s)
{
    const struct skep_lab_world *world = &s->run->world;
    size_t owners = s->run->scenario->nodes;

    s->uid_count = s->run->swarm.members[s->member].malice
                       ? 0
                       : world->count / owners + (s->slot < world->count % owners);
    s->uids = skep_mem_alloc(s->run->mem, (s->uid_count + 1) * sizeof *s->uids);
    s->texts = skep_mem_alloc(s->run->mem, (s->uid_count + 1) * SKEP_LAB_UID_MAX);
    if (!s->uids || !s->texts)
        return SKEP_ENOMEM;
    for (size_t i = 0; i < s->uid_count; i++) {
        char *text = s->texts + i * SKEP_LAB_UID_MAX;

        s->uids[i] = skep_bytes_of(text, skep_lab_world_uid(world, s->slot + i * owners, text));
    }
    return 0;
}

static bool any_declaring(const struct skep_lab_run *run)
{
    for (size_t i = 0; i < run->scenario->nodes; i++)
        if (run->servers[i].declaring || skep_timer_running(&run->servers[i].declare_timer))
            return true;
    return false;
}

int skep_lab_servers_start(struct skep_lab_run *run)
{
    size_t count = run->scenario->nodes;
    bool is_placed = !run->scenario->real && run->scenario->declare_every_us == 0;
    int rc = 0;

    run->servers = skep_mem_zalloc(run->mem, count, sizeof *run->servers);
    if (!run->servers)
        return SKEP_ENOMEM;
    for (size_t i = 0; i < count && rc == 0; i++) {
        struct server *s = &run->servers[i];

        *s = (struct server){.run = run, .slot = (uint32_t)i, .member = (uint32_t)i};
        s->declare_timer.fire = on_time_to_declare;
        s->session_timer.fire = on_session_over;
        rc = name_experts(s);
        if (is_placed) {
            s->declared = s->uid_count > 0;
            continue;
        }
        /* Not all at the same moment. */
        if (rc == 0)
            rc = skep_env_after(&run->swarm.clock.env, &s->declare_timer,
                                skep_prng_below(&run->prng, 30 * SKEP_SIM_SECOND));
    }
    while (rc == 0 && run->rc == 0 && any_declaring(run) && run->scenario->declare_every_us == 0 &&
           skep_sim_clock_step(&run->swarm.clock, SKEP_NEVER_US))
        ;
    if (rc == 0 && run->scenario->declare_every_us > 0)
        skep_sim_clock_run_for(&run->swarm.clock, 60 * SKEP_SIM_SECOND);
    return rc < 0 ? rc : run->rc;
}

void skep_lab_servers_live(struct skep_lab_run *run)
{
    for (size_t i = 0; i < run->scenario->nodes; i++)
        live(&run->servers[i]);
}

uint32_t skep_lab_server_of(const struct skep_lab_run *run, size_t expert)
{
    const struct server *s = &run->servers[expert % run->scenario->nodes];

    return s->declared ? s->member : SKEP_LAB_NOBODY;
}

void skep_lab_servers_stop(struct skep_lab_run *run)
{
    for (size_t i = 0; run->servers && i < run->scenario->nodes; i++) {
        struct server *s = &run->servers[i];

        if (!s->run)
            continue;
        skep_env_stop(&run->swarm.clock.env, &s->declare_timer);
        skep_env_stop(&run->swarm.clock.env, &s->session_timer);
        skep_declare_fini(&s->declare);
        s->declaring = false;
    }
}

void skep_lab_servers_fini(struct skep_lab_run *run)
{
    skep_lab_servers_stop(run);
    for (size_t i = 0; run->servers && i < run->scenario->nodes; i++) {
        skep_mem_free(run->mem, run->servers[i].uids);
        skep_mem_free(run->mem, run->servers[i].texts);
    }
    skep_mem_free(run->mem, run->servers);
    run->servers = NULL;
}
