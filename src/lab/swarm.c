/* SPDX-License-Identifier: MIT */
#include "lab/swarm.h"

/* How long somebody who could not join waits before the next try. */
#define JOIN_AGAIN_US SKEP_SIM_SECOND

struct joining {
    struct skep_dht_join join;
    struct skep_timer again;
    struct skep_list entry; /* swarm->joining */
    struct skep_lab_swarm *swarm;
    uint32_t member;
    void (*joined)(void *user, uint32_t member);
    void *user;
};

int skep_lab_swarm_init(struct skep_lab_swarm *swarm, const struct skep_mem *mem, uint64_t seed,
                        const struct skep_sim_faults *faults, uint64_t skew_us)
{
    *swarm = (struct skep_lab_swarm){.mem = mem, .skew_us = skew_us};
    skep_sim_clock_init(&swarm->clock, mem, seed);
    swarm->clock.env.log_level = SKEP_LOG_ERROR;
    skep_prng_init(&swarm->prng, seed ^ 0x7377);
    skep_list_init(&swarm->joining);
    return skep_sim_net_new(&swarm->net, &swarm->clock, seed, faults);
}

static void free_joining(struct joining *j)
{
    struct skep_lab_member *member = &j->swarm->members[j->member];

    if (member->dht)
        skep_dht_cancel(member->dht, &j->join.op);
    skep_env_stop(&j->swarm->clock.env, &j->again);
    skep_list_remove(&j->entry);
    skep_mem_free(j->swarm->mem, j);
}

void skep_lab_swarm_fini(struct skep_lab_swarm *swarm)
{
    while (!skep_list_empty(&swarm->joining))
        free_joining(SKEP_LIST_ITEM(swarm->joining.next, struct joining, entry));
    for (size_t i = 0; i < swarm->count; i++) {
        skep_dht_free(swarm->members[i].dht);
        skep_lab_malice_free(swarm->members[i].malice);
    }
    for (size_t i = 0; i < swarm->count; i++)
        skep_mem_free(swarm->mem, swarm->members[i].env);
    skep_sim_net_free(swarm->net);
    skep_mem_free(swarm->mem, swarm->members);
    skep_mem_free(swarm->mem, swarm->living);
    skep_sim_clock_fini(&swarm->clock);
}

static int reserve(const struct skep_mem *mem, void **array, size_t *cap, size_t count, size_t size)
{
    size_t wanted = *cap > 0 ? *cap * 2 : 64;
    void *grown;

    if (count < *cap)
        return 0;
    if (!(grown = skep_mem_resize(mem, *array, wanted * size)))
        return SKEP_ENOMEM;
    *array = grown;
    *cap = wanted;
    return 0;
}

/* A clock of its own, wrong by up to skew_us. */
static int draw_clock(struct skep_lab_swarm *swarm, struct skep_lab_member *member)
{
    int64_t skew_us;

    if (swarm->skew_us == 0)
        return 0;
    member->env = skep_mem_zalloc(swarm->mem, 1, sizeof *member->env);
    if (!member->env)
        return SKEP_ENOMEM;
    skew_us =
        (int64_t)skep_prng_below(&swarm->prng, 2 * swarm->skew_us + 1) - (int64_t)swarm->skew_us;
    skep_sim_clock_env(&swarm->clock, member->env, (double)skew_us / 1e6);
    return 0;
}

int skep_lab_swarm_add(struct skep_lab_swarm *swarm, const struct skep_dht_options *options,
                       enum skep_lab_role role, uint32_t *out)
{
    struct skep_dht_options own;
    struct skep_lab_member member = {.role = role, .place = SKEP_LAB_NOBODY};
    void *members = swarm->members;
    int rc = reserve(swarm->mem, &members, &swarm->cap, swarm->count, sizeof *swarm->members);

    swarm->members = members;
    if (rc == 0)
        rc = skep_sim_net_add(swarm->net, &member.rpc);
    if (rc < 0)
        return rc;
    if (options)
        own = *options;
    else
        skep_dht_options_default(&own);
    own.client_mode = role == SKEP_LAB_CLIENT;
    own.has_node_id = true;
    skep_prng_fill(&swarm->prng, own.node_id.bytes, SKEP_DHT_ID_LEN);
    member.id = own.node_id;
    if (role == SKEP_LAB_CLIENT)
        skep_sim_net_set_reachable(swarm->net, skep_sim_net_index(member.rpc), false);
    if (role == SKEP_LAB_MALICIOUS)
        rc = skep_lab_malice_new(
            &member.malice, &swarm->clock.env, member.rpc, &member.id,
            (enum skep_lab_vice)skep_prng_below(&swarm->prng, SKEP_LAB_VICE_COUNT),
            skep_prng_u64(&swarm->prng));
    else
        rc = draw_clock(swarm, &member);
    if (rc == 0 && role != SKEP_LAB_MALICIOUS)
        rc = skep_dht_new(&member.dht, member.env ? &member.env->env : &swarm->clock.env,
                          member.rpc, &own);
    *out = (uint32_t)swarm->count;
    swarm->members[swarm->count++] = member; /* also without a node: the net has it */
    return rc;
}

int skep_lab_swarm_welcome(struct skep_lab_swarm *swarm, uint32_t index)
{
    struct skep_lab_member *member = &swarm->members[index];
    void *living = swarm->living;
    int rc = reserve(swarm->mem, &living, &swarm->living_cap, swarm->living_count,
                     sizeof *swarm->living);

    swarm->living = living;
    if (rc < 0)
        return rc;
    member->joined = true;
    if (member->role != SKEP_LAB_FULL)
        return 0;
    member->place = (uint32_t)swarm->living_count;
    swarm->living[swarm->living_count++] = index;
    return 0;
}

static void leave_living(struct skep_lab_swarm *swarm, struct skep_lab_member *member)
{
    uint32_t last;

    if (member->place == SKEP_LAB_NOBODY)
        return;
    last = swarm->living[--swarm->living_count];
    swarm->living[member->place] = last;
    swarm->members[last].place = member->place;
    member->place = SKEP_LAB_NOBODY;
}

void skep_lab_swarm_kill(struct skep_lab_swarm *swarm, uint32_t index, enum skep_sim_state how)
{
    struct skep_lab_member *member = &swarm->members[index];

    SKEP_LIST_EACH(&swarm->joining, entry, after)
    {
        struct joining *j = SKEP_LIST_ITEM(entry, struct joining, entry);

        if (j->member == index)
            free_joining(j);
    }
    leave_living(swarm, member);
    skep_sim_net_set_state(swarm->net, index, how);
    skep_dht_free(member->dht);
    skep_mem_free(swarm->mem, member->env);
    member->dht = NULL;
    member->env = NULL;
    member->joined = false;
}

uint32_t skep_lab_swarm_any(struct skep_lab_swarm *swarm)
{
    if (swarm->living_count == 0)
        return SKEP_LAB_NOBODY;
    return swarm->living[skep_prng_below(&swarm->prng, swarm->living_count)];
}

/* ---- joins ---- */

static void try_again(struct joining *j)
{
    skep_env_after(&j->swarm->clock.env, &j->again, JOIN_AGAIN_US);
}

static void on_joined(struct skep_dht_join *join, int rc, const char *text)
{
    struct joining *j = SKEP_CONTAINER_OF(join, struct joining, join);
    struct skep_lab_swarm *swarm = j->swarm;
    void (*joined)(void *, uint32_t) = j->joined;
    void *user = j->user;
    uint32_t member = j->member;

    (void)text;
    if (rc == 0)
        rc = skep_lab_swarm_welcome(swarm, member);
    if (rc < 0) {
        swarm->joins_failed++;
        try_again(j);
        return;
    }
    free_joining(j);
    if (joined)
        joined(user, member);
}

static void on_again(struct skep_timer *timer)
{
    struct joining *j = SKEP_CONTAINER_OF(timer, struct joining, again);
    uint32_t via = skep_lab_swarm_any(j->swarm);
    char maddr[SKEP_SIM_MADDR_MAX];
    const char *list[1] = {maddr};

    if (via == SKEP_LAB_NOBODY || skep_sim_net_maddr(maddr, via) == NULL ||
        skep_dht_join_start(j->swarm->members[j->member].dht, &j->join, list, 1) < 0)
        try_again(j);
}

/* Who lies becomes known as others do. */
static void greet(struct skep_lab_swarm *swarm, struct skep_lab_malice *malice)
{
    uint32_t via = skep_lab_swarm_any(swarm);

    if (via != SKEP_LAB_NOBODY)
        skep_lab_malice_greet(malice, &swarm->members[via].rpc->self);
}

int skep_lab_swarm_join(struct skep_lab_swarm *swarm, uint32_t member,
                        void (*joined)(void *user, uint32_t member), void *user)
{
    struct joining *j;

    if (swarm->members[member].malice) {
        greet(swarm, swarm->members[member].malice);
        return 0;
    }
    j = skep_mem_zalloc(swarm->mem, 1, sizeof *j);
    if (!j)
        return SKEP_ENOMEM;
    *j = (struct joining){.join = {.done = on_joined},
                          .again = {.fire = on_again},
                          .swarm = swarm,
                          .member = member,
                          .joined = joined,
                          .user = user};
    skep_list_push_back(&swarm->joining, &j->entry);
    return skep_env_after(&swarm->clock.env, &j->again, 0);
}
