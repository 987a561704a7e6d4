/* SPDX-License-Identifier: MIT */
/* Picking uids; see pick.h. A round draws some more than are still wanted, and asks the DHT for all of them at once:
 *
 *   start --> [round: draw, locate] --not enough--> the next, with twice as many spare ones --> … --> done */
#include "server/pick.h"

#include <stdio.h>

#include "base/map.h"
#include "moe/uid.h"

enum {
    DRAWS_PER_UID = 64,
    DRAWS_MORE = 1024,
    ROUND_MAX = 4096,
    DOUBLINGS_MAX = 6,
    COUNTING_MAX = 1 << 20 /* of "expert.0", "expert.1" … */
};

static const char counting_pattern[] = "expert.[0:1048576]";
#define ROUND_US ((uint64_t)10000000)

/* The permutation of indices so far: who was swapped with whom. Every place that is not in here holds itself. */
struct swapped {
    uint64_t place, index;
    UT_hash_handle hh;
};

struct pick {
    struct skep_pick *pick;
    struct skep_env *env;
    struct skep_dht *dht;
    struct skep_timer step; /* each step begins at the loop: nothing calls back from inside the start */
    struct skep_locate locate;
    bool counting;
    struct skep_uid_pattern pattern;
    struct skep_prng prng;
    struct swapped *swapped;
    uint64_t drawn, draws_max;
    size_t wanted, kept; /* of pick->uids the first `kept` have a checkpoint */
    unsigned round;
    char **batch; /* [batch_count] asked for now */
    size_t batch_count;
    skep_bytes views[ROUND_MAX];
    char text[]; /* the pattern's */
};

/* ---- the grammar backwards ---- */

static bool in_block(const struct skep_uid_pattern *pattern, size_t block, uint64_t number)
{
    return number >= pattern->first[block] && number < pattern->end[block];
}

bool skep_pick_fits(const struct skep_uid_pattern *pattern, skep_bytes uid)
{
    size_t blocks;
    skep_bytes prefix;
    uint64_t number;

    if (skep_uid_check(uid, NULL, 0) < 0 || skep_uid_number_count(uid) != pattern->blocks)
        return false;
    for (blocks = pattern->blocks; blocks > 0; blocks--, uid = prefix)
        if (!skep_uid_split(uid, &prefix, &number) || !in_block(pattern, blocks - 1, number))
            return false;
    /* What is left is "name.". */
    return uid.len == pattern->name.len + 1 &&
           skep_bytes_equal(skep_bytes_of(uid.data, uid.len - 1), pattern->name);
}

/* ---- drawing ---- */

static int swap_in(struct pick *p, uint64_t place, uint64_t index)
{
    struct swapped *s = NULL;

    HASH_FIND(hh, p->swapped, &place, sizeof place, s);
    if (!s) {
        if (!(s = skep_mem_zalloc(p->env->mem, 1, sizeof *s)))
            return SKEP_ENOMEM;
        s->place = place;
        HASH_ADD(hh, p->swapped, place, sizeof s->place, s);
        if (!s->hh.tbl) {
            skep_mem_free(p->env->mem, s);
            return SKEP_ENOMEM;
        }
    }
    s->index = index;
    return 0;
}

static uint64_t at_place(struct pick *p, uint64_t place)
{
    struct swapped *s = NULL;

    HASH_FIND(hh, p->swapped, &place, sizeof place, s);
    return s ? s->index : place;
}

/* The next index of a random order of all: Fisher and Yates, without the array. */
static int draw_index(struct pick *p, uint64_t *index)
{
    uint64_t place;

    if (p->counting) {
        *index = p->drawn++;
        return 0;
    }
    place = p->drawn + skep_prng_below(&p->prng, p->pattern.size - p->drawn);
    *index = at_place(p, place);
    return swap_in(p, place, at_place(p, p->drawn++));
}

static bool is_kept(const struct pick *p, const char *uid)
{
    for (size_t i = 0; i < p->kept; i++)
        if (strcmp(p->pick->uids[i], uid) == 0)
            return true;
    return false;
}

/* @return 1: one more; 0: none is left; SKEP_ENOMEM. */
static int draw_uid(struct pick *p, char **out)
{
    char uid[SKEP_UID_LEN_MAX + 1];
    uint64_t index;
    int rc;

    while (p->drawn < p->draws_max) {
        if ((rc = draw_index(p, &index)) < 0)
            return rc;
        if ((rc = skep_uid_pattern_uid(&p->pattern, index, uid, sizeof uid)) < 0)
            return rc;
        if (is_kept(p, uid))
            continue;
        *out = skep_mem_strdup(p->env->mem, uid);
        return *out ? 1 : SKEP_ENOMEM;
    }
    return 0;
}

static int draw_batch(struct pick *p)
{
    size_t missing = p->wanted - p->pick->count;
    size_t most = SKEP_MIN(missing << SKEP_MIN(p->round, (unsigned)DOUBLINGS_MAX),
                           (size_t)ROUND_MAX);
    int rc = 1;

    p->round++;
    if (!(p->batch = skep_mem_zalloc(p->env->mem, most, sizeof *p->batch)))
        return SKEP_ENOMEM;
    while (p->batch_count < most && (rc = draw_uid(p, &p->batch[p->batch_count])) > 0)
        p->batch_count++;
    return rc < 0 ? rc : 0;
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
    struct swapped *s, *after;

    HASH_ITER(hh, p->swapped, s, after)
    {
        HASH_DEL(p->swapped, s);
        skep_mem_free(p->env->mem, s);
    }
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
                 pick->count, p->wanted, p->text, (unsigned long long)p->drawn);
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
    if ((rc = draw_batch(p)) == 0 && p->batch_count == 0)
        rc = SKEP_ELIMIT;
    if (rc == 0 && p->dht)
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
        fitting += skep_pick_fits(&p->pattern, skep_bytes_str(kept[i]));
    if (fitting > p->wanted) {
        snprintf(why, why_len,
                 "%zu uids of the pattern have checkpoints, more than the %zu experts wanted: "
                 "serve more, or move some checkpoints away",
                 fitting, p->wanted);
        return SKEP_EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        if (!skep_pick_fits(&p->pattern, skep_bytes_str(kept[i])))
            continue;
        if (!(pick->uids[pick->count] = skep_mem_strdup(p->env->mem, kept[i])))
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
    p->draws_max = (uint64_t)p->wanted * DRAWS_PER_UID + DRAWS_MORE;
    p->draws_max = SKEP_MIN(p->draws_max, p->pattern.size);
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
