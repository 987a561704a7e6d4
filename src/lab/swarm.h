/* SPDX-License-Identifier: MIT */
/* A swarm in virtual time: real DHT nodes over the simulated call seam, that join, live and die. */
#ifndef SKEP_LAB_SWARM_H
#define SKEP_LAB_SWARM_H

#include "base/list.h"
#include "dht/node.h"
#include "lab/malice.h"
#include "sim/sim_rpc.h"

#define SKEP_LAB_NOBODY UINT32_MAX

enum skep_lab_role { SKEP_LAB_FULL, SKEP_LAB_CLIENT, SKEP_LAB_MALICIOUS };

struct skep_lab_member {
    struct skep_rpc *rpc;
    struct skep_dht *dht; /* NULL: it is dead, or malicious */
    struct skep_lab_malice *malice;
    struct skep_sim_env *env; /* NULL: its clock is right */
    struct skep_dht_id id;
    enum skep_lab_role role;
    bool joined;
    uint32_t place; /* among `living`; SKEP_LAB_NOBODY: it is not there */
};

struct skep_lab_swarm {
    const struct skep_mem *mem;
    struct skep_sim_clock clock;
    struct skep_sim_net *net;
    struct skep_prng prng;
    uint64_t skew_us;
    struct skep_lab_member *members; /* [count], by their index in the net */
    size_t count, cap;
    uint32_t *living; /* [living_count]: full members that have joined and not died */
    size_t living_count, living_cap;
    struct skep_list joining; /* of struct joining, swarm.c */
    uint64_t joins_failed;    /* and tried again by way of somebody else */
};

/** @param skew_us  Members' wall clocks are wrong by up to so much, either way. @return 0, SKEP_ENOMEM. */
int skep_lab_swarm_init(struct skep_lab_swarm *swarm, const struct skep_mem *mem, uint64_t seed,
                        const struct skep_sim_faults *faults, uint64_t skew_us);
void skep_lab_swarm_fini(struct skep_lab_swarm *swarm);

/** A member that knows nobody yet. @param options  NULL: the defaults; node id and client mode are set here. @return 0, SKEP_ENOMEM. */
int skep_lab_swarm_add(struct skep_lab_swarm *swarm, const struct skep_dht_options *options,
                       enum skep_lab_role role, uint32_t *out);

/** It counts as joined from now on, by whatever way. @return 0, SKEP_ENOMEM. */
int skep_lab_swarm_welcome(struct skep_lab_swarm *swarm, uint32_t member);

/** Join by way of somebody living, again and again until it works. `joined` (may be NULL) is told. @return 0, SKEP_ENOMEM. */
int skep_lab_swarm_join(struct skep_lab_swarm *swarm, uint32_t member,
                        void (*joined)(void *user, uint32_t member), void *user);

/** Silent: the machine is gone; refusing: only the program. */
void skep_lab_swarm_kill(struct skep_lab_swarm *swarm, uint32_t member, enum skep_sim_state how);

/** A living full member, drawn; SKEP_LAB_NOBODY: there is none. */
uint32_t skep_lab_swarm_any(struct skep_lab_swarm *swarm);

static inline double skep_lab_swarm_unix_s(struct skep_lab_swarm *swarm)
{
    return skep_env_unix_s(&swarm->clock.env);
}

#endif
