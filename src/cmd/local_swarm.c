/* SPDX-License-Identifier: MIT */
/* A swarm in one process; see local_swarm.h. */
#include "cmd/local_swarm.h"

#include <skep/moe.h>
#include <stdlib.h>

/* ---- nodes ---- */

static int start_node(struct skep_local_swarm *swarm, size_t index)
{
    static const char *const loopback[] = {"/ip4/127.0.0.1/tcp/0"};
    skep_node_options options;
    char **addresses;
    int rc;

    skep_session_options(&options, SKEP_SESSION_PEER);
    options.identity_path = NULL;
    options.listen = loopback;
    options.listen_count = 1;
    options.initial_peers = (const char *const *)swarm->addresses;
    options.initial_peer_count = index > 0 ? 1 : 0;
    rc = skep_node_new(&swarm->nodes[index], &options);
    if (rc < 0) {
        swarm->nodes[index] = NULL;
        return skep_session_failed(rc, NULL, "node");
    }
    addresses = skep_p2p_addresses(swarm->nodes[index], NULL);
    swarm->addresses[index] = addresses && addresses[0] ? strdup(addresses[0]) : NULL;
    skep_free(addresses);
    return swarm->addresses[index] ? SKEP_EXIT_DONE
                                   : skep_session_failed(SKEP_ENOMEM, NULL, "node");
}

/* Wait for all of them, also after one has failed: their nodes are still at it. */
static int wait_all(skep_op **ops, size_t count, const char *what)
{
    int code = SKEP_EXIT_DONE;

    for (size_t i = 0; i < count; i++) {
        int rc = ops[i] ? skep_op_wait(ops[i]) : 0;

        if (rc < 0 && code == SKEP_EXIT_DONE)
            code = skep_session_failed(rc, ops[i], what);
    }
    return code;
}

static void free_ops(skep_op **ops, size_t count)
{
    for (size_t i = 0; i < count; i++)
        skep_op_free(ops[i]);
    free(ops);
}

/* The first makes the swarm, the others join through it all at once. */
static int join_nodes(struct skep_local_swarm *swarm, skep_op **ops)
{
    int rc, code = SKEP_EXIT_DONE;

    for (size_t i = 0; i < swarm->count && code == SKEP_EXIT_DONE; i++) {
        code = start_node(swarm, i);
        if (code != SKEP_EXIT_DONE)
            break;
        if ((rc = skep_dht_join(&ops[i], swarm->nodes[i], NULL, NULL)) < 0)
            code = skep_session_failed(rc, NULL, "join");
        else if (i == 0)
            code = wait_all(ops, 1, "join");
    }
    rc = wait_all(ops, swarm->count, "join");
    return code != SKEP_EXIT_DONE ? code : rc;
}

int skep_local_swarm_start(struct skep_local_swarm *swarm, size_t count)
{
    uint64_t start = skep_cmd_now_us();
    skep_op **ops = calloc(count, sizeof(skep_op *));
    int code;

    *swarm = (struct skep_local_swarm){.count = count};
    swarm->nodes = calloc(count, sizeof *swarm->nodes);
    swarm->addresses = calloc(count + 1, sizeof *swarm->addresses);
    code = ops && swarm->nodes && swarm->addresses
               ? join_nodes(swarm, ops)
               : skep_session_failed(SKEP_ENOMEM, NULL, "swarm");
    if (ops)
        free_ops(ops, count);
    swarm->joined_us = skep_cmd_now_us() - start;
    return code;
}

void skep_local_swarm_stop(struct skep_local_swarm *swarm)
{
    for (size_t i = 0; i < swarm->count; i++) {
        if (swarm->nodes)
            skep_node_free(swarm->nodes[i]);
        if (swarm->addresses)
            free(swarm->addresses[i]);
    }
    for (size_t i = 0; swarm->uids && i < swarm->expert_count; i++)
        free(swarm->uids[i]);
    free(swarm->nodes);
    free(swarm->addresses);
    free(swarm->uids);
    free(swarm->cells);
    *swarm = (struct skep_local_swarm){.count = 0};
}

/* ---- experts ---- */

bool skep_cmd_grid_places(const struct skep_cmd_grid *grid, uint64_t *places)
{
    *places = 1;
    for (size_t d = 0; d < grid->dims; d++) {
        if (__builtin_mul_overflow(*places, (uint64_t)grid->size[d], places) || *places > INT64_MAX)
            return false;
    }
    return true;
}

void skep_cmd_grid_coordinates(const struct skep_cmd_grid *grid, uint64_t cell, size_t *coordinates)
{
    for (size_t d = grid->dims; d-- > 0;) {
        coordinates[d] = (size_t)(cell % grid->size[d]);
        cell /= grid->size[d];
    }
}

/* A set of numbers: open addressing, a power of two of places, at most half full. 0 marks a free place, so numbers are kept plus 1. */
struct number_set {
    uint64_t *places;
    size_t mask;
};

static bool add_number(struct number_set *set, uint64_t number)
{
    size_t at = (size_t)((number + 1) * 0x9e3779b97f4a7c15 >> 20) & set->mask;

    for (; set->places[at] != 0; at = (at + 1) & set->mask) {
        if (set->places[at] == number + 1)
            return false;
    }
    set->places[at] = number + 1;
    return true;
}

/* Robert Floyd's sampling: `count` different numbers below `places`, whatever the two are. */
static bool sample(uint64_t *out, size_t count, uint64_t places, struct skep_prng *prng)
{
    struct number_set set = {.mask = 1};

    while (set.mask < count * 2)
        set.mask *= 2;
    set.places = calloc(set.mask, sizeof *set.places);
    set.mask--;
    if (!set.places)
        return false;
    for (size_t i = 0; i < count; i++) {
        uint64_t last = places - count + i, chosen = skep_prng_below(prng, last + 1);

        if (!add_number(&set, chosen)) {
            chosen = last;
            add_number(&set, chosen);
        }
        out[i] = chosen;
    }
    free(set.places);
    return true;
}

static char *uid_of(const char *prefix, const struct skep_cmd_grid *grid, uint64_t cell)
{
    size_t coordinates[SKEP_GRID_DIMENSIONS_MAX];
    struct skep_buf text;
    char number[24];

    skep_cmd_grid_coordinates(grid, cell, coordinates);
    skep_buf_init(&text, &skep_mem_std);
    skep_buf_put_str(&text, prefix);
    for (size_t d = 0; d < grid->dims; d++) {
        snprintf(number, sizeof number, "%s%zu", d > 0 ? "." : "", coordinates[d]);
        skep_buf_put_str(&text, number);
    }
    skep_buf_put_u8(&text, '\0');
    if (text.rc < 0)
        skep_buf_fini(&text);
    return (char *)text.data;
}

int skep_local_swarm_choose(struct skep_local_swarm *swarm, const char *prefix,
                            const struct skep_cmd_grid *grid, size_t count, struct skep_prng *prng)
{
    uint64_t places;

    if (!skep_cmd_grid_places(grid, &places) || count > places) {
        skep_cmd_error("--experts", "the grid has not that many places");
        return SKEP_EXIT_USAGE;
    }
    swarm->cells = calloc(count, sizeof *swarm->cells);
    swarm->uids = calloc(count, sizeof *swarm->uids);
    if (!swarm->cells || !swarm->uids || !sample(swarm->cells, count, places, prng))
        return skep_session_failed(SKEP_ENOMEM, NULL, "swarm");
    swarm->expert_count = count;
    for (size_t i = 0; i < count; i++) {
        swarm->uids[i] = uid_of(prefix, grid, swarm->cells[i]);
        if (!swarm->uids[i])
            return skep_session_failed(SKEP_ENOMEM, NULL, "swarm");
    }
    return SKEP_EXIT_DONE;
}

/* Every count-th uid from the node's own index on. */
static int declare_share(struct skep_local_swarm *swarm, size_t node,
                         const skep_declare_options *options, const char **share, skep_op **op)
{
    size_t count = 0;
    int rc;

    assert(share);
    for (size_t i = node; i < swarm->expert_count; i += swarm->count)
        share[count++] = swarm->uids[i];
    if (count == 0)
        return SKEP_EXIT_DONE;
    rc = skep_moe_declare(op, swarm->nodes[node], share, count, options, NULL, NULL);
    return rc < 0 ? skep_session_failed(rc, NULL, "declare") : SKEP_EXIT_DONE;
}

/* A record that another node has declared with the same prefix is refused unless it lives longer, and that is well; none at all is not. */
static int check_declared(skep_op **ops, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const skep_declared *d = ops[i] ? skep_moe_declare_result(ops[i]) : NULL;

        if (d && d->accepted == 0) {
            skep_cmd_error("declare", "none of %zu records was stored", d->keys);
            return SKEP_EXIT_FAILED;
        }
    }
    return SKEP_EXIT_DONE;
}

int skep_local_swarm_declare(struct skep_local_swarm *swarm, uint64_t ttl_us)
{
    const skep_declare_options options = {.struct_size = sizeof options,
                                          .ttl_s = (double)ttl_us / 1e6};
    uint64_t start = skep_cmd_now_us();
    const char **share = calloc(swarm->expert_count + 1, sizeof *share);
    skep_op **ops = calloc(swarm->count, sizeof(skep_op *));
    int code = share && ops ? SKEP_EXIT_DONE : skep_session_failed(SKEP_ENOMEM, NULL, "declare"),
        waited;

    for (size_t i = 0; i < swarm->count && code == SKEP_EXIT_DONE; i++)
        code = declare_share(swarm, i, &options, share, &ops[i]);
    if (ops) {
        waited = wait_all(ops, swarm->count, "declare");
        if (code == SKEP_EXIT_DONE)
            code = waited;
        if (code == SKEP_EXIT_DONE)
            code = check_declared(ops, swarm->count);
        free_ops(ops, swarm->count);
    }
    free(share);
    swarm->declared_us = skep_cmd_now_us() - start;
    return code;
}
