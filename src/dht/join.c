/* SPDX-License-Identifier: MIT */
/* skep_dht_join: dial and ping every initial peer at once, then find our own id. docs/wire.md c.4 (join); hivemind dht/node.py, create(), and
 * p2p_daemon.py, is_identity_taken(). */
#include <stdio.h>

#include "dht/node_internal.h"
#include "dht/traverse.h"

/* Clocks may differ by so much: MAX_DHT_TIME_DISCREPANCY_SECONDS. */
#define CLOCK_SKEW_MAX_S 3.0

enum { TEXT_MAX = 4096 };

struct join;

/* One initial peer. */
struct contact {
    struct skep_rpc_dial dial;
    struct skep_dht_ping ping;
    struct join *join;
    char *maddr;
    bool over;
    int rc;
};

struct join {
    struct skep_dht_op_head head;
    struct skep_dht *dht;
    struct skep_list entry; /* dht->joins */
    struct skep_dht_join *owner;
    struct skep_timer kick; /* what failed at the start is told on the next turn */
    struct skep_timer
        timer; /* the rest of the initial peers, or the search for our own id, has had its time */
    uint64_t until_us;
    struct skep_dht_lookup *lookup;
    bool finding;
    size_t answered, left;
    int strict_rc; /* what a peer that answered had against us */
    bool taken;    /* somebody who has our identity answered */
    char text[TEXT_MAX];
    size_t text_len;
    size_t count;
    struct contact contacts[];
};

static void release(struct join *j)
{
    struct skep_dht *dht = j->dht;

    for (size_t i = 0; i < j->count; i++) {
        skep_rpc_dial_cancel(dht->rpc, &j->contacts[i].dial);
        skep_dht_request_cancel(&j->contacts[i].ping.request);
        skep_mem_free(dht->mem, j->contacts[i].maddr);
    }
    if (j->lookup) {
        /* The search for our neighbours goes on by itself. */
        j->lookup->user = NULL;
        j->lookup->on_key = NULL;
        j->lookup->on_free = NULL;
    }
    skep_env_stop(dht->env, &j->kick);
    skep_env_stop(dht->env, &j->timer);
    skep_list_remove(&j->entry);
    skep_mem_free(dht->mem, j);
}

static void end_join(struct join *j, int rc)
{
    struct skep_dht_join *owner = j->owner;
    char text[TEXT_MAX];

    memcpy(text, j->text, j->text_len + 1);
    owner->op.state = NULL;
    release(j);
    owner->done(owner, rc, text);
}

static void cancel_join(struct skep_dht_op_head *head)
{
    release(SKEP_CONTAINER_OF(head, struct join, head));
}

void skep_dht_join_end_all(struct skep_dht *dht)
{
    while (!skep_list_empty(&dht->joins))
        end_join(SKEP_LIST_ITEM(dht->joins.next, struct join, entry), SKEP_ECANCELED);
}

static void blame(struct join *j, const struct contact *c, const char *why)
{
    char maddr[SKEP_PEER_TEXT_MAX];
    int n;

    skep_text_escape(maddr, sizeof maddr, skep_bytes_str(c->maddr));
    n = snprintf(j->text + j->text_len, TEXT_MAX - j->text_len, "%s%s: %s",
                 j->text_len > 0 ? "; " : "", maddr, why);
    if (n > 0)
        j->text_len = SKEP_MIN(j->text_len + (size_t)n, (size_t)TEXT_MAX - 1);
    skep_log(j->dht->env, SKEP_LOG_INFO, "initial peer %s: %s", maddr, why);
}

/* ---- our own neighbourhood ---- */

static void on_neighbours(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key)
{
    struct join *j = l->user;

    (void)key;
    end_join(j, 0);
}

static void on_lookup_free(struct skep_dht_lookup *l)
{
    struct join *j = l->user;

    if (j)
        j->lookup = NULL;
}

/* With `user` set the join ends when the lookup does; without it the lookup just fills the table. */
static int find_neighbours(struct join *j)
{
    struct skep_dht_lookup *l;
    int rc = skep_dht_lookup_new(&l, j->dht, 1, false);

    if (rc < 0)
        return rc;
    j->lookup = l;
    l->exhaustive = true; /* whoever is near us should get to know us */
    l->keys[0].id = j->dht->node_id;
    l->user = j;
    l->on_key = on_neighbours;
    l->on_free = on_lookup_free;
    return skep_dht_lookup_start(l);
}

/* Those who would answer have: did enough of them, and were they content with us? */
static void judge(struct join *j)
{
    struct skep_dht *dht = j->dht;
    uint64_t now = skep_env_now_us(dht->env);
    int rc = 0;

    j->finding = true;
    skep_env_stop(dht->env, &j->timer);
    if (j->strict_rc < 0 && dht->options.strict)
        rc = j->strict_rc;
    else if (j->answered == 0 && j->taken)
        rc = SKEP_EIDENTITYTAKEN;
    else if (j->answered == 0 && j->count > 0 && dht->options.ensure_bootstrap_success)
        rc = SKEP_EBOOTSTRAP;
    if (rc < 0 || j->answered == 0) {
        end_join(j, rc);
        return;
    }
    rc = skep_env_after(dht->env, &j->timer, j->until_us > now ? j->until_us - now : 0);
    if (rc == 0)
        rc = find_neighbours(j);
    if (rc < 0)
        end_join(j, rc);
}

static void on_time(struct skep_timer *timer)
{
    struct join *j = SKEP_CONTAINER_OF(timer, struct join, timer);

    if (j->finding) {
        end_join(j, 0);
        return;
    }
    for (size_t i = 0; i < j->count; i++)
        if (!j->contacts[i].over) {
            skep_rpc_dial_cancel(j->dht->rpc, &j->contacts[i].dial);
            skep_dht_request_cancel(&j->contacts[i].ping.request);
            blame(j, &j->contacts[i], "no answer in time");
        }
    judge(j);
}

/* One initial peer has answered or failed. */
static void settle(struct contact *c, int rc, const char *why)
{
    struct join *j = c->join;
    uint64_t now = skep_env_now_us(j->dht->env);

    c->over = true;
    c->rc = rc;
    j->left--;
    if (rc < 0)
        blame(j, c, why ? why : skep_strerror(rc));
    if (j->strict_rc == 0 && (rc == SKEP_EPEER_CLOCK || rc == SKEP_EPEER_UNVERIFIED))
        j->strict_rc = rc;
    j->taken |= rc == SKEP_EIDENTITYTAKEN;
    j->answered += rc == 0 || rc == SKEP_EPEER_CLOCK || rc == SKEP_EPEER_UNVERIFIED;
    if (j->left == 0 ||
        (j->answered > 0 && !skep_timer_running(&j->timer) &&
         skep_env_after(j->dht->env, &j->timer, j->until_us > now ? j->until_us - now : 0) < 0))
        judge(j);
}

/* ---- one initial peer ---- */

static void on_pong(struct skep_dht_ping *ping, int rc,
                    const struct skep_dht_ping_response *response)
{
    struct contact *c = SKEP_CONTAINER_OF(ping, struct contact, ping);
    struct skep_dht *dht = c->join->dht;
    double now = skep_env_unix_s(dht->env);
    char why[128];

    if (rc < 0 || !dht->options.ensure_bootstrap_success) {
        settle(c, rc, rc == SKEP_EPEER_PROTO ? "it is no DHT node" : NULL);
        return;
    }
    if (!dht->options.client_mode && !response->available) {
        settle(
            c, SKEP_EPEER_UNVERIFIED,
            "it cannot reach us back: we are behind a firewall, or another peer has our identity");
        return;
    }
    /* An absent time is 0; NaN compares false with everything, so it is asked the other way round. */
    if (response->dht_time != 0 && !(response->dht_time >= ping->sent_unix_s - CLOCK_SKEW_MAX_S &&
                                     response->dht_time <= now + CLOCK_SKEW_MAX_S)) {
        snprintf(why, sizeof why, "its clock differs from ours by %.1f s",
                 response->dht_time - now);
        settle(c, SKEP_EPEER_CLOCK, why);
        return;
    }
    settle(c, 0, NULL);
}

static void on_dialled(struct skep_rpc_dial *dial, int rc, const struct skep_peer_id *peer)
{
    struct contact *c = SKEP_CONTAINER_OF(dial, struct contact, dial);
    struct skep_dht *dht = c->join->dht;

    if (rc == SKEP_ESELF)
        rc =
            SKEP_EIDENTITYTAKEN; /* whoever answers there has our key: another, or we ourselves; alone it is no swarm to join */
    c->ping.done = on_pong;
    if (rc == 0)
        rc = skep_dht_ping_start(dht, &c->ping, peer, dht->options.ensure_bootstrap_success);
    if (rc < 0)
        settle(c, rc, NULL);
}

/* What failed at once is settled on the next turn, since nothing calls back from inside the start. */
static void on_started(struct skep_timer *timer)
{
    struct join *j = SKEP_CONTAINER_OF(timer, struct join, kick);

    if (j->count == 0) {
        judge(j);
        return;
    }
    for (size_t i = 0, count = j->count; i < count; i++) {
        struct contact *c = &j->contacts[i];
        bool last = j->left == 1;

        if (c->over || c->rc == 0)
            continue;
        settle(c, c->rc, NULL);
        if (last)
            return;
    }
}

int skep_dht_join_start(struct skep_dht *dht, struct skep_dht_join *owner,
                        const char *const *maddrs, size_t maddr_count)
{
    struct join *j = skep_mem_zalloc(dht->mem, 1, sizeof *j + maddr_count * sizeof j->contacts[0]);
    int rc;

    if (!j)
        return SKEP_ENOMEM;
    j->head.cancel = cancel_join;
    j->dht = dht;
    j->owner = owner;
    j->kick.fire = on_started;
    j->timer.fire = on_time;
    j->left = maddr_count;
    j->until_us = skep_env_now_us(dht->env) + dht->options.bootstrap_timeout_us;
    skep_list_push_back(&dht->joins, &j->entry);
    rc = skep_env_after(dht->env, &j->kick, 0);
    for (size_t i = 0; i < maddr_count && rc == 0; i++) {
        struct contact *c = &j->contacts[i];

        c->join = j;
        c->maddr = skep_mem_strdup(dht->mem, maddrs[i]);
        j->count++;
        if (!c->maddr) {
            rc = SKEP_ENOMEM;
            break;
        }
        c->dial.done = on_dialled;
        c->rc = skep_rpc_dial_start(dht->rpc, &c->dial, maddrs[i], dht->options.wait_timeout_us);
        if (c->rc == SKEP_ENOMEM)
            rc = c->rc;
    }
    if (rc < 0) {
        release(j);
        return rc;
    }
    owner->op.state = &j->head;
    return 0;
}
