/* SPDX-License-Identifier: MIT */
/* Checkpoints of a server: every update_period, and when it stops, each expert whose parameters changed is written, one after the other, by a worker that has the
 * expert for itself. What could not be written is tried again in the next pass. hivemind moe/server/checkpoints.py. */
#include "server/server_impl.h"

static void save_next(struct skep_server_core *core);

static void on_worker(struct skep_exclusive *job, struct skep_hosted *hosted)
{
    struct server_expert *e = SKEP_CONTAINER_OF(job, struct server_expert, save);
    struct skep_server_core *core = e->core;

    /* A step that was refused left the parameters as they were. */
    e->save_rc = 1;
    if (hosted->backend.step == e->saved_step)
        return;
    e->save_rc =
        skep_checkpoint_save(&hosted->backend, skep_bytes_str(e->uid), core->options.checkpoint_dir,
                             core->save_why, sizeof core->save_why);
    if (e->save_rc == 0)
        e->saved_step = hosted->backend.step;
}

static void on_saved(struct skep_exclusive *job, struct skep_hosted *hosted)
{
    struct server_expert *e = SKEP_CONTAINER_OF(job, struct server_expert, save);
    struct skep_server_core *core = e->core;

    /* On the loop, and the expert still ours: a batch that comes now counts beyond this. */
    if (e->save_rc >= 0)
        e->saved_batches = hosted->stats.backward_batches;
    if (e->save_rc == 0)
        core->stats.checkpoints++;
    if (e->save_rc < 0) {
        core->stats.checkpoints_failed++;
        core->unsaved++;
        skep_log(core->env, SKEP_LOG_ERROR, "checkpoint not written: %s",
                 *core->save_why ? core->save_why : skep_strerror(e->save_rc));
    }
    save_next(core);
}

static bool is_changed(const struct server_expert *e)
{
    return e->saved_batches != e->hosted.stats.backward_batches;
}

static void pass_over(struct skep_server_core *core)
{
    core->saving = false;
    if (core->last_save)
        skep_server_saved(core);
    else
        skep_server_saving_start(core);
}

static void begin_pass(struct skep_server_core *core)
{
    core->saving = true;
    core->save_at = 0;
    core->unsaved = 0;
    save_next(core);
}

static void save_next(struct skep_server_core *core)
{
    if (core->freeing || (core->state == STOPPING && !core->last_save)) {
        core->saving = false; /* the last pass comes when the runtime is idle */
        return;
    }
    while (core->save_at < core->count) {
        struct server_expert *e = &core->experts[core->save_at++];

        if (!is_changed(e))
            continue;
        e->save = (struct skep_exclusive){.run = on_worker, .done = on_saved};
        core->save_why[0] = '\0';
        skep_runtime_exclusive(core->runtime, &e->hosted, &e->save);
        return;
    }
    pass_over(core);
}

static void on_period(struct skep_timer *timer)
{
    begin_pass(SKEP_CONTAINER_OF(timer, struct skep_server_core, save_timer));
}

void skep_server_saving_init(struct skep_server_core *core)
{
    core->save_timer.fire = on_period;
}

void skep_server_saving_start(struct skep_server_core *core)
{
    if (!core->options.checkpoint_dir)
        return;
    if (skep_env_after(core->env, &core->save_timer, core->options.update_period_us) < 0)
        skep_log(core->env, SKEP_LOG_ERROR, "out of memory: no more checkpoints until the end");
}

void skep_server_save_last(struct skep_server_core *core)
{
    core->last_save = true;
    if (core->options.checkpoint_dir)
        begin_pass(core);
    else
        skep_server_saved(core);
}

void skep_server_saving_stop(struct skep_server_core *core)
{
    skep_env_stop(core->env, &core->save_timer);
}
