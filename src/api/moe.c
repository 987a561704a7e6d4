/* SPDX-License-Identifier: MIT */
/* Declaring experts and looking them up. See include/skep/moe.h; the searches are in find.c. */
#include "api/api.h"

#include <math.h>

#include "moe/declare.h"
#include "moe/uid.h"

static const double ttl_default_s = 60;

bool skep_is_uid(const char *text)
{
    return text && skep_uid_check(skep_bytes_str(text), NULL, 0) == 0;
}

bool skep_is_prefix(const char *text)
{
    return text && skep_prefix_check(skep_bytes_str(text), NULL, 0) == 0;
}

/* The uids as views, checked; their bytes too where they must outlive the call. @return 0, SKEP_EUID … with skep_api_fail(). */
static int uids_in(struct api_arena *arena, const char *const *uids, size_t count, bool own,
                   skep_bytes **out)
{
    char why[SKEP_UID_WHY_MAX];

    if (!uids || count == 0)
        return skep_api_fail(SKEP_EINVAL, "no uids");
    if (count > SKEP_DECLARE_UIDS_MAX)
        return skep_api_fail(SKEP_ELIMIT, "%zu uids; at most %d", count, SKEP_DECLARE_UIDS_MAX);
    if (!(*out = skep_api_arena_alloc(arena, count, sizeof **out)))
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        skep_bytes uid = uids[i] ? skep_bytes_str(uids[i]) : skep_bytes_str("");

        if (skep_uid_check(uid, why, sizeof why) < 0)
            return skep_api_fail(SKEP_EUID, "uid %zu: %s", i, why);
        if (own && !(uid.data = skep_api_arena_copy(arena, uid.data, uid.len)))
            return skep_api_fail(SKEP_ENOMEM, "out of memory");
        (*out)[i] = uid;
    }
    return 0;
}

static int check_dht(const skep_node *node)
{
    if (skep_api_need(node, "node") < 0)
        return SKEP_EINVAL;
    return node->dht ? 0 : skep_api_fail(SKEP_EINVAL, "the node has no DHT (options.no_dht)");
}

/* ---- declare ---- */

struct declare_op {
    skep_op op;
    struct skep_declare declare;
    bool running;
    skep_bytes *uids;
    size_t count;
    skep_declare_options options;
    struct skep_peer_id peer;
    uint64_t started_us;
    skep_declared result;
};

static void on_declared(struct skep_declare *declare, int rc)
{
    struct declare_op *op = SKEP_CONTAINER_OF(declare, struct declare_op, declare);

    op->running = false;
    op->result.keys = declare->record_count;
    for (size_t i = 0; i < declare->record_count; i++) {
        op->result.accepted += declare->records[i].accepted > 0;
        op->result.replicas += declare->records[i].accepted;
    }
    op->result.rounds = declare->cost.rounds;
    op->result.calls = declare->cost.calls;
    op->result.elapsed_us = skep_env_now_us(op->op.core->node->env) - op->started_us;
    skep_declare_fini(declare);
    skep_api_op_end(&op->op, rc, rc < 0 ? skep_strerror(rc) : NULL);
}

static int declare_start(skep_op *base, skep_node *node)
{
    struct declare_op *op = SKEP_CONTAINER_OF(base, struct declare_op, op);
    struct skep_dht_store_options store = {.deadline_us =
                                               skep_api_deadline_us(node, op->options.timeout_us)};
    double expiration_unix_s = op->options.expiration_unix_s;
    char why[SKEP_UID_WHY_MAX] = "";
    int rc;

    if (expiration_unix_s == 0)
        expiration_unix_s = skep_env_unix_s(node->env) + op->options.ttl_s;
    op->started_us = skep_env_now_us(node->env);
    op->declare.done = on_declared;
    op->running = true;
    rc = skep_declare_start(&op->declare, node->dht, op->uids, op->count, &op->peer,
                            expiration_unix_s, &store, why, sizeof why);
    if (rc < 0) {
        op->running = false;
        skep_api_fail(rc, "%s", *why ? why : skep_strerror(rc));
    }
    return rc;
}

static void declare_cancel(skep_op *base, skep_node *node)
{
    struct declare_op *op = SKEP_CONTAINER_OF(base, struct declare_op, op);

    (void)node;
    if (op->running)
        skep_declare_fini(&op->declare);
    op->running = false;
}

static const struct api_op_class declare_class = {sizeof(struct declare_op), declare_start,
                                                  declare_cancel};

static int declare_fill(struct declare_op *op, const skep_node *node,
                        const skep_declare_options *user)
{
    double left_s;

    if (skep_api_options_in(&op->options, sizeof op->options, user, sizeof op->options,
                            "declare options") < 0)
        return SKEP_EINVAL;
    if (!isfinite(op->options.ttl_s) || op->options.ttl_s < 0 ||
        !isfinite(op->options.expiration_unix_s))
        return skep_api_fail(
            SKEP_EINVAL, "the time to live or the expiration is not a number of seconds above 0");
    if (op->options.ttl_s == 0)
        op->options.ttl_s = ttl_default_s;
    left_s = op->options.expiration_unix_s != 0 ? op->options.expiration_unix_s - skep_dht_time()
                                                : op->options.ttl_s;
    if (left_s < 0)
        return skep_api_fail(SKEP_EINVAL, "the expiration passed %.3f seconds ago", -left_s);
    if (left_s > node->ttl_max_s + 1)
        return skep_api_fail(SKEP_EINVAL, "experts would live %.0f seconds; at most %.0f", left_s,
                             node->ttl_max_s);
    if (op->options.peer && skep_api_bad_peer(op->options.peer) < 0)
        return SKEP_EPEERID;
    op->peer = op->options.peer ? api_peer_in(op->options.peer) : node->identity.id;
    return 0;
}

int skep_moe_declare(skep_op **out, skep_node *node, const char *const *uids, size_t count,
                     const skep_declare_options *options, skep_op_cb *cb, void *user_data)
{
    struct declare_op *op;
    bool own;
    int rc = check_dht(node);

    if (out)
        *out = NULL;
    if (rc < 0)
        return rc;
    if (!(op = skep_api_op_new(node, &declare_class, cb, user_data, &own)))
        return SKEP_ENOMEM;
    op->count = count;
    if ((rc = declare_fill(op, node, options)) < 0 ||
        (rc = uids_in(&op->op.arena, uids, count, own, &op->uids)) < 0) {
        skep_api_op_drop(&op->op);
        return rc;
    }
    return skep_api_op_begin(out, node, &op->op);
}

const skep_declared *skep_moe_declare_result(const skep_op *op)
{
    if (!op || op->class != &declare_class ||
        (skep_op_poll(op) != 0 && skep_op_poll(op) != SKEP_EDEADLINE))
        return NULL;
    return &((const struct declare_op *)(const void *)op)->result;
}

/* ---- look up ---- */

struct locate_op {
    skep_op op;
    struct skep_locate locate;
    bool running;
    skep_bytes *uids;
    size_t count;
    uint64_t timeout_us;
    skep_expert *experts;
};

static void on_located(struct skep_locate *locate, int rc)
{
    struct locate_op *op = SKEP_CONTAINER_OF(locate, struct locate_op, locate);

    op->running = false;
    for (size_t i = 0; i < locate->count; i++)
        if (locate->experts[i].found)
            op->experts[i].peer = api_peer_out(&locate->experts[i].peer);
    skep_locate_fini(locate);
    skep_api_op_end(&op->op, rc, rc < 0 ? skep_strerror(rc) : NULL);
}

static int locate_start(skep_op *base, skep_node *node)
{
    struct locate_op *op = SKEP_CONTAINER_OF(base, struct locate_op, op);
    struct skep_dht_get_options get = {.deadline_us = skep_api_deadline_us(node, op->timeout_us)};
    char why[SKEP_UID_WHY_MAX] = "";
    int rc;

    op->locate.done = on_located;
    op->running = true;
    rc = skep_locate_start(&op->locate, node->dht, op->uids, op->count, &get, why, sizeof why);
    if (rc < 0) {
        op->running = false;
        skep_api_fail(rc, "%s", *why ? why : skep_strerror(rc));
    }
    return rc;
}

static void locate_cancel(skep_op *base, skep_node *node)
{
    struct locate_op *op = SKEP_CONTAINER_OF(base, struct locate_op, op);

    (void)node;
    if (op->running)
        skep_locate_fini(&op->locate);
    op->running = false;
}

static const struct api_op_class locate_class = {sizeof(struct locate_op), locate_start,
                                                 locate_cancel};

int skep_moe_get_experts(skep_op **out, skep_node *node, const char *const *uids, size_t count,
                         uint64_t timeout_us, skep_op_cb *cb, void *user_data)
{
    struct locate_op *op;
    int rc = check_dht(node);

    if (out)
        *out = NULL;
    if (rc < 0)
        return rc;
    if (!(op = skep_api_op_new(node, &locate_class, cb, user_data, NULL)))
        return SKEP_ENOMEM;
    op->count = count;
    op->timeout_us = timeout_us;
    rc = uids_in(&op->op.arena, uids, count, true, &op->uids); /* the results name them */
    if (rc == 0 && !(op->experts = skep_api_arena_alloc(&op->op.arena, count, sizeof *op->experts)))
        rc = skep_api_fail(SKEP_ENOMEM, "out of memory");
    if (rc < 0) {
        skep_api_op_drop(&op->op);
        return rc;
    }
    assert(op->uids && op->experts);
    for (size_t i = 0; i < count; i++)
        op->experts[i].uid = (const char *)op->uids[i].data;
    return skep_api_op_begin(out, node, &op->op);
}

const skep_expert *skep_moe_get_experts_result(const skep_op *op, size_t *count)
{
    const struct locate_op *locate = (const struct locate_op *)(const void *)op;

    if (count)
        *count = 0;
    if (!op || op->class != &locate_class ||
        (skep_op_poll(op) != 0 && skep_op_poll(op) != SKEP_EDEADLINE))
        return NULL;
    if (count)
        *count = locate->count;
    return locate->experts;
}
