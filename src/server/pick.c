/* SPDX-License-Identifier: MIT */
/* Picking uids; see pick.h. A round draws some more than are still wanted, and asks the DHT for all of them at once:
 *
 *   start --> [round: draw, locate] --not enough--> the next, with twice as many spare ones --> … --> done */
#include "server/pick.h"

#include <stdio.h>

#include "moe/uid.h"
#include "server/uid_picker.h"

enum {
    ROUND_MAX = 4096,
    DOUBLINGS_MAX = 6,
    COUNTING_MAX = 1 << 20 /* of "expert.0", "expert.1" … */
};

static const char counting_pattern[] = "expert.[0:1048576]";
#define ROUND_US ((uint64_t)10000000)

struct pick {
    struct skep_pick *pick;
    struct skep_env *env;
    struct skep_dht *dht;
    struct skep_timer
        step; /* each step begins at the loop: nothing calls back from inside the start */
    struct skep_locate locate;
    bool counting;
    struct skep_uid_pattern pattern;
    struct skep_prng prng;
    struct skep_uid_picker picker;
    uint64_t counted;    /* the next, where we count */
    size_t wanted, kept; /* of pick->uids the first `kept` have a checkpoint */
    uint64_t looked_at;
    unsigned round;
    char **batch; /* [batch_count] asked for now */
    size_t batch_count;
    skep_bytes views[ROUND_MAX];
    char text[]; /* the pattern's */
};

/* ---- drawing ---- */

static bool is_kept(const struct pick *p, const char *uid)
{
    for (size_t i = 0; i < p->kept; i++)
        if (strcmp(p->pick->uids[i], uid) == 0)
            return true;
    return false;
}

/* @return its length; SKEP_ELIMIT: there is none; SKEP_ENOMEM. */
static int next_uid(struct pick *p, char *uid, size_t len)
{
    int rc = SKEP_ELIMIT;

    if (!p->counting)
        return skep_uid_picker_next(&p->picker, uid, len, NULL, 0);
    while (p->counted < p->pattern.size) {
        rc = skep_uid_pattern_uid(&p->pattern, p->counted++, uid, len);
        if (rc < 0 || !is_kept(p, uid))
            break;
        rc = SKEP_ELIMIT;
    }
    return rc;
}

static int draw_batch(struct pick *p)
{
    size_t missing = p->wanted - p->pick->count;
    size_t most =
        SKEP_MIN(missing << SKEP_MIN(p->round, (unsigned)DOUBLINGS_MAX), (size_t)ROUND_MAX);
    char uid[SKEP_UID_LEN_MAX + 1];
    int rc = 0;

    p->round++;
    if (!(p->batch = skep_mem_zalloc(p->env->mem, most, sizeof *p->batch)))
        return SKEP_ENOMEM;
    while (p->batch_count < most && (rc = next_uid(p, uid, sizeof uid)) >= 0) {
        if (!(p->batch[p->batch_count] = skep_mem_strdup(p->env->mem, uid)))
            return SKEP_ENOMEM;
        p->batch_count++;
        p->looked_at++;
    }
    return rc < 0 && (rc != SKEP_ELIMIT || p->batch_count == 0) ? rc : 0;
}

static void drop_batch(struct pick *p)
{
    for (size_t i = 0; i < p->batch_count; i++)
        skep_mem_free(p->env->mem, p->batch[i]);
    skep_mem_free(p->env->mem, p->batch);
    p->batch = NULL;
    p->batch_count = 0;
}

/* ---- rounds ---- */

static void free_state(struct pick *p)
{
    skep_uid_picker_fini(&p->picker);
    skep_env_stop(p->env, &p->step);
    skep_locate_fini(&p->locate);
    drop_batch(p);
    skep_mem_free(p->env->mem, p);
}

static void end(struct pick *p, int rc)
{
    struct skep_pick *pick = p->pick;
    char text[SKEP_PICK_TEXT_MAX] = "";

    if (rc == SKEP_ELIMIT)
        snprintf(text, sizeof text,
                 "only %zu of %zu uids of the pattern \"%.200s\" are free, of %llu looked at",
                 pick->count, p->wanted, p->text, (unsigned long long)p->looked_at);
    else if (rc < 0)
        snprintf(text, sizeof text, "cannot pick uids: %s", skep_strerror(rc));
    pick->state = NULL;
    free_state(p);
    pick->done(pick, rc, text);
}

static bool is_taken(const struct pick *p, const struct skep_located *located)
{
    return located->found && !skep_peer_id_equal(&located->peer, &skep_dht_rpc(p->dht)->self);
}

/* @param located  NULL: all of the batch are free. */
static void take_free(struct pick *p, const struct skep_located *located)
{
    struct skep_pick *pick = p->pick;

    for (size_t i = 0; i < p->batch_count && pick->count < p->wanted; i++) {
        if (located && is_taken(p, &located[i]))
            continue;
        pick->uids[pick->count++] = p->batch[i];
        p->batch[i] = NULL;
    }
    drop_batch(p);
}

/* Who did not answer for its records does not keep us waiting: what was not found is free, as to hivemind. */
static void on_located(struct skep_locate *locate, int rc)
{
    struct pick *p = SKEP_CONTAINER_OF(locate, struct pick, locate);

    (void)rc;
    take_free(p, locate->experts);
    skep_locate_fini(locate);
    skep_env_after(p->env, &p->step, 0);
}

static int ask(struct pick *p)
{
    const struct skep_dht_get_options options = {.deadline_us = skep_env_now_us(p->env) + ROUND_US};

    for (size_t i = 0; i < p->batch_count; i++)
        p->views[i] = skep_bytes_str(p->batch[i]);
    p->locate = (struct skep_locate){.done = on_located};
    return skep_locate_start(&p->locate, p->dht, p->views, p->batch_count, &options, NULL, 0);
}

static void on_step(struct skep_timer *timer)
{
    struct pick *p = SKEP_CONTAINER_OF(timer, struct pick, step);
    int rc;

    if (p->pick->count == p->wanted) {
        end(p, 0);
        return;
    }
    if ((rc = draw_batch(p)) == 0 && p->dht)
        rc = ask(p);
    if (rc < 0) {
        end(p, rc);
    } else if (!p->dht) {
        take_free(p, NULL);
        skep_env_after(p->env, &p->step, 0);
    }
}

/* ---- start ---- */

static int refuse(char *why, size_t why_len, int rc, const char *text)
{
    if (why_len > 0)
        snprintf(why, why_len, "%s", text);
    return rc;
}

static int keep(struct pick *p, char *const *kept, size_t count, char *why, size_t why_len)
{
    struct skep_pick *pick = p->pick;
    size_t fitting = 0;

    for (size_t i = 0; i < count; i++)
        fitting += skep_uid_pattern_has(&p->pattern, skep_bytes_str(kept[i]));
    if (fitting > p->wanted) {
        snprintf(why, why_len,
                 "%zu uids of the pattern have checkpoints, more than the %zu experts wanted: "
                 "serve more, or move some checkpoints away",
                 fitting, p->wanted);
        return SKEP_EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        if (!skep_uid_pattern_has(&p->pattern, skep_bytes_str(kept[i])))
            continue;
        if (skep_uid_picker_take(&p->picker, skep_bytes_str(kept[i])) < 0 ||
            !(pick->uids[pick->count] = skep_mem_strdup(p->env->mem, kept[i])))
            return refuse(why, why_len, SKEP_ENOMEM, "out of memory");
        pick->count++;
    }
    p->kept = pick->count;
    return 0;
}

static int init(struct pick *p, char *const *kept, size_t kept_count, char *why, size_t why_len)
{
    int rc = skep_uid_pattern_parse(&p->pattern, p->text, why, why_len);

    if (rc < 0)
        return rc;
    if (p->pattern.size < p->wanted) {
        snprintf(why, why_len, "%zu experts are wanted; the pattern \"%.200s\" has %llu uids",
                 p->wanted, p->text, (unsigned long long)p->pattern.size);
        return SKEP_ELIMIT;
    }
    skep_uid_picker_init(&p->picker, p->env->mem, &p->pattern, &p->prng);
    if (!(p->pick->uids = skep_mem_zalloc(p->env->mem, p->wanted, sizeof *p->pick->uids)))
        return refuse(why, why_len, SKEP_ENOMEM, "out of memory");
    if ((rc = keep(p, kept, kept_count, why, why_len)) < 0)
        return rc;
    return skep_env_after(p->env, &p->step, 0);
}

int skep_pick_start(struct skep_pick *pick, struct skep_env *env, struct skep_dht *dht,
                    const char *pattern, size_t wanted, char *const *kept, size_t kept_count,
                    uint64_t seed, char *why, size_t why_len)
{
    const char *text = pattern ? pattern : counting_pattern;
    struct pick *p;
    int rc;

    if (wanted == 0 || wanted > COUNTING_MAX)
        return refuse(why, why_len, SKEP_EINVAL, "no number of experts, or too many");
    if (!(p = skep_mem_zalloc(env->mem, 1, sizeof *p + strlen(text) + 1)))
        return refuse(why, why_len, SKEP_ENOMEM, "out of memory");
    memcpy(p->text, text, strlen(text) + 1);
    p->pick = pick;
    p->env = env;
    p->dht = dht;
    p->counting = !pattern;
    p->wanted = wanted;
    p->step.fire = on_step;
    skep_prng_init(&p->prng, seed);
    pick->uids = NULL;
    pick->count = 0;
    pick->mem = env->mem;
    pick->state = p;
    if ((rc = init(p, kept, kept_count, why, why_len)) < 0)
        skep_pick_fini(pick);
    return rc;
}

void skep_pick_fini(struct skep_pick *pick)
{
    struct pick *p = pick->state;

    if (!p && !pick->uids)
        return;
    for (size_t i = 0; pick->uids && i < pick->count; i++)
        skep_mem_free(pick->mem, pick->uids[i]);
    skep_mem_free(pick->mem, pick->uids);
    pick->uids = NULL;
    pick->count = 0;
    if (p)
        free_state(p);
    pick->state = NULL;
}
