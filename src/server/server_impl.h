/* SPDX-License-Identifier: MIT */
/* What the parts of an expert server share: server.c (life), experts.c (making them), declaring.c and saving.c. */
#ifndef SKEP_SERVER_IMPL_H
#define SKEP_SERVER_IMPL_H

#include "base/map.h"
#include "moe/declare.h"
#include "server/checkpoint.h"
#include "server/pick.h"
#include "server/server.h"

/** One of the experts. */
struct server_expert {
    struct skep_hosted hosted;
    struct skep_server_core *core;
    const char *uid;
    UT_hash_handle hh; /* core->by_uid */
    bool made;
    /* saving */
    struct skep_exclusive save;
    uint64_t
        saved_batches; /* backward batches that the last checkpoint has seen; UINT64_MAX: there is none */
    uint64_t saved_step; /* of a worker's */
    int save_rc;         /* 1: nothing had changed */
};

/** A worker that makes one expert after the other. */
struct server_lane {
    struct skep_work work;
    struct skep_server_core *core;
    struct server_expert *expert;
    int rc;
    char why[SKEP_CHECKPOINT_WHY_MAX];
};

struct skep_server_core {
    struct skep_env *env;
    const struct skep_mem *mem;
    struct skep_rpc *rpc;
    struct skep_dht *dht;
    struct skep_class class;
    skep_sgemm_fn *sgemm;
    struct skep_server_core_options options; /* pointers: our copies */
    struct skep_peer_id *allow_backward;
    uint64_t seed;
    double expiration_s;
    enum { NEW, STARTING, SERVING, STOPPING, STOPPED } state;
    bool leaving; /* stopped before it served, or freed */
    bool freeing;
    unsigned jobs;          /* of ours with workers */
    struct skep_timer soon; /* to tell what is over outside of any call */
    skep_server_core_done *start_done, *stop_done;
    void *start_user, *stop_user;
    bool start_over; /* start_rc and `text` are to be told */
    int start_rc, stop_rc;
    char text[SKEP_SERVER_WHY_MAX];
    void (*gone)(void *user);
    void *gone_user;

    /* uids and experts */
    struct skep_pick pick;
    char **uids; /* [count] */
    size_t count;
    struct server_expert *experts; /* [count] */
    struct server_expert *by_uid;
    struct skep_work list_work;
    char **kept; /* checkpoints in the folder */
    size_t kept_count;
    int list_rc;
    struct server_lane *lanes; /* [lane_count] */
    size_t lane_count, next_expert;
    int make_rc;

    /* serving */
    struct skep_runtime *runtime;
    struct skep_handler *handler;

    /* declaring */
    struct skep_declare declare;
    bool declaring;
    struct skep_timer declare_timer;
    uint64_t declared_us; /* when the last one began */
    skep_bytes *uid_views;

    /* saving */
    struct skep_timer save_timer;
    bool saving;
    size_t save_at; /* the next to look at */
    bool last_save; /* of the stop */
    size_t unsaved; /* in this pass */
    char save_why[SKEP_CHECKPOINT_WHY_MAX];

    struct skep_server_core_stats stats;
};

/** The start is over, with core->text: whoever waits for it will be told. */
void skep_server_started(struct skep_server_core *core, int rc);

/* experts.c: uids are known; then `core_serve` or a failed start */
int skep_server_pick_uids(struct skep_server_core *core, char *why, size_t why_len);
int skep_server_take_uids(struct skep_server_core *core, const char *const *uids, size_t count);
int skep_server_make_experts(struct skep_server_core *core);
void skep_server_experts_fini(struct skep_server_core *core);
/** All are made, or one could not be; server.c. */
void skep_server_experts_made(struct skep_server_core *core);

/* declaring.c */
void skep_server_declaring_init(struct skep_server_core *core);
void skep_server_declare_now(struct skep_server_core *core);
void skep_server_declaring_stop(struct skep_server_core *core);

/* saving.c */
void skep_server_saving_init(struct skep_server_core *core);
void skep_server_saving_start(struct skep_server_core *core);
/** One last pass; then skep_server_saved(). */
void skep_server_save_last(struct skep_server_core *core);
void skep_server_saving_stop(struct skep_server_core *core);
/** The last pass is over; server.c. */
void skep_server_saved(struct skep_server_core *core);

#endif
